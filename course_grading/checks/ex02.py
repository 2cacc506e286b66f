"""Exercise 02, two variants of one architecture: distances, rates with intervals, ends, the token shift."""

import math
from collections.abc import Callable
from random import Random

import torch

from course_utils import qa_prompt
from course_utils.evaluate.stats import wilson

from . import draw
from .task import Case, Claim, Prediction, Task

# -- how far the weights moved --------------------------------------------------------------------------------


def relative_change(before, after):
    return _changes(before, after, lambda a, b: (b - a).norm() / a.norm())


def _changes(before: dict, after: dict, distance: Callable) -> dict[str, float]:
    return {name: float(distance(before[name].detach(), after[name].detach())) for name in before}


def _two_small_models(rng: Random) -> tuple:
    shapes = {"embedding": (7, 4), "attention": (4, 4), "mlp.up": (6, 4), "norm": (4,)}
    before = {name: draw.normal(rng, *shape) for name, shape in shapes.items()}
    after = {name: w + draw.normal(rng, *w.shape, scale=rng.uniform(0.1, 0.6)) for name, w in before.items()}
    names = list(shapes)
    rng.shuffle(names)  # the second checkpoint may list its tensors in another order
    return before, {name: after[name] for name in names}


def _the_pair(rng: Random) -> tuple:
    base, instruct = (dict(variant.model.named_parameters()) for variant in draw.pair())
    names = rng.sample(sorted(base), 8)
    return {name: base[name].detach() for name in names}, {name: instruct[name].detach() for name in names}


RELATIVE_CHANGE = Task(
    name="relative_change",
    title="How far did the weights move?",
    minutes=6,
    answer=relative_change,
    cases=[
        Case("two small made-up models", 10, _two_small_models),
        Case("tensors of the pair", 5, _the_pair, times=1),
    ],
    mistakes={
        "the difference of the lengths": lambda a, b: _changes(
            a, b, lambda x, y: (y.norm() - x.norm()).abs() / x.norm()
        ),
        "measured in the instruct's length": lambda a, b: _changes(
            a, b, lambda x, y: (y - x).norm() / y.norm()
        ),
        "not divided": lambda a, b: _changes(a, b, lambda x, y: (y - x).norm()),
        "squared": lambda a, b: _changes(a, b, lambda x, y: (y - x).pow(2).sum() / x.pow(2).sum()),
        "mean of the ratios": lambda a, b: _changes(a, b, lambda x, y: ((y - x) / x).abs().mean()),
        "absolute values": lambda a, b: _changes(a, b, lambda x, y: (y - x).abs().sum() / x.abs().sum()),
        "matched by position": lambda a, b: {
            name: float((y - x).norm() / x.norm()) if x.shape == y.shape else math.nan
            for (name, x), y in zip(a.items(), b.values())
        },
        "percent": lambda a, b: _changes(a, b, lambda x, y: 100 * (y - x).norm() / x.norm()),
    },
)

# -- KL -------------------------------------------------------------------------------------------------------


def kl_divergence(instruct_logits, base_logits):
    p, q = instruct_logits.log_softmax(-1), base_logits.log_softmax(-1)
    return (p.exp() * (p - q)).sum()


def _naive_kl(instruct_logits, base_logits):
    p, q = instruct_logits.softmax(-1), base_logits.softmax(-1)
    return (p * (p.log() - q.log())).sum()


def _two_places(rng: Random) -> tuple:
    size = rng.randint(6, 14)
    return draw.normal(rng, size, scale=1.5), draw.normal(rng, size, scale=1.5)


def _certain_places(rng: Random) -> tuple:
    """A token impossible to both, and one impossible to the base alone: a probability of 0 in a float."""
    size = rng.randint(6, 10)
    never, not_for_base = rng.sample(range(size), 2)
    spread = draw.normal(rng, size, scale=2.0)
    spread[not_for_base] = spread.max()  # the instruct may well write it
    other = spread + draw.normal(rng, size)
    spread[never] -= 400.0
    other[never] -= 400.0
    other[not_for_base] -= 400.0
    return spread, other


def _possible(instruct_logits, base_logits) -> tuple:
    """The same scores, with no token so improbable that a small number added to it would count."""
    return tuple(scores.clamp(min=float(scores.max()) - 1.5) for scores in (instruct_logits, base_logits))


