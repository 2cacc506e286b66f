"""How long a lesson takes: `python -m tools.minutes [NOTEBOOK ...]`, in all and section by section.

Counted from the committed notebook: its words and lines of code (at the web edition's speeds), printed words, figures
and tables, predictions and self-check questions, and the run as measured (benchmarks/results.json). What a lesson names
at its top is this, to the nearest five minutes.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from tools.notebooks import NOTEBOOKS, ROOT, read
from tools.website import SECONDS_A_CODE_LINE, WORDS_A_MINUTE

SECONDS_A_LOOK = 15  # at a figure, a table or a ribbon
SECONDS_A_PREDICTION = 20
SECONDS_A_QUESTION = 30
SET_UP = "colab-setup"  # folded, and nobody reads it


def cell_minutes(cell: dict) -> float:
    """Minutes that one cell takes a reader, its run left out."""
    if cell.get("id") == SET_UP:
        return 0.0
    if cell["cell_type"] == "markdown":
        predictions = len(re.findall(r"\*\*Predict", cell["source"]))
        return len(cell["source"].split()) / WORDS_A_MINUTE + predictions * SECONDS_A_PREDICTION / 60
    lines = sum(1 for line in cell["source"].splitlines() if line.strip())
    minutes = lines * SECONDS_A_CODE_LINE / 60
    if re.search(r"\bquiz\(", cell["source"]):
        return minutes + 4 * SECONDS_A_QUESTION / 60
    for output in cell.get("outputs", []):
        if output.get("output_type") == "stream":
            minutes += len(output["text"].split()) / WORDS_A_MINUTE
        else:
            minutes += SECONDS_A_LOOK / 60
    return minutes


def sections(path: Path) -> list[tuple[str, float]]:
    """(heading, minutes) of each section of the notebook at `path`; what stands before the first goes by its name."""
    found = [[path.stem, 0.0]]
    for cell in read(path).cells:
        pieces = (
            re.split(r"^(?=##? )", cell["source"], flags=re.M) if cell["cell_type"] == "markdown" else [None]
        )
        for piece in pieces:
            heading = re.match(r"##? (.+)", piece or "")
            if heading:
                found.append([heading[1], 0.0])
            found[-1][1] += cell_minutes(cell if piece is None else {**cell, "source": piece})
    return [(heading, minutes) for heading, minutes in found if minutes]


def run_minutes(path: Path) -> float:
    """Minutes that the cells of this lesson ran where its time was last measured; 0 where it was not."""
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))["lessons"]["rows"]
    return next((row[1] / 60 for row in rows if row[0].startswith(f"lesson {path.stem[:2]}, Restart")), 0.0)


def counted(path: Path) -> float:
    """Minutes of the whole lesson, its run included."""
    return sum(spent for _, spent in sections(path)) + run_minutes(path)


def minutes(path: Path) -> int:
    """What the lesson should name at its top: everything, to the nearest five minutes."""
    return 5 * round(counted(path) / 5)


def main(argv: list[str]) -> int:
    """Print the minutes of the notebooks named, or of all lessons."""
    parser = argparse.ArgumentParser(description="How long a lesson takes, section by section.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    for path in parser.parse_args(argv).notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        print(
            f"{path.name}: {minutes(path)} minutes ({counted(path):.1f}, {run_minutes(path):.1f} of them running)"
        )
        for heading, spent in sections(path):
            print(f"    {spent:5.1f}  {heading}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
