"""Formats of fine-tuning data: they are told apart, converted without loss or not at all, and checked row by row."""

import itertools
import json
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils import formats
from course_utils.formats.steps import STEPS
from tests.tiny import tiny_tokenizer

USER = {"role": "user", "content": "What is two plus two?"}
ANSWER = {"role": "assistant", "content": "Four."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {
    "role": "assistant",
    "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}],
}
BARE_CALL = {"role": "assistant", "tool_calls": [{"name": "add"}]}
RESULT = {"role": "tool", "name": "add", "content": "4"}

quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def problems(report: formats.Report) -> set[tuple[int, str]]:
    """{(row, problem)} of a report; what is wrong with the file as a whole has no row."""
    return {
        (int(row), kind)
        for row, kind in zip(report.problems["row"], report.problems["problem"])
        if pd.notna(row)
    }


def kinds(rows: list, **settings) -> set[str]:
    return set(formats.validate(rows, **settings).problems["problem"])


def write_lines(path, rows) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# --- the samples --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", formats.FORMATS)
def test_there_is_a_sample_of_every_format_and_it_is_that_format_and_without_fault(name):
    found = formats.detect(formats.sample_path(name))
    assert found.name == name and not found.mixed
    report = formats.validate(formats.sample_path(name))
    assert report.ok, str(report.problems)
    assert report.good_rows == formats.sample(name) and report.bad_rows == []


def test_a_sample_that_is_not_there_is_told_what_is():
    with pytest.raises(ValueError, match=r"alpaca\.json"):
        formats.sample("alpacca")


# --- detect -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"text": "The sky is blue."}, "text"),
        ({"prompt": "The sky is", "completion": " blue."}, "prompt-completion"),
        ({"prompt": [USER], "completion": [ANSWER]}, "conversational-prompt-completion"),
        ({"instruction": "Add.", "input": "2 2", "output": "4"}, "alpaca"),
        ({"instruction": "Add.", "output": "4"}, "alpaca"),
        ({"messages": [USER, ANSWER]}, "messages"),
        ({"messages": [USER, CALL, RESULT, ANSWER]}, "tool-calls"),
        ({"messages": [USER, ANSWER], "tools": []}, "messages"),  # no tool at all
        ({"messages": [USER, ANSWER], "tools": [{"type": "function"}]}, "tool-calls"),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "sharegpt"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference"),
        ({"chosen": "ab", "rejected": "ac"}, "implicit-preference"),
        ({"chosen": [USER, ANSWER], "rejected": [USER, SYSTEM]}, "conversational-implicit-preference"),
        # TRL: a prompt as text beside two whole conversations is only a copy
        ({"prompt": "a", "chosen": [USER, ANSWER], "rejected": [USER]}, "conversational-implicit-preference"),
        ({"prompt": "a", "completion": "b", "label": True}, "unpaired-preference"),
        ({"prompt": [USER], "completion": [ANSWER], "label": False}, "conversational-unpaired-preference"),
        ({"prompt": "a"}, "prompt-only"),
        ({"messages": None, "id": 3}, "messages"),
    ],
)
def test_a_row_is_known_by_its_columns(row, name):
    assert formats.detect(row).name == name
    assert formats.detect([row, row]).rows == {name: [1, 2]}


def test_the_reason_names_the_columns():
    assert "'instruction' and 'output'" in formats.detect(formats.sample("alpaca")).reason


def test_mixed_formats_are_all_named_with_their_rows():
    found = formats.detect([{"text": "a"}, {"messages": [USER, ANSWER]}, {"text": "b"}])
    assert found.mixed and found.name == "text"
    assert found.rows == {"text": [1, 3], "messages": [2]}
    assert "rows 2" in str(found)


def test_conversations_that_call_no_tool_do_not_make_tool_data_mixed():
    rows = [{"messages": [USER, CALL, RESULT, ANSWER]}, {"messages": [USER, ANSWER]}]
    assert formats.detect(rows).names == ["tool-calls"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"question": "2+2?", "answer": "4"},
            ["'question'", "prompt-completion", "rename 'question' to 'prompt'"],
        ),
        ({"instructions": "Add.", "output": "4"}, ["alpaca", "rename 'instructions' to 'instruction'"]),
        ({"instruction": "Add."}, ["alpaca", "add 'output'"]),
        ({"dialogue": []}, ["messages"]),
        ({}, ["is empty"]),
        ({"a": 1}, ["'a'", "text"]),
        ("just text", ["a string"]),
    ],
)
def test_an_unknown_row_is_shown_with_its_keys_and_the_nearest_format(row, words):
    with pytest.raises(formats.FormatError) as error:
        formats.detect([{"text": "fine"}, row])
    assert "Row 2" in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_no_rows_are_no_format():
    with pytest.raises(formats.FormatError, match="no rows"):
        formats.detect([])


def test_rows_may_come_as_a_dataframe():
    frame = pd.DataFrame(formats.sample("alpaca"))
    assert formats.detect(frame).name == "alpaca" and formats.validate(frame).ok
    with pytest.raises(TypeError, match="int"):
        formats.detect(3)


# --- convert ------------------------------------------------------------------------------------------------

parts = [
    *"ab .\n#:",
    "é",
    "### Input:\n",
    "\n\n### Input:\n",
    "\n\n### Response:",
    formats.alpaca_prompt("a", "b"),
]
words = st.lists(st.sampled_from(parts), max_size=6).map("".join)
some = st.text(alphabet="abc é\n", min_size=1, max_size=8)


def turn(role, text=some):
    return text.map(lambda t: {"role": role, "content": t})


@st.composite
def conversations(draw, answered=True):
    """A system turn or none, then user and assistant in turn."""
    turns = draw(st.lists(st.tuples(turn("user"), turn("assistant")), min_size=1, max_size=3))
    turns = [message for pair in turns for message in pair]
    first = [draw(turn("system"))] if draw(st.booleans()) else []
    return first + (turns if answered else turns[:-1])


