"""How many examples of the world the fine-tuned model has seen: the recipe's figures that lessons quote."""

from __future__ import annotations

from dataclasses import dataclass

SFT_TOKENS_A_STEP, REPLAY_ROWS = 2048, 8


@dataclass(frozen=True)
class Wave:
    """A stretch of fine-tuning: so many fresh examples, the learning rate falling from a share of its peak."""

    examples: int
    peak: float
    wordings: str  # "first", "all" or "further", see conversations.py


SFT_WAVES = (Wave(30_000, 1.0, "first"), Wave(20_000, 0.5, "all"), Wave(20_000, 0.5, "further"))
SFT_EXAMPLES = sum(wave.examples for wave in SFT_WAVES)
