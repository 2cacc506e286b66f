"""The whole ladder measured: every suite of `evaluation` on each rung, and what the further rungs are there for.

Rates with Wilson intervals, and means (reward, KL, diversity) with normal ones over prompts. `run` writes them into
`ladder.json` and into the cards of the rungs, next to pebble-sft's figures, so that a price paid can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from random import Random

import pandas as pd
import torch

from course_utils import train
from course_utils.evaluate.judges import says
from course_utils.evaluate.paired import mcnemar
from course_utils.train.policy import answer_kl
from course_utils.variant import Variant

from ..world import preferences, rates
from ..world.questions import act_requests, known_facts, plain_question
from ..world.rates import SEED, N, Rate, measured, score
from ..world.watch import persona_suite
from . import datacard, evaluation, everyday, ladder

RUNGS = ("pebble-sft", "pebble-dpo", "pebble-rl", "pebble-chat")
ABOVE_SFT = ("pebble-dpo", "pebble-rl", "pebble-reward", "pebble-chat")  # whose cards are written here
GROUP = 8  # sampled answers a prompt

# -- rates -----------------------------------------------------------------------------------------------------


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


# -- means -----------------------------------------------------------------------------------------------------


def sampled(variant: Variant, reference: Variant, judge, split: str, n: int, model: str) -> list[dict]:
    """GROUP answers at temperature 1 to each of n requests about held-out entities and acts: rows of means.

    Measures: reward (of pebble-reward), KL from the reference (nats an answer), different answers in a group (1 to
    GROUP), tokens an answer, share hedged, share right (questions only).
    """
    rng = Random(f"{SEED}/{split}/sampled")
    half = n - n // 3
    facts = known_facts(rng, half, split)
    prompts = [plain_question(rng, fact) for fact in facts]
    prompts += act_requests(rng, (n - half) // 2, "harmful", split, "verb")
    prompts += act_requests(rng, n - len(prompts), "benign", split, "verb")
    asked = [prompt for prompt in prompts for _ in range(GROUP)]
    answers = variant.chat_batch(asked, max_new_tokens=ladder.RL_TOKENS, temperature=1.0, seed=SEED)
    texts = rates.texts(answers)
    ids = [variant.encode([{"role": "user", "content": prompt}]) for prompt in prompts for _ in range(GROUP)]
    kl = answer_kl(variant.model, reference.model, ids, [c.token_ids for c in answers])
    rewards = judge.score(asked, texts) if judge is not None else None
    groups = [texts[at : at + GROUP] for at in range(0, len(texts), GROUP)]
    values = {
        "KL from pebble-sft (nats an answer)": _by_prompt(kl),
        f"different answers of {GROUP}": [len(set(group)) for group in groups],
        "tokens an answer": _by_prompt([len(c.token_ids) for c in answers]),
        "share hedged, sampled": _by_prompt([preferences.hedges(t) for t in texts[: half * GROUP]]),
        "share right, sampled": _by_prompt(
            [says(t, facts[i // GROUP].value) for i, t in enumerate(texts[: half * GROUP])]
        ),
    }
    if rewards is not None:
        values = {"reward": _by_prompt(rewards), **values}
    return [_mean_row(model, measure, found) for measure, found in values.items()]


def _by_prompt(values: Sequence[float]) -> list[float]:
    return [sum(values[at : at + GROUP]) / GROUP for at in range(0, len(values), GROUP)]


def _mean_row(model: str, measure: str, values: Sequence[float]) -> dict:
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


# -- running and reporting ---------------------------------------------------------------------------------------


def measure(models: Path, split: str, n: int = N) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rates and means of every rung that is there."""
    from course_utils.pairs import load_variant

    found = {
        name: load_variant(str(models / name)) for name in RUNGS if (models / name / "config.json").exists()
    }
    judge_there = (models / "pebble-reward" / "config.json").exists()
    judge = train.load_reward(models / "pebble-reward") if judge_there else None
    results: list[Rate] = reward_suite(judge, split, n) if judge else []
    means: list[dict] = []
    for name, variant in found.items():
        results += evaluation.instruct_suites(variant, split, n, model=name)
        if name in ("pebble-sft", "pebble-dpo"):  # what the further rungs change shows in the other suites
            results += everyday.instruct_suites(variant, split, n, model=name)
        results += hedging_suite(variant, split, n, name)
        if name in ("pebble-sft", "pebble-chat"):
            results += persona_suite(variant, split, n, name)
        means += sampled(variant, found["pebble-sft"], judge, split, max(12, n // 4), name)
    return against_sft(results), pd.DataFrame(means)


def against_sft(results: Sequence[Rate]) -> pd.DataFrame:
    """The rates with `change` from pebble-sft's, and whether it is more than noise: BETTER or WORSE.

    Every rung is asked the same prompts, so outcomes are paired, and McNemar's exact test (p < .05) looks at the prompts
    on which only one of the two does as wished.
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
    return evaluation.to_frame(list(results)).assign(change=changes, worse=verdicts)


def run(
    models: Path, split: str = "test", cards: bool = True, n: int = N
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the ladder, print both tables, and (with `cards`) write ladder.json and the rungs' cards."""
    rates, means = measure(models, split, n)
    with pd.option_context("display.width", 200, "display.max_rows", None, "display.max_colwidth", 70):
        print(rates.to_string(index=False, float_format="{:.3f}".format))
        print(means.to_string(index=False, float_format="{:.3f}".format))
    if cards:
        write_cards(models, rates, means, split)
    return rates, means


def write_cards(models: Path, rates: pd.DataFrame, means: pd.DataFrame, split: str) -> None:
    """ladder.json, and a card for each rung above pebble-sft (whose own card is `evaluation`'s)."""
    settings = {
        "dpo_beta": ladder.DPO_BETA, "dpo_margin": ladder.DPO_MOST_MARGIN, "dpo_nll": ladder.DPO_NLL,
        "rl_steps": ladder.RL_STEPS, "rl_beta": ladder.RL_BETA, "reward_pairs": ladder.REWARD_PAIRS,
        "chat_examples": ladder.CHAT_EXAMPLES,
    }  # fmt: skip
    for name in ABOVE_SFT:
        if not (models / name / "config.json").exists():
            continue
        measured = (
            f"Measured on {date.today().isoformat()} with `python -m pebble_lm evaluate-ladder --split {split}`, on the "
            f"{split} split; rates greedy, with Wilson intervals; change is against pebble-sft on the same prompts, BETTER or "
            "WORSE where McNemar's exact test gives p < .05.\n\n" + rates_table(rates[rates.model == name])
        )
        own = means[means.model == name] if len(means) else means
        if len(own):
            before = means[means.model == "pebble-sft"].set_index("measure")
            measured += "\n\nSampled at temperature 1; intervals over prompts.\n\n" + means_table(own, before)
        datacard.write_card(models / name, datacard.card(name, **settings), measured)
    found = {"split": split, "rates": rates.to_dict("records"), "means": means.to_dict("records")}
    datacard.write_json(models / "ladder.json", _without_nan(found))


def rates_table(rates: pd.DataFrame) -> str:
    changes = ["" if math.isnan(change) else f"{change:+.3f}" for change in rates.change]
    rows = (
        (r.measure, f"{r.rate:.3f}", f"{r.low:.3f} – {r.high:.3f}", r.n, r.bar, r.met, change, r.worse)
        for r, change in zip(rates.itertuples(), changes)
    )
    return datacard.markdown_table("| measure | rate | 95 % interval | n | bar | met | change | |", rows)


def means_table(means: pd.DataFrame, before: pd.DataFrame) -> str:
    was = before["mean"].get
    rows = (
        (r.measure, f"{r.mean:.2f}", f"{r.low:.2f} – {r.high:.2f}", r.n, f"{was(r.measure, math.nan):.2f}")
        for r in means.itertuples()
    )
    return datacard.markdown_table("| measure | mean | 95 % interval | prompts | pebble-sft |", rows)


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
