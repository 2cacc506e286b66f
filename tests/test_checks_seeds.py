"""Answers that checks once took for right although they are wrong, or for wrong although they are right: of 100 seeds
the first are refused by name on 95 or more, the others accepted on all. COURSE_SEEDS=100 draws as many; without
it, 20."""

import hashlib
import math
import os
import re
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_grading.checks import CORRECT, examine, find
from course_grading.checks.ex06 import likeness, words
from course_utils.batches import loss_mask
from course_utils.evaluate import mcnemar

SEEDS = range(int(os.environ.get("COURSE_SEEDS", "20")))

# -- wrong answers, as learners write them: (task, name of the mistake, answer) -------------------------------

WRONG = []


def wrong(task: str, mistake: str):
    def keep(answer):
        WRONG.append(pytest.param(task, mistake, answer, id=f"{task}: {answer.__name__}"))
        return answer

    return keep


def kl_with(epsilon, clamp=False):
    def kl(instruct_logits, base_logits):
        p, q = torch.softmax(instruct_logits, -1), torch.softmax(base_logits, -1)
        if clamp:
            return (p * (p.clamp(min=epsilon).log() - q.clamp(min=epsilon).log())).sum()
        return torch.sum(p * torch.log((p + epsilon) / (q + epsilon)))

    kl.__name__ = f"epsilon {epsilon:g}{' as a clamp' if clamp else ''}"
    return kl


for each in (1e-5, 1e-6, 1e-8, 1e-10, 1e-12):
    wrong("kl_divergence", "a small number inside the logarithm")(kl_with(each))
wrong("kl_divergence", "a small number inside the logarithm")(kl_with(1e-9, clamp=True))


def token_losses(logits, ids):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


def right_sft(logits, ids, mask):
    return (token_losses(logits, ids) * mask[:, 1:]).sum() / mask[:, 1:].sum()


@wrong("sft_loss", "no gradient")
def item(logits, input_ids, mask):
    return right_sft(logits, input_ids, mask).item()


@wrong("sft_loss", "no gradient")
def detached(logits, input_ids, mask):
    return right_sft(logits.detach(), input_ids, mask)


@wrong("sft_loss", "no gradient")
def under_no_grad(logits, input_ids, mask):
    with torch.no_grad():
        return right_sft(logits, input_ids, mask)


@wrong("sft_loss", "no gradient")
def a_tensor_made_of_the_number(logits, input_ids, mask):
    return torch.tensor(float(right_sft(logits, input_ids, mask)))


def both(model, ids, mask, old):
    new = right_sft(model(ids).logits, ids, mask)
    return new, right_sft(model(old).logits, old, torch.ones_like(old))


@wrong("replay_loss", "no gradient")
def on_top_of_item(model, input_ids, mask, old_ids, weight):
    new, old = both(model, input_ids, mask, old_ids)
    return new.item() + weight * old.item()


@wrong("replay_loss", "the old text does not train")
def old_as_a_number(model, input_ids, mask, old_ids, weight):
    new, old = both(model, input_ids, mask, old_ids)
    return new + weight * old.item()


@wrong("replay_loss", "the conversations do not train")
def new_as_a_number(model, input_ids, mask, old_ids, weight):
    new, old = both(model, input_ids, mask, old_ids)
    return float(new) + weight * old


def divided(rows, held_out):
    return [r for r in rows if r["customer"] not in held_out], [r for r in rows if r["customer"] in held_out]


@wrong("split_rows", "the order of a set")
def set_shuffled(rows, share, seed):
    customers = list({row["customer"] for row in rows})
    Random(seed).shuffle(customers)
    return divided(rows, set(customers[: round(share * len(customers))]))


@wrong("split_rows", "the order of a set")
def set_sampled(rows, share, seed):
    customers = set(row["customer"] for row in rows)  # noqa: C401 (as a learner writes it)
    return divided(rows, Random(seed).sample(tuple(customers), round(share * len(customers))))


@wrong("split_rows", "the order of a set")
def pythons_own_hash(rows, share, seed):
    held_out = {row["customer"] for row in rows if hash((row["customer"], seed)) % 1000 < 1000 * share}
    return divided(rows, held_out)


@wrong("within_budget", "an exact fit is left out")
def at_least(tokenizer, talks, epochs, budget):
    read = learned = taken = 0
    for talk in talks:
        row = loss_mask(tokenizer, talk)
        if epochs * (read + len(row)) >= budget:
            break
        read, learned, taken = read + len(row), learned + row.loss_tokens, taken + 1
    return {"talks": taken, "read": epochs * read, "learned": epochs * learned}


