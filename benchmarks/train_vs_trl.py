"""The course's trainings beside TRL's trainers, in turns: processor time for the same data, and their ratio.

`python benchmarks/train_vs_trl.py [sft dpo rl] [--turns 5]`. Both train Pebble in this process on one thread, in
float32 and without gradient checkpointing, whatever each prepares included. `train.sft` runs at its own settings (an
epoch of fewer, larger steps) and, in a line of its own, with as many examples a step as SFTTrainer; `train.dpo`
likewise; `train.rl` samples as many answers to as many prompts a step as GRPOTrainer, with the same penalty. Needs trl
(a test dependency). Ratios carry over to other computers; seconds do not.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

EXAMPLES, PAIRS, A_STEP = 80, 32, 8
RL_STEPS, PROMPTS, GROUP, NEW_TOKENS = 1, 8, 8, 48
TURNS = 5


class Ratio(NamedTuple):
    """One line: processor seconds of the course and of TRL in each turn, and the optimizer steps of both."""

    what: str
    budget: float
    ours: list[float]
    theirs: list[float]
    steps: tuple[int, int]

    @property
    def median(self) -> float:
        """The median over the turns of the ratio within a turn."""
        return statistics.median(self.each)

    @property
    def each(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def beside(self) -> str:
        ours, theirs = (statistics.median(times) for times in (self.ours, self.theirs))
        return (
            f"{min(self.each):.2f} to {max(self.each):.2f} in {len(self.each)} turns; {ours:.1f} s, {self.steps[0]} "
            f"steps; TRL {theirs:.1f} s, {self.steps[1]} steps (processor time)"
        )


def talks() -> list[list[dict]]:
    """Conversations as lists of messages."""
    from pebble_lm.world.conversations import conversations

    return conversations(1, EXAMPLES)


def preferences() -> list[dict]:
    """Pairs of the kinds that lesson 07 trains on."""
    from pebble_lm.world.preferences import preferences

    return [{key: pair[key] for key in ("prompt", "chosen", "rejected")} for pair in preferences(1, PAIRS)]


def questions() -> list[list[dict]]:
    """Prompts to sample answers to: conversations without their answers."""
    return [talk[:1] for talk in talks()[:PROMPTS]]


def brief(text: str) -> float:
    """A reward that both sides compute alike: about a hundred characters are best."""
    return -abs(len(text) - 100) / 100


# -- the course's way: each returns the steps it made -----------------------------------------------------------


def our_sft(variant, tokenizer, data, **settings) -> int:
    from course_utils import train

    return steps_of(train.sft(variant, data, tokenizer=tokenizer, progress=False, **settings))


def our_dpo(variant, tokenizer, data, **settings) -> int:
    from course_utils import train

    return steps_of(train.dpo(variant, data, progress=False, **settings))


def our_rl(variant, tokenizer, data, **settings) -> int:
    from course_utils import train

    return steps_of(
        train.rl(
            variant, data, lambda prompt, text: brief(text), steps=RL_STEPS, prompts_per_step=PROMPTS,
            group_size=GROUP, max_new_tokens=NEW_TOKENS, progress=False,
        )
    )  # fmt: skip


def steps_of(trained) -> int:
    return int(trained.history["step"].max())


# -- TRL's way ----------------------------------------------------------------------------------------------------


def settings_of(folder: str, batch: int = A_STEP, **more) -> dict:
    return dict(
        output_dir=folder, per_device_train_batch_size=batch, use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no", **more,
    )  # fmt: skip


def their_sft(variant, tokenizer, data) -> int:
    import datasets
    import trl

    rows = datasets.Dataset.from_list([{"messages": messages} for messages in data])
    with tempfile.TemporaryDirectory() as folder:
        args = trl.SFTConfig(
            **settings_of(folder), num_train_epochs=1, assistant_only_loss=True, learning_rate=5e-4
        )
        return steps_by(trl.SFTTrainer, variant, args, rows, tokenizer)


def their_dpo(variant, tokenizer, data) -> int:
    import datasets
    import trl

    with tempfile.TemporaryDirectory() as folder:
        args = trl.DPOConfig(**settings_of(folder), num_train_epochs=1, learning_rate=1e-5)
        return steps_by(trl.DPOTrainer, variant, args, datasets.Dataset.from_list(data), tokenizer)


def their_rl(variant, tokenizer, data) -> int:
    import datasets
    import trl

    with tempfile.TemporaryDirectory() as folder:
        args = trl.GRPOConfig(
            **settings_of(folder, PROMPTS * GROUP), max_steps=RL_STEPS, num_generations=GROUP, beta=0.05,
            max_completion_length=NEW_TOKENS, learning_rate=1e-4,
        )  # fmt: skip
        rows = datasets.Dataset.from_list([{"prompt": prompt} for prompt in data])

        def reward(completions, **_):
            return [brief(completion[0]["content"]) for completion in completions]

        return steps_by(trl.GRPOTrainer, variant, args, rows, tokenizer, reward_funcs=reward)


def steps_by(trainer, variant, args, rows, tokenizer, **more) -> int:
    made = trainer(
        copy.deepcopy(variant.model), args=args, train_dataset=rows, processing_class=tokenizer, **more
    )
    made.train()
    return made.state.global_step


# -- both, in turns -----------------------------------------------------------------------------------------------

# {what: (TRL's way, the model to begin with, the data, [(a line's name, its budget, our way, our settings)])}
KINDS = {
    "sft": (
        their_sft, "pebble-base", talks,
        [
            (f"train.sft, equal steps ({A_STEP} examples each)", 0.25, our_sft, {"batch_size": A_STEP}),
            (f"train.sft, one epoch of {EXAMPLES} examples", 0.20, our_sft, {}),
        ],
    ),
    "dpo": (
        their_dpo, "pebble-sft", preferences,
        [
            (f"train.dpo, equal steps ({A_STEP} pairs each)", 0.25, our_dpo, {"batch_size": A_STEP}),
            (f"train.dpo, one epoch of {PAIRS} pairs", 0.20, our_dpo, {}),
        ],
    ),
    "rl": (
        their_rl, "pebble-sft", questions,
        [(f"train.rl, {RL_STEPS} steps of {PROMPTS} prompts × {GROUP} answers", 0.25, our_rl, {})],
    ),
}  # fmt: skip


def compare(kind: str, turns: int = TURNS) -> list[Ratio]:
    """The lines of one kind of training."""
    import datasets
    import transformers

    from course_utils import load_variant

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    theirs, start, data_of, lines = KINDS[kind]
    variant, tokenizer, data = load_variant(start), load_variant("pebble-sft").tokenizer, data_of()
    found = [Ratio(what, budget, [], [], (0, 0)) for what, budget, _, _ in lines]
    for turn in range(turns + 1):
        some = data if turn else data[: 2 * A_STEP]  # the first turn warms up, and is not counted
        reference, their_steps = timed(theirs, variant, tokenizer, some)
        for at, (_, _, ours, settings) in enumerate(lines):
            own, steps = timed(ours, variant, tokenizer, some, **settings)
            if turn:
                found[at].ours.append(own)
                found[at].theirs.append(reference)
                found[at] = found[at]._replace(steps=(steps, their_steps))
    return found


def timed(function: Callable[..., int], *arguments, **settings) -> tuple[float, int]:
    began = time.process_time()
    steps = function(*arguments, **settings)
    return time.process_time() - began, steps


def main() -> int:
    """Print the ratios; 1 when one is over its budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--turns", type=int, default=TURNS)
    args = parser.parse_args()
    kept = True
    for kind in args.kinds:
        for line in compare(kind, args.turns):
            verdict = "pass" if line.median <= line.budget else "OVER"
            print(
                f"{line.what:<45}{line.median:.2f} (budget {line.budget}: {verdict}) {line.beside}",
                flush=True,
            )
            kept = kept and verdict == "pass"
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
