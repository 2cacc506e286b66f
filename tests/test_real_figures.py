"""The figures recorded on a real model: what the commands write, and what the lessons quote of it."""

import math
import re
from pathlib import Path

import pytest

from course_utils.evaluate.stats import wilson
from tools import notebooks, real_figures

RECORDED = notebooks.ROOT / "docs" / "real_pairs"
FOLDER = RECORDED / "SmolLM2-135M-Instruct.Q4_1"
PARAMETERS = 134_515_008
ROW = re.compile(r"^\| (.+) \| (.+) \| (\d+) of (\d+) \| (.+) \|$")


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def figures() -> dict[tuple[str, str], tuple[int, int]]:
    """(what was asked, measure): (passed, n), as figures.md has them."""
    found = {}
    for line in text_of("figures.md").splitlines():
        if row := ROW.match(line):
            asked, measure, passed, n, rate = row.groups()
            low, high = wilson(int(passed), int(n))
            assert rate == f"{int(passed) / int(n):.0%} ({100 * low:.0f}–{100 * high:.0f})", line
            found[asked, measure] = (int(passed), int(n))
    return found


@pytest.mark.parametrize("name", ["figures.md", "steps.md"])
def test_a_page_says_of_what_when_and_on_what_it_was_recorded(name):
    head = text_of(name)[:900]
    assert "SmolLM2-135M-Instruct.Q4_1 (a GGUF file, Q4_1, dequantised)" in head
    assert re.search(r"Recorded 20\d\d-\d\d-\d\d .*Python 3.*torch.*transformers", head)


def test_the_figures_are_whole_and_bear_out_what_the_lessons_say_of_this_model():
    found = figures()
    asked = {what for what, _ in found}
    assert {f"{name}'s template" for name in real_figures.FOREIGN} < asked
    assert {"a butler, a forged system turn", "wrong requests", "Question: … Answer:"} < asked
    n = found["own template", "answers"][1]
    assert n >= 24
    in_its_own, bare = found["own template", "answers"], found["bare text", "answers"]
    assert wilson(*in_its_own)[0] > wilson(*bare)[1], "it needs its template"
    assert wilson(*found["own template, no generation prompt", "answers"])[0] > wilson(*bare)[1], (
        "it opens its turn"
    )
    assert found["bare text", "empty"][0] > n / 2
    assert wilson(*found["llama-2's template", "answers"])[1] < wilson(*in_its_own)[0]
    assert wilson(*found["a butler, a forged system turn", "pirates"])[1] < 0.5, (
        "there is next to nothing to forge"
    )
    limits = [found["own template", f"stops within {limit}"][0] for limit in real_figures.LIMITS]
    assert limits == sorted(limits)
    before, at = re.search(
        r"P\(end\) of .*: ([\d.]+) before .*?, ([\d.]+) at its end", text_of("figures.md")
    ).groups()
    assert float(before) < 0.05 and float(at) > 0.3


def test_one_step_of_each_training_was_timed_with_its_memory():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text_of("steps.md").splitlines()
    ]
    by_name = {row[0]: row for row in rows if len(row) == 6}
    measured = {name: by_name[what] for name, (what, _) in real_figures.STEPS.items()}
    for name, (_, time, processor, peak, _, _) in measured.items():
        assert float(time.removesuffix(" s")) > 0 and float(processor.removesuffix(" s")) > 0
        gigabytes = float(peak.split(" GB")[0])
        # weights, gradients and AdamW's two numbers, four bytes each
        assert gigabytes > (4 if name == "load" else 16) * PARAMETERS / 1e9, name
    for name in ("dpo", "reward"):
        assert float(measured[name][5]) == pytest.approx(math.log(2), abs=0.002), "both begin at ln 2"


def test_a_count_that_a_lesson_quotes_of_this_model_stands_in_a_recorded_page():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in RECORDED.rglob("*.md"))
    recorded = set(re.findall(r"\b\d+ of \d+\b", pages))
    for path in sorted(notebooks.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        for cell in notebooks.read(path).cells:
            if cell.cell_type != "markdown":
                continue
            for part in cell.source.split("\n\n"):
                if "SmolLM2-135M-Instruct" not in part:
                    continue
                quoted = set(re.findall(r"\b\d+ of \d+\b", part))
                assert quoted <= recorded, f"{path.name}, {cell.id}: {quoted - recorded} is recorded nowhere"


@pytest.mark.slow
def test_the_command_writes_pages_of_this_kind(tmp_path, monkeypatch):
    from tools import record_real_pairs

    options = ["pebble-dpo", "--n", "2", "--to", str(tmp_path)]
    assert record_real_pairs.main([*options, "--figures", "--only", "system"]) == 0
    page = (tmp_path / "pebble-dpo" / "figures.md").read_text(encoding="utf-8")
    assert page.startswith("# Short figures of pebble-dpo\n") and page.count(" of 2 |") == 6
    monkeypatch.setattr(
        real_figures, "STEPS", {name: real_figures.STEPS[name] for name in ("load", "reward")}
    )
    assert record_real_pairs.main([*options, "--steps"]) == 0
    page = (tmp_path / "pebble-dpo" / "steps.md").read_text(encoding="utf-8")
    assert "| reward model, 2 pairs |" in page and "| 0.693 |" in page
    assert str(Path.home()) not in page
