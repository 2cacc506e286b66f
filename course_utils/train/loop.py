"""The loop that every training of the course shares: one step after another, watched, and never silently wrong."""

from __future__ import annotations

import copy as copying
import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass
class LoopOptions:
    """The settings that all trainings share, handed on by `sft`, `dpo`, `reward` and `rl`.

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
      A file that another call left (other data, seed or settings) is refused.
    - `replay`: pretraining texts, of which about `replay_tokens` tokens join every step, their loss weighted by
      `replay_weight` (the idea of PPO-ptx: Ouyang et al. 2022, arXiv 2203.02155).
    - `stop_when(history)` is asked after every step, and ends the training with the reason that it returns; an empty
      text lets it go on.
    """

    optimizer: str = "adamw"
    muon_lr: float | None = None
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: int | None = None
    clip: float = 1.0
    precision: str = "auto"
    evaluate: Evaluate | None = None
    every: int | None = None
    progress: bool = True
    live: bool = False
    checkpoint: str | Path | None = None
    save_every: int = 50
    replay: Iterable[str] | None = None
    replay_tokens: int = 2048
    replay_weight: float = 1.0
    stop_when: StopWhen | None = None

    def of_the_run(self) -> dict[str, Any]:
        """What of these decides what is learned."""
        names = (
            "optimizer",
            "muon_lr",
            "weight_decay",
            "schedule",
            "warmup",
            "clip",
            "replay_tokens",
            "replay_weight",
        )
        again = isinstance(self.replay, (list, tuple))
        return {n: getattr(self, n) for n in names} | {
            "replay": self.replay if again else self.replay is not None
        }


# -- one step: the lesson of this module -----------------------------------------------------------------------


def one_step(model, parts, loss_of: LossOf, optimizers, clip: float, precision: str, replay=None):
    """Compute the loss of a batch, go back through the model, and move its weights once.

    `parts` are the batch's parts, each with its weight in the batch's loss; `replay` returns the loss on old texts that
    joins it. Returns the loss, the norm of the gradient (both before the update), and what `loss_of` wrote down.
    """
    model.train()
    loss, replayed, numbers = 0.0, 0.0, {}
    # Gradients add up from part to part, so that only one part's activations are in memory at a time.
    for part, weight in parts:
        with autocast(model, precision):
            part_loss, part_numbers = loss_of(model, part)
        loss += weight * part_loss.item()
        numbers |= {key: value + numbers.get(key, 0) for key, value in part_numbers.items()}
        (weight * part_loss).backward()  # leaves d loss / d weight in each weight's .grad
    if replay:
        with autocast(model, precision):
            old_loss = replay()
        replayed = old_loss.item()
        old_loss.backward()
    _require_finite(loss + replayed, "loss")
    # One odd batch must not throw the model off: a gradient longer than `clip` is shortened to it, its direction kept.
    weights = [p for p in model.parameters() if p.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(weights, clip or math.inf).item()
    _require_finite(norm, "gradient")  # before the update, or the weights would be lost as well
    for optimizer in optimizers:
        optimizer.step()
        # The next backward would add to these gradients.
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    return loss, norm, numbers


# -- many steps, watched ---------------------------------------------------------------------------------------


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
    split: Callable[[Any], list[tuple[Any, float]]] | None = None,
    of_run: Mapping[str, Any] | None = None,
    **options: Any,
) -> Trained:
    """Train `watched.model` in place for `total` steps and return what came of it.

    `steps(start)` yields the batches from number `start` on; `loss_of(model, batch)` returns the loss and numbers
    to write down ("tokens" among them). `split(batch)` cuts a batch into parts with their weights in its loss, so
    that one part's activations are in memory at a time; their numbers are added up. `of_run` are the things that tell
    this run from others (its data, say), for the checkpoint. The options are those of `LoopOptions`.

    An interrupt (the stop button) ends the training and keeps what was learned. Raises FloatingPointError at the
    step at which the loss or the gradient is no finite number.
    """
    chosen, model = LoopOptions(**options), watched.model
    _check(model, lr, chosen, tokenizer)
    optimizers = _optimizers(model, chosen.optimizer, lr, chosen.muon_lr, chosen.weight_decay)
    history = History(watched, chosen.evaluate)
    settings = {"settings": [label, total, lr, seed, chosen.of_the_run()], **(of_run or {})}
    saved = _Checkpoint(chosen.checkpoint, model, optimizers, history, settings)
    start = saved.load()
    replay = _replayed(model, tokenizer, chosen, start)
    batches, stopped, precision = steps(start), "", None
    # The seed counts inside only: outside, the notebook's random numbers are as if nothing had happened.
    with _seeded(seed, model.device), _bar(label, total, start, chosen.progress) as bar:
        watch = _Watch(history, bar, saved, chosen, label, total)
        try:
            watch.begin(start)
            for step in range(start, total):
                batch = next(batches)
                parts = split(batch) if split else [(batch, 1.0)]
                # Chosen on the first batch, because only then is it known how long the rows are.
                precision = precision or _precision_for(model, loss_of, parts, chosen)
                rate = _set_lr(optimizers, lr, step, total, chosen)
                with _says_where(step, history):
                    done = one_step(model, parts, loss_of, optimizers, chosen.clip, precision, replay)
                loss, norm, numbers = done
                stopped = watch.after(step + 1, loss=loss, lr=rate, grad_norm=norm, **numbers)
                if stopped:
                    break
        # The stop button is no failure: what was learned so far is returned.
        except KeyboardInterrupt:
            stopped = watch.interrupted()
        finally:
            model.eval()
            model.zero_grad(set_to_none=True)
            give_back()
    watch.end(stopped)
    return Trained(watched, history.frame(), stopped, precision or chosen.precision)


