#!/usr/bin/env python3
"""Is a packed folder (docs/packed.md) what its source rounds to, bit for bit?

    tests/model/check_packed.py SOURCE OUT [--symmetric] [--group 64] [--clip]
    tests/model/check_packed.py SOURCE OUT --scheme p10 --salience FILE [--uniform] [--fill 16]
    tests/model/check_packed.py SOURCE OUT --hessian FILE --method gptq [--group-order index] [--damping 0.1] [--clip]
    tests/model/check_packed.py SOURCE OUT --rest

Every layer is quantised again from the source, by quant.py. Without --scheme the features that keep 8 bits are those
that the folder names; with it they must be those of choice.py. With --rest all other tensors must have the bytes of the
source, and the configuration and the tokenizer must be copies. Prints one line; exits with 1 at the first difference.

Of tensor parallelism OUT is the folder of one rank, whose number stands in its metadata. How many features are chosen
is told of whole layers, which deal them out to the ranks; each rank then fills up its own part.
"""
import argparse
import filecmp
import json
import os
import re
import sys

import numpy as np

import checkpoint
import choice
import gptq
import quant
import safetensors

try:
    from xxhash import xxh3_128_hexdigest
except ImportError:  # then hashes are not looked at
    xxh3_128_hexdigest = None

FILE_KEYS = {"format": "mixtune", "version": "1", "layout": "1"}
REST = "rest.safetensors"
PAD = re.compile(r"pad\.\d+")
COPIED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class Different(Exception):
    pass


def same(what, found, expected):
    if found != expected:
        raise Different(f"{what} is {found!r}, not {expected!r}")


def same_array(name, found, expected):
    """Bit for bit."""
    same(f"{name}: shape", list(found.shape), list(expected.shape))
    if found.tobytes() != expected.tobytes():
        bits = lambda x: np.ascontiguousarray(x).view(f"u{x.itemsize}")
        places = np.argwhere(bits(found) != bits(expected))
        at = tuple(int(i) for i in places[0])
        raise Different(f"{name}{list(at)} is {found[at]!r}, not {expected[at]!r}; {len(places)} differ")


