"""`train.sft` beside TRL's SFTTrainer: seconds for one epoch of the same examples, and their ratio.

`python benchmarks/train_vs_trl.py [--examples 600] [--model pebble-base]` runs both in this process, in turns, on
the same model and examples, and prints the seconds and the ratio (budget: 0.35). TRL runs at its own settings, with
loss on the assistant's tokens; ours with its defaults. A second line holds the steps equal too: the same number of
examples a step on both sides. Needs trl (a test dependency). The ratio carries over to other computers; seconds do
not.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time

BUDGET = 0.35


def ours(variant, tokenizer, examples, **settings) -> tuple[float, int]:
    """Seconds and steps of `train.sft`."""
    from course_utils import train

    began = time.perf_counter()
    done = train.sft(variant, examples, tokenizer=tokenizer, progress=False, **settings)
    return time.perf_counter() - began, int(done.history["step"].max())


def theirs(variant, tokenizer, examples) -> tuple[float, int]:
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
        return time.perf_counter() - began, trainer.state.global_step


def main() -> int:
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

    import datasets
    import transformers
    import trl

    from course_utils import load_variant
    from course_utils.pebble.conversations import conversations

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    variant, tokenizer = load_variant(args.model), load_variant(args.tokenizer).tokenizer
    examples = conversations(1, args.examples)
    ours(variant, tokenizer, examples[:20], precision="auto")  # precision measured, caches warm
    found: dict[str, list[tuple[float, int]]] = {
        "train.sft": [],
        "train.sft, 8 a step": [],
        "SFTTrainer, 8 a step": [],
    }
    for _ in range(args.repeats):
        found["SFTTrainer, 8 a step"].append(theirs(variant, tokenizer, examples))
        found["train.sft"].append(ours(variant, tokenizer, examples))
        found["train.sft, 8 a step"].append(ours(variant, tokenizer, examples, batch_size=8))
    best = {name: min(runs) for name, runs in found.items()}
    reference = best["SFTTrainer, 8 a step"][0]
    print(
        f"{args.examples} examples, one epoch, {variant!r}; trl {trl.__version__}, transformers {transformers.__version__}"
    )
    for name, (seconds, steps) in best.items():
        print(f"{name:22} {seconds:8.1f} s {steps:5} steps  ratio {seconds / reference:.2f}")
    kept = best["train.sft"][0] <= BUDGET * reference
    print(f"budget {BUDGET}: {'pass' if kept else 'OVER'}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
