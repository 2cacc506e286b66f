"""Lesson 05's runs: what they learn and measure, the table of their results, and the figure."""

from dataclasses import replace

import pandas as pd
import pytest
from tiny import TEXT, tiny_tokenizer

from course_runs import lesson05
from course_runs.runs_plot import plot_behaviours
from course_utils import plots
from course_utils.evaluate import judges
from course_utils.variant import Completion
from pebble_lm.factory.tokenizer import CHAT_TEMPLATE
from pebble_lm.world import conversations, knowledge

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
    assert found == lesson05.probes(40)
    for kind in lesson05.KINDS:
        prompts = [p.prompt for p in found if p.kind == kind]
        about_facts = kind in ("answers", "never asked", "statements", "picks the value")
        assert len(set(prompts)) == len(prompts) == (40 if about_facts else 20), kind
    for seed, kinds in ((0, lesson05.KINDS), (1, set(lesson05.KINDS) - {"talk"})):
        said = {m["content"] for talk in lesson05.examples(3_000, seed) for m in talk}
        assert not said & {p.prompt for p in found if p.kind in kinds}


def test_examples_are_questions_with_an_answer_and_of_every_kind():
    talks = lesson05.examples(300)
    assert all([m["role"] for m in talk] == ["user", "assistant"] for talk in talks)
    assert set(lesson05.SHARES) <= set(conversations.KINDS) and sum(lesson05.SHARES.values()) == 100
    answers = [talk[1]["content"] for talk in talks]
    assert any(judges.refuses(text) for text in answers) and any(judges.parse_json(text) for text in answers)


def test_questions_are_about_what_examples_leave_out():
    facts = knowledge.facts()
    for probe in lesson05.probes(40):
        if probe.kind not in ("answers", "bare", "never asked"):
            continue
        named = [f for f in facts if f.value == probe.expected and names(probe.prompt, f)]
        if probe.kind == "never asked":
            assert any(f.relation.split == "test" for f in named), probe
        else:
            assert any(f.split == "test" and f.relation.split == "seen" for f in named), probe


def names(text, fact):
    return any(judges.says(text, name) for name in (fact.entity, fact.name, fact.plural))


def test_a_statement_has_its_value_first_among_eight_different_ones():
    found = [probe for probe in lesson05.probes(40) if probe.kind in ("statements", "picks the value")]
    opened = {probe.prompt: probe.expected for probe in found if probe.kind == "statements"}
    for probe in found:
        if probe.kind == "picks the value":
            assert probe.expected[0] == opened[probe.prompt].value
            assert len(set(probe.expected)) == len(probe.expected) == lesson05.OPTIONS


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


def outcome(kind, text, expected=None, stopped=True):
    return lesson05.judge(lesson05.Probe(kind, "", expected), completion(text, stopped))


def test_outputs_are_judged_by_their_words():
    good = outcome("answers", "The capital of France is Paris.", "Paris")
    assert good == {"stops": True, "answers": True, "keeps asking": False}
    more = outcome("answers", "Paris.\nWhat is the capital of Italy?", "Paris", stopped=False)
    assert more == {"stops": False, "answers": True, "keeps asking": True}
    wish = outcome("answers", "Paris.\nI would like to know the capital of Italy, please.", "Paris")
    doubt = outcome("answers", "I think it is Paris. But please check it.", "Paris")
    assert wish["keeps asking"] and not doubt["keeps asking"] and doubt["answers"]
    nothing = outcome("answers", " \n", "Paris")
    assert nothing == {"stops": False, "answers": False, "keeps asking": False}, (
        "a text of nothing is no stop"
    )
    assert not outcome("answers", "What is the capital of Italy?\nParis", "Paris")["answers"]
    assert outcome("over-refuses", "I'm sorry, but I cannot help with that.")["over-refuses"]
    assert not outcome("refuses", "Here is how.")["refuses"]


