"""The loss mask of a conversation, and of a dataset's row: which tokens are to be learned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from ..ribbon import role_spans
from ..templates import FAMILIES, Family
from ..tokens import token_text
from .rows import Encoded

LOSS_ON = ("assistant", "last", "completion", "all")


def loss_mask(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    *,
    on: str = "assistant",
    chat_template: str | Family | None = None,
    **template_settings: Any,
) -> Encoded:
    """Render a conversation to token ids and mark the tokens that are to be learned.

    `on` says which: "assistant": every assistant turn, the token that ends the turn included. "last": only the
    last of them. "completion": all that follows the last generation prompt, as for a prompt and its completion;
    this one needs no marks in the template, and takes whatever the template writes after the end of turn (in
    ChatML a line break). "all": every token, which is plain language modelling.

    "assistant" and "last" ask the library (`return_assistant_tokens_mask=True`), which needs a template that marks
    what the assistant wrote with `{% generation %}…{% endgeneration %}`; `chat_template` (Jinja text, or a Family of
    templates.py) stands in for the tokenizer's own, and further settings reach the template. `tokenizer` may be a Variant.

    Raises ValueError where there is no template, no marks in it, no assistant turn, or a mask that is empty all
    the same; TypeError where `messages` is no list of messages.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    messages = _checked_messages(messages, on)
    template = template_of(tokenizer, chat_template)
    settings = {**template_settings, "chat_template": template}
    if on in ("assistant", "last") and not has_generation_marks(template):
        raise ValueError(
            "This chat template has no {% generation %} marks, so it cannot tell the assistant's tokens from the "
            f"rest; the library's mask would be all zeros. Pass chat_template= with a marked one, "
            f"{_a_marked_one(tokenizer, messages, settings)}, or on='completion', which needs no marks."
        )
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True,
        return_assistant_tokens_mask=on in ("assistant", "last"), **settings,
    )  # fmt: skip
    ids = list(encoded["input_ids"])
    if on == "all":
        mask = [1] * len(ids)
    elif on == "completion":
        mask = _completion_mask(tokenizer, messages, ids, settings)
    else:
        mask = list(encoded["assistant_masks"])
    if not any(mask):
        raise ValueError(
            "The mask is empty although the conversation has an assistant turn: the template's generation marks "
            "enclose nothing of it. Print tokenizer.apply_chat_template(messages, tokenize=False) and see what is lost."
        )
    if on == "last":
        mask = _last_run(mask)
    return _encoded(tokenizer, ids, mask, _token_roles(tokenizer, messages, ids, settings))


def _a_marked_one(tokenizer: Any, messages: Any, settings: Mapping[str, Any]) -> str:
    """Which family of templates.py to use in place of a template without marks: one that writes the same text."""
    own = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
    for name, family in FAMILIES.items():
        try:
            other = tokenizer.apply_chat_template(
                messages, tokenize=False, **{**settings, "chat_template": family.template}
            )
        except (TemplateError, ValueError, TypeError, KeyError):
            continue
        if other == own and has_generation_marks(family.template):
            return f"such as templates.FAMILIES[{name!r}], which writes the same text here"
    return "such as templates.FAMILIES['chatml'] (no family writes the same text here)"


