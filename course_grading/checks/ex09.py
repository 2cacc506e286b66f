"""Exercise 09, choosing a variant: raw orders into examples, a split, a budget, both starts, a choice, an extractor."""

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from random import Random, shuffle
from typing import Any

from course_runs import lesson09
from course_utils.batches import loss_mask
from course_utils.evaluate import mcnemar
from course_utils.evaluate.stats import wilson
from course_utils.pairs import Pair, load_pair
from course_utils.variant import Variant
from pebble_lm.world import conversations

from .open_task import Measured, OpenTask, Unusable
from .task import Case, Claim, Prediction, Task, told

KEYS = lesson09.KEYS


def pebble() -> Pair:
    """The pair that the exercise trains; always Pebble, since what it trains takes seconds."""
    return load_pair("pebble")


# -- raw rows into examples -----------------------------------------------------------------------------------


def clean_orders(rows):
    return _cleaned(rows)


def _cleaned(
    rows,
    strip: bool = True,
    number: bool = True,
    gaps: bool = False,
    lies: bool = False,
    repeats: bool = False,
    keys: tuple = KEYS,
    write: Callable = json.dumps,
) -> list[dict]:
    """The right examples, and with its settings the wrong ones: `gaps`, `lies` and `repeats` say what stays in."""
    kept = []
    for row in rows:
        row = {
            key: value.strip() if isinstance(value, str) and strip else value for key, value in row.items()
        }
        missing = any(row[key] is None or not str(row[key]).strip() for key in KEYS)
        false = any(str(row[key]).strip() not in row["order"] for key in KEYS if row[key] is not None)
        if (missing and not gaps) or (false and not lies):
            continue
        if number and str(row["count"]).strip().isdigit():
            row["count"] = int(row["count"])
        record = write({key: row[key] for key in keys})
        new = {"messages": [conversations.user(row["order"]), conversations.assistant(record)]}
        if repeats or new not in kept:
            kept.append(new)
    return kept


def raw_orders(rng: Random, wrong: bool, count: int = 16) -> list[dict[str, Any]]:
    """Rows as an export gives them: white space, counts as text; and if `wrong` gaps, false records and repeats."""
    rows = []
    for number, (asked, said) in enumerate(lesson09.orders(count, rng.randrange(10**9))):
        fields = json.loads(said["content"])
        if number % 3 == 0:
            fields["count"] = rng.choice(["{}", " {}"]).format(fields["count"])
        if number % 4 == 1:
            asked = {"content": rng.choice([" {}", "{}\n", " {} "]).format(asked["content"])}
            fields["name"] += " "
        row = {"id": rng.randint(1000, 9999), "town": fields.pop("town"), **fields, "order": asked["content"]}
        rows.append(row)
    if wrong:
        for number, gap in zip((2, 7), (None, rng.choice(["", "  "]))):
            rows[number][rng.choice(("item", "name"))] = gap
        for number in (3, 10):
            rows[number]["town"] = rows[number]["town"] + "berg"
        rows[6]["count"] = rng.randint(11, 19)
        rows += [rows[4] | {"id": rng.randint(100, 999)}, rows[5] | {"order": f"{rows[5]['order'].strip()} "}]
    rng.shuffle(rows)
    return rows


