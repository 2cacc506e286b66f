"""Small statistics the lessons share."""

from math import sqrt


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval `(low, high)` of a rate, each in [0, 1].

    `z` is the normal quantile: 1.96 gives a 95 % interval. With no trials nothing is known: (0.0, 1.0).
    Raises ValueError unless 0 <= successes <= n.
    Source: E. B. Wilson, JASA 22 (1927), 209-212.
    """
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n, got successes={successes} and n={n}.")
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    middle = rate + z * z / (2 * n)
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the edges the formula is exact only up to rounding; a bound must not exclude its own estimate.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == n else (middle + half) / scale
    return max(low, 0.0), min(high, 1.0)
