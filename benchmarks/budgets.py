"""What the course promises about speed and memory, measured: `python benchmarks/budgets.py`.

Each row is measured beside what one would write without the course's helpers, in the same run on the same
machine, in turns, and is held to its budget: the median of the turns' ratios, with their range. Ratios carry over from
one computer to another; seconds less so. Each measurement has a process of its own, on one torch thread, which is the
fastest for models of this size; where nothing but that thread works, times are processor times.

Exit code 0 when every budget is kept, 1 when one is exceeded or could not be measured. What is known to be over its
budget stands in MISSED with the reason, and tests/test_benchmarks.py holds the page to that list.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "The capital of France is"
TURNS = 5

TRAIN = "lessons 05, 07 and 09 train before the learner's eyes, which is 375 of its 647 seconds"
LIBRARIES = (
    "libraries and two models are 490 MB of it, what the lesson keeps 65 to 150; the rest is there while"
    " a batch is written, and some of it freed memory that the allocator keeps (giving each freed megabyte back at once"
    " brought 616 and 583 MB, and cost lesson 02 a third more time)"
)
TRAINING = (
    "libraries and two models are 490 MB of it; a training takes 200 to 300 more for a while: 60 for the copy, its"
    " gradients and Adam's averages, the rest for a step's activations, its whole logits, and freed memory that the"
    " allocator keeps (75)"
)
LIVE = (
    "data, runs and figures keep 270 MB beside the 490 of libraries and two models; a training takes 200 more for a"
    " while"
)
ASKING = (
    "libraries and two models are 490 MB of it, what the lesson keeps 100; keys and values of a batch of long prompts"
    " take 150 more for a while"
)
PRODUCTS = (
    "matrix products, which both sides need, are 40 to 50 % of the time, at 70 to 80 % of the thread's best rate: they"
    " alone are .13 to .16 of TRL's time (see Where the time goes); the rest is spread over small operations"
)
GROWING = (
    "matrix products are two fifths of the time, copying and joining a sixth (see Where the time goes); larger batches"
    " would take more memory"
)
POLICY = "its own policy-gradient step adds 190 MB for whole distributions, the runs of train.rl another 170"

# {a line that is over its budget: what stands in the way}
MISSED: dict[str, str] = {
    "complete_batch, 256 prompts × 32 tokens": GROWING,
    "complete_batch, 256 prompts × 32 tokens, by pipeline": GROWING,
    "train.sft, equal steps (8 examples each)": PRODUCTS,
    "train.sft, one epoch of 80 examples": PRODUCTS,
    "train.rl, 1 steps of 8 prompts × 8 answers": PRODUCTS,
    "train.dpo, equal steps (8 pairs each)": PRODUCTS,
    "train.dpo, one epoch of 32 pairs": PRODUCTS,
    "lesson 02, its kernel at most": LIBRARIES,
    "lesson 03, its kernel at most": LIBRARIES,
    "lesson 04, its kernel at most": TRAINING,
    "lesson 05, its kernel at most": LIVE,
    "lesson 06, its kernel at most": ASKING,
    "lesson 07, its kernel at most": POLICY,
    "lesson 08, its kernel at most": TRAINING,
    "lesson 09, its kernel at most": TRAINING,
    "all lessons, one after another": TRAIN,
}

# {a line that is promised: why results.json has none}
UNMEASURED: dict[str, str] = {}


class Row(NamedTuple):
    """One line of the table. `measured` and `budget` are in `unit`; `beside` says what it was compared with."""

    what: str
    measured: float
    budget: float
    unit: str
    beside: str = ""

    @property
    def kept(self) -> bool:
        return self.measured <= self.budget


def ratio(what: str, budget: float, times: list[list[float]], plain: str, scale: float = 1) -> Row:
    """A row from the seconds of ours and of the plain way in each turn; the plain way did one `scale`th of the work."""
    each = [ours / (scale * theirs) for ours, theirs in zip(*times, strict=True)]
    middle = [statistics.median(column) for column in times]
    beside = (
        f"{plain}; {min(each):.2g} to {max(each):.2g} in {len(each)} turns; {shown(middle[0])} and "
        f"{shown(scale * middle[1])}"
    )
    return Row(what, statistics.median(each), budget, "×", beside)


def shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


# -- importing ------------------------------------------------------------------------------------------------

IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds_to_import(modules: str, repeats: int) -> float:
    """The least of several fresh processes: import time only ever has noise added to it."""
    return min(float(python("-c", IMPORT.format(modules))) for _ in range(repeats))


def importing(options: argparse.Namespace) -> list[Row]:
    """Time of `import course_utils`, and the heavy modules that it loads (there should be none)."""
    ours, theirs = seconds_to_import("course_utils", 5), seconds_to_import("torch, transformers", 2)
    heavy = ["torch", "transformers", "matplotlib", "pandas", "ipywidgets"]
    loaded = python(
        "-c", f"import sys, course_utils; print(*(m for m in {heavy} if m in sys.modules))"
    ).split()
    return [
        Row("import course_utils", ours, 0.3, "s", f"{ours / theirs:.2%} of import torch, transformers"),
        Row("heavy modules loaded by it", len(loaded), 0, "", ", ".join(loaded) or "none"),
    ]


# -- a learner's kernel ---------------------------------------------------------------------------------------

FIRST_PLOT = f"""
from course_utils import load_pair, plot_next_token
pair = load_pair("pebble")
plot_next_token(pair, {PROMPT!r})
"""
FIRST_PLOT_BY_HAND = f"""
import matplotlib.pyplot as plt, pandas as pd, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from course_utils.pairs import PAIRS
for folder in (PAIRS["pebble"].base, PAIRS["pebble"].instruct):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        probs = model(**tokenizer({PROMPT!r}, return_tensors="pt")).logits[0, -1].float().softmax(-1)
    best = probs.topk(10)
    plt.barh([tokenizer.decode([i]) for i in best.indices.tolist()], best.values)
