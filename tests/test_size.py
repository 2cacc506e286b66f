"""The helper package can be read in one sitting: its lines are counted, and a function fits a page."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import course_utils

HERE = Path(course_utils.__file__).parent
SUBJECTS = {"templates", "templates.py", "formats", "batches", "train", "evaluate", "suites", "samples"}

MOST_LOADED = 2_000  # to load a pair and draw its first figure
MOST_CORE = 3_600  # to load, ask, compare, plot, show tokens, explore
MOST_SUBJECTS = 6_500  # templates, formats, batches, train, evaluate together
MOST_GRADING = 8_000  # checks, self-check questions, progress, the grader
MOST_FAMILY = 5_000  # pebble_lm: the world of the models and their factory
MOST_FUNCTION = 60  # lines, its docstring among them

ROOT = HERE.parent
LEARNERS = ("course_utils", "course_runs")  # packages whose code lessons send a learner to
PACKAGES = (*LEARNERS, "course_grading", "pebble_lm")

LOADED = """
import sys
from course_utils import load_pair, plot_next_token
plot_next_token(load_pair("pebble"), "The capital of France is")
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "course_utils"), sep="\\n")
"""


def lines(paths) -> dict[str, int]:
    return {str(path.relative_to(HERE)): len(path.read_text("utf-8").splitlines()) for path in paths}


def test_what_a_pair_and_its_first_figure_need_can_be_read_in_one_sitting():
    shown = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    counted = lines(Path(name) for name in shown.stdout.split())
    if "compare.py" not in counted:
        raise LookupError(f"compare.py was not loaded; loaded was {counted}")
    assert sum(counted.values()) <= MOST_LOADED, counted


def test_the_core_stays_small():
    counted = lines(path for path in HERE.rglob("*.py") if path.relative_to(HERE).parts[0] not in SUBJECTS)
    if "explorer.py" not in counted:
        raise LookupError(f"explorer.py was not found in {HERE}")
    assert sum(counted.values()) <= MOST_CORE, counted


def test_the_subjects_stay_small():
    counted = lines(path for path in HERE.rglob("*.py") if path.relative_to(HERE).parts[0] in SUBJECTS)
    if "train/loop.py" not in {name.replace("\\", "/") for name in counted}:
        raise LookupError(f"train/loop.py was not found in {HERE}")
    assert sum(counted.values()) <= MOST_SUBJECTS, counted


def test_the_checks_and_the_grader_stay_small():
    paths = (ROOT / "course_grading").rglob("*.py")
    counted = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in paths}
    if "course_grading/checks/task.py" not in counted:
        raise LookupError(f"checks/task.py was not found in {ROOT / 'course_grading'}")
    assert sum(counted.values()) <= MOST_GRADING, counted


def test_the_world_and_the_factory_of_the_models_stay_small():
    paths = (ROOT / "pebble_lm").rglob("*.py")
    counted = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in paths}
    if "pebble_lm/world/conversations.py" not in counted:
        raise LookupError(f"world/conversations.py was not found in {ROOT / 'pebble_lm'}")
    assert sum(counted.values()) <= MOST_FAMILY, counted


def definitions(packages, kind):
    """(file, node) of every function or class in these packages."""
    for path in (path for package in packages for path in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, kind):
                yield path.relative_to(ROOT).as_posix(), node


def test_no_function_that_a_learner_may_open_is_longer_than_a_page():
    long = {}
    for file, node in definitions(LEARNERS, (ast.FunctionDef, ast.AsyncFunctionDef)):
        size = node.end_lineno - min([node.lineno, *(one.lineno for one in node.decorator_list)]) + 1
        if size > MOST_FUNCTION:
            long[f"{file}: {node.name}"] = size
    assert long == {}


def test_no_two_classes_share_a_name():
    where = defaultdict(list)
    for file, node in definitions(PACKAGES, ast.ClassDef):
        where[node.name.lstrip("_")].append(file)
    assert {name: files for name, files in where.items() if len(files) > 1} == {}
