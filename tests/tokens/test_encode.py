"""Encoding in a process of its own: the same codes wherever a run is cut, and reasons for what cannot be encoded."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from medmax_pipeline.arrow import IMAGE_SCHEMA
from medmax_pipeline.errors import ArchiveError, ConfigError, ImageError, LaunchError
from medmax_pipeline.files import read_json, sha256_bytes, write_json, write_table
from medmax_pipeline.ingest import progress
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.tokens import decoding, encode
from medmax_pipeline.tokens.__main__ import main
from medmax_pipeline.tokens.decoding import Decoders, Wish
from medmax_pipeline.tokens.encode import encode_batch
from medmax_pipeline.tokens.image import normalise, preprocess
from medmax_pipeline.tokens.job import PICTURE_SCHEMA, Job, job_json, plan_of, read_job
from medmax_pipeline.tokens.parts import map_part
from medmax_pipeline.tokens.run import run_job
from medmax_pipeline.tokens.store import CodeStore
from tests.tokens.small import VQGAN_N, picture, write_vqgan

PICTURES = {sha256_bytes(picture(number)): picture(number) for number in range(11)}
IDS = sorted(PICTURES)


class Bytes:
    """A reader over a mapping; a value that is an error is raised."""

    def __init__(self, files: Mapping[str, bytes | Exception]) -> None:
        self.files = files
        self.asked: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def sequential(self, image_id: str) -> bool:
        return False

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


def lay_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A landing folder `src` with these pictures, and the table that says where they lie."""
    rows = []
    for image_id, data in files.items():
        path = folder / "landing" / "src" / f"{image_id[:8]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        place = {"folder": "src", "file": path.name, "member": "", "kind": "loose", "bytes": len(data)}
        numbers = {"offset": 0, "packed": 0, "crc": 0}
        rows.append(dict.fromkeys(IMAGE_SCHEMA.names) | {"image_id": image_id, "source": "src"} | place | numbers)
    write_table(folder / "images.parquet", pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA))
    return folder / "images.parquet"


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
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lambda line: None)
    assert codes_of(tmp_path, IDS) == expected
    assert len({tuple(codes) for codes in expected.values()}) > 5


