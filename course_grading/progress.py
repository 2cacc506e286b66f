"""The learner's own progress, in one local file: the best points of each task, the self-check questions answered
right, and the lessons done. A lesson counts as done once each of its self-check questions has been answered right:
reading leaves no trace that could be counted.

The file is `.course_progress.json` in the course folder, or what COURSE_PROGRESS names, such as ~/progress.json; "off"
keeps none. Nothing is sent anywhere. A file that cannot be read or written never stops a lesson: progress is then
simply not kept.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks.task import Outcome

FORMAT = 3  # 1 had no questions and no lessons; until 2, what is lesson 09 today was lesson 08


def progress_file() -> Path | None:
    """Where progress is kept; None when COURSE_PROGRESS is "off"."""
    chosen = os.environ.get("COURSE_PROGRESS", "")
    if chosen.lower() == "off":
        return None
    return (
        Path(chosen).expanduser()
        if chosen
        else Path(__file__).resolve().parent.parent / ".course_progress.json"
    )


def read() -> dict[str, Any]:
    """The progress kept so far; its parts are empty when there is none, and what cannot be understood is left out.

    {"format": 3, "tasks": {name: {"points", "of"}}, "questions": {lesson: {key: answered right}}, "lessons": [done]}
    """
    kept: Any = None
    path = progress_file()
    if path is not None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            kept = json.loads(path.read_text(encoding="utf-8"))
    kept = _renumbered(kept) if isinstance(kept, dict) else {}
    tasks = {name: task for name, task in _dict(kept.get("tasks")).items() if _is_record(task)}
    questions = {
        lesson: {key: right for key, right in _dict(answers).items() if isinstance(right, bool)}
        for lesson, answers in _dict(kept.get("questions")).items()
    }
    lessons = kept.get("lessons") if isinstance(kept.get("lessons"), list) else []
    done = sorted({lesson for lesson in lessons if isinstance(lesson, str)})
    return kept | {"format": FORMAT, "tasks": tasks, "questions": questions, "lessons": done}


def record(outcome: "Outcome") -> None:
    """Keep an outcome's points if they are the best so far for that task."""
    path = progress_file()
    if path is None or outcome.status == "not attempted":
        return
    kept = read()
    best = kept["tasks"].get(outcome.task, {"points": -1})["points"]
    if outcome.points > best:
        kept["tasks"][outcome.task] = {"points": outcome.points, "of": outcome.of}
        with contextlib.suppress(OSError):
            _write(path, kept)


def record_answer(lesson: str, key: str, right: bool, keys: Sequence[str]) -> None:
    """Keep whether a self-check question was answered right; what was right once stays right.

    `keys` are those of all the lesson's questions: when the last of them is right, the lesson is done.
    """
    path = progress_file()
    if path is None:
        return
    kept = read()
    answers = kept["questions"].setdefault(lesson, {})
    answers[key] = answers.get(key, False) or right
    if all(answers.get(known) for known in keys):
        kept["lessons"] = sorted({*kept["lessons"], lesson})
    with contextlib.suppress(OSError):
        _write(path, kept)


def answers(lesson: str) -> dict[str, bool]:
    """The questions of a lesson that were answered, by their key, and whether they were ever answered right."""
    return read()["questions"].get(lesson, {})


def _renumbered(kept: dict[str, Any]) -> dict[str, Any]:
    """A file of an earlier format with what it keeps of lesson 08 as lesson 09. (Tasks are known by their names.)"""
    if isinstance(kept.get("format"), int) and kept["format"] >= 3:
        return kept
    moved = {"08": "09"}
    questions = {moved.get(lesson, lesson): known for lesson, known in _dict(kept.get("questions")).items()}
    lessons = kept.get("lessons") if isinstance(kept.get("lessons"), list) else []
    return kept | {
        "questions": questions,
        "lessons": [moved.get(one, one) if isinstance(one, str) else one for one in lessons],
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_record(task: Any) -> bool:
    return isinstance(task, dict) and isinstance(task.get("points"), int) and isinstance(task.get("of"), int)


def _write(path: Path, kept: dict[str, Any]) -> None:
    """One move, so that two notebooks writing at once leave a whole file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1, sort_keys=True)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
