"""The page of measurements is what results.json says, and has a row for every budget that the course promises."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
LESSONS = sorted(path.stem[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PROMISED = (
    "import course_utils",
    "kernel start to first two-variant plot",
    "first two-variant plot, beside by hand",
    "one next-token distribution",
    "complete_batch, 256 prompts × 32 tokens",
    "complete_batch, 256 prompts × 32 tokens, by one call",
    "stream_complete, 64 tokens",
    "live SFT of lesson 05",
    "train.sft, equal steps (8 examples each)",
    "train.sft, one epoch of 80 examples",
    "train.dpo, equal steps (8 pairs each)",
    "train.rl, 1 steps of 8 prompts × 8 answers",
    *(f"lesson {number}, Restart & Run All" for number in LESSONS),
    *(f"lesson {number}, its kernel at most" for number in LESSONS),
    "all lessons, two at a time",
    "all lessons, one after another",
    "a clone, history included",
    "tokens per second",
    "ms from loaded models to the first bars",
)


@pytest.fixture
def report(monkeypatch):
    """benchmarks/report.py as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import report

    yield report
    for name in (
        "report",
        "budgets",
        "growth",
        "playground",
        "real_size",
        "lessons",
        "memory",
        "train_vs_trl",
        "where_time_goes",
    ):
        sys.modules.pop(name, None)


@pytest.fixture
def found() -> dict:
    return json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))


def test_the_page_is_what_the_results_make(report, found):
    assert (FOLDER / "RESULTS.md").read_text(encoding="utf-8") == report.page(found), (
        "run: python benchmarks/report.py --render"
    )


def test_every_promise_has_a_row_and_says_on_which_machine_or_why_it_has_none(report, found):
    measured = {row[0] for part in found.values() for row in part["rows"]}
    assert set(PROMISED) - measured == set(report.budgets.UNMEASURED)
    assert all(part["machine"] and part["date"] for part in found.values())


def test_the_instructors_table_of_memory_is_what_was_measured(found):
    text = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
    table = text.split("| lesson | MB |")[1].split("\n\n")[0]
    peaks = {row[0]: row[1] for row in found["lessons"]["rows"]}
    for number in LESSONS:
        assert f"| {number} | {peaks[f'lesson {number}, its kernel at most']:.0f} |" in table


def test_every_budget_is_kept_or_said_to_be_missed_with_the_reason(report, found):
    """Who makes something slower than its budget must say so, and who mends it must take the excuse away."""
    rows = [report.budgets.Row(*row) for row in report.rows_of(found)]
    over = {row.what for row in rows if not row.kept}
    assert over == set(report.budgets.MISSED)
    assert all(len(why) > 20 for why in report.budgets.MISSED.values())


def test_a_ratio_is_the_median_of_at_least_five_turns_with_their_range(found):
    compared = [row for part in found.values() for row in part["rows"] if row[3:4] == ["×"]]
    assert compared
    for what, *_, beside in compared:
        turns = re.search(r"[\d.]+ to [\d.]+ in (\d+) turns", beside)
        assert turns and int(turns[1]) >= 5, what


def test_the_median_of_the_turns_and_their_range_are_told(report):
    row = report.budgets.ratio("one", 0.5, [[1.0, 2.0, 9.0], [2.0, 5.0, 10.0]], "by hand", scale=2)
    assert row.measured == 0.25 and row.kept
    assert "0.2 to 0.45 in 3 turns" in row.beside


@pytest.mark.parametrize("megabytes, verdict", [(151, "OVER"), (150, "pass")])
def test_a_budget_that_is_exceeded_is_not_called_kept(report, megabytes, verdict):
    rows = [["a clone, history included", megabytes, 150, "MB", ""]]
    text = report.page({"clone": {"date": "2026-01-01", "machine": "one", "rows": rows}})
    assert f"| {megabytes} MB | 150 MB | {verdict} |" in text


def test_what_is_not_measured_again_stays_and_a_failure_keeps_the_rest(report, tmp_path, monkeypatch, capsys):
    data, page = tmp_path / "results.json", tmp_path / "RESULTS.md"
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "DATA", data)
    monkeypatch.setattr(report, "PAGE", page)
    row = report.budgets.Row("a clone, history included", 77.0, 150, "MB", "history 36 MB")
    monkeypatch.setattr(report.budgets, "in_a_process", lambda part: [row])
    assert report.main(["clone"]) == 0

    def fails(part):
        raise RuntimeError("no such model")

    monkeypatch.setattr(report.budgets, "in_a_process", fails)
    assert report.main(["kernel"]) == 1
    assert "kernel was not measured: no such model" in capsys.readouterr().err
    assert "| a clone, history included | 77 MB | 150 MB | pass | history 36 MB |" in page.read_text(
        encoding="utf-8"
    )


def test_a_part_that_nobody_knows_is_refused_with_the_known_ones(report, capsys):
    with pytest.raises(SystemExit):
        report.main(["batch"])
    assert "importing, kernel, distribution, batches" in capsys.readouterr().err


def test_the_profile_is_of_budgeted_work_and_the_reasons_quote_it(report, found):
    profile = report.where_time_goes
    rows = found["where_time_goes"]["rows"]
    floors = [profile.Floor(*row) for row in rows if len(row) == len(profile.Floor._fields)]
    assert {floor.work for floor in floors} <= {row[0] for row in report.rows_of(found)}
    alone = []
    for floor in floors:
        shares = {row[1]: row[2] for row in rows if row[0] == floor.work and len(row) == 3}
        assert sum(shares.values()) == pytest.approx(1) and shares[profile.PRODUCTS] > 0.3
        assert 0 < floor.rate < 1.05 * floor.best
        if floor.theirs:
            alone.append(round(shares[profile.PRODUCTS] * floor.seconds / floor.theirs, 2))
    told = re.search(r"alone are (\.\d+) to (\.\d+) of TRL's time", report.budgets.PRODUCTS)
    assert [min(alone), max(alone)] == [float(told[1]), float(told[2])]


@pytest.mark.parametrize(
    "name, group",
    [
        ("aten::addmm", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::_fused_adamw_", "the optimizer's update"),
        ("aten::index_select", "copying and joining"),
        ("aten::silu", "norms, activations, sums"),
    ],
)
def test_an_operation_belongs_to_one_group(report, name, group):
    assert report.where_time_goes.group_of(name) == group