plt.show()
"""
LESSON_WORK = """
from course_utils import token_shift
prompts = [f"What is {i}+{i}?" for i in range(64)]
pair.base.complete_batch(prompts, 48), pair.instruct.chat_batch(prompts, max_new_tokens=48)
token_shift(pair, prompts[:16])
"""
RESIDENT = """
import psutil
print(psutil.Process().memory_info().rss / 1e6)
"""


class Kernel:
    """A fresh Jupyter kernel; `run` executes code in it and returns what was printed."""

    def __enter__(self) -> Kernel:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(ROOT))
        return self

    def __exit__(self, *_) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str) -> str:
        printed: list[str] = []

        def keep(message: dict) -> None:
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=600, output_hook=keep)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"{reply['content']['ename']}: {reply['content']['evalue']}")
        return "".join(printed)


def kernel(options: argparse.Namespace) -> list[Row]:
    """From a kernel's start to the first two-variant plot, beside the same by hand; memory after a lesson's work."""
    taken: dict[str, list[float]] = {"ours": [], "by hand": []}
    resident: dict[str, float] = {}
    for turn in range(TURNS + 1):
        for name, code in (("ours", FIRST_PLOT), ("by hand", FIRST_PLOT_BY_HAND)):
            started = time.perf_counter()
            with Kernel() as session:
                session.run(code)
                # The first turn only reads the files from the disk.
                if turn:
                    taken[name].append(time.perf_counter() - started)
                else:
                    resident[name] = float(session.run((LESSON_WORK if name == "ours" else "") + RESIDENT))
    by_hand = "transformers and matplotlib by hand"
    return [
        Row("kernel start to first two-variant plot", min(taken["ours"]), 10, "s", f"the best of {TURNS}"),
        ratio("first two-variant plot, beside by hand", 1.1, list(taken.values()), by_hand),
        Row(
            "memory of a learner's kernel", resident["ours"], 600, "MB",
            f"{resident['ours'] / resident['by hand']:.2f} × by hand, first plot only",
        ),
    ]  # fmt: skip


# -- one distribution -----------------------------------------------------------------------------------------


def distribution(options: argparse.Namespace) -> list[Row]:
    """`next_token_probs` as a multiple of the bare forward pass on ready-made ids, taken in turns."""
    import torch

    from course_utils import load_variant

    base = load_variant("pebble-base")
    ids = torch.tensor([base.encode(PROMPT)], device=base.device)

    def bare() -> None:
        with torch.inference_mode():
            base.model(input_ids=ids)

    def ours() -> None:
        base.next_token_probs(PROMPT)

    return [
        ratio("one next-token distribution", 1.5, in_turns(ours, bare, repeats=300), "the bare forward pass")
    ]


def in_turns(*functions: Callable[[], object], repeats: int) -> list[list[float]]:
    """Processor seconds of each call, one list per function; in turns, and after one that is not counted."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, kept in zip(functions, times, strict=True):
            started = time.process_time()
            function()
            if turn:
                kept.append(time.process_time() - started)
    return times


