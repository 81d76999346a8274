"""GPTQ as Frantar et al. 2022 write it down, for NumPy in float64: H is inverted, and the weights that are left are updated by the rows
of the upper Cholesky factor of the inverse. Groups and their scales are quant.py's.

    q = Quantiser(h, group=128, order="hessian", damping=0.01)
    codes, scales, zeros, errors = q.quantise(w, bits=4)      # of one part; errors [N]: δ H δᵀ

Written from the definition, so that it can contradict the C, which inverts nothing. Slow: for tests.
"""
import numpy as np

import quant


def group_slices(k, group):
    return [slice(g, min(g + group, k)) for g in range(0, k, group)]


class Quantiser:
    def __init__(self, h, group, symmetric=False, order="hessian", damping=0.01, clip=False, feedback=True):
        self.h = np.asarray(h, dtype=np.float64)
        self.group, self.symmetric, self.clip, self.feedback = group, symmetric, clip, feedback
        k = len(self.h)
        self.slices = group_slices(k, group)
        diagonal = np.diag(self.h)
        self.visits = list(range(len(self.slices)))
        if order == "hessian":
            self.visits.sort(key=lambda g: -diagonal[self.slices[g]].sum())  # stable
        self.inputs = np.concatenate([np.arange(k)[self.slices[g]] for g in self.visits])
        damped = self.h + damping * diagonal.mean() * np.eye(k)
        inverse = np.linalg.inv(damped[np.ix_(self.inputs, self.inputs)])
        self.upper = np.linalg.cholesky(inverse).T

    def grid(self, w, h, bits, clip):
        """(scales, zeros) [N, 1] of the weights of one group, float64 [N, inputs]."""
        width = quant.round_up(w.shape[1], 64)
        single = quant.by_group(w.astype(np.float32), width)
        least = best = None
        for ratio in quant.RATIOS if clip else quant.RATIOS[:1]:
            codes, scales, zeros = quant.range_codes(single, bits, self.symmetric, ratio)
            if not clip:
                return scales, zeros
            delta = quant.dequantise(codes[:, 0, : w.shape[1]], scales, zeros, width).astype(np.float64) - w
            error = ((delta @ h) * delta).sum(axis=1)
            if least is None:
                least, best = error, (scales.copy(), zeros.copy())
                continue
            better = error < least
            least[better] = error[better]
            for kept, new in zip(best, (scales, zeros)):
                kept[better] = new[better]
        return best

    def once(self, w, bits, clip):
        n, k = w.shape
        codes = np.zeros((n, k), np.int8)
        scales = np.zeros((n, len(self.slices)), np.float16)
        zeros = np.zeros((n, len(self.slices)), np.uint8)
        left = w[:, self.inputs].astype(np.float64)  # what is not rounded yet has been updated
        at = 0
        for g in self.visits:
            members = np.arange(k)[self.slices[g]]
            s, z = self.grid(left[:, at : at + len(members)], self.h[np.ix_(members, members)], bits, clip)
            scales[:, g], zeros[:, g] = s[:, 0], z[:, 0]
            for i in members:
                q = quant.rounded(left[:, at].astype(np.float32)[:, None, None], s, z, bits)[:, :, 0]
                codes[:, i] = q[:, 0]
                rounded = quant.dequantise(q, s, z, 1)[:, 0].astype(np.float64)
                if self.feedback:
                    change = (left[:, at] - rounded) / self.upper[at, at]
                    left[:, at + 1 :] -= np.outer(change, self.upper[at, at + 1 :])
                at += 1
        delta = quant.dequantise(codes, scales, zeros, self.group).astype(np.float64) - w
        return codes, scales, zeros, ((delta @ self.h) * delta).sum(axis=1)

    def quantise(self, w, bits):
        """One part of a layer: its ranges are clipped only if its error becomes no larger by it."""
        plain = self.once(w, bits, False)
        if not self.clip:
            return plain
        clipped = self.once(w, bits, True)
        return clipped if clipped[3].sum() <= plain[3].sum() else plain
