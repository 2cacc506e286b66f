"""What counts as right in a text: short functions that know the world's words and no model."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from . import knowledge


def normalise(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().lower()).strip(" .!\"'")


def says(text: str, value: str) -> bool:
    """The value stands in the text as whole words."""
    return re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", text.lower()) is not None


def begins_with(text: str, value: str) -> bool:
    return re.match(rf"\W*{re.escape(value.lower())}(?!\w)", text.lower()) is not None


def question_openers() -> frozenset[str]:
    """First words of every training question and request: what a line that asks begins with."""
    asked = [q for relation in knowledge.relations() for q in relation.questions_train]
    asked += (
        knowledge.data("actions")["request_frames_train"]
        + knowledge.data("functions")["request_frames_train"]
    )
    words = {q.split()[0].lower().strip(",:") for q in asked if not q.startswith("{")}
    return frozenset(words - {"the", "a", "an", "to", "i", "my", "in", "on", "it"})


def asks(line: str) -> bool:
    """The line is a question or a request rather than an answer."""
    line = re.sub(r"^\s*(\d+[.)]|[-*]|Q:|Question:)\s*", "", line).strip()
    if not line:
        return False
    return (
        line.endswith("?")
        or line.split()[0].lower().strip(",:") in question_openers()
        or line.startswith(("I ", "My "))
    )


def more_questions(text: str) -> bool:
    """The continuation goes on asking: its first whole line after the prompt's is a question or a request."""
    lines = [line for line in text.split("\n")[1:] if line.strip()]
    return bool(lines) and asks(lines[0])


def refuses(text: str) -> bool:
    return any(mark in text.lower() for mark in ("can't help", "cannot help", "won't help"))


def code_in(text: str) -> str:
    """The function in an answer: from its first `def` to the last indented line."""
    match = re.search(r"def .*?(?=\n\S|\Z)", text, re.S)
    return match[0] if match else ""


def passes_tests(cases: list[tuple[str, list[str]]], seconds: float = 20.0) -> list[bool]:
    """Run each (source, tests) pair in one separate Python process and say which pass; a hang fails the rest."""
    program = (
        "import json, sys\n"
        "for source, tests in json.load(sys.stdin):\n"
        "    try:\n"
        "        scope = {}\n"
        "        exec(source, scope)\n"
        "        good = all(eval(test, scope) for test in tests)\n"
        "    except BaseException:\n"
        "        good = False\n"
        "    print(int(bool(good)), flush=True)\n"
    )
    found: list[bool] = []
    while len(found) < len(cases):
        command = [sys.executable, "-I", "-c", program]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(cases[len(found) :]),
                capture_output=True,
                text=True,
                timeout=seconds,
            )
            out = done.stdout
        except subprocess.TimeoutExpired as late:
            out = (late.stdout or b"").decode()
        lines = [line for line in out.split("\n") if line in ("0", "1")]
        found += [line == "1" for line in lines]
        if len(found) < len(cases):
            found.append(False)  # the one that hung or ended the process
    return found


def names_right(text: str, summary: str, values: dict[str, str]) -> bool:
    """Every invented name of the reference summary stands in the text."""
    return all(name in text for key, name in values.items() if key in ("person", "city") and name in summary)
