"""`audit_batch`: the bugs that train without an error, found by looking at one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..templates import Family
from ..tokens import IGNORED, is_special, token_text, visible_token
from .marks import TurnMarks, turn_marks
from .rows import Example, as_list, ids_and_labels

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
    "labels are not the inputs": (
        "A label is the input id at the same place or -100; build them with labels(ids, mask)."
    ),
    "padding in the loss": "Set the labels of padding to -100 (collate does).",
    "loss across documents": "Set the label of each packed document's first token to -100 (pack does).",
    "generation does not stop there": (
        "Set model.generation_config.eos_token_id to the token that ends the turns in this data."
    ),
}


def audit_batch(
    batch: Mapping[str, Any] | Sequence[Example],
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
        triples = [ids_and_labels(row) for row in batch]
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
    columns = {name: [as_list(row) for row in as_list(batch[name])] for name in batch if name in _COLUMNS}
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
    left = tokenizer.padding_side == "left" and ids[-1:] != [pad]
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
        """An eos; without a template, whose marks are not known, any special token is one that may end a turn."""
        if self.marks is None and is_special(self.tokenizer, token_id):
            return True
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
