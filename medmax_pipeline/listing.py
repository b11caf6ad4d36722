"""How every source and every record of published weights stands on this machine: what `medmax sources` tells.

Looks at the landing folders themselves, by names and sizes, so that it is right before any build has run; nothing is
hashed and nobody is asked over the network. Fetching and reading belong to `ingest/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from medmax_pipeline.config import Settings
from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.files import decimal_size
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.published import PUBLISHED, PublishedWeights
from medmax_pipeline.planning import Volume, joined, volume
from medmax_pipeline.sources import SOURCES, source
from medmax_pipeline.sources.record import Count, ExpectedFile, Licence, Publisher, Source
from medmax_pipeline.steps import Pending

State = Literal["unlocked", "ready to fetch", "laid out by the build", "locked"]
ACCESS = {"hub": "hub", "url": "url", "manual": "by hand"}


class Standing(NamedTuple):
    """One record as it stands here."""

    record: Source | PublishedWeights
    section: Literal["source", "weights"]
    in_build: bool
    variant: str
    state: State
    lock: Lock | None
    """Why it cannot be read now, and what would help; also where its files could be fetched."""
    missing: tuple[ExpectedFile, ...]
    """Required files that are absent and that a build does not fetch; of a group all."""
    found: int
    """Expected files that are there."""
    found_bytes: int
    fetch: Volume | None
    """What is not there and comes over the network."""
    fetchable: bool
    """Whether a build here can fetch it."""
    revision: str
    """Commit of the fetched files, else the one that is pinned, else the branch."""
    samples: int | None
    """Samples that the build in use keeps of it."""

    @property
    def access(self) -> str:
        """How the files come, in two words."""
        access = self.record.access
        return f"{ACCESS[access.kind]}, gated" if access.gated else ACCESS[access.kind]


def standings(settings: Settings, ledger: Ledger) -> Iterator[Standing]:
    """Every source, then all weights, each as it stands here."""
    build = settings.build
    for key in SOURCES:
        variant = build.variants.get(key, "")
        record = source(key, variant)
        laid = build.corpus == "sample" and key in build.sources
        samples = ledger.current(f"{key}/samples")
        kept = samples.manifest.counts.kept if samples is not None and not samples.locked else None
        yield _standing(settings, record, "source", key in build.sources, variant, laid)._replace(samples=kept)
    named = (build.image_tokenizer, build.text_tokenizer, build.base_model, build.similarity_model)
    used = {weights.record for weights in named if weights is not None}
    for weights in PUBLISHED.values():
        yield _standing(settings, weights, "weights", weights.key in used, "", laid=False)


def _standing(
    settings: Settings,
    record: Source | PublishedWeights,
    section: Literal["source", "weights"],
    in_build: bool,
    variant: str,
    laid: bool,
) -> Standing:
    from medmax_pipeline.ingest import fetch

    pin = settings.build.pins.get(record.key, "")
    landing = settings.landing
    try:
        here = fetch.held(record, landing)
        pending = None if laid else fetch.pending(record, landing, pin)
        lock = _lock(record, settings, pin)
        revision = fetch.fetched_commit(record, landing) or fetch.commit_of(record, landing, pin)
    except MedmaxError as error:  # a link out of the folder, a torn pin
        fault = Lock(str(error), "Mend the landing folder.")
        return Standing(record, section, in_build, variant, "locked", fault, (), 0, 0, None, False, pin, None)
    return Standing(
        record,
        section,
        in_build,
        variant,
        _state(lock, pending, laid),
        joined(pending.lock if pending is not None else None, lock),
        here.required if pending is None or pending.lock is not None else fetch.by_hand(record, here),
        len(here.names),
        here.bytes,
        volume(pending.files) if pending is not None else None,
        pending is not None and pending.lock is None,
        revision or record.access.revision,
        None,
    )


def _lock(record: Publisher, settings: Settings, pin: str) -> Lock | None:
    from medmax_pipeline.ingest import fetch
    from medmax_pipeline.ingest.landing import find_lock

    return find_lock(record, settings.landing) or fetch.pin_conflict(record, settings.landing, pin)


def _state(lock: Lock | None, pending: Pending | None, laid: bool) -> State:
    if pending is not None:
        return "ready to fetch" if pending.lock is None and not pending.missing else "locked"
    if lock is None:
        return "unlocked"
    return "laid out by the build" if laid else "locked"


def to_json(item: Standing) -> dict[str, Any]:
    """One line of `medmax sources --json`."""
    record = item.record
    rows = record.row_count if isinstance(record, Source) else Count(None, "")
    pictures = record.image_count if isinstance(record, Source) else Count(None, "")
    return {
        "key": record.key,
        "section": item.section,
        "title": record.title,
        "in_build": item.in_build,
        "variant": item.variant,
        "state": item.state,
        "reason": item.lock.reason if item.lock is not None else "",
        "cure": item.lock.cure if item.lock is not None else "",
        "access": record.access.kind,
        "gated": record.access.gated,
        "page": record.access.page,
        "how": record.access.how,
        "repo": record.access.repo,
        "revision": item.revision,
        "licence": record.licence.name,
        "licence_page": record.licence.page,
        "licence_read": record.licence.read,
        "credentialed": isinstance(record, Source) and record.credentialed,
        "folder": record.folder,
        "expected": [
            {
                "path": file.path,
                "note": file.note,
                "bytes": file.bytes,
                "optional": file.optional,
                "group": file.group,
                "by_hand": file.by_hand,
            }
            for file in record.files
        ],
        "missing": [file.path for file in item.missing],
        "found_files": item.found,
        "found_bytes": item.found_bytes,
        "fetch_files": item.fetch.files if item.fetch is not None else 0,
        "fetch_bytes": item.fetch.bytes if item.fetch is not None else 0,
        "fetch_unsized": item.fetch.unsized if item.fetch is not None else 0,
        "rows": rows.value,
        "rows_origin": rows.origin,
        "pictures": pictures.value,
        "pictures_origin": pictures.origin,
        "samples": item.samples,
    }


def to_text(items: list[Standing]) -> Iterator[str]:
    """The table of `medmax sources`, a line or more a record."""
    width = max(len(item.record.key) for item in items) + 2
    for section, title in (("source", "SOURCES"), ("weights", "WEIGHTS")):
        yield f"{title:<{width}}{'state':<23}{'access':<15}{'licence':<30}{'rows':>12}{'samples':>12}"
        for item in items:
            if item.section == section:
                yield from _lines(item, width)
        yield ""


def _lines(item: Standing, width: int) -> Iterator[str]:
    from medmax_pipeline.ingest.fetch import in_words

    record, indent = item.record, " " * width
    rows = record.row_count.value if isinstance(record, Source) else None
    flag = " (credentialed)" if isinstance(record, Source) and record.credentialed else ""
    yield (
        f"{record.key:<{width}}{item.state:<23}{item.access:<15}{record.licence.name + flag:<30}"
        f"{'' if rows is None else f'{rows:,}':>12}{'' if item.samples is None else f'{item.samples:,}':>12}"
    )
    if item.found:
        yield f"{indent}found: {item.found:,} files, {decimal_size(item.found_bytes)}, in {record.folder}/"
    if item.fetch is not None and item.fetchable:
        by = "" if item.in_build else ", by a build that names it"
        yield f"{indent}would be fetched: {item.fetch.words} of {record.access.repo or record.access.page}{by}"
    if item.state == "locked" and item.lock is not None:
        yield f"{indent}missing: {in_words(item.missing)}" if item.missing else f"{indent}locked: {item.lock.reason}"
        yield f"{indent}to unlock: {item.lock.cure}"
    yield f"{indent}{record.access.page}; licence read {record.licence.read}"


def pins(items: list[Standing]) -> Iterator[str]:
    """The `[pins]` table of a build's file: what is pinned on this machine."""
    yield "[pins]"
    for item in items:
        if item.record.access.kind == "hub" and len(item.revision) == 40:
            yield f'{item.record.key} = "{item.revision}"'


