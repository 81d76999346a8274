#!/usr/bin/env python3
"""How much the loss of a language model changes when each output feature of its linear layers is rounded to 4 bits.

`mixtune quantize --salience FILE` keeps the most salient ones in 8 bits, `mixtune show --salience FILE` shows them. With
--hessian it also writes what `mixtune quantize --method gptq` needs. The files are described in docs/salience.md.
"""
import argparse
import concurrent.futures
import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

USAGE, FAILURE, INTERRUPTED = 64, 1, 75
try:
    import torch
    import transformers
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
except ImportError as missing:
    sys.exit(f"salience: the Python package {missing.name} is missing; PyTorch, transformers and safetensors are needed")

import linears
import texts
from linears import Trouble
from packed import Packed

UMASK = os.umask(0)
os.umask(UMASK)
PROGRAM = os.path.realpath(__file__)
INDEX = "model.safetensors.index.json"
SCALE = 2.0**16  # of the loss, where gradients are fp16: most of them are below what it can express


def say(text):
    print(f"salience: {text}", file=sys.stderr, flush=True)


class Progress:
    """Samples done, seconds for each and the time left: in place on a terminal, else a line now and then."""

    def __init__(self, what, total):
        self.what, self.total, self.start, self.told = what, total, time.monotonic(), 0.0
        self.terminal = sys.stderr.isatty()

    def __call__(self, done):
        now = time.monotonic()
        if not done or (done < self.total and now - self.told < (0.2 if self.terminal else 10)):
            return
        each, self.told = (now - self.start) / done, now
        text = f"{self.what}: {done} of {self.total} samples, {each:.2f} s each, {each * (self.total - done):.0f} s left"
        if self.terminal:
            print(f"\r{text}\033[K", end="\n" if done == self.total else "", file=sys.stderr, flush=True)
        else:
            say(text)


# ---- the model and its rounded weights ----


def load(options):
    """The model, ready to run, without gradients of its weights."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise Trouble("--device cuda: PyTorch finds no GPU", USAGE)
    dtype = {"auto": "auto"}.get(options.dtype) or getattr(torch, options.dtype)
    if options.dtype == "auto" and device == "cpu":
        dtype = torch.float32
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(options.model, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.model, local_files_only=True)
        stacked = {"experts_implementation": "eager"} if hasattr(config, "_experts_implementation") else {}
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            options.model, config=config, dtype=dtype, local_files_only=True, output_loading_info=True, **stacked)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise Trouble(f"{options.model} cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    if info["missing_keys"]:
        raise Trouble(f"{options.model} has no {sorted(info['missing_keys'])[0]}")
    model.requires_grad_(False).eval().to(device)
    # The step begins where gradients do: at what the embeddings give.
    model.get_input_embeddings().register_forward_hook(lambda module, x, y: y.requires_grad_() if torch.is_grad_enabled() else y)
    if options.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        for module in model.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = True  # itself only: dropout within it stays off
    return model, tokenizer


def find_mixtune(options):
    tree = os.path.dirname(PROGRAM)
    places = [options.mixtune, os.environ.get("MIXTUNE"), os.path.join(tree, "../../build/mixtune"),
              os.path.join(tree, "../../../bin/mixtune")]
    for place in places[:2] + [p for p in places[2:] if os.path.exists(p)]:
        if place:
            return place
    return shutil.which("mixtune") or "mixtune"


def quantise(options, out):
    """Has mixtune round every feature to 4 bits."""
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


def open_packed(options, path):
    """The rounded weights, which must be what --group and --symmetric say."""
    try:
        packed = Packed(path)
    except (OSError, ValueError, KeyError) as error:
        raise Trouble(f"{path} cannot be read as a packed checkpoint: {error}") from None
    for name, layer in packed.layers.items():
        if layer["rows8"]:
            raise Trouble(f"{path}: {name} has features with 8 bits; give a checkpoint that is w4a8", USAGE)
        if (layer["group"], layer["symmetric"]) != (options.group, options.symmetric):
            is_so = f"--group {layer['group']}{' --symmetric' * layer['symmetric']}"
            raise Trouble(f"{path}: {name} was made with {is_so}; say so, or make it anew", USAGE)
    return packed


def round_weights(matrices, checkpoint, packed, device):
    """Sets every matrix's delta, in fp32: on the device if half of its free memory holds them, else on the host."""
    if device.type == "cuda" and sum(m.weight.numel() for m in matrices) * 4 > torch.cuda.mem_get_info()[0] / 2:
        device = torch.device("cpu")
    for matrix in matrices:
        deltas = []
        for name, _, _ in matrix.parts:
            weight = checkpoint.weight(name).float()
            delta = packed.weight(name).to(weight) - weight
            if not delta.norm() <= weight.norm() / 2:
                raise Trouble(f"{name}: the 4-bit weights are none of this layer; was the packed checkpoint made of this model?")
            deltas.append(delta)
        matrix.delta = torch.cat(deltas).to(device)


