"""The sample's PathVQA folder is laid out as the hub's copy, and what becomes of each quirk."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from medmax_pipeline.sample.layout import parquet
from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.pathvqa import LAYOUT, PICKLE, TABLES, VALIDATION
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingested(tmp_path_factory.mktemp("store"), laid.landing, "pathvqa")


def test_every_row_is_kept_dropped_or_quarantined_by_name(made: Ingested) -> None:
    assert made.figures == (
        31,
        {"answer_empty": 1, "image_not_embedded": 1, "split_validation": 1},
        {"image_not_an_image": 1, "image_truncated": 1},
    )


def test_tables_are_the_hubs(laid: Laid) -> None:
    for name in (*TABLES, VALIDATION):
        table = pq.read_table(laid.landing / "pathvqa" / name)
        assert table.schema.names == ["image", "question", "answer"]
        assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"


def test_a_table_has_several_row_groups(laid: Laid) -> None:
    assert pq.ParquetFile(laid.landing / "pathvqa" / next(iter(TABLES))).num_row_groups > 1


def test_the_file_is_the_split(made: Ingested) -> None:
    assert Counter((sample.origin.file, sample.split) for sample in made.samples) == {
        ("data/train-00000-of-00002.parquet", "train"): 10,
        ("data/train-00001-of-00002.parquet", "train"): 9,
        ("data/test-00000-of-00001.parquet", "eval"): 12,
    }


def test_cmyk_pictures_are_kept(laid: Laid, made: Ingested) -> None:
    column = pq.read_table(laid.landing / "pathvqa" / "data/train-00001-of-00002.parquet")["image"]
    with Image.open(io.BytesIO(column[0].as_py()["bytes"])) as image:
        assert image.mode == "CMYK"
    assert Counter(line["mode"] for line in made.images.values())["CMYK"] == 3


def test_blanks_around_and_inside_texts_are_there_and_gone(laid: Laid, made: Ingested) -> None:
    table = pq.read_table(laid.landing / "pathvqa" / "data/train-00001-of-00002.parquet")
    assert [text for text in table["question"].to_pylist() if "  " in text or text.endswith(" ")]
    assert not [
        sample for sample in made.samples if "  " in sample.turns[0].text or sample.answer != sample.answer.strip()
    ]


def test_a_repeated_row_has_its_own_key_and_the_same_picture(made: Ingested) -> None:
    seen = Counter((sample.images, sample.turns) for sample in made.samples)
    assert [count for count in seen.values() if count > 1] == [2]
    assert len({sample.sample_id for sample in made.samples}) == len(made.samples)


def test_a_picture_in_the_table_is_the_one_that_was_placed(laid: Laid, made: Ingested) -> None:
    placed = {(each.file, each.member): each.image_id for each in laid.report.placed if each.source == "pathvqa"}
    for sample in made.samples:
        assert sample.images == (placed[sample.origin.file, f"image/{sample.origin.row}"],)


def test_the_originals_pickle_lies_there_and_is_not_opened(laid: Laid, made: Ingested) -> None:
    assert (laid.landing / "pathvqa" / PICKLE).is_file()
    assert all(sample.origin.file.endswith(".parquet") for sample in made.samples)


def test_without_pictures_the_folder_is_empty_and_whole() -> None:
    assert LAYOUT.lay(Pool((), ())).files.keys() == {*TABLES, VALIDATION, PICKLE}


def test_the_same_columns_give_the_same_bytes() -> None:
    columns: dict[str, list[Any]] = {"image": [b"a", None], "question": ["what?", "why?"]}
    assert parquet(columns) == parquet(columns)
    assert pq.read_table(io.BytesIO(parquet(columns)))["image"].to_pylist() == [{"bytes": b"a", "path": None}, None]
