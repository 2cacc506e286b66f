"""The grader: whatever a submission does, it gets the points its functions earn, and the class goes on."""

import csv
import importlib.util
import json
import os
import threading
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, writes

from course_grading import grading, kernels
from course_grading.grading import Result
from course_grading.kernels import Limits

# An exercise without any model, so that a kernel is all that a test costs.
TOY = """
from .task import Case, Mistake, Task

def _case(name, points, low):
    return Case(name, points, lambda rng: (rng.randint(low, low + 90),))

TASKS = (
    Task("double", "Double it", 1, lambda x: 2 * x, [_case("small numbers", 6, 1), _case("negative ones", 4, -99)],
         [Mistake("added", "2 is added.", lambda x: x + 2)], ["Twice."]),
    Task("square", "Square it", 1, lambda x: x * x, [_case("small numbers", 10, 2)], [], ["x times x."]),
)
"""
DOUBLE, SQUARE = "def double(x):\n    return x * 2", "def square(x):\n    return x ** 2"
SHORT = Limits(cell=2.0, total=60.0, memory=600)


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "ex90.py").write_text(TOY)
    monkeypatch.setenv("COURSE_CHECKS", str(folder))


def submission(path: Path, *sources: str, exercise: str | None = "90") -> Path:
    """A notebook with these code cells."""
    metadata = {"course": {"exercise": exercise}} if exercise else {}
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources], metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(writes(notebook), encoding="utf-8")
    return path


def points(result: Result) -> dict[str, int]:
    assert result.problem is None, result.problem
    return {task["task"]: task["points"] for task in result.tasks}


def graded(tmp_path: Path, *sources: str, limits: Limits = SHORT) -> Result:
    return grading.grade(submission(tmp_path / "one.ipynb", *sources), 7, limits)


# -- what submissions do --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_order_edited_checks_and_failing_cells_do_not_matter_and_credit_is_partial(tmp_path):
    result = graded(
        tmp_path,
        "from course_utils import check, hint\ndef check(*answers): print('all correct')",  # edited
        "square(3)",  # before its definition: fails
        "this is no Python",
        SQUARE,
        "check('double', None); hint('square')",
        "def double(x):\n    return abs(x) * 2",
        "import course_grading.checks as c\nc.examine = lambda *a: 1000\nc.exercises = lambda: {}",
    )
    assert points(result) == {"double": 6, "square": 10}
    assert (result.points, result.of) == (16, 20)
    assert any("NameError" in note for note in result.notes) and any(
        "SyntaxError" in note for note in result.notes
    )
    assert {task["status"] for task in result.tasks} == {"wrong", "correct"}


@pytest.mark.slow
def test_a_missing_cell_costs_its_own_task_only_and_a_mistake_is_named(tmp_path):
    result = graded(tmp_path, "def double(x):\n    return x + 2")
    assert points(result) == {"double": 0, "square": 0}
    assert [task["status"] for task in result.tasks] == ["wrong", "missing"]
    assert result.tasks[0]["mistake"] == "added"


@pytest.mark.slow
def test_endless_loops_and_floods_are_stopped_and_what_follows_still_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "FLOOD_BYTES", 300_000)
    flood = "while True:\n    print('x' * 100_000)"
    result = graded(tmp_path, DOUBLE, "while True:\n    pass", flood, SQUARE)
    assert points(result) == {"double": 10, "square": 10}
    assert "did not end" in result.notes[0] and len(result.notes) == 2


@pytest.mark.slow
def test_an_endless_loop_that_swallows_interrupts_is_killed_and_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "GRACE_SECONDS", 0.5)
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    result = graded(tmp_path, DOUBLE, stubborn, SQUARE)
    assert points(result) == {"double": 10, "square": 10}
    assert any("left out" in note for note in result.notes)


