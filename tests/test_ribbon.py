"""The token ribbon shows exactly what the tokenizer made of a text, and says everything without colour."""

import json
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from tiny import DATA, reference_tokenizer, tiny_tokenizer, tiny_variant

from course_utils.ribbon import TokenRibbon, role_spans, show_tokens
from course_utils.templates import FAMILIES, toy_tokenizer
from course_utils.tokens import token_text, visible_token

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
]


class Table(HTMLParser):
    """The ribbon's tables as a reader without styles sees them: rows of texts, each led by its header."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.spans: list[list[int]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
            self.spans.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.spans[-1].append(int(dict(attributes).get("colspan", 1)))

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return [
            text
            for row, spans in zip(self.rows, self.spans, strict=True)
            if row[0] == name
            for text, span in zip(row[1:], spans[1:], strict=True)
            for _ in range(span)
        ]


def html(ribbon: TokenRibbon) -> Table:
    table = Table(ribbon._repr_html_())
    table.rows = [row for row in table.rows if row]
    table.rows[-1][-1] = table.rows[-1][-1].split(f"{len(ribbon)} tokens")[
        0
    ]  # the legend follows the last cell
    return table


def test_a_text_is_shown_with_the_tokens_and_ids_the_tokenizer_gives():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("The capital of\nFrance")["input_ids"]
    ribbon = show_tokens(tokenizer, "The capital of\nFrance")
    assert [t.token_id for t in ribbon.tokens] == ids
    table = html(ribbon)
    assert table.row("id") == [str(i) for i in ids]
    assert table.row("token")[0] == "<|endoftext|>"
    assert "".join(table.row("token")[1:]) == "The␣capital␣of↵France"


def test_a_variant_ids_a_tensor_and_what_the_tokenizer_returned_are_all_accepted():
    variant = tiny_variant()
    encoded = variant.tokenizer("The capital", return_tensors="pt")
    expected = show_tokens(variant.tokenizer, "The capital")
    for content in (
        "The capital",
        encoded,
        encoded["input_ids"],
        encoded["input_ids"][0],
        encoded["input_ids"][0].tolist(),
    ):
        assert show_tokens(variant, content) == expected


def test_it_needs_no_script_and_no_style_sheet():
    table = html(show_tokens(tiny_tokenizer(chat=True), CHAT, labels=True))
    assert not {"script", "style", "link", "img"} & table.tags
    assert {"table", "th", "td"} <= table.tags


def test_special_tokens_are_outlined_in_html_and_bracketed_in_text():
    ribbon = show_tokens(tiny_tokenizer(chat=True), CHAT)
    assert {t.text for t in ribbon.tokens if t.special} == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert "[<|im_end|>]" in str(ribbon)
    assert ribbon._repr_html_().count("solid #808080; border-radius") == sum(t.special for t in ribbon.tokens)


def test_roles_come_from_the_template_and_every_token_of_a_turn_has_one():
    tokenizer = tiny_tokenizer(chat=True)
    ribbon = show_tokens(tokenizer, CHAT, add_generation_prompt=False)
    text_of = {
        role: "".join(t.text for t in ribbon.tokens if t.role == role)
        for role in ("system", "user", "assistant")
    }
    assert text_of["system"] == "<|im_start|>system↵Be␣brief.<|im_end|>↵"
    assert text_of["user"] == "<|im_start|>user↵What␣is␣the␣capital␣of␣France?<|im_end|>↵"
    assert text_of["assistant"] == "<|im_start|>assistant↵Paris.<|im_end|>↵"
    assert ribbon.tokens[0].role == "template"
    assert html(ribbon).row("role") == [t.role for t in ribbon.tokens]


def test_an_open_turn_is_called_the_generation_prompt():
    ribbon = show_tokens(tiny_tokenizer(chat=True), CHAT[:2], add_generation_prompt=True)
    opened = "".join(t.text for t in ribbon.tokens if t.role == "generation prompt")
    assert opened == "<|im_start|>assistant↵"


def test_contents_that_repeat_or_are_empty_do_not_confuse_the_roles():
    tokenizer = tiny_tokenizer(chat=True)
    chat = [
        {"role": "user", "content": "user"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "user"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    turns = [(span.role, text[span.start : span.end]) for span in role_spans(tokenizer, chat)]
    user = ("user", "<|im_start|>user\nuser<|im_end|>\n")
    assert turns == [
        ("template", "<|endoftext|>"),
        user,
        ("assistant", "<|im_start|>assistant\n<|im_end|>\n"),
        user,
    ]


def test_roles_of_ones_own_or_none():
    ids = tiny_tokenizer()("The capital")["input_ids"]
    mine = show_tokens(tiny_tokenizer(), ids, roles=["a"] * (len(ids) - 1) + [None])
    assert [t.role for t in mine.tokens] == ["a"] * (len(ids) - 1) + [""]
    assert html(show_tokens(tiny_tokenizer(chat=True), CHAT, roles=False)).row("role") == []


def test_targets_are_the_inputs_moved_one_place_to_the_left_and_the_last_has_none():
    ribbon = show_tokens(tiny_tokenizer(), "The capital of France", labels=True)
    assert [t.target for t in ribbon.tokens] == [t.text for t in ribbon.tokens[1:]] + [""]
    assert html(ribbon).row("target")[-1] == "none"


def test_labels_are_read_in_place_as_the_model_reads_them():
    """Under the input at i stands labels[i + 1]; -100 is ignored, and tells which tokens are in the loss."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer("The capital of France")["input_ids"]
    labels = [-100, -100, *ids[2:]]
    ribbon = show_tokens(tokenizer, ids, labels=labels)
    assert [t.in_loss for t in ribbon.tokens] == [label != -100 for label in labels]
    assert ribbon.tokens[0].target == "ignored"
    assert ribbon.tokens[1].target == ribbon.tokens[2].text
    pre_shifted = show_tokens(tokenizer, ids, labels=[*ids[1:], -100])  # the classic mistake is seen at once
    assert pre_shifted.tokens[0].target == ribbon.tokens[2].text


