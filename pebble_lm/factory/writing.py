"""Documents and conversations as token ids, written ahead by other processes.

Nothing here needs torch: a process that only writes starts in a moment.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random
from typing import Any

from tokenizers import Tokenizer

from ..world import corpus
from ..world.conversations import conversations

Encoded = tuple[list[int], list[int]]  # ids, loss mask
Batch = tuple[int, array, bytes]  # length of a row, ids and loss mask of all rows
# To which conversations are padded, so that few shapes occur.
LENGTHS = (32, 64, 96, 128, 160, 192, 256, 384, 512)
PAD = 3


def document_ids(tokenizer: Tokenizer, seed: int, tokens: int, mix: str) -> array:
    """`tokens` token ids of fresh documents, each opened by `<|endoftext|>`."""
    ids = array("H")
    documents = corpus.documents(seed, mix)
    while len(ids) < tokens:
        texts = [next(documents)[1] for _ in range(512)]
        for encoding in tokenizer.encode_batch(texts):
            ids.extend(encoding.ids)
    return ids[:tokens]


def encode_conversation(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> Encoded:
    """(token ids, loss mask) of a conversation in ChatML: loss on the assistant's words and its end of turn."""
    ids, mask = [0], [0]
    for message in messages:
        header = tokenizer.encode(f"<|im_start|>{message['role']}\n", add_special_tokens=False).ids
        content = tokenizer.encode(f"{message['content']}<|im_end|>", add_special_tokens=False).ids
        newline = tokenizer.encode("\n", add_special_tokens=False).ids
        ids += header + content + newline
        mask += [0] * len(header) + [int(message["role"] == "assistant")] * len(content) + [0] * len(newline)
    return ids, mask


def conversation_ids(tokenizer: Tokenizer, seed: int, count: int, longest: int) -> list[Encoded]:
    """`count` conversations of a seed, without those of more than `longest` tokens."""
    encoded = (encode_conversation(tokenizer, messages) for messages in conversations(seed, count))
    return [(ids, mask) for ids, mask in encoded if len(ids) <= longest]


def conversation_batches(tokenizer: Tokenizer, seed: int, count: int, tokens: int) -> list[Batch]:
    """`count` conversations in batches of about so many tokens, similar lengths together, in random order.

    What does not fill a batch is left out, so that each length has one shape.
    """
    waiting: dict[int, list[Encoded]] = {}
    batches: list[Batch] = []
    for item in conversation_ids(tokenizer, seed, count, LENGTHS[-1]):
        length = next(length for length in LENGTHS if length >= len(item[0]))
        group = waiting.setdefault(length, [])
        group.append(item)
        if len(group) == max(1, tokens // length):
            batches.append(_padded(waiting.pop(length), length))
    Random(seed).shuffle(batches)
    return batches


def _padded(group: list[Encoded], length: int) -> Batch:
    ids, mask = array("H"), bytearray()
    for row, learned in group:
        blank = length - len(row)
        ids.extend(row + [PAD] * blank)
        mask.extend(learned + [0] * blank)
    return length, ids, bytes(mask)


# -- in other processes -----------------------------------------------------------------------------------------

_tokenizer: Tokenizer | None = None


def _start(tokenizer: str) -> None:
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = Tokenizer.from_str(tokenizer)


def _documents(job: tuple) -> array:
    return document_ids(_tokenizer, *job)


def _conversations(job: tuple) -> list[Batch]:
    return conversation_batches(_tokenizer, *job)


WRITERS = {"documents": (document_ids, _documents), "conversations": (conversation_batches, _conversations)}


def written(
    what: str, tokenizer: Tokenizer, jobs: Iterable[tuple], workers: int = 0
) -> Iterator[tuple[tuple, Any]]:
    """(job, what was written) for each job in turn; a job is the arguments that follow the tokenizer.

    `workers` processes write ahead; with 0 each job is done here when it is wanted. The outcome is the same.
    """
    here, there = WRITERS[what]
    if workers == 0:
        for job in jobs:
            yield job, here(tokenizer, *job)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(tokenizer.to_str(),)
    )
    try:
        ahead: deque = deque()
        for job in jobs:
            ahead.append((job, pool.submit(there, job)))
            if len(ahead) >= 4 * workers:
                job, future = ahead.popleft()
                yield job, future.result()
        while ahead:
            job, future = ahead.popleft()
            yield job, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
