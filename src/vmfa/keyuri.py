"""``otpauth://`` key URIs, which carry a key into an authenticator app or out of another system.

URIs are written in the form that every app understands. They are read strictly, with the dialects
that apps write; ``docs/key-uris.md`` gives the reason for each choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal
from unicodedata import normalize

from .errors import InvalidType, InvalidValue
from .keys import Key, UnsafeShortKey, base32
from .otp import COUNTER_LIMIT
from .policy import Parameters
from .validators import check_text

MAX_URI_LENGTH: Final = 8192  # characters
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class KeyUriError(InvalidValue):
    """The text is not a key URI that the library accepts. ``part`` names the wrong part."""

    reason = "key URI"

    def __init__(self, message: str, part: str = "uri") -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUri:
    """The content of a key URI.

    ``counter`` is the next counter of a "hotp" key, and None for "totp". ``issuer`` may be empty.
    """

    type: Literal["totp", "hotp"]
    issuer: str
    label: str
    key: Key
    parameters: Parameters
    counter: int | None = None


def check_label(name: str, value: str) -> None:
    """Check an issuer or an account label: text without a colon, which separates the two.

    :raises InvalidType: *value* is not a str.
    :raises InvalidValue: *value* is empty, too long, has invisible characters, or a colon.
    """
    # SEED-MANY
    check_text(name, value, max_bytes=256)
    if ":" in value:
        raise InvalidValue(f"{name} must not contain a colon")


def build(*, issuer: str, label: str, key: Key, parameters: Parameters) -> str:
    """Return the URI of a TOTP device: the issuer twice, blanks as ``%20``, defaults left out."""
    # KEYURI-WRITE, RULE-BETTER-7
    from urllib.parse import quote

    name, account = quote(issuer, safe=""), quote(label, safe="@")
    uri = f"otpauth://totp/{name}:{account}?secret={base32(key)}&issuer={name}"
    for field in ("algorithm", "digits", "period"):
        value = getattr(parameters, field)
        if value != getattr(Parameters(), field):
            uri += f"&{field}={str(value).upper()}"
    return uri


def parse(uri: str, *, unsafe_short_key: bool = False) -> KeyUri:
    """Return the content of a key URI. The policy decides whether a device may use it.

    :param uri: at most 8192 characters.
    :param unsafe_short_key: accept a secret below 128 bits, against RFC 4226.
    :raises InvalidType: *uri* is not a str.
    :raises KeyUriError: *uri* is not a valid key URI; no text of the error quotes it.
    """
    # KEYURI-READ
    problem: InvalidType | KeyUriError = InvalidType("a key URI must be a str")
    if isinstance(uri, str):
        try:
            return _read(uri, UnsafeShortKey if unsafe_short_key else Key)
        except KeyUriError as error:
            problem = KeyUriError(str(error), error.part)  # without the frames of the first one
    del uri  # error trackers record the locals of a raising frame
    raise problem


def _read(uri: str, key_type: type[Key]) -> KeyUri:
    if len(uri) > MAX_URI_LENGTH:
        raise KeyUriError(f"a key URI must not be longer than {MAX_URI_LENGTH} characters")
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() != "otpauth":
        raise KeyUriError("a key URI must begin with otpauth://")
    if "#" in rest:
        raise KeyUriError("a key URI must not have a fragment: write %23 for '#'")
    target, _, query = rest.partition("?")
    kind, _, path = target.partition("/")
    kind = kind.lower()
    if kind not in ("totp", "hotp"):
        raise KeyUriError("the type of a key URI must be totp or hotp", "type")
    given = _parameters(query)
    if "encoder" in given:
        raise KeyUriError("codes in another alphabet (Steam) are not supported", "encoder")
    issuer, label = _names(path, given)
    counter = _number("counter", given, -1)
    if kind == "hotp" and counter < 0:
        raise KeyUriError("a hotp key URI must have a counter", "counter")
    return KeyUri(
        type="hotp" if kind == "hotp" else "totp",
        issuer=issuer,
        label=label,
        key=_key(given, key_type),
        parameters=_shape(given),
        counter=counter if kind == "hotp" else None,
    )


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters, by names in lower case.

    A known name may occur only once, because programs differ in which of two values they use. Some
    programs repeat parameters of their own, such as ``tags``, and end the query with ``&``.
    """
    given: dict[str, str] = {}
    for piece in filter(None, query.split("&")):
        name, separator, value = piece.partition("=")
        name = _decoded(name, "uri").lower()
        if not separator:
            raise KeyUriError("a parameter of a key URI must be written name=value")
        if name in given and name in _KNOWN:
            raise KeyUriError("a key URI must not repeat a parameter", name)
        given[name] = value
    return given


