"""Publish or reuse: which steps must run, and the one way in which what they made becomes visible.

A `Step` says what an asset reads, which version of code and which parameters make it, and how. Its *fingerprint*
covers all of that; a published folder of that fingerprint is reused, else the step runs in a work folder and its
output is renamed into place with the manifest inside. What would happen is told by `planning.py`. No Dagster here;
what a step does belongs to its room.

    store/<key>/<fingerprint>/         published, never changes
    store/<key>/current.<build>        names the fingerprint in use
    store/<key>/counter                raised to make a step run again although nothing changed
    store/work/<key>/<fingerprint>/    resumable state of a running step, with a lock
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from medmax_pipeline.errors import Imbalance, NotPublished, StepBusy, StoreError
from medmax_pipeline.files import (
    DIGESTS,
    DigestCache,
    Json,
    digest_of,
    disk_errors,
    publish_folder,
    remove_tree,
    sweep_temporaries,
    sync_folder,
    write_json,
    write_text,
)
from medmax_pipeline.manifest import (
    MANIFEST,
    External,
    InputEntry,
    Lock,
    Manifest,
    content_digest,
    list_files,
    package_versions,
    read_manifest,
)
from medmax_pipeline.planning import Planned as Planned
from medmax_pipeline.planning import joined, plan
from medmax_pipeline.steps import Artifact, Launch, Outcome, Run, Step

FINGERPRINT_DIGITS = 32
"""128 bits of the sha256: short enough for a path, far from any collision."""


Log = Callable[[str], None]


class Resolved(NamedTuple):
    """A step's identity against the published inputs of this moment."""

    fingerprint: str
    inputs: tuple[InputEntry, ...]
    external: tuple[External, ...]
    lock: Lock | None
    counter: int
    params: Mapping[str, Json]
    """The step's, and what is withdrawn of its inputs."""


