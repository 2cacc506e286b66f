"""course.py: which Python, the .venv and its stamp, pip's failures told, and what reaches JupyterLab and pytest.

Nothing is installed here: a virtual environment without pip is made, and a stand-in for pip does what a test says.
"""

import ast
import http.server
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What "pip" is in these tests: it notes its arguments and plays the part named in the file `part`.
FAKE_PIP = """
import json, os, pathlib, sys
here = pathlib.Path(__file__).resolve().parent
arguments = sys.argv[1:]
if "--version" in arguments:
    print("pip 0"); sys.exit(0)
with open(here / "calls", "a") as file:
    file.write(json.dumps(arguments) + "\\n")
part = (here / "part").read_text()
log = open(arguments[arguments.index("--log") + 1], "a")
log.write("Collecting everything\\n")
if part == "copying":
    log.write("Installing collected packages: torch, jupyterlab\\n"); log.close(); os._exit(137)
if part == "downloading":
    log.close(); os._exit(137)
if part == "cpu index fails" and "--index-url" in arguments:
    sys.exit(1)
if part == "no network":
    log.write("connection error: HTTPSConnectionPool(host='pypi.org', port=443): Max retries exceeded with url: "
              "/simple/jupyterlab/ (Caused by NewConnectionError('... Network is unreachable'))\\n"
              "ERROR: No matching distribution found for jupyterlab\\n")
    sys.exit(1)
log.write("Installing collected packages: torch, jupyterlab\\nSuccessfully installed\\n")
"""


