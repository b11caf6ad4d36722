"""How alike pictures and texts are: a network that puts both into one space, and the cosine between them.

Any CLIP in transformers' form is read here, BiomedCLIP by `biomedclip.py`; both prepare pictures themselves
(`similarity_files.py`) and give unit rows, so that a cosine is a product. No file of theirs can run code here. What
is done with a cosine, and at which threshold, belongs to those who ask: figures in curation, scores in evaluation.

B pictures or texts, D dimensions of the space, S pixels of a side, L ids.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.files import Json, sha256_file
from medmax_pipeline.manifest import MANIFEST
from medmax_pipeline.models.similarity_files import (
    CARD,
    MAX_SIDE_PX,
    PREPROCESSOR,
    TOKENIZER,
    Card,
    Preprocessing,
    read_card,
    read_preprocessing,
    read_text_tokenizer,
)
from medmax_pipeline.models.transformers_folder import bars_for_people
from medmax_pipeline.models.weights import NAMES_SHOWN, read_config, read_shapes

Rows = npt.NDArray[np.float32]
"""(B, D), each of length 1."""
BATCH: Final = 32
"""Pictures or texts through the network at once; part of no result but for the last bits of a float."""
WORKERS: Final = min(8, os.cpu_count() or 1)
"""Threads that prepare pictures."""
PREPARATION: Final = "1"
"""Raise it when the same picture would be prepared otherwise."""
MAX_WIDTH: Final = 8192
MAX_LAYERS: Final = 128
MAX_LENGTH: Final = 4096
MAX_VOCABULARY: Final = 1 << 20
LEGACY_END: Final = 2
"""In configurations with this `eos_token_id`, written before it was mended, the highest id of a text is its end."""

Item = TypeVar("Item")


class Network(Protocol):
    """The two towers."""

    dimensions: int
    """D."""

    def images(self, pixels_B3SS: Tensor) -> Tensor:
        """(B, D), of any length."""

    def texts(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D), of any length; the mask is 1 where an id is the text's."""


class Similarity:
    """A loaded similarity model.

    Attributes:
        name: what metrics made with it are called after.
        identity: what decides its numbers: name, form, digests of its files, version of the preparation.
    """

    def __init__(
        self,
        card: Card,
        folder: Path,
        network: Network,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer,
        device: str,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.name = card.name
        self.identity: dict[str, Json] = identity_of(folder)
        self._network, self._preprocessing, self._tokenizer = network, preprocessing, tokenizer
        self._device, self._clean = device, clean

    def images(self, pictures: Sequence[bytes]) -> Rows:
        """Pictures in the space.

        Args:
            pictures: files' bytes, in any format that is read at ingest; untrusted.

        Returns:
            (B, D) float32, rows of length 1.

        Raises:
            ImageError: one does not decode.
        """

        def made(part: Sequence[bytes]) -> Tensor:
            with ThreadPoolExecutor(WORKERS) as workers:  # decoding leaves the interpreter to others
                squares = np.stack(list(workers.map(self._preprocessing.prepare, part)))
            return self._network.images(torch.from_numpy(squares).to(self._device))

        return self._rows(pictures, made)

    def texts(self, texts: Sequence[str]) -> Rows:
        """Texts in the space, each cut to what the network takes.

        Returns:
            (B, D) float32, rows of length 1.
        """

        def made(part: Sequence[str]) -> Tensor:
            encoded = self._tokenizer.encode_batch([self._clean(text) for text in part])
            ids_BL = torch.tensor([one.ids for one in encoded], device=self._device)
            mask_BL = torch.tensor([one.attention_mask for one in encoded], device=self._device)
            return self._network.texts(ids_BL, mask_BL)

        return self._rows(texts, made)

    @torch.inference_mode()
    def _rows(self, items: Sequence[Item], made: Callable[[Sequence[Item]], Tensor]) -> Rows:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = [functional.normalize(made(part).float(), dim=1).cpu() for part in _parts(items)]
        rows: Rows = torch.cat([torch.zeros(0, self._network.dimensions), *parts]).numpy()
        return rows


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def identity_of(folder: Path) -> dict[str, Json]:
    """What decides a model's numbers, told without loading it.

    Raises:
        WeightsError: its `similarity.json` is no card.
    """
    card = read_card(folder)
    told = (CARD, "card.json", MANIFEST)  # words about the model, which move no number
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name not in told}
    return {"name": card.name, "form": card.form, "files": dict(files), "preparation": PREPARATION}


