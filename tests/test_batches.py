"""Loss masks, labels, truncation, padding, packing; and the audit, which names each bug and accuses no good batch."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CHATML, reference_tokenizer, tiny_llama, tiny_tokenizer
from transformers import DataCollatorForLanguageModeling

from course_runs.audit import FIXES, audit_batch
from course_runs.fitting import loss_counts, pack, truncate
from course_runs.marks import turn_marks
from course_utils import templates
from course_utils.batches import (
    IGNORED,
    LOSS_ON,
    collate,
    encode_row,
    has_generation_marks,
    labels,
    loss_mask,
)

MARKED = templates.FAMILIES["chatml"].template
TWO_TURNS = [
    {"role": "user", "content": "What is two plus two?"},
    {"role": "assistant", "content": "Four."},
    {"role": "user", "content": "And the capital of Spain?"},
    {"role": "assistant", "content": "Madrid."},
]
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
FAMILIES = sorted(set(templates.FAMILIES) - {"glm-4.5"})  # its answers have no end mark to be learned
EVERY_FAMILY = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def tokenizer():
    """A small ChatML tokenizer with a BOS and a pad token of its own, and a template with marks."""
    made = tiny_tokenizer(chat=True)
    made.pad_token = "<|pad|>"
    made.chat_template = "{{ bos_token }}" + MARKED
    return made


class Toys(dict):
    """A toy tokenizer of each family, made when asked for; says little where hypothesis prints it."""

    def __missing__(self, name):
        self[name] = templates.toy_tokenizer(name)
        return self[name]

    def __repr__(self):
        return "toys"


@pytest.fixture(scope="module")
def toys():
    return Toys()


def learned(encoded) -> str:
    return "".join(token for token, keep in zip(encoded.tokens, encoded.mask, strict=True) if keep)


def bugs(batch, tokenizer, **settings) -> list[str]:
    return audit_batch(batch, tokenizer, **settings)["bug"].tolist()


# -- the mask -------------------------------------------------------------------------------------------------


def test_the_mask_holds_every_answer_and_the_end_of_its_turn(tokenizer):
    encoded = loss_mask(tokenizer, [SYSTEM, *TWO_TURNS])
    assert learned(encoded) == "Four.<|im_end|>Madrid.<|im_end|>"
    assert tokenizer.decode(encoded.ids) == tokenizer.apply_chat_template(
        [SYSTEM, *TWO_TURNS], tokenize=False
    )


def test_what_is_learned_can_be_chosen(tokenizer):
    assert learned(loss_mask(tokenizer, TWO_TURNS, on="last")) == "Madrid.<|im_end|>"
    assert learned(loss_mask(tokenizer, TWO_TURNS, on="completion")) == "Madrid.<|im_end|>\n"
    assert all(loss_mask(tokenizer, TWO_TURNS, on="all").mask)


def test_each_token_knows_its_turn(tokenizer):
    encoded = loss_mask(tokenizer, [SYSTEM, *TWO_TURNS])
    assert {role for role, keep in zip(encoded.roles, encoded.mask, strict=True) if keep} == {"assistant"}
    assert [role for i, role in enumerate(encoded.roles) if i == 0 or encoded.roles[i - 1] != role] == [
        "template", "system", "user", "assistant", "user", "assistant",
    ]  # fmt: skip


def test_a_completion_needs_no_marks_in_the_template(tokenizer):
    plain = loss_mask(tokenizer, TWO_TURNS, on="completion", chat_template=CHATML)
    assert plain == loss_mask(tokenizer, TWO_TURNS, on="completion")


def test_a_template_without_marks_is_an_error_that_says_what_to_do(tokenizer):
    with pytest.raises(ValueError, match=r"no \{% generation %\} marks.*Pass chat_template="):
        loss_mask(tokenizer, TWO_TURNS, chat_template=CHATML)
    assert not has_generation_marks(CHATML) and not has_generation_marks(None)
    assert has_generation_marks("{%- generation -%}x{%- endgeneration -%}")


def test_marks_around_nothing_are_an_error_too(tokenizer):
    template = CHATML + "{% generation %}{% endgeneration %}"
    with pytest.raises(ValueError, match="mask is empty"):
        loss_mask(tokenizer, TWO_TURNS, chat_template=template)


@pytest.mark.parametrize(
    "messages, on, said",
    [
        (TWO_TURNS[:1], "assistant", "no assistant turn.*user"),
        (TWO_TURNS[:3], "completion", "ends with 'user'"),
        (TWO_TURNS[1:2], "completion", "needs a prompt.*Add the user's turn"),
        (TWO_TURNS, "answers", "on must be one of"),
        ([], "last", "no assistant turn.*none"),
    ],
)
def test_a_conversation_that_teaches_nothing_is_an_error(tokenizer, messages, on, said):
    with pytest.raises(ValueError, match=said):
        loss_mask(tokenizer, messages, on=on)


def test_a_row_given_as_a_conversation_is_an_error(tokenizer):
    with pytest.raises(TypeError, match="encode_row"):
        loss_mask(tokenizer, {"messages": TWO_TURNS})


def test_a_tokenizer_without_a_template_is_an_error():
    with pytest.raises(ValueError, match=r"no chat template.*chat_template="):
        loss_mask(tiny_tokenizer(), TWO_TURNS)


@EVERY_FAMILY
def test_every_family_can_be_masked(name, toys):
    chosen = templates.FAMILIES[name]
    encoded = loss_mask(toys[name], TWO_TURNS, date_string="1 Jan 2025")
    assert tuple(encoded.ids) and "Four." in learned(encoded) and "Madrid." in learned(encoded)
    assert "two plus two" not in learned(encoded) and "Spain" not in learned(encoded)
    last = encoded.ids[max(i for i, keep in enumerate(encoded.mask) if keep)]
    assert last in toys[name].convert_tokens_to_ids(list(chosen.end_of_turn))


@EVERY_FAMILY
def test_a_family_may_be_given_in_place_of_the_tokenizers_template(name, toys):
    own = loss_mask(toys[name], TWO_TURNS, date_string="1 Jan 2025")
    assert (
        loss_mask(toys[name], TWO_TURNS, chat_template=templates.FAMILIES[name], date_string="1 Jan 2025")
        == own
    )


WORDS = st.text(alphabet="abcdefg .,?!éß漢🙂", min_size=1, max_size=12).filter(lambda text: text.strip())


@st.composite
def conversations(draw):
    turns = draw(st.integers(1, 3))
    words = [draw(WORDS) for _ in range(2 * turns)]
    return [
        {"role": role, "content": text}
        for role, text in zip(["user", "assistant"] * turns, words, strict=True)
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=conversations(), name=st.sampled_from(FAMILIES))
def test_loss_lies_inside_assistant_turns_and_every_turns_end_carries_it(toys, messages, name):
    """Whatever is said, in whatever family."""
    encoded = loss_mask(toys[name], messages, date_string="1 Jan 2025")
    assert {role for role, keep in zip(encoded.roles, encoded.mask, strict=True) if keep} == {"assistant"}
    runs = "".join(map(str, encoded.mask)).split("0")
    assert len([run for run in runs if run]) == len(messages) / 2
    ends = toys[name].convert_tokens_to_ids(list(templates.FAMILIES[name].end_of_turn))
    closing = [i for i, keep in enumerate(encoded.mask) if keep and [*encoded.mask, 0][i + 1] == 0]
    assert all(encoded.ids[i] in ends for i in closing)
    assert encoded.labels == [
        i if keep else IGNORED for i, keep in zip(encoded.ids, encoded.mask, strict=True)
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=conversations(), name=st.sampled_from(FAMILIES))
def test_the_audit_accuses_no_mask_of_this_module(toys, messages, name):
    for on in LOSS_ON:
        encoded = loss_mask(toys[name], messages, on=on, date_string="1 Jan 2025")
        found = audit_batch([encoded], toys[name])
        assert found.empty, (on, found.to_dict("records"), encoded.tokens)


# -- rows of other formats ------------------------------------------------------------------------------------


def test_rows_are_encoded_as_their_columns_ask(tokenizer):
    talk = encode_row(tokenizer, {"messages": TWO_TURNS})
    assert talk == loss_mask(tokenizer, TWO_TURNS)
    parted = encode_row(tokenizer, {"prompt": TWO_TURNS[:3], "completion": TWO_TURNS[3:]})
    assert parted == loss_mask(tokenizer, TWO_TURNS, on="completion")
    text = encode_row(tokenizer, {"prompt": "Two plus two?", "completion": " Four."})
    assert (
        learned(text) == " Four.<|im_end|>" and text.roles[0] == "prompt" and text.roles[-1] == "completion"
    )
    raw = encode_row(tokenizer, {"text": "Once upon a time."})
    assert raw.tokens[0] == "<|endoftext|>" and raw.tokens[-1] == "<|im_end|>" and all(raw.mask)


def test_an_eos_that_is_there_is_not_written_twice(tokenizer):
    assert encode_row(tokenizer, {"text": "The end.<|im_end|>"}).tokens.count("<|im_end|>") == 1


def test_a_row_of_another_format_is_an_error(tokenizer):
    with pytest.raises(ValueError, match=r"instruction, output.*formats\.convert"):
        encode_row(tokenizer, {"instruction": "Add.", "output": "4"})


def test_labels_are_ids_where_the_mask_says_so():
    assert labels([5, 6, 7], [0, 1, 1]) == [IGNORED, 6, 7]
    with pytest.raises(ValueError, match="3 ids and 2 mask values"):
        labels([5, 6, 7], [1, 1])


def test_the_first_token_is_never_counted():
    table = loss_counts(
        [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [1, 2], "mask": [0, 0]}]
    )
    assert table["loss_tokens"].tolist() == [2, 0] and table["tokens"].tolist() == [3, 2]
    assert table["share"].tolist() == [2 / 3, 0.0]


# -- truncating, padding, packing -----------------------------------------------------------------------------

ROWS = [
    {"input_ids": [1, 2, 3, 4, 5], "labels": [IGNORED, IGNORED, 3, 4, 5]},
    {"input_ids": [6, 7], "labels": [IGNORED, 7]},
    {"input_ids": [8, 9, 10], "labels": [IGNORED, 9, 10]},
]


def test_truncation_reports_what_it_cost():
    rows, report = truncate(ROWS, 3)
    assert [row["input_ids"] for row in rows] == [[1, 2, 3], [6, 7], [8, 9, 10]]
    assert report.to_dict("records") == [
        {
            "row": 0,
            "tokens": 5,
            "cut": 2,
            "loss_tokens": 3,
            "loss_lost": 2,
            "end_lost": True,
            "nothing_left": False,
        }
    ]
    rows, report = truncate(ROWS, 2)
    assert rows[0]["labels"] == [IGNORED] * 2 and report["nothing_left"].tolist() == [True, False]


def test_truncation_wants_a_length():
    with pytest.raises(ValueError, match="1 or more"):
        truncate(ROWS, 0)


def test_padding_fills_up_with_three_different_things():
    batch = collate(ROWS, pad_id=99)
    assert batch["input_ids"].tolist()[1] == [6, 7, 99, 99, 99]
    assert batch["labels"].tolist()[1] == [IGNORED, 7, IGNORED, IGNORED, IGNORED]
    assert batch["attention_mask"].tolist()[1] == [1, 1, 0, 0, 0]


def test_a_pad_that_is_also_the_eos_does_no_harm_to_labels():
    assert collate(ROWS, pad_id=7)["labels"].tolist()[1][:2] == [IGNORED, 7]


def test_an_unusable_batch_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        collate([], 0)
    with pytest.raises(TypeError, match="input_ids and labels"):
        collate([{"text": "no ids"}], 0)
    with pytest.raises(ValueError, match="one a token"):
        collate([{"input_ids": [1, 2], "labels": [1]}], 0)


def test_packing_states_where_documents_begin():
    first, second = pack(ROWS, 7)
    assert first["rows"] == [0, 1] and second["rows"] == [2]
    assert first["position_ids"] == [0, 1, 2, 3, 4, 0, 1]
    assert first["input_ids"] == [1, 2, 3, 4, 5, 6, 7]
    assert first["labels"] == [IGNORED, IGNORED, 3, 4, 5, IGNORED, 7]
    with pytest.raises(ValueError, match=r"Row 0 has 5 tokens.*Truncate"):
        pack(ROWS, 4)
    assert pack([], 4) == []


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 30), max_size=40), length=st.integers(30, 64))
def test_packing_loses_and_cuts_nothing(sizes, length):
    rows = [{"input_ids": [number] * size, "labels": [number] * size} for number, size in enumerate(sizes)]
    packed = pack(rows, length)
    assert sorted(number for row in packed for number in row["rows"]) == list(range(len(rows)))
    for row in packed:
        assert len(row["input_ids"]) == len(row["labels"]) == len(row["position_ids"]) <= length
        assert row["input_ids"] == [number for number in row["rows"] for _ in range(sizes[number])]
        assert [i for i, p in enumerate(row["position_ids"]) if p == 0] == [
            i
            for i in range(len(row["input_ids"]))
            if i == 0 or row["input_ids"][i] != row["input_ids"][i - 1]
        ]


def test_a_model_sees_packed_documents_apart():
    """What the position ids promise: the logits of each document are those it has on its own."""
    model = tiny_llama(50)
    batch = collate(pack(ROWS, 12), pad_id=0)
    assert "attention_mask" not in batch
    with torch.inference_mode():
        together = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        (row,) = pack(ROWS, 12)
        at = 0
        for number in row["rows"]:
            ids = ROWS[number]["input_ids"]
            alone = model(input_ids=torch.tensor([ids]), use_cache=False).logits
            assert torch.allclose(together[:, at : at + len(ids)], alone, atol=1e-4)
            at += len(ids)


def test_packed_and_single_rows_can_share_a_batch():
    batch = collate([*pack(ROWS[:2], 7), ROWS[2]], pad_id=0)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1], [0, 1, 2, 0, 0, 0, 0]]


# -- the audit: five bugs that train in silence ---------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tokenizer):
    return [loss_mask(tokenizer, [SYSTEM, *TWO_TURNS]), loss_mask(tokenizer, TWO_TURNS[:2])]


def padded_left(batch: dict) -> dict:
    """The same batch with its padding moved to the left."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return {
        name: torch.stack([torch.roll(row, -n) for row, n in zip(part, lengths, strict=True)])
        for name, part in batch.items()
    }


