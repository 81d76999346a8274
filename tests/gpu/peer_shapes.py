"""The shapes that are measured: the options of `mixtune sweep`, read the same way (tuner/plan/model.c, tuner/options.c). Standard library only."""
import collections
import json
import os

# A linear layer Y[m, n] = X[m, k] . W[n, k]^T, named as the database names it.
Problem = collections.namedtuple("Problem", "model layer n k tp m")
LAYERS = ("qkv", "o", "gate_up", "down")
USUAL_M = (1, 16, 64, 256, 1024, 4096)


def numbers(text):
    """'1,16,4096', '1:256:x2', '64:256:64' -> list; ValueError with a sentence."""
    out = []
    for part in text.split(","):
        try:
            if ":" in part:
                first, last, step = part.split(":")
                factor, step = step.startswith("x"), int(step.lstrip("x"))
                value, last = int(first), int(last)
                if value < 1 or last < value or step < 1 + factor:
                    raise ValueError
                while value <= last:
                    out.append(value)
                    value = value * step if factor else value + step
            else:
                out.append(int(part))
        except ValueError:
            raise ValueError(f"`{part}` is neither a number nor first:last:step, such as 1:256:x2") from None
        if out[-1] < 1:
            raise ValueError(f"`{part}` is not at least 1")
    return out


def spread(values):
    """The two ends first, then what lies in the middle of the widest gaps: whatever part of the list is measured, its range is covered."""
    out, gaps = list(values[:1]) + list(values[1:][-1:]), [(0, len(values) - 1)]
    while gaps:
        first, last = gaps.pop(0)
        if last - first > 1:
            middle = (first + last) // 2
            out.append(values[middle])
            gaps += [(first, middle), (middle, last)]
    return out


def shape(text):
    """'M,N,K' or 'N,K' -> (m or None, n, k)."""
    parts = text.split(",")
    try:
        values = [int(p) for p in parts]
    except ValueError:
        values = []
    if len(values) not in (2, 3) or min(values) < 1:
        raise ValueError(f"`{text}` is not M,N,K or N,K")
    return (None, *values) if len(values) == 2 else tuple(values)


def find_model(name, folders):
    """(name, fields) of a model in a `models` folder of `folders`, or of the path of a config.json."""
    paths = [name] if name.endswith(".json") else [os.path.join(f, "models", name + ".json") for f in folders]
    for path in paths:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                fields = json.load(file)
            base = os.path.basename(path)
            called = os.path.basename(os.path.dirname(os.path.abspath(path))) if base == "config.json" else base[:-5]
            return called, fields
    raise ValueError(f"there is no model `{name}` in {', '.join(paths)}")


def layers_of(fields, tp):
    """[(layer, n, k)] of the Hugging Face fields of a model."""
    hidden, intermediate = fields["hidden_size"], fields["intermediate_size"]
    heads = fields["num_attention_heads"]
    kv_heads = fields.get("num_key_value_heads") or heads
    head_dim = fields.get("head_dim") or hidden // heads
    if heads % tp or intermediate % tp or (kv_heads % tp if tp <= kv_heads else tp % kv_heads):
        raise ValueError(f"--tp {tp} does not divide the heads and the intermediate size of the model")
    heads, kv_heads, intermediate = heads // tp, max(kv_heads // tp, 1), intermediate // tp
    return [("qkv", (heads + 2 * kv_heads) * head_dim, hidden), ("o", hidden, heads * head_dim),
            ("gate_up", 2 * intermediate, hidden), ("down", hidden, intermediate)]


def problems(shapes, model, wanted, tp, ms, folders):
    """Every problem once: a shape that two layers share is measured for the first of them. One layer with all its batch sizes, then the
    next, so that a short budget has a layer that is complete and the kernels that later ones need are compiled early."""
    out, ms = [], spread(ms or USUAL_M)
    for m, n, k in shapes:
        out += [Problem("", f"{n}x{k}", n, k, 1, each) for each in ([m] if m else ms)]
    if model:
        name, fields = find_model(model, folders)
        for layer, n, k in layers_of(fields, tp):
            if not wanted or layer in wanted:
                out += [Problem(name, layer, n, k, tp, each) for each in ms]
    once = {}
    for p in out:
        once.setdefault((p.n, p.k, p.m), p)
    return list(once.values())


def small_parts(whole):
    """A corner of each problem, for a machine that is no GPU: at most 70 tokens, 128 features, 512 input features."""
    corners = {(min(p.n, 128), min(p.k, 512), min(p.m, 70)) for p in whole}
    return [Problem("", f"{n}x{k}", n, k, 1, m) for n, k, m in sorted(corners)]
