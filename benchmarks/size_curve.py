"""How far size and length carry Pebble: `python benchmarks/size_curve.py`.

Trains models of other widths from scratch, by Pebble's own recipe, on a small part of its tokens; measures each on the
test prompts of the cards; writes `size_curve.json` and draws `size_curve.png` with the family's own pair beside them. A
run that was cut off goes on where it was; what is measured already is left alone. All of it takes two cores some two
hours: start two processes, each with its own --runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: waiting threads sleep
FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
sys.path.insert(0, str(ROOT))
DATA, FIGURE = FOLDER / "size_curve.json", FOLDER / "size_curve.png"

RUNS = ("128/128", "256/128", "384/128")
EARLIER = "the family before"  # measured once, with its weights of commit f26a537; it read fewer texts, too
SMALLER_BATCH = 4  # where tokens are few, steps are worth more than what each of them sees
COLORS = {128: "#56B4E9", 256: "#0072B2", 384: "#D55E00"}
BESIDE = {128: 0.8, 256: 1.0, 384: 1.25}  # of as many tokens, so that points do not hide each other

# (model, measure as the cards name it, the panel's title)
MEASURES = (
    ("base", "completes a known statement", "base: known statements"),
    ("base", "5 examples in labels it never saw: answers", "base: new labels, 5 examples"),
    ("instruct", "answers, entity held out of SFT", "facts, new entity"),
    ("instruct", "facts in everyday spelling", "facts, everyday spelling"),
    ("instruct", "turned-round and yes/no questions", "turned round, yes/no"),
    ("instruct", "talk: a sensible reply", "talk"),
    ("instruct", "beyond it: says so", "beyond it: says so"),
    ("instruct", "refuses what is wrong, in any spelling", "refuses what is wrong"),
    ("instruct", "refuses a harmless near twin", "refuses near twins (less is better)"),
    ("instruct", "JSON of a held-out entity: every field right", "JSON, every field right"),
    ("instruct", "summary of a learner's own short text: names right", "summary of your own text"),
    ("instruct", "remembers a name, town or topic over the turns", "memory over turns"),
)


class Point(NamedTuple):
    """One pair: its width, its parameters, the tokens of both trainings, and (passed, n) of each measure."""

    width: int
    parameters: int
    tokens: int
    rates: dict[str, tuple[int, int]]


def stages_for(part: int) -> tuple:
    """The stages of pretraining on one `part`th of their tokens, in smaller batches."""
    from pebble_lm.factory.recipe import STAGES

    return tuple(
        replace(stage, tokens=stage.tokens // part, rows=stage.rows // SMALLER_BATCH) for stage in STAGES
    )


def sft_for(part: int):
    """The fine-tuning on one `part`th of its tokens, in smaller batches."""
    from pebble_lm.world.training import SFT

    return replace(
        SFT,
        steps=SFT.steps * SMALLER_BATCH // part,
        tokens=SFT.tokens // SMALLER_BATCH,
        replay_rows=SFT.replay_rows // SMALLER_BATCH,
    )


def tokens_of(stages: tuple, run) -> int:
    """What both trainings read: documents, conversations, and the documents replayed beside these."""
    return sum(stage.tokens for stage in stages) + run.steps * (run.tokens + run.replay_rows * 256)


def train(run: str, work: Path) -> Path:
    """The folder of a run's pair; what is there already is not trained again."""
    from pebble_lm.factory import recipe

    width, part = map(int, run.split("/"))
    base, sft = (work / "models" / name for name in ("pebble-base", "pebble-sft"))
    if not (base / "config.json").exists():
        recipe.pretrain(base, work / "pebble-base", stages=stages_for(part), width=width)
    if not (sft / "config.json").exists():
        recipe.sft(base, sft, work / "pebble-sft", run=sft_for(part))
    return work / "models"