def test_good_batches_are_left_in_peace(tokenizer, rows):
    raw = [
        encode_row(tokenizer, {"text": text})
        for text in ("Once upon a time.", "The capital of Italy is Rome.")
    ]
    for some in (rows, raw, [loss_mask(tokenizer, TWO_TURNS, on=on) for on in LOSS_ON]):
        for batch in (
            some,
            collate(some, tokenizer.pad_token_id),
            padded_left(collate(some, tokenizer.pad_token_id)),
            collate(some, tokenizer.eos_token_id),
            pack(some, 400),
            collate(pack(some, 400), tokenizer.pad_token_id),
        ):
            assert bugs(batch, tokenizer, eos_token_ids=tokenizer.eos_token_id) == []


def test_pad_and_eos_as_one_token_masked_by_a_collator(tokenizer):
    other = tiny_tokenizer(chat=True)
    other.chat_template = tokenizer.chat_template
    other.pad_token = other.eos_token
    encoded = [{"input_ids": loss_mask(other, talk).ids} for talk in (TWO_TURNS, TWO_TURNS[:2])]
    masked = DataCollatorForLanguageModeling(other, mlm=False)(encoded)
    found = audit_batch(masked, other)
    assert found["bug"].tolist() == ["pad is eos"] * 2 and found["row"].tolist() == [0, 1]
    assert "<|im_end|>" in found["evidence"][0]
    whole = [loss_mask(other, talk, on="all") for talk in (TWO_TURNS, TWO_TURNS[:2])]
    assert bugs(collate(whole, other.pad_token_id), other) == []


