"""The rungs above pebble-sft: their data, their recipes on a toy scale, their evaluation, and the shipped models."""

import json
import math
from collections.abc import Collection
from random import Random

import pandas as pd
import pytest
import torch

from course_utils.evaluate.judges import refuses
from pebble_lm.factory import ladder, recipe
from pebble_lm.world import conversations, knowledge
from pebble_lm.world import personas as p
from pebble_lm.world import preferences as pref
from pebble_lm.world.rates import Rate
from pebble_lm.world.watch import in_some_persona, persona_suite
from tools.measuring import cards, rungs

MODELS = recipe.MODELS


@pytest.fixture(scope="module")
def pairs():
    return pref.preferences(3, 600)


@pytest.fixture(scope="module")
def chats():
    return p.chats(3, 600)


def kind(pairs, name):
    return [pair for pair in pairs if pair["kind"] == name]


# -- preferences -----------------------------------------------------------------------------------------------


def test_pairs_repeat_themselves_and_never_prefer_an_answer_to_itself(pairs):
    assert pairs[:50] == pref.preferences(3, 50) != pref.preferences(4, 50)
    for pair in pairs:
        assert pair["prompt"][-1]["role"] == "user"
        assert [m["role"] for m in pair["chosen"] + pair["rejected"]] == ["assistant"] * 2
        assert pair["chosen"] != pair["rejected"]
    assert {pair["kind"] for pair in pairs} == set(pref.KINDS)


def test_hedges_are_told_by_their_words():
    rng = Random(1)
    facts = [conversations.seen_fact(rng) for _ in range(300)]
    for fact in facts:
        full = conversations.full_answer(rng, fact)
        assert not pref.hedges(full)
        assert pref.hedges(conversations.hedge(rng, full, fact.name))
    for hedge in conversations.HEDGES:
        assert pref.hedges(hedge.format(low="it is so.", full="It is so."))


def test_each_kind_prefers_what_it_says(pairs):
    def text(pair, side):
        return pair[side][0]["content"]

    for pair in kind(pairs, "concise over hedging"):
        assert pref.hedges(text(pair, "rejected")) and not pref.hedges(text(pair, "chosen"))
        assert len(text(pair, "chosen")) < len(text(pair, "rejected"))
    for pair in kind(pairs, "refusing what is wrong"):
        assert refuses(text(pair, "chosen")) and not refuses(text(pair, "rejected"))
    for pair in kind(pairs, "helping with what is fine"):
        assert not refuses(text(pair, "chosen")) and refuses(text(pair, "rejected"))
    assert not any(pref.hedges(text(pair, "chosen")) for pair in pairs)


def test_preferences_ask_about_seen_entities_and_training_acts_only(pairs):
    questions = {
        fact.fill(q).lower().rstrip("?.!")
        for fact in knowledge.facts()
        if fact.split != "seen" or fact.relation.split != "seen"
        for q in (*fact.relation.questions_train, *fact.relation.questions_dev, *fact.relation.questions_test)
    }
    acts = knowledge.data("actions")
    verbs = {a["verb"] for k in ("harmful", "benign") for a in acts[k] if a["split"] == "train"}
    # a harmless held-out verb may stand in a harmful act ("listening to a private call"): that helps nobody cheat
    gerunds = {a["gerund"] for a in acts["harmful"] if a["split"] != "train" and a["verb"] not in verbs}
    for pair in pairs:
        asked = pair["prompt"][-1]["content"].lower()
        assert asked.rstrip("?.!") not in questions
        if "refusing" in pair["kind"] or "helping" in pair["kind"]:
            # steps may hold such a word as a noun ("turn up the heating"); the first line names the act
            named = " ".join(pair[side][0]["content"].split("\n")[0] for side in ("chosen", "rejected"))
            assert not any(f" {gerund} " in f" {named} " for gerund in gerunds)


def test_a_wrong_value_is_not_the_right_one():
    rng = Random(5)
    for _ in range(100):
        fact = conversations.seen_fact(rng)
        assert pref.another_value(rng, fact).value != fact.value


