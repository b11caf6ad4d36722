"""A further source is one file: from that file alone to samples, through the same stations as the others."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.ingest.landing import find_lock
from medmax_pipeline.sources import read_registry
from medmax_pipeline.sources.record import Source
from tests.ingest.landings import make, picture, write_zip

FILE = '''
    """An invented set of captioned drawings."""

    from medmax_pipeline.records import IMAGE, Draft, Turn, picture
    from medmax_pipeline.sources.record import Access, Count, ExpectedFile, Licence, Source
    from medmax_pipeline.sources.text import clean, need


    def adapt(row):
        name, caption = need(row, "name", "caption")
        turns = (Turn("user", f"{IMAGE}What is drawn?"), Turn("assistant", clean(caption)))
        return Draft(clean(name), "train", "captioning", turns, (picture(clean(name)),))


    SOURCE = Source(
        key="drawings",
        title="Drawings",
        access=Access(kind="manual", page="https://example.org/drawings", how="Ask the drawer."),
        licence=Licence("CC0-1.0", "https://example.org/drawings", "2026-11-23, invented"),
        credentialed=False,
        files=(
            ExpectedFile("captions.jsonl", "one object a line: name, caption"),
            ExpectedFile("drawings.zip", "the drawings", pictures=True),
        ),
        row_count=Count(3, "invented"),
        image_count=Count(2, "invented"),
        split_rule="none: all train",
        rows=lambda files: files.jsonl("captions.jsonl"),
        adapt=adapt,
        example={"name": "a.png", "caption": "A circle."},
        splits=("train",),
    )
'''


@pytest.fixture
def drawings(tmp_path: Path) -> Source:
    """The source as its one file says."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "drawings.py").write_text(dedent(FILE))
    return read_registry(folder, f"registry_{tmp_path.name}")["drawings"]


def test_one_file_takes_a_source_from_raw_to_samples(tmp_path: Path, drawings: Source) -> None:
    rows = [{"name": "a.png", "caption": "A circle."}, {"name": "b.png", "caption": "A line."}, {"name": "c.png"}]
    write_zip(tmp_path / "landing/drawings/drawings.zip", {"x/a.png": picture(1), "x/b.png": picture(2)})
    (tmp_path / "landing/drawings/captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw, samples = make(tmp_path / "store", tmp_path / "landing", drawings)
    assert samples.manifest.counts.kept == 2
    assert dict(samples.manifest.counts.quarantined) == {"row_unknown_shape": 1}
    assert {sample.turns[1].text for sample in read_samples(samples.folder / "samples.parquet")} == {
        "A circle.",
        "A line.",
    }
    assert raw.manifest.licences == samples.manifest.licences == ("CC0-1.0",)


def test_one_file_is_enough_to_say_what_is_missing(tmp_path: Path, drawings: Source) -> None:
    lock = find_lock(drawings, tmp_path / "landing")
    assert lock is not None
    assert "captions.jsonl" in lock.reason
    assert "Ask the drawer." in lock.cure
