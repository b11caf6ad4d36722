"""Pictures inside Parquet tables."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.embedded import Embedded


def test_structs_and_plain_bytes_are_pictures_and_nulls_are_none(tmp_path: Path) -> None:
    columns = {
        "text": ["a", "b", "c"],
        "image": [{"bytes": b"one", "path": "1.png"}, None, {"bytes": None, "path": "3.png"}],
        "mask": [b"", None, b"three"],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=2)
    with (tmp_path / "t.parquet").open("rb") as handle:
        table = Embedded(handle, "t.parquet")
        assert list(table.sizes()) == [("image", 0, 3), ("mask", 0, 0), ("mask", 2, 5)]
        assert (table.read("image", 0), table.read("mask", 2), table.read("mask", 0)) == (b"one", b"three", b"")


@pytest.mark.parametrize(("column", "row"), [("image", 1), ("image", 2), ("image", 9), ("other", 0)])
def test_what_a_table_does_not_hold_is_no_picture(tmp_path: Path, column: str, row: int) -> None:
    pq.write_table(pa.table({"image": [b"one", None]}), tmp_path / "t.parquet")
    with (tmp_path / "t.parquet").open("rb") as handle, pytest.raises(LookupError):
        Embedded(handle, "t.parquet").read(column, row)


def test_one_value_in_every_row_is_held_once(tmp_path: Path) -> None:
    value = pa.array([Random(0).randbytes(1 << 20)])
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), value)
    pq.write_table(
        pa.table({"image": values}), tmp_path / "t.parquet", store_schema=False, dictionary_pagesize_limit=4 << 20
    )
    most = 0
    with (tmp_path / "t.parquet").open("rb") as handle:
        for _ in Embedded(handle, "t.parquet").sizes():
            most = max(most, pa.total_allocated_bytes())
    assert most < 50 << 20, "half a gigabyte of equal rows was unpacked"


def test_pictures_too_deep_to_be_named_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"images": [[b"one", b"two"]]}), tmp_path / "t.parquet")
    with (
        (tmp_path / "t.parquet").open("rb") as handle,
        pytest.raises(ArchiveError, match=r"t\.parquet: column 'images'"),
    ):
        Embedded(handle, "t.parquet")
