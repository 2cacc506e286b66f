"""The loss mask of a conversation, and of a dataset's row: which tokens are to be learned.

This is the one way from a row to ids and mask, for lessons, for the audit and for `course_utils.train`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..formats.specs import LOSS_KEYS
from ..roles import common_prefix, rendered, role_spans, roles_at, token_offsets, try_rendered, turn_bounds
from ..roles import template_errors_explained as explained
from ..templates import FAMILIES, Family
from ..tokens import is_special, token_text
from .rows import Encoded

LOSS_ON = ("assistant", "last", "completion", "all")
Ids = list[int]
Row = Mapping[str, Any]  # of a dataset: {column: value}
Settings = Mapping[str, Any]  # of apply_chat_template: the template, and what is handed to it
Template = str | Family | None


def loss_mask(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, on: str = "assistant", chat_template: Template = None,
    **template_settings: Any,
) -> Encoded:  # fmt: skip
    """Render a conversation to token ids and mark the tokens that are to be learned.

    `on` says which: "assistant": every assistant turn, the token that ends the turn included. "last": only the
    last of them. "completion": all that follows the last generation prompt, as for a prompt and its completion;
    this one needs no marks in the template, and takes whatever the template writes after the end of turn (in
    ChatML a line break). "all": every token, which is plain language modelling.

    "assistant" and "last" ask the library (`return_assistant_tokens_mask=True`), which needs a template that marks
    what the assistant wrote with `{% generation %}…{% endgeneration %}`; `chat_template` (Jinja text, or a Family of
    templates) stands in for the tokenizer's own, and further settings reach the template. `tokenizer` may be a Variant.

    A turn that says it is not to be learned (`weight: 0`, `train: false` or `loss: false`) is left out of the mask;
    another weight cannot be honoured and is refused.

    Raises ValueError where there is no template, no marks in it, no assistant turn, a template that refuses the
    messages, or a mask that is empty all the same; TypeError where `messages` is no list of messages.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    messages = _checked_messages(messages, on)
    settings = {**template_settings, "chat_template": template_of(tokenizer, chat_template)}
    ((ids, mask),) = _conversations(tokenizer, [messages], on, settings)
    return _encoded(tokenizer, ids, mask, _token_roles(tokenizer, messages, ids, settings))


def _a_marked_one(tokenizer: Any, messages: Any, settings: Settings) -> str:
    """Which family to use in place of a template without marks: one that writes the same text, or refuses it too."""
    roles = ("system", "user", "assistant", "user", "assistant")
    whole = [{"role": role, "content": "Yes."} for role in roles]
    marked = {
        name: {**settings, "chat_template": family.template}
        for name, family in FAMILIES.items()
        if has_generation_marks(family.template)
    }
    # Two families may write this conversation alike, and another one, with all roles, not.
    for talks in ([messages, whole], [messages]):
        own = [try_rendered(tokenizer, talk, settings) for talk in talks]
        for name, theirs in marked.items():
            if [try_rendered(tokenizer, talk, theirs) for talk in talks] == own:
                return f"such as templates.FAMILIES[{name!r}], which writes the same text here"
    return "such as templates.FAMILIES['chatml'] (no family writes the same text here)"


