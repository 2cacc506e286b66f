"""Training on models, templates and data that are unlike Pebble's."""

import copy
import math

import pandas as pd
import pytest
import torch
import transformers  # by its name: its models, a second to import, are not needed to collect the tests
from tiny import tiny_llama, tiny_tokenizer

from course_utils import batches, train
from course_utils.templates import FAMILIES, toy_tokenizer
from course_utils.train import loop, predictions, preference, rows
from course_utils.variant import Variant

QUIET = {"progress": False, "precision": "float32"}
ASKED = {"capital of France": "Paris", "capital of Italy": "Rome", "two plus two": "Four"}
EXAMPLES = [
    [
        {"role": "user", "content": f"What is the {question}?"},
        {"role": "assistant", "content": f"{answer}."},
    ]
    for question, answer in ASKED.items()
]
DOUBT = [{"role": "assistant", "content": "I do not know."}]
PAIRS = [{"prompt": talk[:1], "chosen": talk[1:], "rejected": DOUBT} for talk in EXAMPLES]


@pytest.fixture
def chat():
    model = tiny_llama(384, seed=3, initializer_range=0.1, eos=[2, 0])
    return Variant("tiny-chat", model, tiny_tokenizer(chat=True))


# -- tables ----------------------------------------------------------------------------------------------------


def test_a_table_is_read_row_by_row(chat):
    table = pd.DataFrame({"prompt": ["Say ", "Now "], "completion": ["Rome", "Paris"]})
    given = rows.encode(chat.tokenizer, table.to_dict("records"))
    assert rows.encode(chat.tokenizer, table) == given
    assert rows.encode(chat.tokenizer, table.iloc[::-1]) == given[::-1]
    talks = rows.encode(chat.tokenizer, EXAMPLES)
    as_arrays = [pd.Series(talk).to_numpy() for talk in EXAMPLES]  # as pandas reads them from a parquet file
    assert rows.encode(chat.tokenizer, pd.DataFrame({"messages": as_arrays})) == talks
    assert rows.encode(chat.tokenizer, pd.Series(EXAMPLES)) == talks
    encoded = preference.encode_preferences(chat.tokenizer, PAIRS)
    assert preference.encode_preferences(chat.tokenizer, pd.DataFrame(PAIRS)) == encoded
    assert len(train.sft(chat, table, steps=1, **QUIET).history) == 1


# -- templates -------------------------------------------------------------------------------------------------


def other_end(chat: Variant) -> Variant:
    """A base whose tokenizer has the template of ChatML, and another eos than the end of its turns."""
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.eos_token = "<|endoftext|>"
    return Variant("tiny-base", tiny_llama(384, seed=3, initializer_range=0.1, eos=0), tokenizer)


def test_generation_ends_at_the_end_of_turn_even_where_it_is_not_the_eos(chat):
    base = other_end(chat)
    assert train.sft(base, EXAMPLES, steps=1, **QUIET).variant.eos_token_ids == [2, 0]
    assert base.eos_token_ids == [0] and train.sft(
        chat, EXAMPLES, steps=1, **QUIET
    ).variant.eos_token_ids == [2, 0]
    gemma = toy_tokenizer("gemma-2")
    end = gemma.convert_tokens_to_ids("<end_of_turn>")
    model = tiny_llama(len(gemma), eos=1)
    assert loop.variant_to_train(model, gemma, True, None, "sft").eos_token_ids == [end, 1]


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"glm-4.5"}))  # whose next turn ends the last
def test_an_answer_ends_with_the_special_token_of_its_template(family):
    tokenizer = toy_tokenizer(family)
    settings = {"chat_template": tokenizer.chat_template}
    end = batches.masks.end_of_turn(tokenizer, settings)
    assert tokenizer.decode([end]) in FAMILIES[family].end_of_turn
    for both in preference.encode_preferences(tokenizer, PAIRS):
        assert both.chosen.ids[-1] == both.rejected.ids[-1] == end


def test_an_answer_leaves_the_line_break_out_where_its_end_is_not_the_eos(chat):
    for both in preference.encode_preferences(other_end(chat).tokenizer, PAIRS):
        assert both.chosen.ids[-1] == both.rejected.ids[-1] == 2


# -- the history -----------------------------------------------------------------------------------------------