def test_a_pad_of_its_own_is_masked_without_harm(tokenizer):
    encoded = [{"input_ids": loss_mask(tokenizer, talk).ids} for talk in (TWO_TURNS, TWO_TURNS[:2])]
    assert bugs(DataCollatorForLanguageModeling(tokenizer, mlm=False)(encoded), tokenizer) == []


def test_double_bos(tokenizer):
    text = tokenizer.apply_chat_template(TWO_TURNS, tokenize=False)
    ids = tokenizer(text)["input_ids"]
    found = audit_batch([{"input_ids": ids, "labels": ids}], tokenizer)
    assert found["bug"].tolist() == ["double BOS"] and "tokens 0 and 1" in found["evidence"][0]
    rows = [{"input_ids": ids + more, "labels": ids + more} for more in ([], [ids[-1]] * 30)]
    padded = padded_left(collate(rows, tokenizer.pad_token_id))
    assert bugs(padded, tokenizer) == ["double BOS"] * 2


def test_an_all_zero_mask(tokenizer, rows):
    encoded = tokenizer.apply_chat_template(
        TWO_TURNS, chat_template=CHATML, return_dict=True, return_assistant_tokens_mask=True
    )
    row = {
        "input_ids": encoded["input_ids"],
        "labels": labels(encoded["input_ids"], encoded["assistant_masks"]),
    }
    assert audit_batch([*rows, row], tokenizer)[["bug", "row"]].values.tolist() == [["empty mask", 2]]


