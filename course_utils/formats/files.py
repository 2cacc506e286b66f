"""Reading data files row by row: a row that cannot be read is kept as its raw text, with the reason."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .specs import Flaw

SUFFIXES = {
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON",
    ".csv": "CSV",
    ".parquet": "Parquet",
}
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


def check_path(path: str | Path) -> Path:
    """The path, if it is a readable data file; else FileNotFoundError or ValueError with the next step."""
    path = Path(path).expanduser()
    known = ", ".join(SUFFIXES)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name one file in it ({known}).")
    if not path.exists():
        folder = path.parent
        there = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES) if folder.is_dir() else []
        near = get_close_matches(path.name, there, n=3, cutoff=0.5) or there[:5]
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}, so no {path.name} in it. Check the path.")
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
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path), []
    text, flaws = _decode(path.read_bytes())
    if suffix == ".csv":
        records = list(_read_csv(text, flaws))
    elif suffix == ".json":
        records = list(_read_json(text, flaws))
    else:
        records = list(_read_json_lines(text))
    return records, flaws


def _decode(data: bytes) -> tuple[str, list[Flaw]]:
    """The file's text, and flaws of its encoding as a whole."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        detail = "The file is UTF-16, which most trainers cannot read."
        return data.decode("utf-16", errors="replace"), [
            Flaw("", "bad encoding", detail, "Save it as UTF-8.")
        ]
    text = data.decode("utf-8", errors="surrogateescape")
    if text.startswith("\ufeff"):
        detail = (
            "The file begins with a byte order mark, which many readers take for a part of the first key."
        )
        todo = "Save it as UTF-8 without BOM (in pandas: encoding='utf-8')."
        return text[1:], [Flaw("", "byte order mark", detail, todo)]
    return text, []


# --- JSON ---------------------------------------------------------------------------------------------------


def _read_json_lines(text: str) -> Iterator[Record]:
    row = 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row += 1
            value, flaw = _parse(line)
            yield Record(row, number, value, [flaw] if flaw else [])


def _parse(line: str) -> tuple[Any, Flaw | None]:
    """The value of one JSON text, or the text itself and what is wrong with it."""
    try:
        return json.loads(line), None
    except RecursionError:
        return line, Flaw("", "invalid JSON", "It is nested too deeply to be read.", "Take the row out.")
    except ValueError as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        reason = getattr(error, "msg", str(error)).splitlines()[0].removesuffix(" starting at")
        detail = f"It is not valid JSON{where}: {reason}."
        todo = "Write one JSON object a line, with double quotes and no comma at the end."
        if line.lstrip().startswith("{") and not line.rstrip().endswith("}"):
            todo = "The line stops before its closing brace; each row must be whole on one line."
        return line, Flaw("", "invalid JSON", detail, todo)


def _read_json(text: str, flaws: list[Flaw]) -> Iterator[Record]:
    """Rows of a JSON file: a list of objects, one object, or an object with one list of objects inside."""
    if not text.strip():
        return
    whole, flaw = _parse(text)
    if flaw is None:
        if isinstance(whole, Mapping):
            lists = [v for v in whole.values() if isinstance(v, list) and v and all(map(_is_object, v))]
            is_row = {"messages", "conversations"} & set(whole) or "prompt" in whole or "chosen" in whole
            whole = lists[0] if len(lists) == 1 and not is_row else [whole]
        rows = whole if isinstance(whole, list) else [whole]
        yield from (Record(i, None, value) for i, value in enumerate(rows, 1))
        return
    start = re.match(r"\s*\[", text)
    if start is not None:
        yield from _rescue_json_list(text, start.end(), flaws)
        return
    if len([line for line in text.splitlines() if line.strip()]) > 1:
        detail = "The file's name says JSON, but it does not hold one JSON value; it is read as JSON Lines."
        flaws.append(Flaw("", "invalid JSON", detail, "Name the file .jsonl, or write one list of rows."))
    yield from _read_json_lines(text)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _rescue_json_list(text: str, position: int, flaws: list[Flaw]) -> Iterator[Record]:
    """The rows of a broken JSON list: whole ones are read; a broken one ends where a later line opens one."""
    row, line, counted, whole = 0, 1, 0, True
    while True:
        position = _BETWEEN.match(text, position).end()
        if _LIST_END.match(text, position):
            break
        row, line, counted = row + 1, line + text.count("\n", counted, position), position
        try:
            value, position = _DECODER.raw_decode(text, position)
            whole = True
            yield Record(row, line, value)
        except (ValueError, RecursionError) as error:
            # Objects inside a row may open a line too, but rows are indented no deeper than this one.
            indent = position - (text.rfind("\n", 0, position) + 1)
            later = re.compile(rf"\n[ \t]{{0,{min(indent, 99)}}}\{{").search(text, position + 1)
            end = later.start() if later else len(text)
            where = f" on line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            detail = f"It is not valid JSON{where}: {getattr(error, 'msg', 'it is nested too deeply')}."
            todo = "Mend this row; the rows around it are read."
            whole = False
            yield Record(
                row, line, text[position:end].rstrip(" \t\r\n,"), [Flaw("", "invalid JSON", detail, todo)]
            )
            position = end
    if whole and "]" not in text[position:]:
        todo = "Add the missing ']', and check whether rows are missing: the file may be cut off."
        flaws.append(Flaw("", "invalid JSON", "The list of rows is not closed.", todo))


