"""One example as ids and mask, and the labels made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
