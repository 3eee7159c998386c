"""``vmfa demo``: the life of a device, with the real library and simulated phones.

A line is printed only after the library behaved as the line says.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from textwrap import wrap
from typing import Final, TypeVar

from ..access import Actor
from ..errors import (
    AccessDenied,
    AlreadyUsed,
    CodeRejected,
    DeviceAlreadyAssigned,
    NoDevice,
    OutOfSync,
    PairRejected,
    Throttled,
    VmfaError,
)
from ..keys import random_bytes
from ..keysources.derived import DerivedKeys
from ..models import OpenedEnrollment, PrincipalId, Sync
from ..registry import DeviceRegistry
from ..stores.base import Store
from ..stores.sqlite import SQLiteStore
from ..testing.authenticator import Account, AuthenticatorApp
from ..testing.clock import FrozenClock
from .context import CommandContext, CommandResult

E = TypeVar("E", bound=VmfaError)

START: Final = 1_700_000_010  # the first second of a step
PERIOD: Final = 30  # seconds
STEPS: Final = range(
    START // PERIOD - 30, START // PERIOD + 60
)  # more than the library compares in the story
WIDTH: Final = 80  # columns


class DemoFailed(VmfaError):
    """The library did not behave as the story says: do not trust this installation."""

    reason = "demo failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the story.

    :param chapter: the heading above it.
    :param at: seconds since the beginning of the story.
    """

    chapter: str
    text: str
    at: int


def run_demo(_: CommandContext) -> CommandResult:
    lines: list[Line] = []
    failure = None
    with (
        tempfile.TemporaryDirectory() as folder,
        SQLiteStore(os.path.join(folder, "demo.db")) as store,
    ):
        try:
            lines.extend(story(store))
        except DemoFailed as error:
            failure = error
    return CommandResult(
        data={
            "passed": failure is None,
            "lines": [
                {"chapter": line.chapter, "text": line.text, "at": line.at} for line in lines
            ],
        },
        text=[*_page(lines), *(() if failure else ("Every step behaved as expected.",))],
        failure=failure,
    )


def _page(lines: Sequence[Line]) -> Iterator[str]:
    for chapter, of_chapter in groupby(lines, lambda line: line.chapter):
        yield chapter
        for line in of_chapter:
            minutes, seconds = divmod(line.at, 60)
            yield from wrap(
                line.text,
                WIDTH,
                initial_indent=f"  {minutes}:{seconds:02}  ",
                subsequent_indent=" " * 8,
            )
        yield ""


class Stage:
    """A registry, a clock that the story moves, and the accounts on the phones."""

    def __init__(self, store: Store) -> None:
        self.clock = FrozenClock(START)
        self.registry = DeviceRegistry(
            store, keys=DerivedKeys(random_bytes(32)), issuer="Example", clock=self.clock
        )
        self.accounts: list[Account] = []
        self.chapter = ""

    def wait(self, steps: int) -> None:
        self.clock.advance(steps * PERIOD)

    def enroll(self, principal: PrincipalId, skew: int = 0) -> tuple[OpenedEnrollment, Account]:
        """Open an enrollment and scan its URI.

        If one of its codes is equal to another code of the story, do it again with another key.

        :param skew: seconds by which the clock of the phone is ahead.
        """
        while True:
            service = Actor.trusted_service("vmfa demo")
            opened = self.registry.open_enrollment(
                principal, by=service, label=f"{principal.name}@example.com"
            )
            account = AuthenticatorApp(self.clock, skew=skew).scan(opened.uri)
            if all_differ([*self.accounts, account]):
                self.accounts.append(account)
                return opened, account

    def wrong_code(self) -> str:
        """Return a code that no phone of the story shows."""
        shown = set(near_codes(self.accounts))
        return next(code for number in count() if (code := f"{number:06}") not in shown)

    def line(self, text: str, *behaved: bool) -> Line:
        """Return *text* as the next line.

        :raises DemoFailed: one of *behaved* is false.
        """
        if not all(behaved):
            raise DemoFailed(f"the library does not behave as the demo says: {text}")
        return Line(chapter=self.chapter, text=text, at=int(self.clock()) - START)


