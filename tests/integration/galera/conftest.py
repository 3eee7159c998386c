"""One cluster for all tests of this folder, repaired after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from galera_cluster import GaleraCluster
from sqlalchemy import create_engine

from vmfa.stores.sqlalchemy import SQLAlchemyStore


@pytest.fixture(scope="session")
def started() -> Iterator[GaleraCluster]:
    with GaleraCluster() as cluster:
        with SQLAlchemyStore(create_engine(cluster.nodes[0].url)) as store:
            store.create_schema()
        yield cluster


@pytest.fixture
def cluster(started: GaleraCluster) -> Iterator[GaleraCluster]:
    started.wait_until_whole()
    yield started
    started.repair()
