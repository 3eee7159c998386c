"""No printed value, pickle, log record, database file or error holds a key or a code.

The canaries are keys and codes created at run time. Errors are searched in full: text, arguments,
attributes, chain, and the locals of every library frame in the traceback, because error trackers
record all of these.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import secrets
import sqlite3
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import vmfa
from property.canaries import Canaries, disclosed_by, recorded
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    OpenedEnrollment,
    Parameters,
    Policy,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
    SyncReport,
    VmfaError,
    errors,
    keyuri,
)
from vmfa.errors import RandomnessFailed
from vmfa.keys import hkdf_extract, prepared_hmac, reveal
from vmfa.testing import Account, AuthenticatorApp, FrozenClock

ALICE = PrincipalId.user("123456789012", "u-4711")
ME = Actor.signed_in(ALICE)
SERVICE = Actor.trusted_service("importer")
EIGHT = Parameters(digits=8)
POLICY = Policy(offers=(EIGHT,), binding_code_required=True, recovery_codes=2)


def printed(value: object) -> Iterator[object]:
    """Yield every text that *value* has without asking for a secret by name."""
    yield from (repr(value), str(value), f"{value}", ascii(value), format(value))
    yield pprint.pformat(value)
    with suppress(TypeError, ValueError):
        yield json.dumps(value, default=str)


class CanaryPhone:
    """An authenticator app whose codes, and the codes next to them, are canaries."""

    def __init__(self, key: Key, account: Account, canaries: Canaries) -> None:
        self.key = key
        self._account = account
        self._canaries = canaries

    def code(self, steps_off: int = 0) -> str:
        codes = [self._account.code(steps_off + off) for off in (-1, 0, 1)]
        self._canaries.add_text("code", *codes)
        return codes[1]

    def pair(self, steps_off: int = 0) -> dict[str, str]:
        return {"code1": self.code(steps_off - 1), "code2": self.code(steps_off)}


class World:
    """A registry over a SQLite file, whose keys and codes occur nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.canaries = Canaries()
        self.clock = FrozenClock()
        self.master = secrets.token_bytes(32)
        self.raw = secrets.token_bytes(20)
        self.text = b32encode(self.raw).decode()
        self.canaries.add_bytes("master key", self.master)
        self.canaries.add_bytes("extracted master key", hkdf_extract(b"vmfa", self.master))
        self.canaries.add_bytes("key", self.raw)
        self.folder = folder
        self.events: list[object] = []
        self.others: list[World] = []
        self.store = SQLiteStore(folder / "mfa.db", unsafe_not_durable=True)  # tests make many
        self.registry = self.registry_over(self.store)

    def close(self) -> None:
        for world in (*self.others, self):
            world.store.close()

    def registry_over(self, store: Any, **more: Any) -> DeviceRegistry:
        usual = {
            "keys": DerivedKeys(self.master),
            "policy": POLICY,
            "clock": self.clock,
            "observer": self.events.append,
        }
        return DeviceRegistry(store, issuer="Example", **usual | more)

    def phone(self, opened: OpenedEnrollment) -> CanaryPhone:
        key = Key.from_base32(opened.base32)
        self.canaries.add_bytes("device key", reveal(key))
        account = AuthenticatorApp(self.clock).scan(opened.uri)
        return CanaryPhone(key, account, self.canaries)

    def code(self) -> str:
        """Return eight digits to type as a code."""
        code = f"{10**7 + secrets.randbelow(9 * 10**7)}"  # no leading zero, so int(code) shows it
        self.canaries.add_text("code", code)
        return code

    def short_key(self) -> str:
        """Return a key that is too short, in Base32."""
        raw = secrets.token_bytes(10)
        self.canaries.add_bytes("short key", raw)
        return b32encode(raw).decode()

    def open(self) -> tuple[OpenedEnrollment, CanaryPhone]:
        opened = self.registry.open_enrollment(ALICE, by=ME, label="alice@example.com")
        return opened, self.phone(opened)

    def assign(self, steps_off: int = 0) -> CanaryPhone:
        opened, phone = self.open()
        report = self.registry.confirm_enrollment(
            ALICE, session=opened.session_id, by=ME, **phone.pair(steps_off)
        )
        self.add_recovery_codes(report)
        return phone

    def add_recovery_codes(self, report: SyncReport) -> None:
        codes = report.recovery_codes
        assert codes is not None
        self.canaries.add_text("recovery code", *codes.codes)
        self.canaries.add_text("recovery code", *(code.replace("-", "") for code in codes.codes))

    def recovery_code(self) -> str:
        """Return text to type as a recovery code."""
        text = b32encode(secrets.token_bytes(15)).decode()
        self.canaries.add_text("recovery code", text)
        return text

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.clock.advance(POLICY.delay_cap)
            with suppress(VmfaError):
                self.registry.verify(ALICE, self.code())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


