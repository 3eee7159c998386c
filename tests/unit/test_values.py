"""Values behave as the frozen dataclasses that they stand for, beside which they are held here."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pprint
import subprocess
import sys
from enum import StrEnum

import pytest

from leaks import assert_silent
from vmfa import InvalidType, InvalidValue, Kind, Policy, PrincipalId, VmfaError
from vmfa.validators import MAX_INTEGER, Value, a, check_int, content, number, of, replace, seconds, text


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Sample(Value):
    """A value of every kind."""

    name: str = text(8)
    size: int = number(0, 9, default=3)
    at: int = seconds(default=0)
    colour: Colour = a(Colour, default=Colour.RED)
    note: str = text(20, empty=True, default="", repr=False)
    free: object = None

    def __post_init__(self) -> None:
        if self.name == "large":
            check_int("size", self.size, 5, 9)

    def doubled(self) -> Sample:
        return replace(self, size=2 * self.size)


class Point(Value, kw_only=False):
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TwinSample:
    """A value of every kind."""

    name: str
    size: int = 3
    at: int = 0
    colour: Colour = Colour.RED
    note: str = dataclasses.field(default="", repr=False)
    free: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class TwinPoint:
    x: int
    y: int = 0


def named_alike(printed: object) -> str:
    return str(printed).replace("TwinSample", "Sample").replace("TwinPoint", "Point")


PAIRS = [
    (Sample, TwinSample, {"name": "n"}),
    (Sample, TwinSample, {"name": "n", "size": 9, "at": -5, "colour": Colour.BLUE, "note": "hidden", "free": (1,)}),
    (Point, TwinPoint, {"x": 1}),
    (Point, TwinPoint, {"x": 1, "y": -2}),
]


@pytest.mark.parametrize(("ours", "twin", "given"), PAIRS)
class TestAsItsTwin:
    def test_its_content(self, ours, twin, given):
        value, other = ours(**given), twin(**given)
        assert dataclasses.asdict(value) == dataclasses.asdict(other)
        assert dataclasses.astuple(value) == dataclasses.astuple(other)
        assert [getattr(value, name) for name in ours.__slots__] == [getattr(other, name) for name in twin.__slots__]
        assert not hasattr(value, "__dict__")

    def test_its_text(self, ours, twin, given):
        assert repr(ours(**given)) == named_alike(repr(twin(**given)))
        assert str(ours(**given)) == named_alike(str(twin(**given)))
        assert "hidden" not in pprint.pformat(ours(**given))

    def test_equal_and_hashed_by_content(self, ours, twin, given):
        value = ours(**given)
        assert value == ours(**given)
        assert hash(value) == hash(ours(**given))
        assert {value: 1}[ours(**given)] == 1
        others = {"name": "m", "size": 8, "at": 1, "colour": Colour.RED, "note": "", "free": (), "x": 7, "y": 7}
        for name in given:
            assert value != replace(value, **{name: others[name]}), name
        assert value != twin(**given)
        assert value != tuple(given.values())

    def test_frozen(self, ours, twin, given):
        for value in (ours(**given), twin(**given)):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, next(iter(given)), 1)
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(value, next(iter(given)))
        with pytest.raises(AttributeError):
            ours(**given).other = 1

    def test_a_change_is_refused_by_the_name_of_the_kind_and_keeps_nothing(self, ours, twin, given):
        with pytest.raises(dataclasses.FrozenInstanceError) as caught:
            setattr(ours(**given), next(iter(given)), "a secret")
        assert str(caught.value) == f"{ours.__name__} is immutable"
        assert_silent(caught.value, "a secret")

    def test_copied_pickled_and_replaced(self, ours, twin, given):
        value = ours(**given)
        copies = [copy.copy(value), copy.deepcopy(value), dataclasses.replace(value), replace(value)]
        copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
        if hasattr(copy, "replace"):
            copies.append(copy.replace(value))
        assert [each == value and type(each) is ours for each in copies] == [True] * len(copies)

    def test_known_to_dataclasses(self, ours, twin, given):
        assert dataclasses.is_dataclass(ours)
        for mine, theirs in zip(dataclasses.fields(ours), dataclasses.fields(twin), strict=True):
            assert (mine.name, mine.default, mine.repr) == (theirs.name, theirs.default, theirs.repr)

    def test_called_alike(self, ours, twin, given):
        mine, theirs = inspect.signature(ours), inspect.signature(twin)
        assert mine == theirs
        assert ours.__match_args__ == twin.__match_args__
        assert ours.__init__.__qualname__ == f"{ours.__qualname__}.__init__"
        for wrong in ({}, {**given, "colour of money": 1}):
            with pytest.raises(TypeError) as refused:
                ours(**wrong)
            with pytest.raises(TypeError) as as_refused:
                twin(**wrong)
            assert str(refused.value) == named_alike(as_refused.value)


class TestChecks:
    @pytest.mark.parametrize("wrong", [
        {"name": ""}, {"name": "n" * 9}, {"name": " n"}, {"name": 7}, {"size": -1}, {"size": 10}, {"size": True},
        {"size": 1.0}, {"size": "1"}, {"at": MAX_INTEGER + 1}, {"at": None}, {"colour": "red"}, {"colour": None},
        {"note": "n" * 21},
    ], ids=str)
    def test_a_wrong_content_is_refused_by_name_made_or_replaced(self, wrong):
        (name,) = wrong
        for make in (lambda: Sample(**{"name": "n", **wrong}), lambda: replace(Sample(name="n"), **wrong)):
            with pytest.raises((InvalidType, InvalidValue), match=f"^{name} "):
                make()

    def test_the_whole_is_checked_after_its_parts(self):
        assert Sample(name="large", size=5).size == 5
        for make in (lambda: Sample(name="large", size=4), lambda: replace(Sample(name="n", size=4), name="large")):
            with pytest.raises(InvalidValue, match=r"^size is 5 to 9$"):
                make()

    def test_what_is_replaced_is_the_copy(self):
        one = Sample(name="n", size=4)
        assert (one.doubled().size, one.size) == (8, 4)

    def test_a_field_that_is_none_is_refused(self):
        with pytest.raises(InvalidValue, match=r"^Sample has no field 'sise'$"):
            replace(Sample(name="n"), sise=1)

    def test_a_refusal_is_of_the_family(self):
        with pytest.raises(VmfaError):
            Sample(name="n", size=99)

    def test_the_bounds_are_told(self):
        told = {each.name: dict(each.metadata) for each in dataclasses.fields(Policy)}
        assert told["window"] == {"low": 0, "high": 10}
        assert told["offers"] == {}


def test_a_class_may_add_methods_and_no_fields():
    class Named(PrincipalId):
        def shout(self) -> str:
            return self.name.upper()

    assert Named.user("a", "b").shout() == "B"
    assert Named.user("a", "b") != PrincipalId.user("a", "b")


class Named(PrincipalId):
    def shout(self) -> str:
        return self.name.upper()


FRESH = """
import inspect
from vmfa import Kind, MfaClaim, PrincipalId

