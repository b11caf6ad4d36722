"""Archives for tests, whole and hostile, and a record that expects them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.files import DigestCache
from medmax_pipeline.ingest.raw import index_source
from medmax_pipeline.sources.record import Access, Count, ExpectedFile, Licence, RowFiles, Source
from medmax_pipeline.steps import Outcome

Entry = tuple[str | tarfile.TarInfo, bytes]


def tar_bytes(members: Mapping[str, bytes] | Iterable[Entry], packing: Literal["", "gz"] = "", **options: Any) -> bytes:
    """A tar of these members, gzipped with `packing="gz"`."""
    entries = members.items() if isinstance(members, Mapping) else members
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if packing else "w", **options) as archive:
        for named, data in entries:
            info = tarfile.TarInfo(named) if isinstance(named, str) else named
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_entry(name: str, **changes: Any) -> tarfile.TarInfo:
    """A tar's header with some fields changed."""
    info = tarfile.TarInfo(name)
    for field, value in changes.items():
        setattr(info, field, value)
    return info


def cut(folder: Path, name: str, data: bytes, pieces: int) -> list[Path]:
    """`name.aa`, `name.ab`, … of about equal length."""
    size = -(-len(data) // pieces)
    paths = [folder / f"{name}.a{'abcdefgh'[number]}" for number in range(pieces)]
    for number, path in enumerate(paths):
        path.write_bytes(data[number * size : (number + 1) * size])
    return paths


def _no_rows(files: RowFiles) -> Any:
    raise NotImplementedError


def record(*files: ExpectedFile, **changes: Any) -> Source:
    """A source of these files that is only listed, never adapted."""
    fields: dict[str, Any] = {
        "key": "packed",
        "title": "Packed",
        "access": Access(kind="manual", page="https://example.org/data", how="Ask for the files."),
        "licence": Licence("CC0-1.0", "https://example.org/terms", "2025-01-01, its page"),
        "credentialed": False,
        "files": files,
        "row_count": Count(None, "not published"),
        "image_count": Count(None, "not published"),
        "split_rule": "none",
        "rows": _no_rows,
        "adapt": _no_rows,
        "example": {},
    }
    return Source(**fields | changes)


def index(landing: Path, raw: Path, *files: ExpectedFile) -> Outcome:
    """Raw's tables in `raw` over `landing/packed/`."""
    raw.mkdir(exist_ok=True)
    return index_source(record(*files), landing, raw, DigestCache(raw / "digests"), lambda line: None)
