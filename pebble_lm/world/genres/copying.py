"""Documents in which a later part repeats an earlier one: what teaches a model to copy from its context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

from .. import grammar, knowledge, names
from ..knowledge import capitalise, with_article

_TEXTS = knowledge.data("scenes")
JOBS, PETS, COLOURS, HOBBIES, DAYS, OBJECTS = (
    _TEXTS[of] for of in ("jobs", "pets", "colours", "hobbies", "days", "objects")
)
PROFILE_QUESTIONS = _TEXTS["profile_questions"]
# A text, its summary in a sentence, question-answer pairs, the values of its slots.
Text = tuple[str, str, list[tuple[str, str]], dict[str, str]]


def slots(rng: Random) -> dict[str, str]:
    """Fresh values for every slot that an article shape may have (see "about" in facts/articles.json)."""
    values: dict[str, str] = {"group": names.group(rng)}
    ordinary, known = rng.random() < 0.25, rng.random() < 0.15
    firsts, lasts, towns = (rng.sample(pool, 3) for pool in (names.FIRST_NAMES, names.SURNAMES, names.TOWNS))
    for i, n in enumerate(("", "2", "3")):
        first, last = (firsts[i], lasts[i]) if ordinary else (names.first_name(rng), names.surname(rng))
        values |= {
            f"person{n}": f"{first} {last}",
            f"first{n}": first,
            f"surname{n}": last,
            f"city{n}": towns[i] if known else names.town(rng),
        }
    for key, options in knowledge.data("articles")["lists"].items():
        chosen = rng.choice(options)
        values |= chosen if isinstance(chosen, dict) else {key: str(chosen)}
    return values | {f"{key}_cap": capitalise(value) for key, value in values.items()}


def shapes(split: str) -> list[dict]:
    """The article shapes of a split; "sft" has the training shapes and more, "further" still more of them."""
    every = knowledge.data("articles")["shapes"]
    if split == "further":
        return shapes("sft") + knowledge.data("further_articles")
    if split == "sft":
        return [shape for shape in every if shape["split"] == "train"] + knowledge.data("more_articles")
    return [shape for shape in every if shape["split"] == split]


def article(rng: Random, split: str = "train") -> Text:
    """An article of the split: (text, one-sentence summary, question-answer pairs, its slot values).

    Training shapes get up to three sentences about nothing put before or after them, so that the place of a
    name in the text tells little.
    """
    shape = rng.choice(shapes(split))
    values = slots(rng)
    text = shape["text"].format(**values)
    if split in ("train", "sft", "further") and shape.get("extras"):
        extras = knowledge.data("articles")["extras"]
        before = rng.sample(extras["before"], rng.choice([0, 0, 0, 1, 1, 2]))
        after = rng.sample(extras["after"], rng.choice([0, 0, 1, 1, 2]))
        text = " ".join([*(e.format(**values) for e in before), text, *(e.format(**values) for e in after)])
    return text, shape["summary"].format(**values), _filled_pairs(shape, values), values


def _filled_pairs(entry: dict, values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(pair["q"].format(**values), pair["a"].format(**values)) for pair in entry.get("qa", [])]


def composed(rng: Random) -> Text:
    """A text put together from the grammar of facts/texts.json, as `article` returns one.

    An event, told in one of many ways, with sentences about something else before and after it: what stays the same is
    only that somebody did something, somewhere.
    """
    split = getattr(rng, "split", "train")
    texts = knowledge.data("texts")
    values = slots(rng)
    for name, options in texts["slots"].items():
        values[name] = rng.choice(options).format(**values)
        values[f"{name}_cap"] = capitalise(values[name])
    u = rng.random()
    if rng.random() < 0.3:
        return own_text(rng)
    if u < 0.15:
        entry = rng.choice(texts["everyday"][split])
        text, short = (grammar.expand(rng, entry[key]).format(**values) for key in ("text", "summary"))
        return text, short, _filled_pairs(entry, values), values
    letter = u < 0.27
    openings = texts["letters" if letter else "openings_first" if u < 0.45 else "openings"][split]
    opening, event = rng.choice(openings), rng.choice(texts["events"][split])
    while opening["form"] == "plan" and not event["planned"]:
        event = rng.choice(texts["events"][split])
    if not letter and event.get("told") and rng.random() < 0.1:
        told_otherwise = rng.choice(event["told"])
        if isinstance(told_otherwise, str):
            told_otherwise = {"text": told_otherwise, "place": "in"}
        opening = {"form": "did", "name": "person", **told_otherwise}
    for form in ("done", "plan", "doing", "do", "does"):
        values["did" if form == "done" else form] = event[form].format(**values)
    ahead = opening["form"] == "plan" and bool(event.get("ahead"))
    details = [detail.format(**values) for detail in event["ahead" if ahead else "details"]]
    said = rng.sample(details, min(len(details), rng.choice([0, 1, 1, 2])))
    other = event["other"].format(**values) if event.get("other") and not ahead and rng.random() < 0.3 else ""
    said += [capitalise(other) + "."] if other else []
    fillers, endings = texts["fillers"][split], texts["endings_ahead" if ahead else "endings"][split]
    if letter:
        text = opening["text"].format(**values, details=" ".join(said) or rng.choice(details))
    else:
        if rng.random() < 0.35:
            said.insert(rng.randint(0, len(said)), rng.choice(fillers).format(**values))
        if rng.random() < 0.35:
            said.append(rng.choice(endings).format(**values))
        before = [rng.choice(fillers).format(**values)] if rng.random() < 0.3 else []
        text = " ".join([*before, opening["text"].format(**values), *said])
    values["name"] = "The writer" if opening["name"] == "writer" else values[opening["name"]]
    values["act"] = f"is {values['doing']}" if opening["form"] == "doing" else values[opening["form"]]
    frames = texts["summaries"][{"in": "in", "from": "from"}.get(opening["place"], "plain")]["train"]
    short = capitalise(frames[0].format(**values))
    return text, short, _text_questions(texts, split, opening, event, other, text, values), values


def own_text(rng: Random) -> Text:
    """A short text as a learner would type it, with pronouns and ordinary names (facts/own_texts.json)."""
    data, values = knowledge.data("own_texts"), slots(rng)
    for side in ("he", "she"):
        for n, name in zip(("", "2", "3"), rng.sample(data["names"][side], 3)):
            values[f"{side}_name{n}"] = name
    values |= {"town": values["city"], "town2": values["city2"]}
    values |= {name: rng.choice(options) for name, options in data["slots"].items()}
    values |= {f"{key}_cap": capitalise(value) for key, value in list(values.items())}
    entry = rng.choice(data["texts"][getattr(rng, "split", "train")])
    text, short = (
        grammar.fill(rng, grammar.fill(rng, entry[key], values), values) for key in ("text", "summary")
    )
    qa = [tuple(grammar.fill(rng, pair[key], values) for key in ("q", "a")) for pair in entry["qa"]]
    return text, short, qa, values


def _text_questions(
    texts: dict, split: str, opening: dict, event: dict, other: str, text: str, values: dict[str, str]
) -> list[tuple[str, str]]:
    """The questions that a composed text answers."""
    has = {opening["form"]}
    has |= {"named"} if opening["name"] != "writer" else set()
    has |= {"town"} if opening["place"] == "in" else set()
    has |= {name for name in ("when", "soon") if values[name].lower() in text.lower()}
    values = {**values, "other_did": other.removeprefix(f"{values['person2']} ")}
    has |= {"other"} if other else set()
    qa = [
        (pair["q"], pair["a"]) for pair in texts["questions"][split] if has.issuperset(pair.get("needs", ()))
    ]
    if "did" in has and "named" in has:
        qa += [(q, event["answer"]) for q in event["question"]]
    return [(q.format(**values), a.format(**values)) for q, a in qa]


def told(rng: Random) -> Text:
    """A text to sum up or to ask about: one of the written shapes, or one put together from the grammar."""
    split = getattr(rng, "split", "train")
    if rng.random() < 0.5:
        return composed(rng)
    return article(rng, "further" if split == "train" else split)


# -- genres ---------------------------------------------------------------------------------------------------


def news(rng: Random, split: str = "train") -> str:
    """An article with its summary before or after it, as papers print them."""
    text, summary, _, _ = composed(rng) if rng.random() < 0.5 else article(rng, split)
    frame = rng.choice(knowledge.data("articles")["document_frames"])
    return frame.format(article=text, summary=summary)


def passage(rng: Random, split: str = "train") -> str:
    """A made-up passage, then questions that it answers."""
    text, summary, qa, _ = composed(rng) if rng.random() < 0.5 else article(rng, split)
    q, a = rng.choice([("Question", "Answer"), ("Question", "Answer"), ("Q", "A")])
    rng.shuffle(qa)
    pairs = qa[: rng.randint(1, 4)] or [("What is this text about?", summary)]
    head = rng.choice(["", "Read the text and answer the questions.\n\n", "Reading exercise\n\n"])
    return head + text + "\n\n" + "\n\n".join(f"{q}: {x}\n{a}: {y}" for x, y in pairs)


def profile(rng: Random) -> dict[str, str | int]:
    pairs = {
        "name": names.person(rng),
        "job": rng.choice(JOBS),
        "city": names.town(rng),
        "age": rng.randint(18, 89),
        "hobby": rng.choice(HOBBIES),
        "pet": rng.choice(PETS),
        "colour": rng.choice(COLOURS),
    }
    rest = list(pairs)[1:]
    rng.shuffle(rest)
    return {key: pairs[key] for key in ["name", *rest[: rng.randint(2, 5)]]}


def profile_prose(rng: Random, person: dict) -> str:
    filled = person | {f"a_{key}": with_article(person.get(key, "x")) for key in ("job", "pet")}
    frames = _TEXTS["profile_sentences"]
    return " ".join(rng.choice(frames[key]).format(**filled) for key in person if key != "name")


def profile_question(rng: Random, people: list[dict]) -> tuple[str, str]:
    """A question about one of the people, and its answer."""
    person = rng.choice(people)
    key = rng.choice([k for k in person if k != "name"])
    return rng.choice(PROFILE_QUESTIONS[key]).format(**person), capitalise(str(person[key]))


def restated_record(rng: Random) -> str:
    """A person's record and the same in sentences, either way round; JSON, key-value lines or a table row."""
    parts = []
    for _ in range(rng.randint(1, 3)):
        person = profile(rng)
        prose = profile_prose(rng, person)
        style = rng.random()
        if style < 0.5:
            form = json.dumps(person, ensure_ascii=False)
        elif style < 0.8:
            form = "\n".join(f"{key.capitalize()}: {value}" for key, value in person.items())
        else:
            form = "| " + " | ".join(str(value) for value in person.values()) + " |"
        parts.append(f"{prose}\n{form}" if rng.random() < 0.5 else f"{form}\n{prose}")
    return "\n\n".join(parts)