def open_similarity(folder: Path, device: str = "cpu") -> Similarity:
    """Load a similarity model, in float32.

    Args:
        folder: the files of either form.
        device: `cpu` or `cuda`.

    Raises:
        WeightsError: a file is missing, out of bounds, or another network's; or BiomedCLIP's libraries do not import.
    """
    card = read_card(folder)
    if card.form == "open_clip":
        from medmax_pipeline.models.biomedclip import load_biomedclip

        loaded = load_biomedclip(folder, device)
        return Similarity(card, folder, loaded.network, loaded.preprocessing, loaded.tokenizer, device, loaded.clean)
    config = sound_config(folder)
    network = _Clip(_load(folder, config), device)
    side_px = config.vision_config.image_size
    preprocessing = read_preprocessing(folder / PREPROCESSOR, side_px)
    text = config.text_config
    tokenizer = read_text_tokenizer(folder / TOKENIZER, text.max_position_embeddings, text.vocab_size)
    _check_end(tokenizer, text.eos_token_id, folder)
    return Similarity(card, folder, network, preprocessing, tokenizer, device)


class _Clip:
    """A CLIP of transformers behind `Network`."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model.to(device)
        self.dimensions: int = model.config.projection_dim

    def images(self, pixels_B3SS: Tensor) -> Tensor:
        made: Tensor = self._model.visual_projection(self._model.vision_model(pixels_B3SS).pooler_output)
        return made

    def texts(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        found = self._model.text_model(input_ids=ids_BL, attention_mask=mask_BL)
        made: Tensor = self._model.text_projection(found.pooler_output)
        return made


def sound_config(folder: Path) -> Any:
    """A `CLIPConfig` whose sizes are within bounds.

    Raises:
        WeightsError: it is another network's, or out of bounds.
    """
    values = read_config(folder)
    if values.get("model_type") != "clip":
        raise WeightsError(
            f"{folder}: model_type is {values.get('model_type')!r}; expected 'clip', in transformers' form."
        )
    try:
        config = CLIPConfig.from_dict(values)
        text, vision = config.text_config, config.vision_config
        sound = (
            all(0 < tower.hidden_size <= MAX_WIDTH for tower in (text, vision))
            and all(0 < tower.intermediate_size <= 4 * MAX_WIDTH for tower in (text, vision))
            and all(0 < tower.num_hidden_layers <= MAX_LAYERS for tower in (text, vision))
            and all(tower.hidden_size % tower.num_attention_heads == 0 for tower in (text, vision))
            and 0 < text.max_position_embeddings <= MAX_LENGTH
            and 0 < text.vocab_size <= MAX_VOCABULARY
            and 0 < vision.image_size <= MAX_SIDE_PX
            and 0 < vision.patch_size <= vision.image_size
            and vision.num_channels == 3
            and 0 < config.projection_dim <= MAX_WIDTH
        )
    except (StrictDataclassError, TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise WeightsError(f"{folder}: its configuration describes no CLIP that can be made ({error}).") from error
    if not sound:
        raise WeightsError(
            f"{folder}: sizes out of bounds. Expected widths up to {MAX_WIDTH:,}, up to {MAX_LAYERS} layers, "
            f"{MAX_LENGTH:,} positions, {MAX_VOCABULARY:,} ids and {MAX_SIDE_PX} px, three channels."
        )
    return config


def _load(folder: Path, config: Any) -> Any:
    read_shapes(folder)  # whole files, safetensors only, before anything is made
    try:
        with bars_for_people():
            model, told = CLIPModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told, and refused below with their names
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder}: cannot be loaded as a CLIP: {error}") from error
    foreign = [name for name in told["unexpected_keys"] if not name.endswith(".position_ids")]
    mismatched = [item[0] for item in told["mismatched_keys"]]
    for word, names in (("missing", told["missing_keys"]), ("foreign", foreign), ("of another shape", mismatched)):
        if names:
            shown = ", ".join(sorted(names)[:NAMES_SHOWN])
            raise WeightsError(
                f"{folder}: {len(names)} tensors are {word} ({shown}). Not this configuration's weights."
            )
    return model.eval()


def _check_end(tokenizer: Tokenizer, end: int, folder: Path) -> None:
    """The network reads a text at its end mark: refuse a tokenizer that sets none, or elsewhere."""
    ids = tokenizer.encode("a").ids
    at_end = ids[-1:] == [max(ids, default=0)] if end == LEGACY_END else ids[-1:] == [end] and ids.count(end) == 1
    if not at_end:
        raise WeightsError(
            f"{folder / TOKENIZER}: a text becomes {ids}, which does not end in the network's end mark {end}. "
            "They do not belong together."
        )
