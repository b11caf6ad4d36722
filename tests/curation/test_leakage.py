"""Evaluation pictures in training sets: found by bytes and by pixels, and the search proves itself."""

from __future__ import annotations

from pathlib import Path

from medmax_pipeline.curation.evaluated import Hits, find_evaluated
from medmax_pipeline.curation.leakage import collect, find_leaks
from tests.curation.published import publish, sample


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
        "measure": 1.0,
        "change": "",
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


def test_a_changed_copy_counts_as_the_evaluation_picture_it_comes_nearest_to(tmp_path: Path) -> None:
    both = publish(tmp_path / "one", [sample("a", "p"), sample("b", "q", split="eval"), sample("c", "r", split="eval")])
    pictures = collect({"one": both})
    pictures.add_near("p", "q", 0.9, "cut")
    pictures.add_near("p", "r", 0.99, "turned")
    pictures.add_near("p", "q", 0.95, "cut")
    (leak,) = find_leaks(both, pictures)
    assert (leak["reason"], leak["eval_image"], leak["measure"], leak["change"]) == ("leak_near", "r", 0.99, "turned")


def test_evaluation_items_of_a_leaked_picture_are_named_with_their_question(tmp_path: Path) -> None:
    train = publish(tmp_path / "one", [sample("a", "q", said="A knee with a fracture.")])
    test = publish(tmp_path / "two", [sample("c", "q", split="eval", source="two", said="a Knee, with a fracture")])
    folders = {"one": train, "two": test}
    pictures = collect(folders)
    hits = Hits()
    hits.add({source: find_leaks(folder, pictures) for source, folder in folders.items()}, pictures.pixels())
    hits.read_texts(train)
    found = find_evaluated(folders, hits)
    (item,) = found.items
    assert (item["source"], item["train_source"], item["reason"]) == ("two", "one", "leak_same_file")
    assert (item["question"], item["question_measure"]) == ("same question and answer", 1.0)
    (row,) = found.table
    assert (row["benchmark"], row["items"], row["of_items"], row["same_file"], row["questions"]) == ("two", 1, 1, 1, 1)


def test_an_item_whose_picture_is_not_in_training_is_left_out(tmp_path: Path) -> None:
    both = publish(tmp_path / "one", [sample("a", "p"), sample("b", "q", split="eval")])
    assert find_evaluated({"one": both}, Hits()).items == []
