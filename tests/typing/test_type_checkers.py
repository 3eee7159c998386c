"""What type checkers and editors see of the public API.

``accepted.py`` must be accepted; each snippet of ``REFUSED`` must be refused.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vmfa

pytest.importorskip("mypy", reason="mypy comes with the test extra")

ROOT = Path(__file__).parents[2]
BEFORE = """
import datetime
import vmfa
from vmfa import Actor, DerivedKeys, DeviceRegistry, Key, KeySource, MemoryStore, MfaClaim
from vmfa import Operations, Parameters, Policy, Principal, PrincipalId, Receipt, Store
from vmfa import VirtualDevice

def snippet(
    registry: DeviceRegistry, operations: Operations, alice: PrincipalId, me: Actor, key: Key,
    raw: bytes, now: float
) -> None:
"""
REFUSED = {  # a snippet and the error codes that mypy may report
    # codes
    "an int as a code": ("vmfa.verify_totp(key, 123456, now, after=-1)", "arg-type"),
    "bytes as a code": ("vmfa.verify_totp(key, b'123456', now, after=-1)", "arg-type"),
    "an int as a HOTP code": ("vmfa.verify_hotp(key, 755224, counter=0)", "arg-type"),
    "text as a key": ("vmfa.totp('GEZDGNBVGY3TQOJQ', now)", "arg-type"),
    "a Key of text": ("Key('GEZDGNBVGY3TQOJQ')", "arg-type"),
    "bytes as Base32": ("Key.from_base32(b'GEZDGNBVGY3TQOJQ')", "arg-type"),
    "a datetime as a time": ("vmfa.totp(key, datetime.datetime.now())", "arg-type"),
    "a datetime as the time of a step": ("vmfa.step_at(datetime.datetime.now())", "arg-type"),
    "text as a time": ("vmfa.seconds_left('59')", "arg-type"),
    "no replay position": ("vmfa.verify_totp(key, '123456', now)", "call-arg"),
    "None as the replay position": (
        "vmfa.verify_totp(key, '123456', now, after=None)",
        "arg-type",
    ),
    "the replay position by position": (
        "vmfa.verify_totp(key, '123456', now, -1)",
        "misc call-arg",
    ),
    "no counter": ("vmfa.verify_hotp(key, '123456')", "call-arg"),
    "a float as a counter": ("vmfa.hotp(key, 1.0)", "arg-type"),
    "text as digits": ("vmfa.hotp(key, 1, digits='6')", "arg-type"),
    "a misspelled option": ("vmfa.totp(key, now, interval=30)", "call-arg"),
    "a step as text": ("code: str = vmfa.verify_totp(key, '123456', now, after=-1)", "assignment"),
    "a step as a bool": (
        "ok: bool = vmfa.verify_totp(key, '123456', now, after=-1)",
        "assignment",
    ),
    "a name that does not exist": ("print(vmfa.verfy_totp)", "attr-defined"),
    # the registry
    "open_enrollment without an actor": ("registry.open_enrollment(alice, label='a')", "call-arg"),
    "confirm_enrollment without an actor": (
        "registry.confirm_enrollment(alice, session='s', code1='1', code2='2')",
        "call-arg",
    ),
    "resync without an actor": ("registry.resync(alice, code1='1', code2='2')", "call-arg"),
    "deactivate without an actor": ("registry.deactivate(alice)", "call-arg"),
    "device without an actor": ("registry.device(alice)", "call-arg"),
    "history without an actor": ("registry.history(alice)", "call-arg"),
    "adopt without an actor": ("registry.adopt(alice, key=key, system='old')", "call-arg"),
    "forget without an actor": ("registry.forget(alice)", "call-arg"),
    "None as an actor": ("registry.deactivate(alice, by=None)", "arg-type"),
    "a principal as an actor": ("registry.deactivate(alice, by=alice)", "arg-type"),
    "the actor by position": ("registry.deactivate(alice, me)", "misc call-arg"),
    "text as a principal": ("registry.verify('alice', '123456')", "arg-type"),
    "an int as a code to verify": ("registry.verify(alice, 123456)", "arg-type"),
    "bytes as a key to adopt": ("registry.adopt(alice, by=me, key=raw, system='old')", "arg-type"),
    "the codes of a pair by position": (
        "registry.resync(alice, '1', '2', by=me)",
        "misc call-arg",
    ),
    "a receipt as a device": (
        "device: VirtualDevice = registry.verify(alice, '123456')",
        "assignment",
    ),
    "a receipt as a bool": ("ok: bool = registry.verify(alice, '123456')", "assignment"),
    "a report as a receipt": (
        "r: Receipt = registry.resync(alice, code1='1', code2='2', by=me)",
        "assignment",
    ),
    "the key of a device": ("registry.device(alice, by=me).key", "attr-defined"),
    "a receipt as a claim": (
        "Actor.signed_in(alice, mfa=registry.verify(alice, '123456'))",
        "arg-type",
    ),
    "the result of cancel_enrollment": (
        "done: bool = registry.cancel_enrollment(alice, by=me)",
        "assignment func-returns-value",
    ),
    "a registry without keys": ("DeviceRegistry(MemoryStore(), issuer='Example')", "call-arg"),
    "a master key as the keys": (
        "DeviceRegistry(MemoryStore(), keys=raw, issuer='Example')",
        "arg-type",
    ),
    "a path as the store": (
        "DeviceRegistry('mfa.db', keys=DerivedKeys(raw), issuer='Example')",
        "arg-type",
    ),
    "text as a master key": ("DerivedKeys('secret')", "arg-type"),
    # values
    "a misspelled field of the policy": ("Policy(windows=1)", "call-arg"),
    "a field of the policy by position": ("Policy(1)", "misc call-arg"),
    "text in the policy": ("Policy(window='1')", "arg-type"),
    "a list of offers": ("Policy(offers=[Parameters()])", "arg-type"),
    "a change of the policy": ("Policy().window = 2", "misc"),
    "a change of a principal": ("alice.name = 'eve'", "misc"),
    "a claim by position": ("MfaClaim(5, 'n')", "misc call-arg"),
    "ordered keys": ("key < key", "operator"),
    "an object as a key source": ("keys: KeySource = object()", "assignment"),
    "a dict as a store": ("store: Store = {}", "assignment"),
    # operations
    "an operation as a receipt": ("r: Receipt = operations.verify(alice, '123456')", "assignment"),
    "a decision as a receipt": (
        "r: Receipt = operations.verify(alice, '123456').decide(Principal(id=alice), now)",
        "assignment",
    ),
    "a decision without a time": (
        "operations.verify(alice, '123456').decide(Principal(id=alice))",
        "call-arg",
    ),
    "the answer of another operation": (
        (
            "opening = operations.open_enrollment(alice, by=me, label='a')\n"
            "    r: Receipt = opening.decide(Principal(id=alice), now).settle()"
        ),
        "assignment",
    ),
}


def mypy(*files: Path) -> list[str]:
    """The lines that mypy prints for *files*."""
    config = str(ROOT / "pyproject.toml")
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--no-pretty"]
    done = subprocess.run(
        [*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout.splitlines()


def every_name() -> str:
    """A module that imports every public name and looks it up in the package."""
    names = dir(vmfa)
    imports = "".join(f"from vmfa import {name} as {name}_\n" for name in names)
    types = "".join(f"reveal_type(vmfa.{name})\n" for name in names)
    return f"import vmfa\n{imports}{types}"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The error codes that mypy reports for ``accepted.py``, each snippet and ``every_name``."""
    folder = tmp_path_factory.mktemp("snippets")
    texts = {
        "sound": "vmfa.totp(key, now)",
        **{name: snippet for name, (snippet, _) in REFUSED.items()},
    }
    names = {f"snippet_{number}": name for number, name in enumerate(texts)}
    for file, name in names.items():
        (folder / f"{file}.py").write_text(f"{BEFORE}    {texts[name]}\n", "utf-8")
    (folder / "every_name.py").write_text(every_name(), "utf-8")
    errors: dict[str, set[str]] = {name: set() for name in ("accepted", "every_name", *texts)}
    accepted = Path(__file__).with_name("accepted.py")
    for line in mypy(accepted, *sorted(folder.iterdir())):
        error = re.fullmatch(r"(?:.*[/\\])?(\w+)\.py:\d+: error: .*\[([\w-]+)\]", line)
        if error:
            errors[names.get(error[1], error[1])].add(error[2])
        elif "every_name.py" in line and 'Revealed type is "Any"' in line:
            errors["every_name"].add(line)
    return errors


