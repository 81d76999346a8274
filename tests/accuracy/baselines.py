"""Other methods of quantising, each as little more than its formula, for tests/accuracy/run.py.

Of `model` they ask layers, [(kind, names of the parts that share their input)]; weight(name), float32 [N, K]; and
stats(first part, what), of what comes in (workshop.py). They return {name: weight} and {name: divisors of its input}.

These are small versions of our own, written from the papers: what decides their quality and no more. None of them clips.
What goes into the weights of the layer before (SmoothQuant, AWQ) is multiplied out in place instead: the sums are the same.
"""
import torch


def fake(w, bits, group=None, symmetric=True):
    """w rounded to nearest and back, fp32 scales; a scale for each row, or each row and group along K.

    Symmetric: s = max|w| / (2^(bits-1) - 1), codes from -2^(bits-1). Asymmetric: s = (max - min) / (2^bits - 1), the range
    widened to contain 0, whole zero point."""
    n, k = w.shape
    x = w.reshape(n, -1, group or k) if k % (group or k) == 0 else torch.nn.functional.pad(w, (0, -k % group)).view(n, -1, group)
    if symmetric:
        most = 2 ** (bits - 1) - 1
        s = (x.abs().amax(-1, keepdim=True) / most).clamp(min=1e-12)
        y = (x / s).round_().clamp_(-most - 1, most) * s
    else:
        most = 2**bits - 1
        low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
        s = ((high - low) / most).clamp(min=1e-12)
        zero = (-low / s).round_()
        y = ((x / s).round_() + zero).clamp_(0, most).sub_(zero) * s
    return y.view(n, -1)[:, :k]


def rtn(model, bits, group=None, symmetric=True):
    """Round-to-nearest."""
    return {p: fake(model.weight(p), bits, group, symmetric) for _, parts in model.layers for p in parts}, {}


def smoothquant(model, alpha=0.5):
    """SmoothQuant (arXiv 2211.10438), W8A8: inputs are divided by s = max|x|^alpha / max|w|^(1 - alpha) of each input feature,
    weights multiplied by it, where a norm stands before the layer (qkv, gate_up)."""
    weights, divisors = {}, {}
    for kind, parts in model.layers:
        most = torch.stack([model.weight(p).abs().amax(0) for p in parts]).amax(0)
        s = torch.ones_like(most)
        if kind.endswith(("qkv", "gate_up")):
            s = (model.stats(parts[0], "most").clamp(min=1e-5) ** alpha / most.clamp(min=1e-5) ** (1 - alpha)).clamp(min=1e-5)
        for p in parts:
            weights[p], divisors[p] = fake(model.weight(p) * s, 8), s
    return weights, divisors


def awq(model, group=128, steps=20):
    """AWQ (arXiv 2306.00978), W4A16 asymmetric: the columns of each layer are multiplied by s = mean|x|^a before they are
    rounded, and divided by it afterwards; a of 0, 1/steps ... is the one with the least error of the layer's outputs, which
    is the trace of d H d^T with d the error of the weights and H the sum of x^T x over the calibration."""
    weights = {}
    for _, parts in model.layers:
        w = torch.cat([model.weight(p) for p in parts])
        h, mean = model.stats(parts[0], "hessian"), model.stats(parts[0], "mean").clamp(min=1e-8)
        best = None
        for step in range(steps):
            s = mean ** (step / steps)
            s = (s / (s.max() * s.min()).sqrt()).clamp(min=1e-4)
            y = fake(w * s, 4, group, symmetric=False) / s
            d = y - w
            error = ((d @ h) * d).sum().item()
            if best is None or error < best[0]:
                best = (error, y)
        for p, rows in zip(parts, torch.split(best[1], [len(model.weight(p)) for p in parts])):
            weights[p] = rows
    return weights, {}


def scores(model, what):
    """{name.weight: [N]} for `mixtune quantize --salience`, each by the error d of rounding to 4 bits in groups of 128:
    random; by the error of the weight, |d|^2; by that of the layer's output, d H d^T."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for _, parts in model.layers:
        for p in parts:
            w = model.weight(p)
            d = fake(w, 4, 128, symmetric=False) - w
            if what == "random":
                score = torch.rand(len(w), generator=generator)
            elif what == "weight":
                score = (d * d).sum(1)
            else:
                score = ((d @ model.stats(parts[0], "hessian")) * d).sum(1).clamp(min=0)
            found[p + ".weight"] = score.contiguous()
    return found
