"""What rounding does to the loss, to second order, for each output feature of every linear layer."""
import re

import torch

import linears
from console import Progress, Trouble, say

SCALE = 2.0**16  # of the loss, where gradients are fp16: most of them are below what it can express


class Step:
    """x = sum of gradient * delta for each feature of all matrices, one sample at a time."""

    def __init__(self, model, matrices, samples):
        self.model, self.matrices, self.samples = model, matrices, samples

    def __call__(self, number):
        """(x, tokens) of a sample: a vector and how many came to each matrix."""
        scale = SCALE if self.model.dtype == torch.float16 else 1.0
        x, tokens = self.run(number, scale)
        while not torch.isfinite(x).all() and scale > 1:  # too much for fp16
            scale /= 16
            x, tokens = self.run(number, scale)
        if not torch.isfinite(x).all():
            raise Trouble(f"sample {number}: the gradients are not finite; try another --dtype")
        return x, tokens

    def run(self, number, scale):
        device = self.model.device
        sums = {matrix: torch.zeros(len(matrix.weight), device=device) for matrix in self.matrices}
        tokens = dict.fromkeys(self.matrices, 0)

        def see(matrix, x, gradient):
            x, gradient = x.flatten(0, -2).float(), gradient.flatten(0, -2).float()
            sums[matrix] += (x @ matrix.delta.to(device).T).mul_(gradient).sum(0)
            tokens[matrix] += len(x)

        call = lambda m, x, w, b: linears.Observed.apply(x, w, b, lambda x, g: see(m, x, g))
        ids = torch.tensor([self.samples[number]], device=device)
        with linears.watched(self.matrices, call), torch.enable_grad():
            logits = self.model(input_ids=ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])
            (loss * scale).backward()
        return torch.cat(list(sums.values())).cpu() / scale, torch.tensor(list(tokens.values()))


def saliences(model, matrices, samples, workers):
    """The tensors of the file, by their names."""
    global step
    step = Step(model, matrices, samples)
    features = sum(len(m.weight) for m in matrices)
    halves, squares = (torch.zeros(2, features, dtype=torch.float64) for _ in range(2))
    tokens = torch.zeros(len(matrices), dtype=torch.int64)
    progress = Progress("saliences", len(samples))
    with workers:
        for number, (x, came) in enumerate(workers.map(run_step, range(len(samples)))):
            x = x.double()
            halves[number % 2] += (x + x * x / 2).abs()
            squares[number % 2] += x * x / 2
            tokens += came
            progress(number + 1)
    tensors, at = {}, 0
    for matrix, came in zip(matrices, tokens):
        for name, first, rows in matrix.parts:
            part, name = slice(at + first, at + first + rows), name + ".weight"
            tensors[name] = halves[:, part].sum(0).float()
            tensors[name + ".halves"] = halves[:, part].float().contiguous()
            tensors[name + ".squares"] = squares[:, part].float().contiguous()
            tensors[name + ".inputs"] = torch.tensor([matrix.weight.shape[1]])
            tensors[name + ".tokens"] = came.reshape(1).clone()
        at += matrix.rows
    return tensors


def run_step(number):
    return step(number)


def check_tokens(tensors):
    """Every layer ran; of experts that few tokens came to, the names."""
    layers = {}
    for name, count in ((n, int(t)) for n, t in tensors.items() if n.endswith(".weight.tokens")):
        expert = re.match(r"(.*)\.experts\.(\d+)\.", name)
        if expert:
            layers.setdefault(expert[1], {})[int(expert[2])] = count
        elif not count:
            raise Trouble(f"{name.removesuffix('.weight.tokens')} never ran: its saliences cannot be known")
    for layer, counts in layers.items():
        mean = sum(counts.values()) / len(counts)
        few = ", ".join(f"{expert} ({count})" for expert, count in sorted(counts.items()) if not count or count < mean / 10)
        if few:
            say(f"{layer}: of {len(counts)} experts, these saw less than a tenth of the mean of {mean:.0f} tokens: {few}")
