"""tools/notebooks.py: notebooks are run in a fresh kernel, and what changes by itself is not committed."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks

WIDGET = {notebooks.WIDGET_VIEW: {"model_id": "1", "version_major": 2, "version_minor": 0}}


def lesson(*cells) -> nbformat.NotebookNode:
    """A notebook with the metadata that committed ones have."""
    return notebooks.clean(new_notebook(cells=list(cells)))


def executed(source: str, *outputs, count: int = 1, **metadata) -> nbformat.NotebookNode:
    """A code cell that has run."""
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    """What a cell printed."""
    return new_output("stream", name=name, text=text)


def test_a_clean_executed_notebook_has_no_flaws_and_cleaning_it_again_changes_nothing():
    notebook = lesson(new_markdown_cell("# One"), executed("print(1)", stream("1\n")))
    assert notebooks.flaws(notebook) == []
    text = nbformat.writes(notebook)
    assert nbformat.writes(notebooks.clean(notebook)) == text


def test_stderr_and_widget_views_go_and_their_static_pictures_stay():
    picture = {**WIDGET, "image/png": "aGk=", "text/plain": "VBox(children=())"}
    cell = executed(
        "explore()",
        stream("warning", "stderr"),
        new_output("display_data", data={**WIDGET, "text/plain": "VBox(children=())"}),
        new_output("display_data", data=picture),
    )
    (kept,) = lesson(cell).cells[0].outputs
    assert set(kept.data) == {"image/png", "text/plain"}


def test_what_was_printed_in_pieces_is_joined_and_a_progress_bar_leaves_its_last_state():
    cell = executed("run()", stream("10%\r"), stream("50%\r100%"), stream("\ndone\r\n"))
    (kept,) = lesson(cell).cells[0].outputs
    assert kept.text == "100%\ndone\n"


def test_time_stamps_widget_state_and_this_machines_python_leave_the_metadata():
    notebook = new_notebook(cells=[executed("1", execution={"iopub.execute_input": "now"}, tags=["keep"])])
    notebook.metadata.update(
        {"widgets": {}, "kernelspec": {"name": "mine"}, "language_info": {"version": "3.11.7"}}
    )
    cleaned = notebooks.clean(notebook)
    assert cleaned.cells[0].metadata == {"tags": ["keep"]}
    assert set(cleaned.metadata) == {"kernelspec", "language_info"}
    assert "version" not in cleaned.metadata.language_info and cleaned.metadata.kernelspec.name == "python3"


def test_ids_are_kept_and_missing_or_doubled_ones_are_made_from_the_text():
    def ids(*cells: dict) -> list[str]:
        plain = {"cell_type": "markdown", "metadata": {}}
        notebook = {
            "cells": [plain | cell for cell in cells],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        return [cell.id for cell in notebooks.clean(nbformat.from_dict(notebook)).cells]

    first, doubled, missing = ids(
        {"source": "a", "id": "mine"}, {"source": "b", "id": "mine"}, {"source": "c"}
    )
    assert first == "mine" and len({first, doubled, missing}) == 3
    assert ids({"source": "c"}) == [missing]


@pytest.mark.parametrize(
    "cells, words",
    [
        ([new_code_cell("1")], "not executed"),
        ([executed("1", count=2)], "from top to bottom"),
        (
            [executed("1/0", new_output("error", ename="E", evalue="", traceback=[]))],
            "an error in the output",
        ),
        ([executed("1", stream("x", "stderr"))], "outputs to be cleaned"),
        ([executed("1", execution={"shell.execute_reply": "now"})], "cell metadata"),
    ],
)
def test_check_names_each_flaw(cells, words):
    notebook = new_notebook(cells=[nbformat.from_dict(cell) for cell in cells])
    notebook.metadata.update(lesson().metadata)
    (found,) = notebooks.flaws(notebook)
    assert words in found


@pytest.mark.slow
def test_a_notebook_is_run_in_its_folder_and_twice_gives_the_same_bytes(tmp_path, capsys):
    path = tmp_path / "one.ipynb"
    where = f"import os, sys\nprint(os.path.basename(os.getcwd()) == {tmp_path.name!r})"
    notebooks.write(
        new_notebook(cells=[new_code_cell(where), new_code_cell("print('x', file=sys.stderr)")]), path
    )
    assert notebooks.main([str(path)]) == 0
    first = path.read_bytes()
    assert b"True" in first and b"stderr" not in first.replace(b"sys.stderr", b"")
    assert notebooks.main([str(path)]) == 0 and path.read_bytes() == first
    assert notebooks.main(["--check", str(path)]) == 0


@pytest.mark.slow
def test_a_notebook_that_fails_is_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "one.ipynb"
    notebooks.write(new_notebook(cells=[new_code_cell("1/0")]), path)
    before = path.read_bytes()
    assert notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before and "ZeroDivisionError" in capsys.readouterr().out
    assert notebooks.main(["--check", str(path)]) == 1
