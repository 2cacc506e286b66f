"""What a task is, and how an answer to it is examined.

A task knows the right answer as a function, and the typical mistakes as functions too: wrong answers written as a
learner writes them. A check draws fresh inputs, runs the learner's function and the right one on them, and when they
differ looks for the mistake that gives what the learner's function gave.
"""

from __future__ import annotations

import inspect
import io
import json
import linecache
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache, partial
from html import escape
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from . import values

CORRECT, WRONG, NOT_ATTEMPTED = "correct", "wrong", "not attempted"
SYMBOLS = {CORRECT: "✔ Correct", WRONG: "✘ Not yet", NOT_ATTEMPTED: "○ Not attempted yet"}
AND = " + "  # between the names of bugs that were left in together
COLOURS = {CORRECT: "#2e7d32", WRONG: "#c62828", NOT_ATTEMPTED: "#757575"}


@dataclass(frozen=True)
class Outcome:
    """What became of an answer. `mistake` is the name of the typical mistake that was recognised, if any."""

    task: str
    status: str
    points: int
    of: int
    message: str = ""
    mistake: str | None = None

    def __str__(self) -> str:
        head = f"{SYMBOLS[self.status]}: {self.points} of {self.of} points."
        return f"{head} {self._advice()}".rstrip()

    __repr__ = __str__

    def _advice(self) -> str:
        if self.status == CORRECT:
            return self.message
        if self.status == NOT_ATTEMPTED:
            return f'Write {self.task}, run its cell, then this one. hint("{self.task}") helps to begin.'
        return f'{self.message} (Stuck? hint("{self.task}"))'

    def _repr_html_(self) -> str:
        style = f"border-left: 4px solid {COLOURS[self.status]}; padding: 4px 10px; margin: 2px 0"
        head = f"<b>{SYMBOLS[self.status]}: {self.points} of {self.of} points.</b>"
        return f'<div style="{style}">{head} {escape(self._advice()).replace(chr(10), "<br>")}</div>'


@cache
def texts() -> dict[str, dict[str, Any]]:
    """What the course says to learners, from texts.json: {task: {"hints": [three], "mistakes": {name: what to say}}}.

    Of a prediction "mistakes" are {claim: {wrong choice: [name of the misconception, what to say]}}.
    """
    return json.loads(Path(__file__).with_name("texts.json").read_text(encoding="utf-8"))


class Hinted:
    """A task whose hints stand in texts.json, unless it brings its own."""

    def __post_init__(self) -> None:
        if not self.hints:
            object.__setattr__(self, "hints", tuple(texts().get(self.name, {}).get("hints", ())))


@dataclass(frozen=True)
class Case:
    """One thing that an answer has to get right, and the points for it.

    `draw` makes fresh arguments for the answer from a random generator; all of `times` draws must come out right.
    """

    name: str
    points: int
    draw: Callable[[Random], tuple]
    times: int = 3


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer: its name, what to say about it, and the answer of a learner who makes it.

    Where it can be written in many ways, `cured(*arguments)` gives arguments without the trap: an answer that is right
    on those, and wrong on the others, has made this mistake. Or `seen(found, right, *arguments)` says whether a result
    shows it.
    """

    name: str
    says: str
    answer: Callable
    cured: Callable[..., tuple] | None = None
    seen: Callable[..., bool] | None = None


def known(answers: Mapping[str, Callable | tuple]) -> list[Mistake]:
    """The mistakes of which texts.json says what to say: {name: answer}, or {name: (answer, cured, seen)}."""
    return [Mistake(name, "", *(one if isinstance(one, tuple) else (one,))) for name, one in answers.items()]


def bugs_left(bugs: Sequence[str], answer: Callable) -> dict[str, Callable]:
    """{names: answer} of who left one bug in, or two, …: `answer(*arguments, bugs=names)` makes those of `bugs`."""
    left = [chosen for size in range(1, len(bugs) + 1) for chosen in combinations(bugs, size)]
    return {AND.join(chosen): partial(answer, bugs=chosen) for chosen in left}


def told(task: str, mistake: str) -> tuple[str, str]:
    """A mistake's name, and what texts.json says of it; of several bugs their number, and what it says of the first."""
    first, *others = mistake.split(AND)
    several = f"{1 + len(others)} bugs are left. First, " if others else ""
    return mistake, several + texts()[task]["mistakes"][first]


