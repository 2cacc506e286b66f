"""How pebble-sft was fine-tuned: the recipe's figures that lessons quote."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wave:
    """A stretch of fine-tuning: so many conversations, in batches of about so many tokens for each process, with rows
    of 256 tokens of pretraining text beside them; `seed` is added to the recipe's."""

    examples: int
    tokens: int
    replay_rows: int
    muon_lr: float
    adamw_lr: float
    seed: int = 0


# The first on a GPU, whose steps are cheap; the second on two CPU cores (8,192 tokens a step, 4,096 each).
FIRST_WAVE = Wave(examples=320_000, tokens=8_192, replay_rows=32, muon_lr=0.008, adamw_lr=8e-4)
SECOND_WAVE = Wave(examples=220_000, tokens=4_096, replay_rows=8, muon_lr=0.006, adamw_lr=6e-4, seed=2)
THIRD_WAVE = Wave(examples=260_000, tokens=4_096, replay_rows=8, muon_lr=0.006, adamw_lr=6e-4, seed=3)
SFT_TOKENS_A_STEP, REPLAY_ROWS = 8_192, FIRST_WAVE.replay_rows
SFT_EXAMPLES = FIRST_WAVE.examples + SECOND_WAVE.examples + THIRD_WAVE.examples
