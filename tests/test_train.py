"""Training: what it learns, what it refuses, that it repeats itself, resumes, and keeps what an interrupt leaves."""

import copy
import math
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers  # by its name: its models, a second to import, are not needed to collect the tests
from tiny import shared, smollm2, tiny_llama, tiny_tokenizer, tiny_variant
from tokenizers import processors
from torch.nn import functional as F

from course_utils import batches, formats, train
from course_utils.pairs import load_variant
from course_utils.templates import toy_tokenizer
from course_utils.train import loop, policy, predictions, preference, rows, supervised
from course_utils.variant import Variant
from pebble_lm.factory.tokenizer import CHAT_TEMPLATE

ASKED = {
    "capital of France": "Paris",
    "capital of Italy": "Rome",
    "capital of Spain": "Madrid",
    "two plus two": "Four",
}
QUIET = {"progress": False, "precision": "float32"}


def conversation(question: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"What is the {question}?"},
        {"role": "assistant", "content": f"{answer}."},
    ]


EXAMPLES = [conversation(q, a) for q, a in ASKED.items()]
PAIRS = [
    {"prompt": c[:1], "chosen": c[1:], "rejected": [{"role": "assistant", "content": "I do not know."}]}
    for c in EXAMPLES
]


@pytest.fixture
def chat():
    return Variant(
        "tiny-chat", tiny_llama(384, seed=3, initializer_range=0.1, eos=[2, 0]), tiny_tokenizer(chat=True)
    )


@pytest.fixture
def base():
    return Variant("tiny-base", tiny_llama(384, seed=3, initializer_range=0.1, eos=0), tiny_tokenizer())


def weights(variant) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in variant.model.state_dict().items()}


def same(one: dict, other: dict, tolerance: float = 0.0) -> bool:
    return all(torch.allclose(one[key], other[key], rtol=0, atol=tolerance) for key in one)


# -- rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE], ids=["without marks", "with generation marks"])
def test_a_conversation_is_learned_where_the_assistant_speaks_its_end_of_turn_included(template):
    tokenizer = tiny_tokenizer(chat=True)
    if template:
        tokenizer.chat_template = template
    turns = EXAMPLES[0] + EXAMPLES[1]
    (row,) = rows.encode(tokenizer, [turns])
    learned = [i for i, label in zip(row.ids, row.labels) if label != rows.IGNORED]
    assert tokenizer.decode(learned) == "Paris.<|im_end|>Rome.<|im_end|>"
    assert all(label in (rows.IGNORED, i) for i, label in zip(row.ids, row.labels))
    assert tokenizer.decode(row.ids) == tokenizer.apply_chat_template(turns, tokenize=False)
    (last,) = rows.encode(tokenizer, [turns], loss_on="last")
    assert tokenizer.decode([i for i in last.labels if i != rows.IGNORED]) == "Rome.<|im_end|>"
    (every,) = rows.encode(tokenizer, [turns], loss_on="all")
    assert every.labels == every.ids == row.ids


def test_the_masks_are_those_of_loss_mask():
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    for messages, row in zip(EXAMPLES, rows.encode(tokenizer, EXAMPLES)):
        encoded = batches.loss_mask(tokenizer, messages)
        assert (row.ids, row.labels) == (encoded.ids, encoded.labels)
    own = [batches.loss_mask(tokenizer, messages) for messages in EXAMPLES]
    assert rows.encode(tokenizer, own) == rows.encode(tokenizer, EXAMPLES)


def trainable(name: str) -> list[dict]:
    """The rows of a sample in a format that is trained on, converted where that is another."""
    found = formats.sample(name)
    kind = formats.detect(found).name
    if "preference" in kind and "unpaired" not in kind:
        to = f"{'conversational-' * ('conversational' in kind)}preference"
        pairs = found if to == kind else formats.convert(found, to, lossy=True)[0]
        sides = [(pair["prompt"], pair[side]) for pair in pairs for side in ("chosen", "rejected")]
        return [{"prompt": prompt, "completion": completion} for prompt, completion in sides]
    if kind in ("alpaca", "sharegpt", "tool-calls"):
        return formats.convert(found, "prompt-completion" if kind == "alpaca" else "messages", lossy=True)[0]
    return [row for row in found if "text" in row or "messages" in row or "completion" in row]


SAMPLES = [
    "text", "messages", "prompt_completion", "conversational_prompt_completion", "alpaca", "tool_calls", "preference",
    "conversational_preference", "implicit_preference", "conversational_implicit_preference", "unpaired_preference",
    "conversational_unpaired_preference",
]  # fmt: skip


@pytest.mark.parametrize("family", ["chatml", "llama-3", "mistral-v7", "phi-4", "zephyr"])
@pytest.mark.parametrize("name", SAMPLES)
def test_training_learns_what_encode_row_shows(name, family):
    """Ids and labels, for every format of the samples in five families."""
    tokenizer = toy_tokenizer(family)
    examples = trainable(name)
    assert examples
    shown = [batches.encode_row(tokenizer, row) for row in examples]
    assert rows.encode(tokenizer, examples) == [(one.ids, one.labels) for one in shown]
    every = [batches.encode_row(tokenizer, row, on="all") for row in examples]
    assert rows.encode(tokenizer, examples, "all") == [(one.ids, one.ids) for one in every]


@pytest.mark.parametrize("family", ["chatml", "llama-3", "mistral-v7", "phi-4", "zephyr"])
@pytest.mark.parametrize("name", ["preference", "conversational_preference"])
def test_preferences_are_the_rows_of_encode_row_up_to_the_end_of_turn(name, family):
    tokenizer = toy_tokenizer(family)
    pairs = formats.sample(name)
    for pair, both in zip(pairs, preference.encode_preferences(tokenizer, pairs), strict=True):
        for side, row in zip(("chosen", "rejected"), both):
            whole = batches.encode_row(tokenizer, {"prompt": pair["prompt"], "completion": pair[side]})
            assert row.ids == whole.ids[: len(row.ids)] and row.labels == whole.labels[: len(row.ids)]
            assert row.ids[-1] == tokenizer.eos_token_id
            assert tokenizer.eos_token not in "".join(whole.tokens[len(row.ids) :])


