"""`python -m tools.measuring`: measure Pebble, print the tables, and write the figures into the models' cards.

It measures pebble-base and pebble-sft; with --ladder pebble-sft and what was made of it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

# Before torch is imported: waiting threads sleep instead of spinning, which is far quicker on cores that are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pandas as pd

from course_utils import train
from course_utils.pairs import PEBBLE_MODELS, load_variant
from pebble_lm.world.rates import N, Rate
from pebble_lm.world.watch import persona_suite

from . import base, cards, everyday, forms, instruct, limits, rungs

RUNGS = ("pebble-sft", "pebble-dpo", "pebble-rl", "pebble-chat")


def pair(models: Path, split: str, n: int = N) -> list[Rate]:
    """Every suite on pebble-base and, where it is there, on pebble-sft."""
    own = load_variant(models / "pebble-base")
    results = base.base_suites(own, split, n) + forms.base_suites(own, split, n)
    if (models / "pebble-sft").exists():
        sft = load_variant(models / "pebble-sft")
        results += instruct.instruct_suites(sft, split, n) + everyday.instruct_suites(sft, split, n)
        results += instruct.headline(own, sft)
    return results


def ladder(models: Path, split: str, n: int = N) -> tuple[list[Rate], pd.DataFrame]:
    """Rates and means of every rung that is there."""
    found = {
        name: load_variant(str(models / name)) for name in RUNGS if (models / name / "config.json").exists()
    }
    judge_there = (models / "pebble-reward" / "config.json").exists()
    judge = train.load_reward(models / "pebble-reward") if judge_there else None
    results: list[Rate] = rungs.reward_suite(judge, split, n) if judge else []
    means: list[dict] = []
    for name, variant in found.items():
        results += instruct.instruct_suites(variant, split, n, model=name)
        # What the further rungs change shows in the other suites.
        if name in ("pebble-sft", "pebble-dpo"):
            results += everyday.instruct_suites(variant, split, n, model=name)
        results += rungs.hedging_suite(variant, split, n, name)
        if name in ("pebble-sft", "pebble-chat"):
            results += persona_suite(variant, split, n, name)
        means += rungs.sampled(variant, found["pebble-sft"], judge, split, max(12, n // 4), name)
    return results, pd.DataFrame(means)


def print_failures(results: Iterable[Rate], most: int) -> None:
    for result in results:
        for prompt, text in result.failures[:most]:
            print(f"\n── {result.model}: {result.measure}\n   {prompt!r}\n   → {text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.measuring", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--ladder", action="store_true", help="pebble-sft, dpo, reward, rl and chat, not pebble-base")
    add("--split", choices=["dev", "test"], default="test", help="dev for choices, test for the cards (test)")
    add("--no-cards", action="store_true", help="print only")
    add("--n", type=int, default=N, help=f"prompts a measure ({N})")
    add("--failures", type=int, default=0, help="so many failed outputs a measure are printed (0)")
    add("--models", type=Path, default=PEBBLE_MODELS, help="where the models are")
    args = parser.parse_args()
    if args.ladder:
        results, means = ladder(args.models, args.split, args.n)
        frame = rungs.against_sft(results)
        with pd.option_context("display.width", 200, "display.max_rows", None, "display.max_colwidth", 70):
            print(frame.to_string(index=False, float_format="{:.3f}".format))
            print(means.to_string(index=False, float_format="{:.3f}".format))
    else:
        results = pair(args.models, args.split, args.n)
        frame = cards.to_frame(results)
        print(frame.to_string(index=False, float_format="{:.3f}".format))
    print_failures(results, args.failures)
    if args.ladder and not args.no_cards:
        cards.write_ladder(args.models, frame, means, args.split)
    elif not args.no_cards:
        cards.write_pair(args.models, frame, args.split)
    if args.models == PEBBLE_MODELS and not args.no_cards:
        limits.write(args.models)


if __name__ == "__main__":
    main()
