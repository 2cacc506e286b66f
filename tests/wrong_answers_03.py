"""What learners write in exercise 03: {task: {name of the mistake: code}}, apart from the checks' own list."""

import re

from course_utils import toy_tokenizer


def rendered(template, messages, add_generation_prompt):
    return toy_tokenizer("zephyr").apply_chat_template(
        messages, chat_template=template.strip(), add_generation_prompt=add_generation_prompt, tokenize=False
    )


def predicted(one="seldom", two="seldom", three="mostly", four="mostly"):
    return {
        "right answers of the instruct, asked without a template": one,
        "right answers of the base, asked in the instruct's template": two,
        "obeys a system turn that a user forged": three,
        "obeys it after sanitising": four,
    }


SURROUNDINGS = {"re": re, "rendered": rendered, "predicted": predicted}

WRONG_ANSWERS = {
    "render_chatml": {
        "no line break after the end of turn": """
            def render_chatml(messages, add_generation_prompt=False, continue_final_message=False):
                text = ""
                for m in messages:
                    text += "<|im_start|>" + m["role"] + "\\n" + m["content"] + "<|im_end|>"
                return text""",
        "contents are stripped": """
            def render_chatml(messages, add_generation_prompt=False, continue_final_message=False):
                return "".join(f"<|im_start|>{m['role']}\\n{m['content'].strip()}<|im_end|>\\n" for m in messages)""",
        "the generation prompt is missing": """
            def render_chatml(messages, add_generation_prompt=False, continue_final_message=False):
                return "".join(f"<|im_start|>{m['role']}\\n{m['content']}<|im_end|>\\n" for m in messages)""",
        "the generation prompt has no line break": """
            def render_chatml(messages, add_generation_prompt=False, continue_final_message=False):
                turns = [f"<|im_start|>{m['role']}\\n{m['content']}<|im_end|>\\n" for m in messages]
                if add_generation_prompt:
                    turns.append("<|im_start|>assistant")
                return "".join(turns)""",
        "the open turn is closed": """
            def render_chatml(messages, add_generation_prompt=False, continue_final_message=False):
                turns = [f"<|im_start|>{m['role']}\\n{m['content']}<|im_end|>\\n" for m in messages]
                return "".join(turns) + "<|im_start|>assistant\\n" * add_generation_prompt""",
        "the end of turn stays on": """
            def render_chatml(messages, add_generation_prompt=False, continue_final_message=False):
                turns = [f"<|im_start|>{m['role']}\\n{m['content']}<|im_end|>\\n" for m in messages]
                text = "".join(turns) + "<|im_start|>assistant\\n" * add_generation_prompt
                return text.rstrip("\\n") if continue_final_message else text""",
    },
    "prompt_ids": {
        "both bugs are left": """
            def prompt_ids(tokenizer, messages):
                return tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]""",
        "two BOS": """
            def prompt_ids(tokenizer, messages):
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                return tokenizer(text).input_ids""",
        "no generation prompt": """
            def prompt_ids(tokenizer, messages):
                text = tokenizer.apply_chat_template(messages, tokenize=False)
                return tokenizer(text, add_special_tokens=False)["input_ids"]""",
        "the first token is always dropped": """
            def prompt_ids(tokenizer, messages):
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                return tokenizer.encode(text)[1:]""",
        "the whole encoding": """
            def prompt_ids(tokenizer, messages):
                return tokenizer.apply_chat_template(messages, add_generation_prompt=True)""",
    },
    "predict_templates": {
        "the weights alone answer": """
            def predict_templates():
                return predicted(one="mostly")""",
        "the template makes the instruct": """
            def predict_templates():
                return predicted(two="mostly")""",
        "the model knows who wrote it": """
            def predict_templates():
                return predicted(three="seldom")""",
        "not one of the choices": """
            def predict_templates():
                return predicted(four="never")""",
    },
    "end_of_turn_id": {
        "the tokenizer's eos token": """
            def end_of_turn_id(tokenizer):
                return tokenizer.convert_tokens_to_ids(tokenizer.eos_token)""",
        "the end of the user's turn": """
            def end_of_turn_id(tokenizer):
                text = tokenizer.apply_chat_template([{"role": "user", "content": "Hello there"}], tokenize=False)
                ids = tokenizer(text.split("Hello there")[1], add_special_tokens=False)["input_ids"]
                return [i for i in ids if i in tokenizer.all_special_ids][0]""",
        "the opening of a turn": """
            def end_of_turn_id(tokenizer):
                talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
                ids = tokenizer.apply_chat_template(talk)["input_ids"]
                return next(i for i in ids if i in tokenizer.all_special_ids)""",
        "the token's text": """
            def end_of_turn_id(tokenizer):
                talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "QQQ"}]
                rest = tokenizer.apply_chat_template(talk, tokenize=False).split("QQQ")[1]
                return min(tokenizer.all_special_tokens, key=lambda t: rest.index(t) if t in rest else 99)""",
    },
    "harbour": {
        "line breaks of the template's own": '''
            def harbour(messages, add_generation_prompt=False):
                template = """
            {% set has_system = messages[0]['role'] == 'system' %}
            {{ bos_token }}
            {% for m in (messages[1:] if has_system else messages) %}
            {% if m['role'] == 'user' %}
            {{ '[ask]' }}{% if loop.first and has_system %}{{ messages[0]['content'] }}{% endif %}{{ m['content'] + '[/ask]' }}
            {% else %}
            {{ '[answer]' + m['content'].strip() + eos_token }}
            {% endif %}
            {% endfor %}
            {% if add_generation_prompt %}
            {{ '[answer]' }}
            {% endif %}
            """
                return rendered(template, messages, add_generation_prompt)''',
        "never a generation prompt": """
            def harbour(messages, add_generation_prompt=False):
                template = (
                    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[ask]{{ m.content }}[/ask]"
                    "{% elif m.role == 'assistant' %}[answer]{{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
                )
                return rendered(template, messages, add_generation_prompt)""",
        "the answer is not trimmed": """
            def harbour(messages, add_generation_prompt=False):
                template = (
                    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[ask]{{ m.content }}[/ask]"
                    "{% else %}[answer]{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
                    "{% if add_generation_prompt %}[answer]{% endif %}"
                )
                return rendered(template, messages, add_generation_prompt)""",
        "the system message is lost": """
            def harbour(messages, add_generation_prompt=False):
                template = (
                    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[ask]{{ m.content }}[/ask]"
                    "{% elif m.role == 'assistant' %}[answer]{{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
                    "{% if add_generation_prompt %}[answer]{% endif %}"
                )
                return rendered(template, messages, add_generation_prompt)""",
        "the system message in every user turn": """
            def harbour(messages, add_generation_prompt=False):
                template = (
                    "{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\\n\\n' %}"
                    "{% else %}{% set s = '' %}{% endif %}{{ bos_token }}"
                    "{% for m in messages %}{% if m.role == 'user' %}[ask]{{ s + m.content }}[/ask]"
                    "{% elif m.role == 'assistant' %}[answer]{{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
                    "{% if add_generation_prompt %}[answer]{% endif %}"
                )
                return rendered(template, messages, add_generation_prompt)""",
    },
    "safe_ids": {
        "nothing is done": """
            def safe_ids(tokenizer, messages):
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                return tokenizer(text, add_special_tokens=False)["input_ids"]""",
        "the template's own marks are gone": """
            def safe_ids(tokenizer, messages):
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]""",
        "only ChatML's marks": """
            def safe_ids(tokenizer, messages):
                safe = []
                for m in messages:
                    text = m["content"]
                    for mark in ("<|im_start|>", "<|im_end|>"):
                        text = text.replace(mark, mark.replace("|", " "))
                    safe.append({"role": m["role"], "content": text})
                return tokenizer.apply_chat_template(safe, add_generation_prompt=True)["input_ids"]""",
        "removed once": """
            def safe_ids(tokenizer, messages):
                marks = "|".join(re.escape(mark) for mark in tokenizer.all_special_tokens)
                safe = [{**m, "content": re.sub(marks, "", m["content"])} for m in messages]
                return tokenizer.apply_chat_template(safe, add_generation_prompt=True)["input_ids"]""",
        "only the user's messages": """
            def safe_ids(tokenizer, messages):
                safe = []
                for m in messages:
                    text = m["content"]
                    if m["role"] == "user":
                        for mark in tokenizer.all_special_tokens:
                            text = text.replace(mark, mark[0] + "_" + mark[1:])
                    safe.append({**m, "content": text})
                return tokenizer.apply_chat_template(safe, add_generation_prompt=True)["input_ids"]""",
    },
}
