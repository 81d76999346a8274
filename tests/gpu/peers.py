#!/usr/bin/env python3
"""Times the kernels of others on the shapes of mixtune, by mixtune's rules, into a file that `mixtune merge` puts beside mixtune's own.

    python3 tests/gpu/peers.py --mixtune build/mixtune --model llama-3.1-8b --m 1:1024:x2 --budget 600 --out peers.json
    build/mixtune merge --into all.db mixtune.db peers.json && build/mixtune show --db all.db --peers

Peers: torch fp16 and bf16 (cuBLAS), torch._int_mm, torch._scaled_mm in FP8, torch._weight_int4pack_mm, a W4A8 and W8A8 GEMM in Triton,
humming-kernels where it is installed. Each is checked against an exact product first; one that is wrong, missing, too slow, hangs or crashes
is a row that says so, and the others go on. Times are cold, in rounds in which the peers take turns. Needs PyTorch and an NVIDIA GPU;
--rehearse checks the numbers on the CPU and times nothing. The file is complete after every shape.
Exit codes: 0 good, 2 wrong numbers in a rehearsal, 64 usage, 69 no device, 75 interrupted (what was measured is in the file)."""
import argparse
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import peer_list
import peer_process
import peer_shapes
import peer_stats
import peer_t4

HERE = os.path.dirname(os.path.abspath(__file__))
START_SECONDS = 90  # to import PyTorch from a cold disk and to open the device
GRACE_SECONDS = 3   # for a process to end by itself, and past a limit that it is to keep by itself


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


def assignment(text):
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"`{text}` is not NAME=VALUE")
    return name, value


class Usage(argparse.ArgumentParser):
    def error(self, message):
        leave(64, f"{message} (--help lists the options)")


