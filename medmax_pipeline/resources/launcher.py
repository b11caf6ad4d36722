"""Launching training and evaluation as watched processes, and ending them when the run ends, whatever ends it.

`LocalLauncher` starts one process in a group of its own and tells Dagster what it prints while it runs. No process of
the group outlives the step: not after success, failure, cancel, nor a killed run worker. Restarting is no business of
this module: what is launched keeps resumable state, and the next run finds it. The launched side is `pipes_child.py`,
the watch itself `processes.py`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.processes import GRACE_S, failure, watch

CHILD = "medmax_pipeline.resources.pipes_child"


class LocalLauncher(dg.ConfigurableResource["LocalLauncher"]):
    """Runs `python -m …` on this machine, in a process group that ends with the step."""

    grace_s: float = GRACE_S
    """Seconds between asking a process group to end and killing it; a checkpoint is written in less."""

    def run(self, context: dg.AssetExecutionContext, arguments: Sequence[str]) -> None:
        """Run `python -m <arguments>` until it ends.

        Its lines appear in the run's log as they come; its last report (a line that is a JSON object) becomes metadata
        of the asset where the step makes just one.

        Raises:
            LaunchError: it ended with a code other than 0; the message holds the end of its output.
        """
        with (
            _quiet_preview(),
            dg.open_pipes_session(
                context=context,
                context_injector=dg.PipesTempFileContextInjector(),
                message_reader=dg.PipesTempFileMessageReader(),
            ) as session,
        ):
            environment = {**session.get_bootstrap_env_vars(), "MEDMAX_LAUNCHER_PID": str(os.getpid())}
            code, tail = watch([CHILD, *arguments], environment, self.grace_s, lambda line: print(line, flush=True))
        if code != 0:
            raise LaunchError(failure(arguments, code, tail))
        reports = [message for message in session.get_custom_messages() if isinstance(message, dict)]
        if reports and len(context.selected_asset_keys) == 1:
            context.add_asset_metadata({f"last {name}": value for name, value in reports[-1].items()})


@contextmanager
def _quiet_preview() -> Iterator[None]:
    """Dagster 1.13 warns of a preview function that its own Pipes session calls; it says nothing to our users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield
