"""The scoreboard: several models or prompts, asked the same questions, judged by the same rules.

board = scoreboard({"raw": base, "Q/A frame": ask_in_a_frame, "instruct": instruct}, suites="facts")
board                                    # rates with 95 % intervals
board.failures("Q/A frame", "answers")   # what went wrong, to be read
board.compare("instruct", "Q/A frame", "answers")   # more than noise?
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from os import PathLike
from typing import Any, NamedTuple

import pandas as pd

from ..variant import Completion, Variant
from . import judges, sandbox
from .paired import Comparison, compare_outcomes
from .stats import wilson
from .suites import KINDS, MEASURES, PEBBLE_SUITES, Item, load_suite, make_suite, some, suite_names

Column = Variant | Callable[..., Any]
_AT_ONCE = 128  # prompts between two steps of the progress bar
WHICH = ("column", "suite", "item")
ANSWERS = (*WHICH, "kind", "system", "prompt", "expected", "output", "stop_reason", "new_tokens", "seen")
OUTCOMES = (*WHICH, "measure", "passed")
CAPTION = "Rates with their 95% intervals; n is the number of prompts. failures(column, measure) lists what went wrong."


class Output(NamedTuple):
    """What a column gave for one item; a function that returns bare texts says nothing of the last three."""

    text: str
    stop_reason: str | None = None
    new_tokens: int | None = None
    seen: str | None = None


# -- asking ---------------------------------------------------------------------------------------------------


class _Function:
    """A prompting function as a column: it takes one prompt or a list of them, which is found out by trying."""

    def __init__(self, name: str, function: Callable[..., Any], settings: Mapping[str, Any]):
        self.name, self.function = name, function
        try:
            accepted = set(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            accepted = set()
        self.settings = {key: value for key, value in settings.items() if key in accepted}
        self.takes_system = "system" in accepted
        self.takes_lists: bool | None = None

    def __call__(self, items: Sequence[Item], first: int) -> list[Output]:
        if not self.takes_system:
            return self._ask([item.with_system for item in items], {}, first)
        found: dict[int, Output] = {}
        for system in dict.fromkeys(item.system for item in items):
            places = [place for place, item in enumerate(items) if item.system == system]
            options = {} if system is None else {"system": system}
            found |= zip(places, self._ask([items[i].prompt for i in places], options, first), strict=True)
        return [found[place] for place in range(len(items))]

    def _ask(self, prompts: list[str], options: dict[str, Any], first: int) -> list[Output]:
        if self.takes_lists is None:
            # A function made for one prompt fails on a list, or returns a single answer for it.
            try:
                self.takes_lists = isinstance(self._call(prompts[:1], 0, options), (list, tuple))
            except Exception:
                self.takes_lists = False
        if self.takes_lists:
            answers = self._call(prompts, first, options)
            if not isinstance(answers, (list, tuple)) or len(answers) != len(prompts):
                got = f"{len(answers)}" if isinstance(answers, (list, tuple)) else type(answers).__name__
                raise ValueError(
                    f"The function of column {self.name!r} was given {len(prompts)} prompts and returned {got}. "
                    "It must return a list with one completion or text a prompt, in their order."
                )
        else:
            answers = [self._call(prompt, first + i, options) for i, prompt in enumerate(prompts)]
        return [_output(answer, self.name) for answer in answers]

    def _call(self, asked: str | list[str], number: int, options: dict[str, Any]) -> Any:
        return self.function(asked, **_seeded(self.settings, number), **options)


def _seeded(settings: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The settings with the seed of prompt `number`."""
    seed = settings.get("seed")
    return dict(settings) if seed is None else {**settings, "seed": seed + number}


def _output(answer: Any, column: str) -> Output:
    if isinstance(answer, Completion):
        return Output(answer.text, answer.stop_reason, len(answer.token_ids), answer.prompt)
    if isinstance(answer, str):
        return Output(answer)
    raise TypeError(
        f"The function of column {column!r} returned {type(answer).__name__} for a prompt. "
        "It must return the answer's text or a Completion."
    )


def _asker(name: str, column: Column, settings: Mapping[str, Any]) -> Callable[..., list[Output]]:
    """What turns items (and the number of the first) into outputs: a function, or a variant's chat template or text."""
    if not isinstance(column, Variant):
        return _Function(name, column, settings)

    def ask(items: Sequence[Item], first: int) -> list[Output]:
        options = {**_seeded(settings, first), "progress": False}
        if column.has_chat_template:
            written = column.chat_batch([item.messages for item in items], **options)
        else:
            written = column.complete_batch([item.with_system for item in items], **options)
        return [_output(completion, name) for completion in written]

    return ask


