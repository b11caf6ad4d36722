"""What is not trained on: shards of another vocabulary or image tokenizer than the model's, credentialed samples.

Files are read and nothing is computed: `vocabulary.json` and `index.parquet` of the shards, `tokenizer.json`,
`config.json` and the codebook of the model. The graph asks before it launches, the trainer before its first step, so
that a run started by hand is refused alike. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from medmax_pipeline.config import Recipe
from medmax_pipeline.errors import ConfigError, TokenError
from medmax_pipeline.files import read_json, sha256_file
from medmax_pipeline.models.codebook import codebook_digest
from medmax_pipeline.models.weights import read_config
from medmax_pipeline.shards.layout import INDEX, VOCABULARY, vocabulary_record
from medmax_pipeline.shards.remote import local_file
from medmax_pipeline.tokens.vocabulary import TOKENIZER, read_vocabulary
from medmax_pipeline.training.job import Job, shard_cache

PUBLISHED_VQ: Final[Mapping[str, Any]] = {
    "resolution": 512,
    "channel_multiplier": [1, 1, 2, 2, 4],
    "num_embeddings": 8192,
}
"""What a Chameleon's configuration leaves out where it is as in transformers' `ChameleonVQVAEConfig`."""
PUBLISHED_IDS: Final = 65_536
"""`vocab_size` where a configuration leaves it out, as in transformers' `ChameleonConfig`."""
SOURCES_SHOWN: Final = 8


def refuse(job: Job) -> None:
    """Refuse a job whose shards, model and recipe do not belong together.

    Raises:
        TokenError: the shards were written in another vocabulary, or for another image tokenizer, than the model's.
        ConfigError: the shards hold credentialed samples, and the recipe does not admit them.
        WeightsError: the base folder is no Chameleon with its codebook.
        StoreError: the shards lack a file, or it cannot be read.
    """
    cache = shard_cache(job)
    refuse_foreign(local_file(job.shards, VOCABULARY, cache), Path(job.base))
    refuse_credentialed(local_file(job.shards, INDEX, cache), job.recipe)


def refuse_foreign(vocabulary: Path, base: Path, image_tokenizer: str = "") -> None:
    """Refuse shards whose ids mean something else to a model; all differences are told at once.

    Args:
        vocabulary: the shards' `vocabulary.json`.
        base: the model's folder.
        image_tokenizer: digest of the image tokenizer that goes with the model; empty: not known, and not compared.

    Raises:
        TokenError: naming what differs.
        WeightsError: `base` is no Chameleon with its codebook.
    """
    written = read_json(vocabulary)
    if not isinstance(written, dict):
        raise TokenError(f"{vocabulary}: holds a {type(written).__name__}, expected an object. Make the shards again.")
    faults = list(_faults(written, _record_of(base, image_tokenizer or str(written.get("image_tokenizer")))))
    rows, size = read_config(base).get("vocab_size", PUBLISHED_IDS), written.get("size")
    if isinstance(size, int) and isinstance(rows, int) and size > rows:
        faults.append(f"ids go up to {size - 1}, the model has {rows} rows")
    if faults:
        raise TokenError(
            f"{vocabulary}: the shards were not written for the model in {base}, their ids mean different things: "
            f"{'; '.join(faults)}. Make the shards again with this model's tokenizers."
        )


def _record_of(base: Path, image_tokenizer: str) -> dict[str, Any]:
    """What `vocabulary.json` of shards for this model says.

    Raises:
        TokenError: its tokenizer.json and config.json do not fit each other.
        WeightsError: as `refuse_foreign`.
    """
    config = read_config(base)
    try:
        vq = {**PUBLISHED_VQ, **(config.get("vq_config") or {})}
        side = int(vq["resolution"]) // 2 ** (len(vq["channel_multiplier"]) - 1)
        codes = int(vq["num_embeddings"])
    except (TypeError, ValueError) as error:
        raise TokenError(
            f"{base}: config.json says no geometry of pictures ({error!r}). Expected a Chameleon."
        ) from error
    vocabulary = read_vocabulary(base / TOKENIZER, side * side, codes)
    return vocabulary_record(vocabulary, image_tokenizer, codebook_digest(base))


def _faults(written: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    faults = []
    for key in sorted(written.keys() | expected.keys()):
        found, wanted = written.get(key), expected.get(key)
        if found == wanted:
            continue
        if isinstance(found, dict) and isinstance(wanted, dict):
            names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            faults += [f"{name} is id {found.get(name)} there and {wanted.get(name)} here" for name in names]
        else:
            faults.append(f"{key} is {_short(found)} there and {_short(wanted)} here")
    return faults


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def refuse_credentialed(index: Path, recipe: Recipe) -> None:
    """Refuse shards with credentialed samples where the recipe does not admit them.

    Args:
        index: the shards' `index.parquet`; a sample counts by its flag and by the tar it lies in.
        recipe: its `mixture.admit_credentialed` is the word.

    Raises:
        ConfigError: naming their sources.
    """
    if recipe.mixture.admit_credentialed:
        return
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(index, columns=["source", "credentialed", "shard"])
    secret = pc.or_(table["credentialed"], pc.starts_with(table["shard"], "credentialed-"))
    rows = table.filter(secret)
    if rows.num_rows:
        sources = sorted(pc.unique(rows["source"]).to_pylist())
        more = f" and {len(sources) - SOURCES_SHOWN} more" if len(sources) > SOURCES_SHOWN else ""
        raise ConfigError(
            f"{index}: {rows.num_rows:,} sequences are credentialed ({', '.join(sources[:SOURCES_SHOWN])}{more}), but "
            f"{recipe.name}.toml does not admit them. Set mixture.admit_credentialed = true if you may train on them, "
            "which binds the model too, or leave their sources out of the mixture."
        )


def refuse_text_tokenizer(vocabulary: Path, folder: Path) -> None:
    """Refuse shards whose text was turned into ids by another tokenizer.json than that of a tokenizer's folder.

    Raises:
        TokenError: naming both.
    """
    written = str(read_json(vocabulary).get("text_tokenizer"))
    found = sha256_file(folder / TOKENIZER) if (folder / TOKENIZER).is_file() else "none"
    if found != written:
        raise TokenError(
            f"text_tokenizer has the {TOKENIZER} {found[:12]}, the shards were written with {written[:12]}: their ids "
            "mean different things. Make the shards again with this build's tokenizer."
        )
