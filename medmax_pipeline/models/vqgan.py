"""The image tokenizer: pixels to codes and codes to pixels, in one of two numeric modes.

Encoder and quantiser are the modules of `transformers`' `ChameleonVQVAE`, with the decoder that it lacks
(`decoder.py`). Encoding leaves out what stock `encode` computes for training only (commitment loss, straight-through
copy) and the list of hidden states (`encoder.py`); the codes are equal. Forms of files are `vqgan_files.py`, how a file
becomes pixels `tokens/image`, training the sample's small one `sample/weights`.

B pictures, N codes a picture (row by row), H = W = resolution.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor, nn
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

from medmax_pipeline.errors import TokenError, WeightsError
from medmax_pipeline.files import write_bytes, write_json
from medmax_pipeline.models.decoder import Decoder
from medmax_pipeline.models.encoder import run_encoder
from medmax_pipeline.models.quantiser import nearest_codes
from medmax_pipeline.models.vqgan_files import read_tokenizer
from medmax_pipeline.models.weights import (
    CONFIG,
    GEOMETRY,
    STATE,
    VQ_FIELDS,
    NumericMode,
    check_state,
    numeric_mode,
    picture_geometry,
    publish_weights,
)
from medmax_pipeline.models.weights import tokenizer_digest as tokenizer_digest
from medmax_pipeline.tokens.geometry import CENTRE_CROP, PictureGeometry

CHANNELS_LAST_PX = 256
"""Side from which a CPU convolves faster with channels last in memory. Ours: measured by `benchmarks/encode.py`."""


class VQGAN(nn.Module):
    """Encoder, quantiser and decoder of one image tokenizer.

    Attributes:
        config: the `ChameleonVQVAEConfig` it was made from.
        mode: how `encode` computes; `decode` is float32 in both.
        resolution: height and width in pixels.
        geometry: what it sees of pictures that are not square; `tokens/geometry` does it.
        codes_per_image: N, the number of codes of one picture.
        codebook_size: K; codes are 0 to K-1.
        decoder: None where the files hold none, as published Chameleons in transformers' form.
    """

    def __init__(self, config: ChameleonVQVAEConfig, *, decoder: bool = True) -> None:
        super().__init__()
        stock = ChameleonVQVAE(config)
        self.config = config
        self.mode: NumericMode = "exact"
        self.geometry: PictureGeometry = CENTRE_CROP
        self.encoder = stock.encoder
        self.quantize = stock.quantize
        self.quant_conv = stock.quant_conv
        self.post_quant_conv = stock.post_quant_conv
        self.decoder = Decoder(config) if decoder else None
        self.resolution = int(config.resolution)
        self.side = self.resolution // 2 ** (len(config.channel_multiplier) - 1)
        self.codes_per_image = self.side**2
        self.codebook_size = int(config.num_embeddings)
        self._compiled: Callable[..., Tensor] | None = None

    @classmethod
    def load(cls, path: Path, mode: NumericMode | None = None) -> VQGAN:
        """Read a tokenizer in any of its forms (`vqgan_files.py`).

        Args:
            path: a folder of ours or of transformers, or an original `vqgan.ckpt` with its `vqgan.yaml` beside it.
            mode: how it will encode; None: as its configuration says. A `fast` one cannot be saved, since its encoder
                is no longer float32.

        Raises:
            WeightsError: the files are incomplete, the configuration is out of bounds, or names or shapes of tensors
                are not those of the network that the configuration describes.
        """
        config, state, where = read_tokenizer(path)
        whole = any(name.startswith("decoder.") for name in state)
        with torch.device("meta"):  # no memory for weights that are replaced, and nobody's chance is moved
            model = cls(config, decoder=whole)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        check_state({name: tuple(tensor.shape) for name, tensor in state.items()}, expected, where, "a VQGAN")
        model.load_state_dict(
            {name: tensor.to(torch.float32, copy=True).contiguous() for name, tensor in state.items()}, assign=True
        )
        model.requires_grad_(False).eval()
        model.geometry = picture_geometry(path)
        return model.round_encoder() if (mode or numeric_mode(path)) == "fast" else model

    def round_encoder(self) -> VQGAN:
        """Go over to fast mode, for good: the encoder's weights lose what bfloat16 cannot hold."""
        self.mode = "fast"
        self.encoder.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
        return self

    def save(self, folder: Path) -> None:
        """Write the weights folder whole; the same weights give the same bytes.

        Raises:
            StoreError: `folder` holds something already.
        """
        from safetensors.torch import save

        assert self.mode == "exact", "a fast tokenizer's encoder is rounded; save the exact one"

        scratch = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
        values = self.config.to_dict()
        config = {name: values[name] for name in VQ_FIELDS} | {"model_type": "chameleon_vqgan"}
        if self.geometry != CENTRE_CROP:
            config[GEOMETRY] = self.geometry
        write_json(scratch / CONFIG, config)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(scratch / STATE, save(state, metadata={"format": "pt"}))
        publish_weights(scratch, folder)

    def digest(self) -> str:
        """sha256 over names, shapes and float32 values of all tensors: equal whatever form they were read from."""
        assert self.mode == "exact", "a fast tokenizer's encoder is rounded; take the exact one's"
        made = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            made.update(f"{name} {tuple(tensor.shape)}\n".encode())
            made.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return made.hexdigest()

    def latents(self, pixels_BCHW: Tensor) -> Tensor:
        """What is quantised: (B, embed_dim, side, side) float32; differentiable in exact mode."""
        if self.mode == "fast":
            given = pixels_BCHW.to(torch.bfloat16, memory_format=torch.channels_last)
            hidden_BCHW = self._fast_encoder(given.is_cuda)(self.encoder, given, fused=True).to(torch.float32)
        else:
            if not pixels_BCHW.is_cuda and pixels_BCHW.shape[-1] >= CHANNELS_LAST_PX:
                pixels_BCHW = pixels_BCHW.contiguous(memory_format=torch.channels_last)
            hidden_BCHW = run_encoder(self.encoder, pixels_BCHW)
        out: Tensor = self.quant_conv(hidden_BCHW)
        return out

    def _fast_encoder(self, cuda: bool) -> Callable[..., Tensor]:
        """Compiled on CUDA, once for each shape of a batch; a CPU would pay more for compiling than it gains."""
        if not cuda:
            return run_encoder
        if self._compiled is None:
            self._compiled = torch.compile(run_encoder, dynamic=False)
        return self._compiled

    def pixels(self, quantised_BDHW: Tensor) -> Tensor:
        """Decode quantised latents (B, embed_dim, side, side); unclamped, differentiable.

        Raises:
            WeightsError: the files that the tokenizer was read from hold no decoder.
        """
        if self.decoder is None:
            raise WeightsError(
                "this tokenizer was read without a decoder: codes can be made with it, pictures cannot. Take the "
                "publisher's vqgan.ckpt with its vqgan.yaml, or a folder made from it."
            )
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
        if pixels_BCHW.is_cuda:
            with full_float32():
                return self._codes(pixels_BCHW)
        # one by one a CPU's caches hold more, and a picture's codes do not depend on its neighbours, bit for bit
        return torch.cat([self._codes(picture_1CHW) for picture_1CHW in pixels_BCHW.split(1)])

    def _codes(self, pixels_BCHW: Tensor) -> Tensor:
        z_MD = self.latents(pixels_BCHW).permute(0, 2, 3, 1).reshape(-1, self.config.embed_dim)
        codes_M = nearest_codes(z_MD, self.quantize.embedding.weight, rounded=self.mode == "exact")
        return codes_M.view(len(pixels_BCHW), -1)

    @torch.inference_mode()
    def decode(self, codes_BN: Tensor) -> Tensor:
        """Codes as pictures.

        Args:
            codes_BN: (B, N) integers in 0 to K-1.

        Returns:
            (B, 3, resolution, resolution) float32, clamped to [-1, 1].

        Raises:
            TokenError: not N codes a picture, or a code outside the codebook.
            WeightsError: the tokenizer has no decoder.
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
        with full_float32() if codes_BN.is_cuda else nullcontext():
            z_BHWD = self.quantize.embedding(codes_BN).view(len(codes_BN), self.side, self.side, -1)
            return self.pixels(z_BHWD.permute(0, 3, 1, 2)).clamp(-1.0, 1.0)


class _TrueFloat32:
    """Who is inside `full_float32`, in all threads of the process: the switches are the process's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before = (False, False)

    def enter(self) -> None:
        """The first one in turns TF32 off."""
        with self._lock:
            if not self._inside:
                self._before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
                torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            self._inside += 1

    def leave(self) -> None:
        """The last one out puts things back."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before


_TRUE_FLOAT32 = _TrueFloat32()


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions and products in true float32 on CUDA; cuDNN's default is TF32, which moves codes."""
    _TRUE_FLOAT32.enter()
    try:
        yield
    finally:
        _TRUE_FLOAT32.leave()
