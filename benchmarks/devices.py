"""What the benchmarks sign in with: a registry under a clock that is set by hand, and phones that know their codes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import vmfa
from vmfa.record import columns, from_columns

MASTER = bytes(range(32))
BEGAN = 1_700_000_010
STEP = 30
ACCOUNT = "123456789012"
ALICE = vmfa.PrincipalId.user(ACCOUNT, "u-4711")


class Clock:
    """Time stands still until it is set."""

    def __init__(self, now: int = BEGAN) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class EncodingStore(vmfa.MemoryStore):
    """Rows in memory: sealed and encoded at each commit, decoded and checked at each load, as in the SQL stores."""

    volatile = False

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[vmfa.PrincipalId, tuple[str, str, str, int, str, str]] = {}
        self._history: dict[vmfa.PrincipalId, list[vmfa.AuditEvent]] = {}

    def load(self, principal: vmfa.PrincipalId) -> vmfa.Principal:
        row = self._columns.get(principal)
        return from_columns(principal, *row[3:]) if row else vmfa.Principal(id=principal)

    def commit(self, before: vmfa.Principal, after: vmfa.Principal, events: Sequence[vmfa.AuditEvent]) -> bool:
        with self._lock:
            row = self._columns.get(before.id)
            if row is not None and (row[3], row[5]) != (before.revision, before.envelope and before.envelope.tag):
                return False
            self._columns[after.id] = columns(after)
            if events:
                self._history.setdefault(after.id, []).extend(events)
            return True


class Phone:
    """The device of one principal. It computes its codes ahead, so that nobody measures its work."""

    def __init__(self, registry: vmfa.DeviceRegistry, clock: Clock, who: vmfa.PrincipalId = ALICE) -> None:
        self.registry, self.clock, self.who = registry, clock, who
        me, now = vmfa.Actor.signed_in(who), clock.now
        opened = registry.open_enrollment(who, by=me, label="alice")
        self.key = vmfa.Key.from_base32(opened.base32)
        session, first, second = opened.session_id, vmfa.totp(self.key, now - STEP), vmfa.totp(self.key, now)
        registry.confirm_enrollment(who, session=session, code1=first, code2=second, by=me)
        self._codes: list[str] = []

    def prepare(self, codes: int) -> None:
        """Know the codes of the next steps, while no other phone moves the clock.

        One in a million has the code of the step before and is spent with it: there, others begin later.
        """
        self._codes = [vmfa.totp(self.key, self.clock.now + STEP * step) for step in range(codes, -1, -1)]
        if any(code == before for code, before in pairwise(self._codes)):
            self.clock.now += STEP * codes
            self.prepare(codes)
        else:
            self._codes.pop()  # of now

    def accept(self) -> None:
        """The next step begins, and its code is accepted."""
        if not self._codes:
            self.prepare(4096)
        self.clock.now += STEP
        self.registry.verify(self.who, self._codes.pop())

    def wrong(self) -> str:
        """Six digits that are no code of the steps around now."""
        right = {vmfa.totp(self.key, self.clock.now + STEP * step) for step in range(-3, 4)}
        return next(code for code in ("000000", "000001", "000002", "000003", "000004", "000005", "000006", "000007")
                    if code not in right)

    def refused(self, code: str, how: type[vmfa.VmfaError]) -> None:
        """Present *code* and be refused in just this way."""
        try:
            self.registry.verify(self.who, code)
        except how:
            return
        raise AssertionError("the code was accepted")


def registry_over(store: vmfa.Store, clock: Clock) -> vmfa.DeviceRegistry:
    return vmfa.DeviceRegistry(store, keys=vmfa.DerivedKeys(MASTER), issuer="Example", clock=clock)


def phone_over(store: vmfa.Store, who: vmfa.PrincipalId = ALICE) -> Phone:
    """A phone with a registry and a clock of its own."""
    clock = Clock()
    return Phone(registry_over(store, clock), clock, who)
