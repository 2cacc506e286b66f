"""Lesson 03's gallery: how the chat-template families differ, measured by rendering."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from course_utils.roles import common_prefix
from course_utils.templates import FAMILIES, Family, family, render
from course_utils.tokens import visible_token

_S, _U1, _A1, _U2, _T = "⁂s⁂", "⁂u⁂", "⁂a⁂", "⁂v⁂", "⁂t⁂"  # texts that occur in no template


def differences(names: Iterable[str | Family] | None = None, **variables: Any) -> pd.DataFrame:
    """Compare families by what they write, one row each; every cell comes from rendering.

    Columns: bos (where it stands), user_turn (all around the user's text), generation_prompt, end_of_turn
    (what follows an answer, up to its end token), newline_after (whether a line break follows that),
    system (what becomes of a system message), injected (what is written that nobody asked for), and
    history_is_kept (whether a turn keeps its text, and its thought, once more turns follow). White space is shown as ␣
    and ↵.
    """
    chosen = [family(name) for name in (names if names is not None else FAMILIES)]
    rows = [_differences_of(one, variables) for one in chosen]
    return pd.DataFrame(rows, index=pd.Index([one.name for one in chosen], name="family"))


def _differences_of(chosen: Family, variables: Mapping[str, Any]) -> dict[str, Any]:
    user, answer, again = (
        {"role": r, "content": c} for r, c in (("user", _U1), ("assistant", _A1), ("user", _U2))
    )
    one = render(chosen, [user], **variables)
    asked = render(chosen, [user], add_generation_prompt=True, **variables)
    closed = render(chosen, [user, answer], **variables)
    long = render(chosen, [user, answer, again], **variables)
    thought = answer | {"reasoning_content": _T}
    talks = [[user, answer, again], [{"role": "system", "content": _S}, user, answer, again]]
    talks.append([user, thought, again])
    between = long[long.index(_A1) + len(_A1) : long.index(_U2)]
    # Where nothing follows an answer, the next role's header is all that ends it.
    end = "" if closed.endswith(_A1) else _through_first(chosen.special_tokens, between)
    rest = between[len(end) :]
    header = rest.removeprefix("\n")
    place = _bos_place(chosen, long)
    bos = "" if place == "opens every turn" else chosen.bos or ""
    before = one[: one.index(_U1)]
    injected = before.removesuffix(header.removeprefix(bos)).removeprefix(bos)
    shared = _shared_start(one, asked)
    return {
        "bos": place,
        "user_turn": f"{_shown(header)}…{_shown(_closing(one, shared))}",
        "generation_prompt": _shown(asked[shared:]) or "none of its own",
        "end_of_turn": _shown(end) or "none of its own",
        "newline_after": rest.startswith("\n"),
        "system": _system_place(chosen, header, bos, variables),
        "injected": _shown(injected, 60) or "nothing",
        "history_is_kept": all(_keeps_turns(chosen, talk, end, variables) for talk in talks),
    }


def _bos_place(chosen: Family, text: str) -> str:
    count = text.count(chosen.bos) if chosen.bos else 0
    if not chosen.bos:
        return "has none"
    if not text.startswith(chosen.bos):
        return "left to the tokenizer" if chosen.tokenizer_adds_bos else "not written"
    if chosen.bos in chosen.end_of_turn or count == 1:
        return "once, in front"
    return "before each exchange" if count == text.count(_U1) + text.count(_U2) else "opens every turn"


def _system_place(chosen: Family, header: str, bos: str, variables: Mapping[str, Any]) -> str:
    """In words, what becomes of a system message; with its header where it gets one."""
    roles = (("system", _S), ("user", _U1), ("assistant", _A1), ("user", _U2))
    try:
        text = render(chosen, [{"role": r, "content": c} for r, c in roles], **variables)
    except ValueError as error:
        return f"refused: {str(error.__cause__ or error).rstrip('.')}"
    start = text.index(_S)
    if start > text.index(_A1):
        return "inside the last user turn"
    between = text[start + len(_S) : text.index(_U1)]
    if not between.endswith(header.removeprefix(bos)):
        return "inside the first user turn"
    before = text[:start].removeprefix(bos)
    for token in chosen.end_of_turn:
        before = before.rpartition(token)[2]
    return f"own turn: {_shown(before, 60)}…" if before.strip() else "bare text, no mark"


def _keeps_turns(chosen: Family, talk: list[dict], end: str, variables: Mapping[str, Any]) -> bool:
    """Whether a conversation reads the same up to the end of its answer once the last question has followed."""
    try:
        long, closed = (render(chosen, talk[:count], **variables) for count in (len(talk), len(talk) - 1))
    except ValueError:
        return True  # a family without system messages
    return closed.startswith(long[: long.index(_A1) + len(_A1) + len(end)])


def _through_first(special_tokens: Sequence[str], text: str) -> str:
    """`text` up to and with the first special token in it."""
    ends = [(text.index(token), len(token)) for token in special_tokens if token in text]
    return text[: sum(min(ends))] if ends else text


def _closing(one: str, shared: int) -> str:
    """What follows the user's text and belongs to its turn, whether or not an answer is asked for."""
    return one[one.index(_U1) + len(_U1) : shared]


def _shared_start(one: str, other: str) -> int:
    """How much of two renderings is the same, without cutting a `<|…|>` in two."""
    size = common_prefix(one, other)
    cut = re.search(r"<[|｜]?$", one[:size])
    return cut.start() if cut and size < min(len(one), len(other)) else size


def _shown(text: str, limit: int = 80) -> str:
    text = visible_token(text) if text else ""
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
