#!/usr/bin/env python3
"""Quantised checkpoints for test_convert.sh, and what must have become of them.

    tests/cli/convert.py make DIR             every checkpoint of the test, each in a folder of DIR
    tests/cli/convert.py packed A B ...       pairs: the packed folder B has the weights of A, which foreign.py reads
    tests/cli/convert.py truth A B ...        pairs: B has the weights in truth.npz of A
    tests/cli/convert.py same A B ...         pairs: the same tensors, byte for byte
    tests/cli/convert.py config A WORDS       config.json of A without or with a quantization_config of these values
"""
import json
import os
import shutil
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../model"))
import check_foreign
import checkpoint
import foreign
import safetensors
import tiny

SOURCES = {
    "src": "--bias --hidden 256 --intermediate 384 --heads 4 --kv-heads 2 --head-dim 64 --layers 1 --dtype F16",
    "two": "--bias --hidden 128 --intermediate 192 --heads 4 --kv-heads 2 --head-dim 32 --layers 2 --dtype F16",
    "odd": "--hidden 192 --intermediate 320 --heads 3 --kv-heads 1 --head-dim 64 --layers 1 --dtype F16",
    "experts": "--experts 3 --hidden 128 --intermediate 64 --heads 2 --kv-heads 1 --head-dim 64 --layers 1 --dtype BF16",
}
FOREIGN = {
    "pq": "src pack-quantized --group 64 --shards 2",
    "pq-sym": "src pack-quantized --symmetric --weights-only",
    "pq-bf16": "experts pack-quantized --symmetric --scale-type BF16 --group 64",
    "pq-wide": "experts pack-quantized --group 64",  # scales that the model's bf16 has not
    "pq-8": "src pack-quantized --bits 8 --symmetric --group 64",
    "pq-channel": "src pack-quantized --symmetric --group -1",
    "int": "odd int-quantized --group 128",
    "int-8": "src int-quantized --bits 8 --symmetric --group -1",
    "gptq": "two gptq --group 64",
    "gptq-sym": "src gptq --symmetric",
    "gptq-v2": "src gptq_v2 --group 64",
    "gptq-8": "src gptq_v2 --bits 8 --symmetric",
    "gptq-channel": "src gptq --symmetric --group -1",
    "gptq-called-v1": "src gptq_v2 --symmetric --mislabelled",
    "awq": "src awq --group 64",
    # what cannot be converted exactly
    "bad-order": "src gptq --group 64 --act-order",
    "bad-order-pq": "src pack-quantized --group 64 --act-order",
    "bad-zeros": "src int-quantized --bits 8 --group 64",
    "bad-group": "experts pack-quantized --group 32",
    "bad-scales": "experts pack-quantized --symmetric --group 64 --scale-type BF16 --small-scales",
}


def edit(folder, change):
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    change(config)
    with open(path, "w") as f:
        json.dump(config, f)


def copy(there, name, new, change=lambda config: None):
    shutil.copytree(os.path.join(there, name), os.path.join(there, new))
    edit(os.path.join(there, new), change)


def model_of(folder, linears):
    return checkpoint.Model(folder, {part: linear.codes.shape for part, linear in linears.items()})


def save_truth(folder, model, linears):
    """Of each layer bits, codes, zeros and scales [N, K], as from_packed() has them."""
    arrays = {}
    for layer in model.layers:
        for name, x in zip(check_foreign.Weights.NAMES, zip(*(linears[part] for part in layer.parts))):
            arrays[f"{layer.name} {name}"] = np.concatenate(x)
    np.savez(os.path.join(folder, "truth.npz"), **arrays)


def spread(linear):
    bits = np.full(linear.codes.shape, linear.bits, np.int16)
    return bits, linear.codes, linear.zeros[:, linear.g_idx], linear.scales[:, linear.g_idx]