class Ledger:
    """The store of one build: what is published, what is current, and the door through which steps publish."""

    def __init__(self, store: Path, build: str, landing: Path) -> None:
        """Open (and create where absent) a store.

        Args:
            store: root folder of all artifacts.
            build: name of the build; several builds share a store and reuse each other's artifacts.
            landing: root of the landing folders, one a source.
        """
        self.store = store
        self.build = build
        self.landing = landing
        with disk_errors(store):
            store.mkdir(parents=True, exist_ok=True)
        self._digests = DigestCache(store / DIGESTS)

    # -- reading ------------------------------------------------------------------------------------------------

    def folder(self, key: str, fingerprint: str) -> Path:
        """Where the artifact of that key and fingerprint lies once it is published."""
        return self.store / key / fingerprint

    def published(self, key: str, fingerprint: str) -> bool:
        """Whether that artifact is complete; the manifest is written last."""
        return (self.folder(key, fingerprint) / MANIFEST).exists()

    def current_fingerprint(self, key: str) -> str | None:
        """Fingerprint in use in this build, or None when nothing is published yet."""
        pointer = self.store / key / f"current.{self.build}"
        return pointer.read_text().strip() if pointer.exists() else None

    def current(self, key: str) -> Artifact | None:
        """The artifact in use in this build, or None."""
        fingerprint = self.current_fingerprint(key)
        if fingerprint is None or not self.published(key, fingerprint):
            return None
        folder = self.folder(key, fingerprint)
        return Artifact(folder, read_manifest(folder))

    def need(self, key: str) -> Artifact:
        """The artifact in use in this build.

        Raises:
            NotPublished: there is none.
        """
        artifact = self.current(key)
        if artifact is None:
            raise NotPublished(f"{key}: nothing is published in build {self.build!r}. Materialise it first.")
        return artifact

    def counter(self, key: str) -> int:
        """How often the step was told to run again although nothing changed."""
        path = self.store / key / "counter"
        return int(path.read_text()) if path.exists() else 0

    def raise_counter(self, key: str) -> int:
        """Make the step run again at the next build; the new count."""
        count = self.counter(key) + 1
        write_text(self.store / key / "counter", f"{count}\n")
        return count

    # -- identity -----------------------------------------------------------------------------------------------

    def resolve(self, step: Step, unfetched: Lock | None = None) -> Resolved:
        """The step's fingerprint against the inputs that are current now.

        Args:
            step: the step.
            unfetched: why its files could not be fetched.

        Raises:
            NotPublished: an input has no published version.
        """
        inputs = []
        lock: Lock | None = None
        for need in step.needs:
            manifest = self.need(need.key).manifest
            inputs.append(InputEntry(need.key, need.part, manifest.fingerprint, manifest.digest_for(need.part)))
            binding = step.locks_on is None or need.key in step.locks_on
            if manifest.lock is not None and binding and lock is None:
                origin = manifest.lock.reason
                lock = Lock(
                    origin if " is locked: " in origin else f"{need.key} is locked: {origin}",
                    manifest.lock.cure,
                )
        if lock is None:
            lock = joined(unfetched, step.lock(self.landing) if step.lock is not None else None)
        external: tuple[External, ...] = ()
        if lock is None and step.external is not None:
            external = step.external(self.landing, self._digests)
            self._digests.save()
        params = dict(step.params)
        if lock is None and step.withdrawn is not None:
            params |= step.withdrawn(self.store, {need.key: self.need(need.key) for need in step.needs})
        counter = self.counter(step.key)
        fingerprint = digest_of(
            {
                "key": step.key,
                "inputs": [[entry.key, entry.part, entry.digest] for entry in inputs],
                "code_version": step.code_version,
                "params": params,
                "external": [[entry.path, entry.sha256] for entry in external],
                "lock": lock.reason if lock else None,
                "counter": counter,
            }
        )[:FINGERPRINT_DIGITS]
        return Resolved(fingerprint, tuple(inputs), external, lock, counter, params)

    def plan(self, steps: Iterable[Step], *, transitive: bool = True) -> list[Planned]:
        """What would happen to each step now, in order, and why; see `planning.plan`."""
        return plan(self, steps, transitive=transitive)

    # -- running ------------------------------------------------------------------------------------------------

    def execute(
        self, step: Step, *, log: Log = lambda line: None, launch: Launch | None = None
    ) -> tuple[Artifact, bool]:
        """Reuse the published artifact of this step's fingerprint, or make and publish it.

        Returns:
            the artifact now current in this build, and whether it had to be made.

        Raises:
            StepBusy: another process is making it.
            Imbalance: the step's counts do not add up; nothing is published.
        """
        return self.execute_together(
            (step,), lambda runs: {step.key: step.run(runs[step.key])}, log=log, launch=launch
        )[step.key]

    def execute_together(
        self,
        steps: Sequence[Step],
        run: Callable[[Mapping[str, Run]], Mapping[str, Outcome]],
        *,
        log: Log = lambda line: None,
        launch: Launch | None = None,
    ) -> dict[str, tuple[Artifact, bool]]:
        """As `execute`, for steps that are cheaper made by one process; none of them may need another of them.

        `run` gets the steps that must be made and returns an outcome for each; it is not called for none.
        """
        unfetched = {step.key: step.fetch.bring(self.landing, log) for step in steps if step.fetch is not None}
        resolved = {step.key: self.resolve(step, unfetched.get(step.key)) for step in steps}
        todo = [step for step in steps if not self.reusable(step, resolved[step.key])]
        with ExitStack() as held:
            runs, started = {}, time.monotonic()
            for step in todo:
                work = held.enter_context(self._locked(step.key, resolved[step.key].fingerprint))
                runs[step.key] = self._prepare(step, resolved[step.key].params, work, log, launch or _no_launcher)
            free = {key: ready for key, ready in runs.items() if resolved[key].lock is None}
            outcomes = run(free) if free else {}
            for step in todo:
                lock = resolved[step.key].lock
                if lock is not None:
                    log(f"{step.key} is locked: {lock.reason} {lock.cure}")
                outcome = Outcome() if lock else outcomes[step.key]
                self._publish(step, resolved[step.key], outcome, runs[step.key], time.monotonic() - started)
        for step in steps:
            pointer = self.store / step.key / f"current.{self.build}"
            write_text(pointer, resolved[step.key].fingerprint + "\n")
            sweep_temporaries(pointer)
        return {step.key: (self.need(step.key), step in todo) for step in steps}

    def reusable(self, step: Step, resolved: Resolved) -> bool:
        """Whether what would be made is published already, and still there where it lies outside the store."""
        known = self.published(step.key, resolved.fingerprint)
        return known and (resolved.lock is not None or step.intact is None or step.intact(self.landing))

    def _prepare(self, step: Step, params: Mapping[str, Json], work: Path, log: Log, launch: Launch) -> Run:
        out, state = work / "out", work / "state"
        with disk_errors(out):
            remove_tree(out)
            out.mkdir()
            state.mkdir(exist_ok=True)
        inputs = {need.key: self.need(need.key) for need in step.needs}
        return Run(inputs, params, out, state, self.store, self.landing, log, launch, previous=self.current(step.key))

    def _publish(self, step: Step, resolved: Resolved, outcome: Outcome, run: Run, wall_s: float) -> None:
        manifest = build_manifest(step, resolved, outcome, run.inputs, run.out, wall_s)
        if self.published(step.key, resolved.fingerprint):  # made again for what it lays out elsewhere
            return
        write_json(run.out / MANIFEST, manifest.to_json())
        publish_folder(run.out, self.folder(step.key, resolved.fingerprint))

    @contextmanager
    def _locked(self, key: str, fingerprint: str) -> Iterator[Path]:
        """Hold the step's work folder; the operating system frees the lock when the holder dies, however it dies."""
        work = self.store / "work" / key / fingerprint
        with disk_errors(work):
            work.mkdir(parents=True, exist_ok=True)
        lock = work / "lock"
        with lock.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise StepBusy(
                    f"{key}: being made by another process ({handle.read().strip()}). Wait for it or stop it."
                ) from None
            handle.truncate(0)
            handle.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": time.time()}))
            handle.flush()
            yield work
            remove_tree(work)
            sync_folder(work.parent)