@pytest.mark.slow
def test_a_crash_is_left_out_and_an_exit_is_only_an_error(tmp_path):
    leaves = "import sys\nsys.exit(3)"
    result = graded(tmp_path, DOUBLE, leaves, "exit()", "import os\nos._exit(1)", SQUARE)
    assert points(result) == {"double": 10, "square": 10}
    assert any("ended the kernel" in note for note in result.notes)
    assert any("SystemExit" in note for note in result.notes)


@pytest.mark.slow
def test_an_answer_that_never_ends_or_kills_the_kernel_costs_its_own_task_only(tmp_path):
    for bad in ("while True: pass", "import os; os._exit(1)"):
        result = graded(tmp_path, f"def double(x):\n    {bad}", SQUARE)
        assert points(result) == {"double": 0, "square": 10}
        assert "Stopped while it was checked" in result.tasks[0]["message"]


@pytest.mark.slow
@pytest.mark.skipif(
    os.name == "nt", reason="Windows has no limit of this kind; the watch on memory stands in"
)
def test_too_much_memory_is_refused_and_what_follows_still_counts(tmp_path):
    result = graded(tmp_path, DOUBLE, "hog = bytearray(3_000_000_000)", SQUARE)
    assert points(result) == {"double": 10, "square": 10}
    assert any("MemoryError" in note or "memory" in note for note in result.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        "import threading, time\ndef f():\n    while True: sum(range(1000))\n"
        "for _ in range(3): threading.Thread(target=f, daemon=True).start()\ntime.sleep(10**6)",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while True: pass'])",
        "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-c', 'sum(range(3 * 10**6))'])",
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n"
        "    if not os.fork():\n        sum(range(2 * 10**7)); os._exit(0)\n    time.sleep(1)",
    ],
    ids=["threads", "a process", "many short processes", "processes that nobody waits for"],
)
def test_what_threads_and_processes_compute_counts_as_the_cells_own(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "WALL_FACTOR", 1000)
    monkeypatch.setattr(kernels, "GRACE_SECONDS", 1)
    result = graded(tmp_path, DOUBLE, cell, SQUARE, limits=Limits(cell=2, total=60, memory=600, clock=300))
    assert points(result) == {"double": 10, "square": 10}
    assert "Code cell 2" in result.notes[0] and "2 s of computing" in result.notes[0]


@pytest.mark.slow
def test_a_cell_that_ends_the_kernel_after_its_reply_is_the_one_left_out(tmp_path):
    stops = "import asyncio; asyncio.get_event_loop().stop()"
    for cells in ((DOUBLE, stops, SQUARE), (DOUBLE, SQUARE, stops)):
        result = graded(tmp_path, *cells)
        assert points(result) == {"double": 10, "square": 10}
        number = cells.index(stops) + 1
        assert result.notes == [f"Code cell {number} was left out: it ended the kernel."]


class StandInForAKernel(kernels.Kernel):
    """A kernel that never answers, and what its owner sees of it."""

    def __init__(self, limits: Limits):
        self._limits, self.closed, self.interrupts = limits, False, 0
        self._looked, self._folder = 0.0, Path(__file__).parent / "no_network"
        self._client = self._manager = self

    def execute(self, code, **options):
        return "message"

    def _reply_to(self, message):
        return None

    def _drain(self):
        return 0

    def is_alive(self):
        return True

    def interrupt_kernel(self):
        self.interrupts += 1

    def cpu_seconds(self):
        return 0.0

    def _family(self):
        return []

    def _memory_mb(self, family):
        return 5000.0 if self._limits.memory < 5000 else 1.0

    def close(self):
        self.closed = True


def test_a_kernel_that_uses_too_much_memory_in_spite_of_the_systems_limit_is_ended():
    kernel = StandInForAKernel(Limits(memory=600))
    assert kernel.run("hog()", 1) == ("dead", "it used more than 600 MB of memory") and kernel.closed


