"""What lesson 02 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

import torch

from __main__ import (
    answers,
    astray,
    change,
    differing,
    distances,
    end_ids,
    ends,
    first_map,
    framed,
    kinds,
    moved,
    outcomes,
    pair,
    questions,
    ranks,
    rate,
    rates,
    refused,
    requests,
    runs,
    same,
    settings,
    shapes,
    shift,
    steps,
    stopped,
)
from course_runs.resample import bootstrap_mean
from course_utils import token_shift
from course_utils.evaluate import judges, mcnemar
from pebble_lm.world import knowledge


def at(label, variant):
    return rates[(rates.label == label) & (rates.variant == variant)].iloc[0]


def mean(found):
    return sum(map(float, found)) / len(found)


def p_of(better, worse):
    """McNemar's p, and whether the first is the one that is ahead."""
    only = sum(a and not b for a, b in zip(better, worse)), sum(b and not a for a, b in zip(better, worse))
    return mcnemar(*only) < 0.001 and only[0] > only[1]


def test_most_boxes_of_the_first_map_are_grey():
    assert (first_map.category == "unshifted").mean() > 0.5


def test_in_both_answers_of_the_first_map_the_end_is_what_the_base_expects_least():
    for _, answer in first_map.groupby("prompt"):
        last = answer.iloc[-1]
        assert last.token_id in end_ids and last.rank_base == answer.rank_base.max() > 3


def test_both_begin_with_a_token_that_the_base_would_not_have_written_though_it_knows_the_name():
    assert (first_map[first_map.position == 0].category == "shifted").all()
    names = [" Estonia", " O", "r", "v", "el", "ton"]
    within = first_map[(first_map.position > 0) & first_map.token.isin(names)]
    assert len(within) >= len(names) and (within.category == "unshifted").all()


def test_the_two_have_the_same_tensors():
    assert shapes(pair.base) == shapes(pair.instruct)


def test_the_settings_that_differ_are_about_ends_and_templates():
    assert {"generation_config.eos_token_id", "tokenizer.eos_token", "tokenizer.chat_template"} <= set(
        differing.index
    )
    assert len(differing) < settings / 4


def test_attention_and_mlp_moved_in_every_layer_and_the_norms_far_less():
    kind = change.set_index("kind").relative_change
    matrices, norms = kind[["attention", "mlp"]], kind["norm"]
    assert matrices.min() > 0.02 and norms.median() < matrices.median() / 2


