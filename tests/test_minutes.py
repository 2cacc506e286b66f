"""The minutes that a lesson names are those that its words, code and outputs take."""

import re

import pytest

from tools import minutes
from tools.notebooks import NOTEBOOKS, ROOT, read

COUNTED = ("00", "01", "02", "03", "04")  # the lessons that name what is counted


def cell(kind: str, source: str, *outputs: dict, name: str = "x") -> dict:
    return {"cell_type": kind, "id": name, "source": source, "outputs": list(outputs)}


def test_words_predictions_lines_printed_words_looks_and_questions_count():
    printed, figure = {"output_type": "stream", "text": "word " * 100}, {"output_type": "display_data"}
    assert minutes.cell_minutes(cell("markdown", "word " * 200)) == pytest.approx(1)
    assert minutes.cell_minutes(cell("markdown", "**Predict:**")) == pytest.approx(20 / 60 + 1 / 200)
    assert minutes.cell_minutes(cell("code", "a = 1\n\nb = 2", printed, figure)) == pytest.approx(
        0.1 + 0.5 + 0.25
    )
    assert minutes.cell_minutes(cell("code", 'quiz("00")', figure)) == pytest.approx(0.05 + 2)
    assert minutes.cell_minutes(cell("code", "a = 1", name="colab-setup")) == 0


def test_sections_share_out_all_the_minutes_of_a_lesson():
    path = next(NOTEBOOKS.glob("00_*.ipynb"))
    found = minutes.sections(path)
    assert sum(spent for _, spent in found) == pytest.approx(sum(map(minutes.cell_minutes, read(path).cells)))
    assert found[0][0] == "00 · Start here" and "Key idea" in dict(found)


@pytest.mark.parametrize("number", COUNTED)
def test_a_lesson_names_the_minutes_that_are_counted_and_no_section_takes_fifteen(number):
    path = next(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    named = int(re.search(r"[Aa]bout (\d+) minutes", read(path).cells[0].source)[1])
    assert named % 5 == 0 and abs(named - minutes.counted(path)) < 4
    assert max(spent for _, spent in minutes.sections(path)) < 15
    row = next(
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if path.name in line
    )
    assert row.split("|")[-2].strip() == str(named)
