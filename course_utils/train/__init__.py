"""Training in plain PyTorch, short enough to read: `sft`, `dpo`, `reward` and `rl`.

Each takes a Variant or any causal language model of transformers, trains a copy of it, and returns `Trained` with
the new `variant` and its `history`. `loop.py` holds the loop they share and its options.
"""

from .live import plot_history
from .loop import Trained
from .policy import rl
from .preference import RewardModel, dpo, load_reward, preference_accuracy, reward
from .supervised import sft

__all__ = [
    "RewardModel", "Trained", "dpo", "load_reward", "plot_history", "preference_accuracy", "reward", "rl", "sft",
]  # fmt: skip
