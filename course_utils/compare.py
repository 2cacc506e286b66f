"""Both variants on one prompt: their next-token probabilities in one table. Numbers in, DataFrames out."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from .plots.next_token import draw_next_token
from .variant import Prompt, is_messages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pairs import Pair

BasePrompt = str | Callable[[str], str]


def next_token_table(
    pair: "Pair", prompt: Prompt, k: int = 10, base_prompt: BasePrompt | None = None
) -> pd.DataFrame:
    """Return both variants' next-token probabilities for the union of their `k` best tokens.

    Columns: token, token_id, prob_base, prob_instruct, rank_base, rank_instruct; the row order is by the
    larger of the two probabilities. A text reaches each variant through its own tokenizer. Messages are
    rendered by the instruct's chat template, and both variants see those same tokens, so that only the
    weights differ; `base_prompt` gives the base something else: a text, or a function of the user's text that
    returns one (such as `qa_prompt`). Raises VocabularyMismatch (a ValueError) when the variants number their
    tokens differently.
    """
    pair.require_same_vocabulary()  # a row of the table is a token id, which must mean the same in both
    for_instruct = pair.instruct.encode(prompt)
    if base_prompt is not None:
        for_base = pair.base.encode(base_text(base_prompt, prompt))
    else:
        for_base = pair.base.encode(prompt) if isinstance(prompt, str) else for_instruct
    logits = {
        "base": pair.base.next_token_logits(for_base),  # (vocab,)
        "instruct": pair.instruct.next_token_logits(for_instruct),  # (vocab,)
    }
    probs = {name: row.softmax(-1).cpu() for name, row in logits.items()}  # (vocab,), sums to 1
    token_ids = best_tokens(probs, k)
    columns = {"token": [pair.instruct.token_text(i) for i in token_ids], "token_id": token_ids}
    # Ranks are counted over the whole vocabulary, not among the tokens shown.
    columns |= {f"prob_{name}": row[token_ids].tolist() for name, row in probs.items()}
    columns |= {f"rank_{name}": [rank_of(row, i) for i in token_ids] for name, row in probs.items()}
    return pd.DataFrame(columns)


def best_tokens(probs: Mapping[str, torch.Tensor], k: int) -> list[int]:
    """The ids of the `k` best tokens of each variant (its probabilities, `(vocab,)`), the likeliest of either first."""
    # One variant's logits may be padded further than the other's; only tokens that both can write are compared.
    shared = min(len(row) for row in probs.values())
    best = [row[:shared].topk(min(k, shared)).indices.tolist() for row in probs.values()]
    # The union, so that a token that only one variant likes is shown with the other's small probability.
    union = {i for ids in best for i in ids}
    return sorted(union, key=lambda i: (-max(float(row[i]) for row in probs.values()), i))


def plot_next_token(pair: "Pair", prompt: Prompt, k: int = 10, **settings: Any) -> "Figure":
    """Draw both variants' probabilities of the next token on one axis: the `k` likeliest tokens of each.

    Further `settings` reach `next_token_table`, which asks the pair; `plots.draw_next_token` draws its table.
    """
    return draw_next_token(next_token_table(pair, prompt, k, **settings), prompt)


def base_text(base_prompt: BasePrompt, prompt: Prompt) -> str:
    """What the base reads instead of `prompt`: a fixed text, or one made of the user's last text."""
    return base_prompt(_user_text(prompt)) if callable(base_prompt) else base_prompt


def _user_text(prompt: Prompt) -> str:
    return prompt[-1]["content"] if is_messages(prompt) else prompt


def rank_of(scores: torch.Tensor, token_id: int) -> int:
    """The token's place from 1 on in `scores` `(vocab,)`; tokens with the same score share the better rank."""
    return int((scores > scores[token_id]).sum()) + 1