TRAININGS = {
    "sft": lambda chat, **options: train.sft(chat, EXAMPLES, steps=1, **QUIET, **options),
    "dpo": lambda chat, **options: train.dpo(chat, PAIRS, steps=1, **QUIET, **options),
    "reward": lambda chat, **options: train.reward(chat, PAIRS, steps=1, **QUIET, **options),
    "rl": lambda chat, **options: train.rl(
        chat,
        ["Hi"],
        lambda prompt, text: len(text),
        steps=1,
        group_size=2,
        max_new_tokens=2,
        **QUIET,
        **options,
    ),
}


@pytest.mark.parametrize("training", TRAININGS)
def test_an_evaluation_may_not_overwrite_what_the_training_writes_down(chat, training):
    history = TRAININGS[training](chat).history
    assert set(history.columns) == {*loop.COLUMNS, *loop.OWN_COLUMNS.get(training, ())} - {"measured"}
    for name in history.columns:
        with pytest.raises(ValueError, match=f"'{name}'.*another name, such as 'held_out_{name}'"):
            TRAININGS[training](chat, evaluate=lambda variant, name=name: {"fine": 1, name: 7})
    assert TRAININGS[training](chat, evaluate=lambda variant: {"fine": 1}).history["fine"].notna().all()


# -- preferences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]], ids=["user", "system"])
@pytest.mark.parametrize("as_text", [True, False], ids=["text", "messages"])
def test_a_prompt_that_both_answers_repeat_is_read_once(chat, system, as_text):
    """The layout of UltraFeedback: `prompt` as text, and both sides whole conversations."""
    user = {"role": "user", "content": "What is 2+2?"}
    right, wrong = ({"role": "assistant", "content": text} for text in ("4", "5"))
    asked = [*system, user]
    apart = {"prompt": asked, "chosen": [right], "rejected": [wrong]}
    prompt = user["content"] if as_text else asked
    pair = {"prompt": prompt, "chosen": [*asked, right], "rejected": [*asked, wrong]}
    encoded = preference.encode_preferences(chat.tokenizer, [pair])
    assert encoded == preference.encode_preferences(chat.tokenizer, [apart])
    assert chat.tokenizer.decode(encoded[0].chosen.ids).count("What is 2+2?") == 1
    # An earlier answer that both sides share belongs to the prompt.
    again = [user, right, {"role": "user", "content": "Sure?"}]
    pair = {"prompt": user["content"], "chosen": [*again, right], "rejected": [*again, wrong]}
    ((chosen, _),) = preference.encode_preferences(chat.tokenizer, [pair])
    assert chosen == preference.encode_preferences(chat.tokenizer, [apart | {"prompt": again}])[0].chosen
    with pytest.raises(ValueError, match="Pair 0 prefers an answer to itself"):
        preference.encode_preferences(chat.tokenizer, [pair | {"rejected": pair["chosen"]}])


def test_answers_beside_a_text_stay_answers(chat):
    (given,) = preference.encode_preferences(chat.tokenizer, [PAIRS[0]])
    texts = PAIRS[0] | {"prompt": PAIRS[0]["prompt"][0]["content"]}
    assert preference.encode_preferences(chat.tokenizer, [texts]) == [given]


def test_a_pair_s_tools_reach_the_template(chat):
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = "{% if tools %}{{ tools[0]['name'] }}:{% endif %}" + tokenizer.chat_template
    pairs = [PAIRS[0] | {"tools": [{"name": "sums"}]}, PAIRS[1]]
    texts = [tokenizer.decode(both.rejected.ids) for both in preference.encode_preferences(tokenizer, pairs)]
    assert ["sums:" in text for text in texts] == [True, False]


# -- other architectures ---------------------------------------------------------------------------------------

SIZES = {
    "vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
WINDOWED = {
    "mistral": ("MistralConfig", {"sliding_window": 8}),
    "gemma-3": ("Gemma3TextConfig", {"sliding_window": 8, "head_dim": 8, "sliding_window_pattern": 2}),
}


def made(kind: str, **settings):
    torch.manual_seed(2)
    config = getattr(transformers, kind)(**(SIZES | settings))
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("name", WINDOWED)
def test_answers_to_one_prompt_keep_a_model_s_sliding_window(name):
    kind, settings = WINDOWED[name]
    model = made(kind, initializer_range=0.3, **settings)
    prompt = list(range(4, 24))
    batch = [rows.answer_row(prompt, answer) for answer in ([30, 31, 32, 33], [40, 41])]
    with torch.no_grad():
        logits, _, of_row = predictions.answer_logits(model, batch)
        for number, row in enumerate(batch):
            whole = model(input_ids=torch.tensor([row.ids])).logits[0, len(prompt) - 1 : -1]
            assert torch.allclose(logits[of_row == number], whole, atol=1e-4)


def test_a_model_without_a_window_still_shares_its_prompts():
    assert predictions.shares_prompts(made("MistralConfig", sliding_window=None))
    assert predictions.shares_prompts(made("Qwen2Config", sliding_window=8, use_sliding_window=False))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Gemma2Config", {"final_logit_softcapping": 30.0, "head_dim": 8}),
        ("CohereConfig", {"logit_scale": 0.06}),
    ],
)
def test_a_cap_or_scale_is_found_though_the_logits_are_near_0(kind, settings):
    assert not predictions.head_is_apart(made(kind, initializer_range=1e-4, **settings))


