"""What lesson 08 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

import torch

from __main__ import (
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
    talks,
)


def test_without_replay_much_of_what_the_base_finishes_is_lost_and_the_twin_keeps_more():
    assert finished.loc["base", "rate"] > 0.9
    assert finished.loc["no replay", "verdict"] == "clearly less"
    assert finished.loc["no replay", "rate"] < 0.75
    assert finished.loc["with replay", "rate"] > finished.loc["no replay", "rate"]


def test_the_ladder_keeps_more_than_the_run_without_replay():
    assert all(
        finished.loc[name, "rate"] > finished.loc["no replay", "rate"] for name in ("sft", "dpo", "rl")
    )


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


def test_the_dearest_row_of_the_bill_is_the_run_without_replay():
    assert bill["finishes sentences"].idxmin() == "no replay"
