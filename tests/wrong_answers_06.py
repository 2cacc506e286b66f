"""What learners write in exercise 06: {task: {name of the mistake: code}}, and what their notebook gives them."""

import re

from course_grading.checks import find


def words(text):
    return frozenset(re.findall(r"\w+", text.lower()))


def likeness(one, other):
    a, b = words(one), words(other)
    return len(a & b) / len(a | b)


def prompt_claims(**changed):
    claims = {
        "answers in the frame": "more",
        "examples": "as many",
        "end": "almost none",
        "bare": "almost all",
    }
    chosen = {}
    for claim in find("predict_the_prompt").claims:
        key = next(key for key in claims if key in claim.key)
        chosen[claim.key] = (claims | changed)[key]
    return chosen


SURROUNDINGS = {"words": words, "likeness": likeness, "prompt_claims": prompt_claims}

WRONG_ANSWERS = {
    "few_shot_prompt": {
        "a space at the end": """
            def few_shot_prompt(question, examples, description=""):
                text = description + "\\n\\n" if description else ""
                for q, a in examples:
                    text += f"Question: {q}\\nAnswer: {a}\\n\\n"
                return text + f"Question: {question}\\nAnswer: " """,
        "no open answer": """
            def few_shot_prompt(question, examples, description=""):
                text = description + "\\n\\n" if description else ""
                for q, a in examples:
                    text += f"Question: {q}\\nAnswer: {a}\\n\\n"
                return text + f"Question: {question}" """,
        "no blank line": """
            def few_shot_prompt(question, examples, description=""):
                lines = [description] if description else []
                for q, a in examples:
                    lines += ["Question: " + q, "Answer: " + a]
                return "\\n".join(lines + ["Question: " + question, "Answer:"])""",
        "an empty first block": """
            def few_shot_prompt(question, examples, description=""):
                text = description
                for q, a in examples:
                    text += f"\\n\\nQuestion: {q}\\nAnswer: {a}"
                return text + f"\\n\\nQuestion: {question}\\nAnswer:" """,
        "examples without answers": """
            def few_shot_prompt(question, examples, description=""):
                text = description + "\\n\\n" if description else ""
                for q, a in examples:
                    text += f"Question: {q}\\n\\n"
                return text + f"Question: {question}\\nAnswer:" """,
    },
    "cut_at_stop": {
        "still the colleague's": """
            def cut_at_stop(text, stops):
                places = []
                for stop in stops:
                    places.append(text.find(stop))
                end = min(places)
                return text[:end], end > 0""",
        "the first listed": """
            def cut_at_stop(text, stops):
                for stop in stops:
                    if stop in text:
                        return text[: text.index(stop)], True
                return text, False""",
        "the last place": """
            def cut_at_stop(text, stops):
                end = len(text)
                for stop in stops:
                    if stop in text:
                        end = min(end, text.rindex(stop))
                return text[:end], end < len(text)""",
        "always stopped": """
            def cut_at_stop(text, stops):
                ends = [text.find(stop) for stop in stops if stop in text]
                return text[: min(ends, default=len(text))], True""",
        "not at the start": """
            def cut_at_stop(text, stops):
                end = len(text)
                for stop in stops:
                    if text.find(stop) > 0:
                        end = min(end, text.find(stop))
                return text[:end], end < len(text)""",
        "stripped": """
            def cut_at_stop(text, stops):
                cut = text
                for stop in stops:
                    cut = cut.split(stop)[0]
                return cut.strip(), any(stop in text for stop in stops)""",
    },
    "prompt_cost": {
        "characters": """
            def prompt_cost(tokenizer, prompts):
                n = sum(len(p) for p in prompts)
                shared = 0
                while shared < min(map(len, prompts)) and len({p[shared] for p in prompts}) == 1:
                    shared += 1
                return {"tokens": n, "shared": shared, "with_cache": n - shared * (len(prompts) - 1)}""",
        "without the special token": """
            def prompt_cost(tokenizer, prompts):
                rows = [tokenizer.encode(p, add_special_tokens=False) for p in prompts]
                n, shared = sum(len(row) for row in rows), 0
                while shared < min(map(len, rows)) and len({row[shared] for row in rows}) == 1:
                    shared += 1
                return {"tokens": n, "shared": shared, "with_cache": n - shared * (len(rows) - 1)}""",
        "the shared text, not the shared tokens": """
            def prompt_cost(tokenizer, prompts):
                shared = 0
                while shared < min(map(len, prompts)) and len({p[shared] for p in prompts}) == 1:
                    shared += 1
                shared = len(tokenizer.encode(prompts[0][:shared]))
                n = sum(len(tokenizer.encode(p)) for p in prompts)
                return {"tokens": n, "shared": shared, "with_cache": n - shared * (len(prompts) - 1)}""",
        "never read": """
            def prompt_cost(tokenizer, prompts):
                rows = [tokenizer.encode(p) for p in prompts]
                n, shared = sum(len(row) for row in rows), 0
                while shared < min(map(len, rows)) and len({row[shared] for row in rows}) == 1:
                    shared += 1
                rest = sum(len(row) - shared for row in rows)
                return {"tokens": n, "shared": shared, "with_cache": rest}""",
    },
    "predict_the_prompt": {
        "the frame is decoration": """
            def predict_the_prompt():
                return prompt_claims(**{"answers in the frame": "as many"})""",
        "examples teach facts": """
            def predict_the_prompt():
                return prompt_claims(examples="fewer")""",
        "a frame teaches stopping": """
            def predict_the_prompt():
                return prompt_claims(end="almost all")""",
        "a question begs an answer": """
            def predict_the_prompt():
                return prompt_claims(bare="almost none")""",
    },
    "choose_examples": {
        "the question leaks": """
            def choose_examples(pool, question, k):
                return sorted(pool, key=lambda e: likeness(e[0], question))[-k:]""",
        "the question leaks in other letters": """
            def choose_examples(pool, question, k):
                others = [(q, a) for q, a in pool if q != question]
                return sorted(others, key=lambda e: likeness(e[0], question))[-k:]""",
        "most alike first": """
            def choose_examples(pool, question, k):
                others = [(q, a) for q, a in pool if likeness(q, question) < 1]
                return sorted(others, key=lambda e: likeness(e[0], question), reverse=True)[:k]""",
        "the most shared words": """
            def choose_examples(pool, question, k):
                others = [(q, a) for q, a in pool if words(q) != words(question)]
                return sorted(others, key=lambda e: len(words(question).intersection(words(e[0]))))[-k:]""",
        "one too few": """
            def choose_examples(pool, question, k):
                best = sorted(pool, key=lambda e: likeness(e[0], question))[-k:]
                return [e for e in best if words(e[0]) != words(question)]""",
    },
    "my_prompt": {
        "the bare question": """
            def my_prompt(question):
                return {"prompt": question, "stop": ["###"]}""",
        "a space at the end": """
            def my_prompt(question):
                return {"prompt": f"Question: {question}\\nAnswer: ", "stop": ["\\n"]}""",
        "no stop string": """
            def my_prompt(question):
                return {"prompt": f"# FAQ\\n\\n## {question}\\n", "stop": None}""",
        "stopped before it began": """
            def my_prompt(question):
                return {"prompt": f"# FAQ\\n\\n## {question}", "stop": ["\\n"]}""",
        "values, not sentences": """
            def my_prompt(question):
                return {"prompt": f"Answer in a whole sentence.\\n\\nQuestion: {question}\\nAnswer:", "stop": ["\\n"]}""",
        "the template on the base": """
            def my_prompt(question):
                text = f"<|im_start|>user\\n{question}<|im_end|>\\n<|im_start|>assistant\\n"
                return {"prompt": text, "stop": ["<|im_end|>"]}""",
        "the question is missing": """
            def my_prompt(question):
                return {"prompt": "# FAQ\\n\\n## " + question.lower().rstrip("?") + "\\n", "stop": ["\\n"]}""",
        "the answer leaks": """
            def my_prompt(question):
                from pebble_lm.world import knowledge
                known = " ".join({fact.value for fact in knowledge.facts()})
                return {"prompt": f"{known}\\n\\n# FAQ\\n\\n## {question}\\n", "stop": ["\\n"]}""",
        "another form": """
            def my_prompt(question):
                return f"# FAQ\\n\\n## {question}\\n" """,
    },
}