# -- many completions -----------------------------------------------------------------------------------------

NEW_TOKENS = 32
PART = (
    8  # of the prompts, every eighth is given to what takes one call per prompt; its time counts eight times
)


def batches(options: argparse.Namespace) -> list[Row]:
    """`complete_batch` of many prompts beside calls of `generate` and of a pipeline, one each or one for all."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from course_utils import load_variant
    from pebble_lm.world.questions import draw_facts, plain_question

    logging.set_verbosity_error()
    base = load_variant("pebble-base")
    rng = Random(0)
    facts = draw_facts(rng, options.prompts, lambda fact: fact.split == "test")
    prompts = [plain_question(rng, fact) for fact in facts]
    some = prompts[::PART]
    base.tokenizer.padding_side = "left"
    # It is never written, so every row gets all its tokens, whichever way.
    base.model.generation_config.eos_token_id = base.tokenizer.pad_token_id
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": base.tokenizer.pad_token_id}
    write = pipeline("text-generation", model=base.model, tokenizer=base.tokenizer)

    def generate(part: list[str]) -> None:
        inputs = base.tokenizer(part, return_tensors="pt", padding=True)
        with torch.inference_mode():
            base.model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], **settings)

    times = in_turns(
        lambda: base.complete_batch(prompts, NEW_TOKENS, progress=False),
        lambda: [generate([prompt]) for prompt in some],
        lambda: [write(prompt, **settings) for prompt in some],
        lambda: generate(prompts),
        repeats=TURNS,
    )
    name, share = f"complete_batch, {len(prompts)} prompts × {NEW_TOKENS} tokens", len(prompts) / len(some)
    ours, each, piped, padded = times
    return [
        ratio(name, 0.05, [ours, each], "one generate call per prompt", share),
        ratio(f"{name}, by pipeline", 0.05, [ours, piped], "one pipeline call per prompt", share),
        ratio(f"{name}, by one call", 1.0, [ours, padded], "one generate call on the whole padded batch"),
    ]


def streaming(options: argparse.Namespace) -> list[Row]:
    """`stream_complete` beside the loop that one would write: the model, its cache, the best token."""
    import torch

    from course_utils import load_variant

    base = load_variant("pebble-base")
    base.model.generation_config.eos_token_id = base.tokenizer.pad_token_id
    ids = base.encode("A short story. Once upon a time")

    def ours() -> None:
        for _ in base.stream_complete(ids, 64):
            pass

    def plain() -> None:
        new, cache, written = torch.tensor([ids]), None, []
        with torch.inference_mode():
            for _ in range(64):
                output = base.model(input_ids=new, past_key_values=cache, use_cache=True)
                cache, new = output.past_key_values, output.logits[:, -1:].argmax(-1)
                written.append(new.item())
                base.tokenizer.decode(written)

    times = in_turns(ours, plain, repeats=4 * TURNS)
    return [ratio("stream_complete, 64 tokens", 1.11, times, "the plain loop, decoding as it goes")]


# -- training and lessons --------------------------------------------------------------------------------------


def training(options: argparse.Namespace) -> list[Row]:
    """Supervised, preference and reinforcement training as shares of the time of TRL's trainers."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from train_vs_trl import KINDS, compare

    return [
        Row(line.what, line.median, line.budget, "×", line.beside) for kind in KINDS for line in compare(kind)
    ]


LONG = ("05", "07")  # lessons with the longer budget of time
LIGHT = ("00", "01", "02", "03")  # lessons with the smaller budget of memory


