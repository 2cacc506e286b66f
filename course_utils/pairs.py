"""The pairs the course knows, and loading them: `load_pair`, `load_variant`, and errors that say what to do.

Everything here is cheap to import; torch and transformers are loaded with the first model. The table is pairs.json.
"""

import difflib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import (
    BadFolderError,
    NotACausalLMError,
    NotDownloadedError,
    NotFoundError,
    PairError,
    VocabularyMismatch,
)
from .folders import has_tokenizer, is_adapter, is_gguf
from .hub import PEBBLE_MODELS, errors_explained, locate, no_weight_bar, on_this_computer

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from .variant import Variant

# Pebble's checkpoints, from the base upwards: `scoreboard(map(load_variant, LADDER))`.
LADDER = ("pebble-base", "pebble-sft", "pebble-dpo", "pebble-rl", "pebble-chat")

TINY = 50_000_000  # parameters; below, one CPU thread is fastest and bfloat16 saves nothing


@dataclass(frozen=True)
class PairSpec:
    """A row of the table of pairs. `parameters` are one variant's; `download_mb` is both as their owners store them.

    A revision is a commit hash that somebody verified; None means the repository's newest. `ladder` names
    further checkpoints on the way from base to instruct.
    """

    name: str
    base: str
    instruct: str
    parameters: int | None = None
    download_mb: int = 0
    licence: str = ""
    gated: bool = False
    notes: str = ""
    base_revision: str | None = None
    instruct_revision: str | None = None
    ladder: dict[str, str] = field(default_factory=dict)


def _pebble_folder(name: str) -> str:
    """The folder of a checkpoint of Pebble, such as "pebble-sft"; any other name stays as it is."""
    return str(PEBBLE_MODELS / name) if re.fullmatch(r"pebble-[\w-]+", name) else name


def _known_pairs() -> dict[str, PairSpec]:
    rows = json.loads(Path(__file__).with_name("pairs.json").read_text(encoding="utf-8"))
    for row in rows:
        row |= {variant: _pebble_folder(row[variant]) for variant in ("base", "instruct")}
        row["ladder"] = {rung: _pebble_folder(where) for rung, where in row.get("ladder", {}).items()}
    return {row["name"]: PairSpec(**row) for row in rows}


PAIRS = _known_pairs()


def table() -> "pd.DataFrame":
    """Return the pairs as a DataFrame, one row a pair, smallest first."""
    import pandas as pd

    shown = pd.DataFrame([vars(spec) for spec in PAIRS.values()])
    for variant in ("base", "instruct"):  # of Pebble's folders the name alone
        shown[variant] = shown[variant].str.removeprefix(f"{PEBBLE_MODELS}{os.sep}")
    shown["further"] = shown.pop("ladder").map(", ".join)
    columns = "name base instruct parameters download_mb licence gated further notes".split()
    return shown[columns].astype({"parameters": "Int64"})


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
        """Whether a token id means the same token in both (one of the two may have tokens added at the end)."""
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
    name: "str | Path | tuple[str | Path | None, str | Path | None] | None" = None,
    *,
    device: "str | torch.device | None" = None,
    dtype: "torch.dtype | None" = None,
    revision: str | tuple[str | None, str | None] | None = None,
    reload: bool = False,
    because: str | None = None,
    download: bool = True,
) -> Pair:
    """Load a base model and its instruct model.

    `name` is a short name of `PAIRS` ("pebble", "smollm2-135m", …), two folders or hub ids as a tuple or
    joined by a comma ("my-base,my-instruct"), or None: then the environment variable COURSE_PAIR decides, and
    "pebble" if it is not set. `revision` is one for both or a tuple. Device, dtype, caching and errors are
    those of `load_variant`. A lesson that must name its pair says why in `because`: it is printed, in one
    line, when COURSE_PAIR names another pair.

    One model only (a folder, a GGUF file, a name that load_variant knows, a tuple with None in it) stands in both
    places, and a line says so. With `download=False` only what is on this computer already is loaded, unless the
    environment variable COURSE_DOWNLOAD is set; otherwise NotDownloadedError says how large the download would be.
    """
    chosen = os.environ.get("COURSE_PAIR") or "pebble"
    spec, alone = _resolve_pair(chosen if name is None else name)
    if because and spec.name != chosen.strip().lower():
        print(f"Here {spec.name} is used and not COURSE_PAIR's {chosen}: {because}.")
    revisions = revision if isinstance(revision, tuple) else (revision, revision)
    sources = [
        (spec.base, revisions[0] or spec.base_revision),
        (spec.instruct, revisions[1] or spec.instruct_revision),
    ]
    if not (download or _downloads_wanted()) and not all(on_this_computer(*found) for found in sources):
        known = spec.name in PAIRS
        call = f"load_pair({spec.name if known else spec.base if alone else (spec.base, spec.instruct)!r})"
        size = f", {spec.download_mb:,} MB" if known else ""
        raise NotDownloadedError(_not_unasked(spec.name, f"{call} fetches it once{size}"))
    options = {"device": device, "dtype": dtype, "reload": reload}
    variants = [load_variant(source, revision=asked, **options) for source, asked in sources]
    if alone:
        other = "('pebble-base', …)" if variants[0].has_chat_template else "(…, 'pebble-dpo')"
        print(
            f"{spec.name} is one model and stands in both places: base and instruct will be the same in everything "
            f"below. For something to compare its texts with, give a second one, such as load_pair({other})."
        )
    elif spec.name not in PAIRS:
        _warn_of_equals(*variants)
    pair = Pair(*variants, name=spec.name)
    if not pair.same_vocabulary:
        from .leaving_out import leave_out_mismatches

        leave_out_mismatches()
    return pair


