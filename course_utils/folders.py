"""What a folder (or a file) given as a model is, told by its files: a whole model, or what people mistake for one."""

from __future__ import annotations

from pathlib import Path

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",
)  # fmt: skip
LFS_POINTER = b"version https://git-lfs"


def is_gguf(location: str | Path) -> bool:
    """Whether this names a GGUF file."""
    return str(location).lower().endswith(".gguf")


def is_adapter(folder: str | Path) -> bool:
    """Whether the folder holds adapters and not a whole model."""
    folder = Path(folder)
    others = [file for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_")]
    return (folder / "adapter_config.json").is_file() and not others


def has_tokenizer(folder: str | Path) -> bool:
    """Whether the folder holds one of the files that tokenizers are loaded from."""
    return any((Path(folder) / file).exists() for file in TOKENIZER_FILES)


def is_saved_model(folder: Path) -> bool:
    """Whether this is a folder with a config.json and weights, and not git-lfs's pointers in their place."""
    if not folder.is_dir():
        return False
    names = {file.name for file in folder.iterdir()}
    whole = "config.json" in names and any(map(is_weights, names))
    return whole and not any(is_pointer(folder / name) for name in names)


def is_weights(name: str) -> bool:
    """Whether a file of this name holds a whole model's weights, or a part of them."""
    if name.startswith("adapter_"):
        return False
    return name.endswith(".safetensors") or (name.startswith("pytorch_model") and name.endswith(".bin"))


def is_pointer(file: Path) -> bool:
    """Whether git-lfs left a pointer of a few lines where the file should be."""
    try:
        if not file.is_file() or file.stat().st_size > 1024:
            return False
        return file.read_bytes().startswith(LFS_POINTER)
    except OSError:
        return False
