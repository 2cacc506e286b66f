"""How Pebble is trained: pretraining from scratch, then supervised fine-tuning. One seed, one command each."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import count, islice, tee
from pathlib import Path

import numpy as np
import torch
import transformers  # by its name: its models, which take a second to import, when they are used
from tokenizers import Tokenizer
from torch.nn import functional as F
from tqdm.auto import tqdm

from course_utils.train.loop import next_token_loss

from ..world.training import SFT, SftRun
from . import tokenizer as pebble_tokenizer
from .muon import Muon
from .writing import written

MODELS = Path(__file__).parent.parent / "models"
SEED = 7
SHARD_TOKENS = 1 << 18
SAVE_EVERY = 250  # steps
ROUNDED_FROM = 0.85  # of the steps: from there on the model runs on its weights as they will be stored


@dataclass(frozen=True)
class Stage:
    """A stretch of pretraining: so many tokens, in batches of rows × length, from a mix of genres."""

    tokens: int
    rows: int
    length: int
    mix: str = "main"


# More copying first, the full context at the end. Small batches all along: at this size steps matter more than
# what each of them sees. The last stage is a second, lower wave of the learning rate ("mid-training") on a mix
# with more of what the first wave left weak.
STAGES = (
    Stage(tokens=10_000_000, rows=16, length=256, mix="early"),
    Stage(tokens=200_000_000, rows=64, length=256),
    Stage(tokens=80_000_000, rows=32, length=512),
    Stage(tokens=90_000_000, rows=32, length=512, mix="late"),
)
MUON_LR, ADAMW_LR, FINAL_LR_SHARE, LATE_LR_SHARE, WARMUP_STEPS = 0.02, 2e-3, 0.03, 0.4, 60


def architecture(width: int = 256) -> transformers.LlamaConfig:
    """Pebble's shape; other widths, multiples of 64, are for the curve over size in benchmarks/size_curve.py."""
    return transformers.LlamaConfig(
        vocab_size=pebble_tokenizer.VOCAB_SIZE,
        hidden_size=width,
        intermediate_size=width * 5 // 2,
        num_hidden_layers=4,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        max_position_embeddings=pebble_tokenizer.CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=3,
        attn_implementation="sdpa",
    )


# -- pretraining ----------------------------------------------------------------------------------------------


def batches(
    tokenizer: Tokenizer, stages: tuple[Stage, ...], seed: int, start: int, workers: int = 0
) -> Iterator[tuple[Stage, torch.Tensor]]:
    """The batches of all stages from batch number `start` on, each of shape (rows, length + 1).

    `workers` processes write the documents ahead; with 0 this process writes them when they are wanted.
    """
    wanted, told = tee(_shards_from(stages, seed, start))
    jobs = ((shard_seed, tokens, stage.mix) for stage, _, shard_seed, tokens in wanted)
    for (stage, first, _, _), (_, ids) in zip(told, written("documents", tokenizer, jobs, workers)):
        stream = torch.from_numpy(np.frombuffer(ids, dtype=np.uint16).astype(np.int64))
        size = stage.rows * (stage.length + 1)
        for at in range(first * size, len(stream) - size + 1, size):
            yield stage, stream[at : at + size].view(stage.rows, stage.length + 1)


def _shards_from(stages: tuple[Stage, ...], seed: int, start: int) -> Iterator[tuple[Stage, int, int, int]]:
    """(stage, its first batch in the shard, seed, tokens) of each shard from batch number `start` on."""
    number = 0
    for s, stage in enumerate(stages):
        size = stage.rows * (stage.length + 1)
        per_shard = SHARD_TOKENS // size
        for k, i in enumerate(range(0, steps_of(stage), per_shard)):
            count = min(per_shard, steps_of(stage) - i)
            if number + count > start:
                yield stage, max(0, start - number), seed * 1_000_003 + s * 10_007 + k, count * size
            number += count


