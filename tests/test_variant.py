"""Probabilities, generation and chat of one model. The library's own `generate` and forward pass are the
oracle."""

import copy
import inspect
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CHATML, reference_tokenizer, smollm2, stories, tiny_llama, tiny_tokenizer, tiny_variant

from course_runs.base_as_instruct import qa_prompt, query_base_as_instruct
from course_utils.generation import Draft, _choose, processed_probs
from course_utils.ribbon import show_tokens
from course_utils.templates import FAMILIES
from course_utils.tokens import token_text
from course_utils.variant import Variant, as_messages
from course_utils.writing import Job

PROMPTS = [
    "The capital of France is",
    "a",
    "Question: What is two plus two?\nAnswer:",
    "Once upon a time there was",
]
MODELS = {
    "random llama": tiny_variant,
    "random llama with chat": lambda: tiny_variant(chat=True),
    "stories260K": stories,
    "smollm2 tokenizer": lambda: smollm2("base"),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


def last_logits(variant: Variant, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return variant.model(torch.tensor([ids])).logits[0, -1]


def generate(variant: Variant, prompt: str, max_new_tokens: int) -> list[int]:
    encoded = variant.tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    ids = variant.model.generate(**encoded, do_sample=False, max_new_tokens=max_new_tokens)
    return ids[0, encoded.input_ids.shape[1] :].tolist()


# -- next-token probabilities


@every_model
def test_next_token_probs_are_the_softmax_of_the_last_logits(make):
    variant = make()
    for prompt in PROMPTS:
        expected = last_logits(variant, variant.tokenizer(prompt)["input_ids"]).softmax(-1)
        table = variant.next_token_probs(prompt, k=5)
        assert table["rank"].tolist() == [1, 2, 3, 4, 5]
        assert table["token_id"].tolist() == expected.topk(5).indices.tolist()
        assert table["prob"].tolist() == pytest.approx(expected.topk(5).values.tolist(), rel=1e-4)
        assert table["logprob"].tolist() == pytest.approx([math.log(p) for p in table["prob"]], abs=1e-5)


def test_the_whole_vocabulary_sums_to_one():
    variant = tiny_variant()
    table = variant.next_token_probs("The", k=None)
    assert len(table) == variant.model.config.vocab_size
    assert table["prob"].sum() == pytest.approx(1, abs=1e-4)
    assert table["prob"].is_monotonic_decreasing


def test_a_prompt_may_be_text_ids_a_tensor_or_messages():
    variant = tiny_variant(chat=True)
    ids = variant.encode("The capital")
    assert ids[0] == variant.tokenizer.bos_token_id
    by_text = variant.next_token_probs("The capital")
    assert by_text.equals(variant.next_token_probs(ids))
    assert by_text.equals(variant.next_token_probs(torch.tensor(ids)))
    messages = [{"role": "user", "content": "Hi"}]
    handwritten = variant.tokenizer("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    assert variant.encode(messages) == handwritten


@pytest.mark.parametrize("bad", [42, None, [1.5], [[1, 2]], {"role": "user"}])
def test_what_is_no_prompt_is_refused_by_type(bad):
    with pytest.raises(TypeError, match="A prompt is"):
        tiny_variant().encode(bad)


def test_a_message_without_content_is_named():
    with pytest.raises(ValueError, match="'role' and a 'content'"):
        tiny_variant(chat=True).encode([{"role": "user"}])


def test_an_empty_prompt_is_refused_where_no_bos_is_added():
    with pytest.raises(ValueError, match="holds no token"):
        smollm2("base").next_token_probs("")
    assert len(tiny_variant().next_token_probs("")) == 10  # this tokenizer puts its BOS there


def test_temperature_and_nucleus_reshape_the_table():
    variant = tiny_variant()
    plain, sharp = (variant.next_token_probs("The", temperature=t) for t in (1.0, 0.5))
    assert sharp["prob"][0] > plain["prob"][0]
    assert variant.next_token_probs("The", temperature=0)["prob"].tolist() == [1.0]
    assert len(variant.next_token_probs("The", k=None, top_k=7)) == 7
    nucleus = variant.next_token_probs("The", k=None, top_p=0.5)
    kept = plain["prob"].cumsum()
    assert len(nucleus) == int((kept < 0.5).sum()) + 1
    assert nucleus["prob"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "setting", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}, {"k": 0}]
)
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(ValueError, match=f"^{next(iter(setting))} must be"):
        tiny_variant().next_token_probs("The", **setting)


def test_logits_may_be_changed_in_place_by_a_learner():
    logits = tiny_variant().next_token_logits("The")
    assert logits.dtype == torch.float32 and logits.shape == (tiny_variant().model.config.vocab_size,)
    logits[3] = float("-inf")
    assert logits.softmax(-1)[3] == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30),
    st.floats(0.1, 3),
    st.integers(0, 40),
    st.floats(0.05, 1),
)
def test_processed_probs_agree_with_the_librarys_logits_processors(logits, temperature, top_k, top_p):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    # Spread out, so that no two candidates tie and no cumulative sum falls on the edge by rounding alone.
    row = torch.tensor([logits]) + torch.arange(len(logits)) * 0.013
    scores = TemperatureLogitsWarper(temperature)(None, row)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    ordered = scores.softmax(-1).sort(descending=True).values.cumsum(-1)
    if (ordered - top_p).abs().min() < 1e-4:
        return
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    assert torch.allclose(processed_probs(row, temperature, top_k, top_p), scores.softmax(-1), atol=1e-5)


