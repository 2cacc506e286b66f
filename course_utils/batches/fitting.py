"""Rows as one batch: padding into tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from ..tokens import IGNORED
from .rows import Example, ids_and_labels


def collate(rows: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad rows on the right to one length: a batch of int64 tensors, each (rows, length).

    `input_ids` are filled up with `pad_id`, `labels` with -100, `attention_mask` with 0. What is a label is decided
    by the rows and never by comparing ids with `pad_id`, so it does no harm when pad and eos are the same token.

    Rows with `position_ids` (packed ones, see course_runs/fitting.py) give a batch with `position_ids` in place of
    `attention_mask`, because transformers keeps packed documents apart only when it is given no mask; call the model
    with use_cache=False.
    Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("There are no rows to collate.")
    all_ids, all_labels, all_positions = zip(*map(ids_and_labels, rows), strict=True)
    batch = {"input_ids": _padded(all_ids, pad_id), "labels": _padded(all_labels, IGNORED)}
    if any(positions is not None for positions in all_positions):
        both = zip(all_ids, all_positions, strict=True)
        batch["position_ids"] = _padded((range(len(ids)) if own is None else own for ids, own in both), 0)
    else:
        batch["attention_mask"] = _padded(([1] * len(ids) for ids in all_ids), 0)
    return batch


def _padded(rows: Iterable[Sequence[int]], filler: int) -> torch.Tensor:
    """Rows of numbers as one int64 tensor (rows, length of the longest)."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)
