"""From conversations to training batches: loss masks, labels, truncation, padding, packing, and `audit_batch`,
which names the bugs that training passes over in silence. Knows tokenizers, but no model.

Masks and labels stand in place, as Hugging Face models read them: `labels[i]` is `input_ids[i]` where that token
is to be learned and -100 where it is not. The model itself compares its prediction at `i` with `labels[i + 1]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from .ribbon import role_spans
from .templates import Family
from .tokens import token_text, visible_token

IGNORED = -100  # the label that PyTorch's cross_entropy leaves out of the loss
LOSS_ON = ("assistant", "last", "completion", "all")


@dataclass(frozen=True)
class Encoded:
    """One example as token ids with its loss mask; all lists run along the tokens.

    `mask` is 1 where the token is to be learned, else 0. `tokens` are the ids as text. `roles` name the turn each
    token belongs to, or hold None where nothing is known of turns.
    """

    ids: list[int]
    mask: list[int]
    tokens: list[str]
    roles: list[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        return labels(self.ids, self.mask)

    @property
    def loss_tokens(self) -> int:
        """How many predictions count in the loss. Nothing predicts the first token, so it never does."""
        return sum(self.mask[1:])

    def frame(self) -> pd.DataFrame:
        """One row a token: token (as a learner sees it), token_id, role, in_loss, label."""
        return pd.DataFrame(
            {
                "token": [visible_token(token) for token in self.tokens],
                "token_id": self.ids,
                "role": self.roles,
                "in_loss": [bool(m) for m in self.mask],
                "label": self.labels,
            }
        )


# --- masks and labels ---------------------------------------------------------------------------------------


def loss_mask(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    *,
    on: str = "assistant",
    chat_template: str | Family | None = None,
    **template_settings: Any,
) -> Encoded:
    """Render a conversation to token ids and mark the tokens that are to be learned.

    `on` says which: "assistant": every assistant turn, the token that ends the turn included. "last": only the
    last of them. "completion": all that follows the last generation prompt, as for a prompt and its completion;
    this one needs no marks in the template, and takes whatever the template writes after the end of turn (in
    ChatML a line break). "all": every token, which is plain language modelling.

    "assistant" and "last" ask the library (`return_assistant_tokens_mask=True`), which needs a template that marks
    what the assistant wrote with `{% generation %}…{% endgeneration %}`; `chat_template` (Jinja text, or a Family of
    templates.py) stands in for the tokenizer's own, and further settings reach the template. `tokenizer` may be a Variant.

    Raises ValueError where there is no template, no marks in it, no assistant turn, or a mask that is empty all
    the same; TypeError where `messages` is no list of messages.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    messages = _checked_messages(messages, on)
    template = _template_of(tokenizer, chat_template)
    settings = {**template_settings, "chat_template": template}
    if on in ("assistant", "last") and not has_generation_marks(template):
        raise ValueError(
            "This chat template has no {% generation %} marks, so it cannot tell the assistant's tokens from the "
            "rest; the library's mask would be all zeros. Pass chat_template= with a marked one, such as "
            "templates.FAMILIES['chatml'], or on='completion', which needs no marks."
        )
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True,
        return_assistant_tokens_mask=on in ("assistant", "last"), **settings,
    )  # fmt: skip
    ids = list(encoded["input_ids"])
    if on == "all":
        mask = [1] * len(ids)
    elif on == "completion":
        mask = _completion_mask(tokenizer, messages, ids, settings)
    else:
        mask = list(encoded["assistant_masks"])
    if not any(mask):
        raise ValueError(
            "The mask is empty although the conversation has an assistant turn: the template's generation marks "
            "enclose nothing of it. Print tokenizer.apply_chat_template(messages, tokenize=False) and see what is lost."
        )
    if on == "last":
        mask = _last_run(mask)
    return _encoded(tokenizer, ids, mask, _token_roles(tokenizer, messages, ids, settings))