def near_codes(accounts: Sequence[Account]) -> list[str]:
    return [account.code(step - account.step) for account in accounts for step in STEPS]


def all_differ(accounts: Sequence[Account]) -> bool:
    codes = near_codes(accounts)
    return len(set(codes)) == len(codes)


def rejection(kind: type[E], attempt: Callable[[], object]) -> E | None:
    """Return the error of this *kind* that *attempt* raises; None if it raises none."""
    try:
        attempt()
    except kind as error:
        return error
    return None


def story(store: Store) -> Iterator[Line]:
    """Yield the lines of the story, played on an empty *store*.

    :raises DemoFailed: a step did not behave as expected.
    """
    stage = Stage(store)
    alice = PrincipalId.user("123456789012", "alice")
    try:
        phone = yield from _enrollment(stage, alice)
        yield from _sign_in(stage, alice, phone)
        yield from _slow_clock(stage, PrincipalId.user("123456789012", "bob"))
        yield from _guessing(stage, alice, phone)
        yield from _replacement(stage, alice, phone)
    except DemoFailed:
        raise
    except VmfaError as error:
        raise DemoFailed(f"the library refused a step of the demo: {error.reason}") from None


def _enrollment(stage: Stage, alice: PrincipalId) -> Generator[Line, None, Account]:
    stage.chapter = "Enrollment"
    registry, owner = stage.registry, Actor.signed_in(alice)
    opened, phone = stage.enroll(alice)
    session = opened.session_id
    yield stage.line(
        "Alice starts an enrollment. She sees a key and its QR code. They are not shown again.",
        opened.uri.startswith("otpauth://totp/Example:alice@example.com?secret="),
        rejection(NoDevice, lambda: registry.device(alice, by=owner)) is not None,
    )
    first, second = phone.two_codes()
    swapped = rejection(
        PairRejected,
        lambda: registry.confirm_enrollment(
            alice, session=session, code1=second, code2=first, by=owner
        ),
    )
    yield stage.line(
        f"She enters {second}, then {first}. The order is wrong, so she has to try again.",
        swapped is not None,
        not registry.requires_code(alice),
    )
    report = registry.confirm_enrollment(
        alice, session=session, code1=first, code2=second, by=owner
    )
    yield stage.line(
        f"She enters {first}, then {second}. Two consecutive codes assign the device.",
        report.sync is Sync.IN_SYNC,
        registry.requires_code(alice),
    )
    yield stage.line(
        f"Both codes are used: {second} does not sign her in.",
        rejection(AlreadyUsed, lambda: registry.verify(alice, second)) is not None,
    )
    return phone


def _sign_in(stage: Stage, alice: PrincipalId, phone: Account) -> Iterator[Line]:
    stage.chapter = "Sign-in"
    registry, owner = stage.registry, Actor.signed_in(alice)
    stage.wait(1)
    code = phone.code()
    receipt = registry.verify(alice, code)
    yield stage.line(
        f"After 30 seconds her phone shows {code}. The code signs her in.",
        receipt.serial == registry.device(alice, by=owner).serial,
    )
    replay = rejection(AlreadyUsed, lambda: registry.verify(alice, code))
    yield stage.line(
        f"An attacker who saw {code} sends it again. It was already used, so it is not accepted."
        " It does not count as a wrong guess.",
        replay is not None and replay.retry_after == PERIOD,
        registry.device(alice, by=owner).failures == 0,
    )
    stage.wait(1)
    same = phone.code()
    registry.verify(alice, same)
    yield stage.line(
        f"Her tablet has the same key and shows the same code, {same}. She used it on the tablet,"
        " so it is not accepted from the phone.",
        rejection(AlreadyUsed, lambda: registry.verify(alice, same)) is not None,
    )
    another = rejection(
        DeviceAlreadyAssigned, lambda: registry.open_enrollment(alice, by=owner, label="second")
    )
    yield stage.line("She has a device, so she cannot enroll a second one.", another is not None)


