"""What a kind of machine must be able to do, and which kinds there are: one module a kind, found by name.

A backend starts `supervise.py` somewhere, says whether it is still there, and ends it. It reads no output and judges no
result: both lie in the state folder, which every machine sees, and `follow.py` reads them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from medmax_pipeline.launching.machine import Kind, Machine

SUPERVISOR = "medmax_pipeline.launching.supervise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One attempt to run a module. Written into the state folder before it is submitted."""

    arguments: tuple[str, ...]
    """Module and words, as asked."""
    state: Path
    """Absolute; at the same path on every machine."""
    mark: str
    """32 hex digits, of this attempt alone; a backend names its job by it, so that the job can be found by it."""
    folder: Path
    """The working folder of who launched, absolute; the module runs there where it exists."""
    machine: Machine

    @property
    def name(self) -> str:
        """A name for the cluster's job: letters, digits, hyphens, 39 characters."""
        return f"medmax-{self.mark}"

    def command(self, python: str = "") -> list[str]:
        """What a backend runs: the supervisor, which takes everything else from the state folder.

        Args:
            python: the interpreter where the machine file names none; empty: the path of this one.
        """
        interpreter = self.machine.python or python or sys.executable
        return [interpreter, "-u", "-m", SUPERVISOR, str(self.state), self.mark]


class Standing(NamedTuple):
    """What a cluster says of a job, or the kernel of a process."""

    state: Literal["waiting", "running", "gone"]
    """`waiting`: accepted and not started; `gone`: nothing of it runs, however it ended."""
    detail: str = ""
    """In the cluster's words, for people: `PENDING (Resources)`, `TIMEOUT`."""
    reason: str = ""
    """For `gone`, where the cluster knows why: `out_of_memory`, `terminated`, `time_limit`; else empty."""


class Backend(Protocol):
    """One kind of machine. An object is made for one attempt and keeps nothing: all it knows is given to it.

    Every method may raise LaunchError when the cluster cannot be asked; a follower asks again, so a short outage of a
    cluster's front end ends nothing.
    """

    def __init__(self, machine: Machine) -> None:
        """Check that what this kind needs is installed; ConfigError says what is missing."""

    @property
    def poll_s(self) -> float:
        """Seconds between two questions of a follower."""

    @property
    def settle_s(self) -> float:
        """How long the files of a job that is gone may take to be seen here."""

    def submit(self, launched: Launched) -> str:
        """Start `launched.command()`, so that it outlives this process; the handle by which it is known.

        Raises:
            LaunchError: it was not accepted.
        """

    def find(self, launched: Launched) -> str | None:
        """The handle of what an earlier `submit` of this mark started and could not write down; None: nothing."""

    def alive(self, handle: str) -> Standing:
        """How it stands; `gone` for a handle that nobody knows any more."""

    def end(self, handle: str, launched: Launched) -> None:
        """End it, wait until nothing of it runs; fine where nothing does.

        The supervisor is asked first (SIGTERM), since it writes down how it ended, and has `machine.grace_s` seconds.
        """


MODULES: dict[Kind, str] = {
    "local": "medmax_pipeline.launching.local:Local",
    "slurm": "medmax_pipeline.launching.slurm:Slurm",
    "ray": "medmax_pipeline.launching.ray_jobs:RayJobs",
    "k8s": "medmax_pipeline.launching.k8s_jobs:K8sJobs",
}


def backend_of(machine: Machine) -> Backend:
    """The backend of a kind of machine, ready to use.

    Raises:
        ConfigError: what it needs is not installed here.
    """
    module, name = MODULES[machine.kind].split(":")
    made: Backend = getattr(import_module(module), name)(machine)
    return made
