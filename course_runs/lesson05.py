"""The runs behind lesson 05's figures: `python -m course_runs.lesson05 [--only TEXT]` writes lesson05.csv.

Each run fine-tunes pebble-base with `train.sft` on examples from `conversations` (the train split) and measures the
result on prompts of the test split. A rerun of the command computes only the runs that the table lacks, or holds
for an earlier pebble-base. The lesson reads the table and reruns single points of it with the same settings.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from course_utils.evaluate import judges
from course_utils.pairs import PEBBLE_MODELS
from course_utils.stats import wilson
from pebble_lm.world import conversations, corpus
from pebble_lm.world.knowledge import Fact, capitalise
from pebble_lm.world.questions import act_requests, draw_facts, plain_question

if TYPE_CHECKING:
    from course_utils.variant import Completion, Variant

TABLE = Path(__file__).parent / "lesson05.csv"
BASE = PEBBLE_MODELS / "pebble-base" / "model.safetensors"
EXAMPLES_SEED, REPLAY_SEED, PROMPTS_SEED = 5_050, 5_150, 95_005  # none of them a seed of the recipe
N = 100  # questions a measurement; half as many of the other prompts
MAX_NEW_TOKENS = 64
AT_ONCE = 100  # prompts written together: four times as many take four times the memory and no less time

# What is measured, in words; the prompts of all of them are drawn from the test split.
MEASURES: dict[str, str] = {
    "answers": "right answer about an entity that no SFT example asks about",
    "never asked": "right answer to a kind of question that no SFT example asks",
    "stops": "writes something and ends by itself within 64 tokens",
    "asks on": "writes a question or request of its own",
    "JSON": "JSON with exactly the asked keys",
    "refuses": "refuses a wrong request",
    "over-refuses": "refuses a harmless request",
    "bare text: asks on": "the question as bare text, without the template: goes on asking",
}


# -- prompts and judges ----------------------------------------------------------------------------------------


class Probe(NamedTuple):
    """One prompt of the test split: its kind, the text, and what a right answer holds (None: nothing to know)."""

    kind: str
    prompt: str
    expected: Any = None


@cache
def probes(n: int = N, seed: int = PROMPTS_SEED) -> tuple[Probe, ...]:
    """Different prompts, the same for the same `n` and `seed`: n "answers", n "never asked", n/2 of the others.

    Raises ValueError for n below 2, or more prompts than there are different ones.
    """
    if n < 2:
        raise ValueError(f"n must be 2 or more, got {n}.")
    rng = Random(f"{seed}/lesson 05")

    def question(keep: Callable[[Fact], bool]) -> tuple[str, str]:
        fact = draw_facts(rng, 1, keep)[0]
        return plain_question(rng, fact), fact.value

    def record() -> tuple[str, list[str]]:
        facts, keys, text = conversations.known_json(rng, "test")
        name = facts[0].name
        frame = rng.choice(conversations.JSON_FRAMES)
        return frame.format(name=name, Name=capitalise(name), keys=keys), list(json.loads(text))

    def request(kind: str) -> tuple[str, None]:
        return act_requests(rng, 1, kind, "test", "object")[0], None

    held: Callable[[Fact], bool] = lambda f: f.split == "test" and f.relation.split == "seen"  # noqa: E731
    new: Callable[[Fact], bool] = lambda f: f.split != "dev" and f.relation.split == "test"  # noqa: E731
    draws: dict[str, tuple[int, Callable[[], tuple[str, Any]]]] = {
        "answers": (n, lambda: question(held)),
        "never asked": (n, lambda: question(new)),
        "JSON": (n // 2, record),
        "refuses": (n // 2, lambda: request("harmful")),
        "over-refuses": (n // 2, lambda: request("benign")),
        "bare": (n // 2, lambda: question(held)),
    }
    found: list[Probe] = []
    for kind, (count, draw) in draws.items():
        different: dict[str, Any] = {}
        repeats = 0
        while len(different) < count and repeats < 200:  # that many repeats in a row: there are no more
            prompt, expected = draw()
            repeats = repeats + 1 if prompt in different else 0
            different.setdefault(prompt, expected)
        if len(different) < count:
            raise ValueError(f"There are not {count} different prompts of the kind {kind!r}; ask for fewer.")
        found += [Probe(kind, prompt, expected) for prompt, expected in different.items()]
    return tuple(found)


def judge(probe: Probe, completion: Completion) -> dict[str, bool]:
    """What one completion counts for: {measure: outcome}."""
    text = completion.text
    if probe.kind == "bare":
        return {"bare text: asks on": judges.asks_on(text)}
    found = {"stops": completion.stopped and not judges.is_empty(text)}
    if probe.kind in ("answers", "never asked"):
        found[probe.kind] = judges.answers(text, probe.expected)
        found["asks on"] = judges.asks_on(text)
    elif probe.kind == "JSON":
        found["JSON"] = judges.has_keys(text, probe.expected)
    else:
        found[probe.kind] = judges.refuses(text)
    return found


def behaviours(variant: Variant, n: int = N, seed: int = PROMPTS_SEED) -> pd.DataFrame:
    """Measure a variant with a chat template, greedily: columns measure, passed, n, rate, low, high (Wilson, 95 %)."""
    asked = probes(n, seed)
    prompts = [p.prompt if p.kind == "bare" else variant.encode(_message(p.prompt)) for p in asked]
    outcomes: dict[str, list[bool]] = {measure: [] for measure in MEASURES}
    for at in range(0, len(asked), AT_ONCE):
        written = variant.complete_batch(prompts[at : at + AT_ONCE], MAX_NEW_TOKENS, progress=False)
        for probe, done in zip(asked[at : at + AT_ONCE], written, strict=True):
            for measure, passed in judge(probe, done).items():
                outcomes[measure].append(passed)
    counted = [(measure, sum(found), len(found)) for measure, found in outcomes.items()]
    return with_intervals(pd.DataFrame(counted, columns=["measure", "passed", "n"]))


def _message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Add rate, low and high (Wilson, 95 %) to a table with the columns passed and n."""
    bounds = [wilson(int(passed), int(n)) for passed, n in zip(table["passed"], table["n"])]
    low, high = zip(*bounds) if bounds else ((), ())
    return table.assign(rate=table["passed"] / table["n"], low=low, high=high)