def test_a_real_template_without_marks_is_masked_turn_by_turn():
    tokenizer = smollm2("instruct").tokenizer
    assert not batches.has_generation_marks(tokenizer.chat_template)
    (row,) = rows.encode(tokenizer, [EXAMPLES[0] + EXAMPLES[1]])
    assert tokenizer.decode([i for i in row.labels if i >= 0]) == "Paris.<|im_end|>Rome.<|im_end|>"
    assert "You are a helpful AI assistant named SmolLM" in tokenizer.decode(row.ids)


def test_other_kinds_of_examples():
    tokenizer = tiny_tokenizer(chat=True)
    text, pair, own, messages = rows.encode(
        tokenizer,
        ["Once upon a time", {"prompt": "Say ", "completion": "Rome"}, {"input_ids": [5, 6], "labels": [-100, 6]},
         {"messages": EXAMPLES[0]}],
    )  # fmt: skip
    assert text.labels == text.ids and text.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode([i for i in pair.labels if i >= 0]) == " Rome<|im_end|>"  # tokenized together
    assert own == rows.Labelled([5, 6], [-100, 6])
    assert messages == rows.encode(tokenizer, [EXAMPLES[0]])[0]


@pytest.mark.parametrize(
    "wrong", ["data.jsonl", b"data", Path("data.jsonl"), {"messages": EXAMPLES[0]}, EXAMPLES[0], 3]
)
def test_one_example_or_a_file_s_name_is_no_list_of_examples(chat, wrong):
    with pytest.raises(TypeError, match="Expected several examples"):
        train.sft(chat, wrong, **QUIET)
    for training in (train.dpo, train.reward):
        with pytest.raises(TypeError, match="Expected several preference pairs"):
            training(chat, wrong, **QUIET)
    with pytest.raises(TypeError, match="Expected several prompts"):
        train.rl(chat, wrong, lambda prompt, text: 0.0, steps=1, **QUIET)


def test_a_data_set_s_splits_are_told_from_its_rows(chat):
    with pytest.raises(TypeError, match="splits by its name"):
        train.sft(chat, {"train": EXAMPLES, "test": EXAMPLES}, **QUIET)


@pytest.mark.parametrize("kind", ["text", "pair", "preference"])
@pytest.mark.parametrize("written", [False, True], ids=["without an end", "with one"])
def test_there_is_one_eos_whether_or_not_the_text_has_it(kind, written):
    tokenizer = tiny_tokenizer(chat=True)
    end = tokenizer.eos_token * written
    (row,) = {
        "text": lambda: rows.encode(tokenizer, ["Rome." + end]),
        "pair": lambda: rows.encode(tokenizer, [{"prompt": "Say", "completion": " Rome." + end}]),
        "preference": lambda: [
            preference.encode_preferences(
                tokenizer, [{"prompt": "Say", "chosen": " Rome." + end, "rejected": " No." + end}]
            )[0].chosen
        ],
    }[kind]()
    assert row.ids.count(tokenizer.eos_token_id) == 1 and row.ids[-1] == tokenizer.eos_token_id


def test_a_tokenizer_that_writes_the_eos_itself_gets_no_second_one():
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", 2)]
    )
    text, pair = rows.encode(tokenizer, ["Rome.", {"prompt": "Say", "completion": " Rome."}])
    assert text.ids.count(2) == 1 and pair.ids.count(2) == 1


@pytest.mark.parametrize(("prompt", "completion"), [("A:", "\nx"), ("A: ", "b"), ("A:", "b")])
def test_a_pair_s_ids_spell_prompt_and_completion(prompt, completion):
    tokenizer = transformers.AutoTokenizer.from_pretrained(shared("tokenizers/llama2-spm-from-gguf"))
    (row,) = rows.encode(tokenizer, [{"prompt": prompt, "completion": completion}])
    assert tokenizer.decode(row.ids, skip_special_tokens=True) == prompt + completion


@pytest.mark.parametrize("bad", ["null", "refused"])
def test_what_a_template_cannot_render_is_said_with_the_example_s_number(bad):
    tokenizer = toy_tokenizer("chatml" if bad == "null" else "gemma-2")
    third = [EXAMPLES[2][0], {"role": "assistant", "content": None}]
    third = third if bad == "null" else [{"role": "system", "content": "Be brief."}, *EXAMPLES[2]]
    with pytest.raises(ValueError, match=r"Example 2 .*(has no content|System role not supported)"):
        rows.encode(tokenizer, [*EXAMPLES[:2], third])
    pair = {"prompt": third[:-1], "chosen": third[-1:], "rejected": EXAMPLES[1][1:]}
    with pytest.raises(ValueError, match="Pair 1 "):
        preference.encode_preferences(tokenizer, [PAIRS[0], pair])


@pytest.mark.parametrize(
    ("examples", "error", "words"),
    [
        ([], ValueError, "no examples"),
        ([EXAMPLES[0], EXAMPLES[1][:1]], ValueError, "Example 1 cannot be used .*no assistant turn"),
        ([{"input_ids": [1, 2], "labels": [-100, -100]}], ValueError, "Example 0 has no token to learn"),
        ([{"input_ids": [1, 2], "labels": [1]}], ValueError, "2 input_ids but 1 labels"),
        ([{"instruction": "x"}], TypeError, "Example 0 is"),
        ([3], TypeError, "Expected a conversation"),
        (
            [{"input_ids": [1] * 300, "labels": [1] * 300}],
            ValueError,
            "300 tokens, but the model sees at most 256",
        ),
        ([{"input_ids": [1, 999], "labels": [1, 999]}], ValueError, "belongs to another model"),
    ],
)
def test_bad_examples_are_refused_before_the_first_step(chat, examples, error, words):
    with pytest.raises(error, match=words):
        train.sft(chat, examples, **QUIET)


