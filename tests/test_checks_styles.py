"""Right answers in another style are right, and answers that never look at their inputs are not."""

import numpy as np
import pytest
import torch

from course_grading.checks import ex08, examine
from course_utils.evaluate.paired import mcnemar, paired_difference

SEEDS = range(4)


def with_numpy(rows, share, seed):
    customers = sorted({row["customer"] for row in rows})
    size = round(share * len(customers))
    held = set(np.random.default_rng(seed).choice(customers, size=size, replace=False))
    return [r for r in rows if r["customer"] not in held], [r for r in rows if r["customer"] in held]


def with_plain_names(rows, share, seed):
    names = sorted({str(row["customer"]) for row in rows})
    order = np.random.RandomState(seed).permutation(len(names))
    held = {names[i] for i in order[: round(share * len(names))]}
    return [r for r in rows if r["customer"] not in held], [r for r in rows if r["customer"] in held]


@pytest.mark.parametrize("split", [with_numpy, with_plain_names])
def test_a_split_drawn_with_numpy_is_a_split(split):
    assert all(examine("split_rows", split, seed).points == 14 for seed in SEEDS)


def test_a_truth_may_be_a_tensors():
    def beyond_luck(*given):
        found = ex08.beyond_luck(*given)
        return {
            key: torch.tensor(value) if isinstance(value, bool) else value for key, value in found.items()
        }

    assert examine("beyond_luck", beyond_luck, 1).points == examine("beyond_luck", ex08.beyond_luck, 1).points


def a_bin_of_its_own(confidence, right, bins):
    """The slip that the task warns of: confidence 1 falls out of the last bin."""
    place, error = (confidence * bins).long(), 0.0
    for number in place.unique():
        inside = place == number
        gap = confidence[inside].double().mean() - right[inside].double().mean()
        error += float(inside.double().mean() * gap.abs())
    return error


def test_a_bin_for_confidence_one_alone_is_noticed():
    assert all(examine("ece", a_bin_of_its_own, seed).points < 18 for seed in range(20))
    assert all(examine("ece", ex08.ece, seed).points == 18 for seed in range(20))


@pytest.mark.parametrize("step", range(20, 110, 10))
def test_no_step_is_the_one_to_keep_in_every_run(step):
    assert any(examine("keep_checkpoint", lambda history: step, seed).points < 18 for seed in SEEDS)


@pytest.mark.parametrize("number", [np.int64, np.int32, torch.tensor])
def test_counts_from_arrays_give_the_p_value_of_plain_counts(number):
    assert mcnemar(number(40), number(60)) == mcnemar(40, 60) == pytest.approx(0.0569, abs=1e-4)
    assert mcnemar(number(300), number(380)) == mcnemar(300, 380)
    counts = (500, 40, 60, 400)
    assert paired_difference(*map(number, counts)) == paired_difference(*counts)
