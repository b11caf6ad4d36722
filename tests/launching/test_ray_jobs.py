"""Launches on a real Ray cluster of this machine: one head with two cores, which asks for a token."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.launching import machine as machines
from medmax_pipeline.launching import ray_jobs
from medmax_pipeline.launching.backends import Launched
from medmax_pipeline.launching.launch import end, launch
from medmax_pipeline.launching.living import MARK, carriers, end_all, parse_process
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.launching.ray_jobs import RayJobs
from medmax_pipeline.launching.state import log_size, read_note, read_status
from tests.conftest import absent

MODULE = "tests.launching.told_what_to_do"
START_S, STOP_S = 90.0, 60.0
LAST_S = 10.0
"""Ray's watchers of its jobs look every second whether what they belong to is gone."""


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if find_spec("ray") is None:
        absent("ray", 'Ray is not installed: `pip install "medmax_pipeline[ray]"`')


@pytest.fixture(scope="module")
def cluster(project: Path) -> Iterator[str]:
    """Address of the job server of a cluster; nothing of the cluster is left in the end."""
    mark = secrets.token_hex(16)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Ray puts sockets there, whose paths must be short
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        words = ["start", "--head", "--block", "--disable-usage-stats", f"--temp-dir={folder}", "--port=0"]
        words += ["--num-cpus=2", "--num-gpus=0", "--object-store-memory=80000000", "--include-log-monitor=false"]
        words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--dashboard-agent-listen-port=0"]
        words += [f"--ray-client-server-port={free_port()}"]
        with (folder / "head.log").open("wb") as log:
            head = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *words],
                env={**os.environ, MARK: mark},
                cwd=project,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(RayJobs(Machine(kind="ray", ray=machines.Ray(address=address))), head, folder / "head.log")
            yield address
        finally:
            head.send_signal(signal.SIGTERM)
            try:
                head.wait(STOP_S)
                deadline = time.monotonic() + LAST_S
                while (left := carriers(mark)) and time.monotonic() < deadline:
                    time.sleep(0.2)
            finally:
                end_all(mark, 5.0)
                head.wait()
                shutil.rmtree(folder)
        assert not left, "Ray's own processes outlived their cluster"