def people_questions(rng: Random) -> str:
    """Two to four people described; then questions about one or the other."""
    people = [profile(rng) for _ in range(rng.randint(2, 4))]
    text = "\n".join(profile_prose(rng, person) for person in people)
    pairs = []
    for _ in range(rng.randint(2, 5)):
        pairs.append(profile_question(rng, people))
    return text + "\n\n" + "\n\n".join(f"Question: {q}\nAnswer: {a}" for q, a in pairs)


def key_values(rng: Random) -> str:
    """A list of made-up keys and values, asked about afterwards."""
    keys = [names.word(rng, 1, 2) for _ in range(rng.randint(3, 7))]
    value = rng.choice(
        [lambda: names.word(rng, 1, 2), lambda: str(rng.randint(0, 99)), lambda: names.first_name(rng)]
    )
    pairs = {key: value() for key in keys}
    sep = rng.choice([" = ", ": ", " -> "])
    asked = [rng.choice(keys) for _ in range(rng.randint(2, 4))]
    lines = [f"{key}{sep}{val}" for key, val in pairs.items()]
    ask = rng.choice(["What is {k}? {v}", "{k}{sep}{v}", "The value of {k} is {v}."])
    return "\n".join(lines) + "\n\n" + "\n".join(ask.format(k=k, v=pairs[k], sep=sep) for k in asked)


