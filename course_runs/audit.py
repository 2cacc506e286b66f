"""`audit_batch` of lesson 04: the bugs that train without an error, found by looking at one batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd

from course_utils.batches.rows import Example, as_list, ids_and_labels
from course_utils.templates import Family
from course_utils.tokens import IGNORED, is_special, token_text, visible_token

from .marks import TurnMarks, turn_marks

# {bug: what to do about it}, a table beside this file; its keys are all bugs that are looked for.
FIXES: dict[str, str] = json.loads(Path(__file__).with_name("fixes.json").read_text(encoding="utf-8"))


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
    marks = turn_marks(tokenizer, chat_template)
    stops = [eos_token_ids] if isinstance(eos_token_ids, int) else eos_token_ids
    limit = getattr(tokenizer, "model_max_length", None) if max_length is None else max_length
    if limit is None or (max_length is None and limit >= 10**7):  # huge: the library's "unknown"
        limit = float("inf")
    audit = _Audit(tokenizer, marks, None if stops is None else frozenset(stops), limit)
    found = [
        (bug, row.number, evidence, FIXES[bug])
        for row in _batch_rows(batch, tokenizer)
        for bug, evidence in audit.findings(row)
    ]
    return pd.DataFrame(found, columns=["bug", "row", "evidence", "fix"])


@dataclass(frozen=True)
class _BatchRow:
    """One row as the audit sees it: `real` is False on padding, `starts` are where documents begin."""

    number: int
    ids: list[int]
    labels: list[int]
    real: list[bool]
    starts: list[int]
    pieces: list[str]  # each token's text; "" for padding

    @cached_property
    def learned(self) -> list[int]:
        """Positions whose label counts; the first of all never does, because nothing predicts it."""
        return [i for i, label in enumerate(self.labels) if label != IGNORED and i > 0]

    @cached_property
    def text(self) -> str:
        return "".join(self.pieces)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Where each token stands in the text, (start, end) in characters."""
        ends = list(accumulate(map(len, self.pieces)))
        return list(zip([0, *ends], ends, strict=False))

    @cached_property
    def stretches(self) -> list[list[int]]:
        """Learned positions cut into stretches without a gap; a new document begins a new stretch as well."""
        found: list[list[int]] = []
        for i in (i for i in self.learned if self.real[i]):
            if not found or i != found[-1][-1] + 1 or i in self.starts:
                found.append([])
            found[-1].append(i)
        return found

    def visible(self, i: int) -> bool:
        return bool(self.pieces[i].strip())


