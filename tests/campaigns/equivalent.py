"""The mutants that survive because they mean the same as the code, each with the reason.

By room and by the text that ``mutation.py`` prints. A changed line must be argued anew: its text is another one.
"""

from __future__ import annotations

VALID = "a valid value stands in for a parameter that is not asked about: any other valid one does as well"
TYPING = "the other half of the condition always decides first; this half is what a type checker asks for"
NO_CODE = "what stands in for something that is no text must be no code, and two letters are none"
DEFAULTS = (
    "def check_parameters(algorithm: str, digits: int, period: int = 30, t0: int = 0) -> None:"
)
UNPREPARED = (
    '_set(self, "_prepared", ("", (None, None)))  # for which algorithm, and its two hashes'
)
VALUES = '_VALUES = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=", "0123456789ABCDEFGHIJKLMNOPQRSTUV=", strict=True))'
DIGITS = '_DIGITS = "".join(_VALUES.get(chr(byte).upper(), "?") for byte in range(128)).ljust(256, "?").encode()'
FILLED = "the table is filled with question marks, and the byte at its end is one as well"
BOUND = "what equals the bound gives the bound either way"
SHORTCUT = "a shortcut for the usual case: what stands behind it gives the same"
RAISED_ANEW = "the refusal is raised anew, with a text that tells nothing of what is stored"
PLAIN = "return self.adopt(principal, serial, parameters, key), key"
CHAIN = (
    "def check_chain(events: Sequence[AuditEvent], number: int, head: str, keys: RecordAuthenticator,"
    " pruned: int = 0) -> str:"
)
PRINTABLE = "if value.isascii() and value.isprintable():"
IDENTICAL = "if self is other:"
FIELD = 'def __init__(self, check: Any = None, well: str = "False", kind: Any = None, **how: Any) -> None:'
WHOLE = 'fill += " self.__post_init__()\\n" * ("__post_init__" in vars(own))'
CONTENT = "return dict(zip(value._fields, value._content(), strict=True))  # noqa: SLF001  # this is the door"
TRANSFORM = (
    "@dataclass_transform(kw_only_default=True, frozen_default=True,"
    " field_specifiers=(text, number, seconds, a))"
)
PARAMETERS = (
    "_parameters = lru_cache(64, typed=True)(partial(of, Parameters))"
    "  # few: those that the policies offer"
)
TYPED = 'Typed = TypeVarTuple("Typed")'
DELAY = "return 0 if over < 0 else min(self.delay_seconds << min(over, 32), self.delay_cap)"
PRKS = "super().__init__(_prks=dict(zip(ids, prks, strict=True)), current_id=ids[0], _subkeys={})"
SPACED = 'spaced = normalize("NFC", _decoded(written.replace("+", " "), "issuer"))  # as several apps write a blank'
SECRET = 'return kind_of_key.from_base32(_decoded(given.get("secret", ""), "secret"))'
QUOTED = 'name, account = quote(issuer, safe=""), quote(label, safe="@")'
NEVER_ESCAPED = "the other text has letters more, which are never escaped"
AROUND = (
    "return range(start if start > 0 else 0, stop if stop < COUNTER_LIMIT else COUNTER_LIMIT)"
    "  # noqa: FURB136  # half the time"
)
WORD = "word: int = _word_at(mac, mac[-1] & 0x0F)[0]  # of the last byte, whatever the hash: not byte 19"
BEFORE_T0 = (
    'raise InvalidValue("the time is before T0" if step < 0 else "the time is past the last step")'
)

