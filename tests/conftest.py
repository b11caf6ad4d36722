"""What every test has: no network beyond this machine, and a store of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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


class LineBuild(NamedTuple):
    """The sample build by command, in folders of this test run alone."""

    environment: dict[str, str]
    process: subprocess.Popen[str] | None
    """None: no test wants it."""
    log: Path


@pytest.fixture(scope="session", autouse=True)
def line_build(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, project: Path
) -> Iterator[LineBuild]:
    """Begun before the first test where one of them wants it, for it takes minutes and most of the time one core."""
    root = tmp_path_factory.mktemp("line")
    (root / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDMAX_", "DAGSTER_"))}
    environment = kept | {
        "DAGSTER_HOME": str(root / "home"),
        "MEDMAX_STORE": str(root / "store"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    log = root / "build.log"
    line = (item for item in request.session.items if item.path.name == "test_line.py")
    if not any("built" in getattr(item, "fixturenames", ()) for item in line):
        yield LineBuild(environment, None, log)
        return
    job = "job execute -m medmax_pipeline.definitions -j full_rebuild"
    command = [str(Path(sys.executable).parent / "dagster"), *job.split()]
    with (
        log.open("w") as told,
        subprocess.Popen(command, cwd=project, env=environment, stdout=told, stderr=told, text=True) as process,
    ):
        yield LineBuild(environment, process, log)
        process.send_signal(signal.SIGINT)  # where tests ended early: Dagster ends what it launched


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store of this test alone."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder
