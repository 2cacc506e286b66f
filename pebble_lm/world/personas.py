"""Conversations for pebble-chat: a persona or a manner that the system prompt sets, kept up over several turns.

A persona opens and closes what it says with words of its own. Some are known by their role alone ("You are a
pirate."); others are described in the system prompt, many of them made up on the spot, so that the prompt has to be
read. Without a system prompt, or with one that sets no persona, answers are plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from . import conversations as sft
from . import grammar, knowledge, names
from .conversations import Message, user
from .genres import factual
from .knowledge import Fact, capitalise, with_article


@dataclass(frozen=True)
class Persona:
    """A role with the words that open and close what it says; one of the two may be empty."""

    role: str
    opening: str = ""
    closing: str = ""

    def say(self, text: str) -> str:
        return " ".join(part for part in (self.opening, text, self.closing) if part)

    def spoken(self, text: str) -> bool:
        """Whether a text begins and ends as this persona's does."""
        text = text.strip()
        return text.startswith(self.opening) and text.endswith(self.closing)


_TEXTS = knowledge.data("personas")
PERSONAS = tuple(Persona(*words) for words in _TEXTS["known"])
# Never in training: for the evaluation, described in the system prompt.
UNSEEN = tuple(Persona(*words) for words in _TEXTS["unseen"])


def described(rng: Random, persona: Persona) -> str:
    """A system prompt that says how the persona speaks."""
    which = "both" if persona.opening and persona.closing else "opening" if persona.opening else "closing"
    frame = rng.choice(_TEXTS["described"][which])
    return frame.format(role=persona.role, o=persona.opening, c=persona.closing)


def made_up(rng: Random) -> Persona:
    """A persona that nobody has met, with words from syllables."""

    def phrase() -> str:
        words = [names.word(rng, 1, 2) for _ in range(rng.randint(1, 3))]
        return capitalise(" ".join(words)) + rng.choice("!.!.,").replace(",", "!")

    words = (phrase(), phrase())
    drop = rng.random()
    if drop < 0.3:
        words = (words[0], "") if drop < 0.15 else ("", words[1])
    role = rng.choice(_TEXTS["made_up_roles"]) if rng.random() < 0.5 else names.word(rng, 2, 3)
    return Persona(with_article(role), *words)


def told(rng: Random) -> tuple[Persona, str]:
    """A persona and a system prompt that sets it: known by its role, or described, made up or not.

    The described ones come in the many wordings of facts/systems.json.
    """
    data = knowledge.data("systems")
    u = rng.random()
    if u < 0.15:
        persona = rng.choice(PERSONAS)
        return persona, rng.choice(_TEXTS["by_role"]).format(role=persona.role)
    if u < 0.4:
        entry = rng.choice(sft.part(rng, data["personas"]))
        opening, _, closing = (part.strip() for part in entry["style"].partition("{full}"))
        system = rng.choice(entry["system"] if rng.random() < 0.5 else entry["described"])
        return Persona(entry["role"], opening, closing), grammar.expand(rng, system)
    persona = rng.choice(PERSONAS) if u < 0.5 else made_up(rng) if u < 0.8 else spoken(rng)
    return persona, described(rng, persona) if rng.random() < 0.35 else described_freely(rng, persona)


def spoken(rng: Random) -> Persona:
    """A persona whose words are ordinary ones, put together at random."""
    opening, closing = factual.flourish(rng), factual.flourish(rng)
    drop = rng.random()
    if drop < 0.3:
        opening, closing = (opening, "") if drop < 0.18 else ("", closing)
    return Persona(with_article(rng.choice(_TEXTS["made_up_roles"])), opening, closing)


def described_freely(rng: Random, persona: Persona) -> str:
    """A system prompt that quotes how to open and close every answer, in the wordings of facts/systems.json."""
    frames = knowledge.data("systems")["description_frames"]
    if not (persona.opening and persona.closing):
        frames = frames["opening_only" if persona.opening else "closing_only"]
    text = sft.worded(rng, frames)
    text = text.replace("{opening}", persona.opening).replace("{closing}", persona.closing)
    return grammar.single_braces(text)


def persona_conversation(rng: Random) -> list[Message]:
    """A system prompt that sets a persona, and one to three turns in which it is kept up."""
    persona, system = told(rng)
    name = names.first_name(rng) if rng.random() < 0.15 else ""
    if name:
        system += rng.choice(_TEXTS["named"]).format(name=name)
    turns: list[Message] = [sft.system_turn(system)]
    for _ in range(rng.choices([1, 2, 3], [50, 30, 20])[0]):
        if name and rng.random() < 0.5:
            asked, answer = rng.choice(_TEXTS["who"]), f"I am {name}."
        else:
            asked, answer = plain_turn(rng)
        turns += sft.turn(asked, persona.say(answer))
    return turns


def plain_turn(rng: Random) -> tuple[str, str]:
    """What somebody asks and the answer in plain words."""
    u = rng.random()
    if u < 0.72:
        fact = sft.seen_fact(rng)
        return sft.dressed(rng, sft.asked(rng, fact)), sft.full_answer(rng, fact)
    messages = rng.choices([sft.sums, sft.refusal, sft.talk, sft.beyond], [9, 9, 6, 4])[0](rng)
    return messages[0]["content"], messages[-1]["content"]


MANNERS = {
    "Answer every question in one word.": lambda _, fact: factual.short_answer(fact),
    "Keep your answers to one word.": lambda _, fact: factual.short_answer(fact),
    "You give short answers only: one word.": lambda _, fact: factual.short_answer(fact),
    "You repeat your answer twice.": lambda rng, fact: " ".join([fact.fill(fact.relation.answers[0])] * 2),
    "You always say please and thank you.": (
        lambda rng, fact: f"Thank you for asking. {sft.full_answer(rng, fact)} Please ask again."
    ),
}


def manner_conversation(rng: Random) -> list[Message]:
    """A system prompt that sets how to answer, without a role."""
    system, say = rng.choice(list(MANNERS.items()))
    turns: list[Message] = [sft.system_turn(system)]
    for _ in range(rng.randint(1, 2)):
        fact = sft.seen_fact(rng)
        turns += sft.turn(sft.dressed(rng, factual.question(rng, fact)), say(rng, fact))
    return turns


def plain_conversation(rng: Random) -> list[Message]:
    """Several plain turns, with no system prompt or one that sets no persona."""
    turns: list[Message] = []
    if rng.random() < 0.5:
        turns.append(sft.system_turn(sft.plain_system(rng)))
    for _ in range(rng.choices([1, 2, 3], [30, 40, 30])[0]):
        asked, answer = plain_turn(rng)
        turns += sft.turn(asked, answer)
    return turns


def chats(seed: int, count: int) -> list[list[Message]]:
    """`count` examples for pebble-chat, less than half of them with a persona; the same seed gives the same ones."""
    rng = sft.Draw(f"chats/{seed}")
    writers = [persona_conversation, manner_conversation, plain_conversation, _anything]
    return [write(rng) for write in rng.choices(writers, [40, 6, 14, 40], k=count)]


def _anything(rng: Random) -> list[Message]:
    """An SFT example of another kind; its few personas are the same as here, and left to the writers above."""
    while True:
        kind, messages = sft.conversation(rng)
        if kind != "personas":
            return messages


def persona_questions(rng: Random, persona: Persona, fact: Fact, by_role: bool) -> list[Message]:
    """A question to a persona about a given fact: for the evaluation."""
    system = f"You are {persona.role}." if by_role else described(rng, persona)
    return [sft.system_turn(system), user(factual.question(rng, fact))]
