"""Encoding pictures in a process of its own: bytes to pixels to codes, into the code store, a part at a time.

A job names pictures; what the store already holds is skipped, so a killed job goes on where its last part ended.
Batches always have the same shape (the last one is filled with blanks), in the order of image ids, in float32 with
TF32 off: a picture's codes do not depend on where a run was cut. Which pictures are wanted decides `steps.py`; the
network is `models/vqgan`, the sheet of reconstructions `preview.py`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.config import read_record
from medmax_pipeline.errors import ImageError, MedmaxError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.tokens.image import Pixels, normalise, preprocess
from medmax_pipeline.tokens.preview import reconstruct
from medmax_pipeline.tokens.store import CodeStore

if TYPE_CHECKING:
    from medmax_pipeline.models.vqgan import VQGAN

Log = Callable[[str], None]
PROGRESS_S = 5.0
"""Seconds between lines of progress."""
PUBLISH_S = 60.0
"""Seconds after which codes are published even if a part is not full: what a killed run loses at most."""
CPU_WORKERS = 8
"""Batches under way at once on a CPU; one of 8 pictures of 512 x 512 takes some 3 GiB."""
NOT_READ = "image_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One encoding job as its JSON file says it. Paths are absolute."""

    tokenizer: str
    """Folder of the image tokenizer."""
    codes: str
    """Folder of the code store."""
    landing: str
    pictures: str
    """Parquet of image_id, source, credentialed: what is wanted."""
    images: tuple[str, ...]
    """images.parquet files that say where the bytes are."""
    results: str
    """Folder for failures.json, summary.json and reconstruction.png."""
    batch: int = 8
    """B; part of no result."""
    part: int = 2048
    """Pictures after which codes are published."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where there is one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to encode."""

    image_id: str
    source: str
    credentialed: bool


PICTURE_SCHEMA = pa.schema([("image_id", pa.string()), ("source", pa.string()), ("credentialed", pa.bool_())])


class Reader(Protocol):
    """Where bytes come from: `ingest.reader.ImageReader`."""

    def read(self, image_id: str) -> bytes:
        """The bytes of a picture's file."""
        ...


def read_job(path: Path) -> Job:
    """A job file, checked.

    Raises:
        ConfigError: keys or types are not a job's.
        StoreError: it is no JSON.
    """
    return read_record(Job, read_json(path), path.name)


def make_deterministic() -> None:
    """Let this process compute the same codes every time; call before anything touches CUDA."""
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def run_job(job: Job, reader: Reader, log: Log) -> None:
    """Encode what the job wants and the store lacks; leave failures, figures and a preview in `job.results`.

    A picture that cannot be read or prepared is written down with its reason and does not stop the others.
    """
    import torch

    from medmax_pipeline.models.vqgan import VQGAN

    device = job.device if job.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    vqgan: VQGAN = VQGAN.load(Path(job.tokenizer)).to(device)
    store = CodeStore(Path(job.codes), vqgan.codes_per_image)
    wanted = [Wanted(**row) for row in pq.read_table(job.pictures, schema=PICTURE_SCHEMA).to_pylist()]
    absent = set(store.missing([item.image_id for item in wanted]))
    todo = sorted(
        (item for item in wanted if item.image_id in absent), key=lambda item: (item.credentialed, item.image_id)
    )
    log(f"{len(wanted):,} pictures, {len(todo):,} to encode on {device}")
    started = time.monotonic()
    failures: dict[str, list[str]] = {}
    for credentialed in (False, True):
        share = [item for item in todo if item.credentialed == credentialed]
        _encode_share(job, vqgan, store, share, reader, failures, log)
    seconds = time.monotonic() - started
    encoded = [item for item in todo if item.image_id not in failures]
    results = Path(job.results)
    by_source: dict[str, list[str]] = {}
    for item in sorted(encoded, key=lambda item: item.image_id):
        by_source.setdefault(item.source, []).append(item.image_id)
    kept = reconstruct(
        vqgan,
        store,
        by_source,
        lambda image_id: preprocess(reader.read(image_id), vqgan.resolution),
        results / "reconstruction.png",
    )
    write_json(results / "failures.json", failures)
    rate = len(encoded) / seconds if seconds else 0.0
    summary = {"encoded": len(encoded), "images_per_s": round(rate, 2)}
    likeness = {source: item._asdict() for source, item in kept.items()}
    write_json(results / "summary.json", {**summary, "reconstruction": likeness})
    log(f"encoded {len(encoded):,} pictures in {seconds:.1f} s ({rate:.1f}/s), {len(failures)} failed")


