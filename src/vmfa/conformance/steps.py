"""What a case consists of: steps, codes and expectations, as data without code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from .adapter import Result

__all__ = ["EXPECTATIONS", "Case", "Code", "Level", "Step"]

EXPECTATIONS: Final[Mapping[str, frozenset[Result]]] = {
    "accepted": frozenset({Result.ACCEPTED}),
    "refused": frozenset(
        {
            Result.REJECTED, Result.USED, Result.MALFORMED, Result.THROTTLED, Result.LOCKED,
            Result.DENIED,
        }
    ),
    "answered": frozenset(Result) - {Result.FAILED, Result.ERROR, Result.UNSUPPORTED},
    "not accepted": frozenset(Result) - {Result.ACCEPTED, Result.ERROR, Result.UNSUPPORTED},
    "any": frozenset(Result) - {Result.ERROR, Result.UNSUPPORTED},
}
"""The results that each expectation allows. "answered" excludes an internal error."""

EVALUATED: Final = frozenset({Result.ACCEPTED, Result.REJECTED})
"""The results of a code that was compared, if the system reports throttling."""


class Level(StrEnum):
    """How binding a case is: the strongest level of its clauses."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    DEPTH = "defense in depth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code in a step.

    :param user: the account whose device shows it.
    :param offset: the step of the code, in steps after the present one.
    :param counter: the counter of the code, for a counter-based device.
    :param wrong: take the next code that the device shows at no step near the present one.
    :param text: a literal code; then the other fields do not count.
    :param device: -1 for the newest device or enrollment of the user, -2 for the one before.
    :param form: how the code is written; a name in ``FORMS``.
    """

    user: str = "alice"
    offset: int = 0
    counter: int | None = None
    wrong: bool = False
    text: str | None = None
    device: int = -1
    form: str = "plain"

    def to_dict(self) -> dict[str, object]:
        """Return the fields that differ from their default, for JSON."""
        return changed_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a case.

    ``do`` is an operation of the adapter (``verify``, ``begin``, ``confirm``, ``remove``, ...) or
    one of these: ``assign`` (provision a device or enroll one, whichever the system can),
    ``advance`` (let time pass), ``repeat`` (*steps*, *times* times), ``at_once`` (all *steps* at
    the same time, *times* rounds, with *before* in front of each round), ``scan`` (search
    *where*), ``distinct_keys``, and ``same`` (the *steps* have equal results).

    :param do: the operation.
    :param user: the account that acts.
    :param code: the code, or the codes.
    :param arguments: further arguments of the operation.
    :param expect: a name in ``EXPECTATIONS``.
    :param control: whether the step shows that the case can be observed. If a control does not
        answer as expected, the case is not observable; any other step is violated then.
    :param seconds: for ``advance``: the seconds that pass.
    :param times: how often ``repeat`` repeats, and how many rounds ``at_once`` has.
    :param steps: the steps inside of this one.
    :param before: the steps in front of each round of ``at_once``.
    :param most: for ``at_once``: the most calls that may be accepted.
    :param least: for ``at_once``: the fewest accepted calls with which a round is evidence.
    :param like_a_sequence: for ``at_once``: no more codes may be evaluated than if the same calls
        are made one after the other.
    :param where: for ``scan``: "answers", "logs" or "rows".
    :param what: for ``scan``: "key" or "codes".
    """

    do: str
    user: str = "alice"
    code: tuple[Code, ...] = ()
    arguments: Mapping[str, object] = field(default_factory=dict)
    expect: str = "accepted"
    control: bool = False
    seconds: int = 0
    times: int = 1
    steps: tuple[Step, ...] = ()
    before: tuple[Step, ...] = ()
    most: int = 1
    least: int = 1
    like_a_sequence: bool = False
    where: str = ""
    what: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the fields that differ from their default, for JSON."""
        return changed_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    :param id: its group and its name.
    :param version: raised when its verdict can change for the same system.
    :param title: what a conforming system does, in one sentence.
    :param why: what a violation means for the users of the system.
    :param clauses: the ids of the clauses that it checks.
    :param level: how binding it is.
    :param requires: the capabilities that it needs. A name with ``|`` is a choice.
    :param steps: what is done.
    """

    id: str
    title: str
    why: str
    clauses: tuple[str, ...]
    level: Level
    steps: tuple[Step, ...]
    requires: tuple[str, ...] = ()
    version: int = 1

    @property
    def group(self) -> str:
        """The part of the id before the slash."""
        return self.id.partition("/")[0]

    def missing(self, capabilities: frozenset[str]) -> list[str]:
        """Return the capabilities that it needs and *capabilities* does not contain."""
        return [
            name for name in self.requires if not capabilities & {*name.split("|")}
        ]

    def to_dict(self) -> dict[str, object]:
        """Return the case for JSON."""
        return {
            "id": self.id, "version": self.version, "title": self.title, "why": self.why,
            "clauses": list(self.clauses), "level": self.level.value,
            "requires": list(self.requires), "steps": [step.to_dict() for step in self.steps],
        }


def changed_fields(value: Any) -> dict[str, object]:
    """Return the fields of a step or a code that differ from their default, for JSON."""
    defaults = type(value)(do=value.do) if isinstance(value, Step) else type(value)()
    result: dict[str, object] = {"do": value.do} if isinstance(value, Step) else {}
    for item in fields(value):
        current = getattr(value, item.name)
        if current != getattr(defaults, item.name):
            result[item.name] = _plain(current)
    return result


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [item.to_dict() for item in value]
    return dict(value) if isinstance(value, Mapping) else value
