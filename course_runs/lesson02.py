"""What lessons 02 and 03 ask: questions about entities that no conversation of Pebble's fine-tuning was about.

And requests of several kinds: what lesson 02 asks where one kind alone would mislead.
"""

from __future__ import annotations

from random import Random

from pebble_lm.world import knowledge
from pebble_lm.world.genres import copying, practice
from pebble_lm.world.questions import act_requests, draw_facts, plain_question


def unseen_questions(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """`n` different questions about the test split's entities, each with its right answer."""
    rng, found = Random(seed), {}
    facts = draw_facts(rng, 2 * n, lambda fact: fact.split == "test")
    for fact in facts:
        found[plain_question(rng, fact)] = fact.value
    return list(found.items())[:n]


def requests_by_kind(n: int, seed: int = 0, split: str = "test") -> dict[str, list[str]]:
    """n requests of each of five kinds, about entities, acts, functions and articles of `split` ("dev" or "test").

    {"question": …, "Python function": …, "harmless act": …, "wrong act": …, "article": …}; within a kind no two alike.
    """
    rng = Random(f"requests by kind/{split}/{seed}")
    functions = knowledge.data("functions")
    articles = knowledge.data("articles")

    def question() -> str:
        return plain_question(rng, draw_facts(rng, 1, lambda fact: fact.split == split)[0])

    def code() -> str:
        spec = rng.choice(practice.functions((split,)))
        return practice.ask_for(rng, spec, rng.choice(functions[f"request_frames_{split}"]))

    def act(kind: str) -> str:
        return act_requests(rng, 1, kind, split, unseen="object")[0]

    def article() -> str:
        return rng.choice(articles[f"request_frames_{split}"]).format(article=copying.article(rng, split)[0])

    writers = {
        "question": question,
        "Python function": code,
        "harmless act": lambda: act("benign"),
        "wrong act": lambda: act("harmful"),
        "article": article,
    }
    return {kind: _different(write, n) for kind, write in writers.items()}


def _different(write, n: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < n:
        found[write()] = None
    return list(found)
