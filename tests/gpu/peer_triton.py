"""A group-wise W4A8 and W8A8 GEMM in Triton: what a good Triton programmer would write today, tuned by Triton's own autotuner.

Y[m, n] = sum over groups g of sx[g, m] sw[g, n] (sum over k in g of x[m, k] (w[n, k] - z[g, n])). Activations are symmetric int8 with
fp32 scales and group sums, 4-bit weights asymmetric with fp16 scales and uint8 zero points, 8-bit weights symmetric: the numbers of
mixtune (runtime/layer/quant.h), each operand K-contiguous. Within each group of K the first half is in the low nibbles and the second half in
the high ones, so that unpacking makes two operands of half a group and shuffles nothing.
"""
import concurrent.futures
import functools
import os

import torch
import triton
import triton.language as tl
import triton.testing


def pack_nibbles(q, group):
    """uint8 [N, K] with values 0...15 -> uint8 [N, K / 2]."""
    halves = q.view(q.shape[0], -1, 2, group // 2)
    return (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(q.shape[0], -1).contiguous()


@triton.jit
def _weights_times_tokens(w, x, SWAP: tl.constexpr):
    """One int8 product; with SWAP the weights are the first operand, which Hopper's tensor cores take from registers."""
    return tl.dot(w, tl.trans(x), out_dtype=tl.int32) if SWAP else tl.dot(x, tl.trans(w), out_dtype=tl.int32)


@triton.jit
def _row(values, SWAP: tl.constexpr):
    """A value per feature, broadcast along the tokens."""
    return values[:, None] if SWAP else values[None, :]


@triton.jit
def _column(values, SWAP: tl.constexpr):
    """A value per token, broadcast along the features."""
    return values[None, :] if SWAP else values[:, None]


@triton.jit
def _one_group(x, w, x_sums, zeros, g, m, n, M, N, K, GROUP: tl.constexpr, BITS: tl.constexpr, SWAP: tl.constexpr):
    """The exact int32 sums of one group."""
    if BITS == 4:
        half = tl.arange(0, GROUP // 2)
        packed = tl.load(w + n[:, None] * (K // 2) + (g * (GROUP // 2) + half)[None, :], mask=(n < N)[:, None], other=0)
        tokens = x + m[:, None] * K + (g * GROUP + half)[None, :]
        first = tl.load(tokens, mask=(m < M)[:, None], other=0)
        second = tl.load(tokens + GROUP // 2, mask=(m < M)[:, None], other=0)
        sums = _weights_times_tokens((packed & 0xF).to(tl.int8), first, SWAP)
        sums += _weights_times_tokens((packed >> 4).to(tl.int8), second, SWAP)
        zero = tl.load(zeros + g * N + n, mask=n < N, other=0).to(tl.int32)
        of_tokens = tl.load(x_sums + g * M + m, mask=m < M, other=0)
        return sums - _row(zero, SWAP) * _column(of_tokens, SWAP)
    else:
        k = g * GROUP + tl.arange(0, GROUP)
        codes = tl.load(w + n[:, None] * K + k[None, :], mask=(n < N)[:, None], other=0)
        tokens = tl.load(x + m[:, None] * K + k[None, :], mask=(m < M)[:, None], other=0)
        return _weights_times_tokens(codes, tokens, SWAP)


@triton.jit
def _gemm(x, x_scales, x_sums, w, w_scales, zeros, y, partials, counters, M, N, K, GROUP: tl.constexpr, BITS: tl.constexpr,
          BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT_K: tl.constexpr, SWAP: tl.constexpr, RASTER: tl.constexpr):
    tiles_m = tl.cdiv(M, BLOCK_M)
    tiles_n = tl.cdiv(N, BLOCK_N)
    # RASTER rows of tiles share the weights that they read.
    tile = tl.program_id(0)
    band = RASTER * tiles_n
    first_m = tile // band * RASTER
    high = min(tiles_m - first_m, RASTER)
    m = (first_m + tile % band % high) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (tile % band // high) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(1)
    groups = tl.cdiv(K // GROUP, SPLIT_K)
    sums = tl.zeros((BLOCK_N, BLOCK_M) if SWAP else (BLOCK_M, BLOCK_N), dtype=tl.float32)
    for g in range(part * groups, min((part + 1) * groups, K // GROUP)):
        exact = _one_group(x, w, x_sums, zeros, g, m, n, M, N, K, GROUP, BITS, SWAP)
        of_tokens = tl.load(x_scales + g * M + m, mask=m < M, other=0.0)
        of_features = tl.load(w_scales + g * N + n, mask=n < N, other=0.0).to(tl.float32)
        sums += exact.to(tl.float32) * (_row(of_features, SWAP) * _column(of_tokens, SWAP))
    at = _column(m.to(tl.int64) * N, SWAP) + _row(n.to(tl.int64), SWAP)
    inside = _column(m < M, SWAP) & _row(n < N, SWAP)
    if SPLIT_K == 1:
        tl.store(y + at, sums.to(y.dtype.element_ty), mask=inside)
    else:
        # Whoever comes last adds up what all have left, in their order.
        size = M * N.to(tl.int64)  # M = 1 is a constant that has no type
        tl.store(partials + part * size + at, sums, mask=inside)
        tl.debug_barrier()
        if tl.atomic_add(counters + tile, 1, sem="acq_rel") == SPLIT_K - 1:
            total = tl.load(partials + at, mask=inside, other=0.0, cache_modifier=".cg")
            for other in range(1, SPLIT_K):
                total += tl.load(partials + other * size + at, mask=inside, other=0.0, cache_modifier=".cg")
            tl.store(y + at, total.to(y.dtype.element_ty), mask=inside)
            tl.store(counters + tile, 0)


def _config(block_m, block_n, split_k, swap, stages, warps):
    return triton.Config({"BLOCK_M": block_m, "BLOCK_N": block_n, "SPLIT_K": split_k, "SWAP": swap, "RASTER": 8},
                         num_stages=stages, num_warps=warps)


# Decode wants narrow feature tiles, many stages and all SMs; prefill the largest tiles that fit: 128 x 256 and 256 x 128 spill some 300 bytes
# a thread on sm_90. At most 12 for a batch size: each costs a compilation and some 30 ms of measuring at every shape.
CONFIGS = (
    [_config(16, n, split, swap, stages, 4) for n, stages in ((32, 6), (64, 5), (128, 4)) for split in (1, 4) for swap in (0, 1)]
    + [_config(32, n, split, 1, 4, 4) for n in (64, 128) for split in (1, 4)]
    + [_config(64, n, 1, swap, 4, warps) for n, warps in ((64, 4), (128, 4), (256, 8)) for swap in (0, 1)]
    + [_config(128, n, 1, swap, stages, 8) for n, stages in ((64, 4), (128, 3), (128, 4)) for swap in (0, 1)]
)
MAX_SPLIT = max(c.kwargs["SPLIT_K"] for c in CONFIGS)
SMALLEST_TILE = min(c.kwargs["BLOCK_M"] for c in CONFIGS), min(c.kwargs["BLOCK_N"] for c in CONFIGS)


def sensible(configs, arguments, **_):
    """Tiles that are neither mostly padding nor far smaller than the batch. What does not fit an SM the autotuner finds out by itself."""
    m = arguments["M"]

    def fits(tile):
        return tile == 16 if m <= 16 else tile <= 2 * m and (4 * tile >= m or tile >= 64)

    return [c for c in configs if fits(c.kwargs["BLOCK_M"])]


gemm = triton.autotune(CONFIGS, key=["M", "N", "K", "GROUP", "BITS"], prune_configs_by={"early_config_prune": sensible},
                       do_bench=functools.partial(triton.testing.do_bench, warmup=2, rep=10))(_gemm)


def compile_all(*arguments, **constants):
    """Everything that the autotuner will try, on all cores: one after another it would take most of the time. In place of a tensor its
    type is enough."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, triton.AsyncCompileMode(pool, ignore_errors=True):
        gemm.warmup(*arguments, grid=(1,), **constants)


def types(bits):
    """Those of the tensors that launch() takes, and of its scratch."""
    return (torch.int8, torch.float32, torch.int32, torch.uint8 if bits == 4 else torch.int8, torch.float16, torch.uint8, torch.float16,
            torch.float32, torch.int32)


class Scratch:
    """Room for the partial sums and the counters of split-K; the kernel leaves the counters at zero. And what was launched last."""

    def __init__(self, m, n, device):
        tiles = triton.cdiv(m, SMALLEST_TILE[0]) * triton.cdiv(n, SMALLEST_TILE[1])
        # Split-K serves tiles of up to 32 tokens, which larger batches do not get (sensible).
        rows = m if m <= 128 else 0
        self.partials = torch.empty((MAX_SPLIT if rows else 1, max(rows, 1), n), dtype=torch.float32, device=device)
        self.counters = torch.zeros(tiles, dtype=torch.int32, device=device)
        self.kernel = None

    def resources(self):
        """Registers, bytes of shared memory and spilled bytes of the kernel that was launched last."""
        return (self.kernel.n_regs, self.kernel.metadata.shared, 4 * self.kernel.n_spills) if self.kernel else (0, 0, 0)


def launch(bits, group, scratch, config, x, x_scales, x_sums, w, w_scales, zeros, y):
    """y [M, N] of x int8 [M, K]; scales and sums are [K / group, M] and [K / group, N]. `config`: None lets the autotuner choose."""
    (m, k), n = x.shape, w.shape[0]

    def grid(meta):
        return triton.cdiv(m, meta["BLOCK_M"]) * triton.cdiv(n, meta["BLOCK_N"]), meta["SPLIT_K"]

    arguments = (x, x_scales, x_sums, w, w_scales, zeros, y, scratch.partials, scratch.counters, m, n, k)
    if config:
        _gemm[grid](*arguments, GROUP=group, BITS=bits, **config.kwargs, num_stages=config.num_stages, num_warps=config.num_warps)
    else:
        if not scratch.kernel and hasattr(triton, "AsyncCompileMode"):
            compile_all(*arguments, GROUP=group, BITS=bits)
        scratch.kernel = gemm[grid](*arguments, GROUP=group, BITS=bits)
    return y
