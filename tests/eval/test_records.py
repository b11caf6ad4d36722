"""Published records and what is found wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medmax_pipeline.eval.records import IMAGES, ITEMS, ItemRecord, read_records, record_faults, records_to_table
from medmax_pipeline.files import sha256_bytes, write_bytes, write_table
from medmax_pipeline.manifest import Manifest
from medmax_pipeline.records import Counts
from tests.eval.conftest import record

PICTURE = b"a picture's bytes"
NAME = sha256_bytes(PICTURE)


def manifest(kept: int, key: str = "eval/tiny/vqa_rad/closed") -> Manifest:
    """A manifest that names so many items."""
    return Manifest(key, "f", "d", "ok", "1", {}, 0, (), (), counts=Counts(taken=kept, kept=kept))


def publish(folder: Path, *records: ItemRecord) -> Path:
    """Records and one picture, as a task lays them out."""
    write_table(folder / ITEMS, records_to_table(records))
    write_bytes(folder / IMAGES / f"{NAME}.png", PICTURE)
    return folder


def whole() -> list[ItemRecord]:
    """Two records that nothing is wrong with."""
    return [record(1, True, generated_image=NAME), record(2, None)]


def test_records_survive_their_file(tmp_path: Path) -> None:
    made = [record(3, None, option_logprobs={"yes": -0.5}, predictions={"strict": "yes", "parsed": None}, seed=7)]
    write_table(tmp_path / ITEMS, records_to_table(made))
    assert read_records(tmp_path / ITEMS) == made


def test_whole_records_have_no_faults(tmp_path: Path) -> None:
    assert record_faults(publish(tmp_path, *whole()), manifest(2)) == []


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    assert record_faults(tmp_path, manifest(1)) == [f"{ITEMS} is missing"]


def test_a_lost_record_is_a_fault(tmp_path: Path) -> None:
    assert record_faults(publish(tmp_path, *whole()), manifest(3)) == ["2 records for 3 items"]


def test_a_record_twice_is_a_fault(tmp_path: Path) -> None:
    faults = record_faults(publish(tmp_path, *whole(), whole()[0]), manifest(3))
    assert "more than one record" in faults[0]


def test_a_record_of_another_task_is_a_fault(tmp_path: Path) -> None:
    faults = record_faults(publish(tmp_path, *whole()), manifest(2, "eval/other/vqa_rad/closed"))
    assert len(faults) == 2


def test_an_unknown_figure_without_a_reason_is_a_fault(tmp_path: Path) -> None:
    first, second = whole()
    assert "for no reason" in record_faults(publish(tmp_path, first, replace(second, unscored="")), manifest(2))[0]


def test_pictures_missing_surplus_or_changed_are_faults(tmp_path: Path) -> None:
    folder = publish(tmp_path, *whole())
    (folder / IMAGES / "surplus.png").write_bytes(b"")
    (folder / IMAGES / f"{NAME}.png").write_bytes(b"other")
    assert record_faults(folder, manifest(2)) == [
        "picture surplus belongs to no record",
        f"picture {NAME} has other bytes",
    ]
    (folder / IMAGES / f"{NAME}.png").unlink()
    assert f"picture {NAME} is missing" in record_faults(folder, manifest(2))
