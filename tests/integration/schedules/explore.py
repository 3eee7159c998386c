"""Every schedule of every game, on both engines: ``python tests/integration/schedules/explore.py`` (a quarter of an hour).

Two processes in every schedule there is; three in every schedule where each does only a few things, else in a sample of
``--sample`` random ones. ``--mutants`` plays broken statements instead; ``--engine`` and ``--game`` play one alone.
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

from interleaving import MUTANTS, Explorer  # noqa: E402  # found by the line above
from scenarios import GAMES, SHORT, ground  # noqa: E402  # as before

from postgres_server import the_server  # noqa: E402  # as before

say = partial(print, flush=True)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--engine", choices=["sqlite", "postgres"], action="append")
    asked.add_argument("--game", choices=list(GAMES), action="append")
    asked.add_argument("--processes", type=int, choices=[2, 3], action="append")
    asked.add_argument("--sample", type=int, default=2000)
    asked.add_argument(
        "--mutants", action="store_true", help="play the mutants, each of which must be found"
    )
    options = asked.parse_args()
    failed = 0
    for engine in options.engine or ["sqlite", "postgres"]:
        with (
            tempfile.TemporaryDirectory() as folder,
            ground(engine, Path(folder), the_server) as database,
            closing(Explorer(database, 3)) as explorer,
        ):
            for mutant in MUTANTS if options.mutants else [""]:
                killed = 0
                for processes in options.processes or ([2] if mutant else [2, 3]):
                    for name in options.game or GAMES:
                        game = GAMES[name](processes)
                        began = time.monotonic()
                        sample = options.sample if processes == 3 and name not in SHORT else None
                        report = explorer.explore(game.start, game.jobs, mutant, sample=sample)
                        killed += bool(report.bad)
                        failed += bool(report.bad) and not mutant
                        say(
                            f"{engine:8} {name:18} {processes} processes {mutant:26} {report.schedules:7} schedules"
                            f"{' (all)' if sample is None else '      '} {len(report.bad):5} bad"
                            f" {time.monotonic() - began:7.1f} s  {len(report.ends)} ends"
                        )
                        if report.bad and not mutant:
                            say(report.bad[0])
                        if killed and mutant:
                            break  # one game that finds it is enough
                if mutant and not killed:
                    failed += 1
                    say(f"{engine}: {mutant} SURVIVED")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
