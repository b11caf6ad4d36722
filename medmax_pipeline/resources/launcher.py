"""Launching training, evaluation and the like from the graph: on which machine, and what Dagster hears of it.

A launch with a state folder may outlive the run that started it, and the next run goes on with it (`launching/`).
Without one, on this machine, it ends with the step: not after success, failure, cancel, nor a killed run worker does
anything of it run. What machine that is says the machine file; restarting is no business of this module, since what
is launched keeps resumable state. The launched side of an attached launch is `pipes_child.py`, its watch
`processes.py`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.files import remove_tree
from medmax_pipeline.launching.launch import implied_state, launch
from medmax_pipeline.launching.machine import Machine, read_machines
from medmax_pipeline.launching.state import RESULT
from medmax_pipeline.launching.supervise import parse_report
from medmax_pipeline.processes import GRACE_S, failure, watch

CHILD = "medmax_pipeline.resources.pipes_child"


class Launcher(dg.ConfigurableResource["Launcher"]):
    """Runs `python -m …` on the machine that the machine file gives this kind of work."""

    grace_s: float = GRACE_S
    """Seconds between asking an attached process to end and killing it; a checkpoint is written in less."""
    machine_file: str = ""
    """A machine file's TOML; empty: MEDMAX_LAUNCH_FILE, else everything on this machine."""

    def run(self, context: dg.AssetExecutionContext, arguments: Sequence[str], *, state: Path | None = None) -> None:
        """Run `python -m <arguments>` until it ends.

        Its lines appear in the run's log as they come; its last report (a line that is a JSON object) becomes metadata
        of the asset where the step makes just one.

        Args:
            context: of the step that launches.
            arguments: the module's name and what it is given.
            state: folder of a launch that may outlive this process (on Linux); None: it may not. On a cluster its
                folder then lies beside the job file, and what an earlier run left there is ended first.

        Raises:
            LaunchError: it ended badly; the message holds the end of its output.
            ConfigError: the machine file does not say what it should.
        """
        machine = read_machines(Path(self.machine_file) if self.machine_file else None).of(arguments[0])
        if machine.kind == "local" and (state is None or sys.platform != "linux"):
            if state is not None:
                remove_tree(state / RESULT)
            report = self._attached(context, arguments, machine)
        else:

            def told(line: str) -> None:
                if parse_report(line) is None:
                    context.log.info(line)

            folder = implied_state(arguments) if state is None else state
            report = launch(arguments, folder, machine, told, again=state is None)
        if report and len(context.selected_asset_keys) == 1:
            context.add_asset_metadata({f"last {name}": value for name, value in report.items()})

    def _attached(
        self, context: dg.AssetExecutionContext, arguments: Sequence[str], machine: Machine
    ) -> Mapping[str, Any]:
        """Run as a child of this process that ends with it; its last report."""
        arguments = [*arguments, *machine.arguments]
        with (
            _quiet_preview(),
            dg.open_pipes_session(
                context=context,
                context_injector=dg.PipesTempFileContextInjector(),
                message_reader=dg.PipesTempFileMessageReader(),
            ) as session,
        ):
            environment = {
                **machine.environment,
                **session.get_bootstrap_env_vars(),
                "MEDMAX_LAUNCHER_PID": str(os.getpid()),
            }
            code, tail = watch([CHILD, *arguments], environment, self.grace_s, lambda line: print(line, flush=True))
        if code != 0:
            raise LaunchError(failure(arguments, code, tail))
        reports = [message for message in session.get_custom_messages() if isinstance(message, dict)]
        return reports[-1] if reports else {}


@contextmanager
def _quiet_preview() -> Iterator[None]:
    """Dagster 1.13 warns of a preview function that its own Pipes session calls; it says nothing to our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield
