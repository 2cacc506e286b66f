"""The same batch through TRL's trainers and through ours: the same first loss."""

import copy
import math

import pytest
import torch
from tiny import TEXT, tiny_llama, tiny_tokenizer

from course_utils import train
from course_utils.train import preference, rows
from pebble_lm.factory.tokenizer import CHAT_TEMPLATE

trl = pytest.importorskip("trl", reason="TRL is a test dependency (requirements-test.txt)")
datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.slow

CITIES = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}
CONVERSATIONS = [
    [
        {"role": "user", "content": f"What is the capital of {c}?"},
        {"role": "assistant", "content": f"{city}."},
    ]
    for c, city in CITIES.items()
]
CONVERSATIONS.append([*CONVERSATIONS[0], *CONVERSATIONS[1]])
PAIRS = [
    {
        "prompt": f"What is the capital of {c}?\n",
        "chosen": f"{city}.",
        "rejected": "I do not know, but I think it is.",
    }
    for c, city in CITIES.items()
]


@pytest.fixture
def tokenizer():
    made = tiny_tokenizer(chat=True, extra_text=TEXT[0])
    made.chat_template = CHAT_TEMPLATE
    made.pad_token = "<|pad|>"
    return made


@pytest.fixture
def model():
    return tiny_llama(384, seed=5, initializer_range=0.2, eos=2, pad_token_id=3)


def arguments(kind, tmp_path, count: int, **more):
    return kind(
        output_dir=str(tmp_path), per_device_train_batch_size=count, max_steps=1, logging_steps=1, use_cpu=True,
        bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True, **more,
    )  # fmt: skip


def first_loss(trainer) -> float:
    trainer.train()
    return next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)


def test_sft_s_first_loss_is_that_of_the_sft_trainer(model, tokenizer, tmp_path):
    trainer = trl.SFTTrainer(
        copy.deepcopy(model),
        args=arguments(trl.SFTConfig, tmp_path, len(CONVERSATIONS), assistant_only_loss=True),
        train_dataset=datasets.Dataset.from_list([{"messages": messages} for messages in CONVERSATIONS]),
        processing_class=tokenizer,
    )
    ours = train.sft(
        model, CONVERSATIONS, tokenizer=tokenizer, steps=1, batch_size=len(CONVERSATIONS), precision="float32",
        progress=False,
    )  # fmt: skip
    assert ours.history["loss"].iloc[0] == pytest.approx(first_loss(trainer), abs=1e-4)


@pytest.mark.parametrize("with_reference", [False, True], ids=["step 0", "another reference"])
def test_dpo_s_first_loss_is_that_of_the_dpo_trainer(model, tokenizer, tmp_path, with_reference):
    reference = tiny_llama(384, seed=6, initializer_range=0.2, eos=2, pad_token_id=3)
    ref_model = reference if with_reference else copy.deepcopy(model)
    trainer = trl.DPOTrainer(
        copy.deepcopy(model),
        ref_model=copy.deepcopy(ref_model),
        args=arguments(trl.DPOConfig, tmp_path, len(PAIRS), beta=0.3),
        train_dataset=datasets.Dataset.from_list(PAIRS),
        processing_class=tokenizer,
    )
    theirs = first_loss(trainer)
    prepared = [dict(row) for row in trainer.train_dataset]
    settings = {
        "tokenizer": tokenizer, "beta": 0.3, "steps": 1, "batch_size": len(PAIRS), "precision": "float32",
        "reference": reference if with_reference else None, "progress": False,
    }  # fmt: skip
    for pairs in (PAIRS, prepared):  # tokenized by us, tokenized by TRL
        ours = train.dpo(model, pairs, **settings).history.iloc[0]
        assert ours["loss"] == pytest.approx(theirs, abs=1e-4)
    if with_reference:
        assert abs(theirs - math.log(2)) > 0.01  # or the comparison says nothing
    else:
        assert theirs == pytest.approx(math.log(2), abs=1e-4)
        assert ours[["reward_chosen", "reward_rejected", "margin"]].abs().max() < 1e-5


def test_dpo_with_the_chosen_answers_loss_is_trl_s_weighted_sum(model, tokenizer, tmp_path):
    trainer = trl.DPOTrainer(
        copy.deepcopy(model),
        ref_model=copy.deepcopy(model),
        args=arguments(
            trl.DPOConfig,
            tmp_path,
            len(PAIRS),
            beta=0.3,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, 0.5],
        ),
        train_dataset=datasets.Dataset.from_list(PAIRS),
        processing_class=tokenizer,
    )
    ours = train.dpo(
        model, PAIRS, tokenizer=tokenizer, beta=0.3, nll_weight=0.5, steps=1, batch_size=len(PAIRS),
        precision="float32", progress=False,
    )  # fmt: skip
    assert ours.history["loss"].iloc[0] == pytest.approx(first_loss(trainer), abs=1e-4)
    assert ours.history["loss"].iloc[0] > math.log(2) + 0.1


def test_pairs_are_tokenized_as_trl_tokenizes_them(tokenizer):
    for pair in PAIRS:
        chosen, _ = preference.encode_preferences(tokenizer, [pair])[0]
        whole = tokenizer(pair["prompt"] + pair["chosen"] + tokenizer.eos_token)["input_ids"]
        assert chosen.ids == whole
        assert [i for i in chosen.labels if i != rows.IGNORED] == whole[
            -len(whole) + chosen.labels.count(rows.IGNORED) :
        ]
    assert torch.tensor(chosen.ids).ndim == 1
