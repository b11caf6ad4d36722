"""Kubernetes: the supervisor as the one pod of a `batch/v1` job. Needs the extra `k8s`.

The cluster is asked through its Python client with the rights of the kubeconfig: jobs (create, get, delete), pods and
events (list) of one namespace. What the job consists of is `k8s_spec.py`, what its
pod's status means `k8s_pods.py`; what the module prints and what came of it
lies in the state folder, which must be on a volume that pod and launcher both mount.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.launching import machine as machines
from medmax_pipeline.launching.backends import Launched, Standing
from medmax_pipeline.launching.k8s_pods import NO_POD, REASONS, SILENT, standing_of
from medmax_pipeline.launching.k8s_spec import GRACE_MARGIN_S, MARK_LABEL, job_of

if TYPE_CHECKING:
    from kubernetes.client import (
        ApiClient,
        ApiException,
        BatchV1Api,
        CoreV1Api,
        V1Job,
        V1Pod,
    )

SETTLE_S = 60.0
"""For so long a network file system may show an older state of a folder."""
REQUEST_S = 30.0
"""Longest wait for one answer of the API server."""
END_MARGIN_S = 60.0
"""Seconds beyond the pod's own grace in which a kubelet reports that it has killed."""


class K8sJobs:
    """Jobs in one namespace of one cluster."""

    settle_s = SETTLE_S

    def __init__(self, machine: machines.Machine) -> None:
        """Find the cluster: the kubeconfig's, or the one that this process is a pod of.

        Raises:
            ConfigError: no client here, or no cluster is named anywhere.
        """
        try:
            import kubernetes  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f'kind "k8s" needs the Kubernetes client ({error}). `pip install "medmax_pipeline[k8s]"` where runs '
                "are launched."
            ) from error
        if machine.k8s is None:
            raise ConfigError('kind "k8s" needs a table k8s with the image.')
        self._table = machine.k8s
        self._client = _client(self._table.context)

    @property
    def poll_s(self) -> float:
        """Seconds between two questions of a follower."""
        return self._table.poll_s

    def submit(self, launched: Launched) -> str:
        """Create the job; its handle is `namespace/name`.

        Raises:
            LaunchError: the API server refused it, or does not answer.
            ConfigError: the pod would not see the state folder.
        """
        job = job_of(launched, self._table)
        with _asking():
            self._batch().create_namespaced_job(
                self._table.namespace, job, field_validation="Strict", _request_timeout=REQUEST_S
            )
        return f"{self._table.namespace}/{launched.name}"

    def find(self, launched: Launched) -> str | None:
        """The handle of the attempt's job, if the cluster has it."""
        known = self._job(self._table.namespace, launched.name) is not None
        return f"{self._table.namespace}/{launched.name}" if known else None

    def alive(self, handle: str) -> Standing:
        """How the job's pod stands; one that has waited for too long for what does not come counts as gone."""
        namespace, name = handle.split("/")
        job = self._job(namespace, name)
        if job is None:
            return Standing("gone", f"the cluster has no job {handle}")
        pods = self._pods(namespace, name)
        newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp, default=None)
        standing = Standing("waiting", NO_POD) if newest is None else standing_of(newest, self._table.hopeless_s)
        if standing.state == "waiting" and standing.detail in SILENT:
            of = name if newest is None else newest.metadata.name
            standing = Standing("waiting", self._complaint(namespace, of) or standing.detail)
        ended = next((one for one in job.status.conditions or () if one.type in ("Complete", "Failed")), None)
        if ended is None or ended.status != "True" or standing.state == "gone":
            return standing
        return Standing(
            "gone", f"{ended.type}: {ended.message or ended.reason or ''}", REASONS.get(ended.reason or "", "")
        )

    def end(self, handle: str, launched: Launched) -> None:
        """Delete the job and wait until its pod is gone from the cluster.

        Raises:
            LaunchError: the API server does not answer, or the pod is still there after it should have been killed.
        """
        from kubernetes.client import ApiException

        namespace, name = handle.split("/")
        deadline = time.monotonic() + launched.machine.grace_s + GRACE_MARGIN_S + END_MARGIN_S
        with _asking():
            try:
                self._batch().delete_namespaced_job(
                    name, namespace, propagation_policy="Foreground", _request_timeout=REQUEST_S
                )
            except ApiException as error:
                if error.status != 404:
                    raise
        while (pods := self._pods(namespace, name)) or self._job(namespace, name) is not None:
            if time.monotonic() > deadline:
                nodes = ", ".join(pod.spec.node_name or "no node" for pod in pods) or "no node"
                raise LaunchError(
                    f"{handle}: deleted, and still there. If its node ({nodes}) is lost, the cluster cannot know "
                    "whether it runs. Once the node is off: "
                    f"`kubectl -n {namespace} delete pod -l {MARK_LABEL}={launched.mark} --force`."
                )
            time.sleep(min(self.poll_s, 1.0))

    def _job(self, namespace: str, name: str) -> V1Job | None:
        from kubernetes.client import ApiException

        with _asking():
            try:
                return self._batch().read_namespaced_job(name, namespace, _request_timeout=REQUEST_S)
            except ApiException as error:
                if error.status != 404:
                    raise
                return None

    def _pods(self, namespace: str, name: str) -> list[V1Pod]:
        mark = name.rpartition("-")[2]
        with _asking():
            found = self._core().list_namespaced_pod(
                namespace, label_selector=f"{MARK_LABEL}={mark}", _request_timeout=REQUEST_S
            )
        return list(found.items)

    def _complaint(self, namespace: str, name: str) -> str:
        """The last warning about a job or pod; empty where there is none, or where it may not be read."""
        from kubernetes.client import ApiException

        with _asking():
            try:
                events = self._core().list_namespaced_event(
                    namespace, field_selector=f"involvedObject.name={name},type=Warning", _request_timeout=REQUEST_S
                )
            except ApiException as error:
                if error.status != 403:
                    raise
                return ""
        return f"{events.items[-1].reason}: {events.items[-1].message}" if events.items else ""

    def _batch(self) -> BatchV1Api:
        from kubernetes.client import BatchV1Api

        return BatchV1Api(self._client)

    def _core(self) -> CoreV1Api:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self._client)


def _client(context: str) -> ApiClient:
    from kubernetes import client, config

    configuration = client.Configuration()
    # The client reads the variable and forgets it again (kubernetes-client/python#2520).
    configuration.no_proxy = configuration.no_proxy or os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    try:
        if not context and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(
                config_file=os.environ.get("KUBECONFIG"),  # the client itself looks only once, when it is imported
                context=context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except config.ConfigException as error:
        raise ConfigError(
            f"no Kubernetes cluster is named: {error}. KUBECONFIG or ~/.kube/config must know the context "
            f"{context or 'that is current'}."
        ) from error
    return client.ApiClient(configuration)


@contextmanager
def _asking() -> Iterator[None]:
    """Whatever goes wrong between here and the cluster is a LaunchError."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise LaunchError(f"the Kubernetes API server refused: {error.status} {_words(error)}") from error
    except (HTTPError, OSError) as error:
        raise LaunchError(f"the Kubernetes API server does not answer: {error}") from error


def _words(error: ApiException) -> str:
    """The server's own sentence, where it answered with one."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