def _columns(columns: Any) -> dict[str, Column]:
    if isinstance(columns, Mapping):
        named = list(columns.items())
    else:
        given = [columns] if isinstance(columns, Variant) or callable(columns) else list(columns)
        named = [(getattr(one, "name", None) or getattr(one, "__name__", "?"), one) for one in given]
    if not named:
        raise ValueError("A scoreboard needs at least one column: a variant or a prompting function.")
    for name, column in named:
        if not isinstance(column, Variant) and not callable(column):
            raise TypeError(
                f"Column {name!r} is {type(column).__name__}. A column is a Variant, or a function from a prompt (or a "
                "list of prompts) to its answer."
            )
    _require_unlike("columns", [name for name, _ in named], "Pass a dict to name them yourself.")
    return dict(named)


def _require_unlike(what: str, names: Sequence[Any], mend: str) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"Two {what} have the same name ({', '.join(map(str, names))}). {mend}")


# -- which suites ---------------------------------------------------------------------------------------------


def _suites(wanted: Any) -> list[list[Item]]:
    """The suites in every form that `scoreboard` takes them."""
    if isinstance(wanted, (str, PathLike)):
        names = PEBBLE_SUITES if wanted == "pebble" else [wanted]
        return [load_suite(name) for name in names]
    for one in wanted.values() if isinstance(wanted, Mapping) else [wanted]:
        if isinstance(one, pd.DataFrame) or not isinstance(one, Iterable):
            raise TypeError(
                f"A suite cannot be made from {type(one).__name__}. Pass the name of one, a .jsonl file, a list of "
                "dicts with prompt and kind, or several of these; a table gives its rows with .to_dict('records')."
            )
    if isinstance(wanted, Mapping):
        return [make_suite(rows, name) for name, rows in wanted.items()]
    wanted = list(wanted)
    if not wanted:
        raise ValueError(f"No suite was given. Name one or more of {', '.join(suite_names())}.")
    if all(isinstance(one, Item) for one in wanted):
        return [wanted]
    if all(isinstance(one, Mapping) for one in wanted):
        return [make_suite(wanted)]
    found = [suite for one in wanted for suite in _suites(one)]
    _require_unlike("suites", [suite[0].suite for suite in found], "Rename one, so that rows can be told.")
    return found


# -- judging --------------------------------------------------------------------------------------------------


def judge_outputs(items: Sequence[Item], outputs: Sequence[Output]) -> list[dict[str, bool]]:
    """The outcomes {measure: bool} of every output. Code is run here, each answer in a process of its own."""
    code = [i for i, item in enumerate(items) if item.kind == "code"]
    sources = [judges.code_in(outputs[i].text) for i in code]
    cases = [(src, items[i].expected, items[i].options.get("function")) for src, i in zip(sources, code)]
    passed = dict(zip(code, sandbox.all_pass(cases), strict=True))
    found = []
    for i, (item, output) in enumerate(zip(items, outputs, strict=True)):
        outcomes = KINDS[item.kind].judge(item, output.text)
        if i in passed:
            outcomes["code passes"] = passed[i]
        empty = outcomes["empty"] = judges.is_empty(output.text)
        if output.stop_reason is not None:
            outcomes["stops by itself"] = not empty and output.stop_reason == "eos"
            outcomes["ends in time"] = not empty and output.stop_reason != "length"
        found.append(outcomes)
    return found


