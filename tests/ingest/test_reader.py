"""Pictures by id."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.arrow import IMAGE_SCHEMA
from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import DigestCache, sha256_bytes, write_table
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.places import SEEK, Files
from medmax_pipeline.ingest.raw import index_source
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.sources.record import ExpectedFile
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, make, picture, question, write_zip
from tests.ingest.packed import cut, record, tar_bytes


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


PICTURES = {f"{number}.png": picture(number) for number in range(200)}


def published(tmp_path: Path, key: str, *names: str) -> Path:
    """`images.parquet` of a source whose landing folder holds all pictures in each of these archives."""
    folder = tmp_path / "landing" / key
    folder.mkdir(parents=True)
    for name in names:
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"image": list(PICTURES.values())}), folder / name, row_group_size=70)
        elif name.endswith(".zip"):
            write_zip(folder / name, PICTURES)
        else:
            cut(folder, name, tar_bytes(PICTURES, "gz"), 2)
    raw = tmp_path / key
    raw.mkdir()
    source = record(ExpectedFile("**", "pictures", pictures=True), key=key)
    index_source(source, tmp_path / "landing", raw, DigestCache(raw / "digests"), lambda line: None)
    places = Index(raw)
    rows = []
    with Files(folder, raw / SEEK) as files:
        for number in range(len(places)):
            place = places.place(number)
            if place.member:
                image_id = sha256_bytes(files.read(place, 1 << 20))
                rows.append(dict.fromkeys(IMAGE_SCHEMA.names) | {"image_id": image_id, "folder": key} | place._asdict())
    rows.sort(key=lambda row: str(row["image_id"]))
    write_table(raw / "images.parquet", pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA))
    return raw / "images.parquet"


@pytest.mark.parametrize("archive", ["images.zip", "images.tar.gz", "images.parquet"])
def test_pictures_in_archives_are_read_by_id_and_come_in_their_archives_order(tmp_path: Path, archive: str) -> None:
    with ImageReader(tmp_path / "landing", [published(tmp_path, "packed", archive)]) as reader:
        ids = [sha256_bytes(data) for data in PICTURES.values()]
        assert list(reader) == ids
        for image_id, data in zip(ids[::-1], list(PICTURES.values())[::-1], strict=True):
            assert reader.read(image_id) == data


def test_a_picture_of_two_sources_is_named_once_and_read_from_the_first(tmp_path: Path) -> None:
    tables = [published(tmp_path, "one", "images.zip"), published(tmp_path, "two", "images.tar.gz")]
    shutil.rmtree(tmp_path / "landing" / "two")
    with ImageReader(tmp_path / "landing", tables) as reader:
        assert sorted(reader) == sorted(sha256_bytes(data) for data in PICTURES.values())
        assert reader.read(sha256_bytes(PICTURES["7.png"])) == PICTURES["7.png"]


@pytest.mark.parametrize("image_id", ["", "zz", "0" * 63, "0" * 64])
def test_what_is_no_known_id_is_missing(tmp_path: Path, image_id: str) -> None:
    with ImageReader(tmp_path / "landing", [published(tmp_path, "packed", "images.zip")]) as reader:
        assert image_id not in reader
        with pytest.raises(ImageError, match="image_missing"):
            reader.read(image_id)


def test_a_table_without_pictures_gives_none(tmp_path: Path) -> None:
    write_table(tmp_path / "images.parquet", pa.Table.from_pylist([], schema=IMAGE_SCHEMA))
    with ImageReader(tmp_path / "landing", [tmp_path / "images.parquet"]) as reader:
        assert list(reader) == []
        assert "0" * 64 not in reader


@pytest.mark.parametrize(("name", "sequential"), [("a.zip", False), ("a.tar.gz", True), ("a.parquet", True)])
def test_it_says_which_pictures_are_cheap_in_order_only(tmp_path: Path, name: str, sequential: bool) -> None:
    with ImageReader(tmp_path / "landing", [published(tmp_path, "any", name)]) as reader:
        assert [reader.sequential(image_id) for image_id in reader] == [sequential] * len(PICTURES)
        assert not reader.sequential("0" * 64)
