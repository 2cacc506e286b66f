"""The pairs the course knows, and loading them: `load_pair`, `load_variant`, and errors that say what to do.

Everything here is cheap to import; torch and transformers are loaded with the first model.
"""

import difflib
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .folders import why_no_model

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from .variant import Variant

PEBBLE_MODELS = Path(__file__).parent.parent / "pebble_lm" / "models"

# Pebble's checkpoints, from the base upwards: `scoreboard(map(load_variant, LADDER))`.
LADDER = ("pebble-base", "pebble-sft", "pebble-dpo", "pebble-rl", "pebble-chat")

TINY = 50_000_000  # parameters; below, one CPU thread is fastest and bfloat16 saves nothing
PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class PairSpec:
    """A row of the table of pairs. `parameters` are one variant's; `download_mb` is its size in bfloat16.

    A revision is a commit hash that somebody verified; None means the repository's newest. `ladder` names
    further checkpoints on the way from base to instruct.
    """

    name: str
    base: str
    instruct: str
    parameters: int | None
    download_mb: int
    licence: str
    gated: bool = False
    notes: str = ""
    base_revision: str | None = None
    instruct_revision: str | None = None
    ladder: dict[str, str] = field(default_factory=dict)


PAIRS: dict[str, PairSpec] = {
    spec.name: spec
    for spec in (
        PairSpec(
            "pebble", str(PEBBLE_MODELS / "pebble-base"), str(PEBBLE_MODELS / "pebble-dpo"), None, 0, "Apache-2.0",
            notes="made by this course; needs no download",
            ladder={rung: str(PEBBLE_MODELS / f"pebble-{rung}") for rung in ("sft", "dpo", "rl", "chat")},
        ),
        PairSpec(
            "smollm2-135m", "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct",
            134_515_008, 269, "Apache-2.0", notes="the smallest real pair; ChatML",
        ),
        PairSpec(
            "smollm2-360m", "HuggingFaceTB/SmolLM2-360M", "HuggingFaceTB/SmolLM2-360M-Instruct",
            361_821_120, 724, "Apache-2.0", notes="ChatML",
        ),
        PairSpec(
            "qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct",
            494_032_768, 988, "Apache-2.0 (see its card)", notes="the base ships a chat template",
        ),
        PairSpec(
            "qwen3-0.6b", "Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-0.6B",
            596_049_920, 1192, "Apache-2.0", notes="the instruct thinks before it answers, unless told not to",
        ),
        PairSpec(
            "gemma-3-270m", "google/gemma-3-270m", "google/gemma-3-270m-it",
            270_000_000, 540, "Gemma terms of use", gated=True, notes="the assistant's role is called model",
        ),
        PairSpec(
            "llama-3.2-1b", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct",
            1_235_814_400, 2472, "Llama 3.2 Community License", gated=True,
            notes="its template writes a dated system turn",
        ),
        PairSpec(
            "olmo-2-1b", "allenai/OLMo-2-0425-1B", "allenai/OLMo-2-0425-1B-Instruct",
            1_484_916_736, 2970, "Apache-2.0", notes="the smallest full ladder from base to RL",
            ladder={
                "sft": "allenai/OLMo-2-0425-1B-SFT",
                "dpo": "allenai/OLMo-2-0425-1B-DPO",
                "rlvr1": "allenai/OLMo-2-0425-1B-RLVR1",
            },
        ),
    )
}  # fmt: skip


def table() -> "pd.DataFrame":
    """Return the pairs as a DataFrame, one row a pair, smallest first."""
    import pandas as pd

    rows = [
        {
            "name": spec.name,
            "base": _tail(spec.base) if spec.name == "pebble" else spec.base,
            "instruct": _tail(spec.instruct) if spec.name == "pebble" else spec.instruct,
            "parameters": spec.parameters,
            "download_mb": 2 * spec.download_mb,
            "licence": spec.licence,
            "gated": spec.gated,
            "further": ", ".join(spec.ladder),
            "notes": spec.notes,
        }
        for spec in PAIRS.values()
    ]
    return pd.DataFrame(rows).astype({"parameters": "Int64"})


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


