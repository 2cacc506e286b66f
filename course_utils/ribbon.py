"""The token ribbon: a text as the model reads it, token by token. This module knows tokenizers, but no model.

The ribbon is a plain HTML table, cut into lines: one column a token, one row each for its text, id, role,
whether it counts in the loss, and the target under each input (`ribbon.jinja`). It needs no script and no style
sheet: colours are inline and follow JupyterLab's theme, and where styles are stripped (GitHub) the table still
says everything in words. `print` it, or let a text-only front-end show it, and the same comes as aligned text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from numbers import Integral
from typing import Any

from .markup import template
from .roles import rendered, role_spans, roles_at, template_errors_explained, token_offsets
from .tokens import IGNORED, is_special, require_encodable, token_text, visible_token


@dataclass(frozen=True)
class RibbonToken:
    """One column of the ribbon. Fields that the ribbon was not asked for are None."""

    text: str  # as a learner sees it, such as ␣Paris
    token_id: int
    special: bool
    role: str | None = None
    in_loss: bool | None = None  # whether predicting this token counts in the loss
    target: str | None = None  # what the model should predict after reading this token
    prob: float | None = None


# --- building a ribbon --------------------------------------------------------------------------------------


def show_tokens(
    tokenizer: Any,
    content: Any,
    loss_mask: Sequence[Any] | None = None,
    labels: Sequence[int] | bool | None = None,
    roles: Sequence[str | None] | bool = True,
    probs: Sequence[float | None] | None = None,
    add_generation_prompt: bool = False,
    **template_settings: Any,
) -> TokenRibbon:
    """Show a text, a conversation or token ids as the tokens that the model reads.

    `tokenizer` is a Hugging Face tokenizer, or anything that has one as `.tokenizer` (a `Variant`). `content`
    is a str (tokenized as the tokenizer does by default, its BOS included), a list of messages (rendered by
    the chat template, which gets `add_generation_prompt` and `template_settings`), or token ids (a list, a
    1-D tensor or array, or what the tokenizer returned for one text).

    All of these run along the tokens, one value each: `loss_mask`: true where predicting this token counts in
    the loss. `labels`: True shows under each input its target, the next token: targets are the inputs moved
    one place to the left, and the last input has none. A list is read as Hugging Face models read it, in
    place (`labels[i]` belongs to `input_ids[i]`, the model shifts), with -100 for what is ignored; it also
    gives the loss mask. `roles`: names of one's own, or True for the turns of the chat template (messages
    only), or False for none. `probs`: a probability from 0 to 1 under each token; None or NaN leaves a gap.

    Returns a TokenRibbon. Raises ValueError where a length does not match the number of tokens, and for
    messages when the tokenizer has no chat template.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    ids, turns = _ids_and_turns(tokenizer, content, add_generation_prompt, template_settings)
    label_row = None if isinstance(labels, bool) else _along("labels", labels, ids)
    mask_row = _along("loss_mask", loss_mask, ids)
    if mask_row is None and label_row is not None:
        mask_row = [int(label) != IGNORED for label in label_row]
    role_row = turns if roles is True else _along("roles", roles or None, ids)
    prob_row = _along("probs", probs, ids)
    # The columns that were asked for, each with one value a token.
    columns = {
        "role": role_row and [role or "" for role in role_row],
        "in_loss": mask_row and [bool(counts) for counts in mask_row],
        "target": _targets(tokenizer, ids if labels is True else label_row, mask_row),
        "prob": prob_row and [None if p is None or p != p else float(p) for p in prob_row],
    }
    asked = {name: column for name, column in columns.items() if column}
    tokens = (
        RibbonToken(
            visible_token(token_text(tokenizer, token_id)),
            token_id,
            is_special(tokenizer, token_id),
            **{name: column[i] for name, column in asked.items()},
        )
        for i, token_id in enumerate(ids)
    )
    return TokenRibbon(tuple(tokens))


def _flat(values: Any) -> list[Any]:
    """A list of a list, tensor or array; of a batch with one row, that row."""
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    return list(values[0]) if len(values) == 1 and isinstance(values[0], (list, tuple)) else values


def _along(name: str, values: Any, ids: Sequence[int]) -> list[Any] | None:
    """`values` as a list as long as the tokens, or None for None."""
    if values is None:
        return None
    values = _flat(values)
    if len(values) != len(ids):
        raise ValueError(
            f"{name} has {len(values)} values for {len(ids)} tokens; give one value a token, in their order."
        )
    return values


def _targets(tokenizer: Any, labels: list[int] | None, mask: list | None) -> list[str] | None:
    """The target under each input as text: "" under the last, "ignored" where it is left out of the loss."""
    if not labels:
        return None
    counted = mask or [True] * len(labels)
    # Position i predicts token i + 1, so a label stands under the input one place to its left.
    following = [
        "ignored" if label == IGNORED or not counts else visible_token(token_text(tokenizer, int(label)))
        for label, counts in zip(labels[1:], counted[1:], strict=True)
    ]
    return [*following, ""]


def _ids_and_turns(
    tokenizer: Any, content: Any, add_generation_prompt: bool, settings: dict
) -> tuple[list[int], list[str | None] | None]:
    """Token ids, and for messages the role of each token."""
    if isinstance(content, str):
        require_encodable(content)
        return list(tokenizer(content)["input_ids"]), None
    if isinstance(content, (list, tuple)) and content and isinstance(content[0], Mapping):
        return _of_messages(tokenizer, content, {**settings, "add_generation_prompt": add_generation_prompt})
    ids = _flat(content["input_ids"] if isinstance(content, Mapping) and "input_ids" in content else content)
    if not all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids):
        raise TypeError(
            "show_tokens takes a text, a list of messages ({'role': …, 'content': …}) or token ids of "
            f"one text; this {type(content).__name__} is none of them."
        )
    if min(ids, default=0) < 0:
        raise ValueError(
            f"Token ids are 0 or more, and these hold {min(ids)}. If they are a batch's labels ({IGNORED} where "
            "nothing is learned), show its input_ids and hand these over as labels=."
        )
    return [int(i) for i in ids], None