def test_a_base_needs_a_tokenizer_with_a_chat_template(base):
    with pytest.raises(ValueError, match="no chat template"):
        train.sft(base, EXAMPLES, **QUIET)
    with pytest.raises(ValueError, match="tokenizer="):
        train.sft(base.model, EXAMPLES, **QUIET)
    with pytest.raises(TypeError, match="causal language model"):
        train.sft("pebble-base", EXAMPLES, tokenizer=base.tokenizer, **QUIET)


def test_batches_hold_every_example_once_an_epoch_and_keep_to_their_size():
    lengths = [3 + (7 * i) % 40 for i in range(300)]
    for seed in (0, 1):
        plan = rows.planned_steps(lengths, seed, 1.0, None, 200, None)
        assert sorted(i for batch in plan for i in batch) == list(range(300))
        assert all(len(batch) * max(lengths[i] for i in batch) <= 200 for batch in plan)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in plan)
    assert padded < 1.15 * sum(lengths)
    assert len(rows.planned_steps(lengths, 0, 1.0, 500, 200, None)) == 500
    by_count = rows.planned_steps(lengths, 0, 1.0, None, 200, batch_size=7)
    assert all(len(batch) == 7 for batch in by_count if len(batch) == max(map(len, by_count)))
    assert max(map(len, by_count)) == 7


def test_mixed_batches_hold_short_and_long_rows_and_keep_to_their_size():
    lengths = [3 + (7 * i) % 40 for i in range(300)]
    for size in ({"batch_size": 7, "tokens_per_step": 2048}, {"batch_size": None, "tokens_per_step": 200}):
        plan = rows.planned_steps(lengths, 0, 1.0, None, mixed=True, **size)
        assert sorted(i for batch in plan for i in batch) == list(range(300))
        widths = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in plan]
        assert sum(width > 15 for width in widths) > 0.5 * len(plan)
        if not size["batch_size"]:
            assert all(len(batch) * max(lengths[i] for i in batch) <= 200 for batch in plan)


def test_the_loss_is_the_library_s_own(chat):
    encoded = rows.encode(chat.tokenizer, EXAMPLES)
    ids, labels = rows.pad(encoded, "cpu")
    logits, targets, of_row = predictions.label_logits(chat.model, ids, labels)
    theirs = chat.model(input_ids=ids, labels=labels).loss
    assert math.isclose(F.cross_entropy(logits, targets).item(), theirs.item(), rel_tol=1e-5)
    summed = predictions.sum_by_row(predictions.target_logprobs(logits, targets), of_row, len(encoded))
    for row, total in zip(encoded, summed.tolist()):
        alone = chat.model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
        count = sum(label != rows.IGNORED for label in row.labels)
        assert math.isclose(-total / count, alone.item(), rel_tol=1e-4)


TINY_NEOX = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TINY_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
MODELS = {
    "llama": ("LlamaConfig", {"intermediate_size": 64, **TINY_SIZES}, True),
    "gpt-2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4}, True),
    "gpt-neox": ("GPTNeoXConfig", TINY_NEOX, True),
    "gemma-2 (caps its logits)": (
        "Gemma2Config",
        {"intermediate_size": 64, "head_dim": 8, "final_logit_softcapping": 0.1, **TINY_SIZES},
        False,
    ),
    "granite (scales its logits)": (
        "GraniteConfig",
        {"intermediate_size": 64, "logits_scaling": 8.0, **TINY_SIZES},
        False,
    ),
}


def random_model(name: str):
    """A model of `MODELS` with random weights, the same each time, and whether its head stands apart."""
    kind, sizes, apart = MODELS[name]
    config = getattr(transformers, kind)(vocab_size=384, **sizes)
    torch.manual_seed(1)
    return transformers.AutoModelForCausalLM.from_config(config).eval(), apart


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_that_of_the_library_s_loss_whatever_the_model_does_to_its_logits(chat, name):
    model, apart = random_model(name)
    assert predictions.head_is_apart(model) == apart
    ids, labels = rows.pad(rows.encode(chat.tokenizer, EXAMPLES), "cpu")
    theirs = model(input_ids=ids, labels=labels).loss
    theirs.backward()
    expected = {key: p.grad.clone() for key, p in model.named_parameters()}
    model.zero_grad()
    logits, targets, _ = predictions.label_logits(model, ids, labels)
    ours = F.cross_entropy(logits, targets)
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert same({key: p.grad for key, p in model.named_parameters()}, expected, 1e-5)


# -- answers that share their prompt -----------------------------------------------------------------------------


def shared_rows(tokenizer) -> list[rows.Labelled]:
    """Several answers to two prompts of different lengths, mixed, and a prompt with one answer."""
    prompts = [
        tokenizer(text)["input_ids"]
        for text in ("What is it?", "Why?", "And now, what is the third of them?")
    ]
    answers = [
        tokenizer(text)["input_ids"] for text in ("Paris.", "I do not know.", "No", "It is Rome, I think.")
    ]
    pairs = [(0, 0), (1, 1), (0, 2), (2, 3), (1, 0), (0, 3)]
    return [
        rows.Labelled(prompts[p] + answers[a], [rows.IGNORED] * len(prompts[p]) + answers[a])
        for p, a in pairs
    ]


def gradients(model) -> dict[str, torch.Tensor]:
    found = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", MODELS)
def test_answers_that_share_a_prompt_have_the_logits_and_gradients_of_rows_of_their_own(chat, name):
    model, apart = random_model(name)
    batch = shared_rows(chat.tokenizer)
    assert predictions.shares_prompts(model) == apart
    together, targets, of_row = predictions.answer_logits(model, batch)
    F.cross_entropy(together, targets).backward()
    found = gradients(model)
    plain, expected, own = predictions.label_logits(model, *rows.pad(batch, "cpu"))
    F.cross_entropy(plain, expected).backward()
    assert torch.equal(targets, expected) and torch.equal(of_row, own)
    assert torch.allclose(together, plain, atol=1e-5)
    assert same(found, gradients(model), 1e-5)


