"""The demonstration: the whole story of a device, played against the real library in a moment.

Phones and a clock moved by hand, in this process; the store is the caller's. A line is told only after the
library behaved as it says.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Final, TypeVar

from .. import errors
from ..access import Actor
from ..keys import Key, random_bytes
from ..keysources.derived import DerivedKeys
from ..models import OpenedEnrollment, PrincipalId, Sync
from ..otp import totp
from ..registry import DeviceRegistry
from ..stores.base import Store

E = TypeVar("E", bound=errors.VmfaError)

START: Final = 1_700_000_010  # the first second of a step
STEP: Final = 30  # seconds
NEAR: Final = range(-30, 60)  # steps around START: more than any scan of the story reaches


class DemoFailed(errors.VmfaError):
    """The library did not behave as the story says: do not trust this installation."""

    reason = "demo failed"


@dataclass(frozen=True, slots=True)
class Line:
    """What was seen: the id of the rule, the sentence, and the story's time in Unix seconds."""

    rule: str
    says: str
    at: int


class HandClock:
    now: int = START

    def __call__(self) -> int:
        return self.now

    def wait(self, steps: int) -> None:
        self.now += steps * STEP


@dataclass
class Phone:
    """An authenticator app: it holds the key that the wizard showed, and its clock may be *late*, in steps."""

    key: Key = field(repr=False)
    clock: HandClock
    late: int = 0

    def code(self, off: int = 0) -> str:
        return totp(self.key, self.clock() + (off - self.late) * STEP)

    def pair(self) -> dict[str, str]:
        return {"code1": self.code(-1), "code2": self.code()}


class Stage:
    def __init__(self, store: Store) -> None:
        keys = DerivedKeys(random_bytes(32))
        self.clock: HandClock = HandClock()
        self.registry: DeviceRegistry = DeviceRegistry(store, keys=keys, issuer="Example", clock=self.clock)
        self.phones: list[Phone] = []

    def enroll(self, who: PrincipalId, late: int = 0) -> tuple[OpenedEnrollment, Phone]:
        """Open the wizard and load a phone, once more if it repeats a code: chance must not spoil the story."""
        tries = (self._load(who, late) for _ in repeat(None))
        opened, phone = next(made for made in tries if all_differ([*self.phones, made[1]]))
        self.phones.append(phone)
        return opened, phone

    def _load(self, who: PrincipalId, late: int) -> tuple[OpenedEnrollment, Phone]:
        service = Actor.trusted_service("vmfa demo")
        opened = self.registry.open_enrollment(who, by=service, label=f"{who.name}@example.com")
        return opened, Phone(Key.from_base32(opened.base32), self.clock, late)

    def wrong_code(self) -> str:
        shown = set(near_codes(self.phones))
        return next(code for number in count() if (code := f"{number:06}") not in shown)

    def shows(self, rule: str, says: str, *behaved: bool) -> Line:
        """The line, if all of it was so. :raises DemoFailed: it was not."""
        if not all(behaved):
            raise DemoFailed(f"the library does not do what {rule} says: {says}")
        return Line(rule, says, self.clock.now)


def near_codes(phones: list[Phone]) -> list[str]:
    return [totp(phone.key, START + step * STEP) for phone in phones for step in NEAR]


def all_differ(phones: list[Phone]) -> bool:
    codes = near_codes(phones)
    return len(set(codes)) == len(codes)


def refusal(kind: type[E], attempt: Callable[[], object]) -> E | None:
    """How *attempt* was refused; None if it was not."""
    try:
        attempt()
    except kind as error:
        return error
    return None


def story(store: Store) -> Iterator[Line]:
    """Play it on an empty *store*, line by line.

    :raises DemoFailed: a step did not behave.
    """
    stage = Stage(store)
    alice = PrincipalId.user("123456789012", "alice")
    try:
        old = yield from _assignment(stage, alice)
        yield from _late_phone(stage, PrincipalId.user("123456789012", "bob"))
        yield from _guesses_and_removal(stage, alice, old)
    except errors.VmfaError as error:
        if isinstance(error, DemoFailed):
            raise
        raise DemoFailed(f"the library refused what it should do: {error.reason}") from None


