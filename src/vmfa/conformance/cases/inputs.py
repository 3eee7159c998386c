"""What is not a code, not a name and not a key URI."""

from __future__ import annotations

from typing import Final

from ..codes import FORMS, TEST_KEYS, Device
from ..steps import Case, Code, Level, Step
from ._build import advance, assign, provision, repeat, set_time, verify, works

ACCEPTED_FORMS: Final = frozenset(  # systems may normalize these
    {"plain", "spaces around", "newline", "space in the middle", "hyphen in the middle"}
)
SECRET: Final = Device(key=TEST_KEYS["one"]).secret
INVALID_URIS: Final = {
    "period-zero": ("a period of 0 seconds", f"secret={SECRET}&period=0"),
    "negative-period": ("a negative period", f"secret={SECRET}&period=-30"),
    "two-secrets": ("two secrets", f"secret={SECRET}&secret={SECRET[::-1]}"),
    "no-secret": ("no secret", "issuer=Example"),
    "empty-secret": ("an empty secret", "secret="),
    "other-digits": ("digits of another script", f"secret={SECRET}&digits=\u0666"),
    "sixty-digits": ("60 digits", f"secret={SECRET}&digits=60"),
    "md5": ("the algorithm MD5", f"secret={SECRET}&algorithm=MD5"),
}


def _slug(form: str) -> str:
    return form.lower().replace(" ", "-")


def _form(form: str) -> Case:
    return Case(
        id=f"input/{_slug(form)}",
        title=f"A right code is not accepted in this form: {form}.",
        why="Checks and counts that compare texts can be passed with another form of the text.",
        clauses=("SEED-SIX",),
        level=Level.DEPTH,
        steps=(assign(), verify(Code(form=form), "not accepted"), advance(60), works()),
    )


def _spelling(name: str, title: str, first: str, second: str) -> Case:
    return Case(
        id=f"input/{name}",
        title=title,
        why="A code is used twice, or guesses are counted apart, under two spellings of a name.",
        clauses=("RULE-PRINCIPAL",),
        level=Level.DEPTH,
        steps=(
            assign(first), works(user=first),
            verify(Code(user=first), "not accepted", user=second), advance(60), works(user=first),
        ),
    )


def _uri(name: str, what: str, query: str) -> Case:
    return Case(
        id=f"uri/{name}",
        title=f"A key URI with {what} is refused.",
        why="A device is assigned with other parameters than its app has, or with another key.",
        clauses=("KEYURI-READ",),
        level=Level.DEPTH,
        requires=("uri",),
        steps=(
            Step(
                do="provision_uri", control=True,
                arguments={"uri": f"otpauth://totp/Example:alice?secret={SECRET}", "key": "one"},
            ),
            works(),
            Step(
                do="provision_uri", user="bob", expect="not accepted",
                arguments={"uri": f"otpauth://totp/Example:bob?{query}"},
            ),
        ),
    )


CASES: Final = (
    *(
        _form(form) for form in FORMS
        if form not in ACCEPTED_FORMS and form != "leading zeros removed"
    ),
    Case(
        id="input/leading-zeros-removed",
        title="A code that begins with a zero is not accepted without it.",
        why="Codes are compared as numbers, so other texts are accepted as well.",
        clauses=("SEED-SIX",),
        level=Level.DEPTH,
        requires=("provision", "time"),
        steps=(
            set_time(1111111109), provision("rfc-sha1"),
            verify(Code(form="leading zeros removed"), "not accepted"), advance(0),
            verify("081804", control=True),
        ),
    ),
    Case(
        id="input/no-internal-error",
        title="No form of a code causes an internal error.",
        why="An error that was not foreseen skips the count of guesses, or reveals internals.",
        clauses=("ASVS5-16.5.1", "ASVS5-16.5.3"),
        level=Level.SHOULD,
        steps=tuple(
            step
            for form in FORMS
            for step in (
                assign(_slug(form)),
                verify(Code(user=_slug(form), form=form), "answered", user=_slug(form)),
            )
        ),
    ),
    Case(
        id="input/malformed-is-not-a-guess",
        title="Text that is not a code does not lock the user out.",
        why="A password manager that fills in the wrong field locks its user out.",
        clauses=("RULE-READS",),
        level=Level.DEPTH,
        steps=(
            assign(), works(), advance(30), repeat(20, verify("correct horse", "not accepted")),
            verify(),
        ),
    ),
    Case(
        id="input/unknown-user",
        title="A user without a device gets the same answer as a wrong code.",
        why="Attackers learn who has a second factor.",
        clauses=("ASVS5-6.3.8",),
        level=Level.DEPTH,
        steps=(
            assign(),
            Step(
                do="same",
                steps=(
                    verify(Code(wrong=True), "any"), verify("123456", "any", user="carol"),
                ),
            ),
            advance(60), works(),
        ),
    ),
    _spelling(
        "other-case", "A used code is refused under the name in capitals.", "alice", "ALICE"
    ),
    _spelling(
        "other-normal-form", "A used code is refused under the name in another Unicode form.",
        "jos\u00e9", "jose\u0301",
    ),
    Case(
        id="input/period-zero",
        title="A period of 0 seconds is refused.",
        why="A device is assigned whose codes never change, or the system fails at each sign-in.",
        clauses=("RFC6238-4.2-FLOOR",),
        level=Level.DEPTH,
        requires=("provision", "parameters"),
        steps=(provision("one"), provision("two", "bob", "not accepted", period=0)),
    ),
    *(_uri(name, what, query) for name, (what, query) in INVALID_URIS.items()),
)  # fmt: skip
