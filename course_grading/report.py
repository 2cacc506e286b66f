"""What a learner has done, as tables: the points of each task, and the state of each lesson.

`python -m course_grading.report` prints both; `progress` keeps what they are made from.
"""

from typing import TYPE_CHECKING

from . import progress, quizzes
from .checks import exercises

if TYPE_CHECKING:
    import pandas as pd

TITLES = {
    "00": "Start here",
    "01": "Next-token prediction",
    "02": "Two variants, one architecture",
    "03": "Chat templates",
    "04": "SFT data formats",
    "05": "Supervised fine-tuning",
    "06": "Base as instruct",
    "07": "The spectrum",
    "08": "The alignment tax",
    "09": "Choosing a variant",
    "10": "At full size",
}


def points(exercise: str | None = None) -> "pd.DataFrame":
    """The best points of each task, one a row: exercise, task, title, minutes, points, of, state.

    `exercise` such as "01" leaves out the others. The last row is the sum. Raises ValueError for an exercise that
    does not exist.
    """
    import pandas as pd

    groups = exercises()
    if exercise is not None and exercise not in groups:
        raise ValueError(f"There is no exercise {exercise!r}; there are {', '.join(groups)}.")
    kept, rows = progress.read()["tasks"], []
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

    kept, tasks = progress.read(), points().iloc[:-1]
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
        return (
            "Nothing is done yet: the first questions stand at the end of lesson 00, "
            "the first points in exercise 01."
        )
    done, total = (table.state == "done").sum(), table.sum(numeric_only=True)
    return (
        f"{done} of {len(table)} lessons done, {total.questions} of {total.questions_of} questions answered right, "
        f"{total.points} of {total.points_of} points."
    )


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
    where = progress.progress_file()
    print(f"Kept in {where}." if where else "Nothing is kept (COURSE_PROGRESS=off).")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
