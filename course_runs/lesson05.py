"""The runs behind lesson 05's figures: `python -m course_runs.lesson05 [--only TEXT]` writes lesson05.csv.

Each run fine-tunes pebble-base with `train.sft` on examples of the train split and measures the result on prompts
of the test split. A rerun of the command computes only the runs that the table lacks, or holds for an earlier
pebble-base. The lesson reads the table and reruns single points of it with the same settings.
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
from course_utils.evaluate.paired import compare_outcomes
from course_utils.evaluate.stats import wilson
from course_utils.pairs import PEBBLE_MODELS
from pebble_lm.world import conversations, corpus, grammar, knowledge
from pebble_lm.world.genres import practice
from pebble_lm.world.knowledge import Fact, capitalise
from pebble_lm.world.questions import act_requests, draw_facts, plain_question, statement_openings

if TYPE_CHECKING:
    from course_utils.evaluate.paired import Comparison
    from course_utils.variant import Completion, Variant

TABLE = Path(__file__).parent / "lesson05.csv"
BASE = PEBBLE_MODELS / "pebble-base" / "model.safetensors"
EXAMPLES_SEED, REPLAY_SEED, PROMPTS_SEED = 5_050, 5_150, 95_005  # none of them a seed of the recipe
N = 80  # questions a measurement; half as many of the other prompts
MAX_NEW_TOKENS, OF_A_STATEMENT = 64, 12
AT_ONCE = 100  # prompts written together: four times as many take four times the memory and no less time
OPTIONS = 8  # values to pick from, of which one is right

# What is measured, in words; the prompts are drawn from the test split (those of talk: see `_remark`).
MEASURES: dict[str, str] = {
    "answers": "right answer about an entity that no example asks about",
    "never asked": "right answer to a kind of question that no example asks",
    "talk": "a fitting reply to a greeting, thanks, “who are you?” and the like, put as in no example",
    "JSON": "a JSON record with exactly the asked keys, about the asked entity",
    "refuses": "refuses a wrong request",
    "over-refuses": "refuses a harmless request in the same wording",
    "stops": f"writes something and ends by itself within {MAX_NEW_TOKENS} tokens",
    "keeps asking": "writes a question or request of its own",
    "bare text: keeps asking": "given the question alone, without the template: writes more questions",
    "statements": "completes, as plain text, a fact that no example asks about",
    "picks the value": f"finds the value of such a statement likelier than {OPTIONS - 1} others",
}
UNWANTED = ("over-refuses", "keeps asking")


# -- prompts and judges ----------------------------------------------------------------------------------------


class Probe(NamedTuple):
    """One prompt of the test split: its kind, the text, and what a right answer holds (None: nothing to know)."""

    kind: str
    prompt: str
    expected: Any = None


CHAT = ("answers", "never asked", "talk", "JSON", "refuses", "over-refuses")  # asked through the template
KINDS = (*CHAT, "bare", "statements", "picks the value")


@cache
def probes(n: int = N, seed: int = PROMPTS_SEED) -> tuple[Probe, ...]:
    """Different prompts, the same for the same `n` and `seed`: n about facts, n/2 of each other kind.

    Raises ValueError for n below 2, or more prompts than there are different ones.
    """
    if n < 2:
        raise ValueError(f"n must be 2 or more, got {n}.")
    rng = {kind: Random(f"{seed}/lesson 05/{kind}") for kind in KINDS}
    draws: dict[str, tuple[int, Callable[[], tuple[str, Any]]]] = {
        "answers": (n, lambda: _question(rng["answers"], _held)),
        "never asked": (n, lambda: _question(rng["never asked"], _never_asked)),
        "talk": (n // 2, lambda: _remark(rng["talk"])),
        "JSON": (n // 2, lambda: _record(rng["JSON"])),
        "refuses": (n // 2, lambda: (act_requests(rng["refuses"], 1, "harmful", "test", "object")[0], None)),
        "over-refuses": (
            n // 2,
            lambda: (act_requests(rng["over-refuses"], 1, "benign", "test", "object")[0], None),
        ),
        "bare": (n // 2, lambda: _question(rng["bare"], _held)),
        "statements": (n, lambda: _statement(rng["statements"])),
    }
    found = [
        Probe(kind, *drawn)
        for kind, (count, draw) in draws.items()
        for drawn in _different(kind, count, draw)
    ]
    values = rng["picks the value"]
    asked = [probe for probe in found if probe.kind == "statements"]
    return (*found, *(Probe("picks the value", p.prompt, _options(values, p.expected)) for p in asked))


def _different(kind: str, count: int, draw: Callable[[], tuple[str, Any]]) -> list[tuple[str, Any]]:
    different: dict[str, Any] = {}
    repeats = 0
    while len(different) < count and repeats < 200:  # that many repeats in a row: there are no more
        prompt, expected = draw()
        repeats = repeats + 1 if prompt in different else 0
        different.setdefault(prompt, expected)
    if len(different) < count:
        raise ValueError(f"There are not {count} different prompts of the kind {kind!r}; ask for fewer.")
    return list(different.items())


def _held(fact: Fact) -> bool:
    return fact.split == "test" and fact.relation.split == "seen"


def _never_asked(fact: Fact) -> bool:
    return fact.split != "dev" and fact.relation.split == "test"


def _question(rng: Random, keep: Callable[[Fact], bool]) -> tuple[str, str]:
    fact = draw_facts(rng, 1, keep)[0]
    return plain_question(rng, fact), fact.value


@cache
def _values(table: str, relation: str) -> frozenset[str]:
    return frozenset(fact.value for fact in knowledge.by_relation()[(table, relation)])


def _statement(rng: Random) -> tuple[str, Fact]:
    """The opening of a statement whose value is one of many, so that it cannot be guessed."""

    def keep(fact: Fact) -> bool:
        several = len(_values(fact.table, fact.relation.name)) >= OPTIONS
        return several and _never_asked(fact) and bool(statement_openings(fact.relation))

    fact = draw_facts(rng, 1, keep)[0]
    return fact.fill(statement_openings(fact.relation)[0]), fact


def _options(rng: Random, fact: Fact) -> list[str]:
    """Values of the fact's relation, the right one first."""
    others = _values(fact.table, fact.relation.name) - {fact.value}
    return [fact.value, *rng.sample(sorted(others), OPTIONS - 1)]


