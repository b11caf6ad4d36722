"""The suite's rows: one file a benchmark, each ending in `TASK = Task(...)`; the folder is the registry.

A file is named after its row with `_` for `/`. How replies become verdicts is shared by families in the folder above.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.eval.task import Task


def read_registry(folder: Path, package: str) -> Mapping[str, Task]:
    """Every task of a folder, sorted by key.

    Args:
        folder: where the modules lie.
        package: name under which they are imported.

    Raises:
        ConfigError: a module ends without a `TASK`, or its key is not the name of its file.
    """
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules([str(folder)])):
        record = getattr(importlib.import_module(f"{package}.{name}"), "TASK", None)
        if not isinstance(record, Task):
            raise ConfigError(f"eval/tasks/{name}.py: no TASK = Task(...); each file of this folder ends in one.")
        if record.key.replace("/", "_") != name:
            raise ConfigError(f"eval/tasks/{name}.py: its key is {record.key!r}; name the file after it, `_` for `/`.")
        found[record.key] = record
    return MappingProxyType(dict(sorted(found.items())))


TASKS: Mapping[str, Task] = read_registry(Path(__file__).parent, __name__)
"""Every task, sorted by key; frozen."""


def task(key: str) -> Task:
    """The task of that key.

    Raises:
        ConfigError: there is none.
    """
    if key not in TASKS:
        raise ConfigError(f"{key!r}: no such task. Known: {', '.join(TASKS)}. A new one is one file in eval/tasks/.")
    return TASKS[key]
