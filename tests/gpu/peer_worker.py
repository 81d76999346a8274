"""What peers.py runs in processes that it can kill (peer_process.py): one measures, the only one that runs kernels; one compiles ahead of it.

To the measuring one a message is a task: {problem, peers, cache, seconds, patience}. It answers with {at, peer, limit} before whatever may
hang, {row} for each result, {lost} when a peer has broken the device's context, and {done}. It answers its settings with {ready} or
{refused: sentence}."""
import concurrent.futures
import contextlib
import os
import signal
import sys
import time
import traceback

import peer_list
import peer_process
import peer_shapes

BATCH_SECONDS = 5  # far more than a batch of samples takes


class TooLong(BaseException):
    """A peer's time is over. No Exception, so that no library takes it for one of its own."""


def too_long(*_):
    raise TooLong


@contextlib.contextmanager
def at_most(seconds):
    """Where Python code runs it is ended; where it hangs in a library only our parent can."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def first_lines(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " | ".join(lines[:4])[:600] or type(error).__name__


def failure(error):
    """(outcome, sentence) of what a peer threw. The whole of it goes to the log."""
    text = first_lines(error)
    if type(error).__name__ in ("Refused", "OutOfMemoryError"):
        return "refused", text
    return "illegal-address" if "illegal memory access" in text else "launch-failed", f"{type(error).__name__}: {text}"


class Measuring:
    def __init__(self, channel, settings):
        self.channel, self.device, self.group = channel, settings["device"], settings["group"]
        self.properties = self.clock = None

    def open(self, describe):
        """What the parent wants to know of the device."""
        import torch
        if self.device == "cpu":
            return {}
        if not torch.cuda.is_available():
            return {"refused": "PyTorch finds no CUDA device; --rehearse checks the numbers on the CPU"}
        import peer_libraries
        import peer_timing
        torch.cuda.set_device(torch.device(self.device))
        self.properties = p = torch.cuda.get_device_properties(self.device)
        uuid = f"GPU-{p.uuid}"
        self.clock = peer_timing.Clock(uuid)
        if describe:
            for line in peer_libraries.report():
                say(line)
            if not self.clock.nvml:
                say(f"the SM clock cannot be read ({self.clock.missing}): samples at a throttled clock are kept")
        return {"uuid": uuid, "name": p.name, "cc": 10 * p.major + p.minor, "sm_count": p.multi_processor_count,
                "driver_version": peer_libraries.driver_version(), "clocks": self.clock.describe()}

    # What is told to the parent.

    def at(self, stage, peer, limit):
        self.channel.send(at=stage, peer=peer.name, limit=limit)

    def row(self, peer, config, outcome, message="", cache="cold", samples=(), resources=(0, 0, 0)):
        self.channel.send(row={"peer": peer.name, "config": config, "outcome": outcome, "message": message, "cache": cache,
                               "samples": list(samples), "resources": list(resources)})

    def broken(self, peer, config, error, cache):
        outcome, sentence = failure(error)
        if outcome != "refused":
            say(f"{peer.name}: {outcome}")
            traceback.print_exception(error)
        self.row(peer, config, outcome, sentence, cache)
        self.leave_lost_context(peer)

    def leave_lost_context(self, peer):
        """After an illegal address nothing runs any more in this process."""
        if self.device == "cpu":
            return
        import torch
        try:
            torch.cuda.synchronize()
        except Exception:  # torch's own class of it has changed its name
            self.channel.send(lost=peer.name)
            os._exit(0)

    # A task.

    def prepare(self, peer, operands, patience, cache):
        """Its operands made, its kernels compiled, its numbers right: ready; else None, and the row says why."""
        import peer_kernels
        config = ""
        try:
            self.at("checking", peer, patience)
            with at_most(patience):
                ready = peer_kernels.MAKE[peer.name](operands)
                config = ready.config
            for run in ready.variants if self.device == "cpu" else [ready.run]:
                self.at("checking", peer, patience)
                with at_most(patience):
                    sentence = self.verdict(ready, operands, run)
                if sentence:
                    say(f"{peer.name}: wrong: {sentence}")
                    self.row(peer, config, "wrong", sentence, cache)
                    return None
            return ready
        except TooLong:
            say(f"{peer.name}: not ready after {patience:.0f} s; it was busy here:")
            traceback.print_exc()
            self.row(peer, config, "timeout", f"it was not compiled and checked within {patience:.0f} s", cache)
        except Exception as e:  # whatever a peer's library throws
            self.broken(peer, config, e, cache)
        return None

    @staticmethod
    def verdict(ready, operands, run):
        import peer_kernels
        if ready.output is not None:
            ready.output.fill_(123)  # what is not written is seen
        y = run(*ready.operands)
        return peer_kernels.verdict(ready, y) or peer_kernels.verdict_on_operands(ready, operands, y)

    def time_them(self, ready, cache, seconds, patience):
        """Rows of every peer of `ready`: {peer: Ready}."""
        import peer_kernels
        import peer_timing
        timed = {}

        def broken(peer, error):
            timed.pop(peer, None)
            self.broken(peer, ready[peer].config, error, cache)

        try:
            for peer, r in ready.items():
                try:
                    self.at("warming up", peer, patience)
                    sets = 1 if cache == "hot" else peer_timing.sets_for(r.bytes, self.properties)
                    timed[peer] = peer_timing.Timed(peer, r, r.copies(sets))
                except Exception as e:  # whatever a peer's library throws
                    broken(peer, e)
            peer_timing.interleave(list(timed.values()), seconds, self.clock, lambda t: self.at("timing", t.name, BATCH_SECONDS),
                                   lambda t, e: broken(t.name, e))
        finally:  # ^C too leaves what was measured
            for peer, t in timed.items():
                if len(t.samples) < peer_timing.MIN_SAMPLES:
                    continue
                self.at("checking the last numbers of", peer, BATCH_SECONDS)
                sentence = peer_kernels.verdict(t.ready, t.ready.run(*t.copies[-1]))
                if sentence:
                    self.row(peer, t.ready.config, "wrong", f"after it was timed: {sentence}", cache)
                else:
                    self.row(peer, t.ready.config, "ok", cache=cache, samples=t.samples, resources=t.ready.resources())

    def task(self, problem, peers, cache, seconds, patience):
        import torch
        import peer_kernels
        started = time.monotonic()
        operands = peer_kernels.Operands(problem, self.group, self.device)
        ready = {}
        for peer in peers:
            r = self.prepare(peer, operands, patience, cache)
            if r and self.device == "cpu":
                self.row(peer, r.config, "refused", "rehearsal on the CPU: right numbers, and nothing was timed")
            elif r:
                ready[peer] = r
        if self.device != "cpu":
            self.time_them(ready, cache, max(seconds - (time.monotonic() - started), 1), patience)
            ready.clear()
            del operands
            torch.cuda.empty_cache()


def measure(channel, settings):
    signal.signal(signal.SIGALRM, too_long)
    measuring = Measuring(channel, settings)
    try:
        device = measuring.open(settings["describe"])
    except ImportError as e:
        device = {"refused": f"PyTorch cannot be imported: {e}"}
    if "refused" in device:
        channel.send(refused=device["refused"])
        return
    channel.send(ready=device)
    try:
        while True:
            task = channel.receive()
            measuring.task(peer_shapes.Problem(*task["problem"]), peer_list.named(task["peers"]), task["cache"], task["seconds"],
                           task["patience"])
            channel.send(done=True)
    except KeyboardInterrupt:
        channel.send(done=True)


def compile_ahead(channel, settings):
    """Into the caches on disk, on all cores, behind the process that measures. What fails here fails again, and is told, where it is used."""
    os.nice(5)
    import peer_kernels
    import torch
    device = settings["device"]
    one_core, all_cores = peer_kernels.compile_jobs(settings["peers"], [peer_shapes.Problem(*p) for p in settings["problems"]],
                                                    settings["group"], device)
    if not one_core and not all_cores:
        return
    channel.receive()
    started, failed = time.monotonic(), set()

    def run(name, job):
        try:
            if name not in failed:
                job()
        except Exception as e:  # whatever a peer's library throws
            failed.add(name)
            say(f"{name} cannot be compiled ahead: {failure(e)[1]}")

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count(), initializer=torch.cuda.set_device, initargs=(device,)) as pool:
        for name, job in one_core:
            pool.submit(run, name, job)
        torch.cuda.set_device(device)
        for name, job in all_cores:
            run(name, job)
    say(f"compiled ahead in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    parent = peer_process.child_channel()
    with contextlib.suppress(peer_process.Ended, KeyboardInterrupt):
        first = parent.receive()
        {"measure": measure, "compile": compile_ahead}[first["role"]](parent, first)
