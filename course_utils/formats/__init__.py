"""Data for fine-tuning: which format rows are in, turning one into another, and finding what is wrong.

    formats.load(path)            rows of a JSONL, JSON, CSV or Parquet file
    formats.detect(rows)          which format, and why
    formats.convert(rows, to)     the same rows in another format; an error where something would be lost
    formats.validate(path)        every problem, with its row; nothing stops the report, nothing is dropped
    formats.describe(rows, …)     lengths, turns, share of tokens in the loss, repeats
    formats.sample(name)          a few rows of each format, to try these on

Rows count from 1. The formats follow TRL's dataset types (huggingface.co/docs/trl, *Dataset formats and types*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .alpaca import alpaca_prompt, read_alpaca_prompt
from .checks import not_utf8
from .convert import LossyConversion, convert_rows
from .files import Record, frame_rows, read_records
from .flaws import error_text
from .measure import measured, summarised
from .normal import by_columns, normal
from .report import Report, make_report
from .specs import FORMATS, Format, FormatError, format_named, formats_of, unknown_format
from .steps import Loss

__all__ = [
    "FORMATS", "Detection", "Format", "FormatError", "LossyConversion", "Report", "alpaca_prompt", "convert",
    "describe", "detect", "load", "read_alpaca_prompt", "sample", "sample_path", "validate",
]  # fmt: skip

Rows = Any  # a path, a DataFrame, one row, or an iterable of rows (a list, a datasets.Dataset)
_SAMPLES = Path(__file__).parents[1] / "samples"


def load(path: str | Path) -> list[dict[str, Any]]:
    """All rows of a .jsonl, .json, .csv or .parquet file (Parquet needs pyarrow), as dicts.

    Raises FileNotFoundError (naming files of a similar name), ValueError for an unknown ending, and FormatError
    where a row cannot be read; `validate` reads such files all the same, and lists every such row.
    """
    records, _ = read_records(path)
    file = Path(path).name
    for record in records:
        if record.flaws:
            where = f"line {record.line}" if record.line else f"row {record.row}"
            bad = sum(bool(other.flaws) for other in records)
            known = {"file": file, "where": where, "bad": bad, "total": len(records)}
            raise FormatError(error_text("unreadable row", found=record.flaws[0], **known))
        if not isinstance(record.value, Mapping):
            raise FormatError(f"{file}, row {record.row} {unknown_format(record.value)[0]}.")
        found = not_utf8(record.value)
        if found:
            raise FormatError(f"{file}, row {record.row}, {found.field}: {found.detail} {found.what_to_do}")
    return [record.value for record in records]


def _rows(rows: Rows) -> list[Any]:
    """Rows as a list, whatever they came as."""
    if isinstance(rows, (str, Path)):
        return load(rows)
    if isinstance(rows, pd.DataFrame):
        return frame_rows(rows)
    if isinstance(rows, Mapping):
        rows = by_columns(rows) or [rows]
    if isinstance(rows, bytes) or not isinstance(rows, Iterable):
        raise TypeError(f"Rows are a path, a DataFrame or a list of dicts, not a {type(rows).__name__}.")
    return [normal(row) for row in rows]


@dataclass(frozen=True)
class Detection:
    """What `detect` found. `name` is the format of most rows; `rows` has the row numbers of each format."""

    name: str
    rows: dict[str, list[int]]
    reason: str

    @property
    def names(self) -> list[str]:
        return list(self.rows)

    @property
    def mixed(self) -> bool:
        return len(self.rows) > 1

    def __str__(self) -> str:
        return f"{', '.join(self.names)}: {self.reason}"

    __repr__ = __str__


def detect(rows: Rows) -> Detection:
    """Say in which format rows are, and by which columns that is known; mixed formats are all named.

    `rows`: a list of dicts, one dict, a DataFrame, a dataset, or a path. Raises FormatError for no rows, and for
    a row in no known format (naming its keys and the nearest format).
    """
    rows = _rows(rows)
    if not rows:
        raise FormatError("There are no rows, so there is no format. Check that the file is whole.")
    names = formats_of(rows)
    if None in names:
        number = names.index(None) + 1
        what, todo = unknown_format(rows[number - 1])
        unknown = names.count(None)
        more = f" ({unknown} of {len(rows)} rows are in no known format.)" if len(rows) > 1 else ""
        raise FormatError(f"Row {number} {what}. {todo}{more}")
    common = [name for name, _ in Counter(names).most_common()]
    found = {name: [i for i, other in enumerate(names, 1) if other == name] for name in common}
    return Detection(common[0], found, _reason(found, len(rows)))


def _reason(found: Mapping[str, list[int]], total: int) -> str:
    if len(found) == 1:
        (name,) = found
        return f"{'the row has' if total == 1 else f'all {total} rows have'} {_marks(FORMATS[name])}."
    parts = []
    for name, numbers in found.items():
        first = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
        parts.append(f"{len(numbers)} of {total} rows (rows {first}) have {_marks(FORMATS[name])}")
    return f"mixed formats: {'; '.join(parts)}."


def _marks(spec: Format) -> str:
    """The columns that tell the format, in words."""
    named = [repr(column) for column in spec.required if column != "label"]
    columns = " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
    if spec.name == "tool-calls":
        return f"{columns}, with tools or calls of tools"
    if spec.name in ("sharegpt", "messages"):
        return columns
    label = ", and 'label'" if "label" in spec.required else ""
    return f"{columns} as {'lists of turns' if spec.conversational else 'text'}{label}"


def convert(rows: Rows, to: str, lossy: bool = False) -> Any:
    """Return rows in the format `to`, a name of `formats.FORMATS`; further columns are carried along.

    Without `lossy`, returns the rows, and raises LossyConversion (a ValueError) where converting back would not
    give the same rows: it names row, field and what would be lost, and `.dropped` lists it all. With
    `lossy=True`, returns `(rows, dropped)`, `dropped` a DataFrame with row, field, lost. Raises FormatError
    where it cannot be done at all: an unknown or mixed format, a wrongly typed row, or columns that would have
    to be invented.

    Strings become turns of a user and an assistant; Alpaca rows become text by Alpaca's published template. Of a
    conversation the last answer is the completion. That keeps every word, but not what is learned: prompt-completion
    rows are trained on the completion alone, so earlier answers then count as prompt.
    """
    target = format_named(to)
    rows = _rows(rows)
    found = detect(rows)
    if found.mixed:
        raise FormatError(error_text("mixed", reason=found.reason))
    source = FORMATS[found.name]
    if source is target:
        converted, lost = [dict(row) for row in rows], []
    else:
        converted, lost = convert_rows(rows, source, target)
    if lossy:
        return converted, pd.DataFrame(lost, columns=list(Loss._fields))
    if lost:
        first, places = lost[0], len({(loss.row, loss.field) for loss in lost})
        more = f" It is the same in {places} places altogether." if places > 1 else ""
        known = {"source": source.name, "target": target.name, "first": first, "more": more}
        raise LossyConversion(error_text("lossy", **known), lost)
    return converted


def validate(
    path_or_rows: Rows, tokenizer: Any = None, max_length: int | None = None, allow: Sequence[str] = ()
) -> Report:
    """Report every problem of a data file (JSONL, JSON, CSV, Parquet) or of rows, with its row number.

    A row that is broken never stops the report, and none is dropped: `report.good_rows` and `report.bad_rows`
    are all of them. With a `tokenizer` (or a Variant) its special tokens are looked for too, and rows longer than
    `max_length` tokens (by default the tokenizer's own limit, if it has one) are reported. `allow` names columns
    that are no part of the format and shall be no problem, such as an id.

    Raises only for the file as such: FileNotFoundError, ValueError for an unknown ending, ImportError for Parquet
    without pyarrow; and ValueError for a max_length without tokenizer.
    """
    if isinstance(path_or_rows, (str, Path)):
        records, flaws = read_records(path_or_rows)
        source = Path(path_or_rows).name
    else:
        records = [Record(i, None, row) for i, row in enumerate(_rows(path_or_rows), 1)]
        flaws, source = [], "rows"
    return make_report(source, records, flaws, tokenizer, max_length, allow)


def describe(
    rows: Rows,
    tokenizer: Any = None,
    loss_mask: Callable[[dict], Sequence] | None = None,
    per_row: bool = False,
) -> pd.DataFrame:
    """A table of a data set: lengths, turns, share of tokens in the loss, repeats.

    Returns one line a quantity (characters, turns, tokens, loss_tokens, loss_share, repeats) with the columns
    rows (for how many rows it is known), mean, min, median, p95, max, total. `per_row=True` returns one line a
    row instead: row, format, the quantities, and duplicate_of (the earlier row with the same content).

    Tokens need a `tokenizer` (or a Variant); a preference counts its longer side. `loss_mask` is a function from
    a row to its mask, one true or false a token. Without it, the share in the loss is given where the format
    alone decides it: all of a text; the completion of prompt-completion rows and the output of Alpaca rows,
    each with one end token. Raises FormatError where a row has no known format or a wrong type.
    """
    rows = _rows(rows)
    detect(rows)
    table = measured(rows, getattr(tokenizer, "tokenizer", tokenizer), loss_mask)
    return table if per_row else summarised(table)


def sample_path(name: str) -> Path:
    """The path of a sample file, by its file name or by its format's name. ValueError lists what there is."""
    wanted, files = str(name).replace("_", "-"), sorted(_SAMPLES.glob("*.*"))
    for path in files:
        if name == path.name or wanted == path.stem.replace("_", "-"):
            return path
    raise ValueError(f"There is no sample {name!r}; there are {', '.join(path.name for path in files)}.")


def sample(name: str) -> list[dict[str, Any]]:
    """The rows of a sample file, by its file name or by its format's name, such as `sample("alpaca")`."""
    return load(sample_path(name))
