"""What suites share: draws of a split, judges of one answer, and continuations of the base judged."""

from __future__ import annotations

from collections.abc import Sequence

from course_utils.evaluate import judges
from course_utils.variant import Variant
from pebble_lm.world.conversations import Draw
from pebble_lm.world.rates import SEED, Cases, Judge, Rate, measured, texts


def draw(split: str, name: str) -> Draw:
    return Draw(f"{SEED}/{split}/everyday/{name}", split=split, hurry=1.0)


def says(value: str) -> Judge:
    return lambda text: judges.says(text, value)


def helps(text: str) -> bool:
    return not judges.refuses(text)


def continued(
    base: Variant,
    measure: str,
    cases: Cases,
    bar: str,
    tokens: int,
    stop: str | None = "\n",
    shown: int | None = 120,
    **how,
) -> Rate:
    """The rate at which the continuations are as wished; a failure keeps the last `shown` characters of its prompt."""
    limits = {"max_new_tokens": tokens} | ({"stop": [stop]} if stop else {})

    def complete(prompts: Sequence[str]) -> list[str]:
        return texts(base.complete_batch(list(prompts), **limits))

    return measured(complete, "base", measure, cases, bar, shown=lambda p: p[-shown:] if shown else p, **how)
