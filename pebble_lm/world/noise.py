"""How people type: lower case, capitals, missing marks, slips, contractions, chat spelling.

`typed` turns a request in proper spelling into one as somebody in a hurry would send it. It is a layer over every kind
of request, so that a model learns to see through the spelling and not to know a few misspelled sentences by heart.
Nothing here changes what is asked: names may lose their capitals and a letter may slip, but protected words (names that
nobody could guess, a word to repeat) keep their letters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from random import Random

from . import knowledge

_TEXTS = knowledge.data("typing")
NEIGHBOURS = _TEXTS["neighbours"]  # of each letter on the keyboard
# phrase -> what is written for it. Each is tried where it stands as whole words; some drop the apostrophe as well.
CONTRACTIONS, CHAT, MISSPELLED = _TEXTS["contractions"], _TEXTS["chat"], _TEXTS["misspelled"]
OPENERS, CLOSERS = _TEXTS["openers"], _TEXTS["closers"]
# What evaluation puts before and after a request: never in training.
HELD_OPENERS, HELD_CLOSERS = _TEXTS["held_openers"], _TEXTS["held_closers"]
_WORD = re.compile(r"[^\W\d_]{4,}")


def typed(
    rng: Random,
    text: str,
    *,
    strength: float = 1.0,
    protect: Collection[str] = (),
    slips: bool = True,
    dressing: bool = True,
) -> str:
    """The request as somebody in a hurry would type it.

    `strength` scales how much is changed; `protect` names words that keep their letters (not their case); without
    `slips` no letter is ever wrong; without `dressing` nothing is put before or after it.
    """
    held = getattr(rng, "split", "train") != "train"
    if dressing and rng.random() < 0.2 * strength:
        text = rng.choice(HELD_OPENERS if held else OPENERS) + _lower_first(rng, text)
    if dressing and rng.random() < 0.1 * strength and "\n" not in text:
        text = text.rstrip("?.! ") + rng.choice(HELD_CLOSERS if held else CLOSERS)
    text = _swap(rng, text, CONTRACTIONS, 0.55 * strength)
    if rng.random() < 0.25 * strength:
        text = _swap(rng, text, CHAT, 0.5)
    if slips and rng.random() < 0.3 * strength:
        text = _swap(rng, text, MISSPELLED, 0.4, protect)
    if slips and rng.random() < 0.35 * strength:
        for _ in range(rng.choice([1, 1, 2])):
            text = slip(rng, text, protect)
    u = rng.random()
    if u < 0.36 * strength:
        text = text.lower()
    elif u < 0.77 * strength:
        text = text.upper()
    elif u < 0.84 * strength:
        text = text[:1].lower() + text[1:]
    elif u < 0.87 * strength:
        text = text.title()
    u = rng.random()
    if u < 0.55 * strength:
        text = text.rstrip("?.! ") or text  # a mark alone stays
    elif u < 0.6 * strength and text.endswith("?"):
        text += rng.choice(["?", "??", "!", "?!"])
    elif u < 0.63 * strength and text.endswith(("?", ".")):
        text = text[:-1] + " " + text[-1]
    if rng.random() < 0.15 * strength:
        text = text.replace("'", "")
    if rng.random() < 0.1 * strength:
        text = text.replace(",", "")
    return text


def slip(rng: Random, text: str, protect: Collection[str] = ()) -> str:
    """One slip of the finger in a word of at least four letters: two letters swapped, one lost, doubled or wrong."""
    kept = {word.lower() for phrase in protect for word in phrase.split()}
    spans = [m.span() for m in _WORD.finditer(text) if m[0].lower() not in kept]
    if not spans:
        return text
    start, end = rng.choice(spans)
    at = rng.randint(start + 1, end - 2)  # the first letter and the last stay
    kind = rng.random()
    if kind < 0.35 and at + 2 < end:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind < 0.65:
        return text[:at] + text[at + 1 :]
    if kind < 0.8:
        return text[:at] + text[at] + text[at:]
    wrong = rng.choice(NEIGHBOURS.get(text[at].lower(), "e"))
    return text[:at] + wrong + text[at + 1 :]


def _lower_first(rng: Random, text: str) -> str:
    return text[:1].lower() + text[1:] if rng.random() < 0.7 else text


def _swap(
    rng: Random,
    text: str,
    forms_of: Mapping[str, Sequence[str]],
    chance: float,
    protect: Collection[str] = (),
) -> str:
    """Each phrase that stands in the text as whole words becomes one of its other forms, with this chance."""
    lower = text.lower()
    kept = " ".join(protect).lower()
    for phrase, forms in forms_of.items():
        if phrase in lower and phrase not in kept and rng.random() < chance:
            form = rng.choice(forms)

            def put(match: re.Match, form: str = form) -> str:
                return form[:1].upper() + form[1:] if match[0][:1].isupper() else form

            text = re.sub(rf"(?<![\w']){phrase}(?![\w'])", put, text, flags=re.I)
            lower = text.lower()
    return text
