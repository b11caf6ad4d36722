"""Quirks of LLaVA-Med-IT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop
from medmax_pipeline.sources import SOURCES, source
from medmax_pipeline.sources.record import Row, RowFiles

SOURCE = SOURCES["llava_med_it"]


def adapt(**changes: Any) -> Draft | Drop:
    made = SOURCE.adapt({**SOURCE.example, **changes})
    assert isinstance(made, Draft | Drop)
    return made


class OneRowAFile:
    """An opened folder of which each file holds one row, the second of them unreadable."""

    def json_array(self, name: str) -> Iterator[Row]:
        yield Row(name, 0, {"id": "1_F1"})
        yield Row(name, 1, {}, "not JSON")


def names_read(variant: str) -> list[tuple[str, object]]:
    rows = source("llava_med_it", variant).rows(cast(RowFiles, OneRowAFile()))
    return [(row.file.rpartition("/")[2], row.values.get("file", row.fault)) for row in rows]


def test_all_pairs_of_a_chat_are_kept_with_one_mark() -> None:
    made = adapt()
    assert isinstance(made, Draft)
    assert made.kind == "visual_chat"
    assert [turn.role for turn in made.turns] == ["user", "assistant"] * 2
    assert [turn.text.count("<image>") for turn in made.turns] == [1, 0, 0, 0]


def test_one_id_in_two_files_has_two_keys() -> None:
    first, second = adapt(file="60k_im"), adapt(file="10k")
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert {first.key, second.key} == {"60k_im/12345678_F2", "10k/12345678_F2"}


def test_the_misspelt_key_is_read_here_too() -> None:
    row = {("conversatons" if name == "conversations" else name): value for name, value in SOURCE.example.items()}
    assert isinstance(SOURCE.adapt(row), Draft)


def test_a_chat_that_breaks_off_is_dropped() -> None:
    made = adapt(conversations=SOURCE.example["conversations"][:3])
    assert isinstance(made, Drop)
    assert made.reason == "conversation_does_not_alternate"


def test_a_second_mark_is_no_row_of_ours() -> None:
    marked = [dict(turn) for turn in SOURCE.example["conversations"]]
    marked[2]["value"] += " <image>"
    with pytest.raises(RowError, match="the chat marks 2 pictures and its row names 1"):
        adapt(conversations=marked)


def test_two_files_are_read_by_default_and_a_bad_row_stays_bad() -> None:
    assert names_read("") == [
        ("llava_med_instruct_60k_inline_mention.json", "60k_im"),
        ("llava_med_instruct_60k_inline_mention.json", "not JSON"),
        ("llava_med_instruct_10k.json", "10k"),
        ("llava_med_instruct_10k.json", "not JSON"),
    ]


@pytest.mark.parametrize(
    ("variant", "file"),
    [
        ("60k_im", "llava_med_instruct_60k_inline_mention.json"),
        ("60k", "llava_med_instruct_60k.json"),
        ("10k", "llava_med_instruct_10k.json"),
    ],
)
def test_a_variant_reads_and_expects_its_file_alone(variant: str, file: str) -> None:
    assert names_read(variant)[0] == (file, variant)
    assert [item.path for item in source("llava_med_it", variant).files if not item.pictures] == [
        f"data/instruct/{file}"
    ]
