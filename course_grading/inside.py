"""What the grader runs inside a submission's kernel.

`prepare` comes before the first cell: it sets the limits, loads the checks, and remembers the course's modules as they
are. `Course.restore` comes after the last cell and puts them back, so that nothing which a submission changed, shadowed
or deleted counts. They are put back rather than imported again: a class that a submission has imported stays the class
that the checks hand over.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import warnings
from contextlib import suppress
from typing import Any

PACKAGES = ("course_grading", "course_runs", "course_utils", "pebble_lm")
MOST_PROCESSES = 200
RESERVED = 3  # times the memory that may be used


def prepare(exercise: str, memory_mb: int, file_mb: int) -> None:
    """Limit this process, let `exit` be an error instead of the kernel's end, and load the exercise's checks.

    The checks are reached as `__course__` from then on, a builtin, which a cell such as %reset leaves alone.
    """
    # What is used is watched from outside. The system's limit counts what is reserved as well, more than twice as much
    # while torch trains; it is for what asks for so much at once that nobody could watch it.
    _limit("RLIMIT_DATA", RESERVED * memory_mb * 1024 * 1024)
    _limit("RLIMIT_FSIZE", file_mb * 1024 * 1024)
    _limit("RLIMIT_CORE", 0)
    if hasattr(os, "getuid"):
        import psutil

        own = sum(process.info["uids"].real == os.getuid() for process in psutil.process_iter(["uids"]))
        _limit("RLIMIT_NPROC", own + MOST_PROCESSES)
    from IPython import get_ipython

    namespace = get_ipython().user_ns
    for name in ("exit", "quit"):
        namespace.pop(name, None)
    builtins.__course__ = Course(exercise, namespace)


def _limit(name: str, value: int) -> None:
    with suppress(ImportError, ValueError, OSError, AttributeError):
        import resource

        resource.setrlimit(getattr(resource, name), (value, value))


class Course:
    """The course as it was before the first cell, and the checks of one exercise."""

    def __init__(self, exercise: str, namespace: dict[str, Any]):
        from .checks import examine, tasks_of

        tasks_of(exercise)
        self.namespace, self.examine_task, self.result = namespace, examine, ""
        self.folder, self.path = os.getcwd(), [place for place in sys.path if place]
        self.environ, self.variables = os.environ, dict(os.environ)
        self.modules = dict(sys.modules)
        own = [module for name, module in self.modules.items() if _is_ours(name)]
        self.globals = [(vars(module), dict(vars(module))) for module in own]
        named = [pair for _, kept in self.globals for pair in kept.items() if not pair[0].startswith("__")]
        values = {id(value): value for _, value in named}.values()
        self.caches = [value for value in values if hasattr(value, "cache_clear")]
        self.containers = [(value, value.copy()) for value in values if type(value) in (dict, list, set)]
        self.classes = [
            (value, dict(vars(value)))
            for value in values
            if isinstance(value, type) and _is_ours(value.__module__)
        ]

    def restore(self) -> None:
        """Put the course, the folder, the environment and torch's defaults back as they were."""
        os.makedirs(self.folder, exist_ok=True)
        os.chdir(self.folder)
        os.environ = self.environ  # noqa: B003 (the very object, which a submission may have replaced)
        for name in set(os.environ) - set(self.variables):
            del os.environ[name]
        os.environ.update(self.variables)
        warnings.resetwarnings()
        sys.setrecursionlimit(1000)
        sys.path[:] = self.path
        for name in [name for name in sys.modules if _is_ours(name) and name not in self.modules]:
            del sys.modules[name]  # was imported by a cell, which may have changed it
        for name, module in self.modules.items():
            if _is_ours(name) or name not in sys.modules:
                sys.modules[name] = module
        for now, kept in self.globals:
            now.clear()
            now.update(kept)
        for value, kept in self.containers:
            value.clear()
            (value.extend if type(value) is list else value.update)(kept)
        for cls, kept in self.classes:
            for name in set(vars(cls)) - set(kept):
                delattr(cls, name)
            for name, value in kept.items():
                if vars(cls).get(name) is not value:
                    setattr(cls, name, value)
        for cache in self.caches:
            cache.cache_clear()  # a model in it may have been trained
        if torch := sys.modules.get("torch"):
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)

    def examine(self, name: str, seed: int) -> None:
        """Examine what the cells left under a task's name; what came out, as JSON, is `result`."""
        self.result = ""
        if name not in self.namespace:
            found = {"points": 0, "status": "missing", "mistake": None, "message": f"{name} is not defined."}
        else:
            outcome = self.examine_task(name, self.namespace[name], seed)
            found = {"points": outcome.points, "status": outcome.status, "mistake": outcome.mistake}
            found["message"] = outcome.message.strip()
        self.result = json.dumps(found)


def _is_ours(name: Any) -> bool:
    return isinstance(name, str) and name.partition(".")[0] in PACKAGES
