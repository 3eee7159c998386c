"""What a type checker accepts, in ``face.py``, and what it must refuse: the snippets here, each with its error code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy comes with the dev extra")

ROOT = Path(__file__).parent.parent.parent
BEFORE = """
import datetime
import vmfa
from vmfa import Actor, DerivedKeys, DeviceRegistry, Key, KeySource, MemoryStore, MfaClaim, Parameters, Policy
from vmfa import Operations, Principal, PrincipalId, Receipt, Store, VirtualDevice

def snippet(
    registry: DeviceRegistry, operations: Operations, alice: PrincipalId, me: Actor, key: Key, raw: bytes, now: float
) -> None:
"""
REFUSED = {
    # codes
    "a code is no int": ("vmfa.verify_totp(key, 123456, now, after=-1)", "arg-type"),
    "a code is no bytes": ("vmfa.verify_totp(key, b'123456', now, after=-1)", "arg-type"),
    "a hotp code is no int": ("vmfa.verify_hotp(key, 755224, counter=0)", "arg-type"),
    "a key is no text": ("vmfa.totp('GEZDGNBVGY3TQOJQ', now)", "arg-type"),
    "a key made of text": ("Key('GEZDGNBVGY3TQOJQ')", "arg-type"),
    "Base32 is no bytes": ("Key.from_base32(b'GEZDGNBVGY3TQOJQ')", "arg-type"),
    "a time is no datetime": ("vmfa.totp(key, datetime.datetime.now())", "arg-type"),
    "a step of a datetime": ("vmfa.step_at(datetime.datetime.now())", "arg-type"),
    "a time is no text": ("vmfa.seconds_left('59')", "arg-type"),
    "after is not optional": ("vmfa.verify_totp(key, '123456', now)", "call-arg"),
    "after is not None": ("vmfa.verify_totp(key, '123456', now, after=None)", "arg-type"),
    "after is no position": ("vmfa.verify_totp(key, '123456', now, -1)", "misc call-arg"),
    "counter is not optional": ("vmfa.verify_hotp(key, '123456')", "call-arg"),
    "a counter is no float": ("vmfa.hotp(key, 1.0)", "arg-type"),
    "digits are no text": ("vmfa.hotp(key, 1, digits='6')", "arg-type"),
    "a misspelt option": ("vmfa.totp(key, now, interval=30)", "call-arg"),
    "a step is no code": ("code: str = vmfa.verify_totp(key, '123456', now, after=-1)", "assignment"),
    "a verdict is no bool": ("ok: bool = vmfa.verify_totp(key, '123456', now, after=-1)", "assignment"),
    "a name that is not public": ("print(vmfa.verfy_totp)", "attr-defined"),
    # the registry
    "nobody opens": ("registry.open_enrollment(alice, label='a')", "call-arg"),
    "nobody confirms": ("registry.confirm_enrollment(alice, session='s', code1='1', code2='2')", "call-arg"),
    "nobody resynchronises": ("registry.resync(alice, code1='1', code2='2')", "call-arg"),
    "nobody deactivates": ("registry.deactivate(alice)", "call-arg"),
    "nobody reads the device": ("registry.device(alice)", "call-arg"),
    "nobody reads the history": ("registry.history(alice)", "call-arg"),
    "nobody adopts": ("registry.adopt(alice, key=key, source='old')", "call-arg"),
    "nobody forgets": ("registry.forget(alice)", "call-arg"),
    "an actor is not None": ("registry.deactivate(alice, by=None)", "arg-type"),
    "an actor is no principal": ("registry.deactivate(alice, by=alice)", "arg-type"),
    "an actor is no position": ("registry.deactivate(alice, me)", "misc call-arg"),
    "a principal is no text": ("registry.verify('alice', '123456')", "arg-type"),
    "a verified code is no int": ("registry.verify(alice, 123456)", "arg-type"),
    "an adopted key is no bytes": ("registry.adopt(alice, by=me, key=raw, source='old')", "arg-type"),
    "a pair is told by name": ("registry.resync(alice, '1', '2', by=me)", "misc call-arg"),
    "a receipt is no device": ("device: VirtualDevice = registry.verify(alice, '123456')", "assignment"),
    "a receipt is no bool": ("ok: bool = registry.verify(alice, '123456')", "assignment"),
    "a report is no receipt": ("r: Receipt = registry.resync(alice, code1='1', code2='2', by=me)", "assignment"),
    "a device shows no key": ("registry.device(alice, by=me).key", "attr-defined"),
    "a receipt is no claim": ("Actor.signed_in(alice, mfa=registry.verify(alice, '123456'))", "arg-type"),
    "an answer of nothing": ("done: bool = registry.cancel_enrollment(alice, by=me)", "assignment func-returns-value"),
    "no keys": ("DeviceRegistry(MemoryStore(), issuer='Example')", "call-arg"),
    "a master key is no key source": ("DeviceRegistry(MemoryStore(), keys=raw, issuer='Example')", "arg-type"),
    "a path is no store": ("DeviceRegistry('mfa.db', keys=DerivedKeys(raw), issuer='Example')", "arg-type"),
    "a master key is no text": ("DerivedKeys('secret')", "arg-type"),
    # values
    "a misspelt policy": ("Policy(windows=1)", "call-arg"),
    "a policy by position": ("Policy(1)", "misc call-arg"),
    "a policy of another type": ("Policy(window='1')", "arg-type"),
    "offers are a tuple": ("Policy(offers=[Parameters()])", "arg-type"),
    "a policy is frozen": ("Policy().window = 2", "misc"),
    "a principal is frozen": ("alice.name = 'eve'", "misc"),
    "a claim by position": ("MfaClaim(5, 'n')", "misc call-arg"),
    "a key cannot be ordered": ("key < key", "operator"),
    "a key source without a tag": ("keys: KeySource = object()", "assignment"),
    "a store without a commit": ("store: Store = {}", "assignment"),
    # operations
    "an operation is no receipt": ("r: Receipt = operations.verify(alice, '123456')", "assignment"),
    "a decision is no receipt": (
        "r: Receipt = operations.verify(alice, '123456').decide(Principal(id=alice), now)", "assignment"
    ),
    "a decision needs a time": ("operations.verify(alice, '123456').decide(Principal(id=alice))", "call-arg"),
    "another operation's answer": (
        "r: Receipt = operations.open_enrollment(alice, by=me, label='a').decide(Principal(id=alice), now).settle()",
        "assignment",
    ),
}


def mypy(*files: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-pretty"]
    done = subprocess.run([*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The error codes that mypy finds in each snippet, and in the face."""
    folder = tmp_path_factory.mktemp("snippets")
    texts = {"accepted": "vmfa.totp(key, now)", **{name: text for name, (text, _) in REFUSED.items()}}
    names = {f"snippet_{number}": name for number, name in enumerate(texts)}
    for file, name in names.items():
        (folder / f"{file}.py").write_text(f"{BEFORE}    {texts[name]}\n", "utf-8")
    lines = mypy(ROOT / "tests" / "typing" / "face.py", *sorted(folder.iterdir())).splitlines()
    errors: dict[str, set[str]] = {"face": set(), **{name: set() for name in texts}}
    for line in lines:
        if error := re.fullmatch(r"(?:.*[/\\])?(\w+)\.py:\d+: error: .*\[([\w-]+)\]", line):
            errors[names.get(error[1], error[1])].add(error[2])
    return errors


def test_the_face_is_accepted(found: dict[str, set[str]]) -> None:
    assert found["face"] == set()


def test_a_sound_snippet_is_accepted(found: dict[str, set[str]]) -> None:
    assert found["accepted"] == set()


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(found: dict[str, set[str]], name: str) -> None:
    assert found[name]
    assert found[name] <= set(REFUSED[name][1].split())
