#!/usr/bin/env python3
"""How much the loss of a language model changes when each output feature of its linear layers is rounded to 4 bits.

`mixtune quantize --salience FILE` keeps the most salient ones in 8 bits, `mixtune show --salience FILE` shows them. With
--hessian it also writes what `mixtune quantize --method gptq` needs. The files are described in docs/salience.md.
"""
import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time

from console import FAILURE, INTERRUPTED, USAGE, Trouble, say


def corpus(argument):
    """PATH or PATH=SHARE."""
    path, _, share = argument.rpartition("=")
    if not path or os.path.exists(argument):
        path, share = argument, "1"
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{argument}: the share after = must be a number above 0")
    return path, value


def number(least, most):
    def convert(argument):
        if not argument.isdecimal() or not least <= int(argument) <= most:
            raise argparse.ArgumentTypeError(f"{argument} is no number from {least} to {most}")
        return int(argument)
    return convert


class Parser(argparse.ArgumentParser):
    def error(self, message):
        say(f"{message}; --help says what there is")
        sys.exit(USAGE)


EXAMPLE = """Example: salience.py --model Llama-3-8B --text wikitext --text code=0.5 --out salience.safetensors
         mixtune quantize --model Llama-3-8B --salience salience.safetensors --scheme p10 --out packed"""


def folder_of(path):
    return os.path.dirname(os.path.abspath(path))


def parse(arguments):
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--model", required=True, metavar="DIR", help="a Hugging Face folder in fp32, fp16 or bf16, with tokenizer")
    p.add_argument("--text", required=True, action="append", type=corpus, metavar="PATH[=SHARE]",
                   help="what to calibrate with: a file or a folder of text, HTML, JSON (field \"text\"), Parquet. Several "
                        "share the samples equally, or by SHARE. Mix domains: what is salient differs between them")
    p.add_argument("--out", metavar="FILE", help="where the saliences go: a safetensors file")
    p.add_argument("--hessian", metavar="DIR", help="write the layers' Hessians too, into this folder")
    p.add_argument("--samples", type=number(1, 1 << 20), default=128, metavar="N", help="sequences (default: 128)")
    p.add_argument("--length", type=number(2, 1 << 20), default=2048, metavar="N",
                   help="tokens of each (default: 2048, or what the model can take)")
    p.add_argument("--seed", type=int, default=0, help="which random windows of the texts are taken (default: 0)")
    p.add_argument("--group", type=int, choices=(64, 128, 256), default=128, help="as of `mixtune quantize` (default: 128)")
    p.add_argument("--symmetric", action="store_true", help="as of `mixtune quantize`")
    p.add_argument("--packed", metavar="DIR", help="the model as `mixtune quantize --scheme w4a8` has packed it, if it has")
    p.add_argument("--mixtune", metavar="PATH", help="the program, if not $MIXTUNE, the one of this tree or of PATH")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: a GPU if there is one)")
    p.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
                   help="of the model as it runs (default: float32 on a CPU, the checkpoint's on a GPU); sums are in fp32")
    p.add_argument("--threads", type=number(1, 1024), default=len(os.sched_getaffinity(0)), metavar="N",
                   help="processes of one thread that share the samples (default: one for each core); results are the same")
    p.add_argument("--recompute", action="store_true", help="gradient checkpointing: less memory, a third more time")
    p.add_argument("--hessian-layers", type=number(1, 1 << 20), metavar="N",
                   help="decoder layers whose Hessians are gathered at once (default: as memory allows)")
    options = p.parse_args(arguments)
    if not options.out and not options.hessian:
        p.error("--out or --hessian must say what to write")
    if not os.path.isdir(options.model):
        p.error(f"--model {options.model}: there is no such folder")
    for path in (path for path, _ in options.text if not os.path.exists(path)):
        p.error(f"--text {path}: there is no such file or folder")
    for option, path in (("--out", options.out), ("--hessian", options.hessian)):
        if path and not os.access(folder_of(path), os.W_OK):
            p.error(f"{option} {path}: {folder_of(path)} is no folder that can be written to")
    options.threads = min(options.threads, options.samples)
    return options


def run(options, scratch):
    """Does what is asked for; scratch is an empty folder."""
    import torch

    import gradients
    import hessians
    import linears
    import rounded
    import texts
    from workers import Workers, save

    torch.set_num_threads(1)  # the workers are the threads
    model, tokenizer = rounded.load(options)
    samples, names = texts.samples_of(options, tokenizer, model.config.get_text_config())
    workers = Workers(model.device, options.threads)
    checkpoint = linears.Checkpoint(options.model)
    packed = options.packed or rounded.quantise(options, os.path.join(scratch, "w4a8"))
    packed = rounded.open_packed(options, packed, checkpoint)
    matrices = linears.find(model, checkpoint, {name: rows for name, (_, _, rows) in packed.parts.items()})
    about = {"version": "1", "model": os.path.basename(os.path.realpath(options.model)), "samples": str(len(samples)),
             "length": str(len(samples[0])), "texts": json.dumps(names)}
    if options.out:
        rounded.set_deltas(matrices, checkpoint, packed, model.device)
        start = time.monotonic()
        tensors = gradients.saliences(model, matrices, samples, workers)
        gradients.check_tokens(tensors)
        save(tensors, options.out, {
            "format": "mixtune-salience", **about, "group": str(options.group), "symmetric": str(options.symmetric).lower(),
            "seconds": f"{time.monotonic() - start:.2f}", "peak_bytes": str(peak_bytes(torch, model.device)),
            "device": workers.name()})
    if options.hessian:
        about["key"] = hessians.key_of(samples, checkpoint, model)
        gatherer = hessians.Gatherer(model, matrices, samples, packed, about, options.hessian)
        hessians.write(gatherer, workers, options.hessian_layers)


def peak_bytes(torch, device):
    """Of the GPU, or of the process that took most."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024


def main(arguments=None):
    """Returns what the program exits with."""
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        options = parse(arguments)
        with tempfile.TemporaryDirectory(prefix=".salience-", dir=folder_of(options.out or options.hessian)) as scratch:
            run(options, scratch)
        return 0
    except Trouble as trouble:
        say(trouble)
        return trouble.code
    except ImportError as missing:
        say(f"the Python package {missing.name} is missing; PyTorch, transformers and safetensors are needed")
        return FAILURE
    except (RuntimeError, MemoryError) as error:  # of PyTorch, in a model's own code
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        short = isinstance(error, MemoryError) or "memory" in text
        say(f"{options.model} cannot run: {text}" + "; try --recompute, fewer --threads or a smaller --length" * short)
        return FAILURE
    except KeyboardInterrupt:
        say("interrupted: what was there before is as it was")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
