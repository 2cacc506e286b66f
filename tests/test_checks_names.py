"""Wrong answers that checks once refused without a name: each breaks something that its task's text says, and is told
which. Written as learners write them, apart from the checks' own list of mistakes."""

import json
import math

import pytest
import torch
from torch.nn import functional as F

from course_grading.checks import WRONG, examine
from course_grading.checks.ex02 import right
from course_utils import qa_prompt, toy_tokenizer, wilson
from course_utils.batches import loss_mask
from course_utils.evaluate import mcnemar

ANSWERS = []


def wrong(task: str, mistake: str):
    def keep(answer):
        ANSWERS.append(pytest.param(task, mistake, answer, id=f"{task}: {mistake}"))
        return answer

    return keep


# -- 01 -------------------------------------------------------------------------------------------------------


@wrong("mean_loss", "bits")
def loss_in_bits(logits, input_ids):
    p = logits[:-1].softmax(-1).gather(1, input_ids[1:, None])
    return -torch.log2(p).mean()


@wrong("keep_top_p", "divided by p")
def by_p(probs, p):
    values, ids = probs.sort(descending=True)
    values[values.cumsum(0) - values >= p] = 0
    return torch.zeros_like(probs).scatter(0, ids, values) / p


@wrong("keep_top_p", "ones and zeros")
def which_are_kept(probs, p):
    values, ids = probs.sort(descending=True)
    return torch.zeros_like(probs).scatter(0, ids, (values.cumsum(0) - values < p).float())


@wrong("write", "one too few")
def from_one(model, input_ids, eos_token_id, max_new_tokens):
    new = []
    for _ in range(1, max_new_tokens):
        new.append(int(model(input_ids).logits[0, -1].argmax()))
        if new[-1] == eos_token_id:
            return new[:-1]
        input_ids = torch.cat([input_ids, torch.tensor([new[-1:]])], 1)
    return new


def answer_losses(model, prompt_ids, answer_ids, first):
    rows = model(torch.tensor([prompt_ids + answer_ids])).logits[0, first:].log_softmax(-1)
    return [-row[token].item() for row, token in zip(rows, answer_ids)]


@wrong("surprise", "one row early")
def two_back(model, prompt_ids, answer_ids):
    return sum(answer_losses(model, prompt_ids, answer_ids, len(prompt_ids) - 2))


@wrong("surprise", "the last token is left out")
def one_less(model, prompt_ids, answer_ids):
    return sum(answer_losses(model, prompt_ids, answer_ids, len(prompt_ids) - 1)[:-1])


# -- 02 -------------------------------------------------------------------------------------------------------


@wrong("relative_change", "percent")
def in_percent(before, after):
    return {n: 100 * float(torch.dist(after[n], before[n]) / before[n].norm()) for n in before}


@wrong("kl_divergence", "cross-entropy")
def without_its_own_entropy(instruct_logits, base_logits):
    return F.cross_entropy(base_logits[None], instruct_logits.softmax(-1)[None])


@wrong("kl_divergence", "the mean of both directions")
def without_direction(instruct_logits, base_logits):
    p, q = instruct_logits.log_softmax(-1), base_logits.log_softmax(-1)
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum()


def ranks(base_logits, ids, start, back):
    places = range(start, len(ids))
    return [int((base_logits[i - back] > base_logits[i - back][ids[i]]).sum()) + 1 for i in places]


@wrong("shift_shares", "one row early")
def two_rows_back(base_logits, ids, start):
    found = ranks(base_logits, ids, start, 2)
    return {
        "unshifted": sum(r == 1 for r in found) / len(found),
        "marginal": sum(r in (2, 3) for r in found) / len(found),
        "shifted": sum(r > 3 for r in found) / len(found),
    }


@wrong("shift_shares", "the shares overlap")
def up_to_three(base_logits, ids, start):
    found = torch.tensor(ranks(base_logits, ids, start, 1))
    shares = {"unshifted": found <= 1, "marginal": found <= 3, "shifted": found > 3}
    return {name: share.float().mean().item() for name, share in shares.items()}


