"""The page of what the models miss says what was measured, all of it."""

import json
from pathlib import Path

from course_utils.pairs import PEBBLE_MODELS
from tools.measuring import limits


def test_the_committed_page_is_the_one_that_the_measurements_give():
    assert limits.PAGE.read_text(encoding="utf-8") == limits.page(PEBBLE_MODELS)


def test_each_missed_bar_of_the_base_and_of_the_rungs_has_a_line_with_its_distance():
    ladder = json.loads((PEBBLE_MODELS / "ladder.json").read_text(encoding="utf-8"))["rates"]
    short = {(r["model"], r["measure"]) for r in ladder if r["met"] == "NO" and r["model"] != "pebble-sft"}
    rows = limits.missed(PEBBLE_MODELS)
    assert short == {(model, measure) for model, measure, *_ in rows if model != "pebble-base"}
    assert any(model == "pebble-base" for model, *_ in rows)
    for model, measure, rate, n, bar, by in rows:
        sign, value = bar.split()
        assert rate < float(value) if sign == "≥" else rate > float(value)
        assert by > 0 and n > 0, (model, measure)
    page = limits.page(PEBBLE_MODELS)
    assert page.count("\n| pebble-") == len(rows)


def test_nothing_is_written_for_a_folder_that_lacks_a_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PAGE", tmp_path / "LIMITS.md")
    limits.write(tmp_path)
    assert not limits.PAGE.exists()
    for name in ("results", "ladder"):
        (tmp_path / f"{name}.json").write_text((PEBBLE_MODELS / f"{name}.json").read_text("utf-8"), "utf-8")
    limits.write(tmp_path)
    assert limits.PAGE.read_text(encoding="utf-8") == limits.page(Path(tmp_path))
