"""From conversations to training batches. Knows tokenizers, but no model.

    loss_mask(tokenizer, messages)      ids and mask: what the model sees, what it is trained to predict
    encode_row(tokenizer, row)          the same for a row of messages, prompt-completion or text
    encode_rows, encode_pairs           the same for many at once, as training does it
    collate(rows, pad_id)               rows of different lengths as one batch

Masks and labels stand in place, as Hugging Face models read them: `labels[i]` is `input_ids[i]` where that token
is to be learned and -100 where it is not. The model itself compares its prediction at `i` with `labels[i + 1]`.
Rows of a batch count from 0, as in the tensors. What goes wrong on the way, `course_utils.audit_batch` finds.
"""

from ..tokens import IGNORED
from .masks import LOSS_ON, encode_pairs, encode_row, encode_rows, has_generation_marks, loss_mask
from .rows import Encoded, collate, labels

__all__ = [
    "IGNORED", "LOSS_ON", "Encoded", "collate", "encode_pairs", "encode_row", "encode_rows", "has_generation_marks",
    "labels", "loss_mask",
]  # fmt: skip
