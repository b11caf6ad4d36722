"""Published weights: records like those of sources, of what exists, where, under which terms, and in which files.

They come the same three ways, into `landing/weights/<key>/`. Facts marked *not seen* come from the form that such
repositories have; the first fetch shows whether they hold. What becomes of the files belongs to `steps.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.sources.record import Access, ExpectedFile, Licence

MEDMAX_7B_COMMIT: Final = "babe891dd76c0eec02a79723ceea266a9c433448"
"""The commit that added the changed text tokenizer; read in a stored copy of the hub's page."""
CHAMELEON_LICENCE: Final = Licence(
    "Chameleon-Research",
    "https://ai.meta.com/resources/models-and-libraries/chameleon-downloads/",
    "2026-11-23, as the tag on Meta's page names it (research only, not commercial), text not read; some copies "
    "are tagged otherwise",
)


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A network's or tokenizer's files as their publisher ships them."""

    key: str
    """Name of its landing folder below `weights/`, and of its asset."""
    title: str
    what: str
    """What it is, and what it is used for here."""
    access: Access
    licence: Licence
    files: tuple[ExpectedFile, ...]

    @property
    def folder(self) -> str:
        """Its landing folder, relative to the landing root."""
        return f"weights/{self.key}"


def _hub(repo: str, revision: str, how: str, gated: bool = False) -> Access:
    """A model repository of the hub."""
    page = f"https://huggingface.co/{repo}"
    return Access("hub", page, how, repo, repo_type="model", revision=revision, gated=gated)


def _transformers_files(shards: str, size: int | None) -> tuple[ExpectedFile, ...]:
    """A transformers folder in safetensors; other forms can run code when read and are not expected."""
    return (
        ExpectedFile("config.json", "sizes and the vocabulary map", bytes=1_710_000),
        ExpectedFile("*.safetensors", shards, bytes=size),
        ExpectedFile("model.safetensors.index.json", "which tensor is in which shard", optional=True),
        ExpectedFile("generation_config.json", "defaults of generation", optional=True),
    )


ANOLE_7B: Final = PublishedWeights(
    key="anole_7b",
    title="Anole-7B in transformers' form",
    what="the paper's base model: Chameleon-7B whose head was tuned so that it draws",
    access=_hub("mint-medmax/anole_7b_hf", "main", "Download config.json and all safetensors."),
    licence=CHAMELEON_LICENCE,
    files=_transformers_files("7.04B parameters in F32 and BF16; the list of files not seen", None),
)
CHAMELEON_7B: Final = PublishedWeights(
    key="chameleon_7b",
    title="Chameleon-7B in transformers' form",
    what="the model that Anole was made from; draws nothing, since its head for pictures was not released",
    access=_hub(
        "facebook/chameleon-7b",
        "main",
        "Accept Meta's research licence there; download config.json and all safetensors.",
        gated=True,
    ),
    licence=CHAMELEON_LICENCE,
    files=_transformers_files("three shards; names and sizes as a copy of the repository lists them", 14_140_000_000),
)
MEDMAX_7B: Final = PublishedWeights(
    key="medmax_7b",
    title="MedMax-7B in Chameleon's original form",
    what="the paper's own tuned model; a build that names it as its base evaluates it beside what it tunes",
    access=_hub("mint-medmax/medmax_7b", MEDMAX_7B_COMMIT, "Download models/7b/ and tokenizer/vqgan.ckpt and .yaml."),
    licence=CHAMELEON_LICENCE,
    files=(
        ExpectedFile("models/7b/consolidated.pth", "a torch checkpoint; read as plain tensors only"),
        ExpectedFile("models/7b/params.json", "its sizes"),
        ExpectedFile("models/7b/consolidate_params.json", "in how many parts it comes", optional=True),
        ExpectedFile("tokenizer/vqgan.ckpt", "its image tokenizer; a torch checkpoint, read as plain tensors only"),
        ExpectedFile("tokenizer/vqgan.yaml", "the image tokenizer's sizes"),
    ),
)
VQGAN: Final = PublishedWeights(
    key="vqgan",
    title="Chameleon's image tokenizer",
    what="VQGAN with encoder, codebook of 8,192 and decoder, 512 x 512 px to 1,024 codes; the paper kept it untuned",
    access=_hub(
        "mint-medmax/medmax_7b",
        MEDMAX_7B_COMMIT,
        "Download tokenizer/vqgan.ckpt and vqgan.yaml; GAIR/Anole-7b-v0.1 lists the same checkpoint (MD5 "
        "1a559fb5dab4d351d19496ae89da1db1).",
    ),
    licence=CHAMELEON_LICENCE,
    files=(
        ExpectedFile("tokenizer/vqgan.ckpt", "a torch checkpoint; read as plain tensors only"),
        ExpectedFile("tokenizer/vqgan.yaml", "its sizes"),
    ),
)
TEXT_TOKENIZER: Final = PublishedWeights(
    key="text_tokenizer",
    title="Chameleon's text tokenizer, as MedMax changed it",
    what="byte-level BPE of 65,536 names; id 8711 is named <image>",
    access=_hub("mint-medmax/medmax_7b", MEDMAX_7B_COMMIT, "Download tokenizer/text_tokenizer_modified.json."),
    licence=CHAMELEON_LICENCE,
    files=(
        ExpectedFile("tokenizer/text_tokenizer_modified.json", "the names and merges", group="names", bytes=4_440_000),
        ExpectedFile("tokenizer/text_tokenizer.json", "the same before the change", group="names", bytes=5_630_000),
    ),
)
BIOMEDCLIP: Final = PublishedWeights(
    key="biomedclip",
    title="BiomedCLIP (PubMedBERT 256, ViT-B/16 224)",
    what="picture and text in one space; the paper's filter of figures and its score of captions and drawn pictures",
    access=_hub(
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "9f341de24bfb00180f1b847274256e9b65a3a32e",
        "Download open_clip_config.json, open_clip_pytorch_model.bin and the tokenizer's files.",
    ),
    licence=Licence(
        "MIT",
        "https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "2026-11-23, the tag of the card; its text asks for research use only",
    ),
    files=(
        ExpectedFile("open_clip_config.json", "sizes and preprocessing", bytes=707),
        ExpectedFile("open_clip_pytorch_model.bin", "a torch checkpoint", bytes=784_000_000),
        ExpectedFile("tokenizer.json", "PubMedBERT's word pieces", bytes=679_000),
        ExpectedFile("vocab.txt", "the same as a list", optional=True, bytes=225_000),
    ),
)
CLIP: Final = PublishedWeights(
    key="clip",
    title="A CLIP in transformers' form",
    what="picture and text in one space: any such folder that the user prefers to BiomedCLIP",
    access=Access(
        "manual",
        "https://huggingface.co/models?other=clip&library=safetensors",
        "Choose a CLIP there; place its config.json, safetensors, preprocessor_config.json and tokenizer.json.",
    ),
    licence=Licence(
        "its publisher's",
        "https://huggingface.co/models?other=clip&library=safetensors",
        "2026-11-24, read nowhere: which CLIP it is, is the user's choice",
    ),
    files=(
        ExpectedFile("config.json", "sizes"),
        ExpectedFile("*.safetensors", "one or several shards"),
        ExpectedFile("preprocessor_config.json", "how pictures are prepared"),
        ExpectedFile("tokenizer.json", "how texts are"),
        ExpectedFile("model.safetensors.index.json", "which tensor is in which shard", optional=True),
    ),
)
PUBLISHED: Final[Mapping[str, PublishedWeights]] = MappingProxyType(
    {record.key: record for record in (ANOLE_7B, BIOMEDCLIP, CHAMELEON_7B, CLIP, MEDMAX_7B, TEXT_TOKENIZER, VQGAN)}
)
"""Every record, sorted by key."""


def published(name: str) -> PublishedWeights:
    """The record of that key.

    Raises:
        ConfigError: there is none.
    """
    if name not in PUBLISHED:
        raise ConfigError(f"{name!r}: no such published weights. Known: {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]
