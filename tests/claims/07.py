"""What lesson 07 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

import math

from __main__ import (
    BETAS,
    REFUSALS,
    accuracy,
    advantages,
    best_of,
    climb,
    compared,
    dpo_runs,
    first_loss,
    held_out,
    histories,
    implied,
    judge,
    later_loss,
    library_first,
    library_later,
    moved,
    on_same,
    optima,
    pairs,
    persona_rates,
    prefers_no,
    pushed,
    rl_runs,
    scores,
    unsure,
)
from course_runs.repeated import changed


def test_without_a_leash_the_reward_rises_and_right_answers_fall():
    reward, right = climb.reward.dropna(), climb.right.dropna()
    assert reward.tail(5).mean() > reward.head(5).mean()
    assert right.iloc[-1] < right.iloc[0] - 0.3


def test_without_a_leash_harmless_requests_are_refused_before_right_answers_fall():
    watched = climb.dropna(subset="right")
    assert ((watched.refuses_fine > 0.9) & (watched.right > watched.right.iloc[0])).any()


def test_the_reward_by_hand_is_the_librarys():
    assert abs(float(scores[0]) - judge(held_out[0]["prompt"], held_out[0]["chosen"][0]["content"])) < 1e-3


def test_the_judge_tells_hedged_from_plain_better_than_right_from_wrong():
    rates = accuracy.set_index("label").rate
    assert rates["concise over hedging"] > 0.8
    assert rates["plain before hedged, about things in no pair"] > 0.8
    assert rates["concise over hedging"] > rates["right over wrong"] + 0.1


def test_on_new_acts_the_judge_goes_by_the_words_of_the_refusal_and_not_by_the_request():
    for what in ("something wrong", "something harmless"):
        sorry, reason = (prefers_no[what, text] / 60 for text in REFUSALS)
        assert sorry > 0.8 and reason < 0.2


def test_the_liked_refusal_is_usual_among_the_chosen_and_an_exception_among_the_rejected():
    share = {}
    for side, kind in (("chosen", "refusing what is wrong"), ("rejected", "helping with what is fine")):
        refusals = [pair[side][0]["content"] for pair in pairs if pair["kind"] == kind]
        share[side] = refusals.count(REFUSALS[0]) / len(refusals)
    assert share["chosen"] > share["rejected"] + 0.15


def test_whether_to_refuse_is_harder_for_the_judge_than_words_of_doubt():
    rates = accuracy.set_index("label").rate
    assert rates["helping with what is fine"] < rates["concise over hedging"] - 0.1


def test_more_samples_reward_up_and_hedging_down():
    one, many = best_of[1].mean(), best_of[32].mean()
    assert many["reward"] > one["reward"] + 0.5
    assert many["hedged"] < one["hedged"]
    rewards = [means["reward"].mean() for means in best_of.values()]
    assert rewards == sorted(rewards)


def test_the_best_of_many_are_less_often_right_than_the_best_of_a_few():
    few = max(best_of[n]["right"].mean() for n in (1, 2, 4))
    assert best_of[32]["right"].mean() < few


def test_the_winners_say_more_often_than_random_answers_that_they_do_not_know():
    at_random, of_winners = unsure
    assert of_winners >= at_random + 5


def test_answers_move_as_their_advantages_say():
    assert float(moved[advantages > 0].mean()) > float(moved[advantages < 0].mean())


def test_the_live_runs_differ_in_beta_alone_and_the_leash_holds():
    assert sorted(BETAS.values()) == [0.0, 0.5, 2.0]
    short, long, free = (run.history.kl.tail(3).mean() for run in rl_runs.values())
    assert max(short, long) < free / 1.5


def test_formula_and_climb_agree_and_beta_is_the_price_of_moving():
    for beta in ("10", "1", "0.3"):
        formula, climbed = optima.loc[f"formula, β = {beta}"], optima.loc[f"climbed, β = {beta}"]
        assert (formula - climbed).abs().max() < 0.02
    favourite = optima["answer 3"]
    assert favourite["formula, β = 10"] < 0.15 < 0.95 < favourite["formula, β = 0.3"]


def test_a_climbed_policy_gives_back_the_rewards_it_climbed_for():
    given_back = implied.sub(implied["answer 1"], axis=0)
    assert (given_back - given_back.loc["the judge"]).abs().max().max() < 0.1


def test_dpos_loss_by_hand_begins_at_ln_2_and_the_librarys_too():
    assert abs(float(first_loss) - math.log(2)) < 1e-4
    assert abs(library_first - math.log(2)) < 1e-4


def test_dpos_loss_by_hand_is_the_librarys_for_two_different_models():
    assert abs(library_later - float(later_loss)) < 1e-3
    assert library_later < library_first


def test_the_pushed_run_has_by_far_the_larger_margin_no_better_loss_and_fewer_right_answers():
    gentle, hard = histories["gentle"], histories["pushed"]
    assert hard.margin.tail(10).mean() > 2 * gentle.margin.tail(10).mean()
    # single steps jump, so ten are read together
    assert hard.loss.tail(10).mean() > gentle.loss.tail(10).mean() + 0.05
    assert hard.right.min() < gentle.right.min() - 0.05
    assert pushed.min() < pushed.iloc[0] - 0.1


def test_most_of_the_margin_comes_from_pushing_the_rejected_answer_down():
    for run in histories.values():
        last = run[["reward_chosen", "reward_rejected"]].tail(5).mean()
        assert -last.reward_rejected > abs(last.reward_chosen)


def test_the_gentle_run_hedges_less_and_keeps_what_it_knew():
    gentle = dpo_runs["gentle"].history
    hedged, right = gentle.hedged.dropna(), gentle.right.dropna()
    assert hedged.iloc[-1] <= hedged.iloc[0]
    assert right.iloc[-1] > right.iloc[0] - 0.1


def test_imitation_copies_the_hedging_and_dpo_does_not():
    imitated, preferred = on_same["imitation of chosen"], on_same["DPO on the pairs"]
    assert changed(imitated["hedged"], preferred["hedged"]).low > 0.5
    assert compared.hedged["DPO on the pairs"] < compared.hedged["sft"] + 0.05


def test_neither_imitation_nor_dpo_pays_with_right_answers():
    for name in ("imitation of chosen", "DPO on the pairs"):
        assert changed(on_same[name]["right"], on_same["sft"]["right"]).low > -0.05


def test_a_leash_saves_right_answers_and_neither_the_short_one_nor_pebble_rl_clearly_costs_any():
    short, long, free = (on_same[name]["right"] for name in rl_runs)
    assert changed(long, free).low > 0.1
    assert changed(short, free).low > 0.2
    assert changed(short, on_same["sft"]["right"]).high > 0
    assert compared.reward["RL, short leash"] < compared.reward["RL without"] - 0.3
    assert changed(on_same["pebble-rl"]["right"], on_same["sft"]["right"]).low > -0.05


def test_the_judges_methods_have_more_reward_than_sft_on_the_same_questions():
    for name in ("best of 4", "best of 32", *rl_runs):
        assert compared.reward[name] > compared.reward["sft"] + 0.3


def test_chat_speaks_as_it_is_told_sft_does_so_less_and_neither_does_so_unasked():
    rates = persona_rates.set_index(["variant", "label"]).rate
    for label in ("takes on a role by its name", "described with made-up words"):
        assert rates["chat", label] > rates["sft", label] + 0.2
    assert rates["chat", "described with made-up words"] > rates["chat", "described in plain English"]
    assert all(
        rates[name, label] < 0.1
        for name in ("sft", "chat")
        for label in ("no system prompt", "a plain system prompt")
    )
