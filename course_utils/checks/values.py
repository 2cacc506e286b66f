"""Results of answers: whether two are the same, how they differ, and how to show one in a line."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHOWN_NUMBERS = 5


def same(found: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    """Whether an answer's result is the expected one.

    Numbers may be Python's, NumPy's or tensors of one element; tensors may be lists of the same shape. Floats
    agree within `tolerance` (relative, and a tenth of it absolute); NaN equals NaN. Everything else must be equal.
    """
    if isinstance(expected, Mapping):
        return (
            isinstance(found, Mapping)
            and set(found) == set(expected)
            and all(same(found[key], expected[key], tolerance) for key in expected)
        )
    if isinstance(expected, str):
        return isinstance(found, str) and found == expected
    ours, theirs = as_array(expected), as_array(found)
    if ours is None or theirs is None or ours.shape != theirs.shape or theirs.dtype == bool:
        return False
    return bool(np.allclose(theirs, ours, rtol=tolerance, atol=tolerance / 10, equal_nan=True))


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of PyTorch, which is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(value: Any) -> np.ndarray | None:
    """A number, tensor or (nested) list of numbers as an array; None for anything else."""
    if is_tensor(value):
        value = value.detach().cpu()
        return value.double().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, str) or value is None or isinstance(value, Mapping):
        return None
    if isinstance(value, Sequence) and any(map(is_tensor, value)):
        parts = [as_array(part) for part in value]
        shapes = {None if part is None else part.shape for part in parts}
        return np.stack(parts) if len(shapes) == 1 and None not in shapes else None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None


def difference(found: Any, expected: Any) -> str:
    """What is wrong with the form of a result: its type, its shape, its keys, NaN. Empty when only values differ."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return f"It should return a dict with the keys {listed(expected)}, not {kind(found)}."
        if set(found) != set(expected):
            return f"The dict should have the keys {listed(expected)}; yours has {listed(found) or 'none'}."
        parts = [(key, difference(found[key], expected[key])) for key in expected]
        return next((f"At {key!r}: {text}" for key, text in parts if text), "")
    ours, theirs = as_array(expected), as_array(found)
    if theirs is None or theirs.dtype == bool:
        return f"It should return {kind(expected)}, not {kind(found)}."
    if ours is not None and theirs.shape != ours.shape:
        return f"It should return {kind(expected)}, not {kind(found)}."
    if np.isnan(theirs).any() and not np.isnan(ours).any():
        return "The result holds NaN, 'not a number': somewhere 0 was divided by 0, or infinity came in."
    return ""


def listed(keys: Any) -> str:
    """The first keys of a dict, for a message."""
    keys = list(keys)
    return ", ".join(map(repr, keys[:4])) + (", …" if len(keys) > 4 else "")


def kind(value: Any) -> str:
    """What a value is, with its size: "a tensor of shape (3,)"."""
    if is_tensor(value):
        size = "a tensor with one number" if value.dim() == 0 else f"a tensor of shape {tuple(value.shape)}"
        return size if as_array(value).dtype != bool else f"{size} of True and False"
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, float, np.number)):
        return "a number"
    if isinstance(value, (list, tuple)):
        return f"{'an empty' if not value else 'a'} {type(value).__name__} of length {len(value)}"
    if callable(value):
        return "a function (is a pair of parentheses missing?)"
    return f"a {type(value).__name__}"


def short(value: Any) -> str:
    """A value in a few characters, numbers rounded."""
    if isinstance(value, Mapping):
        shown = ", ".join(f"{key!r}: {short(part)}" for key, part in list(value.items())[:3])
        return "{" + shown + (", …" if len(value) > 3 else "") + "}"
    array = as_array(value)
    if array is None:
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "…"
    if array.ndim == 0:
        return _number(array.item())
    if array.ndim > 1:
        return kind(value)
    shown = ", ".join(_number(x.item()) for x in array[:SHOWN_NUMBERS])
    return f"[{shown}{', …' if len(array) > SHOWN_NUMBERS else ''}]"


def _number(x: float) -> str:
    if isinstance(x, (bool, int)):
        return str(x)
    return str(int(x)) if math.isfinite(x) and x == int(x) and abs(x) < 1e6 else f"{x:.4g}"
