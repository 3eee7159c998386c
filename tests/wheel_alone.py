"""Use the installed wheel in an environment without any other package.

.ci/run runs it with each supported Python; it is not a pytest module.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions, requires
from pathlib import Path


def main() -> None:
    installed = {distribution.metadata["Name"] for distribution in distributions()}
    assert installed == {"vmfa"}, installed
    assert all("extra ==" in requirement for requirement in requires("vmfa") or ())

    import vmfa

    assert "site-packages" in str(vmfa.__file__), vmfa.__file__
    assert Path(vmfa.__file__).with_name("py.typed").exists()
    for name in vmfa.__all__:
        assert getattr(vmfa, name) is not None
    missing = []
    for module in pkgutil.walk_packages(vmfa.__path__, "vmfa."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except vmfa.MissingExtra as error:
            assert "pip install" in str(error)
            missing.append(module.name)

    clock = [time.time()]
    with (
        tempfile.TemporaryDirectory() as folder,
        vmfa.SQLiteStore(Path(folder, "mfa.db")) as store,
    ):
        keys = vmfa.DerivedKeys(b"only for this test, 32 bytes long")
        registry = vmfa.DeviceRegistry(store, keys=keys, issuer="Example", clock=lambda: clock[0])
        alice = vmfa.PrincipalId.user("123456789012", "u-4711")
        me = vmfa.Actor.signed_in(alice)
        opened = registry.open_enrollment(alice, by=me, label="alice@example.com")
        phone = vmfa.Key.from_base32(opened.base32)
        codes = [vmfa.totp(phone, clock[0] + 30 * step) for step in (-1, 0, 1)]
        registry.confirm_enrollment(
            alice, session=opened.session_id, code1=codes[0], code2=codes[1], by=me
        )
        clock[0] += 30
        receipt = registry.verify(alice, codes[2])
        try:
            registry.verify(alice, codes[2])
        except vmfa.AlreadyUsed:
            pass
        else:
            raise AssertionError("a code was accepted twice")
        registry.deactivate(alice, by=vmfa.Actor.signed_in(alice, mfa=receipt.claim))

    for arguments in (["selftest"], ["demo"]):
        subprocess.run(
            [sys.executable, "-I", "-m", "vmfa", *arguments], check=True, stdout=subprocess.DEVNULL
        )
    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder, "evidence")
        subprocess.run(
            [sys.executable, "-I", "-m", "vmfa", "audit", "evidence", str(pack)],
            check=True, stdout=subprocess.DEVNULL,
        )
        for name in ("traceability.md", "vmfa.cdx.json"):  # the wheel contains both
            assert (pack / name).stat().st_size > 1000, name
    python = sys.version.split()[0]
    print(
        f"vmfa alone on Python {python}: 1 passed, 0 failed; extras absent: {', '.join(missing)}"
    )


if __name__ == "__main__":
    main()
