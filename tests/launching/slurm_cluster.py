"""A real Slurm on this machine: one controller and two nodes on loopback, with a munge of their own, in one folder."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CONF = """
ClusterName=medmax
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
ReturnToService=2
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
StateSaveLocation={folder}/state
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
KillWait=10
MessageTimeout=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1024 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1024 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START_S = 20.0


def missing() -> str:
    """Why no Slurm can be started here; empty where it can."""
    absent = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if absent:
        return f"{', '.join(absent)} not found: `apt-get install slurm-wlm munge`"
    return "" if os.geteuid() == 0 else "Slurm's node daemon wants root"


class Cluster:
    """Its daemons are children of this process."""

    def __init__(self, folder: Path) -> None:
        """Write the configuration."""
        self.conf = folder / "slurm.conf"
        self._folder = folder
        self._environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.controller: subprocess.Popen[bytes] | None = None
        folder.chmod(0o755)
        for name in ("state", "n1", "n2"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(CONF.format(host=host, folder=folder, ports=_free_ports(3)))

    def start(self) -> None:
        """Start everything, and wait until both nodes are ready."""
        folder = self._folder
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._daemons.append(
            self._started("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        )
        _wait((folder / "munge.socket").exists)
        self.start_controller()
        self._daemons += [self._started("slurmd", "-D", "-N", node) for node in ("n1", "n2")]
        _wait(lambda: self.ask("sinfo", "-h", "-o", "%D %T").strip() == "2 idle")

    def start_controller(self) -> None:
        """The controller, which takes up what an earlier one knew."""
        self.controller = self._started("slurmctld", "-D")

    def stop_controller(self) -> None:
        """End it; its nodes work on."""
        assert self.controller is not None
        self.controller.terminate()
        self.controller.wait()

    def ask(self, *command: str) -> str:
        """What a command prints; nothing where it fails."""
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=60
        ).stdout

    def stop(self) -> None:
        """End jobs and daemons."""
        self.ask("scancel", "--user=root")
        _wait(lambda: not self.ask("squeue", "-h"))
        for daemon in filter(None, (self.controller, *reversed(self._daemons))):
            daemon.terminate()
            daemon.wait(timeout=START_S)

    def _started(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{command[0]}.out").open("ab") as output:
            return subprocess.Popen(command, env=self._environment, stdout=output, stderr=output)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline, "Slurm did not do it in time"
        time.sleep(0.05)
