"""Two columns of a scoreboard on the same prompts: is one better by more than noise?"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt

from .stats import wilson


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test, from the prompts on which just one of two columns passed.

    Where both do equally well, each of these prompts is a fair coin. With none of them, p is 1.
    Source: Q. McNemar, Psychometrika 12 (1947), 153-157; exact binomial form.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"Counts must be 0 or more, got {only_a} and {only_b}.")
    only_a, only_b = int(only_a), int(only_b)  # 2 to the power of an array's number overflows
    n, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(n, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def paired_difference(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """95 % interval of rate(a) - rate(b) when both columns answered the same prompts.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650, method 10: Wilson intervals of the
    two rates, joined with the correlation of the outcomes. Raises ValueError without any prompt.
    """
    both, only_a, only_b, neither = map(int, (both, only_a, only_b, neither))
    n = both + only_a + only_b + neither
    if n == 0:
        raise ValueError("There is no prompt that both columns answered, so there is nothing to compare.")
    a, b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n), wilson(both + only_b, n)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = both * neither - only_a * only_b
    excess = max(excess - n / 2, 0) if excess > 0 else excess
    phi = excess / sqrt(margins) if margins else 0.0

    def reach(x: float, y: float) -> float:
        return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    return a - b - reach(a - low_a, high_b - b), a - b + reach(high_a - a, b - low_b)


@dataclass(frozen=True)
class Comparison:
    """Two columns on the prompts that both answered.

    `only_a` and `only_b` count the prompts where just one of them passed; `difference` is rate_a - rate_b with
    its 95 % interval `low` to `high`; `p_value` is McNemar's (exact, two-sided).
    """

    a: str
    b: str
    measure: str
    n: int
    rate_a: float
    rate_b: float
    only_a: int
    only_b: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def more_than_noise(self) -> bool:
        """Whether p is below 0.05. Of twenty comparisons without any difference, one will say so too."""
        return self.p_value < 0.05

    @property
    def sentence(self) -> str:
        p = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        rates = f"“{self.measure}” on {self.n} shared prompts: {self.a} {self.rate_a:.0%}, {self.b} {self.rate_b:.0%}"
        if not self.only_a and not self.only_b:
            return f"{rates}. The two agree on every one of them, so nothing tells them apart."
        gap = (
            f"a difference of {100 * self.difference:+.0f} points "
            f"(95% interval {100 * self.low:+.0f} to {100 * self.high:+.0f})"
        )
        counted = f"Only {self.a} counts on {_prompts(self.only_a)}, only {self.b} on {_prompts(self.only_b)}"
        verdict = "That can be noise: more prompts are needed to tell the two apart, if they differ at all"
        if self.more_than_noise:
            verdict = "That is more than noise"
        return f"{rates}, {gap}. {counted}. {verdict} (McNemar's exact test, {p})."

    def __str__(self) -> str:
        return self.sentence

    __repr__ = __str__


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' * (count != 1)}"


def compare_outcomes(a: str, b: str, measure: str, outcomes: list[tuple[bool, bool]]) -> Comparison:
    """Compare two columns from their outcomes on the same prompts, as (a's, b's) pairs."""
    n, both = len(outcomes), sum(x and y for x, y in outcomes)
    only_a, only_b = (sum(x and not y for x, y in outcomes), sum(y and not x for x, y in outcomes))
    low, high = paired_difference(both, only_a, only_b, n - both - only_a - only_b)
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    gap, p_value = rate_a - rate_b, mcnemar(only_a, only_b)
    return Comparison(a, b, measure, n, rate_a, rate_b, only_a, only_b, gap, low, high, p_value)
