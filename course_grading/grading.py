"""Grade submissions of the exercises: `python course.py grade [NOTEBOOK or folder ...]`.

Each submission's code cells run in a kernel of their own, in an empty folder, under limits of time and memory. Then the
grader's own copy of the checks examines the functions that are defined there. So it does not matter whether cells are
missing, moved, run twice or fail, nor what became of the check cells; what counts is the functions at the end.

What this does not protect against: a submission is a program and runs with your rights. It can read your files, use the
network, and, with intent, tamper with the checks inside its own kernel. The limits stop accidents. Code of people you
do not trust belongs into a container without network, for instance

    docker run --rm --network none --memory 4g -v "$PWD":/course -w /course IMAGE \\
        python course.py grade --use-current-python class/ --out class/grades
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WALL_FACTOR = 10  # a busy machine gives a process a small part of each second; sleeping counts as well
GRACE_SECONDS = 15.0  # after an interrupt, before the kernel is killed
FLOOD_BYTES = 5_000_000
MOST_RESTARTS = 6


@dataclass(frozen=True)
class Limits:
    """What one submission may use: `cell` and `total` in seconds of CPU time (ten times that by the clock), `memory`
    in MB."""

    cell: float = 60.0
    total: float = 300.0
    memory: int = 2000


@dataclass
class Result:
    """The grade of one submission. `problem` says why there is none; `notes` what went wrong while its cells ran."""

    submission: str
    exercise: str | None = None
    points: int = 0
    of: int = 0
    tasks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str | None = None
    seconds: float = 0.0


class CannotGrade(Exception):
    """A file that is no submission; the message says why."""


# -- in the submission's kernel -------------------------------------------------------------------------------


def prepare_kernel(memory_mb: int) -> None:
    """Limit this process's memory where the system can, and let `exit` be an error instead of the kernel's end."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        limit = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    from IPython import get_ipython

    for name in ("exit", "quit"):
        get_ipython().user_ns.pop(name, None)


def tasks_here(exercise: str) -> str:
    """The tasks of an exercise as JSON: [{"task", "title", "of"}]."""
    from .checks import tasks_of

    tasks = tasks_of(exercise)
    return json.dumps([{"task": task.name, "title": task.title, "of": task.points} for task in tasks])


def examine_here(namespace: dict[str, Any], name: str, seed: int) -> str:
    """Examine the answer that `namespace` holds under a task's name; what came out, as JSON."""
    from .checks import examine

    if name not in namespace:
        return json.dumps(
            {"points": 0, "status": "missing", "mistake": None, "message": f"{name} is not defined."}
        )
    outcome = examine(name, namespace[name], seed)
    shown = {"status": outcome.status, "mistake": outcome.mistake, "message": outcome.message.strip()}
    return json.dumps({"points": outcome.points} | shown)


# The grader's copy comes from its own folder, whatever the submission imported or changed.
FRESH_CHECKS = """
import sys as _sys
for _name in [name for name in _sys.modules if name.partition(".")[0] in ("course_grading", "course_runs", "course_utils", "pebble_lm")]:
    del _sys.modules[_name]
_sys.path.insert(0, {root!r})
from course_grading import grading as _course_grading
_course_value = _course_grading.tasks_here({exercise!r})
"""
EXAMINE = "_course_value = _course_grading.examine_here(globals(), {name!r}, {seed!r})"


# -- the kernel, from outside ---------------------------------------------------------------------------------


