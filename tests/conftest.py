"""What all tests share: no network, neither in this process nor in those that tests start (see no_network/); and which
tests stay together when the suite is spread over several processes (`course.py test`, pytest-xdist).
"""

import os
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
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # a process a core: more threads would only wait for each other

LONGEST = ("test_notebooks", "test_checks", "test_exercises", "test_browser", "test_lessons_browser")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Spread over processes, the tests of a file stay together, and of test_notebooks.py those of one lesson.

    What takes longest begins first, so that no process ends up alone with it.
    """
    if not config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        return
    for item in items:
        lesson = getattr(item, "callspec", None) and item.callspec.params.get("path")
        group = (
            f"{item.path.stem} {lesson.stem}"
            if lesson and item.path.stem == "test_notebooks"
            else item.path.stem
        )
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
