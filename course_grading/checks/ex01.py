"""Exercise 01, next-token prediction: scores to probabilities, loss, sampling, writing, surprise."""

import math
from random import Random

import torch
import torch.nn.functional as F

from . import draw
from .task import Case, Claim, Prediction, Task

# -- softmax --------------------------------------------------------------------------------------------------


def softmax(scores, temperature=1.0):
    return torch.softmax(scores / temperature, dim=-1)


def _plain_softmax(scores):
    weights = scores.exp()
    return weights / weights.sum()


def _ordinary_scores(rng: Random) -> tuple:
    return (draw.normal(rng, rng.randint(4, 9), scale=1.5),)


def _scores_and_temperature(rng: Random) -> tuple:
    return draw.normal(rng, rng.randint(4, 9), scale=1.5), rng.choice([0.3, 0.5, 0.7, 1.6, 2.0, 3.0])


def _large_scores(rng: Random) -> tuple:
    """All of them large, all far below 0, or hundreds apart."""
    kind, scores = rng.choice(("high", "low", "apart")), draw.normal(rng, 6, scale=3.0)
    if kind == "apart":
        return (scores * 80,)
    return (scores + rng.randint(150, 900) * (1 if kind == "high" else -1),)


SOFTMAX = Task(
    name="softmax",
    title="From scores to probabilities",
    minutes=6,
    answer=softmax,
    cases=[
        Case("ordinary scores", 6, _ordinary_scores),
        Case("a temperature", 5, _scores_and_temperature),
        Case("scores in the hundreds", 4, _large_scores, times=12),
    ],
    mistakes={
        "temperature multiplies": lambda scores, temperature=1.0: torch.softmax(scores * temperature, -1),
        "temperature on probabilities": lambda scores, temperature=1.0: (
            torch.softmax(scores, -1) / temperature
        ),
        "temperature ignored": lambda scores, temperature=1.0: torch.softmax(scores, -1),
        "not divided by the sum": lambda scores, temperature=1.0: (scores / temperature).exp(),
        "no exponential": lambda scores, temperature=1.0: (
            (scores / temperature) / (scores / temperature).sum()
        ),
        "overflow": lambda scores, temperature=1.0: _plain_softmax(scores / temperature),
        "logarithms": lambda scores, temperature=1.0: torch.log_softmax(scores / temperature, -1),
    },
)

# -- the loss, find and fix the bug ---------------------------------------------------------------------------


def mean_loss(logits, input_ids):
    return F.cross_entropy(logits[:-1], input_ids[1:])


def _loss_of(predictions, targets):
    return F.cross_entropy(predictions, targets)


def _random_text(rng: Random) -> tuple:
    n, vocab = rng.randint(6, 10), 12
    return draw.normal(rng, n, vocab, scale=2.0), torch.tensor(draw.integers(rng, n, vocab))


def _sentence_read_by_the_base(rng: Random) -> tuple:
    base = draw.pair().base
    opening, ending = draw.statement(rng)
    ids = base.encode(f"{opening}{ending}.")
    ((_, logits),) = base.iter_logits(ids)
    return logits.clone().cpu(), torch.tensor(ids)


def _as_numbers(logits, input_ids):
    logprobs = torch.log_softmax(logits[:-1], -1)
    return logprobs[torch.arange(len(logprobs)), input_ids[1:]]


MEAN_LOSS = Task(
    name="mean_loss",
    title="Find and fix the bug: a loss that is far too high",
    minutes=8,
    answer=mean_loss,
    cases=[
        Case("a made-up text", 8, _random_text),
        Case("a sentence that the base has read", 7, _sentence_read_by_the_base, times=2),
    ],
    mistakes={
        "shifted right": lambda logits, ids: _loss_of(logits[1:], ids[:-1]),
        "not shifted": lambda logits, ids: _loss_of(logits, ids),
        "shifted twice": lambda logits, ids: _loss_of(logits[:-2], ids[2:]),
        "around the corner": lambda logits, ids: _loss_of(logits, ids.roll(-1)),
        "the sum": lambda logits, ids: -_as_numbers(logits, ids).sum(),
        "divided by all tokens": lambda logits, ids: -_as_numbers(logits, ids).sum() / len(ids),
        "no minus": lambda logits, ids: _as_numbers(logits, ids).mean(),
        "probability instead of its logarithm": lambda logits, ids: -_as_numbers(logits, ids).exp().mean(),
        "bits": lambda logits, ids: mean_loss(logits, ids) / math.log(2),
    },
)

