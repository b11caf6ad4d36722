"""Samples to token ids and back: vocabulary, text, image, sequence, pack, the code store, and encoding pictures.

Runs on bare GPU machines: no polars, pydantic, webdataset or dagster below this folder. Networks live in `models/`,
files of packs in `shards/`.
"""