class Unusable(ValueError):
    """Raised by `measure` for an answer that nothing can be measured of: the mistake's name, and what to say."""

    def __init__(self, mistake: str, says: str):
        super().__init__(says)
        self.mistake = mistake


def _called(answer: Callable, *arguments: Any) -> Any:
    return answer(*arguments)


@dataclass(frozen=True)
class Task(Hinted):
    """A function to write. Its name is the function's name, which is unique over all exercises.

    `measure(answer, *arguments)` gives what counts of an answer: what it returns, or for an open-ended task what
    comes of it. It calls the learner's function, the right one and the mistakes alike. `named` are parameters that the
    notebook's later cells give by name, so they have to keep it. `mistakes` may be given as `known` takes them.
    """

    name: str
    title: str
    minutes: int
    answer: Callable
    cases: Sequence[Case]
    mistakes: Sequence[Mistake] | Mapping[str, Callable | tuple]
    hints: Sequence[str] = ()
    tolerance: float = 1e-4
    measure: Callable = _called
    named: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.mistakes, Mapping):
            object.__setattr__(self, "mistakes", known(self.mistakes))

    @property
    def points(self) -> int:
        return sum(case.points for case in self.cases)

    def examine(self, answer: Any, seed: int | str) -> Outcome:
        """Try the answer on inputs drawn with `seed`; each case that comes out right gives its points."""
        if answer is None or answer is ...:
            return Outcome(self.name, NOT_ATTEMPTED, 0, self.points)
        if not callable(answer):
            says = f'Hand over the function itself, without calling it: check("{self.name}", {self.name}).'
            return Outcome(self.name, WRONG, 0, self.points, says, "not a function")
        if lost := [name for name in self.named if not takes(answer, name)]:
            right = f"{self.name}{inspect.signature(self.answer)}"
            says = f"Keep the parameters' names, which later cells use: {right}. "
            says += f"Yours takes no {' and no '.join(lost)}."
            return Outcome(self.name, WRONG, 0, self.points, says, "other parameters")
        earned, first = 0, None
        for case in self.cases:
            trials = self._try(case, answer, Random(f"{seed}/{self.name}/{case.name}"))
            if any(isinstance(trial.error, NotImplementedError) for trial in trials):
                return Outcome(self.name, NOT_ATTEMPTED, 0, self.points)
            if all(trial.right for trial in trials):
                earned += case.points
            elif first is None:
                first = (case, trials)
        if first is None:
            return Outcome(self.name, CORRECT, earned, self.points)
        mistake, says = self._diagnose(answer, *first)
        return Outcome(self.name, WRONG, earned, self.points, says, mistake)

    def _try(self, case: Case, answer: Callable, rng: Random) -> list[Trial]:
        trials = []
        for _ in range(case.times):
            state = rng.getstate()
            trial = attempt(answer, case.draw(rng), self.measure)
            rng.setstate(state)
            # Drawn once more, and computed afterwards: an answer finds no result to copy, and none that it can change.
            trial.arguments = case.draw(rng)
            trial.expected = self.measure(self.answer, *copied(trial.arguments))
            trial.right = trial.error is None and values.same(trial.found, trial.expected, self.tolerance)
            trials.append(trial)
            if trial.error is not None:
                break
        return trials

    def _diagnose(self, answer: Callable, case: Case, trials: list[Trial]) -> tuple[str | None, str]:
        """The name of the mistake (None if it is not a typical one) and what to say about it."""
        where = f"With {case.name}: "
        broken = next((trial for trial in trials if trial.error is not None), None)
        if broken and isinstance(broken.error, Unusable):
            return broken.error.mistake, where + str(broken.error)
        wrong = [trial for trial in trials if not trial.right]
        cured = [
            m for m in self.mistakes if m.cured and all(self._is_cured(m, answer, trial) for trial in wrong)
        ]
        if broken and not cured:
            return "an error", where + described(broken.error)
        if not broken and any(trial.found is None for trial in trials):
            says = "your function returned None. Does every way through it end with `return …`?"
            return "no return", where + says
        for mistake in () if broken else self.mistakes:
            if all(self._made(mistake, trial) for trial in trials):
                return mistake.name, where + self._says(mistake)
        shown = (
            ()
            if broken
            else [m for m in self.mistakes if m.seen and all(_shows(m, trial) for trial in wrong)]
        )
        if cured := [*cured, *shown]:
            return cured[0].name, where + self._says(cured[0])
        first, plain = wrong[0], self.measure is _called
        wrong_form = values.difference(first.found, first.expected) if plain else ""
        if wrong_form:
            return "another form", where + wrong_form
        same = all(values.same(trial.found, trials[0].found, 0) for trial in trials[1:])
        if plain and same and len(trials) > 1:
            return "a constant", where + (
                f"your function gives {values.short(first.found)} each time, although the inputs differ; right for "
                f"one of them is {values.short(first.expected)}. Compute the result from the inputs, which are new "
                "each time."
            )
        return None, where + self._numbers(first)

    def _says(self, mistake: Mistake) -> str:
        return mistake.says or told(self.name, mistake.name)[1]

    def _made(self, mistake: Mistake, trial: Trial) -> bool:
        mistaken = attempt(mistake.answer, trial.arguments, self.measure)
        if mistaken.error is not None:
            return False
        return values.same(trial.found, mistaken.found, self.tolerance)

    def _is_cured(self, mistake: Mistake, answer: Callable, trial: Trial) -> bool:
        arguments = mistake.cured(*copied(trial.arguments))
        found = attempt(answer, arguments, self.measure)
        right = attempt(self.answer, arguments, self.measure)
        return found.error is None and values.same(found.found, right.found, self.tolerance)

    def _numbers(self, trial: Trial) -> str:
        """What differs, and for which arguments where these are short."""
        shown = ", ".join(values.short(argument, 12) for argument in trial.arguments)
        asked = f"{self.name}({shown})" if len(shown) <= 240 else "your function"
        if self.measure is not _called:
            return values.contrast(trial.found, trial.expected)
        parts = [values.as_array(value) for value in (trial.found, trial.expected)]
        if all(part is not None and part.ndim < 2 and part.size <= values.SHOWN_NUMBERS for part in parts):
            return f"{asked} gives {values.short(trial.found)}; right is {values.short(trial.expected)}."
        said = values.contrast(trial.found, trial.expected)
        return f"{asked}: {said}" if asked != "your function" else said


