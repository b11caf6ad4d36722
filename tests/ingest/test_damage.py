"""Files torn anywhere give rows, faults or an error that names the file, and nothing else, whatever their format."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.json_stream import read_json_array, read_json_lists
from medmax_pipeline.ingest.parquet import read_parquet
from medmax_pipeline.ingest.rows import read_csv, read_jsonl, writable
from medmax_pipeline.records import ImageRef
from medmax_pipeline.sources.record import Row

THOROUGH = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROWS: Final[list[dict[str, Any]]] = [
    {"id": number, "image": f"é{number}.jpg", "turns": [{"from": "human", "value": 'What, "this"?\n'}], "x": None}
    for number in range(6)
]


class Format(NamedTuple):
    """A reader, and a whole file for it."""

    read: Callable[[BinaryIO, str], Iterator[Any]]
    whole: bytes
    rows: int


def parquet_file(**options: Any) -> bytes:
    buffer = io.BytesIO()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array([{"bytes": b"\xff\xd8" * 40, "path": None}] * 3 + [None], kind),
        "question": pa.array(["what is this?", "é", None, ""]),
        "options": pa.array([["a", "b"], [], None, [None]]),
    }
    pq.write_table(pa.table(columns), buffer, row_group_size=2, **options)
    return buffer.getvalue()


CSV: Final = 'index,caption,path\r\n0,"A knee,\r\nseen ""so""",a.jpg\r\n1,é,b.jpg\r\n2,N/A,c.jpg\r\n'.encode()
FORMATS: Final[Mapping[str, Format]] = {
    "array": Format(read_json_array, json.dumps(ROWS, indent=1, ensure_ascii=False).encode(), 6),
    "lists": Format(read_json_lists, json.dumps({"a": {"val": ROWS[:3], "test": ROWS[3:]}}).encode(), 6),
    "jsonl": Format(read_jsonl, b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS), 6),
    "csv": Format(read_csv, CSV, 3),
    "csv.gz": Format(read_csv, gzip.compress(CSV, mtime=0), 3),
    "parquet": Format(read_parquet, parquet_file(), 4),
    "parquet plain": Format(read_parquet, parquet_file(compression="none", use_dictionary=False), 4),
}
EACH = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
SNIPPETS: Final = (
    *(b"", b"\0", b"\xff", b"\n", b"\r", b'"', b"\\", b"\\ud83d", b"[", b"{", b"]}", b",", b"\xef\xbb\xbf"),
    b"9" * 5000,
)


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file cut, with a stretch replaced, doubled or taken out, or other bytes altogether."""
    place = st.integers(0, len(whole))
    stretch = st.tuples(place, place).map(sorted)
    anything = st.binary(max_size=12) | st.sampled_from(SNIPPETS)
    return st.one_of(
        place.map(lambda at: whole[:at]),
        place.map(lambda at: whole[at:]),
        st.tuples(place, anything).map(lambda put: whole[: put[0]] + put[1] + whole[put[0] + len(put[1]) :]),
        st.tuples(place, anything).map(lambda put: whole[: put[0]] + put[1] + whole[put[0] :]),
        stretch.map(lambda cut: whole[: cut[0]] + whole[cut[1] :]),
        stretch.map(lambda cut: whole[: cut[1]] + whole[cut[0] :]),
        st.binary(max_size=200).map(lambda noise: whole[:4] + noise + whole[-8:]),
        st.binary(max_size=200),
    )


def rows_of(form: Format, data: bytes) -> list[Row]:
    """All rows, each checked for what every row promises."""
    found = [item if isinstance(item, Row) else item[1] for item in form.read(io.BytesIO(data), "torn.file")]
    assert [row.number for row in found] == sorted({row.number for row in found})
    for row in found:
        assert row.file == "torn.file"
        assert not (row.fault and row.values)
        assert all(isinstance(name, str) for name in row.values)
        plain = {name: value for name, value in row.values.items() if not isinstance(value, ImageRef)}
        assert writable(plain)
    return found


@EACH
def test_a_whole_file_gives_all_its_rows(form: Format) -> None:
    found = rows_of(form, form.whole)
    assert len(found) == form.rows
    assert not any(row.fault for row in found)


def complaint(form: Format, data: bytes) -> str:
    """What the error says that these bytes give; empty where they can be read on."""
    try:
        rows_of(form, data)
    except ArchiveError as error:
        return str(error)
    return ""


@EACH
def test_a_damaged_file_gives_rows_faults_or_an_error_that_names_it(form: Format) -> None:
    @THOROUGH
    @given(damaged(form.whole))
    def check(data: bytes) -> None:
        said = complaint(form, data)
        assert not said or said.startswith("torn.file: ")

    check()


@pytest.mark.parametrize("name", ["array", "lists", "csv.gz", "parquet"])
def test_a_file_that_says_where_it_ends_never_passes_for_whole_when_cut(name: str) -> None:
    form = FORMATS[name]
    for at in range(2, len(form.whole)):
        assert complaint(form, form.whole[:at]).startswith("torn.file: ")


def test_a_cut_line_is_a_fault_and_the_lines_before_it_are_rows() -> None:
    form = FORMATS["jsonl"]
    found = rows_of(form, form.whole[:-20])
    assert [bool(row.fault) for row in found] == [False] * 5 + [True]
