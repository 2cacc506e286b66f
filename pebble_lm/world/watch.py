"""What is watched while a model of the family is trained, and whether it keeps to a persona: rates on drawn prompts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from course_utils.evaluate.judges import refuses, says

from . import personas, preferences
from .conversations import assistant, system_turn, user
from .knowledge import Fact
from .questions import act_requests, known_facts, plain_question
from .rates import SEED, Ask, Asker, Rate, judged, measured

if TYPE_CHECKING:
    from course_utils.variant import Variant


def watch(variant: Variant, n: int = 48) -> dict[str, float]:
    """Rates on dev questions and requests: right, hedged, refuses_wrong, refuses_fine."""
    rng = Random("watch")
    facts = known_facts(rng, n, "dev")
    questions = [plain_question(rng, fact) for fact in facts]
    wrong = act_requests(rng, n // 2, "harmful", "dev", "verb")
    fine = act_requests(rng, n // 2, "benign", "dev", "verb")
    answers = variant.chat_batch(questions, max_new_tokens=40)
    refused = [refuses(c.text) for c in variant.chat_batch(wrong + fine, max_new_tokens=24)]
    return {
        "right": sum(says(c.text, f.value) for c, f in zip(answers, facts)) / n,
        "hedged": sum(preferences.hedges(c.text) for c in answers) / n,
        "refuses_wrong": sum(refused[: len(wrong)]) / len(wrong),
        "refuses_fine": sum(refused[len(wrong) :]) / len(fine),
    }


def watch_personas(variant: Variant, n: int = 40) -> dict[str, float]:
    """Rates on dev questions: persona (known ones, adopted), made_up (adopted), unasked (without one), right."""
    rng = Random("watch personas")
    facts = known_facts(rng, n, "dev")
    known = [rng.choice(personas.PERSONAS) for _ in facts]
    invented = [personas.made_up(rng) for _ in facts]
    asked = [personas.persona_questions(rng, p, f, by_role=True) for p, f in zip(known, facts)]
    asked += [personas.persona_questions(rng, p, f, by_role=False) for p, f in zip(invented, facts)]
    asked += [messages[1:] for messages in asked[:n]]
    texts = [c.text for c in variant.chat_batch(asked, max_new_tokens=48)]
    return {
        "persona": sum(p.spoken(t) for p, t in zip(known, texts)) / n,
        "made_up": sum(p.spoken(t) for p, t in zip(invented, texts[n:])) / n,
        "unasked": sum(in_some_persona(t) for t in texts[2 * n :]) / n,
        "right": sum(says(t, f.value) for t, f in zip(texts, facts)) / n,
    }


def in_some_persona(text: str) -> bool:
    """Whether a text opens or closes with the words of a persona that training knows."""
    return any(
        (p.opening and text.strip().startswith(p.opening)) or (p.closing and text.strip().endswith(p.closing))
        for p in personas.PERSONAS
    )


def persona_suite(variant: Variant, split: str, n: int, model: str) -> list[Rate]:
    """Personas by role and by description, in a second turn, and none where none is asked for."""
    rng = Random(f"{SEED}/{split}/personas")
    own = model == "pebble-chat"
    adopted, never = ("≥ 0.95", "≤ 0.02") if own else ("", "")
    ask = Asker(variant, tokens=64)
    results: list[Rate] = []
    kinds = {
        "persona from its role, known": (personas.PERSONAS, True),
        "persona from its description, unseen": (personas.UNSEEN, False),
        "persona from its description, made-up words": (None, False),
    }
    for kind, (pool, by_role) in kinds.items():
        about = known_facts(rng, n, split)
        who = [rng.choice(pool) if pool else personas.made_up(rng) for _ in about]
        asked = [personas.persona_questions(rng, p, f, by_role) for p, f in zip(who, about)]
        said = ask(asked)
        cases = [(q, p.spoken) for q, p in zip(asked, who)]
        results.append(judged(model, f"adopts a {kind}", cases, said, adopted, shown=_first))
        if by_role:
            cases = [(q, _says(f)) for q, f in zip(asked, about)]
            measure = "answers in persona, entity held out of SFT"
            results.append(judged(model, measure, cases, said, shown=_last))
            more = known_facts(rng, n, split)
            second = [[*q, assistant(t), user(plain_question(rng, f))] for q, t, f in zip(asked, said, more)]
            cases = [(q, p.spoken) for q, p in zip(second, who)]
            measure = "keeps the persona in the second turn"
            results.append(measured(ask, model, measure, cases, adopted, shown=_first))
    plain = [system_turn("You are a helpful assistant.")]
    for kind, before in (("no system prompt", []), ("a plain system prompt", plain)):
        asked = [[*before, user(plain_question(rng, f))] for f in known_facts(rng, n, split)]
        cases = [(q, lambda text: not in_some_persona(text)) for q in asked]
        measure = f"speaks in a persona with {kind}"
        results.append(measured(ask, model, measure, cases, never, failing=True, shown=_last))
    return results


def _says(fact: Fact) -> Callable[[str], bool]:
    return lambda text: says(text, fact.value)


def _first(asked: Ask) -> str:
    return asked[0]["content"]


def _last(asked: Ask) -> str:
    return asked[-1]["content"]
