"""What lesson 10 starts: TRL's scripts, on one process or several, and the log that they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

LOGGING_STEPS = 5
# What concerns this machine and not the training: a CPU, no cards, nothing sent anywhere.
HERE = {
    "report_to": "none",
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "dtype": "float32",
    "activation_checkpointing": False,
    "logging_steps": LOGGING_STEPS,
    "disable_tqdm": True,
}


def write_recipe(path: Path, lines: dict[str, Any]) -> Path:
    """Write a recipe as YAML, a line for each key; each value stands there as JSON, which YAML reads."""
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
    path.write_text(text, encoding="utf-8")
    return path


def command(script: str, recipe: Path, processes: int = 1) -> list[str]:
    """The command line that starts TRL's script "sft" or "dpo" with a recipe on so many processes."""
    # --standalone looks for a free port, so that two trainings on one machine do not meet.
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*start, "-m", f"trl.scripts.{script}", "--config", str(recipe)]


def ended(started: subprocess.Popen, written: Path, patience: float = 20) -> int:
    """Wait for a training and return its exit status; 0 as well when it has written everything and does not end.

    A process whose gradients went through gloo, the backend for CPUs, can wait for itself for ever while it ends (its
    destructor holds the lock that its own thread needs). `patience` is in seconds after the last file; then it is
    ended from outside. The same happens when the wait is interrupted.
    """
    since = None
    try:
        while started.poll() is None:
            time.sleep(0.2)
            since = since or (time.monotonic() if written.exists() else None)
            if since and time.monotonic() - since > patience:
                return 0
        return started.returncode
    finally:
        if started.poll() is None:
            end_group(started)


def end_group(started: subprocess.Popen) -> None:
    """End a process that starts others: asked to, it ends them itself; after a minute it is not asked any more."""
    started.terminate()
    try:
        started.wait(60)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def run(script: str, recipe: Path, processes: int = 1) -> pd.DataFrame:
    """Start it in the recipe's folder and wait. What it logged: a row for every five steps.

    Columns: what TRL logs (loss, num_tokens and more), step, processes, and seconds, the start included. Raises
    RuntimeError with the last lines of its errors where it does not end well.
    """
    import pandas as pd

    began = time.perf_counter()
    output = re.search(r"^output_dir: (.*)$", recipe.read_text(encoding="utf-8"), re.M)
    written = recipe.parent / json.loads(output[1]) / "training_args.bin"  # the last file that TRL writes
    written.unlink(missing_ok=True)
    with open(recipe.with_suffix(".out"), "w+b") as out, open(recipe.with_suffix(".err"), "w+b") as err:
        started = subprocess.Popen(
            command(script, recipe, processes),
            cwd=recipe.parent,
            stdout=out,
            stderr=err,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        code = ended(started, written)
        said, errors = (file.seek(0) or file.read().decode(errors="replace") for file in (out, err))
    if code:
        raise RuntimeError(f"trl {script} ended with an error. Its last lines:\n{errors[-800:]}")
    logged = [line for line in said.splitlines() if "'loss'" in line]
    log = pd.DataFrame([dict(re.findall(r"'([\w/]+)': '?([\d.e+-]+)", line)) for line in logged]).astype(
        float
    )
    seconds = time.perf_counter() - began
    return log.assign(step=LOGGING_STEPS * (log.index + 1), processes=processes, seconds=seconds)
