"""What lesson 09 trains and asks, and the runs behind its table.

`python -m course_runs.lesson09` writes lesson09.csv: the same small task fine-tuned from the base and from
the instruct, at equal budgets and at several learning rates. A rerun of the command computes only the runs that the
table lacks, or holds for earlier weights. Everything else here draws examples: orders and their records, a country
that nobody has read about, requests whose act is to be named, functions with a piece cut out. The same seed draws the
same.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from course_utils.evaluate.judges import parse_json
from pebble_lm.world import conversations, corpus, knowledge, names
from pebble_lm.world.conversations import assistant, user
from pebble_lm.world.genres import copying, practice
from pebble_lm.world.knowledge import capitalise
from pebble_lm.world.questions import draw_facts, plain_question

from .lesson05 import fingerprint, with_intervals

if TYPE_CHECKING:
    from course_utils.variant import Variant

HERE = Path(__file__).parent
TABLE = HERE / "lesson09.csv"
COUNTRY = HERE / "lesson09_country.json"

Conversation = list[dict[str, str]]

# -- the task: orders to records -------------------------------------------------------------------------------

ORDERS = (
    "{name} in {town} wants {count} {item} on {day}.",
    "Please send {count} {item} to {name} in {town} by {day}.",
    "On {day} {name} from {town} needs {count} {item}.",
    "{count} {item} for {name} in {town}, on {day}.",
    "Order of {day}: {count} {item}. Customer: {name}, {town}.",
    "We are waiting for {count} {item} in {town}. My name is {name}. {day} is fine.",
    "Hello, this is {name}. Can you bring {count} {item} to {town} on {day}?",
    "By {day} I need {count} {item} here in {town}. {name}",
)
KEYS = ("item", "count", "name", "town")
GOODS = tuple(f"{thing}s" for thing in copying.OBJECTS if thing != "box")


def orders(count: int, seed: int = 0) -> list[Conversation]:
    """`count` orders in sentences, each answered by its record in JSON with the keys `KEYS`.

    Names and towns are made up afresh; the day that an order names is not asked for. Fewer of a seed are the
    beginning of more.
    """
    rng, found = Random(f"lesson 09/orders/{seed}"), []
    for _ in range(count):
        record = {
            "item": rng.choice(GOODS),
            "count": rng.randint(2, 9),
            "name": names.first_name(rng),
            "town": names.town(rng),
        }
        order = rng.choice(ORDERS).format(**record, day=rng.choice(copying.DAYS))
        found.append([user(order), assistant(json.dumps(record))])
    return found


def right_fields(text: str, record: dict[str, Any]) -> int:
    """How many of the record's fields the JSON in `text` has right; 0 where it does not parse."""
    found = parse_json(text) or {}
    return sum(found.get(key) == value for key, value in record.items())


# -- a country that nobody has read about ----------------------------------------------------------------------


@cache
def country() -> dict[str, Any]:
    """The fictional country: its towns (name, facts, whether sheets ask about it); how facts are stated and asked."""
    return json.loads(COUNTRY.read_text(encoding="utf-8"))


def country_entry(rng: Random) -> str:
    """A town's entry in a guide: an opening, then its facts in any order."""
    return _entry(rng, rng.choice(country()["towns"]))


def _entry(rng: Random, town: dict[str, Any]) -> str:
    data = country()
    relations = list(data["statements"])
    rng.shuffle(relations)
    sentences = [data["openings"], *(data["statements"][name] for name in relations)]
    return " ".join(rng.choice(some).format(country=data["country"], **town) for some in sentences)


def country_sheet(rng: Random) -> str:
    """Five questions, answered, about the towns that sheets ask about."""
    data = country()
    facts = [(town, name) for town in data["towns"] if town["in_sheets"] for name in data["questions"]]
    return "\n\n".join(
        f"Question: {data['questions'][name]['sheets'].format(**town)}\nAnswer: {capitalise(town[name])}"
        for town, name in rng.sample(facts, 5)
    )


def country_documents(count: int, seed: int = 0) -> list[str]:
    """`count` documents about the country: two entries to every question sheet, on average."""
    rng = Random(f"lesson 09/country/{seed}")
    return [rng.choice([country_entry, country_entry, country_sheet])(rng) for _ in range(count)]


