"""An independent oracle: the labels that TRL's SFTTrainer prepares, token for token, and what its collators return.

Where the two differ on purpose, a test says how. TRL is a dependency of the tests alone; without it they skip.
"""

from importlib.util import find_spec
from random import Random
from typing import Any

import pytest
from tiny import tiny_llama, tiny_tokenizer

from course_runs.fitting import pack, truncate
from course_utils import audit_batch, templates
from course_utils.batches import IGNORED, collate, encode_row
from course_utils.train.rows import encode

# Looked for and not imported: whoever collects the tests to run another one would wait for it.
pytestmark = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed")

MARKED = templates.FAMILIES["chatml"].template
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


def made_talks(count: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """Conversations of one to three exchanges, every other one with a system message, in made-up words."""
    rng = Random(seed)

    def words() -> str:
        return (
            " ".join("".join(rng.choices("abcdefgh", k=rng.randint(1, 6))) for _ in range(rng.randint(1, 8)))
            + "."
        )

    talks = []
    for number in range(count):
        roles = ["user", "assistant"] * rng.randint(1, 3)
        talks.append([SYSTEM] * (number % 2) + [{"role": role, "content": words()} for role in roles])
    return talks


TALKS = made_talks(12)
PARTED = [{"prompt": talk[:-1], "completion": talk[-1:]} for talk in TALKS]
TEXTS = [
    {"prompt": f"Question {i}: {t[-2]['content']}\n", "completion": t[-1]["content"]}
    for i, t in enumerate(TALKS)
]


@pytest.fixture(scope="module")
def tokenizer():
    made = tiny_tokenizer(chat=True)
    made.pad_token = "<|pad|>"
    made.chat_template = "{{ bos_token }}" + MARKED
    return made


@pytest.fixture(scope="module")
def trl(tokenizer, tmp_path_factory):
    """A function that lets TRL prepare rows and returns the trainer; no step is trained."""
    model = tiny_llama(len(tokenizer))
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    folder = str(tmp_path_factory.mktemp("trl"))

    def prepare(rows: list[dict], template: str | None = None, **changes) -> Any:
        tokenizer.chat_template, own = template or tokenizer.chat_template, tokenizer.chat_template
        config = SFTConfig(
            folder, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
            disable_tqdm=True, eos_token=None, per_device_train_batch_size=4, **changes,
        )  # fmt: skip
        try:
            return SFTTrainer(
                model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
            )
        finally:
            tokenizer.chat_template = own

    return prepare


def assert_the_same(ours, theirs):
    theirs = theirs.train_dataset
    assert [row.ids for row in ours] == [list(ids) for ids in theirs["input_ids"]]
    assert [row.labels for row in ours] == [list(labels) for labels in theirs["labels"]]


def test_the_assistants_turns(tokenizer, trl):
    rows = [{"messages": talk} for talk in TALKS]
    trainer = trl(rows, assistant_only_loss=True)
    assert_the_same([encode_row(tokenizer, row) for row in rows], trainer)
    assert audit_batch(trainer.train_dataset[:], tokenizer).empty


def test_messages_without_a_word_about_the_loss(tokenizer, trl):
    """TRL's default for messages is loss on everything; here it has to be asked for."""
    rows = [{"messages": talk} for talk in TALKS]
    trainer = trl(rows)
    assert_the_same([encode_row(tokenizer, row, on="all") for row in rows], trainer)
    assert audit_batch(trainer.train_dataset[:], tokenizer).empty


def test_prompt_and_completion_as_messages(tokenizer, trl):
    """Both learn the line break that ChatML writes behind the last end of turn."""
    trainer = trl(PARTED)
    ours = [encode_row(tokenizer, row) for row in PARTED]
    assert_the_same(ours, trainer)
    assert all(row.tokens[-1] == "\n" and row.mask[-1] == 1 for row in ours)
    assert audit_batch(trainer.train_dataset[:], tokenizer).empty


def test_prompt_and_completion_as_texts(tokenizer, trl):
    trainer = trl(TEXTS)
    assert_the_same([encode_row(tokenizer, row) for row in TEXTS], trainer)
    assert_the_same(
        [encode_row(tokenizer, row, on="all") for row in TEXTS], trl(TEXTS, completion_only_loss=False)
    )
    assert audit_batch(trainer.train_dataset[:], tokenizer).empty


def test_raw_text(tokenizer, trl):
    rows = [{"text": row["prompt"] + row["completion"]} for row in TEXTS]
    assert_the_same([encode_row(tokenizer, row) for row in rows], trl(rows))


@pytest.mark.parametrize("kind", ["messages", "parted", "texts", "raw"])
def test_what_sft_trains_on_is_what_trl_trains_on(tokenizer, trl, kind):
    """`train.sft` reads rows through `rows.encode`: the same ids and labels as TRL's, for each kind of row."""
    rows = {
        "messages": [{"messages": talk} for talk in TALKS],
        "parted": PARTED,
        "texts": TEXTS,
        "raw": [{"text": row["prompt"] + row["completion"]} for row in TEXTS],
    }[kind]
    assert_the_same(encode(tokenizer, rows), trl(rows, assistant_only_loss=kind == "messages"))


def test_trls_own_training_template_also_learns_the_line_breaks_around_an_answer(tokenizer, trl):
    """A documented difference: TRL's ChatML marks begin at the line break of the header and end behind the last."""
    from trl.chat_template_utils import qwen2_5_training_chat_template

    rows = [{"messages": talk} for talk in TALKS]
    theirs = trl(rows, template=qwen2_5_training_chat_template, assistant_only_loss=True).train_dataset
    same = [encode_row(tokenizer, row, chat_template=qwen2_5_training_chat_template) for row in rows]
    assert [row.labels for row in same] == [list(labels) for labels in theirs["labels"]]
    qwen = templates.FAMILIES["qwen2.5"]  # the same text, marked as this course marks it
    for row, ids, labels in zip(rows, theirs["input_ids"], theirs["labels"], strict=True):
        marked = encode_row(tokenizer, row, chat_template=qwen)
        assert marked.ids == list(ids)
        more = [i for i, label in enumerate(labels) if label != marked.labels[i]]
        assert {marked.tokens[i] for i in more} == {"\n"}
        assert len(more) == 2 * sum(message["role"] == "assistant" for message in row["messages"])
    assert audit_batch(theirs[:], tokenizer, chat_template=qwen2_5_training_chat_template).empty


def test_padding(tokenizer, trl):
    trainer = trl(PARTED)
    rows = [trainer.train_dataset[i] for i in range(4)]
    theirs = trainer.data_collator([dict(row) for row in rows])
    ours = collate(rows, tokenizer.pad_token_id)
    assert theirs.keys() == ours.keys()
    assert all(theirs[name].tolist() == ours[name].tolist() for name in ours)
    assert audit_batch(theirs, tokenizer).empty


def test_a_pad_that_is_the_eos_does_no_harm_in_trls_collator_either(trl):
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.chat_template, tokenizer.pad_token = "{{ bos_token }}" + MARKED, tokenizer.eos_token
    trainer = trl(PARTED)
    trainer.data_collator.pad_token_id = tokenizer.pad_token_id
    batch = trainer.data_collator([dict(trainer.train_dataset[i]) for i in range(4)])
    assert audit_batch(batch, tokenizer).empty


def test_truncation(tokenizer, trl):
    """A documented difference: TRL drops what has lost all its labels; truncate reports it and keeps it."""
    encoded = [encode_row(tokenizer, row) for row in PARTED]
    length = sorted(len(row) for row in encoded)[len(encoded) // 2]
    theirs = trl(PARTED, max_length=length).train_dataset
    rows, report = truncate(encoded, length)
    dropped = set(report.loc[report["nothing_left"], "row"])
    kept = [row for number, row in enumerate(rows) if number not in dropped]
    assert [row["labels"] for row in kept] == [list(labels) for labels in theirs["labels"]]
    assert dropped and len(kept) + len(dropped) == len(PARTED)


def test_packing(tokenizer, trl):
    """The same documents end up together (best-fit decreasing), and the padding-free batch has the same boundaries."""
    encoded = [encode_row(tokenizer, row) for row in PARTED]
    length = max(map(len, encoded)) + 20
    trainer = trl(PARTED, packing=True, max_length=length, shuffle_dataset=False)
    theirs = trainer.train_dataset
    ours = pack(encoded, length)
    assert sorted(map(len, (row["input_ids"] for row in ours))) == sorted(map(len, theirs["input_ids"]))
    batch = trainer.data_collator([dict(theirs[i]) for i in range(len(theirs))])
    assert audit_batch(batch, tokenizer).empty
    flat = [(tuple(row["input_ids"]), tuple(row["labels"]), tuple(row["position_ids"])) for row in ours]
    ids, labels, positions = (batch[name][0].tolist() for name in ("input_ids", "labels", "position_ids"))
    assert sum(position == 0 for position in positions) == len(PARTED)
    assert all(label == IGNORED for label, position in zip(labels, positions, strict=True) if position == 0)
    assert documents(ids, labels, positions) == sorted(d for row in flat for d in documents(*row))


def documents(ids, labels, positions) -> list[tuple]:
    starts = [i for i, position in enumerate(positions) if position == 0]
    ends = [*starts[1:], len(ids)]
    return sorted((tuple(ids[a:b]), tuple(labels[a:b])) for a, b in zip(starts, ends, strict=True))
