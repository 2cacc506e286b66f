"""Worked examples for prompts, and tasks that only examples explain.

Everything in an example is of the training half of the world (entities that fine-tuning asks about, training wordings,
training acts); what is asked after them is of the test half. The same seed gives the same examples.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from pebble_lm.world import conversations, knowledge
from pebble_lm.world.knowledge import Fact
from pebble_lm.world.questions import draw_facts, new_phrasing, plain_question, wrong_values

Example = tuple[str, str]


def exchange(kind: str, seed: object, longest: int = 160) -> Example:
    """A (request, reply) of a kind of fine-tuning conversation ("facts", "refusals", "JSON", …), of few characters."""
    rng = conversations.Draw(f"shots/{kind}/{seed}", hurry=0.0)
    while True:
        messages = conversations.KINDS[kind][1](rng)
        texts = [message["content"] for message in messages]
        if len(texts) == 2 and sum(map(len, texts)) < longest and "\n\n" not in "".join(texts):
            return texts[0], texts[1]


def questions(seed: object, count: int, manner: str = "") -> list[Example]:
    """Questions with their answers: the bare value or, with a `manner` such as "Zing! {} Zang!", a sentence in it."""
    rng = Random(f"shots/questions/{seed}")
    facts = draw_facts(rng, count, lambda fact: fact.split == "seen")
    whole = [fact.fill(fact.relation.answers[0]) for fact in facts]
    said = [manner.format(text) if manner else fact.value for fact, text in zip(facts, whole)]
    return [(plain_question(rng, fact), answer) for fact, answer in zip(facts, said)]


# -- lines that only the lines above them explain -------------------------------------------------------------


def open_facts(seed: object, count: int) -> list[Fact]:
    """Facts to be completed, each about an entity of the test half that comes once."""
    rng = Random(f"shots/open/{seed}")
    found: dict[str, Fact] = {}
    while len(found) < count:
        fact = draw_facts(rng, 1, lambda fact: fact.split == "test")[0]
        found.setdefault(fact.entity, fact)
    return list(found.values())


def right_values(fact: Fact, count: int) -> list[Example]:
    """Other entities of this fact's relation, each with its value."""
    return [(shot.entity, shot.value) for shot in _like(fact, count)]


def wrong_values_of(fact: Fact, count: int) -> list[Example]:
    """The same entities, each with another entity's value of the same relation."""
    rng = Random(f"shots/wrong/{fact.entity}")
    values = [other.value for other in knowledge.by_relation()[fact.table, fact.relation.name]]
    return [
        (shot.entity, rng.choice([value for value in values if value != shot.value]))
        for shot in _like(fact, count)
    ]


def other_relations(fact: Fact, count: int) -> list[Example]:
    """Entities with right values, of any relation but this fact's."""
    return [(shot.entity, shot.value) for shot in _like(fact, count, same=False)]


def _like(fact: Fact, count: int, same: bool = True) -> list[Fact]:
    rng = Random(f"shots/{fact.entity}/{same}")
    found: dict[str, Fact] = {}
    while len(found) < count:
        shot = draw_facts(rng, 1, lambda f: f.split == "seen" and (f.relation is fact.relation) == same)[0]
        found.setdefault(shot.entity, shot)
    return list(found.values())


# -- the same facts in two wordings ---------------------------------------------------------------------------


def in_two_wordings(seed: object, count: int) -> dict[str, list[dict[str, Any]]]:
    """Rows of two suites about the same facts of the test half: in a wording that training uses, and in one that
    stands nowhere in it. Row i of both is about the same fact."""
    rng = Random(f"shots/wordings/{seed}")
    ask: dict[str, Callable[[Fact], str]] = {
        "a familiar wording": lambda fact: plain_question(rng, fact),
        "a new wording": lambda fact: new_phrasing(rng, fact, "test"),
    }
    suites: dict[str, list[dict[str, Any]]] = {name: [] for name in ask}
    for fact in open_facts(f"wordings/{seed}", count):
        for name, prompt_of in ask.items():
            prompt = prompt_of(fact)
            row = {"prompt": prompt, "kind": "answer", "expected": fact.value}
            wrong = wrong_values(rng, fact, prompt)
            suites[name].append(row | {"wrong": wrong} if wrong else row)
    return suites
