"""The code store: lookup, whole parts, two writers at once, a killed writer."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmax_pipeline.errors import StoreError
from medmax_pipeline.tokens import store as room
from medmax_pipeline.tokens.index import INDEX
from medmax_pipeline.tokens.parts import map_part, merge_parts, write_part
from medmax_pipeline.tokens.store import FAN_IN, CodeStore
from tests.tokens.small import image_id, random_codes

WRITER = """
import sys
from pathlib import Path
import numpy as np
from medmax_pipeline.tokens.store import CodeStore
from tests.tokens.small import image_id, random_codes
folder, first, last, size = Path(sys.argv[1]), *map(int, sys.argv[2:5])
store = CodeStore(folder, 4)
for start in range(first, last, size):
    numbers = [n for n in range(start, min(start + size, last)) if store.missing([image_id(n)])]
    codes = np.array([random_codes(n) for n in numbers]).reshape(-1, 4)
    store.add([image_id(n) for n in numbers], codes, credentialed=False)
    print(start, flush=True)
"""


def open_store(folder: Path) -> CodeStore:
    return CodeStore(folder / "codes", 4)


def fill(store: CodeStore, numbers: list[int], *, credentialed: bool = False) -> None:
    codes = np.array([random_codes(number) for number in numbers])
    store.add([image_id(number) for number in numbers], codes, credentialed=credentialed)


def assert_holds(store: CodeStore, numbers: list[int]) -> None:
    found = store.get_many([image_id(number) for number in numbers])
    assert found.dtype == np.uint16
    assert np.array_equal(found, np.array([random_codes(number) for number in numbers]).reshape(-1, 4))


def held(folder: Path) -> list[bytes]:
    """Ids in all parts, as often as they lie there."""
    return [one for path in folder.glob("*.part") for one in map_part(path, 4).ids.tolist()]


def fill_in_parts(store: CodeStore, numbers: range, *, credentialed: bool = False) -> None:
    """A part for each number."""
    for number in numbers:
        fill(store, [number], credentialed=credentialed)


def start_writer(folder: Path, first: int, last: int, size: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(folder / "codes"), str(first), str(last), str(size)]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )


def test_codes_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [5, 1, 9])
    fill(store, [2])
    assert_holds(store, [9, 2, 5, 1, 9])


def test_missing_keeps_the_order_given(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [1, 2])
    assert store.missing([image_id(number) for number in (7, 1, 3)]) == [image_id(7), image_id(3)]
    assert store.missing([]) == []


def test_empty_store_has_everything_missing(tmp_path: Path) -> None:
    assert open_store(tmp_path).missing([image_id(0)]) == [image_id(0)]


def test_asking_for_a_missing_picture_names_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [1])
    with pytest.raises(StoreError, match=image_id(2)):
        store.get_many([image_id(1), image_id(2)])


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=2), min_size=1, max_size=20, unique=True), st.booleans())
def test_ids_with_zero_bytes_are_told_apart(
    tmp_path_factory: pytest.TempPathFactory, heads: list[bytes], tail: bool
) -> None:
    store = open_store(tmp_path_factory.mktemp("zero"))
    ids = sorted({(head.rjust(32, b"\0") if tail else head.ljust(32, b"\0")).hex() for head in heads})
    codes = np.arange(4 * len(ids)).reshape(-1, 4)
    store.add(ids[::-1], codes[::-1], credentialed=False)
    assert np.array_equal(store.get_many(ids), codes)
    assert store.missing(["00" * 31 + "fe", *ids]) == [one for one in ["00" * 31 + "fe"] if one not in ids]


def test_same_pictures_make_the_same_file_in_any_order(tmp_path: Path) -> None:
    one, two = open_store(tmp_path / "a"), open_store(tmp_path / "b")
    fill(one, [1, 2, 3])
    fill(two, [3, 1, 2])
    (first,), (second,) = one.folder.glob("*.part"), two.folder.glob("*.part")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_part_is_ids_then_codes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [1])
    (part,) = store.folder.glob("*.part")
    assert part.read_bytes() == bytes.fromhex(image_id(1)) + random_codes(1).astype("<u2").tobytes()
    assert part.stem == f"open-{hashlib.sha256(part.read_bytes()).hexdigest()[:32]}"


def test_credentialed_codes_lie_in_parts_of_their_own(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [1])
    fill(store, [2], credentialed=True)
    secret = bytes.fromhex(image_id(2))
    holders = [path.name for path in store.folder.glob("*.part") if secret in path.read_bytes()]
    assert len(holders) == 1
    assert holders[0].startswith("credentialed-")
    assert_holds(store, [1, 2])


def test_adding_nothing_makes_no_part(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.add([], np.zeros((0, 4), dtype=np.int64), credentialed=False)
    assert not list(store.folder.glob("*.part"))


@pytest.mark.parametrize("codes", [np.zeros((1, 3)), np.zeros((2, 4)), np.full((1, 4), 65_536), np.full((1, 4), -1)])
def test_codes_that_do_not_fit_are_refused(tmp_path: Path, codes: npt.NDArray[np.float64]) -> None:
    with pytest.raises(StoreError, match="codes"):
        open_store(tmp_path).add([image_id(1)], codes.astype(np.int64), credentialed=False)


def test_a_picture_twice_in_one_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="twice"):
        fill(open_store(tmp_path), [1, 1])


@pytest.mark.parametrize("wrong", ["", "ab", "zz" * 32, "00" * 33])
def test_ids_that_are_no_digests_are_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(StoreError, match="id"):
        open_store(tmp_path).missing([wrong])


def test_store_of_another_geometry_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path)
    with pytest.raises(StoreError, match="4 codes an image, expected 16"):
        CodeStore(tmp_path / "codes", 16)


def test_cut_part_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [1, 2])
    (part,) = store.folder.glob("*.part")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match=part.name):
        open_store(tmp_path)


def test_changed_part_is_found(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(store, [1, 2])
    assert store.verify() == []
    (part,) = store.folder.glob("*.part")
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(bytes(data))
    assert store.verify() == [part.name]


def test_small_parts_are_merged_and_found_by_the_index(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(3 * FAN_IN + 1))
    assert len(list(store.folder.glob("*.part"))) <= 5
    assert (store.folder / INDEX).exists()
    assert_holds(store, list(range(3 * FAN_IN + 1)))
    assert_holds(open_store(tmp_path), list(range(3 * FAN_IN + 1)))
    assert store.missing([image_id(number) for number in (0, 900)]) == [image_id(900)]
    assert store.verify() == []


def test_open_and_credentialed_parts_are_never_merged(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(20))
    fill_in_parts(store, range(20, 40), credentialed=True)
    secret = {bytes.fromhex(image_id(number)) for number in range(20, 40)}
    for path in store.folder.glob("*.part"):
        ids = set(map_part(path, 4).ids.tolist())
        assert not ids & secret if path.name.startswith("open-") else ids <= secret
    assert_holds(store, list(range(40)))


def test_reader_keeps_what_it_opened_while_parts_are_merged_away(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(5))
    reader = open_store(tmp_path)
    names = {path.name for path in store.folder.glob("*.part")}
    fill_in_parts(store, range(5, 40))
    assert names.isdisjoint(path.name for path in store.folder.glob("*.part"))
    assert_holds(reader, list(range(5)))
    assert reader.missing([image_id(30)]) == [image_id(30)]
    reader.refresh()
    assert_holds(reader, list(range(40)))


def test_store_without_its_index_says_the_same(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(20))
    (store.folder / INDEX).unlink()
    again = open_store(tmp_path)
    assert_holds(again, list(range(20)))
    again.tidy()
    assert (store.folder / INDEX).exists()
    assert_holds(again, list(range(20)))


@pytest.mark.parametrize("damage", [b"", b"mmcodes1", b"x" * 400, b"mmcodes1" + b"\xff" * 8, b"mmcodes1" + bytes(400)])
def test_damaged_index_is_found_and_does_no_harm(tmp_path: Path, damage: bytes) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(20))
    (store.folder / INDEX).write_bytes(damage)
    assert_holds(open_store(tmp_path), list(range(20)))
    assert store.verify() == [INDEX]


def test_index_that_points_elsewhere_gives_no_other_pictures_codes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(20))
    store.tidy()
    data = bytearray((store.folder / INDEX).read_bytes())
    places = np.frombuffer(bytes(data[-8 * 20 :]), dtype="<u8")
    data[-8 * 20 :] = np.roll(places, 1).tobytes()
    (store.folder / INDEX).write_bytes(bytes(data))
    spoilt = open_store(tmp_path)
    assert spoilt.missing([image_id(number) for number in range(20)]) == [image_id(number) for number in range(20)]
    assert spoilt.verify() == [INDEX]


def test_merging_cut_off_before_its_index_leaves_nothing_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(12))
    merge_parts(store.folder, [map_part(path, 4) for path in store.folder.glob("*.part")])
    again = open_store(tmp_path)
    assert_holds(again, list(range(12)))
    again.tidy()
    assert len(held(store.folder)) == 12
    assert_holds(again, list(range(12)))


def test_merging_cut_off_after_its_index_leaves_nothing_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill_in_parts(store, range(12))
    small = [(path, path.read_bytes()) for path in store.folder.glob("*.part")]
    fill_in_parts(store, range(12, 20))
    for path, data in small:
        path.write_bytes(data)
    again = open_store(tmp_path)
    again.tidy()
    assert len(held(store.folder)) == 20
    assert_holds(again, list(range(20)))


def test_picture_that_is_there_is_not_added_again(tmp_path: Path) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    fill(store, [1, 2])
    fill(other, [2, 3])
    assert len(held(store.folder)) == 3


def test_file_system_without_locks_only_goes_unmerged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: object, operation: int) -> None:
        raise OSError(37, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    store = open_store(tmp_path)
    fill_in_parts(store, range(20))
    assert len(list(store.folder.glob("*.part"))) == 20
    assert_holds(store, list(range(20)))


def test_parts_written_before_there_was_an_index_are_read_and_then_indexed(tmp_path: Path) -> None:
    folder = open_store(tmp_path).folder
    for number in range(40):
        ids = np.array([bytes.fromhex(image_id(number))], dtype="S32")
        write_part(folder, "open", ids, random_codes(number)[None])
    store = open_store(tmp_path)
    assert_holds(store, list(range(40)))
    fill(store, [40])
    assert len(list(folder.glob("*.part"))) <= 2
    assert_holds(store, list(range(41)))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.lists(st.integers(0, 60), min_size=1, max_size=9, unique=True), st.booleans())))
def test_store_is_a_mapping_whatever_is_added(
    tmp_path_factory: pytest.TempPathFactory, additions: list[tuple[list[int], bool]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "FAN_IN", 2)
        patch.setattr(room, "MERGED_MOST", 8)
        store = open_store(tmp_path_factory.mktemp("mapping"))
        known: set[int] = set()
        for numbers, credentialed in additions:
            fill(store, numbers, credentialed=credentialed)
            known |= set(numbers)
        assert_holds(store, sorted(known))
        assert_holds(open_store(store.folder.parent), sorted(known))
        absent = [image_id(number) for number in range(61) if number not in known]
        assert store.missing([image_id(number) for number in range(61)]) == absent
        assert len(held(store.folder)) == len(known)


def test_two_writers_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, first, last, size) for first, last, size in ((0, 60, 3), (30, 90, 7))]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    store = open_store(tmp_path)
    assert_holds(store, list(range(90)))
    assert store.missing([image_id(number) for number in range(91)]) == [image_id(90)]
    assert len(held(store.folder)) == 90
    assert store.verify() == []


def killed_and_again(folder: Path, seed: int) -> None:
    """A writer that merges all the time, killed somewhere, and another one after it."""
    draw = random.Random(seed)
    writer = start_writer(folder, 0, 20_000, 5)
    assert writer.stdout is not None
    for _ in range(draw.randrange(1, 60)):
        writer.stdout.readline()
    time.sleep(draw.uniform(0, 0.01))
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(60) == -signal.SIGKILL
    writer.stdout.close()
    store = open_store(folder)
    before = [number for number in range(400) if not store.missing([image_id(number)])]
    assert before
    assert_holds(store, before)
    assert store.verify() == []
    again = start_writer(folder, 0, 400, 5)
    again.communicate(timeout=60)
    store.refresh()
    assert_holds(store, list(range(400)))
    store.tidy()
    assert len(held(store.folder)) == len(set(held(store.folder)))
    assert store.verify() == []


@pytest.mark.parametrize("seed", range(4))
def test_writer_killed_anywhere_goes_on_with_the_same_codes(tmp_path: Path, seed: int) -> None:
    killed_and_again(tmp_path, seed)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(4, 104))
def test_writer_killed_at_a_hundred_places(tmp_path: Path, seed: int) -> None:
    killed_and_again(tmp_path, seed)
