"""Evaluation pictures in training sets: found by bytes and by pixels, and the search proves itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmax_pipeline.curation.leakage import EvaluationPictures, collect, find_leaks, plant
from medmax_pipeline.errors import MedmaxError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.images import probe
from tests.curation.published import publish, sample
from tests.ingest.landings import picture


def test_a_picture_of_another_sources_evaluation_set_is_found(tmp_path: Path) -> None:
    train = publish(tmp_path / "one", [sample("a", "p"), sample("b", "q")])
    test = publish(tmp_path / "two", [sample("c", "q", split="eval", source="two")])
    (leak,) = find_leaks(train, collect({"one": train, "two": test}))
    assert leak == {
        "sample_id": sample("b", "q").sample_id,
        "reason": "leak_same_file",
        "image_id": "q",
        "eval_source": "two",
        "eval_image": "q",
    }


def test_the_same_pixels_in_another_file_are_found(tmp_path: Path) -> None:
    train = publish(tmp_path / "one", [sample("a", "p")], {"p": "same"})
    test = publish(tmp_path / "two", [sample("c", "q", split="eval", source="two")], {"q": "same"})
    (leak,) = find_leaks(train, collect({"one": train, "two": test}))
    assert (leak["reason"], leak["eval_image"]) == ("leak_same_pixels", "q")


def test_a_source_leaks_into_itself_too(tmp_path: Path) -> None:
    both = publish(tmp_path / "one", [sample("a", "p"), sample("b", "p", split="eval")])
    assert [leak["sample_id"] for leak in find_leaks(both, collect({"one": both}))] == [sample("a", "p").sample_id]


def test_evaluation_samples_are_no_leaks_and_clean_training_is_left_alone(tmp_path: Path) -> None:
    both = publish(tmp_path / "one", [sample("a", "p"), sample("b", "q", split="eval")])
    assert find_leaks(both, collect({"one": both})) == []


def known(*pictures: bytes) -> EvaluationPictures:
    found = EvaluationPictures()
    for data in pictures:
        seen = probe(data)
        found.add("two", seen.image_id, seen.pixel_digest)
    return found


def test_planted_copies_are_found_as_bytes_and_as_png() -> None:
    files = {sha256_bytes(data): data for data in (picture(1, "JPEG"), picture(2), picture(3, "GIF"))}
    planted = plant(known(*files.values()), files, files.__getitem__)
    assert (planted.same_bytes, planted.re_encoded, planted.found, planted.deep) == (3, 3, 6, 0)
    assert planted.recall == 1.0


def test_a_search_that_misses_a_planted_copy_is_an_error() -> None:
    data = picture(1, "JPEG")
    blind = EvaluationPictures()
    blind.add("two", sha256_bytes(data), "not the digest of its pixels")
    with pytest.raises(MedmaxError, match=r"1 of 2 planted copies were not found, the first is \w+ as PNG"):
        plant(blind, [sha256_bytes(data)], {sha256_bytes(data): data}.__getitem__)


def test_recall_of_nothing_is_unknown_and_not_one() -> None:
    assert plant(EvaluationPictures(), [], lambda image_id: b"").recall is None
