#!/usr/bin/env python3
"""What tuner/quantize/salience.py refuses, and what it leaves alone, in one process, for PyTorch takes long to load.

    tests/cli/salience_refuses.py WORK    # has the models plain, other and experts and the text `text`; $MIXTUNE is there

Says what is wrong, a line for each, and exits with 1 if anything is.
"""
import contextlib
import io
import os
import shutil
import subprocess
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tuner/quantize"))
import salience

work, wrong = sys.argv[1], []
path = lambda *names: os.path.join(work, *names)
OPTIONS = ("--text", path("text"), "--samples", "4", "--length", "32", "--threads", "2")


def run(*arguments):
    """(exit code, standard error)"""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            code = salience.main([*OPTIONS, *arguments])
        except SystemExit as end:
            code = end.code
    return code, said.getvalue()


def expect(truth, *words):
    if not truth:
        wrong.append(" ".join(str(word).strip() for word in words))


def refuses(want, words, *arguments):
    code, said = run(*arguments)
    lines = said.splitlines()
    good = code == want and len(lines) == 1 and all(word in said for word in words)
    expect(good, arguments, "ends with", code, "and says", said)
    expect(not os.path.exists(path("new")) and not [name for name in os.listdir(work) if name.startswith(".salience")],
           arguments, "leaves something behind")


def pack(model, out, *options):
    subprocess.run([os.environ["MIXTUNE"], "quantize", "--quiet", "--model", path(model), "--out", path(out), "--rest", "leave",
                    *options], check=True, stdout=subprocess.DEVNULL)


def write(name, content, like=None):
    if like:
        shutil.copytree(path(like), path(name))
        name = os.path.join(name, content[0])
        content = content[1]
    with open(path(name), "w") as f:
        f.write(content)
    return path(name)


def read_text(name):
    with open(name) as f:
        return f.read()


def bad_texts():
    new = ("--model", path("plain"), "--out", path("new"))
    refuses(1, ["short", "tokens, too few for a sample of 32"], *new, "--text", write("short", "a few words"))
    refuses(1, ["empty.jsonl", 'field "text"'], *new, "--text", write("empty.jsonl", '{"words": "a"}\n'))
    refuses(1, ["odd.jsonl, line 2", "JSON"], *new, "--text", write("odd.jsonl", '{"text": "a"}\n{"text"\n'))
    refuses(1, ["cut.txt.gz"], *new, "--text", write("cut.txt.gz", "this was never compressed"))
    os.mkdir(path("nothing"))
    refuses(1, ["nothing", ".parquet"], *new, "--text", path("nothing"))


def bad_models():
    plain = ("--model", path("plain"), "--out", path("new"))
    pack("plain", "p50", "--scheme", "p50", "--uniform")
    pack("plain", "g64", "--group", "64")
    pack("other", "of-other")
    pack("experts", "of-experts")
    refuses(64, ["8 bits", "w4a8"], *plain, "--packed", path("p50"))
    refuses(64, ["--group 64"], *plain, "--packed", path("g64"))
    refuses(64, ["was not made of", ".mlp.experts."], *plain, "--packed", path("of-experts"))
    refuses(1, ["q_proj", "not this layer's"], *plain, "--packed", path("of-other"))
    refuses(1, ["cannot be read as a packed checkpoint"], *plain, "--packed", path("plain"))
    refuses(64, ["no-such-program"], *plain, "--mixtune", path("no-such-program"))
    refuses(1, ["quantize` fails"], *plain, "--mixtune", "/bin/false")
    write("no-model", ("config.json", '{"model_type": "no-such-kind"}'), like="plain")
    refuses(1, ["no-model", "cannot be loaded by transformers"], "--model", path("no-model"), "--out", path("new"))
    write("wide", ("config.json", read_text(path("experts", "config.json")).replace('_tok": 2', '_tok": 9')), like="experts")
    refuses(1, ["wide cannot run", "out of range"], "--model", path("wide"), "--out", path("new"))
    # transformers would make up a weight that is not there.
    renamed = path("renamed", "model.safetensors")
    shutil.copytree(path("plain"), path("renamed"))
    with open(renamed, "rb") as f:
        content = f.read()
    with open(renamed, "wb") as f:
        f.write(content.replace(b"model.layers.1.self_attn.v_proj", b"model.layers.1.self_attn.w_proj"))
    refuses(1, ["renamed has no model.layers.1.self_attn.v_proj.weight"], "--model", path("renamed"), "--out", path("new"))


def resumed():
    """What an interrupted run has written of the Hessians stays, and what another has written too."""
    hessians = ("--model", path("plain"), "--hessian", path("hessians"))
    code, said = run(*hessians)
    expect(code == 0, "Hessians alone:", said)
    read = lambda name: open(path("hessians", name), "rb").read()
    index, first = read("model.safetensors.index.json"), os.stat(path("hessians", "layer-00000.safetensors")).st_mtime_ns
    os.remove(path("hessians", "model.safetensors.index.json"))
    os.remove(path("hessians", "layer-00001.safetensors"))
    code, said = run(*hessians)
    expect(code == 0 and "of 1 layers are there already" in said, "resumed:", code, said)
    expect(read("model.safetensors.index.json") == index, "the index is another when resumed")
    expect(os.stat(path("hessians", "layer-00000.safetensors")).st_mtime_ns == first, "a layer that was there is written anew")
    before = read("layer-00000.safetensors")
    refuses(1, ["layer-00000.safetensors", "remove it"], *hessians, "--seed", "1")
    expect(read("layer-00000.safetensors") == before, "Hessians of another run are overwritten")


import torch

if not torch.cuda.is_available():
    refuses(64, ["--device cuda", "no GPU"], "--model", path("plain"), "--out", path("new"), "--device", "cuda")
bad_texts()
bad_models()
resumed()
sys.exit("\n".join(wrong) or 0)
