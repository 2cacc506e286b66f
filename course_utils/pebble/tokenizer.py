"""Pebble's tokenizer: byte-level BPE, trained on a sample of the corpus, in which the space is merged last."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from . import corpus, knowledge
from .genres.practice import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

ENDOFTEXT, IM_START, IM_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL_TOKENS = [ENDOFTEXT, IM_START, IM_END, PAD, FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX]
VOCAB_SIZE = 6144
WITHOUT_SPACE = 4000  # tokens learned before words get a form with their space
CONTEXT = 512

# Words with their leading space, single digits, runs of line breaks, runs of punctuation, other blanks.
PATTERN = r"'(?:[sdmt]|ll|ve|re)|\n+| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|[^\S\n]+(?!\S)|[^\S\n]+"
# The same, the space before a word a piece of its own.
SPACE_APART = (
    r"'(?:[sdmt]|ll|ve|re)|\n+|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+| (?=\S)|[^\S\n]+(?!\S)|[^\S\n]+"
)

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
    """A sample of the corpus, then every name and value as it stands in a sentence."""
    read = 0
    for _, text in corpus.documents(seed):
        yield text
        read += len(text)
        if read > characters:
            break
    for fact in knowledge.facts():
        for _ in range(25 if fact.table == "countries" else 5):
            yield f"{fact.entity} {fact.entity} {fact.value} {fact.value}"
        if fact.relation.name == "capital":
            yield f" {fact.value}" * 150


def train(characters: int = 12_000_000) -> Tokenizer:
    """Byte-level BPE in two steps, so that a word is cut alike with and without a space before it.

    Ordinary BPE merges the space early: " Moldova" becomes other pieces than "Moldova" after a quotation mark or a
    line break, and a model that knows the one fails to write the other. Here merges are learned with the space
    apart; then the commonest words that are one token get a second token with their space, by merges that come
    last. A rarer word after a space is the space and the word's own pieces.
    """
    texts = list(training_text(characters))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPACE_APART), behavior="isolated"), byte_level]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WITHOUT_SPACE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)

    after_a_space: Counter[str] = Counter()
    for text in texts:
        after_a_space.update(re.findall(r" ([^\W\d_]+|\d|[^\w\s]+)", text))
    spec = json.loads(tokenizer.to_str())
    vocab, merges = spec["model"]["vocab"], spec["model"]["merges"]
    space = byte_level.pre_tokenize_str(" ")[0][0]
    for word, _ in after_a_space.most_common():
        piece = byte_level.pre_tokenize_str(word)[0][0]
        if len(vocab) < VOCAB_SIZE and piece in vocab and len(tokenizer.encode(word).ids) == 1:
            vocab[space + piece] = len(vocab)
            merges.append([space, piece])
    for number in range(VOCAB_SIZE - len(vocab)):  # where there are too few words, as in a toy corpus
        vocab[f"<|unused_{number}|>"] = len(vocab)
    spec["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": PATTERN}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
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
