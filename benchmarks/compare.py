"""Two versions of the library: ``python benchmarks/compare.py BEFORE AFTER``.

BEFORE and AFTER are checkouts, for example created by ``git worktree add``. Each is measured in
its own process. The processes take turns, in random order, so that both measure the same machine.
Each result is divided by the floor of the same process and round. The last column compares these
ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

VERIFICATIONS = 200  # a round, in memory
COMMITS = {"NORMAL": 60, "FULL": 15}  # a round
CHECKPOINT = 1000  # commits until SQLite's first checkpoint: until then each one costs more
IMPORTS = {
    "import vmfa": "import vmfa",
    "from vmfa import totp": "from vmfa import totp",
    "import of the registry": "from vmfa import DeviceRegistry, SQLiteStore",
}


# In the measured process. It imports the version under test, so it uses names that both have.


def worker(folder: str) -> None:
    """Read a question from each line of the input, measure one round, and print a JSON line."""
    import vmfa

    questions = {
        "in memory": in_memory(vmfa.MemoryStore(), VERIFICATIONS),
        "record encoded": in_memory(encoding_store(), VERIFICATIONS),
        "SQLite NORMAL": in_file(folder, "NORMAL"),
        "SQLite FULL": in_file(folder, "FULL"),
    }
    print(json.dumps({"questions": list(questions), "module": vmfa.__file__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(questions[line.strip()]()), flush=True)


def encoding_store() -> Any:
    import vmfa
    from vmfa.record import columns, from_columns

    class EncodingStore(vmfa.MemoryStore):
        volatile = False

        def __init__(self) -> None:
            super().__init__()
            self.rows: dict[Any, Any] = {}

        def load(self, principal: Any) -> Any:
            row = self.rows.get(principal)
            return from_columns(principal, *row[3:]) if row else vmfa.Principal(id=principal)

        def commit(self, before: Any, after: Any, _events: Any) -> bool:
            row = self.rows.get(before.id)
            if row is not None and row[3] != before.revision:
                return False
            self.rows[after.id] = columns(after)
            return True

    return EncodingStore()


def signing_in(store: Any) -> tuple[Callable[[int], None], Callable[[], None]]:
    """Return a function that computes codes in advance, and one that presents the next one."""
    import vmfa

    now = [1_700_000_010]
    alice = vmfa.PrincipalId.user("123456789012", "u-4711")
    me = vmfa.Actor.signed_in(alice)
    keys = vmfa.DerivedKeys(bytes(range(32)))
    registry = vmfa.DeviceRegistry(store, keys=keys, issuer="Example", clock=lambda: now[0])
    opened = registry.open_enrollment(alice, by=me, label="alice")
    key = vmfa.Key.from_base32(opened.base32)
    code1, code2 = vmfa.totp(key, now[0] - 30), vmfa.totp(key, now[0])
    registry.confirm_enrollment(alice, session=opened.session_id, code1=code1, code2=code2, by=me)
    codes: list[str] = []

    def prepare(count: int) -> None:
        codes[:] = [vmfa.totp(key, now[0] + 60 * number) for number in range(count, 0, -1)]

    def sign_in() -> None:
        now[0] += 60  # not 30: one code in a million is equal to the next one, and both are spent
        registry.verify(alice, codes.pop())

    return prepare, sign_in


def in_memory(store: Any, count: int) -> Callable[[], dict[str, float]]:
    import time
    from hmac import digest

    prepare, sign_in = signing_in(store)
    key, message = bytes(range(20)), bytes(8)

    def measure() -> dict[str, float]:
        prepare(count)
        start = time.process_time()
        for _ in range(10 * count):
            digest(key, message, "sha1")
        middle = time.process_time()
        for _ in range(count):
            sign_in()
        end = time.process_time()
        return {"floor": (middle - start) / (10 * count), "time": (end - middle) / count}

    measure()  # warm up
    return measure


def in_file(folder: str, synchronous: str) -> Callable[[], dict[str, float]]:
    """Return a measurement. Its floor: raw statements on another file, and a sign-in in memory."""
    import sqlite3
    import time

    import vmfa

    path = Path(folder) / f"{synchronous}.db"
    store = vmfa.SQLiteStore(path, unsafe_not_durable=synchronous == "NORMAL")
    prepare, sign_in = signing_in(store)
    prepare_floor, sign_in_memory = signing_in(vmfa.MemoryStore())
    raw = sqlite3.connect(Path(folder) / f"raw-{synchronous}.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute(f"PRAGMA synchronous = {synchronous}")
    raw.execute(
        "CREATE TABLE principal (account TEXT, kind TEXT, name TEXT, revision INTEGER,"
        " state TEXT, tag TEXT, PRIMARY KEY (account, kind, name))"
    )
    name = ("123456789012", "user", "u-4711")
    raw.execute("INSERT INTO principal VALUES (?, ?, ?, 1, ?, ?)", (*name, "s" * 200, "t" * 64))

    def statements() -> None:
        where = "WHERE account = ? AND kind = ? AND name = ?"
        select = f"SELECT revision, state, tag FROM principal {where}"
        revision, state, tag = raw.execute(select, name).fetchone()
        update = (
            f"UPDATE principal SET revision = ?, state = ?, tag = ? {where}"
            " AND revision = ? AND tag = ?"
        )
        raw.execute(update, (revision + 1, state, tag, *name, revision, tag))

    def measure(count: int = COMMITS[synchronous]) -> dict[str, float]:
        prepare(count)
        prepare_floor(count)
        floors, times = [], []
        for _ in range(count):
            start = time.perf_counter()
            statements()
            sign_in_memory()
            middle = time.perf_counter()
            sign_in()
            floors.append(middle - start)
            times.append(time.perf_counter() - middle)
        return {"floor": median(floors), "time": median(times)}

    measure(CHECKPOINT + 1)
    return measure


# In the process that compares


class Version:
    """A checkout, and the process that measures it."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.source = checkout.resolve() / "src"
        folder.mkdir()
        self._cache = folder / "pycache"
        environment = os.environ | {
            "PYTHONPATH": str(self.source), "PYTHONPYCACHEPREFIX": str(self._cache)
        }  # fmt: skip
        command = [sys.executable, __file__, "--worker", str(folder)]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        start = self._read()
        self.questions: list[str] = start["questions"]
        if not Path(start["module"]).is_relative_to(self.source):
            raise SystemExit(f"{start['module']} was measured instead of {self.source}")

    def measure(self, question: str) -> dict[str, float]:
        assert self._process.stdin
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        result: dict[str, float] = self._read()
        return result

    def import_seconds(self, statement: str) -> float:
        """Return the CPU seconds of a new process that executes *statement*."""
        path = f"import sys; sys.path.insert(0, {str(self.source)!r}); {statement}"
        cache = f"pycache_prefix={self._cache}"
        process = subprocess.Popen([sys.executable, "-I", "-X", cache, "-c", path])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the measurement of {self.source} failed")
        return json.loads(line)