def test_headers_in_the_loss(tokenizer, rows):
    word = rows[1].roles.index("assistant")  # the mask begins with the header instead of behind it
    found = audit_batch(
        [
            {
                "input_ids": rows[1].ids,
                "labels": labels(rows[1].ids, [int(i >= word) for i in range(len(rows[1]))]),
            }
        ],
        tokenizer,
    )
    assert found["bug"].tolist() == ["headers in the loss"] and "<|im_start|>" in found["evidence"][0]


@EVERY_FAMILY
def test_headers_in_the_loss_are_found_in_every_family(name, toys):
    encoded = loss_mask(toys[name], TWO_TURNS, date_string="1 Jan 2025")
    first = encoded.mask.index(1)
    mask = [int(i >= first) for i in range(len(encoded))]  # the second question and both its headers as well
    found = bugs([{"input_ids": encoded.ids, "labels": labels(encoded.ids, mask)}], toys[name])
    assert "headers in the loss" in found


def test_an_answer_may_quote_a_header_of_plain_text(toys):
    for name, quoted in {"zephyr": "<|user|>", "llama-2": "[INST]", "deepseek-v2": "Assistant:"}.items():
        talk = [TWO_TURNS[0], {"role": "assistant", "content": f"It is written {quoted} there."}]
        assert bugs([loss_mask(toys[name], talk)], toys[name]) == []


