"""Everything that is wrong with a data file, row by row, without stopping at the first of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from .checks import (
    SURROGATE,
    encoding_flaws,
    printable,
    repeat_flaws,
    repeated_prompt_flaw,
    repeats_prompt,
    row_flaws,
    special_tokens,
    texts,
)
from .files import Record
from .measure import count_tokens
from .specs import FORMATS, Flaw, format_of, settle, type_flaws

_COLUMNS = ["row", "line", "field", "problem", "detail", "what_to_do"]


# --- the report ---------------------------------------------------------------------------------------------


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
    def good_row_numbers(self) -> list[int]:
        bad = set(self.bad_row_numbers)
        return [record.row for record in self.records if record.row not in bad]

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
        found = (
            "no problem found" if self.ok else f"{len(self.problems)} problems, {bad} rows with at least one"
        )
        return f"{self.source}: {total} rows ({formats or 'none'}); {found}; {total - bad} rows are good."

    def __str__(self) -> str:
        if self.ok:
            return self.headline
        with pd.option_context("display.max_colwidth", 70, "display.width", 160):
            return f"{self.headline}\n\n{self.summary.drop(columns='what_to_do').to_string(index=False)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The headline, the kinds of problems, and the first 30 problems in full."""
        parts = [f"<p><b>{'✓' if self.ok else '✗'} {escape(self.headline)}</b></p>"]
        if not self.ok:
            shown = self.problems.head(30).astype(object)
            shown = shown.where(shown.notna(), "")
            parts.append(_html_table(self.summary.drop(columns="what_to_do")))
            if self.problems["line"].isna().all():
                shown = shown.drop(columns="line")
            parts.append(_html_table(shown))
        if len(self.problems) > 30:
            parts.append(f"<p>… and {len(self.problems) - 30} more in <code>report.problems</code>.</p>")
        return "\n".join(parts)


_CELL = "padding: 3px 8px; text-align: left; vertical-align: top; white-space: normal; max-width: 28em;"


def _html_table(table: pd.DataFrame) -> str:
    head = "".join(f'<th style="{_CELL}">{escape(name.replace("_", " "))}</th>' for name in table.columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(str(cell))}</td>' for cell in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f'<table style="margin: 0 0 12px 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def make_report(
    source: str,
    records: list[Record],
    file_flaws: Sequence[Flaw] = (),
    tokenizer: Any = None,
    max_length: int | None = None,
    allow: Sequence[str] = (),
) -> Report:
    """The Report of these records. See `formats.validate`."""
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    limit = _length_limit(tokenizer, max_length)
    special = special_tokens(tokenizer)
    names = settle(
        None if _unreadable(record) else format_of(_but(record.value, allow)) for record in records
    )
    counted = Counter(name for name in names if name)
    main = counted.most_common(1)[0][0] if counted else None
    first_seen: dict[str, int] = {}
    repeating = _formats_that_repeat(records, names)
    lines = [(None, None, *flaw) for flaw in file_flaws]
    if not records:
        lines.append(
            (None, None, "", "no rows", "There is no row to learn from.", "Check that the file is whole.")
        )
    for record, name in zip(records, names):
        flaws = list(record.flaws)
        if not _unreadable(record):
            if name in repeating:
                flaws.append(repeated_prompt_flaw(name))
            flaws += row_flaws(record.value, name, main, counted, special, allow, name in repeating)
            flaws += repeat_flaws(record, name, first_seen)
            if limit is not None and name and not any(True for _ in type_flaws(record.value, FORMATS[name])):
                flaws += _length_flaws(record.value, name, tokenizer, limit)
        else:
            flaws += encoding_flaws("", str(record.value))
        lines += [(record.row, record.line, *flaw) for flaw in flaws]
    problems = pd.DataFrame([[printable(cell) for cell in line] for line in lines], columns=_COLUMNS)
    problems = problems.astype({"row": "Int64", "line": "Int64"})
    formats = dict(counted.most_common())
    for label, count in (
        ("unknown", sum(n is None and not _unreadable(r) for n, r in zip(names, records))),
        ("unreadable", sum(map(_unreadable, records))),
    ):
        if count:
            formats[label] = count
    return Report(source, records, problems, formats)


def _but(row: Any, allow: Sequence[str]) -> Any:
    """The row without the columns that the caller vouches for."""
    return {k: v for k, v in row.items() if k not in allow} if isinstance(row, Mapping) else row


def _formats_that_repeat(records: Sequence[Record], names: Sequence[str | None]) -> set[str]:
    """Formats in which every row's answers begin with the prompt: once may be chance, in all it is a habit."""
    seen: dict[str, list[int]] = {}
    for record, name in zip(records, names):
        if name:
            repeats = repeats_prompt(record.value, name)
            # A single short prompt (a number, say) may well open its answer.
            seen.setdefault(name, []).append(len(str(record.value["prompt"])) if repeats else 0)
    return {name for name, sizes in seen.items() if all(sizes) and (len(sizes) > 1 or sizes[0] >= 12)}


def _unreadable(record: Record) -> bool:
    """Whether the record holds raw text instead of a row."""
    return any(
        flaw.field == "" and flaw.problem in ("invalid JSON", "wrong number of cells")
        for flaw in record.flaws
    )


# --- length ---------------------------------------------------------------------------------------------------


def _length_limit(tokenizer: Any, max_length: int | None) -> int | None:
    if tokenizer is None:
        if max_length is not None:
            raise ValueError(
                "max_length counts tokens, so it needs a tokenizer: validate(…, tokenizer=tokenizer)."
            )
        return None
    if max_length is not None:
        return max_length
    own = getattr(tokenizer, "model_max_length", None)
    return own if own is not None and own < 10**6 else None  # tokenizers without a limit say 10**30


def _length_flaws(row: Mapping[str, Any], name: str, tokenizer: Any, limit: int) -> Iterator[Flaw]:
    if any(SURROGATE.search(text) for _, text in texts(row)):
        return  # reported as bad encoding; no tokenizer takes it
    try:
        length = count_tokens(row, name, tokenizer)
    except Exception as error:  # a chat template may raise whatever Jinja or its author chose
        detail = f"The tokenizer's chat template refuses the row: {error}"
        yield Flaw(
            "", "refused by the chat template", detail, "Change the row, or train with another template."
        )
        return
    if length > limit:
        detail = f"It has {length} tokens, {length - limit} more than the {limit} that fit."
        todo = "Shorten or split it: truncation cuts its end off, and with it the answer and the end of turn."
        yield Flaw("", "too long", detail, todo)
