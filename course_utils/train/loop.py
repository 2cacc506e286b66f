"""The loop that every training of the course shares: one step after another, watched, and never silently wrong."""

from __future__ import annotations

import copy as copying
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import torch
from torch.nn import functional as F

from ..memory import give_back
from ..pairs import TINY
from ..variant import Variant
from .live import LivePlot
from .rows import replay_rows

Evaluate = Callable[[Any], Mapping[str, float]]
StopWhen = Callable[[pd.DataFrame], str]
LossOf = Callable[[Any, Any], tuple[torch.Tensor, dict[str, float]]]
FASTER = 0.9  # bf16 is chosen where it takes at most this share of float32's time


@dataclass
class Trained:
    """What a training returns: the trained `variant`, and its `history` with one row a step.

    Columns of the history: step (updates made so far), loss (before that update), lr, tokens (read so far, padding
    left out), grad_norm (before clipping), seconds, what the training measures on its own batches, and what
    `evaluate` returned (missing where it was not called). `stopped` says why the training ended before its time,
    and is empty where it did not; `precision` is "bf16" or "float32".
    """

    variant: Any
    history: pd.DataFrame
    stopped: str = ""
    precision: str = "float32"

    @property
    def model(self):
        return self.variant.model

    def __repr__(self) -> str:
        steps = int(self.history["step"].max()) if len(self.history) else 0
        early = f", {self.stopped}" if self.stopped else ""
        return f"Trained({self.variant.name!r}: {steps} steps in {self.precision}{early})"


class LoopOptions(TypedDict, total=False):
    """The settings all trainings share; `run` says what each of them does."""

    optimizer: str
    muon_lr: float | None
    weight_decay: float
    schedule: str
    warmup: int | None
    clip: float
    precision: str
    evaluate: Evaluate | None
    every: int | None
    progress: bool
    live: bool
    checkpoint: str | Path | None
    save_every: int
    replay: Iterable[str] | None
    replay_tokens: int
    replay_weight: float
    stop_when: StopWhen | None


