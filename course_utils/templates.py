"""Chat-template families: the same conversation as each of them writes it, and where every message stands.

The templates are written for this course, in Jinja, the language in which a tokenizer carries its own. They
write what each family's released template writes for plain conversations (system, user, assistant); tools and
thinking are left out. Rendering is transformers' own, so `{% generation %}` marks work as they do in training.
No model and no download is needed.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from .pairs import PEBBLE_MODELS
from .roles import RoleSpan, role_spans, roles_at
from .tokens import visible_token

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FAMILIES",
    "Family",
    "assistant_spans",
    "control_tokens_in",
    "differences",
    "encode_safely",
    "family",
    "render",
    "spans",
    "token_roles",
    "toy_tokenizer",
]

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Family:
    """One way of writing a conversation down.

    `template` is Jinja text; it may use `bos_token` and `eos_token`. `special_tokens` are the strings that
    are single ids in the family's vocabulary; a mark that is not among them is plain text. `end_of_turn` are
    the tokens an assistant's turn may end with. `tokenizer_adds_bos` says whether the family's tokenizer puts
    its BOS in front of plain text by itself: together with a template that writes one, that makes two.

    `loss_marks` says how far the `{% generation %}` marks can be trusted for training: "faithful" when they
    hold exactly what the model writes after the generation prompt, its end of turn included, in every turn;
    otherwise what is different.
    """

    name: str
    template: str
    special_tokens: tuple[str, ...]
    end_of_turn: tuple[str, ...]
    bos: str | None = None
    tokenizer_adds_bos: bool = False
    loss_marks: str = "faithful"
    note: str = ""
    source: str = ""

    @property
    def eos(self) -> str:
        """The token that `eos_token` stands for in the template: the one that ends the last answer."""
        return self.end_of_turn[0]

    def __repr__(self) -> str:
        return f"Family({self.name!r}, ends a turn with {' or '.join(self.end_of_turn)})"


# --- the templates --------------------------------------------------------------------------------------------
# Each tag opens with a minus, which eats the white space before it: what is written is in the quotes alone.

_SYSTEM_APART = r"""
{%- if messages[0]['role'] == 'system' %}
    {%- set system, turns = messages[0]['content'], messages[1:] %}
{%- else %}
    {%- set system, turns = none, messages %}
{%- endif %}
"""
_MUST_ALTERNATE = r"""
    {%- if message['role'] not in ['user', 'assistant'] %}
        {{- raise_exception('It has no place for the role ' + message['role']) }}
    {%- elif (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('User and assistant must take turns, the user first') }}
    {%- endif %}
