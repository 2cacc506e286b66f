"""The exercises: made from solutions/ and from nothing else, free of what they should not show, untouched until a
learner touches them; and solutions/ are executed nbgrader source notebooks."""

import os
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_grading.checks import exercises
from tools import exercises as generator
from tools import notebooks

SOURCES = generator.sources()
EVERY_EXERCISE = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
# The keys that nbgrader's documentation of its metadata (schema version 3) gives for a cell.
NBGRADER_KEYS = {"grade_id", "schema_version", "grade", "solution", "locked", "task", "points"}


@cache
def solution(path: Path) -> nbformat.NotebookNode:
    return notebooks.read(path)


@cache
def exercise(path: Path) -> nbformat.NotebookNode:
    return notebooks.read(generator.EXERCISES / path.name)


def graded(notebook) -> list:
    """The check cells; an answer in words has no check."""
    own = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return [cell for cell in own if cell.cell_type == "code"]


def in_words(notebook) -> list:
    """The cells for answers in words, which are graded by hand."""
    own = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return [cell for cell in own if cell.cell_type == "markdown"]


def regions(source: str, marks: tuple[str, str]) -> list[str]:
    """The lines between two marks."""
    lines, inside = [], False
    for line in source.split("\n"):
        if line.strip() in marks:
            inside = line.strip() == marks[0]
        elif inside:
            lines.append(line)
    return lines


# -- drift and leaks ------------------------------------------------------------------------------------------


def test_every_exercise_is_what_its_solution_gives_byte_for_byte():
    assert generator.differing(generator.EXERCISES) == [], "run python course.py exercises"
    assert {path.stem[:2] for path in SOURCES} == set(exercises())


def test_generating_twice_gives_the_same_bytes_and_check_changes_nothing(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second, second):
        assert generator.main(["--to", str(folder)]) == 0
    names = sorted(path.name for path in first.iterdir())
    assert names == [path.name for path in SOURCES]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    changed = first / names[0]
    changed.write_text(changed.read_text(encoding="utf-8") + " ", encoding="utf-8")
    (first / "99_no_source.ipynb").write_text("{}")
    capsys.readouterr()
    assert generator.main(["--check", "--to", str(first)]) == 1
    assert names[0] in (said := capsys.readouterr().out) and "99_no_source" in said
    assert changed.read_text(encoding="utf-8").endswith(" ")


@EVERY_EXERCISE
def test_no_line_of_a_solution_stands_in_an_exercise_but_in_its_folded_cell(path):
    given = "\n".join(
        line
        for cell in solution(path).cells
        for line in cell.source.split("\n")
        if line not in regions(cell.source, generator.SOLUTION_MARKS)
    )
    secret = {
        line.strip()
        for cell in solution(path).cells
        for line in regions(cell.source, generator.SOLUTION_MARKS)
        if len(line.strip()) > 8 and line.strip() not in given
    }
    assert len(secret) > 10
    for cell in exercise(path).cells:
        if generator.FOLDED in cell.metadata.get("tags", []):
            continue
        for line in secret:
            assert line not in cell.source, f"cell {cell.id} shows {line!r}"
        assert not cell.get("outputs") and cell.get("execution_count") is None


@EVERY_EXERCISE
def test_an_exercise_holds_no_marks_and_no_hidden_tests(path):
    text = nbformat.writes(exercise(path))
    for mark in (*generator.SOLUTION_MARKS, *generator.HIDDEN_MARKS, "earned("):
        assert mark not in text


@EVERY_EXERCISE
def test_the_version_for_a_class_has_no_folded_solutions_and_the_same_cells_otherwise(path):
    plain = generator.make_exercise(solution(path), with_solutions=False)
    own = [cell for cell in exercise(path).cells if generator.FOLDED not in cell.metadata.get("tags", [])]
    assert [cell.id for cell in plain.cells] == [cell.id for cell in own]
    assert len(exercise(path).cells) - len(own) == len(graded(exercise(path))) + len(in_words(plain))
    assert "<details>" not in nbformat.writes(plain) and "folded" not in nbformat.writes(plain)
    assert "folded under each check" in nbformat.writes(exercise(path))


