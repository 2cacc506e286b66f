"""Texts with alternatives: `[a|b|]` becomes one of its parts, `{slot}` what the slot holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


def expand(rng: Random, text: str) -> str:
    """One expansion of a text's alternatives; blanks that an empty alternative leaves are closed up."""
    if "[" not in text:
        return text
    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), text)
    text = re.sub(r" +([,.?!])", r"\1", re.sub(r" {2,}", " ", text))
    return text.strip(" ")


def slots_of(text: str) -> list[str]:
    """The names of a text's slots, with a small first letter."""
    return [name[:1].lower() + name[1:] for name in _SLOT.findall(text)]


def fill(rng: Random, text: str, slots: Mapping[str, Sequence[str] | str]) -> str:
    """`expand`, then each `{slot}` filled: from a list one of its entries, a text as it is.

    `{Slot}` is the same with its first letter raised; doubled braces stand for single ones.
    """
    text = expand(rng, text)
    values: dict[str, str] = {}
    for name in dict.fromkeys(_SLOT.findall(text)):  # in the order of the text: the same seed draws the same
        known = slots[name] if name in slots else slots[name[:1].lower() + name[1:]]
        value = known if isinstance(known, str) else rng.choice(known)
        values[name] = value if name in slots else value[:1].upper() + value[1:]
    return single_braces(_SLOT.sub(lambda match: values[match[1]], text))


def single_braces(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")