def test_draws_follow_the_distribution():
    logits = torch.tensor([2.0, 0.0, 1.0, float("-inf"), -1.0]).expand(4000, -1)
    rows = [Draft([0], random.Random(seed)) for seed in range(4000)]
    chosen, logprobs = _choose(logits, rows, 1.0, 0, 1.0)
    rates = torch.bincount(chosen, minlength=5) / 4000
    assert torch.allclose(rates, logits[0].softmax(-1), atol=0.03)
    assert rates[3] == 0
    assert torch.allclose(logprobs, logits[0].log_softmax(-1)[chosen])


# -- tokens as text


def test_token_texts_joined_are_the_text_and_half_characters_are_shown_as_bytes():
    variant = tiny_variant()
    ids = variant.encode("The capital of France")[1:]
    assert "".join(variant.token_text(i) for i in ids) == "The capital of France"
    bytes_of_euro = [variant.token_text(i) for i in variant.encode("€")[1:]]
    assert "".join(bytes_of_euro) == "<0xE2><0x82><0xAC>"


def test_sentencepiece_tokens_keep_their_space():
    variant = stories()
    assert variant.token_text(variant.encode("Once upon")[-1]) == " upon"


def test_a_sentencepiece_completion_continues_its_prompt_with_the_space_that_it_wrote():
    tokenizer = reference_tokenizer("llama2-spm-from-gguf")
    variant = Variant("spm", tiny_llama(len(tokenizer), eos=None), tokenizer)
    ids = variant.encode("The capital  of France")
    assert variant.decode(ids, True) == "The capital  of France", (
        "the tokenizer's own space is none of the text's"
    )
    for cut in range(2, len(ids)):
        assert variant.decode(ids[:cut], True) + variant.decode(ids[cut:], True) == "The capital  of France"
    assert variant.decode([], False) == ""
    done = variant.complete("The capital of France is", 6)
    assert done.text[:1] == variant.token_text(done.token_ids[0])[:1]


def test_a_sentencepiece_byte_is_told_as_that_byte():
    tokenizer = reference_tokenizer("llama2-spm-from-gguf")
    told = [token_text(tokenizer, tokenizer.convert_tokens_to_ids(f"<0x{byte}>")) for byte in ("E2", "41")]
    assert told == ["<0xE2>", "A"]


def test_ids_beyond_the_tokenizer_are_shown_as_unused():
    variant = smollm2("base")
    assert variant.token_text(len(variant.tokenizer) + 3) == f"<unused {len(variant.tokenizer) + 3}>"
    assert len(variant.next_token_probs("The", k=None)) == len(variant.tokenizer) + 24


# -- generation


def test_of_equally_likely_tokens_greedy_takes_the_first_as_argmax_does():
    logits = torch.tensor([[0.0, 3.0, 3.0, 1.0], [-torch.inf, -2.0, -torch.inf, -2.0]])
    chosen, _ = _choose(logits, [Draft([0]), Draft([0])], 0.0, 0, 1.0)
    assert chosen.tolist() == logits.argmax(-1).tolist() == [1, 1] and chosen.dtype == torch.int64


@every_model
def test_greedy_completion_is_what_generate_writes(make):
    variant = make()
    for prompt in PROMPTS:
        completion = variant.complete(prompt, 24)
        assert completion.token_ids == generate(variant, prompt, 24)
        assert completion.prompt == prompt


