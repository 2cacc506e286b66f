"""A class on one server: a real JupyterHub, three learners who log in and run lesson 01 at the same time.

Linux only, as the memory is read from /proc. tests/hub-requirements.txt says what to install where. The hub starts
servers as processes of the user who runs the test, so no accounts are made. COURSE_HUB_RECORD names a file for the
figures (JSON): docs/instructors.md has those of one run.
"""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

requests = pytest.importorskip("requests", reason="the requests package is not installed")
websocket = pytest.importorskip("websocket", reason="the websocket-client package is not installed")

ROOT = Path(__file__).resolve().parents[1]
LESSON = "01_next_token_prediction.ipynb"
PATIENCE = 1200  # seconds; a bound against hanging for ever, not a measurement
HUB_PYTHON = os.environ.get("COURSE_HUB", sys.executable)
PROXY = os.environ.get("COURSE_CHP") or shutil.which("configurable-http-proxy")
HAS_HUB = (
    subprocess.run([HUB_PYTHON, "-c", "import jupyterhub, jupyterlab"], capture_output=True).returncode == 0
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.system() != "Linux", reason="reads memory from Linux's /proc"),
    pytest.mark.skipif(not HAS_HUB, reason="no jupyterhub: see tests/hub-requirements.txt"),
    pytest.mark.skipif(not PROXY, reason="no configurable-http-proxy: see tests/hub-requirements.txt"),
]

CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser"]
cull = "--MappingKernelManager.cull_"
c.Spawner.args = ["--allow-root", cull + "idle_timeout=15", cull + "interval=3"]
c.Spawner.environment = {environment!r}
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
"""


def wait_for(what: str, condition):
    """The first true answer of `condition`, which may fail with a lost connection meanwhile."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if answer := condition():
                return answer
        except requests.ConnectionError:
            pass
        time.sleep(0.25)
    raise TimeoutError(f"no {what} after {PATIENCE} s")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Hub:
    """A running JupyterHub and the homes of its learners."""

    def __init__(self, url: str, homes: Path) -> None:
        self.url, self.homes = url, homes


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    homes, kernel = folder / "homes", folder / "jupyter" / "kernels" / "course"
    homes.mkdir()
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Course", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    environment = {
        "COURSE_PROGRESS": "~/.course_progress.json",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "no_network")]),
        "JUPYTER_PATH": str(folder / "jupyter"),
    }
    port, hub_port, proxy_port = free_ports(3)
    places = {"homes": str(homes), "proxy": PROXY, "python": HUB_PYTHON, "environment": environment}
    config = CONFIG.format(port=port, hub_port=hub_port, proxy_port=proxy_port, **places)
    (folder / "config.py").write_text(config)
    with open(folder / "hub.log", "w") as log:
        command = [HUB_PYTHON, "-m", "jupyterhub", "-f", "config.py"]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            found = Hub(f"http://127.0.0.1:{port}", homes)
            wait_for("hub", lambda: process.poll() is not None or requests.get(f"{found.url}/hub/api").ok)
            assert process.poll() is None, (folder / "hub.log").read_text()[-3000:]
            yield found
        finally:
            process.terminate()  # the hub ends its learners' servers and its proxy
            process.wait(timeout=120)


