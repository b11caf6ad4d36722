"""Quirks of PubMedVision: the rule that both of its parts share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources import SOURCES, source

PARTS = pytest.mark.parametrize("key", ["pubmedvision_alignment", "pubmedvision_it"])
TWO = ["images/pmc_12_0.jpg", "images/pmc_12_1.jpg"]


def adapt(key: str, variant: str = "", **changes: Any) -> Draft | Drop:
    record = source(key, variant)
    made = record.adapt({**record.example, **changes})
    assert isinstance(made, Draft | Drop)
    return made


def draft(key: str, variant: str = "", **changes: Any) -> Draft:
    made = adapt(key, variant, **changes)
    assert isinstance(made, Draft)
    return made


def test_alignment_is_captioning_and_its_reply_the_caption() -> None:
    made = draft("pubmedvision_alignment")
    assert (made.kind, made.answer, made.context) == (
        "captioning",
        "An axial CT slice of the chest.",
        "An axial CT slice of the chest.",
    )


@PARTS
def test_everything_is_for_training(key: str) -> None:
    assert draft(key).split == "train"
    assert SOURCES[key].splits == ("train",)


@PARTS
def test_a_mark_goes_before_the_publishers_question(key: str) -> None:
    turns: Any = SOURCES[key].example["conversations"]
    assert draft(key).turns[0].text == f"<image>{turns[0]['value']}"


@PARTS
def test_pictures_are_named_by_their_base_name(key: str) -> None:
    assert draft(key, image=["a/deep/folder/pmc_12_0.jpg"]).images == (picture("pmc_12_0.jpg"),)


@PARTS
def test_one_string_is_a_list_of_one(key: str) -> None:
    assert draft(key, image="images/pmc_12_0.jpg") == draft(key)


@PARTS
def test_a_row_of_two_pictures_is_dropped_by_name(key: str) -> None:
    made = adapt(key, image=TWO)
    assert isinstance(made, Drop)
    assert made.reason == "several_images"
    assert made.detail.endswith("_12: 2 pictures")


@PARTS
def test_the_variant_keeps_two_pictures_each_with_its_mark(key: str) -> None:
    made = draft(key, "multi_image", image=TWO)
    assert made.images == (picture("pmc_12_0.jpg"), picture("pmc_12_1.jpg"))
    assert made.turns[0].text.startswith("<image><image>")


@PARTS
def test_a_row_without_modality_and_body_part_is_kept(key: str) -> None:
    record = SOURCES[key]
    made = record.adapt({name: record.example[name] for name in ("id", "image", "conversations")})
    assert isinstance(made, Draft)
    assert (made.modality, made.extra) == ("", '{"body_part": ""}')


def test_equal_numbers_are_other_keys_in_the_two_parts() -> None:
    assert draft("pubmedvision_alignment").key == "Alignment_VQA_12"
    assert draft("pubmedvision_it").key == "Instruction-Tuning_12"


@PARTS
def test_a_row_that_names_no_picture_is_dropped_by_name(key: str) -> None:
    made = adapt(key, image=[])
    assert isinstance(made, Drop)
    assert made.reason == "image_not_named"


@PARTS
@pytest.mark.parametrize("image", [7, None, [7], ["images/pmc_12_0.jpg", None], [""], {"path": "a.jpg"}])
def test_an_image_of_another_shape_is_no_row_of_ours(key: str, image: object) -> None:
    with pytest.raises(RowError, match="image "):
        source(key, "multi_image").adapt({**SOURCES[key].example, "image": image})


def two_exchanges(first: str) -> list[dict[str, str]]:
    said = [("human", first), ("gpt", "A chest."), ("human", "Which view?"), ("gpt", "Axial.")]
    return [{"from": speaker, "value": text} for speaker, text in said]


def test_a_second_exchange_is_chat_and_no_caption() -> None:
    assert len(draft("pubmedvision_it", conversations=two_exchanges("What?")).turns) == 4
    made = adapt("pubmedvision_alignment", conversations=two_exchanges("What?"))
    assert isinstance(made, Drop)
    assert made.reason == "several_exchanges"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda turns: [], "conversation_empty"),
        (lambda turns: turns[:1], "conversation_does_not_alternate"),
        (lambda turns: [turns[0], {"from": "gpt", "value": " \n"}], "turn_empty"),
    ],
)
@PARTS
def test_a_broken_chat_is_dropped_by_name(key: str, change: Callable[[Any], Any], reason: str) -> None:
    made = adapt(key, conversations=change(SOURCES[key].example["conversations"]))
    assert isinstance(made, Drop)
    assert made.reason == reason


@PARTS
@pytest.mark.parametrize("missing", ["id", "image", "conversations"])
def test_a_missing_key_is_named(key: str, missing: str) -> None:
    row = {name: value for name, value in SOURCES[key].example.items() if name != missing}
    with pytest.raises(RowError, match=f"no {missing} in the row"):
        SOURCES[key].adapt(row)


def test_a_row_without_an_id_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="id is empty"):
        adapt("pubmedvision_it", id=" ")