def _resolve_pair(name) -> tuple[PairSpec, bool]:
    """The two models that a name stands for, and whether that is one model in both places."""
    parts = name.split(",") if isinstance(name, str) else [name] if isinstance(name, Path) else list(name)
    given = [text for part in parts if part is not None and (text := os.fspath(part).strip())]
    if len(parts) == 1 and given and given[0].lower() in PAIRS:
        return PAIRS[given[0].lower()], False
    if len(given) == 1 and (len(parts) == 2 or (len(parts) == 1 and _names_a_model(parts[0]))):
        return PairSpec(_tail(given[0]), base=given[0], instruct=given[0]), True
    if len(parts) == 1:
        asked = "".join(given)
        close = difflib.get_close_matches(asked.lower(), PAIRS, n=1, cutoff=0.5)
        raise NotFoundError(
            f"No pair is called {asked!r}.{f' Did you mean {close[0]!r}?' if close else ''} "
            f"Known: {', '.join(PAIRS)}. For other models give two folders or hub ids: load_pair(('base', "
            "'instruct')); one model alone is loaded by load_variant."
        )
    if len(parts) != 2 or len(given) != 2:
        raise ValueError(f"A pair is a base and an instruct model, two folders or hub ids; got {name!r}.")
    return PairSpec(" / ".join(map(_tail, given)), *given), False


def _names_a_model(name: str | Path) -> bool:
    """Whether this is a model's name rather than a pair's: a path, a hub id, or what load_variant knows."""
    text = os.fspath(name).strip()
    known = text.lower() in _short_names() or _pebble_folder(text) != text
    return (
        known or isinstance(name, Path) or _is_local(text) or is_gguf(text) or bool(re.search(r"[/\\]", text))
    )


def _short_names() -> dict[str, tuple[str, str | None]]:
    """What load_variant knows by a short name, such as "smollm2-135m-base": where it is, and its verified revision."""
    names = {}
    for spec in PAIRS.values():
        names[f"{spec.name}-base"] = (spec.base, spec.base_revision)
        names[f"{spec.name}-instruct"] = (spec.instruct, spec.instruct_revision)
        names |= {f"{spec.name}-{rung}": (where, None) for rung, where in spec.ladder.items()}
    return names


def _is_local(name: str | Path) -> bool:
    path = Path(name).expanduser()
    return path.is_dir() or (path.is_file() and is_gguf(path))


def _downloads_wanted() -> bool:
    return os.environ.get("COURSE_DOWNLOAD", "").lower() in ("1", "on", "yes", "true")


