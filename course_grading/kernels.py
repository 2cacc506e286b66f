"""A kernel for one submission: apart from everything else where the system can do that, and watched while it runs.

What stands between a submission and your files is, in this order, what works on this machine:

- *bubblewrap* (the program `bwrap`): no network, no processes but its own; all files read-only, and your home folder,
  the submissions and the grades out of sight; started by root, as a user of its own besides;
- *another user*: if root grades, a user without a name, who may write nowhere but in the submission's own folder;
- *none*: the submission runs with your rights, and the limits stop accidents only.
"""

from __future__ import annotations

import ast
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from .inside import MOST_PROCESSES

ROOT = Path(__file__).resolve().parent.parent
WALL_FACTOR = 10  # a busy machine gives a process a small part of each second; sleeping counts as well
GRACE_SECONDS = 15.0  # after an interrupt, before the kernel is killed
FLOOD_BYTES = 5_000_000
FIRST_USER = 61_000  # numbers that no account of a usual system has
WAYS = ("bubblewrap, another user", "bubblewrap", "another user", "none")
# All of the environment that a submission sees, besides what kernel_environment sets: no tokens, no passwords.
PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "WINDIR", "NUMBER_OF_PROCESSORS", "PYTHONUTF8"),
)  # fmt: skip
_users = count(FIRST_USER + os.getpid() % 1000 * 4)


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    `cell` and `total` are seconds of CPU time, for a cell or a task and for all cells. By the clock a cell may take ten
    times `cell`, and all cells together `clock` seconds (default: four times `total`); all tasks as much again.
    `disk` and `memory` are in MB; memory is what the kernel and its children use, and not what they reserve.
    """

    cell: float = 60.0
    total: float = 300.0
    memory: int = 2000
    clock: float | None = None
    disk: int = 500

    @property
    def by_the_clock(self) -> float:
        return 4 * self.total if self.clock is None else self.clock


def kernel_environment(folder: Path) -> dict[str, str]:
    """The environment of a submission's kernel: this course first, one thread, no progress file, and no secrets."""
    cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface", "hub")
    own = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "COURSE_GRADING": "1",
        "COURSE_PROGRESS": "off",
        "COURSE_PAIR": os.environ.get("COURSE_PAIR") or "pebble",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(Path(cache).expanduser()),
        "IPYTHONDIR": str(folder / "home" / ".ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "USER": "learner",
        "LOGNAME": "learner",
    }
    for name in ("HOME", "USERPROFILE"):
        own[name] = str(folder / "home")
    for name in ("TMPDIR", "TEMP", "TMP"):
        own[name] = str(folder / "tmp")
    if private := private_checks():
        own["COURSE_CHECKS"] = str(private)
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | own


def private_checks() -> Path | None:
    """The folder that COURSE_CHECKS names, absolute: a kernel runs in a folder of its own."""
    named = os.environ.get("COURSE_CHECKS")
    return Path(named).expanduser().resolve() if named else None


# -- apart from everything else -------------------------------------------------------------------------------


@cache
def protection() -> str:
    """The first of WAYS that works on this machine; tried once, by starting Python in it."""
    for way in WAYS[:-1]:
        if "another user" in way and not (hasattr(os, "geteuid") and os.geteuid() == 0):
            continue
        if "bubblewrap" in way and not shutil.which("bwrap"):
            continue
        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            user = make_home(folder, way)
            command = [sys.executable, "-c", "import ipykernel, course_grading.inside, numpy"]
            env = kernel_environment(folder) | {"PYTHONDONTWRITEBYTECODE": "1"}
            with suppress(OSError, subprocess.SubprocessError):
                done = subprocess.run(
                    [*wall(folder, way, user), *command],
                    cwd=folder / "work",
                    env=env,
                    capture_output=True,
                    timeout=120,
                    **as_user(user, way),
                )
                if done.returncode == 0:
                    return way
    return WAYS[-1]


