"""Two variants side by side, checked against plain forward passes and hand-made models."""

import copy
import math

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import smollm2, tiny_llama, tiny_tokenizer, tiny_variant

from course_runs.base_as_instruct import qa_prompt
from course_runs.distance import weight_change
from course_runs.distance_plot import plot_weight_change
from course_runs.shift import token_shift
from course_utils.compare import next_token_table
from course_utils.evaluate.stats import wilson
from course_utils.pairs import Pair, VocabularyMismatch
from course_utils.variant import Variant

QUESTION = "What is the capital of Spain?"


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A chat variant whose weights lie near the base's, so that the two agree on some tokens and not on
    others."""
    base, chat = tiny_variant(), tiny_variant(chat=True)
    model = copy.deepcopy(base.model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * parameter.std() * torch.randn_like(parameter) if parameter.dim() > 1 else 0
    model.generation_config = chat.model.generation_config
    return Pair(base, Variant("near", model, chat.tokenizer), "near")


@pytest.fixture(scope="module")
def strangers() -> Pair:
    other = tiny_tokenizer(extra_text="zebra quagga okapi " * 9)
    return Pair(tiny_variant(), Variant("other", tiny_llama(len(other)), other), "strangers")


# -- next-token table


def test_the_table_holds_the_union_of_both_top_k(pair):
    table = next_token_table(pair, "The capital", k=4)
    for name, variant in zip(("base", "instruct"), pair, strict=True):
        best = variant.next_token_probs("The capital", k=None).set_index("token_id")
        assert set(best.index[:4]) <= set(table["token_id"])
        for _, row in table.iterrows():
            assert row[f"prob_{name}"] == pytest.approx(best.loc[row["token_id"], "prob"], rel=1e-4)
            assert row[f"rank_{name}"] == best.loc[row["token_id"], "rank"]
    assert 4 <= len(table) <= 8
    assert table[["prob_base", "prob_instruct"]].max(axis=1).is_monotonic_decreasing
    assert table["token"].tolist() == [pair.base.token_text(i) for i in table["token_id"]]


def test_messages_reach_both_variants_as_the_instructs_template_unless_told_otherwise(pair):
    messages = [{"role": "user", "content": QUESTION}]
    ids = pair.instruct.encode(messages)
    probs = pair.base.next_token_probs(ids, k=None).set_index("token_id")["prob"]
    for _, row in next_token_table(pair, messages).iterrows():
        assert row["prob_base"] == pytest.approx(probs[row["token_id"]], rel=1e-4)
    framed = next_token_table(pair, messages, base_prompt=qa_prompt)
    expected = pair.base.next_token_probs(qa_prompt(QUESTION), k=None).set_index("token_id")["prob"]
    assert framed["prob_base"].tolist() == pytest.approx(expected[framed["token_id"]].tolist(), rel=1e-4)


@pytest.mark.parametrize("compare", [next_token_table, token_shift])
def test_token_ids_of_different_vocabularies_are_not_compared(strangers, compare):
    with pytest.raises(VocabularyMismatch, match="different vocabularies"):
        compare(strangers, "The")


# -- token shift


def test_token_shift_scores_the_greedy_answer_position_by_position(pair):
    shifts = token_shift(pair, QUESTION, max_new_tokens=12)
    answer = pair.instruct.chat(QUESTION, max_new_tokens=12)
    assert shifts["token_id"].tolist() == answer.token_ids
    prefix = pair.instruct.encode([{"role": "user", "content": QUESTION}])
    for row in shifts.itertuples():
        seen = torch.tensor([prefix + answer.token_ids[: row.position]])
        with torch.no_grad():
            base, instruct = (v.model(seen).logits[0, -1].softmax(-1) for v in pair)
        assert row.prob_base == pytest.approx(float(base[row.token_id]), rel=1e-3)
        assert row.prob_instruct == pytest.approx(float(instruct.max()), rel=1e-3)
        assert row.rank_base == int((base > base[row.token_id]).sum()) + 1
        assert row.kl == pytest.approx(float((instruct * (instruct / base).log()).sum()), abs=1e-4)
        assert row.category == {1: "unshifted", 2: "marginal", 3: "marginal"}.get(row.rank_base, "shifted")
    assert shifts["category"].nunique() > 1  # the pair is near, not equal: the test would see a mix-up


def test_a_model_compared_with_itself_is_nowhere_shifted():
    chat = tiny_variant(chat=True)
    shifts = token_shift(Pair(chat, chat, "self"), [QUESTION, "Hi"], max_new_tokens=8)
    assert set(shifts["category"]) == {"unshifted"}
    assert shifts["kl"].max() < 1e-5
    assert shifts["prob_base"].tolist() == pytest.approx(shifts["prob_instruct"].tolist(), rel=1e-5)


def test_many_prompts_give_one_table_with_a_prompt_column(pair):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    together = token_shift(pair, [QUESTION, talk], max_new_tokens=6)
    assert together["prompt"].unique().tolist() == [QUESTION, "Hi"]
    alone = token_shift(pair, QUESTION, max_new_tokens=6)
    assert "prompt" not in alone
    first = together[together["prompt"] == QUESTION].drop(columns="prompt")
    pd.testing.assert_frame_equal(first, alone, atol=1e-4)


def test_the_base_may_be_given_a_beginning_of_its_own(pair):
    shifts = token_shift(pair, QUESTION, max_new_tokens=6, base_prompt=qa_prompt)
    assert shifts["token_id"].tolist() == pair.instruct.chat(QUESTION, max_new_tokens=6).token_ids
    first = pair.base.next_token_probs(qa_prompt(QUESTION), k=None).set_index("token_id")
    assert shifts["prob_base"][0] == pytest.approx(first.loc[shifts["token_id"][0], "prob"], rel=1e-3)
    same = token_shift(pair, QUESTION, max_new_tokens=6, base_prompt=qa_prompt(QUESTION))
    pd.testing.assert_frame_equal(shifts, same)
    with pytest.raises(ValueError, match="function of the user's text"):
        token_shift(pair, [QUESTION], base_prompt="fixed")


def test_a_vocabulary_padded_differently_is_compared_over_the_shared_tokens():
    instruct = smollm2("instruct")
    base = Variant("unpadded", tiny_llama(len(instruct.tokenizer), seed=5), smollm2("base").tokenizer)
    shifts = token_shift(Pair(base, instruct, "padded"), QUESTION, max_new_tokens=4)
    assert len(shifts) > 0 and all(math.isfinite(kl) and kl >= 0 for kl in shifts["kl"])


def test_a_token_the_base_lacks_is_shifted():
    chat = tiny_variant(chat=True)
    model = copy.deepcopy(chat.model)
    grown = tiny_tokenizer(chat=True)
    grown.add_special_tokens({"pad_token": "<|extra|>"})
    model.resize_token_embeddings(len(grown), mean_resizing=False)
    with torch.no_grad():  # the new token's logit is the best one's, doubled in length
        last = model(
            torch.tensor([chat.encode([{"role": "user", "content": "Hi"}])]), output_hidden_states=True
        )
        model.lm_head.weight[-1] = 50 * last.hidden_states[-1][0, -1] / last.hidden_states[-1][0, -1].norm()
    shifts = token_shift(
        Pair(tiny_variant(), Variant("grown", model, grown), "grown"), "Hi", max_new_tokens=1
    )
    assert shifts["token"][0] == "<|extra|>"
    assert (
        shifts["category"][0] == "shifted" and shifts["prob_base"][0] == 0 and shifts["rank_base"].isna()[0]
    )


# -- weights


def test_weight_change_is_the_relative_distance_of_each_tensor():
    base = tiny_variant()
    model = copy.deepcopy(base.model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight *= 1.25
    table = weight_change(Pair(base, Variant("moved", model, base.tokenizer), "moved")).set_index("name")
    moved = table.loc["model.layers.1.mlp.up_proj.weight"]
    assert moved["relative_change"] == pytest.approx(0.25, rel=1e-5)
    assert (moved["layer"], moved["kind"], moved["shape"]) == (1, "mlp", (64, 32))
    assert (table["relative_change"] > 0).sum() == 1
    assert table["parameters"].sum() == base.num_parameters
    assert set(table["kind"]) == {"embedding", "attention", "mlp", "norm", "head"}
    assert table.loc["model.norm.weight", "layer"] is pd.NA


def test_unlike_architectures_are_named():
    small = tiny_variant()
    other = Variant(
        "wider", tiny_llama(small.model.config.vocab_size, intermediate_size=128), small.tokenizer
    )
    with pytest.raises(ValueError, match="not built alike"):
        weight_change(Pair(small, other, "unlike"))


# -- intervals


def test_wilson_matches_published_values():
    # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, Table I, method 3
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(successes, n, z=1.959964) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_estimate_and_mirrors(case):
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= successes / n <= high
        assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("case", [(3, 2), (-1, 5), (0, -1)])
def test_impossible_counts_are_refused(case):
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson(*case)


def test_a_tensor_that_was_all_zero_has_no_relative_change_and_is_not_drawn():
    base = tiny_variant()
    before, after = copy.deepcopy(base.model), copy.deepcopy(base.model)
    names = [name for name, _ in before.named_parameters() if "norm" in name][:2]
    for name in names:
        before.get_parameter(name).data.zero_()
    after.get_parameter(names[1]).data.zero_()
    pair = Pair(*(Variant("v", model, base.tokenizer) for model in (before, after)), "zeros")
    table = weight_change(pair).set_index("name")["relative_change"]
    assert math.isnan(table[names[0]]) and table[names[1]] == 0 and table.drop(names[0]).notna().all()
    plot_weight_change(weight_change(pair))
