"""Checks of the exercises: `check("task", answer)` answers at once, `hint("task")` helps one step further.

One module an exercise (`ex01`, `ex02`, …) holds its tasks. `task.py` says what a task is and examines answers;
`draw.py` makes fresh inputs; `values.py` compares results. An instructor can add or replace modules of that kind
without touching the course: those in the folder that COURSE_CHECKS names come first.
"""

import difflib
import os
import secrets
import sys
from importlib import import_module, util
from pathlib import Path
from typing import Any

from .task import CORRECT, NOT_ATTEMPTED, WRONG, Case, Claim, Mistake, Outcome, Prediction, Task

__all__ = [
    "CORRECT",
    "NOT_ATTEMPTED",
    "WRONG",
    "Case",
    "Claim",
    "Mistake",
    "Outcome",
    "Prediction",
    "Task",
    "check",
    "earned",
    "examine",
    "exercises",
    "find",
    "hint",
    "tasks_of",
]

_hints_shown: dict[str, int] = {}
_loaded: dict[Path, tuple[Task | Prediction, ...]] = {}
_just_checked: dict[str, tuple[Any, Outcome]] = {}


def check(name: str, answer: Any) -> None:
    """Examine an answer to a task on fresh inputs, show what came out, and note the points in the progress file.

    `name` is the task's, which is the name of the function to write. Raises ValueError for an unknown task.
    """
    task = find(name)
    if os.environ.get("COURSE_GRADING"):
        return  # the grader examines the answers itself, once all cells have run
    outcome = examine(task.name, answer)
    _just_checked[task.name] = (answer, outcome)
    from ..progress import record

    record(outcome)
    _show(outcome)


def hint(name: str) -> None:
    """Show the next hint for a task; each call goes one step further."""
    task = find(name)
    if os.environ.get("COURSE_GRADING"):
        return
    number = min(_hints_shown.get(name, 0), len(task.hints) - 1)
    _hints_shown[name] = number + 1
    last = number + 1 == len(task.hints)
    print(f"Hint {number + 1} of {len(task.hints)}: {task.hints[number]}")
    print(
        "(That was the last hint. Where your copy has the solution, it is folded below the check.)"
        if last
        else "(Call again for more.)"
    )


def examine(name: str, answer: Any, seed: int | str | None = None) -> Outcome:
    """What `check` would say, as an Outcome. A seed makes the drawn inputs reproducible; None draws one."""
    return find(name).examine(answer, secrets.randbits(48) if seed is None else seed)


def earned(name: str, answer: Any) -> int:
    """The points of an answer, for a hidden test of nbgrader. Raises AssertionError when there are none.

    nbgrader reads a number above 0 as partial credit, an error as no credit, and 0 as full credit. Behind a check of
    the same answer these are the points that the check has just shown: a training is not run twice.
    """
    checked, outcome = _just_checked.pop(name, (None, None))
    if outcome is None or checked is not answer:
        outcome = examine(name, answer)
    assert outcome.points > 0, str(outcome)
    return outcome.points


def exercises() -> dict[str, tuple[Task | Prediction, ...]]:
    """The tasks of each exercise, in order: {"01": (…), …}."""
    return {number: _tasks(path) for number, path in sorted(modules().items())}


def tasks_of(number: str) -> tuple[Task | Prediction, ...]:
    """The tasks of one exercise, such as "01"; the checks of no other are loaded. Raises KeyError."""
    return _tasks(modules()[number])


def modules() -> dict[str, Path]:
    """The file of each exercise's checks: {"01": …/ex01.py, …}; those of COURSE_CHECKS replace the course's own."""
    private = os.environ.get("COURSE_CHECKS")
    folders = [Path(__file__).parent, *([Path(private).expanduser().resolve()] if private else [])]
    found = [sorted(folder.glob("ex[0-9][0-9].py")) for folder in folders]
    if not found[-1]:
        raise ValueError(
            f"COURSE_CHECKS names {folders[-1]}, where there is no ex01.py or the like. "
            "Next: name the folder that holds your checks, or unset COURSE_CHECKS."
        )
    return {path.stem[2:]: path for paths in found for path in paths}


def _tasks(path: Path) -> tuple[Task | Prediction, ...]:
    if path not in _loaded:
        name = f"{__name__}.{path.stem}"
        if path.parent == Path(__file__).parent:
            module = import_module(name)
        else:
            spec = util.spec_from_file_location(name, path)
            module = sys.modules[name] = util.module_from_spec(spec)
            spec.loader.exec_module(module)
        _loaded[path] = tuple(module.TASKS)
    return _loaded[path]


def find(name: str) -> Task | Prediction:
    """The task called `name`; ValueError, with the nearest name, when there is none."""
    for path in sorted(modules().values(), key=lambda path: (path not in _loaded, path.name)):
        for task in _tasks(path):
            if task.name == name:
                return task
    tasks = [task.name for group in exercises().values() for task in group]
    near = difflib.get_close_matches(str(name), tasks, n=2) or tasks
    raise ValueError(
        f"There is no task {name!r}. Give the task's name first, as in check({near[0]!r}, {near[0]})."
    )


def _show(outcome: Outcome) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(outcome)
        return
    if get_ipython() is None:
        print(outcome)
    else:
        display(outcome)
