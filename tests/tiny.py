"""Models and tokenizers small enough to be made on the spot, and real ones where they lie beside the checkout.

transformers' model classes are imported when the first model is made: they take seconds, and collecting the tests
needs none of them.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from course_utils.variant import Variant

DATA = Path(__file__).resolve().parent / "data"
SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"

CHATML = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
TEXT = [
    "The capital of France is Paris. The capital of Italy is Rome.",
    "Question: What is two plus two?\nAnswer: Four.\n\nQuestion: What is the capital of Spain?\nAnswer: Madrid.",
    "Once upon a time there was a little girl who liked to play outside.",
]


# --- real ones, and what stands in for them


def shared(name: str) -> Path:
    """A folder of reference data, or a skip where the checkout stands alone."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"reference data {name!r} is not beside this checkout (looked for ../shared/data)")
    return folder


def reference_tokenizer(name: str) -> "PreTrainedTokenizerFast":
    """A real tokenizer where it lies beside the checkout, otherwise one built in the same way on a small vocabulary.

    "smollm2-135m-base", "smollm2-135m-instruct": bytes and single digits, seventeen special tokens, a default system
    turn in the instruct's template. "llama2-spm-from-gguf": SentencePiece's kind, a space in front of the text.
    """
    from transformers import AutoTokenizer

    folder = SHARED / "tokenizers" / name
    if folder.is_dir():
        return AutoTokenizer.from_pretrained(folder)
    return sentencepiece_kind() if name.startswith("llama2") else smollm2_kind(name.rpartition("-")[2])


def smollm2_kind(which: str) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    from course_utils import FAMILIES

    specials = [*SPECIALS[:3], *(f"<reserved_{i}>" for i in range(14))]
    tokenizer = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    text, start, end = SPECIALS[:3]
    names = {"bos_token": start, "eos_token": end, "pad_token": end} if which == "instruct" else {}
    names = {"bos_token": text, "eos_token": text, "unk_token": text} | names
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8192, **names)
    if which == "instruct":
        # The released template says nothing of what the assistant writes; the course's own marks it for the loss.
        fast.chat_template = re.sub(r"\{%-? (end)?generation -?%\}", "", FAMILIES["smollm2"].template)
    return fast


def sentencepiece_kind() -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    all_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=specials + all_bytes, show_progress=False)
    tokenizer.train_from_iterator([*TEXT, "Hello there! Hello there!"], trainer)
    state = json.loads(tokenizer.to_str())
    # Bytes are pieces of the vocabulary, not special tokens; and a text is one piece, its spaces included.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in specials]
    state["pre_tokenizer"]["split"] = False
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@lru_cache
def stories() -> "Variant":
    """A pretrained base model: TinyStories' of 260K parameters where it lies beside the checkout, else Pebble's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from course_utils import Variant, load_variant

    folder = SHARED / "stories260K"
    if not folder.is_dir():
        return load_variant("pebble-base")
    return Variant(
        "stories", AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )


@lru_cache
def smollm2(which: str) -> "Variant":
    """SmolLM2's kind of tokenizer on random weights; the model's vocabulary is padded beyond the tokenizer's."""
    from course_utils.variant import Variant

    tokenizer = reference_tokenizer(f"smollm2-135m-{which}")
    model = tiny_llama(len(tokenizer) + 24, seed=1, eos=tokenizer.eos_token_id)
    return Variant(f"smollm2-{which}", model, tokenizer)


# --- made on the spot


def tiny_tokenizer(chat: bool = False, extra_text: str = "", bos: bool = True) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*TEXT, extra_text], trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>" if chat else "<|endoftext|>",
    )
    if chat:
        fast.chat_template = CHATML
    return fast


def tiny_llama(
    vocab_size: int, seed: int = 0, eos: int | list[int] | None = 0, **changes
) -> "LlamaForCausalLM":
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings = {
        "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.6,
        "bos_token_id": 0, "eos_token_id": eos, "pad_token_id": None,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


@lru_cache
def tiny_variant(chat: bool = False, seed: int = 0) -> "Variant":
    from course_utils.variant import Variant

    tokenizer = tiny_tokenizer(chat)
    eos = [2, 0] if chat else 0
    return Variant("tiny-chat" if chat else "tiny-base", tiny_llama(len(tokenizer), seed, eos), tokenizer)


def save(folder: Path, variant: "Variant") -> Path:
    variant.model.save_pretrained(folder)
    variant.tokenizer.save_pretrained(folder)
    return folder
