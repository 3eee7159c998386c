"""Import time and memory: fresh isolated processes, CPU and peak memory over ``python -I -c pass``."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from measure import Facts, Run, Table, compared, main

NOTHING = "pass"
FLOOR = "import hmac, struct"
CASES = {
    "import vmfa": "import vmfa",
    "from vmfa import totp": "from vmfa import totp",
    "from vmfa import DeviceRegistry, SQLiteStore": "from vmfa import DeviceRegistry, SQLiteStore",
    "mintotp": "import mintotp",
    "pyotp": "import pyotp",
    "cryptography twofactor": "from cryptography.hazmat.primitives.twofactor.totp import TOTP",
    "libpass": "import warnings; warnings.simplefilter('ignore'); from passlib.totp import TOTP",
}
GOALS = {
    "import vmfa": (1, 2),
    "from vmfa import totp": (3, 6.2),
    "from vmfa import DeviceRegistry, SQLiteStore": (7, 9),
}


def fresh(code: str, cache: str) -> list[str]:
    """Isolated, so no variable of the caller counts; compiled files are kept, as they are when installed."""
    return [sys.executable, "-I", "-X", f"pycache_prefix={cache}", "-c", code]


def cpu_seconds(command: list[str]) -> float:
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def peak_megabytes(command: list[str]) -> float:
    """Read by the child itself: the system's own account of a child starts with its parent's size."""
    *head, code = command
    asked = f"{code}\nprint(open('/proc/self/status').read())"
    told = subprocess.run([*head, asked], stdout=subprocess.PIPE, check=True, text=True).stdout
    line = next(line for line in told.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def answer(run: Run) -> Iterator[Table]:
    programs = {"nothing": NOTHING, "floor": FLOOR, **CASES}
    seen: dict[str, list[float]] = {name: [] for name in programs}
    memory: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as cache:
        commands = {name: fresh(code, cache) for name, code in programs.items()}
        for command in commands.values():
            cpu_seconds(command)  # compiles
        order = list(programs)
        for _ in range(max(21, run.rounds(61))):  # fewer do not tell the floor
            random.shuffle(order)
            for name in order:
                seen[name].append(cpu_seconds(commands[name]))
        if Path("/proc/self/status").exists():
            for _ in range(3):
                for name in order:
                    memory[name].append(peak_megabytes(commands[name]))
    nothing = median(seen.pop("nothing"))
    over = {name: [seconds - nothing for seconds in series] for name, series in seen.items()}
    over["floor"] = [median(over["floor"])] * len(over["floor"])  # a difference of small times: steadied
    yield Table("CPU of an import in a fresh process, over python -I -c pass", compared(over, goals=GOALS))
    if memory["nothing"]:
        base = median(memory.pop("nothing"))
        grown = sorted((median(series) - base, name) for name, series in memory.items())
        yield Facts("Peak memory of the same", ("case", "MB"), [(name, f"+{size:.1f}") for size, name in grown])


if __name__ == "__main__":
    main(answer, __file__)
