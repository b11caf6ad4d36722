"""Shards in an object store: the same packs through a cache, whole or not at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import write_json
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards.layout import VOCABULARY
from medmax_pipeline.shards.reader import PackReader, open_packs
from medmax_pipeline.shards.remote import RemoteFolder
from medmax_pipeline.shards.writer import write_shards
from medmax_pipeline.steps import Outcome, Run, Step
from tests.shards.packs import entry


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three packs in two tars, published by the ledger."""

    def run(ctx: Run) -> Outcome:
        write_shards(ctx.out, [[entry(0, 5), entry(1, 7)], [entry(2, 65_530)], [entry(3, 9, credentialed=True)]])
        write_json(ctx.out / VOCABULARY, {"size": 65_536})
        return Outcome()

    root = tmp_path_factory.mktemp("published")
    artifact, _ = Ledger(root / "store", "test", root / "landing").execute(
        Step("shards/one", run, "1"), log=lambda line: None, launch=lambda arguments, *, state=None: None
    )
    return artifact.folder


@pytest.fixture
def address(published: Path) -> Iterator[str]:
    """The same folder in a store that lives in this process."""
    files = fsspec.filesystem("memory")
    files.put(f"{published}/", "/shards/one/", recursive=True)
    yield "memory://shards/one"
    files.rm("/shards", recursive=True)


def same(found: PackReader, expected: PackReader) -> bool:
    return len(found) == len(expected) and all(
        np.array_equal(found.pack(number).ids, expected.pack(number).ids)
        and found.pack(number).sample_ids == expected.pack(number).sample_ids
        and found.pack(number).spans == expected.pack(number).spans
        for number in range(len(expected))
    )


def held(cache: Path) -> list[Path]:
    return sorted(cache.glob("??/*"))


def test_packs_of_an_address_are_those_of_the_folder(address: str, published: Path, tmp_path: Path) -> None:
    reader = open_packs(address, tmp_path)
    assert same(reader, PackReader(published))
    assert reader.vocabulary == {"size": 65_536}


def test_a_tar_is_fetched_when_a_pack_of_it_is_asked_for(address: str, tmp_path: Path) -> None:
    reader = open_packs(address, tmp_path)
    assert len(held(tmp_path)) == 1  # the index
    reader.pack(0)
    assert len(held(tmp_path)) == 2
    reader.fetch()
    assert len(held(tmp_path)) == 3


def test_what_is_in_the_cache_is_not_asked_for_again(address: str, published: Path, tmp_path: Path) -> None:
    open_packs(address, tmp_path).fetch()
    files = fsspec.filesystem("memory")
    for tar in published.glob("*.tar"):
        files.rm(f"/shards/one/{tar.name}")
    assert same(open_packs(address, tmp_path), PackReader(published))


@pytest.mark.parametrize("change", [b"", b"other bytes", None], ids=["empty", "other", "longer"])
def test_other_bytes_than_the_manifest_names_are_refused_and_not_kept(
    address: str, tmp_path: Path, change: bytes | None
) -> None:
    files = fsspec.filesystem("memory")
    name = "/shards/one/open-000000.tar"
    files.pipe(name, files.cat(name) + b"x" if change is None else change)
    reader = open_packs(address, tmp_path)
    before = held(tmp_path)
    with pytest.raises(StoreError, match="other bytes than its manifest names"):
        reader.pack(0)
    assert held(tmp_path) == before


def test_a_damaged_file_of_the_cache_is_fetched_again(address: str, published: Path, tmp_path: Path) -> None:
    open_packs(address, tmp_path).fetch()
    for path in held(tmp_path):
        path.write_bytes(b"cut")
    assert same(open_packs(address, tmp_path), PackReader(published))


def test_cache_keeps_to_its_limit_and_lets_go_of_what_was_used_longest_ago(address: str, tmp_path: Path) -> None:
    folder = RemoteFolder(address, tmp_path)
    sizes = folder.names
    limit = sizes["open-000000.tar"] + sizes["index.parquet"] + 1
    folder = RemoteFolder(address, tmp_path, limit)
    for name in ("index.parquet", "open-000000.tar", "credentialed-000000.tar"):
        path = folder.path(name)
        assert path.stat().st_size == sizes[name]
    assert sum(path.stat().st_size for path in held(tmp_path)) <= limit
    assert folder.path("credentialed-000000.tar") in held(tmp_path)
    with pytest.raises(StoreError, match="do not fit into a cache"):
        RemoteFolder(address, tmp_path / "small", 10).path("open-000000.tar")


def test_a_mapped_tar_stays_readable_after_the_cache_let_it_go(address: str, published: Path, tmp_path: Path) -> None:
    reader = open_packs(address, tmp_path)
    reader.fetch()
    first = reader.pack(0)
    for path in held(tmp_path):
        path.unlink()
    assert np.array_equal(first.ids, PackReader(published).pack(0).ids)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://nothing/here", "no such file there"),
        ("unheard://of/it", "cannot be read here"),
        ("s3://key:secret@bucket/folder", "address with a password"),
    ],
)
def test_addresses_that_cannot_be_read_say_why(tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_packs(address, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_name_that_the_manifest_has_not_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"names no \.\./manifest"):
        RemoteFolder(address, tmp_path).path("../manifest.json")


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """A real S3 server on this machine; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


READ = """
import sys
from pathlib import Path
from medmax_pipeline.shards.reader import PackReader, open_packs
import boto3, s3fs
source, cache, published = sys.argv[1:]
client = boto3.client("s3")
client.create_bucket(Bucket="corpus")
for path in Path(published).iterdir():
    client.upload_file(str(path), "corpus", f"shards/one/{path.name}")
found, expected = open_packs(source, Path(cache)), PackReader(Path(published))
assert len(found) == len(expected)
assert all(found.pack(n).sample_ids == expected.pack(n).sample_ids for n in range(len(expected)))
assert all((found.pack(n).ids == expected.pack(n).ids).all() for n in range(len(expected)))
print(len(found))
"""


def test_packs_come_out_of_an_s3_bucket(object_store: str, published: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin",
        "AWS_ENDPOINT_URL": object_store,
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, "s3://corpus/shards/one", str(tmp_path / "cache"), str(published)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3"]


def test_a_store_that_does_not_answer_is_named_after_some_tries(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(StoreError, match=r"the store does not answer .*; asked 4 times"):
        RemoteFolder(f"http://127.0.0.1:{port}/shards/one", tmp_path, wait_s=0)