def _slow_clock(stage: Stage, bob: PrincipalId) -> Iterator[Line]:
    stage.chapter = "A phone with a slow clock"
    registry, owner = stage.registry, Actor.signed_in(bob)
    opened, phone = stage.enroll(bob, skew=-5 * PERIOD)
    first, second = phone.two_codes()
    report = registry.confirm_enrollment(
        bob, session=opened.session_id, code1=first, code2=second, by=owner
    )
    yield stage.line(
        "The clock of Bob's phone is two and a half minutes slow. His two codes assign the device,"
        " but the report says: out of sync.",
        report.sync is Sync.OUT_OF_SYNC,
        report.steps_off == -5,
    )
    stage.wait(2)
    yield stage.line(
        "Its codes are not accepted until he resynchronizes it.",
        rejection(OutOfSync, lambda: registry.verify(bob, phone.code())) is not None,
        registry.device(bob, by=owner).failures == 0,
    )
    first, second = phone.two_codes()
    report = registry.resync(bob, code1=first, code2=second, by=owner)
    yield stage.line(
        "Two new consecutive codes resynchronize it. Its codes may now be five steps late.",
        report.sync is Sync.IN_SYNC,
        report.device.drift == -5,
    )
    used = rejection(AlreadyUsed, lambda: registry.verify(bob, second))
    stage.wait(1)
    yield stage.line(
        "The two codes did not sign him in. The next one does.",
        used is not None,
        registry.verify(bob, phone.code()).drift == -5,
    )


def _guessing(stage: Stage, alice: PrincipalId, phone: Account) -> Iterator[Line]:
    stage.chapter = "Guessing"
    registry, owner = stage.registry, Actor.signed_in(alice)
    wrong = stage.wrong_code()
    errors = [rejection(CodeRejected, lambda: registry.verify(alice, wrong)) for _ in range(3)]
    yield stage.line(
        f"An attacker knows Alice's password and guesses {wrong} three times. After the third"
        " wrong code the next attempt has to wait 15 seconds.",
        [error and error.retry_after for error in errors] == [None, None, 15],
    )
    yield stage.line(
        "During this time no code of Alice is checked, not even the right one.",
        rejection(Throttled, lambda: registry.verify(alice, phone.code())) is not None,
    )
    stage.wait(1)
    receipt = registry.verify(alice, phone.code())
    yield stage.line(
        "After the wait her code is accepted, and the count of wrong codes starts again at zero.",
        receipt.failures_cleared == 3,
        registry.device(alice, by=owner).failures == 0,
    )


def _replacement(stage: Stage, alice: PrincipalId, phone: Account) -> Iterator[Line]:
    stage.chapter = "A new phone"
    registry, owner = stage.registry, Actor.signed_in(alice)
    yield stage.line(
        "With Alice's password alone, her device cannot be removed.",
        rejection(AccessDenied, lambda: registry.deactivate(alice, by=owner)) is not None,
    )
    stage.wait(1)
    receipt = registry.verify(alice, phone.code())
    removed = registry.deactivate(
        alice, by=Actor.signed_in(alice, mfa=receipt.claim), reason="new phone"
    )
    yield stage.line(
        "Signed in with a code, she removes it herself. Its key is destroyed.",
        removed.serial == receipt.serial,
        not registry.requires_code(alice),
    )
    stage.wait(1)
    yield stage.line(
        "The old phone still shows codes. They are no longer accepted.",
        rejection(NoDevice, lambda: registry.verify(alice, phone.code())) is not None,
    )
    opened, new_phone = stage.enroll(alice)
    first, second = new_phone.two_codes()
    registry.confirm_enrollment(
        alice, session=opened.session_id, code1=first, code2=second, by=owner
    )
    stage.wait(1)
    old_code = rejection(CodeRejected, lambda: registry.verify(alice, phone.code()))
    yield stage.line(
        "She enrolls a new phone. A code of the old phone is a wrong code. A code of the new phone"
        " signs her in.",
        type(old_code) is CodeRejected,
        registry.verify(alice, new_phone.code()).failures_cleared == 1,
    )