def load(script: Path) -> types.ModuleType:
    """course.py as a module of its own, untouched by what other tests replace in theirs."""
    spec = importlib.util.spec_from_file_location("course_copy", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Course:
    """A copy of course.py and its requirement files in a folder of its own, with the stand-in for pip."""

    def __init__(self, folder: Path, monkeypatch):
        for name in ("course.py", "requirements.txt", "requirements-test.txt", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        self.module = load(folder / "course.py")
        self.folder, self.part, self.venvs_made = folder, "works", 0
        monkeypatch.setattr(self.module, "make_venv", self.make_venv)
        monkeypatch.setattr(self.module, "wants_cpu_torch", lambda: False)
        monkeypatch.delenv("COURSE_PYTHON", raising=False)

    def make_venv(self) -> None:
        """In place of course.make_venv: the same environment, but pip is the stand-in."""
        self.venvs_made += 1
        command = [sys.executable, "-m", "venv", "--clear", "--without-pip", self.folder / ".venv"]
        subprocess.run(command, check=True)
        (self.pip_folder / "__main__.py").write_text(FAKE_PIP)

    @property
    def pip_folder(self) -> Path:
        """Where .venv's pip lives."""
        code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        found = subprocess.check_output([self.module.venv_python(), "-c", code], text=True)
        folder = Path(found.strip(), "pip")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def set_up(self, level: str = "lab", part: str = "works") -> Path:
        """course.ensure_environment with a pip that plays `part`."""
        original = self.module.pip

        def pip(*arguments: str) -> None:
            (self.pip_folder / "part").write_text(part)
            original(*arguments)

        self.module.pip = pip
        try:
            return self.module.ensure_environment(level)
        finally:
            self.module.pip = original

    @property
    def pip_calls(self) -> list[list[str]]:
        """The arguments of every install so far, in this .venv."""
        calls = self.pip_folder / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


@pytest.fixture
def course(tmp_path, monkeypatch) -> Course:
    """A fresh copy of the course's set-up, with nothing installed."""
    return Course(tmp_path, monkeypatch)


# --- which Python ---


@pytest.mark.parametrize("version", [(3, 6), (3, 8, 18), (3, 10, 13)])
def test_an_old_python_is_told_what_the_course_needs(course, version):
    reason = course.module.unsupported_reason(version, "Linux", "x86_64", 64)
    assert "too old" in reason and f"3.{version[1]}" in reason and "3.11 to 3.13" in reason


def test_a_newer_python_is_refused_unless_asked_for(course, monkeypatch):
    assert "COURSE_ANY_PYTHON" in course.module.unsupported_reason((3, 14), "Linux", "x86_64", 64)
    monkeypatch.setenv("COURSE_ANY_PYTHON", "1")
    assert course.module.unsupported_reason((3, 14), "Linux", "x86_64", 64) is None


@pytest.mark.parametrize("minor", [11, 12, 13])
@pytest.mark.parametrize("system, machine", [("Linux", "x86_64"), ("Darwin", "arm64"), ("Windows", "AMD64")])
def test_the_supported_ones_pass(course, minor, system, machine):
    assert course.module.unsupported_reason((3, minor, 0), system, machine, 64) is None


def test_pythons_that_pytorch_is_not_built_for_are_named(course):
    assert "32-bit" in course.module.unsupported_reason((3, 12), "Windows", "AMD64", 32)
    assert "Intel Mac" in course.module.unsupported_reason((3, 12), "Darwin", "x86_64", 64)


def test_the_next_step_is_another_python_of_this_machine_if_there_is_one(course, monkeypatch):
    module = course.module
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    monkeypatch.setattr(sys, "argv", ["course.py", "lab", "--port", "9000"])
    monkeypatch.setattr(module, "supported_python_here", lambda: "python3.12")
    with pytest.raises(module.SetupError, match=r"python3\.12 course\.py lab --port 9000"):
        module.require_supported_python()
    monkeypatch.setattr(module, "supported_python_here", lambda: None)
    with pytest.raises(module.SetupError, match=r"install Python 3\.12 from https://www\.python\.org"):
        module.require_supported_python()


def test_it_can_be_read_by_old_pythons_and_needs_only_the_standard_library():
    tree = ast.parse((ROOT / "course.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
    newer = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
    }
    assert "removeprefix" not in newer and "capture_output" not in (ROOT / "course.py").read_text()


# --- the .venv and its stamp ---


def test_the_first_start_installs_within_the_constraints_and_the_second_does_nothing(course):
    assert course.module.venv_state("lab") == "missing"
    python = course.set_up()
    (arguments,) = course.pip_calls
    assert str(course.folder / "constraints.txt") == arguments[arguments.index("-c") + 1]
    assert str(course.folder / "requirements.txt") == arguments[arguments.index("-r") + 1]
    assert course.set_up() == python
    assert len(course.pip_calls) == 1 and course.venvs_made == 1


def test_the_set_up_for_tests_holds_the_one_for_lessons_but_not_the_other_way_round(course):
    course.set_up("lab")
    assert course.module.venv_state("test") == "outdated"
    course.set_up("test")
    assert course.module.venv_state("lab") == course.module.venv_state("test") == "ready"
    assert course.venvs_made == 1
    assert str(course.folder / "requirements-test.txt") in course.pip_calls[-1]


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_changed_requirements_make_pip_run_again_in_the_same_venv(course, name):
    course.set_up()
    with (course.folder / name).open("a") as file:
        file.write("# one more line\n")
    assert course.module.venv_state("lab") == "outdated"
    course.set_up()
    assert len(course.pip_calls) == 2 and course.venvs_made == 1


def test_line_ends_do_not_count_as_a_change(course):
    course.set_up()
    constraints = course.folder / "constraints.txt"
    constraints.write_bytes(constraints.read_bytes().replace(b"\n", b"\r\n"))
    assert course.module.venv_state("lab") == "ready"


def test_an_install_stopped_while_copying_files_starts_afresh(course):
    with pytest.raises(course.module.SetupError):
        course.set_up(part="copying")
    assert course.module.venv_state("lab") == "interrupted"
    course.set_up()
    assert course.module.venv_state("lab") == "ready" and course.venvs_made == 2


def test_an_install_stopped_while_downloading_keeps_the_venv(course):
    with pytest.raises(course.module.SetupError):
        course.set_up(part="downloading")
    assert course.module.venv_state("lab") == "outdated"
    course.set_up()
    assert course.module.venv_state("lab") == "ready" and course.venvs_made == 1


def test_lessons_still_start_after_the_test_tools_could_not_be_fetched(course):
    course.set_up("lab")
    with pytest.raises(course.module.SetupError):
        course.set_up("test", part="no network")
    assert course.module.venv_state("lab") == "ready"


@pytest.mark.skipif(os.name == "nt", reason="a python on Windows is no link that can dangle")
def test_a_venv_whose_python_is_gone_is_made_afresh(course):
    course.set_up()
    python = course.module.venv_python()
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert course.module.venv_state("lab") == "broken"
    course.set_up()
    assert course.module.venv_state("lab") == "ready" and course.venvs_made == 2


def test_a_venv_without_pip_is_made_afresh(course):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", course.folder / ".venv"], check=True)
    assert course.module.venv_state("lab") == "broken"
    course.set_up()
    assert course.module.venv_state("lab") == "ready"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lab": "another hash"}'])
def test_a_stamp_that_cannot_be_trusted_makes_pip_run(course, text):
    course.set_up()
    course.module.stamp_path().write_text(text)
    assert course.module.venv_state("lab") == "outdated"


def test_the_venv_finds_the_course_from_any_folder(course, tmp_path_factory):
    (course.folder / "course_utils").mkdir()
    (course.folder / "course_utils" / "__init__.py").write_text("where = __file__")
    python = course.set_up()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    code = "import course_utils; print(course_utils.where)"
    environment = course.module.course_environment(python)
    shown = subprocess.check_output([python, "-c", code], cwd=elsewhere, env=environment, text=True)
    assert Path(shown.strip()).resolve().is_relative_to(course.folder.resolve())


def test_without_the_venv_module_the_package_to_install_is_named(course, monkeypatch):
    module = load(course.folder / "course.py")
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object()
    )
    monkeypatch.setattr(module, "missing_packages", lambda *_: ["torch"])
    with pytest.raises(module.SetupError, match=r"ensurepip.*\n.*apt install python3\.\d+-venv"):
        module.make_venv()
    assert not (course.folder / ".venv").exists()


# --- pip's failures ---


def test_no_network_is_said_in_so_many_words_with_the_next_step(course, monkeypatch, capfd):
    module = course.module
    course.make_venv()
    (course.pip_folder / "part").write_text("no network")
    monkeypatch.setattr(module, "missing_packages", lambda *_: ["torch"])
    assert module.main(["lab"]) == 1
    error = capfd.readouterr().err
    assert "no network" in error and "Next: connect to the internet" in error and "Traceback" not in error
    assert "--use-current-python" not in error
    monkeypatch.setattr(module, "missing_packages", lambda *_: [])
    assert module.main(["lab"]) == 1
    assert "--use-current-python" in capfd.readouterr().err


@pytest.mark.parametrize(
    "line, words",
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        (
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...')); Max retries exceeded",
            "PIP_CERT",
        ),
        ("Failed to establish a new connection: [Errno 11001] getaddrinfo failed", "no network"),
        (
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool: Read timed out.",
            "no network",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'zmq.pyd'",
            "still runs",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "no build of a package"),
        ("something nobody foresaw", "delete the folder .venv"),
    ],
)
def test_each_failure_of_pip_is_explained_with_a_next_step(course, line, words):
    message = course.module.explain_pip_failure("a line\n" * 1000 + line)
    assert words in message and "\nNext: " in message


def test_an_old_warning_far_above_does_not_hide_what_went_wrong(course):
    log = (
        "Retrying after connection broken by NewConnectionError\n"
        + "fine\n" * 1000
        + "[Errno 28] No space left on device"
    )
    assert "disk is full" in course.module.explain_pip_failure(log)


# --- which torch ---


@pytest.mark.parametrize("part", ["works", "cpu index fails"])
def test_without_a_gpu_linux_takes_torch_from_the_cpu_index_and_goes_on_if_that_fails(
    course, monkeypatch, part
):
    monkeypatch.setattr(course.module, "wants_cpu_torch", lambda: True)
    monkeypatch.setattr(course.module, "reachable", lambda url, seconds: True)
    course.set_up(part=part)
    torch, rest = course.pip_calls
    assert torch[torch.index("--index-url") + 1] == course.module.TORCH_CPU_INDEX
    assert torch[-1] == course.module.pinned("torch") and "--no-deps" in torch
    assert "--index-url" not in rest and "-r" in rest


def test_an_unreachable_cpu_index_leaves_torch_to_pip_and_says_so(course, monkeypatch, capsys):
    monkeypatch.setattr(course.module, "wants_cpu_torch", lambda: True)
    monkeypatch.setattr(course.module, "reachable", lambda url, seconds: False)
    course.set_up()
    assert len(course.pip_calls) == 1 and "--index-url" not in course.pip_calls[0]
    assert "gigabytes" in capsys.readouterr().out


def test_only_linux_without_an_nvidia_gpu_needs_the_cpu_index(course, monkeypatch):
    fresh = load(course.folder / "course.py")
    monkeypatch.setattr(fresh.Path, "exists", lambda self: False)
    monkeypatch.setattr(fresh.shutil, "which", lambda name: None)
    for system, wanted in (("Linux", True), ("Darwin", False), ("Windows", False)):
        monkeypatch.setattr(fresh.platform, "system", lambda system=system: system)
        assert fresh.wants_cpu_torch() is wanted
    monkeypatch.setattr(fresh.platform, "system", lambda: "Linux")
    monkeypatch.setattr(fresh.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert fresh.wants_cpu_torch() is False


@pytest.mark.parametrize("status, expected", [(200, True), (403, False)])
def test_a_server_is_reachable_when_it_answers_well(course, status, expected):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert course.module.reachable(f"http://127.0.0.1:{server.server_port}/", 5) is expected


def test_a_server_that_never_answers_is_not_reachable(course):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not course.module.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.2)
    assert not course.module.reachable("http://no.such.host.invalid/", 0.2)


# --- what reaches JupyterLab and pytest ---


@pytest.fixture
def handed_over(course, monkeypatch) -> list[list[str]]:
    """The commands that would have been started; nothing is set up or started."""
    commands = []
    monkeypatch.setattr(course.module, "ensure_environment", lambda level: Path(f"/python for {level}"))
    monkeypatch.setattr(
        course.module, "hand_over", lambda command, env, *folder: commands.append(command) or 7
    )
    return commands


def test_lab_opens_the_first_lesson_and_passes_its_options_on(course, handed_over):
    lesson = course.folder / course.module.FIRST_LESSON
    lesson.parent.mkdir()
    lesson.touch()
    assert course.module.main(["lab", "--port", "8899", "--no-browser", "--", "--ip=0.0.0.0", "--debug"]) == 7
    (command,) = handed_over
    assert command[:3] == [str(Path("/python for lab")), "-m", "jupyterlab"]
    assert {"--port=8899", "--no-browser", f"--ServerApp.root_dir={course.folder}"} <= set(command)
    assert f"--LabApp.default_url=/lab/tree/{course.module.FIRST_LESSON}" in command
    assert command[-2:] == ["--ip=0.0.0.0", "--debug"]


def test_lab_without_options_leaves_port_and_browser_to_jupyterlab(course, handed_over):
    course.module.main(["lab"])
    assert not [part for part in handed_over[0] if part.startswith("--port") or part == "--no-browser"]


@pytest.mark.parametrize("user, allowed", [(0, True), (1000, False)])
def test_root_is_allowed_because_a_container_often_has_no_one_else(course, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert ("--allow-root" in course.module.lab_command(Path("p"), "a.ipynb", None, True, [])) is allowed


def test_cleared_copies_have_no_results_and_keep_what_a_learner_wrote(course, handed_over):
    lesson = course.folder / course.module.FIRST_LESSON
    lesson.parent.mkdir()
    code = {
        "cell_type": "code",
        "source": "1 + 1",
        "execution_count": 3,
        "outputs": [{"output_type": "stream"}],
    }
    lesson.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "é"}, code], "nbformat": 4}))
    assert course.module.main(["lab", "--clear"]) == 7
    copy = course.folder / course.module.CLEARED / lesson.name
    assert f"--LabApp.default_url=/lab/tree/{course.module.CLEARED}/{lesson.name}" in handed_over[-1]
    text, cleared = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    assert text["source"] == "é"
    assert cleared == code | {"execution_count": None, "outputs": []}
    copy.write_text("a learner's work")
    course.module.main(["lab", "--clear"])
    assert copy.read_text() == "a learner's work"
    assert json.loads(lesson.read_text())["cells"][1] == code


