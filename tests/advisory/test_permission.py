"""Second factors that the first one removed, and devices that outlived their removal, elsewhere."""

from __future__ import annotations

import pytest

from support import Enrolled, HandClock, Phone, enroll
from vmfa import (
    AccessDenied,
    Actor,
    DerivedKeys,
    DeviceAlreadyAssigned,
    DeviceRegistry,
    InvalidValue,
    Key,
    NoDevice,
    NoSession,
    PrincipalId,
    VmfaError,
)
from vmfa.keys import reveal
from vmfa.models import KeyRef

ACCOUNT = "123456789012"
ADMIN = PrincipalId.user(ACCOUNT, "u-1")


def test_aws_2023_001_a_password_alone_manages_no_device(enrolled: Enrolled) -> None:
    """A sample policy let everybody manage "their own" device before MFA: a thief with the password removed it.

    Invariant: the matrix; deactivation and history ask the owner for a second factor.
    """
    registry, victim = enrolled.registry, enrolled.principal
    thief = Actor.signed_in(victim)
    for use in (
        lambda: registry.deactivate(victim, by=thief),
        lambda: registry.history(victim, by=thief),
        lambda: registry.forget(victim, by=thief),
        lambda: registry.reanchor(victim, by=thief),
    ):
        with pytest.raises(AccessDenied):
            use()
    with pytest.raises(DeviceAlreadyAssigned):
        registry.open_enrollment(victim, by=thief, label="mine")
    registry.deactivate(victim, by=enrolled.actor_with_mfa())  # the owner may


def test_an_administrators_stolen_password_removes_nobodys_device(
    enrolled: Enrolled, registry: DeviceRegistry, clock: HandClock
) -> None:
    """A reviewed design: an administrator's password alone removed everybody's device, and his own.

    Invariant: without MFA he is nobody's administrator; on himself he is self, whatever else he is.
    """
    admin = enroll(registry, clock, ADMIN)
    for actor in (Actor.admin(ADMIN), Actor.signed_in(ADMIN)):
        for victim in (enrolled.principal, ADMIN):
            with pytest.raises(AccessDenied):
                registry.deactivate(victim, by=actor)
    claim = admin.sign_in().claim
    with pytest.raises(AccessDenied):  # a plain user with MFA is no administrator
        registry.deactivate(enrolled.principal, by=Actor.signed_in(ADMIN, mfa=claim))
    registry.deactivate(enrolled.principal, by=Actor.admin(ADMIN, mfa=claim))
    clock.advance(3601)
    with pytest.raises(AccessDenied):  # the claim has grown old, on himself too
        registry.deactivate(ADMIN, by=Actor.admin(ADMIN, mfa=claim))


def test_a_session_signed_in_with_the_stolen_phone_ends_with_the_phone(
    enrolled: Enrolled, registry: DeviceRegistry, clock: HandClock
) -> None:
    """A reviewed design: a session stayed "MFA" after its phone was removed, and then removed the new phone.

    Invariant: the claim names the serial, and counts only while that serial is assigned.
    """
    thief = enrolled.actor_with_mfa()
    registry.deactivate(enrolled.principal, by=Actor.support("stolen phone"))
    with pytest.raises(NoDevice):
        registry.device(enrolled.principal, by=thief)
    clock.advance(60)
    enroll(registry, clock, enrolled.principal)
    for use in (registry.deactivate, registry.history):
        with pytest.raises(AccessDenied):
            use(enrolled.principal, by=thief)
    assert registry.device(enrolled.principal, by=enrolled.actor)


def test_passlib_appwallet_a_stored_key_is_bound_to_its_owner(keys: DerivedKeys, enrolled: Enrolled) -> None:
    """passlib's wallet enciphered without authenticating: a flipped bit deciphered, and a blob fitted any owner.

    Invariant: the key derives from everything it belongs to; a change of any of it gives another key.
    """
    who, serial, parameters = enrolled.principal, enrolled.device.serial, enrolled.device.parameters
    ref, key = keys.issue(who, serial, parameters)
    flipped = KeyRef(scheme=ref.scheme, key_id=ref.key_id, material=bytes([ref.material[0] ^ 1]) + ref.material[1:])
    others = [
        keys.reveal(flipped, who, serial, parameters),
        keys.reveal(ref, PrincipalId.user(who.account, "u-0815"), serial, parameters),
        keys.reveal(ref, PrincipalId.user("210987654321", who.name), serial, parameters),
        keys.reveal(ref, PrincipalId.root(who.account), serial, parameters),
        keys.reveal(ref, who, serial[:-1] + "x", parameters),
    ]
    shown = {reveal(other) for other in (key, *others)}
    assert len(shown) == 6
    assert reveal(keys.reveal(ref, who, serial, parameters)) == reveal(key)


@pytest.mark.parametrize(
    "other", ["U-4711", "u-4711 ", " u-4711", "u-4711\u200b", "u-4711\x00", "u-4711\n", "u\u22124711", "u-47\u00ad11"]
)
def test_two_spellings_of_one_name_are_refused_or_another_principal(enrolled: Enrolled, other: str) -> None:
    """Vault and Dovecot took two spellings of a name for two users on one side and for one on the other.

    Invariant: stored ids in one normal form, compared as bytes; never a second way to the same device or throttle.
    """
    try:
        who = PrincipalId.user(ACCOUNT, other)
    except InvalidValue:
        return
    assert who != enrolled.principal
    assert not enrolled.registry.requires_code(who)
    enrolled.clock.advance(30)
    with pytest.raises(NoDevice):
        enrolled.registry.verify(who, enrolled.phone.code())


def test_two_spellings_nfc_and_nfd_are_one_name_and_one_of_them_is_refused() -> None:
    """The same letters composed and decomposed look alike and differ as bytes.

    Invariant: NFC only, in every text that identifies.
    """
    composed = PrincipalId.user(ACCOUNT, "Zo\u00eb")
    assert composed.name == "Zo\u00eb"
    for account, name in ((ACCOUNT, "Zoe\u0308"), ("Zoe\u0308", "x"), (ACCOUNT, "\u212b")):
        with pytest.raises(InvalidValue, match="normalization form C"):
            PrincipalId.user(account, name)


def test_a_foreign_enrollment_session_does_not_exist(
    registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, owner: Actor
) -> None:
    """SEED-BOUND: a session of one principal confirms nobody else's device.

    Invariant: the session lives in its principal's record; elsewhere its id is unknown.
    """
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    pair = Phone(Key.from_base32(opened.base32), clock).pair()
    bob = PrincipalId.user(ACCOUNT, "u-0815")
    registry.open_enrollment(bob, by=Actor.signed_in(bob), label="bob")
    with pytest.raises(NoSession):
        registry.confirm_enrollment(bob, session=opened.session_id, by=Actor.signed_in(bob), **pair)
    with pytest.raises(VmfaError):
        registry.confirm_enrollment(alice, session=opened.session_id, by=Actor.signed_in(bob), **pair)
    assert registry.confirm_enrollment(alice, session=opened.session_id, by=owner, **pair).steps_off == 0