def test_a_shared_prompt_is_read_once_and_no_answer_sees_another(chat):
    batch, seen = shared_rows(chat.tokenizer), []
    handle = chat.model.base_model.register_forward_pre_hook(
        lambda module, given, named: seen.append(named["input_ids"].numel()), with_kwargs=True
    )
    predictions.shares_prompts(chat.model)  # its trial is not counted
    seen.clear()
    before, _, of_row = predictions.answer_logits(chat.model, batch)
    handle.remove()
    assert seen[0] < rows.pad(batch, "cpu")[0].numel()
    changed = batch.copy()
    ids = [*batch[0].ids[:-1], batch[0].ids[-1] + 1]
    changed[0] = rows.Labelled(ids, batch[0].labels)
    after, _, _ = predictions.answer_logits(chat.model, changed)
    assert torch.allclose(before[of_row != 0], after[of_row != 0], atol=1e-6)


def test_a_model_that_refuses_such_a_mask_gets_rows_of_their_own(chat, monkeypatch):
    batch = shared_rows(chat.tokenizer)
    expected = predictions.answer_logits(chat.model, batch)
    predictions.shares_prompts.found.pop(chat.model)
    body, refused = chat.model.base_model.forward, []

    def two_dimensions_only(*given, attention_mask=None, **named):
        if attention_mask is not None and attention_mask.ndim != 2:
            refused.append(attention_mask.shape)
            raise ValueError("attention_mask must be (rows, length)")
        return body(*given, attention_mask=attention_mask, **named)

    monkeypatch.setattr(chat.model.base_model, "forward", two_dimensions_only)
    found = predictions.answer_logits(chat.model, batch)
    assert len(refused) == 1 and not predictions.shares_prompts(chat.model)
    assert torch.allclose(found[0], expected[0], atol=1e-5)


def test_rows_are_packed_by_prompt_within_their_size():
    def row(prompt, answer):
        return rows.Labelled([*prompt, *answer], [rows.IGNORED] * len(prompt) + list(answer))

    batch = [
        row([1, 2], [5] * 3),
        row([7], [5] * 3),
        row([1, 2], [6] * 4),
        row([1, 2], [5]),
        row([], [5, 5]),
        row([], [6]),
    ]
    packs = predictions.by_prompt(batch, most=7)
    assert packs == [[0, 2], [1], [3], [4], [5]]  # without a prompt there is nothing to share
    assert predictions.packed_length([batch[0], batch[2]]) == 9


def test_dpo_s_gradient_is_that_of_its_formula_on_all_logits(chat):
    pairs = preference.encode_preferences(chat.tokenizer, PAIRS)
    reference = torch.tensor([[-9.0, -11.0]]).repeat(len(pairs), 1)
    step = preference.Step(
        pairs, reference, sum(label != -100 for pair in pairs for label in pair.chosen.labels)
    )
    loss, _ = preference.dpo_loss(chat.model, step, 0.3, 0.0)
    loss.backward()
    found = gradients(chat.model)

    def whole(row):
        logprobs = chat.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        return sum(logprobs[t - 1, label] for t, label in enumerate(row.labels) if label != -100)

    margins = [(whole(p.chosen) + 9.0) - (whole(p.rejected) + 11.0) for p in pairs]
    plain = -F.logsigmoid(0.3 * torch.stack(margins)).mean()
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    assert same(found, gradients(chat.model), 1e-5)


def test_the_policy_s_gradient_is_that_of_its_formula_on_all_logits(chat):
    batch, other = shared_rows(chat.tokenizer), tiny_llama(384, seed=5, initializer_range=0.1)
    advantages = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -0.5])
    total, count = 0.0, sum(label != -100 for row in batch for label in row.labels)
    for part, weight in policy._split(policy.RollOut(batch, advantages, {}, len(batch))):
        loss, _ = policy.policy_loss(chat.model, other, part, 0.2)
        (weight * loss).backward()
        total += weight * loss.item()
    found, plain = gradients(chat.model), 0.0
    for row, advantage in zip(batch, advantages):
        own, theirs = (
            m(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1) for m in (chat.model, other)
        )
        for t, label in enumerate(row.labels):
            if label != -100:
                p, q = own[t - 1], theirs[t - 1].detach()
                plain = plain + (0.2 * (p.exp() * (p - q)).sum() - advantage * p[label]) / count
    plain.backward()
    assert total == pytest.approx(plain.item(), abs=1e-5)
    assert same(found, gradients(chat.model), 1e-5)


def test_a_batch_without_labels_is_an_error():
    variant = tiny_variant()
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="no token to learn"):
        predictions.label_logits(variant.model, ids, torch.full_like(ids, rows.IGNORED))


# -- sft -------------------------------------------------------------------------------------------------------


def test_sft_learns_answers_and_to_stop_and_leaves_the_base_as_it_was(base):
    before = weights(base)
    done = train.sft(base, EXAMPLES, tokenizer=tiny_tokenizer(chat=True), steps=60, lr=1e-2, **QUIET)
    assert same(before, weights(base)) and base.eos_token_ids == [0]
    assert done.variant.eos_token_ids == [2, 0] and done.variant.has_chat_template
    for question, answer in ASKED.items():
        said = done.variant.chat(f"What is the {question}?", max_new_tokens=8)
        assert (said.text, said.stop_reason) == (f"{answer}.", "eos")
    losses = done.history["loss"]
    assert losses.iloc[-5:].mean() < 0.2 * losses.iloc[0]
    assert list(done.history["step"]) == list(range(1, 61))
    assert {"loss", "lr", "tokens", "grad_norm", "seconds"} <= set(done.history.columns)
    assert done.history["tokens"].is_monotonic_increasing


def test_in_place_training_changes_the_given_model(chat):
    before = weights(chat)
    done = train.sft(chat, EXAMPLES, steps=2, copy=False, **QUIET)
    assert done.model is chat.model and not same(before, weights(chat))


def test_half_precision_weights_are_trained_in_float32_or_not_at_all(chat):
    small = Variant("small", copy.deepcopy(chat.model).bfloat16(), chat.tokenizer)
    assert train.sft(small, EXAMPLES, steps=1, **QUIET).model.dtype == torch.float32
    with pytest.raises(ValueError, match="rounded away"):
        train.sft(small, EXAMPLES, steps=1, copy=False, **QUIET)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(chat):
    many = EXAMPLES * 4
    runs = [train.sft(chat, many, steps=4, batch_size=2, seed=seed, **QUIET) for seed in (1, 1, 2)]
    assert same(weights(runs[0].variant), weights(runs[1].variant))
    assert not same(weights(runs[0].variant), weights(runs[2].variant))