def encode_row(tokenizer: Any, row: Row, *, on: str | None = None, chat_template: Template = None) -> Encoded:
    """Turn one row of a dataset into ids and mask, as its format asks for.

    Formats, told by their columns: `messages` (loss on the assistant's turns), `prompt` and `completion` (texts or
    lists of messages; loss on the completion), `text` (loss on every token). `on` overrides the choice, as in
    `loss_mask`. A text that does not end with the tokenizer's eos gets it, so that there is an end to learn.
    `tools` and `chat_template_kwargs` of a row reach the template. Other formats: `formats.convert` first. Raises
    ValueError for a row with none of these columns, and for a weight of the whole row.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    ((ids, mask),) = encode_rows(tokenizer, [row], on=on, chat_template=chat_template)
    messages = conversation_of(row)
    if messages is None:
        names = ("prompt", "completion") if "prompt" in row and on != "all" else (None, None)
        return _encoded(tokenizer, ids, mask, [names[m] for m in mask])
    settings = {**_own_settings(row), "chat_template": template_of(tokenizer, chat_template)}
    return _encoded(tokenizer, ids, mask, _token_roles(tokenizer, messages, ids, settings))


def encode_rows(
    tokenizer: Any, rows: Sequence[Row], *, on: str | None = None, chat_template: Template = None,
    find_turns: bool = False,
) -> list[tuple[Ids, Ids]]:  # fmt: skip
    """(ids, mask) of many rows: what `encode_row` makes of each, without the tokens' texts and roles.

    Rows whose conversations need the same settings are rendered and tokenized together, which is several times
    faster. With `find_turns` a template without generation marks is no error: the assistant's turns are then found
    by rendering the conversation turn by turn. Raises the errors of `encode_row`.
    """
    found: dict[int, tuple[Ids, Ids]] = {}
    together: dict[tuple[str, str], list[tuple[int, list[dict]]]] = {}  # numbered conversations
    for number, row in enumerate(rows):
        _require_no_weight(row)
        messages = conversation_of(row)
        if messages is None:
            found[number] = _text_row(tokenizer, row, on)
        else:
            own_on = on or ("assistant" if "messages" in row else "completion")
            same = together.setdefault((own_on, repr(_own_settings(row))), [])
            same.append((number, _checked_messages(messages, own_on)))
    for (own_on, _), some in together.items():
        numbers, conversations = zip(*some, strict=True)
        settings = {**_own_settings(rows[numbers[0]]), "chat_template": template_of(tokenizer, chat_template)}
        found |= zip(
            numbers, _conversations(tokenizer, conversations, own_on, settings, find_turns), strict=True
        )
    return [found[number] for number in range(len(rows))]


def encode_pairs(
    tokenizer: Any, pairs: Sequence[tuple], *, chat_template: Template = None
) -> list[tuple[Ids, Ids]]:
    """(prompt ids, completion ids) of each prompt and completion: the ids and the boundary of `encode_row`.

    A third in a pair holds the row's `tools` and `chat_template_kwargs`, as in `encode_row`. Of a conversation the
    completion ends with its end of turn, as a model would write it: what the template writes behind that, such as
    ChatML's line break, is left out.
    """
    rows = [{"prompt": prompt, "completion": completion, **dict(*own)} for prompt, completion, *own in pairs]
    found, known = [], {}
    for row, (ids, mask) in zip(rows, encode_rows(tokenizer, rows, chat_template=chat_template), strict=True):
        start = mask.index(1) if 1 in mask else len(ids)
        if conversation_of(row) is not None:
            settings = {**_own_settings(row), "chat_template": template_of(tokenizer, chat_template)}
            # Asked once for all rows of the same settings: a tokenizer may have thousands of special tokens.
            ends = known.get(repr(settings)) or _ends(tokenizer, settings)
            known[repr(settings)] = ends
            found.append((ids[:start], _through_end(ids[start:], ends)))
        else:
            found.append((ids[:start], ids[start:]))
    return found


def end_of_turn(tokenizer: Any, settings: Settings) -> int | None:
    """The special token that a chat template writes behind an answer, or None; it need not be the tokenizer's eos."""
    said = "Yes, it is."
    talk = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": said}]
    before, _, behind = (try_rendered(tokenizer, talk, settings) or "").rpartition(said)
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if before else []
    return next((i for i in ids if is_special(tokenizer, i)), None)


def _ends(tokenizer: Any, settings: Settings) -> tuple[int | None, int | None]:
    return end_of_turn(tokenizer, settings), tokenizer.eos_token_id


def _through_end(answer: Ids, ends: tuple[int | None, int | None]) -> Ids:
    """An answer up to its end of turn: the last one, because an answer may be several turns."""
    for end in ends:
        if end in answer:
            return answer[: len(answer) - answer[::-1].index(end)]
    return answer


# --- rows of text ---------------------------------------------------------------------------------------------


