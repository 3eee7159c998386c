"""Every dataclass of the library is frozen, has slots and takes its fields by keyword."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pkgutil
from importlib import import_module

import pytest

import vmfa
from vmfa import MfaClaim, Parameters, Policy, Principal, PrincipalId

DATACLASSES = [
    kind
    for module in pkgutil.walk_packages(vmfa.__path__, "vmfa.")
    if not module.name.startswith("vmfa.integrations.django.")  # it needs a configured project
    for kind in vars(import_module(module.name)).values()
    if inspect.isclass(kind)
    and kind.__module__ == module.name
    and dataclasses.is_dataclass(kind)
    and not kind.__module__.startswith(("vmfa.cli", "vmfa.testing"))
]
MUTABLE = {"Session", "Wait"}  # they keep state on purpose
FROZEN = [kind for kind in DATACLASSES if kind.__name__ not in MUTABLE]
RESULTS = {"KnownAnswer", "SelfTest"}  # returned, never built by a caller
PUBLIC = [kind for kind in FROZEN if kind.__name__ in {*vmfa.__all__} - RESULTS]


@pytest.mark.parametrize("kind", FROZEN, ids=lambda kind: kind.__name__)
def test_a_dataclass_is_frozen(kind: type) -> None:
    value = object.__new__(kind)
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_a_dataclass_has_slots(kind: type) -> None:
    assert not hasattr(object.__new__(kind), "__dict__")


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_a_public_dataclass_takes_its_fields_by_keyword(kind: type) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(kind).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_a_value_is_equal_by_content() -> None:
    alice = PrincipalId.user("a", "alice")
    assert alice == PrincipalId.user("a", "alice")
    assert hash(alice) == hash(PrincipalId.user("a", "alice"))
    assert alice != PrincipalId.user("a", "bob")
    assert alice != ("a", "user", "alice")


@pytest.mark.parametrize(
    "value",
    [
        PrincipalId.user("a", "alice"),
        Parameters(digits=8),
        Policy.strict(),
        MfaClaim(at=1, serial="n"),
        Principal(id=PrincipalId.root("a")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_can_be_copied_and_pickled(value: object) -> None:
    assert copy.copy(value) == copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_misspelled_field_is_refused() -> None:
    with pytest.raises(TypeError, match="windows"):
        Policy(windows=2)  # type: ignore[call-arg]  # on purpose
    with pytest.raises(TypeError, match="windows"):
        dataclasses.replace(Policy(), windows=2)  # type: ignore[call-arg]  # on purpose