class Check:
    def __init__(self, options):
        self.o = options
        self.model = checkpoint.Model(options.source)
        self.packed = safetensors.Folder(options.out)
        if not self.packed.index:
            raise Different(f"{options.out} has no {safetensors.INDEX}: it is not finished")
        top = self.packed.index["metadata"]
        self.tp, self.rank = int(top["tp"]), int(top["rank"])
        self.salience = safetensors.File(options.salience) if options.salience else None
        self.hessian = safetensors.Folder(options.hessian) if options.hessian else None
        self.rounded = {}  # (layer, rank, bits) -> Check.round()
        self.chosen = None
        if options.scheme and not options.uniform:
            if not self.salience:
                raise SystemExit("--scheme needs --salience or --uniform")
            self.chosen = choice.over_model(self.model, self.salience, options.scheme)
        self.weights = self.features8 = 0

    def index(self):
        index, files = self.packed.index, self.packed.files
        top = index["metadata"]
        for key, value in {**FILE_KEYS, "group": str(self.o.group)}.items():
            same(f"index: {key}", top.get(key), value)
        for key in ("model", "scheme", "tp", "rank"):
            same(f"index: type of {key}", type(top.get(key)), str)
        clipped = ("", f", clipped by {'outputs' if self.o.hessian else 'weights'}")[self.o.clip]
        same("index: method", top.get("method"), self.o.method + clipped)
        found = {name: file.path for file in files.values() for name in file if not PAD.fullmatch(name)}
        same("index: names of tensors", sorted(index["weight_map"]), sorted(found))
        size = sum(self.packed[name].data.nbytes for name in found)
        same("index: total_size", top["total_size"], size)
        on_disk = sorted(name for name in os.listdir(self.o.out) if name.endswith(".safetensors"))
        same("index: files", sorted(files), on_disk)

    def layers(self):
        by_file = {}
        for layer in self.model.layers:
            by_file.setdefault(f"layer-{layer.decoder:05d}.safetensors", []).append(layer)
        same("files of layers", sorted(set(self.packed.files) - {REST}), sorted(by_file))
        for name, layers in by_file.items():
            file = self.packed.files[name]
            for key, value in FILE_KEYS.items():
                same(f"{name}: {key}", file.metadata.get(key), value)
            same(f"{name}: has a key", bool(file.metadata.get("key")), True)
            names = set(file.metadata) - set(FILE_KEYS) - {"key"}
            same(f"{name}: layers", sorted(names), sorted(layer.name for layer in layers))
            expected = set()
            for layer in layers:
                expected |= {f"{layer.name}.{tensor}" for tensor in self.layer(file, layer)}
            same(f"{name}: tensors", sorted(t for t in file if not PAD.fullmatch(t)), sorted(expected))
            for tensor in filter(PAD.fullmatch, file):
                same(f"{name}: type of {tensor}", file[tensor].dtype, "U8")

    def layer(self, file, layer):
        """Checks one layer; returns the names of its tensors."""
        w = self.model.weight(layer, self.tp, self.rank)
        n, k = w.shape
        is8, said = self.choice(file, layer, w)
        rows = self.model.rows(layer, self.tp, self.rank)
        expected_words = {
            "layer": self.short_name(layer), "n": n, "k": k, "group": self.o.group, "symmetric": self.o.symmetric,
            "tp": self.tp, "rank": self.rank, "rows8": int(is8.sum()),
            "parts": [[part, len(r)] for part, r in zip(layer.parts, rows)],
        }
        for key, value in expected_words.items():
            same(f"{layer.name}: {key}", said.get(key), value)
        same(f"{layer.name}: keys", sorted(said), sorted([*expected_words, "rows8_chosen", "hash"]))
        tensors = self.tensors(layer, is8)
        for name, tensor in tensors.items():
            full = f"{layer.name}.{name}"
            if full not in file:
                raise Different(f"{full} is missing")
            same(f"{full}: type", file[full].dtype, tensor.dtype)
            same_array(full, file[full].data, tensor.data)
            same(f"{full}: alignment", file.begin(full) % 256, 0)
            if xxh3_128_hexdigest:
                same(f"{full}: hash", said["hash"].get(name), xxh3_128_hexdigest(tensor.raw()))
        same(f"{layer.name}: names of hashes", sorted(said["hash"]), sorted(tensors))
        self.weights += w.size
        self.features8 += int(is8.sum())
        return tensors

    def short_name(self, layer):
        """Its name without what says where it is: experts.gate_up."""
        return re.sub(r"\.\d+\.", ".", layer.name.removeprefix(f"{self.model.prefix}.layers.{layer.decoder}."))

    def quantiser(self, layer, rank):
        """That of the Hessian of this rank's inputs; None without one, or where no token came."""
        if not self.hessian:
            return None
        h = self.hessian[layer.parts[0] + ".weight"].data
        if layer.kind in checkpoint.ALONG_K:
            k = len(h) // self.tp
            h = h[rank * k : (rank + 1) * k, rank * k : (rank + 1) * k]
        o = self.o
        return gptq.Quantiser(h, o.group, o.symmetric, o.group_order, o.damping, o.clip, o.method == "gptq") if h.any() else None

    def round(self, layer, rank, bits):
        """(codes, scales, zeros, errors) of all features of a layer in one rank."""
        key = layer.name, rank, bits
        if key not in self.rounded:
            w, quantiser, o = self.model.weight(layer, self.tp, rank), self.quantiser(layer, rank), self.o
            if quantiser:
                ends = np.cumsum([len(rows) for rows in self.model.rows(layer, self.tp, rank)])[:-1]
                found = [quantiser.quantise(part, bits) for part in np.split(w, ends)]
                self.rounded[key] = tuple(np.concatenate(x) for x in zip(*found))
            else:
                codes, scales, zeros = quant.quantise(w, bits, o.group, o.symmetric, o.clip)
                if quant.improvable(w, codes, scales, zeros, bits, o.group).any():
                    raise SystemExit(f"{layer.name}: quant.py has rounded to a code that is not the nearest")
                self.rounded[key] = codes, scales, zeros, quant.feature_errors(w, codes, scales, zeros, o.group)
        return self.rounded[key]

    def tensors(self, layer, is8):
        """name -> what the folder must have."""
        o, found = self.o, {}
        for bits, rows in ((8, np.flatnonzero(is8)), (4, np.flatnonzero(~is8))):
            if len(rows) == 0:
                continue
            codes, scales, zeros, _ = (x[rows] for x in self.round(layer, self.rank, bits))
            name, k = f"w{bits}.", codes.shape[1]
            found[name + "blocks"] = safetensors.Tensor("U8", quant.pack(quant.pad_codes(codes, zeros, o.group), bits))
            found[name + "scales"] = safetensors.Tensor("F16", quant.pad_groups(scales, k, o.group))
            if bits == 4 and not o.symmetric:
                found[name + "zeros"] = safetensors.Tensor("U8", quant.pad_groups(zeros, k, o.group))
            if len(rows) < len(is8):
                found[name + "columns"] = safetensors.Tensor("I32", rows.astype("<i4"))
        bias = self.model.bias(layer, self.tp, self.rank)
        if bias:
            found["bias"] = bias
        return found

    def errors(self, layer, rank):
        return self.round(layer, rank, 4)[3]

    def choice(self, file, layer, w):
        """(bool [n]: features that keep 8 bits, metadata of the layer): the folder's own, checked as far as asked."""
        said = json.loads(file.metadata[layer.name])
        rows8, n = said["rows8"], len(w)
        is8 = np.zeros(n, bool)
        if rows8 == n:
            is8[:] = True
        elif rows8:
            columns = file[f"{layer.name}.w8.columns"].data
            if len(columns) != rows8 or (np.diff(columns) <= 0).any() or columns[0] < 0 or columns[-1] >= n:
                raise Different(f"{layer.name}: w8.columns are not {rows8} increasing features of {n}")
            is8[columns] = True
        if self.o.scheme:
            chosen = self.chosen_of(layer)
            same(f"{layer.name}: rows8_chosen", said["rows8_chosen"], int(chosen.sum()))
            expected = choice.filled(chosen, self.errors(layer, self.rank), self.o.fill)
            for feature in np.flatnonzero(is8 != expected)[:1]:
                same(f"{layer.name}: feature {feature}: keeps 8 bits", bool(is8[feature]), bool(expected[feature]))
        return is8, said

    def scores(self, layer):
        """What the rank's features are chosen by, the highest first."""
        if not self.salience:
            if layer.kind not in checkpoint.ALONG_K:
                return self.errors(layer, self.rank)
            return sum(self.errors(layer, rank) for rank in range(self.tp))
        begins = np.cumsum([0, *self.model.features(layer)])
        rows = self.model.rows(layer, self.tp, self.rank)
        whole = choice.salience(self.model, layer, self.salience)
        return np.concatenate([whole[begin + part] for begin, part in zip(begins, rows)])

    def chosen_of(self, layer):
        """bool [features of this rank]"""
        features, scores = sum(self.model.features(layer)), self.scores(layer)
        if self.chosen:
            count = int(self.chosen[layer.name].sum())
        else:
            count = int(choice.alike(np.zeros(features), self.o.scheme).sum())
        if self.chosen and self.tp == 1:
            return self.chosen[layer.name]
        return choice.dealt(scores, count, features)

    def rest(self):
        """Returns how many tensors were compared."""
        source, file = self.model.folder, self.packed.files[REST]
        names = set(source) - self.model.quantised()
        same("rest: names of tensors", sorted(n for n in file if not PAD.fullmatch(n)), sorted(names))
        for name in names:
            same(f"{name}: type", file[name].dtype, source[name].dtype)
            same_array(name, file[name].data, source[name].data)
        for name in COPIED:
            source, out = (os.path.join(folder, name) for folder in (self.o.source, self.o.out))
            if os.path.exists(source):
                same(f"{name}: is a copy", os.path.exists(out) and filecmp.cmp(source, out, shallow=False), True)
        return len(names)


