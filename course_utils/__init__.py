"""Helpers of the course *Base vs Instruct*: load a base/instruct pair and look at what the two predict.

`import course_utils` is cheap: every public name is fetched from its module on first use, so torch is loaded
only when a model is.
"""

from importlib import import_module

__version__ = "0.1.0"  # the release's tag is v0.1.0; pyproject.toml and tools/badges.py read it here

VARIANTS = ("base", "instruct")

_HOME = {
    "PAIRS": "pairs",
    "LADDER": "pairs",
    "load_pair": "pairs",
    "load_variant": "pairs",
    "Variant": "variant",
    "Completion": "completion",
    "next_token_table": "compare",
    "plot_next_token": "compare",
    "loss_mask": "batches",
    "encode_row": "batches",
    "wilson": "evaluate.stats",
    "FAMILIES": "templates",
    "encode_safely": "templates",
    "toy_tokenizer": "templates",
    "plot_scoreboard": "evaluate.figures",
    "load_suite": "evaluate",
    "scoreboard": "evaluate",
    "show_tokens": "ribbon",
    "explore": "explorer",
    # These packages know this one; this one knows them by name alone.
    "audit_batch": "course_runs.audit",
    "query_base_as_instruct": "course_runs.base_as_instruct",
    "qa_prompt": "course_runs.base_as_instruct",
    "token_shift": "course_runs.shift",
    "plot_token_shift": "course_runs.shift_plot",
    "check": "course_grading.checks",
    "hint": "course_grading.checks",
    "quiz": "course_grading.selfcheck",
    "plot_progress": "course_grading.progress_plot",
}

_MODULES = ("formats", "train", "evaluate")  # handed on whole: formats.detect, train.sft, …

__all__ = ["VARIANTS", *_HOME, *_MODULES]  # noqa: PLE0604 (all of them are strings)


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    home = _HOME[name]
    beside = home.startswith("course_")  # another package
    value = getattr(import_module(home if beside else f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
