"""The explorer, worked through its controls as a learner works it; no browser needed. ipywidgets 7.7 and 8."""

import base64
import threading
from html import unescape

import ipywidgets as widgets
import pytest
import torch
from tiny import reference_tokenizer, tiny_llama, tiny_tokenizer, tiny_variant

from course_utils.explorer import Explorer, explore
from course_utils.pairs import Pair
from course_utils.tokens import visible_token
from course_utils.variant import Variant

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(tiny_variant(), tiny_variant(chat=True, seed=1), "tiny")


@pytest.fixture
def explorer(pair) -> Explorer:
    return explore(pair, PROMPT)


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def shown_tokens(explorer: Explorer) -> list[str]:
    return [b.description for b in explorer.token_buttons if b.layout.visibility != "hidden"]


def test_it_starts_with_both_variants_distribution_after_the_prompt(explorer, pair):
    assert explorer.prompt_box.value == PROMPT
    for name in ("base", "instruct"):
        probs = pair[name].next_token_logits(PROMPT).softmax(-1)
        column = explorer.table[f"prob_{name}"]
        assert column.tolist() == pytest.approx(probs[explorer.table["token_id"].tolist()].tolist(), rel=1e-5)
        assert int(probs.argmax()) in set(explorer.table["token_id"])
    assert shown_tokens(explorer) == [visible_token(t) for t in explorer.table["token"]]
    for token in explorer.table["token"]:
        assert visible_token(token) in unescape(explorer.bars.value)


def test_typing_changes_the_distribution(explorer, pair):
    explorer.prompt_box.value = "Once upon a"
    assert explorer.token_ids == pair.instruct.encode("Once upon a")
    best = int(pair.base.next_token_logits("Once upon a").argmax())
    assert best in set(explorer.table["token_id"])


def test_clicking_a_token_appends_exactly_that_id(explorer):
    before = explorer.token_ids
    for number in (2, 0, 4):
        token_id = int(explorer.table["token_id"].iloc[number])
        explorer.token_buttons[number].click()
        assert explorer.token_ids == [*before, token_id]
        before = explorer.token_ids
    assert explorer.prompt_box.value.startswith(PROMPT)
    assert len(explorer.prompt_box.value) > len(PROMPT)


