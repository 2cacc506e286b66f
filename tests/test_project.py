"""The files around the code agree with each other: requirements, constraints, metadata, README, CI."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def requirements(name: str) -> list[Requirement]:
    """The requirements in a file, without its comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def constraints() -> dict[str, str]:
    """{package: version} of constraints.txt; fails when a line does not fix one version."""
    versions = {}
    for line in requirements("constraints.txt"):
        (specifier,) = line.specifier
        assert specifier.operator == "==", f"{line} is no exact version"
        versions[canonicalize_name(line.name)] = specifier.version
    return versions


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_every_requirement_is_a_range_that_holds_the_tested_version(name):
    tested = constraints()
    for requirement in requirements(name):
        assert {spec.operator for spec in requirement.specifier} == {">=", "<"}, f"{requirement} is no range"
        assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)])


def test_the_constraints_name_no_build_that_only_some_machines_have():
    for name, version in constraints().items():
        assert not re.match(r"(nvidia|cuda|triton)", name) and "+" not in version


def test_the_package_needs_nothing_that_requirements_txt_lacks():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package = {str(Requirement(line)) for line in metadata["project"]["dependencies"]}
    assert package <= {str(requirement) for requirement in requirements("requirements.txt")}


def test_ci_calls_the_test_command_that_the_readme_names():
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    command = last.removeprefix("exec ")
    assert command == "python3 course.py test" and command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_passes_the_linter():
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise", ROOT]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
