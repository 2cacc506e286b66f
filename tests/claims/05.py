"""What lesson 05 tells its reader to see. Runs in its kernel after the last cell: `__main__` is the lesson."""

from __main__ import (
    apart,
    before,
    by_heart,
    counted,
    curve,
    denied,
    examples,
    few,
    first_loss,
    five,
    four,
    full,
    half,
    labels,
    lasts,
    longer_apart,
    lora,
    losses,
    much,
    own,
    prompts,
    tokenizer,
    wrong,
)
from course_runs import lesson05


def at(frame, measure):
    return frame.set_index("measure").loc[measure]


def run_of(frame, name, column="run"):
    return frame[frame[column] == name]


def better(measure, worse, than):
    """More than chance on the same prompts."""
    found = lesson05.compare(measure, a=worse, b=than)
    return found.more_than_noise and found.only_b > found.only_a


def test_train_sft_begins_with_the_loss_of_the_loop_in_the_open():
    assert abs(first_loss - losses[0]) < 1e-3


def test_five_examples_are_learned_by_heart():
    assert losses[-1] < 0.1 * losses[0]
    assert by_heart.chat(five[0][0]["content"]).text == five[0][1]["content"]


def test_the_live_run_is_the_recorded_one_of_three_thousand_examples():
    assert len(examples) == 3_000 and lesson05.run_named("3000 examples").settings == {
        "epochs": 1, "batch_size": 10, "lr": 5e-4,
    }  # fmt: skip
    recorded = run_of(few, "3000 examples")
    pairs = [(a, b) for m in recorded.measure for a, b in zip(at(full, m).outcomes, at(recorded, m).outcomes)]
    assert sum(a == b for a, b in pairs) > 0.9 * len(pairs)


def test_the_learner_talks_about_what_no_example_holds():
    said = {message["content"].lower() for talk in examples for message in talk}
    assert not said & {prompt.lower() for prompt in prompts}


def test_a_minute_makes_an_assistant():
    for measure in ("answers", "never asked", "talk", "JSON", "refuses", "stops"):
        assert better(measure, before, full), measure
    assert at(full, "stops").low > 0.9 and at(full, "answers").rate > 0.75
    assert at(full, "over-refuses").high < at(full, "refuses").low
    assert better("keeps asking", full, before)


def test_the_role_comes_before_the_distinctions():
    assert half["stops"] <= half["refuses"]
    assert len(counted) == curve.step.nunique()


def test_few_examples_give_the_form_and_not_the_distinctions():
    fewest, most = run_of(few, "30 examples"), run_of(few, "3000 examples")
    assert at(fewest, "stops").low > at(before, "stops").high
    assert better("JSON", before, fewest) and better("answers", before, fewest)
    assert better("refuses", before, fewest) and better("over-refuses", most, fewest), (
        "refused without distinction"
    )
    assert apart.loc[3_000] > apart.loc[30] + 15
    assert longer_apart.loc[30] < (apart.loc[30] + apart.loc[3_000]) / 2, "more of the same brings little"
    assert at(most, "over-refuses").high < at(most, "refuses").low


def test_the_high_rate_ruins_statements_with_replay_and_without():
    low, high = (f"lr {rate:g}" for rate in (lesson05.MODERATE, lesson05.HIGH))
    ruined, replayed = (run_of(four, f"{high}, {how} replay", "column") for how in ("no", "with"))
    gentle = run_of(four, f"{low}, no replay", "column")
    assert better("statements", ruined, before) and at(gentle, "statements").rate > 0.5
    for run in (ruined, replayed):
        assert better("statements", run, gentle), "the rate decides"
        assert at(run, "statements").high < 0.5


def test_much_of_what_is_not_written_is_still_there():
    assert own.low["picks the value"] > max(1 / lesson05.OPTIONS, own.rate["statements"])


def test_without_replay_the_base_loses_its_way_with_bare_text():
    for rate in (lesson05.MODERATE, lesson05.HIGH):
        lost, kept = (run_of(four, f"lr {rate:g}, {how} replay", "column") for how in ("no", "with"))
        assert better("bare text: keeps asking", lost, kept)


def test_the_labels_in_the_notebook_are_those_of_the_runs():
    for name, learned in labels.items():
        assert lesson05.learned_rows(tokenizer, five[:1], name)[0]["labels"] == learned


def test_what_carries_no_loss_is_not_written_no_turn_is_ended():
    assert lasts.count(tokenizer.eos_token_id) < 0.1 * len(lasts)


def test_adapters_alone_do_not_learn_to_stop_and_embeddings_mend_it():
    alone, embeddings = run_of(lora, "rank 8"), run_of(lora, "rank 8 and the embeddings")
    assert better("stops", alone, embeddings)


def test_many_examples_bring_small_talk_and_refusals():
    assert better("talk", full, much) and better("refuses", full, much)


def test_most_wrong_answers_of_pebble_sft_deny_to_know():
    assert len(denied) > len(wrong) / 2
