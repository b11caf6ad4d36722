"""What the status of a Kubernetes pod says about the module in it. Asking for it, and ending it, is `k8s_jobs.py`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from medmax_pipeline.launching.backends import Standing
from medmax_pipeline.launching.k8s_spec import CONTAINER

if TYPE_CHECKING:
    from kubernetes.client import V1ContainerStateTerminated, V1Pod

HOPELESS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
"""What a container waits for that time alone seldom mends."""
NO_POD = "no pod yet"
SILENT = (NO_POD, "Pending", "ContainerCreating", "PodInitializing")
"""States behind which events may tell more: a quota that is used up, a volume that cannot be mounted."""
EVICTED_FOR = (("ephemeral-storage", "disk_full"), ("memory", "out_of_memory"))
"""Words of the kubelet's message when it evicts a pod for want of something on its machine."""
REASONS = {
    "OOMKilled": "out_of_memory",
    "DeadlineExceeded": "time_limit",
    "PreemptionByScheduler": "preempted",
    "Preempting": "preempted",
    "DeletionByTaintManager": "node_failed",
    "DeletionByPodGC": "node_failed",
    "NodeLost": "node_failed",
    "NodeShutdown": "node_failed",
}
"""The cluster's words for why a job, pod or container ended, and ours; any other says nothing that we know better."""


def standing_of(pod: V1Pod, hopeless_s: float) -> Standing:
    """How it stands; one that has been refused what it needs for `hopeless_s` seconds counts as gone."""
    status = pod.status
    own = next((one for one in status.container_statuses or () if one.name == CONTAINER), None)
    if status.phase in ("Succeeded", "Failed"):
        return _gone(pod, own.state.terminated if own and own.state else None)
    conditions = {one.type: one for one in status.conditions or ()}
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return Standing("waiting", f"{scheduled.reason}: {scheduled.message}")
    waiting = own.state.waiting if own and own.state else None
    if waiting is not None:
        detail = (waiting.reason or "waiting") + (f": {waiting.message}" if waiting.message else "")
        since = scheduled.last_transition_time if scheduled else pod.metadata.creation_timestamp
        if waiting.reason in HOPELESS and (waited_s := time.time() - since.timestamp()) > hopeless_s:
            return Standing("gone", f"{detail} (for {waited_s / 60:.0f} minutes)")
        return Standing("waiting", detail)
    if status.phase == "Pending":
        return Standing("waiting", "Pending")
    return Standing("running", f"{status.phase} on {pod.spec.node_name}")


def _gone(pod: V1Pod, ended: V1ContainerStateTerminated | None) -> Standing:
    disrupted = next((one for one in pod.status.conditions or () if one.type == "DisruptionTarget"), None)
    words = [pod.status.phase]
    if ended is not None:
        words.append(f"{ended.reason}, exit code {ended.exit_code}")
    known = [ended.reason if ended else None, pod.status.reason, disrupted.reason if disrupted else None]
    reason = next((REASONS[one] for one in known if one in REASONS), "")
    message = pod.status.message or (disrupted.message if disrupted else None) or ""
    if not reason and pod.status.reason == "Evicted":
        reason = next((ours for word, ours in EVICTED_FOR if word in message), "")
    words += [one for one in (pod.status.reason, message) if one]
    return Standing("gone", ": ".join(words), reason)
