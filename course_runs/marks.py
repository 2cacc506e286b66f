"""The marks that a chat template writes around turns: what opens a user's and an assistant's, what ends them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_utils.batches.masks import template_of
from course_utils.roles import WORDS, common_pieces, text_pieces, try_rendered
from course_utils.templates import Family


@dataclass(frozen=True)
class TurnMarks:
    """What a chat template writes around turns, as text without the surrounding whitespace."""

    user: str  # opens a user's turn
    user_end: str  # ends it, where there is such a mark
    assistant: str  # opens an assistant's turn
    ends: tuple[str, ...]  # end an assistant's turn: in the middle of a conversation, and at its end

    def headers(self, text: str, learned_from: Callable[[int], int]) -> list[tuple[int, int]]:
        """Where headers stand in a row's text: (start, end) in characters.

        An answer may quote a mark that is plain text, such as Zephyr's. It is a header where a turn ends in front
        of it, or where nothing is learned in front of it (`learned_from`: where the stretch of learned text that
        holds a character begins; that character itself where it is not learned).
        """
        ends = [end for end in (self.user_end, *self.ends) if end]
        found = []
        for mark in filter(None, (self.user, self.assistant)):
            for match in re.finditer(re.escape(mark), text):
                before = text[learned_from(match.start()) : match.start()].rstrip()
                if not before or any(before.endswith(end) for end in ends):
                    found.append(match.span())
        return sorted(found)


def turn_marks(tokenizer: Any, chat_template: str | Family | None = None) -> TurnMarks | None:
    """Find the marks of a chat template, or of the tokenizer's own, by rendering an example conversation.

    None where there is no template, or it refuses the example or hides its contents.
    """
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        return None
    roles = ["user", "assistant"] * 2
    messages = [{"role": role, "content": word} for role, word in zip(roles, WORDS, strict=True)]
    settings = {"chat_template": template_of(tokenizer, chat_template)}
    whole, question = (try_rendered(tokenizer, messages[:count], settings) for count in (4, 1))
    opened = try_rendered(tokenizer, messages[:1], {**settings, "add_generation_prompt": True})
    if whole is None or question is None or opened is None:
        return None
    parts = re.split("|".join(WORDS), whole)
    if len(parts) != 5:
        return None
    _, to_answer, to_question, _, ending = parts
    shared = common_pieces(ending, to_question)
    end = shared.strip() or next((piece for piece in text_pieces(to_question) if len(piece) > 1), "")
    user = to_question.strip().removeprefix(end).strip()
    ends = dict.fromkeys(mark for mark in (end, ending.strip()) if mark)
    assistant = _assistant_header(opened[len(question) :] if opened.startswith(question) else "", to_answer)
    return TurnMarks(user, to_answer.strip().removesuffix(assistant).strip(), assistant, tuple(ends))


def _assistant_header(prompt: str, to_answer: str) -> str:
    """What opens an assistant's turn wherever it stands: of a prompt that opens a thought as well, the rest."""
    pieces = text_pieces(prompt)
    while pieces and not to_answer.endswith("".join(pieces)):
        pieces.pop()
    return "".join(pieces).strip() or prompt.strip() or to_answer.strip()
