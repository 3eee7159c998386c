"""The public face: every name is where the package says, costs nothing until used, and works as its manual shows."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

import vmfa
from support import HandClock, Phone
from vmfa import DeviceRegistry, Key

SOURCE = Path(vmfa.__file__)


def declared_for_type_checkers() -> dict[str, str]:
    """Name and module of each import in the package's stub, but for the module of errors itself."""
    imports = ast.parse(SOURCE.with_suffix(".pyi").read_text("utf-8")).body
    return {alias.asname: node.module for node in imports for alias in node.names if node.module}


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class TestNames:
    @pytest.mark.parametrize("name", vmfa.__all__)
    def test_a_name_is_the_object_of_its_module(self, name):
        home = import_module(f"vmfa.{vmfa._HOME[name]}")
        vars(vmfa).pop(name, None)
        assert getattr(vmfa, name) is getattr(home, name)
        assert vars(vmfa)[name] is getattr(home, name)
        assert getattr(vmfa, name).__module__ == home.__name__

    def test_type_checkers_see_the_same_names(self):
        assert declared_for_type_checkers() == vmfa._HOME

    def test_names_are_sorted_and_listed_once(self):
        assert list(vmfa.__all__) == sorted(set(vmfa.__all__))
        assert set(vmfa.__all__) <= set(dir(vmfa))
        assert dir(vmfa) == sorted(set(dir(vmfa)))

    def test_every_error_is_public(self):
        errors = import_module("vmfa.errors")
        named = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
        assert named <= set(vmfa.__all__)

    def test_star_import(self):
        space: dict[str, object] = {}
        exec("from vmfa import *", space)
        assert set(vmfa.__all__) <= space.keys()

    def test_the_errors_are_a_module_of_the_package(self):
        assert vmfa.__getattr__("errors") is import_module("vmfa.errors")
        assert fresh("import vmfa; print(vmfa.errors.NoDevice.reason)") == "no device"

    def test_an_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="module 'vmfa' has no attribute 'verify'"):
            vmfa.verify  # noqa: B018  # the access is the test
        assert not hasattr(vmfa, "__wrapped__")

    def test_every_public_name_says_what_it_is(self):
        assert [name for name in vmfa.__all__ if not getattr(vmfa, name).__doc__] == []


class TestImport:
    """Import time is a promise: nothing is loaded for those who do not use it."""

    def test_import_vmfa_loads_no_other_module(self):
        loaded = fresh("import sys; before = set(sys.modules); import vmfa; print(*set(sys.modules) - before)").split()
        assert set(loaded) <= {"vmfa", "__future__"}

    def test_the_codes_need_no_costly_module(self):
        loaded = fresh("import sys; from vmfa import totp; print(*sys.modules)").split()
        costly = {"dataclasses", "typing", "enum", "re", "json", "base64", "sqlite3", "logging", "secrets", "urllib"}
        assert not costly & set(loaded)

    def test_the_registry_needs_no_logging_and_no_network(self):
        loaded = fresh("import sys; from vmfa import DeviceRegistry, SQLiteStore; print(*sys.modules)").split()
        assert not {"dataclasses", "inspect", "logging", "socket", "asyncio", "secrets", "urllib.parse"} & set(loaded)


class Example(dict[str, object]):
    """The names that the manual's example leaves to its reader: the master key, and what the phone shows."""

    clock = HandClock()

    def __missing__(self, name: str) -> object:
        if name == "master_key":
            return bytes(range(32))
        if name not in ("first", "second", "code"):
            raise KeyError(name)
        phone = Phone(Key.from_base32(self["opened"].base32), self.clock)
        if name == "code":
            self.clock.advance(60)
        return phone.code(-1 if name == "first" else 0)


def test_the_manual_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manual = inspect.getdoc(vmfa)
    example = textwrap.dedent(manual.partition("::\n\n")[2].partition("\n\n``totp``")[0])
    names = Example()
    monkeypatch.setitem(DeviceRegistry.__init__.__kwdefaults__, "clock", names.clock)
    try:
        exec(compile(example, "manual", "exec"), {}, names)
        assert names["registry"].requires_code(names["alice"])
        assert names["receipt"].principal == names["alice"]
        assert "alice%40" in names["opened"].uri or "alice@" in names["opened"].uri
    finally:
        names["registry"]._store.close()
    assert (tmp_path / "mfa.db").exists()