DOCS_HEAD = """# Sources and weights

Printed from the records by `medmax sources --docs`; do not edit. What stands where on your machine is told by
`medmax sources`, as a table, with `--json` for machines.

Each has a folder below `$MEDMAX_LANDING` (default `landing/`). `hub` and `url`: a build fetches the files there, unless
they are there already; a gated repository needs `HF_TOKEN` of somebody who accepted its terms. `by hand`: you place the
files, packed as they come. What is missing locks that source and nothing else.
"""


def docs() -> Iterator[str]:
    """The text of `docs/sources.md`."""
    yield DOCS_HEAD
    yield "| source | folder | access | licence | credentialed | rows | split |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for record in SOURCES.values():
        rows = "not published" if record.row_count.value is None else f"{record.row_count.value:,}"
        yield (
            f"| [{record.title}](#{record.key}) | `{record.folder}/` | {_access(record)} | "
            f"{record.licence.name} | {'yes' if record.credentialed else 'no'} | {rows} | {_cell(record.split_rule)} |"
        )
    yield "\n| weights | folder | access | licence | what |\n| --- | --- | --- | --- | --- |"
    for weights in PUBLISHED.values():
        yield (
            f"| [{weights.title}](#{weights.key}) | `{weights.folder}/` | {_access(weights)} | "
            f"{weights.licence.name} | {_cell(weights.what)} |"
        )
    for record in SOURCES.values():
        yield from _chapter(record)
        yield f"\nRows: {_count(record.row_count)}. Pictures: {_count(record.image_count)}."
        if record.variants:
            yield f"Variants for a build's `[variants]`: {', '.join(f'`{name}`' for name in record.variants)}."
    for weights in PUBLISHED.values():
        yield from _chapter(weights)


def _chapter(record: Source | PublishedWeights) -> Iterator[str]:
    licence: Licence = record.licence
    yield f"\n## {record.key}\n"
    yield f"{record.title}: <{record.access.page}>. {record.access.how}"
    yield f"Licence: {licence.name}, <{licence.page}>, read {licence.read}.\n"
    for file in record.files:
        words = [file.note]
        if file.bytes is not None:
            words.append(decimal_size(file.bytes))
        if file.optional:
            words.append("optional")
        if file.group:
            words.append(f"one of group {file.group}")
        if file.by_hand:
            words.append("by hand")
        yield f"- `{record.folder}/{file.path}`: {_cell(', '.join(words))}"


def _access(record: Publisher) -> str:
    access = record.access
    gated = ", gated" if access.gated else ""
    return f"{ACCESS[access.kind]}{gated} ([page]({access.page}))"


def _cell(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _count(count: Count) -> str:
    return count.origin if count.value is None else f"{count.value:,} ({count.origin})"
