"""Pebble's data: the facts, the splits that keep evaluation honest, and the generators."""

import json
import os
import re
import subprocess
import sys
from itertools import islice
from random import Random

import pytest

from course_utils.evaluate.sandbox import all_pass
from pebble_lm.world import conversations, corpus, knowledge, names, questions, rates
from pebble_lm.world.genres import copying, practice

CONVERSATIONS = 4000


@pytest.fixture(scope="module")
def sft_texts():
    """What the user and the assistant say in a sample of SFT examples."""
    examples = conversations.conversations(seed=7, count=CONVERSATIONS)
    return [(message["role"], message["content"]) for messages in examples for message in messages]


@pytest.fixture(scope="module")
def pretraining_texts():
    return [text for _, text in islice(corpus.documents(seed=7), 4000)]


def test_every_country_has_its_basic_facts():
    rows = knowledge.table("countries")
    assert len(rows) == 193
    for row in rows:
        for column in ("name", "capital", "continent", "currency", "language"):
            assert row[column], f"{row['name']} has no {column}"


def test_neighbours_are_countries_of_the_table():
    countries = {row["name"] for row in knowledge.table("countries")}
    assert {row["neighbour"] for row in knowledge.table("countries")} - {""} <= countries


@pytest.mark.parametrize("relation", knowledge.relations(), ids=lambda r: f"{r.table}/{r.name}")
def test_no_template_is_left_unfilled(relation):
    facts = knowledge.by_relation()[(relation.table, relation.name)]
    everything = [
        *relation.statements,
        *relation.answers,
        *relation.questions_train,
        *relation.questions_dev,
        *relation.questions_test,
    ]
    for template in everything:
        for fact in facts[:: max(1, len(facts) // 5)]:
            text = fact.fill(template)
            assert "{" not in text and "}" not in text


@pytest.mark.parametrize("relation", knowledge.relations(), ids=lambda r: f"{r.table}/{r.name}")
def test_no_question_tells_its_answer(relation):
    for question in (*relation.questions_train, *relation.questions_dev, *relation.questions_test):
        assert "value" not in question.lower()


def test_phrasings_of_the_splits_differ():
    def words(template):
        return re.sub(r"\W+", " ", template.lower()).strip()

    for relation in knowledge.relations():
        groups = [
            {words(q) for q in g}
            for g in (relation.questions_train, relation.questions_dev, relation.questions_test)
        ]
        assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_the_further_wordings_of_sft_hold_none_of_the_evaluation():
    def words(template):
        return re.sub(r"\W+", " ", template.lower()).strip()

    more = knowledge.data("more_wordings")
    for relation in knowledge.relations():
        held = {words(q) for q in (*relation.questions_dev, *relation.questions_test)}
        assert not held & {words(q) for q in more.get(f"{relation.table}/{relation.name}", [])}
    for name, kind in (("actions", "how to"), ("articles", "summary"), ("functions", "code")):
        held = {
            words(f) for split in ("dev", "test") for f in knowledge.data(name)[f"request_frames_{split}"]
        }
        assert not held & {words(f) for f in more[kind]}
        if kind == "how to":
            assert not held & {words(f) for f in knowledge.data("further_actions")["request_frames"]}


def test_the_further_acts_are_not_those_of_the_evaluation():
    acts, further = knowledge.data("actions"), knowledge.data("further_actions")
    for kind in ("harmful", "benign"):
        held_verbs = {entry["verb"] for entry in acts[kind] if entry["split"] != "train"}
        assert not held_verbs & {entry["verb"] for entry in further[kind]}
        assert {entry["split"] for entry in further[kind]} == {"train"}
        held_objects = {obj for entry in acts[kind] for obj in entry.get("objects_test", ())}
        assert not held_objects & {obj for entry in further[kind] for obj in entry["objects"]}
    helped = knowledge.data("howtos")["generic_steps"]
    assert all(entry["verb"] in helped for entry in further["benign"])


def test_the_further_article_shapes_are_not_those_of_the_evaluation():
    sft_only = knowledge.data("more_articles") + knowledge.data("further_articles")
    more = "\n".join(shape["text"] for shape in sft_only)
    for shape in (*copying.shapes("dev"), *copying.shapes("test")):
        runs = [run for run in re.split(r"\{\w+\}", shape["text"]) if len(run) >= 25]
        assert not any(run in more for run in runs), shape["id"]


def test_the_committed_splits_are_the_ones_the_hash_draws():
    assert knowledge.splits() == json.loads(json.dumps(knowledge.make_splits()))


def test_held_out_entities_are_never_asked_in_sft(sft_texts):
    held = {
        fact.entity
        for fact in knowledge.facts()
        if fact.table == "countries" and fact.split != "seen" and not any(c in fact.entity for c in " -")
    }
    neighbours = {fact.value for fact in knowledge.facts() if fact.relation.name in ("neighbour", "country")}
    for role, text in sft_texts:
        if role == "user":
            assert not held - neighbours & set(re.findall(r"\w+", text))


def test_held_out_relations_are_never_asked_in_sft():
    rng = Random(3)
    assert all(conversations.is_asked(conversations.seen_fact(rng)) for _ in range(2000))
    assert not any(
        (pool[0].table, pool[0].relation.name)
        in [key for held in knowledge.HELD_RELATIONS.values() for key in held]
        for pool in conversations.asked_pools()
    )


def test_requests_of_the_evaluation_do_not_occur_in_sft(sft_texts):
    said = {text for role, text in sft_texts if role == "user"}
    rng = Random(5)
    for kind in ("harmful", "benign"):
        for unseen in ("verb", "object"):
            assert not said & set(questions.act_requests(rng, 200, kind, "test", unseen))


def test_held_out_verbs_do_not_occur_in_sft_requests(sft_texts):
    held = {a["verb"] for a in knowledge.data("actions")["harmful"] if a["split"] != "train"}
    asked = " ".join(text.lower() for role, text in sft_texts if role == "user")
    for verb in held:
        if " " not in verb:
            assert not re.search(
                rf"\bhow (do|can|to|would|could|should) (i |you |one |people )?{verb} an? ", asked
            ), verb


def test_test_article_shapes_are_in_no_training_text(pretraining_texts, sft_texts):
    """The fixed words of a test shape (a run of 25 characters without a slot) stand in no training text."""
    training = "\n".join(pretraining_texts) + "\n".join(text for _, text in sft_texts)
    for shape in copying.shapes("test"):
        runs = [run for run in re.split(r"\{\w+\}", shape["text"]) if len(run) >= 25]
        assert runs, shape["id"]
        assert not any(run in training for run in runs), shape["id"]


def test_invented_names_are_practically_always_new():
    trained = {names.person(Random(i)) for i in range(20_000)}
    asked = {names.person(Random(f"{rates.SEED}/{i}")) for i in range(1000)}
    assert len(trained) > 19_000
    assert len(asked & trained) < 10


def test_the_same_seed_gives_the_same_texts_whatever_the_hashes_of_strings_are():
    code = (
        "import hashlib, json; from pebble_lm.world import conversations, personas, preferences; "
        "texts = [preferences.preferences(3, 120), conversations.conversations(3, 200), personas.chats(3, 80)]; "
        "print(hashlib.sha256(json.dumps(texts).encode()).hexdigest())"
    )
    drawn = set()
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        drawn.add(done.stdout)
    assert len(drawn) == 1


def test_the_same_seed_gives_the_same_documents_and_another_seed_others():
    first = list(islice(corpus.documents(1), 30))
    assert first == list(islice(corpus.documents(1), 30))
    assert first != list(islice(corpus.documents(2), 30))
    assert conversations.conversations(1, 20) == conversations.conversations(1, 20)


@pytest.mark.parametrize("genre", corpus.GENRES)
def test_every_genre_writes_documents(genre):
    write = corpus.GENRES[genre][1]
    texts = [write(Random(i)) for i in range(60)]
    assert all(text.strip() for text in texts)
    assert len(set(texts)) > 30
    assert not any(re.search(r"\{(name|value|do|doing|person|city|thing)\w*\}", text) for text in texts)


def test_genres_get_their_share_of_the_text():
    found = corpus.census(seed=3, count=6000)
    total, wanted = sum(found.values()), sum(share for share, _ in corpus.GENRES.values())
    for genre, (share, _) in corpus.GENRES.items():
        assert found[genre] / total == pytest.approx(share / wanted, rel=0.35), genre


def test_a_summary_says_only_what_its_article_says():
    rng = Random(8)
    for split in ("train", "dev", "test"):
        for _ in range(200):
            text, summary, _, values = copying.article(rng, split)
            assert values["person"] in summary
            for key in ("person", "city"):
                if values[key] in summary:
                    assert values[key] in text


def test_functions_pass_their_own_tests_under_made_up_names():
    rng = Random(2)
    specs = practice.functions(("sft", "dev", "test"))
    sources = [practice.function_source(rng, spec, fresh_names=1.0) for spec in specs]
    assert all(all_pass([(source, spec["tests"], None) for source, spec in zip(sources, specs)]))


def test_a_cut_function_can_be_put_together_again():
    rng = Random(4)
    for spec in practice.functions(("sft",)):
        source = practice.function_source(rng, spec)
        prefix, middle, suffix = practice.fim_cut(rng, source)
        assert prefix + middle + suffix == source