CLEAN_ORDERS = Task(
    name="clean_orders",
    title="From an export to examples",
    minutes=12,
    answer=clean_orders,
    cases=[
        Case("rows that can all be saved", 7, lambda rng: (raw_orders(rng, wrong=False),)),
        Case("rows among them that cannot", 9, lambda rng: (raw_orders(rng, wrong=True),)),
    ],
    mistakes={
        "the count is a text": lambda rows: _cleaned(rows, number=False),
        "white space stays": lambda rows: _cleaned(rows, strip=False),
        "Python instead of JSON": lambda rows: _cleaned(rows, write=str),
        "another order of the keys": lambda rows: _cleaned(rows, keys=("town", "item", "count", "name")),
        "only tidy rows are kept": lambda rows: [
            talk
            for talk in _cleaned(rows, strip=False, number=False)
            if talk["messages"][0]["content"] == talk["messages"][0]["content"].strip()
            and '"count": "' not in talk["messages"][1]["content"]
        ],
        "gaps stay": lambda rows: _cleaned(rows, gaps=True),
        "false records stay": lambda rows: _cleaned(rows, lies=True),
        "gaps and false records stay": lambda rows: _cleaned(rows, gaps=True, lies=True),
        "repeats stay": lambda rows: _cleaned(rows, repeats=True),
        "nothing is left out": lambda rows: _cleaned(rows, gaps=True, lies=True, repeats=True),
        "the roles are swapped": lambda rows: [
            {"messages": [turn | {"role": other["role"]} for turn, other in zip(pair, pair[::-1])]}
            for pair in (talk["messages"] for talk in clean_orders(rows))
        ],
    },
)

# -- a split, find and fix the bug ----------------------------------------------------------------------------


def split_rows(rows, share, seed):
    customers = sorted({row["customer"] for row in rows})
    Random(seed).shuffle(customers)
    held_out = set(customers[: max(1, round(share * len(customers)))])
    train = [row for row in rows if row["customer"] not in held_out]
    return train, [row for row in rows if row["customer"] in held_out]


def _buggy_split(rows, share, seed):
    rows = list(rows)
    shuffle(rows)
    cut = round(share * len(rows))
    return rows[cut:], rows[:cut]


def _row_by_row(rows, share, seed):
    rows = list(rows)
    Random(seed).shuffle(rows)
    cut = round(share * len(rows))
    return rows[cut:], rows[:cut]


def _unseeded(rows, share, seed):
    return split_rows(rows, share, None)


def _order_of_a_set(rows, share, seed):
    customers = list({row["customer"] for row in rows})
    Random(seed).shuffle(customers)
    held_out = set(customers[: max(1, round(share * len(customers)))])
    return [r for r in rows if r["customer"] not in held_out], [r for r in rows if r["customer"] in held_out]


def _not_shuffled(rows, share, seed):
    return split_rows(rows, share, 0)


def _one_row_each(rows, share, seed):
    return split_rows(list({row["customer"]: row for row in rows}.values()), share, seed)


class Name(str):
    """A str whose hash, and so its place in a set, is another one for each `kernel` but 0, a str's own."""

    kernel = 0

    def __hash__(self) -> int:
        return hash((Name.kernel, str(self))) if Name.kernel else str.__hash__(self)

    __eq__ = str.__eq__


def _orders_of_customers(rng: Random) -> tuple:
    """Three hundred customers, most with several orders; the share to hold out; a seed."""
    rows, orders = [], lesson09.orders(40, rng.randrange(10**9))
    for number in range(300):
        for again in range(rng.randint(1, 4)):
            asked, _ = orders[(number + again) % len(orders)]
            rows.append({"customer": f"c{number:03}", "order": asked["content"], "number": again})
    rng.shuffle(rows)
    return rows, rng.choice([0.2, 0.25, 0.3]), rng.randint(1, 10**6)


def _properties(answer: Callable, rows: list[dict], share: float, seed: int) -> dict[str, Any]:
    """What counts of a split, and not which rows it drew."""

    def sides(with_seed: int, kernel: int = 0) -> list[list[dict]]:
        Name.kernel = kernel
        return [
            list(side)
            for side in answer([{**r, "customer": Name(r["customer"])} for r in rows], share, with_seed)
        ]

    def key(row: dict) -> tuple:
        return str(row["customer"]), row["number"]

    def drawn(with_seed: int, kernel: int = 0) -> set:
        return set(map(key, sides(with_seed, kernel)[1]))

    train, test = sides(seed)

    size = len(test) / max(1, len(train) + len(test))
    off = "too small" if size < share else "too large"
    return {
        "every row is there once": sorted(map(key, train + test)) == sorted(map(key, rows)),
        "customers on both sides": bool({key(row)[0] for row in train} & {key(row)[0] for row in test}),
        "size of the test side": "right" if abs(size - share) < 0.12 else off,
        "the same again with the same seed": all(drawn(seed) == set(map(key, test)) for _ in range(2)),
        "the same again in another kernel": all(drawn(seed, k) in (drawn(seed, 0), set()) for k in (1, 2)),
        "another one with another seed": any(drawn(seed + i) != set(map(key, test)) for i in (1, 2, 3)),
    }