# Controls: the search finds what is planted


@pytest.mark.parametrize(
    "plant",
    [
        lambda raw: raw,
        lambda raw: b"x" + raw + b"y",
        lambda raw: raw.hex(),
        lambda raw: raw.hex().upper(),
        repr,
        list,
        lambda raw: b32encode(raw).decode(),
        lambda raw: b32encode(b"\1\2\3" + raw + b"\4").decode(),
        lambda raw: b64encode(raw).decode(),
        lambda raw: b64encode(b"\1" + raw + b"\2").decode(),
        lambda raw: urlsafe_b64encode(b"\1\2" + raw).decode(),
        lambda raw: {"a": [repr(raw)]},
        lambda raw: b32encode(raw).decode().lower(),
        lambda raw: pickle.dumps({"key": raw}),
    ],
)
@pytest.mark.parametrize("begin", [b"", b"'", b'"', b"\\", b"'\"", b"\\'\"\n\x00"])
def test_a_planted_key_is_found(plant, begin):
    canaries, raw = Canaries(), begin + secrets.token_bytes(20)
    canaries.add_bytes("key", raw)
    assert canaries.found_in(plant(raw)) == {"key"}
    assert not canaries.found_in(plant(secrets.token_bytes(20)))


def test_a_planted_local_is_found():
    canaries = Canaries()
    canaries.add_text("code", "17283940")
    space: dict[str, Any] = {"__name__": "vmfa.planted"}
    exec("def leak(code):\n    typed = {'it': [code]}\n    del code\n    raise ValueError", space)
    with pytest.raises(ValueError) as caught:
        space["leak"]("17283940")
    assert canaries.found_in(*disclosed_by(caught.value)) == {"code"}


def hidden(code: str) -> int:
    try:
        return int(code)
    except ValueError:
        raise KeyError from None


def test_a_planted_context_is_found():
    canaries = Canaries()
    canaries.add_text("code", "17283940")
    with pytest.raises(KeyError) as caught:
        hidden("1728 3940")
    assert canaries.found_in(*disclosed_by(caught.value)) == {"code"}


# Values


def values(world: World) -> dict[str, object]:
    """Return one of each value that the library returns, or that a caller might log."""
    opened, phone = world.open()
    enrolling = world.store.load(ALICE)
    operation = world.registry.operations.verify(ALICE, world.code())
    decision = world.registry.operations.open_enrollment(ALICE, by=ME, label="a").decide(
        enrolling, world.clock()
    )
    world.phone(decision.answer)
    report = world.registry.confirm_enrollment(
        ALICE, session=opened.session_id, by=ME, **phone.pair()
    )
    world.add_recovery_codes(report)
    world.clock.advance(30)
    receipt = world.registry.verify(ALICE, phone.code())
    assigned = world.store.load(ALICE)
    removed = world.registry.deactivate(ALICE, by=SERVICE)
    world.canaries.add_text("binding code", removed.binding_code)
    return {
        "key": phone.key,
        "short key": vmfa.UnsafeShortKey(world.raw),
        "key source": DerivedKeys(world.master),
        "opened": opened,
        "report": report,
        "recovery codes": report.recovery_codes,
        "receipt": receipt,
        "claim": receipt.claim,
        "deactivation": removed,
        "operation": operation,
        "decision": decision,
        "enrolling": enrolling,
        "assigned": assigned,
        "removed": world.store.load(ALICE),
        "device": assigned.device,
        "key reference": assigned.key_ref,
        "envelope": assigned.envelope,
        "registry": world.registry,
        "operations": world.registry.operations,
        "events": tuple(world.events),
        "history": world.registry.history(ALICE, by=SERVICE),
        "store": world.store,
        "key URI": keyuri.parse(opened.uri),
        "actor": Actor.signed_in(ALICE, mfa=receipt.claim),
        "policy": POLICY,
    }


