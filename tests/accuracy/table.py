#!/usr/bin/env python3
"""results.json of run.py as tables and sentences, in place of what stands between the markers of a Markdown page.

    tests/accuracy/table.py OUT/results.json docs/accuracy.md      or without a page: to standard output

A part is begun by `<!-- NAME -->` and ended by `<!-- end -->`; its text is that of the function part_NAME below.
"""
import json
import math
import os
import re
import sys
import textwrap

from paired import Difference, mean

LADDER = ("p0", "p10", "p20", "p50", "p100")


class Results:
    def __init__(self, path):
        with open(path) as f:
            self.__dict__.update(json.load(f))
        self.tests = list(self.about["tests"])

    def has(self, *names):
        return all(name in self.configs for name in names)

    def losses(self, name, test):
        return self.configs[name]["losses"][test]

    def worse(self, name, test, than="fp"):
        """By how much the loss of a configuration is above that of another."""
        return Difference(self.losses(name, test), self.losses(than, test))

    def perplexity(self, name, test):
        return math.exp(mean(self.losses(name, test)))

    def bits(self, name):
        bits = self.configs[name]["bits"]
        return "" if bits is None else f"{bits:.2f}"

    def cells(self, name, than="fp"):
        """Perplexity and difference for each test."""
        if not self.has(name):
            return ["", ""] * len(self.tests)
        return [cell for t in self.tests for cell in (f"{self.perplexity(name, t):.2f}", "" if name == than else str(self.worse(name, t, than)))]

    def head(self):
        return [cell for t in self.tests for cell in (f"{t}: perplexity", "loss")]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wrapped(text, indent=""):
    return textwrap.fill(text, 112, subsequent_indent=indent, break_on_hyphens=False)


def named(results, rows, than="fp"):
    """A table of [(configuration, words)], those that were judged."""
    return table(["", "bits", *results.head()],
                 [[words, results.bits(name), *results.cells(name, than)] for name, words in rows if results.has(name)])


def part_setting(r):
    a = r.about
    judged = ", ".join(f"{len(r.losses('fp', t))} of {path}" for t, path in a["tests"].items())
    return wrapped(f"{a['model']}, calibrated with {a['samples']} samples of {a['length']} tokens of {', '.join(a['calibrate'])}, and "
                   f"judged on sequences of {a['length']} tokens: {judged}.")


def part_ladder(r):
    """Table 1 of the paper."""
    rows = [("fp", "as it is"), ("a8", "8-bit activations alone")]
    for method, words in (("rtn", "RTN"), ("gptq", "GPTQ")):
        rows += [(f"{method} {p}", f"{words} {p}") for p in LADDER]
    return named(r, rows)


BASELINES = [
    ("w4a16 rtn", "W4A16, groups: RTN"), ("w4a16 gptq", "W4A16, groups: GPTQ"), ("w4a16 awq", "W4A16, groups: AWQ's scaling"),
    ("w4a8 channel symmetric", "W4A8 per channel and token, symmetric: RTN"),
    ("w4a8 channel asymmetric", "W4A8 per channel and token, asymmetric: RTN"),
    ("w8a8 channel", "W8A8 per channel and token: RTN"), ("w8a8 smoothquant", "W8A8 per channel and token: SmoothQuant's scaling"),
    ("gptq p10", "MixLLM, p10 (GPTQ)"), ("gptq p100", "W8A8 in groups (GPTQ)"),
]


def part_baselines(r):
    return named(r, BASELINES)


ABLATION = [
    ("w4a16 channel symmetric", "W4 per channel, symmetric"), ("w4a8 channel symmetric", "+ 8-bit activations, per token"),
    ("w4a8 channel asymmetric", "+ zero points"), ("rtn p0", "+ groups of 128, weights and activations"),
    ("uniform p10", "+ 10 % of each layer's features in 8 bits"), ("squares p10", "+ chosen over the whole model, without first order"),
    ("rtn p10", "+ with first order"), ("gptq-unordered p10", "+ GPTQ, groups by index"), ("gptq p10", "+ groups by their inputs"),
    ("gptq-clip p10", "+ clip"),
]


def part_ablation(r):
    """Figure 6: each row beside the one before it, too."""
    rows, before = [], None
    for name, words in ABLATION:
        if r.has(name):
            steps = [str(r.worse(name, t, before)) if before else "" for t in r.tests]
            cells = [c for t, step in zip(r.tests, steps) for c in (f"{r.perplexity(name, t):.2f}", step)]
            rows.append([words, r.bits(name), *cells])
            before = name
    return table(["", "bits", *(c for t in r.tests for c in (f"{t}: perplexity", "change of loss"))], rows)


def part_rounding(r):
    return named(r, [("rtn p0", "RTN p0"), ("clip p0", "RTN p0, clip"), ("gptq-unordered p0", "GPTQ p0, groups by index"),
                     ("gptq p0", "GPTQ p0, groups by their inputs"), ("gptq-clip p0", "the same, clip"), ("rtn p10", "RTN p10"),
                     ("clip p10", "RTN p10, clip"), ("gptq-unordered p10", "GPTQ p10, groups by index"),
                     ("gptq p10", "GPTQ p10, groups by their inputs"), ("gptq-clip p10", "the same, clip")])


