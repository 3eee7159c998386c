"""Planted defects: what this field has shipped, put into the library on purpose, must be caught by its own test.

    python tests/campaigns/planted.py             # all of them, about a minute
    python tests/campaigns/planted.py vault       # those whose name holds a word

Each is one replacement in a copy of the tree, and the test that must fail. A defect that is not caught, a test that
fails without it, a text that is no longer in the source, and a test in ``tests/advisory`` that catches none, fail the
command.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
A = "tests/advisory/test_"


class Planted(NamedTuple):
    name: str
    file: str  # of src/vmfa
    old: str
    new: str
    test: str


LATE_AND_BLIND = "time.sleep(0.1) or self._store.commit(self._store.load(before.id), made"  # over what came between
PLANTED = [
    # what is a code
    Planted(
        "django-otp: digits of other scripts",
        "otp.py",
        "if len(text) != digits or not (text.isascii() and text.isdigit()):",
        "if len(text) != digits or not text.isdigit():",
        f"{A}codes.py::test_django_otp_int_of_token_only_ascii_digits_are_a_code",
    ),
    Planted(
        "pyotp 22: any text is compared",
        "otp.py",
        "if len(text) != digits or not (text.isascii() and text.isdigit()):",
        "if len(text) != digits:",
        f"{A}codes.py::test_pyotp_22_fullwidth_digits_raise_a_named_error",
    ),
    Planted(
        "authlib: the offset from byte 19",
        "otp.py",
        "mac[-1] & 0x0F",
        "mac[19] & 0x0F",
        f"{A}codes.py::test_authlib_offset_19_the_offset_is_in_the_last_byte_for_every_hash",
    ),
    Planted(
        "cryptography: time before T0",
        "otp.py",
        "if not 0 <= step < COUNTER_LIMIT:",
        "if not step < COUNTER_LIMIT:",
        f"{A}codes.py::test_cryptography_totp_steps_are_floored_integers_and_start_at_t0",
    ),
    Planted(
        "cryptography: a period of 0 s",
        "otp.py",
        "if not 0 < period <= COUNTER_LIMIT",
        "if not -30 <= period <= COUNTER_LIMIT",
        f"{A}codes.py::test_cryptography_totp_steps_are_floored_integers_and_start_at_t0",
    ),
    Planted(
        "pyotp: datetimes through mktime",
        "otp.py",
        'raise InvalidType("a time is in seconds since the epoch, int or float: use time.time()")',
        "return int(at.timestamp()) if hasattr(at, 'timestamp') else int(at or 0)",
        f"{A}codes.py::test_pyotp_datetimes_are_refused",
    ),
    Planted(
        "pquerna 97: a counter wraps",
        "otp.py",
        'check_int("counter", counter, 0, COUNTER_LIMIT - 1)\n        code =',
        "counter %= COUNTER_LIMIT\n        code =",
        f"{A}codes.py::test_pquerna_otp_97_a_counter_does_not_wrap",
    ),
    Planted(
        "hectorm: HOTP looks back",
        "otp.py",
        "window_steps(counter, 0, look_ahead)",
        "window_steps(counter, 1, look_ahead)",
        f"{A}codes.py::test_hectorm_otpauth_hotp_looks_ahead_only",
    ),
    Planted(
        "totp-rs: the scan stops at the first match",
        "otp.py",
        "matches.append(step)",
        "return [step]",
        f"{A}codes.py::test_totp_rs_cve_2022_29185_every_candidate_is_computed_and_compared",
    ),
    # key URIs
    Planted(
        "pyotp parse_uri: the last of two secrets wins",
        "keyuri.py",
        "if name in given:",
        "if False:",
        f"{A}keyuri.py::test_pyotp_parse_uri_invalid_fields_are_refused_by_name",
    ),
    Planted(
        "pyotp parse_uri: digits of other scripts",
        "keyuri.py",
        "text.isascii() and text.isdigit() and len(text)",
        "text.isdigit() and len(text)",
        f"{A}keyuri.py::test_pyotp_parse_uri_invalid_fields_are_refused_by_name",
    ),
    # replay
    Planted(
        "Vault CVE-2025-6014: what was used is kept as typed",
        "rules.py",
        "typed = normalize_code(code, parameters_of(before, case.policy).digits)",
        "typed = normalize_code(code, parameters_of(before, case.policy).digits)\n"
        "    if code != typed: before = replace(before, device=replace(before.device, last_step=-1))",
        f"{A}replay.py::test_vault_cve_2025_6014_a_padded_code_is_the_same_code",
    ),
    Planted(
        "Gitea CVE-2026-20779: a second way in does not consume",
        "registry.py",
        "if made.principal is before or self._store",
        "if made.principal is before or self.operations.issuer == 'Git' or self._store",
        f"{A}replay.py::test_gitea_cve_2026_20779_every_login_path_consumes_the_code",
    ),
    Planted(
        "Vikunja CVE-2026-33473: no memory of what was used",
        "rules.py",
        "if newest > device.last_step:",
        "if matches:",
        f"{A}replay.py::test_vikunja_cve_2026_33473_a_code_is_accepted_once",
    ),
    Planted(
        "logto 9109: the slower writer wins",
        "stores/memory.py",
        "if current is not before and (current or Principal(id=before.id)) != before:",
        "if False:",
        f"{A}replay.py::test_logto_9109_the_slower_writer_cannot_lower_the_step",
    ),
    Planted(
        "multiOTP 261: drift in seconds",
        "rules.py",
        "device.parameters.step_at(case.now) + device.drift",
        "device.parameters.step_at(case.now + device.drift)",
        f"{A}replay.py::test_multiotp_261_drift_and_position_are_counted_in_steps",
    ),
    Planted(
        "devise-two-factor 106: spent is the last code only",
        "rules.py",
        "if newest > device.last_step:",
        "if matches and newest != device.last_step:",
        f"{A}replay.py::test_devise_two_factor_106_a_spent_code_stays_spent_in_the_whole_window",
    ),
    Planted(
        "allauth: what was used is forgotten after a period",
        "rules.py",
        "if newest > device.last_step:",
        "if newest > device.last_step or (matches and case.now >= before.seen_at + 30):",
        f"{A}replay.py::test_allauth_replay_state_does_not_expire",
    ),
    Planted(
        "django-otp: check and save apart",
        "stores/memory.py",
        "if current is not before and (current or Principal(id=before.id)) != before:",
        "if False:",
        f"{A}replay.py::test_django_otp_two_loaded_copies_accept_once",
    ),
    Planted(
        "privacyIDEA GHSA-qq2p: the statement compares nothing",
        "stores/sqlite.py",
        'revision = ? AND tag = ?"\n)\nDELETE',
        '(revision = ? OR tag = ? OR 1)"\n)\nDELETE',
        f"{A}replay.py::test_privacyidea_ghsa_qq2p_without_row_locks_one_of_many_is_accepted",
    ),
    Planted(
        "privacyIDEA: the first code of the pair may be the last one used",
        "rules.py",
        "and s - 1 > after]",
        "and s > after]",
        f"{A}replay.py::test_privacyidea_resync_both_codes_are_after_the_last_step",
    ),
    Planted(
        "libpam: resync spends one code of two",
        "rules.py",
        "last_offset=0, last_step=spent, failures=0)",
        "last_offset=0, last_step=step - 1, failures=0)",
        f"{A}replay.py::test_google_authenticator_libpam_resync_spends_both_codes",
    ),
    Planted(
        "weblate 21485: an enrollment code signs in",
        "rules.py",
        "last_step=spent, budget=policy.budget",
        "last_step=-1, budget=policy.budget",
        f"{A}replay.py::test_weblate_21485_enrollment_codes_are_refused_at_login",
    ),
    Planted(
        "the first match in the window is spent",
        "rules.py",
        "newest = max(",
        "newest = min(",
        f"{A}replay.py::test_first_match_in_the_window_steps_that_share_a_code_are_spent_together",
    ),
    # throttling
    Planted(
        "Vikunja CVE-2026-35597: told before it is committed",
        "registry.py",
        "            if made.principal is before or self._store",
        "            if isinstance(made.answer, Exception):\n                notify(self._observer, made)\n"
        "                made.settle()\n            if made.principal is before or self._store",
        f"{A}throttling.py::test_vikunja_cve_2026_35597_a_failure_is_committed_before_it_is_raised",
    ),
    Planted(
        "a wrong guess is told although it could not be counted",
        "registry.py",
        "            if made.principal is before or self._store",
        "            try:\n                pass\n            finally:\n"
        "                if isinstance(made.answer, Exception):\n"
        "                    made.settle()\n            if made.principal is before or self._store",
        f"{A}throttling.py::test_right_guess_disclosed_by_the_commits_failure_right_and_wrong_raise_alike",
    ),
    Planted(
        "django-otp: 2**n without a cap",
        "policy.py",
        "min(self.delay_seconds << min(over, 32), self.delay_cap)",
        "int(self.delay_seconds * 1.5e10**over)",
        f"{A}throttling.py::test_django_otp_backoff_is_capped_and_never_overflows",
    ),
    Planted(
        "django-otp 110: an attempt is everybody's",
        "stores/memory.py",
        "self._records[after.id] = after",
        "self._records = {w: __import__('dataclasses').replace(p, revision=p.revision + 1)"
        " for w, p in self._records.items()} | {after.id: after}",
        f"{A}throttling.py::test_django_otp_110_only_the_addressed_device_changes",
    ),
    Planted(
        "privacyIDEA 2243: guesses at once are not counted one by one",
        "registry.py",
        "self._store.commit(before, made",
        LATE_AND_BLIND,
        f"{A}throttling.py::test_privacyidea_2243_parallel_guesses_do_not_pass_the_limit",
    ),
    Planted(
        "privacyIDEA 2243: two devices by enrolling at once",
        "registry.py",
        "self._store.commit(before, made",
        LATE_AND_BLIND,
        f"{A}throttling.py::test_privacyidea_2243_parallel_confirmations_assign_one_device",
    ),
    Planted(
        "keycloak 46164: patience buys guesses for ever",
        "rules.py",
        "budget = tokens - 1",
        "budget = tokens",
        f"{A}throttling.py::test_keycloak_46164_patient_guessing_exhausts_the_budget",
    ),
    Planted(
        "resync as an oracle: failures are not counted",
        "rules.py",
        'return _failed(before, case, device, errors.PairRejected("these are not two fresh consecutive codes"))',
        'raise errors.PairRejected("these are not two fresh consecutive codes")',
        f"{A}throttling.py::test_wide_resync_window_answers_all_wrong_pairs_alike",
    ),
    Planted(
        "resync as an oracle: one code is enough",
        "rules.py",
        "if s - 1 in firsts and here",
        "if here",
        f"{A}throttling.py::test_wide_resync_window_answers_all_wrong_pairs_alike",
    ),
    Planted(
        "the throttle is reset by enrolling again",
        "access.py",
        "Action.DEACTIVATE: _MANAGERS | {_S.SELF_MFA, _S.SUPPORT}",
        "Action.DEACTIVATE: _MANAGERS | _OWNER | {_S.SUPPORT}",
        f"{A}throttling.py::test_throttle_is_not_reset_by_enrolling_again",
    ),
    Planted(
        "passlib: a window of thousands",
        "otp.py",
        "MAX_WINDOW = 100",
        "MAX_WINDOW = 10**9",
        f"{A}throttling.py::test_passlib_a_window_of_thousands_is_refused",
    ),
    Planted(
        "passlib: a policy of thousands",
        "otp.py",
        '        raise InvalidValue(f"{name} is {low} to {high}")',
        "        pass",
        f"{A}throttling.py::test_passlib_a_window_of_thousands_is_refused",
    ),
    Planted(
        "PyJWT: a misspelt option is ignored",
        "values.py",
        'raise InvalidValue(f"{type(self).__name__} has no',
        'continue\n                raise InvalidValue(f"{type(self).__name__} has no',
        f"{A}throttling.py::test_pyjwt_options_a_misspelled_policy_is_refused",
    ),
    # time
    Planted(
        "django-otp: drift walks",
        "rules.py",
        "if side and side == device.last_offset and near:",
        "if side:",
        f"{A}time.py::test_django_otp_drift_does_not_walk",
    ),
    Planted(
        "a relay walks the drift without a bound",
        "rules.py",
        "if side and side == device.last_offset and near:",
        "if side and side == device.last_offset:",
        f"{A}time.py::test_drift_walked_by_a_relay_is_limited_to_two_steps",
    ),
    Planted(
        "the clock stepped back is the user's fault",
        "rules.py",
        "if case.now < before.seen_at - parameters_of(before, case.policy).period:",
        "if False:",
        f"{A}time.py::test_clock_stepped_back_raises_and_counts_nothing",
    ),
    Planted(
        "re-anchoring brings spent codes back",
        "rules.py",
        "failed_at=min(device.failed_at, now), budget_updated_at",
        "failed_at=min(device.failed_at, now), last_step=-1, budget_updated_at",
        f"{A}time.py::test_clock_set_right_again_does_not_accept_spent_codes",
    ),
    Planted(
        "four codes filmed: a pair from before the last code",
        "rules.py",
        "and s - 1 > after]",
        "]",
        f"{A}time.py::test_four_codes_filmed_an_old_pair_is_refused",
    ),
    Planted(
        "home-assistant 181369: enrollment is stricter than signing in",
        "rules.py",
        "sync = Sync.IN_SYNC if abs(off) <= policy.window else Sync.OUT_OF_SYNC",
        "sync = Sync.IN_SYNC if off == 0 else Sync.OUT_OF_SYNC",
        f"{A}time.py::test_home_assistant_181369_enrollment_and_login_share_one_policy",
    ),
    Planted(
        "home-assistant 181369: blanks at one of two doors",
        "rules.py",
        "pair = normalize_code(code1, digits), normalize_code(code2, digits)\n    session",
        "pair = code1, code2\n    session",
        f"{A}time.py::test_home_assistant_181369_enrollment_and_login_read_codes_alike",
    ),
    # who may
    Planted(
        "AWS-2023-001: a password alone removes the device",
        "access.py",
        "Action.DEACTIVATE: _MANAGERS | {_S.SELF_MFA, _S.SUPPORT}",
        "Action.DEACTIVATE: _MANAGERS | _OWNER | {_S.SUPPORT}",
        f"{A}permission.py::test_aws_2023_001_a_password_alone_cannot_remove_the_device",
    ),
    Planted(
        "an administrator without MFA",
        "access.py",
        "if not mfa or target.is_root:",
        "if target.is_root:",
        f"{A}permission.py::test_an_administrators_stolen_password_removes_no_device",
    ),
    Planted(
        "a session outlives the stolen phone",
        "access.py",
        "and device.serial == claim.serial",
        "",
        f"{A}permission.py::test_a_session_signed_in_with_the_stolen_phone_loses_its_claim_with_the_phone",
    ),
    Planted(
        "AppWallet: a key is not bound to its owner",
        "keysource.py",
        "ref.material, principal.account, principal.kind,\n                         principal.name,",
        "ref.material,",
        f"{A}permission.py::test_passlib_appwallet_a_stored_key_is_bound_to_its_owner",
    ),
    Planted(
        "two spellings: one name in any case",
        "stores/memory.py",
        "return self._records.get(principal) or",
        "return {w.name.lower(): p for w, p in self._records.items()}.get(principal.name.lower()) or",
        f"{A}permission.py::test_two_spellings_of_one_name_are_refused_or_are_two_principals",
    ),
    Planted(
        "two spellings: NFD is another name",
        "values.py",
        'if not is_normalized("NFC", value):',
        "if False:",
        f"{A}permission.py::test_two_spellings_nfd_is_refused_where_nfc_is_accepted",
    ),
    Planted(
        "any session confirms",
        "rules.py",
        "if session is None or not _same_text(session.session_id, session_id):",
        "if session is None:",
        f"{A}permission.py::test_a_session_of_another_principal_is_unknown",
    ),
    # secrets and rows
    Planted(
        "MISP 10116: a printed key",
        "keys.py",
        'return f"<{type(self).__name__}>"',
        'return f"<{type(self).__name__} {[getattr(self, s, None) for s in self.__slots__]}>"',
        f"{A}secrets_and_rows.py::test_misp_10116_printable_values_hold_no_key",
    ),
    Planted(
        "MISP 10116: the answer that shows the key is printed",
        "keys.py",
        'return f"<{type(self).__name__}>"',
        'return f"<{type(self).__name__} {[getattr(self, s, None) for s in self.__slots__]}>"',
        f"{A}secrets_and_rows.py::test_misp_10116_the_opened_enrollment_prints_no_key",
    ),
    Planted(
        "the reference outlives the device",
        "rules.py",
        "enrollment=None, device=None, key_ref=None)",
        "enrollment=None, device=None)",
        f"{A}secrets_and_rows.py::test_a_row_written_back_after_deactivation_needs_the_reference_that_no_history"
        "_holds",
    ),
    Planted(
        "a row is not bound to its principal",
        "record.py",
        "who.account, who.kind, who.name, principal.revision, document",
        "principal.revision, document",
        f"{A}secrets_and_rows.py::test_a_row_written_back_under_another_principal_is_refused",
    ),
    Planted(
        "an edited row is believed",
        "record.py",
        "if not intact:",
        "if False:",
        f"{A}secrets_and_rows.py::test_parameters_and_counters_edited_in_the_database_are_refused",
    ),
    Planted(
        "a wrong master key is a wrong code",
        "keysource.py",
        'raise UnknownMasterKey("a record was made under a master key that this process was not given")',
        "return self._prks[self.current_id]",
        f"{A}secrets_and_rows.py::test_wrong_master_key_deployed_raises_before_a_failure_is_counted",
    ),
    # the law's core sentences
    Planted(
        "SEED-TWO: two codes with a gap",
        "rules.py",
        "if s - 1 in firsts and here",
        "if s - 2 in firsts and here",
        "tests/rules/test_enrollment.py",
    ),
    Planted(
        "SEED-TWO: one step too wide",
        "rules.py",
        "<= s <= here + forward and",
        "<= s <= here + forward + 1 and",
        "tests/rules/test_enrollment.py",
    ),
    Planted(
        "SEED-LATE: late is in sync",
        "rules.py",
        "sync = Sync.IN_SYNC if abs(off) <= policy.window else Sync.OUT_OF_SYNC",
        "sync = Sync.IN_SYNC",
        "tests/rules/test_enrollment.py",
    ),
    Planted(
        "SEED-LATE: out of sync is verified",
        "rules.py",
        "if device.sync is Sync.OUT_OF_SYNC:",
        "if False:",
        "tests/rules/test_verify.py",
    ),
    Planted(
        "SEED-RESYNC: drift accumulates",
        "rules.py",
        "drift = 0 if abs(off) <= policy.window else off",
        "drift = device.drift + off",
        "tests/rules/test_resync.py",
    ),
    Planted(
        "SEED-RESYNC: it refills the budget",
        "rules.py",
        "last_offset=0, last_step=spent, failures=0)",
        "last_offset=0, last_step=spent, failures=0, budget=policy.budget)",
        "tests/rules/test_budget.py",
    ),
    Planted(
        "SEED-ONE: a second device",
        "rules.py",
        'raise errors.DeviceAlreadyAssigned("this principal has a device: deactivate',
        'print("this principal has a device: deactivate',
        "tests/rules/test_enrollment.py",
    ),
    Planted(
        "SEED-ROOT: an administrator enrolls root",
        "access.py",
        "Action.OPEN: _OWNER,  # SEED-ROOT",
        "Action.OPEN: _OWNER | _MANAGERS,",
        "tests/rules/test_permissions.py",
    ),
    Planted(
        "SEED-RECOVER: one proof is enough",
        "access.py",
        "fresh = unused and all(",
        "fresh = unused and any(",
        "tests/rules/test_recovery.py",
    ),
    Planted(
        "SEED-RECOVER: a proof counts twice",
        "access.py",
        "and min(actor.proofs) > record.recovered_at",
        "",
        "tests/rules/test_recovery.py",
    ),
    Planted(
        "SEED-RECOVER: one of two proofs counts twice",
        "access.py",
        "min(actor.proofs) >",
        "max(actor.proofs) >",
        "tests/rules/test_recovery.py",
    ),
    Planted(
        "throttled, and evaluated",
        "rules.py",
        "if wait > 0:",
        "if False:",
        "tests/rules/test_throttle.py",
    ),
    Planted(
        "disabled, and evaluated",
        "rules.py",
        "if device.disabled:  #",
        "if False:  #",
        "tests/rules/test_throttle.py",
    ),
    Planted(
        "the budget is refilled by a success",
        "rules.py",
        "drift=drift, last_offset=last_offset, failures=0)",
        "drift=drift, last_offset=last_offset, failures=0, budget=case.policy.budget)",
        "tests/rules/test_budget.py",
    ),
    Planted(
        "a session never ends by its attempts",
        "rules.py",
        "if attempts < case.policy.session_attempts:",
        "if True:",
        "tests/rules/test_enrollment.py",
    ),
    Planted(
        "an expired session is open",
        "rules.py",
        "case.now < before.enrollment.expires_at",
        "True",
        "tests/rules/test_enrollment.py",
    ),
    Planted(
        "the binding code counts for ever",
        "rules.py",
        "if case.now >= binding.expires_at or not",
        "if not",
        "tests/rules/test_binding_code.py",
    ),
    Planted(
        "an import overwrites a device",
        "rules.py",
        'raise errors.DeviceAlreadyAssigned("this principal has a device: an import never overwrites one")',
        "pass",
        "tests/rules/test_adopt_forget.py",
    ),
    Planted(
        "the chain of the history does not chain",
        "events.py",
        "_message(numbered, head))",
        '_message(numbered, ""))',
        "tests/unit/test_events.py",
    ),
    # SQL
    Planted(
        "SQLite: the revision is not compared",
        "stores/sqlite.py",
        'AND name = ? AND revision = ? AND tag = ?"\n)\nDELETE',
        'AND name = ? AND (revision = ? OR 1) AND tag = ?"\n)\nDELETE',
        "tests/contract/test_our_stores.py",
    ),
    Planted(
        "SQLite: the tag is not compared",
        "stores/sqlite.py",
        'AND revision = ? AND tag = ?"\n)\nDELETE',
        'AND revision = ? AND (tag = ? OR 1)"\n)\nDELETE',
        "tests/contract/test_our_stores.py",
    ),
    Planted(
        "SQLite: the first record overwrites",
        "stores/sqlite.py",
        "ON CONFLICT DO NOTHING",
        "ON CONFLICT (account, kind, name) DO UPDATE SET state = excluded.state, tag = excluded.tag",
        "tests/contract/test_our_stores.py",
    ),
    Planted(
        "SQLite: not durable",
        "stores/sqlite.py",
        'else "FULL"',
        'else "NORMAL"',
        "tests/stores/test_sqlite.py",
    ),
    Planted(
        "SQLite: a destroyed key stays in the file",
        "stores/sqlite.py",
        "secure_delete = ON",
        "secure_delete = OFF",
        "tests/stores",
    ),
    Planted(
        "SQLite: the connection goes through a fork",
        "stores/sqlite.py",
        "        store._disconnect()  # noqa: SLF001\n\n\ndef _after",
        "\n\ndef _after",
        "tests/stores/test_sqlite_processes.py",
    ),
]


def outcome(tree: Path, test: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        test,
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("VMFA_")
    }
    environment |= {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        return "hung"
    if done.returncode in (4, 5):
        return f"not a test: {test}"
    return "passed" if done.returncode == 0 else "failed"


def plant(tree: Path, planted: Planted) -> str:
    """What became of the defect: 'caught', or what is wrong."""
    path = tree / "src" / "vmfa" / planted.file
    sound = path.read_text("utf-8")
    if sound.count(planted.old) < 1:
        return "the source no longer reads so"
    broken = sound.replace(planted.old, planted.new, 1)
    path.write_text(broken, "utf-8")
    try:
        compile(broken, str(path), "exec")
        found = outcome(tree, planted.test)
    finally:
        path.write_text(sound, "utf-8")
    return {"failed": "caught", "hung": "caught", "passed": "NOT CAUGHT"}.get(found, found)


def main() -> int:
    words = sys.argv[1:]
    chosen = [each for each in PLANTED if all(word.lower() in each.name.lower() for word in words)]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="vmfa-planted-") as scratch:
        tree = Path(scratch) / "tree"
        left_out = shutil.ignore_patterns(
            ".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache", "dist", "build"
        )
        shutil.copytree(ROOT, tree, ignore=left_out)
        for test in sorted({each.test for each in chosen}):
            if (found := outcome(tree, test)) != "passed":
                bad += 1
                print(f"{found} without any defect: {test}")
        for each in chosen:
            found = plant(tree, each)
            bad += found != "caught"
            print(f"{found:12} {each.name:75} {each.test.removeprefix('tests/')}", flush=True)
        if not words:
            named = {each.test for each in PLANTED}
            for path in sorted((tree / "tests" / "advisory").glob("test_*.py")):
                for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE):
                    if f"tests/advisory/{path.name}::{name}" not in named:
                        bad += 1
                        print(f"nothing is planted for {path.name}::{name}")
    print(f"{len(chosen)} defects planted, {bad} complaints")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
