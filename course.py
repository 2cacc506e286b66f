#!/usr/bin/env python3
"""Set up the course and start it: the only script a learner needs.

    python course.py lab       make .venv, install, open JupyterLab on the first lesson
    python course.py test      the same set-up plus the test tools, then the whole test suite
    python course.py doctor    versions, threads, which model pairs load from here, time to the first result

What else there is (progress, grade, and what maintainers need) stands in HANDED_ON below; each of those programs reads
its own options: `python course.py grade --help`.

Only the standard library is used, because this runs before anything is installed. The file is kept readable
for Python 3.6 on purpose: an old Python must get a sentence that says what to do, not a SyntaxError.

What makes a set-up complete is a stamp, `.venv/course-stamp.json`, written last. It holds a hash of the
requirements, the constraints and the Python version. No stamp, or another hash, means that pip runs again.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 11), (3, 13)
FIRST_LESSON = "notebooks/00_start_here.ipynb"
CLEARED = "cleared"  # where `lab --clear` puts copies of the lessons without results
FAST = "not slow and not browser and not notebooks and not real_model"  # pytest's markers, see pyproject.toml
CURRENT_PYTHON = "--use-current-python"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 4.0
WINDOWS = os.name == "nt"

# Which requirement files a command needs. "test" contains "lab".
LEVELS = {"lab": ["requirements.txt"], "test": ["requirements.txt", "requirements-test.txt"]}


class SetupError(Exception):
    """The set-up cannot go on. The message says what is wrong and what to do next."""


# --- which Python ---------------------------------------------------------------------------------------------


def unsupported_reason(version: Sequence[int], system: str, machine: str, bits: int) -> Optional[str]:
    """Why this Python cannot run the course, or None when it can.

    `version` is (major, minor, ...), `system` and `machine` are what `platform` calls them, `bits` is 32 or 64.
    """
    found, wanted = "%d.%d" % tuple(version[:2]), "%d.%d to %d.%d" % (OLDEST + NEWEST)
    if tuple(version[:2]) < OLDEST:
        return f"Python {found} is too old for this course, which needs Python {wanted}."
    if tuple(version[:2]) > NEWEST and not os.environ.get("COURSE_ANY_PYTHON"):
        return (
            f"Python {found} is newer than this course was tested with (Python {wanted}): some packages may "
            "not be built for it yet. To try it all the same, set COURSE_ANY_PYTHON=1."
        )
    if bits < 64:
        return "This is a 32-bit Python, and PyTorch is built for 64-bit Python only."
    if system == "Darwin" and machine == "x86_64":
        return (
            "This is a Python for Intel Macs, and PyTorch is no longer built for those. On a Mac with Apple "
            "silicon, use an arm64 (universal2) Python."
        )
    return None


def require_supported_python() -> None:
    """Raise SetupError unless the running Python can make the course's .venv."""
    bits = 64 if sys.maxsize > 2**32 else 32
    reason = unsupported_reason(sys.version_info, platform.system(), platform.machine(), bits)
    if reason is None:
        return
    other = supported_python_here()
    if other:
        command = " ".join([other, "course.py"] + sys.argv[1:])
        raise SetupError(f"{reason}\nNext: this machine also has a Python that fits; run\n    {command}")
    raise SetupError(
        f"{reason}\nNext: install Python 3.12 from https://www.python.org/downloads/ and run this "
        "command again with it."
    )


def supported_python_here() -> Optional[str]:
    """The command of a supported Python on this machine, for instance "python3.12"; None if there is none."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        candidate = ["py", f"-3.{minor}"] if WINDOWS else [f"python3.{minor}"]
        if shutil.which(candidate[0]) and python_version(candidate) == (3, minor):
            return " ".join(candidate)
    return None


def python_version(command: Sequence[str]) -> Optional[Tuple[int, int]]:
    """(major, minor) of the Python that `command` starts, or None when it does not start."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        shown = subprocess.check_output(
            [*command, "-c", code],
            stderr=subprocess.DEVNULL,
            timeout=60,
            universal_newlines=True,
            env=clean_environment(),
        )
        major, minor = shown.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


# --- the .venv and its stamp ----------------------------------------------------------------------------------


def venv_dir() -> Path:
    """Where the course keeps its environment."""
    return ROOT / ".venv"


