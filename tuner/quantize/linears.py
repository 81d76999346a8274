"""The linear layers of a Hugging Face model while it runs: what came in, and the gradient of what went out.

    matrices = find(model, checkpoint, {"model.layers.0.self_attn.q_proj": 960, ...})
    with watched(matrices, lambda matrix, x, weight, bias: ...):
        model(ids)

transformers renames, fuses and stacks weights when it loads them, differently in each version. So nothing here goes by
their names in memory: the rows of a weight are those of the checkpoint whose numbers they have, bit for bit. And every
layer, a module of its own or an expert in a stack, ends in torch.nn.functional.linear, which is where it is watched.
"""
import contextlib
import json
import os

import torch
from safetensors import SafetensorError, safe_open

from console import Trouble

linear = torch.nn.functional.linear


class Checkpoint:
    """The weights of a folder of safetensors files, by their names."""

    def __init__(self, path):
        index = os.path.join(path, "model.safetensors.index.json")
        try:
            if os.path.exists(index):
                with open(index) as f:
                    files = set(json.load(f)["weight_map"].values())
            else:
                files = {name for name in os.listdir(path) if name.endswith(".safetensors")}
            self.paths = [os.path.join(path, name) for name in sorted(files)]
            opened = [safe_open(name, "pt") for name in self.paths]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise Trouble(f"{path} cannot be read as a folder of safetensors files: {error}") from None
        if not files:
            raise Trouble(f"{path} has no safetensors files")
        self.files = {name: file for file in opened for name in file.keys()}

    def shape(self, layer):
        """[N, K], or None if there is no such layer."""
        name = layer + ".weight"
        return self.files[name].get_slice(name).get_shape() if name in self.files else None

    def weight(self, layer):
        return self.files[layer + ".weight"].get_tensor(layer + ".weight")

    def first_row(self, layer):
        return self.files[layer + ".weight"].get_slice(layer + ".weight")[0:1]


class Matrix:
    """A weight [N, K] as the model has it in memory: one linear layer of the checkpoint, or several, one below the other."""

    def __init__(self, weight):
        self.weight, self.parts, self.rows = weight, [], 0  # parts: (name in the checkpoint, first row, rows)
        self.delta = None  # [N, K]: how far its weights move when they are rounded

    def add(self, name, rows):
        self.parts.append((name, self.rows, rows))
        self.rows += rows


def row_key(row):
    return row.detach().flatten().contiguous().view(torch.uint8).cpu().numpy().tobytes()


def find(model, checkpoint, layers):
    """Where the layers (name -> rows) are in memory; Trouble, if one of them is not or is not all there."""
    waiting, dtype = {}, next(model.parameters()).dtype
    for name in layers:
        waiting.setdefault(row_key(checkpoint.first_row(name).to(dtype)), []).append(name)
    found = []
    for full_name, parameter in model.named_parameters():
        if parameter.ndim not in (2, 3) or parameter.dtype != dtype:
            continue
        for weight in [parameter] if parameter.ndim == 2 else parameter:
            matrix = fill(Matrix(weight.detach()), waiting, checkpoint, layers, full_name)
            if matrix.rows == len(weight):
                found.append(matrix)
                for name, first, _ in matrix.parts:
                    waiting[row_key(weight[first])].remove(name)
    missing = sorted(name for names in waiting.values() for name in names)
    if missing:
        more = f", nor are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Trouble(f"{missing[0]} of the checkpoint is not among the weights that transformers loaded{more}")
    return found


def fill(matrix, waiting, checkpoint, layers, full_name):
    """Adds layers whose weights stand in the matrix, from its first row on, until none does."""
    weight = matrix.weight
    while matrix.rows < len(weight):
        candidates = waiting.get(row_key(weight[matrix.rows]), [])
        for name in sorted(candidates, key=lambda n: n + ".weight" != full_name):
            rows = layers[name]
            if name not in (part for part, _, _ in matrix.parts) and torch.equal(
                    weight[matrix.rows : matrix.rows + rows], checkpoint.weight(name).to(weight)):
                matrix.add(name, rows)
                break
        else:
            break
    return matrix


@contextlib.contextmanager
def watched(matrices, call):
    """Has call(matrix, x, weight, bias) done in place of every product with one of the matrices."""
    at = {(matrix.weight.data_ptr(), matrix.weight.shape): matrix for matrix in matrices}

    def instead(x, weight, bias=None):
        matrix = at.get((weight.data_ptr(), weight.shape))
        return linear(x, weight, bias) if matrix is None else call(matrix, x, weight, bias)

    torch.nn.functional.linear = instead
    try:
        yield
    finally:
        torch.nn.functional.linear = linear


class Observed(torch.autograd.Function):
    """x @ weight.T + bias, which calls see(x, gradient) when the gradient of its output is known. The weight has none: what it
    keeps of the step is x, which it shares with the layers that have the same one."""

    @staticmethod
    def forward(ctx, x, weight, bias, see):
        ctx.save_for_backward(x, weight)
        ctx.see = see
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        ctx.see(x, gradient)
        return gradient @ weight, None, None, None
