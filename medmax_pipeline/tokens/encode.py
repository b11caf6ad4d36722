"""Encoding chunks of pictures: bytes to pixels to codes, into the code store.

What the store holds already is skipped, so a killed run goes on where its last part ended. On a GPU batches always have
the same shape (what is missing are blanks), and a CPU takes picture by picture: codes depend neither on a picture's
company nor on where a run was cut. Decoding runs ahead in processes of its own (`decoding.py`), across the borders of
chunks, so that the device never waits for pictures. Which chunks, and on how many devices, is `run.py`; the network
`models/vqgan`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.tokens.decoding import Decoders, Wish
from medmax_pipeline.tokens.job import Chunk, Failures, Job, Plan, Reader, Report
from medmax_pipeline.tokens.resize import Pixels
from medmax_pipeline.tokens.store import CodeStore

if TYPE_CHECKING:
    from medmax_pipeline.models.vqgan import VQGAN

Tell = Callable[[int], None]
"""Takes how many pictures more are encoded or have failed."""

PUBLISH_S = 60.0
"""Seconds after which codes are published even if a chunk is not done: what a killed run loses at most."""
CPU_BATCH, GPU_BATCH = 8, 32
CPU_THREADS = 16
"""Batches under way at once on a CPU; each takes some 0.5 GiB, since it is encoded picture by picture."""
GPU_THREADS = 2
"""While one waits for the device, the other prepares the next batch: the device's queue is never empty."""
PICTURES_A_DECODER = 256
"""Ours: decoding fewer takes less time than starting a process."""
CORES_A_CPU_DECODER = 16
"""On a CPU encoding takes some thirty times as long as decoding."""


def make_deterministic() -> None:
    """Let this process compute the same codes every time; call before anything touches CUDA."""
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False  # for all threads at once: `full_float32` is for one
    torch.backends.cudnn.allow_tf32 = False


class Batch(NamedTuple):
    """Pictures of one chunk that are encoded together."""

    chunk: Chunk
    image_ids: list[str]
    pixels: list[Pixels]
    last: bool
    """Nothing of the chunk comes after it. Only such a batch may be empty."""


class Encoded(NamedTuple):
    """A batch with its codes."""

    batch: Batch
    codes: npt.NDArray[np.int64] | None
    """(B, N); None: the batch is empty."""


@dataclass
class _Open:
    """A chunk under way: what is not published yet, and what became of the rest."""

    image_ids: list[str] = field(default_factory=list)
    codes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)
    encoded: int = 0


def run_chunks(
    job: Job, plan: Plan, numbers: Iterable[int | None], vqgan: VQGAN, store: CodeStore, reader: Reader, tell: Tell
) -> Iterator[int]:
    """Encode chunks one after the other; give the number of each when its codes and its report are written.

    Args:
        job: what to do.
        plan: its plan.
        numbers: of chunks; asked for ahead of time, as pictures are decoded ahead. None: no further one is known now;
            all that were given are finished before the next is asked for.
        vqgan: on the device to encode on.
        store: of that tokenizer.
        reader: gives the bytes.
        tell: is told of progress.
    """
    import torch

    cuda = next(vqgan.parameters()).is_cuda
    size = job.batch or (GPU_BATCH if cuda else CPU_BATCH)
    failures: dict[int, Failures] = {}
    workers = decoders_for(len(plan) * job.part, torch.cuda.device_count() if cuda else 0)
    with Decoders(vqgan.resolution, workers, 2 * (size + workers), whole=cuda, geometry=vqgan.geometry) as decoders:
        batches = _batches(_wishes(plan, numbers, store), decoders, reader, size, failures, tell)
        now = _Open()
        for batch, codes in _encode_batches(vqgan, batches, size):
            if codes is not None:
                now.image_ids += batch.image_ids
                now.codes.append(codes)
                tell(len(codes))
            if now.image_ids and (batch.last or time.monotonic() - now.since > PUBLISH_S):
                store.add(now.image_ids, np.concatenate(now.codes), credentialed=batch.chunk.credentialed)
                now = _Open(encoded=now.encoded + len(now.image_ids))
            if batch.last:
                plan.write_report(batch.chunk.number, Report(now.encoded, failures.pop(batch.chunk.number, {})))
                now = _Open()
                yield batch.chunk.number


