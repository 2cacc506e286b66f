"""Examples as rows of token ids with labels, rows as padded batches, and the log-probabilities of the labels.

Labels are the ids themselves where there is something to learn and -100 elsewhere. They are *not* shifted here:
position t's logits predict the token at t + 1, and `label_logits` does that moving, once, for every training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from ..batches import encode_pairs as batch_pairs
from ..batches import encode_rows
from ..tokens import IGNORED

# A larger batch is computed in parts of so many tokens on a CPU: the same gradient, with less memory.
PART_TOKENS = 1024
# Rows sorted by length together: similar lengths in a batch, all lengths in every part of the run.
WINDOW = 1024


SPLITS = {"train", "validation", "valid", "dev", "test", "eval"}


class Labelled(NamedTuple):
    """One example: token ids and labels, equally long."""

    ids: list[int]
    labels: list[int]


# -- examples to rows ------------------------------------------------------------------------------------------


def several(examples: Iterable, what: str) -> list:
    """`examples` as a list. TypeError for what looks like one of them, or like a file: its letters are no examples."""
    if isinstance(examples, (str, bytes, Mapping, Path)) or not isinstance(examples, Iterable):
        hint = "Put a single one into a list"
        if isinstance(examples, (str, bytes, Path)):
            hint += "; read a data file with formats.load(path)"
        elif isinstance(examples, Mapping) and examples and examples.keys() <= SPLITS:
            hint = f"Choose one of the data set's splits by its name ({', '.join(examples)})"
        raise TypeError(f"Expected several {what}, in a list, got {_short(examples)}. {hint}.")
    examples = list(examples)
    if examples and all(isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in examples):
        raise TypeError(
            f"Expected several {what}, got the messages of one conversation. Put it into a list: [conversation]."
        )
    return examples


def encode(tokenizer, examples: Iterable, loss_on: str = "assistant") -> list[Labelled]:
    """Turn SFT examples into rows, with the ids and masks of `batches.encode_row`.

    An example is a conversation (a list of messages, or a dict with `messages`), a dict with `prompt` and
    `completion` (texts or lists of messages), a text or a dict with `text` (learned whole, its eos appended), or a
    row of your own: a dict with `input_ids` and `labels`, or what `batches.loss_mask` returns. `loss_on` is
    "assistant" (what the assistant writes, each end of turn included), "last" (the last such turn only) or "all"
    (every token but the first). Raises ValueError, with the example's number, for what cannot be used, and TypeError
    for what is no example.
    """
    if loss_on not in ("assistant", "last", "all"):
        raise ValueError(f"loss_on must be 'assistant', 'last' or 'all', got {loss_on!r}.")
    examples = several(examples, "examples")
    if not examples:
        raise ValueError(
            "There are no examples. Give at least one conversation, text or prompt-completion pair."
        )
    found: dict[int, Labelled] = {}
    to_encode: dict[int, Mapping] = {}
    for number, example in enumerate(examples):
        row = _as_row(example, number)
        if isinstance(row, Labelled):
            found[number] = row
        else:
            to_encode[number] = row
    for talks in (True, False):  # what is learned of a pair or a text is decided by its format
        some = {number: row for number, row in to_encode.items() if ("messages" in row) == talks}
        on = loss_on if talks or loss_on == "all" else None
        found |= _encoded(tokenizer, some, on)
    rows = [found[number] for number in range(len(examples))]
    for number, row in enumerate(rows):
        if not any(label != IGNORED for label in row.labels[1:]):
            raise ValueError(
                f"Example {number} has no token to learn: {_short(examples[number])}. It needs an assistant's turn, "
                "or a label other than -100 after its first token."
            )
    return rows


def _as_row(example: Any, number: int) -> Labelled | Mapping[str, Any]:
    """An example as a row of a dataset, or as ids and labels where it has them already."""
    if isinstance(example, str):
        return {"text": example}
    if isinstance(example, (list, tuple)) and example and isinstance(example[0], Mapping):
        return {"messages": example}
    mapping = isinstance(example, Mapping)
    if mapping and ("messages" in example or "text" in example or {"prompt", "completion"} <= example.keys()):
        return example
    if mapping and {"input_ids", "labels"} <= example.keys():
        ids, labels = (_int_list(example[key]) for key in ("input_ids", "labels"))
    elif hasattr(example, "ids") and hasattr(example, "labels"):
        ids, labels = _int_list(example.ids), _int_list(example.labels)
    else:
        raise TypeError(
            f"Example {number} is {_short(example)}. Expected a conversation (a list of messages), a text, or a dict "
            "with 'messages', 'prompt' and 'completion', 'text', or 'input_ids' and 'labels'."
        )
    if len(ids) != len(labels):
        raise ValueError(
            f"Example {number} has {len(ids)} input_ids but {len(labels)} labels; it needs one per token."
        )
    return Labelled(ids, labels)


def _encoded(
    tokenizer, rows: dict[int, Mapping], on: str | None, what: str = "Example"
) -> dict[int, Labelled]:
    """Rows as ids and labels; an error names the first row that it comes from."""
    try:
        done = encode_rows(tokenizer, list(rows.values()), on=on, find_turns=True)
    except (ValueError, TypeError) as error:
        _blame(error, what, rows.items(), lambda row: encode_rows(tokenizer, [row], on=on, find_turns=True))
        raise
    return {
        number: Labelled(ids, [i if learned else IGNORED for i, learned in zip(ids, mask, strict=True)])
        for number, (ids, mask) in zip(rows, done, strict=True)
    }


def _blame(error: Exception, what: str, rows: Iterable[tuple[int, Any]], encode_one) -> None:
    """Raise the error of the first of the numbered rows that cannot be encoded by itself, with its number."""
    for number, row in rows:
        try:
            encode_one(row)
        except (ValueError, TypeError) as own:
            kind = TypeError if isinstance(own, TypeError) else ValueError
            raise kind(f"{what} {number} cannot be used ({_short(row)}): {own}") from own


def encode_pair(tokenizer, prompt, completion) -> tuple[list[int], list[int]]:
    """Return the ids of a prompt and of the completion after it; see `batches.encode_pairs`."""
    return encode_pairs(tokenizer, [(prompt, completion)])[0]


def encode_pairs(
    tokenizer, pairs: Sequence[tuple[Any, Any]], what: str = "Example", each: int = 1
) -> list[tuple[list[int], list[int]]]:
    """`batches.encode_pairs`, with the number of the example in its errors; `each` example brings so many pairs."""
    try:
        return batch_pairs(tokenizer, pairs)
    except (ValueError, TypeError) as error:
        numbered = [(place // each, pair) for place, pair in enumerate(pairs)]
        _blame(error, what, numbered, lambda pair: batch_pairs(tokenizer, [pair]))
        raise


def _int_list(values) -> list[int]:
    return [int(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]


def _short(value, width: int = 70) -> str:
    shown = repr(value)
    return shown if len(shown) <= width else f"{shown[:width]}…"


# -- rows to batches -------------------------------------------------------------------------------------------


def check_fit(rows: Iterable[Labelled], model, what: str = "Example") -> None:
    """Raise ValueError where a row is longer than the model's context or holds a token that it does not have."""
    config = model.config.get_text_config()
    # Cutting off silently would take the end of turn, and with it what teaches the model to stop.
    context = getattr(config, "max_position_embeddings", None)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    for number, row in enumerate(rows):
        if context is not None and len(row.ids) > context:
            raise ValueError(
                f"{what} {number} has {len(row.ids)} tokens, but the model sees at most {context} at once. "
                "Shorten it or leave it out; nothing is cut off silently."
            )
        if row.ids and max(row.ids) >= vocabulary:
            raise ValueError(
                f"{what} {number} holds token id {max(row.ids)}, but the model has only {vocabulary} tokens: "
                "this tokenizer belongs to another model."
            )


