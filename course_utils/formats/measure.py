"""What the model is shown of a row, how many tokens that is, and the table of a data set that `describe` gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from .alpaca import alpaca_prompt
from .specs import FORMATS, formats_of, require_types, same_key


def sequences(row: Mapping[str, Any], name: str) -> list[str | list[dict[str, Any]]]:
    """What the model is shown of a well-formed row: one text or list of messages, two for a preference."""
    spec = FORMATS[name]
    if name == "alpaca":
        return [alpaca_prompt(row["instruction"], row.get("input") or "") + row["output"]]
    if name == "sharegpt":
        turns = [(turn["from"], turn["value"]) for turn in row["conversations"]]
        return [[{"role": spec.roles.get(who, who), "content": text} for who, text in turns]]
    if name in ("messages", "tool-calls", "text"):
        return [row[column] for column in spec.required]
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


def measured(rows: Sequence[Mapping[str, Any]], tokenizer: Any, loss_mask: Callable | None) -> pd.DataFrame:
    """One line a row; see `formats.describe`."""
    names = formats_of(rows)
    require_types(rows, names)
    first_seen: dict[str, int] = {}
    lines = []
    for number, (row, name) in enumerate(zip(rows, names, strict=True), 1):
        shown = sequences(row, name)
        turns = max(map(len, shown)) if FORMATS[name].conversational else None
        first = first_seen.setdefault(same_key({c: row.get(c) for c in FORMATS[name].required}), number)
        counts = (max(map(_characters, shown)), turns, *_token_counts(row, name, tokenizer, loss_mask))
        lines.append((number, name, *counts, first if first != number else None))
    columns = ["row", "format", "characters", "turns", "tokens", "loss_tokens", "duplicate_of"]
    whole = dict.fromkeys(["turns", "tokens", "loss_tokens", "duplicate_of"], "Int64")
    table = pd.DataFrame(lines, columns=columns).astype(whole)
    share = table["loss_tokens"] / table["tokens"].where(table["tokens"] > 0)
    table.insert(6, "loss_share", share.astype("Float64").astype(float))
    return table


def _characters(sequence: str | list[dict[str, Any]]) -> int:
    if isinstance(sequence, str):
        return len(sequence)
    return sum(len(turn.get("content") or "") for turn in sequence)


def _token_counts(
    row: Mapping[str, Any], name: str, tokenizer: Any, loss_mask: Callable | None
) -> tuple[int | None, int | None]:
    """How many tokens a row has, and how many of them carry loss; None where that is not known."""
    if loss_mask is not None:
        mask = list(loss_mask(row))
        return len(mask), sum(map(bool, mask))
    if tokenizer is None:
        return None, None
    tokens = count_tokens(row, name, tokenizer)
    if name == "text":
        return tokens, tokens
    if name not in ("prompt-completion", "alpaca"):
        return tokens, None
    prompt = alpaca_prompt(row["instruction"], row.get("input") or "") if name == "alpaca" else row["prompt"]
    before = len(tokenizer(prompt, verbose=False)["input_ids"])
    return tokens + 1, max(tokens - before, 0) + 1  # one more for the end token that trainers append


def summarised(table: pd.DataFrame) -> pd.DataFrame:
    """One line a quantity of a table by `measured`."""
    known = table[["characters", "turns", "tokens", "loss_tokens", "loss_share"]].astype("Float64")
    counted = known.agg(["count", "mean", "min", "median", "max", "sum"]).T.astype(float)
    counted.insert(4, "p95", known.quantile(0.95).astype(float))
    counted = counted.set_axis(["rows", "mean", "min", "median", "p95", "max", "total"], axis="columns")
    counted.loc["loss_share", "total"] = float("nan")
    counted = counted[counted["rows"] > 0]
    counted.loc["repeats", ["rows", "total"]] = len(table), table["duplicate_of"].notna().sum()
    return counted.astype({"rows": int})
