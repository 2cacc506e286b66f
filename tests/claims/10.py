"""What lesson 10 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from dataclasses import fields

from __main__ import (
    HAS_TRL,
    asked,
    board,
    dpo,
    ends,
    hours,
    logs,
    memory,
    own,
    rate,
    report,
    sft,
    some,
    talks,
)
from course_runs import lesson10


def test_no_row_of_the_file_is_broken_and_hardly_one_stands_there_twice():
    assert set(report.problems["problem"]) <= {"duplicate row"}
    assert len(report.bad_rows) <= 1 and len(report.good_rows) + len(report.bad_rows) == len(talks)


def test_every_line_of_the_recipes_is_an_option_of_trls():
    if HAS_TRL:
        from trl import DPOConfig, ModelConfig, SFTConfig
        from trl.scripts.utils import DatasetMixtureConfig, ScriptArguments

        for recipe, config in ((sft, SFTConfig), (own, SFTConfig), (dpo, DPOConfig)):
            known = {
                f.name
                for c in (config, ModelConfig, DatasetMixtureConfig, ScriptArguments)
                for f in fields(c)
            }
            assert set(recipe) | set(lesson10.HERE) <= known, config


def test_two_processes_take_half_the_steps():
    if HAS_TRL:
        assert logs[1].step.max() * 8 == logs[2].step.max() * 16 == len(talks)


def test_larger_steps_do_no_harm_here():
    if HAS_TRL:
        assert logs[2].loss.iloc[-1] < logs[1].loss.tail(2).mean() + 0.3


def test_training_lowers_the_loss():
    for log in logs.values():
        assert log.loss.iloc[-1] < log.loss.iloc[0]


def test_a_7b_model_fits_with_fsdp_or_lora_and_not_whole():
    assert memory.loc["7B", "full, 1 GPU"] > 80
    assert memory.loc["7B", "full, 8 GPUs (FSDP)"] < 80 and memory.loc["7B", "LoRA, 1 GPU"] < 24
    assert memory.loc["70B", "QLoRA, 1 GPU"] < 80


def test_a_7b_model_takes_hours_and_not_weeks():
    assert 1 < hours["7B"] < 12


def test_the_tuned_model_answers_and_stops_where_the_base_does_not():
    for measure in ("answers", "stops by itself"):
        found = board.compare("tuned", "base", measure)
        assert found.difference > 0 and found.more_than_noise, measure


def test_few_conversations_settle_the_form_and_neither_the_content_nor_whom_to_refuse():
    if HAS_TRL:
        assert rate["stops by itself"] > 0.9 and rate["keeps asking"] < 0.1
        assert 0.2 < rate["answers"] < 0.8 and rate["over-refuses"] > 0.3


def test_the_chosen_answers_come_to_be_preferred():
    if HAS_TRL:
        from __main__ import accuracy

        assert accuracy.iloc[-1] > 0.75 and accuracy.iloc[-1] > accuracy.iloc[0]


def test_the_end_token_decides_whether_an_answer_ends_with_its_turn():
    assert asked(ends, some)[1] >= 0.8 * len(some)
    assert asked([0], some)[1] <= 0.2 * len(some)
