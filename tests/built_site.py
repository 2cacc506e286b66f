"""The web edition, built once for all tests that look at it; a skip with the reason where it cannot be built.

A pytest plugin: a test module that names it in `pytest_plugins` has the fixture `site`.
"""

from pathlib import Path

import pytest

from tools import website

NEXT = "What requirements-site.txt names is missing: python course.py site makes .venv-site; or set COURSE_SITE_PYTHON"


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> tuple[Path, str]:
    """(the folder of the whole site, Sphinx's warnings)."""
    python = website.sphinx_python(install=False)
    if python is None:
        pytest.skip(NEXT)
    folder = tmp_path_factory.mktemp("site")
    return folder, website.build(folder, python)
