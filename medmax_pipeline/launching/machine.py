"""The machine file: on which kind of machine each kind of work runs, and with how much of it. Records of a TOML.

    [training]                      module medmax_pipeline.training and below
    kind = "slurm"
    nodes = 2
    gpus_per_node = 8
    [training.slurm]
    partition = "gpu"

MEDMAX_LAUNCH_FILE names the file; without it, or without a table in it, work runs on this machine. A table for another
kind than the chosen one is an error, and so are unknown keys. Secrets do not belong into the file: what a process needs
of them comes from its environment. Nothing here decides a result, so nothing of it is in a fingerprint.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.strict import read_record

FILE = "MEDMAX_LAUNCH_FILE"
Kind = Literal["local", "slurm", "ray", "k8s"]
LEAST_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """What Slurm alone is told."""

    partition: str = ""
    account: str = ""
    options: tuple[str, ...] = ()
    """Further words for `sbatch`, e.g. `--gres=gpu:h200:8`; they come last and so win."""
    prelude: tuple[str, ...] = ()
    """Lines of shell before the work, e.g. `module load cuda`."""
    port: int = 29500
    """Where the processes of several nodes meet, on the first node."""
    poll_s: float = 10.0
    """Seconds between two questions to Slurm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray:
    """What Ray alone is told."""

    address: str = "http://127.0.0.1:8265"
    """The cluster's job server."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources that the job's entry point asks for."""
    poll_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class K8s:
    """What Kubernetes alone is told."""

    image: str
    """Image with this package and what it needs."""
    namespace: str = "default"
    context: str = ""
    """Of the kubeconfig; empty: the current one, or the pod's own where this runs in a pod."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Persistent volume claims and where they are mounted; the store lies in one, at the same path as here."""
    secrets: tuple[str, ...] = ()
    """Secrets of the namespace, by name; each of their keys becomes a variable of the process."""
    secret_keys: Mapping[str, str] = field(default_factory=dict)
    """Variables of the process, each with a place: `HF_TOKEN = "<secret>/<key>"`."""
    service_account: str = ""
    """Whose token the pod gets; empty: none."""
    user: int = 0
    """Numeric id of the user that the module runs as, without capabilities; 0: the image's."""
    shm_gb: int = 8
    """Size of /dev/shm, where the processes of several GPUs meet; counts as memory as far as it is filled; 0: as is."""
    container: Mapping[str, Any] = field(default_factory=dict)
    """Merged into the module's container: pull policy, further mounts, another kind of accelerator."""
    pod: Mapping[str, Any] = field(default_factory=dict)
    """Merged into the pod's `spec`, last: node selectors, tolerations, runtime class, volumes."""
    hopeless_s: float = 900.0
    """How long a pod that has a machine may be refused its image or its secrets before it is given up."""
    keep_s: int = 86400
    """How long the cluster keeps a job that has ended."""
    poll_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where one kind of work runs, and with what."""

    kind: Kind = "local"
    python: str = ""
    """The interpreter there; empty: the path of this one, or the image's `python` on k8s."""
    arguments: tuple[str, ...] = ()
    """Words behind the module's own, e.g. `["--parallel", "fsdp"]`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set for the process; lies in the state folder, so no secrets."""
    heartbeat_s: float = 900.0
    """A module that has touched its heartbeat and is silent for longer is ended; 0: never."""
    first_heartbeat_s: float = 3600.0
    """The same before the first touch, when printed lines count too: loading, compiling."""
    grace_s: float = 10.0
    """Seconds between asking processes to end and killing them."""
    nodes: int = 1
    gpus_per_node: int = 0
    cpus: int = 0
    """Of each node; 0: not said."""
    memory_gb: int = 0
    """Of each node; 0: not said."""
    hours: float = 0.0
    """Longest time; 0: not said."""
    slurm: Slurm | None = None
    ray: Ray | None = None
    k8s: K8s | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFile:
    """The whole file."""

    training: Machine = Machine()
    """`medmax_pipeline.training` and the modules below it."""
    evaluation: Machine = Machine()
    """`medmax_pipeline.eval`."""
    other: Machine = Machine()
    """Every other module that is launched: encoding, scoring of figures."""

    def of(self, module: str) -> Machine:
        """Where that module runs."""
        for room, machine in (("training", self.training), ("eval", self.evaluation)):
            if f"{module}.".startswith(f"medmax_pipeline.{room}."):
                return machine
        return self.other


def read_machines(path: Path | None = None) -> MachineFile:
    """The machine file; everything local where there is none.

    Args:
        path: the TOML; None: the one that MEDMAX_LAUNCH_FILE names.

    Raises:
        ConfigError: it is not there, not TOML, or does not say what it should.
    """
    named = os.environ.get(FILE, "")
    if path is None and not named:
        return MachineFile()
    path = path or Path(named)
    try:
        read = read_record(MachineFile, tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as TOML ({error}). {FILE} must name a machine file.") from error
    for name, machine in (("training", read.training), ("evaluation", read.evaluation), ("other", read.other)):
        if faults := list(_faults(machine)):
            raise ConfigError(f"{path.name}: [{name}] {'; '.join(faults)}.")
    return read


def _faults(machine: Machine) -> Sequence[str]:
    own = {"slurm": machine.slurm, "ray": machine.ray, "k8s": machine.k8s}
    faults = [
        f"has kind {machine.kind!r} and a table for {name}; leave one out"
        for name, table in own.items()
        if table is not None and name != machine.kind
    ]
    if machine.kind == "k8s" and machine.k8s is None:
        faults.append("needs a table k8s with the image")
    for name in ("nodes", "heartbeat_s", "first_heartbeat_s", "grace_s", "gpus_per_node", "cpus", "memory_gb", "hours"):
        least = 1 if name == "nodes" else 0
        if getattr(machine, name) < least:
            faults.append(f"{name} is {getattr(machine, name)}, at least {least} expected")
    if machine.nodes > 1 and machine.kind != "slurm":
        faults.append(f"asks for {machine.nodes} nodes; kind {machine.kind!r} runs on one, several need slurm")
    table = own.get(machine.kind)
    if table is not None and table.poll_s < LEAST_POLL_S:
        faults.append(f"{machine.kind}.poll_s is {table.poll_s}, at least {LEAST_POLL_S} expected")
    return faults
