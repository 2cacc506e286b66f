"""Lesson 08's examples and its table: drawn as described, apart from each other, and of the weights shipped."""

import json

import pandas as pd
import pytest

from course_runs import lesson08
from course_utils.evaluate import passes_tests
from pebble_lm.world import knowledge


def test_fewer_orders_are_the_beginning_of_more_and_seeds_differ():
    many = lesson08.orders(30)
    assert lesson08.orders(10) == many[:10]
    assert not {o[0]["content"] for o in many} & {o[0]["content"] for o in lesson08.orders(30, seed=1)}


def test_an_order_says_everything_its_record_holds():
    for order, record in lesson08.orders(50):
        values = json.loads(record["content"])
        assert tuple(values) == lesson08.KEYS
        assert all(str(value) in order["content"] for value in values.values())


def test_right_fields_counts_fields_and_nothing_of_what_does_not_parse():
    record = {"item": "lamps", "count": 3, "name": "Tavo", "town": "Orvelton"}
    assert lesson08.right_fields(json.dumps(record), record) == 4
    assert lesson08.right_fields(json.dumps(record | {"count": "3"}), record) == 3
    assert lesson08.right_fields(json.dumps(record) + " and more", record) == 0


def test_training_and_test_orders_share_no_made_up_name():
    used = {json.loads(talk[1]["content"])["name"] for talk in lesson08.orders(1_000)}
    tested = [
        json.loads(talk[1]["content"])
        for seed in (1, lesson08.TEST_SEED)
        for talk in lesson08.orders(40, seed)
    ]
    shared = [record["name"] for record in tested if record["name"] in used]
    assert len(shared) < len(tested) / 5  # short names can be drawn twice; most are new


def test_nothing_that_pebble_has_read_mentions_the_country():
    data = lesson08.country()
    known = {fact.entity for fact in knowledge.facts()} | {fact.value for fact in knowledge.facts()}
    assert not known & {data["country"], *(town["name"] for town in data["towns"])}
    assert all(set(data["statements"]) == set(data["questions"]) <= set(town) for town in data["towns"])


def test_the_documents_state_every_fact_that_is_asked():
    text = "\n".join(lesson08.country_documents(600))
    for town in lesson08.country()["towns"]:
        for name, sentences in lesson08.country()["statements"].items():
            assert any(sentence.format(**town) in text for sentence in sentences), (town["name"], name)
    asked = [*lesson08.country_questions(True), *lesson08.country_questions(False)]
    begun = [*lesson08.country_sentences(True), *lesson08.country_sentences(False)]
    assert len(set(asked)) == len(begun) == 3 * len(lesson08.country()["towns"])
    assert all(f"{beginning} {end}" in text for beginning, end in begun)


def test_no_question_about_the_country_that_is_tested_is_among_what_is_read():
    read = [*lesson08.country_documents(600), *lesson08.old_documents(150)]
    text = "\n".join(read)
    asked = [*lesson08.country_questions(True), *lesson08.country_questions(False)]
    assert not [question for question, _ in asked if question in text]
    # and no template of a test is one of a sheet, or differs from it in a word alone
    for wordings in lesson08.country()["questions"].values():
        sheet, tested = (set(wordings[where].strip("?").lower().split()) for where in ("sheets", "tests"))
        assert len(sheet ^ tested) >= 4, wordings


def test_sheets_ask_about_half_of_the_towns_and_never_about_the_others():
    towns = {True: set(), False: set()}
    for town in lesson08.country()["towns"]:
        towns[town["in_sheets"]].add(town["name"])
    sheets = [text for text in lesson08.country_documents(600) if text.startswith("Question:")]
    assert len(towns[True]) == len(towns[False]) and len(sheets) > 100
    assert all(any(name in text for text in sheets) for name in towns[True])
    assert not [name for name in towns[False] if any(name in text for text in sheets)]


def test_moderation_is_half_wrong_and_tests_only_what_training_never_held():
    labels = [label["content"] for _, label in lesson08.moderation(40)]
    assert labels.count("wrong") == labels.count("fine") == 20
    cases = lesson08.moderation_test(60)
    assert [label for _, label in cases].count("wrong") == 30 and len({text for text, _ in cases}) == 60
    trained = {ask["content"].removeprefix(lesson08.MODERATE) for ask, _ in lesson08.moderation(400, seed=1)}
    assert not trained & {text for text, _ in cases}


def test_the_acts_of_the_probe_have_one_label_a_verb():
    acts = lesson08.acts(2)
    for verb in {act.verb for act in acts}:
        assert len({act.wrong for act in acts if act.verb == verb}) == 1


def test_a_gap_filled_with_what_was_cut_out_passes():
    for gap in lesson08.gaps(5):
        assert passes_tests(gap.prefix + gap.middle + gap.suffix, gap.tests)


def test_old_questions_are_about_what_sft_never_asks():
    answers = {fact.value for fact in knowledge.facts() if fact.split == "test"}
    assert {answer for _, answer in lesson08.old_questions(20)} <= answers


# -- the table -------------------------------------------------------------------------------------------------


def test_the_shipped_table_is_complete_and_belongs_to_the_weights():
    table = lesson08.shipped()
    assert lesson08.missing() == [], "run python -m course_runs.lesson08 and commit its table"
    assert {tuple(key) for key in table[["start", "examples"]].itertuples(index=False)} == set(lesson08.RUNS)
    assert (table.groupby(["start", "examples"])["measure"].nunique() == len(lesson08.MEASURES)).all()
    assert table["rate"].between(0, 1).all() and (table["passed"] <= table["n"]).all()


def test_both_starts_read_the_same_tokens_at_each_budget():
    table = lesson08.shipped()
    table = table[table["start"].isin(["base", "instruct"])]
    assert (table.groupby("examples")["tokens"].nunique() == 1).all()


def test_missing_runs_are_those_of_other_weights(tmp_path):
    path = tmp_path / "table.csv"
    assert lesson08.missing(path) == list(lesson08.RUNS)
    table = pd.read_csv(lesson08.TABLE, dtype={"weights": str})
    table.loc[table["start"] != "base", "weights"] = "00000000"
    table.to_csv(path, index=False)
    assert {run.variant for run in lesson08.missing(path)} == {"instruct"}


@pytest.mark.slow
def test_a_run_measures_everything_it_says():
    from course_utils import load_pair

    pair = load_pair("pebble")
    found = lesson08.carry_out(lesson08.Run("instruct", 0), pair.instruct, pair.instruct.tokenizer, n=4)
    assert set(found["measure"]) == set(lesson08.MEASURES) and (found["tokens"] == 0).all()
