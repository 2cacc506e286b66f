"""Requests of several kinds from one split: what a lesson asks when one kind alone would mislead."""

from __future__ import annotations

from random import Random

from . import knowledge
from .genres import copying, practice
from .questions import act_requests, draw_facts, plain_question


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
