"""The loop that every training of the course shares: one step after another, watched, and never silently wrong."""

from __future__ import annotations

import copy as copying
import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.nn import functional as F

from ..batches.masks import end_of_turn
from ..memory import give_back
from ..pairs import TINY
from ..variant import Variant
from .live import LivePlot
from .rows import replay_rows, require_whole

Evaluate = Callable[[Any], Mapping[str, float]]
StopWhen = Callable[[pd.DataFrame], str]
LossOf = Callable[[Any, Any], tuple[torch.Tensor, dict[str, float]]]
Split = Callable[[Any], list[tuple[Any, float]]]
# What a training writes into its history itself, so that no evaluation may.
COLUMNS = ("step", "loss", "lr", "tokens", "grad_norm", "seconds", "measured")
OWN_COLUMNS = {
    "dpo": ("margin", "accuracy", "reward_chosen", "reward_rejected"),
    "reward": ("margin", "accuracy"),
    "rl": ("reward", "reward_sd", "kl", "length", "finished", "distinct"),
}
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

    - `optimizer`: "adamw" (without weight decay), or "muon" (torch.optim.Muon on the matrices inside the layers at
      10 × `lr`, and AdamW at `lr` on the rest).
    - `schedule`: "linear" (down to nothing) or "constant", after `warmup` steps (None: a tenth of the steps, at most
      60).
    - `clip`: the largest norm of the gradient (0: not clipped).
    - `precision`: "float32", "bf16" (autocast: weights and updates stay in float32), or "auto", which times both on
      the first batch (but keeps a tiny model on a CPU in float32, which takes far less memory). A run that must repeat
      itself exactly on another day should name one.
    - `evaluate(variant)` returns a dict of numbers, under names that no column has yet; it is called before the first
      step, every `every` steps (None: ten times), and at the end.
    - `progress`: a bar; `live`: in a notebook, a figure that grows.
    - `checkpoint`: a file from which the same call resumes, written every `save_every` steps and removed at the end.
      A file that another call left (other data, seed or settings) is refused.
    - `replay`: pretraining texts, of which about `replay_tokens` tokens join every step (the idea of PPO-ptx: Ouyang
      et al. 2022, arXiv 2203.02155).
    - `stop_when(history)` is asked after every step, and ends the training with the reason that it returns; an empty
      text lets it go on.
    """

    optimizer: str = "adamw"
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
    stop_when: StopWhen | None = None

    def of_the_run(self) -> list:
        """What of these decides what is learned."""
        # An iterator's texts cannot be looked at without using them up.
        replay = self.replay if isinstance(self.replay, (list, tuple)) else self.replay is not None
        return [self.optimizer, self.schedule, self.warmup, self.clip, self.replay_tokens, replay]


# -- one step: the lesson of this module -----------------------------------------------------------------------


def one_step(
    model, parts, loss_of: LossOf, optimizers, clip: float, precision: str, replay=None, dropout=True
):
    """Compute the loss of a batch, go back through the model, and move its weights once.

    `parts` are the batch's parts, each with its weight in the batch's loss; `replay` returns the loss on old texts that
    joins it; `dropout` False keeps what a model would drop by chance. Returns the loss, the norm of the gradient (both
    before the update), and what `loss_of` wrote down.
    """
    model.train(dropout)
    loss, replayed, numbers = 0.0, 0.0, {}
    # Gradients add up from part to part, so that only one part's activations are in memory at a time.
    for part, weight in parts:
        with autocast(model, precision):
            part_loss, part_numbers = loss_of(model, part)  # a scalar, and {name: number}
        loss += weight * part_loss.item()
        numbers |= {key: value + numbers.get(key, 0) for key, value in part_numbers.items()}
        (weight * part_loss).backward()  # leaves d loss / d weight in each weight's .grad
    if replay:
        with autocast(model, precision):
            old_loss = replay()
        replayed = old_loss.item()
        # Added to the same .grad: the update serves the new examples and the old texts at once.
        old_loss.backward()
    _require_finite(loss + replayed, "loss")
    # One odd batch must not throw the model off: a gradient longer than `clip` is shortened to it, its direction kept.
    weights = [p for p in model.parameters() if p.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(weights, clip or math.inf).item()
    # Before the update, or the weights would be lost as well.
    _require_finite(norm, "gradient")
    for optimizer in optimizers:
        optimizer.step()
        # The next backward would add to these gradients.
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    return loss, norm, numbers


# -- many steps, watched ---------------------------------------------------------------------------------------


def run_loop(
    watched, plan: Sequence, batch_of: Callable[[Any], Any], loss_of: LossOf, *, label: str, lr: float | None,
    usual_lr: tuple[float, float], seed: int, split: Split, of_run: Mapping[str, Any], dropout: bool = True,
    **options: Any,
) -> Trained:  # fmt: skip
    """Train `watched.model` in place, a step for each entry of `plan`, and return what came of it.

    `batch_of(entry)` makes a step's batch; `loss_of(model, batch)` returns the loss and numbers to write down
    ("tokens" among them). `split(batch)` cuts a batch into parts with their weights in its loss, for a CPU; their
    numbers are added up. `usual_lr` is what `lr` None stands for: for a model of Pebble's size, and for a common one.
    `of_run` are the things that tell this run from others (its data, say), for the checkpoint. `dropout` False is for
    losses that compare with a reference. The options are those of `LoopOptions`.

    An interrupt (the stop button) ends the training and keeps what was learned. Raises FloatingPointError at the
    step at which the loss or the gradient is no finite number.
    """
    chosen, model, total = LoopOptions(**options), watched.model, len(plan)
    lr = usual_lr[_size(model) >= TINY] if lr is None else lr
    _check(model, lr, chosen)
    optimizers = _optimizers(model, chosen.optimizer, lr)
    history = History(watched, chosen.evaluate, COLUMNS + OWN_COLUMNS.get(label, ()))
    # Weights alone are no checkpoint: an optimizer remembers past gradients, and would begin without them.
    kept = {"model": model, "history": history} | {f"optimizer {i}": one for i, one in enumerate(optimizers)}
    settings = {"settings": [label, total, lr, seed, chosen.of_the_run()], **of_run}
    saved = _Checkpoint(chosen.checkpoint, kept, settings)
    saved.load()
    start = history.steps
    replay, stopped, precision = _replayed(watched, chosen, start), "", None
    # The seed counts inside only: outside, the notebook's random numbers are as if nothing had happened.
    with _own_randomness(model.device), _bar(label, total, start, chosen.progress) as bar:
        torch.manual_seed(seed)
        watch = _Watch(history, bar, saved, chosen, label, total)
        try:
            if start == 0:
                history.measure(0)
            for step in range(start, total):
                batch = batch_of(plan[step])
                # A GPU has the memory for the whole batch, and is fastest with it.
                parts = split(batch) if model.device.type == "cpu" else [(batch, 1.0)]
                # Chosen on the first batch, because only then is it known how long the rows are.
                precision = precision or _precision_for(model, loss_of, parts[0][0], chosen)
                rate = _set_lr(optimizers, lr, step, total, chosen)
                with _says_where(step, history):
                    loss, norm, numbers = one_step(
                        model, parts, loss_of, optimizers, chosen.clip, precision, replay, dropout
                    )
                stopped = watch.after(step + 1, loss=loss, lr=rate, grad_norm=norm, **numbers)
                if stopped:
                    break
        # The stop button is no failure: what was learned so far is returned.
        except KeyboardInterrupt:
            stopped = watch.interrupted()
        finally:
            model.eval()
            # Gradients take as much memory as the weights, and are of no use any more.
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
            # It ends between two evaluations, and what it ended with is to be known.
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
        # An interrupted run may be gone on with; one that came to its end is over.
        if not stopped.startswith("interrupted"):
            self.saved.remove()


# -- before the first step -------------------------------------------------------------------------------------


def variant_to_train(variant_or_model, tokenizer, copy: bool, name: str | None, suffix: str) -> Variant:
    """The variant to be trained: a float32 copy, or (with `copy=False`) the model itself.

    Generation will end at the tokenizer's eos and at the token that ends a turn of its template (Gemma has two), as
    well as at the ids it ended at before: a base model's generation config does not know the chat's end of turn, and
    a model that learned to write it would never stop at it.
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
    ends, known = [tokenizer.eos_token_id, end_of_turn(tokenizer, {})], variant.eos_token_ids
    # A base ends at <|endoftext|> only; what it learns to write at the end of a turn must end it, too.
    new = [end for end in dict.fromkeys(ends) if end is not None and end not in known]
    if new:
        model.generation_config.eos_token_id = [*new, *known]
    return variant


