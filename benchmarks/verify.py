"""The whole verification in memory: guards, seal check, key, scan, throttle, drift, new seal, compare-and-set."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

import pyotp

import vmfa
from devices import BEGAN, EncodingStore, Phone, phone_over
from measure import Run, Table, main, ratios

FLOOR = "hmac_digest(key, message, 'sha1')"
FLOOR_NAMES = {"hmac_digest": hmac.digest, "key": bytes(range(20)), "message": bytes(8)}
PYOTP = pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")


def pyotp_accepts(code: str) -> None:
    """Stateless: no replay position, no throttle, the raw key in memory. The code is the window's last."""
    assert PYOTP.verify(code, for_time=BEGAN, valid_window=1)


class Refusals:
    """One principal, put back to where it was after each attempt."""

    def __init__(self) -> None:
        self.store = vmfa.MemoryStore()
        self.phone = phone_over(self.store)
        self.spent, self.wrong = vmfa.totp(self.phone.key, BEGAN), self.phone.wrong()
        self.fresh = self.state()
        for _ in range(3):
            self.phone.refused(self.wrong, vmfa.CodeRejected)
        self.waiting = self.state()

    def state(self) -> vmfa.Principal:
        return self.store.load(self.phone.who)

    def put(self, state: vmfa.Principal) -> Phone:
        self.store._records[self.phone.who] = state
        return self.phone

    def reject(self) -> None:
        self.put(self.fresh).refused(self.wrong, vmfa.CodeRejected)

    def replay(self) -> None:
        self.put(self.fresh).refused(self.spent, vmfa.AlreadyUsed)

    def throttle(self) -> None:
        self.put(self.waiting).refused(self.spent, vmfa.Throttled)

    def malformed(self) -> None:
        self.put(self.fresh).refused("12345", vmfa.MalformedCode)


def accepted(run: Run) -> Table:
    plain, encoding = phone_over(vmfa.MemoryStore()), phone_over(EncodingStore())
    rounds = run.rounds(121)
    for phone in (plain, encoding):
        phone.prepare(200 * rounds)
    return ratios(
        "A code is accepted by registry.verify, derived keys",
        FLOOR,
        {
            "vmfa, MemoryStore": "plain.accept()",
            "vmfa, record encoded and decoded": "encoding.accept()",
            "pyotp, stateless, match at -1": "pyotp_accepts(first)",
            "pyotp, stateless, match at +1": "pyotp_accepts(last)",
        },
        names=FLOOR_NAMES
        | {"plain": plain, "encoding": encoding, "pyotp_accepts": pyotp_accepts}
        | {"first": PYOTP.at(BEGAN - 30), "last": PYOTP.at(BEGAN + 30)},
        rounds=rounds,
        goals={"vmfa, MemoryStore": (16, 22), "vmfa, record encoded and decoded": (30, 40)},
    )


def refused(run: Run) -> Table:
    names = {name: getattr(Refusals(), name) for name in ("reject", "replay", "throttle", "malformed")}
    return ratios(
        "A code is refused by registry.verify, MemoryStore, derived keys",
        FLOOR,
        {
            "wrong: counted and committed": "reject()",
            "already used: evaluated, nothing written": "replay()",
            "throttled: not evaluated": "throttle()",
            "malformed": "malformed()",
        },
        names=FLOOR_NAMES | names,
        rounds=run.rounds(61),
    )


def answer(run: Run) -> Iterator[Table]:
    yield accepted(run)
    yield refused(run)


if __name__ == "__main__":
    main(answer, __file__)
