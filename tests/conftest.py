"""What all tests share: no network, neither in this process nor in those that tests start (see no_network/); and which
tests stay together when the suite is spread over several processes (`course.py test`, pytest-xdist).
"""

import os
import re
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_NO_NETWORK = str(_HERE / "no_network")

# The loader must notice a missing network by itself, so the hub is not told to stay offline: it just finds none.
if _NO_NETWORK not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
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

LONGEST = ("test_notebooks", "test_checks", "test_exercises", "test_browser", "test_lessons_browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In several processes, what takes longest begins first, so that none ends up alone with it."""
    if config.getoption("numprocesses", None) or "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(
            key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        )


def together(nodeid: str) -> str:
    """What the test shares with others: its file, and in test_notebooks.py the lesson, which is run once for all."""
    file, _, test = nodeid.partition("::")
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