def _not_unasked(what: str, how: str) -> str:
    return (
        f"{what} is not on this computer, and nothing is downloaded unasked. {how}; so does COURSE_DOWNLOAD=1 at the "
        "start."
    )


def _warn_of_equals(base: "Variant", instruct: "Variant") -> None:
    """Say so when the two hold the same numbers: a fine-tuned model that was never saved looks like this."""
    if base is not instruct:
        import torch

        mine, other = (dict(v.model.named_parameters()) for v in (base, instruct))
        if mine.keys() != other.keys() or any(
            mine[k].shape != other[k].shape or not torch.equal(mine[k], other[k].to(mine[k].device))
            for k in mine
        ):
            return
    print(
        f"Base and instruct are the same weights ({base.name} and {instruct.name}): nothing will differ. Was "
        "the fine-tuned model saved, and is this its folder?"
    )


def load_variant(
    source: str | Path,
    *,
    device: "str | torch.device | None" = None,
    dtype: "torch.dtype | None" = None,
    revision: str | None = None,
    tokenizer: str | Path | None = None,
    reload: bool = False,
    download: bool = True,
) -> "Variant":
    """Load one model: "pebble-base", "smollm2-135m-instruct", "olmo-2-1b-sft", any local folder or any hub
    id; a GGUF file or a folder with one; a folder with LoRA adapters.

    A GGUF file is dequantised (it takes the package gguf), adapters are merged into their base (peft); what that
    needs in memory is printed beforehand. `download` is explained at `load_pair`.

    Device: the CPU for the course's own Pebble, which is faster there; else CUDA, else Apple's mps, else the CPU.
    Dtype: float32 on CPU and mps and for models under 50M parameters, bfloat16 on a GPU that has it. A model in the
    hub's local cache is taken from there without asking the network. Each model is loaded once per process (and so
    shared: train a copy); `reload=True` loads it afresh. `tokenizer` names another folder or hub id to take the
    tokenizer from. On a CPU, loading a model under 50M parameters sets torch to one thread, which is fastest, and a
    larger one sets it back, unless OMP_NUM_THREADS or COURSE_THREADS says how many to use.

    Raises NoNetworkError, NotDownloadedError, GatedError, NotFoundError, NotACausalLMError, MissingTokenizerError,
    MissingPackageError, BadFolderError or BadOptionError (a device or dtype), all of them PairError.
    """
    if not os.fspath(source):
        raise BadFolderError(
            "The name is empty. Give a short name such as 'pebble-base', a folder or a hub id."
        )
    asked = source
    source, revision = _resolve_variant(source, revision)
    if not (download or _downloads_wanted() or on_this_computer(source, revision)):
        raise NotDownloadedError(_not_unasked(source, f"load_variant({str(asked)!r}) fetches it once"))
    # What can go wrong before anything is loaded is said before torch costs its seconds.
    first_time = reload or not any(key[:2] == (source, revision) for key in _loaded)
    location = locate(source, revision, reload) if first_time else None

    device, dtype = _options(source, device, dtype)
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


def _resolve_variant(source: str | Path, revision: str | None) -> tuple[str, str | None]:
    """Return a folder or hub id for a short name such as "pebble-sft"; anything else stays as it is."""
    source = os.fspath(source)
    if _is_local(source):
        return str(Path(source).expanduser().resolve()), None
    known = _short_names()
    if source.lower() in known:
        where, own_revision = known[source.lower()]
        return where, revision or own_revision
    if source.startswith("pebble-"):
        return _pebble_folder(source), None
    near = difflib.get_close_matches(source.lower(), known, 1, 0.8)
    if near and not Path(source).exists():
        raise NotFoundError(f"No model is called {source!r}. Did you mean {near[0]!r}?")
    return source, revision


