"""The learner's scoreboard: behaviour rates with intervals, of models and of ways to prompt them.

Read `board.py` for the call, `suites.py` and `course_utils/suites/README.md` for what is asked,
`judges.py` for what counts as right, `sandbox.py` for how code is run, `paired.py` for comparing two columns,
`figures.py` for drawing rates.

Each name is fetched from its module on first use: whoever needs only the judges, which know words and no model,
does not load torch.
"""

from importlib import import_module

_NAMES = {
    ".board": "Scoreboard judge_outputs scoreboard",
    ".paired": "Comparison mcnemar compare_outcomes paired_difference",
    ".sandbox": "passes_tests",
    ".suites": "KINDS MEASURES PEBBLE_SUITES Item load_suite make_suite suite_names",
    # That package knows this one; this one knows it by name alone.
    "course_runs.limits": "enough_tokens",
    "course_runs.prompting": "paired_table",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = ("board", "judges", "paired", "sandbox", "suites")

__all__ = [*_HOME, *_MODULES]  # noqa: PLE0604 (all of them are strings)


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
