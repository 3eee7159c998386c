"""Import TOTP configurations of Authelia: ``authelia storage user totp export``, a YAML file.

The package PyYAML reads it (extra ``import``). The key is Base32 in Base64. Authelia exports no
replay position. The output of ``authelia storage user totp export uri`` is a list of key URIs:
import it with the format ``otpauth``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any, Final

from ..errors import InvalidValue, MissingExtra
from ..policy import Parameters
from .base import ImportedDevice, Item, Items, UnreadableSource
from .reading import (
    Record,
    Source,
    base64_bytes,
    build_item,
    check_known_fields,
    document,
    key_type,
    rewound,
    take,
    take_number,
)

try:
    import yaml
except ImportError:
    raise MissingExtra(
        "exports of Authelia need the extra import: pip install 'vmfa[import]'"
    ) from None

NOT_AN_EXPORT: Final = (
    "the source is not an export of Authelia: YAML with a list of totp_configurations, in which"
    " no name occurs twice"
)


def read(source: Source, *, unsafe_short_keys: bool = False) -> Items:
    """Return the configurations in an export, which is parsed as a whole.

    :param unsafe_short_keys: import keys below 128 bits, against RFC 4226.
    """
    item = partial(_item, unsafe_short_keys=unsafe_short_keys)
    return Items(lambda: map(item, enumerate(_configurations(rewound(source)), 1)))


def _configurations(source: Source) -> Iterator[Record]:
    export = _parsed(document(source))
    configurations = export.get("totp_configurations") if isinstance(export, dict) else None
    if not isinstance(configurations, list):
        del export, configurations
        raise UnreadableSource(NOT_AN_EXPORT)
    for configuration in configurations:
        yield configuration if isinstance(configuration, dict) else {}


class _Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]  # no stub
    """A loader that leaves values as text, so that a user ``0123`` is not the number 83."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a name occurs twice")
        return mapping


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # builds text, lists and dicts only
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        del text  # the error contains it too
    raise UnreadableSource(NOT_AN_EXPORT)


def _item(numbered: tuple[int, Record], *, unsafe_short_keys: bool) -> Item:
    number, record = numbered
    where, owner = f"entry {number}", record.get("username")
    owner = owner if isinstance(owner, str) else ""

    def build() -> ImportedDevice:
        if not owner:
            raise InvalidValue("username is missing")
        check_known_fields(
            record, "created_at", "last_used_at", "username", "issuer", "algorithm", "digits",
            "period", "secret",
        )
        secret = base64_bytes("secret", take(record, "secret", str))
        if not secret.isascii():
            raise InvalidValue("secret must be Base32 in Base64")
        return ImportedDevice(
            where=where,
            owner=owner,
            system=f"authelia: {owner}",
            key=key_type(unsafe_short_keys).from_base32(secret.decode()),
            parameters=Parameters(
                algorithm=take(record, "algorithm", str).lower(),
                digits=take_number(record, "digits"),
                period=take_number(record, "period"),
            ),
        )

    return build_item(where, owner, build)