def run(
    watched,
    steps: Callable[[int], Iterator],
    loss_of: LossOf,
    *,
    label: str,
    total: int,
    lr: float,
    seed: int,
    tokenizer=None,
    optimizer: str = "adamw",
    muon_lr: float | None = None,
    weight_decay: float = 0.0,
    schedule: str = "linear",
    warmup: int | None = None,
    clip: float = 1.0,
    precision: str = "auto",
    evaluate: Evaluate | None = None,
    every: int | None = None,
    progress: bool = True,
    live: bool = False,
    checkpoint: str | Path | None = None,
    save_every: int = 50,
    replay: Iterable[str] | None = None,
    replay_tokens: int = 2048,
    replay_weight: float = 1.0,
    stop_when: StopWhen | None = None,
    split: Callable[[Any], list[tuple[Any, float]]] | None = None,
) -> Trained:
    """Train `watched.model` in place for `total` steps and return what came of it.

    `steps(start)` yields the batches from number `start` on; `loss_of(model, batch)` returns the loss and numbers
    to write down ("tokens" among them). `split(batch)` cuts a batch into parts with their weights in its loss, so
    that one part's activations are in memory at a time; their numbers are added up. The options, which `sft`, `dpo`,
    `reward` and `rl` hand on:

    - `optimizer`: "adamw", or "muon" (torch.optim.Muon on the matrices inside the layers at `muon_lr`, 10 × `lr`
      unless given, and AdamW at `lr` on the rest); `weight_decay`.
    - `schedule`: "linear" (down to nothing), "cosine" or "constant", after `warmup` steps (None: a tenth of the
      steps, at most 60).
    - `clip`: the largest norm of the gradient (0: not clipped).
    - `precision`: "float32", "bf16" (autocast: weights and updates stay in float32), or "auto", which times both on
      the first batch (but keeps a tiny model on a CPU in float32, which takes far less memory). A run that must repeat
      itself exactly on another day should name one.
    - `evaluate(variant)` returns a dict of numbers; it is called before the first step, every `every` steps (None:
      ten times), and at the end.
    - `progress`: a bar; `live`: in a notebook, a figure that grows.
    - `checkpoint`: a file from which the same call resumes, written every `save_every` steps and removed at the end.
    - `replay`: pretraining texts, of which about `replay_tokens` tokens join every step, their loss weighted by
      `replay_weight` (the idea of PPO-ptx: Ouyang et al. 2022, arXiv 2203.02155).
    - `stop_when(history)` is asked after every step, and ends the training with the reason that it returns; an empty
      text lets it go on.

    An interrupt (the stop button) ends the training and keeps what was learned. Raises FloatingPointError at the
    step at which the loss or the gradient is no finite number.
    """
    model = watched.model
    trained = [p for p in model.parameters() if p.requires_grad]
    _check(trained, model, lr, every, evaluate, schedule, precision, replay, tokenizer)
    optimizers = _optimizers(model, optimizer, lr, muon_lr, weight_decay)
    warmup = min(60, total // 10) if warmup is None else warmup
    every = every or max(1, total // 10)
    history = _History(watched, evaluate)
    saved = _Checkpoint(checkpoint, model, optimizers, history)
    start = saved.load()
    old = _replayed(model, tokenizer, replay, replay_tokens, start)
    plot = LivePlot(label) if live else None
    batches, stopped, chosen = steps(start), "", None
    with _seeded(seed, model.device), _bar(label, total, start, progress) as bar:
        try:
            if start == 0:
                history.measure(0)
            for step in range(start, total):
                batch = next(batches)
                parts = split(batch) if split else [(batch, 1.0)]
                if chosen is None:
                    chosen = choose_precision(model, lambda: loss_of(model, parts[0][0])[0], precision)  # noqa: B023
                share = learning_rate_share(step, total, warmup, schedule)
                for one in optimizers:
                    for group in one.param_groups:
                        group["lr"] = group["peak"] * share
                model.train()
                loss, replayed, numbers = 0.0, 0.0, {}
                for part, weight in parts:  # gradients add up; only one part's activations are kept at a time
                    with autocast(model, chosen):
                        part_loss, part_numbers = loss_of(model, part)
                    loss += weight * part_loss.item()
                    numbers |= {key: value + numbers.get(key, 0) for key, value in part_numbers.items()}
                    (weight * part_loss).backward()
                if old:
                    with autocast(model, chosen):
                        old_loss = replay_weight * old()
                    replayed = old_loss.item()
                    old_loss.backward()
                _require_finite(loss + replayed, "loss", step, history)
                norm = torch.nn.utils.clip_grad_norm_(trained, clip or math.inf)
                _require_finite(norm.item(), "gradient", step, history)
                for one in optimizers:
                    one.step()
                    one.zero_grad(set_to_none=True)
                model.eval()
                history.add(step + 1, loss=loss, lr=lr * share, grad_norm=norm.item(), **numbers)
                if (step + 1) % every == 0 or step + 1 == total:
                    history.measure(step + 1)
                bar.set_postfix(history.latest(), refresh=False)
                bar.update()
                if plot:
                    plot.update(history)
                stopped = stop_when(history.frame()) if stop_when else ""
                if stopped:
                    history.measure(step + 1)
                    break
                saved.save(step + 1, save_every)
        except KeyboardInterrupt:
            stopped = f"interrupted after {history.steps} of {total} steps"
            if progress:
                print(f"\n{label} {stopped}; what it has learned is kept.")
        finally:
            model.eval()
            model.zero_grad(set_to_none=True)
            give_back()
    if plot:
        plot.update(history, last=True)
    if not stopped.startswith("interrupted"):
        saved.remove()
    return Trained(watched, history.frame(), stopped, chosen or precision)


# -- before the first step -------------------------------------------------------------------------------------


def prepare(
    variant_or_model, tokenizer, copy: bool, name: str | None = None, suffix: str = "trained"
) -> Variant:
    """Return the variant to be trained: a float32 copy, or (with `copy=False`) the model itself.

    Generation will end at the tokenizer's eos as well as at the ids it ended at before: a base model's generation
    config does not know the chat's end of turn, and a model that learned to write it would never stop at it.
    """
    given = variant_or_model
    tokenizer = tokenizer or getattr(given, "tokenizer", None)
    if tokenizer is None:
        raise ValueError("A bare model needs tokenizer=; a Variant brings its own.")
    model = model_of(given)
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "generation_config"):
        raise TypeError(
            f"Expected a Variant or a causal language model of transformers, got {type(given).__name__}."
        )
    if copy:
        # Weights kept in bf16 lose small updates to rounding: they are trained, and returned, in float32.
        model = copying.deepcopy(model).float()
    name = name or f"{getattr(given, 'name', type(model).__name__)}-{suffix}"
    variant = Variant(name, model, tokenizer)
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in variant.eos_token_ids:
        known = model.generation_config.eos_token_id
        known = [] if known is None else [known] if isinstance(known, int) else list(known)
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, *known]
    return variant


def model_of(variant_or_model):
    """The model of a Variant; a model itself stays as it is (and has a part that is called `model` as well)."""
    return variant_or_model.model if isinstance(variant_or_model, Variant) else variant_or_model