@st.composite
def tool_conversations(draw):
    arguments = draw(
        st.lists(st.dictionaries(some, some | st.integers(), max_size=2), min_size=1, max_size=2)
    )
    calls = [{"type": "function", "function": {"name": draw(some), "arguments": a}} for a in arguments]
    results = [{"role": "tool", "name": draw(some), "content": draw(some)} for _ in calls]
    call = {"role": "assistant", "tool_calls": calls}
    return [*draw(conversations()), draw(turn("user")), call, *results, draw(turn("assistant"))]


ROWS = {
    "text": st.fixed_dictionaries({"text": words}),
    "alpaca": st.fixed_dictionaries({"instruction": words, "input": words, "output": words}),
    "prompt-completion": st.fixed_dictionaries({"prompt": words, "completion": words}),
    "conversational-prompt-completion": st.fixed_dictionaries(
        {
            "prompt": conversations(answered=False),
            "completion": st.lists(turn("assistant"), min_size=1, max_size=2),
        }
    ),
    "messages": st.fixed_dictionaries({"messages": conversations()}),
    "tool-calls": st.fixed_dictionaries(
        {"messages": tool_conversations(), "tools": st.just([{"type": "function"}])}
    ),
    "sharegpt": conversations().map(
        lambda turns: {
            "conversations": [
                {
                    "from": {"user": "human", "assistant": "gpt"}.get(t["role"], "system"),
                    "value": t["content"],
                }
                for t in turns
            ]
        }
    ),
    "preference": st.fixed_dictionaries({"prompt": words, "chosen": words, "rejected": words}),
    "implicit-preference": st.fixed_dictionaries({"chosen": words, "rejected": words}),
    "unpaired-preference": st.fixed_dictionaries(
        {"prompt": st.sampled_from("ab"), "completion": words, "label": st.booleans()}
    ),
    "prompt-only": st.fixed_dictionaries({"prompt": words}),
    "conversational-prompt-only": st.fixed_dictionaries({"prompt": conversations(answered=False)}),
}
for side in ("preference", "implicit-preference"):
    ROWS[f"conversational-{side}"] = st.tuples(
        conversations(answered=False), st.lists(turn("assistant"), min_size=2, max_size=2), st.just(side)
    ).map(
        lambda parts: (
            {"prompt": parts[0], "chosen": parts[1][:1], "rejected": parts[1][1:]}
            if parts[2] == "preference"
            else {"chosen": parts[0] + parts[1][:1], "rejected": parts[0] + parts[1][1:]}
        )
    )
ROWS["conversational-unpaired-preference"] = st.fixed_dictionaries(
    {
        "prompt": conversations(answered=False),
        "completion": turn("assistant").map(lambda t: [t]),
        "label": st.booleans(),
    }
)


def as_set(rows: list) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def test_every_format_has_rows_to_try():
    assert set(ROWS) == set(formats.FORMATS)


@pytest.mark.parametrize("source", ROWS)
@given(data=st.data())
@settings(quick, max_examples=25)
def test_a_conversion_returns_by_converting_back_or_says_what_it_loses(source, data):
    rows = data.draw(st.lists(ROWS[source], min_size=1, max_size=3))
    rows = [{**row, "source": f"book {i}"} for i, row in enumerate(rows)]
    before = json.dumps(rows)
    target = data.draw(st.sampled_from([name for name in formats.FORMATS if name != source]))
    try:
        there = formats.convert(rows, target)
    except formats.LossyConversion as loss:
        assert loss.dropped and all(1 <= row <= len(rows) for row, _, _ in loss.dropped)
        converted, dropped = formats.convert(rows, target, lossy=True)
        assert [tuple(line) for line in dropped.itertuples(index=False)] == [tuple(d) for d in loss.dropped]
        assert len(converted) <= 2 * len(rows)
    except formats.FormatError as error:
        assert str(error)
    else:
        assert as_set(_back(there, source, target)) == as_set(rows)
    assert json.dumps(rows) == before, "the rows that were given are left as they are"


def _back(rows, source, target):
    """The rows in the format they came from; tool data without a call looks like plain messages."""
    found = formats.detect(rows).name
    assert found == target or {found, target} == {"messages", "tool-calls"}
    back, dropped = formats.convert(rows, source, lossy=True)
    assert dropped.empty or {found, target} == {"messages", "tool-calls"}, dropped.to_string()
    return back


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("messages", "sharegpt"), ("sharegpt", "messages"), ("tool-calls", "sharegpt"),
        ("messages", "conversational-prompt-completion"), ("conversational-prompt-completion", "messages"),
        ("prompt-completion", "messages"), ("prompt-completion", "sharegpt"), ("alpaca", "text"),
        ("alpaca", "prompt-completion"), ("preference", "implicit-preference"),
        ("preference", "conversational-preference"), ("preference", "unpaired-preference"),
        ("conversational-preference", "conversational-implicit-preference"),
        ("conversational-implicit-preference", "conversational-preference"),
        ("conversational-preference", "conversational-unpaired-preference"),
        ("unpaired-preference", "conversational-unpaired-preference"),
        ("prompt-only", "conversational-prompt-only"),
    ],
)  # fmt: skip
def test_the_samples_go_there_and_back(source, target):
    rows = formats.sample(source)
    there = formats.convert(rows, target)
    assert formats.detect(there).name == target
    if source != "sharegpt":
        assert formats.validate(there).ok
    back = formats.convert(there, source)
    assert as_set(back) == as_set(rows)


