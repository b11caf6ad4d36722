"""The search for changed copies of evaluation pictures over published samples: real, planted and decoys, with pictures.

Joins `gathered.py`, `copies.py` and `planted.py`; rules stand there.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation import planted
from medmax_pipeline.curation.columns import IMAGES
from medmax_pipeline.curation.copies import Copy, Looked, Searched
from medmax_pipeline.curation.gathered import Pictures, gather
from medmax_pipeline.curation.nearness import Nearer
from medmax_pipeline.files import sha256_bytes, write_bytes
from medmax_pipeline.ingest.images import opened_flat, probe
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.steps import Run

PAIR_SCHEMA: Final = pa.schema(
    [
        ("eval_image", pa.string()),
        ("eval_source", pa.string()),
        ("train_image", pa.string()),
        ("train_source", pa.string()),
        ("verdict", pa.string()),
        ("change", pa.string()),
        ("hash_bits", pa.int32()),
        ("detail", pa.float64()),
        ("tone", pa.float64()),
    ]
)
"""One line a pair of pictures that was looked at and found a `copy`, or alike without being one (`neighbour`)."""
PLANTED_SCHEMA: Final = pa.schema(
    [("kind", pa.string()), ("image_id", pa.string()), ("found", pa.bool_()), ("detail", pa.float64())]
)
SHOWN_PAIRS: Final = 12
SHOWN_PX: Final = 128


class Proof(NamedTuple):
    """How well the search found planted copies, and whom decoys accused."""

    rows: list[dict[str, Any]]
    """Rows of `PLANTED_SCHEMA`."""
    found: dict[str, tuple[int, int]]
    """Of each kind, copies found and planted."""
    decoys: int
    wronged: int
    """Training pictures that a decoy accused."""
    accused: float
    """Share of unrelated training pictures that all evaluation pictures would accuse, by the decoys."""


class Search:
    """One search; holds the small copies that were made for it."""

    def __init__(self, ctx: Run, folders: Mapping[str, Path], limits: Nearness) -> None:
        """Args:
        ctx: the step.
        folders: published samples of each source.
        limits: of the build.
        """
        self.pictures: Pictures = gather(folders)
        self._limits = limits
        self._reader = ImageReader(ctx.landing, [folder / IMAGES for folder in folders.values()])
        self._made: dict[str, bytes] = {}
        self._rank: dict[str, int] = {}
        ctx.work.mkdir(parents=True, exist_ok=True)
        self._nearer = Nearer(self._read, self._order, ctx.work, limits)
        self._train = np.flatnonzero(self.pictures.train)
        self._evaluated = np.flatnonzero(self.pictures.evaluated)
        self._searched = Searched(self._looked(self._train), self.pictures.hashes[self._train], self._nearer, limits)

    def close(self) -> None:
        """Close every archive."""
        self._reader.close()

    def _read(self, image_id: str) -> bytes:
        return self._made[image_id] if image_id in self._made else self._reader.read(image_id)

    def _order(self, wanted: set[str]) -> Iterable[str]:
        """Pictures as they lie in their archives; what was made here first."""
        if not self._rank:
            self._rank = {image_id: number for number, image_id in enumerate(self._reader)}
        return sorted(wanted, key=lambda image_id: (self._rank.get(image_id, -1), image_id))

    def _looked(self, numbers: npt.NDArray[np.int64]) -> Looked:
        pictures = self.pictures
        ids = [pictures.id(number) for number in numbers.tolist()]
        return Looked(ids, pictures.width[numbers].astype(np.int64), pictures.height[numbers].astype(np.int64))

    def pairs(self) -> list[dict[str, Any]]:
        """Every pair of an evaluation and a training picture of other pixels that is a copy or alike."""
        pictures, found = self.pictures, []
        for copy in self._searched.near(self._looked(self._evaluated)):
            first, second = int(self._evaluated[copy.first]), int(self._train[copy.second])
            if pictures.pixels[first] != pictures.pixels[second]:
                values = (
                    pictures.id(first),
                    pictures.sources[int(pictures.source[first])],
                    pictures.id(second),
                    pictures.sources[int(pictures.source[second])],
                    "copy" if copy.accused else "neighbour",
                    *(copy.change, copy.bits, copy.detail, copy.tone),
                )
                found.append(dict(zip(PAIR_SCHEMA.names, values, strict=True)))
        return found

    def prove(self, chosen: Sequence[str]) -> Proof:
        """Search for planted copies of the chosen evaluation pictures, and with decoys.

        Args:
            chosen: image ids.
        """
        copies = [copy for image_id in chosen for copy in planted.copies(image_id, self._reader.read(image_id))]
        best = self._find(copies, sorted({copy.image_id for copy in copies}))
        rows = []
        for place, copy in enumerate(copies):
            hit = best.get(place)
            rows.append(
                {
                    "kind": copy.kind,
                    "image_id": copy.image_id,
                    "found": hit is not None,
                    "detail": hit.detail if hit else 0.0,
                }
            )
        planted_of, found_of = (
            Counter(row["kind"] for row in rows),
            Counter(row["kind"] for row in rows if row["found"]),
        )
        found = {kind: (found_of[kind], planted_of[kind]) for kind in planted.KINDS}
        decoys = self._decoys()
        wronged = {copy.second for copy in self._searched.near(decoys) if copy.accused}
        share = len(wronged) / max(len(self._train), 1) * len(self._evaluated) / max(len(decoys.ids), 1)
        return Proof(rows, found, len(decoys.ids), len(wronged), round(share, 6))

    def _find(self, copies: Sequence[planted.PlantedCopy], originals: Sequence[str]) -> dict[int, Copy]:
        """The planted copies that were accused of showing their own original, by place."""
        if not copies:
            return {}
        probes = [probe(copy.data) for copy in copies]
        self._made |= {seen.image_id: copy.data for seen, copy in zip(probes, copies, strict=True)}
        sides = ([seen.width for seen in probes], [seen.height for seen in probes])
        looked = Looked([seen.image_id for seen in probes], *(np.array(side, np.int64) for side in sides))
        hashes = np.array([int(seen.phash, 16) for seen in probes], np.uint64)
        sought = self._looked(self.pictures.number(originals))
        found = {}
        for copy in Searched(looked, hashes, self._nearer, self._limits).near(sought, crowded=False):
            if copy.accused and copies[copy.second].image_id == originals[copy.first]:
                found[copy.second] = copy
        return found

    def _decoys(self) -> Looked:
        """Some evaluation pictures, bent."""
        step = max(1, len(self._evaluated) // planted.DECOYS)
        ids, sizes = [], []
        for number in self._evaluated[::step][: planted.DECOYS].tolist():
            image_id = self.pictures.id(number)
            data = planted.decoy(image_id, self._reader.read(image_id))
            if data is not None:
                ids.append(sha256_bytes(data))
                self._made[ids[-1]] = data
                sizes.append((int(self.pictures.width[number]), int(self.pictures.height[number])))
        columns = np.array(sizes, np.int64).reshape(-1, 2)
        return Looked(ids, columns[:, 0], columns[:, 1])

    def show(self, pairs: Sequence[tuple[str, str]], path: Path) -> None:
        """A sheet of pairs side by side, the evaluation picture at the left; none with a credentialed picture."""
        numbers = [self.pictures.number(pair) for pair in pairs]
        open_pairs = [
            pair for pair, both in zip(pairs, numbers, strict=True) if not self.pictures.credentialed[both].any()
        ][:SHOWN_PAIRS]
        if not open_pairs:
            return
        sheet = Image.new("RGB", (4 * (SHOWN_PX + 4), (len(open_pairs) + 1) // 2 * (SHOWN_PX + 4)), "white")
        for place, pair in enumerate(open_pairs):
            for side, image_id in enumerate(pair):
                picture = Image.fromarray(self._nearer.greys([image_id])[0])
                flat = opened_flat(self._reader.read(image_id))
                shown = flat.convert("RGB") if flat.mode in ("L", "RGB") else picture.convert("RGB")
                shown.thumbnail((SHOWN_PX, SHOWN_PX))
                corner = ((place % 2 * 2 + side) * (SHOWN_PX + 4), place // 2 * (SHOWN_PX + 4))
                sheet.paste(shown, corner)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        write_bytes(path, buffer.getvalue())
