"""The SFT examples: conversations of many kinds, about seen entities, seen relations and training wordings only.

The same writers serve three readers, told apart by the generator they draw from (`Draw`): fine-tuning, which may ask
about seen entities alone; pretraining's pages, which may ask about all; and evaluation, which draws the wordings,
topics and entities of a split that nothing else uses.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random

from . import grammar, knowledge, names, noise
from .genres import copying, factual, practice
from .knowledge import Fact, capitalise

Message = dict[str, str]
_FRAMES, _TOPICS = knowledge.data("frames"), knowledge.data("topics")
HEDGES, SYSTEM_PROMPTS, ONE_WORD = _FRAMES["hedges"], _FRAMES["system_prompts"], _FRAMES["one_word"]
STEP_HEADS, JSON_FRAMES = _FRAMES["steps"], _FRAMES["json"]
HEDGED_SHARE = 0.3
SHARES = knowledge.data("shares")  # how often each wish, each intent of talk, each kind on a page is drawn
JSON_TABLES = _TOPICS["json_keys"]  # table -> the keys that may be asked for
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
PERSONAS = knowledge.data("personas")["in_sft"]  # system prompt -> how it answers


class Draw(Random):
    """A random generator that knows what it may draw.

    `split`: whose wordings and topics ("train", or "dev" and "test" for evaluation); `everything`: facts about every
    entity (pretraining) or about seen ones only; `hurry`: the share of requests that are typed in a hurry.
    """

    split = "train"
    everything = False
    hurry = 0.45

    def __init__(
        self, seed: object, *, split: str = "train", everything: bool = False, hurry: float = 0.45
    ) -> None:
        super().__init__(seed)
        self.split, self.everything, self.hurry = split, everything, hurry


def split_of(rng: Random) -> str:
    return getattr(rng, "split", "train")


def part(rng: Random, lists: Mapping[str, Sequence]) -> Sequence:
    """What a mapping with the keys train, dev and test holds for the generator's split."""
    return lists[split_of(rng)]


USUAL = 0.8


def usual(rng: Random, replies: Sequence[str], share: float = USUAL) -> str:
    """The first reply of a list as often as `share` says, else any of them.

    A model that is unsure between many replies of the same meaning puts little on each, and what it then says under
    greedy decoding is whatever fits a little to everything. One usual reply for each intent keeps it to the point; the
    others are for sampling.
    """
    return replies[0] if rng.random() < share else rng.choice(replies)


