"""What lessons 02 and 03 ask: questions about entities that no conversation of Pebble's fine-tuning was about."""

from __future__ import annotations

from random import Random

from pebble_lm.world.questions import draw_facts, plain_question


def unseen_questions(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """`n` different questions about the test split's entities, each with its right answer."""
    rng, found = Random(seed), {}
    facts = draw_facts(rng, 2 * n, lambda fact: fact.split == "test")
    for fact in facts:
        found[plain_question(rng, fact)] = fact.value
    return list(found.items())[:n]
