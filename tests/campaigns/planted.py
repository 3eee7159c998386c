"""Plant defects that this field has shipped, and check that the tests against them fail.

    python tests/campaigns/planted.py             # all defects, some minutes
    python tests/campaigns/planted.py vault       # those whose name contains a word
    python tests/campaigns/planted.py --check     # only check that each can be planted

Each defect replaces the first match of a regular expression in a copy of the tree. The command
fails if a defect is not caught, if its test fails without it, if its pattern matches nothing, or
if a test in ``tests/advisory`` catches no defect.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
CODES = "tests/advisory/test_codes.py::"
KEYURI = "tests/advisory/test_key_uri_advisories.py::"
PERMISSION = "tests/advisory/test_permission.py::"
REPLAY = "tests/advisory/test_replay.py::"
ROWS = "tests/advisory/test_secrets_and_rows.py::"
THROTTLING = "tests/advisory/test_throttling.py::"
TIME = "tests/advisory/test_time.py::"


class Defect(NamedTuple):
    name: str
    file: str  # in src/vmfa
    pattern: str  # a regular expression
    replacement: str  # a template of re.sub
    test: str


DEFECTS = [
    # What is a code
    Defect(
        "django-otp: digits of other scripts",
        "otp.py", r"compact\.isascii\(\) and compact\.isdigit\(\)", "compact.isdigit()",
        f"{CODES}test_django_otp_int_of_token_only_ascii_digits_are_a_code",
    ),
    Defect(
        "pyotp 22: any text is compared",
        "otp.py", r" and compact\.isascii\(\) and compact\.isdigit\(\)", "",
        f"{CODES}test_pyotp_22_fullwidth_digits_raise_a_named_error",
    ),
    Defect(
        "authlib: the offset from byte 19",
        "otp.py", r"mac\[-1\] & 0x0F", "mac[19] & 0x0F",
        f"{CODES}test_authlib_offset_19_the_offset_is_in_the_last_byte_for_every_hash",
    ),
    Defect(
        "cryptography: time before T0",
        "otp.py", r"if step < 0:", "if False:",
        f"{CODES}test_cryptography_totp_steps_are_floored_integers_and_start_at_t0",
    ),
    Defect(
        "cryptography: a period of 0 s",
        "otp.py", r"if not 0 < period <= COUNTER_LIMIT", "if not -30 <= period <= COUNTER_LIMIT",
        f"{CODES}test_cryptography_totp_steps_are_floored_integers_and_start_at_t0",
    ),
    Defect(
        "pyotp: datetimes through mktime",
        "otp.py", r'raise InvalidType\("a time must be [^)]*\)"?\)?',
        "return int(at.timestamp()) if hasattr(at, 'timestamp') else int(at or 0)",
        f"{CODES}test_pyotp_datetimes_are_refused",
    ),
    Defect(
        "pquerna 97: a counter wraps",
        "otp.py", r'check_int\("counter", counter, 0, COUNTER_LIMIT - 1\)',
        "counter %= COUNTER_LIMIT",
        f"{CODES}test_pquerna_otp_97_a_counter_does_not_wrap",
    ),
    Defect(
        "hectorm: HOTP looks back",
        "otp.py", r"window_steps\(counter, 0,", "window_steps(counter, 1,",
        f"{CODES}test_hectorm_otpauth_hotp_looks_ahead_only",
    ),
    Defect(
        "totp-rs: the scan stops at the first match",
        "otp.py", r"return (\[step for step, candidate in [^\n]*\])",
        "return next("
        "([step] for step in candidates if compare_digest(candidates[step], code)), [])",
        f"{CODES}test_totp_rs_cve_2022_29185_every_candidate_is_computed_and_compared",
    ),
    # Key URIs
    Defect(
        "pyotp parse_uri: the last of two secrets wins",
        "keyuri.py", r"if name in \w+ and name in _KNOWN:", "if False:",
        f"{KEYURI}test_pyotp_parse_uri_invalid_fields_are_refused_by_name",
    ),
    Defect(
        "pyotp parse_uri: digits of other scripts",
        "keyuri.py", r"text\.isascii\(\) and text\.isdigit\(\)", "text.isdigit()",
        f"{KEYURI}test_pyotp_parse_uri_invalid_fields_are_refused_by_name",
    ),
    # Replay
    Defect(
        "Vault CVE-2025-6014: used codes are remembered as typed",
        "rules.py", r"    code = normalize_code\(code, ([^\n]*)\)\n",
        r"    typed, code = code, normalize_code(code, \1)\n"
        r"    if code != typed:\n"
        r"        before = replace(before, device=replace(before.device, last_step=-1))\n",
        f"{REPLAY}test_vault_cve_2025_6014_a_padded_code_is_the_same_code",
    ),
    Defect(
        "Gitea CVE-2026-20779: a second login path does not consume",
        "registry.py", r"if decision\.principal is before or ",
        "if decision.principal is before or self.operations.issuer == 'Git' or ",
        f"{REPLAY}test_gitea_cve_2026_20779_every_login_path_consumes_the_code",
    ),
    Defect(
        "Vikunja CVE-2026-33473: no replay state",
        "rules.py", r"if newest > device\.last_step:", "if matches:",
        f"{REPLAY}test_vikunja_cve_2026_33473_a_code_is_accepted_once",
    ),
    Defect(
        "logto 9109: the slower writer wins",
        "stores/memory.py", r"if current is not before and [^\n]*:", "if False:",
        f"{REPLAY}test_logto_9109_the_slower_writer_cannot_lower_the_step",
    ),
    Defect(
        "multiOTP 261: drift in seconds",
        "rules.py", r"step_at\(ctx\.now\) \+ device\.drift", "step_at(ctx.now + device.drift)",
        f"{REPLAY}test_multiotp_261_drift_and_position_are_counted_in_steps",
    ),
    Defect(
        "devise-two-factor 106: only the last code is spent",
        "rules.py", r"if newest > device\.last_step:",
        "if matches and newest != device.last_step:",
        f"{REPLAY}test_devise_two_factor_106_a_spent_code_stays_spent_in_the_whole_window",
    ),
    Defect(
        "allauth: replay state expires after a period",
        "rules.py", r"if newest > device\.last_step:",
        "if newest > device.last_step or (matches and ctx.now >= before.seen_at + 30):",
        f"{REPLAY}test_allauth_replay_state_does_not_expire",
    ),
    Defect(
        "django-otp: check and save apart",
        "stores/memory.py", r"if current is not before and [^\n]*:", "if False:",
        f"{REPLAY}test_django_otp_two_loaded_copies_accept_once",
    ),
    Defect(
        "privacyIDEA GHSA-qq2p: the statement compares nothing",
        "stores/sqlite.py", r"AND revision = \? AND tag = \?",
        "AND (revision = ? OR tag = ? OR 1)",
        f"{REPLAY}test_privacyidea_ghsa_qq2p_without_row_locks_one_of_many_is_accepted",
    ),
    Defect(
        "privacyIDEA: the first code of the pair may be the last one used",
        "guards.py", r"and step - 1 > after", "and step > after",
        f"{REPLAY}test_privacyidea_resync_both_codes_are_after_the_last_step",
    ),
    Defect(
        "libpam: resync spends one code of two",
        "rules.py", r"last_offset=0, last_step=spent,", "last_offset=0, last_step=step - 1,",
        f"{REPLAY}test_google_authenticator_libpam_resync_spends_both_codes",
    ),
    Defect(
        "weblate 21485: an enrollment code signs in",
        "rules.py", r"last_step=spent, budget=", "last_step=-1, budget=",
        f"{REPLAY}test_weblate_21485_enrollment_codes_are_refused_at_login",
    ),
    Defect(
        "the first match in the window is spent",
        "rules.py", r"newest = max\(", "newest = min(",
        f"{REPLAY}test_first_match_in_the_window_steps_that_share_a_code_are_spent_together",
    ),
    # Throttling
    Defect(
        "Vikunja CVE-2026-35597: the answer leaves before its commit",
        "registry.py", r"(\n +)if decision\.principal is before or ",
        r"\1if isinstance(decision.answer, Exception):"
        r"\1    notify(self._observer, decision)\1    decision.settle()"
        r"\1if decision.principal is before or ",
        f"{THROTTLING}test_vikunja_cve_2026_35597_a_failure_is_committed_before_it_is_raised",
    ),
    Defect(
        "a wrong guess is answered although it could not be counted",
        "registry.py", r"(\n +)if decision\.principal is before or ",
        r"\1if isinstance(decision.answer, Exception):\1    decision.settle()"
        r"\1if decision.principal is before or ",
        f"{THROTTLING}test_right_guess_disclosed_by_the_commits_failure_all_raise_alike",
    ),
    Defect(
        "django-otp: 2**n without a cap",
        "policy.py", r"min\(self\.delay_seconds << min\((\w+), 32\), self\.delay_cap\)",
        r"int(self.delay_seconds * 1.5e10**\1)",
        f"{THROTTLING}test_django_otp_backoff_is_capped_and_never_overflows",
    ),
    Defect(
        "django-otp 110: an attempt changes all devices",
        "stores/memory.py", r"self\._records\[after\.id\] = \(after, history\)",
        "self._records = {who: (__import__('dataclasses').replace(row[0], revision=9), row[1])"
        " for who, row in self._records.items()} | {after.id: (after, history)}",
        f"{THROTTLING}test_django_otp_110_only_the_addressed_device_changes",
    ),
    Defect(
        "privacyIDEA 2243: parallel guesses are not counted one by one",
        "registry.py", r"self\._store\.commit\(\s*before,",
        "time.sleep(0.1) or self._store.commit(self._store.load(before.id),",
        f"{THROTTLING}test_privacyidea_2243_parallel_guesses_do_not_pass_the_limit",
    ),
    Defect(
        "privacyIDEA 2243: two devices by parallel enrollment",
        "registry.py", r"self\._store\.commit\(\s*before,",
        "time.sleep(0.1) or self._store.commit(self._store.load(before.id),",
        f"{THROTTLING}test_privacyidea_2243_parallel_confirmations_assign_one_device",
    ),
    Defect(
        "keycloak 46164: patience buys guesses without end",
        "throttle.py", r"budget=max\(budget - 1, 0\)", "budget=budget",
        f"{THROTTLING}test_keycloak_46164_patient_guessing_exhausts_the_budget",
    ),
    Defect(
        "resync as an oracle: failures are not counted",
        "rules.py", r"return _failed\(before, ctx, device, client, rejected\)", "raise rejected",
        f"{THROTTLING}test_wide_resync_window_answers_all_wrong_pairs_alike",
    ),
    Defect(
        "resync as an oracle: one code is enough",
        "guards.py", r"if step - 1 in firsts and ", "if ",
        f"{THROTTLING}test_wide_resync_window_answers_all_wrong_pairs_alike",
    ),
    Defect(
        "the throttle is reset by enrolling again",
        "access.py", r"\| \{_R\.OWNER_MFA, _R\.OWNER_RECOVERY_CODE, _R\.SUPPORT\}",
        "| _OWNER | {_R.SUPPORT}",
        f"{THROTTLING}test_throttle_is_not_reset_by_enrolling_again",
    ),
    Defect(
        "passlib: a window of thousands",
        "otp.py", r"MAX_WINDOW(: Final)? = 100", r"MAX_WINDOW\1 = 10**9",
        f"{THROTTLING}test_passlib_a_window_of_thousands_is_refused",
    ),
    Defect(
        "passlib: a policy of thousands",
        "otp.py", r'raise InvalidValue\(f"\{name\} must be \{low\} to \{high\}"\)', "pass",
        f"{THROTTLING}test_passlib_a_window_of_thousands_is_refused",
    ),
    Defect(
        "PyJWT: a misspelled option is ignored",
        "policy.py", r"if unknown:",
        "changes = {name: changes[name] for name in changes.keys() - unknown}\n        if False:",
        f"{THROTTLING}test_pyjwt_options_a_misspelled_policy_is_refused",
    ),
    # Time
    Defect(
        "django-otp: drift walks",
        "rules.py", r"if offset and offset == device\.last_offset and near:", "if offset:",
        f"{TIME}test_django_otp_drift_does_not_walk",
    ),
    Defect(
        "a relay walks the drift without a bound",
        "rules.py", r"if offset and offset == device\.last_offset and near:",
        "if offset and offset == device.last_offset:",
        f"{TIME}test_drift_walked_by_a_relay_is_limited_to_two_steps",
    ),
    Defect(
        "a clock that stepped back counts failures",
        "guards.py", r"if behind > [^\n]*:", "if False:",
        f"{TIME}test_clock_stepped_back_raises_and_counts_nothing",
    ),
    Defect(
        "re-anchoring accepts spent codes",
        "maintenance.py", r"( +)failed_at=min\(device\.failed_at, now\),",
        r"\1failed_at=min(device.failed_at, now),\n\1last_step=-1,",
        f"{TIME}test_clock_set_right_again_does_not_accept_spent_codes",
    ),
    Defect(
        "four codes filmed: a pair from before the last code",
        "guards.py", r" and step - 1 > after", "",
        f"{TIME}test_four_codes_filmed_an_old_pair_is_refused",
    ),
    Defect(
        "home-assistant 181369: enrollment is stricter than login",
        "rules.py", r"Sync\.IN_SYNC if abs\(offset\) <= policy\.window else",
        "Sync.IN_SYNC if offset == 0 else",
        f"{TIME}test_home_assistant_181369_enrollment_and_login_share_one_policy",
    ),
    Defect(
        "home-assistant 181369: blanks are accepted in one place only",
        "rules.py",
        r"codes = normalize_code\(code1, lengths\), normalize_code\(code2, lengths\)\n    session",
        "codes = code1, code2\n    session",
        f"{TIME}test_home_assistant_181369_enrollment_and_login_read_codes_alike",
    ),
    # Permission
    Defect(
        "AWS-2023-001: a password alone removes the device",
        "access.py", r"\| \{_R\.OWNER_MFA, _R\.OWNER_RECOVERY_CODE, _R\.SUPPORT\}",
        "| _OWNER | {_R.SUPPORT}",
        f"{PERMISSION}test_aws_2023_001_a_password_alone_cannot_remove_the_device",
    ),
    Defect(
        "an administrator without MFA",
        "access.py", r"if not (has_)?mfa or target\.is_root:", "if target.is_root:",
        f"{PERMISSION}test_an_administrators_stolen_password_removes_no_device",
    ),
    Defect(
        "a session outlives the stolen phone",
        "access.py", r" and device\.serial == claim\.serial", "",
        f"{PERMISSION}test_a_session_signed_in_with_the_stolen_phone_loses_its_claim",
    ),
    Defect(
        "AppWallet: a key is not bound to its owner",
        "keysources/derived.py",
        r"ref\.material, principal\.account, principal\.kind,\s*principal\.name,", "ref.material,",
        f"{PERMISSION}test_passlib_appwallet_a_stored_key_is_bound_to_its_owner",
    ),
    Defect(
        "two spellings: one name in any case",
        "stores/memory.py", r"row = self\._records\.get\(principal\)",
        "row = {who.name.lower(): row for who, row in self._records.items()}"
        ".get(principal.name.lower())",
        f"{PERMISSION}test_two_spellings_of_one_name_are_refused_or_are_two_principals",
    ),
    Defect(
        "two spellings: NFD is another name",
        "validators.py", r'if not is_normalized\("NFC", value\):', "if False:",
        f"{PERMISSION}test_two_spellings_nfd_is_refused_where_nfc_is_accepted",
    ),
    Defect(
        "any session id is accepted",
        "guards.py", r"if session is None or not recovery\.same_text\([^\n]*\):",
        "if session is None:",
        f"{PERMISSION}test_a_session_of_another_principal_is_unknown",
    ),
    # Secrets and rows
    Defect(
        "MISP 10116: a key is printed",
        "keys.py", r'return f"<\{type\(self\)\.__name__\}>"',
        'return f"<{type(self).__name__} {[getattr(self, s, None) for s in self.__slots__]}>"',
        f"{ROWS}test_misp_10116_printable_values_hold_no_key",
    ),
    Defect(
        "MISP 10116: the opened enrollment is printed",
        "keys.py", r'return f"<\{type\(self\)\.__name__\}>"',
        'return f"<{type(self).__name__} {[getattr(self, s, None) for s in self.__slots__]}>"',
        f"{ROWS}test_misp_10116_the_opened_enrollment_prints_no_key",
    ),
    Defect(
        "the key reference outlives the device",
        "guards.py", r"enrollment=None, device=None, key_ref=None\)",
        "enrollment=None, device=None)",
        f"{ROWS}test_a_row_written_back_after_deactivation_lacks_the_destroyed_nonce",
    ),
    Defect(
        "a row is not bound to its principal",
        "record.py", r"\w+\.account, \w+\.kind, \w+\.name,\s*principal\.revision, document",
        "principal.revision, document",
        f"{ROWS}test_a_row_written_back_under_another_principal_is_refused",
    ),
    Defect(
        "an edited row is accepted",
        "record.py", r"if not intact:", "if False:",
        f"{ROWS}test_parameters_and_counters_edited_in_the_database_are_refused",
    ),
    Defect(
        "a wrong master key is tampering",
        "keysources/base.py",
        r"if key_id not in self\._authenticating:",
        "if key_id not in self._prks:\n            return False\n"
        "        if key_id not in self._authenticating:",
        f"{ROWS}test_wrong_master_key_deployed_raises_before_a_failure_is_counted",
    ),
    # Rules
    Defect(
        "SEED-TWO: two codes with a gap",
        "guards.py", r"if step - 1 in firsts", "if step - 2 in firsts",
        "tests/rules/test_enrollment.py",
    ),
    Defect(
        "SEED-TWO: one step too wide",
        "guards.py", r"<= step <= current \+ forward", "<= step <= current + forward + 1",
        "tests/rules/test_enrollment.py",
    ),
    Defect(
        "SEED-LATE: late is in sync",
        "rules.py", r"Sync\.IN_SYNC if abs\(offset\) <= policy\.window else Sync\.OUT_OF_SYNC",
        "Sync.IN_SYNC",
        "tests/rules/test_enrollment.py",
    ),
    Defect(
        "SEED-LATE: out of sync is verified",
        "rules.py", r"if device\.sync is Sync\.OUT_OF_SYNC:", "if False:",
        "tests/rules/test_verify.py",
    ),
    Defect(
        "SEED-RESYNC: drift accumulates",
        "rules.py", r"drift = 0 if abs\(offset\) <= policy\.window else offset",
        "drift = device.drift + offset",
        "tests/rules/test_resync.py",
    ),
    Defect(
        "SEED-RESYNC: it refills the budget",
        "rules.py", r"last_offset=0, last_step=spent,",
        "last_offset=0, last_step=spent, budget=policy.budget,",
        "tests/rules/test_budget.py",
    ),
    Defect(
        "SEED-ONE: a second device",
        "rules.py", r'raise errors\.DeviceAlreadyAssigned\("this', 'print("this',
        "tests/rules/test_enrollment.py",
    ),
    Defect(
        "SEED-ROOT: an administrator enrolls root",
        "access.py", r"Action\.OPEN: _OWNER,", "Action.OPEN: _OWNER | _MANAGERS,",
        "tests/test_access.py",
    ),
    Defect(
        "SEED-RECOVER: one proof is enough",
        "access.py", r"fresh = all\(", "fresh = any(",
        "tests/rules/test_recovery.py",
    ),
    Defect(
        "SEED-RECOVER: a proof counts twice",
        "access.py", r"unused = oldest > record\.recovered_at", "unused = True",
        "tests/rules/test_recovery.py",
    ),
    Defect(
        "SEED-RECOVER: the newer proof decides",
        "access.py", r"oldest = min\(actor\.proofs\)", "oldest = max(actor.proofs)",
        "tests/rules/test_recovery.py",
    ),
    Defect(
        "throttled codes are evaluated",
        "throttle.py", r"if delay_wait > 0:", "if False:",
        "tests/rules/test_throttle.py",
    ),
    Defect(
        "codes of a disabled device are evaluated",
        "throttle.py", r"if device\.disabled:", "if False:",
        "tests/rules/test_throttle.py",
    ),
    Defect(
        "an empty budget is evaluated",
        "throttle.py", r"if spare <= 0:", "if False:",
        "tests/rules/test_budget.py",
    ),
    Defect(
        "a success refills the budget",
        "rules.py", r"last_step=step, drift=drift,",
        "last_step=step, budget=ctx.policy.budget, drift=drift,",
        "tests/rules/test_budget.py",
    ),
    Defect(
        "known clients: the lane without a token never closes",
        "throttle.py", r"device\.failures >= policy\.failure_cap - reserve",
        "False",
        "tests/rules/test_lanes.py",
    ),
    Defect(
        "known clients: a failure with a token is counted without one",
        "throttle.py", r"if client is None or ", "if True or ",
        "tests/rules/test_lanes.py",
    ),
    Defect(
        "known clients: a token of another principal is known",
        "clients.py", r"if not authentic or ", "if ",
        "tests/rules/test_lanes.py",
    ),
    Defect(
        "recovery codes: every code is right",
        "recovery.py", r"return any\(", "return bool(digests) or any(",
        "tests/rules/test_recovery_codes.py",
    ),
    Defect(
        "mark_spent lowers last_step",
        "maintenance.py", r"if spent <= device\.last_step:", "if spent == device.last_step:",
        "tests/rules/test_mark_spent.py",
    ),
    Defect(
        "a session has unlimited attempts",
        "rules.py", r"if attempts < ctx\.policy\.session_attempts:", "if True:",
        "tests/rules/test_enrollment.py",
    ),
    Defect(
        "an expired session stays open",
        "guards.py", r"if session is None or ctx\.now < session\.expires_at:", "if True:",
        "tests/rules/test_enrollment.py",
    ),
    Defect(
        "the binding code does not expire",
        "rules.py", r"if ctx\.now >= binding\.expires_at or not", "if not",
        "tests/rules/test_binding_code.py",
    ),
    Defect(
        "an import overwrites a device",
        "maintenance.py", r"raise errors\.DeviceAlreadyAssigned\(", "str(",
        "tests/rules/test_adopt_forget.py",
    ),
    Defect(
        "the history is not chained",
        "history.py", r"principal\.name, number, before,", 'principal.name, number, "",',
        "tests/test_history.py",
    ),
    # SQL
    Defect(
        "SQLite: the revision is not compared",
        "stores/sqlite.py", r"AND revision = \? AND tag = \?",
        "AND (revision = ? OR 1) AND tag = ?",
        "tests/contract/test_our_stores.py",
    ),
    Defect(
        "SQLite: the tag is not compared",
        "stores/sqlite.py", r"AND revision = \? AND tag = \?",
        "AND revision = ? AND (tag = ? OR 1)",
        "tests/contract/test_our_stores.py",
    ),
    Defect(
        "SQLite: the first record overwrites",
        "stores/sqlite.py", r"ON CONFLICT DO NOTHING",
        "ON CONFLICT (account, kind, name)"
        " DO UPDATE SET state = excluded.state, tag = excluded.tag",
        "tests/contract/test_our_stores.py",
    ),
    Defect(
        "SQLite: not durable",
        "stores/sqlite.py", r'else "FULL"', 'else "NORMAL"',
        "tests/stores/test_sqlite.py",
    ),
    Defect(
        "SQLite: a destroyed key stays in the file",
        "stores/sqlite.py", r"secure_delete = ON", "secure_delete = OFF",
        "tests/stores",
    ),
    Defect(
        "SQLite: the connection is used after a fork",
        "stores/sqlite.py", r"(os\.register_at_fork)\(", r"(lambda **hooks: None)(",
        "tests/stores/test_sqlite_processes.py",
    ),
]  # fmt: skip


def run_test(tree: Path, test: str) -> str:
    """Run *test* in *tree*; return "passed", "failed", "hung" or what is wrong with the test."""
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=line",
        "-p", "no:cacheprovider", test,
    ]  # fmt: skip
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
        return "is not a test"
    return "passed" if done.returncode == 0 else "failed"


def planted(source: str, defect: Defect) -> str:
    """Return *source* with the defect.

    :raises ValueError: the pattern matches nothing, or the result is not Python.
    """
    broken, count = re.subn(defect.pattern, defect.replacement, source, count=1)
    if not count:
        raise ValueError(f"the pattern {defect.pattern!r} matches nothing in {defect.file}")
    if broken == source:
        raise ValueError(f"the replacement changes nothing in {defect.file}")
    try:
        compile(broken, defect.file, "exec")
    except SyntaxError as error:
        raise ValueError(f"{defect.file} does not compile with the defect: {error}") from None
    return broken


def outcome(tree: Path, defect: Defect) -> str:
    """Plant the defect and return "caught" or "NOT CAUGHT"."""
    path = tree / "src" / "vmfa" / defect.file
    source = path.read_text("utf-8")
    path.write_text(planted(source, defect), "utf-8")
    try:
        result = run_test(tree, defect.test)
    finally:
        path.write_text(source, "utf-8")
    return {"failed": "caught", "hung": "caught", "passed": "NOT CAUGHT"}.get(result, result)


def problems() -> list[str]:
    """Return what is wrong with the table: defects that cannot be planted, and missing tests."""
    found = []
    for defect in DEFECTS:
        try:
            planted((ROOT / "src" / "vmfa" / defect.file).read_text("utf-8"), defect)
        except (OSError, ValueError) as error:
            found.append(f"{defect.name}: {error}")
        file, _, function = defect.test.partition("::")
        path = ROOT / file
        if not path.exists() or (function and f"def {function}(" not in path.read_text("utf-8")):
            found.append(f"{defect.name}: there is no test {defect.test}")
    tests = {defect.test for defect in DEFECTS}
    for path in sorted((ROOT / "tests" / "advisory").glob("test_*.py")):
        functions = re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        found += [
            f"no defect is planted for {path.name}::{function}"
            for function in functions
            if f"tests/advisory/{path.name}::{function}" not in tests
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="plant defects whose name contains these")
    parser.add_argument("--check", action="store_true", help="check the table and run no test")
    options = parser.parse_args()
    wrong = problems()
    print("\n".join(wrong) or "every defect can be planted", flush=True)
    if options.check:
        return 1 if wrong else 0
    words = [word.lower() for word in options.words]
    chosen = [defect for defect in DEFECTS if all(word in defect.name.lower() for word in words)]
    bad = len(wrong)
    with tempfile.TemporaryDirectory(prefix="vmfa-planted-") as scratch:
        tree = Path(scratch) / "tree"
        ignored = shutil.ignore_patterns(
            ".git", ".venv*", "*.egg-info", "__pycache__", ".*_cache", "dist", "build"
        )
        shutil.copytree(ROOT, tree, ignore=ignored)
        for test in sorted({defect.test for defect in chosen}):
            if (result := run_test(tree, test)) != "passed":
                bad += 1
                print(f"{result} without any defect: {test}", flush=True)
        for defect in chosen:
            try:
                result = outcome(tree, defect)
            except (OSError, ValueError):
                continue  # reported above
            bad += result != "caught"
            print(f"{result:12} {defect.name:65} {defect.test.removeprefix('tests/')}", flush=True)
    print(f"{len(chosen)} defects planted, {bad} problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
