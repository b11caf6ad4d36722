"""The embedded corpus as a whole: which source gets which picture, and laying all of it out.

Every picture goes to one source (twins and leaks are planted on purpose and marked), so that a source's samples do not
fall to the duplicates of another. What a source makes of its pictures is in its own module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.sample.layout import Placed, Tree, is_laid_out, layout_key, write_tree
from medmax_pipeline.sample.mimic_cxr import mimic_cxr
from medmax_pipeline.sample.packaged import FILES, Skipped, locate_once
from medmax_pipeline.sample.pictures import Picture, forget_frames, pictures, skipped
from medmax_pipeline.sample.pmc_oa import pmc_oa
from medmax_pipeline.sample.vqa_rad import vqa_rad

SOURCES: Final = ("vqa_rad", "pmc_oa", "mimic_cxr")
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

    def table(self, source: str) -> pa.Table:
        """The pictures of one source as a table of `PLACED_SCHEMA`, in the order of placing."""
        rows: list[dict[str, Any]] = [asdict(placed) for placed in self.placed if placed.source == source]
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
    """Write the sample's landing folders `<landing>/<source>/` where they are not laid out yet.

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
    log(f"sample corpus: {len(placed)} pictures in {len(trees)} sources")
    return CorpusReport(placed, missing)


def _trees() -> tuple[Tree, ...]:
    shares = share(list(pictures()))
    return vqa_rad(shares.vqa_rad), pmc_oa(shares.pmc_oa, shares.vqa_rad), mimic_cxr(shares.mimic_cxr)


def intact(landing: Path) -> bool:
    """Whether every source's folder is laid out to the end, by this version and from these packages."""
    key = corpus_key()
    return all(is_laid_out(landing / source, key) for source in SOURCES)
