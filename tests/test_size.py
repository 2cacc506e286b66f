"""The helper package stays small enough to be read in one sitting: its lines are counted."""

import subprocess
import sys
from pathlib import Path

import pytest

import course_utils

HERE = Path(course_utils.__file__).parent
SUBJECTS = {"templates", "templates.py", "formats", "batches", "train", "evaluate", "suites", "samples"}

MOST_LOADED = 2_000  # to load a pair and draw its first figure
MOST_CORE = 3_600  # to load, ask, compare, plot, show tokens, explore

# Both budgets are still exceeded; strict, so that this mark goes the day they are kept.
OVER = pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="variant, pairs, ribbon and explorer are still to become smaller",
)

LOADED = """
import sys
from course_utils import load_pair, plot_next_token
plot_next_token(load_pair("pebble"), "The capital of France is")
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "course_utils"), sep="\\n")
"""


def lines(paths) -> dict[str, int]:
    return {str(path.relative_to(HERE)): len(path.read_text("utf-8").splitlines()) for path in paths}


@OVER
def test_what_a_pair_and_its_first_figure_need_can_be_read_in_one_sitting():
    shown = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    counted = lines(Path(name) for name in shown.stdout.split())
    if "compare.py" not in counted:
        raise LookupError(f"compare.py was not loaded; loaded was {counted}")
    assert sum(counted.values()) <= MOST_LOADED, counted


@OVER
def test_the_core_stays_small():
    counted = lines(path for path in HERE.rglob("*.py") if path.relative_to(HERE).parts[0] not in SUBJECTS)
    if "explorer.py" not in counted:
        raise LookupError(f"explorer.py was not found in {HERE}")
    assert sum(counted.values()) <= MOST_CORE, counted
