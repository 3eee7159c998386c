"""Import time and memory, in new isolated processes, over ``python -I -c pass``."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from measure import FLOOR, Limits, Options, RatioTable, Series, Table, main, ratio_rows, text_table

NOTHING = "nothing"
REGISTRY = "`from vmfa import DeviceRegistry, SQLiteStore`"
STATEMENTS = {
    NOTHING: "pass",
    FLOOR: "import hmac, struct",
    "`import vmfa`": "import vmfa",
    "`from vmfa import totp`": "from vmfa import totp",
    REGISTRY: "from vmfa import DeviceRegistry, SQLiteStore",
    "mintotp": "import mintotp",
    "pyotp": "import pyotp",
    "cryptography": "from cryptography.hazmat.primitives.twofactor.totp import TOTP",
    "libpass": "import warnings; warnings.simplefilter('ignore'); from passlib.totp import TOTP",
}
LIMITS = {
    "`import vmfa`": Limits(1, 2),
    "`from vmfa import totp`": Limits(3, 6.2),
    REGISTRY: Limits(10, 14),
}


def new_process(code: str, cache: str) -> list[str]:
    """Return a command: isolated from the environment, with compiled files as when installed."""
    return [sys.executable, "-I", "-X", f"pycache_prefix={cache}", "-c", code]


def cpu_seconds(command: list[str]) -> float:
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def peak_megabytes(command: list[str]) -> float:
    """Return the peak memory that the process reports: ``getrusage`` would include its parent."""
    *start, code = command
    report = f"{code}\nprint(open('/proc/self/status').read())"
    result = subprocess.run([*start, report], stdout=subprocess.PIPE, check=True, text=True)
    line = next(line for line in result.stdout.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def answer(options: Options) -> Iterator[Table]:
    seconds: Series = {case: [] for case in STATEMENTS}
    megabytes: Series = {case: [] for case in STATEMENTS}
    with tempfile.TemporaryDirectory() as cache:
        commands = {case: new_process(code, cache) for case, code in STATEMENTS.items()}
        for command in commands.values():
            cpu_seconds(command)  # compiles
        order = list(STATEMENTS)
        for _ in range(max(21, options.rounds(61))):  # with fewer, the floor is too inexact
            random.shuffle(order)
            for case in order:
                seconds[case].append(cpu_seconds(commands[case]))
        if Path("/proc/self/status").exists():
            for _ in range(3):
                for case in order:
                    megabytes[case].append(peak_megabytes(commands[case]))
    nothing = median(seconds.pop(NOTHING))
    over = {case: [value - nothing for value in series] for case, series in seconds.items()}
    over[FLOOR] = [median(over[FLOOR])] * len(over[FLOOR])  # small, so its noise is large
    rows = ratio_rows(over, limits=LIMITS)
    yield RatioTable(
        title="CPU time of an import in a new process",
        question="import",
        floor="`import hmac, struct`",
        rows=rows,
    )
    memory: dict[str, str] = {}
    if megabytes[NOTHING]:
        base = median(megabytes.pop(NOTHING))
        memory = {case: f"+{median(series) - base:.1f}" for case, series in megabytes.items()}
    yield text_table(
        "Import time and memory",
        ("import", "CPU time, ratio", "memory, MB", "reach", "never"),
        [
            (
                row.case, f"{row.ratio:.1f}", memory.get(row.case, ""),
                *((f"{row.limits.reach:g}", f"{row.limits.never:g}") if row.limits else ("", "")),
            )
            for row in rows
        ],
        section="import",
    )  # fmt: skip


if __name__ == "__main__":
    main(answer, __file__)