def test_dpo_and_rl_run_the_policy_without_dropout(chat):
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=384, n_embd=32, n_layer=2, n_head=4)
    )
    variant = Variant("tiny-gpt2", model.eval(), chat.tokenizer)  # its dropout is 0.1
    first = train.dpo(variant, PAIRS, steps=1, **QUIET).history.iloc[0]
    assert first["margin"] == pytest.approx(0, abs=1e-5) and first["loss"] == pytest.approx(
        math.log(2), abs=1e-6
    )
    assert TRAININGS["rl"](variant).history["kl"].iloc[0] == pytest.approx(0, abs=1e-6)
    seen = []
    model.transformer.drop.register_forward_hook(lambda module, given, out: seen.append(module.training))
    train.sft(variant, EXAMPLES, steps=1, copy=False, **QUIET)
    assert True in seen


@pytest.mark.parametrize("pad", [None, "<|im_end|>", "<|endoftext|>", "<|pad|>"])
def test_a_saved_reward_model_scores_the_same_through_transformers(chat, tmp_path, pad):
    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.pad_token = pad
    judge = train.reward(chat, PAIRS, tokenizer=tokenizer, steps=2, lr=1e-2, **QUIET).variant
    judge.model.save_pretrained(tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    encoded = [both.chosen for both in preference.encode_preferences(tokenizer, PAIRS)]
    with torch.no_grad():
        scored = [theirs(input_ids=torch.tensor([row.ids])).logits.item() for row in encoded]
    assert scored == pytest.approx(judge.score_rows(encoded), abs=1e-5)
    own = {"<|endoftext|>": 0, "<|pad|>": 3}
    assert theirs.config.pad_token_id == own.get(pad)


# -- replay ----------------------------------------------------------------------------------------------------


def test_replayed_documents_stand_apart_with_or_without_a_bos(chat):
    texts = ["One document ends here.", "Another begins."]
    for tokenizer, between in (
        (tiny_tokenizer(bos=False), "<|endoftext|>"),
        (tiny_tokenizer(), "<|endoftext|>"),
    ):
        (ids,) = next(rows.replay_rows(tokenizer, texts, 40, 40))
        assert f"here.{between}Another begins.{between}One" in tokenizer.decode(ids)
    # The tokenizer of a chat ends turns otherwise than the base's documents ended.
    options = loop.LoopOptions(replay=texts, replay_tokens=40)
    talks = tiny_tokenizer(chat=True, bos=False)
    watched = loop.variant_to_train(
        tiny_llama(384, eos=0, max_position_embeddings=40), talks, True, None, "sft"
    )
    seen = []
    watched.model.register_forward_pre_hook(
        lambda module, given, named: seen.append(named["input_ids"][0]), with_kwargs=True
    )
    loop._replayed(watched, options, 0)()
    assert "here.<|endoftext|>Another begins.<|endoftext|>One" in talks.decode(seen[0])


# -- what is refused, and in which words -----------------------------------------------------------------------


@pytest.mark.parametrize("training", TRAININGS)
def test_a_base_is_told_to_take_another_tokenizer(training):
    base = Variant("tiny-base", tiny_llama(384, eos=0), tiny_tokenizer())
    with pytest.raises(ValueError, match=r"no chat template.*tokenizer=.*the instruct's") as error:
        if training == "rl":
            train.rl(base, [EXAMPLES[0][:1]], lambda prompt, text: 0.0, steps=1, **QUIET)
        else:
            TRAININGS[training](base)
    assert "chat_template=" not in str(error.value)


@pytest.mark.parametrize("training", ["sft", "text", "dpo", "reward", "rl", "replay", "score"])
def test_half_a_character_is_said_with_its_place(chat, training):
    half = "half \ud83d of it"
    talk = [{"role": "user", "content": half}, EXAMPLES[0][1]]
    pairs = [PAIRS[0], PAIRS[1] | {"prompt": talk[:1]}]
    judge = preference.RewardModel("judge", chat.model, chat.tokenizer)
    asked = {
        "sft": lambda: train.sft(chat, [EXAMPLES[0], talk], **QUIET),
        "text": lambda: train.sft(chat, ["whole", half], **QUIET),
        "dpo": lambda: train.dpo(chat, pairs, **QUIET),
        "reward": lambda: train.reward(chat, pairs, **QUIET),
        "rl": lambda: train.rl(chat, ["whole", half], lambda prompt, text: 0.0, **QUIET),
        "replay": lambda: train.sft(chat, EXAMPLES, replay=["whole", half], **QUIET),
        "score": lambda: judge.score(["Hi", "Hi"], ["whole", half]),
    }
    with pytest.raises(ValueError, match=r" 1 cannot be used .*half a character \('.ud83d'\)"):
        asked[training]()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"input_ids": [1, -5], "labels": [1, 1]}, "Example 1 holds the token id -5"),
        ({"input_ids": [1, -100], "labels": [1, 1]}, "Example 1 holds the token id -100"),
        (
            {"input_ids": [1, 384], "labels": [1, 1]},
            "Example 1 holds the token id 384, .*0 to 383.*another model",
        ),
        ({"input_ids": [1, 2], "labels": [1, 999]}, "Example 1 holds the label 999"),
        ({"input_ids": [1, 2], "labels": [1, -5]}, "Example 1 holds the label -5"),
    ],
)
def test_ids_and_labels_are_tokens_of_the_model(chat, row, words):
    fine = {"input_ids": [0, 383], "labels": [-100, 383]}
    with pytest.raises(ValueError, match=words):
        train.sft(chat, [fine, row], **QUIET)
    assert len(train.sft(chat, [fine], steps=1, **QUIET).history) == 1


