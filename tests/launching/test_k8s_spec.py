"""The job that is asked of Kubernetes, word by word."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.launching.backends import Launched
from medmax_pipeline.launching.k8s_spec import job_of, merged
from medmax_pipeline.launching.machine import K8s, Machine, read_machines
from tests.conftest import absent

FILE = """
[training]
kind = "k8s"
gpus_per_node = 8
cpus = 96
memory_gb = 800
hours = 71.5
grace_s = 60
environment = { NCCL_DEBUG = "WARN" }
[training.k8s]
image = "registry/medmax:1"
namespace = "lab"
secrets = ["wandb"]
service_account = "trainer"
user = 1000
shm_gb = 64
claims = { store = "/data/store" }
secret_keys = { HF_TOKEN = "hub/token" }
[training.k8s.container]
imagePullPolicy = "Always"
volumeMounts = [{ name = "scratch", mountPath = "/scratch" }]
[training.k8s.pod]
nodeSelector = { gpu = "h200" }
tolerations = [{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]
volumes = [{ name = "scratch", emptyDir = {} }]
"""
MARK = "0123456789abcdef" * 2
STATE = "/data/store/work/checkpoints.medmax_7b/launch"
LABELS = {"app.kubernetes.io/name": "medmax", "app.kubernetes.io/component": "training", "medmax/mark": MARK}
NOTES = {"medmax/module": "medmax_pipeline.training", "medmax/state": STATE}
AMOUNTS = {"memory": "800Gi", "nvidia.com/gpu": "8"}
CONTAINER = {
    "name": "module",
    "image": "registry/medmax:1",
    "imagePullPolicy": "Always",
    "command": ["python", "-u", "-m", "medmax_pipeline.launching.supervise", STATE, MARK],
    "resources": {"requests": {"cpu": "96", **AMOUNTS}, "limits": AMOUNTS},
    "volumeMounts": [
        {"name": "claim-0", "mountPath": "/data/store"},
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "scratch", "mountPath": "/scratch"},
    ],
    "envFrom": [{"secretRef": {"name": "wandb"}}],
    "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}],
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
    },
}
POD = {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": 75,
    "activeDeadlineSeconds": 257400,
    "enableServiceLinks": False,
    "automountServiceAccountToken": True,
    "serviceAccountName": "trainer",
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    "nodeSelector": {"gpu": "h200"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "volumes": [
        {"name": "claim-0", "persistentVolumeClaim": {"claimName": "store"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Gi"}},
        {"name": "scratch", "emptyDir": {}},
    ],
    "containers": [CONTAINER],
}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": f"medmax-{MARK}", "labels": LABELS, "annotations": NOTES},
    "spec": {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": 86400,
        "template": {"metadata": {"labels": LABELS, "annotations": NOTES}, "spec": POD},
    },
}


def asked(machine: Machine, state: str = STATE) -> dict[str, Any]:
    """The job for a training on that machine."""
    assert machine.k8s is not None
    launched = Launched(
        arguments=("medmax_pipeline.training", "job.json"),
        state=Path(state),
        mark=MARK,
        folder=Path("/app"),
        machine=machine,
    )
    return job_of(launched, machine.k8s)


def small(**table: Any) -> Machine:
    """A machine file that says little."""
    return Machine(kind="k8s", k8s=K8s(image="registry/medmax:1", claims={"store": "/data"}, **table))


@pytest.fixture
def full(tmp_path: Path) -> Machine:
    (tmp_path / "machines.toml").write_text(FILE)
    return read_machines(tmp_path / "machines.toml").training


def test_a_machine_file_becomes_this_job(full: Machine) -> None:
    assert asked(full) == JOB


def test_kubernetes_own_models_know_every_word_of_it(full: Machine) -> None:
    if find_spec("kubernetes") is None:
        absent("k8s", 'the Kubernetes client is not installed: `pip install "medmax_pipeline[k8s]"`')
    from kubernetes.client import ApiClient

    client = ApiClient()
    read = client.deserialize(SimpleNamespace(data=json.dumps(asked(full))), "V1Job")
    assert client.sanitize_for_serialization(read) == JOB  # what a model does not know, it drops


def test_nothing_is_asked_that_the_file_does_not_say() -> None:
    pod = asked(small(shm_gb=0))["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"requests": {}, "limits": {}}
    assert not {"activeDeadlineSeconds", "serviceAccountName"} & pod.keys()
    assert [volume["name"] for volume in pod["volumes"]] == ["claim-0"]


def test_a_pod_without_an_account_gets_no_token() -> None:
    assert asked(small())["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_the_environment_of_the_machine_file_and_of_here_stay_out(
    full: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-secret")
    told = json.dumps(asked(full))
    assert "a-secret" not in told
    assert "NCCL_DEBUG" not in told  # the supervisor reads it from the state folder


def test_another_accelerator_can_be_asked_for() -> None:
    container = {"resources": {"limits": {"amd.com/gpu": "4"}}}
    pod = asked(small(container=container))["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "4"}


def test_a_sidecar_comes_behind_the_module() -> None:
    pod = asked(small(pod={"containers": [{"name": "logs", "image": "logs:1"}]}))["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["containers"]] == ["module", "logs"]


@pytest.mark.parametrize("state", ["/elsewhere/launch", "/data-2/launch"])
def test_a_state_folder_that_the_pod_would_not_see_is_refused(state: str) -> None:
    with pytest.raises(ConfigError, match="would not see this folder"):
        asked(small(), state)


@pytest.mark.parametrize("place", ["token", "hub/", "/token", ""])
def test_a_secret_is_named_by_its_object_and_key(place: str) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        asked(small(secret_keys={"HF_TOKEN": place}))


@pytest.mark.parametrize("theirs", [{"volumes": {"a": 1}}, {"volumes": "a"}])
def test_a_list_is_merged_with_lists_only(theirs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"k8s\.pod\.volumes"):
        merged({"volumes": []}, theirs, "k8s.pod")


def test_merging_replaces_words_and_leaves_its_inputs_alone() -> None:
    ours = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merged(ours, {"a": {"c": 3}, "d": [2], "e": None}, "") == {"a": {"b": 1, "c": 3}, "d": [1, 2], "e": None}
    assert ours == {"a": {"b": 1, "c": 2}, "d": [1]}


def test_several_nodes_are_refused_when_the_file_is_read(tmp_path: Path, full: Machine) -> None:
    (tmp_path / "machines.toml").write_text(FILE.replace("cpus = 96", "nodes = 2"))
    with pytest.raises(ConfigError, match="several need slurm"):
        read_machines(tmp_path / "machines.toml")


def test_half_seconds_of_grace_are_rounded_up(full: Machine) -> None:
    pod = asked(replace(full, grace_s=0.5))["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 16