def plan(
    lengths: Sequence[int],
    rng: Random,
    tokens_per_step: int = 2048,
    batch_size: int | None = None,
    mixed: bool = False,
) -> list[list[int]]:
    """Return one epoch's batches as lists of example numbers: similar lengths together, batches in random order.

    A batch holds `batch_size` examples or, where that is None, as many as fit `tokens_per_step` with their padding
    (at least one). With `mixed` chance alone decides which examples meet.
    """
    # Shuffled first, so that which examples meet in a batch is chance and not the order of the file.
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    window = WINDOW if batch_size is None else max(1, WINDOW // batch_size) * batch_size
    for at in range(0, len(order), window):
        batch, longest = [], 0
        # Within a window, similar lengths together: a short row beside a long one is mostly padding.
        for number in sorted(order[at : at + window], key=lambda i: 0 if mixed else lengths[i]):
            longest = max(longest, lengths[number])
            full = len(batch) == batch_size if batch_size else longest * (len(batch) + 1) > tokens_per_step
            if batch and full:
                batches.append(batch)
                batch, longest = [], lengths[number]
            batch.append(number)
        batches.append(batch)
    # Otherwise every window would go from short to long, and the loss would go up and down with it.
    rng.shuffle(batches)
    return batches


def planned_steps(
    lengths: Sequence[int],
    seed: int,
    epochs: float,
    steps: int | None,
    tokens_per_step: int,
    batch_size: int | None,
    mixed: bool = False,
) -> list[list[int]]:
    """Return every step's example numbers: `epochs` passes, or exactly `steps` batches where given."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}.")
    if (steps is not None and steps < 1) or not epochs > 0:
        raise ValueError(
            f"steps must be 1 or more and epochs above 0, got steps={steps} and epochs={epochs}."
        )
    rng = Random(f"batches/{seed}")
    found = plan(lengths, rng, tokens_per_step, batch_size, mixed)
    wanted = steps if steps is not None else max(1, round(epochs * len(found)))
    while len(found) < wanted:
        found += plan(lengths, rng, tokens_per_step, batch_size, mixed)
    return found[:wanted]


def pad(rows: Sequence[Labelled], pad_id: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels `(rows, longest)`, padded on the right.

    No attention mask is needed: in a causal model no token looks to its right, and padding has no label.
    """
    # Padding on the right: what it holds is never seen from the left, and -100 keeps it out of the loss.
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [pad_id] * (longest - len(row.ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows])
    return ids.to(device), labels.to(device)


def in_parts(lengths: Sequence[int], tokens: int = PART_TOKENS) -> list[list[int]]:
    """The numbers of sequences of these lengths, shortest first, in parts of at most `tokens` padded tokens.

    A sequence that is longer than that is a part of its own.
    """
    found: list[list[int]] = [[]]
    # Shortest first, so a part's padded size is its count times the length of its newest member.
    for number in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if found[-1] and (len(found[-1]) + 1) * lengths[number] > tokens:
            found.append([])
        found[-1].append(number)
    return [part for part in found if part]


def pad_id_of(tokenizer) -> int:
    """The id to pad with; which one does not matter, for padding is neither seen nor learned."""
    ids = (getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "eos_token_id", None))
    return next((i for i in ids if i is not None), 0)


