"""What can be wrong with one row: its format, keys, turns, text. Each check yields flaws and never raises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from .files import Record
from .specs import (
    FORMATS,
    LOSS_KEYS,
    MESSAGE_KEYS,
    OTHER_NAMES,
    ROLES,
    SHAREGPT_ROLES,
    SHAREGPT_SYNONYMS,
    TURN_KEYS,
    Flaw,
    Format,
    other_coat,
    same_key,
    turn_keys,
    type_flaws,
    unknown_format,
)
from .steps import shared_prompt

# Marks that well-known models read as structure, not as text, and whose they are.
_WELL_KNOWN = {
    "<|im_start|>": "ChatML", "<|im_end|>": "ChatML", "<|im_sep|>": "Phi-4", "<|endoftext|>": "GPT-2 and many others",
    "<|begin_of_text|>": "Llama 3", "<|end_of_text|>": "Llama 3, Granite", "<|eot_id|>": "Llama 3",
    "<|start_header_id|>": "Llama 3", "<|end_header_id|>": "Llama 3", "<s>": "Llama 2, Mistral",
    "</s>": "Llama 2, Mistral, Zephyr", "[INST]": "Llama 2, Mistral", "[/INST]": "Llama 2, Mistral",
    "<<SYS>>": "Llama 2", "<</SYS>>": "Llama 2", "<start_of_turn>": "Gemma", "<end_of_turn>": "Gemma",
    "<bos>": "Gemma", "<eos>": "Gemma", "<|user|>": "Zephyr, Phi-3, Tülu", "<|assistant|>": "Zephyr, Phi-3, Tülu",
    "<|system|>": "Zephyr, Phi-3, Tülu", "<|end|>": "Phi-3, gpt-oss", "<|start|>": "gpt-oss",
    "<|message|>": "gpt-oss", "<|channel|>": "gpt-oss", "<|return|>": "gpt-oss",
    "<｜User｜>": "DeepSeek", "<｜Assistant｜>": "DeepSeek", "<｜begin▁of▁sentence｜>": "DeepSeek",
    "<｜end▁of▁sentence｜>": "DeepSeek", "<|start_of_role|>": "Granite", "<|end_of_role|>": "Granite",
    "<|fim_prefix|>": "code models", "<|fim_middle|>": "code models", "<|fim_suffix|>": "code models",
}  # fmt: skip

# Mojibake: UTF-8 read as Windows-1252. Each character of such a text stands for one byte.
_BYTE_OF = {
    bytes([b]).decode("cp1252"): b for b in range(0x80, 0xC0) if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_BYTE_OF |= {chr(b): b for b in range(0x80, 0x100)}
_TAIL = "[" + "".join(c for c, b in _BYTE_OF.items() if b < 0xC0) + "]"
_SEQUENCE = f"(?:[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|[ð-ô]{_TAIL}{{3}})"
_MOJIBAKE = re.compile(f"(?:Â[\x80-\xbf]|Ã{_TAIL}|â[€‚„†ˆ‰Šœž™š]{_TAIL}|ðŸ{_TAIL}{{2}}|{_SEQUENCE}{{2,}})+")
SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_ORDER_TODO = "After an optional system turn, user and assistant take turns, and the user begins."

# --- one row ------------------------------------------------------------------------------------------------


def row_flaws(
    row: Any,
    name: str | None,
    main: str | None,
    counted: Counter,
    special: Mapping[str, str],
    allow: Sequence[str],
    repeats: bool = False,
) -> Iterator[Flaw]:
    """All flaws of one row; with `repeats`, its answers are known to hold the prompt once more."""
    yield from (flaw for path, text in texts(row) for flaw in encoding_flaws(path, text))
    if name is None:
        what, todo = unknown_format(row)
        yield Flaw("", "unknown format", f"The row {what}.", todo)
        return
    spec = FORMATS[name]
    if name != main:
        detail = f"This row is {name}; most rows ({counted[main]} of {counted.total()}) are {main}."
        yield Flaw("", "mixed formats", detail, f"Put it into a file of its own, or convert it to {main}.")
    yield from type_flaws(row, spec)
    if any(other_coat(row.get(column), spec) for column in spec.turn_columns):
        return  # said in one sentence; every turn would be accused of the same
    yield from _key_flaws(row, spec, allow)
    yield from _empty_flaws(row, spec)
    if not repeats:
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
            detail = (
                f"The column {str(key)!r} is no part of {spec.name}; most trainers ignore it without a word."
            )
            meant = [c for c in OTHER_NAMES.get(str(key).lower(), ()) if c in spec.optional and c not in row]
            todo = (
                f"Rename it to {meant[0]!r}."
                if meant
                else "If it belongs to the example, put it where the format has a place"
            )
            todo = todo if meant else f"{todo}; if it is only a note, pass allow=[{str(key)!r}]."
            yield Flaw(str(key), "unknown key", detail, todo)
    known = TURN_KEYS if spec.name == "sharegpt" else MESSAGE_KEYS
    for path, turn in _turns(row, spec):
        for key in turn:
            if key in LOSS_KEYS and key not in allow:
                detail = (
                    f"{path}.{key} = {turn[key]!r} says whether the turn is learned; "
                    "most trainers, TRL among them, ignore it."
                )
                todo = (
                    "batches.loss_mask honours it (0 or false: left out). "
                    f"If your trainer does, pass allow=[{str(key)!r}]."
                )
                yield Flaw(f"{path}.{key}", "loss weight", detail, todo)
            elif key not in (*known, *allow):
                detail = f"{path} has the key {str(key)!r}, which {spec.name} does not know."
                yield Flaw(
                    f"{path}.{key}",
                    "unknown key",
                    detail,
                    _turn_key_advice(str(key), turn, known),
                )


def _turn_key_advice(key: str, turn: Mapping[str, Any], known: Sequence[str]) -> str:
    if known[1] not in turn and isinstance(turn[key], str):
        return f"If it is what was said, rename it to {known[1]!r}."
    return f"Rename it to one of {', '.join(known)} if it is one of these; if it is only a note, pass allow=[{key!r}]."


def _turns(row: Mapping[str, Any], spec: Format) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for column in spec.turn_columns:
        turns = row.get(column)
        for i, turn in enumerate(turns if isinstance(turns, list) else []):
            if isinstance(turn, Mapping):
                yield f"{column}[{i}]", turn


def _empty_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    todo = "Fill it in: an empty answer teaches the model to say nothing."
    key = turn_keys(spec)[1]
    for path, turn in _turns(row, spec):
        text = turn.get(key)
        if isinstance(text, str) and not text.strip() and not turn.get("tool_calls"):
            yield Flaw(f"{path}.{key}", "empty turn", f"{path} says nothing.", todo)
    for column in spec.required:
        text = row.get(column)
        if isinstance(text, str) and not text.strip():
            yield Flaw(column, "empty text", f"{column} is empty.", todo)


# --- turns ----------------------------------------------------------------------------------------------------


def _turn_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    """Roles that are unknown, or in an order in which nobody talks."""
    columns = [column for column in spec.turn_columns if column != "prompt" and column in spec.required]
    if not spec.conversational:
        return
    shared = row.get("prompt") if "prompt" in spec.required else []
    shared = shared if isinstance(shared, list) else []
    if not columns:  # prompt-only: the model is to answer
        yield from _order_flaws(_named("prompt", shared), spec, answered=False)
    for number, column in enumerate(columns):
        turns = row.get(column)
        if not isinstance(turns, list) or not turns:
            continue
        flaws = list(_order_flaws(_named("prompt", shared) + _named(column, turns), spec))
        seen_before = [f for f in flaws if number and f.field.startswith("prompt[")]
        yield from (flaw for flaw in flaws if flaw not in seen_before)


def _named(column: str, turns: list) -> list[tuple[str, Any]]:
    return [(f"{column}[{i}]", turn) for i, turn in enumerate(turns)]


def _order_flaws(turns: list[tuple[str, Any]], spec: Format, answered: bool = True) -> Iterator[Flaw]:
    role_key = turn_keys(spec)[0]
    before, before_calls, broken = None, False, False
    if spec.name != "sharegpt":
        yield from _result_flaws(turns)
    for path, turn in turns:
        name = turn.get(role_key) if isinstance(turn, Mapping) else None
        role = role_of(name, spec)
        if role is None:
            broken = True
            if isinstance(name, str):
                yield _unknown_role(path, name, spec)
            before, before_calls = "?", False
            continue
        calls = bool(turn.get("tool_calls")) or name == "function_call"
        wrong = _misplaced(role, before, before_calls) if before != "?" else None
        if wrong:
            todo = "Give each call its result as a tool turn, and then an answer."
            todo = todo if role == "tool" or before == "tool" or before_calls else _ORDER_TODO
            yield Flaw(f"{path}.{role_key}", "wrong role order", f"{path} ({name}) {wrong}.", todo)
        if not (wrong and role in ("system", "developer")):
            before, before_calls = role, calls
    if not turns:
        return
    if answered and before != "assistant" and not (broken and before == "?"):
        where = f"The conversation ends with a {before} turn; no assistant's answer is there to learn."
        yield Flaw(
            turns[-1][0], "missing assistant turn", where, "Add the answer, or cut what follows the last one."
        )
    if not answered and before == "assistant":
        detail = "The prompt ends with an assistant turn, where the model is to begin one."
        yield Flaw(turns[-1][0], "wrong role order", detail, "Cut the prompt after the user's last turn.")


def _result_flaws(turns: list[tuple[str, Any]]) -> Iterator[Flaw]:
    """Calls of one turn against the results that follow it: by their ids where both have them, else by number."""
    for at, (path, turn) in enumerate(turns):
        calls = (
            turn.get("tool_calls") if isinstance(turn, Mapping) and turn.get("role") == "assistant" else None
        )
        if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
            continue
        results = list(
            takewhile(lambda t: isinstance(t[1], Mapping) and t[1].get("role") == "tool", turns[at + 1 :])
        )
        asked = [call.get("id") for call in calls]
        given = [result.get("tool_call_id") for _, result in results]
        if not results:
            continue  # that a call has no result at all is said where the order is looked at
        todo = (
            "Give each call one result: a tool turn with the call's id as tool_call_id, in the calls' order."
        )
        if all(isinstance(one, str) for one in (*asked, *given)):
            for number in (i for i, one in enumerate(asked) if one not in given):
                detail = f"The call {asked[number]!r} has no result among the tool turns that follow."
                yield Flaw(f"{path}.tool_calls[{number}]", "call without result", detail, todo)
            for place, one in ((p, r.get("tool_call_id")) for p, r in results):
                if one not in asked:
                    yield Flaw(
                        place,
                        "result without call",
                        f"{place} answers {one!r}, which {path} does not call.",
                        todo,
                    )
            if len(set(given)) < len(given) and len(set(asked)) == len(asked):
                yield Flaw(
                    results[-1][0], "result without call", f"A call of {path} is answered twice.", todo
                )
        elif len(asked) != len(given):
            detail = f"{path} makes {len(asked)} calls, and {len(given)} results follow."
            yield Flaw(f"{path}.tool_calls", "call without result", detail, todo)


def role_of(name: Any, spec: Format) -> str | None:
    """The role by its name among messages, or None for an unknown one."""
    if not isinstance(name, str):
        return None
    if spec.name == "sharegpt":
        return SHAREGPT_ROLES.get(name) or SHAREGPT_SYNONYMS.get(name)
    return name if name in ROLES else None


def _misplaced(role: str, before: str | None, before_calls: bool) -> str | None:
    """What is wrong with a turn of this role behind a turn of that one, or None."""
    if role in ("system", "developer"):
        return None if before in (None, "system", "developer") else "comes after the conversation has begun"
    if role == "tool":
        return None if before_calls or before == "tool" else "answers a call that nobody made"
    if before_calls:
        return "follows a tool call that has no result"
    if role == "user":
        if before == "tool":
            return "follows a tool's result that nobody has put into words"
        return "is the second user turn in a row" if before == "user" else None
    if before in (None, "system", "developer"):
        return "comes before any user turn"
    return "is the second assistant turn in a row" if before == "assistant" else None


def _unknown_role(path: str, name: str, spec: Format) -> Flaw:
    role_key = turn_keys(spec)[0]
    known = ", ".join(SHAREGPT_ROLES if spec.name == "sharegpt" else ROLES)
    todo = f"Use one of: {known}."
    if name in SHAREGPT_ROLES:
        todo = f"That is ShareGPT's name for {SHAREGPT_ROLES[name]!r}; rename it. {todo}"
    elif name.strip().lower() in known.split(", "):
        todo = f"Write {name.strip().lower()!r}, without capitals or spaces."
    return Flaw(f"{path}.{role_key}", "unknown role", f"{path} is spoken by {name!r}.", todo)


# --- preferences, repeats, text -------------------------------------------------------------------------------


def _preference_flaws(row: Mapping[str, Any], spec: Format) -> Iterator[Flaw]:
    if not {"chosen", "rejected"} <= set(spec.required):
        return
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if (
        type(chosen) is not type(rejected)
        or not isinstance(chosen, (str, list))
        or not chosen
        or not rejected
    ):
        return
    if chosen == rejected:
        detail = "chosen and rejected are the same, so there is nothing to prefer."
        yield Flaw("rejected", "no difference", detail, "Find the answer that was rejected.")
    elif "prompt" not in spec.required and not shared_prompt(chosen, rejected):
        detail = "chosen and rejected share no beginning, so there is no prompt that both answer."
        yield Flaw(
            "chosen",
            "no shared prompt",
            detail,
            "Begin both with the prompt, or give it a column of its own.",
        )


def repeats_prompt(row: Mapping[str, Any], name: str | None) -> bool:
    """Whether every answer of a row begins with its prompt, text or turns."""
    spec = FORMATS.get(name or "")
    if spec is None or "prompt" not in spec.required or len(spec.required) < 2:
        return False
    prompt = row.get("prompt")
    answers = [row.get(column) for column in ("chosen", "rejected", "completion") if column in spec.required]
    if not prompt or not all(type(answer) is type(prompt) for answer in answers):
        return False
    if isinstance(prompt, str):
        return bool(prompt.strip()) and all(a.lstrip().startswith(prompt.strip()) for a in answers)
    return isinstance(prompt, list) and all(a[: len(prompt)] == prompt for a in answers)


def repeated_prompt_flaw(name: str) -> Flaw:
    columns = " and ".join(c for c in ("chosen", "rejected", "completion") if c in FORMATS[name].required)
    detail = (
        f"{columns} begin with the prompt, here and in every other row; "
        "trainers put it in front, so it is shown twice."
    )
    todo = f"Let {columns} begin behind the prompt: row[column][len(row['prompt']):]."
    return Flaw("prompt", "prompt repeated", detail, todo)


def repeat_flaws(record: Record, name: str | None, first_seen: dict[str, int]) -> Iterator[Flaw]:
    row = record.value
    if name:  # an id that differs does not make a different example
        row = {column: row.get(column) for column in (*FORMATS[name].required, *FORMATS[name].optional)}
    first = first_seen.setdefault(same_key(row), record.row)
    if first != record.row:
        detail = f"The same example is in row {first}."
        yield Flaw("", "duplicate row", detail, "Keep one of them; a repeated row counts twice in the loss.")


def not_utf8(row: Any) -> Flaw | None:
    """The first text in a row with bytes that were not UTF-8, as a flaw; None where all could be decoded."""
    found = (
        flaw for path, text in texts(row) if SURROGATE.search(text) for flaw in encoding_flaws(path, text)
    )
    flaw = next(found, None)
    return flaw and flaw._replace(detail=printable(flaw.detail))


def encoding_flaws(path: str, text: str) -> Iterator[Flaw]:
    broken = SURROGATE.search(text)
    if broken:
        code = ord(broken[0])
        byte = f"the byte 0x{code - 0xDC00:02X}, which is not UTF-8" if 0xDC80 <= code <= 0xDCFF else None
        detail = f"It holds {byte or 'half of a surrogate pair'}: …{_around(text, broken)}…"
        yield Flaw(path, "bad encoding", detail, "Find out how the text was saved, and save it as UTF-8.")
    garbled = _MOJIBAKE.search(text)
    if garbled:
        mended = _mended(garbled[0])
        detail = f"…{_around(text, garbled)}… looks like UTF-8 that was read as Windows-1252"
        detail += f" ({garbled[0]!r} for {mended!r})." if mended else "."
        yield Flaw(path, "mojibake", detail, "Read the original file again as UTF-8.")
    if "\ufffd" in text:
        lost = re.search("\ufffd", text)
        detail = f"It holds the replacement character: …{_around(text, lost)}…"
        yield Flaw(
            path,
            "bad encoding",
            detail,
            "A character was lost when the text was read; read the source again.",
        )
    control = _CONTROL.search(text)
    if control:
        detail = f"It holds the control character U+{ord(control[0]):04X}."
        yield Flaw(path, "bad encoding", detail, "Remove it.")


def _around(text: str, match: re.Match) -> str:
    return " ".join(text[max(0, match.start() - 12) : match.end() + 12].split())


def _mended(garbled: str) -> str | None:
    try:
        return bytes(_BYTE_OF[character] for character in garbled).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None


def _special_flaws(path: str, text: str, special: Mapping[str, str], spec: Format) -> Iterator[Flaw]:
    for token, whose in special.items():
        if token not in text:
            continue
        if whose == "" and spec.name == "text" and text.count(token) == 1 and text.endswith(token):
            continue  # a document may end with its end-of-document token
        whose = f"the given tokenizer's {token}" if whose in ("", "tokenizer") else f"{token} ({whose})"
        detail = f"The text holds {whose}, which a model reads as structure and not as text."
        todo = "Remove it, or tokenize with split_special_tokens=True. Turns belong in messages, not in the text."
        yield Flaw(path, "special token in text", detail, todo)


def special_tokens(tokenizer: Any) -> dict[str, str]:
    """{token: whose it is}: of well-known families, and of the given tokenizer ("" for its end of document)."""
    special = dict(_WELL_KNOWN)
    if tokenizer is not None:
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        own = [str(token) for token in added if token.special] + [*tokenizer.all_special_tokens]
        special |= {token: "tokenizer" for token in own if token}
        if tokenizer.eos_token:
            special[tokenizer.eos_token] = ""
    return special


def printable(cell: Any) -> Any:
    """Text without lone surrogates, which no terminal, file or browser takes."""
    if not isinstance(cell, str):
        return cell
    return SURROGATE.sub(_surrogate_name, cell)


def _surrogate_name(match: re.Match) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04X}"
