"""The mutants that survive because they mean the same as the code, each with the reason.

By room and by the text that ``mutation.py`` prints. A changed line must be argued anew: its text is another one.
"""

from __future__ import annotations

VALID = "a valid value stands in for a parameter that is not asked about: any other valid one does as well"
TYPING = "the other half of the condition always decides first; this half is what a type checker asks for"
NO_CODE = "what stands in for something that is no text must be no code, and two letters are none"
DEFAULTS = "def check_parameters(algorithm: str, digits: int, period: int = 30, t0: int = 0) -> None:"
UNPREPARED = '_set(self, "_prepared", ("", (None, None)))  # for which algorithm, and its two hashes'
VALUES = '_VALUES = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=", "0123456789ABCDEFGHIJKLMNOPQRSTUV=", strict=True))'
DIGITS = ('_DIGITS = "".join(_VALUES.get(chr(byte).upper(), "?") for byte in range(128)).ljust(256, "?").encode()')
FILLED = "the table is filled with question marks, and the byte at its end is one as well"
SHORTCUT = "a shortcut for the usual case: what stands behind it gives the same"
RAISED_ANEW = "the refusal is raised anew, with a text that tells nothing of what is stored"
PLAIN = "return self.adopt(principal, serial, parameters, key), key"
BEFORE_T0 = 'raise InvalidValue("the time is before T0" if step < 0 else "the time is past the last step")'

SEGNO = "segno does the same where it is not told"
SAME_LENGTH = "both always have the same length"
SAVED = '_sound(symbol).save(out, kind=kind, scale=scale, border=QUIET, dark="#000", light="#fff", **options)'
LAST_ROW = "rows.append([False] * len(rows[0]))  # a symbol has an odd number of rows"
DRAWN = 'return segno.make_qr(uri, error="l", boost_error=True)'
HALVES = '"".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))'
PAIRED = "for upper, lower in zip(rows[::2], rows[1::2], strict=True)"

