"""The embedded corpus as a whole: which source gets which picture, and laying all of it out.

Every picture goes to one folder (twins and leaks are planted on purpose and marked), so that a source's samples do not
fall to the duplicates of another. The three folders that teach most share the pictures themselves; each other one gets
views of its own, cut and toned as nobody else's. What a folder makes of its pictures is in its file in `layouts/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.sample.layout import Placed, Tree, is_laid_out, layout_key, write_tree
from medmax_pipeline.sample.layouts import Layout, Pool, layouts, spread
from medmax_pipeline.sample.packaged import FILES, Skipped, locate_once
from medmax_pipeline.sample.pictures import Picture, forget_frames, pictures, skipped
from medmax_pipeline.sample.variants import view

REAL_CHEST: Final = "chest"
"""Name of the package file that becomes a patient of MIMIC-CXR."""
PLACED_SCHEMA: Final = pa.schema([(name, pa.string()) for name in Placed.__dataclass_fields__])


class Shares(NamedTuple):
    """Which pictures go where."""

    vqa_rad: tuple[Picture, ...]
    pmc_oa: tuple[Picture, ...]
    mimic_cxr: tuple[Picture, ...]


@dataclass(frozen=True)
class CorpusReport:
    """What was laid out, and which package files could not be used."""

    placed: tuple[Placed, ...]
    skipped: tuple[Skipped, ...]

    def table(self, folder: str) -> pa.Table:
        """The pictures of one landing folder as a table of `PLACED_SCHEMA`, in the order of placing."""
        rows: list[dict[str, Any]] = [asdict(placed) for placed in self.placed if placed.source == folder]
        return pa.Table.from_pylist(rows, schema=PLACED_SCHEMA)


def share(every: Sequence[Picture]) -> Shares:
    """Of each file's pictures one in three goes to PMC-OA (one in four of the held-out ones), the rest to VQA-RAD.

    Of the real chest, one in six goes to MIMIC-CXR. The first picture of a file, its whole, goes to VQA-RAD.
    """
    vqa, articles, patients = [], [], []
    seen: Counter[str] = Counter()
    for picture in every:
        name = picture.source.name if picture.source else picture.name.rsplit("_", 1)[0]
        place = seen[name]
        seen[name] += 1
        if name == REAL_CHEST and place % 6 == 4:
            patients.append(picture)
        elif place % 3 == 2 if picture.split == "train" else place % 4 == 3:
            articles.append(picture)
        else:
            vqa.append(picture)
    return Shares(tuple(vqa), tuple(articles), tuple(patients))


def corpus_key() -> str:
    """Identity of the layout on this machine: version and the package files that are there."""
    return layout_key([record.sha256 for record in FILES if not isinstance(locate_once(record), Skipped)])


def lay_out(landing: Path, log: Callable[[str], None]) -> CorpusReport:
    """Write the sample's landing folders `<landing>/<folder>/` where they are not laid out yet.

    Files that somebody changed stay as they are, and so do folders that hold somebody's own data.

    Raises:
        ArchiveError: a package file's bytes are not the pinned ones.
    """
    missing = skipped()
    for each in missing:
        log(f"left out: {each.path} ({each.reason})")
    key = corpus_key()
    trees = _trees()
    forget_frames()
    for tree in trees:
        write_tree(landing / tree.source, tree, key, log)
    placed = tuple(placed for tree in trees for placed in tree.placed)
    log(f"sample corpus: {len(placed)} pictures in {len(trees)} folders")
    return CorpusReport(placed, missing)


def pool_of(layout: Layout, every: Sequence[Picture], shares: Shares) -> Pool:
    """The pictures of one folder: its share, or as many views of its own as it asks for, at even distances.

    Views of drawn pictures are left out: what is drawn teaches too little to be shown again.
    """
    given = shares._asdict().get(layout.folder)
    if given is not None:
        return Pool(given, shares.vqa_rad)
    real = [picture for picture in every if picture.source is not None]
    chosen = []
    for split, count in (("train", layout.train), ("eval", layout.held_out)):
        ordered = [picture for picture in real if picture.split == split]
        start = int(sha256_bytes(layout.folder.encode())[:8], 16) % max(
            1, len(ordered)
        )  # another start for each folder
        chosen += spread(ordered[start:] + ordered[:start], count)
    return Pool(tuple(view(picture, layout.folder) for picture in chosen), shares.vqa_rad)


def _trees() -> tuple[Tree, ...]:
    every = list(pictures())
    shares = share(every)
    return tuple(layout.lay(pool_of(layout, every, shares)) for layout in layouts().values())


def intact(landing: Path) -> bool:
    """Whether every folder is laid out to the end, by this version and from these packages."""
    key = corpus_key()
    return all(is_laid_out(landing / folder, key) for folder in layouts())