def test_the_loss_mask_is_underlined_and_said_in_words():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("The capital")["input_ids"]
    mask = torch.tensor([0] + [1] * (len(ids) - 1))
    ribbon = show_tokens(tokenizer, ids, loss_mask=mask)
    assert html(ribbon).row("in the loss") == ["–"] + ["yes"] * (len(ids) - 1)
    assert ribbon._repr_html_().count("<u ") == len(ids) - 1
    masked = show_tokens(tokenizer, ids, loss_mask=mask * 0, labels=True)
    assert {t.target for t in masked.tokens[:-1]} == {"ignored"}


def test_probabilities_stand_below_and_gaps_stay_empty():
    ids = tiny_tokenizer()("The")["input_ids"]
    values = [float("nan"), *[0.25] * (len(ids) - 1)]
    assert html(show_tokens(tiny_tokenizer(), ids, probs=values)).row("probability") == [
        "",
        *["0.250"] * (len(ids) - 1),
    ]


def test_a_text_cannot_put_markup_into_the_page():
    ribbon = show_tokens(tiny_tokenizer(), "<script>alert(1)</script> & <b>")
    assert "script" not in Table(ribbon._repr_html_()).tags
    assert "".join(html(ribbon).row("token")[1:]) == "<script>alert(1)</script>␣&␣<b>"


def test_parts_of_a_character_are_shown_as_bytes():
    shown = [t.text for t in show_tokens(tiny_tokenizer(bos=False), "東").tokens]
    assert shown == ["⟨0xE6⟩", "⟨0x9D⟩", "⟨0xB1⟩"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" Paris", "␣Paris"),
        ("\n", "↵"),
        ("\t\t", "⇥⇥"),
        ("<|im_end|>", "<|im_end|>"),
        ("\u200b", "⟨U+200B⟩"),
        ("\x07", "⟨U+0007⟩"),
        ("\u00a0", "⍽"),
        ("<0x20><0xE6>", "␣⟨0xE6⟩"),
        ("", "∅"),
    ],
)
def test_what_is_invisible_is_made_visible(text, shown):
    assert visible_token(text) == shown


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_gives_a_ribbon_with_one_visible_column_a_token(text):
    tokenizer = tiny_tokenizer_once()
    ribbon = show_tokens(tokenizer, text, labels=True)
    ids = tokenizer(text)["input_ids"]
    assert html(ribbon).row("id") == [str(i) for i in ids]
    assert all(t.text.strip() for t in ribbon.tokens)
    assert str(len(ids)) in str(ribbon)


_cached = {}


def tiny_tokenizer_once():
    return _cached.setdefault("tokenizer", tiny_tokenizer())


def test_the_text_form_puts_each_id_below_its_token():
    lines = str(show_tokens(tiny_tokenizer(), "The capital of France")).splitlines()
    token_line, id_line = lines[0], lines[1]
    ribbon = show_tokens(tiny_tokenizer(), "The capital of France")
    for token in ribbon.tokens:
        label = f"[{token.text}]" if token.special else token.text
        assert id_line[token_line.index(label) :].startswith(str(token.token_id))


def test_a_long_text_is_cut_into_lines_that_lose_nothing():
    ribbon = show_tokens(tiny_tokenizer(), "Once upon a time there was a little girl. " * 12)
    assert html(ribbon).row("id") == [str(t.token_id) for t in ribbon.tokens]
    assert max(len(line) for line in str(ribbon).splitlines()[:-1]) < 130


