"""A policy is consistent or cannot be constructed; none overflows or scans without end."""

from __future__ import annotations

from hypothesis import given, strategies as st

from vmfa import InvalidType, InvalidValue, Parameters, Policy
from vmfa.otp import MAX_WINDOW, window_steps
from vmfa.policy import DAY

small = st.one_of(st.integers(0, 12), st.integers(-2, 110))
large = st.one_of(st.integers(60, 100), st.integers(-2, 12_000), st.integers(DAY - 2, 400 * DAY))
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.text(max_size=3),
    st.just(()),
    st.just((Parameters(),)),
)
NAMES = {
    **dict.fromkeys(
        [
            "window",
            "enroll_back",
            "enroll_forward",
            "resync_back",
            "resync_forward",
            "login_drift",
            "session_attempts",
            "enrollments_per_day",
            "delay_from",
            "failure_cap",
            "known_client_reserve",
            "recovery_codes",
        ],
        small,
    ),
    **dict.fromkeys(
        [
            "session_seconds",
            "delay_seconds",
            "delay_cap",
            "budget",
            "budget_refill",
            "budget_warning",
            "claim_seconds",
            "recovery_seconds",
            "binding_code_seconds",
            "client_token_seconds",
        ],
        large,
    ),
}


def is_consistent(policy: Policy) -> bool:
    """Return whether windows nest, waits and the budget fit, and nothing is negative."""
    return (
        0 <= policy.window <= min(policy.enroll_back, policy.enroll_forward)
        and policy.enroll_back <= policy.resync_back <= MAX_WINDOW
        and policy.enroll_forward <= policy.resync_forward <= MAX_WINDOW
        and 0 < policy.delay_seconds <= policy.delay_cap <= DAY
        and 0 < policy.failure_cap <= 100
        and 0 <= policy.budget_warning < policy.budget
        and all(
            type(getattr(policy, name)) is int and getattr(policy, name) >= 0 for name in NAMES
        )
        and policy.known_client_reserve < min(policy.budget, policy.failure_cap)
        and len(policy.offers) > 0
    )


@given(st.fixed_dictionaries({}, optional=NAMES))
def test_a_policy_is_consistent_or_refused(numbers):
    """RFC6238-6-LIMIT: "a specific limit to the number of time steps a prover can be "out of
    synch"".
    """
    try:
        policy = Policy(known_clients=True, **numbers)
    except InvalidValue:
        return
    assert is_consistent(policy)
    assert all(getattr(policy, name) == value for name, value in numbers.items())
    assert Policy(known_clients=True).replace(**numbers) == policy


@st.composite
def consistent(draw: st.DrawFn) -> dict[str, int]:
    """Draw numbers that fit together by construction."""
    window = draw(st.integers(0, 10))
    numbers = {"window": window}
    for side in ("back", "forward"):
        numbers[f"enroll_{side}"] = draw(st.integers(window, MAX_WINDOW))
        numbers[f"resync_{side}"] = draw(st.integers(numbers[f"enroll_{side}"], MAX_WINDOW))
    numbers["delay_seconds"] = draw(st.integers(1, DAY))
    numbers["delay_cap"] = draw(st.integers(numbers["delay_seconds"], DAY))
    numbers["budget"] = draw(st.integers(2, 10_000))
    numbers["failure_cap"] = draw(st.integers(2, 100))
    smallest = min(numbers["budget"], numbers["failure_cap"])
    numbers["known_client_reserve"] = draw(st.integers(1, smallest - 1))
    numbers["budget_warning"] = draw(st.integers(0, numbers["budget"] - 1))
    return numbers


@given(consistent())
def test_every_consistent_policy_is_accepted(numbers):
    """RFC4226-7.4-S: "s SHOULD be set as low as possible": the service sets it, within bounds."""
    assert is_consistent(Policy(known_clients=True, **numbers))


@given(
    st.sampled_from(sorted({*NAMES, "binding_code_required", "offers", "windows", ""})), anything
)
def test_wrong_names_and_types_are_refused(name, value):
    """A misspelled name or a value of another type is refused, never ignored."""
    try:
        assert is_consistent(Policy().replace(**{name: value}))
    except (InvalidType, InvalidValue):
        return
    assert name in ("binding_code_required", "offers")


@given(
    st.integers(1, 100),
    st.integers(1, DAY),
    st.integers(1, DAY),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
def test_the_delay_grows_and_is_capped(delay_from, one, other, failures, more):
    """RFC4226-7.3-DELAY: "would wait for an increased T*A number of seconds": never longer than
    the cap.
    """
    policy = Policy(
        delay_from=delay_from, delay_seconds=min(one, other), delay_cap=max(one, other)
    )
    assert 0 <= policy.delay(failures) <= policy.delay(failures + more) <= policy.delay_cap
    assert bool(policy.delay(failures)) == (failures >= delay_from)


@given(st.integers(0, 2**64 - 1), st.integers(0, MAX_WINDOW), st.integers(0, MAX_WINDOW))
def test_no_policy_scans_more_than_202_steps(here, back, forward):
    """RFC4226-7.4-S: "ensures the server does not go on checking HOTP values forever"."""
    steps = window_steps(here, back + 1, forward)
    assert here in steps
    assert 1 <= len(steps) <= 202
    assert steps[0] >= 0
    assert steps[-1] < 2**64
