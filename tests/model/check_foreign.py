#!/usr/bin/env python3
"""Do a quantised checkpoint of another tool (foreign.py) and a packed folder (docs/packed.md) have the same weights?

    tests/model/check_foreign.py FOREIGN PACKED    # whichever was made from the other

Codes, zero points, scales and widths of every weight must be equal, and biases, and all tensors that are not quantised.
A group of one may be many of the other. Prints one line; exits with 1 at the first difference.
"""
import argparse
import json
import sys

import numpy as np

import checkpoint
import foreign
import quant
import safetensors
from check_packed import PAD, REST, Different, same, same_array


class Weights:
    """Each [N, K]: bits, codes, zeros, scales."""

    NAMES = ("bits", "codes", "zeros", "scales")

    def __init__(self, n, k):
        self.bits, self.codes, self.zeros = (np.zeros((n, k), np.int16) for _ in range(3))
        self.scales = np.zeros((n, k), np.float32)

    def put(self, rows, bits, codes, zeros, scales):
        self.bits[rows], self.codes[rows], self.zeros[rows], self.scales[rows] = bits, codes, zeros, scales

    def dequantised(self):
        return (self.codes - self.zeros).astype(np.float32) * self.scales


def from_foreign(model, layer, linears, tp, rank):
    found = []
    for part, rows in zip(layer.parts, model.rows(layer, tp, rank)):
        linear = linears[part]
        n, k = linear.codes.shape
        weights = Weights(n, k)
        weights.put(slice(None), linear.bits, linear.codes, linear.zeros[:, linear.g_idx], linear.scales[:, linear.g_idx])
        columns = slice(None)
        if layer.kind in checkpoint.ALONG_K:
            columns = slice(rank * (k // tp), (rank + 1) * (k // tp))
        found.append({name: getattr(weights, name)[rows, columns] for name in Weights.NAMES})
    whole = Weights(0, 0)
    for name in Weights.NAMES:
        setattr(whole, name, np.concatenate([part[name] for part in found]))
    return whole


def from_packed(file, name):
    said = json.loads(file.metadata[name])
    n, k, group = said["n"], said["k"], said["group"]
    weights = Weights(n, k)
    for bits, count in ((8, said["rows8"]), (4, n - said["rows8"])):
        if count == 0:
            continue
        get = lambda last, bits=bits: file[f"{name}.w{bits}.{last}"].data
        rows = get("columns") if count < n else np.arange(n)
        spread = lambda x, count=count: np.repeat(x.T[:count], group, axis=1)[:, :k]
        codes = quant.unpack(get("blocks"), bits)[:count, :k]
        scales = spread(get("scales").astype(np.float32))
        zeros = quant.SYMMETRIC_ZERO if bits == 4 else 0
        if bits == 4 and not said["symmetric"]:
            zeros = spread(get("zeros"))
        weights.put(rows, bits, codes, zeros, scales)
    return weights


def check(foreign_path, packed_path):
    """Returns (layers, weights, other tensors) that were compared."""
    linears = dict(foreign.read(foreign_path))
    model = checkpoint.Model(foreign_path, {part: linear.codes.shape for part, linear in linears.items()})
    packed = safetensors.Folder(packed_path)
    tp, rank = (int(packed.index["metadata"][key]) for key in ("tp", "rank"))
    count, parts = 0, set()
    for layer in model.layers:
        file = packed.where.get(f"{layer.name}.w4.blocks", packed.where.get(f"{layer.name}.w8.blocks"))
        if file is None:
            raise Different(f"{layer.name} is not there")
        theirs, ours = from_foreign(model, layer, linears, tp, rank), from_packed(file, layer.name)
        for name in Weights.NAMES:
            same_array(f"{layer.name}: {name}", getattr(ours, name), getattr(theirs, name))
        same_array(f"{layer.name}: dequantised", ours.dequantised(), theirs.dequantised())
        bias = model.bias(layer, tp, rank)
        same(f"{layer.name}: has a bias", f"{layer.name}.bias" in file, bias is not None)
        if bias:
            same_array(f"{layer.name}: bias", file[f"{layer.name}.bias"].data, bias.data)
        count += ours.codes.size
        parts |= set(layer.parts)
    names = {name for name in model.folder if name.rsplit(".", 1)[0] not in parts}
    rest = packed.files[REST]
    same("names of other tensors", sorted(n for n in rest if not PAD.fullmatch(n)), sorted(names))
    for name in names:
        same(f"{name}: type", rest[name].dtype, model.folder[name].dtype)
        same_array(name, rest[name].data, model.folder[name].data)
    return len(model.layers), count, len(names)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("foreign")
    p.add_argument("packed")
    options = p.parse_args()
    try:
        layers, weights, others = check(options.foreign, options.packed)
    except Different as difference:
        sys.exit(f"{options.packed}: {difference}")
    print(f"{layers} layers, {weights} weights, {others} other tensors: 0 differ")


if __name__ == "__main__":
    main()
