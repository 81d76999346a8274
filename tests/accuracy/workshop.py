"""What run.py judges, made when it is asked for: saliences, Hessians, packed folders, weights of other methods.

Everything lies in the folder OUT under a name with the hash of what it was made of, so what is there is right.
"""
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import baselines
import configs
from evaluate import linears, windows
from packed import Packed, feature_bits

HERE = os.path.dirname(os.path.abspath(__file__))
SALIENCE = os.path.join(HERE, "../../tuner/quantize/salience.py")

# What stands in place of a model's weights. key: a hash of all that decides them; bits: for each weight with scales and zero
# points, None where nothing is packed; make(): (weight_of, divisors) for Judge.replace().
Made = namedtuple("Made", "key bits make")


def digest(*parts):
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12]


def fingerprint(path):
    """Of a file: its size and first MiB, which of a safetensors file has all that it says of itself; of a folder: of its files."""
    if os.path.isdir(path):
        files = (os.path.join(path, name) for name in sorted(os.listdir(path)))
        return digest(*(f"{os.path.basename(file)} {fingerprint(file)}" for file in files if os.path.isfile(file)))
    with open(path, "rb") as f:
        return digest(os.path.getsize(path), hashlib.sha256(f.read(1 << 20)).hexdigest())


def write_json(path, value):
    with open(path + ".part", "w") as f:
        json.dump(value, f, indent=1)
    os.replace(path + ".part", path)


