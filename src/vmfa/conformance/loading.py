"""Find the system to audit: a Python adapter by its name, or a program."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ..errors import InvalidValue
from .adapter import Adapter

__all__ = ["load_adapter"]


def load_adapter(target: str) -> Adapter:
    """Return the adapter that *target* names: ``MODULE:NAME`` or ``FILE.py:NAME``.

    NAME is an adapter, or a class or function without arguments that returns one.

    :raises InvalidValue: there is no such adapter.
    """
    place, _, name = target.rpartition(":")
    if not place:
        raise InvalidValue("an adapter is written MODULE:NAME or FILE.py:NAME")
    value = getattr(_load_module(place), name, None)
    if callable(value):
        value = value()
    if not isinstance(value, Adapter):
        raise InvalidValue(f"{target} is not an Adapter of vmfa.conformance and returns none")
    return value


def _load_module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise InvalidValue(f"the module cannot be imported: {error}") from None
    path = Path(place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InvalidValue(f"the file {place} does not exist")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    return module
