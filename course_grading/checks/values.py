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
    agree within `tolerance` (relative, and a tenth of it absolute); NaN equals NaN. Lists of other things, such as
    messages, agree part by part. Everything else must be equal.
    """
    if isinstance(expected, Mapping):
        return (
            isinstance(found, Mapping)
            and set(found) == set(expected)
            and all(same(found[key], expected[key], tolerance) for key in expected)
        )
    if isinstance(expected, str) or expected is None:
        return isinstance(found, type(expected)) and found == expected
    if isinstance(expected, (bool, np.bool_)):
        return is_truth(found) and bool(found) == bool(expected)
    ours, theirs = as_array(expected), as_array(found)
    if ours is None and isinstance(expected, (list, tuple)):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(expected)
            and all(same(one, other, tolerance) for one, other in zip(found, expected))
        )
    if ours is None or theirs is None or theirs.dtype == bool:
        return False
    if ours.ndim == 0 and theirs.size == 1 and not isinstance(found, (list, tuple)):
        theirs = theirs.reshape(())  # a tensor of one element is a number
    if ours.shape != theirs.shape:
        return False
    return bool(np.allclose(theirs, ours, rtol=tolerance, atol=tolerance / 10, equal_nan=True))


def is_truth(value: Any) -> bool:
    """Whether a value is True or False, as Python's, NumPy's or a tensor's."""
    single = is_tensor(value) and value.ndim == 0 and value.dtype == sys.modules["torch"].bool
    return isinstance(value, (bool, np.bool_)) or single


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
        return next((_at(key, text) for key, text in parts if text), "")
    if isinstance(expected, str) or expected is None or isinstance(expected, (bool, np.bool_)):
        same_kind = isinstance(found, str) if isinstance(expected, str) else is_truth(found)
        fits = found is None if expected is None else same_kind
        return "" if fits else f"It should return {kind(expected)}, not {kind(found)}."
    if as_array(expected) is None and isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(expected):
            return f"It should return {kind(expected)}, not {kind(found)}."
        parts = [(i, difference(one, other)) for i, (one, other) in enumerate(zip(found, expected))]
        return next((_at(i, text) for i, text in parts if text), "")
    ours, theirs = as_array(expected), as_array(found)
    if theirs is None or theirs.dtype == bool:
        return f"It should return {kind(expected)}, not {kind(found)}."
    one = ours is not None and ours.ndim == 0 and theirs.size == 1 and not isinstance(found, (list, tuple))
    if ours is not None and theirs.shape != ours.shape and not one:
        return f"It should return {kind(expected)}, not {kind(found)}."
    if np.isnan(theirs).any() and not np.isnan(ours).any():
        return "The result holds NaN, 'not a number': somewhere 0 was divided by 0, or infinity came in."
    return ""


def _at(place: Any, text: str) -> str:
    """A sentence about a part, for the whole: "At ['labels'][0]: …"."""
    return f"At [{place!r}]{text[3:]}" if text.startswith("At [") else f"At [{place!r}]: {text}"


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
    if isinstance(value, str) or value is None:
        return "None" if value is None else "a text"
    if isinstance(value, (list, tuple)):
        return f"{'an empty' if not value else 'a'} {type(value).__name__} of length {len(value)}"
    if callable(value):
        return "a function (is a pair of parentheses missing?)"
    return f"a {type(value).__name__}"


def short(value: Any, keys: int = 3) -> str:
    """A value in a few characters, numbers rounded; of a dict the first `keys`."""
    if isinstance(value, Mapping):
        shown = ", ".join(f"{key!r}: {short(part)}" for key, part in list(value.items())[:keys])
        return "{" + shown + (", …" if len(value) > keys else "") + "}"
    array = as_array(value)
    if array is None:
        text = repr(value)
        if " object at 0x" in text or text.startswith("<function"):
            text = kind(value).partition(" (")[0]
        return text if len(text) <= 60 else text[:57] + "…"
    if array.ndim == 0:
        return _number(array.item())
    if array.ndim > 1:
        return kind(value)
    shown = ", ".join(_number(x.item()) for x in array[:SHOWN_NUMBERS])
    return f"[{shown}{', …' if len(array) > SHOWN_NUMBERS else ''}]"


def contrast(found: Any, expected: Any) -> str:
    """Where two results of the same form first differ, as a sentence."""
    ours, theirs = as_array(expected), as_array(found)
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        places = [key for key in expected if not same(found.get(key), expected[key])]
        if places:
            return _at(places[0], contrast(found.get(places[0]), expected[places[0]]))
    elif ours is not None and theirs is not None and ours.ndim and ours.shape == theirs.shape:
        places = np.argwhere(~np.isclose(theirs, ours, rtol=1e-4, atol=1e-5, equal_nan=True))
        if len(places):
            spot = tuple(map(int, places[0]))
            said = f"yours has {_number(theirs[spot].item())} where {_number(ours[spot].item())} is right"
            more = f" ({len(places)} of {ours.size} numbers differ)" if len(places) > 1 else ""
            return f"At [{', '.join(map(str, spot))}]: {said}{more}."
    elif isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)) and ours is None:
        places = [i for i, (one, other) in enumerate(zip(found, expected)) if not same(one, other)]
        if places:
            return _at(places[0], contrast(found[places[0]], expected[places[0]]))
    if not isinstance(expected, str) or not isinstance(found, str):
        return f"yours is {short(found)}; right is {short(expected)}."
    common = next(
        (i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected))
    )
    start = max(0, common - 20)
    shown = [
        f"{text[start : common + 25]!r}{' …' if len(text) > common + 25 else ''}"
        for text in (found, expected)
    ]
    return (
        f"yours has {shown[0]} where {shown[1]} is right{f' (from character {start} on)' if start else ''}."
    )


def _number(x: float) -> str:
    if isinstance(x, (bool, int)):
        return str(x)
    return str(int(x)) if math.isfinite(x) and x == int(x) and abs(x) < 1e6 else f"{x:.4g}"
