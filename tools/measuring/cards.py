"""Tables of what was measured, and the models' cards, results.json and ladder.json written from them.

The cards' texts, with slots for what is counted and measured, stand in `pebble_lm/factory/cards/`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from course_utils.evaluate.stats import wilson
from pebble_lm.factory import ladder
from pebble_lm.factory.datacard import card, markdown_table
from pebble_lm.factory.recipe import STAGES
from pebble_lm.world.rates import Rate
from pebble_lm.world.training import SFT_EXAMPLES

ABOVE_SFT = ("pebble-dpo", "pebble-rl", "pebble-reward", "pebble-chat")
START, END = "<!-- measured: start -->", "<!-- measured: end -->"


def to_frame(results: Sequence[Rate]) -> pd.DataFrame:
    rows = []
    for r in results:
        low, high = wilson(r.passed, r.n)
        met = {True: "yes", False: "NO", None: ""}[r.meets_bar]
        rows.append((r.model, r.measure, r.rate, low, high, r.n, r.bar, met))
    return pd.DataFrame(rows, columns=["model", "measure", "rate", "low", "high", "n", "bar", "met"])


def write_card(folder: Path, about: str, measured: str) -> None:
    """The card of one model: what it is, and between two marks what was measured of it."""
    front = "---\nlicense: apache-2.0\nlanguage: en\nlibrary_name: transformers\n---\n"
    (folder / "README.md").write_text(f"{front}{about}\n{START}\n{measured}\n{END}\n", encoding="utf-8")


def write_json(path: Path, contents: object) -> None:
    text = json.dumps(contents, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _how(options: str) -> str:
    return f"Measured on {date.today().isoformat()} with `python -m tools.measuring {options}`"


def write_pair(models: Path, frame: pd.DataFrame, split: str) -> None:
    """results.json, and the cards of pebble-base and pebble-sft."""
    from transformers import AutoConfig

    both = frame[frame.model == "both"]
    for name, model in (("pebble-base", "base"), ("pebble-sft", "instruct")):
        folder = models / name
        if not folder.exists():
            continue
        config = AutoConfig.from_pretrained(folder)
        about = card(
            name,
            parameters=_parameters(folder),
            tokens=sum(stage.tokens for stage in STAGES),
            context=config.max_position_embeddings,
            vocabulary=config.vocab_size,
            examples=SFT_EXAMPLES,
        )
        rows = (
            (r.measure, f"{r.rate:.3f}", f"{r.low:.3f} – {r.high:.3f}", r.n, r.bar, r.met)
            for r in pd.concat([frame[frame.model == model], both]).itertuples()
        )
        measured = (
            f"{_how(f'--split {split}')}: greedy, on the {split} split (entities, relations, phrasings, acts, article "
            "shapes and functions used for nothing else), Wilson intervals.\n\n"
            + markdown_table("| measure | rate | 95 % interval | n | bar | met |", rows)
        )
        write_card(folder, about, measured)
    write_json(models / "results.json", {"split": split, "rows": frame.to_dict("records")})


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        return sum(math.prod(weights.get_slice(key).get_shape()) for key in list(weights.keys()))


def write_ladder(models: Path, rates: pd.DataFrame, means: pd.DataFrame, split: str) -> None:
    """ladder.json, and a card for each rung above pebble-sft."""
    settings = {
        "dpo_beta": ladder.DPO_BETA, "dpo_margin": ladder.DPO_MOST_MARGIN, "dpo_nll": ladder.DPO_NLL,
        "rl_steps": ladder.RL_STEPS, "rl_beta": ladder.RL_BETA, "reward_pairs": ladder.REWARD_PAIRS,
        "chat_examples": ladder.CHAT_EXAMPLES,
    }  # fmt: skip
    for name in ABOVE_SFT:
        if not (models / name / "config.json").exists():
            continue
        measured = (
            f"{_how(f'--ladder --split {split}')}, on the {split} split; rates greedy, with Wilson intervals; change "
            "is against pebble-sft on the same prompts, BETTER or WORSE where McNemar's exact test gives p < .05.\n\n"
            + rates_table(rates[rates.model == name])
        )
        own = means[means.model == name] if len(means) else means
        if len(own):
            before = means[means.model == "pebble-sft"].set_index("measure")
            measured += "\n\nSampled at temperature 1; intervals over prompts.\n\n" + means_table(own, before)
        write_card(models / name, card(name, **settings), measured)
    found = {"split": split, "rates": rates.to_dict("records"), "means": means.to_dict("records")}
    write_json(models / "ladder.json", _without_nan(found))


def rates_table(rates: pd.DataFrame) -> str:
    changes = ["" if math.isnan(change) else f"{change:+.3f}" for change in rates.change]
    rows = (
        (r.measure, f"{r.rate:.3f}", f"{r.low:.3f} – {r.high:.3f}", r.n, r.bar, r.met, change, r.worse)
        for r, change in zip(rates.itertuples(), changes)
    )
    return markdown_table("| measure | rate | 95 % interval | n | bar | met | change | |", rows)


def means_table(means: pd.DataFrame, before: pd.DataFrame) -> str:
    was = before["mean"].get
    rows = (
        (r.measure, f"{r.mean:.2f}", f"{r.low:.2f} – {r.high:.2f}", r.n, f"{was(r.measure, math.nan):.2f}")
        for r in means.itertuples()
    )
    return markdown_table("| measure | mean | 95 % interval | prompts | pebble-sft |", rows)


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
