"""Loading pairs: what is taken from where, and each error under its own name with advice."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hub_standin import COMMIT, HubStandIn
from tiny import save, shared, smollm2, tiny_llama, tiny_tokenizer, tiny_variant

from course_utils import network as finding
from course_utils import pairs
from course_utils.errors import (
    BadFolderError,
    MissingTokenizerError,
    NotACausalLMError,
    NotFoundError,
    PairError,
    VocabularyMismatch,
)
from course_utils.pairs import PAIRS, load_pair, load_variant


@pytest.fixture(autouse=True)
def forgotten():
    yield
    pairs.unload()


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Saved models: a base, its instruct, and broken relatives."""
    root = tmp_path_factory.mktemp("models")
    base = save(root / "tiny-base", tiny_variant())
    made = {"base": base, "instruct": save(root / "tiny-chat", tiny_variant(chat=True))}
    for name in ("no-tokenizer", "no-weights", "no-config", "half-weights", "unknown-kind", "masked"):
        made[name] = shutil.copytree(base, root / name)
    for file in made["no-tokenizer"].glob("tokenizer*"):
        file.unlink()
    (made["no-weights"] / "model.safetensors").unlink()
    (made["no-config"] / "config.json").unlink()
    (made["half-weights"] / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:4000])
    change_config(made["unknown-kind"], model_type="abacus")
    change_config(made["masked"], architectures=["LlamaForSequenceClassification"])
    return made


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


# -- from local folders


def test_a_pair_of_folders_is_loaded_and_iterates_base_first(folders):
    pair = load_pair((folders["base"], folders["instruct"]))
    base, instruct = pair
    assert (base.name, instruct.name) == ("tiny-base", "tiny-chat") == tuple(v.name for v in pair)
    assert pair["base"] is base and pair.instruct is instruct
    assert not base.has_chat_template and instruct.has_chat_template
    assert instruct.eos_token_ids == [2, 0]
    assert not base.model.training
    assert "tiny-base" in repr(pair) and "same vocabulary" in repr(pair)


def test_each_variant_is_loaded_once(folders):
    first, again = load_variant(folders["base"]), load_variant(str(folders["base"]) + "/")
    assert first is again is load_pair((folders["base"], folders["instruct"])).base
    assert load_variant(folders["base"], reload=True) is not first
    assert load_variant(folders["base"], dtype=torch.bfloat16) is not first


def test_float32_on_the_cpu_whatever_the_checkpoint_is_saved_in(tmp_path, folders):
    half = load_variant(folders["base"], device="cpu", dtype=torch.bfloat16)
    save(tmp_path / "half", half)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_variant(tmp_path / "half", device="cpu").model.dtype == torch.float32


def test_course_pair_chooses_the_pair(monkeypatch, folders):
    monkeypatch.setenv("COURSE_PAIR", f"{folders['base']}, {folders['instruct']}")
    assert load_pair().name == "tiny-base / tiny-chat"


def test_a_lesson_that_names_its_pair_says_why_if_another_was_chosen(monkeypatch, folders, capsys):
    monkeypatch.setattr(pairs, "load_variant", lambda *_, **__: tiny_variant())
    for chosen, says in (("", False), ("pebble", False), ("smollm2-135m", True), ("a,b", True)):
        monkeypatch.setenv("COURSE_PAIR", chosen)
        assert load_pair("pebble", because="the facts are its own").name == "pebble"
        printed = capsys.readouterr().out
        assert printed.count("\n") == says
        assert ("the facts are its own" in printed and chosen in printed) or not says