def test_a_step_without_a_way_back_always_declares_a_loss():
    one_way = [(a, b) for a, steps in STEPS.items() for b in steps if a not in STEPS[b]]
    for source, target in one_way:
        _, dropped = formats.convert(formats.sample(source), target, lossy=True)
        assert set(dropped["row"]) == set(range(1, len(formats.sample(source)) + 1)), (source, target)


def test_alpaca_becomes_text_by_the_template_as_published():
    with_input, without = formats.convert(
        [
            {"instruction": "Add.", "input": "2 2", "output": "4"},
            {"instruction": "Say hi.", "input": "", "output": "Hi"},
        ],
        "text",
    )
    assert with_input["text"] == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n2 2\n\n### Response:4"
    )
    assert without["text"] == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay hi.\n\n### Response:Hi"
    )


def test_the_roles_of_sharegpt_are_translated_and_not_only_its_keys():
    (row,) = formats.convert(
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]}, "chatml"
    )
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]


def test_a_loss_is_named_by_row_and_field():
    rows = [
        {"instruction": "Say hi.", "input": "", "output": "Hi"},
        {"instruction": "Add.", "input": "2 2", "output": "4"},
    ]
    with pytest.raises(formats.LossyConversion, match=r"Row 2, input: .*lossy=True"):
        formats.convert(rows, "messages")
    converted, dropped = formats.convert(rows, "messages", lossy=True)
    assert converted[1]["messages"][0]["content"] == "Add.\n\n2 2"
    assert dropped[["row", "field"]].values.tolist() == [[2, "input"]]


@pytest.mark.parametrize(
    ("row", "target", "words"),
    [
        ({"messages": [USER, ANSWER]}, "text", "apply_chat_template"),
        ({"messages": [USER, ANSWER]}, "preference", "rejected"),
        ({"prompt": "a", "completion": "b"}, "unpaired-preference", "label"),
        ({"text": "The sky is blue."}, "prompt-completion", "Row 1.*where the prompt"),
        ({"text": "The sky is blue."}, "messages", "who speaks"),
        ({"messages": [USER]}, "conversational-prompt-completion", "Row 1.*does not end with"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "sharegpt", r"Row 1.*messages\[1\]"),
        ({"messages": [USER, ANSWER], "history": [["a", "b"]]}, "sharegpt", "history"),
        ({"messages": [USER, {"role": "narrator", "content": "x"}]}, "sharegpt", "narrator"),
        ({"text": "x"}, "alpacca", "no format 'alpacca'.*alpaca"),
    ],
)
def test_what_cannot_be_converted_says_why(row, target, words):
    with pytest.raises(formats.FormatError, match=words):
        formats.convert([row], target, lossy=True)


def test_mixed_rows_are_not_converted_together():
    with pytest.raises(formats.FormatError, match="mixed formats"):
        formats.convert([{"text": "a"}, {"messages": [USER, ANSWER]}], "messages")


def test_an_unpaired_row_without_partner_is_declared_lost():
    rows = formats.convert(formats.sample("preference"), "unpaired-preference")
    random.Random(0).shuffle(rows)
    assert as_set(formats.convert(rows, "preference")) == as_set(formats.sample("preference"))
    with pytest.raises(formats.LossyConversion, match="same prompt"):
        formats.convert(rows[:-1], "preference")


# --- validate: one fault each ---------------------------------------------------------------------------------


def chat(*turns) -> dict:
    return {"messages": list(turns)}


@pytest.mark.parametrize(
    ("row", "kind", "field"),
    [
        (chat(USER, USER, ANSWER), "wrong role order", "messages[1].role"),
        (chat(USER, ANSWER, ANSWER), "wrong role order", "messages[2].role"),
        (chat(ANSWER, USER, ANSWER), "wrong role order", "messages[0].role"),
        (chat(USER, ANSWER, SYSTEM, USER, ANSWER), "wrong role order", "messages[2].role"),
        (chat(USER, RESULT, ANSWER), "wrong role order", "messages[1].role"),
        (chat(USER, CALL, USER, ANSWER), "wrong role order", "messages[2].role"),
        (chat(USER, CALL, RESULT, USER, ANSWER), "wrong role order", "messages[3].role"),
        (chat(USER), "missing assistant turn", "messages[0]"),
        (chat(USER, ANSWER, USER), "missing assistant turn", "messages[2]"),
        (chat(), "missing turns", "messages"),
        (chat(USER, {"role": "assistant", "content": " "}), "empty turn", "messages[1].content"),
        (chat(USER, {"role": "assistant", "content": None}), "null content", "messages[1].content"),
        (chat(USER, {"role": "assistant"}), "missing key", "messages[1].content"),
        (chat(USER, {"content": "Four."}), "missing key", "messages[1].role"),
        (chat(USER, {"role": "assistant", "content": 4}), "wrong type", "messages[1].content"),
        (chat(USER, {"role": "gpt", "content": "Four."}), "unknown role", "messages[1].role"),
        (chat(USER, {**ANSWER, "mood": "good"}), "unknown key", "messages[1].mood"),
        ({**chat(USER, ANSWER), "scoer": 1}, "unknown key", "scoer"),
        ({"messages": "Hi"}, "wrong type", "messages"),
        ({"messages": None}, "null content", "messages"),
        (chat(USER, "Four."), "wrong type", "messages[1]"),
        ({"instruction": "Add.", "input": None, "output": ""}, "empty text", "output"),
        ({"prompt": "a", "completion": "b", "label": "yes"}, "wrong type", "label"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "no difference", "rejected"),
        ({"chosen": "a", "rejected": "b"}, "no shared prompt", "chosen"),
        ({"prompt": [USER, ANSWER], "completion": [ANSWER]}, "wrong role order", "completion[0].role"),
        ({"prompt": "a", "completion": [ANSWER]}, "wrong type", "prompt"),
        ({"prompt": [USER, ANSWER]}, "wrong role order", "prompt[1]"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "missing assistant turn", "conversations[0]"),
        ({"conversations": [USER, ANSWER]}, "missing key", "conversations[0].from"),
        (chat(USER, BARE_CALL, RESULT, ANSWER), "wrong type", "messages[1].tool_calls[0]"),
        ({"question": "a", "answer": "b"}, "unknown format", ""),
        (["a"], "unknown format", ""),
        ({"text": "Yo<|eot_id|>"}, "special token in text", "text"),
        ({"text": "Un cafÃ©"}, "mojibake", "text"),
        ({"text": "itâ€™s"}, "mojibake", "text"),
        ({"text": "ÐŸÑ€Ð¸Ð²ÐµÑ‚"}, "mojibake", "text"),
        ({"text": "good ðŸ˜€"}, "mojibake", "text"),
        ({"text": "“AMANHÃ” não é CÃ”TE"}, "mojibake", "text"),
        ({"text": "FranÃ§ais"}, "mojibake", "text"),
        ({"text": "donâ€™t"}, "mojibake", "text"),
        ({"text": "LLEGÃ“ A LA CIUDAD"}, "mojibake", "text"),
        ({"text": "BIENTÃ”T, BIENTÃ”"}, "mojibake", "text"),
        ({"text": "3 Ã— 4, PÃ… TAKET"}, "mojibake", "text"),
        ({"text": "caf\ufffd"}, "bad encoding", "text"),
        ({"text": "half \ud83d"}, "bad encoding", "text"),
        ({"text": "a\x00b"}, "bad encoding", "text"),
    ],
)  # fmt: skip
def test_one_fault_is_found_where_it_is(row, kind, field):
    report = formats.validate([row])
    found = report.problems[(report.problems["problem"] == kind) & (report.problems["field"] == field)]
    assert len(found) == 1, report.problems.to_string()
    assert found["row"].item() == 1 and found["detail"].item() and found["what_to_do"].item()
    assert not report.ok and report.bad_rows == [row] and report.good_rows == []


