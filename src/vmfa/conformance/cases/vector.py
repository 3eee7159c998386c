"""The published test vectors, and counter-based codes."""

from __future__ import annotations

from typing import Final

from ..steps import Case, Code, Level, Step
from ._build import advance, provision, set_time, verify, works

VECTORS: Final = {  # RFC 6238, Appendix B, with the key lengths of errata 2866
    "sha1": ("94287082", "07081804", "14050471", "89005924", "69279037", "65353130"),
    "sha256": ("46119246", "68084774", "67062674", "91819424", "90698825", "77737706"),
    "sha512": ("90693936", "25091201", "99943326", "93441116", "38618901", "47863826"),
}
TIMES: Final = (59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000)
WRONG_VECTORS: Final = {  # the offset from byte 19, and the key of SHA-1
    "sha256": ("88769542", "32247374"),
    "sha512": ("31748108", "69342147"),
}
COUNTERS: Final = (  # RFC 4226, Appendix D
    "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
    "520489",
)
CLAUSES: Final = ("RFC6238-3-R3", "RFC6238-4.2-FLOOR", "RFC4226-5.3-DT")


def _accepted(codes: tuple[str, ...]) -> tuple[Step, ...]:
    return tuple(
        step
        for at, code in zip(TIMES, codes, strict=True)
        for step in (set_time(at), verify(code))
    )


SIX_DIGITS: Final = Case(
    id="vectors/rfc6238-six-digits",
    title="The last six digits of the vectors of RFC 6238 for SHA-1 are accepted.",
    why="Codes of authenticator apps are refused.",
    clauses=(*CLAUSES, "RFC4226-5.3-DIGITS"),
    level=Level.MUST,
    requires=("provision", "time"),
    steps=(
        set_time(59), provision("rfc-sha1"),
        *_accepted(tuple(code[2:] for code in VECTORS["sha1"])),
    ),
)
EIGHT_DIGITS: Final = tuple(
    Case(
        id=f"vectors/rfc6238-{algorithm}",
        title=f"The vectors of RFC 6238 for {algorithm.upper()} are accepted.",
        why="Codes of devices with this algorithm are refused.",
        clauses=(*CLAUSES, "RFC6238-1.2-HASH") if algorithm != "sha1" else CLAUSES,
        level=Level.MUST,
        requires=("provision", "time", "digits", *(["algorithms"] if algorithm != "sha1" else [])),
        steps=(
            set_time(59), provision(f"rfc-{algorithm}", algorithm=algorithm, digits=8),
            *_accepted(codes),
        ),
    )
    for algorithm, codes in VECTORS.items()
)
KNOWN_WRONG: Final = tuple(
    Case(
        id=f"vectors/known-wrong-{algorithm}",
        title=f"Two wrong codes for {algorithm.upper()} that libraries computed are refused.",
        why="The system takes the offset from the wrong byte, or the key of another algorithm: "
        "apps that follow the RFC show other codes.",
        clauses=("RFC4226-5.3-DT",),
        level=Level.MUST,
        requires=("provision", "time", "digits", "algorithms"),
        steps=(
            set_time(59), provision(f"rfc-{algorithm}", algorithm=algorithm, digits=8),
            *(verify(code, "refused") for code in codes),
            advance(60), works(),
        ),
    )
    for algorithm, codes in WRONG_VECTORS.items()
)
WIDE: Final = Case(
    id="vectors/beyond-32-bits",
    title="A time step that does not fit in 32 bits is computed right.",
    why="The RFC requires it. A counter that wraps accepts old codes.",
    clauses=("RFC6238-4.2-WIDE", "RFC4226-5.1-C"),
    level=Level.MUST,
    requires=("provision", "time"),
    steps=(
        set_time(30 * (2**32 + 1)), provision("rfc-sha1"),
        verify(COUNTERS[1], "refused"), set_time(30 * (2**32 + 3)), verify(),
    ),
)


def _hotp(name: str, title: str, why: str, clause: str, level: Level, *steps: Step) -> Case:
    return Case(
        id=f"hotp/{name}", title=title, why=why, clauses=tuple(clause.split()), level=level,
        requires=("provision", "hotp"), steps=(provision("rfc-sha1", counter=0), *steps),
    )


def _at(counter: int, expect: str = "accepted", *, control: bool = False) -> Step:
    return verify(Code(counter=counter), expect, control=control)


HOTP: Final = (
    _hotp(
        "rfc4226-appendix-d", "The vectors of RFC 4226 are accepted, one after the other.",
        "Codes of counter-based devices are refused.", "RFC4226-5.3-DT", Level.MUST,
        *(verify(code) for code in COUNTERS),
    ),
    _hotp(
        "same-counter", "A code is accepted once.", "A code that was seen can be used again.",
        "SP80063B-3.1.4.2-ONCE RFC4226-E4-RCP", Level.MUST,
        _at(0, control=True), _at(0, "refused"), _at(1, control=True),
    ),
    _hotp(
        "previous-counter", "A code of an earlier counter is refused.",
        "A code that was seen can be used again.", "SP80063B-3.1.4.2-ONCE RFC4226-E4-RCP",
        Level.MUST,
        _at(0, control=True), _at(1, control=True), _at(0, "refused"), _at(2, control=True),
    ),
    _hotp(
        "skipped-counter", "After a code from ahead, the skipped ones are refused.",
        "A code that was shown and not used stays valid.", "RFC4226-E4-RCP", Level.SHOULD,
        _at(2, control=True), _at(1, "refused"), _at(3, control=True),
    ),
    _hotp(
        "look-ahead", "A code of 500 counters ahead is refused.",
        "Each guess is compared with hundreds of codes.", "RFC4226-7.4-S", Level.SHOULD,
        _at(500, "refused"), _at(0, control=True),
    ),
    Case(
        id="hotp/negative-counter",
        title="A negative counter is refused.",
        why="A counter that wraps makes codes of the far end valid.",
        clauses=("RFC4226-5.1-C",),
        level=Level.DEPTH,
        requires=("provision", "hotp"),
        steps=(
            provision("one", counter=0), provision("rfc-sha1", "bob", "refused", counter=-1),
        ),
    ),
)  # fmt: skip
TWINS: Final = Case(
    id="replay/twin-steps",
    title="A code that two neighboring steps share is accepted once.",
    why="One in a million codes is valid again in the next step.",
    clauses=("RULE-MONOTONE",),
    level=Level.DEPTH,
    requires=("provision", "time"),
    steps=(
        set_time(910_737 * 30), provision("rfc-sha1"), works(),
        set_time(910_738 * 30), verify(Code(offset=-1), "refused"),
        set_time(910_739 * 30), verify(Code(offset=-2), "refused"),
        set_time(910_741 * 30), works(),
    ),
)
CASES: Final = (SIX_DIGITS, *EIGHT_DIGITS, *KNOWN_WRONG, WIDE, *HOTP)
