"""Ray: the supervisor as the entry point of a job of the cluster's job server. Needs the extra `ray`.

A job belongs to the cluster and not to who submitted it, so it survives whoever launched it and is found again by its
submission id. Not here: what a job prints and what came of it (`follow.py` reads the state folder), starting a cluster,
and tasks or actors of Ray: the module is one command on one of its nodes.
"""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.launching import machine as machines
from medmax_pipeline.launching.backends import Launched, Standing

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray's client obeys before the address it is given."""
STOP_MARGIN_S = 10
"""Seconds beyond `grace_s` after which Ray kills what it was asked to stop; Ray's own default is 3 s in all."""
SETTLE_S = 60.0
"""For so long a network file system may show an older state of a folder."""
STARTING_S = 120.0
"""How long a job server that is just starting may have nobody who takes jobs; it holds each request for 10 s."""
LATER = "try again later"
"""What it says meanwhile."""
PENDING_S = 15.0
"""A job that has what it asks for leaves PENDING in seconds; one that has not is stopped when it starts."""
GIB = 1 << 30
UNKNOWN = "status code 404"
ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
OUT_OF_MEMORY = "NODE_OUT_OF_MEMORY"
"""How Ray names the end of an actor that its memory monitor chose."""


class RayJobs:
    """Jobs of one Ray cluster."""

    settle_s = SETTLE_S

    def __init__(self, machine: machines.Machine) -> None:
        """Check that Ray is installed, and that the machine file asks for nothing that a job of Ray cannot have.

        Raises:
            ConfigError: no Ray here, no address of a job server, a time limit, or a variable that names another.
        """
        try:
            import ray.job_submission  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f'kind "ray" needs Ray ({error}). `pip install "medmax_pipeline[ray]"` where runs are launched.'
            ) from error
        self._table = machine.ray or machines.Ray()
        if not self._table.address.startswith(("http://", "https://")):
            raise ConfigError(
                f"ray.address is {self._table.address!r}, expected the job server's: http://<head node>:8265."
            )
        if machine.hours:
            raise ConfigError(
                f'hours is {machine.hours:g}, and a job of Ray has no time limit. Leave it out with kind "ray".'
            )
        for name in OVERRIDES:
            if os.environ.get(name, self._table.address) != self._table.address:
                raise ConfigError(
                    f"{name} is {os.environ[name]!r}, ray.address of the machine file {self._table.address!r}, and Ray "
                    "follows the variable. Unset it, or let both say the same."
                )

    @property
    def poll_s(self) -> float:
        """Seconds between two questions of a follower."""
        return self._table.poll_s

    def submit(self, launched: Launched) -> str:
        """Submit a job whose submission id is the attempt's name.

        Raises:
            LaunchError: the job server refused it, or does not answer.
        """
        deadline = time.monotonic() + STARTING_S
        while True:
            try:
                return self._submitted(launched)
            except LaunchError as error:
                if LATER not in str(error) or time.monotonic() > deadline:
                    raise

    def _submitted(self, launched: Launched) -> str:
        machine = launched.machine
        with self._asking() as client:
            handle: str = client.submit_job(
                # A node that Ray leaves kills the entry point's group. The shell stays in it (hence the end), and
                # its death asks the supervisor to end what it runs, in whatever session that is.
                entrypoint=shlex.join([*launched.command(), "--with-parent"]) + "; exit $?",
                submission_id=launched.name,
                entrypoint_num_cpus=machine.cpus or None,
                entrypoint_num_gpus=machine.gpus_per_node or None,
                entrypoint_memory=machine.memory_gb * GIB or None,
                entrypoint_resources=dict(self._table.resources) or None,
                runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_stop_s(launched))}},
                metadata={"medmax_module": launched.arguments[0], "medmax_state": str(launched.state)},
            )
        return handle

    def find(self, launched: Launched) -> str | None:
        """The submission id, if the cluster knows it."""
        return None if self._job(launched.name) is None else launched.name

    def alive(self, handle: str) -> Standing:
        """Ray's status of the job; a cluster that was started anew knows none of its jobs."""
        job = self._job(handle)
        if job is None:
            return Standing("gone", f"Ray knows no job {handle}; a cluster that is started anew forgets its jobs")
        detail = f"{job.status.value}: {(job.message or '').partition(chr(10))[0]}"
        if job.status.value == "PENDING":
            return Standing("waiting", detail)
        if not job.status.is_terminal():
            return Standing("running", detail)
        return Standing("gone", detail, _reason(job))

    def end(self, handle: str, launched: Launched) -> None:
        """Stop the job and wait until Ray says that it has ended.

        A job that still waits for resources cannot be waited for: Ray keeps it as PENDING, and ends it as soon as it
        starts; nothing of it runs meanwhile.

        Raises:
            LaunchError: the job server does not answer, or the job runs on after it should have been killed.
        """
        asked = time.monotonic()
        while (standing := self.alive(handle)).state != "gone":
            waited_s = time.monotonic() - asked
            if standing.state == "waiting" and waited_s > PENDING_S:
                return
            if waited_s > _stop_s(launched) + STOP_MARGIN_S:
                raise LaunchError(
                    f"{handle}: Ray was asked to stop it {waited_s:.0f} s ago and says {standing.detail}. "
                    f"Look at it with `ray job status {handle}`, and at its node."
                )
            with self._asking() as client:
                client.stop_job(handle)  # again and again: before the job's actor is there, Ray forgets it
            time.sleep(min(self.poll_s, 1.0))

    def _job(self, handle: str) -> JobDetails | None:
        """What the job server says of a job; None for one that it does not know."""
        with self._asking() as client:
            try:
                return client.get_job_info(handle)
            except RuntimeError as error:
                if UNKNOWN in str(error):
                    return None
                raise

    @contextmanager
    def _asking(self) -> Iterator[JobSubmissionClient]:
        """A client of the job server; whatever goes wrong between the two is a LaunchError."""
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        try:
            yield JobSubmissionClient(self._table.address)
        except OSError as error:  # what `requests` raises is one, too
            raise LaunchError(f"Ray's job server at {self._table.address} does not answer: {error}") from error
        except (RayError, RuntimeError) as error:
            raise LaunchError(f"Ray's job server at {self._table.address} refused: {error}") from error


def _stop_s(launched: Launched) -> int:
    """Seconds that Ray lets a job have between SIGTERM and SIGKILL: the supervisor's own grace, and time to write."""
    return math.ceil(launched.machine.grace_s) + STOP_MARGIN_S


def _reason(job: JobDetails) -> str:
    if job.status.value == "STOPPED":
        return "terminated"
    if OUT_OF_MEMORY in (job.message or ""):
        return "out_of_memory"
    return "node_failed" if job.error_type == ACTOR_DIED else ""
