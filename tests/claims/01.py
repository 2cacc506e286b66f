"""What lesson 01 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from itertools import pairwise

import torch

from __main__ import (
    before,
    by_hand,
    circling,
    costs,
    dice,
    ends,
    hesitation,
    kept_tokens,
    library,
    loss,
    model,
    n,
    next_probs,
    open_text,
    own_loss,
    pair,
    perplexity,
    prompts,
    question,
    real,
    scores,
    text,
    tokenizer,
    top_k,
    variety,
    write,
)


def test_the_probabilities_worked_out_by_hand_are_those_of_the_library_and_of_the_figure():
    assert torch.allclose(by_hand, torch.softmax(scores, dim=-1))
    table = pair.base.next_token_probs(text, k=5)
    assert torch.allclose(
        next_probs[table["token_id"].tolist()], torch.tensor(table["prob"]).float(), atol=1e-4
    )
    assert table["token"][0] == " Paris" and table["prob"][0] > 0.5


def test_no_token_stands_out_where_a_name_comes():
    assert all(v.next_token_probs(open_text, k=1)["prob"].item() < 0.2 for v in pair)


def test_greedy_asks_until_it_is_cut_off_and_is_what_the_course_and_the_library_write():
    assert write(question, choose=torch.argmax).endswith("[cut off]")
    inputs = pair.base.tokenizer(open_text, return_tensors="pt")
    generated = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs.input_ids.shape[1] :]
    assert generated.tolist() == pair.base.complete(open_text, 20).token_ids


def test_with_dice_pages_end_that_never_end_when_the_best_token_is_always_taken():
    questions, stories = ends["questions"], ends["stories"]
    assert questions.rate_a > questions.rate_b + 0.1 and questions.p_value < 0.01
    assert min(questions.rate_a, stories.rate_a) > 0.8


def test_greedy_pages_of_questions_go_in_circles_and_thrown_ones_do_not():
    greedy, thrown = circling["questions", "greedy"], circling["questions", "dice"]
    assert len(greedy) > ends["questions"].n / 2 and len(thrown) < len(greedy) / 4
    assert not circling["stories", "dice"] and not circling["stories", "greedy"]


def test_many_loops_come_to_an_end_and_in_the_others_the_end_grows_to_the_second_best_token():
    greedy = circling["questions", "greedy"]
    endless = [page for page in greedy if not page.stopped]
    assert len(greedy) - len(endless) > 5 and len(endless) > 5
    end, line_break = (tokenizer.convert_tokens_to_ids(t) for t in (tokenizer.eos_token, "Ċ"))
    for page in endless:
        ids = pair.base.encode(page.prompt) + page.token_ids
        with torch.inference_mode():
            probs = model(torch.tensor([ids])).logits[0].softmax(dim=-1)
        breaks = [place - 1 for place, token in enumerate(ids) if place and token == line_break]
        assert probs[breaks[-1], end] > 2 * probs[breaks[2], end]
        assert all(end in probs[place].topk(2).indices for place in breaks[-3:])


def test_dice_throw_by_probability():
    drawn = [int(dice(torch.tensor([0.0, 1.0]))) for _ in range(5)]
    assert drawn == [1] * 5


def test_the_loss_by_hand_is_the_librarys_and_the_models_own():
    assert abs(float(loss) - float(library)) < 1e-4 and abs(float(loss) - float(own_loss)) < 1e-4


def test_order_is_most_of_what_it_knows():
    sentence, shuffled, nothing = (
        perplexity[k] for k in ("the sentence", "its words shuffled", "knowing nothing")
    )
    assert sentence < 50 and shuffled > 20 * sentence and shuffled > nothing / 10


def totals(table):
    return (table["first"] + table["rest"]).groupby([table["name"], table["mention"]]).mean()


def test_an_invented_name_is_cheaper_the_second_time_and_the_person_more_than_the_town():
    nats = totals(costs)
    saved = {name: 1 - nats[name, 2] / nats[name, 1] for name in ("person", "town")}
    assert saved["person"] > 0.5 and saved["town"] > 0.2 and saved["person"] > saved["town"] + 0.1


def test_the_towns_first_token_costs_nearly_what_it_cost_the_first_time_and_the_rest_less():
    once, again = (costs[(costs["name"] == "town") & (costs["mention"] == m)] for m in (1, 2))
    assert again["first"].mean() > 0.6 * once["first"].mean()
    assert again["rest"].mean() < 0.6 * once["rest"].mean()


def test_the_corpus_repeats_persons_more_than_towns():
    assert n > 30 and before["person"] > 1.5 * before["town"]


def test_the_real_model_copies_too():
    nats = totals(real)
    assert all(nats[name, 2] < 0.7 * nats[name, 1] for name in ("person", "town"))
    second = real[real["mention"] == 2].groupby("name")["first"].mean()
    assert second["person"] > second["town"], "it hesitates where a sentence begins"


def test_a_sum_has_two_tokens_a_colour_about_ten_and_a_name_dozens():
    fact, added, colour, name = (pair.base.next_token_logits(p).softmax(-1) for p in prompts)
    assert hesitation(fact) < 2 and 5 < hesitation(colour) < 20 < hesitation(name)
    best = added.topk(2)
    assert {tokenizer.decode(token) for token in best.indices} == {" 4", "\n"}
    assert best.values.sum() > 0.8 and best.values.min() > 0.2


def test_heat_makes_the_model_hesitate_more_and_keeps_the_order():
    logits = pair.base.next_token_logits(open_text)
    cool, hot = (torch.softmax(logits / t, dim=-1) for t in (0.5, 2.0))
    assert hesitation(hot) > 5 * hesitation(cool) and cool.argmax() == hot.argmax()


def test_the_same_k_cuts_little_at_one_place_and_most_at_another():
    cut = {
        p: float(q[top_k(q, 5) == 0].sum())
        for p in (text, open_text)
        for q in [pair.base.next_token_logits(p).softmax(-1)]
    }
    assert cut[text] < 0.3 and cut[open_text] > 0.6


def test_top_p_keeps_one_token_where_one_is_right_and_many_where_many_are():
    column = kept_tokens["top_p = 0.5"]
    assert column[text] == 1 and column[open_text] > 5


def test_variety_is_bought_with_surprise():
    for column in ("different tokens per 100", "surprise (nats per token)"):
        rising = variety.loc[[0.0, 1.0, 1.5, 2.0], column].tolist()
        assert all(later > 1.2 * earlier for earlier, later in pairwise(rising))
