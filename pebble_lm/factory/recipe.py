"""How Pebble is trained: pretraining from scratch, then supervised fine-tuning. One seed, one command each."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from ..world import corpus
from ..world.training import REPLAY_ROWS, SFT_TOKENS_A_STEP, SFT_WAVES, Wave
from . import tokenizer as pebble_tokenizer

MODELS = Path(__file__).parent.parent / "models"
SEED = 7
SHARD_TOKENS = 1 << 18
SAVE_EVERY = 250  # steps


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
    Stage(tokens=2_500_000, rows=8, length=256, mix="early"),
    Stage(tokens=9_500_000, rows=8, length=256),
    Stage(tokens=4_000_000, rows=4, length=512),
    Stage(tokens=4_000_000, rows=4, length=512, mix="late"),
)
MUON_LR, ADAMW_LR, FINAL_LR_SHARE, LATE_LR_SHARE, WARMUP_STEPS = 0.02, 2e-3, 0.03, 0.4, 60


def architecture() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=pebble_tokenizer.VOCAB_SIZE,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=pebble_tokenizer.CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=3,
        attn_implementation="sdpa",
    )


# -- pretraining ----------------------------------------------------------------------------------------------


def shard(tokenizer: Tokenizer, seed: int, tokens: int, mix: str) -> torch.Tensor:
    """At least `tokens` token ids of fresh documents, each opened by `<|endoftext|>`."""
    ids: list[int] = []
    documents = corpus.documents(seed, mix)
    while len(ids) < tokens:
        texts = [next(documents)[1] for _ in range(512)]
        ids.extend(chain.from_iterable(encoding.ids for encoding in tokenizer.encode_batch(texts)))
    return torch.tensor(ids[:tokens])


def batches(
    tokenizer: Tokenizer, stages: tuple[Stage, ...], seed: int, start: int
) -> Iterator[tuple[Stage, torch.Tensor]]:
    """The batches of all stages from batch number `start` on, each of shape (rows, length + 1)."""
    number = 0
    for s, stage in enumerate(stages):
        per_shard = SHARD_TOKENS // (stage.rows * (stage.length + 1))
        for i in range(steps_of(stage)):
            if number >= start:
                if i % per_shard == 0 or number == start:
                    stream = shard(
                        tokenizer, seed * 1_000_003 + s * 10_007 + i // per_shard, SHARD_TOKENS, stage.mix
                    )
                size = stage.rows * (stage.length + 1)
                at = (i % per_shard) * size
                yield stage, stream[at : at + size].view(stage.rows, stage.length + 1)
            number += 1


def steps_of(stage: Stage) -> int:
    return max(1, stage.tokens // (stage.rows * stage.length))


def optimizers(model: LlamaForCausalLM, muon_lr: float, adamw_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms (Jordan et al. 2024)."""
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers." in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers." in n)]
    return [
        torch.optim.Muon(hidden, lr=muon_lr, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=adamw_lr, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def learning_rate_share(step: int, first_wave: int, total: int) -> float:
    """Warm-up and a cosine down to FINAL_LR_SHARE; then the late stage: up to LATE_LR_SHARE and straight down."""
    if step < first_wave:
        if step < WARMUP_STEPS:
            return (step + 1) / WARMUP_STEPS
        done = (step - WARMUP_STEPS) / max(1, first_wave - WARMUP_STEPS)
        return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    step, total = step - first_wave, total - first_wave
    return LATE_LR_SHARE * min((step + 1) / WARMUP_STEPS, max(0.02, 1 - step / total))


def next_token_loss(model: LlamaForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats a token) of rows (batch, length + 1): the targets are the inputs moved one left."""
    device_type = rows.device.type
    with torch.autocast(device_type, torch.bfloat16, enabled=device_type != "mps"):
        logits = model(input_ids=rows[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def pretrain(
    out: Path,
    work: Path,
    *,
    device: str = "cpu",
    seed: int = SEED,
    stages: tuple[Stage, ...] = STAGES,
    processes: int = 1,
    fresh: bool = False,
) -> None:
    """Train pebble-base from scratch into `out`; `work` keeps the checkpoint from which a rerun resumes.

    With `processes` > 1 each takes its part of every batch on one thread and the gradients are added up: on a few
    CPU cores that is about twice as fast as as many threads in one process, and gives the same model up to
    rounding.
    """
    tokenizer_for(work)
    _in_processes(_pretrain_process, processes, work, fresh, out, device, seed, stages)


def _pretrain_process(
    rank: int, processes: int, work: Path, out: Path, device: str, seed: int, stages: tuple[Stage, ...]
) -> None:
    tokenizer = tokenizer_for(work)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(architecture()).to(device)
    total = sum(steps_of(stage) for stage in stages)
    first_wave = sum(steps_of(stage) for stage in stages if stage.mix != "late")

    def steps(start: int) -> Iterator[list[Part]]:
        for _, rows in batches(tokenizer, stages, seed, start):
            yield [(next_token_loss, (rows[rank::processes],), 1 / processes)]

    def share(step: int) -> float:
        return learning_rate_share(step, first_wave, total)

    _train("pretraining", model, (MUON_LR, ADAMW_LR), share, steps, total, work, rank, processes)
    if rank == 0:
        save(model, tokenizer, out, chat=False)


# -- the loop both trainings share ------------------------------------------------------------------------------

# One term of a step's loss: the function, its tensors and its weight.
Part = tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...], float]


def _in_processes(run: Callable, processes: int, work: Path, fresh: bool, *args) -> None:
    """Call `run(rank, processes, work, *args)` here, or in so many processes that share their gradients."""
    work.mkdir(parents=True, exist_ok=True)
    if fresh:
        for name in ("checkpoint.pt", "history.jsonl"):
            (work / name).unlink(missing_ok=True)
    if processes == 1:
        run(0, 1, work, *args)
    else:
        (work / "meeting").unlink(missing_ok=True)
        torch.multiprocessing.spawn(_join_and_run, (processes, work, run, args), nprocs=processes)


def _join_and_run(rank: int, processes: int, work: Path, run: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    meeting = (work / "meeting").absolute().as_uri()
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    run(rank, processes, work, *args)
    torch.distributed.destroy_process_group()


def _train(
    label: str,
    model: LlamaForCausalLM,
    base_lrs: tuple[float, float],
    lr_share: Callable[[int], float],
    steps: Callable[[int], Iterator[list[Part]]],
    total: int,
    work: Path,
    rank: int,
    processes: int,
) -> None:
    """Train in place for `total` steps, from the checkpoint in `work` if there is one."""
    checkpoint, log = work / "checkpoint.pt", work / "history.jsonl"
    opts = optimizers(model, *base_lrs)
    start = _load_checkpoint(checkpoint, model, opts) if checkpoint.exists() else 0
    began, running = time.time(), 0.0
    bar = tqdm(total=total, initial=start, desc=label, unit="step", mininterval=5, disable=rank > 0)
    for step, parts in enumerate(steps(start), start):
        for opt, lr in zip(opts, base_lrs):
            opt.param_groups[0]["lr"] = lr * lr_share(step)
        loss = sum(
            weight * loss_of(model, *(t.to(model.device) for t in tensors))
            for loss_of, tensors, weight in parts
        )
        loss.backward()
        if processes > 1:
            _add_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        part_loss = loss.item() / sum(weight for *_, weight in parts)
        running = part_loss if step == start else 0.98 * running + 0.02 * part_loss
        bar.update()
        if rank == 0 and (step + 1) % 50 == 0:
            bar.set_postfix(loss=f"{running:.3f}")
            with open(log, "a", encoding="utf-8") as file:
                entry = {
                    "step": step + 1,
                    "loss": round(running, 4),
                    "seconds": round(time.time() - began, 1),
                }
                file.write(json.dumps(entry) + "\n")
        if rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == total):
            _save_checkpoint(checkpoint, model, opts, step + 1)
    bar.close()


def _add_gradients(model: LlamaForCausalLM) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))


def _load_checkpoint(path: Path, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer]) -> int:
    state = torch.load(path, map_location=model.device, weights_only=True)
    model.load_state_dict(state["model"])
    for opt, saved in zip(opts, state["optimizers"]):
        opt.load_state_dict(saved)
    return state["step"]


def _save_checkpoint(
    path: Path, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], step: int
) -> None:
    """Written beside and then moved, so that an interruption never leaves half a file."""
    state = {"model": model.state_dict(), "optimizers": [opt.state_dict() for opt in opts], "step": step}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def tokenizer_for(work: Path) -> Tokenizer:
    """The tokenizer of this work folder, trained on first use."""
    path = work / "tokenizer.json"
    work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        pebble_tokenizer.train().save(str(path))
    return Tokenizer.from_file(str(path))


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path, *, chat: bool) -> None:
    """The model as bf16 safetensors with tokenizer and generation config, as `from_pretrained` reads it."""
    wrapped = pebble_tokenizer.wrap(tokenizer, chat=chat)
    im_end = wrapped.convert_tokens_to_ids(pebble_tokenizer.IM_END)
    eos = [im_end, 0] if chat else 0
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.to(torch.bfloat16)
    copy.config.eos_token_id = eos
    copy.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=eos, pad_token_id=3)
    copy.save_pretrained(folder)
    wrapped.save_pretrained(folder)


# -- supervised fine-tuning -----------------------------------------------------------------------------------

SFT_MUON_LR, SFT_ADAMW_LR = 0.006, 6e-4


def encode_conversation(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """(token ids, loss mask) of a conversation in ChatML: loss on the assistant's words and its end of turn."""
    ids, mask = [0], [0]
    for message in messages:
        header = tokenizer.encode(f"<|im_start|>{message['role']}\n", add_special_tokens=False).ids
        content = tokenizer.encode(f"{message['content']}<|im_end|>", add_special_tokens=False).ids
        newline = tokenizer.encode("\n", add_special_tokens=False).ids
        ids += header + content + newline
        mask += [0] * len(header) + [int(message["role"] == "assistant")] * len(content) + [0] * len(newline)
    return ids, mask


def conversation_batches(
    tokenizer: Tokenizer, conversations: list[list[dict[str, str]]], rng: Random
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Padded batches of about SFT_TOKENS_A_STEP tokens, similar lengths together, in random order.

    Returns (ids, labels) pairs of shape (rows, length); labels are -100 where nothing is to be learned.
    """
    encoded = [encode_conversation(tokenizer, messages) for messages in conversations]
    encoded = [(ids, mask) for ids, mask in encoded if len(ids) <= pebble_tokenizer.CONTEXT]
    rng.shuffle(encoded)
    groups: list[list[tuple[list[int], list[int]]]] = []
    for at in range(
        0, len(encoded), 1024
    ):  # sorted inside windows, so that every batch has many lengths' order
        group: list[tuple[list[int], list[int]]] = []
        for item in sorted(encoded[at : at + 1024], key=lambda pair: len(pair[0])):
            if group and len(item[0]) * (len(group) + 1) > SFT_TOKENS_A_STEP:
                groups.append(group)
                group = []
            group.append(item)
        if group:
            groups.append(group)
    rng.shuffle(groups)
    return [_pad(group) for group in groups]


def _pad(group: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(ids) for ids, _ in group)
    ids = torch.tensor([ids + [3] * (length - len(ids)) for ids, _ in group])
    mask = torch.tensor([mask + [0] * (length - len(mask)) for _, mask in group])
    return ids, torch.where(mask.bool(), ids, -100)


def sft(
    base: Path,
    out: Path,
    work: Path,
    *,
    device: str = "cpu",
    seed: int = SEED,
    waves: tuple[Wave, ...] = SFT_WAVES,
    replay_rows: int = REPLAY_ROWS,
    processes: int = 1,
    fresh: bool = False,
) -> None:
    """Fine-tune pebble-base on conversations, with pretraining documents replayed at every step, into `out`.

    Replay adds the pretraining loss to each step, as PPO-ptx does (Ouyang et al. 2022, arXiv 2203.02155);
    without it the model forgets what the examples never ask. With two processes one takes the conversations
    and the other the replayed documents. `work` keeps the checkpoint from which a rerun resumes.
    """
    processes = min(processes, 2 if replay_rows else 1)
    _in_processes(_sft_process, processes, work, fresh, base, out, device, seed, waves, replay_rows)


def _sft_process(
    rank: int,
    processes: int,
    work: Path,
    base: Path,
    out: Path,
    device: str,
    seed: int,
    waves: tuple[Wave, ...],
    replay_rows: int,
) -> None:
    from ..world.conversations import conversations

    torch.manual_seed(seed)
    tokenizer = pebble_tokenizer.load(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).to(device)
    data: list[tuple[torch.Tensor, torch.Tensor]] = []
    shares: list[float] = []  # of the peak learning rate, a step
    for number, wave in enumerate(waves):
        examples = conversations(seed + number, wave.examples, wave.wordings)
        wave_batches = conversation_batches(tokenizer, examples, Random(seed + number))
        data += wave_batches
        shares += [
            wave.peak * min((step + 1) / WARMUP_STEPS, max(0.02, 1 - step / len(wave_batches)))
            for step in range(len(wave_batches))
        ]
    stage = Stage(tokens=10**12, rows=max(1, replay_rows), length=256)

    def steps(start: int) -> Iterator[list[Part]]:
        replay = batches(tokenizer, (stage,), seed + 1, start)
        for ids, labels in data[start:]:
            parts: list[Part] = [(sft_loss, (ids, labels), 1.0)]
            if replay_rows:
                parts.append((next_token_loss, (next(replay)[1],), 1.0))
            yield parts[rank::processes]

    _train(
        "sft", model, (SFT_MUON_LR, SFT_ADAMW_LR), shares.__getitem__, steps, len(data), work, rank, processes
    )
    if rank == 0:
        save(model, tokenizer, out, chat=True)


def sft_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy on the labelled tokens; ids and labels are (rows, length), padded on the right."""
    device_type = ids.device.type
    with torch.autocast(device_type, torch.bfloat16, enabled=device_type != "mps"):
        logits = model(input_ids=ids[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