def options(arguments):
    p = Usage(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mixtune", metavar="BIN", help="the mixtune command: it names the device as its own measurements do")
    p.add_argument("--mixtune-env", action="append", default=[], type=checked(assignment), metavar="NAME=VALUE",
                   help="for the mixtune command alone, such as the LD_LIBRARY_PATH of a toolkit that PyTorch must not see")
    p.add_argument("--device", default="cuda:0", help="cuda:N (default cuda:0)")
    p.add_argument("--shape", action="append", default=[], type=checked(peer_shapes.shape), metavar="M,N,K", help="a shape; N,K: with every --m")
    p.add_argument("--model", help="a model of configs/models, or the path of a config.json")
    p.add_argument("--layers", type=words(*peer_shapes.LAYERS), help="only these layers of the model")
    p.add_argument("--tp", type=int, default=1, help="tensor parallelism")
    p.add_argument("--m", type=checked(peer_shapes.numbers), metavar="LIST", help="numbers of tokens: 1,16,4096 or 1:256:x2")
    p.add_argument("--group", type=int, default=128, choices=(64, 128, 256))
    p.add_argument("--peers", type=checked(lambda text: peer_list.named(text.split(","))), default=peer_list.PEERS, metavar="LIST",
                   help="only these (default: all)")
    p.add_argument("--cache", type=words("cold", "hot"), default=["cold"], help="cold (default), hot or both")
    p.add_argument("--budget", type=checked(seconds), default=float("inf"), metavar="TIME", help="stop after this long")
    p.add_argument("--limit", type=checked(seconds), metavar="TIME",
                   help="at most this long for a peer at a shape, to be compiled and checked and then to be timed (15; in a rehearsal 300)")
    p.add_argument("--out", default="peers.json", metavar="FILE", help="default: peers.json")
    p.add_argument("--rehearse", action="store_true", help="check the numbers of small parts of the shapes on the CPU; nothing is timed")
    p.add_argument("--quiet", action="store_true", help="no progress on standard error")
    o = p.parse_args(arguments)
    if not o.shape and not o.model:
        if not o.rehearse:
            p.error("nothing to do: give --model NAME or --shape M,N,K")
        o.shape = [(1, 96, 512), (17, 128, 768), (64, 96, 512)]
    o.limit = o.limit or (300.0 if o.rehearse else 15.0)
    return o


def config_folders(mixtune):
    """Where configs/ may be: in the environment, in the source tree, beside an installed command."""
    folders = [os.environ.get("MIXTUNE_CONFIGS"), os.path.join(HERE, "..", "..", "configs")]
    if mixtune:
        folders.append(os.path.join(os.path.dirname(os.path.realpath(mixtune)), "..", "share", "mixtune", "configs"))
    return [f for f in folders if f]


# ---- the device ----


def ask_mixtune(o):
    """Of the device (as the database has it, the driver's version, the folder of locks or None)."""
    run = subprocess.run([o.mixtune, "info", "--json", "--quiet", "--device", o.device], capture_output=True, text=True, check=False,
                         env={**os.environ, **dict(o.mixtune_env)})
    if run.returncode:
        leave(69, run.stderr.strip() or f"{o.mixtune} info failed")
    info = json.loads(run.stdout)
    device = info["device"]
    if "missing" in device:
        leave(69, device["missing"])
    if device["software"]:
        leave(69, f"{o.device} is a software device for mixtune, and peers run on a real one")
    return ({"uuid": device["uuid"], "name": device["name"], "cc": device["compute_capability"], "sm_count": device["sm_count"],
             "software": 0}, device["driver_version"], os.path.join(info["cache"]["folder"], "locks") if "folder" in info["cache"] else None)


def take_lock(folder, uuid):
    """The one that a sweep takes (tuner/sweep/lock.c); held until the process ends."""
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


class NoDevice(Exception):
    """Nothing can be measured, or nothing any more; the text says why."""


class OverBudget(Exception):
    pass


class Session:
    """What all shapes share."""

    def __init__(self, o, problems):
        self.o, self.problems = o, problems
        self.file = self.worker = self.compiler = self.asked = None
        self.out = {}      # peer's name -> why it does not take part any more
        self.slow = set()  # peers that once were not ready in time
        self.table = {}    # (m, n, k) -> {peer's name: text}
        self.wrong = False

    # The processes.

    def start_worker(self):
        """After this there is a file to write, too."""
        o = self.o
        self.worker = peer_process.Process(os.path.join(HERE, "peer_worker.py"), {
            "role": "measure", "device": "cpu" if o.rehearse else o.device, "group": o.group, "describe": self.file is None})
        started = time.monotonic()
        try:
            answer = self.worker.channel.receive(min(started + START_SECONDS, o.deadline))
        except peer_process.Ended:
            answer = {"refused": f"{self.worker.how_it_ended()} before it could measure"}
        if answer is None:
            self.worker.show_stacks()
            answer = {"refused": f"PyTorch and the device were not there after {time.monotonic() - started:.0f} s"}
        if "refused" in answer:
            raise NoDevice(answer["refused"])
        if self.file is None:
            self.file = self.make_file(answer["ready"])

    def make_file(self, found):
        command = "peers.py " + " ".join(self.o.arguments)
        if self.o.rehearse:
            device = {"uuid": "rehearsal", "name": "CPU (a rehearsal, no GPU)", "cc": 0, "sm_count": 0, "software": 1}
            return peer_t4.File(self.o.out, device, 0, "", command)
        device, driver_version = self.asked or ({**found, "software": 0}, found["driver_version"])
        return peer_t4.File(self.o.out, device, driver_version, found["clocks"], command)

    def start_compiler(self):
        """It compiles what later shapes need while the first are measured. It waits with the device until it is told to go on, so that the
        worker gets it where only one process may have it."""
        self.compiler = peer_process.Process(os.path.join(HERE, "peer_worker.py"), {
            "role": "compile", "device": self.o.device, "group": self.o.group, "problems": self.problems,
            "peers": [p.name for p in self.o.peers]})

    def stop(self):
        for process in (self.worker, self.compiler):
            if process:
                process.kill()
        self.worker = None

    # What becomes known.

    def record(self, problem, peer, config, outcome, message="", cache="cold", samples=(), resources=(0, 0, 0)):
        times = (samples, peer_stats.estimate(samples)) if outcome == "ok" else None
        self.file.add(problem, peer.family, config, peer.scheme, self.o.group if peer.group else 0, peer.dtype, outcome, message, times,
                      cache, resources)
        cells = self.table.setdefault((problem.m, problem.n, problem.k), {})
        if cache == "cold":
            right = outcome == "refused" and message.startswith("rehearsal")
            cells[peer.name] = f"{times[1][0] / 1e3:.2f}" if times else "right" if right else outcome
        self.wrong |= outcome == "wrong"

    def take_row(self, problem, peer, row):
        if "cannot be imported" in row["message"]:
            self.out[peer.name] = "is not installed"  # said once
        if row["outcome"] == "timeout":
            if peer.name in self.slow:
                self.give_up(peer, problem, "was not ready in time at two shapes")
            self.slow.add(peer.name)
        self.record(problem, peer, row["config"], row["outcome"], row["message"], row["cache"], row["samples"], row["resources"])

    def give_up(self, peer, problem, why):
        self.out[peer.name] = why
        say(f"peers: m={problem.m} {problem.n}x{problem.k}: {peer.name} {why}; going on without it")

    def progress(self, text):
        if not self.o.quiet and sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def done(self, problem):
        self.file.write()
        cells = self.table.get((problem.m, problem.n, problem.k), {})
        if not self.o.quiet:
            self.progress("")
            say(f"m={problem.m} {problem.n}x{problem.k}: " + (", ".join(f"{p} {c}" for p, c in cells.items()) or "nothing"))


def follow(session, problem, settled):
    """Takes the worker's rows until it has done its task: None, or what ended it: (peer's name or None, outcome, sentence). `settled`: the
    peers that have a row, and need no second try."""
    hand, stage, limit = None, "making random numbers", session.o.limit
    try:
        while True:
            until = time.monotonic() + limit + GRACE_SECONDS
            message = session.worker.channel.receive(min(until, session.o.deadline + GRACE_SECONDS))
            if message is None:
                session.worker.show_stacks()
                if time.monotonic() < until:
                    raise OverBudget
                return hand, "timeout", f"no sign of life for {limit + GRACE_SECONDS:.0f} s ({stage})"
            if "at" in message:
                hand, stage, limit = message["peer"], message["at"], message["limit"]
                session.progress(f"m={problem.m} {problem.n}x{problem.k}: {stage} {hand}")
            elif "row" in message:
                row = message["row"]
                settled.add(row["peer"])
                session.take_row(problem, peer_list.named([row["peer"]])[0], row)
            elif "lost" in message:
                return message["lost"], None, "broke the device's context"
            elif "done" in message:
                return None
    except peer_process.Ended:
        return hand, "crash", f"{session.worker.how_it_ended()} ({stage})"


def follow_to_the_end(session, problem, settled):
    """As follow(); when time is over or ^C comes, the worker hands over what it has and that is all."""
    try:
        return follow(session, problem, settled)
    except (KeyboardInterrupt, OverBudget):
        session.worker.signal(signal.SIGINT)
        session.o.deadline = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt, OverBudget):
            follow(session, problem, settled)
        raise


