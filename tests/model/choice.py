#!/usr/bin/env python3
"""Which features keep 8 bits, over a whole model or in every layer alike.

    tests/model/choice.py CHECKPOINT --salience FILE --scheme p10     # prints layer, features, how many keep 8 bits

check_shown.py compares what `mixtune show --salience` prints with this.

A salience file has a float32 tensor [features] for each weight, of the weight's name. Over a whole model all features
stand in one descending order; of equals the first, by layer (the decoder's, then q, k, v, o, gate, up, down, experts in
their order) and then by index. The first floor(features * p / 100) keep 8 bits, and a feature counts one whatever its K.

Alike in every layer, round(features * p / 100) do (half a feature counts as one), by salience or, without a file, by
their squared rounding error in 4 bits.

Of tensor parallelism a layer that is cut along N deals them out: each rank keeps its share of their number, rounded up,
the first of its own. What is cut along K keeps the same ones in every rank.
"""
import argparse
from fractions import Fraction

import numpy as np

import checkpoint
import safetensors


def share(scheme):
    """Of the features that keep 8 bits, exact: p12.5 -> 1/8."""
    scheme = scheme.removesuffix("-sym")
    fixed = {"w4a8": 0, "w8a8": 1}
    return Fraction(fixed[scheme]) if scheme in fixed else Fraction(scheme.removeprefix("p")) / 100


def first_of(scores, count):
    """bool [n]: the count highest; of equals the first."""
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(-scores, kind="stable")[:count]] = True
    return chosen


def salience(model, layer, file, of=lambda file, weight: file[weight].data):
    """float32 of a whole layer's features, in the order of its parts. of: file, weight -> its features' numbers."""
    scores = [of(file, part + ".weight") for part in layer.parts]
    if [len(s) for s in scores] != model.features(layer):
        raise SystemExit(f"{layer.name}: the salience file has {[len(s) for s in scores]} features, not {model.features(layer)}")
    return np.concatenate(scores)


def over_model(model, file, scheme):
    """layer name -> bool [features]."""
    scores = [salience(model, layer, file) for layer in model.layers]
    everything = np.concatenate(scores)
    chosen = first_of(everything, int(len(everything) * share(scheme)))
    ends = np.cumsum([len(s) for s in scores])[:-1]
    return {layer.name: part for layer, part in zip(model.layers, np.split(chosen, ends))}


def overlap(some, others):
    """What share of the ones the others are, both as bool; None of none."""
    return int((some & others).sum()) / int(some.sum()) if some.any() else None


def layer_bytes(n, k, rows8, group, symmetric):
    """Of the tensors in docs/packed.md of a layer [n, k] of which rows8 features have 8 bits; its bias is not counted."""
    padded = -(-k // 128) * 128
    groups, size = -(-padded // group), 0
    for rows, bits in ((rows8, 8), (n - rows8, 4)):
        if rows:
            tall = -(-rows // 16) * 16
            size += padded // 128 * tall // 16 * (4 if bits == 8 else 2) * 512 + 2 * groups * tall
            size += groups * tall if bits == 4 and not symmetric else 0
            size += 4 * rows if rows < n else 0
    return size


def first_that_fit(scores, size, most):
    """How many of the first of all features fit: of every beginning of the order the longest of at most so many bytes.
    scores: of each layer; size: layer, count -> bytes."""
    layers = np.repeat(np.arange(len(scores)), [len(s) for s in scores])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    counts = [0] * len(scores)
    sizes = [size(layer, 0) for layer in range(len(scores))]
    longest = 0
    for length, layer in enumerate(layers[order], 1):
        counts[layer] += 1
        sizes[layer] = size(layer, counts[layer])
        if sum(sizes) <= most:
            longest = length
    return longest


def alike(scores, scheme):
    """bool [features] of one layer."""
    return first_of(scores, int(len(scores) * share(scheme) + Fraction(1, 2)))


def dealt(scores, count, features):
    """bool of a rank's features, of which there are so many in the whole layer, where `count` keep 8 bits."""
    return first_of(scores, -(-count * len(scores) // features))


def filled(chosen, errors, fill):
    """The chosen ones and, up to a multiple of fill, those of the others with the largest errors; none stay none."""
    count = int(chosen.sum())
    more = min(-(-count // fill) * fill, len(chosen)) - count
    if more == 0:
        return chosen
    return chosen | first_of(np.where(chosen, -np.inf, errors), more)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("checkpoint")
    p.add_argument("--salience", required=True, metavar="FILE")
    p.add_argument("--scheme", required=True, help="p10, p12.5, w4a8, w8a8")
    p.add_argument("--uniform", action="store_true", help="in every layer alike")
    options = p.parse_args()
    model, file = checkpoint.Model(options.checkpoint), safetensors.File(options.salience)
    chosen = {} if options.uniform else over_model(model, file, options.scheme)
    for layer in model.layers:
        mask = chosen.get(layer.name)
        mask = alike(salience(model, layer, file), options.scheme) if mask is None else mask
        print(layer.name, len(mask), int(mask.sum()))


if __name__ == "__main__":
    main()
