"""Weights as untrusted data: reading configurations, safetensors and checkpoints, refusing what does not fit.

No pickle that could run code is ever opened. What the tensors mean belongs to the network's own module; this one loads
no torch until a state is asked for, so that steps may name a tokenizer by its digest cheaply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from safetensors import SafetensorError

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.files import digest_of, disk_errors, publish_folder, sha256_file, write_json
from medmax_pipeline.tokens.geometry import CENTRE_CROP, PictureGeometry

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
STATE = "model.safetensors"
GEOMETRY = "picture_geometry"
"""Name in an image tokenizer's `config.json`; absent means `centre_crop`, as in every published one."""
MODE = "numeric_mode"
"""The field of the same that names how the encoder computes, where that is not `exact`."""
INDEX = "model.safetensors.index.json"
"""Which tensor is in which file, where a network is in several."""
MAX_CONFIG_BYTES = 16 << 20
"""A Chameleon configuration with its vocabulary of 65,536 names is about 2 MB; anything far above it is not ours."""
MAX_HEADER_BYTES = 100 << 20
"""What the safetensors format itself allows."""
MAX_CHECKPOINT_BYTES = 100 << 30
"""A Chameleon of 34 billion parameters has 68 GB in bfloat16."""
NAMES_SHOWN = 5