@EVERY_EXERCISE
def test_an_untouched_exercise_runs_through_and_answers_not_attempted_for_every_task(
    path, capsys, monkeypatch
):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    monkeypatch.delenv("COURSE_GRADING", raising=False)
    space = {"display": lambda *shown: None}
    answers = {}
    for cell in exercise(path).cells:
        if cell.cell_type == "code":
            capsys.readouterr()
            exec(compile(cell.source, f"<{cell.id}>", "exec"), space)  # a traceback fails the test
            answers[cell.id] = capsys.readouterr().out
    said = [answers[cell.id] for cell in graded(exercise(path))]
    assert len(said) == len(exercises()[path.stem[:2]])
    assert all(text.startswith("○ Not attempted yet: 0 of") for text in said), said


# -- solutions ------------------------------------------------------------------------------------------------


@EVERY_EXERCISE
def test_a_solution_is_executed_clean_and_every_check_in_it_says_correct(path):
    assert notebooks.flaws(solution(path)) == []
    for cell in graded(solution(path)):
        shown = "".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
        assert "✔ Correct" in shown, cell.id
        points = [o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
        assert points == [str(cell.metadata.nbgrader.points)], "what nbgrader reads as the points"


@EVERY_EXERCISE
def test_a_solution_is_a_valid_nbgrader_source(path):
    """What nbgrader's validator of schema version 3 asks for, and what its converters rely on."""
    ids = []
    for cell in solution(path).cells:
        own = cell.metadata.get("nbgrader")
        if own is None:
            assert not any(
                mark in cell.source for mark in (*generator.SOLUTION_MARKS, *generator.HIDDEN_MARKS)
            )
            continue
        assert set(own) <= NBGRADER_KEYS and own.schema_version == 3 and own.task is False
        assert all(isinstance(own[key], bool) for key in ("grade", "solution", "locked"))
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", own.grade_id)
        assert own.grade or own.solution or own.locked
        ids.append(own.grade_id)
        if cell.cell_type == "markdown":  # graded by hand: a solution as well, with no points of its own
            assert own.grade and own.solution and own.points == 0
            continue
        assert ("points" in own) == own.grade and not (own.grade and own.solution)
        assert (generator.SOLUTION_MARKS[0] in cell.source) == own.solution
        assert (generator.HIDDEN_MARKS[0] in cell.source) == own.grade
    assert len(set(ids)) == len(ids)


@EVERY_EXERCISE
def test_points_and_minutes_agree_between_notebook_and_checks(path):
    tasks, text = exercises()[path.stem[:2]], "\n".join(cell.source for cell in solution(path).cells)
    points = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points for cell in graded(solution(path))
    }
    assert points == {f"{task.name}_check": task.points for task in tasks}
    assert sum(points.values()) == 100
    assert solution(path).metadata.course.exercise == path.stem[:2]
    assert f"about {sum(task.minutes for task in tasks)} minutes" in text
    for number, task in enumerate(tasks, 1):
        assert f"## {number} · {task.title}\n" in text
        assert f"*{task.points} points, about {task.minutes} minutes*" in text


@EVERY_EXERCISE
def test_cells_are_short_named_and_link_to_files_that_exist(path):
    cells = exercise(path).cells
    assert len({cell.id for cell in cells}) == len(cells)
    for cell in cells:
        assert len(cell.source.split("\n")) <= 22, cell.id
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)\)", cell.source):
                assert (generator.EXERCISES / target).exists(), target


# -- the generator --------------------------------------------------------------------------------------------


def cell_with(source: str, **own) -> nbformat.NotebookNode:
    own = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False} | own
    return new_code_cell(source, metadata={"nbgrader": own | {"grade_id": "one"}})


def made(*cells) -> list[str]:
    return [cell.source for cell in generator.make_exercise(new_notebook(cells=list(cells))).cells]