# -- what the model makes of a batch ---------------------------------------------------------------------------


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


_apart: WeakKeyDictionary = WeakKeyDictionary()  # what was found out, for as long as the model lives


def head_is_apart(model) -> bool:
    """Whether a model's logits are its body's last hidden states times its output matrix, and nothing more.

    It is asked and not looked up: both ways are run once, on four tokens, and compared.
    """
    if model not in _apart:
        _apart[model] = _compare_head(model)
    return _apart[model]


def _compare_head(model) -> bool:
    body, head = getattr(model, "base_model", None), model.get_output_embeddings()
    if body is None or body is model or head is None:
        return False
    ids, training = torch.tensor([[0, 1, 2, 3]], device=model.device), model.training
    model.eval()  # without dropout, or the two would differ by chance
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            apart = head(body(input_ids=ids, use_cache=False).last_hidden_state)
            whole = model(input_ids=ids, use_cache=False).logits
        return apart.shape == whole.shape and torch.allclose(
            apart.float(), whole.float(), rtol=1e-4, atol=1e-5
        )
    except (AttributeError, TypeError, RuntimeError):  # a wrapper that hands on something else
        return False
    finally:
        model.train(training)


def answer_logits(
    model, rows: Sequence[Labelled], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `label_logits` returns of these rows, though a prompt that several of them begin with is read only once.

    Rows of one prompt are laid end to end behind it: [prompt, answer 1, answer 2, …]. Each token sees the prompt and
    its own answer, and counts its position from the prompt's beginning, so nothing tells it that there are others.
    """
    packs = by_prompt(rows)
    if len(packs) == len(rows) or not shares_prompts(model):
        return label_logits(model, *pad(rows, pad_id, model.device))
    return _packed_logits(model, rows, packs, pad_id)


def by_prompt(rows: Sequence[Labelled], most: int = PART_TOKENS // 2) -> list[list[int]]:
    """The numbers of rows that begin with the same prompt, in packs of at most `most` answer tokens (or one row)."""
    packs: list[list[int]] = []
    newest: dict[
        tuple[int, ...], tuple[list[int], int]
    ] = {}  # of each prompt: its last pack, and the tokens in it
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


def _packed_logits(model, rows: Sequence[Labelled], packs: list[list[int]], pad_id: int):
    longest = max(packed_length([rows[i] for i in pack]) for pack in packs)
    ids = torch.full((len(packs), longest), pad_id)  # (packs, longest), as are the next two
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


_shares: WeakKeyDictionary = WeakKeyDictionary()


def shares_prompts(model) -> bool:
    """Whether a model takes a mask and positions of our own, so that answers can share a prompt; tried once."""
    if model not in _shares:
        _shares[model] = head_is_apart(model) and _compare_packed(model)
    return _shares[model]


def _compare_packed(model) -> bool:
    rows = [Labelled([0, 1, *answer], [IGNORED, IGNORED, *answer]) for answer in ([2, 3, 1], [3, 0], [1, 2])]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            packed, targets, of_row = _packed_logits(model, rows, [[0, 1], [2]], 0)
            plain, expected, theirs = label_logits(model, *pad(rows, 0, model.device))
        return (
            torch.equal(targets, expected)
            and torch.equal(of_row, theirs)
            and torch.allclose(packed, plain, rtol=1e-4, atol=1e-5)
        )
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):  # it wants another kind of mask
        return False
    finally:
        model.train(training)


def sum_by_row(values: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Sum per-label `values (n,)` into one number a row, `(count,)`."""
    # index_add: values[i] is added to place rows[i], one place per sequence.
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rows, values)


