"""Run code that a model wrote, each answer in a Python process of its own, with limits on time and memory.

The limits catch endless loops, huge lists and crashes, which small models do write. They are no wall against
a program that means harm: run only models you would let write to your disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

_RUNNER = """
import contextlib, io, json, os, sys
job = json.loads(sys.stdin.read())
try:
    import resource
    memory, seconds = job["memory_mb"] * 2**20, job["seconds"]
    for what, most in (("RLIMIT_AS", memory), ("RLIMIT_CPU", int(seconds) + 1), ("RLIMIT_FSIZE", 2**20),
                       ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, what), (most, most))
        except (AttributeError, ValueError, OSError):
            pass
except ImportError:
    pass
verdict, token, tests, name = os.dup(1), job.pop("token"), job["tests"], job["function"]
write, check, run = os.write, eval, exec
scope = {"__name__": "answer"}
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    run(job["source"], scope)
    if name and name not in scope and job["alias"] in scope:
        scope[name] = scope[job["alias"]]
    for test in tests:
        if not check(test, scope):
            raise AssertionError(test)
write(verdict, token.encode())
"""


def passes_tests(
    source: str,
    tests: Sequence[str],
    function: str | None = None,
    seconds: float = 10.0,
    memory_mb: int = 512,
) -> bool:
    """Run `source` and then every test, a Python expression that must come out true; say whether all do.

    `function` is the name by which the tests call the answer's function: a source that names its first
    function otherwise is called by it all the same. False for a source without text, one that fails, hangs
    for `seconds` of wall time, or asks for more than `memory_mb` MB (no memory limit on Windows, and none
    that holds on macOS). Output is thrown away, there is no input, and the working folder is empty.
    """
    if not source.strip():
        return False
    first = re.search(r"^(?:async )?def (\w+)", source, re.M)
    # What the process writes counts only with this: an answer that ends early or prints does not know it.
    token = secrets.token_hex(16)
    job = {"source": source, "tests": list(tests), "function": function, "alias": first and first[1]}
    job |= {"seconds": seconds, "memory_mb": memory_mb, "token": token}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-I", "-S", "-c", _RUNNER]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # A session of its own, so that what the code starts can be ended with it.
        process = subprocess.Popen(command, cwd=folder, start_new_session=os.name == "posix", **pipes)
        try:
            out, _ = process.communicate(json.dumps(job).encode(), timeout=seconds)
            _end(process)  # what it may have left running
        except subprocess.TimeoutExpired:
            _end(process)
            out, _ = process.communicate()
    return out == token.encode() and process.returncode == 0


def _end(process: subprocess.Popen) -> None:
    """End the process, and on POSIX whatever it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def all_pass(cases: Sequence[tuple[str, Sequence[str], str | None]], **limits: float) -> list[bool]:
    """Run many (source, tests, function) cases, a few processes at a time; the answers in the same order."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda case: passes_tests(*case, **limits), cases))
