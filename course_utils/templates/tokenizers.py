"""A tokenizer for any family, and text that must not become control tokens."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..pairs import PEBBLE_MODELS
from .families import Family, Messages, family

_PEBBLE = PEBBLE_MODELS / "pebble-base" / "tokenizer.json"


def toy_tokenizer(name: str | Family) -> Any:
    """Return a small tokenizer of this family: Pebble's byte-level vocabulary with the family's special tokens.

    It is a real `PreTrainedTokenizerFast` with the family's chat template, made without a download, so that
    special tokens, BOS and masks behave as in the family's own; only how plain words are cut differs. The ids
    are Pebble's where Pebble has the token, and new ones behind its vocabulary otherwise. In front of plain text it
    puts a BOS where the family's own does.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    chosen = family(name)
    tokenizer = Tokenizer.from_str(_plain_vocabulary())
    tokenizer.add_special_tokens(list(chosen.special_tokens))
    if chosen.bos and chosen.tokenizer_adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{chosen.bos} $A", special_tokens=[(chosen.bos, tokenizer.token_to_id(chosen.bos))]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=chosen.bos,
        eos_token=chosen.eos,
        extra_special_tokens=list(chosen.special_tokens),
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = chosen.template
    return wrapped


@cache
def _plain_vocabulary() -> str:
    """Pebble's tokenizer as JSON, its own special tokens turned into plain text and no BOS added."""
    plain = json.loads(_PEBBLE.read_text(encoding="utf-8"))
    return json.dumps(plain | {"added_tokens": [], "post_processor": None})


def encode_safely(
    tokenizer: Any, messages: Messages, add_generation_prompt: bool = True, **settings: Any
) -> list[int]:
    """Encode a conversation so that no message can write a control token: only the template's own become ids.

    Uses `apply_chat_template(…, sanitize_control_tokens=True)` where the installed transformers has it. Older
    releases would take that for a template variable and *ignore* it, so there the control tokens in the
    messages are encoded one by one with `split_special_tokens=True`. Neither helps against marks that are
    plain text in the first place, such as Zephyr's `<|user|>`, nor against a role taken from the user.
    """
    settings["add_generation_prompt"] = add_generation_prompt
    if "sanitize_control_tokens" in inspect.signature(tokenizer.apply_chat_template).parameters:
        encoded = tokenizer.apply_chat_template(
            list(messages), sanitize_control_tokens=True, tokenize=True, return_dict=True, **settings
        )
        return list(encoded["input_ids"])
    return _encode_in_pieces(tokenizer, messages, settings)


def _encode_in_pieces(tokenizer: Any, messages: Messages, settings: Mapping[str, Any]) -> list[int]:
    """As `encode_safely`, for releases without the library's own way.

    Each control token in a message is replaced by a stand-in from the private use area before rendering; then
    the text between stand-ins is encoded as usual, and each stand-in as the plain text of its token. A user
    who writes a stand-in gets plain text, too.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    tokens = dict.fromkeys([*(t.content for t in added if t.special), *tokenizer.all_special_tokens])
    tokens = sorted(tokens, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, tokens)) or r"(?!)")

    def masked(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return pattern.sub(lambda found: f"\ue000{tokens.index(found[0])}\ue001", value)

    guarded = [{key: masked(value) for key, value in message.items()} for message in messages]
    text = tokenizer.apply_chat_template(guarded, tokenize=False, **settings)
    ids: list[int] = []
    for number, piece in enumerate(re.split("\ue000(\\d+)\ue001", text)):
        # Every other piece is a stand-in's number; one that is too high stood in the user's text.
        written_out = number % 2 == 1 and int(piece) < len(tokens)
        piece = tokens[int(piece)] if written_out else piece
        ids += tokenizer(piece, add_special_tokens=False, split_special_tokens=written_out)["input_ids"]
    return ids
