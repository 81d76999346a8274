#!/usr/bin/env python3
"""The whole of `make accuracy` on a small model that needs no network, for tests/cli/test_accuracy.sh: writes TAP.

    tests/accuracy/check_accuracy.py FOLDER

Orders and signs are those that the method promises, where its margins are wide. The arithmetic of judging is compared with
NumPy: the rounding of activations, and packed weights as tests/model/quant.py has them.
"""
import importlib.util
import io
import math
import os
import sys
import traceback

import numpy as np
import torch
from safetensors import safe_open

import run
import table
import tiny
from evaluate import int8
from packed import Packed
from paired import Difference, student

HERE = os.path.dirname(os.path.abspath(__file__))
ONLY = "fp|a8|rtn*|uniform-equal*|gptq p0|gptq-unordered p0|w8a8*|w4a16 rtn|w4a16 awq|w4a8 channel symmetric"


def quant_py():
    """tests/model/quant.py, without its folder in the path: another module there has the name of a package."""
    spec = importlib.util.spec_from_file_location("quant", os.path.join(HERE, "../model/quant.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_all(folder, only, sequences):
    """run.py on the small model, and its results."""
    sys.argv = ["run.py", "--model", f"{folder}/model", "--calibrate", f"{folder}/calibrate.txt", "--test", f"own={folder}/test.txt",
                "--out", f"{folder}/out", "--samples", "16", "--length", str(tiny.LENGTH), "--sequences", str(sequences), "--threads", "1",
                "--only", only]
    sys.stderr, kept = io.StringIO(), sys.stderr
    try:
        run.main()
    except BaseException:
        kept.write(sys.stderr.getvalue())
        raise
    finally:
        said, sys.stderr = sys.stderr.getvalue(), kept
    return table.Results(f"{folder}/out/results.json"), said


# ---- cases; each raises what is wrong ----


def int8_activations(folder):
    """Every element of rounded activations, beside plain NumPy."""
    random = np.random.default_rng(1)
    x = random.standard_normal((5, 300)).astype(np.float32) * 10.0 ** random.integers(-3, 3, (5, 1)).astype(np.float32)
    x[1, 128:256] = 0
    x[2, :128] = 2.0**-140
    x[3, 7] = 1e30
    for group in (128, 300):
        want = np.zeros_like(x)
        for row in range(5):
            for first in range(0, 300, group):
                part = x[row, first : first + group]
                scale = np.abs(part).max() / np.float32(127)
                if scale >= 2.0**-126:
                    want[row, first : first + group] = np.clip(np.rint(part / scale), -127, 127) * scale
        got = int8(torch.tensor(x), group if group < 300 else None).numpy()
        assert np.array_equal(got, want), f"groups of {group}: {np.argwhere(got != want)[:5].tolist()}"


def intervals(folder):
    """The interval of a mean, beside tables of Student's t."""
    for freedom, quantile in ((1, 12.7062), (4, 2.7764), (19, 2.0930), (100, 1.9840)):
        assert abs(student(freedom) - quantile) < 1e-4, (freedom, student(freedom))
    d = Difference([1.0, 2.0, 4.0], [0.5, 1.0, 1.5])
    assert abs(d.mean - 4 / 3) < 1e-12 and abs(d.half - 4.3027 * math.sqrt(13 / 12) / math.sqrt(3)) < 1e-3, (d.mean, d.half)
    assert not d.significant and str(d).endswith("°") and Difference([2, 3.1], [1, 2]).significant


def packed_weights(folder):
    """Packed.weight and is8 of every linear layer, beside what tests/model/quant.py makes of the same tensors."""
    quant, path = quant_py(), table.Results(f"{folder}/out/results.json").about["folders"]["rtn"]["p10"]
    packed, mixed = Packed(path), 0
    for name, info in packed.layers.items():
        file = packed.files[name]
        want, is8 = np.zeros((info["n"], info["k"]), np.float32), np.zeros(info["n"], bool)
        for bits in (8, 4):
            part = {key.split(".")[-1]: file.get_tensor(key).numpy() for key in file.keys() if key.startswith(f"{name}.w{bits}.")}
            if part:
                rows = part["columns"] if "columns" in part else np.arange(info["n"])
                codes = quant.unpack(part["blocks"], bits)[: len(rows), : info["k"]]
                zeros = part.get("zeros", np.zeros_like(part["scales"], np.uint8))
                want[rows] = quant.dequantise(codes, part["scales"].T[: len(rows)], zeros.T[: len(rows)], info["group"])
                is8[rows] = bits == 8
        mixed += 0 < is8.sum() < len(is8)
        first = 0
        for part, rows in info["parts"]:
            assert np.array_equal(packed.weight(part).numpy(), want[first : first + rows]), part
            assert np.array_equal(packed.is8(part).numpy(), is8[first : first + rows]), part
            first += rows
        assert first == info["n"]
    assert mixed >= 3, f"only {mixed} layers have both widths"


def ladder(folder):
    """p0 … p100, and what they cost beside activations alone."""
    r = table.Results(f"{folder}/out/results.json")
    for better, worse in zip(("p10", "p20", "p50", "p100"), ("p0", "p10", "p20", "p50")):
        expect(r, f"rtn {better}", f"rtn {worse}")
    expect(r, "a8", "rtn p50")
    cost = r.worse("a8", "own").mean
    assert 0 < cost < 0.05, f"8-bit activations cost {cost}"
    assert abs(r.worse("rtn p100", "own").mean) < 0.05
    share = table.closed(r, "rtn", "own")
    assert 0.5 < share < 1, f"p10 closes {share} of the gap"


def choice_and_gptq(folder):
    """Global beats uniform at equal bits; GPTQ beats RTN, the more so with its order; baselines are where they belong."""
    r = table.Results(f"{folder}/out/results.json")
    bits = [r.configs[name]["bits"] for name in ("rtn p10", "uniform-equal equal")]
    assert abs(bits[0] - bits[1]) < 0.05, bits
    expect(r, "rtn p10", "uniform-equal equal", 0.1)
    expect(r, "gptq p0", "rtn p0", 0.1)
    expect(r, "gptq p0", "gptq-unordered p0")
    expect(r, "rtn p0", "w4a8 channel symmetric")
    expect(r, "w8a8 smoothquant", "w8a8 channel")
    expect(r, "w4a16 awq", "w4a16 rtn")


def expect(r, better, worse, by=0.0):
    d = r.worse(better, "own", worse)
    assert d.mean < -by and d.significant, f"{better} is not better than {worse} by more than {by}: {d}"


def output_errors(folder):
    """d H d^T, the error of a layer's outputs over the calibration: GPTQ with order <= without <= RTN in all, and each layer's
    less than RTN's."""
    r = table.Results(f"{folder}/out/results.json")
    (hessian,) = (f"{folder}/out/hessian/{name}" for name in os.listdir(f"{folder}/out/hessian") if name.startswith("main@"))
    sums, own = {}, safe_open(f"{folder}/model/model.safetensors", "pt")
    hessians = {key: file.get_tensor(key) for name in os.listdir(hessian) if name.endswith(".safetensors")
                for file in [safe_open(f"{hessian}/{name}", "pt")] for key in file.keys() if not key.endswith(".tokens")}
    for kind in ("rtn", "gptq", "gptq-unordered"):
        packed = Packed(r.about["folders"][kind]["p0"])
        for layer in packed.layers.values():
            h = hessians[layer["parts"][0][0] + ".weight"].double()
            for part, _ in layer["parts"]:
                d = packed.weight(part).double() - own.get_tensor(part + ".weight").double()
                sums[kind, part] = ((d @ h) * d).sum().item()
    parts = {part for _, part in sums}
    worse = [part for part in parts if sums["gptq", part] >= sums["rtn", part]]
    assert not worse, f"GPTQ's error is not below RTN's: {worse}"
    total = {kind: sum(sums[kind, part] for part in parts) for kind in ("rtn", "gptq", "gptq-unordered")}
    assert total["gptq"] < total["gptq-unordered"] < total["rtn"], total


def resumed(folder):
    """More sequences: those that were judged are not judged again, and no number of theirs changes. The tables have all."""
    old = table.Results(f"{folder}/out/results.json")
    with open(f"{folder}/out/results.jsonl", "a") as f:
        f.write('{"config": "fp", "te')  # as a killed run leaves it
    r, said = run_all(folder, "fp|rtn p10", 28)
    assert "; 4 of" in said and "; 8 of 8 sequences" in said and "packing" not in said and "calibrating" not in said, said
    for name in ("fp", "rtn p10"):
        assert r.losses(name, "own")[:24] == old.losses(name, "own")[:24] and len(r.losses(name, "own")) == 28
    page = table.fill("a\n<!-- ladder -->\nold\n<!-- end -->\nb\n", r)
    assert "RTN p10 | 4." in page and "old" not in page and "RTN p20" not in page and page.startswith("a\n") and page.endswith("\nb\n"), page


CASES = [("activations in int8, every element", int8_activations), ("the interval of a mean of differences", intervals),
         ("packed weights in PyTorch, every element", packed_weights), ("p0, p10, p20, p50, p100, and activations alone", ladder),
         ("global and uniform, GPTQ and RTN, baselines", choice_and_gptq), ("errors of the layers' outputs with GPTQ", output_errors),
         ("resumed with more sequences; tables", resumed)]


def main():
    (folder,) = sys.argv[1:]
    sys.argv = ["tiny.py", folder]
    tiny.main()
    run_all(folder, ONLY, 24)
    for number, (name, case) in enumerate(CASES, 1):
        try:
            case(folder)
            print(f"ok {number} - {name}")
        except Exception:
            print(f"not ok {number} - {name}\n# " + traceback.format_exc().replace("\n", "\n# "))
    print(f"1..{len(CASES)}")


if __name__ == "__main__":
    main()
