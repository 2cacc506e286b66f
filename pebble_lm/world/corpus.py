"""The pretraining corpus: endless documents of many genres, each drawn by a seeded random generator.

`documents(seed)` never repeats and never ends; how many tokens are read is the recipe's choice. `GENRES` gives
each genre's share *of the tokens*. The first stage reads more of the copying genres, because a model that has not
learned to copy early learns it late or never; the last stage reads more of what is still weak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from .genres import copying, factual, practice

Writer = Callable[[Random], str]

# genre -> (share of tokens, writer). Shares are normalised, so they need not sum to one.
FACTUAL: dict[str, tuple[float, Writer]] = {
    "encyclopedia entries": (9.0, factual.entry),
    "fact lists": (6.0, factual.fact_list),
    "question sheets": (10.0, factual.quiz),
    "answer sheets": (13.0, factual.answer_sheet),
    "FAQ pages": (2.5, factual.faq),
    "records": (6.0, factual.record),
    "tables": (2.5, factual.table),
    "bullet lists": (1.0, factual.bullets),
}
COPYING: dict[str, tuple[float, Writer]] = {
    "news with summary": (8.0, copying.news),
    "passages with questions": (6.0, copying.passage),
    "restated records": (4.5, copying.restated_record),
    "people and questions": (4.0, copying.people_questions),
    "key-value lists": (2.5, copying.key_values),
    "letters": (1.5, copying.letter),
    "forum threads": (1.0, copying.thread),
    "stories": (2.0, copying.story),
    "dialogues": (1.0, copying.dialogue),
    "repetitions": (1.5, copying.repetition),
}
PRACTICE: dict[str, tuple[float, Writer]] = {
    "arithmetic worksheets": (3.0, practice.worksheet),
    "rules, right and wrong": (5.0, practice.rules),
    "allowed and not allowed": (1.5, practice.sorted_acts),
    "how-to lists": (4.0, practice.howto),
    "Python modules": (4.0, practice.module),
    "code recipes": (2.5, practice.recipe_post),
    "fill-in-the-middle": (5.0, practice.fim),
    "notices": (1.0, practice.notice),
    "small talk": (0.5, practice.small_talk),
}
GENRES = FACTUAL | COPYING | PRACTICE
# Factors on the shares in the first stage of pretraining and in the last; what is not named keeps its share.
MIXES: dict[str, dict[str, float]] = {
    "early": dict.fromkeys(COPYING, 1.7),
    "main": {},
    "late": {
        "answer sheets": 1.2,
        "news with summary": 1.6,
        "passages with questions": 1.3,
        "question sheets": 0.8,
        "arithmetic worksheets": 0.7,
        "Python modules": 1.2,
        "fill-in-the-middle": 2.2,
    },
}
# The last stage reads articles in the shapes that fine-tuning uses as well.
LATE_WRITERS: dict[str, Writer] = {
    "news with summary": partial(copying.news, split="sft"),
    "passages with questions": partial(copying.passage, split="sft"),
}


def writers(mix: str) -> dict[str, Writer]:
    late = LATE_WRITERS if mix == "late" else {}
    return {name: late.get(name, write) for name, (_, write) in GENRES.items()}


def genre_weights(mix: str, sample: int = 200, seed: int = 0) -> dict[str, float]:
    """The probability of drawing each genre so that it gets its share of the *text*: share / mean length."""
    weights = {}
    for name, write in writers(mix).items():
        rng = Random(f"{seed}/{name}")
        mean = sum(len(write(rng)) for _ in range(sample)) / sample
        weights[name] = GENRES[name][0] * MIXES[mix].get(name, 1.0) / mean
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def documents(seed: int, mix: str = "main") -> Iterator[tuple[str, str]]:
    """Endless (genre, text) pairs of a mix ("early", "main" or "late"); the same seed gives the same documents."""
    rng = Random(seed)
    weights = genre_weights(mix)
    names, chances, write = list(weights), list(weights.values()), writers(mix)
    while True:
        genre = rng.choices(names, chances)[0]
        yield genre, write[genre](rng)


def census(seed: int, count: int, mix: str = "main") -> Counter[str]:
    """Characters per genre in the first `count` documents."""
    found: Counter[str] = Counter()
    for _, (genre, text) in zip(range(count), documents(seed, mix)):
        found[genre] += len(text)
    return found
