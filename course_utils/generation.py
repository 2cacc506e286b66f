"""The generation loop: several prompts at a time, left-padded, with a KV cache. Knows tensors, not text.

Hugging Face's `generate` does the same and much more; this loop is short enough to read, keeps the
log-probability of every chosen token without storing all logits, drops rows that are done, and gives each row
its own seed.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from .sampling import accepts, cache_name, processed_probs, require_numbers


@dataclass
class Draft:
    """One prompt on its way through the loop; the loop fills the last three fields."""

    prompt_ids: list[int]
    rng: random.Random | None = None  # None: greedy
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: str | None = None  # "eos", "stop_string" or "length" once the row is done


def generate_rows(
    model,
    rows: list[Draft],
    *,
    max_new_tokens: int,
    eos_token_ids: list[int],
    pad_token_id: int = 0,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    hit_stop_string: Callable[[Draft], bool] | None = None,
) -> Iterator[None]:
    """Extend every row in place, one token a row and step, and yield after each step.

    A row ends at a token of `eos_token_ids` (which it keeps), when `hit_stop_string(row)` says so, or after
    `max_new_tokens`. The padding id never matters: it is masked.
    """
    active = list(rows)
    batch = _Batch(model, [row.prompt_ids for row in rows], max_new_tokens, pad_token_id)
    for step in range(max_new_tokens):
        logits = batch.next_logits()  # (active rows, vocab), float32
        chosen, logprobs = _choose(logits, active, temperature, top_k, top_p)
        for row, token_id, logprob in zip(active, chosen.tolist(), logprobs.tolist(), strict=True):
            if row.stop_reason is not None:
                continue  # done, but not yet worth cutting out of the cache
            row.token_ids.append(token_id)
            row.logprobs.append(logprob)
            if token_id in eos_token_ids:
                row.stop_reason = "eos"
            elif hit_stop_string is not None and hit_stop_string(row):
                row.stop_reason = "stop_string"
            elif step + 1 == max_new_tokens:
                row.stop_reason = "length"
        yield
        # Places in the batch, which is smaller than the list of rows once some were cut out.
        running = [i for i, row in enumerate(active) if row.stop_reason is None]
        if not running:
            return
        batch.append(chosen)
        # Cutting rows out copies the cache once, about the price of one step's growth: do it when a quarter is idle.
        if len(running) <= 0.75 * len(active) and batch.select(running):
            active = [active[i] for i in running]


def _choose(logits, rows: list[Draft], temperature: float, top_k: int, top_p: float):
    """Pick one token for each row; return ids and their log-probabilities at temperature 1, both `(rows,)`."""
    require_numbers(logits)
    if temperature == 0 and logits.device.type == "cpu":
        # The first of the best, as argmax finds it; for a batch NumPy takes a twentieth of torch's time.
        chosen = torch.from_numpy(logits.numpy().argmax(-1))
    elif temperature == 0:
        chosen = logits.argmax(-1)
    else:
        probs = processed_probs(logits, temperature, top_k, top_p)
        if probs.device.type == "mps":
            probs = probs.cpu()  # no float64 there
        draws = [row.rng.random() if row.stop_reason is None else 0.0 for row in rows]
        # In float64: with 150,000 tokens, float32 would lose the last of them to rounding.
        cumulative = probs.double().cumsum(-1)  # (rows, vocab), rising to the total
        total = cumulative[:, -1:].contiguous()
        # A draw u in [0, 1) picks the first token whose cumulative probability exceeds u: inverse sampling.
        target = torch.tensor(draws, dtype=torch.float64, device=probs.device)[:, None] * total
        chosen = torch.searchsorted(cumulative, target, right=True)
        last_possible = torch.searchsorted(cumulative, total)  # guards against rounding at the upper end
        chosen = torch.minimum(chosen, last_possible)[:, 0].to(logits.device)
    # log softmax of the chosen token alone: its logit less the log of the sum of all exponentials.
    logprobs = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
    return chosen, logprobs


class _Batch:
    """Left-padded token ids with their cache; `next_logits` runs the model on what it has not seen yet."""

    def __init__(self, model, prompts: list[list[int]], max_new_tokens: int, pad_token_id: int):
        self.model = model
        lengths = torch.tensor([len(ids) for ids in prompts])
        self.width = int(lengths.max())
        # On the left, so that every row's newest token stands in the last column.
        padded = [[pad_token_id] * (self.width - len(ids)) + list(ids) for ids in prompts]
        self.new_ids = torch.tensor(padded, device=model.device)
        self.cache = None
        self.mask = self.positions = None
        if int(lengths.min()) < self.width:  # equal lengths need neither mask nor positions, and run faster
            padding = self.width - lengths
            columns = torch.arange(self.width + max_new_tokens)
            self.mask = (columns >= padding[:, None]).long().to(model.device)
            # Each row counts its positions from its own first token, as it would alone.
            self.positions = (columns - padding[:, None]).clamp(min=0).to(model.device)

    @torch.inference_mode()
    def next_logits(self) -> torch.Tensor:
        name = cache_name(self.model)
        options = {"use_cache": True, name: self.cache} if name else {"use_cache": False}
        if accepts(self.model, "logits_to_keep"):
            options["logits_to_keep"] = 1
        if self.mask is not None:
            options["attention_mask"] = self.mask[:, : self.width]
            if accepts(self.model, "position_ids"):
                options["position_ids"] = self.positions[:, self.width - self.new_ids.shape[1] : self.width]
        # The whole prompt at first, one token a row from then on; the mask still speaks of all columns.
        output = self.model(input_ids=self.new_ids, **options)
        self.cache = getattr(output, name) if name else None
        return output.logits[:, -1].float()  # (rows, vocab)

    def append(self, token_ids: torch.Tensor) -> None:
        newest = token_ids[:, None]  # (rows, 1): a cache knows all that came before
        self.new_ids = newest if self.cache is not None else torch.cat([self.new_ids, newest], 1)
        self.width += 1

    @torch.inference_mode()
    def select(self, keep: list[int]) -> bool:
        """Keep only these rows; False when this model's cache cannot do it."""
        if not hasattr(self.cache, "batch_select_indices"):
            return False
        index = torch.tensor(keep, device=self.new_ids.device)
        self.cache.batch_select_indices(index)
        self.new_ids = self.new_ids[index]
        if self.mask is not None:
            self.mask, self.positions = self.mask[index], self.positions[index]
        return True
