#!/usr/bin/env python3
"""Is every number that `mixtune show --salience FILE --json` prints what NumPy finds in the file?

    tests/model/check_shown.py CHECKPOINT FILE SHOWN [--scheme p10,p20] [--bits 5 | --bytes N] [--uniform] [--fill 16]
                               [--group 64] [--symmetric] [--csv salience.csv]

SHOWN are the lines that it printed with the same options. Layers and shapes are those of the checkpoint, which the program
has not seen. Exits with 1 at the first difference.
"""
import argparse
import csv
import json
import sys

import numpy as np

import checkpoint
import choice
import safetensors

LADDER = "p0,p1,p2,p5,p10,p12.5,p15,p20,p30,p50,p100"
CLASSES = {"w1": "gate", "w3": "up", "w2": "down"}


class Different(Exception):
    pass


def same(what, found, expected, decimals=None):
    near = decimals is not None and None not in (found, expected) and abs(found - expected) <= 0.5000001 * 10.0**-decimals
    if not near and (decimals is not None and expected is not None or found != expected):
        raise Different(f"{what} is {found!r}, not {expected!r}")


def halves(row):
    return lambda file, weight: file[weight + ".halves"].data[row]


def squares(file, weight):
    both = file[weight + ".squares"].data
    return both[0] + both[1]


