"""Every lesson runs, unchanged, on another pair than Pebble: its vocabulary, its template, its ends.

The pairs are made here: tokenizers (real ones where they lie beside the checkout, otherwise ones built in the same
way) on a small Llama with random weights. Besides SmolLM2's as they are, two more are dressed in other families'
peculiarities: as Gemma has them (SentencePiece, `<s>` in front, a system text inside the first user turn, answers of
a "model"), and as Qwen has them (no BOS, a base that ships a chat template, a default system turn, more rows of
embeddings than tokens). A stand-in of the hub serves the pair under SmolLM2-135M's name, so that the lessons'
sections "on a real pair" run as well, download included. Random weights never end a turn and know no fact, so what is
tested is that nothing breaks, not what is measured.

Running all lessons takes many minutes. Lessons 00 and 01 run by default on SmolLM2's tokenizers; the rest, and the
recording of a lesson's figures, with COURSE_SLOW=1.
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
from hub_standin import HubStandIn
from tiny import reference_tokenizer, tiny_llama

from course_utils import pairs, templates
from tools import notebooks, real_pairs, record_real_pairs

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
QUICK = (("smollm2", "00"), ("smollm2", "01"))
SLOW = pytest.mark.skipif(
    not os.environ.get("COURSE_SLOW"), reason="takes minutes: set COURSE_SLOW=1 to run it"
)


def smollm2(which: str):
    """SmolLM2's own tokenizer of `which`, "base" or "instruct"."""
    return reference_tokenizer(f"smollm2-135m-{which}")


def like_gemma(which: str):
    """A SentencePiece vocabulary with `<s>` in front; the turns of Gemma 3, without a system role."""
    tokenizer = reference_tokenizer("llama2-spm-from-gguf")
    turns = ["<start_of_turn>", "<end_of_turn>"]
    tokenizer.add_special_tokens({"additional_special_tokens": turns})
    if which == "instruct":
        tokenizer.chat_template = templates.FAMILIES["gemma-3"].template
        tokenizer.eos_token = "<end_of_turn>"
    return tokenizer


def like_qwen(which: str):
    """SmolLM2's vocabulary, and a chat template with a default system turn in the base as well."""
    tokenizer = smollm2(which)
    tokenizer.bos_token = None
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.chat_template = smollm2("instruct").chat_template
    return tokenizer


FAMILIES = {"smollm2": (smollm2, 0), "like gemma": (like_gemma, 0), "like qwen": (like_qwen, 128)}


def stand_in_pair(root: Path, family: str) -> tuple[Path, Path]:
    """A base and an instruct with random weights, the second moved a little, and that family's tokenizers."""
    make, padding = FAMILIES[family]
    folders = []
    for which in ("base", "instruct"):
        tokenizer = make(which)
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        model = tiny_llama(
            len(tokenizer) + padding, eos=tokenizer.eos_token_id, hidden_size=48, intermediate_size=96,
            num_hidden_layers=3, pad_token_id=pad, bos_token_id=tokenizer.bos_token_id,
            max_position_embeddings=8192, tie_word_embeddings=True, initializer_range=0.1,
        )  # fmt: skip
        if which == "instruct":
            generator = torch.Generator().manual_seed(1)
            with torch.no_grad():
                for weight in model.parameters():
                    weight += 0.01 * torch.randn(weight.shape, generator=generator)
        folder = root / f"{family.replace(' ', '-')}-{which}"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders.append(folder)
    return tuple(folders)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Gives the two folders of a family's pair, made once."""
    return cache(lambda family: stand_in_pair(tmp_path_factory.mktemp("pair"), family))


@pytest.fixture
def chosen(request, made, tmp_path, monkeypatch) -> str:
    """COURSE_PAIR set to two folders, SmolLM2's or the parameter's, which a stand-in of the hub has as SmolLM2-135M."""
    folders = made(getattr(request, "param", "smollm2"))
    spec = pairs.PAIRS["smollm2-135m"]
    with HubStandIn(dict(zip((spec.base, spec.instruct), folders, strict=True))) as hub:
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("COURSE_DOWNLOAD", "1")  # the last sections fetch nothing unasked
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setenv("COURSE_PAIR", ",".join(map(str, folders)))
        yield os.environ["COURSE_PAIR"]


def printed(notebook) -> str:
    streams = [
        o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream"
    ]
    return "".join(streams)


