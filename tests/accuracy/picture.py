#!/usr/bin/env python3
"""Quality and speed in one picture: perplexity against the time of a model's linear layers, from results.json of run.py.

    tests/accuracy/picture.py OUT/results.json OUT [--device soft:a100-sxm-80g] [--m 16] [--beside llama-3.1-8b]

writes OUT/quality.csv, .svg and .png. Times are those of `mixtune sweep`: measured on a GPU, modelled on a software device.
On the right stand the same perplexities against the times, relative to fp16, of a larger model with the same shares of its
features in 8 bits.
"""
import argparse
import csv
import glob
import json
import math
import os
import subprocess
import sys

from configs import LADDER
from table import Results

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = [os.path.join(HERE, "../../reports/style.gp"), os.path.join(HERE, "quality.gp")]
BESIDE = {"p0": "w4a8", "p100": "w8a8"}  # schemes are called so when a layer has one width


def command(*words):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"picture.py: this failed: {' '.join(map(str, words))}")
    return done.stdout


class Timer:
    """Times of layers, of one database."""

    def __init__(self, options):
        self.options, self.db = options, os.path.join(options.out, "times.db")
        self.origin = None

    def sweep(self, *words):
        command(self.options.mixtune, "sweep", *words, "--device", self.options.device, "--quick", "--m", self.options.m, "--db", self.db)

    def rows(self, **wanted):
        found = [json.loads(line) for line in command(self.options.mixtune, "show", "--db", self.db, "--json").splitlines()]
        self.origin = found[0]["origin"]
        self.device = found[0]["device_name"]
        return [row for row in found if row["m"] == self.options.m and all(row[k] == v for k, v in wanted.items())]

    def of_checkpoint(self, folder):
        """(all linear layers of a packed folder with quantising their inputs, the same in fp16), in microseconds."""
        tuned = {}
        for row in self.rows():
            tuned.setdefault((row["n"], row["k"]), {})[row["rows8"]] = row
        ours = fp16 = 0.0
        for layer in layers_of(folder):
            splits = tuned[layer["n"], layer["k"]]
            ours += between({r: x["median_ns"] + x["quantize_ns"] for r, x in splits.items()}, layer["rows8"])
            fp16 += min(x["baseline_ns"] for x in splits.values())
        return ours / 1000, fp16 / 1000

    def of_model(self, name, p):
        """The time of a model's linear layers where each has p % of its features in 8 bits, relative to fp16."""
        share = float(p[1:]) / 100
        rows = [row for row in self.rows(model=name) if abs(row["rows8"] - share * row["n"]) <= 0.5]
        return sum(r["median_ns"] + r["quantize_ns"] for r in rows) / sum(r["baseline_ns"] for r in rows)


def layers_of(folder):
    """What a packed folder says of its layers (docs/packed.md)."""
    for path in sorted(glob.glob(os.path.join(folder, "layer-*.safetensors"))):
        with open(path, "rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        yield from (json.loads(text) for text in header["__metadata__"].values() if text.startswith("{"))


def between(times, rows8):
    """The time of a split, linear between the two tuned ones beside it; the nearest beyond the last."""
    low = max((r for r in times if r <= rows8), default=min(times))
    high = min((r for r in times if r >= rows8), default=max(times))
    if low == high:
        return times[low]
    return times[low] + (times[high] - times[low]) * (rows8 - low) / (high - low)


def quoted(text):
    """A string of gnuplot: names are data, so every byte that it could read as something else is an octal escape; so are digits,
    which it would add to an escape before them."""
    return '"' + "".join(chr(b) if chr(b).isalpha() and b < 128 else f"\\{b:03o}" for b in text.encode()) + '"'


METHODS = [("RTN", "rtn", LADDER), ("GPTQ", "gptq", LADDER), ("RTN, uniform", "uniform", ("p10",))]


def points(results, options):
    """Rows of the CSV. All is swept first: a split that was not tuned goes by all that were."""
    timer, test = Timer(options), results.tests[0]
    chosen = [(number, method, f"{name} {p}", p, results.about["folders"][name][p]) for number, (method, name, schemes)
              in enumerate(METHODS, 1) for p in schemes if results.has(f"{name} {p}")]
    for folder in dict.fromkeys(folder for *_, folder in chosen):
        timer.sweep("--checkpoint", folder)
    if options.beside:
        timer.sweep("--model", options.beside, "--scheme", ",".join(BESIDE.get(p, p) for p in LADDER))
    fp, fp16 = results.perplexity("fp", test), None
    for number, method, name, p, folder in chosen:
        ours, fp16 = timer.of_checkpoint(folder)
        d = results.worse(name, test)
        beside = timer.of_model(options.beside, p) if options.beside else ""
        yield [number, method, p, f"{ours:.3f}", beside, *(fp * math.exp(d.mean + k * d.half) for k in (0, -1, 1)), timer.origin]
    yield [0, "fp16", "fp16", f"{fp16:.3f}", 1, fp, fp, fp, timer.origin]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("results")
    p.add_argument("out")
    p.add_argument("--device", default=os.environ.get("MIXTUNE_DEVICE", "soft:a100-sxm-80g"))
    p.add_argument("--m", type=int, default=16, help="tokens (default: %(default)s)")
    p.add_argument("--beside", default="llama-3.1-8b", help="a larger model of `mixtune sweep --model`; \"\": none (default: %(default)s)")
    p.add_argument("--mixtune", default=os.environ.get("MIXTUNE", "build/mixtune"))
    options = p.parse_args()
    results = Results(options.results)
    rows = list(points(results, options))
    data = os.path.join(options.out, "quality.csv")
    with open(data, "w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([["method_number", "method", "scheme", "us", "of_fp16", "perplexity", "low", "high", "times"], *rows])
    words = {"name": os.path.join(options.out, "quality"), "data": data, "times": rows[0][-1], "model": results.about["model"],
             "test": results.tests[0], "device": options.device, "beside": options.beside, "m": options.m}
    texts = "; ".join(f"{key} = {quoted(str(value))}" for key, value in words.items())
    command("gnuplot", "-e", texts, *SCRIPTS)


if __name__ == "__main__":
    main()
