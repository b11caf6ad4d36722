"""Where one sample or one image came from, and what has seen it, by the files of the store alone.

Looks at every published version, those of other builds too, since a checkpoint that has seen a picture keeps it. What
is behind a whole artifact is `lineage.py`; leaving out is `withdrawal.py`. Reading only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from medmax_pipeline.errors import StoreError
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import MANIFEST, Manifest, read_manifest
from medmax_pipeline.withdrawal import DIGITS, standing

PREFIX_DIGITS: Final = 8
"""Digits of an id that must be given at least."""
OUTSIDE: Final = ("work", "landing", "codes", "sample_corpus")
"""Folders of a store that hold no artifact, or none with samples."""
CURATED: Final = "samples.parquet"
MODELS: Final = ("checkpoint/", "image_tokenizer")

Row = dict[str, Any]


class Version(NamedTuple):
    """One published version of an asset."""

    folder: Path
    manifest: Manifest
    current: bool
    """Whether it is the one in use in this build."""

    @property
    def named(self) -> Row:
        """Its key, fingerprint and whether it is in use."""
        return {"key": self.manifest.key, "fingerprint": self.manifest.fingerprint, "current": self.current}

    def reads(self, suffix: str) -> set[tuple[str, str]]:
        """Its inputs whose key ends so: key and fingerprint."""
        return {(item.key, item.fingerprint) for item in self.manifest.inputs if item.key.endswith(suffix)}


def versions(ledger: Ledger) -> list[Version]:
    """Every published version in the store that holds something, sorted by path."""
    found = []
    for top in sorted(ledger.store.iterdir()):
        if top.name in OUTSIDE or not top.is_dir():
            continue
        for path in sorted(top.rglob(MANIFEST)):
            manifest = read_manifest(path.parent)
            if not manifest.locked:
                current = ledger.current_fingerprint(manifest.key) == manifest.fingerprint
                found.append(Version(path.parent, manifest, current))
    return found


def _rows(path: Path, column: str, values: Iterable[str], columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a Parquet file whose column, or one element of it, is among the values; none where there is no file."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not path.is_file():
        return
    wanted = pa.array(sorted(values), pa.string())
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(65536, columns=list(columns)):
            cells = batch.column(column)
            if pa.types.is_list(cells.type):
                hits = pc.is_in(pc.list_flatten(cells), value_set=wanted)
                numbers = sorted(set(pc.list_parent_indices(cells).filter(hits).to_pylist()))
            else:
                numbers = pc.indices_nonzero(pc.is_in(cells, value_set=wanted)).to_pylist()
            yield from batch.take(pa.array(numbers, pa.int64())).to_pylist()


def whole_id(published: Sequence[Version], what: str, prefix: str) -> str:
    """The full id that begins so.

    Args:
        published: every version in the store.
        what: `image` or `sample`.
        prefix: at least 8 hex digits.

    Raises:
        StoreError: it is too short, no hex digits, or none or several begin so.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not re.fullmatch(f"[0-9a-f]{{{PREFIX_DIGITS},{DIGITS[what]}}}", prefix):
        raise StoreError(
            f"{prefix[:80]!r}: expected {PREFIX_DIGITS} to {DIGITS[what]} hex digits, the beginning of the {what}'s id."
        )
    found: set[str] = set()
    for version in _of(published, "/samples"):
        column = f"{what}_id"
        ids = pq.read_table(version.folder / f"{what}s.parquet", columns=[column])[column]
        found.update(ids.filter(pc.starts_with(ids, prefix)).to_pylist())
    if len(found) != 1:
        some = (
            f"{len(found)} begin so ({', '.join(sorted(found)[:3])}); give more digits" if found else "none begins so"
        )
        raise StoreError(f"{what} {prefix}: {some}. Looked at every published version of every source's samples.")
    return found.pop()


def _of(published: Iterable[Version], suffix: str) -> Iterator[Version]:
    return (version for version in published if version.manifest.key.endswith(suffix))


