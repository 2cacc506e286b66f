"""Prose that is a pleasure to read: tales, diaries, reports, letters, plays, from the grammars of facts/prose.json.

A document is an opening, some middles and an ending of its kind. Names and things keep coming back in it, which teaches
copying; a base model that is sampled writes such texts as well as tables and sheets.
"""

from __future__ import annotations

from random import Random

from .. import grammar, knowledge
from . import copying


def prose(rng: Random) -> str:
    """A document of one of the kinds."""
    data = knowledge.data("prose")
    kinds = list(data["kinds"])
    kind = data["kinds"][rng.choices(kinds, [data["kinds"][name].get("weight", 1.0) for name in kinds])[0]]
    drawn = copying.slots(rng)
    values: dict[str, str] = {
        "person": drawn["person3"],
        "first": drawn["first"],
        "first2": drawn["first2"],
        "town": drawn["city"],
        "town2": drawn["city2"],
        **{slot: rng.choice(options) for slot, options in {**data["slots"], **kind.get("slots", {})}.items()},
    }
    for name in ("day", "month", "number", "job"):
        values.setdefault(name, drawn[name])
    middles = list(range(len(kind["middles"])))
    chosen = rng.sample(middles, min(len(middles), rng.randint(2, 5)))
    if kind.get("ordered", True):
        chosen.sort()
    parts = [rng.choice(kind["openings"]), *(kind["middles"][i] for i in chosen), rng.choice(kind["endings"])]
    filled = [grammar.fill(rng, grammar.fill(rng, part, values), values) for part in parts]
    return kind.get("join", " ").join(filled)