class Check:
    def __init__(self, o):
        self.o, self.file, self.model = o, safetensors.File(o.salience), checkpoint.Model(o.checkpoint)
        self.scores = self.numbers(lambda file, weight: file[weight].data)
        self.k = [self.model.shapes[layer.parts[0]][1] for layer in self.model.layers]
        about = self.file.metadata
        self.group = o.group or int(about.get("group", 128))
        self.symmetric = o.symmetric or about.get("symmetric") == "true"
        self.others = {name: self.numbers(of) if f"{self.model.layers[0].parts[0]}.weight.{tensor}" in self.file else None
                       for name, tensor, of in (("even", "halves", halves(0)), ("odd", "halves", halves(1)), ("squares", "squares", squares))}
        self.lines = [json.loads(line) for line in open(o.shown)]

    def numbers(self, of):
        return [choice.salience(self.model, layer, self.file, of) for layer in self.model.layers]

    def take(self, key):
        """The next lines that have this key."""
        taken = []
        while self.lines and key in self.lines[0]:
            taken.append(self.lines.pop(0))
        return taken

    # ---- choices ----

    def size(self, layer, count, symmetric):
        n = len(self.scores[layer])
        rows8 = min(-(-count // self.o.fill) * self.o.fill, n)
        return choice.layer_bytes(n, self.k[layer], rows8, self.group, symmetric)

    def first(self, scores, length):
        """The first of all, as one mask for each layer."""
        mask = choice.first_of(np.concatenate(scores), length)
        return np.split(mask, np.cumsum([len(s) for s in scores])[:-1])

    def by_scheme(self, scores, scheme):
        if self.o.uniform:
            return [choice.alike(s, scheme) for s in scores]
        return self.first(scores, int(sum(map(len, scores)) * choice.share(scheme)))

    def target(self):
        """The name of the choice that --bits or --bytes makes, and the share if it is uniform or the length."""
        weights = sum(len(s) * k for s, k in zip(self.scores, self.k))
        most = self.o.bytes or self.o.bits * weights / 8
        size = lambda layer, count: self.size(layer, count, self.symmetric)
        if not self.o.uniform:
            name = f"{self.o.bits:g} bits" if self.o.bits else f"{self.o.bytes} bytes"
            return name, choice.first_that_fit(self.scores, size, most)
        for mille in range(1000, -1, -1):
            masks = self.by_scheme(self.scores, f"p{mille / 10:g}")
            if sum(size(i, int(m.sum())) for i, m in enumerate(masks)) <= most:
                return f"p{mille / 10:g}", f"p{mille / 10:g}"

    def masks(self, wanted, scores):
        return self.by_scheme(scores, wanted) if isinstance(wanted, str) else self.first(scores, wanted)

    # ---- sections ----

    def facts(self):
        (model,), about = self.take("zero_points"), self.file.metadata
        text = lambda pairs: ", ".join(f"{name} {samples}" for name, samples in json.loads(pairs)) if pairs else None
        number = lambda key: float(about[key]) if key in about else None
        expected = {"model": about.get("model"), "layers": len(self.scores), "features": sum(map(len, self.scores)),
                    "weights": sum(len(s) * k for s, k in zip(self.scores, self.k)), "group": self.group,
                    "zero_points": "no" if self.symmetric else "yes", "samples": number("samples"), "length": number("length"),
                    "texts": text(about.get("texts"))}
        same("the model", model, expected)
        cost, samples = self.take("peak_bytes"), number("samples")
        if not {"seconds", "peak_bytes", "device"} & set(about):
            same("what it took", cost, [])
            return
        each = number("seconds") / samples if samples and "seconds" in about else None
        peak = number("peak_bytes")
        for key, value, decimals in (("seconds", number("seconds"), 2), ("seconds_per_sample", each, 2), ("peak_bytes", peak, 0),
                                     ("peak_mib", peak and peak / 2**20, 2)):
            same(key, cost[0][key], value, decimals)
        same("device", cost[0]["device"], about.get("device"))

    def rung(self, line, name, wanted):
        symmetric = self.symmetric or name.endswith("-sym")
        chosen = self.masks(wanted, self.scores)
        counts = [int(m.sum()) for m in chosen]
        size = sum(self.size(i, c, symmetric) for i, c in enumerate(counts))
        join = lambda scores: np.concatenate(self.masks(wanted, scores))
        both = choice.overlap(join(self.others["even"]), join(self.others["odd"])) if self.others["even"] else None
        plain = choice.overlap(np.concatenate(chosen), join(self.others["squares"])) if self.others["squares"] else None
        weights = sum(len(s) * k for s, k in zip(self.scores, self.k))
        filled = sum(min(-(-c // self.o.fill) * self.o.fill, len(s)) for c, s in zip(counts, self.scores))
        same(f"{name}: scheme", line["scheme"], name)
        same(f"{name}: features8", line["features8"], filled)
        same(f"{name}: layer_bytes", line["layer_bytes"], size)
        same(f"{name}: bits", line["bits_per_weight"], 8 * size / weights, 4)
        same(f"{name}: MiB", line["mib"], size / 2**20, 2)
        same(f"{name}: overlap of the halves", line["overlap_halves"], both, 4)
        same(f"{name}: overlap with squares", line["overlap_squares"], plain, 4)

    def classes(self, name, wanted):
        """Lines of the table of shares for one choice."""
        parts, fused = {}, {}
        for layer, mask in zip(self.model.layers, self.masks(wanted, self.scores)):
            place, at = "experts." if ".experts." in layer.name else "", 0
            for part, n in zip(layer.parts, self.model.features(layer)):
                kind = part.split(".")[-1].removesuffix("_proj")
                parts.setdefault(place + CLASSES.get(kind, kind), []).append((int(mask[at : at + n].sum()), n))
                at += n
            if len(layer.parts) > 1:
                fused.setdefault(place + layer.kind, []).append((int(mask.sum()), len(mask)))
        for kind, counts in [*parts.items(), *fused.items()]:
            shares = [100 * c / n for c, n in counts]
            yield kind, {"scheme": name, "layer": kind, "layers": len(counts), "features": sum(n for _, n in counts),
                         "percent8": 100 * sum(c for c, _ in counts) / sum(n for _, n in counts), "least_percent8": min(shares),
                         "median_percent8": float(np.median(shares)), "most_percent8": max(shares)}

    def shares(self, targets):
        found = self.take("percent8")
        expected = [line for name, wanted in targets for _, line in self.classes(name, wanted)]
        same("the classes", [(line["scheme"], line["layer"]) for line in found], [(line["scheme"], line["layer"]) for line in expected])
        for line, other in zip(found, expected):
            for key, value in other.items():
                same(f"{other['scheme']}, {other['layer']}: {key}", line[key], value, 1 if "percent" in key else None)

    def experts(self):
        decoders, few = {}, []
        for layer in self.model.layers:
            if layer.kind == "gate_up" and ".experts." in layer.name and layer.parts[0] + ".weight.tokens" in self.file:
                tokens = int(self.file[layer.parts[0] + ".weight.tokens"].data[0])
                decoders.setdefault(layer.decoder, []).append((layer.name.rsplit(".", 1)[0], tokens))
        for seen in decoders.values():
            total = sum(tokens for _, tokens in seen)
            few += [(name, tokens, total / len(seen)) for name, tokens in seen if tokens == 0 or 10 * tokens * len(seen) < total]
        found = self.take("expert")
        same("the experts", [(line["expert"], line["tokens"]) for line in found], [(name, tokens) for name, tokens, _ in few])
        for line, (name, _, even) in zip(found, few):
            same(f"{name}: an even share", line["even_share"], even, 1)
        return len(few)

    def grid(self, wanted):
        """salience.csv."""
        expected = {}
        for layer, mask in zip(self.model.layers, self.masks(wanted, self.scores)):
            place, at = "experts." if ".experts." in layer.name else "", 0
            for part, n in zip(layer.parts, self.model.features(layer)):
                kind = part.split(".")[-1].removesuffix("_proj")
                cell = expected.setdefault(place + CLASSES.get(kind, kind), {}).setdefault(layer.decoder, [0, 0])
                cell[0] += n
                cell[1] += int(mask[at : at + n].sum())
                at += n
        with open(self.o.csv, newline="") as f:
            found = list(csv.DictReader(f))
        names = list(expected)
        cells = [(names.index(name) + 1, name, decoder, *cell) for name, decoders in expected.items() for decoder, cell in decoders.items()]
        same("the cells", [(int(r["class_at"]), r["class"], int(r["decoder"]), int(r["features"]), int(r["features8"])) for r in found], cells)
        for row, cell in zip(found, cells):
            same(f"{cell[1]} {cell[2]}: percent8", float(row["percent8"]), 100 * cell[4] / cell[3], 3)

    def run(self):
        o = self.o
        named = [(name, name) for name in o.scheme.split(",")] if o.scheme else []
        fitting = [self.target()] if o.bits or o.bytes else []
        self.facts()
        rungs = self.take("overlap_halves")
        expected = (named or [(name, name) for name in LADDER.split(",")]) + fitting
        same("the shares", [line["scheme"] for line in rungs], [name for name, _ in expected])
        for line, (name, wanted) in zip(rungs, expected):
            self.rung(line, name, wanted)
        targets = fitting or named or [("p10", "p10")]
        self.shares(targets)
        few = self.experts()
        same("what is left", self.lines, [])
        if o.csv:
            self.grid(targets[0][1])
        return f"{len(expected)} shares, {len(self.scores)} layers, {few} experts with few tokens"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("checkpoint", "salience", "shown"):
        p.add_argument(name)
    p.add_argument("--scheme")
    p.add_argument("--bits", type=float)
    p.add_argument("--bytes", type=int)
    p.add_argument("--fill", type=int, default=1)
    p.add_argument("--group", type=int)
    p.add_argument("--uniform", action="store_true")
    p.add_argument("--symmetric", action="store_true")
    p.add_argument("--csv")
    try:
        print(Check(p.parse_args()).run())
    except Different as difference:
        sys.exit(f"{difference}")


if __name__ == "__main__":
    main()
