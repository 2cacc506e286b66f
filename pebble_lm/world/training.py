"""How pebble-sft was fine-tuned: the recipe's figures that lessons quote."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SftRun:
    """So many steps on batches of about so many tokens of conversation for each process, with rows of 256 tokens of
    pretraining text beside them; the learning rates (Muon's, AdamW's) fall to 0."""

    steps: int
    tokens: int
    replay_rows: int
    muon_lr: float
    adamw_lr: float


SFT = SftRun(steps=36_000, tokens=8_192, replay_rows=16, muon_lr=0.01, adamw_lr=1e-3)
SFT_EXAMPLES = 3_837_856  # counted while it ran: batches hold so many tokens, not so many conversations
