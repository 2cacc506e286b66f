"""Lesson 04 makes rows fit: truncating with a report, packing with stated boundaries, and how much is learned."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from course_utils.batches.rows import Example, ids_and_labels
from course_utils.tokens import IGNORED


def truncate(rows: Sequence[Example], max_length: int) -> tuple[list[dict[str, list[int]]], pd.DataFrame]:
    """Cut the ends off rows longer than `max_length` tokens and say what that cost: (rows, report).

    The rows come back as dicts of input_ids and labels, in their order, none left out: one that has lost all its
    labels teaches nothing, and is for the caller to drop (TRL drops such rows after it truncated them, and does not
    say how many). The report has a line for each row that was cut: row, tokens, cut, loss_tokens (before), loss_lost,
    end_lost (whether its last learned token, normally the end of turn, is gone), nothing_left. Raises ValueError for
    a length below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be 1 or more, got {max_length}.")
    kept, report = [], []
    for number, (ids, targets, _) in enumerate(map(ids_and_labels, rows)):
        kept.append({"input_ids": ids[:max_length], "labels": targets[:max_length]})
        if len(ids) <= max_length:
            continue
        learned = [i for i, label in enumerate(targets) if label != IGNORED and i > 0]
        lost = sum(i >= max_length for i in learned)
        cut = len(ids) - max_length
        report.append((number, len(ids), cut, len(learned), lost, lost > 0, lost == len(learned)))
    columns = ["row", "tokens", "cut", "loss_tokens", "loss_lost", "end_lost", "nothing_left"]
    return kept, pd.DataFrame(report, columns=columns)


def loss_counts(rows: Sequence[Example]) -> pd.DataFrame:
    """How much of each example is learned: columns row, tokens, loss_tokens, share.

    `loss_tokens` counts predictions, so the first token of a row never counts.
    """
    counts = [
        (len(ids), sum(label != IGNORED for label in targets[1:]))
        for ids, targets, _ in map(ids_and_labels, rows)
    ]
    table = pd.DataFrame(counts, columns=["tokens", "loss_tokens"], dtype=int)
    table.insert(0, "row", range(len(table)))
    table["share"] = table["loss_tokens"] / table["tokens"].where(table["tokens"] > 0)
    return table


def pack(rows: Sequence[Example], length: int) -> list[dict[str, list[int]]]:
    """Put several examples into each row of at most `length` tokens, so that little is padding.

    Each packed row is a dict: input_ids; labels, where the first token of every document is -100, because what
    predicts it is the end of another document; position_ids, which begin again at 0 with each document and so state
    where the boundaries are (see `batches.collate` for what the model makes of them); rows, the numbers of the
    examples in it.

    No example is cut: the longest go first, each into the fullest row it still fits (best-fit decreasing, the
    strategy "bfd" of TRL, after Ding et al. 2024, arXiv 2404.10830). Raises ValueError when one is longer than
    `length`.
    """
    examples = [ids_and_labels(row) for row in rows]
    packed: list[dict[str, list[int]]] = []
    for number in sorted(range(len(examples)), key=lambda i: -len(examples[i][0])):
        ids, targets, _ = examples[number]
        if len(ids) > length:
            raise ValueError(
                f"Row {number} has {len(ids)} tokens and does not fit into {length}. "
                "Truncate the rows first, or pack into longer ones."
            )
        fitting = [row for row in packed if len(row["input_ids"]) + len(ids) <= length]
        fullest = max(fitting, key=lambda row: len(row["input_ids"]), default=None)
        if fullest is None:
            fullest = {"input_ids": [], "labels": [], "position_ids": [], "rows": []}
            packed.append(fullest)
        fullest["input_ids"] += ids
        fullest["labels"] += [IGNORED, *targets[1:]] if targets else []
        fullest["position_ids"] += range(len(ids))
        fullest["rows"].append(number)
    return packed
