"""Finding a model: a folder, the hub's local cache or the hub itself, and errors that say what to do.

Nothing here loads a model, and nothing heavy is imported: what can be known beforehand is said before torch costs
its seconds.
"""

import difflib
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .folders import why_no_model

PEBBLE_MODELS = Path(__file__).parent.parent / "pebble_lm" / "models"
PROBE_SECONDS = 2.0

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",
)  # fmt: skip


# -- errors --------------------------------------------------------------------------------------------------


class PairError(RuntimeError):
    """A model or a pair could not be loaded or compared; the message says why and what to do."""


class NoNetworkError(PairError, ConnectionError):
    """The model hub cannot be reached and the model is not on this computer."""


class GatedError(PairError, PermissionError):
    """The model is there, but its owner wants a licence accepted and a token shown."""


class NotFoundError(PairError, OSError):
    """The hub has no such model (or hides it), or no such revision of it."""


class NotACausalLMError(PairError, ValueError):
    """The model is no causal language model: it does not predict the next token."""


class MissingTokenizerError(PairError, OSError):
    """The model comes without tokenizer files."""


class BadFolderError(PairError, OSError):
    """A local folder is missing or does not hold a whole model."""


class BadOptionError(PairError, ValueError):
    """A device that this computer does not have, or a dtype that no model can be loaded in."""


class MissingPackageError(PairError, ImportError):
    """The model is of a kind that takes a further package, which is not installed."""


class NotDownloadedError(NoNetworkError):
    """The model is not on this computer, and downloading it was not asked for."""


class VocabularyMismatch(PairError, ValueError):
    """The two variants number their tokens differently, so token ids cannot be compared."""


# -- finding: folder, local cache, hub -----------------------------------------------------------------------


def locate(source: str, revision: str | None, fresh: bool) -> tuple[str, bool]:
    """Return where to load from and whether without the network; raise what can be known beforehand."""
    folder = Path(source).expanduser()
    if folder.is_file() and folder.suffix.lower() == ".gguf":
        return str(folder), True
    if folder.suffix.lower() == ".gguf" and not folder.exists():
        raise BadFolderError(
            f"There is no file {source!r} here (looked in {Path.cwd()}). Check the spelling and the folder."
        )
    if folder.exists():
        return str((folder.is_dir() and _gguf_in(folder)) or _require_model_files(folder)), True
    if (
        not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source)
        or source.startswith((".", "/"))
        or folder.is_absolute()
    ):
        raise BadFolderError(_no_folder(source))
    if source.count("/") == 1 and Path(source).parent.is_dir():
        raise BadFolderError(_no_folder(source))
    snapshot = cached_snapshot(source, revision)
    if snapshot is not None and not (fresh and network_reachable()):
        return str(snapshot), True
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise NoNetworkError(
            f"{source} is not in the local cache, and HF_HUB_OFFLINE forbids downloading it. "
            f"Unset HF_HUB_OFFLINE and restart the kernel, or {_OFFLINE_ADVICE}"
        )
    if not network_reachable():
        raise NoNetworkError(
            f"{source} is not in the local cache, and {hub_endpoint()} does not answer within {PROBE_SECONDS:.0f} s. "
            f"Check the network connection, or {_OFFLINE_ADVICE}"
        )
    return source, False


_OFFLINE_ADVICE = "use load_pair('pebble'), which needs no download, or a local folder."


def _no_folder(source: str) -> str:
    if Path(source).parent == PEBBLE_MODELS:
        have = sorted(p.name for p in PEBBLE_MODELS.glob("*/")) if PEBBLE_MODELS.is_dir() else []
        return (
            f"There is no checkpoint {Path(source).name!r} in {PEBBLE_MODELS}; there is {', '.join(have) or 'none'}. "
            "Check the name, or complete the clone of the project (git checkout -- pebble_lm)."
        )
    return (
        f"There is no folder {source!r} here (looked in {Path.cwd()}), and it is no hub id of the form owner/name. "
        "Check the spelling, or give an absolute path."
    )


