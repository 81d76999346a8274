#!/usr/bin/env python3
"""What `mixtune show --regret --splits TABLE` must say of a database, worked out anew: points by trying all sets, times by hand.

    tests/cli/regret.py DB TABLE LAYER N K MOST     prints splits, points, mean, 95th percentile, worst and how many are unknown
"""
import itertools
import math
import sqlite3
import sys


def packed(n, k, rows8, group=128):
    """Bytes of both parts, padded to 16 features: weights, fp16 scales, and zero points of the 4-bit one."""
    k_padded = -(-k // 128) * 128
    groups = -(-k_padded // group)
    eight, four = (-(-rows // 16) * 16 for rows in (rows8, n - rows8))
    return eight * (k_padded + 2 * groups) + four * (k_padded / 2 + 3 * groups)


def kind(n, rows8):
    return "mixed" if 0 < rows8 < n else rows8


def points_of(n, k, splits, most):
    none, everything = packed(n, k, 0), packed(n, k, n)
    place = {r: math.log(none + (everything - none) * r / n) for r in splits}

    def loss(rows8, point):
        return (place[rows8] - place[point]) ** 2 if kind(n, rows8) == kind(n, point) else 1

    def total(points):
        return sum(weight * min(loss(r, p) for p in points) for r, weight in splits.items())

    if len(splits) <= most:
        return set(splits)
    return set(min((c for size in range(1, most + 1) for c in itertools.combinations(sorted(splits), size)), key=total))


def estimate(n, k, rows8, times):
    """Linear in bytes between the two neighbours; in proportion where one of them has no time. Neighbours have the same kernels: for both
    widths or for one; only where there are none they may have others."""
    known = [(packed(n, k, r), ns) for r, ns in times if ns]
    if not known:
        return None
    here = packed(n, k, rows8)
    if len(known) == 1:
        return known[0][1] * here / known[0][0]
    (low, low_ns), (high, high_ns) = known
    return low_ns + (high_ns - low_ns) * (here - low) / (high - low)


def main():
    base, table, layer, n, k, most = sys.argv[1:4] + [int(a) for a in sys.argv[4:]]
    splits = {}
    for line in open(table):
        part = line.split("#")[0].strip().split(",")
        if part[0] == layer:
            splits[int(part[1])] = splits.get(int(part[1]), 0) + float(part[2] if len(part) > 2 else 1)
    db = sqlite3.connect(base)
    where = "WHERE layer = ? AND origin = 'modelled'"
    times = {(r, m, config): ns for r, m, config, ns in db.execute(
        f"SELECT rows8, m, config, median_ns FROM current {where} AND outcome = 'ok' AND NOT is_baseline", (layer,))}
    winner = {(r, m): (config, ns) for r, m, config, ns in db.execute(
        f"SELECT rows8, m, config, median_ns FROM winner {where}", (layer,))}
    points = points_of(n, k, splits, most)
    costs, unknown = [], 0
    for rows8, weight in splits.items():
        for m in sorted({m for _, m in winner}):
            if rows8 in points:
                costs.append((0.0, weight))
                continue
            same = [p for p in points if kind(n, p) == kind(n, rows8)] or points
            sides = [max((p for p in same if p < rows8), default=None), min((p for p in same if p > rows8), default=None)]
            sides = [p for p in sides if p is not None]
            best = None
            for p in sides:
                config = winner[p, m][0]
                guess = estimate(n, k, rows8, [(q, times.get((q, m, config))) for q in sides])
                if guess and (best is None or guess < best[0]):
                    best = guess, config
            ns = times.get((rows8, m, best[1])) if best else None
            if ns:
                costs.append((100 * (ns / winner[rows8, m][1] - 1), weight))
            else:
                unknown += 1
    costs.sort()
    whole, below = sum(w for _, w in costs), itertools.accumulate(w for _, w in costs)
    p95 = next(c for (c, _), b in zip(costs, below) if b >= 0.95 * whole)
    print(len(splits), len(points), f"{sum(c * w for c, w in costs) / whole:.2f} {p95:.2f} {costs[-1][0]:.2f}", unknown)


main()
