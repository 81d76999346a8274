#!/usr/bin/env python3
"""How well modelled issue ranks the configurations of the quick spaces, beside what a disassembler counts in their machine code.

    tests/bench/sass_rank.py [--build build] [--cuobjdump PATH]

For each configuration: the instructions that its warps issue in the main loop (the disassembly of the innermost loop with the most matrix
multiplications, times how often it was executed, which its multiplications tell) and, where a warp of its own copies, in the loop with the
most copies of the copy engine, once for each K step. Beside it what the time model has for the whole launch: by its own decoder of the
machine code (now), and by the instructions of the PTX (before). K is long, so that loops are nearly all there is. Printed is Spearman's rho
of each with the disassembly. Needs zstd and cuobjdump (PATH, CUDA_HOME or the PyPI wheel nvidia-cuda-cuobjdump).
"""
import argparse
import glob
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SPACES = [("quick-sm80-decode", "soft:a100-sxm-80g", 16), ("quick-sm80-prefill", "soft:a100-sxm-80g", 1024),
          ("quick-sm90-decode", "soft:h100-sxm", 16), ("quick-sm90-prefill", "soft:h100-sxm", 1024)]
N, K = 4096, 28672
FATBIN = (0xBA55ED50).to_bytes(4, "little")


def find_tool(given):
    wheel = [p for folder in sys.path for p in glob.glob(f"{folder}/nvidia/*/bin/cuobjdump")]
    candidates = [given, shutil.which("cuobjdump"), f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/bin/cuobjdump", *wheel]
    found = next((c for c in candidates if c and os.path.exists(c)), None)
    if not found:
        sys.exit("no cuobjdump: install the CUDA toolkit's, or pip install nvidia-cuda-cuobjdump, or name it by --cuobjdump")
    return found


def images_of(cache):
    """What the cache keeps, by the name of its file: the key of the binary."""
    for path in glob.glob(f"{cache}/kernels/*"):
        with open(path, "rb") as file:
            yield os.path.basename(path), file.read()


def unpack(data):
    at = data.find(b"\x28\xb5\x2f\xfd")
    done = subprocess.run(["zstd", "-dcq"], input=data[at:], capture_output=True)
    at = done.stdout.find(FATBIN)
    return done.stdout[at:] if at >= 0 else None


def loops_of(cuobjdump, fatbin):
    """The innermost loop with the most multiplications, (how many, instructions), and the size of the one with the most bulk copies."""
    with tempfile.NamedTemporaryFile(suffix=".fatbin") as file:
        file.write(fatbin)
        file.flush()
        text = subprocess.run([cuobjdump, "-sass", file.name], capture_output=True, text=True, check=True).stdout
    program = [(int(m[1], 16), m[2], m[3]) for m in re.finditer(
        r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P[T\d]+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);", text)]
    place = {address: k for k, (address, _, _) in enumerate(program)}
    multiplies, copies = (0, 0), (0, 0)
    for end, (_, op, rest) in enumerate(program):
        target = re.search(r"0x([0-9a-f]+)\s*$", rest) if op.startswith("BRA") else None
        begin = place.get(int(target[1], 16)) if target else None
        if begin is None or begin >= end:
            continue
        body = [o for _, o, _ in program[begin:end + 1]]
        mma, bulk = sum("MMA" in o for o in body), sum(o.startswith(("UBLKCP", "UTMALDG")) for o in body)
        multiplies = max(multiplies, (mma, -len(body)))
        if not mma:
            copies = max(copies, (bulk, -len(body)))
    return multiplies[0], -multiplies[1], -copies[1] if copies[0] else 0


def issued(loops, config, executed):
    """Instructions in these loops when so many multiplications of a warp were executed."""
    mma, size, copying = loops
    knobs = dict(pair.split("=") for pair in config.split(","))
    members = 1 if knobs.get("pingpong") == "1" or knobs.get("share_k") == "1" else int(knobs.get("consumers", 1))
    return executed / mma * (size + copying / (4 * members))


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0.0] * len(values)
    k = 0
    while k < len(order):
        same = [i for i in order[k:] if values[i] == values[order[k]]]
        for i in same:
            out[i] = k + (len(same) - 1) / 2
        k += len(same)
    return out


def spearman(x, y):
    a, b = ranks(x), ranks(y)
    mean = (len(a) - 1) / 2
    top = sum((p - mean) * (q - mean) for p, q in zip(a, b))
    return top / (sum((p - mean) ** 2 for p in a) * sum((q - mean) ** 2 for q in b)) ** 0.5


def measure(args, space, device, m, folder):
    trace, db, cache = f"{folder}/{space}.trace", f"{folder}/{space}.db", f"{folder}/cache"
    environment = {**os.environ, "SOFTGPU_TRACE": trace, "MIXTUNE_CACHE_DIR": cache}
    subprocess.run([f"{args.build}/mixtune", "sweep", "--quiet", "--device", device, "--shape", f"{m},{N},{K}", "--scheme", "w4a8,w8a8",
                    "--space", space, "--db", db], check=True, env=environment, stdout=subprocess.DEVNULL)
    traced = {line["label"]: line for line in map(json.loads, open(trace, encoding="utf-8"))}
    rows = sqlite3.connect(db).execute(
        "SELECT printf('%s|%s|%d|%d|%d|%s|%d|%d|%s', family, config, m, n, k, scheme, rows8, group_size, dtype), config, binary FROM current "
        "WHERE outcome = 'ok' AND family GLOB 'sm*'").fetchall()
    images, loops = dict(images_of(cache)), {}
    want, now, before = [], [], []
    for label, config, binary in rows:
        if label not in traced or binary not in images:
            continue
        if binary not in loops:
            loops[binary] = loops_of(args.cuobjdump, unpack(images[binary]))
        counters = traced[label]["counters"]
        if not loops[binary][0]:
            continue
        want.append(issued(loops[binary], config, counters["pipe_tensor"]))
        now.append(counters["machine_instructions"])
        before.append(counters["warp_instructions"])
    return len(want), spearman(before, want), spearman(now, want)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--cuobjdump")
    args = parser.parse_args()
    args.build, args.cuobjdump = os.path.abspath(args.build), find_tool(args.cuobjdump)
    os.environ.setdefault("MIXTUNE_CONFIGS", f"{ROOT}/configs")
    print("| space | M | configurations | PTX | machine code |\n| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for space, device, m in SPACES:
            count, before, now = measure(args, space, device, m, folder)
            print(f"| {space} | {m} | {count} | {before:.3f} | {now:.3f} |", flush=True)


if __name__ == "__main__":
    main()
