"""The Kubernetes job that runs a launched module: what is asked of the cluster, as `batch/v1` JSON.

One pod, never started again: whether to go on is said by who launches, from the module's own checkpoints. No value of a
secret is in it: secrets are named, the cluster fills them in. Asking the cluster, and reading what it answers, is
`k8s_jobs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.launching.backends import Launched
from medmax_pipeline.launching.machine import K8s

MARK_LABEL = "medmax/mark"
CONTAINER = "module"
GPU = "nvidia.com/gpu"
GRACE_MARGIN_S = 15
"""Seconds beyond `grace_s` before the kubelet kills: the supervisor writes down how the module ended."""
PYTHON = "python"


def job_of(launched: Launched, table: K8s) -> dict[str, Any]:
    """The job to create.

    Raises:
        ConfigError: the state folder would not be seen in the pod, or the machine file's tables do not fit together.
    """
    labels = {
        "app.kubernetes.io/name": "medmax",
        "app.kubernetes.io/component": launched.arguments[0].rpartition(".")[2][:63],
        MARK_LABEL: launched.mark,
    }
    annotations = {"medmax/module": launched.arguments[0], "medmax/state": str(launched.state)}
    pod = merged(_pod(launched, table), table.pod, "k8s.pod")
    _see(launched.state, pod)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": launched.name, "labels": labels, "annotations": annotations},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": table.keep_s,
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def _pod(launched: Launched, table: K8s) -> dict[str, Any]:
    claims = sorted(table.claims.items())
    volumes: list[dict[str, Any]] = [
        {"name": f"claim-{index}", "persistentVolumeClaim": {"claimName": name}}
        for index, (name, _) in enumerate(claims)
    ]
    if table.shm_gb:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{table.shm_gb}Gi"}})
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(launched.machine.grace_s) + GRACE_MARGIN_S,
        "enableServiceLinks": False,
        "automountServiceAccountToken": bool(table.service_account),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": volumes,
        "containers": [merged(_container(launched, table), table.container, "k8s.container")],
    }
    if table.service_account:
        pod["serviceAccountName"] = table.service_account
    if launched.machine.hours:
        pod["activeDeadlineSeconds"] = math.ceil(launched.machine.hours * 3600)
    return pod


def _container(launched: Launched, table: K8s) -> dict[str, Any]:
    machine = launched.machine
    requests = {
        **({"cpu": str(machine.cpus)} if machine.cpus else {}),
        **({"memory": f"{machine.memory_gb}Gi"} if machine.memory_gb else {}),
        **({GPU: str(machine.gpus_per_node)} if machine.gpus_per_node else {}),
    }
    mounts = [
        {"name": f"claim-{index}", "mountPath": path} for index, (_, path) in enumerate(sorted(table.claims.items()))
    ]
    if table.shm_gb:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": table.image,
        "command": launched.command(PYTHON),
        "resources": {
            "requests": requests,
            # No limit on cores: one that is reached slows the process down and protects nobody.
            "limits": {name: amount for name, amount in requests.items() if name != "cpu"},
        },
        "volumeMounts": mounts,
        "envFrom": [{"secretRef": {"name": name}} for name in table.secrets],
        "env": [
            {"name": variable, "valueFrom": {"secretKeyRef": _key(variable, place)}}
            for variable, place in sorted(table.secret_keys.items())
        ],
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    if table.user:
        container["securityContext"] |= {
            "runAsNonRoot": True,
            "runAsUser": table.user,
            "capabilities": {"drop": ["ALL"]},
        }
    return container


def _key(variable: str, place: str) -> dict[str, str]:
    name, slash, key = place.partition("/")
    if not (name and slash and key):
        raise ConfigError(f'k8s.secret_keys.{variable} is {place!r}, expected "<secret>/<key>", names and not values.')
    return {"name": name, "key": key}


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Both, theirs last: tables are merged, lists come behind each other, anything else is replaced.

    Raises:
        ConfigError: one has a table or a list where the other has something else.
    """
    result = dict(ours)
    for key, value in theirs.items():
        there = f"{at}.{key}"
        old = result.get(key)
        kinds = [next((kind for kind in (Mapping, list) if isinstance(one, kind)), None) for one in (old, value)]
        if key in result and kinds[0] is not kinds[1]:
            raise ConfigError(f"{there} is {value!r}, and what it would be merged with is {old!r}.")
        if key in result and isinstance(value, Mapping):
            result[key] = merged(old or {}, value, there)
        elif key in result and isinstance(value, list):
            result[key] = [*(old or []), *value]
        else:
            result[key] = value
    return result


def _see(state: Path, pod: Mapping[str, Any]) -> None:
    """Whether the pod sees the state folder; a second container of the table `pod` is a sidecar and does not count."""
    paths = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    if not any(state.is_relative_to(path) for path in paths):
        raise ConfigError(
            f"{state}: the pod would not see this folder; it mounts {', '.join(paths) or 'nothing'}. The store must "
            'lie in a claim, mounted at the same path as here: [training.k8s.claims] <claim> = "<path>".'
        )