SOLVED = "def f(x):\n    y = 1\n    ### BEGIN SOLUTION\n    return x + y\n    ### END SOLUTION"


def test_the_stub_is_nbgraders_own_and_stands_where_the_solution_stood():
    (source,) = made(cell_with(SOLVED, solution=True))
    assert source == "def f(x):\n    y = 1\n    # YOUR CODE HERE\n    raise NotImplementedError()"


def test_the_solution_is_folded_under_its_check():
    check = cell_with(
        'check("f", f)\n### BEGIN HIDDEN TESTS\nearned("f", f)\n### END HIDDEN TESTS', grade=True, points=1
    )
    _, shown, folded = made(cell_with(SOLVED, solution=True), check)
    assert shown == 'check("f", f)'
    assert "<details>" in folded and "    return x + y\n" in folded and "###" not in folded


@pytest.mark.parametrize(
    "cell",
    [
        cell_with(SOLVED),
        cell_with("def f(x): pass", solution=True),
        cell_with(SOLVED.replace("    ### END SOLUTION", ""), solution=True),
        cell_with(SOLVED.replace("    return x + y", "    ### BEGIN SOLUTION"), solution=True),
        cell_with("### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS"),
        cell_with("### BEGIN HIDDEN TESTS\n1", grade=True, points=1),
    ],
)
def test_a_source_that_would_leak_or_lose_something_is_refused(cell):
    with pytest.raises(generator.SourceError, match=str(cell.id)):
        made(cell)


# -- nbgrader itself ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nbgrader(tmp_path_factory):
    """(a course folder whose source/ holds the unchanged solutions, nbgrader for it); skip where it is not installed.

    It works in this process: each start of its program takes longer than what it then does.
    """
    api = pytest.importorskip("nbgrader.apps.api")
    from traitlets.config import Config

    folder = tmp_path_factory.mktemp("nbgrader")
    for path in SOURCES:
        (folder / "source" / path.stem).mkdir(parents=True)
        shutil.copy(path, folder / "source" / path.stem)
    config = Config()
    config.CourseDirectory.root = str(folder)
    config.ExecutePreprocessor.timeout = 3600
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_PROGRESS", "off")
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        # It calls alembic by name.
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        paths = [str(notebooks.ROOT), os.environ.get("PYTHONPATH")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield folder, api.NbGraderAPI(config=config)


@pytest.mark.slow
@EVERY_EXERCISE
def test_nbgrader_makes_the_same_cells_and_gives_the_same_points(path, nbgrader):
    """Two tasks are answered and the others left; nbgrader and the checks agree on the points."""
    folder, api = nbgrader
    done = api.generate_assignment(path.stem)
    assert done["success"], done
    release = notebooks.read(folder / "release" / path.stem / path.name)
    own = generator.make_exercise(solution(path), with_solutions=False)
    # nbgrader knows nothing of folded solutions, and leaves the sentence that tells of them.
    released = [cell.source.replace(generator.FOLDED_BELOW, "") for cell in release.cells]
    assert released == [cell.source for cell in own.cells]

    answered = {task.name: 0 for task in exercises()[path.stem[:2]]}
    for name in list(answered)[:2]:
        (cell,) = [c for c in solution(path).cells if c.metadata.get("nbgrader", {}).get("grade_id") == name]
        (place,) = [c for c in release.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name]
        place.source = cell.source
        answered[name] = exercises()[path.stem[:2]][list(answered).index(name)].points
    handed_in = folder / "submitted" / "anna" / path.stem
    handed_in.mkdir(parents=True)
    notebooks.write(release, handed_in / path.name)
    done = api.autograde(path.stem, "anna")
    assert done["success"], done
    with closing(sqlite3.connect(folder / "gradebook.db")) as book:
        rows = book.execute(
            "select base_cell.name, grade.auto_score from grade join base_cell on base_cell.id = cell_id"
        )
        scores = dict(rows.fetchall())
    assert {name: scores[f"{name}_check"] for name in answered} == answered
