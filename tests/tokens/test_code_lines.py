"""`medmax encode` and `medmax decode`: round trips, bad pictures, and lines that nobody should trust."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medmax_pipeline import cli
from medmax_pipeline.errors import TokenError
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens import code_lines
from medmax_pipeline.tokens.code_lines import decode_lines, read_line
from medmax_pipeline.tokens.image import normalise, preprocess, to_levels
from tests.tokens.small import CODES, VQGAN_N, picture, write_vqgan

SHIPPED = Path(code_lines.__file__).parent.parent / "sample" / "weights" / "vqgan"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vqgan(tmp_path_factory.mktemp("weights") / "vqgan")


@pytest.fixture(scope="module")
def vqgan(tokenizer: Path) -> VQGAN:
    return VQGAN.load(tokenizer)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three picture files."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(picture(number))
    return paths


def line(codes: object = None, **more: Any) -> bytes:
    value = {"image": "a.png", "codes": [1] * VQGAN_N if codes is None else codes}
    return json.dumps(value | more).encode() + b"\n"


def decoded(vqgan: VQGAN, folder: Path, *lines: bytes) -> list[dict[str, Any]]:
    return list(decode_lines(vqgan, io.BytesIO(b"".join(lines)), folder))


def test_a_round_trip_with_the_shipped_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A smooth picture comes back much like itself, and decoding the same codes gives the same file again."""
    slope = np.linspace(40, 210, 80).astype(np.uint8)
    Image.fromarray(np.repeat(np.tile(slope, (70, 1))[:, :, None], 3, axis=2)).save(tmp_path / "slope.png")
    assert cli.main(["encode", str(tmp_path / "slope.png"), "--tokenizer", str(SHIPPED)]) == 0
    printed = capsys.readouterr().out
    assert len(json.loads(printed)["codes"]) == 64
    (tmp_path / "codes.jsonl").write_text(printed)
    arguments = ["decode", str(tmp_path / "codes.jsonl"), "--tokenizer", str(SHIPPED), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {
        "image": str(tmp_path / "slope.png"),
        "file": str(tmp_path / "out" / "slope.png"),
    }
    original = preprocess((tmp_path / "slope.png").read_bytes(), 64)
    with Image.open(tmp_path / "out" / "slope.png") as image:
        assert image.size == (64, 64)
        made = np.asarray(image).astype(int)
    assert np.abs(made - original).mean() < 15


def test_codes_are_those_of_the_network(vqgan: VQGAN, pictures: list[Path]) -> None:
    for told, path in zip(code_lines.encode_files(vqgan, pictures), pictures, strict=True):
        values = torch.from_numpy(normalise(preprocess(path.read_bytes(), 16)[None])).permute(0, 3, 1, 2)
        assert told == {"image": str(path), "codes": vqgan.encode(values.contiguous())[0].tolist()}


def test_pictures_have_the_geometry_of_the_tokenizer(tokenizer: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(wide)
    network = VQGAN.load(tokenizer)
    cropped = next(code_lines.encode_files(network, [wide]))
    network.geometry = "letterbox"
    assert next(code_lines.encode_files(network, [wide])) != cropped


def test_a_decoded_file_holds_what_the_codes_decode_to(vqgan: VQGAN, tmp_path: Path) -> None:
    codes = list(range(VQGAN_N))
    decoded(vqgan, tmp_path, line(codes))
    expected = to_levels(vqgan.decode(torch.tensor([codes]))[0].permute(1, 2, 0).numpy())
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), expected)