@every_model
def test_a_batch_gives_the_same_greedy_tokens_as_one_at_a_time(make):
    variant = make()
    prompts = PROMPTS + [p + " is Rome." for p in PROMPTS] + PROMPTS[:1]
    batch = variant.complete_batch(prompts, 24, batch_size=4)
    for prompt, together in zip(prompts, batch, strict=True):
        alone = variant.complete(prompt, 24)
        assert together.token_ids == alone.token_ids
        assert (together.text, together.stop_reason, together.prompt) == (
            alone.text,
            alone.stop_reason,
            prompt,
        )
        assert together.logprobs == pytest.approx(alone.logprobs, abs=1e-3)


def eos_after_a_while() -> Variant:
    """A model whose eos is a token that it writes soon after some prompts and late after others."""
    variant = tiny_variant()
    counts = {}
    for prompt in PROMPTS:
        for place, token_id in enumerate(variant.complete(prompt, 30).token_ids):
            counts.setdefault(token_id, set()).add((prompt, place))
    eos = max(counts, key=lambda i: len({prompt for prompt, _ in counts[i]}))
    model = copy.deepcopy(variant.model)
    model.generation_config.eos_token_id = [eos, 0]
    return Variant("early", model, variant.tokenizer)


def test_rows_that_stop_early_change_nothing_for_the_others():
    variant = eos_after_a_while()
    batch = variant.complete_batch(PROMPTS * 2, 30)
    assert any(c.stop_reason == "eos" and len(c.token_ids) < 30 for c in batch)
    for prompt, together in zip(PROMPTS * 2, batch, strict=True):
        assert together.token_ids == variant.complete(prompt, 30).token_ids == generate(variant, prompt, 30)
        assert together.stopped == (together.token_ids[-1] in variant.eos_token_ids)


def test_the_eos_is_among_the_tokens_but_not_in_the_text():
    variant = eos_after_a_while()
    completion = next(c for c in variant.complete_batch(PROMPTS, 30) if c.stop_reason == "eos")
    text = variant.tokenizer.decode(completion.token_ids[:-1], skip_special_tokens=True)
    assert completion.text == text
    assert len(completion.logprobs) == len(completion.token_ids)


def test_completion_logprobs_are_the_models_own_whatever_the_sampling():
    variant = tiny_variant()
    for extra in ({}, {"temperature": 1.7, "top_k": 5, "top_p": 0.8, "seed": 4}):
        completion = variant.complete("The capital", 12, **extra)
        ids = variant.encode("The capital")
        scored = variant.token_logprobs(ids + completion.token_ids)["logprob"][len(ids) :]
        assert completion.logprobs == pytest.approx(scored.tolist(), abs=1e-3)


def test_a_shipped_repetition_penalty_is_not_applied():
    variant = tiny_variant()
    model = copy.deepcopy(variant.model)
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.temperature = 0.3
    same = Variant("penalised", model, variant.tokenizer)
    assert same.complete(PROMPTS[0], 24).token_ids == variant.complete(PROMPTS[0], 24).token_ids


def test_a_sample_depends_on_its_seed_alone():
    variant = tiny_variant()
    batch = variant.complete_batch(PROMPTS, 20, temperature=1.0, seed=7)
    for number, (prompt, together) in enumerate(zip(PROMPTS, batch, strict=True)):
        assert variant.complete(prompt, 20, temperature=1.0, seed=7 + number).token_ids == together.token_ids
    others = variant.complete_batch([PROMPTS[0], "x", "y " * 20], 20, temperature=1.0, seed=7, batch_size=2)
    assert others[0].token_ids == batch[0].token_ids
    assert variant.complete(PROMPTS[0], 20, temperature=1.0, seed=8).token_ids != batch[0].token_ids


def test_without_a_seed_torchs_own_decides():
    variant = tiny_variant()
    texts = []
    for _ in range(2):
        torch.manual_seed(5)
        texts.append(variant.complete("The", 20, temperature=1.0).token_ids)
    assert texts[0] == texts[1] != variant.complete("The", 20, temperature=1.0).token_ids


