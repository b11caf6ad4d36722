"""Mappings out of TOML or JSON as frozen records: unknown or missing keys and other types are errors, told at once.

Which records there are is said where they are used. Standard library only.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from medmax_pipeline.errors import ConfigError

T = TypeVar("T")


def read_record(record: type[T], value: Any, where: str) -> T:
    """A mapping as a frozen record; every fault is reported at once.

    Args:
        record: a dataclass; nested dataclasses, tuples, mappings, Literals and unions with None are understood.
        value: what TOML or JSON gave.
        where: the file's name, for the message.

    Raises:
        ConfigError: unknown keys, missing keys, or values of another type.
    """
    faults: list[str] = []
    result = _record(record, value, "", faults)
    if faults or result is None:
        raise ConfigError(f"{where}: " + "; ".join(faults) + ".")
    return result


def _record(record: type[T], value: Any, at: str, faults: list[str]) -> T | None:
    if not isinstance(value, Mapping):
        faults.append(f"{at or 'the file'} must be a table, found {value!r}")
        return None
    hints = get_type_hints(record)
    known = {item.name: item for item in dataclasses.fields(record)}  # type: ignore[arg-type]
    prefix = f"{at}." if at else ""
    before = len(faults)
    for key in sorted(value.keys() - known.keys()):
        faults.append(f"unknown key {prefix}{key} (known: {', '.join(known)})")
    arguments = {}
    for name, item in known.items():
        if name in value:
            arguments[name] = _value(hints[name], value[name], prefix + name, faults)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            faults.append(f"{prefix}{name} is missing")
    return None if len(faults) > before else record(**arguments)


def _value(hint: Any, value: Any, at: str, faults: list[str]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, value, at, faults)
    if origin is Literal:
        if value not in arguments:
            faults.append(f"{at} is {value!r}, expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _value(next(a for a in arguments if a is not type(None)), value, at, faults)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            faults.append(f"{at} must be a list, found {value!r}")
            return ()
        return tuple(_value(arguments[0], item, f"{at}[{index}]", faults) for index, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            faults.append(f"{at} must be a table, found {value!r}")
            return {}
        return {key: _value(arguments[1], item, f"{at}.{key}", faults) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        faults.append(f"{at} is {value!r}, expected {hint.__name__}")
    return value
