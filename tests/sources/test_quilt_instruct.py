"""Quirks of Quilt-Instruct."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop
from medmax_pipeline.sources import SOURCES, source
from tests.sources.adapting import adapting

SOURCE = SOURCES["quilt_instruct"]


adapt, draft = adapting(SOURCE)


def test_both_dialects_give_the_same_chat() -> None:
    other = [
        {"role": "User", "content": "<image>\nWhat pattern is seen?"},
        {"role": "GPT", "content": "A cribriform pattern."},
    ]
    assert draft(conversations=other) == draft()


def test_one_id_with_two_chats_has_two_keys() -> None:
    other = [{"from": "human", "value": "And this?\n<image>"}, {"from": "gpt", "value": "A gland."}]
    assert draft().key != draft(conversations=other).key


def test_one_chat_with_two_ids_has_one_key() -> None:
    assert draft().key == draft(id="AbCdEfGhIjK_13").key


def test_a_row_without_an_id_is_read() -> None:
    row = {name: value for name, value in SOURCE.example.items() if name != "id"}
    assert isinstance(SOURCE.adapt(row), Draft)


def test_the_video_is_kept_so_that_leaks_to_quilt_vqa_can_be_measured() -> None:
    assert json.loads(draft().extra) == {"id": "AbCdEfGhIjK_12", "video": "AbCdEfGhIjK"}


def test_everything_is_train() -> None:
    assert draft().split == "train"
    assert SOURCE.splits == ("train",)


def test_an_image_list_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="found list"):
        adapt(image=["a.jpg"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"image": None}, "image_not_named"), ({"conversations": []}, "conversation_empty")],
)
def test_what_cannot_be_asked_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize("variant", ["ablation_40k", "complex_abductive", "conv_desc"])
def test_a_variant_is_another_file_beside_the_same_pictures(variant: str) -> None:
    record = source("quilt_instruct", variant)
    assert record.files[0].path == f"quilt_instruct_{variant}.json"
    assert record.files[1:] == SOURCE.files[1:]


def test_the_chats_are_gated_and_the_pictures_come_by_hand() -> None:
    assert SOURCE.access.gated
    assert [item.by_hand for item in SOURCE.files] == [False, True, True]
