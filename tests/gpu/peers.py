#!/usr/bin/env python3
"""Times the kernels of others on the shapes of mixtune, by mixtune's rules, into a file that `mixtune merge` puts beside mixtune's own.

    python3 tests/gpu/peers.py --mixtune build/mixtune --model llama-3.1-8b --m 1:1024:x2 --budget 600 --out peers.json
    build/mixtune merge --into all.db mixtune.db peers.json && build/mixtune show --db all.db --peers

Peers: torch fp16 and bf16 (cuBLAS), torch._int_mm, torch._weight_int4pack_mm, a W4A8 and W8A8 GEMM in Triton, humming-kernels where it is
installed. Each is checked against an exact product first; one that is wrong, missing or breaks is a row that says so. Times are cold, in
rounds in which the peers take turns. Needs PyTorch and an NVIDIA GPU; --rehearse checks the numbers on the CPU and times nothing.
Exit codes: 0 good, 2 wrong numbers in a rehearsal, 64 usage, 69 no device, 75 interrupted (what was measured is in the file)."""
import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import peer_shapes
import peer_t4

HERE = os.path.dirname(os.path.abspath(__file__))


def say(text):
    print(text, file=sys.stderr, flush=True)


def leave(code, text):
    say(f"peers: {text}")
    sys.exit(code)


# ---- options ----


