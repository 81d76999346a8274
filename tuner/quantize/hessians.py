"""Hessians of the linear layers' inputs, some decoder layers at a time, written as they are done."""
import contextlib
import hashlib
import json
import os
import re

import torch
from safetensors import SafetensorError, safe_open

import linears
from console import Progress, Trouble, say
from workers import FORK, save, whole

INDEX = "model.safetensors.index.json"


class Stop(Exception):
    """A sample has been where it was needed."""


def layer_number(name):
    return int(re.search(r"\blayers\.(\d+)\.", name)[1])


class Gatherer:
    """Sum of x^T x over all samples for the matrices of some decoder layers; a forward pass ends behind them. Layers with the
    same input share it under the name of the first, which is what a packed layer begins with."""

    def __init__(self, model, matrices, samples, packed, about, out):
        self.model, self.matrices, self.samples, self.out = model, matrices, samples, out
        firsts = {layer["parts"][0][0] for layer in packed.layers.values()}
        self.wanted = {}  # matrix -> the name under which its input stands
        for matrix in matrices:
            for name in firsts & {part for part, _, _ in matrix.parts}:
                self.wanted[matrix] = name
        self.about = {"format": "mixtune-hessian", **about}
        self.done = FORK.Value("q", 0)  # samples, of all chunks
        self.tell = lambda done: None

    def path(self, layer):
        return os.path.join(self.out, f"layer-{layer:05}.safetensors")

    def bytes_of(self, layer):
        """Memory while it is gathered: sums in fp64, and one product in fp32 and fp64."""
        sizes = [m.weight.shape[1] ** 2 for m, name in self.wanted.items() if layer_number(name) == layer]
        return 8 * sum(sizes) + 12 * max(sizes)

    def there(self, layer):
        """Whether an earlier run has written this layer's. What another one has written is not overwritten."""
        if not os.path.exists(self.path(layer)):
            return False
        try:
            with safe_open(self.path(layer), "pt") as file:
                if file.metadata() == self.about:
                    return True
        except (OSError, SafetensorError):
            pass
        raise Trouble(f"{self.path(layer)} is not of these samples and this model: remove it, or name another folder")

    def __call__(self, layers):
        """Gathers and writes those of the decoder layers layers[0] to layers[-1]."""
        device, gathered, tokens = self.model.device, {}, {}
        for matrix, name in self.wanted.items():
            if layer_number(name) in layers:
                gathered[name] = torch.zeros([matrix.weight.shape[1]] * 2, dtype=torch.float64, device=device)
                tokens[name] = 0

        def call(matrix, x, weight, bias):
            if layer_number(matrix.parts[0][0]) > layers[-1]:
                raise Stop
            name = self.wanted.get(matrix)
            if name in gathered:
                rows = x.flatten(0, -2).float()
                gathered[name] += rows.T @ rows
                tokens[name] += len(rows)
            return linears.linear(x, weight, bias)

        with linears.watched(self.matrices, call), torch.no_grad():
            for sample in self.samples:
                with contextlib.suppress(Stop):
                    self.model.base_model(input_ids=torch.tensor([sample], device=device), use_cache=False)
                with self.done.get_lock():
                    self.done.value += 1
                self.tell(self.done.value)
        for layer in layers:
            self.write(layer, {name: h for name, h in gathered.items() if layer_number(name) == layer}, tokens)
        return {name: tokens[name] for name in gathered}

    def write(self, layer, hessians, tokens):
        tensors = {}
        for name, h in hessians.items():
            if not torch.isfinite(h).all():
                raise Trouble(f"{name}: its input is not finite; try another --dtype")
            tensors[name + ".weight"] = ((h + h.T) / 2).float().cpu()  # a product of matrices is not symmetric to the last bit
            tensors[name + ".weight.tokens"] = torch.tensor([tokens[name]])
        save(tensors, self.path(layer), self.about)


def free_memory(device):
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable"))


def chunks_of(layers, gatherer, workers, at_once):
    """The layers that a pass over the samples gathers: as many as half of the free memory holds, and some for each worker."""
    count = max(1, workers.count)
    most, room = at_once or -(-len(layers) // count), free_memory(gatherer.model.device) // (2 * count)
    chunks, held = [], 0
    for layer in layers:
        held += gatherer.bytes_of(layer)
        if not chunks or len(chunks[-1]) == most or (held > room and not at_once):
            chunks.append([])
            held = gatherer.bytes_of(layer)
        chunks[-1].append(layer)
    return chunks


def write(gatherer, workers, at_once):
    """Writes the folder: a file for each decoder layer, the index last. What is there of an interrupted run stays."""
    global gather
    gather = gatherer
    try:
        os.makedirs(gatherer.out, exist_ok=True)
    except OSError as error:
        raise Trouble(f"{gatherer.out} cannot be made: {error.strerror}") from None
    all_layers = sorted({layer_number(name) for name in gatherer.wanted.values()})
    layers = [layer for layer in all_layers if not gatherer.there(layer)]
    if len(layers) < len(all_layers):
        say(f"Hessians of {len(all_layers) - len(layers)} layers are there already")
    chunks = chunks_of(layers, gatherer, workers, at_once)
    progress = Progress(f"Hessians ({len(chunks)} pass{'es' * (len(chunks) > 1)})", len(chunks) * len(gatherer.samples))
    if not workers.count:
        gatherer.tell = progress
    with workers:
        # The last layers come first, for they take longest.
        for _ in workers.map(run_gather, chunks[::-1], lambda: progress(gatherer.done.value)):
            progress(gatherer.done.value)
    where, size = {}, 0
    for layer in all_layers:
        with safe_open(gatherer.path(layer), "pt") as file:
            where.update(dict.fromkeys(file.keys(), os.path.basename(gatherer.path(layer))))
        size += os.path.getsize(gatherer.path(layer))
    with whole(os.path.join(gatherer.out, INDEX)) as part, open(part, "w") as f:
        json.dump({"metadata": {**gatherer.about, "total_size": size}, "weight_map": where}, f, indent=1, sort_keys=True)


def run_gather(layers):
    return gather(layers)


def key_of(samples, checkpoint, model):
    """What Hessians depend on beside what their files say: a file with another key is not of this run."""
    files = [(os.path.basename(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in checkpoint.paths]
    return hashlib.sha256(json.dumps([samples, files, str(model.dtype), model.device.type]).encode()).hexdigest()[:32]
