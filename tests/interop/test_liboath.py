"""The file ``users.oath`` of the real liboath, which pam_oath uses."""

from __future__ import annotations

import ctypes
import ctypes.util
import time
from pathlib import Path

import pytest

from batches import ACCOUNT, OFFERS, statuses
from vmfa import (
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    Policy,
    PrincipalId,
    totp,
)
from vmfa.importers.base import Principals, adopt_all
from vmfa.importers.oath_toolkit import read
from vmfa.keysources.sealed import SealedKeys
from vmfa.testing import FrozenClock

LIBRARY = ctypes.util.find_library("oath")
KEYS = [Key(f"the key of user {number:04}".encode()) for number in range(200)]
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs the program oathtool")


class Users:
    """A file of users, and what liboath makes of a code."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._authenticate = ctypes.CDLL(LIBRARY).oath_authenticate_usersfile

    def accepts(self, user: str, code: str) -> bool:
        last = ctypes.c_long()
        return not self._authenticate(
            str(self.path).encode(), user.encode(), code.encode(), ctypes.c_size_t(20), None,
            ctypes.byref(last),
        )


def user(number: int) -> PrincipalId:
    return PrincipalId.user(ACCOUNT, f"u-{number}")


def test_users_who_signed_in_before_sign_in_after(tmp_path):
    users = Users(tmp_path / "users.oath")
    kinds = ["HOTP/T30", "HOTP/T30/6", "HOTP/T60/6", "HOTP"]
    users.path.write_text("".join(
        f"{kinds[number % 10 // 3]}\tu-{number}\t-\t{key_hex(number)}\n" for number in range(200)
    ))
    drifts = {number: number % 7 - 3 for number in range(0, 200, 3) if number % 10 != 9}
    used = {}
    for number, drift in drifts.items():
        period = 60 if number % 10 // 3 == 2 else 30
        code = totp(KEYS[number], time.time() + drift * period, period=period)
        assert users.accepts(f"u-{number}", code)
        assert not users.accepts(f"u-{number}", code)
        used[number] = (code, period)

    clock = FrozenClock(int(time.time()))
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(bytes(32)), imported_keys=SealedKeys(bytes(32)),
        issuer="Example", clock=clock, policy=Policy(offers=OFFERS),
    )
    principals = Principals(account=ACCOUNT)
    with users.path.open() as file:
        outcomes = list(adopt_all(
            registry, read(file), by=Actor.trusted_service("x"), principals=principals
        ))
    assert statuses(outcomes).count("adopted") == 180
    assert {o.reason[:4] for o in outcomes if not o.imported} == {"HOTP"}
    for number, (code, _) in used.items():
        with pytest.raises(CodeRejected):  # AlreadyUsed, unless the test took minutes
            registry.verify(user(number), code)
    clock.advance(300)  # after the throttling
    for number, (_, period) in used.items():
        fresh = totp(KEYS[number], clock() + drifts[number] * period, period=period)
        assert registry.verify(user(number), fresh)


def key_hex(number: int) -> str:
    return f"the key of user {number:04}".encode().hex()
