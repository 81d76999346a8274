"""How mixtune rounds weights, and how packed weights lie in memory, for NumPy (ARCHITECTURE.md, "Numbers" and "Packed layout").

    codes, scales, zeros = quantise(w, bits=4, group=128)     # w float32 [N, K]
    w_hat = dequantise(codes, scales, zeros, group=128)       # float32 [N, K], exact
    blocks = pack(pad_codes(codes, zeros, group=128), bits=4)

Written from the text alone, so that it can contradict the C. Shapes: codes int8 [N, K]; scales float16 and zeros uint8
[N, groups of K], groups = ceil(K / group); the last group of a row may be shorter. All arithmetic is float32 with IEEE
division and ties to even unless it says otherwise.
"""
import numpy as np

LEAST, MOST = np.float32(2.0**-24), np.float32(65504)  # of a scale: never 0 or infinite in fp16
SYMMETRIC_ZERO = 8
RATIOS = [np.float32(percent / 100) for percent in range(100, 79, -2)]  # of clipped ranges
K_STEP, ROW_STEP, BLOCK = 128, 16, 512


def round_up(x, step):
    return -(-x // step) * step


def by_group(w, group):
    """[N, K] -> [N, groups, group]. A short last group is filled with zeros, which no range below notices."""
    n, k = w.shape
    padded = round_up(k, group)
    if padded != k:
        w = np.concatenate([w, np.zeros((n, padded - k), w.dtype)], axis=1)
    return w.reshape(n, padded // group, group)


def to_scale(s):
    """float32 -> fp16, kept in the range of a scale."""
    with np.errstate(over="ignore"):
        return np.clip(s.astype(np.float16).astype(np.float32), LEAST, MOST).astype(np.float16)


def rounded(w, scales, zeros, bits):
    """Codes as float32 of w [N, groups, group] with these scales and zero points."""
    low, high = (0, 15) if bits == 4 else (-127, 127)
    s = scales.astype(np.float32)[..., None]
    return np.clip(np.rint(w / s) + zeros.astype(np.float32)[..., None], low, high)


def range_codes(w, bits, symmetric, ratio):
    """(codes, scales, zeros) of w [N, groups, group], whose ranges are multiplied by ratio."""
    low = np.minimum(w.min(axis=2), np.float32(0)) * ratio
    high = np.maximum(w.max(axis=2), np.float32(0)) * ratio
    most = np.maximum(-low, high)
    if bits == 8:
        scales, zeros = to_scale(most / np.float32(127)), np.zeros(low.shape, np.uint8)
    elif symmetric:
        scales, zeros = to_scale(2 * most / np.float32(15)), np.full(low.shape, SYMMETRIC_ZERO, np.uint8)
    else:
        scales = to_scale((high - low) / np.float32(15))
        zeros = np.clip(np.rint(-low / scales.astype(np.float32)), 0, 15).astype(np.uint8)
    return rounded(w, scales, zeros, bits), scales, zeros


def squared_errors(w, codes, scales, zeros):
    """Of each group, summed in double."""
    exact = (codes - zeros.astype(np.float32)[..., None]) * scales.astype(np.float64)[..., None]
    return np.square(w.astype(np.float64) - exact).sum(axis=2)


def quantise(w, bits, group, symmetric=False, clip=False):
    """(codes, scales, zeros). clip: the range of each row and group with the least squared error; of equals the widest."""
    n, k = w.shape
    w = by_group(np.ascontiguousarray(w, dtype=np.float32), group)
    codes, scales, zeros = range_codes(w, bits, symmetric, RATIOS[0])
    if clip:
        least = squared_errors(w, codes, scales, zeros)
        for ratio in RATIOS[1:]:
            c, s, z = range_codes(w, bits, symmetric, ratio)
            error = squared_errors(w, c, s, z)
            better = error < least
            least[better], codes[better], scales[better], zeros[better] = error[better], c[better], s[better], z[better]
    return codes.astype(np.int8).reshape(n, -1)[:, :k], scales, zeros


def dequantise(codes, scales, zeros, group):
    """(q - z) s: 15 bits at the most, so float32 is exact down to its subnormals."""
    k = codes.shape[1]
    spread = lambda x: np.repeat(x.astype(np.float32), group, axis=1)[:, :k]
    return (codes.astype(np.float32) - spread(zeros)) * spread(scales)


def feature_errors(w, codes, scales, zeros, group):
    """Squared rounding error of each feature [N], summed in double."""
    return np.square(w.astype(np.float64) - dequantise(codes, scales, zeros, group)).sum(axis=1)


def improvable(w, codes, scales, zeros, bits, group):
    """Where a code one higher or one lower (within its range) is nearer to w: bool [N, K]. Round-to-nearest has none.
    What fp32 division can hide, of a quotient that is a tie but for its last bit, does not count."""
    low, high = (0, 15) if bits == 4 else (-127, 127)
    w = w.astype(np.float64)
    s = np.repeat(scales.astype(np.float64), group, axis=1)[:, : w.shape[1]]
    off = w - dequantise(codes, scales, zeros, group)
    # One step moves the error by s; it helps where the error is more than half of that.
    hidden = np.abs(w) * 2.0**-23
    return ((off > s / 2 + hidden) & (codes < high)) | ((off < -s / 2 - hidden) & (codes > low))


def pad_groups(x, k, group):
    """Scales or zero points [R, groups of K] -> [groups of Kp, Rp], with 0 where there is nothing."""
    r, groups = x.shape
    padded = np.zeros((-(-round_up(k, K_STEP) // group), round_up(r, ROW_STEP)), x.dtype)
    padded[:groups, :r] = x.T
    return padded


def pad_codes(codes, zeros, group):
    """[R, K] -> [Rp, Kp]. What pads the last group of a row dequantises to zero (q = z); beyond it codes are 0."""
    r, k = codes.shape
    padded = np.repeat(pad_groups(zeros, k, group).T, group, axis=1)[:, : round_up(k, K_STEP)].astype(np.int8)
    padded[:r, :k] = codes
    return padded


def pack(codes, bits):
    """Codes int8 [Rp, Kp] -> blocks uint8 [Kp/128, Rp/16, 4 or 2, 512].

    A row is 16a + 8i + g, an input feature 128s + 32b + 16h + 4t + y. Byte y of the word i + 2h of lane 4g + t has it, in
    block b of the step s. With 4 bits two such blocks are one: the first in the low nibbles."""
    rows, k = codes.shape
    split = codes.view(np.uint8).reshape(rows // 16, 2, 8, k // 128, 4, 2, 4, 4)
    a, i, g, s, b, h, t, y = range(8)
    blocks = split.transpose(s, a, b, g, t, h, i, y).reshape(k // 128, rows // 16, 4, BLOCK)
    if bits == 4:
        return blocks[:, :, 0::2] | (blocks[:, :, 1::2] << 4)
    return np.ascontiguousarray(blocks)


def unpack(blocks, bits):
    """The inverse of pack()."""
    steps, tiles = blocks.shape[:2]
    if bits == 4:
        blocks = np.stack([blocks & 15, blocks >> 4], axis=3)
    split = blocks.reshape(steps, tiles, 4, 8, 4, 2, 2, 4)
    s, a, b, g, t, h, i, y = range(8)
    return split.transpose(a, i, g, s, b, h, t, y).reshape(tiles * 16, steps * 128).view(np.int8)