def _samples(published: Sequence[Version], column: str, values: Iterable[str], known: Iterable[str]) -> list[Row]:
    """The samples that have one of the values, once each, with the versions of their source that hold them."""
    columns = ("sample_id", "source", "split", "kind", "images", "licence", "credentialed", "origin")
    found: dict[str, Row] = {}
    by_name = {(version.manifest.key, version.manifest.fingerprint): version for version in published}
    values, known = list(values), set(known)
    for version in _of(published, "/samples"):
        for row in _rows(version.folder / "samples.parquet", column, values, columns):
            row |= {"withdrawn": not known.isdisjoint([row["sample_id"], *row["images"]]), "held_by": []}
            first = found.setdefault(row["sample_id"], row)
            first["held_by"].append(version.named)
            first["raw"] = [by_name[name].named for name in sorted(version.reads("/raw")) if name in by_name]
    return [found[name] for name in sorted(found)]


def seen_by(published: Sequence[Version], samples: Iterable[str]) -> Row:
    """What has seen these samples: packs, evaluation items and models.

    Args:
        published: every version in the store.
        samples: full sample ids.

    Returns:
        `packs` (a row a sequence: shards, pack, block, tar, sample), `evaluations` (the items asked, by version) and
        `checkpoints` (models made of shards, or tuned on curated samples, that hold one).
    """
    ids = sorted(set(samples))
    packs, evaluations, checkpoints = [], [], []
    shards: set[tuple[str, str]] = set()
    curated = set()
    for version in published:
        key = version.manifest.key
        if key.startswith("shards/"):
            columns = ("sample_id", "shard", "block", "pack")
            for row in _rows(version.folder / "index.parquet", "sample_id", ids, columns):
                packs.append({**version.named, **row})
                shards.add((key, version.manifest.fingerprint))
        elif key.startswith("eval/"):
            rows = _rows(version.folder / "items.parquet", "item_id", ids, ["item_id"])
            asked = sorted({row["item_id"] for row in rows})
            evaluations += [{**version.named, "items": asked}] if asked else []
        elif key.endswith("/curated") and any(_rows(version.folder / CURATED, "sample_id", ids, ["sample_id"])):
            curated.add((key, version.manifest.fingerprint))
    for version in published:
        if version.manifest.key.startswith(MODELS):
            of = sorted(version.reads("") & (shards | curated))
            checkpoints += [{**version.named, "of": ["@".join(name) for name in of]}] if of else []
    return {"packs": packs, "evaluations": evaluations, "checkpoints": checkpoints}


def _mark(ledger: Ledger, name: str) -> Row | None:
    mark = standing(ledger.store).get(name)
    return {"date": mark.date, "reason": mark.reason} if mark else None


def trace_sample(ledger: Ledger, prefix: str) -> Row:
    """A sample down to its row and raw file, and up to what holds it: the object of `medmax lineage --sample --json`.

    Raises:
        StoreError: no or several samples begin so.
    """
    published = versions(ledger)
    name = whole_id(published, "sample", prefix)
    found = _samples(published, "sample_id", [name], standing(ledger.store))
    return {"sample": name, "withdrawn": _mark(ledger, name), "samples": found, **seen_by(published, [name])}


def trace_image(ledger: Ledger, prefix: str) -> Row:
    """Where an image lies and what has seen it: the object of `medmax lineage --image --json`.

    Raises:
        StoreError: no or several images begin so.
    """
    published = versions(ledger)
    name = whole_id(published, "image", prefix)
    places: dict[tuple[str, ...], Row] = {}
    for version in _of(published, "/samples"):
        for row in _rows(
            version.folder / "images.parquet", "image_id", [name], ("image_id", "source", "file", "member")
        ):
            del row["image_id"]
            places.setdefault(tuple(row.values()), {**row, "held_by": []})["held_by"].append(version.named)
    found = _samples(published, "images", [name], standing(ledger.store))
    codes = []
    for version in _of(published, "image_codes"):
        for row in _rows(version.folder / "images.parquet", "image_id", [name], ("image_id", "code_digest")):
            codes.append({**version.named, "code_digest": row["code_digest"]})
    seen = seen_by(published, [row["sample_id"] for row in found])
    return {
        "image": name,
        "withdrawn": _mark(ledger, name),
        "same_pixels": same_pixels(published, [name]),
        "places": list(places.values()),
        "samples": found,
        "codes": codes,
        **seen,
    }