FIRST_PAGE = 'start = _order(after) if after is not None else ("", b"")'
BEFORE_ALL = "a kind is root or user: whatever is less than r stands before both"
CHANGED = "if current is not before and (current or Principal(id=before.id)) != before:"
FULL = "if not self._idle and self._opened >= MOST:"
NO_WAIT = "wait_for asks the same question before it waits"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("otp", 'check_parameters("sha1", 6, period, t0) | 6 | + 1'): VALID,
    ("otp", f"{DEFAULTS} | 30 | + 1"): VALID,
    ("otp", f"{DEFAULTS} | 30 | - 1"): VALID,
    ("otp", f"{DEFAULTS} | 0 | + 1"): VALID,
    ("otp", f"{DEFAULTS} | 0 | - 1"): VALID,
    ("otp", 'text = code.strip(" \\t\\n\\r\\f\\v") if isinstance(code, str) else "" | \'\' | other text'): NO_CODE,
    ("otp", f"{BEFORE_T0} | step < 0 | Lt 0 -> LtE"): "it is reached by a step below 0 or far above, never by 0",
    ("otp", f"{BEFORE_T0} | 0 | + 1"): "it is reached by a step below 0 or far above, never by 0",
    ("otp", "if type(at) is int: | if type(at) is int: | deleted"): SHORTCUT,
    ("otp", "if type(at) is int: | if type(at) is int: | condition: never"): SHORTCUT,
    ("otp", "if type(at) is int: | at | argument None"): SHORTCUT,
    ("otp", "return at | return at | deleted"): SHORTCUT,
    ("keys", f"{UNPREPARED} | '' | other text"): "it must be the name of no hash, and is none",
    ("keys", "return None | return None | deleted"): "Python gives None by itself",
    ("keys", f"{VALUES} | strict=True | argument dropped"): SAME_LENGTH,
    ("keys", f"{VALUES} | True | turned"): SAME_LENGTH,
    ("keys", f"{DIGITS} | 128 | + 1"): FILLED,
    ("keys", f"{DIGITS} | 128 | - 1"): FILLED,
    ("keys", ('digits = text.encode("ascii", "replace").translate(_DIGITS, b" -\\t\\r\\n").rstrip(b"=") | b\'=\' |'
              " other bytes")): "what is stripped as well, X, is no digit that the table gives",
    ("values", "self.__setattr__(name, None) | name | argument None"): "the refusal names the kind, and no field",
    ("events", 'check_text("details", text, longest=64) | \'details\' | other text'): RAISED_ANEW,
    ("events", 'check_text("details", value, empty=True) | \'details\' | other text'): RAISED_ANEW,
    **{("keysource", f"{PLAIN} | {name} | argument None"): "a plain key is bound to nothing: its source drops these"
       for name in ("principal", "serial", "parameters")},
    ("keysource", "del key | del key | deleted"): "a key is opaque: whatever records the frame writes <Key>",
    ("access", ("if recovered and self.principal is not None and not self.principal.is_root: |"
               " recovered and self.principal is not None and (not self.princ | without operand 1")): TYPING,
    ("access", ("if own is None or own.account != target.account: | own is None or own.account != target.account"
               " | without operand 0")): TYPING,
    ("rules", ("if side and side == device.lean and near:  # RFC6238-6-DRIFT, RULE-DRIFT: two in a row off on one side"
              " | side and side == device.lean and near | without operand 0")): "drift + 0 and lean 0 are what it was",
    ("rules", "grown = max(0, case.now - device.budget_at) // policy.budget_refill | 0 | + 1"):
        "a refill takes 60 s at least, so 1 // refill is 0 as well",
    ("rules", ("found = _pair(before, session, case, pair, here, policy.enroll_back, policy.enroll_forward, -1) | 1 |"
              " + 1")): "no step before 0 is ever scanned",
    ("rules", 'session = _open_session(before, case, open_id or "") | open_id or \'\' | without operand 1'): TYPING,
    ("rules", ('typed = code.replace("-", "").replace(" ", "").upper() if isinstance(code, str) else "" | \'\' |'
              " other text #3")): "what stands in for no text must be no binding code, and has another length",
    ("rules", 'session = _open_session(before, case, open_id or "") | \'\' | other text'): NO_CODE,
    ("rules", ("assert before.key_ref is not None  # noqa: S101  # the shape of Principal |"
               " assert before.key_ref is not None | deleted")): TYPING,
    ("stores.memory", f"{FIRST_PAGE} | '' | other text"): BEFORE_ALL,
    ("stores.memory", f"{FIRST_PAGE} | b'' | other bytes"): BEFORE_ALL,
    ("stores.memory", f"{CHANGED} | current is not before and (current or Principal(id=before.id | without operand 0"):
        SHORTCUT,
    ("stores.connections", f"{FULL} | {FULL} | condition: always"): NO_WAIT,
    ("stores.connections", f"{FULL} | not self._idle and self._opened >= MOST | and <-> or"): NO_WAIT,
    ("stores.connections", f"{FULL} | not self._idle and self._opened >= MOST | without operand 0"): NO_WAIT,
    ("stores.connections", f"{FULL} | not self._idle and self._opened >= MOST | without operand 1"): NO_WAIT,
    ("stores.postgres_async", "if pool.closed: | if pool.closed: | condition: always"):
        "to open a pool that is open does nothing",
    ("qr", ("rows = [[bool(module) for module in row] for row in _sound(symbol).matrix_iter(border=QUIET)] |"
            " border=QUIET | argument dropped")): SEGNO,
    ("qr", f"{LAST_ROW} | 0 | + 1"): "all rows are equally long",
    ("qr", f"{LAST_ROW} | 0 | - 1"): "all rows are equally long",
    ("qr", f"{HALVES} | strict=True | argument dropped"): SAME_LENGTH,
    ("qr", f"{HALVES} | True | turned"): SAME_LENGTH,
    ("qr", f"{PAIRED} | strict=True | argument dropped"): SAME_LENGTH,
    ("qr", f"{PAIRED} | True | turned"): SAME_LENGTH,
    ("qr", f"{DRAWN} | error='l' | argument dropped"): SEGNO,
    ("qr", f"{DRAWN} | boost_error=True | argument dropped"): SEGNO,
    ("qr", f"{SAVED} | border=QUIET | argument dropped"): SEGNO,
    ("qr", f"{SAVED} | dark='#000' | argument dropped"): SEGNO,
}