class Kernel:
    """A fresh Python kernel in an empty folder, watched while it runs."""

    def __init__(self, folder: str, limits: Limits):
        from jupyter_client.manager import KernelManager

        self._limits = limits
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(
            cwd=folder, env=kernel_environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=600)
        import psutil

        self._process = psutil.Process(self._manager.provisioner.process.pid)
        self.run(f"from course_grading import grading as _g; _g.prepare_kernel({limits.memory}); del _g", 600)

    def run(self, code: str, seconds: float, value: str | None = None) -> tuple[str, str]:
        """Run code and return (how it ended, text): ("ok", value), ("error", message), ("stopped" or "dead", why).

        `value` is an expression for a str to return. "dead" means that the kernel is gone.
        """
        wanted = {"value": value} if value else {}
        started, cpu_before, printed = time.monotonic(), self._cpu_seconds(), 0
        interrupted, why = None, ""
        message = self._client.execute(
            code, store_history=False, user_expressions=wanted, allow_stdin=False, stop_on_error=False
        )
        while True:
            reply = self._reply_to(message)
            printed += self._drain()
            if reply is not None:
                return ("stopped", why) if why else _ending(reply)
            if not self._manager.is_alive():
                return "dead", why or "it ended the kernel"
            if self._memory_mb() > 1.5 * self._limits.memory:
                self.close()
                return "dead", f"it used more than {self._limits.memory} MB of memory"
            used, wall = self._cpu_seconds() - cpu_before, time.monotonic() - started
            # What waits to be shown fills the kernel's memory: after a flood it is of no more use.
            if printed > FLOOD_BYTES:
                self.close()
                return "dead", f"it printed more than {FLOOD_BYTES / 1e6:.1f} MB"
            if not why:
                if used > seconds or wall > WALL_FACTOR * seconds:
                    why = f"it did not end within {seconds:.0f} s"
                if why:
                    interrupted = time.monotonic()
                    self._manager.interrupt_kernel()
            elif time.monotonic() - interrupted > GRACE_SECONDS:
                self.close()
                return "dead", why

    def _reply_to(self, message: str) -> dict | None:
        with suppress(queue.Empty):
            reply = self._client.get_shell_msg(timeout=0.05)
            if reply["parent_header"].get("msg_id") == message:
                return reply["content"]
        return None

    def _drain(self) -> int:
        """Throw away what the kernel shows; its size in bytes, roughly."""
        size = 0
        for _ in range(200):
            try:
                content = self._client.get_iopub_msg(timeout=0)["content"]
            except queue.Empty:
                break
            size += len(content.get("text", "")) + sum(
                len(str(part)) for part in content.get("data", {}).values()
            )
        return size

    def _family(self) -> list:
        import psutil

        with suppress(psutil.Error):
            return [self._process, *self._process.children(recursive=True)]
        return []

    def _cpu_seconds(self) -> float:
        import psutil

        total = 0.0
        for process in self._family():
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _memory_mb(self) -> float:
        import psutil

        total = 0
        for process in self._family():
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total / 1e6

    def close(self) -> None:
        """End the kernel and everything it started."""
        import psutil

        family = self._family() if hasattr(self, "_process") else []
        with suppress(Exception):
            self._client.stop_channels()
        with suppress(Exception):
            self._manager.shutdown_kernel(now=True)
        for process in family:
            with suppress(psutil.Error):
                process.kill()


