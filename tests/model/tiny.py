#!/usr/bin/env python3
"""A small checkpoint in a folder as Hugging Face has them, with weights that are hard to quantise.

    tests/model/tiny.py OUT
    tests/model/tiny.py OUT --dtype F16 --shards 3 --layers 3 --bias
    tests/model/tiny.py OUT --experts 4 --salience OUT/salience.safetensors --hessian OUT/hessian.safetensors
    tests/model/tiny.py OUT --heads 4 --kv-heads 1 --fused --prefix model.language_model

Weights have heavy tails and rows of other sizes. In some rows a group is constant, zero or of one sign, and some rows
are zero, so small that their scales are subnormal in fp16, or ruled by one weight. K is no multiple of 128.
"""
import argparse
import json
import os
import zlib

import numpy as np

import safetensors

def rng_of(options, name):
    return np.random.default_rng([options.seed, zlib.crc32(name.encode())])


def linear(options, name, n, k):
    """Weights [n, k] of one linear layer."""
    rng = rng_of(options, name)
    w = (rng.standard_t(4, (n, k)) * 0.04).astype(np.float32)
    rows = rng.permutation(n)
    outliers, rest = rows[: n // 12], rows[n // 12 :]
    w[outliers] *= rng.uniform(4, 40, (len(outliers), 1)).astype(np.float32)
    head, tail = slice(0, min(128, k)), slice(k - min(64, k), k)  # whole groups where groups are of 64 or 128
    odd = iter(rest)
    for change in (
        lambda r: w[r].__setitem__(head, 0.125),
        lambda r: w[r].__setitem__(head, -0.3),
        lambda r: w[r].__setitem__(head, 0),
        lambda r: w[r].__setitem__(tail, 0),
        lambda r: w[r].__setitem__(slice(None), 0),
        lambda r: np.abs(w[r], out=w[r]),
        lambda r: np.negative(np.abs(w[r]), out=w[r]),
        lambda r: np.add(w[r], 0.7, out=w[r]),
        lambda r: np.multiply(w[r], 3e-5, out=w[r]),
        lambda r: np.multiply(w[r], 3e-7, out=w[r]),
        lambda r: w[r].__setitem__(rng.integers(k), 9.5),
        lambda r: w[r].__setitem__(slice(None), np.round(w[r] * 50) / 50),  # many weights alike
    ):
        row = next(odd, None)
        if row is not None:
            change(row)
    return w


def linears(options, layer):
    """(name, n, k) of the linear layers of one decoder layer, in the order in which features are counted."""
    o, hidden = options, options.hidden
    q, kv = o.heads * o.head_dim, o.kv_heads * o.head_dim
    place = f"{o.prefix}.layers.{layer}."
    attention = [("q_proj", q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden), ("o_proj", hidden, q)]
    mlp = [("gate_proj", o.intermediate, hidden), ("up_proj", o.intermediate, hidden), ("down_proj", hidden, o.intermediate)]
    if o.fused:
        attention = [("qkv_proj", q + 2 * kv, hidden), attention[3]]
        mlp = [("gate_up_proj", 2 * o.intermediate, hidden), mlp[2]]
    places = [place + "mlp."]
    if o.mixtral:
        mlp = [(w, n, k) for w, (_, n, k) in zip(("w1", "w3", "w2"), mlp)]
        places = [f"{place}block_sparse_moe.experts.{e}." for e in range(o.experts)]
    elif o.experts:
        places = [f"{place}mlp.experts.{e}." for e in range(o.experts)]
    names = [(f"{place}self_attn.{name}", n, k) for name, n, k in attention]
    return names + [(where + name, n, k) for where in places for name, n, k in mlp]


def decoder_layer(options, i):
    """name -> float32 weights of one decoder layer."""
    o, place = options, f"{options.prefix}.layers.{i}."
    tensors = {}
    for name, n, k in linears(o, i):
        tensors[name + ".weight"] = linear(o, name, n, k)
        if o.bias and name.split(".")[-1] in ("q_proj", "k_proj", "v_proj", "qkv_proj"):
            tensors[name + ".bias"] = rng_of(o, name + ".bias").standard_normal(n) * 0.3
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{place}{name}.weight"] = 1 + rng_of(o, place + name).standard_normal(o.hidden) * 0.1
    if o.experts:
        router = f"{place}{'block_sparse_moe' if o.mixtral else 'mlp'}.gate"
        tensors[router + ".weight"] = rng_of(o, router).standard_normal((o.experts, o.hidden)) * 0.05
        if not o.mixtral:
            for name in ("q_norm", "k_norm"):
                tensors[f"{place}self_attn.{name}.weight"] = 1 + rng_of(o, place + name).standard_normal(o.head_dim) * 0.1
    return tensors


def checkpoint(options):
    """name -> tensor, of the type that was asked for."""
    o, tensors = options, {}
    embed = f"{o.prefix}.embed_tokens.weight"
    tensors[embed] = rng_of(o, embed).standard_normal((o.vocab, o.hidden)) * 0.05
    for i in range(o.layers):
        tensors.update(decoder_layer(o, i))
    norm = f"{o.prefix}.norm.weight"
    tensors[norm] = 1 + rng_of(o, norm).standard_normal(o.hidden) * 0.1
    if not o.tied:
        tensors["lm_head.weight"] = rng_of(o, "lm_head").standard_normal((o.vocab, o.hidden)) * 0.05
    if o.vision:
        for name in ("q_proj", "out_proj"):  # a linear layer that is none of the decoder's
            full = f"model.vision_tower.encoder.layers.0.self_attn.{name}"
            tensors[full + ".weight"] = linear(o, full, 64, 64)
    return {name: safetensors.as_type(x, o.dtype) for name, x in tensors.items()}


def config(options):
    """What config.json says."""
    o = options
    kind, architecture = "llama", "LlamaForCausalLM"
    if o.mixtral:
        kind, architecture = "mixtral", "MixtralForCausalLM"
    elif o.experts:
        kind, architecture = "qwen3_moe", "Qwen3MoeForCausalLM"
    elif o.fused:
        kind, architecture = "phi3", "Phi3ForCausalLM"
    elif o.bias:
        kind, architecture = "qwen2", "Qwen2ForCausalLM"
    text = {
        "hidden_size": o.hidden, "intermediate_size": o.intermediate, "num_hidden_layers": o.layers,
        "num_attention_heads": o.heads, "num_key_value_heads": o.kv_heads, "head_dim": o.head_dim,
        "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "vocab_size": o.vocab, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": o.tied,
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[o.dtype],
    }
    if o.bias and kind == "llama":
        text["attention_bias"] = True
    if kind == "mixtral":
        text.update({"num_local_experts": o.experts, "num_experts_per_tok": min(2, o.experts)})
    if kind == "qwen3_moe":
        text.update({"num_experts": o.experts, "num_experts_per_tok": min(2, o.experts), "moe_intermediate_size": o.intermediate,
                     "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True})
    top = {"architectures": [architecture], "model_type": kind, "transformers_version": "4.50.0"}
    if o.prefix == "model":
        return {**top, **text}
    return {**top, "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "tie_word_embeddings": o.tied,
            "text_config": {"model_type": kind, **text}}


def tokenizer(options):
    """A tokenizer.json of single bytes, as far as the vocabulary goes."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for c in range(33, 127):
        if len(vocab) < options.vocab:
            vocab[chr(c)] = len(vocab)
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for t, i in list(vocab.items())[:3]]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": []}}


def salience(options):
    """name of a weight -> its features' saliences: float32 with heavy tails. Some tie: one in six lies on a coarse grid, and
    so do those around the places where 5, 10, 12.5, 20 or 50 % of all are cut off."""
    names, sizes, drawn = [], [], []
    for i in range(options.layers):
        for name, n, _ in linears(options, i):
            rng = rng_of(options, name + ".salience")
            s = rng.lognormal(rng.normal(0, 1), 1.8, n)
            coarse = rng.random(n) < 1 / 6
            s[coarse] = np.exp2(np.round(np.log2(s[coarse])))
            names.append(name + ".weight")
            sizes.append(n)
            drawn.append(s.astype(np.float32))
    everything = np.concatenate(drawn)
    order = np.argsort(-everything, kind="stable")
    for share in (0.05, 0.1, 0.125, 0.2, 0.5):
        cut, some = int(len(order) * share), len(order) // 200
        everything[order[cut - some : cut + some + 1]] = everything[order[cut]]
    return dict(zip(names, np.split(everything, np.cumsum(sizes)[:-1])))


def beside(options, weights):
    """The further tensors of docs/salience.md for such saliences: halves and squares that differ and tie like them, and
    tokens, of which some experts see few or none."""
    inputs = {name + ".weight": k for i in range(options.layers) for name, _, k in linears(options, i)}
    tensors = {}
    for name, s in weights.items():
        rng = rng_of(options, name + ".beside")
        steps = 2.0 ** rng.integers(-2, 3, (4, len(s)))
        tensors[name + ".halves"] = (s * steps[:2]).astype(np.float32)
        tensors[name + ".squares"] = (s * steps[2:]).astype(np.float32)
        tensors[name + ".inputs"] = np.array([inputs[name]], "<i8")
        expert = rng_of(options, name.rsplit(".", 2)[0])  # the same tokens come to gate, up and down
        seen = int(64 * expert.lognormal(0, 2.5)) if ".experts." in name else 1024
        tensors[name + ".tokens"] = np.array([seen], "<i8")
    return tensors


def about(options):
    """The metadata of a salience file."""
    return {"format": "mixtune-salience", "version": "1", "model": "tiny", "group": "128", "symmetric": "false", "samples": "6",
            "length": "32", "texts": json.dumps([["one", 4], ["other", 2]]), "seconds": "4.5", "peak_bytes": str(5 << 20),
            "device": "cpu, 1 thread"}


def hessian(options):
    """name of a weight -> Σ xᵀx of the inputs of its layer: correlated, a few inputs massive, some always 0. With experts
    the last one saw no token."""
    found = {}
    for i in range(options.layers):
        for name, _, k in linears(options, i):
            if name.split(".")[-1] in ("k_proj", "v_proj", "up_proj", "w3"):
                continue  # shares the input of q, gate or w1
            rng = rng_of(options, name + ".hessian")
            x = rng.standard_normal((2 * k, k // 4)) @ rng.standard_normal((k // 4, k)) * 0.1
            x += rng.standard_normal(x.shape) * 0.3
            x[:, rng.choice(k, 3, replace=False)] *= 60
            x[:, rng.choice(k, k // 20, replace=False)] = 0
            if options.experts and f".experts.{options.experts - 1}." in name:
                x[:] = 0
            found[name + ".weight"] = (x.T @ x).astype(np.float32)
            found[name + ".weight.tokens"] = np.array([len(x)])
    return found


def parser():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("out", help="folder, made where it is missing")
    p.add_argument("--dtype", choices=("F32", "F16", "BF16"), default="BF16")
    p.add_argument("--shards", type=int, default=1)
    sizes = {"layers": 2, "hidden": 192, "intermediate": 320, "heads": 6, "kv-heads": 2, "head-dim": 32, "vocab": 96, "seed": 1}
    for name, size in sizes.items():
        p.add_argument("--" + name, type=int, default=size, help=f"({size})")
    p.add_argument("--bias", action="store_true", help="q, k and v have one")
    p.add_argument("--tied", action="store_true", help="no lm_head")
    p.add_argument("--experts", type=int, default=0, help="in each layer, named as in Qwen3-MoE")
    p.add_argument("--mixtral", action="store_true", help="experts named as in Mixtral (8 unless --experts)")
    p.add_argument("--fused", action="store_true", help="qkv_proj and gate_up_proj, as in Phi-3")
    p.add_argument("--prefix", default="model", help="before .layers, such as model.language_model")
    p.add_argument("--vision", action="store_true", help="linear layers outside the decoder too")
    p.add_argument("--salience", metavar="FILE", help="write a salience file too")
    p.add_argument("--hessian", metavar="FILE", help="write a file of Hessians too")
    return p


def main():
    p = parser()
    options = p.parse_args()
    if options.mixtral and not options.experts:
        options.experts = 8
    if options.fused and options.experts:
        p.error("--fused and experts: no model has both")
    safetensors.write_folder(options.out, checkpoint(options), options.shards)
    for name, content in (("config.json", config(options)), ("tokenizer.json", tokenizer(options))):
        with open(os.path.join(options.out, name), "w") as f:
            json.dump(content, f, indent=2)
    if options.salience:
        weights = salience(options)
        safetensors.write(options.salience, {**weights, **beside(options, weights)}, about(options))
    if options.hessian:
        safetensors.write(options.hessian, hessian(options))


if __name__ == "__main__":
    main()