def lessons(options: argparse.Namespace) -> list[Row]:
    """Restart & Run All of each lesson, in a copy: time, memory, and the live training of lesson 05."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from lessons import paths, used

    rows, total, taken = [], 0.0, {}
    for path in paths():
        number, found = path.stem[:2], used(path)
        limit, clock = (
            300 if number in LONG else 120,
            f"processor time; {found.seconds:.0f} s by the clock",
        )
        rows.append(Row(f"lesson {number}, Restart & Run All", found.cpu_seconds, limit, "s", clock))
        most = 600 if number in LIGHT else 700
        rows.append(
            Row(f"lesson {number}, its kernel at most", found.peak_mb, most, "MB", "peak resident memory")
        )
        total += found.cpu_seconds
        taken[path] = found.cpu_seconds
        if found.live is not None:
            rows.append(
                Row(
                    "live SFT of lesson 05",
                    found.live,
                    90,
                    "s",
                    "processor time, with the evaluations that it shows",
                )
            )
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as both:  # the longest first, so that none ends up alone with it
        list(both.map(used, sorted(taken, key=taken.get, reverse=True)))
    together = (time.perf_counter() - began) / 60
    return [
        *rows,
        Row("all lessons, two at a time", together, 8, "min", "by the clock, on two cores"),
        Row("all lessons, one after another", total / 60, 8, "min", "the sum of their processor times"),
    ]


# -- the project ----------------------------------------------------------------------------------------------


def clone(options: argparse.Namespace) -> list[Row]:
    """Megabytes of a fresh clone: its history, packed, and its working files."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", "--no-local", ROOT, target], check=True)
        sizes = {file: file.stat().st_size / 1e6 for file in target.rglob("*") if file.is_file()}
        history = sum(size for file, size in sizes.items() if ".git" in file.relative_to(target).parts)
    total = sum(sizes.values())
    return [Row("a clone, history included", total, 150, "MB", f"history {history:.0f} MB")]


# -- running them ---------------------------------------------------------------------------------------------

MEASUREMENTS = {
    "importing": importing,
    "kernel": kernel,
    "distribution": distribution,
    "batches": batches,
    "streaming": streaming,
    "clone": clone,
    "training": training,
    "lessons": lessons,
}
SLOW = ("training", "lessons")


def python(*arguments: str) -> str:
    """What a fresh Python prints, run in the course's folder with the course importable."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1", "COURSE_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return done.stdout


def cells(row: Row) -> tuple[str, str, str, str]:
    """A row's value, budget, "pass" or "OVER", and what it stands beside, as text."""
    form = ".0f" if row.unit in ("", "MB") else ".3f" if row.measured < 0.2 else ".2f"
    measured, budget = f"{row.measured:{form}} {row.unit}".strip(), f"{row.budget:g} {row.unit}".strip()
    return measured, budget, "pass" if row.kept else "OVER", row.beside


def line(row: Row) -> str:
    """A row of the table on screen."""
    measured, budget, verdict, beside = cells(row)
    return f"{row.what:<42}{measured:>10}{budget:>9}  {verdict:<6}{beside}"


def in_a_process(name: str, prompts: int = 256) -> list[Row]:
    """The rows of one measurement, taken in a process of its own. Raises RuntimeError with what went wrong there."""
    out = python(__file__, "--in-this-process", name, "--prompts", str(prompts))
    return [Row(*row) for row in json.loads(out.splitlines()[-1])]


def main(argv: list[str]) -> int:
    """Print the table; see the module's first lines for the exit code."""
    parser = argparse.ArgumentParser(description="Measure the course's budgets.")
    parser.add_argument(
        "--only", choices=MEASUREMENTS, action="append", help="this measurement alone (repeatable)"
    )
    parser.add_argument(
        "--all", action="store_true", help="also train beside TRL and run every lesson (half an hour)"
    )
    parser.add_argument(
        "--prompts", type=int, default=256, help="prompts of the batch measurement (default 256)"
    )
    parser.add_argument("--in-this-process", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    sys.stdout.reconfigure(encoding="utf-8")
    if options.in_this_process:
        print(json.dumps(MEASUREMENTS[options.in_this_process](options)))
        return 0
    print(f"{'':<42}{'measured':>10}{'budget':>9}  {'':<6}beside")
    kept = True
    for name in options.only or [name for name in MEASUREMENTS if name not in SLOW or options.all]:
        try:
            rows = in_a_process(name, options.prompts)
        except RuntimeError as error:
            print(f"{name:<42}not measured: {error}", flush=True)
            kept = False
            continue
        for row in rows:
            print(line(row), flush=True)
        kept = kept and all(row.kept for row in rows)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
