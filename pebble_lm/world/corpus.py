"""The pretraining corpus: endless documents of many genres, each drawn by a seeded random generator.

`documents(seed)` never repeats and never ends; how many tokens are read is the recipe's choice. `GENRES` gives
each genre's share *of the tokens*. The first stage reads more of the copying genres, because a model that has not
learned to copy early learns it late or never; the last stage reads more of what is still weak.

Any document may come in lower case or in capitals: a model that has read a name in one spelling only knows
it in that spelling only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from random import Random

from .conversations import Draw
from .genres import copying, factual, pages, practice, prose

Writer = Callable[[Random], str]

# genre -> (share of tokens, writer). Shares are normalised, so they need not sum to one.
FACTUAL: dict[str, tuple[float, Writer]] = {
    "encyclopedia entries": (9.0, factual.entry),
    "fact lists": (5.0, factual.fact_list),
    "question sheets": (8.0, factual.quiz),
    "sheets of requests": (3.5, pages.blank_requests),
    "answer sheets": (10.0, factual.answer_sheet),
    "FAQ pages": (2.5, factual.faq),
    "records": (5.0, factual.record),
    "records restated": (2.0, pages.restated_json),
    "tables": (2.5, factual.table),
    "bullet lists": (0.5, factual.bullets),
    "lists of things": (2.0, pages.lists_of_things),
}
COPYING: dict[str, tuple[float, Writer]] = {
    "news with summary": (9.5, copying.news),
    "passages with questions": (5.5, copying.passage),
    "restated records": (3.5, copying.restated_record),
    "people and questions": (3.0, copying.people_questions),
    "key-value lists": (2.0, copying.key_values),
    "letters": (1.5, copying.letter),
    "forum threads": (1.0, copying.thread),
    "stories": (1.5, copying.story),
    "prose": (7.0, prose.prose),
    "dialogues": (1.0, copying.dialogue),
    "repetitions": (1.5, copying.repetition),
}
PAGES: dict[str, tuple[float, Writer]] = {
    "pages of examples": (15.0, pages.page),
    "help desk": (9.0, pages.help_desk),
}
PRACTICE: dict[str, tuple[float, Writer]] = {
    "arithmetic worksheets": (5.0, practice.worksheet),
    "rules, right and wrong": (5.0, practice.rules),
    "allowed and not allowed": (1.5, practice.sorted_acts),
    "how-to lists": (4.0, practice.howto),
    "Python modules": (3.5, practice.module),
    "code recipes": (2.0, practice.recipe_post),
    "fill-in-the-middle": (5.0, practice.fim),
    "notices": (1.0, practice.notice),
    "small talk": (0.5, practice.small_talk),
}
GENRES = FACTUAL | COPYING | PAGES | PRACTICE
# Factors on the shares in the first stage of pretraining and in the last; what is not named keeps its share.
MIXES: dict[str, dict[str, float]] = {
    "early": dict.fromkeys(COPYING, 1.7),
    "main": {},
    "late": {
        "answer sheets": 1.2,
        "news with summary": 1.5,
        "passages with questions": 1.3,
        "question sheets": 0.9,
        "pages of examples": 1.3,
        "help desk": 1.2,
        "fill-in-the-middle": 1.8,
    },
}
# The last stage reads articles in the shapes that fine-tuning uses as well.
LATE_WRITERS: dict[str, Writer] = {
    "news with summary": partial(copying.news, split="further"),
    "passages with questions": partial(copying.passage, split="further"),
}
# Genres that have no other case: code and what copies letter by letter.
CASED = frozenset(("Python modules", "code recipes", "fill-in-the-middle", "repetitions", "key-value lists"))
LOWER_SHARE, UPPER_SHARE = 0.12, 0.14


def writers(mix: str) -> dict[str, Writer]:
    late = LATE_WRITERS if mix == "late" else {}
    return {name: late.get(name, write) for name, (_, write) in GENRES.items()}


def reader(seed: object) -> Draw:
    """The generator that documents are drawn from: it may draw every entity, and types in a hurry now and then."""
    return Draw(seed, everything=True, hurry=0.2)


@cache
def genre_weights(mix: str, sample: int = 600, seed: int = 0) -> dict[str, float]:
    """The probability of drawing each genre so that it gets its share of the *text*: share / mean length."""
    weights = {}
    for name, write in writers(mix).items():
        rng = reader(f"{seed}/{name}")
        mean = sum(len(write(rng)) for _ in range(sample)) / sample
        weights[name] = GENRES[name][0] * MIXES[mix].get(name, 1.0) / mean
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def documents(seed: int, mix: str = "main") -> Iterator[tuple[str, str]]:
    """Endless (genre, text) pairs of a mix ("early", "main" or "late"); the same seed gives the same documents."""
    rng = reader(seed)
    weights = genre_weights(mix)
    names, chances, write = list(weights), list(weights.values()), writers(mix)
    while True:
        genre = rng.choices(names, chances)[0]
        yield genre, in_some_case(rng, genre, write[genre](rng))


def in_some_case(rng: Random, genre: str, text: str) -> str:
    """The document as it is, or, code left out, in lower case (one in eight) or in capitals (one in seven)."""
    u = rng.random()
    if genre in CASED or u > LOWER_SHARE + UPPER_SHARE:
        return text
    return text.lower() if u < LOWER_SHARE else text.upper()


def census(seed: int, count: int, mix: str = "main") -> Counter[str]:
    """Characters per genre in the first `count` documents."""
    found: Counter[str] = Counter()
    for _, (genre, text) in zip(range(count), documents(seed, mix)):
        found[genre] += len(text)
    return found
