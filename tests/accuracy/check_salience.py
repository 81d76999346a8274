#!/usr/bin/env python3
"""Are the saliences and Hessians of small models what another way of working them out says?

    tests/accuracy/check_salience.py WORK 'MODEL OPTION...' ...    # a folder, and options of tuner/quantize/salience.py

The reference takes whole gradients of the weights from PyTorch, rounds with tests/model/quant.py, finds weights by the names
that transformers 5 gives them, and sends tokens to experts by itself. Every feature and every element of a Hessian is compared.
Each model is calibrated on one thread and on two, the last one also without other processes, as on a GPU: the bytes must be
the same. Exits with 1 at the first difference.
"""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "../../tuner/quantize"))
sys.path.append(os.path.join(HERE, "../model"))  # last: its safetensors.py is not the package

import numpy as np
import torch
import transformers
from safetensors import safe_open

import quant
import salience
import texts
import workers

LINEAR = re.compile(r"\.layers\.\d+\..*\.(\w+_proj|w[123])\.weight$")
EXPERT = re.compile(r"(.*)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight$")
FIRST = ("q_proj", "qkv_proj", "o_proj", "gate_proj", "gate_up_proj", "w1", "down_proj", "w2")
NOTHING = np.zeros(0)
RAN = {"seconds", "peak_bytes", "device"}  # what differs between runs


class Different(Exception):
    pass


def tensors_of(path):
    """(tensors, metadata) of a file, or of the files of a folder."""
    if os.path.isdir(path):
        files = sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))
        found = [tensors_of(os.path.join(path, name)) for name in files]
        return {name: x for tensors, _ in found for name, x in tensors.items()}, found[0][1]
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return {name: (x.float() if x.is_floating_point() else x).numpy() for name, x in tensors.items()}, file.metadata()


def calibrate(work, threads, model, *options):
    """Returns the paths of what is written. The more threads, the more layers at once too."""
    out = os.path.join(work, f"{os.path.basename(model)}-{threads}")
    code = salience.main(["--model", model, "--out", out + ".safetensors", "--hessian", out + ".hessian",
                          "--threads", str(threads), "--hessian-layers", str(threads), *options])
    if code:
        raise Different(f"it ends with {code} on {threads} threads")
    return out + ".safetensors", out + ".hessian"


class Alone(workers.Workers):
    """As on a GPU: this process does it all."""

    def __init__(self, device, threads):
        self.count = 0

    def name(self):
        return "alone"


def same_files(ones, twos):
    for one, two in zip(ones, twos):
        (a, about_a), (b, about_b) = tensors_of(one), tensors_of(two)
        if list(a) != list(b) or any(a[name].tobytes() != b[name].tobytes() for name in a):
            raise Different(f"{one} and {two} have not the same tensors")
        if {k: v for k, v in about_a.items() if k not in RAN} != {k: v for k, v in about_b.items() if k not in RAN}:
            raise Different(f"{one} and {two} say other things: {about_a}, {about_b}")


class Reference:
    def __init__(self, path, options):
        self.options = options
        self.checkpoint, _ = tensors_of(os.path.join(path, "model.safetensors"))
        self.linears = {name: w.astype(np.float32) for name, w in self.checkpoint.items() if LINEAR.search(name)}
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        self.samples, self.names = texts.samples_of(options, tokenizer, self.model.config)

    def gradient(self, name):
        """Of a weight by its name in the checkpoint."""
        parameters, expert = dict(self.model.named_parameters()), EXPERT.match(name)
        if not expert:
            return parameters[name].grad.double().numpy()
        place, number, role = expert[1] + ".mlp.experts.", int(expert[2]), expert[3]
        if role in ("down_proj", "w2"):
            return parameters[place + "down_proj"].grad[number].double().numpy()
        both = parameters[place + "gate_up_proj"].grad[number].double().numpy()
        return np.split(both, 2)[role in ("up_proj", "w3")]

    def deltas(self):
        group = self.options.group
        for name, w in self.linears.items():
            codes, scales, zeros = quant.quantise(w, 4, group, self.options.symmetric)
            yield name, quant.dequantise(codes, scales, zeros, group).astype(np.float64) - w

    def saliences(self):
        """name -> (x [samples, N], how far rounding in fp32 may move it)."""
        found = {name: ([], []) for name in self.linears}
        deltas = dict(self.deltas())
        for sample in self.samples:
            ids = torch.tensor([sample])
            self.model.zero_grad()
            picked = torch.log_softmax(self.model(ids).logits[0, :-1], 1)[range(len(sample) - 1), ids[0, 1:]]
            (-picked.mean()).backward()
            for name, delta in deltas.items():
                product = self.gradient(name) * delta
                found[name][0].append(product.sum(1))
                found[name][1].append(np.abs(product).sum(1))
        return {name: (np.array(x), np.array(size)) for name, (x, size) in found.items()}

    def inputs(self):
        """name -> what came in, for all linear layers: float64 [tokens, K]."""
        found, hooks = {name: [] for name in self.linears}, []
        modules = dict(self.model.named_modules())
        for name in self.linears:
            if not EXPERT.match(name):
                hooks.append(modules[name.removesuffix(".weight")].register_forward_pre_hook(
                    lambda module, args, name=name: found[name].append(args[0][0].double().numpy())))
        for place in {EXPERT.match(name)[1] for name in self.linears if EXPERT.match(name)}:
            hooks.append(modules[place + ".mlp"].register_forward_pre_hook(
                lambda module, args, place=place: self.route(place, args[0][0].double().numpy(), found)))
        with torch.no_grad():
            for sample in self.samples:
                self.model(torch.tensor([sample]))
        for hook in hooks:
            hook.remove()
        return {name: np.concatenate(x) if x else np.zeros((0, self.linears[name].shape[1])) for name, x in found.items()}

    def route(self, place, x, found):
        """Sends the tokens of a layer to its experts."""
        router = next(w for name, w in self.checkpoint.items() if name.startswith(place) and name.endswith(".gate.weight"))
        best = np.argsort(-(x @ router.T.astype(np.float64)), axis=1)[:, : self.model.config.num_experts_per_tok]
        for name, w in self.linears.items():
            expert = EXPERT.match(name)
            if not expert or expert[1] != place:
                continue
            came = x[(best == int(expert[2])).any(1)]
            if expert[3] in ("down_proj", "w2"):
                roles = ("gate_proj", "up_proj") if expert[3] == "down_proj" else ("w1", "w3")
                gate, up = (came @ self.linears[name.replace(expert[3], role)].T.astype(np.float64) for role in roles)
                came = gate / (1 + np.exp(-gate)) * up
            found[name].append(came)