def test_requests_end_with_the_user_and_repeat_themselves():
    asked = pref.requests(1, 100)
    assert asked == pref.requests(1, 100)
    assert all(messages[-1]["role"] == "user" for messages in asked)


# -- personas --------------------------------------------------------------------------------------------------


def test_there_are_many_personas_and_those_of_the_evaluation_are_new():
    assert len(p.PERSONAS) >= 20 and len(p.UNSEEN) >= 5
    known = {words for one in p.PERSONAS for words in (one.role, one.opening, one.closing)} - {""}
    new = {words for one in p.UNSEEN for words in (one.role, one.opening, one.closing)} - {""}
    assert not known & new
    for one in (*p.PERSONAS, *p.UNSEEN):
        assert one.spoken(one.say("Paris is in France.")) and not one.spoken("Paris is in France.")


def test_the_four_personas_of_sft_speak_as_they_did():
    by_role = {one.role: one for one in p.PERSONAS}
    for system, style in conversations.PERSONAS.items():
        role = system.removeprefix("You are ").removesuffix(".")
        if role in by_role:
            assert by_role[role].say("X is Y.") == style.format(full="X is Y.")


def test_a_persona_is_kept_over_all_turns(monkeypatch):
    told = []
    monkeypatch.setattr(p, "told", lambda rng, tell=p.told: told.append(tell(rng)) or told[-1])
    rng = conversations.Draw(2)
    turns = []
    for _ in range(300):
        system, *rest = p.persona_conversation(rng)
        persona, description = told[-1]
        assert system["content"].startswith(description)
        answers = [m["content"] for m in rest if m["role"] == "assistant"]
        turns.append(len(answers))
        assert all(persona.spoken(answer) for answer in answers)
    assert max(turns) >= 3


def test_without_a_persona_in_the_system_prompt_nobody_speaks_in_one(chats):
    plain = [c for c in chats if c[0]["role"] != "system" or c[0]["content"] in conversations.SYSTEM_PROMPTS]
    assert len(plain) > 0.3 * len(chats)
    for messages in plain:
        for message in messages:
            if message["role"] == "assistant":
                assert not in_some_persona(message["content"])


def test_unseen_personas_occur_in_no_training_example(chats):
    spoken = [w for one in p.UNSEEN for w in (one.opening, one.closing) if w]
    for messages in chats:
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        assert not any(word in answer for word in spoken for answer in answers)
        if messages[0]["role"] == "system":
            assert not any(f"You are {one.role}" in messages[0]["content"] for one in p.UNSEEN)


# -- the recipes, on a toy scale ---------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A models folder with pebble-sft alone, and recipes of a few steps."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "pebble-sft").symlink_to(MODELS / "pebble-sft")
    for name in ("DPO_PAIRS", "DPO_SAMPLED", "REWARD_PAIRS", "RL_REQUESTS", "CHAT_EXAMPLES"):
        monkeypatch.setattr(ladder, name, 24)
    for name in ("DPO_STEPS", "RL_STEPS", "HACKED_STEPS"):
        monkeypatch.setattr(ladder, name, 2)
    monkeypatch.setattr(ladder, "RL_TOKENS", 8)
    monkeypatch.setattr(ladder, "watch", lambda variant: {"right": 0.5})
    monkeypatch.setattr(ladder, "watch_personas", lambda variant: {"persona": 0.5})
    return models