@pytest.mark.parametrize("single", [True, False])
def test_text_is_cut_before_the_stop_string(single):
    variant = tiny_variant()
    whole = variant.complete(PROMPTS[0], 24).text
    stop = whole[5:8]
    options = {"stop": stop if single else ["never written", stop]}
    for completion in (
        variant.complete(PROMPTS[0], 24, **options),
        variant.complete_batch(PROMPTS, 24, **options)[0],
    ):
        assert completion.text == whole[: whole.index(stop)]
        assert completion.stop_reason == "stop_string" and completion.stopped


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="stop must be"):
        tiny_variant().complete("The", stop="")


@every_model
@pytest.mark.parametrize("stop", [None, "e", "is "])
def test_streamed_pieces_joined_are_the_text(make, stop):
    variant = make()
    for seed in range(6):
        pieces, generator = [], variant.stream_complete(PROMPTS[0], 40, temperature=1.5, seed=seed, stop=stop)
        while True:
            try:
                pieces.append(next(generator))
            except StopIteration as end:
                completion = end.value
                break
        assert "".join(pieces) == completion.text


def test_streaming_holds_back_half_a_character():
    variant = tiny_variant()
    ids = variant.encode("é€")[1:]
    assert len(ids) == 5  # this vocabulary spells both by bytes
    scripted = Variant("scripted", copy.deepcopy(variant.model), variant.tokenizer)
    script_the_next_tokens(scripted, ids)
    assert list(scripted.stream_complete("The", 5)) == ["é", "€"]


def script_the_next_tokens(variant: Variant, ids: list[int]) -> None:
    forward, waiting = variant.model.forward, iter(ids)

    def scripted(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = torch.full_like(output.logits, -20.0)
        output.logits[..., next(waiting)] = 20.0
        return output

    variant.model.forward = scripted


def test_streaming_prints_the_text(capsys):
    completion = tiny_variant().complete(PROMPTS[0], 12, stream=True)
    assert capsys.readouterr().out == completion.text + "\n"


def test_a_prompt_too_long_for_the_model_says_so():
    variant = tiny_variant()
    long = [5] * 250
    with pytest.raises(
        ValueError, match=r"250 tokens and 64 new .* at most 256 .* max_new_tokens to 6 or less"
    ):
        variant.complete(long)
    assert len(variant.complete(long, 6).token_ids) <= 6
    with pytest.raises(ValueError, match="Prompt 1 has 250"):
        variant.complete_batch(["The", long])
    with pytest.raises(ValueError, match=r"300 tokens, but .* Shorten the prompt"):
        variant.next_token_probs([5] * 300)


def test_the_tokenizer_is_left_as_it_was():
    variant = tiny_variant(chat=True)
    before = (variant.tokenizer.pad_token, variant.tokenizer.padding_side, variant.tokenizer.chat_template)
    variant.chat_batch(["Hi", "What is two plus two?"], max_new_tokens=4)
    assert before[0] is None
    assert (
        variant.tokenizer.pad_token,
        variant.tokenizer.padding_side,
        variant.tokenizer.chat_template,
    ) == before


def test_a_batch_of_none_is_empty_and_one_text_is_not_a_batch():
    assert tiny_variant().complete_batch([]) == []
    with pytest.raises(TypeError, match="list of prompts"):
        tiny_variant().complete_batch("The")


def test_bfloat16_models_generate():
    variant = Variant(
        "half", copy.deepcopy(tiny_variant().model).to(torch.bfloat16), tiny_variant().tokenizer
    )
    batch = variant.complete_batch(PROMPTS, 8)
    assert all(1 <= len(c.token_ids) <= 8 for c in batch)
    assert variant.next_token_logits("The").dtype == torch.float32


def test_eos_falls_back_to_the_tokenizers():
    tokenizer = tiny_tokenizer()
    variant = Variant("no eos", tiny_llama(len(tokenizer), eos=None), tokenizer)
    assert variant.eos_token_ids == [tokenizer.eos_token_id]


# -- chat


@pytest.mark.parametrize("lengths", [[3, 1, 2], [9_000, 5, 5], [4_000] * 5, [10] * 130, []])
def test_batches_hold_every_prompt_once_within_their_sizes(lengths):
    rows = [Draft([0] * length) for length in lengths]
    batches = Job(tiny_variant(), rows, (), {}).batches(64)
    assert sorted(id(row) for batch in batches for row in batch) == sorted(map(id, rows))
    for batch in batches:
        assert len(batch) <= 64
        assert len(batch) == 1 or len(batch) * max(len(row.prompt_ids) for row in batch) <= 8192


def test_memory_goes_back_and_another_c_library_is_no_error(monkeypatch):
    from course_utils import memory

    memory.give_back()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.give_back()


def test_chat_goes_through_the_template():
    variant = tiny_variant(chat=True)
    completion = variant.chat("Hi", system="Be brief.", max_new_tokens=4)
    assert completion.prompt == (
        "<|endoftext|><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    encoded = variant.tokenizer.apply_chat_template(
        as_messages("Hi", "Be brief."), add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids = variant.model.generate(**encoded, do_sample=False, max_new_tokens=4)
    assert ids[0, encoded["input_ids"].shape[1] :].tolist() == completion.token_ids


def test_chat_batch_answers_texts_and_conversations_in_order():
    variant = tiny_variant(chat=True)
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "Bye"},
    ]
    batch = variant.chat_batch([talk, "Hi"], max_new_tokens=6)
    assert [c.token_ids for c in batch] == [
        variant.chat(one, max_new_tokens=6).token_ids for one in (talk, "Hi")
    ]