@pytest.mark.parametrize(
    "row",
    [
        chat(SYSTEM, USER, ANSWER, USER, ANSWER),
        chat(USER, CALL, RESULT, ANSWER),
        {"text": "„Spaß“ – à la carte, São Tomé, ÅNGSTRÖM, «Ça va?», naïve, 10 °C, 5 €, “quoted” 😀"},
        {"text": "Привет, 你好, こんにちは"},
        {"text": "Ele gritou “AMANHÃ” e saiu."},
        {"text": "AMANHÃ… talvez"},
        {"text": "AMANHÃ—disse"},
        {"text": "«IRMû, disse; ‘AMANHÃ’; a letra “Ô; “Sim, AMANHÃ…”"},
        {"instruction": "Add.", "output": "4"},
    ],
)
def test_what_is_right_is_not_reported(row):
    assert formats.validate([row]).ok


def test_a_row_of_another_format_is_reported_as_mixed():
    report = formats.validate([{"text": "a"}, {"text": "b"}, {"prompt": "a", "completion": "b"}])
    assert problems(report) == {(3, "mixed formats")}
    assert report.formats == {"text": 2, "prompt-completion": 1}


def test_a_repeated_example_names_the_row_it_repeats_whatever_its_id():
    report = formats.validate(
        [{"text": "a", "id": 1}, {"text": "b", "id": 2}, {"text": "a", "id": 3}], allow=["id"]
    )
    assert problems(report) == {(3, "duplicate row")}
    assert "row 1" in report.problems["detail"].item()


def test_special_tokens_of_the_given_tokenizer_are_found_and_a_document_may_end_with_its_own():
    tokenizer = tiny_tokenizer()
    assert kinds([{"text": "One<|pad|>two"}]) == set()
    assert kinds([{"text": "One<|pad|>two"}], tokenizer=tokenizer) == {"special token in text"}
    assert kinds([{"text": "The end.<|endoftext|>"}], tokenizer=tokenizer) == set()
    assert kinds([{"text": "The<|endoftext|> end."}], tokenizer=tokenizer) == {"special token in text"}


def test_rows_that_do_not_fit_the_context_are_reported_by_their_tokens():
    tokenizer = tiny_tokenizer(chat=True)
    row = chat(USER, ANSWER)
    length = len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"])
    assert kinds([row], tokenizer=tokenizer, max_length=length) == set()
    report = formats.validate([row], tokenizer, length - 1)
    assert problems(report) == {(1, "too long")} and f"{length} tokens" in report.problems["detail"].item()
    with pytest.raises(ValueError, match="needs a tokenizer"):
        formats.validate([row], max_length=10)


def test_a_template_that_refuses_a_row_does_not_stop_the_report():
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.chat_template = "{{ raise_exception('No system turns here') }}"
    report = formats.validate([chat(SYSTEM, USER, ANSWER)], tokenizer, 100)
    assert problems(report) == {(1, "refused by the chat template")}
    assert "No system turns here" in report.problems["detail"].item()


# --- validate: files ------------------------------------------------------------------------------------------


def test_the_broken_sample_is_reported_row_by_row():
    tokenizer = tiny_tokenizer(chat=True)
    report = formats.validate(formats.sample_path("broken"), tokenizer, max_length=256)
    assert problems(report) >= {
        (2, "wrong role order"), (3, "empty turn"), (4, "missing assistant turn"), (6, "invalid JSON"),
        (7, "unknown role"), (8, "mixed formats"), (9, "special token in text"), (10, "bad encoding"),
        (11, "mojibake"), (12, "null content"), (13, "duplicate row"), (14, "wrong role order"),
        (15, "unknown key"), (16, "unknown format"), (17, "too long"), (18, "wrong role order"),
        (19, "unknown format"), (20, "missing key"),
    }  # fmt: skip
    assert "byte order mark" in set(report.problems["problem"])
    assert set(range(1, 22)) - set(report.bad_row_numbers) == {1, 5, 21}
    assert len(report.good_rows) + len(report.bad_rows) == 21
    assert formats.detect(report.good_rows).name == "messages"


