"""Lesson 04's bug clinic: one short training for every way to make batches, and the same questions after it.

Only what makes the batches differs between two runs. The conversations, their order, the first weights and the
questions are the same, so what differs afterwards is the batches' doing, and can be compared question by question.
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

    def train(self, make_batch: MakeBatch, rows: int = ROWS, lr: float = 5e-4) -> tuple[Variant, list[float]]:
        """Fine-tune a copy of the base, `rows` conversations a step: (the new variant, the loss at each step)."""
        model = copy.deepcopy(self.pair.base.model).float().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        losses = []
        for start in range(0, len(self.talks), rows):
            batch = make_batch(self.talks[start : start + rows])
            loss = model(**batch).loss  # the model moves the labels itself
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        # Generation stops where the instruct's does; whether the model writes that token is what is measured.
        model.eval().generation_config.eos_token_id = self.pair.instruct.eos_token_ids
        return Variant("trained here", model, self.pair.instruct.tokenizer), losses

    def run(self, make_batch: MakeBatch) -> ClinicRun:
        """Train with these batches, then measure."""
        variant, losses = self.train(make_batch)
        unseen = [self.good_batch(self._unseen[i : i + ROWS]) for i in range(0, UNSEEN, ROWS)]
        with torch.inference_mode():
            true_loss = sum(variant.model(**batch).loss.item() for batch in unseen) / len(unseen)
        told = variant.chat_batch(list(self.questions), max_new_tokens=32, progress=False)
        return ClinicRun(
            losses,
            true_loss,
            [answer.text for answer in told],
            [answer.stopped and not is_empty(answer.text) for answer in told],
            [says(answer.text, value) for answer, value in zip(told, self.questions.values(), strict=True)],
        )


def compared(run: ClinicRun, good: ClinicRun, measure: str, name: str = "this run") -> Comparison:
    """`run` against `good` on the same questions; `measure` is "stops" or "answers" (McNemar's exact test)."""
    pairs = list(zip(getattr(run, measure), getattr(good, measure), strict=True))
    return compare_outcomes(name, "good batches", measure, pairs)


def prices(runs: Mapping[str, ClinicRun], good: ClinicRun) -> pd.DataFrame:
    """What each run cost beside the run `good`: a row per run, counts with a verdict in words."""
    return pd.DataFrame.from_dict(
        {
            name: {
                "printed loss": round(run.printed, 2),
                "loss on good batches": round(run.true_loss, 2),
                **{measure: _counted(run, good, measure) for measure in ("stops", "answers")},
            }
            for name, run in runs.items()
        },
        orient="index",
    )


def _counted(run: ClinicRun, good: ClinicRun, measure: str) -> str:
    paired = compared(run, good, measure)
    counted = f"{sum(getattr(run, measure))} of {paired.n}"
    if run is good:
        return counted
    if not paired.more_than_noise:
        return f"{counted}, no difference beyond chance"
    p = "p < 0.001" if paired.p_value < 0.001 else f"p = {paired.p_value:.3f}"
    return f"{counted}, {'fewer' if paired.difference < 0 else 'more'} ({p})"
