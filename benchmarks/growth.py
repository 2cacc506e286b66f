"""How times grow with model size, prompt length and the number of examples: `python benchmarks/growth.py`.

Helpers of the course beside what one would write without them or use instead, in turns, on one thread; seconds are CPU
time, which other programs hardly change. (A training is one run for each number of examples.) Models of other sizes
than Pebble's have random weights: time does not depend on them. Prints a table; `report.py` keeps it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# hidden size, layers, heads, heads of keys and values, vocabulary: the second is Pebble's, the last SmolLM2-135M's
SHAPES = (
    (64, 2, 2, 2, 4_096),
    (256, 4, 4, 2, 4_096),
    (384, 8, 6, 6, 4_096),
    (576, 12, 9, 3, 16_384),
    (576, 30, 9, 3, 49_152),
)
LENGTHS = (16, 64, 256, 500)
PROMPTS = (4, 16, 64, 256)
EXAMPLES = (30, 100, 300)
NEW_TOKENS = 16
GENERATE = ("generate calls", "one padded generate")
COLORS = {"next_token_probs": "#0072B2", "complete_batch": "#D55E00", "train.sft": "#009E73"}


class Point(NamedTuple):
    """One measurement: CPU seconds of the helper and of the plain way, at one value of what grows."""

    what: str
    grows: str
    at: float
    ours: float
    plain: float
    beside: str


def cpu_seconds(*functions: Callable[[], object], repeats: int) -> list[float]:
    """The median CPU seconds of each function, called in turns after one call that is not counted."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for function, kept in zip(functions, times, strict=True):
            began = time.process_time()
            function()
            kept.append(time.process_time() - began)
    return [statistics.median(kept) for kept in times]


def random_variant(hidden: int, layers: int, heads: int, kv_heads: int, vocabulary: int):
    """A Llama of that shape with random weights, and Pebble's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from course_utils import load_variant
    from course_utils.variant import Variant

    torch.manual_seed(0)
    pebble = load_variant("pebble-base")
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=1024,
        tie_word_embeddings=True, pad_token_id=pebble.tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = pebble.tokenizer.eos_token_id  # both ways end at the same token
    return Variant(f"{hidden} × {layers}", model, pebble.tokenizer)


def distribution(variant, length: int, repeats: int = 20) -> list[float]:
    """CPU seconds of `next_token_probs` and of a bare forward pass for a prompt of `length` tokens."""
    import torch

    ids = [(7 * i) % 4000 + 50 for i in range(length)]
    tensor = torch.tensor([ids])

    def bare() -> None:
        with torch.inference_mode():
            variant.model(input_ids=tensor)

    return cpu_seconds(lambda: variant.next_token_probs(ids), bare, repeats=repeats)


def completing(variant, prompts: list[list[int]], repeats: int = 1) -> list[float]:
    """CPU seconds of `complete_batch`, of one `generate` call per prompt, and of one on the whole padded batch."""
    import torch

    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
    settings["pad_token_id"] = variant.tokenizer.pad_token_id

    longest = max(len(ids) for ids in prompts)

    def generate(part: list[list[int]], width: int) -> None:
        inputs = torch.tensor([[settings["pad_token_id"]] * (width - len(ids)) + ids for ids in part])
        seen = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in part])
        with torch.inference_mode():
            variant.model.generate(inputs, attention_mask=seen, **settings)

    return cpu_seconds(
        lambda: variant.complete_batch(prompts, NEW_TOKENS, progress=False),
        lambda: [generate([ids], len(ids)) for ids in prompts],
        lambda: generate(prompts, longest),
        repeats=repeats,
    )


def questions(number: int) -> list[list[int]]:
    """Prompts of 8 to 23 tokens, as ids."""
    return [[(7 * i + 11 * n) % 4000 + 50 for i in range(8 + n % 16)] for n in range(number)]


def training(variant, tokenizer, number: int) -> list[float]:
    """CPU seconds of one epoch of `train.sft` and of TRL's SFTTrainer, one run each."""
    from train_vs_trl import our_sft, their_sft, timed

    from pebble_lm.world.conversations import conversations

    rows = conversations(1, number)
    return [timed(way, variant, tokenizer, rows)[0] for way in (our_sft, their_sft)]


