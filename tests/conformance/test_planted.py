"""The defects of the planted-defect campaign, found from outside.

Each is planted into a copy of the library. The kit then audits the copy: the case that names the
defect is violated, and so is no unrelated one. A defect that is missing here cannot be seen by a
caller: it needs a wrong configuration, an edited row, a second role, or it only takes time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "campaigns"))

from planted import DEFECTS, ROOT, Defect, planted

RACES = ("*-at-once", "*/at-once", "*/at-once-*")
THROTTLING = ("throttling/*", "enrollment/attempts", "resync/guesses", "storage/write-fails")
ONCE = ("replay/*", "lock-out/used-code", "clock/*")

# The defect: the case that names it (or a choice of races), and what may be violated as well.
OBSERVABLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "django-otp: digits of other scripts": ("input/no-internal-error", ()),
    "pyotp 22: any text is compared": ("input/no-internal-error", ()),
    "authlib: the offset from byte 19": ("vectors/known-wrong-sha256", ("vectors/*",)),
    "cryptography: a period of 0 s": ("uri/period-zero", ("input/period-zero",)),
    "pyotp parse_uri: the last of two secrets wins": ("uri/two-secrets", ()),
    "pyotp parse_uri: digits of other scripts": ("uri/other-digits", ()),
    "Vault CVE-2025-6014: used codes are remembered as typed": (
        "replay/spaces-around",
        ("replay/space-inside", "replay/newline", "throttling/spaces-around"),
    ),
    "Vikunja CVE-2026-33473: no replay state": (
        "replay/same-code", (*ONCE, "enrollment/code-spent", "resync/codes-spent"),
    ),
    "logto 9109: the slower writer wins": ("replay/*-at-once", RACES),
    "allauth: replay state expires after a period": ("replay/one-step-later", ONCE),
    "django-otp: check and save apart": ("replay/*-at-once", RACES),
    "privacyIDEA GHSA-qq2p: the statement compares nothing": ("*at-once*", RACES),
    "privacyIDEA: the first code of the pair may be the last one used": ("resync/used-code", ()),
    "libpam: resync spends one code of two": ("resync/codes-spent", ()),
    "weblate 21485: an enrollment code signs in": ("enrollment/code-spent", ()),
    "the first match in the window is spent": ("replay/twin-steps", ()),
    "Vikunja CVE-2026-35597: the answer leaves before its commit": (
        "throttling/hundred-guesses", THROTTLING,
    ),
    "a wrong guess is answered although it could not be counted": (
        "storage/write-fails", THROTTLING,
    ),
    "django-otp: 2**n without a cap": ("lock-out/heals", ()),
    "privacyIDEA 2243: parallel guesses are not counted one by one": (
        "throttling/at-once-evaluated", RACES,
    ),
    "privacyIDEA 2243: two devices by parallel enrollment": ("enrollment/at-once", RACES),
    "keycloak 46164: patience buys guesses without end": ("throttling/between-sign-ins", ()),
    "resync as an oracle: failures are not counted": ("resync/guesses", ()),
    "resync as an oracle: one code is enough": (
        "resync/one-right-code", ("resync/*", "enrollment/*"),
    ),
    "the throttle is reset by enrolling again": (
        "removal/password-only", ("removal/session-removes-next",),
    ),
    "django-otp: drift walks": ("window/drift-is-limited", ()),
    "a relay walks the drift without a bound": ("window/drift-is-limited", ()),
    "four codes filmed: a pair from before the last code": (
        "resync/used-code", ("resync/old-pair",),
    ),
    "home-assistant 181369: enrollment is stricter than login": ("enrollment/late-code", ()),
    "home-assistant 181369: blanks are accepted in one place only": (
        "enrollment/spaced-code", (),
    ),
    "AWS-2023-001: a password alone removes the device": (
        "removal/password-only", ("removal/session-removes-next",),
    ),
    "an administrator without MFA": ("removal/administrator-password", ()),
    "a session outlives the stolen phone": ("removal/session-removes-next", ()),
    "AppWallet: a key is not bound to its owner": ("storage/copied-row", ()),
    "any session id is accepted": ("enrollment/other-user", ("enrollment/superseded",)),
    "SEED-TWO: two codes with a gap": ("enrollment/gap", ("resync/gap",)),
    "throttled codes are evaluated": ("throttling/ten-guesses", THROTTLING),
    "an empty budget is evaluated": ("throttling/between-sign-ins", ()),
    "a success refills the budget": ("throttling/between-sign-ins", ()),
    "a session has unlimited attempts": ("enrollment/attempts", ()),
    "an expired session stays open": ("enrollment/expired", ()),
}  # fmt: skip
BY_NAME = {defect.name: defect for defect in DEFECTS}


def violated_with(defect: Defect, folder: Path) -> list[str]:
    """Return the cases that a copy of the library with *defect* violates."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "vmfa" / defect.file
    path.write_text(planted(path.read_text("utf-8"), defect), "utf-8")
    store = "sqlite" if "sqlite" in defect.file else "memory"
    report = folder / "report.json"
    command = [
        sys.executable, "-m", "vmfa", "conformance", "run",
        "--python", f"vmfa.conformance.own:{store}", "--write", str(report),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert report.exists(), done.stderr
    document = json.loads(report.read_text())
    assert document["conclusive"], done.stdout
    return [case["id"] for case in document["cases"] if case["verdict"] == "violated"]


def test_every_defect_is_one_of_the_campaign() -> None:
    assert OBSERVABLE.keys() <= BY_NAME.keys()


@pytest.mark.campaign
@pytest.mark.parametrize("name", OBSERVABLE)
def test_a_planted_defect_violates_its_case_and_no_unrelated_one(
    name: str, tmp_path: Path
) -> None:
    case, related = OBSERVABLE[name]
    violated = violated_with(BY_NAME[name], tmp_path)
    assert any(fnmatch(one, case) for one in violated), violated
    patterns = (case, *related)
    assert [one for one in violated if not any(fnmatch(one, p) for p in patterns)] == []
