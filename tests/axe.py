"""axe-core on a page of a browser: what would keep people from using it. No test itself."""

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tools import website

SERIOUS = ("serious", "critical")
LOCATE = "import axe_playwright_python as a, pathlib; print(pathlib.Path(a.__file__).with_name('axe.min.js'))"


@cache
def source() -> str:
    """axe-core's source, or a skip that says where it was looked for."""
    given = os.environ.get("COURSE_AXE")
    pythons = [] if given else [website.sys.executable, website.sphinx_python(install=False)]
    for python in filter(None, pythons):
        done = subprocess.run([str(python), "-c", LOCATE], capture_output=True, text=True, check=False)
        given = given or (done.stdout.strip() if done.returncode == 0 else None)
    if not given or not Path(given).is_file():
        pytest.skip("no axe-core: pip install axe-playwright-python, or set COURSE_AXE to an axe.min.js")
    return Path(given).read_text(encoding="utf-8")


def violations(page: Any, within: str = "html", without: Sequence[str] = ()) -> list[str]:
    """What axe finds serious or critical on the open page, a line each: rule, place and what is wrong.

    Looks into what matches the CSS selector `within`, and leaves out what matches one of `without`.
    """
    page.evaluate(source())
    context = {"include": [[within]], "exclude": [[selector] for selector in without]}
    found = page.evaluate("context => axe.run(context, {resultTypes: ['violations']})", context)["violations"]
    return [
        f"{rule['id']} ({rule['impact']}) at {node['target']}: {node['html'][:150]} {node.get('failureSummary')}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