def test_labels_shifted_twice(tokenizer, rows):
    batch = collate(rows, tokenizer.pad_token_id)
    batch["labels"] = torch.cat([batch["labels"][:, 1:], torch.full((2, 1), IGNORED)], dim=1)
    assert bugs(batch, tokenizer) == ["labels shifted"] * 2
    rolled = {"input_ids": [rows[0].ids], "labels": [[*rows[0].ids[1:], rows[0].ids[0]]]}
    assert bugs(rolled, tokenizer) == ["labels shifted"]


# -- and what else is cheap to see ----------------------------------------------------------------------------


def test_labels_of_another_row(tokenizer, rows):
    batch = collate(rows, tokenizer.pad_token_id)
    batch["labels"] = torch.where(batch["labels"] == IGNORED, IGNORED, batch["labels"] + 1)
    assert bugs(batch, tokenizer) == ["labels are not the inputs"] * 2


def test_padding_in_the_loss(tokenizer, rows):
    batch = collate(rows, tokenizer.pad_token_id)
    batch["labels"][1, -3:] = tokenizer.pad_token_id
    assert bugs(batch, tokenizer) == ["padding in the loss"]
    del batch["attention_mask"]
    assert bugs(batch, tokenizer) == ["padding in the loss"]


def test_an_answer_without_its_end(tokenizer):
    template = tokenizer.chat_template.replace(
        "+ '<|im_end|>' }}{%- endgeneration %}", "}}{%- endgeneration %}{{- '<|im_end|>' }}"
    )
    assert template != tokenizer.chat_template
    masked = loss_mask(tokenizer, TWO_TURNS, chat_template=template)
    assert bugs([masked], tokenizer) == ["end of turn masked"]
    ids = tokenizer("Two plus two is four.")["input_ids"]
    assert bugs([{"input_ids": ids, "labels": ids}], tokenizer) == ["no end of turn"]


