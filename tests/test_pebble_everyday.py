"""What people type: noise, grammars, splits of wordings, and the pages whose form is new each time."""

import json
import re
from collections import Counter
from random import Random

import pytest

from pebble_lm.world import conversations, corpus, grammar, knowledge, noise
from pebble_lm.world.conversations import Draw
from pebble_lm.world.genres import copying, pages

KINDS = list(conversations.KINDS)


def words(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


# -- noise ------------------------------------------------------------------------------------------------------


def test_a_slip_changes_one_word_a_little_and_keeps_its_ends():
    rng = Random(1)
    for _ in range(300):
        before, after = (
            "the capital of Mauritania".split(),
            noise.slip(rng, "the capital of Mauritania").split(),
        )
        changed = [(a, b) for a, b in zip(before, after) if a != b]
        assert len(before) == len(after) and len(changed) <= 1
        for a, b in changed:
            assert a[0] == b[0] and a[-1] == b[-1] and abs(len(a) - len(b)) <= 1


def test_protected_words_keep_their_letters():
    rng = Draw("protected")
    for _ in range(500):
        typed = noise.typed(rng, "Please repeat the word Zorvalin for me.", protect=("Zorvalin",))
        assert "zorvalin" in typed.lower()


def test_without_strength_nothing_changes():
    assert all(
        noise.typed(Random(n), "What is the capital of Peru?", strength=0) == "What is the capital of Peru?"
        for n in range(50)
    )


def test_people_type_in_every_way():
    rng = Draw("ways")
    typed = [noise.typed(rng, "What is the capital of France?") for _ in range(600)]
    assert sum(t == t.lower() for t in typed) > 200
    assert sum(t == t.upper() for t in typed) > 40
    assert sum("?" not in t for t in typed) > 200
    assert sum("france" in t.lower() for t in typed) > 450  # most names are typed right
    assert len(set(typed)) > 400


def test_evaluation_opens_and_closes_requests_in_words_of_its_own():
    assert not {o.strip() for o in noise.OPENERS} & {o.strip() for o in noise.HELD_OPENERS}
    assert not {c.strip() for c in noise.CLOSERS} & {c.strip() for c in noise.HELD_CLOSERS}


# -- grammars ---------------------------------------------------------------------------------------------------


def test_alternatives_and_slots():
    rng = Random(3)
    texts = {
        grammar.fill(rng, "[Hello|Hi][,|] {name}. {Thing}!", {"name": "Tom", "thing": ["a cat"]})
        for _ in range(60)
    }
    assert texts == {"Hello Tom. A cat!", "Hi Tom. A cat!", "Hello, Tom. A cat!", "Hi, Tom. A cat!"}


def test_doubled_braces_stand_for_single_ones():
    assert (
        grammar.fill(Random(1), 'Answer as {{"answer": "…"}}, {who}', {"who": "Ann"})
        == 'Answer as {"answer": "…"}, Ann'
    )


def test_a_slot_that_nothing_fills_is_an_error():
    with pytest.raises(KeyError):
        grammar.fill(Random(1), "{nobody}", {})


# -- conversations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fills_its_slots(kind, split):
    rng = Draw(f"slots/{kind}/{split}", split=split)
    for _ in range(150):
        for message in conversations.KINDS[kind][1](rng):
            text = message["content"]
            assert text.strip(), (kind, text)
            if kind not in ("JSON", "code", "wishes"):
                assert not re.search(r"\{\w+\}", text), (kind, text)
            assert "[" not in text or kind in ("code", "several turns"), (kind, text)


def test_the_same_seed_gives_the_same_conversations():
    assert conversations.conversations(5, 60) == conversations.conversations(5, 60)
    assert conversations.conversations(5, 60) != conversations.conversations(6, 60)


def lists_of(split):
    """Every wording of a split, by where it stands."""
    data = knowledge.data
    found = []
    for intent, entry in data("talk")["intents"].items():
        if not entry.get("raw"):  # marks and mashed keys have no words
            found += [(f"talk/{intent}", text) for text in entry[split]]
    for kind, entry in data("beyond")["kinds"].items():
        found += [(f"beyond/{kind}", text) for text in entry["requests"][split]]
    found += [("harms", text) for text in data("harms")["frames"][split]]
    for name, entry in data("systems")["wishes"].items():
        found += [(f"wish/{name}", text) for where in ("system", "user") for text in entry[where][split]]
    found += [("texts", text) for text in data("texts")["requests"][split]]
    return found


@pytest.mark.parametrize("held", ["dev", "test"])
def test_no_wording_of_the_evaluation_is_trained_on(held):
    trained = Counter((where, words(text)) for where, text in lists_of("train"))
    assert not [(where, text) for where, text in lists_of(held) if (where, words(text)) in trained]


def test_no_act_of_the_evaluation_is_trained_on():
    from pebble_lm.world.genres import practice

    for side in ("harmful", "harmless"):
        trained = {words(act["do"]) for act in practice.harm_acts(side, "train")}
        for held in ("dev", "test"):
            assert not trained & {words(act["do"]) for act in practice.harm_acts(side, held)}


def test_strangers_are_in_no_table():
    known = {words(fact.entity) for fact in knowledge.facts()}
    for table, lists in knowledge.data("beyond")["unknown"]["names"].items():
        for split in ("train", "dev", "test"):
            strangers = {words(name.removeprefix("the ")) for name in lists[split]}
            if table != "words":  # an ordinary word may well be the name of something else
                same = {words(f.entity) for f in knowledge.facts() if f.table == table}
                assert not strangers & same, (table, split)
    assert known


def test_fine_tuning_asks_about_seen_entities_and_relations_only():
    held = {
        (fact.table, fact.entity)
        for fact in knowledge.facts()
        if fact.split != "seen" and fact.table in ("countries", "elements", "inventions")
    }
    rng = Draw("seen only")
    for _ in range(3000):
        fact = conversations.seen_fact(rng)
        assert (fact.table, fact.entity) not in held and fact.relation.split == "seen"


def test_most_intents_have_one_usual_reply():
    rng = Draw("usual", hurry=0.0)
    replies = Counter(conversations.usual(rng, ["a", "b", "c"]) for _ in range(3000))
    assert replies["a"] > 2 * (replies["b"] + replies["c"])


# -- pages ------------------------------------------------------------------------------------------------------


def test_pages_keep_their_form_and_differ_from_each_other():
    rng = corpus.reader("pages")
    texts = [pages.page(rng) for _ in range(400)]
    openings = Counter(text.split(" ")[0] for text in texts)
    assert len(openings) > 150
    assert all(len(text) < 4_000 for text in texts)


def test_no_page_has_the_labels_of_the_evaluation():
    rng = corpus.reader("labels")
    texts = [pages.page(rng) for _ in range(3000)]
    for left, right in pages.HELD_LABELS:
        assert not [t for t in texts if f"\n{left} " in f"\n{t}" and f"\n{right} " in t]


def test_documents_come_in_lower_case_and_in_capitals():
    documents = corpus.documents(17)
    texts = [next(documents)[1] for _ in range(4000)]
    lower = sum(t == t.lower() for t in texts) / len(texts)
    assert 0.08 < lower < 0.25
    assert any(t == t.upper() and len(t) > 80 and re.search(r"[A-Z]{5}", t) for t in texts)


def test_composed_texts_hold_the_names_of_their_summaries():
    rng = Draw("composed")
    for _ in range(800):
        text, summary, questions, values = copying.composed(rng)
        for slot in ("person", "first", "city"):
            if re.search(rf"\b{re.escape(values[slot])}\b", summary):
                assert values[slot] in text, (summary, text)
        assert all("{" not in q + a for q, a in questions)


def test_records_on_pages_are_json():
    rng = corpus.reader("records")
    for _ in range(100):
        for line in pages.restated_json(rng).split("\n"):
            if line.startswith("{"):
                assert isinstance(json.loads(line), dict)
