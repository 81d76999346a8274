"""The kernels of the peers (peer_list.py): each makes its operands from the same random numbers, says how it is launched, and what the
right result is."""
import copy
import functools
import importlib.metadata
import json
import os

import torch
import torch.nn.functional as functional

TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}
# What a product of evenly spread numbers is off by at most once they are quantised: it is 7 % with 4 bits, 4 % with e4m3, 0.6 % with 8 bits.
ROUNDING = {4: 0.12, "e4m3": 0.06, 8: 0.02}


class Refused(Exception):
    """The peer has no kernel for the problem, or is not there; the text says why."""


# ---- operands ----


class Operands:
    """Random numbers of one problem and what they become when quantised, as mixtune does it (runtime/layer/quant.h). All on one device.

    They are spread evenly, as those that mixtune times with are (tuner/measure/operands.c): how many bits flip decides how much power a kernel
    takes, and so its clock. Each group has a size of its own, so that a scale that is taken for another one's shows."""

    def __init__(self, problem, group, device):
        self.problem, self.group, self.device = problem, group, device
        self.generator = torch.Generator(device).manual_seed(problem.m * 1000003 + problem.n * 101 + problem.k)
        self.x = self.random(problem.m, problem.k)
        self.w = self.random(problem.n, problem.k) / problem.k**0.5

    def random(self, rows, k):
        even = functools.partial(torch.rand, device=self.device, generator=self.generator)
        sizes = (0.5 + even(rows, -(-k // self.group))).repeat_interleave(self.group, 1)[:, :k]
        return (2 * even(rows, k) - 1).mul_(sizes)

    def grouped(self, rows):
        if self.problem.k % self.group:
            raise Refused(f"K = {self.problem.k} is not whole groups of {self.group}")
        return rows.view(rows.shape[0], -1, self.group)

    @functools.cached_property
    def x8(self):
        """int8 [M, K], scales fp32 and group sums int32 [groups, M]."""
        x = self.grouped(self.x)
        scales = x.abs().amax(2).clamp_min(1e-8) / 127
        q = (x / scales[:, :, None]).round().clamp(-127, 127).to(torch.int8)
        return q.view_as(self.x), scales.t().contiguous(), q.sum(2, dtype=torch.int32).t().contiguous()

    @functools.cached_property
    def w8(self):
        """int8 [N, K], scales fp16 [groups, N]."""
        w = self.grouped(self.w)
        scales = (w.abs().amax(2) / 127).half().clamp_min(2.0**-24)
        q = (w / scales[:, :, None].float()).round().clamp(-127, 127).to(torch.int8)
        return q.view_as(self.w), scales.t().contiguous()

    @functools.cached_property
    def w4(self):
        """uint8 0...15 [N, K], scales fp16 and zero points uint8 [groups, N]."""
        w = self.grouped(self.w)
        low, high = w.amin(2), w.amax(2)
        scales = ((high - low) / 15).half().clamp_min(2.0**-24)
        zeros = (-low / scales.float()).round().clamp(0, 15)
        q = ((w / scales[:, :, None].float()).round() + zeros[:, :, None]).clamp(0, 15).to(torch.uint8)
        return q.view_as(self.w), scales.t().contiguous(), zeros.to(torch.uint8).t().contiguous()

    def fp8(self, rows):
        """e4m3 [rows, K], and a scale fp32 [rows, 1] for each row."""
        scales = rows.abs().amax(1, keepdim=True).clamp_min(1e-8) / torch.finfo(torch.float8_e4m3fn).max
        return (rows / scales).to(torch.float8_e4m3fn), scales

    def spread(self, per_group):
        """[groups, rows] -> float64 [rows, K]"""
        return per_group.t().double().repeat_interleave(self.group, 1)

    def output(self, dtype):
        return torch.empty(self.problem.m, self.problem.n, dtype=dtype, device=self.device)


def copy_of(value):
    """The same numbers at another address."""
    return value.clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def bytes_of(value):
    tensors = [value] if isinstance(value, torch.Tensor) else list(value.state_dict().values())
    return sum(t.numel() * t.element_size() for t in tensors)


class Ready:
    """A peer at one problem. `run(*operands)` launches it once and returns Y; `exact()` returns float64 X [M, K] and W [N, K] whose product
    is right; `tolerance` is the relative error that its arithmetic may have. `rounding`: how far its operands' product may be from that of
    the numbers that they stand for; None where it has no scales. `output`: the operand that it writes, if there is one."""

    def __init__(self, config, operands, run, exact, tolerance, rounding, output):
        self.config, self.operands, self.run, self.exact, self.tolerance = config, operands, run, exact, tolerance
        self.rounding, self.output = rounding, output
        self.resources = lambda: (0, 0, 0)
        self.variants = [run]  # the ways in which it may come to compute Y; the device chooses among them
        self.bytes = sum(bytes_of(o) for o in operands)

    def copies(self, count):
        return [self.operands] + [tuple(copy_of(o) for o in self.operands) for _ in range(count - 1)]


def error_of(y, x, w):
    """(relative error of all of Y, that of its worst row or column over what an average one holds); NaN where Y is not finite."""
    total = size = 0.0
    rows = torch.zeros(y.shape[0], dtype=torch.float64, device=y.device)
    worst = 0.0
    for n in range(0, w.shape[0], 4096):
        right = x @ w[n:n + 4096].t()
        wrong = (y[:, n:n + 4096].double() - right).square()
        rows += wrong.sum(1)
        worst = max(worst, wrong.sum(0).max().item() / y.shape[0])
        total, size = total + wrong.sum().item(), size + right.square().sum().item()
    mean = size / y.numel()
    worst = max(worst, rows.max().item() / y.shape[1])
    if total != total:
        return float("nan"), float("nan")
    return (total / size) ** 0.5, (worst / mean) ** 0.5


def verdict(ready, y):
    """'' when the numbers are right for the operands that they were computed from, else the sentence."""
    error, worst = error_of(y, *ready.exact())
    # One element may be several times as large as the average, and so may its rounding.
    if error <= ready.tolerance and worst <= 10 * ready.tolerance:
        return ""
    return f"relative error {error:.3g} ({worst:.3g} in the worst row or column), and its arithmetic explains {ready.tolerance:.3g}"


def verdict_on_operands(ready, o, y):
    """The same of the operands themselves: '' when they stand for the random numbers that all peers are made from. y: right."""
    if ready.rounding is None:
        return ""
    error, _ = error_of(y[:o.problem.m], o.x.double(), o.w.double())  # it may have padded its batch
    if error <= ready.rounding:
        return ""
    return f"relative error {error:.3g} against the numbers before they were quantised, and its format explains {ready.rounding:.3g}"


# ---- torch ----


def torch_release():
    return f"torch={torch.__version__}"


def torch_linear(dtype, o):
    x, w = o.x.to(TORCH[dtype]), o.w.to(TORCH[dtype])
    y = o.output(x.dtype)
    tolerance = 2e-3 if dtype == "fp16" else 1e-2
    return Ready(torch_release(), (x, w, y), lambda a, b, c: torch.mm(a, b.t(), out=c), lambda: (x.double(), w.double()),
                 tolerance, 2 * tolerance, y)


def torch_int_mm(o):
    """int8 x int8 -> int32 without any scale: the core alone of a W8A8 GEMM. It has no kernel for 16 tokens and less, so such batches
    are padded, as its users do."""
    rows = o.problem.m if o.problem.m > 16 else 32
    x = functional.pad(o.x8[0], (0, 0, 0, rows - o.problem.m))
    w = o.w8[0]
    y = torch.empty(rows, o.problem.n, dtype=torch.int32, device=o.device)
    if o.problem.k % 8 or o.problem.n % 8:
        raise Refused("torch._int_mm takes only K and N that are multiples of 8")
    config = torch_release() + (f",rows={rows}" if rows != o.problem.m else "")
    return Ready(config, (x, w, y), lambda a, b, c: torch._int_mm(a, b.t(), out=c), lambda: (x.double(), w.double()), 0.0, None, y)


def scaled_mm(x, w, x_scales, w_scales, y):
    """y = x . w^T by torch._scaled_mm; a CPU multiplies by the scales afterwards, for it has none by rows."""
    if x.is_cuda:
        return torch._scaled_mm(x, w.t(), x_scales, w_scales.t(), out_dtype=y.dtype, use_fast_accum=True, out=y)
    one = torch.ones((), dtype=torch.float32)
    return y.copy_(torch._scaled_mm(x, w.t(), one, one, out_dtype=torch.float32) * x_scales * w_scales.t())


def torch_fp8(o):
    """FP8 on both sides with a scale for each token and each output feature. bf16 is the output that every release has with such scales."""
    if not hasattr(torch, "_scaled_mm"):
        raise Refused("this PyTorch has no torch._scaled_mm")
    if o.problem.k % 16 or o.problem.n % 16:
        raise Refused("torch._scaled_mm takes only K and N that are multiples of 16")
    (x, x_scales), (w, w_scales) = o.fp8(o.x), o.fp8(o.w)
    y = o.output(torch.bfloat16)
    config = torch_release() + ",fast_accum=1"
    try:
        scaled_mm(x, w, x_scales, w_scales, y)
    except RuntimeError:  # cuBLASLt may have no kernel for so few tokens
        missing = -o.problem.m % 16
        if not missing:
            raise
        x = functional.pad(x.view(torch.uint8), (0, 0, 0, missing)).view(x.dtype)
        x_scales = functional.pad(x_scales, (0, 0, 0, missing), value=1.0)
        y = torch.empty(x.shape[0], o.problem.n, dtype=y.dtype, device=o.device)
        config += f",rows={x.shape[0]}"
    # The tensor cores keep some 13 bits of their sums while they go through K, which costs 0.3 % at K = 14336; bf16 costs 0.2 %.
    return Ready(config, (x, w, x_scales, w_scales, y), scaled_mm, lambda: (x.double() * x_scales, w.double() * w_scales), 1e-2,
                 ROUNDING["e4m3"], y)


def torch_int4pack(o):
    """W4A16: bf16 activations, w = (q - 8) scale + zero."""
    if o.problem.k % 128 or o.problem.n % 16 or o.group not in (32, 64, 128, 256):
        raise Refused("torch._weight_int4pack_mm takes only K of whole 128, N of whole 16 and groups of 32, 64, 128, 256")
    q, scales, zeros = o.w4
    scales = scales.to(torch.bfloat16)
    shift = ((8 - zeros.float()) * scales.float()).to(torch.bfloat16)
    both = torch.stack((scales, shift), 2).contiguous()
    x = o.x.to(torch.bfloat16)
    if o.device == "cpu":
        w = torch._convert_weight_to_int4pack_for_cpu(q.to(torch.int32), 2)
        multiply = torch._weight_int4pack_mm_for_cpu
    else:
        w = torch._convert_weight_to_int4pack((q[:, ::2] << 4 | q[:, 1::2]).contiguous(), 8)
        multiply = torch._weight_int4pack_mm
    return Ready(torch_release(), (x, w, both), lambda a, b, s: multiply(a, b, o.group, s),
                 lambda: (x.double(), (q.double() - 8) * o.spread(scales) + o.spread(shift)), 1e-2, ROUNDING[4], None)


# ---- Triton ----


def triton_gemm(bits, o):
    try:
        import peer_triton
        import triton
    except ImportError as e:
        raise Refused(f"Triton cannot be imported: {e}") from None
    x, x_scales, x_sums = o.x8
    if bits == 4:
        q, w_scales, zeros = o.w4
        w, codes = peer_triton.pack_nibbles(q, o.group), lambda: q.double() - o.spread(zeros)
    else:
        w, w_scales = o.w8
        zeros, codes = torch.zeros(1, dtype=torch.uint8, device=o.device), w.double
    scratch, y = peer_triton.Scratch(o.problem.m, o.problem.n, o.device), o.output(torch.float16)
    launch = functools.partial(peer_triton.launch, bits, o.group, scratch)
    ready = Ready(f"triton={triton.__version__}", (x, x_scales, x_sums, w, w_scales, zeros, y), functools.partial(launch, None),
                  lambda: (x.double() * o.spread(x_scales), codes() * o.spread(w_scales)), 1e-3, ROUNDING[bits], y)
    ready.resources = scratch.resources
    choices = peer_triton.sensible(peer_triton.CONFIGS, {"M": o.problem.m})
    ready.variants = [functools.partial(launch, c) for c in choices]
    return ready


def triton_ahead(bits, group, problem):
    import peer_triton
    if hasattr(peer_triton.triton, "AsyncCompileMode"):
        peer_triton.compile_all(*peer_triton.types(bits), problem.m, problem.n, problem.k, GROUP=group, BITS=bits)


# ---- humming ----


def humming_formats(bits, zero_point, group):
    """Those of the weights and of the activations."""
    return ({"quant_method": "humming", "dtype": f"uint{bits}" if zero_point else f"int{bits}", "group_size": group,
             "has_zero_point": zero_point}, {"quant_method": "humming", "dtype": "int8", "group_size": group})


def humming_choice(choices, m):
    """Of the kernels that the heuristics choose for a layer, [[M, M, configuration], ...] for M above the first and up to the second, that of
    this batch size as JSON. Without its range: humming 0.1.19 does not find a batch size again in a list of one (seen on H100)."""
    chosen = [c[2] for c in choices if c[0] < m and (m <= c[1] or c[1] <= 0)]
    return json.dumps(chosen[0]) if len(chosen) == 1 else None  # None: all of them


@functools.cache
def humming_finds_nvrtc():
    """It runs NVRTC in a process of its own, in which the NVRTC of a wheel finds its builtins by the loader's path only. Our own loader has read
    that path already: what changes here is for what we start."""
    from humming.utils.nvrtc import get_nvrtc_library_path
    paths = [os.path.dirname(get_nvrtc_library_path()), os.environ.get("LD_LIBRARY_PATH", "")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(p for p in paths if p)


def humming_gemm(bits, zero_point, o):
    """humming-kernels with int8 activations and scales per group on both sides."""
    try:
        from humming import ops
        from humming.layer import HummingLayer, HummingLayerMethod
        release = importlib.metadata.version("humming-kernels")
    except ImportError as e:
        raise Refused(f"humming-kernels cannot be imported: {e}") from None
    if o.device == "cpu":
        raise Refused("humming-kernels needs a GPU")
    humming_finds_nvrtc()
    weights, activations = humming_formats(bits, zero_point, o.group)
    layer = HummingLayer(shape_n=o.problem.n, shape_k=o.problem.k, weight_config=weights, input_config=activations,
                         torch_dtype=torch.float16).to(o.device)
    layer.load_from_unquantized(o.w.half())
    schema, tensors = layer.weight_schema, {name: t.clone() for name, t in layer.state_dict().items()}
    layer.transform()
    x, x_scales, _ = ops.process_input(o.x.half(), quant_mode="dynamic_group", quant_dtype="int8", quant_group_size=o.group,
                                       group_scale_dtype="float32")

    def exact():
        return x.double() * x_scales.double().repeat_interleave(o.group, 1), schema.dequant_tensors(tensors).double()

    config = f"humming={release}" + (f",zero_point={int(zero_point)}" if bits == 4 else "")
    tuning = humming_choice(HummingLayerMethod.get_default_tuning_configs(layer), o.problem.m)
    y = o.output(torch.float16)
    return Ready(config, (layer, x, x_scales, y), lambda module, a, s, c: module(a, outputs=c, input_scale=s, tuning_config=tuning), exact,
                 3e-3, ROUNDING[bits], y)


def humming_ahead(bits, zero_point, group, problem):
    """As humming's layer does it, but without any weights."""
    from humming.kernel.humming import HummingKernel
    from humming.schema import BaseInputSchema, BaseWeightSchema
    from humming.transform import prepare_layer_config
    from humming.tune import get_heuristics_config
    humming_finds_nvrtc()
    weights, activations = humming_formats(bits, zero_point, group)
    layer = prepare_layer_config(shape_n=problem.n, shape_k=problem.k, weight_schema=BaseWeightSchema.from_config(weights),
                                 input_schema=BaseInputSchema.from_config(activations), torch_dtype=torch.float16)
    tuning = humming_choice(get_heuristics_config(layer), problem.m)
    if tuning:
        HummingKernel.prepare_kernels(layer.to_str(), None, tuning)


def humming_helpers(bits, zero_point, group, device, problem):
    """The kernels that quantise, pack and unpack depend on K, not on M: one token has them all compiled."""
    humming_gemm(bits, zero_point, Operands(problem._replace(m=1), group, device)).exact()


# ---- by name ----

HUMMING = {"humming-w4a8": (4, True), "humming-w4a8-sym": (4, False), "humming-w8a8": (8, False)}  # bits, zero points
TRITON = {"triton-w4a8": 4, "triton-w8a8": 8}
# name -> make(Operands) -> Ready
MAKE = {
    "torch-fp16": functools.partial(torch_linear, "fp16"),
    "torch-bf16": functools.partial(torch_linear, "bf16"),
    "torch-int-mm": torch_int_mm,
    "torch-fp8": torch_fp8,
    "torch-int4pack": torch_int4pack,
    **{name: functools.partial(triton_gemm, bits) for name, bits in TRITON.items()},
    **{name: functools.partial(humming_gemm, *formats) for name, formats in HUMMING.items()},
}


def compile_jobs(names, problems, group, device):
    """What make() will want from the caches of the libraries on disk, as ([(name, job)] of one core each, the same of all cores): humming waits
    for one process of NVRTC, Triton has threads of its own. Only the helpers run kernels, and few."""
    one, every = [], []
    small = {p.k: p for p in sorted(problems, key=lambda p: -p.n)}.values()
    for name, formats in HUMMING.items():
        if name in names:
            one += [(name, functools.partial(humming_helpers, *formats, group, device, p)) for p in small]
    for p in problems:
        one += [(name, functools.partial(humming_ahead, *HUMMING[name], group, p)) for name in names if name in HUMMING]
        every += [(name, functools.partial(triton_ahead, TRITON[name], group, p)) for name in names if name in TRITON]
    return one, every
