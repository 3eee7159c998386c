"""vmfa holds every case that can be observed, on every store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from postgres_server import database, server  # noqa: F401  # fixtures
from vmfa import Actor, EventType, MemoryStore, Policy
from vmfa.conformance import Report, Result, Verdict, run
from vmfa.conformance.own import RegistryAdapter, SQLiteAdapter, memory, sqlite

ONLY_COUNTERS = {"hotp"}  # a registry assigns time-based devices only
NEEDS_A_LASTING_STORE = {
    "replay/after-restart", "replay/other-node", "replay/at-once-on-two-nodes",
    "throttling/many-nodes", "secrets/key-in-rows", "secrets/key-in-rows-of-enrollment",
}  # fmt: skip


def not_held(report: Report) -> dict[str, str]:
    return {
        result.case.id: f"{result.verdict.value}: {result.reason}"
        for result in report.results
        if result.verdict is not Verdict.HELD and result.case.group not in ONLY_COUNTERS
    }


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    with closing(memory()) as adapter:
        yield run(adapter)


def test_the_memory_store_holds_everything(report: Report) -> None:
    assert not_held(report).keys() == NEEDS_A_LASTING_STORE
    assert report.violated() == []
    assert report.conclusive


def test_two_runs_have_the_same_digest(report: Report) -> None:
    with closing(memory()) as adapter:
        assert run(adapter).digest == report.digest


def test_a_race_reports_its_evidence(report: Report) -> None:
    (race,) = [result.race for result in report.results if result.case.id == "replay/10-at-once"]
    assert race is not None
    assert (race.calls, race.overlapped) == (10, 10)
    assert race.rounds >= 10
    assert race.at_once >= 2


@pytest.mark.parametrize(
    "case",
    [
        "replay/after-restart", "replay/other-node", "throttling/many-nodes",
        "secrets/key-in-rows", "secrets/key-in-rows-of-enrollment",
    ],
)  # fmt: skip
def test_sqlite_holds_what_needs_a_lasting_store(case: str) -> None:
    with closing(sqlite()) as adapter:
        assert not_held(run(adapter, [case])) == {}


def test_the_owner_enrolls_again_with_the_binding_code_of_the_removal() -> None:
    with closing(RegistryAdapter(MemoryStore, policy=Policy.strict())) as adapter:
        assert not_held(run(adapter, ["removal"])) == {}


@pytest.mark.slow
@pytest.mark.parametrize("policy", [Policy(), Policy.strict()], ids=["default", "strict"])
def test_sqlite_holds_everything(policy: Policy) -> None:
    with closing(SQLiteAdapter(policy)) as adapter:
        assert not_held(run(adapter)) == {}


@pytest.mark.slow
def test_postgresql_holds_everything(database: str) -> None:  # noqa: F811  # the fixture
    from vmfa.stores.postgres import PostgresStore

    def open_store() -> PostgresStore:
        store = PostgresStore(database)
        store.create_schema()
        return store

    with closing(RegistryAdapter(open_store, lasting=True)) as adapter:
        rows = {"secrets/key-in-rows", "secrets/key-in-rows-of-enrollment"}
        assert not_held(run(adapter)).keys() == rows


class TestAdapter:
    @pytest.fixture
    def adapter(self) -> Iterator[RegistryAdapter]:
        with closing(memory()) as adapter:
            yield adapter

    def test_the_time_zone_is_restored(
        self, adapter: RegistryAdapter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = time.tzname
        adapter.set_zone("Europe/Berlin")
        assert time.tzname == ("CET", "CEST")
        adapter.reset()
        assert time.tzname == before
        assert "TZ" not in os.environ
        monkeypatch.setenv("TZ", "UTC")
        with closing(memory()) as second:
            second.set_zone("Europe/Berlin")
            second.close()
            assert os.environ["TZ"] == "UTC"

    def test_without_time_zones_it_declares_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(time, "tzset")
        with closing(memory()) as adapter:
            assert "zone" not in adapter.capabilities
            adapter.reset()

    def test_a_bug_is_an_internal_error(self, adapter: Any) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        adapter._store.load = broken
        answer = adapter.verify("alice", "123456")
        assert (answer.result, answer.text) == (Result.FAILED, "ZeroDivisionError")

    def test_a_uri_that_is_invalid_is_denied(self, adapter: RegistryAdapter) -> None:
        assert adapter.provision_uri("alice", "otpauth://totp/x").result is Result.DENIED

    def test_it_runs_maintenance_on_the_same_store(self, adapter: RegistryAdapter) -> None:
        secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        assert adapter.provision("alice", secret).result is Result.ACCEPTED
        registry = adapter._registry()
        principal = adapter._principal("alice")
        assert registry.principals(principal.account) == [principal]
        (event,) = registry.history(principal, by=Actor.support("conformance"))
        assert event.type is EventType.ADOPTED
