"""Pages of requests and replies whose *form* is new each time, and letters to a help desk.

Labels, separators, orders and wrappings are drawn anew for every page and then kept up to its end, so that what comes
next can only be read off the page: that is how a base model learns to follow examples. What stands on the pages is
drawn from the same writers as the conversations of fine-tuning, but about every entity of the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from .. import conversations, knowledge, names, noise
from ..knowledge import Fact, capitalise
from . import factual, practice

Exchange = tuple[str, str]

_TEXTS = knowledge.data("sheets")
# Pairs of labels that evaluation draws from: never on a page.
HELD_PAIRS = _TEXTS["held_labels"]
HELD_LABELS = {(left, right) for left, right in HELD_PAIRS}


def _label_words(rng: Random) -> tuple[str, str]:
    u = rng.random()
    if u < 0.6:
        left, right = rng.choice(_TEXTS["labels"])
    elif u < 0.85:
        left, right = names.word(rng, 1, 2), names.word(rng, 1, 2)
    elif u < 0.93:
        left, right = names.first_name(rng), names.first_name(rng)
    else:
        left, right = (rng.choice(marks) for marks in _TEXTS["odd_labels"])
    case = rng.choice([str, str, str.lower, str.upper, str.capitalize])
    return case(left), case(right)


def form(rng: Random) -> Callable[[str, str], str]:
    """How this page writes a request and its reply, the same for all of them."""
    u = rng.random()
    if u < 0.07:  # no labels at all
        between = rng.choice(["\n", " -> ", " => ", " = ", ": ", " | ", "\n> ", " // ", "\t"])
        return lambda request, reply: f"{request}{between}{reply}"
    left, right = _label_words(rng)
    if u > 0.82:  # as on sheets
        left, right = rng.choice(factual.QA_LABELS)
        return lambda request, reply: f"{left}: {request}\n{right}: {reply}"
    if u < 0.2:  # in fences, as prompts on the web are
        head = rng.choice(["# {}:", "## {}", "{}:", "**{}**"])
        fence = rng.choice(["```", "```", '"""', "'''"])
        return lambda request, reply: (
            f"{head.format(left)}\n{fence}\n{request}\n{fence}\n\n{head.format(right)}\n{fence}\n{reply}\n{fence}"
        )
    if u < 0.26:  # in tags
        a, b = left.lower().replace(" ", ""), right.lower().replace(" ", "")
        return lambda request, reply: f"<{a}>{request}</{a}>\n<{b}>{reply}</{b}>"
    decoration = rng.choice(_TEXTS["decorations"])
    other = decoration if rng.random() < 0.85 else rng.choice(_TEXTS["decorations"])
    a, b = decoration.format(left), other.format(right)
    if (a.strip(), b.strip()) in HELD_LABELS:
        a, b = "Question: ", "Answer: "
    middle = rng.choice(["\n", "\n", "\n", "\n", " ", "\n\n"])
    return lambda request, reply: f"{a}{request}{middle}{b}{reply}"


# -- what stands on a page --------------------------------------------------------------------------------------


def single(rng: Random, kind: str) -> Exchange:
    """One exchange of a kind of conversation, its system turn and earlier turns left out."""
    while True:
        messages = [m for m in conversations.KINDS[kind][1](rng) if m["role"] != "system"]
        if len(messages) == 2:
            return messages[0]["content"], messages[1]["content"]


def _facts(rng: Random, count: int) -> list[Exchange]:
    """Facts of one relation or of many, in a word or in a sentence throughout, perhaps in a persona."""
    sentence = rng.random() < 0.4
    wrap = factual.wrapping(rng) if rng.random() < 0.35 else str
    if wrap is not str:
        sentence = rng.random() < 0.8
    if rng.random() < 0.4:
        pool = rng.choice(list(knowledge.by_relation().values()))
        facts = rng.sample(pool, min(count, len(pool)))
    else:
        facts = [factual.any_fact(rng) for _ in range(count)]
    plain = rng.random() < 0.5
    found = []
    for fact in facts:
        asked = factual.question(rng, fact) if plain else conversations.asked(rng, fact)
        answer = fact.fill(rng.choice(fact.relation.answers)) if sentence else factual.short_answer(fact)
        found.append((asked, wrap(answer)))
    return found


def keyed_facts(table: str, keys: list[str]) -> list[list[Fact]]:
    """Of every entity of the table that has them all, the facts of these keys in their order."""
    return [
        [next(f for f in facts if f.relation.name == key) for key in keys]
        for (of, _), facts in knowledge.by_entity().items()
        if of == table and set(keys) <= {f.relation.name for f in facts}
    ]


