"""A conversation as a family writes it, and where each message stands in that text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..roles import RoleSpan, role_spans, roles_at
from .families import Family, Messages, family

MARK = "⁂s⁂"  # a text that occurs in no template


def render(
    name: str | Family,
    messages: Messages,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    **variables: Any,
) -> str:
    """Write a conversation as this family does: the text a tokenizer's `apply_chat_template` would make.

    `messages` are dicts with 'role' and 'content' (a str). `variables` are handed to the template, such as
    `date_string="1 Jan 2025"` or another `bos_token`; one that it does not use changes nothing. Raises
    ValueError for a conversation that the family refuses, such as a system message in Gemma 2.
    """
    text, _ = _rendered(name, messages, add_generation_prompt, continue_final_message, False, variables)
    return text


def assistant_spans(
    name: str | Family, messages: Messages, add_generation_prompt: bool = False, **variables: Any
) -> list[tuple[int, int]]:
    """Where the `{% generation %}` marks stand: (start, end) in characters, one pair an assistant turn.

    A pair holds what the model is to write itself: all that follows the generation prompt, up to and with the
    end-of-turn token. Whether that is exact is in the family's `loss_marks`.
    """
    _, marks = _rendered(name, messages, add_generation_prompt, False, True, variables)
    return [(int(start), int(end)) for start, end in marks]


def _rendered(
    name: str | Family,
    messages: Messages,
    add_generation_prompt: bool,
    continue_final_message: bool,
    marks: bool,
    variables: Mapping[str, Any],
) -> tuple[str, list[tuple[int, int]]]:
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    chosen = family(name)
    if not messages:
        raise ValueError("There is no message to render. Give at least one dict with 'role' and 'content'.")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise ValueError(
                f"Each message needs a 'role' and a 'content' that is a text, got {message!r}. "
                "Tool calls and images are beyond these templates."
            )
    if add_generation_prompt and continue_final_message:
        raise ValueError(
            "A generation prompt opens a new turn and continue_final_message keeps the last one open; ask for "
            "one of them."
        )
    settings = {"bos_token": chosen.bos or "", "eos_token": chosen.eos, **variables}
    try:
        texts, found = render_jinja_template(
            conversations=[[dict(message) for message in messages]],
            chat_template=chosen.template,
            return_assistant_tokens_mask=marks,
            continue_final_message=continue_final_message,
            add_generation_prompt=add_generation_prompt,
            **settings,
        )
    except TemplateError as error:
        raise ValueError(f"{chosen.name} refuses this conversation: {error}.") from error
    return texts[0], found[0] if marks else []


# --- where each message stands ----------------------------------------------------------------------------------


def spans(
    name: str | Family, messages: Messages, add_generation_prompt: bool = False, **variables: Any
) -> list[RoleSpan]:
    """Cut the rendered text into turns: `(role, start, end)` in characters, without gaps, in the text's order.

    A turn holds its header, its content and its end mark. What nobody wrote (a BOS, an injected system block)
    is called "template", an open turn at the end "generation prompt". Where a family moves the system text
    into a later user turn, as Mistral's version 3 does, it counts as that turn's.
    """
    chosen = family(name)
    settings = {**variables, "add_generation_prompt": add_generation_prompt}
    text = render(chosen, messages, **settings)
    messages = _in_the_texts_order(chosen, list(messages), text, settings)
    opened = _before_the_first_turn(chosen, messages, text, settings)
    found = [RoleSpan("template", 0, opened)] if opened else []
    position = opened
    for span in role_spans(_Renderer(chosen), messages, **settings):
        end = _not_inside(chosen, text, span.end)
        if end > position:
            found.append(RoleSpan(span.role, position, end))
            position = end
    return found


class _Renderer:
    """A family with the two things of a tokenizer that `role_spans` asks for."""

    def __init__(self, chosen: Family):
        self.family = chosen
        self.bos_token = chosen.bos

    def apply_chat_template(self, messages: Messages, tokenize: bool = False, **settings: Any) -> str:
        return render(self.family, messages, **settings)


def _in_the_texts_order(chosen: Family, messages: list, text: str, settings: Mapping[str, Any]) -> list:
    """The messages, with a system text that the template moves to the last user turn already moved there."""
    users = [i for i, message in enumerate(messages) if message["role"] == "user"]
    if messages[0]["role"] != "system" or not users:
        return messages
    moved = [dict(message) for message in messages[1:]]
    last = moved[users[-1] - 1]
    last["content"] = messages[0]["content"] + "\n\n" + last["content"]
    try:
        same = len(users) > 1 and render(chosen, moved, **settings) == text
    except ValueError:
        same = False
    return moved if same else messages


def _before_the_first_turn(chosen: Family, messages: list, text: str, settings: Mapping[str, Any]) -> int:
    """Where a block ends that the template puts before the first message: behind that block's end of turn."""
    marked = render(chosen, [{**messages[0], "content": MARK}, *messages[1:]], **settings)
    head = marked.partition(MARK)[0]
    if MARK not in marked or not text.startswith(head):
        return 0
    ends = [head.rfind(token) + len(token) for token in chosen.end_of_turn if token in head]
    return max(
        [0, *(end for end in ends if head[end:].strip())]
    )  # one that opens the turn itself ends no block


def _not_inside(chosen: Family, text: str, position: int) -> int:
    """`position`, moved out of a special token it would cut: behind an end of turn, before any other."""
    for token in chosen.special_tokens:
        start = text.find(token, max(0, position - len(token) + 1))
        if -1 < start < position < start + len(token):
            return start + len(token) if token in chosen.end_of_turn else start
    return position


def token_roles(tokenizer: Any, text: str, found: Sequence[RoleSpan]) -> list[str | None]:
    """The role of each token of a rendered text: that of the span which holds most of its characters.

    The tokens are those of `tokenizer(text, add_special_tokens=False)`; it must be a fast tokenizer. Hand the
    result to `show_tokens(…, roles=…)`.
    """
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return roles_at(found, offsets)
