"""Finding a model: a folder, the hub's local cache or the hub itself, and errors that say what to do.

Nothing here loads a model, and nothing heavy is imported: what can be known beforehand is said before torch costs
its seconds.
"""

import os
import re
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from .errors import OFFLINE_ADVICE, BadFolderError, NoNetworkError, PairError
from .folders import is_gguf, is_saved_model

PEBBLE_MODELS = Path(__file__).parent.parent / "pebble_lm" / "models"


# -- finding: folder, local cache, hub -----------------------------------------------------------------------


def locate(source: str, revision: str | None, fresh: bool) -> tuple[str, bool]:
    """Return where to load from and whether without the network; raise what can be known beforehand."""
    folder = Path(source).expanduser()
    if folder.exists():
        return str(_model_in(folder)), True
    if is_gguf(source):
        raise BadFolderError(
            f"There is no file {source!r} here (looked in {Path.cwd()}). Check the spelling and the folder."
        )
    is_hub_id = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", source)
    # Beside other folders, a name with one slash is a misspelt folder and no hub id.
    if not is_hub_id or ("/" in source and folder.parent.is_dir()):
        raise BadFolderError(_no_folder(source))
    from .network import PROBE_SECONDS, cached_snapshot, hub_endpoint, network_reachable

    snapshot = cached_snapshot(source, revision)
    if snapshot is not None and not (fresh and network_reachable()):
        return str(snapshot), True
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise NoNetworkError(
            f"{source} is not in the local cache, and HF_HUB_OFFLINE forbids downloading it. "
            f"Unset HF_HUB_OFFLINE and restart the kernel, or {OFFLINE_ADVICE}"
        )
    if not network_reachable():
        raise NoNetworkError(
            f"{source} is not in the local cache, and {hub_endpoint()} does not answer within {PROBE_SECONDS:.0f} s. "
            f"Check the network connection, or {OFFLINE_ADVICE}"
        )
    return source, False


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


def on_this_computer(source: str, revision: str | None = None) -> bool:
    """Whether a model needs no download: a folder, a file, or a complete copy in the hub's local cache."""
    from .network import cached_snapshot

    return Path(source).expanduser().exists() or cached_snapshot(source, revision) is not None


def _model_in(path: Path) -> Path:
    """What to load of a path that exists: a GGUF file, or a folder with a model or adapters; else BadFolderError."""
    if path.is_dir() and not (path / "config.json").exists():
        files = sorted(file for file in path.iterdir() if is_gguf(file))
        if len(files) > 1:
            raise BadFolderError(
                f"{path} holds {len(files)} GGUF files: {', '.join(file.name for file in files)}. Give the path of one "
                "of them."
            )
        path = files[0] if files else path
    if not (
        (path.is_file() and is_gguf(path)) or (path / "adapter_config.json").is_file() or is_saved_model(path)
    ):
        from .explaining import why_no_model

        raise BadFolderError(why_no_model(path))
    return path


# -- turning the library's errors into the course's ----------------------------------------------------------


@contextmanager
def errors_explained(source: str, known: Iterable[str] = ()):
    """Turn the library's errors about `source` into the course's; `known` are the short names of pairs."""
    try:
        yield
    except PairError:
        raise
    except Exception as error:
        from .explaining import explain

        explained = explain(source, error, known)
        if explained is None:
            raise
        raise explained from error


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
