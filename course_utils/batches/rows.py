"""One example as ids and mask, the labels made of them, and several examples as one padded batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ..tokens import IGNORED


@dataclass(frozen=True)
class Encoded:
    """One example as token ids with its loss mask; all lists run along the tokens.

    `mask` is 1 where the token is to be learned, else 0. `tokens` are the ids as text. `roles` name the turn each
    token belongs to, or hold None where nothing is known of turns.
    """

    ids: list[int]
    mask: list[int]
    tokens: list[str]
    roles: list[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        return labels(self.ids, self.mask)

    @property
    def loss_tokens(self) -> int:
        """How many predictions count in the loss. Nothing predicts the first token, so it never does."""
        return sum(self.mask[1:])


Example = Encoded | Mapping[str, Any]  # what loss_mask returns, or input_ids with labels (or mask)


def labels(ids: Sequence[int], mask: Sequence[int]) -> list[int]:
    """Return `ids` where `mask` is 1 and -100 elsewhere; nothing is shifted, for the model does that itself.

    Raises ValueError when the two differ in length.
    """
    if len(ids) != len(mask):
        raise ValueError(f"{len(ids)} ids and {len(mask)} mask values; there must be one a token.")
    return [int(i) if keep else IGNORED for i, keep in zip(ids, mask, strict=True)]


def ids_and_labels(row: Example) -> tuple[list[int], list[int], list[int] | None]:
    """(ids, labels, position ids or None) of an example in any form that this module hands out or takes."""
    if isinstance(row, Encoded):
        return row.ids, row.labels, None
    if not isinstance(row, Mapping) or "input_ids" not in row or not {"labels", "mask"} & row.keys():
        raise TypeError(
            "A row is what loss_mask returns, or a mapping with input_ids and labels (or mask); got "
            f"{sorted(row) if isinstance(row, Mapping) else type(row).__name__}."
        )
    ids = as_list(row["input_ids"])
    targets = as_list(row["labels"]) if "labels" in row else labels(ids, as_list(row["mask"]))
    if len(ids) != len(targets):
        raise ValueError(f"{len(ids)} ids and {len(targets)} labels; there must be one a token.")
    positions = row.get("position_ids")
    return ids, targets, as_list(positions) if positions is not None else None


def as_list(values: Any) -> list:
    return values.tolist() if hasattr(values, "tolist") else list(values)


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
    batch = {"input_ids": padded(all_ids, pad_id), "labels": padded(all_labels, IGNORED)}
    if any(positions is not None for positions in all_positions):
        both = zip(all_ids, all_positions, strict=True)
        batch["position_ids"] = padded((range(len(ids)) if own is None else own for ids, own in both), 0)
    else:
        batch["attention_mask"] = padded(([1] * len(ids) for ids in all_ids), 0)
    return batch


def padded(rows: Iterable[Sequence[int]], filler: int) -> torch.Tensor:
    """Rows of numbers as one int64 tensor (rows, length of the longest)."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)
