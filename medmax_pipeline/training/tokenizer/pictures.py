"""Pictures in, tensors out: what one step of tuning sees.

The whole state of the data is the number of the step. Every epoch has an order of its own, drawn from the seed. Pixels
are those that encoding sees (`tokens/image`), without augmentation, as in the reference's configuration.

B pictures, H = W = resolution.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from torch import Tensor

from medmax_pipeline.errors import ConfigError, ImageError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.tokens.geometry import CENTRE_CROP, PictureGeometry
from medmax_pipeline.tokens.image import normalise, preprocess
from medmax_pipeline.training.tokenizer.job import PICTURE_SCHEMA

Pixels = npt.NDArray[np.uint8]
AHEAD = 3
"""Batches that are prepared while one is tuned on."""
MOST_FAILURES = 1000
"""Pictures in a row that may be unreadable; more, and something other than the pictures is wrong."""


class Reader(Protocol):
    """Where bytes come from: `ingest.reader.ImageReader`."""

    def read(self, image_id: str) -> bytes:
        """The bytes of a picture's file."""
        ...


class Chosen(NamedTuple):
    """Image ids, sorted."""

    trained: list[str]
    held_out: list[str]


def read_chosen(path: Path) -> Chosen:
    """The pictures of a job.

    Raises:
        ConfigError: none to tune on.
    """
    table = pq.read_table(path, schema=PICTURE_SCHEMA)
    pairs = list(zip(table["image_id"].to_pylist(), table["held_out"].to_pylist(), strict=True))
    chosen = Chosen([name for name, held in pairs if not held], [name for name, held in pairs if held])
    if not chosen.trained:
        raise ConfigError(f"{path.name}: no picture to tune on. Expected at least one that is not held out.")
    return chosen


class Pictures:
    """The training pictures in the order of the steps. Unreadable ones are passed over and remembered."""

    def __init__(
        self,
        ids: Sequence[str],
        reader: Reader,
        resolution: int,
        seed: int,
        geometry: PictureGeometry = CENTRE_CROP,
    ) -> None:
        self.failures: dict[str, tuple[str, str]] = {}
        """Reason and detail of each picture that could not be used."""
        self._ids = ids
        self._reader = reader
        self._resolution = resolution
        self._geometry: PictureGeometry = geometry
        self._order = lru_cache(maxsize=2)(lambda epoch: _order(len(ids), seed, epoch))

    def at(self, position: int) -> Pixels:
        """The picture at a position counted over all epochs, or the next readable one: (H, W, 3) uint8.

        Raises:
            ImageError: a thousand in a row are unreadable.
        """
        for place in range(position, position + MOST_FAILURES):
            epoch, rank = divmod(place, len(self._ids))
            pixels = self.pixels(self._ids[int(self._order(epoch)[rank])])
            if pixels is not None:
                return pixels
        reason, detail = next(iter(self.failures.values()))
        raise ImageError(reason, f"{MOST_FAILURES} pictures in a row cannot be read; the first: {detail}")

    def pixels(self, image_id: str) -> Pixels | None:
        """One picture, or None where it cannot be used."""
        if image_id in self.failures:
            return None
        try:
            return preprocess(self._reader.read(image_id), self._resolution, self._geometry)
        except ImageError as error:
            self.failures[image_id] = (error.reason, error.detail)
            return None

    def batches(self, start: int, end: int, batch: int, share: slice, readers: int) -> Iterator[Tensor]:
        """The batches of steps start to end - 1: (B, 3, H, W) float32 in [-1, 1].

        Args:
            start: first step.
            end: after the last one.
            batch: pictures a step, over all processes.
            share: which of them this process takes.
            readers: threads that decode.
        """
        steps = iter(range(start, end))
        ahead: deque[list[Future[Pixels]]] = deque()
        with ThreadPoolExecutor(readers) as pool:
            try:
                while True:
                    for step in steps:
                        places = range(step * batch, (step + 1) * batch)[share]
                        ahead.append([pool.submit(self.at, place) for place in places])
                        if len(ahead) > AHEAD:
                            break
                    if not ahead:
                        return
                    yield to_tensor([future.result() for future in ahead.popleft()])
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def to_tensor(pixels: Sequence[Pixels]) -> Tensor:
    """Pictures as the network takes them: (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(normalise(np.stack(pixels))).permute(0, 3, 1, 2).contiguous()


def keep_failures(path: Path, failures: Mapping[str, tuple[str, str]]) -> None:
    """Write what could not be used, so that other processes and a later one know."""
    write_json(path, {image_id: list(failures[image_id]) for image_id in sorted(failures)})


def kept_failures(paths: Iterable[Path]) -> dict[str, tuple[str, str]]:
    """What `keep_failures` wrote, of all these files."""
    found = {}
    for path in paths:
        for image_id, (reason, detail) in read_json(path).items():
            found[image_id] = (str(reason), str(detail))
    return found


def _order(count: int, seed: int, epoch: int) -> npt.NDArray[np.intp]:
    """The order of one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)
