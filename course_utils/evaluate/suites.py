"""Suites: what is asked and what a right answer is, as JSON lines. `course_utils/suites/README.md` has the format.

A suite is a list of `Item`. Each item has a kind, and its kind says what `expected` holds and which measures
the item counts for; the table `KINDS` is the whole of it. `measures.json` says what each measure counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from . import judges

FOLDER = Path(__file__).parent.parent / "suites"
PEBBLE_SUITES = ("facts", "phrasings", "formats", "personas", "refusals", "summaries", "code")


@dataclass(frozen=True)
class Item:
    """One prompt of a suite, and what is expected of the answer. `number` is its line (from 1) in the suite."""

    suite: str
    number: int
    prompt: str
    kind: str
    expected: Any = None
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def with_system(self) -> str:
        """The prompt as plain text: the system prompt, where there is one, stands before it as a paragraph."""
        return f"{self.system}\n\n{self.prompt}" if self.system else self.prompt

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation for a chat template."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


# -- what fields may hold -------------------------------------------------------------------------------------


class Holds(NamedTuple):
    """What a field may hold: in words, and as a function that says whether a value is that."""

    wants: str
    fits: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text, value))


def _answer(value: Any) -> bool:
    return _text(value) or _texts(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and _number(value) and value > 0


def _or_nothing(wants: str, fits: Callable[[Any], bool]) -> Holds:
    return Holds(f"{wants}, or nothing", lambda value: value is None or fits(value))


TEXT = Holds("a text that is not empty", _text)
ANSWER = Holds("a text, or a list of texts any of which is right", _answer)
SAY = Holds(
    "a list of what must be said, an inner list where one of several is enough",
    lambda value: isinstance(value, list) and bool(value) and all(map(_answer, value)),
)
RECORD = Holds(
    "the asked keys as a list of texts, or an object of keys and values",
    lambda value: _texts(value) or (isinstance(value, dict) and bool(value)),
)
NOTHING = Holds("nothing", lambda value: value is None)
# What an item may have beside prompt, kind and expected.
OPTIONS: dict[str, Holds] = {
    "system": TEXT,
    "wrong": Holds("a list of values that must not be said", _texts),
    "answer": ANSWER,
    "function": Holds(
        "the name by which the tests call the function", lambda value: _text(value) and value.isidentifier()
    ),
    "reference": TEXT,
    "max_words": Holds("a number of words", _count),
}
FIELDS = ("prompt", "kind", "expected", *OPTIONS, "note")

# -- judging --------------------------------------------------------------------------------------------------


class Measure(NamedTuple):
    """What a measure counts, in words, and whether its counting is what one wants of an assistant."""

    meaning: str
    wanted: bool


_WRITTEN = json.loads(Path(__file__).with_name("measures.json").read_text("utf-8"))
MEASURES: dict[str, Measure] = {name: Measure(**measure) for name, measure in _WRITTEN.items()}


def _answers(item: Item, text: str) -> bool | None:
    if item.kind == "number":
        return judges.gives_number(text, item.expected, item.prompt)
    expected = item.options.get("answer") if item.kind == "persona" else item.expected
    return None if expected is None else judges.answers(text, expected, item.options.get("wrong", ()))


def _json_values(item: Item, text: str) -> bool | None:
    return judges.has_values(text, item.expected) if isinstance(item.expected, dict) else None


def _as_reference(item: Item, text: str) -> bool | None:
    reference = item.options.get("reference")
    return None if reference is None else judges.normalise(text) == judges.normalise(reference)


# How an output is judged by a measure; None where the item does not say enough to be judged by it.
_JUDGES: dict[str, Callable[[Item, str], bool | None]] = {
    "answers": _answers,
    "asks on": lambda item, text: judges.asks_on(text),
    "one word": lambda item, text: judges.is_one_word(text),
    "JSON parses": lambda item, text: judges.parse_json(text) is not None,
    "JSON keys": lambda item, text: judges.has_keys(text, item.expected),
    "JSON values": _json_values,
    "JSON found": lambda item, text: judges.find_json(text, item.expected) is not None,
    "bullets": lambda item, text: judges.is_bullet_list(text, item.expected),
    "bullets found": lambda item, text: judges.find_list(text, item.expected) is not None,
    "table": lambda item, text: judges.is_table(text, item.expected),
    "table found": lambda item, text: judges.find_table(text, item.expected) is not None,
    "persona": lambda item, text: judges.says_all(judges.answer_part(text), item.expected),
    "refuses": lambda item, text: judges.refuses(text),
    "over-refuses": lambda item, text: judges.refuses(text),
    "summary": lambda item, text: judges.summarises(
        text, item.expected, item.prompt, item.options.get("max_words")
    ),
    "summary as reference": _as_reference,
}


class Kind(NamedTuple):
    """What `expected` and which further fields an item of this kind has, and by which measures it is judged.

    Code is judged in `board.py`: it has to be run.
    """

    expected: Holds
    measures: tuple[str, ...]
    options: tuple[str, ...] = ()

    def judge(self, item: Item, text: str) -> dict[str, bool]:
        """The outcome of each measure that the item counts for."""
        found = {measure: _JUDGES[measure](item, text) for measure in self.measures}
        return {measure: outcome for measure, outcome in found.items() if outcome is not None}


KINDS: dict[str, Kind] = {
    "answer": Kind(ANSWER, ("answers", "asks on"), ("wrong",)),
    "number": Kind(Holds("a number", _number), ("answers", "asks on")),
    "one_word": Kind(_or_nothing(*ANSWER), ("one word", "answers"), ("wrong",)),
    "json": Kind(RECORD, ("JSON parses", "JSON keys", "JSON found", "JSON values")),
    "bullets": Kind(_or_nothing("the number of bullets", _count), ("bullets", "bullets found")),
    "table": Kind(
        _or_nothing("the heads of the columns as a list of texts", _texts), ("table", "table found")
    ),
    "persona": Kind(SAY, ("persona", "answers"), ("answer", "wrong")),
    "refuse": Kind(NOTHING, ("refuses",)),
    "comply": Kind(NOTHING, ("over-refuses",)),
    "code": Kind(Holds("a list of tests, each a Python expression", _texts), (), ("function",)),
    "summary": Kind(SAY, ("summary", "summary as reference"), ("reference", "max_words")),
}

# -- reading --------------------------------------------------------------------------------------------------


def suite_names() -> list[str]:
    """The suites that come with the course."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def load_suite(path: str | PathLike[str]) -> list[Item]:
    """Read a suite: the name of one of the course's own (see `suite_names`), or a path of a JSON-lines file.

    Raises FileNotFoundError for a suite that is not there, and ValueError for a line that is no item; the
    message names the line and the field. Empty lines are skipped.
    """
    file = FOLDER / f"{path}.jsonl" if str(path) in suite_names() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no suite {str(path)!r}. Give the path of a .jsonl file, or one of {', '.join(suite_names())}."
        )
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
        try:
            rows += [(number, json.loads(line))] if line.strip() else []
        except ValueError as error:
            raise ValueError(
                f"{file.name}, line {number}: this is not one line of JSON ({error}). Write each item as one object "
                "on one line, with double quotes."
            ) from None
    return _items(rows, file.stem, file.name)