def test_training_leaves_the_random_numbers_outside_alone(chat):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train.sft(chat, EXAMPLES, steps=2, **QUIET)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_is_written_at_the_start_on_the_way_and_at_the_end(chat):
    seen = []

    def evaluate(variant):
        assert not variant.model.training and not torch.is_grad_enabled()
        seen.append(variant)
        return {"length": len(variant.chat("Hi", max_new_tokens=3).token_ids)}

    history = train.sft(chat, EXAMPLES, steps=5, evaluate=evaluate, every=2, **QUIET).history
    measured = history.dropna(subset=["length"])
    assert list(measured["step"]) == [0, 2, 4, 5] and len(seen) == 4
    assert math.isnan(history["loss"].iloc[0]) and history["loss"].notna().sum() == 5
    with pytest.raises(TypeError, match="dict"):
        train.sft(chat, EXAMPLES, steps=1, evaluate=lambda v: 0.5, **QUIET)


def test_an_interrupt_keeps_what_was_learned(chat):
    def evaluate(variant):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(weights(variant))
        return {}

    calls = []
    done = train.sft(chat, EXAMPLES, steps=50, evaluate=evaluate, every=1, **QUIET)
    assert done.stopped == "interrupted after 3 of 50 steps" and "interrupted" in repr(done)
    assert list(done.history["step"]) == [0, 1, 2, 3]
    assert not same(weights(done.variant), calls[2]) and not done.model.training
    assert all(p.grad is None for p in done.model.parameters())


def test_a_run_goes_on_from_its_checkpoint_as_if_nothing_had_happened(chat, tmp_path):
    texts = ["The capital of France is Paris. " * 30, "Once upon a time there was a little girl. " * 20]
    settings = dict(steps=8, batch_size=2, replay=texts, replay_tokens=64, optimizer="muon", **QUIET)
    whole = train.sft(chat, EXAMPLES * 3, **settings)
    file = tmp_path / "run" / "checkpoint.pt"

    def evaluate(variant):
        if len(calls) == 6:
            raise KeyboardInterrupt
        calls.append(1)
        return {}

    calls = []
    watched = {"evaluate": evaluate, "every": 1, "checkpoint": file, "save_every": 2}
    assert train.sft(chat, EXAMPLES * 3, **settings, **watched).stopped
    assert file.exists()
    calls = []
    healed = train.sft(chat, EXAMPLES * 3, **settings, **watched | {"evaluate": lambda v: {}})
    assert same(weights(whole.variant), weights(healed.variant), 1e-6)
    assert list(healed.history["step"]) == [0, *range(1, 9)]
    assert healed.history["loss"].iloc[1:].tolist() == pytest.approx(whole.history["loss"].tolist(), rel=1e-5)
    assert not file.exists()


def interrupted_after(steps: int):
    def stop(history):
        if len(history) == steps:
            raise KeyboardInterrupt
        return ""

    return stop


OTHER = [conversation("colour of the sky", "Blue"), *EXAMPLES[1:]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"examples": OTHER}, "examples"),
        ({"seed": 2}, "settings"),
        ({"steps": 5}, "order of examples"),
        ({"lr": 1e-4}, "settings"),
        ({"schedule": "constant"}, "settings"),
        ({"loss_on": "all"}, "examples"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_the_same_call_goes_on(chat, tmp_path, change, named):
    file = tmp_path / "run.pt"
    settings = {"steps": 4, "batch_size": 2, "seed": 1, "checkpoint": file, "save_every": 1, **QUIET}
    train.sft(chat, EXAMPLES, stop_when=interrupted_after(2), **settings)
    assert file.exists()
    other = {"examples": EXAMPLES, **settings, **change}
    with pytest.raises(ValueError, match=f"another run: it had other .*{named}"):
        train.sft(chat, **other)
    with pytest.raises(ValueError, match="starting weights"):
        train.sft(Variant("other", tiny_llama(384, seed=8), chat.tokenizer), EXAMPLES, **settings)
    assert list(train.sft(chat, EXAMPLES, **settings).history["step"]) == [1, 2, 3, 4]


@pytest.mark.parametrize("training", ["dpo", "reward", "rl"])
def test_every_training_knows_its_own_checkpoint(chat, tmp_path, training):
    file = tmp_path / "run.pt"
    settings = {"steps": 3, "checkpoint": file, "save_every": 1, **QUIET}

    def go(other: bool = False, **more):
        if training == "rl":
            prompts = ["Hello", "Bye"] if other else ["Hi", "Ho"]
            return train.rl(
                chat, prompts, lambda p, t: float(len(t)), max_new_tokens=3, group_size=2, **settings, **more
            )
        return getattr(train, training)(chat, PAIRS[other:], **settings, **more)

    go(stop_when=interrupted_after(2))
    with pytest.raises(ValueError, match="left by another run"):
        go(other=True)
    assert list(go().history["step"]) == [1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
def test_a_file_that_is_no_checkpoint_is_said(chat, tmp_path, content):
    file = tmp_path / "run.pt"
    torch.save({"a": 1}, file) if content is None else file.write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint"):
        train.sft(chat, EXAMPLES, steps=1, checkpoint=file, **QUIET)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_both_optimizers_learn(chat, optimizer):
    losses = train.sft(chat, EXAMPLES, steps=20, lr=3e-3, optimizer=optimizer, **QUIET).history["loss"]
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]


def test_replay_lowers_the_loss_on_the_replayed_texts(chat):
    texts = ["Once upon a time there was a little girl who liked to play outside. " * 8] * 3
    ids = next(rows.replay_rows(chat.tokenizer, texts, 256, 64))

    def loss(variant):
        with torch.no_grad():
            return loop.next_token_loss(variant.model, ids).item()

    without = train.sft(chat, EXAMPLES, steps=25, lr=3e-3, **QUIET)
    replayed = train.sft(chat, EXAMPLES, steps=25, lr=3e-3, replay=texts, replay_tokens=256, **QUIET)
    assert loss(replayed.variant) < 0.5 * loss(without.variant)


def test_replay_says_when_its_texts_run_out_and_reads_lists_again(chat):
    with pytest.raises(ValueError, match="ran out"):
        train.sft(chat, EXAMPLES, steps=9, replay=iter(["short text"] * 2), **QUIET)
    with pytest.raises(TypeError, match="several texts"):
        train.sft(chat, EXAMPLES, steps=1, replay="one text", **QUIET)
    again = rows.replay_rows(chat.tokenizer, ["a b c d e f"] * 3, 32, 16)
    first, second = next(again), next(again)
    assert first.shape == second.shape == (2, 17)
    later = islice(rows.replay_rows(chat.tokenizer, ["a b c d e f"] * 3, 32, 16), 1, None)
    assert torch.equal(second, next(later))
    with pytest.raises(ValueError, match="ran out"):
        next(rows.replay_rows(chat.tokenizer, [], 32, 16))


def test_a_loss_that_is_no_number_stops_the_run_at_its_step(chat):
    with pytest.raises(FloatingPointError, match=r"at step \d+.*lower lr"):
        train.sft(chat, EXAMPLES, steps=30, lr=1e30, clip=0, **QUIET)
    broken = Variant("broken", copy.deepcopy(chat.model), chat.tokenizer)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="at step 1"):
        train.sft(broken, EXAMPLES, steps=2, **QUIET)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": 0}, "lr must be above 0"),
        ({"steps": 0}, "steps must be"),
        ({"epochs": 0}, "epochs above 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"schedule": "steep"}, "linear, constant"),
        ({"optimizer": "sgd"}, "adamw"),
        ({"precision": "fp8"}, "float32"),
        ({"every": 2}, "evaluate="),
        ({"loss_on": "user"}, "assistant"),
    ],
)
def test_bad_settings_say_what_would_be_good(chat, settings, words):
    with pytest.raises(ValueError, match=words):
        train.sft(chat, EXAMPLES, **QUIET | settings)


