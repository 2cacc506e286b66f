"""What the model is shown of a row, and how many tokens that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .alpaca import alpaca_prompt
from .specs import FORMATS


def sequences(row: Mapping[str, Any], name: str) -> list[str | list[dict[str, Any]]]:
    """What the model is shown of a well-formed row: one text or list of messages, two for a preference."""
    spec = FORMATS[name]
    if name == "alpaca":
        return [alpaca_prompt(row["instruction"], row.get("input") or "") + row["output"]]
    if name == "sharegpt":
        turns = [(turn["from"], turn["value"]) for turn in row["conversations"]]
        return [[{"role": spec.roles.get(who, who), "content": text} for who, text in turns]]
    if "messages" in spec.required:
        return [row["messages"]]
    if "text" in spec.required:
        return [row["text"]]
    prompt = row["prompt"] if "prompt" in spec.required else ([] if spec.conversational else "")
    return [prompt + row[column] for column in spec.answers] or [prompt]


def count_tokens(row: Mapping[str, Any], name: str, tokenizer: Any) -> int:
    """Tokens of a well-formed row as the model would read it; of a preference, the longer side's.

    Turns go through the chat template where the tokenizer has one, and count as bare text where it has none.
    """
    lengths = []
    for sequence in sequences(row, name):
        if isinstance(sequence, str):
            lengths.append(len(tokenizer(sequence, verbose=False)["input_ids"]))
        elif tokenizer.chat_template:
            quiet = {"verbose": False}
            tools = {"tools": row["tools"]} if row.get("tools") else {}
            ids = tokenizer.apply_chat_template(sequence, return_dict=True, tokenizer_kwargs=quiet, **tools)
            lengths.append(len(ids["input_ids"]))
        else:
            texts = [str(turn.get("content") or "") for turn in sequence]
            counted = (tokenizer(text, add_special_tokens=False, verbose=False) for text in texts)
            lengths.append(sum(len(one["input_ids"]) for one in counted))
    return max(lengths)
