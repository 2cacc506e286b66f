"""Examples as rows of token ids with labels, and rows as padded batches.

Labels are the ids themselves where there is something to learn and -100 elsewhere. They are *not* shifted here:
position t's logits predict the token at t + 1, and `predictions.label_logits` does that moving, for every training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, repeat
from numbers import Integral
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch

from ..batches import encode_pairs, encode_rows, labels
from ..batches.masks import short
from ..batches.rows import as_list, padded
from ..tokens import IGNORED, require_encodable

# A larger batch is computed in parts of so many tokens on a CPU: the same gradient, with less memory.
PART_TOKENS = 1024
# Rows sorted by length together: similar lengths in a batch, all lengths in every part of the run.
WINDOW = 1024
SPLIT_NAMES = {"train", "validation", "valid", "dev", "test", "eval"}


class Labelled(NamedTuple):
    """One example: token ids and labels, equally long."""

    ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        """The number of labels that count. Nothing predicts a row's first token, so its label never does."""
        return sum(label != IGNORED for label in self.labels[1:])


# -- examples to rows ------------------------------------------------------------------------------------------


def several(examples: Iterable, what: str) -> list:
    """`examples` as a list, of a table its rows as dicts.

    TypeError for what looks like one of them, or like a file: its letters are no examples.
    """
    if isinstance(examples, (str, bytes, Mapping, Path)) or not isinstance(examples, Iterable):
        hint = "Put a single one into a list"
        if isinstance(examples, (str, bytes, Path)):
            hint += "; read a data file with formats.load(path)"
        elif isinstance(examples, Mapping) and examples and examples.keys() <= SPLIT_NAMES:
            hint = f"Choose one of the data set's splits by its name ({', '.join(examples)})"
        raise TypeError(f"Expected several {what}, in a list, got {short(examples)}. {hint}.")
    # Of a table (a pandas DataFrame) the rows are meant, and not the names of its columns.
    if hasattr(examples, "to_dict") and hasattr(examples, "columns"):
        rows = examples.to_dict("records")
        # Lists of a parquet file arrive as arrays.
        examples = [{k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()} for row in rows]
    examples = list(examples)
    # A list of turns is one conversation, although it looks like a list of examples.
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
    given = {number: _as_row(example, number) for number, example in enumerate(examples)}
    found = {number: row for number, row in given.items() if isinstance(row, Labelled)}
    require_template(tokenizer, [row for row in given.values() if not isinstance(row, Labelled)])
    # Conversations at once, then all pairs and texts: many rows at a time are encoded several times faster.
    for talks in (True, False):
        some = {n: row for n, row in given.items() if n not in found and ("messages" in row) == talks}
        # What is learned of a pair or a text is decided by its format.
        on = loss_on if talks or loss_on == "all" else None
        masked = partial(encode_rows, tokenizer, on=on, find_turns=True)
        encoded = with_numbers(masked, list(some.values()), some, "Example")
        found |= {n: Labelled(ids, labels(ids, mask)) for n, (ids, mask) in zip(some, encoded, strict=True)}
    rows = [found[number] for number in range(len(examples))]
    for number, row in enumerate(rows):
        if not row.learned:
            raise ValueError(
                f"Example {number} has no token to learn: {short(examples[number])}. It needs an assistant's turn, "
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
        given = example["input_ids"], example["labels"]
    elif hasattr(example, "ids") and hasattr(example, "labels"):
        given = example.ids, example.labels
    else:
        raise TypeError(
            f"Example {number} is {short(example)}. Expected a conversation (a list of messages), a text, or a dict "
            "with 'messages', 'prompt' and 'completion', 'text', or 'input_ids' and 'labels'."
        )
    row = Labelled(*([int(value) for value in as_list(values)] for values in given))
    if len(row.ids) != len(row.labels):
        raise ValueError(
            f"Example {number} has {len(row.ids)} input_ids but {len(row.labels)} labels; it needs one per token."
        )
    return row


def require_template(tokenizer, rows: Iterable[Mapping]) -> None:
    """Raise ValueError for conversations and a tokenizer without a chat template, which only another one helps."""
    pair = {"prompt", "completion"}
    talks = (
        "messages" in row or (pair <= row.keys() and not all(isinstance(row[name], str) for name in pair))
        for row in rows
    )
    if not getattr(tokenizer, "chat_template", None) and any(talks):
        raise ValueError(
            "These are conversations, and this tokenizer has no chat template, as is usual for a base model. Pass "
            "tokenizer=, for instance the instruct's: the model then learns its template and its end of turn."
        )


def with_numbers(encode: Callable[[list], list], rows: list, numbers: Iterable[int], what: str) -> list:
    """`encode(rows)`; an error names the number of the first row that cannot be encoded by itself."""
    try:
        return encode(rows)
    # Something is wrong with one of many rows; one by one, they tell which it is.
    except (ValueError, TypeError):
        for number, row in zip(numbers, rows):
            try:
                _require_characters(row)
                encode([row])
            except (ValueError, TypeError) as own:
                kind = TypeError if isinstance(own, TypeError) else ValueError
                raise kind(f"{what} {number} cannot be used ({short(row)}): {own}") from own
        raise


def _require_characters(value: Any) -> None:
    """Raise ValueError for half a character anywhere in a row."""
    if isinstance(value, str):
        require_encodable(value)
    elif isinstance(value, (Mapping, list, tuple)):
        for inside in value.values() if isinstance(value, Mapping) else value:
            _require_characters(inside)


def encode_answers(tokenizer, pairs: Sequence[tuple], what: str = "Example", each: int = 1) -> list[Labelled]:
    """Prompts with an answer each (see `batches.encode_pairs`) as rows whose labels are the answers' tokens.

    An error names the number of its example; `each` example brings so many pairs.
    """
    require_template(tokenizer, [{"prompt": prompt, "completion": answer} for prompt, answer, *_ in pairs])
    numbers = [place // each for place in range(len(pairs))]
    found = with_numbers(lambda some: encode_pairs(tokenizer, some), list(pairs), numbers, what)
    return [answer_row(prompt, answer) for prompt, answer in found]


def answer_row(prompt: list[int], answer: list[int]) -> Labelled:
    """A prompt with an answer to it, of which only the answer has labels."""
    return Labelled(prompt + answer, [IGNORED] * len(prompt) + answer)


# -- rows to batches -------------------------------------------------------------------------------------------


def check_fit(rows: Iterable[Labelled], model, what: str = "Example") -> None:
    """Raise ValueError where a row is longer than the model's context, or has an id or label that is no token of it."""
    config = model.config.get_text_config()
    # Cutting off silently would take the end of turn, and with it what teaches the model to stop.
    context = getattr(config, "max_position_embeddings", None)
    # Asked of the matrix itself, for an id is a row of it.
    vocabulary = model.get_input_embeddings().weight.shape[0]
    for number, row in enumerate(rows):
        if context is not None and len(row.ids) > context:
            raise ValueError(
                f"{what} {number} has {len(row.ids)} tokens, but the model sees at most {context} at once. "
                "Shorten it or leave it out; nothing is cut off silently."
            )
        for name, ids in (("token id", row.ids), ("label", [i for i in row.labels if i != IGNORED])):
            outside = next(
                (i for i in (max(ids, default=0), min(ids, default=0)) if not 0 <= i < vocabulary), None
            )
            if outside is not None:
                raise ValueError(
                    f"{what} {number} holds the {name} {outside}, but the model has the ids 0 to {vocabulary - 1}: the "
                    "row is wrong (a label may also be -100, an id may not), or the tokenizer belongs to another model."
                )


def one_epoch(
    lengths: Sequence[int], rng: Random, tokens_per_step: int, batch_size: int | None, mixed: bool
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


def require_whole(**numbers: int | None) -> None:
    """Raise TypeError or ValueError for what is neither None nor a whole number of 1 or more."""
    for name, value in numbers.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{name} must be a whole number of 1 or more, got {value!r}.")
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}.")


def planned_steps(
    lengths: Sequence[int], seed: int, epochs: float, steps: int | None, tokens_per_step: int,
    batch_size: int | None, mixed: bool = False,
) -> list[list[int]]:  # fmt: skip
    """Return every step's example numbers: `epochs` passes, or exactly `steps` batches where given."""
    require_whole(batch_size=batch_size, steps=steps)
    if not epochs > 0:
        raise ValueError(f"Give epochs above 0, or steps; got epochs={epochs}.")
    # A generator of its own: the order of the examples depends on the seed, and not on the model or the device.
    rng = Random(f"batches/{seed}")
    found = one_epoch(lengths, rng, tokens_per_step, batch_size, mixed)
    wanted = steps if steps is not None else max(1, round(epochs * len(found)))
    # Each further epoch meets the examples in another order.
    while len(found) < wanted:
        found += one_epoch(lengths, rng, tokens_per_step, batch_size, mixed)
    return found[:wanted]


def pad(rows: Sequence[Labelled], device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels `(rows, longest)`, padded on the right.

    No attention mask is needed, and any id will do to pad with (here 0): in a causal model no token looks to its
    right, and padding has no label.
    """
    ids = padded((row.ids for row in rows), 0)
    # -100 keeps what is predicted at the padding out of the loss.
    labels = padded((row.labels for row in rows), IGNORED)
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
    return [part for part in found if part]  # of no sequences: no part


def cut(sizes: Sequence[int], weights: Sequence[int]) -> list[tuple[list[int], float]]:
    """The numbers of a step's rows or pairs in parts (see `in_parts`), each with its share of the step's loss."""
    total = sum(weights)
    # The mean over a step is the sum of its parts' means, each times the part's share.
    return [(some, sum(weights[i] for i in some) / total) for some in in_parts(sizes)]


def pad_id_of(tokenizer) -> int:
    """The id that a tokenizer pads with, or ends texts with; 0 where it knows neither."""
    ids = (getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "eos_token_id", None))
    return next((i for i in ids if i is not None), 0)


# -- replay ----------------------------------------------------------------------------------------------------


def replay_rows(
    tokenizer, texts: Iterable[str], tokens: int, length: int, end: int | None = None
) -> Iterator[torch.Tensor]:
    """Yield ids `(rows, length + 1)` of documents laid end to end, about `tokens` of them a time.

    Where the tokenizer writes no BOS, the token `end` (None: its eos) stands behind each document.
    A list of texts is read again and again; an iterator is read once, and ValueError says when it runs dry.
    """
    if isinstance(texts, str):
        raise TypeError("replay takes several texts (a list, or an iterator of documents), not a single one.")
    end = tokenizer.eos_token_id if end is None else end
    marks = {tokenizer.bos_token_id, tokenizer.eos_token_id, end}
    # So many rows of `length` tokens, each with one more as its last target.
    rows = max(1, tokens // length)
    size = rows * (length + 1)
    # An empty list, read again and again, would never end.
    endless = not isinstance(texts, Iterator) and any(True for _ in texts)
    reader = chain.from_iterable(repeat(texts)) if endless else iter(texts)
    ids: list[int] = []
    read = 0
    while True:
        while len(ids) < size:
            some = list(islice(reader, 64))
            if not some:
                raise ValueError(
                    "The replayed texts ran out before the training did. Give more of them, an endless iterator, or a "
                    "list, which is read again from its beginning."
                )
            # Documents are laid end to end, as in pretraining; a BOS or an end stands between them.
            numbers, read = range(read, read + len(some)), read + len(some)
            for document in with_numbers(
                lambda texts: tokenizer(texts)["input_ids"], some, numbers, "Replayed text"
            ):
                marked = {*document[:1], *document[-1:]} & marks
                ids.extend(document if marked or end is None else [*document, end])
        yield torch.tensor(ids[:size]).view(rows, length + 1)
        ids = ids[size:]