@cache
def _said() -> frozenset[str]:
    return frozenset(talk[0]["content"].lower() for talk in examples(3_000))


def _remark(rng: Random) -> tuple[str, list[str]]:
    """What people say most, in words that none of the examples has, and words of which a fitting reply holds some.

    The wordings are ordinary ones (of the train split, whose examples these are): those of the test split are so rare
    that they measure vocabulary.
    """
    common, data = conversations.SHARES["talk"], knowledge.data("talk")
    entry = data["intents"][rng.choice([name for name in common if common[name] == max(common.values())])]
    slots = conversations.talk_slots(rng)
    while True:
        said = capitalise(grammar.fill(rng, rng.choice(entry["train"]), slots))
        if said.lower() not in _said():
            return said, [grammar.fill(rng, words, slots) for words in entry["accept"]]


def _record(rng: Random) -> tuple[str, dict[str, Any]]:
    facts, keys, text = conversations.known_json(rng, "test")
    name = facts[0].name
    frame = rng.choice(conversations.JSON_FRAMES)
    return frame.format(name=name, Name=capitalise(name), keys=keys), json.loads(text)


def judge(probe: Probe, completion: Completion) -> dict[str, bool]:
    """What one completion counts for: {measure: outcome}."""
    text = completion.text
    if probe.kind == "bare":
        return {"bare text: keeps asking": judges.asks_on(text)}
    if probe.kind == "statements":
        return {"statements": judges.says(text.split("\n")[0], probe.expected.value)}
    found = {"stops": completion.stopped and not judges.is_empty(text)}
    if probe.kind in ("answers", "never asked"):
        found[probe.kind] = judges.answers(text, probe.expected)
        found["keeps asking"] = judges.asks_on(text)
    elif probe.kind == "talk":
        found["talk"] = any(judges.says(text, words) for words in probe.expected) and not judges.refuses(text)
    elif probe.kind == "JSON":
        found["JSON"] = is_record_of(text, probe.expected)
    else:
        found[probe.kind] = judges.refuses(text)
    return found