def test_no_value_prints_a_secret(world):
    for name, value in values(world).items():
        assert not world.canaries.found_in(*printed(value)), name


def test_no_pickle_and_no_copy_holds_a_secret(world):
    for name, value in values(world).items():
        copies: list[object] = []
        for convert in (
            *(
                lambda value, protocol=protocol: pickle.dumps(value, protocol)
                for protocol in range(6)
            ),
            copy.copy,
            copy.deepcopy,
            lambda value: value.__reduce_ex__(4),
            lambda value: value.__getstate__(),
            vars,
            dataclasses.asdict,
            dataclasses.astuple,
        ):
            try:
                copies.append(convert(value))
            except Exception as refusal:  # noqa: BLE001  # any refusal is searched as well
                copies.extend(disclosed_by(refusal))
        texts = [text for copied in copies for text in recorded(copied)]
        assert not world.canaries.found_in(*texts), name


def test_the_nonce_of_a_key_reference_is_in_the_record_and_nowhere_else(world):
    world.assign()
    record = world.store.load(ALICE)
    world.canaries.add_bytes("nonce", record.key_ref.material)
    assert world.canaries.found_in(record.envelope.document) == {"nonce"}
    world.clock.advance(30)
    with suppress(VmfaError):
        world.registry.verify(ALICE, world.code())
    world.registry.deactivate(ALICE, by=SERVICE)
    history = world.registry.history(ALICE, by=SERVICE)
    assert len(history) >= 3
    documents = [event.document() for event in (*world.events, *history)]
    assert not world.canaries.found_in(*map(repr, world.events), *documents, repr(record))
    assert not world.canaries.found_in(world.store.load(ALICE).envelope.document)


# What is written


def test_nothing_logged_holds_a_secret(world):
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)

    def failing(event: object) -> None:
        raise RuntimeError("the observer is broken")

    try:
        world.registry = world.registry_over(world.store, observer=failing)
        for name, value in values(world).items():
            root.info("%s %s %r", name, value, value)
        for number, (name, act) in enumerate(ERRORS.items()):
            root.error(name, exc_info=raised(act, another(world, f"{number}")))
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    assert "the observer is broken" in text.getvalue()
    assert not world.canaries.found_in(text.getvalue())


def test_the_database_file_holds_no_secret(world):
    """RFC4226-7.5-STORE: keys are derived, so a stolen database discloses none."""
    phone = world.assign()
    world.fail(2)
    world.clock.advance(3600)
    world.registry.resync(ALICE, by=ME, **phone.pair())
    files = list(world.folder.iterdir())
    names = world.canaries.found_in(*(path.read_bytes() for path in files))
    removed = world.registry.deactivate(ALICE, by=SERVICE)
    world.canaries.add_text("binding code", removed.binding_code)
    opened = world.registry.open_enrollment(
        ALICE, by=ME, label="a", binding_code=removed.binding_code
    )
    world.phone(opened)
    world.store.close()
    names |= world.canaries.found_in(*(path.read_bytes() for path in world.folder.iterdir()))
    assert b"u-4711" in b"".join(path.read_bytes() for path in world.folder.iterdir())
    assert not names


# Errors: each entry raises one in a call that is given secrets


class BrokenStore(MemoryStore):
    """A store that loses its connection at the commit."""

    def commit(self, *given: object) -> bool:
        raise StoreUnavailable("the database cannot be used")


class ContendedStore(MemoryStore):
    def commit(self, *given: object) -> bool:
        return False


def with_device(action: Callable[[World, CanaryPhone], object]) -> Callable[[World], object]:
    return lambda world: action(world, world.assign())


OnAnother = Callable[[World, DeviceRegistry, CanaryPhone], object]


def over(kind: type[MemoryStore], action: OnAnother) -> Callable[[World], object]:
    """Run *action* on a registry whose store fails and holds the same record."""

    def run(world: World) -> object:
        phone = world.assign()
        store = kind()
        store._records[ALICE] = world.store.load(ALICE)
        world.clock.advance(30)
        return action(world, world.registry_over(store), phone)

    return run


def throttled(world: World, phone: CanaryPhone) -> object:
    world.fail(3)
    return world.registry.verify(ALICE, phone.code())


def disabled(world: World, phone: CanaryPhone) -> object:
    world.fail(100)
    return world.registry.verify(ALICE, phone.code())


