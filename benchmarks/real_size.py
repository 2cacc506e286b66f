"""Seconds and memory of a model of SmolLM2-135M's size on this computer: `python benchmarks/real_size.py`.

The model has SmolLM2-135M's architecture and random weights, made once in `--folder` (so no download is needed and its
answers mean nothing; time and memory do not depend on the weights), or the one given by `--model`. Each measurement
is a process of its own on one thread; its seconds are CPU time, and peak memory is the most it ever had resident.

The chat writes exactly as many tokens as asked: its end token is taken out of the loop's list.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory import peak_mb

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TOKENS = 64
PARAMETERS = 134_515_008


def make(folder: Path) -> None:
    """Write SmolLM2-135M's architecture with random bfloat16 weights and a tokenizer with ChatML to `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from course_utils import toy_tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True, initializer_range=0.04,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    assert model.num_parameters() == PARAMETERS
    model.save_pretrained(folder)
    toy_tokenizer("chatml").save_pretrained(folder)


def measure(what: str, source: str) -> dict[str, float]:
    """One measurement, in this process: seconds of CPU time, and peak memory in MB after it."""
    began = time.process_time()
    import torch

    from course_utils import load_variant

    torch.set_num_threads(1)
    variant = load_variant(source, device="cpu")
    seconds, note = time.process_time() - began, "with the libraries' imports"
    if what == "next_token_probs":
        prompt = " ".join(["The capital of France is"] * 8)
        variant.next_token_probs(prompt)
        seconds = best(lambda: variant.next_token_probs(prompt))
        note = f"{len(variant.encode(prompt))} tokens of prompt"
    elif what == "chat":
        variant.model.generation_config.eos_token_id = []
        prompt = variant.encode([{"role": "user", "content": "What is the capital of France?"}])
        written = len(variant.complete(prompt, TOKENS, stop=None).token_ids)
        seconds = best(lambda: variant.complete(prompt, TOKENS, stop=None))
        note = f"{len(prompt)} tokens read, {written} written, {written / seconds:.0f} a second"
    return {"seconds": seconds, "peak_mb": peak_mb(), "note": note}


def best(function, repeats: int = 2) -> float:
    """The shortest of some runs, in seconds of CPU time: waiting for other programs does not count."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


def table(folder: Path | None = None, model: str | None = None) -> list[tuple[str, float, float, str]]:
    """Rows of what, CPU seconds, peak MB and a note, each measured in a process of its own. See the module's text."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COURSE_THREADS": "1"}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = folder or Path(temporary)
        if not model and not (folder / "model.safetensors").exists():
            make(folder)
        for what in ("load", "next_token_probs", "chat"):
            command = [sys.executable, __file__, "--one", what, "--model", model or str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append((what, found["seconds"], found["peak_mb"], found["note"]))
    return rows


def main(argv: list[str]) -> int:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description="Time and memory at SmolLM2-135M's size on the CPU.")
    parser.add_argument("--folder", type=Path, help="where to make, or find, the random model")
    parser.add_argument("--model", help="measure this folder or hub id instead")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measure(options.one, options.model)))
        return 0
    print("| at 135M parameters | CPU seconds, one thread | peak memory | |\n|---|---|---|---|")
    for what, seconds, peak, note in table(options.folder, options.model):
        print(f"| {what} | {seconds:.2f} | {peak:,.0f} MB | {note} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
