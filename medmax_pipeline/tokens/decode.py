"""`python -m medmax_pipeline.tokens.decode FD RESOLUTION SLOT_BYTES GEOMETRY`: a process that turns files into pixels.

Requests come on standard input: slot and length (two unsigned 64-bit numbers), then the file's bytes. The pixels go
into that slot of the memory behind FD, whole where it has room for them (a device scales them then) and else scaled to
RESOLUTION. The answer on standard output is the length (unsigned 32 bits) of the JSON that follows: `{"shape": …}`, or
`{"failure": [reason, detail]}`. It ends with its input, so that none outlives who started it. Loads no torch; who
starts it is `decoding.py`.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from typing import cast

import numpy as np

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import Json
from medmax_pipeline.tokens.geometry import PictureGeometry, place
from medmax_pipeline.tokens.image import decode, fit
from medmax_pipeline.tokens.resize import Pixels

REQUEST = struct.Struct("<QQ")
ANSWER = struct.Struct("<I")


def main(arguments: list[str]) -> int:
    """Answer requests until there are no more."""
    descriptor, side, slot_bytes = map(int, arguments[:3])
    geometry = cast(PictureGeometry, arguments[3])
    slots = np.frombuffer(mmap.mmap(descriptor, 0), dtype=np.uint8).reshape(-1, slot_bytes)
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a decoder's library prints is no answer
    while len(header := asked.read(REQUEST.size)) == REQUEST.size:
        slot, length = REQUEST.unpack(header)
        data = asked.read(length)
        if len(data) < length:
            break
        said = json.dumps(_answer(data, slots[slot], side, geometry)).encode()
        answers.write(ANSWER.pack(len(said)) + said)
        answers.flush()
    return 0


def _answer(data: bytes, slot: Pixels, side: int, geometry: PictureGeometry) -> dict[str, Json]:
    """Decode one file into a slot; what to say of it."""
    try:
        pixels = decode(data)
        place(pixels.shape[1], pixels.shape[0], side, geometry)  # of what cannot be scaled no device is asked
        if pixels.nbytes > len(slot) or len(slot) == side * side * 3:
            pixels = fit(pixels, side, geometry)
    except ImageError as error:
        return {"failure": [error.reason, error.detail]}
    slot[: pixels.nbytes] = pixels.reshape(-1)
    return {"shape": list(pixels.shape)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