def closed(world: World, phone: CanaryPhone) -> object:
    small = POLICY.replace(budget=1, budget_warning=0)
    opened = world.registry_over(world.store, policy=small)
    with suppress(VmfaError):
        opened.verify(ALICE, world.code())
    return opened.verify(ALICE, phone.code())


def without_randomness(size: int) -> bytes:
    raise RandomnessFailed("the random generator failed")


def confirmed_without_randomness(world: World) -> object:
    opened, phone = world.open()
    pair = phone.pair()
    world.registry.operations.random = without_randomness
    return world.registry.confirm_enrollment(ALICE, session=opened.session_id, by=ME, **pair)


def edited(change: str) -> Callable[[World], object]:
    def run(world: World) -> object:
        code = world.assign().code()
        world.store.close()
        with closing(sqlite3.connect(world.folder / "mfa.db")) as db:
            db.execute(f"UPDATE principal SET {change}")
            db.commit()
        return world.registry.verify(ALICE, code)

    return run


ERRORS: dict[str, Callable[[World], object]] = {
    # keys
    "short key": lambda w: Key(w.raw[:15]),
    "text for a key": lambda w: Key(w.text),
    "mutable key": lambda w: Key(bytearray(w.raw)),
    "not Base32": lambda w: Key.from_base32(w.text[:-1] + "1"),
    "short Base32": lambda w: Key.from_base32(w.short_key()),
    "Base32 of odd length": lambda w: Key.from_base32(w.text + "A"),
    "Base32 beyond ASCII": lambda w: Key.from_base32(w.text + "\u00e9"),
    "long Base32": lambda w: Key.from_base32(w.text * 60),
    "bytes for Base32": lambda w: Key.from_base32(w.raw),
    "hash of a key": lambda w: hash(Key(w.raw)),
    "changed key": lambda w: setattr(Key(w.raw), "_raw", w.raw),
    "compared key": lambda w: Key(w.raw) < Key(w.raw),
    "pickled key": lambda w: pickle.dumps(Key(w.raw)),
    "copied key": lambda w: copy.deepcopy([Key(w.raw)]),
    "key as dictionary key": lambda w: {Key(w.raw): 1},
    "unknown algorithm of a key": lambda w: prepared_hmac(Key(w.raw), "md5"),
    "key as JSON": lambda w: json.dumps(Key(w.raw)),
    "key as text": lambda w: Key(w.raw) + "",
    # codes
    "hotp of text": lambda w: vmfa.hotp(w.text, 0),
    "hotp of a short key": lambda w: vmfa.hotp(w.raw[:10], 0),
    "hotp of a bad counter": lambda w: vmfa.hotp(w.raw, -1),
    "hotp of bad digits": lambda w: vmfa.hotp(w.raw, 0, digits=5),
    "hotp without counter": lambda w: vmfa.hotp(w.raw),
    "totp of a datetime": lambda w: vmfa.totp(w.raw, "now"),
    "totp of text": lambda w: vmfa.totp(w.text, 0),
    "totp before T0": lambda w: vmfa.totp(w.raw, -1),
    "totp of a bad algorithm": lambda w: vmfa.totp(w.raw, 0, algorithm="md5"),
    "wrong code": lambda w: vmfa.verify_totp(w.raw, w.code(), 0, after=-1, digits=8),
    "code as int": lambda w: vmfa.verify_totp(w.raw, int(w.code()), 0, after=-1, digits=8),
    "code with a letter": lambda w: vmfa.verify_totp(w.raw, w.code() + "x", 0, after=-1, digits=8),
    "code in bytes": lambda w: vmfa.verify_totp(w.raw, w.code().encode(), 0, after=-1, digits=8),
    "used code": lambda w: vmfa.verify_totp(
        w.raw, vmfa.totp(w.raw, 0, digits=8), 0, after=0, digits=8
    ),
    "no after": lambda w: vmfa.verify_totp(w.raw, w.code(), 0, digits=8),
    "bad after": lambda w: vmfa.verify_totp(w.raw, w.code(), 0, after=None, digits=8),
    "bad window": lambda w: vmfa.verify_totp(w.raw, w.code(), 0, after=-1, window=999, digits=8),
    "verify with text": lambda w: vmfa.verify_totp(w.text, w.code(), 0, after=-1, digits=8),
    "wrong hotp": lambda w: vmfa.verify_hotp(w.raw, w.code(), counter=0, digits=8),
    "hotp with a letter": lambda w: vmfa.verify_hotp(w.raw, w.code() + "x", counter=0, digits=8),
    "hotp with text": lambda w: vmfa.verify_hotp(w.text, w.code(), counter=0, digits=8),
    # key sources and key URIs
    "short master key": lambda w: DerivedKeys(w.master[:31]),
    "text for a master key": lambda w: DerivedKeys(w.master.hex()),
    "short retired master key": lambda w: DerivedKeys(w.master, w.raw),
    "pickled key source": lambda w: pickle.dumps(DerivedKeys(w.master)),
    "adopt into derived": lambda w: DerivedKeys(w.master).adopt(ALICE, "n", EIGHT, Key(w.raw)),
    "unknown master key": lambda w: DerivedKeys(w.master).check(
        "p", b"", "0" * 16 + "." + "0" * 64
    ),
    "broken key URI": lambda w: keyuri.parse(f"otpauth://totp/E:a?secret={w.text}&digits=5"),
    "key URI with a broken secret": lambda w: keyuri.parse(f"otpauth://totp/E:a?secret={w.text}1"),
    "key URI with a broken escape": lambda w: keyuri.parse(
        f"otpauth://totp/E:a?secret={w.text}%ff"
    ),
    "key URI in bytes": lambda w: keyuri.parse(f"otpauth://totp/E:a?secret={w.text}".encode()),
    # verification
    "no device": lambda w: w.registry.verify(ALICE, w.code()),
    "no principal": lambda w: w.registry.verify("alice", w.code()),
    "wrong code of a device": with_device(lambda w, p: w.registry.verify(ALICE, w.code())),
    "malformed code": with_device(lambda w, p: w.registry.verify(ALICE, p.code() + "x")),
    "int code": with_device(lambda w, p: w.registry.verify(ALICE, int(w.code()))),
    "spent code": with_device(lambda w, p: w.registry.verify(ALICE, p.code())),
    "throttled": with_device(throttled),
    "disabled": with_device(disabled),
    "closed": with_device(closed),
    "out of sync": lambda w: w.registry.verify(ALICE, w.assign(-5).code()),
    "clock went back": with_device(
        lambda w, p: (w.clock.advance(-3600), w.registry.verify(ALICE, p.code(-120)))
    ),
    "no clock": lambda w: w.registry_over(MemoryStore(), clock=lambda: float("nan")).verify(
        ALICE, w.code()
    ),
    "revision edited": edited("revision = revision + 1"),
    "record edited": edited("state = replace(state, 'failures', 'faults')"),
    "record destroyed": edited("state = substr(state, 2)"),
    "record of a newer release": edited("state = replace(state, '[2,', '[3,')"),
    "record turned to bytes": edited("state = CAST(state || x'ff' AS BLOB)"),
    "tag edited": edited("tag = ''"),
    "another master key": with_device(
        lambda w, p: w.registry_over(w.store, keys=DerivedKeys(secrets.token_bytes(32))).verify(
            ALICE, p.code()
        )
    ),
    "commit fails, code right": over(BrokenStore, lambda w, r, p: r.verify(ALICE, p.code())),
    "commit fails, code wrong": over(BrokenStore, lambda w, r, p: r.verify(ALICE, w.code())),
    "contended": over(ContendedStore, lambda w, r, p: r.verify(ALICE, p.code())),
    # enrollment
    "open fails": lambda w: w.registry_over(BrokenStore()).open_enrollment(
        ALICE, by=ME, label="a"
    ),
    "open contended": lambda w: w.registry_over(ContendedStore()).open_enrollment(
        ALICE, by=ME, label="a"
    ),
    "opened without an actor": lambda w: w.registry.open_enrollment(
        ALICE, by=None, label="a", binding_code=w.code()
    ),
    "label that is not text": lambda w: w.registry.open_enrollment(
        ALICE, by=ME, label=None, binding_code=w.code()
    ),
    "already assigned": with_device(
        lambda w, p: w.registry.open_enrollment(ALICE, by=ME, label="a")
    ),
    "wrong binding code": with_device(
        lambda w, p: (
            w.registry.deactivate(ALICE, by=SERVICE),
            w.registry.open_enrollment(ALICE, by=ME, label="a", binding_code=w.code()),
        )
    ),
    "wrong pair": lambda w: w.registry.confirm_enrollment(
        ALICE, session=w.open()[0].session_id, code1=w.code(), code2=w.code(), by=ME
    ),
    "malformed pair": lambda w: w.registry.confirm_enrollment(
        ALICE, session=w.open()[0].session_id, code1=w.code(), code2=w.code() + "x", by=ME
    ),
    "no session": lambda w: w.registry.confirm_enrollment(
        ALICE, session="none", code1=w.code(), code2=w.code(), by=ME
    ),
    "confirmed without an actor": lambda w: w.registry.confirm_enrollment(
        ALICE, session="none", code1=w.code(), code2=w.code(), by=None
    ),
    "confirmed by another": lambda w: w.registry.confirm_enrollment(
        ALICE,
        session="none",
        code1=w.code(),
        code2=w.code(),
        by=Actor.signed_in(PrincipalId.user("1", "eve")),
    ),
    "confirmation fails": over(
        BrokenStore,
        lambda w, r, p: r.confirm_enrollment(
            ALICE, session="none", code1=w.code(), code2=w.code(), by=ME
        ),
    ),
    # resynchronization, removal, import
    "wrong resync": with_device(
        lambda w, p: w.registry.resync(ALICE, code1=w.code(), code2=w.code(), by=ME)
    ),
    "spent resync": with_device(lambda w, p: w.registry.resync(ALICE, by=ME, **p.pair())),
    "malformed resync": with_device(
        lambda w, p: w.registry.resync(ALICE, code1="x" + w.code(), code2="", by=ME)
    ),
    "resync fails": over(
        BrokenStore, lambda w, r, p: (w.clock.advance(30), r.resync(ALICE, by=ME, **p.pair()))
    ),
    "confirmed without randomness": confirmed_without_randomness,
    "deactivated without MFA": with_device(lambda w, p: w.registry.deactivate(ALICE, by=ME)),
    "wrong recovery code": with_device(
        lambda w, p: w.registry.deactivate(
            ALICE, by=Actor.with_recovery_code(ALICE, w.recovery_code())
        )
    ),
    "wrong place of a recovery code": with_device(
        lambda w, p: w.registry.history(
            ALICE, by=Actor.with_recovery_code(ALICE, w.recovery_code())
        )
    ),
    "deactivation fails": over(BrokenStore, lambda w, r, p: r.deactivate(ALICE, by=SERVICE)),
    "adopted by the owner": lambda w: w.registry.adopt(ALICE, by=ME, key=Key(w.raw), source="old"),
    "adopted into derived": lambda w: w.registry.adopt(
        ALICE, by=SERVICE, key=Key(w.raw), source="old", parameters=EIGHT
    ),
    "adopted raw": lambda w: w.registry.adopt(
        ALICE, by=SERVICE, key=w.raw, source="old", parameters=EIGHT
    ),
    "adopted text": lambda w: w.registry.adopt(
        ALICE, by=SERVICE, key=w.text, source="old", parameters=EIGHT
    ),
}


