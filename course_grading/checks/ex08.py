"""Exercise 08, the alignment tax: calibration and its floor, variety, refusals of two kinds, a bill, a prediction."""

import math
from collections.abc import Callable
from functools import cache, partial
from random import Random

import torch

from course_utils.evaluate import mcnemar
from course_utils.pairs import load_pair, load_variant
from course_utils.variant import Variant

from . import draw
from .task import Case, Claim, Prediction, Task, bugs_left

# -- expected calibration error -------------------------------------------------------------------------------


def ece(confidence, right, bins):
    return _ece(confidence, right, bins)


def _ece(
    confidence,
    right,
    bins,
    last: bool = True,
    weighted: bool = True,
    gap: Callable[[float], float] = abs,
    middle: bool = False,
    worst: bool = False,
) -> float:
    """The right error, and with its settings the wrong ones."""
    confidence, right = confidence.double(), right.double()
    place = (confidence * bins).long()
    place = place.clamp(max=bins - 1) if last else place
    found = []
    for b in range(bins):
        inside = place == b
        if inside.any():
            said = (b + 0.5) / bins if middle else float(confidence[inside].mean())
            found.append((float(inside.double().mean()), gap(said - float(right[inside].mean()))))
    if worst:
        return max(distance for _, distance in found)
    if not weighted:
        return sum(distance for _, distance in found) / len(found)
    return sum(share * distance for share, distance in found)


