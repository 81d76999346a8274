"""Processes that share a model and take turns at its samples, and files that are there whole or not at all."""
import concurrent.futures.process
import contextlib
import ctypes
import multiprocessing
import os
import signal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from console import Trouble

UMASK = os.umask(0)
os.umask(UMASK)
FORK = multiprocessing.get_context("fork")


class Workers:
    """Processes of one thread each, which have the model's memory in common. They take whole samples, so that results do not
    depend on how many there are. On a GPU there is none but this one."""

    def __init__(self, device, threads):
        self.count = 0 if device.type == "cuda" else threads

    def name(self):
        """What runs, for people."""
        return f"cpu, {self.count} thread{'s' * (self.count > 1)}" if self.count else torch.cuda.get_device_name()

    def __enter__(self):
        self.pool = None
        if self.count:
            self.pool = concurrent.futures.ProcessPoolExecutor(self.count, FORK, self.begin)
        return self

    @staticmethod
    def begin():
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with its parent
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what to do
        torch.set_num_threads(1)

    def map(self, function, items, meanwhile=lambda: None):
        """Results in the order of the items. Meanwhile is called now and then while they are waited for."""
        if not self.pool:
            yield from map(function, items)
            return
        futures = [self.pool.submit(function, item) for item in items]
        for future in futures:
            while not concurrent.futures.wait([future], timeout=1).done:
                meanwhile()
            yield future.result()

    def __exit__(self, kind, error, trace):
        if self.pool and kind:
            for process in list((self.pool._processes or {}).values()):
                process.kill()
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
        if kind is concurrent.futures.process.BrokenProcessPool:
            raise Trouble("a worker process was ended from outside; perhaps memory is short: try fewer --threads") from None


@contextlib.contextmanager
def whole(path):
    """Where to write a file that takes its place when it is all there."""
    try:
        yield path + ".part"
        os.chmod(path + ".part", 0o666 & ~UMASK)  # safetensors lets nobody else read its files
        os.replace(path + ".part", path)
    except (OSError, SafetensorError) as error:
        raise Trouble(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def save(tensors, path, metadata):
    with whole(path) as part:
        save_file(tensors, part, metadata)
