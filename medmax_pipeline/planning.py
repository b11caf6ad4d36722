"""What would happen, and why: the one function behind the skip, `medmax plan`, `medmax stale` and the schedule.

Nothing is made and nobody is asked over the network; making and publishing belong to `ledger.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from medmax_pipeline.files import decimal_size
from medmax_pipeline.manifest import Lock
from medmax_pipeline.steps import Pending, PendingFile, Step, in_order
from medmax_pipeline.withdrawal import PARAMETER, words

if TYPE_CHECKING:
    from medmax_pipeline.ledger import Ledger, Resolved

Action = Literal["reuse", "run", "fetch", "after", "locked"]
NAMES_SHOWN = 3


class Planned(NamedTuple):
    """What would happen to one step, and why.

    `after`: an input runs first, and this step if that changed bytes. `fetch`: its files come first, then it runs.
    """

    key: str
    action: Action
    reason: str
    fingerprint: str
    cure: str = ""
    """What would unlock it."""
    files: tuple[PendingFile, ...] = ()
    """What would be fetched, by the paths that the record expects; a glob is one entry."""

    @property
    def waits(self) -> bool:
        """Whether steps that read it must wait for it."""
        return self.action in ("run", "fetch", "after")


class Volume(NamedTuple):
    """How much would be fetched."""

    files: int
    bytes: int
    """Sum of the sizes that are published."""
    unsized: int
    """Files whose size nobody published."""

    @property
    def words(self) -> str:
        """`3 files, 24.6 GB and 1 of unpublished size`."""
        count = f"{self.files} file" if self.files == 1 else f"{self.files} files"
        if self.unsized == self.files:
            return f"{count}, size not published"
        more = f" and {self.unsized} of unpublished size" if self.unsized else ""
        return f"{count}, {decimal_size(self.bytes)}{more}"


def volume(files: Iterable[PendingFile]) -> Volume:
    """Count files, each path once: sources may share a folder."""
    once = {file.path: file.bytes for file in files}
    sizes = [size for size in once.values() if size is not None]
    return Volume(len(once), sum(sizes), len(once) - len(sizes))


def plan(ledger: Ledger, steps: Iterable[Step], *, transitive: bool = True) -> list[Planned]:
    """What would happen to each step now, in order, and why.

    Args:
        ledger: the build's store.
        steps: all steps of the build, or some of them with everything they need.
        transitive: whether a step waits for inputs that would run first. False compares each step with the inputs as
            published now, which is what a nightly refresh wants.
    """
    planned: dict[str, Planned] = {}
    for step in in_order(steps):
        planned[step.key] = _waiting(ledger, step, planned, transitive) or _ready(ledger, step)
    return list(planned.values())


def _waiting(ledger: Ledger, step: Step, planned: dict[str, Planned], transitive: bool) -> Planned | None:
    """The plan of a step whose inputs are not there yet, or would change first; None for any other."""
    waits = [need.key for need in step.needs if planned[need.key].waits]
    missing = [need.key for need in step.needs if ledger.current(need.key) is None]
    if not (missing or (transitive and waits)):
        return None
    binding = step.locks_on if step.locks_on is not None else tuple(need.key for need in step.needs)
    for key in binding:
        above = planned.get(key)
        if above is not None and above.action == "locked":
            origin = above.reason if " is locked: " in above.reason else f"{key} is locked: {above.reason}"
            return Planned(step.key, "locked", origin, "", above.cure)
    own = step.lock(ledger.landing) if step.lock is not None and step.external is None else None
    if own is not None:  # a key to set is better known before the hours that its inputs take
        return Planned(step.key, "locked", own.reason, "", own.cure)  # what files lack, an input may still bring
    first = next((key for key in (*waits, *missing) if transitive and planned[key].waits), (missing or waits)[0])
    reason = f"{first} runs first" if transitive else f"{first} is not published"
    return Planned(step.key, "after", reason, "")


def _ready(ledger: Ledger, step: Step) -> Planned:
    """The plan of a step whose inputs are all published and stay as they are."""
    pending = step.fetch.pending(ledger.landing) if step.fetch is not None else None
    if pending is not None and pending.lock is None:
        absent = step.lock(ledger.landing) if pending.missing and step.lock is not None else None
        return Planned(step.key, "fetch", fetch_words(pending), "", absent.cure if absent else "", pending.files)
    resolved = ledger.resolve(step, pending.lock if pending is not None else None)
    if resolved.lock is not None:
        return Planned(step.key, "locked", resolved.lock.reason, resolved.fingerprint, resolved.lock.cure)
    if ledger.reusable(step, resolved):
        return Planned(step.key, "reuse", "unchanged", resolved.fingerprint)
    known = ledger.published(step.key, resolved.fingerprint)
    reason = "what it laid out is gone" if known else why(ledger, step, resolved)
    return Planned(step.key, "run", reason, resolved.fingerprint)


def joined(unfetched: Lock | None, absent: Lock | None) -> Lock | None:
    """One lock of why files were not fetched and of what is missing without them."""
    if unfetched is None or absent is None:
        return unfetched or absent
    return Lock(f"{unfetched.reason} {absent.reason}", f"{unfetched.cure} Or by hand: {absent.cure}")


def fetch_words(pending: Pending) -> str:
    """What would be fetched, in a sentence."""
    names = [file.path.partition("/")[2] or file.path for file in pending.files]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    shown = ", ".join(names[:NAMES_SHOWN]) + more
    beside = f"; stays locked without {pending.missing}" if pending.missing else ""
    return f"would fetch {volume(pending.files).words} of {pending.origin}: {shown}{beside}"


def why(ledger: Ledger, step: Step, resolved: Resolved) -> str:
    """What differs between the current version and what would be made now, in words."""
    current = ledger.current(step.key)
    if current is None:
        return "never made"
    old = current.manifest
    if old.locked:
        return "unlocked"
    reasons = []
    before = {(entry.key, entry.part): entry.digest for entry in old.inputs}
    for entry in resolved.inputs:
        if before.get((entry.key, entry.part)) != entry.digest:
            reasons.append(f"{entry.key} changed")
    reasons += _file_changes(
        {entry.path: entry.sha256 for entry in old.external}, {entry.path: entry.sha256 for entry in resolved.external}
    )
    if old.code_version != step.code_version:
        reasons.append(f"code version {old.code_version} -> {step.code_version}")
    plain = json.loads(json.dumps(dict(resolved.params)))
    reasons += [told] if (told := words(old.params, plain)) else []
    reasons += [
        f"parameter {name} changed"
        for name in sorted(old.params.keys() | plain.keys())
        if name != PARAMETER and old.params.get(name) != plain.get(name)
    ]
    if old.counter != resolved.counter:
        reasons.append("told to run again")
    return _some(reasons) or "the published version is gone"


def _file_changes(known: dict[str, str], now: dict[str, str]) -> list[str]:
    changed = [path for path in sorted(known.keys() | now.keys()) if known.get(path) != now.get(path)]
    return [
        f"{path} {'is new' if path not in known else 'is gone' if path not in now else 'changed'}" for path in changed
    ]


def _some(reasons: Sequence[str]) -> str:
    return ", ".join([*reasons[:5], *([f"{len(reasons) - 5} more"] if len(reasons) > 5 else [])])
