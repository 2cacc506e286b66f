"""What a model makes of a batch: the logits at the places that have a label, and the labels' log-probabilities."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from ..tokens import IGNORED
from .rows import PART_TOKENS, Labelled, answer_row, pad


def label_logits(
    model, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return float32 logits `(n, vocab)` that predict the batch's n labels, the labels `(n,)` and their rows `(n,)`.

    Only places with a label go through the output matrix, which is a good part of the work of a small model. Where a
    model does more than body and matrix (Gemma 2 caps its logits, say), it computes all of them itself.
    """
    # The last token predicts nothing that is known, and nothing predicts the first: so inputs 0 … T-2 stand against
    # labels 1 … T-1.
    inputs, targets = ids[:, :-1], labels[:, 1:]  # (rows, T-1) each
    learned = targets != IGNORED
    if not learned.any():
        raise ValueError(
            "The batch has no token to learn: every label is -100. Check the loss mask of its examples."
        )
    if head_is_apart(model):
        hidden = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state  # (rows, T-1, width)
        logits = model.get_output_embeddings()(hidden[learned])  # (n, vocab), not (rows, T-1, vocab)
    else:
        logits = model(input_ids=inputs, use_cache=False).logits[learned]
    return logits.float(), targets[learned], learned.nonzero()[:, 0]


def _tried_once(trial: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """What `trial(model)` finds, for as long as the model lives; False where the model cannot do it at all."""
    found: WeakKeyDictionary = WeakKeyDictionary()

    @functools.wraps(trial)
    def asked(model) -> bool:
        if model not in found:
            training = model.training
            # Without dropout, or the two ways that are compared would differ by chance.
            model.eval()
            try:
                with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
                    found[model] = trial(model)
            # A wrapper that hands on something else, or a model that wants another kind of mask.
            except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):
                found[model] = False
            finally:
                model.train(training)
        return found[model]

    asked.found = found
    return asked


# A trial on four tokens may miss these settings of a config: what changes logits behind the output matrix (near 0 a
# cap does nothing), and how many tokens a token sees.
AFTER_THE_HEAD = (
    "final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier",
)  # fmt: skip
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "attention_window_size")


def _set(model, names: Sequence[str]) -> bool:
    """Whether a model's config sets one of these, for its text part or as a whole."""
    configs = model.config, model.config.get_text_config()
    return any(getattr(config, name, None) not in (None, 1) for config in configs for name in names)


@_tried_once
def head_is_apart(model) -> bool:
    """Whether a model's logits are its body's last hidden states times its output matrix, and nothing more.

    It is asked, and looked up only where a trial may miss it: both ways are run once, on four tokens, and compared.
    """
    body, head = getattr(model, "base_model", None), model.get_output_embeddings()
    if body is None or body is model or head is None or _set(model, AFTER_THE_HEAD):
        return False
    ids = torch.tensor([[0, 1, 2, 3]], device=model.device)  # (1, 4)
    apart = head(body(input_ids=ids, use_cache=False).last_hidden_state)  # (1, 4, vocab), as is the next
    whole = model(input_ids=ids, use_cache=False).logits
    return apart.shape == whole.shape and torch.allclose(apart.float(), whole.float(), rtol=1e-4, atol=1e-5)