NAMES = {"human": "user", "gpt": "assistant"}


def mended(rows, looked_at=("system", "user", "assistant")):
    for row in rows:
        if "instruction" in row:
            asked = "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)
            row = {
                "messages": [
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": row["output"]},
                ]
            }
        turns = [{"role": NAMES.get(t["role"], t["role"]), "content": t["content"]} for t in row["messages"]]
        while turns and turns[-1]["role"] == "user":
            turns.pop()
        if turns and all((t["content"] or "").strip() for t in turns if t["role"] in looked_at):
            yield {"messages": turns}


def unique(rows):
    kept = []
    for row in rows:
        if row not in kept:
            kept.append(row)
    return kept


@wrong("repair", "repeats are looked for before mending")
def unique_first(rows):
    return list(mended(unique(rows)))


@wrong("repair", "only the answers are looked at")
def answers_only(rows):
    return unique(mended(rows, looked_at=("assistant",)))


def detected(row, order):
    for column, name in order:
        if column in row:
            if column != "messages":
                return name
            calls = any(m.get("tool_calls") or m["role"] == "tool" for m in row["messages"] or [])
            return "tool-calls" if calls or row.get("tools") else "messages"
    return "text"


ORDER = [
    ("conversations", "sharegpt"), ("messages", "messages"), ("chosen", "preference"),
    ("label", "unpaired-preference"), ("instruction", "alpaca"), ("completion", "prompt-completion"), ("text", "text"),
]  # fmt: skip


@wrong("detect_format", "an empty column counts")
def columns_that_hold_none(row):
    return detected(row, ORDER)


@wrong("detect_format", "an empty column counts")
def columns_that_hold_none_in_another_order(row):
    return detected(row, [*ORDER[2:4], *ORDER[:2], *ORDER[4:]])


@wrong("prompt_cost", "places that agree later")
def all_agreeing_places(tokenizer, prompts):
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    shared = sum(all(i == ids[0] for i in ids) for ids in zip(*rows))
    tokens = sum(map(len, rows))
    return {"tokens": tokens, "shared": shared, "with_cache": tokens - (len(rows) - 1) * shared}


@wrong("choose_examples", "the answers count as well")
def likeness_of_both(pool, question, k):
    others = [pair for pair in pool if words(pair[0]) != words(question)]
    return sorted(others, key=lambda pair: likeness(f"{pair[0]} {pair[1]}", question))[-k:]


@wrong("choose_examples", "the answers count as well")
def likeness_of_the_written_example(pool, question, k):
    others = [pair for pair in pool if words(pair[0]) != words(question)]
    return sorted(others, key=lambda pair: likeness(pair[0] + "\nAnswer " + pair[1], question))[-k:]


@wrong("cut_at_stop", "one stop string after the other")
def successive_split(text, stops):
    cut = text
    for stop in stops:
        cut = cut.split(stop, 1)[0]
    return cut, len(cut) < len(text)


@wrong("cut_at_stop", "one stop string after the other")
def successive_partition(text, stops):
    stopped = False
    for stop in stops:
        if stop in text:
            text, stopped = text.partition(stop)[0], True
    return text, stopped


@wrong("harbour", "no template")
def in_python(messages, add_generation_prompt=False):
    system, text = "", "<s>"
    for message in messages:
        if message["role"] == "system":
            system = message["content"] + "\n\n"
        elif message["role"] == "user":
            text, system = text + "[ask]" + system + message["content"] + "[/ask]", ""
        else:
            text += "[answer]" + message["content"].strip() + "</s>"
    return text + ("[answer]" if add_generation_prompt else "")


@wrong("advantages", "divided by the spread")
def grpo(rewards, kl, beta):
    total = rewards - beta * kl
    return (total - total.mean(1, keepdim=True)) / (total.std(1, keepdim=True) + 1e-8)


@wrong("advantages", "divided by the spread of n")
def grpo_in_numpy(rewards, kl, beta):
    total = (rewards - beta * kl).numpy()
    return (total - total.mean(1, keepdims=True)) / total.std(1, keepdims=True)


@wrong("write", "the text does not grow")
def never_appended(model, input_ids, eos_token_id, max_new_tokens):
    written = []
    while len(written) < max_new_tokens:
        chosen = int(model(input_ids).logits[0, -1].argmax())
        if chosen == eos_token_id:
            break
        written.append(chosen)
    return written


@wrong("softmax", "overflow")
def plain_exponentials(scores, temperature=1.0):
    e = torch.exp(scores / temperature)
    return e / e.sum()


