"""Reading data files row by row: a row that cannot be read is kept as its raw text, with the reason."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .flaws import Flaw, error_text, flaw
from .normal import are_objects, by_columns, from_json, normal, to_python
from .specs import COLUMNS, FormatError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
_JSON_COLUMNS = ("messages", "conversations", "tools", "prompt", "completion", "chosen", "rejected")
_DECODER = json.JSONDecoder()
_BETWEEN, _LIST_END = re.compile(r"[\s,]*"), re.compile(r"[\]\s]*\Z")


@dataclass
class Record:
    """One row of a file. `row` counts from 1; `line` is where it starts in a text file, from 1."""

    row: int
    line: int | None
    value: Any  # the row, or its raw text where it could not be read
    flaws: list[Flaw] = field(default_factory=list)

    @property
    def unreadable(self) -> bool:
        """Whether it holds raw text instead of a row."""
        of_row = ("invalid JSON", "wrong number of cells")
        return any(one.field == "" and one.problem in of_row for one in self.flaws)


def check_path(path: str | Path) -> Path:
    """The path, if it is a readable data file; else FileNotFoundError or ValueError with the next step."""
    path = Path(path).expanduser()
    known = ", ".join(SUFFIXES)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name one file in it ({known}).")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}, so no {path.name} in it. Check the path.")
        there = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES)
        near = get_close_matches(path.name, there, n=3, cutoff=0.5) or there[:5]
        hint = f"Did you mean {' or '.join(near)}?" if near else f"It holds no data file ({known})."
        raise FileNotFoundError(f"There is no file {path.name} in {folder}. {hint}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path.name} is not a data file by its name; known endings are {known}.")
    return path


def read_records(path: str | Path) -> tuple[list[Record], list[Flaw]]:
    """All rows of a file, readable or not, and what is wrong with the file as a whole.

    Bytes that are not UTF-8 are kept as lone surrogates (Python's `surrogateescape`), so that nothing is
    lost and the row can be named. Raises FileNotFoundError or ValueError as `check_path` does, and
    ImportError for Parquet without pyarrow.
    """
    path = check_path(path)
    records, flaws = _read(path)
    for record in records:
        if not isinstance(record.value, str):
            record.value = normal(record.value)
    return records, flaws


def _read(path: Path) -> tuple[list[Record], list[Flaw]]:
    suffix = path.suffix.lower()
    data = path.read_bytes()
    head = data[:64].lstrip().lower()
    other = next((what for start, what in _OTHER_FILES.items() if head.startswith(start)), None)
    if other and not (suffix == ".parquet" and other.startswith("a Parquet")):
        return [], [flaw("other file", what=other)]
    if suffix == ".parquet":
        return _read_parquet(path), []
    text, flaws = _decode(data)
    if suffix == ".csv" and text.lstrip()[:1] not in ("{", "["):
        return list(_read_csv(text, flaws)), flaws
    if suffix == ".csv":
        flaws.append(flaw("json in a csv"))
    read = _read_json_lines if suffix in (".jsonl", ".ndjson") else _read_json
    return list(read(text, flaws)), flaws


_OTHER_FILES = {
    b"\x1f\x8b": "gzip (packed)", b"pk\x03\x04": "a zip archive or an Excel sheet", b"par1": "a Parquet table",
    b"version https://git-lfs": "a pointer of git-lfs (git lfs pull fetches the data)", b"<!doctype": "a web page",
    b"<html": "a web page", b"%pdf": "a PDF", b"sqlite format 3": "a database",
}  # fmt: skip


# What tells wide characters: a mark; or the zeros beside plain letters (bytes a character, which of them are zero).
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_ZEROS = {"utf-32-le": (4, (1, 2, 3)), "utf-16-le": (2, (1,)), "utf-16-be": (2, (0,))}


def _decode(data: bytes) -> tuple[str, list[Flaw]]:
    """The file's text, and flaws of its encoding as a whole."""
    wide, some = [name for mark, name in _MARKS.items() if data.startswith(mark)], data[:400]
    for name, (step, zeros) in _ZEROS.items():
        if len(some) >= 4 * step and all(some[z::step].count(0) > 0.9 * len(some[z::step]) for z in zeros):
            wide.append(name)
    if wide:
        text = data.decode(wide[0], errors="replace").removeprefix("\ufeff")
        return text, [flaw("wide characters", name=wide[0].upper()[:6])]
    text = data.decode("utf-8", errors="surrogateescape")
    return text.removeprefix("\ufeff"), [flaw("byte order mark")] if text.startswith("\ufeff") else []


def _read_json_lines(text: str, flaws: list[Flaw]) -> Iterator[Record]:
    other = _what_it_is(text)
    if other:
        flaws.append(flaw(other))
        yield from _read_json(text, flaws) if text.lstrip().startswith("[") else _values_in_a_row(text)
        return
    row, marked = 0, False
    for number, line in enumerate(text.split("\n"), 1):
        marked |= line.startswith("\ufeff")
        line = line.removeprefix("\ufeff")  # files that were joined carry one in the middle
        if line.strip():
            row += 1
            yield Record(row, number, *_parse(line))
    if marked:
        flaws.append(flaw("mark in the middle"))


def _what_it_is(text: str) -> str | None:
    """What a file called JSON Lines holds instead, as a flaw's name; None where it is lines, good or broken."""
    first, _, rest = text.lstrip().partition("\n")
    value = from_json(first)
    broken = isinstance(value, str)
    if first.startswith("["):
        # A conversation on each line is a list, too.
        one_list = are_objects(value) and not {"role", "from"} & value[0].keys() and not rest.strip()
        return "list in a jsonl" if broken or one_list else None
    return "objects over lines" if broken and first.startswith("{") and _values_in_a_row(text) else None


def _values_in_a_row(text: str) -> list[Record]:
    """JSON objects one after another, however they are broken into lines; nothing where one of them is broken."""
    found, at = [], 0
    while True:
        at = re.compile(r"\s*").match(text, at).end()
        if at == len(text):
            return found
        start = at
        try:
            _, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            return []
        line = text.count("\n", 0, start) + 1
        found.append(Record(len(found) + 1, line, *_parse(text[start:at])))


def _parse(text: str) -> tuple[Any, list[Flaw]]:
    """The value of one JSON text, or the text itself where it is broken; and what is wrong with it.

    A key that stands twice in one object, wherever that is, is a flaw, for one of its values is lost.
    """
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(key for key, count in Counter(key for key, _ in items).items() if count > 1)
        return dict(items)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
        return value, [flaw("twice", key) for key in dict.fromkeys(twice)]
    except RecursionError:
        return text, [flaw("too deep")]
    except ValueError as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        reason = getattr(error, "msg", str(error)).splitlines()[0].removesuffix(" starting at")
        bare, name = text.rstrip().rstrip(",").rstrip(), "invalid"
        if bare != text.rstrip() and _parse(bare)[0] not in (None, bare):
            name = "comma behind"
        elif re.match(r"\s*\{\s*'", text):
            name = "Python's notation"
        elif text.lstrip().startswith("{") and not bare.endswith("}"):
            name = "no closing brace"
        return text, [flaw(name, where=where, reason=reason)]


def _read_json(text: str, flaws: list[Flaw]) -> Iterator[Record]:
    """Rows of a JSON file: a list of objects, one object, or an object with one list of objects inside."""
    if not text.strip():
        return
    whole, found = _parse(text)
    start = re.match(r"\s*\[", text)
    if start and found:
        yield from _rescue_json_list(text, start.end(), flaws)  # which says in which row
        return
    if whole is text:
        if len([line for line in text.splitlines() if line.strip()]) > 1:
            flaws.append(flaw("lines in a json"))
        yield from _read_json_lines(text, flaws)
        return
    flaws += found
    if isinstance(whole, Mapping):
        lists = [v for v in whole.values() if are_objects(v)]
        is_row = {"messages", "conversations", "prompt", "chosen"} & whole.keys()
        whole = by_columns(whole) or (lists[0] if len(lists) == 1 and not is_row else [whole])
    rows = whole if isinstance(whole, list) else [whole]
    yield from (Record(i, None, value) for i, value in enumerate(rows, 1))


def _rescue_json_list(text: str, position: int, flaws: list[Flaw]) -> Iterator[Record]:
    """The rows of a broken JSON list: whole ones are read; a broken one ends where a later line opens one."""
    row, line, counted, whole = 0, 1, 0, True
    while True:
        position = _BETWEEN.match(text, position).end()
        if _LIST_END.match(text, position):
            break
        row, line, counted = row + 1, line + text.count("\n", counted, position), position
        start = position
        try:
            _, position = _DECODER.raw_decode(text, start)
            whole = True
            yield Record(row, line, *_parse(text[start:position]))
        except (ValueError, RecursionError) as error:
            whole = False
            # Objects inside a row may open a line too, but rows are indented no deeper than this one.
            indent = start - (text.rfind("\n", 0, start) + 1)
            later = re.compile(rf"\n[ \t]{{0,{min(indent, 99)}}}\{{").search(text, start + 1)
            position = later.start() if later else len(text)
            where = f" on line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            reason = getattr(error, "msg", "it is nested too deeply")
            broken = flaw("invalid in a list", where=where, reason=reason)
            yield Record(row, line, text[start:position].rstrip(" \t\r\n,"), [broken])
    if whole and "]" not in text[position:]:
        flaws.append(flaw("list not closed"))


def _read_csv(text: str, flaws: list[Flaw]) -> Iterator[Record]:
    """Rows of a CSV file. The csv module, unlike pandas, says on which line a row stands and keeps ragged ones."""
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    try:
        separator, skipped = _separator(text)
        if separator != ",":
            name = _SEPARATORS.get(separator, "another mark")
            flaws.append(flaw("separator", name=name, separator=separator))
        text = text[skipped:]
        if _quote_stays_open(text, separator):
            flaws.append(flaw("open quote"))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header = next(reader, [])
        line, row = reader.line_num + 1 + bool(skipped), 0
        twice = [flaw("twice", name) for name, count in Counter(header).items() if count > 1]
        for cells in reader:
            here, line = line, reader.line_num + 1 + bool(skipped)
            if cells:
                row += 1
                record = _csv_record(row, here, header, cells)
                record.flaws += twice
                yield record
    finally:
        csv.field_size_limit(limit)


_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar"}


def _separator(text: str) -> tuple[str, int]:
    """What parts the cells, and how many characters come before the header (Excel's line `sep=;`)."""
    named = re.match(r"sep=(.)\r?\n", text)
    if named:
        return named[1], named.end()
    header = next((line for line in text.split("\n") if line.strip()), "")

    def known(separator: str) -> int:
        return sum(cell.strip(' "\r') in COLUMNS for cell in header.split(separator))

    best = max([",", *_SEPARATORS], key=known)  # the comma wins a tie
    if known(best) == 0 and "," not in header:
        best = max([",", *_SEPARATORS], key=header.count)
    return best, 0


def _quote_stays_open(text: str, separator: str) -> bool:
    """Whether a cell that begins with a quotation mark is never closed; marks inside a cell open nothing."""
    try:
        deque(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), maxlen=0)
    except csv.Error as error:
        return "end of data" in str(error)
    return False


