"""More than a hundred hostile, broken and unlucky submissions, graded in one run as a class: `python tests/hostile.py`.

Each says how many points it has honestly earned. What must hold of all: the class is graded to its end, none takes longer
than its limits, none gets more than it earned (but by tampering with the checks inside its own kernel, which is counted
apart), none changes a classmate's file or grade, and none leaves anything running. The table of what was tried is written
to tests/hostile.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes

from course_grading import grading, kernels
from course_grading.kernels import Limits

TABLE = Path(__file__).with_suffix(".md")
TOY = """
from course_grading.checks.task import Case, Mistake, Task

def _case(name, points, low):
    return Case(name, points, lambda rng: (rng.randint(low, low + 90),))

TASKS = (
    Task("double", "Double it", 1, lambda x: 2 * x, [_case("small numbers", 6, 1), _case("negative ones", 4, -99)],
         [Mistake("added", "2 is added.", lambda x: x + 2)], ["Twice."]),
    Task("square", "Square it", 1, lambda x: x * x, [_case("small numbers", 10, 2)], [], ["x times x."]),
)
"""
DOUBLE, SQUARE = "def double(x):\n    return x * 2", "def square(x):\n    return x ** 2"
WRONG = "def double(x):\n    return x + 2\ndef square(x):\n    return 0"
LIMITS = Limits(cell=3.0, total=10.0, memory=500, clock=120.0, disk=40)
GRACE = 2.0
SLEEPS = "3141592"  # seconds that what is left behind would sleep: so it is found
TAMPERING = "tampering inside its own kernel"
WHOLE = "the class as a whole"


@dataclass(frozen=True)
class Submission:
    """One hostile notebook: its group, its name, what it holds, and the points it has earned.

    `holds` is a list of cells, or a function that writes the file in its own way.
    """

    group: str
    name: str
    holds: list[str] | Callable[[Path], None]
    earned: int = 20


def notebook(*cells: str, exercise: object = "90") -> str:
    made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    made.metadata["course"] = {"exercise": exercise}
    return json.dumps(made)


def raw(text: str | bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(
        text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    )


def around(cell: str) -> list[str]:
    """A right answer, the cell, another right answer."""
    return [DOUBLE, cell, SQUARE]


def group(name: str, cells: dict[str, str], earned: int = 20) -> list[Submission]:
    return [Submission(name, label, around(cell), earned) for label, cell in cells.items()]


NOT_ENDING = {
    "an endless loop": "while True: pass",
    "an endless loop that catches everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "interrupts ignored": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "a million seconds of sleep": "import time; time.sleep(10**6)",
    "a lock that nobody gives back": "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
    "a generator without an end": "sum(1 for _ in iter(int, 1))",
    "a regular expression that backtracks": "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')",
    "a very large power": "len(str(7 ** 10**8))",
    "a pause that holds the interpreter": "import ctypes; ctypes.PyDLL(None).sleep(10**6)",
    "it stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "waiting for a key": "input('?')",
    "reading from the terminal": "import sys; sys.stdin.read()",
    "a subprocess that sleeps": f"import subprocess; subprocess.run(['sleep', '{SLEEPS}'])",
    "an await without an end": "import asyncio; await asyncio.sleep(10**6)",
    "a thread that computes": "import threading\ndef f():\n    while True: sum(range(1000))\nthreading.Thread(target=f, daemon=True).start()",
}
ENDING_THE_KERNEL = {
    "os._exit": "import os; os._exit(1)",
    "kill -9 of itself": "import os; os.kill(os.getpid(), 9)",
    "a segmentation fault": "import ctypes; ctypes.string_at(0)",
    "sys.exit": "import sys; sys.exit(3)",
    "exit()": "exit()",
    "os.abort": "import os; os.abort()",
    "kill of the whole group": "import os; os.killpg(os.getpgid(0), 9)",
    "kill of everything": "import os; os.kill(-1, 9)",
    "kill of the parent": "import os; os.kill(os.getppid(), 9)",
    "exec of another program": "import os; os.execv('/bin/true', ['true'])",
    "a fatal error of Python's": "import faulthandler; faulthandler._fatal_error_c_thread()",
    "the event loop stopped": "import asyncio; asyncio.get_event_loop().stop()",
}
TOO_MUCH = {
    "3 GB at once": "hog = bytearray(3 * 10**9)",
    "memory in small pieces": "hog = []\nwhile True: hog.append(bytearray(10**7))",
    "shared memory": "import mmap\nm = mmap.mmap(-1, 2 * 10**9)\nfor i in range(0, len(m), 4096): m[i] = 1",
    "children with memory": (
        "import os, time\nfor _ in range(4):\n    if not os.fork():\n        x = bytearray(4 * 10**8)\n"
        f"        for i in range(0, len(x), 4096): x[i] = 1\n        time.sleep({SLEEPS})\ntime.sleep(20)"
    ),
    "a MemoryError caught": "try:\n    hog = [0] * 10**10\nexcept MemoryError: pass",
    "recursion": "def f(): return f()\nf()",
    "recursion without a limit": "import sys; sys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)",
    "a flood of prints": "while True: print('x' * 100_000)",
    "a flood past Python": "import os\nwhile True: os.write(1, b'x' * 100_000)",
    "a flood of displays": "while True: display('x' * 100_000)",
    "an error of 50 MB": "raise ValueError('x' * 50_000_000)",
    "a large file": "with open('large', 'wb') as f:\n    while True: f.write(b'x' * 10**6)",
    "many files": "for i in range(10**6): open(f'f{i}', 'w').close()",
    "a large file in /tmp": "with open('/tmp/large', 'wb') as f:\n    for _ in range(200): f.write(b'x' * 10**6)",
    "a fork bomb": "import os\nwhile True: os.fork()",
    "many threads": "import threading, time\nfor _ in range(400): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()",
    "many open files": "kept = []\nwhile True: kept.append(open('/dev/null'))",
    "large numbers shown": "10 ** 4000",
}
LEFT_BEHIND = {
    "a child that sleeps": f"import subprocess; subprocess.Popen(['sleep', '{SLEEPS}'])",
    "a child in a session of its own": f"import subprocess; subprocess.Popen(['sleep', '{SLEEPS}'], start_new_session=True)",
    "a daemon by two forks": (
        f"import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork(): os.execvp('sleep', "
        f"['sleep', '{SLEEPS}'])\n    os._exit(0)"
    ),
    "twenty forked children": (
        f"import os\nfor _ in range(20):\n    if not os.fork(): os.execvp('sleep', ['sleep', '{SLEEPS}'])"
    ),
    "forked children that share memory": (
        f"import os, time\nx = bytearray(10**8)\nfor _ in range(12):\n    if not os.fork():\n        "
        f"time.sleep({SLEEPS})"
    ),
    "nohup in a shell": f"!nohup sleep {SLEEPS} > /dev/null 2>&1 &",
}
REACHING_OUT = {
    "deletes the submissions": "import shutil; shutil.rmtree({class_folder!r}, ignore_errors=True)",
    "writes into a classmate's file": "open({mate!r}, 'w').write('{{}}')",
    "appends to a classmate's file": "open({mate!r}, 'a').write(' ')",
    "renames a classmate's file": "import os; os.rename({mate!r}, {mate!r} + '.old')",
    "opens a classmate's file to all": "import os; os.chmod({mate!r}, 0)",
    "writes grades": (
        "import json, glob\nfor path in glob.glob({out!r} + '/parts/*.json'):\n    kept = json.load(open(path))\n"
        "    kept['result']['points'] = 999\n    json.dump(kept, open(path, 'w'))"
    ),
    "deletes grades": "import shutil; shutil.rmtree({out!r})",
    "plants a part": "open({out!r} + '/parts/00.json', 'w').write('{{\"name\": \"zz_mate/90.ipynb\"}}')",
    "changes the private checks": "open({checks!r}, 'w').write('TASKS = ()')",
    "changes the course": "import course_grading; open(course_grading.__file__, 'a').write('1/0')",
    "remounts what is read-only": "import subprocess; subprocess.run('mount -o remount,rw /; mount -o remount,rw,bind /', shell=True)\nopen({mate!r}, 'a').write(' ')",
    "leaves its namespaces": "import subprocess; subprocess.run(['nsenter', '-t', '1', '-a', 'touch', {mate!r} + '.x'])",
    "calls the network": "import socket; socket.create_connection(('127.0.0.1', {port}), 2).send(b'hello')",
    "looks for secrets": "import os, socket\nif os.environ.get('CLASS_TOKEN'): open({class_folder!r} + '/leak', 'w').write('x')",
    "a loop that waits for grades": (
        "import glob, os, threading, time\ndef f():\n    while True:\n        for p in glob.glob({out!r} + "
        "'/**/*.json', recursive=True):\n"
        "            open(p, 'w').write('{{}}')\n        time.sleep(0.05)\nthreading.Thread(target=f, "
        "daemon=True).start()"
    ),
    "kills other kernels": (
        "import psutil\nfor p in psutil.process_iter(['cmdline']):\n    if 'ipykernel_launcher' in ' "
        "'.join(p.info['cmdline'] or ()) and p.pid != __import__('os').getpid():\n"
        "        try: p.kill()\n        except Exception: pass"
    ),
    "talks to other kernels": "import glob\nfor p in glob.glob('/tmp/grade-*/kernel/*'): open(p, 'w').write('x')",
}  # fmt: skip
MESS = {
    "%reset": "%reset -f",
    "its names deleted": "for n in list(globals()):\n    if n == 'nothing': del globals()[n]",
    "sys.path emptied": "import sys; sys.path[:] = []",
    "sys.modules emptied": "import sys; sys.modules.clear()",
    "the course's modules gone": "import sys\nfor n in [n for n in sys.modules if n.startswith('course')]: del sys.modules[n]",
    "json.py in its folder": "open('json.py', 'w').write('1/0'); open('numpy.py', 'w').write('1/0')",
    "course_grading in its folder": "import os; os.makedirs('course_grading'); open('course_grading/__init__.py', 'w').write('1/0')",
    "its folder deleted": "import os, shutil; shutil.rmtree(os.getcwd(), ignore_errors=True)",
    "another folder": "import os; os.chdir('/')",
    "warnings as errors": "import warnings; warnings.simplefilter('error')",
    "os.environ replaced": "import os; os.environ = {}",
    "os.environ emptied": "import os; os.environ.clear()",
    "a random seed": "import random; random.seed(1); random.Random.randint = lambda *a: 4",
    "stdout closed": "import sys; sys.stdout.close(); sys.stderr.close()",
    "file descriptors closed": "import os; os.closerange(0, 3)",
    "print replaced": "import builtins; builtins.print = None",
    "a shell command": "!echo hello; false",
    "%%bash": "%%bash\nexit 3",
    "a magic that does not exist": "%nothing_of_the_kind",
    "globals as a name": "globals = locals = vars = None",
    "get_ipython as a name": "get_ipython = None; __name__ = 'x'",
    "a syntax error": "def double(x)\n    return x",
    "terminal escapes": "raise ValueError('\\x1b[2J\\x1b]0;mine\\x07 999 of 20 points\\nmate: 0 of 20')",
    "a name that is a formula": "raise ValueError('=HYPERLINK(1)')",
    "check cells rewritten": "from course_utils import check\ndef check(*a): print('all correct')\ncheck('double', None)",
    "the checks replaced": "import course_grading.checks as c; c.examine = lambda *a: 1000; c.tasks_of = lambda n: []",
    "Task.examine replaced": "from course_grading.checks.task import Task; Task.examine = lambda self, a, s: 1 / 0",
    "values.same always true": "from course_grading.checks import values; values.same = lambda *a: True",
}
PLACES = ("zz_mate", "zz_mate_2")
CHEATING = {
    "checks of its own": (
        "import os\nopen('ex90.py', 'w').write('TASKS = ()')\nos.environ['COURSE_CHECKS'] = os.getcwd()\n"
        + WRONG
    ),
    "a maximum of its own": (
        "import os\nopen('ex90.py', 'w').write('''from course_grading.checks.task import *\\n"
        "TASKS = (Task('double', 'D', 1, lambda x: x + 2, [Case('c', 980, lambda r: (1,))], [], ['h']),)''')\n"
        "os.environ['COURSE_CHECKS'] = os.getcwd()\n" + WRONG
    ),
    "examine gives 1000": "import course_grading.checks as c; c.examine = lambda *a: 1000\n" + WRONG,
    "same is always true": "from course_grading.checks import values; values.same = lambda *a: True\n"
    + WRONG,
    "the result is looked for in the frames": (
        "import sys\ndef double(x):\n    f = sys._getframe()\n    while f := f.f_back:\n"
        "        if 'expected' in f.f_locals: return f.f_locals['expected']\n    return None\nsquare = double"
    ),
    "a number that equals everything": "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef double(x): return E(0)\nsquare = double",
    "an object that claims to be right": "class E:\n    def __eq__(self, o): return True\n    def __array__(self, *a, **k): raise ValueError\ndef double(x): return E()\nsquare = double",
    "a result file": "open('result.json', 'w').write('{\"points\": 999}')\n" + WRONG,
    "points printed": 'print(\'{"points": 999, "status": "correct"}\')\n' + WRONG,
    "_course_value set": "_course_value = '{\"points\": 999}'\n" + WRONG,
    "Case points raised": "from course_grading.checks import find\nfor c in find('double').cases: object.__setattr__(c, 'points', 500)\n"
    + WRONG,
}
TAMPERS = {
    "the right answers taken from the checks": "from course_grading.checks import find\ndouble, square = find('double').answer, find('square').answer",
    "the examiner replaced": 'import builtins\nclass C:\n    result = \'{"points": 999, "status": "correct", "mistake": null, "message": ""}\'\n    def __getattr__(self, n): return lambda *a: None\nbuiltins.__course__ = C()',
    "json replaced in the examiner": 'import json; json.dumps = lambda *a, **k: \'{"points": 999, "status": "ok", "mistake": null, "message": ""}\'',
    "the examiner gives nonsense": "import builtins\nclass C:\n    result = '[1, 2'\n    def __getattr__(self, n): return lambda *a: None\nbuiltins.__course__ = C()",
    "the examiner is gone": "import builtins; del builtins.__course__",
}
ANSWERS = {
    "an answer that never ends": (f"def double(x):\n    while True: pass\n{SQUARE}", 10),
    "an answer that ends the kernel": (f"import os\ndef double(x): os._exit(1)\n{SQUARE}", 10),
    "an answer that sleeps": (f"import time\ndef double(x): time.sleep(10**6)\n{SQUARE}", 10),
    "an answer that exits": (f"import sys\ndef double(x): sys.exit()\n{SQUARE}", 10),
    "an answer that takes 3 GB": (f"def double(x): return bytearray(3 * 10**9)\n{SQUARE}", 10),
    "an answer that recurses": (f"def double(x): return double(x)\n{SQUARE}", 10),
    "an answer that is a text": (f"double = 'x * 2'\n{SQUARE}", 10),
    "an answer that is a class": (f"class double: pass\n{SQUARE}", 10),
    "an answer that is deleted": (f"{DOUBLE}\n{SQUARE}\ndel double", 10),
    "an answer with another signature": (f"def double(): return 2\n{SQUARE}", 10),
    "an answer that interrupts": (f"def double(x): raise KeyboardInterrupt\n{SQUARE}", 10),
    "an answer with a surrogate in its error": (
        f"def double(x): raise ValueError(chr(0xd800))\n{SQUARE}",
        10,
    ),
    "an answer that floods": (f"def double(x):\n    while True: print('x' * 10**5)\n{SQUARE}", 10),
    "both answers end the kernel": ("import os\ndef double(x): os._exit(1)\nsquare = double", 0),
}
GOOD = notebook(DOUBLE, SQUARE)
FILES: dict[str, tuple[Callable[[Path], None], int]] = {
    "empty": (raw(""), 0),
    "no JSON": (raw("not a notebook"), 0),
    "cut off": (raw(GOOD[: len(GOOD) // 2]), 0),
    "a list": (raw("[]"), 0),
    "UTF-16": (raw(GOOD.encode("utf-16")), 0),
    "with a BOM": (raw(b"\xef\xbb\xbf" + GOOD.encode()), 20),
    "bytes of chance": (raw(bytes(range(256)) * 40), 0),
    "nested too deeply": (raw("[" * 200_000), 0),
    "no cells": (raw('{"metadata": {"course": {"exercise": "90"}}, "nbformat": 4, "cells": []}'), 0),
    "cells without a source": (raw('{"cells": [{"cell_type": "code"}]}'), 0),
    "format 3": (raw('{"worksheets": [{"cells": []}], "nbformat": 3}'), 0),
    "metadata a list": (
        raw(GOOD.replace('"metadata": {"course": {"exercise": "90"}}', '"metadata": []')),
        20,
    ),
    "exercise a list": (raw(notebook(DOUBLE, SQUARE, exercise=["90"])), 20),
    "exercise a number": (raw(notebook(DOUBLE, SQUARE, exercise=90)), 20),
    "another exercise": (raw(notebook(DOUBLE, SQUARE, exercise="77")), 0),
    "a lone surrogate": (raw(GOOD.replace("return x * 2", "return x * 2 # \\ud800")), 20),
    "no code": (
        raw(writes(new_notebook(cells=[new_markdown_cell("Hi")], metadata={"course": {"exercise": "90"}}))),
        0,
    ),
    "a link to a classmate's": (lambda path: path.symlink_to(Path("..") / PLACES[0] / "90.ipynb"), 0),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), 0),
    "a link to itself": (lambda path: path.symlink_to(path.name), 0),
    "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), 0),
    "a pipe": (lambda path: os.mkfifo(path), 0),
    "a folder": (lambda path: path.mkdir(), 0),
    "a hundred cells": (raw(notebook(*["x = 1"] * 100, DOUBLE, SQUARE)), 20),
    "30 MB of outputs": (raw(GOOD[:-1] + ', "more": "' + "x" * 30_000_000 + '"}'), 20),
}
UNLUCKY = [
    Submission("right ones among them", name, cells, earned)
    for name, cells, earned in [
        ("all right", [DOUBLE, SQUARE], 20),
        ("cells twice", [DOUBLE, SQUARE, DOUBLE, SQUARE], 20),
        ("cells in another order", [SQUARE, DOUBLE], 20),
        ("one cell missing", [SQUARE], 10),
        ("partial credit", ["def double(x):\n    return abs(x) * 2", SQUARE], 16),
        ("all wrong", [WRONG], 0),
        ("untouched", ["def double(x):\n    raise NotImplementedError()"], 0),
        ("every cell fails", ["1 / 0", DOUBLE, "1 / 0", SQUARE, "nothing"], 20),
        ("six cells that end the kernel", [*["import os; os._exit(1)"] * 6, DOUBLE, SQUARE], 0),
        ("six cells that sleep", [*["import time; time.sleep(10**6)"] * 6, DOUBLE, SQUARE], 20),
    ]
]


# Without protection these would harm the machine that they are tried on.
DANGEROUS = {"kill of everything", "kill of the parent", "a fork bomb", "a large file in /tmp"}


def everything() -> list[Submission]:
    """All submissions, in groups; where nothing protects this machine, without those that would harm it."""
    safe = kernels.protection() != "none"
    found = _everything()
    return [s for s in found if safe or (s.name not in DANGEROUS and s.group != "reaching for others")]


def _everything() -> list[Submission]:
    return [
        *group("cells that do not end", NOT_ENDING),
        *group("cells that end the kernel", ENDING_THE_KERNEL),
        *group("too much of something", TOO_MUCH),
        *group("left behind", LEFT_BEHIND),
        *group("reaching for others", REACHING_OUT),
        *group("a mess in its own kernel", MESS),
        *[Submission("cheating", name, [cell], 0) for name, cell in CHEATING.items()],
        *[Submission(TAMPERING, name, [WRONG, cell], 20) for name, cell in TAMPERS.items()],
        *[Submission("answers, when examined", name, [cell], n) for name, (cell, n) in ANSWERS.items()],
        *[Submission("files", name, make, earned) for name, (make, earned) in FILES.items()],
        *UNLUCKY,
    ]


# What a right answer may lose to its own neighbour: points that are not given though they were earned.
MAY_LOSE = {"%reset", "many open files", "sys.modules emptied", "a random seed", "a syntax error", "file descriptors closed", "stdout closed",
            "kill of everything", "exercise a list", "metadata a list", "globals as a name"}  # fmt: skip


@dataclass
class Tried:
    """What became of one submission: `flaws` is empty if it ended as it should."""

    submission: Submission
    result: grading.Result
    flaws: list[str]


def run(
    submissions: list[Submission], jobs: int | None = None, say: Callable[[str], None] = print
) -> list[Tried]:
    """Grade the submissions as one class and look at what became of each, of the class, and of its files."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        folder = Path(name).resolve()
        (folder / "private").mkdir()
        checks = folder / "private" / "ex90.py"
        checks.write_text(TOY)
        os.environ |= {"COURSE_CHECKS": str(checks.parent), "CLASS_TOKEN": "secret"}
        calls: list = []
        threading.Thread(target=_listen, args=(server, calls), daemon=True).start()
        out, mates = folder / "grades", [folder / "class" / place / "90.ipynb" for place in PLACES]
        known = {
            "class_folder": str(folder / "class"),
            "mate": str(mates[0]),
            "out": str(out),
            "checks": str(checks),
        }
        paths = {}
        for mate in mates:
            mate.parent.mkdir(parents=True)
            mate.write_text(GOOD)
        for number, one in enumerate(submissions):
            path = folder / "class" / f"{number:03}" / "90.ipynb"
            path.parent.mkdir()
            if callable(one.holds):
                one.holds(path)
            else:
                reaches = one.group == "reaching for others"
                path.write_text(
                    notebook(
                        *(
                            c.format(**known, port=server.getsockname()[1])
                            if reaches and "def " not in c[:4]
                            else c
                            for c in one.holds
                        )
                    )
                )
            paths[f"{number:03}/90.ipynb"] = path
        before = (
            _content(folder / "class")
            | _content(folder / "private")
            | _content(kernels.ROOT / "course_grading")
        )
        chosen = grading.find_submissions([folder / "class"]) | paths
        kernels.GRACE_SECONDS, kernels.WALL_FACTOR = GRACE, 4
        results = grading.grade_all(chosen, out, 7, LIMITS, jobs, say=say, hidden=[folder / "class"])
        found = {result.submission: result for result in results}
        after = (
            _content(folder / "class")
            | _content(folder / "private")
            | _content(kernels.ROOT / "course_grading")
        )
        shared = []
        if before != after:
            shared.append(
                f"files were changed: {sorted(k for k in before | after if before.get(k) != after.get(k))[:3]}"
            )
        if any(found[f"{place}/90.ipynb"].points != 20 for place in PLACES):
            shared.append("a classmate lost points")
        if calls and "bubblewrap" in kernels.protection():
            shared.append("the network was reached")
        if left := _left_running():
            shared.append(f"{left} processes were left running")
        written = {
            r["submission"]: r["points"] for r in json.loads((out / "results.json").read_text())["results"]
        }
        tried = []
        for number, one in enumerate(submissions):
            result = found[f"{number:03}/90.ipynb"]
            tried.append(Tried(one, result, _flaws(one, result)))
            if written[result.submission] != result.points:
                tried[-1].flaws.append("the table says otherwise")
        if shared:
            tried.append(Tried(Submission(WHOLE, "the class", [], 0), grading.Result("class"), shared))
        return tried


