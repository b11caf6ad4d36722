"""Rows of Parquet tables whose pictures are embedded."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest import parquet
from medmax_pipeline.records import ImageRef
from medmax_pipeline.sources.record import Row

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def packed(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def read(data: bytes, name: str = "t.parquet") -> list[Row]:
    return list(parquet.read_parquet(io.BytesIO(data), name))


def test_rows_come_in_order_over_row_groups_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_A_BATCH", 7)
    found = read(packed({"n": list(range(50))}, row_group_size=20))
    assert [(row.number, row.values) for row in found] == [(number, {"n": number}) for number in range(50)]


def test_a_picture_is_its_name_over_all_row_groups_and_null_is_none() -> None:
    pictures = [{"bytes": b"x", "path": None}, None, {"bytes": b"y", "path": "y.jpg"}]
    found = read(packed({"image": pa.array(pictures, PICTURE), "q": ["a", "b", "c"]}, row_group_size=2))
    assert [row.values for row in found] == [
        {"image": ImageRef("t.parquet", "image/0"), "q": "a"},
        {"image": None, "q": "b"},
        {"image": ImageRef("t.parquet", "image/2"), "q": "c"},
    ]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary())])])
def test_pictures_without_a_path_are_told_from_nulls(kind: pa.DataType, statistics: bool) -> None:
    values: list[Any] = [b"x", None] if not pa.types.is_struct(kind) else [{"bytes": b"x"}, None]
    found = read(packed({"image": pa.array(values, kind)}, write_statistics=statistics))
    assert [row.values["image"] for row in found] == [ImageRef("t.parquet", "image/0"), None]


def test_the_bytes_of_pictures_are_not_read() -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            piece = super().read(size)
            self.taken += len(piece)
            return piece

    noise = [bytes([number]) * 100_000 for number in range(100)]
    data = packed(
        {"image": pa.array([{"bytes": each, "path": None} for each in noise], PICTURE), "q": ["a"] * 100},
        compression="none",
        use_dictionary=False,
    )
    handle = Counted(data)
    assert len(list(parquet.read_parquet(handle, "t.parquet"))) == 100
    assert handle.taken < len(data) / 20


def test_binary_values_deeper_than_a_struct_are_refused() -> None:
    with pytest.raises(ArchiveError, match=r"^t\.parquet: column 'images' is list"):
        read(packed({"images": pa.array([[{"bytes": b"x", "path": None}]], pa.list_(PICTURE))}))


def test_a_string_that_is_no_utf8_is_a_fault_of_that_row() -> None:
    torn = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers())
    found = read(packed({"q": torn}))
    assert [bool(row.fault) for row in found] == [False, True, False]
    assert found[2].values == {"q": "c"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-20],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1",
        lambda data: b"version https://git-lfs.github.com/spec/v1\n",
        lambda data: data[:4] + b"\xff" * 60 + data[64:],
    ],
    ids=["end cut", "half", "empty", "footer length", "pointer", "first page"],
)
def test_a_damaged_table_names_the_file(damage: Callable[[bytes], bytes]) -> None:
    data = packed({"q": [f"question {number}" for number in range(100)]}, use_dictionary=False)
    with pytest.raises(ArchiveError, match=r"^t\.parquet: not readable as Parquet"):
        read(damage(data))


def test_repeated_column_names_are_refused() -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), buffer)
    with pytest.raises(ArchiveError, match="expected distinct names"):
        read(buffer.getvalue())


def test_a_batch_above_the_limit_is_refused_for_its_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_BATCH_BYTES", 10_000)
    picture = pa.array([{"bytes": bytes(50_000), "path": None}], PICTURE)
    assert len(read(packed({"image": picture, "q": ["a"]}))) == 1
    with pytest.raises(ArchiveError, match=r"t\.parquet: 1 rows at 0 take \d+ bytes"):
        read(packed({"q": ["abc" * 10_000]}))
