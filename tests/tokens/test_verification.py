"""`medmax verify` on image codes: parts, published digests, and pictures encoded again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medmax_pipeline import lineage
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.tokens import verification
from medmax_pipeline.tokens.parts import map_part, write_part
from medmax_pipeline.tokens.steps import image_codes_step
from tests.tokens.line import Line
from tests.tokens.small import VQGAN_N, picture, sample, write_tokenizer, write_vqgan

FILES = [picture(number) for number in range(6)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Line, Path]:
    folder = tmp_path_factory.mktemp("built")
    write_vqgan(folder / "weights" / "vqgan")
    write_tokenizer(folder / "weights" / "text")
    samples = [sample(number, images=(sha256_bytes(data),)) for number, data in enumerate(FILES)]
    line = Line(folder / "weights", {"vqa": samples}, {"vqa": FILES})
    line.run(folder / "store", [image_codes_step(["vqa"], ["vqa"])])
    return line, folder / "store"


@pytest.fixture
def copy(built: tuple[Line, Path], tmp_path: Path) -> Path:
    """A copy of the store, to be spoilt."""
    return Path(shutil.copytree(built[1], tmp_path / "store"))


def look(line: Line, store: Path) -> tuple[list[lineage.Fault], list[str]]:
    """Faults, and what was said."""
    said: list[str] = []
    found = lineage.verify_codes(Ledger(store, "test", store / "landing"), line.launch, said.append)
    return list(found), said


def the_part(store: Path) -> Path:
    (part,) = (store / "codes").glob("*/*.part")
    return part


def test_a_sound_store_is_encoded_again_to_the_same_codes(built: tuple[Line, Path]) -> None:
    faults, said = look(*built)
    assert faults == []
    assert said == ["6 pictures encoded again on cpu, 6 as published."]


def test_no_more_pictures_are_encoded_again_than_the_bound(
    built: tuple[Line, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "CHECKED", 2)
    assert look(*built)[1] == look(*built)[1] == ["2 pictures encoded again on cpu, 2 as published."]


def test_a_changed_byte_of_a_part_is_found(built: tuple[Line, Path], copy: Path) -> None:
    part = the_part(copy)
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(bytes(data))
    faults, _ = look(built[0], copy)
    assert [fault.problem for fault in faults[:2]] == [
        "its bytes are not those it was published with",
        "its codes are not those that image_codes published",
    ]
    assert faults[0].path.endswith(part.name)
    assert "come out otherwise" in faults[2].problem


def test_a_part_replaced_by_a_sound_looking_one_is_found(built: tuple[Line, Path], copy: Path) -> None:
    part = map_part(the_part(copy), VQGAN_N)
    codes = part.codes.copy()
    codes[0] = (codes[0] + 1) % 24
    part.path.unlink()
    write_part(part.path.parent, "open", part.ids, codes)
    faults, _ = look(built[0], copy)
    assert {fault.path.rpartition("/")[2] for fault in faults[:1]} == {part.ids[0].hex()}
    assert [fault.problem.partition(" ")[2] for fault in faults[1:]] == [
        "of its codes come out otherwise when it is encoded again"
    ]


def test_a_lost_part_is_told_picture_by_picture(built: tuple[Line, Path], copy: Path) -> None:
    the_part(copy).unlink()
    faults, said = look(built[0], copy)
    assert [fault.problem for fault in faults] == ["has no codes any more; make image_codes again"] * 6
    assert said == []


def test_a_cut_part_is_told(built: tuple[Line, Path], copy: Path) -> None:
    part = the_part(copy)
    part.write_bytes(part.read_bytes()[:-1])
    (fault,), _ = look(built[0], copy)
    assert part.name in fault.problem


def test_pictures_that_are_not_at_hand_are_told_and_no_fault(built: tuple[Line, Path], copy: Path) -> None:
    gone = sorted((copy / "landing" / "vqa").iterdir())[:2]
    for path in gone:
        path.unlink()
    faults, said = look(built[0], copy)
    assert faults == []
    assert said[0] == "4 pictures encoded again on cpu, 4 as published."
    assert said[1].startswith("2 of 6 could not be read for that; the first: image_missing")


def test_codes_of_another_device_may_differ_a_little(
    built: tuple[Line, Path], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = map_part(the_part(copy), VQGAN_N)
    codes = part.codes.copy()
    codes[0, 0] = (codes[0, 0] + 1) % 24
    codes[1, :8] = (codes[1, :8] + 1) % 24
    part.path.unlink()
    write_part(part.path.parent, "open", part.ids, codes)
    manifest = next((copy / "image_codes").glob("*/manifest.json"))
    manifest.write_text(manifest.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    monkeypatch.setattr(verification, "OTHER_DEVICE", 0.1)
    faults, _ = look(built[0], copy)
    again = [fault.path.rpartition("/")[2] for fault in faults if "otherwise" in fault.problem]
    assert again == [part.ids[1].hex()]


def test_a_build_without_codes_has_nothing_wrong(built: tuple[Line, Path], tmp_path: Path) -> None:
    assert look(built[0], tmp_path) == ([], [])


def test_codes_of_another_preprocessing_are_not_made_again(
    built: tuple[Line, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PREPROCESSING", "chameleon-9")
    faults, said = look(*built)
    assert faults == []
    assert said == ["codes were made with chameleon-1, this version makes chameleon-9: none is made again."]
