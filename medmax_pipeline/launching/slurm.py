"""Launches on Slurm: a job script in the state folder, `sbatch`, and questions to `scontrol` and `sacct`.

The handle is the job's id. The commands themselves are the interface: the store is on a file system that login and
compute nodes share, so nothing has to be packed or copied. Several nodes run one `torch.distributed.run` each.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta

from medmax_pipeline.errors import ConfigError, LaunchError
from medmax_pipeline.files import write_text
from medmax_pipeline.launching.backends import Launched, Standing
from medmax_pipeline.launching.machine import Machine
from medmax_pipeline.launching.machine import Slurm as Options

SCRIPT, LOG = "slurm.sh", "slurm.log"
ANSWER_S = 60.0
"""Longest wait for one command."""
END_S = 60.0
"""How long a job may take to go, beyond its grace, and once more after SIGKILL."""
SETTLE_S = 30.0
"""Shared file systems show another machine's files within some seconds."""
UNKNOWN = "Invalid job id"
"""What Slurm's commands say of a job that the controller has forgotten."""
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
ENDED = {
    "COMPLETED": "",
    "FAILED": "",
    "REVOKED": "",
    "OUT_OF_MEMORY": "out_of_memory",
    "TIMEOUT": "time_limit",
    "DEADLINE": "time_limit",
    "CANCELLED": "terminated",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node_failed",
    "BOOT_FAIL": "node_failed",
}
"""A job's last states, each as a reason; the first three say no more than the supervisor does."""


class Slurm:
    """A Slurm cluster whose commands are on this machine."""

    settle_s = SETTLE_S

    def __init__(self, machine: Machine) -> None:
        """Look for the commands."""
        absent = [name for name in ("sbatch", "squeue", "scontrol", "scancel") if shutil.which(name) is None]
        if absent:
            raise ConfigError(
                f"{', '.join(absent)}: not found. Kind slurm needs Slurm's commands where `dagster` runs, on a machine "
                "that may submit jobs; or change `kind` in the machine file."
            )
        self._machine = machine
        self._options = machine.slurm or Options()

    @property
    def poll_s(self) -> float:
        """As the machine file says."""
        return self._options.poll_s

    def submit(self, launched: Launched) -> str:
        """Write the job script and hand it in; the job's id."""
        script = launched.state / SCRIPT
        write_text(script, job_script(launched))
        words = [
            "--parsable",
            "--no-requeue",
            "--export=ALL",
            "--open-mode=append",
            f"--job-name={launched.name}",
            f"--output={launched.state / LOG}",
            f"--chdir={launched.folder}",
            *resources(self._machine, self._options),
        ]
        # inside another job of Slurm, that one's variables would contradict this one's words
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment |= {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
        return _asked("sbatch", *words, str(script), environment=environment).split(";")[0].strip()

    def find(self, launched: Launched) -> str | None:
        """The newest job of that name."""
        found = _asked("squeue", "--noheader", "--states=all", f"--name={launched.name}", "--format=%A").split()
        if not found:
            found = _accounted("--starttime=now-30days", f"--name={launched.name}", "--format=JobIDRaw").split()
        return found[-1] if found else None

    def alive(self, handle: str) -> Standing:
        """What the controller says of the job; where it has forgotten it, accounting."""
        try:
            told = _asked("scontrol", "--oneliner", "show", "job", handle)
        except LaunchError as error:
            if UNKNOWN not in str(error):
                raise
            state = _accounted(f"--jobs={handle}", "--format=State").strip()
            return _standing(state.split("\n")[0], "") if state else Standing("gone", "forgotten by Slurm")
        values = dict(word.split("=", 1) for word in told.split() if "=" in word)
        return _standing(values.get("JobState", ""), values.get("Reason", ""))

    def end(self, handle: str, launched: Launched) -> None:
        """Cancel the job, which asks its processes and then kills them, and wait."""
        for words in ((), ("--full", "--signal=KILL")):
            if self.alive(handle).state == "gone":
                return
            try:
                _asked("scancel", *words, handle)
            except LaunchError as error:
                if UNKNOWN not in str(error):
                    raise
            deadline = time.monotonic() + launched.machine.grace_s + END_S
            while time.monotonic() < deadline:
                if self.alive(handle).state == "gone":
                    return
                time.sleep(min(self.poll_s, 1.0))
        raise LaunchError(f"Slurm's job {handle} has not gone although it was cancelled and killed.")


def resources(machine: Machine, options: Options) -> list[str]:
    """What a job asks for, as words of `sbatch`; the file's own come last."""
    words = [f"--nodes={machine.nodes}", "--ntasks-per-node=1"]
    if machine.gpus_per_node:
        words.append(f"--gpus-per-node={machine.gpus_per_node}")
    if machine.cpus:
        words.append(f"--cpus-per-task={machine.cpus}")
    if machine.memory_gb:
        words.append(f"--mem={machine.memory_gb}G")
    if machine.hours:
        seconds = round(timedelta(hours=machine.hours).total_seconds())
        words.append(f"--time={seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}")
    words += [f"--{name}={value}" for name in ("partition", "account") if (value := getattr(options, name))]
    return [*words, *options.options]


def job_script(launched: Launched) -> str:
    """What the first node runs: the prelude, then the supervisor in the shell's place, so that signals reach it."""
    machine = launched.machine
    options = machine.slurm or Options()
    lines = ["#!/bin/bash", *options.prelude]
    command = f"exec {shlex.join(launched.command())}"
    if machine.nodes > 1:
        lines.append('first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)')
        lines.append(r"head=$(scontrol --oneliner show node $first | sed 's/.* NodeAddr=\([^ ]*\).*/\1/')")
        command += f' {shlex.join(_everywhere(launched))} --rdzv-endpoint "$head:{options.port}" -m'
    return "\n".join([*lines, command, ""])


def _everywhere(launched: Launched) -> list[str]:
    """A launcher of processes on every node, which meet on the first; its endpoint and the module follow."""
    machine = launched.machine
    nodes, processes = str(machine.nodes), str(max(machine.gpus_per_node, 1))
    start = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    if machine.cpus:  # srun does not take it from the job since Slurm 22.05
        start.append(f"--cpus-per-task={machine.cpus}")
    torchrun = [machine.python or sys.executable, "-u", "-m", "torch.distributed.run"]
    meet = ["--nnodes", nodes, "--nproc-per-node", processes, "--rdzv-backend", "c10d", "--rdzv-id", launched.mark]
    return [*start, *torchrun, *meet]


def _standing(state: str, reason: str) -> Standing:
    """A job's state in Slurm's word; `CANCELLED by 1000` counts by its first."""
    word = state.split(" ")[0].rstrip("+")
    detail = f"{word} ({reason})" if reason not in ("", "None") else word
    if word in ENDED:
        return Standing("gone", detail, ENDED[word])
    return Standing("waiting" if word in WAITING else "running", detail)


def _accounted(*words: str) -> str:
    """What accounting says; nothing where the cluster keeps none."""
    try:
        return _asked("sacct", "--noheader", "--allocations", "--parsable2", *words)
    except LaunchError:
        return ""


def _asked(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """What one of Slurm's commands prints; in this process's environment where none is given.

    Raises:
        LaunchError: it failed, or gave no answer.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{command[0]}: {error}.") from error
    if done.returncode:
        raise LaunchError(f"`{shlex.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
