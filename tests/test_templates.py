"""Chat-template families: they write what the real ones write, and know where every message stands."""

import json
import re
import subprocess
import sys
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from course_runs.lesson03 import differences
from course_utils import templates
from course_utils.roles import role_spans, roles_at, token_offsets
from course_utils.templates import FAMILIES, encode_safely, family, render, toy_tokenizer
from tests.tiny import DATA, reference_tokenizer, shared

DATE = {"date_string": "1 Jan 2025"}
SYSTEM, USER, ANSWER, AGAIN = (
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Italy?"},
)
TURNS = [USER, ANSWER, AGAIN]
LONG = [SYSTEM, *TURNS, {"role": "assistant", "content": "Rome."}]
EVERY = pytest.mark.parametrize("name", FAMILIES)


toy = cache(toy_tokenizer)


def assistant_spans(name: str, messages: list[dict], **variables) -> list[tuple[int, int]]:
    """Where the `{% generation %}` marks stand: (start, end) in characters of each assistant turn."""
    chosen = FAMILIES[name]
    _, [marks] = render_jinja_template(
        conversations=[messages],
        chat_template=chosen.template,
        return_assistant_tokens_mask=True,
        bos_token=chosen.bos or "",
        eos_token=chosen.eos,
        **variables,
    )
    return marks


def spans(name: str, messages: list[dict], **settings) -> list:
    return role_spans(toy(name), messages, **settings)


def conversation(name: str, *, system: bool = True) -> list[dict]:
    """The long conversation, without its system message where the family refuses one."""
    return LONG if system and name != "gemma-2" else LONG[1:]


# -- they write what the real ones write -------------------------------------------------------------------------

# Family -> what the reference case is called, and which variables make the two comparable.
NO_BOS = {"bos_token": ""}
CASES = {
    "chatml": ("teknium/OpenHermes-2.5-Mistral-7B", {}),
    "llama-2": ("bofenghuang/vigogne-2-70b-chat", NO_BOS),
    "llama-3": ("Llama-3", NO_BOS),
    "mistral-v1": ("mistralai/Mistral-7B-Instruct-v0.2 (mistralai 'v1' template", NO_BOS),
    "mistral-v3": ("Mistral-Large-Instruct-2407", NO_BOS),
    "mistral-tekken": ("Mistral-Nemo-Instruct-2407", NO_BOS),
    "mistral-v7": ("mistralai/Mistral-Large-Instruct-2411", NO_BOS),
    "gemma-2": ("google/gemma-7b-it", NO_BOS),
    "phi-3": ("Phi-3-vision", {}),
    "phi-4": ("phi-4", {}),
    "deepseek-v2": ("DeepSeek-V2", NO_BOS),
    "command-r": ("CohereForAI/c4ai-command-r-plus", NO_BOS),
    "granite-4": ("ibm-granite/granite-3.0-8b-instruct", {}),
}


def reference_case(beginning: str) -> dict:
    cases = json.loads((DATA / "chat_template_cases.json").read_text("utf-8"))
    found = [case for case in cases if case["name"].startswith(beginning)]
    assert len(found) == 1, f"{len(found)} cases begin with {beginning!r}"
    return found[0]


@pytest.mark.parametrize("name", CASES)
def test_a_family_writes_its_reference_case(name):
    beginning, variables = CASES[name]
    case = reference_case(beginning)
    messages = case["messages"]
    if case[
        "agrees_after_system_merge"
    ]:  # there the reference folds the system text into the first user turn
        messages = [
            {"role": "user", "content": f"{messages[0]['content']}\n{messages[1]['content']}"},
            *messages[2:],
        ]
    assert render(name, messages, add_generation_prompt=True, **variables) == case["expected"]


