"""Eight processes guess at one principal on PostgreSQL while the owner signs in with a token."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Event

import pytest

from postgres_server import (
    database,  # noqa: F401
    server,  # noqa: F401  # fixtures
)
from support import MASTER
from vmfa import (
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    Parameters,
    Policy,
    PrincipalId,
    StoreError,
)
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import AuthenticatorApp

pytestmark = pytest.mark.slow

ALICE = PrincipalId.user("main", "alice")
POLICY = Policy(known_clients=True, offers=(Parameters(period=1),))
ATTACKERS = 8
SIGN_INS = 20


def registry_over(store: PostgresStore) -> DeviceRegistry:
    return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", policy=POLICY)


def guess(conninfo: str, stop: Event, evaluated: multiprocessing.SimpleQueue[int]) -> None:
    """Guess without a token until *stop* is set; report how many guesses were refused."""
    refused = 0
    with PostgresStore(conninfo) as store:
        registry = registry_over(store)
        while not stop.is_set():
            try:
                registry.verify(ALICE, f"{refused % 1_000_000:06}")
            except CodeRejected:
                refused += 1
            except StoreError:
                continue
    evaluated.put(refused)


def test_an_owner_with_a_token_is_never_delayed_or_refused(database: str) -> None:  # noqa: F811
    with PostgresStore(database) as store:
        store.create_schema()
        check_owner_under_attack(registry_over(store), database)


def check_owner_under_attack(registry: DeviceRegistry, database: str) -> None:  # noqa: F811
    opened = registry.open_enrollment(ALICE, by=Actor.signed_in(ALICE), label="alice")
    phone = AuthenticatorApp(time.time).scan(opened.uri)
    code1, code2 = phone.two_codes()
    registry.confirm_enrollment(
        ALICE, session=opened.session_id, code1=code1, code2=code2, by=Actor.signed_in(ALICE)
    )
    time.sleep(1.1)
    token = registry.verify(ALICE, phone.code()).client_token
    context = multiprocessing.get_context("spawn")
    stop, refused = context.Event(), context.SimpleQueue()
    attackers = [
        context.Process(target=guess, args=(database, stop, refused)) for _ in range(ATTACKERS)
    ]
    for attacker in attackers:
        attacker.start()
    try:
        for _ in range(SIGN_INS):
            time.sleep(1.1)
            token = registry.verify(ALICE, phone.code(), client=token).client_token
    finally:
        stop.set()
        counts = [refused.get() for _ in attackers]
        for attacker in attackers:
            attacker.join()
    assert all(counts)
    device = registry.device(ALICE, by=Actor.trusted_service("test"))
    assert device.failures > 0  # some guesses were evaluated, the others were throttled
    assert device.known_failures == 0