def test_cleared_copies_are_not_committed(course):
    assert f"{course.module.CLEARED}/" in (ROOT / ".gitignore").read_text().split()


def test_test_passes_its_arguments_to_pytest(course, handed_over):
    assert course.module.main(["test", "--", "-k", "one or two", "-x"]) == 7
    assert handed_over == [[str(Path("/python for test")), "-m", "pytest", "-k", "one or two", "-x"]]


def test_the_fast_lane_leaves_out_what_takes_long(course, handed_over, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    course.module.main(["test", "--fast"])
    course.module.main(["test", "--fast", "--", "-x"])
    assert [command[3:] for command in handed_over] == [
        ["-m", course.module.FAST, "-n", "2"],
        ["-m", course.module.FAST, "-x"],
    ]
    for marker in ("slow", "browser", "notebooks", "real_model"):
        assert f"not {marker}" in course.module.FAST
        assert f'"{marker}: ' in (ROOT / "pyproject.toml").read_text()


def test_other_commands_get_what_was_typed_from_the_folder_where_it_was(
    course, monkeypatch, tmp_path_factory
):
    told = []
    monkeypatch.setattr(course.module, "ensure_environment", lambda level: Path("python"))
    monkeypatch.setattr(course.module, "hand_over", lambda *what: told.append(what) or 5)
    monkeypatch.setattr(sys, "executable", "/this/python")
    monkeypatch.setenv("COURSE_PYTHON", "")
    folder = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COURSE_CHECKS", "private")
    assert course.module.main(["exercises", "--use-current-python", "--to", "there", "--help"]) == 5
    script = str(course.folder / "tools" / "exercises.py")
    command, env, where = told[0]
    assert command == ["python", script, "--to", "there", "--help"] and where == str(folder)
    assert env["COURSE_CHECKS"] == str(folder / "private")
    assert os.environ["COURSE_PYTHON"] == "/this/python"


def test_every_command_leads_to_a_program_of_the_course_and_stands_in_the_help(course, capsys):
    course.module.main([])
    shown = capsys.readouterr().out
    for command, (home, text) in course.module.HANDED_ON.items():
        path = home if home.endswith(".py") else home.replace(".", "/") + ".py"
        assert (ROOT / path).exists(), path
        assert command in shown and text in shown


@pytest.mark.parametrize("cores, processes", [(8, ["-n", "4"]), (2, ["-n", "2"]), (1, []), (None, [])])
def test_the_whole_suite_runs_in_a_process_a_core(course, handed_over, monkeypatch, cores, processes):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    course.module.main(["test"])
    assert handed_over[0][3:5] == processes


def test_no_command_shows_the_help(course, capsys):
    assert course.module.main([]) == 2
    assert "lab" in capsys.readouterr().out


def test_the_exit_code_of_pytest_is_the_scripts(course):
    (course.folder / "test_one.py").write_text("def test_one(): assert False")
    command = [
        sys.executable,
        "course.py",
        "test",
        "--use-current-python",
        "--",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    assert subprocess.run(command, cwd=course.folder, capture_output=True).returncode == 1
    (course.folder / "test_one.py").write_text("def test_one(): assert True")
    assert subprocess.run(command, cwd=course.folder, capture_output=True).returncode == 0


def test_a_prepared_python_that_lacks_packages_is_refused_with_their_names(course, tmp_path_factory):
    bare = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = str(bare / course.module.venv_python().relative_to(course.module.venv_dir()))
    with pytest.raises(course.module.SetupError, match="lacks jupyterlab, transformers, torch"):
        course.module.chosen_python(python, "lab")
    with pytest.raises(course.module.SetupError, match="does not start"):
        course.module.chosen_python(str(bare / "no python"), "lab")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_prepared_python_that_is_too_old_is_told_its_version(course, tmp_path):
    old = tmp_path / "python3.7"
    old.write_text('#!/bin/sh\ncase "$2" in *version_info*) echo 3 7;; *) exit 1;; esac\n')
    old.chmod(0o755)
    with pytest.raises(course.module.SetupError, match=r"is Python 3\.7; the course needs 3\.11 or newer"):
        course.module.chosen_python(str(old), "lab")


def test_a_kernel_that_another_project_registered_does_not_win(course, tmp_path):
    stranger = tmp_path / "data" / "kernels" / "python3"
    stranger.mkdir(parents=True)
    spec = {
        "argv": ["/another/python", "-m", "ipykernel_launcher"],
        "display_name": "Another",
        "language": "python",
    }
    (stranger / "kernel.json").write_text(json.dumps(spec))
    code = textwrap.dedent("""
        from jupyter_client.kernelspec import KernelSpecManager
        print(KernelSpecManager().get_kernel_spec("python3").argv[0])
    """)
    environment = course.module.course_environment(Path(sys.executable))
    environment["JUPYTER_DATA_DIR"] = str(tmp_path / "data")
    shown = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert shown.strip() != "/another/python"


def test_the_learners_own_paths_do_not_reach_the_venv(course, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/opt/other/site-packages")
    monkeypatch.setenv("PYTHONHOME", "/opt/other")
    environment = course.module.course_environment(course.module.venv_python())
    assert "PYTHONPATH" not in environment and "PYTHONHOME" not in environment
    assert environment["PATH"].split(os.pathsep)[0] == str(course.module.venv_python().parent)
