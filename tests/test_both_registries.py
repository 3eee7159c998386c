"""What the two registries promise alike, held against both: what they are built from, pages, bounds, sentences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import vmfa
import vmfa.aio
from awaited import Awaited
from support import MASTER, HandClock
from vmfa import (
    Actor,
    AuditEvent,
    DerivedKeys,
    InvalidType,
    InvalidValue,
    MemoryStore,
    Parameters,
    Policy,
    PrincipalId,
    StoreContended,
    VmfaError,
)

SERVICE = Actor.trusted_service("tests")
WHO = PrincipalId.user("123", "alice")
MAKERS = {"blocking": vmfa.DeviceRegistry, "waiting": vmfa.aio.DeviceRegistry}
Make = Callable[..., Any]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, clock: HandClock) -> Iterator[Make]:
    """A registry over a store that blocks; every method of it can be called without await."""
    opened: list[Awaited] = []

    def made(store: Any, **given: Any) -> Any:
        given = {"keys": DerivedKeys(MASTER), "issuer": "Example", "clock": clock, **given}
        if request.param == "blocking":
            return vmfa.DeviceRegistry(store, **given)
        opened.append(Awaited(vmfa.aio.DeviceRegistry(vmfa.aio.InThreads(store), **given)))
        return opened[-1]

    yield made
    for each in opened:
        each.__exit__()


class Recorder(MemoryStore):
    """Notes how pages are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []

    def principals(self, account: str, **page: Any) -> Any:
        self.asked.append(page)
        return super().principals(account, **page)

    def history(self, principal: PrincipalId, **page: Any) -> Any:
        self.asked.append(page)
        return super().history(principal, **page)


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(VmfaError) as caught:
        attempt()
    return f"{type(caught.value).__name__}: {caught.value}"


def wizards(registry: Any, *names: str) -> list[PrincipalId]:
    people = [PrincipalId.user("123", name) for name in names]
    for who in people:
        registry.open_enrollment(who, by=SERVICE, label="x")
    return people


def test_records_are_sealed_unless_nothing_of_the_store_outlives_the_process(make: Make) -> None:
    class Lasting(MemoryStore):
        volatile = False

    for store, is_sealed in ((MemoryStore(), False), (Lasting(), True)):
        wizards(make(store), "alice")
        assert (store.load(WHO).envelope is not None) is is_sealed


def test_the_policy_decides(make: Make) -> None:
    registry = make(MemoryStore(), policy=Policy(offers=(Parameters(digits=8),)))
    assert "digits=8" in registry.open_enrollment(WHO, by=SERVICE, label="x").uri


def test_every_read_is_told(make: Make) -> None:
    told: list[AuditEvent] = []
    registry = make(MemoryStore(), observer=told.append)
    wizards(registry, "alice")
    registry.history(WHO, by=SERVICE)
    assert [event.type.value for event in told] == ["enrollment opened", "read"]


def test_principals_come_in_the_pages_that_are_asked_for(make: Make) -> None:
    store = Recorder()
    registry = make(store)
    alice, bob, carol = wizards(registry, "alice", "bob", "carol")
    assert list(registry.principals("123", limit=2)) == [alice, bob]
    assert list(registry.principals("123", after=alice)) == [bob, carol]
    assert list(registry.principals("123", limit=0)) == []
    assert registry.principals("123", limit=1_000_000)
    assert [page["limit"] for page in store.asked] == [2, 1000, 0, 1_000_000]


def test_a_page_of_history_is_read_with_an_event_before_it_and_one_behind(make: Make) -> None:
    """So that its place in the chain shows."""
    store = Recorder()
    registry = make(store)
    wizards(registry, "alice")
    for _ in range(3):
        registry.cancel_enrollment(WHO, by=SERVICE)
        wizards(registry, "alice")
    pages = [registry.history(WHO, by=SERVICE, **page) for page in (
        {}, {"after": 1, "limit": 1}, {"after": 2, "limit": 3}, {"limit": 0}, {"after": 99}, {"limit": 1_000_000},
    )]
    assert [[event.number for event in page] for page in pages] == [
        [1, 2, 3, 4, 5, 6, 7], [2], [3, 4, 5], [], [], [1, 2, 3, 4, 5, 6, 7],
    ]
    assert [(page["after"], page["limit"]) for page in store.asked] == [
        (0, 1001), (0, 2), (1, 4), (0, 1), (98, 1001), (0, 1_000_001),
    ]


