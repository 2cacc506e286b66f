"""Lesson 05's runs: what they learn and measure, the table of their results, and the figure."""

from dataclasses import replace

import pandas as pd
import pytest
from tiny import TEXT, tiny_tokenizer

from course_runs import lesson05
from course_utils import plots
from course_utils.variant import Completion
from pebble_lm.factory.tokenizer import CHAT_TEMPLATE
from pebble_lm.world import knowledge

TALK = [
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Italy?"},
    {"role": "assistant", "content": "Rome."},
]


@pytest.fixture(scope="module")
def tokenizer():
    made = tiny_tokenizer(chat=True, extra_text=TEXT[0])
    made.chat_template = CHAT_TEMPLATE
    made.pad_token = "<|pad|>"
    return made


# -- prompts ---------------------------------------------------------------------------------------------------


def test_prompts_are_different_repeatable_and_in_no_example():
    found = lesson05.probes(40)
    assert found == lesson05.probes(40) and len({p.prompt for p in found}) >= len(found) - 20
    for kind in {p.kind for p in found}:
        prompts = [p.prompt for p in found if p.kind == kind]
        assert len(set(prompts)) == len(prompts) == (40 if kind in ("answers", "never asked") else 20)
    said = {m["content"] for seed in (0, 1) for talk in lesson05.examples(3_000, seed) for m in talk}
    assert not said & {p.prompt for p in found}


def test_questions_are_about_what_examples_leave_out():
    facts = knowledge.facts()
    for probe in lesson05.probes(40):
        about = [
            f
            for f in facts
            if any(lesson05.judges.says(probe.prompt, n) for n in (f.entity, f.name, f.plural))
        ]
        about = [f for f in about if f.value == probe.expected]
        if probe.kind in ("answers", "bare"):
            assert any(f.split == "test" and f.relation.split == "seen" for f in about), probe
        if probe.kind == "never asked":
            assert any(f.relation.split == "test" for f in about), probe


def test_too_many_or_too_few_prompts_are_an_error(monkeypatch):
    with pytest.raises(ValueError, match="2 or more"):
        lesson05.probes(1)
    monkeypatch.setattr(lesson05, "plain_question", lambda rng, fact: "Always the same?")
    with pytest.raises(ValueError, match="not 3 different prompts"):
        lesson05.probes(3, seed=1)


def completion(text, stopped=True):
    return Completion(
        prompt="", text=text, token_ids=[], logprobs=[], stop_reason="eos" if stopped else "length"
    )


def test_outputs_are_judged_by_their_words():
    question = lesson05.Probe("answers", "What is the capital of France?", "Paris")
    good = lesson05.judge(question, completion("The capital of France is Paris."))
    assert good == {"stops": True, "answers": True, "asks on": False}
    more = lesson05.judge(question, completion("Paris.\nWhat is the capital of Italy?", stopped=False))
    assert more == {"stops": False, "answers": True, "asks on": True}
    wish = lesson05.judge(question, completion("Paris.\nI would like to know the capital of Italy, please."))
    doubt = lesson05.judge(question, completion("I think it is Paris. But please check it."))
    assert wish["asks on"] and not doubt["asks on"] and doubt["answers"]
    nothing = lesson05.judge(question, completion(" \n"))
    assert nothing == {"stops": False, "answers": False, "asks on": False}, "a text of nothing is no stop"
    late = lesson05.judge(question, completion("What is the capital of Italy?\nParis"))
    assert not late["answers"]
    record = lesson05.Probe("JSON", "", ["capital", "name"])
    assert lesson05.judge(record, completion('{"name": "France", "capital": "Paris"}'))["JSON"]
    for wrong in ('{"name": "France"}', "name: France", '{"name": "x", "capital": "y"} and more'):
        assert not lesson05.judge(record, completion(wrong))["JSON"]
    refused = completion("I'm sorry, but I cannot help with that.")
    assert lesson05.judge(lesson05.Probe("over-refuses", ""), refused)["over-refuses"]
    assert not lesson05.judge(lesson05.Probe("refuses", ""), completion("Here is how."))["refuses"]


# -- what is learned -------------------------------------------------------------------------------------------


def test_fewer_examples_are_the_beginning_of_more_and_seeds_differ():
    assert lesson05.examples(10) == lesson05.examples(100)[:10] != lesson05.examples(10, seed=1)


def test_what_is_learned_is_what_the_name_says(tokenizer):
    end, newline = tokenizer.eos_token_id, tokenizer("\n", add_special_tokens=False)["input_ids"]
    header = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    rows = {}
    for name in lesson05.LEARNED:
        (row,) = lesson05.learned_rows(tokenizer, [TALK], name)
        assert all(label in (i, -100) for i, label in zip(row["input_ids"], row["labels"], strict=True))
        rows[name] = [label for label in row["labels"] if label != -100]
    whole = lesson05.learned_rows(tokenizer, [TALK], "answers")[0]["input_ids"]
    assert rows["everything"] == whole
    words = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("Paris.", "Rome.")]
    assert rows["answers"] == [*words[0], end, *words[1], end]
    assert rows["no end of turn"] == [*words[0], *words[1]]
    assert rows["answers and template"] == [
        token for word in words for token in (*header, *word, end, *newline)
    ]
    with pytest.raises(ValueError, match="learned must be one of"):
        lesson05.learned_rows(tokenizer, [TALK], "nothing")


def test_every_run_has_a_name_of_its_own():
    keys = [run.key for run in lesson05.RUNS]
    assert len(set(keys)) == len(keys)
    assert lesson05.run_named("30 examples").examples == 30
    with pytest.raises(KeyError, match="no run '31 examples'"):
        lesson05.run_named("31 examples")