def make_suite(rows: Iterable[Mapping[str, Any]], name: str = "own") -> list[Item]:
    """Make a suite from dicts with the fields of the file format; ValueError as in `load_suite`."""
    return _items(list(enumerate(rows, 1)), name, name)


def _items(rows: Sequence[tuple[int, Any]], suite: str, source: str) -> list[Item]:
    if not rows:
        raise ValueError(
            f"{source} holds no item. A suite needs at least one, such as "
            '{"prompt": "What is the capital of France?", "kind": "answer", "expected": "Paris"}.'
        )
    items, first_line = [], {}
    for number, row in rows:
        item = _item(row, suite, number, f"{source}, line {number}")
        earlier = first_line.setdefault((item.system, item.prompt, item.kind), number)
        if earlier != number:
            raise ValueError(
                f"{source}, line {number}, field 'prompt': the same as in line {earlier}. A prompt that "
                "is counted twice makes the interval too narrow; leave one out."
            )
        items.append(item)
    return items


def _item(row: Any, suite: str, number: int, where: str) -> Item:
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: an item is an object with the fields prompt and kind, got {row!r}.")

    def require(good: bool, name: str, why: str) -> None:
        if not good:
            raise ValueError(f"{where}, field {name!r}: {why}")

    for name in row:
        require(name in FIELDS, name, f"there is no such field. Use {', '.join(FIELDS)}.")
    prompt, kind, expected = (row.get(name) for name in ("prompt", "kind", "expected"))
    require(_text(prompt), "prompt", f"must be {TEXT.wants}, got {prompt!r}.")
    require(kind in list(KINDS), "kind", f"must be one of {', '.join(KINDS)}, got {kind!r}.")
    of = f"an item of kind {kind!r}"
    wants, fits = KINDS[kind].expected
    got = repr(expected) if "expected" in row else "none"
    require(fits(expected), "expected", f"{of} needs {wants}, got {got}.")
    options = {name: row[name] for name in OPTIONS if row.get(name) is not None}
    for name, value in options.items():
        require(name in ("system", *KINDS[kind].options), name, f"{of} does not have it.")
        require(OPTIONS[name].fits(value), name, f"must be {OPTIONS[name].wants}, got {value!r}.")
    for test in expected if kind == "code" else ():
        try:
            compile(test, "test", "eval")
        except SyntaxError as error:
            why = f"the test {test!r} is no Python expression ({error.msg}). Write something like 'double(2) == 4'."
            raise ValueError(f"{where}, field 'expected': {why}") from None
    system = options.pop("system", None)
    return Item(suite, number, prompt, kind, expected, system, options)


def some(items: Sequence[Item], n: int | None, seed: int = 0) -> list[Item]:
    """At most `n` of the items (None: all), the same ones for the same seed, kinds in the suite's proportions.

    The items keep their order.
    """
    if n is not None and n < 1:
        raise ValueError(f"n must be 1 or more, or None for every item, got {n}.")
    if n is None or n >= len(items):
        return list(items)
    rng = Random(f"{seed}/{items[0].suite}")
    ranked = []  # (how far down its kind's shuffled list, as a share; place)
    for kind in dict.fromkeys(item.kind for item in items):
        places = [place for place, item in enumerate(items) if item.kind == kind]
        rng.shuffle(places)
        ranked += [((i + 0.5) / len(places), place) for i, place in enumerate(places)]
    return [items[place] for place in sorted(place for _, place in sorted(ranked)[:n])]
