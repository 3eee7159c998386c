"""Move stored records from one master key to another, and count what depends on each.

The order of a rotation: the new key is *accepted* on every node, then *current*. Then every record
is resealed, until none is left under the old key. Then the old key becomes *derive-only*: it still
computes the keys of old devices, and records that it authenticates are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from .audit import Checkpoint
from .errors import RecordTampered, StoreTooNew, UnknownMasterKey
from .keysources.base import RecordAuthenticator
from .models import Principal, PrincipalId
from .record import authenticated, check_intact, record_message
from .registry import ATTEMPTS
from .stores.base import Store

PAGE = 1000
NOT_COVERED = "the checkpoint does not cover this record: it may be forged"
CHANGED_SINCE = (
    "this record was stored under the current master key after the checkpoint: a sign-in may have"
    " authenticated a forged record"
)
MISSING = "the checkpoint covers a record of this principal, and the database has none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResealResult:
    """The result for one principal.

    :param changed: whether its record was resealed.
    :param problem: why its record could not be resealed; empty if nothing is wrong.
    """

    principal: PrincipalId
    changed: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """What depends on each master key, by the id of the key.

    :param records: records that the key authenticates.
    :param derived_devices: devices, and open enrollments, whose keys are derived from the key. If
        it leaks together with the database, they must be enrolled again.
    :param sealed_devices: devices whose keys are encrypted under the key. :func:`vmfa.rekey.rekey`
        moves them.
    :param unreadable: principals whose records cannot be read.
    """

    records: Counter[str] = field(default_factory=Counter)
    derived_devices: Counter[str] = field(default_factory=Counter)
    sealed_devices: Counter[str] = field(default_factory=Counter)
    unreadable: tuple[PrincipalId, ...] = ()


def reseal(
    store: Store,
    account: str,
    *,
    keys: RecordAuthenticator,
    checkpoints: Iterable[Checkpoint] | None = None,
) -> Iterator[ResealResult]:
    """Authenticate every record of *account* again, under the current master key.

    A generator: each record is committed by compare-and-set before its result is yielded. You can
    interrupt it at any point and start it again. If a sign-in commits first, the record needs no
    more, because a sign-in authenticates it under the current key as well. No event is stored, and
    devices stay in use.

    :param store: the store with the records.
    :param account: the account.
    :param keys: ``registry.operations.keys``.
    :param checkpoints: after a leak of the old key, what was exported before the leak. A record
        that is not exactly the one in its checkpoint may be forged: it is listed and not resealed.
        Run the pass while no service uses the store.
    :returns: a result for each principal that has a record, and with *checkpoints* for each one
        whose record is missing.
    :raises StoreError: the store fails, or a stored row belongs to no principal.
    """
    current_id = _key_id(keys.tag("record", b""))
    covered: dict[PrincipalId, Checkpoint] | None = None
    if checkpoints is not None:
        covered = {
            checkpoint.principal: checkpoint
            for checkpoint in checkpoints
            if checkpoint.principal.account == account
        }
    missing = dict.fromkeys(covered or ())
    for principal in _principals(store, account):
        missing.pop(principal, None)
        try:
            yield _resealed(store, principal, keys, current_id, covered)
        except (RecordTampered, StoreTooNew, UnknownMasterKey) as error:
            yield ResealResult(principal=principal, problem=str(error))
    for principal in missing:
        yield ResealResult(principal=principal, problem=MISSING)


def _resealed(
    store: Store,
    principal: PrincipalId,
    keys: RecordAuthenticator,
    current_id: str,
    covered: dict[PrincipalId, Checkpoint] | None,
) -> ResealResult:
    for _ in range(ATTEMPTS):
        before = store.load(principal)
        check_intact(before, keys)
        envelope = before.envelope
        if envelope is None:  # forgotten meanwhile
            return ResealResult(principal=principal)
        current = _key_id(envelope.tag) == current_id  # RULE-RESEAL
        # RULE-LEAK
        if covered is not None and not _is_covered(before, covered.get(principal), keys):
            problem = CHANGED_SINCE if current else NOT_COVERED
            return ResealResult(principal=principal, problem=problem)
        if current:
            return ResealResult(principal=principal)
        after = authenticated(replace(before, revision=before.revision + 1), keys)
        if store.commit(before, after, ()):
            return ResealResult(principal=principal, changed=True)
    return ResealResult(
        principal=principal,
        problem="other processes kept changing this principal: run the pass again",
    )


def _is_covered(
    record: Principal, checkpoint: Checkpoint | None, keys: RecordAuthenticator
) -> bool:
    """Return whether *record* has the very content that *checkpoint* states, resealed or not.

    A tag commits to the whole record even if its key is known: it is an HMAC-SHA-256.
    """
    if checkpoint is None or record.envelope is None:
        return False
    original = replace(record, revision=checkpoint.revision)
    message = record_message(original, record.envelope.document)
    return keys.check("record", message, checkpoint.tag)


def key_usage(store: Store, account: str) -> KeyUsage:
    """Count the records and the devices of *account* by the master key that they depend on.

    The count does not check the tags of the stored rows.

    :param store: the store with the records.
    :param account: the account.
    :raises StoreError: the store fails, or a stored row belongs to no principal.
    """
    usage = KeyUsage()
    unreadable: list[PrincipalId] = []
    for principal in _principals(store, account):
        try:
            record = store.load(principal)
        except (RecordTampered, StoreTooNew):
            unreadable.append(principal)
            continue
        if record.envelope is not None:
            usage.records[_key_id(record.envelope.tag)] += 1
        if record.key_ref is not None:
            sealed = record.key_ref.scheme == "sealed"
            devices = usage.sealed_devices if sealed else usage.derived_devices
            devices[record.key_ref.key_id] += 1
    return replace(usage, unreadable=tuple(unreadable))


def _key_id(tag: str) -> str:
    return tag.partition(".")[0]


def _principals(store: Store, account: str) -> Iterator[PrincipalId]:
    page = store.principals(account, limit=PAGE)
    while page:
        yield from page
        page = store.principals(account, after=page[-1], limit=PAGE)
