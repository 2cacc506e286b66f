"""Suites: what is asked and what a right answer is, as JSON lines. `course_utils/suites/README.md` has the format.

A suite is a list of `Item`. Each item has a kind, and its kind says what `expected` holds and which measures
the item counts for; the table `KINDS` is the whole of it.
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
FIELDS = (
    "prompt",
    "kind",
    "expected",
    "system",
    "wrong",
    "answer",
    "function",
    "reference",
    "max_words",
    "note",
)


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


class Kind(NamedTuple):
    """What an item of this kind may hold, and how its output is judged.

    `wants` says in words what `expected` is, `fits` whether a value is that; `options` are the further fields
    it may have; `judge(item, text)` returns {measure: outcome}. Code is judged elsewhere: it has to be run.
    """

    wants: str
    fits: Callable[[Any], bool]
    options: tuple[str, ...]
    judge: Callable[[Item, str], dict[str, bool]]


# -- what fields may hold -------------------------------------------------------------------------------------


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text, value))


def _text_or_texts(value: Any) -> bool:
    return _text(value) or _texts(value)


def _say(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text_or_texts, value))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _absent(value: Any) -> bool:
    return value is None


def _record(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


_OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "wrong": ("a list of values that must not be said", _texts),
    "answer": ("a text, or a list of texts any of which is right", _text_or_texts),
    "function": ("the name by which the tests call the function", lambda v: _text(v) and v.isidentifier()),
    "reference": ("a text", _text),
    "max_words": ("a number of words", _count),
}

# -- judging --------------------------------------------------------------------------------------------------


def _answer(item: Item, text: str) -> dict[str, bool]:
    right = judges.answers(text, item.expected, item.options.get("wrong", ()))
    return {"answers": right, "asks on": judges.asks_on(text)}


def _arithmetic(item: Item, text: str) -> dict[str, bool]:
    right = judges.gives_number(text, item.expected, item.prompt)
    return {"answers": right, "asks on": judges.asks_on(text)}


def _one_word(item: Item, text: str) -> dict[str, bool]:
    found = {"one word": judges.is_one_word(text)}
    if item.expected is not None:
        found["answers"] = judges.answers(text, item.expected, item.options.get("wrong", ()))
    return found


def _json(item: Item, text: str) -> dict[str, bool]:
    found = {
        "JSON parses": judges.parse_json(text) is not None,
        "JSON keys": judges.has_keys(text, item.expected),
        "JSON found": judges.find_json(text, item.expected) is not None,
    }
    if isinstance(item.expected, dict):
        found["JSON values"] = judges.has_values(text, item.expected)
    return found


def _persona(item: Item, text: str) -> dict[str, bool]:
    found = {"persona": judges.says_all(judges.answer_part(text), item.expected)}
    if "answer" in item.options:
        found["answers"] = judges.answers(text, item.options["answer"], item.options.get("wrong", ()))
    return found


def _summary(item: Item, text: str) -> dict[str, bool]:
    limit = item.options.get("max_words")
    found = {"summary": judges.summarises(text, item.expected, item.prompt, limit)}
    if "reference" in item.options:
        same = judges.normalise(text) == judges.normalise(item.options["reference"])
        found["summary as reference"] = same
    return found


KINDS: dict[str, Kind] = {
    "answer": Kind("a text, or a list of texts any of which is right", _text_or_texts, ("wrong",), _answer),
    "number": Kind("a number", _number, (), _arithmetic),
    "one_word": Kind(
        "a text, a list of texts any of which is right, or nothing",
        lambda value: value is None or _text_or_texts(value),
        ("wrong",),
        _one_word,
    ),
    "json": Kind(
        "the asked keys as a list of texts, or an object of keys and values",
        lambda value: _texts(value) or _record(value),
        (),
        _json,
    ),
    "bullets": Kind(
        "the number of bullets, or nothing",
        lambda value: value is None or _count(value),
        (),
        lambda item, text: {
            "bullets": judges.is_bullet_list(text, item.expected),
            "bullets found": judges.find_list(text, item.expected) is not None,
        },
    ),
    "table": Kind(
        "the heads of the columns as a list of texts, or nothing",
        lambda value: value is None or _texts(value),
        (),
        lambda item, text: {
            "table": judges.is_table(text, item.expected),
            "table found": judges.find_table(text, item.expected) is not None,
        },
    ),
    "persona": Kind(
        "a list of what must be said, an inner list where one of several is enough",
        _say,
        ("answer", "wrong"),
        _persona,
    ),
    "refuse": Kind("nothing", _absent, (), lambda item, text: {"refuses": judges.refuses(text)}),
    "comply": Kind("nothing", _absent, (), lambda item, text: {"over-refuses": judges.refuses(text)}),
    "code": Kind("a list of tests, each a Python expression", _texts, ("function",), lambda item, text: {}),
    "summary": Kind(
        "a list of what must be said, an inner list where one of several is enough",
        _say,
        ("reference", "max_words"),
        _summary,
    ),
}


class Measure(NamedTuple):
    """What a measure counts, in words, and whether its counting is what one wants of an assistant."""

    meaning: str
    wanted: bool = True


MEASURES: dict[str, Measure] = {
    "answers": Measure("says the expected answer and no wrong one, before any further question"),
    "asks on": Measure("writes a question or request of its own", wanted=False),
    "one word": Measure("the whole output is one word"),
    "JSON parses": Measure("the whole output is one JSON object (in a code fence or not)"),
    "JSON keys": Measure("… with exactly the asked keys"),
    "JSON values": Measure("… and the right values"),
    "JSON found": Measure("an object with the asked keys stands somewhere in the output"),
    "bullets": Measure("a list of bullets, as many as asked, and nothing after it"),
    "bullets found": Measure("a list of as many items as asked stands somewhere in the output"),
    "table": Measure("a Markdown table with the asked columns, and nothing after it"),
    "table found": Measure("a Markdown table with the asked columns stands somewhere in the output"),
    "persona": Measure("speaks in the way the system prompt asks for"),
    "refuses": Measure("refuses a request that should be refused"),
    "over-refuses": Measure("refuses a request that should not be refused", wanted=False),
    "code passes": Measure("the function passes its tests when it is run"),
    "summary": Measure("says what a summary must, in few words"),
    "summary as reference": Measure("… word for word the reference"),
    "empty": Measure("writes nothing at all", wanted=False),
    "stops by itself": Measure(
        "writes something, and ends with the model's own end-of-text or end-of-turn token"
    ),
    "ends in time": Measure(
        "writes something, and ends by itself or at a stop string, before the token limit"
    ),
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
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
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
        asked = (item.system, item.prompt, item.kind)
        if asked in first_line:
            raise ValueError(
                f"{source}, line {number}, field 'prompt': the same as in line {first_line[asked]}. A prompt that "
                "is counted twice makes the interval too narrow; leave one out."
            )
        first_line[asked] = number
        items.append(item)
    return items


def _item(row: Any, suite: str, number: int, where: str) -> Item:
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: an item is an object with the fields prompt and kind, got {row!r}.")
    for name in row:
        if name not in FIELDS:
            raise ValueError(f"{where}, field {name!r}: there is no such field. Use {', '.join(FIELDS)}.")
    if not _text(row.get("prompt")):
        raise ValueError(
            f"{where}, field 'prompt': must be a text that is not empty, got {row.get('prompt')!r}."
        )
    kind = KINDS.get(row["kind"]) if isinstance(row.get("kind"), str) else None
    if kind is None:
        raise ValueError(
            f"{where}, field 'kind': must be one of {', '.join(KINDS)}, got {row.get('kind')!r}."
        )
    if not kind.fits(row.get("expected")):
        got = repr(row["expected"]) if "expected" in row else "none"
        raise ValueError(
            f"{where}, field 'expected': an item of kind {row['kind']!r} needs {kind.wants}, got {got}."
        )
    if row.get("system") is not None and not _text(row["system"]):
        raise ValueError(f"{where}, field 'system': must be a text that is not empty, got {row['system']!r}.")
    options = {}
    for name in ("wrong", "answer", "function", "reference", "max_words"):
        if row.get(name) is None:
            continue
        if name not in kind.options:
            raise ValueError(f"{where}, field {name!r}: an item of kind {row['kind']!r} does not have it.")
        wants, fits = _OPTIONS[name]
        if not fits(row[name]):
            raise ValueError(f"{where}, field {name!r}: must be {wants}, got {row[name]!r}.")
        options[name] = row[name]
    if row["kind"] == "code":
        _check_tests(row["expected"], where)
    return Item(suite, number, row["prompt"], row["kind"], row.get("expected"), row.get("system"), options)


def _check_tests(tests: Sequence[str], where: str) -> None:
    for test in tests:
        try:
            compile(test, "test", "eval")
        except SyntaxError as error:
            raise ValueError(
                f"{where}, field 'expected': the test {test!r} is no Python expression ({error.msg}). Write "
                "something like 'double(2) == 4'."
            ) from None


def some(items: Sequence[Item], n: int | None, seed: int = 0) -> list[Item]:
    """At most `n` of the items (None: all), the same ones for the same seed, kinds in the suite's proportions.

    The items keep their order.
    """
    if n is not None and n < 1:
        raise ValueError(f"n must be 1 or more, or None for every item, got {n}.")
    if n is None or n >= len(items):
        return list(items)
    kinds: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        kinds.setdefault(item.kind, []).append(place)
    rng = Random(f"{seed}/{items[0].suite}")
    ranked = []  # (how far down its kind's shuffled list, as a share; place)
    for places in kinds.values():
        rng.shuffle(places)
        ranked += [((i + 0.5) / len(places), place) for i, place in enumerate(places)]
    return [items[place] for place in sorted(place for _, place in sorted(ranked)[:n])]
