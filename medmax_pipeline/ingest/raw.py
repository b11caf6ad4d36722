"""Verified bytes as the publisher ships them: which files there are, with digests, and what is inside archives.

Nothing is copied or unpacked. Members that must not be read are listed apart with their reason; what rows and pictures
hold belongs to `samples.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa

from medmax_pipeline.arrow import left_to_table
from medmax_pipeline.files import DigestCache, write_table
from medmax_pipeline.ingest.archives import is_archive, list_members, open_zip
from medmax_pipeline.ingest.landing import scan
from medmax_pipeline.ingest.tables import of_schema, open_table
from medmax_pipeline.manifest import External
from medmax_pipeline.records import Counts, Left
from medmax_pipeline.sources.record import Source
from medmax_pipeline.steps import Outcome

MEMBERS: Final = "members.parquet"
QUARANTINE: Final = "quarantine.parquet"
MEMBER_SCHEMA: Final = pa.schema([("file", pa.string()), ("member", pa.string()), ("bytes", pa.int64())])
"""One line a loose file (no member) or a readable member of an archive, sorted by file, members in their order."""


def list_external(source: Source, landing: Path, digests: DigestCache) -> tuple[External, ...]:
    """Every expected file with its digest; unchanged files are not read again.

    Args:
        source: the source's record.
        landing: root of the landing folders.
        digests: the store's cache.
    """
    folder = landing / source.key
    return tuple(
        External(f"{source.key}/{file.name}", digests.sha256(folder / file.name), file.bytes, source.licence.name)
        for file in scan(folder, source.files).expected
    )


def index_source(source: Source, landing: Path, out: Path, log: Callable[[str], None]) -> Outcome:
    """Write the index of a landing folder.

    Returns:
        counts in files: members of archives and loose files.

    Raises:
        ArchiveError: an archive cannot be read or trusted as a whole; the message names it.
    """
    folder = landing / source.key
    found = scan(folder, source.files)
    refused: list[Left] = []
    archives = 0
    with open_table(out / MEMBERS, of_schema(MEMBER_SCHEMA)) as table:
        for file in found.expected:
            if not is_archive(file.name):
                table.add({"file": file.name, "member": "", "bytes": file.bytes})
                continue
            archives += 1
            with open_zip(folder / file.name) as archive:
                for member in list_members(archive):
                    if member.fault:
                        refused.append(Left(member.name, member.fault, file=file.name))
                    else:
                        table.add({"file": file.name, "member": member.name, "bytes": member.bytes})
    write_table(out / QUARANTINE, left_to_table(refused))
    if refused:
        log(f"{source.key}: {len(refused)} members of archives are not read, the first is {refused[0].unit!r}")
    return Outcome(
        counts=Counts(
            taken=table.written + len(refused),
            kept=table.written,
            quarantined=dict(sorted(Counter(item.reason for item in refused).items())),
        ),
        licences=(source.licence.name,),
        credentialed=source.credentialed,
        revision=source.access.revision,
        summary={
            "files": len(found.expected),
            "archives": archives,
            "bytes": sum(file.bytes for file in found.expected),
            "unexpected_files": found.unexpected,
        },
    )
