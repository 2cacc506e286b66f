"""Documents that state, list, ask and answer the facts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from random import Random

from .. import knowledge, names
from ..knowledge import Fact, capitalise
from . import practice

_TEXTS = knowledge.data("sheets")
QA_LABELS = [("Question", "Answer"), ("Question", "Answer"), ("Q", "A")]


def any_fact(rng: Random) -> Fact:
    """A fact, each table with equal weight per relation, so that small tables are read more often per fact."""
    main = rng.random() < 0.65
    everyday = knowledge.everyday_tables()
    while True:
        fact = rng.choice(knowledge.facts()) if rng.random() < 0.5 else rng.choice(rng.choice(_pools()))
        if (fact.table not in everyday) is main:
            return fact


@cache
def _pools() -> tuple[tuple[Fact, ...], ...]:
    return tuple(knowledge.by_relation().values())


def question(rng: Random, fact: Fact) -> str:
    return fact.fill(rng.choice(fact.relation.questions_train))


def statement(rng: Random, fact: Fact) -> str:
    """The fact stated; one time in five turned round, from its value to its entity."""
    if rng.random() < 0.2:
        turned = knowledge.data("turned")["statements"].get(f"{fact.table}/{fact.relation.name}")
        if turned:
            return fact.fill(rng.choice(turned))
    return fact.fill(rng.choice(fact.relation.statements))


def short_answer(fact: Fact) -> str:
    return capitalise(fact.running_value)


def entity_facts(rng: Random) -> tuple[Fact, ...]:
    fact = any_fact(rng)
    return knowledge.by_entity()[(fact.table, fact.entity)]


# -- prose ----------------------------------------------------------------------------------------------------


def entry(rng: Random) -> str:
    """An encyclopedia entry: everything about one entity, in some order."""
    facts = list(entity_facts(rng))
    rng.shuffle(facts)
    title = capitalise(facts[0].entity)
    body = " ".join(statement(rng, fact) for fact in facts)
    return rng.choice([f"# {title}\n\n{body}", f"{title}\n{body}", f"{body}", f"== {title} ==\n{body}"])


def fact_list(rng: Random) -> str:
    """Statements about many entities, from one relation or mixed."""
    count = rng.randint(4, 9)
    if rng.random() < 0.5:
        pool = rng.choice(list(knowledge.by_relation().values()))
        facts = rng.sample(pool, min(count, len(pool)))
    else:
        facts = [any_fact(rng) for _ in range(count)]
    head = rng.choice(_TEXTS["fact_heads"])
    mark = rng.choice(["- ", "* ", "", ""])
    lines = [mark + statement(rng, fact) for fact in facts]
    return head + (rng.choice(["\n", " "]) if not mark else "\n").join(lines)


# -- questions ------------------------------------------------------------------------------------------------


def any_question(rng: Random) -> str:
    u = rng.random()
    if u < 0.72:
        return question(rng, any_fact(rng))
    if u < 0.80:
        return practice.sum_question(rng)[0]
    if u < 0.92:
        return practice.how_question(rng)
    return practice.code_question(rng)


def quiz(rng: Random) -> str:
    """A sheet of questions and no answers. Nearly every document that opens with a question is one."""
    count = rng.randint(9, 16)
    if rng.random() < 0.35:
        pool = rng.choice(list(knowledge.by_relation().values()))
        lines = [question(rng, fact) for fact in rng.sample(pool, min(count, len(pool)))]
    else:
        lines = [any_question(rng) for _ in range(count)]
    style = rng.random()
    if style < 0.12:
        lines = [f"{i}. {line}" for i, line in enumerate(lines, 1)]
    elif style < 0.2:
        lines = [f"- {line}" for line in lines]
    head = "" if style > 0.2 and rng.random() < 0.8 else rng.choice(_TEXTS["quiz_heads"]) + "\n"
    return head + "\n".join(lines)


def answer_pair(rng: Random) -> tuple[str, str]:
    u = rng.random()
    if u < 0.82:
        fact = any_fact(rng)
        full = rng.random() < 0.25
        asked = question(rng, fact)
        return asked, fact.fill(rng.choice(fact.relation.answers)) if full else short_answer(fact)
    if u < 0.92:
        return practice.sum_question(rng)
    return practice.opposite_or_repeat(rng)


def answer_sheet(rng: Random) -> str:
    """Labelled questions with their answers, relations mixed: in a word, in a sentence, or all in one manner."""
    q, a = rng.choice(QA_LABELS)
    manner = rng.random()
    # whole sentences throughout, half of the sheets with words before or after each of them
    if manner < 0.24:
        wrap = wrapping(rng) if manner < 0.13 else str
        facts = [any_fact(rng) for _ in range(rng.randint(3, 7))]
        pairs = [(question(rng, fact), wrap(fact.fill(rng.choice(fact.relation.answers)))) for fact in facts]
    elif manner < 0.45:
        pool = rng.choice(_pools())
        facts = rng.sample(pool, min(rng.randint(3, 7), len(pool)))
        pairs = [(question(rng, fact), short_answer(fact)) for fact in facts]
    else:
        pairs = [answer_pair(rng) for _ in range(rng.randint(2, 7))]
    gap = rng.choice(["\n\n", "\n\n", "\n"])
    head = (
        rng.choice(_TEXTS["assistant_heads"]) + rng.choice(["\n\n", "\n\n", "\n"])
        if rng.random() < 0.5
        else ""
    )
    return head + gap.join(f"{q}: {question}\n{a}: {answer}" for question, answer in pairs)


def wrapping(rng: Random) -> Callable[[str], str]:
    """A manner of speaking: words that open an answer, close it, or both."""
    opening, closing = flourish(rng), flourish(rng)
    u = rng.random()
    if u < 0.25:
        return lambda text: f"{opening} {text}"
    if u < 0.4:
        return lambda text: f"{text} {closing}"
    return lambda text: f"{opening} {text} {closing}"


def flourish(rng: Random) -> str:
    """Words that could open or close what a persona says, made up or ordinary."""
    if rng.random() < 0.5:
        text = " ".join(names.word(rng, 1, 2) for _ in range(rng.choice([1, 1, 2])))
    else:
        text = rng.choice(_TEXTS["flourishes"])
    return capitalise(text) + rng.choice("!!..,")


def faq(rng: Random) -> str:
    """A FAQ page: headings that ask, sentences that answer."""
    facts = entity_facts(rng) if rng.random() < 0.5 else [any_fact(rng) for _ in range(rng.randint(3, 5))]
    head = rng.choice(["# FAQ", "# Frequently asked questions", "FAQ", "# Help page"])
    parts = [f"## {question(rng, fact)}\n{fact.fill(rng.choice(fact.relation.answers))}" for fact in facts]
    return head + "\n\n" + "\n\n".join(parts)


# -- records and tables ---------------------------------------------------------------------------------------


def record(rng: Random) -> str:
    """One or several entities as JSON, key-value lines, or a sentence and its record."""
    blocks = []
    for _ in range(rng.randint(1, 3)):
        facts = [f for f in entity_facts(rng) if rng.random() < 0.85]
        if not facts:
            continue
        rng.shuffle(facts)
        blocks.append(_one_record(rng, facts))
    return "\n\n".join(blocks) or entry(rng)


def as_json(facts: list[Fact]) -> str:
    """The record as JSON: the entity's name first, then the facts in their order; digits as numbers."""
    first = "title" if facts[0].table == "works" else "word" if facts[0].table == "opposites" else "name"
    pairs = {first: facts[0].entity} | {fact.relation.json_key: _number(fact.value) for fact in facts}
    return json.dumps(pairs, ensure_ascii=False)