def test_the_default_is_pebble(monkeypatch):
    monkeypatch.delenv("COURSE_PAIR", raising=False)
    asked = []
    monkeypatch.setattr(
        pairs, "load_variant", lambda source, **_: asked.append(Path(source).name) or tiny_variant()
    )
    assert load_pair().name == "pebble"
    assert asked == ["pebble-base", "pebble-dpo"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("qwen3-0.6b-base", "Qwen/Qwen3-0.6B-Base"),
        ("olmo-2-1b-dpo", "allenai/OLMo-2-0425-1B-DPO"),
        ("pebble-sft", str(pairs.PEBBLE_MODELS / "pebble-sft")),
        ("pebble-chat", str(pairs.PEBBLE_MODELS / "pebble-chat")),
        ("someone/some-model", "someone/some-model"),
    ],
)
def test_short_names_of_variants_lead_to_their_source(name, source):
    assert pairs._resolve_variant(name, None) == (source, None)


def test_the_table_lists_every_pair_with_what_it_costs():
    table = pairs.table()
    assert table["name"].tolist() == list(PAIRS)
    assert (table.loc[table["name"] != "pebble", "download_mb"] > 0).all()
    assert table.set_index("name").loc["llama-3.2-1b", "gated"]
    assert all(spec.base_revision is None for spec in PAIRS.values())  # no commit hash has been verified


def test_a_misspelt_pair_is_answered_with_the_nearest_name():
    with pytest.raises(NotFoundError, match="Did you mean 'smollm2-135m'"):
        load_pair("smolm2-135m")
    with pytest.raises(ValueError, match="two folders or hub ids"):
        load_pair("a,b,c")


@pytest.mark.parametrize(
    ("which", "error", "says"),
    [
        ("no-tokenizer", MissingTokenizerError, "comes without a tokenizer"),
        ("no-weights", BadFolderError, "no weights"),
        ("no-config", BadFolderError, "no config.json"),
        ("half-weights", BadFolderError, "could not be read"),
        ("unknown-kind", NotACausalLMError, "ForCausalLM"),
        ("masked", NotACausalLMError, "LlamaForSequenceClassification"),
    ],
)
def test_broken_folders_are_told_apart(folders, which, error, says):
    with pytest.raises(error, match=says) as caught:
        load_variant(folders[which])
    assert isinstance(caught.value, PairError)
    assert which in str(caught.value)


def test_an_encoder_is_no_causal_language_model(tmp_path):
    from transformers import CLIPTextConfig, T5Config

    for config in (
        T5Config(architectures=["T5EncoderModel"]),
        CLIPTextConfig(architectures=["CLIPTextModel"]),
    ):
        folder = tmp_path / config.model_type
        config.save_pretrained(folder)
        (folder / "model.safetensors").write_bytes(b"never read")
        with pytest.raises(NotACausalLMError, match=config.architectures[0]):
            load_variant(folder)


def test_weights_that_are_not_all_there_do_not_become_random_ones(tmp_path, folders):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["base"], tmp_path / "lacking")
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadFolderError, match="lacks 1 of the weights"):
        load_variant(folder)


def test_a_tokenizer_may_come_from_elsewhere(folders):
    variant = load_variant(folders["no-tokenizer"], tokenizer=folders["base"])
    assert variant.complete("The", 3).token_ids == load_variant(folders["base"]).complete("The", 3).token_ids


