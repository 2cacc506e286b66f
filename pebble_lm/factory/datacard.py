"""Writes the data card from what is counted; nothing in a card is typed by hand twice.

The texts of the data card and of the models' cards, with slots for what is counted and measured, stand in `cards/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pandas as pd

from ..world import conversations, corpus, knowledge
from ..world.training import SFT, SFT_EXAMPLES
from . import tokenizer as pebble_tokenizer

DATA_CARD = Path(__file__).parent.parent / "DATA_CARD.md"


def card(name: str, **values: object) -> str:
    """A text of `cards/` with its slots filled."""
    return (Path(__file__).parent / "cards" / f"{name}.md").read_text(encoding="utf-8").format(**values)


def markdown_table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """The line of column names, and under it a line for each row."""
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def token_census(models: Path, mix: str, documents: int = 6000) -> pd.DataFrame:
    """Share of tokens, documents and mean length per genre, counted on fresh documents."""
    tokenizer = pebble_tokenizer.load(models / "pebble-base")
    tokens: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for genre, text in islice(corpus.documents(99, mix), documents):
        tokens[genre] += len(tokenizer.encode(text).ids)
        count[genre] += 1
    total = sum(tokens.values())
    rows = [{"genre": g, "share": tokens[g] / total, "length": tokens[g] / count[g]} for g in corpus.GENRES]
    return pd.DataFrame(rows)


def counted(lists: Iterable[dict]) -> str:
    """How much a list of entries holds for each split."""
    sums: Counter[str] = Counter()
    for entry in lists:
        sums.update({split: len(entry.get(split, ())) for split in ("train", "dev", "test")})
    return ", ".join(f"{sums[split]:,} {split}" for split in ("train", "dev", "test"))


def by_split(items: list[dict]) -> str:
    found = Counter(item["split"] for item in items)
    return ", ".join(f"{count} {split}" for split, count in found.items())


def write(models: Path) -> None:
    """Write DATA_CARD.md."""
    from .recipe import STAGES

    census = {mix: token_census(models, mix).set_index("genre") for mix in corpus.MIXES}
    genres = [
        (
            genre,
            *(f"{found.share[genre]:.1%}" for found in census.values()),
            f"{census['main'].length[genre]:.0f}",
        )
        for genre in corpus.GENRES
    ]
    whole = sum(stage.tokens for stage in STAGES)
    read = sum(
        census[stage.mix].share * (stage.tokens / whole) for stage in STAGES
    )  # shares of the whole run
    copying = list(corpus.COPYING)
    facts = Counter(fact.table for fact in knowledge.facts())
    tables = (
        (name, len(knowledge.table(name)), facts[name], len(held["dev"]), len(held["test"]))
        for name, held in knowledge.splits().items()
    )
    held = knowledge.HELD_RELATIONS.items()
    rng = conversations.Draw("card")
    kinds = Counter(conversations.conversation(rng)[0] for _ in range(8000))
    acts, further, harms, more_acts = (
        knowledge.data(of) for of in ("actions", "further_actions", "harms", "further_harms")
    )
    talk, beyond, articles = (knowledge.data(of) for of in ("talk", "beyond", "articles"))
    text = card(
        "DATA_CARD",
        genres=markdown_table("| genre | early | main | late | tokens per document |", genres),
        stages=markdown_table(
            "| tokens | rows × length per step | mix |",
            ((f"{s.tokens:,}", f"{s.rows} × {s.length}", s.mix) for s in STAGES),
        ),
        examples=SFT_EXAMPLES,
        run=SFT,
        kinds=markdown_table(
            "| kind | share of examples |",
            ((kind, f"{kinds[kind] / 8000:.1%}") for kind in conversations.KINDS),
        ),
        tables=markdown_table("| table | entities | facts | dev entities | test entities |", tables),
        held="\n".join(f"- {split}: " + ", ".join(f"{t}/{r}" for t, r in pairs) for split, pairs in held),
        harmful_verbs=by_split(acts["harmful"]),
        benign_verbs=by_split(acts["benign"]),
        further_harmful=len(further["harmful"]),
        further_benign=len(further["benign"]),
        harmful_acts=counted(entry["acts"] for entry in harms["harmful"].values()),
        more_acts=", ".join(
            f"{sum(len(acts) for side in sides for acts in more_acts[side].values()):,} {name}"
            for name, sides in (("harmful", ["harmful"]), ("harmless", ["harmless", "everyday"]))
        ),
        harmless_acts=counted([*harms["harmless"].values(), *harms["everyday"].values()]),
        intents=len(talk["intents"]),
        intent_wordings=counted(talk["intents"].values()),
        beyond_kinds=len(beyond["kinds"]),
        beyond_wordings=counted(entry["requests"] for entry in beyond["kinds"].values()),
        shapes=by_split(articles["shapes"]),
        further_shapes=len(knowledge.data("more_articles")) + len(knowledge.data("further_articles")),
        functions=by_split(knowledge.data("functions")["functions"]),
        hedged=conversations.HEDGED_SHARE,
        answer_sheets=read["answer sheets"],
        pages=read["pages of examples"],
        help_desk=read["help desk"],
        copying=read[copying].sum(),
        copying_first=census["early"].share[copying].sum(),
    )
    DATA_CARD.write_text(text, encoding="utf-8")