def test_progress_tells_rate_and_time_left(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    lines: list[str] = []
    run_job(make_job(tmp_path, tokenizer, IDS), Bytes(PICTURES), lines.append)
    assert "11 pictures in 3 of 3 chunks" in lines[0]
    assert re.search(r"4 of 11 pictures, [0-9.]+/s, \d+ s left", lines[1])
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
    assert len(list((tmp_path / "codes").glob("*.part"))) == 5  # of three chunks, two of which have two batches


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


def test_plan_follows_the_archives_and_keeps_open_and_credentialed_apart(tmp_path: Path, tokenizer: Path) -> None:
    files = dict(reversed(PICTURES.items()))
    job = make_job(tmp_path, tokenizer, IDS, credentialed=3)
    plan = plan_of(job, CodeStore(tmp_path / "codes", VQGAN_N), Bytes(files))
    chunks = [plan.chunk(number) for number in range(len(plan))]
    order = [image_id for image_id in files if image_id in IDS[:8]] + [one for one in files if one in IDS[8:]]
    assert [image_id for chunk in chunks for image_id in chunk.image_ids] == order
    assert [(len(chunk.image_ids), chunk.credentialed) for chunk in chunks] == [(5, False), (3, False), (3, True)]


def test_plan_stays_while_the_store_fills(tmp_path: Path, tokenizer: Path) -> None:
    job = make_job(tmp_path, tokenizer, IDS)
    store = CodeStore(tmp_path / "codes", VQGAN_N)
    plan = plan_of(job, store, Bytes(PICTURES))
    written = (tmp_path / "results" / "plan.parquet").read_bytes()
    store.add(plan.chunk(0).image_ids, np.zeros((5, VQGAN_N), dtype=np.int64), credentialed=False)
    again = plan_of(job, store, Bytes(PICTURES))
    assert (tmp_path / "results" / "plan.parquet").read_bytes() == written
    assert [again.chunk(number) for number in range(3)] == [plan.chunk(number) for number in range(3)]


def test_chunk_whose_codes_were_lost_is_open_again(tmp_path: Path, tokenizer: Path) -> None:
    job = make_job(tmp_path, tokenizer, IDS)
    run_job(job, Bytes(PICTURES), lambda line: None)
    for part in (tmp_path / "codes").glob("*"):
        part.unlink()
    store = CodeStore(tmp_path / "codes", VQGAN_N)
    assert plan_of(job, store, Bytes(PICTURES)).open_chunks(store) == [0, 1, 2]


def test_chunks_in_any_order_and_alone_give_the_same(
    tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    table = lay_out(tmp_path, PICTURES)
    write_json(tmp_path / "job.json", job_json(replace(make_job(tmp_path, tokenizer, IDS), images=(str(table),))))
    assert main([str(tmp_path / "job.json"), "--plan"]) == 0
    assert capsys.readouterr().out == "3\n"
    for number in ("2", "0"):
        assert main([str(tmp_path / "job.json"), "--chunk", number]) == 0
    assert len(CodeStore(tmp_path / "codes", VQGAN_N).missing(IDS)) == 5
    assert main([str(tmp_path / "job.json"), "--chunk", "3"]) == 2
    assert main([str(tmp_path / "job.json")]) == 0
    assert codes_of(tmp_path, IDS) == expected
    assert read_json(tmp_path / "results" / "summary.json")["encoded"] == 11


def test_two_devices_share_the_chunks(tmp_path: Path, tokenizer: Path, expected: dict[str, list[int]]) -> None:
    bad = {sha256_bytes(b"none"): b"none"}
    table = lay_out(tmp_path, PICTURES | bad)
    job = replace(make_job(tmp_path, tokenizer, [*IDS, *bad], batch=2), images=(str(table),), part=2)
    lines: list[str] = []
    with ImageReader(tmp_path / "landing", [table]) as reader:
        run_job(job, reader, lines.append, ["cpu", "cpu"])
    assert codes_of(tmp_path, IDS) == expected
    assert read_json(tmp_path / "results" / "failures.json").keys() == bad.keys()
    assert "11 pictures" in lines[-1]
    assert len(list((tmp_path / "results" / "chunks").glob("*.json"))) == 6


def test_devices_whose_processes_end_badly_are_named(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    job = make_job(tmp_path, tokenizer, IDS)
    with pytest.raises(LaunchError, match="one: exit code 1; two: exit code 1"):
        run_job(job, Bytes(PICTURES), lambda line: None, ["one", "two"])


def test_whole_pictures_scaled_with_the_batch_give_the_same_codes(
    tokenizer: Path, expected: dict[str, list[int]]
) -> None:
    with Decoders(16, 2, 4, whole=True) as decoders:
        ready = list(decoders.decode((Wish(one, one) for one in IDS), Bytes(PICTURES)))
    assert [item.what for item in ready] == IDS
    pixels = [item.pixels for item in ready if item.pixels is not None]
    assert {item.shape for item in pixels} == {(20, 24, 3)}
    assert encode_batch(VQGAN.load(tokenizer), pixels, 16).tolist() == [expected[one] for one in IDS]


def test_sequential_pictures_are_read_by_one_thread_in_the_archives_order(tmp_path: Path, tokenizer: Path) -> None:
    class Tape(Bytes):
        def __init__(self, files: Mapping[str, bytes | Exception]) -> None:
            super().__init__(files)
            self.threads: set[int] = set()

        def sequential(self, image_id: str) -> bool:
            return True

        def read(self, image_id: str) -> bytes:
            self.threads.add(threading.get_ident())
            return super().read(image_id)

    tape = Tape(PICTURES)
    with Decoders(16, 2, 8) as decoders:
        assert len(list(decoders.decode((Wish(one, one) for one in PICTURES), tape))) == 11
    assert tape.asked == list(PICTURES)
    assert len(tape.threads) == 1


def test_picture_that_kills_its_decoder_is_refused_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "CHILD", "tests.tokens.mortal")
    files = {IDS[0]: PICTURES[IDS[0]], IDS[1]: b"die", IDS[2]: PICTURES[IDS[2]]}
    with Decoders(16, 1, 4) as decoders:
        ready = list(decoders.decode((Wish(one, one) for one in files), Bytes(files)))
    assert [item.pixels is not None for item in ready] == [True, False, True]
    assert ready[1].failure is not None
    assert ready[1].failure[0] == "image_refused"
    assert "-9" in ready[1].failure[1]


def table_of(folder: Path) -> list[tuple[bytes, bytes]]:
    """Every id with its codes, as often as it lies in the store, sorted."""
    parts = [map_part(path, VQGAN_N) for path in folder.glob("*.part")]
    return sorted(
        (image_id.ljust(32, b"\0"), codes.tobytes())
        for part in parts
        for image_id, codes in zip(part.ids.tolist(), part.codes, strict=True)
    )


def run_and_kill(tmp_path: Path, tokenizer: Path, first: int, last: int) -> None:
    """Runs killed at random points and then ended, one a seed, against one that was left alone."""
    files = {sha256_bytes(picture(number)): picture(number) for number in range(70)} | {"0" * 64: b"none"}
    table = lay_out(tmp_path, files)
    for name in ("undisturbed", *map(str, range(first, last))):
        job = make_job(tmp_path / name, tokenizer, list(files), credentialed=12)
        job = replace(job, landing=str(tmp_path / "landing"), images=(str(table),), part=4)
        write_json(tmp_path / name / "job.json", job_json(job))
    arguments = [sys.executable, "-m", "tests.tokens.killed", str(tmp_path), str(first), str(last)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > (last - first) // 2  # most were killed before they had ended
    undisturbed = table_of(tmp_path / "undisturbed" / "codes")
    assert len(undisturbed) == 70
    for seed in range(first, last):
        assert table_of(tmp_path / str(seed) / "codes") == undisturbed
        assert read_json(tmp_path / str(seed) / "results" / "failures.json").keys() == {"0" * 64}


def test_ten_killed_runs_end_with_the_codes_of_an_undisturbed_one(tmp_path: Path, tokenizer: Path) -> None:
    run_and_kill(tmp_path, tokenizer, 0, 10)


@pytest.mark.torture
def test_a_hundred_killed_runs_end_with_the_codes_of_an_undisturbed_one(tmp_path: Path, tokenizer: Path) -> None:
    run_and_kill(tmp_path, tokenizer, 10, 110)


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


@pytest.mark.parametrize("whole", [False, True])
def test_pictures_have_the_geometry_of_the_tokenizer(tokenizer: Path, whole: bool) -> None:
    vqgan = VQGAN.load(tokenizer)
    vqgan.geometry = "letterbox"
    with Decoders(16, 1, 4, whole=whole, geometry="letterbox") as decoders:
        pixels = [item.pixels for item in decoders.decode((Wish(one, one) for one in IDS[:2]), Bytes(PICTURES))]
    assert pixels[0] is not None
    assert pixels[1] is not None
    for one, codes in zip(IDS[:2], encode_batch(vqgan, [pixels[0], pixels[1]], 2), strict=True):
        values = torch.from_numpy(normalise(preprocess(PICTURES[one], 16, "letterbox"))).permute(2, 0, 1)[None]
        assert codes.tolist() == vqgan.encode(values.contiguous())[0].tolist()


@pytest.mark.parametrize(
    ("pictures", "gpus", "cores", "workers"), [(9, 0, 64, 1), (10_000, 0, 2, 1), (10_000, 0, 64, 5), (10**6, 8, 64, 8)]
)
def test_decoding_processes_are_as_many_as_pay(
    monkeypatch: pytest.MonkeyPatch, pictures: int, gpus: int, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(cores))
    assert encode.decoders_for(pictures, gpus) == workers


@pytest.mark.gpu
def test_codes_of_a_gpu_do_not_depend_on_company(tmp_path: Path, tokenizer: Path) -> None:
    job = replace(make_job(tmp_path, tokenizer, IDS), device="cuda", batch=4)
    for ids in (IDS[3:8], IDS):
        run_job(replace(job, pictures=make_job(tmp_path, tokenizer, ids).pictures), Bytes(PICTURES), lambda line: None)
    again = replace(job, codes=str(tmp_path / "again" / "codes"), results=str(tmp_path / "again" / "results"), part=3)
    run_job(again, Bytes(PICTURES), lambda line: None)
    assert codes_of(tmp_path, IDS) == codes_of(tmp_path / "again", IDS)