# ---- samples ----


def calibration(options, tokenizer, config):
    """(samples: lists of tokens; [name, number of them] of each corpus). The samples of a corpus follow each other, so that
    those with even and with odd numbers are halves of every corpus."""
    config = config.get_text_config()
    length = min(options.length, getattr(config, "max_position_embeddings", None) or options.length)
    total, weight, samples, names = sum(w for _, w in options.text), 0, [], []
    for path, share in options.text:
        weight += share
        count = round(options.samples * weight / total) - len(samples)
        try:
            tokens = texts.tokens_of(tokenizer, texts.corpus_text(path))
            samples += texts.windows(tokens, count, length, f"{options.seed} {len(names)}")
        except texts.BadText as error:
            raise Trouble(str(error) if str(error).startswith(path) else f"{path}: {error}") from None
        names.append([os.path.basename(os.path.normpath(path)), count])
    if max(map(max, samples)) >= config.vocab_size:
        raise Trouble(f"the tokenizer knows more tokens than the model, {config.vocab_size}: they do not belong together")
    return samples, names


class Workers:
    """Processes of one thread each, which have the model's memory in common. They take whole samples, so that results do not
    depend on how many there are. On a GPU there is none but this one."""

    def __init__(self, device, threads):
        self.count = 0 if device.type == "cuda" else threads

    def __enter__(self):
        self.pool = None
        if self.count:
            context = multiprocessing.get_context("fork")
            self.pool = concurrent.futures.ProcessPoolExecutor(self.count, context, self.begin)
        return self

    @staticmethod
    def begin():
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with its parent
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.set_num_threads(1)

    def map(self, function, items, meanwhile=lambda: None):
        """Results in the order of the items. Meanwhile is called now and then while they are waited for."""
        if not self.pool:
            yield from map(function, items)
            return
        futures = [self.pool.submit(function, item) for item in items]
        for future in futures:
            while not concurrent.futures.wait([future], timeout=1).done:
                meanwhile()
            yield future.result()

    def __exit__(self, kind, error, trace):
        if self.pool and kind:
            for process in list(self.pool._processes.values()):
                process.kill()
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
        if kind is concurrent.futures.process.BrokenProcessPool:
            raise Trouble("a worker process was ended from outside; perhaps memory is short: try fewer --threads") from None


# ---- salience ----


class Step:
    """x = sum of gradient * delta for each feature of all matrices, one sample at a time."""

    def __init__(self, model, matrices, samples):
        self.model, self.matrices, self.samples = model, matrices, samples
        self.scale = SCALE if model.dtype == torch.float16 else 1.0

    def __call__(self, number):
        """(x, tokens) of a sample: a vector and how many came to each matrix."""
        x, tokens = self.run(number)
        while not torch.isfinite(x).all() and self.scale > 1:
            self.scale /= 16
            x, tokens = self.run(number)
        if not torch.isfinite(x).all():
            raise Trouble(f"sample {number}: the gradients are not finite; try another --dtype")
        return x, tokens

    def run(self, number):
        device = self.model.device
        sums = {matrix: torch.zeros(len(matrix.weight), device=device) for matrix in self.matrices}
        tokens = dict.fromkeys(self.matrices, 0)

        def see(matrix, x, gradient):
            x, gradient = x.flatten(0, -2).float(), gradient.flatten(0, -2).float()
            sums[matrix] += (x @ matrix.delta.to(device).T).mul_(gradient).sum(0)
            tokens[matrix] += len(x)

        call = lambda m, x, w, b: linears.Observed.apply(x, w, b, lambda x, g: see(m, x, g))
        ids = torch.tensor([self.samples[number]], device=device)
        with linears.watched(self.matrices, call), torch.enable_grad():
            logits = self.model(input_ids=ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])
            (loss * self.scale).backward()
        return torch.cat(list(sums.values())).cpu() / self.scale, torch.tensor(list(tokens.values()))


