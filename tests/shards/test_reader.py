"""Packs back by number, in an order that needs one integer."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmax_pipeline.errors import StoreError
from medmax_pipeline.shards.reader import PackReader, map_tar, permutation
from medmax_pipeline.shards.writer import Entry, write_shards
from tests.shards.packs import entry

LENGTHS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), max_size=12)


def write(folder: Path, lengths: list[list[int]], credentialed_from: int = 99) -> list[list[Entry]]:
    packs = []
    number = 0
    for index, pack in enumerate(lengths):
        packs.append([entry(number + i, n, credentialed=index >= credentialed_from) for i, n in enumerate(pack)])
        number += len(pack)
    write_shards(folder, packs)
    return packs


@settings(max_examples=40)
@given(LENGTHS, st.integers(0, 12))
def test_every_pack_comes_back(tmp_path_factory: pytest.TempPathFactory, lengths: list[list[int]], cut: int) -> None:
    folder = tmp_path_factory.mktemp("shards")
    packs = write(folder, lengths, credentialed_from=cut)
    reader = PackReader(folder)
    assert len(reader) == len(packs)
    assert reader.tokens == sum(map(sum, lengths))
    for number, written in enumerate(packs):
        found = reader.pack(number)
        assert found.ids.dtype == np.uint16
        assert found.cu_seqlens.dtype == np.int32
        assert found.sample_ids == tuple(one.sample_id for one in written)
        for index, one in enumerate(written):
            start, end = found.cu_seqlens[index : index + 2]
            assert np.array_equal(found.ids[start:end], one.sequence.ids)
            assert found.spans[index] == tuple((start + first, start + stop) for first, stop in one.sequence.spans)


def test_blocks_hold_every_id_in_the_order_written(tmp_path: Path) -> None:
    packs = write(tmp_path, [[5, 7], [60_000], [60_000, 3], [9]], credentialed_from=3)
    blocks = list(PackReader(tmp_path).blocks())
    ids = [one.sequence.ids for pack in packs for one in pack]
    assert np.array_equal(np.concatenate([block.ids for block in blocks]), np.concatenate(ids))
    assert [block.bounds.tolist() for block in blocks] == [[0, 5, 12, 60_012], [0, 60_000, 60_003], [0, 9]]


def test_pack_cannot_be_written_to(tmp_path: Path) -> None:
    write(tmp_path, [[4]])
    with pytest.raises(ValueError, match="read-only"):
        PackReader(tmp_path).pack(0).ids[0] = 1


@pytest.mark.parametrize("number", [-1, 2])
def test_no_such_pack_is_an_index_error(tmp_path: Path, number: int) -> None:
    write(tmp_path, [[4], [5]])
    with pytest.raises(IndexError):
        PackReader(tmp_path).pack(number)


@given(st.integers(0, 300), st.integers(0, 2**40), st.integers(0, 50))
def test_order_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(count, seed, epoch).tolist()) == list(range(count))


def test_order_differs_by_epoch_and_seed_and_is_the_same_for_ever() -> None:
    assert permutation(8, 0, 0).tolist() == [4, 0, 1, 7, 6, 2, 5, 3]
    assert permutation(100, 0, 0).tolist() != permutation(100, 0, 1).tolist()
    assert permutation(100, 0, 0).tolist() != permutation(100, 1, 0).tolist()


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_ranks_share_one_stream_whatever_their_number(tmp_path: Path, ranks: int) -> None:
    write(tmp_path, [[3]] * 7)
    reader = PackReader(tmp_path)
    alone = [pack.sample_ids for pack in islice(reader.stream(0, seed=4), 30)]
    streams = [reader.stream(0, seed=4, rank=rank, ranks=ranks) for rank in range(ranks)]
    together = [next(streams[place % ranks]).sample_ids for place in range(30)]
    assert together == alone
    assert sorted(alone[:7]) == sorted(alone[7:14]) == sorted({*alone})
    assert alone[:7] != alone[7:14]


def test_stream_goes_on_from_one_integer(tmp_path: Path) -> None:
    write(tmp_path, [[3]] * 7)
    whole = [pack.sample_ids for pack in islice(PackReader(tmp_path).stream(0, seed=1), 20)]
    rest = [pack.sample_ids for pack in islice(PackReader(tmp_path).stream(9, seed=1), 11)]
    assert rest == whole[9:]


RUNS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(1, 5)), min_size=1, max_size=6
)
"""Runs between resumes: global batches taken, ranks, workers of each rank."""


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven packs: an epoch ends within every global batch of twelve."""
    folder = tmp_path_factory.mktemp("seven")
    write(folder, [[3]] * 7)
    return folder


@settings(max_examples=60, deadline=None)
@given(RUNS, st.integers(0, 2**63))
def test_global_batches_are_the_same_after_any_resumes_whatever_ranks_and_workers(
    seven: Path, runs: list[tuple[int, int, int]], seed: int
) -> None:
    total = sum(batches for batches, _, _ in runs)
    expected = [pack.sample_ids for pack in islice(PackReader(seven).stream(0, seed), 12 * total)]
    found: list[tuple[str, ...]] = []
    for batches, ranks, workers in runs:
        reader = PackReader(seven)  # nothing but the number of packs taken outlives a run
        streams = [
            [reader.stream(len(found), seed, rank, ranks, worker, workers) for worker in range(workers)]
            for rank in range(ranks)
        ]
        for place in range(12 * batches):
            turn, rank = divmod(place, ranks)
            found.append(next(streams[rank][turn % workers]).sample_ids)
    assert found == expected


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_torch_loader_gives_the_stream_whatever_its_workers(seven: Path, workers: int) -> None:
    from torch.utils.data import DataLoader

    from tests.shards.loaded import RankStream

    packs = islice(PackReader(seven).stream(5, seed=2, rank=1, ranks=2), 17)
    loader = DataLoader(RankStream(seven, taken=5, seed=2, rank=1, ranks=2), batch_size=None, num_workers=workers)
    assert list(islice(loader, 17)) == [" ".join(pack.sample_ids) for pack in packs]


def test_stream_of_nothing_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [])
    with pytest.raises(StoreError, match="holds no pack"):
        next(PackReader(tmp_path).stream(0, seed=0))


def test_folder_without_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"index\.parquet"):
        PackReader(tmp_path)


def test_tar_of_another_writing_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "one", [[4], [5]])
    write(tmp_path / "two", [[5], [4]])
    (tmp_path / "one" / "open-000000.tar").write_bytes((tmp_path / "two" / "open-000000.tar").read_bytes())
    with pytest.raises(StoreError, match="lies elsewhere"):
        PackReader(tmp_path / "one").pack(1)


def test_tar_cut_at_any_block_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [[400], [500]])
    path = tmp_path / "open-000000.tar"
    data = path.read_bytes()
    with_end = data.rstrip(b"\0")
    for length in range(0, len(with_end) // 512 * 512, 512):
        path.write_bytes(data[:length])
        with pytest.raises(StoreError):
            map_tar(path)


@settings(max_examples=60)
@given(st.data())
def test_damaged_headers_are_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write(folder, [[40]])
    path = folder / "open-000000.tar"
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(100, 511))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        members = map_tar(path)[1]
    except StoreError:
        return
    assert all(member.start + member.size <= len(raw) for member in members.values())


def test_reading_needs_nothing_that_a_bare_machine_lacks() -> None:
    code = (
        "import sys, medmax_pipeline.shards.reader\n"
        "print([m for m in ('webdataset', 'polars', 'torch', 'dagster', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