def target_logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Natural-log probabilities `(n,)` of the targets under logits `(n, vocab)`."""
    # Cross-entropy of one label is minus the log-probability of that label.
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")


# -- replay ----------------------------------------------------------------------------------------------------


def replay_rows(
    tokenizer, texts: Iterable[str], tokens: int, length: int, skip: int = 0
) -> Iterator[torch.Tensor]:
    """Yield ids `(rows, length + 1)` of documents laid end to end, about `tokens` of them a time.

    A list of texts is read again and again; an iterator is read once, and ValueError says when it runs dry. `skip`
    leaves out so many batches, for a run that goes on where it stopped.
    """
    if isinstance(texts, str):
        raise TypeError("replay takes several texts (a list, or an iterator of documents), not a single one.")
    rows = max(1, tokens // length)  # so many rows of `length` tokens, each with one more as its last target
    again = not isinstance(texts, Iterator)
    reader = iter(texts)
    ids: list[int] = []
    while True:
        while len(ids) < rows * (length + 1):
            some = list(islice(reader, 64))
            if not some and again:
                reader = iter(texts)
                some = list(islice(reader, 64))
            if not some:
                raise ValueError(
                    "The replayed texts ran out before the training did. Give more of them, an endless iterator, or a "
                    "list, which is read again from its beginning."
                )
            # Documents are laid end to end, as in pretraining; the tokenizer's BOS stands between them.
            ids.extend(chain.from_iterable(tokenizer(some)["input_ids"]))
        batch, ids = ids[: rows * (length + 1)], ids[rows * (length + 1) :]
        if skip:
            skip -= 1
            continue
        yield torch.tensor(batch).view(rows, length + 1)
