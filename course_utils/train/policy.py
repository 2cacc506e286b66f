"""Reinforcement learning from a reward: sample answers, push up those better than their group, stay near the start."""

from __future__ import annotations

import copy as copying
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..generation import Draft, generate_rows
from ..variant import as_messages
from .loop import Trained, run_loop, variant_to_train
from .predictions import answer_logits, by_prompt, label_logits, packed_length, sum_by_row, target_logprobs
from .preference import score_with
from .rows import (
    Labelled,
    answer_row,
    check_fit,
    cut,
    pad,
    pad_id_of,
    require_template,
    require_whole,
    several,
    with_numbers,
)


def rl(
    variant_or_model, prompts: Sequence, reward, *, tokenizer=None, steps: int = 50, prompts_per_step: int = 8,
    group_size: int = 8, max_new_tokens: int = 48, beta: float = 0.05,
    lr: float | None = None, copy: bool = True, name: str | None = None, seed: int = 0, **options: Any,
) -> Trained:  # fmt: skip
    """Policy gradient with a group baseline and a KL penalty.

    Each step samples `group_size` answers (temperature 1, at most `max_new_tokens` tokens) to each of
    `prompts_per_step` prompts (texts, or conversations that end with the user), and asks `reward`, a RewardModel or
    any callable on (prompt, text) that returns a number. An answer's advantage is its reward less its group's mean (as
    in GRPO: Shao et al. 2024, arXiv 2402.03300), over the standard deviation of these differences in the whole step; a
    group's own would blow up the differences of answers that are all alike. One update is made per sampling,
    so this is plain REINFORCE: no ratio, no clipping. To the loss is added `beta` times the KL divergence from the
    reference (the model at the start) of every sampled position's whole next-token distribution,
    computed exactly. `beta=0` shows what the penalty is for.

    `lr` None is 1e-4 for a model of Pebble's size and 1e-6 for a larger one. The history adds reward (mean), reward_sd
    (within groups), kl (mean nats per answer), length (tokens per answer), finished (share that ended by itself) and
    distinct (share of different answers within a group, from 1/group_size to 1).
    """
    prompts = several(prompts, "prompts")
    _check(prompts, group_size, beta)
    require_whole(steps=steps, prompts_per_step=prompts_per_step, max_new_tokens=max_new_tokens)
    variant = variant_to_train(variant_or_model, tokenizer, copy, name, "rl")
    model = variant.model
    prompt_ids = with_numbers(
        lambda some: [_encode(variant, prompt) for prompt in some], prompts, range(len(prompts)), "Prompt"
    )
    longest = [Labelled(ids + [0] * max_new_tokens, []) for ids in prompt_ids]
    check_fit(longest, model, "With its new tokens, prompt")
    # No gradient is kept for the reference, which saves memory, and no dropout, which would make it waver.
    ref_model = copying.deepcopy(model).eval().requires_grad_(False)

    def roll_out(step: int) -> RollOut:
        # Each step's answers come from the model as that step finds it, so they are made one step at a time.
        rng = random.Random(f"{seed}/prompts/{step}")
        drawn = rng.sample(list(zip(prompts, prompt_ids)), min(prompts_per_step, len(prompts)))
        return _roll_out(variant, drawn, reward, group_size, max_new_tokens, f"{seed}/{step}")

    of_run = {"prompts": prompt_ids, "prompts per step": prompts_per_step, "group size": group_size}
    of_run |= {"beta": beta, "new tokens": max_new_tokens, "starting weights": copy and model}
    # A model that samples its own data drifts easily: the rate is far below that of fine-tuning. It learns without
    # dropout, as it sampled and as the reference measures.
    return run_loop(
        variant, range(steps), roll_out, lambda model, batch: policy_loss(model, ref_model, batch, beta),
        split=_split, label="rl", lr=lr, usual_lr=(1e-4, 1e-6), seed=seed,
        of_run=of_run, dropout=False, **{"schedule": "constant", **options},
    )  # fmt: skip


class RollOut(NamedTuple):
    """Sampled answers and how good they were: a step's, or a part of them.

    `rows` have the answers' tokens as labels, `advantages` is `(rows,)`, `numbers` are what to write down; `of` is
    the number of rows in the whole step.
    """

    rows: list[Labelled]
    advantages: torch.Tensor
    numbers: dict[str, float]
    of: int


def policy_loss(model, ref_model, batch: RollOut, beta: float):
    """REINFORCE with a KL penalty, as a mean over the sampled tokens, and what to write down."""
    # For n sampled tokens: (n, vocab), (n,), (n,).
    logits, targets, of_row = answer_logits(model, batch.rows)
    # The reference only measures; nothing is to move it.
    with torch.no_grad():
        ref_logits, _, _ = answer_logits(ref_model, batch.rows)  # (n, vocab)
    kl = kl_divergence(logits, ref_logits)  # (n,)
    # Every token of an answer gets the answer's advantage: which of them earned the reward, nobody knows.
    gain = batch.advantages.to(model.device)[of_row] * target_logprobs(logits, targets)  # (n,)
    numbers = batch.numbers | {"kl": float(kl.detach().sum()) / batch.of}
    return (beta * kl - gain).mean(), numbers


