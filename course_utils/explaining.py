"""What is wrong with a model, in words that say what to do: the library's errors, and folders that hold something else.

Loaded when something is.
"""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import (
    OFFLINE_ADVICE,
    BadFolderError,
    GatedError,
    MissingTokenizerError,
    NoNetworkError,
    NotACausalLMError,
    NotFoundError,
    PairError,
)
from .folders import TOKENIZER_FILES, is_pointer, is_weights
from .network import hub_endpoint


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that led to it: transformers wraps nearly everything in a plain OSError."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]


def hub_error(error: BaseException) -> str | None:
    """Name the hub error behind an exception, most telling first."""
    from huggingface_hub import errors

    kinds = {
        "gated": errors.GatedRepoError,
        "revision": errors.RevisionNotFoundError,
        "missing": errors.RepositoryNotFoundError,
        "bad name": errors.HFValidationError,
        "offline": (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError),
    }
    chain = list(_chain(error))
    for name, kind in kinds.items():
        if any(isinstance(one, kind) or _is_transport_error(one) * (name == "offline") for one in chain):
            return name
    return None


def _is_transport_error(error: BaseException) -> bool:
    return any(
        cls.__name__ == "TransportError" and cls.__module__.startswith("httpx") for cls in type(error).__mro__
    )


def explain(source: str, error: Exception, known: Iterable[str]) -> PairError | None:
    """Return the course's error for a library's, or None for a kind nobody foresaw."""
    kind = hub_error(error)
    if kind == "gated":
        return GatedError(
            f"{source} is gated: its owner asks you to accept a licence. Accept it at {hub_endpoint()}/{source}, then "
            "run `hf auth login` with a token of yours and load again; 'pebble' and 'smollm2-135m' need neither."
        )
    if kind == "revision":
        return NotFoundError(
            f"{source} has no such revision. Check the commit hash or branch, or leave revision out."
        )
    if kind in ("missing", "bad name"):
        close = difflib.get_close_matches(source.lower(), known, n=1, cutoff=0.6)
        hint = f" The pair {close[0]!r} is loaded with load_pair({close[0]!r})." if close else ""
        return NotFoundError(
            f"{hub_endpoint()} has no model {source!r}, or it is private. Check the spelling (owner/name), or log in "
            f"with `hf auth login` if it is yours.{hint}"
        )
    if kind == "offline":
        return NoNetworkError(
            f"The download of {source} broke off: {hub_endpoint()} stopped answering. Run the cell again to go on "
            f"where it stopped, or {OFFLINE_ADVICE}"
        )
    text = " ".join(str(one) for one in _chain(error))
    if (
        "trust_remote_code" in text
        or "model type" in text
        or "model_type" in text
        or "Unrecognized model" in text
    ):
        return NotACausalLMError(
            f"{source} is of a kind that transformers does not know as a causal language model. Choose a model whose "
            "config.json names an architecture ending in ForCausalLM."
        )
    if "does not appear to have a file named config.json" in text:
        return BadFolderError(
            f"{source} has no config.json, so it is no whole model: a data set, perhaps, or weights for "
            "another program. See its files on its page, and load its base model or a converted version."
        )
    if isinstance(error, RuntimeError) and "out of memory" in text.lower():
        return PairError(
            f"{source} does not fit into memory ({first_line(error).rstrip('.')}). Load a smaller one, "
            "dtype=torch.bfloat16, or call unload() first."
        )
    if not isinstance(error, (ImportError, MemoryError)):
        return BadFolderError(
            f"{source} could not be read as a model: {first_line(error)} Check that config.json and the weights are "
            "whole and belong together."
        )
    return None


def first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    return line if line.endswith(".") else line + "."


# -- models that lack a part ------------------------------------------------------------------------------------


def incomplete(source: str, report: dict) -> BadFolderError:
    """The error for weights that do not cover what config.json describes, by transformers' report on loading them."""
    if report["mismatched_keys"]:
        name, in_file, in_config = sorted(report["mismatched_keys"], key=str)[0]
        return BadFolderError(
            f"{source}: config.json and the weights do not belong together: {name} is {_shape(in_file)} in the "
            "weights and "
            f"{_shape(in_config)} by config.json. After resizing the embedding, save model and tokenizer again with "
            "save_pretrained, which writes both files."
        )
    some = ", ".join(sorted(report["missing_keys"])[:3])
    return BadFolderError(
        f"{source} lacks {len(report['missing_keys'])} of the weights its config.json describes ({some}, …), "
        "and they would be random. Use a complete checkpoint, or a config.json that belongs to these weights."
    )


def _shape(size) -> str:
    return " × ".join(map(str, size))


def no_tokenizer(source: str) -> MissingTokenizerError:
    return MissingTokenizerError(
        f"{source} comes without a tokenizer that can be read (looked for {', '.join(TOKENIZER_FILES[:2])} and the "
        "like). Save one beside the weights with tokenizer.save_pretrained(folder), or name one: "
        "load_variant(…, tokenizer=folder_or_hub_id)."
    )


# -- folders that are no saved model ---------------------------------------------------------------------------


def why_no_model(path: Path) -> str:
    """What keeps a folder that is no saved model from being loaded, in one or two sentences with the next step."""
    if path.is_file():
        return (
            f"{path} is a file; give the folder it is in, with config.json and the weights beside each other."
        )
    names = {file.name for file in path.iterdir()}
    pointer = next((name for name in sorted(names) if is_pointer(path / name)), None)
    if pointer:
        return (
            f"{path} holds pointers of git-lfs in place of its files ({pointer} among them): the clone did not "
            "fetch them. Install git-lfs and run `git lfs pull` there."
        )
    return _other_kind(path, names) or _what_lacks(path, names)


def _other_kind(path: Path, names: set[str]) -> str | None:
    """A folder that is whole in itself, but something else than a model of transformers."""
    if "model_index.json" in names:
        return f"{path} holds a pipeline of diffusers, which makes images; it predicts no next token."
    originals = {"params.json", "consolidated.safetensors", "consolidated.00.pth", "tekken.json"} & names
    if originals and "config.json" not in names:
        return (
            f"{path} holds weights in their maker's own layout ({', '.join(sorted(originals))}). Load the "
            "version that was converted to transformers (its folder has a config.json)."
        )
    other = next(
        (n for n in sorted(names) if n.endswith((".onnx", ".h5", ".msgpack", ".tflite", ".mlpackage"))), None
    )
    if other and not any(is_weights(name) for name in names):
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
        return (
            f"{path} holds no config.json, only a tokenizer. "
            "Save the model beside it with model.save_pretrained(folder)."
        )
    if any(is_weights(name) for name in names):
        return f"{path} holds weights but no config.json. Copy the config.json of the same model beside them."
    return (
        f"{path} holds no config.json, so it is no saved model. Give the folder that save_pretrained wrote."
    )
