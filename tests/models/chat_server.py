"""An OpenAI-compatible server on this machine that answers as told, or misbehaves in every way that tests name.

Standard library. Serves `/chat/completions` over 127.0.0.1 and keeps every byte that it gets.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What the next `times` requests meet whose body holds `part`; by default nothing is wrong."""

    part: str = ""
    times: int = 1_000_000
    status: int = 200
    text: str | None = None
    """The reply's text in the place of what the server would say."""
    message: Mapping[str, Any] | None = None
    """The reply's whole message."""
    finish: str = "stop"
    body: bytes | None = None
    """The whole body in the place of an answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    model: str = ""
    counted: bool = True
    """Whether tokens are counted."""
    cut: int = 0
    """Bytes of the body after which the connection is closed; 0: not cut."""
    stall: bool = False
    """Whether the server is silent after those bytes, until the test is over."""
    drip: bool = False
    """Whether the body comes a byte at a time, so slowly that it never ends and never falls silent."""


@dataclass
class Seen:
    """One request, when it came and whether a whole answer went out."""

    payload: dict[str, Any]
    headers: Mapping[str, str]
    at: float
    answered: bool = False

    @property
    def text(self) -> str:
        """The last message."""
        return str(self.payload["messages"][-1]["content"])


@dataclass
class ChatServer:
    """The server's state, as tests set and read it."""

    url: str = ""
    says: Callable[[list[dict[str, str]]], str] = lambda messages: f"I read: {messages[-1]['content']}"
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    """Every byte of every request, its head included."""
    usage: tuple[int, int] = (10, 5)
    """Tokens in and out that each answer counts."""
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    met: dict[int, int] = field(default_factory=dict)

    def answered(self, part: str = "") -> int:
        """Requests with `part` in their last message that got a whole answer: those that somebody pays for."""
        return sum(seen.answered and part in seen.text for seen in self.seen)

    def fault_of(self, body: str) -> Fault:
        """The first fault that this request meets; used up by it."""
        with self.lock:
            for place, fault in enumerate(self.faults):
                if fault.part in body and self.met.get(place, 0) < fault.times:
                    self.met[place] = self.met.get(place, 0) + 1
                    return fault
        return Fault()


@contextmanager
def serving(**state: Any) -> Iterator[ChatServer]:
    """A server for as long as the block runs; `state` are fields of `ChatServer`."""
    chat = ChatServer(**state)

    class Handler(_Handler):
        server_state = chat

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Kept(BufferedIOBase):
    """A stream whose bytes are kept as they are read."""

    def __init__(self, stream: Any, kept: bytearray) -> None:
        self.stream, self.kept = stream, kept

    def readline(self, size: int | None = -1) -> bytes:
        data: bytes = self.stream.readline(size)
        self.kept.extend(data)
        return data

    def read(self, size: int | None = -1) -> bytes:
        data: bytes = self.stream.read(size)
        self.kept.extend(data)
        return data


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: ChatServer

    def setup(self) -> None:
        super().setup()
        self.rfile = _Kept(self.rfile, self.server_state.received)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: tests look at `seen`."""

    def do_GET(self) -> None:
        """What a client that follows a redirect would send; nobody should."""
        self.server_state.seen.append(
            Seen({"messages": [{"content": self.path}]}, dict(self.headers), time.monotonic())
        )
        self._send(Fault(status=404), b"{}")

    def do_POST(self) -> None:
        """One request for a reply."""
        state = self.server_state
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen = Seen(json.loads(body), dict(self.headers), time.monotonic())
        state.seen.append(seen)
        fault = state.fault_of(body.decode())
        answer = fault.body if fault.body is not None else self._answer(seen, fault)
        seen.answered = self._send(fault, answer) and fault.status == 200

    def _answer(self, seen: Seen, fault: Fault) -> bytes:
        state = self.server_state
        if fault.status != 200:
            return json.dumps({"error": {"message": "not now", "code": "busy"}}).encode()
        text = fault.text if fault.text is not None else state.says(seen.payload["messages"])
        message = fault.message if fault.message is not None else {"role": "assistant", "content": text}
        answer: dict[str, Any] = {
            "model": fault.model or seen.payload["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": fault.finish}],
        }
        if fault.counted:
            answer["usage"] = {"prompt_tokens": state.usage[0], "completion_tokens": state.usage[1]}
        return json.dumps(answer).encode()

    def _send(self, fault: Fault, body: bytes) -> bool:
        """Whether all of it went out."""
        try:
            self.send_response(fault.status)
            for name, value in fault.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", fault.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if fault.drip:
                return self._drip(body)
            if fault.cut or fault.stall:
                self.close_connection = True
                self.wfile.write(body[: fault.cut])
                self.wfile.flush()
                if fault.stall:
                    self.server_state.over.wait(5)
                return False
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the client is gone
            return False
        return True

    def _drip(self, body: bytes) -> bool:
        for place in range(len(body)):
            self.wfile.write(body[place : place + 1])
            self.wfile.flush()
            if self.server_state.over.wait(0.02):
                return False
        return True
