"""What a folder (or a file) given as a model really is, told by its files: a whole model, or one of the things people mistake for it."""

from __future__ import annotations

from pathlib import Path

LFS_POINTER = b"version https://git-lfs"


def why_no_model(path: Path) -> str | None:
    """What keeps a folder from being loaded, in one or two sentences with the next step; None for a saved model."""
    if path.is_file():
        return _of_file(path)
    names = {file.name for file in path.iterdir()}
    pointer = next((name for name in sorted(names) if _is_pointer(path / name)), None)
    if pointer:
        return (
            f"{path} holds pointers of git-lfs in place of its files ({pointer} among them): the clone did not fetch them. "
            "Install git-lfs and run `git lfs pull` there."
        )
    weights = [name for name in names if _is_weights(name)]
    if "config.json" in names and weights:
        return None
    return _other_kind(path, names) or _what_lacks(path, names)


def _is_weights(name: str) -> bool:
    if name.startswith("adapter_"):
        return False
    return name.endswith(".safetensors") or (name.startswith("pytorch_model") and name.endswith(".bin"))


def _is_pointer(file: Path) -> bool:
    """Whether git-lfs left a pointer of a few lines where the file should be."""
    try:
        if not file.is_file() or file.stat().st_size > 1024:
            return False
        return file.read_bytes().startswith(LFS_POINTER)
    except OSError:
        return False


def _of_file(file: Path) -> str:
    return f"{file} is a file; give the folder it is in, with config.json and the weights beside each other."


def _other_kind(path: Path, names: set[str]) -> str | None:
    """A folder that is whole in itself, but something else than a model of transformers."""
    if "model_index.json" in names:
        return f"{path} holds a pipeline of diffusers, which makes images; it predicts no next token."
    originals = {"params.json", "consolidated.safetensors", "consolidated.00.pth", "tekken.json"} & names
    if originals and "config.json" not in names:
        return (
            f"{path} holds weights in their maker's own layout ({', '.join(sorted(originals))}). Load the version that was "
            "converted to transformers (its folder has a config.json)."
        )
    other = next(
        (n for n in sorted(names) if n.endswith((".onnx", ".h5", ".msgpack", ".tflite", ".mlpackage"))), None
    )
    if other and not any(_is_weights(name) for name in names):
        return f"{path} holds weights for another runtime ({other}); this course needs PyTorch's (*.safetensors)."
    return None


def _what_lacks(path: Path, names: set[str]) -> str:
    """A folder that lacks a part of a saved model."""
    inside = sorted(name for name in names if (path / name / "config.json").is_file())
    inside += sorted(str(found.parent.relative_to(path)) for found in path.glob("snapshots/*/config.json"))
    if "config.json" in names:
        return (
            f"{path} holds a config.json but no weights (*.safetensors). Save the model there with "
            "model.save_pretrained(folder), or finish the download."
        )
    if inside:
        return f"{path} holds no config.json itself, but models inside. Give one of them: {', '.join(inside[:5])}."
    if {"tokenizer.json", "tokenizer.model", "vocab.json"} & names:
        return f"{path} holds no config.json, only a tokenizer. Save the model beside it with model.save_pretrained(folder)."
    if any(_is_weights(name) for name in names):
        return f"{path} holds weights but no config.json. Copy the config.json of the same model beside them."
    return (
        f"{path} holds no config.json, so it is no saved model. Give the folder that save_pretrained wrote."
    )
