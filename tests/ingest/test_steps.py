"""The steps of ingest in a store: locks, reuse, determinism, resumption."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.errors import ArchiveError, StoreError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest import pictures
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.sources import read_registry, source
from medmax_pipeline.steps import Need
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, make, picture, question

FILES = ("samples.parquet", "images.parquet", "drops.parquet", "quarantine.parquet")


def lay(landing: Path, rows: int = 40) -> Path:
    questions = [question(number, f"p{number % 7}.jpg") for number in range(rows)]
    return lay_vqa_rad(landing, questions, {f"p{number}.jpg": picture(number, "JPEG") for number in range(7)})


def test_a_source_without_its_files_is_locked_and_so_are_its_samples(tmp_path: Path) -> None:
    raw, samples = make(tmp_path / "store", tmp_path / "landing", "mimic_cxr")
    assert raw.locked
    assert samples.locked
    assert samples.manifest.lock is not None
    assert samples.manifest.lock.reason.startswith("mimic_cxr/raw is locked: no landing folder mimic_cxr/")
    assert "PhysioNet" in samples.manifest.lock.cure
    assert samples.manifest.counts.taken == 0


def test_a_source_unlocks_when_its_files_come(tmp_path: Path) -> None:
    make(tmp_path / "store", tmp_path / "landing", "vqa_rad")
    lay(tmp_path / "landing")
    _, samples = make(tmp_path / "store", tmp_path / "landing", "vqa_rad")
    assert samples.manifest.counts.kept == 40


def test_a_broken_zip_names_itself_and_publishes_nothing(tmp_path: Path) -> None:
    folder = lay_pmc_oa(tmp_path / "landing", [{"image": "PMC1_Fig1_1.jpg", "caption": "A."}], {})
    (folder / "images.zip").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ArchiveError, match=r"images\.zip: not readable as a zip"):
        make(tmp_path / "store", tmp_path / "landing", "pmc_oa")
    assert Ledger(tmp_path / "store", "test", tmp_path / "landing").current("pmc_oa/raw") is None


def test_the_same_files_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / "landing")
    _, first = make(tmp_path / "one", tmp_path / "landing", "vqa_rad")
    monkeypatch.setattr(pictures, "THREADS", 1)
    monkeypatch.setattr(pictures, "TASK_PICTURES", 2)
    monkeypatch.setattr(pictures, "CHUNK_PICTURES", 3)
    _, second = make(tmp_path / "two", tmp_path / "landing", "vqa_rad")
    assert first.manifest.digest == second.manifest.digest
    for name in FILES:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_a_moved_landing_gives_the_same_samples(tmp_path: Path) -> None:
    lay(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    _, first = make(tmp_path / "one", tmp_path / "here", "vqa_rad")
    _, second = make(tmp_path / "two", tmp_path / "there", "vqa_rad")
    assert first.manifest.fingerprint == second.manifest.fingerprint


def test_unchanged_files_run_nothing_and_a_changed_picture_runs_both(tmp_path: Path) -> None:
    folder = lay(tmp_path / "landing")
    ledger = Ledger(tmp_path / "store", "test", tmp_path / "landing")
    steps = [raw_step(source("vqa_rad"), corpus=False), samples_step(source("vqa_rad"))]
    assert [ledger.execute(step)[1] for step in steps] == [True, True]
    assert [ledger.execute(step)[1] for step in steps] == [False, False]
    (folder / "VQA_RAD Image Folder" / "p3.jpg").write_bytes(picture(33, "JPEG"))
    assert ledger.plan(steps)[0].reason == "vqa_rad/VQA_RAD Image Folder/p3.jpg changed"
    assert [ledger.execute(step)[1] for step in steps] == [True, True]


def test_a_picture_of_the_same_size_that_changes_after_raw_stops_the_step(tmp_path: Path) -> None:
    folder = lay(tmp_path / "landing")
    ledger = Ledger(tmp_path / "store", "test", tmp_path / "landing")
    ledger.execute(raw_step(source("vqa_rad"), corpus=False))
    path = folder / "VQA_RAD Image Folder" / "p3.jpg"
    data = bytearray(path.read_bytes())
    data[data.index(b"JFIF") + 7] ^= 1  # the unit of its density: other bytes, the same pixels
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"p3\.jpg: changed while it was being read"):
        ledger.execute(samples_step(source("vqa_rad")))


@pytest.mark.parametrize("name", ["VQA_RAD Dataset Public.json", "VQA_RAD Image Folder/new.jpg"])
def test_a_file_that_comes_or_grows_after_raw_stops_the_step(tmp_path: Path, name: str) -> None:
    folder = lay(tmp_path / "landing")
    ledger = Ledger(tmp_path / "store", "test", tmp_path / "landing")
    ledger.execute(raw_step(source("vqa_rad"), corpus=False))
    with (folder / name).open("ab") as handle:
        handle.write(b" ")
    with pytest.raises(StoreError, match=f"{re.escape(name)}: came, went or grew since raw was made"):
        ledger.execute(samples_step(source("vqa_rad")))


def test_the_sample_corpus_comes_first_where_it_lays_the_folder_out() -> None:
    assert raw_step(source("vqa_rad"), corpus=True).needs == (Need("sample_corpus", "vqa_rad"),)
    assert raw_step(source("vqa_rad"), corpus=False).needs == ()


def test_one_new_file_in_sources_is_a_whole_new_source(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "medmax_pipeline" / "sources" / "vqa_rad.py").read_text()
    registry = tmp_path / "registry"
    registry.mkdir()
    (registry / "radiology_quiz.py").write_text(text.replace('key="vqa_rad"', 'key="radiology_quiz"'))
    record = read_registry(registry, "registry_whole_source")["radiology_quiz"]
    lay(tmp_path / "landing").rename(tmp_path / "landing" / "radiology_quiz")
    _, samples = make(tmp_path / "store", tmp_path / "landing", record)
    made = list(read_samples(samples.folder / "samples.parquet"))
    assert {sample.source for sample in made} == {"radiology_quiz"}
    assert made[0].images == (sha256_bytes(picture(0, "JPEG")),)
