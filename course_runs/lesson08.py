"""What lesson 08 asks: facts of the test split in three forms, and how sure a model is of four answers.

Nothing is trained here, and there is no table: the lesson measures it all. The same seed draws the same.
"""

from __future__ import annotations

import dataclasses
from random import Random
from typing import TYPE_CHECKING, Any

from pebble_lm.world.knowledge import Fact
from pebble_lm.world.questions import draw_facts, plain_question, statement_openings, wrong_values

if TYPE_CHECKING:
    import pandas as pd

    from course_utils.variant import Variant

FORMS = ("one word", "full sentence")


def is_held_out(fact: Fact) -> bool:
    """Whether no fine-tuning asks about this entity, or not in this relation; the base has read about it."""
    return fact.split == "test" or fact.relation.split == "test"


def questions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """`count` different (question, answer) pairs about held-out facts, in wordings that fine-tuning uses."""
    rng, found = Random(f"lesson 08/questions/{seed}"), {}
    while len(found) < count:
        (fact,) = draw_facts(rng, 1, is_held_out)
        found.setdefault(plain_question(rng, fact), fact.value)
    return list(found.items())


def statements(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """`count` different (beginning, end) pairs of statements of held-out facts, to be finished as plain text."""
    rng, found = Random(f"lesson 08/statements/{seed}"), {}
    while len(found) < count:
        (fact,) = draw_facts(rng, 1, lambda f: is_held_out(f) and bool(statement_openings(f.relation)))
        found.setdefault(fact.fill(statement_openings(fact.relation)[0]), fact.value)
    return list(found.items())


def four_options(count: int, seed: int = 0) -> list[tuple[str, dict[str, list[str]]]]:
    """`count` (question, {form: four answers}) about held-out facts; of the four, the first is right."""
    rng, found = Random(f"lesson 08/options/{seed}"), {}
    while len(found) < count:
        (fact,) = draw_facts(rng, 1, is_held_out)
        question = plain_question(rng, fact)
        others = wrong_values(rng, fact, question, most=40)
        if len(others) >= 3:
            four = [fact, *(dataclasses.replace(fact, value=value) for value in rng.sample(others, 3))]
            whole = [one.fill(one.relation.answers[0]) for one in four]
            found[question] = {"one word": [one.value for one in four], "full sentence": whole}
    return list(found.items())


def option_probs(variant: Variant, question: str, options: list[str], form: str) -> Any:
    """A variant's probabilities of the options, shared out among them: a tensor, (options,), that sums to 1.

    A base gets the Question/Answer page, any other model its chat template. An option's probability is the product of
    its tokens', the end of the answer included: without it "Guinea" beats "Guinea-Bissau" for being shorter.
    """
    import torch

    from course_utils import qa_prompt

    if variant.has_chat_template:
        wish = " Answer in one word." if form == "one word" else ""
        prompt, space, end = variant.encode([{"role": "user", "content": question + wish}]), "", "<|im_end|>"
    else:
        prompt, space, end = variant.encode(qa_prompt(question)), " ", "\n"
    rows = [
        variant.tokenizer(space + option + end, add_special_tokens=False)["input_ids"] for option in options
    ]
    longest = max(map(len, rows))
    padded = [prompt + row + [0] * (longest - len(row)) for row in rows]
    ids = torch.tensor(padded, device=variant.device)  # (options, length)
    with torch.inference_mode():
        logits = variant.model(ids, logits_to_keep=longest + 1).logits[:, :-1]  # (options, longest, vocab)
    logprobs = logits.log_softmax(-1)
    scores = [sum(logprobs[i, j, token] for j, token in enumerate(row)) for i, row in enumerate(rows)]
    return torch.stack(scores).softmax(0)


def choices(models: dict[str, Variant], four: list[tuple[str, dict[str, list[str]]]]) -> pd.DataFrame:
    """What each model chooses of four answers: a row for each model, form and question.

    Columns: variant, form, confidence (the probability of the chosen answer among the four) and right.
    """
    import pandas as pd

    rows = []
    for name, variant in models.items():
        for form in FORMS:
            for question, forms in four:
                sure, pick = option_probs(variant, question, forms[form], form).max(0)
                rows.append(
                    {"variant": name, "form": form, "confidence": float(sure), "right": int(pick) == 0}
                )
    return pd.DataFrame(rows)
