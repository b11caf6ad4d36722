"""Rows out of one big JSON value, and what becomes of broken ones."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest import json_stream, rows
from medmax_pipeline.sources.record import Row


def array(text: str | bytes, name: str = "r.json") -> list[Row]:
    data = text.encode() if isinstance(text, str) else text
    return list(json_stream.read_json_array(io.BytesIO(data), name))


def lists(text: str) -> list[tuple[tuple[str, ...], Row]]:
    return list(json_stream.read_json_lists(io.BytesIO(text.encode()), "r.json"))


def test_a_json_array_is_read_in_order_with_numbers() -> None:
    found = array(' [ {"a": 1} ,\n{"a": [2, "]"]}, {} ] ')
    assert [(row.number, row.values) for row in found] == [(0, {"a": 1}), (1, {"a": [2, "]"]}), (2, {})]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_a_json_array_reads_alike_whatever_the_chunk(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [{"name": f'é \\ " {number}', "n": number * 1.5e3} for number in range(20)]
    monkeypatch.setattr(rows, "CHUNK_BYTES", chunk)
    assert [row.values for row in array(json.dumps(values, indent=1, ensure_ascii=False))] == values


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_a_number_that_goes_on_in_the_next_chunk_is_one_element(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK_BYTES", chunk)
    assert [bool(row.fault) for row in array('[1234567, {"a": 1}]')] == [True, False]


def test_an_empty_array_has_no_rows() -> None:
    assert array("[]") == []


def test_an_element_that_is_no_object_is_a_fault_of_that_row() -> None:
    first, second = array('[3, {"a": 1}]')
    assert "found int" in first.fault
    assert not second.fault


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"a"', '[{"a": 1}', '[{"a": 1} {"a": 2}]', '[{"a": 1},]', '{"a": 1}', "", "[", "[[[[[[[[", "version"],
)
def test_a_broken_array_is_an_error_that_names_the_file(text: str) -> None:
    with pytest.raises(ArchiveError, match=r"^rows\.json: .*Fetch it again"):
        array(text, "rows.json")


def test_rows_before_the_broken_one_are_given() -> None:
    found = json_stream.read_json_array(io.BytesIO(b'[{"a": 1}, {"a": tru'), "r.json")
    assert next(found).values == {"a": 1}
    with pytest.raises(ArchiveError, match="row 1: broken"):
        next(found)


def test_a_second_value_behind_the_array_is_not_passed_over() -> None:
    with pytest.raises(ArchiveError, match="goes on after its closing bracket"):
        array('[{"a": 1}] [{"a": 2}]')


def test_nesting_beyond_the_interpreter_is_refused() -> None:
    with pytest.raises(ArchiveError, match="broken or oversized JSON"):
        array("[" * 200_000)


@pytest.mark.parametrize(("depth", "fault"), [(64, ""), (65, "objects and lists more than 64 deep")])
def test_a_row_deeper_than_the_limit_is_a_fault_of_that_row(depth: int, fault: str) -> None:
    deep = '{"a": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    assert [row.fault for row in array(f'[{deep}, {{"a": 1}}]')] == [fault, ""]


def test_many_shallow_lists_are_not_deep() -> None:
    (row,) = array(json.dumps([{"a": [[number] for number in range(200)]}]))
    assert not row.fault


@pytest.mark.parametrize("chunk", [100, 1 << 20])
def test_an_oversized_value_is_refused_whatever_the_chunk(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_CHARS", 1000)
    monkeypatch.setattr(rows, "CHUNK_BYTES", chunk)
    with pytest.raises(ArchiveError, match=r"oversized|longer than 1000"):
        array(json.dumps([{"a": "x" * 5000}]))


def test_an_integer_longer_than_python_converts_is_a_fault_of_that_row() -> None:
    first, second = array('[{"a": ' + "9" * 5000 + '}, {"a": 1}]')
    assert "4300 digits" in first.fault
    assert second.values == {"a": 1}


def test_nan_and_infinity_are_floats() -> None:
    (row,) = array('[{"a": NaN, "b": Infinity, "c": -Infinity}]')
    assert math.isnan(row.values["a"])
    assert (row.values["b"], row.values["c"]) == (math.inf, -math.inf)


def test_of_equal_keys_the_last_wins() -> None:
    (row,) = array('[{"a": 1, "a": 2}]')
    assert row.values == {"a": 2}


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ude00\\ud83d"])
def test_half_of_a_surrogate_pair_is_a_fault_of_that_row(half: str) -> None:
    first, second = array(f'[{{"a": ["{half}"]}}, {{"a": 1}}]')
    assert "surrogate" in first.fault
    assert not second.fault


def test_half_of_a_surrogate_pair_in_a_key_is_a_fault_too() -> None:
    (row,) = array('[{"\\ud83d": 1}]')
    assert "surrogate" in row.fault


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\\\ud83d"'])
def test_whole_pairs_and_escaped_backslashes_are_text(text: str) -> None:
    (row,) = array(f'[{{"a": {text}}}]')
    assert row.values == {"a": json.loads(text)}


def test_a_byte_order_mark_is_passed_over() -> None:
    assert array('\ufeff[{"a": 1}]')[0].values == {"a": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_another_encoding_names_the_file(encoding: str) -> None:
    with pytest.raises(ArchiveError, match=r"^r\.json: .*UTF-8"):
        array('[{"a": "é"}]'.encode(encoding))


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_lists_come_with_their_keys_and_numbers_go_on(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK_BYTES", chunk)
    found = lists(' {"PubMed": {"val": [{"No": 1}, {"No": 2}], "test": []} , "é\\n": [ {"No": 1} ]} ')
    assert [(keys, row.number, row.values) for keys, row in found] == [
        (("PubMed", "val"), 0, {"No": 1}),
        (("PubMed", "val"), 1, {"No": 2}),
        (("é\n",), 2, {"No": 1}),
    ]


def test_what_is_no_list_is_a_fault_in_its_place() -> None:
    found = lists('{"version": 1.5, "a": [{"x": 1}, 7], "b": null}')
    assert [(keys, bool(row.fault)) for keys, row in found] == [
        (("version",), True),
        (("a",), False),
        (("a",), True),
        (("b",), True),
    ]


@pytest.mark.parametrize(
    "text",
    ["[]", "", '{"a": [', '{"a": [{}]', '{"a" [{}]}', "{a: []}", '{"a": [{}]} {}', '{"a": [{}],}', '{"\\ud83d": []}'],
)
def test_broken_lists_are_an_error_that_names_the_file(text: str) -> None:
    with pytest.raises(ArchiveError, match=r"^r\.json: .*[Ff]etch"):
        lists(text)


def test_more_objects_around_a_list_than_the_limit_are_refused() -> None:
    value: Any = [{"a": 1}]
    for _ in range(json_stream.MAX_KEYS):
        value = {"k": value}
    assert len(lists(json.dumps(value))) == 1
    with pytest.raises(ArchiveError, match="objects around a list"):
        lists(json.dumps({"k": value}))


def test_a_row_is_given_before_the_next_piece_is_read() -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            piece = super().read(size)
            self.taken += len(piece)
            return piece

    handle = Counted(json.dumps([{"a": "x" * 1000}] * 20_000).encode())
    next(json_stream.read_json_array(handle, "r.json"))
    assert handle.taken <= 2 * rows.CHUNK_BYTES