def test_a_kernel_that_sleeps_is_interrupted_by_the_clock_and_then_ended(monkeypatch):
    monkeypatch.setattr(kernels, "WALL_FACTOR", 1)
    monkeypatch.setattr(kernels, "GRACE_SECONDS", 0.01)
    kernel = StandInForAKernel(Limits(memory=9000))
    ended, why = kernel.run("sleep()", 0.02)
    assert ended == "dead" and "did not end" in why and kernel.interrupts == 1 and kernel.closed


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((grading.ROOT / "solutions").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_the_courses_own_solutions_get_all_points(path, monkeypatch):
    monkeypatch.delenv("COURSE_CHECKS")
    result = grading.grade(path, 3, Limits(cell=300, total=600), path.name)
    lost = {task["task"]: task["message"] for task in result.tasks if task["points"] < task["of"]}
    assert (result.problem, lost, result.points, result.of) == (None, {}, 100, 100)


@pytest.mark.slow
def test_a_submission_cannot_change_what_there_is_to_earn(tmp_path):
    own = (
        "import os\nopen('ex90.py', 'w').write('TASKS = ()')\nos.environ['COURSE_CHECKS'] = os.getcwd()\n"
        "from course_grading.checks import find\nobject.__setattr__(find('double').cases[0], 'points', 980)"
    )
    result = graded(tmp_path, DOUBLE, own, SQUARE)
    assert points(result) == {"double": 10, "square": 10} and result.of == 20


@pytest.mark.slow
def test_many_sleeping_cells_end_by_the_clock_and_what_came_before_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "WALL_FACTOR", 2)
    sleeps = ["import time; time.sleep(10**6)"] * 30
    result = graded(tmp_path, DOUBLE, *sleeps, SQUARE, limits=Limits(cell=2, total=60, memory=600, clock=12))
    assert points(result) == {"double": 10, "square": 0} and "12 s by the clock" in result.notes[-1]
    assert sum("was stopped" in note for note in result.notes) < 6


@pytest.mark.slow
def test_children_that_share_their_memory_are_counted_once(tmp_path):
    forks = (
        "import os, time\nx = bytearray(150_000_000)\nfor _ in range(12):\n    if not os.fork():\n        "
        "time.sleep(60)\n"
        "time.sleep(1)"
    )
    assert points(graded(tmp_path, DOUBLE, forks, SQUARE)) == {"double": 10, "square": 10}


@pytest.mark.slow
def test_the_environment_holds_no_secrets_and_the_course_comes_back_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("CLASS_TOKEN", "secret")
    looks = "import os\nassert 'CLASS_TOKEN' not in os.environ and 'secret' not in str(os.environ)"
    mess = (
        "import os, sys, shutil, warnings\nfrom course_grading.checks import values\nvalues.same = None\n"
        "sys.path[:] = []; shutil.rmtree(os.getcwd()); os.environ = {}; warnings.simplefilter('error')"
    )
    result = graded(tmp_path, looks, DOUBLE, mess, SQUARE)
    assert points(result) == {"double": 10, "square": 10} and result.notes == []


@pytest.mark.slow
@pytest.mark.skipif(kernels.protection() == "none", reason="no bubblewrap, and not started by root")
def test_a_submission_reaches_neither_a_classmate_nor_the_grades(tmp_path):
    mate = submission(tmp_path / "class" / "mate" / "90.ipynb", DOUBLE, SQUARE)
    kept = mate.read_bytes()
    out = tmp_path / "grades"
    eve = (
        f"import contextlib, os\nfor name in ({str(mate)!r}, {str(out / 'results.json')!r}, {str(out / 'parts' / 'x.json')!r}):\n"
        "    with contextlib.suppress(OSError):\n        open(name, 'w').write('{}')\n    with "
        "contextlib.suppress(OSError):\n"
        "        os.remove(name)"
    )
    submission(tmp_path / "class" / "eve" / "90.ipynb", eve, DOUBLE)
    found = grading.find_submissions([tmp_path / "class"])
    results = grading.grade_all(found, out, 7, SHORT, 1, say=quiet, hidden=[tmp_path / "class"])
    assert [result.points for result in results] == [10, 20]
    assert mate.read_bytes() == kept and not (out / "parts" / "x.json").exists()


