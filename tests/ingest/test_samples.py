"""From landing folders to samples: every row is kept, dropped or quarantined under a name, and none is mended."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.errors import RowError, StoreError
from medmax_pipeline.files import sha256_bytes, sha256_file, write_table
from medmax_pipeline.ingest.images import Probe, probe
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.ingest.samples import adapt_row
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import Draft, ImageRef, Turn
from medmax_pipeline.sources import source
from medmax_pipeline.sources.record import Adapted, ExpectedFile, Row, RowFiles, Source
from medmax_pipeline.steps import Artifact
from tests.ingest.landings import (
    DICOM,
    lay_mimic_cxr,
    lay_pmc_oa,
    lay_vqa_rad,
    make,
    picture,
    question,
    write_zip,
)
from tests.ingest.packed import tar_bytes

TORN = picture(9, "JPEG", (64, 64))[:400]


def table(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(artifact.folder / f"{name}.parquet").to_pylist()
    return rows


def reasons(artifact: Artifact, name: str) -> dict[str, str]:
    return {row["unit"]: row["reason"] for row in table(artifact, name)}


@pytest.fixture
def vqa_rad(tmp_path: Path) -> tuple[Artifact, Artifact]:
    rows = [
        question(0, "a.jpg"),
        question(1, "a.jpg", phrase_type="test_para", answer="Left"),
        question(2, "absent.jpg"),
        question(3, "torn.jpg"),
        question(4, "text.jpg"),
        question(5, "palette.jpg", answer=4),
        question(0, "a.jpg"),
        question(1, "a.jpg", answer="Right"),
        question(6, "a.jpg", answer=" "),
        question(7, "a.jpg", phrase_type="other"),
        question(8, "a.jpg", question="Is <image> a mark?"),
        17,
    ]
    pictures = {
        "a.jpg": picture(1, "JPEG"),
        "torn.jpg": TORN,
        "text.jpg": b"<html>404</html>",
        "palette.jpg": picture(2, "GIF"),
        "no_row.jpg": picture(3, "JPEG"),
    }
    lay_vqa_rad(tmp_path / "landing", rows, pictures)
    return make(tmp_path / "store", tmp_path / "landing", "vqa_rad")


def test_every_row_is_counted_once(vqa_rad: tuple[Artifact, Artifact]) -> None:
    counts = vqa_rad[1].manifest.counts
    assert counts.balanced
    assert (counts.taken, counts.kept) == (12, 3)
    assert counts.dropped == {"answer_empty": 1, "duplicate_row": 1}
    assert counts.quarantined == {
        "image_missing": 1,
        "image_not_an_image": 1,
        "image_truncated": 1,
        "key_conflict": 1,
        "row_unknown_shape": 2,
        "row_unreadable": 1,
    }


def test_the_left_out_say_which_row_and_why(vqa_rad: tuple[Artifact, Artifact]) -> None:
    assert reasons(vqa_rad[1], "drops") == {
        "0": "duplicate_row",
        "VQA_RAD Dataset Public.json#8": "answer_empty",
    }
    quarantine = reasons(vqa_rad[1], "quarantine")
    assert quarantine["2"] == "image_missing"
    assert quarantine["3"] == "image_truncated"
    assert quarantine["4"] == "image_not_an_image"
    assert quarantine["1"] == "key_conflict"
    assert quarantine["VQA_RAD Dataset Public.json#9"] == "row_unknown_shape"
    assert quarantine["VQA_RAD Dataset Public.json#10"] == "row_unknown_shape"
    assert quarantine["VQA_RAD Dataset Public.json#11"] == "row_unreadable"


def test_no_bad_picture_is_replaced(vqa_rad: tuple[Artifact, Artifact]) -> None:
    good = {sha256_bytes(picture(1, "JPEG")), sha256_bytes(picture(2, "GIF"))}
    samples = list(read_samples(vqa_rad[1].folder / "samples.parquet"))
    assert {image for sample in samples for image in sample.images} == good
    assert {row["image_id"] for row in table(vqa_rad[1], "images")} == good


def test_a_picture_of_another_format_than_its_name_is_kept_as_what_it_is(vqa_rad: tuple[Artifact, Artifact]) -> None:
    formats = {row["file"]: row["format"] for row in table(vqa_rad[1], "images")}
    assert formats["VQA_RAD Image Folder/palette.jpg"] == "GIF"


def test_one_picture_of_many_rows_has_one_line(vqa_rad: tuple[Artifact, Artifact]) -> None:
    images = [row["image_id"] for row in table(vqa_rad[1], "images")]
    assert len(images) == len(set(images)) == vqa_rad[1].manifest.summary["images"]


def test_pictures_that_no_row_names_are_counted(vqa_rad: tuple[Artifact, Artifact]) -> None:
    assert vqa_rad[1].manifest.summary["pictures_unused"] == 1


def test_a_sample_knows_its_row_and_the_digest_of_its_file(vqa_rad: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    file = "VQA_RAD Dataset Public.json"
    first, second, third = (sample.origin for sample in read_samples(vqa_rad[1].folder / "samples.parquet"))
    assert (first.row, second.row, third.row) == (0, 1, 5)
    assert first.file == file
    assert first.digest == sha256_file(tmp_path / "landing" / "vqa_rad" / file)


def test_licences_and_credentials_come_with_the_rows(vqa_rad: tuple[Artifact, Artifact]) -> None:
    manifest = vqa_rad[1].manifest
    assert (manifest.licences, manifest.credentialed) == (("CC0-1.0",), False)
    assert {sample.licence for sample in read_samples(vqa_rad[1].folder / "samples.parquet")} == {"CC0-1.0"}


def test_raw_lists_every_file_with_its_digest(vqa_rad: tuple[Artifact, Artifact]) -> None:
    external = {entry.path: entry for entry in vqa_rad[0].manifest.external}
    entry = external["vqa_rad/VQA_RAD Image Folder/a.jpg"]
    assert (entry.sha256, entry.bytes) == (sha256_bytes(picture(1, "JPEG")), len(picture(1, "JPEG")))
    assert len(external) == vqa_rad[0].manifest.summary["files"] == 6


def test_members_join_by_base_name_and_missing_and_extra_ones_are_counted(tmp_path: Path) -> None:
    rows = [
        {"image": "PMC1_Fig1_1.jpg", "caption": "A knee."},
        {"image": "PMC1_Fig1_2.jpg", "caption": json.loads("NaN")},
        {"image": "PMC1_Fig1_3.jpg", "caption": ""},
        {"image": "PMC7_Fig9_9.jpg", "caption": "Not in the archive."},
    ]
    lay_pmc_oa(tmp_path, rows, {"PMC1_Fig1_1.jpg": picture(1), "PMC5_Fig1_1.jpg": picture(2)})
    _, samples = make(tmp_path / "store", tmp_path, "pmc_oa")
    counts = samples.manifest.counts
    assert counts.dropped == {"caption_empty": 1, "caption_nan": 1}
    assert counts.quarantined == {"image_missing": 1}
    (image,) = table(samples, "images")
    assert image["member"] == "caption_T060_filtered_top4_sep_v0_subfigures/PMC1_Fig1_1.jpg"
    assert samples.manifest.summary["pictures_unused"] == 1


def test_two_members_of_one_base_name_are_ambiguous_and_a_hostile_one_refused(tmp_path: Path) -> None:
    rows = [{"image": f"PMC1_Fig1_{number}.jpg", "caption": f"Number {number}."} for number in (1, 2)]
    folder = lay_pmc_oa(tmp_path, rows, {})
    write_zip(
        folder / "images.zip",
        {"x/PMC1_Fig1_1.jpg": picture(1), "y/PMC1_Fig1_1.jpg": picture(2), "../PMC1_Fig1_2.jpg": picture(3)},
    )
    raw, samples = make(tmp_path / "store", tmp_path, "pmc_oa")
    assert raw.manifest.counts.quarantined == {"member_unsafe_path": 1}
    assert samples.manifest.counts.quarantined == {"image_ambiguous": 1, "image_refused": 1}


def packed_vqa_rad() -> Source:
    """VQA-RAD as if its pictures lay in a gzipped tar beside the table."""
    record = source("vqa_rad")
    return replace(record, files=(*record.files, ExpectedFile("images.tar.gz", "pictures", pictures=True)))


def test_seek_points_come_with_pictures_of_a_gzipped_tar(tmp_path: Path) -> None:
    folder = lay_vqa_rad(tmp_path, [question(0, "a.jpg"), question(1, "loose.jpg")], {"loose.jpg": picture(2, "JPEG")})
    (folder / "images.tar.gz").write_bytes(tar_bytes({"x/a.jpg": picture(1, "JPEG")}, "gz"))
    raw, made = make(tmp_path / "store", tmp_path, packed_vqa_rad())
    assert {(row["file"], row["member"], row["kind"]) for row in table(made, "images")} == {
        ("images.tar.gz", "x/a.jpg", "gz"),
        ("VQA_RAD Image Folder/loose.jpg", "", "loose"),
    }
    points = "seek/images.tar.gz.gzidx"
    assert (made.folder / points).read_bytes() == (raw.folder / points).read_bytes()
    with ImageReader(tmp_path, [made.folder / "images.parquet"]) as reader:
        assert reader.read(sha256_bytes(picture(1, "JPEG"))) == picture(1, "JPEG")


def test_no_seek_points_come_where_no_sample_needs_them(tmp_path: Path) -> None:
    folder = lay_vqa_rad(tmp_path, [question(0, "loose.jpg")], {"loose.jpg": picture(2, "JPEG")})
    (folder / "images.tar.gz").write_bytes(tar_bytes({"x/a.jpg": picture(1, "JPEG")}, "gz"))
    _, made = make(tmp_path / "store", tmp_path, packed_vqa_rad())
    assert not (made.folder / "seek").exists()


def test_pictures_inside_a_table_are_described_and_read_from_it(tmp_path: Path) -> None:
    values = [picture(1), None, picture(3)]
    lines = [{"n": number, "image": {"bytes": data, "path": None}} for number, data in enumerate(values)]
    kind = pa.schema([("n", pa.int64()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    write_table(tmp_path / "vqa_rad" / "data.parquet", pa.Table.from_pylist(lines, schema=kind))

    def adapt(row: Any) -> Draft:
        turns = (Turn("user", "<image>?"), Turn("assistant", "!"))
        return Draft(str(row["n"]), "train", "vqa_open", turns, (row["image"] or ImageRef("", "gone"),))

    record = replace(
        source("vqa_rad"),
        files=(ExpectedFile("data.parquet", "rows and pictures", pictures=True),),
        rows=lambda files: files.parquet("data.parquet"),
        adapt=adapt,
    )
    _, made = make(tmp_path / "store", tmp_path, record)
    assert [sample.extra for sample in read_samples(made.folder / "samples.parquet")] == ["{}", "{}"]
    assert [(row["kind"], row["member"]) for row in table(made, "images")] == [
        ("parquet", "image/0"),
        ("parquet", "image/2"),
    ]
    assert made.manifest.summary["pictures_unused"] == 0
    with ImageReader(tmp_path, [made.folder / "images.parquet"]) as reader:
        assert reader.read(sha256_bytes(picture(3))) == picture(3)


def test_a_credentialed_row_of_an_open_source_makes_the_artifact_credentialed(tmp_path: Path) -> None:
    record = source("vqa_rad")

    def some(row: Any) -> Adapted:
        made = record.adapt(row)
        return replace(made, credentialed=row["qid"] == 1) if isinstance(made, Draft) else made

    lay_vqa_rad(tmp_path, [question(number, "a.jpg") for number in range(3)], {"a.jpg": picture(1, "JPEG")})
    _, made = make(tmp_path / "store", tmp_path, replace(record, adapt=some))
    assert [sample.credentialed for sample in read_samples(made.folder / "samples.parquet")] == [False, True, False]
    assert made.manifest.credentialed


def test_rows_that_come_otherwise_the_second_time_stop_the_step(tmp_path: Path) -> None:
    record = source("vqa_rad")
    passes = iter(range(2))

    def unsteady(files: RowFiles) -> Iterator[Row]:
        skipped = next(passes)
        yield from islice(record.rows(files), skipped, None)

    lay_vqa_rad(tmp_path, [question(number, "a.jpg") for number in range(3)], {"a.jpg": picture(1, "JPEG")})
    with pytest.raises(StoreError, match="reading the rows twice gave other rows"):
        make(tmp_path / "store", tmp_path, replace(record, rows=unsteady))
    assert Ledger(tmp_path / "store", "test", tmp_path).current("vqa_rad/samples") is None


def test_a_line_of_the_images_says_where_the_bytes_lie_and_what_they_hold(tmp_path: Path) -> None:
    lay_pmc_oa(tmp_path, [{"image": "PMC1_Fig1_1.jpg", "caption": "A knee."}], {"PMC1_Fig1_1.jpg": picture(1)})
    _, made = make(tmp_path / "store", tmp_path, "pmc_oa")
    (line,) = table(made, "images")
    assert (line["folder"], line["kind"], line["offset"]) == ("pmc_oa", "zip", 0)
    assert (line["bytes"], line["crc"]) == (len(picture(1)), zlib.crc32(picture(1)))
    assert {name: line[name] for name in Probe._fields} == probe(picture(1))._asdict()


def test_a_large_picture_is_quarantined_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmax_pipeline.ingest.pictures.MAX_PICTURE_BYTES", 1000)
    rows = [question(0, "small.jpg"), question(1, "large.jpg")]
    lay_vqa_rad(tmp_path, rows, {"small.jpg": picture(1, "JPEG"), "large.jpg": picture(2, "BMP", (64, 64))})
    _, made = make(tmp_path / "store", tmp_path, "vqa_rad")
    assert made.manifest.counts.quarantined == {"image_too_large": 1}


REPORT = "                                 FINAL REPORT\n IMPRESSION:  No acute process.\n"


def test_radiographs_join_their_report_and_view(tmp_path: Path) -> None:
    rows = [
        (DICOM.format(1), "50000001", "train", "PA"),
        (DICOM.format(2), "50000001", "train", "LATERAL"),
        (DICOM.format(3), "50000002", "test", "AP"),
        (DICOM.format(4), "50000003", "validate", "PA"),
        (DICOM.format(5), "50000004", "train", "PA"),
    ]
    lay_mimic_cxr(tmp_path, rows, dict.fromkeys(("50000001", "50000002", "50000003"), REPORT))
    _, made = make(tmp_path / "store", tmp_path, "mimic_cxr")
    samples = list(read_samples(made.folder / "samples.parquet"))
    assert [(sample.split, sample.turns[1].text) for sample in samples] == [
        ("train", "No acute process."),
        ("eval", "No acute process."),
    ]
    assert all(sample.credentialed for sample in samples)
    assert made.manifest.credentialed
    assert made.manifest.counts.dropped == {"report_missing": 1, "split_validate": 1, "view_lateral": 1}


def test_an_adapter_that_gives_nothing_is_found_out() -> None:
    silent = replace(source("vqa_rad"), adapt=lambda row: [])
    (unit,) = adapt_row(silent, Row("f", 0, {}))
    assert "name the reason of a drop" in str(unit.made)


def test_one_row_may_become_several_samples() -> None:
    def two(row: Any) -> list[Draft]:
        turns = (Turn("user", "<image>?"), Turn("assistant", "!"))
        return [Draft(key, "train", "vqa_open", turns, (ImageRef("a"),)) for key in ("one", "two")]

    assert len(adapt_row(replace(source("vqa_rad"), adapt=two), Row("f", 0, {}))) == 2


def test_a_row_of_an_unknown_shape_keeps_the_adapters_words() -> None:
    def refuse(row: Any) -> Draft:
        raise RowError("seven legs")

    (unit,) = adapt_row(replace(source("vqa_rad"), adapt=refuse), Row("f", 0, {}))
    assert unit.made == ("row_unknown_shape", "seven legs")
