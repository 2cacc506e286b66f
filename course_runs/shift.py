"""Token shift: an answer of the instruct, and where the base would have ranked each of its tokens."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch

from course_utils.compare import BasePrompt, base_text, rank_of
from course_utils.variant import Prompt, Variant, as_messages, is_messages

if TYPE_CHECKING:
    from course_utils.pairs import Pair

CATEGORIES = ("unshifted", "marginal", "shifted")


def token_shift(
    pair: "Pair",
    prompt: Prompt | Sequence[Prompt],
    max_new_tokens: int = 64,
    base_prompt: BasePrompt | None = None,
    system: str | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Compare the instruct's greedy answer with what the base would have written, token by token.

    Token distribution shift (Lin et al. 2023, arXiv 2312.01552): the instruct answers greedily; at each
    position the base sees the same prefix, and the answer's token is *unshifted* if it is the base's first
    choice too, *marginal* at rank 2 or 3, *shifted* beyond.

    `prompt` is a user's question or a conversation, or a list of such. The instruct sees it rendered by its
    chat template (as plain text if it has none). The base sees those very same tokens, template included, and
    the answer so far. `base_prompt` gives the base a beginning of its own: a text, or a function of the
    user's text that returns one (such as `qa_prompt`); the answer so far follows it all the same.

    Columns: position (from 0, within the answer), token, token_id, rank_base, prob_base, prob_instruct, kl
    (KL(instruct‖base) of the two whole distributions, nats), category; a list of prompts adds a first column,
    prompt (the user's last text). Tokens the base lacks have no rank and probability 0. Raises
    VocabularyMismatch (a ValueError) when the variants number their tokens differently.
    """
    pair.require_same_vocabulary()
    single = isinstance(prompt, str) or is_messages(prompt)
    prompts = [prompt] if single else list(prompt)
    if callable(base_prompt) or base_prompt is None or single:
        prefixes = [_instruct_ids(pair.instruct, one, system) for one in prompts]
    else:  # one fixed text cannot be the beginning of several different questions
        raise ValueError(
            "With several prompts, base_prompt must be a function of the user's text, not one fixed text."
        )
    # Greedy, so that "the base's first choice" and "what the instruct wrote" are the same kind of choice.
    answers = pair.instruct.complete_batch(prefixes, max_new_tokens, batch_size=batch_size, progress=progress)
    tables = []
    for one, prefix, answer in zip(prompts, prefixes, answers, strict=True):
        # Without base_prompt the weights are all that differs: both read the same ids.
        base_prefix = prefix if base_prompt is None else pair.base.encode(base_text(base_prompt, one))
        table = _score_answer(pair, prefix, base_prefix, answer.token_ids)
        if not single:
            table.insert(0, "prompt", one if isinstance(one, str) else one[-1]["content"])
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _instruct_ids(instruct: Variant, prompt: Prompt, system: str | None) -> list[int]:
    if isinstance(prompt, str) and not instruct.has_chat_template:
        return instruct.encode(prompt)
    return instruct.encode(as_messages(prompt, system))


def _score_answer(pair: "Pair", prefix: list[int], base_prefix: list[int], answer: list[int]) -> pd.DataFrame:
    """Score one answer under both variants, each after its own prefix; see `token_shift` for the columns."""
    # Both are iterators: a long answer's (positions, vocab) is never in memory as a whole.
    of_base = _answer_logprobs(pair.base, base_prefix, answer)
    of_instruct = _answer_logprobs(pair.instruct, prefix, answer)
    rows = []
    for position, (token_id, base, instruct) in enumerate(zip(answer, of_base, of_instruct, strict=True)):
        # The instruct may have tokens that the base lacks, such as a mark for its turns.
        rank = rank_of(base, token_id) if token_id < len(base) else None
        rows.append(
            {
                "position": position,
                "token": pair.instruct.token_text(token_id),
                "token_id": token_id,
                "rank_base": rank,
                "prob_base": float(base[token_id].exp()) if rank else 0.0,
                "prob_instruct": float(instruct[token_id].exp()),
                "kl": _kl(instruct, base),  # of the whole distributions, not of the token written
                "category": _category(rank),
            }
        )
    return pd.DataFrame(rows).astype({"rank_base": "Int64"})


def _answer_logprobs(variant: Variant, prefix: list[int], answer: list[int]) -> Iterator[torch.Tensor]:
    """Yield log-probabilities `(vocab,)` on the CPU, one row for each position of the answer."""
    # Position i predicts token i + 1: the prefix's last position predicts the answer's first token, and the
    # answer's last token predicts nothing that was written.
    first = len(prefix) - 1
    for start, logits in variant.iter_logits([*prefix, *answer[:-1]]):  # (some positions, vocab) at a time
        yield from logits[max(0, first - start) :].log_softmax(-1).cpu()


def _kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p‖q) in nats from log-probabilities; where one vocabulary is longer, over the tokens both have."""
    # Cut to what both have, each is made to sum to 1 again: a divergence needs two distributions.
    shared = min(len(p), len(q))
    p, q = (row[:shared].log_softmax(-1) if len(row) > shared else row for row in (p, q))
    return max(0.0, float((p.exp() * (p - q)).sum()))  # rounding can make a divergence of 0 negative


def _category(rank: int | None) -> str:
    if rank == 1:
        return "unshifted"
    return "marginal" if rank is not None and rank <= 3 else "shifted"