def with_a_bar_of(bar):
    def compare_runs(a, b):
        only_a, only_b = (sum(x and not y for x, y in zip(*two)) for two in ((a, b), (b, a)))
        p, difference = mcnemar(only_a, only_b), (sum(b) - sum(a)) / len(a)
        verdict = "cannot tell" if p >= bar else "better" if difference > 0 else "worse"
        return {"difference": difference, "p_value": p, "verdict": verdict}

    compare_runs.__name__ = f"a bar of {bar}"
    return compare_runs


for each in (0.01, 0.1):
    wrong("compare_runs", f"a bar of {each}")(with_a_bar_of(each))


@wrong("safe_ids", "removed one by one")
def each_mark_taken_out(tokenizer, messages):
    safe = []
    for message in messages:
        content = message["content"]
        for mark in tokenizer.all_special_tokens:
            content = content.replace(mark, "")
        safe.append({**message, "content": content})
    return tokenizer.apply_chat_template(safe, add_generation_prompt=True)["input_ids"]


@wrong("dearest", "only the last model")
def started_anew(bill, before):
    for model, row in bill.items():
        most = -1
        for measure, rate in row.items():
            loss = (bill[before][measure] - rate) * (-1 if measure.startswith("over-") else 1)
            if model != before and loss > most:
                most, found = loss, (model, measure)
    return found


@wrong("dearest", "over-refusals are a gain")
def all_rates_alike(bill, before):
    losses = {(m, k): bill[before][k] - rate for m, row in bill.items() for k, rate in row.items()}
    return max(losses, key=losses.get)


@pytest.mark.slow
@pytest.mark.parametrize("task, mistake, answer", WRONG)
def test_a_wrong_answer_is_refused_by_name_on_95_of_100_seeds(task, mistake, answer):
    found = Counter()
    for seed in SEEDS:
        outcome = examine(task, answer, seed)
        found[outcome.mistake if outcome.points < outcome.of else "accepted"] += 1
    assert found[mistake] >= 0.95 * len(SEEDS), found


# -- right answers, unusual ones ------------------------------------------------------------------------------

RIGHT = []


def right(task: str):
    def keep(answer):
        RIGHT.append(pytest.param(task, answer, id=f"{task}: {answer.__name__}"))
        return answer

    return keep


@right("surprise")
def loss_of_the_model(model, prompt_ids, answer_ids):
    ids = torch.tensor([[*prompt_ids, *answer_ids]])
    labels = ids.clone()
    labels[0, : len(prompt_ids)] = -100
    return model(ids, labels=labels).loss * len(answer_ids)


@right("mean_loss")
def of_shape_1(logits, input_ids):
    return F.cross_entropy(logits[:-1], input_ids[1:]).view(1)


@right("mean_loss")
def a_numpy_array_of_one(logits, input_ids):
    return np.array([F.cross_entropy(logits[:-1], input_ids[1:]).item()])


@right("stop_rate")
def a_share_of_shape_1(rows, eos_token_ids):
    return torch.tensor([sum(any(i in eos_token_ids for i in row) for row in rows.tolist()) / len(rows)])


@right("kl_divergence")
def by_torch(instruct_logits, base_logits):
    p, q = instruct_logits.log_softmax(-1), base_logits.log_softmax(-1)
    return F.kl_div(q, p, log_target=True, reduction="sum")


@right("split_rows")
def by_a_hash_of_customer_and_seed(rows, share, seed):
    def lot(customer):
        return int(hashlib.sha256(f"{customer}/{seed}".encode()).hexdigest(), 16) % 10_000 / 10_000

    held_out = [row for row in rows if lot(row["customer"]) < share]
    return [row for row in rows if lot(row["customer"]) >= share], held_out


@right("split_rows")
def by_an_index(rows, share, seed):
    customers = sorted({row["customer"] for row in rows})
    chosen = Random(seed).sample(customers, int(share * len(customers)))
    return divided(rows, chosen)


@right("sft_loss")
def with_labels(logits, input_ids, mask):
    labels = input_ids.masked_fill(mask == 0, -100)[:, 1:]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


@right("sft_loss")
def token_by_token(logits, input_ids, mask):
    losses = [
        -torch.log_softmax(logits[i, j - 1], -1)[input_ids[i, j]]
        for i in range(len(mask))
        for j in range(1, mask.shape[1])
        if mask[i, j]
    ]
    return (sum(losses) / len(losses)).reshape(1)


@right("replay_loss")
def in_one(model, input_ids, mask, old_ids, weight):
    new, old = both(model, input_ids, mask, old_ids)
    return torch.stack([new, weight * old]).sum()