def _no_launcher(arguments: Sequence[str], *, state: Path | None = None) -> None:
    raise StoreError(f"{' '.join(arguments)}: this step launches a process, but no launcher was given.")


def build_manifest(
    step: Step, resolved: Resolved, outcome: Outcome, inputs: Mapping[str, Artifact], out: Path, wall_s: float
) -> Manifest:
    """The manifest of what lies in `out`.

    Raises:
        Imbalance: counts do not add up.
        StoreError: a part names a file that is not there.
    """
    counts = outcome.counts
    if not counts.balanced:
        raise Imbalance(
            f"{step.key}: {counts.taken} in, but {counts.kept} kept + {sum(counts.dropped.values())} dropped + "
            f"{sum(counts.quarantined.values())} quarantined. Units were lost or invented; nothing is published."
        )
    files = list_files(out)
    digests = {entry.path: entry.sha256 for entry in files}
    parts = {}
    for name, paths in outcome.parts.items():
        absent = [path for path in paths if path not in digests]
        if absent:
            raise StoreError(f"{step.key}: part {name!r} names {absent[0]}, which the step did not write.")
        parts[name] = digest_of([[path, digests[path]] for path in sorted(paths)])
    used = [artifact.manifest for artifact in inputs.values() if not artifact.locked]
    licences = outcome.licences
    if licences is None:
        licences = tuple(licence for manifest in used for licence in manifest.licences)
    credentialed = outcome.credentialed
    if credentialed is None:
        credentialed = any(manifest.credentialed for manifest in used)
    if resolved.lock is not None:
        licences, credentialed = (), False
    return Manifest(
        key=step.key,
        fingerprint=resolved.fingerprint,
        digest=content_digest(files, resolved.external, resolved.lock),
        status="locked" if resolved.lock else "ok",
        code_version=step.code_version,
        params=dict(resolved.params),
        counter=resolved.counter,
        inputs=resolved.inputs,
        files=files,
        external=resolved.external,
        parts=parts,
        counts=counts,
        licences=tuple(sorted(set(licences))),
        credentialed=credentialed,
        revision=outcome.revision,
        lock=resolved.lock,
        summary=dict(outcome.summary),
        versions=package_versions(),
        wall_s=round(wall_s, 3),
    )
