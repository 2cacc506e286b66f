"""What can be wrong with one row: its format, keys, turns, text. Each check yields flaws and never raises."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from .flaws import Flaw, flaw
from .specs import LOSS_KEYS, ROLES, SHAREGPT_ROLES, Format, meant_by, other_coat, type_flaws, unknown_format
from .steps import shared_prompt

# Mojibake: UTF-8 read as Windows-1252. Each character of such a text stands for one byte.
_BYTE_OF = {
    bytes([b]).decode("cp1252"): b for b in range(0x80, 0xC0) if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_BYTE_OF |= {chr(b): b for b in range(0x80, 0x100)}
_TAIL = "[" + "".join(c for c, b in _BYTE_OF.items() if b < 0xC0) + "]"
_SEQUENCE = f"(?:[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|[ð-ô]{_TAIL}{{3}})"
_MOJIBAKE = re.compile(f"(?:Â[\x80-\xbf]|Ã{_TAIL}|â[€‚„†ˆ‰Šœž™š]{_TAIL}|ðŸ{_TAIL}{{2}}|{_SEQUENCE}{{2,}})+")
_OPENED_BY = {"”": "“", "’": "‘", "“": "„", "»": "«"}
SURROGATE = re.compile("[\ud800-\udfff]")
# What shows that a text was saved or read wrongly, by the flaw's name.
_SPOILT = {
    "not utf-8": SURROGATE,
    "mojibake": _MOJIBAKE,
    "replaced": re.compile("\ufffd"),
    "control": re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
}


def row_flaws(
    row: Any, spec: Format | None, counted: Counter, special: dict, allow: Sequence[str], repeats: bool
) -> Iterator[Flaw]:
    """All flaws of one row in this format, beside rows in the `counted` formats.

    `special`: as `special_tokens` gives them. With `repeats`, its answers are known to hold the prompt once more.
    """
    yield from (found for path, text in texts(row) for found in encoding_flaws(path, text))
    if spec is None:
        what, todo = unknown_format(row)
        yield flaw("unknown format", what=what, todo=todo)
        return
    main = counted.most_common(1)[0][0]
    if spec.name != main:
        yield flaw("mixed", name=spec.name, count=counted[main], total=counted.total(), main=main)
    yield from type_flaws(row, spec)
    if any(other_coat(row.get(column), spec) for column in spec.turn_columns):
        return  # said in one sentence; every turn would be accused of the same
    yield from _key_flaws(row, spec, allow)
    yield from _empty_flaws(row, spec)
    if spec.conversational and not repeats:
        yield from _turn_flaws(row, spec)
    yield from _preference_flaws(row, spec)
    for path, text in texts({column: row.get(column) for column in spec.required}):
        yield from _special_flaws(path, text, special, spec)


def texts(row: Any) -> Iterator[tuple[str, str]]:
    """Every text in a row with its path, such as `messages[1].content`; names of keys are none."""
    stack: list[tuple[str, Any]] = [("", row)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, Mapping):
            stack += reversed([(f"{path}.{key}" if path else str(key), v) for key, v in value.items()])
        elif isinstance(value, list):
            stack += reversed([(f"{path}[{i}]", v) for i, v in enumerate(value)])


def _key_flaws(row: Mapping[str, Any], spec: Format, allow: Sequence[str]) -> Iterator[Flaw]:
    for key in row:
        if key not in (*spec.required, *spec.optional, *allow):
            meant = [c for c in meant_by(key) if c in spec.optional and c not in row]
            name = "column of another name" if meant else "unknown column"
            yield flaw(name, str(key), format=spec.name, meant=next(iter(meant), None))
    known = spec.turn_keys
    for place, turn in _turns(row, spec):
        for key in turn:
            if key in allow or key in known:
                continue
            name = "unknown key"
            if key in LOSS_KEYS:
                name = "loss weight"
            elif known[1] not in turn and isinstance(turn[key], str):
                name = "key that may be the text"
            values = {"key": str(key), "value": turn[key], "known": ", ".join(known), "text": known[1]}
            yield flaw(name, f"{place}.{key}", turn=place, format=spec.name, **values)


def _placed(row: Mapping[str, Any], column: str) -> list[tuple[str, Any]]:
    """The turns in a column, each with its place, such as `messages[1]`; none where it holds no list."""
    turns = row.get(column)
    return [(f"{column}[{i}]", turn) for i, turn in enumerate(turns)] if isinstance(turns, list) else []


def _turns(row: Mapping[str, Any], spec: Format) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for column in spec.turn_columns:
        yield from ((place, turn) for place, turn in _placed(row, column) if isinstance(turn, Mapping))


def _empty_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    key = spec.turn_keys[1]
    for place, turn in _turns(row, spec):
        text = turn.get(key)
        if isinstance(text, str) and not text.strip() and not turn.get("tool_calls"):
            yield flaw("says nothing", f"{place}.{key}", turn=place)
    for column in spec.required:
        text = row.get(column)
        if isinstance(text, str) and not text.strip():
            yield flaw("empty text", column)


def _turn_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    """Roles that are unknown, or in an order in which nobody talks."""
    columns = [column for column in spec.turn_columns if column != "prompt"]
    prompt = _placed(row, "prompt") if "prompt" in spec.required else []
    if not columns:  # prompt-only: the model is to answer
        yield from _order_flaws(prompt, spec, answered=False)
    for number, column in enumerate(columns):
        turns = _placed(row, column)
        found = _order_flaws(prompt + turns, spec) if turns else ()
        # What is wrong with the prompt was said with the first column.
        yield from (one for one in found if not (number and one.field.startswith("prompt[")))


def _order_flaws(turns: list[tuple[str, Any]], spec: Format, answered: bool = True) -> Iterator[Flaw]:
    role_key, roles = spec.turn_keys[0], spec.roles
    before, before_calls = None, False
    if spec.name != "sharegpt":
        yield from _result_flaws(turns)
    for place, turn in turns:
        name = turn.get(role_key) if isinstance(turn, Mapping) else None
        role = roles.get(name) if isinstance(name, str) else None
        if role is None:
            if isinstance(name, str):
                yield _unknown_role(place, name, spec)
            before, before_calls = "?", False
            continue
        calls = bool(turn.get("tool_calls")) or name == "function_call"
        wrong = _misplaced(role, before, before_calls) if before != "?" else None
        if wrong:
            of_tools = role == "tool" or before == "tool" or before_calls
            which = "order of tools" if of_tools else "order"
            yield flaw(which, f"{place}.{role_key}", turn=place, name=name, wrong=wrong)
        if not (wrong and role in ("system", "developer")):
            before, before_calls = role, calls
    if turns and answered and before not in ("assistant", "?"):
        yield flaw("no answer", turns[-1][0], last=before)
    if turns and not answered and before == "assistant":
        yield flaw("answered prompt", turns[-1][0])


def _result_flaws(turns: list[tuple[str, Any]]) -> Iterator[Flaw]:
    """Calls of one turn against the results that follow it: by their ids where both have them, else by number."""

    def said_by(role: str, turn: Any) -> bool:
        return isinstance(turn, Mapping) and turn.get("role") == role

    for at, (place, turn) in enumerate(turns):
        calls = turn.get("tool_calls") if said_by("assistant", turn) else None
        results = list(takewhile(lambda one: said_by("tool", one[1]), turns[at + 1 :]))
        # That a call has no result at all is said where the order is looked at.
        if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls) or not results:
            continue
        asked = [call.get("id") for call in calls]
        given = [result.get("tool_call_id") for _, result in results]
        if all(isinstance(one, str) for one in (*asked, *given)):
            for number, one in enumerate(asked):
                if one not in given:
                    yield flaw("call without result", f"{place}.tool_calls[{number}]", call=one)
            for (answer, _), one in zip(results, given, strict=True):
                if one not in asked:
                    yield flaw("result without call", answer, call=one, turn=place)
            if len(set(given)) < len(given) and len(set(asked)) == len(asked):
                yield flaw("answered twice", results[-1][0], turn=place)
        elif len(asked) != len(given):
            values = {"asked": len(asked), "given": len(given)}
            yield flaw("fewer results", f"{place}.tool_calls", turn=place, **values)


def _misplaced(role: str, before: str | None, before_calls: bool) -> str | None:
    """What is wrong with a turn of this role behind a turn of that one, or None."""
    beginning = before in (None, "system", "developer")
    if role in ("system", "developer"):
        return None if beginning else "comes after the conversation has begun"
    if role == "tool":
        return None if before_calls or before == "tool" else "answers a call that nobody made"
    if before_calls:
        return "follows a tool call that has no result"
    if role == "assistant" and beginning:
        return "comes before any user turn"
    return {
        ("user", "tool"): "follows a tool's result that nobody has put into words",
        ("user", "user"): "is the second user turn in a row",
        ("assistant", "assistant"): "is the second assistant turn in a row",
    }.get((role, before))


def _unknown_role(place: str, name: str, spec: Format) -> Flaw:
    known = list(SHAREGPT_ROLES if spec.name == "sharegpt" else ROLES)
    todo = f"Use one of: {', '.join(known)}."
    if name in SHAREGPT_ROLES:
        todo = f"That is ShareGPT's name for {SHAREGPT_ROLES[name]!r}; rename it. {todo}"
    elif name.strip().lower() in known:
        todo = f"Write {name.strip().lower()!r}, without capitals or spaces."
    return flaw("unknown role", f"{place}.{spec.turn_keys[0]}", turn=place, name=name, todo=todo)


def _preference_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    alike = type(chosen) is type(rejected) and isinstance(chosen, (str, list)) and chosen and rejected
    if "rejected" not in spec.required or not alike:
        return
    if chosen == rejected:
        yield flaw("no preference", "rejected")
    elif "prompt" not in spec.required and not shared_prompt(chosen, rejected):
        yield flaw("nothing shared", "chosen")


def repeats_prompt(row: Mapping[str, Any], spec: Format) -> bool:
    """Whether every answer of a row begins with its prompt, text or turns."""
    prompt, answers = row.get("prompt"), [row.get(column) for column in spec.answers]
    in_format = "prompt" in spec.required and answers
    if not in_format or not prompt or not all(type(answer) is type(prompt) for answer in answers):
        return False
    if isinstance(prompt, str):
        return bool(prompt.strip()) and all(a.lstrip().startswith(prompt.strip()) for a in answers)
    return isinstance(prompt, list) and all(a[: len(prompt)] == prompt for a in answers)


def not_utf8(row: Any) -> Flaw | None:
    """The first text in a row with bytes that were not UTF-8, as a flaw; None where all could be decoded."""
    broken = (encoding_flaws(path, text) for path, text in texts(row) if SURROGATE.search(text))
    found = next(chain.from_iterable(broken), None)
    return found and found._replace(detail=printable(found.detail))


def encoding_flaws(path: str, text: str) -> Iterator[Flaw]:
    """What in a text shows that it was saved or read wrongly."""
    for name, pattern in _SPOILT.items():
        found = next((found for found in pattern.finditer(text) if not _ends_in_tilde(text, found)), None)
        if found:
            code, start = ord(found[0][0]), max(0, found.start() - 12)
            around = " ".join(text[start : found.end() + 12].split())
            byte = f"the byte 0x{code - 0xDC00:02X}, which is not UTF-8" if 0xDC80 <= code <= 0xDCFF else None
            values = {"what": byte or "half of a surrogate pair", "mended": _mended(found[0])}
            yield flaw(name, path, code=code, around=around, **values)


def _ends_in_tilde(text: str, found: re.Match) -> bool:
    """The Ã of "AMANHÃ…" or "“AMANHÃ”": it ends a word in capitals, and what follows is punctuation of the text."""
    before, after, mark = text[: found.start()], text[found.end() :][:1], found[0][1:]
    if found[0][0] != "Ã" or (after.isalpha() and not (mark == "—" and after.islower())):
        return False
    if mark in _OPENED_BY:  # "CÃ”" could be "CÔ"; after an opening quote it is not
        quotes = [
            c for i, c in enumerate(before) if c in (mark, _OPENED_BY[mark]) and before[i - 1 : i] != "Ã"
        ]
        return quotes[-1:] == [_OPENED_BY[mark]] and (
            before[-1].isupper() or before[-1] in _OPENED_BY.values()
        )
    return mark in ("…", "—") and before[-2:].isalpha() and before[-2:].isupper()  # "PÃ…" is Swedish "PÅ"


def _mended(garbled: str) -> str:
    """What mojibake stands for, as an addition to a sentence; nothing where that cannot be told."""
    with suppress(KeyError, UnicodeDecodeError):
        meant = bytes(_BYTE_OF[character] for character in garbled).decode("utf-8")
        return f" ({garbled!r} for {meant!r})"
    return ""


def _special_flaws(path: str, text: str, special: Mapping[str, str], spec: Format) -> Iterator[Flaw]:
    for token, whose in special.items():
        # A document may end with its end-of-document token.
        ends = whose == "" and spec.name == "text" and text.count(token) == 1 and text.endswith(token)
        if token in text and not ends:
            own = whose in ("", "tokenizer")
            whose = f"the given tokenizer's {token}" if own else f"{token} ({whose})"
            yield flaw("special token", path, whose=whose)


def special_tokens(tokenizer: Any) -> dict[str, str]:
    """{token: whose it is}: of well-known families, and of the given tokenizer ("" for its end of document)."""
    # Marks that well-known models read as structure, not as text, and whose they are.
    special = json.loads(Path(__file__).with_name("special_tokens.json").read_text(encoding="utf-8"))
    if tokenizer is not None:
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        own = [str(token) for token in added if token.special] + [*tokenizer.all_special_tokens]
        special |= {token: "tokenizer" for token in own if token}
        if tokenizer.eos_token:
            special[tokenizer.eos_token] = ""
    return special


def printable(cell: Any) -> Any:
    """Text without lone surrogates, which no terminal, file or browser takes."""

    def name(found: re.Match) -> str:
        code = ord(found[0])
        return f"\\x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04X}"

    return SURROGATE.sub(name, cell) if isinstance(cell, str) else cell