def _shows(mistake: Mistake, trial: Trial) -> bool:
    return mistake.seen(trial.found, trial.expected, *copied(trial.arguments))


@dataclass(frozen=True)
class Claim:
    """One thing to predict: the choices, and the measurement that decides.

    `measure` returns the choice that holds (None when it is too close to call, and then every choice counts) and a
    sentence with the numbers. `mistakes` gives for each wrong choice the name of the misconception and what to say;
    without it, texts.json does.
    """

    key: str
    choices: tuple[str, ...]
    points: int
    measure: Callable[[Random], tuple[str | None, str]]
    mistakes: Mapping[str, tuple[str, str]] | None = None


@dataclass(frozen=True)
class Prediction(Hinted):
    """A function without arguments that returns what its author expects, {claim: choice}; measured afterwards."""

    name: str
    title: str
    minutes: int
    claims: Sequence[Claim]
    hints: Sequence[str] = ()

    @property
    def points(self) -> int:
        return sum(claim.points for claim in self.claims)

    def examine(self, answer: Any, seed: int | str) -> Outcome:
        """Measure every claim with `seed` and compare the prediction with it."""
        if answer is None or answer is ...:
            return Outcome(self.name, NOT_ATTEMPTED, 0, self.points)
        trial = attempt(answer, ()) if callable(answer) else Trial((), found=answer)
        if isinstance(trial.error, NotImplementedError):
            return Outcome(self.name, NOT_ATTEMPTED, 0, self.points)
        mistake, says = self._form(trial)
        if says:
            return Outcome(self.name, WRONG, 0, self.points, says, mistake)
        misconceptions = texts().get(self.name, {}).get("mistakes", {})
        earned, lines, first = 0, [], None
        for claim in self.claims:
            chosen = trial.found[claim.key]
            held, measured = claim.measure(Random(f"{seed}/{self.name}/{claim.key}"))
            if held in (None, chosen):
                earned += claim.points
                lines.append(f"✔ {claim.key}: {measured}")
            else:
                name, why = (claim.mistakes or misconceptions.get(claim.key, {})).get(chosen, (None, ""))
                first = first or name
                lines.append(f"✘ {claim.key}: you said {chosen!r}. {measured} {why}".rstrip())
        status = CORRECT if earned == self.points else WRONG
        return Outcome(self.name, status, earned, self.points, "\n" + "\n".join(lines), first)

    def _form(self, trial: Trial) -> tuple[str | None, str]:
        if trial.error is not None:
            return "an error", described(trial.error)
        if trial.found is None:
            return "no return", "Your function returned None. Does it end with `return {…}`?"
        keys = [claim.key for claim in self.claims]
        if not isinstance(trial.found, Mapping) or set(trial.found) != set(keys):
            return "other keys", f"Return a dict with exactly these keys: {', '.join(map(repr, keys))}."
        for claim in self.claims:
            if trial.found[claim.key] not in claim.choices:
                choices = ", ".join(map(repr, claim.choices))
                says = (
                    f"At {claim.key!r}: choose one of {choices}, not {values.short(trial.found[claim.key])}."
                )
                return "not one of the choices", says
        return None, ""