class _Watch:
    """What happens around the steps: history, bar, figure, evaluation, checkpoint, an early end."""

    def __init__(
        self, history: History, bar, saved: _Checkpoint, options: LoopOptions, label: str, total: int
    ):
        self.history, self.bar, self.saved, self.options = history, bar, saved, options
        self.label, self.total = label, total
        self.every = options.every or max(1, total // 10)
        self.plot = LivePlot(label, total) if options.live else None

    def begin(self, start: int) -> None:
        if start == 0:
            self.history.measure(0)

    def after(self, step: int, **numbers: float) -> str:
        """Write a step down, and return why the training ends here, or an empty text."""
        self.history.add(step, **numbers)
        if step % self.every == 0 or step == self.total:
            self.history.measure(step)
        self.bar.set_postfix(self.history.latest(), refresh=False)
        self.bar.update()
        if self.plot:
            self.plot.update(self.history)
        stopped = self.options.stop_when(self.history.frame()) if self.options.stop_when else ""
        if stopped:
            self.history.measure(step)
        else:
            self.saved.save(step, self.options.save_every)
        return stopped

    def interrupted(self) -> str:
        stopped = f"interrupted after {self.history.steps} of {self.total} steps"
        if self.options.progress:
            print(f"\n{self.label} {stopped}; what it has learned is kept.")
        return stopped

    def end(self, stopped: str) -> None:
        if self.plot:
            self.plot.update(self.history, last=True)
        if not stopped.startswith("interrupted"):
            self.saved.remove()


def _set_lr(optimizers, lr: float, step: int, total: int, options: LoopOptions) -> float:
    """Set every group's learning rate for this step; returns the main one."""
    warmup = min(60, total // 10) if options.warmup is None else options.warmup
    share = learning_rate_share(step, total, warmup, options.schedule)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
    return lr * share


def _precision_for(model, loss_of: LossOf, parts: list, options: LoopOptions) -> str:
    return choose_precision(model, lambda: loss_of(model, parts[0][0])[0], options.precision)


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
        # A base ends at <|endoftext|> only; what it learns to write at the end of a turn must end it, too.
        known = model.generation_config.eos_token_id
        known = [] if known is None else [known] if isinstance(known, int) else list(known)
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, *known]
    return variant


def model_of(variant_or_model):
    """The model of a Variant; a model itself stays as it is (and has a part that is called `model` as well)."""
    return variant_or_model.model if isinstance(variant_or_model, Variant) else variant_or_model


def frozen_copy(model):
    """A copy of the model as it is now, which nothing will train: the reference."""
    # No gradient is kept for it, which saves memory, and no dropout, which would make it waver.
    return copying.deepcopy(model).eval().requires_grad_(False)


def default_lr(model, tiny: float, large: float) -> float:
    """The learning rate for a model of Pebble's size, or for a common one of 100M parameters and more."""
    return tiny if sum(p.numel() for p in model.parameters()) < TINY else large


def _check(model, lr: float, options: LoopOptions, tokenizer) -> None:
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("No weight of this model may change: all of them have requires_grad=False.")
    if any(p.dtype in (torch.bfloat16, torch.float16) for p in trained):
        raise ValueError(
            f"The weights are {model.dtype}, in which small updates are rounded away. Use copy=True, which trains a "
            "float32 copy, or model.float() beforehand."
        )
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be above 0, got {lr}.")
    if options.every is not None and (options.every < 1 or options.evaluate is None):
        raise ValueError(f"every={options.every} needs evaluate= and must be 1 or more.")
    if options.schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {options.schedule!r}.")
    if options.precision not in ("auto", "bf16", "float32"):
        raise ValueError(f"precision must be 'auto', 'bf16' or 'float32', got {options.precision!r}.")
    if options.replay is not None and tokenizer is None:
        raise ValueError("replay needs the tokenizer.")


def _optimizers(model, name: str, lr: float, muon_lr: float | None, weight_decay: float) -> list:
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if name == "adamw":
        found = [_adamw([p for _, p in named], lr, weight_decay)]
    elif name == "muon":
        found = _muon_and_adamw(model, named, lr, muon_lr, weight_decay)
    else:
        raise ValueError(f"optimizer must be 'adamw' or 'muon', got {name!r}.")
    for one in found:
        for group in one.param_groups:
            group["peak"] = group["lr"]
    return found


def _adamw(weights: list, lr: float, weight_decay: float):
    # "Fused" updates all weights in one pass, where the device can; the arithmetic is the same.
    fused = weights[0].device.type in ("cpu", "cuda", "mps")
    return torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay, fused=fused)


