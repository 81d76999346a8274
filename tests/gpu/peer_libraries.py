"""Which releases and which files of the CUDA libraries a process really has: what a clash of versions is explained with."""
import contextlib
import ctypes
import importlib.metadata
import os
import re

INTERESTING = re.compile(r"/lib(cuda|cudart|cublas|cublasLt|nvrtc|nvrtc-builtins|nvJitLink|nvidia-ml|torch_cuda)[-.0-9]*\.so[.0-9]*$")


def loaded_files():
    """{name: path} of the libraries of interest in this process."""
    found = {}
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")
            path = path[1] + path[2]
            match = INTERESTING.search(path)
            if match:
                found.setdefault(match[1], path)
    return found


def release(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def asked(files, name, function, out=None):
    """The number that a loaded library's function returns, or writes; '?' where it cannot be asked."""
    try:
        call = getattr(ctypes.CDLL(files[name]), function)
        if out is None:
            call.restype = ctypes.c_size_t
            return call()
        return out.value if call(ctypes.byref(out)) == 0 else "?"
    except (KeyError, OSError, AttributeError):
        return "?"


def driver_version():
    """As the driver API says it; 0 where that is not known."""
    version = ctypes.c_int(0)
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return version.value


def report():
    """Lines. Called when PyTorch has been imported and the device is in use."""
    import torch
    files = loaded_files()
    runtime = asked(files, "cudart", "cudaRuntimeGetVersion", ctypes.c_int(0))
    lines = [f"torch {torch.__version__} built for CUDA {torch.version.cuda}, triton {release('triton')}, humming-kernels "
             f"{release('humming-kernels')}, numpy {release('numpy')}",
             f"CUDA runtime {runtime}, driver API {driver_version()}, cuBLASLt {asked(files, 'cublasLt', 'cublasLtGetVersion')}, "
             f"LD_LIBRARY_PATH={os.environ.get('LD_LIBRARY_PATH', '')}"]
    return lines + [f"{name}: {path}" for name, path in sorted(files.items())]
