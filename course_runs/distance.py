"""What post-training changed: which settings beside the weights, and how far each tensor moved."""

import re
from typing import TYPE_CHECKING

import pandas as pd
import torch

if TYPE_CHECKING:
    from course_utils.pairs import Pair


def differing_settings(pair: "Pair") -> tuple[pd.DataFrame, int]:
    """The settings in which base and instruct differ, and how many there are in all.

    Looked at are config.json, generation_config.json and the tokenizer's special tokens and chat template. The table
    has the columns base and instruct, texts, one row per setting; a long one is cut and its length given.
    """
    found = pd.DataFrame({name: _settings(pair[name]) for name in ("base", "instruct")}).fillna("None")
    found = found[[not key.split(".")[1].startswith("_") for key in found.index]]
    unlike = found[found["base"] != found["instruct"]]
    return unlike.map(lambda text: text if len(text) < 50 else f"{text[:24]}… ({len(text)} characters)"), len(
        found
    )


def _settings(variant) -> dict[str, str]:
    model, tokenizer = variant.model, variant.tokenizer
    parts = {"config": model.config.to_dict(), "generation_config": model.generation_config.to_dict()}
    marks = ("bos_token", "eos_token", "pad_token", "chat_template")
    parts["tokenizer"] = {name: getattr(tokenizer, name) for name in marks}
    return {f"{part}.{key}": str(value) for part, values in parts.items() for key, value in values.items()}


def weight_change(pair: "Pair") -> pd.DataFrame:
    """Return how far each parameter moved from base to instruct, one row per tensor.

    Columns: name, layer (missing outside the layers), kind (embedding, attention, mlp, norm or head), shape,
    parameters (their number) and relative_change = ‖instruct - base‖ / ‖base‖ (Frobenius norm, so 0.1 means a
    tenth of the tensor's own length; missing for a tensor that was all zero and moved). Raises ValueError when the
    two models are not built alike, VocabularyMismatch (one, too) where their vocabularies differ.
    """
    base, instruct = (dict(variant.model.named_parameters()) for variant in pair)
    unlike = [name for name in base.keys() | instruct.keys() if _shape(base, name) != _shape(instruct, name)]
    if unlike:
        pair.require_same_vocabulary()
        name = min(unlike)
        raise ValueError(
            f"{pair.base.name} and {pair.instruct.name} are not built alike: {name} has shape {_shape(base, name)} in "
            f"one and {_shape(instruct, name)} in the other. Weights can be compared within one architecture only."
        )
    rows = []
    with torch.inference_mode():  # no gradient is kept for these differences
        for name, before in base.items():
            # In float32: the squares of small bfloat16 differences would be lost in the sum.
            start = before.float()
            moved = (instruct[name].to(start.device).float() - start).norm()
            layer = re.search(r"\.(\d+)\.", name)  # model.layers.3.mlp.up_proj.weight: layer 3
            rows.append(
                {
                    "name": name,
                    "layer": int(layer[1]) if layer else None,
                    "kind": _kind(name),
                    "shape": tuple(before.shape),
                    "parameters": before.numel(),
                    # Relative, because a large tensor moves farther than a small one at the same learning rate.
                    # A tensor that was all zero has no length to measure by: missing, or 0 where it stayed.
                    "relative_change": float(moved / start.norm()) if start.any() else _from_zero(moved),
                }
            )
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def _from_zero(moved: torch.Tensor) -> float:
    return float("nan") if moved else 0.0


def _shape(parameters: dict, name: str) -> tuple | None:
    return tuple(parameters[name].shape) if name in parameters else None


def _kind(name: str) -> str:
    # Names of Llama's kind (self_attn, mlp, input_layernorm, embed_tokens) and of GPT-2's (attn, mlp, ln_1, wte, wpe).
    if "norm" in name or re.search(r"\bln_", name):
        return "norm"
    if "embed" in name or re.search(r"\bw[tp]e\b", name):
        return "embedding"
    if "attn" in name or "attention" in name:
        return "attention"
    return "head" if "lm_head" in name else "mlp"
