"""Grade submissions of the exercises: `python course.py grade [NOTEBOOK or folder ...]`.

Each submission's code cells run in a kernel of their own, in an empty folder, under limits of time, memory and disk.
Then the grader's own copy of the checks examines the functions that are defined there. So it does not matter whether
cells are missing, moved, run twice or fail, nor what became of the check cells: the functions at the end count.

Where bubblewrap (`bwrap`) is installed, a submission has no network, sees neither other submissions nor grades, and can
change no file; where root grades without it, it runs as a user of its own. The last line on screen says which of these
protected you. Without either, a submission runs with your rights: the limits stop accidents, and it can read, change
and delete your files, other submissions and grades. Code of people you do not trust then belongs into a container, for
instance

    docker run --rm --network none --memory 4g -v "$PWD":/course -w /course IMAGE \\
        python course.py grade --use-current-python class/ --out class/grades

(IMAGE: any with Python and requirements.txt, made by `FROM python:3.12` and `RUN pip install -r requirements.txt`.)

What all of this does not protect against: with intent, a submission can tamper with the checks inside its own kernel
and take the full points of its tasks. It can never take more than those.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import secrets
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

from . import feedback
from .kernels import ROOT, Kernel, Limits, private_checks, protection

MOST_RESTARTS = 6
LARGEST_FILE = 200_000_000  # bytes
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


@dataclass
class Result:
    """The grade of one submission. `problem` says why there is none; `notes` what went wrong while its cells ran;
    `texts` are its answers in words, which nobody has graded: [{"question", "answer"}]."""

    submission: str
    exercise: str | None = None
    points: int = 0
    of: int = 0
    tasks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str | None = None
    seconds: float = 0.0
    texts: list[dict[str, str]] = field(default_factory=list)


class CannotGrade(Exception):
    """A file that is no submission; the message says why."""


# -- one submission -------------------------------------------------------------------------------------------


def grade(
    path: Path,
    seed: int,
    limits: Limits | None = None,
    name: str | None = None,
    data: bytes | None = None,
    hidden: Sequence[Path] = (),
) -> Result:
    """Run one submission and examine its answers; never raises for anything the submission does.

    `data` is the file's content if it has been read already; `hidden` are folders that it is not to see.
    """
    limits, started = limits or Limits(), time.monotonic()
    result = Result(printable(name or path.name))
    try:
        cells, result.exercise = read_submission(path, data)
        result.texts = read_answers(path, data)
        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as folder:
            _Grading(cells, result, limits, Path(folder), hidden).run(seed)
    except CannotGrade as reason:
        result.problem = str(reason)
    except Exception as error:  # one submission must not end the grading of a class
        result.problem = printable(f"The grader failed on it: {type(error).__name__}: {error}"[:500])
    result.points, result.of = (sum(task[key] for task in result.tasks) for key in ("points", "of"))
    result.seconds = round(time.monotonic() - started, 1)
    return result


def read_file(path: Path) -> bytes:
    """The content of a submission. Raises CannotGrade for what is no ordinary file, and for a link to elsewhere."""
    try:
        if path.is_symlink() and path.resolve().parent != path.parent.resolve():
            raise CannotGrade("It is a link to another place, and no notebook of its own.")
        if not path.is_file():
            raise CannotGrade("It is no file that can be read.")
        if path.stat().st_size > LARGEST_FILE:
            raise CannotGrade(f"It is larger than {LARGEST_FILE // 10**6} MB: clear its outputs.")
        return path.read_bytes()
    except (OSError, RuntimeError) as error:
        raise CannotGrade(f"It cannot be read ({type(error).__name__}).") from None


def _notebook_cells(path: Path, data: bytes | None = None) -> tuple[list[tuple], dict]:
    """([(cell type, source, metadata)], the notebook) of a submission. Raises CannotGrade."""
    try:
        notebook = json.loads((read_file(path) if data is None else data).decode("utf-8-sig"))
        cells = [
            (cell["cell_type"], "".join(cell["source"]), cell.get("metadata")) for cell in notebook["cells"]
        ]
        cells = [(kind, source.encode("utf-8", "replace").decode(), own) for kind, source, own in cells]
    except RecursionError:
        raise CannotGrade("It is no notebook: its JSON is nested too deeply.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotGrade(f"It cannot be read as a notebook of format 4 ({type(error).__name__}).") from None
    return cells, notebook


def read_submission(path: Path, data: bytes | None = None) -> tuple[list[str], str]:
    """The code cells of a notebook and the number of its exercise. Raises CannotGrade."""
    from .checks import modules

    cells, notebook = _notebook_cells(path, data)
    metadata = notebook.get("metadata")
    course = metadata.get("course") if isinstance(metadata, dict) else None
    number = course.get("exercise") if isinstance(course, dict) else None
    if isinstance(number, int):
        number = f"{number:02}"
    number = number if isinstance(number, str) else path.name[:2]
    if number not in modules():
        known = ", ".join(sorted(modules()))
        raise CannotGrade(
            f"It is no exercise of this course: neither its metadata nor its name says which of {known} it is."
        )
    return [source for kind, source, _ in cells if kind == "code"], number


def read_answers(path: Path, data: bytes | None = None) -> list[dict[str, str]]:
    """The answers in words of a notebook, as `feedback.answers_in_words` finds them. Raises CannotGrade."""
    return feedback.answers_in_words(_notebook_cells(path, data)[0])


class _Grading:
    """The runs of one submission: from the top until no cell ends the kernel, then task by task."""

    def __init__(
        self, cells: list[str], result: Result, limits: Limits, folder: Path, hidden: Sequence[Path]
    ):
        self.cells, self.result, self.limits = cells, result, limits
        self.folder, self.hidden = folder, hidden
        self.skipped: set[int] = set()
        self.done: set[int] = set()  # cells that ran to their end: running them again costs nothing more
        self.cpu_left, self.clock_left = limits.total, limits.by_the_clock
        self.end = time.monotonic() + 3 * limits.by_the_clock
        self.kernel: Kernel | None = None

    def run(self, seed: int) -> None:
        try:
            # Read here: nothing in a submission changes what there is to earn.
            tasks = tasks_of(self.result.exercise)
            self._run_cells()
            self.clock_left = self.limits.by_the_clock
            for task in tasks:
                outcome = self._examine(task["task"], seed)
                outcome["points"] = max(0, min(int(outcome["points"]), task["of"]))
                self.result.tasks.append(task | outcome)
        finally:
            if self.kernel:
                self.kernel.close()

    def _run_cells(self) -> None:
        """Run all cells but those that ended a kernel before, and put the course back as it was."""
        for _ in range(MOST_RESTARTS):
            if self.kernel:
                self.kernel.close()
            self.kernel = Kernel(self.folder, self.limits, self.result.exercise, self.hidden)
            dead = self._run_each()
            if dead is None:
                ended, text = self.kernel.run("__course__.restore()", 60)
                if ended == "ok":
                    return
                raise CannotGrade(f"The checks do not run beside it ({printable(text)[:200]}).")
            self.skipped.add(dead)
        raise CannotGrade(f"More than {MOST_RESTARTS - 1} of its cells end the kernel.")

    def _run_each(self) -> int | None:
        """Run the cells in order; the index of the one that ended the kernel, or None."""
        for index, source in enumerate(self.cells):
            if index in self.skipped or not source.strip():
                continue
            again, before, started = index in self.done, self.kernel.cpu_seconds(), time.monotonic()
            if started > self.end or not (again or (self.cpu_left > 0 and self.clock_left > 0)):
                used = f"{self.limits.total:.0f} s of computing"
                if started > self.end or self.cpu_left > 0:
                    used = f"{self.limits.by_the_clock:.0f} s by the clock"
                self._note(f"Cells from number {index + 1} on were not run: {used} were used up.")
                return None
            cpu, clock = self.limits.cell, self.limits.by_the_clock
            if not again:
                cpu, clock = min(cpu, self.cpu_left), min(clock, self.clock_left)
            ended, text = self.kernel.run(source, cpu, clock=clock)
            if ended != "dead" and not self.kernel.answers():
                ended, text = "dead", "it ended the kernel"
            if not again:
                self.clock_left -= time.monotonic() - started
            if ended == "error" and text.startswith("MemoryError"):
                ended, text = "dead", f"it needs more than {self.limits.memory} MB of memory"
            if ended == "dead":
                self._note(f"Code cell {index + 1} was left out: {text}.")
                self.cpu_left -= self.limits.cell if "of computing" in text else 0
                return index
            if not again:
                self.cpu_left -= max(0.0, self.kernel.cpu_seconds() - before)
            if ended == "stopped":
                self._note(f"Code cell {index + 1} was stopped: {text}.")
                self.skipped.add(index)  # it would take its time once more
                continue
            self.done.add(index)
            if ended == "error" and not text.startswith("NotImplementedError"):
                self._note(f"Code cell {index + 1} failed: {text[:200]}")
        return None

    def _examine(self, name: str, seed: int) -> dict[str, Any]:
        if self.clock_left <= 0:
            says = "Not examined: the time by the clock was used up."
            return {"points": 0, "status": "wrong", "mistake": None, "message": says}
        started = time.monotonic()
        code = f"__course__.examine({name!r}, {seed!r})"
        ended, text = self.kernel.run(code, self.limits.cell, "__course__.result", self.clock_left)
        self.clock_left -= time.monotonic() - started
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            if ended == "ok" and text:
                found = json.loads(text)
                mistake = None if found["mistake"] is None else printable(found["mistake"])
                says = printable(found["message"], lines=True)
                found = {"points": int(found["points"]), "status": printable(found["status"])[:40]}
                return found | {"mistake": mistake, "message": says}
        if ended == "dead":
            self._run_cells()  # the other answers went with the kernel
        says = printable(f"Stopped while it was checked: {text}.")
        return {"points": 0, "status": "wrong", "mistake": None, "message": says}

    def _note(self, text: str) -> None:
        text = printable(text)
        if text not in self.result.notes:
            self.result.notes.append(text)


def tasks_of(exercise: str) -> list[dict[str, Any]]:
    """The tasks of an exercise: [{"task", "title", "of"}]."""
    from . import checks

    return [{"task": t.name, "title": t.title, "of": t.points} for t in checks.tasks_of(exercise)]


def printable(text: Any, lines: bool = False) -> str:
    """A text without what a terminal would obey, in one line or (with `lines`) in its own."""
    text = str(text).encode("utf-8", "replace").decode()
    parts = text.split("\n") if lines else [re.sub(r"\s*[\r\n\u2028\u2029]\s*", " ", text)]
    return "\n".join(CONTROLS.sub("\ufffd", part) for part in parts)


# -- a class --------------------------------------------------------------------------------------------------


def find_submissions(paths: Iterable[Path], base: Path | None = None) -> dict[str, Path]:
    """{name: notebook} for files and folders; in a folder every notebook below it.

    A name is the file's place below `base`, or below the folder that holds all `paths`. Each file comes once.
    """
    paths = [Path(os.path.abspath(path)) for path in paths]
    base = base or common_folder(paths)
    found: dict[str, Path] = {}
    for path in paths:
        for one in sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]:
            if one == path or not _left_by_a_program(one.relative_to(path)):
                found.setdefault(one.relative_to(base).as_posix(), one)
    return found


def _left_by_a_program(place: Path) -> bool:
    """Whether a file below a folder is no submission: checkpoints, a Mac's resource forks, hidden files and folders."""
    return any(part.startswith(".") or part == "__MACOSX" for part in place.parts)


