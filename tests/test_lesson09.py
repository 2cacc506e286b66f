"""Lesson 08's examples and its table: drawn as described, apart from each other, and of the weights shipped."""

import json

import pandas as pd
import pytest

from course_runs import lesson09
from course_utils.evaluate import passes_tests
from pebble_lm.world import knowledge


def test_fewer_orders_are_the_beginning_of_more_and_seeds_differ():
    many = lesson09.orders(30)
    assert lesson09.orders(10) == many[:10]
    assert not {o[0]["content"] for o in many} & {o[0]["content"] for o in lesson09.orders(30, seed=1)}


def test_an_order_says_everything_its_record_holds():
    for order, record in lesson09.orders(50):
        values = json.loads(record["content"])
        assert tuple(values) == lesson09.KEYS
        assert all(str(value) in order["content"] for value in values.values())


def test_right_fields_counts_fields_and_nothing_of_what_does_not_parse():
    record = {"item": "lamps", "count": 3, "name": "Tavo", "town": "Orvelton"}
    assert lesson09.right_fields(json.dumps(record), record) == 4
    assert lesson09.right_fields(json.dumps(record | {"count": "3"}), record) == 3
    assert lesson09.right_fields(json.dumps(record) + " and more", record) == 0


def test_training_and_test_orders_share_no_made_up_name():
    used = {json.loads(talk[1]["content"])["name"] for talk in lesson09.orders(1_000)}
    tested = [
        json.loads(talk[1]["content"])
        for seed in (1, lesson09.TEST_SEED)
        for talk in lesson09.orders(40, seed)
    ]
    shared = [record["name"] for record in tested if record["name"] in used]
    assert len(shared) < len(tested) / 5  # short names can be drawn twice; most are new


def test_nothing_that_pebble_has_read_mentions_the_country():
    data = lesson09.country()
    known = {fact.entity for fact in knowledge.facts()} | {fact.value for fact in knowledge.facts()}
    assert not known & {data["country"], *(town["name"] for town in data["towns"])}
    assert all(set(data["statements"]) == set(data["questions"]) <= set(town) for town in data["towns"])


def test_the_documents_state_every_fact_that_is_asked():
    text = "\n".join(lesson09.country_documents(600))
    for town in lesson09.country()["towns"]:
        for name, sentences in lesson09.country()["statements"].items():
            assert any(sentence.format(**town) in text for sentence in sentences), (town["name"], name)
    asked = [*lesson09.country_questions(True), *lesson09.country_questions(False)]
    begun = [*lesson09.country_sentences(True), *lesson09.country_sentences(False)]
    assert len(set(asked)) == len(begun) == 3 * len(lesson09.country()["towns"])
    assert all(f"{beginning} {end}" in text for beginning, end in begun)


def test_no_question_about_the_country_that_is_tested_is_among_what_is_read():
    read = [*lesson09.country_documents(600), *lesson09.old_documents(300)]
    text = "\n".join(read)
    asked = [*lesson09.country_questions(True), *lesson09.country_questions(False)]
    assert not [question for question, _ in asked if question in text]
    # and no template of a test is one of a sheet, or differs from it in a word alone
    for wordings in lesson09.country()["questions"].values():
        sheet, tested = (set(wordings[where].strip("?").lower().split()) for where in ("sheets", "tests"))
        assert len(sheet ^ tested) >= 4, wordings


def test_sheets_ask_about_half_of_the_towns_and_never_about_the_others():
    towns = {True: set(), False: set()}
    for town in lesson09.country()["towns"]:
        towns[town["in_sheets"]].add(town["name"])
    sheets = [text for text in lesson09.country_documents(600) if text.startswith("Question:")]
    assert len(towns[True]) == len(towns[False]) and len(sheets) > 100
    assert all(any(name in text for text in sheets) for name in towns[True])
    assert not [name for name in towns[False] if any(name in text for text in sheets)]


