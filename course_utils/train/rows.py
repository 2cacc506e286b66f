"""Examples as rows of token ids with labels, rows as padded batches, and the log-probabilities of the labels.

Labels are the ids themselves where there is something to learn and -100 elsewhere. They are *not* shifted here:
position t's logits predict the token at t + 1, and `label_logits` does that moving, once, for every training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from random import Random
from typing import NamedTuple

import torch

from ..batches import has_generation_marks
from ..generation import accepts
from ..variant import is_messages

IGNORED = -100
# A larger batch is computed in parts of so many tokens on a CPU: the same gradient, with less memory.
PART_TOKENS = 1024
WINDOW = (
    1024  # rows sorted by length together: similar lengths in a batch, all lengths in every part of the run
)


class Row(NamedTuple):
    """One example: token ids and labels, equally long."""

    ids: list[int]
    labels: list[int]


# -- examples to rows ------------------------------------------------------------------------------------------


def encode(tokenizer, examples: Iterable, loss_on: str = "assistant") -> list[Row]:
    """Turn SFT examples into rows.

    An example is a conversation (a list of messages, or a dict with `messages`), a dict with `prompt` and
    `completion` (both texts, or both lists of messages), a text (learned whole, its eos appended), or a row of
    your own: a dict with `input_ids` and `labels`, or what `batches.loss_mask` returns. `loss_on` is "assistant"
    (what the assistant writes, each end of turn included), "last" (the last such turn only) or "all" (every token
    but the first). Raises ValueError, with the example's number, for what cannot be used, and TypeError for what is
    no example.
    """
    if loss_on not in ("assistant", "last", "all"):
        raise ValueError(f"loss_on must be 'assistant', 'last' or 'all', got {loss_on!r}.")
    examples = list(examples)
    if not examples:
        raise ValueError(
            "There are no examples. Give at least one conversation, text or prompt-completion pair."
        )
    found: dict[int, Row] = {}
    conversations: dict[int, list[Mapping[str, str]]] = {}
    for number, example in enumerate(examples):
        if isinstance(example, Mapping) and "messages" in example:
            example = example["messages"]
        if is_messages(example):
            conversations[number] = [dict(message) for message in example]
        else:
            found[number] = _single_row(tokenizer, example, number, loss_on)
    found |= dict(zip(conversations, _conversation_rows(tokenizer, list(conversations.values()), loss_on)))
    rows = [found[number] for number in range(len(examples))]
    for number, row in enumerate(rows):
        if not any(label != IGNORED for label in row.labels[1:]):
            raise ValueError(
                f"Example {number} has no token to learn: {_short(examples[number])}. It needs an assistant's turn, "
                "or a label other than -100 after its first token."
            )
    return rows


def _single_row(tokenizer, example, number: int, loss_on: str) -> Row:
    if isinstance(example, Mapping) and {"prompt", "completion"} <= example.keys():
        prompt, answer = encode_pair(tokenizer, example["prompt"], example["completion"])
        return Row([*prompt, *answer], ([*prompt] if loss_on == "all" else [IGNORED] * len(prompt)) + answer)
    if isinstance(example, Mapping) and {"input_ids", "labels"} <= example.keys():
        ids, labels = (_int_list(example[key]) for key in ("input_ids", "labels"))
    elif hasattr(example, "ids") and hasattr(example, "labels"):
        ids, labels = _int_list(example.ids), _int_list(example.labels)
    elif isinstance(example, str):
        ids = tokenizer(example)["input_ids"] + _eos(tokenizer)
        labels = list(ids)
    else:
        raise TypeError(
            f"Example {number} is {_short(example)}. Expected a conversation (a list of messages), a text, or a dict "
            "with 'messages', 'prompt' and 'completion', or 'input_ids' and 'labels'."
        )
    if len(ids) != len(labels):
        raise ValueError(
            f"Example {number} has {len(ids)} input_ids but {len(labels)} labels; it needs one a token."
        )
    return Row(ids, labels)


def _conversation_rows(tokenizer, conversations: list, loss_on: str) -> Iterator[Row]:
    """The same masks as `batches.loss_mask`, for thousands of conversations at once."""
    if not conversations:
        return
    require_template(tokenizer)
    marked = loss_on != "all" and has_generation_marks(tokenizer.get_chat_template())
    encoded = tokenizer.apply_chat_template(
        conversations, tokenize=True, return_dict=True, return_assistant_tokens_mask=marked
    )
    for number, ids in enumerate(encoded["input_ids"]):
        if loss_on == "all":
            mask = [1] * len(ids)
        elif marked:
            mask = encoded["assistant_masks"][number]
        else:
            mask = _mask_by_turns(tokenizer, conversations[number], ids)
        if loss_on == "last" and any(mask):
            last = max(i for i, learn in enumerate(mask) if learn)
            first = max((i for i in range(last) if not mask[i]), default=-1)
            mask = [learn if i > first else 0 for i, learn in enumerate(mask)]
        yield Row(ids, [i if learn else IGNORED for i, learn in zip(ids, mask, strict=True)])


def _mask_by_turns(tokenizer, messages: list[Mapping], ids: list[int]) -> list[int]:
    """Where the assistant speaks, for a template without generation marks: what each of its turns adds."""
    mask = [0] * len(ids)
    for number, message in enumerate(messages):
        if message["role"] == "assistant" and number:
            prompt, answer = encode_pair(tokenizer, messages[:number], [message])
            end = len(prompt) + len(answer)
            if ids[:end] != prompt + answer:
                raise ValueError(
                    "This chat template neither marks what the assistant writes ({% generation %}) nor renders earlier "
                    "turns as it renders the last, so the tokens to learn cannot be told. Use a template with these "
                    "marks (templates.FAMILIES has some), or give rows of input_ids and labels."
                )
            mask[len(prompt) : end] = [1] * len(answer)
    return mask


def encode_pair(tokenizer, prompt, completion) -> tuple[list[int], list[int]]:
    """Return the ids of a prompt and of the completion after it; see `encode_pairs`."""
    return encode_pairs(tokenizer, [(prompt, completion)])[0]


def encode_pairs(tokenizer, pairs: Sequence[tuple]) -> list[tuple[list[int], list[int]]]:
    """Return (prompt ids, completion ids) of each prompt and completion, thousands at a time.

    Messages are rendered by the chat template; the completion ends with its end-of-turn token (template text after
    it, such as a line break, is left out). Texts are tokenized one by one, and the completion gets the eos. A text
    beside messages becomes a message.
    """
    found: dict[int, tuple[list[int], list[int]]] = {}
    chats: dict[int, tuple[list, list]] = {}
    for number, (prompt, completion) in enumerate(pairs):
        if isinstance(prompt, str) and isinstance(completion, str):
            answer = tokenizer(completion, add_special_tokens=False)["input_ids"]
            found[number] = tokenizer(prompt)["input_ids"], answer + _eos(tokenizer)
            continue
        prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        completion = (
            [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
        )
        if not is_messages(prompt) or not is_messages(completion):
            raise TypeError(
                f"A prompt and its completion are texts or lists of messages, got {_short((prompt, completion))}."
            )
        prompt = [dict(message) for message in prompt]
        chats[number] = prompt, prompt + [dict(message) for message in completion]
    if chats:
        require_template(tokenizer)
        options = {"tokenize": True, "return_dict": True}
        prompts, wholes = ([both[side] for both in chats.values()] for side in (0, 1))
        prompts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, **options)["input_ids"]
        wholes = tokenizer.apply_chat_template(wholes, **options)["input_ids"]
        for number, ids, whole in zip(chats, prompts, wholes, strict=True):
            if whole[: len(ids)] != ids:
                whole = ids + _tokens_after(tokenizer, *chats[number])
            found[number] = list(ids), _completion(tokenizer, list(ids), list(whole))
    return [found[number] for number in range(len(pairs))]


def _tokens_after(tokenizer, prompt: list[dict], whole: list[dict]) -> list[int]:
    """The completion's tokens where its first characters merge with the prompt's last: a newline, say."""
    before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template(whole, tokenize=False)
    if not text.startswith(before):
        raise ValueError(
            "The rendered conversation does not begin with its rendered prompt, so the completion's tokens cannot be told "
            "apart: this chat template rewrites earlier turns. Give texts rendered by yourself instead of messages."
        )
    return tokenizer(text[len(before) :], add_special_tokens=False)["input_ids"]


def _completion(tokenizer, prompt: list[int], whole: list[int]) -> list[int]:
    answer = whole[len(prompt) :]
    while len(answer) > 1 and answer[-1] != tokenizer.eos_token_id and tokenizer.eos_token_id in answer:
        answer.pop()
    return answer


def require_template(tokenizer) -> None:
    """Raise ValueError for a tokenizer without a chat template."""
    if getattr(tokenizer, "chat_template", None) is None:
        raise ValueError(
            "This tokenizer has no chat template, as is usual for a base model, so conversations cannot be rendered. "
            "Pass tokenizer= of an instruct model with the same vocabulary, or set tokenizer.chat_template."
        )


def _eos(tokenizer) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _int_list(values) -> list[int]:
    return [int(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]


def _short(value, width: int = 70) -> str:
    shown = repr(value)
    return shown if len(shown) <= width else f"{shown[:width]}…"


# -- rows to batches -------------------------------------------------------------------------------------------


def check_fit(rows: Iterable[Row], model, what: str = "Example") -> None:
    """Raise ValueError where a row is longer than the model's context or holds a token that it does not have."""
    config = model.config.get_text_config()
    context = getattr(config, "max_position_embeddings", None)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    for number, row in enumerate(rows):
        if context is not None and len(row.ids) > context:
            raise ValueError(
                f"{what} {number} has {len(row.ids)} tokens, but the model sees at most {context} at once. Shorten it or "
                "leave it out; nothing is cut off silently."
            )
        if row.ids and max(row.ids) >= vocabulary:
            raise ValueError(
                f"{what} {number} holds token id {max(row.ids)}, but the model has only {vocabulary} tokens: this tokenizer "
                "belongs to another model."
            )


