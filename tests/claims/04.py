"""What lesson 04 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    again,
    alone,
    batches,
    clinic,
    counted,
    dropped,
    encode_by_hand,
    falling,
    formats,
    good,
    headers,
    learned_by,
    loss,
    lost,
    more,
    packed,
    pair,
    report,
    runs,
    seam,
    search_row,
    size,
    stated,
    talk,
    tokenizer,
    turns,
    unstated,
)
from course_runs.lesson04 import compared
from course_utils import audit_batch

GOOD = runs["good batches"]
RUIN = ("pad is eos", "labels shifted twice")
CHEAP = ("headers in the loss", "every second row empty")
QUESTIONS = len(clinic.questions)


def test_neither_loss_of_the_first_two_trainings_looks_ill():
    for name in ("good batches", "pad is eos"):
        assert runs[name].printed < runs[name].losses[0] - 0.1
    assert runs["pad is eos"].printed < GOOD.printed + 0.3


def test_the_first_model_stops_and_the_second_runs_on_at_the_question_shown():
    assert GOOD.stops[0]
    assert not runs["pad is eos"].stops[0]


def test_the_mask_by_hand_is_the_librarys():
    ids, mask = encode_by_hand(talk)
    asked = {"return_dict": True, "return_assistant_tokens_mask": True}
    encoded = tokenizer.apply_chat_template(talk, **asked)
    assert encoded["input_ids"] == ids
    assert encoded["assistant_masks"] == mask


def test_the_answer_and_its_end_are_learned_and_no_header():
    ids, mask = encode_by_hand(talk)
    learned = [token for token, keep in zip(ids, mask, strict=True) if keep]
    assert tokenizer.decode(learned) == "Paris.<|im_end|>"
    assert learned[-1] == tokenizer.eos_token_id


def test_all_learns_the_most_last_the_fewest_and_completion_one_token_more():
    assert max(learned_by, key=learned_by.get) == "all"
    assert min(learned_by, key=learned_by.get) == "last"
    assert learned_by["completion"] == learned_by["last"] + 1
    assert len(more) == 4


def test_a_good_batch_teaches_to_stop_and_to_answer():
    assert sum(GOOD.stops) > 0.7 * QUESTIONS
    assert sum(GOOD.answers) > 0.4 * QUESTIONS


def test_without_the_end_of_turn_in_the_loss_the_model_does_not_stop():
    assert sum(runs["pad is eos"].stops) < 0.25 * QUESTIONS


def test_without_the_end_of_turn_in_the_loss_the_model_answers_as_usual():
    paired = compared(runs["pad is eos"], GOOD, "answers")
    assert paired.difference > -0.2


def test_labels_shifted_twice_cost_the_answers_and_their_own_loss_falls():
    run = runs["labels shifted twice"]
    assert compared(run, GOOD, "answers").more_than_noise
    assert sum(run.answers) < 0.4 * sum(GOOD.answers)
    assert run.true_loss > GOOD.true_loss + 0.5
    assert run.printed < 0.6 * run.losses[0]


def test_two_bugs_ruin_a_model_and_two_do_not():
    for name, measure in zip(RUIN, ("stops", "answers"), strict=True):
        assert sum(getattr(runs[name], measure)) < 0.4 * sum(getattr(GOOD, measure)), name
    answers = {name: sum(runs[name].answers) + sum(again[name].answers) for name in again}
    for name in CHEAP:
        assert min(sum(run.stops) for run in (runs[name], again[name])) > 0.8 * QUESTIONS, name
        assert answers[name] > 0.7 * answers["good batches"], name


def test_empty_rows_show_in_the_loss_on_good_batches():
    assert runs["every second row empty"].true_loss > GOOD.true_loss + 0.03
    assert again["every second row empty"].true_loss > again["good batches"].true_loss + 0.03


def test_the_lowest_printed_loss_belongs_to_a_batch_with_a_bug():
    lowest = min(runs, key=lambda name: runs[name].printed)
    assert lowest in ("pad is eos", "headers in the loss") and runs[lowest].printed < GOOD.printed - 0.03
    assert counted[headers] > 1.1 * counted[good]


def test_the_search_for_a_word_begins_inside_the_system_message():
    row = search_row([{"role": "system", "content": "You are a helpful assistant."}, *talk])
    read = tokenizer.decode([token for token, m in zip(row["input_ids"], row["mask"], strict=True) if not m])
    assert "helpful" in read and "capital" not in read
    assert "What is the capital of France?" in tokenizer.decode(
        [token for token, m in zip(row["input_ids"], row["mask"], strict=True) if m]
    )
    assert counted[headers] > 1.1 * counted[good]


def test_an_empty_batch_gives_no_loss_and_no_gradient():
    assert size == 0
    assert loss.item() != loss.item()


def test_the_printed_loss_falls_in_every_run():
    assert falling == len(runs) == 5


def test_the_audit_names_each_bug_and_nothing_else():
    assert {
        name: set(audit_batch(make(clinic.talks[:16]), used)["bug"]) for name, (make, used) in batches.items()
    } == {
        "good batches": set(),
        "pad is eos": {"pad is eos"},
        "shifted": {"labels shifted"},
        "headers": {"headers in the loss"},
        "half_empty": {"empty mask"},
    }


def test_cutting_at_the_median_length_takes_ends_first_then_answers():
    assert lost["end_lost"].sum() > lost["nothing_left"].sum() > 0


def test_packed_conversations_are_apart_only_where_boundaries_are_stated():
    assert packed["position_ids"][seam] == 0 and packed["labels"][seam] == -100
    assert float((stated - alone).abs().max()) < 1e-3
    assert float((unstated - alone).abs().max()) > 0.1


def test_sharegpt_becomes_messages_and_comes_back_the_same():
    assert formats.convert(turns, "sharegpt") == formats.sample("sharegpt")
    assert len(dropped) > 0


def test_messages_do_not_fit_into_strings():
    try:
        formats.convert(formats.sample("messages"), "prompt-completion")
    except formats.LossyConversion:
        return
    raise AssertionError("nothing was lost")


def test_the_broken_file_has_many_kinds_of_problem_a_special_token_in_a_text_among_them():
    assert report.problems["problem"].nunique() >= 5
    assert {"special token in text", "mojibake"} <= set(report.problems["problem"])


def test_the_pairs_own_template_has_marks():
    assert "generation" in pair.instruct.tokenizer.chat_template