def conversation_of(row: Row) -> list[Any] | None:
    """The messages of a row, prompt and completion together; None for rows of text. A text among messages is a turn."""
    if "messages" in row:
        return row["messages"]
    if not {"prompt", "completion"} <= row.keys():
        return None
    if isinstance(row["prompt"], str) and isinstance(row["completion"], str):
        return None
    messages: list[Any] = []
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        turns = [{"role": role, "content": row[name]}] if isinstance(row[name], str) else row[name]
        if not isinstance(turns, (list, tuple)) or not all(isinstance(turn, Mapping) for turn in turns):
            raise TypeError(f"{name} is a text or a list of messages, got {short(turns)}.")
        messages += turns
    return messages


def _text_row(tokenizer: Any, row: Row, on: str | None) -> tuple[Ids, Ids]:
    if "prompt" in row and "completion" in row:
        ids = _with_eos(tokenizer, row["prompt"] + row["completion"])
        start = 0 if on == "all" else common_prefix(list(tokenizer(row["prompt"])["input_ids"]), ids)
        return ids, [int(i >= start) for i in range(len(ids))]
    if "text" in row:
        if not isinstance(row["text"], str):
            raise TypeError(f"text is {short(row['text'])}, where a text was expected.")
        ids = _with_eos(tokenizer, row["text"])
        return ids, [1] * len(ids)
    raise ValueError(
        f"A row with the columns {', '.join(map(str, row)) or '(none)'} is no messages, prompt-completion or text "
        "row. Convert it first: formats.convert(row, 'messages')."
    )


def _with_eos(tokenizer: Any, text: str) -> Ids:
    """The text's ids, ending with the eos: written by the text, by the tokenizer itself, or else added."""
    ids = list(tokenizer(text)["input_ids"])
    eos = tokenizer.eos_token_id
    if eos is None or ids[-1:] == [eos]:
        return ids
    return list(tokenizer(text + tokenizer.eos_token)["input_ids"])


def _require_no_weight(row: Row) -> None:
    for key in LOSS_KEYS:
        if key in row and _share(row[key]) != 1:
            raise ValueError(
                f"The row has {key!r} = {row[key]!r}, a weight of a whole row, which a mask cannot express. Leave rows "
                "of weight 0 out, and give the others as they are."
            )