def make_by_targets(there, new, name, others, pattern):
    """The checkpoint `name` with the linear layers of `others` whose names have `pattern`."""
    copy(there, name, new)
    folder, parts = os.path.join(there, new), [os.path.join(there, x) for x in (name, others)]
    ours, theirs = (safetensors.Folder(part) for part in parts)
    take = lambda tensor: pattern in tensor
    tensors = {n: ours[n] for n in ours if not take(n)} | {n: theirs[n] for n in theirs if take(n)}
    for file in os.listdir(folder):
        if file.endswith(".safetensors") or file == safetensors.INDEX:
            os.remove(os.path.join(folder, file))
    safetensors.write_folder(folder, tensors)
    with open(os.path.join(parts[1], "config.json")) as f:
        (group,) = json.load(f)["quantization_config"]["config_groups"].values()
    group["targets"] = [f"re:.*{pattern}.*"]
    edit(folder, lambda config: config["quantization_config"]["config_groups"].update(group_1=group))
    linears = dict(foreign.read(parts[0]))
    linears.update({part: linear for part, linear in foreign.read(parts[1]) if take(part)})
    save_truth(folder, model_of(parts[0], linears), {part: spread(linear) for part, linear in linears.items()})


def mixllm_tensors(rng, w, rows8):
    """What its code saves, and the truth: features with 8 bits first; the types are those that its concatenation leaves."""
    n, k = w.shape
    order = rng.permutation(n)
    order = np.concatenate([np.sort(order[:rows8]), np.sort(order[rows8:])])
    is8 = np.arange(n) < rows8
    x = w[order].reshape(n, -1, 128)
    s8 = np.abs(x).max(axis=2) / 127
    s4 = np.maximum(x.max(axis=2) - x.min(axis=2), 1e-5) / 15
    scales = np.maximum(np.where(is8[:, None], s8, s4), 1e-6).astype(np.float16)
    zeros = np.clip(-np.rint(x.min(axis=2) / scales.astype(np.float32)), 0, 15) * ~is8[:, None]
    codes = np.rint(x / scales.astype(np.float32)[..., None]) + zeros[..., None]
    codes = np.clip(codes, np.where(is8, -128, 0)[:, None, None], np.where(is8, 127, 15)[:, None, None]).reshape(n, k)
    codes[0, 5] = -128 if is8[0] else 15
    mixed = 0 < rows8 < n
    tensors = {
        "qweight": codes.astype(np.int16 if mixed else np.float32),
        "scale": scales.T.astype(np.float16 if mixed else np.float32),
        "zero": zeros.T.astype(np.uint8 if rows8 < n else np.float32),
        "indices": order.astype(np.int32 if mixed else np.float32),
        "is_int8_channel": is8,
    }
    back = np.argsort(order)
    truth = [np.where(is8, 8, 4)[:, None].repeat(k, axis=1), codes, zeros.repeat(128, axis=1), scales.astype(np.float32).repeat(128, axis=1)]
    return tensors, tuple(x[back].astype(np.int16 if i < 3 else np.float32) for i, x in enumerate(truth))