def test_a_model_whose_weights_are_all_frozen_cannot_be_trained(chat):
    chat.model.requires_grad_(False)
    with pytest.raises(ValueError, match="requires_grad"):
        train.sft(chat, EXAMPLES, **QUIET)


@pytest.mark.parametrize("schedule", loop.CHOICES["schedule"])
def test_the_learning_rate_warms_up_and_never_leaves_its_bounds(schedule):
    shares = [loop.learning_rate_share(step, 100, 10, schedule) for step in range(100)]
    assert all(0 < share <= 1 for share in shares)
    assert shares[:10] == sorted(shares[:10]) and max(shares) == 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert (shares[-1] < 0.05) == (schedule != "constant")


def test_a_tiny_model_stays_in_float32_on_a_cpu(chat):
    assert loop.choose_precision(chat.model, lambda: pytest.fail("measured")) == "float32"


def test_precision_is_measured_once_and_does_not_train(chat, monkeypatch):
    monkeypatch.setattr(loop, "TINY", 0)
    loop._measured.clear()
    before = weights(chat)
    encoded = rows.encode(chat.tokenizer, EXAMPLES)

    def loss():
        logits, targets, _ = predictions.label_logits(chat.model, *rows.pad(encoded, "cpu"))
        return F.cross_entropy(logits, targets)

    chosen = loop.choose_precision(chat.model, loss)
    assert chosen in ("bf16", "float32") and same(before, weights(chat))
    assert all(p.grad is None for p in chat.model.parameters())
    assert loop.choose_precision(chat.model, lambda: pytest.fail("measured again")) == chosen
    done = train.sft(chat, EXAMPLES, steps=2, precision="bf16", progress=False)
    assert done.precision == "bf16" and done.model.dtype == torch.float32


# -- dpo -------------------------------------------------------------------------------------------------------