def make_home(folder: Path, way: str) -> int | None:
    """Make a submission's folders afresh, and give them to a user of its own where there is to be one: its number."""
    for name in ("work", "home", "tmp", "shm", "kernel"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(exist_ok=True)
    user = FIRST_USER + next(_users) % 4000 if "another user" in way else None
    if user is not None:
        for place in (folder, *folder.iterdir()):
            os.chown(place, user, user)
        folder.chmod(0o711)  # bubblewrap goes there before it becomes that user
    return user


def as_user(user: int | None, way: str) -> dict:
    """The arguments for subprocess that start a program as this user; behind bubblewrap it changes there."""
    if user is None or "bubblewrap" in way:
        return {}
    return {"user": user, "group": user, "extra_groups": [], "umask": 0o077}


def wall(folder: Path, way: str, user: int | None = None, hidden: Sequence[Path] = ()) -> list[str]:
    """The command that puts a program behind bubblewrap, as `user` if one is given; empty for the other ways.

    `hidden` are folders that the program is not to see. Those in which Python or the course lies can only be made
    read-only, as all else is but the submission's own folder.
    """
    if "bubblewrap" not in way:
        return []
    private, environment = private_checks(), kernel_environment(folder)
    needed = [ROOT, *map(Path, (sys.prefix, sys.base_prefix, environment["HF_HUB_CACHE"]))]
    needed += [Path(place) for place in environment["PYTHONPATH"].split(os.pathsep)]
    needed = {place.resolve() for place in [*needed, *([private] if private else [])] if place.exists()}
    # Root in a user namespace would still be root to the limit of processes: as another user it is held to it.
    apart = (
        ["--unshare-all"] if user is None else [f"--unshare-{kind}" for kind in ("ipc", "pid", "net", "uts")]
    )
    command = ["bwrap", *apart, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if user is not None:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    command += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--unsetenv", "JPY_PARENT_PID"]  # the kernel would not find its parent, and end itself
    command += ["--bind", str(folder / "shm"), "/dev/shm"]
    emptied = []
    for place in dict.fromkeys(
        [Path.home(), Path("/tmp"), Path("/var/tmp"), Path(tempfile.gettempdir()).resolve()]
    ):
        if place.is_dir() and place != Path("/") and place not in needed:
            emptied.append(place)
            command += ["--tmpfs", str(place)]
    for place in sorted(needed):
        above = [one for one in emptied if place.is_relative_to(one)]
        for parent in reversed(place.parents if above else ()):
            if any(parent.is_relative_to(one) and parent != one for one in above):
                command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", str(place), str(place)] if above else []
    for place in dict.fromkeys(path.resolve() for path in hidden):
        if place.is_dir() and not any(one.is_relative_to(place) for one in needed):
            emptied.append(place)
            command += ["--tmpfs", str(place)]
    command += ["--bind", str(folder), str(folder)]
    for place in emptied:
        command += ["--remount-ro", str(place)]
    become = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
    return [*command, "--chdir", str(folder / "work"), "--", *become]


# -- the kernel, from outside ---------------------------------------------------------------------------------


class Kernel:
    """A fresh Python kernel in an empty folder, watched while it runs; `hidden` is what it is not to see."""

    def __init__(self, folder: Path, limits: Limits, exercise: str, hidden: Sequence[Path] = ()):
        from jupyter_client.manager import KernelManager

        self._limits, self._folder, self._looked = limits, folder, 0.0
        self._cpu, self._seen = 0.0, {}  # seconds in all, and of each process when it was last seen
        way = protection()
        self._user = make_home(folder, way)
        walled = wall(folder, way, self._user, hidden)
        # Behind the wall there is no network, not even to this machine: the two talk through files.
        transport = {"transport": "ipc"} if walled else {}
        self._manager = KernelManager(kernel_name="python3", **transport)
        self._manager.connection_file = str(folder / "kernel" / "k.json")
        Path(self._manager.connection_file).unlink(missing_ok=True)
        self._manager.write_connection_file()
        if self._user is not None:
            os.chown(self._manager.connection_file, self._user, self._user)
        self._manager.kernel_spec.argv = [
            *(*walled, sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
        ]
        self._manager.start_kernel(
            cwd=str(folder / "work"),
            env=kernel_environment(folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_user(self._user, way),
        )
        import psutil

        self._process = psutil.Process(self._manager.provisioner.process.pid)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=600)
        prepare = f"_i.prepare({exercise!r}, {limits.memory}, {limits.disk})"
        ended, text = self.run(f"from course_grading import inside as _i; {prepare}; del _i", 600)
        if ended != "ok":
            self.close()
            raise RuntimeError(f"The checks of exercise {exercise} do not load: {text}.")

    def run(
        self, code: str, seconds: float, value: str | None = None, clock: float | None = None
    ) -> tuple[str, str]:
        """Run code and return (how it ended, text): ("ok", value), ("error", message), ("stopped" or "dead", why).

        `seconds` is CPU time; by the clock it may take WALL_FACTOR times that, or `clock` seconds if that is less.
        `value` is an expression for a str to return. "dead" means that the kernel is gone.
        """
        wanted = {"value": value} if value else {}
        started, cpu_before, printed = time.monotonic(), self.cpu_seconds(), 0
        slow = min(WALL_FACTOR * seconds, seconds * WALL_FACTOR if clock is None else clock)
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
            # What waits to be shown fills the kernel's memory: after a flood it is of no more use.
            flood = f"it printed more than {FLOOD_BYTES / 1e6:.1f} MB" if printed > FLOOD_BYTES else None
            if too_much := flood or self._too_much():
                self.close()
                return "dead", too_much
            used, wall_clock = self.cpu_seconds() - cpu_before, time.monotonic() - started
            if why:
                if time.monotonic() - interrupted > GRACE_SECONDS:
                    self.close()
                    return "dead", why
            elif used > seconds or wall_clock > slow:
                by = f"{seconds:.0f} s of computing" if used > seconds else f"{slow:.0f} s by the clock"
                why, interrupted = f"it did not end within {by}", time.monotonic()
                self._interrupt()

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

    def _interrupt(self) -> None:
        """What Ctrl-C does, to the kernel alone: bubblewrap in front of it would end on it."""
        for process in self._family():
            with suppress(Exception):
                if "ipykernel_launcher" in process.cmdline() and process.name() != "bwrap":
                    process.send_signal(signal.SIGINT)
                    return
        with suppress(Exception):
            self._manager.interrupt_kernel()

    def _family(self) -> list:
        """The kernel, what it started, and what else its user runs."""
        import psutil

        family = []
        with suppress(psutil.Error):
            family = [self._process, *self._process.children(recursive=True)]
        if self._user is not None:
            known = {process.pid for process in family}
            for process in psutil.process_iter(["uids"]):
                if (
                    process.info["uids"]
                    and process.info["uids"].real == self._user
                    and process.pid not in known
                ):
                    family.append(process)
        return family

    def answers(self) -> bool:
        """Whether it still runs code: what a cell did may end it only after the cell's reply."""
        return self.run("pass", 10)[0] != "dead"

    def cpu_seconds(self) -> float:
        """CPU time of the kernel and of everything it ever started, in seconds; it never falls.

        Of what has ended the system tells the sum, unless nobody waited for it: then what was last seen of it counts.
        """
        import psutil

        told = 0.0
        for process in self._family():
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process] = own = times.user + times.system
                told += own + times.children_user + times.children_system
        self._cpu = max(self._cpu, told, sum(self._seen.values()))
        return self._cpu

    def _too_much(self) -> str | None:
        """What it has used more of than it may: memory, processes or disk."""
        family = self._family()
        if len(family) > MOST_PROCESSES:
            return f"it started more than {MOST_PROCESSES} processes"
        if self._memory_mb(family) > self._limits.memory:
            return f"it used more than {self._limits.memory} MB of memory"
        if time.monotonic() - self._looked > 1:
            self._looked = time.monotonic()
            if disk_mb(self._folder, self._limits.disk) > self._limits.disk:
                return f"it wrote more than {self._limits.disk} MB, or too many files"
        return None

    def _memory_mb(self, family: list) -> float:
        """Memory of the kernel and its children; what several share counts once, where the system says so (PSS)."""
        import psutil

        used = 0.0
        for kind in ("rss", "pss"):  # asking for PSS takes time, so only what is large is asked for it
            used = 0.0
            for process in family:
                with suppress(psutil.Error):
                    told = process.memory_info() if kind == "rss" else process.memory_full_info()
                    used += getattr(told, kind, told.rss) / 1e6
            if used <= self._limits.memory:
                break
        return used

    def close(self) -> None:
        """End the kernel and everything it started."""
        import psutil

        family = self._family() if hasattr(self, "_process") else []
        with suppress(Exception):
            self._client.stop_channels()
        for _ in range(20):  # what forks while it is being ended is ended as well
            for process in family:
                with suppress(psutil.Error):
                    process.kill()
            alive = psutil.wait_procs(family, timeout=0.2)[1] if family else []
            family = [*alive, *([p for p in self._family() if p not in alive] if family else [])]
            if not family:
                break
        with suppress(Exception):
            self._manager.shutdown_kernel(now=True)


def disk_mb(folder: Path, enough: float) -> float:
    """MB of the files below a folder; counting stops above `enough`, or at 20,000 entries, which count as too much."""
    size = entries = 0
    for place, folders, files in os.walk(folder, onerror=None):
        entries += len(folders) + len(files)
        for name in files:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_blocks * 512 if os.name != "nt" else 0
        if entries > 20_000 or size / 1e6 > enough:
            return enough + 1
    return size / 1e6


def _ending(reply: dict) -> tuple[str, str]:
    if reply["status"] != "ok":
        return "error", f"{reply.get('ename', 'an error')}: {reply.get('evalue', '')}".strip(": ")
    value = reply.get("user_expressions", {}).get("value", {})
    return "ok", ast.literal_eval(value["data"]["text/plain"]) if value.get("status") == "ok" else ""
