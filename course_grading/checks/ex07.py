"""Exercise 07, the spectrum: DPO's loss, advantages, what DPO moved, best of n, pairs of one's own, a checkpoint."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import torch
from torch.nn import functional as F

from course_utils.evaluate import mcnemar
from course_utils.evaluate.stats import wilson

from . import draw, talks
from .open_task import Measured, OpenTask, Unusable
from .task import Case, Claim, Prediction, Task, told

# -- DPO's loss -----------------------------------------------------------------------------------------------


def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -F.logsigmoid(beta * _margin(chosen, rejected, ref_chosen, ref_rejected))


def _margin(chosen, rejected, ref_chosen, ref_rejected, of: Callable = torch.sum, reference: float = 1.0):
    """log π/ref of the chosen answer less that of the rejected one, in nats; with other settings, wrong ones."""
    return of(chosen) - reference * of(ref_chosen) - (of(rejected) - reference * of(ref_rejected))


def _logprobs(rng: Random, tokens: int, scale: float = 1.0) -> torch.Tensor:
    return -draw.normal(rng, tokens, scale=scale).abs()


def _pair(rng: Random) -> tuple:
    """Two answers of different lengths: log-probabilities of their tokens under the policy and the reference."""
    long, short = rng.randint(8, 12), rng.randint(2, 5)
    sizes = (long, short) if rng.random() < 0.5 else (short, long)
    return *(_logprobs(rng, n) for n in sizes * 2), rng.uniform(0.05, 0.5)


def _first_step(rng: Random) -> tuple:
    chosen, rejected, *_ = _pair(rng)
    return chosen, rejected, chosen.clone(), rejected.clone(), rng.uniform(0.05, 0.5)


def _turned_round(rng: Random) -> tuple:
    """A pair that the policy has got entirely wrong: the probability underflows, its logarithm need not."""
    n = rng.randint(10, 14)
    sure, doubtful = _logprobs(rng, n, 0.1), _logprobs(rng, n) - rng.uniform(150, 250)
    return doubtful, sure, sure.clone(), _logprobs(rng, n), rng.uniform(0.3, 0.5)


def _loss_of(change: Callable) -> Callable:
    return lambda *given: change(_margin(*given[:4]), given[4])


DPO_LOSS = Task(
    name="dpo_loss",
    title="The loss of DPO",
    minutes=8,
    answer=dpo_loss,
    cases=[
        Case("answers of different lengths", 10, _pair),
        Case("a policy that is still the reference", 4, _first_step),
        Case("a pair that the policy has entirely wrong", 4, _turned_round),
    ],
    mistakes={
        "the margin is turned round": _loss_of(lambda margin, beta: -F.logsigmoid(-beta * margin)),
        "no reference": lambda *given: -F.logsigmoid(given[4] * _margin(*given[:4], reference=0.0)),
        "the reference is added": lambda *given: (
            -F.logsigmoid(given[4] * _margin(*given[:4], reference=-1.0))
        ),
        "means instead of sums": lambda *given: -F.logsigmoid(given[4] * _margin(*given[:4], of=torch.mean)),
        "beta outside": _loss_of(lambda margin, beta: -beta * F.logsigmoid(margin)),
        "no beta": _loss_of(lambda margin, beta: -F.logsigmoid(margin)),
        "no minus": _loss_of(lambda margin, beta: F.logsigmoid(beta * margin)),
        "no logarithm": _loss_of(lambda margin, beta: 1 - torch.sigmoid(beta * margin)),
        "infinity": _loss_of(lambda margin, beta: -torch.log(torch.sigmoid(beta * margin))),
        "divided by beta": _loss_of(lambda margin, beta: -F.logsigmoid(margin / beta)),
        "no sigmoid": _loss_of(lambda margin, beta: -beta * margin),
    },
)

# -- advantages, find and fix the bug -------------------------------------------------------------------------


def advantages(rewards, kl, beta):
    total = rewards - beta * kl
    return total - total.mean(1, keepdim=True)


def _rollouts(rng: Random, prompts: int) -> tuple:
    """Rewards and KLs of shape (prompts, group): some prompts are hard, some answers far from the reference."""
    group = rng.randint(3, 5)
    rewards = draw.normal(rng, prompts, group) + draw.normal(rng, prompts, 1, scale=3.0)
    return rewards, draw.normal(rng, prompts, group, scale=4.0).abs(), rng.uniform(0.05, 0.5)


def _centred(of: Callable) -> Callable:
    """An answer whose total is `of(rewards, kl, beta)`, with the right baseline."""

    def answer(rewards, kl, beta):
        total = of(rewards, kl, beta)
        return total - total.mean(1, keepdim=True)

    return answer


def _penalised(baseline: Callable) -> Callable:
    """An answer with the right total and the baseline `baseline(total)`."""

    def answer(rewards, kl, beta):
        total = rewards - beta * kl
        return total - baseline(total)

    return answer


def _divided(correction: int) -> Callable:
    """GRPO's habit: in units of the group's spread; of two ways to compute that, one."""

    def answer(rewards, kl, beta):
        total = rewards - beta * kl
        return (total - total.mean(1, keepdim=True)) / (
            total.std(1, keepdim=True, correction=correction) + 1e-6
        )

    return answer


def _both_bugs(rewards, kl, beta):
    total = rewards + beta * kl
    return total - total.mean()


ADVANTAGES = Task(
    name="advantages",
    title="Find and fix the bug: a policy that is paid for leaving",
    minutes=10,
    answer=advantages,
    cases=[
        Case("easy prompts and hard ones", 12, lambda rng: _rollouts(rng, rng.randint(3, 5))),
        Case("a single prompt", 4, lambda rng: _rollouts(rng, 1)),
    ],
    mistakes={
        "both bugs are left": _both_bugs,
        "the KL is rewarded": _centred(lambda rewards, kl, beta: rewards + beta * kl),
        "one mean for all prompts": _penalised(torch.Tensor.mean),
        "the mean over the wrong direction": _penalised(lambda total: total.mean(0, keepdim=True)),
        "divided by the spread": _divided(1),
        "divided by the spread of n": _divided(0),
        "no baseline": _penalised(torch.zeros_like),
        "the group's best": _penalised(lambda total: total.amax(1, keepdim=True)),
        "no penalty": _centred(lambda rewards, kl, beta: rewards),
        "beta is missing": _centred(lambda rewards, kl, beta: rewards - kl),
        "penalised after the baseline": lambda rewards, kl, beta: (
            rewards - rewards.mean(1, keepdim=True) - beta * kl
        ),
        "the mean of the others": _penalised(
            lambda total: (total.sum(1, keepdim=True) - total) / (total.shape[1] - 1)
        ),
    },
)

# -- predict, then measure ------------------------------------------------------------------------------------

ASKED, SAMPLED, TOKENS = 64, 150, 32


@cache
def _rung(name: str):
    from course_utils.pairs import load_variant

    return load_variant(f"pebble-{name}")


def _step_zero(rng: Random) -> tuple[str | None, str]:
    from course_utils import train
    from pebble_lm.world import preferences

    losses = []
    for _ in range(2):
        pairs = preferences.preferences(rng.randrange(10**6), 4)
        options = {"steps": 1, "batch_size": 4, "precision": "float32", "progress": False}
        losses.append(float(train.dpo(_rung("sft"), pairs, beta=0.3, **options).history["loss"].iloc[0]))
    near = [abs(loss - math.log(2)) < 0.01 for loss in losses]
    held = "ln 2" if all(near) else "0" if max(losses) < 0.01 else "another for each pair"
    return (
        held,
        f"Measured on two sets of pairs: {losses[0]:.4f} and {losses[1]:.4f} (ln 2 is {math.log(2):.4f}).",
    )


def _moved(before: list[bool], after: list[bool]) -> str | None:
    """What McNemar's test says of the same prompts; None between p = 0.01 and 0.05, where a redraw could turn it."""
    fewer, more = (sum(x and not y for x, y in zip(*two)) for two in ((before, after), (after, before)))
    p = mcnemar(fewer, more)
    if 0.01 < p < 0.05:
        return None
    return "as many" if p >= 0.05 else "more" if more > fewer else "fewer"