def another(world: World, name: str) -> World:
    """Return another installation, whose secrets are canaries too."""
    (world.folder / name).mkdir()
    other = World(world.folder / name)
    world.others.append(other)
    other.canaries = world.canaries
    other.canaries.add_bytes("key", other.raw)
    other.canaries.add_bytes("master key", other.master, hkdf_extract(b"vmfa", other.master))
    return other


def raised(act: Callable[[World], object], world: World) -> BaseException:
    with pytest.raises(Exception) as caught:
        act(world)
    return caught.value


@pytest.mark.parametrize("name", ERRORS)
def test_no_error_holds_a_secret(world, name):
    error = raised(ERRORS[name], world)
    assert not world.canaries.found_in(*disclosed_by(error))


def test_the_table_covers_every_error_class(world):
    kinds = {
        type(raised(act, another(world, f"{number}")))
        for number, act in enumerate(ERRORS.values())
    }
    without_secrets = {  # raised before a secret is passed, or only as a base class
        "MissingExtra", "OutcomeUnknown", "SchemaUntrusted", "StoreCorrupt", "StoreError",
        "StoreTooNew", "TooManySessions", "TooSoon", "VmfaError",
    }  # fmt: skip
    assert {
        name for name, kind in vars(errors).items() if isinstance(kind, type)
    } - without_secrets == {kind.__name__ for kind in kinds if kind.__module__ == "vmfa.errors"}