SHAPES = {  # the families without a reference case, from their model cards and papers
    "qwen3": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nYo<|im_end|>\n",
    "smollm3": "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: 1 Jan 2025\n"
    "Reasoning Mode: /no_think\n\n## Custom Instructions\n\nYou are a helpful AI assistant named SmolLM, trained by "
    "Hugging Face.\n\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\nYo<|im_end|>\n",
    "llama-4": "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|>"
    "<|header_start|>assistant<|header_end|>\n\nYo<|eot|>",
    "mistral-v7-tekken": "<s>[INST]Hi[/INST]Yo</s>",
    "gemma-4": "<bos><|turn>user\nHi<turn|>\n<|turn>model\nYo<turn|>\n",
    "deepseek-r1": "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>Yo<｜end▁of▁sentence｜>",
    "deepseek-v3.1": "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜></think>Yo<｜end▁of▁sentence｜>",
    "glm-4.5": "[gMASK]<sop><|user|>\nHi<|assistant|>\n<think></think>\nYo",
    "kimi-k2": "<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>"
    "<|im_user|>user<|im_middle|>Hi<|im_end|><|im_assistant|>assistant<|im_middle|>Yo<|im_end|>",
    "granite-3.3": "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\n"
    "Today's Date: 1 Jan 2025.\nYou are Granite, developed by IBM. You are a helpful AI assistant.<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Yo<|end_of_text|>\n",
    "qwen2.5": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
    "smollm2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
    "llama-2": "<s>[INST] Hi [/INST] Yo </s>",
    "llama-3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>",
    "llama-3.1": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
    "December 2023\nToday Date: 1 Jan 2025\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>",
    "mistral-v1": "<s> [INST] Hi [/INST] Yo</s>",
    "zephyr": "<|user|>\nHi</s>\n<|assistant|>\nYo</s>\n",
    "gemma-2": "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n",
    "gemma-3": "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n",
    "phi-3": "<|user|>\nHi<|end|>\n<|assistant|>\nYo<|end|>\n<|endoftext|>",
    "tulu-3": "<|user|>\nHi\n<|assistant|>\nYo<|end_of_text|>",
    "olmo-2": "<|endoftext|><|user|>\nHi\n<|assistant|>\nYo<|endoftext|>",
    "deepseek-v3": "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>Yo<｜end▁of▁sentence｜>",
    "gpt-oss": "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: 1 Jan 2025\n\nReasoning: medium\n\n# Valid channels: analysis, "
    "commentary, final. Channel must be included for every message.<|end|><|start|>user<|message|>Hi<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Yo<|return|>",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_finished_exchange_has_the_familys_shape(name):
    exchange = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    assert render(name, exchange, **DATE) == SHAPES[name]


def test_every_family_is_held_to_a_case_or_a_shape():
    assert set(FAMILIES) == {*CASES, *SHAPES} and len(FAMILIES) >= 10


# Family -> the released template that TRL ships; what ours is told and what theirs is told to make them comparable.
SHIPPED = {
    "qwen2.5": "qwen2_5", "qwen3": "qwen3", "llama-3": "llama3", "llama-3.1": "llama3_1", "gemma-2": "gemma",
    "gemma-3": "gemma3", "gemma-4": "gemma4_v5", "phi-3": "phi3_5", "deepseek-r1": "deepseek_r1_distill",
    "glm-4.5": "glm4moe", "command-r": "cohere", "gpt-oss": "gptoss",
}  # fmt: skip
THINKING = ["qwen3", "gemma-4", "glm-4.5"]  # they take a thought apart from the answer
THOUGHT = {"role": "assistant", "content": "Paris.", "reasoning_content": "It is the one on the Seine."}
WRITTEN = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nParis."}
OPTIONS = {  # gpt-oss takes no date but today's; what stands behind Phi-3's whole conversation is its tokenizer's eos
    "qwen3": [{}, {"enable_thinking": False}],
    "glm-4.5": [{}, {"enable_thinking": False}],
    "gpt-oss": [{"date_string": f"{datetime.now():%Y-%m-%d}"}],
    "phi-3": [{"eos_token": "<|endoftext|>"}],
}


def conversations(name: str) -> list[list[dict]]:
    """What a family and its released template are both given to write."""
    talks = [LONG, LONG[1:], LONG[:4], TURNS, [USER], [{"role": "user", "content": "  Hi \n"}]]
    if name in THINKING:
        talks += [[USER, THOUGHT], [USER, THOUGHT, AGAIN], [USER, THOUGHT, AGAIN, THOUGHT]]
    if name in ("qwen3", "deepseek-r1"):
        talks += [[USER, WRITTEN], [USER, WRITTEN, AGAIN]]
    return [talk for talk in talks if name != "gemma-2" or talk[0] is not SYSTEM]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_family_writes_what_the_released_template_does(name):
    trl = find_spec("trl")
    if trl is None:
        pytest.skip("TRL is not installed")
    source = (Path(trl.origin).parent / "chat_templates" / f"{SHIPPED[name]}.jinja").read_text("utf-8")
    for options in OPTIONS.get(name, [{}]):
        for talk in conversations(name):
            for asked in (False, True):
                given = {"add_generation_prompt": asked, **options}
                theirs = toy(name).apply_chat_template(talk, chat_template=source, tokenize=False, **given)
                assert render(name, talk, **given) == theirs


def test_a_thought_goes_from_the_history_once_a_further_question_follows():
    """In the thinking families; R1 drops it at once, and takes it from the text."""
    for name in THINKING:
        assert THOUGHT["reasoning_content"] in render(name, [USER, THOUGHT])
        assert THOUGHT["reasoning_content"] not in render(name, [USER, THOUGHT, AGAIN])
    assert "Hm." not in render("deepseek-r1", [USER, WRITTEN])


@pytest.mark.parametrize("messages", [TURNS, LONG], ids=["no system", "system"])
def test_smollm2_is_the_real_tokenizers_rendering(messages):
    real = AutoTokenizer.from_pretrained(shared("tokenizers/smollm2-135m-instruct"))
    for asked in (False, True):
        expected = real.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked)
        assert render("smollm2", messages, add_generation_prompt=asked) == expected