@pytest.mark.notebooks
@pytest.mark.parametrize(
    "chosen, path",
    [
        pytest.param(
            family, path, id=f"{path.stem}, {family}", marks=() if (family, path.stem[:2]) in QUICK else SLOW
        )
        for path in LESSONS
        for family in FAMILIES
    ],
    indirect=["chosen"],
)
def test_a_lesson_runs_on_a_pair_with_another_vocabulary_and_template(path, chosen, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    done = notebooks.run(notebooks.read(path), folder, timeout=1800)
    said = printed(done)
    assert "No real pair this time." not in said  # the last section found its pair and ran
    assert ("is used and not COURSE_PAIR's" in said) == (path.stem[:2] in real_pairs.OWN_PAIR)


# -- the page


def test_the_page_is_what_the_table_of_pairs_makes():
    assert real_pairs.PAGE.read_text(encoding="utf-8") == real_pairs.page(), "run: python tools/real_pairs.py"


def test_the_page_has_a_row_for_every_pair_and_no_revision_that_nobody_verified():
    made = real_pairs.pairs_table()
    rows = [line.split(" | ") for line in made.splitlines()]
    assert [row[0].strip("| `") for row in rows[2:]] == list(pairs.PAIRS)
    assert "revisions" not in made
    spec = replace(pairs.PAIRS["smollm2-135m"], base_revision="0123456789abcdef" * 2)
    verified = real_pairs.pairs_table(pairs.PAIRS | {spec.name: spec})
    (line,) = [line for line in verified.splitlines() if line.startswith("| `smollm2-135m`")]
    assert line.endswith("| `0123456789ab`, not verified |")


def test_the_ladder_on_the_page_is_that_of_the_pair():
    made = real_pairs.ladder_table(pairs.PAIRS["olmo-2-1b"])
    for rung in ("base", *pairs.PAIRS["olmo-2-1b"].ladder, "instruct"):
        source, _ = pairs._resolve_variant(f"olmo-2-1b-{rung}", None)
        assert f"| `olmo-2-1b-{rung}` | [{source}]" in made


def test_lessons_that_name_their_pair_are_those_the_page_says():
    naming = {
        path.stem[:2]
        for path in LESSONS
        if any("because=" in cell.source for cell in notebooks.read(path).cells if cell.cell_type == "code")
    }
    assert naming == set(real_pairs.OWN_PAIR)


# -- recording


def lesson(*cells) -> nbformat.NotebookNode:
    made = [nbformat.v4.new_markdown_cell(c) if c.startswith("#") else code(c) for c in cells]
    return nbformat.v4.new_notebook(cells=made)


def code(source: str) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"printed by {source}\n")]
    return cell


def test_the_pair_is_named_in_the_last_section_of_a_copy():
    made = record_real_pairs.set_pair(lesson('x = 1\nREAL_PAIR = "smollm2-135m"  # or another'), "qwen3-0.6b")
    assert made.cells[0].source == "x = 1\nREAL_PAIR = 'qwen3-0.6b'  # or another"
    for path in LESSONS:
        read = record_real_pairs.set_pair(notebooks.read(path), "qwen3-0.6b")
        assert sum("= 'qwen3-0.6b'" in cell.source for cell in read.cells) == 1, path.name


def test_of_a_lesson_that_stays_with_pebble_only_the_last_section_is_recorded():
    made = lesson(
        "# T", "a = 1", "## 1 · First", "b", "## 2 · The same on a real pair", "c", "## In one sentence"
    )
    assert [text for name, text in record_real_pairs.recorded(made, True) if name != "heading"] == [
        "printed by c\n"
    ]
    whole = [name for name, _ in record_real_pairs.recorded(made, False)]
    assert whole.count("heading") == 2  # the last heading has nothing under it


def test_a_figure_is_recorded_by_its_description():
    cell = code("plot()")
    data, words = (
        {"image/png": "…", "text/plain": "<Figure>"},
        {"image/png": {"alt": "Both put “Paris” first."}},
    )
    cell.outputs.append(nbformat.v4.new_output("display_data", data=data, metadata=words))
    assert record_real_pairs.texts(cell)[1] == "Figure: Both put “Paris” first."


def test_a_lesson_without_its_pair_is_not_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record_real_pairs.notebooks, "NOTEBOOKS", tmp_path)
    fails = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("raise ValueError('no luck')")])
    none = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("print('No real pair this time. Why.')")]
    )
    for name, notebook in {"00_fails": fails, "01_none": none}.items():
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    assert record_real_pairs.main(["smollm2-135m", "--to", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().err
    assert "00_fails stopped: ValueError: no luck" in told and "01_none: the pair was not to be had" in told


def test_a_pair_that_nobody_knows_is_refused_before_anything_runs(capsys):
    with pytest.raises(SystemExit):
        record_real_pairs.main(["smolm2"])
    assert "known: pebble, smollm2-135m" in capsys.readouterr().err


@SLOW
def test_a_lesson_is_recorded_on_the_pair(chosen, tmp_path):
    assert record_real_pairs.main([chosen, "--lessons", "01", "--to", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").rglob("*.md")
    text = file.read_text(encoding="utf-8")
    assert file.parent.name == "smollm2-base-and-smollm2-instruct"
    assert "Recorded 2" in text and "transformers" in text and "`l01-loss-run`" in text
    assert str(ROOT) not in text and not list((tmp_path / "out").rglob("*.ipynb"))
