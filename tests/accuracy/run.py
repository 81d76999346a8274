#!/usr/bin/env python3
"""Quantises a model in many ways and judges each on texts; `make accuracy` runs it, docs/accuracy.md explains it.

    tests/accuracy/run.py --model SmolLM2-135M --calibrate book.txt --test book=rest.txt --test other=manual.txt --out OUT

OUT has saliences, Hessians, packed folders, results.jsonl (every result, under a key of all that decides it) and, at the
end, results.json for table.py and picture.py. Interrupted, the same command goes on from there.
"""
import argparse
import fnmatch
import hashlib
import json
import os
import shutil
import sys
import time

import torch

import configs
from evaluate import EVALUATION, BadText, Judge, windows
from linears import Trouble  # evaluate knows where it is
from workshop import Workshop, write_json


def say(text):
    print(f"accuracy: {text}", file=sys.stderr, flush=True)


def refuse(sentence):
    say(sentence)
    sys.exit(64)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="a Hugging Face folder in fp32, fp16 or bf16")
    p.add_argument("--calibrate", required=True, nargs="+", metavar="TEXT", help="files or folders of text to calibrate with")
    p.add_argument("--mix", nargs="*", default=[], metavar="TEXT", help="texts of other domains, for what is calibrated on both")
    p.add_argument("--test", required=True, action="append", metavar="NAME=TEXT", help="a text to test on; the first is the main one")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--samples", type=int, default=16, help="sequences to calibrate with (default: %(default)s)")
    p.add_argument("--sequences", type=int, default=20, help="sequences of each test at most, spread over it; 0: all (default: %(default)s)")
    p.add_argument("--length", type=int, default=512, help="tokens of a sequence (default: %(default)s)")
    p.add_argument("--only", default="*", metavar="PATTERN", help="configurations whose names match; several are separated by |")
    p.add_argument("--device", default="cpu", help="where the model is judged: cpu, cuda (default: %(default)s)")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--mixtune", default=os.environ.get("MIXTUNE", "build/mixtune"))
    options = p.parse_args()
    options.test = dict(item.partition("=")[::2] for item in options.test)
    for path in [options.model, *options.calibrate, *options.mix, *options.test.values()]:
        if not os.path.exists(path):
            refuse(f"there is no {path!r}; --test is NAME=TEXT")
    if not shutil.which(options.mixtune):
        refuse(f"there is no program {options.mixtune!r}; make it, or say with --mixtune where it is")
    options.only = options.only.split("|")
    return options


class Store:
    """results.jsonl: losses of sequences, under keys of all that decides them."""

    def __init__(self, out):
        self.path, self.found = os.path.join(out, "results.jsonl"), {}
        if os.path.exists(self.path):
            with open(self.path) as f:
                for line in f:
                    if line.endswith("\n"):  # the last one may be cut short
                        self.take(json.loads(line))

    def take(self, record):
        self.found.update(((record["key"], sequence), loss) for sequence, loss in record["losses"])

    def add(self, record):
        self.take(record)
        with open(self.path, "a") as f:
            f.write(json.dumps(record) + "\n")


def key_of(*parts):
    return hashlib.sha256(json.dumps([EVALUATION, *parts]).encode()).hexdigest()[:16]


class Clock:
    """Progress of sequences, and the time left."""

    def __init__(self, total):
        self.total, self.done, self.spent = total, 0, 0.0

    def lap(self, text, begin, count):
        self.done += count
        self.spent += time.monotonic() - begin
        left = self.spent / self.done * (self.total - self.done)
        say(f"{text}; {self.done} of {self.total} sequences, about {left / 60:.0f} min left")


class Judging:
    """Judges configurations one after the other; of each only the sequences that the store lacks."""

    def __init__(self, options, shop, judge):
        self.options, self.shop, self.judge, self.store = options, shop, judge, Store(options.out)
        self.ids = {}
        for test, path in options.test.items():
            rows = windows(judge.tokenizer, path, options.length, options.sequences)
            self.ids[test] = {key_of(row.tolist()): row for row in rows}

    def run(self, chosen):
        """{configuration: {"bits": for each weight, "losses": {test: of each sequence}}}"""
        clock, found = Clock(sum(map(len, self.ids.values())) * len(chosen)), {}
        for config in chosen:
            made = self.shop.prepare(config.make)
            key, standing, losses = key_of(self.shop.model, config.acts, made.key), False, {}
            for test, rows in self.ids.items():
                missing = [sequence for sequence in rows if (key, sequence) not in self.store.found]
                clock.total -= len(rows) - len(missing)
                if missing:
                    if not standing:
                        self.judge.replace(*made.make())
                        standing = True
                    self.measure(config, test, key, missing, clock)
                losses[test] = [self.store.found[key, sequence] for sequence in rows]
            found[config.name] = {"bits": made.bits, "losses": losses}
        return found

    def measure(self, config, test, key, missing, clock):
        begin = time.monotonic()
        rows = torch.stack([self.ids[test][sequence] for sequence in missing])
        losses = self.judge.losses(rows, config.acts, self.options.threads).tolist()
        self.store.add({"config": config.name, "test": test, "key": key, "losses": list(zip(missing, losses))})
        clock.lap(f"{config.name} on {test}: loss {sum(losses) / len(losses):.4f}", begin, len(rows))


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    torch.set_num_threads(options.threads)
    begin = time.monotonic()
    shop = Workshop(options, say)
    packed = shop.plain()
    judge = Judge(options.model, packed, options.device)
    shop.start(judge, packed)
    chosen = [c for c in configs.CONFIGS if any(fnmatch.fnmatch(c.name, p) for p in options.only) and (options.mix or not configs.takes_mix(c))]
    found = Judging(options, shop, judge).run(chosen)
    base = lambda path: os.path.basename(os.path.normpath(path))
    about = {"model": base(options.model), "calibrate": list(map(base, options.calibrate)), "mix": list(map(base, options.mix)),
             "tests": {test: base(path) for test, path in options.test.items()}, "samples": options.samples,
             "sequences": options.sequences, "length": options.length, "threads": options.threads,
             "seconds": round(time.monotonic() - begin), **shop.about()}
    write_json(os.path.join(options.out, "results.json"), {"about": about, "configs": found})


if __name__ == "__main__":
    try:
        main()
    except (Trouble, BadText) as error:
        sys.exit(f"accuracy: {error}")
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from there")
        sys.exit(75)
