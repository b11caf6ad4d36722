"""What people withdrew: images and samples that the next build leaves out, in one append-only file of the store.

Several builds share the file. Which steps it touches is said here; leaving out belongs to `curation/`,
`tokens/codes.py` and `eval/`, and what had seen a withdrawn picture to `tracing.py`. Nothing that is published changes.

    store/withdrawn.jsonl   a line a mark: {"what": "image", "id": …, "date": …, "reason": …, "undo": false}
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

from medmax_pipeline.errors import ConfigError, StoreError
from medmax_pipeline.files import Json, append_bytes, json_bytes
from medmax_pipeline.records import Sample
from medmax_pipeline.steps import Artifact

FILE: Final = "withdrawn.jsonl"
PARAMETER: Final = "withdrawn"
"""Parameter of a step that leaves something out, and the reason in its drops."""
DIGITS: Final = {"image": 64, "sample": 32}
"""Hex digits of an id."""
LINE_CHARACTERS: Final = 4096
"""Ours: the longest line that is read."""
REASON_CHARACTERS: Final = 1000
"""Ours: the longest reason that is taken."""
LIST_BYTES: Final = 1 << 28
"""Ours: the biggest list of ids, some 4 million images."""

What = Literal["image", "sample"]
Chosen = Callable[[Sample], bool]


class Mark(NamedTuple):
    """One withdrawal, or one taken back."""

    what: What
    id: str
    date: str
    reason: str
    undo: bool = False


class Marks(NamedTuple):
    """Full ids that are withdrawn."""

    images: frozenset[str] = frozenset()
    samples: frozenset[str] = frozenset()


def kind_of(name: str) -> What:
    """Whether a full id is an image's (64 hex digits) or a sample's (32).

    Raises:
        ConfigError: it is neither.
    """
    for what, digits in DIGITS.items():
        if re.fullmatch(f"[0-9a-f]{{{digits}}}", name):
            return cast(What, what)
    raise ConfigError(f"{name[:80]!r}: expected 64 hex digits (an image) or 32 (a sample). Look it up with lineage.")


def read_list(path: Path) -> list[str]:
    """Full ids of a text file, one a line; blank lines and those that begin with # are skipped.

    Raises:
        ConfigError: it cannot be read, is too big, or holds a line that is no id.
    """
    try:
        if path.stat().st_size > LIST_BYTES:
            raise ConfigError(f"{path}: more than {LIST_BYTES:,} bytes; split the list.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as a list of ids ({error}).") from error
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for name in names:
        kind_of(name)
    return names


def mark(store: Path, names: Iterable[str], reason: str, *, undo: bool = False) -> list[Mark]:
    """Add a line for each id whose state it changes; the lines added.

    Args:
        store: root of the store.
        names: full ids.
        reason: why, kept with the date.
        undo: take them back instead.

    Raises:
        ConfigError: no reason is given, or an id is none.
    """
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= REASON_CHARACTERS:
        raise ConfigError(f"a withdrawal needs a reason of 1 to {REASON_CHARACTERS} characters; give --reason.")
    known = standing(store)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    made = [Mark(kind_of(name), name, date, reason, undo) for name in dict.fromkeys(names) if (name in known) == undo]
    if made:
        append_bytes(store / FILE, b"".join(json_bytes(item._asdict()) for item in made))
    return made


def _lines(path: Path) -> Iterator[Mark]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LINE_CHARACTERS), ""), 1):
            try:
                item = Mark(**json.loads(line))
                known = kind_of(item.id) == item.what and isinstance(item.undo, bool)
            except (ValueError, TypeError, ConfigError):
                known = False
            if not known:
                raise StoreError(f"{path}, line {number}: not a mark of `medmax withdraw`. Mend or remove that line.")
            yield item


def standing(store: Path) -> dict[str, Mark]:
    """What is withdrawn now, by id: the last mark of each id counts.

    Raises:
        StoreError: a line of the file is no mark.
    """
    last = {item.id: item for item in _lines(store / FILE)}
    return {name: item for name, item in last.items() if not item.undo}


def marks(store: Path) -> Marks:
    """The ids that are withdrawn now."""
    found = standing(store).values()
    return Marks(*(frozenset(item.id for item in found if item.what == what) for what in DIGITS))


@lru_cache(maxsize=64)
def held(folder: Path, wanted: Marks, split: str, chosen: Chosen | None = None) -> Mapping[str, str]:
    """Samples of a published folder that are withdrawn: why, by sample id (`image <id>` or `sample`).

    Args:
        folder: published samples, which never change.
        wanted: what is withdrawn.
        split: `train` or `eval`.
        chosen: says which samples the step reads; None: all of the split.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from medmax_pipeline.arrow import sample_from_row

    found: dict[str, str] = {}
    images, samples = (pa.array(sorted(ids), pa.string()) for ids in wanted)
    with pq.ParquetFile(folder / "samples.parquet") as table:
        for batch in table.iter_batches(65536, columns=["sample_id", "split", "images"] if chosen is None else None):
            shown = batch.column("images")
            hits = pc.is_in(pc.list_flatten(shown), value_set=images)
            rows = set(pc.list_parent_indices(shown).filter(hits).to_pylist())
            named = pc.indices_nonzero(pc.is_in(batch.column("sample_id"), value_set=samples)).to_pylist()
            for row in batch.take(pa.array(sorted(rows.union(named)), pa.int64())).to_pylist():
                if row["split"] == split and (chosen is None or chosen(sample_from_row(row))):
                    first = next((image for image in row["images"] if image in wanted.images), None)
                    found[row["sample_id"]] = f"image {first}" if first else "sample"
    return found


def parameters(store: Path, inputs: Iterable[Artifact], split: str, chosen: Chosen | None = None) -> dict[str, Json]:
    """The parameter of a step that reads these samples: what of theirs is withdrawn; empty where nothing is.

    Args:
        store: root of the store.
        inputs: published `<source>/samples`.
        split: which of their samples the step reads.
        chosen: says which samples the step reads; None: all of the split.
    """
    wanted = marks(store)
    if not any(wanted):
        return {}
    images: set[str] = set()
    samples: set[str] = set()
    for artifact in inputs:
        if not artifact.locked:
            for name, why in held(artifact.folder, wanted, split, chosen).items():
                _, _, image = why.partition(" ")
                (images if image else samples).add(image or name)
    found: dict[str, Json] = {"images": [*sorted(images)], "samples": [*sorted(samples)]}
    return {PARAMETER: found} if images or samples else {}


def of_parameters(params: Mapping[str, Json]) -> Marks:
    """The ids that a step's parameters name."""
    found = cast(Mapping[str, Sequence[str]], params.get(PARAMETER) or {})
    return Marks(frozenset(found.get("images", ())), frozenset(found.get("samples", ())))


def left_out(folder: Path, params: Mapping[str, Json], split: str, chosen: Chosen | None = None) -> Mapping[str, str]:
    """Samples of a published folder that a step of these parameters leaves out, as `held` names them."""
    wanted = of_parameters(params)
    return held(folder, wanted, split, chosen) if any(wanted) else {}


def words(before: Mapping[str, Json], now: Mapping[str, Json]) -> str:
    """What changed between two sets of parameters: `2 images withdrawn, 1 sample taken back`."""
    old, new = of_parameters(before), of_parameters(now)
    told = []
    for what, had, has in zip(DIGITS, old, new, strict=True):
        for count, became in ((len(has - had), "withdrawn"), (len(had - has), "taken back")):
            if count:
                told.append(f"{count} {what}{'s' if count > 1 else ''} {became}")
    return ", ".join(told)