def frozen_copy(model):
    """A copy of the model as it is now, which nothing will train: the reference."""
    return copying.deepcopy(model).eval().requires_grad_(False)


def default_lr(model, tiny: float, large: float) -> float:
    """The learning rate for a model of Pebble's size, or for a common one of 100M parameters and more."""
    return tiny if sum(p.numel() for p in model.parameters()) < TINY else large


def _check(trained, model, lr, every, evaluate, schedule, precision, replay, tokenizer) -> None:
    if not trained:
        raise ValueError("No weight of this model may change: all of them have requires_grad=False.")
    if any(p.dtype in (torch.bfloat16, torch.float16) for p in trained):
        raise ValueError(
            f"The weights are {model.dtype}, in which small updates are rounded away. Use copy=True, which trains a "
            "float32 copy, or model.float() beforehand."
        )
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be above 0, got {lr}.")
    if every is not None and (every < 1 or evaluate is None):
        raise ValueError(f"every={every} needs evaluate= and must be 1 or more.")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    if precision not in ("auto", "bf16", "float32"):
        raise ValueError(f"precision must be 'auto', 'bf16' or 'float32', got {precision!r}.")
    if replay is not None and tokenizer is None:
        raise ValueError("replay needs the tokenizer.")


def _optimizers(model, name: str, lr: float, muon_lr: float | None, weight_decay: float):
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if name == "adamw":
        found = [
            torch.optim.AdamW([p for _, p in named], lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay)
        ]
    elif name == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(
                f"torch {torch.__version__} has no torch.optim.Muon. Use optimizer='adamw' or torch 2.9."
            )
        ends = {
            id(m.weight)
            for m in (model.get_input_embeddings(), model.get_output_embeddings())
            if m is not None
        }
        hidden = [p for _, p in named if p.ndim == 2 and id(p) not in ends]
        inside = {id(p) for p in hidden}
        rest = [p for _, p in named if id(p) not in inside]
        found = [torch.optim.Muon(hidden, lr=muon_lr or 10 * lr, weight_decay=weight_decay)]
        if rest:
            found.append(torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay))
    else:
        raise ValueError(f"optimizer must be 'adamw' or 'muon', got {name!r}.")
    for one in found:
        for group in one.param_groups:
            group["peak"] = group["lr"]
    return found


SCHEDULES = ("linear", "cosine", "constant")


def learning_rate_share(step: int, total: int, warmup: int, schedule: str) -> float:
    """The share of the peak learning rate at update `step` (from 0)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    if schedule == "constant":
        return 1.0
    return max(0.02, 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


# -- precision -------------------------------------------------------------------------------------------------

_measured: dict[tuple, str] = {}


def autocast(model, precision: str):
    """The context in which the model is run: bf16 autocast, or nothing."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


def choose_precision(model, loss: Callable[[], torch.Tensor], precision: str = "auto") -> str:
    """Return "bf16" or "float32": what was asked for or, for "auto", the faster of the two on this very step.

    A model of Pebble's size stays in float32 on a CPU: bf16 saves a sixth of the time there, and costs a gigabyte of
    memory or more, because a compiled kernel is kept for every shape of batch.
    """
    if precision != "auto":
        return precision
    if model.device.type == "cpu" and sum(p.numel() for p in model.parameters()) < TINY:
        return "float32"
    key = (
        type(model),
        sum(p.numel() for p in model.parameters()),
        str(model.device),
        torch.get_num_threads(),
    )
    if key not in _measured:
        _measured[key] = _faster(model, loss)
    return _measured[key]


def _faster(model, loss: Callable[[], torch.Tensor]) -> str:
    if model.device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "float32"
    seconds = {"float32": math.inf, "bf16": math.inf}
    try:
        with torch.random.fork_rng(_cuda_index(model.device)):
            for name in ("float32", "bf16", "float32", "bf16"):
                began = time.perf_counter()
                with autocast(model, name):
                    value = loss()
                value.backward()
                _wait_for(model.device)
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    except (RuntimeError, TypeError):  # this device cannot
        return "float32"
    finally:
        model.zero_grad(set_to_none=True)
    return "bf16" if seconds["bf16"] <= FASTER * seconds["float32"] else "float32"


def _wait_for(device: torch.device) -> None:
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


# -- on the way ------------------------------------------------------------------------------------------------