def _split(batch: RollOut) -> list[tuple[RollOut, float]]:
    """A step's rows in parts (see `rows.cut`), each with its share of the tokens that the loss is a mean over.

    What was written down of the whole step goes with the first part.
    """
    packs, found = by_prompt(batch.rows), []
    # Half as large as in other trainings, for the whole distributions of two models are in memory at once.
    sizes = [2 * packed_length([batch.rows[i] for i in pack]) for pack in packs]
    # A part weighs as much as it has sampled tokens, because the loss is a mean over tokens.
    sampled = [sum(batch.rows[i].learned for i in pack) for pack in packs]
    for packed, share in cut(sizes, sampled):
        some = [i for number in packed for i in packs[number]]
        rows = [batch.rows[i] for i in some]
        found.append((RollOut(rows, batch.advantages[some], {} if found else batch.numbers, batch.of), share))
    return found


def kl_divergence(logits: torch.Tensor, ref_logits: torch.Tensor) -> torch.Tensor:
    """KL(policy‖reference) in nats of next-token distributions, logits `(n, vocab)` → `(n,)`."""
    logprobs, ref = logits.log_softmax(-1), ref_logits.log_softmax(-1)  # (n, vocab) each
    return (logprobs.exp() * (logprobs - ref)).sum(-1)


def answer_kl(
    model, ref_model, prompts: Sequence[list[int]], answers: Sequence[list[int]], batch_size: int = 8
) -> list[float]:
    """KL(model‖reference) in nats of whole answers (token ids) to prompts (token ids), one number an answer.

    The sum over an answer's positions of the divergence of the whole next-token distributions; its mean over
    answers sampled from the model estimates the KL divergence of the two models' answers.
    """
    rows = [answer_row(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    found: list[float] = []
    with torch.inference_mode():
        for at in range(0, len(rows), batch_size):
            some = rows[at : at + batch_size]
            ids, labels = pad(some, model.device)  # (rows, length) each
            # (n, vocab) over all answer positions of the batch; of_row tells which answer each belongs to.
            logits, _, of_row = label_logits(model, ids, labels)
            ref_logits, _, _ = label_logits(ref_model, ids, labels)
            found += sum_by_row(kl_divergence(logits, ref_logits), of_row, len(some)).tolist()
    return found


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Advantages `(prompts, group)` of rewards `(prompts, group)`: less the group's mean, over the step's spread."""
    # (prompts, group): a hard prompt and an easy one now ask the same of the model.
    centred = rewards - rewards.mean(1, keepdim=True)
    # One spread for the whole step; 1e-4 keeps a step of equal rewards from dividing by zero.
    return centred / (centred.square().mean().sqrt() + 1e-4)


def _roll_out(variant, prompts: list, reward, group_size: int, max_new_tokens: int, seed: str) -> RollOut:
    """Sample `group_size` answers to each of the prompts (with their ids), and have them judged."""
    # Each answer has its own seed, so it depends on neither the batch nor its neighbours.
    samples = [
        Draft(ids, random.Random(f"{seed}/{p}/{g}"))
        for p, (_, ids) in enumerate(prompts)
        for g in range(group_size)
    ]
    ids_of = {"eos_token_ids": variant.eos_token_ids, "pad_token_id": pad_id_of(variant.tokenizer)}
    # The loop fills the drafts; there is nothing to look at between its tokens.
    for _ in generate_rows(variant.model, samples, max_new_tokens=max_new_tokens, temperature=1.0, **ids_of):
        pass
    plain = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    texts = [variant.tokenizer.decode(sample.token_ids, **plain) for sample in samples]
    asked = [prompt for prompt, _ in prompts for _ in range(group_size)]
    rewards = torch.tensor(score_with(reward, asked, texts)).view(len(prompts), group_size)
    groups = [texts[at : at + group_size] for at in range(0, len(texts), group_size)]
    rows = [answer_row(sample.prompt_ids, sample.token_ids) for sample in samples]
    numbers = {
        "reward": float(rewards.mean()),
        "reward_sd": float(rewards.std(1).mean()),
        "kl": 0.0,  # the loss knows it
        "length": sum(len(s.token_ids) for s in samples) / len(samples),
        "finished": sum(s.stop_reason == "eos" for s in samples) / len(samples),
        "distinct": sum(len(set(group)) for group in groups) / len(texts),
        "tokens": sum(len(row.ids) for row in rows),
    }
    return RollOut(rows, group_advantages(rewards).flatten(), numbers, len(rows))


def _encode(variant, prompt) -> list[int]:
    if isinstance(prompt, str) and not variant.has_chat_template:
        return variant.encode(prompt)
    require_template(variant.tokenizer, [{"messages": prompt}])
    return variant.encode(as_messages(prompt))


def _check(prompts: list, group_size: int, beta: float) -> None:
    if not prompts:
        raise ValueError("There are no prompts. Give at least one text or conversation to answer.")
    require_whole(group_size=group_size)
    if group_size < 2:
        raise ValueError(
            f"group_size must be 2 or more, got {group_size}: the baseline is the mean of the group."
        )
    if not beta >= 0:
        raise ValueError(f"beta must be 0 or more, got {beta}.")
