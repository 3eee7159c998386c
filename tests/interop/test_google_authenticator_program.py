"""Import a file that google-authenticator wrote, with codes of oathtool."""

from __future__ import annotations

import pytest

from programs import oathtool_codes, output
from vmfa import Actor, AlreadyUsed, DerivedKeys, DeviceRegistry, Parameters
from vmfa.importers.base import Principals, Status, adopt_all
from vmfa.importers.google_authenticator import read
from vmfa.importers.reading import HOTP
from vmfa.keysources.sealed import SealedKeys

SERVICE = Actor.trusted_service("import")


@pytest.fixture
def registry(store, clock) -> DeviceRegistry:
    master = bytes(range(32))
    return DeviceRegistry(
        store,
        keys=DerivedKeys(master),
        imported_keys=SealedKeys(master),
        issuer="Example",
        clock=clock,
    )


def written(program: str, path, *options: str) -> str:
    output(
        program,
        "--force",
        "--quiet",
        "--no-confirm",
        f"--secret={path}",
        "--label=alice",
        "--issuer=Example",
        "--qr-mode=NONE",
        *options,
        given="\n",
    )
    return path.read_text()


def test_a_time_based_secret(google_authenticator, oathtool, registry, clock, alice, tmp_path):
    text = written(
        google_authenticator,
        tmp_path / "secret",
        "--time-based",
        "--disallow-reuse",
        "--rate-limit=3",
        "--rate-time=30",
        "--window-size=3",
        "--emergency-codes=4",
    )
    principals = Principals(account=alice.account)
    items = read(text, owner=alice.name)
    (outcome,) = adopt_all(registry, items, by=SERVICE, principals=principals)
    assert (outcome.status, outcome.principal) == (Status.ADOPTED, alice)
    assert outcome.notes == (
        "WINDOW_SIZE 3 is not imported: the policy decides",
        "RATE_LIMIT 3 30 is not imported: the policy decides",
        "4 scratch codes are not imported",
    )
    secret = text.split("\n", 1)[0]
    with pytest.raises(AlreadyUsed):
        registry.verify(alice, oathtool_codes(oathtool, secret, clock(), Parameters())[0])
    clock.advance(60)
    assert registry.verify(alice, oathtool_codes(oathtool, secret, clock(), Parameters())[0])


def test_a_counter_based_secret(google_authenticator, tmp_path):
    text = written(
        google_authenticator,
        tmp_path / "secret",
        "--counter-based",
        "--rate-limit=3",
        "--rate-time=30",
        "--window-size=3",
    )
    (item,) = read(text, owner="alice")
    assert item.reason == HOTP
