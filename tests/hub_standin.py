"""A stand-in of the model hub on the loopback interface, standard library only.

It serves folders as repositories, answers for gated and missing ones as the hub does, and remembers what it
was asked.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubStandIn:
    """`with HubStandIn({"owner/name": folder}, gated={"owner/secret"}) as hub:` serves at `hub.url`."""

    def __init__(self, repos: dict[str, Path], gated: frozenset[str] | set[str] = frozenset()):
        self.repos = repos
        self.gated = gated
        self.requests: list[tuple[str, str]] = []

    def __enter__(self) -> "HubStandIn":
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append((self.command, path))
        status, headers, body = self._route(path)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _route(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.strip("/").split("/")
        if parts == [""]:
            return 200, {}, b"hub stand-in"
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self._api("/".join(parts[2:4]), parts[4:])
        if len(parts) >= 5 and parts[2] == "resolve":
            return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def _refusal(self, repo: str) -> tuple[int, dict[str, str], bytes] | None:
        if repo in self.hub.gated:
            return 401, _error("GatedRepo", f"Access to model {repo} is restricted."), b""
        if repo not in self.hub.repos:
            return 401, _error("RepoNotFound", "Repository not found"), b""
        return None

    def _api(self, repo: str, rest: list[str]) -> tuple[int, dict[str, str], bytes]:
        # The hub shows what a gated repository holds to anybody; it is the files that it keeps back.
        if repo not in self.hub.repos and repo not in self.hub.gated:
            return 401, _error("RepoNotFound", "Repository not found"), b""
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", COMMIT):
            return 404, _error("RevisionNotFound", "Invalid rev id"), b""
        folder = self.hub.repos.get(repo)
        files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder else []
        names = [p.relative_to(folder).as_posix() for p in files]
        if rest[:1] == ["tree"]:
            rows = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": _etag(file)}
                for name, file in zip(names, files, strict=True)
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(rows).encode()
        info = {
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "siblings": [{"rfilename": name} for name in names],
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()

    def _file(self, repo: str, revision: str, name: str) -> tuple[int, dict[str, str], bytes]:
        refusal = self._refusal(repo)
        if refusal is not None:
            return refusal
        if revision not in ("main", COMMIT):
            return 404, _error("RevisionNotFound", "Invalid rev id"), b""
        file = self.hub.repos[repo] / name
        if not file.is_file():
            return 404, {**_error("EntryNotFound", "Entry not found"), "X-Repo-Commit": COMMIT}, b""
        return 200, {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT}, file.read_bytes()


def _error(code: str, message: str) -> dict[str, str]:
    return {"X-Error-Code": code, "X-Error-Message": message}


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