def _assignment(stage: Stage, alice: PrincipalId) -> Generator[Line, None, Phone]:
    registry, clock, shows, me = stage.registry, stage.clock, stage.shows, Actor.signed_in(alice)
    opened, phone = stage.enroll(alice)
    session = opened.session_id
    yield shows(
        "SEED-SHOW", "Alice opens the wizard. It shows a key and a URI for her phone: once, in this answer only.",
        opened.uri.startswith("otpauth://totp/Example:alice@example.com?secret="),
        refusal(errors.NoDevice, lambda: registry.device(alice, by=me)) is not None,
    )
    code1, code2 = phone.code(-1), phone.code()
    swapped = refusal(
        errors.PairRejected,
        lambda: registry.confirm_enrollment(alice, session=session, code1=code2, code2=code1, by=me),
    )
    yield shows(
        "SEED-TWO", f"She enters {code2}, then {code1}: the wrong order is refused, and the wizard stays open.",
        swapped is not None, not registry.requires_code(alice),
    )
    report = registry.confirm_enrollment(alice, session=session, code1=code1, code2=code2, by=me)
    yield shows(
        "SEED-TWO", f"She enters {code1}, then {code2}: two consecutive codes assign the device, in sync.",
        report.sync is Sync.IN_SYNC, registry.requires_code(alice),
    )
    yield shows(
        "RFC6238-5.2-ONCE", f"Both codes are spent: {code2} does not sign her in.",
        refusal(errors.AlreadyUsed, lambda: registry.verify(alice, code2)) is not None,
    )
    clock.wait(1)
    code = phone.code()
    yield shows(
        "SEED-SIX", f"30 seconds later her phone shows {code}: six digits, and she is signed in.",
        registry.verify(alice, code).serial == report.device.serial,
    )
    replayed = refusal(errors.AlreadyUsed, lambda: registry.verify(alice, code))
    yield shows(
        "RFC6238-5.2-ONCE", f"Whoever saw {code} and sends it again is told that it was used; that is no failed guess.",
        replayed is not None and replayed.retry_after == STEP, registry.device(alice, by=me).failures == 0,
    )
    clock.wait(1)
    tablet = Phone(phone.key, clock)
    registry.verify(alice, tablet.code())
    yield shows(
        "SEED-BACKUP", f"Her tablet, with the same key, shows the same codes: {tablet.code()}, used there, is spent.",
        tablet.code() == phone.code(),
        refusal(errors.AlreadyUsed, lambda: registry.verify(alice, phone.code())) is not None,
    )
    yield shows(
        "SEED-ONE", "She has a device, so she gets no second one: the wizard does not open.",
        refusal(errors.DeviceAlreadyAssigned, lambda: registry.open_enrollment(alice, by=me, label="x")) is not None,
    )
    return phone


def _late_phone(stage: Stage, bob: PrincipalId) -> Iterator[Line]:
    registry, clock, shows, him = stage.registry, stage.clock, stage.shows, Actor.signed_in(bob)
    opened, phone = stage.enroll(bob, late=5)
    report = registry.confirm_enrollment(bob, session=opened.session_id, by=him, **phone.pair())
    yield shows(
        "SEED-LATE", "Bob's phone is five steps late. His two codes assign it, and the answer says: out of sync.",
        report.sync is Sync.OUT_OF_SYNC, report.steps_off == -5,
    )
    clock.wait(2)
    yield shows(
        "SEED-LATE", "Until it is resynchronized its codes are refused, unevaluated.",
        refusal(errors.OutOfSync, lambda: registry.verify(bob, phone.code())) is not None,
        registry.device(bob, by=him).failures == 0,
    )
    report = registry.resync(bob, by=him, **phone.pair())
    yield shows(
        "SEED-RESYNC", "Two fresh consecutive codes put it in sync: the library now knows that it is five steps late.",
        report.sync is Sync.IN_SYNC, report.device.drift == -5,
    )
    spent = refusal(errors.AlreadyUsed, lambda: registry.verify(bob, phone.code()))
    clock.wait(1)
    yield shows(
        "RFC6238-6-DRIFT", "They signed nobody in. The next code of the late phone does.",
        spent is not None, registry.verify(bob, phone.code()).drift == -5,
    )


def _guesses_and_removal(stage: Stage, alice: PrincipalId, phone: Phone) -> Iterator[Line]:
    registry, clock, shows, me = stage.registry, stage.clock, stage.shows, Actor.signed_in(alice)
    wrong = stage.wrong_code()
    told = [refusal(errors.CodeRejected, lambda: registry.verify(alice, wrong)) for _ in range(3)]
    yield shows(
        "RFC4226-7.3-DELAY", f"Somebody guesses {wrong}, three times. After the third wrong code: wait 15 seconds.",
        [error and error.retry_after for error in told] == [None, None, 15],
    )
    yield shows(
        "RFC4226-7.3-XSESSION", "Meanwhile nothing is evaluated for her, in whatever session: not even the right code.",
        refusal(errors.Throttled, lambda: registry.verify(alice, phone.code())) is not None,
    )
    clock.wait(1)
    receipt = registry.verify(alice, phone.code())
    yield shows(
        "SP80063B-3.2.2-CAP", "After the wait her code is accepted, and the failures in a row are forgotten.",
        receipt.failures_cleared == 3, registry.device(alice, by=me).failures == 0,
    )
    yield shows(
        "SEED-PERMIT", "Whoever has only her password cannot remove her device.",
        refusal(errors.AccessDenied, lambda: registry.deactivate(alice, by=me)) is not None,
    )
    removed = registry.deactivate(alice, by=Actor.signed_in(alice, mfa=receipt.claim), reason="new phone")
    yield shows(
        "SEED-ROTATE", "Signed in with a code, she deactivates it herself. Its key is destroyed.",
        removed.serial == receipt.serial, not registry.requires_code(alice),
    )
    clock.wait(1)
    yield shows(
        "SEED-ROTATE", "The old phone still shows codes. They count no more.",
        refusal(errors.NoDevice, lambda: registry.verify(alice, phone.code())) is not None,
    )
    opened, new = stage.enroll(alice)
    registry.confirm_enrollment(alice, session=opened.session_id, by=me, **new.pair())
    clock.wait(1)
    yield shows(
        "SEED-ROTATE", "She enrolls a new phone. The old one's codes are wrong codes, the new one's sign her in.",
        type(refusal(errors.CodeRejected, lambda: registry.verify(alice, phone.code()))) is errors.CodeRejected,
        registry.verify(alice, new.code()).failures_cleared == 1,
    )