SPLIT_ROWS = Task(
    name="split_rows",
    title="Find and fix the bug: a split that leaks",
    minutes=8,
    answer=split_rows,
    measure=_properties,
    cases=[Case("customers with several orders", 14, _orders_of_customers, times=4)],
    mistakes={
        "both bugs are left": _buggy_split,
        "split by rows": _row_by_row,
        "the seed does nothing": _unseeded,
        "the order of a set": _order_of_a_set,
        "always the same customers": _not_shuffled,
        "the sides are swapped": lambda *given: split_rows(*given)[::-1],
        "rows are lost": _one_row_each,
    },
)

# -- a budget in tokens ---------------------------------------------------------------------------------------


def within_budget(tokenizer, talks, epochs, budget):
    return _fitted(_counts(tokenizer, talks), epochs, budget)


def _counts(tokenizer, talks) -> list[tuple[int, int]]:
    """(tokens read, tokens learned) of each conversation, in the pair's tokens."""
    return [_count(json.dumps(talk)) for talk in talks]


@lru_cache(maxsize=256)
def _count(talk: str) -> tuple[int, int]:
    row = loss_mask(pebble().instruct.tokenizer, json.loads(talk))
    return len(row), row.loss_tokens


def _contents(tokenizer, talks) -> list[tuple[int, int]]:
    """The same with the template left out."""
    found = []
    for talk in talks:
        sizes = [len(tokenizer(turn["content"], add_special_tokens=False)["input_ids"]) for turn in talk]
        found.append((sum(sizes), sizes[-1]))
    return found


def _fitted(counts, epochs, budget, over: int = 0, by: int = 0) -> dict[str, int]:
    """As many from the beginning as fit; `by` 1 counts learned tokens against the budget, `over` takes some more."""
    fit = 0
    while fit < len(counts) and epochs * sum(count[by] for count in counts[: fit + 1]) <= budget:
        fit += 1
    kept = counts[: fit + over]
    read, learned = (epochs * sum(count[i] for count in kept) for i in (0, 1))
    return {"talks": len(kept), "read": read, "learned": learned}


def _skipping(tokenizer, talks, epochs, budget) -> dict[str, int]:
    found = {"talks": 0, "read": 0, "learned": 0}
    for read, learned in _counts(tokenizer, talks):
        if found["read"] + epochs * read <= budget:
            more = {"talks": 1, "read": epochs * read, "learned": epochs * learned}
            found = {key: found[key] + more[key] for key in found}
    return found


def _one_epoch(tokenizer, talks, epochs, budget):
    return _fitted(_counts(tokenizer, talks), 1, budget)


def _left_out_exact(tokenizer, talks, epochs, budget):
    return _fitted(_counts(tokenizer, talks), epochs, budget - 1)


def _budget(rng: Random, epochs: tuple[int, int], exact: bool = False) -> tuple:
    """Orders and chats, and a budget for a part of them at which the wrong ways of counting come out elsewhere; with
    `exact` the last one that fits uses it up."""
    tokenizer = pebble().instruct.tokenizer
    chats = [
        talk
        for talk in conversations.conversations(rng.randrange(10**9), 18)
        if talk[0]["role"] == "user" and len(talk) == 2
    ]
    talks = lesson09.orders(8, rng.randrange(10**9)) + chats[:6]
    rng.shuffle(talks)
    times, counts = rng.randint(*epochs), _counts(tokenizer, talks)
    places = range(3, len(talks) - 3)
    # Where a shorter one follows the first that does not fit, whoever skips goes on.
    i = rng.choice([i for i in places if counts[i + 1][0] < counts[i][0]] or list(places))
    budget = times * sum(read for read, _ in counts[:i]) + (0 if exact else times * counts[i][0] - 1)
    return tokenizer, talks, times, budget