def test_pages_that_cannot_be(make: Make) -> None:
    registry = make(MemoryStore())
    assert [refusal(lambda page=page: registry.history(WHO, by=SERVICE, **page)) for page in (
        {"after": -1}, {"after": None}, {"limit": -1}, {"limit": 1_000_001}, {"limit": 1.0},
    )] == [
        "InvalidValue: after is 0 to 4611686018427387904", "InvalidType: after is an int",
        "InvalidValue: limit is 0 to 1000000", "InvalidValue: limit is 0 to 1000000", "InvalidType: limit is an int",
    ]
    assert [refusal(lambda page=page: registry.principals(**{"account": "123", **page})) for page in (
        {"account": ""}, {"after": "alice"}, {"limit": -1}, {"limit": 1_000_001},
    )] == [
        "InvalidValue: account is empty", "InvalidType: after is a PrincipalId", "InvalidValue: limit is 0 to 1000000",
        "InvalidValue: limit is 0 to 1000000",
    ]


def test_who_is_nobody(make: Make) -> None:
    registry = make(MemoryStore())
    for ask in (registry.requires_code, lambda who: registry.verify(who, "123456")):
        assert refusal(lambda ask=ask: ask("alice")) == "InvalidType: principal is a PrincipalId"


def test_contention_says_what_was_not_done(make: Make) -> None:
    class Stubborn(MemoryStore):
        def commit(self, *_: object) -> bool:
            return False

    registry = make(Stubborn())
    assert refusal(lambda: registry.open_enrollment(WHO, by=SERVICE, label="x")) == (
        "StoreContended: others kept changing this principal; nothing was changed"
    )


def test_a_history_that_never_rests_is_told_as_such(make: Make) -> None:
    class Growing(MemoryStore):
        def history(self, principal: PrincipalId, **page: Any) -> Any:
            events = super().history(principal, **page)
            writer.open_enrollment(principal, by=SERVICE, label="another")
            return events

    store = Growing()
    writer = vmfa.DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example")
    with pytest.raises(StoreContended, match=r"^others kept changing this principal while its history was read$"):
        make(store, clock=writer._clock).history(WHO, by=SERVICE)


def test_a_method_says_what_it_answers() -> None:
    for kind in MAKERS.values():
        signature = inspect.signature(kind.verify)
        assert signature.return_annotation == "Receipt"
        assert list(signature.parameters) == ["self", "principal", "code"]
        assert inspect.signature(kind.deactivate).parameters["reason"].default == ""
        assert inspect.signature(kind.adopt).parameters["drift"].default == 0


@pytest.mark.parametrize(("given", "sentence"), [
    ({"store": object()}, "store is a Store such as SQLiteStore(path)"),
    ({"store": MemoryStore}, "store is a Store such as SQLiteStore(path)"),
    ({"clock": 5}, "clock is a function that gives Unix time, such as time.time without brackets"),
    ({"observer": 5}, "observer is a function that is given each event"),
    ({"keys": MASTER}, "keys are a KeySource such as DerivedKeys(master_key)"),
    ({"policy": {}}, "policy is a Policy"),
])
def test_a_registry_is_built_from_the_right_parts(given: dict[str, Any], sentence: str) -> None:
    waiting = vmfa.aio.InThreads(MemoryStore())
    for kind, store in ((vmfa.DeviceRegistry, MemoryStore()), (vmfa.aio.DeviceRegistry, waiting)):
        parts = {"store": store, "keys": DerivedKeys(MASTER), "issuer": "Example", **given}
        with pytest.raises(InvalidType) as caught:
            kind(**parts)
        assert str(caught.value) == sentence


def test_a_store_for_the_other_registry_is_told_where_it_belongs() -> None:
    keys = DerivedKeys(MASTER)
    with pytest.raises(InvalidType, match=r"^this store waits: use it with vmfa\.aio\.DeviceRegistry$"):
        vmfa.DeviceRegistry(vmfa.aio.InThreads(MemoryStore()), keys=keys, issuer="E")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidType, match=r"^this store blocks: async def load, or aio\.InThreads\(store\)$"):
        vmfa.aio.DeviceRegistry(MemoryStore(), keys=keys, issuer="E")  # type: ignore[arg-type]  # on purpose


def test_an_issuer_is_named_in_its_refusal() -> None:
    with pytest.raises(InvalidValue, match=r"^issuer is empty$"):
        vmfa.DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="")


def test_what_is_no_answer_has_no_truth() -> None:
    registry = vmfa.DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    operation = registry.operations.verify(WHO, "123456")
    decision = operation.decide(MemoryStore().load(WHO), 5)
    for value, sentence in (
        (operation, "an operation has no truth: decide it, commit the decision, and settle that"),
        (decision, "a decision has no truth: commit it, then settle it, which gives the answer or raises it"),
    ):
        with pytest.raises(InvalidType) as caught:
            bool(value)
        assert str(caught.value) == sentence
