"""A task without one right answer: what the answer does is measured, and each goal that it reaches gives its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from .task import CORRECT, NOT_ATTEMPTED, WRONG, Hinted, Outcome, Unusable, attempt, described


@dataclass(frozen=True)
class Measured:
    """What an answer did: for each goal the share of its points that it earned, and the numbers in words.

    `mistake` is the name of a typical mistake and what to say about it, or None.
    """

    shares: Mapping[str, float]
    lines: Sequence[str]
    mistake: tuple[str, str] | None = None


@dataclass(frozen=True)
class OpenTask(Hinted):
    """A function to write, of which only its effect counts. `goals` are {goal: points}.

    `measure(answer, rng)` tries the answer on what it draws; it raises Unusable where that is not possible.
    """

    name: str
    title: str
    minutes: int
    goals: Mapping[str, int]
    measure: Callable[[Callable, Random], Measured]
    hints: Sequence[str] = ()

    @property
    def points(self) -> int:
        return sum(self.goals.values())

    def examine(self, answer: Any, seed: int | str) -> Outcome:
        """Measure the answer on what `seed` draws; every goal gives its share of the points, rounded down."""
        if answer is None or answer is ...:
            return Outcome(self.name, NOT_ATTEMPTED, 0, self.points)
        if not callable(answer):
            says = f'Hand over the function itself, without calling it: check("{self.name}", {self.name}).'
            return Outcome(self.name, WRONG, 0, self.points, says, "not a function")
        trial = attempt(lambda: self.measure(answer, Random(f"{seed}/{self.name}")), ())
        if isinstance(trial.error, NotImplementedError):
            return Outcome(self.name, NOT_ATTEMPTED, 0, self.points)
        if isinstance(trial.error, Unusable):
            return Outcome(self.name, WRONG, 0, self.points, str(trial.error), trial.error.mistake)
        if trial.error is not None:
            return Outcome(self.name, WRONG, 0, self.points, described(trial.error), "an error")
        return self._outcome(trial.found)

    def _outcome(self, found: Measured) -> Outcome:
        earned = {goal: int(points * found.shares[goal] + 1e-9) for goal, points in self.goals.items()}
        lines = [
            f"{'✔' if earned[goal] == points else '✘'} {goal}, {earned[goal]} of {points} points: {line}"
            for (goal, points), line in zip(self.goals.items(), found.lines, strict=True)
        ]
        points = sum(earned.values())
        if points == self.points:
            return Outcome(self.name, CORRECT, points, self.points, "\n" + "\n".join(lines))
        name, says = found.mistake or (None, "")
        return Outcome(self.name, WRONG, points, self.points, "\n" + "\n".join([*lines, says]).rstrip(), name)
