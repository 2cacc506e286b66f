"""What lesson 10 starts ends, whatever the processes that it waits for do."""

import subprocess
import sys
import time

import pytest

from course_runs import lesson10


def start(code: str, *args: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *args])


@pytest.mark.parametrize("status", [0, 3])
def test_a_training_that_ends_gives_its_status(status, tmp_path):
    assert lesson10.ended(start(f"raise SystemExit({status})"), tmp_path / "never") == status


def test_one_that_has_written_everything_and_hangs_is_ended(tmp_path):
    code = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    began = time.monotonic()
    started = start(code, str(tmp_path / "written"))
    assert lesson10.ended(started, tmp_path / "written", patience=0.5) == 0
    assert started.poll() is not None and time.monotonic() - began < 300


def test_an_interrupted_wait_leaves_nothing_running():
    class Interrupting:
        def exists(self):
            raise KeyboardInterrupt

    started = start("import time; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt):
        lesson10.ended(started, Interrupting())
    assert started.poll() is not None
