"""A transformers folder into Chameleon's original form. The layout and the way back are `original_format_files.py`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch import Tensor
from transformers import ChameleonConfig

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.files import disk_errors, open_atomic, remove_tree, write_json, write_text
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.original_format import Sizes, plain, to_original
from medmax_pipeline.models.original_format_files import (
    CHECKPOINT,
    MODEL,
    TEXT,
    TOKENIZERS,
    VQ_CHECKPOINT,
    VQ_YAML,
    Converted,
    refuse_filled,
)
from medmax_pipeline.models.original_format_params import MORE_PARAMS, PARAMS, Params, to_json
from medmax_pipeline.models.vqgan import VQGAN
from medmax_pipeline.models.vqgan_files import INSIDE, NAMED, read_yaml
from medmax_pipeline.models.vqgan_keys import to_published
from medmax_pipeline.models.weights import check_state, publish_weights, read_config, read_part, read_shapes
from medmax_pipeline.tokens.vocabulary import MAX_IDS, TOKENIZER


def write_original(
    folder: Path, out: Path, image: Path | None = None, *, average_heads: bool = False, text: Path | None = None
) -> Converted:
    """Turn a transformers folder into the original form.

    Args:
        folder: the model with its `tokenizer.json`.
        out: absent or empty.
        image: its image tokenizer with the decoder, in any form; None: `tokenizer/` gets no VQGAN.
        average_heads: see `original_format.to_original`.
        text: another tokenizer.json, or its folder, than the model's own.

    Raises:
        WeightsError: it is no Chameleon of this form, heads have norms of their own, or `image` is not its tokenizer.
        StoreError: `out` holds something.
    """
    refuse_filled(out)
    given = text or folder
    config = _config_of(folder)
    params = _params_of(config, folder)
    vqgan = None if image is None else VQGAN.load(image, "exact")
    if vqgan is not None and image is not None:
        _same_codebook(folder, vqgan, image)
    with _scratch(out) as scratch:
        kept = _transformer(folder, config)
        made = to_original(kept, params.sizes, average_heads=average_heads)
        _save_tensors(scratch / MODEL / CHECKPOINT, {name: plain(tensor) for name, tensor in made.items()})
        write_json(scratch / MODEL / PARAMS, to_json(params))
        write_json(scratch / MODEL / MORE_PARAMS, {"model_parallel_size": 1})
        (scratch / TOKENIZERS).mkdir()
        shutil.copyfile(given / TOKENIZER if given.is_dir() else given, scratch / TOKENIZERS / TEXT)
        if vqgan is not None:
            _write_vqgan(vqgan, scratch / TOKENIZERS)
        count = sum(tensor.numel() for tensor in made.values())
    return Converted(count, () if image is not None else (f"{TOKENIZERS}/{VQ_CHECKPOINT}", f"{TOKENIZERS}/{VQ_YAML}"))


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name if all goes well."""
    work = out.absolute().with_name(f".{out.absolute().name}.tmp-{os.getpid()}")
    remove_tree(work)
    try:
        with disk_errors(work):
            work.mkdir(parents=True)
            yield work
        publish_weights(work, out.absolute())
    finally:
        remove_tree(work)


def _config_of(folder: Path) -> ChameleonConfig:
    """A transformers folder's configuration.

    Raises:
        WeightsError: no Chameleon, or one that the original form of the 7B does not have.
    """
    values = read_config(folder)
    if values.get("model_type") != "chameleon":
        raise WeightsError(f"{folder}: model_type is {values.get('model_type')!r}, expected 'chameleon'.")
    try:
        config = ChameleonConfig.from_dict(values)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: its configuration describes no Chameleon ({error}).") from error
    theta = config.rope_parameters
    if config.swin_norm or config.attention_bias or config.mlp_bias or theta.get("rope_type") != "default":
        raise WeightsError(
            f"{folder}: swin_norm {config.swin_norm}, attention_bias {config.attention_bias}, mlp_bias "
            f"{config.mlp_bias}, rope {theta.get('rope_type')}; the original form of the 7B has none of these."
        )
    return config


def _params_of(config: ChameleonConfig, folder: Path) -> Params:
    sizes = Sizes(
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.intermediate_size,
        config.vocab_size,
    )
    if sizes.vocabulary > MAX_IDS or sizes.dim % (2 * sizes.heads):
        raise WeightsError(f"{folder}: measures that no original form has: {sizes}.")
    theta = float(config.rope_parameters["rope_theta"])
    return Params(sizes, float(config.rms_norm_eps), theta, int(config.max_position_embeddings))


def _transformer(folder: Path, config: ChameleonConfig) -> dict[str, Tensor]:
    """The tensors of a transformers folder but the image tokenizer's, mapped.

    Raises:
        WeightsError: there are none, or they are not those of the configuration.
    """
    shapes = {name: shape for name, shape in read_shapes(folder).items() if not name.startswith(INSIDE)}
    with torch.device("meta"):
        model = MixedModalChameleon._from_config(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if not name.startswith(INSIDE)}
    check_state(shapes, expected, folder, "the Chameleon of its configuration")
    state: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        state |= {name: tensor for name, tensor in load_file(path).items() if not name.startswith(INSIDE)}
    return state


def _same_codebook(folder: Path, vqgan: VQGAN, image: Path) -> None:
    """Refuse an image tokenizer that is not the one inside the model.

    Raises:
        WeightsError: their codebooks differ.
    """
    inside = read_part(folder, INSIDE)["quantize.embedding.weight"]
    beside = vqgan.quantize.embedding.weight
    if inside.shape != beside.shape or not torch.equal(inside, beside.to(inside.dtype)):
        raise WeightsError(f"{image}: its codebook is not the one inside {folder}. Name the model's own tokenizer.")


def _save_tensors(path: Path, value: dict[str, Any]) -> None:
    with open_atomic(path) as handle:
        torch.save(value, handle)


def _write_vqgan(vqgan: VQGAN, folder: Path) -> None:
    """An image tokenizer as `vqgan.ckpt` and `vqgan.yaml`.

    Raises:
        WeightsError: it is narrower than the original network can be.
    """
    config = vqgan.config.to_dict()
    wide = {theirs: config[ours] for theirs, ours in NAMED.items()}
    wide |= {"attn_resolutions": config["attn_resolutions"] or [], "out_ch": config["in_channels"], "dropout": 0.0}
    wide.pop("attn_type")
    params = {"embed_dim": config["embed_dim"], "n_embed": config["num_embeddings"], "ddconfig": wide}
    params |= {"lossconfig": {"target": "torch.nn.Identity"}, "ckpt_path": None}
    text = yaml.safe_dump({"model": {"target": "taming.models.vqgan.VQModel", "params": params}}, sort_keys=False)
    write_text(folder / VQ_YAML, text)
    read_yaml(folder / VQ_YAML)
    state = {to_published(name): plain(tensor.detach().cpu()) for name, tensor in vqgan.state_dict().items()}
    _save_tensors(folder / VQ_CHECKPOINT, {"state_dict": state})