@pytest.mark.parametrize("missing", ["./not/here", "/not/here", "not here", "C:\\models\\x"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(missing, monkeypatch):
    monkeypatch.setattr(finding, "network_reachable", lambda *_: pytest.fail("asked the network"))
    with pytest.raises(BadFolderError, match="no folder"):
        load_variant(missing)


def test_a_pebble_checkpoint_that_does_not_exist_names_those_that_do():
    with pytest.raises(BadFolderError, match="no checkpoint 'pebble-nothing'"):
        load_variant("pebble-nothing")


# -- vocabularies


def test_different_vocabularies_load_but_are_not_compared(tmp_path, folders):
    other = tiny_tokenizer(chat=True, extra_text="zebra quagga okapi zebra quagga okapi " * 9)
    from course_utils.variant import Variant

    folder = save(tmp_path / "other", Variant("other", tiny_llama(len(other)), other))
    pair = load_pair((folders["base"], folder))
    assert not pair.same_vocabulary
    assert "different vocabularies" in repr(pair)
    with pytest.raises(VocabularyMismatch, match="different tokens"):
        pair.require_same_vocabulary()
    assert issubclass(VocabularyMismatch, ValueError)


def test_tokens_added_at_the_end_leave_the_vocabulary_comparable(tmp_path, folders):
    from course_utils.variant import Variant

    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.add_special_tokens({"pad_token": "<|extra|>"})
    folder = save(tmp_path / "grown", Variant("grown", tiny_llama(len(tokenizer)), tokenizer))
    assert load_pair((folders["base"], folder)).same_vocabulary


def test_smollm2s_real_tokenizers_make_a_pair(tmp_path):
    pair = load_pair([save(tmp_path / w, smollm2(w)) for w in ("base", "instruct")])
    assert pair.same_vocabulary
    assert not pair.base.has_chat_template and pair.instruct.has_chat_template
    assert pair.instruct.chat("Hi", max_new_tokens=2).prompt.endswith("<|im_start|>assistant\n")


def test_the_real_stories_model_loads_and_tells_a_story():
    variant = load_variant(shared("stories260K"))
    assert variant.next_token_probs("Once upon a")["token"][0] == " time"
    assert not load_pair((shared("stories260K"), shared("stories260K"))).base.has_chat_template


# -- threads


@pytest.mark.slow
def test_a_tiny_model_gets_one_thread_and_a_wish_is_respected(folders):
    code = f"from course_utils import load_variant; import torch; load_variant({str(folders['base'])!r}, device='cpu');"
    code += "print(torch.get_num_threads())"
    plain = {
        k: v
        for k, v in os.environ.items()
        if k not in ("OMP_NUM_THREADS", "COURSE_THREADS", "MKL_NUM_THREADS")
    }
    assert python(code, plain).stdout.strip() == "1"
    assert python(code, plain | {"COURSE_THREADS": "3"}).stdout.strip() == "3"


# -- from the hub, played by a stand-in


def python(code: str, environment: dict) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def hub_environment(url: str, home: Path) -> dict:
    """The hub's client reads its address and its cache folder when it is imported: hence a process of its
    own."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()
    }
    return kept | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }


LOAD = """
import sys
from course_utils.pairs import load_variant, PairError
for name in {names!r}:
    try:
        variant = load_variant(name, **{options!r})
        print(name, "ok", variant.name, variant.has_chat_template, len(variant.complete("The", 3).token_ids))
    except PairError as error:
        print(name, type(error).__name__, error, sep=" | ")
print("torch loaded" if "torch" in sys.modules else "torch not loaded")
"""


def load_in_fresh_process(url: str, home: Path, *names: str, **options) -> list[str]:
    done = python(LOAD.format(names=names, options={"device": "cpu"} | options), hub_environment(url, home))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[:-1]


@pytest.fixture(scope="module")
def hub(folders, tmp_path_factory):
    encoder = tmp_path_factory.mktemp("encoder")
    from transformers import T5Config

    T5Config(architectures=["T5EncoderModel"]).save_pretrained(encoder)
    (encoder / "model.safetensors").write_bytes(b"0" * 1000)
    repos = {
        "course/base": folders["base"],
        "course/chat": folders["instruct"],
        "course/no-tokenizer": folders["no-tokenizer"],
        "course/encoder": encoder,
    }
    with HubStandIn(repos, gated={"course/gated"}) as standin:
        yield standin


@pytest.mark.slow
def test_a_model_is_downloaded_and_then_taken_from_the_cache(hub, tmp_path):
    first = load_in_fresh_process(hub.url, tmp_path, "course/chat")
    assert first == ["course/chat ok chat True 3"]
    assert any(path.endswith("/model.safetensors") and method == "GET" for method, path in hub.requests)
    closed = "http://127.0.0.1:9"
    assert load_in_fresh_process(closed, tmp_path, "course/chat") == first  # offline, from the cache
    before = len(hub.requests)
    assert load_in_fresh_process(hub.url, tmp_path, "course/chat") == first
    assert len(hub.requests) == before  # not asked again


@pytest.mark.slow
def test_a_revision_is_downloaded_by_its_hash_and_an_unknown_one_is_named(hub, tmp_path):
    assert load_in_fresh_process(hub.url, tmp_path, "course/base", revision=COMMIT) == [
        "course/base ok base False 3"
    ]
    (line,) = load_in_fresh_process(hub.url, tmp_path / "other", "course/base", revision="f" * 40)
    assert "NotFoundError" in line and "no such revision" in line


@pytest.mark.slow
def test_the_hubs_refusals_are_told_apart(hub, tmp_path):
    names = ("course/gated", "course/nothing", "course/encoder", "course/no-tokenizer")
    gated, missing, encoder, bare = load_in_fresh_process(hub.url, tmp_path, *names)
    assert "GatedError" in gated and "/course/gated" in gated and "hf auth login" in gated
    assert "NotFoundError" in missing and "spelling" in missing
    assert "NotACausalLMError" in encoder and "T5EncoderModel" in encoder
    assert "MissingTokenizerError" in bare
    # What a refused model weighs must not have been fetched first.
    fetched = [
        path for method, path in hub.requests if method == "GET" and path.endswith("model.safetensors")
    ]
    assert not [path for path in fetched if "encoder" in path or "no-tokenizer" in path]


@pytest.mark.slow
def test_no_network_is_found_out_by_one_question(tmp_path):
    with socket.socket() as listener:  # accepts a connection and never answers: the slowest way to be offline
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
        (line,) = load_in_fresh_process(silent, tmp_path, "course/base")
        listener.settimeout(1)
        listener.accept()[0].close()
        with pytest.raises(TimeoutError):  # nobody asked a second time
            listener.accept()
    assert "NoNetworkError" in line and "does not answer" in line and "pebble" in line


@pytest.mark.slow
def test_a_closed_port_is_no_network_and_the_question_is_asked_before_anything_else(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "hub_endpoint", lambda: "http://127.0.0.1:9")
    assert finding.network_reachable() is False
    script = LOAD.format(names=["course/base", "HuggingFaceTB/SmolLM2-135M"], options={})
    done = python(script, hub_environment("http://127.0.0.1:9", tmp_path))
    *lines, torch_or_not = done.stdout.strip().splitlines()
    assert len(lines) == 2 and all("NoNetworkError" in line for line in lines)
    assert torch_or_not == "torch not loaded"  # that would cost seconds before the bad news


def test_a_probe_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(finding, "hub_endpoint", lambda: "http://hub.invalid")
    monkeypatch.setattr(finding, "_answers", lambda *_: time.sleep(60))
    begin = time.monotonic()
    assert finding.network_reachable(timeout=0.1) is False
    assert time.monotonic() - begin < 30


@pytest.mark.slow
def test_offline_mode_is_named_as_the_reason(tmp_path):
    environment = hub_environment("http://127.0.0.1:9", tmp_path) | {"HF_HUB_OFFLINE": "1"}
    done = python(LOAD.format(names=["course/base"], options={}), environment)
    assert "NoNetworkError" in done.stdout and "HF_HUB_OFFLINE" in done.stdout


# -- what a folder really is -------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 100\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b"{}", "model.safetensors": POINTER}, "git lfs pull"),
        ({"config.json": POINTER, "model.safetensors": b"x"}, "git lfs pull"),
        ({"params.json": b"{}", "consolidated.00.pth": b""}, "own layout"),
        ({"model_index.json": b"{}"}, "diffusers"),
        ({"config.json": b"{}", "model.onnx": b""}, "another runtime"),
        ({"tokenizer.json": b"{}"}, "only a tokenizer"),
        ({"model.safetensors": b""}, "no config.json"),
        ({"checkpoint-500/config.json": b"{}"}, "models inside.*checkpoint-500"),
        ({"snapshots/abc/config.json": b"{}"}, "models inside.*snapshots.abc"),
        ({"notes.txt": b""}, "no saved model"),
    ],
)  # fmt: skip
def test_a_folder_that_is_something_else_is_told_by_its_files(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFolderError, match=said):
        load_variant(tmp_path)


def test_a_file_and_an_empty_name_are_no_folder(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "model.safetensors").write_bytes(b"")
    # Without the package gguf it is asked for; with it, four letters are no whole file.
    with pytest.raises(PairError, match=r"model.gguf.*GGUF"):
        load_variant(tmp_path / "model.gguf")
    with pytest.raises(BadFolderError, match="is a file"):
        load_variant(tmp_path / "model.safetensors")
    with pytest.raises(BadFolderError, match="empty"):
        load_variant("")


def test_a_config_of_another_vocabulary_names_the_sizes(folders, tmp_path):
    resized = shutil.copytree(folders["base"], tmp_path / "resized")
    size = json.loads((resized / "config.json").read_text())["vocab_size"]
    change_config(resized, vocab_size=size + 7)
    with pytest.raises(BadFolderError, match=f"{size} × 32 in the weights and {size + 7} × 32 by config"):
        load_variant(resized)


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": "wide"}, {"num_attention_heads": 0}, {"rope_theta": None, "hidden_act": "tanx"}],
)
def test_whatever_a_broken_config_leads_to_is_a_pair_error(folders, tmp_path, change):
    broken = shutil.copytree(folders["base"], tmp_path / "broken")
    change_config(broken, **change)
    with pytest.raises(PairError):
        load_variant(broken)


@pytest.mark.parametrize(
    "device", [*([] if torch.cuda.is_available() else ["cuda", "cuda:1", 0]), "gpu", "", "meta", ["cpu"]][:6]
)
def test_a_device_that_is_not_there_is_named_with_those_that_are(folders, device):
    if device == "":
        assert load_variant(folders["base"], device=device).device  # the same as none at all
        return
    with pytest.raises(ValueError, match=r"no device .*This computer has: cpu") as caught:
        load_variant(folders["base"], device=device)
    assert isinstance(caught.value, PairError)


@pytest.mark.parametrize("dtype", ["float17", torch.int8, torch.complex64, 32])
def test_a_dtype_that_weights_cannot_have_is_named(folders, dtype):
    with pytest.raises(ValueError, match=r"dtype=.*choose one of float32") as caught:
        load_variant(folders["base"], dtype=dtype)
    assert isinstance(caught.value, PairError)


@pytest.mark.parametrize("dtype", ["bfloat16", "bf16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_may_be_named(folders, dtype):
    assert load_variant(folders["base"], dtype=dtype).model.dtype == torch.bfloat16


def test_a_short_name_that_is_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(NotFoundError, match="Did you mean 'pebble-base'"):
        load_variant("peble-base")


FURTHER_MODULES = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from course_utils.pairs import PAIRS, load_pair
folder = PAIRS["pebble"].base
AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
before = set(sys.modules)
load_pair("pebble")
print(*(name for name in set(sys.modules) - before if name.startswith("transformers.models.")))
"""


def test_loading_a_pair_imports_no_other_models_of_transformers():
    """To ask whether a config has a causal model must not import the hundreds of configs that there are: a second."""
    shown = subprocess.run(
        [sys.executable, "-c", FURTHER_MODULES], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == []


def test_pebble_stays_on_the_cpu_unless_a_device_is_asked_for(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        "course_utils.options.usable_device", lambda d: asked.append(d) or torch.device("cpu")
    )
    monkeypatch.setattr(pairs, "_dtype_on_a_gpu", lambda model: torch.float32)
    monkeypatch.setattr(pairs, "_loaded", {})
    assert load_variant("pebble-base").device.type == "cpu" and asked == []
    load_variant("pebble-base", device="cuda")
    load_variant(save(tmp_path, tiny_variant()))
    assert asked == ["cuda", "cuda"]