class VocabularyMismatch(PairError, ValueError):
    """The two variants number their tokens differently, so token ids cannot be compared."""


# -- loading -------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    """A base model and the instruct model made from it. Iterates as `(base, instruct)`."""

    base: "Variant"
    instruct: "Variant"
    name: str

    def __iter__(self) -> Iterator["Variant"]:
        return iter((self.base, self.instruct))

    def __getitem__(self, variant: str) -> "Variant":
        if variant not in ("base", "instruct"):
            raise KeyError(f"A pair holds 'base' and 'instruct', not {variant!r}.")
        return getattr(self, variant)

    @cached_property
    def same_vocabulary(self) -> bool:
        """Whether a token id means the same token in both (one of the two may have tokens added at the
        end)."""
        few, many = sorted((v.tokenizer.get_vocab() for v in self), key=len)
        return few.items() <= many.items()

    def require_same_vocabulary(self) -> None:
        """Raise VocabularyMismatch (a ValueError) unless token ids can be compared across the pair."""
        if not self.same_vocabulary:
            sizes = " and ".join(f"{v.name} ({len(v.tokenizer)} tokens)" for v in self)
            raise VocabularyMismatch(
                f"{sizes} have different vocabularies: the same id stands for different tokens, so a comparison token "
                "by token would mean nothing. Compare the texts they write, or choose two variants of one family."
            )

    def __repr__(self) -> str:
        ids = "same vocabulary" if self.same_vocabulary else "different vocabularies"
        return f"Pair {self.name!r} ({ids})\n  base:     {self.base!r}\n  instruct: {self.instruct!r}"


_loaded: dict[tuple, "Variant"] = {}


def load_pair(
    name: "str | tuple[str | Path, str | Path] | None" = None,
    *,
    device: "str | torch.device | None" = None,
    dtype: "torch.dtype | None" = None,
    revision: str | tuple[str | None, str | None] | None = None,
    reload: bool = False,
    because: str | None = None,
) -> Pair:
    """Load a base model and its instruct model.

    `name` is a short name of `PAIRS` ("pebble", "smollm2-135m", …), two folders or hub ids as a tuple or
    joined by a comma ("my-base,my-instruct"), or None: then the environment variable COURSE_PAIR decides, and
    "pebble" if it is not set. `revision` is one for both or a tuple. Device, dtype, caching and errors are
    those of `load_variant`. A lesson that must name its pair says why in `because`: it is printed, in one
    line, when COURSE_PAIR names another pair.
    """
    chosen = os.environ.get("COURSE_PAIR") or "pebble"
    base, instruct, label, own_revisions = _resolve_pair(chosen if name is None else name)
    if because and label != chosen.strip().lower():
        print(f"Here {label} is used and not COURSE_PAIR's {chosen}: {because}.")
    revisions = revision if isinstance(revision, tuple) else (revision, revision)
    options = {"device": device, "dtype": dtype, "reload": reload}
    sources = zip((base, instruct), revisions, own_revisions, strict=True)
    variants = [load_variant(source, revision=asked or own, **options) for source, asked, own in sources]
    return Pair(*variants, name=label)