def answer_logits(model, rows: Sequence[Labelled]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `label_logits` returns of these rows, though a prompt that several of them begin with is read only once.

    Rows of one prompt are laid end to end behind it: [prompt, answer 1, answer 2, …]. Each token sees the prompt and
    its own answer, and counts its position from the prompt's beginning, so nothing tells it that there are others.
    """
    packs = by_prompt(rows)
    if len(packs) == len(rows) or not shares_prompts(model):
        return label_logits(model, *pad(rows, model.device))
    return _packed_logits(model, rows, packs)


def by_prompt(rows: Sequence[Labelled], most: int = PART_TOKENS // 2) -> list[list[int]]:
    """The numbers of rows that begin with the same prompt, in packs of at most `most` answer tokens (or one row)."""
    packs: list[list[int]] = []
    # Of each prompt: its last pack, and the answer tokens in it.
    newest: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for number, row in enumerate(rows):
        start = prompt_length(row)
        prompt, answer = tuple(row.ids[:start]), len(row.ids) - start
        pack, tokens = newest.get(prompt, ([], 0))
        if not pack or not prompt or tokens + answer > most:
            pack, tokens = [], 0
            packs.append(pack)
        pack.append(number)
        newest[prompt] = pack, tokens + answer
    return packs


def prompt_length(row: Labelled) -> int:
    """The number of tokens before the first label."""
    return next((place for place, label in enumerate(row.labels) if label != IGNORED), len(row.labels))


def packed_length(rows: Sequence[Labelled]) -> int:
    """The tokens of one prompt and all answers to it."""
    return sum(len(row.ids) for row in rows) - (len(rows) - 1) * prompt_length(rows[0])


def _packed_logits(model, rows: Sequence[Labelled], packs: list[list[int]]):
    longest = max(packed_length([rows[i] for i in pack]) for pack in packs)
    ids = torch.zeros((len(packs), longest), dtype=torch.long)  # (packs, longest), as are the next two
    answer = torch.full_like(ids, -1)  # which answer a token is of; 0: the prompt, -1: padding
    positions = torch.zeros_like(ids)
    learned = []  # of each label: its pack, the place that predicts it, the label, its row
    for at, pack in enumerate(packs):
        start = end = prompt_length(rows[pack[0]])
        ids[at, :start], positions[at, :start] = torch.tensor(rows[pack[0]].ids[:start]), torch.arange(start)
        answer[at, :start] = 0
        for number, row in enumerate((rows[i] for i in pack), 1):
            here = slice(end, end + len(row.ids) - start)
            ids[at, here], answer[at, here] = torch.tensor(row.ids[start:]), number
            positions[at, here] = torch.arange(start, len(row.ids))
            # An answer's first token is predicted by the prompt's last, every other one by the token before it.
            sources = [start - 1, *range(end, here.stop - 1)]
            labels = zip(sources, row.labels[start:], strict=True)
            learned += [(at, source, label, pack[number - 1]) for source, label in labels if label != IGNORED]
            end = here.stop
    ids, answer, positions = (tensor.to(model.device) for tensor in (ids, answer, positions))
    learned.sort(key=lambda label: label[3])  # row by row, as `label_logits` has them
    own = answer[:, None, :] == answer[:, :, None]  # (packs, longest, longest): who looks, at whom
    sees = (own | (answer[:, None, :] == 0)).tril()
    hidden = model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=sees[:, None], use_cache=False
    ).last_hidden_state
    pack_of, source, targets, of_row = torch.tensor(learned, device=model.device).unbind(1)  # (n,) each
    return model.get_output_embeddings()(hidden[pack_of, source]).float(), targets, of_row


@_tried_once
def shares_prompts(model) -> bool:
    """Whether a model takes a mask and positions of our own, so that answers can share a prompt; tried once.

    Not with a sliding window: our mask would take the place of its own, and no window would be left.
    """
    if not head_is_apart(model) or _set(model, WINDOWS):
        return False
    rows = [answer_row([0, 1], answer) for answer in ([2, 3, 1], [3, 0], [1, 2])]
    packed = _packed_logits(model, rows, [[0, 1], [2]])
    plain = label_logits(model, *pad(rows, model.device))
    same = all(torch.equal(ours, theirs) for ours, theirs in zip(packed[1:], plain[1:]))
    return same and torch.allclose(packed[0], plain[0], rtol=1e-4, atol=1e-5)


def sum_by_row(values: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Sum per-label `values (n,)` into one number a row, `(count,)`."""
    # index_add: values[i] is added to place rows[i], one place per sequence.
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rows, values)


def target_logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Natural-log probabilities `(n,)` of the targets under logits `(n, vocab)`."""
    # Cross-entropy of one label is minus the log-probability of that label.
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
