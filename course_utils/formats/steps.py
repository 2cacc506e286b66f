"""The single steps from one format to a neighbour of it. What a step gives up it declares.

`STEPS[source][target]` takes numbered rows and gives numbered rows; the order of the targets decides between
equally short ways.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .alpaca import alpaca_prompt, read_alpaca_prompt
from .flaws import error_text
from .normal import from_json
from .specs import FORMATS, SHAREGPT_ROLES, Format, FormatError, same_key

Turn = dict[str, Any]
Row = dict[str, Any]


class Loss(NamedTuple):
    """What a conversion gives up: in which row (from 1), in which field, and what."""

    row: int
    field: str
    lost: str


Lose = Callable[[str, str], None]
RowStep = Callable[[Row, Lose], Row]
Numbered = list[tuple[int, Row]]
TableStep = Callable[[Numbered, Callable[[int], Lose]], Numbered]
STEPS: dict[str, dict[str, TableStep]] = {name: {} for name in FORMATS}


def _step(source: str, target: str) -> Callable[[RowStep], RowStep]:
    """Register a function from a row's own columns to the new columns; other columns are carried along."""

    def register(function: RowStep) -> RowStep:
        def table_step(numbered: Numbered, losing: Callable[[int], Lose]) -> Numbered:
            spec, done = FORMATS[source], []
            for number, row in numbered:
                own = {column: row[column] for column in (*spec.required, *spec.optional) if column in row}
                try:
                    new = function(own, losing(number))
                    done.append((number, new | _carried(row, spec, new)))
                except FormatError as error:
                    raise FormatError(f"Row {number}: {error}") from None
            return done

        STEPS[source][target] = table_step
        return function

    return register


# Columns that hold a part of the conversation in some data sets: carrying them along would hide them.
_HOLDS_CONTENT = {column for spec in FORMATS.values() for column in spec.required} | {"system", "history"}


def _carried(row: Row, spec: Format, new: Row) -> Row:
    """The columns of a row that say the same in every format: `tools`, `id`, and those that its own does not know."""
    own = {*spec.required, *spec.optional} - {"tools", "id"}
    extra = {k: v for k, v in row.items() if k not in own and k not in new}
    if "tools" in new and new["tools"] is None:
        del new["tools"]
    unclear = sorted(_HOLDS_CONTENT & set(extra))
    if unclear:
        raise FormatError(error_text("column hidden", column=unclear[0], format=spec.name))
    return extra


# --- texts as turns and back, and Alpaca's --------------------------------------------------------------------