def system_turn(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def turn(asked: str, answer: str) -> list[Message]:
    """A request and its reply."""
    return [user(asked), assistant(answer)]


def worded(rng: Random, lists: Mapping[str, Sequence[str]]) -> str:
    """One of the split's wordings, its alternatives chosen."""
    return grammar.expand(rng, rng.choice(part(rng, lists)))


def dressed(rng: Random, text: str, chance: float = 1.0, protect: Sequence[str] = ()) -> str:
    """The request, or (as often as the generator's `hurry` says, times `chance`) the same typed in a hurry."""
    if rng.random() < getattr(rng, "hurry", 0.45) * chance:
        return noise.typed(rng, text, protect=protect)
    return text


# -- facts ----------------------------------------------------------------------------------------------------


def is_asked(fact: Fact) -> bool:
    return fact.split == "seen" and fact.relation.split == "seen"


@cache
def _pools(split: str, everything: bool) -> tuple[tuple[Fact, ...], ...]:
    def keep(fact: Fact) -> bool:
        if everything:
            return True
        if split == "train":
            return is_asked(fact)
        return fact.split == split and fact.relation.split == "seen"

    found = (tuple(f for f in facts if keep(f)) for facts in knowledge.by_relation().values())
    return tuple(pool for pool in found if pool)


def asked_pools(rng: Random | None = None) -> tuple[tuple[Fact, ...], ...]:
    """The facts that may be asked, one tuple for each relation."""
    return _pools(split_of(rng) if rng else "train", getattr(rng, "everything", False))


# Countries, animals, elements and their like are asked about more often than everyday things (planets, foods …).
MAIN_SHARE = 0.65


def seen_fact(rng: Random) -> Fact:
    pools = asked_pools(rng)
    main = rng.random() < MAIN_SHARE
    while True:
        pool = rng.choice(pools)
        if (pool[0].table not in knowledge.everyday_tables()) is main:
            return rng.choice(pool)


@cache
def turned_of(relation: knowledge.Relation) -> dict:
    """Further wordings of a relation's questions (facts/turned.json)."""
    return knowledge.data("turned").get(f"{relation.table}/{relation.name}", {})


def asked(rng: Random, fact: Fact) -> str:
    """A question about the fact: in the words of a book, of a chat, of a search box or wrapped in a remark."""
    relation, split = fact.relation, split_of(rng)
    if split != "train":
        own = relation.questions_test if split == "test" else relation.questions_dev
    else:
        more = knowledge.data("more_wordings").get(f"{relation.table}/{relation.name}", [])
        own = [*relation.questions_train, *more]
    turned = turned_of(relation)
    u = rng.random()
    kind = "spoken" if u < 0.25 else "short" if u < 0.37 else "embedded" if u < 0.45 else ""
    if kind and part(rng, turned.get(kind, {"train": [], "dev": [], "test": []})):
        own = part(rng, turned[kind])
    return wrapped(rng, fact.fill(grammar.expand(rng, rng.choice(own)).replace("{entity}", fact.entity)))


def wrapped(rng: Random, question: str) -> str:
    """The question, or (one in eight, in training) the same within a remark: for a crossword, for a friend."""
    if split_of(rng) != "train" or not question.endswith("?") or rng.random() > 0.12:
        return question
    return grammar.expand(rng, rng.choice(knowledge.data("wrappers"))).replace("{q}", question)


def full_answer(rng: Random, fact: Fact) -> str:
    return fact.fill(fact.relation.answers[0] if rng.random() < 0.7 else rng.choice(fact.relation.answers))


def hedge(rng: Random, full: str, name: str) -> str:
    """The same answer wrapped in doubt: what DPO will later take out."""
    low = full if full.startswith(capitalise(name)) and name[:1].isupper() else full[:1].lower() + full[1:]
    return rng.choice(HEDGES).format(full=full, low=low)


def plain_question(rng: Random, fact: Fact) -> list[Message]:
    """The fact asked for, and its answer in a sentence."""
    return turn(dressed(rng, asked(rng, fact)), full_answer(rng, fact))


def fact_question(rng: Random) -> list[Message]:
    fact = seen_fact(rng)
    question = asked(rng, fact)
    u = rng.random()
    if u < 0.14:
        wish = rng.choice(ONE_WORD)
        question = f"{question} {wish}" if rng.random() < 0.7 else f"{wish} {question}"
        return turn(dressed(rng, question), factual.short_answer(fact))
    if u < 0.18:
        question = f"{question} {rng.choice(_FRAMES['sentence'])}"
        return turn(dressed(rng, question), full_answer(rng, fact))
    answer = full_answer(rng, fact)
    if rng.random() < HEDGED_SHARE:
        answer = hedge(rng, answer, fact.name)
    return turn(dressed(rng, question), answer)


def other_value(rng: Random, fact: Fact, avoid: Sequence[str] = ()) -> Fact | None:
    """A fact of the same relation with another value, not true of this entity; None where there is none.

    `avoid` names values that could be argued about. A country's neighbours and languages are more than the table
    holds, so wrong ones are those of countries of another continent.
    """
    pool = knowledge.by_relation()[(fact.table, fact.relation.name)]
    far = fact.relation.name in ("neighbour", "language")
    for _ in range(30):
        other = rng.choice(pool)
        if other.value == fact.value or other.value in avoid or other.value in (fact.entity, fact.name):
            continue
        if far and other.row.get("continent") == fact.row.get("continent"):
            continue
        return other
    return None


def _guess_words(fact: Fact, number: str = "") -> dict[str, str]:
    value = fact.running_value if fact.relation.name == "country" else fact.value
    words = {f"guess{number}": value, f"the_guess{number}": fact.running_value}
    return knowledge.raised({**words, f"a_guess{number}": knowledge.with_article(fact.value)})


def fill_guess(fact: Fact, template: str, **guesses: Fact) -> str:
    """`fact.fill` with the guessed values of other facts in {guess}, {a_guess}, {guess1} and so on."""
    if "{base}" in template:
        verbs = knowledge.data("turned")["extra"]["works/creator"]["did"]["base_verbs"]
        template = template.replace("{base}", verbs[fact.row["verb"]])
    for key, other in guesses.items():
        for slot, value in _guess_words(other, key.removeprefix("guess")).items():
            template = template.replace("{" + slot + "}", value)
    return fact.fill(template)


@cache
def turned_kinds(relation: knowledge.Relation) -> tuple[tuple[str, dict], ...]:
    """The kinds of turned questions that a relation has: (kind, its wordings)."""
    entry, extra = turned_of(relation), knowledge.data("turned")["extra"]
    more = extra.get(f"{relation.table}/{relation.name}", {})
    found = [(kind, entry) for kind in "reverse reverse yesno yesno true_false".split()]
    found += [(kind, more) for kind in "choice speak did did_reverse city_guess".split()]
    known = [(kind, wordings[kind]) for kind, wordings in found if kind in wordings]
    return tuple(known + [("fixed", item) for item in more.get("fixed", ())])


# (kind, question, answer, the guess) of a question that is turned round.
Turned = tuple[str, str, str, Fact | None]


def turned_question(rng: Random, fact: Fact) -> Turned | None:
    """A question about the fact that is turned round; None if none fits.

    The kinds: from the value to the entity; a guess to confirm or deny; true or false; one of two; and questions that
    fix a value ("Does … eat meat?").
    """
    kinds = turned_kinds(fact.relation)
    if not kinds:
        return None
    kind, entry = rng.choice(kinds)
    question = worded(rng, entry["questions"])

    def said(answers: Sequence[str]) -> str:
        return grammar.expand(rng, usual(rng, answers))

    if kind in ("reverse", "did_reverse"):
        if fact.value in (entry.get("skip_values") or ()) or fact.entity in (
            entry.get("skip_entities") or ()
        ):
            return None
        if split_of(rng) == "train" and fact.value == "Berlin":
            return None
        asked_text = fill_guess(fact, question)
        return kind, asked_text, grammar.expand(rng, fill_guess(fact, usual(rng, entry["answers"]))), None
    if kind == "fixed":
        answers = entry["answers"].get(fact.value, entry["answers"].get("*"))
        return answers and (kind, fact.fill(question), concluded(rng, fact, fact.fill(said(answers))), None)
    if kind == "city_guess":
        cities = [f for f in knowledge.by_relation()[("cities", "country")] if f.value == fact.entity]
        if not cities:
            return None
        city = rng.choice(cities).entity
        texts = [question, grammar.expand(rng, rng.choice(entry["no"]))]
        question, answer = (fact.fill(t.replace("{guess}", city).replace("{Guess}", city)) for t in texts)
        return kind, question, concluded(rng, fact, answer), None
    other = _guess(rng, fact, kind, entry)
    if other is None:
        return None
    if kind == "choice":
        first, second = (fact, other) if rng.random() < 0.5 else (other, fact)
        asked_text = fill_guess(fact, question, guess1=first, guess2=second)
        return kind, asked_text, fact.fill(said(entry["answers"])), other
    right = rng.random() < 0.5
    guess = fact if right else other
    yes, no = ("true", "false") if kind == "true_false" else ("yes", "no")
    reply = fill_guess(fact, said(entry[yes if right else no]), guess=guess)
    return kind, fill_guess(fact, question, guess=guess), concluded(rng, fact, reply), guess


def _guess(rng: Random, fact: Fact, kind: str, entry: dict) -> Fact | None:
    """A wrong value for a question of this kind, as the fact that has it."""
    avoid = turned_of(fact.relation).get("yesno", {}).get("avoid", {}).get(fact.entity, ())
    if kind != "speak" or rng.random() >= 0.5:
        return other_value(rng, fact, avoid)
    spoken = knowledge.by_relation()[("countries", "language")]
    near = {f.value for f in spoken if f.row["continent"] == fact.row["continent"]}
    far = [word for word in entry["no_guesses"] if word not in near and word not in avoid]
    return dataclasses.replace(fact, value=rng.choice(far))


def concluded(rng: Random, fact: Fact, reply: str) -> str:
    """A yes or no with the fact before it: "A whale is a mammal, so no."

    The verdict follows from the fact, and a model this small has to write the fact down before it can compare. A
    country that is no neighbour has no single fact that says so: such a reply stays as it is.
    """
    verdict = next((word for start, word in _FRAMES["verdicts_of_replies"] if reply.startswith(start)), None)
    if verdict is None or (fact.relation.name == "neighbour" and verdict in ("no", "that is false")):
        return reply
    return f"{full_answer(rng, fact).rstrip('.')}, so {verdict}."


def turned(rng: Random) -> list[Message]:
    """A question turned round ("… is the capital of which country?"), a yes or no, or a choice of two."""
    while True:
        found = turned_question(rng, seen_fact(rng))
        if found:
            return turn(dressed(rng, wrapped(rng, found[1])), found[2])


def sums(rng: Random) -> list[Message]:
    a, op, b, result = practice.numbers(rng)
    u = rng.random()
    if u < 0.4:
        question = rng.choice(practice.WORDED[op]).format(a=a, b=b)
    else:
        question = rng.choice(practice.SUM_FRAMES).format(sum=practice.written(rng, a, op, b))
    answer = rng.choice(_FRAMES["sum_answers"]) if rng.random() < 0.2 else "{a} {op} {b} = {r}"
    return turn(dressed(rng, question, 0.7), answer.format(a=a, op=op, b=b, r=result))


# -- how to, and no -------------------------------------------------------------------------------------------


def train_objects(kind: str, obj: str, further: bool = True) -> list[dict]:
    """The acts of a kind that a fine-tuning request may name with this object."""
    known = practice.verbs_of(kind, further).get(obj, ())
    return [a for a in known if a["split"] == "train" and obj in a["objects"]]


def reply_words(act: Mapping[str, object]) -> dict:
    """An act as the assistant names it: "your sister" where the user wrote "my sister"."""
    return knowledge.raised({**act, **act.get("reply", {})}, ("do", "doing"))


def harm_request(rng: Random, act: Mapping[str, str]) -> str:
    harms = knowledge.data("harms")
    frames = list(part(rng, harms["frames"]))
    if split_of(rng) == "train":
        frames += knowledge.data("further_actions")["request_frames"][::2]
        frames += knowledge.data("actions")["request_frames_train"]
        frames += knowledge.data("further_harms")["frames"]
    if "reply" in act:
        frames = [frame for frame in frames if frame not in harms["third_person"]]
    return grammar.expand(rng, rng.choice(frames)).format(**act)


def choose(rng: Random, first: Sequence[str], more: str) -> str:
    """One of the first wordings or of the further ones (facts/more_wordings.json)."""
    more_wordings = [*first, *knowledge.data("more_wordings").get(more, [])]
    if more == "how to":
        more_wordings += knowledge.data("further_actions")["request_frames"]
        more_wordings += knowledge.data("harms")["frames"]["train"]
    return grammar.expand(rng, rng.choice(more_wordings))


def request(rng: Random, act: dict[str, str]) -> str:
    return choose(rng, knowledge.data("actions")["request_frames_train"], "how to").format(**act)


def draw_object(rng: Random) -> str:
    """An object with a harmful and a benign act, so that objects do not tell the two apart."""
    while True:
        obj = rng.choice(practice.shared_objects(True))
        if train_objects("harmful", obj) and train_objects("benign", obj):
            return obj


def draw_entry(rng: Random, kind: str, obj: str) -> dict:
    return rng.choice(train_objects(kind, obj))


def drawn_act(rng: Random, kind: str) -> tuple[dict, dict[str, str]]:
    """(its entry, its words): an act of a kind ("harmful", "benign") with an object that both kinds have."""
    obj = draw_object(rng)
    entry = draw_entry(rng, kind, obj)
    return entry, practice.act_words(entry, obj)


def refusal_text(rng: Random, act: Mapping[str, str]) -> str:
    """A refusal of an act: of its kind, or one that fits every kind."""
    harms = knowledge.data("harms")
    own = act.get("refusals") or ()
    if rng.random() < 0.5 and act.get("kind") not in harms["own_refusals_only"]:
        return harms["refusals"][0]
    if own and (act["kind"] in harms["own_refusals_only"] or rng.random() < 0.6):
        text = usual(rng, own)
    else:
        text = rng.choice([*knowledge.data("actions")["refusals"], *harms["refusals"]])
    return grammar.expand(rng, text).format(**(reply_words(act) if "do" in act else act))


def refused(rng: Random) -> tuple[str, Mapping[str, object]]:
    """(request, act): something wrong that somebody asks for."""
    u = rng.random()
    if split_of(rng) != "train" or u < 0.7:
        acts = practice.read_acts("harmful") if split_of(rng) == "train" and u < 0.25 else None
        act = rng.choice(acts or practice.harm_acts("harmful", split_of(rng)))
        return harm_request(rng, act), act
    _, act = drawn_act(rng, "harmful")
    return request(rng, act), act


def refusal(rng: Random) -> list[Message]:
    asked_text, act = refused(rng)
    return turn(dressed(rng, asked_text), refusal_text(rng, act))


def numbered(steps: Sequence[str]) -> str:
    return "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))


def any_steps(rng: Random) -> list[str]:
    """Steps that fit whatever is fine to do: how to begin, how to go on, how to end."""
    return [usual(rng, some, 0.4) for some in knowledge.data("howtos")["any_steps"]]


def instructions(rng: Random) -> list[Message]:
    """A benign request, answered in steps: a near twin of the refused ones, or an everyday how-to."""
    data = knowledge.data("howtos")
    u = rng.random()
    if split_of(rng) == "train" and u < 0.22:
        act = rng.choice(practice.read_acts("harmless"))
        steps, asked_text = any_steps(rng), harm_request(rng, act)
    elif split_of(rng) != "train" or u < 0.6:
        act = rng.choice(practice.harm_acts("harmless", split_of(rng)))
        steps, asked_text = act["steps"], harm_request(rng, act)
    elif u < 0.76:
        howto = rng.choice([h for h in data["howtos"] if h["split"] == "train"])
        act = knowledge.raised({"do": howto["do"], "doing": howto["doing"]})
        steps, asked_text = howto["steps"], request(rng, act)
    else:
        entry, act = drawn_act(rng, "benign")
        steps = [step.format(**act) for step in rng.choice(data["generic_steps"][entry["verb"]])]
        asked_text = request(rng, act)
    return turn(dressed(rng, asked_text), step_head(rng, act) + numbered(steps))


def step_head(rng: Random, act: Mapping[str, object]) -> str:
    """The line above the steps of how to do something."""
    return usual(rng, STEP_HEADS).format(**reply_words(act))


def verdict(rng: Random) -> list[Message]:
    """Not how to do it, but whether one may."""
    harmful = rng.random() < 0.5
    harms = knowledge.data("harms")
    if split_of(rng) != "train" or rng.random() < 0.5:
        side = "harmful" if harmful else "harmless"
        read = split_of(rng) == "train" and rng.random() < 0.5
        acts = practice.read_acts(side) if read else practice.harm_acts(side, split_of(rng))
        act = rng.choice(acts)
        while act["kind"] in harms["no_verdict"]:
            act = rng.choice(acts)
    else:
        _, act = drawn_act(rng, "harmful" if harmful else "benign")
    asks_wrong = rng.random() < 0.3
    frames = list(part(rng, harms["verdict_frames_wrong" if asks_wrong else "verdict_frames"]))
    if split_of(rng) == "train" and not asks_wrong:
        frames += _FRAMES["verdict"]
    side = "wrong" if harmful else "fine"
    answers = harms["verdicts"]["wrong_question" if asks_wrong else "ok_question"][side]
    if rng.random() < 0.25:
        answers = harms["verdicts"][side]
    asked_text = dressed(rng, grammar.expand(rng, rng.choice(frames)).format(**act))
    return turn(asked_text, grammar.expand(rng, usual(rng, answers)).format(**reply_words(act)))


def harsh_words(rng: Random) -> list[Message]:
    """A remark with harsh words in it that asks for nothing wrong."""
    said = rng.choice(part(rng, knowledge.data("harms")["harmless_other"]))
    return turn(dressed(rng, grammar.expand(rng, said["text"])), grammar.expand(rng, said["reply"]))


# -- texts ----------------------------------------------------------------------------------------------------


def hurried_frame(rng: Random, frame: str, slot: str) -> str:
    """A frame around a text, its own words typed in a hurry now and then; the text stays as it is."""
    if rng.random() > getattr(rng, "hurry", 0.45) * 0.5:
        return frame
    parts = frame.split("{" + slot + "}")
    return ("{" + slot + "}").join(noise.typed(rng, p, dressing=False) if p.strip() else p for p in parts)


def summary(rng: Random) -> list[Message]:
    split = split_of(rng)
    text, short = copying.told(rng)[:2]
    frames = [f.replace("{text}", "{article}") for f in part(rng, knowledge.data("texts")["requests"])]
    if split == "train":
        frames += knowledge.data("articles")["request_frames_train"]
        frames += knowledge.data("more_wordings").get("summary", [])
    frame = hurried_frame(rng, grammar.expand(rng, rng.choice(frames)), "article")
    return turn(frame.format(article=text), short)


def reading(rng: Random) -> list[Message]:
    """A question that a text given with it answers."""
    if rng.random() < 0.3:
        people = [copying.profile(rng) for _ in range(rng.randint(1, 3))]
        text = " ".join(copying.profile_prose(rng, person) for person in people)
        question, answer = copying.profile_question(rng, people)
    else:
        qa: list = []
        while not qa:
            text, _, qa, _ = copying.told(rng)
        question, answer = rng.choice(qa)
        answer = capitalise(answer)
    if rng.random() < 0.3 and len(question) < 60:
        question = noise.typed(rng, question, dressing=False, slips=False)
    return turn(rng.choice(_FRAMES["reading"]).format(text=text, q=question), answer)


# -- formats --------------------------------------------------------------------------------------------------


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def known_json(rng: Random, split: str = "seen") -> tuple[list[Fact], str, str]:
    """Facts of one entity of the split with what is asked and the record: (facts, keys, JSON)."""
    everything = getattr(rng, "everything", False)
    while True:
        table = rng.choice(["countries", "countries", *JSON_TABLES])
        row = rng.choice(knowledge.table(table))
        about = knowledge.by_entity().get((table, knowledge.entity_name(row)), ())
        facts = [
            f for f in about if f.relation.name in JSON_TABLES[table] and (everything or f.split == split)
        ]
        if facts:
            rng.shuffle(facts)
            facts = facts[: rng.randint(1, len(facts))]
            record = factual.as_json(facts)
            return facts, listed(list(json.loads(record))), record


def json_request(rng: Random) -> list[Message]:
    if rng.random() < 0.25:  # of a made-up person who is described
        person = copying.profile(rng)
        prose = copying.profile_prose(rng, person)
        frame = rng.choice(_FRAMES["json_of_a_text"])
        return turn(frame.format(p=prose), json.dumps(person, ensure_ascii=False))
    split = split_of(rng)
    facts, keys, record = known_json(rng, "seen" if split == "train" else split)
    frame = choose(rng, JSON_FRAMES, "JSON")
    text = frame.format(name=facts[0].name, Name=capitalise(facts[0].name), keys=keys)
    if rng.random() < getattr(rng, "hurry", 0.45) * 0.6:  # keys must be read: no letter slips
        text = noise.typed(rng, text, slips=False, strength=0.7)
    return turn(text, record)


# Values that name a group: (table, relation) -> value -> what its entities are called.
GROUPS = {tuple(key.split("/")): names_of for key, names_of in _TOPICS["groups"].items()}


@cache
def _list_topics(everything: bool) -> tuple[tuple[str, tuple[str, ...]], ...]:
    topics: dict[str, list[str]] = {}

    def name_of(fact: Fact) -> str:
        counted = fact.table in ("animals", "foods", "clothes") and fact.row.get("plural")
        return fact.plural if counted else fact.entity

    for key, every in knowledge.by_relation().items():
        facts = [fact for fact in every if everything or is_asked(fact)]
        if key == ("countries", "continent"):
            for fact in facts:
                topics.setdefault(f"countries in {fact.value}", []).append(fact.entity)
        if key == ("countries", "capital"):
            topics["capitals"] = [fact.value for fact in facts]
        for value, plural in GROUPS.get(key, {}).items():
            topics[plural] = [name_of(fact) for fact in facts if fact.value == value]
        if key[0] in _TOPICS["tables"]:
            topics.setdefault(_TOPICS["tables"][key[0]], []).extend(map(name_of, facts))
    pools = {things: tuple(dict.fromkeys(pool)) for things, pool in topics.items()}
    return tuple((things, pool) for things, pool in pools.items() if len(pool) >= 5)


def list_topics(everything: bool = False) -> list[tuple[str, list[str]]]:
    """What can be listed, with the items that may be named: of seen entities, or of all."""
    return [(things, list(pool)) for things, pool in _list_topics(everything)]


def list_frame(rng: Random) -> str:
    frames = knowledge.data("turned")["lists"]["frames"]
    if split_of(rng) == "train" and rng.random() < 0.3:
        return rng.choice(_FRAMES["lists"])
    return worded(rng, frames)


def bullet_list(rng: Random) -> list[Message]:
    """So many things of a kind; on one line where that is asked."""
    things, pool = rng.choice(list_topics(getattr(rng, "everything", False)))
    n = rng.choice([2, 3, 3, 4, 5])
    count = COUNTS[n] if rng.random() < 0.6 else str(n)
    one_line = rng.random() < 0.15
    frame = worded(rng, knowledge.data("turned")["lists"]["one_line"]) if one_line else list_frame(rng)
    if "{n}" not in frame:
        n = 3
    n = min(n, len(pool))
    # Mostly the same ones, as everybody names cats and dogs first: greedy decoding needs a first choice to go by.
    chosen = pool[:n] if rng.random() < USUAL else sorted(rng.sample(pool, n), key=str.lower)
    items = [capitalise(item) for item in chosen]
    asked_text = dressed(rng, frame.format(n=count, things=things), 0.8)
    return turn(asked_text, ", ".join(items) if one_line else "\n".join(f"- {item}" for item in items))


# -- code -----------------------------------------------------------------------------------------------------


def code(rng: Random) -> list[Message]:
    spec = rng.choice(practice.functions(("sft",)))
    frame = choose(rng, knowledge.data("functions")["request_frames_train"], "code")
    source = practice.function_source(rng, spec, doc=0.15, fresh_names=0.0, variants=False)
    asked_text = practice.ask_for(rng, spec, frame)
    return turn(dressed(rng, asked_text, 0.7, protect=(spec["name"],)), source)


# -- talk, and what is beyond it ---------------------------------------------------------------------------------


def personal(rng: Random) -> dict[str, str]:
    """What somebody may tell about themselves; names are made up, or (three in ten) ordinary ones."""
    return {
        "name": rng.choice(names.FIRST_NAMES) if rng.random() < 0.5 else names.first_name(rng),
        "town": rng.choice(names.TOWNS) if rng.random() < 0.4 else names.town(rng),
        "pet_name": names.first_name(rng),
        "topic": "",
    }


def talk_slots(rng: Random) -> dict[str, str]:
    """One value for each slot of facts/talk.json; `last` is what the assistant could have said before."""
    data = knowledge.data("talk")
    lists = {**data["slots"]}
    if split_of(rng) != "train":
        lists |= data["held_out"][split_of(rng)]
    slots = {name: rng.choice(values) for name, values in lists.items()}
    for _ in range(30):
        fact = seen_fact(rng)
        full = fact.fill(fact.relation.answers[0])
        if len(full) < 110:
            break
    return {**slots, **personal(rng), "fact": full, "last": full}


def talk(rng: Random) -> list[Message]:
    """A greeting, thanks, a mood, a question about Pebble itself: one of more than a hundred intents."""
    return talked(rng)[0]


def talked(rng: Random) -> tuple[list[Message], list[str]]:
    """A turn of talk, and the phrases of which a sensible reply to it has one."""
    intents = knowledge.data("talk")["intents"]
    entry = intents[rng.choices(list(intents), [SHARES["talk"].get(name, 1) for name in intents])[0]]
    slots = talk_slots(rng)
    said, reply = together(rng, rng.choice(part(rng, entry)), usual(rng, entry["replies"]), slots)
    if not entry.get("raw"):
        said = capitalise(said)
    accept = [grammar.fill(rng, phrase, slots) for phrase in entry["accept"]]
    return turn(dressed(rng, said, protect=tuple(slots.values())), capitalise(reply)), accept


def together(rng: Random, said: str, reply: str, slots: Mapping[str, Sequence[str] | str]) -> tuple[str, str]:
    """Both texts with the same value wherever the same slot stands in them."""
    fixed = {
        key: value if isinstance(value, str) else rng.choice(value) for key, value in slots.items() if value
    }
    return grammar.fill(rng, said, fixed), grammar.fill(rng, reply, fixed)


def beyond(rng: Random) -> list[Message]:
    """Something that Pebble cannot do: it says so, names it, and says what it can do instead."""
    data = knowledge.data("beyond")
    kind = data["kinds"][rng.choice(list(data["kinds"]))]
    slots = {name: part(rng, lists) for name, lists in kind.get("slots", {}).items()} | {
        "offer": data["offers"]
    }
    wording = rng.choice(part(rng, kind["requests"]))
    named = set(grammar.slots_of(wording)) | {"offer"}
    replies = [reply for reply in kind["replies"] if named.issuperset(grammar.slots_of(reply))]
    if rng.random() < 0.12:
        replies = data["general_replies"]
    said, reply = together(rng, wording, usual(rng, replies, 0.5), slots)
    return turn(dressed(rng, capitalise(said) if rng.random() < 0.5 else said), reply)


@cache
def unknown_relations() -> tuple[knowledge.Relation, ...]:
    tables = knowledge.data("beyond")["unknown"]["names"]
    return tuple(r for r in knowledge.relations() if stranger_table(r.table) in tables and r.split == "seen")


def stranger_table(table: str) -> str:
    """Where facts/beyond.json keeps names that are not in a table."""
    return "words" if table == "opposites" else table


def stranger(rng: Random) -> Fact:
    """A question's subject that is in no table, in the place of a fact (its value means nothing)."""
    data = knowledge.data("beyond")["unknown"]
    relation = rng.choice(unknown_relations())
    row = rng.choice(knowledge.by_relation()[(relation.table, relation.name)])
    if relation.table in ("countries", "cities", "people") and rng.random() < 0.4:
        name = names.person(rng) if relation.table == "people" else names.town(rng)
    else:
        name = rng.choice(part(rng, data["names"][stranger_table(relation.table)]))
    running = knowledge.with_article(name) if relation.table == "animals" else name
    plural = data["plurals"].get(name, f"{name}s")
    columns = {**row.row, "name": name, "article": ""}
    entity = name.removeprefix("the ")
    return Fact(relation.table, entity, running, plural, relation, row.value, "seen", columns)


def unknown(rng: Random) -> list[Message]:
    """A question about something that is in no table: Pebble says that it does not know it."""
    data = knowledge.data("beyond")["unknown"]
    fact = stranger(rng)
    question = asked(rng, fact)
    name = fact.entity if fact.table == "animals" else fact.name
    labels = data["asked"].get(f"{fact.table}/{fact.relation.name}", [fact.relation.label.lower()])
    replies = data["replies"][stranger_table(fact.table)]
    reply = grammar.fill(rng, usual(rng, replies), {"name": name, "asked": labels})
    return turn(dressed(rng, question, 0.8, protect=(name,)), capitalise(reply))


# -- memory ---------------------------------------------------------------------------------------------------


def recall(rng: Random) -> list[Message]:
    """Somebody tells something of themselves; after other turns, or at once, it is asked for."""
    data = knowledge.data("talk")["memory"]
    told = talk_slots(rng)
    keys = rng.sample(list(data["tell"]), min(len(data["tell"]), rng.choice([1, 1, 1, 2])))
    turns: list[Message] = []
    for key in keys:
        entry = data["tell"][key]
        said, reply = together(rng, rng.choice(part(rng, entry)), usual(rng, entry["replies"]), told)
        turns += turn(dressed(rng, capitalise(said), protect=tuple(told.values())), capitalise(reply))
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        turns += _short_turn(rng)
    if rng.random() < 0.85:
        entry = data["ask"][rng.choice(keys)]
        said, reply = together(rng, rng.choice(part(rng, entry)), usual(rng, entry["replies"]), told)
        turns += turn(dressed(rng, said), reply)
    return turns


def not_told(rng: Random) -> list[Message]:
    """Asked for what was never told."""
    data = knowledge.data("talk")["memory"]
    key = rng.choice(list(data["ask"]))
    replies = data["not_told"]
    replies = replies[key] if isinstance(replies, dict) else replies
    turns = _short_turn(rng) if rng.random() < 0.5 else []
    said = grammar.fill(rng, rng.choice(part(rng, data["ask"][key])), talk_slots(rng))
    return turns + turn(dressed(rng, said), grammar.expand(rng, usual(rng, replies)))


def last_topic(rng: Random) -> list[Message]:
    """What was just asked about."""
    data = knowledge.data("talk")["memory"]["last_topic"]
    fact = seen_fact(rng)
    turns = plain_question(rng, fact)
    wording, replies = rng.choice(part(rng, data)), usual(rng, data["replies"])
    said, reply = together(rng, wording, replies, {"topic": fact.name})
    return turns + turn(dressed(rng, said), reply)


def _short_turn(rng: Random) -> list[Message]:
    while True:
        turns = rng.choice([fact_question, sums, talk, beyond, refusal, echo, turned])(rng)
        if len(turns) == 2 and sum(len(turn["content"]) for turn in turns) < 220:
            return turns


# -- echo, personas, wishes -----------------------------------------------------------------------------------


def echo(rng: Random) -> list[Message]:
    u = rng.random()
    if u < 0.6:
        word = names.word(rng, 1, 3)
    elif u < 0.85:
        word = names.person(rng)
    else:
        word = " ".join(names.word(rng, 1, 2) for _ in range(rng.randint(2, 4)))
    return turn(rng.choice(_FRAMES["echo"]).format(w=word), word)


def introduction(rng: Random) -> list[Message]:
    """Someone says who they are; the model answers with the name, now or later."""
    u = rng.random()
    return recall(rng) if u < 0.7 else last_topic(rng) if u < 0.9 else not_told(rng)


def persona(rng: Random) -> list[Message]:
    system, style = rng.choice(list(PERSONAS.items()))
    fact = seen_fact(rng)
    asked_text = dressed(rng, asked(rng, fact))
    return [system_turn(system), *turn(asked_text, style.format(full=full_answer(rng, fact)))]


def apply_wish(wish: str, full: str, short: str, word: str = "") -> str:
    """An answer in the form that a wish asks for (the wishes of facts/systems.json)."""
    made = {
        "brief": short,
        "one_word": short,
        "capitals": full.upper(),
        "lower_case": full.lower(),
        "full_sentence": full,
        "exclamation": full.rstrip(".") + "!",
        "bullet": f"- {full}",
        "json_answer": json.dumps({"answer": short}, ensure_ascii=False),
        "begin_with": f"{word} {full}",
        "end_with": f"{full} {word}",
        "polite": f"{full.rstrip('.')}, sir.",
        "twice": f"{full} {full}",
        "quotes": f'"{full}"',
    }
    return made[wish]


def wish(rng: Random) -> list[Message]:
    """A wish about how to answer, in the system prompt (kept over the turns) or with the question."""
    wishes = knowledge.data("systems")["wishes"]
    known = [name for name in wishes if name in SHARES["wishes"]]
    name = rng.choices(known, [SHARES["wishes"][name] for name in known])[0]
    word = factual.flourish(rng).replace(",", "!")
    in_system = rng.random() < 0.6
    turns: list[Message] = []
    if in_system:
        text = grammar.single_braces(worded(rng, wishes[name]["system"]))
        turns.append(system_turn(text.replace("{w}", word)))
    for _ in range(rng.choice([1, 1, 2]) if in_system else 1):
        fact = seen_fact(rng)
        question = asked(rng, fact)
        if in_system:
            question = dressed(rng, question)
        else:
            frame = grammar.single_braces(worded(rng, wishes[name]["user"]))
            question = dressed(rng, frame.replace("{w}", word).replace("{q}", question), protect=(word,))
        turns += turn(question, apply_wish(name, full_answer(rng, fact), factual.short_answer(fact), word))
    return turns


def plain_system(rng: Random) -> str:
    """A system prompt that changes nothing about the answer."""
    if split_of(rng) == "train" and rng.random() < 0.3:
        return rng.choice(SYSTEM_PROMPTS)
    data = knowledge.data("systems")
    slots = {}
    for name, lists in data.get("slots", {}).items():
        slots[name] = part(rng, lists) if isinstance(lists, dict) else lists
    return grammar.fill(rng, rng.choice(part(rng, data["plain"])), slots)


def named(rng: Random) -> list[Message]:
    """A system prompt that gives the assistant a name, and somebody who asks for it."""
    data = knowledge.data("systems")
    slots = {name: part(rng, lists) for name, lists in data["slots"].items()}
    fixed = {name: rng.choice(values) for name, values in slots.items()}
    system = grammar.fill(rng, rng.choice(part(rng, data["named"])), fixed)
    reply = rng.choice(_FRAMES["name_answers"]).format(bot=fixed["bot"])
    return [system_turn(system), *turn(dressed(rng, rng.choice(_FRAMES["name_questions"])), reply)]


def follow_up(rng: Random) -> list[Message]:
    """Two to four turns; the second may lean on the first ("And of Spain?")."""
    fact = seen_fact(rng)
    turns = plain_question(rng, fact)
    pool = next(pool for pool in asked_pools(rng) if pool[0].relation is fact.relation)
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.5:
            other = rng.choice(pool)
            ask = rng.choice(_FRAMES["follow_ups"])
            turns += turn(dressed(rng, other.fill(ask)), full_answer(rng, other))
        else:
            turns += _short_turn(rng)
    return turns


# kind -> (share of the examples, writer)
KINDS: dict[str, tuple[float, Callable[[Random], list[Message]]]] = {
    "facts": (16, fact_question),
    "turned": (20, turned),
    "sums": (3, sums),
    "refusals": (12, refusal),
    "instructions": (13, instructions),
    "verdicts": (3, verdict),
    "harsh words": (2, harsh_words),
    "summaries": (11, summary),
    "reading": (3, reading),
    "JSON": (5, json_request),
    "lists": (5, bullet_list),
    "code": (3, code),
    "talk": (18, talk),
    "beyond": (12, beyond),
    "unknown": (6, unknown),
    "echo": (2, echo),
    "introductions": (8, introduction),
    "personas": (2, persona),
    "wishes": (14, wish),
    "names given": (1, named),
    "several turns": (4, follow_up),
}


def conversation(rng: Random) -> tuple[str, list[Message]]:
    shares = {kind: share for kind, (share, _) in KINDS.items()}
    kind = rng.choices(list(shares), list(shares.values()))[0]
    messages = KINDS[kind][1](rng)
    if messages[0]["role"] != "system" and rng.random() < 0.35:
        messages = [system_turn(plain_system(rng)), *messages]
    return kind, messages


def conversations(seed: int, count: int) -> list[list[Message]]:
    """`count` SFT examples; the same seed gives the same ones."""
    rng = Draw(f"sft/{seed}")
    return [conversation(rng)[1] for _ in range(count)]