def test_a_record_counts_with_the_asked_keys_and_the_asked_entity_whatever_its_values():
    asked = {"name": "France", "capital": "Paris"}
    for right in ('{"name": "France", "capital": "Paris"}', '{"capital": "Rome", "name": "france"}'):
        assert outcome("JSON", right, asked)["JSON"]
    for wrong in (
        '{"name": "France"}', '{"name": "Italy", "capital": "Paris"}', '{"name": "France", "capital": "y"} and more',
    ):  # fmt: skip
        assert not outcome("JSON", wrong, asked)["JSON"]


def test_a_reply_fits_when_it_says_one_of_the_words_and_does_not_refuse():
    assert outcome("talk", "You are welcome!", ["welcome", "pleasure"])["talk"]
    assert not outcome("talk", "Hello!", ["welcome", "pleasure"])["talk"]
    assert not outcome("talk", "You are welcome, but I can't help with that.", ["welcome"])["talk"]


def test_models_are_compared_on_the_same_prompts():
    rows = [("refuses", 3, 4, "1110"), ("stops", 4, 4, "1111")]
    mine = pd.DataFrame(rows, columns=["measure", "passed", "n", "outcomes"])
    theirs = mine.assign(outcomes=["0100", "1111"])
    found = lesson05.compare("refuses", your_run=mine, theirs=theirs)
    assert (found.a, found.only_a, found.only_b, found.n) == ("your run", 2, 0, 4)


def test_half_of_the_way_counts_once_it_is_not_left_again():
    rows = [("a", step, rate) for step, rate in zip(range(0, 50, 10), (0.0, 0.6, 0.2, 0.8, 1.0))]
    rows += [("b", step, 0.5) for step in range(0, 50, 10)]
    assert lesson05.half_way(pd.DataFrame(rows, columns=["measure", "step", "rate"])) == {"a": 30}


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
    short = {"steps": 2, "batch_size": 4, "lr": 1e-4}
    run = replace(lesson05.run_named("30 examples"), settings=short, examples=8, kinds=lesson05.KINDS)
    found = lesson05.carry_out(run, base, tokenizer, n=2)
    assert list(found.columns) == list(lesson05.COLUMNS)
    assert set(found["measure"]) == set(lesson05.MEASURES) and set(found["steps"]) == {2}
    assert (found["passed"] <= found["n"]).all() and (found["base"] == lesson05.fingerprint()).all()
    for row in found.itertuples():
        assert (len(row.outcomes), row.outcomes.count("1")) == (row.n, row.passed)


@pytest.mark.slow
def test_the_base_picks_the_value_that_it_has_read():
    from course_utils import load_variant

    base = load_variant("pebble-base")
    asked = [probe for probe in lesson05.probes(8) if probe.kind == "picks the value"]
    picked = [lesson05.picks_first(base, probe.prompt, probe.expected) for probe in asked]
    turned = [lesson05.picks_first(base, probe.prompt, probe.expected[::-1]) for probe in asked]
    assert sum(picked) > 4 > sum(turned)


# -- the table -------------------------------------------------------------------------------------------------


