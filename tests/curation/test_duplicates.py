"""Which of several equal samples stays."""

from __future__ import annotations

from pathlib import Path

from medmax_pipeline.curation.duplicates import find_duplicates
from tests.curation.published import publish, sample


def dropped(folders: dict[str, Path]) -> dict[str, list[str]]:
    return {source: [row["sample_id"] for row in rows] for source, rows in find_duplicates(folders).items()}


def test_the_earlier_source_keeps_its_sample(tmp_path: Path) -> None:
    one, two = sample("a", "p"), sample("b", "p", source="two")
    folders = {"one": publish(tmp_path / "one", [one]), "two": publish(tmp_path / "two", [two])}
    (row,) = find_duplicates(folders)["two"]
    assert row == {
        "sample_id": two.sample_id,
        "reason": "duplicate_exact",
        "kept": one.sample_id,
        "kept_source": "one",
    }
    assert dropped(dict(reversed(folders.items()))) == {"one": [one.sample_id], "two": []}


def test_within_a_source_the_smallest_id_stays_whatever_the_order(tmp_path: Path) -> None:
    items = sorted((sample(name, "p") for name in "abc"), key=lambda item: item.sample_id)
    rest = {item.sample_id for item in items[1:]}
    assert set(dropped({"one": publish(tmp_path / "x", items)})["one"]) == rest
    assert set(dropped({"one": publish(tmp_path / "y", items[::-1])})["one"]) == rest


def test_an_open_sample_stays_before_a_credentialed_one(tmp_path: Path) -> None:
    closed, free = sample("a", "p", credentialed=True), sample("b", "p", source="two")
    folders = {"one": publish(tmp_path / "one", [closed]), "two": publish(tmp_path / "two", [free])}
    assert dropped(folders) == {"one": [closed.sample_id], "two": []}


def test_other_text_or_another_picture_is_no_duplicate(tmp_path: Path) -> None:
    items = [sample("a", "p"), sample("b", "p", said="A hand."), sample("c", "q")]
    assert dropped({"one": publish(tmp_path / "one", items)}) == {"one": []}


def test_the_same_pixels_in_another_file_are_the_same_picture(tmp_path: Path) -> None:
    items = [sample("a", "p"), sample("b", "q")]
    assert len(dropped({"one": publish(tmp_path / "one", items, {"p": "same", "q": "same"})})["one"]) == 1


def test_evaluation_samples_are_neither_dropped_nor_kept_instead(tmp_path: Path) -> None:
    items = [sample("a", "p"), sample("b", "p", split="eval"), sample("c", "p", split="eval")]
    assert dropped({"one": publish(tmp_path / "one", items)}) == {"one": []}


def test_role_matters_and_text_does_not_run_together() -> None:
    from medmax_pipeline.curation.duplicates import content_key

    keys = {
        content_key([{"role": "user", "text": "ab"}, {"role": "assistant", "text": "c"}], ["p"]),
        content_key([{"role": "user", "text": "a"}, {"role": "assistant", "text": "bc"}], ["p"]),
        content_key([{"role": "assistant", "text": "ab"}, {"role": "user", "text": "c"}], ["p"]),
    }
    assert len(keys) == 3