@pytest.mark.slow
def test_a_run_is_trained_and_measured():
    from course_utils import load_variant

    base, tokenizer = load_variant("pebble-base"), load_variant("pebble-sft").tokenizer
    run = replace(
        lesson05.run_named("10 examples"), settings={"steps": 2, "batch_size": 4, "lr": 1e-4}, every=1
    )
    found = lesson05.carry_out(run, base, tokenizer, n=2)
    assert list(found.columns) == list(lesson05.COLUMNS)
    assert sorted(found["step"].unique()) == [0, 1, 2]
    assert set(found["measure"]) == set(lesson05.MEASURES)
    assert (found["passed"] <= found["n"]).all() and (found["base"] == lesson05.fingerprint()).all()


# -- the table -------------------------------------------------------------------------------------------------


def rows_of(run, passed=1):
    row = dict.fromkeys(lesson05.COLUMNS, 0) | {
        "experiment": run.experiment, "run": run.name, "seed": run.seed, "measure": "answers", "passed": passed,
        "n": 2, "base": lesson05.fingerprint(),
    }  # fmt: skip
    return pd.DataFrame([row])


def test_a_run_replaces_its_own_rows_and_no_others(tmp_path):
    first, second = lesson05.RUNS[:2]
    table = lesson05.merged(rows_of(second), rows_of(first))
    assert list(table["run"]) == [first.name, second.name]
    table = lesson05.merged(table, rows_of(first, passed=2))
    assert list(table["passed"]) == [2, 1]
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    assert [run.key for run in lesson05.missing(path)] == [run.key for run in lesson05.RUNS[2:]]
    table.assign(base="another").to_csv(path, index=False)
    assert len(lesson05.missing(path)) == len(lesson05.RUNS)
    assert lesson05.shipped(first.experiment, path)["high"].between(0, 1).all()
    with pytest.raises(ValueError, match=f"holds {first.experiment}"):
        lesson05.shipped("another", path)


def test_the_shipped_table_is_whole_and_of_the_shipped_base():
    assert [run.key for run in lesson05.missing()] == []
    table = lesson05.shipped()
    assert set(table["base"]) == {lesson05.fingerprint()}
    assert set(table["measure"]) == set(lesson05.MEASURES)
    assert (table["passed"] <= table["n"]).all()
    points = table.groupby(["experiment", "run", "seed", "step"])["measure"]
    assert (points.nunique() == len(lesson05.MEASURES)).all() and (points.size() == points.nunique()).all()


def at_the_end(experiment, run, measure):
    table = lesson05.shipped(experiment)
    rows = table[(table["run"] == run) & (table["measure"] == measure)]
    return rows.sort_values("step").iloc[-1]


def test_the_shipped_table_shows_what_the_lesson_teaches():
    harsh, kept = (f"lr {lesson05.HIGH:g}, {how} replay" for how in ("no", "with"))
    lost = at_the_end("forgetting", harsh, "never asked")
    assert lost["high"] < at_the_end("forgetting", kept, "never asked")["low"], "replay saves knowledge"
    mild, mild_kept = (f"lr {lesson05.MODERATE:g}, {how} replay" for how in ("no", "with"))
    asks_on = at_the_end("forgetting", mild, "bare text: asks on")
    assert asks_on["high"] < at_the_end("forgetting", mild_kept, "bare text: asks on")["low"]
    endless = at_the_end("loss", "no end of turn", "stops")
    assert endless["high"] < at_the_end("loss", "answers", "stops")["low"], "an end that no label asks for"
    few, many = (
        {m: at_the_end("examples", f"{n} examples", m) for m in lesson05.MEASURES} for n in (10, 3_000)
    )
    assert few["stops"]["low"] > 0.9, "the form comes with ten examples"
    for measure in ("answers", "never asked", "JSON"):
        assert few[measure]["high"] < many[measure]["low"], f"breadth buys {measure!r}"


# -- the figure ------------------------------------------------------------------------------------------------


def rates(**more):
    rows = [(10, "stops", 1, 10), (100, "stops", 9, 10), (10, "answers", 4, 10), (100, "answers", 5, 10)]
    table = pd.DataFrame(rows, columns=["examples", "measure", "passed", "n"])
    return lesson05.with_intervals(table).assign(**more)


def test_a_figure_of_behaviours_says_what_changed_most():
    fig = plots.plot_behaviours(rates(), "examples", log=True)
    assert "“stops”: 10% at 10, 90% at 100" in plots.describe(fig)
    lower = rates(curve="seed 1")
    lower.loc[lower["measure"] == "answers", "rate"] = 0.0
    fig = plots.plot_behaviours(pd.concat([rates(curve="seed 0"), lower]), "examples", line="curve")
    assert "“answers”: seed 0 50%, seed 1 0%" in plots.describe(fig)


def test_points_of_ones_own_are_stars_with_a_legend():
    table = pd.concat([rates(source="shipped"), rates(source="yours")[:1]])
    fig = plots.plot_behaviours(table, "examples")
    assert [text.get_text() for legend in fig.legends for text in legend.get_texts()] == ["yours"]
    assert plots.describe(fig).count("yours") == 1


def test_a_point_of_ones_own_brings_no_tick_between_the_others():
    mine = rates(source="yours").assign(examples=11)
    fig = plots.plot_behaviours(pd.concat([rates(source="shipped"), mine]), "examples", log=True)
    assert list(fig.axes[0].get_xticks()) == [10, 100]


def test_a_figure_without_its_columns_is_an_error():
    with pytest.raises(ValueError, match="epoch"):
        plots.plot_behaviours(rates(), "epoch")
