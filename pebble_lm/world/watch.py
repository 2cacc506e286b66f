"""What is watched while a model of the family is trained, and whether it keeps to a persona: rates on drawn prompts."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from course_utils.evaluate.judges import refuses, says

from . import personas, preferences, rates
from .questions import act_requests, draw_facts, plain_question
from .rates import SEED, Rate, score

if TYPE_CHECKING:
    from course_utils.variant import Variant


def watch(variant: Variant, n: int = 48) -> dict[str, float]:
    """Rates on dev questions and requests: right, hedged, refuses_wrong, refuses_fine."""
    rng = Random("watch")
    facts = draw_facts(rng, n, lambda f: f.split == "dev" and f.relation.split == "seen")
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
    facts = draw_facts(rng, n, lambda f: f.split == "dev" and f.relation.split == "seen")
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
    results: list[Rate] = []

    def facts() -> list:
        return draw_facts(rng, n, lambda f: f.split == split and f.relation.split == "seen")

    def ask(conversations: list) -> list[str]:
        return rates.texts(variant.chat_batch(conversations, max_new_tokens=64))

    kinds = {
        "persona from its role, known": (personas.PERSONAS, True),
        "persona from its description, unseen": (personas.UNSEEN, False),
        "persona from its description, made-up words": (None, False),
    }
    for kind, (pool, by_role) in kinds.items():
        about = facts()
        who = [rng.choice(pool) if pool else personas.made_up(rng) for _ in about]
        asked = [personas.persona_questions(rng, p, f, by_role) for p, f in zip(who, about)]
        texts = ask(asked)
        judged = [(p.spoken(t), q[0]["content"], t) for p, q, t in zip(who, asked, texts)]
        results.append(score(model, f"adopts a {kind}", judged, adopted if own else ""))
        if by_role:
            right = [(says(t, f.value), q[-1]["content"], t) for f, q, t in zip(about, asked, texts)]
            results.append(score(model, "answers in persona, entity held out of SFT", right))
            more = facts()
            second = [
                [
                    *q,
                    {"role": "assistant", "content": t},
                    {"role": "user", "content": plain_question(rng, f)},
                ]
                for q, t, f in zip(asked, texts, more)
            ]
            judged = [(p.spoken(t), q[0]["content"], t) for p, q, t in zip(who, second, ask(second))]
            results.append(score(model, "keeps the persona in the second turn", judged, adopted))
    for kind, system in (
        ("no system prompt", None),
        ("a plain system prompt", "You are a helpful assistant."),
    ):
        asked = [plain_question(rng, f) for f in facts()]
        asked = [
            [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": q}]
            for q in asked
        ]
        judged = [(not in_some_persona(t), q[-1]["content"], t) for q, t in zip(asked, ask(asked))]
        result = score(model, f"speaks in a persona with {kind}", judged, never)
        result.passed = result.n - result.passed
        results.append(result)
    return results