@wrong("answer_rates", "a count")
def hits_first(pair, questions):
    asked, found = [q for q, _ in questions], {}
    base = pair.base.complete_batch([qa_prompt(q) for q in asked], max_new_tokens=24)
    for name, done in (("base", base), ("instruct", pair.instruct.chat_batch(asked, max_new_tokens=24))):
        hits = sum(right(one.text, answer) for one, (_, answer) in zip(done, questions))
        found[name] = (hits, *wilson(hits, len(asked)))
    return found


# -- 03 -------------------------------------------------------------------------------------------------------


def turns(messages):
    return [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>" for m in messages]


@wrong("render_chatml", "no line break after the last turn")
def joined(messages, add_generation_prompt=False, continue_final_message=False):
    text = "\n".join(turns(messages) + ["<|im_start|>assistant\n"] * add_generation_prompt)
    return text.removesuffix("<|im_end|>") if continue_final_message else text


@wrong("render_chatml", "every conversation is left open")
def always_open(messages, add_generation_prompt=False, continue_final_message=False):
    text = "\n".join(turns(messages)).removesuffix("<|im_end|>")
    return text + "<|im_end|>\n<|im_start|>assistant\n" * add_generation_prompt


def rendered(template, messages, add_generation_prompt):
    return toy_tokenizer("zephyr").apply_chat_template(
        messages, chat_template=template, add_generation_prompt=add_generation_prompt, tokenize=False
    )


@wrong("harbour", "white space of the template's own")
def some_minus_signs(messages, add_generation_prompt=False):
    template = (
        "{{ bos_token }}{% set s = messages[0] if messages[0]['role'] == 'system' %}"
        "{% for m in (messages[1:] if s else messages) %} {%- if m['role'] == 'user' %}"
        "[ask]{% if loop.first and s %}{{ s['content'] + '\n\n' }}{% endif %}{{ m['content'] }}[/ask] "
        "{% else %}[answer]{{ m['content'] | trim }}{{ eos_token }} {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[answer]{% endif %}"
    )
    return rendered(template, messages, add_generation_prompt)


# -- 04 -------------------------------------------------------------------------------------------------------


def detected(row, has):
    for column, name in [
        ("conversations", "sharegpt"), ("messages", "messages"), ("chosen", "preference"),
        ("label", "unpaired-preference"), ("instruction", "alpaca"), ("completion", "prompt-completion"),
    ]:  # fmt: skip
        if has(row, column):
            calls = any(m["role"] == "tool" for m in row.get("messages") or [])
            return "tool-calls" if calls else name
    return "text"


@wrong("detect_format", "a label of False is none")
def by_truth(row):
    return detected(row, lambda row, column: bool(row.get(column)))


@wrong("detect_format", "Alpaca without an input is overlooked")
def three_columns(row):
    found = detected(row, lambda row, column: row.get(column) is not None)
    return "text" if found == "alpaca" and not row.get("input") else found


@wrong("label_by_hand", "the BOS is learned")
def with_its_bos(tokenizer, messages):
    ids, labels = [tokenizer.bos_token_id], [tokenizer.bos_token_id]
    for m in messages:
        head, body = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (f"<|im_start|>{m['role']}\n", f"{m['content']}<|im_end|>")
        )
        line = tokenizer("\n", add_special_tokens=False)["input_ids"]
        learned = body if m["role"] == "assistant" else [-100] * len(body)
        ids += head + body + line
        labels += [-100] * len(head) + learned + [-100] * len(line)
    return {"input_ids": ids, "labels": labels}


def filled(rows, ids, labels):
    def batch(key, filler):
        parts = [torch.tensor(row[key]) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=filler)

    mask = [{"mask": [1] * len(row["input_ids"])} for row in rows]
    ones = torch.nn.utils.rnn.pad_sequence([torch.tensor(m["mask"]) for m in mask], batch_first=True)
    return {"input_ids": batch("input_ids", ids), "labels": batch("labels", labels), "attention_mask": ones}


@wrong("collate_rows", "inputs filled up with 0")
def zeros(rows, pad_token_id):
    return filled(rows, 0, -100)


@wrong("collate_rows", "inputs filled up with -100")
def minus_hundreds(rows, pad_token_id):
    return filled(rows, -100, -100)


@wrong("collate_rows", "labels filled up with 0")
def zeros_as_labels(rows, pad_token_id):
    return filled(rows, pad_token_id, 0)


# -- 05 -------------------------------------------------------------------------------------------------------


