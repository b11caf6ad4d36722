"""Writing the interleaved set: the author is asked about each pair, and what can be read becomes a sample.

Item by item: a reply lies on disk before it is read (`models/endpoint.py`), so a step that was killed goes on where it
was, and nothing is asked or paid twice. A reply that cannot be read is asked for again, with another attempt; a pair
without a readable reply is quarantined with the last reason. Where the endpoint as a whole fails, or the budget is
spent, the step ends with an error and what was answered stays.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow.parquet as pq

from medmax_pipeline.arrow import IMAGE_SCHEMA, left_to_table, samples_to_table
from medmax_pipeline.config import INTERLEAVED
from medmax_pipeline.ingest.tables import TableWriter, of_schema, open_table
from medmax_pipeline.interleave.pairs import Choice, edge_of
from medmax_pipeline.interleave.prompt import Prompt, messages
from medmax_pipeline.interleave.reply import Unreadable, Written, read_reply, turns
from medmax_pipeline.models.endpoint import Chat, Refused, Reply, Request
from medmax_pipeline.records import Counts, Draft, ImageRef, Left, Sample, check_draft, sample_id
from medmax_pipeline.steps import Artifact, Outcome, Run

AT_ONCE: Final = 1024
"""Pairs whose replies are in memory together."""
WORTH_ASKING_AGAIN: Final = frozenset({"model_refused", "no_text"})
"""Refusals by the model itself, which another attempt may not repeat."""


class Task(NamedTuple):
    """How the set is written."""

    chat: Chat
    prompt: Prompt
    attempts: int
    may_see_credentialed: bool


@dataclass(slots=True)
class Tally:
    """What became of the pairs so far."""

    taken: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0
    licences: set[str] = field(default_factory=set)
    credentialed: bool = False
    images: set[str] = field(default_factory=set)


def write_set(ctx: Run, task: Task, sources: Sequence[str], limit: Mapping[str, int]) -> Outcome:
    """Write samples, pictures, drops and quarantine of the interleaved set.

    Args:
        ctx: holds `<source>/samples` and `<source>/curated` of the sources.
        task: who writes and how.
        sources: whose pairs.
        limit: pairs of a source at most.

    Raises:
        EndpointError: the endpoint as a whole fails, or the budget is spent.
    """
    folders = {source: ctx.inputs[f"{source}/curated"].folder for source in sources}
    edges = {source: edge_of(folder, limit.get(source)) for source, folder in folders.items()}
    choice = Choice(folders, edges, task.may_see_credentialed)
    task.chat.announce(_request(pair, task, 0) for pair, drop in choice.all() if drop is None)
    tally = Tally()
    with (
        open_table(ctx.out / "samples.parquet", samples_to_table) as kept,
        open_table(ctx.out / "drops.parquet", left_to_table) as drops,
        open_table(ctx.out / "quarantine.parquet", left_to_table) as bad,
    ):
        for pairs in _batches(_chosen(choice, drops, tally), AT_ONCE):
            for pair, made in zip(pairs, ask(pairs, task, tally), strict=True):
                if isinstance(made, Written):
                    _keep(pair, made, task, kept, tally)
                else:
                    tally.quarantined[made.reason] += 1
                    bad.add(_left(pair, made.reason, made.detail))
            ctx.log(f"{INTERLEAVED}: {kept.written:,} written, {bad.written:,} without a readable reply")
        written = kept.written
    write_images(ctx.out / "images.parquet", [ctx.inputs[f"{source}/samples"] for source in sources], tally.images)
    return Outcome(
        counts=Counts(
            tally.taken, written, dict(sorted(tally.dropped.items())), dict(sorted(tally.quarantined.items()))
        ),
        licences=tuple(sorted(tally.licences)),
        credentialed=tally.credentialed,
        summary={
            "author": task.chat.name,
            "prompt": task.prompt.name,
            "asked_again": tally.asked_again,
            **{f"kept {source}": number for source, number in sorted(tally.by_source.items())},
        },
    )


def _chosen(choice: Choice, drops: TableWriter[Left], tally: Tally) -> Iterator[Sample]:
    """The pairs to write about; the others are counted and written down on the way."""
    for sample, drop in choice.all():
        tally.taken += 1
        if drop is None:
            yield sample
        else:
            tally.dropped[drop.reason] += 1
            drops.add(_left(sample, drop.reason, drop.detail))


def ask(pairs: Sequence[Sample], task: Task, tally: Tally) -> list[Written | Unreadable]:
    """What the author wrote about each pair, or why the last attempt gave nothing to use.

    Raises:
        EndpointError: the endpoint as a whole fails, or the budget is spent.
    """
    made: list[Written | Unreadable] = [Unreadable("not_asked")] * len(pairs)
    waiting = list(range(len(pairs)))
    for attempt in range(max(1, task.attempts)):
        again = []
        tally.asked_again += len(waiting) if attempt else 0
        requests = [_request(pairs[place], task, attempt) for place in waiting]
        for place, said in zip(waiting, task.chat.ask_all(requests), strict=True):
            found = made[place] = _read(said)
            worth = not isinstance(said, Refused) or said.reason in WORTH_ASKING_AGAIN
            if isinstance(found, Unreadable) and worth:
                again.append(place)
        waiting = again
        if not waiting:
            break
    return made


def _read(said: Reply | Refused) -> Written | Unreadable:
    if isinstance(said, Reply):
        return read_reply(said.text, complete=said.complete)
    return Unreadable(said.reason, said.detail[:200])


def _request(pair: Sample, task: Task, attempt: int) -> Request:
    return Request(messages(task.prompt, pair.context), pair.credentialed, attempt)


def _keep(pair: Sample, written: Written, task: Task, kept: TableWriter[Sample], tally: Tally) -> None:
    said = turns(written)
    extra = json.dumps({"pair": pair.sample_id, "author": task.chat.name, "prompt": task.prompt.name})
    draft = Draft(
        key=pair.sample_id, split="train", kind="interleaved", turns=said, images=(ImageRef(""),), answer=said[1].text
    )
    check_draft(draft)
    kept.add(
        replace(
            pair,
            sample_id=sample_id(INTERLEAVED, draft, pair.images),
            source=INTERLEAVED,
            kind="interleaved",
            turns=said,
            options=(),
            answer=said[1].text,
            answer_type="",
            extra=extra,
        )
    )
    tally.by_source[pair.source] += 1
    tally.licences.add(pair.licence)
    tally.credentialed |= pair.credentialed
    tally.images.update(pair.images)


def write_images(path: Path, samples: Iterable[Artifact], wanted: set[str]) -> None:
    """The lines of the sources' `images.parquet` that the set shows, once each."""
    seen: set[str] = set()
    with open_table(path, of_schema(IMAGE_SCHEMA)) as table:
        for artifact in samples:
            with pq.ParquetFile(artifact.folder / "images.parquet") as found:
                for batch in found.iter_batches(4096):
                    for row in batch.to_pylist():
                        if row["image_id"] in wanted and row["image_id"] not in seen:
                            seen.add(row["image_id"])
                            table.add(row)


def _left(sample: Sample, reason: str, detail: str) -> Left:
    return Left(sample.sample_id, reason, detail, sample.origin.file, sample.origin.row)


def _batches(pairs: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    while batch := list(islice(pairs, size)):
        yield batch