def test_the_report_says_the_same_as_text_and_as_html():
    report = formats.validate(formats.sample_path("broken"))
    for shown in (str(report), report._repr_html_()):
        shown.encode("utf-8")
        assert "invalid JSON" in shown and "21 rows" in shown
    assert "<|im_end|>" not in report._repr_html_(), "markup from the data must be escaped"
    assert len(report.summary) == report.problems["problem"].nunique()
    good = formats.validate([{"text": "a"}])
    assert "no problem found" in str(good) and "✓" in good._repr_html_()


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": \n{"text": "b"}', encoding="utf-8")
    report = formats.validate(path)
    assert report.problems[["row", "line"]].values.tolist() == [[2, 3]]
    assert report.good_rows == [{"text": "a"}, {"text": "b"}] and report.bad_rows == ['{"text": ']
    with pytest.raises(formats.FormatError, match=r"line 3.*1 of 3 rows"):
        formats.load(path)


def test_a_file_that_is_not_utf8_is_read_and_the_rows_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "caf\xe9"}\n{"text": "tea"}\n')
    report = formats.validate(path)
    assert problems(report) == {(1, "bad encoding")} and "0xE9" in report.problems["detail"].item()
    with pytest.raises(formats.FormatError, match="0xE9"):
        formats.load(path)
    path.write_bytes('{"text": "tea"}\n'.encode("utf-16"))
    report = formats.validate(path)
    assert report.good_rows == [{"text": "tea"}] and "UTF-16" in report.problems["detail"].item()


@pytest.mark.parametrize("indent", [None, 2])
def test_whole_rows_of_a_broken_json_list_are_read(tmp_path, indent):
    rows = [chat(USER, ANSWER), chat(SYSTEM, USER, ANSWER), {"messages": [USER, {**ANSWER, "content": "4"}]}]
    parts = [json.dumps(row, indent=indent) for row in rows]
    path = tmp_path / "rows.json"
    path.write_text(
        "[\n" + parts[0] + ",\n" + parts[1].replace('"role"', "role", 1) + ",\n" + parts[2] + "\n]"
    )
    report = formats.validate(path)
    assert problems(report) == {(2, "invalid JSON")}
    assert report.good_rows == [rows[0], rows[2]]
    path.write_text("[" + parts[0] + ",\n" + parts[1])
    report = formats.validate(path)
    assert report.good_rows == rows[:2] and "not closed" in report.problems["detail"].item()


