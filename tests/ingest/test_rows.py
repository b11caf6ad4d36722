"""Readers of JSON lines and CSV, and what they make of broken ones."""

from __future__ import annotations

import gzip
import io
import json
import math

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest import rows
from medmax_pipeline.sources.record import Row


def jsonl(text: str | bytes, name: str = "r.jsonl") -> list[Row]:
    return list(rows.read_jsonl(io.BytesIO(text.encode() if isinstance(text, str) else text), name))


def table(text: str | bytes, name: str = "r.csv") -> list[Row]:
    return list(rows.read_csv(io.BytesIO(text.encode() if isinstance(text, str) else text), name))


def test_a_broken_line_is_a_fault_of_that_line_alone() -> None:
    found = jsonl('{"a": 1}\n\n{"a": \n[1]\n{"a": 2}')
    assert [(row.number, bool(row.fault)) for row in found] == [(0, False), (2, True), (3, True), (4, False)]


@pytest.mark.parametrize("chunk", [1, 4, 5, 64])
def test_lines_read_alike_whatever_the_chunk(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"name": f"é {number}"} for number in range(20)]
    monkeypatch.setattr(rows, "CHUNK_BYTES", chunk)
    found = jsonl("\r\n".join(json.dumps(value, ensure_ascii=False) for value in values))
    assert [row.values for row in found] == values


def test_nan_stays_nan() -> None:
    (row,) = jsonl('{"caption": NaN}\n')
    assert math.isnan(row.values["caption"])


def test_an_oversized_line_is_a_fault_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_CHARS", 10)
    monkeypatch.setattr(rows, "CHUNK_BYTES", 4)
    found = jsonl('{"a": "xxxxxxxxxxxxxxxxxxxxxx"}\n{"a": 1}\n{"a": "xxxxxxxx"}')
    assert [(row.number, row.fault) for row in found] == [
        (0, "longer than 10 bytes"),
        (1, ""),
        (2, "longer than 10 bytes"),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"a": "\\ud83d"}', "surrogate"),
        ("[" * 100_000, "not JSON"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "64 deep"),
        ('{"a": ' + "9" * 5000 + "}", "4300 digits"),
        ('{"a": "\x00"}', "not JSON"),
    ],
)
def test_a_hostile_line_is_a_fault_of_that_line_alone(line: str, fault: str) -> None:
    first, second = jsonl(f'{line}\n{{"a": 1}}\n')
    assert fault in first.fault
    assert second.values == {"a": 1}


def test_bytes_that_are_no_utf8_name_the_file() -> None:
    with pytest.raises(ArchiveError, match=r"r\.jsonl: not UTF-8"):
        jsonl(b'{"a": "\xff"}\n')


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_names_the_file_instead_of_giving_faults(encoding: str) -> None:
    with pytest.raises(ArchiveError, match=r"^r\.jsonl: begins with .*UTF-8"):
        jsonl('{"a": 1}\n'.encode(encoding))
    with pytest.raises(ArchiveError, match=r"^r\.csv: begins with .*UTF-8"):
        table("a,b\n1,2\n".encode(encoding))


@pytest.mark.parametrize("word", ["NA", "N/A", "None", "null", "nan", ""])
def test_csv_takes_no_word_for_missing(word: str) -> None:
    (row,) = table(f"a,b\n{word},1\n")
    assert row.values == {"a": word, "b": "1"}


def test_csv_keeps_line_breaks_inside_quotes() -> None:
    (row,) = table(b'a,b\r\n"one\r\ntwo",1\r\n')
    assert row.values == {"a": "one\r\ntwo", "b": "1"}


def test_the_last_line_needs_no_line_feed_and_blank_lines_are_counted() -> None:
    assert [(row.number, row.values["a"]) for row in table("a,b\n1,2\n\n3,4")] == [(0, "1"), (2, "3")]


def test_a_line_of_another_length_is_a_fault_of_that_line_alone() -> None:
    assert [row.fault for row in table("a,b\n1\n1,2\n1,2,3\n")] == [
        "1 fields where the header has 2",
        "",
        "3 fields where the header has 2",
    ]


def test_an_index_column_without_a_name_is_legal() -> None:
    (row,) = table(",caption\n0,A knee.\n")
    assert row.values == {"": "0", "caption": "A knee."}


def test_a_caption_of_a_megabyte_is_read() -> None:
    (row,) = table(f"a,b\n{'x' * 1_000_000},1\n")
    assert len(row.values["a"]) == 1_000_000


def test_a_field_above_the_limit_is_a_fault_of_that_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_FIELD_CHARS", 100)
    first, second = table(f"a,b\n{'x' * 200},1\n1,2\n")
    assert "field limit" in first.fault
    assert second.values == {"a": "1", "b": "2"}


def test_a_nul_is_a_fault_of_that_row() -> None:
    first, second = table("a,b\n1,x\x00y\n1,2\n")
    assert "NUL" in first.fault
    assert not second.fault


def test_a_badly_quoted_line_is_a_fault_of_that_line_alone() -> None:
    first, second = table('a,b\n"one" two,1\n1,2\n')
    assert first.fault.startswith("line 2: ")
    assert second.values == {"a": "1", "b": "2"}


def test_a_quote_that_swallows_lines_ends_the_file_by_the_line_where_it_opened() -> None:
    with pytest.raises(ArchiveError, match=r"^r\.csv: the record that begins in line 3 cannot be told"):
        table('a,b\n1,2\n"one,2\n3,4\n5,"6"\n')


def test_a_quote_that_never_closes_is_an_error() -> None:
    with pytest.raises(ArchiveError, match="begins in line 2"):
        table('a,b\n"one,2\n')


def test_a_record_of_endless_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_CHARS", 1000)
    with pytest.raises(ArchiveError, match=r"^r\.csv: the record at line \d+ is longer"):
        table("a,b\n" + '"x\n",' * 2000)


def test_gzip_is_known_by_its_first_bytes_and_not_by_its_name() -> None:
    packed = gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n")
    assert [row.values for row in table(packed, "r.csv")] == [{"a": "1", "b": "2"}]
    assert [row.values for row in table(b"a,b\n1,2\n", "r.csv.gz")] == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("cut", [5, 20, 60])
def test_a_torn_gzip_names_the_file(cut: int) -> None:
    packed = gzip.compress(b"a,b\n" + b"".join(b"1,%d\n" % number for number in range(5000)))
    with pytest.raises(ArchiveError, match=r"r\.csv\.gz: cannot be read on"):
        table(packed[:-cut], "r.csv.gz")


@pytest.mark.parametrize("text", ["", "\n", "a,a\n1,2\n", "a,,\n1,2,3\n", ",\n1,2\n", '"a\n'])
def test_a_csv_without_distinct_columns_is_refused(text: str) -> None:
    with pytest.raises(ArchiveError, match=r"^r\.csv: (header is|no header)"):
        table(text)


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    (row,) = table("\ufeffa,b\n1,2\n")
    assert row.values == {"a": "1", "b": "2"}