# -- a prediction ---------------------------------------------------------------------------------------------


def _entropies(rng: Random) -> tuple[list[float], list[float], list[bool]]:
    """Entropy (nats) at temperatures 1 and 2, and whether the best token stayed, at a few places."""
    cool, hot, same = [], [], []
    for _ in range(4):
        logits = draw.pair().base.next_token_logits(draw.statement(rng)[0]).cpu()
        one, two = (torch.softmax(logits / t, -1) for t in (1.0, 2.0))
        cool.append(float(torch.special.entr(one).sum()))
        hot.append(float(torch.special.entr(two).sum()))
        same.append(bool(one.argmax() == two.argmax()))
    return cool, hot, same


def _entropy_at_two(rng: Random) -> tuple[str | None, str]:
    cool, hot, _ = _entropies(rng)
    higher = [h > c for c, h in zip(cool, hot)]
    held = "higher" if all(higher) else "lower" if not any(higher) else None
    numbers = f"Measured at {len(hot)} places: {_mean(cool):.2f} nats at 1, {_mean(hot):.2f} nats at 2."
    return held, numbers


def _best_at_two(rng: Random) -> tuple[str | None, str]:
    *_, same = _entropies(rng)
    held = "the same" if all(same) else None
    return held, f"Measured: the same token at {sum(same)} of {len(same)} places."


def _second_mention(rng: Random) -> tuple[str | None, str]:
    from pebble_lm.world import names

    base, n, nats = draw.pair().base, 12, {"first": 0.0, "second": 0.0}
    for _ in range(n):
        person, town = names.person(rng), names.town(rng)
        text = f"The home of {person} is in {town}. {person} lives in {town}."
        for name in (person, town):
            nats["first"] += _nats(base, text, text.index(name), len(name))
            nats["second"] += _nats(base, text, text.rindex(name), len(name))
    first, second = nats.values()
    held = "fewer" if second < 0.9 * first else "more" if second > 1.1 * first else None
    return (
        held,
        f"Measured over {2 * n} names: {first / n / 2:.1f} nats the first time, {second / n / 2:.1f} the second.",
    )


def _nats(base, text: str, start: int, length: int) -> float:
    """Surprise of the tokens that touch `length` characters of a text from `start` on."""
    spans = base.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    scored = zip(spans[1:], -base.token_logprobs(text)["logprob"].iloc[1:])
    return sum(nats for (a, b), nats in scored if a < start + length and b > start)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


PREDICT_TEMPERATURE = Prediction(
    name="predict_temperature",
    title="Predict, then measure: what temperature does, and what a name costs",
    minutes=6,
    claims=[
        Claim("entropy at temperature 2, against 1", ("lower", "the same", "higher"), 3, _entropy_at_two),
        Claim("most probable token at temperature 2, against 1", ("the same", "another"), 3, _best_at_two),
        Claim(
            "an invented name costs, the second time it is mentioned",
            ("fewer", "as many", "more"),
            4,
            _second_mention,
        ),
    ],
)

# -- top-p ----------------------------------------------------------------------------------------------------


def keep_top_p(probs, p):
    order = probs.argsort(descending=True)
    before = probs[order].cumsum(0) - probs[order]
    before[0] = -1  # the best one always stays
    kept = torch.zeros_like(probs)
    kept[order[before < p]] = probs[order[before < p]]
    return kept / kept.sum()


def _keep(probs, chosen, normalise=True):
    kept = torch.zeros_like(probs)
    kept[chosen] = probs[chosen]
    return kept / kept.sum() if normalise else kept


def _best(probs, p):
    order = probs.argsort(descending=True)
    return order, probs[order].cumsum(0)


def _sorted_top_p(probs, p):
    kept = keep_top_p(probs, p)
    return kept.sort(descending=True).values


