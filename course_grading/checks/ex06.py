"""Exercise 06, the base as an instruct: frames, stop strings, their cost, examples, and a prompt of one's own."""

import re
from collections.abc import Sequence
from random import Random

from course_utils import qa_prompt

from . import draw
from .open_task import Measured, OpenTask, Unusable
from .task import Case, Claim, Prediction, Task, told

DESCRIPTIONS = (
    "You are a helpful assistant.",
    "The following questions are answered by an expert.",
    "A quiz with its answers.",
    "Short and correct answers to questions about the world.",
)

# -- a few-shot prompt ----------------------------------------------------------------------------------------


def few_shot_prompt(question, examples, description=""):
    return qa_prompt(question, description, examples)


def _blocks(question, examples, description="", between="\n\n", end="Answer:", keep_empty=False) -> str:
    shown = [f"Question: {asked}\nAnswer: {answer}" for asked, answer in examples]
    first = [description] if description or keep_empty else []
    return between.join([*first, *shown, f"Question: {question}\n{end}"])


def _question_first(question, examples, description=""):
    shown = [f"Question: {asked}\nAnswer: {answer}" for asked, answer in examples]
    first = [description] if description else []
    return "\n\n".join([*first, f"Question: {question}\nAnswer:", *shown])


def _described(rng: Random) -> tuple:
    (question, _), *examples = draw.questions(rng, rng.randint(3, 5))
    return question, examples, rng.choice(DESCRIPTIONS)


def _undescribed(rng: Random) -> tuple:
    (question, _), *examples = draw.questions(rng, rng.randint(2, 4))
    return question, examples


FEW_SHOT_PROMPT = Task(
    name="few_shot_prompt",
    title="A prompt with examples",
    minutes=6,
    answer=few_shot_prompt,
    cases=[
        Case("a description and some examples", 8, _described),
        Case("no description", 4, _undescribed),
    ],
    mistakes={
        "a space at the end": lambda *given: few_shot_prompt(*given) + " ",
        "a line break at the end": lambda *given: few_shot_prompt(*given) + "\n",
        "no open answer": lambda *given: few_shot_prompt(*given).removesuffix("\nAnswer:"),
        "the question first": _question_first,
        "no blank line": lambda question, examples, description="": _blocks(
            question, examples, description, "\n"
        ),
        "no description": lambda question, examples, description="": _blocks(question, examples),
        "an empty first block": lambda question, examples, description="": _blocks(
            question, examples, description, keep_empty=True
        ),
        "no examples": lambda question, examples, description="": _blocks(question, [], description),
        "examples without answers": lambda question, examples, description="": "\n\n".join(
            [description] * bool(description)
            + [f"Question: {asked}" for asked, _ in examples]
            + [f"Question: {question}\nAnswer:"]
        ),
        "question and answer on one line": lambda *given: few_shot_prompt(*given).replace(
            "\nAnswer:", " Answer:"
        ),
        "Q and A": lambda *given: few_shot_prompt(*given).replace("Question:", "Q:").replace("Answer:", "A:"),
    },
)

# -- stop strings, find and fix the bug -----------------------------------------------------------------------


def cut_at_stop(text, stops):
    ends = [text.find(stop) for stop in stops if stop in text]
    return (text[: min(ends)], True) if ends else (text, False)


def _colleague(text, stops):
    end = min(text.find(stop) for stop in stops)
    return text[:end], end > 0


def _minus_one(text, stops):
    end = min(text.find(stop) for stop in stops)
    return text[:end], any(stop in text for stop in stops)


def _first_listed(text, stops):
    listed = [stop for stop in stops if stop in text]
    return (text[: text.find(listed[0])], True) if listed else (text, False)


def _stop_kept(text, stops):
    cut, stopped = cut_at_stop(text, stops)
    if not stopped:
        return text, False
    found = max((stop for stop in stops if text.startswith(stop, len(cut))), key=len)
    return cut + found, True


def _last_place(text, stops):
    ends = [text.rfind(stop) for stop in stops if stop in text]
    return (text[: min(ends)], True) if ends else (text, False)


