"""The circuit breaker by itself, against a model, under a clock that the test moves."""

from __future__ import annotations

import math

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from sillar.config import BreakerConfig
from sillar.errors import ConfigurationError
from sillar.pool.breaker import BreakerState, CircuitBreaker, Permit

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
FORCED, DISABLED = BreakerState.FORCED_OPEN, BreakerState.DISABLED


class Time:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class Chance:
    """Random numbers that the test chooses: ``share`` of the way from the lower to the upper end."""

    def __init__(self) -> None:
        self.share = 1.0

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.share


def breaker_of(clock: Time, chance: Chance | None = None, **settings: object) -> CircuitBreaker:
    return CircuitBreaker(BreakerConfig(**settings), clock=clock, random=chance or Chance(), name="node")


class Breakers(RuleBasedStateMachine):
    """Any sequence of calls, outcomes, interventions and pauses, beside a model that keeps a plain list of outcomes."""

    permits = Bundle("permits")

    @initialize(
        window=st.integers(1, 6),
        minimum=st.integers(1, 6),
        rate=st.sampled_from([0.2, 0.5, 1.0]),
        patience=st.sampled_from([0.0, 2.0]),
        probes=st.integers(1, 3),
        enabled=st.sampled_from([True, True, True, False]),
    )
    def begin(self, window: int, minimum: int, rate: float, patience: float, probes: int, enabled: bool) -> None:
        self.clock, self.chance = Time(), Chance()
        self.config = BreakerConfig(
            enabled=enabled,
            window_calls=window,
            minimum_calls=min(minimum, window),
            failure_rate=rate,
            patience=patience,
            open_seconds=1.0,
            open_seconds_max=4.0,
            half_open_probes=probes,
            probe_timeout=3.0,
        )
        self.breaker = CircuitBreaker(self.config, clock=self.clock, random=self.chance, name="node")
        self.changes: list[tuple[BreakerState, BreakerState]] = []
        self.breaker.on_change.append(lambda old, new, reason: self.changes.append((old, new)))
        self.passing = CLOSED if enabled else DISABLED
        # the model
        self.state = self.passing
        self.outcomes: list[bool] = []  # since it was closed
        self.high_since: float | None = None
        self.until = 0.0
        self.closed_at = 0.0
        self.openings_in_a_row = 0
        self.openings = 0
        self.probes: dict[Permit, float] = {}
        self.probes_succeeded = 0
        self.owners: dict[Permit, int] = {}  # in which period each was given
        self.period = 0

    # --- the model ---

    def move(self, state: BreakerState) -> None:
        self.state = state
        self.period += 1
        self.probes, self.probes_succeeded = {}, 0
        if state in (CLOSED, DISABLED):
            self.outcomes, self.high_since, self.closed_at = [], None, self.clock.now
        elif state is not HALF_OPEN:
            self.openings += 1

    def trip(self) -> None:
        if self.state is CLOSED and self.clock.now - self.closed_at > 4.0:
            self.openings_in_a_row = 0
        ceiling = min(4.0, 2.0**self.openings_in_a_row)
        self.openings_in_a_row += 1
        self.until = self.clock.now + ceiling * (0.5 + 0.5 * self.chance.share)
        self.move(OPEN)

    def probe_failed(self) -> None:
        if self.config.enabled:
            self.trip()
        else:
            self.move(DISABLED)

    def pass_time(self) -> None:
        if self.state in (OPEN, FORCED) and self.until <= self.clock.now:
            self.move(HALF_OPEN)
        elif self.state is HALF_OPEN and any(at + 3.0 <= self.clock.now for at in self.probes.values()):
            self.probe_failed()

    def outcome(self, succeeded: bool) -> None:
        if self.state is not CLOSED:
            return
        self.outcomes.append(succeeded)
        if succeeded:
            return
        window = self.outcomes[-self.config.window_calls :]
        if len(window) < self.config.minimum_calls or window.count(False) / len(window) < self.config.failure_rate:
            self.high_since = None
            return
        if self.high_since is None:
            self.high_since = self.clock.now
        if self.clock.now - self.high_since >= self.config.patience:
            self.trip()

    # --- what may happen ---

    @rule(target=permits)
    def enter(self) -> object:
        self.pass_time()
        may = self.state in (CLOSED, DISABLED) or (
            self.state is HALF_OPEN and len(self.probes) + self.probes_succeeded < self.config.half_open_probes
        )
        permit = self.breaker.enter()
        assert (permit is not None) == may
        if permit is None:
            return multiple()
        self.owners[permit] = self.period
        if self.state is HALF_OPEN:
            self.probes[permit] = self.clock.now
        return permit

    @rule(permit=permits)
    def succeed(self, permit: Permit) -> None:
        self.pass_time()
        if self.owners.pop(permit, None) == self.period:  # else it is void, or was told before
            if self.state is HALF_OPEN:
                del self.probes[permit]
                self.probes_succeeded += 1
                if self.probes_succeeded == self.config.half_open_probes:
                    self.move(self.passing)
            else:
                self.outcome(True)
        permit.succeeded()

    @rule(permit=permits)
    def fail(self, permit: Permit) -> None:
        self.pass_time()
        if self.owners.pop(permit, None) == self.period:
            if self.state is HALF_OPEN:
                self.probe_failed()
            else:
                self.outcome(False)
        permit.failed("ConnectionLostError")

    @rule(permit=consumes(permits))
    def give_back(self, permit: Permit) -> None:
        self.pass_time()
        if self.owners.pop(permit, None) == self.period:
            self.probes.pop(permit, None)
        permit.give_back()

    @rule(count=st.integers(1, 4))
    def succeed_without_permits(self, count: int) -> None:
        if self.state is CLOSED:
            self.breaker.calls += count
            self.outcomes.extend([True] * count)

    @rule()
    def fail_without_permit(self) -> None:
        self.breaker.record_failure("ConnectError")
        self.outcome(False)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.state is CLOSED)
    @rule()
    def break_down(self) -> None:
        for _ in range(12):
            self.fail_without_permit()
            self.clock.now += 0.3
            self.pass_time()
            self.breaker.refresh()

    @precondition(lambda self: self.state in (OPEN, FORCED) and not math.isinf(self.until))
    @rule()
    def sleep_until_it_is_tried(self) -> None:
        self.clock.now = max(self.clock.now, self.until)

    @precondition(lambda self: self.state is HALF_OPEN)
    @rule()
    def probe_well(self) -> None:
        permit = self.enter()
        if isinstance(permit, Permit):
            self.succeed(permit)

    @rule(share=st.sampled_from([0.0, 0.5, 1.0]))
    def roll(self, share: float) -> None:
        self.chance.share = share

    @rule(seconds=st.sampled_from([None, 0.5, 3.0]))
    def open_by_hand(self, seconds: float | None) -> None:
        self.pass_time()
        self.breaker.refresh()
        self.breaker.open("maintenance", seconds)
        self.until = math.inf if seconds is None else self.clock.now + seconds
        self.move(FORCED)

    @rule()
    def close_by_hand(self) -> None:
        self.pass_time()
        self.breaker.refresh()
        self.breaker.close()
        self.openings_in_a_row = 0
        if self.state is self.passing:
            self.outcomes, self.high_since = [], None
        else:
            self.move(self.passing)

    # --- what always holds ---

    @invariant()
    def they_agree(self) -> None:
        self.pass_time()
        assert self.breaker.state is self.state
        assert self.breaker.openings_total == self.openings
        assert len(self.probes) + self.probes_succeeded <= self.config.half_open_probes
        if self.state is CLOSED:
            window = self.outcomes[-self.config.window_calls :]
            assert self.breaker.window == (window.count(False), len(window))
        retry = self.breaker.retry_after_seconds
        if self.state in (CLOSED, DISABLED):
            assert retry == 0
        elif self.state is HALF_OPEN:
            begun = min(self.probes.values(), default=None)
            assert retry == pytest.approx(0.0 if begun is None else begun + 3.0 - self.clock.now)
        elif math.isinf(self.until):
            assert retry is None
        else:
            assert retry == pytest.approx(self.until - self.clock.now)

    @invariant()
    def every_change_was_told(self) -> None:
        assert len(self.changes) == self.period
        assert all(old is before for (_, before), (old, _) in zip(self.changes, self.changes[1:], strict=False))
        assert not self.changes or self.changes[-1][1] is self.state


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_burst_of_failures_opens_only_when_it_lasts() -> None:
    clock = Time()
    breaker = breaker_of(clock)  # the defaults
    for _ in range(50):  # everything that was open is lost in the same moment
        breaker.record_failure("ConnectionLostError")
    clock.now += 1.9
    breaker.record_failure("ConnectError")
    assert breaker.state is CLOSED
    clock.now += 0.2
    breaker.record_failure("ConnectError")
    assert breaker.state is OPEN
    assert breaker.reason == "50 of the last 50 calls failed, the last one with: ConnectError"


