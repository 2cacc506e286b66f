"""Supervised fine-tuning: cross-entropy on the tokens that the answer is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch.nn import functional as F

from .loop import Trained, run_loop, variant_to_train
from .predictions import label_logits
from .rows import Labelled, check_fit, cut, encode, pad, planned_steps


def sft(
    variant_or_model, examples: Iterable, *, tokenizer=None, loss_on: str = "assistant", mixed: bool = False,
    epochs: float = 1.0, steps: int | None = None, tokens_per_step: int = 2048, batch_size: int | None = None,
    lr: float | None = None, copy: bool = True, name: str | None = None, seed: int = 0, **options: Any,
) -> Trained:  # fmt: skip
    """Fine-tune a causal language model on examples, with the loss on what the assistant says.

    `variant_or_model` is a Variant or a model of transformers (then with `tokenizer`). A base model has no chat
    template: pass the instruct's `tokenizer`, whose template and end of turn the model then learns. `examples` are
    conversations, texts, prompt-completion pairs, or rows with `input_ids` and `labels` of your own (see
    `rows.encode`); `loss_on="all"` learns the prompts too.

    A step reads `tokens_per_step` tokens in rows of similar length, or `batch_size` examples; with `mixed` each batch
    is a chance draw of long and short ones, which is calmer where length and kind of answer go together. There are
    `epochs` passes over the examples, or exactly `steps` steps. `lr` None is 5e-4 for a model of Pebble's size and
    2e-5 for one of 50M parameters or more. `options` are those of `loop.LoopOptions`: optimizer, schedule, precision,
    evaluate, every, live, replay, checkpoint and so on.

    With `copy` (the default) the given model stays as it is and a float32 copy is trained. The history of `Trained` has
    step, loss (nats per learned token), lr, tokens and what `evaluate` returns. Raises ValueError for examples that are
    empty, too long, without a token to learn, or conversations without a chat template.
    """
    # The given model stays as it is: lessons compare before and after.
    variant = variant_to_train(variant_or_model, tokenizer, copy, name, "sft")
    model, tokenizer = variant.model, variant.tokenizer
    rows = encode(tokenizer, examples, loss_on)
    check_fit(rows, model)
    # Which examples each step reads is settled before the first one, so that a run can be resumed at any step.
    lengths = [len(row.ids) for row in rows]
    plan = planned_steps(lengths, seed, epochs, steps, tokens_per_step, batch_size, mixed)
    return run_loop(
        variant, plan, lambda numbers: [rows[i] for i in numbers], sft_loss, split=parts,
        label="sft", lr=lr, usual_lr=(5e-4, 2e-5), seed=seed,
        of_run={"examples": rows, "order of examples": plan, "starting weights": copy and model}, **options,
    )  # fmt: skip


def sft_loss(model, batch: Sequence[Labelled]):
    """Mean cross-entropy (nats) of the batch's labels, and the tokens read."""
    ids, labels = pad(batch, model.device)  # (rows, length) each
    # What counts, and nothing else.
    logits, targets, _ = label_logits(model, ids, labels)  # (n, vocab), (n,)
    return F.cross_entropy(logits, targets), {"tokens": sum(len(row.ids) for row in batch)}


def parts(batch: Sequence[Labelled]) -> list[tuple[list[Labelled], float]]:
    """The rows of a batch in parts (see `rows.cut`), each with its share of the learned tokens.

    The mean loss of the batch is the sum of the parts' mean losses, each times its share.
    """
    # The mean over the batch is a mean over tokens, not over parts: a part with more labels weighs more.
    learned = [row.learned for row in batch]
    if not any(learned):
        return [(list(batch), 1.0)]  # the loss says what is wrong with it
    found = cut([len(row.ids) for row in batch], learned)
    return [([batch[i] for i in some], share) for some, share in found if share]