# -- the board ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Scoreboard:
    """The outcomes of a scoreboard.

    `answers` has one row for each column and item: column, suite, item (its line), kind, system, prompt,
    expected, output, stop_reason, new_tokens, seen (the text the model saw). The last three are missing where
    a function returned bare texts. `outcomes` has one row for each measure of those: column, suite, item,
    measure, passed.
    """

    answers: pd.DataFrame
    outcomes: pd.DataFrame

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(self.answers["column"]))

    @property
    def suites(self) -> list[str]:
        return list(dict.fromkeys(self.answers["suite"]))

    @property
    def measures(self) -> list[str]:
        found = set(self.outcomes["measure"])
        return [measure for measure in MEASURES if measure in found]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Columns column, suite, measure, passed, n, rate, low, high (95 % Wilson interval); rates in [0, 1].

        `passed` counts the outputs that do what the measure says, also where that is not wanted ("asks on",
        "over-refuses"); `evaluate.MEASURES` says which those are.
        """
        return self._rates(["column", "suite", "measure"])

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """As `frame`, each measure over all suites that have it, without the column suite."""
        return self._rates(["column", "measure"])

    def _rates(self, keys: list[str]) -> pd.DataFrame:
        orders = {"column": self.columns, "suite": self.suites, "measure": self.measures}
        counted = self.outcomes.groupby(keys)["passed"].agg(passed="sum", n="size").reset_index()
        rank = counted[keys].apply(lambda values: values.map(orders[values.name].index))
        counted = counted.loc[rank.sort_values(keys).index].reset_index(drop=True)
        counted["rate"] = counted["passed"] / counted["n"]
        bounds = [wilson(passed, n) for passed, n in zip(counted["passed"], counted["n"])]
        counted["low"], counted["high"] = zip(*bounds)
        return counted

    def failures(self, column: str, measure: str | None = None, suite: str | None = None) -> pd.DataFrame:
        """The outputs that did not do what was wanted: suite, item, measure, prompt, output, expected, stop_reason.

        For "asks on" and "over-refuses" these are the outputs that did it. Without `measure`, all measures'.
        """
        rows = self._outcomes(measure, suite, column)
        wanted = rows["measure"].map(lambda name: MEASURES[name].wanted)
        found = rows[rows["passed"] != wanted].merge(self.answers, on=["column", "suite", "item"])
        return found[["suite", "item", "measure", "prompt", "output", "expected", "stop_reason"]]

    def show_failures(
        self, column: str, measure: str | None = None, suite: str | None = None, n: int = 5
    ) -> None:
        """Print the first `n` failures in full, to be read."""
        found = self.failures(column, measure, suite)
        what, first = f"“{measure}”" if measure else "any measure", f", the first {n}:" * (len(found) > n)
        print(f"{column}: {len(found)} failure{'s' * (len(found) != 1)} of {what}{first}")
        for row in found.head(n).itertuples():
            print(f"\n── {row.suite}, line {row.item}: {row.measure}\n   prompt  {row.prompt!r}")
            print(f"   output  {row.output!r}")
            if row.expected is not None:
                print(f"   expected {row.expected!r}")

    def compare(self, a: str, b: str, measure: str, suite: str | None = None) -> Comparison:
        """Whether `a` and `b` differ in a measure by more than noise, on the prompts that both answered."""
        outcomes = self._outcomes(measure, suite, a, b)
        table = outcomes.pivot(index=["suite", "item"], columns="column", values="passed")
        if a == b or not {a, b} <= set(table.columns):
            missing = a if a not in table.columns else b
            why = f"{missing!r} has no “{measure}”" if a != b else "they are one and the same"
            raise ValueError(f"{a!r} and {b!r} cannot be compared: {why}.")
        shared = table[[a, b]].dropna().astype(bool)
        return compare_outcomes(a, b, measure, list(shared.itertuples(index=False, name=None)))

    def plot(self, measures: Sequence[str] | None = None, suite: str | None = None) -> Any:
        """The rates as dots with intervals, a panel for each measure (by default all but "ends in time")."""
        from .. import plots

        shown = measures or [name for name in self._worth_showing if name != "ends in time"]
        self._require("measure", *shown)
        if suite is not None:
            self._require("suite", suite)
        frame = self.pooled if suite is None else self.frame[self.frame["suite"] == suite]
        unwanted = [name for name in MEASURES if not MEASURES[name].wanted]
        return plots.plot_scoreboard(frame[frame["measure"].isin(list(shown))], unwanted=unwanted)

    @property
    def _worth_showing(self) -> list[str]:
        """The measures; "empty" only where some text was."""
        some = bool(self.outcomes["passed"][self.outcomes["measure"] == "empty"].any())
        return [name for name in self.measures if some or name != "empty"]

    def _outcomes(self, measure: str | None, suite: str | None, *columns: str) -> pd.DataFrame:
        self._require("column", *columns)
        found = self.outcomes[self.outcomes["column"].isin(columns)]
        for what, name in (("measure", measure), ("suite", suite)):
            if name is not None:
                self._require(what, name)
                found = found[found[what] == name]
        return found

    def _require(self, what: str, *names: str) -> None:
        known = {"column": self.columns, "suite": self.suites, "measure": self.measures}[what]
        for name in names:
            if name not in known:
                raise ValueError(f"This scoreboard has no {what} {name!r}; it has {', '.join(known)}.")

    # -- how it looks ----------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rates as text, a row for each suite and measure: "93% (86–97)"; the numbers are in `frame`.

        "empty" has a row only where some text was.
        """
        shown = self.frame[self.frame["measure"].isin(self._worth_showing)]
        texts = [f"{row.rate:.0%} ({100 * row.low:.0f}–{100 * row.high:.0f})" for row in shown.itertuples()]
        names = {name: name if MEASURES[name].wanted else f"{name} (lower is better)" for name in MEASURES}
        cells = shown.assign(cell=texts, measure=shown["measure"].map(names))
        keys = ["suite", "measure"]
        table = cells.pivot(index=keys, columns="column", values="cell")
        # A stable order: suites as they were asked, and in each its measures as they came.
        rows = cells[keys].drop_duplicates()
        rows = rows.sort_values("suite", key=lambda names: names.map(self.suites.index), kind="stable")
        table = table.reindex(index=pd.MultiIndex.from_frame(rows), columns=self.columns).fillna("")
        table.insert(0, "n", cells.groupby(keys)["n"].max())
        table.columns.name = None
        return table

    def __repr__(self) -> str:
        return f"{self.table.to_string()}\n{CAPTION}"

    def _repr_html_(self) -> str:
        return f"{self.table.to_html()}<p>{escape(CAPTION)}</p>"


