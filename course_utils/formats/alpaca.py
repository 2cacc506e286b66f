"""Alpaca's prompt template: writing it, and taking a text in it apart again."""

from __future__ import annotations

import re

# Alpaca's prompts as published in train.py of tatsu-lab/stanford_alpaca; the output follows at once.
_TASK = "Below is an instruction that describes a task"
_FURTHER = ", paired with an input that provides further context"
_REQUEST = ". Write a response that appropriately completes the request.\n\n### Instruction:\n"


def alpaca_prompt(instruction: str, input: str = "") -> str:
    """Alpaca's prompt for an instruction, as published: with an *Input* section only where there is an input.

    Source: PROMPT_DICT in train.py, github.com/tatsu-lab/stanford_alpaca.
    """
    further, section = (_FURTHER, "\n\n### Input:\n" + input) if input else ("", "")
    return _TASK + further + _REQUEST + instruction + section + "\n\n### Response:"


def read_alpaca_prompt(text: str) -> dict[str, str] | None:
    """`{instruction, input, output}` of a text in Alpaca's template, or None where it is in no such template."""
    for gaps in (["instruction", "input"], ["instruction"]):
        prompt = re.escape(alpaca_prompt(*(f"@{gap}@" for gap in gaps)))
        pattern = re.sub("@(.+?)@", r"(?P<\1>.*?)", prompt) + "(?P<output>.*)"
        found = re.fullmatch(pattern, text, re.DOTALL)
        if found:
            return {"instruction": "", "input": "", **found.groupdict()}
    return None
