"""Units that could not be used are tried again, after the cause was mended: what `medmax retry` does.

A step is run again only where its published version holds quarantined units. What was good is carried over by the step
itself (`carried.py`, the store of codes), so that only what was bad is opened. What stands on a retried step is not
touched: it runs with the next build where bytes changed, and does not where they did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.ledger import Ledger, Log
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Launch, Step

OVER_ALL: Final = ("captions", "image_codes")
"""Steps over all sources that quarantine units, in their order."""


class Retried(NamedTuple):
    """What became of one step that held quarantined units."""

    key: str
    before: Counts
    after: Counts | None
    """None where it was not run; `note` says why."""
    changed: bool
    """Whether its published bytes are others now."""
    note: str = ""


def retry(ledger: Ledger, steps: Sequence[Step], sources: Sequence[str], log: Log, launch: Launch) -> list[Retried]:
    """Run the steps again that hold quarantined units: samples, then captions and image codes.

    Args:
        ledger: the build's store.
        steps: all steps of the build.
        sources: keys of the sources to look at; none: all of them, `captions` and `image_codes`.
        log: takes lines of progress.
        launch: runs `python -m <arguments>`.

    Raises:
        ConfigError: the build has no source of that key.
    """
    by_key = {step.key: step for step in steps}
    known = [key.removesuffix("/samples") for key in by_key if key.endswith("/samples")]
    strange = sorted(set(sources) - set(known))
    if strange:
        raise ConfigError(f"{strange[0]}: no source of this build; it has {', '.join(known)}.")
    found = []
    for source in sources or known:
        before = _quarantined(ledger, f"{source}/samples")
        if before is not None:
            found.append(_samples(ledger, by_key, source, before, log, launch))
    for key in OVER_ALL:
        before = None if sources or key not in by_key else _quarantined(ledger, key)
        if before is not None:
            found.append(_over_all(ledger, by_key[key], before, found, log, launch))
    return found


def _quarantined(ledger: Ledger, key: str) -> Counts | None:
    """Counts of what is published of a step, where units of it are quarantined."""
    current = ledger.current(key)
    if current is None or not current.manifest.counts.quarantined:
        return None
    return current.manifest.counts


def _samples(
    ledger: Ledger, by_key: Mapping[str, Step], source: str, before: Counts, log: Log, launch: Launch
) -> Retried:
    raw, samples = by_key.get(f"{source}/raw"), by_key[f"{source}/samples"]
    if raw is None:  # the interleaved set, whose units are asked about again
        return _again(ledger, samples, before, log, launch)
    lock = raw.lock(ledger.landing) if raw.lock is not None else None
    pending = raw.fetch.pending(ledger.landing) if raw.fetch is not None else None
    if lock is not None and (pending is None or pending.lock is not None):
        return Retried(samples.key, before, None, False, f"left as it is, its files are not all here: {lock.reason}")
    ledger.execute(raw, log=log, launch=launch)
    return _again(ledger, samples, before, log, launch)


def _over_all(
    ledger: Ledger, step: Step, before: Counts, retried: Sequence[Retried], log: Log, launch: Launch
) -> Retried:
    """Retry a step over all sources, unless the next build runs it anyway."""
    changed = [item.key for item in retried if item.changed]
    if changed:
        return Retried(step.key, before, None, False, f"tried again by the next build, since {changed[0]} changed")
    return _again(ledger, step, before, log, launch)


def _again(ledger: Ledger, step: Step, before: Counts, log: Log, launch: Launch) -> Retried:
    """Run a step whose inputs are published, whether or not anything else makes it run."""
    old = ledger.need(step.key).manifest.digest
    if ledger.reusable(step, ledger.resolve(step)):
        ledger.raise_counter(step.key)
    now = ledger.execute(step, log=log, launch=launch)[0].manifest
    return Retried(step.key, before, now.counts, now.digest != old)


def to_text(found: Sequence[Retried], command: str) -> list[str]:
    """What was retried, for people.

    Args:
        found: what `retry` gave.
        command: what makes the rest of the build again.
    """
    if not found:
        return ["Nothing is quarantined: there is nothing to retry."]
    lines = []
    for item in found:
        lines += _lines(item)
    if any(item.changed for item in found):
        return [*lines, "", f"What stands on the changed samples or codes is made again by: {command}"]
    return [*lines, "", "Published bytes are what they were: no step that reads them would run again."]


def _lines(item: Retried) -> list[str]:
    if item.after is None:
        return [f"{item.key}: {sum(item.before.quarantined.values())} quarantined; {item.note}"]
    gained = item.after.kept - item.before.kept
    lines = [f"{item.key}: kept {item.before.kept} -> {item.after.kept} ({gained:+d})"]
    for reason in sorted(item.before.quarantined.keys() | item.after.quarantined.keys()):
        was, now = item.before.quarantined.get(reason, 0), item.after.quarantined.get(reason, 0)
        lines.append(f"  {reason:<24}{was} -> {now}" + ("" if was != now else "  unchanged"))
    return lines


def to_json(item: Retried) -> dict[str, Any]:
    """What was retried, for machines: `after` is null where the step was left as it is."""
    return {
        "key": item.key,
        "before": _counts(item.before),
        "after": None if item.after is None else _counts(item.after),
        "changed": item.changed,
        "note": item.note,
    }


def _counts(counts: Counts) -> dict[str, Any]:
    return {
        "in": counts.taken,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "quarantined": dict(counts.quarantined),
    }