# -- the call -------------------------------------------------------------------------------------------------


def scoreboard(
    columns: Mapping[str, Column] | Iterable[Column] | Column,
    suites: Any = "pebble",
    n: int | None = None,
    max_new_tokens: int = 96,
    temperature: float = 0.0,
    seed: int | None = 0,
    progress: bool = True,
) -> Scoreboard:
    """Ask every column every prompt of the suites and judge the outputs.

    `columns` is a dict from names to columns, or several columns (a pair is two). A column is either
    - a Variant: asked through its chat template if it has one, and otherwise given the bare prompt; or
    - a function from a prompt to its answer, or from a list of prompts to the list of answers (faster); an
      answer is a Completion, or a text, of which then nothing is known about stopping. The function is tried
      with a list of one prompt first. If it has parameters `max_new_tokens`, `temperature`, `seed` or
      `system`, it gets the scoreboard's; without `system`, a system prompt stands before the prompt as a
      paragraph. So `base.complete_batch` is a column too.

    `suites` is the name of a suite of the course, the path of a .jsonl file, "pebble" (all suites about what
    Pebble has read), a list of dicts with the fields of the file format, a dict {name: such a list}, a suite
    from `load_suite`, or several of these. `n` asks at most so many prompts of each suite, the same for every
    column. `seed` chooses them, and at a temperature above 0 prompt i is sampled with seed + i.

    Raises ValueError for bad suites, names that come twice, and functions that lose a prompt; TypeError for
    something that is no column or no suite.
    """
    from tqdm import tqdm  # the text bar: it leaves no widget state behind in a notebook

    asked = _columns(columns)
    drawn = [some(suite, n, seed or 0) for suite in _suites(suites)]
    settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    answers, outcomes, total = [], [], len(asked) * sum(map(len, drawn))
    with tqdm(total=total, unit="prompt", disable=not progress, delay=2, leave=False) as bar:
        for name, column in asked.items():
            ask = _asker(name, column, settings)
            for items in drawn:
                bar.set_description(f"{name}: {items[0].suite}")
                outputs = []
                for first in range(0, len(items), _AT_ONCE):
                    part = items[first : first + _AT_ONCE]
                    try:
                        outputs += ask(part, first)
                    except Exception as error:
                        error.add_note(f"This happened in column {name!r}, suite {items[0].suite!r}.")
                        raise
                    bar.update(len(part))
                for item, output, found in zip(items, outputs, judge_outputs(items, outputs), strict=True):
                    which = (name, item.suite, item.number)
                    answers.append((*which, item.kind, item.system, item.prompt, item.expected, *output))
                    outcomes += [(*which, measure, bool(passed)) for measure, passed in found.items()]
    return Scoreboard(pd.DataFrame(answers, columns=ANSWERS), pd.DataFrame(outcomes, columns=OUTCOMES))
