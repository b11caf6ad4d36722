"""The forms in which an image tokenizer lies on a disk, read as untrusted data: configuration and tensors.

Three forms: our folder (`config.json` of a `ChameleonVQVAEConfig`, `model.safetensors`), which is also transformers' of
the network alone; a whole Chameleon's folder, in which it is `model.vqmodel`; and the original `vqgan.ckpt` with its
`vqgan.yaml` beside it. No file of theirs can run code here. What the network does is `vqgan.py`; names are
`vqgan_keys.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import ChameleonVQVAEConfig

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.decoder import GROUPS, LEAST_GROUP
from medmax_pipeline.models.vqgan_keys import TRAINING_ONLY, from_published
from medmax_pipeline.models.weights import CONFIG, STATE, VQ_FIELDS, read_checkpoint, read_config, read_part, read_state

INSIDE: Final = "model.vqmodel."
"""Where a whole Chameleon holds its image tokenizer."""
MAX_RESOLUTION_PX: Final = 4096
MAX_CHANNELS: Final = 4096
MAX_CODES: Final = 65_532
"""A vocabulary of 65,536 ids has room for no larger codebook beside its four specials."""
MAX_YAML_BYTES: Final = 64 << 10
"""The published file has some 40 lines."""
OPTIONAL: Final = {"attn_resolutions", "attn_type", "double_latent", "in_channels"}
"""Fields that a configuration may leave to transformers' defaults."""
SILENT: Final = {"dropout": None, "resamp_with_conv": True, "give_pre_end": False, "tanh_out": False}
"""Fields of a `ddconfig` that must have this value where they are given, if any; dropout is for training."""
NAMED: Final = {
    "ch": "base_channels",
    "ch_mult": "channel_multiplier",
    "num_res_blocks": "num_res_blocks",
    "attn_resolutions": "attn_resolutions",
    "attn_type": "attn_type",
    "in_channels": "in_channels",
    "resolution": "resolution",
    "z_channels": "latent_channels",
    "double_z": "double_latent",
}
"""Fields of a `ddconfig` under the names of a `ChameleonVQVAEConfig`."""


class Stored(NamedTuple):
    """What a tokenizer's files hold: a sound configuration, and tensors under our names, not yet held against it."""

    config: ChameleonVQVAEConfig
    state: dict[str, Tensor]
    where: Path


def read_tokenizer(path: Path) -> Stored:
    """Read any of the three forms.

    Raises:
        WeightsError: it is none of them, incomplete, out of bounds, or would run code.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_checkpoint(path)
    raise WeightsError(
        f"{path}: no such file or folder. Expected a folder with {CONFIG} and safetensors, or a vqgan.ckpt with its "
        "vqgan.yaml beside it."
    )


def _read_folder(folder: Path) -> Stored:
    values = read_config(folder)
    where = folder / CONFIG
    if values.get("model_type") != "chameleon":
        config = sound_config(values, where)
        return Stored(config, read_state(folder), folder / STATE)
    inner = values.get("vq_config")
    if not isinstance(inner, dict):
        raise WeightsError(f"{where}: a Chameleon without vq_config. Fetch a transformers conversion.")
    defaults = ChameleonVQVAEConfig().to_dict()  # transformers writes what differs from them only
    return Stored(sound_config(defaults | inner, where), read_part(folder, INSIDE), folder)


def _read_checkpoint(path: Path) -> Stored:
    config = read_yaml(path.with_suffix(".yaml"))
    state = {}
    for name, tensor in read_checkpoint(path, "the publisher's vqgan.ckpt").items():
        if not name.startswith(TRAINING_ONLY):
            state[from_published(name) or name] = tensor
    return Stored(config, state, path)


def read_yaml(path: Path) -> ChameleonVQVAEConfig:
    """The configuration beside an original checkpoint, in transformers' words.

    Raises:
        WeightsError: missing, too large, no YAML of a VQGAN, or it asks for what our network does not do.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. A vqgan.ckpt is read with the publisher's {path.name} beside it.")
    size = path.stat().st_size
    if size > MAX_YAML_BYTES:
        raise WeightsError(f"{path}: {size:,} bytes, at most {MAX_YAML_BYTES:,} expected. Not a VQGAN's configuration.")
    try:
        value = yaml.safe_load(path.read_bytes())
        params = value["model"]["params"]
        wide = dict(params["ddconfig"])
        fields = {ours: wide.pop(theirs) for theirs, ours in NAMED.items() if theirs in wide}
        fields |= {"embed_dim": params["embed_dim"], "num_embeddings": params["n_embed"]}
        colours = wide.pop("out_ch", fields.get("in_channels"))
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}: not a VQGAN's configuration ({reason}). Expected model.params.ddconfig."
        ) from error
    odd = [name for name, value in wide.items() if name not in SILENT or SILENT[name] not in (None, value)]
    if params.get("remap") is not None:
        odd.append("remap")
    if odd or colours != fields.get("in_channels"):
        raise WeightsError(
            f"{path}: asks for {', '.join(map(str, odd)) or f'{colours} colours out'}, which the published tokenizer "
            "does not have and this network does not do."
        )
    config = sound_config(fields, path)
    narrowest = config.base_channels * min(config.channel_multiplier)
    if narrowest < GROUPS * LEAST_GROUP:
        raise WeightsError(
            f"{path}: {narrowest} channels at a level, at least {GROUPS * LEAST_GROUP} expected: narrower ones have "
            "other groups in their norms here and would draw otherwise."
        )
    return config


def sound_config(values: Mapping[str, Any], where: Path) -> ChameleonVQVAEConfig:
    """A configuration whose sizes are within bounds; fields that shape no network are left aside.

    Attention that no level reaches is left out, as the published file asks for some at 16 px, below its lowest level.

    Raises:
        WeightsError: a field is missing, of another type, or out of bounds.
    """
    known = {name: values[name] for name in VQ_FIELDS if name in values}
    missing = sorted(set(VQ_FIELDS) - set(known) - OPTIONAL)
    if missing:
        raise WeightsError(f"{where}: lacks {', '.join(missing)}. Expected the fields of a ChameleonVQVAEConfig.")
    try:
        config = ChameleonVQVAEConfig(**known)
        widths = [config.base_channels * factor for factor in config.channel_multiplier]
        sound = (
            0 < len(widths) <= 8
            and all(0 < width <= MAX_CHANNELS and width % GROUPS == 0 for width in widths)
            and 0 < config.resolution <= MAX_RESOLUTION_PX
            and config.resolution % 2 ** (len(widths) - 1) == 0
            and 0 < config.num_embeddings <= MAX_CODES
            and 0 < config.embed_dim <= MAX_CHANNELS
            and 0 < config.latent_channels <= MAX_CHANNELS
            and 0 < config.in_channels <= MAX_CHANNELS
            and 0 < config.num_res_blocks <= 8
            and not config.double_latent
        )
        reached = {config.resolution // 2**level for level in range(len(widths))} if sound else set()
        config.attn_resolutions = [side for side in config.attn_resolutions or () if side in reached] or None
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise WeightsError(f"{where}: {error}. Expected the fields of a ChameleonVQVAEConfig.") from error
    if not sound:
        raise WeightsError(
            f"{where}: sizes out of bounds: {known}. Expected channels in multiples of {GROUPS} up to "
            f"{MAX_CHANNELS}, a resolution up to {MAX_RESOLUTION_PX} px that halves evenly at each level, at most "
            f"{MAX_CODES} codes, and double_latent false."
        )
    return config
