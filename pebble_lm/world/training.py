"""How many examples of the world the fine-tuned model has seen: the recipe's figures that lessons quote."""

SFT_TOKENS_A_STEP, REPLAY_ROWS = 8192, 32
SFT_EXAMPLES = 1_500_000
