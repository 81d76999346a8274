"""Safetensors files and folders of them, for NumPy: read from a map, written in one go.

    folder = Folder("checkpoint")                  # a folder with or without an index, or one file
    w = as_float32(folder["model.norm.weight"])
    write_folder("out", {"a": some_float32_array, "b": Tensor("BF16", to_bf16(x))}, shards=2)

A tensor is its type's name and an array of the shape. NumPy has no bf16: those arrays hold the bits as uint16.

A file: 8 bytes with the length of the header, the header in JSON (name -> dtype, shape, data_offsets), the data.
The offsets count from the first byte after the header; the tensors must fill the data without holes or overlaps.
"""
import json
import os
import struct
from typing import NamedTuple

import numpy as np

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}
NAMES = {np.dtype(numpy): name for name, numpy in TYPES.items() if name != "BF16"}


class Tensor(NamedTuple):
    dtype: str  # as the file has it
    data: np.ndarray

    def raw(self):
        return np.ascontiguousarray(self.data).tobytes()


def to_bf16(x):
    """Bits of the nearest bf16 of each float32, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, dtype="<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), (bits >> 16) | 0x40, rounded).astype("<u2")


def from_bf16(bits):
    return (bits.astype("<u4") << 16).view("<f4")


def as_float32(tensor):
    """The values of a float tensor; exact for all types but F64."""
    if tensor.dtype == "BF16":
        return from_bf16(tensor.data)
    if tensor.dtype not in ("F16", "F32", "F64"):
        raise ValueError(f"{tensor.dtype} is no type of floats")
    return np.asarray(tensor.data, dtype=np.float32)


def as_type(x, dtype):
    """A tensor of type F32, F16 or BF16 with the values of x, rounded to nearest even."""
    return Tensor(dtype, to_bf16(x) if dtype == "BF16" else np.asarray(x).astype(TYPES[dtype]))


class File:
    """One file, mapped. metadata: the texts of __metadata__. begin(name): where a tensor begins in the file."""

    def __init__(self, path):
        self.path = path
        size = os.path.getsize(path)
        with open(path, "rb") as f:
            (length,) = struct.unpack("<Q", f.read(8))
            if length > size - 8:
                raise ValueError(f"{path}: a header of {length} bytes in a file of {size}")
            header = json.loads(f.read(length))
        self.metadata = header.pop("__metadata__", {})
        self.entries = header
        self.data_begin = 8 + length
        self._check(size - self.data_begin)
        self.map = np.memmap(path, mode="r") if size > self.data_begin else np.zeros(0, np.uint8)

    def _check(self, data_size):
        end = 0
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = entry["data_offsets"]
            size = np.dtype(TYPES[entry["dtype"]]).itemsize * int(np.prod(entry["shape"], dtype=np.int64))
            if first != end or last - first != size:
                raise ValueError(f"{self.path}: {name} lies at {first} to {last}; {size} bytes from {end} on expected")
            end = last
        if end != data_size:
            raise ValueError(f"{self.path}: the tensors end at {end}, the data at {data_size}")

    def __iter__(self):
        return iter(self.entries)

    def __contains__(self, name):
        return name in self.entries

    def begin(self, name):
        return self.data_begin + self.entries[name]["data_offsets"][0]

    def __getitem__(self, name):
        entry = self.entries[name]
        first, last = (self.data_begin + offset for offset in entry["data_offsets"])
        data = self.map[first:last].view(np.ndarray)
        if first % np.dtype(TYPES[entry["dtype"]]).itemsize:
            data = data.copy()  # a foreign file may begin anywhere
        return Tensor(entry["dtype"], data.view(TYPES[entry["dtype"]]).reshape(entry["shape"]))


class Folder:
    """The tensors of a folder by name. index: what its index says, None without one. files: by file name."""

    def __init__(self, path):
        self.path, self.index = path, None
        if os.path.isfile(path):
            names = [path]
            self.path = os.path.dirname(path) or "."
        elif os.path.exists(os.path.join(path, INDEX)):
            with open(os.path.join(path, INDEX)) as f:
                self.index = json.load(f)
            names = sorted(set(self.index["weight_map"].values()))
        else:
            names = [SINGLE]
        self.files = {os.path.basename(n): File(os.path.join(self.path, os.path.basename(n))) for n in names}
        if self.index:
            self.where = {tensor: self.files[file] for tensor, file in self.index["weight_map"].items()}
        else:
            self.where = {tensor: file for file in self.files.values() for tensor in file}

    def __iter__(self):
        return iter(self.where)

    def __contains__(self, name):
        return name in self.where

    def __getitem__(self, name):
        return self.where[name][name]

    def shape(self, name):
        return tuple(self.where[name].entries[name]["shape"])


def write(path, tensors, metadata=None):
    """One file with these tensors (Tensor or array) in this order."""
    tensors = {n: t if isinstance(t, Tensor) else Tensor(NAMES[t.dtype], t) for n, t in tensors.items()}
    header, end = ({"__metadata__": metadata} if metadata else {}), 0
    for name, t in tensors.items():
        header[name] = {"dtype": t.dtype, "shape": list(t.data.shape), "data_offsets": [end, end + t.data.nbytes]}
        end += t.data.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.raw())


def write_folder(path, tensors, shards=1, metadata=None):
    """A folder as the Hugging Face library writes it: one file, or shards of about the same size and an index."""
    os.makedirs(path, exist_ok=True)
    metadata = metadata or {"format": "pt"}
    if shards == 1:
        write(os.path.join(path, SINGLE), tensors, metadata)
        return
    sizes = {n: (t.data if isinstance(t, Tensor) else t).nbytes for n, t in tensors.items()}
    total, before, parts = sum(sizes.values()), 0, [{} for _ in range(shards)]
    for name, tensor in tensors.items():
        parts[before * shards // total][name] = tensor
        before += sizes[name]
    parts = [part for part in parts if part]
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        write(os.path.join(path, file), part, metadata)
        weight_map.update({name: file for name in part})
    with open(os.path.join(path, INDEX), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f, indent=2, sort_keys=True)