def _of_messages(
    tokenizer: Any, messages: Sequence[Mapping], settings: dict
) -> tuple[list[int], list[str | None] | None]:
    template = settings.get("chat_template")
    if template is None and not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "This tokenizer has no chat template, so it cannot render messages. Pass the instruct's "
            "tokenizer, or the template's text as chat_template=…."
        )
    if template is not None:  # one of templates.FAMILIES does as well as its text
        settings["chat_template"] = getattr(template, "template", template)
    text = rendered(tokenizer, messages, settings)
    with template_errors_explained(messages):
        encoded = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **settings)
    ids = list(encoded["input_ids"])
    offsets = token_offsets(tokenizer, text, ids)
    return ids, offsets and roles_at(role_spans(tokenizer, messages, **settings), offsets)


# --- the ribbon ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenRibbon:
    """Tokens ready to be shown: an HTML table in a notebook, aligned text elsewhere (`print`, `str`)."""

    tokens: tuple[RibbonToken, ...]
    width: int = 96  # characters a line of the ribbon may take

    def __len__(self) -> int:
        return len(self.tokens)

    def _has(self, field: str) -> bool:
        return any(getattr(token, field) is not None for token in self.tokens)

    def _rows(self) -> list[tuple[str, list[str]]]:
        """The ribbon's rows below the tokens, each with its name and one text a token."""
        rows = [("id", [str(t.token_id) for t in self.tokens])]
        if self._has("role"):
            rows.append(("role", [t.role for t in self.tokens]))
        if self._has("in_loss"):
            rows.append(("in the loss", ["yes" if t.in_loss else "–" for t in self.tokens]))
        if self._has("target"):
            rows.append(("target", [t.target or "none" for t in self.tokens]))
        if self._has("prob"):
            rows.append(("probability", ["" if t.prob is None else f"{t.prob:.3f}" for t in self.tokens]))
        return rows

    def _lines(self, rows: list[tuple[str, list[str]]]) -> list[range]:
        """Token numbers, cut into lines that fit `width`."""
        by_token = [r for name, r in rows if name != "role"]
        lines, start, used = [], 0, 0
        for i, token in enumerate(self.tokens):
            size = 2 + max(_columns(token.text) + 2 * token.special, *(_columns(row[i]) for row in by_token))
            if i > start and used + size > self.width:
                lines.append(range(start, i))
                start, used = i, 0
            used += size
        return [*lines, range(start, len(self.tokens))] if self.tokens else []

    # -- as HTML

    def _repr_html_(self) -> str:
        rows = self._rows()
        parts = []
        for line in self._lines(rows):
            here = slice(line.start, line.stop)
            cells = [(name, _runs(texts[here]) if name == "role" else texts[here]) for name, texts in rows]
            parts.append(
                {"first": line.start + 1, "last": line.stop, "tokens": self.tokens[here], "rows": cells}
            )
        legend = "; ".join(self._legend())
        return template("ribbon.jinja").render(count=len(self), parts=parts, legend=legend)

    def _legend(self) -> list[str]:
        says = [f"{len(self)} tokens", "␣ is a space, ↵ a line break"]
        if any(t.special for t in self.tokens):
            says.append("outlined: special tokens, each a single id")
        if self._has("in_loss"):
            counted = sum(bool(t.in_loss) for t in self.tokens)
            says.append(f"underlined: the {counted} tokens whose prediction counts in the loss")
        if self._has("target"):
            says.append("target: what the model should predict next, the inputs moved one place to the left")
        return says

    # -- as text

    def __str__(self) -> str:
        rows = self._rows()
        names = max(len(name) for name in ("token", *(name for name, _ in rows)))
        blocks = []
        for line in self._lines(rows):
            shown = [f"[{t.text}]" if t.special else t.text for t in self.tokens[line.start : line.stop]]
            columns = [("token", shown), *((name, texts[line.start : line.stop]) for name, texts in rows)]
            columns = [(name, _marked_once(texts) if name == "role" else texts) for name, texts in columns]
            widths = [
                max(_columns(texts[i]) for name, texts in columns if name != "role") for i in range(len(line))
            ]
            blocks.append("\n".join(_text_row(name.ljust(names), texts, widths) for name, texts in columns))
        legend = "; ".join(self._legend()).replace("outlined", "in [ ]").replace("underlined", "in the loss")
        return "\n\n".join([*blocks, legend])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def _runs(roles: Sequence[str]) -> list[tuple[str, int]]:
    """Each run of the same role as the role and its number of tokens."""
    return [(role, len(list(run))) for role, run in groupby(roles)]


def _marked_once(roles: Sequence[str]) -> list[str]:
    """A run of one role as its name and a line, so that it may be longer than the first token's column."""
    return [role if i == 0 or roles[i - 1] != role else "─" for i, role in enumerate(roles)]


def _columns(text: str) -> int:
    """How many columns a text takes in a fixed-width font."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _text_row(name: str, texts: Sequence[str], widths: Sequence[int]) -> str:
    row, at, wanted = name, len(name), len(name) + 2
    for text, width in zip(texts, widths, strict=True):
        if text == "─":
            row += "─" * max(0, wanted + width - at)
        else:
            row += " " * (wanted - at) + text if at < wanted else " " + text
        at, wanted = _columns(row), wanted + width + 2
    return row.rstrip()