def test_clicked_bytes_become_the_character_they_are_parts_of(explorer, pair):
    """Part of a character has no text of its own; its id must survive, and three of them make a letter."""
    ids = pair.instruct.tokenizer("東", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3
    for token_id in ids:
        explorer.table.loc[0, "token_id"] = token_id  # as if the model had put it first
        explorer.token_buttons[0].click()
    assert explorer.prompt_box.value == PROMPT + "東"
    assert explorer.token_ids[-3:] == ids


def test_a_clicked_sentencepiece_token_keeps_its_space():
    tokenizer = reference_tokenizer("llama2-spm-from-gguf")
    variant = Variant("spm", tiny_llama(len(tokenizer), eos=None), tokenizer)
    spm = Explorer(Pair(variant, variant, "spm"), "The capital")
    spm.table.loc[0, "token_id"] = tokenizer("of")["input_ids"][1]
    spm.token_buttons[0].click()
    assert spm.prompt_box.value == "The capital of"


def test_undo_and_redo_walk_through_the_steps(explorer):
    states = [explorer.token_ids]
    explorer.token_buttons[0].click()
    states.append(explorer.token_ids)
    explorer.token_buttons[1].click()
    states.append(explorer.token_ids)
    assert explorer.redo.disabled and not explorer.undo.disabled
    for expected in (states[1], states[0]):
        explorer.undo.click()
        assert explorer.token_ids == expected
    assert explorer.undo.disabled and explorer.prompt_box.value == PROMPT
    for expected in (states[1], states[2]):
        explorer.redo.click()
        assert explorer.token_ids == expected
    explorer.undo.click()
    explorer.token_buttons[3].click()
    assert explorer.redo.disabled  # a new step ends the old future


def test_a_run_of_keystrokes_is_one_step(explorer):
    for text in ("A", "A ", "A b"):
        explorer.prompt_box.value = text
    explorer.undo.click()
    assert explorer.prompt_box.value == PROMPT


def test_reset_goes_back_to_the_first_prompt_and_can_be_undone(explorer):
    explorer.token_buttons[0].click()
    there = explorer.token_ids
    explorer.reset.click()
    assert explorer.prompt_box.value == PROMPT
    explorer.undo.click()
    assert explorer.token_ids == there


def test_the_template_makes_the_prompt_a_users_turn_for_both_variants(explorer, pair):
    explorer.template.value = True
    expected = pair.instruct.encode([{"role": "user", "content": PROMPT}])
    assert explorer.token_ids == expected
    best = int(pair.base.next_token_logits(expected).argmax())
    assert best in set(explorer.table["token_id"])
    assert "<|im_start|>" in unescape(explorer.reads.value)
    explorer.token_buttons[0].click()
    assert explorer.token_ids[: len(expected)] == expected and len(explorer.token_ids) == len(expected) + 1
    assert explorer.prompt_box.value == PROMPT  # the token went into the answer, not into the question
    explorer.template.value = False
    assert explorer.token_ids == pair.instruct.encode(PROMPT)
    explorer.undo.click()
    assert explorer.template.value and len(explorer.token_ids) == len(expected) + 1


def test_no_template_no_switch(pair):
    alone = explore(Pair(pair.base, pair.base, "bases"), PROMPT)
    assert alone.template.disabled


def test_sampling_settings_reshape_the_bars(explorer):
    spread = explorer.table["prob_base"].max()
    explorer.temperature.value = 0.5
    assert explorer.table["prob_base"].max() > spread
    explorer.temperature.value = 0.0
    assert sorted(explorer.table["prob_base"])[-1] == 1.0
    assert len(explorer.table) <= 2 and len(shown_tokens(explorer)) == len(explorer.table)
    explorer.temperature.value = 1.0
    explorer.top_k.value = 2
    assert (explorer.table["prob_base"] > 0).sum() == 2
    explorer.top_k.value = 0
    explorer.top_p.value = 0.05
    assert (explorer.table["prob_base"] > 0).sum() == 1


@pytest.mark.parametrize(("name", "typed"), [("temperature", 0.5), ("top_k", 2), ("top_p", 0.05)])
def test_a_number_is_typed_or_slid(explorer, name, typed):
    """Beside each slider, which no screen reader can name, stands a number box that does the same."""
    slider, box = getattr(explorer, name), explorer.numbers[name]
    first, before = slider.value, explorer.bars.value
    assert (box.min, box.max, box.step, box.value) == (slider.min, slider.max, slider.step, slider.value)
    box.value = typed
    assert slider.value == typed and explorer.bars.value != before
    slider.value = first
    assert box.value == first and explorer.bars.value == before


def test_a_slid_number_is_shown_without_the_dust_of_its_steps(explorer):
    explorer.temperature.value = 0.1 + 0.2
    assert str(explorer.numbers["temperature"].value) == "0.3"


@pytest.mark.parametrize("name", ["base", "instruct"])
def test_generating_writes_what_the_variant_writes(explorer, pair, name):
    explorer.temperature.value = 0.0
    explorer.generate[name].click()
    explorer.wait()
    expected = pair[name].complete(PROMPT, max_new_tokens=explorer.max_new_tokens)
    written = unescape(explorer.written[name].value)
    assert expected.text in written
    assert {"eos": "ended by itself", "length": f"cut after {explorer.max_new_tokens} tokens"}[
        expected.stop_reason
    ] in written
    assert explorer.stop.disabled


def test_stop_ends_writing_between_two_tokens(pair, monkeypatch):
    explorer = explore(pair, PROMPT, max_new_tokens=100)
    started, go_on = threading.Event(), threading.Event()

    def slowly(self, *_, **__):
        yield "one "
        started.set()
        assert go_on.wait(30)
        yield "two "
        raise AssertionError("went on after Stop")

    monkeypatch.setattr(Variant, "stream_complete", slowly)
    explorer.generate["base"].click()
    assert started.wait(30)
    assert not explorer.stop.disabled
    explorer.stop.click()
    go_on.set()
    explorer.wait()
    assert "stopped by you" in explorer.written["base"].value
    assert "one two" in explorer.written["base"].value
    assert explorer.stop.disabled and explorer.message.value == ""


def test_a_new_prompt_clears_what_was_written(explorer):
    explorer.generate["base"].click()
    explorer.wait()
    assert explorer.written["base"].value
    explorer.token_buttons[0].click()
    assert explorer.written["base"].value == ""


def test_writing_stays_within_the_context(pair):
    long_prompt = "a b " * 62
    explorer = explore(pair, long_prompt)
    room = pair.base.context_length - len(explorer.token_ids)
    assert 0 < room < explorer.max_new_tokens
    explorer.generate["base"].click()
    explorer.wait()
    assert explorer.message.value == ""
    assert explorer.written["base"].value


def test_an_error_is_said_in_the_explorer_and_the_next_step_mends_it(explorer):
    explorer.prompt_box.value = "a b " * 400
    assert "ValueError" in explorer.message.value and "at most 256" in explorer.message.value
    assert shown_tokens(explorer) == []
    explorer.undo.click()
    assert explorer.message.value == ""
    assert len(shown_tokens(explorer)) == explorer.k


def test_an_error_while_writing_is_said_too(explorer, monkeypatch):
    def broken(self, *_, **__):
        raise RuntimeError("out of <memory>")
        yield

    monkeypatch.setattr(Variant, "stream_complete", broken)
    explorer.generate["base"].click()
    explorer.wait()
    assert "RuntimeError" in explorer.message.value
    assert "&lt;memory&gt;" in explorer.message.value
    assert explorer.stop.disabled


def test_a_text_cannot_put_markup_into_the_page(explorer):
    explorer.prompt_box.value = "<img src=x onerror=alert(1)>"
    assert "<img" not in explorer.reads.value + explorer.bars.value


def test_different_vocabularies_are_refused_with_a_sentence(pair):
    tokenizer = tiny_tokenizer(extra_text="zebra zebra zebra zebra quagga quagga quagga quagga")
    other = Variant("other", tiny_llama(len(tokenizer)), tokenizer)
    with pytest.raises(ValueError, match="different vocabularies"):
        explore(Pair(other, pair.instruct, "mixed"))


def test_it_shows_a_widget_a_picture_and_a_sentence_at_once(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.ui.model_id
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert PROMPT in data["text/plain"] and "instruct" in data["text/plain"]
    assert metadata["image/png"]["alt"] == data["text/plain"]


def test_every_control_has_a_name_and_a_token_button_says_what_it_does(explorer):
    for widget in descendants(explorer.ui):
        if isinstance(
            widget,
            (
                widgets.Button,
                widgets.Checkbox,
                widgets.BoundedFloatText,
                widgets.BoundedIntText,
                widgets.Textarea,
            ),
        ):
            assert widget.description, widget
        if isinstance(widget, widgets.Button):
            assert widget.tooltip, widget.description
    first = explorer.table.iloc[0]
    assert str(first["token_id"]) in explorer.token_buttons[0].tooltip
    assert "base" in explorer.bars.value and "instruct" in explorer.bars.value


def test_a_slow_model_is_asked_when_a_control_is_released(pair, monkeypatch):
    from course_utils import explorer as module

    monkeypatch.setattr(module, "SLOW_SECONDS", float("inf"))
    assert explore(pair, PROMPT).prompt_box.continuous_update
    monkeypatch.setattr(module, "SLOW_SECONDS", -1.0)
    slow = explore(pair, PROMPT)
    assert not slow.prompt_box.continuous_update and not slow.temperature.continuous_update


def test_exploring_leaves_no_gradient_behind(explorer, pair):
    explorer.token_buttons[0].click()
    assert all(p.grad is None for p in pair.base.model.parameters())
    assert torch.is_grad_enabled()