def parser():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("source")
    p.add_argument("out")
    p.add_argument("--symmetric", action="store_true")
    p.add_argument("--group", type=int, default=128)
    p.add_argument("--clip", action="store_true", help="ranges of groups were clipped")
    p.add_argument("--rest", action="store_true", help="check what is not quantised too")
    p.add_argument("--scheme", help="p10, p12.5, w4a8, w8a8: check which features keep 8 bits")
    p.add_argument("--salience", metavar="FILE")
    p.add_argument("--uniform", action="store_true", help="the scheme's share was taken of every layer")
    p.add_argument("--method", choices=("rtn", "gptq"), default="rtn")
    p.add_argument("--hessian", metavar="FILE", help="for gptq and for --clip; without it --clip goes by the weights' error")
    p.add_argument("--group-order", choices=("hessian", "index"), default="hessian")
    p.add_argument("--damping", type=float, default=0.01)
    p.add_argument("--fill", type=int, default=1, help="8-bit parts were filled up to a multiple of this (1)")
    return p


def main():
    options = parser().parse_args()
    try:
        check = Check(options)
        check.index()
        check.layers()
        rest = check.rest() if options.rest else 0
    except Different as difference:
        sys.exit(f"{options.out}: {difference}")
    others = f", {rest} other tensors" if options.rest else ""
    hashes = "" if xxh3_128_hexdigest else " (hashes not looked at)"
    print(f"{len(check.model.layers)} layers, {check.features8} features with 8 bits, {check.weights} weights{others}: "
          f"0 differ{hashes}")


if __name__ == "__main__":
    main()
