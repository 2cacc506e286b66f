"""Learning from preferences: DPO, and a reward model. Both see pairs of answers to the same prompt."""

from __future__ import annotations

import copy as copying
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch.nn import functional as F

from ..batches.masks import end_of_turn
from ..hub import no_weight_bar
from ..options import usable_device
from ..roles import common_prefix
from ..tokens import IGNORED
from ..variant import Variant, as_messages
from .loop import Trained, autocast, choose_precision, model_of, run_loop, variant_to_train
from .predictions import answer_logits, packed_length, sum_by_row, target_logprobs
from .rows import Labelled, check_fit, cut, encode_answers, in_parts, pad, planned_steps, several


class Preference(NamedTuple):
    """Two answers to one prompt, as rows whose labels are the answer's tokens."""

    chosen: Labelled
    rejected: Labelled


class Step(NamedTuple):
    """The pairs of a step or of a part of it, which is that `share` of the step.

    `reference` are the reference's log-probabilities (pairs, 2), or nothing for a reward model; `answered` is the
    number of the chosen answers' tokens in the whole step.
    """

    pairs: list[Preference]
    reference: torch.Tensor | None = None
    answered: int = 0
    share: float = 1.0

    def numbers(self, margin: torch.Tensor) -> dict[str, float]:
        """What to write down of the pairs' margins `(pairs,)`: a part's share of the step's means, and its tokens."""
        accuracy = (margin > 0).float().mean()
        found = {"margin": self.share * margin.mean().item(), "accuracy": self.share * accuracy.item()}
        return found | {"tokens": sum(len(row.ids) for row in self.rows)}

    @property
    def rows(self) -> list[Labelled]:
        """Both answers of all pairs as one batch: first all chosen ones, then all rejected ones."""
        return [pair.chosen for pair in self.pairs] + [pair.rejected for pair in self.pairs]


def _split(step: Step) -> list[tuple[Step, float]]:
    """The step in parts (see `rows.cut`) and the weight of each in the step's mean loss."""
    if step.reference is None:
        # Two rows of their own, padded to one length.
        sizes = [2 * max(len(row.ids) for row in pair) for pair in step.pairs]
    else:
        # The answers of a pair share their prompt.
        sizes = [packed_length(pair) for pair in step.pairs]
    found = []
    for some, share in cut(sizes, [1] * len(sizes)):
        reference = None if step.reference is None else step.reference[some]  # (pairs of the part, 2)
        found.append((Step([step.pairs[i] for i in some], reference, step.answered, share), share))
    return found


def encode_preferences(tokenizer, pairs: Iterable[Mapping]) -> list[Preference]:
    """Turn preference data into pairs of rows.

    Each pair is a dict with `prompt`, `chosen` and `rejected`: texts, or lists of messages; a chat template turns a
    text beside messages into one. Where both answers begin with the prompt (as in UltraFeedback), it is read once.
    A pair's `tools` and `chat_template_kwargs` reach the template. Raises ValueError, with the pair's number, for two
    equal answers and for empty data.
    """
    pairs = several(pairs, "preference pairs")
    if not pairs:
        raise ValueError(
            "There are no preference pairs. Give at least one dict with prompt, chosen and rejected."
        )
    for number, pair in enumerate(pairs):
        if not isinstance(pair, Mapping) or not {"prompt", "chosen", "rejected"} <= pair.keys():
            raise TypeError(
                f"Pair {number} must be a dict with 'prompt', 'chosen' and 'rejected', got {repr(pair)[:70]}."
            )
    own = [{key: pair[key] for key in ("tools", "chat_template_kwargs") if key in pair} for pair in pairs]
    texts = [(prompt, *answers, some) for pair, some in zip(pairs, own) for prompt, *answers in _sides(pair)]
    rows = encode_answers(tokenizer, texts, "Pair", each=2)
    found = [Preference(*both) for both in zip(rows[::2], rows[1::2])]
    for number, both in enumerate(found):
        if both.chosen.ids == both.rejected.ids:
            raise ValueError(
                f"Pair {number} prefers an answer to itself: chosen and rejected are the same tokens."
            )
        if not all(row.learned for row in both):
            raise ValueError(
                f"Pair {number} has an answer without a token. An answer needs at least its end of turn."
            )
    return found


