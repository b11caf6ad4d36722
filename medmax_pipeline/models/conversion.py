"""Publishers' weights into the folders that our networks load: linked where the form is ours, converted where not.

Checked by names and shapes before anything is published. Multi-gigabyte shards are never loaded for that: their
headers say enough. A pickle is read as plain tensors only, by torch's own restricted reader. Where the files come from
belongs to `published.py` and ingest.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.files import write_json
from medmax_pipeline.models.weights import (
    CONFIG,
    INDEX,
    STATE,
    check_state,
    read_config,
    read_header,
    read_shapes,
)

TOKENIZER: Final = "tokenizer.json"
RESOLUTION_PX: Final = 512
"""Of the published VQGAN, as its vqgan.yaml says; tensors do not tell it."""
IGNORED: Final = ("loss.",)
"""Discriminator and perceptual loss in a training checkpoint; no part of the tokenizer."""


def link(source: Path, target: Path) -> None:
    """Give a landing file a second name; copied where the two lie on different disks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def place_chameleon(folder: Path, names: Sequence[str], text_folder: Path, out: Path) -> int:
    """Put a published transformers folder of a Chameleon beside our text tokenizer.

    Args:
        folder: the landing folder.
        names: its verified files.
        text_folder: the text tokenizer's artifact.
        out: the artifact's folder.

    Returns:
        how many parameters the shards hold.

    Raises:
        WeightsError: it is no Chameleon, names or shapes are not those of its configuration, or its vocabulary gives
            ids to other names than the text tokenizer does.
    """
    for name in names:
        if name != INDEX:
            link(folder / name, out / name)
    values = read_config(out)
    vocabulary = values.get("vocabulary_map")
    if values.get("model_type") != "chameleon" or not isinstance(vocabulary, dict):
        raise WeightsError(
            f"{folder / CONFIG}: model_type is {values.get('model_type')!r}; expected 'chameleon' with its "
            "vocabulary_map. Fetch a transformers conversion."
        )
    _check_names(vocabulary, text_folder, folder)
    found = read_shapes(out)
    expected = _chameleon_shapes(values, folder)
    kept = {name: shape for name, shape in found.items() if name in expected or not name.startswith("model.vqmodel.")}
    check_state(kept, expected, folder, "the Chameleon of its configuration")
    _write_index(out)
    shutil.copyfile(text_folder / TOKENIZER, out / TOKENIZER)
    return sum(_product(shape) for shape in found.values())


def _write_index(out: Path) -> None:
    """The index of several shards, from their own headers: the publisher's may be missing or tell otherwise."""
    shards = sorted(out.glob("*.safetensors"))
    if [path.name for path in shards] == [STATE]:
        return
    inside = {name: path.name for path in shards for name in read_header(path)}
    write_json(out / INDEX, {"metadata": {}, "weight_map": inside})