def load_variant(
    source: str | Path,
    *,
    device: "str | torch.device | None" = None,
    dtype: "torch.dtype | None" = None,
    revision: str | None = None,
    tokenizer: str | Path | None = None,
    reload: bool = False,
) -> "Variant":
    """Load one model: "pebble-base", "smollm2-135m-instruct", "olmo-2-1b-sft", any local folder or any hub
    id.

    Device: CUDA, else Apple's mps, else the CPU. Dtype: float32 on CPU and mps and for models under 50M
    parameters, bfloat16 on a GPU that has it. A model in the hub's local cache is taken from there without
    asking the network. Each model is loaded once per process (and so shared: train a copy); `reload=True`
    loads it afresh. `tokenizer` names another folder or hub id to take the tokenizer from. On a CPU, loading
    a model under 50M parameters sets torch to one thread, which is fastest for it, and a larger one sets it
    back, unless OMP_NUM_THREADS or COURSE_THREADS says how many to use.

    Raises NoNetworkError, GatedError, NotFoundError, NotACausalLMError, MissingTokenizerError,
    BadFolderError or BadOptionError (a device or dtype), all of them PairError.
    """
    if not os.fspath(source):
        raise BadFolderError(
            "The name is empty. Give a short name such as 'pebble-base', a folder or a hub id."
        )
    source, revision = _resolve_variant(source, revision)
    # What can go wrong before anything is loaded is said before torch costs its seconds.
    first_time = reload or not any(key[:2] == (source, revision) for key in _loaded)
    location = locate(source, revision, reload) if first_time else None

    device, dtype = usable_device(_best_device() if device in (None, "") else device), _usable_dtype(dtype)
    key = (source, revision, str(device), str(dtype), str(tokenizer))
    if reload or key not in _loaded:
        _loaded[key] = _load(
            source, revision, location or locate(source, revision, False), device, dtype, tokenizer
        )
    _set_threads(_loaded[key])
    return _loaded[key]


def unload() -> None:
    """Forget all loaded models, so that their memory is free once nobody else holds them."""
    _loaded.clear()


def _resolve_pair(name) -> tuple[str, str, str, tuple[str | None, str | None]]:
    if isinstance(name, str) and name.strip().lower() in PAIRS:
        spec = PAIRS[name.strip().lower()]
        return (spec.base, spec.instruct, spec.name, (spec.base_revision, spec.instruct_revision))
    if isinstance(name, str):
        name = tuple(part.strip() for part in name.split(","))
    if len(name) == 1:
        close = difflib.get_close_matches(name[0].lower(), PAIRS, n=1, cutoff=0.5)
        raise NotFoundError(
            f"No pair is called {name[0]!r}.{f' Did you mean {close[0]!r}?' if close else ''} "
            f"Known: {', '.join(PAIRS)}. For other models give two folders or hub ids: load_pair(('base', 'instruct'))."
        )
    if len(name) != 2 or not all(str(part) for part in name):
        raise ValueError(f"A pair is a base and an instruct model, two folders or hub ids; got {name!r}.")
    base, instruct = (os.fspath(part) for part in name)
    return base, instruct, f"{_tail(base)} / {_tail(instruct)}", (None, None)


def _resolve_variant(source: str | Path, revision: str | None) -> tuple[str, str | None]:
    """Return a folder or hub id for a short name such as "pebble-sft"; anything else stays as it is."""
    source = os.fspath(source)
    if Path(source).expanduser().is_dir():
        return str(Path(source).expanduser().resolve()), None
    for spec in PAIRS.values():
        known = {"base": (spec.base, spec.base_revision), "instruct": (spec.instruct, spec.instruct_revision)}
        known |= {rung: (where, None) for rung, where in spec.ladder.items()}
        for rung, (where, own_revision) in known.items():
            if source.lower() == f"{spec.name}-{rung}":
                return where, revision or own_revision
    known = [f"{spec.name}-{rung}" for spec in PAIRS.values() for rung in ("base", "instruct", *spec.ladder)]
    near = difflib.get_close_matches(source.lower(), known, 1, 0.8)
    if near and not source.startswith("pebble-") and not Path(source).exists():
        raise NotFoundError(f"No model is called {source!r}. Did you mean {near[0]!r}?")
    if re.fullmatch(r"pebble-[\w-]+", source):
        return str(PEBBLE_MODELS / source), None
    return source, revision