def test_acts_to_name_take_turns_and_tests_hold_only_requests_that_training_never_held():
    kinds = (lesson09.HARMLESS, lesson09.HARMFUL)
    many = lesson09.acts_to_name(400, kinds)
    assert lesson09.acts_to_name(40, kinds) == many[:40]
    assert all(ask["content"].startswith(lesson09.NAME_THE_ACT) for ask, _ in many)
    trained = {ask["content"].removeprefix(lesson09.NAME_THE_ACT) for ask, _ in many}
    for kind in kinds:
        cases = lesson09.acts_test(50, kind)
        assert len({request for request, _ in cases}) == 50 and not trained & {
            request for request, _ in cases
        }


def test_the_act_is_what_the_request_is_about():
    for kind in (lesson09.HARMLESS, lesson09.HARMFUL):
        assert all(act.split()[-1] in request for request, act in lesson09.acts_test(30, kind))


def test_a_passage_holds_the_answer_to_its_question():
    passages = lesson09.country_passages()
    assert len(passages) == 3 * len(lesson09.country()["towns"])
    assert all(answer.lower() in entry.lower() for entry, _, answer in passages)
    profiles = lesson09.profile_passages(40)
    assert (
        lesson09.profile_passages(10) == profiles[:10] and len({question for _, question, _ in profiles}) > 35
    )
    assert all(answer in text for text, _, answer in profiles)


def test_the_chats_about_the_country_ask_what_sheets_ask_and_nothing_of_the_tests():
    asked = {talk[0]["content"] for talk in lesson09.country_talks()}
    tested = {question for half in (True, False) for question, _ in lesson09.country_questions(half)}
    assert len(asked) == 3 * len(lesson09.country()["towns"]) / 2 and not asked & tested


def test_a_gap_filled_with_what_was_cut_out_passes():
    for gap in lesson09.gaps(5):
        assert passes_tests(gap.prefix + gap.middle + gap.suffix, gap.tests)


def test_old_questions_are_about_what_sft_never_asks():
    answers = {fact.value for fact in knowledge.facts() if fact.split == "test"}
    assert {answer for _, answer in lesson09.old_questions(20)} <= answers


# -- the table -------------------------------------------------------------------------------------------------


def test_the_shipped_table_is_complete_and_belongs_to_the_weights():
    table = lesson09.shipped()
    assert lesson09.missing() == [], "run python -m course_runs.lesson09 and commit its table"
    keys = ["start", "examples", "lr"]
    assert {tuple(key) for key in table[keys].itertuples(index=False)} == set(lesson09.RUNS)
    assert (table.groupby(keys)["measure"].nunique() == len(lesson09.MEASURES)).all()
    assert (
        table.groupby("measure")["n"].nunique() == 1
    ).all()  # the same prompts, so that runs can be paired
    assert table["rate"].between(0, 1).all() and (table["passed"] <= table["n"]).all()


def test_both_starts_read_the_same_tokens_at_each_budget():
    table = lesson09.shipped()
    table = table[table["start"].isin(["base", "instruct"])]
    assert (table.groupby(["examples", "lr"])["tokens"].nunique() == 1).all()


def test_outcomes_are_those_of_one_run_in_the_order_of_the_prompts():
    table = lesson09.shipped()
    found = lesson09.outcomes(table, "instruct", lesson09.SOME, "record", min(lesson09.RATES))
    rows = table[
        (table["start"] == "instruct") & (table["lr"] == min(lesson09.RATES)) & (table["measure"] == "record")
    ]
    assert len(found) == lesson09.N and sum(found) == rows["passed"].item()
    assert len(lesson09.outcomes(table, "instruct", 0, "record")) == lesson09.N


def test_missing_runs_are_those_of_other_weights(tmp_path):
    path = tmp_path / "table.csv"
    assert lesson09.missing(path) == list(lesson09.RUNS)
    table = pd.read_csv(lesson09.TABLE, dtype=lesson09.TEXTS)
    table.loc[table["start"] != "base", "weights"] = "00000000"
    table.to_csv(path, index=False)
    assert {run.variant for run in lesson09.missing(path)} == {"instruct"}


@pytest.mark.slow
def test_a_run_measures_everything_it_says():
    from course_utils import load_pair

    pair = load_pair("pebble")
    found = lesson09.carry_out(
        lesson09.CapstoneRun("instruct", 0, 0.0), pair.instruct, pair.instruct.tokenizer, n=4
    )
    assert set(found["measure"]) == set(lesson09.MEASURES) and (found["tokens"] == 0).all()