def _sft_and_dpo(
    rng: Random, judge: Callable[[str, str], bool], n: int, **settings
) -> tuple[str | None, str]:
    questions = draw.questions(rng, n)
    counted = []
    for name in ("sft", "dpo"):
        asked = [question for question, _ in questions]
        told = _rung(name).chat_batch(asked, max_new_tokens=TOKENS, progress=False, **settings)
        counted.append([judge(one.text, answer) for one, (_, answer) in zip(told, questions)])
    before, after = map(sum, counted)
    return _moved(*counted), f"Measured on {len(questions)} questions: sft {before}, dpo {after}."


def _hedging(rng: Random) -> tuple[str | None, str]:
    """How much of the hedging is left in the same questions, sampled: a rest of it, where McNemar's test finds less."""
    from pebble_lm.world.preferences import hedges

    questions, hedged = draw.questions(rng, SAMPLED), []
    settings = {"max_new_tokens": TOKENS, "temperature": 1.0, "seed": rng.randrange(10**6), "progress": False}
    for name in ("sft", "dpo"):
        told = _rung(name).chat_batch([question for question, _ in questions], **settings)
        hedged.append([hedges(one.text) for one in told])
    before, after = map(sum, hedged)
    rest = "a part" if after else "none"
    held = {"fewer": rest, "as many": "all", "more": "all"}.get(_moved(*hedged))
    return held, f"Measured on {len(questions)} questions: sft hedges in {before} answers, dpo in {after}."