def checked(parse):
    def convert(text):
        try:
            return parse(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(str(e)) from None
    return convert


def seconds(text):
    units = {"s": 1, "m": 60, "h": 3600}
    value = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
    if not value > 0:
        raise ValueError(f"`{text}` is not a time such as 90, 90s or 15m")
    return value


def words(*known):
    def convert(text):
        for word in text.split(","):
            if known and word not in known:
                raise ValueError(f"`{word}` is not one of {', '.join(known)}")
        return text.split(",")
    return checked(convert)


class Usage(argparse.ArgumentParser):
    def error(self, message):
        leave(64, f"{message} (--help lists the options)")


def options(arguments):
    p = Usage(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mixtune", metavar="BIN", help="the mixtune command: it names the device as its own measurements do")
    p.add_argument("--device", default="cuda:0", help="cuda:N (default cuda:0)")
    p.add_argument("--shape", action="append", default=[], type=checked(peer_shapes.shape), metavar="M,N,K", help="a shape; N,K: with every --m")
    p.add_argument("--model", help="a model of configs/models, or the path of a config.json")
    p.add_argument("--layers", type=words(*peer_shapes.LAYERS), help="only these layers of the model")
    p.add_argument("--tp", type=int, default=1, help="tensor parallelism")
    p.add_argument("--m", type=checked(peer_shapes.numbers), metavar="LIST", help="numbers of tokens: 1,16,4096 or 1:256:x2")
    p.add_argument("--group", type=int, default=128, choices=(64, 128, 256))
    p.add_argument("--peers", type=words(), metavar="LIST", help="only these (default: all)")
    p.add_argument("--cache", type=words("cold", "hot"), default=["cold"], help="cold (default), hot or both")
    p.add_argument("--budget", type=checked(seconds), default=float("inf"), metavar="TIME", help="stop after this long")
    p.add_argument("--limit", type=checked(seconds), default=15.0, metavar="TIME", help="at most this long for a peer at a shape (15)")
    p.add_argument("--out", default="peers.json", metavar="FILE", help="default: peers.json")
    p.add_argument("--rehearse", action="store_true", help="check the numbers of small parts of the shapes on the CPU; nothing is timed")
    p.add_argument("--quiet", action="store_true", help="no progress on standard error")
    # How the program goes on by itself in a fresh process after a peer broke the device's context.
    p.add_argument("--resume-at", type=int, default=0, help=argparse.SUPPRESS)
    p.add_argument("--without", action="append", default=[], help=argparse.SUPPRESS)
    o = p.parse_args(arguments)
    if not o.shape and not o.model:
        if not o.rehearse:
            p.error("nothing to do: give --model NAME or --shape M,N,K")
        o.shape = [(1, 96, 512), (17, 128, 768), (64, 96, 512)]
    return o


def config_folders(mixtune):
    """Where configs/ may be: in the environment, in the source tree, beside an installed command."""
    folders = [os.environ.get("MIXTUNE_CONFIGS"), os.path.join(HERE, "..", "..", "configs")]
    if mixtune:
        folders.append(os.path.join(os.path.dirname(os.path.realpath(mixtune)), "..", "share", "mixtune", "configs"))
    return [f for f in folders if f]


# ---- the device ----


def ask_mixtune(o):
    run = subprocess.run([o.mixtune, "info", "--json", "--quiet", "--device", o.device], capture_output=True, text=True, check=False)
    if run.returncode:
        leave(69, run.stderr.strip() or f"{o.mixtune} info failed")
    return json.loads(run.stdout)


def describe(o, properties):
    """(the device as the database has it, the driver's version, the folder of locks or None)"""
    if o.mixtune:
        info = ask_mixtune(o)
        device = info["device"]
        return ({"uuid": device["uuid"], "name": device["name"], "cc": device["compute_capability"], "sm_count": device["sm_count"],
                 "software": int(device["software"])}, device["driver_version"],
                os.path.join(info["cache"]["folder"], "locks") if "folder" in info["cache"] else None)
    import ctypes
    version = ctypes.c_int(0)
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return ({"uuid": f"GPU-{properties.uuid}", "name": properties.name, "cc": 10 * properties.major + properties.minor,
             "sm_count": properties.multi_processor_count, "software": 0}, version.value, None)


def take_lock(folder, uuid):
    """The one that a sweep takes (tuner/lock.c); held until the process ends."""
    os.makedirs(folder, exist_ok=True)
    lock = os.open(os.path.join(folder, uuid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
            return
        except BlockingIOError:
            if not told:
                say(f"peers: another process measures on {uuid}; waiting until it ends")
            told = True
            time.sleep(0.2)


# ---- measuring ----


class Session:
    """What all shapes share."""

    def __init__(self, o, file, peers, device, properties, clock):
        self.o, self.file, self.peers, self.device, self.properties, self.clock = o, file, peers, device, properties, clock
        self.missing = set()  # peers that are not installed: said once
        self.table = {}       # (m, n, k) -> {peer: text}
        self.wrong = False

    def progress(self, text):
        if not self.o.quiet and sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def done(self, problem):
        cells = self.table.get((problem.m, problem.n, problem.k), {})
        if not self.o.quiet:
            self.progress("")
            say(f"m={problem.m} {problem.n}x{problem.k}: " + (", ".join(f"{p} {c}" for p, c in cells.items()) or "nothing"))

    def record(self, problem, peer, config, outcome, message="", **rest):
        group = self.o.group if peer.group else 0
        self.file.add(problem, peer.family, config, peer.scheme, group, peer.dtype, outcome, message, **rest)
        cells = self.table.setdefault((problem.m, problem.n, problem.k), {})
        if rest.get("cache", "cold") == "cold":
            cells[peer.name] = f"{rest['times'][1][0] / 1e3:.2f}" if outcome == "ok" else outcome


def first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def failure(error):
    """(outcome, sentence) of what a peer threw."""
    text = first_line(error)
    if type(error).__name__ in ("Refused", "OutOfMemoryError"):
        return "refused", text
    return "illegal-address" if "illegal memory access" in text else "launch-failed", f"{type(error).__name__}: {text}"


def prepare(session, peer, problem, operands):
    """Its operands made, its numbers right: ready; else None, and the row says why."""
    import peer_kernels
    config = ""
    try:
        ready = peer.make(operands)
        config = ready.config
        for run in ready.variants if session.device == "cpu" else [ready.run]:
            if ready.output is not None:
                ready.output.fill_(123)  # what is not written is seen
            sentence = peer_kernels.verdict(ready, run(*ready.operands))
            if sentence:
                session.wrong = True
                session.record(problem, peer, config, "wrong", sentence)
                return None
        return ready
    except Exception as e:  # whatever a peer's library throws
        outcome, sentence = failure(e)
        if "cannot be imported" in sentence:
            session.missing.add(peer.name)
        session.record(problem, peer, config, outcome, sentence)
        lost_context(session, peer, problem)
        return None


def lost_context(session, peer, problem):
    """After an illegal address nothing runs any more in this process: a fresh one goes on at this shape without the peer."""
    import torch
    if session.device == "cpu":
        return
    try:
        torch.cuda.synchronize()
    except Exception:  # torch's own class of it has changed its name
        session.file.write()
        say(f"peers: {peer.name} broke the device's context at m={problem.m} {problem.n}x{problem.k}; going on without it")
        o = session.o
        left = ["--budget", str(max(o.deadline - time.monotonic(), 1))] if o.budget != float("inf") else []
        os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), *o.arguments, *left, "--resume-at", str(o.at),
                                  "--without", peer.name])


def time_them(session, problem, ready, cache, budget):
    """Rows of every peer of `ready`: {peer: Ready}."""
    import peer_kernels
    import peer_stats
    import peer_timing
    timed = {}

    def broken(peer, error):
        outcome, sentence = failure(error)
        session.record(problem, peer, ready[peer].config, outcome, sentence, cache=cache)
        timed.pop(peer, None)
        lost_context(session, peer, problem)

    try:
        for peer, r in ready.items():
            session.progress(f"m={problem.m} {problem.n}x{problem.k}: warming up {peer.name}")
            try:
                sets = 1 if cache == "hot" else peer_timing.sets_for(r.bytes, session.properties)
                timed[peer] = peer_timing.Timed(peer, r, r.copies(sets))
            except Exception as e:  # whatever a peer's library throws
                broken(peer, e)
        session.progress(f"m={problem.m} {problem.n}x{problem.k}: timing {len(timed)} peers")
        peer_timing.interleave(list(timed.values()), budget, session.clock, lambda t, e: broken(t.name, e))
    finally:  # ^C too leaves what was measured
        for peer, t in timed.items():
            if len(t.samples) < peer_timing.MIN_SAMPLES:
                continue
            sentence = peer_kernels.verdict(t.ready, t.ready.run(*t.copies[-1]))
            if sentence:
                session.record(problem, peer, t.ready.config, "wrong", f"after it was timed: {sentence}", cache=cache)
            else:
                session.record(problem, peer, t.ready.config, "ok", times=(t.samples, peer_stats.estimate(t.samples)), cache=cache,
                               resources=t.ready.resources())


def measure(session, problem, budget):
    import torch
    import peer_kernels
    operands = peer_kernels.Operands(problem, session.o.group, session.device)
    ready = {}
    started = time.monotonic()
    for peer in session.peers:
        if peer.name in session.missing or peer.name in session.o.without or time.monotonic() > session.o.deadline:
            continue
        session.progress(f"m={problem.m} {problem.n}x{problem.k}: checking {peer.name}")
        r = prepare(session, peer, problem, operands)
        if r and session.device == "cpu":
            session.record(problem, peer, r.config, "refused", "rehearsal on the CPU: right numbers, and nothing was timed")
            session.table[problem.m, problem.n, problem.k][peer.name] = "right"
        elif r:
            ready[peer] = r
    if session.device != "cpu":
        left = max(budget - (time.monotonic() - started), 1)
        for cache in session.o.cache:
            time_them(session, problem, ready, cache, left / len(session.o.cache))
        ready.clear()
        del operands
        torch.cuda.empty_cache()


def measure_all(session, problems):
    o = session.o
    for o.at in range(o.resume_at, len(problems)):
        left = o.deadline - time.monotonic()
        if left <= 0:
            say(f"peers: the budget is over; {len(problems) - o.at} of {len(problems)} shapes were not measured")
            break
        # A shape's share of what is left, so that the last one gets as much as the first.
        share = min(left / (len(problems) - o.at), o.limit * len(session.peers))
        measure(session, problems[o.at], share)
        session.done(problems[o.at])
        session.file.write()


def print_table(session):
    names = [p.name for p in session.peers if any(p.name in cells for cells in session.table.values())]
    head = ["m", "n", "k"] + names
    rows = [[str(x) for x in key] + [cells.get(name, "-") for name in names] for key, cells in session.table.items()]
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    print("microseconds, cold, measured on " + session.file.device["name"] if session.device != "cpu" else "rehearsal: no times")
    for row in [head] + rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    for result in session.file.results:
        values = {v["name"]: v["value"] for v in result["measurements"]}
        if values["outcome"] != "ok" and not values["message"].startswith("rehearsal"):
            print(f"{result['configuration']['family']} m={values['m']}: {values['outcome']}: {values['message']}")


def open_session(o):
    if o.rehearse:
        # Triton decides when it is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    try:
        import torch
    except ImportError as e:
        leave(69, f"PyTorch cannot be imported: {e}")
    import peer_kernels
    import peer_timing
    known = [p.name for p in peer_kernels.PEERS]
    for name in o.peers or []:
        if name not in known:
            leave(64, f"--peers: `{name}` is not one of {', '.join(known)}")
    peers = [p for p in peer_kernels.PEERS if not o.peers or p.name in o.peers]
    command = "peers.py " + " ".join(o.arguments)
    if o.rehearse:
        device = {"uuid": "rehearsal", "name": "CPU (a rehearsal, no GPU)", "cc": 0, "sm_count": 0, "software": 1}
        return Session(o, peer_t4.File(o.out, device, 0, "", command), peers, "cpu", None, None)
    if not torch.cuda.is_available():
        leave(69, "PyTorch finds no CUDA device; --rehearse checks the numbers on the CPU")
    torch.cuda.set_device(torch.device(o.device))
    properties = torch.cuda.get_device_properties(o.device)
    device, driver_version, locks = describe(o, properties)
    if device["software"]:
        leave(69, f"{o.device} is a software device for mixtune, and peers run on a real one")
    if locks:
        take_lock(locks, device["uuid"])
    clock = peer_timing.Clock(device["uuid"])
    if not clock.nvml:
        say(f"peers: the SM clock cannot be read ({clock.missing}): samples at a throttled clock are kept")
    file = peer_t4.File(o.out, device, driver_version, clock.describe(), command)
    if o.resume_at or o.without:
        file.resume()
    return Session(o, file, peers, o.device, properties, clock)


def main(arguments):
    o = options(arguments)
    o.arguments, o.at, o.deadline = arguments, 0, time.monotonic() + o.budget
    try:
        problems = peer_shapes.problems(o.shape, o.model, o.layers, o.tp, o.m, config_folders(o.mixtune))
    except (ValueError, KeyError, OSError) as e:
        leave(64, first_line(e))
    if o.rehearse:
        problems = peer_shapes.small_parts(problems)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    session = open_session(o)
    code = 0
    try:
        measure_all(session, problems)
    except KeyboardInterrupt:
        say("peers: interrupted; what was measured is kept")
        code = 75
    session.file.write()
    print_table(session)
    print(f"{len(session.file.results)} rows in {o.out}; `mixtune merge --into all.db mixtune.db {o.out}` puts them beside mixtune's own")
    return code or (2 if session.wrong and o.rehearse else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
