"""What learners write in exercise 05: {task: {name of the mistake: code}}, and what their notebook gives them."""

from torch.nn import functional as F

from course_grading.checks import find
from course_grading.checks.ex05 import ASKING, ENDING
from course_utils import Variant, train, wilson
from course_utils.evaluate import mcnemar


def run_claims(**changed):
    claims = {"half": ASKING, "mentions": "more", "kinds": "fewer"}
    chosen = {}
    for claim in find("predict_the_run").claims:
        key = next(key for key in claims if key in claim.key)
        chosen[claim.key] = (claims | changed)[key]
    return chosen


def verdict(difference, clear):
    return "cannot tell" if not clear else "better" if difference > 0 else "worse"


SURROUNDINGS = {
    "F": F,
    "Variant": Variant,
    "train": train,
    "mcnemar": mcnemar,
    "run_claims": run_claims,
    "verdict": verdict,
    "ENDING": ENDING,
    "wilson": wilson,
}

LOOP = """
    def train_losses(new_model, batches, pad_token_id, lr):
        model, losses = new_model(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        for ids, mask in batches:
            logits = model(ids).logits
            labels = ids.clone()
            labels[mask == {hidden}] = -100
            {end}
            loss = F.cross_entropy({logits}.flatten(0, 1), {labels}.flatten())
            {zero}
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
        return losses"""


def loop(**bugs):
    parts = {
        "hidden": 0,
        "end": "pass",
        "logits": "logits[:, :-1]",
        "labels": "labels[:, 1:]",
        "zero": "optimizer.zero_grad()",
    }
    return LOOP.format(**parts | bugs)


HIDES_THE_END = "labels[labels == pad_token_id] = -100"

