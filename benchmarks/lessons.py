"""Time and memory of lessons: `python benchmarks/lessons.py [LESSON ...]`, lessons such as 01.

Runs each lesson from top to bottom in a fresh kernel, like a learner, and prints how long it took, how much
processor time its kernel had (which other programs on the machine hardly change), and the most memory that the
kernel ever had (its peak resident set). Left out are the section on a real pair, whose time and memory are those of
the pair, and the sections of lesson 05 that need trl or peft, which the course does not install.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import notebooks
from tools.record_real_pairs import NAMED

LIVE = "l05-live"  # the cell of lesson 05 that fine-tunes before the learner's eyes
CLOCK = "import time; print(time.process_time())"
USED = f"""
import json, os, sys
sys.path.append({str(Path(__file__).resolve().parent)!r})
from memory import peak_mb
print(json.dumps([sum(os.times()[:4]), peak_mb()]))
"""
# As on a learner's machine: requirements.txt has none of them, and pandas and transformers load two where they are.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('trl', 'peft', 'pyarrow', 'accelerate')))"


class Used(NamedTuple):
    """What one run of a lesson took; `live` is the processor seconds of lesson 05's live training, None elsewhere."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    live: float | None = None


def used(path: Path) -> Used:
    """Run the notebook at `path` in a copy and measure it. Raises nbclient's CellExecutionError."""
    notebook = notebooks.read(path)
    for cell in notebook.cells:
        cell.source = NAMED.sub(r"\1 = None", cell.source)
    new = nbformat.v4.new_code_cell
    before, after = new(CLOCK), new(CLOCK)
    cells = []
    for cell in notebook.cells:
        cells += [before, cell, after] if cell.get("id") == LIVE else [cell]
    notebook.cells = [new(WITHOUT), *cells, new(USED)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        notebooks.run(notebook, Path(folder), timeout=3600)
        seconds = time.perf_counter() - began
    cpu, peak = json.loads(notebook.cells[-1].outputs[0].text)
    live = float(after.outputs[0].text) - float(before.outputs[0].text) if before in cells else None
    return Used(seconds, cpu, peak, live)


def paths(wanted: list[str] | None = None) -> list[Path]:
    """The lessons' notebooks, or those whose two-digit numbers are `wanted`."""
    found = sorted(notebooks.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if not wanted or path.stem[:2] in wanted]


def main() -> int:
    """Print one line per lesson; 1 when one of them fails."""
    parser = argparse.ArgumentParser(description="Time and memory of lessons.")
    parser.add_argument("lessons", nargs="*", help="such as 01 (default: all)")
    failed = 0
    for path in paths(parser.parse_args().lessons):
        try:
            found = used(path)
        except CellExecutionError as error:
            print(f"{path.stem}: failed\n{error}")
            failed = 1
            continue
        live = "" if found.live is None else f"; its live training {found.live:.0f} s of processor time"
        print(
            f"{path.stem}: {found.seconds:.0f} s, {found.cpu_seconds:.0f} s of processor time, "
            f"peak {found.peak_mb:.0f} MB{live}",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