def test_chatml_by_hand_is_the_template_token_for_token():
    tokenizer = toy("chatml")
    by_hand = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in LONG)
    by_hand += "<|im_start|>assistant\n"
    encoded = tokenizer.apply_chat_template(LONG, add_generation_prompt=True)["input_ids"]
    assert tokenizer(by_hand)["input_ids"] == encoded


@EVERY
def test_a_toy_tokenizer_renders_and_marks_as_the_family_does(name):
    tokenizer, messages = toy(name), conversation(name)
    assert tokenizer.apply_chat_template(messages, tokenize=False, **DATE) == render(name, messages, **DATE)
    encoded = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, **DATE)
    text = render(name, messages, **DATE)
    marked = [
        tokenizer.decode([i for i, _ in run], skip_special_tokens=False)
        for run in runs(zip(encoded["input_ids"], encoded["assistant_masks"], strict=True))
    ]
    assert marked == [text[start:end] for start, end in assistant_spans(name, messages, **DATE)]


def runs(pairs) -> list[list]:
    """Cut (id, mask) pairs into the runs whose mask is 1."""
    found, before = [], 0
    for token_id, mask in pairs:
        if mask and not before:
            found.append([])
        if mask:
            found[-1].append((token_id, mask))
        before = mask
    return found


@EVERY
def test_every_special_token_of_a_toy_tokenizer_is_one_id(name):
    tokenizer = toy(name)
    for token in FAMILIES[name].special_tokens:
        ids = tokenizer(f"a{token}b", add_special_tokens=False)["input_ids"]
        assert ids.count(tokenizer.convert_tokens_to_ids(token)) == 1 and len(ids) == 3
        assert tokenizer.decode([tokenizer.convert_tokens_to_ids(token)]) == token


def test_look_alikes_are_plain_text_in_another_familys_tokenizer():
    for name, mark, plain in (
        ("llama-3", "<|im_start|>", True),
        ("zephyr", "<|user|>", True),
        ("phi-3", "<|user|>", False),
    ):
        assert (len(toy(name)(mark, add_special_tokens=False)["input_ids"]) > 1) == plain


# -- BOS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [n for n, f in FAMILIES.items() if f.tokenizer_adds_bos and n not in ("zephyr", "tulu-3")]
)
def test_rendering_and_then_encoding_doubles_the_bos_and_one_call_does_not(name):
    tokenizer = toy(name)
    text = render(name, [USER], add_generation_prompt=True, **DATE)
    bos = tokenizer.bos_token_id
    assert tokenizer(text)["input_ids"][:2] == [bos, bos]
    assert tokenizer(text, add_special_tokens=False)["input_ids"].count(bos) == 1
    once = tokenizer.apply_chat_template([USER], add_generation_prompt=True, **DATE)["input_ids"]
    assert once == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_double_bos_of_a_tokenizer_of_llamas_kind():
    real = reference_tokenizer("llama2-spm-from-gguf")
    ids = real(render("llama-2", [USER]))["input_ids"]
    assert ids[:2] == [real.bos_token_id] * 2