def kernel_environment(folder: str) -> dict[str, str]:
    """The environment of a submission's kernel: this course first, one thread, no progress file, no hub."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {
        "PYTHONPATH": paths,
        "COURSE_GRADING": "1",
        "COURSE_PROGRESS": "off",
        "COURSE_PAIR": os.environ.get("COURSE_PAIR") or "pebble",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(Path(folder) / ".ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    return {**os.environ, **own}


def _ending(reply: dict) -> tuple[str, str]:
    if reply["status"] != "ok":
        return "error", f"{reply.get('ename', 'an error')}: {reply.get('evalue', '')}".strip(": ")
    value = reply.get("user_expressions", {}).get("value", {})
    return "ok", ast.literal_eval(value["data"]["text/plain"]) if value.get("status") == "ok" else ""


# -- one submission -------------------------------------------------------------------------------------------


def grade(path: Path, seed: int, limits: Limits | None = None, name: str | None = None) -> Result:
    """Run one submission and examine its answers; never raises for anything the submission does."""
    limits, started = limits or Limits(), time.monotonic()
    result = Result(name or path.name)
    try:
        cells, result.exercise = read_submission(path)
        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as folder:
            _Grading(cells, result, limits, folder).run(seed)
    except CannotGrade as reason:
        result.problem = str(reason)
    except Exception as error:  # one submission must not end the grading of a class
        result.problem = f"The grader failed on it: {type(error).__name__}: {error}"
    result.points, result.of = (sum(task[key] for task in result.tasks) for key in ("points", "of"))
    result.seconds = round(time.monotonic() - started, 1)
    return result


def read_submission(path: Path) -> tuple[list[str], str]:
    """The code cells of a notebook and the number of its exercise. Raises CannotGrade."""
    from .checks import modules

    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotGrade(f"It cannot be read as a notebook of format 4 ({type(error).__name__}).") from None
    course = notebook.get("metadata", {}).get("course")
    number = course.get("exercise") if isinstance(course, dict) else path.name[:2]
    if number not in modules():
        known = ", ".join(sorted(modules()))
        raise CannotGrade(
            f"It is no exercise of this course: neither its metadata nor its name says which of {known} it is."
        )
    return sources, number


class _Grading:
    """The runs of one submission: from the top until no cell ends the kernel, then task by task."""

    def __init__(self, cells: list[str], result: Result, limits: Limits, folder: str):
        self.cells, self.result, self.limits, self.folder = cells, result, limits, folder
        self.skipped: set[int] = set()
        self.cpu_left = limits.total
        self.kernel: Kernel | None = None

    def run(self, seed: int) -> None:
        try:
            for task in self._run_cells():
                outcome = self._examine(task["task"], seed)
                outcome["points"] = max(0, min(outcome["points"], task["of"]))
                self.result.tasks.append(task | outcome)
        finally:
            if self.kernel:
                self.kernel.close()

    def _run_cells(self) -> list[dict[str, Any]]:
        """Run all cells but those that ended a kernel before, and load the checks; the tasks."""
        for _ in range(MOST_RESTARTS):
            if self.kernel:
                self.kernel.close()
            self.kernel = Kernel(self.folder, self.limits)
            dead = self._run_each()
            if dead is None:
                ended, text = self.kernel.run(
                    FRESH_CHECKS.format(root=str(ROOT), exercise=self.result.exercise), 600, "_course_value"
                )
                if ended == "ok" and text:
                    return json.loads(text)
                raise CannotGrade(f"The checks do not load beside it ({text}).")
            self.skipped.add(dead)
        raise CannotGrade(f"More than {MOST_RESTARTS - 1} of its cells end the kernel.")

    def _run_each(self) -> int | None:
        """Run the cells in order; the index of the one that ended the kernel, or None."""
        for index, source in enumerate(self.cells):
            if index in self.skipped or not source.strip():
                continue
            if self.cpu_left <= 0:
                self._note(
                    f"Cells from number {index + 1} on were not run: {self.limits.total:.0f} s were used up."
                )
                return None
            before = self.kernel._cpu_seconds()
            ended, text = self.kernel.run(source, min(self.limits.cell, self.cpu_left))
            if ended == "error" and text.startswith("MemoryError"):
                ended, text = "dead", f"it needs more than {self.limits.memory} MB of memory"
            if ended == "dead":
                self._note(f"Code cell {index + 1} was left out: {text}.")
                self.cpu_left -= self.limits.cell if "did not end" in text else 0
                return index
            self.cpu_left -= max(0.0, self.kernel._cpu_seconds() - before)
            if ended == "stopped":
                self._note(f"Code cell {index + 1} was stopped: {text}.")
            elif ended == "error" and not text.startswith("NotImplementedError"):
                self._note(f"Code cell {index + 1} failed: {text[:200]}")
        return None

    def _examine(self, name: str, seed: int) -> dict[str, Any]:
        ended, text = self.kernel.run(EXAMINE.format(name=name, seed=seed), self.limits.cell, "_course_value")
        if ended == "ok" and text:
            return json.loads(text)
        if ended == "dead":
            self._run_cells()  # the other answers went with the kernel
        says = f"Stopped while it was checked: {text}."
        return {"points": 0, "status": "wrong", "mistake": None, "message": says}

    def _note(self, text: str) -> None:
        if text not in self.result.notes:
            self.result.notes.append(text)


# -- a class --------------------------------------------------------------------------------------------------


def find_submissions(paths: Iterable[Path]) -> dict[str, Path]:
    """{name: notebook} for files and folders; in a folder every notebook below it. Names are unique."""
    found: dict[str, Path] = {}
    for path in paths:
        inside = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        for one in inside:
            if ".ipynb_checkpoints" not in one.parts:
                name = one.relative_to(path).as_posix() if path.is_dir() else one.name
                found[name if name not in found else str(one)] = one
    return found


def most_jobs(limits: Limits) -> int:
    """How many kernels fit: as many as there are cores, and as the memory that is free now allows."""
    import psutil

    by_memory = int(0.8 * psutil.virtual_memory().available / (limits.memory * 1e6))
    return max(1, min(os.cpu_count() or 1, by_memory))


def grade_all(
    submissions: dict[str, Path],
    out: Path,
    seed: int | None = None,
    limits: Limits | None = None,
    jobs: int | None = None,
    again: bool = False,
    say: Callable[[str], None] = print,
) -> list[Result]:
    """Grade submissions, several at a time, and write out/results.json and out/results.csv.

    Each grade is kept in out/parts as soon as it is there, so that a run that was interrupted goes on where it stopped;
    a submission, the checks, the limits or the seed that changed is graded afresh. All are examined with one seed.
    """
    limits = limits or Limits()
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    seed = _seed_of(out, seed)
    version = _version(seed, limits)
    files = {name: parts / f"{_digest(name.encode())[:20]}.json" for name in submissions}
    keys = {name: _digest(path.read_bytes(), version) for name, path in submissions.items() if path.is_file()}
    results = {} if again else {n: kept for n in submissions if (kept := _kept(files[n], keys.get(n)))}
    if results:
        say(f"{len(results)} of {len(submissions)} were graded before and have not changed.")
    todo = [name for name in submissions if name not in results]
    stop = threading.Event()

    def one(name: str) -> Result | None:
        if stop.is_set():
            return None
        result = grade(submissions[name], seed, limits, name)
        _write_json(files[name], {"key": keys.get(name), "result": vars(result)})
        return result

    with ThreadPoolExecutor(max(1, min(jobs or most_jobs(limits), len(todo) or 1))) as pool:
        futures = {pool.submit(one, name): name for name in todo}
        try:
            for future in as_completed(futures):
                result = results[futures[future]] = future.result()
                say(f"[{len(results)} of {len(submissions)}] {one_line(result)}")
        except BaseException:
            stop.set()
            say("Stopping as soon as those being graded now are done; the same command goes on from there.")
            raise
    ordered = [results[name] for name in submissions]
    write_results(ordered, out, seed)
    return ordered


def write_results(results: Sequence[Result], out: Path, seed: int) -> None:
    """Write results.json (everything) and results.csv (a row a submission, a column a task)."""
    _write_json(out / "results.json", {"seed": seed, "results": [vars(result) for result in results]})
    tasks = list(dict.fromkeys(task["task"] for result in results for task in result.tasks))
    columns = ["submission", "exercise", "points", "of", *tasks, "seconds", "notes", "problem"]
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for result in results:
            row = {
                name: getattr(result, name) for name in ("submission", "exercise", "points", "of", "seconds")
            }
            row |= {task["task"]: task["points"] for task in result.tasks}
            writer.writerow(row | {"notes": " ".join(result.notes), "problem": result.problem or ""})


def one_line(result: Result) -> str:
    """A submission's grade in a line."""
    if result.problem:
        return f"{result.submission}: not graded. {result.problem}"
    return f"{result.submission}: {result.points} of {result.of} points ({result.seconds:.0f} s)"