_KNOWN: Final = frozenset({"secret", "issuer", "algorithm", "digits", "period", "counter"})


def _names(path: str, given: dict[str, str]) -> tuple[str, str]:
    """Return the issuer and the label of ``issuer:account`` or ``account``.

    The colon may be written ``%3A``. Issuer and account may contain colons themselves if the
    parameter ``issuer`` shows where the account begins.
    """
    whole = normalize("NFC", _decoded(path, "label"))
    written = given.get("issuer", "")
    literal = normalize("NFC", _decoded(written, "issuer"))
    # Several apps write a blank as "+".
    spaced = normalize("NFC", _decoded(written.replace("+", " "), "issuer"))
    names = (name for name in (literal, spaced) if name)
    issuer = next((name for name in names if f"{whole}:".startswith(f"{name}:")), "")
    if issuer:
        label = whole if whole == issuer else whole[len(issuer) + 1 :].lstrip(" ")
    else:
        first, colon, second = whole.partition(":")
        prefix, label = (first, second.lstrip(" ")) if colon else ("", whole)
        if prefix and spaced:
            raise KeyUriError("the issuer in the label and the issuer parameter differ", "issuer")
        if ":" in label:
            raise KeyUriError("the label has two colons and no issuer parameter", "label")
        issuer = spaced or prefix
    for part, text in (("label", label), ("issuer", issuer)):
        if text or part == "label":
            try:
                check_text(part, text, max_bytes=256)
            except InvalidValue as error:
                raise KeyUriError(str(error), part) from None
    return issuer, label


def _key(given: dict[str, str], key_type: type[Key]) -> Key:
    try:
        return key_type.from_base32(_decoded(given.get("secret", ""), "secret"))
    except InvalidValue as error:
        raise KeyUriError(str(error), "secret") from None


def _shape(given: dict[str, str]) -> Parameters:
    """Return the parameters of the codes, with the defaults that every app assumes."""
    # SEED-SIX
    shape = Parameters()
    algorithm = _decoded(given.get("algorithm", shape.algorithm), "algorithm").lower()
    digits, period = _number("digits", given, shape.digits), _number("period", given, shape.period)
    for name, value in (("algorithm", algorithm), ("digits", digits), ("period", period)):
        try:
            shape = replace(shape, **{name: value})  # type: ignore[arg-type]  # it is validated
        except InvalidValue as error:
            raise KeyUriError(str(error), name) from None
    return shape


def _number(name: str, given: dict[str, str], default: int) -> int:
    """Read ASCII digits only: ``int`` also accepts signs, underscores and other scripts."""
    if name not in given:
        return default
    text = _decoded(given[name], name)
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < COUNTER_LIMIT):
        raise KeyUriError(f"{name} must be a whole number in ASCII digits, below 2**64", name)
    return int(text)


def _decoded(text: str, part: str) -> str:
    from urllib.parse import unquote

    if all(len(piece) >= 2 and _HEX.issuperset(piece[:2]) for piece in text.split("%")[1:]):
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            pass  # raised below: this error carries the text
    raise KeyUriError("a percent sign must be followed by two hexadecimal digits of UTF-8", part)
