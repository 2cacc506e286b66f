"""What the course promises about speed and memory, measured: `python benchmarks/budgets.py`.

Each row is measured beside what one would write without the course's helpers, in the same run on the same
machine, and is held to its budget. Ratios carry over from one computer to another; seconds less so. Each
measurement has a process of its own, on one torch thread, which is the fastest for models of this size.

Exit code 0 when every budget is kept, 1 when one is exceeded or could not be measured.
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
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "The capital of France is"


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
    """Seconds from a kernel's start to the first two-variant plot; that kernel's memory after a lesson's work."""
    seconds, resident = {}, {}
    for name, code in (
        ("by hand", FIRST_PLOT_BY_HAND),
        ("ours", FIRST_PLOT),
    ) * 2:  # the better of two, in turns
        started = time.perf_counter()
        with Kernel() as session:
            session.run(code)
            seconds[name] = min(seconds.get(name, 1e9), time.perf_counter() - started)
            resident[name] = float(session.run((LESSON_WORK if name == "ours" else "") + RESIDENT))
    return [
        Row(
            "kernel start to first two-variant plot", seconds["ours"], 10, "s",
            f"{seconds['ours'] / seconds['by hand']:.2f} × transformers and matplotlib by hand",
        ),
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

    times = in_turns(ours, bare, repeats=300)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    middle = [statistics.median(column) * 1000 for column in times]
    return [
        Row(
            "one next-token distribution",
            ratio,
            1.5,
            "×",
            f"{middle[0]:.2f} ms; the bare forward pass: {middle[1]:.2f} ms",
        )
    ]


def in_turns(*functions: Callable[[], None], repeats: int) -> list[list[float]]:
    """Seconds of each call, one list per function; in turns, so that a slow moment of the machine meets all alike."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions * 5:
        function()
    for _ in range(repeats):
        for function, kept in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            kept.append(time.perf_counter() - started)
    return times


# -- many completions -----------------------------------------------------------------------------------------


def batches(options: argparse.Namespace) -> list[Row]:
    """`complete_batch` of many prompts: its share of the time of one `generate` or pipeline call per prompt."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from course_utils import load_variant
    from pebble_lm.world.questions import draw_facts, plain_question

    logging.set_verbosity_error()
    base, new_tokens = load_variant("pebble-base"), 32
    rng = Random(0)
    facts = draw_facts(rng, options.prompts, lambda fact: fact.split == "test")
    prompts = [plain_question(rng, fact) for fact in facts]
    settings = {"max_new_tokens": new_tokens, "do_sample": False, "pad_token_id": base.tokenizer.pad_token_id}
    write = pipeline("text-generation", model=base.model, tokenizer=base.tokenizer)
    counts = {"ours": 0, "generate": 0}

    def ours(part: list[str]) -> None:
        completions = base.complete_batch(part, new_tokens, progress=False)
        counts["ours"] += sum(len(completion.token_ids) for completion in completions)

    def one_generate_each(part: list[str]) -> None:
        for prompt in part:
            inputs = base.tokenizer(prompt, return_tensors="pt")["input_ids"].to(base.device)
            with torch.inference_mode():
                output = base.model.generate(inputs, attention_mask=torch.ones_like(inputs), **settings)
            counts["generate"] += output.shape[1] - inputs.shape[1]

    def one_pipeline_call_each(part: list[str]) -> None:
        for prompt in part:
            write(prompt, **settings)

    for function in (ours, one_generate_each, one_pipeline_call_each):
        function(prompts[:2])
    counts.update(ours=0, generate=0)
    batch = seconds(ours, prompts)
    generate, piped = seconds(one_generate_each, prompts), seconds(one_pipeline_call_each, prompts)
    batch = min(batch, seconds(ours, prompts))  # once before and once after, as the machine's load may drift
    work = (
        f"{counts['ours'] // 2} tokens in {batch:.1f} s, by generate {counts['generate']} in {generate:.1f} s"
    )
    name = f"complete_batch, {len(prompts)} prompts × {new_tokens} tokens"
    return [
        Row(name, batch / generate, 0.1, "×", f"one generate call per prompt: {work}"),
        Row(name, batch / piped, 0.1, "×", f"one pipeline call per prompt: {piped:.1f} s"),
    ]


def seconds(function: Callable[[list[str]], None], prompts: list[str]) -> float:
    started = time.perf_counter()
    function(prompts)
    return time.perf_counter() - started


# -- training and lessons --------------------------------------------------------------------------------------


def training(options: argparse.Namespace) -> list[Row]:
    """One epoch of `train.sft` as a share of the time of TRL's SFTTrainer."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from train_vs_trl import BUDGET, OURS, TRL, compare

    best = compare()
    own, reference = best[OURS].seconds, best[TRL].seconds
    beside = f"SFTTrainer: {reference:.0f} s; ours {own:.1f} s"
    return [Row("one epoch of train.sft, 600 examples", own / reference, BUDGET, "×", beside)]


LONG = ("05", "07")  # lessons with the longer budget


def lessons(options: argparse.Namespace) -> list[Row]:
    """Restart & Run All of each lesson, in a copy: time, memory, and the live training of lesson 05."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from lessons import paths, used

    rows = []
    for path in paths():
        number, found = path.stem[:2], used(path)
        limit, of_cpu = 300 if number in LONG else 120, f"{found.cpu_seconds:.0f} s of processor time"
        rows.append(Row(f"lesson {number}, Restart & Run All", found.seconds, limit, "s", of_cpu))
        rows.append(
            Row(f"lesson {number}, its kernel at most", found.peak_mb, 600, "MB", "peak resident memory")
        )
        if found.live is not None:
            rows.append(
                Row("live SFT of lesson 05", found.live, 90, "s", "with the evaluations that it shows")
            )
    return rows


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
