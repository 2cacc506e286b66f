"""What is wrong with a model, in words that say what to do: the library's errors, and folders that hold something else.

Loaded when something is. The words stand in explaining.json.
"""

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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

_SENTENCES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_HUB_ERRORS = {
    "gated": GatedError,
    "revision": NotFoundError,
    "missing": NotFoundError,
    "offline": NoNetworkError,
}


def _said(kind: str, **details: Any) -> str:
    return _SENTENCES[kind].format(**details)


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
        "missing": (errors.RepositoryNotFoundError, errors.HFValidationError),
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
    if kind is not None:
        close = difflib.get_close_matches(source.lower(), known, n=1, cutoff=0.6)
        hint = f" The pair {close[0]!r} is loaded with load_pair({close[0]!r})." if close else ""
        said = _said(kind, source=source, hub=hub_endpoint(), hint=hint, advice=OFFLINE_ADVICE)
        return _HUB_ERRORS[kind](said)
    text = " ".join(str(one) for one in _chain(error))
    details = {"source": source, "line": first_line(error)}
    if any(word in text for word in ("trust_remote_code", "model type", "model_type", "Unrecognized model")):
        return NotACausalLMError(_said("unknown kind", **details))
    if "does not appear to have a file named config.json" in text:
        return BadFolderError(_said("not whole", **details))
    if isinstance(error, RuntimeError) and "out of memory" in text.lower():
        return PairError(_said("memory", **details))
    if not isinstance(error, (ImportError, MemoryError)):
        return BadFolderError(_said("unreadable", **details))
    return None


def first_line(error: Exception) -> str:
    """The first line of what an error says, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip().rstrip(".")


# -- models that lack a part ------------------------------------------------------------------------------------


def incomplete(source: str, report: dict) -> BadFolderError:
    """The error for weights that do not cover what config.json describes, by transformers' report on loading them."""
    if report["mismatched_keys"]:
        name, *shapes = sorted(report["mismatched_keys"], key=str)[0]
        in_file, in_config = map(_shape, shapes)
        said = _said("other shapes", source=source, name=name, in_file=in_file, in_config=in_config)
        return BadFolderError(said)
    lacking = sorted(report["missing_keys"])
    return BadFolderError(_said("lacking", source=source, count=len(lacking), some=", ".join(lacking[:3])))


def _shape(size) -> str:
    return " × ".join(map(str, size))


def no_tokenizer(source: str) -> MissingTokenizerError:
    return MissingTokenizerError(_said("no tokenizer", source=source, files=", ".join(TOKENIZER_FILES[:2])))


# -- folders that are no saved model ---------------------------------------------------------------------------

_MAKERS_FILES = ("consolidated.00.pth", "consolidated.safetensors", "params.json", "tekken.json")
_OTHER_RUNTIMES = (".onnx", ".h5", ".msgpack", ".tflite", ".mlpackage")


def why_no_model(path: Path) -> str:
    """What keeps a folder that is no saved model from being loaded, in one or two sentences with the next step."""
    if path.is_file():
        return _said("a file", path=path)
    names = sorted(file.name for file in path.iterdir())
    has_config, weights = "config.json" in names, [name for name in names if is_weights(name)]
    inside = sorted(name for name in names if (path / name / "config.json").is_file())
    inside += sorted(str(found.parent.relative_to(path)) for found in path.glob("snapshots/*/config.json"))
    # What a folder can be, by the files that tell; the first that has any is what it is.
    found = {
        "pointers": [name for name in names if is_pointer(path / name)][:1],
        "pipeline": [name for name in names if name == "model_index.json"],
        "maker's layout": [name for name in names if name in _MAKERS_FILES and not has_config],
        "another runtime": [name for name in names if name.endswith(_OTHER_RUNTIMES) and not weights][:1],
        "config alone": ["config.json"] * has_config,
        "models inside": inside[:5],
        "tokenizer alone": [n for n in names if n in ("tokenizer.json", "tokenizer.model", "vocab.json")],
        "weights alone": weights,
    }
    kind = next((kind for kind, files in found.items() if files), "something else")
    return _said(kind, path=path, files=", ".join(found.get(kind, ())))
