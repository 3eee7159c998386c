"""Run every schedule of every scenario on both engines: a quarter of an hour.

::

    python tests/integration/schedules/explore.py

Two processes run in every schedule there is. Three run in every schedule where each executes only
a few statements, and otherwise in ``--sample`` random ones. ``--mutants`` runs broken statements
instead, each of which must be found. ``--engine``, ``--scenario`` and ``--processes`` select some.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]  # as pytest would

from interleaving import MUTANTS, Explorer  # noqa: E402
from scenarios import SCENARIOS, SHORT, open_database  # noqa: E402

from postgres_server import the_server  # noqa: E402
from sqlalchemy_databases import SYNC  # noqa: E402

say = partial(print, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["sqlite", "postgres", *SYNC], action="append")
    parser.add_argument("--scenario", choices=list(SCENARIOS), action="append")
    parser.add_argument("--processes", type=int, choices=[2, 3], action="append")
    parser.add_argument("--sample", type=int, default=2000)
    parser.add_argument(
        "--mutants", action="store_true", help="run broken statements, which must be found"
    )
    options = parser.parse_args()
    failed = 0
    for engine in options.engine or ["sqlite", "postgres"]:
        with (
            tempfile.TemporaryDirectory() as folder,
            open_database(engine, Path(folder), the_server) as database,
            closing(Explorer(database, 3)) as explorer,
        ):
            for mutant in MUTANTS if options.mutants else [""]:
                killed = 0
                for processes in options.processes or ([2] if mutant else [2, 3]):
                    for name in options.scenario or SCENARIOS:
                        scenario = SCENARIOS[name](processes)
                        start = time.monotonic()
                        sample = (
                            options.sample
                            if processes == 3 and (engine, name) not in SHORT
                            else None
                        )
                        report = explorer.explore(
                            scenario.start, scenario.jobs, mutant, sample=sample
                        )
                        killed += bool(report.bad)
                        failed += bool(report.bad) and not mutant
                        say(
                            f"{engine:8} {name:18} {processes} processes {mutant:26}"
                            f" {report.schedules:7} schedules"
                            f"{' (all)' if sample is None else '      '} {len(report.bad):5} bad"
                            f" {time.monotonic() - start:7.1f} s  {len(report.ends)} ends"
                        )
                        if report.bad and not mutant:
                            say(report.bad[0])
                        if killed and mutant:
                            break  # one scenario is enough
                if mutant and not killed:
                    failed += 1
                    say(f"{engine}: {mutant} SURVIVED")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
