"""From the name that a row gives to the one place it stands for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.index import Fault, Index
from medmax_pipeline.records import ImageRef, picture
from medmax_pipeline.sources.record import ExpectedFile
from tests.ingest.landings import write_zip
from tests.ingest.packed import index, tar_bytes

EXPECTED = (
    ExpectedFile("*.zip", "pictures", pictures=True),
    ExpectedFile("*.tar", "pictures", pictures=True),
    ExpectedFile("loose/**", "pictures", pictures=True),
    ExpectedFile("*.parquet", "pictures", pictures=True),
    ExpectedFile("rows/*.json", "rows"),
    ExpectedFile("other.zip.d/*.zip", "rows in an archive"),
)


def opened(tmp_path: Path) -> Index:
    index(tmp_path, tmp_path / "raw", *EXPECTED)
    return Index(tmp_path / "raw")


def found(names: Index, ref: ImageRef) -> str:
    """Name of the place, or the reason why there is none."""
    number = names.find(ref)
    return number.reason if isinstance(number, Fault) else names.place(number).name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    write_zip(folder / "a.zip", {"deep/one.jpg": b"1", "x/two.jpg": b"2", "y/two.jpg": b"3", "xx/y/two.jpg": b"4"})
    (folder / "b.tar").write_bytes(tar_bytes({"three.jpg": b"5", "img/four.jpg": b"6"}))
    (folder / "loose" / "p").mkdir(parents=True)
    (folder / "loose" / "p" / "five.jpg").write_bytes(b"7")
    (folder / "rows").mkdir()
    (folder / "rows" / "train.json").write_text("[]")
    return folder


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("one.jpg", "a.zip::deep/one.jpg"),
        ("three.jpg", "b.tar::three.jpg"),
        ("five.jpg", "loose/p/five.jpg"),
        ("deep/one.jpg", "a.zip::deep/one.jpg"),
        ("./deep/one.jpg", "a.zip::deep/one.jpg"),
        ("p/five.jpg", "loose/p/five.jpg"),
        ("x/two.jpg", "a.zip::x/two.jpg"),
        ("two.jpg", "image_ambiguous"),
        ("none.jpg", "image_missing"),
        ("other/one.jpg", "image_missing"),
        ("eep/one.jpg", "image_missing"),
        ("train.json", "image_missing"),
        ("", "image_missing"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_picture_by_name(tmp_path: Path, name: str, place: str) -> None:
    assert found(opened(tmp_path), picture(name)) == place


@pytest.mark.usefixtures("folder")
def test_a_path_to_the_letter_goes_before_a_longer_one(tmp_path: Path) -> None:
    assert found(opened(tmp_path), picture("y/two.jpg")) == "a.zip::y/two.jpg"


def test_a_path_that_two_longer_ones_end_in_is_ambiguous(tmp_path: Path, folder: Path) -> None:
    write_zip(folder / "c.zip", {"u/y/six.jpg": b"x", "v/y/six.jpg": b"y"})
    fault = opened(tmp_path).find(picture("y/six.jpg"))
    assert isinstance(fault, Fault)
    assert fault.reason == "image_ambiguous"
    assert "2 answer to it, as 'c.zip::u/y/six.jpg' and 'c.zip::v/y/six.jpg'" in fault.detail


def test_one_name_in_two_archives_is_ambiguous_and_the_archive_decides(tmp_path: Path, folder: Path) -> None:
    write_zip(folder / "c.zip", {"elsewhere/one.jpg": b"x"})
    names = opened(tmp_path)
    assert found(names, picture("one.jpg")) == "image_ambiguous"
    assert found(names, ImageRef("c.zip", "one.jpg")) == "c.zip::elsewhere/one.jpg"


@pytest.mark.parametrize(
    ("ref", "place"),
    [
        (ImageRef("a.zip", "deep/one.jpg"), "a.zip::deep/one.jpg"),
        (ImageRef("b.tar", "one.jpg"), "image_missing"),
        (ImageRef("rows/train.json"), "rows/train.json"),
        (ImageRef("train.json"), "image_missing"),
        (ImageRef("a.zip"), "image_missing"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_picture_by_its_file(tmp_path: Path, ref: ImageRef, place: str) -> None:
    assert found(opened(tmp_path), ref) == place


def test_a_member_that_raw_refused_is_refused_and_never_replaced(tmp_path: Path, folder: Path) -> None:
    write_zip(folder / "c.zip", {"../bad.jpg": b"x", "../one.jpg": b"y", "a\\b\\worse.jpg": b"z"})
    names = opened(tmp_path)
    assert found(names, picture("bad.jpg")) == found(names, ImageRef("c.zip", "worse.jpg")) == "image_refused"
    assert found(names, picture("one.jpg")) == "image_ambiguous"
    assert found(names, ImageRef("a.zip", "one.jpg")) == "a.zip::deep/one.jpg"


def test_pictures_in_a_table_answer_to_their_address_only(tmp_path: Path, folder: Path) -> None:
    pq.write_table(pa.table({"image": [b"x", None, b"z"]}), folder / "t.parquet")
    names = opened(tmp_path)
    assert found(names, ImageRef("t.parquet", "image/2")) == "t.parquet::image/2"
    assert found(names, ImageRef("t.parquet", "image/1")) == "image_missing"
    assert found(names, ImageRef("t.parquet", "2")) == "image_missing"
    assert found(names, picture("2")) == found(names, picture("image/2")) == "image_missing"


def test_accents_composed_another_way_are_the_same_name(tmp_path: Path, folder: Path) -> None:
    write_zip(folder / "c.zip", {"i/u\u0308ber.jpg": b"x"})
    names = opened(tmp_path)
    assert found(names, picture("über.jpg")) == found(names, picture("i/über.jpg")) == "c.zip::i/u\u0308ber.jpg"


def test_what_is_counted_as_a_picture(tmp_path: Path, folder: Path) -> None:
    pq.write_table(pa.table({"image": [b"x", b"y"]}), folder / "t.parquet")
    names = opened(tmp_path)
    assert names.pictures == 4 + 2 + 1 + 2
    assert len(names) == names.pictures + 2  # the rows, and the table as a file


@pytest.mark.parametrize(
    ("pattern", "listed"),
    [
        ("train.json", ["rows/train.json"]),
        ("*.json", ["rows/train.json"]),
        ("two.jpg", ["a.zip::x/two.jpg", "a.zip::xx/y/two.jpg", "a.zip::y/two.jpg"]),
        ("y/two.jpg", ["a.zip::xx/y/two.jpg", "a.zip::y/two.jpg"]),
        ("*/two.jpg", ["a.zip::x/two.jpg", "a.zip::xx/y/two.jpg", "a.zip::y/two.jpg"]),
        ("xx/**/two.jpg", ["a.zip::xx/y/two.jpg"]),
        ("loose/**", ["loose/p/five.jpg"]),
        ("img/f*.jpg", ["b.tar::img/four.jpg"]),
        ("wo.jpg", []),
        ("*.zip", []),
    ],
)
@pytest.mark.usefixtures("folder")
def test_names_by_pattern(tmp_path: Path, pattern: str, listed: list[str]) -> None:
    assert opened(tmp_path).names(pattern) == listed


@pytest.mark.usefixtures("folder")
def test_every_name_leads_back_to_its_place(tmp_path: Path) -> None:
    names = opened(tmp_path)
    for number in range(len(names)):
        assert names.place_of(names.place(number).name) == names.place(number)


@pytest.mark.parametrize("name", ["none.json", "a.zip::none.jpg", "a.zip", "b.tar::deep/one.jpg", "a.zip::one.jpg"])
@pytest.mark.usefixtures("folder")
def test_a_name_that_was_not_listed_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="raw has listed no such file"):
        opened(tmp_path).place_of(name)


def test_a_source_without_pictures_has_an_empty_index(tmp_path: Path) -> None:
    write_zip(tmp_path / "packed" / "a.zip", {})
    names = opened(tmp_path)
    assert (len(names), names.pictures, names.names("**")) == (0, 0, [])


FORMS = (
    ExpectedFile("unpacked/*.jpg", "pictures", pictures=True, group="pictures"),
    ExpectedFile("packed.zip", "the same, packed", pictures=True, group="pictures"),
)


def test_an_archive_beside_its_unpacked_copy_is_one_picture(tmp_path: Path) -> None:
    write_zip(tmp_path / "packed" / "packed.zip", {"a.jpg": b"same", "b.jpg": b"longer"})
    (tmp_path / "packed" / "unpacked").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "packed" / "unpacked" / name).write_bytes(b"same")
    index(tmp_path, tmp_path / "raw", *FORMS)
    names = Index(tmp_path / "raw")
    assert found(names, picture("a.jpg")) == "unpacked/a.jpg"
    assert found(names, picture("b.jpg")) == "image_ambiguous"
