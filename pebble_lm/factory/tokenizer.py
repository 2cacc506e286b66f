"""Pebble's tokenizer: byte-level BPE, trained on a sample of the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ..world import corpus, knowledge
from ..world.genres.practice import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

ENDOFTEXT, IM_START, IM_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL_TOKENS = [ENDOFTEXT, IM_START, IM_END, PAD, FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX]
VOCAB_SIZE = 4096
CONTEXT = 512

# Words with their leading space, single digits, runs of line breaks, runs of punctuation, other blanks.
PATTERN = r"'(?:[sdmt]|ll|ve|re)|\n+| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|[^\S\n]+(?!\S)|[^\S\n]+"

# ChatML. `bos_token` opens every conversation, as it opens every document; the marks of `generation` tell
# `return_assistant_tokens_mask` which tokens the assistant wrote, the end of its turn included.
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def training_text(characters: int, seed: int = 20_261) -> Iterator[str]:
    """A sample of the corpus, then every name and value as it stands after a space and after a quote.

    Without the second part "Greece" after a quotation mark would be three tokens and " Greece" one, and a
    model that knows the one would fail to write the other in JSON.
    """
    read = 0
    for _, text in corpus.documents(seed):
        yield text
        read += len(text)
        if read > characters:
            break
    for fact in knowledge.facts():
        for _ in range(25 if fact.table == "countries" else 5):
            yield f'"{fact.entity}" {fact.entity} {fact.entity}\n{fact.value} {fact.value} "{fact.value}"'
        if fact.relation.name == "capital":
            yield f" {fact.value}" * 150
    for role in ("system", "user", "assistant"):  # whole, as they stand behind <|im_start|>
        yield f"{role}\n" * 3_000


def train(characters: int = 12_000_000) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(characters), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{ENDOFTEXT} $A", special_tokens=[(ENDOFTEXT, tokenizer.token_to_id(ENDOFTEXT))]
    )
    return tokenizer


def wrap(tokenizer: Tokenizer, *, chat: bool) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers loads it: the base's, or with `chat` the instruct's (ChatML, its own eos)."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=ENDOFTEXT,
        eos_token=IM_END if chat else ENDOFTEXT,
        pad_token=PAD,
        extra_special_tokens=SPECIAL_TOKENS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    if chat:
        wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