# -- where each message stands ---------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("system", [True, False])
def test_spans_tile_the_text_and_hold_their_messages(name, asked, system):
    messages = conversation(name, system=system)
    messages = messages[:-1] if asked else messages
    text = render(name, messages, add_generation_prompt=asked, **DATE)
    found = spans(name, messages, add_generation_prompt=asked, **DATE)
    assert "".join(text[s.start : s.end] for s in found) == text and found[0].start == 0
    turns = [s for s in found if s.role not in ("template", "generation prompt")]
    assert [s.role for s in turns] == [m["role"] for m in messages]
    moves_it = name in ("mistral-v3", "mistral-tekken")  # the system text, into the last user turn
    for span, message in zip(turns, messages, strict=True):
        if not (moves_it and message is SYSTEM):
            assert message["content"] in text[span.start : span.end]
        others = [m["content"] for m in messages if m is not message and not (moves_it and m is SYSTEM)]
        assert not any(other in text[span.start : span.end] for other in others)


@EVERY
def test_a_span_cuts_no_special_token_and_its_header_belongs_to_it(name):
    text = render(name, conversation(name), **DATE)
    cuts = {s.end for s in spans(name, conversation(name), **DATE)}
    for token in FAMILIES[name].special_tokens:
        for found in re.finditer(re.escape(token), text):
            assert not any(found.start() < cut < found.end() for cut in cuts)


def test_an_injected_block_belongs_to_nobody():
    injected = {"qwen2.5": "Alibaba", "llama-3.1": "Cutting", "smollm3": "Metadata"}
    for name, words in {**injected, "granite-3.3": "IBM", "kimi-k2": "helpful", "glm-4.5": "[gMASK]"}.items():
        text = render(name, [USER], **DATE)
        first = spans(name, [USER], **DATE)[0]
        assert first.role == "template" and words in text[: first.end]
        assert USER["content"] not in text[: first.end]


def test_roles_of_tokens_follow_the_spans():
    tokenizer, asked = toy("qwen2.5"), {"add_generation_prompt": True}
    text = render("qwen2.5", TURNS, **asked)
    ids = tokenizer(text)["input_ids"]
    roles = roles_at(spans("qwen2.5", TURNS, **asked), token_offsets(tokenizer, text, ids))
    tokens = tokenizer.convert_ids_to_tokens(ids)
    ends = [role for token, role in zip(tokens, roles, strict=True) if token == "<|im_end|>"]
    assert ends == ["template", "user", "assistant", "user"]
    assert roles[-1] == "generation prompt" and None not in roles


# -- what is trained on ----------------------------------------------------------------------------------------------


@EVERY
def test_the_marks_hold_the_answer_and_its_end_of_turn(name):
    messages = conversation(name)
    text = render(name, messages, **DATE)
    marks = [text[start:end] for start, end in assistant_spans(name, messages, **DATE)]
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    assert len(marks) == len(answers)
    for marked, answer in zip(marks, answers, strict=True):
        assert answer in marked and (marked.endswith(FAMILIES[name].end_of_turn) or name == "glm-4.5")
        assert not any(m["content"] in marked for m in messages if m["content"] != answer)


@EVERY
def test_faithful_marks_open_where_the_generation_prompt_ends(name):
    """What stands before a mark is exactly what the model sees when it is asked for that answer."""
    chosen = FAMILIES[name]
    if name == "deepseek-r1":
        assert chosen.loss_marks.startswith("not to be trained with")
        return
    messages = conversation(name, system=chosen.loss_marks == "faithful")
    text = render(name, messages, **DATE)
    marks = assistant_spans(name, messages, **DATE)
    answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    for (start, _), i in zip(marks, answers, strict=True):
        assert text[:start] == render(name, messages[:i], add_generation_prompt=True, **DATE)


@pytest.mark.parametrize("name", ["mistral-v3", "mistral-tekken"])
def test_a_system_text_that_moves_makes_earlier_marks_unfaithful_and_the_family_says_so(name):
    text = render(name, LONG)
    first, last = assistant_spans(name, LONG)
    assert text[: first[0]] != render(name, LONG[:2], add_generation_prompt=True)
    assert text[: last[0]] == render(name, LONG[:4], add_generation_prompt=True)
    assert "without it" in FAMILIES[name].loss_marks