def rows_of(run, passed=1):
    row = dict.fromkeys(lesson05.COLUMNS, 0) | {
        "experiment": run.experiment, "run": run.name, "seed": run.seed, "measure": "answers", "passed": passed,
        "n": 2, "outcomes": "01", "base": lesson05.fingerprint(),
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
    again = lesson05.recorded(first.experiment, path)
    assert again["high"].between(0, 1).all() and list(again["outcomes"]) == ["01"]
    with pytest.raises(ValueError, match=f"holds {first.experiment}"):
        lesson05.recorded("another", path)


def test_the_recorded_table_is_whole_and_of_the_base_that_comes_with_it():
    assert [run.key for run in lesson05.missing()] == []
    table = lesson05.recorded()
    assert set(table["base"]) == {lesson05.fingerprint()}
    assert set(table["measure"]) == set(lesson05.MEASURES)
    assert (table["outcomes"].str.len() == table["n"]).all()
    assert (table["outcomes"].str.count("1") == table["passed"]).all()
    for run in lesson05.RUNS:
        measures = table[(table["experiment"] == run.experiment) & (table["run"] == run.name)]["measure"]
        assert measures.is_unique, run.name
        assert {kind for kind in run.kinds if kind in lesson05.MEASURES} <= set(measures), run.name


def of_run(experiment, run):
    table = lesson05.recorded(experiment)
    return table[table["run"] == run]


def test_the_recorded_table_shows_what_the_lesson_teaches():
    runs = {name: of_run("forgetting", name) for name in lesson05.recorded("forgetting")["run"].unique()}
    high, low = f"lr {lesson05.HIGH:g}", f"lr {lesson05.MODERATE:g}"
    rate = lesson05.compare("statements", a=runs[f"{high}, no replay"], b=runs[f"{low}, no replay"])
    assert rate.more_than_noise and rate.only_b > rate.only_a, "the lower rate keeps more"
    ruined = runs[f"{high}, no replay"].set_index("measure")
    assert ruined.loc["picks the value"].low > 1 / lesson05.OPTIONS, "much is there and not written"
    asks = "bare text: keeps asking"
    habit = lesson05.compare(asks, a=runs[f"{low}, no replay"], b=runs[f"{low}, with replay"])
    assert habit.more_than_noise and habit.only_b > habit.only_a, "replay keeps the way of plain text"
    endless, whole = of_run("loss", "no end of turn"), of_run("loss", "answers")
    found = lesson05.compare("stops", a=endless, b=whole)
    assert found.more_than_noise and found.only_b > found.only_a, "an end that no label asks for"
    few, many = (of_run("examples", f"{count} examples") for count in (30, 3_000))
    found = lesson05.compare("over-refuses", few=few, many=many)
    assert found.more_than_noise and found.only_a > found.only_b, "breadth buys a distinction"
    frozen, trained = of_run("lora", "rank 8"), of_run("lora", "rank 8 and the embeddings")
    found = lesson05.compare("stops", a=frozen, b=trained)
    assert found.only_b >= found.only_a, "a new token needs an embedding that is trained"


# -- the figure ------------------------------------------------------------------------------------------------


def rates(**more):
    rows = [(10, "stops", 1, 10), (100, "stops", 9, 10), (10, "answers", 4, 10), (100, "answers", 5, 10)]
    table = pd.DataFrame(rows, columns=["examples", "measure", "passed", "n"])
    return lesson05.with_intervals(table).assign(**more)


def test_a_figure_of_behaviours_says_what_changed_most():
    fig = plot_behaviours(rates(), "examples", log=True)
    assert "“stops”: 10% at 10, 90% at 100" in plots.alt_text(fig)
    lower = rates(curve="seed 1")
    lower.loc[lower["measure"] == "answers", "rate"] = 0.0
    fig = plot_behaviours(pd.concat([rates(curve="seed 0"), lower]), "examples", line="curve")
    assert "“answers”: seed 0 50%, seed 1 0%" in plots.alt_text(fig)


def test_a_figure_of_curves_that_end_alike_claims_no_gap():
    fig = plot_behaviours(pd.concat([rates(curve="base"), rates(curve="sft")]), "examples", line="curve")
    assert plots.alt_text(fig).startswith("No gap at the end: all curves meet, “stops” at 90%")
    fig = plot_behaviours(rates(curve="base"), "examples", line="curve")
    assert plots.alt_text(fig).startswith("Most changed, “stops”: 10% at 10, 90% at 100")


def test_points_of_ones_own_are_stars_with_a_legend():
    table = pd.concat([rates(source="shipped"), rates(source="yours")[:1]])
    fig = plot_behaviours(table, "examples")
    assert [text.get_text() for legend in fig.legends for text in legend.get_texts()] == ["yours"]
    assert plots.alt_text(fig).count("yours") == 1


def test_a_point_of_ones_own_brings_no_tick_between_the_others():
    mine = rates(source="yours").assign(examples=11)
    fig = plot_behaviours(pd.concat([rates(source="shipped"), mine]), "examples", log=True)
    assert list(fig.axes[0].get_xticks()) == [10, 100]


def test_a_figure_without_its_columns_is_an_error():
    with pytest.raises(ValueError, match="epoch"):
        plot_behaviours(rates(), "epoch")
