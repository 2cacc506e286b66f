"""A measured rate: so many of so many outputs passed, the bar it is held to, and the outputs that failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_utils.variant import Completion

SEED = 90_001  # no corpus or SFT seed
N = 200


@dataclass
class Rate:
    """One measured rate: `passed` of `n`, the bar it is held to, and the outputs that failed."""

    model: str
    measure: str
    passed: int
    n: int
    bar: str = ""
    failures: list[tuple[str, str]] = field(default_factory=list)
    outcomes: list[bool] = field(default_factory=list)  # as wished or not, prompt by prompt

    @property
    def rate(self) -> float:
        return self.passed / self.n if self.n else float("nan")

    @property
    def meets_bar(self) -> bool | None:
        """Whether the point estimate meets the bar; None where there is no bar."""
        if not self.bar:
            return None
        sign, value = self.bar.split()
        return self.rate >= float(value) if sign == "≥" else self.rate <= float(value)


def score(
    model: str,
    measure: str,
    outcomes: Iterable[tuple[bool, str, str]],
    bar: str = "",
    *,
    failing: bool = False,
) -> Rate:
    """The rate of (as wished or not, prompt, output); with `failing` that of the outputs that are not as wished."""
    outcomes = list(outcomes)
    failures = [(prompt, text) for good, prompt, text in outcomes if not good]
    good = [good for good, _, _ in outcomes]
    passed = len(failures) if failing else len(outcomes) - len(failures)
    return Rate(model, measure, passed, len(outcomes), bar, failures, good)


def texts(completions: list[Completion]) -> list[str]:
    return [completion.text for completion in completions]
