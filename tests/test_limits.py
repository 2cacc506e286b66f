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


def test_the_curve_has_each_width_and_the_rates_that_its_page_names(monkeypatch):
    monkeypatch.syspath_prepend(str(limits.PAGE.parents[1] / "benchmarks"))
    import size_curve

    found = size_curve.points()
    assert list(found) == [*size_curve.RUNS, size_curve.EARLIER]
    measures = [measure for _, measure, _ in size_curve.MEASURES]
    for point in found.values():
        assert list(point.rates) and set(point.rates) == set(measures)
        assert all(0 <= passed <= n for passed, n in point.rates.values())
    assert [found[run].tokens for run in size_curve.RUNS] == [found["256/128"].tokens] * 3
    narrow, ours, wide = (found[run].rates for run in size_curve.RUNS)
    for copied in ("summary of a learner's own short text: names right", measures[-1]):
        assert narrow[copied][0] <= 2 < 25 < min(ours[copied][0], wide[copied][0])
    own, bars = size_curve.pebble()
    assert set(own.rates) == set(bars) == set(measures) and own.tokens > 100 * found["256/128"].tokens


def test_another_width_has_pebbles_shape_and_the_curves_trainings_their_part_of_the_tokens(monkeypatch):
    from pebble_lm.factory import recipe

    monkeypatch.syspath_prepend(str(limits.PAGE.parents[1] / "benchmarks"))
    import size_curve

    assert recipe.architecture().to_dict() == recipe.architecture(256).to_dict()
    wide = recipe.architecture(384)
    assert (wide.num_attention_heads, wide.num_key_value_heads, wide.intermediate_size) == (6, 3, 960)
    all_of_it, part = (
        size_curve.tokens_of(size_curve.stages_for(n), size_curve.sft_for(n)) for n in (1, 128)
    )
    assert 0.98 < 128 * part / all_of_it < 1.02
