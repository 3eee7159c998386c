"""Timing leaks: two classes of input in random order, Welch's t on what they take, and the effect in nanoseconds.

A t beyond 5 says that the classes differ at all; an effect above 100 ns says that somebody might one day use it. Both
are asked for, since on a shared machine two classes of the *same* input have reached t = 4. A planted leak, the early
return that other libraries have, must be found by the same measurement, or its silence means nothing.

Interrupted traces make the raw t blunt on a busy machine: there even a planted leak of 3,000 ns reached only 8. The
cropped t, without the slowest tenth, is sharp: it sees differences of 20 ns, too. It is shown beside, and is no gate.

What the answer itself tells is no leak: verification accepts or raises, and raising takes longer. The classes that
end differently are therefore compared at ``scan``, which all of them pass.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from math import sqrt
from statistics import fmean, quantiles, variance
from typing import Any

import pyotp
from django_otp import oath as django_oath

import vmfa
from devices import BEGAN, STEP, phone_over
from measure import Facts, Run, Table, main
from vmfa.keys import base32
from vmfa.otp import scan, step_at, window_steps

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # libpass tells at import what it may one day drop
    from passlib import totp as libpass_totp

NOW = BEGAN
HERE = step_at(NOW)
WINDOW = window_steps(HERE, 1, 1)
HIGHEST_T, HIGHEST_NS = 5.0, 100.0
QUIET, LEAKS = "quiet", "leaks"
Trace = tuple[Callable[[], object], Callable[[], object]]  # what makes ready, and what is timed


@dataclass(frozen=True)
class Verdict:
    raw: float
    cropped: float
    nanoseconds: float

    @property
    def leaks(self) -> bool:
        """Cropping counts here: one interrupted trace can drown the raw t."""
        return max(abs(self.raw), abs(self.cropped)) >= HIGHEST_T and abs(self.nanoseconds) >= HIGHEST_NS

    @property
    def quiet(self) -> bool:
        return abs(self.raw) < HIGHEST_T and abs(self.nanoseconds) < HIGHEST_NS


class Codes:
    """Many keys, and for each a code per class, so that no single code speaks for its class."""

    def __init__(self, keys: int = 64) -> None:
        chosen = random.Random(20_26)
        self.raw = [chosen.randbytes(20) for _ in range(keys)]
        self.keys = [vmfa.Key(raw) for raw in self.raw]
        for key in self.keys:
            vmfa.totp(key, NOW)  # prepared
        self.first = [vmfa.totp(key, NOW - STEP) for key in self.keys]
        self.middle = [vmfa.totp(key, NOW) for key in self.keys]
        self.last = [vmfa.totp(key, NOW + STEP) for key in self.keys]
        self.wrong_first_digit = [self._changed(code, 0) for code in self.middle]
        self.wrong_last_digit = [self._changed(code, 5) for code in self.middle]
        self.miss = [self._changed(self._changed(code, 2), 3) for code in self.middle]

    @staticmethod
    def _changed(code: str, at: int) -> str:
        return code[:at] + str((int(code[at]) + 5) % 10) + code[at + 1 :]


def nothing() -> None:
    """Most traces need no preparation."""


def each(check: Callable[[Any, str], object], keys: Sequence[Any], codes: Sequence[str]) -> list[Trace]:
    """One trace a key and its code."""
    return [(nothing, partial(check, key, code)) for key, code in zip(keys, codes, strict=True)]


def by_scan(key: vmfa.Key, code: str) -> None:
    scan(key, (code,), WINDOW, 6, "sha1")


def by_verify_totp(key: vmfa.Key, code: str) -> None:
    with suppress(vmfa.CodeRejected):
        vmfa.verify_totp(key, code, NOW, after=-1)


def by_registry() -> Iterator[list[Trace]]:
    """The whole verification, of a record that is put back before each attempt: matches at -1, and matches at +1.

    Both of one registry: two of them differ by up to 100 ns, either way, by where their objects lie in memory.
    """
    store = vmfa.MemoryStore()
    phone = phone_over(store)
    phone.clock.now += 10 * STEP
    state = store.load(phone.who)

    def put_back() -> None:
        store._records[phone.who] = state

    for steps_off in (-1, 1):
        code = vmfa.totp(phone.key, phone.clock.now + steps_off * STEP)
        yield [(put_back, partial(phone.registry.verify, phone.who, code))]


def by_early_return(key: vmfa.Key, code: str) -> bool:
    """The planted leak: what most libraries do."""
    return any(compare_digest(vmfa.hotp(key, step), code) for step in WINDOW)


def by_pyotp(key: pyotp.TOTP, code: str) -> None:
    assert key.verify(code, for_time=NOW, valid_window=1)


def by_libpass(key: libpass_totp.TOTP, code: str) -> None:
    key.match(code, time=NOW, window=STEP)


def by_django_otp(raw: bytes, code: str) -> None:
    found = django_oath.TOTP(raw)
    found.time = NOW
    assert found.verify(int(code), tolerance=1)


def compare(left: Sequence[Trace], right: Sequence[Trace], traces: int) -> Verdict:
    """Time *traces* of each class, in random order; the effect is the difference of the cropped means."""
    chosen = random.Random(4711)
    order = [0, 1] * traces
    chosen.shuffle(order)
    seen: tuple[list[int], list[int]] = ([], [])
    classes = left, right
    sizes = len(left), len(right)
    clock = time.perf_counter_ns
    for which in order:
        ready, act = classes[which][chosen.randrange(sizes[which])]
        ready()
        began = clock()
        act()
        seen[which].append(clock() - began)
    limit = quantiles(seen[0] + seen[1], n=10)[8]
    cropped = tuple([taken for taken in series if taken <= limit] for series in seen)
    return Verdict(welch(*seen), welch(*cropped), fmean(cropped[1]) - fmean(cropped[0]))


def welch(left: Sequence[float], right: Sequence[float]) -> float:
    return (fmean(right) - fmean(left)) / sqrt(variance(left) / len(left) + variance(right) / len(right))


def answer(run: Run) -> Iterator[Table]:
    codes = Codes()
    keys, first, last, right = codes.keys, codes.first, codes.last, codes.middle
    repeats, traces = (1, 6_000) if run.quick else (3, 60_000)
    scanned, verified, leaving = partial(each, by_scan, keys), partial(each, by_verify_totp, keys), by_early_return
    wrong = codes.wrong_first_digit, codes.wrong_last_digit
    questions = (
        ("control: the same input twice", scanned(right), scanned(right), QUIET),
        ("planted: early return, -1 against +1", each(leaving, keys, first), each(leaving, keys, last), LEAKS),
        ("scan: match at -1 against +1", scanned(first), scanned(last), QUIET),
        ("scan: match against miss", scanned(right), scanned(codes.miss), QUIET),
        ("scan: replayed against wrong", scanned(last), scanned(wrong[1]), QUIET),
        ("verify_totp: match at -1 against +1", verified(first), verified(last), QUIET),
        ("verify_totp: wrong first against wrong last digit", verified(wrong[0]), verified(wrong[1]), QUIET),
        ("registry.verify: match at -1 against +1", *by_registry(), QUIET),
    )
    facts = []
    for name, one, other, expected in questions:
        verdicts = [compare(one, other, traces) for _ in range(repeats)]
        held = all(verdict.quiet if expected == QUIET else verdict.leaks for verdict in verdicts)
        facts.append((name, *cells(verdicts), expected, "held" if held else "NOT HELD"))
    head = ("classes", "t raw", "t cropped", "effect in ns", "expected", f"{repeats} of {repeats}")
    yield Facts(f"Timing of two classes, {traces} traces each", head, facts,
                f"quiet: |t raw| < {HIGHEST_T:g} and under {HIGHEST_NS:g} ns; leaks: beyond both, t raw or cropped")
    peers = (
        ("pyotp", by_pyotp, [pyotp.TOTP(base32(key)) for key in keys]),
        ("libpass", by_libpass, [libpass_totp.TOTP(key=raw, format="raw") for raw in codes.raw]),
        ("django-otp", by_django_otp, codes.raw),
    )
    others = [
        (name, *cells([compare(each(check, given, first), each(check, given, last), traces // 3)]))
        for name, check, given in peers
    ]
    yield Facts(f"Peers, match at -1 against +1, {traces // 3} traces each", head[:4], others)


def cells(verdicts: Sequence[Verdict]) -> tuple[str, str, str]:
    return tuple(
        ", ".join(f"{value:+.1f}" for value in values)
        for values in zip(*((one.raw, one.cropped, one.nanoseconds) for one in verdicts), strict=True)
    )


if __name__ == "__main__":
    main(answer, __file__)
