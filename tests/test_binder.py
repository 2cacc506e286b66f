"""What .binder/ gives mybinder.org: the tested versions, the CPU build of PyTorch, and a course that notebooks find."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / ".binder"


def lines() -> list[str]:
    text = (BINDER / "requirements.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_it_installs_the_courses_requirements_in_the_tested_versions():
    named = [line.split() for line in lines() if line.startswith(("-r", "-c"))]
    assert {option: (BINDER / path).resolve() for option, path in named} == {
        "-r": ROOT / "requirements.txt",
        "-c": ROOT / "constraints.txt",
    }


def test_torch_is_the_cpu_build_of_the_tested_version():
    (tested,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert f"torch=={tested}+cpu" in lines()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in lines()


def test_its_python_is_one_that_the_course_supports():
    found = re.fullmatch(r"python-3\.(\d+)\n", (BINDER / "runtime.txt").read_text(encoding="utf-8"))
    assert 11 <= int(found[1]) <= 13


@pytest.mark.skipif(os.name == "nt", reason="repo2docker builds Linux images")
def test_after_the_build_step_notebooks_find_the_course(tmp_path):
    """With an empty environment in place of Binder's; course_utils is imported from a folder elsewhere."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["PATH"] = os.pathsep.join([str(tmp_path / "env" / "bin"), env["PATH"]])
    assert os.access(BINDER / "postBuild", os.X_OK)
    subprocess.run([BINDER / "postBuild"], cwd=ROOT, env=env, check=True)
    code = "import course_utils; print(course_utils.__file__)"
    found = subprocess.check_output(["python", "-c", code], cwd=tmp_path, env=env, text=True)
    assert Path(found.strip()) == ROOT / "course_utils" / "__init__.py"
    assert list((tmp_path / "env").rglob("overrides.json"))
