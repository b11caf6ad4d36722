"""Groups of pictures that are copies of each other, by pixels and by looking, and the one of each that is kept.

Candidates are pairs of near perceptual hashes; each is registered (`nearness.py`). A group is a kept picture and the
copies that were found of it: never a chain, in which the first and the last may have nothing in common. Which samples
go is decided in `duplicates.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation.columns import IMAGES, SAMPLES, read_rows
from medmax_pipeline.curation.gathered import Pictures, gather
from medmax_pipeline.curation.nearness import CROWD, PLAIN, Nearer
from medmax_pipeline.curation.neighbours import pairs_within
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.steps import Run

CLUSTERS: Final = "clusters.parquet"
CLUSTER_SCHEMA: Final = pa.schema(
    [
        ("cluster", pa.int64()),
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("modality", pa.string()),
        ("split", pa.string()),
        ("kept", pa.bool_()),
        ("how", pa.string()),
        ("measure", pa.float64()),
        ("hash_bits", pa.int32()),
    ]
)
"""One line a picture of a group of two and more. `how`: `kept`, `same pixels` or `near`; `measure` and `hash_bits` are
against the kept one: correlation of detail (1 for equal pixels), and bits in which the hashes differ. `source` is the
first that holds it, `modality` as one of its samples says, `split` `train`, `eval` or `both`."""
MEMBERS_A_HASH: Final = 16
"""Ours: pictures of one hash that are compared with those of others; further ones are compared with the first alone."""
CHUNK_PAIRS: Final = 4096

Numbers = npt.NDArray[np.int64]


class Clusters(NamedTuple):
    """What was found."""

    rows: list[dict[str, Any]]
    """Rows of `CLUSTER_SCHEMA`, by cluster, the kept one first."""
    kept: dict[str, str]
    """For each picture that is not kept, the picture kept in its place."""
    looked_at: int
    """Pairs that were registered."""


class _Near(NamedTuple):
    measure: float
    bits: int


def find_clusters(ctx: Run, folders: Mapping[str, Path], limits: Nearness) -> Clusters:
    """The groups of all sources' pictures, training and evaluation.

    Args:
        ctx: the step.
        folders: published samples of each source, in the build's order.
        limits: of the build.
    """
    pictures = gather(folders)
    ctx.work.mkdir(parents=True, exist_ok=True)
    with ImageReader(ctx.landing, [folder / IMAGES for folder in folders.values()]) as reader:
        rank = {image_id: number for number, image_id in enumerate(reader)}
        nearer = Nearer(reader.read, lambda wanted: sorted(wanted, key=rank.__getitem__), ctx.work, limits)
        order = _order(pictures)
        leaders = _leaders(pictures, order)
        near, looked_at = _confirmed(pictures, leaders, nearer, limits)
    groups = _grouped(pictures, order, leaders, near)
    wanted = {pictures.id(number) for group in groups for number in group}
    return Clusters(_rows(pictures, groups, near, _modalities(folders, wanted)), _kept(pictures, groups), looked_at)


def _order(pictures: Pictures) -> Numbers:
    """Pictures in the order in which one of several is kept: open, of training, of the earlier source, by id."""
    return np.lexsort((np.arange(len(pictures)), pictures.source, ~pictures.train, pictures.credentialed))


def _leaders(pictures: Pictures, order: Numbers) -> Numbers:
    """The first picture of each group of equal pixels, in that order."""
    _, first = np.unique(pictures.pixels[order], return_index=True)
    found: Numbers = order[np.sort(first)]
    return found


def _candidates(pictures: Pictures, leaders: Numbers, bits: int) -> Iterator[npt.NDArray[np.int64]]:
    """(P, 2) pairs of leaders, the kept one before the other."""
    values, group = np.unique(pictures.hashes[leaders], return_inverse=True)
    members = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[members], np.arange(len(values) + 1))
    for at in np.flatnonzero(np.diff(starts) > 1).tolist():
        same = leaders[members[starts[at] : starts[at + 1]]]
        few = same[:MEMBERS_A_HASH]
        first, second = np.triu_indices(len(few), 1)
        rest = same[MEMBERS_A_HASH:]
        yield np.stack([few[first], few[second]], 1)
        yield np.stack([np.full(len(rest), same[0]), rest], 1)
    place = np.empty(len(pictures), np.int64)
    place[leaders] = np.arange(len(leaders))
    for pairs in pairs_within(values, bits):
        for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
            ours = leaders[members[starts[left] : starts[left + 1]][:MEMBERS_A_HASH]]
            theirs = leaders[members[starts[right] : starts[right + 1]][:MEMBERS_A_HASH]]
            both = np.stack([np.repeat(ours, len(theirs)), np.tile(theirs, len(ours))], 1)
            turned = place[both[:, 0]] > place[both[:, 1]]
            both[turned] = both[turned][:, ::-1]
            yield both


def _confirmed(
    pictures: Pictures, leaders: Numbers, nearer: Nearer, limits: Nearness
) -> tuple[dict[tuple[int, int], _Near], int]:
    """The candidates that are copies; of pictures with a common look, by the strict limits."""
    near: dict[tuple[int, int], _Near] = {}
    weak: set[tuple[int, int]] = set()
    alike = np.zeros(len(pictures), np.int64)
    short = pictures.short_side()
    looked_at = 0
    held: list[npt.NDArray[np.int64]] = []

    def look() -> None:
        pairs = np.concatenate(held)
        starts = np.broadcast_to(PLAIN, (len(pairs), 2, 3))
        first, second = ([pictures.id(number) for number in side.tolist()] for side in pairs.T)
        sides = np.minimum(short[pairs[:, 0]], short[pairs[:, 1]]).tolist()
        judged = nearer.judge(first, second, starts, [False] * len(pairs), sides)
        bits = np.bitwise_count(pictures.hashes[pairs[:, 0]] ^ pictures.hashes[pairs[:, 1]])
        np.add.at(alike, pairs[judged.alike & ~judged.copy].reshape(-1), 1)
        for at in np.flatnonzero(judged.copy).tolist():
            key = (int(pairs[at, 0]), int(pairs[at, 1]))
            if not judged.strict[at]:
                weak.add(key)
            near[key] = _Near(round(float(judged.detail[at]), 4), int(bits[at]))

    for pairs in _candidates(pictures, leaders, limits.hash_bits):
        held.append(pairs)
        looked_at += len(pairs)
        if sum(map(len, held)) >= CHUNK_PAIRS:
            look()
            held.clear()
    if held:
        look()
    common = {key for key in weak if alike[list(key)].max() >= CROWD}
    return {key: each for key, each in near.items() if key not in common}, looked_at


def _grouped(
    pictures: Pictures, order: Numbers, leaders: Numbers, near: Mapping[tuple[int, int], _Near]
) -> list[list[int]]:
    """Groups of two and more pictures, the kept one first."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for first, second in near:
        neighbours[first].append(second)
    equal: dict[int, list[int]] = defaultdict(list)
    for number in order.tolist():
        equal[int(pictures.pixels[number])].append(number)
    taken: set[int] = set()
    groups = []
    for leader in leaders.tolist():
        if leader not in taken:
            members = [leader, *(number for number in neighbours[leader] if number not in taken)]
            taken.update(members)
            group = [number for member in members for number in equal[int(pictures.pixels[member])]]
            if len(group) > 1:
                groups.append(group)
    return groups


