"""A picture file to the network's pixels, against the reference's path, on identical pixels.

Real pictures out of the sample's packages: a fundus photograph as a figure, a piece of a stained slide, a radiograph;
`python -m benchmarks.preprocess DIR` writes them for a machine without those packages (`--pictures DIR` there).
The reference gives float32; ours give levels, which cross to the device as they are and become floats there, so that
one variant does that on the processor too. Scaling on a device is timed apart, by the clock on the wall.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.measure import Claim
from medmax_pipeline.sample.packaged import FILES, locate
from medmax_pipeline.tokens import resize
from medmax_pipeline.tokens.device import fit_on_device, normalise_on_device
from medmax_pipeline.tokens.image import SIMPLEJPEG, decode, fit, normalise, preprocess
from medmax_pipeline.tokens.resize import COMPILED, band

SIDE_PX = 512


def reference(data: bytes, side: int = SIDE_PX) -> npt.NDArray[np.float32]:
    """What Chameleon's inference does to an opaque picture, restated: (side, side, 3) float32 in [-1, 1]."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    cropped = np.asarray(picture.crop((left, top, left + side, top + side)))
    return (cropped / 255.0 * 2 - 1).astype(np.float32)


def files_of(folder: str | None = None) -> dict[str, bytes]:
    """Picture files by their names: a folder's `*.jpg`, or three JPEG files of quality 90 made of the packages'."""
    if folder is not None:
        found = {path.stem: path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))}
        assert found, f"{folder}: holds no *.jpg; make it by `python -m benchmarks.preprocess {folder}`"
        return found
    figure = Image.open(_file("retina.jpg")).convert("RGB").crop((0, 176, 1411, 1234)).resize((800, 600))
    made = {
        "figure 800 x 600 RGB": figure,
        "histology 1000 x 1000 RGB": _slide(_file(".svs")),
        "radiograph 2500 x 3000 grey": _radiograph(_file("RG1_UNCR.dcm")).resize((2500, 3000)),
    }
    files = {}
    for name, picture in made.items():
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        files[name] = buffer.getvalue()
    return files


def _file(ending: str) -> Path:
    path = next(located for record in FILES if str(located := locate(record)).endswith(ending))
    assert isinstance(path, Path)
    return path


def _slide(path: Path) -> Image.Image:
    from openslide import OpenSlide

    with OpenSlide(str(path)) as slide:
        region: Image.Image = slide.read_region((600, 900), 0, (1000, 1000)).convert("RGB")
    return region


def _radiograph(path: Path) -> Image.Image:
    from pydicom import dcmread

    values = dcmread(path).pixel_array.astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    return Image.fromarray((np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8))


def claim(pictures: str | None = None) -> list[Claim]:
    """CPU seconds from file to pixels, and seconds for scaling a decoded picture on the device at hand."""
    files = files_of(pictures)
    torch.set_num_threads(1)
    vars(resize)["LOADING_S"] = 0.0  # the loops are what is timed
    accelerated = torch.cuda.is_available()
    device = torch.device("cuda" if accelerated else "cpu")
    name = torch.cuda.get_device_name() if accelerated else "the processor, for want of a device"
    helped = f"numba {'used' if COMPILED else 'absent'}, simplejpeg {'used' if SIMPLEJPEG else 'absent'}"
    claims = []
    for title, data in files.items():
        expected, decoded = reference(data), decode(data)
        found = [normalise(preprocess(data, SIDE_PX))]
        for products in ("float64", "float32"):
            levels = fit_on_device(decoded, SIDE_PX, device, products=products)
            found.append(normalise_on_device(levels).permute(1, 2, 0).cpu().numpy())
        difference = max(float(np.abs(pixels - expected).max()) for pixels in found)
        assert difference == 0, difference
        in_process: dict[str, Callable[[], object]] = {
            "reference path": partial(reference, data),
            "file to levels": partial(_levels, data),
            "file to floats": partial(_floats, data),
            "decoding alone": partial(decode, data),
        }
        claims.append(Claim(f"{title}: largest difference {difference:g}; {helped}", "CPU s", in_process))
        on_device: dict[str, Callable[[], object]] = {
            "on the processor": partial(fit, decoded, SIDE_PX),
            "float64 products": partial(_on_device, decoded, device, "float64"),
            "float32 products": partial(_on_device, decoded, device, "float32"),
        }
        claims.append(Claim(f"{title}: scaling alone, on {name}", "s", on_device, clock=time.perf_counter))
    return claims


def _levels(data: bytes) -> npt.NDArray[np.uint8]:
    """Weights are made anew, as for a picture whose size was not met before."""
    band.cache_clear()
    return preprocess(data, SIDE_PX)


def _floats(data: bytes) -> npt.NDArray[np.float32]:
    return normalise(_levels(data))


def _on_device(pixels: npt.NDArray[np.uint8], device: torch.device, products: str) -> None:
    fit_on_device(pixels, SIDE_PX, device, products="float32" if products == "float32" else "float64")
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for title, data in files_of().items():
        (folder / f"{title}.jpg").write_bytes(data)
