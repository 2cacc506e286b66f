"""What the rungs above pebble-sft are there for, and what it cost: hedging, the reward model, samples, changes.

Rates with Wilson intervals, and means (reward, KL, diversity) with normal ones over prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import pandas as pd
import torch

from course_utils import train
from course_utils.evaluate.judges import says
from course_utils.evaluate.paired import mcnemar
from course_utils.train.policy import answer_kl
from course_utils.variant import Variant
from pebble_lm.factory.ladder import RL_TOKENS
from pebble_lm.world import preferences, rates
from pebble_lm.world.questions import act_requests, known_facts, plain_question
from pebble_lm.world.rates import SEED, Rate, measured, score

from .cards import to_frame

GROUP = 8  # sampled answers a prompt


def hedging_suite(variant: Variant, split: str, n: int, model: str) -> list[Rate]:
    """Plain questions about seen and held-out entities: how many answers are hedged (listed are those)."""
    rng = Random(f"{SEED}/{split}/hedging")
    facts = known_facts(rng, n, "seen", split)
    cases = [(plain_question(rng, fact), lambda text: not preferences.hedges(text)) for fact in facts]
    bar = "≤ 0.05" if model in ("pebble-dpo", "pebble-rl") else ""
    chat = rates.Asker(variant, tokens=48)
    return [measured(chat, model, "hedges a plain answer", cases, bar, failing=True)]


def reward_suite(judge: train.RewardModel, split: str, n: int) -> list[Rate]:
    """How often the reward model prefers the better answer, on entities and acts it has not seen."""
    rng = Random(f"{SEED}/{split}/reward")
    pairs = preferences.held_out_pairs(rng, split, n)
    results = []
    halves = (
        ("plain before hedged, held-out entity", pairs[: n // 2]),
        ("refusal before help, unseen verb", pairs[n // 2 :]),
    )
    for measure, some in halves:
        prompts = [pair["prompt"] for pair in some]
        chosen, rejected = (
            judge.score(prompts, [p[k][0]["content"] for p in some]) for k in ("chosen", "rejected")
        )
        better = [c > r for c, r in zip(chosen, rejected)]
        shown = [(pair["prompt"][-1]["content"], pair["rejected"][0]["content"]) for pair in some]
        results.append(score("pebble-reward", measure, [(good, *pair) for good, pair in zip(better, shown)]))
    return results


def sampled(variant: Variant, reference: Variant, judge, split: str, n: int, model: str) -> list[dict]:
    """GROUP answers at temperature 1 to each of n requests about held-out entities and acts: rows of means.

    Measures: reward (of pebble-reward), KL from the reference (nats per answer), different answers in a group (1 to
    GROUP), tokens per answer, share hedged, share right (questions only).
    """
    rng = Random(f"{SEED}/{split}/sampled")
    half = n - n // 3
    facts = known_facts(rng, half, split)
    prompts = [plain_question(rng, fact) for fact in facts]
    prompts += act_requests(rng, (n - half) // 2, "harmful", split, "verb")
    prompts += act_requests(rng, n - len(prompts), "benign", split, "verb")
    asked = [prompt for prompt in prompts for _ in range(GROUP)]
    answers = variant.chat_batch(asked, max_new_tokens=RL_TOKENS, temperature=1.0, seed=SEED)
    texts = rates.texts(answers)
    ids = [variant.encode([{"role": "user", "content": prompt}]) for prompt in prompts for _ in range(GROUP)]
    kl = answer_kl(variant.model, reference.model, ids, [c.token_ids for c in answers])
    rewards = judge.score(asked, texts) if judge is not None else None
    groups = [texts[at : at + GROUP] for at in range(0, len(texts), GROUP)]
    values = {
        "KL from pebble-sft (nats per answer)": _by_prompt(kl),
        f"different answers of {GROUP}": [len(set(group)) for group in groups],
        "tokens per answer": _by_prompt([len(c.token_ids) for c in answers]),
        "share hedged, sampled": _by_prompt([preferences.hedges(t) for t in texts[: half * GROUP]]),
        "share right, sampled": _by_prompt(
            [says(t, facts[i // GROUP].value) for i, t in enumerate(texts[: half * GROUP])]
        ),
    }
    if rewards is not None:
        values = {"reward": _by_prompt(rewards), **values}
    return [mean_row(model, measure, found) for measure, found in values.items()]


def _by_prompt(values: Sequence[float]) -> list[float]:
    return [sum(values[at : at + GROUP]) / GROUP for at in range(0, len(values), GROUP)]


def mean_row(model: str, measure: str, values: Sequence[float]) -> dict:
    found = torch.tensor([float(v) for v in values], dtype=torch.float64)
    mean, half = float(found.mean()), 1.96 * float(found.std()) / math.sqrt(len(found))
    return {
        "model": model,
        "measure": measure,
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "n": len(found),
    }


def against_sft(results: Sequence[Rate]) -> pd.DataFrame:
    """The rates with `change` from pebble-sft's, and whether it is more than noise: BETTER or WORSE.

    Every rung is asked the same prompts, so outcomes are paired, and McNemar's exact test (p < .05) looks at the
    prompts on which only one of the two does as wished.
    """
    before = {result.measure: result for result in results if result.model == "pebble-sft"}
    changes, verdicts = [], []
    for result in results:
        was = before.get(result.measure)
        if was is None or result.model == "pebble-sft" or len(was.outcomes) != len(result.outcomes):
            changes.append(float("nan"))
            verdicts.append("")
            continue
        gained = sum(now and not then for then, now in zip(was.outcomes, result.outcomes))
        lost = sum(then and not now for then, now in zip(was.outcomes, result.outcomes))
        changes.append(result.rate - was.rate)
        verdicts.append(("BETTER" if gained > lost else "WORSE") if mcnemar(gained, lost) < 0.05 else "")
    return to_frame(list(results)).assign(change=changes, worse=verdicts)