def test_the_open_time_doubles_with_jitter_and_is_forgotten_after_a_good_while() -> None:
    clock, chance = Time(), Chance()
    breaker = breaker_of(clock, chance, patience=0, minimum_calls=1, half_open_probes=1, open_seconds_max=4)

    def open_seconds() -> float | None:
        breaker.record_failure("ConnectError")
        return breaker.retry_after_seconds

    assert open_seconds() == 1
    for expected, share in ((1.0, 0.0), (4.0, 1.0), (3.0, 0.5)):  # of at most 2, 4 and 4 s
        clock.now = breaker._until
        chance.share = share
        permit = breaker.enter()
        assert permit is not None
        permit.failed("ConnectError")
        assert breaker.retry_after_seconds == pytest.approx(expected)
    clock.now = breaker._until
    permit = breaker.enter()
    assert permit is not None
    permit.succeeded()
    assert breaker.state is CLOSED
    chance.share = 1.0
    assert open_seconds() == 4  # it closed just now: no new beginning
    clock.now += 4
    permit = breaker.enter()
    assert permit is not None
    permit.succeeded()
    clock.now += 4.1
    assert open_seconds() == 1
    breaker.close()
    assert open_seconds() == 1  # by hand: a new beginning


def test_a_rate_that_was_low_in_between_has_to_stay_high_anew() -> None:
    clock = Time()
    breaker = breaker_of(clock, window_calls=4, minimum_calls=1, patience=2)
    breaker.record_failure("ConnectError")
    breaker.calls += 3
    clock.now += 1
    breaker.record_failure("ConnectError")  # one of the last four: low
    clock.now += 1.5
    breaker.record_failure("ConnectError")  # two of them: high again
    assert breaker.state is CLOSED
    clock.now += 2
    breaker.record_failure("ConnectError")
    assert breaker.state is OPEN


def test_an_outcome_that_comes_late_is_void_though_nobody_looked_in_between() -> None:
    clock = Time()
    breaker = breaker_of(clock, patience=0, minimum_calls=1, half_open_probes=1, probe_timeout=3)
    breaker.record_failure("ConnectError")
    clock.now += 1
    permit = breaker.enter()
    assert permit is not None
    clock.now += 3
    permit.succeeded()
    assert breaker.state is OPEN


def test_a_hung_probe_fails_when_its_time_is_over() -> None:
    clock = Time()
    breaker = breaker_of(clock, patience=0, minimum_calls=1, half_open_probes=2, probe_timeout=3)
    breaker.record_failure("ConnectError")
    clock.now += 1
    hung, quick = breaker.enter(), breaker.enter()
    assert hung is not None
    assert quick is not None
    assert breaker.enter() is None
    quick.succeeded()
    assert breaker.enter() is None, "no third probe, though one is back"
    clock.now += 3
    assert breaker.state is OPEN
    assert breaker.reason == "a probe was not answered within probe_timeout=3 s"
    hung.succeeded()  # too late
    assert breaker.state is OPEN
    assert breaker.refused_total == 2


def test_a_permit_that_is_given_back_may_be_had_by_another() -> None:
    clock = Time()
    breaker = breaker_of(clock, patience=0, minimum_calls=1, half_open_probes=1)
    breaker.record_failure("ConnectError")
    clock.now += 1
    cancelled = breaker.enter()
    assert cancelled is not None
    cancelled.give_back()
    cancelled.give_back()  # counts once
    other = breaker.enter()
    assert other is not None
    assert breaker.enter() is None
    other.succeeded()
    assert breaker.state is CLOSED


def test_listeners_are_told_and_cannot_do_harm() -> None:
    clock = Time()
    breaker = breaker_of(clock)
    told: list[tuple[BreakerState, BreakerState, str]] = []

    def fall_over(old: BreakerState, new: BreakerState, reason: str) -> None:
        raise RuntimeError("boom")

    breaker.on_change += [fall_over, lambda old, new, reason: told.append((old, new, reason))]
    with structlog.testing.capture_logs() as logs:
        breaker.open("maintenance", seconds=5)
    assert told == [(CLOSED, FORCED, "maintenance")]
    assert [log["event"] for log in logs] == ["circuit breaker", "a listener to a circuit breaker failed"]
    assert repr(breaker) == "<CircuitBreaker of 'node': forced_open, 0 of 0 calls failed>"
    assert breaker.opened_seconds == 0
    clock.now += 5
    assert breaker.state is HALF_OPEN


def test_disabled_it_opens_by_hand_only() -> None:
    breaker = breaker_of(Time(), enabled=False, patience=0, minimum_calls=1)
    for _ in range(100):
        breaker.record_failure("ConnectError")
    assert breaker.state is DISABLED
    breaker.open("maintenance")
    assert breaker.enter() is None
    breaker.close()
    assert breaker.state is DISABLED


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        BreakerConfig(window_calls=5, minimum_calls=6, open_seconds=3, open_seconds_max=2)
    assert "6 is above window_calls (5); raise window_calls to 6 or lower minimum_calls" in str(caught.value)
    assert "2.0 is below open_seconds (3); raise open_seconds_max to 3 or lower open_seconds" in str(caught.value)