def _chameleon_shapes(values: Mapping[str, Any], folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of our network for a configuration, without memory for it."""
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import ChameleonConfig

    from medmax_pipeline.models.chameleon import MixedModalChameleon

    try:
        config = ChameleonConfig.from_dict(dict(values))
        with torch.device("meta"):
            model = MixedModalChameleon._from_config(config)
    except (StrictDataclassError, TypeError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{folder / CONFIG}: describes no Chameleon that can be made ({error}).") from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _check_names(vocabulary: Mapping[str, Any], text_folder: Path, folder: Path) -> None:
    from tokenizers import Tokenizer

    ids: Mapping[str, int] = Tokenizer.from_file(str(text_folder / TOKENIZER)).get_vocab(with_added_tokens=True)
    other = sorted(name for name in ids.keys() & vocabulary.keys() if ids[name] != vocabulary[name])
    if other or not ids.keys() & vocabulary.keys():
        shown = (
            f"{other[0]!r} is {vocabulary[other[0]]} there and {ids[other[0]]} here" if other else "no name in common"
        )
        raise WeightsError(
            f"{folder / CONFIG}: its vocabulary_map is not that of the text tokenizer ({shown}). "
            "Both must come from one publisher."
        )


def _product(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def place_text_tokenizer(path: Path, out: Path) -> int:
    """Put a published tokenizer file into its artifact, its names checked.

    Returns:
        the number of ids.

    Raises:
        TokenError: it lacks the names of the published vocabulary.
    """
    from medmax_pipeline.tokens.vocabulary import read_vocabulary

    size = read_vocabulary(path, codes_per_image=1).size
    shutil.copyfile(path, out / TOKENIZER)
    return size


def convert_vqgan(path: Path, out: Path, resolution: int = RESOLUTION_PX) -> int:
    """Turn a VQGAN's training checkpoint into the folder that `models/vqgan` loads.

    The published checkpoint's tensors have the names of our network already (encoder and quantiser are transformers',
    which kept them; the decoder is ours). What the training added is left out; anything else is refused.

    Args:
        path: `vqgan.ckpt`.
        out: the artifact's folder; may exist, empty.
        resolution: height and width in pixels that it was trained for.

    Returns:
        the number of parameters.

    Raises:
        WeightsError: the file holds more than plain tensors, or not those of a VQGAN with decoder.
    """
    import torch
    from transformers import ChameleonVQVAEConfig

    from medmax_pipeline.models.vqgan import VQGAN

    state = _read_checkpoint(path)
    fields = vqgan_fields(state, path)
    with torch.random.fork_rng(devices=[]):
        model = VQGAN(ChameleonVQVAEConfig(**fields, resolution=resolution))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    check_state(shapes, expected, path, "a VQGAN with decoder")
    model.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})
    model.save(out)
    return sum(tensor.numel() for tensor in state.values())


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors by name, without those of the training's own loss."""
    import pickle

    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: not a checkpoint of plain tensors ({reason}). Nothing that could run code is read; "
            "fetch the publisher's own file again."
        ) from error
    state = value.get("state_dict", value) if isinstance(value, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise WeightsError(f"{path}: holds no state_dict of tensors. Expected the publisher's vqgan.ckpt.")
    return {name: tensor for name, tensor in state.items() if not str(name).startswith(IGNORED)}


def vqgan_fields(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a VQGAN's configuration that its tensors tell by their shapes.

    Raises:
        WeightsError: a tensor that tells one is missing.
    """
    try:
        base = int(state["encoder.conv_in.weight"].shape[0])
        levels = _count(state, r"encoder\.down\.(\d+)\.")
        blocks = _count(state, r"encoder\.down\.0\.block\.(\d+)\.")
        widths = [int(state[f"encoder.down.{level}.block.0.conv1.weight"].shape[0]) for level in range(levels)]
        codes, width = (int(side) for side in state["quantize.embedding.weight"].shape)
        latent = int(state["encoder.conv_out.weight"].shape[0])
        channels = int(state["encoder.conv_in.weight"].shape[1])
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{path}: no VQGAN's tensors (lacks {error}). Expected the publisher's vqgan.ckpt."
        ) from error
    if any(re.match(r"encoder\.down\.\d+\.attn\.", name) for name in state) or any(size % base for size in widths):
        raise WeightsError(
            f"{path}: a VQGAN with attention between its levels, or uneven widths {widths}; expected the published "
            "geometry, attention at the lowest resolution only."
        )
    return {
        "base_channels": base,
        "channel_multiplier": [size // base for size in widths],
        "num_res_blocks": blocks,
        "num_embeddings": codes,
        "embed_dim": width,
        "latent_channels": latent,
        "in_channels": channels,
        "double_latent": False,
    }


def _count(state: Mapping[str, Any], wanted: str) -> int:
    """One more than the highest number at a place in the names."""
    return 1 + max(int(match.group(1)) for name in state if (match := re.match(wanted, name)))
