#!/usr/bin/env python3
"""What the tensor-core kernels come to in machine code: the table of templates/README.md.

For each row: registers and spills, shared memory, CTAs per SM, instructions of the main loop per accumulator and group and per
weight, whether ptxas serialised the wgmma, the modelled time and what limits it, and weight bytes in flight per SM.

    tests/bench/sass_count.py [--build build] [--nvdisasm PATH] [WORD ...]

Needs nvcc and nvdisasm (on the PATH, in CUDA_HOME, or the PyPI wheel nvidia-cuda-nvdisasm) and a built mixtune; with words, only rows
whose text holds one of them. Times are modelled by the software devices, instructions are counted.
"""
import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
N, K, GROUP = 4096, 4096, 128
DEVICE = {"sm90": "soft:h100-sxm", "sm80": "soft:a100-sxm-80g"}
ARCH = {"sm90": "arch=compute_90a,code=sm_90a", "sm80": "arch=compute_80,code=sm_80"}

# use, family, scheme, tokens, configuration
ROWS = [
    ("decode", "sm90", "w4a8", 8, "tile_m=8,stages=8,consumers=1,ctas=3,split_k=4"),
    ("decode", "sm90", "w4a8-sym", 8, "tile_m=8,stages=8,consumers=1,ctas=3,split_k=4"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,stages=4,consumers=2,ctas=2,split_k=8"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,stages=8,consumers=2,split_k=4"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,stages=8,consumers=2,stream_k=4"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,stages=8,consumers=2,cluster_k=4"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,stages=8,consumers=2,cluster_k=4,zero=1"),
    ("decode", "sm90", "w4a8-sym", 16, "tile_m=16,stages=8,consumers=2,cluster_k=4"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,tile_k=256,stages=4,consumers=1,ctas=2,cluster_k=4"),
    ("decode", "sm90", "w4a8", 16, "tile_m=16,stages=12,consumers=3,share_k=1,zero=1"),
    ("decode", "sm90", "w4a8-sym", 16, "tile_m=16,stages=12,consumers=3,share_k=1"),
    ("decode", "sm90", "w8a8", 16, "tile_m=16,stages=4,consumers=2,ctas=2,cluster_k=4"),
    ("decode", "sm90", "w8a8", 16, "tile_m=16,stages=8,consumers=2,share_k=1"),
    ("middle", "sm90", "w4a8", 64, "tile_m=64,stages=4,consumers=2,ctas=1,cluster_k=4"),
    ("middle", "sm90", "w4a8", 64, "tile_m=64,stages=4,consumers=2,ctas=1,zero=1,cluster_k=4"),
    ("middle", "sm90", "w4a8-sym", 64, "tile_m=64,stages=4,consumers=2,ctas=1,cluster_k=4"),
    ("middle", "sm90", "w4a8", 64, "tile_m=64,stages=12,consumers=3,share_k=1"),
    ("middle", "sm90", "w8a8", 64, "tile_m=64,stages=4,consumers=2,ctas=1,cluster_k=4"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,promote=0,zero=0,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,promote=1,zero=0,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,promote=2,zero=0,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8-sym", 2048, "tile_m=128,stages=4,consumers=2,promote=2,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,cluster=2,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,cluster=2,store=1,promote=2,zero=1,stream_k=4,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,stages=4,consumers=2,pingpong=1,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=96,stages=4,consumers=3,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=192,stages=4,consumers=2,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8-sym", 2048, "tile_m=192,stages=4,consumers=2,store=1,promote=2,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,tile_k=256,stages=3,consumers=2,store=1,promote=2,zero=0,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=128,tile_k=256,stages=3,consumers=2,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8-sym", 2048, "tile_m=128,tile_k=256,stages=3,consumers=2,store=1,promote=2,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=160,tile_k=256,stages=3,consumers=2,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "blocks=2,tile_m=64,stages=4,consumers=2,store=1,promote=2,zero=0,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "blocks=2,tile_m=96,stages=3,consumers=2,store=1,promote=2,zero=1,raster=8"),
    ("prefill", "sm90", "w4a8-sym", 2048, "blocks=2,tile_m=96,stages=3,consumers=2,store=1,promote=2,raster=8"),
    ("prefill", "sm90", "w4a8", 2048, "tile_m=112,stages=4,consumers=3,store=1,promote=2,yield=1,raster=8"),
    ("prefill", "sm90", "w4a8-sym", 2048, "tile_m=112,stages=4,consumers=3,store=1,promote=2,yield=1,raster=8"),
    ("prefill", "sm90", "w8a8", 2048, "tile_m=128,stages=4,consumers=2,store=1,promote=2,raster=8"),
    ("prefill", "sm90", "w8a8", 2048, "blocks=2,tile_m=96,stages=3,consumers=2,store=1,promote=2,yield=1,raster=8"),
    ("prefill", "sm90", "w8a8", 2048, "tile_m=128,stages=4,consumers=2,cluster=2,store=1,promote=2,raster=8"),
    ("decode", "sm80", "w4a8", 16, "tile_n=64,tile_m=16,stages=4,ctas=4,split_k=4"),
    ("decode", "sm80", "w4a8-sym", 16, "tile_n=64,tile_m=16,stages=4,ctas=4,split_k=4"),
    ("decode", "sm80", "w4a8", 16, "tile_n=128,tile_m=16,stages=4,ctas=2,split_k=4"),
    ("decode", "sm80", "w4a8-sym", 16, "tile_n=128,tile_m=16,stages=4,ctas=2,split_k=4"),
    ("decode", "sm80", "w8a8", 16, "tile_n=128,tile_m=16,stages=3,ctas=2,split_k=4"),
    ("middle", "sm80", "w4a8", 64, "tile_n=128,tile_m=64,stages=4,ctas=1,split_k=4"),
    ("middle", "sm80", "w4a8-sym", 64, "tile_n=128,tile_m=64,stages=4,ctas=1,split_k=4"),
    ("prefill", "sm80", "w4a8", 2048, "tile_n=128,tile_m=128,warps_m=2,stages=3,promote=0,zero=0,raster=4"),
    ("prefill", "sm80", "w4a8", 2048, "tile_n=128,tile_m=128,warps_m=2,stages=3,promote=1,zero=0,raster=4"),
    ("prefill", "sm80", "w4a8", 2048, "tile_n=128,tile_m=128,warps_m=2,stages=3,promote=2,zero=0,raster=4"),
    ("prefill", "sm80", "w4a8", 2048, "tile_n=128,tile_m=128,warps_m=2,stages=3,promote=2,zero=1,raster=4"),
    ("prefill", "sm80", "w4a8-sym", 2048, "tile_n=128,tile_m=128,warps_m=2,stages=3,promote=2,raster=4"),
    ("prefill", "sm80", "w8a8", 2048, "tile_n=128,tile_m=128,warps_m=2,stages=3,promote=2,raster=4"),
]
FLOAT = {"FADD", "FMUL", "FFMA", "I2F", "I2FP", "FFMA2", "FMUL2", "FADD2"}  # promotion
BITS = {"LOP3", "SHF", "PRMT"}  # unpacking
LOADS = {"LDS", "LDSM"}


def run_modelled(build, family, scheme, m, config):
    """The canonical configuration as a dict, and registers, CTAs per SM, microseconds, limit, shared bytes."""
    command = [f"{build}/mixtune", "bench", "--quick", "--quiet", "--json", "--device", DEVICE[family], "--family", family, "--shape",
               f"{m},{N},{K}", "--scheme", scheme, "--config", config]
    done = subprocess.run(command, env={**os.environ, "SOFTGPU_LOG": "1"}, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    row = next((r for r in rows if r["family"] == family), None)
    if not row or row["outcome"] != "ok":
        raise SystemExit(f"{family} {scheme} {config}: {row['message'] if row else done.stderr}")
    log = re.findall(rf"estimated gemm_{family} .* shared (\d+) registers (\d+) CTAs/SM (\d+): ([\d.]+) us modelled, limit (\w+)",
                     done.stderr)
    if not log:
        raise SystemExit(f"{family} {scheme} {config}: no estimate in the device's log\n{done.stderr}")
    knobs = dict(pair.split("=") for pair in row["config"].split(","))
    return {k: int(v) for k, v in knobs.items()}, log[-1]


def time_model(build, family):
    """The hash of what the microseconds are modelled by: tables of two hashes are not compared."""
    done = subprocess.run([f"{build}/mixtune", "info", "--json", "--device", DEVICE[family]], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["device"]["time_model"]


def compile_kernel(family, scheme, knobs, cubin):
    """ptxas's registers, spilled bytes, and whether it serialised the wgmma."""
    bits = 8 if scheme == "w8a8" else 4
    options = {name.upper(): value for name, value in knobs.items() if name not in ("split_k", "stream_k", "raster")}
    for wide, narrow in (("BLOCKS8", "BLOCKS"), ("TILE_N8", "TILE_N")):
        if wide in options:
            options[wide] = options[narrow]
    options.update(TILE_K=options["TILE_K"] or max(128, GROUP), GROUP=GROUP, HAS_W8=int(bits == 8), HAS_W4=int(bits == 4),
                   SYMMETRIC=int(scheme.endswith("-sym")), BF16=0)
    done = subprocess.run(["nvcc", "-std=c++17", "-gencode", ARCH[family], "-cubin", "-Xptxas", "-v", "-diag-suppress", "177", "-o", cubin,
                           *(f"-D{k}={v}" for k, v in options.items()), f"gemm_{family}.cu"], cwd=f"{ROOT}/templates",
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    registers = int(re.search(r"Used (\d+) registers", done.stderr).group(1))
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr))
    return registers, spilled, bool(re.search(r"serializ|C75\d\d", done.stderr)), options


def main_loop(nvdisasm, cubin):
    """Opcodes of the innermost loop with the most matrix multiplications."""
    text = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
    labels, program = {}, []
    for line in text.splitlines():
        if match := re.match(r"\s*(\.L_x_\d+):", line):
            labels[match.group(1)] = len(program)
        elif match := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[T\d]+\s+)?([A-Z][A-Z0-9_.]*)(.*)", line):
            program.append(match.groups())
    best = None
    for end, (op, rest) in enumerate(program):
        target = re.search(r"\.L_x_\d+", rest) if op.startswith("BRA") else None
        if not target or labels.get(target.group(0), end + 1) > end:
            continue
        begin = labels[target.group(0)]
        mma = sum("MMA" in o for o, _ in program[begin:end + 1])
        if mma and (best is None or (mma, begin - end) > best[:2]):
            best = (mma, begin - end, [o.split(".")[0] for o, _ in program[begin:end + 1]])
    return best[0], collections.Counter(best[2])


def measure(args, row):
    use, family, scheme, m, config = row
    knobs, (shared, _, ctas, us, limit) = run_modelled(args.build, family, scheme, m, config)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        registers, spilled, serialised, o = compile_kernel(family, scheme, knobs, cubin.name)
        mma, ops = main_loop(args.nvdisasm, cubin.name)
    bits = 8 if scheme == "w8a8" else 4
    if family == "sm90":
        members = 1 if o["PINGPONG"] or o["SHARE_K"] else o["CONSUMERS"]
        warps, tile_n = 4 * members, 64 * o["BLOCKS"] * members
        per_step, accumulators = o["BLOCKS"] * o["TILE_K"] // 32, o["BLOCKS"] * o["TILE_M"] // 2
        flying = o["STAGES"]
    else:
        warps, tile_n = o["WARPS_N"] * o["WARPS_M"], o["TILE_N"]
        accumulators = tile_n * o["TILE_M"] // warps // 32
        per_step, flying = accumulators // 4 * o["TILE_K"] // 32, o["STAGES"] - 1
    steps = mma / per_step
    sums = steps * accumulators * o["TILE_K"] / GROUP  # accumulators times groups of a thread
    weights = steps * tile_n * o["TILE_K"] / (o.get("WARPS_N", warps) * 32)  # that a thread unpacks
    total = sum(ops.values())
    part = {name: sum(ops[op] for op in kind) for name, kind in (("float", FLOAT), ("bits", BITS), ("loads", LOADS))}
    rest = total - mma - sum(part.values())
    slab = tile_n * o["TILE_K"] * bits // 8
    kib = flying * slab * int(ctas) / 1024
    return [use, scheme, str(m), f"`{config}`", f"{registers}", f"{spilled}", "yes" if serialised else "no", f"{int(shared) / 1024:.0f}", ctas,
            f"{part['float'] / sums:.2f}", f"{part['loads'] / sums:.2f}", f"{rest / sums:.2f}", f"{total / sums:.2f}",
            f"{part['bits'] / weights:.2f}", f"{us}", limit, f"{kib:.0f}"]


HEAD = ["use", "scheme", "M", "configuration", "registers", "spills", "serialised", "shared KiB", "CTAs/SM", "float", "loads", "other", "all",
        "bits / weight", "modelled µs", "limit", "KiB in flight"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=f"{ROOT}/build")
    parser.add_argument("--nvdisasm", default=shutil.which("nvdisasm") or f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/bin/nvdisasm")
    parser.add_argument("word", nargs="*")
    args = parser.parse_args()
    family = None
    for row in ROWS:
        if args.word and not any(word in " ".join(map(str, row)) for word in args.word):
            continue
        if row[1] != family:
            family = row[1]
            print(f"\n{family} on {DEVICE[family]}, time model {time_model(args.build, family)}\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
        print(f"| {' | '.join(measure(args, row))} |", flush=True)


if __name__ == "__main__":
    main()
