"""Build ``docs/vmfa.cdx.json``: the bill of materials that the wheel contains (CycloneDX 1.6).

``python tests/bill_of_materials.py`` writes it from ``pyproject.toml``. ``--check`` writes nothing
and fails if the file is out of date.

vmfa requires no package. The components are the optional packages of the extras, the Python that
computes the hashes, and the algorithms. Their versions are those of your environment, so none is
stated here: ``vmfa selftest`` reports them.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "docs" / "vmfa.cdx.json"
OURS: Final = {"test", "docs", "examples", "bench", "campaigns", "dev"}  # not for users
PYTHON: Final = "python"
ALGORITHMS: Final = {  # the name, the primitive of CycloneDX, the parameter, what it is for
    "SHA-1": ("hash", "160", "codes of devices with SHA-1, only in HMAC"),
    "SHA-256": ("hash", "256", "histories, checkpoints, saved recovery codes"),
    "SHA-512": ("hash", "512", "codes of devices with SHA-512, only in HMAC"),
    "HMAC": ("mac", "", "codes (RFC 4226, RFC 6238), tags of records, events, claims and tokens"),
    "HKDF-SHA-256": ("kdf", "256", "keys of devices and of tags, from a master key (RFC 5869)"),
    "Ed25519": ("signature", "", "checkpoints; only with the extra signing (RFC 8032)"),
    "AES-256-GCM": ("ae", "256", "keys of imported devices; only with the extra sealing"),
}


def bill(project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document for the table ``project`` of ``pyproject.toml``."""
    name, version, license_id = project["name"], project["version"], project["license"]
    ref = f"pkg:pypi/{name}@{version}"
    packages = [
        package(requirement, extra)
        for extra, requirements in sorted(project["optional-dependencies"].items())
        if extra not in OURS
        for requirement in requirements
    ]
    algorithms = [algorithm(name, *row) for name, row in ALGORITHMS.items()]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": ref,
                "name": name,
                "version": version,
                "purl": ref,
                "licenses": [{"license": {"id": license_id}}],
            }
        },
        "components": [interpreter(project["requires-python"]), *packages, *algorithms],
        "dependencies": [{"ref": ref, "dependsOn": [PYTHON]}],
    }


def interpreter(versions: str) -> dict[str, Any]:
    return {
        "type": "platform",
        "bom-ref": PYTHON,
        "name": "Python",
        "description": (
            f"Python {versions} of your system. Its modules hashlib and hmac compute all hashes,"
            " with OpenSSL or with code of their own. Neither is part of this package, and this"
            " document says nothing about their versions or their validation: run vmfa selftest"
        ),
    }


def package(requirement: str, extra: str) -> dict[str, Any]:
    match = re.match(r"[\w-]+", requirement)
    assert match is not None, requirement
    return {
        "type": "library",
        "bom-ref": f"extra:{extra}:{match[0]}",
        "name": match[0],
        "scope": "optional",
        "purl": f"pkg:pypi/{match[0]}",
        "properties": [
            {"name": "vmfa:extra", "value": extra},
            {"name": "vmfa:requirement", "value": requirement},
        ],
    }


def algorithm(name: str, primitive: str, parameter: str, purpose: str) -> dict[str, Any]:
    properties = {"primitive": primitive, "parameterSetIdentifier": parameter}
    return {
        "type": "cryptographic-asset",
        "bom-ref": f"algorithm:{name}",
        "name": name,
        "description": purpose,
        "cryptoProperties": {
            "assetType": "algorithm",
            "algorithmProperties": {key: value for key, value in properties.items() if value},
        },
    }


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = f"{json.dumps(bill(project), indent=2)}\n"
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        sys.exit(f"{TARGET.name} is out of date: run python tests/bill_of_materials.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
