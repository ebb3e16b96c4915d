"""What is expected of a rollout before it starts, from recorded traffic and the gate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from daemon.live_evidence import InSlice
from daemon.outlook import outlook
from daemon.power_table import Assumed, power_table
from daemon.store import Store, cycles, exchanges, feedback
from daemon.traffic_rates import recent_rates
from deploy.power import Outlook, forecast
from deploy.rollout import RolloutConfig
from monitors.gate import Check, GateReason, GateResult
from streams.events import Message, Trust
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said

NOW = 100_000.0
MATURITY_S = 600.0
CONFIG = RolloutConfig(maturity_s=MATURITY_S)


def cycle(began: float, **data: Any) -> cycles.Cycle:
    return cycles.Cycle("c1", "support", "a1", "gating", True, "trained", data, began, began)


def gated(new: float | None, old: float | None) -> GateResult:
    checks = tuple(
        Check(name=name, reason=GateReason.PASSED, n=100, estimate=estimate, bound=0.0, margin=0.0, ok=True)
        for name, estimate in (("new", new), ("old", old))
    )
    return GateResult(verdict="pass", reason=GateReason.PASSED, checks=checks)


def record(store: Store, ages: list[float], rated: int, trust: Trust = Trust.TOKEN, first: int = 0) -> None:
    """A session at each age in seconds; of the oldest ``rated``, three in four are content."""
    sent = [exchange(first + n, received_at=NOW - age) for n, age in enumerate(sorted(ages, reverse=True))]
    spoken = [
        said(first + n, x.exchange_id, value=n % 4 != 0, trust=trust, sent_at=x.received_at + 5.0)
        for n, x in enumerate(sent[:rated])
    ]
    with store.begin() as tx:
        exchanges.insert_new(tx, sent)
        feedback.insert_new(tx, spoken)


def expected(store: Store, began: float = 0.0, new: float | None = 0.4, old: float | None = -0.01) -> Outlook:
    return outlook(store, "support", cycle(began, slice=None), gated(new, old), NOW, CONFIG)


def about_refunds(_slice: object) -> InSlice:
    return lambda prompt: prompt.startswith("refund")


def test_rates_and_variance_are_those_that_power_shows(store: Store) -> None:
    record(store, [1000.0 + 10.0 * n for n in range(200)], rated=80)
    found = expected(store)
    assert found.units_per_s == pytest.approx(80 / 2990.0)
    assert found.sessions_per_s == pytest.approx(200 / 2990.0)
    assert found.reward_variance == pytest.approx((2.5 + 15.0) / 89.0), "sixty of eighty, and a coin thrown ten times"
    assert (found.gain_in_slice, found.gain_overall, found.slice_share) == (0.4, 0.4, 1.0)
    with store.read() as read:
        seen = recent_rates(read, "support", NOW, MATURITY_S)
    assert seen is not None and seen.reward_variance is not None
    basis = Assumed(seen.sessions_per_hour, seen.feedback_rate, seen.reward_variance)
    row = power_table(basis, (0.4,), (), CONFIG)["rows"][0]
    assert row["hours_promoted"] == pytest.approx(forecast(found, CONFIG).seconds / 3600.0)


def test_sessions_that_may_still_be_rated_do_not_lower_the_rate(store: Store) -> None:
    record(store, [700.0 + 10.0 * n for n in range(200)], rated=100)
    before = expected(store).units_per_s / expected(store).sessions_per_s
    record(store, [1.0 + n for n in range(500)], rated=0, first=1000)
    after = expected(store)
    assert before == after.units_per_s / after.sessions_per_s == 0.5
    assert after.sessions_per_s == pytest.approx(700 / 2690.0), "but they are sessions"


def test_with_little_recorded_the_newest_are_counted_as_they_are(store: Store) -> None:
    record(store, [10.0 + n for n in range(50)], rated=20)
    found = expected(store)
    assert found.units_per_s / found.sessions_per_s == pytest.approx(0.4)


def test_a_busy_deployment_is_judged_by_sessions_that_had_their_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.traffic_rates.MOST", 120)
    record(store, [2.0 * n for n in range(1, 601)], rated=301)
    found = expected(store)
    assert found.sessions_per_s == pytest.approx(0.5, rel=0.02)
    assert found.units_per_s == pytest.approx(0.5, rel=0.02), "every session of an age of 600 s and more was rated"


def test_bare_and_late_feedback_is_no_evidence_to_come(store: Store) -> None:
    record(store, [1000.0 + n for n in range(150)], rated=150, trust=Trust.BARE)
    assert expected(store).units_per_s == 0.0
    with store.begin() as tx:
        feedback.insert_new(tx, [said(900 + n, f"x{n}", sent_at=NOW - 1149.0 + n + 601.0) for n in range(150)])
    assert expected(store).units_per_s == 0.0
    assert not forecast(expected(store), CONFIG).reaches(CONFIG.deadline_s)


def test_without_traffic_nothing_is_in_reach(store: Store) -> None:
    found = expected(store)
    assert (found.units_per_s, found.slice_share, found.reward_variance) == (0.0, 0.0, 0.25)
    assert not forecast(found, CONFIG).reaches(CONFIG.deadline_s)


def test_the_share_of_the_slice_is_that_of_new_sessions_since_the_cycle_began(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.outlook.membership", about_refunds)
    record(store, [2000.0 + n for n in range(300)], rated=0)
    refund = (Message(role="user", content="refund please"),)
    new = [
        exchange(1000 + n, received_at=NOW - 900.0 + n, **({"messages": refund} if n % 4 else {})) for n in range(80)
    ]
    # a second turn says nothing of where a session belongs
    new += [exchange(2000, received_at=NOW - 100.0, session="s1000", messages=refund)]
    with store.begin() as tx:
        exchanges.insert_new(tx, new)
    found = outlook(store, "support", cycle(NOW - 1000.0), gated(0.4, -0.08), NOW, CONFIG)
    assert found.slice_share == 0.75
    assert found.gain_overall == pytest.approx(0.4 * 0.75 - 0.08 * 0.25)
    later = outlook(store, "support", cycle(NOW - 1.0), gated(0.4, 0.08), NOW, CONFIG)
    assert later.slice_share == pytest.approx(60 / 380), "nothing came since: the day tells"
    assert later.gain_overall == pytest.approx(0.4 * later.slice_share), "a gain outside of the slice is not counted on"


def test_without_an_estimate_a_small_gain_is_expected(store: Store) -> None:
    record(store, [1000.0 + n for n in range(150)], rated=150)
    assert expected(store, new=None, old=None).gain_in_slice == 0.05


def test_twenty_people_cannot_give_the_units_of_a_verdict(store: Store) -> None:
    """A thousand rated sessions a day, of which a rollout counts sixty: it would end inconclusive after a week."""
    record_of(store, 20, [NOW - 80_000.0 + 80.0 * n for n in range(990)])
    assert expected(store).people == math.inf, "only a day is recorded: others may come on the days after"
    record_of(store, 20, [NOW - CONFIG.deadline_s - 5.0], first=2_000)
    found = forecast(expected(store), CONFIG)
    assert found.most_units == pytest.approx(60.0)
    assert found.units_small + found.units_half > 60.0 and not found.reaches(CONFIG.deadline_s)
    many = forecast(replace(expected(store), people=1_000.0), CONFIG)
    assert many.reaches(CONFIG.deadline_s)


def test_people_who_come_once_a_week_are_all_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [NOW - CONFIG.deadline_s - 5.0 + CONFIG.deadline_s / 700.0 * n for n in range(700)]
    record_of(store, 233, times)
    assert expected(store).people == 233.0
    monkeypatch.setattr(exchanges, "MOST_COUNTED", 500)
    assert expected(store).people == math.inf, "too many exchanges to count: such a deployment has people enough"


def record_of(store: Store, people: int, times: list[float], first: int = 0) -> None:
    """Rated sessions at these times, of so many people in turn."""
    sent = [exchange(first + n, received_at=at, identity=f"i{n % people}") for n, at in enumerate(times)]
    with store.begin() as tx:
        exchanges.insert_new(tx, sent)
        feedback.insert_new(
            tx, [said(first + n, x.exchange_id, sent_at=x.received_at + 5.0) for n, x in enumerate(sent)]
        )