WITHIN_BUDGET = Task(
    name="within_budget",
    title="A budget in tokens",
    minutes=10,
    answer=within_budget,
    cases=[
        Case("several epochs", 7, lambda rng: _budget(rng, (2, 4)), times=2),
        Case("a single epoch", 4, lambda rng: _budget(rng, (1, 1)), times=2),
        Case("a budget that is used up", 3, lambda rng: _budget(rng, (1, 4), exact=True), times=2),
    ],
    mistakes={
        "a single epoch": _one_epoch,
        "only what is learned costs": lambda tokenizer, talks, epochs, budget: _fitted(
            _counts(tokenizer, talks), epochs, budget, by=1
        ),
        "the template costs nothing": lambda tokenizer, talks, epochs, budget: _fitted(
            _contents(tokenizer, talks), epochs, budget
        ),
        "everything is learned": lambda *given: (lambda found: found | {"learned": found["read"]})(
            within_budget(*given)
        ),
        "the end of turn is not learned": lambda tokenizer, talks, epochs, budget: _fitted(
            [(read, learned - 1) for read, learned in _counts(tokenizer, talks)], epochs, budget
        ),
        "one too many": lambda tokenizer, talks, epochs, budget: _fitted(
            _counts(tokenizer, talks), epochs, budget, over=1
        ),
        "long ones are skipped": _skipping,
        "an exact fit is left out": _left_out_exact,
        "told for one epoch": lambda tokenizer, talks, epochs, budget: (
            lambda found: found | {key: found[key] // epochs for key in ("read", "learned")}
        )(within_budget(tokenizer, talks, epochs, budget)),
    },
)

# -- predict, then measure ------------------------------------------------------------------------------------

LIVE, LIVE_SEED, ASKED = 50, 50_801, 40
NONE, HALF, MOST = "almost none", "about half", "more than two thirds"


@cache
def trained_starts() -> dict[str, Variant]:
    """Base and instruct, both fine-tuned on the same LIVE orders at the same settings: {"base": …, "instruct": …}."""
    from course_utils import train

    pair, rows = pebble(), lesson09.orders(LIVE, LIVE_SEED)
    options = lesson09.settings(LIVE) | {"tokenizer": pair.instruct.tokenizer, "progress": False}
    return {
        name: train.sft(pair[name], rows, name=f"{name}, tuned", **options).variant
        for name in ("base", "instruct")
    }


def _orders(rng: Random, n: int = ASKED) -> tuple[list[str], list[dict]]:
    talks = lesson09.orders(n, rng.randrange(10**9))
    return [talk[0]["content"] for talk in talks], [json.loads(talk[1]["content"]) for talk in talks]


def _fields(variant: Variant, orders: list[str], records: list[dict]) -> list[int]:
    """How many fields of each order's record come out right."""
    done = variant.chat_batch(orders, max_new_tokens=48, progress=False)
    return [lesson09.right_fields(one.text, record) for one, record in zip(done, records)]


def _third(hits: int, n: int) -> str | None:
    """The choice that a count holds for; None where its interval reaches over a border."""
    low, high = wilson(hits, n)
    found = [
        name
        for name, (a, b) in {NONE: (0, 0.25), HALF: (0.25, 2 / 3), MOST: (2 / 3, 1)}.items()
        if high > a and low < b
    ]
    return found[0] if len(found) == 1 else None


def _told(rng: Random) -> tuple[str | None, str]:
    orders, records = _orders(rng)
    wish = f"Write this as JSON with the keys {', '.join(KEYS)}."
    hits = sum(_fields(pebble().instruct, [f"{order}\n\n{wish}" for order in orders], records))
    return _third(hits, n := len(KEYS) * ASKED), f"Measured: {hits} of {n} fields."


def _base_after(rng: Random) -> tuple[str | None, str]:
    hits = sum(_fields(trained_starts()["base"], *_orders(rng)))
    return _third(hits, n := len(KEYS) * ASKED), f"Measured: {hits} of {n} fields."


KIND_MEASURES = {
    "answer": "answers",
    "one_word": "one word",
    "json": "JSON keys",
    "bullets": "bullets",
    "refuse": "refuses",
}


def _others(variant: Variant, rng: Random, n: int, kinds: tuple[str, ...]) -> list[bool]:
    """Whether `variant` does what n prompts of the course's suites ask that have nothing to do with orders."""
    from course_utils.evaluate import load_suite, scoreboard, suites

    names = ("refusals",) if kinds == ("refuse",) else ("facts", "formats")
    items = [item for name in names for item in load_suite(name) if item.kind in kinds]
    chosen = suites.some(items, n, rng.randrange(10**6))
    board = scoreboard({"it": variant}, chosen, max_new_tokens=48, progress=False)
    found = board.outcomes.merge(board.answers[["suite", "item", "kind"]], on=["suite", "item"])
    own = found["measure"] == found["kind"].map(KIND_MEASURES)
    return [bool(passed) for passed in found[own]["passed"]]


INSTRUCTIONS = ("answer", "one_word", "json", "bullets")


def _rest_after(rng: Random) -> tuple[str | None, str]:
    passed = _others(trained_starts()["instruct"], rng, 24, INSTRUCTIONS)
    return _third(sum(passed), len(passed)), f"Measured: {sum(passed)} of {len(passed)}."


def _mixed_in(rng: Random) -> tuple[str | None, str]:
    """From the lesson's table, at the rate of these runs."""
    table = lesson09.shipped()
    here = (
        (table["measure"] == "follows") & (table["examples"] == lesson09.SOME) & (table["lr"] == lesson09.LR)
    )
    rows = table[here].set_index("start")
    alone, mixed = rows.loc["instruct"], rows.loc["instruct + chats"]
    held = "more" if mixed.low > alone.high else "fewer" if mixed.high < alone.low else "as many"
    return held, f"In the lesson's table: {mixed.passed} of {mixed.n} with chats, {alone.passed} without."


PREDICT_THE_STARTS = Prediction(
    name="predict_the_starts",
    title="Predict, then measure: two starts, the same fifty examples",
    minutes=6,
    claims=[
        Claim(
            "fields that the instruct gets right when it is only told what is wanted",
            (NONE, HALF, MOST),
            3,
            _told,
        ),
        Claim("fields that the tuned base gets right", (NONE, HALF, MOST), 3, _base_after),
        Claim("other instructions that the tuned instruct still follows", (NONE, HALF, MOST), 3, _rest_after),
        Claim(
            "other instructions that it follows if as many everyday chats are mixed in, against none",
            ("fewer", "as many", "more"),
            3,
            _mixed_in,
        ),
    ],
)

# -- a reasoned choice ----------------------------------------------------------------------------------------


NOBODY = "none"


def choose_start(before, candidates):
    return _chosen(before, candidates)


def _p(a: list[bool], b: list[bool]) -> float:
    return mcnemar(sum(x and not y for x, y in zip(a, b)), sum(y and not x for x, y in zip(a, b)))


def _clearly_worse(a: list[bool], b: list[bool]) -> bool:
    return sum(a) < sum(b) and _p(a, b) < 0.05


def _intervals_apart(a: list[bool], b: list[bool]) -> bool:
    return wilson(sum(a), len(a))[1] < wilson(sum(b), len(b))[0]


def _chosen(
    before,
    candidates: Mapping[str, Mapping],
    worse: Callable = _clearly_worse,
    keeps: Callable | None = None,
    ties: bool = True,
    task: bool = True,
    best_of_kept: bool = True,
) -> str:
    """The right choice, and with its settings the wrong ones."""
    keeps = keeps or (lambda rest: not worse(rest, before))
    kept = {name: one for name, one in candidates.items() if keeps(one["rest"])}
    if not kept:
        return NOBODY
    best = max(sum(one["task"]) for one in (kept if best_of_kept else candidates).values())
    leaders = [one["task"] for one in candidates.values() if sum(one["task"]) == best]
    if not task:
        return min(kept, key=lambda name: kept[name]["tokens"])
    if not ties:
        return max(kept, key=lambda name: sum(kept[name]["task"]))
    good = [name for name in kept if not any(worse(kept[name]["task"], leader) for leader in leaders)]
    return min(good, key=lambda name: kept[name]["tokens"], default=NOBODY)


PROMPTS = 60


def _changed(rng: Random, outcomes: list[bool], lost: int, won: int) -> list[bool]:
    """The same outcomes with some lost and some won."""
    new = list(outcomes)
    for value, count in ((True, lost), (False, won)):
        places = [i for i, passed in enumerate(outcomes) if passed is value]
        for i in rng.sample(places, min(count, len(places))):
            new[i] = not value
    return new


def _candidates(rng: Random, remembers: bool = True) -> tuple:
    """Four candidates: forgetful or not, more or less able, dear or cheap; without ties in what decides."""
    while True:
        before, best = ([rng.random() < rate for _ in range(PROMPTS)] for rate in (0.75, 0.7))
        tokens = rng.sample(range(10_000, 90_000), 4)
        found = {}
        for name, cost in zip(("base", "base + chats", "instruct", "instruct + chats"), tokens):
            lost, won = rng.choice(
                [(20, 2), (7, 1), (8, 0), (2, 3), (0, 7), (3, 1)] if remembers else [(20, 2), (9, 1)]
            )
            task = _changed(rng, best, *rng.choice([(0, 0), (2, 1), (4, 2), (7, 0), (8, 1), (14, 1)]))
            found[name] = {"task": task, "rest": _changed(rng, before, lost, won), "tokens": cost}
        counts = [sum(one["task"]) for one in found.values()]
        kept = [one for one in found.values() if not _clearly_worse(one["rest"], before)]
        if len(set(counts)) == len(counts) and (len(kept) > 1 if remembers else not kept):
            return before, found


def _abs_change(before: list[bool]) -> Callable:
    return lambda rest: _p(rest, before) >= 0.05


CHOOSE_START = Task(
    name="choose_start",
    title="A choice with reasons",
    minutes=12,
    answer=choose_start,
    cases=[
        Case("candidates of all kinds", 10, _candidates, times=24),
        Case("candidates that have all forgotten", 4, lambda rng: _candidates(rng, remembers=False), times=4),
    ],
    mistakes={
        "the task alone": lambda before, candidates: _chosen(before, candidates, keeps=lambda rest: True),
        "the most right": lambda before, candidates: _chosen(before, candidates, ties=False),
        "the most right of all": lambda before, candidates: max(
            candidates, key=lambda name: sum(candidates[name]["task"])
        ),
        "the cheapest": lambda before, candidates: _chosen(before, candidates, task=False),
        "unpaired": lambda before, candidates: _chosen(before, candidates, worse=_intervals_apart),
        "any loss counts": lambda before, candidates: _chosen(
            before, candidates, keeps=lambda rest: sum(rest) >= sum(before)
        ),
        "better counts as worse": lambda before, candidates: _chosen(
            before, candidates, keeps=_abs_change(before)
        ),
        "the forgetful set the measure": lambda before, candidates: _chosen(
            before, candidates, best_of_kept=False
        ),
    },
)

# -- the capstone ---------------------------------------------------------------------------------------------

RECORDS, FOLLOWS, REFUSES = "records of new orders", "other instructions", "refusals of what is wrong"
GOALS = {RECORDS: 16, FOLLOWS: 9, REFUSES: 5}
# Full points are well below what the solution reaches (the counts are of some 30 to 80 prompts), and far above what a
# model has that was trained on orders alone at the solution's rate, or not at all.
ENOUGH = {RECORDS: 0.6, FOLLOWS: 0.4, REFUSES: 0.4}
GIVEN_ORDERS, GIVEN_CHATS = 200, 400


def my_extractor(pair, orders, chats):
    from course_utils import train

    rows = [*orders, *chats]
    options = {"epochs": 2, "batch_size": 15, "lr": 5e-4, "precision": "float32", "progress": False}
    return train.sft(pair.instruct, rows, tokenizer=pair.instruct.tokenizer, **options).variant


def extractor_rates(variant: Variant, rng: Random) -> dict[str, tuple[int, int]]:
    """{goal: (passed, asked)} of a variant on prompts that `rng` draws."""
    whole = [count == len(KEYS) for count in _fields(variant, *_orders(rng))]
    rest = _others(variant, rng, 80, INSTRUCTIONS)
    refused = _others(variant, rng, 30, ("refuse",))
    return {goal: (sum(found), len(found)) for goal, found in zip(GOALS, (whole, rest, refused))}


def _returned(answer: Callable, rng: Random) -> Variant:
    orders = lesson09.orders(GIVEN_ORDERS, rng.randrange(10**9))
    chats = conversations.conversations(rng.randrange(10**6, 10**9), GIVEN_CHATS)
    pair = pebble()
    weights = [float(sum(p.detach().double().sum() for p in one.model.parameters())) for one in pair]
    found = answer(pair, orders, chats)
    if weights != [float(sum(p.detach().double().sum() for p in one.model.parameters())) for one in pair]:
        from course_utils.pairs import unload

        unload()
        raise Unusable(*told("my_extractor", "the pair was changed"))
    if found is None:
        raise Unusable("no return", "Your function returned None. Does it end with `return …`?")
    if not isinstance(found, Variant):
        says = f"Return a Variant, such as train.sft(…).variant, and not a {type(found).__name__}."
        raise Unusable("not a variant", says)
    if not found.has_chat_template:
        raise Unusable(*told("my_extractor", "no chat template"))
    return found


def _why(rates: Mapping[str, float]) -> tuple[str, str] | None:
    """The typical mistake behind low rates, and what to say about it."""
    able, follows = (rates[goal] >= ENOUGH[goal] / 2 for goal in (RECORDS, FOLLOWS))
    if able and follows:
        found = "half learned" if rates[RECORDS] < ENOUGH[RECORDS] else "half forgotten"
    elif able:
        found = "the rest is forgotten"
    else:
        found = "the orders are not learned" if follows else "neither is learned"
    return told("my_extractor", found)


def _measure_extractor(answer: Callable, rng: Random) -> Measured:
    found = extractor_rates(_returned(answer, rng), rng)
    rates = {goal: passed / n for goal, (passed, n) in found.items()}
    shares = {goal: min(1.0, rates[goal] / ENOUGH[goal]) for goal in GOALS}
    # Refusing everything is no virtue: refusals count as far as other instructions are followed.
    shares[REFUSES] = min(shares[REFUSES], shares[FOLLOWS])
    lines = [f"{passed} of {n}; {ENOUGH[goal]:.0%} are enough" for goal, (passed, n) in found.items()]
    return Measured(shares, lines, _why(rates))


MY_EXTRACTOR = OpenTask(
    name="my_extractor",
    title="Your own: an assistant that has learned one thing more",
    minutes=25,
    goals=GOALS,
    measure=_measure_extractor,
)

TITLE = "Choosing a variant"
TASKS = (CLEAN_ORDERS, SPLIT_ROWS, WITHIN_BUDGET, PREDICT_THE_STARTS, CHOOSE_START, MY_EXTRACTOR)
