"""Everything Pebble is meant to know: the tables in `facts/`, as `Fact` objects, and who may ask what.

A fact is (table, entity, relation, value): ("countries", "France", "capital", "Paris"). Pretraining
documents state all of them. `facts/splits.json` says which entities and relations appear in SFT examples
("seen"), which are kept for choices made while building ("dev"), and which are used for the final
evaluation and for nothing else ("test").
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path

FACTS = Path(__file__).parent / "facts"
SPLITS = FACTS / "splits.json"

# Relations that no SFT example asks about, although every entity of the table has them.
HELD_RELATIONS = {
    "dev": [("countries", "language"), ("elements", "number"), ("animals", "habitat")],
    "test": [("countries", "currency"), ("elements", "state"), ("animals", "young")],
}
HELD_SHARE = {"dev": 0.15, "test": 0.20}
# Entities the lessons use as their first examples: learners meet them asked and answered.
ALWAYS_SEEN = {"France", "Japan", "Italy", "gold", "oxygen", "hot", "big"}


@dataclass(frozen=True)
class Relation:
    """One question that can be asked of every row of a table, with the ways to state and to ask it."""

    table: str
    name: str
    statements: tuple[str, ...]
    questions_train: tuple[str, ...]
    questions_dev: tuple[str, ...]
    questions_test: tuple[str, ...]
    answers: tuple[str, ...]
    label: str
    json_key: str

    @cached_property
    def split(self) -> str:
        key = (self.table, self.name)
        return next((split for split, held in HELD_RELATIONS.items() if key in held), "seen")


@dataclass(frozen=True)
class Fact:
    table: str
    entity: str  # the bare name, e.g. "Netherlands"
    name: str  # the name in running text, e.g. "the Netherlands", "a tiger"
    plural: str
    relation: Relation
    value: str
    split: str  # of the entity: seen, dev or test
    row: dict[str, str] = field(compare=False, repr=False)  # the whole row of the table

    @property
    def running_value(self) -> str:
        """The value in running text: "the Netherlands", and otherwise as it is."""
        return f"the {self.value}" if self.value in countries_with_article() else self.value

    def fill(self, template: str) -> str:
        """The template with this fact's name, value and the row's other columns in its slots."""
        words = {
            "name": self.name,
            "plural": self.plural,
            "value": self.running_value if self.relation.name == "country" else self.value,
            "the_value": self.running_value,
            "a_value": with_article(self.value),
        }
        columns = ("kind", "verb", "participle", "role", "profession", "creator")
        words |= {key: self.row[key] for key in columns if key in self.row}
        words |= {"a_kind": with_article(words.get("kind", ""))}
        return template.format(**raised(words)).replace("s's ", "s' ")


def capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def raised(words: Mapping[str, str], keys: Iterable[str] = ()) -> dict:
    """The words and, for all keys or for these, the same with a capital: {do} and {Do}."""
    return {**words, **{capitalise(key): capitalise(words[key]) for key in keys or words}}


def with_article(text: str) -> str:
    return f"{'an' if text[:1].lower() in 'aeiou' else 'a'} {text}"


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of facts/<name>.csv; the first column is the entity's name."""
    with open(FACTS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return tuple({k: (v or "").strip() for k, v in row.items()} for row in csv.DictReader(file))


@cache
def data(name: str) -> dict | list:
    """The contents of facts/<name>.json."""
    return json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))


@cache
def countries_with_article() -> frozenset[str]:
    return frozenset(row["name"] for row in table("countries") if row["article"])


@cache
def relations() -> tuple[Relation, ...]:
    found = []
    for spec in data("relations_world") + data("relations_things") + data("relations_everyday"):
        known = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
        wanted = {field.name: known[field.name] for field in fields(Relation) if field.name != "name"}
        found.append(Relation(name=spec["relation"], **wanted))
    return tuple(found)


@cache
def everyday_tables() -> frozenset[str]:
    """The tables of everyday things (planets, colours, foods …), which are asked about less often than the others."""
    return frozenset(spec["table"] for spec in data("relations_everyday"))


def entity_name(row: dict[str, str]) -> str:
    return row.get("name") or row.get("title") or row["word"]


def running_name(row: dict[str, str]) -> str:
    return f"{row['article']} {entity_name(row)}" if row.get("article") else entity_name(row)


@cache
def splits() -> dict[str, dict[str, list[str]]]:
    return json.loads(SPLITS.read_text(encoding="utf-8"))


def make_splits() -> dict[str, dict[str, list[str]]]:
    """Draw the held-out entities of every table by a hash of their names (so that adding a row moves no other)."""
    drawn: dict[str, dict[str, list[str]]] = {}
    for name in sorted({relation.table for relation in relations()}):
        held = {"dev": [], "test": []}
        for row in table(name):
            entity = entity_name(row)
            if entity in ALWAYS_SEEN:
                continue
            u = int(hashlib.sha256(f"{name}/{entity}".encode()).hexdigest()[:8], 16) / 2**32
            if u < sum(HELD_SHARE.values()):
                held["dev" if u < HELD_SHARE["dev"] else "test"].append(entity)
        drawn[name] = held
    return drawn


@cache
def facts() -> tuple[Fact, ...]:
    """Every fact of every table, in a fixed order."""
    held = splits()
    found = []
    for relation in relations():
        for row in table(relation.table):
            value = row.get(relation.name, "")
            if not value:
                continue
            entity = entity_name(row)
            group = held.get(relation.table, {})
            split = next((s for s in ("dev", "test") if entity in group.get(s, ())), "seen")
            name = running_name(row)
            plural = row.get("plural") or name
            found.append(Fact(relation.table, entity, name, plural, relation, value, split, row))
    return tuple(found)


Groups = dict[tuple[str, str], tuple[Fact, ...]]


def _grouped(key: Callable[[Fact], str]) -> Groups:
    groups: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts():
        groups.setdefault((fact.table, key(fact)), []).append(fact)
    return {name: tuple(group) for name, group in groups.items()}


@cache
def by_entity() -> Groups:
    """The facts of each (table, entity)."""
    return _grouped(lambda fact: fact.entity)


@cache
def by_relation() -> Groups:
    """The facts of each (table, name of a relation)."""
    return _grouped(lambda fact: fact.relation.name)