def table(results: Sequence[Result]) -> str:
    """The grades as a table for the screen, task by task for a single submission."""
    lines = []
    for result in results:
        lines.append(one_line(result))
        if len(results) == 1:
            for task in result.tasks:
                mistake = f": {task['mistake']}" if task["mistake"] else ""
                lines.append(
                    f"  {task['points']:>3} of {task['of']:<3} {task['task']:<22} {task['status']}{mistake}"
                )
        lines += [f"      {note}" for note in result.notes]
    return "\n".join(lines)


def _version(seed: int, limits: Limits) -> bytes:
    from .checks import modules

    own = [Path(__file__), *Path(__file__).parent.glob("checks/*.py"), *modules().values()]
    code = b"".join(path.read_bytes() for path in sorted(set(own)))
    return hashlib.sha256(code + repr((seed, limits)).encode()).digest()


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _kept(path: Path, key: str | None) -> Result | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if key is not None and kept["key"] == key:
            return Result(**kept["result"])
    return None


def _seed_of(out: Path, seed: int | None) -> int:
    """The seed given; else that of the earlier run into the same folder; else a fresh one. It is written down."""
    file = out / "seed.txt"
    if seed is None:
        with suppress(OSError, ValueError):
            return int(file.read_text())
        seed = secrets.randbits(48)
    file.write_text(f"{seed}\n")
    return seed