def _sides(pair: Mapping) -> list[tuple[Any, Any]]:
    """(prompt, answer) of both sides; answers that repeat the prompt are cut behind it, as TRL does it."""
    prompt, chosen, rejected = (pair[name] for name in ("prompt", *Preference._fields))
    both = isinstance(chosen, (list, tuple)) and isinstance(rejected, (list, tuple))
    if both and all(isinstance(turn, Mapping) for turn in (*chosen, *rejected)):
        turns = list(chosen[: common_prefix(chosen, rejected)])
        while turns and turns[-1].get("role") == "assistant":
            turns.pop()
        # A text is repeated by the user's turn, and perhaps a system turn before it.
        repeated = turns and turns[0].get("role") != "assistant"
        if not isinstance(prompt, str):
            repeated = turns and isinstance(prompt, (list, tuple)) and list(prompt) == turns[: len(prompt)]
        if repeated:
            return [(turns, chosen[len(turns) :]), (turns, rejected[len(turns) :])]
    return [(prompt, chosen), (prompt, rejected)]


def _prepared(variant: Variant, pairs, seed, epochs, steps, tokens_per_step, batch_size):
    """The encoded pairs, and the pair numbers of every step."""
    encoded = encode_preferences(variant.tokenizer, pairs)
    for side in Preference._fields:
        check_fit([getattr(pair, side) for pair in encoded], variant.model, f"The {side} answer of pair")
    # A pair counts with both its answers, for both are computed.
    lengths = [len(pair.chosen.ids) + len(pair.rejected.ids) for pair in encoded]
    return encoded, planned_steps(lengths, seed, epochs, steps, tokens_per_step, batch_size)


# -- DPO -------------------------------------------------------------------------------------------------------


def dpo(
    variant_or_model, pairs: Iterable[Mapping], *, tokenizer=None, reference=None,
    beta: float = 0.1, nll_weight: float = 0.0, stop_at_margin: float | None = None,
    epochs: float = 1.0, steps: int | None = None, tokens_per_step: int = 4096, batch_size: int | None = None,
    lr: float | None = None, copy: bool = True, name: str | None = None, seed: int = 0, **options: Any,
) -> Trained:  # fmt: skip
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290): no reward model, no sampling.

    `pairs` are dicts with `prompt`, `chosen` and `rejected` (see `encode_preferences`). The loss of a pair is
    -log σ(β · margin) with margin = log π/ref(chosen) - log π/ref(rejected), in nats over the whole answers; the
    reference is the model as it is at the start, unless `reference` (a Variant or model) is given. Its
    log-probabilities are computed once a pair. At step 0 the margin is 0 and the loss ln 2.

    DPO goes on pushing when the preference has long moved, and takes the rest of the model along: a margin of some
    nats is enough. `nll_weight` adds that many times the SFT loss on the chosen answers, which keeps their
    likelihood from falling (Pang et al. 2024, arXiv 2404.19733). `stop_at_margin` ends the training when the mean
    margin of the last eight steps exceeds it. `lr` None is 1e-5 for a model of Pebble's size and 1e-6 for a large one.

    The history adds margin (nats), accuracy (share of pairs with a margin above 0), reward_chosen and
    reward_rejected (β · log π/ref, the implicit rewards: both falling is the beginning of a collapse).
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}.")
    if nll_weight < 0:
        raise ValueError(f"nll_weight must be 0 or more, got {nll_weight}.")
    variant = variant_to_train(variant_or_model, tokenizer, copy, name, "dpo")
    model = variant.model
    encoded, plan = _prepared(variant, pairs, seed, epochs, steps, tokens_per_step, batch_size)
    ref_model = model if reference is None else model_of(reference)
    # Known before the first step, because the reference is computed in the precision of the run as well.
    first, _ = _split(Step([encoded[i] for i in plan[0]]))[0]
    options["precision"] = choose_precision(
        model, lambda: -answer_logprobs(model, first).mean(), options.get("precision", "auto")
    )
    of_reference = _reference_logprobs(ref_model, encoded, plan, options["precision"])
    if stop_at_margin is not None:
        options["stop_when"] = _far_enough(stop_at_margin, options.get("stop_when"))

    def step_of(numbers: list[int]) -> Step:
        some = [encoded[i] for i in numbers]
        answered = sum(label != IGNORED for pair in some for label in pair.chosen.labels)
        return Step(some, torch.stack([of_reference[i] for i in numbers]), answered)  # reference: (pairs, 2)

    of_run = {"pairs": encoded, "order": plan, "beta": beta, "nll weight": nll_weight}
    of_run |= {"reference": None if reference is None else ref_model, "starting weights": copy and model}
    # With dropout (GPT-2 has it) the policy would differ from the reference by chance, and no margin begin at 0.
    return run_loop(
        variant, plan, step_of, lambda model, step: dpo_loss(model, step, beta, nll_weight), split=_split,
        label="dpo", lr=lr, usual_lr=(1e-5, 1e-6), seed=seed, of_run=of_run, dropout=False, **options,
    )  # fmt: skip