class Learner:
    """Someone with a browser's cookies, a name and a home with a copy of the lesson."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.name, self.home, self.hub_url = name, hub.homes / name, f"{hub.url}/hub"
        self.server, self.session = f"{hub.url}/user/{name}", requests.Session()
        self.home.mkdir()
        shutil.copy(ROOT / "notebooks" / LESSON, self.home)

    def ask(self, path: str, method: str = "GET", **values):
        answer = self.session.request(method, self.server + path, timeout=60, **values)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def log_in(self) -> None:
        """Through the hub's own form; after it the learner's server starts, and a token of theirs speaks for them."""
        self.session.get(f"{self.hub_url}/login").raise_for_status()
        xsrf = {"_xsrf": self.session.cookies.get("_xsrf", path="/hub/")}
        form = {"username": self.name, "password": "any"} | xsrf
        answer = self.session.post(f"{self.hub_url}/login", data=form, params=xsrf, allow_redirects=False)
        assert answer.status_code == 302, answer.text
        xsrf = {"_xsrf": self.session.cookies.get("_xsrf", path="/hub/")}
        made = self.session.post(f"{self.hub_url}/api/users/{self.name}/tokens", params=xsrf, json={})
        made.raise_for_status()
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"token {made.json()['token']}"
        started = self.session.post(f"{self.hub_url}/api/users/{self.name}/server")
        assert started.status_code in (201, 202), started.text
        wait_for(f"server of {self.name}", lambda: self.session.get(f"{self.server}/api/status").ok)

    def run_lesson(self) -> dict:
        """Open the lesson and run every code cell; {"cells": count, "errors": [...], "seconds": wall time}."""
        start = time.monotonic()
        notebook = self.ask(f"/api/contents/{LESSON}")["content"]
        opened = {"path": LESSON, "name": LESSON, "type": "notebook", "kernel": {"name": "course"}}
        kernel = self.ask("/api/sessions", "POST", json=opened)["kernel"]["id"]
        address = f"{self.server}/api/kernels/{kernel}/channels".replace("http", "ws", 1)
        channel = websocket.create_connection(
            address, timeout=PATIENCE, header={"Authorization": self.session.headers["Authorization"]}
        )
        codes = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
        errors = [error for code in codes for error in execute(channel, code)]
        channel.close()
        return {"cells": len(codes), "errors": errors, "seconds": time.monotonic() - start}


def execute(channel, code: str) -> list[str]:
    """Run one cell and read until the kernel is idle again; the errors that it reported."""
    number = uuid.uuid4().hex
    header = {
        "msg_id": number,
        "msg_type": "execute_request",
        "username": "",
        "session": number,
        "version": "5.3",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "allow_stdin": False,
        "stop_on_error": True,
    }
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel.send(json.dumps(message))
    errors = []
    while True:
        said = channel.recv()
        if not isinstance(said, str):
            continue  # a message with a binary part belongs to a widget
        said = json.loads(said)
        if said.get("parent_header", {}).get("msg_id") != number:
            continue
        if said["channel"] == "iopub" and said["msg_type"] == "error":
            errors.append(f"{said['content']['ename']}: {said['content']['evalue']}")
        if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
            return errors


def memory_mb(name: str) -> dict[str, float]:
    """A learner's server and kernels together: proportional ("pss") and unshared ("private") memory, in MB."""
    total = {"pss": 0.0, "private": 0.0}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"JUPYTERHUB_USER={name}".encode() not in (process / "environ").read_bytes().split(b"\0"):
                continue
            kept = dict(re.findall(r"^(\w+): +(\d+) kB", (process / "smaps_rollup").read_text(), re.M))
        except OSError:  # ended meanwhile, or somebody else's
            continue
        total["pss"] += int(kept["Pss"]) * 1024 / 1e6
        total["private"] += (int(kept["Private_Clean"]) + int(kept["Private_Dirty"])) * 1024 / 1e6
    return total


class Watch(threading.Thread):
    """Takes the learners' memory twice a second; `peak` has the most of each, by name."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.peak, self.over = {name: {"pss": 0.0, "private": 0.0} for name in names}, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            for name, most in self.peak.items():
                now = memory_mb(name)
                most.update({key: max(most[key], now[key]) for key in most})


def test_three_learners_run_lesson_01_at_once_within_the_memory_that_instructors_are_told(hub):
    mark = uuid.uuid4().hex[:6]
    learners = [Learner(hub, f"{name}-{mark}") for name in ("ada", "bo", "cy")]
    with ThreadPoolExecutor(len(learners)) as pool:
        begin = time.monotonic()
        list(pool.map(Learner.log_in, learners))
        logged_in = time.monotonic() - begin
        servers = {each.name: memory_mb(each.name) for each in learners}
        watch = Watch([each.name for each in learners])
        watch.start()
        runs = list(pool.map(Learner.run_lesson, learners))
        watch.over.set()
        watch.join()
    after = {each.name: memory_mb(each.name) for each in learners}
    for each in learners:  # nobody looks any more, so each server ends its own idle kernel
        wait_for("end of an idle kernel", lambda each=each: not each.ask("/api/kernels"))
    record = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "servers_ready_seconds": logged_in,
        "learners": [
            {"seconds": run["seconds"], "server": servers[n], "peak": watch.peak[n], "after": after[n]}
            | {"culled": memory_mb(n)}
            for n, run in zip(watch.peak, runs)
        ],
    }
    print(json.dumps(record, indent=1))
    if path := os.environ.get("COURSE_HUB_RECORD"):
        Path(path).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    assert [run["errors"] for run in runs] == [[], [], []]
    assert all(run["cells"] > 20 for run in runs)
    page = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
    (limit,) = re.findall(r"limits\.memory ([\d.]+)G", page)
    for name, most in watch.peak.items():
        assert 100 < most["private"] <= most["pss"] < float(limit) * 2**30 / 1e6, name
        assert memory_mb(name)["pss"] < after[name]["pss"] / 2, "an ended kernel gives its memory back"