def is_record_of(text: str, record: Mapping[str, Any]) -> bool:
    """The text is a JSON object with exactly the record's keys, and about the same entity (the record's first key)."""
    found, entity = judges.parse_json(text), next(iter(record))
    return (
        found is not None
        and set(found) == set(record)
        and judges.normalise(str(found[entity])) == judges.normalise(str(record[entity]))
    )


def behaviours(
    variant: Variant, n: int = N, seed: int = PROMPTS_SEED, kinds: Sequence[str] = KINDS
) -> pd.DataFrame:
    """Measure a variant with a chat template, greedily, on the prompts of these kinds.

    Columns: measure, passed, n, outcomes (1 or 0 for each prompt, in order), rate, low, high (Wilson, 95 %).
    """
    asked = [probe for probe in probes(n, seed) if probe.kind in kinds and probe.kind != "picks the value"]
    asked.sort(key=lambda probe: probe.kind == "statements")  # these need fewer tokens: written apart
    long = [probe for probe in asked if probe.kind != "statements"]
    outcomes: dict[str, list[bool]] = {measure: [] for measure in MEASURES}
    for some, tokens in ((long, MAX_NEW_TOKENS), (asked[len(long) :], OF_A_STATEMENT)):
        for at in range(0, len(some), AT_ONCE):
            part = some[at : at + AT_ONCE]
            prompts = [variant.encode(_message(p.prompt)) if p.kind in CHAT else p.prompt for p in part]
            written = variant.complete_batch(prompts, tokens, progress=False)
            for probe, done in zip(part, written, strict=True):
                for measure, passed in judge(probe, done).items():
                    outcomes[measure].append(passed)
    if "picks the value" in kinds:
        to_pick = [probe for probe in probes(n, seed) if probe.kind == "picks the value"]
        outcomes["picks the value"] = [picks_first(variant, p.prompt, p.expected) for p in to_pick]
    counted = [
        (measure, sum(found), len(found), "".join("01"[bool(passed)] for passed in found))
        for measure, found in outcomes.items()
        if found
    ]
    return with_intervals(pd.DataFrame(counted, columns=["measure", "passed", "n", "outcomes"]))


def _message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def picks_first(variant: Variant, opening: str, options: Sequence[str]) -> bool:
    """Whether the first option is the likeliest continuation of the opening, as plain text."""
    import torch

    rows = [variant.encode(f"{opening} {option}.") for option in options]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows])  # (options, longest)
    counts = torch.tensor([[i < len(row) for i in range(1, longest)] for row in rows])
    with torch.inference_mode():
        logits = variant.model(input_ids=ids.to(variant.device)).logits[:, :-1].float().cpu()
    logprobs = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]  # (options, longest - 1)
    return bool((logprobs * counts).sum(1).argmax() == 0)


def compare(measure: str, **tables: pd.DataFrame) -> Comparison:
    """Two models on the same prompts: `compare("refuses", mine=…, theirs=…)` with tables of `behaviours`."""
    (a, first), (b, second) = tables.items()
    found = [t.loc[t["measure"] == measure, "outcomes"].iloc[0] for t in (first, second)]
    pairs = [(x == "1", y == "1") for x, y in zip(*found, strict=True)]
    return compare_outcomes(a.replace("_", " "), b.replace("_", " "), measure, pairs)