class Workshop:
    def __init__(self, options, say):
        self.options, self.say = options, say
        self.model = fingerprint(options.model)
        self.texts = digest(*map(fingerprint, options.calibrate), options.samples, options.length)
        with open(shutil.which(options.mixtune), "rb") as f:
            self.program = digest(hashlib.sha256(f.read()).hexdigest())
        self.sets, self.reports, self.opened, self.files = {}, {}, {}, {}

    # ---- files ----

    def path(self, kind, name, key, suffix=""):
        """OUT/kind/name@key; others of that name, which are of other inputs, are removed."""
        os.makedirs(os.path.join(self.options.out, kind), exist_ok=True)
        path = os.path.join(self.options.out, kind, f"{name}@{key}{suffix}")
        for old in glob.glob(glob.escape(os.path.join(self.options.out, kind, name)) + "@*"):
            if not old.startswith(path):
                shutil.rmtree(old) if os.path.isdir(old) else os.remove(old)
        return path

    def tensors(self, kind, name, key, make):
        """The path of a safetensors file that has what make() returns."""
        path = self.path(kind, name, key, ".safetensors")
        if not os.path.exists(path):
            save_file(make(), path + ".part")
            os.replace(path + ".part", path)
        return path

    def command(self, *words):
        """What a program prints; its progress goes to standard error. When it fails the run ends."""
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            self.say(f"this failed: {' '.join(map(str, words))}")
            sys.exit(done.returncode if done.returncode > 0 else 1)
        return done.stdout

    # ---- calibration ----

    def calibrate(self, name, samples, more=(), hessian=False):
        """(saliences, Hessians): a file and a folder that salience.py writes; the second only if asked for."""
        corpora = [*self.options.calibrate, *more]
        key = digest(self.model, samples, self.options.length, *map(fingerprint, corpora))
        paths = {"--out": self.path("salience", name, key, ".safetensors")}
        if hessian:
            paths["--hessian"] = self.path("hessian", name, key)
        missing = [word for option, path in paths.items() if not os.path.exists(path) for word in (option, path)]
        if missing:
            self.say(f"calibrating {name}: {samples} sample{'s' * (samples > 1)} of {', '.join(map(os.path.basename, corpora))}")
            self.command(sys.executable, SALIENCE, "--model", self.options.model, "--mixtune", self.options.mixtune,
                         *(word for text in corpora for word in ("--text", text)), "--samples", samples,
                         "--length", self.options.length, "--threads", self.options.threads, *missing)
        return [*paths.values(), None][:2]

    def hessian(self, name="main"):
        """Of the same samples as the saliences of that name."""
        what = configs.SALIENCES[name]
        return self.calibrate(name, what.samples or self.options.samples, self.options.mix if what.mixed else (), True)[1]

    def salience(self, name):
        what = configs.SALIENCES[name]
        if isinstance(what, configs.Sampled):
            hessian = any(s.hessian and s.salience == name for s in configs.SETS.values())
            path, _ = self.calibrate(name, what.samples or self.options.samples, self.options.mix if what.mixed else (), hessian)
        elif isinstance(what, configs.Squares):
            path = self.tensors("salience", name, fingerprint(self.salience(what.of)), lambda: squares(self.salience(what.of)))
        else:
            path = self.tensors("salience", name, self.baseline_key(what.what), lambda: baselines.scores(self, what.what))
        self.files[name] = path
        return path

    # ---- packed folders ----

    def packed_set(self, name):
        """{scheme: folder} of a set of configs.py."""
        if name in self.sets:
            return self.sets[name]
        what = configs.SETS[name]
        schemes = [self.equal_scheme(*what.like)] if what.like else what.schemes
        options = [*what.options, "--scheme", ",".join(schemes)]
        options += ["--salience", self.salience(what.salience)] if what.salience else []
        options += ["--hessian", self.hessian(what.salience)] if what.hessian else []
        key = digest(self.model, self.program, *(fingerprint(o) if os.path.exists(o) else o for o in options))
        path = self.path("packed", name, key)
        self.reports[name] = self.quantise(path, "--threads", self.options.threads, "--json", *options)
        names = ["equal"] if what.like else schemes
        self.sets[name] = {n: os.path.join(path, s) if len(schemes) > 1 else path for n, s in zip(names, schemes)}
        return self.sets[name]

    def quantise(self, out, *options):
        if not glob.glob(os.path.join(out, "**/*.index.json"), recursive=True):
            self.say(f"packing {os.path.basename(out)}: {' '.join(map(str, options))}")
        return self.command(self.options.mixtune, "quantize", "--model", self.options.model, "--out", out, "--rest", "leave", "--quiet", *options)

    def packed(self, set_name, scheme):
        path = self.packed_set(set_name)[scheme]
        if path not in self.opened:
            self.opened[path] = Packed(path)
        return self.opened[path]

    def equal_scheme(self, set_name, scheme):
        """The share of all features with which every layer has as many bits as that folder has on average."""
        layers = self.packed(set_name, scheme).layers.values()
        return f"p{100 * sum(x['rows8'] * x['k'] for x in layers) / sum(x['n'] * x['k'] for x in layers):.1f}"

    def plain(self):
        """The model in 4 bits: it says what its linear layers are."""
        path = self.path("packed", "layers", digest(self.model, self.program))
        self.quantise(path)
        return Packed(path)

    # ---- what baselines.py asks for ----

    def start(self, judge, packed):
        self.judge = judge
        self.layers = [(layer["layer"], [name for name, _ in layer["parts"]]) for layer in packed.layers.values()]
        self.kept_stats = None

    def weight(self, name):
        return self.judge.own(name)

    def stats(self, name, what):
        """Of the inputs of a layer, under the name of its first part: "mean" |x|, "most" |x| [K], "hessian", x^T x [K, K]."""
        if what == "hessian":
            return linears.Checkpoint(self.hessian()).weight(name)
        if self.kept_stats is None:
            self.kept_stats = load_file(self.tensors("hessian", "inputs", digest(self.model, self.texts), self.watch_inputs))
        found = self.kept_stats.get(f"{name}.{what}")
        return torch.ones(self.weight(name).shape[1]) if found is None else found  # an expert that no token came to

    def watch_inputs(self):
        self.say(f"inputs of the layers over {self.options.samples} samples")
        self.judge.replace()
        sums, most, tokens = {}, {}, {}

        def see(name, x):
            x = x.abs()
            sums[name] = sums.get(name, 0) + x.sum(0).double()
            most[name] = torch.maximum(most[name], x.amax(0)) if name in most else x.amax(0)
            tokens[name] = tokens.get(name, 0) + len(x)

        share = -(-self.options.samples // len(self.options.calibrate))
        for path in self.options.calibrate:
            self.judge.observe(windows(self.judge.tokenizer, path, self.options.length, share), see)
        means = {f"{name}.mean": (x / tokens[name]).float().cpu() for name, x in sums.items()}
        return means | {f"{name}.most": x.cpu() for name, x in most.items()}

    def baseline_key(self, *what):
        with open(baselines.__file__) as f:
            return digest(self.model, f.read(), self.texts, *what)

    # ---- configurations ----

    def prepare(self, make):
        """Made, of what configs.py says."""
        if isinstance(make, configs.Own):
            return Made("own", None, lambda: (None, None))
        if isinstance(make, configs.Packed):
            packed = self.packed(make.set, make.scheme)
            key = digest(json.dumps([[name, layer["hash"], layer["parts"]] for name, layer in sorted(packed.layers.items())]))
            return Made(key, bits_per_weight(packed), lambda: (packed.weight, None))

        def weights():
            made, divisors = getattr(baselines, make.function)(self, **make.options)
            return made.__getitem__, divisors

        return Made(self.baseline_key(make.function, json.dumps(make.options)), None, weights)

    def about(self):
        """What was packed and what salience.py says of its files."""
        said = {}
        for name, path in self.files.items():
            with safe_open(path, "pt") as file:
                said[name] = file.metadata() or {}
        reports = {name: [json.loads(line) for line in text.splitlines()] for name, text in self.reports.items()}
        return {"folders": self.sets, "reports": reports, "saliences": said}


def squares(path):
    """Saliences without the first order, of a file that salience.py wrote."""
    kind = ".squares"
    return {name.removesuffix(kind): x.sum(0) for name, x in load_file(path).items() if name.endswith(kind)}


def bits_per_weight(packed):
    layers = packed.layers.values()
    bits = sum(feature_bits(x, 8) * x["rows8"] + feature_bits(x, 4) * (x["n"] - x["rows8"]) for x in layers)
    return bits / sum(x["n"] * x["k"] for x in layers)