@pytest.mark.parametrize(
    ("training", "settings", "error", "words"),
    [
        ("sft", {"batch_size": 2.0}, TypeError, "batch_size must be a whole number of 1 or more, got 2.0"),
        ("sft", {"steps": 2.5}, TypeError, "steps must be a whole number of 1 or more, got 2.5"),
        ("dpo", {"steps": "3"}, TypeError, "steps must be a whole number of 1 or more, got '3'"),
        ("sft", {"epochs": 0}, ValueError, "epochs above 0"),
        ("sft", {"save_every": 0, "checkpoint": "run.pt"}, ValueError, "save_every must be 1 or more, got 0"),
        ("sft", {"every": 2.5, "evaluate": lambda v: {}}, TypeError, "every must be a whole number"),
        ("rl", {"steps": 2.5}, TypeError, "steps must be a whole number"),
        ("rl", {"steps": 0}, ValueError, "steps must be 1 or more, got 0"),
        ("rl", {"max_new_tokens": 0}, ValueError, "max_new_tokens must be 1 or more, got 0"),
        ("rl", {"prompts_per_step": 1.5}, TypeError, "prompts_per_step must be a whole number"),
        ("rl", {"group_size": 2.5}, TypeError, "group_size must be a whole number"),
    ],
)
def test_counts_are_whole_numbers(chat, tmp_path, monkeypatch, training, settings, error, words):
    monkeypatch.chdir(tmp_path)
    given = {"sft": [EXAMPLES], "dpo": [PAIRS], "rl": [["Hi"], lambda prompt, text: 0.0]}[training]
    with pytest.raises(error, match=words):
        getattr(train, training)(chat, *given, **QUIET | settings)


def test_a_checkpoint_that_cannot_be_written_is_said_before_the_first_step(chat, tmp_path):
    (tmp_path / "file").touch()
    steps = []
    for place in (tmp_path / "file" / "run.pt", tmp_path / ("x" * 300), "."):
        with pytest.raises(OSError, match=r"checkpoint .* cannot be written .*Name a file in a folder"):
            train.sft(chat, EXAMPLES, checkpoint=place, evaluate=lambda variant: steps.append(1), **QUIET)
    assert steps == [] and [path.name for path in tmp_path.iterdir()] == ["file"]
    train.sft(chat, EXAMPLES, steps=2, checkpoint=tmp_path / "new" / "run.pt", save_every=1, **QUIET)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_end_of_turn_is_asked_once_for_many_rows(chat, monkeypatch):
    asked, own = [], batches.masks.end_of_turn
    monkeypatch.setattr(batches.masks, "end_of_turn", lambda *given: asked.append(given) or own(*given))
    preference.encode_preferences(chat.tokenizer, PAIRS)
    rows.encode(chat.tokenizer, EXAMPLES)
    assert len(asked) == 2
