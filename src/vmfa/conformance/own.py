"""The adapter of vmfa itself: the kit audits the library, and the adapter is an example.

Each reset uses an account of its own, so the store of a test can be used again.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .. import errors
from ..access import Actor
from ..events import AuditEvent
from ..keysources.derived import DerivedKeys
from ..keysources.plain import UnsafePlainKeys
from ..keyuri import parse
from ..models import MfaClaim, Principal, PrincipalId
from ..policy import Parameters, Policy
from ..registry import DeviceRegistry
from ..stores.base import Store
from ..stores.memory import MemoryStore
from ..stores.sqlite import SQLiteStore
from .adapter import OK, Adapter, Answer, Result
from .codes import START, Device
from .runner import kit_version

__all__ = ["RegistryAdapter", "memory", "sqlite"]

MASTER: Final = b"vmfa conformance: a public master key for tests only"
RESULTS: Final[tuple[tuple[type[errors.VmfaError], Result], ...]] = (  # the first match counts
    (errors.AlreadyUsed, Result.USED),
    (errors.MalformedCode, Result.MALFORMED),
    (errors.Throttled, Result.THROTTLED),
    (errors.SignInClosed, Result.THROTTLED),
    (errors.DeviceDisabled, Result.LOCKED),
    (errors.CodeRejected, Result.REJECTED),
    (errors.NoDevice, Result.REJECTED),
    (errors.RecordTampered, Result.DENIED),
    (errors.StoreError, Result.FAILED),
    (errors.VmfaError, Result.DENIED),
)


class RegistryAdapter(Adapter):
    """Audit a :class:`vmfa.DeviceRegistry` on any store.

    :param open_store: a function that opens the store. It is called again for the second node and
        for a restart, if *lasting* says that another store object sees the same records.
    :param policy: the policy; the default one by default.
    :param lasting: whether the records survive a restart.
    :param read_rows: a function that returns what is stored, as text.
    """

    name = "vmfa"

    def __init__(
        self,
        open_store: Callable[[], Any],
        *,
        policy: Policy | None = None,
        lasting: bool = False,
        read_rows: Callable[[], str] | None = None,
    ) -> None:
        self.version = kit_version()
        supported = {
            "reset", "time", "parallel", "paths", "sessions", "provision", "algorithms", "digits",
            "parameters", "uri", "enroll", "two-codes", "expiry", "remove", "resync",
            "throttle-reported", "logs", "copy-row", "read-only",
        }
        if hasattr(time, "tzset"):
            supported.add("zone")
        if lasting:
            supported |= {"restart", "nodes"}
        if read_rows is not None:
            supported.add("rows")
        self.capabilities = frozenset(supported)
        self._open_store, self._read_rows = open_store, read_rows
        self._policy = policy or Policy()
        self._lasting = lasting
        self._zone = os.environ.get("TZ")
        self._number = 0
        self._now = START
        self._open_stores()
        self._events: list[AuditEvent] = []
        self._claims: dict[tuple[str, str], MfaClaim] = {}
        self._binding_codes: dict[str, str] = {}

    def _open_stores(self) -> None:
        self._store = _Switch(self._open_store())
        self._second = _Switch(self._open_store()) if self._lasting else self._store

    def _registry(
        self, store: Store | None = None, policy: Policy | None = None
    ) -> DeviceRegistry:
        return DeviceRegistry(
            store or self._store, keys=DerivedKeys(MASTER), imported_keys=UnsafePlainKeys(),
            issuer="Conformance", policy=policy or self._policy, clock=lambda: self._now,
            observer=self._events.append,
        )

    def _principal(self, user: str) -> PrincipalId:
        return PrincipalId.user(f"conformance-{os.getpid()}-{id(self)}-{self._number}", user)

    @staticmethod
    def _run(action: Callable[[], object]) -> Answer:
        try:
            value = action()
        except errors.VmfaError as error:
            result = next(result for kind, result in RESULTS if isinstance(error, kind))
            return Answer(result=result, text=f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001  # a bug of the library
            return Answer.failed(error)
        return Answer(result=Result.ACCEPTED, text=repr(value))

    def reset(self) -> Answer:
        """Use a new account, and the time zone that the process began with."""
        self._number += 1
        self._events.clear()
        self._claims.clear()
        self._binding_codes.clear()
        self._set_zone(self._zone)
        return OK

    def set_time(self, now: int) -> Answer:
        """Set the clock of the registry."""
        self._now = now
        return OK

    def set_zone(self, zone: str) -> Answer:
        """Set the time zone of this process."""
        self._set_zone(zone)
        return OK

    @staticmethod
    def _set_zone(zone: str | None) -> None:
        if os.environ.get("TZ") == zone:
            return
        if zone is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = zone
        time.tzset()

    def restart(self) -> Answer:
        """Close the store and open it again."""
        self._close_stores()
        self._open_stores()
        return OK

    def provision(self, user: str, secret: str, **parameters: Any) -> Answer:
        """Adopt a device that was never used."""

        def adopt() -> object:
            wanted = Parameters(**parameters)
            policy = self._policy.replace(offers=(Parameters(), wanted))
            key = parse(f"otpauth://totp/x?secret={secret}").key
            return self._registry(policy=policy).adopt(
                self._principal(user), by=Actor.trusted_service("conformance"), key=key,
                system="conformance", parameters=wanted, last_step=-1,
            )

        return self._run(adopt)

    def provision_uri(self, user: str, uri: str) -> Answer:
        """Adopt the device of a key URI."""
        answer = self._run(lambda: parse(uri))
        if answer.result is not Result.ACCEPTED:
            return answer
        secret = Device(key=_bytes_of(uri)).secret
        return self.provision(user, secret)

    def begin(self, user: str, session: str = "") -> Answer:
        """Open an enrollment as the owner without MFA, with the binding code of a removal."""
        opened: list[Any] = []
        principal = self._principal(user)
        answer = self._run(
            lambda: opened.append(
                self._registry().open_enrollment(
                    principal, by=Actor.signed_in(principal), label="test account",
                    binding_code=self._binding_codes.get(user),
                )
            )
        )
        if not opened:
            return answer
        return Answer(
            result=Result.ACCEPTED, secret=opened[0].base32, enrollment=opened[0].session_id
        )

    def confirm(
        self, user: str, enrollment: str, codes: Sequence[str], session: str = ""
    ) -> Answer:
        """Confirm it with two codes."""
        principal = self._principal(user)
        return self._run(
            lambda: self._registry().confirm_enrollment(
                principal, session=enrollment, code1=codes[0], code2=codes[1],
                by=Actor.signed_in(principal),
            )
        )

    def verify(
        self, user: str, code: object, session: str = "", node: str = "", path: str = ""
    ) -> Answer:
        """Verify a code. The second path runs the operation of a service with transactions."""

        def sign_in() -> object:
            registry = self._registry(self._second if node else self._store)
            principal = self._principal(user)
            text: Any = code
            if path:
                receipt = registry.run(registry.operations.verify(principal, text))
            else:
                receipt = registry.verify(principal, text, source=session)
            self._claims[user, session] = receipt.claim
            return receipt

        return self._run(sign_in)

    def session_counts(self, user: str, session: str) -> Answer:
        """Ask whether the claim of the session is valid."""
        registry = self._registry()
        claim = self._claims[user, session]
        return Answer.of(registry.claim_is_valid(self._principal(user), claim))

    def remove(self, user: str, proof: str, session: str = "") -> Answer:
        """Deactivate the device."""
        principal = self._principal(user)
        actors = {
            "support": Actor.support("conformance"),
            "password": Actor.signed_in(principal),
            "session": Actor.signed_in(principal, mfa=self._claims.get((user, session))),
            "administrator password": Actor.admin(self._principal("administrator")),
        }

        def deactivate() -> object:
            removed = self._registry().deactivate(principal, by=actors[proof])
            if removed.binding_code is not None:
                self._binding_codes[user] = removed.binding_code
            return removed

        return self._run(deactivate)

    def resync(self, user: str, codes: Sequence[str]) -> Answer:
        """Resynchronize as the owner without MFA."""
        principal = self._principal(user)
        return self._run(
            lambda: self._registry().resync(
                principal, code1=codes[0], code2=codes[1], by=Actor.signed_in(principal)
            )
        )

    def logs(self) -> Answer:
        """Return the events that the observer got."""
        return Answer(result=Result.ACCEPTED, text="\n".join(map(repr, self._events)))

    def rows(self) -> Answer:
        """Return what is stored."""
        assert self._read_rows is not None  # noqa: S101  # or the capability is not declared
        return Answer(result=Result.ACCEPTED, text=self._read_rows())

    def copy_row(self, source: str, user: str) -> Answer:
        """Store the record of another user under the name of *user*."""
        record = self._store.load(self._principal(source))
        target = self._principal(user)
        self._store.commit(self._store.load(target), replace(record, id=target), [])
        return OK

    def set_read_only(self, *, on: bool) -> Answer:
        """Let commits fail."""
        self._store.read_only = on
        return OK

    def close(self) -> None:
        """Close the stores, and restore the time zone."""
        self._close_stores()
        self._set_zone(self._zone)

    def _close_stores(self) -> None:
        for store in {self._store, self._second}:
            store.close()


class _Switch:
    """A store whose commits can be made to fail."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.volatile = getattr(store, "volatile", False)
        self.read_only = False

    def load(self, principal: PrincipalId) -> Principal:
        record: Principal = self._store.load(principal)
        return record

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        if self.read_only:
            raise errors.StoreUnavailable("the database cannot be written")
        done: bool = self._store.commit(before, after, events)
        return done

    def principals(self, account: str, **page: Any) -> Sequence[PrincipalId]:
        found: Sequence[PrincipalId] = self._store.principals(account, **page)
        return found

    def history(self, principal: PrincipalId, **page: Any) -> Sequence[AuditEvent]:
        found: Sequence[AuditEvent] = self._store.history(principal, **page)
        return found

    def close(self) -> None:
        """Close the store, if it can be closed."""
        close = getattr(self._store, "close", None)
        if close is not None:
            close()


def _bytes_of(uri: str) -> bytes:
    from ..keys import reveal

    return reveal(parse(uri).key)


def memory() -> RegistryAdapter:
    """Return an adapter of vmfa with the store in memory."""
    return RegistryAdapter(MemoryStore)


class SQLiteAdapter(RegistryAdapter):
    """vmfa on a temporary SQLite database, which is deleted at the end."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vmfa-conformance-")
        path = Path(self._folder.name) / "mfa.db"
        super().__init__(
            lambda: SQLiteStore(path), policy=policy, lasting=True,
            read_rows=lambda: "".join(
                file.read_bytes().decode("latin-1") for file in sorted(path.parent.glob("mfa.db*"))
            ),
        )

    def close(self) -> None:
        """Close and delete the database."""
        super().close()
        self._folder.cleanup()


def sqlite() -> RegistryAdapter:
    """Return an adapter of vmfa with a temporary SQLite database."""
    return SQLiteAdapter()
