"""Exercise 04, SFT data: formats, a conversion, the loss mask, a collator, what bugs cost, a dataset to repair."""

import copy
import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

import torch

from course_utils import formats
from course_utils.batches import collate, labels, loss_mask
from course_utils.evaluate.stats import wilson

from . import draw, talks, values
from .task import Case, Claim, Prediction, Task, Unusable

IGNORED = -100

# -- which format is it ---------------------------------------------------------------------------------------


def detect_format(row):
    return _detected(row)


def _detected(
    row, names: tuple = ("sharegpt", "messages", "preference", "unpaired", "alpaca", "pair")
) -> str:
    """The format, looked for in this order; what is not looked for is not found. A column that holds None is none."""
    row = {column: value for column, value in row.items() if value is not None}
    calls = any(m.get("tool_calls") or m["role"] == "tool" for m in row.get("messages") or [])
    found = {
        "sharegpt": ("sharegpt", "conversations" in row),
        "messages": ("tool-calls" if calls or row.get("tools") else "messages", "messages" in row),
        "preference": ("preference", "chosen" in row),
        "unpaired": ("unpaired-preference", "label" in row and "completion" in row),
        "alpaca": ("alpaca", "instruction" in row),
        "pair": ("prompt-completion", "prompt" in row),
        "text": ("text", "text" in row),
        "plain messages": ("messages", "messages" in row),
    }
    return next((found[name][0] for name in names if found[name][1]), "text")


