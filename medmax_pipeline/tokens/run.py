"""An encoding job from its plan to its summary, on one device or on all of a machine's.

With several devices each has a process (`python -m medmax_pipeline.tokens JOB --serve DEVICE`) that is handed chunks by
number on its standard input and tells on its standard output what it has done; one that dies fails the job after the
others have finished, and the next run goes on from there. Encoding is `encode.py`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.files import Json, write_json
from medmax_pipeline.ingest.progress import Progress
from medmax_pipeline.tokens.encode import Tell, run_chunks
from medmax_pipeline.tokens.image import Pixels, preprocess
from medmax_pipeline.tokens.job import Failures, Job, Reader, job_json, plan_of
from medmax_pipeline.tokens.preview import reconstruct, with_exact
from medmax_pipeline.tokens.store import CodeStore
from medmax_pipeline.tokens.vocabulary import image_geometry

if TYPE_CHECKING:
    from medmax_pipeline.models.vqgan import VQGAN

Log = Callable[[str], None]
AHEAD = 2
"""Chunks that a device's process has at once: while it encodes one, it decodes the next."""


def run_job(job: Job, reader: Reader, log: Log, devices: Sequence[str] = ()) -> None:
    """Encode what the job wants and the store lacks; leave failures, figures and a preview in `job.results`.

    A picture that cannot be read or prepared is written down with its reason and does not stop the others.

    Args:
        job: what to do.
        reader: gives the bytes, in this process.
        log: takes lines of progress.
        devices: torch's names; default those that the job asks for.

    Raises:
        LaunchError: the process of a device ended badly.
    """
    store = open_store(job)
    plan = plan_of(job, store, reader)
    todo = plan.open_chunks(store)
    devices = devices or devices_of(job)
    lacking = sum(len(store.missing(plan.chunk(number).image_ids)) for number in todo)
    log(f"{lacking:,} pictures in {len(todo)} of {len(plan)} chunks to encode on {', '.join(devices)}")
    progress = Progress("encoding", "pictures", log, lacking)
    started = time.monotonic()
    vqgan = None
    if len(devices) > 1 and len(todo) > 1:
        _share_out(job, devices[: len(todo)], todo, progress.add, log)
        store.refresh()
    elif todo:
        vqgan = load(job, devices[0])
        for _ in run_chunks(job, plan, todo, vqgan, store, reader, progress.add):
            pass
    seconds = time.monotonic() - started
    store.tidy()
    reports = [report for number in range(len(plan)) if (report := plan.report(number))]
    failures: Failures = {image_id: why for report in reports for image_id, why in report.failures.items()}
    by_source = {
        source: [image_id for image_id in ids if image_id not in failures] for source, ids in plan.by_source().items()
    }
    shown: dict[str, Json] = {}
    if any(by_source.values()):
        shown = _shown(job, vqgan or load(job, devices[0]), store, by_source, reader)
    rate = progress.done / seconds if seconds else 0.0
    write_json(Path(job.results) / "failures.json", failures)
    write_json(
        Path(job.results) / "summary.json",
        {
            "encoded": sum(map(len, by_source.values())),
            "images_per_s": round(rate, 2),
            "device": devices[0].partition(":")[0],
            **shown,
        },
    )
    log(f"encoded {progress.done - len(failures):,} pictures in {seconds:.1f} s ({rate:.1f}/s), {len(failures)} failed")


def _shown(
    job: Job, vqgan: VQGAN, store: CodeStore, by_source: Mapping[str, Sequence[str]], reader: Reader
) -> dict[str, Json]:
    """Figures on some pictures of the run: what the tokenizer keeps of them, and of a fast one's codes how many are
    those of the exact one."""

    def prepare(image_id: str) -> Pixels:
        return preprocess(reader.read(image_id), vqgan.resolution, vqgan.geometry)

    kept = reconstruct(vqgan, store, by_source, prepare, Path(job.results) / "reconstruction.png")
    shown: dict[str, Json] = {"reconstruction": {source: item._asdict() for source, item in kept.items()}}
    if vqgan.mode == "fast":
        shown["agreement_with_exact"] = with_exact(vqgan, Path(job.tokenizer), by_source, prepare)._asdict()
    return shown


def serve(
    job: Job, reader: Reader, device: str, numbers: Iterable[int | None], tell: Tell, done: Callable[[int], None]
) -> None:
    """Encode the chunks of these numbers on one device, and nothing else of the job; the plan is made if there is none.

    Args:
        job: what to do.
        reader: gives the bytes.
        device: torch's name.
        numbers: of chunks, as `encode.run_chunks` takes them.
        tell: is told of progress.
        done: is told the number of each chunk that is finished.
    """
    store = open_store(job)
    plan = plan_of(job, store, reader)
    for number in run_chunks(job, plan, numbers, load(job, device), store, reader, tell):
        done(number)


def open_store(job: Job) -> CodeStore:
    """The store that the job's codes go to."""
    return CodeStore(Path(job.codes), image_geometry(Path(job.tokenizer)).codes_per_image)


def load(job: Job, device: str) -> VQGAN:
    """The job's tokenizer on a device."""
    from medmax_pipeline.models.vqgan import VQGAN

    loaded: VQGAN = VQGAN.load(Path(job.tokenizer)).to(device)
    return loaded


def devices_of(job: Job) -> list[str]:
    """Devices that the job asks for, by torch's names; at least one."""
    if job.device == "cpu":
        return ["cpu"]
    import torch

    count = torch.cuda.device_count()
    if not count:
        return [job.device if job.device == "cuda" else "cpu"]
    return [f"cuda:{number}" for number in range(count)]


def _share_out(job: Job, devices: Sequence[str], numbers: Iterable[int], tell: Tell, log: Log) -> None:
    """Have a process a device work through the chunks, whoever is free taking the next."""
    path = Path(job.results) / "shared_job.json"
    write_json(path, job_json(job))
    waiting = deque(numbers)
    telling = Lock()

    def told(line: str) -> int | None:
        """Pass one line on; the chunk that it says is done."""
        try:
            said = json.loads(line)
            more, number = said.get("pictures", 0), said.get("chunk")
        except (ValueError, AttributeError):
            with telling:
                log(line.rstrip("\n"))
            return None
        with telling:
            tell(more)
        return number if isinstance(number, int) else None

    def watch(device: str) -> str:
        """Hand chunks to one process until none is left; what to say of its end where it was bad."""
        arguments = [sys.executable, "-u", "-m", "medmax_pipeline.tokens", str(path), "--serve", device]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        _hand(process, waiting, AHEAD)
        for line in process.stdout:
            if told(line) is not None:
                _hand(process, waiting, 1)
        code = process.wait()
        process.stdout.close()
        with contextlib.suppress(OSError):  # what a dead process has not taken
            process.stdin.close()
        return f"{device}: exit code {code}" if code else ""

    with ThreadPoolExecutor(len(devices)) as pool:
        ends = [end for end in pool.map(watch, devices) if end]
    if ends:
        raise LaunchError(
            f"encoding ended badly on {'; '.join(ends)}. What was encoded is kept; run again to encode the rest."
        )


def _hand(process: subprocess.Popen[str], waiting: deque[int], count: int) -> None:
    """Give a process up to so many chunks more; without any left, the end of its input."""
    assert process.stdin is not None
    for _ in range(count):
        try:
            process.stdin.write(f"{waiting.popleft()}\n")
            process.stdin.flush()
        except IndexError:
            process.stdin.close()
            return
        except OSError:  # it is gone; its exit code says so
            return
