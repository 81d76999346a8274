"""A median and its 95 % interval, as tuner/measure/stats.c means them. Standard library only."""
import math


def median(samples):
    """Of an even count the mean of the middle two."""
    ordered = sorted(samples)
    n = len(ordered)
    return ordered[n // 2] if n % 2 else 0.5 * (ordered[n // 2 - 1] + ordered[n // 2])


def _reaches(n, i, rank):
    """The chance that at least `rank` of n draws with replacement are among the i lowest of n samples."""
    if i >= n:
        return 1.0
    if i <= 0:
        return 0.0
    low, high = math.log(i / n), math.log(1 - i / n)
    terms = [math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) + j * low + (n - j) * high
             for j in range(rank, n + 1)]
    return math.fsum(math.exp(t) for t in terms)


def _resampled_rank(n, rank, chance):
    """The smallest i so that the rank-th lowest of a resample is, with this chance, at most the i-th lowest sample."""
    low, high = 1, n
    while low < high:
        middle = (low + high) // 2
        if _reaches(n, middle, rank) >= chance:
            high = middle
        else:
            low = middle + 1
    return low


def estimate(samples):
    """(median, low, high): the percentile bootstrap that tuner/measure/stats.c draws, here in closed form, so without drawing. Of an even count
    the lower of the middle two bounds it below and the upper one above, which is never narrower."""
    ordered = sorted(samples)
    n = len(ordered)
    middle = median(ordered)
    low = ordered[_resampled_rank(n, (n + 1) // 2, 0.025) - 1]
    high = ordered[_resampled_rank(n, n // 2 + 1, 0.975) - 1]
    return middle, min(low, middle), max(high, middle)


def half_width(samples):
    """Half the interval over the median: what timing stops on."""
    middle, low, high = estimate(samples)
    return (high - low) / 2 / middle if middle > 0 else 0.0
