"""`train.sft` beside TRL's SFTTrainer: seconds for one epoch of the same examples, and their ratio.

`python benchmarks/train_vs_trl.py [--examples 600] [--model pebble-base]` runs both in this process, in turns, on
the same model and examples, and prints the seconds and the ratio (budget: 0.35). TRL runs at its own settings, with
loss on the assistant's tokens; ours with its defaults. A second line holds the steps equal too: the same number of
examples per step on both sides. Needs trl (a test dependency). The ratio carries over to other computers; seconds do
not.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from typing import NamedTuple

BUDGET = 0.35
OURS, OURS_8, TRL = "train.sft", "train.sft, 8 a step", "SFTTrainer, 8 a step"


class Run(NamedTuple):
    """One epoch: its seconds and its optimizer steps."""

    seconds: float
    steps: int


def ours(variant, tokenizer, examples, **settings) -> Run:
    """Seconds and steps of `train.sft`."""
    from course_utils import train

    began = time.perf_counter()
    done = train.sft(variant, examples, tokenizer=tokenizer, progress=False, **settings)
    return Run(time.perf_counter() - began, int(done.history["step"].max()))


def theirs(variant, tokenizer, examples) -> Run:
    """Seconds and steps of TRL's SFTTrainer, preparing the dataset included, as it is in ours."""
    import datasets
    import trl

    model = copy.deepcopy(variant.model)
    with tempfile.TemporaryDirectory() as folder:
        args = trl.SFTConfig(
            output_dir=folder, num_train_epochs=1, assistant_only_loss=True, learning_rate=5e-4,
            use_cpu=variant.device.type == "cpu", bf16=False, gradient_checkpointing=False, report_to="none",
            save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        began = time.perf_counter()
        data = datasets.Dataset.from_list([{"messages": messages} for messages in examples])
        trainer = trl.SFTTrainer(model, args=args, train_dataset=data, processing_class=tokenizer)
        trainer.train()
        return Run(time.perf_counter() - began, trainer.state.global_step)


def compare(
    examples: int = 600, model: str = "pebble-base", tokenizer: str = "pebble-sft", repeats: int = 2
) -> dict[str, Run]:
    """The shortest run of each kind, of `repeats` taken in turns; the keys are OURS, OURS_8 and TRL."""
    import datasets
    import transformers

    from course_utils import load_variant
    from pebble_lm.world.conversations import conversations

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    variant, marked = load_variant(model), load_variant(tokenizer).tokenizer
    rows = conversations(1, examples)
    ours(variant, marked, rows[:20], precision="auto")  # precision measured, caches warm
    runs: dict[str, list[Run]] = {OURS: [], OURS_8: [], TRL: []}
    for _ in range(repeats):
        runs[TRL].append(theirs(variant, marked, rows))
        runs[OURS].append(ours(variant, marked, rows))
        runs[OURS_8].append(ours(variant, marked, rows, batch_size=8))
    return {name: min(found) for name, found in runs.items()}


def main() -> int:
    """Print the seconds and ratios; 1 when the ratio is over its budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=600)
    parser.add_argument("--model", default="pebble-base")
    parser.add_argument(
        "--tokenizer", default="pebble-sft", help="a variant whose chat template marks the assistant"
    )
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    best = compare(args.examples, args.model, args.tokenizer, args.repeats)

    import transformers
    import trl

    versions = f"trl {trl.__version__}, transformers {transformers.__version__}"
    print(f"{args.examples} examples, one epoch, {args.model}; {versions}")
    for name, run in best.items():
        print(
            f"{name:22} {run.seconds:8.1f} s {run.steps:5} steps  ratio {run.seconds / best[TRL].seconds:.2f}"
        )
    kept = best[OURS].seconds <= BUDGET * best[TRL].seconds
    print(f"budget {BUDGET}: {'pass' if kept else 'OVER'}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