"""

_CHATML = r"""
{{- DEFAULT_SYSTEM }}
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message['content'] + '<|im_end|>' }}
    {%- endif %}
    {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""


def _chatml(default_system: str = "") -> str:
    if not default_system:
        return _CHATML.replace("{{- DEFAULT_SYSTEM }}\n", "")
    block = "<|im_start|>system\\n" + default_system + "<|im_end|>\\n"
    given = "{%- if messages[0]['role'] != 'system' %}{{- '" + block + "' }}{%- endif %}"
    return _CHATML.replace("{{- DEFAULT_SYSTEM }}", given)


_LLAMA_2 = (
    _SYSTEM_APART
    + r"""
{%- for message in turns %}"""
    + _MUST_ALTERNATE
    + r"""
    {%- set content = message['content'].strip() %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system is not none %}
            {%- set content = '<<SYS>>\n' + system.strip() + '\n<</SYS>>\n\n' + content %}
        {%- endif %}
        {{- bos_token + '[INST] ' + content + ' [/INST]' }}
    {%- else %}
        {%- generation %}{{- ' ' + content + ' ' + eos_token }}{%- endgeneration %}
    {%- endif %}
{%- endfor %}
"""
)

_LLAMA_3 = r"""
{{- bos_token }}
SYSTEM_BLOCK
{%- for message in turns %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endgeneration %}
    {%- else %}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
"""
_LLAMA_31_SYSTEM = (
    _SYSTEM_APART
    + r"""
{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}
{{- 'Today Date: ' + (date_string if date_string is defined else '26 Jul 2024') + '\n\n' }}
{{- (system or '') | trim + '<|eot_id|>' }}
"""
)

# What sets Mistral's versions apart: spaces, and which user turn carries the system text.
_MISTRAL = (
    _SYSTEM_APART
    + r"""
{{- bos_token }}
{%- for message in turns %}"""
    + _MUST_ALTERNATE
    + r"""
    {%- if message['role'] == 'user' %}
        {%- set with_system = system is not none and CARRIER %}
        {{- 'OPEN' + (system + '\n\n' if with_system else '') + message['content'] + 'CLOSE' }}
    {%- else %}
        {%- generation %}{{- 'ANSWER' + message['content']TRIM + eos_token }}{%- endgeneration %}
    {%- endif %}
{%- endfor %}
"""
)


def _mistral(opening: str, closing: str, answer: str, carrier: str, trim: str = "") -> str:
    parts = {"CARRIER": carrier, "OPEN": opening, "CLOSE": closing, "ANSWER": answer, "TRIM": trim}
    text = _MISTRAL
    for name, value in parts.items():
        text = text.replace(name, value)
    return text


_LAST_USER = "loop.index0 >= (turns | length) - 2"  # of the last two turns just one is the user's

_MISTRAL_V7 = r"""
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- '[SYSTEM_PROMPT] ' + message['content'] + '[/SYSTEM_PROMPT]' }}
    {%- elif message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {%- generation %}{{- ' ' + message['content'] + eos_token }}{%- endgeneration %}
    {%- else %}
        {{- raise_exception('It has no place for the role ' + message['role']) }}
    {%- endif %}
{%- endfor %}
"""

# <|role|> and a line break, the text, an end: Zephyr, Phi-3, Tülu and OLMo 2 differ in what the end is.
_TAGGED = r"""
{{- BEGIN }}
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + 'ANSWER_END' }}{%- endgeneration %}
        {{- AFTER_ANSWER }}
    {%- else %}
        {{- message['content'] + 'OTHER_END' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{%- endif %}
"""


def _tagged(
    answer_end: str, other_end: str, begin: str = "''", after_answer: str = r"'\n'", at_the_end: str = ""
) -> str:
    text = _TAGGED.replace("BEGIN", begin).replace("AFTER_ANSWER", after_answer)
    text = text.replace("ANSWER_END", answer_end).replace("OTHER_END", other_end)
    closing = f"{{%- if not add_generation_prompt %}}{{{{- '{at_the_end}' }}}}{{%- endif %}}"
    return text + closing if at_the_end else text


_BETWEEN_TURNS = r"('' if loop.last and not add_generation_prompt else '\n')"

_GEMMA = r"""
{{- bos_token }}
{%- for message in turns %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('User and assistant must take turns, the user first') }}
    {%- endif %}
    {%- set content = message['content'] | trim %}
    {%- if message['role'] == 'assistant' %}
        {{- '<start_of_turn>model\n' }}
        {%- generation %}{{- content + '<end_of_turn>' }}{%- endgeneration %}
    {%- else %}
        {%- set prefix = system + '\n\n' if loop.first and system is not none else '' %}
        {{- '<start_of_turn>user\n' + prefix + content + '<end_of_turn>' }}
    {%- endif %}
    {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}
"""
_GEMMA_NO_SYSTEM = r"""
{%- if messages[0]['role'] == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
"""

_PHI_4 = r"""
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}
        {%- if message['role'] == 'user' %}{{- '<|im_start|>assistant<|im_sep|>' }}{%- endif %}
    {%- endif %}
{%- endfor %}
"""

_DEEPSEEK_V2 = r"""
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- 'Assistant:' }}
        {%- generation %}{{- ' ' + message['content'] + eos_token }}{%- endgeneration %}
    {%- else %}
        {{- ('User: ' if message['role'] == 'user' else '') + message['content'] + '\n\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'Assistant:' }}{%- endif %}
"""

_DEEPSEEK_V3 = (
    _SYSTEM_APART
    + r"""
{{- bos_token + (system or '') }}
{%- for message in turns %}
    {%- if message['role'] == 'assistant' %}
        {{- '<｜Assistant｜>' }}
        {%- generation %}{{- message['content'] + '<｜end▁of▁sentence｜>' }}{%- endgeneration %}
    {%- else %}
        {{- '<｜User｜>' + message['content'] }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜>' }}{%- endif %}
"""
)

_GPT_OSS = (
    _SYSTEM_APART
    + r"""
{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n' }}
{{- 'Knowledge cutoff: 2024-06\nCurrent date: ' }}
{{- date_string if date_string is defined else strftime_now('%Y-%m-%d') }}
{{- '\n\nReasoning: ' + (reasoning_effort if reasoning_effort is defined else 'medium') + '\n\n' }}
{{- '# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>' }}
{%- if system %}
    {{- '<|start|>developer<|message|># Instructions\n\n' + system + '\n\n<|end|>' }}
{%- endif %}
{%- for message in turns %}
    {%- if message['role'] == 'assistant' %}
        {%- set end = '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' %}
        {{- '<|start|>assistant' }}
        {%- generation %}{{- '<|channel|>final<|message|>' + message['content'] + end }}{%- endgeneration %}
    {%- else %}
        {{- '<|start|>' + message['role'] + '<|message|>' + message['content'] + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}
"""
)

_GRANITE = r"""
{%- for message in messages %}
    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + '<|end_of_text|>' }}{%- endgeneration %}
    {%- else %}
        {{- message['content'] + '<|end_of_text|>' }}
    {%- endif %}
    {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}
"""

_LLAMA_3_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
)  # fmt: skip
_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_PHI_3_TOKENS = ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_DEEPSEEK_TOKENS = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
_GPT_OSS_TOKENS = (
    "<|startoftext|>", "<|endoftext|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>",
)  # fmt: skip
_PLAIN_TAGS = "The role tags are plain text, not special tokens, so no sanitising can protect them."