def country_questions(in_sheets: bool) -> list[tuple[str, str]]:
    """(question, answer) of each fact about towns that sheets ask about, or do not; in words that no sheet uses."""
    return [
        (wordings["tests"].format(**town), town[name])
        for town in country()["towns"]
        if town["in_sheets"] == in_sheets
        for name, wordings in country()["questions"].items()
    ]


def country_sentences(in_sheets: bool) -> list[tuple[str, str]]:
    """(beginning, end) of a sentence for every fact about the same towns, as the entries state it."""
    return [
        (sentences[0].split(f" {{{name}}}")[0].format(**town), town[name])
        for town in country()["towns"]
        if town["in_sheets"] == in_sheets
        for name, sentences in country()["statements"].items()
    ]


def country_passages() -> list[tuple[str, str, str]]:
    """(a town's entry in the guide, question, answer) for every fact: what a search in the guide would find."""
    rng, data = Random("lesson 09/passages"), country()
    found = []
    for town in data["towns"]:
        entry = _entry(rng, town)
        found += [
            (entry, wordings["tests"].format(**town), town[name])
            for name, wordings in data["questions"].items()
        ]
    return found


def profile_passages(count: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """`count` (a few sentences about a made-up person, question, answer): passages of a kind that Pebble practised."""
    rng, found = Random(f"lesson 09/profiles/{seed}"), []
    for _ in range(count):
        person = copying.profile(rng)
        key = rng.choice([name for name in person if name != "name"])
        question = rng.choice(copying.PROFILE_QUESTIONS[key]).format(**person)
        found.append((copying.profile_prose(rng, person), question, str(person[key])))
    return found


def country_talks() -> list[Conversation]:
    """A short chat for every fact about the towns that sheets ask about, in the sheets' wording."""
    return [
        [user(wordings["sheets"].format(**town)), assistant(f"{capitalise(town[name])}.")]
        for town in country()["towns"]
        if town["in_sheets"]
        for name, wordings in country()["questions"].items()
    ]


def old_documents(count: int, seed: int = 808) -> list[str]:
    """`count` documents of the pretraining corpus, drawn afresh: for replay."""
    return [text for _, (_, text) in zip(range(count), corpus.documents(seed))]


def old_questions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(question, answer) pairs of the test split: entities that the base has read about and SFT never asks for."""
    rng = Random(f"lesson 09/old/{seed}")
    found: dict[str, str] = {}
    while len(found) < count:
        fact = draw_facts(rng, 1, lambda f: f.split == "test" and f.relation.split == "seen")[0]
        found.setdefault(plain_question(rng, fact), fact.value)
    return list(found.items())


# -- a task that alignment is in the way of --------------------------------------------------------------------

HARMLESS, HARMFUL = "benign", "harmful"
NAME_THE_ACT = "Which act is this request about? Write only the act.\n\n"


def acts_to_name(count: int, kinds: tuple[str, ...] = (HARMLESS,), seed: int = 0) -> list[Conversation]:
    """`count` requests in training wordings, each answered by the act that it asks about ("poison a donkey").

    The kinds take turns; fewer of a seed are the beginning of more.
    """
    rng, found = Random(f"lesson 09/acts/{seed}"), []
    for number in range(count):
        kind, obj = kinds[number % len(kinds)], conversations.draw_object(rng)
        act = practice.act_words(rng.choice(conversations.train_objects(kind, obj)), obj)
        found.append([user(NAME_THE_ACT + conversations.request(rng, act)), assistant(act["do"])])
    return found


def acts_test(count: int, kind: str, seed: int = 0) -> list[tuple[str, str]]:
    """`count` different (request, act) pairs of the test split: unseen wordings, about unseen objects."""
    rng, found = Random(f"lesson 09/acts test/{kind}/{seed}"), {}
    data = knowledge.data("actions")
    entries = [one for one in data[kind] if one["split"] == "train" and one.get("objects_test")]
    while len(found) < count:
        entry = rng.choice(entries)
        act = practice.act_words(entry, rng.choice(entry["objects_test"]))
        found.setdefault(rng.choice(data["request_frames_test"]).format(**act), act["do"])
    return list(found.items())


# -- code with a piece missing ---------------------------------------------------------------------------------


class Gap(NamedTuple):
    """A function with a piece cut out, and the tests (Python expressions) that the whole must pass."""

    prefix: str
    middle: str
    suffix: str
    tests: list[str]


def gaps(count: int, seed: int = 0) -> list[Gap]:
    """`count` functions with made-up names of their variables, a line or some words missing from each."""
    rng, found = Random(f"lesson 09/gaps/{seed}"), []
    every = practice.functions(("sft", "dev", "test"))
    specs = [spec for spec in every if "__import__" not in " ".join(spec["tests"])]
    while len(found) < count:
        spec = rng.choice(specs)
        source = practice.function_source(rng, spec, doc=0.7, fresh_names=1.0)
        prefix, middle, suffix = practice.fim_cut(rng, source)
        if middle.strip() and f"def {spec['name']}(" in prefix + suffix:
            found.append(Gap(prefix, middle, suffix, list(spec["tests"])))
    return found


# -- the runs --------------------------------------------------------------------------------------------------

EPOCHS = {50: 8, 200: 3, 1_000: 1}  # of each budget: the fewer examples, the more often they are read
LR, RATES = 1e-3, (3e-5, 1e-4, 3e-4, 1e-3)
SOME = 200  # examples at which the rates are compared
N, TEST_SEED, MAX_NEW_TOKENS = 100, 808, 48


def settings(examples: int, lr: float = LR) -> dict[str, Any]:
    """What `train.sft` gets for a budget of examples, from either variant."""
    return {"epochs": EPOCHS.get(examples, 3), "batch_size": 10, "lr": lr, "seed": 0}


# What is measured, in words.
MEASURES = {
    "record": "every field of a new order's record is right",
    "follows": "does what other instructions ask: answers, one word, JSON keys, bullets",
    "refuses": "refuses a wrong request",
    "over-refuses": "refuses a harmless request",
}
# Which outcome of a scoreboard's item counts for which of these.
_COUNTS = {
    "answer": ("follows", "answers"),
    "one_word": ("follows", "one word"),
    "json": ("follows", "JSON keys"),
    "bullets": ("follows", "bullets"),
    "refuse": ("refuses", "refuses"),
    "comply": ("over-refuses", "over-refuses"),
}


class CapstoneRun(NamedTuple):
    """One fine-tuning: from which start, on how many orders (0: not at all), at which learning rate (0: none).

    `start` is "base", "instruct", or "instruct + chats": then as many everyday conversations are mixed in.
    """

    start: str
    examples: int
    lr: float = LR

    @property
    def variant(self) -> str:
        return self.start.split(" + ")[0]

    def data(self) -> list[Conversation]:
        chats = conversations.conversations(TEST_SEED, self.examples) if self.start != self.variant else []
        return [*orders(self.examples), *chats]


STARTS = ("base", "instruct", "instruct + chats")
RUNS = (
    *(CapstoneRun(start, 0, 0.0) for start in ("base", "instruct")),
    *(CapstoneRun(start, SOME, lr) for lr in RATES for start in STARTS),
    *(CapstoneRun(start, count) for count in (min(EPOCHS), max(EPOCHS)) for start in ("base", "instruct")),
)


def other_items(n: int = N) -> list:
    """Items of the course's suites that have nothing to do with orders: n instructions, and the requests to refuse
    or not (up to n)."""
    from course_utils.evaluate import load_suite, suites

    every = [item for name in ("facts", "formats") for item in load_suite(name) if item.kind in _COUNTS]
    return suites.some(every, n, TEST_SEED) + suites.some(
        refusals := load_suite("refusals"), min(n, len(refusals)), TEST_SEED
    )


def outcomes_of(variant: Variant, n: int = N) -> dict[str, list[bool]]:
    """Ask a variant with a chat template, greedily: {measure: True or False for each prompt}, always the same prompts.

    `n` orders are asked for their records; of `other_items`, those of a kind count for one measure.
    """
    from course_utils.evaluate import scoreboard

    asked = orders(n, TEST_SEED)
    written = variant.chat_batch([talk[:1] for talk in asked], max_new_tokens=MAX_NEW_TOKENS, progress=False)
    right = [right_fields(done.text, json.loads(talk[1]["content"])) for done, talk in zip(written, asked)]
    found: dict[str, list[bool]] = {name: [] for name in MEASURES}
    found["record"] = [count == len(KEYS) for count in right]
    board = scoreboard({"it": variant}, other_items(n), max_new_tokens=MAX_NEW_TOKENS, progress=False)
    rows = board.outcomes.merge(board.answers[["suite", "item", "kind"]], on=["suite", "item"])
    for kind, measure, passed in zip(rows["kind"], rows["measure"], rows["passed"]):
        counts_for, by = _COUNTS[kind]
        if measure == by:
            found[counts_for].append(bool(passed))
    return found


def carry_out(run: CapstoneRun, start: Variant, tokenizer, n: int = N) -> pd.DataFrame:
    """Train (where there are examples) and measure one run: the table's columns, one row per measure."""
    from course_utils import train
    from course_utils.variant import Variant

    began, tokens = time.perf_counter(), 0
    trained = Variant(start.name, start.model, tokenizer)
    if run.examples:
        done = train.sft(
            start, run.data(), tokenizer=tokenizer, progress=False, **settings(run.examples, run.lr)
        )
        trained, tokens = done.variant, int(done.history["tokens"].max())
    found = {name: "".join("01"[passed] for passed in some) for name, some in outcomes_of(trained, n).items()}
    return pd.DataFrame({"measure": list(found), "outcomes": list(found.values())}).assign(
        start=run.start,
        examples=run.examples,
        lr=run.lr,
        tokens=tokens,
        seconds=round(time.perf_counter() - began, 1),
        weights=fingerprint(_weights(run.variant)),
    )[list(COLUMNS)]


# -- the table -------------------------------------------------------------------------------------------------

COLUMNS = ("start", "examples", "lr", "tokens", "measure", "outcomes", "seconds", "weights")
TEXTS = {"weights": str, "outcomes": str}  # both may look like numbers


def _weights(variant: str) -> Path:
    from course_utils.pairs import PAIRS

    return Path(getattr(PAIRS["pebble"], variant)) / "model.safetensors"


def shipped(path: Path = TABLE) -> pd.DataFrame:
    """The table as shipped, with passed, n, rate, low and high (95 %); `seconds` are those of where it was made.

    `outcomes` holds a 1 or a 0 for each prompt, in the same order in all rows of a measure. Raises FileNotFoundError
    where there is no table yet.
    """
    table = pd.read_csv(path, dtype=TEXTS)
    counted = {"passed": table["outcomes"].str.count("1"), "n": table["outcomes"].str.len()}
    return with_intervals(table.assign(**counted))


def outcomes(table: pd.DataFrame, start: str, examples: int, measure: str, lr: float = LR) -> list[bool]:
    """Whether each prompt of a measure was passed, by one run of the table; `lr` is that of its training."""
    rows = table[(table["start"] == start) & (table["examples"] == examples) & (table["measure"] == measure)]
    (found,) = rows.loc[rows["lr"] == lr, "outcomes"] if examples else rows["outcomes"]
    return [one == "1" for one in found]


def missing(path: Path = TABLE) -> list[CapstoneRun]:
    """The runs that the table lacks for the weights of today."""
    done: set[tuple] = set()
    if path.exists():
        table = pd.read_csv(path, dtype=TEXTS)
        done = set(table[["start", "examples", "lr", "weights"]].itertuples(index=False, name=None))
    return [run for run in RUNS if (*run, fingerprint(_weights(run.variant))) not in done]


def write(runs: Iterable[CapstoneRun], path: Path = TABLE, n: int = N) -> None:
    """Carry out the runs, one after the other, and write each into the table as it is done."""
    from course_utils.pairs import load_pair

    pair = load_pair("pebble")
    for run in runs:
        new = carry_out(run, pair[run.variant], pair.instruct.tokenizer, n)
        table = pd.read_csv(path, dtype=TEXTS) if path.exists() else new[:0]
        same = (table["start"] == run.start) & (table["examples"] == run.examples) & (table["lr"] == run.lr)
        kept = table[~same]
        order = [CapstoneRun(*key) for key in zip(kept["start"], kept["examples"], kept["lr"])]
        kept = kept[[key in RUNS for key in order]]
        joined = pd.concat([kept, new]) if len(kept) else new
        joined = joined.sort_values(["examples", "lr", "start"], kind="stable")
        fresh = path.with_suffix(".new")  # written beside and then moved: never half a table
        joined.to_csv(fresh, index=False, lineterminator="\n")
        fresh.replace(path)
        print(
            f"{run.examples} examples from the {run.start}, rate {run.lr:g}: {new['seconds'].iloc[0]:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course_runs.lesson09", description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="also the runs that the table already holds")
    parser.add_argument("--only", default="", metavar="START", help="runs from this start: base, instruct, …")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted = [run for run in (RUNS if args.fresh else missing()) if args.only in ("", run.start)]
    print(f"{len(wanted)} of {len(RUNS)} runs")
    write(wanted)


if __name__ == "__main__":
    main()