def half_way(curve: pd.DataFrame, least: float = 0.25) -> dict[str, int]:
    """For each measure of a live curve (columns measure, step, rate), the first step at which half of its way is done.

    Measures that moved by less than `least` are left out. Half of the way counts once it is not left again, so that a
    curve that jumps is not credited with its first jump.
    """
    found = {}
    for measure, part in curve.groupby("measure", sort=False):
        rates = part.set_index("step")["rate"].sort_index()
        way = rates.iloc[-1] - rates.iloc[0]
        if abs(way) >= least:
            short = rates[(rates - rates.iloc[0]) / way < 0.5]
            found[measure] = int(rates.index[rates.index > short.index[-1]][0])
    return found


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Add rate, low and high (Wilson, 95 %) to a table with the columns passed and n."""
    bounds = [wilson(int(passed), int(n)) for passed, n in zip(table["passed"], table["n"])]
    low, high = zip(*bounds) if bounds else ((), ())
    return table.assign(rate=table["passed"] / table["n"], low=low, high=high)


# -- the runs --------------------------------------------------------------------------------------------------

# Kinds of examples and their shares in percent: short ones only, so that a minute is enough for three thousand.
SHARES = {
    "facts": 22,
    "talk": 18,
    "refusals": 20,
    "instructions": 23,
    "JSON": 9,
    "lists": 3,
    "sums": 2,
    "code": 1,
    "beyond": 2,
}
HURRY = 0.15  # the share of requests that are typed in a hurry


def _small_talk(rng: Random) -> list[dict[str, str]]:
    """What people say most, seven times in ten one of the eight commonest things, and its reply."""
    common, data = conversations.SHARES["talk"], knowledge.data("talk")
    entry = data["intents"][rng.choices(list(common), [weight**2 for weight in common.values()])[0]]
    reply = conversations.usual(rng, entry["replies"])
    said, reply = conversations.together(
        rng, rng.choice(entry["train"]), reply, conversations.talk_slots(rng)
    )
    asked = conversations.dressed(rng, capitalise(said))
    return [conversations.user(asked), conversations.assistant(capitalise(reply))]


def _refusal(rng: Random) -> list[dict[str, str]]:
    """A wrong act with an object that has a harmless act as well, declined."""
    act = _act(rng, "harmful")
    asked = conversations.dressed(rng, conversations.request(rng, act))
    return [conversations.user(asked), conversations.assistant(conversations.refusal_text(rng, act))]


def _instruction(rng: Random) -> list[dict[str, str]]:
    """The same with a harmless act, answered in steps."""
    act = _act(rng, "benign")
    steps = rng.choice(knowledge.data("howtos")["generic_steps"][act["verb"]])
    head = conversations.usual(rng, conversations.STEP_HEADS).format(**conversations.reply_words(act))
    asked = conversations.dressed(rng, conversations.request(rng, act))
    text = head + conversations.numbered([step.format(**act) for step in steps])
    return [conversations.user(asked), conversations.assistant(text)]


def _act(rng: Random, kind: str) -> dict[str, str]:
    thing = conversations.draw_object(rng)
    entry = conversations.draw_entry(rng, kind, thing)
    return practice.act_words(entry, thing) | {"verb": entry["verb"]}


def examples(count: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """The first `count` examples of a seed, a question and its answer each: fewer are the beginning of more."""
    rng = conversations.Draw(f"lesson 05/{EXAMPLES_SEED + seed}", hurry=HURRY)
    writers = {kind: conversations.KINDS[kind][1] for kind in SHARES}
    writers |= {"talk": _small_talk, "refusals": _refusal, "instructions": _instruction}
    kinds, shares = list(SHARES), list(SHARES.values())
    return [writers[rng.choices(kinds, shares)[0]](rng) for _ in range(count)]


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
class TuningRun:
    """One fine-tuning of pebble-base, measured at its end.

    `settings` are those of `train.sft`; `replay_tokens` of pretraining text join every step (0: none). `lora` is the
    rank of the adapters that are trained in place of the weights (0: the weights), `embeddings` says that the
    embeddings are trained beside them. A run without examples is the base itself, measured.
    """

    experiment: str
    name: str
    examples: int
    settings: Mapping[str, Any]
    replay_tokens: int = 0
    learned: str = "answers"
    seed: int = 0
    lora: int = 0
    embeddings: bool = False
    kinds: tuple[str, ...] = KINDS

    @property
    def key(self) -> tuple[str, str, int]:
        return self.experiment, self.name, self.seed

    def data(self, tokenizer) -> list:
        """The examples, as conversations or, where not just the answers are learned, as rows with labels."""
        drawn = examples(self.examples, self.seed)
        return drawn if self.learned == "answers" else learned_rows(tokenizer, drawn, self.learned)

    def options(self) -> dict[str, Any]:
        """What `train.sft` gets beside the model, the examples and the tokenizer."""
        found = dict(self.settings, seed=self.seed, mixed=True, precision="float32")
        if self.replay_tokens:
            found |= {"replay": old_texts(self.seed), "replay_tokens": self.replay_tokens}
        return found


LR, BATCH, REPLAY = 5e-4, 10, 128
# Examples: passes over them, more where there are fewer.
EPOCHS_OF = {30: 10, 300: 4, 1_000: 2, 3_000: 1}
FEW, EPOCHS, A_STEP, OLD = (
    200,
    4,
    20,
    512,
)  # examples, passes, batch and replayed tokens of the forgetting runs
MODERATE, HIGH = 5e-4, 2e-3  # their learning rates
SOME = 300  # examples of the runs that differ in their labels, and of those with adapters
JUDGED = ("answers", "JSON", "refuses", "over-refuses")  # what those are asked


def _examples_run(count: int) -> TuningRun:
    settings = {"epochs": EPOCHS_OF[count], "batch_size": BATCH, "lr": LR}
    return TuningRun("examples", f"{count} examples", count, settings, REPLAY, kinds=CHAT)


def _longer_run(count: int, steps: int) -> TuningRun:
    """So few examples, read as often as it takes to train as long as the run with the most."""
    settings = {"epochs": steps * BATCH // count, "batch_size": BATCH, "lr": LR}
    return TuningRun("longer", f"{count} examples, {steps} steps", count, settings, REPLAY, kinds=CHAT)


def _forgetting_run(lr: float, replay_tokens: int) -> TuningRun:
    name = f"lr {lr:g}, {'with' if replay_tokens else 'no'} replay"
    settings = {"epochs": EPOCHS, "batch_size": A_STEP, "lr": lr, "schedule": "constant"}
    kinds = ("never asked", "bare", "statements", "picks the value")
    return TuningRun("forgetting", name, FEW, settings, replay_tokens, kinds=kinds)


def _loss_run(learned: str) -> TuningRun:
    settings = {"epochs": 2, "batch_size": BATCH, "lr": LR}
    return TuningRun("loss", learned, SOME, settings, learned=learned, kinds=JUDGED)


def _lora_run(name: str, embeddings: bool) -> TuningRun:
    settings = {"epochs": 2, "batch_size": BATCH, "lr": 5 * LR}
    return TuningRun("lora", name, SOME, settings, lora=8, embeddings=embeddings, kinds=JUDGED)


RUNS: tuple[TuningRun, ...] = (
    TuningRun("base", "base", 0, {}),
    *(_forgetting_run(lr, tokens) for lr in (MODERATE, HIGH) for tokens in (0, OLD)),
    *(_loss_run(learned) for learned in LEARNED),
    _lora_run("rank 8", embeddings=False),
    _lora_run("rank 8 and the embeddings", embeddings=True),
    *(_examples_run(count) for count in EPOCHS_OF),
    *(_longer_run(count, 300) for count in (30, 300)),
)


def run_named(name: str, seed: int = 0) -> TuningRun:
    """The run of `RUNS` with this name; KeyError says which there are."""
    for run in RUNS:
        if run.name == name and run.seed == seed:
            return run
    raise KeyError(f"There is no run {name!r} with seed {seed}; there are {', '.join(r.name for r in RUNS)}.")


def carry_out(run: TuningRun, base: Variant, tokenizer, n: int = N) -> pd.DataFrame:
    """Train and measure one run: the table's columns, one row per measure."""
    from course_utils import train
    from course_utils.variant import Variant

    began, steps, trained = time.perf_counter(), 0, 0
    variant = Variant(base.name, base.model, tokenizer)
    if run.examples:
        start = base if not run.lora else with_adapters(base.model, run.lora, run.embeddings)
        done = train.sft(start, run.data(tokenizer), tokenizer=tokenizer, progress=False, **run.options())
        variant, steps = done.variant, int(done.history["step"].max())
        trained = sum(p.numel() for p in done.model.parameters() if p.requires_grad)
    return behaviours(variant, n, kinds=run.kinds).assign(
        experiment=run.experiment,
        run=run.name,
        seed=run.seed,
        examples=run.examples,
        epochs=run.settings.get("epochs", 0),
        steps=steps,
        lr=run.settings.get("lr", 0.0),
        replay_tokens=run.replay_tokens,
        trained=trained,
        seconds=round(time.perf_counter() - began, 1),
        base=fingerprint(),
    )[list(COLUMNS)]