@dataclass
class Trial:
    """One call of an answer."""

    arguments: tuple
    found: Any = None
    error: BaseException | None = None
    expected: Any = None
    right: bool = False


def attempt(answer: Callable, arguments: tuple, measure: Callable = _called) -> Trial:
    """Try an answer on copies of the arguments; what it raises is kept (except Ctrl-C), SystemExit included.

    Warnings and stderr are dropped: nbgrader gives no points for a check cell that wrote to stderr.
    """
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return Trial(arguments, found=measure(answer, *copied(arguments)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Trial(arguments, error=error)


def takes(answer: Callable, name: str) -> bool:
    """Whether a function can be given an argument of this name; True where Python cannot tell."""
    try:
        inspect.signature(answer).bind_partial(**{name: None})
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def copied(value: Any) -> Any:
    """A copy of tensors and of the containers around them, so that an answer may change what it gets."""
    if values.is_tensor(value) and not value.requires_grad:
        return value.clone()
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(copied(part) for part in value)
    return {key: copied(part) for key, part in value.items()} if type(value) is dict else value


def described(error: BaseException) -> str:
    """An exception in a sentence, with the learner's own line that raised it."""
    first_line = next(iter(str(error).splitlines()), "")
    said = f"your function raised {type(error).__name__}" + (f": {first_line}" if first_line else "")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        own = "ipykernel" in frame.filename or frame.filename.startswith("<")
        line = (frame.line or linecache.getline(frame.filename, frame.lineno)).strip() if own else ""
        if line:
            return f"{said}, in the line `{line}`."
    return said.rstrip(".") + "."
