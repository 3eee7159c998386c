"""Short ways to write the steps of a case."""

from __future__ import annotations

from typing import Final

from ..steps import Code, Step

HOUR: Final = 3600
DAY: Final = 86400
WRONG: Final = Code(wrong=True)


def assign(user: str = "alice", *, enroll: bool = False) -> Step:
    """Assign a device: provisioned if the system can, or enrolled if *enroll* says so."""
    return Step(do="assign", user=user, where="enroll" if enroll else "")


def provision(
    key: str, user: str = "alice", expect: str = "accepted", **parameters: int | str
) -> Step:
    """Assign a device with one of the test keys."""
    return Step(
        do="provision", user=user, arguments={"key": key, **parameters}, expect=expect,
        control=expect == "accepted",
    )


def verify(
    code: Code | str = Code(),  # noqa: B008  # frozen
    expect: str = "accepted",
    *,
    user: str = "alice",
    control: bool = False,
    **arguments: str,
) -> Step:
    """Sign in with *code*."""
    code = Code(text=code) if isinstance(code, str) else code
    return Step(
        do="verify", user=user, code=(code,), arguments=arguments, expect=expect, control=control
    )


def works(offset: int = 0, user: str = "alice", **arguments: str) -> Step:
    """A control: the right code is accepted."""
    return verify(Code(user=user, offset=offset), user=user, control=True, **arguments)


def advance(seconds: int) -> Step:
    """Let time pass; back if *seconds* is negative."""
    return Step(do="advance", seconds=seconds)


def set_time(now: int) -> Step:
    """Set the clock to a Unix time."""
    return Step(do="set_time", arguments={"now": now}, control=True)


def repeat(times: int, *steps: Step) -> Step:
    """Repeat steps."""
    return Step(do="repeat", times=times, steps=steps)


def begin(user: str = "alice", expect: str = "accepted") -> Step:
    """Begin an enrollment, as a user who gave the password."""
    return Step(do="begin", user=user, expect=expect, control=expect == "accepted")


def confirm(
    *offsets: int | Code,
    expect: str = "accepted",
    user: str = "alice",
    device: int = -1,
    check: bool = False,
    **arguments: object,
) -> Step:
    """Confirm the newest enrollment with two codes.

    It is a control if it is to be accepted, unless *check* says that the case checks it.
    """
    codes = tuple(
        Code(user=user, offset=offset, device=device) if isinstance(offset, int) else offset
        for offset in offsets
    )
    return Step(
        do="confirm", user=user, code=codes, expect=expect, arguments=arguments,
        control=expect == "accepted" and not check,
    )


def resync(*codes: Code, expect: str = "refused") -> Step:
    """Resynchronize with two codes; a control if it is to be accepted."""
    return Step(do="resync", code=codes, expect=expect, control=expect == "accepted")


def remove(proof: str, expect: str = "accepted", **arguments: object) -> Step:
    """Remove the device; a control if it is to be removed."""
    return Step(
        do="remove", arguments={"proof": proof, **arguments}, expect=expect,
        control=expect == "accepted",
    )


STILL_WORKS: Final = (advance(30), works())
"""A control at the end: the system still accepts right codes, so a refusal meant something."""