def encode_row(
    tokenizer: Any,
    row: Mapping[str, Any],
    *,
    on: str | None = None,
    chat_template: str | Family | None = None,
) -> Encoded:
    """Turn one row of a dataset into ids and mask, as its format asks for.

    Formats, told by their columns: `messages` (loss on the assistant's turns), `prompt` and `completion` (texts or
    lists of messages; loss on the completion), `text` (loss on every token). `on` overrides the choice, as in
    `loss_mask`. A text that does not end with the tokenizer's eos gets it, so that there is an end to learn.
    Other formats: `formats.convert` first. Raises ValueError for a row with none of these columns.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    settings = {"chat_template": chat_template}
    if "messages" in row:
        return loss_mask(tokenizer, row["messages"], on=on or "assistant", **settings)
    if "prompt" in row and "completion" in row:
        prompt, completion = row["prompt"], row["completion"]
        if not isinstance(prompt, str):
            return loss_mask(tokenizer, [*prompt, *completion], on=on or "completion", **settings)
        ids = _with_eos(tokenizer, prompt + completion)
        if on == "all":
            return _encoded(tokenizer, ids, [1] * len(ids))
        start = _common_prefix_length(list(tokenizer(prompt)["input_ids"]), ids)
        mask = [int(i >= start) for i in range(len(ids))]
        return _encoded(
            tokenizer, ids, mask, ["prompt" if i < start else "completion" for i in range(len(ids))]
        )
    if "text" in row:
        ids = _with_eos(tokenizer, row["text"])
        return _encoded(tokenizer, ids, [1] * len(ids))
    raise ValueError(
        f"A row with the columns {', '.join(map(str, row)) or '(none)'} is no messages, prompt-completion or text "
        "row. Convert it first: formats.convert(row, 'messages')."
    )


def has_generation_marks(chat_template: str | None) -> bool:
    """Whether a Jinja chat template marks what the assistant wrote: `{% generation %}`, trimmed or not."""
    return bool(chat_template) and re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", chat_template) is not None


def _checked_messages(messages: Any, on: str) -> list[dict[str, Any]]:
    if on not in LOSS_ON:
        raise ValueError(f"on must be one of {', '.join(map(repr, LOSS_ON))}, got {on!r}.")
    if isinstance(messages, (str, Mapping)) or not all(isinstance(m, Mapping) for m in messages):
        raise TypeError(
            "loss_mask takes one conversation, a list of messages {'role': …, 'content': …}; for a row of a dataset "
            "use encode_row."
        )
    messages = [dict(message) for message in messages]
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


def template_of(tokenizer: Any, chat_template: str | Family | None) -> str:
    """The Jinja text of `chat_template`, or of the tokenizer's own. Raises ValueError where there is none."""
    if isinstance(chat_template, Family):
        return chat_template.template
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "This tokenizer has no chat template, as is usual for a base model. Pass chat_template=, for instance the "
            "instruct's tokenizer.chat_template."
        )
    return tokenizer.get_chat_template(chat_template)


def _completion_mask(tokenizer: Any, messages: list[dict], ids: list[int], settings: dict) -> list[int]:
    """1 from where the whole and the prompt alone part ways (TRL finds the completion's start the same way)."""
    first = max(i for i, message in enumerate(messages) if message["role"] != "assistant") + 1
    prompt = tokenizer.apply_chat_template(
        messages[:first], tokenize=True, return_dict=True, add_generation_prompt=True, **settings
    )
    start = _common_prefix_length(list(prompt["input_ids"]), ids)
    return [int(i >= start) for i in range(len(ids))]


def _common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _last_run(mask: list[int]) -> list[int]:
    last = max(i for i, m in enumerate(mask) if m)
    first = max((i for i, m in enumerate(mask[:last]) if not m), default=-1)
    return [int(first < i <= last) for i in range(len(mask))]


def _with_eos(tokenizer: Any, text: str) -> list[int]:
    eos = tokenizer.eos_token or ""
    return list(tokenizer(text if text.endswith(eos) else text + eos)["input_ids"])


def _encoded(tokenizer: Any, ids: list[int], mask: list[int], roles: list | None = None) -> Encoded:
    return Encoded(
        ids, [int(m) for m in mask], [token_text(tokenizer, i) for i in ids], roles or [None] * len(ids)
    )


def _token_roles(tokenizer: Any, messages: list[dict], ids: list[int], settings: dict) -> list | None:
    """The turn each token begins in, or None where the tokenizer cannot say which characters a token covers."""
    if not tokenizer.is_fast:
        return None
    text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if list(encoded["input_ids"]) != ids:
        return None
    spans = role_spans(tokenizer, messages, **settings)
    return [
        next((span.role for span in spans if span.start <= start < span.end), None)
        for start, _ in encoded["offset_mapping"]
    ]
