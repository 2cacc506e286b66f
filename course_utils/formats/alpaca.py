"""Alpaca's prompt template: writing it, and taking a text in it apart again."""

from __future__ import annotations

# Alpaca's prompts as published in train.py of tatsu-lab/stanford_alpaca; the output follows at once.
_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)
_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
)
_INSTRUCTION, _INPUT, _RESPONSE = "### Instruction:\n", "\n\n### Input:\n", "\n\n### Response:"


def alpaca_prompt(instruction: str, input: str = "") -> str:
    """Alpaca's prompt for an instruction, as published: with an *Input* section only where there is an input.

    Source: PROMPT_DICT in train.py, github.com/tatsu-lab/stanford_alpaca.
    """
    if input:
        return _WITH_INPUT + _INSTRUCTION + instruction + _INPUT + input + _RESPONSE
    return _WITHOUT_INPUT + _INSTRUCTION + instruction + _RESPONSE


def read_alpaca_prompt(text: str) -> dict[str, str] | None:
    """`{instruction, input, output}` of a text in Alpaca's template, or None where it is in no such template."""
    head = next((h for h in (_WITH_INPUT, _WITHOUT_INPUT) if text.startswith(h + _INSTRUCTION)), None)
    if head is None:
        return None
    body, input_ = text[len(head + _INSTRUCTION) :], ""
    if head == _WITH_INPUT:
        instruction, mark, body = body.partition(_INPUT)
        input_, response, output = body.partition(_RESPONSE)
        response = mark and response
    else:
        instruction, response, output = body.partition(_RESPONSE)
    return {"instruction": instruction, "input": input_, "output": output} if response else None