@wrong("sft_loss", "no minus")
def positive(logits, input_ids, mask):
    logprobs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    return logprobs[mask[:, 1:] == 1].mean()


@wrong("sft_loss", "shifted right")
def to_the_right(logits, input_ids, mask):
    labels = input_ids.masked_fill(mask == 0, -100)[:, :-1]
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels.flatten())


@wrong("sft_loss", "bits")
def sft_in_bits(logits, input_ids, mask):
    p = logits[:, :-1].softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    return -p[mask[:, 1:] == 1].log2().mean()


def loop(new_model, batches, lr, make=torch.optim.SGD, reduction="mean", late=False):
    model, losses = new_model(), []
    optimizer = make(model.parameters(), lr=lr)
    for ids, mask in batches:

        def loss(ids=ids, mask=mask):
            labels = torch.where(mask == 1, ids, -100)[:, 1:]
            return F.cross_entropy(model(ids).logits[:, :-1].transpose(1, 2), labels, reduction=reduction)

        model.zero_grad()
        before = loss()
        before.backward()
        optimizer.step()
        losses.append((loss() if late else before).item())
    return losses


@wrong("train_losses", "measured after the step")
def looked_at_late(new_model, batches, pad_token_id, lr):
    return loop(new_model, batches, lr, late=True)


@wrong("train_losses", "the sum")
def summed(new_model, batches, pad_token_id, lr):
    return loop(new_model, batches, lr, reduction="sum")


@wrong("train_losses", "AdamW instead of SGD")
def with_adam(new_model, batches, pad_token_id, lr):
    return loop(new_model, batches, lr, make=torch.optim.AdamW)


def both(model, ids, mask, old):
    labels = ids.masked_fill(mask == 0, -100)
    new = F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    return new, F.cross_entropy(model(old).logits[:, :-1].flatten(0, 1), old[:, 1:].flatten())


@wrong("replay_loss", "the weight on both")
def weighed_twice(model, input_ids, mask, old_ids, weight):
    return sum(weight * one for one in both(model, input_ids, mask, old_ids))


@wrong("replay_loss", "a weighted average")
def averaged(model, input_ids, mask, old_ids, weight):
    new, old = both(model, input_ids, mask, old_ids)
    return (new + weight * old) / (1 + weight)


@wrong("replay_loss", "only the old texts")
def forgotten(model, input_ids, mask, old_ids, weight):
    return weight * both(model, input_ids, mask, old_ids)[1]


def compared(a, b, difference):
    p = mcnemar(sum(x and not y for x, y in zip(a, b)), sum(y and not x for x, y in zip(a, b)))
    verdict = "cannot tell" if p >= 0.05 else "better" if sum(b) > sum(a) else "worse"
    return {"difference": difference, "p_value": p, "verdict": verdict}


@wrong("compare_runs", "no sign")
def a_distance(a, b):
    return compared(a, b, abs(sum(b) - sum(a)) / len(a))


@wrong("compare_runs", "percent")
def points_of_hundred(a, b):
    return compared(a, b, 100 * (sum(b) - sum(a)) / len(a))


# -- 06 -------------------------------------------------------------------------------------------------------


@wrong("few_shot_prompt", "question and answer on one line")
def one_line(question, examples, description=""):
    blocks = [description] if description else []
    blocks += [f"Question: {q} Answer: {a}" for q, a in examples]
    return "\n\n".join([*blocks, f"Question: {question} Answer:"])


@wrong("few_shot_prompt", "Q and A")
def letters(question, examples, description=""):
    blocks = [description] if description else []
    blocks += [f"Q: {q}\nA: {a}" for q, a in examples]
    return "\n\n".join([*blocks, f"Q: {question}\nA:"])


@wrong("cut_at_stop", "True and False are swapped")
def ran_on(text, stops):
    end = min([text.index(stop) for stop in stops if stop in text], default=len(text))
    return text[:end], end == len(text)


# -- 07 -------------------------------------------------------------------------------------------------------


@wrong("dpo_loss", "divided by beta")
def over_beta(chosen, rejected, ref_chosen, ref_rejected, beta):
    margin = (chosen.sum() - ref_chosen.sum()) - (rejected.sum() - ref_rejected.sum())
    return F.softplus(-margin / beta)