def _knowing(rng: Random) -> tuple[str | None, str]:
    from course_utils.evaluate.judges import says

    held, told = _sft_and_dpo(rng, says, ASKED)
    return ("not fewer" if held in ("as many", "more") else held), told


def _climb(rng: Random) -> tuple[str | None, str]:
    """The shipped run without a KL penalty, from its start to its end."""
    import pandas as pd

    from course_utils.pairs import PEBBLE_MODELS

    right = pd.read_csv(PEBBLE_MODELS / "pebble-rl" / "hacked.csv")["right"].dropna()
    first, last = right.iloc[0], right.iloc[-1]
    (from_, to), (low, high) = (wilson(round(48 * rate), 48) for rate in (first, last))
    held = "they fall" if high < from_ else "they rise" if low > to else "they stay"
    return (
        held,
        f"Measured in the shipped run, on 48 dev questions: {first:.0%} before, {last:.0%} at the end.",
    )


PREDICT_THE_LADDER = Prediction(
    name="predict_the_ladder",
    title="Predict, then measure: what a step moves, and what it leaves",
    minutes=6,
    claims=[
        Claim("loss of DPO before its first step", ("0", "ln 2", "another for each pair"), 3, _step_zero),
        Claim(
            "of pebble-sft's hedging, sampled at temperature 1, pebble-dpo still has",
            ("none", "a part", "all"),
            4,
            _hedging,
        ),
        Claim(
            "right answers of pebble-dpo, greedy, against pebble-sft's", ("fewer", "not fewer"), 5, _knowing
        ),
        Claim(
            "right answers while a policy climbs its reward without a KL penalty",
            ("they rise", "they stay", "they fall"),
            4,
            _climb,
        ),
    ],
)

# -- best of n ------------------------------------------------------------------------------------------------


def best_of_n(rewards, right, n):
    return _best_of(rewards, right, n)


def _best_of(
    rewards, right, n, pick: Callable | None = None, kl: Callable | None = None, count: Callable | None = None
) -> dict[str, Any]:
    """The right result; `pick(groups)` is what is kept, `kl(n)` and `count(right groups)` replace the right ones."""
    groups, rights = (x.reshape(len(x), -1, n) for x in (rewards, right))
    best = (pick or (lambda groups: groups.argmax(-1, keepdim=True)))(groups)
    hits = count(rights) if count else rights.gather(-1, best).double().mean()
    bound = (kl or (lambda n: math.log(n) - (n - 1) / n))(n)
    return {"reward": groups.gather(-1, best).mean(), "right": hits, "kl": bound}


