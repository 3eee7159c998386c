"""Every random value draws its full length from the operating system, and from nothing else."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from base64 import b32decode, b32encode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from support import MASTER
from vmfa import (
    Actor,
    DerivedKeys,
    Key,
    Parameters,
    Policy,
    PrincipalId,
    UnsafePlainKeys,
    keys as keys_module,
)
from vmfa.cli.io import create_key_file
from vmfa.errors import RandomnessFailed
from vmfa.importers.base import Survey
from vmfa.keys import reveal
from vmfa.keysources.sealed import SealedKeys
from world import ALICE, RFC_KEY, SERVICE, SUPPORT, World

ROOT = Path(__file__).parents[1]
SERIAL = "5e" * 16
SHA512 = Parameters(algorithm="sha512")
POLICY = Policy(known_clients=True, recovery_codes=3, binding_code_required=True)
ONE_SOURCE = "keys.py"  # the module that asks the operating system


class Source:
    """A generator that counts: every block is different, and the test knows all of them."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.number = 0

    def __call__(self, size: int) -> bytes:
        self.number += 1
        block = b"".join(
            sha256(f"{self.number} {part}".encode()).digest() for part in range(size // 32 + 1)
        )[:size]
        self.blocks.append(block)
        return block

    @property
    def sizes(self) -> list[int]:
        return [len(block) for block in self.blocks]


def install(monkeypatch: pytest.MonkeyPatch, generator: Callable[[int], bytes]) -> None:
    monkeypatch.setattr("vmfa.keys.urandom", generator)
    keys_module._latest_draws.clear()


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    source = Source()
    install(monkeypatch, source)
    yield source
    keys_module._latest_draws.clear()


def code_of(block: bytes) -> str:
    """Return the recovery or binding code of a block, as people write it."""
    text = b32encode(block).decode()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def token_id(token: str) -> bytes:
    encoded = token.split(".")[1]
    return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


# Nothing else is random


def test_the_only_source_is_the_generator_of_the_operating_system() -> None:
    """ASVS5-11.5.1: no other module imports a generator, and the one import is os.urandom."""
    assert keys_module.urandom is os.urandom
    generators = {"random", "secrets", "uuid", "numpy"}
    functions = {"urandom", "getrandom", "SystemRandom", "default_rng"}
    found = []
    for path in sorted((ROOT / "src" / "vmfa").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    used = generators & {name.name.partition(".")[0] for name in names}
                case ast.ImportFrom(module=module, names=names, level=0):
                    used = generators & {str(module).partition(".")[0]} | functions & {
                        name.name for name in names
                    }
                case ast.Attribute(attr=attr):
                    used = functions & {attr}
                case _:
                    used = set()
            found += [(path.relative_to(ROOT / "src" / "vmfa").as_posix(), name) for name in used]
    contract = ("testing/_contract_tools.py", "urandom")  # names of accounts in tests of stores
    assert found == [(ONE_SOURCE, "urandom"), contract]


@pytest.mark.parametrize("size", [12, 15, 16, 20, 32, 64])
def test_a_draw_is_what_the_operating_system_returned(source: Source, size: int) -> None:
    """ASVS5-11.5.1, RFC4226-7.5-RND, RFC6238-5.1-RAND: nothing is cut off or mixed in."""
    assert keys_module.random_bytes(size) == source.blocks[0]
    assert source.sizes == [size]


# What is drawn, and how much of it


@pytest.mark.parametrize("size", [16, 20, 32, 64])
def test_a_generated_key(source: Source, size: int) -> None:
    """RFC4226-7.5-RND, RFC6238-5.1-RAND, ASVS5-6.5.3, RFC4226-4-R6: every byte of it is random."""
    assert reveal(Key.generate(size)) == source.blocks[0]
    assert source.sizes == [size]


def test_the_nonce_of_a_derived_key(source: Source) -> None:
    """RFC4226-7.5-RND, RULE-KEY-DESTROYED: 16 bytes, which only the reference holds."""
    ref, _ = DerivedKeys(MASTER).issue(ALICE, SERIAL, Parameters())
    assert ref.material == source.blocks[0]
    assert source.sizes == [16]


@pytest.mark.parametrize(("parameters", "size"), [(Parameters(), 20), (SHA512, 64)])
def test_a_sealed_key_and_its_nonce(source: Source, parameters: Parameters, size: int) -> None:
    """ASVS5-6.5.3, ASVS5-11.3.4: the key has the length of the hash, the nonce 12 bytes."""
    ref, key = SealedKeys(MASTER).issue(ALICE, SERIAL, parameters)
    assert (reveal(key), ref.material[:12]) == (source.blocks[0], source.blocks[1])
    assert source.sizes == [size, 12]


def test_the_nonce_of_an_imported_key(source: Source) -> None:
    """ASVS5-11.3.4: one key that is sealed twice has two nonces."""
    sealed = SealedKeys(MASTER)
    refs = [sealed.adopt(ALICE, SERIAL, Parameters(), RFC_KEY) for _ in range(2)]
    assert [ref.material[:12] for ref in refs] == source.blocks
    assert source.sizes == [12, 12]


def test_a_plain_key(source: Source) -> None:
    """RFC4226-7.5-RND: the key source for tests is random too."""
    ref, key = UnsafePlainKeys().issue(ALICE, SERIAL, Parameters())
    assert reveal(key) == ref.material == source.blocks[0]
    assert source.sizes == [20]


def test_an_enrollment(source: Source) -> None:
    """RULE-SERIAL: session id, serial number, nonce of the key, and salt of the event."""
    world = World(keys=DerivedKeys(MASTER))
    opened = world.open()
    session_id, serial, nonce, salt = source.blocks
    assert source.sizes == [16, 16, 16, 16]
    assert (opened.session_id, opened.serial) == (session_id.hex(), serial.hex())
    record = world.state()
    assert record.key_ref is not None
    assert record.key_ref.material == nonce
    assert [event.salt for event in world.store.history(ALICE)] == [salt.hex()]


def test_an_adopted_device(source: Source) -> None:
    """RULE-SERIAL: serial number, nonce of the sealed key, and salt of the event."""
    world = World(imported_keys=SealedKeys(MASTER))
    device = world.registry.adopt(ALICE, by=SERVICE, key=RFC_KEY, system="old")
    assert source.sizes == [16, 12, 16]
    assert device.serial == source.blocks[0].hex()
    assert [event.salt for event in world.store.history(ALICE)] == [source.blocks[2].hex()]


def test_the_tokens_of_known_clients(source: Source) -> None:
    """RULE-CLIENT-TOKEN: 16 random bytes, in a receipt and in a token for one sign-in."""
    world = World(POLICY)
    phone = world.enroll()
    source.blocks.clear()
    given = world.registry.give_client_token(ALICE, by=SERVICE)
    assert token_id(given.text) == source.blocks[0]
    assert source.sizes == [16, 16]  # and the salt of the event
    source.blocks.clear()
    world.clock.advance(30)
    receipt = world.registry.verify(ALICE, phone.code())
    assert receipt.client_token is not None
    assert token_id(receipt.client_token.text) == source.blocks[0]
    assert source.sizes == [16]


def test_recovery_codes(source: Source) -> None:
    """SP80063B-4.2.1.1, ASVS5-6.5.3, ASVS5-6.5.4: 120 bits each."""
    world = World(POLICY)
    opened = world.open()
    pair = world.phone(opened).pair()
    source.blocks.clear()
    report = world.confirm(opened, pair)
    assert report.recovery_codes is not None
    assert source.sizes == [15, 15, 15, 16]  # and the salt of the event
    assert report.recovery_codes.codes == tuple(map(code_of, source.blocks[:3]))
    assert {len(b32decode(code.replace("-", ""))) for code in report.recovery_codes.codes} == {15}


def test_a_binding_code(source: Source) -> None:
    """ASVS5-6.4.1, SP80063B-4.2.1.2: 120 bits, at the removal and as a replacement."""
    world = World(POLICY)
    world.enroll()
    source.blocks.clear()
    removed = world.registry.deactivate(ALICE, by=SUPPORT)
    assert removed.binding_code == code_of(source.blocks[0])
    assert source.sizes == [15, 16]
    source.blocks.clear()
    issued = world.registry.issue_binding_code(ALICE, by=SUPPORT)
    assert issued.code == code_of(source.blocks[0])
    assert source.sizes == [15, 16]


def test_the_secret_of_an_import(source: Source) -> None:
    """The keys of a batch are compared as digests under a random key of 32 bytes."""
    assert Survey([])._secret == source.blocks[0]
    assert source.sizes == [32]


def test_a_master_key_file(source: Source, tmp_path: Path) -> None:
    """RFC4226-7.5-RND: ``vmfa keys generate`` draws 32 bytes."""
    create_key_file(str(tmp_path / "key"))
    assert (tmp_path / "key").read_bytes() == source.blocks[0]
    assert source.sizes == [32]


def test_a_claim_draws_nothing(source: Source) -> None:
    """RULE-CLAIM-MAC: a claim has no random id. Its MAC makes it unguessable."""
    world = World()
    phone = world.enroll()
    source.blocks.clear()
    world.clock.advance(30)
    assert world.registry.verify(ALICE, phone.code()).claim.tag
    assert source.sizes == []


# A generator that fails or repeats


def failing(size: int) -> bytes:
    raise OSError("no entropy")


def missing(size: int) -> bytes:
    raise NotImplementedError


def short(size: int) -> bytes:
    return os.urandom(size - 1)


def constant(size: int) -> bytes:
    return bytes(size)


class Cycle:
    """A generator that starts again after a number of draws, as a restored machine does."""

    def __init__(self, period: int) -> None:
        self.period, self.number = period, 0

    def __call__(self, size: int) -> bytes:
        self.number = self.number % self.period + 1
        return sha256(bytes([self.number])).digest()[:size]


def twice(operation: Callable[[], object]) -> None:
    operation()
    operation()


DRAWS: dict[str, Callable[[], object]] = {
    "generate a key": Key.generate,
    "derive a key": lambda: DerivedKeys(MASTER).issue(ALICE, SERIAL, Parameters()),
    "seal a key": lambda: SealedKeys(MASTER).issue(ALICE, SERIAL, Parameters()),
    "compare imported keys": lambda: Survey([]),
}


@pytest.mark.parametrize("generator", [failing, missing, short])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_generator_that_fails_is_fatal(
    monkeypatch: pytest.MonkeyPatch, generator: Callable[[int], bytes], draw: Callable[[], object]
) -> None:
    """ASVS5-11.5.1: no key is made of fewer bytes, and the error is a named one."""
    install(monkeypatch, generator)
    with pytest.raises(RandomnessFailed, match="failed") as caught:
        draw()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_generator_that_repeats_is_noticed(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[], object]
) -> None:
    """ASVS5-11.5.1: at the second draw at the latest, whatever the sizes of the two are."""
    install(monkeypatch, constant)
    with pytest.raises(RandomnessFailed, match="repeated itself"):
        twice(draw)


@pytest.mark.parametrize("period", [1, 2, 63, 64])
def test_a_generator_that_starts_again_is_noticed(
    monkeypatch: pytest.MonkeyPatch, period: int
) -> None:
    """ASVS5-11.5.1: a value is compared with the last 64 draws of the process."""
    install(monkeypatch, Cycle(period))
    for _ in range(period):
        keys_module.random_bytes(16)
    with pytest.raises(RandomnessFailed):
        keys_module.random_bytes(32)


def test_older_draws_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator with a longer period passes: the page says so."""
    install(monkeypatch, Cycle(65))
    assert len({keys_module.random_bytes(16) for _ in range(200)}) == 65


def test_short_values_may_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 12 bytes, equal values are a coincidence."""
    install(monkeypatch, constant)
    assert {keys_module.random_bytes(11) for _ in range(3)} == {bytes(11)}
    keys_module.random_bytes(12)
    with pytest.raises(RandomnessFailed):
        keys_module.random_bytes(12)


@pytest.mark.parametrize("generator", [failing, constant])
def test_no_operation_commits_without_randomness(
    monkeypatch: pytest.MonkeyPatch, generator: Callable[[int], bytes]
) -> None:
    """RULE-SERIAL: an enrollment, a removal, a token or an import changes nothing then."""
    world = World(POLICY, imported_keys=SealedKeys(MASTER))
    phone = world.enroll()
    bob = PrincipalId.user(ALICE.account, "u-4712")
    world.clock.advance(30)
    code = phone.code()
    operations: list[Callable[[], object]] = [
        lambda: world.registry.open_enrollment(bob, by=Actor.signed_in(bob), label="bob"),
        lambda: world.registry.deactivate(ALICE, by=SUPPORT),
        lambda: world.registry.give_client_token(ALICE, by=SERVICE),
        lambda: world.registry.adopt(bob, by=SERVICE, key=RFC_KEY, system="old"),
    ]
    for operation in operations:
        install(monkeypatch, generator)
        before = world.store.load(ALICE), world.store.load(bob)
        with pytest.raises(RandomnessFailed):
            twice(operation)
        assert (world.store.load(ALICE), world.store.load(bob)) == before
    install(monkeypatch, failing)
    with pytest.raises(RandomnessFailed):  # a receipt with a client token
        world.registry.verify(ALICE, code)
    install(monkeypatch, os.urandom)
    assert world.registry.verify(ALICE, code).step  # it was not spent


# The system call


ENROLL = """
import os
from vmfa import Actor, DerivedKeys, DeviceRegistry, MemoryStore, PrincipalId
from vmfa.keysources.sealed import SealedKeys
alice = PrincipalId.user("1", "a")
registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(bytes(range(32))), issuer="Example")
opened = registry.open_enrollment(alice, by=Actor.signed_in(alice), label="x")
print(opened.session_id, opened.serial)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_returns_what_is_used(tmp_path: Path) -> None:
    """RULE-SERIAL, ASVS5-11.5.1: the bytes of session id and serial number come from getrandom."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=getrandom", "-xx", "-s", "64", "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", ENROLL],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    returned = [
        bytes.fromhex(text.replace("\\x", ""))
        for text in re.findall(r'getrandom\("((?:\\x[0-9a-f]{2})*)"', trace.read_text())
    ]
    used = [bytes.fromhex(value) for value in done.stdout.split()]
    assert len(used) == 2
    assert set(used) <= set(returned)


