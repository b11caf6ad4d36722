"""Encoding in a process of its own: the same codes wherever a run is cut, and reasons for what cannot be encoded."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from PIL import Image

from medmax_pipeline.errors import ArchiveError, ConfigError, ImageError
from medmax_pipeline.files import read_json, sha256_bytes, write_json, write_table
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens import encode
from medmax_pipeline.tokens.__main__ import main
from medmax_pipeline.tokens.encode import PICTURE_SCHEMA, Job, encode_batch, job_json, read_job, run_job
from medmax_pipeline.tokens.image import Pixels, normalise, preprocess
from medmax_pipeline.tokens.store import CodeStore
from tests.tokens.small import VQGAN_N, picture, write_vqgan

PICTURES = {sha256_bytes(picture(number)): picture(number) for number in range(11)}
IDS = sorted(PICTURES)


class Bytes:
    """A reader over a mapping; a value that is an error is raised."""

    def __init__(self, files: Mapping[str, bytes | Exception]) -> None:
        self.files = files
        self.asked: list[str] = []

    def read(self, image_id: str) -> bytes:
        self.asked.append(image_id)
        found = self.files[image_id]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vqgan(tmp_path_factory.mktemp("weights") / "vqgan")


@pytest.fixture(scope="module")
def expected(tokenizer: Path) -> dict[str, list[int]]:
    """Codes of each picture encoded alone."""
    vqgan = VQGAN.load(tokenizer)
    codes = {}
    for image_id, data in PICTURES.items():
        values = torch.from_numpy(normalise(preprocess(data, 16))).permute(2, 0, 1)[None].contiguous()
        codes[image_id] = vqgan.encode(values)[0].tolist()
    return codes


def make_job(folder: Path, tokenizer: Path, ids: list[str], *, credentialed: int = 0, batch: int = 4) -> Job:
    """A job for these pictures, the last few of them credentialed."""
    split = len(ids) - credentialed
    rows = [{"image_id": one, "source": "ab"[i % 2], "credentialed": i >= split} for i, one in enumerate(ids)]
    write_table(folder / "pictures.parquet", pa.Table.from_pylist(rows, schema=PICTURE_SCHEMA))
    return Job(
        tokenizer=str(tokenizer),
        codes=str(folder / "codes"),
        landing=str(folder / "landing"),
        pictures=str(folder / "pictures.parquet"),
        images=(),
        results=str(folder / "results"),
        batch=batch,
        part=5,
        device="cpu",
    )


def codes_of(folder: Path, ids: list[str]) -> dict[str, list[int]]:
    found = CodeStore(folder / "codes", VQGAN_N).get_many(ids)
    return {image_id: codes.tolist() for image_id, codes in zip(ids, found, strict=True)}


def test_codes_are_those_of_each_picture_alone(tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]]) -> None:
    lines: list[str] = []
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lines.append)
    assert codes_of(tmp_path, IDS) == expected
    assert len({tuple(codes) for codes in expected.values()}) > 5
    assert any("s left" in line for line in lines)
    assert "encoded 11 pictures" in lines[-1]


@pytest.mark.parametrize("workers", [1, 3])
def test_codes_do_not_depend_on_the_number_of_cores(
    tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: workers)
    run_job(make_job(tmp_path, tokenizer, IDS, batch=2), Bytes(PICTURES), lambda line: None)
    assert codes_of(tmp_path, IDS) == expected


def test_codes_are_published_as_time_passes(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "PUBLISH_S", 0.0)
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lambda line: None)
    assert len(list((tmp_path / "codes").glob("*.part"))) == 3


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_codes_do_not_depend_on_batch_or_company(
    tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]], batch: int
) -> None:
    for ids in (IDS[3:8], IDS):
        run_job(make_job(tmp_path, tokenizer, ids, batch=batch), Bytes(PICTURES), lambda line: None)
    assert codes_of(tmp_path, IDS) == expected


def test_picture_in_the_store_is_not_read_again(tmp_path: Path, tokenizer: Path) -> None:
    run_job(make_job(tmp_path, tokenizer, IDS[:6]), Bytes(PICTURES), lambda line: None)
    reader = Bytes(PICTURES)
    run_job(make_job(tmp_path, tokenizer, IDS), reader, lambda line: None)
    assert set(reader.asked) == set(IDS[6:])
    assert read_json(tmp_path / "results" / "summary.json")["encoded"] == 5


def test_killed_run_keeps_its_parts_and_ends_alike(
    tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(vqgan: VQGAN, pixels: list[Pixels], size: int) -> npt.NDArray[np.int64]:
        if len(pixels) < size:  # the last of three batches
            raise KeyboardInterrupt
        return encode_batch(vqgan, pixels, size)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(encode, "encode_batch", dies)
        run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lambda line: None)
    store = CodeStore(tmp_path / "codes", VQGAN_N)
    assert store.missing(IDS) == IDS[8:]
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lambda line: None)
    assert codes_of(tmp_path, IDS) == expected


def test_credentialed_pictures_go_to_parts_of_their_own(tmp_path: Path, tokenizer: Path) -> None:
    run_job(make_job(tmp_path, tokenizer, IDS, credentialed=4), Bytes(PICTURES), lambda line: None)
    store = CodeStore(tmp_path / "codes", VQGAN_N)
    secret = [bytes.fromhex(image_id) for image_id in IDS[-4:]]
    for part in store.folder.glob("*.part"):
        held = [one for one in secret if one in part.read_bytes()]
        assert bool(held) == part.name.startswith("credentialed-")


def test_bad_pictures_are_written_down_and_stop_no_other(
    tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]]
) -> None:
    bad: dict[str, bytes | Exception] = {
        IDS[1]: b"no picture",
        IDS[4]: ImageError("image_changed", "other bytes"),
        IDS[7]: ArchiveError("a member leaves its folder"),
    }
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES | bad), lambda line: None)
    failures = read_json(tmp_path / "results" / "failures.json")
    assert {image_id: reason for image_id, (reason, _) in failures.items()} == {
        IDS[1]: "image_not_an_image",
        IDS[4]: "image_changed",
        IDS[7]: "image_refused",
    }
    good = [image_id for image_id in IDS if image_id not in bad]
    assert codes_of(tmp_path, good) == {image_id: expected[image_id] for image_id in good}


def test_nothing_but_bad_pictures_leaves_no_preview(tmp_path: Path, tokenizer: Path) -> None:
    run_job(make_job(tmp_path, tokenizer, IDS[:2]), Bytes(dict.fromkeys(IDS, b"")), lambda line: None)
    assert len(read_json(tmp_path / "results" / "failures.json")) == 2
    assert not (tmp_path / "results" / "reconstruction.png").exists()


def test_preview_shows_originals_above_what_codes_decode_to(tmp_path: Path, tokenizer: Path) -> None:
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lambda line: None)
    with Image.open(io.BytesIO((tmp_path / "results" / "reconstruction.png").read_bytes())) as sheet:
        assert sheet.size == (8 * 16, 2 * 16)
        first = np.asarray(sheet)[:16, :16]
    assert np.array_equal(first, preprocess(PICTURES[IDS[0]], 16))
    kept = read_json(tmp_path / "results" / "summary.json")["reconstruction"]
    assert set(kept) == {"a", "b"}
    assert all(0 < item["psnr_db"] < 60 and -1 < item["ssim"] < 1 for item in kept.values())
    assert sum(item["pictures"] for item in kept.values()) == len(IDS)


def test_job_comes_back_from_its_file(tmp_path: Path, tokenizer: Path) -> None:
    job = make_job(tmp_path, tokenizer, IDS)
    write_json(tmp_path / "job.json", job_json(job))
    assert read_job(tmp_path / "job.json") == job


def test_job_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"batches": 3}))
    with pytest.raises(ConfigError, match="unknown key batches"):
        read_job(tmp_path / "job.json")


def test_command_tells_a_fault_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent.json")]) == 2
    assert capsys.readouterr().err.startswith("StoreError: ")
    assert main([]) == 2
