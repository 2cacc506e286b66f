"""One call of `complete` or `complete_batch`: its rows, its batches, stop strings, and how ids become text.

Between `variant.py`, which a learner calls, and the loop in `generation.py`, which knows no text. Loaded with the first
text that a model writes.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

from .completion import Completion
from .generation import Draft, generate_rows
from .sampling import cache_name, check_sampling

if TYPE_CHECKING:
    from .variant import Prompt, Variant

CPU_BATCH_TOKENS = 8192  # prompt tokens of a batch on a CPU; more are no faster there, and take memory


@dataclass(frozen=True)
class Job:
    """The rows of one call, how they are written, and how their ids become text."""

    variant: "Variant"
    rows: list[Draft]
    stops: tuple[str, ...]
    sampling: dict[str, Any]

    @classmethod
    def begin(
        cls,
        variant: "Variant",
        prompts: "Sequence[Prompt]",
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
    ) -> "Job":
        """The job of writing after these prompts; ValueError for a setting outside its range, or a prompt too long."""
        if not isinstance(max_new_tokens, Integral) or max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be a whole number, 1 or more, got {max_new_tokens!r}.")
        check_sampling(temperature, top_k, top_p)
        if temperature > 0 and seed is None:
            # Drawn from torch, so that torch.manual_seed still makes a notebook repeatable.
            seed = int(torch.randint(2**31, ()))
        rows = []
        for number, prompt in enumerate(prompts):
            ids = variant.encode(prompt)
            variant.check_length(len(ids), max_new_tokens, number if len(prompts) > 1 else None)
            # A seed per prompt and not one for the batch: the same prompt gives the same text in any company.
            rows.append(Draft(ids, random.Random(seed + number) if temperature > 0 else None))
        sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return cls(variant, rows, _stop_strings(stop), sampling | {"max_new_tokens": max_new_tokens})

    def steps(self, rows: list[Draft] | None = None) -> Iterator[None]:
        """Write on after all rows or these, one token each a step."""
        return generate_rows(
            self.variant.model,
            self.rows if rows is None else rows,
            eos_token_ids=self.variant.eos_token_ids,
            hit_stop_string=self.hit_stop_string if self.stops else None,
            **self.sampling,
        )

    def batches(self, batch_size: int) -> list[list[Draft]]:
        """The rows in batches, shortest prompts first."""
        # A GPU has the memory and gains from large batches; a CPU has neither.
        most = CPU_BATCH_TOKENS if self.variant.device.type == "cpu" else math.inf
        found: list[list[Draft]] = []
        # Shortest first: neighbours need little padding.
        for row in sorted(self.rows, key=lambda row: len(row.prompt_ids)):
            size, width = (len(found[-1]), len(found[-1][0].prompt_ids)) if found else (batch_size, 0)
            # The newest is the longest, and all are padded to it, but for a recurrent model: it would read the padding.
            apart = cache_name(self.variant.model) is None and len(row.prompt_ids) != width
            if size == batch_size or (size + 1) * len(row.prompt_ids) > most or apart:
                found.append([])
            found[-1].append(row)
        return found

    def _ids(self, row: Draft) -> list[int]:
        ids = row.token_ids
        # The token that ended the row is no text, even where it is no special token.
        return ids[:-1] if row.stop_reason == "eos" else ids

    def _full_text(self, row: Draft) -> str:
        return self.variant.decode(self._ids(row), False)

    def hit_stop_string(self, row: Draft) -> bool:
        # Special tokens count here although they are not shown: "<|im_end|>" is a stop string people ask for.
        text = self._full_text(row)
        return any(stop in text for stop in self.stops)

    def text(self, row: Draft) -> str:
        """The completion's text up to the first stop string."""
        full = self._full_text(row)
        return self._shown(
            row, full, min([len(full), *(full.find(stop) for stop in self.stops if stop in full)])
        )

    def certain_text(self, row: Draft) -> str:
        """The part of an unfinished text that later tokens cannot change."""
        full = self._full_text(row)
        return self._shown(row, full, len(_certain(full, self.stops)))

    def _shown(self, row: Draft, full: str, end: int) -> str:
        """The first `end` characters of the full text, without the special tokens among them."""
        ids = self._ids(row)
        if self.variant.decode(ids, True) == full:
            return full[:end]
        count, before = len(ids), full
        # Back to the last token that ends before the cut; what is left of the next is text.
        while len(before) > end:
            count -= 1
            before = self.variant.decode(ids[:count], False)
        return self.variant.decode(ids[:count], True) + full[len(before) : end]

    def completion(self, row: Draft, prompt: "Prompt") -> Completion:
        """What was written after `prompt`, which is told as the text that the model saw."""
        seen = prompt if isinstance(prompt, str) else self.variant.decode(row.prompt_ids, False)
        return Completion(self.text(row), row.token_ids, row.logprobs, row.stop_reason, seen)


def _stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    stops = () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(one, str) and one for one in stops):
        raise ValueError(f"stop must be a non-empty text or a list of them, got {stop!r}.")
    return stops


def _certain(text: str, stops: Sequence[str]) -> str:
    """Return the part of an unfinished text that later tokens cannot change."""
    text = text.rstrip("\N{REPLACEMENT CHARACTER}")  # the first bytes of a character still to be completed
    held = 0
    for stop in stops:
        # The longest end of the text with which a stop string could begin.
        for size in range(min(len(stop) - 1, len(text)), held, -1):
            if text.endswith(stop[:size]):
                held = size
                break
    return text[: len(text) - held]


def progress_bar(total: int, wanted: bool, only_when_slow: bool):
    from tqdm import tqdm  # the text bar: it leaves no widget state behind in a notebook

    delay = 2 if only_when_slow else 0
    return tqdm(total=total, desc="completing", unit="prompt", disable=not wanted, delay=delay, leave=False)