class Longer(MfaClaim):
    __slots__ = ()
    def __init__(self, serial): super().__init__(at=1, serial=serial + "-x")

print(Longer("ab").serial, Longer("ab").serial, list(inspect.signature(PrincipalId).parameters))
print(inspect.signature(PrincipalId).bind("a", Kind.USER, "b").arguments)
"""


class TestFirstUse:
    """What is made when somebody asks for it is then what it is ever after."""

    def test_in_a_fresh_process(self):
        told = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True).stdout
        assert told.splitlines() == [
            "ab-x ab-x ['account', 'kind', 'name']",
            "{'account': 'a', 'kind': <Kind.USER: 'user'>, 'name': 'b'}",
        ]

    @pytest.mark.parametrize("first", [
        hash, repr, copy.copy, copy.deepcopy, dataclasses.fields, dataclasses.asdict, content, inspect.getmembers,
        replace, lambda value: value == type(value)(x=1), lambda value: value.__reduce__(),
        lambda value: of(type(value), 1, 2),
    ])
    def test_whatever_is_first(self, first):
        class Fresh(Value, kw_only=False):
            x: int = number(0, 9)
            y: int = number(0, 9, default=0)

        value = Fresh.__new__(Fresh)
        object.__setattr__(value, "x", 1)
        object.__setattr__(value, "y", 0)
        first(value)
        assert Fresh(1) == value == replace(Fresh(2), x=1)
        with pytest.raises(InvalidValue):
            Fresh(10)

    def test_a_pickle_holds_names(self):
        """A later release may have its fields in another order."""
        assert PrincipalId.user("a", "b").__reduce__()[1] == (
            PrincipalId, {"account": "a", "kind": Kind.USER, "name": "b"}
        )


class TestOnTheEdges:
    def test_a_subclass_is_replaced_by_its_kind_and_known_to_dataclasses(self):
        one = Named.user("a", "b")
        assert type(replace(one, name="c")) is Named
        assert dataclasses.asdict(one) == dataclasses.asdict(PrincipalId.user("a", "b"))
        assert dataclasses.replace(one, name="c") == Named.user("a", "c")

    def test_fields_beyond_those_of_a_value_are_refused(self):
        with pytest.raises(TypeError, match=r"^Staff: a value with fields gets no further ones$"):
            type("Staff", (PrincipalId,), {"__annotations__": {"badge": "str"}})

    def test_each_value_is_a_dataclass_by_its_own_attribute(self):
        """Serializers look in the class itself."""
        assert all("__dataclass_fields__" in vars(kind) for kind in (PrincipalId, Policy, Sample, Point))

    def test_its_shape_is_made_once(self):
        assert dataclasses.fields(Sample)[0] is dataclasses.fields(Sample)[0]

    def test_positional_fields_are_told_as_such(self):
        assert [each.kw_only for each in dataclasses.fields(Point)] == [False, False]
        assert {each.kw_only for each in dataclasses.fields(Sample)} == {True}

    def test_a_value_of_one_field(self):
        class One(Value):
            x: int

        assert copy.copy(One(x=1)) == One(x=1)
        assert content(One(x=1)) == {"x": 1}
        assert hash(One(x=1)) == hash(One(x=1))

    def test_a_deep_copy_shares_nothing_that_changes(self):
        one = Sample(name="n", free=[1])
        assert copy.deepcopy(one).free is not one.free