def _muon_and_adamw(model, named: list, lr: float, muon_lr: float | None, weight_decay: float) -> list:
    """Muon for the matrices inside the layers (Jordan et al. 2024); AdamW for embeddings, output matrix and vectors."""
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(
            f"torch {torch.__version__} has no torch.optim.Muon. Use optimizer='adamw' or torch 2.9."
        )
    ends = {
        id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None
    }
    # Muon makes an update's directions equally strong, which has a meaning for matrices between layers only.
    hidden = [p for _, p in named if p.ndim == 2 and id(p) not in ends]
    inside = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in inside]
    muon = torch.optim.Muon(hidden, lr=muon_lr or 10 * lr, weight_decay=weight_decay)
    return [muon, _adamw(rest, lr, weight_decay)] if rest else [muon]


SCHEDULES = ("linear", "cosine", "constant")


def learning_rate_share(step: int, total: int, warmup: int, schedule: str) -> float:
    """The share of the peak learning rate at update `step` (from 0)."""
    # At first the gradient's average over past steps is not known yet: small steps until it is.
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)  # 0 after the warmup, 1 at the end
    if schedule == "constant":
        return 1.0
    # Large steps find the valley, small ones its floor; 2 % are left, so that no step is for nothing.
    return max(0.02, 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


# -- precision -------------------------------------------------------------------------------------------------

_measured: dict[tuple, str] = {}


def autocast(model, precision: str):
    """The context in which the model is run: bf16 autocast, or nothing."""
    # bf16 has float32's range with 8 bits of precision: no loss scaling is needed, as there is with float16.
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
    # Each twice, and the better time counts: the first run of a kind also compiles and warms up.
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


def _require_finite(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(f"The {what} became {value}")


@contextmanager
def _says_where(step: int, history: History) -> Iterator[None]:
    """Add to a FloatingPointError the step, the loss before it and what to do."""
    try:
        yield
    except FloatingPointError as error:
        losses = history.frame().get("loss", pd.Series(dtype=float)).dropna()
        before = f"; the loss before was {losses.iloc[-1]:.3g}" if len(losses) else ""
        raise FloatingPointError(
            f"{error} at step {step + 1}{before}. Train again from the model you started with, with a "
            "lower lr (a third of it, say) or a longer warmup."
        ) from error


class History:
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
        # Whatever the evaluation draws, the training goes on with the numbers that it would have drawn.
        with torch.random.fork_rng(_cuda_index(device)), torch.no_grad():
            found = self.evaluate(self.watched)
        if not isinstance(found, Mapping):
            raise TypeError(f"evaluate must return a dict of numbers, got {type(found).__name__}.")
        self.evaluated = list(found)
        # The evaluation joins the row of the step after which it was made.
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
    """Weights, optimizers and history in one file, written beside and then moved, so that none is ever half there.

    `of_run` says whose state it is, by parts: data, order, settings. A file of another run is never gone on from.
    """

    def __init__(
        self, path: str | Path | None, model, optimizers, history: History, of_run: Mapping[str, Any]
    ):
        self.path = Path(path) if path is not None else None
        self.model, self.optimizers, self.history = model, optimizers, history
        self.of_run = {name: digest(value) for name, value in of_run.items()} if self.path else {}

    def load(self) -> int:
        if self.path is None or not self.path.exists():
            return 0
        state = self._read()
        theirs = state.get("of_run", {})
        other = [name for name in self.of_run if theirs.get(name) != self.of_run[name]]
        if other:
            raise ValueError(
                f"The checkpoint {self.path} was left by another run: it had other {' and '.join(other)}. Repeat that call as "
                "it was to go on from there, delete the file to begin afresh, or name another checkpoint."
            )
        self.model.load_state_dict(state["model"])
        for one, saved in zip(self.optimizers, state["optimizers"], strict=True):
            one.load_state_dict(saved)
        self.history.rows, self.history.tokens = state["rows"], state["tokens"]
        self.history.evaluated = state["evaluated"]
        self.history.began -= self.history.rows[-1]["seconds"]
        return state["step"]

    def _read(self) -> Mapping[str, Any]:
        try:
            state = torch.load(self.path, map_location=self.model.device, weights_only=True)
        except Exception as error:  # torch and pickle raise whatever the bytes lead them to
            reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise ValueError(
                f"{self.path} cannot be read as a checkpoint ({reason}). Delete it, or name another file."
            ) from error
        if not isinstance(state, Mapping) or not {"model", "optimizers", "rows", "step"} <= state.keys():
            raise ValueError(f"{self.path} is no checkpoint of a training. Delete it, or name another file.")
        return state

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
            "of_run": self.of_run,
        }
        # A crash while writing leaves the old file whole; replace() is one step for the file system.
        new = self.path.with_name(self.path.name + ".new")
        torch.save(state, new)
        new.replace(self.path)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def run_parts(model, **parts: Any) -> dict[str, Any]:
    """What tells a run from others, for its checkpoint; without the model's weights where they are trained in place."""
    parts = {name.replace("_", " "): value for name, value in parts.items()}
    return parts | ({"starting weights": model} if model else {})


def digest(value: Any) -> str:
    """A short name for data or settings, the same for equal ones; for a model, of its weights' first numbers."""
    if isinstance(value, torch.nn.Module):
        value = [
            (name, tuple(p.shape), p.detach().flatten()[:16].tolist()) for name, p in value.named_parameters()
        ]
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def next_token_loss(model, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats a token) of documents `(rows, length + 1)`: the targets are the inputs moved left."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (rows, length, vocab)
    # (rows · length, vocab) against (rows · length,): every token is a target here.
    return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def _replayed(model, tokenizer, options: LoopOptions, start: int) -> Callable[[], torch.Tensor] | None:
    if options.replay is None:
        return None
    length = min(256, getattr(model.config.get_text_config(), "max_position_embeddings", None) or 256)
    batches = replay_rows(tokenizer, options.replay, options.replay_tokens, length, skip=start)
    return lambda: options.replay_weight * next_token_loss(model, next(batches).to(model.device))


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
