"""Python: functions asked for, and functions with a piece missing. Right is what passes the tests."""

from __future__ import annotations

from random import Random

from course_utils.evaluate.judges import code_in
from course_utils.evaluate.sandbox import all_pass
from course_utils.variant import Variant
from pebble_lm.world import knowledge
from pebble_lm.world.genres import practice
from pebble_lm.world.rates import Chat, Rate, score, texts


def _specs(*splits: str) -> list[dict]:
    """The functions whose tests need no import."""
    return [spec for spec in practice.functions(splits) if "__import__" not in " ".join(spec["tests"])]


def fill_in_the_middle(model: str, variant: Variant, rng: Random, n: int, bar: str = "") -> Rate:
    """The missing part of a function with made-up names; right if the completed function passes its tests."""
    cases, prompts = [], []
    specs = _specs("sft", "dev", "test")
    while len(prompts) < n:
        spec = rng.choice(specs)
        source = practice.function_source(rng, spec, doc=0.7, fresh_names=1.0)
        prefix, middle, suffix = practice.fim_cut(rng, source)
        if middle.strip() and f"def {spec['name']}(" in prefix + suffix:
            prompts.append(f"{practice.FIM_PREFIX}{prefix}{practice.FIM_SUFFIX}{suffix}{practice.FIM_MIDDLE}")
            cases.append((spec, prefix, suffix))
    out = texts(variant.complete_batch(prompts, max_new_tokens=48))
    whole = [(before + text + after, spec["tests"], None) for text, (spec, before, after) in zip(out, cases)]
    good = all_pass(whole)
    return score(model, "fill-in-the-middle, made-up names: passes its tests", zip(good, prompts, out), bar)


def code_suite(chat: Chat, rng: Random, split: str, model: str) -> list[Rate]:
    results = []
    for group, measure, bar in (
        ("sft", "Python function asked for in SFT", "≥ 0.95"),
        (split, "Python function never asked for", "≥ 0.90"),
    ):
        frames = knowledge.data("functions")[f"request_frames_{split}"]
        asked = [(spec, practice.ask_for(rng, spec, frame)) for spec in _specs(group) for frame in frames]
        asked = asked if len(asked) <= 120 else rng.sample(asked, 120)
        out = chat([question for _, question in asked])
        good = all_pass([(code_in(text), spec["tests"], spec["name"]) for text, (spec, _) in zip(out, asked)])
        outcomes = zip(good, [question for _, question in asked], out)
        results.append(score(model, f"{measure}: passes its tests", outcomes, bar))
    return results
