"""One picture out of a gzipped tar: by raw's index and its seek points, against a scan from the start."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Claim
from medmax_pipeline.files import DigestCache
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.places import SEEK, Files
from medmax_pipeline.ingest.raw import index_source
from medmax_pipeline.records import picture
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources.record import ExpectedFile

PICTURES = 3_000
PICTURE_BYTES = 40_000
"""120 MB in all; the published archive is 90 GB, where a scan takes as many times longer and a look-up does not."""
WANTED = 20


def claim() -> Claim:
    """CPU seconds to read 20 pictures, drawn at random, each as if it were the only one."""
    landing = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    draw = random.Random(0)
    source = SOURCES["medmax_data"]
    folder = landing / source.folder
    folder.mkdir()
    with tarfile.open(folder / "images.tar.gz", "w:gz", compresslevel=1) as archive:
        for number in range(PICTURES):
            info = tarfile.TarInfo(f"images/{number}.jpg")
            info.size = PICTURE_BYTES
            archive.addfile(info, io.BytesIO(draw.randbytes(PICTURE_BYTES)))
    raw = landing / "raw"
    raw.mkdir()
    files = (ExpectedFile("images.tar.gz", "pictures", pictures=True),)
    index_source(replace(source, files=files), landing, raw, DigestCache(raw / "digests"), lambda line: None)
    index = Index(raw)
    wanted = [f"images/{draw.randrange(PICTURES)}.jpg" for _ in range(WANTED)]
    expected = scan(folder / "images.tar.gz", wanted)

    def by_index() -> None:
        for name in wanted:
            with Files(folder, raw / SEEK) as opened:
                number = index.find(picture(name))
                assert isinstance(number, int)
                assert opened.read(index.place(number), PICTURE_BYTES) == expected[name]

    def by_scan() -> None:
        assert scan(folder / "images.tar.gz", wanted) == expected

    return Claim("20 pictures of 3,000 in a tar.gz", "CPU s", {"tarfile": by_scan, "index": by_index}, rounds=5)


def scan(path: Path, wanted: list[str]) -> dict[str, bytes]:
    """The members of these names, the archive opened anew for each."""
    found = {}
    for name in wanted:
        with tarfile.open(path, "r|gz") as archive:
            for info in archive:
                if info.name == name:
                    member = archive.extractfile(info)
                    assert member is not None
                    found[name] = member.read()
                    break
    return found
