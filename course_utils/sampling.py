"""From logits to the probabilities that are sampled from, and what makes either impossible. Knows tensors, not text."""

import inspect
from functools import lru_cache

import torch

SMALLEST_TEMPERATURE = 1e-30  # below, float32 cannot divide by it, and greedy is what it means


def processed_probs(
    logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """Turn logits `(…, vocab)` into the probabilities that are sampled from, float32, same shape.

    The order is the library's: divide by `temperature`, keep the `top_k` best (0 = all), then keep the
    smallest set whose probability reaches `top_p` (nucleus sampling, Holtzman et al. 2019, arXiv 1904.09751).
    Temperature 0 is the limit: all mass on the best token. Raises ValueError for settings outside their
    range, and NotFiniteError for logits that are no numbers.
    """
    check_sampling(temperature, top_k, top_p)
    logits = logits.float()
    require_numbers(logits)
    if temperature < SMALLEST_TEMPERATURE:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    # Softmax does not change when all logits move by the same amount. With the best one at 0, a small temperature sends
    # the others to -inf, which is right, instead of the best one to +inf, which would give NaN.
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature  # (…, vocab), at most 0
    if 0 < top_k < logits.shape[-1]:
        kth_best = scaled.topk(top_k).values[..., -1:]
        scaled = scaled.masked_fill(scaled < kth_best, float("-inf"))
    probs = scaled.softmax(-1)  # (…, vocab), sums to 1; 0 where top_k masked
    if top_p < 1:
        ordered, order = probs.sort(descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # mass of the better tokens; 0 for the best, which always stays
        ordered = ordered.masked_fill(before >= top_p, 0.0)
        # Back from the order of probability to the order of the vocabulary.
        probs = torch.zeros_like(probs).scatter(-1, order, ordered)
        probs = probs / probs.sum(-1, keepdim=True)
    return probs


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
    """Raise ValueError when a sampling setting is outside its range."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy) or more, and finite, got {temperature}.")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1 (1 keeps every token), got {top_p}.")
    if not (top_k >= 0 and top_k == int(top_k)):
        raise ValueError(f"top_k must be 0 (keeps every token) or a whole number above, got {top_k}.")


class NotFiniteError(FloatingPointError, ValueError):
    """The model's logits are NaN or infinite, so there are no probabilities to speak of."""


def require_numbers(logits: torch.Tensor) -> None:
    """Raise NotFiniteError unless each row of logits `(…, vocab)` has a best token with a finite logit.

    Single logits may be -inf (a token that is ruled out); NaN anywhere, +inf, or nothing but -inf is refused.
    """
    best = logits.amax(-1)  # NaN wins against every number, so the best tells of all
    if not bool(best.isfinite().all()):
        bad = best[~best.isfinite()].flatten()[0].item()
        raise NotFiniteError(
            f"The model's logits are no numbers (the best of them is {bad}). Its weights may be broken, by a training "
            "with too high a learning rate, say, or its float16 overflows: load it again, with dtype=torch.float32."
        )


def accepts(model, argument: str) -> bool:
    """Whether the model's forward takes this argument by name."""
    return argument in _forward_arguments(type(model))


def cache_name(model) -> str | None:
    """What the model's forward and its output call the cache; None for a recurrent or hybrid model."""
    # With padding, or several tokens at a time, such a model's state is handed on wrongly; `cache`: since 5.24.
    name = "cache" if accepts(model, "cache") else "past_key_values"
    return None if getattr(model, "_is_stateful", False) else name


@lru_cache
def _forward_arguments(model_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(model_class.forward).parameters)
