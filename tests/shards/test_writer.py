"""Tars of whole packs: the same bytes each time, readable by others, whole or absent."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from medmax_pipeline.errors import DiskFull, StoreError
from medmax_pipeline.files import TEMPORARY
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards import BLOCK_TOKENS
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.shards.writer import LINES_AT_ONCE, Entry, ustar_header, write_shards
from medmax_pipeline.steps import Outcome, Run, Step
from tests.conftest import absent
from tests.shards.packs import entry


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def packs() -> list[list[Entry]]:
    return [[entry(0, 5), entry(1, 7)], [entry(2, 60_000)], [entry(3, 60_000)], [entry(4, 3, credentialed=True)]]


def test_two_writes_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_shards(tmp_path / name, packs())
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert sorted(digests(tmp_path / "one")) == ["credentialed-000000.tar", "index.parquet", "open-000000.tar"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file to the collector
def test_webdataset_reads_the_tars(tmp_path: Path) -> None:
    write_shards(tmp_path, packs())
    blocks = list(webdataset.WebDataset(str(tmp_path / "open-000000.tar"), shardshuffle=False))
    gc.collect()
    assert [block["__key__"] for block in blocks] == ["00000000", "00000001"]
    tokens = np.frombuffer(blocks[0]["tok.u16"], dtype="<u2")
    bounds = np.frombuffer(blocks[0]["cu.i32"], dtype="<i4")
    assert bounds.tolist() == [0, 5, 12, 60_012]
    assert tokens[:5].tolist() == entry(0, 5).sequence.ids.tolist()
    assert tokens[5:12].tolist() == entry(1, 7).sequence.ids.tolist()


def test_members_say_nothing_of_this_machine(tmp_path: Path) -> None:
    write_shards(tmp_path, packs())
    data = (tmp_path / "open-000000.tar").read_bytes()
    assert data[257:265] == b"ustar\x0000"
    with tarfile.open(tmp_path / "open-000000.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert (member.mode, member.pax_headers, member.type) == (0o644, {}, tarfile.REGTYPE)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 131_072, 8**11 - 1])
def test_header_is_that_of_the_standard_library(size: int) -> None:
    info = tarfile.TarInfo("00000001.tok.u16")
    info.size, info.mtime, info.mode = size, 0, 0o644
    assert ustar_header("00000001.tok.u16", size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_a_block_of_the_shortest_sequences_fits(tmp_path: Path) -> None:
    write_shards(tmp_path, [[entry(0, 1, credentialed=False)] * BLOCK_TOKENS])
    assert len(PackReader(tmp_path).pack(0).sample_ids) == BLOCK_TOKENS


def test_no_block_is_longer_than_its_bound_and_no_pack_is_split(tmp_path: Path) -> None:
    written = write_shards(tmp_path, [[entry(n, 30_000)] for n in range(5)])
    table = pq.read_table(tmp_path / "index.parquet").to_pylist()
    assert [row["block"] for row in table] == [0, 0, 1, 1, 2]
    assert [row["offset"] for row in table] == [0, 30_000, 0, 30_000, 0]
    assert (written.packs, written.sequences, written.tokens, written.shards) == (5, 5, 150_000, 1)


def test_index_of_more_lines_than_wait_at_once_keeps_them_in_order(tmp_path: Path) -> None:
    some = [entry(number, 2 + number % 3) for number in range(97)]
    given = [some[number % 97] for number in range(2 * LINES_AT_ONCE + 1)]
    write_shards(tmp_path, [given])
    table = pq.read_table(tmp_path / "index.parquet")
    assert table["sample_id"].to_pylist() == [one.sample_id for one in given]
    assert table["length"].to_pylist() == [len(one.sequence.ids) for one in given]
    assert table["spans"].to_pylist() == [[one.sequence.spans[0]._asdict()] for one in given]


def test_pack_as_long_as_a_block_fits(tmp_path: Path) -> None:
    assert write_shards(tmp_path, [[entry(0, 65_535), entry(1, 1)]]).tokens == 65_536


def test_blocks_go_on_in_the_next_tar(tmp_path: Path) -> None:
    write_shards(tmp_path, [[entry(n, 33_000)] for n in range(258)])
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["open-000000.tar", "open-000001.tar"]
    with tarfile.open(tmp_path / "open-000001.tar") as tar:
        assert tar.getnames()[0] == "00000256.cu.i32"
    assert PackReader(tmp_path).pack(257).sample_ids == (entry(257, 1).sample_id,)


def test_credentialed_packs_lie_in_tars_of_their_own(tmp_path: Path) -> None:
    write_shards(tmp_path, packs())
    table = pq.read_table(tmp_path / "index.parquet").to_pylist()
    assert {(row["credentialed"], row["shard"]) for row in table} == {
        (False, "open-000000.tar"),
        (True, "credentialed-000000.tar"),
    }
    assert [row["pack"] for row in table] == [0, 0, 1, 2, 3]


def test_no_packs_make_an_empty_index(tmp_path: Path) -> None:
    assert write_shards(tmp_path, []) == (0, 0, 0, 0)
    assert len(PackReader(tmp_path)) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([[]], "a pack of 0 ids"),
        ([[entry(0, 65_537)]], "65,537 ids"),
        ([[entry(0, 3), entry(1, 3, credentialed=True)]], "mixes"),
        ([[entry(0, 3, credentialed=True)], [entry(1, 3)]], "open packs first"),
    ],
)
def test_packs_that_break_the_rules_are_refused(tmp_path: Path, wrong: list[list[Entry]], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        write_shards(tmp_path, wrong)
    assert not (tmp_path / "index.parquet").exists()


def kill(folder: Path, first: int, last: int) -> list[str]:
    """Seeds whose making was killed in the middle; fails where one did not end as the undisturbed one."""
    arguments = [sys.executable, "-m", "tests.shards.killed", str(folder), str(first), str(last)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_making_killed_at_ten_random_points_ends_as_undisturbed(tmp_path: Path) -> None:
    assert kill(tmp_path, 0, 10)


@pytest.mark.torture
def test_making_killed_at_two_hundred_random_points_ends_as_undisturbed(tmp_path: Path) -> None:
    assert len(kill(tmp_path, 10, 210)) > 50


def published(store: Path, step: Step) -> dict[str, str]:
    return digests(Ledger(store, "test", store / "landing").execute(step)[0].folder)


def test_full_disk_is_named_and_the_published_shards_stay(tmp_path: Path) -> None:
    """The tar's temporary name leads to a real device that is always full."""
    if not Path("/dev/full").exists():
        absent("dev_full", "this system has no /dev/full")

    def full(ctx: Run) -> Outcome:
        (ctx.out / f".open-000000.tar{TEMPORARY}{os.getpid()}").symlink_to("/dev/full")
        write_shards(ctx.out, packs())
        return Outcome()

    def roomy(ctx: Run) -> Outcome:
        write_shards(ctx.out, packs())
        return Outcome()

    before = published(tmp_path, Step("shards/full", roomy, "1"))
    with pytest.raises(DiskFull, match="no space left"):
        published(tmp_path, Step("shards/full", full, "2"))
    current = Ledger(tmp_path, "test", tmp_path / "landing").need("shards/full")
    assert current.manifest.code_version == "1"
    assert digests(current.folder) == before
    published(tmp_path, Step("shards/full", roomy, "2"))
    assert not [*tmp_path.rglob(f"*{TEMPORARY}*")]


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that may be looked into and not written, by root neither: root becomes somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shards"
        folder.mkdir()
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65_534)
        try:
            yield folder
        finally:
            os.seteuid(was)
            folder.chmod(0o755)


def test_read_only_folder_is_named_and_left_as_it_was(nobody: Path) -> None:
    with pytest.raises(StoreError, match=r"shards/open-000000\.tar: may not be written"):
        write_shards(nobody, packs())
    assert not [*nobody.iterdir()]
