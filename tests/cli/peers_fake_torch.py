"""As much of PyTorch as peers.py needs of a GPU, for tests/cli/test_peers.sh: every launch runs at once, on the host, and device_time is what it
adds to it."""
import contextlib
import types

__version__ = "2.11.0"
version = types.SimpleNamespace(cuda="13.0")
lost = []  # not empty: the context is lost
device_time = 0.0


def device(name):
    return name


class Event:
    def __init__(self, enable_timing):
        self.at = 0.0

    def record(self):
        self.at = device_time

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


def spin(cycles):
    """No host is too slow to queue what waits behind it."""
    global device_time
    device_time += 1e6


class Graph:
    @staticmethod
    def replay():
        global device_time
        device_time += 1e-4


def synchronize():
    if lost:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


cuda = types.SimpleNamespace(
    Event=Event, CUDAGraph=Graph, graph=lambda graph: contextlib.nullcontext(), synchronize=synchronize, is_available=lambda: True,
    set_device=lambda device: None, empty_cache=lambda: None, _sleep=spin,
    get_device_properties=lambda device: types.SimpleNamespace(uuid="test", name="TEST GPU (invented)", major=9, minor=0,
                                                               multi_processor_count=132, L2_cache_size=1 << 20, total_memory=1 << 30))