def _without(row: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


def _said(role: str, text: str) -> list[Turn]:
    return [{"role": role, "content": text}]


def _wrap(row: Row, lose: Lose) -> Row:
    """Each text as one turn: the prompt of the user, anything else of the assistant."""
    roles = {"prompt": "user"}
    return {c: v if c == "label" else _said(roles.get(c, "assistant"), v) for c, v in row.items()}


def _unwrap(row: Row, lose: Lose) -> Row:
    """Of each list of turns the text of its last one."""
    return {c: v if c == "label" else _only(v, c, lose) for c, v in row.items() if c != "tools"}


def _only(turns: list[Turn], field: str, lose: Lose) -> str:
    """The text of the last turn, in a prompt the user's, else the assistant's; all else is declared lost."""
    role = "user" if field == "prompt" else "assistant"
    last = next((i for i in reversed(range(len(turns))) if turns[i]["role"] == role), None)
    if last is None or not isinstance(turns[last].get("content"), str):
        raise FormatError(error_text("no turn with text", field=field, role=role))
    for i, turn in enumerate(turns):
        if i == last:
            _lose_keys(turn, ("role", "content"), f"{field}[{i}]", "a string", lose)
        else:
            further = f"a string has no place for a further turn ({turn['role']}); a chat template has"
            lose(f"{field}[{i}]", further)
    return turns[last]["content"]


def _lose_keys(holder: Row, kept: tuple[str, str], place: str, who: str, lose: Lose) -> None:
    for key in set(holder) - set(kept):
        lose(f"{place}.{key}", f"{who} has no place for it")


for _name in ("prompt-completion", "prompt-only", "preference", "unpaired-preference"):
    _step(_name, f"conversational-{_name}")(_wrap)


@_step("alpaca", "messages")
def _(row: Row, lose: Lose) -> Row:
    content = row["instruction"]
    if row.get("input"):
        content += "\n\n" + row["input"]
        lose("input", "is joined to the instruction by a blank line; where it began is not kept")
    return {"messages": _said("user", content) + _said("assistant", row["output"])}


@_step("alpaca", "prompt-completion")
def _alpaca_apart(row: Row, lose: Lose) -> Row:
    prompt = alpaca_prompt(row["instruction"], row.get("input") or "")
    read = read_alpaca_prompt(prompt)
    if read is None or read["instruction"] != row["instruction"] or read["output"]:
        lose("instruction", "holds a heading of Alpaca's template, so the parts cannot be told apart again")
    return {"prompt": prompt, "completion": row["output"]}


_step("alpaca", "text")(lambda row, lose: {"text": "".join(_alpaca_apart(row, lose).values())})


def _read(text: str, otherwise: str) -> Row:
    """The parts of a text in Alpaca's template; a FormatError of the kind `otherwise` for any other text."""
    read = read_alpaca_prompt(text)
    if read is None:
        raise FormatError(error_text(otherwise))
    return read


_step("text", "alpaca")(lambda row, lose: _read(row["text"], "not Alpaca's"))


@_step("text", "prompt-completion")
def _(row: Row, lose: Lose) -> Row:
    read = _read(row["text"], "no end of prompt")
    return {"prompt": alpaca_prompt(read["instruction"], read["input"]), "completion": read["output"]}


@_step("prompt-completion", "text")
def _(row: Row, lose: Lose) -> Row:
    text = row["prompt"] + row["completion"]
    read = read_alpaca_prompt(text)
    if read is None or alpaca_prompt(read["instruction"], read["input"]) != row["prompt"]:
        lose("prompt", "runs on into the completion; where it ended is not kept, so the loss falls on it too")
    return {"text": text}


@_step("prompt-completion", "alpaca")
def _(row: Row, lose: Lose) -> Row:
    read = read_alpaca_prompt(row["prompt"])
    if read is not None and not read["output"]:
        return {**read, "output": row["completion"]}
    lose("prompt", "is not in Alpaca's template, which every reader of Alpaca rows will put around it")
    return {"instruction": row["prompt"], "input": "", "output": row["completion"]}


# --- whole conversations --------------------------------------------------------------------------------------


def _cut_answer_off(row: Row, lose: Lose) -> Row:
    """A conversation as prompt and completion: the last turn, if it is the assistant's, is the completion."""
    turns = row["messages"]
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise FormatError(error_text("not answered"))
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _join_turns(row: Row, lose: Lose) -> Row:
    if not row["prompt"] or [turn["role"] for turn in row["completion"]] != ["assistant"]:
        lose("completion", "is not the last assistant turn alone; where it began is not kept")
    return {"messages": row["prompt"] + row["completion"]}


@_step("sharegpt", "messages")
def _(row: Row, lose: Lose) -> Row:
    if {"function_call", "observation"} & {turn["from"] for turn in row["conversations"]}:
        raise FormatError(error_text("calls a tool"))
    return _sharegpt_to_messages(row, lose)


_TO_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def _messages_to_sharegpt(row: Row, lose: Lose) -> Row:
    turns = []
    for i, message in enumerate(row["messages"]):
        extra = _without(message, "role", "content", "tool_calls")
        role, content = message["role"], message.get("content") or ""
        if role == "developer":
            lose(f"messages[{i}].role", "'developer' becomes 'system'")
            role = "system"
        if role not in _TO_SHAREGPT:
            raise FormatError(error_text("no name for a role", role=role))
        if message.get("tool_calls"):
            if content:
                lose(f"messages[{i}].content", "ShareGPT has no place for a text beside a call")
            calls = _calls_as_text(message["tool_calls"], i, lose)
            turns.append({"from": "function_call", "value": calls, **extra})
        else:
            turns.append({"from": _TO_SHAREGPT[role], "value": content, **extra})
    return {"conversations": turns}


def _calls_as_text(calls: list[dict], turn: int, lose: Lose) -> str:
    """Calls as LLaMA-Factory writes them: one JSON object, or a list of them."""
    written = []
    for i, call in enumerate(calls):
        place = f"messages[{turn}].tool_calls[{i}]"
        _lose_keys(call, ("type", "function"), place, "ShareGPT", lose)
        # OpenAI writes the arguments as JSON in a string.
        written.append({k: from_json(v) if k == "arguments" else v for k, v in call["function"].items()})
    return json.dumps(written[0] if len(written) == 1 else written, ensure_ascii=False)


@_step("sharegpt", "tool-calls")
def _sharegpt_to_messages(row: Row, lose: Lose) -> Row:
    messages = []
    for i, turn in enumerate(row["conversations"]):
        extra = _without(turn, "from", "value")
        name = turn["from"]
        if name == "function_call":
            messages.append({"role": "assistant", "tool_calls": _calls_from_text(turn["value"]), **extra})
            continue
        role = FORMATS["sharegpt"].roles.get(name)
        if role is None:
            raise FormatError(error_text("not ShareGPT's role", name=name, known=", ".join(SHAREGPT_ROLES)))
        if name not in SHAREGPT_ROLES:
            lose(f"conversations[{i}].from", f"the name {name!r} becomes {role!r}")
        messages.append({"role": role, "content": turn["value"], **extra})
    return {"messages": messages}


def _calls_from_text(text: str) -> list[dict]:
    calls = from_json(text)
    calls = calls if isinstance(calls, list) else [calls]
    if not calls or not all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in calls):
        raise FormatError(error_text("no call"))
    return [{"type": "function", "function": call} for call in calls]