# --- CSV and Parquet ----------------------------------------------------------------------------------------


def _read_csv(text: str, flaws: list[Flaw]) -> Iterator[Record]:
    """Rows of a CSV file. The csv module, unlike pandas, says on which line a row stands and keeps ragged ones."""
    if text.count('"') % 2:
        detail = "A quotation mark is never closed, so the rows behind it run together."
        flaws.append(Flaw("", "unclosed quote", detail, 'Inside a quoted cell, write " as "".'))
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    try:
        reader = csv.reader(io.StringIO(text, newline=""))
        header = next(reader, [])
        line, row = reader.line_num + 1, 0
        for cells in reader:
            here, line = line, reader.line_num + 1
            if not cells:
                continue
            row += 1
            yield _csv_record(row, here, header, cells)
    finally:
        csv.field_size_limit(limit)


def _csv_record(row: int, line: int, header: list[str], cells: list[str]) -> Record:
    if len(cells) != len(header):
        detail = f"It has {len(cells)} cells under {len(header)} column names."
        todo = "Put cells that hold a comma or a line break in double quotes."
        return Record(row, line, ",".join(cells), [Flaw("", "wrong number of cells", detail, todo)])
    record = Record(row, line, {})
    for column, cell in zip(header, cells):
        value: Any = cell
        if column == "label" and cell.strip().lower() in ("true", "false"):
            value = cell.strip().lower() == "true"
        elif column in _JSON_COLUMNS and re.match(r"\s*\[\s*[{\]]", cell):
            value, flaw = _parse(cell)
            if flaw:
                todo = "Write the list as JSON. (A DataFrame's to_csv writes Python's notation; use to_json.)"
                detail = flaw.detail.replace("It is", f"{column} looks like a list, but is")
                record.flaws.append(Flaw(column, "invalid JSON", detail, todo))
        elif column == "tools" and not cell.strip():
            value = None
        record.value[column] = value
    return record


def _read_parquet(path: Path) -> list[Record]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            f"Reading {path.name} needs pyarrow, which is not installed: pip install pyarrow."
        ) from error
    except Exception as error:  # pyarrow's own exceptions, which must not be imported here
        raise ValueError(f"{path.name} is not a Parquet file that pandas can read: {error}") from error
    return [Record(i, None, value) for i, value in enumerate(frame_rows(frame), 1)]


def frame_rows(frame: Any) -> list[dict[str, Any]]:
    """A DataFrame's rows as dicts of plain Python values; what it pads with NaN or None is left out of turns."""
    return [{str(k): plain(v) for k, v in row.items()} for row in frame.to_dict("records")]


def plain(value: Any) -> Any:
    """Arrays as lists, NaN as None; keys of a turn that the table only padded with null are left out."""
    if isinstance(value, Mapping):
        kept = {k: plain(v) for k, v in value.items()}
        stays = ("role", "from", "value") if kept.get("tool_calls") else ("role", "from", "content", "value")
        return {k: v for k, v in kept.items() if v is not None or k in stays}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and value != value else value