def steps_of(stage: Stage) -> int:
    return max(1, stage.tokens // (stage.rows * stage.length))


def optimizers(
    model: transformers.LlamaForCausalLM, muon_lr: float, adamw_lr: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms (Jordan et al. 2024)."""
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers." in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers." in n)]
    return [
        Muon(hidden, lr=muon_lr, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=adamw_lr, betas=(0.9, 0.95), weight_decay=0.01, fused=True),
    ]


def two_stage_share(step: int, first_wave: int, total: int) -> float:
    """Warm-up and a cosine down to FINAL_LR_SHARE; then the late stage: up to LATE_LR_SHARE and straight down."""
    if step < first_wave:
        if step < WARMUP_STEPS:
            return (step + 1) / WARMUP_STEPS
        done = (step - WARMUP_STEPS) / max(1, first_wave - WARMUP_STEPS)
        return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    step, total = step - first_wave, total - first_wave
    return LATE_LR_SHARE * min((step + 1) / WARMUP_STEPS, max(0.02, 1 - step / total))


def documents_loss(model: transformers.LlamaForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """`next_token_loss` of rows (batch, length + 1), in bfloat16 on a GPU."""
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=rows.device.type == "cuda"):
        return next_token_loss(model, rows)


def pretrain(
    out: Path,
    work: Path,
    *,
    device: str = "cpu",
    seed: int = SEED,
    stages: tuple[Stage, ...] = STAGES,
    width: int = 256,
    processes: int = 1,
    workers: int = 0,
    fresh: bool = False,
) -> None:
    """Train pebble-base from scratch into `out`; `work` keeps the checkpoint from which a rerun resumes.

    `workers` processes write the documents (see `batches`).

    With `processes` > 1 each takes its part of every batch on one thread and the gradients are added up: on a few
    CPU cores that is about twice as fast as as many threads in one process, and gives the same model up to
    rounding.
    """
    tokenizer_for(work)
    _in_processes(
        _pretrain_process, Process(work, device, seed, workers, processes), fresh, out, stages, width
    )


def _pretrain_process(me: Process, out: Path, stages: tuple[Stage, ...], width: int) -> None:
    tokenizer = tokenizer_for(me.work)
    torch.manual_seed(me.seed)
    model = transformers.LlamaForCausalLM(architecture(width)).to(me.device)
    total = sum(steps_of(stage) for stage in stages)
    first_wave = sum(steps_of(stage) for stage in stages if stage.mix != "late")

    def steps(start: int) -> Iterator[list[Part]]:
        for _, rows in batches(tokenizer, stages, me.seed, start, me.workers):
            yield [(documents_loss, (me.part(rows),), 1 / me.processes)]

    def share(step: int) -> float:
        return two_stage_share(step, first_wave, total)

    _train("pretraining", model, (MUON_LR, ADAMW_LR), share, steps, total, me)
    if me.rank == 0:
        save(model, tokenizer, out, chat=False)


# -- the loop both trainings share ------------------------------------------------------------------------------

# One term of a step's loss: the function, its tensors and its weight.
Part = tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...], float]


@dataclass(frozen=True)
class Process:
    """One of the processes that train together: what each of them needs to know."""

    work: Path
    device: str
    seed: int
    workers: int
    processes: int
    rank: int = 0

    def part(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's rows of a batch."""
        return rows[self.rank :: self.processes]


def _in_processes(run: Callable, me: Process, fresh: bool, *args) -> None:
    """Call `run(me, *args)` here, or in so many processes that share their gradients."""
    me.work.mkdir(parents=True, exist_ok=True)
    if fresh:
        for name in ("checkpoint.pt", "history.jsonl"):
            (me.work / name).unlink(missing_ok=True)
    if me.processes == 1:
        run(me, *args)
    else:
        (me.work / "meeting").unlink(missing_ok=True)
        torch.multiprocessing.spawn(_join_and_run, (me, run, args), nprocs=me.processes)


def _join_and_run(rank: int, me: Process, run: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    meeting = (me.work / "meeting").absolute().as_uri()
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=me.processes)
    run(replace(me, rank=rank), *args)
    torch.distributed.destroy_process_group()


def _train(
    label: str,
    model: transformers.LlamaForCausalLM,
    base_lrs: tuple[float, float],
    lr_share: Callable[[int], float],
    steps: Callable[[int], Iterator[list[Part]]],
    total: int,
    me: Process,
) -> None:
    """Train in place for `total` steps, from the checkpoint in `work` if there is one."""
    checkpoint, log = me.work / "checkpoint.pt", me.work / "history.jsonl"
    opts = optimizers(model, *base_lrs)
    start = _load_checkpoint(checkpoint, model, opts) if checkpoint.exists() else 0
    gradients = Gradients(model)
    began, running = time.time(), torch.zeros((), device=model.device)
    bar = tqdm(total=total, initial=start, desc=label, unit="step", mininterval=5, disable=me.rank > 0)
    for step, parts in enumerate(steps(start), start):
        for opt, lr in zip(opts, base_lrs):
            opt.param_groups[0]["lr"] = lr * lr_share(step)
        with as_stored(model) if step >= ROUNDED_FROM * total else nullcontext():
            loss = gradients.of(parts) / sum(weight for *_, weight in parts)
        if me.processes > 1:
            _add_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
        running = loss if step == start else 0.98 * running + 0.02 * loss
        bar.update()
        if me.rank == 0 and (step + 1) % 50 == 0:
            bar.set_postfix(loss=f"{running.item():.3f}")
            smooth, seconds = round(running.item(), 4), round(time.time() - began, 1)
            entry = {"step": step + 1, "loss": smooth, "seconds": seconds}
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        if me.rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == total):
            _save_checkpoint(checkpoint, model, opts, step + 1)
    bar.close()


@contextmanager
def as_stored(model: transformers.LlamaForCausalLM) -> Iterator[None]:
    """Inside, the matrices are what a file will keep of them; the updates then go to the exact ones.

    Gradients of the rounded weights, applied to the exact ones ("straight through"), teach a model to live with the
    rounding: quantisation-aware training.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    exact = [p.detach().clone() for p in matrices]
    with torch.no_grad():
        for p in matrices:
            p.copy_(p.to(torch.float8_e4m3fn))
    yield
    with torch.no_grad():
        for p, was in zip(matrices, exact):
            p.copy_(was)


class Gradients:
    """The gradients of a step's loss, left in the parameters' `grad`.

    On a GPU a step of a model this small is all waiting for kernels to be started, so a step whose shapes have come
    before is recorded once as a CUDA graph and replayed from then on.
    """

    def __init__(self, model: transformers.LlamaForCausalLM) -> None:
        self.model, self.seen = model, Counter()
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, list, torch.Tensor, list]] = {}
        self.pool = None

    def of(self, parts: list[Part]) -> torch.Tensor:
        """The loss, a sum over the parts, without its graph; gradients are new, not added to old ones."""
        if self.model.device.type != "cuda":
            return self._eager(parts)
        key = tuple((part[0], part[2], *(tuple(t.shape) for t in part[1])) for part in parts)
        self.seen[key] += 1
        if self.seen[key] < 3:
            return self._eager(parts)
        if key not in self.graphs:
            self.graphs[key] = self._record(parts)
        graph, inputs, loss, grads = self.graphs[key]
        for held, given in zip(inputs, (t for part in parts for t in part[1])):
            held.copy_(given, non_blocking=True)
        graph.replay()
        for p, grad in zip(self.model.parameters(), grads):
            p.grad = grad
        return loss.clone()

    def _eager(self, parts: list[Part]) -> torch.Tensor:
        self.model.zero_grad(set_to_none=True)
        loss = self._loss(parts)
        loss.backward()
        return loss.detach()

    def _loss(self, parts: list[Part]) -> torch.Tensor:
        device = self.model.device
        return sum(weight * of(self.model, *(t.to(device) for t in tensors)) for of, tensors, weight in parts)

    def _record(self, parts: list[Part]) -> tuple[torch.cuda.CUDAGraph, list, torch.Tensor, list]:
        held = [(of, tuple(t.to(self.model.device).clone() for t in ts), w) for of, ts, w in parts]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            self._eager(held)
        torch.cuda.current_stream().wait_stream(beside)
        self.model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            loss = self._loss(held)
            loss.backward()
            loss = loss.detach()
        self.pool = graph.pool()
        grads = [p.grad for p in self.model.parameters()]
        return graph, [t for part in held for t in part[1]], loss, grads


def _add_gradients(model: transformers.LlamaForCausalLM) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))


def _load_checkpoint(
    path: Path, model: transformers.LlamaForCausalLM, opts: list[torch.optim.Optimizer]
) -> int:
    state = torch.load(path, map_location=model.device, weights_only=True)
    model.load_state_dict(state["model"])
    for opt, saved in zip(opts, state["optimizers"]):
        opt.load_state_dict(saved)
    return state["step"]


def _save_checkpoint(
    path: Path, model: transformers.LlamaForCausalLM, opts: list[torch.optim.Optimizer], step: int
) -> None:
    """Written beside and then moved, so that an interruption never leaves half a file."""
    state = {"model": model.state_dict(), "optimizers": [opt.state_dict() for opt in opts], "step": step}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def tokenizer_for(work: Path) -> Tokenizer:
    """The tokenizer of this work folder: at first the family's own, which stays as it is; a new one without it."""
    path, kept = work / "tokenizer.json", MODELS / "pebble-base" / "tokenizer.json"
    work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        (Tokenizer.from_file(str(kept)) if kept.exists() else pebble_tokenizer.train()).save(str(path))
    return Tokenizer.from_file(str(path))


def save(
    model: transformers.LlamaForCausalLM,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    chat: bool,
    seed: int | None = None,
) -> None:
    """The model with tokenizer and generation config, as `from_pretrained` reads it: see `stored`."""
    wrapped = pebble_tokenizer.wrap(tokenizer, chat=chat)
    im_end = wrapped.convert_tokens_to_ids(pebble_tokenizer.IM_END)
    eos = [im_end, 0] if chat else 0
    copy = transformers.LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.to(torch.bfloat16)
    copy.config.eos_token_id = eos
    copy.generation_config = transformers.GenerationConfig(bos_token_id=0, eos_token_id=eos, pad_token_id=3)
    copy.save_pretrained(folder, state_dict=stored(model, seed))
    wrapped.save_pretrained(folder)


def stored(model: torch.nn.Module, seed: int | None = None) -> dict[str, torch.Tensor]:
    """The weights as files keep them: matrices in one byte a number (float8 e4m3), everything else as it is.

    A file is half as large as in bfloat16, and `from_pretrained` turns its numbers into the dtype that the config
    names. Each becomes one of its two neighbours: the nearer one or, with a seed, either by chance, the nearer one
    more often. Chance keeps small changes: DPO moves a weight by less than a hundredth of the way to the next number
    that a byte can hold, so that the nearer one would be where it began, every time.
    """
    rng = None if seed is None else torch.Generator().manual_seed(seed)
    kept = ("lm_head.weight", "score.weight")  # the first is the embedding once more, the second has one row
    return {
        name: in_a_byte(weight, rng) if weight.dim() > 1 and name not in kept else weight.to(torch.bfloat16)
        for name, weight in model.state_dict().items()
        if name != "lm_head.weight"
    }


def in_a_byte(weight: torch.Tensor, rng: torch.Generator | None = None) -> torch.Tensor:
    """The weight in float8 e4m3, each number rounded to the nearest or, with a generator, up or down by chance."""
    weight = weight.detach().float()
    nearest = weight.to(torch.float8_e4m3fn)
    if rng is None:
        return nearest
    # Sign apart, the bytes stand in the order of what they mean: the neighbour is one more or one less.
    away = torch.where(weight.abs() > nearest.float().abs(), 1, -1)
    other = (nearest.view(torch.uint8).to(torch.int16) + away).to(torch.uint8).view(torch.float8_e4m3fn)
    missed = (weight - nearest.float()).abs()
    chance = missed / (other.float() - nearest.float()).abs()
    moved = torch.rand(weight.shape, generator=rng) < chance
    return torch.where(moved, other.float(), nearest.float()).to(torch.float8_e4m3fn)


# -- supervised fine-tuning -----------------------------------------------------------------------------------

CHUNK = 30_000  # conversations that are written together


def conversation_batches(
    tokenizer: Tokenizer, seed: int, tokens: int, workers: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of fresh conversations: (ids, labels), both (rows, length), some `tokens` ids each.

    Labels are -100 where nothing is to be learned. `workers` processes write ahead, as in `batches`.
    """
    jobs = ((seed * 100_003 + k, CHUNK, tokens) for k in count())
    for _, chunk in written("conversations", tokenizer, jobs, workers):
        for length, ids, mask in chunk:
            rows = torch.from_numpy(np.frombuffer(ids, dtype=np.uint16).astype(np.int64)).view(-1, length)
            learned = torch.frombuffer(bytearray(mask), dtype=torch.uint8).view(-1, length).bool()
            yield rows, torch.where(learned, rows, -100)


def sft(
    base: Path,
    out: Path,
    work: Path,
    *,
    device: str = "cpu",
    seed: int = SEED,
    run: SftRun = SFT,
    processes: int = 1,
    workers: int = 0,
    fresh: bool = False,
) -> None:
    """Fine-tune `base` on conversations, with pretraining documents replayed at every step, into `out`.

    Replay adds the pretraining loss to each step, as PPO-ptx does (Ouyang et al. 2022, arXiv 2203.02155);
    without it the model forgets what the examples never ask. With several processes each takes a batch of
    conversations and its part of the replayed documents. `work` keeps the checkpoint from which a rerun resumes.
    """
    _in_processes(_sft_process, Process(work, device, seed, workers, processes), fresh, base, out, run)


def _sft_process(me: Process, base: Path, out: Path, run: SftRun) -> None:
    torch.manual_seed(me.seed)
    tokenizer = pebble_tokenizer.load(base)
    model = transformers.LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).to(me.device)
    stage = Stage(tokens=10**12, rows=max(1, run.replay_rows), length=256)

    def steps(start: int) -> Iterator[list[Part]]:
        replay = batches(tokenizer, (stage,), me.seed + 1, start, me.workers)
        told = conversation_batches(tokenizer, me.seed, run.tokens, me.workers)
        for batch in islice(told, start * me.processes + me.rank, run.steps * me.processes, me.processes):
            parts: list[Part] = [(sft_loss, batch, 1 / me.processes)]
            if run.replay_rows:
                parts.append((documents_loss, (me.part(next(replay)[1]),), 1 / me.processes))
            yield parts

    def share(step: int) -> float:
        return min((step + 1) / WARMUP_STEPS, max(0.02, 1 - step / run.steps))

    _train("sft", model, (run.muon_lr, run.adamw_lr), share, steps, run.steps, me)
    if me.rank == 0:
        save(model, tokenizer, out, chat=True)


def sft_loss(model: transformers.LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy on the labelled tokens; ids and labels are (rows, length), padded on the right."""
    device_type = ids.device.type
    with torch.autocast(device_type, torch.bfloat16, enabled=device_type == "cuda"):
        if device_type == "cuda":  # shapes stay the same from step to step, as a CUDA graph needs
            logits = model(input_ids=ids[:, :-1]).logits
            return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        learned = labels[:, 1:] != -100  # the output layer is a quarter of the work: only where a label is
        hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state[learned]
        return F.cross_entropy(model.lm_head(hidden), labels[:, 1:][learned])
