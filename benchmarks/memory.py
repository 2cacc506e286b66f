"""How much memory a process had at most, in MB (millions of bytes) everywhere in these benchmarks."""

import sys


def peak_mb() -> float:
    """The most memory this process ever had resident, in MB."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    if sys.platform == "linux":  # ru_maxrss would count the process that started this one
        with open("/proc/self/status") as status:
            return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
