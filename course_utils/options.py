"""What may be asked for when a model is loaded: devices that this computer has, dtypes that weights can have."""

from typing import TYPE_CHECKING

from .errors import BadOptionError

if TYPE_CHECKING:
    import torch


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
        from .explaining import first_line

        raise BadOptionError(
            f"There is no device {str(device)!r} here ({first_line(error)}). This computer has: "
            f"{', '.join(there)}. Leave device= out to take the best."
        ) from error
    return found


def usable_dtype(dtype):
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
            f"dtype={dtype!r} is none that a model can be loaded in; choose one of {', '.join(known)} (as "
            "torch.float32 or by name), or leave dtype= out."
        )
    return known[name]
