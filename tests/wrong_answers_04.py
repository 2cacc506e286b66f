"""What learners write in exercise 04: {task: {name of the mistake: code}}, apart from the checks' own list."""

from course_utils import formats


def foreseen(one="less than half", two="higher", three="not a number", four="fewer"):
    return {
        "tokens of short conversations that are learned, of all": one,
        "loss of a trained instruct when the labels are moved once more": two,
        "loss when no token has a label": three,
        "answers that end, after a short training without labels on the ends of turns": four,
    }


def chatml_pieces(tokenizer, messages):
    """(role, header, content with its end, line break) of each message, as ids."""
    for message in messages:
        texts = (f"<|im_start|>{message['role']}\n", f"{message['content']}<|im_end|>", "\n")
        yield message["role"], *(tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)


SURROUNDINGS = {"formats": formats, "foreseen": foreseen, "chatml_pieces": chatml_pieces}

WRONG_ANSWERS = {
    "detect_format": {
        "the prompt decides": """
            def detect_format(row):
                if "prompt" in row: return "prompt-completion"
                if "conversations" in row: return "sharegpt"
                if "instruction" in row: return "alpaca"
                if "text" in row: return "text"
                tools = row.get("tools") or any(m.get("tool_calls") for m in row["messages"])
                return "tool-calls" if tools else "messages\"""",
        "the verdict is overlooked": """
            def detect_format(row):
                if "conversations" in row: return "sharegpt"
                if "messages" in row:
                    return "tool-calls" if any(m["role"] == "tool" for m in row["messages"]) else "messages"
                if "rejected" in row: return "preference"
                if "completion" in row: return "prompt-completion"
                return "alpaca" if "output" in row else "text\"""",
        "calls are overlooked": """
            def detect_format(row):
                first = {"conversations": "sharegpt", "messages": "messages", "chosen": "preference",
                         "label": "unpaired-preference", "prompt": "prompt-completion", "output": "alpaca"}
                return next((name for column, name in first.items() if column in row), "text")""",
        "an empty column counts": """
            def detect_format(row):
                row = {k: v for k, v in row.items() if v is not None or k == "tools"}
                if "messages" in row:
                    calls = "tools" in row or any(m["role"] == "tool" for m in row["messages"])
                    return "tool-calls" if calls else "messages"
                first = {"conversations": "sharegpt", "chosen": "preference",
                         "label": "unpaired-preference", "prompt": "prompt-completion", "output": "alpaca"}
                return next((name for column, name in first.items() if column in row), "text")""",
        "text comes first": """
            def detect_format(row):
                row = {k: v for k, v in row.items() if v is not None}
                if "text" in row: return "text"
                if "messages" in row:
                    calls = any(m["role"] == "tool" for m in row["messages"])
                    return "tool-calls" if calls else "messages"
                first = {"conversations": "sharegpt", "chosen": "preference",
                         "label": "unpaired-preference", "prompt": "prompt-completion", "output": "alpaca"}
                return next(name for column, name in first.items() if column in row)""",
    },
    "sharegpt_to_messages": {
        "the roles keep their names": """
            def sharegpt_to_messages(row):
                row["messages"] = [{"role": t["from"], "content": t["value"]} for t in row.pop("conversations")]
                return row""",
        "further columns are lost": """
            def sharegpt_to_messages(row):
                roles = {"system": "system", "human": "user", "gpt": "assistant"}
                return {"messages": [{"role": roles[t["from"]], "content": t["value"]} for t in row["conversations"]]}""",
        "neither end is cut": """
            def sharegpt_to_messages(row):
                roles = {"system": "system", "human": "user", "gpt": "assistant"}
                turns = [{"role": roles[t["from"]], "content": t["value"]} for t in row.pop("conversations")]
                return row | {"messages": turns}""",
        "only the very first turn is looked at": """
            def sharegpt_to_messages(row):
                roles = {"system": "system", "human": "user", "gpt": "assistant"}
                turns = [{"role": roles[t["from"]], "content": t["value"]} for t in row.pop("conversations")]
                if turns[0]["role"] == "assistant": turns = turns[1:]
                if turns[-1]["role"] == "user": turns = turns[:-1]
                return row | {"messages": turns}""",
        "strangers become users": """
            def sharegpt_to_messages(row):
                roles = {"system": "system", "gpt": "assistant"}
                turns = [{"role": roles.get(t["from"], "user"), "content": t["value"]} for t in row.pop("conversations")]
                start = 1 if turns[0]["role"] == "system" else 0
                while turns[start]["role"] == "assistant": del turns[start]
                while turns[-1]["role"] == "user": del turns[-1]
                return row | {"messages": turns}""",
    },
    "label_by_hand": {
        "the end of turn is not learned": """
            def label_by_hand(tokenizer, messages):
                ids, labels = [tokenizer.bos_token_id], [-100]
                for role, header, content, newline in chatml_pieces(tokenizer, messages):
                    ids += header + content + newline
                    learned = content[:-1] if role == "assistant" else [-100] * (len(content) - 1)
                    labels += [-100] * len(header) + learned + [-100] + [-100] * len(newline)
                return {"input_ids": ids, "labels": labels}""",
        "the header is learned": """
            def label_by_hand(tokenizer, messages):
                ids, labels = [tokenizer.bos_token_id], [-100]
                for role, header, content, newline in chatml_pieces(tokenizer, messages):
                    turn = header + content
                    ids += turn + newline
                    labels += (turn if role == "assistant" else [-100] * len(turn)) + [-100] * len(newline)
                return {"input_ids": ids, "labels": labels}""",
        "the labels are shifted": """
            def label_by_hand(tokenizer, messages):
                ids, labels = [tokenizer.bos_token_id], [-100]
                for role, header, content, newline in chatml_pieces(tokenizer, messages):
                    ids += header + content + newline
                    labels += [-100] * len(header) + (content if role == "assistant" else [-100] * len(content))
                    labels += [-100] * len(newline)
                return {"input_ids": ids, "labels": labels[1:] + [-100]}""",
        "only the last answer": """
            def label_by_hand(tokenizer, messages):
                ids, labels = [tokenizer.bos_token_id], []
                for role, header, content, newline in chatml_pieces(tokenizer, messages):
                    ids += header + content + newline
                    labels = [-100] * (len(ids) - len(content + newline)) + content + [-100] * len(newline)
                return {"input_ids": ids, "labels": labels}""",
        "a mask instead of labels": """
            def label_by_hand(tokenizer, messages):
                ids, mask = [tokenizer.bos_token_id], [0]
                for role, header, content, newline in chatml_pieces(tokenizer, messages):
                    ids += header + content + newline
                    mask += [0] * len(header) + [int(role == "assistant")] * len(content) + [0]
                return {"input_ids": ids, "labels": mask}""",
    },
    "collate_rows": {
        "labels and attention by the pad's id": """
            def collate_rows(rows, pad_token_id):
                n = max(len(r["input_ids"]) for r in rows)
                ids = torch.tensor([r["input_ids"] + [pad_token_id] * (n - len(r["input_ids"])) for r in rows])
                labels = torch.tensor([r["labels"] + [-100] * (n - len(r["labels"])) for r in rows])
                labels[ids == pad_token_id] = -100
                return {"input_ids": ids, "labels": labels, "attention_mask": (ids != pad_token_id).int()}""",
        "attention by the pad's id": """
            def collate_rows(rows, pad_token_id):
                n = max(len(r["input_ids"]) for r in rows)
                ids = torch.tensor([r["input_ids"] + [pad_token_id] * (n - len(r["input_ids"])) for r in rows])
                labels = torch.tensor([r["labels"] + [-100] * (n - len(r["labels"])) for r in rows])
                return {"input_ids": ids, "labels": labels, "attention_mask": (ids != pad_token_id).int()}""",
        "padding is learned": """
            def collate_rows(rows, pad_token_id):
                pad = lambda key, filler: torch.nn.utils.rnn.pad_sequence(
                    [torch.tensor(r[key]) for r in rows], batch_first=True, padding_value=filler)
                mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(r["labels"])) for r in rows], batch_first=True)
                ids, labels = pad("input_ids", pad_token_id), pad("labels", pad_token_id)
                return {"input_ids": ids, "labels": labels, "attention_mask": mask}""",
        "the labels are still shifted": """
            def collate_rows(rows, pad_token_id):
                pad = lambda key, filler: torch.nn.utils.rnn.pad_sequence(
                    [torch.tensor(r[key]) for r in rows], batch_first=True, padding_value=filler)
                mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(r["labels"])) for r in rows], batch_first=True)
                ids, labels = pad("input_ids", pad_token_id), pad("labels", -100)
                return {"input_ids": ids, "labels": labels.roll(-1, 1), "attention_mask": mask}""",
    },
    "predict_bugs": {
        "most of it is learned": """
            def predict_bugs():
                return foreseen(one="more than half")""",
        "a shift does not matter": """
            def predict_bugs():
                return foreseen(two="about the same")""",
        "nothing learned, nothing lost": """
            def predict_bugs():
                return foreseen(three="0")""",
        "the model sees the ends, so it learns them": """
            def predict_bugs():
                return foreseen(four="as many")""",
    },
    "repair": {
        "nothing is repaired": """
            def repair(rows):
                return rows""",
        "only the good rows are kept": """
            def repair(rows):
                return formats.validate(rows).good_rows""",
        "repeats stay": """
            def repair(rows):
                return mended([row for row in rows])

            def mended(rows):
                kept = []
                for row in rows:
                    if "instruction" in row:
                        asked = row["instruction"] + ("\\n\\n" + row["input"] if row["input"] else "")
                        row = {"messages": [{"role": "user", "content": asked},
                                            {"role": "assistant", "content": row["output"]}]}
                    turns = [{"role": {"human": "user", "gpt": "assistant"}.get(t["role"], t["role"]),
                              "content": t["content"]} for t in row["messages"]]
                    if turns[-1]["role"] == "user": turns = turns[:-1]
                    if all(t["content"] and t["content"].strip() for t in turns):
                        kept.append({"messages": turns})
                return kept""",
        "open conversations are left out": """
            def repair(rows):
                kept = []
                for row in rows:
                    if "instruction" in row:
                        asked = row["instruction"] + ("\\n" + row["input"] if row["input"] else "")
                        row = {"messages": [{"role": "user", "content": asked},
                                            {"role": "assistant", "content": row["output"]}]}
                    turns = [{"role": {"human": "user", "gpt": "assistant"}.get(t["role"], t["role"]),
                              "content": t["content"]} for t in row["messages"]]
                    good = all(t["content"] and t["content"].strip() for t in turns)
                    if good and turns[-1]["role"] == "assistant" and {"messages": turns} not in kept:
                        kept.append({"messages": turns})
                return kept""",
        "an answer is invented": """
            def repair(rows):
                kept = []
                for row in rows:
                    if "instruction" in row:
                        asked = row["instruction"] + ("\\n" + row["input"] if row["input"] else "")
                        row = {"messages": [{"role": "user", "content": asked},
                                            {"role": "assistant", "content": row["output"]}]}
                    turns = [{"role": {"human": "user", "gpt": "assistant"}.get(t["role"], t["role"]),
                              "content": (t["content"] or "").strip() or "I have no answer."} for t in row["messages"]]
                    if turns[-1]["role"] == "user": turns = turns[:-1]
                    if {"messages": turns} not in kept:
                        kept.append({"messages": turns})
                return kept""",
    },
}
