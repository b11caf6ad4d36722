"""Pictures by id."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.reader import ImageReader
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, make, picture, question


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    lay_vqa_rad(tmp_path / "landing", [question(1, "a.jpg")], {"a.jpg": picture(1, "JPEG")})
    lay_pmc_oa(tmp_path / "landing", [{"image": "PMC1_Fig1_1.jpg", "caption": "A."}], {"PMC1_Fig1_1.jpg": picture(2)})
    made = [make(tmp_path / "store", tmp_path / "landing", key)[1] for key in ("vqa_rad", "pmc_oa")]
    return [artifact.folder / "images.parquet" for artifact in made]


@pytest.mark.parametrize("data", [picture(1, "JPEG"), picture(2)], ids=["loose", "in a zip"])
def test_a_picture_is_read_by_its_id(tmp_path: Path, images: list[Path], data: bytes) -> None:
    with ImageReader(tmp_path / "landing", images) as reader:
        assert reader.read(sha256_bytes(data)) == data


def test_it_knows_which_pictures_there_are(tmp_path: Path, images: list[Path]) -> None:
    with ImageReader(tmp_path / "landing", images) as reader:
        assert set(reader) == {sha256_bytes(picture(1, "JPEG")), sha256_bytes(picture(2))}
        assert "0" * 64 not in reader


def test_bytes_that_changed_under_the_id_are_refused(tmp_path: Path, images: list[Path]) -> None:
    (tmp_path / "landing" / "vqa_rad" / "VQA_RAD Image Folder" / "a.jpg").write_bytes(picture(7, "JPEG"))
    with ImageReader(tmp_path / "landing", images) as reader, pytest.raises(ImageError, match="image_changed"):
        reader.read(sha256_bytes(picture(1, "JPEG")))


def test_an_unknown_id_is_missing(tmp_path: Path, images: list[Path]) -> None:
    with ImageReader(tmp_path / "landing", images) as reader, pytest.raises(ImageError, match="image_missing"):
        reader.read("0" * 64)