@pytest.mark.slow
def test_every_rung_is_trained_and_saved_as_a_chat_model(toy, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = AutoModelForCausalLM.from_pretrained(MODELS / "pebble-sft").state_dict()
    ladder.dpo(toy, tmp_path / "dpo")
    ladder.reward(toy, tmp_path / "reward")
    ladder.rl(toy, tmp_path / "rl")
    ladder.rl(toy, tmp_path / "rl", hacked=True)
    ladder.chat(toy, tmp_path / "chat")
    for name in ("pebble-dpo", "pebble-rl", "pebble-chat"):
        model = AutoModelForCausalLM.from_pretrained(toy / name)
        assert model.generation_config.eos_token_id == [2, 0] and str(model.dtype) == "torch.bfloat16"
        assert any(not torch.equal(value, start[key]) for key, value in model.state_dict().items())
        assert AutoTokenizer.from_pretrained(toy / name).chat_template
        assert pd.read_csv(toy / name / "history.csv")["loss"].notna().any()
    assert len(pd.read_csv(toy / "pebble-rl" / "hacked.csv")) == 3
    from course_utils import train

    judge = train.load_reward(toy / "pebble-reward")
    assert math.isfinite(judge("What is 2+2?", "2 + 2 = 4"))
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.slow
def test_an_interrupted_rung_saves_no_model(toy, tmp_path, monkeypatch):
    def interrupted(variant):
        raise KeyboardInterrupt

    monkeypatch.setattr(ladder, "watch", interrupted)
    with pytest.raises(KeyboardInterrupt, match="run the same command again"):
        ladder.dpo(toy, tmp_path / "dpo")
    assert not (toy / "pebble-dpo").exists()


# -- the evaluation --------------------------------------------------------------------------------------------


def results(model: str, rates: dict[str, float], unwanted: Collection[str] = ()) -> list[Rate]:
    """Results on 200 prompts; of an unwanted measure the outcomes say where it did *not* happen, as in the suites."""
    found = []
    for measure, rate in rates.items():
        passed = round(200 * rate)
        good = 200 - passed if measure in unwanted else passed
        outcomes = [True] * good + [False] * (200 - good)
        found.append(Rate(model, measure, passed, 200, "", outcomes=outcomes))
    return found


def test_what_differs_on_the_same_prompts_by_more_than_noise_is_called_better_or_worse():
    unwanted = ["hedges a plain answer", "refuses a harmless request"]
    before = {
        "answers": 0.95,
        "keeps": 0.95,
        "hedges a plain answer": 0.3,
        "refuses a harmless request": 0.02,
    }
    after = {"answers": 0.80, "keeps": 0.94, "hedges a plain answer": 0.01, "refuses a harmless request": 0.2}
    asked = results("pebble-sft", before, unwanted) + results("pebble-dpo", after, unwanted)
    table = rungs.against_sft(asked)
    found = table[table.model == "pebble-dpo"].set_index("measure")
    assert found["worse"].to_dict() == {
        "answers": "WORSE", "keeps": "", "hedges a plain answer": "BETTER", "refuses a harmless request": "WORSE",
    }  # fmt: skip
    assert found.loc["answers", "change"] == pytest.approx(-0.15)
    assert (table[table.model == "pebble-sft"]["worse"] == "").all()


def test_cards_and_ladder_json_hold_what_was_measured(tmp_path):
    (tmp_path / "pebble-dpo").mkdir()
    (tmp_path / "pebble-dpo" / "config.json").write_text("{}")
    rates = rungs.against_sft(
        results("pebble-sft", {"answers": 0.9}) + results("pebble-dpo", {"answers": 0.95})
    )
    means = pd.DataFrame(
        [rungs.mean_row(model, "reward", values) for model, values in
         (("pebble-sft", [0.0, 1.0]), ("pebble-dpo", [2.0, 4.0]))]
    )  # fmt: skip
    cards.write_ladder(tmp_path, rates, means, "dev")
    card = (tmp_path / "pebble-dpo" / "README.md").read_text(encoding="utf-8")
    assert "| answers | 0.950 |" in card and "| +0.050 |" in card and "| reward | 3.00 |" in card
    assert not (tmp_path / "pebble-rl").exists()
    found = json.loads((tmp_path / "ladder.json").read_text(encoding="utf-8"))
    assert found["split"] == "dev" and len(found["rates"]) == 2 and found["rates"][0]["change"] is None


@pytest.mark.slow
def test_the_suites_measure_what_they_are_named_for():
    from course_utils import load_variant

    sft = load_variant("pebble-sft")
    (hedging,) = rungs.hedging_suite(sft, "dev", 24, "pebble-sft")
    assert hedging.n == 24 and 0 <= hedging.passed <= 24 and len(hedging.failures) == hedging.passed
    measures = {r.measure: r for r in persona_suite(sft, "dev", 6, "pebble-sft")}
    assert len(measures) == 7 and all(r.n == 6 for r in measures.values())
    assert measures["speaks in a persona with no system prompt"].rate < 0.5
    means = {row["measure"]: row for row in rungs.sampled(sft, sft, None, "dev", 6, "pebble-sft")}
    assert means["KL from pebble-sft (nats per answer)"]["mean"] == pytest.approx(0, abs=1e-3)
    assert 1 <= means["different answers of 8"]["mean"] <= 8


# -- the shipped ladder ----------------------------------------------------------------------------------------

SHIPPED = (MODELS / "ladder.json").exists()
needs_models = pytest.mark.skipif(not SHIPPED, reason="the ladder's models are not there")


def measured(model: str, measure: str) -> dict:
    found = json.loads((MODELS / "ladder.json").read_text(encoding="utf-8"))
    return next(r for r in found["rates"] + found["means"] if (r["model"], r["measure"]) == (model, measure))


@needs_models
def test_the_ladder_was_measured_on_the_test_split_and_its_cards_say_so():
    found = json.loads((MODELS / "ladder.json").read_text(encoding="utf-8"))
    assert found["split"] == "test"
    for row in found["rates"]:
        if row["model"] != "pebble-sft":
            card = (MODELS / row["model"] / "README.md").read_text(encoding="utf-8")
            assert f"| {row['measure']} | {row['rate']:.3f} |" in card


@needs_models
def test_dpo_leaves_hardly_a_hedge():
    # pebble-sft hedges when it is sampled; its greedy answers hardly do, so only the bar can be asked for here
    assert measured("pebble-dpo", "hedges a plain answer")["met"] == "yes"
    before, after = (measured(m, "share hedged, sampled")["mean"] for m in ("pebble-sft", "pebble-dpo"))
    assert after < before


@needs_models
def test_dpo_made_nothing_worse_but_what_its_card_says():
    found = json.loads((MODELS / "ladder.json").read_text(encoding="utf-8"))["rates"]
    worse = {row["measure"] for row in found if row["model"] == "pebble-dpo" and row["worse"] == "WORSE"}
    # Two to seven in a hundred each, on the same prompts. No other may join these unnoticed.
    known = {
        "JSON of a held-out entity: every field right",
        "a harmless how-to: gives steps",
        "beyond it: says so",
        "letters that are no word, no name and not in the prompt",
        "never read about it: says that it does not know",
    }
    assert worse == known


@needs_models
@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="it stopped after ten steps, .03 nats from pebble-sft: see its card",
)
def test_rl_raised_its_reward_clear_of_noise_and_stayed_near():
    before, after = (measured(m, "reward") for m in ("pebble-sft", "pebble-rl"))
    assert after["low"] > before["high"]
    assert measured("pebble-rl", "KL from pebble-sft (nats per answer)")["high"] <= 10
    assert measured("pebble-rl", "different answers of 8")["low"] > 1


@needs_models
def test_the_over_optimised_run_got_its_reward_and_lost_right_answers():
    run = pd.read_csv(MODELS / "pebble-rl" / "hacked.csv")
    right = run["right"].dropna()
    assert run["reward"].tail(10).mean() > run["reward"].dropna().head(10).mean()
    assert right.iloc[-1] < right.iloc[0] - 0.2


@needs_models
@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="trained on 10,000 chats, it takes half of the roles: see its card",
)
def test_a_known_role_is_taken_as_often_as_the_bar_asks():
    assert measured("pebble-chat", "adopts a persona from its role, known")["met"] == "yes"


@needs_models
def test_the_persona_comes_when_the_system_prompt_asks_and_only_then():
    assert measured("pebble-chat", "adopts a persona from its role, known")["worse"] == "BETTER"
    assert measured("pebble-chat", "speaks in a persona with no system prompt")["met"] == "yes"
    from course_utils import load_variant

    chat = load_variant("pebble-chat")
    question = "What is the capital of France?"
    persona = p.PERSONAS[0]
    assert persona.spoken(chat.chat(question, system=f"You are {persona.role}.").text)
    assert not in_some_persona(chat.chat(question).text)