CHOICES = [
    ("rtn p10", "global, first order (default)"), ("squares p10", "global, without first order"), ("by-output p10", "global, error of the layer's output"),
    ("by-weight p10", "global, error of the weights"), ("uniform p10", "uniform, 10 % of each layer"),
    ("uniform-equal equal", "uniform, equal bits"), ("random p10", "random"),
]


def part_choice(r):
    return named(r, CHOICES)


def part_calibration(r):
    return named(r, [("samples-1 p10", "RTN p10, 1 sample"), ("samples-4 p10", "RTN p10, 4 samples"), ("rtn p10", f"RTN p10, {r.about['samples']} samples"),
                     ("mixed p10", f"RTN p10, {r.about['samples']} samples, half of them of {', '.join(r.about['mix'])}"),
                     ("mixed-uniform-equal equal", "the same, uniform at equal bits"), ("gptq p0", "GPTQ p0, one domain"),
                     ("gptq-mixed p0", "GPTQ p0, both domains"), ("gptq p10", "GPTQ p10, one domain"), ("gptq-mixed p10", "GPTQ p10, both domains"),
                     ("gptq-mixed-clip p0", "GPTQ p0, both domains, clip"), ("gptq-mixed-clip p10", "GPTQ p10, both domains, clip")])


def part_shares(r):
    """Table 4: of each kind of layer the share of features in 8 bits."""
    rows = {(x["scheme"], x["layer"]): x for x in r.about["reports"].get("rtn", []) if "percent8" in x}
    layers = list(dict.fromkeys(layer for _, layer in rows))
    body = []
    for layer in layers:
        p10, p20 = rows.get(("p10", layer)), rows.get(("p20", layer))
        if p10 and p20:
            body.append([layer, f"{p10['percent8']:.1f}", f"{p10['least_percent8']:.1f} / {p10['median_percent8']:.1f} / {p10['most_percent8']:.1f}",
                         f"{p20['percent8']:.1f}"])
    return table(["layer", "p10: %", "least / median / most of a layer", "p20: %"], body)


# What an independent prototype found (docs/accuracy.md): the mean and half of the interval; nothing is fitted to it.
PROTOTYPE = [
    ("a8", "8-bit activations alone", "+0.0039 ± 0.0038"), ("rtn p0", "RTN p0", "+0.2696 ± 0.0282"), ("rtn p10", "RTN p10", "+0.1054 ± 0.0169"),
    ("rtn p20", "RTN p20", "+0.0734 ± 0.0144"), ("rtn p50", "RTN p50", "+0.0354 ± 0.0111"), ("rtn p100", "RTN p100", "+0.0121 ± 0.0044"),
    ("gptq p0", "GPTQ p0", "+0.2213 ± 0.0274"), ("gptq p10", "GPTQ p10", "+0.0635 ± 0.0162"), ("gptq p20", "GPTQ p20", "+0.0504 ± 0.0126"),
    ("gptq p100", "GPTQ p100", "+0.0101 ± 0.0049"), ("gptq-unordered p0", "GPTQ p0, groups by index", "+0.329"),
    ("clip p0", "RTN p0, clip", "+0.177"), ("uniform p10", "RTN, uniform 10 %", "+0.150"), ("uniform-equal equal", "RTN, uniform, equal bits", "+0.136"),
    ("squares p10", "RTN p10, without first order", "+0.112"), ("by-output p10", "RTN p10, error of the layer's output", "+0.166"),
    ("by-weight p10", "RTN p10, error of the weights", "+0.220"), ("random p10", "RTN p10, random", "+0.251"),
    ("samples-1 p10", "RTN p10, 1 sample", "+0.142"), ("samples-4 p10", "RTN p10, 4 samples", "+0.111"),
]


def part_prototype(r):
    if r.about["model"] != "SmolLM2-135M":
        return ""
    test = r.tests[0]
    return table(["", "the prototype", "here"], [[words, theirs, str(r.worse(name, test))] for name, words, theirs in PROTOTYPE if r.has(name)])


# ---- findings ----


def verdict(difference):
    return "not told" if not difference.significant else "better" if difference.mean < 0 else "worse"


def closed(r, method, test):
    """How much of the gap between p0 and p100 p10 closes."""
    low, mid, high = (mean(r.losses(f"{method} {p}", test)) for p in ("p0", "p10", "p100"))
    return (low - mid) / (low - high)


def ladder_finding(r, method, test):
    steps = [(a, b, r.worse(f"{method} {b}", test, f"{method} {a}")) for a, b in zip(LADDER, LADDER[1:])]
    wrong = [f"{b} is not better than {a} ({d})" for a, b, d in steps if d.mean >= 0]
    unsure = [f"{a} and {b} ({d})" for a, b, d in steps if d.mean < 0 and not d.significant]
    return "; ".join(wrong + (["each step is an improvement"] if not wrong else []) + ([f"within the interval: {', '.join(unsure)}"] if unsure else []))


