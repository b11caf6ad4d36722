"""What an earlier version of the samples has opened is not opened again, and makes no difference to the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medmax_pipeline.files import remove_tree
from medmax_pipeline.ingest import carried, pictures, samples
from medmax_pipeline.ingest.images import Probe, probe
from medmax_pipeline.ingest.places import Files, Place
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import source
from medmax_pipeline.steps import Artifact
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, picture, question

TORN = picture(9, "JPEG", (64, 64))[:400]
TABLES = ("samples.parquet", "images.parquet", "drops.parquet", "quarantine.parquet")
Opened = Callable[[], list[str]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Names of the pictures that were read since it was asked last."""
    seen: list[str] = []

    class Watched(Files):
        def read(self, place: Place, limit: int) -> bytes:
            seen.append(Path(place.member or place.file).name)
            return super().read(place, limit)

    monkeypatch.setattr(samples, "Files", Watched)

    def since() -> list[str]:
        names = sorted(seen)
        seen.clear()
        return names

    return since


def lay(landing: Path) -> Path:
    """Four pictures, one of them torn."""
    drawn = {f"{number}.jpg": picture(number, "JPEG") for number in range(3)} | {"torn.jpg": TORN}
    rows = [question(number, name) for number, name in enumerate(sorted(drawn) * 3)]
    return lay_vqa_rad(landing, rows, drawn)


def again(store: Path, landing: Path, key: str = "vqa_rad") -> Artifact:
    """The samples, made again whether or not anything changed."""
    ledger = Ledger(store, "test", landing)
    ledger.execute(raw_step(source(key), corpus=False))
    ledger.raise_counter(f"{key}/samples")
    return ledger.execute(samples_step(source(key)))[0]


def assert_same(one: Artifact, other: Artifact) -> None:
    for name in TABLES:
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes(), name


def test_good_pictures_are_carried_over_and_bad_ones_opened_again(tmp_path: Path, opened: Opened) -> None:
    lay(tmp_path / "landing")
    first = again(tmp_path / "store", tmp_path / "landing")
    assert opened() == ["0.jpg", "1.jpg", "2.jpg", "torn.jpg"]
    second = again(tmp_path / "store", tmp_path / "landing")
    assert opened() == ["torn.jpg"]
    assert first.manifest.fingerprint != second.manifest.fingerprint
    assert_same(first, second)


def test_a_mended_landing_gives_the_same_bytes_as_one_that_was_always_whole(tmp_path: Path, opened: Opened) -> None:
    folder = lay(tmp_path / "landing")
    again(tmp_path / "store", tmp_path / "landing")
    opened()
    (folder / "VQA_RAD Image Folder" / "torn.jpg").write_bytes(picture(9, "JPEG", (64, 64)))
    mended = again(tmp_path / "store", tmp_path / "landing")
    assert opened() == ["torn.jpg"]
    assert_same(mended, again(tmp_path / "other", tmp_path / "landing"))


def test_a_good_picture_that_changed_is_opened_again(tmp_path: Path, opened: Opened) -> None:
    folder = lay(tmp_path / "landing")
    again(tmp_path / "store", tmp_path / "landing")
    opened()
    (folder / "VQA_RAD Image Folder" / "1.jpg").write_bytes(picture(77, "JPEG"))
    changed = again(tmp_path / "store", tmp_path / "landing")
    assert opened() == ["1.jpg", "torn.jpg"]
    assert_same(changed, again(tmp_path / "other", tmp_path / "landing"))


def test_all_of_an_archive_is_opened_again_where_any_of_its_bytes_changed(tmp_path: Path, opened: Opened) -> None:
    names = [f"PMC1_Fig1_{number}.jpg" for number in range(3)]
    rows = [{"image": name, "caption": f"Figure {name}."} for name in names]
    lay_pmc_oa(tmp_path, rows, dict(zip(names, (picture(1), picture(2), TORN), strict=True)))
    again(tmp_path / "store", tmp_path, "pmc_oa")
    opened()
    again(tmp_path / "store", tmp_path, "pmc_oa")
    assert opened() == names[2:]
    lay_pmc_oa(tmp_path, rows, dict(zip(names, (picture(1), picture(2), picture(3)), strict=True)))
    mended = again(tmp_path / "store", tmp_path, "pmc_oa")
    assert opened() == names
    assert mended.manifest.counts.kept == 3


def test_a_step_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "TASK_PICTURES", 1)
    monkeypatch.setattr(pictures, "CHUNK_PICTURES", 1)
    monkeypatch.setattr(pictures, "THREADS", 1)
    names = [f"PMC1_Fig1_{number}.jpg" for number in range(9)]
    rows = [{"image": name, "caption": f"Figure {name}."} for name in names]
    lay_pmc_oa(tmp_path, rows, {name: picture(number) for number, name in enumerate(names)})
    ledger = Ledger(tmp_path / "store", "test", tmp_path)
    ledger.execute(raw_step(source("pmc_oa"), corpus=False))
    step = samples_step(source("pmc_oa"))

    def cut_off(data: bytes) -> Probe:
        if data == picture(6):
            raise KeyboardInterrupt
        return probe(data)

    with monkeypatch.context() as patched:
        patched.setattr(pictures, "probe", cut_off)
        with pytest.raises(KeyboardInterrupt):
            ledger.execute(step)
    assert ledger.current("pmc_oa/samples") is None
    opened()
    made, _ = ledger.execute(step)
    assert opened() == names[6:]
    assert_same(made, again(tmp_path / "other", tmp_path, "pmc_oa"))


@pytest.mark.parametrize("change", ["code", "decoder", "raw"])
def test_nothing_is_carried_over_from_other_code_another_decoder_or_unknown_files(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    lay(tmp_path / "landing")
    first = again(tmp_path / "store", tmp_path / "landing")
    opened()
    if change == "code":
        monkeypatch.setattr("medmax_pipeline.ingest.steps.SAMPLES_VERSION", "another")
    if change == "decoder":
        monkeypatch.setattr(carried, "package_versions", lambda: {"pillow": "1.0"})
    if change == "raw":
        remove_tree(tmp_path / "store" / "vqa_rad" / "raw" / first.manifest.inputs[0].fingerprint)
        (tmp_path / "landing" / "vqa_rad" / "VQA_RAD Image Folder" / "new.jpg").write_bytes(picture(50, "JPEG"))
    again(tmp_path / "store", tmp_path / "landing")
    assert opened() == ["0.jpg", "1.jpg", "2.jpg", "torn.jpg"]
