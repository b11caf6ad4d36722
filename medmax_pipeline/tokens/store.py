"""The code store: what the image tokenizer gave for each picture, kept under the picture's content hash.

    <folder>/geometry.json                    codes per image
    <folder>/{open,credentialed}-<digest>.part

A part holds n pictures: their ids sorted (32 raw bytes each), then n x N codes as little-endian uint16. It is named by
the digest of its bytes, published whole and never changed, so any number of processes may add parts at once: where two
encoded the same picture, both parts say the same. Codes of credentialed pictures, which decode to the picture, lie in
parts of their own. A picture is looked up by binary search in memory-mapped parts. Who encodes is `encode.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import read_json, sha256_bytes, sha256_file, write_bytes, write_json

ID_BYTES = 32
PART = ".part"
GEOMETRY = "geometry.json"
NAME_DIGITS = 32

Codes = npt.NDArray[np.uint16]
RawIds = npt.NDArray[np.bytes_]


def code_folder(store: Path, tokenizer_digest: str) -> Path:
    """Where the codes of one image tokenizer lie in a store."""
    return store / "codes" / tokenizer_digest


@dataclass(frozen=True, slots=True)
class _Part:
    ids: RawIds
    codes: Codes


class CodeStore:
    """Codes of one image tokenizer. Parts of other processes are seen after `refresh`."""

    def __init__(self, folder: Path, codes_per_image: int) -> None:
        """Open, and create where absent, the store of one tokenizer.

        Args:
            folder: from `code_folder`.
            codes_per_image: N.

        Raises:
            StoreError: the folder holds codes of another geometry, or a part is not whole.
        """
        self.folder = folder
        self.codes_per_image = codes_per_image
        geometry = folder / GEOMETRY
        if not geometry.exists():
            write_json(geometry, {"codes_per_image": codes_per_image})
        found = read_json(geometry).get("codes_per_image")
        if found != codes_per_image:
            raise StoreError(
                f"{folder}: holds {found} codes an image, expected {codes_per_image}. Another tokenizer's."
            )
        self._parts: dict[str, _Part] = {}
        self.refresh()

    def refresh(self) -> None:
        """Map the parts that were published since."""
        for path in sorted(self.folder.glob(f"*{PART}")):
            if path.name not in self._parts:
                self._parts[path.name] = self._map(path)

    def _map(self, path: Path) -> _Part:
        size = path.stat().st_size
        count, rest = divmod(size, ID_BYTES + 2 * self.codes_per_image)
        if rest or not count:
            raise StoreError(
                f"{path}: {size} bytes are no whole pictures. Remove the file; its pictures are encoded again."
            )
        raw = np.memmap(path, dtype=np.uint8, mode="r")
        ids = raw[: count * ID_BYTES].view(f"S{ID_BYTES}")
        codes = raw[count * ID_BYTES :].view("<u2").reshape(count, self.codes_per_image)
        return _Part(ids, codes)

    def add(self, image_ids: Sequence[str], codes: npt.NDArray[np.integer], *, credentialed: bool) -> None:
        """Publish one part; an empty one is none.

        Args:
            image_ids: 64 hex digits each, no two alike.
            codes: (n, N) in 0 to 65,535.
            credentialed: whether the pictures are.

        Raises:
            StoreError: shapes or ids do not fit.
        """
        if codes.shape != (len(image_ids), self.codes_per_image):
            raise StoreError(f"codes are {codes.shape}, expected {(len(image_ids), self.codes_per_image)}.")
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) <= 0xFFFF:
            raise StoreError(f"codes run from {codes.min()} to {codes.max()}, expected 16 bits.")
        if not image_ids:
            return
        raw = _raw_ids(image_ids)
        order = np.argsort(raw, kind="stable")
        if (raw[order][1:] == raw[order][:-1]).any():
            raise StoreError("an image id occurs twice in one part.")
        data = raw[order].tobytes() + codes[order].astype("<u2").tobytes()
        kind = "credentialed" if credentialed else "open"
        write_bytes(self.folder / f"{kind}-{sha256_bytes(data)[:NAME_DIGITS]}{PART}", data)
        self.refresh()

    def missing(self, image_ids: Sequence[str]) -> list[str]:
        """Which of these pictures have no codes yet, in the order given."""
        if not image_ids:
            return []
        _, absent = self._look_up(image_ids, want_codes=False)
        return [image_ids[index] for index in np.flatnonzero(absent).tolist()]

    def get_many(self, image_ids: Sequence[str]) -> Codes:
        """Codes of pictures in the order given: (n, N) uint16, a copy.

        Raises:
            StoreError: a picture has none.
        """
        codes, absent = self._look_up(image_ids, want_codes=True)
        if absent.any():
            first = image_ids[int(np.flatnonzero(absent)[0])]
            raise StoreError(
                f"{int(absent.sum())} of {len(image_ids)} pictures have no codes, the first is {first}. "
                "Materialise image_codes."
            )
        return codes

    def verify(self) -> list[str]:
        """Names of parts whose bytes are not those they were published with."""
        return [
            path.name
            for path in sorted(self.folder.glob(f"*{PART}"))
            if sha256_file(path)[:NAME_DIGITS] != path.stem.rpartition("-")[2]
        ]

    def _look_up(self, image_ids: Sequence[str], *, want_codes: bool) -> tuple[Codes, npt.NDArray[np.bool_]]:
        wanted = _raw_ids(image_ids)
        codes = np.zeros((len(wanted) if want_codes else 0, self.codes_per_image), dtype=np.uint16)
        absent = np.ones(len(wanted), dtype=np.bool_)
        for name in sorted(self._parts):
            part = self._parts[name]
            open_places = np.flatnonzero(absent)
            if not len(open_places):
                break
            places = np.minimum(np.searchsorted(part.ids, wanted[open_places]), len(part.ids) - 1)
            hit = part.ids[places] == wanted[open_places]
            absent[open_places[hit]] = False
            if want_codes:
                codes[open_places[hit]] = part.codes[places[hit]]
        return codes, absent


def _raw_ids(image_ids: Sequence[str]) -> RawIds:
    """Ids of 64 hex digits as raw bytes; every id has the same length, so trailing zero bytes do no harm."""
    try:
        raw = b"".join(bytes.fromhex(image_id) for image_id in image_ids)
    except ValueError as error:
        raise StoreError(f"an image id is not hex: {error}.") from error
    if len(raw) != ID_BYTES * len(image_ids) or any(len(image_id) != 2 * ID_BYTES for image_id in image_ids):
        raise StoreError(f"image ids must have {2 * ID_BYTES} hex digits each.")
    return np.frombuffer(raw, dtype=f"S{ID_BYTES}")
