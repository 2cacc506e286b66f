"""The hand-written tables articles.json and functions.json of Pebble's world: slots that are filled, code that runs.

Every function body and variant is executed against its tests, under its own identifiers and under renamed
ones; every slot in a summary or an answer must be one that its article fills.
"""

import random
import re
from itertools import combinations

from pebble_lm.world import knowledge

DRAWN_SLOTS = {"person", "person2", "person3", "city", "city2", "city3", "group"}
NAME_PARTS = {"first": "person", "surname": "person", "first2": "person2", "surname2": "person2"}


def _slots(text: str) -> set[str]:
    return {slot.removesuffix("_cap") for slot in re.findall(r"\{(\w+)\}", text)}


def _canonical(slots: set[str], together: dict[str, str]) -> set[str]:
    """What fills the slots: parts of a name count as the name, forms of one list entry as its list."""
    return {together.get(slot, NAME_PARTS.get(slot, slot)) for slot in slots}


def article_problems(data: dict) -> list[str]:
    """What is wrong with the contents of articles.json, one line a problem; empty when all is well."""
    lists = data["lists"]
    together = {form: name for name in lists if isinstance(lists[name][0], dict) for form in lists[name][0]}
    known = DRAWN_SLOTS | set(NAME_PARTS) | set(together) | set(lists)
    problems = []
    for shape in data["shapes"]:
        answers = [question["a"] for question in shape["qa"]]
        questions = [question["q"] for question in shape["qa"]]
        for text in (shape["text"], shape["summary"], *questions, *answers):
            problems += [f"{shape['id']}: unknown slot {slot}" for slot in _slots(text) - known]
        filled = _canonical(_slots(shape["text"]), together)
        for text in (shape["summary"], *questions, *answers):
            missing = _canonical(_slots(text), together) - filled
            problems += [f"{shape['id']}: {slot} is not in the article" for slot in missing]
        if not {"person", "city"} <= _slots(shape["summary"]):
            problems.append(f"{shape['id']}: the summary must name {{person}} and {{city}}")
        if len(shape["qa"]) < 3:
            problems.append(f"{shape['id']}: fewer than three questions")
    ids = [shape["id"] for shape in data["shapes"]]
    problems += [f"{name} occurs twice" for name in {name for name in ids if ids.count(name) > 1}]
    return problems + _frame_problems(data, ("article",))


def function_problems(data: dict, seed: int = 0) -> list[str]:
    """What is wrong with the contents of functions.json, one line a problem; empty when all is well."""
    rng = random.Random(seed)
    problems = []
    for function in data["functions"]:
        if not 2 <= len(function["ask"]) == len(function["asks"]):
            problems.append(f"{function['name']}: needs two phrases, and as many in the third person")
        if len(function["tests"]) < 2:
            problems.append(f"{function['name']}: needs two tests")
        for body in (function["body"], *function["variants"]):
            for renamed in (False, True):
                source = render(function, body, data["param_names"], rng if renamed else None)
                for test in function["tests"]:
                    namespace: dict = {}
                    try:
                        exec(source, namespace)
                        if not eval(test, namespace):
                            problems.append(f"{test} is false for\n{source}")
                    except Exception as error:
                        problems.append(f"{test} raised {error!r} for\n{source}")
    for one, other in combinations(data["functions"], 2):
        for phrase in set(one["ask"]) & set(other["ask"]):
            problems.append(f"{one['name']} and {other['name']} are both asked for by {phrase!r}")
    return problems + _frame_problems(data, ("ask", "asks"))


def render(
    function: dict, body: list[str], param_names: dict[str, list[str]], rng: random.Random | None = None
) -> str:
    """Source code of a function with this body; with `rng`, parameters are renamed from `param_names`."""
    header = f"def {function['name']}({', '.join(function['params'])}):"
    source = "\n".join([header, *("    " + line for line in body)]) + "\n"
    if rng is None:
        return source
    taken = set(function["locals"]) | set(function["params"])
    new = {}
    for param in function["params"]:
        new[param] = rng.choice([name for name in param_names[param] if name not in taken] or [param])
        taken.add(new[param])
    return re.sub(r"(?<!\.)\b\w+\b", lambda word: new.get(word[0], word[0]), source)


def _frame_problems(data: dict, slots: tuple[str, ...]) -> list[str]:
    splits = [data[f"request_frames_{split}"] for split in ("train", "dev", "test")]
    problems = [
        f"frame without one of {slots}: {frame!r}"
        for frames in splits
        for frame in frames
        if sum(frame.count("{" + slot + "}") for slot in slots) != 1
    ]
    twice = [frame for a, b in combinations(splits, 2) for frame in set(a) & set(b)]
    return problems + [f"frame in two splits: {frame!r}" for frame in twice]


def test_every_article_fills_the_slots_of_its_summary_and_its_answers():
    assert article_problems(knowledge.data("articles")) == []


def test_every_function_passes_its_tests_under_any_names():
    assert function_problems(knowledge.data("functions")) == []


def test_what_is_wrong_is_found():
    articles = {**knowledge.data("articles"), "shapes": [dict(knowledge.data("articles")["shapes"][0])]}
    articles["shapes"][0] |= {"summary": "{person} met {nobody}.", "qa": []}
    assert len(article_problems(articles)) >= 3
    functions = {
        **knowledge.data("functions"),
        "functions": [dict(knowledge.data("functions")["functions"][0])],
    }
    functions["functions"][0] |= {"tests": ["1 == 2"]}
    assert any("is false for" in problem for problem in function_problems(functions))
