"""How the rungs above pebble-sft are trained: DPO, a reward model and policy gradient, and a chat with personas.

Each is a few minutes on two CPU cores, starts from pebble-sft, resumes from its work folder when it was interrupted,
and writes the model and its `history.csv` into the models folder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from course_utils import train
from course_utils.evaluate import judges

from ..world import conversations, corpus, knowledge, personas, preferences
from ..world.watch import watch, watch_personas
from . import recipe
from . import tokenizer as pebble_tokenizer

if TYPE_CHECKING:
    import pandas as pd

    from course_utils.variant import Variant

# By name and not by measurement, so that a rerun does the same; autocast only pays on a GPU at this size.
PRECISION = "float32"

DPO_PAIRS, DPO_SAMPLED, DPO_BETA, DPO_LR, DPO_STEPS, DPO_NLL = 2_500, 9_000, 0.3, 1.5e-5, 200, 1.0
# DPO ends when hedging is gone from the dev questions, and in any case before it collapses.
DPO_HEDGED, DPO_LEAST_MARGIN, DPO_MOST_MARGIN = 0.03, 2.0, 8.0
REWARD_PAIRS, REWARD_LR = 5_000, 3e-4
RL_REQUESTS, RL_STEPS, RL_LR, RL_BETA, RL_TOKENS = 4_000, 100, 3e-5, 0.05, 48
RL_HEDGED, RL_MOST_KL = 0.02, 8.0  # nats per answer
# The run that shows what the KL penalty is for: none, a steeper climb, and on until most answers are wrong.
HACKED_STEPS, HACKED_LR, HACKED_RIGHT = 150, 1e-4, 0.3
CHAT_EXAMPLES, CHAT_LR = 10_000, 4e-4


def dpo(
    models: Path, work: Path, *, device: str = "cpu", seed: int = recipe.SEED, fresh: bool = False
) -> None:
    """pebble-sft to pebble-dpo: answers without hedging, firmer refusals, fewer wrong ones.

    Some pairs are generated; in the others the rejected answer is one that pebble-sft itself gave.
    """
    start = _sft(models, device)
    pairs = preferences.preferences(seed, DPO_PAIRS) + own_mistakes(start, seed, DPO_SAMPLED)
    Random(seed).shuffle(pairs)
    trained = train.dpo(
        start,
        pairs,
        name="pebble-dpo",
        beta=DPO_BETA,
        lr=DPO_LR,
        steps=DPO_STEPS,
        nll_weight=DPO_NLL,
        stop_at_margin=DPO_MOST_MARGIN,
        stop_when=_dpo_done,
        schedule="constant",
        evaluate=watch,
        every=10,
        **_repeatable(work, seed, fresh),
    )
    _save(trained, models, "pebble-dpo")


def own_mistakes(variant: Variant, seed: int, count: int) -> list[dict]:
    """Preference pairs whose rejected answer the model gave itself: `count` requests sampled at temperature 1.

    Only what is judged wrong makes a pair; the chosen answer is the generator's. That is something fine-tuning on the
    chosen answers cannot do: it never sees what the model would have said instead.
    """
    rng = conversations.Draw(f"mistakes/{seed}")
    drawn = [SAMPLED[rng.choice(list(SAMPLED))](rng) for _ in range(count)]
    asked = [messages[:-1] for messages, _ in drawn]
    answers = variant.chat_batch(asked, max_new_tokens=72, temperature=1.0, seed=seed)
    found = []
    for (messages, right), answer in zip(drawn, answers):
        reply = messages[-1]["content"]
        if answer.text.strip() not in ("", reply.strip()) and not right(answer.text):
            pair = preferences.pair(messages[:-1], reply, answer.text)
            found.append(pair | {"kind": "right over its own mistake"})
    return found


Drawn = tuple[
    list[conversations.Message], Callable[[str], bool]
]  # a conversation, a judge of its last answer


def _asked_fact(rng: Random) -> Drawn:
    fact = conversations.seen_fact(rng)
    return conversations.plain_question(rng, fact), lambda text: judges.says(text, fact.value)


def _talk(rng: Random) -> Drawn:
    messages, accept = conversations.talked(rng)
    return messages, lambda text: any(phrase.lower() in judges.plain(text).lower() for phrase in accept)


def _says_so(text: str, right: str) -> bool:
    """Whether an answer says that the question is beyond Pebble, or about something that it never read of."""
    data = knowledge.data("beyond")
    said = judges.plain(text).lower()
    return any(phrase in said for phrase in (*data["accept"], *data["unknown"]["accept"]))


def _judged_by(write: Callable, judge: Callable[[str, str], bool]) -> Callable[[Random], Drawn]:
    def draw(rng: Random) -> Drawn:
        messages = write(rng)
        return messages, lambda text: judge(text, messages[-1]["content"])

    return draw


def _refuses(text: str, right: str) -> bool:
    return judges.refuses(text)


def _same_ends(text: str, right: str) -> bool:
    return text.split()[:1] == right.split()[:1] and text.split()[-1:] == right.split()[-1:]


def _same_sum(text: str, right: str) -> bool:
    return text.split()[-1].strip(".") in right.split()[-1]


SAMPLED: dict[str, Callable[[Random], Drawn]] = {
    "facts": _asked_fact,
    "sums": _judged_by(conversations.sums, _same_sum),
    "refusals": _judged_by(conversations.refusal, _refuses),
    "instructions": _judged_by(conversations.instructions, lambda text, _: not judges.refuses(text)),
    "JSON": _judged_by(conversations.json_request, lambda text, right: text == right),
    "talk": _talk,
    "unknown": _judged_by(conversations.unknown, _says_so),
    "unknown again": _judged_by(conversations.unknown, _says_so),
    "beyond": _judged_by(conversations.beyond, _says_so),
    "beyond again": _judged_by(conversations.beyond, _says_so),
    "turned": _judged_by(conversations.turned, _same_ends),
}


def reward(
    models: Path, work: Path, *, device: str = "cpu", seed: int = recipe.SEED, fresh: bool = False
) -> None:
    """pebble-reward: a number for an answer, learned from preferences that DPO has not seen."""
    held = preferences.preferences(seed + 2, 200)
    trained = train.reward(
        _sft(models, device),
        preferences.preferences(seed + 1, REWARD_PAIRS),
        name="pebble-reward",
        lr=REWARD_LR,
        evaluate=lambda judge: {"held_out_accuracy": train.preference_accuracy(judge, held)},
        **_repeatable(work, seed, fresh),
    )
    _require_finished(trained)
    out = models / "pebble-reward"
    model = copy.deepcopy(trained.variant.model).to("cpu")
    state = recipe.stored(model, recipe.SEED)
    model.bfloat16().save_pretrained(out, state_dict=state)
    pebble_tokenizer.wrap(pebble_tokenizer.load(models / "pebble-sft"), chat=True).save_pretrained(out)
    trained.history.to_csv(out / "history.csv", index=False, float_format="%.5g")


def rl(
    models: Path,
    work: Path,
    *,
    device: str = "cpu",
    seed: int = recipe.SEED,
    fresh: bool = False,
    hacked: bool = False,
) -> None:
    """pebble-sft to pebble-rl: up the reward of pebble-reward, with a KL penalty.

    `hacked` leaves the penalty out and climbs on: reward up, right answers down. Of that run only the history is
    kept, as `hacked.csv` beside pebble-rl.
    """
    judge = train.load_reward(models / "pebble-reward", device=device)
    trained = train.rl(
        _sft(models, device),
        preferences.requests(seed, RL_REQUESTS),
        judge,
        name="pebble-rl",
        steps=HACKED_STEPS if hacked else RL_STEPS,
        lr=HACKED_LR if hacked else RL_LR,
        beta=0.0 if hacked else RL_BETA,
        max_new_tokens=RL_TOKENS,
        stop_when=_hacked_done if hacked else _rl_done,
        evaluate=watch,
        every=10,
        **_repeatable(work, seed, fresh, "hacked.pt" if hacked else "checkpoint.pt"),
    )
    if hacked:
        _require_finished(trained)
        (models / "pebble-rl").mkdir(parents=True, exist_ok=True)
        trained.history.to_csv(models / "pebble-rl" / "hacked.csv", index=False, float_format="%.5g")
    else:
        _save(trained, models, "pebble-rl")


def chat(
    models: Path, work: Path, *, device: str = "cpu", seed: int = recipe.SEED, fresh: bool = False
) -> None:
    """pebble-sft to pebble-chat: personas and manners set by the system prompt, over several turns."""
    trained = train.sft(
        _sft(models, device),
        [messages for messages in personas.chats(seed, CHAT_EXAMPLES) if _fits(messages)],
        name="pebble-chat",
        lr=CHAT_LR,
        evaluate=watch_personas,
        every=100,
        replay=documents(seed + 3),
        **_repeatable(work, seed, fresh),
    )
    _save(trained, models, "pebble-chat")


def _dpo_done(history: pd.DataFrame) -> str:
    done = _latest(history, "hedged") <= DPO_HEDGED and history["margin"].tail(8).mean() >= DPO_LEAST_MARGIN
    return "stopped with the hedging gone" if done else ""


def _rl_done(history: pd.DataFrame) -> str:
    kl = history["kl"].tail(5).mean()
    if kl >= RL_MOST_KL:
        return f"stopped at a KL of {kl:.1f} nats per answer"
    return "stopped with the hedging gone" if _latest(history, "hedged") <= RL_HEDGED else ""


def _hacked_done(history: pd.DataFrame) -> str:
    return "stopped with most answers wrong" if _latest(history, "right") <= HACKED_RIGHT else ""


def _latest(history: pd.DataFrame, measure: str) -> float:
    """The newest value of what `watch` measures; infinite before the first."""
    known = history[measure].dropna() if measure in history else history["step"].iloc[:0]
    return float(known.iloc[-1]) if len(known) else float("inf")


def documents(seed: int) -> Iterator[str]:
    """Endless pretraining documents, for replay."""
    return (text for _, text in corpus.documents(seed))


def _sft(models: Path, device: str) -> Variant:
    from course_utils.pairs import load_variant

    return load_variant(str(models / "pebble-sft"), device=device)


def _fits(messages: list[conversations.Message]) -> bool:
    """Whether a conversation is short enough, with room to spare (a token is some three characters)."""
    return sum(len(m["content"]) + 20 for m in messages) < 2 * pebble_tokenizer.CONTEXT


def _repeatable(work: Path, seed: int, fresh: bool, name: str = "checkpoint.pt") -> dict[str, object]:
    """What lets a rerun do the same, and go on from the checkpoint of a run that was interrupted."""
    work.mkdir(parents=True, exist_ok=True)
    if fresh:
        (work / name).unlink(missing_ok=True)
    return {"seed": seed, "precision": PRECISION, "checkpoint": work / name}


def _require_finished(trained: train.Trained) -> None:
    if trained.stopped.startswith("interrupted"):
        raise KeyboardInterrupt(
            f"{trained.stopped}; run the same command again to go on from the last checkpoint"
        )


def _save(trained: train.Trained, models: Path, name: str) -> None:
    _require_finished(trained)
    recipe.save(
        trained.model.to("cpu"),
        pebble_tokenizer.load(models / "pebble-sft"),
        models / name,
        chat=True,
        seed=recipe.SEED,
    )
    trained.history.to_csv(models / name / "history.csv", index=False, float_format="%.5g")