for _name in ("messages", "tool-calls"):
    _step(_name, "conversational-prompt-completion")(_cut_answer_off)
    _step(_name, "sharegpt")(_messages_to_sharegpt)
    _step("conversational-prompt-completion", _name)(_join_turns)


@_step("messages", "alpaca")
def _(row: Row, lose: Lose) -> Row:
    messages = row["messages"]
    if len(messages) < 2 or [m["role"] for m in messages[-2:]] != ["user", "assistant"]:
        raise FormatError(error_text("no instruction"))
    for i, message in enumerate(messages):
        if i < len(messages) - 2:
            lose(f"messages[{i}]", f"Alpaca has no place for it ({message['role']})")
        else:
            _lose_keys(message, ("role", "content"), f"messages[{i}]", "Alpaca", lose)
    instruction, output = (message.get("content") or "" for message in messages[-2:])
    return {"instruction": instruction, "input": "", "output": output}


@_step("tool-calls", "messages")
def _(row: Row, lose: Lose) -> Row:
    messages = []
    for i, message in enumerate(row["messages"]):
        if message["role"] == "tool":
            lose(f"messages[{i}]", "the tool's result has no place in plain messages")
            continue
        if message.get("tool_calls"):
            lose(f"messages[{i}].tool_calls", "the call has no place in plain messages")
            if not message.get("content"):
                continue
        messages.append(_without(message, "tool_calls"))
    if row.get("tools"):
        lose("tools", "plain messages declare no tools")
    return {"messages": messages, "tools": None}


_step("messages", "tool-calls")(lambda row, lose: {"messages": row["messages"]})


# --- preferences ----------------------------------------------------------------------------------------------


def _make_implicit(row: Row, lose: Lose) -> Row:
    whole = {side: row["prompt"] + row[side] for side in ("chosen", "rejected")}
    if shared_prompt(**whole) != row["prompt"]:
        lose("prompt", "is not all that chosen and rejected share, so its end cannot be found again")
    return whole