def common_folder(paths: Sequence[Path]) -> Path:
    """The folder that holds all the paths: of one folder itself, of several learners' folders the class's."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


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
    resume: bool = False,
    hidden: Sequence[Path] = (),
) -> list[Result]:
    """Grade submissions, several at a time, and write out/results.json, out/results.csv and out/feedback/.

    Each grade is kept in out/parts as soon as it is there, so that a run that was interrupted goes on where it stopped;
    a submission, the checks, the limits or the seed that changed is graded afresh. All are examined with one seed.
    Grades in `out` of other submissions stay in the tables. Where nothing keeps submissions from writing into `out`
    (`protection()` is "none"), what is kept there is not believed unless `resume` is set.
    """
    limits, out = limits or Limits(), Path(os.path.abspath(out))
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    seed = _seed_of(out, seed)
    version = _version(seed, limits)
    earlier = _earlier(parts)
    believed = not again and (resume or protection() != "none")
    keys = {name: _digest(data, version) for name, path in submissions.items() if (data := _data(path))}
    results = {
        name: earlier[name][1]
        for name in submissions
        if believed and name in earlier and earlier[name][0] == keys.get(name, "")
    }
    if results:
        say(f"{len(results)} of {len(submissions)} were graded before and have not changed.")
    todo = [name for name in submissions if name not in results]
    stop, written = threading.Event(), {name: keys[name] for name in results}
    hidden = [*hidden, out]

    def keep(name: str, key: str, result: Result) -> None:
        _write_json(
            parts / f"{_digest(name.encode())[:20]}.json", {"name": name, "key": key, "result": vars(result)}
        )

    def one(name: str) -> Result | None:
        if stop.is_set():
            return None
        data = _data(submissions[name])  # once: the grade and its key are of the same bytes
        result = grade(submissions[name], seed, limits, name, data, hidden)
        written[name] = _digest(data, version) if data else ""
        keep(name, written[name], result)
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
        finally:
            done = {name: result for name, result in results.items() if result}
            # Again, from memory: nothing that ran meanwhile has changed them.
            for name, result in done.items():
                keep(name, written[name], result)
            merged = {name: result for name, (_, result) in earlier.items()} | done
            write_results([merged[name] for name in sorted(merged)], out, seed)
    return [results[name] for name in submissions]


def write_results(results: Sequence[Result], out: Path, seed: int) -> None:
    """Write results.json (everything), results.csv (a row a submission, a column a task), and a feedback file each."""
    _write_json(out / "results.json", {"seed": seed, "results": [vars(result) for result in results]})
    tasks = list(dict.fromkeys(task["task"] for result in results for task in result.tasks))
    own = ("submission", "exercise", "points", "of")
    columns = [*own, *tasks, "reasons", "seconds", "notes", "problem"]
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for result in results:
            row = {name: getattr(result, name) for name in (*own, "seconds")}
            row |= {task["task"]: task["points"] for task in result.tasks}
            row |= {
                "notes": " ".join(result.notes),
                "problem": result.problem or "",
                "reasons": reasons(result),
            }
            writer.writerow({name: _cell(value) for name, value in row.items()})
    feedback.write(results, out / "feedback")


def reasons(result: Result) -> str:
    """Why points are missing, task by task, in few words."""
    lost = [task for task in result.tasks if task["points"] < task["of"]]
    return "; ".join(f"{task['task']}: {task['mistake'] or task['status']}" for task in lost)


def _cell(value: Any) -> Any:
    """A cell of a table that a spreadsheet shows as it is, and does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def one_line(result: Result) -> str:
    """A submission's grade in a line."""
    name = printable(result.submission)
    if result.problem:
        return f"{name}: not graded. {printable(result.problem)}"
    return f"{name}: {result.points} of {result.of} points ({result.seconds:.0f} s)"


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
        elif why := reasons(result):
            lines.append(f"      {why}")
        lines += [f"      {note}" for note in result.notes]
    return "\n".join(map(printable, lines))


