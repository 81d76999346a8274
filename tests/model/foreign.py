#!/usr/bin/env python3
"""Quantised checkpoints as other tools write them, from a checkpoint of floats, and a reader of their codes.

    tests/model/foreign.py SOURCE OUT --format pack-quantized --symmetric
    tests/model/foreign.py SOURCE OUT --format gptq --bits 8 --symmetric --group 64
    tests/model/foreign.py SOURCE OUT --format awq --group 64

    for part, linear in read("OUT"): ...           # codes, zeros and scales as mixtune has them

Their values are not what rounding would give: one code in eight is off by one, as GPTQ's are. Layouts, for W [N, K]:

int-quantized (compressed-tensors): weight int8 [N, K], weight_scale [N, groups], weight_zero_point int8 [N, groups].
pack-quantized (compressed-tensors): weight_packed int32 [N, K/8], field i of a word is input feature 8w + i, stored + 8;
    weight_scale [N, groups]; weight_zero_point int32 [N/8, groups], packed along N; weight_shape int64 [2];
    weight_g_idx int32 [K] where groups do not lie in order.
gptq (AutoGPTQ; version 1 of the format) and gptq_v2 (GPTQModel): qweight int32 [K/8, N], packed along K; qzeros int32
    [groups, N/8], packed along N, of version 1 less one; scales [groups, N]; g_idx int32 [K].
awq (AutoAWQ, "gemm"): qweight int32 [K, N/8], qzeros int32 [groups, N/8], field i of a word is output feature
    8w + (0 2 4 6 1 3 5 7)[i]; scales [groups, N].

With 8 bits a word has 4 fields, stored + 128. Symmetric zero points are 0 (stored 8 or 128); compressed-tensors leaves
them out. A zero point of 0 cannot be stored in version 1, whose tools make none.
"""
import argparse
import json
import os
import shutil
import zlib
from typing import NamedTuple

import numpy as np

import checkpoint
import safetensors

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
COMPRESSED = ("int-quantized", "pack-quantized")
FORMATS = (*COMPRESSED, "gptq", "gptq_v2", "awq")


class Linear(NamedTuple):
    """w = (codes - zeros) scales. Codes and zero points are 0 to 15, of 8 bits -128 to 127."""

    bits: int
    codes: np.ndarray  # int16 [N, K]
    zeros: np.ndarray  # int16 [N, groups]
    scales: np.ndarray  # float32 [N, groups]
    g_idx: np.ndarray  # int [K]: the group of each input feature

    def dequantised(self):
        return (self.codes - self.zeros[:, self.g_idx]).astype(np.float32) * self.scales[:, self.g_idx]


def offset(bits):
    """What is added to a code for it to be stored as an unsigned field."""
    return 0 if bits == 4 else 128


def pack_words(x, bits, axis):
    """Unsigned fields -> int32 words along an axis, the first field lowest; a last word may not be full."""
    per = 32 // bits
    x = np.moveaxis(x, axis, -1).astype(np.uint32)
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % per)])
    shifts = np.arange(per, dtype=np.uint32) * bits
    words = np.bitwise_or.reduce(x.reshape(*x.shape[:-1], -1, per) << shifts, axis=-1)
    return np.ascontiguousarray(np.moveaxis(words, -1, axis)).view(np.int32)


