"""One token as text: what its id stands for, and how a learner sees it. Knows tokenizers, but no model."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

IGNORED = -100  # the label that PyTorch's cross_entropy leaves out of the loss

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's mark for it
_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}


def token_text(tokenizer: Any, token_id: int) -> str:
    """One token's text, its leading space kept; bytes that are only part of a character as `<0xE2>`."""
    try:  # len(tokenizer) is not cheap: some releases count the whole vocabulary each time
        piece = tokenizer.convert_ids_to_tokens(int(token_id))
    except (IndexError, KeyError, OverflowError):
        piece = None
    if piece is None:
        return f"<unused {token_id}>"  # the model's vocabulary may be padded beyond the tokenizer's tokens
    text = tokenizer.decode([int(token_id)], clean_up_tokenization_spaces=False)
    if "\N{REPLACEMENT CHARACTER}" in text:
        # Half a character, such as the first byte of an é: decoding loses which byte it was, the piece does not.
        if _BYTE.fullmatch(piece):
            return piece  # SentencePiece's
        codes = [_BYTE_OF.get(character) for character in piece]
        return text if None in codes else "".join(f"<0x{code:02X}>" for code in codes)
    # SentencePiece decoders drop the space in front of a text
    return piece.replace(_SPACE, " ") if piece.startswith(_SPACE) else text


def require_encodable(text: str) -> None:
    """Raise ValueError for a lone surrogate (half a character), which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"It holds half a character ({text[error.start]!r}) at place {error.start}, as left by bytes that were not "
            "UTF-8. Read the text again with its right encoding."
        ) from None


def is_special(tokenizer: Any, token_id: int) -> bool:
    """Whether the tokenizer treats this id as a special token: one mark that no plain text turns into."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).get(token_id)
    return token_id in tokenizer.all_special_ids or bool(added is not None and added.special)


def visible_token(text: str) -> str:
    """The text of one token with what is invisible made visible: `␣Paris`, `↵`, `⇥`.

    A byte that is only part of a character (`<0xE2>`, as `token_text` spells it) appears as ⟨0xE2⟩, other
    control and format characters as ⟨U+200B⟩, an empty text as ∅. Special tokens keep the brackets they are
    written with.
    """
    text = _BYTE.sub(_byte_shown, text)
    return "".join(_VISIBLE.get(character) or _named_if_invisible(character) for character in text) or "∅"


def _byte_shown(match: re.Match) -> str:
    code = int(match[1], 16)
    return chr(code) if code < 0x80 else f"⟨0x{match[1]}⟩"


def _named_if_invisible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"⟨U+{ord(character):04X}⟩"
    return character


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: visible Latin-1 stands for itself, the rest for U+0100 and on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [code for code in range(0x100) if code not in visible]
    return {chr(code): code for code in visible} | {chr(0x100 + i): code for i, code in enumerate(hidden)}


_BYTE_OF = _byte_alphabet()
