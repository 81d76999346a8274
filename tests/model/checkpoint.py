"""The linear layers of a Hugging Face checkpoint, fused and cut as an engine runs them.

    model = Model("checkpoint")
    for layer in model.layers:                     # in the order in which features are counted
        w = model.weight(layer, tp=2, rank=1)      # float32 [N, K] of that rank

A layer is what runs as one GEMM: q, k and v are one, gate and up too. For tensor parallelism each part of qkv and
gate_up is cut along N, by heads, and o and down along K. More ranks than heads of k and v share them.
"""
import json
import os
import re
from typing import NamedTuple

import numpy as np

import safetensors

KINDS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.qkv_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("gate_proj", "up_proj", "gate_up_proj", "w1", "w3"),
    "down": ("down_proj", "w2"),
}
ALONG_K = ("o", "down")
EXPERT = re.compile(r"(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)")


class Layer(NamedTuple):
    name: str  # model.layers.3.experts.7.gate_up
    kind: str
    decoder: int
    parts: tuple  # names of the linear layers in the checkpoint, without .weight


class Model:
    def __init__(self, path, shapes=None):
        """shapes: linear layer without .weight -> (N, K), where there is more than tensors of that name (foreign.py)."""
        self.folder = safetensors.Folder(path)
        plain = {name[: -len(".weight")]: self.folder.shape(name) for name in self.folder if name.endswith(".weight")}
        self.shapes = {**plain, **(shapes or {})}
        with open(os.path.join(path, "config.json")) as f:
            config = json.load(f)
        self.config = config.get("text_config", config)
        (embed,) = (name for name in self.folder if name.endswith("embed_tokens.weight"))
        self.prefix = embed[: -len(".embed_tokens.weight")]
        self.layers = [layer for i in range(self.config["num_hidden_layers"]) for layer in self._decoder_layer(i)]

    def _decoder_layer(self, i):
        place = f"{self.prefix}.layers.{i}."
        names = [name[len(place) :] for name in self.shapes if name.startswith(place)]
        experts = sorted({int(m[1]) for m in map(EXPERT.fullmatch, names) if m})
        owners = [(place, "self_attn.", ("qkv", "o"))]
        for e in experts:
            expert = "block_sparse_moe" if f"block_sparse_moe.experts.{e}.w1" in names else "mlp"
            owners.append((f"{place}experts.{e}.", f"{expert}.experts.{e}.", ("gate_up", "down")))
        if not experts:
            owners.append((place, "mlp.", ("gate_up", "down")))
        for owner, inside, kinds in owners:
            for kind in kinds:
                parts = [inside + part.split(".")[-1] for part in KINDS[kind]]
                yield Layer(owner + kind, kind, i, tuple(place + part for part in parts if part in names))

    def features(self, layer):
        """Of the whole layer, part by part."""
        return [self.shapes[part][0] for part in layer.parts]

    def _sections(self, part, n):
        """(begin, end, pieces) of what is cut by itself in a part; pieces: into how many it can be cut."""
        name = part.split(".")[-1]
        heads, kv = self.config["num_attention_heads"], self.config.get("num_key_value_heads")
        kv = kv or heads
        if name == "qkv_proj":
            head = n // (heads + 2 * kv)
            q, k = heads * head, (heads + kv) * head
            return [(0, q, heads), (q, k, kv), (k, n, kv)]
        if name == "gate_up_proj":
            return [(0, n // 2, n // 2), (n // 2, n, n // 2)]
        return [(0, n, {"q_proj": heads, "k_proj": kv, "v_proj": kv}.get(name, n))]

    def rows(self, layer, tp=1, rank=0):
        """Of each part, which features a rank has: arrays of indices."""
        found = []
        for part, n in zip(layer.parts, self.features(layer)):
            pieces = []
            for begin, end, count in [(0, n, n)] if layer.kind in ALONG_K else self._sections(part, n):
                ranks = tp if layer.kind not in ALONG_K else 1
                if ranks > count:  # heads are repeated
                    one = (end - begin) // count
                    first = begin + rank * count // ranks * one
                elif count % ranks:
                    raise SystemExit(f"{part}: {count} heads or features cannot be cut for {ranks} ranks")
                else:
                    one = (end - begin) // ranks
                    first = begin + (rank * one if ranks > 1 else 0)
                pieces.append(np.arange(first, first + one))
            found.append(np.concatenate(pieces))
        return found

    def weight(self, layer, tp=1, rank=0):
        parts = []
        for part, rows in zip(layer.parts, self.rows(layer, tp, rank)):
            tensor = self.folder[part + ".weight"]
            data = tensor.data
            if layer.kind in ALONG_K:
                if data.shape[1] % tp:
                    raise SystemExit(f"{part}: {data.shape[1]} input features cannot be cut for {tp} ranks")
                k = data.shape[1] // tp
                data = data[:, rank * k : (rank + 1) * k]
            elif tp > 1:
                data = data[rows]
            parts.append(safetensors.as_float32(safetensors.Tensor(tensor.dtype, data)))
        return np.concatenate(parts)

    def bias(self, layer, tp=1, rank=0):
        """A tensor of the source's type, None without one. Ranks are added up, so one alone has that of o or down."""
        if layer.kind in ALONG_K and rank > 0 or layer.parts[0] + ".bias" not in self.folder:
            return None
        parts = [self.folder[part + ".bias"] for part in layer.parts]
        data = [tensor.data[rows] for tensor, rows in zip(parts, self.rows(layer, tp, rank))]
        return safetensors.Tensor(parts[0].dtype, np.concatenate(data))

    def quantised(self):
        """Names of all tensors that belong to a layer."""
        names = {part + last for layer in self.layers for part in layer.parts for last in (".weight", ".bias")}
        return {name for name in names if name in self.folder}
