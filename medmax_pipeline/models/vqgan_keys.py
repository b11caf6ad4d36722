"""Names of the image tokenizer's tensors: the published checkpoint's on one side, our network's on the other.

The checkpoint's are those of the code it was trained with ("Taming Transformers", Esser et al., arXiv 2012.09841).
Ours are transformers' for the encoder and the quantiser, and the same again for the decoder. They turn out equal, row
by row; the table is what says so, and what a test holds against both networks. Which tensors there must be, and their
shapes, follows from the configuration and is checked where weights are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple


class Row(NamedTuple):
    """A family of tensors. `{n}` and `{m}` stand for numbers, `{layer}` for a name of `LAYERS`, `{part}` for a name of
    `PROJECTIONS`; each ends in `.weight`, and but for the codebook also in `.bias`."""

    published: str
    ours: str
    what: str


LAYERS: Final = ("norm1", "conv1", "norm2", "conv2", "nin_shortcut")
"""Of a residual block; the last where the width changes."""
PROJECTIONS: Final = ("norm", "q", "k", "v", "proj_out")
"""Of an attention block."""
TRAINING_ONLY: Final = ("loss.",)
"""Discriminator and perceptual network of a training checkpoint; no part of the tokenizer."""

TABLE: Final = (
    Row("encoder.conv_in", "encoder.conv_in", "3x3, colours to channels"),
    Row("encoder.down.{n}.block.{m}.{layer}", "encoder.down.{n}.block.{m}.{layer}", "level n, residual block m"),
    Row("encoder.down.{n}.attn.{m}.{part}", "encoder.down.{n}.attn.{m}.{part}", "attention behind that block"),
    Row("encoder.down.{n}.downsample.conv", "encoder.down.{n}.downsample.conv", "3x3, stride 2, to the next level"),
    Row("encoder.mid.block_{n}.{layer}", "encoder.mid.block_{n}.{layer}", "lowest resolution, blocks 1 and 2"),
    Row("encoder.mid.attn_1.{part}", "encoder.mid.attn_1.{part}", "attention between the two"),
    Row("encoder.norm_out", "encoder.norm_out", "before the last convolution"),
    Row("encoder.conv_out", "encoder.conv_out", "3x3, channels to latent channels"),
    Row("quant_conv", "quant_conv", "1x1, latent channels to code dimensions"),
    Row("quantize.embedding", "quantize.embedding", "the codebook"),
    Row("post_quant_conv", "post_quant_conv", "1x1, code dimensions to latent channels"),
    Row("decoder.conv_in", "decoder.conv_in", "3x3, latent channels to channels"),
    Row("decoder.mid.block_{n}.{layer}", "decoder.mid.block_{n}.{layer}", "lowest resolution, blocks 1 and 2"),
    Row("decoder.mid.attn_1.{part}", "decoder.mid.attn_1.{part}", "attention between the two"),
    Row("decoder.up.{n}.block.{m}.{layer}", "decoder.up.{n}.block.{m}.{layer}", "level n, counted as the encoder's"),
    Row("decoder.up.{n}.attn.{m}.{part}", "decoder.up.{n}.attn.{m}.{part}", "attention behind that block"),
    Row("decoder.up.{n}.upsample.conv", "decoder.up.{n}.upsample.conv", "3x3 behind the doubling, to the level above"),
    Row("decoder.norm_out", "decoder.norm_out", "before the last convolution"),
    Row("decoder.conv_out", "decoder.conv_out", "3x3, channels to colours"),
)
"""All families; a name that fits none is foreign."""

HOLES: Final = {
    "n": r"(?P<n>\d{1,2})",
    "m": r"(?P<m>\d{1,2})",
    "layer": f"(?P<layer>{'|'.join(LAYERS)})",
    "part": f"(?P<part>{'|'.join(PROJECTIONS)})",
}


def _compiled(names: Iterable[tuple[str, str]]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Pattern of one side, and what the other side makes of a match."""
    made = []
    for known, other in names:
        pattern = re.escape(known).replace(r"\{", "{").replace(r"\}", "}").format(**HOLES)
        made.append((re.compile(pattern + r"\.(?P<end>weight|bias)"), other + ".{end}"))
    return tuple(made)


_FROM_PUBLISHED = _compiled((row.published, row.ours) for row in TABLE)
_TO_PUBLISHED = _compiled((row.ours, row.published) for row in TABLE)


def _translated(name: str, sides: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    for pattern, other in sides:
        match = pattern.fullmatch(name)
        if match:
            return other.format(**match.groupdict())
    return None


def from_published(name: str) -> str | None:
    """Our name of a checkpoint's tensor; None for one that the table does not have."""
    return _translated(name, _FROM_PUBLISHED)


def to_published(name: str) -> str | None:
    """The checkpoint's name of one of our tensors; None for one that the table does not have."""
    return _translated(name, _TO_PUBLISHED)