SEGNO = "segno does the same where it is not told"
SAME_LENGTH = "both always have the same length"
SAVED = '_sound(symbol).save(out, kind=kind, scale=scale, border=QUIET, dark="#000", light="#fff", **options)'
LAST_ROW = "rows.append([False] * len(rows[0]))  # a symbol has an odd number of rows"
DRAWN = 'return segno.make_qr(uri, error="l", boost_error=True)'
HALVES = '"".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))'
PAIRED = "for upper, lower in zip(rows[::2], rows[1::2], strict=True)"
WAITED = "failures, waited = 0, 0"
UNDELAYED = (
    "before the first failure nobody waits: a round more or less of no delay changes nothing"
)
LONG_ENOUGH = "the longest hash takes 64 of its bytes: further ones are cut off"
ANY_MESSAGE = "both ways are given the same message, and any one would do"
SEED_OF_RFCS = (
    '_SEED: Final = b"1234567890" * 7  # both RFCs; RFC 6238 cuts it to the size of the hash'
)
CODES_OF_RFC = "for (algorithm, size), code in zip(_SIZES.items(), codes.split(), strict=True):"
FALSE_TOO = "None is false as well, and the caller asks no more"
NO_DICTIONARY = "of a secret that is random and stays here, any length of some bytes does"
DIGESTS = 'digests = [sha256(secret + reveal(item.key)).digest() if isinstance(item, ImportedDevice) else b"" for item in items]'
PAGE = "PAGE: Final = 1000"
ANY_PAGE = "pages are turned to the end: of whatever size they are, what is read is the same"
SWALLOWED = "the error is caught where it is raised, and one sentence is told in its place"
HELD = "if held is None or ref is None or not sealed_keys.needs_rekey(ref):"
NEITHER = "a record has a reference to a key exactly where it has a device or an enrollment (Principal checks it)"
ANY_TIME = "support reads at any time, and here no observer is told when"
PYTHON_NONE = "Python gives None by itself"
NEAR = (
    "NEAR: Final = range(-30, 60)  # steps around START: more than any scan of the story reaches"
)
KINDS = (
    "algorithm, digits = _ALGORITHMS.get(_last(fields, 4, 0)), _DIGITS.get(_last(fields, 5, 0))"
)
UNSPECIFIED = "in both tables 0, unspecified, and 1 mean the same"
FAR_ENOUGH = "the story looks 20 steps back from its first step, and 20 on from its eighth: it is more either way"
CHANCE = "it makes a race likelier: what is caught is caught without it too, by chance more seldom"
TOGETHER = (
    "outcomes = _together(12, lambda _, code=code: registry.verify(who, code))"
    "  # type: ignore[misc]  # a default"
)
ACCOUNTS = (
    'for account in (_account(), _account() + "%_\'\\"/\\\\;?é😀", _account().ljust(512, "x")):'
)
AN_EVENT = (
    'AuditEvent(type=EventType.OPENED, at=n, principal=of.id, actor="contract", reason=reason, number=n,'
    ' tag=f"t{n}")'
)
A_REF = 'return KeyRef("derived", "0123456789abcdef", bytes(range(240, 256)))'

