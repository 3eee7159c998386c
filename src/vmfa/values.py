"""Frozen values that are checked when they are made: each field beside its bounds (RULE-RANGES).

They look like frozen dataclasses with slots, to type checkers as well, and the functions of ``dataclasses`` work
on them. That module itself is not used: it loads ``inspect`` and compiles six methods a class, which was half of an
import of the registry, and what it makes takes twice as long to fill and three times as long to copy.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeVar, dataclass_transform
from unicodedata import category, is_normalized

from .errors import InvalidType, InvalidValue
from .otp import check_int

if TYPE_CHECKING:
    from collections.abc import Callable

V = TypeVar("V", bound="Value")
LONGEST_NAME: Final = 512  # bytes
LAST_SECOND: Final = 1 << 62
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})  # Cn: what it will mean is not settled


def check_text(name: str, value: str, *, longest: int = LONGEST_NAME, empty: bool = False) -> None:
    """One spelling a name: NFC, no control characters, no blanks at the edges, bounded."""
    if not isinstance(value, str):
        raise InvalidType(f"{name} is text")
    if not value and not empty:
        raise InvalidValue(f"{name} is empty")
    if len(value) > longest:
        raise InvalidValue(f"{name} is longer than {longest} bytes")
    if value != value.strip():
        raise InvalidValue(f"{name} has blanks at its edges")
    if value.isascii() and value.isprintable():
        return
    if any(category(character) in _UNPRINTABLE for character in value):
        raise InvalidValue(f"{name} holds control characters")
    if not is_normalized("NFC", value):
        raise InvalidValue(f"{name} is not in Unicode normalization form C")
    if len(value.encode()) > longest:
        raise InvalidValue(f"{name} is longer than {longest} bytes")


check_time: Final = partial(check_int, low=-LAST_SECOND, high=LAST_SECOND)


def check_is(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InvalidType(f"{name} is a {kind.__name__}")


class _Field:
    """*check* refuses a wrong content, and *well* sees at a glance that this one is not.

    *how* is what ``dataclasses.field`` would be told.
    """

    def __init__(self, check: Any = None, well: str = "False", kind: Any = None, **how: Any) -> None:
        self.check, self.well, self.kind, self.how = check, well, kind, how


def text(longest: int = LONGEST_NAME, *, empty: bool = False, **how: Any) -> Any:
    """A field for text of at most *longest* bytes, as :func:`check_text` wants it."""
    well = f"type({{0}}) is str and {{0}}.isalnum() and {{0}}.isascii() and len({{0}}) <= {longest}"
    return _Field(partial(check_text, longest=longest, empty=empty), well, **how)


def number(low: int, high: int, **how: Any) -> Any:
    """A field for an int from *low* to *high*."""
    check = partial(check_int, low=low, high=high)
    return _Field(check, f"type({{0}}) is int and {low} <= {{0}} <= {high}", metadata={"low": low, "high": high}, **how)


def seconds(**how: Any) -> Any:
    """A field for a Unix time."""
    return number(-LAST_SECOND, LAST_SECOND, **how)


def a(kind: type, **how: Any) -> Any:
    """A field for an instance of *kind*."""
    return _Field(partial(check_is, kind=kind), "isinstance({0}, kind_{0})", kind, **how)


class _Values(type):
    """Gives a class a slot for each annotated name, and what fills and copies it."""

    def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any], *, kw_only: bool = True) -> type:
        annotations = space.get("__annotations__", {})
        fields: dict[str, _Field] = {}
        for each in annotations:
            given = space.pop(each, _Field())
            fields[each] = given if isinstance(given, _Field) else _Field(default=given)
        space["__slots__"] = tuple(fields)
        if not fields:
            return super().__new__(cls, name, bases, space)
        space["__match_args__"] = () if kw_only else tuple(fields)
        if any(hasattr(base, "_fields") for base in bases):
            raise TypeError(f"{name}: a value with fields gets no further ones")
        space |= {each: _Later(_compiled) for each in ("__init__", "_of", "_copy", "_content")}
        space |= {each: _Later(_as_dataclass) for each in ("__dataclass_fields__", "__dataclass_params__")}
        return super().__new__(cls, name, bases, space | {"_fields": fields})


class _Later:
    """An attribute of a class that is made when somebody asks for it: an import pays for none."""

    def __init__(self, make: Callable[[Any], dict[str, Any]]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self._name = owner, name

    def __get__(self, value: object, cls: type) -> object:
        made = self._make(self._owner)
        for name, each in made.items():
            setattr(self._owner, name, each)
        found = made[self._name]
        return found.__get__(value, cls) if hasattr(found, "__get__") else found


def _compiled(own: Any) -> dict[str, Any]:
    """What fills an *own*, checked by field, then as a whole: ``__init__``, and ``_of`` for fields in their order.

    And what copies one, gives its content, and changes each field of a new copy.
    """
    fields: dict[str, _Field] = own._fields  # of this module's own metaclass
    defaults = {name: field.how["default"] for name, field in fields.items() if "default" in field.how}
    space: dict[str, Any] = {"blank": object.__new__, "defaults": defaults}
    fill = change = copy = ""
    for name, field in fields.items():
        space |= {f"put_{name}": getattr(own, name).__set__, f"check_{name}": field.check, f"kind_{name}": field.kind}
        check = f" if not ({field.well.format(name)}):\n  check_{name}('{name}', {name})\n" if field.check else ""
        fill += f"{check} put_{name}(self, {name})\n"
        change += f"def change_{name}(self, {name}):\n{check} put_{name}(self, {name})\n"
        copy += f" put_{name}(copy, self.{name})\n"
    fill += " self.__post_init__()\n" * ("__post_init__" in vars(own))
    given = [f"{name}=defaults['{name}']" if name in defaults else name for name in fields]
    source = f"def __init__({', '.join(['self', *['*'] * (not own.__match_args__), *given])}):\n{fill}"
    source += f"def _of({', '.join(['cls', *fields])}):\n self = blank(cls)\n{fill} return self\n"
    source += f"def _copy(self):\n copy = blank(self.__class__)\n{copy} return copy\n"
    source += f"def _content(self):\n return {''.join(f'self.{name}, ' for name in fields)}\n"
    exec(source + change, space)  # noqa: S102  # of the names and bounds in this package's own classes
    made = {name: space[name] for name in ("__init__", "_of", "_copy", "_content")}
    for name, method in made.items():
        method.__qualname__, method.__module__ = f"{own.__qualname__}.{name}", own.__module__
    made["_changes"] = {name: space[f"change_{name}"] for name in fields}
    made["__init__"].__annotations__ = {**own.__annotations__, "return": None}
    return made


def _as_dataclass(own: Any) -> dict[str, Any]:
    from dataclasses import field, make_dataclass

    shape = [(name, own.__annotations__[name], field(**each.how)) for name, each in own._fields.items()]
    made = make_dataclass(own.__name__, shape, kw_only=not own.__match_args__, frozen=True)
    return {name: getattr(made, name) for name in ("__dataclass_fields__", "__dataclass_params__")}


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(text, number, seconds, a))
class Value(metaclass=_Values):
    """What all values share."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
        _fields: ClassVar[dict[str, _Field]]
        _changes: ClassVar[dict[str, Callable[[Any, Any], None]]]

        def _copy(self) -> Self: ...
        def _content(self) -> tuple[Any, ...]: ...

        @staticmethod
        def _of(kind: type[V], *fields: Any) -> V: ...

    def __post_init__(self) -> None:
        """Check what one field alone cannot tell."""

    def __repr__(self) -> str:
        shown = [name for name, field in self._fields.items() if field.how.get("repr", True)]
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self._content() == other._content() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        from dataclasses import FrozenInstanceError

        del value  # error trackers record the locals of a raising frame
        raise FrozenInstanceError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __replace__(self, /, **changes: Any) -> Self:
        made = self._copy()
        for name, value in changes.items():
            change = self._changes.get(name)
            if change is None:
                raise InvalidValue(f"{type(self).__name__} has no field {name!r}")
            change(made, value)
        made.__post_init__()
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), content(self))


if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414  # exported; type checkers check what is changed
else:
    replace = Value.__replace__  # a value with changes, which are checked


def _remade(kind: type[Value], fields: dict[str, Any]) -> Value:
    return kind(**fields)


def content(value: Value) -> dict[str, Any]:
    """The fields of *value*, itself not searched for further values."""
    return dict(zip(value._fields, value._content(), strict=True))  # noqa: SLF001  # this is the door


def of(kind: type[V], *fields: Any) -> V:
    """A *kind* of its fields in their order: for what is read from a document. Everybody else says their names."""
    return kind._of(kind, *fields)  # noqa: SLF001  # and this is another