def wait_for(backend: RayJobs, head: subprocess.Popen[bytes], log: Path) -> None:
    """Until the cluster takes jobs."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            backend.alive("none")
        except LaunchError as error:
            if head.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no cluster ({error}): {log.read_text()}")
            time.sleep(0.2)
        else:
            return


@pytest.fixture
def machine(cluster: str) -> Machine:
    return Machine(kind="ray", grace_s=2.0, ray=machines.Ray(address=cluster, poll_s=0.2))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "launch"


def test_a_launch_on_ray_shows_its_lines_and_gives_its_last_report(machine: Machine, state: Path) -> None:
    lines: list[str] = []
    report = launch([MODULE, "say:hello", "report:step=1", "report:step=2"], state, machine, lines.append)
    assert report == {"step": 2}
    assert [line for line in lines if not line.startswith("ray: ")] == ["hello", '{"step": 1}', '{"step": 2}']


def test_a_module_that_fails_on_ray_ends_with_its_own_reason(machine: Machine, state: Path) -> None:
    with pytest.raises(LaunchError, match="as it was told") as caught:
        launch([MODULE, "say:so far", "fail:disk_full"], state, machine, lambda line: None)
    assert caught.value.reason == "disk_full"
    assert "so far" in str(caught.value)


def test_who_is_interrupted_ends_the_job_and_a_child_with_a_session_of_its_own(machine: Machine, state: Path) -> None:
    def told(line: str) -> None:
        if line.startswith("orphan"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # Ray itself would kill after 3 s
        launch([MODULE, "save:4", "orphan", "await:never"], state, replace(machine, grace_s=20.0), told)
    assert "saved" in (state / "output.log").read_text()
    note = read_note(state)
    assert note is not None
    status = read_status(state, note.mark)
    assert not carriers(note.mark)
    assert status is not None
    assert status.reason == "terminated"
    assert RayJobs(machine).alive(note.handle).reason == "terminated"


def test_a_killed_launcher_leaves_the_job_and_the_next_one_goes_on_with_it(
    machine: Machine, state: Path, tmp_path: Path, project: Path
) -> None:
    words = [MODULE, "say:begun", f"await:{tmp_path / 'go'}", "report:step=7"]
    code = (
        "from pathlib import Path\n"
        "from medmax_pipeline.launching.launch import launch\n"
        "from medmax_pipeline.launching.machine import Machine, Ray\n"
        f"machine = Machine(kind='ray', ray=Ray(address={machine.ray.address!r}, poll_s=0.2))\n"  # type: ignore[union-attr]
        f"launch({words!r}, Path({str(state)!r}), machine, lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert any(line == "begun\n" for line in launcher.stdout)
        launcher.kill()
    lines: list[str] = []
    (tmp_path / "go").touch()
    assert launch(words, state, machine, lines.append) == {"step": 7}
    assert any("runs already" in line for line in lines)
    assert (state / "output.log").read_text().count("begun") == 1


def test_a_node_that_ray_leaves_ends_the_module_and_all_its_sessions(machine: Machine, state: Path) -> None:
    def told(line: str) -> None:
        if line.startswith("orphan"):
            os.kill(actor_of(state), signal.SIGKILL)

    with pytest.raises(LaunchError) as caught:
        launch([MODULE, "orphan", "await:never"], state, machine, told)
    note = read_note(state)
    assert note is not None
    assert not carriers(note.mark)
    assert caught.value.reason in ("terminated", "node_failed")


def actor_of(state: Path) -> int:
    """The process of Ray that started the supervisor."""
    note = read_note(state)
    status = None if note is None else read_status(state, note.mark)
    assert status is not None
    pid = parse_process(status.process).pid
    while not Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::"):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def test_a_job_that_waits_for_cores_says_so_and_never_runs_once_ended(
    machine: Machine, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_jobs, "PENDING_S", 1.0)
    backend = RayJobs(machine)
    launched = Launched(
        arguments=(MODULE, "say:hello"),
        state=state,
        mark=secrets.token_hex(16),
        folder=Path.cwd(),
        machine=Machine(kind="ray", cpus=64, grace_s=0.0, ray=machine.ray),
    )
    handle = backend.submit(launched)
    assert backend.find(launched) == handle
    standing = backend.alive(handle)
    assert standing.state == "waiting"
    assert "resources" in standing.detail
    backend.end(handle, launched)
    assert backend.alive(handle).state == "waiting"
    assert log_size(state) == 0


def test_a_job_that_the_cluster_does_not_know_is_gone(machine: Machine) -> None:
    assert RayJobs(machine).alive("medmax-0").state == "gone"


def test_ending_twice_is_fine(machine: Machine, state: Path) -> None:
    launch([MODULE, "say:hello"], state, machine, lambda line: None)
    end(state)
    status = end(state)
    assert status is not None
    assert status.reason == "done"


def test_a_job_server_that_does_not_answer_is_named() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(LaunchError, match=f"{address} does not answer"):
        RayJobs(Machine(kind="ray", ray=machines.Ray(address=address))).alive("medmax-0")


def test_a_variable_that_would_lead_to_another_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="RAY_ADDRESS"):
        RayJobs(Machine(kind="ray"))


def test_a_time_limit_is_refused_since_ray_keeps_none() -> None:
    with pytest.raises(ConfigError, match="no time limit"):
        RayJobs(Machine(kind="ray", hours=2.0))


def test_the_address_must_be_the_job_servers() -> None:
    with pytest.raises(ConfigError, match="job server"):
        RayJobs(Machine(kind="ray", ray=machines.Ray(address="ray://127.0.0.1:10001")))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(ConfigError, match=r"medmax_pipeline\[ray\]"):
        RayJobs(Machine(kind="ray"))
