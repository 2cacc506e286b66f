"""The files around the code agree with each other: requirements, constraints, metadata, README, CI."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course
import course_utils

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


def readme_commands() -> list[str]:
    """Every line of the README's code blocks that runs course.py or the pebble package."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.M | re.S)
    inline = re.findall(r"`(python3? course\.py[^`]*)`", text)
    lines = [line for block in blocks for line in block.splitlines()] + inline
    return sorted({line for line in lines if "course.py" in line or "course_utils" in line})


@pytest.mark.parametrize("command", readme_commands())
def test_the_readme_s_commands_exist_and_name_files_that_are_there(command):
    # That lab, test, grade, execute, progress and doctor do what they say is tested with each of them.
    words = [word for word in command.split() if not re.match(r"[A-Z_]+=", word)]
    assert words.pop(0) in ("python", "python3")
    if words[0] == "-m":
        result = subprocess.run([sys.executable, *words, "--help"], capture_output=True, text=True, cwd=ROOT)
        assert result.returncode == 0, result.stderr
        words = words[2:]
    else:
        words = words[1 : words.index("--") if "--" in words else None]
        if words[0] not in (*course.HANDED_ON, "--help"):
            assert course.parser().parse_args(words).command == words[0]
    for word in words:
        if word.endswith((".ipynb", ".py", ".md")):
            assert (ROOT / word).exists(), word


def test_the_readme_lists_every_lesson_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for lesson in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert f"(notebooks/{lesson.name})" in text
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_the_version_stands_in_one_place_and_what_repeats_it_agrees():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["dynamic"] == ["version"]
    assert metadata["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "course_utils.__version__"}
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1]
    assert cited == course_utils.__version__
    assert f"## {course_utils.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_package_says_that_it_is_typed():
    for package in ("course_utils", "course_grading", "course_runs", "pebble_lm"):
        assert (ROOT / package / "py.typed").exists()


SOURCES = [
    path
    for folder in ("course_*", "pebble_lm", "tests", "tools", "benchmarks")
    for path in ROOT.glob(f"{folder}/**/*.py")
]


def test_contributing_names_every_variable_that_the_code_reads_and_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    read = set()
    for path in [ROOT / "course.py", *SOURCES]:
        source = path.read_text(encoding="utf-8")
        read |= set(re.findall(r"environ(?:\.get\(|\[)\s*\"(COURSE_\w+)\"", source))
    table = set(re.findall(r"`(COURSE_\w+)`", text.split("## Variables")[1].split("\n## ")[0]))
    assert len(read) > 10 and table == read


def test_contributing_names_files_and_commands_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(
        r"(?<![\w/.])((?:tests|tools|benchmarks|docs|course_\w+|pebble_lm)/[\w/]+\.(?:py|md|json))\b", text
    ):
        assert "NN" in name or "PAIR" in name or (ROOT / name).exists(), name
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
    for command in re.findall(r"course\.py ([a-z]+)", text):
        assert command in (*course.HANDED_ON, "lab", "test", "doctor"), command
    for module in re.findall(r"-m ((?:course_|pebble_)[\w.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_the_code_passes_the_linter():
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise", ROOT]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_code_is_as_the_formatter_leaves_it():
    command = [sys.executable, "-m", "ruff", "format", "--check", "--output-format", "concise", ROOT]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{result.stdout}Next: python -m ruff format"


def test_in_several_processes_the_tests_of_a_file_stay_together_and_so_do_those_of_a_lesson():
    from conftest import together

    assert together("tests/test_quiz.py::test_a[01]") == together("tests/test_quiz.py::test_b")
    runs, claims = (
        f"tests/test_notebooks.py::{name}" for name in ("test_runs[05_sft]", "test_claim[05: a::b]")
    )
    assert together(runs) == together(claims) != together("tests/test_notebooks.py::test_runs[06_base]")
    assert together("tests/test_site.py::test_a") == together("tests/test_accessibility.py::test_b[dark]")
