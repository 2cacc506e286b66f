"""Where the time of a training and of many completions goes: `python benchmarks/where_time_goes.py`.

Each is run once under torch's profiler, on one thread and in float32, on the same work as in `train_vs_trl.py` and
`budgets.py`. What counts is the time of each operation without that of the operations inside it; what no
operation accounts for is Python's. The rate of the matrix products stands beside the best that this thread reaches on
one large product, and their time beside TRL's for the whole of the same work: faster than its matrix products, which
any way of training needs, no training can be. Prints a table; `report.py` keeps it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

PRODUCTS, ATTENTION, LOSS, UPDATE, MOVING, SMALL, PYTHON = (
    "matrix products", "attention", "softmax and loss", "the optimizer's update", "copying and joining",
    "norms, activations, sums", "Python and the rest",
)  # fmt: skip
# The beginnings of the operations' names, as the profiler calls them; what fits none is small.
GROUPS = {
    PRODUCTS: ("mm", "addmm", "bmm", "baddbmm", "linear", "mkldnn_linear", "matmul"),
    ATTENTION: ("_scaled_dot_product", "scaled_dot_product"),
    LOSS: ("_log_softmax", "_softmax", "nll_loss", "cross_entropy", "logsumexp", "log_softmax", "softmax"),
    UPDATE: ("_fused_adamw", "_foreach", "linalg_vector_norm"),
    MOVING: (
        "cat", "copy_", "clone", "contiguous", "index", "gather", "scatter", "_to_copy", "masked_select", "embedding",
        "nonzero", "slice_backward", "select_backward", "stack", "zero_", "fill_", "empty",
    ),
}  # fmt: skip
SQUARE, TRIES = 1024, 9  # of the one large product
TURNS = 5


class Part(NamedTuple):
    """One group of operations of one piece of work: its share of the time."""

    work: str
    group: str
    share: float


class Floor(NamedTuple):
    """What bounds a piece of work: billions of operations a second in its products, the best that this thread
    reaches, its seconds without the profiler, and TRL's (None where there is nothing to compare)."""

    work: str
    rate: float
    best: float
    seconds: float
    theirs: float | None


def group_of(name: str) -> str:
    """The group of an operation; the name may begin with a namespace, as in "aten::mm"."""
    plain = name.rpartition("::")[2]
    return next((group for group, begins in GROUPS.items() if plain.startswith(begins)), SMALL)


def best_rate() -> float:
    """Billions of floating-point operations a second in one large product of float32 numbers, at best."""
    import torch

    a, b = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)
    taken = []
    for _ in range(TRIES):
        began = time.process_time()
        a @ b
        taken.append(time.process_time() - began)
    return 2 * SQUARE**3 / min(taken) / 1e9


def profiled(work: Callable[[], object]) -> tuple[dict[str, float], float, float]:
    """({group: share of the time}, seconds without the profiler, billions of operations a second in the products).

    The profiler makes everything slower, the small operations most; so the products' share is rather too small.
    """
    from torch.profiler import ProfilerActivity, profile

    seconds = seconds_of(work)
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        began = time.process_time()
        work()
        whole = time.process_time() - began
    groups = dict.fromkeys((*GROUPS, SMALL), 0.0)
    operations = 0.0
    for event in seen.key_averages():
        if event.key.startswith(("aten::", "torch::")):
            groups[group_of(event.key)] += event.self_cpu_time_total / 1e6
            operations += event.flops if group_of(event.key) == PRODUCTS else 0
    rate = operations / groups[PRODUCTS] / 1e9
    groups[PYTHON] = max(0.0, whole - sum(groups.values()))
    total = sum(groups.values())
    return {group: taken / total for group, taken in groups.items()}, seconds, rate


def seconds_of(work: Callable[[], object]) -> float:
    """The median processor time of several calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(TURNS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def works() -> list[tuple[str, Callable[[], object], Callable[[], object] | None]]:
    """(name, the course's way, TRL's way or None) of each piece of work."""
    import train_vs_trl as trl

    from course_utils import load_variant

    found = []
    tokenizer = load_variant("pebble-sft").tokenizer
    for theirs, start, data_of, lines in trl.KINDS.values():
        what, _, ours, settings = lines[0]
        variant, data = load_variant(start), data_of()
        found.append(
            (
                what,
                lambda ours=ours, given=(variant, tokenizer, data), more=settings: ours(*given, **more),
                lambda theirs=theirs, given=(variant, tokenizer, data): theirs(*given),
            )
        )
    base = load_variant("pebble-base")
    prompts = [[(7 * i + 11 * n) % 4000 + 50 for i in range(8 + n % 16)] for n in range(256)]

    def complete() -> None:
        base.complete_batch(prompts, 32, progress=False)

    return [*found, ("complete_batch, 256 prompts × 32 tokens", complete, None)]


def measure() -> list[list]:
    """The rows of all parts and floors, as report.py keeps them."""
    import datasets
    import torch
    import transformers

    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    rows, best = [], best_rate()
    for name, ours, theirs in works():
        groups, seconds, rate = profiled(ours)
        trl = seconds_of(theirs) if theirs else None
        rows += [list(Part(name, group, taken)) for group, taken in groups.items()]
        rows.append(list(Floor(name, rate, best, seconds, trl)))
    return rows


def table(rows: list[list]) -> str:
    """The rows as a Markdown table: a column for each piece of work."""
    parts = [Part(*row) for row in rows if len(row) == len(Part._fields)]
    floors = [Floor(*row) for row in rows if len(row) == len(Floor._fields)]
    share = {(part.work, part.group): part.share for part in parts}
    told = {
        group: [f"{share[floor.work, group]:.0%}" for floor in floors]
        for group in dict.fromkeys(part.group for part in parts)
    }
    told["processor seconds"] = [f"{floor.seconds:.2f}" for floor in floors]
    told["rate of its products, of the best that the thread reaches"] = [
        f"{floor.rate / floor.best:.0%} of {floor.best:.0f} GFLOP/s" for floor in floors
    ]
    compared = [(floor.seconds, floor.theirs, share[floor.work, PRODUCTS]) for floor in floors]
    told["ratio to TRL"] = [f"{ours / theirs:.2f}" if theirs else "" for ours, theirs, _ in compared]
    told["its products alone, of TRL's time"] = [
        f"{products * ours / theirs:.2f}" if theirs else "" for ours, theirs, products in compared
    ]
    lines = ["| share of the time | " + " | ".join(floor.work for floor in floors) + " |"]
    lines.append("|---|" + "---|" * len(floors))
    return "\n".join(lines + [f"| {what} | " + " | ".join(cells) + " |" for what, cells in told.items()])


def main() -> int:
    """Print the table."""
    print(table(measure()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
