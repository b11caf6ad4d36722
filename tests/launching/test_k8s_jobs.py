"""Launches on Kubernetes, through its own client, against a stand-in for the cluster: see `k8s_api.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.launching.backends import Launched
from medmax_pipeline.launching.k8s_jobs import K8sJobs
from medmax_pipeline.launching.launch import launch
from medmax_pipeline.launching.living import carriers
from medmax_pipeline.launching.machine import K8s, Machine
from medmax_pipeline.launching.state import read_note, read_status
from tests.conftest import absent
from tests.launching.k8s_api import NO_IMAGE, UNSCHEDULABLE, Cluster, condition, serving

MODULE = "tests.launching.told_what_to_do"


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if find_spec("kubernetes") is None:
        absent("k8s", 'the Kubernetes client is not installed: `pip install "medmax_pipeline[k8s]"`')


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that the kubeconfig names."""
    cluster = Cluster()
    with serving(cluster) as address:
        name_cluster(tmp_path / "kubeconfig", address)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(K8sJobs, "settle_s", 0.5)
        yield cluster


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    table = K8s(image="registry/medmax:1", namespace="lab", claims={"store": str(tmp_path)}, poll_s=0.1)
    return Machine(kind="k8s", python=sys.executable, grace_s=2.0, k8s=table)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "launch"


