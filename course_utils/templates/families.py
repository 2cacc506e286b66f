"""The chat-template families: each one's Jinja text (the files beside this one), its facts (families.json), and what
it makes of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Messages = Sequence[Mapping[str, Any]]
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Family:
    """One way of writing a conversation down.

    `template` is Jinja text; it may use `bos_token` and `eos_token`. `special_tokens` are the strings that
    are single ids in the family's vocabulary; a mark that is not among them is plain text. `end_of_turn` are
    the tokens an assistant's turn may end with. `tokenizer_adds_bos` says whether the family's tokenizer puts
    its BOS in front of plain text by itself: together with a template that writes one, that makes two.

    `loss_marks` says how far the `{% generation %}` marks can be trusted for training: "faithful" when they
    hold exactly what the model writes after the generation prompt, its end of turn included, in every turn;
    otherwise what is different.
    """

    name: str
    template: str
    special_tokens: tuple[str, ...]
    end_of_turn: tuple[str, ...]
    bos: str | None = None
    tokenizer_adds_bos: bool = False
    loss_marks: str = "faithful"
    note: str = ""
    source: str = ""

    @property
    def eos(self) -> str:
        """The token that `eos_token` stands for in the template: the one that ends the last answer."""
        return self.end_of_turn[0]

    def __repr__(self) -> str:
        return f"Family({self.name!r}, ends a turn with {' or '.join(self.end_of_turn)})"


def _read(name: str, facts: Mapping[str, Any]) -> Family:
    """A family from its row in families.json; what the row leaves out has the class's own default."""
    template = (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return Family(name, template, **{key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()})


_FACTS = json.loads((_FOLDER / "families.json").read_text(encoding="utf-8"))
FAMILIES: dict[str, Family] = {name: _read(name, facts) for name, facts in _FACTS.items()}


def family(name: str | Family) -> Family:
    """Look a family up by name. Raises ValueError, with the names there are, for one that is not known."""
    if isinstance(name, Family):
        return name
    if name not in FAMILIES:
        raise ValueError(f"No template family is called {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def render(
    name: str | Family,
    messages: Messages,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    **variables: Any,
) -> str:
    """Write a conversation as this family does: the text a tokenizer's `apply_chat_template` would make.

    `messages` are dicts with 'role' and 'content' (a str). `variables` are handed to the template, such as
    `date_string="1 Jan 2025"` or another `bos_token`; one that it does not use changes nothing. Raises
    ValueError for a conversation that the family refuses, such as a system message in Gemma 2.
    """
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    chosen = family(name)
    if not messages:
        raise ValueError("There is no message to render. Give at least one dict with 'role' and 'content'.")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise ValueError(
                f"Each message needs a 'role' and a 'content' that is a text, got {message!r}. "
                "Tool calls and images are beyond these templates."
            )
    if add_generation_prompt and continue_final_message:
        raise ValueError(
            "A generation prompt opens a new turn and continue_final_message keeps the last one open; ask for "
            "one of them."
        )
    settings = {"bos_token": chosen.bos or "", "eos_token": chosen.eos, **variables}
    settings |= {
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": continue_final_message,
    }
    conversation = [dict(message) for message in messages]
    try:
        [text], _ = render_jinja_template([conversation], chat_template=chosen.template, **settings)
    except TemplateError as error:
        raise ValueError(f"{chosen.name} refuses this conversation: {error}.") from error
    return text