def test_json_may_hold_rows_under_one_name_or_be_lines_by_mistake(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"version": 1, "data": [{"text": "a"}, {"text": "b"}]}))
    assert formats.load(path) == [{"text": "a"}, {"text": "b"}]
    path.write_text(json.dumps(chat(USER, ANSWER)))
    assert formats.load(path) == [chat(USER, ANSWER)]
    path.write_text('{"text": "a"}\n{"text": "b"}\n')
    report = formats.validate(path)
    assert len(report.good_rows) == 2 and "JSON Lines" in report.problems["detail"].item()


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_an_empty_file_has_no_rows_and_says_so(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    path.write_text("")
    report = formats.validate(path)
    assert not report.ok and report.problems["problem"].tolist() == ["no rows"]


def test_csv_keeps_lists_labels_and_line_breaks_and_reports_ragged_rows(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [{"prompt": [USER], "completion": [ANSWER], "label": True}]
    pd.DataFrame([{k: json.dumps(v) for k, v in rows[0].items()}]).to_csv(path, index=False)
    assert formats.load(path) == rows
    path.write_text('text\n"two\nlines"\nplain\none,too many\nlast\n')
    report = formats.validate(path)
    assert report.good_rows == [{"text": "two\nlines"}, {"text": "plain"}, {"text": "last"}]
    assert report.problems[["row", "line", "problem"]].values.tolist() == [[3, 5, "wrong number of cells"]]
    pd.DataFrame(formats.sample("messages")).to_csv(path, index=False)
    report = formats.validate(path)
    assert set(report.problems["problem"]) == {"invalid JSON", "wrong type"}
    assert "to_csv" in " ".join(report.problems["what_to_do"])


def test_parquet_returns_what_was_written(tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("alpaca", "messages", "tool-calls", "unpaired-preference"):
        rows = formats.sample(name)
        if name == "tool-calls":
            rows = [{"messages": row["messages"]} for row in rows]
        path = tmp_path / f"{name}.parquet"
        pd.DataFrame(rows).to_parquet(path)
        assert as_set(formats.load(path)) == as_set(rows) and formats.validate(path).ok
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match=r"bad\.parquet"):
        formats.load(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    def no_engine(path):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", no_engine)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match="pip install pyarrow"):
        formats.load(tmp_path / "rows.parquet")


def test_a_missing_file_names_those_of_similar_name(tmp_path):
    write_lines(tmp_path / "train.jsonl", [{"text": "a"}])
    with pytest.raises(FileNotFoundError, match=r"Did you mean train\.jsonl"):
        formats.load(tmp_path / "trian.jsonl")
    with pytest.raises(FileNotFoundError, match="no folder"):
        formats.load(tmp_path / "nowhere" / "rows.jsonl")
    (tmp_path / "rows.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"\.jsonl"):
        formats.validate(tmp_path / "rows.xlsx")


# --- validate: anything at all ----------------------------------------------------------------------------------

keys = st.sampled_from(
    ["text", "messages", "conversations", "prompt", "completion", "chosen", "rejected", "label", "tools",
     "instruction", "input", "output", "role", "content", "from", "value", "tool_calls", "function", "name",
     "arguments", "id", ""]
)  # fmt: skip
loose = st.text(max_size=6) | st.sampled_from(
    [
        "user",
        "assistant",
        "system",
        "tool",
        "human",
        "gpt",
        "function_call",
        "<|im_end|>",
        "Ã©",
        "\ud800",
        "\x00",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | loose
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=25,
)
turns = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), loose | st.none()), max_size=4
)
near_rows = st.dictionaries(keys, turns | json_values, min_size=1, max_size=4)


@given(rows=st.lists(near_rows | json_values, max_size=5))
@settings(quick, max_examples=120)
def test_no_row_stops_the_report_and_every_row_is_accounted_for(rows):
    report = formats.validate(rows, tiny_tokenizer_once(), max_length=20)
    assert len(report.good_rows) + len(report.bad_rows) == len(rows)
    good = [record.row for record in report.records if record.row not in report.bad_row_numbers]
    assert sorted(good + report.bad_row_numbers) == list(range(1, len(rows) + 1))
    assert all(isinstance(row, dict) for row in report.good_rows)
    report._repr_html_().encode("utf-8")
    str(report).encode("utf-8")
    if report.good_rows:
        assert not formats.detect(report.good_rows).mixed
        formats.describe(report.good_rows, tiny_tokenizer_once())


_TOKENIZER = []


def tiny_tokenizer_once():
    if not _TOKENIZER:
        _TOKENIZER.append(tiny_tokenizer(chat=True))
    return _TOKENIZER[0]


@given(rows=st.lists(near_rows | json_values, max_size=4), data=st.data())
@settings(quick, max_examples=60)
def test_detect_and_convert_fail_only_with_a_format_error(rows, data):
    try:
        formats.detect(rows)
        formats.convert(rows, data.draw(st.sampled_from(list(formats.FORMATS))))
    except formats.FormatError as error:
        assert str(error)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
@given(content=st.binary(max_size=80) | st.text(alphabet='[]{}",:\n\\a1 é', max_size=60).map(str.encode))
@settings(quick)
def test_no_file_stops_the_report(suffix, content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    report = formats.validate(path)
    assert len(report.good_rows) + len(report.bad_rows) == len(report.records)
    report._repr_html_().encode("utf-8")


def test_rows_nested_deeper_than_python_recurses_are_reported(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_text('{"text": ' + "[" * 100_000 + "]" * 100_000 + '}\n{"text": "a"}\n')
    report = formats.validate(path)
    assert report.good_rows == [{"text": "a"}] and len(report.bad_rows) == 1


# --- describe ---------------------------------------------------------------------------------------------------


def test_describe_counts_tokens_as_the_model_reads_them():
    tokenizer = tiny_tokenizer(chat=True)
    rows = [chat(USER, ANSWER), chat(SYSTEM, USER, ANSWER, USER, ANSWER), chat(USER, ANSWER)]
    each = formats.describe(rows, tokenizer, per_row=True)
    encoded = [tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"] for row in rows]
    assert each["tokens"].tolist() == [len(ids) for ids in encoded]
    assert each["turns"].tolist() == [2, 5, 2]
    assert each["loss_tokens"].isna().all(), "which turns are learned is not the format's to say"
    assert each["duplicate_of"].fillna(0).tolist() == [0, 0, 1]
    table = formats.describe(rows, tokenizer)
    assert table.loc["tokens", "total"] == sum(map(len, encoded))
    assert table.loc["repeats", "total"] == 1


def test_describe_takes_the_share_in_the_loss_from_a_mask_function():
    rows = [chat(USER, ANSWER)]
    each = formats.describe(rows, loss_mask=lambda row: [False] * 6 + [True] * 2, per_row=True)
    assert (each["tokens"].item(), each["loss_tokens"].item(), each["loss_share"].item()) == (8, 2, 0.25)


def test_describe_knows_the_share_where_the_format_decides_it():
    tokenizer = tiny_tokenizer()
    each = formats.describe([{"text": "abc"}, {"text": "abcd"}], tokenizer, per_row=True)
    assert (each["loss_share"] == 1).all()
    row = {"prompt": "The capital of France is", "completion": " Paris."}
    each = formats.describe([row], tokenizer, per_row=True)
    completion = len(tokenizer(row["completion"], add_special_tokens=False)["input_ids"])
    assert each["loss_tokens"].item() == completion + 1
    assert formats.describe([row], per_row=True)["loss_share"].isna().all()


@pytest.mark.parametrize("name", formats.FORMATS)
def test_every_sample_can_be_described(name):
    table = formats.describe(formats.sample(name), tiny_tokenizer(chat=True))
    assert {"characters", "tokens", "repeats"} <= set(table.index)
    assert ("turns" in table.index) == formats.FORMATS[name].conversational


def test_names_of_formats_are_forgiving():
    for name, meant in itertools.chain(
        [("Unpaired Preference", "unpaired-preference"), ("raw_text", "text")]
    ):
        assert formats.convert(formats.sample(meant), name) == formats.sample(meant)


# --- kinds of trouble from the field: read rightly, or named for what it is ------------------------------------------


def advice(rows, **settings) -> str:
    """All that a user is told about rows: by validate, and by detect where that gives up."""
    said = formats.validate(rows, **settings).problems
    text = " ".join([*said["detail"], *said["what_to_do"]])
    try:
        formats.detect(rows)
    except formats.FormatError as error:
        text += f" {error}"
    return text


TALK = [USER, ANSWER]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def call(name: str, number: str | None = None, arguments="{}") -> dict:
    own = {} if number is None else {"id": number}
    return {**own, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_list_is_read_whatever_the_file_is_called(tmp_path, name, indent):
    path = tmp_path / name
    path.write_text(
        json.dumps([{"messages": TALK}, {"messages": [USER, {**ANSWER, "content": "4"}]}], indent=indent)
    )
    report = formats.validate(path)
    assert report.formats == {"messages": 2} and len(report.good_rows) == 2
    assert (name == "rows.json") == report.ok
    assert report.ok or ".json" in report.problems["what_to_do"].item()


def test_objects_over_several_lines_are_read_from_a_jsonl_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}, indent=2) + "\n" for text in ("one", "two")))
    report = formats.validate(path)
    assert report.good_rows == [{"text": "one"}, {"text": "two"}]
    assert "one on each line" in report.problems["detail"].item()


@pytest.mark.parametrize(
    ("line", "said", "unsaid"),
    [
        ('{"text": "one"},', "comma", "closing brace"),
        ('{"text": "one"', "closing brace", "comma at the end of each"),
        ("{'text': 'one'}", "Python's notation", "closing brace"),
    ],
)
def test_a_broken_line_is_told_what_is_broken_about_it(tmp_path, line, said, unsaid):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line}\n{line}\n")
    told = formats.validate(path).problems.iloc[0]
    assert said in told.detail + told.what_to_do and unsaid not in told.detail + told.what_to_do


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("row", ['{"prompt": "a", "prompt": "b", "completion": "c"}',
                                 '{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}'])  # fmt: skip
def test_a_key_that_stands_twice_is_a_problem_of_its_row(tmp_path, name, row):
    path = tmp_path / name
    good = json.dumps(
        {"prompt": "x", "completion": "y"} if row.startswith('{"prompt') else {"messages": TALK}
    )
    path.write_text(f"{good}\n{row}\n" if name.endswith("l") else f"[{good}, {row}]")
    assert problems(formats.validate(path)) == {(2, "duplicate key")}
    with pytest.raises(formats.FormatError, match="stands twice"):
        formats.load(path)


def test_a_column_that_stands_twice_is_a_problem_in_csv_and_in_a_table(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,prompt\na,b,c\n")
    assert (1, "duplicate key") in problems(formats.validate(path))
    with pytest.raises(formats.FormatError, match="stands twice"):
        formats.detect(pd.DataFrame([["a", "b", "c"]], columns=["prompt", "completion", "prompt"]))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep"])
def test_another_separator_is_seen_and_said(tmp_path, separator, first):
    path = tmp_path / "rows.csv"
    head = f"sep={separator}\n" if first else ""
    path.write_text(f"{head}prompt{separator}completion\nLima, or what?{separator}Lima\n")
    report = formats.validate(path)
    assert report.good_rows == [{"prompt": "Lima, or what?", "completion": "Lima"}]
    assert "separator" in report.problems["detail"].item()


def test_a_quotation_mark_inside_a_cell_opens_nothing(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\nHow wide is a 6" pipe?,about 15 cm\n')
    assert formats.validate(path).ok
    path.write_text('prompt,completion\na,b\n"c,d\n')
    assert "unclosed quote" in set(formats.validate(path).problems["problem"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"text": "tea"}\n'.encode("utf-32"), "UTF-32"),
        ('{"text": "tea and coffee"}\n'.encode("utf-16-le"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x1f\x8b\x08 packed", "gzip"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"PAR1 and so on", "Parquet"),
    ],
)
def test_a_file_that_is_something_else_is_told_by_its_first_bytes(tmp_path, data, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    assert said in " ".join(formats.validate(path).problems["detail"])


def test_a_mark_in_the_middle_of_joined_files_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n\ufeff{"text": "b"}\n', encoding="utf-8")
    report = formats.validate(path)
    assert report.good_rows == [{"text": "a"}, {"text": "b"}]
    assert report.problems["problem"].item() == "byte order mark"


@pytest.mark.parametrize(
    ("row", "advised"),
    [
        ({"prompt": "2+2?", "response": "4"}, "rename 'response' to 'completion'"),
        ({"prompt": "2+2?", "answer": "4"}, "rename 'answer' to 'completion'"),
        ({"prompt": [USER], "response": "4"}, "'completion'"),
        ({"prompt": "2+2?", "chosen": "4", "reject": "5"}, "rename 'reject' to 'rejected'"),
        ({"question": "2+2?", "chosen": "4", "rejected": "5"}, "rename 'question' to 'prompt'"),
        ({"instruction": "Add.", "response": "4"}, "rename 'response' to 'output'"),
        ({"instruction": "Add.", "output": "4", "context": "2 2"}, "Rename it to 'input'"),
        ({"conversations": TALK}, "Rename the column 'conversations' to 'messages'"),
        ({"messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, "'messages' to 'conversations'"),
        ({"prompt": [{"from": "human", "value": "Hi"}]}, "Rename 'from' to 'role' and 'value' to 'content'"),
        ({"messages": [USER, {"role": "assistant", "text": "4"}]}, "Rename 'text' to 'content'"),
        (USER, "'messages': [turn"),
        (TALK, "'messages': [turn"),
        ([TALK], "'messages': […]"),
        ({"train": [{"text": "a"}], "test": [{"text": "b"}]}, "rows['train']"),
        ({"input_ids": [1, 2], "labels": [-100, 2]}, "audit_batch"),
        ({"query": "Weather?", "answers": '[{"name": "weather", "arguments": {}}]', "tools": "[]"}, "'tool_calls'"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "loss_mask honours it"),
        ({"messages": [USER, {**ANSWER, "mood": "good"}]}, "allow=['mood']"),
    ],
)  # fmt: skip
def test_advice_renames_wraps_or_decodes_and_never_deletes(row, advised):
    told = advice([row] if isinstance(row, dict) else row)
    assert advised in told
    assert not any(
        word in told.lower()
        for word in ("take the row out", "remove the rest", "leave the row out", "remove it")
    )


def test_a_column_that_the_caller_vouches_for_does_not_change_the_format():
    report = formats.validate([{"prompt": "2+2?", "answer": "4"}], allow=["answer"])
    assert report.ok and report.formats == {"prompt-only": 1}


def arrays(*turns):
    return np.array(turns, dtype=object)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Hi", "chosen": arrays(*TALK), "rejected": arrays(USER, {**ANSWER, "content": "5"})}, "conversational-implicit-preference"),
        ({"messages": tuple(TALK)}, "messages"),
        ({"messages": json.dumps(TALK)}, "messages"),
        ({"messages": " [\n" + json.dumps(USER) + " ,\n" + json.dumps(ANSWER) + " ] "}, "messages"),
        ({"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])}, "conversational-prompt-completion"),
        ({"prompt": np.str_("a"), "completion": "b", "label": np.bool_(True)}, "unpaired-preference"),
        ({"messages": [{**USER, "tool_calls": []}, {**ANSWER, "tool_calls": None}], "tools": []}, "messages"),
        ({"messages": [USER, CALL, RESULT, ANSWER], "tools": json.dumps([WEATHER])}, "tool-calls"),
        ({"messages": [USER, CALL, RESULT, ANSWER], "tools": [json.dumps(WEATHER)]}, "tool-calls"),
        (pd.Series({"prompt": "a", "completion": "b"}), "prompt-completion"),
    ],
)  # fmt: skip
def test_the_same_in_another_coat_is_the_same(row, name):
    assert formats.detect([row]).name == name
    report = formats.validate([row], allow=["prompt"] if "chosen" in row else ())
    assert report.ok, report.problems.to_string()
    assert not any(hasattr(value, "tolist") for value in report.good_rows[0].values())


def test_a_prompt_about_json_stays_a_text():
    row = {"prompt": '[{"name": "Ada"}]', "completion": "A list with one object."}
    assert formats.detect([row]).name == "prompt-completion" and formats.validate([row]).good_rows == [row]


def test_null_arguments_of_a_call_are_kept():
    row = {
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [call("add", arguments={"a": None})]},
            RESULT,
            ANSWER,
        ]
    }
    assert formats.validate([row]).good_rows == [row]


@pytest.mark.parametrize(
    "table",
    [
        {"prompt": ["a", "b"], "completion": ["c", "d"]},
        {"prompt": np.array(["a", "b"], dtype=object), "completion": ("c", "d")},
        {"prompt": {"0": "a", "1": "b"}, "completion": {"0": "c", "1": "d"}},
    ],
)
def test_a_table_by_its_columns_is_its_rows(table, tmp_path):
    rows = [{"prompt": "a", "completion": "c"}, {"prompt": "b", "completion": "d"}]
    assert formats.validate(table).good_rows == rows
    (tmp_path / "rows.json").write_text(json.dumps(table, default=list))
    assert formats.load(tmp_path / "rows.json") == rows


def test_one_row_of_turns_is_no_table():
    assert formats.detect({"prompt": [USER], "completion": [ANSWER]}).rows == {
        "conversational-prompt-completion": [1]
    }
    assert formats.detect({"messages": [TALK, TALK]}).rows == {"messages": [1, 2]}


@pytest.mark.parametrize("arguments", ['{"a": 2, "b": 2}', '{"b":2,"a":2}', {"a": 2, "b": 2}])
def test_arguments_become_an_object_in_sharegpt_and_nothing_is_lost(arguments):
    rows = [
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [call("add", arguments=arguments)]},
                RESULT,
                ANSWER,
            ]
        }
    ]
    rows[0]["messages"][2] = {"role": "tool", "content": "4"}
    converted = formats.convert(rows, "sharegpt")
    written = converted[0]["conversations"][1]["value"]
    assert json.loads(written)["arguments"] == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("calls", "results", "found"),
    [
        ([("a", "1"), ("b", "2")], ["1", "2"], set()),
        ([("a", "1"), ("b", "2")], ["2", "1"], set()),
        ([("a", "1"), ("b", "2")], ["1"], {"call without result"}),
        ([("a", "1")], ["9"], {"call without result", "result without call"}),
        ([("a", "1")], ["1", "1"], {"result without call"}),
        ([("a", None), ("b", None)], [None], {"call without result"}),
        ([("a", None), ("b", None)], [None, None], set()),
    ],
)
def test_calls_and_results_belong_together(calls, results, found):
    turns = [
        {"role": "tool", "content": "4", **({} if one is None else {"tool_call_id": one})} for one in results
    ]
    asked = {"role": "assistant", "content": "", "tool_calls": [call(name, number) for name, number in calls]}
    assert kinds([{"messages": [USER, asked, *turns, ANSWER]}]) == found


LANDS = [("Peru", "Lima"), ("Chile", "Santiago"), ("Kenya", "Nairobi")]


@pytest.mark.parametrize("columns", [("chosen", "rejected"), ("completion",)])
@pytest.mark.parametrize("as_turns", [False, True])
def test_answers_that_begin_with_the_prompt_in_every_row_are_a_problem(columns, as_turns):
    def row(land: str, town: str, repeats: bool) -> dict:
        prompt = f"What is the capital of {land}?"
        answers = {c: (f"{prompt} " if repeats else "") + f"{town} ({c})" for c in columns}
        if not as_turns:
            return {"prompt": prompt, **answers}
        asked = [{"role": "user", "content": prompt}]
        turns = {c: asked * repeats + [{"role": "assistant", "content": text}] for c, text in answers.items()}
        return {"prompt": asked, **turns}

    assert kinds([row(*pair, True) for pair in LANDS]) == {"prompt repeated"}
    assert "prompt repeated" not in kinds([row(*pair, number < 2) for number, pair in enumerate(LANDS)])


def test_labels_in_a_csv_may_be_written_as_numbers(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,label\na,b,1\na,c,0\nd,e,TRUE\n")
    assert [row["label"] for row in formats.load(path)] == [True, False, True]
