"""The learner's own progress, in one local file: the best points of each task, the self-check questions answered
right, and the lessons done. A lesson counts as done once each of its self-check questions has been answered right:
reading leaves no trace that could be counted.

The file is `.course_progress.json` in the course folder (or what COURSE_PROGRESS names, such as ~/progress.json; "off" keeps none). Nothing is
sent anywhere. A file that cannot be read or written never stops a lesson: progress is then simply not kept.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from .checks import Outcome

FORMAT = 2  # 1 had no questions and no lessons; such a file is read, and kept, as it is
TITLES = {
    "00": "Start here",
    "01": "Next-token prediction",
    "02": "Two variants, one architecture",
    "03": "Chat templates",
    "04": "SFT data formats",
    "05": "Supervised fine-tuning",
    "06": "Base as instruct",
    "07": "The spectrum",
    "08": "Choosing a variant",
}


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

    {"format": 2, "tasks": {name: {"points", "of"}}, "questions": {lesson: {key: answered right}}, "lessons": [done]}
    """
    kept: Any = None
    path = progress_file()
    if path is not None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            kept = json.loads(path.read_text(encoding="utf-8"))
    kept = kept if isinstance(kept, dict) else {}
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


def points(exercise: str | None = None) -> "pd.DataFrame":
    """The best points of each task, one a row: exercise, task, title, minutes, points, of, state.

    `exercise` such as "01" leaves out the others. The last row is the sum. Raises ValueError for an exercise that
    does not exist.
    """
    import pandas as pd

    from .checks import exercises

    groups = exercises()
    if exercise is not None and exercise not in groups:
        raise ValueError(f"There is no exercise {exercise!r}; there are {', '.join(groups)}.")
    kept, rows = read()["tasks"], []
    for number, tasks in groups.items():
        for task in tasks if exercise in (None, number) else ():
            record = kept.get(task.name)
            earned = min(record["points"], task.points) if record else 0
            state = "not tried" if record is None else "done" if earned == task.points else "in part"
            row = {"exercise": number, "task": task.name, "title": task.title, "minutes": task.minutes}
            rows.append(row | {"points": earned, "of": task.points, "state": state})
    table = pd.DataFrame(rows)
    total = {"exercise": "", "task": "all", "title": ""} | table[["minutes", "points", "of"]].sum().to_dict()
    return pd.concat([table, pd.DataFrame([total | {"state": ""}])], ignore_index=True)


def lessons() -> "pd.DataFrame":
    """What is done of each lesson and its exercise, one row a lesson in the course's order.

    Columns: lesson ("01"), title, questions (self-check questions answered right) and questions_of, points (the best
    of its exercise) and points_of (0 where there is no exercise), state: "done" once every question has been answered
    right, "begun" when anything was tried, otherwise "open".
    """
    import pandas as pd

    from . import quizzes

    kept, tasks = read(), points().iloc[:-1]
    rows = []
    for lesson, title in TITLES.items():
        questions = quizzes.load(lesson) if lesson in quizzes.lessons() else ()
        tried = kept["questions"].get(lesson, {})
        right = sum(tried.get(question.key, False) for question in questions)
        own = tasks[tasks.exercise == lesson]
        done = lesson in kept["lessons"] or (len(questions) > 0 and right == len(questions))
        begun = bool(tried) or bool((own.state != "not tried").any())
        row = {"lesson": lesson, "title": title, "questions": right, "questions_of": len(questions)}
        row |= {"points": int(own.points.sum()), "points_of": int(own.of.sum())}
        rows.append(row | {"state": "done" if done else "begun" if begun else "open"})
    return pd.DataFrame(rows)


def summary(table: "pd.DataFrame") -> str:
    """One sentence of what `lessons()` holds; where to begin when nothing is done yet."""
    if (table.state == "open").all():
        return "Nothing is done yet: the first questions stand at the end of lesson 00, the first points in exercise 01."
    done, total = (table.state == "done").sum(), table.sum(numeric_only=True)
    return (
        f"{done} of {len(table)} lessons done, {total.questions} of {total.questions_of} questions answered right, "
        f"{total.points} of {total.points_of} points."
    )


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


def main() -> int:
    """Print what is done of every lesson, and the points of the tasks tried: `python course.py progress`."""
    table = lessons()
    shown = table[["lesson", "title", "state"]].assign(
        questions=[f"{row.questions} of {row.questions_of}" for row in table.itertuples()],
        points=[f"{row.points} of {row.points_of}" if row.points_of else "-" for row in table.itertuples()],
    )
    print(f"{shown.to_string(index=False)}\n\n{summary(table)}")
    tasks = points().iloc[:-1]
    tried = tasks[tasks.state != "not tried"]
    if len(tried):
        tried = tried.assign(points=[f"{row.points} of {row.of}" for row in tried.itertuples()])
        print(f"\n{tried[['exercise', 'task', 'points', 'state']].to_string(index=False)}")
    print("\nA lesson is done once all its self-check questions have been answered right.")
    where = progress_file()
    print(f"Kept in {where}." if where else "Nothing is kept (COURSE_PROGRESS=off).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
