"""Other people's libraries read our tars, with what they offer and nothing of ours."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import numpy as np
import pytest
import webdataset

from medmax_pipeline.shards.reader import PackReader
from medmax_pipeline.shards.writer import write_shards
from tests.shards.others import read_by_datasets
from tests.shards.packs import entry


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three blocks in two tars."""
    folder = tmp_path_factory.mktemp("tars")
    packs = [[entry(0, 5), entry(1, 7)], [entry(2, 65_530)], [entry(3, 9, credentialed=True)]]
    write_shards(folder, packs)
    return [folder / name for name in ("open-000000.tar", "credentialed-000000.tar")]


def digest_of_reader(folder: Path) -> str:
    """sha256 over bounds and ids of every pack; here each pack is a block."""
    whole = hashlib.sha256()
    reader = PackReader(folder)
    for number in range(len(reader)):
        pack = reader.pack(number)
        whole.update(pack.cu_seqlens.tobytes() + pack.ids.tobytes())
    return whole.hexdigest()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file to the collector
def test_webdataset_reads_every_block_of_several_tars(tars: list[Path]) -> None:
    blocks = list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False))
    gc.collect()
    assert [block["__key__"] for block in blocks] == ["00000000", "00000001", "00000000"]
    for block in blocks:
        assert np.frombuffer(block["cu.i32"], dtype="<i4")[-1] * 2 == len(block["tok.u16"])


def test_datasets_reads_every_block_of_several_tars(tars: list[Path], tmp_path: Path) -> None:
    keys, whole = read_by_datasets(tars, tmp_path)
    assert keys == [f"{key} cu.i32 tok.u16" for key in ("00000000", "00000001", "00000000")]
    assert whole == digest_of_reader(tars[0].parent)