def _kept(pictures: Pictures, groups: list[list[int]]) -> dict[str, str]:
    return {pictures.id(number): pictures.id(group[0]) for group in groups for number in group[1:]}


def _modalities(folders: Mapping[str, Path], wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in folders.values():
        for row in read_rows(folder / SAMPLES, ("images", "modality")):
            for image in row["images"]:
                if image in wanted and row["modality"]:
                    found.setdefault(image, row["modality"])
    return found


def _rows(
    pictures: Pictures,
    groups: list[list[int]],
    near: Mapping[tuple[int, int], _Near],
    modalities: Mapping[str, str],
) -> list[dict[str, Any]]:
    rows = []
    by_pixels = {int(pictures.pixels[second]): each for (_, second), each in near.items()}
    for cluster, group in enumerate(groups):
        for number in group:
            same = pictures.pixels[number] == pictures.pixels[group[0]]
            leader = (group[0], number)
            measured = _Near(1.0, 0) if same else near.get(leader) or by_pixels[int(pictures.pixels[number])]
            image_id = pictures.id(number)
            sides = [name for name, shown in (("train", pictures.train), ("eval", pictures.evaluated)) if shown[number]]
            values = (
                cluster,
                image_id,
                pictures.sources[int(pictures.source[number])],
                modalities.get(image_id, ""),
                "both" if len(sides) == 2 else "".join(sides),
                number == group[0],
                "kept" if number == group[0] else "same pixels" if same else "near",
                measured.measure,
                measured.bits,
            )
            rows.append(dict(zip(CLUSTER_SCHEMA.names, values, strict=True)))
    return rows