def plan(
    lengths: Sequence[int], rng: Random, tokens_per_step: int = 2048, batch_size: int | None = None
) -> list[list[int]]:
    """Return one epoch's batches as lists of example numbers: similar lengths together, batches in random order.

    A batch holds `batch_size` examples or, where that is None, as many as fit `tokens_per_step` with their padding
    (at least one).
    """
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    window = WINDOW if batch_size is None else max(1, WINDOW // batch_size) * batch_size
    for at in range(0, len(order), window):
        batch: list[int] = []
        for number in sorted(order[at : at + window], key=lambda i: lengths[i]):
            full = (
                len(batch) == batch_size
                if batch_size
                else lengths[number] * (len(batch) + 1) > tokens_per_step
            )
            if batch and full:
                batches.append(batch)
                batch = []
            batch.append(number)
        batches.append(batch)
    rng.shuffle(batches)
    return batches


def planned_steps(
    lengths: Sequence[int],
    seed: int,
    epochs: float,
    steps: int | None,
    tokens_per_step: int,
    batch_size: int | None,
) -> list[list[int]]:
    """Return every step's example numbers: `epochs` passes, or exactly `steps` batches where given."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}.")
    if (steps is not None and steps < 1) or not epochs > 0:
        raise ValueError(
            f"steps must be 1 or more and epochs above 0, got steps={steps} and epochs={epochs}."
        )
    rng = Random(f"batches/{seed}")
    found = plan(lengths, rng, tokens_per_step, batch_size)
    wanted = steps if steps is not None else max(1, round(epochs * len(found)))
    while len(found) < wanted:
        found += plan(lengths, rng, tokens_per_step, batch_size)
    return found[:wanted]


def pad(rows: Sequence[Row], pad_id: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels `(rows, longest)`, padded on the right.

    No attention mask is needed: in a causal model no token looks to its right, and padding has no label.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [pad_id] * (longest - len(row.ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows])
    return ids.to(device), labels.to(device)


def in_parts(lengths: Sequence[int], tokens: int = PART_TOKENS) -> list[list[int]]:
    """The numbers of sequences of these lengths, shortest first, in parts of at most `tokens` padded tokens.

    A sequence that is longer than that is a part of its own.
    """
    found: list[list[int]] = [[]]
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

    Only the columns in which some row has a label go through the output matrix, which is a good part of the work
    of a small model.
    """
    targets = labels[:, 1:]
    columns = (targets != IGNORED).any(0).nonzero()[:, 0]
    if len(columns) == 0:
        raise ValueError(
            "The batch has no token to learn: every label is -100. Check the loss mask of its examples."
        )
    options = {"logits_to_keep": columns} if accepts(model, "logits_to_keep") else {}
    logits = model(input_ids=ids[:, :-1], use_cache=False, **options).logits
    if logits.shape[1] != len(columns):
        logits = logits[:, columns]
    targets = targets[:, columns]
    learned = targets != IGNORED
    return logits[learned].float(), targets[learned], learned.nonzero()[:, 0]


def sum_by_row(values: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Sum per-label `values (n,)` into one number a row, `(count,)`."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rows, values)


def target_logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Natural-log probabilities `(n,)` of the targets under logits `(n, vocab)`."""
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
    rows = max(1, tokens // length)
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
            ids.extend(chain.from_iterable(tokenizer(some)["input_ids"]))
        batch, ids = ids[: rows * (length + 1)], ids[rows * (length + 1) :]
        if skip:
            skip -= 1
            continue
        yield torch.tensor(batch).view(rows, length + 1)