def test_dpo_begins_at_ln_2_with_no_rewards_and_moves_the_preference(chat):
    before = weights(chat)
    done = train.dpo(chat, PAIRS, beta=0.3, lr=1e-3, steps=30, **QUIET)
    first = done.history.iloc[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first[["margin", "reward_chosen", "reward_rejected"]].abs().max() < 1e-5
    assert done.history["margin"].iloc[-1] > 1 and done.history["accuracy"].iloc[-1] == 1
    assert same(before, weights(chat))
    step = preference.Step(preference.encode_preferences(chat.tokenizer, PAIRS))
    after = preference.answer_logprobs(done.model, step)
    start = preference.answer_logprobs(chat.model, step)
    assert ((after - start)[:, 0] > (after - start)[:, 1]).all()


def test_dpo_s_loss_is_the_formula(chat):
    """-log σ(β(log π/ref(chosen) - log π/ref(rejected))), computed here from whole-conversation losses."""
    reference = tiny_llama(384, seed=9, initializer_range=0.1)

    def logprob(model, prompt, answer):
        ids = torch.tensor([prompt + answer])
        logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
        return sum(logprobs[len(prompt) + i - 1, token].item() for i, token in enumerate(answer))

    losses = []
    for pair in PAIRS:
        answers = [(pair["prompt"], pair[side]) for side in ("chosen", "rejected")]
        (prompt, chosen), (_, rejected) = batches.encode_pairs(chat.tokenizer, answers)
        margin = sum(
            sign * (logprob(chat.model, prompt, answer) - logprob(reference, prompt, answer))
            for sign, answer in ((1, chosen), (-1, rejected))
        )
        losses.append(math.log1p(math.exp(-0.2 * margin)))
    done = train.dpo(chat, PAIRS, beta=0.2, reference=reference, steps=1, batch_size=len(PAIRS), **QUIET)
    assert done.history["loss"].iloc[0] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_dpo_stops_at_the_margin_it_is_given(chat):
    done = train.dpo(chat, PAIRS, beta=0.3, lr=1e-3, steps=200, stop_at_margin=1.0, **QUIET)
    assert "margin" in done.stopped and len(done.history) < 200
    assert done.history["margin"].tail(8).mean() >= 1.0


@pytest.mark.parametrize(
    ("pairs", "error", "words"),
    [
        ([], ValueError, "no preference pairs"),
        (
            [PAIRS[0], PAIRS[1] | {"rejected": PAIRS[1]["chosen"]}],
            ValueError,
            "Pair 1 prefers an answer to itself",
        ),
        ([{"prompt": "a", "chosen": "b"}], TypeError, "Pair 0 must be a dict"),
        (
            [{"prompt": "a b " * 200, "chosen": "c", "rejected": "d"}],
            ValueError,
            "chosen answer of pair 0 has",
        ),
    ],
)
def test_bad_pairs_are_refused(chat, pairs, error, words):
    for training in (train.dpo, train.reward):
        with pytest.raises(error, match=words):
            training(chat, pairs, **QUIET)


def test_an_answer_that_no_token_stands_before_cannot_be_learned():
    with pytest.raises(ValueError, match="Pair 0 has an answer without a token"):
        preference.encode_preferences(
            toy_tokenizer("chatml"), [{"prompt": "", "chosen": "", "rejected": "d"}]
        )


def test_a_preference_s_answer_ends_with_its_end_of_turn(chat):
    (row,) = rows.encode_answers(chat.tokenizer, [(EXAMPLES[0][:1], EXAMPLES[0][1:])])
    start = row.labels.count(rows.IGNORED)
    assert row.labels[start:] == row.ids[start:]
    assert chat.tokenizer.decode(row.ids[start:]) == "Paris.<|im_end|>"
    assert chat.tokenizer.decode(row.ids[:start]).endswith("<|im_start|>assistant\n")


# -- reward model ----------------------------------------------------------------------------------------------


def test_a_reward_model_begins_at_ln_2_and_learns_to_tell_the_better_answer(chat, tmp_path):
    done = train.reward(chat, PAIRS, lr=3e-3, steps=25, **QUIET)
    assert done.history["loss"].iloc[0] == pytest.approx(math.log(2), abs=1e-6)
    judge = done.variant
    assert done.history["accuracy"].iloc[-1] == 1 and train.preference_accuracy(judge, PAIRS) == 1
    question = "What is the capital of France?"
    good, bad = judge.score([question] * 2, ["Paris.", "I do not know."])
    assert good > bad and judge(question, "Paris.") == pytest.approx(good, abs=1e-5)
    judge.model.save_pretrained(tmp_path)
    judge.tokenizer.save_pretrained(tmp_path)
    again = train.load_reward(tmp_path)
    assert again.score([question], ["Paris."]) == pytest.approx([good], abs=1e-5)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        train.load_reward(tmp_path / "none")
    with pytest.raises(ValueError, match="replay"):
        train.reward(chat, PAIRS, replay=["x"], **QUIET)


# -- reinforcement learning ------------------------------------------------------------------------------------


def test_rl_raises_its_reward_and_the_penalty_holds_it_near_the_start(chat):
    def reward(prompt, text):
        return text.count("a")

    settings = dict(steps=25, prompts_per_step=2, group_size=6, max_new_tokens=10, lr=5e-3, seed=1, **QUIET)
    before = weights(chat)
    free = train.rl(chat, ["Hi", "Hello"], reward, beta=0.0, **settings).history
    held = train.rl(chat, ["Hi", "Hello"], reward, beta=1.0, **settings).history
    assert same(before, weights(chat))
    assert free["reward"].tail(5).mean() > free["reward"].head(5).mean() + 1
    assert free["kl"].iloc[0] == pytest.approx(0, abs=1e-5)
    assert held["kl"].tail(5).mean() < 0.5 * free["kl"].tail(5).mean()
    assert free["distinct"].between(1 / 6, 1).all() and free["finished"].between(0, 1).all()
    assert (free["length"] <= 10).all()


def test_advantages_are_measured_against_the_group():
    rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    advantages = policy.group_advantages(rewards)
    assert advantages.mean(1).abs().max() < 1e-6
    assert torch.equal(advantages[1], torch.zeros(3)) and advantages[0].tolist() == sorted(
        advantages[0].tolist()
    )


def test_the_kl_divergence_is_torch_s():
    torch.manual_seed(0)
    p, q = torch.randn(4, 7), torch.randn(4, 7)
    theirs = F.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    assert torch.allclose(policy.kl_divergence(p, q), theirs, atol=1e-6)


def test_the_kl_of_whole_answers_is_the_sum_over_their_positions(chat):
    other = tiny_llama(384, seed=9, initializer_range=0.1)
    prompts, answers = [[1, 5, 6], [1, 7]], [[8, 9], [10, 11, 12]]
    found = policy.answer_kl(chat.model, other, prompts, answers)
    for prompt, answer, total in zip(prompts, answers, found):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            logits = [m(input_ids=ids).logits[0, len(prompt) - 1 : -1] for m in (chat.model, other)]
        assert total == pytest.approx(policy.kl_divergence(*logits).sum().item(), rel=1e-4)
    assert policy.answer_kl(chat.model, chat.model, prompts, answers) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("prompts", "settings", "words"),
    [
        ([], {}, "no prompts"),
        (["Hi"], {"group_size": 1}, "group_size must be 2"),
        (["Hi"], {"beta": -1}, "beta"),
        (["Hi"], {"max_new_tokens": 400}, "sees at most 256"),
        (
            [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]],
            {},
            "second assistant turn",
        ),
    ],
)
def test_bad_requests_to_rl_are_refused(chat, prompts, settings, words):
    with pytest.raises(ValueError, match=words):
        train.rl(chat, prompts, lambda p, t: 0.0, steps=1, **QUIET | settings)


def test_a_reward_that_is_no_number_is_an_error(chat):
    with pytest.raises(ValueError, match="must be a finite number"):
        train.rl(chat, ["Hi"], lambda prompt, text: float("nan"), steps=1, max_new_tokens=4, **QUIET)


# -- what is seen ----------------------------------------------------------------------------------------------