def part_findings(r):
    """The ladder in words, then what hurt and what is not significant."""
    lines = []
    for test in r.tests:
        for method, words in (("rtn", "RTN"), ("gptq", "GPTQ")):
            if r.has(*(f"{method} {p}" for p in LADDER)):
                lines.append(f"{words} on {test}, from p0 to p100: {ladder_finding(r, method, test)}, and "
                             f"p10 closes {100 * closed(r, method, test):.0f} % of the gap between p0 and p100.")
    for kind, words in (("worse", "What did not help but hurt:"), ("not told", "What cannot be told, for its interval has zero:")):
        found = []
        for a, b, text in COMPARED:
            differences = {t: r.worse(a, t, b) for t in r.tests} if r.has(a, b) else {}
            told = [f"{d.plain()} on {t}" for t, d in differences.items() if verdict(d) == kind]
            if told:
                found.append(f"{text} ({', '.join(told)})")
        if found:
            lines.append("\n".join([words, *(f"  - {line}" for line in found)]))
    items = "\n".join(f"- {line}" for line in lines).split("\n")
    return "\n".join(wrapped(item, "    " if item.startswith(" ") else "  ") for item in items)


def part_compared(r):
    """The difference of the losses of two configurations on the same sequences."""
    return table(["", *r.tests], [[words, *(f"{r.worse(a, t, b)}" for t in r.tests)] for a, b, words in COMPARED if r.has(a, b)])


COMPARED = [
    ("rtn p10", "uniform-equal equal", "RTN p10: global against uniform at equal bits"),
    ("gptq p10", "gptq-uniform-equal equal", "GPTQ p10: global against uniform at equal bits"),
    ("mixed p10", "mixed-uniform-equal equal", "RTN p10 calibrated on both domains: global against uniform at equal bits"),
    ("rtn p10", "squares p10", "RTN p10: with first order against without"),
    ("rtn p10", "samples-1 p10", "RTN p10: all samples against 1"),
    ("rtn p10", "samples-4 p10", "RTN p10: all samples against 4"),
    ("gptq p0", "rtn p0", "p0: GPTQ against RTN"),
    ("gptq p10", "rtn p10", "p10: GPTQ against RTN"),
    ("gptq-unordered p0", "rtn p0", "p0: GPTQ without group order against RTN"),
    ("gptq p0", "gptq-unordered p0", "GPTQ p0: with group order against without"),
    ("gptq p10", "gptq-unordered p10", "GPTQ p10: with group order against without"),
    ("clip p0", "rtn p0", "RTN p0: with clip against without"),
    ("clip p10", "rtn p10", "RTN p10: with clip against without"),
    ("gptq-clip p0", "gptq p0", "GPTQ p0: with clip against without"),
    ("gptq-clip p10", "gptq p10", "GPTQ p10: with clip against without"),
    ("gptq-clip p0", "clip p0", "p0 with clip: GPTQ against RTN"),
    ("gptq-clip p10", "clip p10", "p10 with clip: GPTQ against RTN"),
    ("mixed p10", "rtn p10", "RTN p10: calibrated on both domains against one"),
    ("gptq-mixed p0", "gptq p0", "GPTQ p0: calibrated on both domains against one"),
    ("gptq-mixed p10", "gptq p10", "GPTQ p10: calibrated on both domains against one"),
    ("gptq-mixed p0", "rtn p0", "p0: GPTQ calibrated on both domains against RTN"),
    ("gptq-mixed p10", "mixed p10", "p10: GPTQ against RTN, both calibrated on both domains"),
    ("gptq-mixed-clip p0", "gptq-mixed p0", "GPTQ p0 calibrated on both domains: with clip against without"),
    ("gptq-mixed-clip p10", "gptq-mixed p10", "GPTQ p10 calibrated on both domains: with clip against without"),
]


def fill(page, results):
    """The page with its parts written anew."""

    def part(match):
        text = globals()[f"part_{match[1]}"](results)
        return f"<!-- {match[1]} -->\n\n{text}\n\n<!-- end -->"

    return re.sub(r"(?s)<!-- (\w+) -->\n.*?<!-- end -->", part, page)


def main():
    results = Results(sys.argv[1])
    if len(sys.argv) == 2:
        names = [name for name in globals() if name.startswith("part_")]
        print("\n\n".join(f"## {name[5:]}\n\n{globals()[name](results)}" for name in names))
        return
    with open(sys.argv[2], encoding="utf-8") as f:
        page = f.read()
    with open(sys.argv[2] + ".part", "w", encoding="utf-8") as f:
        f.write(fill(page, results))
    os.replace(sys.argv[2] + ".part", sys.argv[2])


if __name__ == "__main__":
    main()