def _several_tokens(rng: Random) -> tuple:
    while True:
        probs, p = torch.softmax(draw.normal(rng, 12, scale=1.3), -1), rng.uniform(0.4, 0.9)
        if 3 <= int((keep_top_p(probs, p) > 0).sum()) <= 9 and probs.argmax() > 0:
            return probs, p


def _one_is_enough(rng: Random) -> tuple:
    probs = torch.softmax(draw.normal(rng, 10, scale=3.0), -1)
    return probs, float(probs.max()) * rng.uniform(0.4, 0.9)


TOP_P = Task(
    name="keep_top_p",
    title="Cut off the tail: top-p",
    minutes=8,
    answer=keep_top_p,
    cases=[
        Case("tokens in any order", 13, _several_tokens),
        Case("a best token that alone reaches p", 7, _one_is_enough),
    ],
    mistakes={
        "the last one is missing": lambda probs, p: _keep(probs, _best(probs, p)[0][_best(probs, p)[1] <= p]),
        "one too many": lambda probs, p: _keep(
            probs, _best(probs, p)[0][: int((_best(probs, p)[1] < p).sum()) + 2]
        ),
        "not divided again": lambda probs, p: _keep(probs, keep_top_p(probs, p) > 0, normalise=False),
        "left in order": _sorted_top_p,
        "p as a threshold": lambda probs, p: _keep(probs, probs >= p),
        "in the order of the ids": lambda probs, p: _keep(probs, probs.cumsum(0) - probs < p),
        "nothing is cut": lambda probs, p: probs,
        "divided by p": lambda probs, p: _keep(probs, keep_top_p(probs, p) > 0, normalise=False) / p,
        "ones and zeros": lambda probs, p: (keep_top_p(probs, p) > 0).float(),
    },
)

# -- writing --------------------------------------------------------------------------------------------------


def write(model, input_ids, eos_token_id, max_new_tokens):
    return _write(model, input_ids, eos_token_id, max_new_tokens)


def _write(model, input_ids, eos, limit, stop=True, keep_eos=False, row=-1, last_only=False, grows=True):
    written = []
    for _ in range(limit):
        with torch.inference_mode():
            logits = model(input_ids[:, -1:] if last_only else input_ids).logits[0, row]
        next_id = int(logits.argmax())
        if stop and next_id == eos:
            return [*written, next_id] if keep_eos else written
        written.append(next_id)
        if grows:
            input_ids = torch.cat([input_ids, torch.tensor([[next_id]])], dim=1)
    return written


def _toy_text(rng: Random) -> tuple[draw.ToyModel, torch.Tensor, int, list[int]]:
    model, limit = draw.ToyModel(rng), rng.randint(6, 10)
    ids = torch.tensor([draw.integers(rng, rng.randint(3, 6), model.vocab)])
    return model, ids, limit, _write(model, ids, None, limit)


def _with_eos(ids: torch.Tensor, eos: int) -> torch.Tensor:
    """The text begins with the end token, as Pebble's do."""
    ids[0, 0] = eos
    return ids


def _runs_to_the_limit(rng: Random) -> tuple:
    while True:
        model, ids, limit, _ = _toy_text(rng)
        eos = rng.randrange(model.vocab)
        if len(_write(model, _with_eos(ids, eos), eos, limit + 1)) == limit + 1:
            return model, ids, eos, limit


def _ends_by_itself(rng: Random) -> tuple:
    while True:
        model, ids, limit, _ = _toy_text(rng)
        eos = rng.randrange(model.vocab)
        if 2 <= len(_write(model, _with_eos(ids, eos), eos, limit)) <= limit - 2:
            return model, ids, eos, limit


def _pebble_writes(rng: Random) -> tuple:
    base = draw.pair().base
    ids = torch.tensor([base.encode(draw.statement(rng)[0])], device=base.device)
    return base.model, ids, base.eos_token_ids[0], 8


