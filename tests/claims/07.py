"""What lesson 07 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

import math

import pandas as pd

from __main__ import (
    BETAS,
    accuracy,
    advantages,
    board,
    calibration,
    change,
    changes,
    compared,
    doubt,
    dpo_runs,
    first_loss,
    held_out,
    judge,
    later_loss,
    library_first,
    library_later,
    most,
    persona_rates,
    rl_runs,
    scores,
    start,
)
from course_utils.pairs import PEBBLE_MODELS


def test_fine_tuning_brings_answers_ends_and_refusals():
    assert all(
        step.more_than_noise and step.difference > 0
        for step in (board.compare("sft", "base", what) for what in ("answers", "stops by itself", "refuses"))
    )


def test_dpo_and_rl_hedge_less_than_sft():
    assert all(sum(doubt[name]) < sum(doubt["sft"]) for name in ("dpo", "rl"))


def test_dpos_loss_by_hand_begins_at_ln_2_and_the_librarys_too():
    assert abs(float(first_loss) - math.log(2)) < 1e-4
    assert abs(library_first - math.log(2)) < 1e-4


def test_dpos_loss_by_hand_is_the_librarys_for_two_different_models():
    assert abs(library_later - float(later_loss)) < 1e-3
    assert library_later < library_first


def test_the_pushed_run_has_the_larger_margin_and_on_its_way_fewer_right_answers():
    gentle, pushed = dpo_runs["gentle"].history, dpo_runs["pushed"].history
    assert pushed.margin.tail(5).mean() > gentle.margin.tail(5).mean()
    assert pushed.right.min() < gentle.right.min() - 0.05


def test_in_the_pushed_run_the_chosen_answers_lose_probability():
    assert (
        dpo_runs["pushed"].history.reward_chosen.tail(5).mean()
        < dpo_runs["gentle"].history.reward_chosen.tail(5).mean()
    )


def test_dpo_pushes_the_hedged_answer_down():
    assert float(changes["DPO, gentle"].mean(0)[1]) < -1


def test_the_reward_by_hand_is_the_librarys():
    assert abs(float(scores[0]) - judge(held_out[0]["prompt"], held_out[0]["chosen"][0]["content"])) < 1e-3


def test_the_judge_tells_hedged_from_plain_better_than_right_from_wrong():
    assert accuracy.rate["concise over hedging"] > 0.8
    assert accuracy.rate["concise over hedging"] > accuracy.rate["right over wrong"]


def test_the_judge_holds_refusals_for_good_whatever_is_asked():
    assert accuracy.rate["refusing what is wrong"] > 0.8
    assert accuracy.rate["helping with what is fine"] < accuracy.rate["refusing what is wrong"]


def test_more_samples_reward_up_hedging_down_and_in_the_end_fewer_right_answers():
    assert most["reward"] > start["reward"] + 0.5
    assert most["hedged answers"] < start["hedged answers"]
    assert most["right answers"] < start["right answers"]


def test_answers_move_as_their_advantages_say():
    assert float(change[advantages > 0].mean()) > float(change[advantages < 0].mean())


def test_the_live_runs_differ_in_beta_alone_and_the_leash_holds():
    assert sorted(BETAS.values()) == [0.0, 0.5]
    assert (
        rl_runs["with KL penalty"].history.kl.tail(3).mean()
        < rl_runs["without"].history.kl.tail(3).mean() / 2
    )


def test_without_the_penalty_the_reward_rises_and_right_answers_fall():
    run = pd.read_csv(PEBBLE_MODELS / "pebble-rl" / "hacked.csv")
    right = run.right.dropna()
    assert run.reward.tail(5).mean() > run.reward.dropna().head(5).mean()
    assert right.iloc[-1] < right.iloc[0] - 0.3


def test_dpo_and_rl_have_more_reward_than_sft_on_the_same_questions():
    assert all(compared.reward[name] > compared.reward["sft"] for name in ("dpo", "rl"))


def test_in_full_sentences_there_is_little_to_be_wrong_about():
    assert (calibration.loc["full sentence"].right > 0.9).all()


def test_chat_speaks_as_it_is_described_with_made_up_words_sft_does_not_and_neither_does_so_unasked():
    def highest(name, what):
        rows = (persona_rates.variant == name) & persona_rates.label.str.contains(what)
        return persona_rates[rows].rate.max()

    assert highest("chat", "made-up words") > highest("sft", "made-up words") + 0.3
    assert max(highest(name, "speaks in a persona") for name in ("sft", "chat")) < 0.1