def venv_python() -> Path:
    """The Python inside .venv, whether or not it exists."""
    return venv_dir() / ("Scripts/python.exe" if WINDOWS else "bin/python")


def stamp_path() -> Path:
    """The file that says which set-up is complete."""
    return venv_dir() / "course-stamp.json"


def install_log() -> Path:
    """pip's log while it runs; deleted when pip succeeds, so finding it means an unfinished install."""
    return venv_dir() / "course-install.log"


def wanted_stamp(level: str, version: Tuple[int, int]) -> str:
    """The hash that a complete set-up of `level` has on Python `version`."""
    digest = hashlib.sha256(("layout 1; Python %d.%d" % version).encode())
    for name in [*LEVELS[level], "constraints.txt"]:
        digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def read_stamp() -> Dict[str, str]:
    """{level: hash} of what is complete; empty when there is no stamp or it is unreadable."""
    try:
        stamp = json.loads(stamp_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(level: str, version: Tuple[int, int]) -> None:
    """Record that `level`, and what it contains, is complete. One move, so no half-written stamp can exist."""
    complete = [name for name in LEVELS if set(LEVELS[name]) <= set(LEVELS[level])]
    fresh = stamp_path().with_suffix(".new")
    fresh.write_text(json.dumps({name: wanted_stamp(name, version) for name in complete}), encoding="utf-8")
    os.replace(str(fresh), str(stamp_path()))


def venv_state(level: str) -> str:
    """How far .venv is from what `level` needs, in one word.

    "ready"; "outdated": pip must run; "interrupted": pip was stopped while it copied files; "broken": its Python
    or its pip does not start; "missing".
    """
    if not venv_dir().exists():
        return "missing"
    version = python_version([str(venv_python())])
    if version is None:
        return "broken"
    # pip says so before it changes anything on disk. Stopped after that, a package can look installed and lack files.
    log = install_log()
    if log.exists() and "Installing collected packages" in log.read_text(encoding="utf-8", errors="replace"):
        return "interrupted"
    if read_stamp().get(level) == wanted_stamp(level, version):
        return "ready"
    return "outdated" if quietly([str(venv_python()), "-m", "pip", "--version"]) else "broken"


def ensure_environment(level: str) -> Path:
    """The Python to run `level` ("lab" or "test") with, after setting up whatever is missing.

    Raises SetupError with the next step when it cannot be set up.
    """
    if os.environ.get("COURSE_PYTHON"):
        return chosen_python(os.environ["COURSE_PYTHON"], level)
    state = venv_state(level)
    if state == "ready":
        return venv_python()
    if state != "outdated":
        require_supported_python()
        why = {
            "interrupted": " (an earlier install was interrupted, so it is made afresh)",
            "broken": " (the one that is there does not work, so it is made afresh)",
        }.get(state, "")
        with step("Making the virtual environment .venv with Python %d.%d" % sys.version_info[:2] + why):
            make_venv()
    version = python_version([str(venv_python())]) or (0, 0)
    if not OLDEST <= version <= NEWEST and not os.environ.get("COURSE_ANY_PYTHON"):
        raise SetupError(
            "The .venv here was made with Python %d.%d, which this course does not support.\n"
            "Next: delete the folder .venv and run this command again." % version
        )
    install(level)
    connect_course(venv_python())
    write_stamp(level, version)
    return venv_python()


def make_venv() -> None:
    """Create .venv from nothing with the running Python. Raises SetupError when that cannot be done."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        package = "python%d.%d-venv" % sys.version_info[:2]
        raise SetupError(
            f"This Python cannot make a virtual environment: its module {missing[0]} is missing "
            "(Debian and Ubuntu keep it in a package of its own).\n"
            f"Next: sudo apt install {package}, then run this command again." + current_python_hint()
        )
    command = [sys.executable, "-m", "venv", "--clear", str(venv_dir())]
    if subprocess.call(command, env=clean_environment()) != 0 or not python_version([str(venv_python())]):
        raise SetupError(
            f"Making {venv_dir()} failed; the lines above say why.\nNext: see that this folder can be "
            "written to and that no JupyterLab still runs from it, delete .venv, and run this "
            "command again."
        )


def connect_course(python: Path) -> None:
    """Let .venv import course_utils from this folder, and let JupyterLab open without its news pop-up."""
    code = "import sys, sysconfig; print(sysconfig.get_paths()['purelib']); print(sys.prefix)"
    shown = subprocess.check_output(
        [str(python), "-c", code], universal_newlines=True, env=clean_environment()
    )
    site_packages, prefix = shown.splitlines()
    # A relative line in a .pth file counts from site-packages: it survives any alphabet in the path, and a move.
    Path(site_packages, "course.pth").write_text(
        os.path.relpath(str(ROOT), site_packages) + "\n", encoding="ascii"
    )
    settings = Path(prefix, "share", "jupyter", "lab", "settings")
    settings.mkdir(parents=True, exist_ok=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "overrides.json").write_text(json.dumps(quiet), encoding="utf-8")


# --- a Python that somebody prepared ----------------------------------------------------------------------------


def chosen_python(python: str, level: str) -> Path:
    """A prepared Python (COURSE_PYTHON, --use-current-python) that has the packages; nothing is installed."""
    found = python_version([python])
    if found is not None and found < OLDEST:
        raise SetupError(
            f"COURSE_PYTHON={python} is Python {found[0]}.{found[1]}; the course needs "
            f"{OLDEST[0]}.{OLDEST[1]} or newer.\nNext: name a newer one, or unset COURSE_PYTHON."
        )
    missing = missing_packages(python, level)
    if found is None or missing is None:
        raise SetupError(
            f"COURSE_PYTHON={python} does not start.\nNext: give the full path of a Python, or unset it."
        )
    if missing:
        files = " ".join(f"-r {name}" for name in LEVELS[level])
        raise SetupError(
            f"{python} lacks {', '.join(missing)}.\nNext: install them, for instance with\n"
            f"    {python} -m pip install -c constraints.txt {files}\n"
            "or leave out --use-current-python (COURSE_PYTHON), and the course makes its own .venv."
        )
    return Path(shutil.which(python) or python)


def missing_packages(python: str, level: str) -> Optional[List[str]]:
    """Which required packages `python` cannot find; None when it does not start or is too old to say."""
    code = (
        "import re, sys, importlib.metadata as m; plain = lambda n: re.sub('[-_.]+', '-', str(n)).lower(); "
        "have = {plain(d.metadata['Name']) for d in m.distributions()}; "
        "print(*[n for n in sys.argv[1:] if plain(n) not in have])"
    )
    try:
        command = [python, "-c", code, *required_names(level)]
        return subprocess.check_output(command, universal_newlines=True, stderr=subprocess.DEVNULL).split()
    except (OSError, subprocess.SubprocessError):
        return None


def required_names(level: str) -> List[str]:
    """The distributions that `level` names."""
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in LEVELS[level])
    return re.findall(r"^[A-Za-z0-9][A-Za-z0-9._-]*", text, flags=re.MULTILINE)


def current_python_hint() -> str:
    """One more way out, when the Python that runs this script already has every package; otherwise nothing."""
    if sys.version_info < OLDEST or missing_packages(sys.executable, "lab") != []:
        return ""
    return (
        "\nOr: the Python you started already has every package of the lessons; add --use-current-python to "
        "the command to use it as it is."
    )


# --- installing ----------------------------------------------------------------------------------------------


def install(level: str) -> None:
    """Install `level` into .venv; on Linux without an NVIDIA GPU, with the small CPU build of PyTorch."""
    if shutil.disk_usage(str(ROOT)).free < 3 * 10**9:
        say("Note: less than 3 GB are free on this disk, and the packages need about 2 GB.")
    if wants_cpu_torch() and not has_torch():
        if reachable(TORCH_CPU_INDEX + "/torch/", PROBE_SECONDS):
            # Without its dependencies: that index holds old copies of them, which constraints.txt would refuse.
            with step("Installing PyTorch for the CPU (no NVIDIA GPU found here)"), contextlib.suppress(
                SetupError
            ):
                pip("install", "--no-deps", "--index-url", TORCH_CPU_INDEX, pinned("torch"))
        if not has_torch():
            say(
                f"Note: {TORCH_CPU_INDEX} gave no PyTorch, so pip takes the build it finds elsewhere. If it starts "
                "to download nvidia packages (gigabytes), stop it with Ctrl-C and run this again on another network."
            )
    files = LEVELS[level]
    with step(f"Installing the packages of {' and '.join(files)} (some minutes the first time)"):
        arguments = [part for name in files for part in ("-r", str(ROOT / name))]
        pip("install", "-c", str(ROOT / "constraints.txt"), *arguments)


def wants_cpu_torch() -> bool:
    """True on Linux without an NVIDIA GPU, where PyPI's torch would bring gigabytes of CUDA libraries."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    return platform.system() == "Linux" and not has_gpu


def has_torch() -> bool:
    """True when .venv has the torch that constraints.txt names, whatever its build."""
    code = "import sys, importlib.metadata as m; sys.exit(m.version('torch').split('+')[0] != sys.argv[1])"
    return quietly([str(venv_python()), "-c", code, pinned("torch").split("==")[1]])


def pinned(name: str) -> str:
    """The line of constraints.txt that fixes the version of `name`, for instance "torch==2.13.0"."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(name + "=="):
            return line.split(";")[0].strip()
    raise SetupError(f"constraints.txt names no version of {name}.\nNext: git checkout constraints.txt")


def reachable(url: str, seconds: float) -> bool:
    """Whether `url` answers within `seconds`. A certificate that Python cannot check counts: pip has its own."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        return True
    except urllib.error.HTTPError:
        return False
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False


def pip(*arguments: str) -> None:
    """Run .venv's pip on the terminal, so that its progress is seen. Raises SetupError with the reason if it fails."""
    log = install_log()
    with contextlib.suppress(FileNotFoundError):
        log.unlink()
    options = ["--disable-pip-version-check", "--no-input", "--log", str(log)]
    env = dict(clean_environment(), PIP_USER="0")
    if subprocess.call([str(venv_python()), "-m", "pip", *options, *arguments], env=env, cwd=str(ROOT)) != 0:
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        raise SetupError(explain_pip_failure(text) + current_python_hint())
    with contextlib.suppress(FileNotFoundError):
        log.unlink()


# What pip's log says; what it means and what to do next. The first that fits is told.
PIP_FAILURES = [
    (
        r"No space left on device|not enough space on the disk|Errno 28",
        "The disk is full.\nNext: free about 3 GB and run this command again.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "pip could not check the certificate of the package server, as happens behind a company's or school's proxy.\n"
        "Next: set PIP_CERT to the certificate file of that network (its administrators have it), or use another "
        "network, and run this command again.",
    ),
    (
        r"Max retries exceeded|Retry\(total=0|NewConnectionError|NameResolutionError|[Nn]ame resolution"
        r"|getaddrinfo failed|nodename nor servname|Network is unreachable|ConnectTimeout|ReadTimeout|Read timed out"
        r"|ProxyError|Connection refused|Connection reset|IncompleteRead|Remote end closed",
        "pip could not reach the package server: there is no network, or a proxy or firewall stands between.\n"
        "Next: connect to the internet (behind a proxy, set HTTPS_PROXY) and run this command again. Only the first "
        "start needs a network.",
    ),
    (
        r"WinError 5\b|WinError 32|Errno 13|Permission denied",
        "pip may not write into .venv; often a JupyterLab or a notebook of the course still runs from it.\n"
        "Next: close them, see that this folder can be written to, and run this command again.",
    ),
    (
        r"enable-long-paths|WinError 206|path too long",
        "A file name got longer than Windows allows.\n"
        "Next: move the course to a shorter path such as C:\\course, or enable long paths "
        "(https://pip.pypa.io/warnings/enable-long-paths), and run this command again.",
    ),
    (
        r"No matching distribution found|Could not find a version that satisfies|ResolutionImpossible",
        "The package server that pip asks has no build of a package for this system and this Python.\n"
        "Next: try Python 3.12 from python.org, and see with `pip config list` that pip asks the right server.",
    ),
]


def explain_pip_failure(log: str) -> str:
    """What went wrong and what to do next, from the end of pip's log."""
    end = "\n".join(log.splitlines()[-400:])
    for pattern, message in PIP_FAILURES:
        if re.search(pattern, end):
            return message
    return (
        f"pip stopped with an error; the lines above say why, and {install_log()} says more.\n"
        "Next: run this command again; if it stops again, delete the folder .venv first."
    )


# --- running -------------------------------------------------------------------------------------------------


def clean_environment() -> Dict[str, str]:
    """The environment without the variables that would lead .venv's Python to another Python's packages."""
    misleading = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in misleading}


