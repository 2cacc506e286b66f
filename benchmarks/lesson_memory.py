"""Memory of one learner's kernel: `python benchmarks/lesson_memory.py [LESSON ...]`, lessons such as 01.

Runs each lesson from top to bottom in a fresh kernel, like a learner, and prints the most memory that the kernel had
(its peak resident set, in MB). The section on a real pair is left out: its memory is that of the pair.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import notebooks

PEAK = """
def _peak_mb():
    import sys
    if sys.platform == "win32":
        import psutil
        return psutil.Process().memory_info().peak_wset / 1e6
    if sys.platform == "linux":  # ru_maxrss would count the process that started this one
        lines = open("/proc/self/status").read().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(round(_peak_mb()))
"""


def peak_mb(path: Path) -> int:
    """The peak resident memory, in MB, of a kernel that has run the notebook. Raises nbclient's CellExecutionError."""
    notebook = notebooks.read(path)
    for cell in notebook.cells:
        cell.source = cell.source.replace('REAL_PAIR = "', 'REAL_PAIR = None and "')
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    with tempfile.TemporaryDirectory() as folder:
        notebooks.run(notebook, Path(folder), timeout=3600)
    return int(notebook.cells[-1].outputs[0].text)


def main() -> int:
    """Print a line a lesson; 1 when one of them fails."""
    parser = argparse.ArgumentParser(description="Memory of one learner's kernel, lesson by lesson.")
    parser.add_argument("lessons", nargs="*", help="such as 01 (default: all)")
    wanted, failed = parser.parse_args().lessons, 0
    for path in sorted(notebooks.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if wanted and path.stem[:2] not in wanted:
            continue
        try:
            print(f"{path.stem}: {peak_mb(path)} MB", flush=True)
        except CellExecutionError as error:
            print(f"{path.stem}: failed\n{error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
