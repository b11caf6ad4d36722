"""Opening pictures for the samples, against a plain loop that finds the same things: bytes, pixels, perceptual hash."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import Claim
from medmax_pipeline.files import DigestCache
from medmax_pipeline.ingest.described import CHUNKS, Described
from medmax_pipeline.ingest.images import Probe
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.phash import perceptual_hash
from medmax_pipeline.ingest.pictures import Prober
from medmax_pipeline.ingest.places import Files
from medmax_pipeline.ingest.raw import index_source
from medmax_pipeline.sources import source

FIGURES = 90
"""Of 600 x 450, as JPEG; one in six as PNG."""
RADIOGRAPHS = 6
"""Grey, of 2000 x 2500, as JPEG."""


def draw(folder: Path) -> Path:
    """A landing folder of PMC-OA whose archive holds the pictures."""
    noise = np.random.default_rng(0)
    source_folder = folder / "pmc_oa"
    source_folder.mkdir()
    (source_folder / "pmc_oa.jsonl").write_text("{}\n")
    with zipfile.ZipFile(source_folder / "images.zip", "w") as archive:
        for number in range(FIGURES + RADIOGRAPHS):
            grey = number >= FIGURES
            coarse = noise.integers(0, 255, (75, 60) if grey else (45, 60, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((2000, 2500) if grey else (600, 450))
            buffer = io.BytesIO()
            picture.save(buffer, "PNG" if number % 6 == 0 and not grey else "JPEG")
            archive.writestr(f"PMC{number}_Fig1_1.jpg", buffer.getvalue())
    return source_folder


def plain(archive: Path) -> list[tuple[str, str, int]]:
    """The loop that one would write: image id, pixel digest and hash of each picture."""
    found = []
    with zipfile.ZipFile(archive) as members:
        for name in members.namelist():
            data = members.read(name)
            with Image.open(io.BytesIO(data)) as image:
                picture = image.convert("RGB")
            pixels = hashlib.sha256(f"RGB {picture.width} {picture.height}\n".encode() + picture.tobytes())
            found.append((hashlib.sha256(data).hexdigest(), pixels.hexdigest(), perceptual_hash(picture)))
    return found


def claim() -> Claim:
    """CPU seconds, all threads together, for the pictures of one archive."""
    folder = Path(tempfile.mkdtemp(prefix="medmax-bench-"))
    landing = draw(folder)
    raw, work = folder / "raw", folder / "work"
    raw.mkdir()
    work.mkdir()
    index_source(source("pmc_oa"), folder, raw, DigestCache(folder / "digests"), lambda line: None)
    index = Index(raw)
    numbers = np.array([at for at in range(len(index)) if index.place(at).kind == "zip"], np.int64)

    def ours() -> list[tuple[str, str, int]]:
        for path in work.glob(CHUNKS):
            path.unlink()
        described = Described(numbers)
        with Files(landing, None) as files:
            Prober(index, files, {}).complete(described, work, "pmc_oa", lambda line: None)
        probes = [described[int(number)] for number in numbers]
        return [(each.image_id, each.pixel_digest, int(each.phash, 16)) for each in probes if isinstance(each, Probe)]

    archive = landing / "images.zip"
    assert ours() == plain(archive)
    return Claim(
        f"Opening {FIGURES} figures and {RADIOGRAPHS} radiographs in an archive",
        "CPU s",
        {"plain loop": lambda: plain(archive), "ingest.pictures": ours},
    )
