"""Django: a verification with vmfa and with django-otp, on the same database and connection.

PostgreSQL and MariaDB are servers of the benchmark's own, reached over TCP. Each database is
measured in a process of its own, because Django's settings are global. VMFA_BENCH_DJANGO, a part
of a title, selects databases. If the folder for temporary files is not on a real disk, the figures
of durable commits mean nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # where the server is

from django_peer import DjangoDevice
from mariadb_server import mariadb_server
from measure import (
    FLOOR,
    Limits,
    Options,
    RatioTable,
    Series,
    Table,
    main,
    ratio_rows,
    time_operations,
)
from postgres import django_database, new_server, schema, with_settings
from users import user_over

LIMITS = Limits(0.35, 0.7)
WARM_UP = 1001  # operations: SQLite has its first checkpoint by then


def measured(database: Mapping[str, Any], setting: str, rounds: int) -> Series:
    """Return the seconds of both, on one database, after the statement *setting*."""
    try:
        import MySQLdb  # noqa: F401  # mysqlclient
    except ImportError:
        import pymysql

        pymysql.install_as_MySQLdb()
    device = DjangoDevice(database)
    from vmfa.integrations.django.store import DjangoStore

    if setting:
        device.execute(setting)
    operations = {FLOOR: device.sign_in, "vmfa": user_over(DjangoStore()).sign_in}
    for operation in operations.values():
        for _ in range(WARM_UP):
            operation()
    series = time_operations(operations, rounds=rounds, operations_per_round=20)
    device.close()
    return series


def alone(database: Mapping[str, Any], setting: str, rounds: int) -> Series:
    """Measure in a new process."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, database, setting, rounds).result()


def databases(stack: ExitStack) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield a name, the settings and a first statement for each database."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for synchronous in ("NORMAL", "FULL"):
        yield f"SQLite file, WAL, synchronous = {synchronous}", {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": folder / f"{synchronous}.db",
            "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL"},
        }, f"PRAGMA synchronous = {synchronous}"
    conninfo = stack.enter_context(new_server())
    for value in ("off", "on"):
        name = stack.enter_context(schema(conninfo, value))
        database = django_database(with_settings(conninfo, name, value))
        yield f"PostgreSQL, synchronous_commit = {value}", database, ""
    if shutil.which("mariadbd") is None:
        print("mariadbd is not installed: MariaDB is left out")
        return
    server = stack.enter_context(mariadb_server())
    for value in ("2", "1"):
        server.execute(
            f"CREATE DATABASE flush_{value}; SET GLOBAL innodb_flush_log_at_trx_commit = {value}"
        )
        yield f"MariaDB, innodb_flush_log_at_trx_commit = {value}", {
            "ENGINE": "django.db.backends.mysql", "NAME": f"flush_{value}",
            "HOST": server.host, "PORT": server.port, "USER": server.user,
        }, ""


def answer(options: Options) -> Iterator[Table]:
    only = os.environ.get("VMFA_BENCH_DJANGO", "")
    with ExitStack() as stack:
        for name, database, setting in databases(stack):
            if only not in name:
                continue
            series = alone(database, setting, options.rounds(42))
            yield RatioTable(
                title=f"A code is accepted through Django, {name}",
                section="django",
                question=name,
                floor="django-otp on the same database",
                rows=ratio_rows(series, limits={"vmfa": LIMITS}),
            )


if __name__ == "__main__":
    main(answer, __file__)
