"""What a learner gets back from the grader: one Markdown file for each submission, with points, reasons, and room for
the instructor's words on what was answered in words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import TITLES

if TYPE_CHECKING:
    from .grading import Result

NO_ANSWER = "YOUR ANSWER HERE"  # nbgrader's own stub for a cell that is graded by hand
SHOWN = {
    "correct": "✔ correct",
    "wrong": "✘ not yet",
    "missing": "○ missing",
    "not attempted": "○ not attempted",
}


def answers_in_words(cells: Iterable[tuple[str, str, Any]]) -> list[dict[str, str]]:
    """[{"question", "answer"}] of (kind, source, metadata) cells: a Markdown cell that nbgrader's metadata leave to be
    graded by hand is an answer, and the Markdown in front of it the question. No answer is ""."""
    found, before = [], ""
    for kind, source, metadata in cells:
        own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        if kind == "markdown" and isinstance(own, dict) and own.get("grade") and own.get("solution"):
            answer = source.strip()
            found.append({"question": before, "answer": "" if answer == NO_ANSWER else answer})
        elif kind == "markdown" and "<details>" not in source:
            before = source.strip()
    return found


def write(results: Sequence[Result], folder: Path) -> None:
    """Write folder/NAME.md for each result, NAME being that of its notebook."""
    taken = set()
    for result in results:
        parts = [
            re.sub(r"[^\w .()+-]", "_", part).strip(". ") or "_" for part in result.submission.split("/")
        ]
        path = folder.joinpath(*parts[:-1], parts[-1].removesuffix(".ipynb") + ".md")
        if path in taken:
            mark = hashlib.sha256(result.submission.encode()).hexdigest()[:8]
            path = path.with_name(f"{path.stem}_{mark}.md")
        taken.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(result), encoding="utf-8")


def text(result: Result) -> str:
    """The feedback on one submission, as Markdown."""
    title = f"Exercise {result.exercise} · {TITLES.get(result.exercise, '')}".strip(" ·")
    if result.problem:
        return f"# {escape(result.submission)}: not graded\n\n{_quoted(result.problem)}\n"
    lines = [f"# {title}: {result.points} of {result.of} points", f"`{escape(result.submission)}`"]
    rows = [
        f"| {escape(task['title'])} | {task['points']} of {task['of']} | {SHOWN.get(task['status'], task['status'])} |"
        for task in result.tasks
    ]
    lines.append("\n".join(["| task | points | |", "|---|---|---|", *rows]))
    for task in result.tasks:
        if task["points"] < task["of"]:
            named = f": {escape(task['mistake'])}" if task["mistake"] else ""
            lines += [
                f"## {escape(task['title'])}{named}",
                _quoted(task.get("message") or "No answer was found."),
            ]
    if result.notes:
        lines += ["## While the notebook ran", *map(_quoted, result.notes)]
    for answer in result.texts:
        lines += ["## Answered in words", _quoted(answer["question"])]
        lines.append(_quoted(answer["answer"]) if answer["answer"] else "*Nothing was written here.*")
        lines.append("Points and remarks of your instructor: ______")
    return "\n\n".join(lines) + "\n"


def _quoted(words: str) -> str:
    """Words as they are: a block that nothing in them can end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{fence}text\n{words}\n{fence}"
