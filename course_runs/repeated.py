"""Several answers to each question: means over questions, and what changed on the same questions.

Thirty answers to one question are not thirty questions, so every interval here is over questions: first each question's
own mean, then Student's interval of these means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class Mean(NamedTuple):
    """A mean over questions with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def more_than_noise(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def signed(self) -> str:
        """As a change: with its sign."""
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def over_questions(means: Iterable[float]) -> Mean:
    """The mean of questions' means, with Student's 95 % interval. Raises ValueError for fewer than two questions."""
    means = [float(x) for x in means]
    if len(means) < 2:
        raise ValueError(f"An interval over questions needs two of them or more, got {len(means)}.")
    mean = sum(means) / len(means)
    spread = math.sqrt(sum((x - mean) ** 2 for x in means) / (len(means) - 1))
    half = student_95(len(means) - 1) * spread / math.sqrt(len(means))
    return Mean(mean, mean - half, mean + half)


def changed(means: Iterable[float], before: Iterable[float]) -> Mean:
    """The mean change, question by question: a paired comparison. ValueError unless both hold as many questions."""
    return over_questions(now - then for now, then in zip(means, before, strict=True))


def student_95(degrees: int) -> float:
    """The 97.5 % quantile of Student's t for so many degrees of freedom, good to 0.03.

    Source: the expansion of Cornish and Fisher in 1/degrees (Abramowitz and Stegun 1964, 26.7.5).
    """
    if degrees < 3:
        return {1: 12.706, 2: 4.303}[degrees]
    z, v = 1.959964, degrees
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
