"""Metrics and spans through OpenTelemetry's API (extra ``otel``).

::

    store = InstrumentedStore(SQLiteStore("mfa.db"))
    registry = instrument(
        DeviceRegistry(store, keys=keys, issuer="Example", observer=EventCounter())
    )

Nothing that is recorded contains a key, a code or a token. Names of principals are recorded only
on spans, and only if you ask for it. The API alone records nothing: your service configures the
SDK.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Final, TypeVar

from .. import aio
from ..errors import (
    ClockWentBack,
    MissingExtra,
    RandomnessFailed,
    StoreError,
    UnknownMasterKey,
    VmfaError,
)
from ..events import AuditEvent, EventType
from ..models import Principal, PrincipalId
from ..operations import Operation
from ..registry import DeviceRegistry, Observer
from ..stores.base import Store
from ..stores.threads import AsyncStore

try:
    from opentelemetry import metrics, trace
except ImportError:
    raise MissingExtra("metrics need the extra otel: pip install 'vmfa[otel]'") from None

__all__ = [
    "EventCounter", "InstrumentedAsyncStore", "InstrumentedStore", "instrument", "watch_health",
]

R = TypeVar("R", DeviceRegistry, aio.DeviceRegistry)

SCOPE: Final = "vmfa"
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SYSTEMS: Final = {  # db.system.name, as OpenTelemetry spells it
    "SQLiteStore": "sqlite", "PostgresStore": "postgresql", "AsyncPostgresStore": "postgresql",
}
SUCCESS, REFUSED, FAILED = "success", "refused", "failed"  # vmfa.outcome
FAILURES: Final = (  # the operator has to act
    StoreError, ClockWentBack, RandomnessFailed, UnknownMasterKey,
)
REASONS: Final = frozenset({EventType.REFUSED, EventType.REJECTED})  # whose reason is a constant
Attributes = dict[str, str]


class Instruments:
    """The instruments of one meter provider and the tracer of one tracer provider."""

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None,
        tracer_provider: trace.TracerProvider | None,
    ) -> None:
        meter = (meter_provider or metrics.get_meter_provider()).get_meter(SCOPE)
        self.tracer = (tracer_provider or trace.get_tracer_provider()).get_tracer(SCOPE)
        self.operations = meter.create_histogram(
            "vmfa.operation.duration", unit="s",
            description="Duration of an operation of the registry, with every attempt.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self.calls = meter.create_histogram(
            "vmfa.store.call.duration", unit="s",
            description="Duration of a call of the store.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self.lost_rounds = meter.create_counter(
            "vmfa.store.lost_rounds", unit="{round}",
            description="Commits that another caller preceded, so that the operation is repeated.",
        )
        self.retries = meter.create_counter(
            "vmfa.store.retries", unit="{retry}",
            description="Attempts of a store that were repeated because the database was busy.",
        )
        self.connection_waits = meter.create_histogram(
            "db.client.connection.wait_time", unit="s",
            description="Time to get a connection from the pool.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    @contextmanager
    def measured(
        self, histogram: metrics.Histogram, attributes: Attributes, span: trace.Span | None = None
    ) -> Iterator[None]:
        """Record the duration and the outcome of the block, and end *span*.

        Exceptions are recorded by their class alone.
        """
        started = time.monotonic()
        outcome, error_type = SUCCESS, {}
        try:
            if span is None:
                yield
            else:
                with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                    yield
        except BaseException as error:
            refused = isinstance(error, VmfaError) and not isinstance(error, FAILURES)
            outcome = REFUSED if refused else FAILED
            error_type = {"error.type": type(error).__qualname__}
            raise
        finally:
            result = {**attributes, "vmfa.outcome": outcome, **error_type}
            histogram.record(time.monotonic() - started, result)
            if span is not None:
                span.set_attributes(result)
                if outcome == FAILED:
                    span.set_status(trace.StatusCode.ERROR)
                span.end()


@cache
def instruments_of(
    meter_provider: metrics.MeterProvider | None, tracer_provider: trace.TracerProvider | None
) -> Instruments:
    """Return the instruments of these providers, which are created once."""
    return Instruments(meter_provider, tracer_provider)


class _Calls:
    """What the two instrumented stores share."""

    def __init__(
        self,
        store: Any,
        *,
        system: str | None = None,
        spans: bool = False,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        self._store = store
        self._instruments = instruments_of(meter_provider, tracer_provider)
        self._spans = spans
        self._system = system or SYSTEMS.get(type(store).__name__, "other_sql")
        if hasattr(store, "on_wait"):
            store.on_wait = self._waited

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)  # volatile, health, create_schema, close and the like

    def _call(self, method: str) -> AbstractContextManager[None]:
        instruments, span = self._instruments, None
        if self._spans:
            span = instruments.tracer.start_span(
                f"{method} {self._system}", kind=trace.SpanKind.CLIENT
            )
        attributes = {"vmfa.store.method": method, "db.system.name": self._system}
        return instruments.measured(instruments.calls, attributes, span)

    def _count(self, committed: bool) -> bool:
        if not committed:
            self._instruments.lost_rounds.add(1, {"db.system.name": self._system})
        return committed

    def _waited(self, kind: str, seconds: float) -> None:
        if kind == "retry":
            self._instruments.retries.add(1, {"db.system.name": self._system})
        else:
            attributes = {
                "db.client.connection.pool.name": SCOPE, "db.system.name": self._system,
            }
            self._instruments.connection_waits.record(seconds, attributes)


class InstrumentedStore(_Calls):
    """A store that measures every call of another one, and is used in its place.

    It also counts the retries and the waits for a connection of vmfa's own stores.

    :param store: the store to measure.
    :param system: ``db.system.name`` of a store that is not one of vmfa's.
    :param spans: whether each call has a span.
    :param meter_provider: None for the global one.
    :param tracer_provider: None for the global one.
    """

    _store: Store

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*."""
        with self._call("load"):
            return self._store.load(principal)

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction."""
        with self._call("commit"):
            return self._count(self._store.commit(before, after, events))

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        with self._call("principals"):
            return self._store.principals(account, after=after, limit=limit)

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        with self._call("history"):
            return self._store.history(principal, after=after, limit=limit)


class InstrumentedAsyncStore(_Calls):
    """:class:`InstrumentedStore` for asyncio, with the same parameters."""

    _store: AsyncStore

    async def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*."""
        with self._call("load"):
            return await self._store.load(principal)

    async def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction."""
        with self._call("commit"):
            return self._count(await self._store.commit(before, after, events))

    async def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        with self._call("principals"):
            return await self._store.principals(account, after=after, limit=limit)

    async def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        with self._call("history"):
            return await self._store.history(principal, after=after, limit=limit)


def instrument(
    registry: R,
    *,
    spans: bool = False,
    principal_names: bool = False,
    meter_provider: metrics.MeterProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
) -> R:
    """Measure every operation of *registry*, blocking or asynchronous, and return it.

    :param spans: whether each operation has a span.
    :param principal_names: whether spans have the attribute ``enduser.id``: the stored
        identifiers of the principal. Metrics never have it.
    :param meter_provider: None for the global one.
    :param tracer_provider: None for the global one.
    """
    instruments = instruments_of(meter_provider, tracer_provider)

    def measured(operation: Operation[Any]) -> AbstractContextManager[None]:
        action = operation.action.value.replace(" ", "_").replace("-", "_")
        span = None
        if spans:
            names = {"enduser.id": str(operation.principal)} if principal_names else None
            span = instruments.tracer.start_span(f"vmfa {action}", attributes=names)
        return instruments.measured(instruments.operations, {"vmfa.operation": action}, span)

    wrapped: Any = registry
    run = wrapped.run

    def run_blocking(operation: Operation[Any]) -> Any:
        with measured(operation):
            return run(operation)

    async def run_async(operation: Operation[Any]) -> Any:
        with measured(operation):
            return await run(operation)

    wrapped.run = run_async if isinstance(registry, aio.DeviceRegistry) else run_blocking
    return registry


class EventCounter:
    """An observer that counts events by type, outcome and role of the actor.

    :param then: another observer, which is called afterwards.
    :param meter_provider: None for the global one.
    """

    def __init__(
        self,
        then: Observer | None = None,
        *,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        meter = (meter_provider or metrics.get_meter_provider()).get_meter(SCOPE)
        self._counter = meter.create_counter(
            "vmfa.events", unit="{event}", description="Events, as the observer gets them."
        )
        self._then = then

    def __call__(self, event: AuditEvent) -> None:
        """Count *event*."""
        attributes = {
            "vmfa.event.type": event.type.value,
            "vmfa.event.outcome": event.outcome.value,
            "vmfa.actor.role": event.actor.role,
        }
        if event.type in REASONS:
            attributes["vmfa.event.reason"] = event.reason
        self._counter.add(1, attributes)
        if self._then is not None:
            self._then(event)


def watch_health(
    health: Callable[[], Sequence[VmfaError]],
    *,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Report what ``store.health()`` returns each time that metrics are collected.

    The gauge ``vmfa.store.problems`` is 0 if the store works.

    :param health: ``store.health`` of a blocking store.
    :param meter_provider: None for the global one.
    """

    def observe(_options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        problems = [type(problem).__qualname__ for problem in health()]
        if not problems:
            yield metrics.Observation(0)
        for name in dict.fromkeys(problems):
            yield metrics.Observation(problems.count(name), {"error.type": name})

    meter = (meter_provider or metrics.get_meter_provider()).get_meter(SCOPE)
    meter.create_observable_gauge(
        "vmfa.store.problems", [observe], unit="{problem}",
        description="Problems that health() of the store reports.",
    )