def test_the_table_of_hostile_submissions_says_what_it_must():
    """tests/hostile.md, as `python tests/hostile.py` wrote it."""
    import hostile

    text = hostile.TABLE.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| all |"))
    tried, well, hung, gained, lost, other = (int(part) for part in row.split("|")[2:-1])
    assert tried >= 100 and tried == well and (hung, gained, lost, other) == (0, 0, 0, 0)
    assert len({s.name for s in hostile._everything()}) >= 100 and "protection: none" not in text


@pytest.mark.slow
@pytest.mark.skipif(kernels.protection() == "none", reason="no bubblewrap, and not started by root")
def test_some_of_the_hostile_submissions_end_as_they_should(monkeypatch):
    import hostile

    monkeypatch.setattr(kernels, "WALL_FACTOR", kernels.WALL_FACTOR)
    monkeypatch.setattr(kernels, "GRACE_SECONDS", kernels.GRACE_SECONDS)
    tried = hostile.run(hostile.everything()[::9], 2, quiet)
    assert {t.submission.name: t.flaws for t in tried if t.flaws} == {}


# -- files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}', "\x00\xff"]
)
def test_what_is_no_notebook_is_told_and_not_graded(tmp_path, text):
    path = tmp_path / "01_x.ipynb"
    path.write_text(text, encoding="latin-1")
    result = grading.grade(path, 1)
    assert "cannot be read" in result.problem and result.points == result.of == 0


def test_a_notebook_of_no_exercise_is_told(tmp_path):
    path = submission(tmp_path / "holiday.ipynb", "1", exercise=None)
    assert "no exercise" in grading.grade(path, 1).problem
    named = submission(tmp_path / "90_mine.ipynb", "1", exercise=None)
    assert grading.read_submission(named) == (["1"], "90")


def test_a_folder_is_searched_for_notebooks_and_names_stay_unique(tmp_path):
    for name in ("anna/90.ipynb", "bob/90.ipynb", "bob/.ipynb_checkpoints/90-checkpoint.ipynb"):
        submission(tmp_path / "class" / name, "1")
    found = grading.find_submissions([tmp_path / "class", tmp_path / "class" / "bob" / "90.ipynb"])
    assert list(found) == ["anna/90.ipynb", "bob/90.ipynb"]
    several = grading.find_submissions([tmp_path / "class" / "anna", tmp_path / "class" / "bob"])
    assert list(several) == ["anna/90.ipynb", "bob/90.ipynb"], "what a shell makes of class/*"
    alone = [tmp_path / "class" / "bob"]
    base = grading._base_of(tmp_path / "out", [tmp_path / "class"])
    assert list(grading.find_submissions(alone, base)) == ["bob/90.ipynb"]
    assert grading._base_of(tmp_path / "out", alone) == tmp_path / "class", "the same name as in the class"


# -- a class (the kernels are left out) -----------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """grade() that notes whom it was asked to grade, and how many at the same time."""
    seen, running, most, lock = [], set(), [0], threading.Lock()

    def fake(path, seed, limits=None, name=None, data=None, hidden=()):
        with lock:
            seen.append(name)
            running.add(name)
            most[0] = max(most[0], len(running))
        earned = int("".join(json.loads(path.read_text())["cells"][0]["source"])[-1])
        tasks = [{"task": "double", "title": "", "of": 10, "points": earned, "status": "", "mistake": None}]
        tasks[0]["message"] = "so"
        threading.Event().wait(0.02)
        with lock:
            running.discard(name)
        return Result(name, "90", earned, 10, tasks, seconds=0.1)

    monkeypatch.setattr(grading, "grade", fake)
    monkeypatch.setattr(grading, "protection", lambda: "bubblewrap")
    return seen, most