def _gguf_in(folder: Path) -> Path | None:
    """The GGUF file of a folder without a config.json; BadFolderError where there are several to choose from."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf")
    if not files or (folder / "config.json").exists():
        return None
    if len(files) > 1:
        raise BadFolderError(
            f"{folder} holds {len(files)} GGUF files: {', '.join(file.name for file in files)}. Give the path of one of them."
        )
    return files[0]


def on_this_computer(source: str, revision: str | None = None) -> bool:
    """Whether a model needs no download: a folder, a file, or a complete copy in the hub's local cache."""
    return Path(source).expanduser().exists() or cached_snapshot(source, revision) is not None


def _require_model_files(folder: Path) -> Path:
    """The folder, if it holds a whole model or adapters; BadFolderError with what it is instead."""
    if folder.is_dir() and (folder / "adapter_config.json").exists():
        return folder
    problem = why_no_model(folder)
    if problem:
        raise BadFolderError(problem)
    return folder


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """Return the folder of a complete copy in the hub's local cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    weights = [folder / "model.safetensors"] if (folder / "model.safetensors").exists() else []
    for index in folder.glob("*.index.json"):
        shards = set(re.findall(r'"([^"/]+\.(?:safetensors|bin))"', index.read_text(encoding="utf-8")))
        if shards and all((folder / shard).exists() for shard in shards):
            weights += [folder / shard for shard in shards]
    weights += list(folder.glob("pytorch_model.bin"))
    has_tokenizer = any((folder / file).exists() for file in TOKENIZER_FILES)
    return folder if weights and has_tokenizer else None


def hub_endpoint() -> str:
    """The address of the model hub: HF_ENDPOINT, or Hugging Face's."""
    if (
        "huggingface_hub.constants" in sys.modules
    ):  # it read the variable when it was imported, and stays with that
        return sys.modules["huggingface_hub.constants"].ENDPOINT
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


_reached_at: dict[str, float] = {}


def network_reachable(timeout: float = PROBE_SECONDS) -> bool:
    """Whether the hub answers at all within `timeout` seconds; a yes is remembered for five minutes.

    The hub's own client would retry for up to 46 s before it gives up, hence this question first.
    """
    endpoint = hub_endpoint()
    if time.monotonic() - _reached_at.get(endpoint, float("-inf")) < 300:
        return True
    answers: list[bool] = []
    # Name resolution knows no timeout of its own, so the question is asked in a thread that may be left behind.
    thread = threading.Thread(target=lambda: answers.append(_answers(endpoint, timeout)), daemon=True)
    thread.start()
    thread.join(timeout + 0.5)
    if answers != [True]:
        return False
    _reached_at[endpoint] = time.monotonic()
    return True


def _answers(endpoint: str, timeout: float) -> bool:
    import ssl

    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=timeout):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in (407, 502, 503, 504)  # those come from a proxy that does not get through
    except urllib.error.URLError as error:
        # Python's own certificates are missing on some systems where the hub's client brings its own.
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):
        return False


# -- turning the library's errors into the course's ----------------------------------------------------------


@contextmanager
def errors_explained(source: str, known: Iterable[str] = ()):
    """Turn the library's errors about `source` into the course's; `known` are the short names of pairs."""
    try:
        yield
    except PairError:
        raise
    except Exception as error:
        explained = _explain(source, error, known)
        if explained is None:
            raise
        raise explained from error


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


def _explain(source: str, error: Exception, known: Iterable[str]) -> PairError | None:
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
            f"where it stopped, or {_OFFLINE_ADVICE}"
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
            f"{source} has no config.json, so it is no whole model: a data set, perhaps, or weights for another program. See "
            "its files on its page, and load its base model or a converted version."
        )
    if isinstance(error, RuntimeError) and "out of memory" in text.lower():
        return PairError(
            f"{source} does not fit into memory ({first_line(error).rstrip('.')}). Load a smaller one, dtype=torch.bfloat16, "
            "or call unload() first."
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


@contextmanager
def no_weight_bar():
    """Silence transformers' own progress bar: it is there and gone, and leaves litter in a saved notebook."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