def test_a_base_without_template_says_what_to_use_instead():
    with pytest.raises(
        ValueError, match=r"tiny-base has no chat template.*query_base_as_instruct.*chat_template="
    ):
        tiny_variant().chat("Hi")
    assert "<|im_start|>user" in tiny_variant().chat("Hi", chat_template=CHATML, max_new_tokens=2).prompt


def test_a_template_that_refuses_the_messages_is_told_with_its_own_words_and_a_way_out():
    with pytest.raises(
        ValueError, match=r"roles: system, user\): System role not supported.*first user's message"
    ):
        tiny_variant().chat("Hi", system="Be brief.", chat_template=FAMILIES["gemma-2"].template)


def test_a_broken_template_is_not_called_a_refusal():
    with pytest.raises(ValueError, match=r"cannot be rendered.*undefined"):
        tiny_variant().chat("Hi", chat_template="{{ nobody.knows.this }}")


def test_another_familys_template_renders_where_the_tokenizer_has_no_bos():
    tokenizer = tiny_tokenizer(bos=False)
    tokenizer.bos_token = None
    variant = Variant("without BOS", tiny_variant().model, tokenizer)
    for family in FAMILIES.values():  # some add to bos_token, which fails where it is undefined
        assert variant.encode(as_messages("Hi"), chat_template=family.template), family.name


def test_a_conversation_that_ends_with_the_assistant_is_not_silently_reopened():
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    with pytest.raises(ValueError, match="second assistant turn"):
        tiny_variant(chat=True).chat(talk)


def test_two_system_messages_are_refused():
    with pytest.raises(ValueError, match="already begin"):
        as_messages([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], system="c")


def test_smollm2s_real_template_is_rendered_as_the_library_renders_it():
    variant = smollm2("instruct")
    text = variant.tokenizer.apply_chat_template(
        as_messages("Hi"), tokenize=False, add_generation_prompt=True
    )
    assert variant.chat("Hi", max_new_tokens=2).prompt == text


# -- scoring


@every_model
def test_token_logprobs_agree_with_one_plain_forward_pass(make):
    variant = make()
    table = variant.token_logprobs(PROMPTS[3])
    ids = variant.tokenizer(PROMPTS[3])["input_ids"]
    with torch.no_grad():
        logprobs = variant.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert table["token_id"].tolist() == ids
    assert math.isnan(table["logprob"][0]) and table["rank"].isna()[0]
    for t in range(1, len(ids)):
        row = logprobs[t - 1]
        assert table["logprob"][t] == pytest.approx(float(row[ids[t]]), abs=1e-4)
        assert table["prob"][t] == pytest.approx(math.exp(table["logprob"][t]))
        assert table["rank"][t] == int((row > row[ids[t]]).sum()) + 1
        assert table["entropy"][t] == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-3)


def test_scoring_in_chunks_changes_nothing(monkeypatch):
    whole = tiny_variant().token_logprobs(PROMPTS[2])
    monkeypatch.setattr("course_utils.variant._CHUNK_ELEMENTS", 3 * tiny_variant().model.config.vocab_size)
    chunked = tiny_variant().token_logprobs(PROMPTS[2])
    assert chunked["rank"].equals(whole["rank"])
    assert chunked["logprob"].tolist()[1:] == pytest.approx(whole["logprob"].tolist()[1:], abs=1e-4)


