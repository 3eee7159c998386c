"""Mutants of ``access`` that the matrix hides, seen from outside: each guard by itself, though another is behind."""

from __future__ import annotations

import pytest

from vmfa import AccessDenied, Actor, InvalidType, InvalidValue, MfaClaim, Policy, Principal, PrincipalId, Role
from vmfa.access import Relationship, _claim_counts, check_permitted, relationship_to
from vmfa.lifecycle import Action

NOW = 1_700_000_010
ALICE, BOB, ROOT = PrincipalId.user("a", "alice"), PrincipalId.user("a", "bob"), PrincipalId.root("a")
STRANGER = PrincipalId.user("b", "alice")
CLAIM = MfaClaim(at=NOW, method="webauthn")


def stands(actor: Actor, target: PrincipalId) -> Relationship:
    own = Principal(id=actor.principal) if actor.principal else None
    return relationship_to(actor, target, own, NOW, Policy(), 30)


@pytest.mark.parametrize(("actor", "target", "expected"), [
    (Actor.trusted_service("importer"), ALICE, "trusted service"),
    (Actor.trusted_service("importer"), ROOT, "trusted service"),
    (Actor.support("case 7"), ROOT, "support"),
    (Actor.signed_in(ALICE), ALICE, "self, none"),
    (Actor.signed_in(ALICE, mfa=CLAIM), ALICE, "self, MFA"),
    (Actor.admin(ALICE, mfa=CLAIM), ALICE, "self, MFA"),
    (Actor.admin(ALICE), ALICE, "self, none"),
    (Actor.admin(ALICE, mfa=CLAIM), BOB, "admin of the account, MFA"),
    (Actor.admin(ALICE), BOB, "nobody"),
    (Actor.admin(ALICE, mfa=CLAIM), ROOT, "nobody"),
    (Actor.admin(STRANGER, mfa=CLAIM), ALICE, "nobody"),
    (Actor.signed_in(ALICE, mfa=CLAIM), BOB, "nobody"),
    (Actor.signed_in(ROOT, mfa=CLAIM), BOB, "root of the account, MFA"),
    (Actor.admin(ROOT, mfa=CLAIM), BOB, "root of the account, MFA"),
    (Actor.signed_in(ROOT), BOB, "nobody"),
    (Actor.signed_in(PrincipalId.root("b"), mfa=CLAIM), ROOT, "nobody"),
    (Actor.recovered_root("a", email_at=NOW, phone_at=NOW), ROOT, "recovered root"),
    (Actor.recovered_root("a", email_at=NOW, phone_at=NOW), ALICE, "nobody"),
    (Actor.recovered_root("b", email_at=NOW, phone_at=NOW), ROOT, "nobody"),
    (Actor.recovered_root("a", email_at=NOW - 901, phone_at=NOW), ROOT, "nobody"),
])
def test_the_column_of_the_matrix(actor, target, expected):
    assert stands(actor, target).value == expected


def test_recovery_needs_the_record_that_tells_which_proofs_were_used():
    actor = Actor.recovered_root("a", email_at=NOW, phone_at=NOW)
    assert relationship_to(actor, ROOT, None, NOW, Policy(), 30) is Relationship.UNRELATED


def test_a_claim_counts_or_does_not():
    assert _claim_counts(CLAIM, None, NOW, Policy(), 30) is True
    assert _claim_counts(None, None, NOW, Policy(), 30) is False
    assert _claim_counts(MfaClaim(at=NOW, serial="s"), None, NOW, Policy(), 30) is False
    assert _claim_counts(MfaClaim(at=NOW, serial="s"), Principal(id=ALICE), NOW, Policy(), 30) is False


def test_the_refusal_names_the_column_and_the_operation():
    with pytest.raises(AccessDenied) as caught:
        check_permitted(Action.READ_HISTORY, Relationship.SELF, ALICE)
    assert str(caught.value) == "self, none may not read history here"


def test_who_an_actor_says_it_is():
    assert str(Actor.recovered_root("a", email_at=1, phone_at=2)) == "recovered root a/root/"
    assert str(Actor.support("case 7")) == "support case 7"
    assert Actor.signed_in(ALICE).reference == ""


@pytest.mark.parametrize(("kind", "sentence", "fields"), [
    (InvalidType, "role is a Role", {"role": "support"}),
    (InvalidValue, "reference is empty", {"role": Role.SUPPORT}),
    (InvalidType, "principal is a NoneType", {"role": Role.SERVICE, "reference": "x", "principal": ALICE}),
    (InvalidType, "mfa is a NoneType", {"role": Role.SERVICE, "reference": "x", "mfa": CLAIM}),
    (InvalidType, "mfa is a NoneType", {
        "role": Role.RECOVERED_ROOT, "principal": ROOT, "mfa": CLAIM, "proofs": (NOW, NOW)}),
    (InvalidType, "mfa is a MfaClaim", {"role": Role.ADMIN, "principal": ALICE, "mfa": "yes"}),
    (InvalidValue, "a recovery has two proofs, and nothing else has any", {
        "role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": [NOW, NOW]}),
    (InvalidValue, "a recovery has two proofs, and nothing else has any", {
        "role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (NOW,)}),
    (InvalidValue, "a recovery has two proofs, and nothing else has any", {
        "role": Role.ADMIN, "principal": ALICE, "proofs": (NOW, NOW)}),
    (InvalidType, "proofs is an int", {"role": Role.RECOVERED_ROOT, "principal": ROOT, "proofs": (NOW, "now")}),
    (InvalidValue, "only root recovers itself", {
        "role": Role.RECOVERED_ROOT, "principal": ALICE, "proofs": (NOW, NOW)}),
])
def test_an_actor_that_cannot_be(kind, sentence, fields):
    with pytest.raises(kind) as caught:
        Actor(**fields)
    assert str(caught.value) == sentence


def test_an_actor_is_frozen_named_and_slotted():
    actor = Actor.signed_in(ALICE)
    with pytest.raises(AttributeError):
        actor.role = Role.SERVICE
    with pytest.raises(TypeError):
        Actor(Role.SIGNED_IN, ALICE)
    assert not hasattr(actor, "__dict__")