def saliences(model, matrices, samples, workers):
    """The tensors of the file, by their names."""
    global step
    step = Step(model, matrices, samples)
    features = sum(len(m.weight) for m in matrices)
    halves, squares = (torch.zeros(2, features, dtype=torch.float64) for _ in range(2))
    tokens = torch.zeros(len(matrices), dtype=torch.int64)
    progress = Progress("saliences", len(samples))
    with workers:
        for number, (x, came) in enumerate(workers.map(run_step, range(len(samples)))):
            x = x.double()
            halves[number % 2] += (x + x * x / 2).abs()
            squares[number % 2] += x * x / 2
            tokens += came
            progress(number + 1)
    tensors, at = {}, 0
    for matrix, came in zip(matrices, tokens):
        for name, first, rows in matrix.parts:
            part, name = slice(at + first, at + first + rows), name + ".weight"
            tensors[name] = halves[:, part].sum(0).float()
            tensors[name + ".halves"] = halves[:, part].float().contiguous()
            tensors[name + ".squares"] = squares[:, part].float().contiguous()
            tensors[name + ".inputs"] = torch.tensor([matrix.weight.shape[1]])
            tensors[name + ".tokens"] = came.reshape(1).clone()
        at += matrix.rows
    return tensors


def run_step(number):
    return step(number)



# ---- Hessians ----


class Stop(Exception):
    """A sample has been where it was needed."""


def layer_number(name):
    return int(re.search(r"\blayers\.(\d+)\.", name)[1])


class Gatherer:
    """Sum of x^T x over all samples for the matrices of some decoder layers; a forward pass ends behind them. Layers with the
    same input share it under the name of the first, which is what a packed layer begins with."""

    def __init__(self, model, matrices, samples, packed, about, out):
        self.model, self.matrices, self.samples, self.out = model, matrices, samples, out
        firsts = {layer["parts"][0][0] for layer in packed.layers.values()}
        self.wanted = {}  # matrix -> the name under which its input stands
        for matrix in matrices:
            for name in firsts & {part for part, _, _ in matrix.parts}:
                self.wanted[matrix] = name
        self.about = {"format": "mixtune-hessian", **about}
        self.done = multiprocessing.get_context("fork").Value("q", 0)  # samples, of all chunks

    def path(self, layer):
        return os.path.join(self.out, f"layer-{layer:05}.safetensors")

    def bytes_of(self, layer):
        """Memory while it is gathered: sums in fp64, and one product in fp32 and fp64."""
        sizes = [m.weight.shape[1] ** 2 for m, name in self.wanted.items() if layer_number(name) == layer]
        return 8 * sum(sizes) + 12 * max(sizes)

    def there(self, layer):
        """Whether an earlier run has written this layer's."""
        try:
            with safe_open(self.path(layer), "pt") as file:
                return file.metadata() == self.about
        except (OSError, SafetensorError):
            return False

    def __call__(self, layers):
        """Gathers and writes those of the decoder layers layers[0] to layers[-1]."""
        device, gathered, tokens = self.model.device, {}, {}
        for matrix, name in self.wanted.items():
            if layer_number(name) in layers:
                gathered[name] = torch.zeros([matrix.weight.shape[1]] * 2, dtype=torch.float64, device=device)
                tokens[name] = 0

        def call(matrix, x, weight, bias):
            if layer_number(matrix.parts[0][0]) > layers[-1]:
                raise Stop
            name = self.wanted.get(matrix)
            if name in gathered:
                rows = x.flatten(0, -2).float()
                gathered[name] += rows.T @ rows
                tokens[name] += len(rows)
            return linears.linear(x, weight, bias)

        with linears.watched(self.matrices, call), torch.no_grad():
            for sample in self.samples:
                with contextlib.suppress(Stop):
                    self.model.base_model(input_ids=torch.tensor([sample], device=device), use_cache=False)
                with self.done:
                    self.done.value += 1
        for layer in layers:
            self.write(layer, {name: h for name, h in gathered.items() if layer_number(name) == layer}, tokens)
        return {name: tokens[name] for name in gathered}

    def write(self, layer, hessians, tokens):
        tensors = {}
        for name, h in hessians.items():
            if not torch.isfinite(h).all():
                raise Trouble(f"{name}: its input is not finite; try another --dtype")
            tensors[name + ".weight"] = ((h + h.T) / 2).float().cpu()  # a product of matrices is not symmetric to the last bit
            tensors[name + ".weight.tokens"] = torch.tensor([tokens[name]])
        save(tensors, self.path(layer), self.about)


