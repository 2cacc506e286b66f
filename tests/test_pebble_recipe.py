"""The recipe on a toy scale: that it learns, resumes where it stopped, and repeats itself."""

import json

import pytest
import torch

from pebble_lm.factory import recipe
from pebble_lm.factory import tokenizer as pebble_tokenizer

TOY = (
    recipe.Stage(tokens=6 * 2 * 32, rows=2, length=32, mix="early"),
    recipe.Stage(tokens=4 * 2 * 64, rows=2, length=64),
)

TOY_RUN = recipe.SftRun(steps=6, tokens=512, replay_rows=2, muon_lr=0.008, adamw_lr=8e-4)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    pebble_tokenizer.train(characters=100_000).save(str(path))
    return path


@pytest.fixture
def run(tmp_path, tokenizer_file, monkeypatch):
    monkeypatch.setattr(recipe, "SHARD_TOKENS", 2048)
    monkeypatch.setattr(recipe, "SAVE_EVERY", 4)
    monkeypatch.setattr(recipe, "CHUNK", 300)

    def pretrain(name, stages=TOY, **options):
        work = tmp_path / name
        work.mkdir(exist_ok=True)
        if not (work / "tokenizer.json").exists():
            (work / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
        recipe.pretrain(tmp_path / f"{name}-model", work, stages=stages, **options)
        return torch.load(work / "checkpoint.pt", weights_only=True)

    return pretrain


def same(a, b):
    return all(torch.allclose(a["model"][key], b["model"][key], atol=1e-6) for key in a["model"])


def test_batches_continue_where_they_were_left(tokenizer_file, monkeypatch):
    from tokenizers import Tokenizer

    monkeypatch.setattr(recipe, "SHARD_TOKENS", 512)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    everything = [rows for _, rows in recipe.batches(tokenizer, TOY, 7, 0)]
    later = [rows for _, rows in recipe.batches(tokenizer, TOY, 7, 7)]
    assert len(everything) == 10 and len(later) == 3
    assert all(torch.equal(a, b) for a, b in zip(everything[7:], later))
    assert all(rows.shape == (2, 33) for rows in everything[:6]) and everything[-1].shape == (2, 65)


@pytest.mark.slow
def test_an_interrupted_run_ends_like_an_uninterrupted_one(run, monkeypatch):
    whole = run("whole")
    calls = 0
    step = torch.nn.utils.clip_grad_norm_

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("broken")
    healed = run("broken")
    assert healed["step"] == whole["step"] == 10
    assert same(whole, healed)


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_trains(run, monkeypatch):
    monkeypatch.setattr(recipe, "SHARD_TOKENS", 1 << 18)  # the size that a process of its own uses
    one, two = run("one"), run("two", processes=2)
    assert all(torch.allclose(one["model"][k], two["model"][k], atol=0.02) for k in one["model"])


@pytest.mark.slow
def test_sft_trains_on_the_answers_and_saves_a_chat_model(run, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run("for-sft")
    recipe.sft(tmp_path / "for-sft-model", tmp_path / "sft", tmp_path / "sft-work", run=TOY_RUN)
    assert AutoTokenizer.from_pretrained(tmp_path / "sft").chat_template
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "sft").generation_config
    assert config.eos_token_id == [2, 0]
    assert (
        json.loads((tmp_path / "sft" / "config.json").read_text())["vocab_size"]
        == pebble_tokenizer.VOCAB_SIZE
    )


def test_labels_cover_only_what_the_assistant_says(tokenizer_file, monkeypatch):
    from itertools import islice

    from tokenizers import Tokenizer

    monkeypatch.setattr(recipe, "CHUNK", 300)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    for ids, labels in islice(recipe.conversation_batches(tokenizer, 1, 2048), 12):
        assert ids.shape == labels.shape and ids.shape[0] == 2048 // ids.shape[1]
        assert ((labels == -100) | (labels == ids)).all()
        assert ((labels != -100).sum(dim=1) > 0).all()
        ends = (labels == 2).sum(dim=1)
        assert (ends >= 1).all() and ((ids == 2).sum(dim=1) > ends).all()


def test_a_byte_holds_the_nearest_number_or_by_chance_the_one_beside_it():
    weight = torch.randn(300, 300, generator=torch.Generator().manual_seed(0)) * 0.05
    nearest = recipe.in_a_byte(weight).float()
    assert (nearest - weight).norm() / weight.norm() < 0.03
    assert torch.equal(recipe.in_a_byte(nearest).float(), nearest)

    def by_chance(moved):
        return recipe.in_a_byte(moved, torch.Generator().manual_seed(1)).float()

    assert torch.equal(by_chance(nearest), nearest)
    # A change far below the next number is lost to rounding, every time; by chance it is kept on average.
    assert torch.equal(recipe.in_a_byte(nearest + 2e-5).float(), nearest)
    assert 1e-5 < (by_chance(nearest + 2e-5) - nearest).mean() < 3e-5
    assert -3e-5 < (by_chance(nearest - 2e-5) - nearest).mean() < -1e-5
    ends = torch.tensor([[0.0, -0.0, 448.0, -448.0, 2.0**-9]])
    assert torch.equal(by_chance(ends), ends)


def test_what_is_saved_loads_with_plain_transformers(tmp_path, tokenizer_file):
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(recipe.architecture()).eval()
    recipe.save(model, Tokenizer.from_file(str(tokenizer_file)), tmp_path / "out", chat=True)
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < 1.02 * model.num_parameters()
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16 and loaded.lm_head.weight is loaded.model.embed_tokens.weight
    with recipe.as_stored(model):
        inside = {name: weight.clone() for name, weight in model.state_dict().items()}
    exact = LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).state_dict()
    assert all(torch.equal(exact[name], weight) for name, weight in inside.items() if weight.dim() > 1)
    assert not torch.equal(model.lm_head.weight, inside["lm_head.weight"])
