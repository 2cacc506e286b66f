"""Weights that are no saved model yet: a GGUF file, and LoRA adapters that wait for their base.

GGUF is what llama.cpp, Ollama and LM Studio keep: one file with quantised weights, tokenizer and chat template.
Adapters are what peft saves: the small matrices alone, and the name of the model that they belong to.
"""

import json
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import BadFolderError, MissingPackageError, NotACausalLMError
from .hub import errors_explained, no_weight_bar

# -- GGUF ------------------------------------------------------------------------------------------------------


def load_gguf(file: str | Path, dtype=None) -> tuple[Any, Any]:
    """Load a GGUF file through transformers: (model, tokenizer), the weights dequantised to `dtype` (float32).

    What it takes in memory is printed first, since the file is several times smaller. Raises MissingPackageError
    without the package gguf, NotACausalLMError for an architecture that transformers cannot read from GGUF, and
    BadFolderError for a file that is no whole GGUF.
    """
    file = Path(file)
    if find_spec("gguf") is None:
        raise MissingPackageError(
            f"{file.name} is a GGUF file, and reading it takes the package gguf, which is not installed. Install it "
            "(pip install gguf), restart the kernel and load again."
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = dtype or torch.float32
    _tell_the_memory(file, torch.empty((), dtype=dtype).element_size())
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        with errors_explained(str(file)), no_weight_bar(), _no_conversion_bar():
            tokenizer = AutoTokenizer.from_pretrained(**where)
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=dtype)
    except (KeyError, NotImplementedError) as error:
        raise NotACausalLMError(
            f"{file.name} holds an architecture or a tokenizer that transformers cannot read from GGUF "
            f"({error}). Use the folder of the same model in safetensors."
        ) from error
    model.where_from = (str(file.parent), {"gguf_file": file.name})
    return _unmarked(model), tokenizer


def _unmarked(model):
    """The model without the marks of a quantised one, for it is none any more: it may be copied, trained and saved."""
    for name in ("hf_quantizer", "quantization_method", "is_quantized"):
        model.__dict__.pop(name, None)
    for config in {id(one.config): one.config for one in model.modules() if hasattr(one, "config")}.values():
        for name in ("quantization_config", "_is_quantized"):
            config.__dict__.pop(name, None)
    return model


def where_from(variant) -> tuple[str, dict[str, str]]:
    """What transformers' from_pretrained takes to load this variant's files again: a folder or hub id, and options."""
    return getattr(variant.model, "where_from", (variant.model.name_or_path, {}))


def _tell_the_memory(file: Path, bytes_each: int) -> None:
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(file).tensors
    except (ValueError, OSError, IndexError) as error:
        raise BadFolderError(
            f"{file} could not be read as a GGUF file: {error}. Fetch it again; a download that broke off "
            "looks like this."
        ) from error
    kinds = [tensor.tensor_type.name for tensor in tensors]
    needed = sum(int(tensor.n_elements) for tensor in tensors) * bytes_each
    print(
        f"{file.name} ({file.stat().st_size / 1e6:.0f} MB, mostly {max(set(kinds), key=kinds.count)}) is turned back "
        f"into full numbers: about {needed / 1e6:,.0f} MB of memory. What rounding took away does not come back."
    )


@contextmanager
def _no_conversion_bar():
    """Silence the bar of the conversion: it is there and gone, and leaves litter in a saved notebook."""
    from functools import partial

    from transformers import modeling_gguf_pytorch_utils as conversion

    bar = conversion.tqdm
    conversion.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        conversion.tqdm = bar


# -- adapters --------------------------------------------------------------------------------------------------


def base_of(folder: str | Path) -> tuple[str, str | None]:
    """The model that the adapters belong to, a folder or hub id, and its revision. Raises BadFolderError."""
    folder = Path(folder)
    if not any(folder.glob("adapter_model.*")):
        raise BadFolderError(
            f"{folder} holds adapter_config.json and no adapter_model.safetensors beside it: the adapters' weights are "
            "missing. Save them again with save_pretrained, or copy the whole folder."
        )
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFolderError(f"{folder / 'adapter_config.json'} could not be read: {error!r}.") from error
    if not base:
        raise BadFolderError(
            f"{folder / 'adapter_config.json'} does not name the model that the adapters belong to. Write its "
            "folder or hub id as base_model_name_or_path."
        )
    beside = folder / base
    return (str(beside.resolve()) if beside.is_dir() else base), config.get("revision")


def require_peft(folder: str | Path) -> None:
    """Raise MissingPackageError where adapters cannot be merged."""
    if find_spec("peft") is None:
        raise MissingPackageError(
            f"{folder} holds LoRA adapters and no whole model; merging them into their base takes the package "
            "peft, which is not installed. Install it (pip install peft), restart the kernel and load again."
        )


def merge_adapters(model, folder: str | Path):
    """Add the adapters to the model's weights and return it: afterwards it is an ordinary model.

    `model` is changed, so it has to be a copy of its own. Raises BadFolderError where the two do not belong together.
    """
    from peft import PeftModel

    try:
        merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadFolderError(
            f"The adapters in {folder} do not fit their base: {line} Check base_model_name_or_path in "
            "adapter_config.json."
        ) from error
    merged.where_from = (str(folder), {})
    return merged