def _csv_record(row: int, line: int, header: list[str], cells: list[str]) -> Record:
    if len(cells) != len(header):
        wrong = flaw("cells", cells=len(cells), columns=len(header))
        return Record(row, line, ",".join(cells), [wrong])
    record = Record(row, line, {})
    for column, cell in zip(header, cells, strict=True):
        value: Any = cell
        if column == "label" and cell.strip().lower() in ("true", "false", "1", "0"):  # a CSV has no types
            value = cell.strip().lower() in ("true", "1")
        elif column in _JSON_COLUMNS and re.match(r"\s*\[\s*[{\]]", cell):
            value, found = _parse(cell)
            if value is cell:
                detail = found[0].detail.replace("It is", f"{column} looks like a list, but is")
                record.flaws.append(flaw("list in a cell", column, detail=detail))
        elif column == "tools" and not cell.strip():
            value = None
        record.value[column] = value
    return record


def _read_parquet(path: Path) -> list[Record]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(error_text("no pyarrow", file=path.name)) from error
    except Exception as error:  # pyarrow's own exceptions, which must not be imported here
        raise ValueError(f"{path.name} is not a Parquet file that pandas can read: {error}") from error
    return [Record(i, None, value) for i, value in enumerate(frame_rows(frame), 1)]


def frame_rows(frame: Any) -> list[dict[str, Any]]:
    """A DataFrame's rows as dicts of plain Python values; what it pads with NaN or None is left out of turns.

    Raises FormatError where a column's name stands twice, for a row could keep only one of the two.
    """
    twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if twice:
        raise FormatError(f"The column {twice[0]!r} stands twice in the table. Rename one of the two.")
    rows = frame.to_dict("records")
    return [normal({str(k): to_python(v, padded=True) for k, v in row.items()}) for row in rows]