def free_memory(device):
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable"))


def chunks_of(layers, gatherer, workers, options):
    """The layers that each pass over the samples gathers: as many as half of the free memory holds, but some for each worker."""
    count = max(1, workers.count)
    most, room = -(-len(layers) // count), free_memory(gatherer.model.device) // (2 * count)
    if options.hessian_layers:
        most = options.hessian_layers
    chunks, held = [], 0
    for layer in layers:
        held += gatherer.bytes_of(layer)
        if not chunks or len(chunks[-1]) == most or (held > room and not options.hessian_layers):
            chunks.append([])
            held = gatherer.bytes_of(layer)
        chunks[-1].append(layer)
    return chunks


def hessians(gatherer, workers, options):
    """Writes the folder: a file for each decoder layer, the index last. What is there of an interrupted run stays."""
    global gather
    gather = gatherer
    os.makedirs(gatherer.out, exist_ok=True)
    all_layers = sorted({layer_number(name) for name in gatherer.wanted.values()})
    layers = [layer for layer in all_layers if not gatherer.there(layer)]
    if len(layers) < len(all_layers):
        say(f"Hessians of {len(all_layers) - len(layers)} layers are there already")
    chunks = chunks_of(layers, gatherer, workers, options)
    progress = Progress(f"Hessians ({len(chunks)} pass{'es' * (len(chunks) > 1)})", len(chunks) * len(gatherer.samples))
    with workers:
        # The last layers come first, for they take longest.
        for _ in workers.map(run_gather, chunks[::-1], lambda: progress(gatherer.done.value)):
            progress(gatherer.done.value)
    where, size = {}, 0
    for layer in all_layers:
        with safe_open(gatherer.path(layer), "pt") as file:
            where.update(dict.fromkeys(file.keys(), os.path.basename(gatherer.path(layer))))
        size += os.path.getsize(gatherer.path(layer))
    index = os.path.join(gatherer.out, INDEX)
    with open(index + ".part", "w") as f:
        json.dump({"metadata": {**gatherer.about, "total_size": size}, "weight_map": where}, f, indent=1, sort_keys=True)
    os.replace(index + ".part", index)


def run_gather(layers):
    return gather(layers)


def check_tokens(tensors):
    """Every layer ran; of experts that few tokens came to, the names."""
    layers = {}
    for name, count in ((n, int(t)) for n, t in tensors.items() if n.endswith(".weight.tokens")):
        expert = re.match(r"(.*)\.experts\.(\d+)\.", name)
        if expert:
            layers.setdefault(expert[1], {})[int(expert[2])] = count
        elif not count:
            raise Trouble(f"{name.removesuffix('.weight.tokens')} never ran: its saliences cannot be known")
    for layer, counts in layers.items():
        mean = sum(counts.values()) / len(counts)
        few = [f"{expert} ({count})" for expert, count in sorted(counts.items()) if count < mean / 10]
        if few:
            say(f"{layer}: of {len(counts)} experts, these saw less than a tenth of the mean of {mean:.0f} tokens: {', '.join(few)}")


# ---- the command line ----


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


def parse():
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--model", required=True, metavar="DIR", help="a Hugging Face folder: fp32, fp16 or bf16, with its tokenizer")
    p.add_argument("--text", required=True, action="append", type=corpus, metavar="PATH[=SHARE]",
                   help="what to calibrate with: a file or a folder of text, HTML, JSON (field \"text\"), Parquet. Given several "
                        "times, they share the samples equally, or by SHARE. Mix domains: what is salient differs between them")
    p.add_argument("--out", metavar="FILE", help="where the saliences go: a safetensors file")
    p.add_argument("--hessian", metavar="DIR", help="write the layers' Hessians too, into this folder")
    p.add_argument("--samples", type=number(1, 1 << 20), default=128, metavar="N", help="sequences (default: 128)")
    p.add_argument("--length", type=number(2, 1 << 20), default=2048, metavar="N",
                   help="tokens of each (default: 2048, or what the model can take)")
    p.add_argument("--seed", type=int, default=0, help="which random windows of the texts are taken (default: 0)")
    p.add_argument("--group", type=int, choices=(64, 128, 256), default=128, help="as of `mixtune quantize` (default: 128)")
    p.add_argument("--symmetric", action="store_true", help="as of `mixtune quantize`")
    p.add_argument("--packed", metavar="DIR", help="the model in 4 bits, when `mixtune quantize --scheme w4a8` has made it already")
    p.add_argument("--mixtune", metavar="PATH", help="the program, if not $MIXTUNE, the one of this tree or of PATH")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: a GPU if there is one)")
    p.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
                   help="of the model when it runs (default: float32 on a CPU, the checkpoint's on a GPU); sums are always fp32")
    p.add_argument("--threads", type=number(1, 1024), default=len(os.sched_getaffinity(0)), metavar="N",
                   help="processes of one thread that share the samples (default: one for each core); results are the same")
    p.add_argument("--recompute", action="store_true", help="gradient checkpointing: less memory, a third more time")
    p.add_argument("--hessian-layers", type=number(1, 1 << 20), metavar="N",
                   help="decoder layers whose Hessians are gathered at once (default: as memory allows)")
    options = p.parse_args()
    if not options.out and not options.hessian:
        p.error("--out or --hessian must say what to write")
    if not os.path.isdir(options.model):
        p.error(f"--model {options.model}: there is no such folder")
    for path in (path for path, _ in options.text if not os.path.exists(path)):
        p.error(f"--text {path}: there is no such file or folder")
    options.threads = min(options.threads, options.samples)
    return options


