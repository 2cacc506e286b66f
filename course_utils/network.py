"""Whether the model hub answers, and what its client has kept on this computer. Loaded when a name is no folder."""

import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from .folders import has_tokenizer

PROBE_SECONDS = 2.0


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """Return the folder of a complete copy in the hub's local cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    # One file with all weights, or an index that names the files of which each holds a part.
    sets = [{"model.safetensors"}, {"pytorch_model.bin"}]
    for index in folder.glob("*.index.json"):
        sets.append(set(re.findall(r'"([^"/]+\.(?:safetensors|bin))"', index.read_text(encoding="utf-8"))))
    whole = any(files and all((folder / file).exists() for file in files) for files in sets)
    return folder if whole and has_tokenizer(folder) else None


def hub_endpoint() -> str:
    """The address of the model hub: HF_ENDPOINT, or Hugging Face's."""
    # The hub's client read the variable when it was imported, and stays with that.
    if "huggingface_hub.constants" in sys.modules:
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
