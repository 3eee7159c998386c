"""HOTP (RFC 4226), TOTP (RFC 6238), time steps, and the scan of a window.

Everything here is stateless, so ``verify_totp`` and ``verify_hotp`` take the replay position that
the caller stores. :class:`vmfa.DeviceRegistry` stores it for you.
"""

from __future__ import annotations

from hmac import compare_digest
from math import floor, isfinite
from struct import Struct

from .errors import AlreadyUsed, CodeRejected, InvalidType, InvalidValue, MalformedCode, VmfaError
from .keys import HASHES, Key, prepared_hmac

__all__ = [
    "hotp",
    "next_step_at",
    "seconds_left",
    "step_at",
    "totp",
    "verify_hotp",
    "verify_totp",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COUNTER_LIMIT = 1 << 64  # RFC4226-5.1-C: eight bytes; RFC6238-4.2-WIDE: more than 32 bits
MAX_WINDOW = 100  # steps on one side of a scan
_pack_counter = Struct(">Q").pack  # RFC4226-5.2-ORDER: high-order byte first
_unpack_word = Struct(">I").unpack_from  # the same order for the four bytes that make a code


def hotp(key: Key | bytes, counter: int, *, digits: int = 6, algorithm: str = "sha1") -> str:
    """Return the code of *key* for *counter* (RFC 4226 section 5).

    :param key: the key, or its 16 to 1024 bytes.
    :param counter: 0 to 2**64 - 1.
    :param digits: 6, 7 or 8. More are refused, because 31 bits do not fill nine digits evenly.
    :param algorithm: "sha1", "sha256" or "sha512".
    :returns: *digits* ASCII digits.
    :raises InvalidType: an argument has the wrong type.
    :raises InvalidValue: an argument is out of bounds.
    """
    try:
        check_parameters(algorithm, digits)  # RFC4226-4-R4, RFC4226-5.3-DIGITS
        check_int("counter", counter, 0, COUNTER_LIMIT - 1)
        code = _codes(key, (counter,), digits, algorithm)[counter]  # RFC4226-4-R1
    except VmfaError as error:
        del key  # error trackers record the locals of a raising frame
        raise error.with_traceback(None) from None
    return code


def totp(
    key: Key | bytes,
    at: float,
    *,
    digits: int = 6,
    algorithm: str = "sha1",
    period: int = 30,
    t0: int = 0,
) -> str:
    """Return the code of *key* at the Unix time *at* (RFC 6238 section 4).

    :param key: the key, or its 16 to 1024 bytes.
    :param at: seconds since the epoch, int or float.
    :param digits: 6, 7 or 8.
    :param algorithm: "sha1", "sha256" or "sha512".
    :param period: the length of a time step, in seconds.
    :param t0: the Unix time at which the steps begin, in seconds.
    :returns: *digits* ASCII digits.
    :raises InvalidType: an argument has the wrong type.
    :raises InvalidValue: an argument is out of bounds.
    """
    try:
        check_parameters(algorithm, digits, period, t0)
        step = step_of(at, period, t0)
        code = _codes(key, (step,), digits, algorithm)[step]  # RFC6238-3-R3
    except VmfaError as error:
        del key
        raise error.with_traceback(None) from None
    return code


def verify_totp(
    key: Key | bytes,
    code: str,
    at: float,
    *,
    after: int,
    window: int = 1,
    digits: int = 6,
    algorithm: str = "sha1",
    period: int = 30,
    t0: int = 0,
) -> int:
    """Return the time step that *code* matches, within *window* steps of the Unix time *at*.

    Store the result atomically and pass it as *after* the next time: otherwise a code can be
    replayed (RFC 6238 section 5.2).

    :param key: the key, or its 16 to 1024 bytes.
    :param code: the text that the user typed.
    :param at: seconds since the epoch, int or float.
    :param after: the last accepted step; -1 for a key that was never used.
    :param window: 0 to 100 steps before and after the current one.
    :param digits: 6, 7 or 8.
    :param algorithm: "sha1", "sha256" or "sha512".
    :param period: the length of a time step, in seconds.
    :param t0: the Unix time at which the steps begin, in seconds.
    :returns: the step. If several steps match, the latest of them.
    :raises MalformedCode: *code* is not *digits* ASCII digits. Blanks around them and one blank or
        hyphen in the middle are ignored.
    :raises AlreadyUsed: *code* matches a step at or before *after*.
    :raises CodeRejected: *code* matches no step of the window.
    :raises InvalidType: an argument has the wrong type.
    :raises InvalidValue: an argument is out of bounds.
    """
    try:
        check_parameters(algorithm, digits, period, t0)
        check_int("after", after, -1, COUNTER_LIMIT - 1)
        check_int("window", window, 0, MAX_WINDOW)
        # RFC6238-5.2-DELAY
        steps = window_steps(step_of(at, period, t0), window, window)
        code = normalize_code(code, (digits,))
        matches = _matching(code, _codes(key, steps, digits, algorithm))
    except VmfaError as error:
        del key, code
        raise error.with_traceback(None) from None
    del key, code
    if not matches:
        raise CodeRejected
    newest = max(matches)  # neighboring steps can share a code: the highest one is spent
    if newest > after:  # RFC6238-5.2-ONCE
        return newest
    next_at = (after + 1) * period + t0
    raise AlreadyUsed(retry_after=max(0, next_at - floor(at)), next_at=next_at)


def verify_hotp(
    key: Key | bytes,
    code: str,
    *,
    counter: int,
    look_ahead: int = 3,
    digits: int = 6,
    algorithm: str = "sha1",
) -> int:
    """Return the counter that *code* matches, from the next expected *counter* on (RFC 4226, 7.4).

    Store the result plus one atomically and pass it as *counter* the next time.

    :param key: the key, or its 16 to 1024 bytes.
    :param code: the text that the user typed.
    :param counter: the next expected counter, 0 to 2**64 - 1.
    :param look_ahead: 0 to 100 further counters. Earlier counters never match.
    :param digits: 6, 7 or 8.
    :param algorithm: "sha1", "sha256" or "sha512".
    :returns: the counter. If several counters match, the highest of them.
    :raises MalformedCode: *code* is not *digits* ASCII digits. Blanks around them and one blank or
        hyphen in the middle are ignored.
    :raises CodeRejected: *code* matches none of the counters.
    :raises InvalidType: an argument has the wrong type.
    :raises InvalidValue: an argument is out of bounds.
    """
    try:
        check_parameters(algorithm, digits)
        check_int("counter", counter, 0, COUNTER_LIMIT - 1)
        check_int("look_ahead", look_ahead, 0, MAX_WINDOW)
        counters = window_steps(counter, 0, look_ahead)  # RFC4226-7.4-S, RFC4226-E4-RCP
        code = normalize_code(code, (digits,))
        matches = _matching(code, _codes(key, counters, digits, algorithm))
    except VmfaError as error:
        del key, code
        raise error.with_traceback(None) from None
    if matches:  # RFC4226-7.2-VALID
        return max(matches)
    del key, code
    raise CodeRejected


def step_at(at: float, *, period: int = 30, t0: int = 0) -> int:
    """Return the time step of the Unix time *at*: the whole periods since *t0* (RFC 6238, 4.2).

    :param at: seconds, int or float. A datetime is refused: without a time zone it is ambiguous.
    :param period: the length of a time step, in seconds.
    :param t0: the Unix time at which the steps begin, in seconds.
    :raises InvalidType: *at* is neither an int nor a float.
    :raises InvalidValue: *at* is before *t0*, not finite, or past step 2**64 - 1.
    """
    check_parameters("sha1", 6, period, t0)
    return step_of(at, period, t0)


def seconds_left(at: float, *, period: int = 30, t0: int = 0) -> int:
    """Return the whole seconds, 1 to *period*, until the code of the Unix time *at* changes.

    The parameters and the errors are those of :func:`step_at`.
    """
    # RULE-BETTER-5
    return next_step_at(at, period=period, t0=t0) - to_unix_seconds(at)


def next_step_at(at: float, *, period: int = 30, t0: int = 0) -> int:
    """Return the Unix time, in seconds, at which the step after that of *at* begins.

    The parameters and the errors are those of :func:`step_at`.
    """
    return (step_at(at, period=period, t0=t0) + 1) * period + t0


def scan(
    key: Key, codes: Sequence[str], steps: Sequence[int], digits: int, algorithm: str
) -> list[list[int]]:
    """Return, for each of *codes*, the steps that it matches.

    Every candidate is computed once and compared with every code in constant time before any is
    selected, so that the time does not depend on which step matched.
    """
    candidates = _codes(key, steps, digits, algorithm)
    return [_matching(code, candidates) for code in codes]


def window_steps(current: int, back: int, forward: int) -> range:
    """Return the steps from *current* - *back* to *current* + *forward* that exist."""
    # RULE-STEP
    return range(max(current - back, 0), min(current + forward + 1, COUNTER_LIMIT))


def truncate(mac: bytes) -> int:
    """Return 31 bits of *mac*. The low four bits of its last byte are their offset in bytes."""
    # RFC4226-5.3-DT: the last byte of any hash, not byte 19
    word: int = _unpack_word(mac, mac[-1] & 0x0F)[0]
    return word & 0x7FFF_FFFF


def normalize_code(code: str, lengths: Iterable[int]) -> str:
    """Return *code* without surrounding blanks and without one blank or hyphen in its middle.

    No other function normalizes codes. A code is spent as the time step that it matches, so a
    code that is written in two ways is still accepted once.

    :param lengths: the numbers of digits that a code may have.
    :raises MalformedCode: the result is not that many ASCII digits.
    """
    # SEED-SIX
    text = code.strip(" \t\n\r\f\v") if isinstance(code, str) else ""
    for digits in lengths:
        compact = text
        if len(text) == digits + 1:
            for middle in {digits // 2, (digits + 1) // 2}:
                if text[middle] in " -":
                    compact = text[:middle] + text[middle + 1 :]
        if len(compact) == digits and compact.isascii() and compact.isdigit():
            return compact
    del code, text, compact
    raise MalformedCode(
        f"a code must be {' or '.join(map(str, lengths))} of the digits 0 to 9; blanks around it "
        "and one blank or hyphen in its middle are ignored"
    )


def check_parameters(algorithm: str, digits: int, period: int = 30, t0: int = 0) -> None:
    """Check what a device and its verifier agree on. *period* and *t0* are in seconds."""
    if type(digits) is not int or not 6 <= digits <= 8:
        raise InvalidValue("digits must be 6, 7 or 8")
    if type(algorithm) is not str or algorithm not in HASHES:
        raise InvalidValue("algorithm must be 'sha1', 'sha256' or 'sha512'")
    if type(period) is not int or type(t0) is not int:
        raise InvalidType("period and t0 must be int, in seconds")
    if not 0 < period <= COUNTER_LIMIT or not -COUNTER_LIMIT <= t0 <= COUNTER_LIMIT:
        raise InvalidValue("period must be at least 1 second; period and t0 must fit in 64 bits")


def check_int(name: str, value: int, low: int, high: int) -> None:
    """Check that *value* is an int from *low* to *high*; a bool is refused."""
    if type(value) is not int:
        raise InvalidType(f"{name} must be an int")
    if not low <= value <= high:
        raise InvalidValue(f"{name} must be {low} to {high}")


def to_unix_seconds(at: float) -> int:
    """Return the Unix time *at* in whole seconds, rounded down."""
    if type(at) is int:
        return at
    if isinstance(at, bool) or not isinstance(at, (int, float)):
        raise InvalidType("a time must be an int or a float in seconds: use time.time()")
    if isinstance(at, float) and not isfinite(at):
        raise InvalidValue("a time must be finite")
    return floor(at)


def step_of(at: float, period: int, t0: int) -> int:
    """Return the time step of *at*, for parameters that were checked."""
    step = (to_unix_seconds(at) - t0) // period  # RFC6238-4.2-FLOOR
    if step < 0:  # RULE-STEP
        raise InvalidValue("the time is before T0")
    if step >= COUNTER_LIMIT:
        raise InvalidValue("the time is past the last step, 2**64 - 1")
    return step


def _codes(
    key: Key | bytes, steps: Iterable[int], digits: int, algorithm: str
) -> dict[int, str]:
    """Return the code of each step: the HMAC of RFC 2104, truncated.

    The prepared hash objects are copied for each step. That takes two thirds of the time of a new
    HMAC for each step.
    """
    inner_state, outer_state = prepared_hmac(key, algorithm)
    modulus, codes = 10**digits, {}
    for step in steps:
        inner, outer = inner_state.copy(), outer_state.copy()
        inner.update(_pack_counter(step))
        outer.update(inner.digest())
        codes[step] = str(truncate(outer.digest()) % modulus).zfill(digits)
    return codes


def _matching(code: str, candidates: dict[int, str]) -> list[int]:
    return [step for step, candidate in candidates.items() if compare_digest(candidate, code)]
