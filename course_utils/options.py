"""What may be asked for when a model is loaded: devices that this computer has, dtypes that weights can have."""

from typing import TYPE_CHECKING

from .errors import BadOptionError

if TYPE_CHECKING:
    import torch


def usable_device(device) -> "torch.device":
    """The torch.device of this name; BadOptionError where torch knows none, or this computer has none."""
    import torch

    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] * torch.backends.mps.is_available()
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(1, device=found)  # the only sure question: a CUDA driver may be there and its device not
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        from .explaining import first_line

        raise BadOptionError(
            f"There is no device {str(device)!r} here ({first_line(error)}). This computer has: "
            f"{', '.join(there)}. Leave device= out to take the best."
        ) from error
    return found


def usable_dtype(dtype):
    """A torch dtype that weights can have, from itself or its name; BadOptionError for anything else."""
    import torch

    found = dtype
    if isinstance(dtype, str):
        name = dtype.removeprefix("torch.")
        found = getattr(
            torch, {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}.get(name, name), None
        )
    if dtype is not None and found not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise BadOptionError(
            f"dtype={dtype!r} is none that a model can be loaded in; choose one of float32, bfloat16, float16, "
            "float64 (as torch.float32 or by name), or leave dtype= out."
        )
    return found