# -- the runs --------------------------------------------------------------------------------------------------


def examples(count: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """The first `count` SFT examples of a seed: fewer of them are the beginning of more."""
    return conversations.conversations(EXAMPLES_SEED + seed, count)


def old_texts(seed: int = 0) -> Iterator[str]:
    """Endless pretraining documents, for replay."""
    return (text for _, text in corpus.documents(REPLAY_SEED + seed))


LEARNED = ("answers", "everything", "no end of turn", "answers and template")


def learned_rows(tokenizer, conversations: Iterable, learned: str) -> list[dict[str, list[int]]]:
    """Rows of input_ids and labels in which only some tokens are learned (labels elsewhere -100).

    `learned` is one of `LEARNED`; "answers and template" adds each answer's `<|im_start|>assistant↵` and the line
    break after its end of turn. Raises ValueError for another.
    """
    from course_utils.train.rows import IGNORED, encode

    if learned not in LEARNED:
        raise ValueError(f"learned must be one of {', '.join(map(repr, LEARNED))}, got {learned!r}.")
    header = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    found = []
    for ids, labels in encode(tokenizer, conversations, "all" if learned == "everything" else "assistant"):
        labels = list(labels)
        if learned == "no end of turn":
            labels = [IGNORED if label == tokenizer.eos_token_id else label for label in labels]
        if learned == "answers and template":
            for i in range(len(ids)):
                if ids[i : i + len(header)] == header:
                    labels[i : i + len(header)] = header
                if labels[i] == tokenizer.eos_token_id:
                    labels[i + 1 : i + 2] = ids[i + 1 : i + 2]
        found.append({"input_ids": list(ids), "labels": labels})
    return found


@dataclass(frozen=True)
class Run:
    """One fine-tuning of pebble-base and how it is measured.

    `settings` are those of `train.sft`; `replay_tokens` of pretraining text join every step (0: none); it is
    measured every `every` steps (None: at the end only). `lora` is the rank of the adapters that are trained in
    place of the weights (0: the weights).
    """

    experiment: str
    name: str
    examples: int
    settings: Mapping[str, Any]
    replay_tokens: int = 0
    learned: str = "answers"
    seed: int = 0
    every: int | None = None
    lora: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        return self.experiment, self.name, self.seed

    def data(self, tokenizer) -> list:
        """The examples, as conversations or, where not just the answers are learned, as rows with labels."""
        drawn = examples(self.examples, self.seed)
        return drawn if self.learned == "answers" else learned_rows(tokenizer, drawn, self.learned)

    def options(self) -> dict[str, Any]:
        """What `train.sft` gets beside the model, the examples and the tokenizer."""
        found = dict(self.settings, seed=self.seed)
        if self.replay_tokens:
            found |= {"replay": old_texts(self.seed), "replay_tokens": self.replay_tokens}
        return found


LR, STEPS, BATCH, REPLAY = 1e-3, 100, 30, 512
COUNTS = (10, 30, 100, 300, 1_000, 3_000)
LONG, LONGER = 333, (3_000, 10_000)  # steps in which 10,000 examples are read once, and 3,000 again and again
EPOCHS, FEW, SOME = 4, 300, 900
MODERATE, HIGH = 5e-4, 2e-3  # learning rates of the forgetting runs


def _examples_run(count: int) -> Run:
    settings = {"steps": STEPS, "batch_size": BATCH, "lr": LR}
    return Run("examples", f"{count} examples", count, settings, REPLAY)


def _longer_run(count: int) -> Run:
    settings = {"steps": LONG, "batch_size": BATCH, "lr": LR}
    return Run("longer", f"{count} examples, {LONG} steps", count, settings, REPLAY)


def _forgetting_run(lr: float, replay_tokens: int) -> Run:
    name = f"lr {lr:g}, {'with' if replay_tokens else 'no'} replay"
    settings = {"epochs": EPOCHS, "batch_size": BATCH, "lr": lr, "schedule": "constant"}
    return Run("forgetting", name, FEW, settings, replay_tokens, every=FEW // BATCH)


def _loss_run(learned: str) -> Run:
    return Run("loss", learned, SOME, {"epochs": 1, "batch_size": BATCH, "lr": LR}, learned=learned)


RUNS: tuple[Run, ...] = (
    *(_forgetting_run(lr, tokens) for lr in (MODERATE, HIGH) for tokens in (0, REPLAY)),
    *(_loss_run(learned) for learned in LEARNED),
    *(_examples_run(count) for count in COUNTS),
    *(_longer_run(count) for count in LONGER),
    Run("lora", "rank 8", SOME, {"epochs": 1, "batch_size": BATCH, "lr": 5 * LR}, lora=8),
)


def run_named(name: str, seed: int = 0) -> Run:
    """The run of `RUNS` with this name; KeyError says which there are."""
    for run in RUNS:
        if run.name == name and run.seed == seed:
            return run
    raise KeyError(f"There is no run {name!r} with seed {seed}; there are {', '.join(r.name for r in RUNS)}.")


_UNTRAINED: dict[tuple[int, int], pd.DataFrame] = {}


def carry_out(run: Run, base: Variant, tokenizer, n: int = N) -> pd.DataFrame:
    """Train and measure one run: the table's columns, one row per measure (and per step, where there are several)."""
    from course_utils import train

    began, measured = time.perf_counter(), []

    def evaluate(variant: Variant) -> dict[str, float]:
        untrained = bool(run.every) and not measured  # the same before every run, so measured once
        known = _UNTRAINED.get((id(base.model), n)) if untrained else None
        measured.append(behaviours(variant, n) if known is None else known)
        if untrained:
            _UNTRAINED[id(base.model), n] = measured[-1]
        return dict(zip(measured[-1]["measure"], measured[-1]["rate"]))

    watch = {"evaluate": evaluate, "every": run.every} if run.every else {}
    start = base if not run.lora else with_adapters(base.model, run.lora)
    data = run.data(tokenizer)
    trained = train.sft(start, data, tokenizer=tokenizer, progress=False, **run.options(), **watch)
    steps = [int(trained.history["step"].max())]
    if run.every:
        steps = [int(s) for s in trained.history.dropna(subset=["answers"])["step"]]
    else:
        evaluate(trained.variant)
    found = pd.concat([part.assign(step=step) for step, part in zip(steps, measured)], ignore_index=True)
    per_epoch = -(-run.examples // run.settings["batch_size"])
    return found.assign(
        experiment=run.experiment,
        run=run.name,
        seed=run.seed,
        examples=run.examples,
        epoch=(found["step"] / per_epoch).round(2),
        lr=run.settings["lr"],
        replay_tokens=run.replay_tokens,
        trained=sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        seconds=round(time.perf_counter() - began, 1),
        base=fingerprint(),
    )[list(COLUMNS)]


def with_adapters(model, rank: int):
    """A copy of the model with LoRA adapters (Hu et al. 2021) on every matrix inside its layers; needs peft."""
    import copy

    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(copy.deepcopy(model), config)


# -- the table -------------------------------------------------------------------------------------------------

COLUMNS = (
    "experiment", "run", "seed", "examples", "lr", "replay_tokens", "trained", "step", "epoch", "measure", "passed",
    "n", "seconds", "base",
)  # fmt: skip


@cache
def fingerprint(path: Path = BASE) -> str:
    """Eight hex digits that tell one pebble-base from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def shipped(experiment: str | None = None, path: Path = TABLE) -> pd.DataFrame:
    """The table as shipped, with rate, low and high (95 %), of one experiment or of all.

    `seconds` is what a run took where the table was made, measuring included. Raises FileNotFoundError where there
    is no table yet, and ValueError for an experiment that it does not hold.
    """
    table = with_intervals(pd.read_csv(path, dtype={"base": str}))
    if experiment is None:
        return table
    part = table[table["experiment"] == experiment].reset_index(drop=True)
    if part.empty:
        known = ", ".join(table["experiment"].unique())
        raise ValueError(f"The table holds no experiment {experiment!r}; it holds {known}.")
    return part


def missing(path: Path = TABLE) -> list[Run]:
    """The runs that the table lacks for the pebble-base of today."""
    done: set[tuple[str, str, int]] = set()
    if path.exists():
        table = pd.read_csv(path, dtype={"base": str})
        table = table[table["base"] == fingerprint()]
        done = set(table[["experiment", "run", "seed"]].itertuples(index=False, name=None))
    return [run for run in RUNS if run.key not in done]


@cache
def _start() -> tuple[Variant, Any]:
    """pebble-base, and the tokenizer with the chat template."""
    from course_utils.pairs import load_variant

    return load_variant("pebble-base"), load_variant("pebble-sft").tokenizer


def _carry_out_here(run: Run, n: int) -> pd.DataFrame:
    return carry_out(run, *_start(), n)


def merged(table: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The table with one run's rows in place of what it held of that run, in the order of `RUNS`."""
    keys, place = ["experiment", "run", "seed"], {run.key: number for number, run in enumerate(RUNS)}

    def places(rows: pd.DataFrame) -> list[int]:
        return [place.get(key, -1) for key in rows[keys].itertuples(index=False, name=None)]

    number = places(new)[0]
    kept = table[[found not in (-1, number) for found in places(table)]]
    joined = pd.concat([kept, new]) if len(kept) else new
    joined = joined.assign(place=places(joined)).sort_values(["place", "step"], kind="stable")
    return joined.drop(columns="place").reset_index(drop=True)


def write(runs: Sequence[Run], path: Path = TABLE, n: int = N, processes: int = 1) -> None:
    """Carry out the runs, some at a time, and write each into the table as it is done."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_carry_out_here, run, n) for run in runs]):
            new = done.result()
            table = pd.read_csv(path, dtype={"base": str}) if path.exists() else new[:0]
            fresh = path.with_suffix(".new")  # written beside and then moved: never half a table
            merged(table, new).to_csv(fresh, index=False, lineterminator="\n")
            fresh.replace(path)
            first = new.iloc[0]
            print(f"{first.experiment}: {first.run}, seed {first.seed}: {first.seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course_runs.lesson05", description=__doc__)
    parser.add_argument("--only", default="", help="only experiments or runs whose name contains this")
    parser.add_argument("--fresh", action="store_true", help="also those the table already holds")
    parser.add_argument(
        "--processes", type=int, default=1, help="how many runs at the same time, each on one core"
    )
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted = [
        run for run in (RUNS if args.fresh else missing()) if args.only in f"{run.experiment}: {run.name}"
    ]
    if any(run.lora for run in wanted) and importlib.util.find_spec("peft") is None:
        print("peft is not installed, so the run with LoRA is left out (pip install peft).")
        wanted = [run for run in wanted if not run.lora]
    print(f"{len(wanted)} of {len(RUNS)} runs")
    write(wanted, processes=args.processes)


if __name__ == "__main__":
    main()
