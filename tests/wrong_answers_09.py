"""What learners write in exercise 09: {task: {name of the mistake: code}}, apart from the checks' own list."""

import json
from random import Random, shuffle

from course_utils import loss_mask, train
from course_utils.evaluate import mcnemar

NONE, HALF, MOST = "almost none", "about half", "more than two thirds"


def start_claims(told=NONE, base=MOST, rest=NONE, mixed="more"):
    return {
        "fields that the instruct gets right when it is only told what is wanted": told,
        "fields that the tuned base gets right": base,
        "other instructions that the tuned instruct still follows": rest,
        "other instructions that it follows if as many everyday chats are mixed in, against none": mixed,
    }


def tidy(row):
    """A row without white space at the ends."""
    return {key: value.strip() if isinstance(value, str) else value for key, value in row.items()}


def record(row, count=int, write=json.dumps):
    return write(
        {"item": row["item"], "count": count(row["count"]), "name": row["name"], "town": row["town"]}
    )


def good(row):
    return all(row[key] and str(row[key]) in row["order"] for key in ("item", "count", "name", "town"))


def example(row, said):
    return {"messages": [{"role": "user", "content": row["order"]}, {"role": "assistant", "content": said}]}


def once(examples):
    return [one for i, one in enumerate(examples) if one not in examples[:i]]


def worse(a, b):
    only_a = sum(x and not y for x, y in zip(a, b))
    only_b = sum(y and not x for x, y in zip(a, b))
    return only_a < only_b and mcnemar(only_a, only_b) < 0.05


SURROUNDINGS = {
    "json": json, "Random": Random, "shuffle": shuffle, "loss_mask": loss_mask, "train": train, "mcnemar": mcnemar,
    "start_claims": start_claims, "tidy": tidy, "record": record, "good": good, "example": example, "once": once,
    "worse": worse, "HALF": HALF, "MOST": MOST, "NONE": NONE,
}  # fmt: skip

