"""A one-sided confidence bound for the difference of two paired proportions.

Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
Statistics in Medicine 1998: the score test of H0: p_candidate - p_champion = d is inverted. It holds its level with few
or no discordant pairs, where the usual (Wald) bound collapses onto the estimate.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def score(n: int, gained: int, lost: int, difference: float) -> float:
    """Standardised score of H0 at ``difference``; positive when the data lie above it.

    ``gained``: pairs that only the candidate has right; ``lost``: pairs that only the champion has right.
    """
    numerator = gained - lost - n * difference
    # Maximum-likelihood estimate of the probability of a lost pair under H0 (Tango, eq. 4): root of a quadratic.
    a = 2.0 * n
    b = -gained - lost + (2.0 * n - gained + lost) * difference
    c = -lost * difference * (1.0 - difference)
    q = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    variance = n * (2.0 * q + difference * (1.0 - difference))
    if variance <= 0.0:
        return math.copysign(math.inf, numerator) if numerator else 0.0
    return numerator / math.sqrt(variance)


def lower_bound(n: int, gained: int, lost: int, alpha: float = 0.05) -> float:
    """Largest d such that p_candidate - p_champion >= d is held with confidence ``1 - alpha``; -1 without data.

    >>> round(lower_bound(1000, 0, 0), 4)  # no discordant pair in 1,000
    -0.0027
    """
    if n <= 0:
        return -1.0
    z = NormalDist().inv_cdf(1.0 - alpha)
    low, high = -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2.0
        if score(n, gained, lost, middle) > z:
            low = middle
        else:
            high = middle
    return low
