"""Colab: every notebook runs from its set-up cell on, with the versions that Colab publishes and nothing installed.

COURSE_COLAB_PYTHON names a Python with those versions; tests/colab-requirements.txt holds them and says how to make
one. Without it these tests skip. Colab itself is a stand-in: `google.colab` is a package of the tests, and git finds
the published course in a folder of this machine.
"""

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tools import badges, notebooks

ROOT = notebooks.ROOT
HERE = Path(__file__).resolve().parent
PINS = HERE / "colab-requirements.txt"
COLAB_PYTHON = os.environ.get("COURSE_COLAB_PYTHON", "")
PUBLISHED = badges.Address("example/base-vs-instruct", "v0.0.0")
NOTEBOOKS = [
    path
    for folder in ("notebooks", "exercises")
    for path in sorted((ROOT / folder).glob("[0-9][0-9]_*.ipynb"))
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.notebooks,
    pytest.mark.skipif(
        not COLAB_PYTHON,
        reason="COURSE_COLAB_PYTHON names no Python with Colab's versions (tests/colab-requirements.txt says how)",
    ),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


def installed() -> dict[str, str]:
    """{distribution: version} of everything in Colab's Python."""
    code = "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = json.loads(subprocess.check_output([COLAB_PYTHON, "-c", code], text=True, env=env))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


at_first = cache(installed)


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """The working tree as a repository with a tag, every set-up cell naming its (made-up) address."""
    folder = tmp_path_factory.mktemp("published")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listing, cwd=ROOT, text=True).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for step in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "published"], ["tag", PUBLISHED.tag]):
        subprocess.run(["git", *step], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def colab(published, tmp_path_factory):
    """Run a notebook as Colab does: a file by itself, in an empty content/ folder. Returns (its cells, that folder)."""
    base = tmp_path_factory.mktemp("colab")
    at_first()
    kernel = base / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [COLAB_PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    # The kernel must find the course by the set-up cell alone, so its path holds the stand-in and the network's lock.
    env = {
        "PYTHONPATH": os.pathsep.join([str(HERE / "colab_standin"), str(HERE / "no_network")]),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{published.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": PUBLISHED.url,
        "HOME": str(base),
        "IPYTHONDIR": str(base / "ipython"),
    }
    spec = {
        "argv": [*command, "--IPKernelApp.exec_lines=import google.colab"],
        "language": "python",
        "env": env,
    }
    (kernel / "kernel.json").write_text(json.dumps({**spec, "display_name": "Python 3"}))

    @cache
    def run(path: Path) -> tuple[list, Path]:
        content = base / "content" / f"{path.parent.name}-{path.stem}"
        content.mkdir(parents=True)
        notebook = badges.with_setup(notebooks.read(path), badges.opened_as(path), PUBLISHED)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = str(base / "jupyter")
        try:
            resources = {"metadata": {"path": str(content)}}
            options = {"timeout": 1800, "kernel_name": "python3", "resources": resources}
            NotebookClient(notebook, **options).execute()
        except CellExecutionError as error:
            pytest.fail(f"{path.name} does not run on Colab:\n{error}", pytrace=False)
        finally:
            os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)
        return notebook.cells, content

    return run


def test_the_environment_has_colabs_versions():
    for name, wanted in re.findall(r"^([a-z-]+)==(\S+)", PINS.read_text(encoding="utf-8"), re.M):
        assert at_first().get(name) == wanted, name
    assert not {"jupyterquiz", "trl", "base-vs-instruct"} & at_first().keys(), (
        "there the course must do without these"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_runs_on_colab_and_shows_what_is_committed(path, colab):
    """The same kinds of output as committed (for an exercise, whose outputs are not committed: no error)."""
    cells, content = colab(path)
    assert (content / badges.FOLDER / "course_utils").is_dir(), "the set-up cell fetched the course"
    committed = badges.with_setup(notebooks.read(path), badges.opened_as(path), PUBLISHED).cells
    pairs = [(now, then) for now, then in zip(cells, committed, strict=True) if now.cell_type == "code"]
    for now, then in pairs:
        tolerated = "raises-exception" in now.metadata.get("tags", [])
        assert tolerated or not [o for o in now.outputs if o.output_type == "error"], now.id
        for output in then.outputs if path.parent.name == "notebooks" else []:
            for kind in {"image/png", "text/html"} & set(output.get("data", {})):
                assert any(kind in o.get("data", {}) for o in now.outputs), f"cell {now.id} shows no {kind}"


def test_nothing_was_installed_into_colab(colab):
    for path in NOTEBOOKS[:1]:
        colab(path)
    assert installed() == at_first()