def _make_explicit(row: Row, lose: Lose) -> Row:
    prompt = shared_prompt(row["chosen"], row["rejected"])
    if "prompt" in row:
        lose("prompt", "the column is replaced by what chosen and rejected share")
    return {"prompt": prompt} | {side: row[side][len(prompt) :] for side in ("chosen", "rejected")}


def shared_prompt(chosen: Any, rejected: Any) -> Any:
    """The prompt that two whole texts or two whole conversations share: their longest common beginning.

    As in TRL's `extract_prompt`, a space in front of the first difference belongs to the completions. At
    least the last turn of each conversation is a completion. An empty prompt means that they share none.
    """
    length = min(len(chosen), len(rejected)) - (not isinstance(chosen, str))
    end = next((i for i in range(length) if chosen[i] != rejected[i]), max(length, 0))
    if isinstance(chosen, str) and end and chosen[end - 1] == " ":
        end -= 1
    return chosen[:end]


def _keep_chosen(row: Row, lose: Lose) -> Row:
    lose("rejected", "one completion per row has no place for it")
    return {"prompt": row["prompt"], "completion": row["chosen"]}


def _unpair(numbered: Numbered, losing: Callable[[int], Lose]) -> Numbered:
    """Two rows of each pair, the chosen one first."""
    return [
        (number, {**_without(row, "chosen", "rejected"), "completion": row[side], "label": side == "chosen"})
        for number, row in numbered
        for side in ("chosen", "rejected")
    ]


def _pair_up(numbered: Numbered, losing: Callable[[int], Lose]) -> Numbered:
    """Good and bad completions of the same prompt (and further columns), paired in their order."""
    waiting: dict[tuple[str, bool], deque[tuple[int, Row]]] = {}
    done = []
    for number, row in numbered:
        rest = _without(row, "completion", "label")
        key, label = same_key(rest), row["label"]
        partners = waiting.get((key, not label))
        if not partners:
            waiting.setdefault((key, label), deque()).append((number, row))
            continue
        other_number, other = partners.popleft()
        good, bad = (row, other) if label else (other, row)
        sides = {"chosen": good["completion"], "rejected": bad["completion"]}
        done.append((min(number, other_number), rest | sides))
    for (_, label), rows in waiting.items():
        lacking = "bad" if label else "good"
        for number, _row in rows:
            losing(number)("completion", f"no {lacking} completion of the same prompt is left")
    return sorted(done, key=lambda item: item[0])


def _keep_good(numbered: Numbered, losing: Callable[[int], Lose]) -> Numbered:
    for number, row in numbered:
        if row["label"]:
            losing(number)("label", "prompt-completion rows are not judged")
        else:
            losing(number)("completion", "the row is left out: nobody should learn a completion judged bad")
    return [(number, _without(row, "label")) for number, row in numbered if row["label"]]


def _drop_completion(row: Row, lose: Lose) -> Row:
    lose("completion", "has no place in prompt-only rows")
    return {"prompt": row["prompt"]}


for _name in ("prompt-completion", "prompt-only", "preference", "unpaired-preference"):
    _step(f"conversational-{_name}", _name)(_unwrap)
for _prefix in ("", "conversational-"):
    _step(f"{_prefix}prompt-completion", f"{_prefix}prompt-only")(_drop_completion)
    _step(f"{_prefix}preference", f"{_prefix}implicit-preference")(_make_implicit)
    _step(f"{_prefix}implicit-preference", f"{_prefix}preference")(_make_explicit)
    _step(f"{_prefix}preference", f"{_prefix}prompt-completion")(_keep_chosen)
    STEPS[f"{_prefix}preference"][f"{_prefix}unpaired-preference"] = _unpair
    STEPS[f"{_prefix}unpaired-preference"][f"{_prefix}preference"] = _pair_up
    STEPS[f"{_prefix}unpaired-preference"][f"{_prefix}prompt-completion"] = _keep_good
