"""Second factors that the first factor removed, and devices that outlived their removal,
elsewhere.
"""

from __future__ import annotations

import pytest

from support import Enrolled, enroll
from vmfa import (
    AccessDenied,
    Actor,
    DerivedKeys,
    DeviceAlreadyAssigned,
    DeviceRegistry,
    InvalidValue,
    NoDevice,
    NoSession,
    PrincipalId,
    VmfaError,
)
from vmfa.keys import reveal
from vmfa.models import KeyRef
from vmfa.testing import AuthenticatorApp, FrozenClock

ACCOUNT = "123456789012"
ADMIN = PrincipalId.user(ACCOUNT, "u-1")


def test_aws_2023_001_a_password_alone_cannot_remove_the_device(enrolled: Enrolled) -> None:
    """A sample policy let users manage "their own" device before MFA, so a thief with the password
    could remove it.

    Invariant: the permission matrix requires a second factor of an owner who deactivates or reads
    the history.
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
    registry.deactivate(victim, by=enrolled.actor_with_mfa())  # the owner with MFA is allowed


def test_an_administrators_stolen_password_removes_no_device(
    enrolled: Enrolled, registry: DeviceRegistry, clock: FrozenClock
) -> None:
    """A reviewed design: an administrator's password was enough to remove every device, the
    administrator's own included.

    Invariant: without MFA there are no administrator's permissions; administrators acting on
    themselves have the permissions of an owner.
    """
    admin = enroll(registry, clock, ADMIN)
    for actor in (Actor.admin(ADMIN), Actor.signed_in(ADMIN)):
        for victim in (enrolled.principal, ADMIN):
            with pytest.raises(AccessDenied):
                registry.deactivate(victim, by=actor)
    claim = admin.sign_in().claim
    with pytest.raises(AccessDenied):  # MFA does not make a user an administrator
        registry.deactivate(enrolled.principal, by=Actor.signed_in(ADMIN, mfa=claim))
    registry.deactivate(enrolled.principal, by=Actor.admin(ADMIN, mfa=claim))
    clock.advance(3601)
    with pytest.raises(AccessDenied):  # the claim is too old, on themselves too
        registry.deactivate(ADMIN, by=Actor.admin(ADMIN, mfa=claim))


def test_a_session_signed_in_with_the_stolen_phone_loses_its_claim(
    enrolled: Enrolled, registry: DeviceRegistry, clock: FrozenClock
) -> None:
    """A reviewed design: a session stayed "MFA" after its phone was removed, and could remove the
    new phone.

    Invariant: a claim contains the serial number and counts only while that serial is assigned.
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


def test_passlib_appwallet_a_stored_key_is_bound_to_its_owner(
    keys: DerivedKeys, enrolled: Enrolled
) -> None:
    """passlib's wallet encrypted without authentication: a flipped bit decrypted, and a blob was
    valid for any owner.

    Invariant: the key is derived from everything it is bound to; a change to any of it gives
    another key.
    """
    who, serial, parameters = (
        enrolled.principal,
        enrolled.device.serial,
        enrolled.device.parameters,
    )
    ref, key = keys.issue(who, serial, parameters)
    flipped = KeyRef(
        scheme=ref.scheme,
        key_id=ref.key_id,
        material=bytes([ref.material[0] ^ 1]) + ref.material[1:],
    )
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
    "other",
    [
        "U-4711",
        "u-4711 ",
        " u-4711",
        "u-4711\u200b",
        "u-4711\x00",
        "u-4711\n",
        "u\u22124711",
        "u-47\u00ad11",
    ],
)
def test_two_spellings_of_one_name_are_refused_or_are_two_principals(
    enrolled: Enrolled, other: str
) -> None:
    """Vault and Dovecot treated two spellings of a name as two users in one place and as one user
    in another.

    Invariant: stored ids have one normal form and are compared as bytes; no second spelling
    reaches the same device or throttle.
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


def test_two_spellings_nfd_is_refused_where_nfc_is_accepted() -> None:
    """The same letters, composed and decomposed, look alike and differ as bytes.

    Invariant: every identifying text is in NFC.
    """
    composed = PrincipalId.user(ACCOUNT, "Zo\u00eb")
    assert composed.name == "Zo\u00eb"
    for account, name in ((ACCOUNT, "Zoe\u0308"), ("Zoe\u0308", "x"), (ACCOUNT, "\u212b")):
        with pytest.raises(InvalidValue, match="normalization form C"):
            PrincipalId.user(account, name)


def test_a_session_of_another_principal_is_unknown(
    registry: DeviceRegistry, clock: FrozenClock, alice: PrincipalId, owner: Actor
) -> None:
    """SEED-BOUND: a session of one principal confirms no other principal's device.

    Invariant: a session is stored in its principal's record; for other principals its id is
    unknown.
    """
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    pair = AuthenticatorApp(clock).scan(opened.uri).pair()
    bob = PrincipalId.user(ACCOUNT, "u-0815")
    registry.open_enrollment(bob, by=Actor.signed_in(bob), label="bob")
    with pytest.raises(NoSession):
        registry.confirm_enrollment(
            bob, session=opened.session_id, by=Actor.signed_in(bob), **pair
        )
    with pytest.raises(VmfaError):
        registry.confirm_enrollment(
            alice, session=opened.session_id, by=Actor.signed_in(bob), **pair
        )
    assert (
        registry.confirm_enrollment(alice, session=opened.session_id, by=owner, **pair).steps_off
        == 0
    )
