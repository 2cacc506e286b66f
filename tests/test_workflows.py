"""The files under .github/ and .devcontainer/: what GitHub accepts, and commands that this project has.

They run on GitHub only, so everything in them that can be checked elsewhere is checked here. Their commands are those
that .ci/run and CONTRIBUTING.md use as well.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import course

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(p for p in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")


def steps() -> list[tuple[str, dict]]:
    """(workflow and job, step) of every step."""
    found = []
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            found += [(f"{path.stem}/{name}", step) for step in job["steps"]]
    return found


def commands() -> list[tuple[str, list[str]]]:
    """(workflow and job, words) of every command that starts a program of this project."""
    found = []
    for where, step in steps():
        lines = step.get("run", "").replace("\\\n", " ").splitlines()
        for line in lines:
            words = shlex.split(line)
            if any(w == "course.py" or w.startswith(("tools/", ".ci/")) for w in words):
                found.append((where, words))
    return found


def accepts(schema: str, paths: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_github_accepts_the_workflows_and_the_issue_forms():
    assert [path.stem for path in WORKFLOWS] == ["pages", "record", "tests", "weekly"]
    accepts("vendor.github-workflows", WORKFLOWS)
    accepts("vendor.github-issue-forms", FORMS)


def test_a_job_ends_at_some_time_and_every_action_has_a_version():
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            assert job.get("timeout-minutes") or "deploy-pages" in str(job), f"{path.name}: {name}"
    for where, step in steps():
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), where


@pytest.mark.parametrize("where, words", commands(), ids=lambda value: str(value))
def test_a_command_is_one_that_the_project_has(where, words):
    words = words[1:] if Path(words[0]).name == "python" else words
    program, *options = words
    assert (ROOT / program).is_file(), f"{where} runs {program}"
    if program == "course.py":
        cut = options.index("--") if "--" in options else len(options)
        if options[0] not in course.HANDED_ON:
            assert course.parser().parse_args(options[:cut]).command == options[0]
        assert all((ROOT / name).exists() for name in options[cut + 1 :])
    elif program == "tools/record_real_pairs.py":
        done = subprocess.run([sys.executable, ROOT / program, "--help"], capture_output=True, text=True)
        named = set(re.findall(r"--[\w-]+", " ".join(options)))
        assert done.returncode == 0 and named <= set(re.findall(r"--[\w-]+", done.stdout))


def test_the_matrix_holds_every_system_and_python_that_the_course_supports():
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    matrix = tests["jobs"]["fast"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    minors = range(course.OLDEST[1], course.NEWEST[1] + 1)
    assert matrix["python"] == [f"3.{minor}" for minor in minors]


def test_the_weekly_run_uses_the_torch_that_colabs_file_names():
    told = (ROOT / "tests" / "colab-requirements.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"pip install (torch==\S+) --index-url", told)
    assert any(version in step.get("run", "") for where, step in steps() if where == "weekly/colab")


def test_the_dev_container_sets_the_course_up_with_a_python_that_it_supports():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    minor = int(re.search(r"python:3\.(\d+)$", container["image"])[1])
    assert course.OLDEST[1] <= minor <= course.NEWEST[1]
    program, command = container["postCreateCommand"].split()[1:]
    assert program == "course.py" and course.parser().parse_args([command]).command == command
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["python.testing.pytestArgs"] == ["-m", course.FAST]
