"""The contract of a store, as a pytest class."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from threading import Event

from ..access import Actor
from ..errors import AlreadyUsed, StoreContended, VmfaError
from ..events import AuditEvent, EventActor, EventType
from ..history import redacted
from ..models import EnrollmentSession, PendingBinding, Principal, PrincipalId, Receipt
from ..policy import Parameters
from ..registry import DeviceRegistry
from ..stores.base import ListsAccounts, Store
from ..validators import MAX_INTEGER
from ._contract_tools import (
    COMMIT_SUCCEEDS,
    NAMES_TO_SORT,
    UNUSUAL_ACCOUNTS,
    UNUSUAL_NAMES,
    Interrupted,
    UnreadableEvents,
    check,
    check_commit_loses,
    check_every_field_is_stored,
    check_removal_loses,
    commit_events,
    commit_next,
    commit_removal,
    contract_keys,
    new_account,
    new_user,
    next_record,
    pages_of,
    results,
    run_in_threads,
    sample_device,
    sample_events,
    sample_key_ref,
)
from .authenticator import AuthenticatorApp
from .clock import FrozenClock


class StoreContract:
    """The promises of a store, one test each. Subclass it and provide a fixture ``store``.

    Each test uses an account of its own, so the store need not be empty.
    """

    def caller_transaction(self, store: Store) -> AbstractContextManager[object]:
        """Return a context manager that rolls back, at its end, a transaction of the caller.

        Override it if an application can open a transaction on the connection that the store
        uses, as with ``django.db.transaction.atomic()``. A store with connections of its own
        needs no override.

        :param store: the store under test.
        """
        del store
        return nullcontext()

    def another_store(self, store: Store) -> AbstractContextManager[Store]:
        """Return a context manager with a second store on the records of *store*.

        Override it to open the second one as another process does, or on another node of a
        cluster. Without an override, *store* itself is used twice.

        :param store: the store under test.
        """
        return nullcontext(store)

    # What is stored

    def test_an_unknown_principal_has_revision_0(self, store: Store) -> None:
        user = new_user()
        check(
            store.load(user) == Principal(id=user),
            "load() of a principal that was never stored returns Principal(id=principal), "
            "with revision 0",
        )
        check(not store.history(user), "a principal that was never stored has no history")
        check(not store.principals(user.account), "load() does not store a principal")

    def test_every_field_of_a_device_is_stored(self, store: Store) -> None:
        record = Principal(
            id=new_user(),
            revision=2**53,
            seen_at=1 - MAX_INTEGER,
            device=sample_device(drift=-7, last_step=2**64 - 1),
            key_ref=sample_key_ref(),
            enrollment_times=(-1, 0, 2**53 + 1),
            recovered_at=MAX_INTEGER - 1,
            binding=PendingBinding(digest="0" * 64, expires_at=5 - MAX_INTEGER),
            events=MAX_INTEGER - 1,
            head=f"{'0' * 16}.{'f' * 64}",
            pruned=MAX_INTEGER - 2,
        )
        check_every_field_is_stored(store, record)

    def test_every_field_of_an_enrollment_is_stored(self, store: Store) -> None:
        session = EnrollmentSession(
            session_id="5" * 32,
            serial="6" * 32,
            opened_at=9 - MAX_INTEGER,
            expires_at=MAX_INTEGER - 1,
            attempts=1000,
            parameters=Parameters(algorithm="sha512", digits=8, period=60, t0=-(2**60) - 1),
        )
        record = Principal(id=new_user(), enrollment=session, key_ref=sample_key_ref())
        check_every_field_is_stored(store, record)

    def test_the_largest_numbers_are_stored(self, store: Store) -> None:
        for largest in (2**31, 2**53 + 1, MAX_INTEGER):
            check_every_field_is_stored(store, Principal(id=new_user(), revision=largest - 1))
        user = new_user()
        for number in (2**31 - 1, 2**53, MAX_INTEGER - 2):
            record = store.load(user)
            after = next_record(record, events=number + 1)
            events = sample_events(user, number, number + 1)
            check(store.commit(record, after, events) is True, COMMIT_SUCCEEDS)
            check(
                [event.number for event in store.history(user, after=number)] == [number + 1],
                f"the events {number} and {number + 1} are stored with these numbers",
            )

    def test_every_field_of_an_event_is_stored(self, store: Store) -> None:
        user = new_user()
        event = AuditEvent(
            type=EventType.ADOPTED,
            at=1 - MAX_INTEGER,
            principal=user,
            actor=EventActor(role="admin", account='"é" %s', kind="user", name="😀"),
            source="192.0.2.1 '; --",
            serial="7" * 32,
            reason="'; --",
            details=(("before", 1 - 2**63), ("after", "😀"), ("at", 2**64 - 1)),
            number=1,
            salt="0a" * 16,
            content_digest="1b" * 32,
            digest="2c" * 32,
            redactable=True,
            audit_tag=f"{'0' * 16}.{'f' * 64}",
        )
        commit_events(store, Principal(id=user), [event])
        check(
            list(store.history(user)) == [event],
            "every field of an event is stored as it was committed",
        )

    def test_names_are_compared_as_bytes(self, store: Store) -> None:
        account = new_account()
        people = [PrincipalId.user(account, name) for name in UNUSUAL_NAMES]
        people.append(PrincipalId.root(account))
        self._check_all_differ(store, people, "name")

    def test_accounts_are_compared_as_bytes(self, store: Store) -> None:
        prefix = new_account()
        people = [PrincipalId.user(prefix + account, "u-4711") for account in UNUSUAL_ACCOUNTS]
        self._check_all_differ(store, people, "account")

    def _check_all_differ(self, store: Store, people: list[PrincipalId], field: str) -> None:
        for mark, principal in enumerate(people):
            commit_next(store, Principal(id=principal), 1, reason=str(mark), recovered_at=mark)
        for mark, principal in enumerate(people):
            value = getattr(principal, field)
            record = store.load(principal)
            check(
                (record.id, record.recovered_at) == (principal, mark),
                f"the {field} {value!r} has a record of its own, whatever characters it contains",
            )
            check(
                [event.reason for event in store.history(principal)] == [str(mark)],
                f"the {field} {value!r} has a history of its own, whatever characters it contains",
            )

    # Compare-and-set

    def test_a_commit_of_the_loaded_record_succeeds(self, store: Store) -> None:
        user = new_user()
        record = store.load(user)
        for revision in range(1, 6):
            commit_next(store, record)
            record = store.load(user)
            check(record.revision == revision, "the stored revision is the one that was committed")

    def test_a_stale_writer_loses(self, store: Store) -> None:
        loaded_by_both = commit_next(store, Principal(id=new_user()))
        first = commit_next(store, loaded_by_both, recovered_at=1)
        sentence = "of two writers that loaded the same revision, the second one loses"
        check_commit_loses(store, loaded_by_both, first, sentence)

    def test_a_writer_many_revisions_behind_loses(self, store: Store) -> None:
        old = newest = commit_next(store, Principal(id=new_user()))
        for step in range(1, 6):
            device = sample_device(last_step=step)
            newest = commit_next(store, newest, device=device, key_ref=sample_key_ref())
        sentence = "an old revision never replaces a newer one"
        check_commit_loses(store, old, newest, sentence)

    def test_a_writer_ahead_of_the_store_loses(self, store: Store) -> None:
        stored = commit_next(store, Principal(id=new_user()))
        never_stored = next_record(stored)
        sentence = "a commit on a revision that was never stored loses"
        check_commit_loses(store, never_stored, stored, sentence)

    def test_the_tag_is_compared(self, store: Store) -> None:
        user = new_user()
        stored = commit_next(store, Principal(id=user), recovered_at=1)
        other = next_record(Principal(id=user), recovered_at=2)
        sentence = "a commit with the stored revision and another tag loses"
        check_commit_loses(store, other, stored, sentence)
        sentence = "a removal with the stored revision and another tag loses"
        check_removal_loses(store, other, stored, sentence)

    def test_the_revision_is_compared(self, store: Store) -> None:
        user = new_user()
        stored = next_record(Principal(id=user, revision=2**53))
        check(store.commit(Principal(id=user), stored, []) is True, COMMIT_SUCCEEDS)
        for revision in (1, stored.revision - 1, stored.revision + 5):
            other = replace(stored, revision=revision)
            sentence = "a commit with the stored tag and another revision loses"
            check_commit_loses(store, other, stored, sentence)
            sentence = "a removal with the stored tag and another revision loses"
            check_removal_loses(store, other, stored, sentence)

    def test_only_one_first_record_is_stored(self, store: Store) -> None:
        unknown = store.load(new_user())
        first = commit_next(store, unknown, recovered_at=1)
        sentence = "of two writers that found no record, the second one loses"
        check_commit_loses(store, unknown, first, sentence)

    def test_a_removed_record_is_not_written_back(self, store: Store) -> None:
        user = new_user()
        loaded = commit_next(store, Principal(id=user))
        commit_removal(store, loaded)
        sentence = "a writer whose record was removed loses"
        check_commit_loses(store, loaded, Principal(id=user), sentence)

    def test_a_record_created_again_is_another_one(self, store: Store) -> None:
        user = new_user()
        loaded = commit_next(store, Principal(id=user), recovered_at=1)
        commit_removal(store, loaded)
        second = commit_next(store, Principal(id=user), recovered_at=2)
        sentence = "a record that was removed and created again is not the old one"
        check_commit_loses(store, loaded, second, sentence)

    def test_one_of_many_threads_wins(self, store: Store) -> None:
        user = new_user()
        stored = store.load(user)
        for _ in range(4):
            candidates = [
                next_record(stored, recovered_at=mark, events=stored.events + 1)
                for mark in range(8)
            ]
            events = sample_events(user, stored.events + 1)

            def commit(
                index: int,
                stored: Principal = stored,
                candidates: list[Principal] = candidates,
                events: list[AuditEvent] = events,
            ) -> bool:
                return store.commit(stored, candidates[index], events)

            answers = results(run_in_threads(8, commit))
            winners = [index for index, answer in enumerate(answers) if answer is True]
            check(
                len(winners) == 1,
                f"of 8 threads that commit on one revision, one wins, not {len(winners)}",
            )
            stored = store.load(user)
            check(
                stored == candidates[winners[0]],
                "the stored record is the one that the winning thread committed",
            )

    def test_one_code_in_many_threads_is_accepted_once(self, store: Store) -> None:
        clock = FrozenClock()
        registry = DeviceRegistry(store, keys=contract_keys(), issuer="Contract", clock=clock)
        user = new_user()
        actor = Actor.signed_in(user)
        opened = registry.open_enrollment(user, by=actor, label="contract")
        phone = AuthenticatorApp(clock).scan(opened.uri)
        registry.confirm_enrollment(user, session=opened.session_id, by=actor, **phone.pair())
        for _ in range(3):
            clock.advance(30)
            code = phone.code()

            def verify(_: int, code: str = code) -> Receipt:
                return registry.verify(user, code)

            outcomes = run_in_threads(12, verify)
            accepted = sum(isinstance(outcome, Receipt) for outcome in outcomes)
            check(
                accepted == 1,
                f"a code that 12 threads present is accepted once, not {accepted} times",
            )
            for outcome in outcomes:
                check(
                    isinstance(outcome, (Receipt, AlreadyUsed, StoreContended)),
                    "the other threads get AlreadyUsed or StoreContended, "
                    f"not {type(outcome).__name__}",
                )

    # One transaction

    def test_a_lost_commit_stores_no_event(self, store: Store) -> None:
        user, unknown = new_user(), new_user()
        stale = commit_next(store, Principal(id=user))
        commit_next(store, stale, 1, reason="winner")
        for before in (stale, Principal(id=user), next_record(Principal(id=unknown))):
            events = sample_events(before.id, 1, 2, reason="loser")
            check(
                store.commit(before, next_record(before), events) is False,
                "a lost commit returns False",
            )
        check(
            [event.reason for event in store.history(user)] == ["winner"]
            and not store.history(unknown),
            "a lost commit stores none of its events",
        )

    def test_a_lost_removal_removes_nothing(self, store: Store) -> None:
        user = new_user()
        stale = commit_next(store, Principal(id=user), 1)
        newest = commit_next(store, stale)
        check(
            store.commit(stale, Principal(id=user), []) is False,
            "the removal by a stale writer loses",
        )
        check(
            store.load(user) == newest and len(store.history(user)) == 1,
            "a lost removal leaves the record and its history",
        )

    def test_record_and_events_are_stored_together(self, store: Store) -> None:
        for stored in (Principal(id=new_user()), commit_next(store, Principal(id=new_user()))):
            user = stored.id
            with suppress(Interrupted):
                events = UnreadableEvents(sample_events(user, 1, 2))
                store.commit(stored, next_record(stored), events)
            check(
                store.load(user) == stored and not store.history(user),
                "if the events cannot be written, the record is not written either",
            )
            record = commit_next(store, stored, 1, 2)
            check(
                store.load(user) == record and len(store.history(user)) == 2,
                "after a commit that failed, the next one is stored completely",
            )

    def test_a_reader_sees_a_record_with_its_events(self, store: Store) -> None:
        user = new_user()
        finished = Event()

        def write() -> None:
            record = Principal(id=user)
            try:
                for number in range(1, 41, 2):
                    record = commit_next(store, record, number, number + 1)
            finally:
                finished.set()

        def read() -> None:
            last_round = False
            while not last_round:
                last_round = finished.is_set()
                before = store.load(user)
                history = store.history(user)
                after = store.load(user)
                check(
                    before.events <= len(history) <= after.events,
                    "a reader never sees a record without its events, "
                    "or events without their record",
                )

        results(run_in_threads(2, lambda index: read() if index else write()))

    def test_a_rollback_of_the_caller_undoes_no_commit(self, store: Store) -> None:
        user = new_user()
        record = commit_next(store, Principal(id=user))
        expected = record
        with self.caller_transaction(store), suppress(VmfaError):  # it may refuse to commit
            device = sample_device(failures=1)
            expected = commit_next(store, record, 1, device=device, key_ref=sample_key_ref())
        check(
            store.load(user) == expected and len(store.history(user)) == expected.events,
            "a commit that returned True stays when the caller rolls back its transaction",
        )
        commit_next(store, expected)

    # Reading

    def test_a_commit_is_visible_at_once(self, store: Store) -> None:
        user = new_user()
        record = store.load(user)
        for number in range(1, 9):
            record = commit_next(store, record, number)
            here = [store.load(user), store.load(user)]
            elsewhere = results(run_in_threads(2, lambda _: store.load(user)))
            check(
                all(loaded == record for loaded in (*here, *elsewhere)),
                "load() returns the last commit, in every thread",
            )
            check(len(store.history(user)) == number, "history() includes the last commit")
            check(
                list(store.principals(user.account)) == [user],
                "principals() includes the last commit",
            )
        commit_removal(store, record)
        check(store.load(user).revision == 0, "load() returns no record that was removed")

    def test_a_second_store_sees_a_commit_at_once(self, store: Store) -> None:
        user = new_user()
        with self.another_store(store) as other:
            record = other.load(user)
            writer, reader = store, other
            for number in range(1, 9):
                stale, record = record, commit_next(writer, record, number)
                check(
                    reader.load(user) == record,
                    "load() of a second store returns the last commit of the first one",
                )
                check(
                    len(reader.history(user)) == number,
                    "history() of a second store includes the last commit of the first one",
                )
                check(
                    list(reader.principals(user.account)) == [user],
                    "principals() of a second store includes the last commit of the first one",
                )
                sentence = "a second store loses against the commit of the first one"
                check_commit_loses(reader, stale, record, sentence)
                writer, reader = reader, writer
            commit_removal(writer, record)
            check(
                reader.load(user).revision == 0,
                "load() of a second store returns no record that the first one removed",
            )

    def test_lists_are_not_shared(self, store: Store) -> None:
        user = new_user()
        passed = sample_events(user, 1, 2)
        commit_events(store, Principal(id=user), passed)
        passed.clear()
        check(
            len(store.history(user)) == 2,
            "a change to the list of events after a commit does not change the store",
        )
        for read in (lambda: store.history(user), lambda: store.principals(user.account)):
            returned = read()
            if isinstance(returned, list):
                copy = list(returned)
                returned.clear()
                check(
                    list(read()) == copy,
                    "a change to a list that the store returned does not change the store",
                )

    def test_history_is_in_order_and_in_pages(self, store: Store) -> None:
        user = new_user()
        record, last = Principal(id=user), 0
        for count in (1, 0, 3, 2, 6):
            numbers = range(last + 1, last + count + 1)
            record, last = commit_next(store, record, *numbers), last + count
        commit_next(store, Principal(id=new_user()), 1)
        numbers_read = [event.number for event in store.history(user)]
        check(
            numbers_read == list(range(1, 13)),
            "history() returns all events of this principal, in the order of their numbers",
        )
        for after, limit in (
            (0, 5), (5, 5), (10, 5), (0, 12), (0, 0), (11, 1), (12, 5), (99, 5), (0, 2**70),
            (2**70, 1), (0, -1), (5, -1), (-1, 3),
        ):
            page = [event.number for event in store.history(user, after=after, limit=limit)]
            check(
                page == numbers_read[max(after, 0) :][: max(limit, 0)],
                f"history(after={after}, limit={limit}) returns at most that many events, "
                "after that number",
            )

    def test_events_beyond_the_history_are_replaced(self, store: Store) -> None:
        record = commit_next(store, Principal(id=new_user()), 1, 2, 3, reason="old")
        # As if an older record had been restored: its history has one event.
        restored = next_record(record, events=1)
        check(store.commit(record, restored, []) is True, COMMIT_SUCCEEDS)
        commit_next(store, restored, 2, reason="new")
        check(
            [event.reason for event in store.history(record.id, limit=2)] == ["old", "new"],
            "an event beyond the history of the record is replaced by the one committed there",
        )

    def test_pruning_redacts_the_redactable_events_up_to_a_number(self, store: Store) -> None:
        user, other = new_user(), new_user()
        commit_next(store, Principal(id=other), 1, 2, 3, 4)
        record = commit_next(store, Principal(id=user), 1, 2, 3, 4, 5, 6)
        stored = list(store.history(user))
        stale = next_record(Principal(id=user), pruned=4, events=7)
        lost = store.commit(Principal(id=user), stale, sample_events(user, 7)) is False
        check(lost and list(store.history(user)) == stored, "a lost commit redacts no event")
        commit_next(store, record, 7, pruned=4)
        check(
            list(store.history(user, limit=6)) == [
                redacted(event) if event.redactable and event.number <= 4 else event
                for event in stored
            ],
            "a commit that raises pruned redacts exactly the redactable events up to it",
        )
        check(
            all(event.type is EventType.OPENED for event in store.history(other)),
            "pruning the history of one principal redacts no event of another",
        )

    def test_principals_are_in_order_and_in_pages(self, store: Store) -> None:
        account = new_account()
        for other in (account + "x", account[:-1], account.upper(), account.replace("-", "_")):
            commit_next(store, Principal(id=PrincipalId.user(other, "u-4711")))
        users = [PrincipalId.user(account, name) for name in sorted(NAMES_TO_SORT)]
        expected = [PrincipalId.root(account), *users]
        for principal in (*users[::2], PrincipalId.root(account), *users[1::2]):
            commit_next(store, Principal(id=principal))
        check(
            sorted(map(str, store.principals(account))) == sorted(map(str, expected)),
            "principals() returns the stored principals of this account, and no others",
        )
        check(
            list(store.principals(account)) == expected,
            "principals() returns root first, then the users by the bytes of their names",
        )
        for size in (1, 3, len(expected)):
            pages = list(pages_of(store, account, size))
            check(
                all(len(page) <= size for page in pages),
                f"principals(limit={size}) returns at most that many principals",
            )
            check(
                [principal for page in pages for principal in page] == expected,
                "the pages of principals() contain every principal once",
            )
        for limit in (0, -1):
            page = store.principals(account, limit=limit)
            check(not page, f"principals(limit={limit}) is empty")
        unknown = PrincipalId.user(account, "b+")
        check(
            list(store.principals(account, after=unknown))
            == [user for user in users if user.name.encode() > b"b+"],
            "principals(after=...) starts after that name, even if it is not stored",
        )

    def test_accounts_are_in_order_and_in_pages(self, store: Store) -> None:
        if not isinstance(store, ListsAccounts):
            return  # a store need not have this method
        prefix = new_account()
        for number, end in enumerate(sorted(UNUSUAL_ACCOUNTS, reverse=True)):
            for name in ("u-1", "u-2")[: 1 + number % 2]:
                commit_next(store, Principal(id=PrincipalId.user(prefix + end, name)))
        expected = [prefix + end for end in sorted(UNUSUAL_ACCOUNTS)]
        removed = prefix + "gone"
        record = commit_next(store, Principal(id=PrincipalId.root(removed)))
        commit_removal(store, record)
        for size in (1, 3, len(expected)):
            listed: list[str] = []
            while len(listed) < len(expected):
                page = store.accounts(after=listed[-1] if listed else prefix, limit=size)
                check(
                    0 < len(page) <= size,
                    f"accounts(limit={size}) returns at most that many accounts",
                )
                listed += page
            check(
                listed[: len(expected)] == expected,
                "accounts() returns each account with a record once, by their bytes",
            )
        for limit in (0, -1):
            check(not store.accounts(limit=limit), f"accounts(limit={limit}) is empty")

    # Removing

    def test_a_removal_deletes_one_record_and_its_history(self, store: Store) -> None:
        account = new_account()
        root = PrincipalId.root(account)
        removed = PrincipalId.user(account, "gone")
        other = PrincipalId.user(account, "gone too")
        records = {
            principal: commit_next(store, Principal(id=principal), 1)
            for principal in (removed, other, root)
        }
        commit_removal(store, records.pop(removed))
        check(
            store.load(removed) == Principal(id=removed),
            "after its removal a principal is as if it had never been stored",
        )
        check(not store.history(removed), "a removed principal has no history")
        check(list(store.principals(account)) == [root, other], "only the removed one is gone")
        for principal, record in records.items():
            check(
                store.load(principal) == record and len(store.history(principal)) == 1,
                "the removal of one principal changes no other",
            )
        commit_next(store, Principal(id=removed), 1, reason="new")
        check(
            [event.reason for event in store.history(removed)] == ["new"],
            "the history of a removed principal starts again with event 1",
        )
