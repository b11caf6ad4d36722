"""The funnel over all sources: counts of the manifests, and examples of what was left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from medmax_pipeline.curation.funnel import EXAMPLES, PICTURES, Line, read_left_out, read_lines
from medmax_pipeline.curation.steps import funnel_step
from medmax_pipeline.steps import Artifact
from tests.curation.test_steps import SOURCES, House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A small build with its funnel; tests only read it."""
    made = House(tmp_path_factory.mktemp("funnel"))
    made.build()
    made.ledger.execute(funnel_step(SOURCES, SOURCES))
    return made


@pytest.fixture(scope="module")
def funnel(house: House) -> Artifact:
    return house.need("funnel")


def test_every_station_begins_with_what_came_in_and_adds_up(funnel: Artifact) -> None:
    stations: dict[tuple[str, str], list[Line]] = {}
    for line in read_lines(funnel.folder):
        stations.setdefault((line.source, line.station), []).append(line)
    for lines in stations.values():
        if lines[0].what == "locked":
            continue
        assert (lines[0].what, lines[-1].what) == ("in", "out")
        assert lines[0].units == sum(line.units for line in lines[1:])
        assert {line.reason != "" for line in lines[1:-1]} <= {True}


def test_what_leaves_a_station_comes_into_the_next(funnel: Artifact) -> None:
    lines = read_lines(funnel.folder)
    for source in ("pmc_oa", "vqa_rad"):
        out = next(line for line in lines if (line.source, line.station, line.what) == (source, "samples", "out"))
        into = next(line for line in lines if (line.source, line.station, line.what) == (source, "curated", "in"))
        assert out.units == into.units


def test_a_locked_source_is_a_line_with_its_reason(funnel: Artifact) -> None:
    assert not funnel.locked
    lines = [line for line in read_lines(funnel.folder) if line.source == "mimic_cxr"]
    assert [line.what for line in lines] == ["locked", "locked"]
    assert all(line.reason for line in lines)
    assert funnel.manifest.summary["locked"] == ["mimic_cxr"]


def test_the_whole_ends_with_the_training_samples(funnel: Artifact, house: House) -> None:
    counts = funnel.manifest.counts
    curated = [house.need(f"{key}/curated").manifest.counts for key in SOURCES]
    samples = [house.need(f"{key}/samples").manifest.counts for key in SOURCES]
    assert counts.balanced
    assert counts.kept == sum(each.kept for each in curated)
    assert counts.taken == sum(each.taken for each in samples)


def test_a_source_for_evaluation_alone_goes_for_that_reason(house: House) -> None:
    artifact, _ = house.ledger.execute(funnel_step(("vqa_rad",), ()))
    samples = house.need("vqa_rad/samples").manifest.counts
    assert artifact.manifest.counts.dropped == {**samples.dropped, "evaluation_row": samples.kept}
    assert artifact.manifest.counts.kept == 0


def test_dropped_samples_are_shown_with_words_and_a_small_picture(funnel: Artifact) -> None:
    left = [one for one in read_left_out(funnel.folder) if one.station == "curated"]
    reasons = {one.reason for one in left}
    assert {"evaluation_row", "leak_same_file"} <= reasons
    for one in left:
        assert one.text
        with Image.open(funnel.folder / PICTURES / one.picture) as copy:
            assert max(copy.size) <= 96


def test_the_table_can_be_queried_as_it_lies(funnel: Artifact) -> None:
    table = pq.read_table(funnel.folder / "funnel.parquet", filters=[("what", "=", "dropped")])
    assert set(table["station"].to_pylist()) == {"curated"}
    assert pq.read_table(funnel.folder / EXAMPLES).num_rows == funnel.manifest.summary["examples"]


def test_the_same_artifacts_give_the_same_bytes(house: House, tmp_path: Path) -> None:
    again = House(tmp_path)
    again.build()
    made, _ = again.ledger.execute(funnel_step(SOURCES, SOURCES))
    step = funnel_step(SOURCES, SOURCES)
    assert made.manifest.digest == house.ledger.execute(step)[0].manifest.digest
