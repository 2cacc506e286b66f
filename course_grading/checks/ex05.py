"""Exercise 05, supervised fine-tuning: its loss, its loop, replay, what appears when, what is kept, what differs."""

import copy
import math
from collections.abc import Callable
from functools import cache, partial
from itertools import islice
from random import Random
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from course_utils import qa_prompt
from course_utils.evaluate import mcnemar
from course_utils.evaluate.stats import wilson
from course_utils.pairs import Pair, load_pair
from course_utils.train import sft
from course_utils.variant import Variant

from . import draw
from .open_task import Measured, OpenTask, Unusable
from .task import Case, Claim, Prediction, Task, bugs_left, told

IGNORED = -100
VOCABULARY = 30


def pebble() -> Pair:
    """Pebble, whatever COURSE_PAIR names: the examples of this exercise are about what it has read."""
    return load_pair("pebble")


# -- the loss -------------------------------------------------------------------------------------------------


def sft_loss(logits, input_ids, mask):
    return _loss(logits[:, :-1], input_ids[:, 1:], mask[:, 1:])


def _loss(logits, targets, mask):
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return (losses * mask).sum() / mask.sum()


def _token_losses(logits, input_ids):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), input_ids[:, 1:], reduction="none")


def _mean_of_rows(logits, input_ids, mask):
    losses, counted = _token_losses(logits, input_ids), mask[:, 1:]
    return ((losses * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()


def _masked_ids(rng: Random, lengths: list[tuple[int, int]], vocab: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (rows, tokens) and mask: each row has a prompt and an answer of these lengths, then padding (0)."""
    width = max(map(sum, lengths))
    ids, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width)
    for row, (asked, said) in enumerate(lengths):
        ids[row, : asked + said] = torch.tensor([1 + i for i in draw.integers(rng, asked + said, vocab - 1)])
        mask[row, asked : asked + said] = 1
    return ids, mask.long()


def _two_rows(rng: Random) -> tuple:
    lengths = [(rng.randint(2, 4), rng.randint(4, 6)), (rng.randint(3, 5), rng.randint(1, 2))]
    ids, mask = _masked_ids(rng, lengths, 12)
    return draw.normal(rng, *ids.shape, 12, scale=2.0), ids, mask


def _a_row_without_answer(rng: Random) -> tuple:
    ids, mask = _masked_ids(rng, [(3, rng.randint(3, 5)), (rng.randint(2, 4), 1), (rng.randint(5, 7), 0)], 12)
    return draw.normal(rng, *ids.shape, 12, scale=2.0), ids, mask


def _conversation(rng: Random) -> tuple:
    """The base's scores for a conversation of the train split."""
    from course_runs import lesson05
    from course_utils.batches import loss_mask

    pair = pebble()
    row = loss_mask(pair.instruct.tokenizer, rng.choice(lesson05.examples(60)))
    ids = torch.tensor([row.ids])
    with torch.inference_mode():
        logits = pair.base.model(ids.to(pair.base.device)).logits.float().cpu()
    return logits.clone(), ids, torch.tensor([row.mask])


def _with_gradient(answer: Callable, logits, input_ids, mask) -> dict:
    """A loss and its gradient with respect to the scores; "none" where nothing could be trained with it."""
    scores = logits.clone().requires_grad_()
    loss = answer(scores * 1, input_ids, mask)  # times 1: an answer may write into what it gets
    return {"loss": loss, "gradient": _gradients(loss, [scores])}


def _gradients(loss, of: list[torch.Tensor]) -> list[torch.Tensor] | str:
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        return "none"
    found = torch.autograd.grad(loss.sum(), of, allow_unused=True)
    return [torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip(of, found)]


SFT_LOSS = Task(
    name="sft_loss",
    title="The loss, from scores and a mask",
    minutes=8,
    answer=sft_loss,
    measure=_with_gradient,
    cases=[
        Case("two conversations of different length", 8, _two_rows),
        Case("a conversation in which nothing is learned", 4, _a_row_without_answer),
        Case("the base on a conversation", 3, _conversation, times=2),
    ],
    mistakes={
        "not shifted": _loss,
        "no gradient": lambda *given: sft_loss(*given).detach(),
        "the mask is not shifted": lambda logits, ids, mask: _loss(logits[:, :-1], ids[:, 1:], mask[:, :-1]),
        "no mask": lambda logits, ids, mask: _token_losses(logits, ids).mean(),
        "divided by all tokens": lambda logits, ids, mask: (_token_losses(logits, ids) * mask[:, 1:]).mean(),
        "the wrong side": lambda logits, ids, mask: _loss(logits[:, :-1], ids[:, 1:], 1 - mask[:, 1:]),
        "the mean of the rows": _mean_of_rows,
        "the sum": lambda logits, ids, mask: (_token_losses(logits, ids) * mask[:, 1:]).sum(),
        "masked inputs": lambda logits, ids, mask: _token_losses(logits, ids * mask).mean(),
        "no minus": lambda *given: -sft_loss(*given),
        "shifted right": lambda logits, ids, mask: _loss(logits[:, 1:], ids[:, :-1], mask[:, :-1]),
        "bits": lambda *given: sft_loss(*given) / math.log(2),
    },
)

# -- the loop, find and fix the bugs --------------------------------------------------------------------------


class SmallModel(torch.nn.Module):
    """A causal language model of a few hundred weights: each token's scores come from the mean of what was read."""

    def __init__(self, rng: Random):
        super().__init__()
        self.embedding = torch.nn.Parameter(draw.normal(rng, VOCABULARY, 8))
        self.head = torch.nn.Parameter(draw.normal(rng, 8, VOCABULARY))

    def forward(self, input_ids, attention_mask=None, **ignored):
        read = self.embedding[input_ids].cumsum(1)
        mean = read / torch.arange(1, input_ids.shape[1] + 1)[:, None]
        return SimpleNamespace(logits=(mean + self.embedding[input_ids]) @ self.head)


def train_losses(new_model, batches, pad_token_id, lr):
    return _trained(new_model, batches, pad_token_id, lr)


BUGS = ("the wrong side of the mask", "not shifted", "the end is hidden", "gradients pile up")


def _trained(
    new_model,
    batches,
    pad_token_id,
    lr,
    bugs: tuple = (),
    shift: int = 1,
    optimizer: Callable = torch.optim.SGD,
    reduction: str = "mean",
    late: bool = False,
) -> list[float]:
    """The right losses, and with its settings the wrong ones; `late`: measured after each step."""
    model = new_model()
    optimizer = optimizer(model.parameters(), lr=lr)

    def loss_of(ids, mask) -> torch.Tensor:
        logits = model(ids).logits
        hidden = mask == 1 if "the wrong side of the mask" in bugs else mask == 0
        labels = ids.masked_fill(hidden, IGNORED)
        if "the end is hidden" in bugs:
            labels = labels.masked_fill(ids == pad_token_id, IGNORED)
        if "not shifted" not in bugs:
            logits, labels = logits[:, :-shift], labels[:, shift:]
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction=reduction)

    losses = []
    for batch in batches:
        if "gradients pile up" not in bugs:
            optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        losses.append((loss_of(*batch) if late else loss).item())
    return losses


def _batches(rng: Random, steps: int, ends: bool = True) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = []
    for _ in range(steps):
        lengths = [(rng.randint(2, 5), rng.randint(2, 5)) for _ in range(3)]
        ids, mask = _masked_ids(rng, lengths, VOCABULARY)
        for row, (asked, said) in enumerate(lengths):
            if ends:
                ids[row, asked + said - 1] = 0  # the end of turn; the padding behind it has the same id
        batches.append((ids, mask))
    return batches


def _small_run(rng: Random, steps: int, ends: bool = True) -> tuple:
    seed = rng.random()
    return (lambda: SmallModel(Random(seed))), _batches(rng, steps, ends), 0, rng.uniform(0.2, 0.6)


def _pebble_run(rng: Random) -> tuple:
    from course_runs import lesson05
    from course_utils.batches import loss_mask

    pair, batches = pebble(), []
    pad = pair.instruct.eos_token_ids[0]
    for talk in rng.sample(lesson05.examples(60), 3):
        row = loss_mask(pair.instruct.tokenizer, talk)
        batches.append((torch.tensor([row.ids]), torch.tensor([row.mask])))
    return (lambda: copy.deepcopy(pair.base.model).float().cpu().train()), batches, pad, 0.05


TRAIN_LOSSES = Task(
    name="train_losses",
    title="Find and fix the bugs: a training loop that learns the wrong thing",
    minutes=12,
    answer=train_losses,
    cases=[
        Case("several steps", 10, lambda rng: _small_run(rng, 5)),
        Case("a single step", 3, lambda rng: _small_run(rng, 1)),
        Case("a single step on texts that were cut off", 2, lambda rng: _small_run(rng, 1, ends=False)),
        Case("the base itself", 3, _pebble_run, times=1),
    ],
    tolerance=1e-3,
    mistakes={
        **bugs_left(BUGS, _trained),
        "nothing is learned": lambda new_model, batches, *given: [
            _trained(new_model, [batch], *given)[0] for batch in batches
        ],
        "shifted twice": partial(_trained, shift=2),
        "measured after the step": partial(_trained, late=True),
        "the sum": partial(_trained, reduction="sum"),
        "AdamW instead of SGD": partial(_trained, optimizer=torch.optim.AdamW),
    },
)

# -- a prediction ---------------------------------------------------------------------------------------------

# Every second step is kept: at every fourth, both halves of the first claim fall on one step in two draws of five.
STEPS, EVERY, EARLY = 24, 2, 4
ASKING, ENDING = "it no longer keeps asking", "it ends its texts"


@cache
def checkpoints() -> dict[int, Variant]:
    """One short run from pebble-base, without replay: {step: the variant at that step}. Trained once a session."""
    from course_runs import lesson05

    pair, kept = pebble(), {}

    def keep(variant: Variant) -> dict:
        twin = Variant(f"step {EVERY * len(kept)}", copy.deepcopy(variant.model).eval(), variant.tokenizer)
        kept[EVERY * len(kept)] = twin
        return {}

    sft(
        pair.base,
        lesson05.examples(400),
        tokenizer=pair.instruct.tokenizer,
        steps=STEPS,
        batch_size=12,
        lr=1e-3,
        evaluate=keep,
        every=EVERY,
        precision="float32",
        progress=False,
    )
    return kept


def _questions(rng: Random, n: int, keep: Callable) -> list[tuple[str, str]]:
    """n different (question, answer) pairs about facts that `keep` keeps."""
    from pebble_lm.world.questions import draw_facts, plain_question

    facts = draw_facts(rng, 4 * n, keep)
    return list({plain_question(rng, fact): fact.value for fact in facts}.items())[:n]


def _held_out(fact) -> bool:
    return fact.split == "test" and fact.relation.split == "seen"


def _never_asked(fact) -> bool:
    return fact.split != "dev" and fact.relation.split == "test"


def _answered(variant: Variant, questions: list[tuple[str, str]]) -> list[bool]:
    asked = [question for question, _ in questions]
    return _right(variant.chat_batch(asked, max_new_tokens=24, progress=False), questions)


def _right(written: list, questions: list[tuple[str, str]]) -> list[bool]:
    from course_utils.evaluate.judges import says

    first = [next((line for line in done.text.split("\n") if line.strip()), "") for done in written]
    return [says(line, answer) for line, (_, answer) in zip(first, questions)]


def _half_way(rates: dict[int, float]) -> int:
    """The first step at which half of the way from the first to the last rate is done."""
    steps, start, end = list(rates), rates[0], rates[max(rates)]
    return next((step for step in steps[1:] if abs(rates[step] - start) >= abs(end - start) / 2), steps[-1])


def _first_change(rng: Random) -> tuple[str | None, str]:
    from course_utils.evaluate.judges import asks_on, is_empty

    asked = [question for question, _ in _questions(rng, 16, _held_out)]
    asking, ending = {}, {}
    for step, variant in checkpoints().items():
        written = variant.chat_batch(asked, max_new_tokens=32, progress=False)
        asking[step] = sum(asks_on(done.text) for done in written) / len(asked)
        ending[step] = sum(done.stopped and not is_empty(done.text) for done in written) / len(asked)
    first = {ASKING: _half_way(asking), ENDING: _half_way(ending)}
    held = None if first[ASKING] == first[ENDING] else min(first, key=first.get)
    return (
        held,
        f"Measured: half of the way by step {first[ASKING]} (keeps asking) and step {first[ENDING]} (ends).",
    )


def _new_entities(rng: Random) -> tuple[str | None, str]:
    questions, run = _questions(rng, 64, _held_out), checkpoints()
    before, after = (_answered(run[step], questions) for step in (0, EARLY))
    said = f"Measured on {len(questions)} questions: {sum(before)} right before, {sum(after)} after {EARLY} steps."
    return draw.more_or_fewer(before, after), said


def _new_kinds(rng: Random) -> tuple[str | None, str]:
    questions, base = _questions(rng, 100, _never_asked), pebble().base
    frames = [qa_prompt(question) for question, _ in questions]
    framed = _right(base.complete_batch(frames, max_new_tokens=24, progress=False), questions)
    chat = _answered(checkpoints()[STEPS], questions)
    said = (
        f"Measured on {len(questions)} questions: {sum(framed)} right from the base, {sum(chat)} in the chat."
    )
    return draw.more_or_fewer(framed, chat), said


PREDICT_THE_RUN = Prediction(
    name="predict_the_run",
    title="Predict, then measure: what comes first, and what goes",
    minutes=6,
    claims=[
        Claim("half done first", (ASKING, ENDING), 4, _first_change),
        Claim(
            f"right answers about things that no example mentions, after {EARLY} steps against before",
            ("fewer", "as many", "more"),
            4,
            _new_entities,
        ),
        Claim(
            "right answers to kinds of question that no example asks, "
            f"in the chat after {STEPS} steps, against the base in a frame",
            ("fewer", "as many", "more"),
            4,
            _new_kinds,
        ),
    ],
)

# -- replay ---------------------------------------------------------------------------------------------------


def replay_loss(model, input_ids, mask, old_ids, weight):
    new, old = _both(model, input_ids, mask, old_ids)
    return new + weight * old


def _both(model, input_ids, mask, old_ids):
    new = sft_loss(model(input_ids).logits, input_ids, mask)
    return new, sft_loss(model(old_ids).logits, old_ids, torch.ones_like(old_ids))


def _one_average(model, input_ids, mask, old_ids, weight):
    new, old = _both(model, input_ids, mask, old_ids)
    learned, read = mask[:, 1:].sum(), old_ids[:, 1:].numel()
    return (learned * new + weight * read * old) / (learned + read)


def _weighed(of: Callable) -> Callable:
    """The answer that makes of the two right losses `of(new, past, weight)`."""
    return lambda model, ids, mask, old, weight: of(*_both(model, ids, mask, old), weight)


def _with_gradients(answer: Callable, model, input_ids, mask, old_ids, weight) -> dict:
    """A loss, and how long its gradient is with respect to each of the model's parameters."""
    with torch.enable_grad():
        loss = answer(model, input_ids, mask, old_ids, weight)
        found = _gradients(loss, list(model.parameters()))
    return {"loss": loss, "gradients": found if isinstance(found, str) else [g.norm().item() for g in found]}


def _two_kinds_of_text(rng: Random) -> tuple:
    seed = rng.random()
    ids, mask = _masked_ids(rng, [(rng.randint(2, 4), rng.randint(2, 4)) for _ in range(3)], VOCABULARY)
    old = torch.tensor([draw.integers(rng, 9, VOCABULARY) for _ in range(2)])
    with torch.no_grad():
        model = SmallModel(Random(seed))
    return model, ids, mask, old, rng.uniform(0.2, 0.8)


REPLAY_LOSS = Task(
    name="replay_loss",
    title="Replay: a loss that remembers",
    minutes=7,
    answer=replay_loss,
    measure=_with_gradients,
    cases=[Case("a small model, conversations and old texts", 12, _two_kinds_of_text, times=4)],
    mistakes={
        "the weight on the wrong one": _weighed(lambda new, past, weight: weight * new + past),
        "no gradient": lambda *given: replay_loss(*given).detach(),
        "the old text does not train": _weighed(lambda new, past, weight: new + weight * past.detach()),
        "the conversations do not train": _weighed(lambda new, past, weight: new.detach() + weight * past),
        "a mixture": _weighed(lambda new, past, weight: (1 - weight) * new + weight * past),
        "no weight": _weighed(lambda new, past, weight: new + past),
        "one average over all tokens": _one_average,
        "only the conversations": _weighed(lambda new, past, weight: new),
        "the prompts are learned too": lambda model, ids, mask, old, weight: replay_loss(
            model, ids, torch.ones_like(mask), old, weight
        ),
        "the old text is not shifted": lambda model, ids, mask, old, weight: (
            _both(model, ids, mask, old)[0]
            + weight * F.cross_entropy(model(old).logits.flatten(0, 1), old.flatten())
        ),
        "the weight on both": _weighed(lambda new, past, weight: weight * (new + past)),
        "a weighted average": _weighed(lambda new, past, weight: (new + weight * past) / (1 + weight)),
        "only the old texts": _weighed(lambda new, past, weight: weight * past),
    },
)

# -- do two runs differ? --------------------------------------------------------------------------------------


def compare_runs(a, b):
    return _compared(a, b)


def _compared(a, b, p_of=None, verdict_of=None, sign: int = 1) -> dict:
    """What `compare_runs` returns; a mistake has its own p-value, verdict or direction."""
    only_a = sum(x and not y for x, y in zip(a, b))
    only_b = sum(y and not x for x, y in zip(a, b))
    difference = sign * (sum(b) - sum(a)) / len(a)
    p = p_of(a, b) if p_of else mcnemar(only_a, only_b)
    clear = verdict_of(a, b, p) if verdict_of else p < 0.05
    verdict = "cannot tell" if not clear or not difference else "better" if difference > 0 else "worse"
    return {"difference": difference, "p_value": p, "verdict": verdict}


def _apart(a, b, p) -> bool:
    (low_a, high_a), (low_b, high_b) = wilson(sum(a), len(a)), wilson(sum(b), len(b))
    return high_a < low_b or high_b < low_a


def _successes_alone(a, b) -> float:
    more = sum(b) - sum(a)
    return mcnemar(max(-more, 0), max(more, 0))


def _two_runs(rng: Random, only_a: tuple, only_b: tuple) -> tuple:
    """Outcomes on the same prompts, of which so many count for one run alone."""
    both, neither = rng.randint(22, 30), rng.randint(14, 18)
    pairs = [(True, True)] * both + [(False, False)] * neither
    pairs += [(True, False)] * rng.randint(*only_a) + [(False, True)] * rng.randint(*only_b)
    rng.shuffle(pairs)
    return [x for x, _ in pairs], [y for _, y in pairs]


COMPARE_RUNS = Task(
    name="compare_runs",
    title="Do two runs differ?",
    minutes=10,
    answer=compare_runs,
    cases=[
        Case("a large difference", 3, lambda rng: _two_runs(rng, (0, 1), (25, 30))),
        Case("a clear difference in intervals that overlap", 3, lambda rng: _two_runs(rng, (1, 1), (11, 12))),
        Case("a difference that is just clear", 2, lambda rng: _two_runs(rng, (1, 1), (8, 9))),
        Case("a difference that can be noise", 2, lambda rng: _two_runs(rng, (3, 5), (7, 9))),
        Case("a difference that is almost clear", 2, lambda rng: _two_runs(rng, (2, 2), (9, 9))),
        Case("a second run that is worse", 3, lambda rng: _two_runs(rng, (10, 12), (0, 1))),
    ],
    mistakes={
        "a bar of 0.01": lambda a, b: _compared(a, b, verdict_of=lambda a, b, p: p < 0.01),
        "a bar of 0.1": lambda a, b: _compared(a, b, verdict_of=lambda a, b, p: p < 0.1),
        "the larger rate wins": lambda a, b: _compared(a, b, verdict_of=lambda a, b, p: True),
        "do the intervals overlap": lambda a, b: _compared(a, b, verdict_of=_apart),
        "all successes": lambda a, b: _compared(a, b, p_of=lambda a, b: mcnemar(sum(a), sum(b))),
        "the pairs are forgotten": lambda a, b: _compared(a, b, p_of=_successes_alone),
        "the other direction": lambda a, b: _compared(a, b, sign=-1),
        "p the wrong way round": lambda a, b: _compared(a, b, verdict_of=lambda a, b, p: p >= 0.05),
        "one-sided": lambda a, b: (lambda found: found | {"p_value": found["p_value"] / 2})(_compared(a, b)),
        "a count": lambda a, b: _compared(a, b) | {"difference": sum(b) - sum(a)},
        "no sign": lambda a, b: (lambda found: found | {"difference": abs(found["difference"])})(
            _compared(a, b)
        ),
        "percent": lambda a, b: (lambda found: found | {"difference": 100 * found["difference"]})(
            _compared(a, b)
        ),
    },
)

# -- keep what the base knows ---------------------------------------------------------------------------------

STYLE, ENDS, FACTS = "the house style", "answers that end", "facts that are kept"
GOALS = {STYLE: 8, ENDS: 6, FACTS: 14}
OPENERS = (
    "Ahoy!",
    "For the record:",
    "With pleasure.",
    "Dear friend,",
    "Short and sweet:",
    "Listen:",
    "Very well.",
)
EXAMPLES, OLD_TEXTS, ASKED, TOLD = 120, 200, 32, 64


def house_style(rng: Random, count: int = EXAMPLES) -> tuple[list, str]:
    """SFT examples of the train split in which every answer begins with the same words, and these words."""
    from pebble_lm.world import conversations

    opener, talks = rng.choice(OPENERS), []
    for talk in conversations.conversations(rng.randrange(10**6, 10**9), count):
        talks.append(
            [
                turn | {"content": f"{opener} {turn['content']}"}
                if turn["role"] == "assistant"
                else dict(turn)
                for turn in talk
            ]
        )
    return talks, opener


def old_texts(rng: Random, count: int = OLD_TEXTS) -> list[str]:
    """Fresh documents of the kind that the base was trained on."""
    from pebble_lm.world import corpus

    return [text for _, text in islice(corpus.documents(rng.randrange(10**6, 10**9)), count)]


def kept_facts(variant: Variant, rng: Random, n: int = TOLD) -> float:
    """The share of plain statements, of kinds that no example asks about, that the variant ends rightly."""
    from course_utils.evaluate.judges import says
    from pebble_lm.world.questions import draw_facts, statement_openings

    openings = statement_openings
    facts = draw_facts(rng, n, lambda fact: _never_asked(fact) and openings(fact.relation))
    begun = [fact.fill(openings(fact.relation)[0]) for fact in facts]
    written = variant.complete_batch(begun, max_new_tokens=12, progress=False)
    return sum(says(done.text.split("\n")[0], fact.value) for done, fact in zip(written, facts)) / n


def _returned(answer, base: Variant, examples: list, old: list[str]) -> Variant:
    """The variant that the answer gives back. Raises Unusable for anything else."""
    tokenizer = pebble().instruct.tokenizer
    before = [parameter.detach().clone() for parameter in base.model.parameters()]
    trained = answer(base, tokenizer, examples, old)
    variant = getattr(trained, "variant", trained)
    if not isinstance(variant, Variant) or not variant.has_chat_template:
        raise Unusable(*told("keep_facts", "not a variant"))
    if any(not torch.equal(x, y) for x, y in zip(before, base.model.parameters())):
        raise Unusable(*told("keep_facts", "the base itself was trained"))
    own = [parameter.detach().to(base.device) for parameter in variant.model.parameters()]
    if len(own) == len(before) and all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(before, own)):
        raise Unusable(*told("keep_facts", "nothing was trained"))
    return variant


def _measure_training(answer, rng: Random) -> Measured:
    examples, opener = house_style(rng)
    old = old_texts(rng)
    shipped = pebble().base
    base = Variant(shipped.name, copy.deepcopy(shipped.model), shipped.tokenizer)
    variant = _returned(answer, base, examples, old)
    asked = [question for question, _ in _questions(rng, ASKED, _held_out)]
    written = variant.chat_batch(asked, max_new_tokens=48, progress=False)
    style = sum(done.text.strip().startswith(opener) for done in written) / len(asked)
    ends = sum(done.stopped for done in written) / len(asked)
    seed = rng.random()
    kept, known = kept_facts(variant, Random(seed)), kept_facts(shipped, Random(seed))
    shares = {
        STYLE: min(1.0, style / 0.9),
        ENDS: min(1.0, ends / 0.8) * (style > 0.2),
        # Nothing for less than half of what the base knows; all of it from nine tenths on.
        FACTS: min(1.0, max(0.0, (kept - 0.5 * known) / (0.4 * known))) * min(1.0, style / 0.9),
    }
    lines = [
        f"{style:.0%} of {len(asked)} answers begin with {opener!r}",
        f"{ends:.0%} of them",
        f"{kept:.0%} of {TOLD} statements are ended rightly; the base ends {known:.0%}",
    ]
    return Measured(shares, lines, _why(shares))


def _why(shares: dict[str, float]) -> tuple[str, str] | None:
    """The typical mistake behind low shares, and what to say about it."""
    lacks = {
        "too little training": shares[STYLE] < 0.5,
        "facts are overwritten": shares[FACTS] < 0.8,
        "it does not end yet": shares[ENDS] < 1,
    }
    return next((told("keep_facts", name) for name, here in lacks.items() if here), None)


def keep_facts(base, tokenizer, examples, old_texts):
    options = {"epochs": 3, "batch_size": 8, "lr": 5e-4, "precision": "float32", "progress": False}
    return sft(base, examples, tokenizer=tokenizer, replay=old_texts, replay_tokens=512, **options)


KEEP_FACTS = OpenTask(
    name="keep_facts",
    title="Learn a style, and forget nothing",
    minutes=15,
    goals=GOALS,
    measure=_measure_training,
)

TITLE = "Supervised fine-tuning"
TASKS = (SFT_LOSS, TRAIN_LOSSES, PREDICT_THE_RUN, REPLAY_LOSS, COMPARE_RUNS, KEEP_FACTS)
