"""Users who sign in with an enrolled device, under a frozen clock."""

from __future__ import annotations

from collections.abc import Sequence

import vmfa
from vmfa.record import columns, from_columns
from vmfa.testing import AuthenticatorApp, FrozenClock

MASTER_KEY = bytes(range(32))
STEP = 30
START = 1_700_000_010  # the first second of a step
ACCOUNT = "123456789012"
ALICE = vmfa.PrincipalId.user(ACCOUNT, "u-4711")
StoredRow = tuple[str, str, str, int, str, str, str]
"""account, kind, name, revision, state, tag, audit tag"""


class EncodingStore(vmfa.MemoryStore):
    """A store in memory that encodes, decodes and authenticates records as the SQL stores do."""

    volatile = False

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[vmfa.PrincipalId, StoredRow] = {}
        self.events: dict[vmfa.PrincipalId, list[vmfa.AuditEvent]] = {}

    def load(self, principal: vmfa.PrincipalId) -> vmfa.Principal:
        row = self.rows.get(principal)
        return from_columns(principal, *row[3:]) if row else vmfa.Principal(id=principal)

    def commit(
        self, before: vmfa.Principal, after: vmfa.Principal, events: Sequence[vmfa.AuditEvent]
    ) -> bool:
        with self._lock:
            row = self.rows.get(before.id)
            tag = before.envelope and before.envelope.tag
            if row is not None and (row[3], row[5]) != (before.revision, tag):
                return False
            self.rows[after.id] = columns(after)
            if events:
                self.events.setdefault(after.id, []).extend(events)
            return True


class User:
    """A user with an enrolled device. The codes are computed in advance."""

    def __init__(
        self,
        registry: vmfa.DeviceRegistry,
        clock: FrozenClock,
        principal: vmfa.PrincipalId = ALICE,
    ) -> None:
        self.registry, self.clock, self.principal = registry, clock, principal
        me = vmfa.Actor.signed_in(principal)
        session = registry.open_enrollment(principal, by=me, label="alice")
        self.key = vmfa.Key.from_base32(session.base32)
        self.phone = AuthenticatorApp(clock).scan(session.uri)
        code1, code2 = self.phone.two_codes()
        registry.confirm_enrollment(
            principal, session=session.session_id, code1=code1, code2=code2, by=me
        )
        self._codes: list[str] = []

    def prepare(self, sign_ins: int) -> None:
        """Compute the codes of the next sign-ins, so that they are not measured.

        No other user may move the clock until these codes are used.
        """
        self._codes = [self.phone.code(2 * number) for number in range(sign_ins, 0, -1)]

    def sign_in(self) -> None:
        """Wait two steps, and present the code.

        Not one step: one code in a million is equal to the next one, and both are spent together.
        """
        if not self._codes:
            self.prepare(4096)
        self.clock.advance(2 * STEP)
        self.registry.verify(self.principal, self._codes.pop())

    def wrong_code(self) -> str:
        """Return a code that is wrong in all steps near now."""
        near = {self.phone.code(step) for step in range(-3, 4)}
        return next(code for code in map("{:06}".format, range(8)) if code not in near)

    def expect(self, error: type[vmfa.VmfaError], code: str) -> None:
        """Present *code* and check that it is refused with *error*."""
        try:
            self.registry.verify(self.principal, code)
        except error:
            return
        raise AssertionError("the code was accepted")


def registry_over(store: vmfa.Store, clock: FrozenClock) -> vmfa.DeviceRegistry:
    """Return a registry that uses *store*."""
    keys = vmfa.DerivedKeys(MASTER_KEY)
    return vmfa.DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)


def user_over(store: vmfa.Store, principal: vmfa.PrincipalId = ALICE) -> User:
    """Return a user with a registry and a clock of their own."""
    clock = FrozenClock(START)
    return User(registry_over(store, clock), clock, principal)
