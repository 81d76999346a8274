#!/usr/bin/env python3
"""The time model beside what others measured, as far as no code of theirs is needed: our fp16 GEMM beside cuBLAS, bandwidths, launches.

    tests/bench/published.py [--build build]

Modelled by the software devices; published: sglang #6457 (RTX 4090), QQQ's figure with vLLM's times (A100, derived, about 15 %),
vLLM #23198 (H100), RRZE-HPC/gpu-benches. What other projects' kernels come to stands in configs/devices/README.md.
"""
import argparse
import json
import math
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# device, N, K, {tokens: microseconds of cuBLAS fp16}
FP16 = [
    ("a100-sxm-80g", 8192, 21760, {16: 194, 64: 185, 128: 247, 256: 429, 1024: 1248}),
    ("rtx-4090", 6144, 4096, {1: 76.8, 64: 79.9, 256: 130.0, 1024: 317.4, 2048: 612.4}),
    ("h100-sxm", 12288, 36864, {1: 303.2}),
]
# device, limit of `mixtune probe`, published value, what was published
LIMITS = [
    ("a100-sxm-80g", "dram_read_load", 1794, "GB/s, triad"),
    ("h100-sxm", "dram_read_load", 3060, "GB/s, read"),
    ("h200", "dram_read_load", 3888, "GB/s, read"),
    ("a100-sxm-80g", "l2_read", 5370, "GB/s, read from L2"),
    ("a100-sxm-80g", "launch", 2.0, "us from launch to launch, an empty kernel"),
    ("h200", "launch", 1.7, "us from launch to launch, an empty kernel"),
    ("a100-sxm-80g", "graph_node", 0.7, "us a node of a graph, an empty kernel"),
    ("h200", "graph_node", 0.6, "us a node of a graph, an empty kernel"),
]


def run(build, *command):
    done = subprocess.run([f"{build}/mixtune", *command, "--quiet", "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mixtune {' '.join(command)}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default="build")
    build = os.path.abspath(parser.parse_args().build)
    os.environ.setdefault("MIXTUNE_CONFIGS", f"{ROOT}/configs")
    print("fp16 GEMM, best of the quick space, beside cuBLAS\n\n| device | N | K | M | modelled us | published us | ratio |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")
    logs = []
    for device, n, k, times in FP16:
        tokens = ",".join(map(str, times))
        rows = run(build, "bench", "--device", f"soft:{device}", "--family", "f16", "--shape", f"{n},{k}", "--m", tokens, "--config", "")
        for m, published in times.items():
            modelled = min(r["median_ns"] for r in rows if r["family"] == "f16" and r["m"] == m and r["outcome"] == "ok") / 1e3
            logs.append(math.log(modelled / published))
            print(f"| {device} | {n} | {k} | {m} | {modelled:.1f} | {published} | {modelled / published:.2f} |")
    print(f"\nroot mean square of log(modelled / published): {math.sqrt(sum(x * x for x in logs) / len(logs)):.2f}\n")
    print("limits\n\n| device | what | modelled | published | ratio |\n| --- | --- | --- | --- | --- |")
    found = {d: {r["name"]: r["value"] for r in run(build, "probe", "--device", f"soft:{d}")} for d in {row[0] for row in LIMITS}}
    for device, name, published, what in LIMITS:
        value = found[device][name]
        print(f"| {device} | {what} | {value:.4g} | {published} | {value / published:.2f} |")


if __name__ == "__main__":
    main()
