"""Picture files to pixels in processes of their own, ahead of whoever encodes, in the order asked for.

Bytes are read here, in threads: those of gzipped tars and tables by one thread in order, all others by several.
`decode.py` is the other side. Pixels come back through shared memory without a name, so that nothing is left behind
by a killed run, and no more pictures are under way than it has slots.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import queue
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from types import TracebackType
from typing import IO, Generic, NamedTuple, TypeVar

import numpy as np

from medmax_pipeline.errors import ImageError, MedmaxError
from medmax_pipeline.tokens.decode import ANSWER, REQUEST
from medmax_pipeline.tokens.geometry import CENTRE_CROP, PictureGeometry
from medmax_pipeline.tokens.job import Reader
from medmax_pipeline.tokens.resize import Pixels

READING_THREADS = 4
"""Pictures read at once where their order does not matter: a network file system answers slowly, not narrowly."""
WHOLE_BYTES = 24 << 20
"""Of a slot for whole pictures: a radiograph of 2500 x 3000 pixels fits in, be it grey or RGB."""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A process a core: threads of its own below it would only wait for each other."""
ATTEMPTS = 2
"""Processes that may die over one picture before it is refused."""
REFUSED = "image_refused"
CHILD = "medmax_pipeline.tokens.decode"

T = TypeVar("T")


class Wish(NamedTuple, Generic[T]):
    """What to decode."""

    what: T | None
    """Comes back with the pixels. None: nothing more is known to be wanted now; all under way is finished first."""
    image_id: str | None
    """None: there is no picture, `what` is only passed on in its turn."""


class Ready(NamedTuple, Generic[T]):
    """What was asked for, and its pixels or why there are none; no picture asked: neither."""

    what: T | None
    pixels: Pixels | None
    failure: tuple[str, str] | None


class _Begun(NamedTuple, Generic[T]):
    what: T
    slot: int | None
    reading: Future[Future[tuple[int, ...]]] | None


class _Request(NamedTuple):
    slot: int
    data: bytes
    done: Future[tuple[int, ...]]


class Decoders:
    """Processes that decode; they end with `close`, or with this process, however it ends."""

    def __init__(
        self,
        resolution: int,
        workers: int,
        slots: int,
        *,
        whole: bool = False,
        geometry: PictureGeometry = CENTRE_CROP,
    ) -> None:
        """Start them.

        Args:
            resolution: height and width of the pixels wanted.
            workers: number of processes, at least 1.
            slots: pictures that may be under way at once.
            whole: leave scaling to a device (`device.py`), except for pictures larger than `WHOLE_BYTES`.
            geometry: what becomes of pictures that are not square.
        """
        self._side = resolution
        self._geometry = geometry
        self._slot_bytes = max(WHOLE_BYTES if whole else 0, resolution * resolution * 3)
        self._file = _shared_file(slots * self._slot_bytes)
        self._slots = np.frombuffer(mmap.mmap(self._file.fileno(), 0), dtype=np.uint8).reshape(slots, -1)
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._threads = [Thread(target=self._serve, args=(self._start(),), daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what they have begun is finished first."""
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()
        self._file.close()

    def decode(self, wishes: Iterable[Wish[T]], reader: Reader) -> Iterator[Ready[T]]:
        """Pixels of pictures in the order asked for: (resolution, resolution, 3) uint8 each, a copy; or `whole` ones.

        Args:
            wishes: asked for ahead of time.
            reader: gives the bytes; used from several threads.
        """
        free = deque(range(len(self._slots)))
        under_way: deque[_Begun[T]] = deque()
        with ThreadPoolExecutor(1) as in_order, ThreadPoolExecutor(READING_THREADS) as any_order:
            try:
                for what, image_id in wishes:
                    if what is None:
                        while under_way:
                            yield self._finish(under_way.popleft(), free)
                        yield Ready(None, None, None)
                    elif image_id is None:
                        under_way.append(_Begun(what, None, None))
                    else:
                        while not free:
                            yield self._finish(under_way.popleft(), free)
                        slot = free.popleft()
                        pool = in_order if reader.sequential(image_id) else any_order
                        under_way.append(_Begun(what, slot, pool.submit(self._read, reader, image_id, slot)))
                while under_way:
                    yield self._finish(under_way.popleft(), free)
            finally:
                for begun in under_way:
                    if begun.reading is not None:
                        begun.reading.cancel()

    def _read(self, reader: Reader, image_id: str, slot: int) -> Future[tuple[int, ...]]:
        request = _Request(slot, reader.read(image_id), Future())
        self._requests.put(request)
        return request.done

    def _finish(self, begun: _Begun[T], free: deque[int]) -> Ready[T]:
        what, slot, reading = begun
        if slot is None or reading is None:
            return Ready(what, None, None)
        try:
            shape = reading.result().result()
            return Ready(what, self._slots[slot][: math.prod(shape)].reshape(shape).copy(), None)
        except ImageError as error:
            return Ready(what, None, (error.reason, error.detail))
        except MedmaxError as error:
            return Ready(what, None, (REFUSED, str(error)))
        finally:
            free.append(slot)

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """Keep one process busy, and start another where it dies."""
        while (request := self._requests.get()) is not None:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    request.done.set_result(_ask(process, request))
                except ImageError as error:
                    request.done.set_exception(error)
                except (OSError, ValueError):
                    code = _end(process)
                    try:
                        process = self._start()
                    except OSError as error:  # the machine's fault, not the picture's
                        request.done.set_exception(error)
                        break
                    if attempt == ATTEMPTS:
                        detail = f"{ATTEMPTS} processes that decoded it ended with code {code}"
                        request.done.set_exception(ImageError(REFUSED, detail))
                    continue
                break
        _end(process)

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._file.fileno()
        return subprocess.Popen(
            [sys.executable, "-m", CHILD, str(descriptor), str(self._side), str(self._slot_bytes), self._geometry],
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
        )


def _ask(process: subprocess.Popen[bytes], request: _Request) -> tuple[int, ...]:
    """Have one picture decoded; the shape of what it left in its slot.

    Raises:
        OSError: the process is gone.
        ValueError: so is its input, or it answers nonsense.
        ImageError: the picture is none.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(REQUEST.pack(request.slot, len(request.data)))
    process.stdin.write(request.data)
    process.stdin.flush()
    header = process.stdout.read(ANSWER.size)
    if len(header) < ANSWER.size:
        raise BrokenPipeError("no answer")
    answer = json.loads(process.stdout.read(ANSWER.unpack(header)[0]))
    if "failure" in answer:
        raise ImageError(*answer["failure"])
    return tuple(answer["shape"])


def _end(process: subprocess.Popen[bytes]) -> int:
    """Close a process' input, wait for it, and close its output; its exit code."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    code = process.wait()
    process.stdout.close()
    return code


def _shared_file(size: int) -> IO[bytes]:
    """A file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("medmax-pixels"), "r+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `Decoders.close`
    file.truncate(max(size, 1))
    return file
