"""Whether an endpoint's table can be meant, and whether the endpoint can be used here: its address and its key.

Nothing is sent; asking is `endpoint.py`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from urllib.parse import urlsplit

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.chat_http import LOOPBACK


def identity(endpoint: Endpoint, rules_version: str = "") -> dict[str, Json]:
    """All of an endpoint that a reply depends on: what steps record, and what names answers on disk."""
    if endpoint.kind == "sample":
        return {"kind": "sample", "model": endpoint.model, "rules": rules_version}
    return {
        "kind": endpoint.kind,
        "model": endpoint.model,
        "url": endpoint.url.rstrip("/"),
        "temperature": endpoint.temperature,
        "seed": endpoint.seed,
        "max_tokens": endpoint.max_tokens,
    }


def endpoint_lock(endpoint: Endpoint) -> Lock | None:
    """Why an endpoint cannot be asked from here, without asking it."""
    if endpoint.kind == "sample":
        return None
    if importlib.util.find_spec("httpx2") is None:
        return Lock("httpx2 is not installed.", "pip install httpx2 on the machine that asks the endpoint.")
    if not endpoint.key or read_key(endpoint.key):
        return None
    return Lock(
        f"{endpoint.model}: neither {endpoint.key} nor {endpoint.key}_FILE gives a key.",
        f'Set {endpoint.key}, or {endpoint.key}_FILE to a file that holds it; or write key = "" into the endpoint\'s '
        "table where the address wants none.",
    )


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse what cannot be meant.

    Raises:
        ConfigError: naming every fault.
    """
    faults = []
    parts = urlsplit(endpoint.url)
    if endpoint.kind == "openai":
        if parts.scheme not in ("http", "https") or not parts.hostname:
            faults.append(f"url is {endpoint.url!r}, expected https://host/…")
        elif parts.scheme == "http" and parts.hostname not in LOOPBACK and not endpoint.plain_http:
            faults.append("url speaks http to another machine; expected https, or plain_http = true beside it")
        if parts.username or parts.password or parts.query or parts.fragment:
            faults.append("url holds a login, a query or a fragment; expected none, a key comes from the environment")
    if not endpoint.model:
        faults.append("model is empty")
    if endpoint.concurrency < 1 or endpoint.max_tokens < 1 or endpoint.retries < 0 or endpoint.timeout_s <= 0:
        faults.append("concurrency, max_tokens and timeout_s must be above 0, retries not below")
    prices = endpoint.usd_per_million_in, endpoint.usd_per_million_out
    if endpoint.budget_usd is not None and None in prices:
        faults.append("budget_usd needs usd_per_million_in and usd_per_million_out")
    if faults:
        raise ConfigError(f"endpoint {endpoint.model or endpoint.url}: " + "; ".join(faults) + ".")


def read_key(variable: str) -> str:
    """The key that an environment variable, or the file named by its `_FILE`, holds; empty: none."""
    if not variable:
        return ""
    named = os.environ.get(f"{variable}_FILE", "")
    try:
        key = os.environ.get(variable, "") or (Path(named).read_text(encoding="utf-8") if named else "")
    except (OSError, UnicodeDecodeError):
        return ""
    key = key.strip()
    return key if key.isascii() and key.isprintable() else ""
