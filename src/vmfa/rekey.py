"""Encrypt the sealed keys of an account again under the current master key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .errors import RecordTampered, UnknownMasterKey
from .keysources.base import KeySource
from .keysources.sealed import SealedKeys
from .models import PrincipalId
from .record import authenticated, check_intact
from .registry import ATTEMPTS
from .stores.base import Store


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What the pass did with one principal. ``problem`` is empty, or says why its key stayed as it was."""

    principal: PrincipalId
    changed: bool
    problem: str = ""


def rekey(
    store: Store, account: str, *, keys: KeySource, sealed_keys: SealedKeys, after: PrincipalId | None = None
) -> Iterator[Rekeyed]:
    """Envelope every sealed key of *account* again, under the current master key of *sealed_keys*.

    A generator: each principal is committed, by compare-and-set, before it is given. Stop it
    anywhere and start it again, from the beginning or *after* the last one given. Devices stay in
    use meanwhile, and nothing of a record changes but the reference to its key.

    :param keys: the registry's ``operations.keys``, which authenticate the records.
    """
    page = store.principals(account, after=after)
    while page:
        for principal in page:
            yield _rekeyed(store, principal, keys, sealed_keys)
        page = store.principals(account, after=page[-1])


def _rekeyed(store: Store, principal: PrincipalId, keys: KeySource, sealed_keys: SealedKeys) -> Rekeyed:
    try:
        for _ in range(ATTEMPTS):
            before = store.load(principal)
            check_intact(before, keys)
            held, ref = before.device or before.enrollment, before.key_ref
            if held is None or ref is None or not sealed_keys.needs_rekey(ref):
                return Rekeyed(principal, changed=False)
            key = sealed_keys.reveal(ref, principal, held.serial, held.parameters)
            again = sealed_keys.adopt(principal, held.serial, held.parameters, key)
            after = replace(before, key_ref=again, revision=before.revision + 1)
            if store.commit(before, authenticated(after, keys), ()):
                return Rekeyed(principal, changed=True)
    except (RecordTampered, UnknownMasterKey) as error:
        return Rekeyed(principal, changed=False, problem=str(error))
    return Rekeyed(principal, changed=False, problem="others kept changing this principal")
