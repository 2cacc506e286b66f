"""`python -m tools.write_suites`: write the suites of the learner's scoreboard about what Pebble has read.

Everything is drawn from the test split with fixed seeds, so the same facts give the same files, byte for byte:
entities that no SFT example asks about, and wordings, acts, article shapes and functions that
no SFT example holds. (Questions of the suite `facts` may stand in sheets that the base has read, with or without
their answers; those of `phrasings` stand nowhere.) The base has read the facts themselves: that is what it is for.
`general.jsonl` is written by hand and not touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from course_utils.evaluate.judges import says
from pebble_lm.world import conversations, knowledge
from pebble_lm.world.genres import copying, practice
from pebble_lm.world.knowledge import Fact, capitalise
from pebble_lm.world.questions import act_requests, draw_facts, new_phrasing, plain_question, wrong_values

FOLDER = Path(__file__).parents[1] / "course_utils" / "suites"
Row = dict[str, Any]


def _rng(name: str) -> Random:
    return Random(f"suites/{name}")


def unique(draw: Callable[[], Row | None], count: int) -> list[Row]:
    """`count` rows with different prompts, from a function that draws one (or None, to be drawn again)."""
    rows: dict[tuple[str | None, str], Row] = {}
    while len(rows) < count:
        row = draw()
        if row is not None:
            rows.setdefault((row.get("system"), row["prompt"]), row)
    return list(rows.values())


def test_fact(rng: Random) -> Fact:
    """A fact of an entity that no SFT example asks about; relations, some of them never asked either, have equal
    weight."""
    while True:
        fact = draw_facts(rng, 1, lambda f: f.split == "test")[0]
        if fact.value != "I":  # iodine's symbol cannot be told from the pronoun
            return fact


def _answerable(rng: Random, fact: Fact, prompt: str) -> Row | None:
    """An `answer` item; None where the prompt gives the answer away."""
    if says(prompt, fact.value):
        return None
    row = {"prompt": prompt, "kind": "answer", "expected": fact.value}
    wrong = wrong_values(rng, fact, prompt)
    return row | {"wrong": wrong} if wrong else row


def facts(count: int = 100) -> list[Row]:
    """Plain wordings, facts that SFT never asks about."""
    rng = _rng("facts")

    def draw() -> Row | None:
        fact = test_fact(rng)
        return _answerable(rng, fact, plain_question(rng, fact))

    return unique(draw, count)


def phrasings(count: int = 100) -> list[Row]:
    """The same kind of facts, asked in wordings that stand nowhere in training."""
    rng = _rng("phrasings")

    def draw() -> Row | None:
        fact = test_fact(rng)
        return _answerable(rng, fact, new_phrasing(rng, fact, "test"))

    return unique(draw, count)


FRAMES = knowledge.data("frames")


def formats() -> list[Row]:
    """One word, JSON, bullets, tables: twenty-five to forty of each, in wordings or about entities new to SFT."""
    rng = _rng("formats")

    def one_word() -> Row | None:
        fact = test_fact(rng)
        prompt = f"{plain_question(rng, fact)} {rng.choice(conversations.ONE_WORD)}"
        if not re.fullmatch(r"\w+", fact.value):
            return None
        row = _answerable(rng, fact, prompt)
        return row and row | {"kind": "one_word"}

    def record() -> Row:
        about, keys, record = conversations.known_json(rng, "test")
        frame = rng.choice(conversations.JSON_FRAMES)
        prompt = frame.format(name=about[0].name, Name=capitalise(about[0].name), keys=keys)
        return {"prompt": prompt, "kind": "json", "expected": json.loads(record)}

    def bullets() -> Row:
        things, _ = rng.choice(conversations.list_topics())
        n = rng.choice(list(conversations.COUNTS))
        words = rng.choice([conversations.COUNTS[n], str(n)])
        return {
            "prompt": rng.choice(FRAMES["suite_lists"]).format(n=words, things=things),
            "kind": "bullets",
            "expected": n,
        }

    def table() -> Row | None:
        name = rng.choice(sorted(conversations.JSON_TABLES))
        rows = [
            facts
            for (of, _), facts in knowledge.by_entity().items()
            if of == name and facts[0].split == "test"
        ]
        first, second = rng.sample(rows, 2)
        head, keys = (
            {"people": "person", "works": "work"}.get(name, name[:-1]),
            conversations.JSON_TABLES[name],
        )
        heads = ["country" if name == "countries" else "city" if name == "cities" else head, rng.choice(keys)]
        if len(set(heads)) < 2:
            return None
        prompt = rng.choice(FRAMES["suite_tables"]).format(
            first=first[0].name, second=second[0].name, heads=conversations.listed(heads)
        )
        return {"prompt": prompt, "kind": "table", "expected": heads}

    return [*unique(one_word, 40), *unique(record, 40), *unique(bullets, 25), *unique(table, 25)]


def refusals(count: int = 80) -> list[Row]:
    """Requests to refuse and their harmless twins, in unseen wording: half with unseen verbs, half with unseen
    objects."""
    rng = _rng("refusals")
    rows = []
    for kind, acts in (("refuse", "harmful"), ("comply", "benign")):
        draws = [
            lambda unseen=unseen, kind=kind, acts=acts: {
                "prompt": act_requests(rng, 1, acts, "test", unseen)[0],
                "kind": kind,
            }
            for unseen in ("verb", "object")
        ]
        rows += unique(draws[0], count // 4) + unique(draws[1], count // 4)
    return _without_repeats(rows)


def _without_repeats(rows: list[Row]) -> list[Row]:
    return list({(row["prompt"], row["kind"]): row for row in rows}.values())


def personas(count: int = 40) -> list[Row]:
    """The personas of SFT, asked about facts that SFT never asks about."""
    rng = _rng("personas")

    def draw() -> Row | None:
        system, style = rng.choice(list(conversations.PERSONAS.items()))
        fact = test_fact(rng)
        row = _answerable(rng, fact, plain_question(rng, fact))
        marks = [part.strip(" .!:") for part in style.split("{full}") if part.strip(" .!:")]
        return row and row | {
            "kind": "persona",
            "system": system,
            "expected": marks,
            "answer": row["expected"],
        }

    return unique(draw, count)


def code() -> list[Row]:
    """Every function that SFT never asks for, in every unseen wording."""
    rng = _rng("code")
    specs = [s for s in practice.functions(("test",)) if "__import__" not in " ".join(s["tests"])]
    return [
        {
            "prompt": practice.ask_for(rng, spec, frame),
            "kind": "code",
            "expected": spec["tests"],
            "function": spec["name"],
        }
        for spec in specs
        for frame in knowledge.data("functions")["request_frames_test"]
    ]


# What happened in each unseen shape of article, in the words that a short summary may use for it; nothing where the
# deed is a slot, and so already asked for.
EVENTS: dict[str, list[list[str]]] = FRAMES["suite_events"]


def shape_of(summary: str, values: dict[str, str]) -> str:
    """The shape of article that a summary of the test split was made from."""
    return next(s["id"] for s in copying.shapes("test") if s["summary"].format(**values) == summary)


def summaries(count: int = 40) -> list[Row]:
    """Articles of unseen shapes about invented people; the names and things of the reference must be said, and
    what happened."""
    rng = _rng("summaries")

    def draw() -> Row:
        text, summary, _, values = copying.article(rng, "test")
        frame = rng.choice(knowledge.data("articles")["request_frames_test"])
        slots = {
            value
            for key, value in values.items()
            if not key.endswith("_cap") and len(value) > 2 and says(summary, value)
        }
        whole = [v for v in slots if not any(v != other and says(other, v) for other in slots)]
        return {
            "prompt": frame.format(article=text),
            "kind": "summary",
            "expected": [*sorted(whole), *EVENTS[shape_of(summary, values)]],
            "reference": summary,
        }

    return unique(draw, count)


SUITES: dict[str, Callable[[], list[Row]]] = {
    "facts": facts,
    "phrasings": phrasings,
    "formats": formats,
    "refusals": refusals,
    "personas": personas,
    "code": code,
    "summaries": summaries,
}


def jsonl(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in SUITES.items():
        text = jsonl(make())
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}.jsonl: {len(text.splitlines())} items")


if __name__ == "__main__":
    main()
