"""Who speaks where in a rendered chat template: turns, the marks around them, the role of each token.

The template is asked, not read, so that this works for any family: conversations are rendered with other contents
and other lengths, and what differs shows where a turn begins and ends. Knows tokenizers and text, no model and no HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from .tokens import require_encodable

WORDS = ("\u2042", "\u2051", "\u203b", "\u2058")  # contents that nobody writes
Messages = Sequence[Mapping[str, Any]]


class RoleSpan(NamedTuple):
    """Characters `start` to `end` (exclusive) of the rendered text belong to a turn of `role`."""

    role: str
    start: int
    end: int


# --- rendering ------------------------------------------------------------------------------------------------


@contextmanager
def template_errors_explained(messages: Messages) -> Iterator[None]:
    """Turn what a chat template raises over these messages into a ValueError that says what to do.

    A template's own refusal is a plain TemplateError; anything else means that the template met something it was not
    written for, most often a message without a text.
    """
    try:
        yield
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(_cannot_render(messages, error)) from error
    except Exception as error:
        from jinja2 import TemplateError

        if not isinstance(error, TemplateError):
            raise
        if type(error) is not TemplateError:
            raise ValueError(_cannot_render(messages, error)) from error
        roles = ", ".join(str(message.get("role")) for message in messages)
        raise ValueError(
            f"The chat template refuses these messages (roles: {roles}): {error}. If it knows no system role, "
            "put that text in front of the first user's message; most templates want user and assistant in turns."
        ) from error


def _cannot_render(messages: Messages, error: Exception) -> str:
    for number, message in enumerate(messages):
        if isinstance(message, Mapping):
            require_encodable(str(message.get("content")))
        if isinstance(message, Mapping) and not message.get("tool_calls") and message.get("content") is None:
            return (
                f"The chat template cannot be rendered: message {number} ({message.get('role')}) has no content. "
                "Give each message a text, if only an empty one."
            )
    return f"The chat template cannot be rendered: {error}"


def rendered(tokenizer: Any, messages: Messages, settings: Mapping[str, Any]) -> str:
    """The text that the chat template makes of a conversation; ValueError where it refuses or breaks."""
    messages = [dict(message) for message in messages]
    with template_errors_explained(messages):
        return tokenizer.apply_chat_template(messages, tokenize=False, **settings)


def try_rendered(tokenizer: Any, messages: Messages, settings: Mapping[str, Any]) -> str | None:
    """The rendered text, or None where the template refuses these messages (many refuse some prefixes)."""
    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, **settings) if messages else None
    except Exception:  # a template may raise whatever Jinja or its author chose
        return None


def common_prefix(one: Sequence, other: Sequence) -> int:
    """How many elements (characters, token ids) two sequences share at their beginning."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))


def text_pieces(text: str) -> list[str]:
    """The text cut into tags such as <|im_start|> or [INST], and single characters."""
    return re.findall(r"<[^<>\s]+>|\[[^\[\]\s]+\]|.", text, re.DOTALL)


def common_pieces(one: str, other: str) -> str:
    """The beginning that two texts share, no tag cut in two."""
    pieces = text_pieces(one)
    return "".join(pieces[: common_prefix(pieces, text_pieces(other))])


# --- which characters belong to which turn --------------------------------------------------------------------


def role_spans(tokenizer: Any, messages: Messages, **template_settings: Any) -> list[RoleSpan]:
    """Where each message stands in the text that the chat template renders.

    A message's content is found by rendering the conversation twice more with two other contents in its place and
    seeing what differs; where its turn ends, by rendering the conversation up to it. What a template adds by itself
    (a BOS, a default system turn) is called "template", an open turn at the end "generation prompt".
    """
    text = rendered(tokenizer, messages, template_settings)
    bounds = turn_bounds(tokenizer, messages, text, **template_settings)
    spans, position = [RoleSpan("template", 0, bounds[0])], bounds[0]
    for message, end in zip(messages, bounds[1:], strict=True):
        spans.append(RoleSpan(str(message.get("role", "?")), position, end))
        position = end
    spans.append(RoleSpan("generation prompt", position, len(text)))
    return [span for span in spans if span.end > span.start]


