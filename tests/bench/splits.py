#!/usr/bin/env python3
"""Splits as a quantiser finds them that chooses 10 % of all features of a model: the tables in configs/splits/.

    tests/bench/splits.py smollm2-135m >configs/splits/smollm2-135m-p10.csv
    tests/bench/splits.py llama-3.1-8b >configs/splits/llama-3.1-8b-p10.csv

Known of SmolLM2-135M are the smallest, the median and the largest share of each fused layer, the mean share of its
parts, and that 110 of the 120 pairs of layer and rows8 differ. Between the three shares the others lie on a line below
the median (on a power for o, so that 110 differ) and on a power above it, whose exponent gives the mean. gate_up takes
what is left of the 10 %.
"""
import collections
import sys

# smallest, median, largest and mean share of features in 8 bits; the mean None: what is left
SHARES = {
    "qkv": (0.084, 0.244, 0.397, (576 * 0.079 + 192 * 0.169 + 192 * 0.806) / 960),
    "o": (0.0, 0.033, 0.469, 0.059),
    "gate_up": (0.007, 0.023, 0.173, None),
    "down": (0.026, 0.104, 1.0, 0.259),
}
MODELS = {  # decoder layers, features of each layer
    "smollm2-135m": (30, {"qkv": 960, "o": 576, "gate_up": 3072, "down": 576}),
    "llama-3.1-8b": (32, {"qkv": 6144, "o": 4096, "gate_up": 28672, "down": 4096}),
}
PERCENT = 10
BEND = 1.6  # of the line below the median of o: such that 110 pairs differ


def curve(layers, n, share, exponent, bend):
    """Numbers of features in 8 bits of all decoder layers, increasing."""
    least, median, most = (s * n for s in share[:3])
    half = layers // 2
    low = [round(least + (median - least) * (i / (half - 0.5)) ** bend) for i in range(half)]
    # The median lies half way between the two in the middle.
    first = round(2 * median) - low[-1]
    return low + [round(first + (most - first) * (i / (half - 1)) ** exponent) for i in range(half)]


def solve(layers, n, share, total, bend=1.0):
    """The curve whose sum is `total`: its exponent by halving, the rest in single features."""
    few, many = 0.01, 100.0
    for _ in range(60):
        middle = (few * many) ** 0.5
        few, many = (middle, many) if sum(curve(layers, n, share, middle, bend)) > total else (few, middle)
    rows = curve(layers, n, share, many, bend)
    for i in range(total - sum(rows)):  # not to the two in the middle, nor to the largest
        rows[layers // 2 + 1 + i % (layers // 2 - 2)] += 1
    return sorted(rows)


def splits(layers, features, bend):
    mean = {name: share[3] for name, share in SHARES.items()}
    rows = {name: solve(layers, n, SHARES[name], round(layers * n * mean[name]), bend if name == "o" else 1.0)
            for name, n in features.items() if mean[name] is not None}
    left = round(layers * sum(features.values()) * PERCENT / 100) - sum(map(sum, rows.values()))
    rows["gate_up"] = solve(layers, features["gate_up"], SHARES["gate_up"], left)
    return {name: rows[name] for name in features}


def share_text(rows, n):
    middle = len(rows) // 2
    return " / ".join(f"{100 * r / n:.1f}" for r in (rows[0], (rows[middle - 1] + rows[middle]) / 2, rows[-1]))


def main():
    model = sys.argv[1]
    layers, features = MODELS[model]
    table = splits(layers, features, BEND)
    distinct = sum(len(set(rows)) for rows in table.values())
    share = sum(map(sum, table.values())) / layers / sum(features.values())
    print(f"# How many features of each layer of {model} keep 8 bits when {PERCENT} % are chosen over the whole model. Made by\n"
          "# tests/bench/splits.py, not by a quantiser: smallest, median and largest share of each layer are as they were\n"
          f"# found in SmolLM2-135M. {layers} decoder layers, {distinct} different splits, {100 * share:.2f} % of all features.\n#")
    for name, rows in table.items():
        print(f"#   {name:8} {share_text(rows, features[name])} %, {len(set(rows))} different")
    print("layer,rows8,weight")
    for name, rows in table.items():
        for rows8, weight in sorted(collections.Counter(rows).items()):
            print(f"{name},{rows8},{weight}")


main()