WRITE = Task(
    name="write",
    title="Write a text, and know when to stop",
    minutes=10,
    answer=write,
    cases=[
        Case("a text that runs to the limit", 8, _runs_to_the_limit),
        Case("a text that ends by itself", 8, _ends_by_itself),
        Case("the pair's base", 4, _pebble_writes, times=2),
    ],
    mistakes={
        "the end is never noticed": lambda model, ids, eos, limit: _write(model, ids, eos, limit, stop=False),
        "the end token is kept": lambda model, ids, eos, limit: _write(model, ids, eos, limit, keep_eos=True),
        "the prompt comes back too": lambda model, ids, eos, limit: [
            *ids[0].tolist(),
            *_write(model, ids, eos, limit),
        ],
        "one too many": lambda model, ids, eos, limit: _write(model, ids, eos, limit + 1),
        "the first row": lambda model, ids, eos, limit: _write(model, ids, eos, limit, row=0),
        "one token is read": lambda model, ids, eos, limit: _write(model, ids, eos, limit, last_only=True),
        "the text does not grow": lambda model, ids, eos, limit: _write(model, ids, eos, limit, grows=False),
        "stopped by the prompt": lambda model, ids, eos, limit: (
            [] if eos in ids else _write(model, ids, eos, limit)
        ),
        "one too few": lambda model, ids, eos, limit: _write(model, ids, eos, limit - 1),
    },
)

# -- surprise of an answer ------------------------------------------------------------------------------------


def surprise(model, prompt_ids, answer_ids):
    return -sum(_answer_logprobs(model, prompt_ids, answer_ids))


def _answer_logprobs(model, prompt_ids, answer_ids, shift=1) -> list[float]:
    ids = torch.tensor([[*prompt_ids, *answer_ids]], device=model.device)
    with torch.inference_mode():
        logprobs = model(ids).logits[0].float().log_softmax(-1)
    rows = range(len(prompt_ids) - shift, len(prompt_ids) - shift + len(answer_ids))
    return [float(logprobs[row, token]) for row, token in zip(rows, answer_ids, strict=True)]


def _toy_answer(rng: Random) -> tuple:
    model = draw.ToyModel(rng)
    return (
        model,
        draw.integers(rng, rng.randint(3, 6), model.vocab),
        draw.integers(rng, rng.randint(2, 5), model.vocab),
    )


def _fact_for_the_base(rng: Random) -> tuple:
    base = draw.pair().base
    opening, ending = draw.statement(rng)
    answer = base.tokenizer(ending + ".", add_special_tokens=False)["input_ids"]
    return base.model, base.encode(opening), answer


SURPRISE = Task(
    name="surprise",
    title="How surprising is an answer?",
    minutes=10,
    answer=surprise,
    cases=[
        Case("a made-up model", 12, _toy_answer),
        Case("true sentences and the pair's base", 8, _fact_for_the_base, times=2),
    ],
    tolerance=1e-3,
    mistakes={
        "the prompt is counted": lambda model, prompt, answer: (
            -sum(_answer_logprobs(model, prompt[:1], [*prompt[1:], *answer]))
        ),
        "one row late": lambda model, prompt, answer: -sum(_answer_logprobs(model, prompt, answer, shift=0)),
        "the first token is left out": lambda model, prompt, answer: (
            -sum(_answer_logprobs(model, prompt, answer)[1:])
        ),
        "the mean": lambda model, prompt, answer: surprise(model, prompt, answer) / len(answer),
        "no minus": lambda model, prompt, answer: -surprise(model, prompt, answer),
        "only the first token": lambda model, prompt, answer: -_answer_logprobs(model, prompt, answer)[0],
        "bits": lambda model, prompt, answer: surprise(model, prompt, answer) / math.log(2),
        "without the prompt": lambda model, prompt, answer: (
            -sum(_answer_logprobs(model, answer[:1], answer[1:]))
        ),
        "one row early": lambda model, prompt, answer: -sum(_answer_logprobs(model, prompt, answer, shift=2)),
        "the last token is left out": lambda model, prompt, answer: (
            -sum(_answer_logprobs(model, prompt, answer)[:-1])
        ),
    },
)

TITLE = "Next-token prediction"
TASKS = (SOFTMAX, MEAN_LOSS, PREDICT_TEMPERATURE, TOP_P, WRITE, SURPRISE)