FIRST_PAGE = 'start = _order(after) if after is not None else ("", b"")'
BEFORE_ALL = "a kind is root or user: whatever is less than r stands before both"
CHANGED = "if current is not before and (current or Principal(id=before.id)) != before:"
FULL = "if not self._idle and self._opened >= MOST:"
NO_WAIT = "wait_for asks the same question before it waits"
INSTANT = (
    "the deadline is one instant of a clock of nanoseconds: nothing is promised of a try at it"
)
START_OF_NAMES = 'start = key(after)[1:] if after is not None else ("", "")'
ONE_COLUMN = "the row has one column: its first is its last"
IMMEDIATE = "'BEGIN IMMEDIATE' | SQL 'BEGIN IMMEDIATE' -> 'BEGIN'"
OFF = "f\"{'behind' if off < 0 else 'ahead of'} the database's\"))"
NOT_OFF = "no tolerance is less than 0, and an offset of 0 is not above it: it is never told"
BY_NAME = "root's name is empty and nobody else's is: by the names alone root stands first as well"
MEMORY = "slots save memory; who sets, compares and prints a statement sees none of it"
SET_DEFAULT = "setdefault gives those that are there; what was made beside them has opened nothing"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("otp", 'check_parameters("sha1", 6, period, t0) | 6 | + 1'): VALID,
    ("otp", f"{DEFAULTS} | 30 | + 1"): VALID,
    ("otp", f"{DEFAULTS} | 30 | - 1"): VALID,
    ("otp", f"{DEFAULTS} | 0 | + 1"): VALID,
    ("otp", f"{DEFAULTS} | 0 | - 1"): VALID,
    (
        "otp",
        'text = code.strip(" \\t\\n\\r\\f\\v") if isinstance(code, str) else "" | \'\' | other text',
    ): NO_CODE,
    (
        "otp",
        f"{BEFORE_T0} | step < 0 | Lt 0 -> LtE",
    ): "it is reached by a step below 0 or far above, never by 0",
    ("otp", f"{BEFORE_T0} | 0 | + 1"): "it is reached by a step below 0 or far above, never by 0",
    (
        "rules",
        "newest = max(matches, default=-1)  # RULE-MONOTONE: neighbours can share a code | 1 | + 1",
    ): "no position is below -1",
    ("otp", f"{AROUND} | start > 0 | Gt 0 -> GtE"): BOUND,
    ("otp", f"{AROUND} | 0 | - 1"): BOUND,
    ("otp", f"{AROUND} | stop < COUNTER_LIMIT | Lt 0 -> LtE"): BOUND,
    ("otp", f"{WORD} | 0 | - 1"): "the first of one is the last",
    ("otp", "if type(at) is int: | if type(at) is int: | deleted"): SHORTCUT,
    ("otp", "if type(at) is int: | if type(at) is int: | condition: never"): SHORTCUT,
    ("otp", "if type(at) is int: | at | argument None"): SHORTCUT,
    ("otp", "return at | return at | deleted"): SHORTCUT,
    (
        "errors",
        "if retry_after is not None: | if retry_after is not None: | condition: always",
    ): "None is what the class says",
    ("keys", f"{UNPREPARED} | '' | other text"): "it must be the name of no hash, and is none",
    ("keys", "return None | return None | deleted"): PYTHON_NONE,
    ("keys", f"{VALUES} | strict=True | argument dropped"): SAME_LENGTH,
    ("keys", f"{VALUES} | True | turned"): SAME_LENGTH,
    ("keys", f"{DIGITS} | 128 | + 1"): FILLED,
    ("keys", f"{DIGITS} | 128 | - 1"): FILLED,
    (
        "keys",
        (
            'digits = text.encode("ascii", "replace").translate(_DIGITS, b" -\\t\\r\\n").rstrip(b"=") | b\'=\' |'
            " other bytes"
        ),
    ): "what is stripped as well, X, is no digit that the table gives",
    **{
        ("events", f"check_text(\"text\", {rest} | 'text' | other text"): RAISED_ANEW
        for rest in ("text, longest=8192, empty=True)", "text, longest=64)", "value, empty=True)")
    },
    (
        "events",
        "check_int(\"number\", number, 1, MAX_INTEGER) | 'number' | other text",
    ): RAISED_ANEW,
    ("events", f"{CHAIN} | 0 | - 1"): "no event has a number below 1",
    **{
        ("values", f"{PRINTABLE} | {PRINTABLE} | {how}"): SHORTCUT
        for how in ("deleted", "condition: never")
    },
    ("values", "return | return | deleted"): SHORTCUT,
    **{
        ("values", f"{IDENTICAL} | {IDENTICAL} | {how}"): SHORTCUT
        for how in ("deleted", "condition: never")
    },
    ("values", "return True | return True | deleted"): SHORTCUT,
    ("values", f"{FIELD} | 'False' | other text"): "a field without a check is not looked at",
    (
        "values",
        f"{WHOLE} | ' self.__post_init__()\\n' * ('__post_init__' in vars(own)) | left alone",
    ): SHORTCUT,
    **{
        ("values", f"{CONTENT} | {how}"): SAME_LENGTH
        for how in ("strict=True | argument dropped", "True | turned")
    },
    **{
        ("values", f"{TRANSFORM} | {how}"): "a type checker reads it: tests/typing fails"
        for how in (
            "dataclass_transform(kw_only_default=True, frozen_default=Tru | decorator dropped",
            "True | turned #2",
            "kw_only_default=True | argument dropped",
            "True | turned",
            "frozen_default=True | argument dropped",
            "field_specifiers=(text, number, seconds, a) | argument dropped",
        )
    },
    **{
        ("record", f"{PARAMETERS} | 64 | {how}"): "how many are remembered is no promise"
        for how in ("+ 1", "- 1")
    },
    **{
        ("operations", f"{TYPED} | {how}"): TYPING
        for how in (f"{TYPED.replace(chr(34), chr(39))} | deleted", "'Typed' | other text")
    },
    **{
        ("policy", f"{DELAY} | 32 | {how}"): "a day is shorter than 2**31 seconds"
        for how in ("+ 1", "- 1")
    },
    **{
        ("keysource", f"{PRKS} | {how}"): SAME_LENGTH
        for how in ("strict=True | argument dropped", "True | turned")
    },
    (
        "keyuri",
        'counter = _number("counter", given, -1) | 1 | + 1',
    ): "any number below 0 says that there is none",
    (
        "keyuri",
        f"{SPACED} | 'issuer' | other text",
    ): "the line before has refused what cannot be decoded",
    (
        "keyuri",
        f"{SECRET} | '' | other text",
    ): "what stands for no secret must be too short for a key, and is",
    (
        "keyuri",
        f"{SECRET} | 'secret' | other text #2",
    ): "the refusal is caught two lines below, and named anew",
    **{("keyuri", f"{QUOTED} | {what} | other text"): NEVER_ESCAPED for what in ("''", "'@'")},
    (
        "values",
        "self.__setattr__(name, None) | name | argument None",
    ): "the refusal names the kind, and no field",
    **{
        (
            "keysource",
            f"{PLAIN} | {name} | argument None",
        ): "a plain key is bound to nothing: its source drops these"
        for name in ("principal", "serial", "parameters")
    },
    (
        "keysource",
        "del key | del key | deleted",
    ): "a key is opaque: whatever records the frame writes <Key>",
    (
        "access",
        (
            "if recovered and self.principal is not None and not self.principal.is_root: |"
            " recovered and self.principal is not None and (not self.princ | without operand 1"
        ),
    ): TYPING,
    (
        "access",
        (
            "if own is None or own.account != target.account: | own is None or own.account != target.account"
            " | without operand 0"
        ),
    ): TYPING,
    (
        "rules",
        (
            "if side and side == device.last_offset and near:  # RFC6238-6-DRIFT, RULE-DRIFT: two in a row off on one side"
            " | side and side == device.last_offset and near | without operand 0"
        ),
    ): "drift + 0 and last_offset 0 are what it was",
    (
        "rules",
        "grown = max(0, case.now - device.budget_updated_at) // policy.budget_refill | 0 | + 1",
    ): "a refill takes 60 s at least, so 1 // refill is 0 as well",
    (
        "rules",
        (
            "found = _pair(before, session, case, pair, here, policy.enroll_back, policy.enroll_forward, -1) | 1 |"
            " + 1"
        ),
    ): "no step before 0 is ever scanned",
    (
        "rules",
        "session = _open_session(before, case, open_id or \"\") | open_id or '' | without operand 1",
    ): TYPING,
    (
        "rules",
        (
            'typed = code.replace("-", "").replace(" ", "").upper() if isinstance(code, str) else "" | \'\' |'
            " other text #3"
        ),
    ): "what stands in for no text must be no binding code, and has another length",
    ("rules", "session = _open_session(before, case, open_id or \"\") | '' | other text"): NO_CODE,
    (
        "rules",
        (
            "assert before.key_ref is not None  # noqa: S101  # the shape of Principal |"
            " assert before.key_ref is not None | deleted"
        ),
    ): TYPING,
    ("stores.memory", f"{FIRST_PAGE} | '' | other text"): BEFORE_ALL,
    ("stores.memory", f"{FIRST_PAGE} | b'' | other bytes"): BEFORE_ALL,
    (
        "stores.memory",
        f"{CHANGED} | current is not before and (current or Principal(id=before.id | without operand 0",
    ): SHORTCUT,
    ("stores.connections", f"{FULL} | {FULL} | condition: always"): NO_WAIT,
    (
        "stores.connections",
        f"{FULL} | not self._idle and self._opened >= MOST | and <-> or",
    ): NO_WAIT,
    (
        "stores.connections",
        f"{FULL} | not self._idle and self._opened >= MOST | without operand 0",
    ): NO_WAIT,
    (
        "stores.connections",
        f"{FULL} | not self._idle and self._opened >= MOST | without operand 1",
    ): NO_WAIT,
    (
        "stores.postgres_async",
        "if pool.closed: | if pool.closed: | condition: always",
    ): "to open a pool that is open does nothing",
    (
        "stores.sqlite",
        'self._synchronous = "NORMAL" if unsafe_not_durable else "FULL" | \'NORMAL\' | other text',
    ): "SQLite takes a word that it does not know for NORMAL",
    (
        "stores.sqlite",
        f'db.execute("BEGIN IMMEDIATE")  # never read-then-write in a deferred one | {IMMEDIATE}',
    ): "the first statement behind it writes, and takes the lock that IMMEDIATE takes",
    (
        "stores.sqlite",
        f'db.execute("BEGIN IMMEDIATE")  # somebody else may be creating them now | {IMMEDIATE}',
    ): "who meets another in a deferred one is told SQLITE_BUSY at his first write, and begins anew",
    ("stores.sqlite", f"{START_OF_NAMES} | '' | other text"): BEFORE_ALL,
    ("stores.sqlite", f"{START_OF_NAMES} | '' | other text #2"): BEFORE_ALL,
    (
        "stores.sqlite",
        (
            "if not isinstance(failure, StoreContended) or time.monotonic() > deadline: |"
            " time.monotonic() > deadline | Gt 0 -> GtE"
        ),
    ): INSTANT,
    (
        "stores.sqlite",
        (
            "db = sqlite3.connect(how, timeout=0, isolation_level=None, check_same_thread=False, uri=True)"
            " | 0 | - 1"
        ),
    ): "SQLite takes a time that is less than none for none",
    (
        "stores.sqlite",
        (
            'return not application and bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])'
            " | 0 | - 1"
        ),
    ): ONE_COLUMN,
    ("stores.sqlite", "return cursor.fetchone()[0] | 0 | - 1"): ONE_COLUMN,
    ("stores.postgres", f"{START_OF_NAMES} | '' | other text"): BEFORE_ALL,
    ("stores.postgres", f"{START_OF_NAMES} | '' | other text #2"): BEFORE_ALL,
    (
        "stores.postgres",
        (
            "return None if again and time.monotonic() < self._until else failure |"
            " time.monotonic() < self._until | Lt 0 -> LtE"
        ),
    ): INSTANT,
    ("stores.postgres", f"{OFF} | off < 0 | Lt 0 -> LtE"): NOT_OFF,
    ("stores.postgres", f"{OFF} | 0 | + 1"): NOT_OFF,
    (
        "stores.sqlite",
        (
            '"SELECT kind, name FROM principal WHERE account = ? AND (kind, name) > (?, ?) ORDER BY'
            " kind, name LIMIT ?\" | 'SELECT kind, name FROM principal WHERE account = ? AND (kin | SQL"
            " ' ORDER BY kind, name' -> ' ORDER BY name'"
        ),
    ): BY_NAME,
    (
        "stores.postgres",
        (
            'PAGE: Final = """SELECT kind, name FROM vmfa_principal |'
            " 'SELECT kind, name FROM vmfa_principal\\n    WHERE account =  | SQL"
            " ' ORDER BY kind, name' -> ' ORDER BY name'"
        ),
    ): BY_NAME,
    (
        "stores.postgres",
        "@dataclass(frozen=True, slots=True) | slots=True | argument dropped",
    ): MEMORY,
    ("stores.postgres", "@dataclass(frozen=True, slots=True) | True | turned #2"): MEMORY,
    (
        "stores.postgres",
        (
            "yield Step(ERASE, (*key(after.id), events[0].number - 1 if events else 0))"
            "  # what lies behind gives way | 0 | - 1 #2"
        ),
    ): "events are numbered from 1",
    (
        "stores.postgres",
        "self._final = False | False | turned",
    ): "it is read only where a connection was had, and whoever has one sets it first",
    (
        "stores.postgres",
        "for _ in range(2):  # the first reads a farewell, the second finds the end | 2 | + 1",
    ): "a third reading finds what the second found",
    (
        "stores.postgres",
        (
            "own = self._own.get(os.getpid())  # never a connection from before a fork | os.getpid()"
            " | argument None"
        ),
    ): SET_DEFAULT,
    ("stores.postgres", "if own is None: | if own is None: | condition: always"): SET_DEFAULT,
    (
        "qr",
        (
            "rows = [[bool(module) for module in row] for row in _sound(symbol).matrix_iter(border=QUIET)] |"
            " border=QUIET | argument dropped"
        ),
    ): SEGNO,
    ("qr", f"{LAST_ROW} | 0 | + 1"): "all rows are equally long",
    ("qr", f"{LAST_ROW} | 0 | - 1"): "all rows are equally long",
    ("qr", f"{HALVES} | strict=True | argument dropped"): SAME_LENGTH,
    ("qr", f"{HALVES} | True | turned"): SAME_LENGTH,
    ("qr", f"{PAIRED} | strict=True | argument dropped"): SAME_LENGTH,
    ("qr", f"{PAIRED} | True | turned"): SAME_LENGTH,
    ("qr", f"{DRAWN} | error='l' | argument dropped"): SEGNO,
    ("qr", f"{DRAWN} | boost_error=True | argument dropped"): SEGNO,
    ("qr", f"{SAVED} | border=QUIET | argument dropped"): SEGNO,
    ("qr", f"{SAVED} | dark='#000' | argument dropped"): SEGNO,
    ("analysis", f"{WAITED} | 0 | + 1"): UNDELAYED,
    ("analysis", f"{WAITED} | 0 | - 1"): UNDELAYED,
    ("known_answers", f"{SEED_OF_RFCS} | 7 | + 1"): LONG_ENOUGH,
    ("known_answers", f"{CODES_OF_RFC} | strict=True | argument dropped"): SAME_LENGTH,
    ("known_answers", f"{CODES_OF_RFC} | True | turned"): SAME_LENGTH,
    ("known_answers", "message = bytes(range(8)) | 8 | + 1"): ANY_MESSAGE,
    ("known_answers", "message = bytes(range(8)) | 8 | - 1"): ANY_MESSAGE,
    (
        "known_answers",
        "return False | return False | returns None",
    ): "None is not True either, which is the answer",
    ("migrate.adoption", "secret = random_bytes(32) | 32 | + 1"): NO_DICTIONARY,
    ("migrate.adoption", "secret = random_bytes(32) | 32 | - 1"): NO_DICTIONARY,
    (
        "migrate.adoption",
        f"{DIGESTS} | b'' | other bytes",
    ): "what is unfit has no key, and its place is never compared",
    (
        "migrate.adoption",
        "for item, digest in zip(items, digests, strict=True): | strict=True | argument dropped",
    ): SAME_LENGTH,
    (
        "migrate.adoption",
        "for item, digest in zip(items, digests, strict=True): | True | turned",
    ): SAME_LENGTH,
    ("migrate.adoption", "return False | return False | deleted"): FALSE_TOO,
    ("migrate.adoption", "return False | return False | returns None"): FALSE_TOO,
    ("trail", f"{PAGE} | 1000 | + 1"): ANY_PAGE,
    ("trail", f"{PAGE} | 1000 | - 1"): ANY_PAGE,
    (
        "trail",
        "after = events[-1].number if events else 0 | 0 | - 1",
    ): "no event has the number 0: they begin with 1",
    ("trail", 'check_int("v", document["v"], VERSION, VERSION) | \'v\' | other text'): SWALLOWED,
    (
        "trail",
        "check_int(\"revision\", head.revision, 0, 1 << 62) | 'revision' | other text",
    ): SWALLOWED,
    ("trail", "check_int(\"events\", head.events, 0, 1 << 62) | 'events' | other text"): SWALLOWED,
    (
        "trail",
        "raise errors.InvalidType(\"head is text\") | 'head is text' | other text",
    ): SWALLOWED,
    (
        "migrate.command",
        (
            "DryRunStore(store) if args.dry_run else store, keys=keys, imported_keys=imported_keys,"
            " issuer=\"vmfa\", | 'vmfa' | other text"
        ),
    ): "nothing that is adopted bears the issuer",
    (
        "migrate.command",
        (
            "data = b\"\"  # error trackers record the locals of a raising frame | b'' | other bytes"
        ),
    ): "whatever stands in for the source is not the source",
    ("migrate.otpauth_migration", f"{KINDS} | 0 | + 1"): UNSPECIFIED,
    ("migrate.otpauth_migration", f"{KINDS} | 0 | + 1 #2"): UNSPECIFIED,
    (
        "sealing",
        f"{HELD} | held is None or ref is None or (not sealed_keys.needs_rekey( | without operand 0",
    ): NEITHER,
    (
        "sealing",
        f"{HELD} | held is None or ref is None or (not sealed_keys.needs_rekey( | without operand 1",
    ): NEITHER,
    (
        "trail_command",
        (
            "return _reported(compare(store, heads, operations=operations, by=by, clock=clock)) |"
            " clock=clock | argument dropped"
        ),
    ): ANY_TIME,
    (
        "trail_command",
        (
            "found.extend(verify_history(store, account, operations=operations, by=by, clock=clock)) | clock=clock"
            " | argument dropped"
        ),
    ): ANY_TIME,
    (
        "testing",
        f"{ACCOUNTS} | _account().ljust(512, 'x') | exchanged",
    ): "it is as long either way",
    (
        "testing",
        "if which: | if which: | condition: not",
    ): "one of two threads writes and the other reads, whichever",
    (
        "testing",
        "who for who in users if who.name.encode() > b\"b+\" | who.name.encode() > b'b+' | Gt 0 -> GtE",
    ): "nobody has that name",
    ("testing", "start.wait() | start.wait() | deleted"): CHANCE,
    ("testing", f"{TOGETHER} | 12 | + 1"): CHANCE,
    ("testing", f"{TOGETHER} | 12 | - 1"): CHANCE,
    ("testing", "for _ in range(3): | 3 | + 1"): CHANCE,
    ("testing", "for _ in range(3): | 3 | - 1"): CHANCE,
    (
        "testing",
        (
            "registry = DeviceRegistry(store, keys=_keys(), issuer=\"Contract\", clock=clock) | 'Contract' |"
            " other text"
        ),
    ): VALID,
    (
        "testing",
        "opened = registry.open_enrollment(who, by=me, label=\"contract\") | 'contract' | other text",
    ): VALID,
    (
        "testing",
        (
            "return DerivedKeys(b\"for the contract of stores, only\") | b'for the contract of stores, only' |"
            " other bytes"
        ),
    ): VALID,
    ("testing", "return f\"contract-{urandom(8).hex()}\" | 'contract-' | other text"): VALID,
    ("testing", "return PrincipalId.user(_account(), \"u-4711\") | 'u-4711' | other text"): VALID,
    ("testing", f"{A_REF} | 'derived' | other text"): VALID,
    ("testing", f"{A_REF} | '0123456789abcdef' | other text"): VALID,
    ("testing", f"{AN_EVENT} | 'contract' | other text"): VALID,
    ("testing", f"{AN_EVENT} | 't' | other text"): VALID,
    (
        "__main__",
        (
            "raise WrongUsage(f\"{message.rstrip(' :')}; see {self.prog} --help\") | ' :' | other text"
        ),
    ): "no message of argparse ends in an X",
    (
        "commands",
        "super().__init__(message) | super().__init__(message) | deleted",
    ): "Python's exceptions keep what they are made with by themselves",
    (
        "commands",
        'issuer = getattr(self.args, "issuer", "vmfa") | \'vmfa\' | other text',
    ): "only enroll shows an issuer, and it has the option",
    (
        "commands",
        (
            'with tempfile.TemporaryDirectory() as folder, SQLiteStore(os.path.join(folder, "demo.db")) as store:'
            " | 'demo.db' | other text"
        ),
    ): "whatever the file is called, it lasts as long as the story",
    (
        "commands",
        "session = enrollment.session_id if enrollment else \"\" | '' | other text",
    ): "it must be the name of no session, and is none",
    ("demo", f"{NEAR} | 30 | + 1"): FAR_ENOUGH,
    ("demo", f"{NEAR} | 30 | - 1"): FAR_ENOUGH,
    ("demo", f"{NEAR} | 60 | + 1"): FAR_ENOUGH,
    ("demo", f"{NEAR} | 60 | - 1"): FAR_ENOUGH,
    (
        "demo",
        (
            "return [totp(phone.key, START + step * STEP) for phone in phones for step in NEAR]"
            " | START + step * STEP | Add -> Sub"
        ),
    ): FAR_ENOUGH,
    (
        "demo",
        "keys = DerivedKeys(random_bytes(32)) | 32 | + 1",
    ): "a master key has 32 bytes at least",
    ("demo", "return None | return None | deleted"): PYTHON_NONE,
    (
        "demo",
        (
            'refusal(errors.DeviceAlreadyAssigned, lambda: registry.open_enrollment(alice, by=me, label="x"))'
            " is not None, | 'x' | other text"
        ),
    ): VALID,
}
