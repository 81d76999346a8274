"""Paired differences of losses with their 95 % intervals (Student's t, over sequences), in plain Python."""
import math


def mean(values):
    return sum(values) / len(values)


def student(freedom):
    """The 97.5 % quantile: where the integral of the density from 0 reaches 0.475 (Simpson's rule, bisection)."""
    c = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = lambda x: c * (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    def integral(end, steps=2000):
        h = end / steps
        return h / 3 * sum((1 if i in (0, steps) else 4 if i % 2 else 2) * density(i * h) for i in range(steps + 1))

    low, high = 1.0, 13.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if integral(middle) < 0.475 else (low, middle)
    return (low + high) / 2


class Difference:
    """Of two lists over the same sequences: its mean, and half of its interval."""

    def __init__(self, losses, base):
        d = [a - b for a, b in zip(losses, base, strict=True)]
        self.mean = mean(d)
        spread = math.sqrt(sum((x - self.mean) ** 2 for x in d) / (len(d) - 1))
        self.half = student(len(d) - 1) * spread / math.sqrt(len(d))
        self.significant = abs(self.mean) > self.half

    def plain(self):
        """`+0.0123 ± 0.0045`"""
        return f"{'+' if self.mean >= 0 else '−'}{abs(self.mean):.4f} ± {self.half:.4f}"

    def __str__(self):
        """The same, and a ° behind it where the interval has 0."""
        return self.plain() + ("" if self.significant else " °")
