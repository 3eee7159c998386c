"""A whole verification in memory: load, authenticate, scan, throttle, authenticate, commit."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

import pyotp

import vmfa
from measure import FLOOR, Limits, Options, RatioTable, Table, main, ratio_rows, time_statements
from users import START, EncodingStore, User, user_over

FLOOR_STATEMENT = "hmac_digest(key, message, 'sha1')"
FLOOR_NAMES = {"hmac_digest": hmac.digest, "key": bytes(range(20)), "message": bytes(8)}
ONE_HMAC = "one `hmac.digest`"
PYOTP = pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
MEMORY, ENCODED = "in memory", "in memory, record encoded, decoded and authenticated"


def pyotp_accepts(code: str) -> None:
    """Verify without state: without a replay position and a throttle."""
    assert PYOTP.verify(code, for_time=START, valid_window=1)


def accepted(options: Options) -> Iterator[Table]:
    rounds = options.rounds(121)
    memory, encoding = user_over(vmfa.MemoryStore()), user_over(EncodingStore())
    for user in (memory, encoding):
        user.prepare(200 * rounds)
    series = time_statements(
        {
            FLOOR: FLOOR_STATEMENT,
            MEMORY: "memory.sign_in()",
            ENCODED: "encoding.sign_in()",
            "pyotp": "pyotp_accepts(last)",
            "pyotp, match at -1": "pyotp_accepts(first)",
        },
        names=FLOOR_NAMES
        | {"memory": memory, "encoding": encoding, "pyotp_accepts": pyotp_accepts}
        | {"first": PYOTP.at(START - 30), "last": PYOTP.at(START + 30)},
        rounds=rounds,
    )
    ours = {MEMORY: series.pop(MEMORY), ENCODED: series.pop(ENCODED)}
    yield RatioTable(
        title="A code is accepted, MemoryStore, derived keys",
        section="verification",
        question=MEMORY,
        floor=ONE_HMAC,
        rows=ratio_rows(series | {"vmfa": ours[MEMORY]}, limits={"vmfa": Limits(22, 30)}),
        notes=["pyotp keeps no state. Its code is the last one of the window, or the first."],
    )
    only_floor = {FLOOR: series[FLOOR]}
    yield RatioTable(
        title="A code is accepted, the record is encoded, decoded and authenticated",
        section="verification",
        question=ENCODED,
        floor=ONE_HMAC,
        rows=ratio_rows(only_floor | {"vmfa": ours[ENCODED]}, limits={"vmfa": Limits(40, 54)}),
    )


class Refusals:
    """A user whose record is restored before each attempt."""

    def __init__(self) -> None:
        self.store = vmfa.MemoryStore()
        self.user = user_over(self.store)
        self.used_code, self.wrong_code = self.user.phone.code(), self.user.wrong_code()
        self.fresh = self.record()
        for _ in range(3):
            self.user.expect(vmfa.CodeRejected, self.wrong_code)
        self.throttled = self.record()

    def record(self) -> vmfa.Principal:
        return self.store.load(self.user.principal)

    def restore(self, record: vmfa.Principal) -> User:
        self.store._records[self.user.principal] = (record, ())
        return self.user

    def wrong(self) -> None:
        self.restore(self.fresh).expect(vmfa.CodeRejected, self.wrong_code)

    def used(self) -> None:
        self.restore(self.fresh).expect(vmfa.AlreadyUsed, self.used_code)

    def throttle(self) -> None:
        self.restore(self.throttled).expect(vmfa.Throttled, self.used_code)

    def malformed(self) -> None:
        self.restore(self.fresh).expect(vmfa.MalformedCode, "12345")


def refused(options: Options) -> Table:
    attempts = ("wrong", "used", "throttle", "malformed")
    series = time_statements(
        {
            FLOOR: FLOOR_STATEMENT,
            "wrong: counted and committed": "wrong()",
            "already used: evaluated, nothing written": "used()",
            "throttled: not evaluated": "throttle()",
            "malformed": "malformed()",
        },
        names=FLOOR_NAMES | {name: getattr(Refusals(), name) for name in attempts},
        rounds=options.rounds(61),
    )
    title = "A code is refused, MemoryStore, derived keys"
    return RatioTable(title=title, question=title, floor=ONE_HMAC, rows=ratio_rows(series))


def answer(options: Options) -> Iterator[Table]:
    yield from accepted(options)
    yield refused(options)


if __name__ == "__main__":
    main(answer, __file__)
