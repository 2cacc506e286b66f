"""Models and tokenizers small enough to be made on the spot, and the way to data that lies beside the
checkout."""

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from course_utils.variant import Variant

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


def shared(name: str) -> Path:
    """A folder of the course's reference data, or a skip where the checkout stands alone."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"reference data {name!r} is not beside this checkout (looked for ../shared/data)")
    return folder


def tiny_tokenizer(chat: bool = False, extra_text: str = "", bos: bool = True) -> PreTrainedTokenizerFast:
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
) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.6,
        "bos_token_id": 0, "eos_token_id": eos, "pad_token_id": None,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


@lru_cache
def tiny_variant(chat: bool = False, seed: int = 0) -> Variant:
    tokenizer = tiny_tokenizer(chat)
    eos = [2, 0] if chat else 0
    return Variant("tiny-chat" if chat else "tiny-base", tiny_llama(len(tokenizer), seed, eos), tokenizer)


@lru_cache
def stories() -> Variant:
    """A real pretrained base model of 260K parameters (TinyStories)."""
    folder = shared("stories260K")
    return Variant(
        "stories", AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )


@lru_cache
def smollm2(which: str) -> Variant:
    """SmolLM2's real tokenizer on random weights; the model's vocabulary is padded beyond the tokenizer's."""
    tokenizer = AutoTokenizer.from_pretrained(shared(f"tokenizers/smollm2-135m-{which}"))
    model = tiny_llama(len(tokenizer) + 24, seed=1, eos=tokenizer.eos_token_id)
    return Variant(f"smollm2-{which}", model, tokenizer)


def save(folder: Path, variant: Variant) -> Path:
    variant.model.save_pretrained(folder)
    variant.tokenizer.save_pretrained(folder)
    return folder
