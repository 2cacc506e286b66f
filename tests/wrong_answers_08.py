"""What learners write in exercise 08: {task: {name of the mistake: code}}, apart from the checks' own list."""

from course_grading.checks import find
from course_utils.evaluate import mcnemar


def ece(confidence, right, bins):
    place = (confidence * bins).long().clamp(max=bins - 1)
    return sum(
        float(
            (place == b).double().mean()
            * (confidence[place == b].mean() - right[place == b].double().mean()).abs()
        )
        for b in place.unique()
    )


def bill_claims(**changed):
    """A prediction that holds, but for what is changed."""
    claims = {"plain": "more", "harmless": "more", "different": "fewer"} | changed
    return {claim.key: claims[claim.key.split()[0]] for claim in find("predict_the_bill").claims}


WRONG_ANSWERS = {
    "ece": {
        "all bins count alike": """
            def ece(confidence, right, bins):
                place = (confidence * bins).long().clamp(max=bins - 1)
                gaps = [(confidence[place == b].mean() - right[place == b].float().mean()).abs() for b in place.unique()]
                return sum(gaps) / len(gaps)""",
        "one gap for all": """
            def ece(confidence, right, bins):
                return abs(confidence.mean() - right.float().mean())""",
        "the surest answers are lost": """
            def ece(confidence, right, bins):
                error = 0
                for b in range(bins):
                    inside = (confidence >= b / bins) & (confidence < (b + 1) / bins)
                    if inside.any():
                        gap = confidence[inside].mean() - right[inside].float().mean()
                        error += inside.float().mean() * gap.abs()
                return error""",
    },
    "beyond_luck": {
        "more than the average": """
            def beyond_luck(confidence, right, tosses, bins):
                floor = sum(ece(confidence, t < confidence, bins) for t in tosses) / len(tosses)
                return {"floor": floor, "beyond": ece(confidence, right, bins) > floor}""",
        "the tosses are turned": """
            def beyond_luck(confidence, right, tosses, bins):
                lucky = sorted(ece(confidence, confidence < t, bins) for t in tosses)
                own = ece(confidence, right, bins)
                return {"floor": sum(lucky) / len(lucky), "beyond": sum(x < own for x in lucky) >= 0.95 * len(lucky)}""",
        "a fair coin": """
            def beyond_luck(confidence, right, tosses, bins):
                lucky = [ece(confidence, t < 0.5, bins) for t in tosses]
                own = ece(confidence, right, bins)
                return {"floor": sum(lucky) / len(lucky), "beyond": sum(x < own for x in lucky) >= 0.95 * len(lucky)}""",
    },
    "variety": {
        "white space counts": """
            def variety(texts, logprobs, times):
                groups = [set(texts[i:i + times]) for i in range(0, len(texts), times)]
                return {"distinct": sum(map(len, groups)) / len(groups), "nats": -sum(map(sum, logprobs)) / len(texts)}""",
        "all prompts together": """
            def variety(texts, logprobs, times):
                return {"distinct": len({t.strip() for t in texts}), "nats": -sum(map(sum, logprobs)) / len(texts)}""",
        "nats per token": """
            def variety(texts, logprobs, times):
                groups = [{t.strip() for t in texts[i:i + times]} for i in range(0, len(texts), times)]
                every = [x for some in logprobs for x in some]
                return {"distinct": sum(map(len, groups)) / len(groups), "nats": -sum(every) / len(every)}""",
    },
    "judge_refusals": {
        "wrong requests alone": """
            def judge_refusals(before, after):
                pairs = list(zip(before["wrong"], after["wrong"]))
                lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
                if mcnemar(lost, won) >= 0.05:
                    return "no clear change"
                return "better" if won > lost else "worse\"""",
        "noise counts": """
            def judge_refusals(before, after):
                wrong, fine = (
                    (sum(after[k]) > sum(before[k])) - (sum(after[k]) < sum(before[k])) for k in ("wrong", "harmless"))
                if wrong == fine:
                    return {1: "stricter", 0: "no clear change", -1: "laxer"}[wrong]
                return "better" if wrong > fine else "worse\"""",
        "harmless refusals are welcome": """
            def judge_refusals(before, after):
                def way(kind):
                    pairs = list(zip(before[kind], after[kind]))
                    lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
                    return 0 if mcnemar(lost, won) >= 0.05 else 1 if won > lost else -1
                wrong, fine = way("wrong"), -way("harmless")
                if wrong == fine:
                    return {1: "stricter", 0: "no clear change", -1: "laxer"}[wrong]
                return "better" if wrong > fine else "worse\"""",
    },
    "dearest": {
        "over-refusals are a gain": """
            def dearest(bill, before):
                losses = {(m, k): bill[before][k] - v for m, row in bill.items() if m != before for k, v in row.items()}
                return max(losses, key=losses.get)""",
        "only the last model": """
            def dearest(bill, before):
                for model in [m for m in bill if m != before]:
                    losses = {k: bill[before][k] - v for k, v in bill[model].items()}
                    losses["over-refuses"] *= -1
                    worst = (model, max(losses, key=losses.get))
                return worst""",
        "only over-refusals": """
            def dearest(bill, before):
                return max((m for m in bill if m != before), key=lambda m: bill[m]["over-refuses"]), "over-refuses\"""",
        "over-refusals are a gain + only the last model": """
            def dearest(bill, before):
                for model, row in bill.items():
                    losses = {k: bill[before][k] - v for k, v in row.items()}
                return model, max(losses, key=losses.get)""",
        "gains count as losses": """
            def dearest(bill, before):
                moves = {(m, k): abs(bill[before][k] - v) for m, row in bill.items() for k, v in row.items()}
                return max(moves, key=moves.get)""",
        "a share of what was there": """
            def dearest(bill, before):
                losses = {}
                for model in bill:
                    for k, v in bill[model].items():
                        loss = (bill[before][k] - v) / bill[before][k]
                        losses[model, k] = -loss if k.startswith("over-") else loss
                return max(losses, key=losses.get)""",
    },
    "predict_the_bill": {
        "being an assistant is the price": """
            def predict_the_bill():
                return bill_claims(plain="as many")""",
        "more rate, more knowledge": """
            def predict_the_bill():
                return bill_claims(plain="fewer")""",
        "refusing is learned last": """
            def predict_the_bill():
                return bill_claims(harmless="fewer")""",
        "the same data, the same refusals": """
            def predict_the_bill():
                return bill_claims(harmless="as many")""",
        "sampling decides": """
            def predict_the_bill():
                return bill_claims(different="as many")""",
    },
}
# What an exercise's notebook has defined before the task.
SURROUNDINGS = {"ece": ece, "mcnemar": mcnemar, "bill_claims": bill_claims}
