#!/usr/bin/env python3
"""What `mixtune show --regret=m --keep LIST` must say of a database of the sm80 family, worked out anew: winners, stairs and costs.

    tests/cli/regret_m.py DB N SMS LIST     prints tuned, asked, mean, 95th percentile, worst and unknown
    tests/cli/regret_m.py DB N SMS leave    the same where each M but the outermost is left out in turn
"""

import math
import sqlite3
import sys


def read(path):
    times = {}
    db = sqlite3.connect(path)
    for m, config, ns in db.execute("SELECT m, config, median_ns FROM fact WHERE outcome = 'ok' AND family = 'sm80'"):
        times.setdefault(config, {})[m] = ns
    return times


def load(config, n, sms, m):
    knob = {name: int(value) for name, value in (word.split("=") for word in config.split(","))}
    ctas = math.ceil(n / knob["tile_n"]) * math.ceil(m / knob["tile_m"]) * knob["split_k"] / sms
    return 0.7 * math.ceil(ctas) + 0.3 * ctas


def winner(times, m):
    order = sorted((ns[m], config) for config, ns in times.items() if m in ns)
    assert len(order) < 2 or order[1][0] > 1.01 * order[0][0], f"two kernels are as fast at {m}: take other times"
    return order[0][1]


def estimate(times, config, low, high, n, sms, m):
    known = times[config]
    if low in known and high in known:
        more = load(config, n, sms, high) - load(config, n, sms, low)
        part = (load(config, n, sms, m) - load(config, n, sms, low)) / more if more > 0 else (m - low) / (high - low)
        return known[low] + (known[high] - known[low]) * part
    at = low if low in known else high
    if at not in known:
        return math.inf
    return known[at] * load(config, n, sms, m) / load(config, n, sms, at)


def cost(times, tuned, n, sms, m):
    high = sum(t <= m for t in tuned)
    around = {winner(times, tuned[i]) for i in range(max(0, high - 2), min(len(tuned), high + 2))}
    between = (tuned[high - 1] if high > 0 else None, tuned[high] if high < len(tuned) else None)
    chosen = min((estimate(times, config, *between, n, sms, m), config) for config in around)[1]
    return 100 * (times[chosen][m] / min(ns[m] for ns in times.values() if m in ns) - 1) if m in times[chosen] else None


def main():
    times, n, sms = read(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    every = sorted({m for ns in times.values() for m in ns})
    if sys.argv[4] == "leave":
        cases = [([t for t in every if t != m], m) for m in every[1:-1]]
    else:
        keep = [int(m) for m in sys.argv[4].split(",")]
        cases = [([t for t in every if t in keep], m) for m in every if m not in keep]
    found = [cost(times, tuned, n, sms, m) for tuned, m in cases]
    costs = sorted(c for c in found if c is not None)
    figures = sum(costs) / len(costs), costs[math.ceil(0.95 * len(costs)) - 1], costs[-1]
    print(len(cases[0][0]), len(found), *(f"{figure:.2f}" for figure in figures), len(found) - len(costs))


main()