def _flaws(one: Submission, result: grading.Result) -> list[str]:
    flaws = []
    if result.points > one.earned:
        flaws.append(f"gained: {result.points} for {one.earned}")
    if result.of not in (0, 20):
        flaws.append(f"a maximum of its own: {result.of}")
    if result.points < one.earned and one.group != TAMPERING and one.name not in MAY_LOSE:
        flaws.append(f"lost: {result.points} for {one.earned} ({result.problem or ' '.join(result.notes)})")
    starts = 60 * grading.MOST_RESTARTS  # a busy machine takes long to start a kernel
    if result.seconds > 2 * (LIMITS.by_the_clock + GRACE) + starts:
        flaws.append(f"hung: {result.seconds:.0f} s")
    return flaws


def _content(folder: Path) -> dict[str, bytes | str]:
    """The files below a folder, by what they hold."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file() and "__pycache__" not in path.parts:
            found[str(path)] = path.read_bytes()
        else:
            found[str(path)] = "a folder or the like"
    return {name: what for name, what in found.items() if "__pycache__" not in name}


def _listen(server: socket.socket, calls: list) -> None:
    while True:
        try:
            calls.append(server.accept())
        except OSError:
            return


def _left_running() -> int:
    import psutil

    time.sleep(1)
    return sum(SLEEPS in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def table(tried: list[Tried], seconds: float) -> str:
    """What was tried, group by group, as Markdown."""
    lines = [
        "# Hostile submissions",
        "",
        f"Written by `python tests/hostile.py`: {sum(t.submission.group != WHOLE for t in tried)} submissions "
        f"in one run of "
        f"{seconds / 60:.0f} minutes, on {platform.system()}; protection: {kernels.protection()}.",
        "",
        "| group | tried | ended as they should | hung | took more points than earned | lost earned points | other |",
        "|---|---|---|---|---|---|---|",
    ]
    groups = list(dict.fromkeys(t.submission.group for t in tried))
    for name in [*groups, "all"]:
        own = [t for t in tried if name in ("all", t.submission.group)]
        kinds = [
            sum(any(f.startswith(kind) for f in t.flaws) for t in own) for kind in ("hung", "gained", "lost")
        ]
        other = sum(any(not f.startswith(("hung", "gained", "lost")) for f in t.flaws) for t in own)
        counts = [len(own), sum(not t.flaws for t in own), *kinds, other]
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    full = sum(t.submission.group == TAMPERING and t.result.points == 20 for t in tried)
    lines += [
        "",
        f"Of those that tamper with the checks inside their own kernel, {full} took the full points (20 of "
        f"20), and none "
        "more: that is what the grader does not claim to prevent.",
        f"Not counted as lost: what a cell undoes itself ({', '.join(sorted(MAY_LOSE))}).",
        "No file of a classmate, no grade and no file of the course was changed; nothing was left running."
        if all(t.submission.group != WHOLE for t in tried)
        else "See the class as a whole.",
    ]
    flaws = [f"- {t.submission.group}, {t.submission.name}: {'; '.join(t.flaws)}" for t in tried if t.flaws]
    return "\n".join([*lines, *(["", "Not as they should:", "", *flaws] if flaws else [])]) + "\n"


def main() -> int:
    """Try them all (or those whose name or group holds a text) and write the table. 0: all ended as they should."""
    parser = argparse.ArgumentParser(description="Grade hostile submissions, and write tests/hostile.md.")
    parser.add_argument("--only", help="those whose name or group holds this text; nothing is written then")
    parser.add_argument("--jobs", type=int, help="how many at a time")
    options = parser.parse_args()
    chosen = [s for s in everything() if not options.only or options.only in f"{s.group}: {s.name}"]
    started = time.monotonic()
    tried = run(chosen, options.jobs)
    said = table(tried, time.monotonic() - started)
    if not options.only:
        TABLE.write_text(said, encoding="utf-8")
    print(said)
    return int(any(t.flaws for t in tried))


if __name__ == "__main__":
    sys.exit(main())