def test_a_release_that_calls_the_cache_another_name_is_spoken_to_under_that_name(monkeypatch):
    """transformers 5.24 says `cache` where earlier releases say `past_key_values`; a course takes both, unwarned."""
    model = tiny_variant().model
    earlier = (
        "past_key_values"
        if "past_key_values" in inspect.signature(type(model).forward).parameters
        else "cache"
    )

    class Renamed(type(model)):
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None, use_cache=None):
            told = {"attention_mask": attention_mask, "position_ids": position_ids, "use_cache": use_cache}
            output = super().forward(input_ids, **{earlier: cache}, **told)
            return SimpleNamespace(logits=output.logits, cache=getattr(output, earlier))

    renamed = copy.copy(model)
    renamed.__class__ = Renamed
    monkeypatch.setattr("course_utils.variant._CHUNK_ELEMENTS", 3 * model.config.vocab_size)
    ours = Variant("renamed", renamed, tiny_variant().tokenizer)
    texts, expected = (v.complete_batch(PROMPTS, 8) for v in (ours, tiny_variant()))
    assert texts == expected
    scores, expected = (v.token_logprobs(PROMPTS[2])["logprob"][1:].tolist() for v in (ours, tiny_variant()))
    assert scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["Rwkv", "Mamba", "Bamba"])