def _load(
    source: str, revision: str | None, located: tuple[str, bool], device, dtype, tokenizer
) -> "Variant":
    location, local_only = located
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from .variant import Variant

    hub = {"revision": revision, "local_files_only": local_only, "trust_remote_code": False}
    with _errors_explained(source), no_weight_bar():
        config = AutoConfig.from_pretrained(location, **hub)
        _require_causal_lm(source, config, AutoModelForCausalLM)
        loaded_tokenizer = _load_tokenizer(AutoTokenizer, source, location, hub, tokenizer)
        # A GPU's dtype depends on the size, which is known only afterwards; elsewhere it is float32 at once.
        first_dtype = dtype or ("auto" if device.type == "cuda" else torch.float32)
        # Tensors of another shape are reported and not raised: what comes then is a page of log.
        model, report = AutoModelForCausalLM.from_pretrained(
            location,
            config=config,
            dtype=first_dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **hub,
        )
        _require_whole(source, report)
        model = _on_device(model, device, dtype)
    return Variant(_tail(source), model, loaded_tokenizer)


def _require_whole(source: str, report: dict) -> None:
    if report["mismatched_keys"]:
        name, in_file, in_config = sorted(report["mismatched_keys"], key=str)[0]
        raise BadFolderError(
            f"{source}: config.json and the weights do not belong together: {name} is {_shape(in_file)} in the weights and "
            f"{_shape(in_config)} by config.json. After resizing the embedding, save model and tokenizer again with "
            "save_pretrained, which writes both files."
        )
    if report["missing_keys"]:
        some = ", ".join(sorted(report["missing_keys"])[:3])
        raise BadFolderError(
            f"{source} lacks {len(report['missing_keys'])} of the weights its config.json describes ({some}, …), "
            "and they would be random. Use a complete checkpoint, or a config.json that belongs to these weights."
        )


def _shape(size) -> str:
    return " × ".join(map(str, size))


def _on_device(model, device, dtype):
    import torch

    if dtype is None and device.type == "cuda":
        big = sum(p.numel() for p in model.parameters()) >= TINY
        model = model.to(torch.bfloat16 if big and torch.cuda.is_bf16_supported() else torch.float32)
    return model.to(device).eval()


def _load_tokenizer(auto_tokenizer, source: str, location: str, hub: dict, other: str | Path | None):
    if other is not None:
        where, revision = _resolve_variant(other, None)
        location, local_only = locate(where, revision, fresh=False)
        hub = {**hub, "revision": revision, "local_files_only": local_only}
    elif Path(location).is_dir() and not any((Path(location) / file).exists() for file in _TOKENIZER_FILES):
        raise MissingTokenizerError(_no_tokenizer(source))
    try:
        return auto_tokenizer.from_pretrained(location, **hub)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if _hub_error(error) is not None:
            raise
        raise MissingTokenizerError(_no_tokenizer(source)) from error


_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",
)  # fmt: skip


def _no_tokenizer(source: str) -> str:
    return (
        f"{source} comes without a tokenizer that can be read (looked for {', '.join(_TOKENIZER_FILES[:2])} and the "
        "like). Save one beside the weights with tokenizer.save_pretrained(folder), or name one: "
        "load_variant(…, tokenizer=folder_or_hub_id)."
    )


def _require_causal_lm(source: str, config, auto_model) -> None:
    written = ", ".join(config.architectures or ()) or type(config).__name__
    causal = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    known = type(config) in auto_model._model_mapping.keys()  # noqa: SIM118 (a lazy mapping without a cheap `in`)
    if not known or (
        config.architectures and not any(name.endswith(causal) for name in config.architectures)
    ):
        raise NotACausalLMError(
            f"{source} is not a causal language model but {written}; it does not predict the next token. "
            "Choose a model whose config.json names an architecture ending in ForCausalLM."
        )


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(device) -> "torch.device":
    """The torch.device of this name; BadOptionError where torch knows none, or this computer has none."""
    import torch

    there = ["cpu"]
    there += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    there += ["mps"] if torch.backends.mps.is_available() else []
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(1, device=found)  # the only sure question: a CUDA driver may be there and its device not
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise BadOptionError(
            f"There is no device {str(device)!r} here ({_first_line(error).rstrip('.')}). This computer has: "
            f"{', '.join(there)}. Leave device= out to take the best."
        ) from error
    return found