def _kl_with(epsilon: float) -> Callable:
    def answer(instruct_logits, base_logits):
        p, q = instruct_logits.softmax(-1), base_logits.softmax(-1)
        return (p * ((p + epsilon).log() - (q + epsilon).log())).sum()

    return answer


KL_DIVERGENCE = Task(
    name="kl_divergence",
    title="How different are two distributions?",
    minutes=7,
    answer=kl_divergence,
    cases=[
        Case("ordinary scores", 10, _two_places),
        Case("a token that is all but impossible", 5, _certain_places),
    ],
    tolerance=1e-3,
    mistakes={
        "the other direction": lambda p, q: kl_divergence(q, p),
        "no minus one": lambda p, q: -kl_divergence(p, q),
        "scores instead of log-probabilities": lambda p, q: (p.softmax(-1) * (p - q)).sum(),
        "the mean": lambda p, q: kl_divergence(p, q) / len(p),
        "bits": lambda p, q: kl_divergence(p, q) / math.log(2),
        "not weighted": lambda p, q: (p.log_softmax(-1) - q.log_softmax(-1)).sum(),
        "the logarithm of 0": _naive_kl,
        "a small number inside the logarithm": (_kl_with(1e-8), _possible),
        "cross-entropy": lambda p, q: -(p.softmax(-1) * q.log_softmax(-1)).sum(),
        "the mean of both directions": lambda p, q: (kl_divergence(p, q) + kl_divergence(q, p)) / 2,
    },
)

# -- stop rate, find and fix the bug --------------------------------------------------------------------------


def stop_rate(rows, eos_token_ids):
    return float(_ends(rows, eos_token_ids).any(1).float().mean())


def _ends(rows, eos_token_ids):
    return torch.isin(rows, torch.tensor(list(eos_token_ids)))


def _rows_of_generate(rng: Random, pad_is_end: bool) -> tuple:
    """Rows as `generate` returns them: some ended early and were padded, one in the last column, some ran on."""
    *eos, pad = rng.sample(range(20, 30), 3 if pad_is_end else 4)  # of end tokens there may be two or three
    filler = eos[1] if pad_is_end else pad
    width, rows = rng.randint(7, 10), []
    lengths = [3, rng.randint(2, width - 2), width - 2, width, rng.choice([width, 4])]
    lengths += [None] * rng.choice(
        [1, 2, 3, 6, 7]
    )  # never half of the rows: the share that ran on must differ
    for length in lengths:
        ids = draw.integers(rng, width, 20)
        if length is not None:
            ids[length - 1] = rng.choice(eos)
            ids[length:] = [filler] * (width - length)
        rows.append(ids)
    rng.shuffle(rows)
    return torch.tensor(rows), eos


def _generated(rng: Random, pad_is_end: bool) -> tuple:
    """Such rows, in which no two of the wrong ways of counting come out alike."""
    while True:
        rows, eos = _rows_of_generate(rng, pad_is_end)
        ends = _ends(rows, eos)
        counts = {
            int(found.sum())
            for found in (
                *(ends.any(1), ~ends.any(1), ends[:, -1]),
                *((rows == eos[0]).any(1), rows[:, -1] == eos[0]),
            )
        }
        if (len(counts) == 5 and 0 not in counts) or pad_is_end:
            return rows, eos


def _padded(rng: Random) -> tuple:
    return _generated(rng, pad_is_end=False)


def _padded_with_an_end(rng: Random) -> tuple:
    return _generated(rng, pad_is_end=True)


def _written_by_the_pair(rng: Random) -> tuple:
    instruct = draw.pair().instruct
    asked = [question for question, _ in draw.questions(rng, 5)]
    written = instruct.chat_batch(asked, max_new_tokens=rng.choice([12, 16]), progress=False)
    width = max(len(completion.token_ids) for completion in written)
    pad = instruct.tokenizer.pad_token_id
    filler = instruct.eos_token_ids[-1] if pad is None else pad
    rows = [[*c.token_ids, *[filler] * (width - len(c.token_ids))] for c in written]
    return torch.tensor(rows), list(instruct.eos_token_ids)


