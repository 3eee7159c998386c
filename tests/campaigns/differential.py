"""Compare codes of random keys, counters, digits and algorithms with independent code.

    python tests/campaigns/differential.py               # 100,000 cases
    python tests/campaigns/differential.py --seed 7 --cases 1000000

tests/reference.py follows the RFC in plain arithmetic. If oathtool (OATH Toolkit, in C) is
installed, 1,000 runs of 100 codes are compared with it as well.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reference import ALGORITHMS, reference_hotp
from vmfa import Key, UnsafeShortKey, hotp, totp, verify_totp

EDGES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


def counters(draw: random.Random) -> int:
    return draw.choice(
        (draw.choice(EDGES), draw.getrandbits(draw.randint(1, 64)), draw.randrange(10**8))
    )


def against_reference(draw: random.Random, cases: int) -> int:
    differ = 0
    for _ in range(cases):
        raw = draw.randbytes(draw.choice((16, 20, 32, 64, draw.randint(1, 200))))
        key = (Key if len(raw) >= 16 else UnsafeShortKey)(raw)
        counter, digits, algorithm = counters(draw), draw.randint(6, 8), draw.choice(ALGORITHMS)
        code = hotp(key, counter, digits=digits, algorithm=algorithm)
        if code != reference_hotp(raw, counter, digits, algorithm):
            differ += 1
            print(f"differs: {len(raw)} bytes, counter {counter}, {digits} digits, {algorithm}")
        if counter < 2**62:  # the verifier has its own scan
            at = counter * 30 + draw.randrange(30)
            step = verify_totp(
                key, code, at, after=-1, window=0, digits=digits, algorithm=algorithm
            )
            differ += step != counter
    return differ


def against_oathtool(draw: random.Random, runs: int, length: int) -> int:
    differ = 0
    for _ in range(runs):
        raw, digits = draw.randbytes(draw.choice((16, 20, 32, 64))), draw.randint(6, 8)
        algorithm, at = draw.choice(ALGORITHMS), draw.randrange(2**33)
        command = [
            "oathtool",
            f"--totp={algorithm}",
            f"--digits={digits}",
            f"--window={length - 1}",
            f"--now={datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S UTC}",
            "-",
        ]
        theirs = subprocess.run(
            command, input=raw.hex(), capture_output=True, text=True, check=True
        ).stdout.split()
        ours = [
            totp(raw, at + 30 * step, digits=digits, algorithm=algorithm) for step in range(length)
        ]
        if ours != theirs:
            differ += 1
            print(f"differs from oathtool: {len(raw)} bytes, {at} s, {digits} digits, {algorithm}")
    return differ


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=4226)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    differ = against_reference(draw, options.cases)
    print(f"{options.cases:,} cases against the reference: {differ} differ")
    if shutil.which("oathtool"):
        theirs = against_oathtool(draw, 1000, 100)
        print(f"1,000 runs of 100 codes against oathtool: {theirs} differ")
        differ += theirs
    else:
        print("oathtool is not installed: no comparison with it")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