def test_an_answer_that_truncation_took(tokenizer, rows):
    start = rows[1].mask.index(1)
    for length in (start, start + 2):
        cut, _ = truncate([rows[1]], length)
        assert bugs(cut, tokenizer, max_length=length) == ["answer cut off"]


def test_an_end_that_generation_does_not_know(tokenizer, rows):
    assert set(bugs(rows, tokenizer, eos_token_ids=0)) == {"generation does not stop there"}
    assert bugs(rows, tokenizer, eos_token_ids=[tokenizer.eos_token_id, 0]) == []


def test_a_base_tokenizer_is_told_the_template(tokenizer, rows):
    base = tiny_tokenizer()
    base.pad_token = "<|pad|>"
    assert bugs(rows, base, chat_template=tokenizer.chat_template) == []
    assert set(bugs(rows, base, chat_template=tokenizer.chat_template, eos_token_ids=0)) == {
        "generation does not stop there"
    }


def test_packed_documents_that_predict_each_other(tokenizer, rows):
    (row,) = pack(rows, 400)
    row["labels"] = list(row["input_ids"])
    assert "loss across documents" in bugs([row], tokenizer)


def test_every_finding_comes_with_its_fix(tokenizer):
    ids = tokenizer("Two plus two.")["input_ids"]
    found = audit_batch([{"input_ids": ids, "labels": [IGNORED] * len(ids)}], tokenizer)
    assert list(found.columns) == ["bug", "row", "evidence", "fix"]
    assert found["fix"].tolist() == [FIXES[bug] for bug in found["bug"]]
    assert all(fix.strip() for fix in FIXES.values())


def test_a_batch_without_labels_is_an_error(tokenizer):
    with pytest.raises(ValueError, match="needs input_ids and labels"):
        audit_batch({"input_ids": [[1, 2]]}, tokenizer)


@EVERY_FAMILY
def test_marks_are_found_by_rendering(name, toys):
    marks = turn_marks(toys[name], toys[name].chat_template)
    chosen = templates.FAMILIES[name]
    assert any(end in marks.ends for end in chosen.end_of_turn)
    text = templates.render(chosen, TWO_TURNS, date_string="1 Jan 2025")
    assert text.count(marks.user) >= 2 or name == "phi-4"
    assert len(re.findall(re.escape(marks.assistant), text)) == 2


