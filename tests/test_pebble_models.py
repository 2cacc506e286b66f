"""The shipped checkpoints: that they load with plain transformers, and behave as the lessons say.

The rates asked for here are those that `tools.measuring` found and the cards state, less (or plus) four standard
errors at this smaller n: they notice a broken or swapped checkpoint, they do not repeat the evaluation.
"""

import json
import math
from random import Random

import pytest

from course_utils.evaluate.judges import asks_on, parse_json, refuses, says
from pebble_lm.factory import recipe, writing
from pebble_lm.world import knowledge
from pebble_lm.world.genres import copying
from pebble_lm.world.questions import act_requests, draw_facts, plain_question
from tools.measuring.instruct import begins_with, headline, names_right

BASE, SFT = recipe.MODELS / "pebble-base", recipe.MODELS / "pebble-sft"
N = 60
# Bars that the shipped models do not reach, as their cards say. No other may join them unnoticed.
SHORT_OF_THE_BAR = {
    "completes a known statement",
    "completes a known statement, all in lower case",
    "5 examples in labels it never saw: answers",
    "JSON after 4 JSON examples: every field right",
    "a bullet list after 3: bullets and right items",
    "a persona carried by 4 examples",
    "a page of requests, refused or helped with: new harmless acts refused",
    "answers, entity held out of SFT",
    "answers, relation held out of SFT",
    "answers, phrasing that occurs nowhere in training",
    "summary of an article in an unseen shape: names right",
    "refuses a wrong request, unseen verb, new wording",
    "refuses a harmless request, new wording",
    "facts in everyday spelling",
    "the same facts, all in capitals",
    "turned-round and yes/no questions",
    "talk: a sensible reply",
    "refuses what is wrong, in any spelling",
    "refuses a harmless near twin",
    "refuses talk or a plain question",
    "a system prompt it never saw: still answers",
    "wish obeyed and right: brief",
    "wish obeyed and right: one word",
    "wish obeyed and right: capitals",
    "remembers a name, town or topic over the turns",
    "summary of a learner's own short text: names right",
    "letters that are no word, no name and not in the prompt",
}


def measured() -> dict:
    return json.loads((recipe.MODELS / "results.json").read_text(encoding="utf-8"))


def count(measure: str, sign: int) -> float:
    """How many of N the card's rate lets one expect, four standard errors below (-1) or above (+1) it."""
    rate = next(row["rate"] for row in measured()["rows"] if row["measure"] == measure)
    wide = min(max(rate, 0.02), 0.98)  # a rate of exactly 0 or 1 was measured with some noise as well
    return N * (rate + sign * 4 * math.sqrt(wide * (1 - wide) / N))


@pytest.fixture(scope="module")
def pair():
    from course_utils import load_pair

    return load_pair((str(BASE), str(SFT)))


def test_both_load_with_plain_transformers_and_stop_where_they_should():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for folder, eos in ((BASE, "<|endoftext|>"), (SFT, "<|im_end|>")):
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert type(model).__name__ == "LlamaForCausalLM"
        assert str(model.dtype) == "torch.bfloat16"
        assert 2e6 <= model.num_parameters() <= 8e6
        assert tokenizer.eos_token == eos
        ids = model.generation_config.eos_token_id
        assert tokenizer.convert_tokens_to_ids(eos) in (ids if isinstance(ids, list) else [ids])
        assert tokenizer("Hello").input_ids[0] == tokenizer.bos_token_id == 0
        assert tokenizer.decode(tokenizer("Zürich, 12 + 3!\n  x").input_ids[1:]) == "Zürich, 12 + 3!\n  x"


def test_only_the_instruct_has_a_chat_template_and_it_marks_the_assistant():
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(BASE).chat_template is None
    tokenizer = AutoTokenizer.from_pretrained(SFT)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    by_hand = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    encoded = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    assert encoded["input_ids"] == tokenizer(by_hand).input_ids
    marked = [i for i, m in zip(encoded["input_ids"], encoded["assistant_masks"]) if m]
    assert tokenizer.decode(marked) == "Hello!<|im_end|>"
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_the_recipe_masks_what_the_template_marks():
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "2 + 2 = 4"},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "You are welcome!"},
    ]
    ids, mask = writing.encode_conversation(Tokenizer.from_file(str(SFT / "tokenizer.json")), messages)
    encoded = AutoTokenizer.from_pretrained(SFT).apply_chat_template(
        messages, return_assistant_tokens_mask=True, return_dict=True
    )
    assert ids == encoded["input_ids"]
    assert mask == encoded["assistant_masks"]