def letter(rng: Random) -> str:
    """A letter whose sender, receiver and subject come back at the end."""
    to, sender = names.first_name(rng), names.first_name(rng)
    values = {"to": to, "city": names.town(rng), "thing": rng.choice(OBJECTS), "day": rng.choice(DAYS)}
    parts = [rng.choice(_TEXTS["letter"][part]).format(**values) for part in ("body", "close", "postscript")]
    body, close, postscript = parts
    return f"Dear {to},\n\n{body}\n\n{close}\n{sender}{postscript}"


def thread(rng: Random) -> str:
    """A forum thread: people who address each other by name."""
    values = {"a": names.first_name(rng), "b": names.first_name(rng), "thing": rng.choice(OBJECTS)}
    values |= {"city": names.town(rng), "a_thing": with_article(values["thing"])}
    return "\n".join(drawn_lines(rng, _TEXTS["thread"], values))


def drawn_lines(rng: Random, lines: list[list[str]], values: Mapping[str, str]) -> list[str]:
    """One of the wordings of each line; where there is one alone, nothing is drawn."""
    return [(rng.choice(some) if len(some) > 1 else some[0]).format(**values) for some in lines]


def story(rng: Random) -> str:
    """A short story in which names, a place and an object keep coming back."""
    texts = _TEXTS["story"]
    values = {"a": names.first_name(rng), "b": names.first_name(rng), "city": names.town(rng)}
    values |= {"thing": rng.choice(OBJECTS), "pet": rng.choice(PETS), "petname": names.first_name(rng)}
    values |= {"a_thing": with_article(values["thing"]), "a_pet": with_article(values["pet"])}
    values |= {"job": rng.choice(JOBS)}
    opening = rng.choice(texts["openings"])
    kept = [line for line in texts["middles"] if rng.random() < 0.75]
    return " ".join([opening, *kept, rng.choice(texts["endings"])]).format(**values)


def dialogue(rng: Random) -> str:
    """Two people talk, one introduces a third."""
    values = {of: names.first_name(rng) for of in "abc"}
    values |= {"city": names.town(rng), "a_job": with_article(rng.choice(JOBS))}
    return "\n".join(_TEXTS["dialogue"][: rng.randint(3, 6)]).format(**values)


def repetition(rng: Random) -> str:
    """Words said once and then again: in order, one by one, or as a list that comes back."""
    words = [names.word(rng, 1, 3) for _ in range(rng.randint(2, 6))]
    style = rng.random()
    if style < 0.35:
        verb = rng.choice(["Repeat", "Say", "Copy", "Echo"])
        return "\n".join(f"{verb}: {word}\n{word}" for word in words)
    if style < 0.7:
        line = ", ".join(words)
        return f"{line}\n{line}\n{line}"
    lines = "\n".join(f"- {word}" for word in words)
    return f"Shopping list\n{lines}\n\nBought\n{lines}"