def make_mixllm(there, new):
    source = os.path.join(there, "src")
    model, rng = checkpoint.Model(source), np.random.default_rng(5)
    tensors, linears = {n: model.folder[n] for n in model.folder}, {}
    for layer in model.layers:
        for i, part in enumerate(layer.parts):
            w = safetensors.as_float32(tensors.pop(part + ".weight"))
            rows8 = {"o": len(w), "down": 0}.get(layer.kind, len(w) // (5 + 3 * i))
            found, linears[part] = mixllm_tensors(rng, w, rows8)
            tensors.update({f"{part}.{last}": tensor for last, tensor in found.items()})
    folder = os.path.join(there, new)
    safetensors.write_folder(folder, tensors)
    shutil.copy(os.path.join(source, "config.json"), folder)
    edit(folder, lambda config: config.update(quantization_config={"quant_method": "mixllm", "ratio": 0.1, "modules_to_not_convert": None}))
    save_truth(folder, model, linears)


def make(there):
    for name, options in SOURCES.items():
        sys.argv = ["tiny.py", os.path.join(there, name), *options.split()]
        tiny.main()
    for name, options in FOREIGN.items():
        source, kind, *rest = options.split()
        parsed = foreign.parser().parse_args([os.path.join(there, source), os.path.join(there, name), "--format", kind, *rest])
        foreign.write(parsed.source, parsed.out, parsed)
    make_mixllm(there, "mixllm")
    make_by_targets(there, "targets", "pq", "pq-8", "k_proj")
    make_by_targets(there, "targets-2", "pq", "pq-sym", "down_proj")
    make_by_targets(there, "bad-groups", "pq", "pq-sym", "self_attn.v_proj")
    # Nothing says what these are but their tensors.
    for name in ("pq", "gptq", "awq"):
        copy(there, name, name + "-unsaid", lambda config: config.pop("quantization_config"))
        if os.path.exists(os.path.join(there, name + "-unsaid", "quantize_config.json")):
            os.remove(os.path.join(there, name + "-unsaid", "quantize_config.json"))
    copy(there, "pq", "bad-method", lambda config: config["quantization_config"].update(quant_method="fp8"))
    copy(there, "pq", "bad-bits", lambda config: config["quantization_config"]["config_groups"]["group_0"]["weights"].update(num_bits=8))
    copy(there, "gptq", "bad-part")
    file = os.path.join(there, "bad-part", safetensors.SINGLE)
    tensors = {n: t for n, t in safetensors.File(file).entries.items() if ".0.self_attn.k_proj." not in n}
    whole = safetensors.File(file)
    tensors = {n: whole[n] for n in tensors}
    os.remove(file)
    safetensors.write(file, tensors)


# Comparing


def check_truth(a, b):
    packed = safetensors.Folder(b)
    with np.load(os.path.join(a, "truth.npz")) as truth:
        names = {key.rsplit(" ", 1)[0] for key in truth}
        for name in names:
            weights = check_foreign.from_packed(packed.where.get(f"{name}.w4.blocks") or packed.where[f"{name}.w8.blocks"], name)
            for kind in weights.NAMES:
                check_foreign.same_array(f"{name}: {kind}", getattr(weights, kind), truth[f"{name} {kind}"])
    return len(names)


def check_same(a, b):
    one, other = safetensors.Folder(a), safetensors.Folder(b)
    check_foreign.same("names", sorted(one), sorted(other))
    for name in one:
        x, y = one[name], other[name]
        check_foreign.same(f"{name}: type and shape", (x.dtype, x.data.shape), (y.dtype, y.data.shape))
        check_foreign.same(f"{name}: bytes", x.raw() == y.raw(), True)
    for file in one.files.values():
        if file.metadata.get("format") == "mixtune":
            texts = other.files[os.path.basename(file.path)].metadata
            for key in file.metadata.keys() - {"key"}:
                check_foreign.same(f"metadata of {key}", file.metadata[key], texts[key])
    return len(list(one))


def check_config(a, words):
    with open(os.path.join(a, "config.json")) as f:
        config = json.load(f)
    said = config.get("quantization_config")
    if words == "none":
        return check_foreign.same("quantization_config", said, None)
    if said["quant_method"] == "compressed-tensors":
        for group in said["config_groups"].values():
            said.update(group["weights"], targets=len(group["targets"]), inputs=(group["input_activations"] or {}).get("num_bits"))
    for word in words.split():
        key, value = word.split("=")
        check_foreign.same(key, json.dumps(said.get(key)).strip('"'), value)


def main():
    kind, *rest = sys.argv[1:]
    if kind == "make":
        return make(rest[0])
    check = {"packed": check_foreign.check, "truth": check_truth, "same": check_same, "config": check_config}[kind]
    for a, b in zip(rest[::2], rest[1::2]):
        try:
            print(a, b, check(a, b))
        except check_foreign.Different as difference:
            sys.exit(f"{a} and {b}: {difference}")


if __name__ == "__main__":
    main()
