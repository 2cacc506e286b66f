"""Everything that is wrong with a data file, row by row, without stopping at the first of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..markup import template
from .checks import SURROGATE, encoding_flaws, printable, repeats_prompt, row_flaws, special_tokens, texts
from .files import Record
from .flaws import Flaw, error_text, flaw
from .measure import count_tokens
from .specs import FORMATS, formats_of, same_key, type_flaws

_COLUMNS = ["row", "line", "field", "problem", "detail", "what_to_do"]


@dataclass(frozen=True)
class Report:
    """What `validate` found. Rows count from 1; a row is good when nothing at all is reported about it.

    `problems`: DataFrame with a line a problem: row (missing where the file as a whole is meant), line (of a
    text file), field, problem (its kind), detail, what_to_do. `good_rows` are ready for use; `bad_rows` are
    kept as they are (the raw text of a row that could not be read). Together they are all rows.
    """

    source: str
    records: list[Record] = field(repr=False)
    problems: pd.DataFrame = field(repr=False)
    formats: dict[str, int]  # how many rows are in which format; "unknown" and "unreadable" may be among them

    @property
    def ok(self) -> bool:
        """True when there are rows and nothing is wrong with any of them, nor with the file."""
        return self.problems.empty

    @property
    def bad_row_numbers(self) -> list[int]:
        return sorted({int(row) for row in self.problems["row"].dropna()})

    @property
    def good_rows(self) -> list[dict[str, Any]]:
        bad = set(self.bad_row_numbers)
        return [record.value for record in self.records if record.row not in bad]

    @property
    def bad_rows(self) -> list[Any]:
        bad = set(self.bad_row_numbers)
        return [record.value for record in self.records if record.row in bad]

    @property
    def summary(self) -> pd.DataFrame:
        """A line a kind of problem: problem, rows (how many), first_rows, what_to_do; the most frequent first."""
        lines = []
        for problem, found in self.problems.groupby("problem", sort=False):
            rows = list(dict.fromkeys(int(row) for row in found["row"].dropna()))
            first = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
            lines.append((problem, len(rows), first or "whole file", found["what_to_do"].iloc[0]))
        table = pd.DataFrame(lines, columns=["problem", "rows", "first_rows", "what_to_do"])
        return table.sort_values("rows", ascending=False, kind="stable", ignore_index=True)

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        total, bad = len(self.records), len(self.bad_row_numbers)
        formats = ", ".join(f"{name}: {count}" for name, count in self.formats.items())
        found = f"{_counted(len(self.problems), 'problem')}, {_counted(bad, 'row')} with at least one"
        found = "no problem found" if self.ok else found
        good = f"{_counted(total - bad, 'row')} {'is' if total - bad == 1 else 'are'} good"
        return f"{self.source}: {_counted(total, 'row')} ({formats or 'none'}); {found}; {good}."

    def __str__(self) -> str:
        if self.ok:
            return self.headline
        with pd.option_context("display.max_colwidth", 70, "display.width", 160):
            return f"{self.headline}\n\n{self.summary.drop(columns='what_to_do').to_string(index=False)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The headline, the kinds of problems, and the first 30 problems in full."""
        no_lines = ["line"] if self.problems["line"].isna().all() else []
        shown = self.problems.drop(columns=no_lines).head(30).astype(object)
        tables = [self.summary.drop(columns="what_to_do"), shown.where(shown.notna(), "")]
        more = len(self.problems) - len(shown)
        return template("formats/report.jinja").render(report=self, tables=tables, more=more)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def make_report(
    source: str,
    records: list[Record],
    file_flaws: Sequence[Flaw],
    tokenizer: Any,
    max_length: int | None,
    allow: Sequence[str],
) -> Report:
    """The Report of these records. See `formats.validate`."""
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    limit = _length_limit(tokenizer, max_length)
    special = special_tokens(tokenizer)
    names = formats_of(None if r.unreadable else _but(r.value, allow) for r in records)
    counted = Counter(name for name in names if name)
    repeating = _formats_that_repeat(records, names)
    first_seen: dict[str, int] = {}
    no_rows = [] if records else [flaw("no rows")]
    lines = [(None, None, *found) for found in (*file_flaws, *no_rows)]
    for record, name in zip(records, names, strict=True):
        flaws = list(record.flaws)
        if record.unreadable:
            flaws += encoding_flaws("", str(record.value))
        else:
            if name in repeating:
                flaws.append(flaw("prompt repeated", "prompt", columns=" and ".join(FORMATS[name].answers)))
            flaws += row_flaws(record.value, FORMATS.get(name), counted, special, allow, name in repeating)
            flaws += _repeat_flaws(record, name, first_seen)
            flaws += _length_flaws(record.value, name, tokenizer, limit)
        lines += [(record.row, record.line, *found) for found in flaws]
    problems = pd.DataFrame([[printable(cell) for cell in line] for line in lines], columns=_COLUMNS)
    problems = problems.astype({"row": "Int64", "line": "Int64"})
    unreadable = sum(record.unreadable for record in records)
    formats = dict(counted.most_common())
    formats |= {"unknown": len(records) - unreadable - counted.total(), "unreadable": unreadable}
    return Report(source, records, problems, {name: count for name, count in formats.items() if count})


def _but(row: Any, allow: Sequence[str]) -> Any:
    """The row without the columns that the caller vouches for."""
    return {k: v for k, v in row.items() if k not in allow} if isinstance(row, Mapping) else row


def _formats_that_repeat(records: Sequence[Record], names: Sequence[str | None]) -> set[str]:
    """Formats in which every row's answers begin with the prompt: once may be chance, in all it is a habit."""
    seen: dict[str, list[int]] = {}
    for record, name in zip(records, names, strict=True):
        if name:
            repeats = repeats_prompt(record.value, FORMATS[name])
            # A single short prompt (a number, say) may well open its answer.
            seen.setdefault(name, []).append(len(str(record.value["prompt"])) if repeats else 0)
    return {name for name, sizes in seen.items() if all(sizes) and (len(sizes) > 1 or sizes[0] >= 12)}


def _repeat_flaws(record: Record, name: str | None, first_seen: dict[str, int]) -> Iterator[Flaw]:
    row = record.value
    if name:  # an id that differs does not make a different example
        row = {column: row.get(column) for column in (*FORMATS[name].required, *FORMATS[name].optional)}
    first = first_seen.setdefault(same_key(row), record.row)
    if first != record.row:
        yield flaw("repeated", first=first)


def _length_limit(tokenizer: Any, max_length: int | None) -> int | None:
    if tokenizer is None and max_length is not None:
        raise ValueError(error_text("max_length alone"))
    if max_length is not None:
        return max_length
    own = getattr(tokenizer, "model_max_length", None)
    return own if own is not None and own < 10**6 else None  # tokenizers without a limit say 10**30


def _length_flaws(row: Any, name: str | None, tokenizer: Any, limit: int | None) -> Iterator[Flaw]:
    if limit is None or not name or any(True for _ in type_flaws(row, FORMATS[name])):
        return
    if any(SURROGATE.search(text) for _, text in texts(row)):
        return  # reported as bad encoding; no tokenizer takes it
    try:
        length = count_tokens(row, name, tokenizer)
    except Exception as error:  # a chat template may raise whatever Jinja or its author chose
        yield flaw("refused", error=error)
        return
    if length > limit:
        yield flaw("too long", length=length, more=length - limit, limit=limit)