def _not_at_the_start(text, stops):
    ends = [end for stop in stops if (end := text.find(stop)) > 0]
    return (text[: min(ends)], True) if ends else (text, False)


def _continuations(rng: Random) -> tuple:
    """What a base writes after `Answer:`: an answer, then more questions; and stop strings, one of them not in it."""
    questions = draw.questions(rng, 4)
    first = questions.pop()[1]
    between = rng.choice(["\n\n", "\n"])
    rest = [f"Question: {asked}\nAnswer: {answer}" for asked, answer in questions]
    text = f" {first}." + between + between.join(rest)
    stops = ["\nQuestion:", rng.choice(["\nUser:", "###", "<end>"])]
    stops.insert(rng.randrange(3), "\nAnswer:")
    if stops.index("\nAnswer:") > stops.index("\nQuestion:"):
        stops.reverse()  # the one that comes later in the text is listed first
    return text, [*stops, "\n\n"] if rng.random() < 0.5 else stops


def _one_after_the_other(text, stops):
    cut = text
    for stop in stops:
        cut = cut.split(stop)[0]
    return cut, cut != text


def _overlapping(rng: Random) -> tuple:
    """A text in which the stop string that is listed first begins inside of one that is listed later."""
    (asked, answer), *_ = draw.questions(rng, 3)
    stops = rng.choice([["\nQuestion:", "\n\n"], ["Question:", "\n\nQuestion"], ["\n\n", ".\n"]])
    more = rng.sample(["###", "\nUser:", "<end>"], rng.randint(0, 2))
    return f" {answer}.\n\nQuestion: {asked}\nAnswer:", [*more, *stops]


def _no_stop(rng: Random) -> tuple:
    (asked, answer), *_ = draw.questions(rng, 3)
    return f" {answer}, as far as I know. {asked}", ["\nQuestion:", "\n\n"][: rng.randint(1, 2)]


def _begins_with_a_stop(rng: Random) -> tuple:
    (asked, answer), *_ = draw.questions(rng, 3)
    return f"\nQuestion: {asked}\n\nAnswer: {answer}", ["\nQuestion:", "\n\n"]


CUT_AT_STOP = Task(
    name="cut_at_stop",
    title="Find and fix the bug: stop strings that eat the answer",
    minutes=8,
    answer=cut_at_stop,
    cases=[
        Case("a text with several of the stop strings", 5, _continuations),
        Case("stop strings that overlap", 3, _overlapping),
        Case("a text that holds none of them", 3, _no_stop),
        Case("a text that begins with one", 3, _begins_with_a_stop),
    ],
    mistakes={
        "still the colleague's": _colleague,
        "find gives -1": _minus_one,
        "one stop string after the other": _one_after_the_other,
        "the first listed": _first_listed,
        "the stop string is kept": _stop_kept,
        "the last place": _last_place,
        "always stopped": lambda text, stops: (cut_at_stop(text, stops)[0], True),
        "not at the start": _not_at_the_start,
        "stripped": lambda text, stops: (
            cut_at_stop(text, stops)[0].strip(),
            cut_at_stop(text, stops)[1],
        ),
        "True and False are swapped": lambda text, stops: (lambda cut, stopped: (cut, not stopped))(
            *cut_at_stop(text, stops)
        ),
    },
)

# -- what a prompt costs --------------------------------------------------------------------------------------


def prompt_cost(tokenizer, prompts):
    return _cost([tokenizer(prompt)["input_ids"] for prompt in prompts])


def _shared(rows: Sequence) -> int:
    """How many places at the beginning are the same in all rows."""
    shared = 0
    while shared < min(map(len, rows)) and all(row[shared] == rows[0][shared] for row in rows):
        shared += 1
    return shared


def _cost(rows: list) -> dict[str, int]:
    shared = _shared(rows)
    total = sum(map(len, rows))
    return {"tokens": total, "shared": shared, "with_cache": total - (len(rows) - 1) * shared}


def _shared_text(tokenizer, prompts):
    return _with_shared(tokenizer, prompts, len(tokenizer(prompts[0][: _shared(prompts)])["input_ids"]))