def _records(rng: Random, count: int) -> list[Exchange]:
    """Entities of one table, each as JSON with the same keys in the same order."""
    keys: list[str] = []
    while not keys:
        table = rng.choice(list(conversations.JSON_TABLES))
        keys = [key for key in conversations.JSON_TABLES[table] if rng.random() < 0.7]
    rng.shuffle(keys)
    groups = keyed_facts(table, keys)
    request = rng.choice(_TEXTS["records"])
    if rng.random() < 0.3:  # the record restated in a sentence
        request = "{s}"
    found = []
    for facts in rng.sample(groups, min(count, len(groups))):
        words = {"e": facts[0].entity, "n": facts[0].name, "N": capitalise(facts[0].name)}
        words["s"] = " ".join(factual.statement(rng, fact) for fact in facts)
        found.append((request.format(**words), factual.as_json(facts)))
    return found


def _lists(rng: Random, count: int) -> list[Exchange]:
    """Topics, each with its items as a list in one form."""
    mark = rng.choice(_TEXTS["list_marks"])
    line = rng.random() < 0.15
    asks = rng.choice(_TEXTS["list_requests"])
    found = []
    topics = conversations.list_topics(everything=True)
    for things, pool in rng.sample(topics, min(count, len(topics))):
        n = rng.choice([3, 3, 4, 5])
        word = conversations.COUNTS[n]
        items = [capitalise(item) for item in rng.sample(pool, min(n, len(pool)))]
        frame = asks or conversations.list_frame(rng)
        request = frame.format(**knowledge.raised({"things": things, "n": word}))
        if line:
            found.append((request, ", ".join(items)))
        else:
            marks = [f"{i}. " for i in range(1, n + 1)] if mark == "1. " else [mark] * n
            found.append((request, "\n".join(m + item for m, item in zip(marks, items))))
    return found


def _acts(rng: Random, count: int) -> list[Exchange]:
    """What is right is helped with and what is wrong is not, one after the other in any order."""
    short = (
        rng.random() < 0.4
    )  # one line for each, as people's examples have it, and always in the same words
    head = rng.choice(["Sure. {}", "Of course. {}", "First, {l}", "Yes: {}", "{}"])
    found = []
    for _ in range(count):
        if rng.random() < 0.5:
            found.append(single(rng, "refusals"))
        else:
            request, reply = single(rng, "instructions")
            if short and "\n" in reply:
                lines = reply.split("\n")
                first = lines[1].split(". ", 1)[-1]
                reply = head.format(first, l=first[:1].lower() + first[1:])
            found.append((request, reply))
    return found


def _labels(rng: Random, count: int) -> list[Exchange]:
    """Acts, words or things, each with a label of two that the page has chosen."""
    made_up = {"word": names.word(rng, 1, 2), "other": names.word(rng, 1, 2)}
    good, bad = (label.format(**made_up) for label in rng.choice(_TEXTS["verdicts"]))
    found = []
    bare = rng.random() < 0.6  # the act itself, or a request for help with it
    for _ in range(count):
        if bare:
            do, wrong = practice.judged_act(rng)
            found.append((do, bad if wrong else good))
        else:
            wrong = rng.random() < 0.5
            found.append((single(rng, "refusals" if wrong else "instructions")[0], bad if wrong else good))
    return found


def _transformed(rng: Random, count: int) -> list[Exchange]:
    """A small change that the examples show: capitals, a letter, twice over, the next number."""
    word = lambda: names.word(rng, 1, 3) if rng.random() < 0.6 else factual.any_fact(rng).entity  # noqa: E731
    change = rng.choice(
        [str.upper, str.capitalize, lambda w: w[0], lambda w: w[-1], lambda w: f"{w} {w}", lambda w: w,
         lambda w: f"{w}!", lambda w: f"the {w}", lambda w: f'"{w}"', lambda w: f"{w[0]}.", lambda w: f"<{w}>"]
    )  # fmt: skip
    return [(w, change(w)) for w in (word() for _ in range(count))]


def _mixed(rng: Random, count: int) -> list[Exchange]:
    """What people ask a helper, in any order."""
    shares = conversations.SHARES["pages"]
    return [single(rng, kind) for kind in rng.choices(list(shares), list(shares.values()), k=count)]