@pytest.mark.parametrize("which", ["instruct"])
def test_a_real_chatml_template_has_the_marks_one_expects(which):
    real = reference_tokenizer(f"smollm2-135m-{which}")
    marks = turn_marks(real, real.chat_template)
    assert (marks.user, marks.user_end, marks.assistant, marks.ends) == (
        "<|im_start|>user", "<|im_end|>", "<|im_start|>assistant", ("<|im_end|>",),
    )  # fmt: skip
    assert learned(loss_mask(real, TWO_TURNS, chat_template=MARKED)) == "Four.<|im_end|>Madrid.<|im_end|>"


# --- turns that are left out ------------------------------------------------------------------------------------


SURE = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "Five"},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Four"},
]


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}, {"loss": "false"}]
)
@pytest.mark.parametrize("on", ["assistant", "all"])
def test_a_turn_that_is_not_to_be_learned_is_left_out(toys, mark, on):
    for name in ("chatml", "llama-3", "mistral-v7", "gemma-3"):
        talk = [SURE[0], SURE[1] | mark, *SURE[2:3], SURE[3] | {"weight": 1}]
        row = loss_mask(toys[name], talk, on=on)
        assert "Five" not in learned(row) and "Four" in learned(row)
        plain = loss_mask(toys[name], SURE, on=on)
        assert row.ids == plain.ids and row.roles == plain.roles


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([SURE[0], SURE[1] | {"weight": 0.5}], "0.5"),
        ([SURE[0], SURE[1] | {"weight": "heavy"}], "heavy"),
        ([SURE[0] | {"train": True}, SURE[1]], "'train' = True"),
        ([SURE[0], SURE[1] | {"weight": 0}], "left out"),
    ],
)
def test_a_weight_that_no_mask_can_honour_is_refused_by_name(tokenizer, turns, said):
    with pytest.raises(ValueError, match=said):
        loss_mask(tokenizer, turns)


def test_a_weight_of_a_whole_row_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"'weight' = 0\.5"):
        encode_row(tokenizer, {"text": "Once", "weight": 0.5})
    assert (
        encode_row(tokenizer, {"text": "Once", "weight": 1}).ids
        == encode_row(tokenizer, {"text": "Once"}).ids
    )


def test_a_row_s_tools_reach_the_template(tokenizer):
    template = "{% if tools %}{{ tools[0]['name'] }}:{% endif %}" + MARKED
    row = encode_row(tokenizer, {"messages": SURE, "tools": [{"name": "sums"}]}, chat_template=template)
    assert "".join(row.tokens).startswith("sums:<|im_start|>user")


def test_a_text_beside_messages_is_a_turn(tokenizer):
    messages = encode_row(tokenizer, {"prompt": SURE[:1], "completion": SURE[1:2]})
    assert encode_row(tokenizer, {"prompt": "2+2?", "completion": SURE[1:2]}) == messages
    assert encode_row(tokenizer, {"prompt": SURE[:1], "completion": "Five"}) == messages


THINKS = """{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' -}}
{%- if m.role == 'assistant' and loop.last -%}{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' -}}{%- endif -%}
{{- m.content + '<|im_end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}{%- endif -%}"""


def test_a_template_that_drops_earlier_thinking_keeps_each_end_with_its_turn(tokenizer):
    row = loss_mask(tokenizer, SURE, on="completion", chat_template=THINKS)
    assert [role for token, role in zip(row.tokens, row.roles) if token == "<|im_end|>"] == [
        "user",
        "assistant",
    ] * 2
    assert turn_marks(tokenizer, THINKS).assistant == "<|im_start|>assistant"


def test_a_special_token_ends_a_turn_for_a_tokenizer_that_has_no_template(tokenizer):
    base = tiny_tokenizer()
    row = loss_mask(base, SURE, chat_template=MARKED)
    assert bugs([row], base) == []
    assert bugs([row], base, eos_token_ids=[0]) == ["generation does not stop there"]
    cut = {"input_ids": row.ids[:-2], "labels": row.labels[:-2]}
    assert "no end of turn" in bugs([cut], base)