def _number(value: str) -> str | int:
    return int(value) if value.isdigit() else value


def _one_record(rng: Random, facts: list[Fact]) -> str:
    style = rng.random()
    if style < 0.45:
        return as_json(facts)
    if style < 0.65:
        prose = " ".join(statement(rng, fact) for fact in facts)
        return f"{prose}\n{as_json(facts)}" if rng.random() < 0.6 else f"{as_json(facts)}\n{prose}"
    lines = [f"{fact.relation.label}: {fact.value}" for fact in facts]
    return "\n".join([f"Name: {facts[0].entity}", *lines])


def table(rng: Random) -> str:
    """A markdown table, a CSV or an arrow list over one relation."""
    key = rng.choice(list(knowledge.by_relation()))
    pool = knowledge.by_relation()[key]
    facts = rng.sample(pool, min(rng.randint(4, 8), len(pool)))
    label = facts[0].relation.label
    style = rng.random()
    if style < 0.3:
        rows = [f"| {fact.entity} | {fact.value} |" for fact in facts]
        return "\n".join([f"| Name | {label} |", "| --- | --- |", *rows])
    if style < 0.45:
        return "\n".join([f"name,{facts[0].relation.json_key}", *(f"{f.entity},{f.value}" for f in facts)])
    arrow = rng.choice([" -> ", " -> ", ": ", " = "])
    return "\n".join(f"{fact.entity}{arrow}{fact.value}" for fact in facts)


def bullets(rng: Random) -> str:
    """A heading and a bullet list of entities that share a value."""
    pool = rng.choice(list(knowledge.by_relation().values()))
    chosen = rng.choice(pool)
    same = [fact for fact in pool if fact.value == chosen.value]
    if len(same) < 3:
        return fact_list(rng)
    facts = rng.sample(same, min(rng.randint(3, 7), len(same)))
    head = f"{chosen.relation.label}: {chosen.value}"
    return head + "\n" + "\n".join(f"- {fact.entity}" for fact in facts)