def dpo_loss(model, step: Step, beta: float, nll_weight: float):
    """The mean DPO loss of a step's pairs (or of a part of them), and what to write down."""
    own = answer_logprobs(model, step)  # (pairs, 2): chosen, rejected
    # How much more likely than under the reference each answer has become, in nats: the implicit reward over β.
    ratio = own - step.reference.to(model.device)  # (pairs, 2)
    margin = ratio[:, 0] - ratio[:, 1]  # (pairs,): above 0 where the preference is learned
    numbers = step.numbers(margin) | {
        "reward_chosen": step.share * beta * ratio[:, 0].mean().item(),
        "reward_rejected": step.share * beta * ratio[:, 1].mean().item(),
    }
    # Only the difference counts here: both answers may become less likely, as long as the rejected one does so faster.
    loss = -F.logsigmoid(beta * margin).mean()
    if nll_weight:
        # This part holds the chosen answers where they are: plain cross-entropy per token.
        loss = loss - nll_weight * own[:, 0].sum() / (step.answered * step.share)
    return loss, numbers


def _far_enough(margin: float, asked=None):
    """A `stop_when` that ends the training at this margin, or when `asked` (another stop_when) says so."""

    def stop(history: pd.DataFrame) -> str:
        recent = history["margin"].tail(8).mean()  # of one step alone it is too noisy
        if recent >= margin:
            return f"stopped at a margin of {recent:.1f} nats"
        return asked(history) if asked else ""

    return stop


def answer_logprobs(model, step: Step) -> torch.Tensor:
    """Log-probabilities (nats) of the whole answers, `(pairs, 2)`: chosen, rejected."""
    # Both answers of all pairs go through the model as one batch, each pair's prompt once.
    logits, targets, of_row = answer_logits(model, step.rows)
    # (2 · pairs,) sums over each answer's tokens, folded into (pairs, 2).
    return sum_by_row(target_logprobs(logits, targets), of_row, 2 * len(step.pairs)).view(2, -1).T


@torch.no_grad()
def _reference_logprobs(model, encoded: list[Preference], plan, precision: str) -> dict[int, torch.Tensor]:
    """The reference's `answer_logprobs` of every pair that will be used, batched as the pairs are first met."""
    found: dict[int, torch.Tensor] = {}
    for numbers in plan:
        # The reference never changes, so its answer is computed once per pair, however many epochs follow.
        new = [i for i in numbers if i not in found]
        parts = [list(range(len(new)))] if new else []
        # In the parts of the training, so that the first margins are exactly 0.
        if model.device.type == "cpu":
            parts = in_parts([packed_length(encoded[i]) for i in new])
        for part in ([new[i] for i in some] for some in parts):
            with autocast(model, precision):
                found |= zip(part, answer_logprobs(model, Step([encoded[i] for i in part])).cpu())
    return found


# -- a reward model --------------------------------------------------------------------------------------------


class RewardModel:
    """A language model whose output matrix is replaced by one direction: it reads a conversation and says a number.

    `model` is a sequence classifier of transformers with a single label, so `save_pretrained` and
    `AutoModelForSequenceClassification` work on it. Only differences of rewards mean anything.
    """

    def __init__(self, name: str, model, tokenizer):
        self.name, self.model, self.tokenizer = name, model, tokenizer

    def __repr__(self) -> str:
        return f"RewardModel {self.name!r} on {self.model.device}"

    def __call__(self, prompt, text: str) -> float:
        """The reward of one answer."""
        return self.score([prompt], [text])[0]

    def score(self, prompts: Sequence, texts: Sequence[str], batch_size: int = 64) -> list[float]:
        """The rewards of answers to prompts (texts or conversations), in order."""
        prompts, texts = several(prompts, "prompts"), several(texts, "answers")
        pairs = [(as_messages(prompt), text) for prompt, text in zip(prompts, texts, strict=True)]
        return self.score_rows(encode_answers(self.tokenizer, pairs, "Answer"), batch_size)

    def score_rows(self, rows: Sequence[Labelled], batch_size: int = 64) -> list[float]:
        """The rewards of encoded conversations, in order."""
        check_fit(rows, self.model, "Answer")
        # Similar lengths together: less padding to compute.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
        rewards: dict[int, float] = {}
        with torch.inference_mode():
            for at in range(0, len(order), batch_size):
                some = order[at : at + batch_size]
                rewards |= zip(some, rewards_of(self.model, [rows[i] for i in some]).tolist())
        return [rewards[i] for i in range(len(rows))]


