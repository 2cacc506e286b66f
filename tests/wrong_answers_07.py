"""What learners write in exercise 07: {task: {name of the mistake: code}}, apart from the checks' own list."""

from torch.nn import functional as F


def ladder_claims(zero="ln 2", hedged="a part", right="not fewer", climb="they fall"):
    return {
        "loss of DPO before its first step": zero,
        "of pebble-sft's hedging, sampled at temperature 1, pebble-dpo still has": hedged,
        "right answers of pebble-dpo, greedy, against pebble-sft's": right,
        "right answers while a policy climbs its reward without a KL penalty": climb,
    }


SURROUNDINGS = {"F": F, "ladder_claims": ladder_claims}

WRONG_ANSWERS = {
    "dpo_loss": {
        "the margin is turned round": """
            def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
                good, bad = (chosen - ref_chosen).sum(), (rejected - ref_rejected).sum()
                return -F.logsigmoid(beta * (bad - good))""",
        "no reference": """
            def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
                return -F.logsigmoid(beta * (chosen.sum() - rejected.sum()))""",
        "means instead of sums": """
            def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
                good, bad = (chosen - ref_chosen).mean(), (rejected - ref_rejected).mean()
                return F.softplus(-beta * (good - bad))""",
        "beta outside": """
            def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
                good, bad = (chosen - ref_chosen).sum(), (rejected - ref_rejected).sum()
                return -F.logsigmoid(good - bad) * beta""",
        "no minus": """
            def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
                good, bad = (chosen - ref_chosen).sum(), (rejected - ref_rejected).sum()
                return F.logsigmoid(beta * good - beta * bad)""",
        "infinity": """
            def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
                good, bad = (chosen - ref_chosen).sum(), (rejected - ref_rejected).sum()
                return -torch.sigmoid(beta * (good - bad)).log()""",
    },
    "advantages": {
        "the KL is rewarded": """
            def advantages(rewards, kl, beta):
                total = rewards + beta * kl
                return torch.stack([row - row.mean() for row in total])""",
        "one mean for all prompts": """
            def advantages(rewards, kl, beta):
                total = rewards - kl * beta
                return total - total.mean()""",
        "the mean over the wrong direction": """
            def advantages(rewards, kl, beta):
                total = rewards - kl * beta
                return total - total.mean(dim=0)""",
        "no baseline": """
            def advantages(rewards, kl, beta):
                return rewards - kl * beta""",
        "penalised after the baseline": """
            def advantages(rewards, kl, beta):
                centred = rewards - rewards.mean(dim=1)[:, None]
                return centred - beta * kl""",
    },
    "predict_the_ladder": {
        "nothing has been learned, so nothing is lost": """
            def predict_the_ladder():
                return ladder_claims(zero="0")""",
        "the pairs decide": """
            def predict_the_ladder():
                return ladder_claims(zero="another for each pair")""",
        "what the pairs say, the run has done": """
            def predict_the_ladder():
                return ladder_claims(hedged="none")""",
        "only the likeliest answer has moved": """
            def predict_the_ladder():
                return ladder_claims(hedged="all")""",
        "there is always a tax": """
            def predict_the_ladder():
                return ladder_claims(right="fewer")""",
        "more reward is better": """
            def predict_the_ladder():
                return ladder_claims(climb="they rise")""",
    },
    "best_of_n": {
        "right if any is right": """
            def best_of_n(rewards, right, n):
                groups = rewards.view(len(rewards), -1, n)
                hits = right.view_as(groups).amax(-1).float().mean()
                return {"reward": groups.amax(-1).mean(), "right": hits, "kl": math.log(n) - (n - 1) / n}""",
        "the best of all": """
            def best_of_n(rewards, right, n):
                best = rewards.argmax(1)
                rows = torch.arange(len(best))
                hits = right[rows, best].float().mean()
                return {"reward": rewards[rows, best].mean(), "right": hits, "kl": math.log(n) - (n - 1) / n}""",
        "the first group only": """
            def best_of_n(rewards, right, n):
                best = rewards[:, :n].argmax(1)
                rows = torch.arange(len(best))
                hits = right[rows, best].float().mean()
                return {"reward": rewards[rows, best].mean(), "right": hits, "kl": math.log(n) - (n - 1) / n}""",
        "log n alone": """
            def best_of_n(rewards, right, n):
                groups = rewards.view(len(rewards), -1, n)
                reward, best = groups.max(-1)
                hits = right.view_as(groups).gather(-1, best[..., None]).float().mean()
                return {"reward": reward.mean(), "right": hits, "kl": math.log(n)}""",
    },
    "own_pairs": {
        "turned round": """
            def own_pairs(questions, values, samples):
                pairs = []
                for q, v, texts in zip(questions, values, samples):
                    good = sorted((t for t in texts if v.lower() in t.lower()), key=len)
                    bad = dict.fromkeys(t for t in texts if v.lower() not in t.lower())
                    pairs += [dict(prompt=q, chosen=b, rejected=good[0]) for b in bad if good]
                return pairs""",
        "right answers are rejected": """
            def own_pairs(questions, values, samples):
                pairs = []
                for q, v, texts in zip(questions, values, samples):
                    good = sorted((t for t in texts if v.lower() in t.lower()), key=len)
                    bad = [t for t in texts if v.lower() not in t.lower()]
                    for t in dict.fromkeys(bad + [t for t in texts if t in good[1:]]):
                        if good:
                            pairs.append(dict(prompt=q, chosen=good[0], rejected=t))
                return pairs""",
        "the same pair twice": """
            def own_pairs(questions, values, samples):
                pairs = []
                for i, q in enumerate(questions):
                    good = [t for t in samples[i] if values[i].lower() in t.lower()]
                    bad = [t for t in samples[i] if values[i].lower() not in t.lower()]
                    if good:
                        pairs += [dict(prompt=q, chosen=min(good, key=len), rejected=t) for t in bad]
                return pairs""",
        "the first right sample": """
            def own_pairs(questions, values, samples):
                pairs = []
                for q, v, texts in zip(questions, values, samples):
                    good = [t for t in texts if v.lower() in t.lower()]
                    bad = dict.fromkeys(t for t in texts if v.lower() not in t.lower())
                    pairs += [dict(prompt=q, chosen=good[0], rejected=b) for b in bad if good]
                return pairs""",
        "capital letters": """
            def own_pairs(questions, values, samples):
                pairs = []
                for q, v, texts in zip(questions, values, samples):
                    good = [t for t in texts if v in t]
                    for t in dict.fromkeys(texts):
                        if good and v not in t:
                            pairs.append(dict(prompt=q, chosen=min(good, key=len), rejected=t))
                return pairs""",
        "nothing right to choose": """
            def own_pairs(questions, values, samples):
                pairs = []
                for q, v, texts in zip(questions, values, samples):
                    good = [t for t in texts if v.lower() in t.lower()] or [v]
                    for t in dict.fromkeys(texts):
                        if v.lower() not in t.lower():
                            pairs.append(dict(prompt=q, chosen=min(good, key=len), rejected=t))
                return pairs""",
    },
    "keep_checkpoint": {
        "the last": """
            def keep_checkpoint(history):
                return history[-1]["step"]""",
        "the first": """
            def keep_checkpoint(history):
                return min(history, key=lambda row: row["kl"])["step"]""",
        "the highest reward": """
            def keep_checkpoint(history):
                return sorted(history, key=lambda row: -row["reward"])[0]["step"]""",
        "the most right answers": """
            def keep_checkpoint(history):
                return max(history, key=lambda row: row["right"])["step"]""",
        "the least hedging": """
            def keep_checkpoint(history):
                return sorted(history, key=lambda row: row["hedged"])[0]["step"]""",
        "not a step": """
            def keep_checkpoint(history):
                return max(history, key=lambda row: row["right"] - row["hedged"])""",
    },
}
