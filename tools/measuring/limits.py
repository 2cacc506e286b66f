"""pebble_lm/LIMITS.md: every bar that is missed, and by how much, from results.json and ladder.json."""

from __future__ import annotations

import json
from pathlib import Path

from pebble_lm.factory.datacard import card, markdown_table

PAGE = Path(__file__).resolve().parents[2] / "pebble_lm" / "LIMITS.md"
SHOWN = ("pebble-base", "pebble-dpo", "pebble-rl", "pebble-chat", "pebble-reward")  # the pair first


def missed(models: Path) -> list[tuple[str, str, float, int, str, float]]:
    """(model, measure, rate, n, bar, how far beyond the bar) of each bar that is missed, the worst of a model first.

    pebble-sft is left out: pebble-dpo is the instruct of the pair, and its card has both.
    """
    read = {
        name: json.loads((models / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("results", "ladder")
    }
    rows = [row | {"model": "pebble-base"} for row in read["results"]["rows"] if row["model"] == "base"]
    found = []
    for row in rows + read["ladder"]["rates"]:
        if row["met"] == "NO" and row["model"] in SHOWN:
            by = abs(row["rate"] - float(row["bar"].split()[1]))
            found.append((row["model"], row["measure"], row["rate"], row["n"], row["bar"], by))
    return sorted(found, key=lambda one: (SHOWN.index(one[0]), -one[-1]))


def page(models: Path) -> str:
    """The whole page: the text of `pebble_lm/factory/cards/LIMITS.md` with the table in it."""
    rows = missed(models)
    lines = [
        (model, measure, f"{rate:.3f}", n, bar, f"{by:.3f}") for model, measure, rate, n, bar, by in rows
    ]
    table = markdown_table("| model | measure | rate | n | bar | missed by |", lines)
    ladder = json.loads((models / "ladder.json").read_text(encoding="utf-8"))["rates"]
    judge = next(row["rate"] for row in ladder if row["measure"] == "refusal before help, unseen verb")
    return card("LIMITS", missed=table, how_many=len(rows), judge=judge)


def write(models: Path) -> None:
    """Write the page again, where both files are there."""
    if all((models / f"{name}.json").exists() for name in ("results", "ladder")):
        PAGE.write_text(page(models), encoding="utf-8")