def _batch_rows(batch: Any, tokenizer: Any) -> Iterator[_BatchRow]:
    if not isinstance(batch, Mapping):
        all_ids, all_labels, all_positions = (
            zip(*map(ids_and_labels, batch), strict=True) if batch else ([],) * 3
        )
        batch = {"input_ids": all_ids, "labels": all_labels}
        if any(all_positions):
            both = zip(all_ids, all_positions, strict=True)
            batch["position_ids"] = [own or list(range(len(ids))) for ids, own in both]
    if "labels" not in batch or "input_ids" not in batch:
        raise ValueError(
            f"audit_batch needs input_ids and labels; this batch has {', '.join(map(str, batch)) or 'nothing'}. "
            "Give what the collator returns."
        )
    names = ("input_ids", "labels", "attention_mask", "position_ids")
    columns = {name: [as_list(row) for row in as_list(batch[name])] for name in names if name in batch}
    for number, ids in enumerate(columns["input_ids"]):
        attention = columns["attention_mask"][number] if "attention_mask" in columns else None
        positions = columns["position_ids"][number] if "position_ids" in columns else None
        real = [bool(seen) for seen in attention] if attention else _without_padding(ids, tokenizer)
        first = real.index(True) if any(real) else 0
        starts = [i for i, p in enumerate(positions or []) if p == 0 and real[i] and i > first]
        pieces = [token_text(tokenizer, i) if keep else "" for i, keep in zip(ids, real, strict=True)]
        yield _BatchRow(number, ids, columns["labels"][number], real, [first, *starts], pieces)


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
        if not row.learned:
            yield self.nothing_learned(row)
        elif misplaced := self.misplaced_labels(row):
            yield misplaced
        else:
            yield from self.padding_learned(row)
            yield from self.crossing_documents(row)
            yield from self.headers_learned(row)
            yield from self.ends(row)

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

    def misplaced_labels(self, row: _BatchRow) -> tuple[str, str] | None:
        wrong = [i for i in row.learned if row.labels[i] != row.ids[i]]
        if not wrong:
            return None
        i = wrong[0]
        where = f"at token {i} the input is {self.show(row.ids[i])} and the label {self.show(row.labels[i])}"
        shifted = sum(label == following for label, following in zip(row.labels, row.ids[1:], strict=False))
        # What a shifted copy puts into the one place at its end is anybody's guess.
        if shifted >= max(1, sum(label != IGNORED for label in row.labels) - 1):
            return "labels shifted", f"{where}, which is the next input; the model would shift once more"
        return "labels are not the inputs", f"{len(wrong)} of {len(row.learned)} labels differ: {where}"

    def padding_learned(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        padding = [i for i in row.learned if not row.real[i]]
        if padding:
            said = f"{len(padding)} padding tokens have a label, from token {padding[0]} on"
            yield "padding in the loss", said

    def crossing_documents(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        crossing = [i for i in row.starts[1:] if row.labels[i] != IGNORED]
        if crossing:
            said = f"token {crossing[0]} begins a document and is predicted from the one before"
            yield "loss across documents", said

    def masked_documents(self, row: _BatchRow) -> Iterator[range]:
        """Documents of which only a part is learned. Where all is, headers are learned too, and meant to be.

        A missing end of turn does not make a mask: some collators drop it everywhere (see "pad is eos").
        """
        dropped = {self.tokenizer.pad_token_id, self.tokenizer.eos_token_id}
        for start, end in zip(row.starts, [*row.starts[1:], len(row.ids)], strict=True):
            left_out = [i for i in range(start + 1, end) if row.labels[i] == IGNORED and row.real[i]]
            if not {row.ids[i] for i in left_out} <= dropped:
                yield range(start, end)

    def headers_learned(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        masked = {i for document in self.masked_documents(row) for i in document}
        learned = [i for i in row.learned if i in masked and row.real[i] and row.visible(i)]
        if self.marks is None or not learned:
            return
        stretches = [
            (row.spans[run[0]][0], row.spans[run[-1]][1]) for run in row.stretches if run[0] in masked
        ]

        def learned_from(place: int) -> int:
            return next((start for start, end in stretches if start <= place < end), place)

        for first, last in self.marks.headers(row.text, learned_from):
            within = [i for i in learned if first <= row.spans[i][0] and row.spans[i][1] <= last]
            if within:
                tokens = " ".join(self.show(row.ids[i]) for i in within)
                yield "headers in the loss", f"tokens {within[0]} to {within[-1]} ({tokens}) have labels"
                return

    def ends(self, row: _BatchRow) -> Iterator[tuple[str, str]]:
        """Each stretch of learned tokens must hold an end of turn as its last visible token."""
        for stretch in row.stretches:
            last = stretch[-1]
            said = row.text[row.spans[stretch[0]][0] : row.spans[last][1]].rstrip()
            closing = row.ids[next((i for i in reversed(stretch) if row.visible(i)), last)]
            if not (self._is_stop(closing) or said.endswith(self._end_texts())):
                yield self._missing_end(row, last, row.text[row.spans[last][1] :])
                return
            if stretch is row.stretches[-1] and self.stops is not None and closing not in self.stops:
                stops = ", ".join(self.show(i) for i in sorted(self.stops))
                said = f"the answer ends with {self.show(closing)}, generation at {stops}"
                yield "generation does not stop there", said

    def _missing_end(self, row: _BatchRow, last: int, rest: str) -> tuple[str, str]:
        following = row.ids[last + 1] if last + 1 < len(row.ids) and row.real[last + 1] else None
        after = f"the last learned token is {last} ({self.show(row.ids[last])})"
        if following is None and sum(row.real) >= self.limit:
            return "answer cut off", f"{after}, at the limit of {int(self.limit)} tokens, and no end of turn"
        ended = self._is_stop(following) or rest.lstrip().startswith(self._end_texts())
        if following is None or not ended:
            return "no end of turn", f"{after}, and no end of turn follows"
        shown = self.show(following)
        if following == self.tokenizer.pad_token_id:
            said = f"token {last + 1} ({shown}) ends the turn with label -100; it is the pad token too"
            return "pad is eos", said
        return "end of turn masked", f"{after}; the {shown} behind it has label -100"

    def _is_stop(self, token_id: int | None) -> bool:
        """An eos; without a template, whose marks are not known, any special token is one that may end a turn."""
        if token_id is None:
            return False
        if self.marks is None and is_special(self.tokenizer, token_id):
            return True
        return token_id == self.tokenizer.eos_token_id or token_id in (self.stops or ())

    def _end_texts(self) -> tuple[str, ...]:
        return self.marks.ends if self.marks is not None else ()