def _answers(rng: Random, certain: int = 0) -> tuple:
    """Confidences, whether the answers were right (sometimes less sure than right, sometimes more), and the bins."""
    n, bins = rng.randint(30, 50), rng.choice([4, 5, 8])
    sure = [0.02 + 0.96 * rng.random() ** 0.7 for _ in range(n)]
    right = [rng.random() < 0.35 + 0.3 * x or (certain > 0 and x * bins > bins - 1) for x in sure]
    sure += [1.0] * certain
    right += [i < certain // 2 for i in range(certain)]
    return torch.tensor(sure), torch.tensor(right), bins


def _unsure_answers(rng: Random) -> tuple:
    """Such answers, less sure than right on the whole, and surer than right in some bin: signs show."""
    while True:
        given = _answers(rng)
        if -_ece(*given) + 0.02 < _ece(*given, gap=lambda x: x) < -0.01:
            return given


ECE = Task(
    name="ece",
    title="Expected calibration error",
    minutes=10,
    answer=ece,
    cases=[
        Case("answers in all bins", 12, _unsure_answers),
        Case("answers with confidence 1", 6, lambda rng: _answers(rng, certain=6)),
    ],
    mistakes={
        "all bins count alike": lambda *given: _ece(*given, weighted=False),
        "one gap for all": lambda confidence, right, bins: abs(
            float(confidence.double().mean() - right.double().mean())
        ),
        "squares": lambda *given: _ece(*given, gap=lambda x: x * x),
        "the middle of the bin": lambda *given: _ece(*given, middle=True),
        "the surest answers are lost": lambda *given: _ece(*given, last=False),
        "the share that is wrong": lambda c, right, bins: _ece(c, 1 - right.double(), bins),
        "the worst bin": lambda *given: _ece(*given, worst=True),
        "no distance": lambda *given: _ece(*given, gap=lambda x: x),
    },
)

# -- the floor of that error ----------------------------------------------------------------------------------


def beyond_luck(confidence, right, tosses, bins):
    return _luck(confidence, right, tosses, bins)


def _luck(
    confidence,
    right,
    tosses,
    bins,
    level: float = 0.95,
    turned: bool = False,
    half: bool = False,
    plain: bool = False,
) -> dict:
    """The right verdict, and with its settings the wrong ones."""
    of_luck = []
    for toss in tosses:
        chance = torch.full_like(confidence, 0.5) if half else confidence
        lucky = toss > chance if turned else toss < chance
        of_luck.append(_ece(confidence, lucky, bins))
    measured = _ece(confidence, right, bins)
    floor = sum(of_luck) / len(of_luck)
    below = sum(measured > one for one in of_luck) / len(of_luck)
    return {"floor": floor, "beyond": measured > floor if plain else below >= level}


def _judged(rng: Random, off: bool) -> tuple:
    """Confidences, outcomes of a model that is calibrated or far too sure, the tosses of 60 tries, and the bins."""
    luck = torch.Generator().manual_seed(rng.randrange(10**9))
    n = rng.randint(40, 60)
    sure = 0.3 + 0.69 * torch.rand(n, generator=luck, dtype=torch.double)
    truth = 0.45 * sure if off else sure
    right = torch.rand(n, generator=luck, dtype=torch.double) < truth
    return sure, right, torch.rand(60, n, generator=luck, dtype=torch.double), 5


def _lucky(rng: Random) -> tuple:
    """A calibrated model whose error is above the average of luck, and clearly below what luck reaches."""
    while True:
        given = _judged(rng, off=False)
        of_luck = sorted(_ece(given[0], toss < given[0], given[3]) for toss in given[2])
        measured, floor = _ece(*given[:2], given[3]), sum(of_luck) / len(of_luck)
        if floor < measured < of_luck[50]:
            return given


BEYOND_LUCK = Task(
    name="beyond_luck",
    title="The floor of that error",
    minutes=14,
    answer=beyond_luck,
    cases=[
        Case("a model that is too sure", 9, lambda rng: _judged(rng, off=True)),
        Case("a calibrated model, above the average of luck", 13, _lucky),
    ],
    mistakes={
        "more than the average": lambda *given: _luck(*given, plain=True),
        "the tosses are turned": lambda *given: _luck(*given, turned=True),
        "a fair coin": lambda *given: _luck(*given, half=True),
        "the largest of luck": lambda confidence, right, tosses, bins: (
            _luck(confidence, right, tosses, bins)
            | {"floor": max(_ece(confidence, toss < confidence, bins) for toss in tosses)}
        ),
        "no floor is taken off": lambda *given: _luck(*given) | {"floor": 0.0, "beyond": True},
    },
)

# -- variety --------------------------------------------------------------------------------------------------


def variety(texts, logprobs, times):
    return _variety(texts, logprobs, times)


def _variety(
    texts,
    logprobs,
    times,
    strip: bool = True,
    groups: bool = True,
    token: bool = False,
    unit: float = 1.0,
    share: bool = False,
) -> dict:
    """The right counts, and with its settings the wrong ones."""
    said = [text.strip() if strip else text for text in texts]
    size = times if groups else len(said)
    parts = [said[i : i + size] for i in range(0, len(said), size)]
    distinct = sum(len(set(part)) for part in parts) / len(parts)
    total = -sum(sum(some) for some in logprobs) / unit
    count = sum(map(len, logprobs)) if token else len(logprobs)
    return {"distinct": distinct / times if share else distinct, "nats": total / count}


def _sampled(rng: Random) -> tuple:
    """Answers to several prompts, some of them the same but for white space; a log-probability for each token."""
    times, texts, logprobs = rng.choice([4, 5]), [], []
    words = ["fig", "plum", "pear", "kiwi"]
    for _ in range(rng.randint(5, 7)):
        for _ in range(times):
            texts.append(rng.choice(["{}", "{} ", " {}", "{}\n"]).format(rng.choice(words)))
            logprobs.append([-rng.uniform(0.05, 3) for _ in range(rng.randint(1, 9))])
    return texts, logprobs, times


VARIETY = Task(
    name="variety",
    title="How varied are its answers?",
    minutes=8,
    answer=variety,
    cases=[Case("several prompts, asked several times", 16, _sampled)],
    mistakes={
        "white space counts": lambda *given: _variety(*given, strip=False),
        "all prompts together": lambda *given: _variety(*given, groups=False),
        "nats per token": lambda *given: _variety(*given, token=True),
        "bits": lambda *given: _variety(*given, unit=math.log(2)),
        "a share": lambda *given: _variety(*given, share=True),
        "the sign": lambda *given: (lambda found: found | {"nats": -found["nats"]})(_variety(*given)),
        "the prompts are mixed up": lambda texts, logprobs, times: _variety(
            [text for i in range(len(texts) // times) for text in texts[i :: len(texts) // times]],
            logprobs,
            times,
        ),
        "the sum": lambda texts, *given: (lambda found: found | {"nats": found["nats"] * len(texts)})(
            _variety(texts, *given)
        ),
    },
)

# -- refusals of two kinds ------------------------------------------------------------------------------------


def judge_refusals(before, after):
    return _verdict(before, after)


def _moved(before: list[bool], after: list[bool]) -> int:
    """1 where clearly more are refused than before, -1 where clearly fewer, 0 otherwise (McNemar, paired)."""
    lost, won = (sum(x and not y for x, y in zip(*two)) for two in ((before, after), (after, before)))
    return 0 if mcnemar(lost, won) >= 0.05 else 1 if won > lost else -1


def _by_rate(before: list[bool], after: list[bool]) -> int:
    return (sum(after) > sum(before)) - (sum(after) < sum(before))


def _verdict(before, after, moved: Callable = _moved, harmless: bool = True, turned: bool = False) -> str:
    """The right verdict, and with its settings the wrong ones."""
    wrong, fine = (moved(before[kind], after[kind]) for kind in ("wrong", "harmless"))
    fine = 0 if not harmless else -fine if turned else fine
    if wrong == fine:
        return {1: "stricter", -1: "laxer", 0: "no clear change"}[wrong]
    return "better" if wrong > fine else "worse"


PROMPTS = 60


def _outcomes(rng: Random, wrong: int, fine: int) -> tuple:
    """Refusals of 60 wrong and 60 harmless requests, before and after; each clearly up, clearly down, or only noisy."""
    before = {
        kind: [rng.random() < rate for _ in range(PROMPTS)]
        for kind, rate in (("wrong", 0.55), ("harmless", 0.45))
    }
    after = {}
    for kind, way in (("wrong", wrong), ("harmless", fine)):
        new = list(before[kind])
        for value, count in ((False, {1: 16, -1: 1, 0: 4}[way]), (True, {1: 1, -1: 16, 0: 2}[way])):
            places = [i for i, refused in enumerate(before[kind]) if refused is value]
            for i in rng.sample(places, min(count, len(places))):
                new[i] = not value
        after[kind] = new
    return before, after


def _any(rng: Random) -> tuple:
    return _outcomes(rng, rng.choice([1, 0, -1]), rng.choice([1, 0, -1]))


JUDGE_REFUSALS = Task(
    name="judge_refusals",
    title="Better, or only stricter?",
    minutes=10,
    answer=judge_refusals,
    cases=[
        Case("all kinds of changes", 6, _any, times=16),
        Case(
            "both kinds move together", 7, lambda rng: _outcomes(rng, *([rng.choice([1, -1])] * 2)), times=6
        ),
        Case("what is only noise", 5, lambda rng: _outcomes(rng, 0, 0), times=4),
    ],
    mistakes={
        "wrong requests alone": lambda *given: _verdict(*given, harmless=False),
        "noise counts": lambda *given: _verdict(*given, moved=_by_rate),
        "harmless refusals are welcome": lambda *given: _verdict(*given, turned=True),
    },
)

# -- one bill, find and fix the bugs ---------------------------------------------------------------------------


def dearest(bill, before):
    return _dearest(bill, before)


BUGS = ("over-refusals are a gain", "a share of what was there", "only the last model")


def _dearest(bill, before, bugs: tuple = (), size: bool = False) -> tuple:
    """The right entry, and with its settings the wrong ones. `bill`: {model: {measure: rate}}."""
    best = None
    for model, row in bill.items():
        if model == before:
            continue
        if "only the last model" in bugs:
            best = None
        for measure, rate in row.items():
            loss = bill[before][measure] - rate
            if measure.startswith("over-") and "over-refusals are a gain" not in bugs:
                loss = -loss
            if "a share of what was there" in bugs:
                loss /= max(bill[before][measure], 1e-9)
            loss = abs(loss) if size else loss
            if best is None or loss > best[0]:
                best = (loss, model, measure)
    return best[1:]


def _bill(rng: Random, dear: str = "over-refuses", last: bool = False) -> tuple:
    """Rates of four models, and the first one's name: small losses, one large gain, and often a measure that vanishes.

    What was most lost is `dear`, a measure that falls or one that rises; it is the last model's if `last`.
    """
    knows = ["knows, one word", "knows, sentence", "finishes sentences"]
    start = {name: round(rng.uniform(0.75, 0.95), 3) for name in knows}
    start |= {"over-refuses": 0.4, "writes Python": 0.1}
    bill, models = {"base": start}, ["sft", "dpo", "rl"]
    for model in models:
        bill[model] = {name: round(start[name] - rng.uniform(0.02, 0.12), 3) for name in knows}
        bill[model] |= {"over-refuses": round(0.4 + rng.uniform(0.13, 0.16), 3), "writes Python": 0.08}
    loser = "rl" if last else rng.choice(["sft", "dpo"])
    gains, vanishes = rng.sample([model for model in models if model != loser], 2)
    bill[gains]["writes Python"] = round(rng.uniform(0.6, 0.9), 3)
    if rng.random() < 0.5:  # without it, a share and points agree, and what else is wrong shows
        bill[vanishes]["writes Python"] = 0.001
    moved = rng.uniform(0.25, 0.32)
    measure = rng.choice(knows) if dear == "a fall" else dear
    bill[loser][measure] = round(start[measure] + (moved if measure.startswith("over-") else -moved), 3)
    return bill, "base"


DEAREST = Task(
    name="dearest",
    title="Find and fix the bugs: the dearest entry of a bill",
    minutes=10,
    answer=dearest,
    cases=[
        Case("a measure of which more is worse", 6, _bill, times=10),
        Case("a measure that falls", 5, lambda rng: _bill(rng, "a fall"), times=8),
        Case("a loss of the last model", 3, lambda rng: _bill(rng, "a fall", last=True)),
    ],
    mistakes={
        **bugs_left(BUGS, _dearest),
        "gains count as losses": partial(_dearest, size=True),
        "only over-refusals": lambda bill, before: (
            max((m for m in bill if m != before), key=lambda m: bill[m]["over-refuses"]),
            "over-refuses",
        ),
    },
)

# -- predict, then measure ------------------------------------------------------------------------------------

FAST, SLOW, SENTENCES, WISHES, TIMES = 2e-3, 5e-4, 60, 12, 6


@cache
def assistants() -> dict[float, Variant]:
    """The base, fine-tuned twice on the same 300 conversations without replay: {rate: assistant}. Once a session."""
    from course_utils.train import sft
    from pebble_lm.world import conversations

    pair, talks = load_pair("pebble"), conversations.conversations(81_008, 300)
    options = {
        "tokenizer": pair.instruct.tokenizer,
        "batch_size": 10,
        "precision": "float32",
        "progress": False,
    }
    return {rate: sft(pair.base, talks, lr=rate, **options).variant for rate in (FAST, SLOW)}


def _ladder(name: str) -> Variant:
    return load_pair("pebble").base if name == "base" else load_variant("pebble-sft")


def _slower(rng: Random) -> tuple[str | None, str]:
    from course_runs import lesson08
    from course_utils.evaluate.judges import says

    begun, found = lesson08.statements(SENTENCES, rng.randrange(10**9)), {}
    for rate, variant in assistants().items():
        written = variant.complete_batch([text for text, _ in begun], 10, stop=["\n", "."], progress=False)
        found[rate] = [says(done.text, end) for done, (_, end) in zip(written, begun)]
    said = f"Measured on {SENTENCES} sentences: {sum(found[FAST])} finished at the high rate, "
    said += f"{sum(found[SLOW])} at the low one."
    return draw.more_or_fewer(found[FAST], found[SLOW]), said


def _harmless(rng: Random) -> tuple[str | None, str]:
    from course_utils.evaluate import load_suite
    from course_utils.evaluate.judges import refuses

    asked = [one.prompt for one in load_suite("refusals") if one.kind == "comply"]
    asked = rng.sample(asked, min(40, len(asked)))
    found = [
        [refuses(done.text) for done in variant.chat_batch(asked, max_new_tokens=40, progress=False)]
        for variant in (_ladder("sft"), assistants()[FAST])
    ]
    refused = [sum(some) for some in found]
    said = f"Measured on {len(asked)} harmless requests: pebble-sft refuses {refused[0]}, the hurried one {refused[1]}."
    return draw.more_or_fewer(*found), said


def _different(rng: Random) -> tuple[str | None, str]:
    from course_runs.base_as_instruct import qa_prompt
    from course_utils.evaluate import load_suite

    wishes = rng.sample([one.prompt for one in load_suite("formats") if one.kind == "bullets"], WISHES)
    often, seed = [wish for wish in wishes for _ in range(TIMES)], rng.randrange(10**6)
    options = {"max_new_tokens": 40, "temperature": 1.0, "seed": seed, "progress": False}
    written = {
        "base": _ladder("base").complete_batch(
            [qa_prompt(wish) for wish in often], stop=["\nQuestion", "\n\n"], **options
        ),
        "sft": _ladder("sft").chat_batch(often, **options),
    }
    counts = {
        name: [len({one.text.strip() for one in done[i : i + TIMES]}) for i in range(0, len(often), TIMES)]
        for name, done in written.items()
    }
    fewer, more = (
        sum(compare(b, a) for a, b in zip(counts["base"], counts["sft"]))
        for compare in (int.__lt__, int.__gt__)
    )
    mean = {name: sum(some) / WISHES for name, some in counts.items()}
    said = f"Measured on {WISHES} wishes: {mean['base']:.1f} of {TIMES} differ from the base, "
    said += f"{mean['sft']:.1f} from pebble-sft."
    p = mcnemar(fewer, more)
    return None if 0.05 <= p < 0.2 else "as many" if p >= 0.2 else "fewer" if fewer > more else "more", said


PREDICT_THE_BILL = Prediction(
    name="predict_the_bill",
    title="Predict, then measure: three lines of the bill",
    minutes=6,
    claims=[
        Claim(
            "plain sentences finished: trained at 5e-4, against at 2e-3",
            ("fewer", "as many", "more"),
            4,
            _slower,
        ),
        Claim(
            "harmless requests refused: trained at 2e-3 on 300 conversations, against pebble-sft",
            ("fewer", "as many", "more"),
            4,
            _harmless,
        ),
        Claim(
            "different answers to a wish for a list: pebble-sft, against the base",
            ("fewer", "as many", "more"),
            4,
            _different,
        ),
    ],
)

TITLE = "The alignment tax"
TASKS = (ECE, BEYOND_LUCK, VARIETY, JUDGE_REFUSALS, DEAREST, PREDICT_THE_BILL)