def _encode_share(
    job: Job,
    vqgan: VQGAN,
    store: CodeStore,
    share: list[Wanted],
    reader: Reader,
    failures: dict[str, list[str]],
    log: Log,
) -> None:
    """Encode pictures that are all open or all credentialed, publishing every `job.part` of them or every minute."""
    if not share:
        return
    progress = _Progress(len(share), log)
    ids: list[str] = []
    codes: list[npt.NDArray[np.int64]] = []
    published = time.monotonic()
    batches = _batches(_prepare(share, reader, vqgan.resolution, failures), job.batch)
    for batch_ids, batch_codes in _encode_batches(vqgan, batches, job.batch):
        ids += batch_ids
        codes.append(batch_codes)
        progress.tell(len(batch_ids), len(failures))
        if len(ids) >= job.part or time.monotonic() - published > PUBLISH_S:
            store.add(ids, np.concatenate(codes), credentialed=share[0].credentialed)
            ids, codes, published = [], [], time.monotonic()
    if ids:
        store.add(ids, np.concatenate(codes), credentialed=share[0].credentialed)


def _encode_batches(
    vqgan: VQGAN, batches: Iterator[list[tuple[str, Pixels]]], size: int
) -> Iterator[tuple[list[str], npt.NDArray[np.int64]]]:
    """Ids and codes of each batch, in order.

    On a CPU several batches are under way at once, each on one thread: codes do not depend on the number of cores, and
    threads never wait for each other inside an operation, which costs fourfold where cores are shared.
    """
    import torch

    workers = 1 if next(vqgan.parameters()).is_cuda else min(os.cpu_count() or 1, CPU_WORKERS)
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        under_way: deque[tuple[list[str], Future[npt.NDArray[np.int64]]]] = deque()
        for batch in batches:
            future = pool.submit(encode_batch, vqgan, [pixels for _, pixels in batch], size)
            under_way.append(([image_id for image_id, _ in batch], future))
            if len(under_way) > workers:
                ids, future = under_way.popleft()
                yield ids, future.result()
        for ids, future in under_way:
            yield ids, future.result()


def encode_batch(vqgan: VQGAN, pixels: list[Pixels], size: int) -> npt.NDArray[np.int64]:
    """Codes (B, N) of B <= `size` pictures; the batch is filled up with blanks, whose codes are dropped."""
    import torch

    side = vqgan.resolution
    filled = np.full((size, side, side, 3), 255, dtype=np.uint8)
    filled[: len(pixels)] = np.stack(pixels)
    values = torch.from_numpy(normalise(filled)).permute(0, 3, 1, 2).contiguous().to(next(vqgan.parameters()).device)
    codes: npt.NDArray[np.int64] = vqgan.encode(values)[: len(pixels)].cpu().numpy()
    return codes


def _prepare(
    share: list[Wanted], reader: Reader, resolution: int, failures: dict[str, list[str]]
) -> Iterator[tuple[str, Pixels]]:
    """Pictures as pixels, in order. Bytes are read here; threads decode a few pictures ahead."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        for start in range(0, len(share), 32):
            pending = []
            for item in share[start : start + 32]:
                try:
                    data = reader.read(item.image_id)
                except MedmaxError as error:
                    reason = error.reason if isinstance(error, ImageError) else NOT_READ
                    failures[item.image_id] = [reason, str(error)]
                    continue
                pending.append((item, pool.submit(preprocess, data, resolution)))
            for item, future in pending:
                try:
                    yield item.image_id, future.result()
                except ImageError as error:
                    failures[item.image_id] = [error.reason, error.detail]


def _batches(items: Iterator[tuple[str, Pixels]], size: int) -> Iterator[list[tuple[str, Pixels]]]:
    batch: list[tuple[str, Pixels]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class _Progress:
    """Rate and time left, told every few seconds."""

    def __init__(self, total: int, log: Log) -> None:
        self._total = total
        self._log = log
        self._done = 0
        self._started = self._told = time.monotonic()

    def tell(self, more: int, failed: int) -> None:
        """Note that `more` pictures are encoded and `failed` in all are not."""
        self._done += more
        now = time.monotonic()
        left = max(self._total - self._done - failed, 0)
        if now - self._told < PROGRESS_S and left:
            return
        self._told = now
        rate = self._done / max(now - self._started, 1e-9)
        self._log(f"{self._done:,} of {self._total:,} pictures, {rate:.1f}/s, {left / rate:.0f} s left")


def job_json(job: Job) -> dict[str, Any]:
    """The job as `read_job` reads it."""
    return asdict(job) | {"images": list(job.images)}