def unpack_words(words, bits, axis, count):
    """The inverse: int16, the first `count` along the axis."""
    words = np.moveaxis(words.view(np.uint32), axis, -1)
    shifts = np.arange(32 // bits, dtype=np.uint32) * bits
    fields = (words[..., None] >> shifts) & ((1 << bits) - 1)
    fields = fields.reshape(*words.shape[:-1], -1)[..., :count]
    return np.moveaxis(fields, -1, axis).astype(np.int16)


def awq_words(x):
    """[..., N] -> int32 [..., N/8]"""
    return pack_words(x.reshape(*x.shape[:-1], -1, 8)[..., AWQ_ORDER].reshape(x.shape), 4, -1)


def awq_fields(words):
    fields = unpack_words(words, 4, -1, words.shape[-1] * 8)
    return fields.reshape(*words.shape, 8)[..., np.argsort(AWQ_ORDER)].reshape(fields.shape)


def in_order(k, size):
    """Groups that lie in order; size: of one, -1 or None where there is one over all of K."""
    return np.arange(k) // (k if size in (-1, None) else size)


# Making one


def round_scales(s, options):
    """Of the type that is stored. bf16 has smaller ones than fp16, which a reader of fp16 would have to change."""
    least = 2.0**-60 if options.small_scales else 2.0**-14 if options.scale_type == "BF16" else 2.0**-24
    s = np.maximum(s, np.float32(least))
    return safetensors.as_float32(safetensors.as_type(s, options.scale_type))


def ranges(w, options):
    """(scales, zeros) of w [N, K'], one group."""
    levels = 2**options.bits - 1
    low, high = (np.float32(0), w.min(axis=1)), (np.float32(0), w.max(axis=1))
    low, high = np.minimum(*low), np.maximum(*high)
    if options.symmetric:
        s = round_scales(2 * np.maximum(-low, high) / np.float32(levels), options)
        return s, np.full(len(w), 8 if options.bits == 4 else 0, np.int16)
    s = round_scales((high - low) / np.float32(levels), options)
    z = np.clip(np.rint(-low / s), 1 if options.format == "gptq" else 0, levels)
    return s, (z - offset(options.bits)).astype(np.int16)


def quantised(name, w, options):
    rng = np.random.default_rng([options.seed, zlib.crc32(name.encode())])
    g_idx = in_order(w.shape[1], options.group)
    if options.format == "awq" and w.shape[1] % (g_idx == 0).sum():
        raise SystemExit(f"{name}: awq has only whole groups, and K is {w.shape[1]}")
    if options.act_order:
        g_idx = rng.permutation(g_idx)
    pairs = [ranges(w[:, g_idx == g], options) for g in range(g_idx.max() + 1)]
    scales, zeros = (np.stack(x, axis=1) for x in zip(*pairs))
    low = -offset(options.bits)
    codes = np.rint(w / scales[:, g_idx]) + zeros[:, g_idx]
    codes += rng.choice([-1, 0, 1], codes.shape, p=[1 / 16, 7 / 8, 1 / 16])
    codes = np.clip(codes, low, low + 2**options.bits - 1).astype(np.int16)
    return Linear(options.bits, codes, zeros, scales, g_idx)


def stored(linear, options):
    """last part of a tensor's name -> tensor"""
    o, bits = options, linear.bits
    shift = offset(bits)
    fields, zeros = linear.codes + shift, linear.zeros + shift
    signed = 8 if bits == 4 else 0  # compressed-tensors counts 4-bit codes from -8
    scales = safetensors.as_type(linear.scales, o.scale_type)
    if o.format == "int-quantized":
        found = {"weight": (linear.codes - signed).astype(np.int8), "weight_scale": scales}
        if not o.symmetric:
            found["weight_zero_point"] = (linear.zeros - signed).astype(np.int8)
        return found
    if o.format == "pack-quantized":
        shape = np.array(linear.codes.shape, np.int64)
        found = {"weight_packed": pack_words(fields, bits, 1), "weight_scale": scales, "weight_shape": shape}
        if not o.symmetric:
            found["weight_zero_point"] = pack_words(zeros, bits, 0)
        if o.act_order:
            found["weight_g_idx"] = linear.g_idx.astype(np.int32)
        return found
    scales = safetensors.Tensor(scales.dtype, scales.data.T)
    if o.format == "awq":
        return {"qweight": awq_words(fields.T), "qzeros": awq_words(zeros.T), "scales": scales}
    zeros = zeros - 1 if o.format == "gptq" else zeros
    return {"qweight": pack_words(fields.T, bits, 0), "qzeros": pack_words(zeros.T, bits, 1), "scales": scales,
            "g_idx": linear.g_idx.astype(np.int32)}


def quantization_config(options, ignored):
    o = options
    if o.format in COMPRESSED:
        shared = {"type": "int", "block_structure": None, "observer_kwargs": {}, "actorder": None}
        weights = {
            **shared, "num_bits": o.bits, "symmetric": o.symmetric, "strategy": "channel" if o.group == -1 else "group",
            "group_size": None if o.group == -1 else o.group, "dynamic": False, "observer": "minmax",
            "actorder": "group" if o.act_order else None,
        }
        acts = {**shared, "num_bits": 8, "symmetric": True, "strategy": "token", "group_size": None, "dynamic": True, "observer": None}
        group = {"targets": ["Linear"], "weights": weights, "input_activations": None if o.weights_only else acts,
                 "output_activations": None, "format": o.format}
        return {"quant_method": "compressed-tensors", "format": o.format, "config_groups": {"group_0": group}, "ignore": ignored,
                "kv_cache_scheme": None, "quantization_status": "compressed", "global_compression_ratio": None,
                "sparsity_config": {}, "transform_config": {}, "version": "0.12.2"}
    if o.format == "awq":
        return {"quant_method": "awq", "bits": 4, "group_size": o.group, "zero_point": True, "version": "gemm",
                "modules_to_not_convert": [name for name in ignored if name != "lm_head"] or None}
    said = "gptq" if o.mislabelled else o.format
    return {"quant_method": "gptq", "bits": o.bits, "group_size": o.group, "desc_act": o.act_order, "sym": o.symmetric,
            "checkpoint_format": said, "damp_percent": 0.01, "static_groups": False, "true_sequential": True, "lm_head": False,
            "pack_dtype": "int32"}


def write(source, out, options):
    model = checkpoint.Model(source)
    linears = {part for layer in model.layers for part in layer.parts}
    tensors, ignored = {}, []
    for name in model.folder:
        part = name.removesuffix(".weight")
        if part in linears and part != name:
            linear = quantised(part, safetensors.as_float32(model.folder[name]), options)
            tensors.update({f"{part}.{last}": tensor for last, tensor in stored(linear, options).items()})
            continue
        tensors[name] = model.folder[name]
        if part.endswith(("lm_head", ".gate")):  # linear layers, but not of those that are quantised
            ignored.append(part)
    safetensors.write_folder(out, tensors, options.shards)
    for name in os.listdir(source):
        if name.endswith(".json") and name not in ("config.json", safetensors.INDEX):
            shutil.copy(os.path.join(source, name), out)
    with open(os.path.join(source, "config.json")) as f:
        config = json.load(f)
    config["quantization_config"] = quantization_config(options, ignored)
    texts = {"config.json": config}
    if options.format.startswith("gptq"):
        texts["quantize_config.json"] = config["quantization_config"]
    for name, content in texts.items():
        with open(os.path.join(out, name), "w") as f:
            json.dump(content, f, indent=2)


# Reading one


def read_compressed(get, weights):
    bits = weights["num_bits"]
    scales = safetensors.as_float32(get("weight_scale"))
    packed, zeros, g_idx = get("weight_packed"), get("weight_zero_point"), get("weight_g_idx")
    signed = 8 if bits == 4 else 0
    if packed:
        n, k = (int(x) for x in get("weight_shape").data)
        codes = unpack_words(packed.data, bits, 1, k) - offset(bits)
        zeros = unpack_words(zeros.data, bits, 0, n) - offset(bits) if zeros else None
    else:
        codes = get("weight").data.astype(np.int16) + signed
        zeros = zeros.data.astype(np.int16) + signed if zeros else None
    if zeros is None:
        zeros = np.full(scales.shape, signed, np.int16)
    g_idx = g_idx.data if g_idx else in_order(codes.shape[1], weights.get("group_size"))
    return Linear(bits, codes, zeros, scales, g_idx)


def read_gptq(get, said):
    bits = said["bits"]
    qweight, qzeros, scales = get("qweight").data, get("qzeros").data, safetensors.as_float32(get("scales"))
    n, shift = scales.shape[1], offset(bits)
    codes = unpack_words(qweight, bits, 0, qweight.shape[0] * (32 // bits))
    zeros = unpack_words(qzeros, bits, 1, n)
    middle = 2 ** (bits - 1)
    if said.get("checkpoint_format") != "gptq_v2" and not (said["sym"] and (zeros == middle).all()):
        zeros = zeros + 1  # version 1; a symmetric one with zero points in the middle is mislabelled
    return Linear(bits, codes.T - shift, zeros.T - shift, scales.T, get("g_idx").data)


def read_awq(get, said):
    scales = safetensors.as_float32(get("scales"))
    codes = awq_fields(get("qweight").data)
    g_idx = in_order(codes.shape[0], said["group_size"])
    return Linear(4, codes.T, awq_fields(get("qzeros").data).T, scales.T, g_idx)


LASTS = (".weight_scale", ".qweight")


def read(path):
    """Yields (linear layer, Linear) of a quantised checkpoint."""
    folder = safetensors.Folder(path)
    with open(os.path.join(path, "config.json")) as f:
        said = json.load(f)["quantization_config"]
    method = said["quant_method"]
    for part in dict.fromkeys(name.removesuffix(last) for name in folder for last in LASTS if name.endswith(last)):
        get = lambda last, part=part: folder[f"{part}.{last}"] if f"{part}.{last}" in folder else None
        if method == "compressed-tensors":
            (group,) = said["config_groups"].values()
            yield part, read_compressed(get, group["weights"])
        else:
            yield part, {"gptq": read_gptq, "awq": read_awq}[method](get, said)


def parser():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("source")
    p.add_argument("out")
    p.add_argument("--format", choices=FORMATS, required=True)
    p.add_argument("--bits", type=int, choices=(4, 8), default=4)
    p.add_argument("--group", type=int, default=128, help="-1: one for each output feature")
    p.add_argument("--symmetric", action="store_true")
    p.add_argument("--act-order", action="store_true", help="groups that do not lie in order (gptq, pack-quantized)")
    p.add_argument("--scale-type", choices=("F16", "BF16"), default="F16")
    p.add_argument("--small-scales", action="store_true", help="some that fp16 has not")
    p.add_argument("--weights-only", action="store_true", help="compressed-tensors: activations stay floats")
    p.add_argument("--mislabelled", action="store_true", help="gptq_v2 that calls itself gptq, as some tools do")
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    return p


def main():
    p = parser()
    options = p.parse_args()
    if options.format == "awq" and (options.bits != 4 or options.symmetric):
        p.error("awq has 4 bits and zero points")
    if options.act_order and options.format not in ("gptq", "gptq_v2", "pack-quantized"):
        p.error(f"{options.format} has no act-order")
    write(options.source, options.out, options)


if __name__ == "__main__":
    main()