def same_pixels(published: Sequence[Version], images: Iterable[str]) -> list[str]:
    """Ids of other files whose pixels are those of one of the images: a withdrawal does not take them along."""
    given, columns = set(images), ("image_id", "pixel_digest")
    tables = [version.folder / "images.parquet" for version in _of(published, "/samples")]
    pixels = {row["pixel_digest"] for path in tables for row in _rows(path, "image_id", given, columns)}
    equal = {row["image_id"] for path in tables for row in _rows(path, "pixel_digest", pixels, columns)}
    return sorted(equal - given)


def sample_ids(published: Sequence[Version], images: Iterable[str], samples: Iterable[str]) -> list[str]:
    """Ids of the samples that show one of the images, and of the samples named, as far as the store holds them."""
    found = [row["sample_id"] for row in _samples(published, "images", images, ())]
    return sorted({*found, *(row["sample_id"] for row in _samples(published, "sample_id", samples, ()))})


def to_text(found: Row) -> Iterator[str]:
    """A trace for people."""
    what = "image" if "image" in found else "sample"
    yield f"{what} {found[what]}"
    if found["withdrawn"]:
        yield f"  withdrawn {found['withdrawn']['date']}: {found['withdrawn']['reason']}"
    for row in found.get("places", []):
        yield f"  lies in {row['source']}: {'::'.join(part for part in (row['file'], row['member']) if part)}"
    for other in found.get("same_pixels", []):
        yield f"  has the pixels of image {other}, another file"
    for row in found["samples"]:
        yield from _sample_lines(row)
    for row in found.get("codes", []):
        yield f"  codes in {_name(row)}, digest {row['code_digest'][:12]}"
    yield from seen_lines(found)


def _sample_lines(row: Row) -> Iterator[str]:
    origin, flags = row["origin"], ", credentialed" if row["credentialed"] else ""
    gone = ", withdrawn" if row["withdrawn"] else ""
    yield f"  sample {row['sample_id']} of {row['source']}, {row['split']}, {row['kind']}{gone}"
    yield f"    row {origin['row']} of {origin['file']}  sha256 {origin['digest']}  [{row['licence']}{flags}]"
    yield f"    shows {len(row['images'])} images" + "".join(f" {image[:12]}" for image in row["images"])
    for held in (*row["held_by"], *row["raw"]):
        yield f"    in {_name(held)}"


def seen_lines(seen: Row) -> Iterator[str]:
    """What `seen_by` found, for people; says so where nothing has seen anything."""
    for row in seen["packs"]:
        yield f"  pack {row['pack']}, block {row['block']} of {row['shard']} in {_name(row)}: sample {row['sample_id']}"
    for row in seen["evaluations"]:
        yield f"  asked in {_name(row)}: {', '.join(row['items'])}"
    yield from _model_lines(seen)


def _model_lines(seen: Row) -> Iterator[str]:
    for row in seen["checkpoints"]:
        yield f"  seen by {_name(row)}, made of {', '.join(row['of'])}"
    if not (seen["packs"] or seen["evaluations"] or seen["checkpoints"]):
        yield "  no published shards, evaluation or checkpoint has seen it"


def count_lines(seen: Row) -> Iterator[str]:
    """What `seen_by` found, a line a published version: how many samples each holds."""
    packs: dict[str, set[str]] = {}
    for row in seen["packs"]:
        packs.setdefault(_name(row), set()).add(row["sample_id"])
    for name, held in packs.items():
        yield f"  in {name}: {len(held)} of these samples"
    for row in seen["evaluations"]:
        yield f"  asked in {_name(row)}: {len(row['items'])} of these samples"
    yield from _model_lines(seen)


def _name(row: Row) -> str:
    return f"{row['key']} {row['fingerprint'][:12]}" + ("" if row["current"] else " (not in use)")