WRONG_ANSWERS = {
    "clean_orders": {
        "the count is a text": """
            def clean_orders(rows):
                same = lambda count: count
                return once([example(row, record(row, count=same)) for row in map(tidy, rows) if good(row)])""",
        "Python instead of JSON": """
            def clean_orders(rows):
                return once([example(row, record(row, write=str)) for row in map(tidy, rows) if good(row)])""",
        "repeats stay": """
            def clean_orders(rows):
                return [example(row, record(row)) for row in map(tidy, rows) if good(row)]""",
        "false records stay": """
            def clean_orders(rows):
                rows = [row for row in map(tidy, rows) if None not in row.values() and "" not in row.values()]
                return once([example(row, record(row)) for row in rows])""",
        "gaps stay": """
            def clean_orders(rows):
                def true(row):
                    return all(str(value) in row["order"] for key, value in row.items() if value and key != "id")
                return once([example(row, record(row)) for row in map(tidy, rows) if true(row)])""",
    },
    "split_rows": {
        "both bugs are left": """
            def split_rows(rows, share, seed):
                shuffle(rows)
                return rows[round(share * len(rows)):], rows[:round(share * len(rows))]""",
        "split by rows": """
            def split_rows(rows, share, seed):
                Random(seed).shuffle(rows)
                return rows[round(share * len(rows)):], rows[:round(share * len(rows))]""",
        "the seed does nothing": """
            def split_rows(rows, share, seed):
                names = list({row["customer"] for row in rows})
                shuffle(names)
                test = names[:round(share * len(names))]
                return [r for r in rows if r["customer"] not in test], [r for r in rows if r["customer"] in test]""",
        "always the same customers": """
            def split_rows(rows, share, seed):
                names = sorted({row["customer"] for row in rows})
                test = names[:round(share * len(names))]
                return [r for r in rows if r["customer"] not in test], [r for r in rows if r["customer"] in test]""",
        "the sides are swapped": """
            def split_rows(rows, share, seed):
                names = sorted({row["customer"] for row in rows})
                test = Random(seed).sample(names, round(share * len(names)))
                return [r for r in rows if r["customer"] in test], [r for r in rows if r["customer"] not in test]""",
    },
    "within_budget": {
        "a single epoch": """
            def within_budget(tokenizer, talks, epochs, budget):
                read = learned = taken = 0
                for row in (loss_mask(tokenizer, talk) for talk in talks):
                    if read + len(row) > budget: break
                    read, learned, taken = read + len(row), learned + row.loss_tokens, taken + 1
                return {"talks": taken, "read": read, "learned": learned}""",
        "one too many": """
            def within_budget(tokenizer, talks, epochs, budget):
                read = learned = taken = 0
                for row in (loss_mask(tokenizer, talk) for talk in talks):
                    read, learned, taken = read + epochs * len(row), learned + epochs * row.loss_tokens, taken + 1
                    if read > budget: break
                return {"talks": taken, "read": read, "learned": learned}""",
        "long ones are skipped": """
            def within_budget(tokenizer, talks, epochs, budget):
                read = learned = taken = 0
                for row in (loss_mask(tokenizer, talk) for talk in talks):
                    if read + epochs * len(row) <= budget:
                        read, learned, taken = read + epochs * len(row), learned + epochs * row.loss_tokens, taken + 1
                return {"talks": taken, "read": read, "learned": learned}""",
        "everything is learned": """
            def within_budget(tokenizer, talks, epochs, budget):
                read = taken = 0
                for row in (loss_mask(tokenizer, talk) for talk in talks):
                    if read + epochs * len(row) > budget: break
                    read, taken = read + epochs * len(row), taken + 1
                return {"talks": taken, "read": read, "learned": read}""",
    },
    "predict_the_starts": {
        "telling is enough": """
            def predict_the_starts():
                return start_claims(told=MOST)""",
        "a base cannot learn a chat": """
            def predict_the_starts():
                return start_claims(base=NONE)""",
        "training only adds": """
            def predict_the_starts():
                return start_claims(rest=HALF)""",
        "what is lost is lost": """
            def predict_the_starts():
                return start_claims(mixed="as many")""",
    },
    "choose_start": {
        "the task alone": """
            def choose_start(before, candidates):
                best = max(candidates.values(), key=lambda c: sum(c["task"]))["task"]
                able = [name for name, c in candidates.items() if not worse(c["task"], best)]
                return min(able, key=lambda name: candidates[name]["tokens"])""",
        "the most right": """
            def choose_start(before, candidates):
                kept = [name for name, c in candidates.items() if not worse(c["rest"], before)]
                return max(kept, key=lambda name: sum(candidates[name]["task"])) if kept else "none\"""",
        "the cheapest": """
            def choose_start(before, candidates):
                kept = [name for name, c in candidates.items() if not worse(c["rest"], before)]
                return min(kept, key=lambda name: candidates[name]["tokens"]) if kept else "none\"""",
        "any loss counts": """
            def choose_start(before, candidates):
                kept = {name: c for name, c in candidates.items() if sum(c["rest"]) >= sum(before)}
                if not kept: return "none"
                best = max(kept.values(), key=lambda c: sum(c["task"]))["task"]
                able = [name for name, c in kept.items() if not worse(c["task"], best)]
                return min(able, key=lambda name: kept[name]["tokens"])""",
    },
    "my_extractor": {
        "the orders are not learned": """
            def my_extractor(pair, orders, chats):
                return pair.instruct""",
        "the rest is forgotten": """
            def my_extractor(pair, orders, chats):
                settings = {"tokenizer": pair.instruct.tokenizer, "epochs": 3, "batch_size": 10, "progress": False}
                return train.sft(pair.instruct, orders, lr=1e-3, precision="float32", **settings).variant""",
        "neither is learned": """
            def my_extractor(pair, orders, chats):
                settings = {"tokenizer": pair.instruct.tokenizer, "steps": 1, "progress": False}
                return train.sft(pair.base, orders[:4], lr=1e-5, **settings).variant""",
        "no chat template": """
            def my_extractor(pair, orders, chats):
                return pair.base""",
        "not a variant": """
            def my_extractor(pair, orders, chats):
                return pair.instruct.model""",
    },
}
