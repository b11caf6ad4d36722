"""Answers of endpoints on disk, by what was asked: a replay needs no network, and nothing is paid twice.

One small file an answer, below two hex digits of its key. A file appears whole or not at all, so that several processes
may write at once; the last of two equal questions wins. Answers are kept as they came, before anybody reads them. Who
is asked, and when, belongs to `endpoint.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from medmax_pipeline.files import Json, canonical, sha256_bytes, write_bytes

REPLIES: Final = "replies"
"""The folder of a store in which answers are kept."""


class RepliesCache:
    """A folder of answers. Deleting it loses no result, only what was paid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, asked: Json) -> str:
        """Name of what was asked: model, its settings and every message."""
        return sha256_bytes(canonical(asked))

    def get(self, key: str, asked: Json) -> dict[str, Any] | None:
        """The answer kept for what was asked; None where there is none, or the file is not what was written."""
        try:
            entry = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("asked") != asked or not isinstance(entry.get("answer"), dict):
            return None
        answer: dict[str, Any] = entry["answer"]
        return answer

    def has(self, key: str) -> bool:
        """Whether an answer is kept, without reading it."""
        return self._path(key).is_file()

    def put(self, key: str, asked: Json, answer: Mapping[str, Any]) -> None:
        """Keep an answer, on disk when this returns."""
        write_bytes(self._path(key), json.dumps({"asked": asked, "answer": answer}, ensure_ascii=True).encode())

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