def name_cluster(kubeconfig: Path, address: str) -> None:
    """Write a kubeconfig that knows one cluster."""
    known = {
        "clusters": [{"name": "here", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    kubeconfig.write_text(json.dumps(known))


def with_table(machine: Machine, **changed: object) -> Machine:
    """The machine with other words for Kubernetes."""
    assert machine.k8s is not None
    return replace(machine, k8s=replace(machine.k8s, **changed))  # type: ignore[arg-type]


def untold(line: str) -> None:
    """Nobody listens."""


def test_a_launch_shows_its_lines_and_gives_its_last_report(cluster: Cluster, machine: Machine, state: Path) -> None:
    lines: list[str] = []
    report = launch([MODULE, "say:hello", "report:step=1", "report:step=2"], state, machine, lines.append)
    assert report == {"step": 2}
    assert [line for line in lines if not line.startswith("k8s: ")] == ["hello", '{"step": 1}', '{"step": 2}']
    method, path, query, job = cluster.asked[0]
    assert (method, path, query) == ("POST", "/apis/batch/v1/namespaces/lab/jobs", {"fieldValidation": "Strict"})
    note = read_note(state)
    assert note is not None
    assert job["metadata"]["name"] == f"medmax-{note.mark}"


def test_a_module_that_fails_ends_with_its_own_reason(cluster: Cluster, machine: Machine, state: Path) -> None:
    with pytest.raises(LaunchError, match="as it was told") as caught:
        launch([MODULE, "say:so far", "fail:diverged"], state, machine, untold)
    assert caught.value.reason == "diverged"
    assert "so far" in str(caught.value)
    assert not cluster.jobs


def test_a_pod_killed_for_memory_is_out_of_memory(cluster: Cluster, machine: Machine, state: Path) -> None:
    def told(line: str) -> None:
        if line == "hello":
            cluster.kill("OOMKilled")

    with pytest.raises(LaunchError, match="OOMKilled, exit code 137") as caught:
        launch([MODULE, "say:hello", "await:never"], state, machine, told)
    assert caught.value.reason == "out_of_memory"
    assert not cluster.jobs


def test_a_pod_that_waits_for_a_machine_says_so_and_then_runs(cluster: Cluster, machine: Machine, state: Path) -> None:
    cluster.hold = UNSCHEDULABLE
    lines: list[str] = []

    def told(line: str) -> None:
        lines.append(line)
        if "Unschedulable" in line:
            cluster.hold = None

    assert launch([MODULE, "report:step=1"], state, machine, told) == {"step": 1}
    assert lines[0] == "k8s: Unschedulable: 0/3 nodes have a free nvidia.com/gpu"


def test_waiting_for_a_machine_is_never_given_up(cluster: Cluster, machine: Machine, state: Path) -> None:
    cluster.hold = UNSCHEDULABLE
    backend = K8sJobs(with_table(machine, hopeless_s=0.0))
    handle = backend.submit(launched_of(machine, state))
    assert backend.alive(handle).state == "waiting"


def test_a_pod_without_its_image_is_given_up_and_removed(cluster: Cluster, machine: Machine, state: Path) -> None:
    cluster.hold = NO_IMAGE
    with pytest.raises(LaunchError, match="ImagePullBackOff: no such image"):
        launch([MODULE, "say:hello"], state, with_table(machine, hopeless_s=1.0), untold)
    assert not cluster.jobs


def test_a_pod_without_its_image_has_some_time_to_get_it(cluster: Cluster, machine: Machine, state: Path) -> None:
    cluster.hold = NO_IMAGE
    backend = K8sJobs(with_table(machine, hopeless_s=1e12))
    assert backend.alive(backend.submit(launched_of(machine, state))).state == "waiting"


def test_who_is_interrupted_deletes_the_job_and_waits(cluster: Cluster, machine: Machine, state: Path) -> None:
    def told(line: str) -> None:
        if line.startswith("orphan"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch([MODULE, "orphan", "await:never"], state, machine, told)
    note = read_note(state)
    assert note is not None
    status = read_status(state, note.mark)
    assert status is not None
    assert status.reason == "terminated"
    assert not carriers(note.mark)
    deleted = [(path, query) for method, path, query, _ in cluster.asked if method == "DELETE"]
    assert deleted == [(f"/apis/batch/v1/namespaces/lab/jobs/medmax-{note.mark}", {"propagationPolicy": "Foreground"})]


def test_a_killed_launcher_leaves_the_pod_and_the_next_one_goes_on_with_it(
    cluster: Cluster, machine: Machine, state: Path, tmp_path: Path, project: Path
) -> None:
    words = [MODULE, "say:begun", f"await:{tmp_path / 'go'}", "report:step=7"]
    code = (
        "from pathlib import Path\n"
        "from medmax_pipeline.launching.launch import launch\n"
        "from medmax_pipeline.launching.machine import K8s, Machine\n"
        f"launch({words!r}, Path({str(state)!r}), {machine!r}, lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert any(line == "begun\n" for line in launcher.stdout)
        launcher.kill()
    lines: list[str] = []
    (tmp_path / "go").touch()
    assert launch(words, state, machine, lines.append) == {"step": 7}
    assert any("runs already" in line for line in lines)
    assert len([1 for method, *_ in cluster.asked if method == "POST"]) == 1


def test_an_api_server_that_is_out_for_a_moment_ends_nothing(cluster: Cluster, machine: Machine, state: Path) -> None:
    lines: list[str] = []

    def told(line: str) -> None:
        lines.append(line)
        if line == "hello":
            cluster.out = 2
        if "503" in line:
            (state / "go").touch()

    words = [MODULE, "say:hello", f"await:{state / 'go'}", "report:step=1"]
    assert launch(words, state, machine, told) == {"step": 1}
    assert any("503 the server is currently unable" in line for line in lines)


def test_a_job_that_may_not_be_made_is_refused_in_the_servers_words(
    cluster: Cluster, machine: Machine, state: Path
) -> None:
    cluster.forbidden = ("jobs",)
    with pytest.raises(LaunchError, match="403 jobs is forbidden"):
        K8sJobs(machine).submit(launched_of(machine, state))


def test_an_api_server_that_nobody_runs_is_a_launch_error(machine: Machine, cluster: Cluster, tmp_path: Path) -> None:
    with serving(Cluster()) as address:
        name_cluster(tmp_path / "kubeconfig", address)
    with pytest.raises(LaunchError, match="does not answer"):
        K8sJobs(machine).alive("lab/medmax-0")


def test_why_there_is_no_pod_is_told_where_events_may_be_read(cluster: Cluster, machine: Machine, state: Path) -> None:
    cluster.lost_pods = True
    cluster.events = [event("FailedCreate", "exceeded quota: gpus")]
    backend = K8sJobs(machine)
    handle = backend.submit(launched_of(machine, state))
    assert backend.alive(handle).detail == "FailedCreate: exceeded quota: gpus"
    cluster.forbidden = ("events",)
    assert backend.alive(handle).detail == "no pod yet"


def test_a_job_that_ended_and_whose_pod_is_gone_tells_why(cluster: Cluster, machine: Machine, state: Path) -> None:
    cluster.lost_pods = True
    backend = K8sJobs(machine)
    handle = backend.submit(launched_of(machine, state))
    over = condition("Failed", "True", "DeadlineExceeded", "Job was active longer than specified deadline")
    cluster.jobs[handle.split("/")[1]]["status"] = {"conditions": [over]}
    standing = backend.alive(handle)
    assert standing.state == "gone"
    assert standing.reason == "time_limit"


def test_a_submitted_job_is_found_by_its_mark(cluster: Cluster, machine: Machine, state: Path) -> None:
    backend, launched = K8sJobs(machine), launched_of(machine, state)
    assert backend.find(launched) is None
    assert backend.submit(launched) == backend.find(launched) == f"lab/medmax-{launched.mark}"


def test_a_job_that_the_cluster_does_not_have_is_gone(cluster: Cluster, machine: Machine, state: Path) -> None:
    assert K8sJobs(machine).alive("lab/medmax-0").state == "gone"


def test_ending_what_is_gone_is_fine(cluster: Cluster, machine: Machine, state: Path) -> None:
    launched = launched_of(machine, state)
    K8sJobs(machine).end(f"lab/{launched.name}", launched)
    assert not cluster.jobs


def test_a_context_that_the_kubeconfig_lacks_is_named(cluster: Cluster, machine: Machine) -> None:
    with pytest.raises(ConfigError, match="elsewhere"):
        K8sJobs(with_table(machine, context="elsewhere"))


def test_without_the_client_the_extra_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ConfigError, match=r"medmax_pipeline\[k8s\]"):
        K8sJobs(machine)


def launched_of(machine: Machine, state: Path) -> Launched:
    """An attempt that nobody wrote down."""
    return Launched(arguments=(MODULE, "say:hello"), state=state, mark="0" * 32, folder=Path.cwd(), machine=machine)


def event(reason: str, message: str) -> dict[str, object]:
    """A warning of the cluster."""
    return {"metadata": {}, "involvedObject": {}, "reason": reason, "message": message, "type": "Warning"}
