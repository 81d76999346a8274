"""What a packed checkpoint (docs/packed.md) holds, as PyTorch tensors.

    packed = Packed("packed")
    w = packed.weight("model.layers.3.self_attn.q_proj")    # float32 [N, K], exactly what a kernel multiplies with
    kept = packed.is8("model.layers.3.self_attn.q_proj")    # bool [N]: the features with 8 bits

Names are those of the linear layers in the checkpoint that it was made of, without `.weight`.
"""
import json
import os

import torch
from safetensors import safe_open

INDEX = "model.safetensors.index.json"
BLOCK_K = 128


class Packed:
    def __init__(self, path):
        with open(os.path.join(path, INDEX)) as f:
            index = json.load(f)
        if index["metadata"].get("format") != "mixtune":
            raise ValueError(f"{path} is no packed checkpoint; `mixtune quantize` makes one")
        if index["metadata"]["tp"] != "1":
            raise ValueError(f"{path} is one rank of {index['metadata']['tp']}; take the checkpoint of one GPU")
        self.metadata = index["metadata"]
        self.files, self.layers, self.parts = {}, {}, {}  # parts: linear layer -> (layer, first feature, features)
        for name in sorted(set(index["weight_map"].values())):
            if name.startswith("layer-"):
                self._take(safe_open(os.path.join(path, name), "pt"))
        self._last = (None, None, None)

    def _take(self, file):
        for name, text in sorted((file.metadata() or {}).items()):
            if not text.startswith("{"):
                continue
            layer, first = json.loads(text), 0
            self.layers[name], self.files[name] = layer, file
            for part, rows in layer["parts"]:
                self.parts[part] = (name, first, rows)
                first += rows

    def weight(self, part):
        layer, first, rows = self.parts[part]
        return self._layer(layer)[0][first : first + rows]

    def is8(self, part):
        layer, first, rows = self.parts[part]
        return self._layer(layer)[1][first : first + rows]

    def _layer(self, name):
        """(weights, which features have 8 bits) of a fused layer; the last one is kept, for its parts come in turn."""
        if self._last[0] != name:
            info, file = self.layers[name], self.files[name]
            there = set(file.keys())
            w = torch.zeros(info["n"], info["k"])
            is8 = torch.zeros(info["n"], dtype=torch.bool)
            for bits, rows in ((8, info["rows8"]), (4, info["n"] - info["rows8"])):
                if rows:
                    get = lambda what: file.get_tensor(f"{name}.w{bits}.{what}") if f"{name}.w{bits}.{what}" in there else None
                    columns = get("columns")
                    columns = torch.arange(rows) if columns is None else columns.long()
                    w[columns] = dequantise(get("blocks"), get("scales"), get("zeros"), bits, info)[:rows]
                    is8[columns] = bits == 8
            self._last = (name, w, is8)
        return self._last[1:]


def feature_bits(info, bits):
    """Of a feature with 4 or 8 bits, in a layer of which its metadata say `info`."""
    per_group = 16 if bits == 8 or info["symmetric"] else 24
    return bits * info["k"] + per_group * -(-info["k"] // info["group"])


def dequantise(blocks, scales, zeros, bits, info):
    """Blocks [Kp/128, Rp/16, 4 or 2, 512] -> float32 [Rp, K]."""
    codes = unpack(blocks, bits).float()
    spread = lambda x: x.float().T.repeat_interleave(info["group"], 1)[:, : codes.shape[1]]
    if bits == 4:
        codes -= 8 if zeros is None else spread(zeros)
    return (codes * spread(scales))[:, : info["k"]]


def unpack(blocks, bits):
    """Blocks [Kp/128, Rp/16, 4 or 2, 512] -> codes [Rp, Kp]. A row is 16a + 8i + g, an input feature
    128s + 32b + 16h + 4t + y; byte y of word i + 2h of lane 4g + t has it, in block b of the step s. With 4 bits two
    such blocks are one, the first in the low nibbles."""
    steps, tiles = blocks.shape[:2]
    if bits == 4:
        blocks = torch.stack([blocks & 15, blocks >> 4], dim=3)
    split = blocks.view(torch.int8).reshape(steps, tiles, 4, 8, 4, 2, 2, 4)
    s, a, b, g, t, h, i, y = range(8)
    return split.permute(a, i, g, s, b, h, t, y).reshape(tiles * 16, steps * BLOCK_K)
