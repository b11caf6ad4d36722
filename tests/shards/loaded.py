"""A rank's packs as PyTorch's loader takes them: each of its worker processes reads a share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import IterableDataset, get_worker_info

from medmax_pipeline.shards.reader import PackReader


class RankStream(IterableDataset[str]):
    """The names of each pack's samples, one text a pack."""

    def __init__(self, folder: Path, taken: int, seed: int, rank: int, ranks: int) -> None:
        self.reader = PackReader(folder)
        self.place = taken, seed, rank, ranks

    def __iter__(self) -> Iterator[str]:
        """Of the worker that asks."""
        here = get_worker_info()
        worker, workers = (here.id, here.num_workers) if here is not None else (0, 1)
        for pack in self.reader.stream(*self.place, worker, workers):
            yield " ".join(pack.sample_ids)
