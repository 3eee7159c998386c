"""Sign-ins for minutes, while workers are killed and the server crashes every few seconds.

``python tests/integration/soak.py --minutes 10``. Workers sign the same users in at the same time,
on SQLite and on PostgreSQL, and note each acceptance in a file once it was reported to them.
Afterwards no code may have been accepted twice, and no reported acceptance may be missing from the
history.
The clock of the workers runs ten times as fast as time, so that codes are plenty.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))  # as pytest would

from postgres_server import Server, own_server  # noqa: E402  # found by the line above
from support import MASTER  # noqa: E402  # as before
from vmfa import (  # noqa: E402  # as before
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    EventType,
    Key,
    Policy,
    PrincipalId,
    SQLiteStore,
    StoreError,
)
from vmfa.audit import verify_history  # noqa: E402  # as before
from vmfa.keysources.sealed import SealedKeys  # noqa: E402  # as before
from vmfa.testing import AuthenticatorApp  # noqa: E402  # as before

ACCOUNT = "soak"
USERS = 100
WORKERS = 4
SPEED = 10  # seconds of the workers' clock for each real one
PERIOD = 30
SERVICE = Actor.trusted_service("soak")


def open_store(place: str) -> Any:
    if place.startswith("/"):
        return SQLiteStore(place, timeout=5)
    from vmfa.stores.postgres import PostgresStore

    return PostgresStore(place, timeout=5)


def clock_from(started_at: float) -> Callable[[], float]:
    return lambda: started_at + (time.time() - started_at) * SPEED


def registry_on(store: Any, started_at: float) -> DeviceRegistry:
    return DeviceRegistry(
        store, keys=DerivedKeys(MASTER), imported_keys=SealedKeys(MASTER), issuer="Example",
        clock=clock_from(started_at), policy=Policy(store_sign_ins=True),
    )


def user(number: int) -> PrincipalId:
    return PrincipalId.user(ACCOUNT, f"u-{number:03}")


def key_of(number: int) -> Key:
    return Key(f"the shared secret of {number:03}".encode())


def work(place: str, journal: str, started_at: float) -> None:
    """Sign users in until the process is killed. Errors of the store are counted and survived."""
    clock = clock_from(started_at)
    app = AuthenticatorApp(clock)
    phones = [app.add(key_of(number)) for number in range(USERS)]
    chance = random.Random(os.getpid())
    output = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with open_store(place) as store:
        registry = registry_on(store, started_at)
        while True:
            number = chance.randrange(USERS)
            code = phones[number].code()
            try:
                receipt = registry.verify(user(number), code)
            except CodeRejected as error:
                os.write(output, f"- {error.reason.replace(' ', '-')}\n".encode())
                time.sleep(0.01)
            except StoreError as error:
                os.write(output, f"! {type(error).__name__}\n".encode())
                time.sleep(0.05)
            else:
                os.write(output, f"+ {number} {receipt.step}\n".encode())


class Soak:
    """One store, its workers, and what happened to them."""

    def __init__(self, place: str, folder: Path, server: Server | None) -> None:
        self.place, self.server = place, server
        self.journal = folder / "journal"
        self.started_at = float(int(time.time()))
        self.kills = self.crashes = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        with open_store(place) as store:
            if server is not None:
                store.create_schema()
            registry = registry_on(store, self.started_at)
            for number in range(USERS):
                registry.adopt(user(number), by=SERVICE, key=key_of(number), system="soak")

    def start_worker(self) -> None:
        self.workers.append(subprocess.Popen([
            sys.executable, str(HERE), "--worker", self.place, str(self.journal),
            str(self.started_at),
        ]))

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.kills += 1

    def run(self, seconds: float, chance: random.Random) -> None:
        for _ in range(WORKERS):
            self.start_worker()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(1, 4))
            if chance.random() < 0.3:
                self.crash()
            else:
                self.kill(chance.choice(self.workers))
            while len(self.workers) < WORKERS:
                self.start_worker()
        for worker in list(self.workers):
            self.kill(worker)

    def crash(self) -> None:
        """Crash the server; where there is none, every worker at once."""
        self.crashes += 1
        if self.server is None:
            for worker in list(self.workers):
                self.kill(worker)
            return
        self.server.stop("immediate")
        time.sleep(0.5)
        self.server.start()

    def report(self) -> dict[str, Any]:
        accepted: Counter[tuple[int, int]] = Counter()
        other: Counter[str] = Counter()
        for line in self.journal.read_text().splitlines():
            kind, *fields = line.split()
            if kind == "+":
                accepted[int(fields[0]), int(fields[1])] += 1
            else:
                other[fields[0]] += 1
        with open_store(self.place) as store:
            registry = registry_on(store, self.started_at)
            results = list(verify_history(
                store, ACCOUNT, operations=registry.operations, by=Actor.support("soak"),
                clock=clock_from(self.started_at),
            ))
        stored = Counter(
            (result.principal, dict(event.details)["step"])
            for result in results
            for event in result.events
            if event.type is EventType.ACCEPTED
        )
        return {
            "accepted": accepted.total(),
            "doubled": sum(
                count - 1 for counter in (accepted, stored) for count in counter.values()
            ),
            "lost": sum((user(number), step) not in stored for number, step in accepted),
            "accepted_and_not_reported": stored.total() - accepted.total(),
            "broken_histories": sum(bool(result.problem) for result in results),
            "workers_killed": self.kills,
            "crashes": self.crashes,
            "other_answers": dict(other.most_common()),
        }


def soak(store: str, seconds: float, seed: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="vmfa-soak-"))
    try:
        server = own_server() if store == "postgres" else None
        place = str(folder / "mfa.db") if server is None else server.conninfo
        run = Soak(place, folder, server)
        run.run(seconds, random.Random(seed))
        return {"store": store, "minutes": round(seconds / 60, 2), "seed": seed, **run.report()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="for each store (1)")
    parser.add_argument(
        "--store", choices=["sqlite", "postgres"], action="append", help="default: both"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        place, journal, started_at = args.worker
        work(place, journal, float(started_at))
    failed = False
    for store in args.store or ["sqlite", "postgres"]:
        result = soak(store, 60 * args.minutes, args.seed)
        print(json.dumps(result), flush=True)
        failed |= any(result[name] for name in ("doubled", "lost", "broken_histories"))
        failed |= not result["accepted"]
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
