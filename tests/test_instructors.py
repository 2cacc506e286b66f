"""docs/instructors.md: its example of private checks works, and what it names is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
SOFTMAX = "def softmax(scores, temperature=1.0):\n    {}\n    return (scores / temperature).softmax(-1)\n"


@pytest.mark.parametrize("flaw, points", [("", 20), ("assert len(scores) > 2", 15)])
def test_the_private_checks_add_a_case_that_counts(tmp_path, flaw, points):
    (example,) = re.findall(r"```python\n(from dataclasses.*?)```", PAGE, re.S)
    (tmp_path / "ex01.py").write_text(example, encoding="utf-8")
    code = SOFTMAX.format(flaw) + (
        "from course_grading.checks import examine, tasks_of\n"
        "print(examine('softmax', softmax).points, sum(task.points for task in tasks_of('01')))"
    )
    env = os.environ | {"COURSE_CHECKS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(points), "105"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the commands are for Linux and macOS, not for Windows")
def test_nbgraders_commands_run_as_written_on_all_nine(tmp_path):
    """The two blocks of "With nbgrader", in a folder with this Python as .venv; only what installs is left out."""
    pytest.importorskip("nbgrader")
    section = PAGE[PAGE.index("## With nbgrader") : PAGE.index("## Checks that learners")]
    first, second = re.findall(r"```\n(.*?)```", section, re.S)
    first = re.sub(r"^.*pip install.*\n", "", first)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "solutions").symlink_to(ROOT / "solutions")
    names = [path.stem for path in sorted((ROOT / "solutions").glob("*.ipynb"))]
    env = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
        "COURSE_PROGRESS": "off",
    }
    env["PATH"] = "/usr/bin:/bin"  # nothing of this Python but what the commands put there
    hand_in = "for n in $(ls release); do mkdir -p submitted/ann/$n; cp release/$n/$n.ipynb submitted/ann/$n/; done\n"
    script = f"set -e\n{first}{hand_in}{second}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    grades = (tmp_path / "class" / "grades.csv").read_text(encoding="utf-8")
    assert [name for name in names if name not in grades] == [] and len(names) == 9


def test_the_options_and_files_it_names_exist():
    programs = ("course.py", "course_grading/grading.py", "course_grading/report.py", "tools/exercises.py")
    course = "".join((ROOT / program).read_text(encoding="utf-8") for program in programs)
    for option in re.findall(
        r"`?(--(?:jobs|seconds|total|clock|memory|seed|pass-mark|again|resume|without-solutions|to|out))\b",
        PAGE,
    ):
        assert f'"{option}"' in course, option
    for path in re.findall(
        r"(?:course_grading|course_utils|solutions|benchmarks)/[\w/]+\.(?:py|ipynb)", PAGE
    ):
        assert (ROOT / path).exists(), path


def test_every_lesson_has_its_objectives_and_its_place_in_the_weeks():
    from course_grading.report import TITLES

    for number, title in TITLES.items():
        assert re.search(rf"^\| {number} \| \w", PAGE, re.M) and f"{number} {title}" in PAGE
