"""Timing leaks: two classes of input in random order, Welch's t, and the difference in time.

A |t| above 5 means that the classes differ. A difference above 100 ns might help an attacker. A
leak needs both: on a shared machine, two classes of the same input have reached t = 4. The same
measurement must find a planted leak, the early return of other libraries, and must find none in a
control with the same input in both classes.

On a busy machine, interruptions make the raw t insensitive: a planted leak of 3,000 ns reached
only 8. The cropped t omits the slowest tenth. It is sensitive and finds differences of 20 ns. It
is shown, but it decides only whether the planted leak is found.

The answer itself is not a leak: a refusal raises, which takes longer than an acceptance. So
classes with different answers are compared in ``scan``, which all of them run.
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
from measure import Options, Table, main, text_table
from users import START, STEP, user_over
from vmfa.keys import base32
from vmfa.otp import scan, step_at, window_steps

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # libpass warns of deprecations when it is imported
    from passlib import totp as libpass_totp

NOW = START
CURRENT_STEP = step_at(NOW)
WINDOW = window_steps(CURRENT_STEP, 1, 1)
MAX_T, MAX_NS = 5.0, 100.0
REPEATS, MEASUREMENTS = 3, 60_000
NO_LEAK, LEAK, NOT_REQUIRED = "no leak", "leak", "not required"
Trace = tuple[Callable[[], object], Callable[[], object]]  # the preparation, and what is timed
HEAD = ("inputs compared", "Welch's t", "t, cropped", "difference in ns", "expected")


@dataclass(frozen=True)
class Difference:
    """How two classes differ: Welch's t, raw and cropped, and the cropped means."""

    t: float
    cropped_t: float
    nanoseconds: float

    def is_as(self, expected: str) -> bool:
        if expected == LEAK:  # one interrupted trace can hide it from the raw t
            t = max(abs(self.t), abs(self.cropped_t))
            return t >= MAX_T and abs(self.nanoseconds) >= MAX_NS
        return abs(self.t) < MAX_T and abs(self.nanoseconds) < MAX_NS


class Codes:
    """Many keys, each with one code for each class of input."""

    def __init__(self, keys: int = 64) -> None:
        source = random.Random(20_26)
        self.raw_keys = [source.randbytes(20) for _ in range(keys)]
        self.keys = [vmfa.Key(raw) for raw in self.raw_keys]
        self.first = [vmfa.totp(key, NOW - STEP) for key in self.keys]
        self.middle = [vmfa.totp(key, NOW) for key in self.keys]
        self.last = [vmfa.totp(key, NOW + STEP) for key in self.keys]
        self.wrong_first_digit = [changed(code, 0) for code in self.middle]
        self.wrong_last_digit = [changed(code, 5) for code in self.middle]
        self.no_match = [changed(changed(code, 2), 3) for code in self.middle]


def changed(code: str, position: int) -> str:
    digit = str((int(code[position]) + 5) % 10)
    return code[:position] + digit + code[position + 1 :]


def nothing() -> None:
    """Most traces need no preparation."""


def traces(
    check: Callable[[Any, str], object], keys: Sequence[Any], codes: Sequence[str]
) -> list[Trace]:
    """Return one trace for each key and its code."""
    return [(nothing, partial(check, key, code)) for key, code in zip(keys, codes, strict=True)]


def with_scan(key: vmfa.Key, code: str) -> None:
    scan(key, (code,), WINDOW, 6, "sha1")


def with_verify_totp(key: vmfa.Key, code: str) -> None:
    with suppress(vmfa.CodeRejected):
        vmfa.verify_totp(key, code, NOW, after=-1)


def registry_traces() -> Iterator[list[Trace]]:
    """Yield the traces of a match at step -1 and at +1. The record is restored each time.

    Both use one registry, because the times of two registries differ by up to 100 ns: their
    objects have other addresses.
    """
    store = vmfa.MemoryStore()
    user = user_over(store)
    user.clock.advance(10 * STEP)
    record = store.load(user.principal)

    def restore() -> None:
        store._records[user.principal] = (record, ())

    for step in (-1, 1):
        verify = partial(user.registry.verify, user.principal, user.phone.code(step))
        yield [(restore, verify)]


def with_early_return(key: vmfa.Key, code: str) -> bool:
    """Compare until the first match, as most libraries do: the planted leak."""
    return any(compare_digest(vmfa.hotp(key, step), code) for step in WINDOW)


def with_pyotp(key: pyotp.TOTP, code: str) -> None:
    assert key.verify(code, for_time=NOW, valid_window=1)


