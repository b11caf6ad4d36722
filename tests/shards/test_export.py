"""Exported shards: what is in the folder, what other libraries read there, and what never gets there."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from medmax_pipeline import cli
from medmax_pipeline.errors import ImageError, StoreError
from medmax_pipeline.files import read_json, sha256_bytes, write_table
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards.card import Part
from medmax_pipeline.shards.energon import META
from medmax_pipeline.shards.export import Form, export
from medmax_pipeline.shards.portable import extension
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.tokens.store import CodeStore, code_folder
from medmax_pipeline.withdrawal import mark
from tests.shards.exporting import KEY, OPEN, SECRET, SECRET_KEY, SECRET_WORDS, build
from tests.tokens.small import VQGAN_N

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""webdataset leaves its files to be closed by the garbage collector."""
FORMS: tuple[Form, ...] = ("packed", "portable")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return build(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def copied(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A store of one's own, to do harm to."""
    shutil.copytree(ledger.store, tmp_path / "store")
    return Ledger(tmp_path / "store", "test", tmp_path / "store" / "landing")


def secret_codes(ledger: Ledger) -> bytes:
    vocabulary = read_json(ledger.need(KEY).folder / "vocabulary.json")
    store = CodeStore(code_folder(ledger.store, vocabulary["image_tokenizer"]), VQGAN_N)
    codes: bytes = store.get_many([sha256_bytes(SECRET)])[0].astype("<u2").tobytes()
    return codes


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def portable_samples(folder: Path) -> list[dict[str, bytes]]:
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return list(webdataset.WebDataset(tars, shardshuffle=False))


def test_a_packed_export_is_read_as_shards_are(ledger: Ledger, tmp_path: Path) -> None:
    export(ledger, KEY, tmp_path / "out", "packed")
    whole, part = PackReader(ledger.need(KEY).folder), PackReader(tmp_path / "out")
    assert 0 < len(part) < len(whole)
    for number in range(len(part)):
        assert part.pack(number).sample_ids == whole.pack(number).sample_ids
        assert np.array_equal(part.pack(number).ids, whole.pack(number).ids)
    assert part.vocabulary == whole.vocabulary
    names = {path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith((".idx", META))}
    assert names == {"open-000000.tar", "index.parquet", "vocabulary.json", "README.md", "croissant.json"}


def test_a_portable_export_holds_each_open_sample_once_with_the_publishers_bytes(
    ledger: Ledger, tmp_path: Path
) -> None:
    export(ledger, KEY, tmp_path / "out", "portable")
    samples = {sample["__key__"]: sample for sample in portable_samples(tmp_path / "out")}
    index = pq.read_table(tmp_path / "out" / "index.parquet")
    assert sorted(samples) == sorted(index["sample_id"].to_pylist())
    assert len(samples) == 3 + 1 + 2
    with_pictures = [sample for sample in samples.values() if "codes.npy" in sample]
    assert len(with_pictures) == 3
    assert {sample["image0.png"] for sample in with_pictures} == set(OPEN[:3])
    assert {sample["image1.png"] for sample in with_pictures} == {OPEN[3]}
    assert {np.load(io.BytesIO(sample["codes.npy"])).shape for sample in with_pictures} == {(2, VQGAN_N)}


def test_webdataset_decodes_a_portable_export(ledger: Ledger, tmp_path: Path) -> None:
    export(ledger, KEY, tmp_path / "out", "portable")
    tars = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    first = next(iter(webdataset.WebDataset(tars, shardshuffle=False).decode("pil").select(lambda s: "codes.npy" in s)))
    assert first["turns.json"][0]["role"] == "user"
    assert first["turns.json"][0]["text"].startswith("<image><image>")
    assert first["meta.json"]["source"] == "vqa_rad"
    assert first["meta.json"]["licence"] == "CC0-1.0"
    assert first["meta.json"]["sample_id"] == first["__key__"]
    assert first["image0.png"].size == (24, 20)
    assert first["codes.npy"].dtype == np.uint16


def test_full_tars_are_closed_and_nothing_is_lost(ledger: Ledger, tmp_path: Path) -> None:
    export(ledger, KEY, tmp_path / "out", "portable", tar_bytes=1)
    assert len(list((tmp_path / "out").glob("samples-*.tar"))) == 6
    assert len(portable_samples(tmp_path / "out")) == 6


@pytest.mark.parametrize("form", FORMS)
def test_two_exports_have_the_same_bytes(ledger: Ledger, tmp_path: Path, form: Form) -> None:
    for name in ("one", "two"):
        export(ledger, KEY, tmp_path / name, form)
    for path in files_of(tmp_path / "one"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


@pytest.mark.parametrize("form", FORMS)
def test_nothing_credentialed_is_written(ledger: Ledger, tmp_path: Path, form: Form) -> None:
    """Planted: picture, words and codes of credentialed rows, and an open row that shows their picture."""
    export(ledger, KEY, tmp_path / "out", form)
    written = b"".join(path.read_bytes() for path in files_of(tmp_path / "out"))
    assert SECRET not in written
    assert SECRET_WORDS.encode() not in written
    assert sha256_bytes(SECRET).encode() not in written
    index = pq.read_table(ledger.need(KEY).folder / "index.parquet")
    secret = set(index.filter(index["credentialed"])["sample_id"].to_pylist())
    assert len(secret) == 4
    assert not any(sample_id.encode() in written for sample_id in secret)
    codes = secret_codes(ledger)
    assert codes not in written
    shifted = np.frombuffer(codes, "<u2") + read_json(tmp_path / "out" / "vocabulary.json")["ids"]["first_code"]
    whole = b"".join(path.read_bytes() for path in ledger.need(KEY).folder.glob("*.tar"))
    assert shifted.astype("<u2").tobytes() in whole
    assert shifted.astype("<u2").tobytes() not in written


def test_what_is_left_out_is_told_by_source_and_number(ledger: Ledger, tmp_path: Path) -> None:
    done = export(ledger, KEY, tmp_path / "out", "packed")
    assert done.left_out == (Part("mimic_cxr", "PhysioNet", True, 3), Part("vqa_rad", "CC0-1.0", True, 1))
    assert done.written == (
        Part("quilt_instruct", "CC-BY-NC-ND-3.0", False, 2),
        Part("vqa_rad", "CC0-1.0", False, 4),
    )


@pytest.mark.parametrize("form", FORMS)
def test_shards_of_credentialed_samples_only_are_refused(ledger: Ledger, tmp_path: Path, form: Form) -> None:
    with pytest.raises(StoreError, match="credentialed samples only"):
        export(ledger, SECRET_KEY, tmp_path / "out", form)
    assert not list(tmp_path.iterdir())


def test_what_is_no_shards_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no shards"):
        export(ledger, "image_codes", tmp_path / "out", "packed")


def test_a_folder_that_holds_something_is_refused_and_left(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds something already"):
        export(ledger, KEY, tmp_path, "packed")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(ledger, KEY, tmp_path / "out", "packed")
    assert PackReader(tmp_path / "out").tokens


@pytest.mark.parametrize("form", FORMS)
def test_an_index_that_calls_credentialed_samples_open_is_refused(copied: Ledger, tmp_path: Path, form: Form) -> None:
    path = copied.need(KEY).folder / "index.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("credentialed")
    write_table(path, table.set_column(at, "credentialed", pa.array([False] * table.num_rows)))
    with pytest.raises(StoreError, match="calls open what is credentialed"):
        export(copied, KEY, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS)
def test_what_was_withdrawn_since_is_not_handed_on(copied: Ledger, tmp_path: Path, form: Form) -> None:
    mark(copied.store, [sha256_bytes(OPEN[3])], "a patient asked")
    with pytest.raises(StoreError, match="3 samples were withdrawn since"):
        export(copied, KEY, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def test_a_withdrawal_of_what_is_left_out_anyway_hinders_nothing(copied: Ledger, tmp_path: Path) -> None:
    mark(copied.store, [sha256_bytes(SECRET)], "a patient asked")
    export(copied, KEY, tmp_path / "out", "packed")
    assert PackReader(tmp_path / "out").tokens


def _cut_tar(ledger: Ledger) -> None:
    path = ledger.need(KEY).folder / "open-000000.tar"
    path.write_bytes(path.read_bytes()[:-512])


def _lose_tar(ledger: Ledger) -> None:
    (ledger.need(KEY).folder / "open-000000.tar").unlink()


@pytest.mark.parametrize(("harm", "words"), [(_cut_tar, "not those the manifest names"), (_lose_tar, "is not there")])
def test_a_broken_tar_is_not_handed_on(
    copied: Ledger, tmp_path: Path, harm: Callable[[Ledger], None], words: str
) -> None:
    harm(copied)
    with pytest.raises(StoreError, match=words):
        export(copied, KEY, tmp_path / "out", "packed")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_picture_that_has_changed_since_is_not_handed_on(copied: Ledger, tmp_path: Path) -> None:
    path = copied.landing / "vqa_rad" / f"{sha256_bytes(OPEN[0])[:8]}.png"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match="image_changed"):
        export(copied, KEY, tmp_path / "out", "portable")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize(
    ("beginning", "ending"),
    [
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"RIFF\0\0\0\0WEBP", "webp"),
        (b"GIF89a", "gif"),
        (b"BM\0\0", "bmp"),
    ],
)
def test_a_picture_is_named_after_its_real_format(beginning: bytes, ending: str) -> None:
    assert extension(beginning + bytes(16)) == ending


def test_a_picture_of_no_known_format_is_refused() -> None:
    with pytest.raises(ImageError, match="image_not_an_image"):
        extension(b"<svg>")


def test_the_command_says_what_was_written_and_warns_of_licences(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_ledger", lambda settings: ledger)
    assert cli.main(["export", KEY, "--out", str(tmp_path / "out"), "--form", "portable"]) == 0
    printed = capsys.readouterr().out
    assert "vqa_rad: 4 samples [CC0-1.0]" in printed
    assert "left out, credentialed: mimic_cxr: 3 samples [PhysioNet]" in printed
    assert printed.count("warning: ") == 1
    assert "warning: CC-BY-NC-ND-3.0 (quilt_instruct): forbids" in printed
    assert cli.main(["export", KEY, "--out", str(tmp_path / "out")]) == 2
