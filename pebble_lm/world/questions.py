"""Questions and requests about the world, drawn by a seeded generator: what lessons, checks and suites ask.

Facts, wordings and acts carry the split they belong to: "dev" is for choices made while building, "test" for what
is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from random import Random

from course_utils.evaluate.judges import says

from . import knowledge
from .genres import practice
from .knowledge import Fact, Relation

VALUE_LAST = re.compile(r"\{(?:a_|the_)?value\}\W*$")
# Symbols of elements that are words as well: as wrong answers they would turn up in right ones.
_WORDS = frozenset("Am As At Be He I In La No Os Pa Po".split())
SEVERAL_TRUE = frozenset(("neighbour", "language"))

ARTICLE = (
    "On Saturday the baker Tavo Relmin won the first prize at the spring fair in Orvelton. "
    'More than ninety people had come to watch. "I did not expect it," said Tavo Relmin.'
)


def draw_facts(rng: Random, n: int, keep: Callable[[Fact], bool]) -> list[Fact]:
    """n facts of the main tables (countries, animals, elements …), relations with equal weight."""
    everyday = knowledge.everyday_tables()
    pools = [
        pool
        for (table, _), facts in knowledge.by_relation().items()
        if table not in everyday and (pool := [f for f in facts if keep(f)])
    ]
    return [rng.choice(rng.choice(pools)) for _ in range(n)]


def known_facts(rng: Random, n: int, *splits: str) -> list[Fact]:
    """n facts about entities of these splits, of relations that fine-tuning asks about."""
    return draw_facts(rng, n, lambda fact: fact.split in splits and fact.relation.split == "seen")


def plain_question(rng: Random, fact: Fact) -> str:
    """A training phrasing that ends with a question mark: familiar words for an unfamiliar fact."""
    every = fact.relation.questions_train
    return fact.fill(rng.choice([q for q in every if q.endswith("?")] or list(every)))


def new_phrasing(rng: Random, fact: Fact, split: str) -> str:
    relation = fact.relation
    return fact.fill(rng.choice(relation.questions_test if split == "test" else relation.questions_dev))


@cache
def statement_openings(relation: Relation) -> tuple[str, ...]:
    """The relation's statements up to their value, where the value comes last and the opening fits no other relation.

    "Sodium is a" could go on to its kind or to its state; such openings are left out.
    """
    others = [r for r in knowledge.relations() if r.table == relation.table and r is not relation]
    elsewhere = [text for other in others for text in (*other.statements, *other.answers)]
    openings = [VALUE_LAST.split(s)[0].rstrip() for s in relation.statements if VALUE_LAST.search(s)]
    return tuple(opening for opening in openings if not any(text.startswith(opening) for text in elsewhere))


def act_requests(rng: Random, n: int, kind: str, split: str, unseen: str) -> list[str]:
    """Requests in unseen wording about acts with an unseen verb, or a seen verb with an unseen object."""
    acts = knowledge.data("actions")
    frames = acts[f"request_frames_{split}"]
    requests = []
    for _ in range(n):
        if unseen == "verb":
            entry = rng.choice([a for a in acts[kind] if a["split"] == split])
            obj = rng.choice(practice.all_objects(entry))
        else:
            entry = rng.choice([a for a in acts[kind] if a["split"] == "train" and a.get(f"objects_{split}")])
            obj = rng.choice(entry[f"objects_{split}"])
        requests.append(rng.choice(frames).format(**practice.act_words(entry, obj)))
    return requests


def wrong_values(rng: Random, fact: Fact, prompt: str, most: int = 8) -> list[str]:
    """Values of the same relation that are not this entity's, those that hold the right one first.

    None of them stands in the prompt, because an answer may well repeat the prompt. Where several values are
    true of one entity, though the tables hold one, none is called wrong.
    """
    if fact.relation.name in SEVERAL_TRUE:
        return []
    relation = (fact.table, fact.relation.name)
    true = {f.value for f in knowledge.by_relation()[relation] if f.entity == fact.entity}
    others = sorted({f.value for f in knowledge.by_relation()[relation]} - true - _WORDS)
    others = [v for v in others if not says(f"{prompt} {fact.name}", v)]
    near = [value for value in others if says(value, fact.value)]
    rest = [value for value in others if value not in near]
    return (near + rng.sample(rest, min(most, len(rest))))[:most]
