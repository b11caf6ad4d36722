"""What a step is: one asset of the graph, free of the orchestrator.

A step says what it reads, which version of code and which parameters make it, and how. Whether it must run, and how
its output becomes visible, belongs to `ledger.py`; what it does belongs to its room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import DigestCache, Json
from medmax_pipeline.manifest import External, Lock, Manifest
from medmax_pipeline.records import Counts


@dataclass(frozen=True, slots=True)
class Need:
    """An input: the whole artifact of `key`, or one of its parts."""

    key: str
    part: str = ""


@dataclass(frozen=True)
class Artifact:
    """A published input as a step sees it."""

    folder: Path
    manifest: Manifest

    @property
    def locked(self) -> bool:
        """Whether the input is locked: it holds no rows."""
        return self.manifest.locked


class Launch(Protocol):
    """Runs a module as a watched process, on whatever machine its kind of work belongs to."""

    def __call__(self, arguments: Sequence[str], *, state: Path | None = None) -> None:
        """Run `python -m <arguments>` until it ends.

        Args:
            arguments: the module's name and what it is given.
            state: None: nothing of it outlives this process. A folder in the step's work folder: it may, and the next
                launch with the same folder and arguments goes on with it, or takes it as done. What it makes then
                belongs below `state / "result"` or elsewhere in the work folder, since `Run.out` is emptied whenever
                the step begins; the result is removed whenever the module is started anew.

        Raises:
            LaunchError: it ended badly.
        """


@dataclass(frozen=True)
class Run:
    """Everything a step may use while it runs."""

    inputs: Mapping[str, Artifact]
    params: Mapping[str, Json]
    out: Path
    """Final files go here; published whole after the step returns."""
    work: Path
    """Resumable state; survives a kill, removed after publishing."""
    store: Path
    landing: Path
    log: Callable[[str], None]
    launch: Launch
    previous: Artifact | None = None
    """What this build has published of the step so far, whatever it was made of; a hint to save work, never input."""


@dataclass(frozen=True)
class Outcome:
    """What a step says of the files it left in `Run.out`."""

    counts: Counts = field(default_factory=Counts)
    licences: tuple[str, ...] | None = None
    """Licences inside; None: those of all inputs."""
    credentialed: bool | None = None
    """Whether credentialed rows are inside; None: whether any input has some."""
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    revision: str = ""
    summary: Mapping[str, Json] = field(default_factory=dict)


class PendingFile(NamedTuple):
    """A file, or a glob of files, that would be fetched."""

    path: str
    """Relative to the landing root."""
    bytes: int | None
    """Published size of all it stands for; None where nobody published it."""


class Pending(NamedTuple):
    """What a step would fetch before it runs."""

    files: tuple[PendingFile, ...]
    origin: str
    """From where, in words: `axiong/pmc_oa at main`."""
    lock: Lock | None = None
    """Why nothing of it can be fetched from here; known without asking anybody."""
    missing: str = ""
    """What would still be missing then, since it does not come over the network."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """How the files that a step reads outside the store come there."""

    pending: Callable[[Path], Pending | None]
    """What is still to be fetched; called with the landing root; asks nobody over the network."""
    bring: Callable[[Path, Callable[[str], None]], Lock | None]
    """Fetch it; called with the landing root and a log. A Lock says why it did not arrive."""


@dataclass(frozen=True)
class Step:
    """One asset of the graph, free of the orchestrator."""

    key: str
    run: Callable[[Run], Outcome]
    code_version: str
    needs: tuple[Need, ...] = ()
    params: Mapping[str, Json] = field(default_factory=dict)
    external: Callable[[Path, DigestCache], tuple[External, ...]] | None = None
    """Files outside the store that are inputs; called with the landing root."""
    withdrawn: Callable[[Path, Mapping[str, Artifact]], Mapping[str, Json]] | None = None
    """Further parameters, known only now: what people withdrew of what the inputs hold, or that a key is missing; none
    where nothing is. Called with the store and the inputs."""
    together: Callable[[Mapping[str, Run]], Mapping[str, Outcome]] | None = None
    """Makes several steps of one kind at once, where that is cheaper; None: each is made by its own `run`."""
    lock: Callable[[Path], Lock | None] | None = None
    """Whether the step can run here at all; called with the landing root."""
    fetch: Fetch | None = None
    """How its external files arrive; None: they lie there, or the user places them."""
    locks_on: tuple[str, ...] | None = None
    """Inputs whose lock locks this step; None: each of them."""
    intact: Callable[[Path], bool] | None = None
    """Whether what the step left outside the store is still there; called with the landing root."""
    group: str = "default"
    description: str = ""


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Steps sorted so that each comes after its inputs.

    Raises:
        ConfigError: two steps share a key, an input has no step, or the inputs run in a circle.
    """
    by_key: dict[str, Step] = {}
    for step in steps:
        if step.key in by_key:
            raise ConfigError(f"{step.key}: two steps of this build have this key; each asset has one.")
        by_key[step.key] = step
    done: dict[str, Step] = {}

    def visit(key: str, path: tuple[str, ...]) -> None:
        if key in done:
            return
        if key in path:
            raise ConfigError(f"inputs run in a circle: {' -> '.join((*path, key))}.")
        if key not in by_key:
            raise ConfigError(f"{path[-1]}: needs {key}, which this build does not make.")
        for need in by_key[key].needs:
            visit(need.key, (*path, key))
        done[key] = by_key[key]

    for key in by_key:
        visit(key, ())
    return list(done.values())