WRONG_ANSWERS = {
    "sft_loss": {
        "not shifted": """
            def sft_loss(logits, input_ids, mask):
                labels = input_ids.masked_fill(mask == 0, -100)
                return F.cross_entropy(logits.flatten(0, 1), labels.flatten())""",
        "the mask is not shifted": """
            def sft_loss(logits, input_ids, mask):
                logprobs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
                return -logprobs[mask[:, :-1] == 1].mean()""",
        "no mask": """
            def sft_loss(logits, input_ids, mask):
                return F.cross_entropy(logits[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten())""",
        "divided by all tokens": """
            def sft_loss(logits, input_ids, mask):
                logprobs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
                return -(logprobs * mask[:, 1:]).mean()""",
        "the mean of the rows": """
            def sft_loss(logits, input_ids, mask):
                means = []
                for row, ids, learned in zip(logits, input_ids, mask):
                    logprobs = row[:-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
                    means.append(-(logprobs * learned[1:]).sum() / max(1, learned[1:].sum()))
                return sum(means) / len(means)""",
        "the sum": """
            def sft_loss(logits, input_ids, mask):
                labels = input_ids.masked_fill(mask == 0, -100)[:, 1:]
                return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum")""",
    },
    "train_losses": {
        "the wrong side of the mask": loop(hidden=1),
        "not shifted": loop(logits="logits", labels="labels"),
        "the end is hidden": loop(end=HIDES_THE_END),
        "gradients pile up": loop(zero=""),
        "not shifted + gradients pile up": loop(logits="logits", labels="labels", zero="pass"),
        "the wrong side of the mask + not shifted + the end is hidden + gradients pile up": loop(
            hidden=1, end=HIDES_THE_END, logits="logits", labels="labels", zero="pass"
        ),
        "nothing is learned": loop().replace("optimizer.step()", "pass"),
    },
    "predict_the_run": {
        "the end comes first": """
            def predict_the_run():
                return run_claims(half=ENDING)""",
        "answers have to be taught": """
            def predict_the_run():
                return run_claims(mentions="as many")""",
        "what is not mentioned is not touched": """
            def predict_the_run():
                return run_claims(kinds="as many")""",
    },
    "replay_loss": {
        "a mixture": """
            def replay_loss(model, input_ids, mask, old_ids, weight):
                labels = input_ids.masked_fill(mask == 0, -100)[:, 1:]
                new = F.cross_entropy(model(input_ids).logits[:, :-1].flatten(0, 1), labels.flatten())
                old = F.cross_entropy(model(old_ids).logits[:, :-1].flatten(0, 1), old_ids[:, 1:].flatten())
                return (1 - weight) * new + weight * old""",
        "no weight": """
            def replay_loss(model, input_ids, mask, old_ids, weight):
                labels = input_ids.masked_fill(mask == 0, -100)[:, 1:]
                new = F.cross_entropy(model(input_ids).logits[:, :-1].flatten(0, 1), labels.flatten())
                old = F.cross_entropy(model(old_ids).logits[:, :-1].flatten(0, 1), old_ids[:, 1:].flatten())
                return new + old""",
        "the prompts are learned too": """
            def replay_loss(model, input_ids, mask, old_ids, weight):
                new = F.cross_entropy(model(input_ids).logits[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten())
                old = F.cross_entropy(model(old_ids).logits[:, :-1].flatten(0, 1), old_ids[:, 1:].flatten())
                return new + weight * old""",
        "only the conversations": """
            def replay_loss(model, input_ids, mask, old_ids, weight):
                labels = input_ids.masked_fill(mask == 0, -100)[:, 1:]
                return F.cross_entropy(model(input_ids).logits[:, :-1].flatten(0, 1), labels.flatten())""",
    },
    "compare_runs": {
        "the larger rate wins": """
            def compare_runs(a, b):
                gap = sum(b) / len(b) - sum(a) / len(a)
                p = mcnemar(sum(x > y for x, y in zip(a, b)), sum(y > x for x, y in zip(a, b)))
                return {"difference": gap, "p_value": p, "verdict": verdict(gap, True)}""",
        "do the intervals overlap": """
            def compare_runs(a, b):
                gap = sum(b) / len(b) - sum(a) / len(a)
                p = mcnemar(sum(x > y for x, y in zip(a, b)), sum(y > x for x, y in zip(a, b)))
                (l, h), (m, i) = wilson(sum(a), len(a)), wilson(sum(b), len(b))
                return {"difference": gap, "p_value": p, "verdict": verdict(gap, l > i or m > h)}""",
        "all successes": """
            def compare_runs(a, b):
                gap = sum(b) / len(b) - sum(a) / len(a)
                p = mcnemar(sum(a), sum(b))
                return {"difference": gap, "p_value": p, "verdict": verdict(gap, p < 0.05)}""",
        "the other direction": """
            def compare_runs(a, b):
                gap = sum(a) / len(a) - sum(b) / len(b)
                p = mcnemar(sum(x > y for x, y in zip(a, b)), sum(y > x for x, y in zip(a, b)))
                return {"difference": gap, "p_value": p, "verdict": verdict(gap, p < 0.05)}""",
    },
    "keep_facts": {
        "too little training": """
            def keep_facts(base, tokenizer, examples, old_texts):
                return train.sft(base, examples, tokenizer=tokenizer, steps=2, lr=5e-4, batch_size=12, progress=False)""",
        "facts are overwritten": """
            def keep_facts(base, tokenizer, examples, old_texts):
                return train.sft(base, examples, tokenizer=tokenizer, epochs=4, lr=4e-3, batch_size=12, progress=False)""",
        "nothing was trained": """
            def keep_facts(base, tokenizer, examples, old_texts):
                return Variant("new", base.model, tokenizer)""",
        "the base itself was trained": """
            def keep_facts(base, tokenizer, examples, old_texts):
                return train.sft(base, examples, tokenizer=tokenizer, steps=1, copy=False, progress=False)""",
        "not a variant": """
            def keep_facts(base, tokenizer, examples, old_texts):
                train.sft(base, examples, tokenizer=tokenizer, steps=1, progress=False)""",
    },
}
