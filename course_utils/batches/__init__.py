"""From conversations to training batches, and what goes wrong on the way. Knows tokenizers, but no model.

    loss_mask(tokenizer, messages)      ids and mask: what the model sees, what it is trained to predict
    encode_row(tokenizer, row)          the same for a row of messages, prompt-completion or text
    encode_rows, encode_pairs           the same for many at once, as training does it
    collate(rows, pad_id)               rows of different lengths as one batch
    audit_batch(batch, tokenizer)       the bugs that training passes over in silence

Masks and labels stand in place, as Hugging Face models read them: `labels[i]` is `input_ids[i]` where that token
is to be learned and -100 where it is not. The model itself compares its prediction at `i` with `labels[i + 1]`.
Rows of a batch count from 0, as in the tensors.
"""

from ..tokens import IGNORED
from .audit import FIXES, audit_batch
from .fitting import collate
from .marks import TurnMarks, turn_marks
from .masks import LOSS_ON, encode_pairs, encode_row, encode_rows, has_generation_marks, loss_mask
from .rows import Encoded, labels

__all__ = [
    "FIXES", "IGNORED", "LOSS_ON", "Encoded", "TurnMarks", "audit_batch", "collate", "encode_pairs", "encode_row",
    "encode_rows", "has_generation_marks", "labels", "loss_mask", "turn_marks",
]  # fmt: skip
