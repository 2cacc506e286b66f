"""Making rows fit: truncating with a report, padding into tensors, packing with stated boundaries."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from ..tokens import IGNORED
from .rows import Example, ids_and_labels


def truncate(
    rows: Sequence[Example], max_length: int, keep: str = "start"
) -> tuple[list[dict[str, list[int]]], pd.DataFrame]:
    """Cut rows to `max_length` tokens and say what that cost: (rows, report).

    `keep` is "start" or "end". The rows come back as dicts of input_ids and labels, in their order, none left out:
    one that has lost all its labels teaches nothing, and is for the caller to drop (TRL drops such rows after it
    truncated them, and does not say how many). The report has a line for each row that was cut: row, tokens, cut,
    loss_tokens (before), loss_lost, end_lost (whether its last learned token, normally the end of turn, is gone),
    nothing_left. Raises ValueError for another `keep` or a length below 1.
    """
    if keep not in ("start", "end"):
        raise ValueError(f"keep must be 'start' or 'end', got {keep!r}.")
    if max_length < 1:
        raise ValueError(f"max_length must be 1 or more, got {max_length}.")
    part = slice(None, max_length) if keep == "start" else slice(-max_length, None)
    kept, report = [], []
    for number, (ids, targets, _) in enumerate(map(ids_and_labels, rows)):
        kept.append({"input_ids": ids[part], "labels": targets[part]})
        if len(ids) <= max_length:
            continue
        before, after = (sum(label != IGNORED for label in some[1:]) for some in (targets, targets[part]))
        last = max((i for i, label in enumerate(targets) if label != IGNORED), default=0)
        report.append(
            {
                "row": number,
                "tokens": len(ids),
                "cut": len(ids) - max_length,
                "loss_tokens": before,
                "loss_lost": before - after,
                "end_lost": last >= max_length if keep == "start" else last < len(ids) - max_length,
                "nothing_left": after == 0,
            }
        )
    columns = ["row", "tokens", "cut", "loss_tokens", "loss_lost", "end_lost", "nothing_left"]
    return kept, pd.DataFrame(report, columns=columns)


def collate(
    rows: Sequence[Example],
    pad_id: int,
    *,
    padding_side: str = "right",
    pad_to_multiple_of: int = 1,
) -> dict[str, torch.Tensor]:
    """Pad rows to one length: a batch of int64 tensors, each (rows, length).

    `input_ids` are filled up with `pad_id`, `labels` with -100, `attention_mask` with 0. What is a label is decided
    by the rows and never by comparing ids with `pad_id`, so it does no harm when pad and eos are the same token.

    Rows with `position_ids` (see `pack`) give a batch with `position_ids` in place of `attention_mask`, because
    transformers keeps packed documents apart only when it is given no mask; call the model with use_cache=False.
    Raises ValueError for no rows, an unknown side, or packed rows padded on the left.
    """
    if not rows:
        raise ValueError("There are no rows to collate.")
    if padding_side not in ("right", "left"):
        raise ValueError(f"padding_side must be 'right' or 'left', got {padding_side!r}.")
    triples = [ids_and_labels(row) for row in rows]
    packed = any(positions is not None for *_, positions in triples)
    if packed and padding_side == "left":
        raise ValueError("Packed rows must be padded on the right: padding_side='right'.")
    longest = max(len(ids) for ids, _, _ in triples)
    length = -(-longest // pad_to_multiple_of) * pad_to_multiple_of

    def filled(values: Sequence[int], filler: int) -> list[int]:
        padding = [filler] * (length - len(values))
        return [*values, *padding] if padding_side == "right" else [*padding, *values]

    batch = {
        "input_ids": torch.tensor([filled(ids, pad_id) for ids, _, _ in triples]),
        "labels": torch.tensor([filled(targets, IGNORED) for _, targets, _ in triples]),
    }
    if packed:
        positions = [given if given is not None else range(len(ids)) for ids, _, given in triples]
        batch["position_ids"] = torch.tensor([filled(list(given), 0) for given in positions])
    else:
        batch["attention_mask"] = torch.tensor([filled([1] * len(ids), 0) for ids, _, _ in triples])
    return batch


def pack(rows: Sequence[Example], length: int) -> list[dict[str, list[int]]]:
    """Put several examples into each row of at most `length` tokens, so that little is padding.

    Each packed row is a dict: input_ids; labels, where the first token of every document is -100, because what
    predicts it is the end of another document; position_ids, which begin again at 0 with each document and so state
    where the boundaries are (see `collate` for what the model makes of them); rows, the numbers of the examples in it.

    No example is cut: the longest go first, each into the fullest row it still fits (best-fit decreasing, the
    strategy "bfd" of TRL, after Ding et al. 2024, arXiv 2404.10830). Raises ValueError when one is longer than
    `length`.
    """
    triples = [ids_and_labels(row) for row in rows]
    order = sorted(range(len(triples)), key=lambda i: -len(triples[i][0]))
    if order and len(triples[order[0]][0]) > length:
        raise ValueError(
            f"Row {order[0]} has {len(triples[order[0]][0])} tokens and does not fit into {length}. "
            "Truncate the rows first, or pack into longer ones."
        )
    bins: list[list[int]] = []
    rooms: list[int] = []
    for number in order:
        size = len(triples[number][0])
        fitting = [i for i, room in enumerate(rooms) if room >= size]
        best = min(fitting, key=rooms.__getitem__, default=None)
        if best is None:
            best = len(bins)
            bins.append([])
            rooms.append(length)
        bins[best].append(number)
        rooms[best] -= size
    return [_packed_row(triples, numbers) for numbers in bins]


def _packed_row(triples: list, numbers: list[int]) -> dict[str, list[int]]:
    row: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": [], "rows": numbers}
    for number in numbers:
        ids, targets, _ = triples[number]
        row["input_ids"] += ids
        row["labels"] += [IGNORED, *targets[1:]] if targets else []
        row["position_ids"] += range(len(ids))
    return row
