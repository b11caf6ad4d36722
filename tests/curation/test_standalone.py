"""`medmax leakage TRAIN EVAL`: anybody's folders, archives and shards."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from medmax_pipeline.cli import main
from tests.curation.real import png, real


def jpeg(image: Image.Image, quality: int = 60) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    train, evaluated = tmp_path / "train", tmp_path / "eval"
    train.mkdir()
    evaluated.mkdir()
    (train / "own.png").write_bytes(png(real("head_ct")[0].image()))
    (evaluated / "knee.png").write_bytes(png(real("tibia")[0].image()))
    return train, evaluated


def ask(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, object]], str]:
    code = main(["leakage", *map(str, sides), "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else [], told.err


def test_unrelated_folders_exit_with_0(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(sides, capsys) == (0, [], "")


def test_a_changed_copy_in_a_zip_is_found(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    image = real("tibia")[0].image()
    small = image.crop((8, 10, image.width - 6, image.height)).resize((200, 200))
    with zipfile.ZipFile(sides[0] / "more.zip", "w") as archive:
        archive.writestr("deep/a.jpg", jpeg(small))
    code, pairs, _ = ask(sides, capsys)
    assert code == 1
    assert [(pair["train"], pair["eval"], pair["how"]) for pair in pairs] == [
        ("more.zip::deep/a.jpg", "knee.png", "near")
    ]
    assert float(str(pairs[0]["measure"])) > 0.8


def test_the_same_file_in_a_webdataset_tar_is_found(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = (sides[1] / "knee.png").read_bytes()
    with tarfile.open(sides[0] / "shard-000000.tar", "w") as archive:
        info = tarfile.TarInfo("000.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    code, pairs, _ = ask(sides, capsys)
    assert (code, [pair["how"] for pair in pairs]) == (1, ["same_file"])


def test_torn_pictures_and_hostile_members_are_named_and_passed_over(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (sides[0] / "torn.jpg").write_bytes(jpeg(real("tibia")[0].image())[:2000])
    with zipfile.ZipFile(sides[0] / "bad.zip", "w") as archive:
        archive.writestr("../../out.png", b"x")
    (sides[0] / "no.zip").write_bytes(b"PK nothing")
    code, pairs, told = ask(sides, capsys)
    assert (code, pairs) == (0, [])
    assert "torn.jpg: image_truncated" in told
    assert "member_unsafe_path" in told
    assert "no.zip" in told


def test_a_folder_without_pictures_is_an_error_and_no_clean_bill(
    sides: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert ask((empty, sides[1]), capsys)[0] == 2
    assert ask((sides[0], tmp_path / "nowhere"), capsys)[0] == 2