def with_libpass(key: libpass_totp.TOTP, code: str) -> None:
    key.match(code, time=NOW, window=STEP)


def with_django_otp(raw: bytes, code: str) -> None:
    totp = django_oath.TOTP(raw)
    totp.time = NOW
    assert totp.verify(int(code), tolerance=1)


def compare(left: Sequence[Trace], right: Sequence[Trace], count: int) -> Difference:
    """Time *count* traces of each class in random order. The difference is of cropped means."""
    source = random.Random(4711)
    order = [0, 1] * count
    source.shuffle(order)
    times: tuple[list[int], list[int]] = ([], [])
    classes, sizes = (left, right), (len(left), len(right))
    clock = time.perf_counter_ns
    for number in order:
        prepare, run = classes[number][source.randrange(sizes[number])]
        prepare()
        start = clock()
        run()
        times[number].append(clock() - start)
    limit = quantiles(times[0] + times[1], n=10)[8]
    cropped = tuple([taken for taken in series if taken <= limit] for series in times)
    return Difference(welch_t(*times), welch_t(*cropped), fmean(cropped[1]) - fmean(cropped[0]))


def welch_t(left: Sequence[float], right: Sequence[float]) -> float:
    deviation = sqrt(variance(left) / len(left) + variance(right) / len(right))
    return (fmean(right) - fmean(left)) / deviation


def answer(options: Options) -> Iterator[Table]:
    codes = Codes()
    keys, first, last, middle = codes.keys, codes.first, codes.last, codes.middle
    repeats, count = (1, 6_000) if options.quick else (REPEATS, MEASUREMENTS)
    for key in keys:
        vmfa.totp(key, NOW)  # prepares its HMAC states
    scanned, verified = partial(traces, with_scan, keys), partial(traces, with_verify_totp, keys)
    planted = partial(traces, with_early_return, keys)
    wrong_first, wrong_last = codes.wrong_first_digit, codes.wrong_last_digit
    restored_first, restored_last = registry_traces()
    comparisons: tuple[tuple[str, list[Trace], list[Trace], str], ...] = (
        ("control: the same input twice", scanned(middle), scanned(middle), NO_LEAK),
        (
            "planted leak: early return, match at step -1 and +1",
            planted(first), planted(last), LEAK,
        ),
        ("`scan`: match at step -1 and +1", scanned(first), scanned(last), NO_LEAK),
        ("`scan`: match and no match", scanned(middle), scanned(codes.no_match), NO_LEAK),
        ("`scan`: used code and wrong code", scanned(last), scanned(wrong_last), NO_LEAK),
        ("`verify_totp`: match at step -1 and +1", verified(first), verified(last), NO_LEAK),
        (
            "`verify_totp`: wrong first digit and wrong last digit",
            verified(wrong_first), verified(wrong_last), NO_LEAK,
        ),
        (
            "`DeviceRegistry.verify`: match at step -1 and +1",
            restored_first, restored_last, NO_LEAK,
        ),
    )  # fmt: skip
    rows, problems = [], []
    for name, left, right, expected in comparisons:
        differences = [compare(left, right, count) for _ in range(repeats)]
        rows.append((name, *formatted(differences), expected))
        if not all(difference.is_as(expected) for difference in differences):
            problems.append(f"timing, {name}: expected {expected}, measured {rows[-1][1:4]}")
    peers = (
        ("pyotp", with_pyotp, [pyotp.TOTP(base32(key)) for key in keys]),
        (
            "libpass", with_libpass,
            [libpass_totp.TOTP(key=raw, format="raw") for raw in codes.raw_keys],
        ),
        ("django-otp", with_django_otp, codes.raw_keys),
    )  # fmt: skip
    for peer, check, peer_keys in peers:
        difference = compare(
            traces(check, peer_keys, first), traces(check, peer_keys, last), count // 3
        )
        name = f"{peer}: match at step -1 and +1"
        rows.append((name, *formatted([difference]), NOT_REQUIRED))
    yield text_table(
        f"Timing of two classes, {repeats} times {count} traces of each",
        HEAD,
        rows,
        f"no leak: |t| < {MAX_T:g} and under {MAX_NS:g} ns; leak: t, raw or cropped, and "
        "nanoseconds beyond both",
        section="timing",
        problems=problems,
    )


def formatted(differences: Sequence[Difference]) -> tuple[str, str, str]:
    return (
        ", ".join(f"{difference.t:.1f}" for difference in differences),
        ", ".join(f"{difference.cropped_t:.1f}" for difference in differences),
        ", ".join(f"{difference.nanoseconds:,.1f}" for difference in differences),
    )


if __name__ == "__main__":
    main(answer, __file__)
