"""Label requests as values and on a store: when one ends, what counts for it, and which exchanges are wanted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from daemon.asking import Asking
from daemon.config import Config
from daemon.label_requests import ENDS, MOST_KEPT, MOST_OPEN, LabelRequest, for_rollout, load, looked_at, save, with_new
from daemon.store import Store, alarms, exchanges, feedback, ledger, suspended
from daemon.wanted_labels import most_informative, wanted
from deploy.power import Forecast, Outlook
from deploy.rollout import RolloutConfig
from monitors.metrics import Metrics
from streams.events import Message, Trust
from tests.daemon.asked import NOW, OPEN, alarm, slice_about
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said

# ----------------------------------------------------------------------------------------------------- as values


@pytest.mark.parametrize(
    ("got", "promoted_at", "now", "end"),
    [
        (9, None, 199.0, ""),
        (10, None, 150.0, "labels_satisfied"),
        (9, None, 200.0, "labels_timed_out"),
        (10, None, 200.0, "labels_satisfied"),
        (0, 101.0, 150.0, "labels_superseded"),
        (0, 99.0, 150.0, ""),
    ],
)
def test_a_request_ends_with_a_name(got: int, promoted_at: float | None, now: float, end: str) -> None:
    after = looked_at(OPEN, got, promoted_at, now)
    assert (after.end, after.got, after.ended_at) == (end, got, now if end else None)
    assert after.left == (0 if end else 10 - got)
    assert looked_at(after, 99, None, 10**9) == after or not end
    assert LabelRequest.from_dict(json.loads(json.dumps(after.to_dict()))) == after
    assert end in ("", *ENDS)


def test_what_needs_none_ends_at_once() -> None:
    assert looked_at(replace(OPEN, needed=0), 0, None, 101.0).end == "labels_enough"


def test_a_few_are_open_at_a_time_and_a_few_are_remembered() -> None:
    known: list[LabelRequest] = []
    for n in range(MOST_KEPT + 5):
        known = with_new(known, replace(OPEN, id=f"labels-{n}", alarm=f"a{n}"))
        assert sum(r.open for r in known) <= MOST_OPEN
    assert len(known) == MOST_KEPT and known[-1].open
    again = with_new(known, replace(OPEN, id="new", alarm=known[-1].alarm))
    assert [r.end for r in again if r.alarm == known[-1].alarm] == ["labels_superseded", ""]


def test_a_rollout_asks_for_what_traffic_does_not_bring_before_the_deadline() -> None:
    config = RolloutConfig(deadline_s=10_000.0)
    outlook = Outlook(0.1, 0.1, 1.0, 0.25, units_per_s=0.1)
    assert for_rollout(Forecast(400.0, 600.0, 0.0, 2000.0, 0.0), outlook, config) == 200
    assert for_rollout(Forecast(400.0, math.inf, math.inf, 2000.0, 0.0), outlook, config) is None
    short = config.model_copy(update={"deadline_s": 1000.0})
    assert for_rollout(Forecast(400.0, 600.0, 0.0, 2000.0, 0.0), outlook, short) is None


def test_the_list_goes_in_rounds_over_users_and_takes_a_session_once() -> None:
    loud = [exchange(n, identity="loud", session=f"l{n}") for n in range(50, 60)]
    quiet = [exchange(n, identity=f"q{n}", session=f"q{n}") for n in range(3)]
    twice = [exchange(n, identity="q2", session="q2") for n in (10, 11)]
    found = most_informative([*loud, *quiet, *twice], most=50, per_identity=3)
    assert [x.exchange_id for x in found] == ["x59", "x11", "x1", "x0", "x58", "x57"]
    assert [x.exchange_id for x in most_informative([*quiet, *loud], most=2, per_identity=3)] == ["x59", "x2"]


# ------------------------------------------------------------------------------------------------------ on a store


def asks(store: Store, **options: Any) -> Asking:
    config = Config.model_validate({"cycle": {"min_labels": 10, "min_selected": 5}, **options})
    return Asking(store, config, lambda: NOW, Metrics(CollectorRegistry()))


def test_only_unrated_exchanges_of_the_slice_are_wanted(store: Store) -> None:
    parcel = (Message(role="user", content="parcel"),)
    with store.begin() as tx:
        told = [
            exchange(1, messages=parcel),
            exchange(2, messages=parcel),
            exchange(3, messages=parcel, status=500),
            exchange(4, messages=parcel, arm="holdback"),
            exchange(5),
            exchange(6, messages=parcel),
        ]
        exchanges.insert_new(tx, told)
        feedback.insert_new(tx, [said(1, "x1"), said(6, "x6", trust=Trust.BARE)])
        about = slice_about("parcel")
        alarms.insert_new(tx, [alarm(1000.0, about=about)])
        save(tx, [replace(OPEN, slice=about.digest), replace(OPEN, id="over", end="labels_timed_out")], NOW)
    with store.read() as read:
        found = wanted(read, load(read), Config(), NOW)
    assert [one.exchange_id for one in found] == ["x6", "x2"], "a thumb without a token rates nothing"
    assert {one.request for one in found} == {"labels-1"}
    assert all(len(one.session) == 12 and one.session not in ("s2", "s6") for one in found)


def test_there_may_be_enough_already_and_suspended_ones_do_not_count(store: Store) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n) for n in range(12)])
        feedback.insert_new(tx, [said(n, f"x{n}") for n in range(12)])
        suspended.add(tx, "r1", [f"x{n}" for n in range(5)], 1.0)
    asking = asks(store)
    asking.for_alarm(alarm(1000.0))
    with store.read() as read:
        assert [r.needed for r in load(read)] == [3]
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n) for n in range(20, 23)])
        feedback.insert_new(tx, [said(n, f"x{n}", sent_at=NOW) for n in range(20, 23)])
    asking.tick()
    with store.read() as read:
        assert [r.end for r in load(read)] == ["labels_satisfied"]


def test_a_restart_counts_on_and_the_ledger_has_the_whole_of_it(store: Store) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n) for n in range(8)])
    asks(store).for_alarm(alarm(1000.0))
    for upto in (4, 8):
        with store.begin() as tx:
            said_now = [said(n, f"x{n}", sent_at=NOW, trust=Trust.PRODUCER) for n in range(upto)]
            feedback.insert_new(tx, said_now)
        asking = asks(store)
        asking.tick()
        with store.read() as read:
            (request,) = load(read)
        assert (request.got, request.left) == (upto, 10 - upto)
    late = Asking(store, Config(), lambda: NOW + 86400.0, Metrics(CollectorRegistry()))
    late.tick()
    with store.read() as read:
        told = [e for e in ledger.of_subject(read, "a1") if e.kind == "labels"]
    assert [e.reason for e in told] == ["labels_asked", "labels_timed_out"]
    assert {k: told[1].data[k] for k in ("alarm", "verdict", "needed", "got")} == {
        "alarm": "a1", "verdict": "training", "needed": 10, "got": 8,
    }  # fmt: skip


def test_changed_feedback_asks_for_what_tells_its_cause(store: Store) -> None:
    asking = asks(store, join={"window_s": 100.0})
    asking.for_alarm(alarm(1000.0, kind="feedback"))
    with store.begin() as tx:
        told = [
            exchange(n, received_at=at, completed_at=at) for n, at in enumerate((NOW - 9.0, NOW - 50.0, NOW - 101.0))
        ]
        exchanges.insert_new(tx, told)
    with store.read() as read:
        listed_now = wanted(read, load(read), Config.model_validate({"join": {"window_s": 100.0}}), NOW)
    assert [one.exchange_id for one in listed_now] == ["x0", "x1"], "nobody counts what is said of the third"
    with store.begin() as tx:
        down = said(1, "x1", value=False, sent_at=NOW)
        late = said(3, "x2", value=False, sent_at=NOW)
        feedback.insert_new(tx, [down, said(2, "x0", trust=Trust.BARE, sent_at=NOW), late])
    asking.tick()
    with store.read() as read:
        (request,) = load(read)
    assert (request.verdict, request.needed, request.got) == ("cause", 120, 1)
