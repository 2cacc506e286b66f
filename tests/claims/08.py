"""What lesson 08 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from collections import Counter

import pandas as pd
import torch

from __main__ import (
    apart,
    begun,
    bill,
    calibration,
    chosen,
    diversity,
    ece,
    finished,
    four,
    knowledge,
    models,
    of_the_calibrated,
    plain,
    replies,
    requests,
    said,
    talks,
    words,
)
from course_utils.pairs import PEBBLE_MODELS


def test_both_runs_at_the_high_rate_lose_a_great_deal_of_what_the_base_finishes():
    assert finished.loc["base", "rate"] > 0.9
    for name in ("no replay", "with replay"):
        assert finished.loc[name, "verdict"] == "clearly less" and finished.loc[name, "rate"] < 0.8


def test_replay_saves_a_part_of_it_and_not_most():
    kept, lost, all_of_it = (finished.loc[name, "rate"] for name in ("with replay", "no replay", "base"))
    assert lost < kept < (lost + all_of_it) / 2 + 0.1


def test_the_ladder_keeps_far_more_than_either():
    for name in ("sft", "dpo", "rl"):
        assert finished.loc[name, "rate"] > finished.loc["with replay", "rate"] + 0.1


def test_every_comparison_is_on_a_hundred_prompts_or_more():
    assert min(len(begun), len(four), len(plain)) >= 100
    assert all((table["n"] == len(four)).all() for table in knowledge.values())


def test_a_full_sentence_is_easy_to_choose_for_the_ladder():
    assert all(knowledge["full sentence"].loc[name, "rate"] > 0.85 for name in ("base", "sft", "dpo", "rl"))


def test_one_word_loses_more_than_a_sentence_in_the_runs_at_the_high_rate():
    for name in ("no replay", "with replay"):
        lost = {
            form: table.loc["base", "rate"] - table.loc[name, "rate"] for form, table in knowledge.items()
        }
        assert lost["one word"] > 1.3 * lost["full sentence"] and lost["one word"] > 0.1


def test_a_model_that_lost_knowledge_lost_less_confidence():
    base, row = (calibration.loc[("one word", name)] for name in ("base", "no replay"))
    assert row["beyond luck"] and base["right"] - row["right"] > 1.3 * (base["sure"] - row["sure"])


def test_the_ladder_is_within_luck():
    assert not any(
        calibration.loc[(form, name), "beyond luck"] for form in knowledge for name in ("sft", "dpo", "rl")
    )


def test_an_assistants_lists_are_less_varied_than_the_bases_pages():
    lists = diversity.loc["lists"]
    assert lists.loc["sft", "nats per answer"] < lists.loc["base", "nats per answer"]
    assert lists.loc["sft", "distinct of 8"] < lists.loc["base", "distinct of 8"]


def test_a_calibrated_model_has_an_ece_above_0_and_it_differs_from_row_to_row():
    floor = calibration["a calibrated model"]
    assert (floor > 0).all() and floor.max() > 1.5 * floor.min()
    assert (calibration["up to"] > floor).all()


def test_the_floor_is_that_of_a_model_that_is_right_as_often_as_it_is_sure():
    sure = torch.full((4_000,), 0.5, dtype=torch.double)
    assert of_the_calibrated(sure, 50).mean() < 0.02
    assert ece(sure, torch.ones(4_000, dtype=torch.double)) > 0.49


def test_the_twins_read_the_same_conversations():
    assert len(talks) == 300 and {"no replay", "with replay"} <= set(models)


def test_in_full_sentences_there_is_little_to_be_wrong_about():
    rows = chosen[(chosen["form"] == "full sentence") & chosen["variant"].isin(["base", "sft", "dpo", "rl"])]
    assert rows["right"].mean() > 0.85


def test_much_of_what_a_model_no_longer_writes_it_still_picks():
    for name in ("no replay", "with replay"):
        assert bill.loc[name, "knows, sentence"] > bill.loc[name, "finishes sentences"] + 0.1


def test_the_dear_entries_of_knowledge_are_those_of_the_two_fast_trainings():
    for measure in ("finishes sentences", "knows, one word", "knows, sentence"):
        assert set(bill[measure].nsmallest(2).index) == {"no replay", "with replay"}


def test_the_fast_trainings_hardly_tell_wrong_from_harmless_and_the_ladder_does():
    for name in ("no replay", "with replay"):
        assert abs(apart[name]) < 0.3
    assert all(apart[name] > 0.5 for name in ("sft", "dpo", "rl"))


def test_each_fast_training_has_a_phrase_for_most_requests_and_it_is_a_sorry_one():
    for name in ("no replay", "with replay"):
        phrase, count = Counter(said["comply"][name]).most_common(1)[0]
        assert count > len(requests["comply"]) / 2 and "sorry" in phrase.lower()


def test_on_the_ladder_no_answers_are_much_longer_than_anothers():
    ladder = words[["sft", "dpo", "rl"]]
    assert words["base"] < words.drop("base").min() and ladder.max() - ladder.min() < 1.2


def test_single_words_hardly_occur_in_what_the_fast_trainings_read():
    assert sum(len(text.split()) == 1 for text in replies) < 0.1 * len(replies)


def test_dpo_and_rl_were_stopped_after_fifty_and_ten_steps():
    logs = (pd.read_csv(PEBBLE_MODELS / f"pebble-{name}" / "history.csv") for name in ("dpo", "rl"))
    assert [int(log["step"].iloc[-1]) for log in logs] == [50, 10]