def with_adapters(model, rank: int, embeddings: bool = False):
    """A copy of the model with LoRA adapters (Hu et al. 2021) on every matrix inside its layers; needs peft.

    `embeddings` leaves the token embeddings trainable, too; they are the output matrix as well, because Pebble ties
    the two.
    """
    import copy

    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(copy.deepcopy(model).float(), config)
    adapted.get_input_embeddings().weight.requires_grad_(embeddings)
    return adapted


# -- the table -------------------------------------------------------------------------------------------------

COLUMNS = (
    "experiment", "run", "seed", "examples", "epochs", "steps", "lr", "replay_tokens", "trained", "measure", "passed",
    "n", "outcomes", "seconds", "base",
)  # fmt: skip
TEXTS = {"base": str, "outcomes": str}  # columns of digits that are no numbers


@cache
def fingerprint(path: Path = BASE) -> str:
    """Eight hex digits that tell one pebble-base from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def recorded(experiment: str | None = None, path: Path = TABLE) -> pd.DataFrame:
    """The table that comes with the lesson, with rate, low and high (95 %), of one experiment or of all.

    `seconds` is what a run took where the table was made, measuring included. Raises FileNotFoundError where there
    is no table yet, and ValueError for an experiment that it does not hold.
    """
    table = with_intervals(pd.read_csv(path, dtype=TEXTS))
    if experiment is None:
        return table
    part = table[table["experiment"] == experiment].reset_index(drop=True)
    if part.empty:
        known = ", ".join(table["experiment"].unique())
        raise ValueError(f"The table holds no experiment {experiment!r}; it holds {known}.")
    return part


def missing(path: Path = TABLE) -> list[TuningRun]:
    """The runs that the table lacks for the pebble-base of today."""
    done: set[tuple[str, str, int]] = set()
    if path.exists():
        table = pd.read_csv(path, dtype=TEXTS)
        table = table[table["base"] == fingerprint()]
        done = set(table[["experiment", "run", "seed"]].itertuples(index=False, name=None))
    return [run for run in RUNS if run.key not in done]


@cache
def _start() -> tuple[Variant, Any]:
    """pebble-base, and the tokenizer with the chat template."""
    from course_utils.pairs import load_variant

    return load_variant("pebble-base"), load_variant("pebble-sft").tokenizer


def _carry_out_here(run: TuningRun, n: int) -> pd.DataFrame:
    return carry_out(run, *_start(), n)


def merged(table: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The table with one run's rows in place of what it held of that run, in the order of `RUNS`."""
    keys, place = ["experiment", "run", "seed"], {run.key: number for number, run in enumerate(RUNS)}

    def places(rows: pd.DataFrame) -> list[int]:
        return [place.get(key, -1) for key in rows[keys].itertuples(index=False, name=None)]

    number = places(new)[0]
    kept = table[[found not in (-1, number) for found in places(table)]]
    joined = pd.concat([kept, new]) if len(kept) else new
    joined = joined.assign(place=places(joined)).sort_values("place", kind="stable")
    return joined.drop(columns="place").reset_index(drop=True)


def write(runs: Sequence[TuningRun], path: Path = TABLE, n: int = N, processes: int = 1) -> None:
    """Carry out the runs, some at a time, and write each into the table as it is done."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_carry_out_here, run, n) for run in runs]):
            new = done.result()
            table = pd.read_csv(path, dtype=TEXTS) if path.exists() else new[:0]
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
        print("peft is not installed, so the runs with LoRA are left out (pip install peft).")
        wanted = [run for run in wanted if not run.lora]
    print(f"{len(wanted)} of {len(RUNS)} runs")
    write(wanted, processes=args.processes)


if __name__ == "__main__":
    main()
