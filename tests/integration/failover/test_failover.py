"""A real primary, a real standby and a real promotion: what is lost, and what the runbook repairs.

docs/operations/fail-over.md has the order of the steps. With ``patroni`` and ``etcd`` on the path,
Patroni promotes; otherwise ``pg_ctl`` does.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
from cluster import Cluster, PatroniCluster, bin_folder, wait_until

from support import MASTER, Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    EventType,
    PrincipalId,
    StoreUnavailable,
    VmfaError,
)
from vmfa.stores.postgres import PostgresStore
from vmfa.testing import FrozenClock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bin_folder() is None, reason="the programs of PostgreSQL are missing"),
]
ACCOUNT = "123456789012"
SERVICE = Actor.trusted_service("fail-over runbook")
PERIOD = 30
SPENT_STEPS = 21  # after the present one: the resynchronization window forward, and the window


class Users:
    """Users of a registry on a cluster, and what the observer saw of them."""

    def __init__(self, cluster: Cluster, clock: FrozenClock, names: list[str]) -> None:
        self.clock = clock
        self.log: list[AuditEvent] = []  # kept outside of the database
        self.store = PostgresStore(cluster.conninfo, timeout=20)
        self.store.create_schema()
        self.registry = DeviceRegistry(
            self.store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock,
            observer=self.log.append,
        )
        self.ids = {name: PrincipalId.user(ACCOUNT, name) for name in names}
        self.enrolled: dict[str, Enrolled] = {
            name: enroll(self.registry, clock, who) for name, who in self.ids.items()
        }
        clock.advance(PERIOD)

    def verify(self, name: str, code: str) -> str:
        """Return "accepted", or the reason why not."""
        try:
            self.registry.verify(self.ids[name], code)
        except CodeRejected as error:
            return error.reason
        return "accepted"

    def wait_until_healthy(self) -> None:
        wait_until(lambda: not self.store.health(), "the store works again")

    def repeat_lost_removals(self) -> None:
        """Remove every device again whose removal, or disabling, the observer's log reports."""
        for event in list(self.log):
            if event.type in (EventType.DEACTIVATED, EventType.DISABLED):
                device = self.store.load(event.principal).device
                if device is not None and device.serial == event.serial:
                    self.registry.deactivate(event.principal, by=SERVICE, reason="repeated")

    def code(self, name: str) -> str:
        return self.enrolled[name].phone.code()


MakeUsers = Callable[[Cluster, list[str]], Users]


@pytest.fixture
def users_of(clock: FrozenClock) -> Iterator[MakeUsers]:
    opened: list[Users] = []

    def users_of(cluster: Cluster, names: list[str]) -> Users:
        users = Users(cluster, clock, names)
        opened.append(users)
        return users

    yield users_of
    for users in opened:
        users.store.close()


@pytest.fixture(params=["pg_ctl", "patroni"])
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    if request.param == "pg_ctl":
        return Cluster
    for program in PatroniCluster.programs_needed:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    return PatroniCluster


@pytest.fixture
def asynchronous(kind: type[Cluster]) -> Iterator[Cluster]:
    with kind(synchronous=False) as cluster:
        yield cluster


@pytest.fixture
def synchronous(kind: type[Cluster]) -> Iterator[Cluster]:
    with kind(synchronous=True) as cluster:
        yield cluster


def test_after_an_asynchronous_promotion_lost_codes_are_refused_once_marked_spent(
    asynchronous: Cluster, clock: FrozenClock, users_of: MakeUsers
) -> None:
    users = users_of(asynchronous, ["alice", "bob", "carol"])
    asynchronous.wait_until_applied()
    asynchronous.part()
    codes = {name: users.code(name) for name in ("alice", "bob")}
    for name, code in codes.items():
        assert users.verify(name, code) == "accepted"
    users.registry.deactivate(users.ids["carol"], by=SERVICE, reason="stolen phone")
    carols_code = users.code("carol")

    asynchronous.kill_primary()
    asynchronous.promote()
    users.wait_until_healthy()
    clock.advance(3)  # traffic is stopped meanwhile

    # Without the runbook, a code that was accepted counts again, and the stolen phone signs in.
    assert users.verify("alice", codes["alice"]) == "accepted"
    assert users.verify("carol", carols_code) == "accepted"

    # The runbook: mark, repeat the removals of the observer's log, and only then open.
    until = int(clock())
    assert users.registry.mark_account_spent(ACCOUNT, by=SERVICE, until=until) == 3
    users.repeat_lost_removals()
    assert users.verify("bob", codes["bob"]) == AlreadyUsed.reason
    assert not users.registry.requires_code(users.ids["carol"])
    with pytest.raises(VmfaError, match="no assigned device"):
        users.verify("carol", users.code("carol"))

    # Users sign in again when the codes that a phone could have shown are over.
    clock.advance(PERIOD * SPENT_STEPS)
    assert users.verify("bob", users.code("bob")) == AlreadyUsed.reason
    clock.advance(PERIOD)
    for name in ("alice", "bob"):
        assert users.verify(name, users.code(name)) == "accepted"


def test_after_a_synchronous_promotion_nothing_is_lost(
    synchronous: Cluster, users_of: MakeUsers
) -> None:
    names = [f"u-{number:02}" for number in range(40)]
    users = users_of(synchronous, names)
    codes = {name: users.code(name) for name in names}
    acknowledged: list[str] = []
    unknown: list[str] = []

    def sign_in_all() -> None:
        for name in names:
            try:
                assert users.verify(name, codes[name]) == "accepted"
                acknowledged.append(name)
            except StoreUnavailable:
                unknown.append(name)

    thread = threading.Thread(target=sign_in_all)
    thread.start()
    while len(acknowledged) < 10:
        pass
    synchronous.part()  # the next commit waits for the standby, and is not acknowledged
    synchronous.kill_primary()
    synchronous.promote()
    thread.join()
    users.wait_until_healthy()

    assert len(acknowledged) >= 10
    for name in acknowledged:
        assert users.verify(name, codes[name]) == AlreadyUsed.reason
    for name in unknown:  # each was stored or not, and can be used at most once more
        assert users.verify(name, codes[name]) in ("accepted", AlreadyUsed.reason)
        assert users.verify(name, codes[name]) == AlreadyUsed.reason


def test_a_commit_that_the_standby_did_not_confirm_is_not_accepted(
    synchronous: Cluster, users_of: MakeUsers
) -> None:
    users = users_of(synchronous, ["alice"])
    code = users.code("alice")
    synchronous.part()
    users.store.timeout = 2
    with pytest.raises(StoreUnavailable):
        users.verify("alice", code)
    users.store.timeout = 20
    synchronous.kill_primary()
    synchronous.promote()
    users.wait_until_healthy()
    assert users.verify("alice", code) == "accepted"  # no acceptance of it was reported before
    assert users.verify("alice", code) == AlreadyUsed.reason
