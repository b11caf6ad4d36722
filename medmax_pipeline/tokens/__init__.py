"""Samples to token ids and back: vocabulary, text, image, sequence, pack, the code store, and encoding pictures.

Runs on bare GPU machines: no polars, pydantic, webdataset or dagster below this folder. Networks live in `models/`,
files of packs in `shards/`.
"""

from typing import Final

PREPROCESSING: Final = "chameleon-1"
"""Part of the tokenizer digest. Raise it when any pixel that comes out of `image.py` changes."""
