"""Codes: HOTP (RFC 4226), TOTP (RFC 6238), the steps of time, and the one scan over candidates.

Everything here is stateless. ``verify_totp`` and ``verify_hotp`` therefore cannot be called without the
position that the caller keeps; ``DeviceRegistry`` keeps it for you.
"""

from __future__ import annotations

from hmac import compare_digest
from math import floor, isfinite
from struct import Struct

from .errors import AlreadyUsed, CodeRejected, InvalidType, InvalidValue, MalformedCode, VmfaError
from .keys import HASHES, Key, prepared_hmac

__all__ = ["hotp", "next_step_at", "seconds_left", "step_at", "totp", "verify_hotp", "verify_totp"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTER_LIMIT = 1 << 64  # RFC4226-5.1-C: eight bytes; RFC6238-4.2-WIDE: more than 32 bits
MAX_WINDOW = 100  # steps on one side of any scan
_pack = Struct(">Q").pack  # RFC4226-5.2-ORDER: high-order byte first
_word_at = Struct(">I").unpack_from  # and so the four bytes that a code is made of


def hotp(key: Key | bytes, counter: int, *, digits: int = 6, algorithm: str = "sha1") -> str:
    """The code of *key* for *counter* (RFC4226-4-R1): text of *digits* ASCII digits.

    :param counter: 0 to 2**64 - 1.
    :param digits: 6, 7 or 8 (RFC4226-4-R4, RFC4226-5.3-DIGITS). More is refused: 31 bits do not fill nine evenly.
    :param algorithm: "sha1", "sha256" or "sha512" (RFC6238-1.2-HASH).
    """
    try:
        check_parameters(algorithm, digits)
        check_int("counter", counter, 0, COUNTER_LIMIT - 1)
        code = _codes(key, (counter,), digits, algorithm)[counter]
    except VmfaError as error:
        del key  # error trackers record the locals of a raising frame
        raise error.with_traceback(None) from None
    return code


def totp(key: Key | bytes, at: float, *, digits: int = 6, algorithm: str = "sha1", period: int = 30,
         t0: int = 0) -> str:
    """The code of *key* at Unix time *at*, in seconds (RFC6238-3-R3). *period* and *t0* are in seconds."""
    try:
        check_parameters(algorithm, digits, period, t0)
        step = step_of(at, period, t0)
        code = _codes(key, (step,), digits, algorithm)[step]
    except VmfaError as error:
        del key
        raise error.with_traceback(None) from None
    return code


def verify_totp(key: Key | bytes, code: str, at: float, *, after: int, window: int = 1, digits: int = 6,
                algorithm: str = "sha1", period: int = 30, t0: int = 0) -> int:
    """The step that *code* matches at Unix time *at*, within *window* steps either way (RFC6238-5.2-DELAY).

    Stateless: keep the answer, atomically, and pass it as *after* next time, or codes can be replayed
    (RFC6238-5.2-ONCE). Pass ``after=-1`` for a key that has never been used.

    :raises MalformedCode: not exactly *digits* ASCII digits.
    :raises AlreadyUsed: the code matches, at or before *after*.
    :raises CodeRejected: the code matches no step of the window.
    """
    try:
        check_parameters(algorithm, digits, period, t0)
        check_int("after", after, -1, COUNTER_LIMIT - 1)
        check_int("window", window, 0, MAX_WINDOW)
        steps = window_steps(step_of(at, period, t0), window, window)
        code = normalize_code(code, digits)
        matches = _matching(code, _codes(key, steps, digits, algorithm))
    except VmfaError as error:
        del key, code
        raise error.with_traceback(None) from None
    del key, code
    if not matches:
        raise CodeRejected
    newest = max(matches)  # the highest: neighbouring steps can share a code
    if newest > after:
        return newest
    next_at = (after + 1) * period + t0
    raise AlreadyUsed(retry_after=max(0, next_at - floor(at)), next_at=next_at)


def verify_hotp(key: Key | bytes, code: str, *, counter: int, look_ahead: int = 3, digits: int = 6,
                algorithm: str = "sha1") -> int:
    """The counter that *code* matches, from the next expected *counter* on (RFC4226-7.4-S, RFC4226-E4-RCP).

    Looks ahead only (RFC4226-7.2-VALID). Keep the answer plus one, atomically, as the next *counter*.
    """
    try:
        check_parameters(algorithm, digits)
        check_int("counter", counter, 0, COUNTER_LIMIT - 1)
        check_int("look_ahead", look_ahead, 0, MAX_WINDOW)
        counters = window_steps(counter, 0, look_ahead)
        code = normalize_code(code, digits)
        matches = _matching(code, _codes(key, counters, digits, algorithm))
    except VmfaError as error:
        del key, code
        raise error.with_traceback(None) from None
    if matches:
        return max(matches)
    del key, code
    raise CodeRejected


def step_at(at: float, *, period: int = 30, t0: int = 0) -> int:
    """RFC6238-4.2-FLOOR: the number of whole *period* seconds between *t0* and Unix time *at* (RULE-STEP).

    :raises InvalidType: *at* is no int or float. A datetime is refused: naive ones mean no moment at all.
    :raises InvalidValue: *at* is before *t0*, not finite, or past step 2**64 - 1.
    """
    check_parameters("sha1", 6, period, t0)
    return step_of(at, period, t0)


def seconds_left(at: float, *, period: int = 30, t0: int = 0) -> int:
    """RULE-BETTER-5: whole seconds, 1 to *period*, until the code of Unix time *at* is replaced by the next."""
    return next_step_at(at, period=period, t0=t0) - to_unix_seconds(at)


def next_step_at(at: float, *, period: int = 30, t0: int = 0) -> int:
    """The Unix time, in seconds, at which the step after that of *at* begins."""
    return (step_at(at, period=period, t0=t0) + 1) * period + t0


def scan(key: Key, codes: Sequence[str], steps: Sequence[int], digits: int, algorithm: str) -> list[list[int]]:
    """For each of *codes*, the steps it matches.

    Every candidate is computed once, compared with every code in constant time, and only then selected:
    no early return tells which step matched. Verification, enrollment and resynchronisation all stand on it.
    """
    candidates = _codes(key, steps, digits, algorithm)
    return [_matching(code, candidates) for code in codes]


def window_steps(here: int, back: int, forward: int) -> range:
    """The steps from *here* - *back* to *here* + *forward*; there is none below 0 or past 2**64 - 1."""
    start, stop = here - back, here + forward + 1
    return range(start if start > 0 else 0, stop if stop < COUNTER_LIMIT else COUNTER_LIMIT)  # noqa: FURB136  # half the time


def truncate(mac: bytes) -> int:
    """RFC4226-5.3-DT: 31 bits of *mac*, from the offset that the low half of its last byte names."""
    word: int = _word_at(mac, mac[-1] & 0x0F)[0]  # of the last byte, whatever the hash: not byte 19
    return word & 0x7FFF_FFFF


def normalize_code(code: str, digits: int) -> str:
    """*code* without surrounding ASCII blanks and one blank or hyphen in its middle (SEED-SIX).

    This is the only place that normalises: what is counted, compared and spent is the step it matches.
    """
    text = code.strip(" \t\n\r\f\v") if isinstance(code, str) else ""
    if len(text) == digits + 1:
        for middle in {digits // 2, (digits + 1) // 2}:
            if text[middle] in " -":
                text = text[:middle] + text[middle + 1 :]
    if len(text) != digits or not (text.isascii() and text.isdigit()):
        del code, text
        raise MalformedCode(f"a code is text of exactly {digits} ASCII digits")
    return text


def check_parameters(algorithm: str, digits: int, period: int = 30, t0: int = 0) -> None:
    if type(digits) is not int or not 6 <= digits <= 8:
        raise InvalidValue("digits is 6, 7 or 8 (RFC4226-5.3-DIGITS)")
    if type(algorithm) is not str or algorithm not in HASHES:
        raise InvalidValue("algorithm is 'sha1', 'sha256' or 'sha512' (RFC6238-1.2-HASH)")
    if type(period) is not int or type(t0) is not int:
        raise InvalidType("period and t0 are int, in seconds")
    if not 0 < period <= COUNTER_LIMIT or not -COUNTER_LIMIT <= t0 <= COUNTER_LIMIT:
        raise InvalidValue("period is at least 1 second; period and t0 have at most 64 bits")


def check_int(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int:
        raise InvalidType(f"{name} is an int")
    if not low <= value <= high:
        raise InvalidValue(f"{name} is {low} to {high}")


def to_unix_seconds(at: float) -> int:
    if type(at) is int:
        return at
    if isinstance(at, bool) or not isinstance(at, (int, float)):
        raise InvalidType("a time is in seconds since the epoch, int or float: use time.time()")
    if isinstance(at, float) and not isfinite(at):
        raise InvalidValue("a time is finite")
    return floor(at)


def step_of(at: float, period: int, t0: int) -> int:
    step = (to_unix_seconds(at) - t0) // period
    if not 0 <= step < COUNTER_LIMIT:
        raise InvalidValue("the time is before T0" if step < 0 else "the time is past the last step")
    return step


def _codes(key: Key | bytes, steps: Sequence[int], digits: int, algorithm: str) -> dict[int, str]:
    """HMAC as RFC 2104 writes it, H(K xor opad, H(K xor ipad, text)), truncated to a code, for each step.

    A loop, and copies of the prepared_hmac hashes: for many steps they take two thirds of the time of a call for each.
    """
    keyed_inner, keyed_outer = prepared_hmac(key, algorithm)
    modulus, codes = 10**digits, {}
    for step in steps:
        inner, outer = keyed_inner.copy(), keyed_outer.copy()
        inner.update(_pack(step))
        outer.update(inner.digest())
        codes[step] = str(truncate(outer.digest()) % modulus).zfill(digits)
    return codes


def _matching(code: str, candidates: dict[int, str]) -> list[int]:
    matches = []  # by a loop: on Python 3.11 a comprehension is a closure, made anew at each call
    for step, candidate in candidates.items():
        if compare_digest(candidate, code):
            matches.append(step)
    return matches
