"""The `image_codes` asset over a real ledger and a launched encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.steps import Artifact
from medmax_pipeline.tokens import PREPROCESSING, encode
from medmax_pipeline.tokens.resize import Pixels
from medmax_pipeline.tokens.steps import image_codes_step
from medmax_pipeline.tokens.store import CodeStore, code_folder
from tests.tokens.line import Line
from tests.tokens.small import VQGAN_N, picture, sample, write_tokenizer, write_vqgan

SHARED, EVAL, TRAIN, SECRET = (picture(number) for number in range(4))
BAD = b"no picture at all"


def ids(*files: bytes) -> tuple[str, ...]:
    return tuple(sha256_bytes(data) for data in files)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_vqgan(folder / "vqgan")
    write_tokenizer(folder / "text")
    return folder


def make_line(weights: Path, locked: tuple[str, ...] = ()) -> Line:
    """One open source with evaluation rows and a bad picture, one credentialed source that shares a picture with it."""
    return Line(
        weights,
        {
            "vqa": [
                sample(0, images=ids(SHARED)),
                sample(1, images=ids(TRAIN)),
                sample(2, images=ids(EVAL), split="eval"),
                sample(3, images=ids(BAD)),
                sample(4),
            ],
            "cxr": [sample(5, source="cxr", images=ids(SECRET, SHARED), credentialed=True)],
        },
        {"vqa": [SHARED, EVAL, TRAIN, BAD], "cxr": [SECRET, SHARED]},
        locked,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A store in which everything was made once."""
    folder = tmp_path_factory.mktemp("built")
    make_line(weights).run(folder, [image_codes_step(["vqa", "cxr"], ["vqa", "cxr"])])
    return folder


@pytest.fixture
def codes(built: Path) -> Artifact:
    return Ledger(built, "test", built / "landing").need("image_codes")


def test_codes_of_train_and_evaluation_pictures_are_sorted(built: Path, codes: Artifact, weights: Path) -> None:
    table = pq.read_table(codes.folder / "images.parquet").to_pylist()
    assert [row["image_id"] for row in table] == sorted(ids(SHARED, EVAL, TRAIN, SECRET))
    digest = tokenizer_digest(weights / "vqgan", preprocessing=PREPROCESSING)
    held = CodeStore(code_folder(built, digest), VQGAN_N).get_many([row["image_id"] for row in table])
    assert [row["code_digest"] for row in table] == [sha256_bytes(row.astype("<u2").tobytes()) for row in held]


def test_picture_is_credentialed_if_any_sample_that_shows_it_is(codes: Artifact) -> None:
    table = pq.read_table(codes.folder / "images.parquet").to_pylist()
    assert {row["image_id"] for row in table if row["credentialed"]} == {*ids(SECRET, SHARED)}
    assert codes.manifest.credentialed


def test_bad_picture_is_quarantined_with_its_reason_and_counts_balance(codes: Artifact) -> None:
    (row,) = pq.read_table(codes.folder / "quarantine.parquet").to_pylist()
    assert (row["unit"], row["reason"]) == (*ids(BAD), "image_not_an_image")
    counts = codes.manifest.counts
    assert (counts.taken, counts.kept, dict(counts.quarantined)) == (5, 4, {"image_not_an_image": 1})


def test_locked_source_is_left_out_and_named(store: Path, weights: Path) -> None:
    _, made = make_line(weights, locked=("cxr",)).run(store, [image_codes_step(["vqa", "cxr"], ["vqa", "cxr"])])
    manifest = made["image_codes"].manifest
    assert manifest.status == "ok"
    assert manifest.summary["left_out"] == ["cxr"]
    assert not manifest.credentialed
    assert manifest.counts.kept == 3


def test_summary_says_what_was_encoded_and_how_well(codes: Artifact) -> None:
    summary = codes.manifest.summary
    assert (summary["images"], summary["encoded_now"]) == (4, 4)
    assert set(summary["reconstruction"]) == {"vqa", "cxr"}  # type: ignore[arg-type]
    assert 0 < summary["code_usage"] <= 1  # type: ignore[operator]
    assert 1 <= summary["code_perplexity"] <= 24  # type: ignore[operator]
    assert (codes.folder / "log" / "reconstruction.png").is_file()


def test_no_process_is_launched_when_the_store_has_all(store: Path, weights: Path) -> None:
    line = make_line(weights)
    line.samples = {"vqa": line.samples["vqa"][:3]}
    ledger, first = line.run(store, [image_codes_step(["vqa"], ["vqa"])])
    assert len(line.launched) == 1
    ledger.raise_counter("image_codes")
    _, second = line.run(store, [image_codes_step(["vqa"], ["vqa"])])
    assert len(line.launched) == 1
    assert second["image_codes"].manifest.digest == first["image_codes"].manifest.digest
    assert second["image_codes"].manifest.fingerprint != first["image_codes"].manifest.fingerprint


class Encoder:
    """Counts the pictures that reach the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures = 0
        real = encode.encode_batch

        def counting(vqgan: VQGAN, pixels: list[Pixels], size: int) -> npt.NDArray[np.int64]:
            self.pictures += len(pixels)
            return real(vqgan, pixels, size)

        monkeypatch.setattr(encode, "encode_batch", counting)


def test_picture_of_three_sources_is_encoded_once(store: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(monkeypatch)
    keys = ["a", "b", "c"]
    samples = {key: [sample(number, source=key, images=ids(SHARED))] for number, key in enumerate(keys)}
    line = Line(weights, samples, {key: [SHARED] for key in keys})
    _, made = line.run(store, [image_codes_step(keys, keys)])
    assert encoder.pictures == 1
    assert made["image_codes"].manifest.counts.kept == 1


def test_one_new_picture_in_a_hundred_costs_one(store: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(monkeypatch)
    files = [picture(number) for number in range(101)]
    line = Line(weights, {"vqa": [sample(n, images=ids(data)) for n, data in enumerate(files[:100])]}, {"vqa": files})
    line.run(store, [image_codes_step(["vqa"], ["vqa"])])
    assert encoder.pictures == 100
    line.samples = {"vqa": [sample(n, images=ids(data)) for n, data in enumerate(files)]}
    _, made = line.run(store, [image_codes_step(["vqa"], ["vqa"])])
    assert encoder.pictures == 101
    assert made["image_codes"].manifest.summary["encoded_now"] == 1
    assert made["image_codes"].manifest.counts.kept == 101


def test_two_stores_come_to_the_same_digest_launched_or_not(tmp_path: Path, weights: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        line = make_line(weights)
        line.spawn = name == "two"
        _, made = line.run(tmp_path / name, [image_codes_step(["vqa", "cxr"], ["vqa", "cxr"])])
        digests.add(made["image_codes"].manifest.digest)
    assert len(digests) == 1
