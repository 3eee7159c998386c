"""Mutants that survive because they are equivalent to the code, each with the reason.

A pattern is searched in the text that ``mutation.py`` prints for a mutant: the line, the changed
part and the change, separated by " | ". A pattern that matches no mutant is an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ANY_VALID = "the parameter is not checked here, so any valid value serves"
SHORTCUT = "a shortcut for the usual case: the code after it gives the same result"
FOR_TYPES = "the other operand decides first; this one is for the type checker"
SAME_LENGTH = "both always have the same length"
LIBRARY_DEFAULT = "segno does the same by default"
ANY_SIZE = "pages are read to the end, whatever their size"
NONE_IS_FALSE = "None is false too, and the caller asks for no more"
PLAIN = "a plain key is bound to nothing: its source ignores these arguments"
MORE_ROUNDS = "it only makes a race more likely: the defect is found without it, less often"
ROOT_FIRST = "every kind sorts after it, so all are on the page"


class Equivalent(NamedTuple):
    module: str
    pattern: str
    reason: str


EQUIVALENT = [
    Equivalent("otp", r"^check_parameters\(\"sha1\", 6, .* \| 6 \| \+ 1", ANY_VALID),
    Equivalent("otp", r"^def check_parameters\(.* \| (30|0) \| [+-] 1", ANY_VALID),
    Equivalent(
        "otp", r"^text = code\.strip\(.* \| '' \| other text", "two letters are not a code either"
    ),
    Equivalent("otp", r"^if type\(at\) is int: \| .* \| (deleted|condition: never)", SHORTCUT),
    Equivalent("otp", r"^if type\(at\) is int: \| at \| argument None", SHORTCUT),
    Equivalent("otp", r"^return at \| return at \| deleted", SHORTCUT),
    Equivalent(
        "errors",
        r"^if retry_after is not None: \| .* \| condition: always",
        "the class attribute is None already",
    ),
    Equivalent("keys", r"^return None \| return None \| deleted", "Python returns None by itself"),
    Equivalent(
        "events",
        r"^check_int\(\"number\", .* \| 'number' \| other text",
        "the error is replaced by one that does not quote the row",
    ),
    Equivalent(
        "validators",
        r"^if value\.isascii\(\) and value\.isprintable\(\).* \| (deleted|condition: never)",
        SHORTCUT,
    ),
    Equivalent("validators", r"^return \| return \| deleted$", SHORTCUT),
    Equivalent("policy", r"self\.delay_seconds << .* \| 32 \| [+-] 1", "a day is below 2**31 s"),
    Equivalent("keyuri", r"^counter = _number\(.* \| 1 \| \+ 1", "a number below 0 means none"),
    Equivalent(
        "keyuri",
        r"^name, account = quote\(.* \| ('@'|'') \| other text",
        "the other text only adds letters, which are never escaped",
    ),
    Equivalent(
        "keysources.plain",
        r"^return self\.adopt\(.* \| (principal|serial|parameters) \| argument None",
        PLAIN,
    ),
    Equivalent(
        "keysources.derived", r"^del key \| del key \| deleted", "a key prints as <Key> anyway"
    ),
    Equivalent("access", r"^if \w+ is None or \w+\.account != .* \| without operand 0", FOR_TYPES),
    Equivalent(
        "stores.memory", r"^start = _order\(after\).* \| b?'' \| other (text|bytes)", ROOT_FIRST
    ),
    Equivalent(
        "stores.memory", r"^if current is not before and .* \| without operand 0", SHORTCUT
    ),
    Equivalent("qr", r" \| border=BORDER \| argument dropped", LIBRARY_DEFAULT),
    Equivalent("qr", r" \| (error='l'|boost_error=True|dark='#000') \| arg", LIBRARY_DEFAULT),
    Equivalent("qr", r"^rows\.append\(.* \| 0 \| [+-] 1", SAME_LENGTH),
    Equivalent(
        "qr", r"zip\(.*strict=True.* \| (strict=True \| argument|True \| turned)", SAME_LENGTH
    ),
    Equivalent(
        "analysis",
        r"^failures, waited = 0, 0 \| 0 \| [+-] 1",
        "there is no delay before the first failure, so one round more or less changes nothing",
    ),
    Equivalent("self_test", r"^_SEED: Final = .* \| 7 \| \+ 1", "further bytes are cut off"),
    Equivalent(
        "self_test",
        r"zip\(.*strict=True.* \| (strict=True \| argument|True \| turned)",
        SAME_LENGTH,
    ),
    Equivalent(
        "self_test",
        r"^message = bytes\(range\(8\)\) \| 8 \| [+-] 1",
        "any message shows a difference",
    ),
    Equivalent("self_test", r"^return False \| return False \| returns None", NONE_IS_FALSE),
    Equivalent("audit", r"^PAGE: Final = 1000 \| 1000 \| [+-] 1", ANY_SIZE),
    Equivalent("testing.contract", r"^for _ in range\(3\): \| 3 \| [+-] 1", MORE_ROUNDS),
]


def equivalent(module: str, name: str) -> Equivalent | None:
    """Return why the mutant *name* of *module* is equivalent to the code, if it is."""
    for entry in EQUIVALENT:
        if entry.module == module and re.search(entry.pattern, name):
            return entry
    return None
