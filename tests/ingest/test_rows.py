"""Readers of upstream tables, and what they make of broken ones."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest import rows


def written(tmp_path: Path, text: str, name: str = "rows.json") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_json_array_is_read_in_order_with_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, ' [ {"a": 1} ,\n{"a": [2, "]"]}, {} ] ')
    assert [(row.number, row.values) for row in rows.read_json_array(path, "r")] == [
        (0, {"a": 1}),
        (1, {"a": [2, "]"]}),
        (2, {}),
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_a_json_array_reads_alike_whatever_the_chunk(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [{"name": f'é \\ " {number}', "n": number * 1.5e3} for number in range(20)]
    path = written(tmp_path, json.dumps(values, indent=1, ensure_ascii=False))
    monkeypatch.setattr(rows, "CHUNK_CHARS", chunk)
    assert [row.values for row in rows.read_json_array(path, "r")] == values


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_a_number_that_goes_on_in_the_next_chunk_is_one_element(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK_CHARS", chunk)
    found = list(rows.read_json_array(written(tmp_path, '[1234567, {"a": 1}]'), "r"))
    assert [bool(row.fault) for row in found] == [True, False]


def test_an_empty_array_has_no_rows(tmp_path: Path) -> None:
    assert list(rows.read_json_array(written(tmp_path, "[]"), "r")) == []


def test_an_element_that_is_no_object_is_a_fault_of_that_row(tmp_path: Path) -> None:
    first, second = rows.read_json_array(written(tmp_path, '[3, {"a": 1}]'), "r")
    assert "found int" in first.fault
    assert not second.fault


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a"', '[{"a": 1}', '[{"a": 1} {"a": 2}]', '{"a": 1}', "", "[", "[[[[[[[["]
)
def test_a_broken_array_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArchiveError, match=r"^rows\.json: .*Fetch it again"):
        list(rows.read_json_array(written(tmp_path, text), "rows.json"))


def test_nesting_beyond_the_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="broken or oversized JSON"):
        list(rows.read_json_array(written(tmp_path, "[" * 200_000), "r"))


def test_an_oversized_value_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_CHARS", 1000)
    monkeypatch.setattr(rows, "CHUNK_CHARS", 100)
    with pytest.raises(ArchiveError, match="broken or oversized JSON"):
        list(rows.read_json_array(written(tmp_path, json.dumps([{"a": "x" * 5000}])), "r"))


def test_a_broken_line_is_a_fault_of_that_line_alone(tmp_path: Path) -> None:
    found = list(rows.read_jsonl(written(tmp_path, '{"a": 1}\n\n{"a": \n[1]\n{"a": 2}'), "r"))
    assert [(row.number, bool(row.fault)) for row in found] == [(0, False), (2, True), (3, True), (4, False)]


def test_nan_stays_nan(tmp_path: Path) -> None:
    (row,) = rows.read_jsonl(written(tmp_path, '{"caption": NaN}\n'), "r")
    assert math.isnan(row.values["caption"])


def test_an_oversized_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_CHARS", 10)
    with pytest.raises(ArchiveError, match="r: line 1 is longer than 10"):
        list(rows.read_jsonl(written(tmp_path, '{"a": "xxxxxxxx"}\n'), "r"))


def test_bytes_that_are_no_text_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(ArchiveError, match=r"r\.jsonl: cannot be read on"):
        list(rows.read_jsonl(path, "r.jsonl"))


@pytest.mark.parametrize("word", ["NA", "N/A", "None", "null", "nan", ""])
def test_csv_takes_no_word_for_missing(tmp_path: Path, word: str) -> None:
    (row,) = rows.read_csv(written(tmp_path, f"a,b\n{word},1\n", "r.csv"), "r")
    assert row.values == {"a": word, "b": "1"}


def test_csv_keeps_line_breaks_inside_quotes(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b'a,b\r\n"one\r\ntwo",1\r\n')
    (row,) = rows.read_csv(path, "r")
    assert row.values["a"] == "one\r\ntwo"


def test_a_line_of_another_length_is_a_fault_of_that_line_alone(tmp_path: Path) -> None:
    found = list(rows.read_csv(written(tmp_path, "a,b\n1\n1,2\n1,2,3\n", "r.csv"), "r"))
    assert [row.fault for row in found] == [
        "1 fields where the header has 2",
        "",
        "3 fields where the header has 2",
    ]


def test_a_torn_gzip_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5000)[:-20])
    with pytest.raises(ArchiveError, match=r"r\.csv\.gz: cannot be read on"):
        list(rows.read_csv(path, "r.csv.gz"))


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n"])
def test_a_csv_without_distinct_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArchiveError, match="expected distinct column names"):
        list(rows.read_csv(written(tmp_path, text, "r.csv"), "r"))
