"""`params.json` of a Chameleon in its original form: the measures of its checkpoint, read within bounds, and written.

What follows from the measures is `original_format.py`; folders are `original_format_files.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from medmax_pipeline.errors import WeightsError
from medmax_pipeline.models.original_format import Sizes
from medmax_pipeline.tokens.vocabulary import MAX_IDS

PARAMS, MORE_PARAMS = "params.json", "consolidate_params.json"
MAX_PARAMS_BYTES: Final = 1 << 20
MOST: Final = {"dim": 65_536, "n_layers": 1024, "n_heads": 1024, "n_kv_heads": 1024, "vocab_size": MAX_IDS}
"""Far above the published 7B (4,096, 32, 32, 32, 65,536)."""
POSITIONS: Final = 4096
"""Of the published models, whose `params.json` does not say it."""
THETA: Final = 10_000.0


class Params(NamedTuple):
    """What `params.json` says."""

    sizes: Sizes
    norm_eps: float
    rope_theta: float
    positions: int


def read_params(folder: Path) -> Params:
    """The measures of a checkpoint, from `params.json` and what `consolidate_params.json` adds.

    Raises:
        WeightsError: missing, too large, no such measures, out of bounds, or of a model in several parts.
    """
    values = _json(folder / PARAMS)
    if (folder / MORE_PARAMS).exists():
        values = values | _json(folder / MORE_PARAMS)
    inner = values.get("model", values)
    where = folder / PARAMS
    try:
        read = {name: int(inner[name]) for name in ("dim", "n_layers", "n_heads")}
        read["n_kv_heads"] = int(inner.get("n_kv_heads") or read["n_heads"])
        read["vocab_size"] = _rows(inner)
        multiple, factor = int(inner.get("multiple_of", 256)), float(inner.get("ffn_dim_multiplier") or 1.0)
        eps, theta = float(inner["norm_eps"]), float(inner.get("rope_theta", THETA))
        positions = int(values.get("max_seq_len", POSITIONS))
        parts = int(values.get("model_parallel_size", inner.get("model_parallel_size", 1)))
        sound = all(0 < size <= MOST[name] for name, size in read.items()) and 0 < multiple <= MOST["dim"]
        sound = sound and read["dim"] % (2 * read["n_heads"]) == 0 and read["n_heads"] % read["n_kv_heads"] == 0
        sound = sound and 0 < factor <= 64 and 0 < eps < 1 and 0 < positions <= 1 << 20 and 1 <= theta <= 1e9
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise WeightsError(f"{where}: not the measures of a Chameleon ({error!r}). Fetch it again.") from error
    if not sound:
        raise WeightsError(f"{where}: measures out of bounds: {read}, multiple_of {multiple}. Fetch it again.")
    if parts != 1 or inner.get("swin_norm") or inner.get("qk_normalization") is False:
        raise WeightsError(
            f"{where}: model_parallel_size {parts}, swin_norm {inner.get('swin_norm')}, qk_normalization "
            f"{inner.get('qk_normalization')}; the 7B's form is read (1, false, true), the 34B's is not."
        )
    feed_forward = _feed_forward(read["dim"], factor, multiple)
    heads = read["n_heads"], read["n_kv_heads"]
    return Params(Sizes(read["dim"], read["n_layers"], *heads, feed_forward, read["vocab_size"]), eps, theta, positions)


def _rows(inner: dict[str, Any]) -> int:
    """Rows of the vocabulary; the published file says -1, which the authors' code replaces."""
    named = int(inner.get("vocab_size", -1))
    return MAX_IDS if named == -1 else named


def _feed_forward(dim: int, factor: float, multiple: int) -> int:
    """Width of the feed-forward layers, as LLaMA's and Chameleon's code derive it."""
    return -(-int(factor * int(8 * dim / 3)) // multiple) * multiple


def to_json(params: Params) -> dict[str, Any]:
    """The measures as `params.json` says them, so that the same width follows.

    Raises:
        WeightsError: no factor gives the width.
    """
    sizes = params.sizes
    wide = int(8 * sizes.dim / 3)
    multiple, factor = 256, 1.0
    if _feed_forward(sizes.dim, factor, multiple) != sizes.feed_forward:
        multiple = min(256, sizes.feed_forward & -sizes.feed_forward)
        factor = (sizes.feed_forward - multiple / 2 + (0.75 if multiple == 1 else 0)) / wide
    if _feed_forward(sizes.dim, factor, multiple) != sizes.feed_forward:
        raise WeightsError(f"a feed-forward width of {sizes.feed_forward} cannot be said in {PARAMS} at {sizes.dim}.")
    return {
        "model": {
            "dim": sizes.dim,
            "n_layers": sizes.layers,
            "n_heads": sizes.heads,
            "n_kv_heads": sizes.key_heads,
            "vocab_size": sizes.vocabulary,
            "ffn_dim_multiplier": factor,
            "multiple_of": multiple,
            "norm_eps": params.norm_eps,
            "rope_theta": params.rope_theta,
            "qk_normalization": True,
            "swin_norm": False,
        },
        "max_seq_len": params.positions,
        "model_parallel_size": 1,
    }


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Expected it beside the checkpoint.")
    if path.stat().st_size > MAX_PARAMS_BYTES:
        raise WeightsError(f"{path}: {path.stat().st_size:,} bytes, at most {MAX_PARAMS_BYTES:,} expected.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error}). Fetch it again.") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: holds a {type(value).__name__}, expected a JSON object. Fetch it again.")
    return value