def test_lengths_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"loss_mask has 2 values for \d+ tokens"):
        show_tokens(tiny_tokenizer(), "The capital of France", loss_mask=[1, 0])


def test_messages_without_a_template_and_things_that_are_no_text_are_refused():
    with pytest.raises(ValueError, match="no chat template"):
        show_tokens(tiny_tokenizer(), CHAT)
    with pytest.raises(TypeError, match="token ids"):
        show_tokens(tiny_tokenizer(), [1.5])


# --- real templates, and tokenizers of real kinds


def test_smollm2s_default_system_turn_belongs_to_the_template():
    tokenizer = reference_tokenizer("smollm2-135m-instruct")
    ribbon = show_tokens(tokenizer, CHAT[1:], add_generation_prompt=False)
    role_text = {
        role: "".join(t.text for t in ribbon.tokens if t.role == role) for role in ("template", "user")
    }
    assert role_text["template"].startswith("<|im_start|>system↵You␣are␣a␣helpful")
    assert role_text["user"].startswith("<|im_start|>user↵What")
    with_system = show_tokens(tokenizer, CHAT)
    assert "template" not in {t.role for t in with_system.tokens}


def test_a_sentencepiece_tokenizer_keeps_its_spaces():
    tokenizer = reference_tokenizer("llama2-spm-from-gguf")
    ids = tokenizer("Hello there")["input_ids"]
    assert [visible_token(token_text(tokenizer, i)) for i in ids][1:] == ["␣Hello", "␣there"]


def test_roles_are_found_in_every_familys_template():
    """Contents lie inside their own turn, turns follow one another and cover the text, for 33 real templates."""
    cases = json.loads((DATA / "chat_template_cases.json").read_text("utf-8"))
    tokenizer = tiny_tokenizer(chat=True)
    checked = 0
    for case in cases:
        tokenizer.chat_template = case["template"]
        for chat in (CHAT[1:], CHAT):
            try:
                text = tokenizer.apply_chat_template(chat, tokenize=False)
            except TemplateError:
                continue  # a family without a system role
            spans = role_spans(tokenizer, chat)
            assert [spans[0].start, spans[-1].end] == [0, len(text)]
            assert all(a.end == b.start for a, b in pairwise(spans))
            for message in chat:
                if message["role"] == "system" or text.count(message["content"]) != 1:
                    continue  # several families fold the system text into the user's turn
                at = text.index(message["content"])
                holder = next(s for s in spans if s.start <= at < s.end)
                assert holder.role == message["role"], (case["name"], text, spans)
                checked += 1
    assert checked > 40


# --- what is given by mistake


@pytest.mark.parametrize("ids", [[-100, -100, 30, 31], torch.tensor([[-100, 30]])])
def test_a_batch_s_labels_are_told_from_ids(ids):
    with pytest.raises(ValueError, match=r"-100.*labels="):
        show_tokens(tiny_tokenizer(), ids)


def test_ids_may_be_numpys_and_beyond_any_vocabulary():
    tokenizer = tiny_tokenizer()
    assert str(show_tokens(tokenizer, list(np.array([30, 31])))) == str(show_tokens(tokenizer, [30, 31]))
    assert [t.text for t in show_tokens(tokenizer, [2**40]).tokens] == [f"<unused␣{2**40}>"]


def test_what_the_template_cannot_render_is_explained():
    with pytest.raises(ValueError, match=r"message 1 \(assistant\) has no content"):
        show_tokens(toy_tokenizer("chatml"), [CHAT[1], {"role": "assistant", "content": None}])
    with pytest.raises(ValueError, match="System role not supported"):
        show_tokens(toy_tokenizer("gemma-2"), CHAT)


def test_a_family_may_be_given_as_the_template():
    text = show_tokens(tiny_tokenizer(), CHAT, chat_template=FAMILIES["chatml"])
    assert str(text) == str(show_tokens(tiny_tokenizer(), CHAT, chat_template=FAMILIES["chatml"].template))


@pytest.mark.parametrize("opened", [False, True])
def test_each_end_belongs_to_its_turn_where_a_template_rewrites_earlier_turns(opened):
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last and m.role == 'assistant' %}<think>{{ m.thought }}"
        "</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>"
        "{% endif %}"
    )
    talk = [{"role": role, "content": word, "thought": "Hm."} for role, word in
            (("user", "Hi"), ("assistant", "Yo"), ("user", "x"), ("assistant", "Z"))]  # fmt: skip
    talk = talk[:3] if opened else talk
    tokens = show_tokens(
        toy_tokenizer("chatml"), talk, add_generation_prompt=opened, chat_template=template
    ).tokens
    assert [t.role for t in tokens if t.text == "<|im_end|>"] == [turn["role"] for turn in talk]
    assert (tokens[-1].role == "generation prompt") == opened
