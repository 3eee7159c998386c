"""Change the master key under which sealed keys are encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import RecordTampered, UnknownMasterKey
from .keysources.base import KeySource
from .models import PrincipalId
from .record import authenticated, check_intact
from .registry import ATTEMPTS
from .stores.base import Store

if TYPE_CHECKING:  # the module needs the extra sealing only where a caller has SealedKeys
    from .keysources.sealed import SealedKeys


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """The result for one principal.

    :param changed: whether its key was encrypted again.
    :param problem: why its key could not be encrypted again; empty if nothing is wrong.
    """

    principal: PrincipalId
    changed: bool
    problem: str = ""


def rekey(
    store: Store,
    account: str,
    *,
    keys: KeySource,
    sealed_keys: SealedKeys,
    after: PrincipalId | None = None,
) -> Iterator[Rekeyed]:
    """Encrypt every sealed key of *account* again, under the current master key.

    Each principal is committed before it is yielded. You can interrupt this at any point and start
    it again. Devices can be used meanwhile, and only the reference to the key changes.

    :param store: the store with the records.
    :param account: the account.
    :param keys: ``registry.operations.keys``, which authenticates the records.
    :param sealed_keys: ``SealedKeys(new, old)``, with the current master key first.
    :param after: start after this principal, which was the last one yielded.
    :returns: a result for each principal that has a record.
    """
    page = store.principals(account, after=after)
    while page:
        for principal in page:
            yield _rekeyed(store, principal, keys, sealed_keys)
        page = store.principals(account, after=page[-1])


def _rekeyed(
    store: Store, principal: PrincipalId, keys: KeySource, sealed_keys: SealedKeys
) -> Rekeyed:
    try:
        for _ in range(ATTEMPTS):
            before = store.load(principal)
            check_intact(before, keys)
            current, key_ref = before.device or before.enrollment, before.key_ref
            if current is None or key_ref is None or not sealed_keys.needs_rekey(key_ref):
                return Rekeyed(principal, changed=False)
            key = sealed_keys.reveal(key_ref, principal, current.serial, current.parameters)
            key_ref = sealed_keys.adopt(principal, current.serial, current.parameters, key)
            after = replace(before, key_ref=key_ref, revision=before.revision + 1)
            if store.commit(before, authenticated(after, keys), ()):
                return Rekeyed(principal, changed=True)
    except (RecordTampered, UnknownMasterKey) as error:
        return Rekeyed(principal, changed=False, problem=str(error))
    problem = "other processes kept changing this principal: run the pass again"
    return Rekeyed(principal, changed=False, problem=problem)
