"""Every value of the library, wherever it lives: it cannot be changed, has no room for more, and says what is what."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from importlib import import_module

import pytest

import vmfa

VALUES = [
    kind
    for module in pkgutil.walk_packages(vmfa.__path__, "vmfa.")
    for kind in vars(import_module(module.name)).values()
    if inspect.isclass(kind) and kind.__module__ == module.name and dataclasses.is_dataclass(kind)
]
CHANGING = {"Phone", "DryRunStore"}  # of the story; a store
IN_ORDER = {  # few fields, whose order says enough
    "Answer", "PendingBinding", "Command", "Decision", "KeyRef", "KnownAnswer", "Line", "PrincipalId", "Rekeyed", "Report",
    "Envelope", "SelfTest", "Step",
}


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_a_value_is_frozen_has_slots_and_named_fields(kind: type) -> None:
    made = object.__new__(kind)
    if kind.__name__ not in CHANGING:
        for field in dataclasses.fields(kind):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(made, field.name, None)
    if kind.__module__ != "vmfa.cli.demo" or kind.__name__ == "Line":
        assert not hasattr(made, "__dict__")
    if kind.__name__ not in CHANGING | IN_ORDER:
        assert {each.kind for each in inspect.signature(kind).parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_exceptions_are_all_there() -> None:
    assert {kind.__name__ for kind in VALUES} >= CHANGING | IN_ORDER
