"""Preference pairs: two answers to one request, the better one first; seen entities and training wordings only.

Four kinds move something on purpose: an answer without hedging before the same answer hedged, a refusal before help
with what is wrong, help before the refusal of what is fine, the asked format before another. The rest holds
everything else in place: the right answer before a wrong one of the same kind.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from random import Random
from typing import Any

from . import conversations as sft
from . import knowledge
from .conversations import Message, assistant, user
from .genres import factual, practice
from .knowledge import Fact, capitalise
from .questions import act_requests, known_facts, new_phrasing

# What one writer of a kind returns: the conversation so far, the better answer, the worse.
Draft = tuple[list[Message], str, str]

_HEDGE_MARKS = re.compile(
    r"\bI think\b|\bI believe\b|as far as I know|I may be wrong|not completely sure|please check it|can make mistakes",
    re.I,
)


def hedges(text: str) -> bool:
    """Whether an answer is wrapped in doubt, by the words that the hedged SFT examples use."""
    return _HEDGE_MARKS.search(text) is not None


# -- the four that move something --------------------------------------------------------------------------------


def concise_before_hedged(rng: Random) -> Draft:
    fact = sft.seen_fact(rng)
    full = sft.full_answer(rng, fact)
    return [user(sft.dressed(rng, sft.asked(rng, fact)))], full, sft.hedge(rng, full, fact.name)


def refusal_before_help(rng: Random) -> Draft:
    """A wrong request: the refusal before an answer that helps, which opens as any help does and names the act.

    Its steps are those of something harmless. A head that only rejected answers have would be all that a model needs
    to look at.
    """
    asked, act = sft.refused(rng)
    steps = sft.instructions(rng)[1]["content"].split("\n")[1:]
    help_with_it = "\n".join([sft.step_head(rng, act).rstrip("\n"), *steps])
    return [user(sft.dressed(rng, asked))], sft.refusal_text(rng, act), help_with_it


def help_before_refusal(rng: Random) -> Draft:
    """A harmless request: the steps before a refusal."""
    messages = sft.instructions(rng)
    act = rng.choice(practice.harm_acts("harmful", "train"))
    refusals = knowledge.data("harms")["refusals"]
    general = rng.choice([text for text in refusals if "{do" not in text and "{Do" not in text])
    general = general.format(why=act["why"] or "it is wrong")
    other = sft.refusal(rng)[1]["content"]
    return messages[:1], messages[1]["content"], general if rng.random() < 0.7 else other


def asked_format_before_another(rng: Random) -> Draft:
    kind = rng.random()
    if kind < 0.4:
        fact = sft.seen_fact(rng)
        asked = f"{sft.dressed(rng, sft.asked(rng, fact))} {rng.choice(sft.ONE_WORD)}"
        return [user(asked)], factual.short_answer(fact), sft.full_answer(rng, fact)
    if kind < 0.7:
        facts, keys, record = sft.known_json(rng)
        name = facts[0].name
        asked = rng.choice(sft.JSON_FRAMES).format(name=name, Name=capitalise(name), keys=keys)
        return [user(asked)], record, " ".join(sft.full_answer(rng, fact) for fact in facts)
    messages = sft.bullet_list(rng)
    lines = messages[-1]["content"]
    return messages[:-1], lines, sft.listed([line.removeprefix("- ") for line in lines.split("\n")]) + "."


# -- the rest, which holds still ---------------------------------------------------------------------------------


def right_before_wrong(rng: Random) -> Draft:
    fact = sft.seen_fact(rng)
    while fact.relation.name == "neighbour":  # another country's neighbour may well be this one's too
        fact = sft.seen_fact(rng)
    template = rng.choice(fact.relation.answers)
    question = [user(sft.dressed(rng, sft.asked(rng, fact)))]
    return question, fact.fill(template), another_value(rng, fact).fill(template)


def another_value(rng: Random, fact: Fact) -> Fact:
    """The same fact with a wrong value, one that is right for another entity."""
    values = {f.value for f in knowledge.by_relation()[(fact.table, fact.relation.name)]} - {fact.value}
    return dataclasses.replace(fact, value=rng.choice(sorted(values)))


HELD_STILL = "sums verdicts summaries reading lists code talk beyond unknown turned".split()
HELD_STILL += "wishes echo introductions personas".split()


def own_answer_before_another(rng: Random) -> Draft:
    """The answer that belongs to the request before one that belongs to another request of the same kind."""
    write = sft.KINDS[rng.choice(HELD_STILL)][1]
    messages = write(rng)
    good = messages[-1]["content"]
    for _ in range(20):
        other = write(rng)[-1]["content"]
        if other != good:
            return messages[:-1], good, other
    return right_before_wrong(rng)


KINDS: dict[str, tuple[float, Callable[[Random], Draft]]] = {
    "concise over hedging": (28, concise_before_hedged),
    "refusing what is wrong": (24, refusal_before_help),
    "helping with what is fine": (12, help_before_refusal),
    "the asked format": (6, asked_format_before_another),
    "right over wrong": (8, right_before_wrong),
    "its own answer": (22, own_answer_before_another),
}


def preference(rng: Random) -> dict[str, Any]:
    """One pair as `prompt`, `chosen`, `rejected` (lists of messages) and its `kind`."""
    kind = rng.choices(list(KINDS), [share for share, _ in KINDS.values()])[0]
    messages, chosen, rejected = KINDS[kind][1](rng)
    while chosen == rejected:  # a name as one word is the same answer in two formats
        messages, chosen, rejected = KINDS[kind][1](rng)
    if messages[0]["role"] != "system" and rng.random() < 0.3:
        messages = [sft.system_turn(sft.plain_system(rng)), *messages]
    return pair(messages, chosen, rejected) | {"kind": kind}


def pair(messages: list[Message], chosen: str, rejected: str) -> dict[str, list[Message]]:
    return {"prompt": messages, "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}


def preferences(seed: int, count: int) -> list[dict[str, Any]]:
    """`count` preference pairs; the same seed gives the same ones."""
    rng = sft.Draw(f"preferences/{seed}")
    return [preference(rng) for _ in range(count)]


def requests(seed: int, count: int) -> list[list[Message]]:
    """`count` short requests for reinforcement learning: the preferences' questions, without their answers."""
    rng = sft.Draw(f"requests/{seed}")
    writers = {
        "concise over hedging": 55,
        "refusing what is wrong": 17,
        "helping with what is fine": 18,
        "sums": 10,
    }
    found = []
    for kind in rng.choices(list(writers), list(writers.values()), k=count):
        messages = sft.sums(rng)[:-1] if kind == "sums" else KINDS[kind][1](rng)[0]
        if rng.random() < 0.2:
            messages = [sft.system_turn(sft.plain_system(rng)), *messages]
        found.append(messages)
    return found


def held_out_pairs(rng: Random, split: str, n: int) -> list[dict]:
    """Preferences about held-out entities and acts, for judging a reward model: half hedging, half refusals."""
    found = []
    for fact in known_facts(rng, n // 2, split):
        full = sft.full_answer(rng, fact)
        hedged = sft.hedge(rng, full, fact.name)
        found.append((new_phrasing(rng, fact, split), full, hedged))
    refusals = knowledge.data("actions")["refusals"]
    for asked in act_requests(rng, n - n // 2, "harmful", split, "verb"):
        messages = sft.instructions(rng)
        why = {"why": "it hurts people", "doing": "this", "Doing": "This"}
        found.append((asked, rng.choice(refusals).format(**why), messages[-1]["content"]))
    return [pair([user(asked)], good, bad) for asked, good, bad in found]
