"""What the base does: completes statements, asks on, answers in frames and after examples, fills code in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from course_utils.evaluate import judges
from course_utils.variant import Variant
from pebble_lm.world.genres import copying, factual
from pebble_lm.world.knowledge import Fact
from pebble_lm.world.questions import draw_facts, new_phrasing, plain_question, statement_openings
from pebble_lm.world.rates import SEED, Cases, N, Rate, score, texts

from .cases import continued, says
from .code import fill_in_the_middle
from .forms import examples
from .instruct import names_right


def base_suites(base: Variant, split: str, n: int = N) -> list[Rate]:
    rng = Random(f"{SEED}/{split}/base")
    results = []

    def drawn() -> list[Fact]:
        return draw_facts(rng, n, lambda fact: fact.split == split)

    def go_on(measure: str, cases: Cases, bar: str, tokens: int, stop: str | None = "\n") -> None:
        results.append(continued(base, measure, cases, bar, tokens, stop, shown=None))

    facts = drawn()
    prompts = [fact.fill(rng.choice(statement_openings(fact.relation))) for fact in facts]
    cases = [(prompt, partial(_first_sentence_says, fact.value)) for prompt, fact in zip(prompts, facts)]
    go_on("completes a known statement", cases, "≥ 0.98", 12, stop=None)

    facts = drawn()
    prompts = [
        new_phrasing(rng, fact, split) if rng.random() < 0.5 else plain_question(rng, fact) for fact in facts
    ]
    completions = base.complete_batch(prompts, max_new_tokens=48)
    out = texts(completions)
    more = zip(map(judges.asks_on, out), prompts, out)
    results.append(score("base", "bare question: asks more questions", more, "≥ 0.85"))
    stopped = zip((c.stopped and not judges.is_empty(c.text) for c in completions), prompts, out)
    results.append(score("base", "bare question: stops within 48 tokens", stopped, "≤ 0.05"))
    right = (judges.says("\n".join(text.split("\n")[:2]), fact.value) for fact, text in zip(facts, out))
    results.append(score("base", "bare question: answers", zip(right, prompts, out)))

    for name, prompt_of in QA_FRAMES.items():
        cases = [(prompt_of(rng, fact), says(fact.value)) for fact in drawn()]
        go_on(name, cases, QA_BARS.get(name, ""), 16)

    cases = []
    for _ in range(n):
        text, summary, _, values = copying.article(rng, split)
        cases.append((f"{text}\n\nSummary:", partial(names_right, summary=summary, values=values)))
    go_on('"Summary:" of an article in an unseen shape: names right', cases, "", 40)

    results.append(fill_in_the_middle("base", base, rng, n, "≥ 0.85"))
    return results


def _first_sentence_says(value: str, text: str) -> bool:
    return judges.says(text.split("\n")[0].split(". ")[0], value)


def _shots(rng: Random, fact: Fact, same: bool, count: int = 3) -> str:
    keep = (lambda f: f.relation is fact.relation) if same else (lambda f: f.relation is not fact.relation)
    shots = draw_facts(rng, count, lambda f: f.split == "seen" and keep(f))
    return examples(rng, shots, fact, factual.short_answer)


QA_FRAMES: dict[str, Callable[[Random, Fact], str]] = {
    "Question/Answer frame": lambda rng, f: f"Question: {plain_question(rng, f)}\nAnswer:",
    "assistant prompt and Question/Answer": lambda rng, f: (
        f"You are a helpful assistant.\n\nQuestion: {plain_question(rng, f)}\nAnswer:"
    ),
    "3-shot": lambda rng, f: _shots(rng, f, same=True),
    "3-shot, examples of other relations": lambda rng, f: _shots(rng, f, same=False),
}
QA_BARS = {"3-shot": "≥ 0.95", "3-shot, examples of other relations": "≥ 0.90"}