def _load(
    source: str, revision: str | None, located: tuple[str, bool], device, dtype, tokenizer
) -> "Variant":
    location, local_only = located
    from .variant import Variant

    if is_gguf(location):
        from .weights import load_gguf

        model, own_tokenizer = load_gguf(location, dtype)
        if tokenizer is not None:
            own_tokenizer = _load_tokenizer(source, location, {}, tokenizer)
    elif local_only and is_adapter(location):
        model, own_tokenizer = _load_adapters(source, location, device, dtype, tokenizer)
    else:
        hub = {"revision": revision, "local_files_only": local_only, "trust_remote_code": False}
        model, own_tokenizer = _load_whole(source, location, hub, device, dtype, tokenizer)
    with errors_explained(source, PAIRS):
        if dtype is None and device.type == "cuda":
            model = model.to(_dtype_on_a_gpu(model))
        model = model.to(device).eval()
    return Variant(_tail(source).removesuffix(".gguf"), model, own_tokenizer)


def _load_whole(source: str, location: str, hub: dict, device, dtype, tokenizer):
    """The model and its tokenizer from a folder that save_pretrained wrote, or from the hub."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with errors_explained(source, PAIRS), no_weight_bar():
        config = AutoConfig.from_pretrained(location, **hub)
        _require_causal_lm(source, config, AutoModelForCausalLM)
        loaded_tokenizer = _load_tokenizer(source, location, hub, tokenizer)
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
        if report["mismatched_keys"] or report["missing_keys"]:
            from .explaining import incomplete

            raise incomplete(source, report)
        return model, loaded_tokenizer


def _dtype_on_a_gpu(model) -> "torch.dtype":
    import torch

    big = sum(p.numel() for p in model.parameters()) >= TINY
    return torch.bfloat16 if big and torch.cuda.is_bf16_supported() else torch.float32


def _load_adapters(source: str, folder: str, device, dtype, tokenizer):
    """The adapters' base with them merged in, and the tokenizer that was saved beside them, or else the base's."""
    from .weights import base_of, merge_adapters, require_peft

    require_peft(folder)
    base, revision = _resolve_variant(*base_of(folder))
    print(f"{_tail(source)} holds adapters for {base}, which is loaded whole and then changed by them.")
    try:
        loaded = _load(base, revision, locate(base, revision, fresh=False), device, dtype, tokenizer)
    except PairError as error:
        raise type(error)(
            f"{source} holds a LoRA adapter, a small change to its base model {base}, which is needed as well: {error}"
        ) from error
    if tokenizer is None and has_tokenizer(folder):
        loaded.tokenizer = _load_tokenizer(source, folder, {}, None)
    return merge_adapters(loaded.model, folder), loaded.tokenizer


def _load_tokenizer(source: str, location: str, hub: dict, other: str | Path | None):
    from transformers import AutoTokenizer

    if other is not None:
        where, revision = _resolve_variant(other, None)
        location, local_only = locate(where, revision, fresh=False)
        hub = {**hub, "revision": revision, "local_files_only": local_only}
    elif Path(location).is_dir() and not has_tokenizer(location):
        from .explaining import no_tokenizer

        raise no_tokenizer(source)
    try:
        return AutoTokenizer.from_pretrained(location, **hub)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        from .explaining import hub_error, no_tokenizer

        if hub_error(error) is not None:
            raise
        raise no_tokenizer(source) from error


def _require_causal_lm(source: str, config, auto_model) -> None:
    written = ", ".join(config.architectures or ()) or type(config).__name__
    causal = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    # Not `in`, which knows one model type of a config; nor keys(), which imports every config that there is.
    known = auto_model._model_mapping.get(type(config), None) is not None
    if not known or (
        config.architectures and not any(name.endswith(causal) for name in config.architectures)
    ):
        raise NotACausalLMError(
            f"{source} is not a causal language model but {written}; it does not predict the next token. "
            "Choose a model whose config.json names an architecture ending in ForCausalLM."
        )


def _options(source: str, device, dtype) -> tuple:
    """The device and the dtype to load with, each as given or the best here (a dtype of None: by size and device)."""
    import torch

    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    best = "cpu" if Path(source).parent == PEBBLE_MODELS else best
    if best == "cpu" and device in (None, "") and dtype is None:
        return torch.device("cpu"), None
    # Whatever was asked for, and any GPU, is tried before it is used.
    from .options import usable_device, usable_dtype

    return usable_device(best if device in (None, "") else device), usable_dtype(dtype)


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


def _tail(source: str | Path) -> str:
    return re.split(r"[/\\]", str(source).rstrip("/\\"))[-1]
