"""A hub on this machine: as much of the API as the real client asks for, with failures on order.

Standard library. Serves repositories from memory over 127.0.0.1; every request is kept. Xet is never offered, so the
client takes the plain HTTP path.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def commit(number: int) -> str:
    """The `number`th commit of a repository."""
    return f"{number:040x}"


@dataclass
class Repo:
    """One repository: files by commit, and where its branches stand."""

    name: str
    commits: dict[str, Mapping[str, bytes]]
    branches: dict[str, str]
    gated: bool = False
    lfs: frozenset[str] = frozenset()
    """Files that the hub names by sha256; the others by git's digest."""
    told: dict[str, bytes] = field(default_factory=dict)
    """Bytes that the hub speaks of where it serves others."""


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def range(self) -> str:
        """The range that was asked for, or nothing."""
        return {name.lower(): value for name, value in self.headers.items()}.get("range", "")


@dataclass
class Fault:
    """What goes wrong with the next requests of a method whose path holds `part`."""

    method: str
    part: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    """Bytes of the body after which the connection is closed; 0: not cut."""
    stall: bool = False
    """Whether the connection stays open and silent after those bytes, until the client is gone."""
    times: int = 1


@dataclass
class Hub:
    """The server's state, as tests set and read it."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    """Known tokens, and the gated repositories to which each was granted access."""
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)
    """Plain files at `/plain/...`, outside the hub's API."""
    redirects: dict[str, str] = field(default_factory=dict)

    def bodies(self, name: str) -> list[Seen]:
        """Requests for the bytes of a file."""
        return [seen for seen in self.seen if seen.method == "GET" and seen.path.endswith(name)]

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, if any; used up by it."""
        for fault in self.faults:
            if fault.method == method and fault.part in path and fault.times > 0:
                fault.times -= 1
                return fault
        return None


@contextmanager
def serving(*repos: Repo) -> Iterator[Hub]:
    """A hub of these repositories, for as long as the block runs."""
    hub = Hub(repos={repo.name: repo for repo in repos})

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: tests look at `seen`."""

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        self.fault: Fault | None = None
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.state.seen.append(Seen(method, path, dict(self.headers.items())))
        fault = self.state.take_fault(method, path)
        if fault is not None and fault.status:
            self._send(fault.status, b"{}", fault.headers)
            return
        self.fault = fault
        if path in self.state.redirects:
            self._send(302, b"", {"Location": self.state.redirects[path]})
        elif path.startswith("/plain/"):
            self._plain(path)
        elif path.startswith(("/api/datasets/", "/api/models/")):
            self._api(path.split("/", 3)[3], sent)
        elif "/resolve/" in path:
            self._resolve(path)
        else:
            self._send(404, b"{}", {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault is not None and self.fault.cut:
            self.wfile.write(body[: self.fault.cut])
            self.wfile.flush()
            if self.fault.stall:
                self.rfile.read(1)
            self.close_connection = True
            return
        self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._send(status, json.dumps({"error": code}).encode(), {"X-Error-Code": code})

    def _repo(self, name: str) -> Repo | None:
        """The repository, if this request may see it; else the refusal is sent."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        repo = self.state.repos.get(name)
        if token and token not in self.state.tokens:
            self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return None
        if repo is None:
            self._error(404 if token else 401, "RepoNotFound")
            return None
        return repo

    def _granted(self, repo: Repo) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repo.gated and repo.name not in self.state.tokens.get(token, frozenset()):
            self._error(403 if token else 401, "GatedRepo")
            return False
        return True

    def _files(self, repo: Repo, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        found = repo.branches.get(revision, revision)
        if found not in repo.commits:
            self._error(404, "RevisionNotFound")
            return None
        return found, repo.commits[found]

    def _api(self, rest: str, sent: bytes) -> None:
        owner, name, *words = rest.split("/")
        repo = self._repo(f"{owner}/{name}")
        if repo is None:
            return
        revision = words[1] if len(words) > 1 else "main"
        at = self._files(repo, revision)
        if at is None:
            return
        if words[:1] == ["paths-info"]:
            if self._granted(repo):
                wanted = parse_qs(sent.decode())["paths"]
                self._json([_entry(repo, path, at[1][path]) for path in wanted if path in at[1]])
            return
        about = {"id": repo.name, "sha": at[0], "private": False, "gated": "auto" if repo.gated else False}
        self._json(about | {"siblings": [{"rfilename": path} for path in at[1]], "tags": []})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _resolve(self, path: str) -> None:
        front, _, rest = path.partition("/resolve/")
        repo = self._repo(front.removeprefix("/datasets").strip("/"))
        revision, _, name = rest.partition("/")
        if repo is None or not self._granted(repo):
            return
        at = self._files(repo, revision)
        if at is None:
            return
        if name not in at[1]:
            self._error(404, "EntryNotFound")
            return
        told = repo.told.get(name, at[1][name])
        etag = hashlib.sha256(told).hexdigest() if name in repo.lfs else _blob(told)
        self._ranged(at[1][name], {"X-Repo-Commit": at[0], "ETag": f'"{etag}"'})

    def _plain(self, path: str) -> None:
        if path not in self.state.pages:
            self._send(404, b"", {})
            return
        body = self.state.pages[path]
        self._ranged(body, {"ETag": f'"{hashlib.sha256(body).hexdigest()[:8]}"'})

    def _ranged(self, body: bytes, headers: Mapping[str, str]) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        condition = self.headers.get("If-Range")
        if start == 0 or (condition and condition != headers["ETag"]):
            self._send(200, body, {**headers, "Accept-Ranges": "bytes"})
        elif start >= len(body):
            self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        else:
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._send(206, body[start:], {**headers, "Content-Range": span})


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entry(repo: Repo, path: str, data: bytes) -> dict[str, Any]:
    told = repo.told.get(path, data)
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(told), "oid": _blob(told)}
    if path in repo.lfs:
        entry["lfs"] = {"oid": hashlib.sha256(told).hexdigest(), "size": len(told), "pointerSize": 134}
    return entry