def _of_format(rng: Random, name: str) -> dict[str, Any]:
    """A row of this format with fresh contents and its own columns alone."""
    question, answer = talks.exchange(rng)
    _, other = talks.exchange(rng)
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    arguments = {"numbers": [rng.randint(10, 99), rng.randint(10, 99)]}
    call = {"type": "function", "function": {"name": "add", "arguments": arguments}}
    called = {"role": "assistant", "tool_calls": [call]}
    result = {"role": "tool", "name": "add", "content": str(sum(arguments["numbers"]))}
    rows = {
        "text": {"text": f"{question} {answer}"},
        "prompt-completion": {"prompt": question, "completion": answer},
        "alpaca": {"instruction": question, "output": answer}
        | ({"input": other} if rng.random() < 0.5 else {}),
        "messages": {"messages": turns},
        "sharegpt": {
            "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        },
        "preference": {"prompt": question, "chosen": answer, "rejected": other},
        "unpaired-preference": {"prompt": question, "completion": answer, "label": rng.random() < 0.5},
        "tool-calls": {"messages": [turns[0], called, result, turns[1]]},
    }
    return rows[name]


def _shuffled(rng: Random, row: dict) -> dict:
    keys = list(row)
    rng.shuffle(keys)
    return {key: row[key] for key in keys}


NAMES = (
    "text", "prompt-completion", "alpaca", "messages", "sharegpt", "preference", "unpaired-preference", "tool-calls",
)  # fmt: skip


def _plain_row(rng: Random) -> tuple:
    # Twice as many rows with a verdict as of another format, so that both verdicts are among them.
    return (_shuffled(rng, _of_format(rng, rng.choice([*NAMES, "unpaired-preference"]))),)


COLUMNS = (
    *("text", "prompt", "completion", "instruction", "output", "messages", "conversations"),
    *("chosen", "rejected", "label", "tools"),
)


def _row_with_more(rng: Random) -> tuple:
    """A row as datasets have them: an id, columns that are there but empty, Alpaca's copy of it all in 'text'."""
    name = rng.choice([*NAMES, "messages", "messages", "alpaca", "alpaca"])
    row = _of_format(rng, name) | {"id": rng.randint(1, 9999), "source": rng.choice(talks.NAMES)}
    absent = [column for column in COLUMNS if column not in row]
    row |= dict.fromkeys(rng.sample(absent, rng.randint(1, 4)))
    if name == "messages":
        row["tools"] = None
    if name == "alpaca":
        row["text"] = f"{row['instruction']}\n\n{row['output']}"
    if name in ("prompt-completion", "preference"):
        row["score"] = rng.random()
    row.setdefault("input" if name != "alpaca" else "tools", None)
    return (_shuffled(rng, row),)


DETECT_FORMAT = Task(
    name="detect_format",
    title="Which format is it?",
    minutes=8,
    answer=detect_format,
    cases=[
        Case("rows with their own columns alone", 7, _plain_row, times=48),
        Case("rows with further columns", 5, _row_with_more, times=32),
    ],
    mistakes={
        "the prompt decides": lambda row: _detected(row, ("sharegpt", "messages", "pair", "alpaca")),
        "the verdict is overlooked": lambda row: _detected(
            row, ("sharegpt", "messages", "preference", "alpaca", "pair")
        ),
        "calls are overlooked": lambda row: _detected(
            row, ("sharegpt", "plain messages", "preference", "unpaired", "alpaca", "pair")
        ),
        "ShareGPT is messages": lambda row: "messages" if "conversations" in row else _detected(row),
        "the columns must be exactly these": lambda row: (
            _detected(row) if not {"id", "source"} & set(row) else "text"
        ),
        "an empty column counts": (
            lambda row: "tool-calls" if "tools" in row else _detected(row),
            lambda row: ({column: value for column, value in row.items() if value is not None},),
        ),
        "text comes first": lambda row: _detected(
            row, ("text", "sharegpt", "messages", "preference", "unpaired", "alpaca", "pair")
        ),
        "a label of False is none": lambda row: _detected({**row, "label": row.get("label") or None}),
        "Alpaca without an input is overlooked": lambda row: (
            "text" if _detected(row) == "alpaca" and row.get("input") is None else _detected(row)
        ),
    },
)

# -- ShareGPT into messages -----------------------------------------------------------------------------------

ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


def sharegpt_to_messages(row):
    return _converted(row)


def _converted(
    row,
    unknown: str = "refuse",
    carry: bool = True,
    front: str = "all",
    tail: bool = True,
    systems: bool = True,
) -> dict[str, Any]:
    """The right conversion, and with its settings the wrong ones."""
    turns = []
    for turn in row["conversations"]:
        role = ROLES.get(turn["from"])
        if role is None and unknown == "refuse":
            raise ValueError(f"Nobody knows who {turn['from']!r} is.")
        if role is None and unknown == "leave out":
            continue
        turns.append({"role": role or unknown, "content": turn["value"]})
    head = [turn for turn in turns if turn["role"] == "system"]
    turns = [turn for turn in turns if turn["role"] != "system"]
    if front == "all":
        while turns and turns[0]["role"] == "assistant":
            turns.pop(0)
    elif front == "without a system turn" and not head and turns[0]["role"] == "assistant":
        turns.pop(0)
    if tail and turns[-1]["role"] == "user":
        turns.pop()
    further = {key: value for key, value in row.items() if key != "conversations"} if carry else {}
    return {"messages": (head if systems else []) + turns} | further


def _refusals_too(answer: Callable, row: dict) -> Any:
    try:
        return answer(row)
    except ValueError:
        return "a ValueError"


def _sharegpt(rng: Random, exchanges: int, system: bool) -> list[dict[str, str]]:
    names = {role: name for name, role in ROLES.items()}
    messages = talks.conversation(rng, exchanges, talks.a_system(rng) if system else None)
    return [{"from": names[m["role"]], "value": m["content"]} for m in messages]


def _tidy(rng: Random) -> tuple:
    turns = _sharegpt(rng, rng.randint(1, 3), system=rng.random() < 0.5)
    return ({"id": f"row-{rng.randint(1, 9999)}", "conversations": turns},)


def _cut_out(rng: Random, system: bool | None = None) -> tuple:
    """A piece of a longer conversation: it begins with an answer and ends with a question."""
    system = rng.random() < 0.5 if system is None else system
    turns = _sharegpt(rng, rng.randint(2, 3), system)
    turns.insert(int(system), {"from": "gpt", "value": talks.exchange(rng)[1]})
    turns.append({"from": "human", "value": talks.exchange(rng)[0]})
    return ({"id": rng.randint(1, 9999), "conversations": turns},)


def _stranger(rng: Random) -> tuple:
    (row,) = _tidy(rng)
    turns = row["conversations"]
    turns.insert(
        rng.randint(1, len(turns) - 1), {"from": rng.choice(["bing", "narrator", "tool"]), "value": "…"}
    )
    return (row,)


SHAREGPT_TO_MESSAGES = Task(
    name="sharegpt_to_messages",
    title="From ShareGPT to messages, with its traps",
    minutes=10,
    answer=sharegpt_to_messages,
    measure=_refusals_too,
    cases=[
        Case("tidy rows", 6, _tidy, times=4),
        Case("pieces of longer conversations", 7, _cut_out, times=4),
        Case("a speaker nobody knows", 5, _stranger),
    ],
    mistakes={
        "the roles keep their names": lambda row: {
            **{key: value for key, value in row.items() if key != "conversations"},
            "messages": [{"role": turn["from"], "content": turn["value"]} for turn in row["conversations"]],
        },
        "the old column stays": lambda row: _converted(row) | {"conversations": row["conversations"]},
        "further columns are lost": lambda row: _converted(row, carry=False),
        "the system message is lost": lambda row: _converted(row, systems=False),
        "an answer to nothing stays in front": lambda row: _converted(row, front="none"),
        "only the very first turn is looked at": lambda row: _converted(row, front="without a system turn"),
        "a question without an answer stays": lambda row: _converted(row, tail=False),
        "neither end is cut": lambda row: _converted(row, front="none", tail=False),
        "strangers become users": lambda row: _converted(row, unknown="user"),
        "strangers become assistants": lambda row: _converted(row, unknown="assistant"),
        "strangers are left out": lambda row: _converted(row, unknown="leave out"),
    },
)

# -- the loss mask by hand ------------------------------------------------------------------------------------


def label_by_hand(tokenizer, messages):
    return _labelled(
        tokenizer, messages, lambda role, part, number, last: role == "assistant" and part in _LEARNED
    )


_LEARNED = ("content", "end")


def _labelled(tokenizer, messages, learned: Callable, bos: bool = True) -> dict[str, list[int]]:
    """ids and labels of a ChatML conversation; `learned(role, part, number, last)` says which parts are learned.

    The parts of a turn are "header", "content", "end", "newline"; `number` counts the assistant's turns from 0, and
    `last` says whether this turn is the last message.
    """
    ids, mask, number = [], [], -1
    if bos and tokenizer.bos_token_id is not None:
        ids, mask = [tokenizer.bos_token_id], [int(learned("template", "bos", 0, False))]
    for place, message in enumerate(messages):
        role = message["role"]
        number += role == "assistant"
        parts = {
            "header": f"<|im_start|>{role}\n",
            "content": message["content"],
            "end": "<|im_end|>",
            "newline": "\n",
        }
        for part, text in parts.items():
            new = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += new
            mask += [int(learned(role, part, number, place == len(messages) - 1))] * len(new)
    return {"input_ids": ids, "labels": labels(ids, mask)}


def _with(learned: Callable) -> Callable:
    return lambda tokenizer, messages: _labelled(tokenizer, messages, learned)


def _answer_part(role: str, part: str) -> bool:
    return role == "assistant" and part in _LEARNED


def _from_the_word(tokenizer, messages) -> dict[str, list[int]]:
    """Everything learned from the first 'assistant' in the text on."""
    row = label_by_hand(tokenizer, messages)
    seen, text = len(row["input_ids"]), ""
    for i, token in enumerate(row["input_ids"]):
        text += tokenizer.decode([token])
        if "assistant" in text:
            seen = i
            break
    return {**row, "labels": [token if i >= seen else IGNORED for i, token in enumerate(row["input_ids"])]}


def _relabelled(change: Callable) -> Callable:
    def answer(tokenizer, messages):
        row = label_by_hand(tokenizer, messages)
        return {**row, "labels": change(row["input_ids"], row["labels"])}

    return answer


def _talk(exchanges: tuple[int, int], system: bool) -> Callable:
    def drawn(rng: Random) -> tuple:
        spoken = rng.choice(talks.SYSTEMS) if system else None
        return draw.pair().instruct.tokenizer, talks.conversation(rng, rng.randint(*exchanges), spoken)

    return drawn


LABEL_BY_HAND = Task(
    name="label_by_hand",
    title="The loss mask, by hand",
    minutes=12,
    answer=label_by_hand,
    cases=[
        Case("one question and its answer", 7, _talk((1, 1), False)),
        Case("several turns", 7, _talk((2, 3), False)),
        Case("a system message", 6, _talk((1, 3), True)),
    ],
    mistakes={
        "the end of turn is not learned": _with(
            lambda role, part, number, last: role == "assistant" and part == "content"
        ),
        "the header is learned": _with(lambda role, part, *_: role == "assistant" and part != "newline"),
        "the line break is learned": _with(lambda role, part, *_: role == "assistant" and part != "header"),
        "the whole turn is learned": _with(lambda role, part, *_: role == "assistant"),
        "everything is learned": _relabelled(lambda ids, targets: list(ids)),
        "the questions are learned": _with(lambda role, part, *_: role == "user" and part in _LEARNED),
        "the labels are shifted": _relabelled(lambda ids, targets: [*targets[1:], IGNORED]),
        "0 instead of -100": _relabelled(
            lambda ids, targets: [0 if label == IGNORED else label for label in targets]
        ),
        "a mask instead of labels": _relabelled(
            lambda ids, targets: [int(label != IGNORED) for label in targets]
        ),
        "no BOS": lambda tokenizer, messages: _labelled(
            tokenizer, messages, lambda role, part, *_: _answer_part(role, part), bos=False
        ),
        "a word is searched for": _from_the_word,
        "only the last answer": _with(lambda role, part, number, last: _answer_part(role, part) and last),
        "only the first answer": _with(
            lambda role, part, number, last: _answer_part(role, part) and number == 0
        ),
        "the system message is learned": _with(
            lambda role, part, *_: _answer_part(role, part) or (role == "system" and part in _LEARNED)
        ),
        "the BOS is learned": _with(lambda role, part, *_: _answer_part(role, part) or part == "bos"),
    },
)

# -- a collator, find and fix the bugs ------------------------------------------------------------------------


def collate_rows(rows, pad_token_id):
    return _collated(rows, pad_token_id)


def _collated(
    rows,
    pad_token_id,
    by_id: tuple = (),
    shift: bool = False,
    label_filler: int | None = IGNORED,
    attention: int = 0,
    left: bool = False,
    shortest: bool = False,
) -> dict[str, torch.Tensor]:
    """The right batch, and with its settings the wrong ones. `by_id`: what is masked where the id is the pad's."""
    lengths = [len(row["input_ids"]) for row in rows]
    width = min(lengths) if shortest else max(lengths)

    def filled(values: list[int], filler: int) -> list[int]:
        values = list(values)[:width]
        padding = [filler] * (width - len(values))
        return padding + values if left else values + padding

    ids = torch.tensor([filled(row["input_ids"], pad_token_id) for row in rows])
    filler = pad_token_id if label_filler is None else label_filler
    targets = torch.tensor([filled(row["labels"], filler) for row in rows])
    mask = torch.tensor([filled([1] * len(row["input_ids"]), attention) for row in rows])
    if "labels" in by_id:
        targets[ids == pad_token_id] = IGNORED
    if "attention" in by_id:
        mask = (ids != pad_token_id).long()
    if shift:
        targets = torch.roll(targets, -1, dims=1)
    return {"input_ids": ids, "labels": targets, "attention_mask": mask}


def _rows(rng: Random, pad_is_end: bool) -> tuple:
    """Rows of several turns, each ended by the same token, of different lengths; and the pad id."""
    end, pad = rng.sample(range(60, 90), 2)
    rows, lengths = [], rng.sample(range(1, 8), 4)
    for extra in lengths:
        ids, targets = [], []
        for _ in range(2):
            question, answer = draw.integers(rng, 3 + extra, 50), draw.integers(rng, rng.randint(2, 4), 50)
            ids += [*question, end, *answer, end]
            targets += [IGNORED] * (len(question) + 1) + [*answer, end]
        rows.append({"input_ids": ids, "labels": targets})
    return rows, end if pad_is_end else pad


_BOTH_BY_ID = ("labels", "attention")

COLLATE_ROWS = Task(
    name="collate_rows",
    title="Find and fix the bug: a collator that unteaches stopping",
    minutes=10,
    answer=collate_rows,
    cases=[
        Case("a pad token that ends turns as well", 10, lambda rng: _rows(rng, True)),
        Case("a pad token of its own", 8, lambda rng: _rows(rng, False)),
    ],
    mistakes={
        "all bugs are left": lambda rows, pad: _collated(rows, pad, by_id=_BOTH_BY_ID, shift=True),
        "labels and attention by the pad's id": lambda rows, pad: _collated(rows, pad, by_id=_BOTH_BY_ID),
        "labels by the pad's id": lambda rows, pad: _collated(rows, pad, by_id=("labels",)),
        "attention by the pad's id": lambda rows, pad: _collated(rows, pad, by_id=("attention",)),
        "the labels are still shifted": lambda rows, pad: _collated(rows, pad, shift=True),
        "padding is learned": lambda rows, pad: _collated(rows, pad, label_filler=None),
        "padding is seen": lambda rows, pad: _collated(rows, pad, attention=1),
        "only what is learned is seen": lambda rows, pad: (
            lambda batch: batch | {"attention_mask": (batch["labels"] != IGNORED).long()}
        )(_collated(rows, pad)),
        "padded in front": lambda rows, pad: _collated(rows, pad, left=True),
        "cut to the shortest": lambda rows, pad: _collated(rows, pad, shortest=True),
        "inputs filled up with 0": lambda rows, pad: _collated(rows, 0),
        "inputs filled up with -100": lambda rows, pad: _collated(rows, IGNORED),
        "labels filled up with 0": lambda rows, pad: _collated(rows, pad, label_filler=0),
    },
)

# -- predict, then measure ------------------------------------------------------------------------------------

STEPS, BATCH, ASKED = 14, 8, 24


def _short_talks(rng: Random, n: int) -> list:
    from pebble_lm.world.conversations import conversations

    found = conversations(rng.randrange(10**6), 4 * n)
    return [talk for talk in found if sum(len(m["content"]) for m in talk) < 120][:n]


def _batch(tokenizer, some: list) -> dict[str, torch.Tensor]:
    return collate([loss_mask(tokenizer, talk) for talk in some], tokenizer.pad_token_id)


def _without_ends(batch: dict, tokenizer) -> dict[str, torch.Tensor]:
    """The batch as a collator makes it that takes every end of turn for padding."""
    return batch | {
        "labels": batch["labels"].masked_fill(batch["input_ids"] == tokenizer.eos_token_id, IGNORED)
    }


@torch.inference_mode()
def _loss(variant, batch: dict) -> float:
    return float(variant.model(**{name: part.to(variant.device) for name, part in batch.items()}).loss)


def _shifted_loss(rng: Random) -> tuple[str | None, str]:
    instruct = draw.pair().instruct
    batch = _batch(instruct.tokenizer, _short_talks(rng, 32))
    shifted = batch | {"labels": torch.roll(batch["labels"], -1, dims=1)}
    right, wrong = _loss(instruct, batch), _loss(instruct, shifted)
    held = "higher" if wrong > 1.2 * right else "lower" if wrong < right / 1.2 else "about the same"
    return held, f"Measured on the instruct, 32 conversations: {right:.2f} nats in place, {wrong:.2f} moved."


def _empty_loss(rng: Random) -> tuple[str | None, str]:
    instruct = draw.pair().instruct
    batch = _batch(instruct.tokenizer, _short_talks(rng, 4))
    loss = _loss(instruct, batch | {"labels": torch.full_like(batch["labels"], IGNORED)})
    held = "not a number" if math.isnan(loss) else "0" if abs(loss) < 1e-6 else "that of a good batch"
    return held, f"Measured: {loss}."


def _learned_share(rng: Random) -> tuple[str | None, str]:
    tokenizer, some = draw.pair().instruct.tokenizer, _short_talks(rng, 64)
    rows = [loss_mask(tokenizer, talk) for talk in some]
    learned, tokens = sum(row.loss_tokens for row in rows), sum(map(len, rows))
    held = "more than half" if 2 * learned > tokens else "less than half"
    return held, f"Counted in {len(some)} conversations: {learned} of {tokens} tokens."


def _stops_after(rng: Random, spoil: Callable) -> int:
    """Train a copy of the base for a few steps; how many of ASKED answers does it end itself?"""
    pair = draw.pair()
    tokenizer = pair.instruct.tokenizer
    some = _short_talks(rng, STEPS * BATCH)
    model = copy.deepcopy(pair.base.model).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for start in range(0, len(some), BATCH):
        batch = spoil(_batch(tokenizer, some[start : start + BATCH]), tokenizer)
        model(**{name: part.to(pair.base.device) for name, part in batch.items()}).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval().generation_config.eos_token_id = pair.instruct.eos_token_ids
    from course_utils.variant import Variant

    trained = Variant("trained here", model, tokenizer)
    asked = [question for question, _ in draw.questions(rng, ASKED)]
    return sum(done.stopped for done in trained.chat_batch(asked, max_new_tokens=32, progress=False))


def _stops(rng: Random) -> tuple[str | None, str]:
    seed = rng.random()
    good = _stops_after(Random(seed), lambda batch, tokenizer: batch)
    bad = _stops_after(Random(seed), _without_ends)
    (low, high), (from_, to) = wilson(bad, ASKED), wilson(good, ASKED)
    held = "fewer" if high < from_ else "more" if low > to else None if bad != good else "as many"
    return (
        held,
        f"Measured after {STEPS} steps each: {good} of {ASKED} with a good batch, {bad} of {ASKED} without ends.",
    )


PREDICT_BUGS = Prediction(
    name="predict_bugs",
    title="Predict, then measure: what a bug does to the numbers",
    minutes=6,
    claims=[
        Claim(
            "tokens of short conversations that are learned, of all",
            ("less than half", "more than half"),
            2,
            _learned_share,
        ),
        Claim(
            "loss of a trained instruct when the labels are moved once more",
            ("lower", "about the same", "higher"),
            3,
            _shifted_loss,
        ),
        Claim(
            "loss when no token has a label", ("0", "that of a good batch", "not a number"), 3, _empty_loss
        ),
        Claim(
            "answers that end, after a short training without labels on the ends of turns",
            ("fewer", "as many", "more"),
            4,
            _stops,
        ),
    ],
)

# -- a dataset to repair, graded by what validate finds afterwards ---------------------------------------------


def repair(rows):
    return _repaired(rows)


DEFECTS = ("names", "alpaca", "columns", "open", "empty", "null", "twice")


def _repaired(
    rows,
    mend: tuple = DEFECTS,
    empty_text: str | None = None,
    drop: tuple = (),
    gaps_of: tuple = ("system", "user", "assistant"),
) -> list[dict]:
    """Rows without the defects in `mend`; those in `drop` are left out instead. Whose gaps are looked for?"""
    names = {"human": "user", "gpt": "assistant"}
    kept: list[dict] = []
    for row in rows:
        row = copy.deepcopy(row)
        if "instruction" in row and "alpaca" in (*mend, *drop):
            if "alpaca" in drop:
                continue
            given = "\n\n".join(filter(None, [row["instruction"], row.get("input")]))
            turns = [("user", given), ("assistant", row["output"])]
            row = {"messages": [{"role": role, "content": text} for role, text in turns]}
        if "messages" not in row:
            kept.append(row)
            continue
        if "columns" in mend:
            row = {"messages": row["messages"]}
        if "columns" in drop and set(row) != {"messages"}:
            continue
        messages = row["messages"]
        if "names" in drop and any(m["role"] in names for m in messages):
            continue
        if "names" in mend:
            for message in messages:
                message["role"] = names.get(message["role"], message["role"])
        if "open" in drop and messages[-1]["role"] == "user":
            continue
        if "open" in mend:
            while messages and messages[-1]["role"] == "user":
                messages.pop()
        contents = [m["content"] for m in messages if names.get(m["role"], m["role"]) in gaps_of]
        if empty_text is not None:
            for message in messages:
                message["content"] = (message["content"] or "").strip() or empty_text
        elif ("null" in mend and None in contents) or (
            "empty" in mend and any(c is not None and not c.strip() for c in contents)
        ):
            continue
        if not ("twice" in mend and row in kept):
            kept.append(row)
    return kept


def _key(row: dict) -> tuple:
    """A conversation as its roles and words, however the white space is set."""
    return tuple((m["role"], tuple(re.findall(r"\w+", m["content"]))) for m in row["messages"])


def _what_is_left(answer: Callable, rows: list[dict]) -> dict[str, Any]:
    """What counts of a repair: what validate still finds, and what became of the conversations."""
    wanted = {_key(row) for row in _repaired(rows)}
    fixed = answer(rows)
    if not isinstance(fixed, (list, tuple)):
        raise Unusable("another form", f"repair is to return a list of rows, not {values.kind(fixed)}.")
    problems = formats.validate(list(fixed)).problems["problem"]
    found = set()
    for row in fixed:
        try:
            found.add(_key(row))
        except (TypeError, KeyError, AttributeError):
            continue  # validate has named what is wrong with it
    return {
        "validate still finds": sorted(set(problems)),
        "conversations lost": len(wanted - found),
        "one of those lost": str(min(wanted - found, default="none")),
        "conversations that nobody had": len(found - wanted) if not len(problems) else 0,
    }


def _messy(kinds: tuple) -> Callable:
    """A dataset with good rows, and each of these defects once or twice."""

    def drawn(rng: Random) -> tuple:
        rows = [{"messages": talks.conversation(rng, rng.randint(1, 2))} for _ in range(rng.randint(6, 8))]
        good = list(rows)
        for kind in kinds:
            rows += [_defective(rng, kind, good) for _ in range(rng.randint(1, 2))]
            if kind in ("empty", "null"):  # in a question as well as in an answer
                rows += [_defective(rng, kind, good, place) for place in (0, -1)]
        rng.shuffle(rows)
        return (rows,)

    return drawn


def _disguised(rng: Random, row: dict) -> dict:
    """The same conversation with another defect: a repeat only once that is mended."""
    row = copy.deepcopy(row)
    kind = rng.choice(("names", "columns", "open"))
    if kind == "columns":
        return row | {"url": rng.randint(1, 5)}
    if kind == "open":
        row["messages"].append({"role": "user", "content": talks.exchange(rng)[0]})
        return row
    names = {"user": "human", "assistant": "gpt"}
    return {"messages": [{**m, "role": names.get(m["role"], m["role"])} for m in row["messages"]]}


def _defective(rng: Random, kind: str, good: list[dict], place: int | None = None) -> dict:
    messages = talks.conversation(rng, rng.randint(1, 2), rng.choice([None, talks.a_system(rng)]))
    if kind == "twice":
        return copy.deepcopy(rng.choice(good))
    if kind == "twice, once mended":
        return _disguised(rng, rng.choice(good))
    if kind == "names":
        names = {"user": "human", "assistant": "gpt"}
        return {"messages": [{**m, "role": names.get(m["role"], m["role"])} for m in messages]}
    if kind == "alpaca":
        question, answer = talks.exchange(rng)
        first, _, rest = question.rpartition(". ")
        given = {"instruction": rest, "input": first} if first else {"instruction": rest, "input": ""}
        return given | {"output": answer}
    if kind == "columns":
        return {"messages": messages, rng.choice(["scoer", "lang", "split", "url"]): rng.randint(1, 5)}
    if kind == "open":
        return {"messages": [*messages, {"role": "user", "content": talks.exchange(rng)[0]}]}
    place = rng.randrange(len(messages)) if place is None else place
    messages[place]["content"] = None if kind == "null" else rng.choice(["", "  "])
    return {"messages": messages}


def _all_but(*left: str) -> tuple:
    return tuple(kind for kind in DEFECTS if kind not in left)


def _only_good(rows) -> list[dict]:
    return formats.validate(list(rows)).good_rows


REPAIR = Task(
    name="repair",
    title="Repair a dataset",
    minutes=14,
    answer=repair,
    measure=_what_is_left,
    cases=[
        Case("rows that can only be left out", 8, _messy(("empty", "null", "twice")), times=3),
        Case("rows that can be saved", 12, _messy((*DEFECTS, "twice, once mended")), times=3),
    ],
    mistakes={
        "repeats are looked for before mending": lambda rows: _repaired(
            [row for i, row in enumerate(rows) if row not in rows[:i]], mend=_all_but("twice")
        ),
        "only the answers are looked at": lambda rows: _repaired(rows, gaps_of=("assistant",)),
        "empty answers stay": lambda rows: _repaired(rows, mend=_all_but("empty")),
        "null stays": lambda rows: _repaired(rows, mend=_all_but("null")),
        "repeats stay": lambda rows: _repaired(rows, mend=_all_but("twice")),
        "both copies are left out": lambda rows: [
            row for row in _repaired(rows) if sum(row == other for other in rows) < 2
        ],
        "an answer is invented": lambda rows: _repaired(
            rows, mend=_all_but("empty", "null"), empty_text="I do not know."
        ),
        "nothing is repaired": list,
        "only the good rows are kept": _only_good,
        "rows of another format are left out": lambda rows: _repaired(
            rows, mend=_all_but("alpaca"), drop=("alpaca",)
        ),
        "rows of another format stay": lambda rows: _repaired(rows, mend=_all_but("alpaca")),
        "ShareGPT's names stay": lambda rows: _repaired(rows, mend=_all_but("names")),
        "open questions stay": lambda rows: _repaired(rows, mend=_all_but("open")),
        "open conversations are left out": lambda rows: _repaired(
            rows, mend=_all_but("open"), drop=("open",)
        ),
        "further columns stay": lambda rows: _repaired(rows, mend=_all_but("columns")),
    },
)

TITLE = "SFT data formats"
TASKS = (DETECT_FORMAT, SHAREGPT_TO_MESSAGES, LABEL_BY_HAND, COLLATE_ROWS, PREDICT_BUGS, REPAIR)
