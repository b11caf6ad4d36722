"""The sample's copy of the published training set is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections import Counter
from typing import Any

import pytest

from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.medmax_data import ABSENT, BROKEN, LAYOUT, UNASKED
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "medmax_data")


@pytest.fixture(scope="module")
def rows(laid: Laid) -> Rows:
    lines = (laid.landing / "medmax_data" / "train.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def members(laid: Laid) -> list[str]:
    folder = laid.landing / "medmax_data"
    whole = b"".join(path.read_bytes() for path in sorted(folder.glob("images.tar.gz.a?")))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(whole))) as archive:
        return archive.getnames()


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        10,
        {"credentialed_picture_not_shipped": 3, "split_validation": 2},
        {"image_missing": 1, "image_truncated": 1},
    )
    assert made.unused == 1


def test_credentialed_rows_lack_picture_and_ids_in_three_forms(rows: Rows) -> None:
    found = [row for row in rows if row["credential"].lower() == "yes"]
    assert [row.get("image_path", "absent") for row in found] == ["absent", None, ""]
    assert [row.get("tokens", "absent") for row in found] == ["absent", None, []]
    assert {row["credential"] for row in rows} == {"yes", "YES", "no", "NO"}


def test_rows_share_a_picture_and_are_samples_of_their_own(made: Ingested, rows: Rows) -> None:
    shared = Counter(row.get("image_path") for row in rows)["images/vqa_rad/synpic00001.jpg"]
    assert shared == 2
    assert max(Counter(sample.images for sample in made.samples).values()) == 2
    assert len({sample.sample_id for sample in made.samples}) == len(made.samples)


def test_a_row_lacks_its_member_a_member_its_row_and_one_does_not_decode(rows: Rows, members: list[str]) -> None:
    named = {row["image_path"] for row in rows if row.get("image_path")}
    assert {name for name in named - set(members) if not name.startswith("imgs/")} == {ABSENT}
    assert set(members) - named == {UNASKED}
    assert BROKEN in named & set(members)


def test_the_archive_is_cut_inside_a_member(laid: Laid) -> None:
    first, second = sorted((laid.landing / "medmax_data").glob("images.tar.gz.*"))
    assert (first.suffix, second.suffix) == (".aa", ".ab")
    assert first.stat().st_size % 512
    with pytest.raises(EOFError):
        gzip.decompress(first.read_bytes())


def test_pictures_of_the_second_piece_and_of_slakes_archive_are_read(made: Ingested) -> None:
    files = Counter(image["file"] for image in made.images.values())
    assert files == {"images.tar.gz.aa": 7, "slake.tar.gz": 1}


def test_every_format_and_mode_of_the_real_set_is_there(made: Ingested) -> None:
    assert {image["format"] for image in made.images.values()} == {"JPEG", "PNG", "TIFF", "BMP"}
    assert {"P", "RGBA", "RGB"} <= {image["mode"] for image in made.images.values()}


def test_each_task_becomes_its_kind(made: Ingested) -> None:
    assert Counter(sample.kind for sample in made.samples) == {
        "vqa_closed": 2,
        "vqa_open": 2,
        "vqa_mcq": 1,
        "captioning": 2,
        "generation": 1,
        "interleaved": 1,
        "visual_chat": 1,
    }
    assert {sample.split for sample in made.samples} == {"train"}


def test_the_right_option_is_the_pictures_own_modality(made: Ingested) -> None:
    (choice,) = (sample for sample in made.samples if sample.kind == "vqa_mcq")
    assert (len(choice.options), choice.answer) == (4, "B")
    assert choice.turns[1].text == f"B: {choice.options[1]}"


def test_without_pictures_only_the_credentialed_rows_are_there() -> None:
    files = LAYOUT.lay(Pool((), ())).files
    assert len(files["train.jsonl"].splitlines()) == 3
    assert {"images.tar.gz.aa", "images.tar.gz.ab", "validation.jsonl", "slake.tar.gz"} <= files.keys()
