"""A real Galera cluster of three nodes: nothing is accepted twice, and nothing is lost.

docs/howto/galera.md says what the engine cannot promise, and what to do then.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from galera_cluster import GaleraCluster, Node, wait_until
from galera_users import (
    ACCOUNT,
    PERIOD,
    Busy,
    busy_users,
    check_nothing_lost,
    hammer,
    new_user,
    open_store,
    present,
    registry_at,
)

from support import Enrolled
from vmfa import Actor, Principal, Store, StoreContended, StoreError, StoreUnavailable
from vmfa.testing import StoreContract
from vmfa.testing._contract_tools import commit_next, new_user as new_principal, next_record

pytestmark = pytest.mark.campaign
SPENT_STEPS = 22  # the resynchronization window forward, and the window
SERVICE = Actor.trusted_service("tests")


def wait_until_all_signed_in(busy: list[Busy], more: int = 3) -> None:
    """Wait until every user has signed in *more* times from now on."""
    goals = [len(one.accepted) + more for one in busy]
    wait_until(
        lambda: all(len(one.accepted) >= goal for one, goal in zip(busy, goals, strict=True)),
        f"every user has signed in {more} times",
    )


def sign_in(store: Store, user: Enrolled, code: str) -> str:
    return present(store, user.principal, code, user.clock)


@contextmanager
def applying_nothing(node: Node) -> Iterator[None]:
    """Let a node receive what others commit, and apply none of it."""
    with closing(node.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        yield


class TestContract(StoreContract):
    """The contract, with the second store on another node."""

    @pytest.fixture
    def store(self, cluster: GaleraCluster) -> Iterator[Store]:
        with open_store(cluster.nodes[0].url, connections=12) as store:
            yield store

    @pytest.fixture(autouse=True)
    def _second_node(self, cluster: GaleraCluster) -> None:
        self.second = cluster.nodes[1]

    def another_store(self, store: Store) -> AbstractContextManager[Store]:
        return open_store(self.second.url, connections=2)


# One winner


@pytest.mark.parametrize(("many", "retries"), [(50, 1), (6, 0), (6, 4)])
def test_of_processes_on_three_nodes_with_one_code_one_wins(
    cluster: GaleraCluster, many: int, retries: int
) -> None:
    for node in cluster.nodes:
        node.execute(f"SET GLOBAL wsrep_retry_autocommit = {retries}")
    try:
        rounds = hammer(cluster.nodes, many, 5, f"hammer-{retries}")
    finally:
        for node in cluster.nodes:
            node.execute("SET GLOBAL wsrep_retry_autocommit = 1")
    for ends in rounds:
        assert ends["Receipt"] == 1
        assert ends.keys() <= {"Receipt", "AlreadyUsed", "StoreContended"}
        assert ends.total() == many


def test_of_three_nodes_that_commit_on_one_revision_one_wins(cluster: GaleraCluster) -> None:
    stores = [open_store(node.url) for node in cluster.nodes]
    barrier = threading.Barrier(3)
    answers: dict[int, object] = {}

    def commit(index: int, before: Principal) -> None:
        after = next_record(before, recovered_at=index)
        barrier.wait()
        try:
            answers[index] = stores[index].commit(before, after, [])
        except StoreError as error:
            answers[index] = error

    record = commit_next(stores[0], Principal(id=new_principal()))
    for _ in range(100):
        threads = [threading.Thread(target=commit, args=(i, record)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [index for index, answer in answers.items() if answer is True]
        assert len(winners) == 1, answers
        assert all(
            answer is False or isinstance(answer, StoreContended)
            for index, answer in answers.items() if index != winners[0]
        ), answers
        record = stores[0].load(record.id)
        assert record.recovered_at == winners[0]
    for store in stores:
        store.close()


# Causal reads


def test_a_node_waits_until_it_has_applied_what_others_committed(cluster: GaleraCluster) -> None:
    first, second = cluster.nodes[:2]
    with open_store(first.url) as store, open_store(second.url) as other:
        user = new_user(store, "causal")
        before = other.load(user.principal)
        answers: list[str] = []
        code = user.phone.code()
        with applying_nothing(second):
            assert sign_in(store, user, code) == "Receipt"
            ((stale,),) = second.execute(
                f"SELECT revision FROM vmfa_principal WHERE name = '{user.principal.name}'",
                "service",
            )
            assert stale == before.revision  # what a node without causal reads answers
            thread = threading.Thread(target=lambda: answers.append(sign_in(other, user, code)))
            thread.start()
            thread.join(1)
            assert thread.is_alive()
            assert answers == []
        thread.join()
        assert answers == ["AlreadyUsed"]


def test_a_node_that_is_too_far_behind_is_reported(cluster: GaleraCluster) -> None:
    first, second = cluster.nodes[:2]
    with open_store(first.url) as store, open_store(second.url, timeout=1) as other:
        user = new_user(store, "behind")
        other.load(user.principal)
        second.set_option("repl.causal_read_timeout", "PT1S")
        with applying_nothing(second):
            assert sign_in(store, user, user.phone.code()) == "Receipt"
            with pytest.raises(StoreContended):
                other.load(user.principal)
        second.set_option("repl.causal_read_timeout", "PT30S")


# Faults under load


def test_a_node_is_killed(cluster: GaleraCluster) -> None:
    node = cluster.nodes[2]
    with busy_users(cluster, "killed") as busy:
        wait_until_all_signed_in(busy)
        node.kill()
        wait_until_all_signed_in(busy)
        cluster.start(node)
        wait_until_all_signed_in(busy)
    check_nothing_lost(busy, cluster.nodes)


def test_a_node_is_killed_and_receives_the_state_of_another(cluster: GaleraCluster) -> None:
    node = cluster.nodes[2]
    with busy_users(cluster, "transfer") as busy:
        wait_until_all_signed_in(busy)
        node.kill()
        (node.data / "grastate.dat").unlink()  # it does not know what it has
        (node.data / "galera.cache").unlink()
        cluster.start(node)
        wait_until_all_signed_in(busy)
    assert "SST received" in node.log.read_text()
    print(check_nothing_lost(busy, cluster.nodes))


def test_a_node_is_cut_off(cluster: GaleraCluster) -> None:
    node = cluster.nodes[2]
    with busy_users(cluster, "cut-off") as busy:
        wait_until_all_signed_in(busy)
        node.isolate()
        wait_until(lambda: node.status("cluster_status") == "non-Primary", "it notices")
        wait_until_all_signed_in(busy)
        node.isolate(isolated=False)
        cluster.wait_until_whole()
        wait_until_all_signed_in(busy)
    print(check_nothing_lost(busy, cluster.nodes))


def test_a_node_stops_for_a_while(cluster: GaleraCluster) -> None:
    node = cluster.nodes[2]
    with open_store(node.url) as store:
        user = new_user(store, "paused-0")
        with open_store(cluster.nodes[0].url) as other:
            node.signal(signal.SIGSTOP)
            wait_until(
                lambda: cluster.nodes[0].status("cluster_size") == "2", "it is taken for dead"
            )
            code = user.phone.code()
            assert sign_in(other, user, code) == "Receipt"
            node.signal(signal.SIGCONT)
            outcome = sign_in(store, user, code)  # it does not know yet that it was left behind
            assert outcome in {"AlreadyUsed", "StoreUnavailable", "StoreContended"}
            cluster.wait_until_whole()
            assert sign_in(store, user, code) == "AlreadyUsed"


# No majority


def test_a_node_without_a_majority_refuses(cluster: GaleraCluster) -> None:
    alone = cluster.nodes[0]
    with open_store(alone.url) as store:
        user = new_user(store, "alone")
        record = store.load(user.principal)
        for node in cluster.others(alone):
            node.kill()
        wait_until(lambda: alone.status("cluster_status") == "non-Primary", "it notices")
        with pytest.raises(StoreError):  # or StoreContended: this read had begun to wait
            store.load(user.principal)
        assert sign_in(store, user, user.phone.code()) == "StoreUnavailable"
        with pytest.raises(StoreUnavailable):
            store.load(user.principal)
        with pytest.raises(StoreUnavailable):
            store.commit(record, next_record(record), [])
        with pytest.raises(StoreUnavailable):
            store.history(user.principal)
        (fault,) = store.health()  # StoreContended, if the node let it wait
        assert isinstance(fault, StoreError)
        alone.execute("SET GLOBAL wsrep_dirty_reads = ON")  # it would answer from the past
        with open_store(alone.url) as another, pytest.raises(StoreError):
            another.load(user.principal)
        alone.execute("SET GLOBAL wsrep_dirty_reads = OFF")
        alone.set_option("pc.bootstrap", "1")  # it has everything that was committed
        wait_until(lambda: alone.status("ready") == "ON", "it serves again")
        assert sign_in(store, user, user.phone.code()) == "Receipt"
        cluster.repair()
        with open_store(cluster.nodes[1].url) as other:
            assert sign_in(other, user, user.phone.code()) == "AlreadyUsed"


def bootstrap(cluster: GaleraCluster, nodes: list[Node]) -> None:
    """Start a cluster from the data of the first of *nodes*, and let the others join."""
    state = nodes[0].data / "grastate.dat"
    state.write_text(
        state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1")
    )
    cluster.start(nodes[0], new_cluster=True)
    for node in nodes[1:]:
        cluster.start(node)


def test_a_sign_in_is_lost_with_its_node_if_all_crash(cluster: GaleraCluster) -> None:
    """What the engine cannot promise, and what ``mark_spent`` does about it."""
    newest, *others = cluster.nodes
    with open_store(newest.url) as store:
        user = new_user(store, "lost")
        code = user.phone.code()
        with applying_nothing(others[0]), applying_nothing(others[1]):
            assert sign_in(store, user, code) == "Receipt"
            for node in cluster.nodes:
                node.kill()
    (newest.data / "grastate.dat").unlink()  # its disk is lost
    bootstrap(cluster, [*others, newest])
    with open_store(newest.url) as store:
        registry = registry_at(store, user.clock)
        device = store.load(user.principal).device
        assert device is not None
        assert device.last_step < user.clock() // PERIOD  # the used code is valid again
        marked = registry.mark_account_spent(ACCOUNT, by=SERVICE, until=int(user.clock()))
        assert marked > 0
        assert sign_in(store, user, code) == "AlreadyUsed"
        user.clock.advance(SPENT_STEPS * PERIOD)
        assert sign_in(store, user, user.phone.code()) == "Receipt"


# Settings


def test_a_connection_without_causal_reads_is_refused(cluster: GaleraCluster) -> None:
    for setting in ("wsrep_sync_wait = 0", "wsrep_sync_wait = 6", "wsrep_dirty_reads = ON"):
        with open_store(cluster.nodes[0].url) as store:
            assert store.health() == ()
            engine = store._engine()
            with engine.connect() as connection:  # as a proxy does that mixes up connections
                connection.exec_driver_sql(f"SET SESSION {setting}")
            (fault, *_) = store.health()
            assert isinstance(fault, StoreUnavailable)
            assert "from the past" in str(fault)


def test_settings_that_lose_commits_are_refused(cluster: GaleraCluster) -> None:
    node = cluster.nodes[0]
    node.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        with open_store(node.url) as store, pytest.raises(StoreUnavailable, match="flush_log"):
            store.load(new_principal())
    finally:
        node.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
