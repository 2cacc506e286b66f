"""The factory's own parts: Muon in batches, documents written by other processes, talk in a terminal."""

from types import SimpleNamespace

import pytest
import torch

from pebble_lm.factory import talk, writing
from pebble_lm.factory.muon import Muon


def test_muon_in_batches_is_torchs_muon():
    torch.manual_seed(0)
    shapes = [(8, 8), (12, 8), (8, 12), (12, 8)]
    ours = [torch.randn(shape, requires_grad=True) for shape in shapes]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    one, other = Muon(ours, lr=0.02, weight_decay=0.05), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.05)
    for _ in range(5):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.step()
        other.step()
    for p, q in zip(ours, theirs):
        assert torch.allclose(p, q, atol=2e-3)


def test_muon_takes_no_vectors():
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.zeros(3, requires_grad=True)])


class Tokenizer:
    """Counts characters: enough to see who writes what."""

    def encode_batch(self, texts):
        return [SimpleNamespace(ids=[ord(c) % 4096 for c in text]) for text in texts]

    def encode(self, text, add_special_tokens=True):
        return SimpleNamespace(ids=[ord(c) % 4096 for c in text])


def test_documents_are_written_to_length_and_the_same_each_time():
    job = (7, 5_000, "main")
    [(done, ids)] = writing.written("documents", Tokenizer(), [job])
    assert done == job and len(ids) == 5_000
    assert ids == next(writing.written("documents", Tokenizer(), [job]))[1]


def test_the_mask_holds_the_assistants_words_and_its_end():
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    ids, mask = writing.encode_conversation(Tokenizer(), messages)
    assert len(ids) == len(mask) and sum(mask) == len("Hello<|im_end|>")


class Variant:
    name = "pebble-dpo"

    def encode(self, messages):
        return messages

    def stream_complete(self, prompt, limit, temperature):
        said = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        yield from (said[:2], said[2:].upper())


@pytest.fixture
def chat():
    lines = []

    def write(text="", end="\n", flush=False):
        lines.append(f"{text}{end}")

    made = talk.Talk(Variant(), Variant, write)
    made.heard = lambda: "".join(lines)
    return made


def test_a_talk_keeps_its_turns_and_takes_one_back(chat):
    assert chat.line("hello") and chat.line("again")
    assert chat.heard() == "pebble-dpo: heLLO\npebble-dpo: agAIN\n" and len(chat.turns) == 4
    chat.line("/undo")
    assert [turn["content"] for turn in chat.turns] == ["hello", "heLLO"]
    chat.line("/reset")
    assert chat.turns == []


def test_a_talk_has_a_system_prompt_a_temperature_and_a_base(chat):
    chat.line("/system You are a pirate.")
    chat.line("/temperature 0.8")
    assert (chat.system, chat.temperature) == ("You are a pirate.", 0.8)
    chat.line("/temperature hot")
    assert "Expected a temperature" in chat.heard() and chat.temperature == 0.8
    chat.line("/base The sea")
    assert "ThE SEA".upper() in chat.heard().upper() and chat.turns == []


def test_an_unknown_command_is_told_what_there_is_and_quit_ends(chat):
    assert chat.line("/wat") and "/system TEXT" in chat.heard()
    assert chat.line("/quit") is False


@pytest.mark.parametrize(
    "argv", [["--device", "cuda", "--workers", "8", "all"], ["all", "--device", "cuda", "--workers", "8"]]
)
def test_options_may_stand_before_the_command_and_after_it(argv, monkeypatch):
    import sys

    from pebble_lm import __main__ as command

    seen = []
    monkeypatch.setattr(command, "run", lambda name, args: seen.append((name, args)))
    monkeypatch.setattr(sys, "argv", ["pebble_lm", *argv])
    command.main()
    (name, args) = seen[0]
    assert (name, args.device, args.workers, args.seed, args.fresh) == ("all", "cuda", 8, 7, False)