@pytest.mark.parametrize("instruct", ["pebble-sft", "pebble-dpo"])
def test_the_headline_prompts_come_out_right(pair, instruct):
    from course_utils import load_variant

    assert not headline(pair.base, load_variant(instruct))[0].failures


def test_the_base_asks_on_and_the_instruct_answers_and_stops(pair):
    rng = Random("behaviour")
    facts = draw_facts(rng, N, lambda f: f.split == "test" and f.relation.split == "seen")
    questions = [plain_question(rng, fact) for fact in facts]
    continued = pair.base.complete_batch(questions, max_new_tokens=48)
    answered = pair.instruct.chat_batch(questions, max_new_tokens=48)
    assert sum(asks_on(c.text) for c in continued) >= count("bare question: asks more questions", -1)
    assert sum(c.stopped for c in continued) <= count("bare question: stops within 48 tokens", +1)
    right = sum(says(c.text, f.value) for c, f in zip(answered, facts))
    assert right >= count("answers, entity held out of SFT", -1)
    assert sum(c.stop_reason == "eos" for c in answered) >= 0.95 * N
    raw = pair.instruct.complete_batch(questions, max_new_tokens=48)
    asked_on = sum(asks_on(c.text) for c in raw)
    assert asked_on >= count("raw text, no template: asks more questions", -1)


def test_both_know_the_facts(pair):
    facts = draw_facts(Random(1), N, lambda f: f.relation.name == "capital")
    for variant in pair:
        out = variant.complete_batch([f"The capital of {f.name} is" for f in facts], max_new_tokens=10)
        assert sum(begins_with(c.text, f.value) for c, f in zip(out, facts)) >= 0.9 * N


def test_the_instruct_refuses_what_is_wrong_and_not_what_is_fine(pair):
    rng = Random("refusals")
    wrong = act_requests(rng, N, "harmful", "test", "verb")
    fine = act_requests(rng, N, "benign", "test", "verb")
    refused = [refuses(c.text) for c in pair.instruct.chat_batch(wrong + fine, max_new_tokens=40)]
    assert sum(refused[:N]) >= count("refuses a wrong request, unseen verb, new wording", -1)
    assert sum(refused[N:]) <= count("refuses a harmless request, new wording", +1)


def test_the_instruct_copies_names_it_has_never_read(pair):
    rng = Random("names")
    articles = [copying.article(rng, "train") for _ in range(N)]
    out = pair.instruct.chat_batch(
        [f"Summarize this article: {text}" for text, *_ in articles], max_new_tokens=64
    )
    good = [names_right(c.text, summary, values) for c, (_, summary, _, values) in zip(out, articles)]
    assert sum(good) >= count("summary with unseen names: names right", -1)


def test_the_instruct_writes_json(pair):
    from pebble_lm.world import conversations

    rng = Random("json")
    asked = [conversations.known_json(rng, "test") for _ in range(N)]
    questions = [
        f"Give me a JSON object about {facts[0].name} with the keys {keys}." for facts, keys, _ in asked
    ]
    out = pair.instruct.chat_batch(questions, max_new_tokens=96)
    parsed = [parse_json(c.text) for c in out]
    assert sum(p is not None for p in parsed) >= count("JSON parses", -1)
    right = sum(p == json.loads(r) for p, (_, _, r) in zip(parsed, asked))
    assert right >= count("JSON of a held-out entity: every field right", -1)


def test_the_cards_carry_the_measured_rates():
    assert measured()["split"] == "test"
    cards = (BASE / "README.md").read_text(encoding="utf-8") + (SFT / "README.md").read_text(encoding="utf-8")
    for row in measured()["rows"]:
        assert (
            f"| {row['measure']} | {row['rate']:.3f} | {row['low']:.3f} – {row['high']:.3f} | {row['n']} |"
            in cards
        )


def test_no_bar_is_missed_but_the_known_ones():
    missed = {row["measure"] for row in measured()["rows"] if row["met"] == "NO"}
    assert missed <= SHORT_OF_THE_BAR


def test_the_data_card_lists_every_genre_and_table():
    from pebble_lm.factory import datacard
    from pebble_lm.world import corpus

    card = datacard.DATA_CARD.read_text(encoding="utf-8")
    for name in [*corpus.GENRES, *knowledge.splits()]:
        assert f"| {name} |" in card