def test_gpt_oss_ends_the_last_answer_otherwise_than_the_earlier_ones_and_says_so():
    text = render("gpt-oss", LONG, **DATE)
    ends = [text[start:end].rpartition("<")[2] for start, end in assistant_spans("gpt-oss", LONG, **DATE)]
    assert ends == ["|end|>", "|return|>"] and "<|end|>" in FAMILIES["gpt-oss"].loss_marks


def test_continuing_the_last_message_leaves_it_open():
    open_answer = [USER, {"role": "assistant", "content": "The capital"}]
    assert render("chatml", open_answer, continue_final_message=True).endswith("assistant\nThe capital")
    assert render("llama-3", open_answer, continue_final_message=True).endswith("\n\nThe capital")


# -- differences -----------------------------------------------------------------------------------------------------


def test_differences_are_read_off_the_renderings():
    table = differences(**DATE)
    assert list(table.index) == list(FAMILIES)
    at = table.loc
    assert at["llama-2", "bos"] == "before each exchange" and at["llama-3", "bos"] == "once, in front"
    assert at["smollm2", "bos"] == "opens every turn" and at["chatml", "bos"] == "has none"
    assert at["zephyr", "bos"] == at["tulu-3", "bos"] == "left to the tokenizer"
    assert at["chatml", "user_turn"] == "<|im_start|>user↵…<|im_end|>↵"
    assert at["mistral-v1", "user_turn"] == "␣[INST]␣…␣[/INST]"
    assert at["llama-3", "generation_prompt"] == "<|start_header_id|>assistant<|end_header_id|>↵↵"
    assert at["mistral-v7", "generation_prompt"] == "none of its own"
    assert at["zephyr", "end_of_turn"] == "</s>" and at["phi-3", "end_of_turn"] == "<|end|>"
    assert at["qwen2.5", "end_of_turn"] == "<|im_end|>" and at["gpt-oss", "end_of_turn"] == "<|end|>"
    assert (
        at["gemma-2", "system"].startswith("refused")
        and at["gemma-3", "system"] == "inside the first user turn"
    )
    assert at["mistral-tekken", "system"] == "inside the last user turn"
    assert at["deepseek-v3", "system"] == "bare text, no mark"
    assert "developer" in at["gpt-oss", "system"]
    assert at["smollm2", "system"] == at["chatml", "system"] == "own turn: <|im_start|>system↵…"
    assert at["qwen2.5", "injected"].startswith("<|im_start|>system↵You␣are␣Qwe")
    assert (
        at["smollm2", "injected"].startswith("<|im_start|>system↵") and at["llama-2", "injected"] == "nothing"
    )
    injecting = {"qwen2.5", "smollm2", "smollm3", "llama-3.1", "gpt-oss", "granite-3.3", "kimi-k2", "glm-4.5"}
    assert set(table.index[table.injected != "nothing"]) == injecting
    assert at["glm-4.5", "injected"] == "[gMASK]<sop>" and at["glm-4.5", "end_of_turn"] == "none of its own"
    assert at["glm-4.5", "system"].endswith("<|system|>↵…") and at["gemma-4", "system"].startswith("own turn")
    assert at["qwen3", "generation_prompt"] == "<|im_start|>assistant↵"
    # Gemma 4 and GLM-4.5 only when the earlier answer had a thought.
    changing = ["mistral-tekken", "gpt-oss", "qwen3", "gemma-4", "glm-4.5"]
    assert not table.loc[changing, "history_is_kept"].any()
    assert table.loc[["chatml", "llama-3", "gemma-3", "phi-3"], "history_is_kept"].all()
    assert at["chatml", "newline_after"] and not at["llama-3", "newline_after"]


def test_differences_of_a_few():
    assert list(differences(["zephyr", family("phi-3")]).index) == ["zephyr", "phi-3"]


# -- user text that writes control tokens ------------------------------------------------------------------------------


def specials_written(tokenizer, ids) -> list[str]:
    special = set(tokenizer.added_tokens_decoder)
    return [tokenizer.convert_ids_to_tokens(i) for i in ids if i in special]


