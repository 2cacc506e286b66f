"""An open vocabulary: people, towns, groups and identifiers made from syllables.

A model can memorise the names it reads often. To make it learn to *copy* instead, every document that
asks for copying draws its names from here: tens of thousands of people and towns, most of which occur
once in the whole corpus. A name that an evaluation uses is drawn from a generator seeded elsewhere, so
it is new to the model in all but the rarest case (`tests/test_pebble_corpus.py` counts them).
"""

from __future__ import annotations

from random import Random

from . import knowledge

ONSETS = "b c d f g h j k l m n p r s t v w y z".split() * 2
ONSETS += "br ch cl dr fl gr kl pr qu sh sk st th tr zh".split()
VOWELS = ("a e i o u " * 3 + "ai ea io ou ee").split()
CODAS = [""] * 8 + "l n r s m nd rt ck x th st lm rn d t k v".split()
TOWN_ENDINGS = "ville ton ford burg by mouth stead wick ham dale field haven more den bridge port".split()
GROUP_KINDS = "Club Team Choir Society Company Works Brothers School Orchestra Rovers".split()
# Names that learners type. They occur too rarely, and with too many others, to tell anything by themselves.
FIRST_NAMES, SURNAMES, TOWNS = (knowledge.data("names")[of] for of in ("first_names", "surnames", "towns"))


def syllable(rng: Random) -> str:
    return rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)


def word(rng: Random, low: int = 1, high: int = 3) -> str:
    """A made-up lower-case word of `low` to `high` syllables."""
    return "".join(syllable(rng) for _ in range(rng.randint(low, high)))


def first_name(rng: Random) -> str:
    stem = word(rng, 1, 2)
    return (stem + rng.choice(["", "a", "o", "i", "e", "en", "y"])).capitalize()


def surname(rng: Random) -> str:
    return (word(rng, 1, 2) + rng.choice(["", "", "er", "son", "ov", "ez", "ini", "ard", "in"])).capitalize()


def person(rng: Random) -> str:
    return f"{first_name(rng)} {surname(rng)}"


def town(rng: Random) -> str:
    ending = rng.choice(TOWN_ENDINGS) if rng.random() < 0.5 else rng.choice(["", "a", "o", "is", "ia"])
    return (word(rng, 1, 2) + ending).capitalize()


def group(rng: Random) -> str:
    return f"{town(rng)} {rng.choice(GROUP_KINDS)}"


def identifier(rng: Random) -> str:
    """A Python identifier such as `relmin` or `tavo_ker`."""
    parts = [word(rng, 1, 2) for _ in range(rng.choice([1, 1, 2]))]
    return "_".join(parts)