def _share(value: Any) -> float | None:
    """A weight as a number: 0 not learned, 1 learned (also for none at all); NaN for what is no weight."""
    if value is None:
        return 1.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return {"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), float("nan"))


def _own_settings(row: Row) -> dict[str, Any]:
    """What a row hands to the template itself: its tools, and TRL's chat_template_kwargs."""
    own = dict(row.get("chat_template_kwargs") or {})
    return {**own, "tools": row["tools"]} if row.get("tools") else own


# --- conversations --------------------------------------------------------------------------------------------


def _conversations(
    tokenizer: Any, conversations: Sequence[list[dict]], on: str, settings: Settings, find_turns: bool = False
) -> Iterator[tuple[Ids, Ids]]:
    """(ids, mask) of conversations that are rendered with the same settings."""
    of_turns = on in ("assistant", "last")
    by_marks = of_turns and has_generation_marks(settings["chat_template"])
    if of_turns and not by_marks and not find_turns:
        raise ValueError(
            "This chat template has no {% generation %} marks, so it cannot tell the assistant's tokens from the "
            "rest; the library's mask would be all zeros. Pass chat_template= with a marked one, "
            f"{_a_marked_one(tokenizer, conversations[0], settings)}, or on='completion', which needs no marks."
        )
    plain = [[_without_loss_keys(message) for message in messages] for messages in conversations]
    with explained(plain[0]):
        encoded = tokenizer.apply_chat_template(
            plain, tokenize=True, return_dict=True, return_assistant_tokens_mask=by_marks, **settings
        )
    ends = _ends(tokenizer, settings) if of_turns and not by_marks else (None, None)
    for number, messages in enumerate(conversations):
        ids = list(encoded["input_ids"][number])
        if on == "all":
            mask = [1] * len(ids)
        elif on == "completion":
            ids, mask = _completion(tokenizer, plain[number], ids, settings)
        elif by_marks:
            mask = list(encoded["assistant_masks"][number])
        else:
            mask = _mask_by_turns(tokenizer, plain[number], ids, settings, ends)
        if not any(mask):
            raise ValueError(
                "The mask is empty although the conversation has an assistant turn: the template's generation marks "
                "enclose nothing of it. Print tokenizer.apply_chat_template(messages, tokenize=False) and see "
                "what is lost."
            )
        if on == "last":
            mask = _last_run(mask)
        yield ids, _without_left_out(tokenizer, messages, plain[number], ids, mask, settings)


def has_generation_marks(chat_template: str | None) -> bool:
    """Whether a Jinja chat template marks what the assistant wrote: `{% generation %}`, trimmed or not."""
    return bool(chat_template) and re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", chat_template) is not None


def _checked_messages(messages: Any, on: str) -> list[dict[str, Any]]:
    if on not in LOSS_ON:
        raise ValueError(f"on must be one of {', '.join(map(repr, LOSS_ON))}, got {on!r}.")
    if hasattr(messages, "tolist"):
        messages = messages.tolist()
    wrong = isinstance(messages, (str, bytes, Mapping, Path)) or not hasattr(messages, "__iter__")
    if wrong or not all(isinstance(m, Mapping) for m in messages):
        raise TypeError(
            "loss_mask takes one conversation, a list of messages {'role': …, 'content': …}; for a row of a dataset "
            "use encode_row."
        )
    messages = [dict(message) for message in messages]
    for number, message in enumerate(messages):
        if "role" not in message or not ("content" in message or message.get("tool_calls")):
            raise ValueError(
                f"Each message needs a 'role' and a 'content', got {short(message)} (number {number})."
            )
    roles = [message.get("role") for message in messages]
    if on != "all" and "assistant" not in roles:
        raise ValueError(
            "The conversation has no assistant turn, so there is nothing to learn from it "
            f"(its roles: {', '.join(map(str, roles)) or 'none'}). Add the answer, or leave the row out."
        )
    if on == "completion" and roles[-1] != "assistant":
        raise ValueError(
            f"on='completion' needs a conversation that ends with the assistant, but this one ends with {roles[-1]!r}."
        )
    if on == "completion" and set(roles) == {"assistant"}:
        raise ValueError(
            "on='completion' needs a prompt in front of the answer, but all turns of this conversation are the "
            "assistant's. Add the user's turn, or use on='assistant'."
        )
    return messages


def template_of(tokenizer: Any, chat_template: Template) -> str:
    """The Jinja text of `chat_template`, or of the tokenizer's own. Raises ValueError where there is none."""
    if isinstance(chat_template, Family):
        return chat_template.template
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "This tokenizer has no chat template, as is usual for a base model. Pass chat_template=, for instance the "
            "instruct's tokenizer.chat_template."
        )
    return tokenizer.get_chat_template(chat_template)


def _rendered_ids(tokenizer: Any, messages: list[dict], settings: Settings, opened: bool) -> Ids:
    """The ids of a conversation, with a generation prompt behind it where it is `opened` for an answer."""
    with explained(messages):
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=opened, **settings
        )
    return list(encoded["input_ids"])


