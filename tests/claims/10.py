"""What lesson 10 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import HAS_TRL, asked, board, ends, logs, memory, report, some, talks


def test_the_file_has_no_bad_row():
    assert len(report.good_rows) == len(talks) and not report.bad_rows


def test_two_processes_take_half_the_steps():
    if HAS_TRL:
        assert abs(len(logs[1]) - 2 * len(logs[2])) <= 1


def test_training_lowers_the_loss():
    for log in logs.values():
        assert log.loss.tail(5).mean() < log.loss.head(2).mean()


def test_a_7b_model_fits_with_fsdp_or_lora_and_not_whole():
    assert memory.loc["7B", "full, 1 GPU"] > 80
    assert memory.loc["7B", "full, 8 GPUs (FSDP)"] < 80 and memory.loc["7B", "LoRA, 1 GPU"] < 80
    assert memory.loc["70B", "QLoRA, 1 GPU"] < 80


def test_the_tuned_model_answers_and_stops_where_the_base_does_not():
    for measure in ("answers", "stops by itself"):
        found = board.compare("tuned", "base", measure)
        assert found.difference > 0 and found.more_than_noise, measure


def test_the_end_token_decides_whether_an_answer_ends():
    assert asked(ends, some)[1] >= 0.8 * len(some)
    assert asked([0], some)[1] <= 0.2 * len(some)