_ALL = (
    Family(
        "chatml",
        _chatml(),
        _CHATML_TOKENS,
        ("<|im_end|>",),
        note="Roles are plain words between special tokens, so any role can be written.",
        source="openai-python, chatml.md (2023); teknium/OpenHermes-2.5-Mistral-7B",
    ),
    Family(
        "qwen2.5",
        _chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        _CHATML_TOKENS,
        ("<|im_end|>", "<|endoftext|>"),
        note="ChatML with a system message of its own when none is given. The base ships the template too.",
        source="Qwen/Qwen2.5-0.5B-Instruct",
    ),
    Family(
        "smollm2",
        _chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        _CHATML_TOKENS,
        ("<|im_end|>",),
        bos="<|im_start|>",
        note="ChatML with a system message of its own. Its tokenizer names <|im_start|> as BOS, and adds none.",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    Family(
        "llama-2",
        _LLAMA_2,
        ("<s>", "</s>"),
        ("</s>",),
        bos="<s>",
        tokenizer_adds_bos=True,
        note="Every exchange opens with a BOS of its own; [INST] and <<SYS>> are plain text.",
        source="meta-llama/Llama-2-7b-chat-hf",
    ),
    Family(
        "llama-3",
        _LLAMA_3.replace("SYSTEM_BLOCK", "{%- set turns = messages %}"),
        _LLAMA_3_TOKENS,
        ("<|eot_id|>", "<|end_of_text|>"),
        bos="<|begin_of_text|>",
        tokenizer_adds_bos=True,
        note="Two line breaks after each header, none after the end of turn.",
        source="meta-llama/Meta-Llama-3-8B-Instruct",
    ),
    Family(
        "llama-3.1",
        _LLAMA_3.replace("SYSTEM_BLOCK", _LLAMA_31_SYSTEM),
        _LLAMA_3_TOKENS,
        ("<|eot_id|>", "<|end_of_text|>"),
        bos="<|begin_of_text|>",
        tokenizer_adds_bos=True,
        note="Always a system block with two dates; date_string= sets the second (3.2 takes today's).",
        source="meta-llama/Llama-3.1-8B-Instruct",
    ),
    Family(
        "mistral-v1",
        _mistral(" [INST] ", " [/INST]", " ", "loop.first"),
        ("<s>", "</s>"),
        ("</s>",),
        bos="<s>",
        tokenizer_adds_bos=True,
        note="[INST] is plain text; the system text opens the first user turn (old v0.1 and v0.2: refused).",
        source="mistral-common, v1 instruct tokenizer; mistralai/Mistral-7B-Instruct-v0.2",
    ),
    Family(
        "mistral-v3",
        _mistral("[INST] ", "[/INST]", " ", _LAST_USER, " | trim"),
        ("<s>", "</s>", "[INST]", "[/INST]"),
        ("</s>",),
        bos="<s>",
        tokenizer_adds_bos=True,
        loss_marks="faithful without a system message; with one, earlier turns were written without it",
        note="[INST] is a special token here; the system text moves along to the last user turn.",
        source="mistral-common, v3 instruct tokenizer; mistralai/Mistral-Large-Instruct-2407",
    ),
    Family(
        "mistral-tekken",
        _mistral("[INST]", "[/INST]", "", _LAST_USER),
        ("<s>", "</s>", "[INST]", "[/INST]"),
        ("</s>",),
        bos="<s>",
        tokenizer_adds_bos=True,
        loss_marks="faithful without a system message; with one, earlier turns were written without it",
        note="Version 3 without its spaces; the system text moves along to the last user turn.",
        source="mistral-common, v3-tekken instruct tokenizer; mistralai/Mistral-Nemo-Instruct-2407",
    ),
    Family(
        "mistral-v7",
        _MISTRAL_V7,
        ("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        ("</s>",),
        bos="<s>",
        tokenizer_adds_bos=True,
        note="The first Mistral format with marks for a system message.",
        source="mistral-common, v7 instruct tokenizer; mistralai/Mistral-Large-Instruct-2411",
    ),
    Family(
        "zephyr",
        _tagged("</s>", "</s>"),
        ("<s>", "</s>"),
        ("</s>",),
        bos="<s>",
        tokenizer_adds_bos=True,
        note=_PLAIN_TAGS,
        source="HuggingFaceH4/zephyr-7b-beta",
    ),
    Family(
        "gemma-2",
        _GEMMA_NO_SYSTEM + "{%- set system, turns = none, messages %}" + _GEMMA,
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ("<end_of_turn>", "<eos>"),
        bos="<bos>",
        tokenizer_adds_bos=True,
        note="The assistant is called model; a system message raises an error.",
        source="google/gemma-2-2b-it",
    ),
    Family(
        "gemma-3",
        _SYSTEM_APART + _GEMMA,
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ("<end_of_turn>", "<eos>"),
        bos="<bos>",
        tokenizer_adds_bos=True,
        note="As Gemma 2, but the system text opens the first user turn.",
        source="google/gemma-3-270m-it",
    ),
    Family(
        "phi-3",
        _tagged("<|end|>", "<|end|>", at_the_end="<|endoftext|>"),
        _PHI_3_TOKENS,
        ("<|end|>", "<|endoftext|>"),
        bos="<s>",
        loss_marks="faithful; the <|endoftext|> behind a whole conversation stands outside the marks",
        note="Zephyr's tags, but special tokens, and with an end of turn of their own.",
        source="microsoft/Phi-3.5-mini-instruct",
    ),
    Family(
        "phi-4",
        _PHI_4,
        ("<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        ("<|im_end|>", "<|endoftext|>"),
        bos="<|endoftext|>",
        note="Looks like ChatML, but a special token stands where ChatML has a line break. A user turn always "
        "opens the answer, asked or not.",
        source="microsoft/phi-4",
    ),
    Family(
        "tulu-3",
        _tagged("<|end_of_text|>", "", after_answer=_BETWEEN_TURNS),
        ("<|begin_of_text|>", "<|end_of_text|>"),
        ("<|end_of_text|>",),
        bos="<|begin_of_text|>",
        tokenizer_adds_bos=True,
        note="A user turn has no end mark but a line break. " + _PLAIN_TAGS,
        source="allenai/Llama-3.1-Tulu-3-8B",
    ),
    Family(
        "olmo-2",
        _tagged("<|endoftext|>", "", begin="bos_token", after_answer=_BETWEEN_TURNS),
        ("<|endoftext|>",),
        ("<|endoftext|>",),
        bos="<|endoftext|>",
        note="One token is BOS, end of turn and end of document. " + _PLAIN_TAGS,
        source="allenai/OLMo-2-0425-1B-Instruct",
    ),
    Family(
        "deepseek-v2",
        _DEEPSEEK_V2,
        _DEEPSEEK_TOKENS,
        ("<｜end▁of▁sentence｜>",),
        bos="<｜begin▁of▁sentence｜>",
        tokenizer_adds_bos=True,
        note="Roles are plain words with a colon; only the answer has an end token.",
        source="deepseek-ai/DeepSeek-V2-Chat",
    ),
    Family(
        "deepseek-v3",
        _DEEPSEEK_V3,
        (*_DEEPSEEK_TOKENS, "<｜User｜>", "<｜Assistant｜>"),
        ("<｜end▁of▁sentence｜>",),
        bos="<｜begin▁of▁sentence｜>",
        tokenizer_adds_bos=True,
        note="The system text stands bare behind the BOS; the bars and the low line are not ASCII.",
        source="deepseek-ai/DeepSeek-V3",
    ),
    Family(
        "gpt-oss",
        _GPT_OSS,
        _GPT_OSS_TOKENS,
        ("<|return|>", "<|end|>"),
        bos="<|startoftext|>",
        loss_marks="faithful in the last turn; an earlier one ends with <|end|>, which the model is not to stop at",
        note="The harmony format: channels, a system block nobody wrote, and the caller's system message as "
        "the developer's. Thinking is left out here.",
        source="openai/gpt-oss-20b; openai-cookbook, articles/openai-harmony.md",
    ),
    Family(
        "granite-3",
        _GRANITE,
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        ("<|end_of_text|>",),
        note="Special tokens around the role's name; the end of a turn is the end of a document.",
        source="ibm-granite/granite-3.0-8b-instruct",
    ),
)
FAMILIES: dict[str, Family] = {one.name: one for one in _ALL}


def family(name: str | Family) -> Family:
    """Look a family up by name. Raises ValueError, with the names there are, for one that is not known."""
    if isinstance(name, Family):
        return name
    if name not in FAMILIES:
        raise ValueError(f"No template family is called {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


# --- rendering ------------------------------------------------------------------------------------------------


def render(
    name: str | Family,
    messages: Messages,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    **variables: Any,
) -> str:
    """Write a conversation as this family does: the text a tokenizer's `apply_chat_template` would make.

    `messages` are dicts with 'role' and 'content' (a str). `variables` are handed to the template, such as
    `date_string="1 Jan 2025"` or another `bos_token`; one that it does not use changes nothing. Raises
    ValueError for a conversation that the family refuses, such as a system message in Gemma 2.
    """
    text, _ = _rendered(name, messages, add_generation_prompt, continue_final_message, False, variables)
    return text


def assistant_spans(
    name: str | Family, messages: Messages, add_generation_prompt: bool = False, **variables: Any
) -> list[tuple[int, int]]:
    """Where the `{% generation %}` marks stand: (start, end) in characters, one pair an assistant turn.

    A pair holds what the model is to write itself: all that follows the generation prompt, up to and with the
    end-of-turn token. Whether that is exact is in the family's `loss_marks`.
    """
    _, marks = _rendered(name, messages, add_generation_prompt, False, True, variables)
    return [(int(start), int(end)) for start, end in marks]


def _rendered(
    name: str | Family,
    messages: Messages,
    add_generation_prompt: bool,
    continue_final_message: bool,
    marks: bool,
    variables: Mapping[str, Any],
) -> tuple[str, list[tuple[int, int]]]:
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    chosen = family(name)
    if not messages:
        raise ValueError("There is no message to render. Give at least one dict with 'role' and 'content'.")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise ValueError(
                f"Each message needs a 'role' and a 'content' that is a text, got {message!r}. "
                "Tool calls and images are beyond these templates."
            )
    if add_generation_prompt and continue_final_message:
        raise ValueError(
            "A generation prompt opens a new turn and continue_final_message keeps the last one open; ask for one of them."
        )
    settings = {"bos_token": chosen.bos or "", "eos_token": chosen.eos, **variables}
    try:
        texts, found = render_jinja_template(
            conversations=[[dict(message) for message in messages]],
            chat_template=chosen.template,
            return_assistant_tokens_mask=marks,
            continue_final_message=continue_final_message,
            add_generation_prompt=add_generation_prompt,
            **settings,
        )
    except TemplateError as error:
        raise ValueError(f"{chosen.name} refuses this conversation: {error}.") from error
    return texts[0], found[0] if marks else []


# --- where each message stands ----------------------------------------------------------------------------------


def spans(
    name: str | Family, messages: Messages, add_generation_prompt: bool = False, **variables: Any
) -> list[RoleSpan]:
    """Cut the rendered text into turns: `(role, start, end)` in characters, without gaps, in the text's order.

    A turn holds its header, its content and its end mark. What nobody wrote (a BOS, an injected system block)
    is called "template", an open turn at the end "generation prompt". Where a family moves the system text
    into a later user turn, as Mistral's version 3 does, it counts as that turn's.
    """
    chosen = family(name)
    settings = {**variables, "add_generation_prompt": add_generation_prompt}
    text = render(chosen, messages, **settings)
    messages = _in_the_texts_order(chosen, list(messages), text, settings)
    opened = _before_the_first_turn(chosen, messages, text, settings)
    found = [RoleSpan("template", 0, opened)] if opened else []
    position = opened
    for span in role_spans(_Renderer(chosen), messages, **settings):
        end = _not_inside(chosen, text, span.end)
        if end > position:
            found.append(RoleSpan(span.role, position, end))
            position = end
    return found


class _Renderer:
    """A family with the two things of a tokenizer that `role_spans` asks for."""

    def __init__(self, chosen: Family):
        self.family = chosen
        self.bos_token = chosen.bos

    def apply_chat_template(self, messages: Messages, tokenize: bool = False, **settings: Any) -> str:
        return render(self.family, messages, **settings)


def _in_the_texts_order(chosen: Family, messages: list, text: str, settings: Mapping[str, Any]) -> list:
    """The messages, with a system text that the template moves to the last user turn already moved there."""
    users = [i for i, message in enumerate(messages) if message["role"] == "user"]
    if messages[0]["role"] != "system" or not users:
        return messages
    moved = [dict(message) for message in messages[1:]]
    last = moved[users[-1] - 1]
    last["content"] = messages[0]["content"] + "\n\n" + last["content"]
    try:
        same = len(users) > 1 and render(chosen, moved, **settings) == text
    except ValueError:
        same = False
    return moved if same else messages


def _before_the_first_turn(chosen: Family, messages: list, text: str, settings: Mapping[str, Any]) -> int:
    """Where a block ends that the template puts before the first message: behind that block's end of turn."""
    marked = render(chosen, [{**messages[0], "content": _S}, *messages[1:]], **settings)
    head = marked.partition(_S)[0]
    if _S not in marked or not text.startswith(head):
        return 0
    return max(head.rfind(token) + len(token) if token in head else 0 for token in chosen.end_of_turn)


def _not_inside(chosen: Family, text: str, position: int) -> int:
    """`position`, moved out of a special token it would cut: behind an end of turn, before any other."""
    for token in chosen.special_tokens:
        start = text.find(token, max(0, position - len(token) + 1))
        if -1 < start < position < start + len(token):
            return start + len(token) if token in chosen.end_of_turn else start
    return position


def token_roles(tokenizer: Any, text: str, found: Sequence[RoleSpan]) -> list[str | None]:
    """The role of each token of a rendered text: that of the span which holds most of its characters.

    The tokens are those of `tokenizer(text, add_special_tokens=False)`; it must be a fast tokenizer. Hand the
    result to `show_tokens(…, roles=…)`.
    """
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return roles_at(found, offsets)


# --- how families differ ----------------------------------------------------------------------------------------

_S, _U1, _A1, _U2 = "⁂s⁂", "⁂u⁂", "⁂a⁂", "⁂v⁂"  # texts that occur in no template


def differences(names: Iterable[str | Family] | None = None, **variables: Any) -> pd.DataFrame:
    """Compare families by what they write, one row each; every cell comes from rendering.

    Columns: bos (where it stands), user_turn (all around the user's text), generation_prompt, end_of_turn
    (what follows an answer, up to its end token), newline_after (whether a line break follows that),
    system (what becomes of a system message), injected (what is written that nobody asked for), and
    history_is_kept (whether a turn keeps its text once more turns follow). White space is shown as ␣ and ↵.
    """
    import pandas as pd

    chosen = [family(name) for name in (names if names is not None else FAMILIES)]
    rows = [_differences_of(one, variables) for one in chosen]
    return pd.DataFrame(rows, index=pd.Index([one.name for one in chosen], name="family"))


def _differences_of(chosen: Family, variables: Mapping[str, Any]) -> dict[str, Any]:
    user, answer, again = (
        {"role": r, "content": c} for r, c in (("user", _U1), ("assistant", _A1), ("user", _U2))
    )
    one = render(chosen, [user], **variables)
    asked = render(chosen, [user], add_generation_prompt=True, **variables)
    closed = render(chosen, [user, answer], **variables)
    long = render(chosen, [user, answer, again], **variables)
    between = long[long.index(_A1) + len(_A1) : long.index(_U2)]
    end = _through_first(chosen.special_tokens, between)
    rest = between[len(end) :]
    header = rest.removeprefix("\n")
    place = _bos_place(chosen, long)
    bos = "" if place == "opens every turn" else chosen.bos or ""
    before = one[: one.index(_U1)]
    injected = before.removesuffix(header.removeprefix(bos)).removeprefix(bos)
    shared = _shared_start(one, asked)
    return {
        "bos": place,
        "user_turn": f"{_shown(header)}…{_shown(_closing(one, shared))}",
        "generation_prompt": _shown(asked[shared:]) or "none of its own",
        "end_of_turn": _shown(end),
        "newline_after": rest.startswith("\n"),
        "system": _system_place(chosen, header, bos, variables),
        "injected": _shown(injected, 60) or "nothing",
        "history_is_kept": long.startswith(closed) and _keeps_system_turns(chosen, variables),
    }


def _bos_place(chosen: Family, text: str) -> str:
    count = text.count(chosen.bos) if chosen.bos else 0
    if not chosen.bos:
        return "has none"
    if not text.startswith(chosen.bos):
        return "left to the tokenizer" if chosen.tokenizer_adds_bos else "not written"
    if chosen.bos in chosen.end_of_turn or count == 1:
        return "once, in front"
    return "before each exchange" if count == text.count(_U1) + text.count(_U2) else "opens every turn"


def _system_place(chosen: Family, header: str, bos: str, variables: Mapping[str, Any]) -> str:
    """In words, what becomes of a system message; with its header where it gets one."""
    roles = (("system", _S), ("user", _U1), ("assistant", _A1), ("user", _U2))
    try:
        text = render(chosen, [{"role": r, "content": c} for r, c in roles], **variables)
    except ValueError as error:
        return f"refused: {str(error.__cause__ or error).rstrip('.')}"
    start = text.index(_S)
    if start > text.index(_A1):
        return "inside the last user turn"
    between = text[start + len(_S) : text.index(_U1)]
    if not between.endswith(header.removeprefix(bos)):
        return "inside the first user turn"
    before = text[:start].removeprefix(bos)
    for token in chosen.end_of_turn:
        before = before.rpartition(token)[2]
    return f"own turn: {_shown(before, 60)}…" if before.strip() else "bare text, no mark"


def _keeps_system_turns(chosen: Family, variables: Mapping[str, Any]) -> bool:
    """Whether the conversation with a system message, too, only grows at its end."""
    roles = [("system", _S), ("user", _U1), ("assistant", _A1), ("user", _U2)]
    messages = [{"role": role, "content": content} for role, content in roles]
    try:
        return render(chosen, messages, **variables).startswith(render(chosen, messages[:3], **variables))
    except ValueError:
        return True


def _through_first(special_tokens: Sequence[str], text: str) -> str:
    """`text` up to and with the first special token in it."""
    ends = [(text.index(token), len(token)) for token in special_tokens if token in text]
    return text[: sum(min(ends))] if ends else text


def _closing(one: str, shared: int) -> str:
    """What follows the user's text and belongs to its turn, whether or not an answer is asked for."""
    return one[one.index(_U1) + len(_U1) : shared]


def _shared_start(one: str, other: str) -> int:
    """How much of two renderings is the same, without cutting a `<|…|>` in two."""
    size = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    cut = re.search(r"<[|｜]?$", one[:size])
    return cut.start() if cut and size < min(len(one), len(other)) else size


def _shown(text: str, limit: int = 80) -> str:
    text = visible_token(text) if text else ""
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"


# --- a tokenizer for any family -----------------------------------------------------------------------------------

_PEBBLE = PEBBLE_MODELS / "pebble-base" / "tokenizer.json"


def toy_tokenizer(name: str | Family, add_bos: bool | None = None) -> Any:
    """Return a small tokenizer of this family: Pebble's byte-level vocabulary with the family's special tokens.

    It is a real `PreTrainedTokenizerFast` with the family's chat template, made without a download, so that
    special tokens, BOS and masks behave as in the family's own; only how plain words are cut differs. The ids
    are Pebble's where Pebble has the token, and new ones behind its vocabulary otherwise. `add_bos` puts the
    BOS in front of plain text; None does what the family's own tokenizer does.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    chosen = family(name)
    tokenizer = Tokenizer.from_str(_plain_vocabulary())
    tokenizer.add_special_tokens(list(chosen.special_tokens))
    if chosen.bos and (chosen.tokenizer_adds_bos if add_bos is None else add_bos):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{chosen.bos} $A", special_tokens=[(chosen.bos, tokenizer.token_to_id(chosen.bos))]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=chosen.bos,
        eos_token=chosen.eos,
        extra_special_tokens=list(chosen.special_tokens),
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = chosen.template
    return wrapped


@cache
def _plain_vocabulary() -> str:
    """Pebble's tokenizer as JSON, its own special tokens turned into plain text and no BOS added."""
    plain = json.loads(_PEBBLE.read_text(encoding="utf-8"))
    return json.dumps(plain | {"added_tokens": [], "post_processor": None})


# --- text that must not become control tokens ---------------------------------------------------------------------


def control_tokens_in(tokenizer: Any, text: str) -> list[str]:
    """The special tokens that stand written out in a text, in the tokenizer's order; none is good news."""
    return [token for token in _control_tokens(tokenizer) if token in text]


def _control_tokens(tokenizer: Any) -> list[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return list(dict.fromkeys([*(t.content for t in added if t.special), *tokenizer.all_special_tokens]))


def encode_safely(
    tokenizer: Any, messages: Messages, add_generation_prompt: bool = True, **settings: Any
) -> list[int]:
    """Encode a conversation so that no message can write a control token: only the template's own become ids.

    Uses `apply_chat_template(…, sanitize_control_tokens=True)` where the installed transformers has it. Older
    releases would take that for a template variable and *ignore* it, so there the control tokens in the
    messages are encoded one by one with `split_special_tokens=True`. Neither helps against marks that are
    plain text in the first place, such as Zephyr's `<|user|>`, nor against a role taken from the user.
    """
    settings["add_generation_prompt"] = add_generation_prompt
    if "sanitize_control_tokens" in inspect.signature(tokenizer.apply_chat_template).parameters:
        encoded = tokenizer.apply_chat_template(
            list(messages), sanitize_control_tokens=True, tokenize=True, return_dict=True, **settings
        )
        return list(encoded["input_ids"])
    return _encode_in_pieces(tokenizer, messages, settings)


def _encode_in_pieces(tokenizer: Any, messages: Messages, settings: Mapping[str, Any]) -> list[int]:
    """As `encode_safely`, for releases without the library's own way.

    Each control token in a message is replaced by a stand-in from the private use area before rendering; then
    the text between stand-ins is encoded as usual, and each stand-in as the plain text of its token. A user
    who writes a stand-in gets plain text, too.
    """
    tokens = sorted(_control_tokens(tokenizer), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, tokens)) or r"(?!)")

    def masked(content: Any) -> Any:
        return (
            pattern.sub(lambda found: f"\ue000{tokens.index(found[0])}\ue001", content)
            if isinstance(content, str)
            else content
        )

    guarded = [{key: masked(value) for key, value in message.items()} for message in messages]
    text = tokenizer.apply_chat_template(guarded, tokenize=False, **settings)
    ids: list[int] = []
    for number, piece in enumerate(re.split("\ue000(\\d+)\ue001", text)):
        if number % 2 and int(piece) < len(tokens):
            ids += tokenizer(tokens[int(piece)], add_special_tokens=False, split_special_tokens=True)[
                "input_ids"
            ]
        elif piece:
            ids += tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids
