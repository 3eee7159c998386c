"""The contract can fail: each broken store is caught by the promise it breaks, in a sentence that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from contract.broken import BROKEN, SOUND
from vmfa import AuditEvent, MemoryStore, PrincipalId, Store
from vmfa.testing import StoreContract

PROMISES = sorted(name for name in dir(StoreContract) if name.startswith("test_"))


@pytest.mark.parametrize(("broken", "promise", "sentence"), BROKEN, ids=lambda part: getattr(part, "__name__", ""))
def test_a_broken_store_is_caught(broken: type[MemoryStore], promise: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match="this store breaks its contract: .*" + re.escape(sentence)):
        getattr(StoreContract(), promise)(broken())


@pytest.mark.parametrize("sound", SOUND)
@pytest.mark.parametrize("promise", PROMISES)
def test_the_stores_that_were_broken_were_sound_before(sound: type[Store], promise: str) -> None:
    getattr(StoreContract(), promise)(sound())


def test_every_promise_catches_somebody() -> None:
    assert sorted({promise for _, promise, _ in BROKEN}) == PROMISES


def test_an_error_in_a_thread_is_not_swallowed() -> None:
    class Fails(MemoryStore):
        def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
            raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        StoreContract().test_no_reader_sees_a_record_without_its_events(Fails())