def _agreeing(tokenizer, prompts):
    """Every place at which all prompts have the same id, also behind the first at which they differ."""
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    return _with_shared(tokenizer, prompts, sum(len(set(ids)) == 1 for ids in zip(*rows)))


def _with_shared(tokenizer, prompts, shared: int) -> dict[str, int]:
    tokens = prompt_cost(tokenizer, prompts)["tokens"]
    return {"tokens": tokens, "shared": shared, "with_cache": tokens - (len(prompts) - 1) * shared}


def _other_cached(tokenizer, prompts, times):
    cost = prompt_cost(tokenizer, prompts)
    return cost | {"with_cache": cost["tokens"] - times(len(prompts)) * cost["shared"]}


def _alike_prompts(rng: Random) -> tuple:
    """Prompts with the same beginning whose questions begin with the same letters, but not with the same token."""
    tokenizer = draw.pair().base.tokenizer
    while True:
        examples = draw.questions(rng, rng.randint(2, 4))
        asked = [question for question, _ in draw.questions(rng, 30) if question.startswith("W")]
        prompts = [qa_prompt(question, rng.choice(DESCRIPTIONS[:1]), examples) for question in asked]
        sizes = [len(tokenizer(prompt)["input_ids"]) for prompt in prompts]
        size = max(set(sizes), key=sizes.count)  # prompts of one length agree again at their ends
        prompts = [prompt for prompt, own in zip(prompts, sizes) if own == size][: rng.randint(3, 5)]
        traps = (_shared_text, _agreeing) if len(prompts) > 2 else ()
        if traps and all(prompt_cost(tokenizer, prompts) != trap(tokenizer, prompts) for trap in traps):
            return tokenizer, prompts


def _one_prompt(rng: Random) -> tuple:
    (question, _), *examples = draw.questions(rng, rng.randint(2, 4))
    return draw.pair().base.tokenizer, [qa_prompt(question, "", examples)]


