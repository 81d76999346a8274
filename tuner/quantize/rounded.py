"""A model ready to be calibrated: in memory, and rounded to 4 bits by mixtune."""
import os
import shutil
import subprocess
import warnings

import torch
import transformers
from safetensors import SafetensorError

from console import FAILURE, USAGE, Trouble
from packed import Packed


def load(options):
    """The model, ready to run, without gradients of its weights."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise Trouble("--device cuda: PyTorch finds no GPU", USAGE)
    dtype = options.dtype
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.simplefilter("ignore")  # of what they are about, the user can change nothing
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(options.model, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.model, local_files_only=True)
        stacked = {"experts_implementation": "eager"} if hasattr(config, "_experts_implementation") else {}
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            options.model, config=config, dtype=dtype, local_files_only=True, output_loading_info=True, **stacked)
    except Exception as error:  # transformers raises whatever a model's own code does
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise Trouble(f"{options.model} cannot be loaded by transformers: {why[0]}") from None
    if info["missing_keys"]:
        raise Trouble(f"{options.model} has no {sorted(info['missing_keys'])[0]}")
    model.requires_grad_(False).eval().to(device)
    # Gradients are wanted as far down as the first layer's output, and weights have none: embeddings do.
    model.get_input_embeddings().register_forward_hook(lambda module, x, y: y.requires_grad_(torch.is_grad_enabled()))
    if options.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        for module in model.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = True  # itself only: dropout within it stays off
    return model, tokenizer


def find_mixtune(options):
    here = os.path.dirname(os.path.realpath(__file__))
    beside = [os.path.join(here, place) for place in ("../../build/mixtune", "../../../bin/mixtune")]  # in the tree, installed
    places = [options.mixtune, os.environ.get("MIXTUNE"), *filter(os.path.exists, beside), shutil.which("mixtune")]
    return next((os.path.normpath(place) for place in places if place), "mixtune")


def quantise(options, out):
    """Has mixtune round every feature to 4 bits; returns where."""
    mixtune = find_mixtune(options)
    command = [mixtune, "quantize", "--quiet", "--model", options.model, "--out", out, "--scheme", "w4a8", "--rest", "leave",
               "--group", str(options.group)] + ["--symmetric"] * options.symmetric
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise Trouble(f"{mixtune}: {error.strerror}; say with --mixtune where mixtune is", USAGE) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise Trouble(f"`{mixtune} quantize` fails: {said[-1].removeprefix('mixtune: ')}", FAILURE)
    return out


def open_packed(options, path, checkpoint):
    """The rounded weights, which must be the checkpoint's and what --group and --symmetric say."""
    try:
        packed = Packed(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise Trouble(f"{path} cannot be read as a packed checkpoint: {error}") from None
    for name, layer in packed.layers.items():
        if layer["rows8"]:
            raise Trouble(f"{path}: {name} has features with 8 bits; give a checkpoint that is w4a8", USAGE)
        if (layer["group"], layer["symmetric"]) != (options.group, options.symmetric):
            is_so = f"--group {layer['group']}{' --symmetric' * layer['symmetric']}"
            raise Trouble(f"{path}: {name} was made with {is_so}; say so, or make it anew", USAGE)
    for name, (layer, _, rows) in packed.parts.items():
        if checkpoint.shape(name) != [rows, packed.layers[layer]["k"]]:
            raise Trouble(f"{path} was not made of {options.model}: {name} is of another size or not there", USAGE)
    return packed


def set_deltas(matrices, checkpoint, packed, device):
    """Sets every matrix's delta, in fp32: on the device if half of its free memory holds them, else on the host."""
    if device.type == "cuda" and sum(m.weight.numel() for m in matrices) * 4 > torch.cuda.mem_get_info()[0] / 2:
        device = torch.device("cpu")
    for matrix in matrices:
        deltas = []
        for name, _, _ in matrix.parts:
            weight = checkpoint.weight(name).float()
            delta = packed.weight(name).to(weight) - weight
            if not delta.norm() <= weight.norm() * 0.75:  # rounding moves them by less, another layer's are farther off
                raise Trouble(f"{name}: the packed weights are not this layer's; was the packed checkpoint made of this model?")
            deltas.append(delta)
        matrix.delta = torch.cat(deltas).to(device)