def a_class(tmp_path: Path, n: int) -> dict[str, Path]:
    for i in range(n):
        submission(tmp_path / "class" / f"learner{i:02}" / "90.ipynb", f"x = {i % 10}")
    return grading.find_submissions([tmp_path / "class"])


def quiet(text: str) -> None:
    pass


def test_a_class_of_30_is_graded_several_at_a_time_into_json_and_csv(tmp_path, counted):
    seen, most = counted
    results = grading.grade_all(a_class(tmp_path, 30), tmp_path / "out", jobs=4, say=quiet)
    assert len(seen) == 30 and 1 < most[0] <= 4
    assert [result.points for result in results] == [i % 10 for i in range(30)]
    written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert len(written["results"]) == 30 and isinstance(written["seed"], int)
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["double"] for row in rows] == [str(i % 10) for i in range(30)]
    assert rows[3]["submission"] == "learner03/90.ipynb"


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(tmp_path, counted, monkeypatch):
    seen, _ = counted
    submissions, out = a_class(tmp_path, 6), tmp_path / "out"

    def interrupt(text):
        if text.startswith("[3 of 6]"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grading.grade_all(submissions, out, jobs=1, say=interrupt)
    kept = {json.loads(p.read_text())["result"]["submission"] for p in (out / "parts").glob("*.json")}
    seen.clear()
    results = grading.grade_all(submissions, out, jobs=1, say=quiet)
    assert len(kept) >= 3 and set(seen) == set(submissions) - kept
    assert [result.points for result in results] == list(range(6))


def test_only_what_changed_is_graded_again(tmp_path, counted):
    seen, _ = counted
    submissions, out = a_class(tmp_path, 4), tmp_path / "out"
    grading.grade_all(submissions, out, say=quiet)
    seen.clear()
    grading.grade_all(submissions, out, say=quiet)
    assert seen == []
    submission(submissions["learner02/90.ipynb"], "x = 9")
    grading.grade_all(submissions, out, say=quiet)
    assert seen == ["learner02/90.ipynb"]
    for changed in ({"again": True}, {"limits": Limits(cell=5)}, {"seed": 5}):
        seen.clear()
        grading.grade_all(submissions, out, say=quiet, **changed)
        assert sorted(seen) == list(submissions), changed


def test_one_learner_graded_again_changes_that_row_alone(tmp_path, counted):
    submissions, out = a_class(tmp_path, 4), tmp_path / "out"
    grading.grade_all(submissions, out, say=quiet)
    submission(submissions["learner02/90.ipynb"], "x = 9")
    alone = {name: path for name, path in submissions.items() if name.startswith("learner02")}
    assert [result.points for result in grading.grade_all(alone, out, say=quiet)] == [9]
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["submission"]: row["double"] for row in csv.DictReader(file)}
    assert rows == {f"learner0{i}/90.ipynb": str(9 if i == 2 else i) for i in range(4)}


def test_a_file_that_was_changed_while_it_was_graded_is_graded_again(tmp_path, counted, monkeypatch):
    """The key is that of the bytes which were graded, and not of those which lay there when the run began."""
    seen, _ = counted
    submissions, out = a_class(tmp_path, 1), tmp_path / "out"
    ((name, path),) = submissions.items()
    first, read = path.read_bytes(), grading._data
    calls = []

    def changing(one):
        calls.append(one)
        return read(one) if len(calls) == 1 else b"broken"

    monkeypatch.setattr(grading, "_data", changing)
    grading.grade_all(submissions, out, say=quiet)
    monkeypatch.setattr(grading, "_data", read)
    seen.clear()
    assert path.read_bytes() == first
    grading.grade_all(submissions, out, say=quiet)
    assert seen == [name]