def decoders_for(pictures: int, gpus: int) -> int:
    """How many processes decode for one device.

    Args:
        pictures: of the whole job; more processes than they pay for are not started.
        gpus: of the machine, each of which has a process that decodes; 0: the CPU encodes too.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cores // gpus if gpus else cores // CORES_A_CPU_DECODER + 1
    return max(1, min(share, pictures // PICTURES_A_DECODER))


def encode_batch(vqgan: VQGAN, pixels: list[Pixels], size: int) -> npt.NDArray[np.int64]:
    """Codes (B, N) of B <= `size` pictures; on a GPU the batch is filled up with blanks, whose codes are dropped.

    Args:
        vqgan: on the device to encode on.
        pixels: (H, W) or (H, W, 3) uint8 each, which are scaled and become float32 on the device.
        size: of the batch.
    """
    import torch

    from medmax_pipeline.tokens.device import fit_all_on_device, normalise_on_device

    levels = fit_all_on_device(pixels, vqgan.resolution, next(vqgan.parameters()).device, vqgan.geometry)
    if levels.is_cuda:
        levels = torch.cat([levels, levels.new_full((size - len(levels), *levels.shape[1:]), 255)])
    values = normalise_on_device(levels.contiguous())
    codes: npt.NDArray[np.int64] = vqgan.encode(values)[: len(pixels)].cpu().numpy()
    return codes


def _wishes(plan: Plan, numbers: Iterable[int | None], store: CodeStore) -> Iterator[Wish[tuple[Chunk, str]]]:
    """What is to be decoded, and after each chunk its end."""
    for number in numbers:
        if number is None:
            yield Wish(None, None)
            continue
        chunk = plan.chunk(number)
        for image_id in store.missing(chunk.image_ids):
            yield Wish((chunk, image_id), image_id)
        yield Wish((chunk, ""), None)


def _batches(
    wishes: Iterator[Wish[tuple[Chunk, str]]],
    decoders: Decoders,
    reader: Reader,
    size: int,
    failures: dict[int, Failures],
    tell: Tell,
) -> Iterator[Batch | None]:
    """Batches of `size` pictures; the last one of a chunk has fewer, or none. Pictures without pixels go to failures.

    None: all that were given are to be finished now.
    """
    image_ids: list[str] = []
    pixels: list[Pixels] = []
    for what, found, failure in decoders.decode(wishes, reader):
        if what is None:
            yield None
            continue
        chunk, image_id = what
        if failure is not None:
            failures.setdefault(chunk.number, {})[image_id] = [*failure]
            tell(1)
        if found is not None:
            image_ids.append(image_id)
            pixels.append(found)
        last = not image_id
        if last or len(pixels) == size:
            yield Batch(chunk, image_ids, pixels, last)
            image_ids, pixels = [], []


def _encode_batches(vqgan: VQGAN, batches: Iterator[Batch | None], size: int) -> Iterator[Encoded]:
    """Codes of each batch, in order.

    On a CPU several batches are under way at once, each on one thread: codes do not depend on the number of cores, and
    threads never wait for each other inside an operation, which costs fourfold where cores are shared.
    """
    import torch

    cuda = next(vqgan.parameters()).is_cuda
    if cuda:  # one thread sets the device up, and compiles where the mode asks for it
        encode_batch(vqgan, [np.full((vqgan.resolution, vqgan.resolution, 3), 255, dtype=np.uint8)], size)
    workers = GPU_THREADS if cuda else min(os.cpu_count() or 1, CPU_THREADS)
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        under_way: deque[tuple[Batch, Future[npt.NDArray[np.int64]] | None]] = deque()

        def first() -> Encoded:
            batch, future = under_way.popleft()
            return Encoded(batch, future.result() if future is not None else None)

        for batch in batches:
            if batch is not None:
                future = pool.submit(encode_batch, vqgan, batch.pixels, size) if batch.pixels else None
                under_way.append((batch, future))
            while len(under_way) > (workers if batch is not None else 0):
                yield first()
        while under_way:
            yield first()