def compare(versions: dict[str, Version], rounds: int) -> Iterable[list[str]]:
    order = list(versions)
    for question in versions["before"].questions:
        ratios: dict[str, list[float]] = {name: [] for name in versions}
        times: dict[str, list[float]] = {name: [] for name in versions}
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                result = versions[name].measure(question)
                ratios[name].append(result["time"] / result["floor"])
                times[name].append(result["time"])
        yield _row(question, ratios, times)


def compare_imports(versions: dict[str, Version], rounds: int) -> Iterable[list[str]]:
    statements = {"nothing": "pass", "floor": "import hmac, struct", **IMPORTS}
    seconds: dict[tuple[str, str], list[float]] = {}
    order = [(name, case) for name in versions for case in statements]
    for name, case in order:
        versions[name].import_seconds(statements[case])  # compiles
    for _ in range(rounds):
        random.shuffle(order)
        for name, case in order:
            taken = versions[name].import_seconds(statements[case])
            seconds.setdefault((name, case), []).append(taken)
    nothing = median([taken for name in versions for taken in seconds[name, "nothing"]])
    floor = median([taken for name in versions for taken in seconds[name, "floor"]]) - nothing
    for case in IMPORTS:
        times = {name: [taken - nothing for taken in seconds[name, case]] for name in versions}
        ratios = {name: [taken / floor for taken in series] for name, series in times.items()}
        yield _row(case, ratios, times)


def _row(
    question: str, ratios: dict[str, list[float]], times: dict[str, list[float]]
) -> list[str]:
    pairs = zip(ratios["before"], ratios["after"], strict=True)
    low, middle, high = quantiles([after / before for before, after in pairs], n=4)
    return [
        question,
        *[f"{median(ratios[name]):.2f}" for name in ("before", "after")],
        *[f"{median(times[name]) * 1e6:.0f}" for name in ("before", "after")],
        f"{middle:.2f} ({low:.2f} - {high:.2f})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another checkout")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rough figures")
    options = parser.parse_args()
    rounds = 9 if options.quick else 61
    from measure import environment, text_table

    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        versions = {}
        for name in ("before", "after"):
            versions[name] = Version(getattr(options, name), Path(folder) / name)
            opened.callback(versions[name].close)
        print(environment())
        rows = [*compare(versions, rounds), *compare_imports(versions, rounds)]
    head = ("question", "before", "after", "before, us", "after, us", "after / before, quartiles")
    print(text_table("Ratios to the floor of each version", head, rows).text())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2])
    else:
        main()