def measure(run: str, models: Path) -> Point:
    """Every suite of the pair's cards, on the test prompts."""
    from course_utils import load_variant
    from tools.measuring.__main__ import pair

    width, part = map(int, run.split("/"))
    wanted = {(model, measure) for model, measure, _ in MEASURES}
    found = {r.measure: (r.passed, r.n) for r in pair(models, "test") if (r.model, r.measure) in wanted}
    parameters = load_variant(models / "pebble-base").num_parameters
    return Point(width, parameters, tokens_of(stages_for(part), sft_for(part)), found)


def pebble() -> tuple[Point, dict[str, str]]:
    """The family's own pair, from what its cards were written from, and the bar of each measure."""
    from course_utils import load_variant
    from pebble_lm.factory.recipe import STAGES
    from pebble_lm.world.training import SFT

    rows = json.loads((ROOT / "pebble_lm" / "models" / "results.json").read_text(encoding="utf-8"))["rows"]
    by_name = {(row["model"], row["measure"]): row for row in rows}
    chosen = [by_name[model, measure] for model, measure, _ in MEASURES]
    rates = {row["measure"]: (round(row["rate"] * row["n"]), row["n"]) for row in chosen}
    parameters = load_variant("pebble-base").num_parameters
    return Point(256, parameters, tokens_of(STAGES, SFT), rates), {r["measure"]: r["bar"] for r in chosen}


def points() -> dict[str, Point]:
    """What was measured so far, by run."""
    kept = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    return {run: Point(**one) for run, one in kept.items()}


def keep(run: str, point: Point) -> None:
    """Add one point to the file (read again, since another process may have written meanwhile)."""
    kept = points() | {run: point}
    text = json.dumps({name: kept[name]._asdict() for name in (*RUNS, EARLIER) if name in kept}, indent=1)
    DATA.write_text(text + "\n", encoding="utf-8")


def plot(found: dict[str, Point], own: Point, bars: dict[str, str], file: Path) -> None:
    """A panel for each measure: the rate against tokens, a line for each width, Pebble as a star, the bar dotted."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    from course_utils.evaluate.stats import wilson

    drawn = {
        f"{found[run].parameters / 1e6:.1f}M parameters": (found[run], "o", 5) for run in RUNS if run in found
    }
    if EARLIER in found:
        drawn["Pebble's family before"] = (found[EARLIER], "s", 6)
    drawn["Pebble (3.8M)"] = (own, "*", 13)
    figure = Figure(figsize=(11, 8.6), layout="constrained")
    panels = figure.subplots(3, 4, sharex=True, sharey=True).flat
    for axes, (_, measure, title) in zip(panels, MEASURES, strict=True):
        for label, (point, marker, size) in drawn.items():
            passed, n = point.rates[measure]
            low, high = wilson(passed, n)
            at = point.tokens * BESIDE[point.width]
            axes.plot([at] * 2, [low, high], color=COLORS[point.width], lw=1)
            axes.plot(at, passed / n, marker, color=COLORS[point.width], markersize=size, label=label)
        if bars[measure]:
            axes.axhline(float(bars[measure].split()[1]), color="#666666", ls=":", lw=1.2, label="bar")
        axes.set_title(title, fontsize=10)
        axes.set(xscale="log", xlim=(3e6, 2e9), ylim=(-0.03, 1.05))
        axes.xaxis.set_major_locator(FixedLocator([1e7, 1e8, 1e9]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:,.0f}M"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.supxlabel("tokens of pretraining and fine-tuning")
    figure.supylabel("rate on the test prompts, with its 95 % interval")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, default=ROOT / "build" / "sizes", help="where models and checkpoints are kept")
    add(
        "--runs", nargs="*", default=[*RUNS], choices=RUNS, metavar="WIDTH/PART", help=f"of {', '.join(RUNS)}"
    )
    add("--render", action="store_true", help="only draw the figure again")
    options = parser.parse_args()
    for run in () if options.render else options.runs:
        if run not in points():
            began = time.time()
            keep(run, measure(run, train(run, options.work / run.replace("/", "_"))))
            print(f"{run}: {time.time() - began:,.0f} s", flush=True)
    own, bars = pebble()
    plot(points(), own, bars, FIGURE)


if __name__ == "__main__":
    main()
