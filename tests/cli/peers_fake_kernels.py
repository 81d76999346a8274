"""Peers that misbehave, each in its own way, in place of tests/gpu/peer_kernels.py; for tests/cli/test_peers.sh."""
import os
import signal
import sys
import time

import torch


class Refused(Exception):
    pass


class Operands:
    def __init__(self, problem, group, device):
        self.problem = problem


class Ready:
    def __init__(self, run):
        self.config, self.operands, self.run, self.variants, self.bytes, self.output = "fake=1", (), run, [run], 1 << 20, None
        self.resources = lambda: (0, 0, 0)

    def copies(self, count):
        return [()] * count


def verdict(ready, y):
    return y


def verdict_on_operands(ready, o, y):
    return ""


def deaf():
    """As in a library that never comes back: no signal that a process can handle ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGINT])
    time.sleep(1e6)


def good(o):
    return Ready(lambda: "")


def raises(o):
    raise RuntimeError("first line\n  second line\nthird")


def sleeps(o):
    time.sleep(1e6)


def blocks(o):
    deaf()


def crashes(o):
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(1e6)


def refuses(o):
    raise Refused("fake kernels cannot be imported: none here")


def loses(o):
    torch.lost.append(True)
    torch.cuda.synchronize()


def sticks(o):
    """Right until it has been timed for a while."""
    launches = []

    def run():
        launches.append(0)
        if len(launches) > 5:
            deaf()
        return ""

    return Ready(run)


def late(o):
    """At 16 tokens the host never comes back from a launch once it is timed."""
    launches = []

    def run():
        launches.append(0)
        if o.problem.m == 16 and len(launches) > 25:
            print("late hangs", file=sys.stderr, flush=True)
            deaf()
        time.sleep(5e-5)
        return ""

    return Ready(run)


def slow(o):
    """Its median is never known well enough."""
    launches = []

    def run():
        launches.append(0)
        time.sleep(3e-5 * (1 + len(launches) % 7))
        return ""

    return Ready(run)


MAKE = {f.__name__: f for f in (good, raises, sleeps, blocks, crashes, refuses, loses, sticks, late, slow)}
MAKE["last"] = good


def compile_jobs(names, problems, group, device):
    """One job fails, one never comes back."""
    return [("blocks", deaf)], [("raises", lambda: raises(None))]