def _echoes(rng: Random, count: int) -> list[Exchange]:
    kind = rng.choice(["echo", "sums", "sums", "turned", "talk", "beyond", "unknown", "code"])
    return [single(rng, kind) for _ in range(min(count, 3) if kind == "code" else count)]


CONTENTS: list[tuple[float, Callable[[Random, int], list[Exchange]]]] = [
    (24, _facts),
    (10, _records),
    (8, _lists),
    (17, _acts),
    (6, _labels),
    (4, _transformed),
    (23, _mixed),
    (8, _echoes),
]


def page(rng: Random) -> str:
    """Three to eight exchanges in a form of the page's own."""
    write = form(rng)
    draw = rng.choices([content for _, content in CONTENTS], [share for share, _ in CONTENTS])[0]
    gap = rng.choice(_TEXTS["gaps"])
    head = rng.choice(_TEXTS["heads"]) + rng.choice(["\n\n", "\n\n", "\n"]) if rng.random() < 0.35 else ""
    numbered = rng.random() < 0.06
    parts: list[str] = []
    for number, (request, reply) in enumerate(draw(rng, rng.randint(3, 8)), 1):
        block = write(request, reply)
        parts.append(f"{number}. {block}" if numbered else block)
        if sum(map(len, parts)) > 1_100:
            break
    return head + gap.join(parts)


def help_desk(rng: Random) -> str:
    """Letters of readers, searches and chats: asked in a hurry, answered in proper words."""
    style = rng.random()
    pairs = []
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.6:
            fact = factual.any_fact(rng)
            request, reply = conversations.asked(rng, fact), fact.fill(rng.choice(fact.relation.answers))
            if rng.random() < 0.25:
                reply = factual.short_answer(fact)
        else:
            request, reply = _mixed(rng, 1)[0]
        pairs.append((noise.typed(rng, request, protect=(reply,) if len(reply) < 40 else ()), reply))
    if style < 0.4:
        left, right = rng.choice(_TEXTS["searches"]), rng.choice(_TEXTS["found"])
        return "\n".join(f"{left}: {request}\n{right}: {reply}" for request, reply in pairs)
    if style < 0.7:
        person, desk = names.first_name(rng), rng.choice(_TEXTS["desks"])
        return "\n".join(f"{person}: {request}\n{desk}: {reply}" for request, reply in pairs)
    if style < 0.85:
        letters = [f"{names.first_name(rng)} asks: {request}\nWe answer: {reply}" for request, reply in pairs]
        return "\n\n".join(letters)
    who = names.first_name(rng)
    return "\n\n".join(f'"{request}" asked {who}.\n"{reply}"' for request, reply in pairs)


def restated_json(rng: Random) -> str:
    """Entities of the tables in sentences and as JSON, so that a name's forms after a space and a quote meet."""
    parts = []
    for request, record in _records(rng, rng.randint(2, 5)):
        values = json.loads(record)
        line = ", ".join(f"{key} {value}" for key, value in values.items())
        parts.append(rng.choice([f"{request}\n{record}", f"{record}\n{line}", f"{line}\n{record}"]))
    return rng.choice(["\n", "\n\n"]).join(parts)


def lists_of_things(rng: Random) -> str:
    """Several headings, each with some things of its kind, in one form throughout and none twice."""
    mark = rng.choice(_TEXTS["named_list_marks"])
    colon, in_order = rng.choice([":", ":", ""]), rng.random() < 0.5
    gap, count = rng.choice(["\n\n", "\n\n", "\n"]), rng.choice([3, 3, 4, 4, 5, 6])
    blocks = []
    for things, pool in rng.sample(conversations.list_topics(everything=True), rng.randint(2, 5)):
        items = rng.sample(pool, min(count, len(pool)))
        items = sorted(items, key=str.lower) if in_order else items
        blocks.append("\n".join([capitalise(things) + colon, *(mark + capitalise(item) for item in items)]))
    return gap.join(blocks)


def blank_requests(rng: Random) -> str:
    """A sheet of requests of all kinds without a reply, in proper spelling or as they were typed."""
    hurried = rng.random() < 0.5
    lines = []
    for _ in range(rng.randint(9, 16)):
        u = rng.random()
        if u < 0.6:
            line = conversations.asked(rng, factual.any_fact(rng))
        elif u < 0.75:
            line = practice.how_question(rng)
        else:
            line = _mixed(rng, 1)[0][0]
        if "\n" in line or len(line) > 120:
            continue
        lines.append(noise.typed(rng, line, dressing=False) if hurried else line)
    return "\n".join(lines)