def model_of(variant_or_model):
    """The model of a Variant; a model itself stays as it is (and has a part that is called `model` as well)."""
    return variant_or_model.model if isinstance(variant_or_model, Variant) else variant_or_model


def _size(model) -> int:
    return sum(p.numel() for p in model.parameters())


CHOICES = {
    "optimizer": ("adamw", "muon"),
    "schedule": ("linear", "constant"),
    "precision": ("auto", "bf16", "float32"),
}


def _check(model, lr: float, options: LoopOptions) -> None:
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
    require_whole(every=options.every)
    if options.checkpoint is not None:
        require_whole(save_every=options.save_every)
    for name, known in CHOICES.items():
        if getattr(options, name) not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(options, name)!r}.")


def _optimizers(model, name: str, lr: float) -> list:
    """AdamW for all weights, or Muon for the matrices inside the layers (Jordan et al. 2024) and AdamW for the rest."""
    rest, found = [p for p in model.parameters() if p.requires_grad], []
    if name == "muon":
        # Muon makes an update's directions equally strong, which has a meaning for matrices between layers only.
        heads = (model.get_input_embeddings(), model.get_output_embeddings())
        ends = {id(head.weight) for head in heads if head is not None}
        inside = [p for p in rest if p.ndim == 2 and id(p) not in ends]
        # Its update is a matrix whose directions all have length 1: each single weight moves far less than by AdamW.
        found = [torch.optim.Muon(inside, lr=10 * lr, weight_decay=0.0)]
        taken = {id(p) for p in inside}
        rest = [p for p in rest if id(p) not in taken]
    if rest:
        # "Fused" updates all weights in one pass, where the device can; the arithmetic is the same. The second beta is
        # below the usual 0.999, as in most trainings of language models: the size of a step follows recent gradients.
        fused = rest[0].device.type in ("cpu", "cuda", "mps")
        found.append(torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused))
    # The schedule changes "lr"; this is what it is a share of.
    for group in (group for optimizer in found for group in optimizer.param_groups):
        group["peak"] = group["lr"]
    return found