PROMPT_COST = Task(
    name="prompt_cost",
    title="What a prompt costs",
    minutes=8,
    answer=prompt_cost,
    cases=[
        Case("several prompts with the same beginning", 10, _alike_prompts),
        Case("a single prompt", 4, _one_prompt, times=2),
    ],
    mistakes={
        "characters": lambda tokenizer, prompts: _cost(list(map(list, prompts))),
        "words": lambda tokenizer, prompts: _cost([prompt.split() for prompt in prompts]),
        "without the special token": lambda tokenizer, prompts: _cost(
            [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        ),
        "the shared text, not the shared tokens": _shared_text,
        "places that agree later": _agreeing,
        "read again each time": lambda tokenizer, prompts: _other_cached(tokenizer, prompts, lambda n: 0),
        "never read": lambda tokenizer, prompts: _other_cached(tokenizer, prompts, lambda n: n),
        "the mean": lambda tokenizer, prompts: (
            lambda cost: cost | {"tokens": cost["tokens"] / len(prompts)}
        )(prompt_cost(tokenizer, prompts)),
    },
)

# -- a prediction ---------------------------------------------------------------------------------------------


def right(text: str, answer: str) -> bool:
    """Whether the first line that is not empty holds the answer as whole words."""
    from course_utils.evaluate.judges import says

    return says(next((line for line in text.split("\n") if line.strip()), ""), answer)


def _outcomes(questions, prompts, **settings) -> list[bool]:
    written = draw.pair().base.complete_batch(prompts, max_new_tokens=24, progress=False, **settings)
    return [right(done.text, answer) for done, (_, answer) in zip(written, questions)]


def _frame_against_bare(rng: Random) -> tuple[str | None, str]:
    questions = draw.questions(rng, 40)
    bare = _outcomes(questions, [question for question, _ in questions])
    framed = _outcomes(questions, [qa_prompt(question, "") for question, _ in questions])
    said = f"Measured on {len(questions)} questions: {sum(bare)} right bare, {sum(framed)} in the frame."
    return draw.more_or_fewer(bare, framed), said


def _shots(rng: Random, noise: bool) -> list[tuple[str, str]]:
    """Three examples about things of the train split; with `noise`, each has another thing's answer."""
    from pebble_lm.world import knowledge
    from pebble_lm.world.questions import draw_facts, plain_question

    facts = draw_facts(rng, 3, lambda fact: fact.split == "seen")
    shots = []
    for fact in facts:
        others = knowledge.by_relation()[fact.table, fact.relation.name]
        others = [other.value for other in others if other.value != fact.value]
        answer = rng.choice(others) if noise and others else fact.value
        shots.append((plain_question(rng, fact), answer))
    return shots


def _label_noise(rng: Random) -> tuple[str | None, str]:
    questions, seed = draw.questions(rng, 48), rng.random()
    found = []
    for noise in (False, True):
        own = Random(seed)
        prompts = [qa_prompt(question, "", _shots(own, noise)) for question, _ in questions]
        found.append(_outcomes(questions, prompts))
    clean, noisy = found
    said = f"Measured on {len(questions)} questions: {sum(clean)} right with right examples, "
    said += f"{sum(noisy)} with wrong ones."
    return draw.more_or_fewer(clean, noisy), said


def _share(hits: int, n: int) -> str | None:
    """In words; None between the words."""
    rate = hits / n
    return next(
        (
            word
            for word, low, high in (("almost none", 0, 0.2), ("half", 0.35, 0.65), ("almost all", 0.8, 1))
            if low <= rate <= high
        ),
        None,
    )


def _ends(rng: Random) -> tuple[str | None, str]:
    questions = draw.questions(rng, 32)
    base = draw.pair().base
    prompts = [qa_prompt(question, "", _shots(rng, False)) for question, _ in questions]
    written = base.complete_batch(prompts, max_new_tokens=24, progress=False)
    ended = sum(done.stop_reason == "eos" and "\n" not in done.text.strip() for done in written)
    return _share(
        ended, len(written)
    ), f"Measured: {ended} of {len(written)} texts ended right after the answer."


def _bare_questions(rng: Random) -> tuple[str | None, str]:
    from course_utils.evaluate.judges import asks_on

    questions = draw.questions(rng, 32)
    written = draw.pair().base.complete_batch([q for q, _ in questions], max_new_tokens=24, progress=False)
    asked = sum(asks_on(done.text) for done in written)
    return _share(asked, len(written)), f"Measured: {asked} of {len(written)} continuations ask on."


PREDICT_THE_PROMPT = Prediction(
    name="predict_the_prompt",
    title="Predict, then measure: what in a prompt matters",
    minutes=6,
    claims=[
        Claim(
            "right answers in the frame, against the bare question",
            ("fewer", "as many", "more"),
            3,
            _frame_against_bare,
        ),
        Claim(
            "right answers when the answers in the examples are wrong ones",
            ("fewer", "as many", "more"),
            4,
            _label_noise,
        ),
        Claim(
            "texts in the frame that end right after the answer, without a stop string",
            ("almost none", "half", "almost all"),
            3,
            _ends,
        ),
        Claim(
            "bare questions after which the base asks further questions",
            ("almost none", "half", "almost all"),
            2,
            _bare_questions,
        ),
    ],
)

# -- choose the examples --------------------------------------------------------------------------------------


def words(text: str) -> frozenset[str]:
    """The words of a text in lower case, without punctuation. The exercise hands this to the learner."""
    return frozenset(re.findall(r"\w+", text.lower()))


def likeness(one: str, other: str) -> float:
    """Shared words, as a share of all words of the two. The exercise hands this to the learner."""
    a, b = words(one), words(other)
    return len(a & b) / len(a | b)


def choose_examples(pool, question, k):
    others = [example for example in pool if words(example[0]) != words(question)]
    return sorted(others, key=lambda example: likeness(example[0], question))[-k:]


def _chosen(pool, question, k, leak=lambda asked, question: words(asked) == words(question), key=likeness):
    others = [example for example in pool if not leak(example[0], question)]
    return sorted(others, key=lambda example: key(example[0], question))[-k:]


def _with_answers(pool, question, k):
    others = [example for example in pool if words(example[0]) != words(question)]
    return sorted(others, key=lambda example: likeness(" ".join(example), question))[-k:]


def _pool(rng: Random, disguised: bool) -> tuple:
    """A pool that holds the question itself, and a clear order of the next ones."""
    while True:
        (question, answer), *pool = draw.questions(rng, 14)
        k = rng.randint(2, 4)
        own = question.upper().rstrip("?.") if disguised else question
        ranks = [likeness(asked, question) for asked, _ in pool]
        best = sorted(ranks)[-k - 1 :]
        counts = sorted(len(words(asked) & words(question)) for asked, _ in pool)
        clear = len(set(best)) == len(best) and len(set(counts)) > 2
        if clear and all(words(asked) != words(question) for asked, _ in pool):
            pool.append((own, answer))
            rng.shuffle(pool)
            by_count = _chosen(pool, question, k, key=lambda a, b: len(words(a) & words(b)))
            chosen = choose_examples(pool, question, k)
            answered = _with_answers(pool, question, k)
            if chosen not in (by_count, answered) and by_count != answered:
                return pool, question, k


CHOOSE_EXAMPLES = Task(
    name="choose_examples",
    title="Choose the examples, without a leak",
    minutes=10,
    answer=choose_examples,
    cases=[
        Case("a pool with the question in it", 11, lambda rng: _pool(rng, disguised=False)),
        Case("a pool with the question in it, in other letters", 5, lambda rng: _pool(rng, disguised=True)),
    ],
    mistakes={
        "the question leaks in other letters": lambda pool, question, k: _chosen(
            pool, question, k, leak=lambda asked, question: asked == question
        ),
        "the question leaks": lambda pool, question, k: _chosen(
            pool, question, k, leak=lambda asked, question: False
        ),
        "the answers count as well": (
            _with_answers,
            lambda pool, question, k: ([(asked, "") for asked, _ in pool], question, k),
        ),
        "most alike first": lambda pool, question, k: choose_examples(pool, question, k)[::-1],
        "least alike": lambda pool, question, k: sorted(
            (e for e in pool if words(e[0]) != words(question)), key=lambda e: -likeness(e[0], question)
        )[-k:],
        "the first of the pool": lambda pool, question, k: [
            e for e in pool if words(e[0]) != words(question)
        ][:k],
        "the most shared words": lambda pool, question, k: _chosen(
            pool, question, k, key=lambda a, b: len(words(a) & words(b))
        ),
        "questions without answers": lambda pool, question, k: [
            asked for asked, _ in choose_examples(pool, question, k)
        ],
        "one too few": lambda pool, question, k: [
            e
            for e in _chosen(pool, question, k, leak=lambda asked, question: False)
            if words(e[0]) != words(question)
        ],
    },
)

# -- a prompt of one's own ------------------------------------------------------------------------------------

ANSWER, ENDS, SENTENCE = "right answers", "texts that end in time", "whole sentences"
GOALS = {ANSWER: 14, ENDS: 6, SENTENCE: 12}
ASKED = 48


def my_prompt(question):
    return {"prompt": f"# FAQ\n\n## {question}\n", "stop": ["\n"]}


def whole_sentence(text: str) -> bool:
    """One line that is one sentence of three words or more. The exercise hands this to the learner."""
    text = text.strip()
    inside = re.search(r"[.!?]\s", text)
    return len(text.split()) >= 3 and text.endswith(".") and "\n" not in text and inside is None


def _asked(answer, questions) -> list[tuple[str, tuple[str, ...]]]:
    """The prompts and stop strings for the questions. Raises Unusable for what is none."""
    asked = []
    for question, _ in questions:
        found = answer(question)
        if found is None:
            raise Unusable("no return", "Your function returned None. Does it end with `return …`?")
        if (
            not isinstance(found, dict)
            or set(found) != {"prompt", "stop"}
            or not isinstance(found["prompt"], str)
        ):
            says = 'Return a dict such as {"prompt": "… " + question, "stop": ["\\n"]}: the text, and its stop strings.'
            raise Unusable("another form", says)
        stop = found["stop"] or ()
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(isinstance(one, str) and one for one in stop):
            raise Unusable("another form", 'Each stop string is a text that is not empty, such as "\\n".')
        asked.append((found["prompt"], stop))
    return asked


def _unusable(asked, questions) -> None:
    """Raise Unusable for a prompt that cannot be judged."""
    pairs = list(zip(asked, questions))
    if any(question not in prompt for (prompt, _), (question, _) in pairs):
        raise Unusable(*told("my_prompt", "the question is missing"))
    leaks = [
        value.lower() in prompt.lower().replace(question.lower(), "")
        for (prompt, _), (question, value) in pairs
    ]
    if sum(leaks) > len(leaks) / 2:
        raise Unusable(*told("my_prompt", "the answer leaks"))


def _typical(asked, questions, texts, rates) -> tuple[str, str] | None:
    """The typical mistake behind low rates, and what to say about it."""
    prompts, bare = [prompt for prompt, _ in asked], [question for question, _ in questions]
    seen = {
        "the template on the base": all("<|im_start|>" in prompt for prompt in prompts),
        "stopped before it began": sum(not text.strip() for text in texts) > len(texts) / 2,
        "the bare question": [prompt.strip() for prompt in prompts] == bare,
        "a space at the end": all(prompt.endswith((" ", "\t")) for prompt in prompts),
        "no stop string": rates[ENDS] < 0.5,
        # The frame alone gives about a third of whole sentences, with an instruction half (21 to 30 of 48 on four
        # draws); with a sentence to go by, in the instruction or as an example, 37 or more.
        "values, not sentences": rates[ANSWER] > 0.5 and rates[SENTENCE] < 0.7,
    }
    return next((told("my_prompt", name) for name, here in seen.items() if here), None)


def _rates_of(answer, questions) -> tuple[dict[str, float], list[str], list]:
    asked = _asked(answer, questions)
    _unusable(asked, questions)
    base, texts, ended = draw.pair().base, [""] * len(asked), [False] * len(asked)
    for stop in dict.fromkeys(stop for _, stop in asked):
        places = [i for i, (_, own) in enumerate(asked) if own == stop]
        written = base.complete_batch(
            [asked[i][0] for i in places], max_new_tokens=32, stop=stop or None, progress=False
        )
        for i, done in zip(places, written):
            texts[i], ended[i] = done.text, done.stop_reason != "length" and bool(done.text.strip())
    n = len(questions)
    rates = {
        ANSWER: sum(right(text, value) for text, (_, value) in zip(texts, questions)) / n,
        ENDS: sum(ended) / n,
        SENTENCE: sum(map(whole_sentence, texts)) / n,
    }
    return rates, texts, asked


def _measure_prompt(answer, rng: Random) -> Measured:
    """The rates on fresh questions, as shares of what the frame of the solution reaches on the very same ones."""
    questions = draw.questions(rng, ASKED)
    rates, texts, asked = _rates_of(answer, questions)
    reference, _, _ = _rates_of(my_prompt, questions)
    # Nine tenths of the reference are enough: other frames, other slips. Sentences without right answers are worth
    # nothing, since every text is full of sentences.
    shares = {goal: min(1.0, rates[goal] / max(0.9 * reference[goal], 0.1)) for goal in GOALS}
    shares[SENTENCE] = min(shares[SENTENCE], shares[ANSWER])
    lines = [f"{rates[goal]:.0%} of {len(questions)} questions" for goal in GOALS]
    return Measured(shares, lines, _typical(asked, questions, texts, rates))


MY_PROMPT = OpenTask(
    name="my_prompt",
    title="Your own prompt",
    minutes=20,
    goals=GOALS,
    measure=_measure_prompt,
)

TITLE = "The base as an instruct"
TASKS = (FEW_SHOT_PROMPT, CUT_AT_STOP, PROMPT_COST, PREDICT_THE_PROMPT, CHOOSE_EXAMPLES, MY_PROMPT)