def turn_bounds(tokenizer: Any, messages: Messages, text: str, **template_settings: Any) -> list[int]:
    """Where the first turn begins and where each turn ends in the rendered `text`: one number more than messages."""
    messages = [dict(message) for message in messages]
    closed = {**template_settings, "add_generation_prompt": False, "continue_final_message": False}
    contents = [_content_span(tokenizer, messages, i, template_settings, text) for i in range(len(messages))]
    ends: list[int] = []
    for i in range(len(messages)):
        floor = contents[i][1] if contents[i] else 0
        ceiling = next((c[0] for c in contents[i + 1 :] if c), len(text))
        prefix = try_rendered(tokenizer, messages[: i + 1], closed)
        end = floor
        if prefix is not None:
            end = common_prefix(prefix, text)
            last = i == len(messages) - 1
            if not last and contents[i] and end < len(prefix):
                end = floor + len(_closing(tokenizer, messages[: i + 1], closed, prefix, text[floor:ceiling]))
        ends.append(min(max(end, floor), ceiling))
    first = _first_turn(tokenizer, messages, contents, ends, closed, text)
    bounds = [first]
    for end in ends:
        bounds.append(max(end, bounds[-1]))
    return bounds


def _closing(tokenizer: Any, messages: list[dict], settings: Mapping[str, Any], alone: str, gap: str) -> str:
    """The end of the last of `messages` in `gap`, the text between its content and the next message's.

    The conversation up to here, rendered `alone`, is no beginning of the whole: a thinking template writes into the
    last turn what it leaves out of earlier ones, and others end the last turn in another way. So what follows the
    content alone is compared with what follows it in the whole.
    """
    content = _content_span(tokenizer, messages, len(messages) - 1, settings, alone)
    after = alone[content[1] :] if content else ""
    shared = common_pieces(after, gap)
    if shared or not after:
        return shared
    own, other = text_pieces(gap), text_pieces(after)
    return own[0] if own and len(own[0]) > 1 and len(other[0]) > 1 else ""  # two different marks of an end


def _content_span(
    tokenizer: Any, messages: list[dict], number: int, settings: Mapping[str, Any], text: str
) -> tuple[int, int] | None:
    """Start and end of one message's content in `text`, or None when the template changes it."""
    if not isinstance(messages[number].get("content"), str):
        return None
    renderings = []
    for mark in WORDS[:2]:
        changed = [*messages]
        changed[number] = {**messages[number], "content": mark}
        renderings.append(try_rendered(tokenizer, changed, settings))
    if None in renderings:
        return None
    start = common_prefix(*renderings)
    after = len(renderings[0]) - start - 1  # characters behind the content
    return (start, len(text) - after) if 0 <= start <= len(text) - after else None


def _first_turn(
    tokenizer: Any,
    messages: list[dict],
    contents: list,
    ends: list[int],
    settings: Mapping[str, Any],
    text: str,
) -> int:
    """Where the first message's turn begins: its header, seen once more behind a whole exchange, tells.

    Without that (a system message, a template that refuses the longer conversation) the turn takes what
    follows the BOS.
    """
    bos = getattr(tokenizer, "bos_token", None) or ""
    # Some tokenizers name the mark that opens every turn as their BOS; then it belongs to the first turn too.
    behind_bos = len(bos) if bos and text.startswith(bos) and text.count(bos) == 1 else 0
    if not contents or contents[0] is None or messages[0].get("role") == "system":
        return behind_bos
    first = {**messages[0], "content": WORDS[0]}
    reply = {"role": "assistant", "content": WORDS[1]}
    exchange = try_rendered(tokenizer, [first, reply], settings)
    longer = try_rendered(tokenizer, [first, reply, first], settings)
    if exchange is None or longer is None or not longer.startswith(exchange):
        return behind_bos
    header = longer[len(exchange) : longer.rindex(WORDS[0])]
    start = contents[0][0] - len(header)
    return start if start >= behind_bos and text[start : contents[0][0]] == header else behind_bos


def token_offsets(tokenizer: Any, text: str, ids: Sequence[int]) -> list[tuple[int, int]] | None:
    """The characters (start, end) of each token of a rendered text; None where the tokenizer cannot say."""
    if not tokenizer.is_fast:
        return None
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["offset_mapping"]) if list(encoded["input_ids"]) == list(ids) else None


def roles_at(spans: Sequence[RoleSpan], offsets: Sequence[tuple[int, int]]) -> list[str | None]:
    """The role of each token, given its characters (start, end): that of the span which holds most of them."""
    roles: list[str | None] = []
    for start, end in offsets:
        shares = [(min(end, span.end) - max(start, span.start), span.role) for span in spans]
        most = max(shares, key=lambda share: share[0], default=(0, None))
        roles.append(most[1] if most[0] > 0 else None)
    return roles