def _set_lr(optimizers, lr: float, step: int, total: int, options: LoopOptions) -> float:
    """Set every group's learning rate for this step; returns the main one."""
    warmup = min(60, total // 10) if options.warmup is None else options.warmup
    share = learning_rate_share(step, total, warmup, options.schedule)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group["peak"] * share
    return lr * share


def learning_rate_share(step: int, total: int, warmup: int, schedule: str) -> float:
    """The share of the peak learning rate at update `step` (from 0)."""
    # At first the gradient's average over past steps is not known yet: small steps until it is.
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    # Large steps find the valley, small ones its floor; 2 % are left, so that no step is for nothing.
    return max(0.02, 1 - (step - warmup) / max(1, total - warmup))


# -- precision -------------------------------------------------------------------------------------------------

_measured: dict[tuple, str] = {}


def autocast(model, precision: str):
    """The context in which the model is run: bf16 autocast, or nothing."""
    # bf16 has float32's range with 8 bits of precision: no loss scaling is needed, as there is with float16.
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


def _precision_for(model, loss_of: LossOf, batch, options: LoopOptions) -> str:
    return choose_precision(model, lambda: loss_of(model, batch)[0], options.precision)


def choose_precision(model, loss: Callable[[], torch.Tensor], precision: str = "auto") -> str:
    """Return "bf16" or "float32": what was asked for or, for "auto", the faster of the two on this very step.

    A model of Pebble's size stays in float32 on a CPU: bf16 saves a sixth of the time there, and costs a gigabyte of
    memory or more, because a compiled kernel is kept for every shape of batch.
    """
    if precision != "auto":
        return precision
    if model.device.type == "cpu" and _size(model) < TINY:
        return "float32"
    # The trial costs four steps, so its finding is kept for models of this kind and size.
    key = type(model), _size(model), str(model.device), torch.get_num_threads()
    if key not in _measured:
        _measured[key] = _faster(model, loss)
    return _measured[key]


def _faster(model, loss: Callable[[], torch.Tensor]) -> str:
    if model.device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "float32"
    seconds = {"float32": math.inf, "bf16": math.inf}
    try:
        with _own_randomness(model.device):
            # Each twice, and the better time counts: the first run of a kind also compiles and warms up.
            for name in ("float32", "bf16", "float32", "bf16"):
                began = time.perf_counter()
                with autocast(model, name):
                    value = loss()
                value.backward()
                # A GPU works on after its call has returned; only then is it done.
                if model.device.type in ("cuda", "mps"):
                    getattr(torch, model.device.type).synchronize()
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    # This device cannot compute in bf16.
    except (RuntimeError, TypeError):
        return "float32"
    finally:
        model.zero_grad(set_to_none=True)
    return "bf16" if seconds["bf16"] <= FASTER * seconds["float32"] else "float32"


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
        losses = [row["loss"] for row in history.rows if math.isfinite(row["loss"])]
        before = f"; the loss before was {losses[-1]:.3g}" if losses else ""
        raise FloatingPointError(
            f"{error} at step {step + 1}{before}. Train again from the model you started with, with a "
            "lower lr (a third of it, say) or a longer warmup."
        ) from error


class History:
    """One row a step; a row's evaluation is filled in when it is measured."""

    def __init__(self, watched, evaluate: Evaluate | None, taken: Sequence[str]):
        self.rows: list[dict[str, float]] = []
        self.watched, self.evaluate, self.taken = watched, evaluate, taken
        self.began = time.perf_counter()
        self.evaluated: list[str] = []

    @property
    def steps(self) -> int:
        return int(self.rows[-1]["step"]) if self.rows else 0

    def add(self, step: int, loss: float, lr: float, tokens: float = 0, **numbers: float) -> None:
        # Of a step alone tokens would say nothing: what counts is how much has been read by then.
        tokens = int(tokens) + (self.rows[-1]["tokens"] if self.rows else 0)
        row = {"step": step, "loss": loss, "lr": lr, "tokens": tokens, **numbers}
        self.rows.append(row | {"seconds": self._seconds()})

    def measure(self, step: int) -> None:
        if self.evaluate is None or (self.rows and self.rows[-1].get("measured") == step):
            return
        # Before the first step there is no loss yet, only the evaluation.
        if not self.rows:
            self.rows.append({"step": 0, "loss": math.nan, "lr": math.nan, "tokens": 0})
        # Whatever the evaluation draws, the training goes on with the numbers that it would have drawn.
        with _own_randomness(self.watched.model.device), torch.no_grad():
            found = self.evaluate(self.watched)
        if not isinstance(found, Mapping):
            raise TypeError(f"evaluate must return a dict of numbers, got {type(found).__name__}.")
        clash = [name for name in found if name in self.taken]
        if clash:
            raise ValueError(
                f"evaluate returned {', '.join(map(repr, clash))}, which the training writes into its history itself. "
                f"Choose another name, such as 'held_out_{clash[0]}'."
            )
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
        # What every step has stands first, what is measured now and then behind it.
        last = [c for c in (*self.evaluated, "seconds") if c in frame.columns]
        return frame[[c for c in frame.columns if c not in last] + last]

    def state_dict(self) -> dict[str, list]:
        return {"rows": self.rows, "evaluated": self.evaluated}

    def load_state_dict(self, state: Mapping[str, list]) -> None:
        self.rows, self.evaluated = state["rows"], state["evaluated"]
        # The clock goes on from where it stood.
        self.began -= self.rows[-1]["seconds"]

    def _seconds(self) -> float:
        return time.perf_counter() - self.began


class _Checkpoint:
    """Weights, optimizers and history in one file, written beside and then moved, so that none is ever half there.

    `parts` know their own state; `of_run` says whose it is: data, order, settings. A file of another run is never gone
    on from.
    """

    def __init__(self, path: str | Path | None, parts: Mapping[str, Any], of_run: Mapping[str, Any]):
        self.path, self.parts = Path(path) if path is not None else None, parts
        self.of_run = {name: digest(value) for name, value in of_run.items()} if self.path else {}

    def load(self) -> None:
        """Go on from the file, where there is one; OSError where none can be written."""
        self.try_writing()
        if self.path is None or not self.path.exists():
            return
        state = self._read()
        theirs = state.get("of_run", {})
        other = [name for name in self.of_run if theirs.get(name) != self.of_run[name]]
        if other:
            raise ValueError(
                f"The checkpoint {self.path} was left by another run: it had other {' and '.join(other)}. Repeat that "
                "call as it was to go on from there, delete the file to begin afresh, or name another checkpoint."
            )
        for name, part in self.parts.items():
            part.load_state_dict(state[name])

    def _read(self) -> Mapping[str, Any]:
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        # torch and pickle raise whatever the bytes lead them to.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise ValueError(
                f"{self.path} cannot be read as a checkpoint ({reason}). Delete it, or name another file."
            ) from error
        if not isinstance(state, Mapping) or not self.parts.keys() <= state.keys():
            raise ValueError(f"{self.path} is no checkpoint of a training. Delete it, or name another file.")
        return state

    def try_writing(self) -> None:
        """Raise OSError where no file can be written, which is better known before the first step than at a save."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._new().touch()
            self._new().unlink()
        # A ValueError for what is no file's name at all, such as ".".
        except (OSError, ValueError) as error:
            raise OSError(
                f"The checkpoint {self.path} cannot be written ({error}). Name a file in a folder that you may write "
                "to."
            ) from error

    def _new(self) -> Path:
        return self.path.with_name(self.path.name + ".new")

    def save(self, step: int, every: int) -> None:
        if self.path is None or step % every:
            return
        # A crash while writing leaves the old file whole; replace() is one step for the file system.
        new = self._new()
        torch.save(
            {name: part.state_dict() for name, part in self.parts.items()} | {"of_run": self.of_run}, new
        )
        new.replace(self.path)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def digest(value: Any) -> str:
    """A short name for data or settings, the same for equal ones; for a model, of its weights' first numbers."""
    # 16 numbers of each weight tell two models apart, and are read at once however large the model is.
    if isinstance(value, torch.nn.Module):
        named = value.named_parameters()
        value = [(name, tuple(p.shape), p.detach().flatten()[:16].tolist()) for name, p in named]
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def next_token_loss(model, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats a token) of documents `(rows, length + 1)`: the targets are the inputs moved left."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (rows, length, vocab)
    # (rows · length, vocab) against (rows · length,): every token is a target here.
    return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def _replayed(watched, options: LoopOptions, start: int) -> Callable[[], torch.Tensor] | None:
    if options.replay is None:
        return None
    length = min(256, watched.context_length or 256)
    # The last of the ends is the base's, which pretraining set between documents; before it stands a chat's.
    end = next(reversed(watched.eos_token_ids), None)
    batches = replay_rows(watched.tokenizer, options.replay, options.replay_tokens, length, end)
    # A run that goes on where it stopped leaves out what it has read: one batch a step.
    batches, model = islice(batches, start, None), watched.model
    return lambda: next_token_loss(model, next(batches).to(model.device))


def _own_randomness(device: torch.device):
    """A context after which torch's random numbers go on as if nothing had been drawn inside."""
    return torch.random.fork_rng([device.index or 0] if device.type == "cuda" else [])


def _bar(label: str, total: int, start: int, wanted: bool):
    from tqdm import tqdm  # the text bar: it leaves no widget state behind in a notebook

    looks = {"desc": label, "unit": "step", "leave": False, "file": sys.stdout}
    return tqdm(total=total, initial=start, disable=not wanted, **looks)