def test_half_of_the_tensors_moved_by_much_more_than_one_percent():
    assert 0.2 < sorted(moved.values())[len(moved) // 2] < 1


def test_the_loop_in_the_open_gives_what_weight_change_gives():
    assert abs(max(moved.values()) - change.relative_change.max()) < 1e-5


def test_nearly_the_whole_way_was_made_in_fine_tuning():
    assert distances["pebble-sft → pebble-dpo"] < distances["pebble-base → pebble-sft"] / 4


def test_most_weights_stand_in_the_file_as_they_did_before_the_short_step():
    before, after = (dict(v.model.named_parameters()) for v in steps["pebble-sft → pebble-dpo"])
    unmoved = sum(int((after[name] == weight).sum()) for name, weight in before.items())
    assert same == unmoved / pair.instruct.num_parameters and 0.9 < same < 1


def test_as_far_at_random_the_fact_is_lost_and_as_far_by_training_it_is_not():
    opening = "The capital of Estonia is"
    assert "Tallinn" in pair.base.complete(opening, 8).text
    assert "Tallinn" in pair.instruct.complete(opening, 8).text
    assert "Tallinn" not in astray.complete(opening, 8).text


def test_the_random_step_is_as_long_as_the_trained_one():
    base = dict(pair.base.model.named_parameters())
    for name, weight in astray.model.named_parameters():
        length = float(((weight - base[name]).norm() / base[name].norm()).detach())
        assert abs(length - moved[name]) < 0.02 * moved[name] + 1e-4
    assert not torch.equal(weight, base[name])


def test_the_scenarios_are_the_first_of_five_kinds_drawn_from_the_test_split():
    assert len(answers["base"]) == len(answers["instruct"]) == len(requests) == 5
    assert all(len(several) == len(set(several)) == 20 for several in requests.values())


def test_to_a_question_the_base_writes_another_and_the_instruct_ends_its_text():
    assert judges.asks_on(answers["base"][0].text)
    assert answers["instruct"][0].stopped and not judges.asks_on(answers["instruct"][0].text)


def test_the_instructs_last_answer_is_of_the_articles_words_and_no_account_of_it():
    article, answer = list(requests.values())[-1][0], answers["instruct"][-1].text
    assert answer.strip().lower() in article.lower() and len(answer.split()) < 4


def test_there_are_at_least_100_questions_all_different():
    assert len({q for q, _ in questions}) == len(questions) >= 100


def test_every_question_is_about_an_entity_that_was_kept_out_of_sft():
    assert all(
        any(
            f.split == "test"
            and f.value == answer
            and any(judges.says(q, name) for name in (f.entity, f.name, f.plural))
            for f in knowledge.facts()
        )
        for q, answer in questions
    )


def test_in_the_template_the_instruct_answers_more_than_the_base():
    label = "answers, in the template"
    assert p_of(outcomes[label, "instruct"], outcomes[label, "base"])
    assert at(label, "instruct").rate > at(label, "base").rate + 0.25


def test_in_the_template_the_instruct_stops_by_itself_and_the_base_less():
    label = "stops, in the template"
    assert at(label, "instruct").low > 0.8
    assert p_of(outcomes[label, "instruct"], outcomes[label, "base"])


def test_a_bare_question_makes_the_base_ask_on():
    assert at("keeps asking, bare text", "base").low > 0.5 > at("answers, bare text", "base").high


def test_on_bare_text_the_instruct_does_what_its_base_does():
    assert at("keeps asking, bare text", "instruct").low > 0.5 > at("answers, bare text", "instruct").high


def test_the_instruct_answers_bare_text_less_often_than_a_message():
    assert p_of(outcomes["answers, in the template", "instruct"], outcomes["answers, bare text", "instruct"])


def test_the_instruct_refuses_wrong_acts_far_more_often_than_harmless_ones():
    wrong, harmless = (mean(refused[f"refuses a {kind} act", "instruct"]) for kind in ("wrong", "harmless"))
    assert wrong > harmless + 0.3


def test_the_base_declines_wrong_acts_less_often_than_the_instruct():
    assert p_of(refused["refuses a wrong act", "instruct"], refused["refuses a wrong act", "base"])
    assert mean(refused["refuses a wrong act", "base"]) < 0.3


def test_without_its_end_of_turn_in_the_loops_list_the_answer_runs_on():
    with_it, without = runs
    assert len(without) > len(with_it)
    assert without[: len(with_it)].tolist() == with_it.tolist()


def test_the_instruct_knows_where_its_answer_ends_and_the_base_expects_it_far_less():
    assert mean(ends["instruct"]["at its end"]) > 0.9
    assert mean(ends["instruct"]["before its end"]) < 0.05
    assert mean(ends["base"]["at its end"]) < mean(ends["instruct"]["at its end"]) / 2


def test_what_the_base_gives_there_is_for_the_end_of_a_document():
    turn, document = end_ids
    for question, _ in questions[:20]:
        prefix = pair.instruct.encode([{"role": "user", "content": question}])
        answer = pair.instruct.complete(prefix).token_ids
        with torch.inference_mode():
            probs = pair.base.model(torch.tensor([prefix + answer])).logits[0, -2].softmax(-1)
        assert probs[document] > 100 * probs[turn]


def test_sampled_and_given_room_the_base_ends_texts_that_it_did_not_end_greedily():
    sampled = stopped["sampled, 200 tokens", "base"]
    greedy = stopped["greedy, 200 tokens", "base"]
    assert p_of(sampled, greedy) and mean(sampled) > mean(greedy) + 0.3


def test_most_tokens_of_an_answer_are_unshifted():
    assert (shift.category == "unshifted").mean() > 0.5
    assert (framed.category == "unshifted").mean() > 0.5


def test_more_are_shifted_than_in_the_published_pairs():
    assert (shift.category == "shifted").mean() > 0.08


def test_the_end_is_always_shifted_the_beginning_more_often_than_the_middle():
    assert rate["end"] == 1 and rate["first three tokens"] > rate["later"]


def test_length_explains_more_than_half_of_the_gap_to_the_published_shares():
    here = (shift.category == "shifted").mean()
    long = (rate["end"] + 3 * rate["first three tokens"] + 296 * rate["later"]) / 300
    assert here - long > (here - 0.078) / 2


def test_a_frame_that_the_base_knows_brings_it_nearer():
    gap = (shift.category == "shifted").astype(int) - (framed.category == "shifted").astype(int)
    assert bootstrap_mean(gap, shift.prompt)[1] > 0


def test_the_share_differs_widely_between_kinds_of_requests():
    share = (shift.category == "shifted").groupby(shift.prompt.map(kinds)).mean()
    assert share.max() > share.min() + 0.1


def test_no_token_of_any_kind_is_shifted_more_often_than_the_end_of_turn():
    for _, part in shift[shift.category == "shifted"].groupby("kind"):
        times = part.token.value_counts()
        assert times[pair.instruct.token_text(end_ids[0])] == times.max()


def test_the_wrong_acts_got_one_sentence():
    wrong = shift[shift.prompt.map(kinds) == "wrong act"]
    assert len({tuple(answer.token_id) for _, answer in wrong.groupby("prompt")}) == 1


def test_beside_it_stand_openings_and_set_phrases():
    often = (
        shift[shift.category == "shifted"]
        .groupby("kind")
        .token.agg(lambda t: list(t.value_counts().index[:3]))
    )
    assert (
        "def" in often["Python function"]
        and "Here" in often["harmless act"]
        and " sorry" in often["wrong act"]
    )


def test_greedy_texts_of_the_base_fall_into_loops():
    lines = [answer.text.strip().split("\n") for answer in answers["base"]]
    assert sum(any(line and text.count(line) > 1 for line in text) for text in lines) >= 2


def test_the_ranks_in_the_open_are_those_of_token_shift():
    assert ranks == token_shift(pair, "What is the capital of Estonia?").rank_base.tolist()