@pytest.mark.parametrize("name", ["accepted", "sound"])
def test_correct_code_is_accepted(results: dict[str, set[str]], name: str) -> None:
    assert results[name] == set()


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_code_is_refused(results: dict[str, set[str]], name: str) -> None:
    assert results[name]
    assert results[name] <= set(REFUSED[name][1].split())


def test_mypy_resolves_every_public_name(results: dict[str, set[str]]) -> None:
    assert results["every_name"] == set()


@pytest.mark.slow
def test_pyright_resolves_every_public_name(tmp_path: Path) -> None:
    pyright = shutil.which("pyright") or shutil.which("pyright", path=Path(sys.executable).parent)
    if pyright is None:
        pytest.skip("pyright comes with the campaigns extra")
    file = tmp_path / "every_name.py"
    file.write_text(every_name(), "utf-8")
    done = subprocess.run(
        [pyright, "--outputjson", "--pythonpath", sys.executable, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright cannot run here: {done.stderr or done.stdout}"[:200])
    report = json.loads(done.stdout)
    messages = [
        diagnostic["message"]
        for diagnostic in report["generalDiagnostics"]
        if diagnostic["severity"] == "error" or ' is "Unknown"' in diagnostic["message"]
    ]
    assert messages == []


class TestJedi:
    """The completion engine of IPython and several editors."""

    jedi = staticmethod(lambda: pytest.importorskip("jedi", reason="pip install jedi"))

    @pytest.mark.parametrize("name", dir(vmfa))
    def test_a_public_name_is_resolved(self, name: str) -> None:
        script = self.jedi().Script(f"from vmfa import {name}\n{name}")
        definitions = script.infer(2, 0) or script.goto(2, 0, follow_imports=True)
        assert [definition.name for definition in definitions] == [name]
        assert all(definition.module_name.startswith("vmfa.") for definition in definitions)

    def test_the_tooltip_of_verify_shows_signature_and_docstring(self) -> None:
        code = "from vmfa import DeviceRegistry\nDeviceRegistry.verify"
        (verify,) = self.jedi().Script(code).infer(2, len("DeviceRegistry.ver"))
        assert (verify.name, verify.parent().name) == ("verify", "DeviceRegistry")
        tooltip = verify.docstring()
        signature = tooltip.partition("\n\n")[0]
        assert signature.startswith("verify(self, principal: PrincipalId, code: str")
        assert signature.endswith("-> Receipt")
        assert ":param code:" in tooltip
        assert ":raises CodeRejected:" in tooltip
