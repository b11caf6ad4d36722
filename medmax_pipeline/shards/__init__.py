"""Packs to files and back: deterministic webdataset tars, their index, reader and checks.

What a sequence is and which sequences share a pack belongs to `tokens/`. The reader runs on bare GPU machines: numpy
and pyarrow, no webdataset, polars or dagster.
"""

BLOCK_TOKENS = 65_536
"""At most this many ids a block: 128 KiB reads at more than 1 GB/s (measured), and webdataset holds one at a time."""
