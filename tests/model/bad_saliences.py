#!/usr/bin/env python3
"""Saliences that are wrong in one way each, beside a good file.

    tests/model/bad_saliences.py GOOD FOLDER      # writes FOLDER/NAME.sal
"""
import os
import sys

import numpy as np

import safetensors

Q, K, DOWN = (f"model.layers.0.{name}.weight" for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"))


def replaced(file, row, name, value):
    data = file[name].data.copy()
    data.flat[row] = value
    return {name: data}


def cases(file):
    """name -> (tensors that take the place of others, None to drop one; metadata likewise)"""
    tensor = lambda name: file[name].data
    yield "hand-made", {name: None for name in file if not name.endswith((".weight", ".inputs"))}, {key: None for key in file.metadata}
    yield "no-inputs", {Q + ".inputs": None}, {}
    yield "odd-inputs", {Q + ".inputs": np.array([0], "<i8")}, {}
    yield "float-inputs", {Q + ".inputs": np.array([192], "<f4")}, {}
    yield "other-inputs", {K + ".inputs": np.array([191], "<i8")}, {}
    yield "huge-inputs", {name: np.array([1 << 40], "<i8") for name in file if name.endswith(".inputs")}, {}
    yield "nan", replaced(file, 7, DOWN, np.nan), {}
    yield "negative", replaced(file, 9, DOWN, -0.5), {}
    yield "nan-half", replaced(file, 200, DOWN + ".halves", np.nan), {}
    yield "half-length", {DOWN + ".halves": tensor(DOWN + ".halves")[:, :-1]}, {}
    yield "one-half", {DOWN + ".halves": tensor(DOWN + ".halves")[0]}, {}
    yield "no-half", {DOWN + ".halves": None}, {}
    yield "no-squares", {DOWN + ".squares": None}, {}
    yield "negative-square", replaced(file, 3, DOWN + ".squares", -1), {}
    yield "integers", {DOWN: np.ones(192, "<i4")}, {}
    yield "matrix", {DOWN: np.ones((192, 320), "<f4")}, {}
    yield "no-part", {K: None}, {}
    yield "unknown", {name: None for name in file if name.endswith("_proj.weight")}, {}
    yield "hessian", {}, {"format": "mixtune-hessian"}
    yield "packed", {}, {"format": "mixtune"}
    yield "version", {}, {"version": "2"}
    yield "group", {}, {"group": "100"}
    yield "symmetric", {}, {"symmetric": "maybe"}
    yield "other-rounding", {}, {"group": "64", "symmetric": "true"}
    yield "seconds", {}, {"seconds": "fast"}
    yield "samples", {}, {"samples": "-1"}
    yield "texts", {}, {"texts": '{"one": 4}'}
    yield "hostile", {}, {"model": "long " * 40 + "a\x1b[31m`id`\n\"%s\"; system('id') ]]> $@{}", "device": "\x1b]0;\x07 ü", "texts": '[["\\u001b[2J", 1]]'}


def main():
    file = safetensors.File(sys.argv[1])
    for name, tensors, metadata in cases(file):
        all_tensors = {**{n: file[n] for n in file}, **tensors}
        texts = {k: v for k, v in {**file.metadata, **metadata}.items() if v is not None}
        safetensors.write(os.path.join(sys.argv[2], name + ".sal"), {n: t for n, t in all_tensors.items() if t is not None}, texts)


if __name__ == "__main__":
    main()
