"""Times of peers by the rules of tuner/measure/timer.c: cold operands, graphs of short kernels, a queue that the host is ahead of, samples until
the median is known, in rounds in which the peers take turns."""
import ctypes
import time

import torch

import peer_stats

GRAPH_BELOW_NS = 20000
GRAPH_LAUNCHES = 20
WARM_UPS, PROBES, BATCH = 3, 5, 10
MIN_SAMPLES, MAX_SAMPLES, HALF_WIDTH = 30, 10000, 0.005
LOWEST_CLOCK = 0.75
L2_MULTIPLE, MOST_SETS = 3, 256


class Clock:
    """The SM clock over its highest, by NVML; None where it cannot be read. runtime/gpu/nvml.c has the part of nvml.h that is used."""
    SM, MEMORY, SENSOR = 1, 2, 0

    def __init__(self, uuid):
        self.nvml, self.handle = None, ctypes.c_void_p()
        try:
            self.nvml = ctypes.CDLL("libnvidia-ml.so.1")
            self._call("nvmlInit_v2")
            self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self.handle))
            self.highest = self._number("nvmlDeviceGetMaxClockInfo", self.SM)
        except (OSError, AttributeError, RuntimeError) as e:
            self.nvml, self.missing = None, str(e)

    def _call(self, name, *arguments):
        code = getattr(self.nvml, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} failed with code {code}")

    def _number(self, name, *which):
        out = ctypes.c_uint()
        self._call(name, self.handle, *which, ctypes.byref(out))
        return out.value

    def share(self):
        try:
            return self._number("nvmlDeviceGetClockInfo", self.SM) / self.highest if self.nvml else None
        except RuntimeError:
            return None

    def describe(self):
        """As runtime/gpu/nvml.c writes it into the database, as far as it goes; '' where nothing is known."""
        if not self.nvml:
            return ""
        driver = ctypes.create_string_buffer(96)
        self._call("nvmlSystemGetDriverVersion", driver, len(driver))
        return ('{"driver":"%s","sm_mhz":%d,"memory_mhz":%d,"sm_max_mhz":%d,"power_limit_w":%.0f,"temperature_c":%d}' % (
            driver.value.decode(), self._number("nvmlDeviceGetClockInfo", self.SM), self._number("nvmlDeviceGetClockInfo", self.MEMORY),
            self.highest, self._number("nvmlDeviceGetEnforcedPowerLimit") / 1e3,
            self._number("nvmlDeviceGetTemperature", self.SENSOR)))


def sets_for(bytes_per_set, properties):
    """Sets that read past the cache L2_MULTIPLE times, within an eighth of the memory (tuner/measure/operands.c)."""
    wanted = L2_MULTIPLE * properties.L2_cache_size // (bytes_per_set + 1) + 2
    possible = properties.total_memory // 8 // (bytes_per_set + 1) + 1
    return min(wanted, possible, MOST_SETS)


class Timed:
    """A peer, warmed up and ready to be sampled. `copies`: its operands, once for each turn of the rotation."""

    def __init__(self, name, ready, copies):
        self.name, self.ready, self.copies, self.turn = name, ready, copies, 0
        self.graph, self.launches, self.cycles = None, 1, 2_000_000
        self.samples, self.rejected = [], 0
        self.enough, self.look_at = False, MIN_SAMPLES
        self.events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(BATCH)]
        self.gate = torch.cuda.Event(enable_timing=True)
        for _ in range(max(WARM_UPS, len(copies))):
            self._launch()
        if peer_stats.median(self.take(PROBES)) < GRAPH_BELOW_NS:
            self._make_graph()
            self.take(WARM_UPS)

    def _launch(self):
        self.ready.run(*self.copies[self.turn])
        self.turn = (self.turn + 1) % len(self.copies)

    def _make_graph(self):
        self.launches = max(len(self.copies), GRAPH_LAUNCHES)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for _ in range(self.launches):
                self._launch()

    def take(self, count):
        """Nanoseconds of `count` samples. A kernel that spins holds the device back until all of them are queued."""
        for _ in range(8):
            torch.cuda.synchronize()
            self.gate.record()
            torch.cuda._sleep(self.cycles)
            started = time.perf_counter()
            for begin, end in self.events[:count]:
                begin.record()
                if self.graph:
                    self.graph.replay()
                else:
                    self._launch()
                end.record()
            queued = time.perf_counter() - started
            torch.cuda.synchronize()
            if self.gate.elapsed_time(self.events[0][0]) * 1e-3 > queued:
                return [begin.elapsed_time(end) * 1e6 / self.launches for begin, end in self.events[:count]]
            self.cycles *= 2
        raise RuntimeError(f"the device did not wait while {count} samples were queued")

    def sure(self):
        """Whether the median is known well enough. Looked at when there are a fifth more samples than the last time."""
        if not self.enough and len(self.samples) >= self.look_at:
            self.enough = len(self.samples) >= MAX_SAMPLES or peer_stats.half_width(self.samples) < HALF_WIDTH
            self.look_at = 1.2 * len(self.samples)
        return self.enough


def interleave(peers, seconds, clock, begins, failed):
    """Samples into each peer, a batch each in turn, until every median is known or `seconds` are over. `begins(peer)` is told before each
    batch, `failed(peer, exception)` of one that breaks, which then plays no more. The order turns by one in each round."""
    started, playing = time.monotonic(), list(peers)
    while playing:
        playing = playing[1:] + playing[:1]
        for peer in list(playing):
            begins(peer)
            try:
                samples = peer.take(BATCH)
            except Exception as e:  # whatever a peer's library throws
                playing.remove(peer)
                failed(peer, e)
                continue
            spent = time.monotonic() - started
            share = clock.share()
            if share is not None and share < LOWEST_CLOCK and spent < seconds / 3:
                peer.rejected += BATCH
                time.sleep(0.02)
                continue
            peer.samples += samples
            if peer.sure() or (spent > seconds and len(peer.samples) >= MIN_SAMPLES):
                playing.remove(peer)