def _version(seed: int, limits: Limits) -> bytes:
    from .checks import modules

    own = [*Path(__file__).parent.glob("*.py"), *Path(__file__).parent.glob("checks/*"), *modules().values()]
    code = b"".join(path.read_bytes() for path in sorted(set(own)) if path.is_file())
    return hashlib.sha256(code + repr((seed, limits)).encode()).digest()


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _data(path: Path) -> bytes | None:
    with suppress(CannotGrade):
        return read_file(path)
    return None


def _earlier(parts: Path) -> dict[str, tuple[str, Result]]:
    """{name: (key, result)} of what earlier runs have kept; points are never more than their task has."""
    found = {}
    for path in sorted(parts.glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            result = Result(**kept["result"])
            known = {task["task"]: task["of"] for task in tasks_of(result.exercise)} if result.tasks else {}
            for task in result.tasks:
                task["of"] = known[task["task"]]
                task["points"] = max(0, min(int(task["points"]), task["of"]))
            result.points, result.of = (sum(task[key] for task in result.tasks) for key in ("points", "of"))
            if path.stem == _digest(kept["name"].encode())[:20]:
                found[kept["name"]] = (str(kept["key"]), result)
    return found


def _seed_of(out: Path, seed: int | None) -> int:
    """The seed given; else that of the earlier run into the same folder; else a fresh one. It is written down."""
    file = out / "seed.txt"
    if seed is None:
        with suppress(OSError, ValueError):
            return int(file.read_text())
        seed = secrets.randbits(48)
    file.write_text(f"{seed}\n")
    return seed


def _base_of(out: Path, paths: Sequence[Path]) -> Path:
    """The folder below which names begin: that of earlier runs into `out` if it holds the paths, so that one learner
    who is graded alone has the same name as in the class."""
    file, paths = out / "class.txt", [Path(os.path.abspath(path)) for path in paths]
    base = common_folder(paths)
    with suppress(OSError):
        earlier = Path(file.read_text(encoding="utf-8").strip())
        if all(path.is_relative_to(earlier) for path in paths):
            return earlier
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{base}\n", encoding="utf-8")
    return base


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
    add, seconds = parser.add_argument, {"type": float}
    add("paths", nargs="*", type=Path, help="notebooks or folders (default: exercises/)")
    add("--out", type=Path, help="where results are written (default: runs/grades)")
    add("--jobs", type=int, help="how many at a time (default: what cores and memory allow)")
    add("--seconds", **seconds, default=defaults.cell, help="CPU time for a cell and for a task")
    add("--total", **seconds, default=defaults.total, help="CPU time for a submission's cells")
    add(
        "--clock",
        **seconds,
        help="seconds by the clock for a submission's cells (default: four times --total)",
    )
    add(
        "--memory",
        type=int,
        default=defaults.memory,
        help="MB that a submission may use (default: %(default)s)",
    )
    add("--seed", type=int, help="draw the same inputs as an earlier run")
    add("--again", action="store_true", help="grade also what was graded before")
    add("--resume", action="store_true", help="believe what an earlier run kept, even without protection")
    add("--pass-mark", **seconds, help="percent; exit code 3 when a submission has fewer")
    options = parser.parse_args(argv)
    paths = options.paths or [ROOT / "exercises"]
    out = options.out or ROOT / "runs" / "grades"
    if absent := [path for path in paths if not path.exists()]:
        print(f"There is no notebook at {', '.join(map(str, absent))}.", file=sys.stderr)
        return 2
    if (private := private_checks()) and not list(private.glob("ex[0-9][0-9].py")):
        print(
            f"COURSE_CHECKS names {private}, where there is no ex01.py or the like. "
            "Next: name the folder that holds your checks, or unset COURSE_CHECKS.",
            file=sys.stderr,
        )
        return 2
    submissions = find_submissions(paths, _base_of(out, paths))
    if not submissions:
        print(f"There is no notebook at {', '.join(map(str, paths))}.", file=sys.stderr)
        return 2
    limits = Limits(options.seconds, options.total, options.memory, options.clock)
    hidden = [path if path.is_dir() else path.parent for path in paths]
    chosen = (options.seed, limits, options.jobs, options.again)
    try:
        results = grade_all(submissions, out, *chosen, resume=options.resume, hidden=hidden)
    except KeyboardInterrupt:
        return 130
    print(
        f"\n{table(results)}\n\nWritten: {out / 'results.csv'}, {out / 'results.json'} and {out / 'feedback'}"
    )
    print(says_protection())
    if any(result.problem for result in results):
        return 1
    failed = [r for r in results if 100 * r.points < (options.pass_mark or 0) * r.of]
    return 3 if failed else 0


def says_protection() -> str:
    """What stood between the submissions and your files, in a sentence."""
    way = protection()
    if way == "none":
        return (
            "Protection: none; submissions ran with your rights (see `course.py grade --help`). "
            "Next: on Linux, install bubblewrap."
        )
    return f"Protection: {way}."


if __name__ == "__main__":
    sys.exit(main())
