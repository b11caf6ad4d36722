"""Laying a source's files out in its landing folder: once, and never over what somebody changed there.

A source module hands over a `Tree` (files in memory and what was placed where); this module writes it. The marker
`.layout.json` remembers which layout lies there and the digest of every file that was laid. What the files hold is
decided in the source modules.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from medmax_pipeline.files import digest_of, inside, read_json, sha256_bytes, sha256_file, write_bytes, write_json
from medmax_pipeline.records import Split
from medmax_pipeline.sample import LAYOUT_VERSION
from medmax_pipeline.sample.packaged import package_version
from medmax_pipeline.sample.pictures import Flag, Picture

MARKER: Final = ".layout.json"
JPEG_QUALITY: Final = 95
ZIP_DATE: Final = (2020, 1, 1, 0, 0, 0)
ROWS_A_GROUP: Final = 4
"""Ours: more than one row group even in a table of a few rows."""
HUB_PICTURE: Final = pa.struct({"bytes": pa.binary(), "path": pa.string()})
OURS: Final = "Apache-2.0"
"""Licence of what the generator draws: the project's own."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One picture in a landing folder: where its bytes lie and where its pixels come from."""

    source: str
    """Name of the landing folder."""
    file: str
    member: str
    image_id: str
    """sha256 of the bytes."""
    package: str
    """Empty where the picture is drawn."""
    version: str
    path: str
    package_sha256: str
    licence: str
    licence_class: str
    image_flag: Flag
    text_flag: str
    """`template`: filled-in sentences; `synthetic`: an invented report."""
    group: str
    split: Split
    """Side of the publisher's own split on which it was placed."""
    planted: str
    """`leak` or `near_leak` for an evaluation picture put into training, `twin` for one that lies in two sources,
    `chart` for a statistical figure."""
    name: str


@dataclass(slots=True)
class Tree:
    """The files of one landing folder, in memory, and the pictures among them."""

    source: str
    """Name of the landing folder."""
    files: dict[str, bytes] = field(default_factory=dict)
    placed: list[Placed] = field(default_factory=list)

    def place(
        self,
        picture: Picture,
        data: bytes,
        file: str,
        *,
        member: str = "",
        split: Split | None = None,
        planted: str = "",
        text_flag: str = "template",
    ) -> None:
        """Note a picture; its bytes join the tree unless they are a member of an archive."""
        if not member:
            self.files[file] = data
        origin = picture.source
        self.placed.append(
            Placed(
                self.source,
                file,
                member,
                sha256_bytes(data),
                origin.package if origin else "",
                (package_version(origin.package) or "") if origin else "",
                origin.path if origin else "",
                origin.sha256 if origin else "",
                origin.licence if origin else OURS,
                origin.licence_class if origin else "A",
                picture.flag,
                text_flag,
                picture.group,
                split or picture.split,
                planted,
                picture.name,
            )
        )


def jpeg(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """The picture as JPEG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """The picture as PNG bytes, whatever its mode."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive of stored members, sorted, with a fixed date: the same members give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def gzipped(text: str) -> bytes:
    """UTF-8 text, gzipped without a date."""
    return gzip.compress(text.encode(), mtime=0)


def parquet(columns: Mapping[str, Sequence[Any]], pictures: str = "image") -> bytes:
    """A Parquet table as the hub writes one, in row groups of `ROWS_A_GROUP`.

    Args:
        columns: values by name, as many each.
        pictures: name of the column of pictures' bytes (or None), which becomes a struct of bytes and path and the
            first column; a table may have none.
    """
    arrays = {name: pa.array(values) for name, values in columns.items() if name != pictures}
    embedded = [item and {"bytes": item, "path": None} for item in columns.get(pictures, ())]
    if embedded:
        arrays = {pictures: pa.array(embedded, HUB_PICTURE), **arrays}
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer, row_group_size=ROWS_A_GROUP)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes]) -> bytes:
    """A tar archive of files, sorted, without date or owner: the same members give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            archive.addfile(info, io.BytesIO(members[name]))
    return buffer.getvalue()


def tar_gzipped(members: Mapping[str, bytes]) -> bytes:
    """As `tarred`, gzipped without a date."""
    return gzip.compress(tarred(members), mtime=0)


def split_parts(name: str, data: bytes, sizes: Sequence[int]) -> dict[str, bytes]:
    """One file as the pieces `name.aa`, `name.ab`, ...: of these sizes in bytes, and a last one with the rest.

    At most 26 pieces; their bytes in the order of their names are `data`.
    """
    edges = [0, *accumulate(sizes), len(data)]
    assert edges == sorted(edges), f"{sizes} do not cut {len(data)} bytes"
    assert len(sizes) < len(ascii_lowercase)
    return {
        f"{name}.a{letter}": data[start:end]
        for letter, (start, end) in zip(ascii_lowercase, pairwise(edges), strict=False)
    }


def layout_key(package_digests: Sequence[str]) -> str:
    """Identity of a layout: its version and the package files that it is made of."""
    return digest_of([LAYOUT_VERSION, sorted(package_digests)])


def is_laid_out(folder: Path, key: str) -> bool:
    """Whether this very layout was laid out here to the end."""
    marker = folder / MARKER
    if not marker.exists():
        return False
    known = read_json(marker)
    return bool(known.get("complete")) and known.get("key") == key


def write_tree(folder: Path, tree: Tree, key: str, log: Callable[[str], None]) -> None:
    """Write what is not there yet; leave alone what somebody changed or put there.

    A finished layout of the same key is not touched at all, not even where files were taken away. A folder that holds
    files but no marker is somebody's own data and is not touched either.
    """
    if is_laid_out(folder, key):
        log(f"{tree.source}: laid out already")
        return
    marker = folder / MARKER
    if not marker.exists() and folder.exists() and any(folder.iterdir()):
        log(f"{tree.source}: {folder} holds files that are not ours; the sample is not laid out there")
        return
    before: dict[str, str] = read_json(marker)["files"] if marker.exists() else {}
    after = {name: sha256_bytes(data) for name, data in tree.files.items()}
    write_json(marker, {"key": key, "complete": False, "files": before})
    for name, data in sorted(tree.files.items()):
        path = inside(folder, name)
        found = sha256_file(path) if path.exists() else None
        if found in (None, before.get(name)):
            write_bytes(path, data)
        elif found != after[name]:
            log(f"{tree.source}: {name} was changed by hand and is kept")
    for name in sorted(before.keys() - after.keys()):
        path = inside(folder, name)
        if path.exists() and sha256_file(path) == before[name]:
            path.unlink()
    write_json(marker, {"key": key, "complete": True, "files": after})