def encode_row(
    tokenizer: Any,
    row: Mapping[str, Any],
    *,
    on: str | None = None,
    chat_template: str | Family | None = None,
) -> Encoded:
    """Turn one row of a dataset into ids and mask, as its format asks for.

    Formats, told by their columns: `messages` (loss on the assistant's turns), `prompt` and `completion` (texts or
    lists of messages; loss on the completion), `text` (loss on every token). `on` overrides the choice, as in
    `loss_mask`. A text that does not end with the tokenizer's eos gets it, so that there is an end to learn.
    Other formats: `formats.convert` first. Raises ValueError for a row with none of these columns.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    settings = {"chat_template": chat_template}
    if "messages" in row:
        return loss_mask(tokenizer, row["messages"], on=on or "assistant", **settings)
    if "prompt" in row and "completion" in row:
        prompt, completion = row["prompt"], row["completion"]
        if not isinstance(prompt, str):
            return loss_mask(tokenizer, [*prompt, *completion], on=on or "completion", **settings)
        ids = _with_eos(tokenizer, prompt + completion)
        if on == "all":
            return _encoded(tokenizer, ids, [1] * len(ids))
        start = _common_prefix_length(list(tokenizer(prompt)["input_ids"]), ids)
        mask = [int(i >= start) for i in range(len(ids))]
        return _encoded(
            tokenizer, ids, mask, ["prompt" if i < start else "completion" for i in range(len(ids))]
        )
    if "text" in row:
        ids = _with_eos(tokenizer, row["text"])
        return _encoded(tokenizer, ids, [1] * len(ids))
    raise ValueError(
        f"A row with the columns {', '.join(map(str, row)) or '(none)'} is no messages, prompt-completion or text "
        "row. Convert it first: formats.convert(row, 'messages')."
    )


def labels(ids: Sequence[int], mask: Sequence[int]) -> list[int]:
    """Return `ids` where `mask` is 1 and -100 elsewhere; nothing is shifted, for the model does that itself.

    Raises ValueError when the two differ in length.
    """
    if len(ids) != len(mask):
        raise ValueError(f"{len(ids)} ids and {len(mask)} mask values; there must be one a token.")
    return [int(i) if keep else IGNORED for i, keep in zip(ids, mask, strict=True)]


def has_generation_marks(chat_template: str | None) -> bool:
    """Whether a Jinja chat template marks what the assistant wrote: `{% generation %}`, trimmed or not."""
    return bool(chat_template) and re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", chat_template) is not None


def loss_counts(rows: Sequence[Encoded | Mapping[str, Any]]) -> pd.DataFrame:
    """How much of each example is learned: columns row, tokens, loss_tokens, share.

    `loss_tokens` counts predictions, so the first token of a row never counts.
    """
    counts = [
        (len(ids), sum(label != IGNORED for label in targets[1:])) for ids, targets, _ in map(_triple, rows)
    ]
    table = pd.DataFrame(counts, columns=["tokens", "loss_tokens"], dtype=int)
    table.insert(0, "row", range(len(table)))
    table["share"] = table["loss_tokens"] / table["tokens"].where(table["tokens"] > 0)
    return table


def _checked_messages(messages: Any, on: str) -> list[dict[str, Any]]:
    if on not in LOSS_ON:
        raise ValueError(f"on must be one of {', '.join(map(repr, LOSS_ON))}, got {on!r}.")
    if isinstance(messages, (str, Mapping)) or not all(isinstance(m, Mapping) for m in messages):
        raise TypeError(
            "loss_mask takes one conversation, a list of messages {'role': …, 'content': …}; for a row of a dataset "
            "use encode_row."
        )
    messages = [dict(message) for message in messages]
    roles = [message.get("role") for message in messages]
    if on != "all" and "assistant" not in roles:
        raise ValueError(
            "The conversation has no assistant turn, so there is nothing to learn from it "
            f"(its roles: {', '.join(map(str, roles)) or 'none'}). Add the answer, or leave the row out."
        )
    if on == "completion" and roles[-1] != "assistant":
        raise ValueError(
            f"on='completion' needs a conversation that ends with the assistant, but this one ends with {roles[-1]!r}."
        )
    return messages


def _template_of(tokenizer: Any, chat_template: str | Family | None) -> str:
    if isinstance(chat_template, Family):
        return chat_template.template
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "This tokenizer has no chat template, as is usual for a base model. Pass chat_template=, for instance the "
            "instruct's tokenizer.chat_template."
        )
    return tokenizer.get_chat_template(chat_template)


def _completion_mask(tokenizer: Any, messages: list[dict], ids: list[int], settings: dict) -> list[int]:
    """1 from where the whole and the prompt alone part ways (TRL finds the completion's start the same way)."""
    first = max(i for i, message in enumerate(messages) if message["role"] != "assistant") + 1
    prompt = tokenizer.apply_chat_template(
        messages[:first], tokenize=True, return_dict=True, add_generation_prompt=True, **settings
    )
    start = _common_prefix_length(list(prompt["input_ids"]), ids)
    return [int(i >= start) for i in range(len(ids))]


def _common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _last_run(mask: list[int]) -> list[int]:
    last = max(i for i, m in enumerate(mask) if m)
    first = max((i for i, m in enumerate(mask[:last]) if not m), default=-1)
    return [int(first < i <= last) for i in range(len(mask))]


def _with_eos(tokenizer: Any, text: str) -> list[int]:
    eos = tokenizer.eos_token or ""
    return list(tokenizer(text if text.endswith(eos) else text + eos)["input_ids"])


def _encoded(tokenizer: Any, ids: list[int], mask: list[int], roles: list | None = None) -> Encoded:
    return Encoded(
        ids, [int(m) for m in mask], [token_text(tokenizer, i) for i in ids], roles or [None] * len(ids)
    )


def _token_roles(tokenizer: Any, messages: list[dict], ids: list[int], settings: dict) -> list | None:
    """The turn each token begins in, or None where the tokenizer cannot say which characters a token covers."""
    if not tokenizer.is_fast:
        return None
    text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if list(encoded["input_ids"]) != ids:
        return None
    spans = role_spans(tokenizer, messages, **settings)
    return [
        next((span.role for span in spans if span.start <= start < span.end), None)
        for start, _ in encoded["offset_mapping"]
    ]


# --- truncating, padding, packing ---------------------------------------------------------------------------


def truncate(
    rows: Sequence[Encoded | Mapping[str, Any]], max_length: int, keep: str = "start"
) -> tuple[list[dict[str, list[int]]], pd.DataFrame]:
    """Cut rows to `max_length` tokens and say what that cost: (rows, report).

    `keep` is "start" or "end". The rows come back as dicts of input_ids and labels, in their order, none left out:
    one that has lost all its labels teaches nothing, and is for the caller to drop (TRL drops such rows without
    a word). The report has a line for each row that was cut: row, tokens, cut, loss_tokens (before), loss_lost,
    end_lost (whether its last learned token, normally the end of turn, is gone), nothing_left.
    Raises ValueError for another `keep` or a length below 1.
    """
    if keep not in ("start", "end"):
        raise ValueError(f"keep must be 'start' or 'end', got {keep!r}.")
    if max_length < 1:
        raise ValueError(f"max_length must be 1 or more, got {max_length}.")
    part = slice(None, max_length) if keep == "start" else slice(-max_length, None)
    kept, report = [], []
    for number, (ids, targets, _) in enumerate(map(_triple, rows)):
        kept.append({"input_ids": ids[part], "labels": targets[part]})
        if len(ids) <= max_length:
            continue
        before, after = (sum(label != IGNORED for label in some[1:]) for some in (targets, targets[part]))
        last = max((i for i, label in enumerate(targets) if label != IGNORED), default=0)
        report.append(
            {
                "row": number,
                "tokens": len(ids),
                "cut": len(ids) - max_length,
                "loss_tokens": before,
                "loss_lost": before - after,
                "end_lost": last >= max_length if keep == "start" else last < len(ids) - max_length,
                "nothing_left": after == 0,
            }
        )
    columns = ["row", "tokens", "cut", "loss_tokens", "loss_lost", "end_lost", "nothing_left"]
    return kept, pd.DataFrame(report, columns=columns)


def collate(
    rows: Sequence[Encoded | Mapping[str, Any]],
    pad_id: int,
    *,
    padding_side: str = "right",
    pad_to_multiple_of: int = 1,
) -> dict[str, torch.Tensor]:
    """Pad rows to one length: a batch of int64 tensors, each (rows, length).

    `input_ids` are filled up with `pad_id`, `labels` with -100, `attention_mask` with 0. What is a label is decided
    by the rows and never by comparing ids with `pad_id`, so it does no harm when pad and eos are the same token.

    Rows with `position_ids` (see `pack`) give a batch with `position_ids` in place of `attention_mask`, because
    transformers keeps packed documents apart only when it is given no mask; call the model with use_cache=False.
    Raises ValueError for no rows, an unknown side, or packed rows padded on the left.
    """
    if not rows:
        raise ValueError("There are no rows to collate.")
    if padding_side not in ("right", "left"):
        raise ValueError(f"padding_side must be 'right' or 'left', got {padding_side!r}.")
    triples = [_triple(row) for row in rows]
    packed = any(positions is not None for *_, positions in triples)
    if packed and padding_side == "left":
        raise ValueError("Packed rows must be padded on the right: padding_side='right'.")
    longest = max(len(ids) for ids, _, _ in triples)
    length = -(-longest // pad_to_multiple_of) * pad_to_multiple_of

    def filled(values: Sequence[int], filler: int) -> list[int]:
        padding = [filler] * (length - len(values))
        return [*values, *padding] if padding_side == "right" else [*padding, *values]

    batch = {
        "input_ids": torch.tensor([filled(ids, pad_id) for ids, _, _ in triples]),
        "labels": torch.tensor([filled(targets, IGNORED) for _, targets, _ in triples]),
    }
    if packed:
        positions = [given if given is not None else range(len(ids)) for ids, _, given in triples]
        batch["position_ids"] = torch.tensor([filled(list(given), 0) for given in positions])
    else:
        batch["attention_mask"] = torch.tensor([filled([1] * len(ids), 0) for ids, _, _ in triples])
    return batch


def pack(rows: Sequence[Encoded | Mapping[str, Any]], length: int) -> list[dict[str, list[int]]]:
    """Put several examples into each row of at most `length` tokens, so that little is padding.

    Each packed row is a dict: input_ids; labels, where the first token of every document is -100, because what
    predicts it is the end of another document; position_ids, which begin again at 0 with each document and so state
    where the boundaries are (see `collate` for what the model makes of them); rows, the numbers of the examples in it.

    No example is cut: the longest go first, each into the fullest row it still fits (best-fit decreasing, the
    strategy "bfd" of TRL, after Ding et al. 2024, arXiv 2404.10830). Raises ValueError when one is longer than
    `length`.
    """
    triples = [_triple(row) for row in rows]
    order = sorted(range(len(triples)), key=lambda i: -len(triples[i][0]))
    if order and len(triples[order[0]][0]) > length:
        raise ValueError(
            f"Row {order[0]} has {len(triples[order[0]][0])} tokens and does not fit into {length}. "
            "Truncate the rows first, or pack into longer ones."
        )
    bins: list[list[int]] = []
    rooms: list[int] = []
    for number in order:
        size = len(triples[number][0])
        fitting = [i for i, room in enumerate(rooms) if room >= size]
        best = min(fitting, key=rooms.__getitem__, default=None)
        if best is None:
            best = len(bins)
            bins.append([])
            rooms.append(length)
        bins[best].append(number)
        rooms[best] -= size
    return [_packed_row(triples, numbers) for numbers in bins]


def _packed_row(triples: list, numbers: list[int]) -> dict[str, list[int]]:
    row: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": [], "rows": numbers}
    for number in numbers:
        ids, targets, _ = triples[number]
        row["input_ids"] += ids
        row["labels"] += [IGNORED, *targets[1:]] if targets else []
        row["position_ids"] += range(len(ids))
    return row


def _triple(row: Encoded | Mapping[str, Any]) -> tuple[list[int], list[int], list[int] | None]:
    """(ids, labels, position ids or None) of an example in any form that this module hands out or takes."""
    if isinstance(row, Encoded):
        return row.ids, row.labels, None
    if not isinstance(row, Mapping) or "input_ids" not in row or not {"labels", "mask"} & row.keys():
        raise TypeError(
            "A row is what loss_mask returns, or a mapping with input_ids and labels (or mask); got "
            f"{sorted(row) if isinstance(row, Mapping) else type(row).__name__}."
        )
    ids = _as_list(row["input_ids"])
    targets = _as_list(row["labels"]) if "labels" in row else labels(ids, _as_list(row["mask"]))
    if len(ids) != len(targets):
        raise ValueError(f"{len(ids)} ids and {len(targets)} labels; there must be one a token.")
    positions = row.get("position_ids")
    return ids, targets, _as_list(positions) if positions is not None else None


def _as_list(values: Any) -> list:
    return values.tolist() if hasattr(values, "tolist") else list(values)


# --- the audit ----------------------------------------------------------------------------------------------

FIXES = {
    "double BOS": (
        "The template writes the BOS already: use apply_chat_template(tokenize=True), or "
        "tokenizer(text, add_special_tokens=False)."
    ),
    "pad is eos": (
        "Set labels before padding and pad them with -100 (collate does), or give the tokenizer a pad token of its own."
    ),
    "end of turn masked": (
        "The token that ends the turn must be inside the mask: move {% endgeneration %} behind it."
    ),
    "no end of turn": "Append the end of turn (or the eos) to each answer before tokenizing.",
    "answer cut off": "Raise max_length, shorten the prompt, or leave the row out; see truncate's report.",
    "empty mask": (
        "Use a template with {% generation %} marks (see course_utils.templates), or build the mask with "
        "loss_mask(..., on='completion')."
    ),
    "headers in the loss": (
        "Begin the mask behind the whole header, by the template's generation marks and not by searching for a word."
    ),
    "labels shifted": "Give labels in place (labels[i] belongs to input_ids[i]): the model shifts them itself.",
    "labels are not the inputs": "A label is the input id at the same place or -100; build them with labels(ids, mask).",
    "padding in the loss": "Set the labels of padding to -100 (collate does).",
    "loss across documents": "Set the label of each packed document's first token to -100 (pack does).",
    "generation does not stop there": (
        "Set model.generation_config.eos_token_id to the token that ends the turns in this data."
    ),
}


def audit_batch(
    batch: Mapping[str, Any] | Sequence[Encoded | Mapping[str, Any]],
    tokenizer: Any,
    *,
    chat_template: str | Family | None = None,
    eos_token_ids: int | Sequence[int] | None = None,
    max_length: int | None = None,
) -> pd.DataFrame:
    """Look for the bugs that train without an error: a table with bug, row, evidence, fix; empty when there are none.

    `batch` is what a collator returns (input_ids and labels, each (rows, length); attention_mask and position_ids
    where there are any), the same columns of a prepared dataset (`trainer.train_dataset[:8]`), or a list of rows.
    `chat_template` is the one that the data was rendered with, where it is not the tokenizer's own; without any, what
    concerns turns is not looked at. `eos_token_ids` are those of the model's generation config: with them it is
    checked that generation will stop where the data's answers end. A row of `max_length` tokens (default: the
    tokenizer's model_max_length) without an end is taken as cut off.

    The bugs are the keys of `FIXES`. A row with every token in the loss is taken as meant so (language modelling),
    and its headers are not held against it. Raises ValueError when the batch has no labels.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    audit = _Audit(
        tokenizer,
        turn_marks(tokenizer, chat_template),
        _stop_ids(eos_token_ids),
        _limit(tokenizer, max_length),
    )
    found = [
        {"bug": bug, "row": row.number, "evidence": evidence, "fix": FIXES[bug]}
        for row in _batch_rows(batch, tokenizer)
        for bug, evidence in audit.findings(row)
    ]
    return pd.DataFrame(found, columns=["bug", "row", "evidence", "fix"])


@dataclass(frozen=True)
class TurnMarks:
    """What a chat template writes around turns, as text without the surrounding whitespace."""

    user: str  # opens a user's turn
    user_end: str  # ends it, where there is such a mark
    assistant: str  # opens an assistant's turn
    ends: tuple[str, ...]  # end an assistant's turn: in the middle of a conversation, and at its end

    def headers(self, text: str, learned_from: Callable[[int], int]) -> list[tuple[int, int]]:
        """Where headers stand in a row's text: (start, end) in characters.

        An answer may quote a mark that is plain text, such as Zephyr's. It is a header where a turn ends in front
        of it, or where nothing is learned in front of it (`learned_from`: where the stretch of learned text that
        holds a character begins; that character itself where it is not learned).
        """
        ends = [end for end in (self.user_end, *self.ends) if end]
        found = []
        for mark in filter(None, (self.user, self.assistant)):
            for match in re.finditer(re.escape(mark), text):
                before = text[learned_from(match.start()) : match.start()].rstrip()
                if not before or any(before.endswith(end) for end in ends):
                    found.append(match.span())
        return sorted(found)


def turn_marks(tokenizer: Any, chat_template: str | Family | None = None) -> TurnMarks | None:
    """Find a template's marks by rendering an example conversation; None where there is no template or it refuses."""
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        return None
    template = _template_of(tokenizer, chat_template)
    words = ["\u2042", "\u2051", "\u203b", "\u2058"]  # contents that nobody writes
    roles = ["user", "assistant"] * 2
    messages = [{"role": role, "content": word} for role, word in zip(roles, words, strict=True)]

    def rendered(count: int, **settings: Any) -> str:
        return tokenizer.apply_chat_template(
            messages[:count], tokenize=False, chat_template=template, **settings
        )

    try:
        whole, opened, question = rendered(4), rendered(1, add_generation_prompt=True), rendered(1)
    except Exception:  # a template may raise whatever Jinja or its author chose
        return None
    parts = re.split("|".join(words), whole)
    if len(parts) != 5:
        return None
    _, to_answer, to_question, _, ending = parts
    prompt = opened[len(question) :] if opened.startswith(question) else ""
    shared = _common_pieces(ending, to_question)
    end = shared.strip() or next((piece for piece in _pieces(to_question) if len(piece) > 1), "")
    user = to_question.strip().removeprefix(end).strip()
    ends = dict.fromkeys(mark for mark in (end, ending.strip()) if mark)
    assistant = prompt.strip() or to_answer.strip()
    return TurnMarks(user, to_answer.strip().removesuffix(assistant).strip(), assistant, tuple(ends))


def _pieces(text: str) -> list[str]:
    """The text cut into tags such as <|im_start|> or [INST], and single characters."""
    return re.findall(r"<[^<>\s]+>|\[[^\[\]\s]+\]|.", text, re.DOTALL)


def _common_pieces(one: str, other: str) -> str:
    common = []
    for a, b in zip(_pieces(one), _pieces(other), strict=False):
        if a != b:
            break
        common.append(a)
    return "".join(common)


def _stop_ids(eos_token_ids: int | Sequence[int] | None) -> frozenset[int] | None:
    if eos_token_ids is None:
        return None
    return frozenset([eos_token_ids] if isinstance(eos_token_ids, int) else eos_token_ids)


def _limit(tokenizer: Any, max_length: int | None) -> float:
    if max_length is not None:
        return max_length
    limit = getattr(tokenizer, "model_max_length", None)
    return limit if limit is not None and limit < 10**7 else float("inf")  # huge: the library's "unknown"


@dataclass(frozen=True)
class _BatchRow:
    """One row as the audit sees it: `real` is False on padding, `starts` are where documents begin."""

    number: int
    ids: list[int]
    labels: list[int]
    real: list[bool]
    starts: list[int]

    def learned(self) -> list[int]:
        """Positions whose label counts; the first of all never does, because nothing predicts it."""
        return [i for i, label in enumerate(self.labels) if label != IGNORED and i > 0]


def _batch_rows(batch: Any, tokenizer: Any) -> Iterator[_BatchRow]:
    if not isinstance(batch, Mapping):
        triples = [_triple(row) for row in batch]
        batch = {
            "input_ids": [ids for ids, _, _ in triples],
            "labels": [targets for _, targets, _ in triples],
        }
        if any(positions for *_, positions in triples):
            batch["position_ids"] = [given or list(range(len(ids))) for ids, _, given in triples]
    if "labels" not in batch or "input_ids" not in batch:
        raise ValueError(
            f"audit_batch needs input_ids and labels; this batch has {', '.join(map(str, batch)) or 'nothing'}. "
            "Give what the collator returns."
        )
    columns = {name: [_as_list(row) for row in _as_list(batch[name])] for name in batch if name in _COLUMNS}
    for number, ids in enumerate(columns["input_ids"]):
        attention = columns["attention_mask"][number] if "attention_mask" in columns else None
        positions = columns["position_ids"][number] if "position_ids" in columns else None
        real = [bool(seen) for seen in attention] if attention else _without_padding(ids, tokenizer)
        first = real.index(True) if any(real) else 0
        starts = [i for i, p in enumerate(positions or []) if p == 0 and real[i] and i > first]
        yield _BatchRow(number, ids, columns["labels"][number], real, [first, *starts])


_COLUMNS = ("input_ids", "labels", "attention_mask", "position_ids")


def _without_padding(ids: list[int], tokenizer: Any) -> list[bool]:
    """False on a run of pad ids at the side the tokenizer pads; of one that is also the eos the first is text."""
    pad = tokenizer.pad_token_id
    left = tokenizer.padding_side == "left"
    run = next((i for i, token in enumerate(ids if left else ids[::-1]) if token != pad), len(ids))
    if run and pad in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        run -= 1
    return [i >= run if left else i < len(ids) - run for i in range(len(ids))]


@dataclass(frozen=True)
class _Audit:
    tokenizer: Any
    marks: TurnMarks | None
    stops: frozenset[int] | None
    limit: float

    def findings(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        """(bug, evidence) pairs. Labels that are not the inputs make all that is said of masks moot."""
        yield from self.double_bos(row)
        learned = row.learned()
        if not learned:
            yield self.nothing_learned(row)
            return
        misplaced = list(self.misplaced_labels(row, learned))
        yield from misplaced
        if misplaced:
            return
        yield from self.padding_learned(row, learned)
        yield from self.crossing_documents(row)
        masked = {i for document in self.masked_documents(row) for i in document}
        yield from self.headers_learned(row, [i for i in learned if i in masked])
        yield from self.ends(row, learned)

    def show(self, token_id: int) -> str:
        return visible_token(token_text(self.tokenizer, token_id))

    def double_bos(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        bos = self.tokenizer.bos_token_id
        real = [i for i, is_real in enumerate(row.real) if is_real]
        for start in row.starts:
            own = [i for i in real if i >= start][:3]
            if bos is not None and len(own) > 2 and [row.ids[i] for i in own[:2]] == [bos, bos]:
                yield "double BOS", f"tokens {own[0]} and {own[1]} are both {self.show(bos)} (id {bos})"
                return

    def nothing_learned(self, row: _BatchRow) -> tuple[str, str]:
        count = sum(row.real)
        if count >= self.limit and self.marks is not None:
            return "answer cut off", f"all {count} tokens up to the limit have label -100: nothing is learned"
        return "empty mask", f"none of its {count} tokens has a label other than -100"

    def misplaced_labels(self, row: _BatchRow, learned: list[int]) -> Iterator[tuple[str, str]]:
        wrong = [i for i in learned if row.labels[i] != row.ids[i]]
        if not wrong:
            return
        i = wrong[0]
        where = f"at token {i} the input is {self.show(row.ids[i])} and the label {self.show(row.labels[i])}"
        shifted = sum(label == following for label, following in zip(row.labels, row.ids[1:], strict=False))
        # What a shifted copy puts into the one place at its end is anybody's guess.
        if shifted >= max(1, sum(label != IGNORED for label in row.labels) - 1):
            yield "labels shifted", f"{where}, which is the next input; the model would shift once more"
        else:
            yield "labels are not the inputs", f"{len(wrong)} of {len(learned)} labels differ: {where}"

    def padding_learned(self, row: _BatchRow, learned: list[int]) -> Iterator[tuple[str, str]]:
        padding = [i for i in learned if not row.real[i]]
        if padding:
            yield (
                "padding in the loss",
                f"{len(padding)} padding tokens have a label, from token {padding[0]} on",
            )

    def crossing_documents(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        crossing = [i for i in row.starts[1:] if row.labels[i] != IGNORED]
        if crossing:
            yield (
                "loss across documents",
                f"token {crossing[0]} begins a document and is predicted from the one before",
            )

    def masked_documents(self, row: _BatchRow) -> Iterator[range]:
        """Documents of which only a part is learned. Where all is, headers are learned too, and meant to be.

        A missing end of turn does not make a mask: some collators drop it everywhere (see "pad is eos").
        """
        dropped = {self.tokenizer.pad_token_id, self.tokenizer.eos_token_id}
        for start, end in zip(row.starts, [*row.starts[1:], len(row.ids)], strict=True):
            left_out = [i for i in range(start + 1, end) if row.labels[i] == IGNORED and row.real[i]]
            if not {row.ids[i] for i in left_out} <= dropped:
                yield range(start, end)

    def headers_learned(self, row: _BatchRow, learned: list[int]) -> Iterator[tuple[str, str]]:
        if self.marks is None or not learned:
            return
        text, spans = self._text(row)
        runs = _runs([i for i in learned if row.real[i]], set(row.starts))
        stretches = [(spans[run[0]][0], spans[run[-1]][1]) for run in runs]

        def learned_from(place: int) -> int:
            return next((start for start, end in stretches if start <= place < end), place)

        inside = {i: spans[i] for i in learned if i in spans and self._visible(text, spans, i)}
        for header in self.marks.headers(text, learned_from):
            within = [i for i, (start, end) in inside.items() if header[0] <= start and end <= header[1]]
            if within:
                tokens = " ".join(self.show(row.ids[i]) for i in within)
                yield "headers in the loss", f"tokens {within[0]} to {within[-1]} ({tokens}) have labels"
                return

    def ends(self, row: _BatchRow, learned: list[int]) -> Iterator[tuple[str, str]]:
        """Each stretch of learned tokens must hold an end of turn as its last visible token."""
        text, spans = self._text(row)
        stretches = list(_runs([i for i in learned if row.real[i]], set(row.starts)))
        for number, stretch in enumerate(stretches):
            first, last = stretch[0], stretch[-1]
            said = text[spans[first][0] : spans[last][1]].rstrip()
            closing = next((i for i in reversed(stretch) if self._visible(text, spans, i)), last)
            if self._is_stop(row.ids[closing]) or self._ends(said):
                if (
                    number == len(stretches) - 1
                    and self.stops is not None
                    and row.ids[closing] not in self.stops
                ):
                    stops = ", ".join(self.show(i) for i in sorted(self.stops))
                    yield (
                        "generation does not stop there",
                        f"the answer ends with {self.show(row.ids[closing])}, generation at {stops}",
                    )
                continue
            yield self._missing_end(row, last, text[spans[last][1] :])
            return

    def _missing_end(self, row: _BatchRow, last: int, rest: str) -> tuple[str, str]:
        following = row.ids[last + 1] if last + 1 < len(row.ids) and row.real[last + 1] else None
        is_end = following is not None and (
            self._is_stop(following) or any(rest.lstrip().startswith(end) for end in self._end_texts())
        )
        after = f"the last learned token is {last} ({self.show(row.ids[last])})"
        if is_end and following == self.tokenizer.pad_token_id:
            return (
                "pad is eos",
                f"token {last + 1} ({self.show(following)}) ends the turn with label -100; it is the pad token too",
            )
        if is_end:
            return "end of turn masked", f"{after}; the {self.show(following)} behind it has label -100"
        if following is None and sum(row.real) >= self.limit:
            return "answer cut off", f"{after}, at the limit of {int(self.limit)} tokens, and no end of turn"
        return "no end of turn", f"{after}, and no end of turn follows"

    def _is_stop(self, token_id: int) -> bool:
        return token_id == self.tokenizer.eos_token_id or token_id in (self.stops or ())

    def _end_texts(self) -> tuple[str, ...]:
        return self.marks.ends if self.marks is not None else ()

    def _ends(self, text: str) -> bool:
        return any(text.endswith(end) for end in self._end_texts())

    def _text(self, row: _BatchRow) -> tuple[str, dict[int, tuple[int, int]]]:
        """The row's text and each token's place in it; only real tokens have one."""
        pieces, spans, at = [], {}, 0
        for i, token_id in enumerate(row.ids):
            if row.real[i]:
                piece = token_text(self.tokenizer, token_id)
                spans[i] = (at, at + len(piece))
                pieces.append(piece)
                at += len(piece)
        return "".join(pieces), spans

    @staticmethod
    def _visible(text: str, spans: dict[int, tuple[int, int]], i: int) -> bool:
        return bool(text[slice(*spans[i])].strip())


def _runs(positions: Sequence[int], starts: set[int]) -> Iterator[list[int]]:
    """Positions cut into stretches without a gap; a new document begins a new stretch as well."""
    stretch: list[int] = []
    for i in positions:
        if stretch and (i != stretch[-1] + 1 or i in starts):
            yield stretch
            stretch = []
        stretch.append(i)
    if stretch:
        yield stretch
