"""Master keys are read from files and environment variables; no error shows any part of one."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from leaks import assert_silent
from vmfa import DerivedKeys, InvalidValue, UnknownMasterKey
from vmfa.keysources.loading import decode_master_key
from vmfa.keysources.sealed import SealedKeys

KEY = bytes(range(224, 256))
OTHER, THIRD, FOURTH = (bytes([number]) * 32 for number in (200, 201, 202))
ID = DerivedKeys(KEY).current_id
AS_ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can give a file to another user",
)
NO_KEY = "does not contain a master key: it needs at least 32 random bytes"

TEXTS = [
    KEY.hex(),
    KEY.hex().upper() + "\n",
    f"  {KEY.hex()}\r\n",
    b64encode(KEY).decode(),
    b64encode(KEY).decode() + "\n",
    b64encode(KEY).decode().rstrip("="),
    urlsafe_b64encode(KEY).decode(),
]
NOT_KEYS = [
    "",
    "correct horse battery staple, and longer than 32 characters",
    KEY.hex()[:-1],  # a digit was lost
    KEY.hex()[:-2],
    KEY[:31].hex(),
    b64encode(KEY[:31]).decode(),
    b64encode(KEY).decode()[:-3],
    KEY.hex() + " " + KEY.hex(),
    "-----BEGIN PRIVATE KEY-----",
]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return write(tmp_path / "master.key", KEY)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def problem_of(load: Callable[[], object], *secrets: str | bytes) -> str:
    with pytest.raises(InvalidValue) as caught:
        load()
    assert_silent(caught.value, *secrets)
    return str(caught.value)


class TestContent:
    @pytest.mark.parametrize("text", TEXTS)
    def test_a_file_in_hexadecimal_or_base64(self, key_file: Path, text: str) -> None:
        write(key_file, text.encode())
        assert DerivedKeys.from_file(key_file).current_id == ID

    @pytest.mark.parametrize("text", TEXTS)
    def test_a_variable_in_hexadecimal_or_base64(
        self, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MASTER_KEY", text)
        assert DerivedKeys.from_env("MASTER_KEY").current_id == ID

    def test_a_file_of_raw_bytes(self, key_file: Path) -> None:
        assert DerivedKeys.from_file(str(key_file)).current_id == ID

    @pytest.mark.parametrize("text", NOT_KEYS)
    def test_a_file_without_a_key(self, key_file: Path, text: str) -> None:
        write(key_file, text.encode())
        problem = problem_of(lambda: DerivedKeys.from_file(key_file), text or "\0")
        assert problem.startswith(f"the key file {str(key_file)!r} {NO_KEY}")

    @pytest.mark.parametrize("text", NOT_KEYS)
    def test_a_variable_without_a_key(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MASTER_KEY", text)
        problem = problem_of(lambda: DerivedKeys.from_env("MASTER_KEY"), text or "\0")
        assert problem.startswith(f"the environment variable 'MASTER_KEY' {NO_KEY}")

    def test_raw_bytes_that_are_too_short(self, key_file: Path) -> None:
        write(key_file, KEY[:31])
        assert NO_KEY in problem_of(lambda: DerivedKeys.from_file(key_file), KEY[:31])

    def test_a_file_that_is_too_long(self, key_file: Path) -> None:
        write(key_file, KEY * 129)
        problem = problem_of(lambda: DerivedKeys.from_file(key_file), KEY)
        assert problem.endswith("has more than 4096 bytes")

    def test_a_variable_is_not_raw(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MASTER_KEY", "é" * 32)
        assert NO_KEY in problem_of(lambda: DerivedKeys.from_env("MASTER_KEY"), "é" * 32)

    @given(st.binary(min_size=32, max_size=100), st.booleans())
    def test_what_was_encoded_is_decoded(self, key: bytes, raw: bool) -> None:
        for encoded in (key.hex().encode(), b64encode(key), urlsafe_b64encode(key)):
            assert decode_master_key(encoded, raw=raw) == key


class TestRoles:
    def test_further_files_are_retired_keys(self, tmp_path: Path) -> None:
        paths = [write(tmp_path / f"{number}", key) for number, key in enumerate((KEY, OTHER))]
        keys = DerivedKeys.from_file(*paths)
        assert keys.current_id == ID
        assert keys.check("record", b"m", DerivedKeys(OTHER).tag("record", b"m"))

    def test_files_of_accepted_and_derive_only_keys(self, tmp_path: Path) -> None:
        current, accepted, derive_only = (
            write(tmp_path / f"{key[0]}", key) for key in (KEY, THIRD, FOURTH)
        )
        keys = DerivedKeys.from_file(current, accepted=[accepted], derive_only=[derive_only])
        assert keys.check("record", b"m", DerivedKeys(THIRD).tag("record", b"m"))
        with pytest.raises(UnknownMasterKey, match="derive-only"):
            keys.check("record", b"m", DerivedKeys(FOURTH).tag("record", b"m"))

    def test_variables_of_every_role(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, key in {"A": KEY, "B": OTHER, "C": THIRD, "D": FOURTH}.items():
            monkeypatch.setenv(name, key.hex())
        keys = DerivedKeys.from_env("A", "B", accepted=["C"], derive_only=["D"])
        assert keys.current_id == ID
        for key in (OTHER, THIRD):
            assert keys.check("record", b"m", DerivedKeys(key).tag("record", b"m"))
        with pytest.raises(UnknownMasterKey, match="derive-only"):
            keys.check("record", b"m", DerivedKeys(FOURTH).tag("record", b"m"))

    def test_sealed_keys_are_loaded_alike(
        self, key_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MASTER_KEY", KEY.hex())
        for keys in (SealedKeys.from_file(key_file), SealedKeys.from_env("MASTER_KEY")):
            assert type(keys) is SealedKeys
            assert keys.current_id == ID

    def test_the_same_file_twice(self, key_file: Path) -> None:
        problem = problem_of(lambda: DerivedKeys.from_file(key_file, key_file), KEY)
        assert problem.startswith("a master key must have one role")

    @pytest.mark.parametrize("role", ["accepted", "derive_only"])
    def test_a_missing_second_file_shows_nothing_of_the_first(
        self, key_file: Path, role: str
    ) -> None:
        missing = [key_file.with_name("missing.key")]
        problem = problem_of(lambda: DerivedKeys.from_file(key_file, **{role: missing}), KEY)
        assert "missing.key' does not exist" in problem


class TestFiles:
    def test_a_file_that_does_not_exist(self, tmp_path: Path) -> None:
        path = tmp_path / "master.key"
        assert problem_of(lambda: DerivedKeys.from_file(path)) == (
            f"the key file {str(path)!r} does not exist: create one with 'vmfa keys generate FILE'"
        )

    def test_a_variable_that_is_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MASTER_KEY", raising=False)
        problem = problem_of(lambda: DerivedKeys.from_env("MASTER_KEY"))
        assert problem == "the environment variable 'MASTER_KEY' is not set"

    def test_a_key_that_is_passed_as_a_name_is_not_shown(self) -> None:
        for text in (KEY.hex(), b64encode(KEY).decode()):
            for load in (DerivedKeys.from_file, DerivedKeys.from_env):
                with pytest.raises(InvalidValue) as caught:
                    load(text)
                assert text not in str(caught.value)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o601])
    def test_a_file_that_others_can_access(self, key_file: Path, mode: int) -> None:
        key_file.chmod(mode)
        problem = problem_of(lambda: DerivedKeys.from_file(key_file), KEY)
        assert problem.endswith("can be accessed by other users: restrict it with chmod 600")

    @AS_ROOT
    def test_a_file_of_another_user(self, key_file: Path) -> None:
        os.chown(key_file, 12345, -1)
        problem = problem_of(lambda: DerivedKeys.from_file(key_file), KEY)
        assert problem.endswith("belongs to another user (uid 12345): change its owner")

    @AS_ROOT
    @pytest.mark.parametrize(("mode", "accepted"), [(0o440, True), (0o444, False), (0o460, False)])
    def test_the_group_may_read_a_file_of_root(
        self, key_file: Path, mode: int, accepted: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key_file.chmod(mode)
        monkeypatch.setattr("os.geteuid", lambda: 12345)
        if accepted:
            assert DerivedKeys.from_file(key_file).current_id == ID
        else:
            assert "other users" in problem_of(lambda: DerivedKeys.from_file(key_file), KEY)

    def test_the_effective_user_counts(
        self, key_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os_stat = os.stat(key_file)
        monkeypatch.setattr("os.geteuid", lambda: os_stat.st_uid + 1)
        if os_stat.st_uid:
            assert "another user" in problem_of(lambda: DerivedKeys.from_file(key_file), KEY)
        else:  # of root, with the mode 0600
            assert DerivedKeys.from_file(key_file).current_id == ID

    def test_a_fifo_is_refused_without_waiting_for_its_writer(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo", 0o600)
        problem = problem_of(lambda: DerivedKeys.from_file(tmp_path / "fifo"))
        assert problem.endswith("fifo' is not a regular file")

    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "."])
    def test_a_device_or_a_directory(self, path: str) -> None:
        problem = problem_of(lambda: DerivedKeys.from_file(path))
        assert "is not a regular file" in problem or "cannot be read: " in problem

    def test_a_file_that_cannot_be_opened(self, tmp_path: Path) -> None:
        loop = tmp_path / "loop"
        loop.symlink_to(loop)
        problem = problem_of(lambda: DerivedKeys.from_file(loop))
        assert problem.endswith("cannot be read: Too many levels of symbolic links")

    def test_a_symbolic_link_is_followed(self, key_file: Path) -> None:
        """Kubernetes mounts secrets as links."""
        link = key_file.with_name("link")
        link.symlink_to(key_file)
        assert DerivedKeys.from_file(link).current_id == ID

    @pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
    def test_no_descriptor_stays_open(self, key_file: Path) -> None:
        before = os.listdir("/proc/self/fd")
        DerivedKeys.from_file(key_file)
        key_file.chmod(0o644)
        problem_of(lambda: DerivedKeys.from_file(key_file), KEY)
        assert os.listdir("/proc/self/fd") == before

    def test_without_owners_and_modes_they_are_not_checked(
        self, key_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on Windows."""
        key_file.chmod(0o644)
        monkeypatch.delattr("os.geteuid")
        assert DerivedKeys.from_file(key_file).current_id == ID

    def test_the_module_loads_without_the_flags_of_posix(self, key_file: Path) -> None:
        """As on Windows."""
        code = (
            "import os\n"
            "for name in ('O_NONBLOCK', 'O_NOCTTY', 'O_CLOEXEC', 'geteuid'): delattr(os, name)\n"
            "os.O_BINARY = 0\n"
            "from vmfa import DerivedKeys\n"
            f"print(DerivedKeys.from_file({str(key_file)!r}).current_id)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == ID


def test_key_sources_load_the_reader_only_when_it_is_used() -> None:
    code = "import sys; from vmfa import DerivedKeys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "vmfa.keysources.loading" not in done.stdout.split()
