"""As much of PyTorch as peers.py needs of a GPU, for tests/cli/test_peers.sh: every launch runs at once, on the host."""
import contextlib
import time
import types

__version__ = "2.11.0"
version = types.SimpleNamespace(cuda="13.0")
lost = []  # not empty: the context is lost


def device(name):
    return name


class Event:
    def __init__(self, enable_timing):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


class Graph:
    @staticmethod
    def replay():
        time.sleep(1e-4)


def synchronize():
    if lost:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


cuda = types.SimpleNamespace(
    Event=Event, CUDAGraph=Graph, graph=lambda graph: contextlib.nullcontext(), synchronize=synchronize, is_available=lambda: True,
    set_device=lambda device: None, empty_cache=lambda: None, _sleep=lambda cycles: time.sleep(cycles * 5e-9),
    get_device_properties=lambda device: types.SimpleNamespace(uuid="test", name="TEST GPU (invented)", major=9, minor=0,
                                                               multi_processor_count=132, L2_cache_size=1 << 20, total_memory=1 << 30))