def reward(
    variant_or_model, pairs: Iterable[Mapping], *, tokenizer=None,
    epochs: float = 1.0, steps: int | None = None, tokens_per_step: int = 4096, batch_size: int | None = None,
    lr: float | None = None, name: str | None = None, seed: int = 0, **options: Any,
) -> Trained:  # fmt: skip
    """Train a reward model on preferences (Bradley-Terry: -log σ(reward of chosen - reward of rejected)).

    It begins as the given language model with a head of zeros, so the first loss is ln 2. The given model is never
    changed. `pairs` are those of `dpo`. Returns `Trained`, whose `variant` is a `RewardModel`; the history adds
    accuracy (share of pairs in which the chosen answer has the higher reward) and margin (their mean difference).
    `evaluate` gets the RewardModel. Source: Ouyang et al. 2022, arXiv 2203.02155.
    """
    if options.get("replay") is not None:
        raise ValueError("A reward model predicts no tokens, so it cannot replay pretraining texts.")
    start = variant_to_train(variant_or_model, tokenizer, True, name, "reward")
    encoded, plan = _prepared(start, pairs, seed, epochs, steps, tokens_per_step, batch_size)
    judge = RewardModel(start.name, _classifier(start.model, _own_pad(start.tokenizer)), start.tokenizer)
    return run_loop(
        judge, plan, lambda numbers: Step([encoded[i] for i in numbers]), reward_loss, split=_split,
        label="reward", lr=lr, usual_lr=(2e-4, 1e-5), seed=seed,
        of_run={"pairs": encoded, "order": plan, "starting weights": judge.model}, **options,
    )  # fmt: skip


def reward_loss(model, step: Step):
    """The mean Bradley-Terry loss of a step's pairs (or of a part of them), and what to write down."""
    chosen, rejected = rewards_of(model, step.rows).view(2, -1)  # (pairs,) each
    # Only the difference is judged, so a reward has no zero and no unit of its own.
    margin = chosen - rejected  # (pairs,)
    return -F.logsigmoid(margin).mean(), step.numbers(margin)


def load_reward(folder: str | Path, device: str = "cpu") -> RewardModel:
    """Load a reward model saved with `model.save_pretrained` and `tokenizer.save_pretrained`."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder} holds no config.json. Give the folder of a saved reward model.")
    with no_weight_bar():
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    return RewardModel(
        folder.name, model.to(usable_device(device)).eval(), AutoTokenizer.from_pretrained(folder)
    )


def preference_accuracy(judge: RewardModel, pairs: Sequence[Mapping]) -> float:
    """The share of pairs (as in `dpo`) whose chosen answer gets the higher reward."""
    encoded = encode_preferences(judge.tokenizer, pairs)
    rows = [row for pair in encoded for row in pair]
    rewards = judge.score_rows(rows)
    return sum(c > r for c, r in zip(rewards[::2], rewards[1::2])) / len(encoded)


def rewards_of(model, rows: Sequence[Labelled]) -> torch.Tensor:
    """Rewards `(rows,)`, float32, read at each row's last token."""
    ids, _ = pad(rows, model.device)  # (rows, length)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # (rows, length, width)
    # The last token has read the whole answer, its end of turn included; padding stands behind it.
    last = torch.tensor([len(row.ids) - 1 for row in rows], device=hidden.device)
    read = hidden[torch.arange(len(rows), device=hidden.device), last]  # (rows, width)
    return model.score(read).float()[:, 0]


def _own_pad(tokenizer) -> int | None:
    """The id that a tokenizer pads with and ends no answer with, or None.

    The library's classifier reads the last token that is no padding: were an answer's end of turn padding, it would
    read the one before.
    """
    ends = tokenizer.eos_token_id, end_of_turn(tokenizer, {})
    return None if tokenizer.pad_token_id in ends else tokenizer.pad_token_id


def _classifier(model, pad_id: int | None):
    """The causal model's body under a single-label classification head of zeros."""
    from transformers import AutoModelForSequenceClassification

    config = copying.deepcopy(model.config)
    config.num_labels, config.pad_token_id = 1, pad_id
    try:
        classifier = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise ValueError(
            f"transformers has no sequence classifier for {type(model).__name__}, which a reward model is made of."
        ) from error
    # Everything but the output matrix is taken over: what the model knows of texts is what it judges with.
    classifier.base_model.load_state_dict(model.base_model.state_dict())
    # With a head of zeros every answer starts with the reward 0, and the first loss is ln 2.
    torch.nn.init.zeros_(classifier.score.weight)
    return classifier.to(model.device).float()


def score_with(judge, prompts: Sequence, texts: Sequence[str]) -> list[float]:
    """Rewards by a reward model's `score`, or by any callable on (prompt, text); ValueError for a NaN."""
    if hasattr(judge, "score"):
        found = [float(value) for value in judge.score(prompts, texts)]
    else:
        found = [float(judge(prompt, text)) for prompt, text in zip(prompts, texts, strict=True)]
    # A single NaN would spread to every weight at the next update.
    for value, text in zip(found, texts):
        if value != value or abs(value) == float("inf"):
            raise ValueError(f"The reward of {text[:60]!r} is {value}; a reward must be a finite number.")
    return found
