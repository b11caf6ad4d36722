"""What Megatron-Energon reads beside the tars of an export, and that its own loader reads it."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from medmax_pipeline.ledger import Ledger
from medmax_pipeline.shards.energon import sample_places, write_energon
from medmax_pipeline.shards.export import Form, export
from medmax_pipeline.shards.writer import write_shards
from tests.conftest import absent
from tests.shards.exporting import KEY, build
from tests.shards.packs import entry

BLOCKS = [[entry(0, 5), entry(1, 7)], [entry(2, 65_530)], [entry(3, 9)]]
BY_ENERGON = """
import hashlib, itertools, json, sys
from megatron.energon import Cooker, DefaultTaskEncoder, Sample, WorkerConfig, basic_sample_keys, edataclass
from megatron.energon import get_loader, get_train_dataset, stateless

@edataclass
class Members(Sample):
    members: dict

@stateless
def cook(sample):
    members = {name: value for name, value in sample.items() if not name.startswith("__")}
    return Members(**basic_sample_keys(sample), members=members)

class Encoder(DefaultTaskEncoder):
    cookers = [Cooker(cook)]

    def batch(self, samples):
        return samples[0]

folder, count = sys.argv[1], int(sys.argv[2])
read = get_train_dataset(
    folder, batch_size=1, shuffle_buffer_size=None, max_samples_per_sequence=100, task_encoder=Encoder(),
    worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
)
for sample in itertools.islice(get_loader(read), count):
    plain = {name: hashlib.sha256(value).hexdigest() for name, value in sample.members.items() if type(value) is bytes}
    print(json.dumps([sample.__key__.rpartition("/")[2], sorted(sample.members), plain]))
"""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return build(tmp_path_factory.mktemp("exported"))


def by_energon(folder: Path, count: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Members of each sample of one epoch by its key, and the digests of those that are bytes; in another process."""
    if importlib.util.find_spec("megatron") is None:
        absent("energon", "the library megatron-energon is not installed")
    command = [sys.executable, "-W", "ignore", "-c", BY_ENERGON, str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(folder)})
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {key: (names, plain) for key, names, plain in lines}


def test_samples_begin_at_the_first_header_of_their_members_and_end_at_the_end_mark(tmp_path: Path) -> None:
    write_shards(tmp_path, BLOCKS)
    tar = tmp_path / "open-000000.tar"
    *begins, end = sample_places(tar)
    with tarfile.open(tar) as opened:
        assert begins == [member.offset for member in opened if member.name.endswith(".cu.i32")]
    whole = tar.read_bytes()
    assert end % tarfile.BLOCKSIZE == 0
    assert not whole[end:].strip(b"\0")
    for first, last in zip([*begins], [*begins[1:], end], strict=True):
        with tarfile.open(fileobj=io.BytesIO(whole[first:last] + bytes(1024))) as one:
            assert len(one.getnames()) == 2


def test_every_tar_is_counted_and_for_training(tmp_path: Path) -> None:
    write_shards(tmp_path, [*BLOCKS, [entry(4, 3, credentialed=True)]])
    write_energon(tmp_path)
    counts = json.loads((tmp_path / ".nv-meta" / ".info.json").read_text())["shard_counts"]
    assert counts == {"credentialed-000000.tar": 1, "open-000000.tar": 3}
    assert np.fromfile(tmp_path / "open-000000.tar.idx", dtype="<u8").tolist() == [
        *sample_places(tmp_path / "open-000000.tar")
    ]


def test_energon_reads_every_block(tmp_path: Path) -> None:
    write_shards(tmp_path, BLOCKS)
    write_energon(tmp_path)
    found = by_energon(tmp_path, len(BLOCKS))
    assert sorted(found) == ["00000000", "00000001", "00000002"]
    for pack, (_, (names, plain)) in zip(BLOCKS, sorted(found.items()), strict=True):
        assert names == ["cu.i32", "tok.u16"]
        ids = np.concatenate([one.sequence.ids for one in pack])
        assert plain["tok.u16"] == hashlib.sha256(ids.astype("<u2").tobytes()).hexdigest()


@pytest.mark.parametrize(("form", "member"), [("packed", "tok.u16"), ("portable", "turns.json")])
def test_energon_reads_an_export(ledger: Ledger, tmp_path: Path, form: Form, member: str) -> None:
    export(ledger, KEY, tmp_path / "out", form)
    counts = json.loads((tmp_path / "out" / ".nv-meta" / ".info.json").read_text())["shard_counts"]
    found = by_energon(tmp_path / "out", sum(counts.values()))
    assert len(found) == sum(counts.values())
    assert all(member in names for names, _ in found.values())
