"""The self-check questions of the lessons: one file a lesson, `01.json` for lesson 01, read and validated here.

A file is a list of four questions, each {"question": …, "choices": [{"text": …, "right": …, "why": …}, …]} with three
or four choices, exactly one of them right, and for every choice why it is right or wrong. Backticks mark code.
`selfcheck.py` shows them; this module knows no widgets.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

FOLDER = Path(__file__).resolve().parent
QUESTIONS = 4
CHOICES = (3, 4)


class QuizError(ValueError):
    """A file of questions that cannot be used; the message names the file, the place and what was expected."""


@dataclass(frozen=True)
class Choice:
    """One answer to choose, whether it is the right one, and why or why not."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A question with its choices, in the order in which they are shown."""

    text: str
    choices: tuple[Choice, ...]

    @property
    def key(self) -> str:
        """What the progress file knows the question by: a question that was changed has to be answered again."""
        right = next(choice.text for choice in self.choices if choice.right)
        return hashlib.sha256(f"{self.text}\n{right}".encode()).hexdigest()[:12]


def lessons(folder: Path = FOLDER) -> list[str]:
    """The lessons that have questions: ["00", "01", …]."""
    return sorted(path.stem for path in folder.glob("[0-9][0-9].json"))


def load(lesson: str, folder: Path = FOLDER) -> tuple[Question, ...]:
    """The questions of a lesson such as "05".

    The choices come in an order of their own, the same every time, so that the place of the right one in the file
    gives nothing away. Raises ValueError for a lesson that has no questions, QuizError for a file that is not valid.
    """
    path = folder / f"{lesson}.json"
    if lesson not in lessons(folder):
        raise ValueError(
            f"There are no self-check questions for lesson {lesson!r}; give one of {', '.join(lessons(folder))}."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise QuizError(
            f"quizzes/{path.name} is not valid JSON ({error}). Mend the file at that place."
        ) from None
    problems = validate(content)
    if problems:
        raise QuizError(f"quizzes/{path.name}: {'; '.join(problems)}.")
    return tuple(_question(entry) for entry in content)


def validate(content: Any) -> list[str]:
    """What is wrong with the content of a file of questions, a phrase each; empty when nothing is."""
    if not isinstance(content, list) or len(content) != QUESTIONS:
        found = f"{len(content)} entries" if isinstance(content, list) else type(content).__name__
        return [f"expected a list of {QUESTIONS} questions, found {found}"]
    found = [
        f"question {n}: {problem}"
        for n, entry in enumerate(content, 1)
        for problem in _question_problems(entry)
    ]
    texts = [entry.get("question") for entry in content if isinstance(entry, dict)]
    if not found and len(set(texts)) < len(texts):
        found.append("two questions have the same text")
    return found


def _question_problems(entry: Any) -> list[str]:
    if not isinstance(entry, dict) or set(entry) != {"question", "choices"}:
        return ['expected an object with "question" and "choices"']
    if not _is_text(entry["question"]):
        return ['"question" must be a text that is not empty']
    choices = entry["choices"]
    if not isinstance(choices, list) or len(choices) not in CHOICES:
        return [f'"choices" must be a list of {CHOICES[0]} or {CHOICES[1]}']
    found = [
        f"choice {n}: {problem}" for n, one in enumerate(choices, 1) for problem in _choice_problems(one)
    ]
    if found:
        return found
    right = sum(one["right"] for one in choices)
    if right != 1:
        found.append(f"exactly one choice must be right, but {right} are")
    if len({one["text"].strip() for one in choices}) < len(choices):
        found.append("two choices have the same text")
    return found


def _choice_problems(choice: Any) -> list[str]:
    if not isinstance(choice, dict) or set(choice) != {"text", "right", "why"}:
        return ['expected an object with "text", "right" and "why"']
    found = [
        f'"{key}" must be a text that is not empty' for key in ("text", "why") if not _is_text(choice[key])
    ]
    return found if isinstance(choice["right"], bool) else [*found, '"right" must be true or false']


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _question(entry: dict[str, Any]) -> Question:
    choices = [Choice(**choice) for choice in entry["choices"]]
    Random(entry["question"]).shuffle(choices)
    return Question(entry["question"], tuple(choices))
