"""The image tokenizer: pixels to codes and codes to pixels.

`transformers`' `ChameleonVQVAE` with the decoder that it lacks (`decoder.py`). Encoding leaves out the commitment loss
and the straight-through copy of stock `encode`, which cost time and change no code; the codes are equal. Float32, with
TF32 off on CUDA. How a file becomes pixels is `tokens/image`; training the sample's small one is `sample/weights`.

B pictures, N codes a picture (row by row), H = W = resolution.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

from medmax_pipeline.errors import TokenError, WeightsError
from medmax_pipeline.files import write_bytes, write_json
from medmax_pipeline.models.decoder import GROUPS, Decoder, nearest_codes
from medmax_pipeline.models.weights import (
    CONFIG,
    STATE,
    VQ_FIELDS,
    check_state,
    publish_weights,
    read_config,
    read_state,
)
from medmax_pipeline.models.weights import tokenizer_digest as tokenizer_digest

MAX_RESOLUTION_PX = 4096
MAX_CHANNELS = 4096
MAX_CODES = 65_532
"""A vocabulary of 65,536 ids has room for no larger codebook beside its four specials."""


class VQGAN(nn.Module):
    """Encoder, quantiser and decoder of one image tokenizer.

    Attributes:
        config: the `ChameleonVQVAEConfig` it was made from.
        resolution: height and width in pixels.
        codes_per_image: N, the number of codes of one picture.
        codebook_size: K; codes are 0 to K-1.
    """

    def __init__(self, config: ChameleonVQVAEConfig) -> None:
        super().__init__()
        stock = ChameleonVQVAE(config)
        self.config = config
        self.encoder = stock.encoder
        self.quantize = stock.quantize
        self.quant_conv = stock.quant_conv
        self.post_quant_conv = stock.post_quant_conv
        self.decoder = Decoder(config)
        self.resolution = int(config.resolution)
        self.side = self.resolution // 2 ** (len(config.channel_multiplier) - 1)
        self.codes_per_image = self.side**2
        self.codebook_size = int(config.num_embeddings)

    @classmethod
    def load(cls, folder: Path) -> VQGAN:
        """Read a weights folder: `config.json` and `model.safetensors`, encoder and decoder.

        Raises:
            WeightsError: the folder is incomplete, the configuration is out of bounds, or names or shapes of tensors
                are not those of the network that the configuration describes.
        """
        config = _vq_config(read_config(folder), folder)
        with torch.random.fork_rng(devices=[]):  # reading weights moves nobody's chance
            model = cls(config)
        state = read_state(folder)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        check_state(found, expected, folder / STATE, "a VQGAN with decoder")
        model.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})
        return model.requires_grad_(False).eval()

    def save(self, folder: Path) -> None:
        """Write the weights folder whole; the same weights give the same bytes.

        Raises:
            StoreError: `folder` holds something already.
        """
        from safetensors.torch import save

        scratch = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
        values = self.config.to_dict()
        config = {name: values[name] for name in VQ_FIELDS} | {"model_type": "chameleon_vqgan"}
        write_json(scratch / CONFIG, config)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(scratch / STATE, save(state, metadata={"format": "pt"}))
        publish_weights(scratch, folder)

    def latents(self, pixels_BCHW: Tensor) -> Tensor:
        """What is quantised: (B, embed_dim, side, side)."""
        out: Tensor = self.quant_conv(self.encoder(pixels_BCHW))
        return out

    def pixels(self, quantised_BDHW: Tensor) -> Tensor:
        """Decode quantised latents (B, embed_dim, side, side); unclamped, differentiable."""
        out: Tensor = self.decoder(self.post_quant_conv(quantised_BDHW))
        return out

    @torch.inference_mode()
    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        """Pictures as codes.

        Args:
            pixels_BCHW: (B, 3, resolution, resolution) float32 in [-1, 1].

        Returns:
            (B, N) int64 in 0 to K-1, row by row from the top left, on the pixels' device.

        Raises:
            TokenError: shape or type is not what the tokenizer takes.
        """
        expected = (self.config.in_channels, self.resolution, self.resolution)
        if pixels_BCHW.dim() != 4 or tuple(pixels_BCHW.shape[1:]) != expected or pixels_BCHW.dtype != torch.float32:
            raise TokenError(
                f"pixels are {tuple(pixels_BCHW.shape)} {pixels_BCHW.dtype}; expected (B, {expected[0]}, "
                f"{self.resolution}, {self.resolution}) float32 in [-1, 1]. Prepare pictures with tokens/image."
            )
        with full_float32():
            z_BDHW = self.latents(pixels_BCHW)
            z_MD = z_BDHW.permute(0, 2, 3, 1).reshape(-1, self.config.embed_dim)
            return nearest_codes(z_MD, self.quantize.embedding.weight).view(len(pixels_BCHW), -1)

    @torch.inference_mode()
    def decode(self, codes_BN: Tensor) -> Tensor:
        """Codes as pictures.

        Args:
            codes_BN: (B, N) integers in 0 to K-1.

        Returns:
            (B, 3, resolution, resolution) float32, clamped to [-1, 1].

        Raises:
            TokenError: not N codes a picture, or a code outside the codebook.
        """
        if codes_BN.dim() != 2 or codes_BN.shape[1] != self.codes_per_image:
            raise TokenError(
                f"codes are {tuple(codes_BN.shape)}; expected (B, {self.codes_per_image}), whole pictures."
            )
        if codes_BN.numel() and not 0 <= int(codes_BN.min()) <= int(codes_BN.max()) < self.codebook_size:
            raise TokenError(
                f"codes run from {int(codes_BN.min())} to {int(codes_BN.max())}; expected 0 to "
                f"{self.codebook_size - 1}. Codes are not token ids: take off the first code's id."
            )
        with full_float32():
            z_BHWD = self.quantize.embedding(codes_BN).view(len(codes_BN), self.side, self.side, -1)
            return self.pixels(z_BHWD.permute(0, 3, 1, 2)).clamp(-1.0, 1.0)


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions and products in true float32 on CUDA; cuDNN's default is TF32, which moves codes."""
    products = torch.backends.cuda.matmul.allow_tf32
    convolutions = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products
        torch.backends.cudnn.allow_tf32 = convolutions


def _vq_config(values: dict[str, Any], folder: Path) -> ChameleonVQVAEConfig:
    """A configuration whose sizes are within bounds; fields that shape no network are left aside."""
    known = {name: values[name] for name in VQ_FIELDS if name in values}
    missing = sorted(set(VQ_FIELDS) - set(known) - {"attn_resolutions", "attn_type", "double_latent", "in_channels"})
    if missing:
        raise WeightsError(f"{folder / CONFIG}: lacks {', '.join(missing)}. Expected a ChameleonVQVAEConfig.")
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
            and 0 < config.num_res_blocks <= 8
            and not config.double_latent
        )
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder / CONFIG}: {error}. Expected the fields of a ChameleonVQVAEConfig.") from error
    if not sound:
        raise WeightsError(
            f"{folder / CONFIG}: sizes out of bounds: {known}. Expected channels in multiples of {GROUPS} up to "
            f"{MAX_CHANNELS}, a resolution up to {MAX_RESOLUTION_PX} px that halves evenly at each level, at most "
            f"{MAX_CODES} codes, and double_latent false."
        )
    return config
