"""The contract can fail: each broken store is caught by the promise that it breaks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from contract.broken import BROKEN, SOUND, Contract
from vmfa import AuditEvent, MemoryStore, PrincipalId, Store

PROMISES = sorted(name for name in dir(Contract) if name.startswith("test_"))


@pytest.mark.parametrize(
    ("broken", "promise", "sentence"), BROKEN, ids=lambda part: getattr(part, "__name__", "")
)
def test_a_broken_store_is_caught(
    broken: type[MemoryStore], promise: str, sentence: str
) -> None:
    with pytest.raises(AssertionError, match=r"^this store breaks its contract: ") as caught:
        getattr(Contract(), promise)(broken())
    assert sentence in str(caught.value)


@pytest.mark.parametrize("sound", SOUND)
@pytest.mark.parametrize("promise", PROMISES)
def test_a_sound_store_passes(sound: type[Store], promise: str) -> None:
    getattr(Contract(), promise)(sound())


def test_each_promise_catches_a_broken_store() -> None:
    assert sorted({promise for _, promise, _ in BROKEN}) == PROMISES


def test_an_error_in_a_thread_is_raised() -> None:
    class Fails(MemoryStore):
        def history(
            self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
        ) -> Sequence[AuditEvent]:
            raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        Contract().test_a_reader_sees_a_record_with_its_events(Fails())
