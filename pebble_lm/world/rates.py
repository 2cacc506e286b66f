"""A measured rate: so many of so many outputs passed, the bar it is held to, and the outputs that failed.

A suite is a list of cases, each a prompt and a judge of what comes of it, with a name and a bar: see `measured`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_utils.variant import Completion, Variant

SEED = 90_001  # no corpus or SFT seed
N = 200

Ask = str | list[dict[str, str]]  # a prompt, or a conversation
Chat = Callable[[Sequence[Ask]], list[str]]
Judge = Callable[[str], bool]
Cases = Sequence[tuple[Ask, Judge]]  # what is asked, and whether an output is as wished


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


def whole(asked: Ask) -> str:
    """What was asked, as a failure shows it."""
    return asked if isinstance(asked, str) else " | ".join(m["content"] for m in asked)


def measured(chat: Chat, model: str, measure: str, cases: Cases, bar: str = "", **how) -> Rate:
    """The rate at which the answers to all cases, asked together, are as wished; `how` as in `judged`."""
    return judged(model, measure, cases, chat([asked for asked, _ in cases]), bar, **how)


def judged(
    model: str,
    measure: str,
    cases: Cases,
    outputs: Iterable[str],
    bar: str = "",
    *,
    failing: bool = False,
    shown: Callable[[Ask], str] = whole,
) -> Rate:
    """The rate at which outputs are as their cases wish; `shown` says what a failure keeps of what was asked."""
    outcomes = [(right(text), shown(asked), text) for (asked, right), text in zip(cases, outputs)]
    return score(model, measure, outcomes, bar, failing=failing)


class Asker:
    """Asks a variant and keeps every answer with its prompt, for what is measured of all of them."""

    def __init__(self, variant: Variant, tokens: int = 96) -> None:
        self.variant, self.tokens = variant, tokens
        self.every: list[tuple[str, Completion]] = []

    def __call__(self, prompts: Sequence[Ask]) -> list[str]:
        found = self.variant.chat_batch(list(prompts), max_new_tokens=self.tokens)
        self.every += zip(map(whole, prompts), found)
        return texts(found)


def texts(completions: list[Completion]) -> list[str]:
    return [completion.text for completion in completions]