def course_environment(python: Path) -> Dict[str, str]:
    """The environment to run the course's programs in: .venv first, or a prepared Python that finds course_utils."""
    # A kernel called "python3" may be registered for this user by another project: this Python's own must win.
    if python != venv_python():
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return dict(os.environ, PYTHONPATH=paths, JUPYTER_PREFER_ENV_PATH="1")
    env = dict(clean_environment(), VIRTUAL_ENV=str(venv_dir()), JUPYTER_PREFER_ENV_PATH="1")
    for name, first in (("PATH", python.parent), ("JUPYTER_PATH", venv_dir() / "share" / "jupyter")):
        env[name] = os.pathsep.join(filter(None, [str(first), env.get(name)]))
    if WINDOWS:
        env["PYTHONUTF8"] = "1"
    return env


def hand_over(command: List[str], env: Dict[str, str], folder: Optional[str] = None) -> int:
    """Run `command` in place of this script, from `folder` (the course's by default); its exit code is ours."""
    sys.stdout.flush()
    os.chdir(folder or str(ROOT))
    if not WINDOWS:
        os.execve(command[0], command, env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the program
    return subprocess.call(command, env=env)


def quietly(command: Sequence[str]) -> bool:
    """Whether `command` succeeds; it prints nothing."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.call(command, env=clean_environment(), **silent) == 0


def say(text: str) -> None:
    """Print a line at once, so that it stands before what a child process prints."""
    print(text, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step and say how long it took."""
    say("==> " + text)
    started = time.time()
    yield
    say("    done in %.0f s" % (time.time() - started))


def lab_command(
    python: Path, page: str, port: Optional[int], browser: bool, extra: Sequence[str]
) -> List[str]:
    """The command line that opens JupyterLab on `page`, with the course folder as its root."""
    url = "/lab/tree/" + page if (ROOT / page).exists() else "/lab"
    command = [str(python), "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url={url}"]
    if port is not None:
        command.append(f"--port={port}")
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # JupyterLab refuses root otherwise, and many containers have no one else.
        command.append("--allow-root")
    return [*command, *extra]


def run_lab(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Open JupyterLab on the first lesson; with --clear on a copy of it without results."""
    python = ensure_environment("lab")
    page = FIRST_LESSON
    if options.clear:
        made = make_cleared_copies()
        say(f"{made} cleared copies made in {CLEARED}/; what was there already stays as you left it.")
        page = f"{CLEARED}/{Path(FIRST_LESSON).name}"
    say(f"Starting JupyterLab on {page}. Leave this window open; Ctrl-C here ends it.")
    command = lab_command(python, page, options.port, not options.no_browser, extra)
    return hand_over(command, course_environment(python))


def make_cleared_copies() -> int:
    """Copy each lesson that has no copy yet into CLEARED, without its results; how many were made.

    A copy that is there may hold a learner's work, so it is never written again. The folder lies beside notebooks/, so
    that the lessons' links to other folders lead where they led.
    """
    made = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        copy = ROOT / CLEARED / path.name
        if copy.exists():
            continue
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        made += 1
    return made


def run_test(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Run the whole test suite or, with --fast, what takes no long time; or what `extra` asks pytest for.

    Without `extra` there is one process per core, at most four; with it, one.
    """
    python = ensure_environment("test")
    cores = min(os.cpu_count() or 1, 4)
    if not extra and cores > 1:
        extra = ["-n", str(cores)]  # what stays together: tests/conftest.py
    if options.fast:
        extra = ["-m", FAST, *extra]
    say("Running pytest " + " ".join(shlex.quote(part) for part in extra))
    return hand_over([str(python), "-m", "pytest", *extra], course_environment(python))


def run_doctor(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Say what is here, set up what is missing, and measure the time to the first distribution."""
    prepared = os.environ.get("COURSE_PYTHON")
    say(f"Course folder   {ROOT}")
    say(f"System          {platform.platform()}, {os.cpu_count()} cores")
    say(f"Started with    Python {platform.python_version()} ({sys.executable})")
    say("Set-up          " + (f"prepared Python {prepared}" if prepared else f".venv is {venv_state('lab')}"))
    python = ensure_environment("lab")
    return hand_over([str(python), str(ROOT / "tools" / "doctor.py"), *extra], course_environment(python))


# {command: (a module or a script of the course, what it does)}. It gets the arguments as they were typed.
HANDED_ON = {
    "progress": (
        "course_grading.report",
        "lessons, questions and points done so far, as kept on this machine",
    ),
    "grade": ("course_grading.grading", "for instructors: grade notebooks or a folder of them"),
    "execute": ("tools/notebooks.py", "for maintainers: run notebooks/*.ipynb in place and clean them"),
    "exercises": ("tools/exercises.py", "for maintainers: make exercises/ from solutions/"),
    "glossary": (
        "tools/glossary.py",
        "for maintainers: make docs/glossary.md from course_utils/glossary.json",
    ),
    "badges": ("tools/badges.py", "for maintainers: Colab badges and set-up cells, from one public address"),
    "site": ("tools/website.py", "for maintainers: the lessons as web pages, to read without running"),
}


def hand_on(command: str, arguments: Sequence[str]) -> int:
    """Run one of HANDED_ON with the course's Python, from the folder where it was typed."""
    home = HANDED_ON[command][0]
    what = [str(ROOT / home)] if home.endswith(".py") else ["-m", home]
    python = ensure_environment("lab")
    env = course_environment(python)
    if env.get("COURSE_CHECKS"):
        # Kernels start in other folders; the name counts from where the command was given, as paths do.
        env["COURSE_CHECKS"] = os.path.abspath(env["COURSE_CHECKS"])
    return hand_over([str(python), *what, *arguments], env, os.getcwd())


# --- the command line ----------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line of lab, test and doctor; what stands after `--` is cut off before it is parsed."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        CURRENT_PYTHON,
        action="store_true",
        help="make no .venv: use the Python that runs this script, with the packages it has "
        "(COURSE_PYTHON=/path/to/python names another one)",
    )
    others = "\n".join("  %-10s %s" % (name, text) for name, (_, text) in HANDED_ON.items())
    top = argparse.ArgumentParser(
        prog="course.py",
        description="Set up and start the course Base vs Instruct.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"further commands, each with a --help of its own:\n{others}",
    )
    commands = top.add_subparsers(dest="command", metavar="lab | test | doctor")

    lab = commands.add_parser(
        "lab",
        parents=[shared],
        help="open the lessons in JupyterLab",
        epilog="What follows -- reaches JupyterLab: course.py lab -- --ip=0.0.0.0",
    )
    lab.add_argument(
        "--clear",
        action="store_true",
        help=f"open copies without results, in the folder {CLEARED}; copies that are there are kept",
    )
    lab.add_argument(
        "--port", type=int, help="JupyterLab's port (default: 8888, or the next one that is free)"
    )
    lab.add_argument("--no-browser", action="store_true", help="print the address; open no browser")
    lab.set_defaults(run=run_lab)

    test = commands.add_parser(
        "test",
        parents=[shared],
        help="run the whole test suite",
        epilog="What follows -- reaches pytest: course.py test -- -x -k course_py. Without it "
        "the whole suite runs, in several processes; -- -n 0 runs it in one.",
    )
    test.add_argument("--fast", action="store_true", help="leave out notebooks, browsers and what takes long")
    test.set_defaults(run=run_test)

    doctor = commands.add_parser("doctor", parents=[shared], help="say what is installed and what works here")
    doctor.set_defaults(run=run_doctor)
    return top


def main(argv: Sequence[str]) -> int:
    """Run one command. 0: it went well; 1: the set-up failed; 2: wrong arguments; otherwise the program's own code."""
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    if CURRENT_PYTHON in argv[:cut]:
        os.environ["COURSE_PYTHON"] = sys.executable
    try:
        if argv and argv[0] in HANDED_ON:
            return hand_on(argv[0], [part for part in argv[1:] if part != CURRENT_PYTHON])
        top = parser()
        options, extra = top.parse_args(argv[:cut]), argv[cut + 1 :]
        if options.command is None:
            top.print_help()
            return 2
        return options.run(options, extra)
    except SetupError as error:
        return fail(str(error), 1)
    except PermissionError as error:
        return fail(
            f"{error.filename or 'A file'} cannot be written: {error.strerror}.\n"
            "Next: put the course into a folder of your own and run this command again.",
            1,
        )
    except KeyboardInterrupt:
        return fail("Interrupted. Run the same command again: it does what is still missing.", 130)


def fail(text: str, code: int) -> int:
    """Print why the script ends, and return its exit code."""
    print("\n" + text, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    # So that no pip goes on alone when this is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
