"""What a pod's status says, for statuses as a cluster writes them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from medmax_pipeline.launching.backends import Standing
from medmax_pipeline.launching.k8s_pods import standing_of
from tests.conftest import absent
from tests.launching.k8s_api import MADE, SCHEDULED, condition, container

FOREVER = 1e12


def standing(status: dict[str, Any], hopeless_s: float = FOREVER) -> Standing:
    """What is made of a pod with that status."""
    if find_spec("kubernetes") is None:
        absent("k8s", 'the Kubernetes client is not installed: `pip install "medmax_pipeline[k8s]"`')
    from kubernetes.client import ApiClient

    spec = {"nodeName": "node-1", "containers": [{"name": "module"}]}
    pod = {"metadata": {"name": "p", "creationTimestamp": MADE}, "spec": spec, "status": status}
    return standing_of(ApiClient().deserialize(SimpleNamespace(data=json.dumps(pod)), "V1Pod"), hopeless_s)


def waiting(reason: str) -> dict[str, Any]:
    """A pod on a machine whose container waits."""
    held = container({"waiting": {"reason": reason, "message": "because"}})
    return {"phase": "Pending", "conditions": [SCHEDULED], "containerStatuses": [held]}


def test_a_new_pod_waits() -> None:
    assert standing({"phase": "Pending"}) == Standing("waiting", "Pending")


def test_a_running_pod_names_its_machine() -> None:
    assert standing({"phase": "Running", "conditions": [SCHEDULED]}) == Standing("running", "Running on node-1")


def test_a_pod_whose_machine_is_silent_may_still_run() -> None:
    assert standing({"phase": "Unknown"}).state == "running"


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_is_being_made_is_never_given_up(reason: str) -> None:
    assert standing(waiting(reason), 0.0) == Standing("waiting", f"{reason}: because")


@pytest.mark.parametrize("reason", ["ErrImagePull", "CreateContainerConfigError", "InvalidImageName"])
def test_a_pod_that_is_refused_what_it_needs_is_given_up_in_time(reason: str) -> None:
    assert standing(waiting(reason)).state == "waiting"
    given_up = standing(waiting(reason), 60.0)
    assert given_up.state == "gone"
    assert given_up.detail.startswith(f"{reason}: because")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than allowed"}, "time_limit"),
        ({"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}, "disk_full"),
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "out_of_memory"),
        ({"reason": "Evicted", "message": "The node had condition: [PIDPressure]."}, ""),
        ({"reason": "NodeLost"}, "node_failed"),
        ({"conditions": [condition("DisruptionTarget", "True", "PreemptionByScheduler", "preempting")]}, "preempted"),
        ({"conditions": [condition("DisruptionTarget", "True", "DeletionByTaintManager", "taint")]}, "node_failed"),
        ({"containerStatuses": [container({"terminated": {"reason": "OOMKilled", "exitCode": 137}})]}, "out_of_memory"),
        ({"containerStatuses": [container({"terminated": {"reason": "Error", "exitCode": 1}})]}, ""),
    ],
)
def test_a_failed_pod_gives_the_reason_that_the_cluster_knows(status: dict[str, Any], reason: str) -> None:
    ended = standing({"phase": "Failed", **status})
    assert (ended.state, ended.reason) == ("gone", reason)
    assert ended.detail.startswith("Failed")


def test_a_pod_that_succeeded_is_gone_for_no_reason() -> None:
    assert standing({"phase": "Succeeded"}) == Standing("gone", "Succeeded")


def test_a_sidecar_that_is_refused_does_not_speak_for_the_module() -> None:
    sidecar = {**container({"waiting": {"reason": "ErrImagePull"}}), "name": "logs"}
    assert standing({"phase": "Running", "containerStatuses": [sidecar]}, 0.0).state == "running"