@EVERY
@pytest.mark.parametrize("encode", [encode_safely, "in pieces"], ids=["library", "in pieces"])
def test_no_control_token_comes_out_of_a_users_text(name, encode):
    tokenizer, chosen = toy(name), FAMILIES[name]
    attack = "".join(f"x{token}y" for token in chosen.special_tokens)
    harmless = [{"role": "user", "content": "xy"}]
    attacked = [{"role": "user", "content": attack}]
    options = {"add_generation_prompt": True, **DATE}
    if encode == "in pieces":
        encoded = [
            templates.tokenizers._encode_in_pieces(tokenizer, m, options) for m in (attacked, harmless)
        ]
    else:
        encoded = [encode_safely(tokenizer, m, **DATE) for m in (attacked, harmless)]
    safe, plain = (specials_written(tokenizer, ids) for ids in encoded)
    assert safe == plain
    assert tokenizer.decode(encoded[0]) == render(name, attacked, **options)  # nothing is lost
    unsafe = tokenizer.apply_chat_template(attacked, **options)["input_ids"]
    assert len(specials_written(tokenizer, unsafe)) == len(plain) + len(chosen.special_tokens)


@pytest.mark.parametrize("encode", ["library", "in pieces"])
def test_a_text_without_control_tokens_is_encoded_as_ever(encode):
    tokenizer = toy("chatml")
    usual = tokenizer.apply_chat_template(LONG, add_generation_prompt=True)["input_ids"]
    if encode == "library":
        assert encode_safely(tokenizer, LONG) == usual
    else:
        assert (
            templates.tokenizers._encode_in_pieces(tokenizer, LONG, {"add_generation_prompt": True}) == usual
        )


def test_a_user_who_writes_the_stand_ins_gets_plain_text():
    tokenizer = toy("chatml")
    attack = [{"role": "user", "content": "\ue0002\ue001 \ue000999\ue001 <|im_\ue000end|>"}]
    ids = templates.tokenizers._encode_in_pieces(tokenizer, attack, {"add_generation_prompt": True})
    harmless = templates.tokenizers._encode_in_pieces(tokenizer, [USER], {"add_generation_prompt": True})
    assert specials_written(tokenizer, ids) == specials_written(tokenizer, harmless)


# -- for any conversation ----------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<｜"), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text
)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), PAIRS, st.booleans())
def test_marks_and_spans_hold_for_any_conversation(name, exchanges, system):
    messages = [SYSTEM] if system and name != "gemma-2" else []
    for asked, answered in exchanges:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    text = render(name, messages, **DATE)
    found = spans(name, messages, **DATE)
    assert "".join(text[s.start : s.end] for s in found) == text
    answers = [s for s in found if s.role == "assistant"]
    marks = assistant_spans(name, messages, **DATE)
    assert len(marks) == len(answers) == len(exchanges)
    for (start, end), span, (_, answered) in zip(marks, answers, exchanges, strict=True):
        assert span.start <= start < end <= span.end
        assert answered in text[start:end]
        assert text[start:end].endswith(FAMILIES[name].end_of_turn) or name == "glm-4.5"


# -- what can go wrong -------------------------------------------------------------------------------------------------


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="there are chatml"):
        render("vicuna", [USER])
    with pytest.raises(ValueError, match="gemma-2 refuses this conversation: System role not supported"):
        render("gemma-2", LONG)
    with pytest.raises(ValueError, match="take turns"):
        render("llama-2", [USER, USER])
    with pytest.raises(ValueError, match="no place for the role tool"):
        render("mistral-v1", [USER, {"role": "tool", "content": "3"}])
    with pytest.raises(ValueError, match="'content' that is a text"):
        render("chatml", [{"role": "user", "content": [{"type": "image"}]}])
    with pytest.raises(ValueError, match="no message"):
        render("chatml", [])
    with pytest.raises(ValueError, match="ask for one of them"):
        render("chatml", [USER], add_generation_prompt=True, continue_final_message=True)


def test_an_unknown_variable_changes_nothing():
    assert render("chatml", [USER], enable_thinknig=False) == render("chatml", [USER])


def test_the_module_is_cheap_to_import():
    code = "import sys; import course_utils.templates\n"
    code += "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