def test_a_recurrent_model_is_read_whole_and_unpadded(kind, monkeypatch):
    import transformers

    shapes = {
        "Rwkv": {"attention_hidden_size": 32},
        "Mamba": {"state_size": 8, "intermediate_size": 64, "time_step_rank": 4},
        "Bamba": {
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "attn_layer_indices": [1],
            "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8,
        },
    }  # fmt: skip
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "initializer_range": 0.3,
    }
    config = getattr(transformers, f"{kind}Config")(
        **sizes, **shapes[kind], bos_token_id=0, eos_token_id=None
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.generation_config.eos_token_id = 1
    variant = Variant(kind, model, tokenizer)
    expected = []
    for prompt in PROMPTS[:3]:
        ids = variant.encode(prompt)
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        expected.append(ids[-6:])
    assert [done.token_ids for done in variant.complete_batch(PROMPTS[:3], 6)] == expected
    whole = variant.token_logprobs(PROMPTS[2])["logprob"][1:].tolist()
    monkeypatch.setattr("course_utils.variant._CHUNK_ELEMENTS", 4 * len(tokenizer))
    assert variant.token_logprobs(PROMPTS[2])["logprob"][1:].tolist() == pytest.approx(whole, abs=1e-4)


def test_messages_are_scored_without_a_generation_prompt():
    variant = tiny_variant(chat=True)
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    assert variant.token_logprobs(talk)["token"].tolist()[-2:] == ["<|im_end|>", "\n"]


# -- the base asked like an instruct model


def test_the_frame_is_plain_text_that_ends_with_an_open_answer():
    assert qa_prompt("Why?", "Be kind.", [("Who?", "Me.")]) == (
        "Be kind.\n\nQuestion: Who?\nAnswer: Me.\n\nQuestion: Why?\nAnswer:"
    )
    assert qa_prompt("Why?", "") == "Question: Why?\nAnswer:"


def test_query_base_as_instruct_shows_its_prompt_and_strips_the_answer():
    base = Variant("scripted", copy.deepcopy(tiny_variant().model), tiny_variant().tokenizer)
    ids = base.encode(" Rome.\n\nQuestion: What")[1:]
    script_the_next_tokens(base, ids)
    answer = query_base_as_instruct(base, "What is the capital of Italy?")
    assert answer.prompt == qa_prompt("What is the capital of Italy?")
    assert answer.text == "Rome." and answer.stop_reason == "stop_string"


def test_completions_and_variants_show_themselves_readably():
    variant = tiny_variant(chat=True)
    completion = variant.complete("The capital", 3)
    assert "The capital" in repr(completion) and str(completion) == completion.text
    assert "chat template" in repr(variant) and "<|im_end|>" in repr(variant)


# -- numbers that are no numbers, ids of another model, stops that are special tokens ---------------------------------


@pytest.mark.parametrize("temperature", [1e-6, 1e-20, 1e-40, 5e-324])
def test_a_very_small_temperature_is_greedy(temperature):
    variant = tiny_variant()
    table = variant.next_token_probs("The capital", temperature=temperature)
    assert table["token_id"].iloc[0] == variant.next_token_probs("The capital")["token_id"].iloc[0]
    assert table["prob"].iloc[0] == pytest.approx(1)
    greedy = variant.complete("The capital", 4)
    assert variant.complete("The capital", 4, temperature=temperature, seed=1).token_ids == greedy.token_ids


@pytest.mark.parametrize(
    "setting", [{"temperature": math.inf}, {"temperature": math.nan}, {"top_k": 2.5}, {"top_k": math.nan}]
)
def test_settings_that_are_no_numbers_are_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        tiny_variant().next_token_probs("The", **setting)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_weights_are_said_and_not_sampled_from(bad):
    model = copy.deepcopy(tiny_variant().model)
    with torch.no_grad():
        model.lm_head.weight[7] = bad
    broken = Variant("broken", model, tiny_variant().tokenizer)
    for ask in (
        lambda: broken.next_token_probs("The"),
        lambda: broken.complete("The", 2),
        lambda: broken.complete("The", 2, temperature=1.0, seed=0),
        lambda: broken.complete_batch(["The", "Once upon"], 2),
        lambda: broken.token_logprobs("The capital"),
    ):
        with pytest.raises(ValueError, match="no numbers"):
            ask()


def test_logits_that_rule_tokens_out_are_fine_and_nothing_but_those_is_not():
    logits = torch.tensor([0.0, -math.inf, 1.0])
    assert processed_probs(logits)[1] == 0 and processed_probs(logits).sum() == pytest.approx(1)
    with pytest.raises(FloatingPointError, match="no numbers"):
        processed_probs(torch.full((3,), -math.inf))


@pytest.mark.parametrize("ids", [[5, 99999], [5, -100], [-1]])
def test_ids_that_the_model_does_not_have_are_refused(ids):
    with pytest.raises(ValueError, match=f"token id {ids[-1]}"):
        tiny_variant().complete(ids, 2)


def test_ids_may_be_numpys():
    ids = tiny_variant().encode("The capital")
    assert tiny_variant().encode(list(np.array(ids))) == ids


def test_half_a_character_is_explained_in_a_chat_and_a_ribbon_too():
    variant = tiny_variant(chat=True)
    with pytest.raises(ValueError, match="half a character"):
        variant.chat("\ud83d x", max_new_tokens=2)
    for content in ("\ud83d", [{"role": "user", "content": "\ud83d"}]):
        with pytest.raises(ValueError, match="half a character"):
            show_tokens(variant, content)


def test_half_a_character_and_no_limit_are_explained():
    with pytest.raises(ValueError, match="half a character"):
        tiny_variant().complete("caf\udce9", 2)
    for count in (None, 3.0):
        with pytest.raises(ValueError, match="max_new_tokens must be a whole number"):
            tiny_variant().complete("The", count)


def runaway(ids: list[int]) -> Variant:
    """A chat model that writes these ids and whose generation config does not stop at <|im_end|>."""
    chat = tiny_variant(chat=True)
    model = copy.deepcopy(chat.model)
    model.generation_config.eos_token_id = 0
    variant = Variant("runaway", model, chat.tokenizer)
    script_the_next_tokens(variant, ids)
    return variant


@pytest.mark.parametrize("stop", ["<|im_end|>", "<|im_end|>\nuser", "o<|im_end|>"])
def test_a_special_token_may_be_a_stop_string(stop):
    tokenizer = tiny_variant(chat=True).tokenizer
    ids = tokenizer("Hello<|im_end|>\nuser: more of it", add_special_tokens=False)["input_ids"]
    settings = {"max_new_tokens": len(ids), "stop": stop}
    answer = runaway(ids).chat("Hi", **settings)
    assert answer.stop_reason == "stop_string"
    assert answer.text == ("Hell" if stop.startswith("o") else "Hello")
    prompt = [{"role": "user", "content": "Hi"}]
    assert "".join(runaway(ids).stream_complete(prompt, **settings)) == answer.text


def test_special_tokens_before_a_stop_are_left_out_of_the_text():
    tokenizer = tiny_variant(chat=True).tokenizer
    ids = tokenizer("One<|im_start|>two. Three", add_special_tokens=False)["input_ids"]
    answer = runaway(ids).chat("Hi", max_new_tokens=len(ids), stop="wo.")
    assert (answer.text, answer.stop_reason) == ("Onet", "stop_string")
