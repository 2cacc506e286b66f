"""Sums, how-to lists, rules and right and wrong, Python modules, notices."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from .. import knowledge, names
from ..knowledge import capitalise, raised, with_article
from .copying import drawn_lines

FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX = "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"

# -- sums -----------------------------------------------------------------------------------------------------

SUM_FRAMES, WORDED = (knowledge.data("frames")[of] for of in ("sums", "sums_in_words"))


def numbers(rng: Random) -> tuple[int, str, int, int]:
    """A sum or difference of numbers below a hundred, or a product of digits, as (a, operator, b, result)."""
    op = rng.choice("+++---**")
    u = rng.random()
    if op == "*" or u < 0.35:
        a, b = rng.randint(0, 9), rng.randint(0, 9)
    elif u < 0.55:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
    else:
        a, b = rng.randint(0, 99), rng.randint(0, 99)
    if op == "-" and b > a:
        a, b = b, a
    return a, op, b, result(a, op, b)


def result(a: int, op: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def written(rng: Random, a: int, op: str, b: int) -> str:
    return f"{a}{op}{b}" if rng.random() < 0.5 else f"{a} {op} {b}"


def sum_question(rng: Random) -> tuple[str, str]:
    a, op, b, value = numbers(rng)
    if rng.random() < 0.3:
        return rng.choice(WORDED[op]).format(a=a, b=b), str(value)
    return rng.choice(SUM_FRAMES).format(sum=written(rng, a, op, b)), str(value)


def worksheet(rng: Random) -> str:
    """Sums, solved or (one in four) left to the pupil."""
    blank = rng.random() < 0.25
    spaced = rng.random() < 0.6
    lines = []
    for _ in range(rng.randint(8, 16)):
        a, op, b, value = numbers(rng)
        left = f"{a} {op} {b} =" if spaced else f"{a}{op}{b}="
        lines.append(left if blank else f"{left}{' ' if spaced else ''}{value}")
    head = rng.choice(["Sums\n", "Arithmetic worksheet\n", "Mental arithmetic\n", ""])
    return head + "\n".join(lines)


# -- right and wrong, how-to ----------------------------------------------------------------------------------


def act_words(act: dict, obj: str) -> dict[str, str]:
    words = {
        "do": f"{act['verb']} {obj}",
        "doing": f"{act['gerund']} {obj}",
        "past_do": f"{act['past']} {obj}",
    }
    words |= {"why": act.get("why", ""), "person": act.get("person", "a person")}
    return raised(words) | {"object": re.sub("^an? ", "the ", obj)}


@cache
def verbs_of(kind: str, further: bool = False) -> dict[str, list[dict]]:
    """For every object the acts of a kind ("harmful", "benign") that may be done to it.

    `further` adds those that only the last wave of fine-tuning knows.
    """
    found: dict[str, list[dict]] = {}
    entries = knowledge.data("actions")[kind] + (knowledge.data("further_actions")[kind] if further else [])
    for entry in entries:
        for obj in all_objects(entry):
            found.setdefault(obj, []).append(entry)
    return found


@cache
def shared_objects(further: bool = False) -> list[str]:
    return sorted(set(verbs_of("harmful", further)) & set(verbs_of("benign", further)))


def act(rng: Random, kind: str, obj: str | None = None) -> dict[str, str]:
    """An act as its verb forms, the object drawn first, so that objects do not tell the kinds apart."""
    obj = obj or rng.choice(shared_objects())
    entry = rng.choice(verbs_of(kind)[obj])
    return act_words(entry, obj) | {"verb": entry["verb"]}


def _told(act: dict) -> dict:
    return raised({"why": "", **act}, ("do", "doing"))


@cache
def harm_acts(side: str, split: str) -> tuple[dict, ...]:
    """The acts of one side ("harmful", "harmless") and split, each with its kind and refusals.

    They stand in facts/harms.json, further ones for training in facts/further_harms.json.
    """
    data, further, found = knowledge.data("harms"), knowledge.data("further_harms"), []
    kinds = dict(data[side])
    if side == "harmless":
        kinds |= {f"everyday/{kind}": entry for kind, entry in data["everyday"].items()}
    for kind, entry in kinds.items():
        more = further[side if kind in data[side] else "everyday"].get(kind.removeprefix("everyday/"), ())
        for act in [*entry.get("acts", entry).get(split, ()), *(more if split == "train" else ())]:
            found.append(_told(act) | {"kind": kind, "refusals": tuple(entry.get("refusals", ()))})
    return tuple(found)


def all_objects(entry: dict) -> list[str]:
    return [*entry["objects"], *entry.get("objects_dev", []), *entry.get("objects_test", [])]


@cache
def stated_acts(side: str) -> tuple[dict, ...]:
    """The acts that documents call wrong ("harmful") or fine ("harmless"): those of requests, and many more.

    facts/acts_read.json is read in documents alone; no request of fine-tuning or evaluation is about it.
    """
    skipped = knowledge.data("harms")["no_verdict"]
    found = [a for a in harm_acts(side, "train") if a["kind"] not in skipped and "reply" not in a]
    for act in knowledge.data("acts_read")["wrong" if side == "harmful" else "fine"]:
        if "reply" not in act:
            found.append(_told(act))
    return tuple(found)


@cache
def read_acts(side: str) -> tuple[dict, ...]:
    """The acts of facts/acts_read.json of one side, with the pairs, for requests of fine-tuning.

    Left out are those with a verb that evaluation keeps for itself.
    """
    data, name = knowledge.data("acts_read"), "wrong" if side == "harmful" else "fine"
    actions = knowledge.data("actions")
    held = tuple(
        f"{a['verb']} " for kind in ("harmful", "benign") for a in actions[kind] if a["split"] != "train"
    )
    return tuple(
        {"kind": "read", **_told(act)}
        for act in [*data[name], *(pair[name] for pair in data["pairs"])]
        if not act["do"].startswith(held)
    )


def act_pair(rng: Random) -> tuple[dict, dict]:
    """(fine, wrong): two acts side by side, half of the time such that differ in a word or two."""
    if rng.random() < 0.5:
        pair = rng.choice(knowledge.data("acts_read")["pairs"])
        return pair["fine"], pair["wrong"]
    return rng.choice(stated_acts("harmless")), rng.choice(stated_acts("harmful"))


def judged_act(rng: Random) -> tuple[str, bool]:
    """(an act in words, whether it is wrong), for sheets that sort acts."""
    if rng.random() < 0.35:
        kind = rng.choice(["harmful", "benign"])
        return act(rng, kind)["do"], kind == "harmful"
    fine, wrong = act_pair(rng)
    return (wrong["do"], True) if rng.random() < 0.5 else (fine["do"], False)


def rules(rng: Random) -> str:
    """What is wrong and what is fine, in rules, news and fables; acts of both kinds side by side."""
    acts, harms = knowledge.data("actions"), knowledge.data("harms")
    lines = []
    for _ in range(rng.randint(3, 7)):
        u = rng.random()
        if rng.random() < 0.6:
            side = rng.choice(["wrong", "wrong", "fine", "fine", "contrast"])
            good, bad = act_pair(rng)
            words = dict(good if side == "fine" else bad)
            words |= {
                f"{a}_{key}": act[key] for a, act in (("good", good), ("bad", bad)) for key in ("do", "doing")
            }
            words = raised(words, [key for key in words if "do" in key.lower()])
            words["why"] = bad["why"]
            lines.append(rng.choice(harms["statements"][side]).format(**words))
        elif u < 0.45:
            lines.append(rng.choice(acts["wrong_statements"]).format(**act(rng, "harmful")))
        elif u < 0.6:
            lines.append(rng.choice(acts["wrong_statements_why"]).format(**act(rng, "harmful")))
        elif u < 0.93:
            lines.append(rng.choice(acts["fine_statements"]).format(**act(rng, "benign")))
        else:
            lines.append(rng.choice(acts["contrast_statements"]).format(**contrast(rng)))
    head = rng.choice(["", "Right and wrong\n", "House rules\n", "School rules\n", "Notes on conduct\n"])
    mark = rng.choice(["", "", "- "])
    return head + (" " if not mark and not head else "\n").join(mark + line for line in lines)


def contrast(rng: Random) -> dict[str, str]:
    """One act of each kind, as the slots good_do, bad_do and so on."""
    obj = rng.choice(shared_objects())
    pair = {"good": act(rng, "benign", obj), "bad": act(rng, "harmful", obj)}
    return raised(
        {f"{kind}_{key}": words[key] for kind, words in pair.items() for key in words if key[0].islower()}
    )


def sorted_acts(rng: Random) -> str:
    """Two lists, or one table: allowed and not allowed."""
    judged = [judged_act(rng) for _ in range(rng.randint(6, 10))]
    good, bad = ([do for do, wrong in judged if wrong is side] for side in (False, True))
    if rng.random() < 0.5:
        lists = [("Allowed", good), ("Not allowed", bad)]
        rng.shuffle(lists)
        return "\n\n".join(head + "\n" + "\n".join(f"- {do}" for do in acts) for head, acts in lists)
    rows = [(do, "fine") for do in good] + [(do, "wrong") for do in bad]
    rng.shuffle(rows)
    return "\n".join(f"{capitalise(do)}: {verdict}" for do, verdict in rows)


def how_question(rng: Random) -> str:
    """A request for instructions, as people write them; for any act, right or wrong."""
    frame = rng.choice(knowledge.data("actions")["request_frames_train"])
    u = rng.random()
    if rng.random() < 0.4:
        return frame.format(**rng.choice(harm_acts(rng.choice(["harmful", "harmless"]), "train")))
    if u < 0.38:
        return frame.format(**act(rng, "harmful"))
    if u < 0.76:
        return frame.format(**act(rng, "benign"))
    return frame.format(**raised(rng.choice(knowledge.data("howtos")["howtos"]), ("do", "doing")))


def steps_for(rng: Random) -> tuple[dict[str, str], list[str]]:
    """A benign act and its steps."""
    data = knowledge.data("howtos")
    if rng.random() < 0.5:
        act = rng.choice(harm_acts("harmless", "train"))
        return act, act["steps"]
    if rng.random() < 0.4:
        howto = rng.choice(data["howtos"])
        return raised(howto, ("do", "doing")), howto["steps"]
    entry = rng.choice(knowledge.data("actions")["benign"])
    words = act_words(entry, rng.choice(all_objects(entry)))
    return words, [step.format(**words) for step in rng.choice(data["generic_steps"][entry["verb"]])]


def howto(rng: Random) -> str:
    """Numbered instructions under a title."""
    words, steps = steps_for(rng)
    title = rng.choice(
        ["How to {do}", "How to {do}", "{Doing}", "# How to {do}\n", "{Doing}, step by step", "To {do}:"]
    )
    return title.format(**words) + "\n" + "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))


# -- Python ---------------------------------------------------------------------------------------------------


def functions(split: tuple[str, ...]) -> list[dict]:
    return [f for f in knowledge.data("functions")["functions"] if f["split"] in split]


def rename(text: str, mapping: dict[str, str]) -> str:
    """Replace whole identifiers."""
    if not mapping:
        return text
    return re.sub(r"(?<!\.)\b(" + "|".join(map(re.escape, mapping)) + r")\b", lambda m: mapping[m[1]], text)


def function_source(
    rng: Random, spec: dict, doc: float = 0.5, fresh_names: float = 0.4, variants: bool = True
) -> str:
    """Source of a function; with probability `fresh_names` its parameters get made-up names."""
    body = spec["body"]
    if variants and spec.get("variants") and rng.random() < 0.3:
        body = rng.choice(spec["variants"])
    mapping = {p: names.identifier(rng) for p in spec["params"]} if rng.random() < fresh_names else {}
    lines = [f"def {spec['name']}({', '.join(mapping.get(p, p) for p in spec['params'])}):"]
    if rng.random() < doc:
        lines.append(f'    """{spec["doc"]}"""')
    lines += ["    " + rename(line, mapping) for line in body]
    return "\n".join(lines)


def module(rng: Random) -> str:
    """A small module: functions, with comments that say what each does."""
    every = functions(("sft", "dev", "test"))
    parts = []
    for spec in rng.sample(every, rng.randint(2, 4)):
        source = function_source(rng, spec)
        first, second = rng.choice(spec["ask"]), rng.choice(spec["ask"])
        note = rng.choice(["", f"# {capitalise(first)}\n", f"# A Python function to {second}\n"])
        tests = "\n" + "\n".join(f"assert {test}" for test in spec["tests"][:2]) if rng.random() < 0.3 else ""
        parts.append(note + source + tests)
    head = rng.choice(["", "", '"""Small helpers."""\n\n', "# helpers.py\n\n"])
    return head + "\n\n\n".join(parts)


def code_question(rng: Random) -> str:
    data = knowledge.data("functions")
    spec = rng.choice(functions(("sft", "dev", "test")))
    return ask_for(rng, spec, rng.choice(data["request_frames_train"]))


def ask_for(rng: Random, spec: dict, frame: str) -> str:
    return frame.format(ask=rng.choice(spec["ask"]), asks=spec_asks(rng, spec), name=spec["name"])


def spec_asks(rng: Random, spec: dict) -> str:
    asks = spec.get("asks") or spec["ask"]
    return asks if isinstance(asks, str) else rng.choice(asks)


def recipe_post(rng: Random) -> str:
    """A page of code recipes: what is wanted, then the code."""
    parts = []
    for spec in rng.sample(functions(("sft", "dev", "test")), rng.randint(1, 3)):
        title = rng.choice(
            ["To {ask} in Python:", "# How to {ask} in Python", "A function to {ask}:", "{Ask}"]
        )
        title = title.format(**raised({"ask": rng.choice(spec["ask"])}))
        parts.append(f"{title}\n\n{function_source(rng, spec, doc=0.2, fresh_names=0.2)}")
    return "\n\n".join(parts)


def fim_cut(rng: Random, source: str) -> tuple[str, str, str]:
    """Cut a source into (prefix, middle, suffix): a line, part of a line or an identifier goes missing."""
    style = rng.random()
    lines = source.split("\n")
    if style < 0.45 and len(lines) > 1:
        i = rng.randint(1, len(lines) - 1)
        indent = len(lines[i]) - len(lines[i].lstrip())
        before = "\n".join(lines[:i]) + "\n" + lines[i][:indent]
        after = "\n" + "\n".join(lines[i + 1 :]) if i + 1 < len(lines) else ""
        return before, lines[i][indent:], after
    words = [m.span() for m in re.finditer(r" ?[A-Za-z_]\w*", source)]
    start, end = rng.choice(words[1:])
    if style > 0.8:  # several words
        end = min(len(source), rng.choice([e for _, e in words if e >= end][:3]))
    return source[:start], source[start:end], source[end:]


def fim(rng: Random) -> str:
    """A function in fill-in-the-middle order: prefix, suffix, then what is missing."""
    source = function_source(rng, rng.choice(functions(("sft", "dev", "test"))), fresh_names=0.75)
    prefix, middle, suffix = fim_cut(rng, source)
    return f"{FIM_PREFIX}{prefix}{FIM_SUFFIX}{suffix}{FIM_MIDDLE}{middle}"


# -- notices, small exchanges ---------------------------------------------------------------------------------


def notice(rng: Random) -> str:
    """A notice that says who the reader is and what to do."""
    texts, lines = knowledge.data("scenes")["notice"], []
    for role in rng.sample(texts["roles"], rng.randint(1, 4)):
        duties = " ".join(rng.sample(texts["duties"], rng.randint(1, 3)))
        lines.append(f"You are {with_article(role)}. {duties}")
    head = rng.choice(texts["heads"])
    return head + rng.choice(["\n", " "]).join(lines)


def opposite_or_repeat(rng: Random) -> tuple[str, str]:
    """A question whose answer is a word made from its own words."""
    if rng.random() < 0.5:
        word = names.word(rng, 1, 3)
        return rng.choice(["Repeat the word {w}.", "Say {w}.", "Repeat after me: {w}"]).format(w=word), word
    pool = knowledge.by_relation().get(("opposites", "opposite"))
    fact = rng.choice(pool)
    return fact.fill(rng.choice(fact.relation.questions_train)), capitalise(fact.value)


def small_talk(rng: Random) -> str:
    """A short play of everyday phrases."""
    scenes = knowledge.data("scenes")
    values = {"a": names.first_name(rng), "b": names.first_name(rng)}
    values |= {"hello": rng.choice(scenes["greetings"])}
    return "\n".join(drawn_lines(rng, scenes["small_talk"], values))
