"""What `python course.py doctor` prints once the set-up stands: versions, threads, pairs, time to a first result.

Run with the course's own Python, from the course folder. Exit code 0 when the embedded pair gives a distribution.
"""

import importlib.metadata
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "jupyterlab",
    "ipykernel",
    "ipywidgets",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "pandas",
    "matplotlib",
)
PROMPT = "The capital of France is"

# Runs in a fresh process: the clock starts before it does, so the time holds the imports and the loading as well.
FIRST_DISTRIBUTION = """
import json, sys, time
from course_utils import load_pair
pair = load_pair("pebble")
loaded = time.time()
table = pair.base.next_token_probs(sys.argv[1], k=1)
top = {"token": table["token"].iloc[0], "prob": float(table["prob"].iloc[0])}
print(json.dumps({"loaded": loaded, "shown": time.time(), **top}))
"""


def say(label: str, text: object) -> None:
    """Print one line of the report, its label in a column of its own."""
    print(f"{label:<16}{text}", flush=True)


def versions() -> None:
    """Print the versions of Python and of the packages that matter, and what is missing."""
    say("Python", f"{sys.version.split()[0]} ({sys.executable})")
    for name in PACKAGES:
        try:
            say(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            say(name, "missing: run `python course.py lab` once")


def compute() -> None:
    """Print the device that a pair is loaded on and torch's threads before the course chooses any."""
    import torch

    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name()})"
    else:
        device = "mps (Apple GPU)" if torch.backends.mps.is_available() else "cpu"
    say("Device", device)
    say("torch threads", f"{torch.get_num_threads()} (Pebble is so small that load_pair sets 1)")


def pairs() -> None:
    """Print for each pair the course knows whether it loads from here: on disk, by a download, or why not."""
    from course_utils.pairs import PAIRS

    print("\nPairs", flush=True)
    for spec in PAIRS.values():
        say(f"  {spec.name}", where(spec))


def where(spec) -> str:
    """In a phrase, how a pair (a row of `course_utils.pairs.PAIRS`) can be loaded from here."""
    from course_utils.pairs import PairError, locate

    try:
        sources = ((spec.base, spec.base_revision), (spec.instruct, spec.instruct_revision))
        to_download = [source for source, revision in sources if not locate(source, revision, fresh=False)[1]]
    except PairError as error:
        return f"no: {str(error).split('. ')[0]}"
    if not to_download:
        return "yes, on this disk"
    gate = ", after accepting its licence and `hf auth login`" if spec.gated else ""
    return f"yes, by a download of {len(to_download) * spec.download_mb // 2:,} MB{gate}"


def first_distribution() -> bool:
    """Print the seconds from starting Python to the first next-token distribution of Pebble; False if there is none."""
    started = time.time()
    command = [sys.executable, "-c", FIRST_DISTRIBUTION, PROMPT]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"\nPebble gives no distribution here: {last}")
        print(
            "Next: `git checkout course_utils pebble_lm` restores files of the course that are missing or were changed."
        )
        return False
    seen = json.loads(result.stdout.splitlines()[-1])
    print(
        f"\nFirst distribution {seen['shown'] - started:.1f} s after starting Python (both models were loaded after "
        f"{seen['loaded'] - started:.1f} s):"
    )
    print(f"  pebble-base puts {seen['prob']:.0%} on {seen['token']!r} after {PROMPT!r}.")
    return True


def main() -> int:
    """Print the report; 0 when Pebble works here."""
    sys.path.insert(0, str(ROOT))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    versions()
    compute()
    pairs()
    return 0 if first_distribution() else 1


if __name__ == "__main__":
    sys.exit(main())