def test_points_that_somebody_wrote_into_a_kept_grade_are_never_more_than_there_are(tmp_path, counted):
    submissions, out = a_class(tmp_path, 2), tmp_path / "out"
    grading.grade_all(submissions, out, say=quiet)
    for part in (out / "parts").glob("*.json"):
        kept = json.loads(part.read_text())
        kept["result"]["tasks"][0] |= {"points": 999, "of": 999}
        part.write_text(json.dumps(kept))
    assert all(result.points <= result.of == 10 for result in grading.grade_all(submissions, out, say=quiet))


def test_without_protection_kept_grades_are_believed_only_if_one_says_so(tmp_path, counted, monkeypatch):
    seen, _ = counted
    monkeypatch.setattr(grading, "protection", lambda: "none")
    submissions, out = a_class(tmp_path, 2), tmp_path / "out"
    for options, times in (({}, 2), ({}, 4), ({"resume": True}, 4)):
        grading.grade_all(submissions, out, say=quiet, **options)
        assert len(seen) == times


def test_a_learner_gets_a_file_with_points_reasons_and_answers_in_words(tmp_path):
    task = {
        "task": "write",
        "title": "Write",
        "of": 20,
        "points": 8,
        "status": "wrong",
        "mistake": "one too many",
    }
    words = [
        {"question": "Why?", "answer": "Because ``` of <b>this</b>."},
        {"question": "And?", "answer": ""},
    ]
    result = Result(
        "ann b/01 x.ipynb", "01", 8, 20, [task | {"message": "too\nlong"}], ["Cell 3 failed."], texts=words
    )
    grading.write_results([result, Result("bob/../01.ipynb", problem="It is empty.")], tmp_path, 1)
    said = (tmp_path / "feedback" / "ann b" / "01 x.md").read_text(encoding="utf-8")
    for part in (
        "Next-token prediction: 8 of 20",
        "one too many",
        "too\nlong",
        "Cell 3",
        "````text\nBecause ```",
    ):
        assert part in said, part
    assert said.count("Points and remarks of your instructor") == 2 and "Nothing was written" in said
    assert "It is empty." in (tmp_path / "feedback" / "bob" / "_" / "01.md").read_text(encoding="utf-8")


def test_what_programs_leave_in_a_folder_is_no_submission(tmp_path):
    for place in (
        "ada/01.ipynb", "ada/._01.ipynb", "__MACOSX/ada/._01.ipynb", "ada/.ipynb_checkpoints/01-checkpoint.ipynb",
        ".Trash/01.ipynb", "ada/.hidden.ipynb",
    ):  # fmt: skip
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"{}")
    assert list(grading.find_submissions([tmp_path])) == ["ada/01.ipynb"]
    named = tmp_path / "ada" / ".hidden.ipynb"
    assert list(grading.find_submissions([named]).values()) == [named]  # asked for by name


def test_answers_in_words_are_found_by_nbgraders_metadata(tmp_path):
    path = submission(tmp_path / "90.ipynb", "1")
    notebook = json.loads(path.read_text())
    own = {"nbgrader": {"grade": True, "solution": True}}
    for source, metadata in (("Why so?", {}), ("Mine.", own), ("And how?", {}), ("YOUR ANSWER HERE", own)):
        notebook["cells"].append({"cell_type": "markdown", "source": source, "metadata": metadata})
    path.write_text(json.dumps(notebook))
    assert grading.read_answers(path) == [
        {"question": "Why so?", "answer": "Mine."},
        {"question": "And how?", "answer": ""},
    ]


def test_nothing_reaches_a_terminal_or_a_spreadsheet_that_these_would_obey(tmp_path):
    evil = Result(
        "=1+1/x\n999.ipynb", "01", problem="\x1b[2J\x1b]0;x\x07 gone\r\nmate: 0 of 20", notes=["@SUM(1)"]
    )
    said = grading.table([evil])
    assert "\x1b" not in said and "\x07" not in said and len(said.splitlines()) == 2
    grading.write_results([evil], tmp_path, 1)
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["submission"].startswith("'=") and row["notes"].startswith("'@")


