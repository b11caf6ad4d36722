"""Publishers' weights into the folders that our networks load: linked where the form is ours, converted where not.

Checked by names and shapes before anything is published. Multi-gigabyte shards are never loaded for that: their
headers say enough. Where the files come from belongs to `published.py` and ingest, the forms of an image tokenizer to
`vqgan_files.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.files import Json, write_json
from medmax_pipeline.models.published import BIOMEDCLIP
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


def convert_vqgan(path: Path, out: Path) -> dict[str, Json]:
    """Turn a VQGAN's training checkpoint into the folder that `models/vqgan` loads.

    Args:
        path: `vqgan.ckpt`, its `vqgan.yaml` beside it.
        out: the artifact's folder; may exist, empty.

    Returns:
        how many parameters, and the digest of their values, which says whether two checkpoints are one tokenizer.

    Raises:
        WeightsError: the file holds more than plain tensors, or not those of the VQGAN that the configuration
            describes, or no decoder.
    """
    from medmax_pipeline.models.vqgan import VQGAN

    model = VQGAN.load(path)
    if model.decoder is None:
        raise WeightsError(f"{path}: holds no decoder, so that nothing could be drawn. Fetch the publisher's own file.")
    model.save(out)
    return {"parameters": sum(tensor.numel() for tensor in model.parameters()), "weights_sha256": model.digest()}


def place_similarity(folder: Path, names: Sequence[str], key: str, out: Path) -> dict[str, Json]:
    """Put a published similarity model into its artifact, with the name that metrics made with it carry, and load it.

    Args:
        folder: the landing folder.
        names: its verified files.
        key: of its record, which it is called after.
        out: the artifact's folder.

    Returns:
        its name and form.

    Raises:
        WeightsError: the folder is not what its record says.
    """
    from medmax_pipeline.models.similarity import open_similarity
    from medmax_pipeline.models.similarity_files import CARD

    for name in names:
        if name != INDEX:
            link(folder / name, out / name)
    if key == BIOMEDCLIP.key:
        form = "open_clip"
    else:
        form = "transformers"
        read_shapes(out)
        _write_index(out)
    card: dict[str, Json] = {"name": key, "form": form}
    write_json(out / CARD, card)
    open_similarity(out)
    return card