STOP_RATE = Task(
    name="stop_rate",
    title="Find and fix the bug: a stop rate that is far too low",
    minutes=8,
    answer=stop_rate,
    cases=[
        Case("rows that ended at different places", 8, _padded),
        Case("rows padded with an end token", 4, _padded_with_an_end),
        Case("answers of the pair's instruct", 3, _written_by_the_pair, times=1),
    ],
    mistakes={
        "still the last column, one end": lambda rows, eos: (rows[:, -1] == eos[0]).float().mean(),
        "the last column": lambda rows, eos: _ends(rows, eos)[:, -1].float().mean(),
        "one end token of two": lambda rows, eos: (rows == eos[0]).any(1).float().mean(),
        "tokens instead of rows": lambda rows, eos: _ends(rows, eos).float().mean(),
        "ends counted, not rows": lambda rows, eos: _ends(rows, eos).float().sum() / len(rows),
        "the running-on ones": lambda rows, eos: 1 - stop_rate(rows, eos),
        "percent": lambda rows, eos: 100 * stop_rate(rows, eos),
        "a count": lambda rows, eos: stop_rate(rows, eos) * len(rows),
    },
)

# -- a prediction ---------------------------------------------------------------------------------------------


def _parameters(rng: Random) -> tuple[str | None, str]:
    base, instruct = (variant.num_parameters for variant in draw.pair())
    held = "fewer" if instruct < base else "more" if instruct > base else "as many"
    return held, f"Measured: {instruct:,} in the instruct, {base:,} in the base."


def _without_end_of_turn(rng: Random) -> tuple[list[list[int]], list[list[int]]]:
    """Answers with the instruct's own end tokens, and with the base's only; greedy, four questions."""
    pair, answers = draw.pair(), ([], [])
    for question, _ in draw.questions(rng, 4):
        ids = torch.tensor(
            [pair.instruct.encode([{"role": "user", "content": question}])], device=pair.instruct.device
        )
        for kept, eos in zip(answers, (pair.instruct.eos_token_ids, pair.base.eos_token_ids)):
            with torch.inference_mode():
                output = pair.instruct.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    eos_token_id=eos,
                    pad_token_id=eos[0],
                    max_new_tokens=48,
                    do_sample=False,
                )
            kept.append(output[0, ids.shape[1] :].tolist())
    return answers


def _beginnings(rng: Random) -> tuple[str | None, str]:
    with_end, without = _without_end_of_turn(rng)
    same = [long[: len(short)] == short for short, long in zip(with_end, without)]
    held = "the same at first" if all(same) else "different from the start" if not any(same) else None
    return held, f"Measured: {sum(same)} of {len(same)} answers begin with the very same tokens."


def _lengths(rng: Random) -> tuple[str | None, str]:
    with_end, without = _without_end_of_turn(rng)
    before, after = (sum(map(len, answers)) for answers in (with_end, without))
    held = "shorter" if after < before else "longer" if after > before else None
    return (
        held,
        f"Measured over {len(without)} answers: {before} tokens with it, {after} without (limit 48 each).",
    )


