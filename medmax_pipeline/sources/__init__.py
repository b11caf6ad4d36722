"""What exists in the world: one file a source, each ending in `SOURCE = Source(...)`.

The folder is the registry: a new file here is a new source. How bytes are fetched, verified and opened belongs to
`ingest/`; which samples stay, to `curation/`.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.sources.record import Source

NOT_SOURCES = frozenset({"record", "choices", "conversation", "splits", "text"})
"""Modules of this folder that describe no source."""


def read_registry(folder: Path, package: str) -> Mapping[str, Source]:
    """Every source of a folder, sorted by key.

    Args:
        folder: where the modules lie.
        package: name under which they are imported.

    Raises:
        ConfigError: a module ends without a `SOURCE`, or its key is not the name of its file.
    """
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules([str(folder)])):
        if name in NOT_SOURCES:
            continue
        record = getattr(_load(f"{package}.{name}", folder / f"{name}.py"), "SOURCE", None)
        if not isinstance(record, Source):
            raise ConfigError(f"sources/{name}.py: no SOURCE = Source(...); each file of this folder ends in one.")
        if record.key != name:
            raise ConfigError(f"sources/{name}.py: its key is {record.key!r}, expected the file's name {name!r}.")
        found[name] = record
    return MappingProxyType(found)


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path.name}: not a Python module; sources/ holds one plain file a source.")
    if name in sys.modules:
        return sys.modules[name]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


SOURCES: Mapping[str, Source] = read_registry(Path(__file__).parent, __name__)
"""Every source, sorted by key; frozen."""


def source(key: str, variant: str = "") -> Source:
    """The source of that key.

    Args:
        key: name of its file.
        variant: another release or choice of files of it; empty: the default.

    Raises:
        ConfigError: there is no such source or variant.
    """
    if key not in SOURCES:
        raise ConfigError(f"{key!r}: no such source. Known: {', '.join(SOURCES)}. A new one is one file in sources/.")
    found = SOURCES[key]
    if not variant:
        return found
    if variant not in found.variants:
        raise ConfigError(f"{key}: no variant {variant!r}. Known: {', '.join(found.variants) or 'none'}.")
    return found.variants[variant]
