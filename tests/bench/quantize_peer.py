#!/usr/bin/env python3
"""How fast compressed-tensors quantises and packs a layer beside mixtune, each on the same core, in bytes of fp32.

    tests/bench/quantize_peer.py [N K GROUP]     after `make bench-programs`; BENCH: another bench_quantize

Both start from fp32 weights and end with packed codes, scales and zero points; the best of several rounds counts.
"""
import os
import re
import subprocess
import sys
import time

ROUNDS = 5
CASES = {  # as bench_quantize names them: bits, symmetric
    "4 bits": (4, False),
    "4 bits symmetric": (4, True),
    "8 bits": (8, True),
}


def ours(shape):
    """{case: GB/s}"""
    bench = os.environ.get("BENCH", os.path.join(os.path.dirname(__file__), "../../build/tests/bench/bench_quantize"))
    text = subprocess.run([bench, *map(str, shape)], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.findall(r"^quantise and pack, (.*?) +([0-9.]+) GB/s$", text, re.MULTILINE)
    return {name: float(speed) for name, speed in found}


def theirs(shape):
    """{case: GB/s} on one torch thread."""
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    n, k, group = shape
    torch.set_num_threads(1)
    torch.manual_seed(1)
    w = (torch.rand(3, n, k).sum(0) - 1.5) * 0.05
    speeds = {}
    for name, (bits, symmetric) in CASES.items():
        args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group", group_size=group)
        best = float("inf")
        for _ in range(ROUNDS):
            begin = time.thread_time()
            grouped = w.reshape(n, k // group, group)
            scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), args)
            codes = quantize(x=w, scale=scale, zero_point=zero, args=args, dtype=torch.int8)
            pack_to_int32(codes, bits)
            if not symmetric:
                pack_to_int32(zero, bits, packed_dim=0)
            best = min(best, time.thread_time() - begin)
        speeds[name] = 4e-9 * n * k / best
    return speeds


def main():
    shape = [int(a) for a in sys.argv[1:]] or [4096, 4096, 128]
    if len(shape) != 3 or min(shape) < 1 or shape[1] % shape[2]:
        sys.exit("usage: quantize_peer.py [N K GROUP], with K a multiple of GROUP")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        peer = theirs(shape)
    except ImportError as missing:
        print(f"quantize_peer: nothing to compare with: {missing}; it needs the Python packages torch and compressed-tensors")
        return
    mine = ours(shape)
    print("weights [%d][%d], groups of %d, one core, GB/s of fp32:" % tuple(shape))
    print(f"{'':20}{'mixtune':>10}{'compressed-tensors':>20}{'ratio':>8}")
    for name in CASES:
        print(f"{name:20}{mine[name]:10.2f}{peer[name]:20.2f}{mine[name] / peer[name]:8.1f}")


if __name__ == "__main__":
    main()
