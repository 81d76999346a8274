"""The peers: each makes its operands from the same random numbers, says how it is launched, and what the right result is."""
import copy
import functools
import importlib.metadata
import json

import torch
import torch.nn.functional as functional

TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Refused(Exception):
    """The peer has no kernel for the problem, or is not there; the text says why."""


# ---- operands ----


class Operands:
    """Random numbers of one problem and what they become when quantised, as mixtune does it (runtime/quant.h). All on one device."""

    def __init__(self, problem, group, device):
        self.problem, self.group, self.device = problem, group, device
        generator = torch.Generator(device).manual_seed(problem.m * 1000003 + problem.n * 101 + problem.k)
        normal = functools.partial(torch.randn, device=device, generator=generator)
        self.x = normal(problem.m, problem.k)
        self.w = normal(problem.n, problem.k) / problem.k**0.5

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
    is right; `tolerance` is the relative error that its arithmetic may have. `output`: the operand that it writes, if there is one."""

    def __init__(self, config, operands, run, exact, tolerance, output):
        self.config, self.operands, self.run, self.exact, self.tolerance = config, operands, run, exact, tolerance
        self.output = output
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
    """'' when the numbers are right, else the sentence."""
    error, worst = error_of(y, *ready.exact())
    # One element may be several times as large as the average, and so may its rounding.
    if error <= ready.tolerance and worst <= 10 * ready.tolerance:
        return ""
    return f"relative error {error:.3g} ({worst:.3g} in the worst row or column), and its arithmetic explains {ready.tolerance:.3g}"


# ---- torch ----


def torch_release():
    return f"torch={torch.__version__}"


def torch_linear(dtype, o):
    x, w = o.x.to(TORCH[dtype]), o.w.to(TORCH[dtype])
    y = o.output(x.dtype)
    return Ready(torch_release(), (x, w, y), lambda a, b, c: torch.mm(a, b.t(), out=c), lambda: (x.double(), w.double()),
                 2e-3 if dtype == "fp16" else 1e-2, y)


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
    return Ready(config, (x, w, y), lambda a, b, c: torch._int_mm(a, b.t(), out=c), lambda: (x.double(), w.double()), 0.0, y)


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
                 lambda: (x.double(), (q.double() - 8) * o.spread(scales) + o.spread(shift)), 1e-2, None)


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
                  lambda: (x.double() * o.spread(x_scales), codes() * o.spread(w_scales)), 1e-3, y)
    ready.resources = scratch.resources
    choices = peer_triton.sensible(peer_triton.CONFIGS, {"M": o.problem.m})
    ready.variants = [functools.partial(launch, c) for c in choices]
    return ready


# ---- humming ----


def humming_gemm(bits, zero_point, o):
    """humming-kernels with int8 activations and scales per group on both sides. Of the kernels that its heuristics choose for the layer,
    only that of this batch size is compiled."""
    try:
        from humming import ops
        from humming.layer import HummingLayer, HummingLayerMethod
        release = importlib.metadata.version("humming-kernels")
    except ImportError as e:
        raise Refused(f"humming-kernels cannot be imported: {e}") from None
    if o.device == "cpu":
        raise Refused("humming-kernels needs a GPU")
    layer = HummingLayer(shape_n=o.problem.n, shape_k=o.problem.k,
                         weight_config={"dtype": f"uint{bits}" if zero_point else f"int{bits}", "group_size": o.group,
                                        "has_zero_point": zero_point},
                         input_config={"dtype": "int8", "group_size": o.group}, torch_dtype=torch.float16).to(o.device)
    layer.load_from_unquantized(o.w.half())
    schema, tensors = layer.weight_schema, {name: t.clone() for name, t in layer.state_dict().items()}
    layer.transform()
    x, x_scales, _ = ops.process_input(o.x.half(), quant_mode="dynamic_group", quant_dtype="int8", quant_group_size=o.group,
                                       group_scale_dtype="float32")

    def exact():
        return x.double() * x_scales.double().repeat_interleave(o.group, 1), schema.dequant_tensors(tensors).double()

    config = f"humming={release}" + (f",zero_point={int(zero_point)}" if bits == 4 else "")
    choices = [c for c in HummingLayerMethod.get_default_tuning_configs(layer) if c[0] < o.problem.m <= c[1]]
    tuning = json.dumps(choices) if len(choices) == 1 else None  # None: all of them
    y = o.output(torch.float16)
    return Ready(config, (layer, x, x_scales, y), lambda module, a, s, c: module(a, outputs=c, input_scale=s, tuning_config=tuning), exact, 3e-3, y)


# ---- the list ----


class Peer:
    """`make(operands)` -> Ready. `group`: whether its operands have scales per group."""

    def __init__(self, name, family, scheme, dtype, group, make):
        self.name, self.family, self.scheme, self.dtype, self.group, self.make = name, f"peer:{family}", scheme, dtype, group, make


PEERS = [
    Peer("torch-fp16", "torch-fp16", "fp16", "fp16", False, functools.partial(torch_linear, "fp16")),
    Peer("torch-bf16", "torch-bf16", "bf16", "bf16", False, functools.partial(torch_linear, "bf16")),
    Peer("torch-int-mm", "torch-int-mm", "w8a8", "fp16", False, torch_int_mm),
    Peer("torch-int4pack", "torch-int4pack", "w4a16", "bf16", True, torch_int4pack),
    Peer("triton-w4a8", "triton-w4a8", "w4a8", "fp16", True, functools.partial(triton_gemm, 4)),
    Peer("triton-w8a8", "triton-w8a8", "w8a8", "fp16", True, functools.partial(triton_gemm, 8)),
    Peer("humming-w4a8", "humming-w4a8", "w4a8", "fp16", True, functools.partial(humming_gemm, 4, True)),
    Peer("humming-w4a8-sym", "humming-w4a8", "w4a8", "fp16", True, functools.partial(humming_gemm, 4, False)),
    Peer("humming-w8a8", "humming-w8a8", "w8a8", "fp16", True, functools.partial(humming_gemm, 8, False)),
]
