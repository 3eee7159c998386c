"""The public API: every name works, documents itself and costs nothing until it is used."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import vmfa
import vmfa.aio
from support import MASTER, phone_with
from vmfa import Actor, DerivedKeys, DeviceRegistry, Key, MemoryStore, PrincipalId
from vmfa.testing import FrozenClock


def run_python(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class TestNames:
    @pytest.mark.parametrize("name", vmfa.__all__)
    def test_a_name_is_the_object_of_its_module(self, name: str) -> None:
        value = getattr(vmfa, name)
        module = import_module(value.__module__)
        assert getattr(module, name) is value
        assert name in module.__all__

    def test_the_names_are_sorted_and_unique(self) -> None:
        assert list(vmfa.__all__) == sorted(set(vmfa.__all__))
        assert set(vmfa.__all__) <= set(dir(vmfa))

    def test_every_error_is_public(self) -> None:
        errors = import_module("vmfa.errors")
        names = {
            name
            for name, kind in inspect.getmembers(errors, inspect.isclass)
            if issubclass(kind, Exception)
        }
        assert names <= set(vmfa.__all__)

    def test_star_import(self) -> None:
        namespace: dict[str, object] = {}
        exec("from vmfa import *", namespace)
        assert set(vmfa.__all__) <= namespace.keys()

    def test_a_module_is_an_attribute_of_the_package(self) -> None:
        assert run_python("import vmfa; print(vmfa.errors.NoDevice.reason)") == "no device"

    def test_a_module_is_found_when_it_is_first_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(vmfa, "errors")
        assert vmfa.errors is sys.modules["vmfa.errors"]

    def test_selftest_stays_a_function_after_its_module_is_imported(self) -> None:
        code = "import vmfa.self_test, vmfa; vmfa.SelfTest; print(callable(vmfa.selftest))"
        assert run_python(code) == "True"

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'vmfa' has no attribute 'verify'"):
            vmfa.verify  # noqa: B018  # the access is the test
        assert not hasattr(vmfa, "__wrapped__")

    @pytest.mark.parametrize("name", vmfa.__all__)
    def test_a_name_has_a_docstring(self, name: str) -> None:
        assert getattr(vmfa, name).__doc__


METHODS = [
    name
    for name, value in vars(DeviceRegistry).items()
    if not name.startswith("_") and callable(value)
]


@pytest.mark.parametrize(
    "kind",
    [DeviceRegistry, vmfa.aio.DeviceRegistry],
    ids=["synchronous", "asynchronous"],
)
class TestRegistryMethods:
    """Tools show the method that a user called, not another one behind it."""

    @pytest.mark.parametrize("name", METHODS)
    def test_a_method_is_defined_where_it_is_looked_up(self, kind: type, name: str) -> None:
        method = vars(kind)[name]
        assert method.__qualname__ == f"DeviceRegistry.{name}"
        assert method.__code__.co_name == name
        assert not hasattr(method, "__wrapped__")
        assert inspect.getsourcefile(method) == inspect.getsourcefile(kind)

    @pytest.mark.parametrize("name", METHODS)
    def test_the_docstring_describes_every_argument(self, kind: type, name: str) -> None:
        """The docstring of the class describes *by* and *source*, which many methods have."""
        method = vars(kind)[name]
        assert inspect.getdoc(method)
        documented = f"{inspect.getdoc(vars(DeviceRegistry)[name])}{inspect.getdoc(kind)}"
        described = {*re.findall(r":param (\w+):|\*(\w+)\*", documented)}
        names = {name for pair in described for name in pair}
        assert {*inspect.signature(method).parameters} - {"self", "principal"} <= names

    @pytest.mark.parametrize("name", METHODS)
    def test_every_argument_and_the_result_have_a_type(self, kind: type, name: str) -> None:
        signature = inspect.signature(vars(kind)[name])
        assert signature.return_annotation is not inspect.Signature.empty
        for parameter in list(signature.parameters.values())[1:]:
            assert parameter.annotation is not inspect.Parameter.empty, parameter.name

    def test_a_missing_argument_is_reported_for_the_method(self, kind: Any) -> None:
        with pytest.raises(TypeError, match=r"^DeviceRegistry\.verify\(\) missing"):
            kind.verify(None, PrincipalId.root("a"))


class TestImport:
    """Nothing is loaded that is not used."""

    def test_import_vmfa_loads_no_other_module(self) -> None:
        code = (
            "import sys; before = set(sys.modules); import vmfa; print(*set(sys.modules) - before)"
        )
        assert set(run_python(code).split()) <= {"vmfa", "__future__"}

    def test_the_codes_load_no_expensive_module(self) -> None:
        loaded = set(run_python("import sys; from vmfa import totp; print(*sys.modules)").split())
        expensive = {"sqlite3", "logging", "secrets", "urllib", "asyncio", "json"}
        assert not expensive & loaded

    def test_the_registry_loads_no_logging_and_no_network(self) -> None:
        code = "import sys; from vmfa import DeviceRegistry, SQLiteStore; print(*sys.modules)"
        assert not {"logging", "socket", "asyncio", "secrets"} & set(run_python(code).split())


class ManualExample(dict[str, object]):
    """The names that the example in the manual leaves open: master key, clock and codes."""

    def __init__(self) -> None:
        super().__init__(master_key=MASTER)
        self.clock = FrozenClock()

    def __missing__(self, name: str) -> object:
        if name not in ("first", "second", "code"):
            raise KeyError(name)
        phone = phone_with(Key.from_base32(self["opened"].base32), self.clock)
        if name == "code":
            self.clock.advance(60)
        return phone.code(-1 if name == "first" else 0)


def test_the_example_of_the_manual_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manual = inspect.getdoc(vmfa) or ""
    block = manual.partition("::\n\n")[2]
    lines = block.splitlines()
    end = next(i for i, line in enumerate(lines) if line and not line.startswith(" "))
    example = textwrap.dedent("\n".join(lines[:end]))
    names = ManualExample()
    monkeypatch.setitem(DeviceRegistry.__init__.__kwdefaults__, "clock", names.clock)
    try:
        exec(compile(example, "manual", "exec"), {}, names)
        assert names["registry"].requires_code(names["alice"])
        assert names["receipt"].principal == names["alice"]
    finally:
        names["registry"]._store.close()
    assert (tmp_path / "mfa.db").exists()


def test_a_traceback_shows_the_called_method() -> None:
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(MASTER), issuer="Example")
    alice = PrincipalId.user("a", "alice")
    with pytest.raises(vmfa.NoDevice) as caught:
        registry.device(alice, by=Actor.trusted_service("tests"))
    functions = [entry.frame.code.raw.co_qualname for entry in caught.traceback]
    assert "DeviceRegistry.device" in functions