@right("within_budget")
def whole_sums(tokenizer, talks, epochs, budget):
    rows, n = [loss_mask(tokenizer, talk) for talk in talks], 0
    while n < len(rows) and epochs * sum(map(len, rows[: n + 1])) <= budget:
        n += 1
    read, learned = sum(map(len, rows[:n])), sum(row.loss_tokens for row in rows[:n])
    return {"talks": n, "read": epochs * read, "learned": epochs * learned}


@right("repair")
def mended_and_unique(rows):
    return unique(mended(rows))


@right("detect_format")
def by_values(row):
    return detected({column: value for column, value in row.items() if value is not None}, ORDER)


@right("cut_at_stop")
def by_a_pattern(text, stops):
    found = re.search("|".join(map(re.escape, stops)), text)
    return (text[: found.start()], True) if found else (text, False)


@right("advantages")
def in_loops(rewards, kl, beta):
    rows = []
    for one, far in zip(rewards.tolist(), kl.tolist()):
        total = [r - beta * k for r, k in zip(one, far)]
        rows.append([t - sum(total) / len(total) for t in total])
    return rows


@right("softmax")
def with_logsumexp(scores, temperature=1.0):
    return (scores / temperature - torch.logsumexp(scores / temperature, 0)).exp()


@right("dearest")
def by_sorting(bill, before):
    def loss(entry):
        model, measure = entry
        worse = bill[before][measure] - bill[model][measure]
        return -worse if measure.startswith("over-") else worse

    return sorted(((m, k) for m in bill if m != before for k in bill[m]), key=loss)[-1]


@right("ece")
def with_edges(confidence, right, bins):
    place = torch.bucketize(confidence, torch.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = [
        abs((confidence[place == b] - right[place == b].float()).sum().item())
        for b in place.unique().tolist()
    ]
    return sum(gaps) / len(right)


@right("safe_ids")
def a_space_in_each_mark(tokenizer, messages):
    safe = []
    for message in messages:
        content = message["content"]
        for mark in tokenizer.all_special_tokens:
            content = content.replace(mark, mark[0] + " " + mark[1:])
        safe.append({**message, "content": content})
    return tokenizer.apply_chat_template(safe, add_generation_prompt=True)["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("task, answer", RIGHT)
def test_a_right_answer_is_accepted_on_all_100_seeds(task, answer):
    for seed in SEEDS:
        outcome = examine(task, answer, seed)
        assert outcome.status == CORRECT, (seed, outcome)


# -- what is said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, answer, said",
    [
        (
            "advantages",
            lambda rewards, kl, beta: 1.5 * find("advantages").answer(rewards, kl, beta),
            r"At \[0, 0\]: yours has",
        ),
        (
            "collate_rows",
            lambda rows, pad: {n: t.flip(1) for n, t in find("collate_rows").answer(rows, pad).items()},
            r"At \['input_ids'\]\[0, 0\]: yours has \d+ where \d+ is right \(\d+ of \d+ numbers differ\)",
        ),
        (
            "label_by_hand",
            lambda tokenizer, talk: find("label_by_hand").answer(
                tokenizer, [*talk[:-1], talk[-1] | {"content": "No."}]
            ),
            r"input_ids",
        ),
        ("detect_format", lambda row: "messages", r"'messages' each time, although the inputs differ"),
        ("write", lambda model, ids, eos, limit: [1, 2], r"a list of length \d+, not a list of length 2"),
        ("choose_start", lambda before, candidates: None, "every way through it"),
        ("repair", lambda rows: (row for row in rows), "not a generator"),
        (
            "sharegpt_to_messages",
            lambda row: {"messages": [{"role": "user"}]},
            r"At \['messages'\]\[0\]\['content'\]",
        ),
    ],
)
def test_a_message_names_the_first_place_that_differs_and_what_was_given(task, answer, said):
    message = examine(task, answer, 3).message
    assert re.search(said, message, re.S), message
    assert " object at 0x" not in message and "At [0]: At" not in message


def test_an_answer_finds_no_result_in_the_frames_above_it():
    import sys

    def peeks(scores, temperature=1.0):
        frame = sys._getframe()
        while frame := frame.f_back:
            for value in frame.f_locals.values():
                for held in (value, getattr(value, "expected", None)):
                    if isinstance(held, torch.Tensor) and abs(float(held.sum()) - 1) < 1e-5 and held.ndim:
                        return held
        return scores * math.nan

    assert examine("softmax", peeks, 5).points == 0
