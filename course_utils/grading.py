"""The grader has a package of its own, `course_grading`; this name still leads to it."""

import importlib
import sys

sys.modules[__name__] = importlib.import_module("course_grading.grading")
