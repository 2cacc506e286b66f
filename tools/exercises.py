"""Make exercises/ from solutions/: `python course.py exercises [--check]`.

solutions/NN_name.ipynb is the only source: an nbgrader source notebook, executed. The exercise made from it lacks
what stands between `### BEGIN SOLUTION` and `### END SOLUTION` (in its place comes nbgrader's own stub, so that
nbgrader makes the same cells), the hidden tests, and all outputs. Under each check the solution is added, folded.
Nothing depends on the machine or the time: the same source gives the same bytes.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import notebooks

ROOT = notebooks.ROOT
SOLUTIONS, EXERCISES = ROOT / "solutions", ROOT / "exercises"
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
SOLUTION_MARKS = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN_MARKS = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
FOLDED = "folded-solution"
IN_WORDS = "YOUR ANSWER HERE"  # nbgrader's stub for an answer in words
FOLDED_BELOW = " The solution is folded under each check: open it last."


class SourceError(ValueError):
    """A solution notebook that no exercise can be made from. The message names the cell."""


def make_exercise(source: nbformat.NotebookNode, with_solutions: bool = True) -> nbformat.NotebookNode:
    """The exercise of a solution notebook, which is not changed. Raises SourceError."""
    exercise = nbformat.from_dict(source)
    cells, pending = [], None
    for cell in exercise.cells:
        own = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        elif not with_solutions:
            cell.source = cell.source.replace(FOLDED_BELOW, "")
        if own.get("solution") and cell.cell_type == "markdown":  # an answer in words, graded by hand
            answer, cell.source = cell.source, IN_WORDS
            cells.append(cell)
            if with_solutions:
                cells.append(folded(answer, cell.id, code=False))
            continue
        if own.get("solution"):
            pending = solution_of(cell)
            cell.source = without_solution(cell)
        elif SOLUTION_MARKS[0] in cell.source:
            raise SourceError(f"Cell {cell.id} holds a solution, but its nbgrader metadata does not say so.")
        if own.get("grade"):
            cell.source = without_hidden_tests(cell)
        elif HIDDEN_MARKS[0] in cell.source:
            raise SourceError(
                f"Cell {cell.id} holds hidden tests, but its nbgrader metadata does not say so."
            )
        cells.append(cell)
        if own.get("grade") and pending is not None:
            if with_solutions:
                cells.append(folded(pending, cell.id))
            pending = None
    exercise.cells = cells
    return exercise


def without_solution(cell: nbformat.NotebookNode) -> str:
    """A cell's source with the stub in place of each solution, indented as its mark is."""
    lines, inside, found = [], False, False
    for line in cell.source.split("\n"):
        if line.strip() == SOLUTION_MARKS[0]:
            if inside:
                raise SourceError(f"Cell {cell.id}: a solution begins inside another.")
            inside = found = True
            lines += [line[: line.index("#")] + stub for stub in STUB]
        elif line.strip() == SOLUTION_MARKS[1]:
            inside = False
        elif not inside:
            lines.append(line)
    if inside or not found:
        raise SourceError(f"Cell {cell.id}: its solution must stand between {' and '.join(SOLUTION_MARKS)}.")
    return "\n".join(lines)


def solution_of(cell: nbformat.NotebookNode) -> str:
    """A solution cell as a reader wants to see it: without the marks."""
    return "\n".join(line for line in cell.source.split("\n") if line.strip() not in SOLUTION_MARKS)


def without_hidden_tests(cell: nbformat.NotebookNode) -> str:
    """A check cell's source without its hidden tests."""
    lines, inside = [], False
    for line in cell.source.split("\n"):
        if line.strip() in HIDDEN_MARKS:
            inside = line.strip() == HIDDEN_MARKS[0]
        elif not inside:
            lines.append(line)
    if inside:
        raise SourceError(f"Cell {cell.id}: its hidden tests have no end.")
    return "\n".join(lines).rstrip("\n")


def folded(solution: str, check_id: str, code: bool = True) -> nbformat.NotebookNode:
    """A markdown cell that shows a solution, code or words, when it is opened."""
    shown = f"```python\n{solution}\n```" if code else solution
    text = f"<details><summary>{'Solution' if code else 'One answer'}</summary>\n\n{shown}\n\n</details>"
    cell = nbformat.v4.new_markdown_cell(text, metadata={"tags": [FOLDED]})
    cell["id"] = "s-" + hashlib.sha256(check_id.encode()).hexdigest()[:12]
    return cell


def sources() -> list[Path]:
    """The solution notebooks, in order."""
    return sorted(SOLUTIONS.glob("[0-9][0-9]_*.ipynb"))


def text_of(path: Path, with_solutions: bool = True) -> str:
    """The whole file of the exercise made from the solution notebook at `path`."""
    exercise = make_exercise(notebooks.read(path), with_solutions)
    nbformat.validate(exercise)
    return nbformat.writes(exercise).rstrip("\n") + "\n"


def differing(folder: Path, with_solutions: bool = True) -> list[str]:
    """The names of exercises that are missing, too many or not what their source gives."""
    wanted = {path.name: text_of(path, with_solutions) for path in sources()}
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(argv: list[str]) -> int:
    """Write the exercises, or with --check say which differ. 0: all is as it should be."""
    parser = argparse.ArgumentParser(description="Make exercises/ from solutions/.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if they differ")
    parser.add_argument("--to", type=Path, default=EXERCISES, help="folder to write to")
    parser.add_argument("--without-solutions", action="store_true", help="leave the folded solutions out")
    options = parser.parse_args(argv)
    stale = differing(options.to, not options.without_solutions)
    if options.check:
        print(
            "\n".join(f"{name} is not what solutions/ gives" for name in stale) or "exercises/ is up to date"
        )
        return int(bool(stale))
    options.to.mkdir(parents=True, exist_ok=True)
    for path in sources():
        with (options.to / path.name).open("w", encoding="utf-8", newline="\n") as file:
            file.write(text_of(path, not options.without_solutions))
    known = {path.name for path in sources()}
    for name in stale:
        print(f"{name}: {'written' if name in known else 'has no source; delete it'}")
    print(f"{len(known)} exercises are up to date in {options.to.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
