"""Check every state of the disk that a power cut could leave: minutes.

::

    python tests/integration/durability/crash_images.py --operations 40   # needs strace

strace records the system calls of a writer over the SQLite store. At every point of them, and by
several strategies, the files are rebuilt as a crash could leave them: what was synced is there; of
the rest, nothing, all, a random part, or torn sectors. The store must open each of them without
help and hold everything that was acknowledged.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]  # as pytest would

from writer import WHO, check_history  # noqa: E402

from support import MASTER  # noqa: E402
from vmfa import DerivedKeys, SQLiteStore, VmfaError  # noqa: E402
from vmfa.record import check_intact  # noqa: E402

STRATEGIES = ("none", "all", "random", "torn", "torn", "names late")
CALLS = "openat,close,pwrite64,write,fsync,fdatasync,ftruncate,unlink"
SECTOR = 512
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # crash images need no disk


@dataclass(frozen=True)
class Call:
    """One system call of the writer on a file of the store, or an acknowledgment."""

    kind: str  # created, written, truncated, synced, removed, folder synced, acknowledged
    path: str = ""
    offset: int = 0
    data: bytes = b""


def record(folder: Path, kind: str, operations: int) -> list[Call]:
    """Run a writer of that *kind* on a store in *folder* and return its calls."""
    place, log = folder / "written" / "mfa.db", folder / "strace.log"
    place.parent.mkdir()
    writer = [
        sys.executable,
        str(Path(__file__).with_name("writer.py")),
        "sqlite",
        str(place),
        kind,
        str(operations),
    ]
    tracing = ["strace", "-f", "-xx", "-s", "1000000", "-o", str(log), "-e", f"trace={CALLS}"]
    subprocess.run([*tracing, *writer], check=True, stdout=subprocess.DEVNULL)
    return list(parse(log.read_text(errors="replace").splitlines(), str(place)))


def parse(lines: list[str], place: str) -> Iterator[Call]:
    folder, opened = os.path.dirname(place), dict[str, str]()
    for line in lines:
        traced = re.match(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)", line)
        if traced is None or traced[3].startswith("-"):
            assert "unfinished" not in line, "the writer has one thread"
            continue
        name, result = traced[1], traced[3]
        texts = [
            bytes.fromhex(text.replace("\\x", ""))
            for text in re.findall(r'"((?:\\x..)*)"', traced[2])
        ]
        numbers = re.sub(r'"[^"]*"', '""', traced[2]).split(", ")
        path = opened.get(numbers[0], "")
        ours = path.startswith(place) and not path.endswith("-shm")
        if name == "openat":
            opened[result] = texts[0].decode()
            if (
                texts[0].decode().startswith(place)
                and "O_CREAT" in numbers[2]
                and not texts[0].endswith(b"-shm")
            ):
                yield Call("created", texts[0].decode())
        elif name == "close":
            opened.pop(numbers[0], None)
        elif name == "write" and numbers[0] == "1":
            yield Call("acknowledged", offset=int(texts[0].split()[1]))
        elif name == "pwrite64" and ours:
            yield Call("written", path, int(numbers[3]), texts[0][: int(result)])
        elif name == "ftruncate" and ours:
            yield Call("truncated", path, int(numbers[1]))
        elif name in ("fsync", "fdatasync") and (ours or path == folder):
            yield Call("synced" if ours else "folder synced", path)
        elif (
            name == "unlink"
            and texts[0].decode().startswith(place)
            and not texts[0].endswith(b"-shm")
        ):
            yield Call("removed", texts[0].decode())


@dataclass
class Disk:
    """``files`` is what is synced, ``pending`` what is not yet; and the same for names in the
    folder.
    """

    files: dict[str, bytearray] = field(default_factory=dict)
    pending: dict[str, list[Call]] = field(default_factory=dict)
    unnamed: set[str] = field(default_factory=set)
    removed: dict[str, bytearray] = field(default_factory=dict)
    acknowledged: int = 0

    def apply(self, call: Call) -> None:
        match call.kind:
            case "acknowledged":
                self.acknowledged = call.offset
            case "created":
                if call.path not in self.files:
                    self.files[call.path] = bytearray()
                    self.unnamed.add(call.path)
            case "written" | "truncated":
                self.pending.setdefault(call.path, []).append(call)
            case "synced":
                for change in self.pending.pop(call.path, []):
                    change_content(self.files[call.path], change)
            case "folder synced":
                self.unnamed.clear()
                self.removed.clear()
            case "removed":
                self.removed[call.path] = self.files.pop(call.path, bytearray())
                self.pending.pop(call.path, None)

    def crash(self, strategy: str, chance: random.Random) -> dict[str, bytes]:
        """Return the files as a power cut leaves them."""
        left = {path: bytearray(content) for path, content in self.files.items()}
        if strategy == "names late":
            left |= {
                path: bytearray(content)
                for path, content in self.removed.items()
                if path not in left
            }
            for path in self.unnamed:
                left.pop(path)
        for path, changes in self.pending.items():
            if path not in left:
                continue
            for change in changes:
                if strategy == "torn" and change.kind == "written":
                    for start in range(0, len(change.data), SECTOR):
                        if chance.random() < 0.5:
                            part = change.data[start : start + SECTOR]
                            change_content(
                                left[path], Call("written", path, change.offset + start, part)
                            )
                elif strategy == "all" or (
                    strategy in ("random", "names late", "torn") and chance.random() < 0.5
                ):
                    change_content(left[path], change)
        return {path: bytes(content) for path, content in left.items()}


def change_content(content: bytearray, change: Call) -> None:
    if change.kind == "truncated":
        content[:] = content[: change.offset].ljust(change.offset, b"\0")
        return
    end = change.offset + len(change.data)
    content.extend(bytes(max(0, end - len(content))))
    content[change.offset : end] = change.data


def problem_of(files: dict[str, bytes], acknowledged: int, folder: Path) -> str:
    """Return what is wrong with a crash image, or the empty string."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, content in files.items():
        (folder / os.path.basename(path)).write_bytes(content)
    keys = DerivedKeys(MASTER)
    try:
        with SQLiteStore(folder / "mfa.db", unsafe_not_durable=True) as store:
            record, history = store.load(WHO), store.history(WHO)
            if record.revision < acknowledged:
                return "an acknowledged commit is lost"
            check_intact(record, keys)
            check_history(record, history)
    except VmfaError as error:
        return f"the store does not open: {type(error).__name__}: {error}"
    return ""