def _write_json(path: Path, content: Any) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(fresh, path)


def main(argv: Sequence[str] | None = None) -> int:
    """Grade from the command line. 0: all graded; 1: some could not be; 2: wrong arguments; 3: below --pass-mark;
    130: interrupted (Ctrl-C)."""
    defaults = Limits()
    parser = argparse.ArgumentParser(prog="course.py grade", description="Grade exercises.", epilog=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks or folders (default: exercises/)")
    parser.add_argument("--out", type=Path, help="where results are written (default: runs/grades)")
    parser.add_argument("--jobs", type=int, help="how many at a time (default: what cores and memory allow)")
    parser.add_argument(
        "--seconds", type=float, default=defaults.cell, help="CPU time for a cell and for a task"
    )
    parser.add_argument(
        "--total", type=float, default=defaults.total, help="CPU time for a submission's cells"
    )
    parser.add_argument("--memory", type=int, default=defaults.memory, help="MB for a submission")
    parser.add_argument("--seed", type=int, help="draw the same inputs as an earlier run")
    parser.add_argument("--again", action="store_true", help="grade also what was graded before")
    parser.add_argument("--pass-mark", type=float, help="percent; exit code 3 when a submission has fewer")
    options = parser.parse_args(argv)
    paths = options.paths or [ROOT / "exercises"]
    absent = [path for path in paths if not path.exists()]
    submissions = find_submissions(paths)
    if absent or not submissions:
        print(f"There is no notebook at {', '.join(map(str, absent or paths))}.", file=sys.stderr)
        return 2
    out = options.out or ROOT / "runs" / "grades"
    limits = Limits(options.seconds, options.total, options.memory)
    try:
        results = grade_all(submissions, out, options.seed, limits, options.jobs, options.again)
    except KeyboardInterrupt:
        return 130
    print(f"\n{table(results)}\n\nWritten: {out / 'results.csv'} and {out / 'results.json'}")
    print("Note: submissions run with your rights; see `course.py grade --help` for what that means.")
    if any(result.problem for result in results):
        return 1
    failed = [r for r in results if 100 * r.points < (options.pass_mark or 0) * r.of]
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
