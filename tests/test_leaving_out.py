"""A notebook on two models of different vocabularies: what cannot be compared is left out in words, the rest runs."""

import subprocess
import sys

import pytest
from tiny import reference_tokenizer, tiny_llama

SHELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for number, cell in enumerate(open(sys.argv[1], encoding="utf-8").read().split("# %%\\n")):
    done = shell.run_cell(cell, store_history=True)
    print(f"[{number}] {'ok' if done.success else type(done.error_in_exec or done.error_before_exec).__name__}")
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A tiny model whose vocabulary is not Pebble's."""
    folder = tmp_path_factory.mktemp("model") / "other"
    tokenizer = reference_tokenizer("smollm2-135m-instruct")
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def told(tmp_path, *cells: str) -> list[str]:
    """What each cell printed, and how it ended as the last line."""
    file = tmp_path / "cells.py"
    file.write_text("# %%\n".join(cell + "\n" for cell in cells), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SHELL, str(file)], capture_output=True, text=True, check=True
    )
    outputs, mine = [], []
    for line in done.stdout.splitlines():
        mine.append(line)
        if line.startswith(f"[{len(outputs)}] "):
            outputs.append("\n".join(mine))
            mine = []
    assert len(outputs) == len(cells), done.stdout + done.stderr
    return outputs


def test_a_comparison_is_left_out_in_words_with_all_that_needs_it(other, tmp_path):
    first, compared, function, needs, calls, anew, free, plain = told(
        tmp_path,
        f"from course_utils import load_pair, token_shift\npair = load_pair(('pebble-base', {str(other)!r}))\nrows = 1",
        "kept = 3\nrows = 5\nrows = token_shift(pair, 'Hi')\nname = 'late'",
        "def share(table):\n    return len(table) / len(rows)",
        "print(share([1]))",
        "print(kept, [name for name in 'xy'], (lambda name: name)(1))",
        "rows = 2",
        "print('rows', rows)",
        "print(pair.name); 1 / 0",
    )
    assert "Cells that compare the two token by token will be left out" in first and first.endswith("ok")
    assert "Left out: " in compared and "have different vocabularies" in compared and compared.endswith("ok")
    assert "Left out: this needs rows of a cell that was left out." in function and function.endswith("ok")
    assert "Left out: this needs share of a cell that was left out." in needs and needs.endswith("ok")
    assert "3 ['x', 'y'] 1" in calls, "what was made before, and names of its own, are not lost"
    assert anew.endswith("ok") and "rows 2" in free and "Left out" not in free
    assert plain.endswith("ZeroDivisionError"), "other errors stay errors"


def test_with_one_vocabulary_nothing_is_changed(tmp_path):
    loaded, raised = told(
        tmp_path,
        "from course_utils import load_pair\nload_pair('pebble')",
        "from course_utils.pairs import VocabularyMismatch\nraise VocabularyMismatch('no')",
    )
    assert "left out" not in loaded and raised.endswith("VocabularyMismatch")