def _require_finite(value: float, what: str, step: int, history: _History) -> None:
    if math.isfinite(value):
        return
    losses = history.frame().get("loss", pd.Series(dtype=float)).dropna()
    before = f"; the loss before was {losses.iloc[-1]:.3g}" if len(losses) else ""
    raise FloatingPointError(
        f"The {what} became {value} at step {step + 1}{before}. Train again from the model you started with, with a "
        "lower lr (a third of it, say) or a longer warmup."
    )


class _History:
    """One row a step; a row's evaluation is filled in when it is measured."""

    def __init__(self, watched, evaluate: Evaluate | None):
        self.rows: list[dict[str, float]] = []
        self.watched, self.evaluate = watched, evaluate
        self.began = time.perf_counter()
        self.tokens = 0
        self.evaluated: list[str] = []

    @property
    def steps(self) -> int:
        return int(self.rows[-1]["step"]) if self.rows else 0

    def add(self, step: int, tokens: float = 0, **numbers: float) -> None:
        self.tokens += int(tokens)
        numbers = {"loss": numbers.pop("loss"), "lr": numbers.pop("lr"), "tokens": self.tokens, **numbers}
        self.rows.append({"step": step, **numbers, "seconds": self._seconds()})

    def measure(self, step: int) -> None:
        if self.evaluate is None or (self.rows and self.rows[-1].get("measured") == step):
            return
        if not self.rows:
            self.rows.append({"step": 0, "loss": math.nan, "lr": math.nan, "tokens": 0})
        device = self.watched.model.device
        with torch.random.fork_rng(_cuda_index(device)), torch.no_grad():
            found = self.evaluate(self.watched)
        if not isinstance(found, Mapping):
            raise TypeError(f"evaluate must return a dict of numbers, got {type(found).__name__}.")
        self.evaluated = list(found)
        self.rows[-1] |= {key: float(value) for key, value in found.items()} | {"measured": step}
        self.rows[-1]["seconds"] = self._seconds()

    def latest(self) -> dict[str, str]:
        row = self.rows[-1]
        shown = ("loss", "margin", "accuracy", "reward", "kl", *self.evaluated)
        return {key: f"{row[key]:.3g}" for key in shown if key in row and math.isfinite(row[key])}

    def frame(self) -> pd.DataFrame:
        frame = pd.DataFrame(self.rows or [{"step": 0}]).drop(columns="measured", errors="ignore")
        last = [c for c in (*self.evaluated, "seconds") if c in frame.columns]
        return frame[[c for c in frame.columns if c not in last] + last]

    def _seconds(self) -> float:
        return time.perf_counter() - self.began


class _Checkpoint:
    """Weights, optimizers and history in one file, written beside and then moved, so that none is ever half there."""

    def __init__(self, path: str | Path | None, model, optimizers, history: _History):
        self.path = Path(path) if path is not None else None
        self.model, self.optimizers, self.history = model, optimizers, history

    def load(self) -> int:
        if self.path is None or not self.path.exists():
            return 0
        state = torch.load(self.path, map_location=self.model.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for one, saved in zip(self.optimizers, state["optimizers"], strict=True):
            one.load_state_dict(saved)
        self.history.rows, self.history.tokens = state["rows"], state["tokens"]
        self.history.evaluated = state["evaluated"]
        self.history.began -= self.history.rows[-1]["seconds"]
        return state["step"]

    def save(self, step: int, every: int) -> None:
        if self.path is None or step % every:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "rows": self.history.rows,
            "tokens": self.history.tokens,
            "evaluated": self.history.evaluated,
            "step": step,
        }
        new = self.path.with_name(self.path.name + ".new")
        torch.save(state, new)
        new.replace(self.path)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def next_token_loss(model, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats a token) of documents `(rows, length + 1)`: the targets are the inputs moved left."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def _replayed(model, tokenizer, replay, tokens: int, start: int) -> Callable[[], torch.Tensor] | None:
    if replay is None:
        return None
    length = min(256, getattr(model.config.get_text_config(), "max_position_embeddings", None) or 256)
    batches = replay_rows(tokenizer, replay, tokens, length, skip=start)
    return lambda: next_token_loss(model, next(batches).to(model.device))


def _cuda_index(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


class _seeded:
    """torch's random numbers from `seed` inside, and outside as if nothing had happened."""

    def __init__(self, seed: int, device: torch.device):
        self.fork, self.seed = torch.random.fork_rng(_cuda_index(device)), seed

    def __enter__(self):
        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error):
        return self.fork.__exit__(*error)


def _bar(label: str, total: int, start: int, wanted: bool):
    from tqdm import tqdm  # the text bar: it leaves no widget state behind in a notebook

    return tqdm(
        total=total, initial=start, desc=label, unit="step", disable=not wanted, leave=False, file=sys.stdout
    )