def same(what, got, want, tolerance):
    worst = np.argmax(np.abs(got - want) - tolerance) if got.shape == want.shape else None
    if worst is None or not np.all(np.abs(got - want) <= tolerance):
        if worst is None:
            raise Different(f"{what} is {got.shape}, not {want.shape}")
        raise Different(f"{what}, number {worst} of it: {got.flat[worst]:.6g}, not {want.flat[worst]:.6g}")


def check_saliences(path, reference, inputs):
    got, about = tensors_of(path)
    for name, (x, size) in reference.saliences().items():
        error = size * 3e-5 + 1e-9
        terms = {"halves": np.abs(x + x**2 / 2), "squares": x**2 / 2}
        slack = {"halves": error * (1 + np.abs(x) + error), "squares": error * (np.abs(x) + error)}
        for what, each in terms.items():
            halves = np.array([each[0::2].sum(0), each[1::2].sum(0)])
            allowed = np.array([slack[what][0::2].sum(0), slack[what][1::2].sum(0)]) + 1e-6 * halves
            same(f"{name}.{what}", got.pop(f"{name}.{what}", NOTHING), halves, allowed)
            if what == "halves":
                same(name, got.pop(name, NOTHING), halves.sum(0), allowed.sum(0))
        same(name + ".inputs", got.pop(name + ".inputs", NOTHING), np.array([reference.linears[name].shape[1]]), 0)
        same(name + ".tokens", got.pop(name + ".tokens", NOTHING), np.array([len(inputs[name])]), 0)
    if got:
        raise Different(f"it also has {sorted(got)[0]}")
    options, samples = reference.options, reference.samples
    says = {"format": "mixtune-salience", "version": "1", "samples": str(len(samples)), "length": str(len(samples[0])),
            "group": str(options.group), "symmetric": str(options.symmetric).lower(), "texts": json.dumps(reference.names)}
    if not says.items() <= about.items():
        raise Different(f"it says {about}")


def check_hessians(path, inputs):
    got, about = tensors_of(path)
    if about["format"] != "mixtune-hessian":
        raise Different(f"it says {about}")
    for name, x in inputs.items():
        if name.split(".")[-2] in FIRST:
            h = sum((x[at : at + 16].T @ x[at : at + 16] for at in range(0, len(x), 16)), np.zeros((x.shape[1],) * 2))
            size = np.sqrt(np.diag(h))
            same(name, got.pop(name, NOTHING), h, 5e-5 * np.outer(size, size))
            same(name + ".tokens", got.pop(name + ".tokens", NOTHING), np.array([len(x)]), 0)
    if got:
        raise Different(f"it also has {sorted(got)[0]}")


def main():
    work, *cases = sys.argv[1:]
    case, written = "", []
    try:
        # All runs come first: after PyTorch has gone backwards in this process, forks of it cannot.
        for case in cases:
            written.append(calibrate(work, 1, *case.split(" ")))
            same_files(written[-1], calibrate(work, 2, *case.split(" ")))
        workers.Workers = Alone
        same_files(written[-1], calibrate(work, 3, *case.split(" ")))
        for case, (saliences, hessians) in zip(cases, written):
            model, *options = case.split(" ")
            reference = Reference(model, salience.parse(["--model", model, "--out", saliences, *options]))
            inputs = reference.inputs()
            check_saliences(saliences, reference, inputs)
            check_hessians(hessians, inputs)
            print(f"{case}: {sum(map(len, reference.linears.values()))} features of {len(reference.linears)} layers")
    except Different as error:
        sys.exit(f"{case}: {error}")


if __name__ == "__main__":
    main()