NumericMode = Literal["exact", "fast"]
"""`exact`: float32 throughout, TF32 off, as the reference computes. `fast`: the encoder in bfloat16, compiled on CUDA,
and the quantiser in float32; some codes differ, and how many is measured (`models/agreement.py`)."""


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json` as a dictionary.

    Raises:
        WeightsError: it is missing, larger than 16 MiB, or not a JSON object.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise WeightsError(f"{folder}: has no {CONFIG}. Expected a weights folder ({CONFIG} and {STATE}).")
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise WeightsError(
            f"{path}: {size:,} bytes, at most {MAX_CONFIG_BYTES:,} expected. Not a configuration of ours."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error}). Fetch the folder again.") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: holds a {type(config).__name__}, expected a JSON object. Fetch the folder again.")
    return config


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the folder's `model.safetensors`, on the CPU, in the types they are stored in.

    Raises:
        WeightsError: the file is missing or is not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / STATE
    if not path.is_file():
        found = sorted(item.name for item in folder.iterdir())[:NAMES_SHOWN] if folder.is_dir() else []
        raise WeightsError(
            f"{folder}: has no {STATE} (found: {', '.join(found) or 'nothing'}). Only safetensors are read."
        )
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}). Fetch it again.") from error
    return state


def read_checkpoint(path: Path, what: str, most_bytes: int = MAX_CHECKPOINT_BYTES) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint of `torch.save`, by name, on the CPU: the file's dictionary, or its `state_dict`.

    A checkpoint in the form of today is mapped, so that a tensor's bytes are read when they are used.

    Args:
        path: the file; untrusted.
        what: what was expected there, for the error ("the publisher's vqgan.ckpt").
        most_bytes: a larger file is refused unread.

    Raises:
        WeightsError: missing, larger than `most_bytes`, or anything but dense tensors under names.
    """
    import pickle
    import zipfile

    import torch

    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Expected {what}.")
    size = path.stat().st_size
    if size > most_bytes:
        raise WeightsError(f"{path}: {size:,} bytes, at most {most_bytes:,} expected. Expected {what}.")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: not a checkpoint of plain tensors ({reason}). Nothing that could run code is read. "
            f"Expected {what}; fetch it again."
        ) from error
    given = value.get("state_dict", value) if isinstance(value, dict) else None
    if not isinstance(given, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        for name, tensor in given.items()
    ):
        raise WeightsError(f"{path}: holds no state_dict of tensors. Expected {what}.")
    return given


def read_part(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Tensors of one network inside a folder of one or several safetensors files; the others are not read.

    Args:
        folder: its files' headers are checked first (`read_shapes`).
        prefix: what the names of the wanted tensors begin with; taken off.

    Raises:
        WeightsError: as `read_shapes`, or no name begins so.
    """
    from safetensors import SafetensorError, safe_open

    names = [name for name in read_shapes(folder) if name.startswith(prefix)]
    if not names:
        raise WeightsError(f"{folder}: no tensor's name begins with {prefix!r}. Expected a network that holds one.")
    wanted = set(names)
    state: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as handle:
                state |= {name.removeprefix(prefix): handle.get_tensor(name) for name in wanted & set(handle.keys())}
        except SafetensorError as error:
            raise WeightsError(f"{path}: not a whole safetensors file ({error}). Fetch it again.") from error
    return state


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a folder's safetensors, from their headers; no tensor is read.

    Raises:
        WeightsError: there is none, a header is broken or points outside its file, or two files hold one name.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, shape in read_header(path).items():
            if name in shapes:
                raise WeightsError(f"{path}: holds {name} again; another shard has it. Fetch the folder again.")
            shapes[name] = shape
    if not shapes:
        raise WeightsError(f"{folder}: has no safetensors. Other formats can run code when read and are refused.")
    return shapes


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one safetensors file; raises as `read_shapes`."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise WeightsError(f"{path}: not a whole safetensors file (header of {length:,} bytes). Fetch it again.")
        text = handle.read(length)
    try:
        entries = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error!r}). Fetch it again.") from error
    if 8 + length + end != size:
        raise WeightsError(f"{path}: {size:,} bytes, its header tells of {8 + length + end:,}. Fetch it again.")
    return shapes


@contextmanager
def weights_written(path: Path) -> Iterator[None]:
    """Around a safetensors file or folder that is written: a full disk is told as everywhere.

    Raises:
        DiskFull: no space left.
        StoreError: the folder may not be written.
    """
    with disk_errors(path):
        try:
            yield
        except SafetensorError as error:  # it tells the operating system's words, not its number apart
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), str(error), str(path)) from error


def publish_weights(scratch: Path, folder: Path) -> None:
    """Move a finished weights folder to its name: a new one, or an empty folder that was made for it.

    Raises:
        StoreError: `folder` holds something already.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    publish_folder(scratch, folder)


def check_state(
    found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], where: Path, network: str
) -> None:
    """Compare tensor names and shapes, and tell all differences at once.

    Raises:
        WeightsError: names are missing or foreign, or shapes differ.
    """
    faults = []
    missing = sorted(expected.keys() - found.keys())
    foreign = sorted(found.keys() - expected.keys())
    if missing:
        faults.append(f"{len(missing)} missing ({_some(missing)})")
    if foreign:
        faults.append(f"{len(foreign)} foreign ({_some(foreign)})")
    shapes = [
        f"{name} is {tuple(found[name])}, expected {tuple(expected[name])}"
        for name in sorted(expected.keys() & found.keys())
        if tuple(found[name]) != tuple(expected[name])
    ]
    if shapes:
        faults.append(f"{len(shapes)} of another shape ({_some(shapes)})")
    if faults:
        raise WeightsError(
            f"{where}: tensors do not fit {network}: {'; '.join(faults)}. "
            "The configuration and the weights must come from the same network."
        )


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


VQ_FIELDS = (
    "attn_resolutions",
    "attn_type",
    "base_channels",
    "channel_multiplier",
    "double_latent",
    "embed_dim",
    "in_channels",
    "latent_channels",
    "num_embeddings",
    "num_res_blocks",
    "resolution",
)
"""The fields of transformers' `ChameleonVQVAEConfig` that shape the network or its codes."""


def tokenizer_digest(folder: Path, *, preprocessing: str) -> str:
    """The identity of everything that decides a picture's codes: sha256, 64 hex digits.

    Covers the weights' bytes, the fields of the configuration that shape the network (among them the resolution), the
    geometry of pictures where it is not the usual one, the version of the preprocessing and the numeric mode. Loads no
    torch.

    Args:
        folder: an image tokenizer's weights folder.
        preprocessing: the version name of the path from file to pixels (`tokens/image`).
    """
    config = read_config(folder)
    path = folder / STATE
    if not path.is_file():
        raise WeightsError(f"{folder}: has no {STATE}. Only safetensors are read.")
    parts = {
        "weights": sha256_file(path),
        "config": {name: config.get(name) for name in VQ_FIELDS},
        "preprocessing": preprocessing,
        "mode": numeric_mode(folder),
    }
    geometry = picture_geometry(folder)
    return digest_of(parts if geometry == CENTRE_CROP else parts | {"geometry": geometry})


def picture_geometry(path: Path) -> PictureGeometry:
    """What an image tokenizer sees of pictures that are not square: as its configuration says, else `centre_crop`.

    Args:
        path: its folder, or an original checkpoint, which says nothing.

    Raises:
        WeightsError: the configuration is no JSON object, or names a geometry that is not known.
    """
    geometry: PictureGeometry = _option(path, GEOMETRY, get_args(PictureGeometry), CENTRE_CROP)
    return geometry


def numeric_mode(path: Path) -> NumericMode:
    """How an image tokenizer's encoder computes: as its configuration says, else `exact`.

    Args:
        path: its folder, or an original checkpoint, which says nothing.

    Raises:
        WeightsError: the configuration is no JSON object, or names a mode that is not known.
    """
    mode: NumericMode = _option(path, MODE, get_args(NumericMode), "exact")
    return mode


def _option(path: Path, name: str, known: Sequence[str], usual: str) -> Any:
    found = read_config(path).get(name, usual) if path.is_dir() else usual
    if found not in known:
        raise WeightsError(f"{path / CONFIG}: {name} is {found!r}, expected one of {', '.join(known)}.")
    return found


def set_options(folder: Path, options: Mapping[str, str]) -> None:
    """Write `GEOMETRY`, `MODE` or both into a tokenizer's configuration."""
    write_json(folder / CONFIG, read_config(folder) | dict(options))