# The page


def test_the_page_lists_every_draw(source: Source, tmp_path: Path) -> None:
    """ASVS5-11.5.1: docs/randomness.md states the bytes that were drawn."""
    drawn: dict[str, int] = {}

    def draw(operation: Callable[[], object], *names: str) -> None:
        source.blocks.clear()
        operation()
        drawn.update(zip(names, source.sizes, strict=True))

    world = World(POLICY, imported_keys=SealedKeys(MASTER))
    draw(lambda: create_key_file(str(tmp_path / "key")), "master key of `vmfa keys generate`")
    draw(lambda: Survey([]), "key that compares the keys of an import")
    for algorithm, name in (("sha1", "SHA-1"), ("sha256", "SHA-256"), ("sha512", "SHA-512")):
        parameters = Parameters(algorithm=algorithm)
        key = f"sealed or plain key, {name}"
        draw(lambda p=parameters: UnsafePlainKeys().issue(ALICE, SERIAL, p), key)
        draw(
            lambda p=parameters: SealedKeys(MASTER).issue(ALICE, SERIAL, p),
            key, "nonce of AES-256-GCM",
        )
    opened = []
    draw(
        lambda: opened.append(world.open()),
        "session id of an enrollment", "serial number", "nonce of a derived key",
        "salt of a stored event",
    )
    pair = world.phone(opened[0]).pair()
    code = "saved recovery code"
    draw(lambda: world.confirm(opened[0], pair), code, code, code, "salt of a stored event")
    draw(
        lambda: world.registry.give_client_token(ALICE, by=SERVICE),
        "client token", "salt of a stored event",
    )
    draw(
        lambda: world.registry.deactivate(ALICE, by=SUPPORT),
        "binding code", "salt of a stored event",
    )
    page = (ROOT / "docs" / "randomness.md").read_text()
    listed = re.findall(r"^\| ([^|]+) \| (\d+) \|$", page, re.MULTILINE)
    assert {name: int(size) for name, size in listed} == drawn
