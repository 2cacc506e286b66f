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


def run(script: str, recipe: Path, processes: int = 1) -> pd.DataFrame:
    """Start it in the recipe's folder and wait. What it logged: a row for every five steps.

    Columns: what TRL logs (loss, num_tokens and more), step, processes, and seconds, the start included. Raises
    RuntimeError with the last lines of its errors where it does not end well.
    """
    import pandas as pd

    began = time.perf_counter()
    done = subprocess.run(
        command(script, recipe, processes),
        cwd=recipe.parent,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"trl {script} ended with an error. Its last lines:\n{done.stderr[-800:]}")
    logged = [line for line in done.stdout.splitlines() if "'loss'" in line]
    log = pd.DataFrame([dict(re.findall(r"'([\w/]+)': '?([\d.e+-]+)", line)) for line in logged]).astype(
        float
    )
    seconds = time.perf_counter() - began
    return log.assign(step=LOGGING_STEPS * (log.index + 1), processes=processes, seconds=seconds)