def test_the_history_is_drawn_with_its_finding_in_words(chat):
    history = train.sft(
        chat, EXAMPLES, steps=4, evaluate=lambda v: {"answers": 0.5, "words": 7}, every=2, **QUIET
    ).history
    figure = train.plot_history(history, "sft")
    assert len(figure.axes) == 3
    assert "sft: loss" in figure.alt_text and "answers 0.50 → 0.50" in figure.alt_text
    with pytest.raises(ValueError, match="no step yet"):
        train.plot_history(pd.DataFrame({"step": []}))


def test_no_legend_lies_over_a_curve():
    steps = list(range(0, 101, 10))
    rates = {f"{'a rather long name ' * (i % 2)}{i}": [i / 7, *[1 - i / 7] * 10] for i in range(7)}
    figure = train.plot_history(
        pd.DataFrame({"step": steps, "loss": 1.0, "margin": steps, **rates}), "the title"
    )
    figure.draw_without_rendering()
    title = min(t.get_window_extent().y0 for t in figure.texts)
    legends = [(ax, ax.get_legend()) for ax in figure.axes if ax.get_legend()]
    assert len(legends) == 2
    for ax, legend in legends:
        box = legend.get_window_extent()
        assert ax.get_window_extent().y1 <= box.y0 and box.y1 <= title
        assert box.x1 <= figure.bbox.x1
        assert all(not box.overlaps(other.get_window_extent()) for other in figure.axes)


def test_a_live_plot_is_one_figure_that_is_updated(chat, monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(figure)

    monkeypatch.setattr(display, "display", lambda figure, display_id: shown.append(figure) or Handle())
    train.sft(chat, EXAMPLES, steps=3, live=True, **QUIET)
    assert len(shown) >= 2 and "3 steps" in shown[-1].alt_text


def test_the_bar_goes_to_the_output_and_nothing_to_the_error_stream(chat, capfd):
    train.sft(chat, EXAMPLES, steps=2, precision="float32")
    out, err = capfd.readouterr()
    assert "sft" in out and err == ""


def test_train_is_handed_on_without_loading_torch():
    code = (
        "import sys, course_utils; assert 'train' in dir(course_utils); print('torch' in sys.modules);"
        "from course_utils import train; print(course_utils.train.sft is train.sft)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("answer", ["\n\nWell.", "    Well.", " \n Well.", ""])
def test_an_answer_whose_first_characters_merge_with_the_prompt_keeps_its_tokens(answer):
    tokenizer = load_variant("pebble-sft").tokenizer
    pair = ("Hello?", [{"role": "assistant", "content": answer}])
    ((prompt, tokens),) = batches.encode_pairs(tokenizer, [pair])
    asked = [{"role": "user", "content": "Hello?"}]
    alone = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert prompt == alone
    assert tokenizer.decode(tokens) == f"{answer}<|im_end|>"


def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole(chat, monkeypatch):
    examples = rows.encode(chat.tokenizer, EXAMPLES + EXAMPLES[:1], "assistant")
    model = copy.deepcopy(chat.model).train()

    def loss_of(batch):
        logits, targets, _ = predictions.label_logits(model, *rows.pad(batch, "cpu"))
        return F.cross_entropy(logits, targets)

    whole = loss_of(examples)
    whole.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    monkeypatch.setattr(
        rows, "in_parts", partial(rows.in_parts, tokens=2 * max(len(row.ids) for row in examples))
    )
    parts = supervised.parts(examples)
    assert len(parts) > 1 and sum(len(part) for part, _ in parts) == len(examples)
    assert sum(weight for _, weight in parts) == pytest.approx(1)
    total = 0.0
    for part, weight in parts:
        loss = weight * loss_of(part)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(whole.item(), abs=1e-5)
    assert same({name: p.grad for name, p in model.named_parameters()}, expected, 1e-5)


def by_sft(chat):
    return train.sft(chat, EXAMPLES, steps=3, batch_size=4, lr=1e-3, seed=1, **QUIET)


def by_dpo(chat):
    return train.dpo(chat, PAIRS, steps=3, batch_size=4, lr=1e-3, seed=1, nll_weight=0.5, **QUIET)


def by_reward(chat):
    return train.reward(chat, PAIRS, steps=3, batch_size=4, lr=1e-3, seed=1, **QUIET)


def by_rl(chat):
    def longer(prompt, text):
        return len(text)

    prompts = [example[:1] for example in EXAMPLES]
    settings = {"prompts_per_step": 4, "group_size": 3, "max_new_tokens": 6, "beta": 0.5}
    return train.rl(chat, prompts, longer, steps=2, lr=1e-4, seed=1, **settings, **QUIET)


@pytest.mark.parametrize("training", [by_sft, by_dpo, by_reward, by_rl])
def test_training_in_parts_writes_down_and_learns_the_same(chat, monkeypatch, training):
    whole, original, cut = training(chat), rows.in_parts, []

    def in_small_parts(lengths):
        if not lengths:
            return []
        cut.append(original(lengths, 2 * max(lengths)))
        return cut[-1]

    for module in (rows, preference):
        monkeypatch.setattr(module, "in_parts", in_small_parts)
    in_parts = training(chat)
    assert all(len(parts) > 1 for parts in cut) and len(cut) >= len(in_parts.history)
    columns = [name for name in whole.history if name != "seconds"]
    assert list(in_parts.history) == list(whole.history)
    for name in columns:
        assert in_parts.history[name].tolist() == pytest.approx(
            whole.history[name].tolist(), abs=1e-4, rel=1e-4
        ), name
    assert same(in_parts.variant.model.state_dict(), whole.variant.model.state_dict(), 1e-4)


@pytest.mark.parametrize("lengths", [[5], [3, 9, 3, 9, 2], [40, 1, 1], [4] * 7])
def test_parts_hold_every_sequence_once_within_their_size(lengths):
    parts = rows.in_parts(lengths, 12)
    assert sorted(number for part in parts for number in part) == list(range(len(lengths)))
    assert all(len(part) * max(lengths[i] for i in part) <= 12 or len(part) == 1 for part in parts)
