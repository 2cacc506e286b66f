"""Who may know whom: imports point downwards only, in no circle, and no private name leaves its module."""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = ("course_utils.templates", "course_utils.formats", "course_utils.batches", "course_utils.train")
SUBJECTS += ("course_utils.evaluate",)
# What each room may know besides itself and other people's packages; the longest name that fits a module is its room.
MAY_KNOW = {
    "course_utils": (),  # the core; its __init__ names the others, and fetches them by name when they are asked for
    **dict.fromkeys(SUBJECTS, ("course_utils",)),
    # Both are pure functions without torch: intervals, and what counts as right in a text.
    "pebble_lm.world": ("course_utils.evaluate.stats", "course_utils.evaluate.judges"),
    "pebble_lm.factory": ("pebble_lm.world", "course_utils"),
    "pebble_lm": ("pebble_lm.world", "pebble_lm.factory"),
    "course_runs": ("pebble_lm.world", "course_utils"),
    "course_grading": ("course_runs", "pebble_lm.world", "course_utils"),
}
PACKAGES = {room.split(".")[0] for room in MAY_KNOW}
OUTSIDE = {"course", "tools", "benchmarks", "tests"}  # these may know every room, and no room knows them
EXCEPTIONS: set[tuple[str, str]] = set()  # (who, whom), to be emptied


def modules() -> dict[str, Path]:
    paths = chain.from_iterable((ROOT / package).rglob("*.py") for package in sorted(PACKAGES))
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def imports(name: str, path: Path) -> set[tuple[str, str]]:
    """(module, name taken from it or "") of every import that can run: those of types alone are left out."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    unseen = {id(inner) for node in types for inner in ast.walk(node)}
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in (node for node in ast.walk(tree) if id(node) not in unseen):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add((inner, "") if inner in MODULES else (source, alias.name))
    return {(source, taken) for source, taken in found if source.split(".")[0] in PACKAGES | OUTSIDE}


MODULES = modules()


@cache
def all_imports() -> dict[str, set[tuple[str, str]]]:
    """Of every module what it imports; read when a test asks, so that collecting the tests stays quick."""
    return {name: imports(name, path) for name, path in MODULES.items()}


def room(name: str) -> str:
    return max((r for r in MAY_KNOW if f"{name}.".startswith(f"{r}.")), key=len, default=name)


def test_a_room_knows_only_the_rooms_below_it():
    found = set()
    for name, taken in all_imports().items():
        for source, _ in taken:
            allowed = (*MAY_KNOW[room(name)], room(name))
            known = any(room(source) == room(a) and f"{source}.".startswith(f"{a}.") for a in allowed)
            known |= room(name) in SUBJECTS and room(source) in SUBJECTS  # the subjects know one another
            known |= room(source) in SUBJECTS and "course_utils" in allowed and room(name) != "course_utils"
            if not known:
                found.add((name, source))
    assert found == EXCEPTIONS


@pytest.mark.parametrize("depth", [9, 2])
def test_no_circle(depth):
    """Among modules; and among what stands in a package: course_utils.train is one, course_utils.pairs another."""
    short = {name: ".".join(name.split(".")[:depth]) for name in MODULES}
    graph: dict[str, set[str]] = {}
    for name, taken in all_imports().items():
        graph.setdefault(short[name], set()).update(
            short[s] for s, _ in taken if s in short and short[s] != short[name]
        )
    TopologicalSorter(graph).prepare()  # graphlib.CycleError names the circle


def test_no_private_name_is_taken_from_another_module():
    taken = {
        (name, f"{s}.{what}")
        for name, found in all_imports().items()
        for s, what in found
        if what.startswith("_")
    }
    for name, path in MODULES.items():
        inside = {source.split(".")[-1] for source, what in all_imports()[name] if not what}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in inside
            ):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                taken |= {(name, f"{node.value.id}.{node.attr}")} if private else set()
    assert taken == set()


def test_the_world_needs_nothing_but_python():
    for name, path in MODULES.items():
        if room(name) == "pebble_lm.world":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
            packages = {part.split(".")[0] for part in (*named, *(node.module for node in nodes))}
            assert packages <= {*sys.stdlib_module_names, "course_utils"}, name


def test_no_notebook_names_the_factory():
    for path in ROOT.glob("[nes]*/*.ipynb"):
        assert "pebble_lm.factory" not in path.read_text(encoding="utf-8"), path.name