def measure() -> list[Point]:
    """All points. A few minutes."""
    import torch
    from transformers.utils import logging

    from course_utils import load_variant

    os.environ["COURSE_THREADS"] = "1"
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    points = []

    def add(what: str, grows: str, at: float, times: list[float], *ways: str) -> None:
        ours, *plain = times
        points.extend(Point(what, grows, at, ours, *pair) for pair in zip(plain, ways, strict=True))

    for shape in SHAPES:
        variant = random_variant(*shape)
        size = ("million parameters", variant.num_parameters / 1e6)
        add("next_token_probs, 32 tokens", *size, distribution(variant, 32), "forward pass")
        add("complete_batch, 16 prompts", *size, completing(variant, questions(16)), *GENERATE)
    base, tokenizer = load_variant("pebble-base"), load_variant("pebble-sft").tokenizer
    for length in LENGTHS:
        times = distribution(base, length, repeats=60)
        add("next_token_probs, Pebble", "tokens of prompt", length, times, "forward pass")
    for number in PROMPTS:
        add("complete_batch, Pebble", "prompts", number, completing(base, questions(number)), *GENERATE)
    training(base, tokenizer, 20)
    for number in EXAMPLES:
        times = training(base, tokenizer, number)
        add("train.sft, one epoch, Pebble", "examples", number, times, "TRL's SFTTrainer")
    return points


def shown(number: float) -> str:
    """A number with three digits, and no power of ten for large ones."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def table(points: list[Point]) -> str:
    """The points as a Markdown table."""
    rows = ["| what | grows | at | CPU seconds | instead | ratio |", "|---|---|---|---|---|---|"]
    for point in points:
        plain, ratio = f"{shown(point.plain)} ({point.beside})", f"{point.ours / point.plain:.2f}"
        rows.append(
            f"| {point.what} | {point.grows} | {shown(point.at)} | {shown(point.ours)} | {plain} | {ratio} |"
        )
    return "\n".join(rows)


def plot(points: list[Point], file: Path) -> None:
    """One panel for each thing that grows: the helpers' lines, and the other ways' dashed, on logarithmic axes."""
    from matplotlib.figure import Figure

    grows = list(dict.fromkeys(point.grows for point in points))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(grows), sharey=True), grows, strict=True):
        kinds = list(dict.fromkeys(point.what for point in points if point.grows == name))
        for what in kinds:
            name_of, color = what.split(",")[0], COLORS[what.split(",")[0]]
            chosen = [point for point in points if point.what == what]
            for number, way in enumerate(dict.fromkeys(point.beside for point in chosen)):
                line = [point for point in chosen if point.beside == way]
                at = [point.at for point in line]
                if number == 0:
                    axes.loglog(at, [point.ours for point in line], "o-", color=color, label=name_of)
                plain = [point.plain for point in line]
                axes.loglog(at, plain, ("o--", "s:")[number], color=color, alpha=0.5, label=way)
        axes.set(xlabel=name, ylabel="CPU seconds" if name == grows[0] else "")
        marks = sorted({point.at for point in points if point.grows == name})
        axes.set_xticks(marks, [shown(mark) for mark in marks], fontsize=7)
        axes.minorticks_off()
        axes.legend(fontsize=7, frameon=False)
        axes.grid(alpha=0.2)
        axes.set_ylim(top=60 * max(max(point.plain, point.ours) for point in points))  # room for the legend
    figure.savefig(file, dpi=90)


def main() -> int:
    """Print the table; with --plot, draw the figure as well."""
    parser = argparse.ArgumentParser(description="How times grow with size, length and number.")
    parser.add_argument("--plot", type=Path, help="a PNG file to write")
    options = parser.parse_args()
    points = measure()
    print(table(points))
    if options.plot:
        plot(points, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