def _usable_dtype(dtype):
    """A torch dtype that weights can have, from itself or its name; BadOptionError for anything else."""
    import torch

    known = {
        str(one).removeprefix("torch."): one
        for one in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    }
    if dtype is None or dtype in known.values():
        return dtype
    name = str(dtype).removeprefix("torch.")
    name = {
        "float": "float32",
        "fp32": "float32",
        "half": "float16",
        "fp16": "float16",
        "bf16": "bfloat16",
    }.get(name, name)
    if name not in known:
        raise BadOptionError(
            f"dtype={dtype!r} is none that a model can be loaded in; choose one of {', '.join(known)} (as torch.float32 or "
            "by name), or leave dtype= out."
        )
    return known[name]


_threads_at_start: int | None = None


def _set_threads(variant: "Variant") -> None:
    global _threads_at_start
    import torch

    if _threads_at_start is None:
        _threads_at_start = torch.get_num_threads()
    wanted = os.environ.get("COURSE_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        torch.set_num_threads(int(wanted))
    elif not os.environ.get("OMP_NUM_THREADS") and variant.device.type == "cpu":
        torch.set_num_threads(1 if variant.num_parameters < TINY else _threads_at_start)


# -- finding: folder, local cache, hub -----------------------------------------------------------------------


def locate(source: str, revision: str | None, fresh: bool) -> tuple[str, bool]:
    """Return where to load from and whether without the network; raise what can be known beforehand."""
    folder = Path(source).expanduser()
    if folder.exists():
        problem = why_no_model(folder)
        if problem:
            raise BadFolderError(problem)
        return str(folder), True
    if (
        not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source)
        or source.startswith((".", "/"))
        or folder.is_absolute()
    ):
        raise BadFolderError(_no_folder(source))
    if source.count("/") == 1 and Path(source).parent.is_dir():
        raise BadFolderError(_no_folder(source))
    snapshot = _cached_snapshot(source, revision)
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


def _cached_snapshot(repo: str, revision: str | None) -> Path | None:
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
    has_tokenizer = any((folder / file).exists() for file in _TOKENIZER_FILES)
    return folder if weights and has_tokenizer else None


def hub_endpoint() -> str:
    """The address of the model hub: HF_ENDPOINT, or Hugging Face's."""
    # The library read the variable when it was imported, and stays with that.
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


# -- turning the library's errors into the course's ----------------------------------------------------------


@contextmanager
def _errors_explained(source: str):
    try:
        yield
    except PairError:
        raise
    except Exception as error:
        explained = _explain(source, error)
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


def _hub_error(error: BaseException) -> str | None:
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


def _explain(source: str, error: Exception) -> PairError | None:
    """Return the course's error for a library's, or None for a kind nobody foresaw."""
    kind = _hub_error(error)
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
        close = difflib.get_close_matches(source.lower(), PAIRS, n=1, cutoff=0.6)
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
            f"{source} has no config.json, so it is no whole model: an adapter (LoRA), a GGUF or a data set, perhaps. See its "
            "files on its page, and load its base model or a converted version."
        )
    if isinstance(error, RuntimeError) and "out of memory" in text.lower():
        return PairError(
            f"{source} does not fit into memory ({_first_line(error).rstrip('.')}). Load a smaller one, dtype=torch.bfloat16, "
            "or call unload() first."
        )
    if not isinstance(error, (ImportError, MemoryError)):
        return BadFolderError(
            f"{source} could not be read as a model: {_first_line(error)} Check that config.json and the weights are "
            "whole and belong together."
        )
    return None


def _first_line(error: Exception) -> str:
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


def _tail(source: str | Path) -> str:
    return re.split(r"[/\\]", str(source).rstrip("/\\"))[-1]
