"""The learner's scoreboard: behaviour rates with intervals, of models and of ways to prompt them.

Read `board.py` for the call, `suites.py` and `course_utils/suites/README.md` for what is asked,
`judges.py` for what counts as right, `sandbox.py` for how code is run, `paired.py` for comparing two columns.
"""

from .board import Scoreboard, compare, judge, scoreboard
from .paired import Comparison, mcnemar, paired_difference
from .sandbox import passes_tests
from .suites import KINDS, MEASURES, PEBBLE_SUITES, Item, load_suite, make_suite, suite_names

__all__ = [
    "KINDS",
    "MEASURES",
    "PEBBLE_SUITES",
    "Comparison",
    "Item",
    "Scoreboard",
    "compare",
    "judge",
    "load_suite",
    "make_suite",
    "mcnemar",
    "paired_difference",
    "passes_tests",
    "scoreboard",
    "suite_names",
]
