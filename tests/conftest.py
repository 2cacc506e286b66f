"""What all tests share: no network, neither in this process nor in those that tests start (see no_network/); and which
tests stay together when the suite is spread over several processes (`course.py test`, pytest-xdist).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_NO_NETWORK = str(_HERE / "no_network")

# The loader must notice a missing network by itself, so the hub is not told to stay offline: it just finds none.
if _NO_NETWORK not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    # Fetched now or never; what it prints is where the file is, or why it is not.
    if os.environ.get("COURSE_REAL_MODEL"):
        subprocess.run([sys.executable, str(_HERE.parent / "tools" / "real_model.py")], check=False)
    _paths = [_NO_NETWORK, str(_HERE.parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _paths))
    for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[_name]  # a proxy on this machine would be a way out
    sys.modules.pop("sitecustomize", None)
    sys.path.insert(0, _NO_NETWORK)
    import sitecustomize  # noqa: F401 (importing it is what blocks the network)

    sys.path.remove(_NO_NETWORK)

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process per core: more threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a reason for a skip says is missing, and what would run the test.
WANTED = (
    ("chromium|no browser", "chromium", "apt-get install chromium"),
    ("axe-core", "axe-core", "pip install -r requirements-test.txt"),
    ("playwright", "playwright", "pip install -r requirements-test.txt"),
    ("trl|TRL|datasets", "TRL and datasets", "pip install -r requirements-test.txt"),
    ("nbgrader", "nbgrader", "pip install -r requirements-test.txt"),
    ("jupyterhub|http-proxy|requests|websocket", "a JupyterHub", "see tests/hub-requirements.txt"),
    ("shared/data", "the reference data", "put the folder shared/data beside the checkout"),
    ("COURSE_SLOW|takes minutes", "time", "COURSE_SLOW=1"),
    ("COURSE_COLAB_PYTHON", "Colab's versions", "see tests/colab-requirements.txt"),
    ("Sphinx", "Sphinx and myst-nb", "python course.py site"),
    ("bubblewrap", "bubblewrap", "apt-get install bubblewrap"),
    ("git is not", "git", "apt-get install git"),
    ("no node", "node", "install Node.js 18 or later"),
    ("no real model|real model", "a real model", "COURSE_REAL_MODEL=1"),
    ("gguf|peft|'gguf'|'peft'", "gguf and peft", "pip install -r requirements-test.txt"),
    ("ladder", "the ladder's models", "a complete checkout"),
    ("Windows|/proc|Linux|shell script|st_blocks", "another system", "run the tests on Linux"),
    ("pyarrow|matplotlib|IPython", "a package of the lessons", "pip install -r requirements.txt"),
)


def wanted(reason: str) -> tuple[str, str] | None:
    """(what is missing, what would run the test) for the reason of a skip."""
    return next((tuple(told) for pattern, *told in WANTED if re.search(pattern, reason)), None)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter) -> None:
    """The last lines say how many tests ran on a real model, how many were skipped for want of what, and what would
    run them."""
    on_real = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if "real_model" in report.keywords and report.when == "call"
    ]
    if on_real:
        terminalreporter.write_line(
            f"{len(on_real)} tests ran on a real instruct model (tests/test_real_model.py)."
        )
    counts: dict[tuple[str, str], int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        told = wanted(reason) or (reason.removeprefix("Skipped: "), "see the reason")
        counts[told] = counts.get(told, 0) + 1
    if counts:
        terminalreporter.section("skipped for want of")
        for (what, remedy), count in sorted(counts.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{count:>5}  {what}: {remedy}")


LONGEST = (
    "test_notebooks", "test_exercises", "test_checks_seeds", "test_grading", "test_checks", "test_browser",
    "test_lessons_browser", "test_site", "test_accessibility",
)  # fmt: skip
THE_SITE = (
    "tests/test_site.py",
    "tests/test_accessibility.py",
)  # they look at one web edition, built once a process


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests on the real model are marked. In several processes, what takes longest begins first, so that none ends up
    alone with it."""
    for item in items:
        if "gguf" in getattr(item, "fixturenames", ()):
            item.add_marker("real_model")
    if config.getoption("numprocesses", None) or "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(
            key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        )


def together(nodeid: str) -> str:
    """What the test shares with others: its file, a built site, in test_notebooks.py the lesson, which is run once."""
    file, _, test = nodeid.partition("::")
    if file in THE_SITE:
        return "the web edition"
    lesson = re.search(r"\[(\d\d)", test) if file.endswith("test_notebooks.py") else None
    return f"{file} {lesson[1]}" if lesson else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Several processes: tests that share what they set up run in one.

    (The library's own --dist loadgroup does nothing with pytest 9.2 and xdist 3.8: it appends the group to an attribute
    that node ids are no longer made from.)
    """
    if config.getoption("dist") != "load":
        return None  # asked for otherwise
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    config.option.loadscopereorder = False  # the order above
    return Together(config, log)
