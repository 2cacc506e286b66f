"""With two vocabularies, a notebook goes on: cells that compare token by token are left out and say why.

Such a cell raises VocabularyMismatch, which would end *Run All*. Here it becomes a printed line, and so do the later
cells that read what it would have made.
"""

import ast
from collections.abc import Iterable
from traceback import walk_tb

from .pairs import VocabularyMismatch


class _NotRun(VocabularyMismatch):
    """A cell was not begun, for want of something that another one would have made."""


def leave_out_mismatches() -> None:
    """From now on cells of this notebook that raise VocabularyMismatch are left out; without one, nothing happens."""
    import sys

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or any(isinstance(one, _LaterCells) for one in shell.ast_transformers):
        return
    print("Cells that compare the two token by token will be left out, each with a line that says so.")
    lost: set[str] = set()  # names that cells which were left out would have made

    def after_a_cell(result) -> None:
        error = result.error_in_exec
        if not isinstance(error, VocabularyMismatch):
            return
        result.error_in_exec = None  # told already, and nothing failed
        lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_name == "<module>"]
        at = 0 if isinstance(error, _NotRun) or not lines else lines[0]
        body = ast.parse(shell.transform_cell(result.info.raw_cell)).body
        for name in _made_by(one for one in body if one.end_lineno >= at):
            shell.user_ns.pop(name, None)  # an older value of that name would be a false one
            lost.add(name)

    shell.set_custom_exc(
        (VocabularyMismatch,), lambda shell, kind, error, *_, **__: print(f"Left out: {error}")
    )
    shell.ast_transformers.append(_LaterCells(lost))
    shell.events.register("post_run_cell", after_a_cell)


class _LaterCells(ast.NodeTransformer):
    """A cell that reads a lost name is not begun; one that makes it anew gives it back."""

    def __init__(self, lost: set[str]):
        self.lost = lost

    def visit_Module(self, node: ast.Module) -> ast.Module:
        names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
        made = {one.id for one in names if isinstance(one.ctx, ast.Store)} | _made_by(node.body)
        made |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
        missing = sorted(({one.id for one in names if isinstance(one.ctx, ast.Load)} & self.lost) - made)
        if not missing:
            self.lost -= _made_by(node.body)
            return node
        reason = f"this needs {', '.join(missing)} of a cell that was left out."
        return ast.parse(f"from course_utils.leaving_out import _NotRun\nraise _NotRun({reason!r})")


def _made_by(body: Iterable[ast.stmt]) -> set[str]:
    """The variables, functions and classes that a cell's own lines make; what they import stays."""
    made: set[str] = set()
    waiting: list[ast.AST] = list(body)
    while waiting:
        one = waiting.pop()
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            made.add(one.name)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            made.add(one.id)
        elif not isinstance(one, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            waiting += ast.iter_child_nodes(one)
    return made
