"""A stand-in for a Kubernetes cluster: the few calls of its API that launching makes, and one kubelet that runs a pod.

What is asked is kept as it came. A pod's command really runs, as a process of this machine, once `hold` is taken away;
its status is told as a kubelet tells it. Nothing is scheduled, limited or isolated, and no image is pulled.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MADE = "2026-01-01T00:00:00Z"
IMAGE = {"image": "registry/medmax:1", "imageID": "sha256:0"}


def container(state: dict[str, Any]) -> dict[str, Any]:
    """The status of the module's container."""
    return {"name": "module", "ready": False, "restartCount": 0, "state": state, **IMAGE}


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    """A condition of a pod or job."""
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": MADE}


SCHEDULED = condition("PodScheduled", "True", "", "")
UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes have a free nvidia.com/gpu")],
}
NO_IMAGE = {
    "phase": "Pending",
    "conditions": [SCHEDULED],
    "containerStatuses": [container({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})],
}


class Cluster:
    """Its jobs and the one pod of each."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        """Method, path, query and body of every request."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.hold: dict[str, Any] | None = None
        """Status that every pod has instead of running."""
        self.out = 0
        """How many requests are still to be answered with 503."""
        self.forbidden: tuple[str, ...] = ()
        """Kinds of things that may not be asked for."""
        self.events: list[dict[str, object]] = []
        self.killed = ""
        self.lost_pods = False
        """Whether pods are gone although their jobs are there."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def kill(self, reason: str) -> None:
        """End the processes of every pod as the kernel or a kubelet does, for that reason."""
        self.killed = reason
        for process in self.processes.values():
            process.kill()
            process.wait()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        """Status code and JSON."""
        with self._lock:
            self.asked.append((method, path, query, body))
            *_, last = words = path.strip("/").split("/")
            if self.out:
                self.out -= 1
                return failure(503, "the server is currently unable to handle the request")
            kind = next(word for word in ("jobs", "pods", "events") if word in words)
            if kind in self.forbidden:
                return failure(403, f"{kind} is forbidden")
            if method == "POST":
                return self._create(body)
            if kind == "jobs":
                return self._job(method, last)
            if kind == "events":
                return 200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": self.events}
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods(query)}

    def _create(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return failure(409, f'jobs.batch "{name}" already exists')
        self.jobs[name] = {**job, "status": {}}
        return 201, self.jobs[name]

    def _job(self, method: str, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.jobs:
            return failure(404, f'jobs.batch "{name}" not found')
        job = self.jobs[name]
        if method == "DELETE":
            process = self.processes.pop(name, None)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
            del self.jobs[name]
        return 200, job

    def _pods(self, query: dict[str, str]) -> list[dict[str, Any]]:
        key, _, value = query["labelSelector"].partition("=")
        return [
            self._pod(name, job["spec"]["template"])
            for name, job in self.jobs.items()
            if job["spec"]["template"]["metadata"]["labels"][key] == value and not self.lost_pods
        ]

    def _pod(self, name: str, template: dict[str, Any]) -> dict[str, Any]:
        meta = {**template["metadata"], "name": f"{name}-x", "creationTimestamp": MADE}
        spec = {**template["spec"], "nodeName": "node-1"}
        return {"metadata": meta, "spec": spec, "status": self.hold or self._run(name, template["spec"])}

    def _run(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        process = self.processes.get(name)
        if process is None:
            process = subprocess.Popen(spec["containers"][0]["command"], start_new_session=True)
            self.processes[name] = process
        code = process.poll()
        if code is None:
            state: dict[str, Any] = {"running": {"startedAt": MADE}}
            return {"phase": "Running", "conditions": [SCHEDULED], "containerStatuses": [container(state)]}
        reason = self.killed or ("Error" if code else "Completed")
        state = {"terminated": {"reason": reason, "exitCode": code if code >= 0 else 128 - code}}
        return {
            "phase": "Failed" if code else "Succeeded",
            "conditions": [SCHEDULED],
            "containerStatuses": [container(state)],
        }


def failure(code: int, message: str) -> tuple[int, dict[str, Any]]:
    """The API server's way to say no."""
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


@contextmanager
def serving(cluster: Cluster) -> Iterator[str]:
    """The address at which the cluster answers while the block runs; its pods end with it."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            code, told = cluster.answer(self.command, parts.path, query, body)
            data = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *words: object) -> None:
            """Tests are silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        cluster.kill("Error")