def _one_of_one(rng: Random) -> tuple[str | None, str]:
    n = rng.randrange(60, 200)
    few, many = wilson(1, 1), wilson(n - n // 10, n)
    widths = few[1] - few[0], many[1] - many[0]
    held = "wider" if widths[0] > widths[1] else "narrower"
    return held, f"Computed: 1 of 1 is {widths[0]:.2f} wide, {n - n // 10} of {n} is {widths[1]:.2f} wide."


PREDICT_THE_END = Prediction(
    name="predict_the_end",
    title="Predict, then measure: an instruct without its end of turn",
    minutes=6,
    claims=[
        Claim("parameters of the instruct, against the base", ("fewer", "as many", "more"), 2, _parameters),
        Claim(
            "tokens of the answer without the end of turn in the list",
            ("the same at first", "different from the start"),
            3,
            _beginnings,
        ),
        Claim("length of that text", ("shorter", "as long", "longer"), 3, _lengths),
        Claim(
            "interval of 1 success in 1 try, against 9 in 10 of many",
            ("narrower", "as wide", "wider"),
            2,
            _one_of_one,
        ),
    ],
)

# -- token shift ----------------------------------------------------------------------------------------------


def shift_shares(base_logits, ids, start):
    return _shares(_ranks(base_logits[start - 1 : -1], ids[start:]))


def _ranks(rows, tokens) -> list[int]:
    return [int((row > row[token]).sum()) + 1 for row, token in zip(rows, tokens)]


def _shares(ranks: list[int], marginal: int = 3, scale: float = 1.0) -> dict[str, float]:
    n = len(ranks) or 1
    counts = {
        "unshifted": sum(rank == 1 for rank in ranks),
        "marginal": sum(1 < rank <= marginal for rank in ranks),
        "shifted": sum(rank > max(marginal, 1) for rank in ranks),
    }
    return {name: scale * count / n for name, count in counts.items()}


def _planted_ranks(rng: Random) -> tuple:
    """Random rows in which the answer's tokens have ranks of all categories, and the prompt's have high ranks."""
    vocab, start = 20, rng.randint(4, 6)
    wanted = [1, 1, 1, 2, 3, 4, rng.choice([1, 1, 2, 5]), rng.randint(4, 9)]
    rng.shuffle(wanted)
    ids = draw.integers(rng, start + len(wanted), vocab)
    logits = draw.normal(rng, len(ids), vocab)
    for i, rank in enumerate(wanted):
        row, token = logits[start - 1 + i], ids[start + i]
        order = row.argsort(descending=True).tolist()
        other = order[rank - 1]
        row[token], row[other] = row[other].item(), row[token].item()
    return logits, ids, start


def _answer_of_the_pair(rng: Random) -> tuple:
    pair = draw.pair()
    prefix = pair.instruct.encode([{"role": "user", "content": draw.questions(rng, 1)[0][0]}])
    ids = [*prefix, *pair.instruct.complete(prefix, max_new_tokens=24).token_ids]
    ((_, logits),) = pair.base.iter_logits(ids)
    return logits.clone().cpu(), ids, len(prefix)


SHIFT_SHARES = Task(
    name="shift_shares",
    title="The token shift, by hand",
    minutes=10,
    answer=shift_shares,
    cases=[
        Case("a made-up base", 14, _planted_ranks, times=4),
        Case("an answer of the pair's instruct", 6, _answer_of_the_pair, times=2),
    ],
    mistakes={
        "one row late": lambda logits, ids, start: _shares(_ranks(logits[start:], ids[start:])),
        "the prompt is counted": lambda logits, ids, start: _shares(_ranks(logits[:-1], ids[1:])),
        "ranks from 0": lambda logits, ids, start: (
            lambda ranks: {
                "unshifted": sum(rank <= 1 for rank in ranks) / len(ranks),
                "marginal": sum(1 < rank <= 3 for rank in ranks) / len(ranks),
                "shifted": sum(rank > 3 for rank in ranks) / len(ranks),
            }
        )([rank - 1 for rank in _ranks(logits[start - 1 : -1], ids[start:])]),
        "rank 3 is missing": lambda logits, ids, start: _shares(
            _ranks(logits[start - 1 : -1], ids[start:]), marginal=2
        ),
        "counts": lambda logits, ids, start: _shares(
            _ranks(logits[start - 1 : -1], ids[start:]), scale=len(ids) - start
        ),
        "divided by all tokens": lambda logits, ids, start: _shares(
            _ranks(logits[start - 1 : -1], ids[start:]), scale=(len(ids) - start) / len(ids)
        ),
        "percent": lambda logits, ids, start: _shares(_ranks(logits[start - 1 : -1], ids[start:]), scale=100),
        "worst first": lambda logits, ids, start: _shares(_ranks(-logits[start - 1 : -1], ids[start:])),
        "one row early": lambda logits, ids, start: _shares(_ranks(logits[start - 2 : -2], ids[start:])),
        "the shares overlap": lambda logits, ids, start: (
            lambda found: found | {"marginal": found["unshifted"] + found["marginal"]}
        )(shift_shares(logits, ids, start)),
    },
)

# -- a fair comparison ----------------------------------------------------------------------------------------


def answer_rates(pair, questions):
    return _rates(pair, questions)


def first_line(text: str) -> str:
    return next((line.strip() for line in text.split("\n") if line.strip()), "")


def right(text: str, answer: str) -> bool:
    """Whether the first line of a text holds the answer as whole words. The exercise hands this to the learner."""
    from course_utils.evaluate.judges import says

    return says(first_line(text), answer)


def _framed(variant, asked):
    return variant.complete_batch(
        [qa_prompt(question) for question in asked], max_new_tokens=24, progress=False
    )


def _chat(variant, asked):
    return variant.chat_batch(asked, max_new_tokens=24, progress=False)


def _bare(variant, asked):
    return variant.complete_batch(list(asked), max_new_tokens=24, progress=False)


def _rates(
    pair, questions, of_base=_framed, of_instruct=_chat, judge=right, interval=wilson
) -> dict[str, tuple]:
    asked, rates = [question for question, _ in questions], {}
    for name, ask in (("base", of_base), ("instruct", of_instruct)):
        written = ask(pair[name], asked)
        hits = sum(judge(done.text, answer) for done, (_, answer) in zip(written, questions))
        rates[name] = (hits / len(questions), *interval(hits, len(questions)))
    return rates


def _normal_interval(hits: int, n: int) -> tuple[float, float]:
    rate = hits / n
    half = 1.96 * math.sqrt(rate * (1 - rate) / n)
    return rate - half, rate + half


def _swapped(pair, questions):
    rates = _rates(pair, questions)
    return {"base": rates["instruct"], "instruct": rates["base"]}


def _scripted(rng: Random) -> tuple:
    """A pair with a script: each form of asking has its own share of right answers, and traps for judges."""
    questions = draw.questions(rng, 20)
    base, instruct = {}, {}
    for i, (question, answer) in enumerate(questions):
        other = f"{answer}ish" if i % 3 == 0 else "nobody knows"  # holds the answer's letters, not the answer
        said = f" {answer}.\n\nQuestion: And then?\nAnswer: something else."
        late = f" {other}.\n\nQuestion: {question}\nAnswer: {answer}."  # right, but not in the first line
        base[question] = {
            "framed": said if i % 20 < 9 else late,
            "bare": f"\n{answer}" if i % 20 < 3 else "\nAnd what comes next?",
        }
        instruct[question] = {
            "chat": f"It is {answer}." if i % 20 < 15 else f"It is {other}.\nOr {answer}.",
            "framed": f" {answer}" if i % 20 < 12 else f" {other}",
            "bare": f"\n{answer}" if i % 20 < 6 else "\nAnd what comes next?",
        }
    rng.shuffle(questions)
    pair = draw.ScriptedPair(
        draw.ScriptedVariant("scripted-base", base, has_chat_template=False),
        draw.ScriptedVariant("scripted-instruct", instruct, has_chat_template=True),
    )
    return pair, questions[: rng.randint(14, 18)]


def _real_questions(rng: Random) -> tuple:
    return draw.pair(), draw.questions(rng, 8)


ANSWER_RATES = Task(
    name="answer_rates",
    title="A fair comparison, with its uncertainty",
    minutes=12,
    answer=answer_rates,
    cases=[
        Case("a pair that answers by a script", 18, _scripted, times=2),
        Case("the pair itself", 7, _real_questions, times=1),
    ],
    mistakes={
        "the base is asked bare": lambda pair, questions: _rates(pair, questions, of_base=_bare),
        "the instruct without its template": lambda pair, questions: _rates(
            pair, questions, of_instruct=_bare
        ),
        "both bare": lambda pair, questions: _rates(pair, questions, of_base=_bare, of_instruct=_bare),
        "both in the frame": lambda pair, questions: _rates(pair, questions, of_instruct=_framed),
        "another judge": lambda pair, questions: _rates(
            pair, questions, judge=lambda text, answer: answer in text
        ),
        "the variants are swapped": _swapped,
        "another interval": lambda pair, questions: _rates(pair, questions, interval=_normal_interval),
        "no interval": lambda pair, questions: {
            name: rate for name, (rate, *_) in _rates(pair, questions).items()
        },
        "the rate is missing": lambda pair, questions: {
            name: tuple(rest) for name, (_, *rest) in _rates(pair, questions).items()
        },
        "a count": lambda pair, questions: {
            name: (rate * len(questions), low, high)
            for name, (rate, low, high) in _rates(pair, questions).items()
        },
    },
)

TITLE = "Two variants, one architecture"
TASKS = (RELATIVE_CHANGE, KL_DIVERGENCE, STOP_RATE, PREDICT_THE_END, SHIFT_SHARES, ANSWER_RATES)
