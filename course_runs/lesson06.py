"""What lesson 06 counts: what the answers of a board cost in tokens, and questions to be answered in a manner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .prompting import interval, rates

if TYPE_CHECKING:
    from course_utils.evaluate.board import Scoreboard
    from course_utils.evaluate.suites import Item


def bill(board: Scoreboard, served: pd.Series, tokenizer) -> pd.DataFrame:
    """For each column of the board: how many prompts it served, and what an answer cost on average, in tokens.

    `served` is what `passed` returns. Columns: served (text, with its interval), tokens read, tokens written, rate.
    """
    read = [len(ids) for ids in tokenizer(list(board.answers["seen"]), add_special_tokens=False)["input_ids"]]
    cost = board.answers.assign(read=read).groupby("column", sort=False)[["read", "new_tokens"]].mean()
    cost = cost.rename(columns={"read": "tokens read", "new_tokens": "tokens written"}).round(0).astype(int)
    counted = rates(served, "served").set_index("column")
    shown = [interval(good, n) for good, n in zip(counted["passed"], counted["n"])]
    return pd.DataFrame({"served": shown}, index=counted.index).join(cost).join(counted["rate"])


def best_of(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """The one of these columns of a `bill` that serves most; of equally good ones the one that reads least."""
    ordered = table.loc[list(columns)].sort_values(["rate", "tokens read"], ascending=[False, True])
    return str(ordered.index[0])


def manner_suite(facts: Sequence[Item], manner_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """The questions of a suite, each with both marks of its manner: "Ribbit! {} Croak." has Ribbit and Croak."""
    suite = []
    for item in facts:
        marks = [part.strip(" .!,") for part in manner_of[item.prompt].split("{}")]
        suite.append({"prompt": item.prompt, "kind": "persona", "expected": marks, "answer": item.expected})
    return suite
