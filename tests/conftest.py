"""What every test has: no network beyond this machine, and a store of its own."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("untimed")

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def absent(thing: str, reason: str) -> NoReturn:
    """Skip a test for want of something, with the reason; fail where MEDMAX_TEST_REQUIRE (words) asks for it."""
    if thing in os.environ.get("MEDMAX_TEST_REQUIRE", "").split():
        pytest.fail(f"MEDMAX_TEST_REQUIRE asks for {thing}: {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails at once, by name."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}: tests stay on this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def accelerator(request: pytest.FixtureRequest) -> None:
    """A test marked `gpu` has a CUDA device, or skips; `make gpu` turns the skip into a failure."""
    if request.node.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            absent("cuda", "no CUDA device here; `make gpu` runs these tests where there is one")


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store of this test alone."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder
