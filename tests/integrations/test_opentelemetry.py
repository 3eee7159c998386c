"""Metrics and spans, as the in-memory exporters of OpenTelemetry's SDK see them."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from support import MASTER, enroll, phone_with
from vmfa import (
    Actor,
    AlreadyUsed,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    Key,
    MemoryStore,
    NoDevice,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
    aio,
)
from vmfa.errors import ClockWentBack, MissingExtra, RandomnessFailed
from vmfa.integrations.opentelemetry import (
    EventCounter,
    InstrumentedAsyncStore,
    InstrumentedStore,
    instrument,
    watch_health,
)
from vmfa.keysources.sealed import SealedKeys
from vmfa.testing import FrozenClock

ALICE = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("tests")
Points = dict[tuple[tuple[str, Any], ...], Any]


class Telemetry:
    """Providers of one test, and what they have recorded."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def meters(self) -> dict[str, Any]:
        return {"meter_provider": self.meter_provider}

    @property
    def providers(self) -> dict[str, Any]:
        return {**self.meters, "tracer_provider": self.tracer_provider}

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> Points:
        """The value of a counter or gauge, or the count of a histogram, by attributes."""
        metric = self.metrics().get(name)
        if metric is None:
            return {}
        return {
            tuple(sorted(point.attributes.items())): getattr(point, "value", None)
            if hasattr(point, "value")
            else point.count
            for point in metric.data.data_points
        }

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.meter_provider.shutdown()
    telemetry.tracer_provider.shutdown()


def attributes(**names: str) -> tuple[tuple[str, str], ...]:
    """Attributes, with underscores twice for dots."""
    return tuple(sorted((name.replace("__", "."), value) for name, value in names.items()))


def operation(name: str, outcome: str = "success", error: str = "") -> tuple[Any, ...]:
    error_type = {"error__type": error} if error else {}
    return attributes(vmfa__operation=name, vmfa__outcome=outcome, **error_type)


def registry_on(
    store: Any, clock: FrozenClock, telemetry: Telemetry, **options: Any
) -> DeviceRegistry:
    registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
    return instrument(registry, **telemetry.providers, **options)


# Operations


def test_operations_are_measured_by_name_and_outcome(
    telemetry: Telemetry, clock: FrozenClock
) -> None:
    registry = registry_on(MemoryStore(), clock, telemetry)
    alice = enroll(registry, clock, ALICE)
    alice.sign_in()
    for error, code in ((AlreadyUsed, alice.phone.code()), (CodeRejected, "000000")):
        with pytest.raises(error):
            registry.verify(ALICE, code)
    registry.device(ALICE, by=SERVICE)
    registry.mark_spent(ALICE, by=SERVICE, until=int(clock()))
    assert telemetry.points("vmfa.operation.duration") == {
        operation("open"): 1,
        operation("confirm"): 1,
        operation("verify"): 1,
        operation("verify", "refused", "AlreadyUsed"): 1,
        operation("verify", "refused", "CodeRejected"): 1,
        operation("read_device"): 1,
        operation("mark_spent"): 1,
    }
    assert telemetry.metrics()["vmfa.operation.duration"].unit == "s"
    assert not telemetry.spans()


def test_failures_of_the_environment_are_not_refusals(
    telemetry: Telemetry, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    registry = registry_on(store, clock, telemetry)
    alice = enroll(registry, clock, ALICE)
    clock.advance(-1000)
    with pytest.raises(ClockWentBack):
        registry.verify(ALICE, alice.phone.code())

    def fail(*_: object) -> None:
        raise StoreUnavailable("gone")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def no_entropy(size: int) -> bytes:
        raise RandomnessFailed("no entropy")

    monkeypatch.setattr(registry.operations, "random", no_entropy)
    with pytest.raises(RandomnessFailed):
        registry.deactivate(ALICE, by=SERVICE)
    monkeypatch.setattr(store, "load", fail)
    with pytest.raises(StoreUnavailable):
        registry.verify(ALICE, "123456")
    monkeypatch.setattr(store, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        registry.verify(ALICE, "123456")
    points = telemetry.points("vmfa.operation.duration")
    for error in ("ClockWentBack", "StoreUnavailable", "KeyboardInterrupt"):
        assert points[operation("verify", "failed", error)] == 1
    assert points[operation("deactivate", "failed", "RandomnessFailed")] == 1


def test_a_refused_operation_keeps_no_code_in_its_frames(
    telemetry: Telemetry, clock: FrozenClock
) -> None:
    registry = registry_on(MemoryStore(), clock, telemetry, spans=True)
    with pytest.raises(NoDevice) as caught:
        registry.verify(ALICE, "867530")
    trace = caught.value.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            assert "867530" not in repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


def test_the_global_providers_are_the_default(clock: FrozenClock) -> None:
    """Without an SDK they record nothing, and everything works."""
    registry = instrument(
        DeviceRegistry(
            InstrumentedStore(MemoryStore(), spans=True), keys=DerivedKeys(MASTER),
            issuer="Example", clock=clock, observer=EventCounter(),
        ),
        spans=True,
    )
    user = enroll(registry, clock, ALICE)
    assert registry.claim_is_valid(ALICE, user.sign_in().claim)
    watch_health(lambda: ())


# Stores


def store_call(method: str, system: str, outcome: str = "success", error: str = "") -> Any:
    error_type = {"error__type": error} if error else {}
    return attributes(
        vmfa__store__method=method, db__system__name=system, vmfa__outcome=outcome, **error_type
    )


def test_store_calls_are_measured(
    telemetry: Telemetry, clock: FrozenClock, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteStore(tmp_path / "mfa.db") as sqlite:
        store = InstrumentedStore(sqlite, **telemetry.providers)
        registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
        enroll(registry, clock, ALICE).sign_in()
        registry.principals("123456789012")
        registry.history(ALICE, by=SERVICE)
        assert store.health() == ()  # everything else is passed on

        def fail(*_: object) -> None:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(sqlite, "commit", fail)
        with pytest.raises(StoreUnavailable):
            registry.mark_spent(ALICE, by=SERVICE, until=int(clock()))
    assert telemetry.points("vmfa.store.call.duration") == {
        store_call("load", "sqlite"): 6,
        store_call("commit", "sqlite"): 3,
        store_call("commit", "sqlite", "failed", "StoreUnavailable"): 1,
        store_call("principals", "sqlite"): 1,
        store_call("history", "sqlite"): 1,
    }
    assert telemetry.points("vmfa.store.lost_rounds") == {}


def test_records_of_a_wrapped_store_are_authenticated_as_before(
    telemetry: Telemetry, clock: FrozenClock
) -> None:
    for volatile in (True, False):
        inner = MemoryStore()
        inner.volatile = volatile  # type: ignore[misc]
        store = InstrumentedStore(inner, system="memory", **telemetry.providers)
        registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
        enroll(registry, clock, ALICE)
        assert (store.load(ALICE).envelope is None) is volatile
    assert store_call("load", "memory") in telemetry.points("vmfa.store.call.duration")


class Racing(MemoryStore):
    """A store in which another sign-in is committed before the next commit."""

    race: Any = None

    def commit(self, before: Any, after: Any, events: Any) -> bool:
        race, self.race = self.race, None
        if race is not None:
            race()
        return super().commit(before, after, events)


def test_lost_rounds_are_counted(telemetry: Telemetry, clock: FrozenClock) -> None:
    inner = Racing()
    registry = registry_on(InstrumentedStore(inner, **telemetry.providers), clock, telemetry)
    alice = enroll(registry, clock, ALICE)
    clock.advance(30)
    plain = DeviceRegistry(inner, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
    inner.race = lambda: plain.verify(ALICE, alice.phone.code())
    with pytest.raises(AlreadyUsed):
        registry.verify(ALICE, alice.phone.code())
    assert telemetry.points("vmfa.store.lost_rounds") == {
        attributes(db__system__name="other_sql"): 1,
    }


def test_retries_of_a_busy_database_are_counted(
    telemetry: Telemetry, clock: FrozenClock, tmp_path: Any
) -> None:
    import sqlite3
    import threading
    from contextlib import closing

    path = tmp_path / "mfa.db"
    with SQLiteStore(path) as sqlite:
        registry = registry_on(InstrumentedStore(sqlite, **telemetry.providers), clock, telemetry)
        alice = enroll(registry, clock, ALICE)
        with closing(sqlite3.connect(path, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(0.1, other.rollback)
            timer.start()
            alice.sign_in()
            timer.join()
    (retries,) = telemetry.points("vmfa.store.retries").values()
    assert retries > 1


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_waits_for_a_connection_are_measured(
    telemetry: Telemetry, clock: FrozenClock, database: str, kind: str
) -> None:
    from vmfa.stores.postgres import PostgresStore
    from vmfa.stores.postgres_async import AsyncPostgresStore

    async def sign_in() -> None:
        async with AsyncPostgresStore(database) as store:
            await InstrumentedAsyncStore(store, **telemetry.providers).load(ALICE)

    with PostgresStore(database) as store:
        store.create_schema()
        if kind == "blocking":
            InstrumentedStore(store, **telemetry.providers).load(ALICE)
        else:
            asyncio.run(sign_in())
    assert telemetry.points("db.client.connection.wait_time") == {
        attributes(db__client__connection__pool__name="vmfa", db__system__name="postgresql"): 1,
    }
    assert store_call("load", "postgresql") in telemetry.points("vmfa.store.call.duration")


# asyncio


def test_an_asynchronous_registry_is_measured_in_the_same_way(
    telemetry: Telemetry, clock: FrozenClock
) -> None:
    key = Key.generate()

    async def use() -> None:
        store = InstrumentedAsyncStore(
            aio.InThreads(MemoryStore()), system="memory", spans=True, **telemetry.providers
        )
        registry = instrument(
            aio.DeviceRegistry(
                store, keys=DerivedKeys(MASTER), imported_keys=SealedKeys(MASTER),
                issuer="Example", clock=clock,
            ),
            spans=True, **telemetry.providers,
        )
        await registry.adopt(ALICE, by=SERVICE, key=key, system="tests")
        clock.advance(90)
        phone = phone_with(key, clock)
        await registry.verify(ALICE, phone.code())
        with pytest.raises(AlreadyUsed):
            await registry.verify(ALICE, phone.code())
        await registry.history(ALICE, by=SERVICE)
        await registry.principals("123456789012")

    asyncio.run(use())
    assert telemetry.points("vmfa.operation.duration") == {
        operation("adopt"): 1,
        operation("verify"): 1,
        operation("verify", "refused", "AlreadyUsed"): 1,
        operation("read_history"): 1,
    }
    assert telemetry.points("vmfa.store.call.duration") == {
        store_call("load", "memory"): 5,
        store_call("commit", "memory"): 2,
        store_call("history", "memory"): 1,
        store_call("principals", "memory"): 1,
    }
    names = [span.name for span in telemetry.spans()]
    assert names[:3] == ["load memory", "commit memory", "vmfa adopt"]


# Spans


def test_spans_contain_the_calls_of_the_store_and_no_names(
    telemetry: Telemetry, clock: FrozenClock
) -> None:
    store = InstrumentedStore(MemoryStore(), system="memory", spans=True, **telemetry.providers)
    registry = registry_on(store, clock, telemetry, spans=True)
    tracer = telemetry.tracer_provider.get_tracer("service")
    with tracer.start_as_current_span("request"), pytest.raises(NoDevice):
        registry.verify(ALICE, "123456")
    load, verify, request = telemetry.spans()
    assert (load.name, load.kind) == ("load memory", SpanKind.CLIENT)
    assert (verify.name, verify.kind) == ("vmfa verify", SpanKind.INTERNAL)
    assert load.parent is not None
    assert verify.parent is not None
    assert load.parent.span_id == verify.context.span_id
    assert verify.parent.span_id == request.context.span_id
    assert dict(verify.attributes or {}) == {
        "vmfa.operation": "verify", "vmfa.outcome": "refused", "error.type": "NoDevice",
    }
    assert verify.status.status_code is StatusCode.UNSET  # a refusal is an answer
    assert not verify.events
    assert "u-4711" not in f"{load.to_json()}{verify.to_json()}"


def test_a_failure_is_an_error_on_the_span(
    telemetry: Telemetry, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("gone")

    inner = MemoryStore()
    store = InstrumentedStore(inner, spans=True, **telemetry.providers)
    monkeypatch.setattr(inner, "load", fail)
    registry = registry_on(store, clock, telemetry, spans=True)
    with pytest.raises(StoreUnavailable):
        registry.verify(ALICE, "123456")
    load, verify = telemetry.spans()
    assert load.status.status_code is verify.status.status_code is StatusCode.ERROR


def test_names_of_principals_are_on_spans_only_if_asked_for(
    telemetry: Telemetry, clock: FrozenClock
) -> None:
    registry = registry_on(
        MemoryStore(), clock, telemetry, spans=True, principal_names=True
    )
    enroll(registry, clock, ALICE)
    for span in telemetry.spans():
        assert (span.attributes or {})["enduser.id"] == str(ALICE)
    for points in map(telemetry.points, telemetry.metrics()):
        assert "u-4711" not in str(points)


# Events and health


def test_events_are_counted_and_passed_on(telemetry: Telemetry, clock: FrozenClock) -> None:
    seen: list[AuditEvent] = []
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example", clock=clock,
        observer=EventCounter(seen.append, **telemetry.meters),
    )
    alice = enroll(registry, clock, ALICE)
    with pytest.raises(CodeRejected):
        registry.verify(ALICE, alice.phone.wrong_code())
    with pytest.raises(AlreadyUsed):
        registry.verify(ALICE, alice.phone.code())
    registry.deactivate(ALICE, by=SERVICE, reason="a phone of u-4711 was lost")
    points = telemetry.points("vmfa.events")
    assert sum(points.values()) == len(seen) == 5
    assert points[attributes(
        vmfa__event__type="device assigned", vmfa__event__outcome="success",
        vmfa__actor__role="signed in",
    )] == 1
    assert "u-4711" not in str(points)
    reasons = {dict(point).get("vmfa.event.reason") for point in points}
    assert reasons == {None, CodeRejected.reason, AlreadyUsed.reason}


def test_problems_that_health_reports_are_a_gauge(telemetry: Telemetry) -> None:
    problems: list[Any] = []
    watch_health(lambda: tuple(problems), **telemetry.meters)
    assert telemetry.points("vmfa.store.problems") == {(): 0}
    problems += [ClockWentBack("an hour ahead"), StoreUnavailable("gone"), StoreUnavailable("?")]
    points = telemetry.points("vmfa.store.problems")
    assert points[attributes(error__type="ClockWentBack")] == 1
    assert points[attributes(error__type="StoreUnavailable")] == 2


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "vmfa.integrations.opentelemetry"
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingExtra, match=r"vmfa\[otel\]"):
        importlib.import_module(module)
