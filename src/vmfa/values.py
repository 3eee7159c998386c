"""Frozen values that are checked when they are made: each field beside its bounds (RULE-RANGES).

They look like frozen dataclasses with slots, to type checkers as well, and the functions of ``dataclasses`` work
on them. That module itself is not used: it loads ``inspect`` and compiles six methods a class, which was half of an
import of the registry, and what it makes takes twice as long to fill and three times as long to copy.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, dataclass_transform
from unicodedata import category, is_normalized

from .errors import InvalidType, InvalidValue
from .otp import check_int

if TYPE_CHECKING:
    from collections.abc import Callable

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


def check_time(name: str, value: int) -> None:
    check_int(name, value, -LAST_SECOND, LAST_SECOND)


def check_is(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InvalidType(f"{name} is a {kind.__name__}")


class _Field:
    """*check* refuses a wrong content; *how* is what ``dataclasses.field`` would be told."""

    __slots__ = ("check", "how")

    def __init__(self, check: Callable[[str, Any], None] | None = None, **how: Any) -> None:
        self.check, self.how = check, how


def text(longest: int = LONGEST_NAME, *, empty: bool = False, **how: Any) -> Any:
    """A field for text of at most *longest* bytes, as :func:`check_text` wants it."""
    return _Field(partial(check_text, longest=longest, empty=empty), **how)


def number(low: int, high: int, **how: Any) -> Any:
    """A field for an int from *low* to *high*."""

    def check(name: str, value: int) -> None:
        if type(value) is not int or not low <= value <= high:
            check_int(name, value, low, high)

    return _Field(check, metadata={"low": low, "high": high}, **how)


def seconds(**how: Any) -> Any:
    """A field for a Unix time."""
    return number(-LAST_SECOND, LAST_SECOND, **how)


def a(kind: type, **how: Any) -> Any:
    """A field for an instance of *kind*."""
    return _Field(partial(check_is, kind=kind), **how)


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
        space |= {"_fields": fields, "__dataclass_fields__": _AsDataclass(), "__dataclass_params__": _AsDataclass()}
        made = super().__new__(cls, name, bases, space)
        for method in _compiled(made, fields, kw_only):
            method.__qualname__, method.__module__ = f"{made.__qualname__}.{method.__name__}", made.__module__
            setattr(made, method.__name__, method)
        method.__annotations__ = {**annotations, "return": None}
        return made


def _compiled(made: type, fields: dict[str, _Field], kw_only: bool) -> tuple[Any, Any, Any]:
    """``_copy``, ``_content``, and ``__init__``: checked field by field, then as a whole."""
    space: dict[str, Any] = {"blank": object.__new__}
    head, fill, copy = ["self", *["*"] * kw_only], "", ""
    for name, field in fields.items():
        space |= {f"put_{name}": getattr(made, name).__set__, f"check_{name}": field.check}
        space[f"default_{name}"] = field.how.get("default")
        head.append(f"{name}=default_{name}" if "default" in field.how else name)
        if "metadata" in field.how:  # an int: looked at in place, as there are many
            fill += " if type({0}) is not int or not {low} <= {0} <= {high}:\n ".format(name, **field.how["metadata"])
        fill += f" check_{name}('{name}', {name})\n" if field.check else ""
        fill += f" put_{name}(self, {name})\n"
        copy += f" put_{name}(copy, self.{name})\n"
    fill += " self.__post_init__()\n" * ("__post_init__" in vars(made))
    source = f"def __init__({', '.join(head)}):\n{fill}"
    source += f"def _copy(self):\n copy = blank(self.__class__)\n{copy} return copy\n"
    source += f"def _content(self):\n return {''.join(f'self.{name}, ' for name in fields)}\n"
    exec(source, space)  # noqa: S102  # of the names and bounds in this package's own classes
    return space["_copy"], space["_content"], space["__init__"]


class _AsDataclass:
    """An attribute by which ``dataclasses`` knows its own, made when somebody asks."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner: Any = owner
        self._name = name

    def __get__(self, value: object, cls: type) -> object:
        from dataclasses import field, make_dataclass

        own = self._owner
        shape = [(name, own.__annotations__[name], field(**each.how)) for name, each in own._fields.items()]
        made = make_dataclass(own.__name__, shape, kw_only=not own.__match_args__, frozen=True)
        setattr(own, self._name, getattr(made, self._name))
        return getattr(made, self._name)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(text, number, seconds, a))
class Value(metaclass=_Values):
    """What all values share."""

    __slots__ = ()

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
        _fields: ClassVar[dict[str, _Field]]

        def _copy(self) -> Self: ...
        def _content(self) -> tuple[Any, ...]: ...

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
        made, fields = self._copy(), self._fields
        for name, value in changes.items():
            field = fields.get(name)
            if field is None:
                raise InvalidValue(f"{type(self).__name__} has no field {name!r}")
            if field.check is not None:
                field.check(name, value)
            object.__setattr__(made, name, value)
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