@dataclass
class Outcome:
    images: int
    problems: Counter[str]
    examples: dict[str, tuple[int, str]]


def every_crash(calls: list[Call], folder: Path, *, one_in: int = 1, seed: int = 1) -> Outcome:
    """Crash after each of the *calls*, or after one in so many, by every strategy."""
    disk, chance, outcome = Disk(), random.Random(seed), Outcome(0, Counter(), {})
    for number, call in enumerate(calls):
        disk.apply(call)
        if number % one_in:
            continue
        for strategy in STRATEGIES:
            outcome.images += 1
            problem = problem_of(disk.crash(strategy, chance), disk.acknowledged, folder / "image")
            if problem:
                outcome.problems[problem] += 1
                outcome.examples.setdefault(problem, (number, strategy))
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=40)
    options = parser.parse_args()
    say = partial(print, flush=True)
    failed = 0
    for kind in ("durable", "unsafe", "early"):
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            outcome = every_crash(record(Path(folder), kind, options.operations), Path(folder))
        lost = bool(outcome.problems["an acknowledged commit is lost"])
        as_expected = not outcome.problems if kind == "durable" else lost
        failed += not as_expected
        say(
            f"{kind:8} {outcome.images} crash images, {dict(outcome.problems)} {outcome.examples}",
            "" if as_expected else "NOT AS EXPECTED",
        )
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
