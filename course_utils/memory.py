"""Memory: what was freed goes back to the system."""

import ctypes
import sys
from contextlib import suppress


def give_back() -> None:
    """Let the system have memory that was freed: Linux's C library keeps it, hundreds of megabytes after long work.

    Does nothing on other systems, which give it back by themselves, or with another C library than glibc. Source: the
    manual page malloc_trim(3).
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