def test_a_bad_picture_is_told_of_and_the_others_are_encoded(
    tokenizer: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures[1].write_bytes(b"no picture")
    paths = [str(path) for path in (*pictures, tmp_path / "nowhere.png", tmp_path)]
    assert cli.main(["encode", *paths, "--tokenizer", str(tokenizer)]) == 1
    printed = capsys.readouterr()
    good = [json.loads(text) for text in printed.out.splitlines()]
    bad = [json.loads(text) for text in printed.err.splitlines()]
    assert [item["image"] for item in good] == [paths[0], paths[2]]
    assert [item["image"] for item in bad] == [paths[1], paths[3], paths[4]]
    assert bad[0]["error"].startswith("image_not_an_image")
    assert all(set(item) == {"image", "error"} for item in bad)


def test_a_file_larger_than_the_limit_is_not_read_whole(
    vqgan: VQGAN, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_lines, "MAX_FILE_BYTES", 100)
    assert [told["error"] for told in code_lines.encode_files(vqgan, pictures[:1])] == [
        "image_too_large: more than 100 bytes"
    ]


def test_fast_mode_encodes_too(tokenizer: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["encode", *map(str, pictures), "--tokenizer", str(tokenizer), "--mode", "fast"]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(json.loads(text)["codes"]) for text in lines] == [VQGAN_N] * 3


def test_lines_come_from_standard_input_where_the_file_is_a_dash(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Given:
        buffer = io.BytesIO(line())

    monkeypatch.setattr("sys.stdin", Given)
    assert cli.main(["decode", "-", "--tokenizer", str(tokenizer), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "a.png").exists()


def test_a_file_that_is_not_there_ends_in_one_line(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["decode", str(tmp_path / "x"), "--tokenizer", str(tokenizer), "--out", str(tmp_path)]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.splitlines()[0].startswith(f"medmax: {tmp_path / 'x'}: cannot be read")


def test_two_pictures_of_one_name_and_a_file_that_was_there_all_stay(vqgan: VQGAN, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"somebody's")
    told = decoded(vqgan, tmp_path, line(), line(image="elsewhere/a.jpg"), line(image="a"))
    assert [item["file"] for item in told] == [str(tmp_path / f"a-{number}.png") for number in (2, 3, 4)]
    assert (tmp_path / "a.png").read_bytes() == b"somebody's"


def test_a_link_that_leads_nowhere_is_not_written_through(vqgan: VQGAN, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "target")
    decoded(vqgan, tmp_path / "out", line())
    assert not (tmp_path / "target").exists()
    assert (tmp_path / "out" / "a-2.png").exists()


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("../../etc/passwd", "passwd.png"),
        ("/absolute/b.jpg", "b.png"),
        ("c:\\folder\\d.bmp", "d.png"),
        ("..", "picture.png"),
        (".hidden", "hidden.png"),
        ("a\0b\n.png", "a_b.png"),
        ("röntgen \udcff.png", "r_ntgen.png"),
        ("x" * 5000 + ".png", "x" * 100 + ".png"),
        ("-rf", "rf.png"),
        ("", "line_1.png"),
        (None, "line_1.png"),
        (["a"], "line_1.png"),
    ],
)
def test_no_name_leaves_the_folder_or_needs_quoting(vqgan: VQGAN, tmp_path: Path, image: object, file: str) -> None:
    (told,) = decoded(vqgan, tmp_path / "out", line(image=image))
    assert told["file"] == str(tmp_path / "out" / file)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file]


@pytest.mark.parametrize(
    "bad",
    [
        b"{\n",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"3\n",
        b"[" * 100_000 + b"\n",
        line({"0": 1}),
        line("1 2 3"),
        line([True] * VQGAN_N),
        line([1.0] * VQGAN_N),
        line([None] * VQGAN_N),
        line([]),
        line([1] * (VQGAN_N - 1)),
        line([1] * (VQGAN_N + 1)),
        line([CODES, *[1] * (VQGAN_N - 1)]),
        line([-1, *[1] * (VQGAN_N - 1)]),
        line([10**30, *[1] * (VQGAN_N - 1)]),
        b'{"codes": [' + b"9" * 5000 + b"]}\n",
        b'{"codes": [NaN]}\n',
    ],
)
def test_a_bad_line_is_told_of_and_the_next_is_decoded(vqgan: VQGAN, tmp_path: Path, bad: bytes) -> None:
    told = decoded(vqgan, tmp_path, bad, line())
    assert told[0]["image"] == "line 1"
    assert told[0]["error"].startswith("line 1: ")
    assert told[1] == {"image": "a.png", "file": str(tmp_path / "a.png")}


def test_a_line_longer_than_the_limit_is_skipped_to_its_end(
    vqgan: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_lines, "MAX_LINE_BYTES", 200)
    long = line(note="x" * 1000)
    told = decoded(vqgan, tmp_path, long, b"\n", line(), long.rstrip())
    assert [item["image"] for item in told] == ["line 1", "a.png", "line 4"]
    assert "more than 200 bytes" in told[0]["error"]


def test_more_lines_than_the_limit_end_the_reading(
    vqgan: VQGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_lines, "MAX_LINES", 2)
    with pytest.raises(TokenError, match="more than 2 lines"):
        decoded(vqgan, tmp_path, line(), line(), line())


def test_a_line_says_what_this_tokenizer_expects() -> None:
    with pytest.raises(TokenError, match=r"3 codes from 5 to 900; .* have 4 from 0 to 23"):
        read_line(line([5, 900, 7]), 4, CODES, "line 8")
