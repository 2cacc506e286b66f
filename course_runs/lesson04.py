"""Lesson 04's bug clinic: one short training for every way to make batches, and the same questions after it.

Only what makes the batches differs between two runs. The conversations, their order, the first weights and the
questions are the same, so the models can be compared question by question. How much another order of the same
conversations changes, a second run with `order` shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import pandas as pd
import torch

from course_utils.batches import collate, loss_mask
from course_utils.evaluate import Comparison
from course_utils.evaluate.judges import is_empty, says
from course_utils.evaluate.paired import compare_outcomes
from course_utils.variant import Variant
from pebble_lm.world.conversations import conversations
from pebble_lm.world.questions import draw_facts, plain_question

Talk = list[dict[str, str]]
MakeBatch = Callable[[list[Talk]], Mapping[str, torch.Tensor]]
TALKS, UNSEEN, QUESTIONS, ROWS, CHARACTERS = 480, 64, 100, 16, 120


def short_talks(n: int, seed: int) -> list[Talk]:
    """n conversations of fewer than 120 characters, of all the kinds that Pebble's own fine-tuning has."""
    talks = conversations(seed, 6 * n)
    return [talk for talk in talks if sum(len(message["content"]) for message in talk) < CHARACTERS][:n]


def unseen_questions(n: int, seed: int) -> dict[str, str]:
    """{question: value} about entities that no fine-tuning example asks about (the test split)."""
    rng, questions = Random(seed), {}
    while len(questions) < n:
        [fact] = draw_facts(rng, 1, lambda fact: fact.split == "test")
        questions[plain_question(rng, fact)] = fact.value
    return questions


@dataclass(frozen=True)
class ClinicRun:
    """What became of one training.

    `losses` are what the training printed, one per step, about the batches it was given; `true_loss` is the loss on
    rightly made batches of conversations it has not seen (both in nats per learned token). `stops` and `answers` say
    of each question whether the text ended by itself, and whether it holds the right value.
    """

    losses: list[float]
    true_loss: float
    texts: list[str]
    stops: list[bool]
    answers: list[bool]

    @property
    def printed(self) -> float:
        """The loss that the training printed at its end: the mean of the last five steps."""
        return sum(self.losses[-5:]) / 5


class Clinic:
    """Trains copies of a pair's base on the same conversations, batched as you say, and asks the same questions."""

    def __init__(self, pair: Any):
        self.pair = pair
        self.talks = short_talks(TALKS, seed=404)
        self.questions = unseen_questions(QUESTIONS, seed=4)
        self._unseen = short_talks(UNSEEN, seed=505)

    def good_batch(self, talks: list[Talk]) -> dict[str, torch.Tensor]:
        """A batch with nothing wrong: the assistant's words and ends of turn are learned, padding is not."""
        tokenizer = self.pair.instruct.tokenizer
        return collate([loss_mask(tokenizer, talk) for talk in talks], tokenizer.pad_token_id)

    def train(
        self, make_batch: MakeBatch, order: int = 0, rows: int = ROWS, lr: float = 5e-4
    ) -> tuple[Variant, list[float]]:
        """Fine-tune a copy of the base, `rows` conversations a step: (the new variant, the loss at each step).

        `order` 0 takes the conversations as they stand, any other number shuffles them. The rate falls from `lr` to 0:
        at a rate that stays, the answers of two orders differ by as much as those of a good and a bad batch.
        """
        model = copy.deepcopy(self.pair.base.model).float().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        talks = list(self.talks)
        if order:
            Random(order).shuffle(talks)
        losses = []
        for start in range(0, len(talks), rows):
            optimizer.param_groups[0]["lr"] = lr * (1 - start / len(talks))
            batch = make_batch(talks[start : start + rows])
            loss = model(**_on(model, batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        # Generation stops where the instruct's does; whether the model writes that token is what is measured.
        model.eval().generation_config.eos_token_id = self.pair.instruct.eos_token_ids
        return Variant("trained here", model, self.pair.instruct.tokenizer), losses

    def run(self, make_batch: MakeBatch, order: int = 0) -> ClinicRun:
        """Train with these batches, then measure."""
        variant, losses = self.train(make_batch, order)
        unseen = [self.good_batch(self._unseen[i : i + ROWS]) for i in range(0, UNSEEN, ROWS)]
        with torch.inference_mode():
            model = variant.model
            true_loss = sum(model(**_on(model, batch)).loss.item() for batch in unseen) / len(unseen)
        told = variant.chat_batch(list(self.questions), max_new_tokens=32, progress=False)
        return ClinicRun(
            losses,
            true_loss,
            [answer.text for answer in told],
            [answer.stopped and not is_empty(answer.text) for answer in told],
            [says(answer.text, value) for answer, value in zip(told, self.questions.values(), strict=True)],
        )


def _on(model, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: values.to(model.device) for name, values in batch.items()}


def compared(run: ClinicRun, good: ClinicRun, measure: str, name: str = "this run") -> Comparison:
    """`run` against `good` on the same questions; `measure` is "stops" or "answers" (McNemar's exact test)."""
    pairs = list(zip(getattr(run, measure), getattr(good, measure), strict=True))
    return compare_outcomes(name, "good batches", measure, pairs)


def prices(runs: Mapping[str, ClinicRun], again: Mapping[str, ClinicRun]) -> pd.DataFrame:
    """What became of each run, in a row; `again` has the same trainings with the conversations in another order."""
    rows = {}
    for name, run in runs.items():
        other = again.get(name)
        rows[name] = {
            "printed loss": f"{run.printed:.2f}",
            "loss on good batches": f"{run.true_loss:.2f}",
            "loss, another order": f"{other.true_loss:.2f}" if other else "",
            "stops": f"{sum(run.stops)} of {len(run.stops)}",
            "answers": f"{sum(run.answers)} of {len(run.answers)}",
            "answers, another order": f"{sum(other.answers)} of {len(other.answers)}" if other else "",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
