"""How well a model predicts texts when its linear layers have other weights and rounded inputs, in fp32.

    judge = Judge("SmolLM2-135M", packed)        # whose linear layers `packed` names
    ids = windows(judge.tokenizer, "test.txt", length=512, count=20)
    base = judge.losses(ids)                     # of each sequence the mean loss of a token, in nats
    judge.replace(packed.weight)
    worse = judge.losses(ids, acts="group") - base

What a kernel does in integers is emulated: int8 activations are rounded and multiplied out again, and so are the
weights. Sums in fp32 differ from those of the kernels in their last bits alone.
"""
import argparse
import os
import sys

import torch

sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../../tuner/quantize"))
import linears  # noqa: E402
import rounded  # noqa: E402
import texts  # noqa: E402
import workers  # noqa: E402
from texts import BadText  # noqa: E402

EVALUATION = 1  # raise it when losses change: results of another number are not used again
GROUP = 128


def int8(x, group=None):
    """x rounded to int8, symmetric, one scale for each row, or for each row and group of `group` inputs (ARCHITECTURE.md,
    "Numbers": s = max|x|/127; below 2^-126 all codes are 0)."""
    k = x.shape[-1]
    group = group or k
    padded = torch.nn.functional.pad(x, (0, -k % group)).unflatten(-1, (-1, group))
    most = padded.abs().amax(-1, keepdim=True)
    scale = most / 127
    codes = (padded / scale.clamp(min=2.0**-126)).round_().clamp_(-127, 127)
    return (codes * scale).flatten(-2)[..., :k]


ROUNDED = {"none": lambda x: x, "group": lambda x: int8(x, GROUP), "token": int8}


class Judge:
    """A model, and what stands in the place of its weights."""

    def __init__(self, model, packed, device="cpu"):
        self.model, self.tokenizer = rounded.load(argparse.Namespace(model=model, device=device, dtype="float32", recompute=False))
        self.checkpoint = linears.Checkpoint(model)
        self.matrices = linears.find(self.model, self.checkpoint, {name: rows for name, (_, _, rows) in packed.parts.items()})
        self.acts, self.divisors = "none", {}

    def own(self, name):
        """The weight of a linear layer in the checkpoint, float32 [N, K]."""
        return self.checkpoint.weight(name).float()

    def replace(self, weight_of=None, divisors=None):
        """weight_of(name) stands in the place of each weight; divisors: {name: [K]}, by which its inputs are divided.
        Without either the model is as it was."""
        self.divisors = {}
        for matrix in self.matrices:
            for name, first, rows in matrix.parts:
                matrix.weight[first : first + rows] = (weight_of or self.own)(name).to(matrix.weight)
            if divisors:
                self.divisors[matrix] = divisors[matrix.parts[0][0]].to(matrix.weight)

    def _linear(self, matrix, x, weight, bias):
        if matrix in self.divisors:
            x = x / self.divisors[matrix]
        return linears.linear(ROUNDED[self.acts](x), weight, bias)

    @torch.no_grad()
    def observe(self, ids, see):
        """Runs the model as it is; see(name of the linear layer, x [tokens, K]) is called for each of its layers' inputs."""

        def call(matrix, x, weight, bias):
            for name, _, _ in matrix.parts:
                see(name, x.flatten(0, -2))
            return linears.linear(x, weight, bias)

        with linears.watched(self.matrices, call):
            for row in ids.to(self.model.device):
                self.model(row[None])

    def losses(self, ids, acts="none", threads=1):
        """ids [sequences, length] -> the mean loss of the tokens of each sequence, float64 [sequences]. Processes of one thread
        each take whole sequences, so the losses do not depend on their number."""
        global judging
        judging, self.acts = self, acts
        with workers.Workers(self.model.device, threads) as pool:
            return torch.tensor(list(pool.map(loss_of, ids)), dtype=torch.float64)

    @torch.no_grad()
    def loss(self, row):
        row = row.to(self.model.device)
        with linears.watched(self.matrices, self._linear):
            logits = self.model(row[None], use_cache=False).logits[0, :-1].float()
        return torch.nn.functional.cross_entropy(logits, row[1:]).item()


def loss_of(row):
    return judging.loss(row)


def windows(tokenizer, path, length, count=0):
    """At most count disjoint sequences [count, length] of a text; 0: all that there are. Any number of the first ones are spread
    evenly over the text (their numbers are in the order of their reversed bits), so that more can be added to them."""
    ids = torch.tensor(texts.tokens_of(tokenizer, texts.corpus_text(path)))
    there = len(ids) // length
    if there < 2:
        raise BadText(f"{path} has {len(ids)} tokens, too few for two sequences of {length}; an interval needs two")
    order = sorted(range(there), key=lambda i: f"{i:040b}"[::-1])
    return ids[: there * length].view(there, length)[order[: count or there]]
