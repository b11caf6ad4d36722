"""Tars of whole packs: the same bytes each time, readable by others, whole or absent."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from medmax_pipeline.errors import StoreError
from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.shards.writer import Entry, write_shards
from tests.shards.packs import entry, many_packs

WRITER = """
import sys
from pathlib import Path
from medmax_pipeline.shards.writer import write_shards
from tests.shards.packs import many_packs
print("ready", flush=True)
write_shards(Path(sys.argv[1]), many_packs(1500))
"""


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


def test_no_block_is_longer_than_its_bound_and_no_pack_is_split(tmp_path: Path) -> None:
    written = write_shards(tmp_path, [[entry(n, 30_000)] for n in range(5)])
    table = pq.read_table(tmp_path / "index.parquet").to_pylist()
    assert [row["block"] for row in table] == [0, 0, 1, 1, 2]
    assert [row["offset"] for row in table] == [0, 30_000, 0, 30_000, 0]
    assert (written.packs, written.sequences, written.tokens, written.shards) == (5, 5, 150_000, 1)


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


def test_writer_killed_anywhere_leaves_whole_tars_and_ends_alike(tmp_path: Path) -> None:
    write_shards(tmp_path / "whole", many_packs(1500))
    whole = digests(tmp_path / "whole")
    assert len(whole) > 3
    chance = random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(4):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path / "cut")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.5))
            writer.send_signal(signal.SIGKILL)
        left = {name: digest for name, digest in digests(tmp_path / "cut").items() if ".tmp-" not in name}
        assert left.items() <= whole.items()
    write_shards(tmp_path / "cut", many_packs(1500))
    assert {name: digest for name, digest in digests(tmp_path / "cut").items() if ".tmp-" not in name} == whole
