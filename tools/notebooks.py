"""Run notebooks in place and keep what is committed clean: `python course.py execute [--check] [NOTEBOOK ...]`.

Committed notebooks carry their results, so that GitHub and Colab show the figures, and nothing that changes from
one run to the next by itself: no widget state, no stderr, no time stamps, the same metadata everywhere, and the
cells' ids as they are.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4.rwbase import rejoin_lines

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
# Metadata that JupyterLab, Colab and nbclient write while one works, and that says nothing about the lesson.
PASSING_CELL_KEYS = {
    "ExecuteTime",
    "collapsed",
    "colab",
    "execution",
    "id",
    "outputId",
    "scrolled",
    "trusted",
}
PASSING_NOTEBOOK_KEYS = {"signature", "toc", "widgets"}


def run(
    notebook: nbformat.NotebookNode, folder: Path, timeout: int = 600, timed: bool = False
) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel whose working folder is `folder`, and return the notebook with its outputs.

    The notebook given is changed. With `timed`, each cell's metadata say when it began and ended (`execution`, as
    Jupyter writes them). The kernel finds no progress of whoever runs it, so that none is committed. Raises
    nbclient's CellExecutionError at the first cell that fails, and its CellTimeoutError when one cell takes more than
    `timeout` seconds.
    """
    options = {"timeout": timeout, "kernel_name": "python3", "record_timing": timed}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options)
    with tempfile.TemporaryDirectory() as empty:
        progress = {"COURSE_PROGRESS": os.path.join(empty, "progress.json")}
        return client.execute(env=os.environ | progress)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what must not be committed (see the module's first lines). Changes the notebook and returns it."""
    for key in PASSING_NOTEBOOK_KEYS & set(notebook.metadata):
        del notebook.metadata[key]
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    notebook.metadata["language_info"] = dict(LANGUAGE)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    used = set()
    for cell in notebook.cells:
        cell["id"] = _own_id(cell, used)
        for key in PASSING_CELL_KEYS & set(cell.metadata):
            del cell.metadata[key]
        if cell.cell_type == "code":
            cell.outputs = _clean_outputs(cell.outputs)
    return notebook


def _own_id(cell: nbformat.NotebookNode, used: set[str]) -> str:
    """The id the cell has, or one made from its text when it has none or another cell has it already."""
    name, salt = cell.get("id"), 0
    while not name or name in used:
        name = hashlib.sha256(f"{salt}{cell.source}".encode()).hexdigest()[:8]
        salt += 1
    used.add(name)
    return name


def _clean_outputs(outputs: list) -> list:
    """Drop stderr and widget views, and join what was printed: where a stream is cut is a matter of timing."""
    kept = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        elif WIDGET_VIEW in output.get("data", {}):
            del output.data[WIDGET_VIEW]
            if set(output.data) <= {"text/plain"}:  # only the widget's repr is left: VBox(children=...)
                continue
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":  # a carriage return overwrites its line, as on a terminal
            output.text = re.sub(r"[^\n]*\r(?!\n)", "", output.text.replace("\r\n", "\n"))
    return kept


def flaws(notebook: nbformat.NotebookNode) -> list[str]:
    """What keeps this notebook from being committed, a phrase each; empty when it is executed and clean."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    unrun = sum(cell.execution_count is None for cell in code)
    if unrun:
        found.append(f"{unrun} code cells not executed")
    elif [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("cells not executed once each from top to bottom")
    for cell in code:
        tagged = "raises-exception" in cell.metadata.get("tags", [])
        if not tagged and any(output.output_type == "error" for output in cell.outputs):
            found.append(f"an error in the output of the cell that begins {cell.source.splitlines()[0]!r}")
    found += _differences(notebook, clean(nbformat.from_dict(notebook)))
    return found


def _differences(notebook: nbformat.NotebookNode, cleaned: nbformat.NotebookNode) -> list[str]:
    """What `clean` changed, in words."""
    found = []
    if notebook.metadata != cleaned.metadata:
        found.append("notebook metadata to be cleaned")
    if [cell.get("id") for cell in notebook.cells] != [cell.get("id") for cell in cleaned.cells]:
        found.append("cells without an id of their own")
    pairs = list(zip(notebook.cells, cleaned.cells, strict=True))
    if any(before.metadata != after.metadata for before, after in pairs):
        found.append("cell metadata to be cleaned")
    if any(before.get("outputs") != after.get("outputs") for before, after in pairs):
        found.append("outputs to be cleaned (stderr, widget views or split streams)")
    return found


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook (format 4) exactly as it is; nbformat's own reader would give new ids to doubled ones."""
    return rejoin_lines(nbformat.from_dict(json.loads(path.read_text(encoding="utf-8"))))


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, checked against the format, with \\n line ends on every system."""
    nbformat.validate(notebook)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(nbformat.writes(notebook).rstrip("\n") + "\n")


def check(paths: list[Path]) -> int:
    """Print the flaws of each notebook; 1 when there are any."""
    failed = 0
    for path in paths:
        found = flaws(read(path))
        print(f"{path.name}: {'; '.join(found) or 'executed and clean'}")
        failed = failed or bool(found)
    if failed:
        print("Next: python course.py execute")
    return int(failed)


def execute(paths: list[Path]) -> int:
    """Run, clean and write each notebook; one that fails is left as it was. 1 when any failed."""
    failed = 0
    for path in paths:
        print(f"{path.name} ...", end=" ", flush=True)
        started, notebook = time.time(), read(path)
        try:
            run(notebook, path.parent)
        except CellExecutionError as error:
            print(f"failed, left as it was:\n{error}")
            failed = 1
            continue
        write(clean(notebook), path)
        print(f"{time.time() - started:.1f} s")
    return failed


def main(argv: list[str]) -> int:
    """Run or check the notebooks named on the command line, or all in notebooks/."""
    parser = argparse.ArgumentParser(description="Run notebooks in place and clean them.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; say what is not executed or not clean"
    )
    options = parser.parse_args(argv)
    paths = [path.resolve() for path in options.notebooks] or sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths:
        print(f"There are no notebooks in {NOTEBOOKS}.")
        return 1
    return check(paths) if options.check else execute(paths)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