@wrong("dpo_loss", "no sigmoid")
def bare_margin(chosen, rejected, ref_chosen, ref_rejected, beta):
    return beta * ((rejected.sum() - ref_rejected.sum()) - (chosen.sum() - ref_chosen.sum()))


@wrong("advantages", "the mean of the others")
def leave_one_out(rewards, kl, beta):
    total = rewards - beta * kl
    others = (total.sum(1, keepdim=True) - total) / (total.shape[1] - 1)
    return total - others


def kept(groups, rights, n):
    best = groups.argmax(-1)
    hits = rights.gather(-1, best[..., None]).float().mean()
    return {"reward": groups.max(-1).values.mean(), "right": hits, "kl": math.log(n) - (n - 1) / n}


@wrong("best_of_n", "every so many apart")
def strided(rewards, right, n):
    count = rewards.shape[1] // n
    groups, rights = (torch.stack([x[:, i::count] for i in range(count)], 1) for x in (rewards, right))
    return kept(groups, rights, n)


@wrong("best_of_n", "n groups")
def as_many_groups(rewards, right, n):
    groups, rights = (torch.stack(x.chunk(n, dim=1), 1) for x in (rewards, right))
    return kept(groups, rights, n)


@wrong("own_pairs", "the longest right sample")
def longest(questions, values, samples):
    pairs = []
    for question, value, texts in zip(questions, values, samples):
        good = sorted((t for t in texts if value.lower() in t.lower()), key=len)
        bad = dict.fromkeys(t for t in texts if value.lower() not in t.lower())
        pairs += [{"prompt": question, "chosen": good[-1], "rejected": t} for t in bad if good]
    return pairs


# -- 08 -------------------------------------------------------------------------------------------------------


def gaps(confidence, right, bins):
    place = (confidence * bins).long().clamp(max=bins - 1)
    for b in place.unique():
        inside = place == b
        yield inside.float().mean(), confidence[inside].mean() - right[inside].float().mean()


@wrong("ece", "the worst bin")
def maximum(confidence, right, bins):
    return max(abs(gap) for _, gap in gaps(confidence, right, bins))


@wrong("ece", "no distance")
def signed(confidence, right, bins):
    return sum(share * gap for share, gap in gaps(confidence, right, bins))


@wrong("variety", "the prompts are mixed up")
def one_round_after_the_other(texts, logprobs, times):
    n = len(texts) // times
    distinct = [len({text.strip() for text in texts[i::n]}) for i in range(n)]
    return {"distinct": sum(distinct) / n, "nats": -sum(map(sum, logprobs)) / len(logprobs)}


@wrong("variety", "the sum")
def nats_of_all(texts, logprobs, times):
    parts = [texts[i : i + times] for i in range(0, len(texts), times)]
    distinct = [len({text.strip() for text in part}) for part in parts]
    return {"distinct": sum(distinct) / len(parts), "nats": -sum(map(sum, logprobs))}


# -- 09 -------------------------------------------------------------------------------------------------------


@wrong("clean_orders", "the roles are swapped")
def the_assistant_orders(rows):
    talks = []
    for row in rows:
        row = {key: str("" if value is None else value).strip() for key, value in row.items()}
        record = {key: row[key] for key in ("item", "count", "name", "town")}
        if all(value and value in row["order"] for value in record.values()):
            text = json.dumps(record | {"count": int(record["count"])})
            pair = (("assistant", row["order"]), ("user", text))
            talk = {"messages": [{"role": role, "content": content} for role, content in pair]}
            talks += [talk] if talk not in talks else []
    return talks


@wrong("within_budget", "told for one epoch")
def counted_once(tokenizer, talks, epochs, budget):
    read = learned = taken = 0
    for talk in talks:
        row = loss_mask(tokenizer, talk)
        if epochs * (read + len(row)) > budget:
            break
        read, learned, taken = read + len(row), learned + row.loss_tokens, taken + 1
    return {"talks": taken, "read": read, "learned": learned}


@pytest.mark.parametrize("task, mistake, answer", ANSWERS)
def test_what_the_tasks_text_says_is_told_by_name(task, mistake, answer):
    for seed in (1, 2, 3):
        outcome = examine(task, answer, seed)
        assert (outcome.status, outcome.mistake) == (WRONG, mistake), outcome.message
        assert len(outcome.message) > 40