def measure(session, problem, cache, seconds, patience):
    """Until each peer has its row or is out; a worker that ends is followed by a fresh one, without the peer that it had in hand."""
    o, settled = session.o, set()
    while time.monotonic() < o.deadline:
        peers = [p.name for p in o.peers if p.name not in session.out and p.name not in settled]
        if not peers:
            return
        if not session.worker:
            session.start_worker()
        session.worker.channel.send(problem=problem, peers=peers, cache=cache, seconds=seconds, patience=patience)
        ended = follow_to_the_end(session, problem, settled)
        if not ended:
            return
        session.worker.kill()
        session.worker = None
        name, outcome, sentence = ended
        if not name:
            say(f"peers: m={problem.m} {problem.n}x{problem.k}: {outcome}: {sentence}; this shape is left out")
            return
        peer = peer_list.named([name])[0]
        if outcome:
            session.record(problem, peer, "", outcome, sentence, cache)
        session.give_up(peer, problem, sentence)


def measure_all(session):
    o, problems = session.o, session.problems
    for at, problem in enumerate(problems):
        left = o.deadline - time.monotonic()
        if left <= 0:
            say(f"peers: the budget is over; {len(problems) - at} of {len(problems)} shapes were not measured")
            return
        # A shape's share of what is left, so that the last one gets as much as the first; and no peer may hold up the first ones for long,
        # when all is still to be compiled.
        share, patience = min(left / (len(problems) - at), o.limit * len(o.peers)), min(o.limit, max(left / 5, 1))
        try:
            for cache in o.cache:
                measure(session, problem, cache, share / len(o.cache), patience)
        except (OverBudget, NoDevice) as e:
            say(f"peers: {str(e) or 'the budget is over'}; {len(problems) - at} of {len(problems)} shapes were not measured, or not wholly")
            return
        finally:
            session.done(problem)


def print_table(session):
    names = [p.name for p in session.o.peers if any(p.name in cells for cells in session.table.values())]
    head = ["m", "n", "k"] + names
    rows = [[str(x) for x in key] + [cells.get(name, "-") for name in names] for key, cells in session.table.items()]
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    print("microseconds, cold, measured on " + session.file.device["name"] if not session.o.rehearse else "rehearsal: no times")
    for row in [head] + rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    for result in session.file.results:
        values = {v["name"]: v["value"] for v in result["measurements"]}
        if values["outcome"] != "ok" and not values["message"].startswith("rehearsal"):
            print(f"{result['configuration']['family']} m={values['m']}: {values['outcome']}: {values['message']}")


def open_session(o, problems):
    session = Session(o, problems)
    if o.rehearse:
        # Triton decides when it is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    elif o.mixtune:
        *session.asked, locks = ask_mixtune(o)
        if locks:
            take_lock(locks, session.asked[0]["uuid"])
    return session


def main(arguments):
    o = options(arguments)
    o.arguments, o.deadline = arguments, time.monotonic() + o.budget
    try:
        problems = peer_shapes.problems(o.shape, o.model, o.layers, o.tp, o.m, config_folders(o.mixtune))
    except (ValueError, KeyError, OSError) as e:
        leave(64, (str(e).splitlines() or [type(e).__name__])[0])
    if o.rehearse:
        problems, o.cache = peer_shapes.small_parts(problems), ["cold"]
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have had ^C ignored
        signal.signal(number, signal.default_int_handler)
    session = open_session(o, problems)
    code = 0
    try:
        if not o.rehearse:
            session.start_compiler()
        session.start_worker()
        if session.compiler:
            with contextlib.suppress(peer_process.Ended):  # there may be nothing to compile
                session.compiler.channel.send(go=True)
        measure_all(session)
    except NoDevice as e:
        leave(69, str(e))
    except KeyboardInterrupt:
        say("peers: interrupted; what was measured is kept")
        code = 75
    finally:
        session.stop()
    if not session.file:
        return code
    session.file.write()
    print_table(session)
    print(f"{len(session.file.results)} rows in {o.out}; `mixtune merge --into all.db mixtune.db {o.out}` puts them beside mixtune's own")
    return code or (2 if session.wrong and o.rehearse else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
