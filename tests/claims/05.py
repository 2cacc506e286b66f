"""What lesson 05 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    by_heart,
    completed,
    counted,
    first_loss,
    five,
    full,
    last,
    lasts,
    losses,
    much,
    own,
    parts,
    shipped,
    tokenizer,
)
from course_runs import lesson05


def at(frame, measure):
    return frame.set_index("measure").loc[measure]


point10, point3000 = (shipped[shipped.examples == count] for count in (10, 3_000))


def test_train_sft_begins_with_the_loss_of_the_loop_in_the_open():
    assert abs(first_loss - losses[0]) < 1e-3


def test_five_examples_are_learned_by_heart():
    assert losses[-1] < 0.2 * losses[0]
    assert by_heart.chat(five[0][0]["content"]).text == five[0][1]["content"]


def test_the_live_run_answers_stops_and_no_longer_asks_on():
    assert at(full, "stops").low > at(counted[0], "stops").high
    assert at(full, "stops").low > 0.9
    assert at(full, "answers").low > at(counted[0], "answers").high
    assert at(full, "asks on").high < at(counted[0], "asks on").low


def test_the_shipped_results_are_those_of_the_shipped_base():
    assert set(lesson05.shipped().base) == {lesson05.fingerprint()}


def test_ones_own_point_lies_on_the_shipped_line():
    assert all(
        r.low <= at(point3000, r.measure).high and r.high >= at(point3000, r.measure).low
        for r in full.itertuples()
    )


def test_ten_examples_are_enough_to_stop_and_not_to_answer():
    assert at(point10, "stops").low > 0.9
    assert at(point10, "answers").high < at(point3000, "answers").low


def test_pebble_sft_tells_wrong_from_harmless_and_no_shorter_run_does():
    assert at(much, "over-refuses").high < at(much, "refuses").low
    assert all(at(part, "over-refuses").high > at(part, "refuses").low for part in list(parts.values())[:-1])


def test_high_rates_and_no_replay_cost_what_is_never_asked():
    assert at(own, "never asked").high < at(full, "never asked").low
    assert completed["no replay"][0] < completed["base"][0]


def test_replay_keeps_the_bases_way_with_bare_text_at_a_moderate_rate():
    assert (
        last.loc[("bare text: asks on", f"lr {lesson05.MODERATE:g}, no replay")].high
        < last.loc[("bare text: asks on", f"lr {lesson05.MODERATE:g}, with replay")].low
    )


def test_what_carries_no_loss_is_not_written_no_turn_is_ended():
    assert lasts.count(tokenizer.eos_token_id) < 0.1 * len(lasts)