def _samples(rng: Random, n: int) -> tuple:
    """Rewards and rightness of many sampled answers to some questions; the two have little to do with each other."""
    questions, groups = rng.randint(3, 6), rng.randint(2, 4)
    rewards = draw.normal(rng, questions, groups * n)
    while True:
        right = draw.normal(rng, questions, groups * n) > 0.6
        own = _best_of(rewards, right, n)["right"]
        others = (right.double().mean(), _best_of(rewards[:, :n], right[:, :n], n)["right"])
        if n == 1 or all(abs(own - other) > 0.01 for other in others):
            return rewards, right, n


BEST_OF_N = Task(
    name="best_of_n",
    title="Best of n, and how far it goes",
    minutes=9,
    answer=best_of_n,
    cases=[
        Case("several answers a group", 12, lambda rng: _samples(rng, rng.randint(3, 6))),
        Case("groups of one", 4, lambda rng: _samples(rng, 1)),
    ],
    mistakes={
        "right if any is right": lambda *given: _best_of(
            *given, count=lambda rights: rights.any(-1).double().mean()
        ),
        "right answers of all": lambda *given: _best_of(*given, count=lambda rights: rights.double().mean()),
        "the best of all": lambda rewards, right, n: (
            _best_of(rewards, right, rewards.shape[1]) | {"kl": math.log(n) - (n - 1) / n}
        ),
        "the first group only": lambda rewards, right, n: _best_of(rewards[:, :n], right[:, :n], n),
        "no choice": lambda rewards, right, n: {
            "reward": rewards.mean(),
            "right": right.double().mean(),
            "kl": math.log(n) - (n - 1) / n,
        },
        "the worst": lambda *given: _best_of(*given, pick=lambda groups: groups.argmin(-1, keepdim=True)),
        "log n alone": lambda *given: _best_of(*given, kl=math.log),
        "bits": lambda *given: _best_of(*given, kl=lambda n: math.log2(n) - (n - 1) / n),
        "n − 1 is not divided": lambda *given: _best_of(*given, kl=lambda n: math.log(n) - (n - 1)),
        "every so many apart": lambda rewards, right, n: _best_of(
            *(x.reshape(len(x), n, -1).transpose(1, 2).flatten(1) for x in (rewards, right)), n
        ),
        "n groups": lambda rewards, right, n: (
            _best_of(rewards, right, rewards.shape[1] // n) | {"kl": math.log(n) - (n - 1) / n}
        ),
    },
)

# -- pairs from a model's own mistakes -------------------------------------------------------------------------

CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Tunis", "Accra", "Sofia")
SAYINGS = (
    "In {city}.",
    "{name} lives in {city}.",
    "{name} lives in {city}, I am told.",
    "{city}!",
)  # no two as long


def own_pairs(questions, values, samples):
    return _pairs(questions, values, samples)


def _pairs(
    questions,
    values,
    samples,
    is_right: Callable[[str, str], bool] = lambda text, value: value.lower() in text.lower(),
    choose: Callable = lambda right, value: min(right, key=len),
    reject: Callable = lambda wrong, right, chosen: list(dict.fromkeys(wrong)),
    always: bool = False,
    turned: bool = False,
) -> list[dict[str, str]]:
    """The right pairs, and with its settings the wrong ones; `always`: also of questions without a right sample."""
    found = []
    for question, value, texts in zip(questions, values, samples):
        right = [text for text in texts if is_right(text, value)]
        wrong = [text for text in texts if text not in right]
        if not right and not always:
            continue
        chosen = choose(right, value) if right else value
        for rejected in reject(wrong, right, chosen):
            good, bad = (rejected, chosen) if turned else (chosen, rejected)
            found.append({"prompt": question, "chosen": good, "rejected": bad})
    return found


def _mixed(rng: Random, name: str, right: int = 2, wrong: int = 2) -> tuple[str, list[str]]:
    """A city and sampled answers in random order, so many of them right; the first of three is neither the shortest of
    these nor the longest, that of two the longest."""
    city, *others = rng.sample(CITIES, 4)
    good = [SAYINGS[i].format(name=name, city=city) for i in rng.sample(range(4), right)]
    good.sort(key=len, reverse=True)
    good = [*good[1:-1], good[0], good[-1]] if right > 2 else good
    bad = [rng.choice(SAYINGS).format(name=name, city=other) for other in (others * 2)[:wrong]]
    order = [True] * right + [False] * wrong
    rng.shuffle(order)
    return city, [good.pop(0) if is_good else bad.pop() for is_good in order]


def _asked(rng: Random, kind: str = "mixed") -> tuple:
    names = rng.sample(talks.NAMES, rng.randint(3, 5))
    cities, samples = [], []
    for number, name in enumerate(names):
        counts = {"right": rng.randint(2, 3) if number else 3, "wrong": rng.randint(2, 3)}
        if kind == "all alike" and number < 2:
            counts = {"right": 3, "wrong": 0} if number else {"right": 0, "wrong": 3}
        city, texts = _mixed(rng, name, **counts)
        if kind == "doubled":
            again = next(text for text in texts if city not in text)
            texts.insert(rng.randint(0, len(texts)), again)
        if kind == "case":
            texts = [text.lower() if city in text else text for text in texts]
        cities.append(city)
        samples.append(texts)
    return [f"Where does {name} live?" for name in names], cities, samples


OWN_PAIRS = Task(
    name="own_pairs",
    title="Pairs from a model's own mistakes",
    minutes=10,
    answer=own_pairs,
    cases=[
        Case("right and wrong samples of every question", 6, _asked),
        Case("a wrong answer that was sampled twice", 3, lambda rng: _asked(rng, "doubled")),
        Case(
            "questions with only right samples, or only wrong ones", 4, lambda rng: _asked(rng, "all alike")
        ),
        Case("values in lower case", 3, lambda rng: _asked(rng, "case")),
    ],
    mistakes={
        "turned round": lambda *given: _pairs(*given, turned=True),
        "right answers are rejected": lambda *given: _pairs(
            *given,
            reject=lambda wrong, right, chosen: list(
                dict.fromkeys(text for text in wrong + right if text != chosen)
            ),
        ),
        "the same pair twice": lambda *given: _pairs(*given, reject=lambda wrong, *_: wrong),
        "one pair for each question": lambda *given: _pairs(*given, reject=lambda wrong, *_: wrong[:1]),
        "the first right sample": lambda *given: _pairs(*given, choose=lambda right, _: right[0]),
        "the value itself": lambda *given: _pairs(*given, choose=lambda _, value: value),
        "nothing right to choose": lambda *given: _pairs(*given, always=True),
        "capital letters": lambda *given: _pairs(*given, is_right=lambda text, value: value in text),
        "the longest right sample": lambda *given: _pairs(
            *given, choose=lambda right, _: max(right, key=len)
        ),
    },
)

# -- which checkpoint to keep ---------------------------------------------------------------------------------

KNOWS, PLAIN, BOTH = "knows what it knew", "has stopped hedging", "both in one checkpoint"
GOALS = {KNOWS: 4, PLAIN: 4, BOTH: 10}
RUNS, DEV_QUESTIONS, EVERY, STEPS = 40, 96, 10, 150
# A kept checkpoint passes the hidden test if it lost at most this share of right answers, and hedges at most so often.
MOST_LOST, MOST_HEDGED = 0.10, 0.08
# Nine runs of ten have to pass: histories are noisy, and the best of choices is sometimes wrong.
ENOUGH = 0.9


def simulated_run(rng: Random) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The log of a reinforcement learning run, and what its checkpoints really do, one dict for every EVERY steps.

    Drawn in the shape of the shipped runs: the KL grows, the reward rises and levels off, hedging goes first, and past
    a KL and a step that differ in each run the right answers go too. The log sees both through DEV_QUESTIONS questions.
    """
    far, pace, fades = rng.uniform(12, 24), rng.uniform(0.75, 1.6), rng.uniform(0.2, 1.0)
    right, hedged, knee = rng.uniform(0.88, 0.97), rng.uniform(0.2, 0.4), 2.4 * fades + rng.uniform(1.2, 3.2)
    rest = rng.uniform(0.02, 0.04)
    start, gain, speed = rng.uniform(-1, 1), rng.uniform(1.5, 3), rng.uniform(1.5, 2.5)
    log, truth = [], []
    for step in range(0, STEPS + 1, EVERY):
        kl = far * (step / STEPS / pace) ** speed
        # What collapsed: answers too short to be right, or to hedge.
        gone = min(1.0, max(0.0, (kl - knee) / 8))
        hedges = (rest + hedged * math.exp(-kl / fades)) * (1 - gone)
        real = {"right": right * (1 - 0.75 * gone), "hedged": hedges}
        seen = {
            key: sum(rng.random() < p for _ in range(DEV_QUESTIONS)) / DEV_QUESTIONS
            for key, p in real.items()
        }
        reward = start + gain * (1 - math.exp(-kl / 4)) + rng.gauss(0, 0.08)
        log.append({"step": step, "reward": round(reward, 3), "kl": round(kl, 3)} | seen)
        truth.append(real)
    return log, truth


def keep_checkpoint(history):
    knowing = [row for row in history if row["right"] >= history[0]["right"] - 0.12]
    return max(knowing, key=lambda row: row["right"] - row["hedged"])["step"]


# What people choose without looking at both.
STRATEGIES: Mapping[str, Callable[[Sequence[dict]], dict]] = {
    "the first": lambda history: history[0],
    "the last": lambda history: history[-1],
    "the highest reward": lambda history: max(history, key=lambda row: row["reward"]),
    "the most right answers": lambda history: max(history, key=lambda row: row["right"]),
    "the least hedging": lambda history: min(history, key=lambda row: row["hedged"]),
}


def _kept(answer: Callable, history: list[dict]) -> int:
    """The place of the checkpoint that the answer keeps. Raises Unusable where there is none."""
    step = answer([dict(row) for row in history])
    if step is None:
        raise Unusable("no return", "Your function returned None. Does it end with `return …`?")
    steps = [row["step"] for row in history]
    if isinstance(step, (dict, list, tuple, str)) or step not in steps:
        raise Unusable(*told("keep_checkpoint", "not a step"))
    return steps.index(step)


def _measure_keeping(answer: Callable, rng: Random) -> Measured:
    runs = [simulated_run(rng) for _ in range(RUNS)]
    places = [_kept(answer, log) for log, _ in runs]
    knows = [truth[i]["right"] >= truth[0]["right"] - MOST_LOST for i, (_, truth) in zip(places, runs)]
    plain = [truth[i]["hedged"] <= MOST_HEDGED for i, (_, truth) in zip(places, runs)]
    counts = {KNOWS: sum(knows), PLAIN: sum(plain), BOTH: sum(a and b for a, b in zip(knows, plain))}
    lines = [f"{count} of {RUNS} kept checkpoints pass the hidden test" for count in counts.values()]
    shares = {goal: min(1.0, count / (ENOUGH * RUNS)) for goal, count in counts.items()}
    return Measured(shares, lines, _strategy([log for log, _ in runs], places))


def _strategy(logs: list[list[dict]], places: list[int]) -> tuple[str, str] | None:
    """The strategy that nearly all choices follow, and what to say about it."""
    for name, choice in STRATEGIES.items():
        if sum(log[i]["step"] == choice(log)["step"] for log, i in zip(logs, places)) >= 0.85 * len(logs):
            return told("keep_checkpoint", name)
    return None


KEEP_CHECKPOINT = OpenTask(
    name="keep_checkpoint",
    title="Which checkpoint would you keep?",
    minutes=15,
    goals=GOALS,
    measure=_measure_keeping,
)

TITLE = "The spectrum"
TASKS = (DPO_LOSS, ADVANTAGES, PREDICT_THE_LADDER, BEST_OF_N, OWN_PAIRS, KEEP_CHECKPOINT)
