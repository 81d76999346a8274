"""Peers that misbehave, each in its own way, in place of tests/gpu/peer_kernels.py; for tests/cli/test_peers.sh."""
import os
import signal
import sys
import threading

import torch

import sitecustomize as clock  # peers_fake_time.py


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
    clock.hangs()


def takes(seconds):
    """On the device."""
    torch.device_time += seconds
    return ""


def good(o):
    return Ready(lambda: takes(1e-5))


def raises(o):
    raise RuntimeError("first line\n  second line\nthird")


def sleeps(o):
    clock.hangs()


def blocks(o):
    deaf()


def crashes(o):
    os.kill(os.getpid(), signal.SIGSEGV)


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
        return takes(1e-5)

    return Ready(run)


def late(o):
    """At 16 tokens the host never comes back from a launch once it is timed."""
    launches = []

    def run():
        launches.append(0)
        if o.problem.m == 16 and len(launches) > 25:
            print("late hangs", file=sys.stderr, flush=True)
            deaf()
        return takes(1e-4)

    return Ready(run)


def slow(o):
    """Its median is never known well enough, and the host takes a fifth of a second for each launch."""
    launches = []

    def run():
        launches.append(0)
        clock.pass_time(0.2)
        return takes(1e-4 * (1 + len(launches) % 7))

    return Ready(run)


MAKE = {f.__name__: f for f in (good, raises, sleeps, blocks, crashes, refuses, loses, sticks, late, slow)}
MAKE["last"] = good


def compile_jobs(names, problems, group, device):
    """One job fails, one never comes back."""
    return [("blocks", threading.Event().wait)], [("raises", lambda: raises(None))]