def device_name(device, threads):
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {threads} thread{'s' * (threads > 1)}"


def peak_bytes(device):
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024


def key_of(samples, checkpoint, model):
    """What Hessians depend on beside what their files say: a file with another key is not of this run."""
    files = [(os.path.basename(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in checkpoint.paths]
    return hashlib.sha256(json.dumps([samples, files, str(model.dtype), model.device.type]).encode()).hexdigest()[:32]


def save(tensors, path, metadata):
    """Whole or not at all."""
    try:
        save_file(tensors, path + ".part", metadata)
        os.chmod(path + ".part", 0o666 & ~UMASK)  # safetensors lets nobody else read it
        os.replace(path + ".part", path)
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}") from None


def main():
    options = parse()
    torch.set_num_threads(1)  # the workers are the threads
    model, tokenizer = load(options)
    samples, names = calibration(options, tokenizer, model.config)
    checkpoint = linears.Checkpoint(options.model)
    made = None if options.packed else (options.out or options.hessian.rstrip("/")) + ".w4a8"
    if made:
        quantise(options, made)
    packed = open_packed(options, options.packed or made)
    try:
        matrices = linears.find(model, checkpoint, {name: rows for name, (_, _, rows) in packed.parts.items()})
        about = {"version": "1", "model": os.path.basename(os.path.realpath(options.model)), "samples": str(len(samples)),
                 "length": str(len(samples[0])), "texts": json.dumps(names)}
        if options.out:
            round_weights(matrices, checkpoint, packed, model.device)
            start = time.monotonic()
            tensors = saliences(model, matrices, samples, Workers(model.device, options.threads))
            check_tokens(tensors)
            save(tensors, options.out, {
                "format": "mixtune-salience", **about, "group": str(options.group), "symmetric": str(options.symmetric).lower(),
                "seconds": f"{time.monotonic() - start:.2f}", "peak_bytes": str(peak_bytes(model.device)),
                "device": device_name(model.device, options.threads)})
        if options.hessian:
            about["key"] = key_of(samples, checkpoint, model)
            gatherer = Gatherer(model, matrices, samples, packed, about, options.hessian)
            hessians(gatherer, Workers(model.device, options.threads), options)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        main()
    except Trouble as trouble:
        say(trouble)
        sys.exit(trouble.code)
    except KeyboardInterrupt:
        say("interrupted; nothing that was there has changed")
        sys.exit(INTERRUPTED)
