"""What lesson 08 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    answered,
    asked_of,
    at,
    best,
    cases,
    counts,
    curve,
    documents,
    few,
    gaps,
    guide,
    many,
    new,
    notes,
    passed,
    saved,
    size,
    sorted_out,
    table,
    top,
)
from course_runs import lesson08


def test_both_starting_points_read_the_same_tokens():
    assert (table[table.start.isin(["base", "instruct"])].groupby("examples")["tokens"].nunique() == 1).all()


def test_the_table_is_about_the_weights_that_the_lesson_loads():
    assert lesson08.missing() == []


def test_tuning_on_one_task_costs_the_instruct_other_instructions():
    assert at("instruct", few, "follows").rate < at("instruct", 0, "follows").rate


def test_a_base_tuned_on_one_task_gets_no_assistants_habits_from_it():
    assert at("base", many, "follows").high < at("instruct", 0, "follows").low
    assert at("base", many, "refuses").high < at("instruct", 0, "refuses").low


def test_chats_mixed_in_keep_what_the_task_alone_takes():
    assert at("instruct + chats", many, "follows").low > at("instruct", many, "follows").high


def test_examples_in_the_prompt_are_paid_for_at_every_request():
    assert saved > 0


def test_nobody_has_read_about_the_country_and_the_base_learns_of_it_by_reading():
    assert counts.loc["base", "sheets' towns, asked"] < 0.2 * len(asked_of)
    assert counts.loc["base, read on", "sheets' towns, asked"] > 0.5 * len(asked_of)


def test_no_question_of_the_test_is_in_what_was_read():
    assert not any(question in text for question, _ in new for text in documents)


def test_what_was_only_stated_is_hardly_at_hand_when_asked_for():
    assert all(
        row["other towns, asked"] < row["other towns, a sentence finished"]
        and row["other towns, asked"] < row["sheets' towns, asked"] / 2
        for _, row in counts.loc[["base, read on", "instruct, read on"]].iterrows()
    )


def test_what_was_read_as_a_document_is_hardly_at_hand_in_a_chat():
    assert counts.loc["instruct, read on", "new, in a chat"] < int(answered["instruct, read on"]) / 2


def test_reading_costs_the_instruct_some_of_what_it_was():
    assert (
        counts.loc["instruct, read on", ["old, in a chat", "ends its turn", "refuses what is wrong"]].sum()
        < counts.loc["instruct", ["old, in a chat", "ends its turn", "refuses what is wrong"]].sum()
    )


def test_the_instruct_does_not_label_it_refuses_or_does_as_asked():
    assert sorted_out["instruct, told"].get("right label", 0) < len(cases) / 2


def test_training_makes_both_label():
    assert all(
        sorted_out[f"{start}, tuned on {size}"].filter(like="label").sum() > 0.8 * len(cases)
        for start in ("base", "instruct")
    )


def test_both_fill_most_gaps():
    assert all(sum(found) > len(gaps) / 2 for found in passed.values())


def test_the_base_carries_a_letter_on_the_chat_does_not():
    assert best["base, continues"] > best["instruct, asked in a chat"]


def test_there_is_nothing_to_read_at_layer_0_and_more_than_the_control_at_the_top():
    assert all(
        abs(curve(v, "the task:").loc[0, "rate"] - 0.5) < 0.15
        and curve(v, "the task:").loc[top, "rate"] > curve(v, "the control").loc[top, "rate"]
        for v in ("base", "instruct")
    )


def test_the_guide_holds_every_note():
    assert len(guide) == len(notes) >= 7
