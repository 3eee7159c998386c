"""The contract can fail: each broken store is caught by the promise it breaks, in a sentence that says so.

The sentences are frozen in ``sentences.txt``; ``python tests/contract/test_contract_catches.py`` writes it anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from contract.broken import BROKEN, SOUND
from vmfa import AuditEvent, MemoryStore, PrincipalId, Store
from vmfa.testing import StoreContract

PROMISES = sorted(name for name in dir(StoreContract) if name.startswith("test_"))
SENTENCES = Path(__file__).with_name("sentences.txt")


def told(broken: type[MemoryStore], promise: str) -> str:
    """What the contract says of a broken store, without names and counts that differ from one store to the next."""
    with pytest.raises(AssertionError, match=r"^this store breaks its contract: ") as caught:
        getattr(StoreContract(), promise)(broken())
    sentence = str(caught.value).removeprefix("this store breaks its contract: ")
    sentence = re.sub(r"^the name '.*' leads", "the name ... leads", sentence)
    return re.sub(r"not \d+", "not ...", sentence)


@pytest.mark.parametrize(("broken", "promise", "sentence"), BROKEN, ids=lambda part: getattr(part, "__name__", ""))
def test_a_broken_store_is_caught(broken: type[MemoryStore], promise: str, sentence: str) -> None:
    said = told(broken, promise)
    assert sentence in said.replace("...", "8")
    assert said in SENTENCES.read_text("utf-8").splitlines()


@pytest.mark.parametrize("sound", SOUND)
@pytest.mark.parametrize("promise", PROMISES)
def test_the_stores_that_were_broken_were_sound_before(sound: type[Store], promise: str) -> None:
    getattr(StoreContract(), promise)(sound())


def test_every_promise_catches_somebody() -> None:
    assert sorted({promise for _, promise, _ in BROKEN}) == PROMISES


def every_sentence() -> list[str]:
    return sorted({told(broken, promise) for broken, promise, _ in BROKEN})


def test_every_sentence_is_told_of_somebody() -> None:
    assert every_sentence() == SENTENCES.read_text("utf-8").splitlines()


def test_an_error_in_a_thread_is_not_swallowed() -> None:
    class Fails(MemoryStore):
        def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
            raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        StoreContract().test_no_reader_sees_a_record_without_its_events(Fails())


if __name__ == "__main__":
    SENTENCES.write_text("\n".join(every_sentence()) + "\n", "utf-8")