def _completion(tokenizer: Any, messages: list[dict], ids: Ids, settings: Settings) -> tuple[Ids, Ids]:
    """Ids, and a mask of 1 from where the whole and the prompt alone part ways (as TRL finds the completion's start).

    Where the completion's first characters merge with the prompt's last (two line breaks are one token, say), the
    two are tokenized apart, because that is what the model meets when it answers; unless that would spell another text.
    """
    first = max(i for i, message in enumerate(messages) if message["role"] != "assistant") + 1
    prompt = _rendered_ids(tokenizer, messages[:first], settings, opened=True)
    start = common_prefix(prompt, ids)
    if start < len(prompt):
        before, whole = (tokenizer.decode(some, clean_up_tokenization_spaces=False) for some in (prompt, ids))
        if whole.startswith(before):
            apart = prompt + list(tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"])
            if tokenizer.decode(apart, clean_up_tokenization_spaces=False) == whole:
                ids, start = apart, len(prompt)
    return ids, [int(i >= start) for i in range(len(ids))]


def _mask_by_turns(tokenizer: Any, messages: list[dict], ids: Ids, settings: Settings, ends: tuple) -> Ids:
    """Where the assistant speaks, for a template without generation marks: what each of its turns adds."""
    mask = [0] * len(ids)
    for number, message in enumerate(messages):
        if message["role"] != "assistant" or not number:
            continue
        prompt = _rendered_ids(tokenizer, messages[:number], settings, opened=True)
        whole = _rendered_ids(tokenizer, messages[: number + 1], settings, opened=False)
        start = common_prefix(prompt, ids)
        end = start + len(_through_end(whole[start:], ends))
        if start < len(prompt) or ids[:end] != whole[:end]:
            raise ValueError(
                "This chat template neither marks what the assistant writes ({% generation %}) nor renders earlier "
                "turns as it renders the last, so the tokens to learn cannot be told. Use a template with these "
                "marks (templates.FAMILIES has some), or give rows of input_ids and labels."
            )
        mask[start:end] = [1] * (end - start)
    return mask


def _last_run(mask: Ids) -> Ids:
    last = max(i for i, m in enumerate(mask) if m)
    first = max((i for i, m in enumerate(mask[:last]) if not m), default=-1)
    return [int(first < i <= last) for i in range(len(mask))]


def _without_loss_keys(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key not in LOSS_KEYS}


def _without_left_out(
    tokenizer: Any, messages: list[dict], plain: list[dict], ids: Ids, mask: Ids, settings: Settings
) -> Ids:
    """The mask without the turns whose own `weight`, `train` or `loss` leaves them out."""
    left_out = [i for i, message in enumerate(messages) if _left_out(i, message)]
    if not left_out:
        return [int(m) for m in mask]
    text = rendered(tokenizer, plain, settings)
    offsets = token_offsets(tokenizer, text, ids)
    if offsets is None:
        raise ValueError(
            f"messages[{left_out[0]}] is to be left out of the loss (its weight, train or loss says so), but this "
            "tokenizer cannot say which tokens are its own. Cut the conversation there, or give input_ids and labels."
        )
    bounds = turn_bounds(tokenizer, plain, text, **settings)
    outside = [(bounds[i], bounds[i + 1]) for i in left_out]
    kept = [
        int(m and not any(a <= at < b for a, b in outside)) for m, (at, _) in zip(mask, offsets, strict=True)
    ]
    if not any(kept):
        raise ValueError(
            "Every turn that could be learned is left out by its own weight, train or loss. Leave the conversation out."
        )
    return kept


def _left_out(number: int, message: Mapping[str, Any]) -> bool:
    """Whether a turn says that it is not to be learned; ValueError for what a mask cannot honour."""
    shares = {key: _share(message[key]) for key in LOSS_KEYS if key in message}
    for key, share in shares.items():
        learned_all_the_same = key != "weight" and share == 1 and message.get("role") != "assistant"
        if share not in (0, 1) or learned_all_the_same:
            raise ValueError(
                f"messages[{number}] ({message.get('role')}) has {key!r} = {message[key]!r}. A mask learns an "
                "assistant's turn or leaves it out: write 0 or 1 on the assistant's turns, or remove the key where it "
                "says nothing."
            )
    return 0 in shares.values()


def short(value: Any, width: int = 70) -> str:
    """A value for a message, cut to `width` characters."""
    shown = repr(value)
    return shown if len(shown) <= width else f"{shown[:width]}…"


def _encoded(tokenizer: Any, ids: Ids, mask: Ids, roles: list | None = None) -> Encoded:
    return Encoded(ids, mask, [token_text(tokenizer, i) for i in ids], roles or [None] * len(ids))


def _token_roles(tokenizer: Any, messages: list[dict], ids: Ids, settings: Settings) -> list | None:
    """The turn each token belongs to, or None where the tokenizer cannot say which characters a token covers."""
    messages = [_without_loss_keys(message) for message in messages]
    offsets = token_offsets(tokenizer, rendered(tokenizer, messages, settings), ids)
    return offsets and roles_at(role_spans(tokenizer, messages, **settings), offsets)