def test_private_checks_are_found_from_anywhere_and_an_empty_folder_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_CHECKS", "private/")
    assert kernels.kernel_environment(tmp_path)["COURSE_CHECKS"] == str(tmp_path / "private")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("COURSE_CHECKS", "empty")
    a_class(tmp_path, 1)
    assert grading.main([str(tmp_path / "class"), "--out", str(tmp_path / "out")]) == 2
    assert "COURSE_CHECKS names" in capsys.readouterr().err


@pytest.mark.parametrize("exercise", [["90"], {"a": 1}, None, 90.5])
def test_an_odd_number_of_an_exercise_is_told_in_plain_words(tmp_path, exercise):
    path = submission(tmp_path / "x.ipynb", "1")
    notebook = json.loads(path.read_text())
    for metadata in ({"course": {"exercise": exercise}}, [], None, {"course": []}):
        path.write_text(json.dumps(notebook | {"metadata": metadata}))
        assert "no exercise" in grading.grade(path, 1).problem
    path.write_text(json.dumps(notebook | {"metadata": {"course": {"exercise": 90}}}))
    assert grading.read_submission(path)[1] == "90"


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither pipes nor links of this kind")
def test_what_is_no_file_of_its_own_is_not_read(tmp_path):
    submission(tmp_path / "mate" / "90.ipynb", "1")
    (tmp_path / "eve").mkdir()
    link, pipe = tmp_path / "eve" / "90.ipynb", tmp_path / "eve" / "90_b.ipynb"
    link.symlink_to("../mate/90.ipynb")
    os.mkfifo(pipe)
    assert "link" in grading.grade(link, 1).problem and "no file" in grading.grade(pipe, 1).problem


def test_no_more_kernels_than_memory_allows(monkeypatch):
    import psutil

    class Memory:
        available = 5e9

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert grading.most_jobs(Limits(memory=2000)) == 2
    assert grading.most_jobs(Limits(memory=9000)) == 1


def test_the_exit_code_says_how_it_went(tmp_path, counted, capsys, monkeypatch):
    a_class(tmp_path, 3)
    folder, out = str(tmp_path / "class"), ["--out", str(tmp_path / "out")]
    assert grading.main([folder, *out]) == 0
    said = capsys.readouterr().out
    assert "learner02/90.ipynb: 2 of 10 points" in said and "Protection: bubblewrap" in said
    assert grading.main([folder, *out, "--pass-mark", "10"]) == 3
    assert grading.main([str(tmp_path / "nowhere"), *out]) == 2
    monkeypatch.setattr(
        grading, "grade", lambda path, seed, limits, name, *rest: Result(name, problem="It is empty.")
    )
    assert grading.main([folder, *out, "--again"]) == 1
    assert "not graded. It is empty." in capsys.readouterr().out


def test_course_py_hands_the_options_on(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("course_copy", grading.ROOT / "course.py")
    course = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course)
    handed = []
    monkeypatch.setattr(course, "ensure_environment", lambda level: Path("python"))
    monkeypatch.setattr(course, "hand_over", lambda *told: handed.append(told) or 0)
    monkeypatch.chdir(tmp_path)
    options = ["class", "--jobs", "3", "--pass-mark", "50", "--out", "out", "--again"]
    assert course.main(["grade", *options]) == 0
    command, _, folder = handed[-1]
    # From the folder where it was typed, so that "class" and "out" mean what they say.
    assert command[1:] == ["-m", "course_grading.grading", *options] and folder == str(tmp_path)
    assert course.main(["progress"]) == 0 and handed[-1][0][1:] == ["-m", "course_grading.report"]


def test_the_help_says_what_it_does_not_protect_against(capsys):
    with pytest.raises(SystemExit) as done:
        grading.main(["--help"])
    said = capsys.readouterr().out
    assert done.value.code == 0 and "does not protect" in said and "--network none" in said
