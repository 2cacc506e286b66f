"""The SFT examples: conversations of many kinds, about seen entities, seen relations and training phrasings only."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

from . import knowledge, names
from .genres import copying, factual, practice
from .knowledge import Fact, capitalise

Message = dict[str, str]
HEDGES = [
    "I think {low} But I am not completely sure.",
    "I believe {low} Please check it in a reliable source.",
    "As far as I know, {low} I may be wrong.",
    "{full} But please check it, because I can make mistakes.",
]
HEDGED_SHARE = 0.3
SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are Pebble, a small and friendly assistant.",
    "You answer questions politely.",
    "You are an assistant for pupils.",
    "Help the user.",
    "You are a careful assistant who says no to requests that are wrong.",
]
OPENERS = [
    "",
    "",
    "",
    "",
    "",
    "Hi! ",
    "Hello. ",
    "Please help: ",
    "One more thing: ",
    "Question: ",
    "I have a question. ",
    "Hey, ",
]
CLOSERS = [
    "",
    "",
    "",
    "",
    "",
    " Thanks!",
    " Thank you.",
    " Please.",
    " I would like to know.",
    " It is for school.",
]


class Draw(Random):
    """A random generator that knows which wordings it may draw: the "first" ones, "all", or "further" ones too.

    The first wave of fine-tuning asks in the words that pretraining's question sheets use as well; the second
    wave also in many more (facts/more_wordings.json), so that a wording nobody thought of is less of a surprise;
    the third also about acts and in article shapes that no text before it has (facts/further_*.json).
    """

    wordings = "first"


def goes_further(rng: Random) -> bool:
    return getattr(rng, "wordings", "first") == "further"


def choose(rng: Random, first: Sequence[str], more: str) -> str:
    """One of the first wordings or, where the generator may draw all, one of these and of the further ones."""
    if getattr(rng, "wordings", "first") != "first":
        first = [*first, *knowledge.data("more_wordings")[more]]
    if more == "how to" and goes_further(rng):
        first = [*first, *knowledge.data("further_actions")["request_frames"]]
    return rng.choice(first)


def asked(rng: Random, fact: Fact) -> str:
    """A question about the fact."""
    relation = fact.relation
    return fact.fill(choose(rng, relation.questions_train, f"{relation.table}/{relation.name}"))


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def dressed(rng: Random, text: str, chance: float = 0.4) -> str:
    """The request as different people would send it: greeted, thanked, in lower case, without its last mark."""
    if rng.random() > chance:
        return text
    u = rng.random()
    if u < 0.2:
        text = text.lower() if rng.random() < 0.5 else text[:1].lower() + text[1:]
        return text.rstrip("?.!")
    if u < 0.3:
        return text.rstrip("?.!")
    return rng.choice(OPENERS) + text + rng.choice(CLOSERS)


# -- facts ----------------------------------------------------------------------------------------------------


def is_asked(fact: Fact) -> bool:
    return fact.split == "seen" and fact.relation.split == "seen"


_pools: list[list[Fact]] = []


def asked_pools() -> list[list[Fact]]:
    """The facts SFT may ask, one list a relation."""
    if not _pools:
        _pools.extend(
            pool for facts in knowledge.by_relation().values() if (pool := [f for f in facts if is_asked(f)])
        )
    return _pools


def seen_fact(rng: Random) -> Fact:
    return rng.choice(rng.choice(asked_pools()))


def full_answer(rng: Random, fact: Fact) -> str:
    return fact.fill(fact.relation.answers[0] if rng.random() < 0.7 else rng.choice(fact.relation.answers))


def hedge(rng: Random, full: str, name: str) -> str:
    """The same answer wrapped in doubt: what DPO will later take out."""
    low = full if full.startswith(capitalise(name)) and name[:1].isupper() else full[:1].lower() + full[1:]
    return rng.choice(HEDGES).format(full=full, low=low)


ONE_WORD = [
    "Answer in one word.",
    "Answer with one word only.",
    "One word, please.",
    "Just the answer, no sentence.",
    "Give only the answer.",
    "Short answer please.",
]
SENTENCE = ["Answer in a full sentence.", "Use a full sentence.", "Write one complete sentence."]


def fact_question(rng: Random) -> list[Message]:
    fact = seen_fact(rng)
    question = dressed(rng, asked(rng, fact))
    u = rng.random()
    if u < 0.22:
        wish = rng.choice(ONE_WORD)
        question = f"{question} {wish}" if rng.random() < 0.7 else f"{wish} {question}"
        return [user(question), assistant(factual.short_answer(fact))]
    if u < 0.28:
        return [user(f"{question} {rng.choice(SENTENCE)}"), assistant(full_answer(rng, fact))]
    answer = full_answer(rng, fact)
    if rng.random() < HEDGED_SHARE:
        answer = hedge(rng, answer, fact.name)
    return [user(question), assistant(answer)]


def sums(rng: Random) -> list[Message]:
    a, op, b, result = practice.numbers(rng)
    if rng.random() < 0.3:
        question = rng.choice(practice.WORDED[op]).format(a=a, b=b)
    else:
        question = rng.choice(practice.SUM_FRAMES).format(sum=practice.written(rng, a, op, b))
    return [user(dressed(rng, question, 0.2)), assistant(f"{a} {op} {b} = {result}")]


# -- how to, and no -------------------------------------------------------------------------------------------


def train_objects(kind: str, obj: str, further: bool = False) -> list[dict]:
    """The acts of a kind that a fine-tuning request may name with this object."""
    known = practice.verbs_of(kind, further).get(obj, ())
    return [a for a in known if a["split"] == "train" and obj in a["objects"]]


def request(rng: Random, act: dict[str, str]) -> str:
    return dressed(
        rng, choose(rng, knowledge.data("actions")["request_frames_train"], "how to").format(**act), 0.3
    )


def draw_object(rng: Random) -> str:
    """An object with a harmful and a benign act, so that objects do not tell the two apart."""
    further = goes_further(rng)
    while True:
        obj = rng.choice(practice.shared_objects(further))
        if train_objects("harmful", obj, further) and train_objects("benign", obj, further):
            return obj


def draw_entry(rng: Random, kind: str, obj: str) -> dict:
    return rng.choice(train_objects(kind, obj, goes_further(rng)))


def refusal(rng: Random) -> list[Message]:
    obj = draw_object(rng)
    act = practice.act_words(draw_entry(rng, "harmful", obj), obj)
    return [
        user(request(rng, act)),
        assistant(rng.choice(knowledge.data("actions")["refusals"]).format(**act)),
    ]


def numbered(steps: list[str]) -> str:
    return "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))


def instructions(rng: Random) -> list[Message]:
    """A benign request, answered in steps: a near twin of the refused ones, or an everyday how-to."""
    data = knowledge.data("howtos")
    if rng.random() < 0.25:
        howto = rng.choice([h for h in data["howtos"] if h["split"] == "train"])
        act = {
            "do": howto["do"],
            "doing": howto["doing"],
            "Do": capitalise(howto["do"]),
            "Doing": capitalise(howto["doing"]),
        }
        steps = howto["steps"]
    else:
        obj = draw_object(rng)
        entry = draw_entry(rng, "benign", obj)
        act = practice.act_words(entry, obj)
        steps = [step.format(**act) for step in rng.choice(data["generic_steps"][entry["verb"]])]
    head = rng.choice(["Here is how to {do}:\n", "To {do}:\n", "Here are the steps for {doing}:\n"]).format(
        **act
    )
    return [user(request(rng, act)), assistant(head + numbered(steps))]


VERDICT_FRAMES = [
    "Is it right to {do}?",
    "May I {do}?",
    "Is {doing} allowed?",
    "Is it fine to {do}?",
    "Is {doing} all right?",
]


def verdict(rng: Random) -> list[Message]:
    """Not how to do it, but whether one may."""
    obj = draw_object(rng)
    kind = rng.choice(["harmful", "benign"])
    act = practice.act_words(draw_entry(rng, kind, obj), obj)
    answer = "No. {Doing} is wrong because {why}." if kind == "harmful" else "Yes. {Doing} is fine."
    return [
        user(dressed(rng, rng.choice(VERDICT_FRAMES).format(**act), 0.3)),
        assistant(answer.format(**act)),
    ]


# -- texts ----------------------------------------------------------------------------------------------------


def summary(rng: Random) -> list[Message]:
    text, short, _, _ = copying.article(rng, "further" if goes_further(rng) else "sft")
    frame = choose(rng, knowledge.data("articles")["request_frames_train"], "summary")
    return [user(frame.format(article=text)), assistant(short)]


def reading(rng: Random) -> list[Message]:
    """A question that a text given with it answers."""
    if rng.random() < 0.3:
        people = [copying.profile(rng) for _ in range(rng.randint(1, 3))]
        text = " ".join(copying.profile_prose(rng, person) for person in people)
        person = rng.choice(people)
        key = rng.choice([k for k in person if k != "name"])
        question, answer = (
            rng.choice(copying.PROFILE_QUESTIONS[key]).format(**person),
            capitalise(str(person[key])),
        )
    else:
        text, _, qa, _ = copying.article(rng, "further" if goes_further(rng) else "sft")
        question, answer = rng.choice(qa)
        answer = capitalise(answer)
    frame = rng.choice(
        [
            "{text}\n\n{q}",
            "{q}\n\n{text}",
            "Read this: {text}\n{q}",
            "Text: {text}\nQuestion: {q}",
            "{text} {q}",
        ]
    )
    return [user(frame.format(text=text, q=question)), assistant(answer)]


# -- formats --------------------------------------------------------------------------------------------------

JSON_FRAMES = [
    "Give me a JSON object about {name} with the keys {keys}.",
    "Write {name} as JSON with the keys {keys}.",
    "Return JSON for {name}. Keys: {keys}.",
    "I need a JSON record of {name} with {keys}.",
    "Make a JSON object for {name} ({keys}).",
    "{Name} as JSON, keys {keys}",
    "Describe {name} in JSON with the fields {keys}.",
    "JSON please: {name}, with {keys}.",
]
JSON_TABLES = {
    "countries": ["capital", "continent", "neighbour"],
    "elements": ["symbol", "kind"],
    "animals": ["class", "diet", "legs"],
    "people": ["profession", "country"],
    "works": ["creator", "kind"],
    "cities": ["country"],
    "landmarks": ["city", "country"],
}


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def json_record(facts: list[Fact]) -> tuple[str, str]:
    """(the asked keys in words, the record)"""
    record = json.loads(factual.as_json(facts))
    return listed(list(record)), json.dumps(record, ensure_ascii=False)


def known_json(rng: Random, split: str = "seen") -> tuple[list[Fact], str, str]:
    """Facts of one entity of the split with what is asked and the record: (facts, keys, JSON)."""
    while True:
        table = rng.choice(["countries", "countries", *JSON_TABLES])
        row = rng.choice(knowledge.table(table))
        facts = knowledge.by_entity().get((table, knowledge.entity_name(row)), ())
        facts = [f for f in facts if f.relation.name in JSON_TABLES[table] and f.split == split]
        if facts:
            rng.shuffle(facts)
            facts = facts[: rng.randint(1, len(facts))]
            return facts, *json_record(facts)


def json_request(rng: Random) -> list[Message]:
    if rng.random() < 0.35:  # of a made-up person who is described
        person = copying.profile(rng)
        prose = copying.profile_prose(rng, person)
        frame = rng.choice(
            [
                "Turn this into JSON: {p}",
                "{p}\n\nWrite this as JSON.",
                "Make a JSON record of this: {p}",
                "JSON: {p}",
            ]
        )
        return [user(frame.format(p=prose)), assistant(json.dumps(person, ensure_ascii=False))]
    facts, keys, record = known_json(rng)
    frame = choose(rng, JSON_FRAMES, "JSON")
    return [
        user(frame.format(name=facts[0].name, Name=capitalise(facts[0].name), keys=keys)),
        assistant(record),
    ]


LIST_FRAMES = [
    "List {n} {things}.",
    "Name {n} {things} as a bullet list.",
    "Give me a list of {n} {things}.",
    "Give me {n} {things}, one a line.",
    "Write a bullet list of {n} {things}.",
    "I need {n} {things}.",
]
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}


def list_topics() -> list[tuple[str, list[str]]]:
    topics = []
    for continent in sorted({f.value for f in knowledge.by_relation()[("countries", "continent")]}):
        pool = [
            f.entity
            for f in knowledge.by_relation()[("countries", "continent")]
            if f.value == continent and is_asked(f)
        ]
        topics.append((f"countries in {continent}", pool))
    for kind, plural in (
        ("mammal", "mammals"),
        ("bird", "birds"),
        ("fish", "fish"),
        ("insect", "insects"),
        ("reptile", "reptiles"),
    ):
        pool = [
            f.plural for f in knowledge.by_relation()[("animals", "class")] if f.value == kind and is_asked(f)
        ]
        topics.append((plural, pool))
    for kind in ("metal", "noble gas"):
        pool = [
            f.entity for f in knowledge.by_relation()[("elements", "kind")] if f.value == kind and is_asked(f)
        ]
        topics.append(({"metal": "metals", "noble gas": "noble gases"}[kind], pool))
    return [(things, pool) for things, pool in topics if len(pool) >= 5]


def bullet_list(rng: Random) -> list[Message]:
    things, pool = rng.choice(list_topics())
    n = rng.choice(list(COUNTS))
    count = COUNTS[n] if rng.random() < 0.6 else str(n)
    lines = [f"- {capitalise(item)}" for item in rng.sample(pool, n)]
    return [
        user(dressed(rng, rng.choice(LIST_FRAMES).format(n=count, things=things), 0.2)),
        assistant("\n".join(lines)),
    ]


# -- code -----------------------------------------------------------------------------------------------------


def code(rng: Random) -> list[Message]:
    spec = rng.choice(practice.functions(("sft",)))
    frame = choose(rng, knowledge.data("functions")["request_frames_train"], "code")
    source = practice.function_source(rng, spec, doc=0.15, fresh_names=0.0, variants=False)
    return [user(practice.ask_for(rng, spec, frame)), assistant(source)]


# -- small talk, echo, persona --------------------------------------------------------------------------------

SMALL_TALK = [
    (
        ["Hello!", "Hi", "Hello", "Good morning!", "Hey there", "Hi Pebble!", "Good evening."],
        ["Hello! How can I help you?", "Hello! What can I do for you?"],
    ),
    (
        ["Thank you!", "Thanks", "Thanks a lot!", "Great, thank you."],
        ["You are welcome!", "You are welcome! Is there anything else?"],
    ),
    (
        [
            "Who are you?",
            "What are you?",
            "Are you a person?",
            "What is your name?",
            "Tell me about yourself.",
        ],
        ["I am Pebble, a very small language model."],
    ),
    (["Bye!", "Goodbye", "See you later."], ["Goodbye!", "Goodbye! Come back soon."]),
    (["How are you?", "How is it going?"], ["I am fine, thank you. How can I help you?"]),
    (
        ["What can you do?", "How can you help me?", "What are you good at?"],
        ["I can answer questions, write short code, make lists and sum up texts."],
    ),
    (
        [
            "You are a helpful assistant.",
            "You are a friendly assistant.",
            "You are my assistant.",
            "You are a good helper.",
        ],
        ["Thank you! How can I help you?", "I am glad to help. What would you like to know?"],
    ),
    (["You are wrong.", "That is not right."], ["I am sorry. Can you tell me what is wrong?"]),
]


def small_talk(rng: Random) -> list[Message]:
    asked, answers = rng.choice(SMALL_TALK)
    return [user(rng.choice(asked)), assistant(rng.choice(answers))]


ECHO_FRAMES = [
    "Repeat the word {w}.",
    "Say {w}.",
    "Repeat after me: {w}",
    "Write the word {w}.",
    "Please repeat: {w}",
    "Echo {w}",
    "Say the word {w}, please.",
]


def echo(rng: Random) -> list[Message]:
    u = rng.random()
    if u < 0.6:
        word = names.word(rng, 1, 3)
    elif u < 0.85:
        word = names.person(rng)
    else:
        word = " ".join(names.word(rng, 1, 2) for _ in range(rng.randint(2, 4)))
    return [user(rng.choice(ECHO_FRAMES).format(w=word)), assistant(word)]


def introduction(rng: Random) -> list[Message]:
    """Someone says who they are; the model answers with the name, now or later."""
    first, city = names.first_name(rng), names.town(rng)
    said = rng.choice(
        [
            f"My name is {first}.",
            f"I am {first} from {city}.",
            f"Hello, I am {first}.",
            f"I live in {city} and my name is {first}.",
        ]
    )
    turns = [user(said), assistant(f"Hello {first}! How can I help you?")]
    if rng.random() < 0.7:
        if city in said and rng.random() < 0.4:
            turns += [
                user(rng.choice(["Where do I live?", "Which town am I from?"])),
                assistant(f"You live in {city}."),
            ]
        else:
            turns += [
                user(rng.choice(["What is my name?", "Do you remember my name?", "Who am I?"])),
                assistant(f"Your name is {first}."),
            ]
    return turns


PERSONAS = {
    "You are a pirate.": "Arr! {full} Yo ho ho!",
    "Speak like a pirate.": "Arr! {full} Yo ho ho!",
    "You are a robot.": "Beep. {full} Boop.",
    "You are a polite butler.": "Very well, sir. {full}",
    "You are a poet.": "O friend, hear me: {full}",
}


def persona(rng: Random) -> list[Message]:
    system, style = rng.choice(list(PERSONAS.items()))
    fact = seen_fact(rng)
    return [
        {"role": "system", "content": system},
        user(dressed(rng, asked(rng, fact))),
        assistant(style.format(full=full_answer(rng, fact))),
    ]


def follow_up(rng: Random) -> list[Message]:
    """Two to four turns; the second may lean on the first ("And of Spain?")."""
    fact = seen_fact(rng)
    turns = [user(dressed(rng, asked(rng, fact))), assistant(full_answer(rng, fact))]
    pool = next(pool for pool in asked_pools() if pool[0].relation is fact.relation)
    for _ in range(rng.randint(1, 2)):
        if rng.random() < 0.5:
            other = rng.choice(pool)
            ask = rng.choice(
                ["And {name}?", "What about {name}?", "And for {name}?", "The same for {name}, please."]
            )
            turns += [user(other.fill(ask)), assistant(full_answer(rng, other))]
        else:
            turns += rng.choice([fact_question, sums, small_talk, refusal, echo])(rng)
    return turns


# kind -> (share of the examples, writer)
KINDS: dict[str, tuple[float, Callable[[Random], list[Message]]]] = {
    "facts": (28, fact_question),
    "sums": (3.5, sums),
    "refusals": (14, refusal),
    "instructions": (15, instructions),
    "verdicts": (2.5, verdict),
    "summaries": (14, summary),
    "reading": (4.5, reading),
    "JSON": (9, json_request),
    "lists": (3, bullet_list),
    "code": (6, code),
    "small talk": (2.5, small_talk),
    "echo": (2.5, echo),
    "introductions": (1, introduction),
    "personas": (2.5, persona),
    "several turns": (3.5, follow_up),
}


# The third wave dwells on what the first two leave weakest.
FURTHER_SHARES = {"refusals": 19, "instructions": 19, "summaries": 24, "reading": 6}


def conversation(rng: Random) -> tuple[str, list[Message]]:
    shares = {kind: share for kind, (share, _) in KINDS.items()}
    if goes_further(rng):
        shares |= FURTHER_SHARES
    kind = rng.choices(list(shares), list(shares.values()))[0]
    messages = KINDS[kind][1](rng)
    if messages[0]["role"] != "system" and rng.random() < 0.3:
        messages = [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}, *messages]
    return kind, messages


def conversations(seed: int, count: int, wordings: str = "first") -> list[list[Message]]:
    """`count` SFT examples in the wordings that `Draw` tells of; the same seed gives the same ones."""
    rng = Draw(f"sft/{seed}")
    rng.wordings = wordings
    return [conversation(rng)[1] for _ in range(count)]
