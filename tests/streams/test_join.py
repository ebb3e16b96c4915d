"""The joiner: what each event changes, what bounds it, and that neither redelivery nor order changes the result."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import Origin
from streams.config import JoinConfig
from streams.dead_letters import Reason
from streams.events import Exchange, Feedback, FeedbackKind, Trust
from streams.findings import Closed, Duplicate, Finding, Joined, Late, Orphan, Refused, Superseded, Unlabelled
from streams.join import Joiner
from streams.verdicts import heard
from tests.streams.events import T0, exchange, feedback

CONFIG = JoinConfig(window_s=60, lateness_s=5, idle_s=10)
NOW = T0 + 100_000
TRAFFIC, FEEDBACK = ("traffic", 0), ("feedback", 0)


def joiner(**changes: Any) -> Joiner:
    return Joiner(CONFIG.model_copy(update=changes))


def see(one: Joiner, *events: Exchange | Feedback, now: float = NOW) -> list[Finding]:
    findings: list[Finding] = []
    for offset, event in enumerate(events):
        place = TRAFFIC if isinstance(event, Exchange) else FEEDBACK
        findings += one.observe(event, now, Origin(*place, offset))
    return findings


def pass_time(one: Joiner, to: float) -> list[Finding]:
    """Both partitions move on to event time ``to``."""
    ticks = [exchange(f"tick-{to}", at=to), feedback(f"tick-{to}", exchange_id=f"tick-{to}", at=to)]
    see(one, *ticks)
    return [f for f in one.advance(NOW) if "tick" not in str(f)]


def test_feedback_meets_its_exchange_at_once() -> None:
    one = joiner()
    assert see(one, exchange()) == []
    thumb = feedback()
    assert see(one, thumb) == [Joined(exchange(), (thumb,), thumb, revision=False)]


def test_feedback_may_come_first() -> None:
    one = joiner()
    thumb, rating = feedback(), feedback("f2", kind=FeedbackKind.RATING, value=4.0)
    assert see(one, thumb, rating) == []
    assert one.sizes["pending"] == 2
    assert see(one, exchange()) == [
        Joined(exchange(), (thumb,), thumb, revision=False),
        Joined(exchange(), (thumb, rating), rating, revision=True),
    ]
    assert one.sizes["pending"] == 0


def test_a_later_verdict_of_one_kind_replaces_the_earlier_inside_the_window() -> None:
    one = joiner()
    up, down = feedback("f1", at=T0 + 1), feedback("f2", at=T0 + 2, value=False)
    findings = see(one, exchange(), up, down)
    assert findings[1:] == [Superseded(up), Joined(exchange(), (down,), down, revision=True)]
    assert pass_time(one, T0 + 100) == [Closed(exchange(), (down,))]


def test_an_earlier_verdict_that_comes_later_does_not_count() -> None:
    one = joiner()
    up, down = feedback("f1", at=T0 + 1), feedback("f2", at=T0 + 2, value=False)
    assert see(one, exchange(), down, up)[1:] == [Superseded(up)]


def test_a_bare_word_never_replaces_a_token() -> None:
    one = joiner()
    token, bare = feedback("f1", at=T0 + 1), feedback("f2", at=T0 + 9, value=False, trust=Trust.BARE)
    assert see(one, exchange(), token, bare)[1:] == [Superseded(bare)]
    other = joiner()
    assert see(other, exchange(), bare, token)[1:] == [
        Superseded(bare.model_copy(update={"identity": "i1"})),
        Joined(exchange(), (token,), token, revision=True),
    ]


def test_kinds_count_side_by_side_in_a_fixed_order() -> None:
    one = joiner()
    correction = feedback("f1", kind=FeedbackKind.CORRECTION, value=None, correction="c")
    thumb = feedback("f2", value=False)
    assert see(one, exchange(), correction, thumb)[-1] == Joined(exchange(), (thumb, correction), thumb, revision=True)


def test_redelivered_events_are_duplicates() -> None:
    one = joiner()
    see(one, exchange(), feedback())
    assert see(one, exchange(), feedback()) == [Duplicate("x1"), Duplicate("f1")]
    pass_time(one, T0 + 100)
    assert see(one, exchange(), feedback()) == [Duplicate("x1"), Duplicate("f1")]


def test_an_id_used_on_another_exchange_shadows_nothing() -> None:
    one = joiner()
    see(one, exchange("x1"), exchange("x2"), feedback("f1", "x1"))
    assert isinstance(see(one, feedback("f1", "x2"))[0], Joined)


def test_silence_is_unlabelled_not_negative() -> None:
    one = joiner()
    see(one, exchange())
    assert pass_time(one, T0 + 65) == [], "the window ends at T0 + 60, the mark stands at T0 + 60"
    assert pass_time(one, T0 + 65.1) == [Unlabelled(exchange())]


def test_feedback_after_the_window_is_late_and_changes_no_verdict() -> None:
    one = joiner()
    see(one, exchange())
    sent_late = feedback(at=T0 + 61)
    assert see(one, sent_late) == [Late(sent_late)]
    assert pass_time(one, T0 + 100) == [Unlabelled(exchange())]
    came_late = feedback("f2", at=T0 + 2)
    assert see(one, came_late) == [Late(came_late)]


def test_feedback_without_exchange_is_an_orphan_after_the_window() -> None:
    one = joiner()
    lost = feedback(exchange_id="never")
    see(one, exchange("other"), lost)
    assert pass_time(one, T0 + 66) == [Unlabelled(exchange("other"))]
    assert pass_time(one, T0 + 67) == [Orphan(lost, Origin(*FEEDBACK, 1))]
    assert one.sizes["pending"] == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant": "other"}, Reason.WRONG_TENANT),
        ({"deployment": "other"}, Reason.WRONG_TENANT),
        ({"session": "other"}, Reason.SESSION_MISMATCH),
        ({"session": "other", "trust": Trust.PRODUCER}, Reason.SESSION_MISMATCH),
        ({"choice": 1}, Reason.CHOICE_NOT_CAPTURED),
    ],
)
def test_feedback_that_contradicts_its_exchange_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    for order in (0, 1):
        one = joiner()
        wrong = feedback(**changes)
        findings = see(one, exchange(), wrong) if order else see(one, wrong, exchange())
        assert findings == [Refused(wrong, Origin(*FEEDBACK, order), reason)]
        assert pass_time(one, T0 + 100) == [Unlabelled(exchange())]
        assert see(one, feedback("f9", **changes)) == [Refused(feedback("f9", **changes), Origin(*FEEDBACK, 0), reason)]


def test_session_and_identity_come_from_the_token_else_from_the_exchange() -> None:
    def joined_as(trust: Trust, session: str | None, identity: str | None) -> tuple[str | None, str | None]:
        one = joiner()
        found = see(one, exchange(), feedback(trust=trust, session=session, identity=identity))[0]
        assert isinstance(found, Joined)
        return found.newest.session, found.newest.identity

    assert joined_as(Trust.TOKEN, "s1", "who-rated") == ("s1", "who-rated")
    assert joined_as(Trust.PRODUCER, None, None) == ("s1", "i1")
    assert joined_as(Trust.PRODUCER, "s1", "backend-user") == ("s1", "backend-user")
    assert joined_as(Trust.BARE, "invented", "invented") == ("s1", "i1")


def test_open_exchanges_are_bounded_and_the_oldest_close_early() -> None:
    one = joiner(max_open=2)
    first, second, third = (exchange(f"x{n}", at=T0 + n) for n in range(3))
    see(one, second, first)
    assert see(one, third) == [Unlabelled(first, early=True)]
    assert one.sizes["open"] == 2
    late = feedback("f1", "x0")
    assert see(one, late) == [Late(late)]


def test_pending_is_bounded_and_bare_feedback_goes_first() -> None:
    one = joiner(max_pending=2)
    bare, token = feedback("b", "y1", trust=Trust.BARE), feedback("t", "y2")
    see(one, bare, token)
    another = feedback("b2", "y3", trust=Trust.BARE)
    assert see(one, another) == [Refused(another, Origin(*FEEDBACK, 0), Reason.PENDING_FULL)]
    assert see(one, feedback("t2", "y4")) == [Refused(bare, Origin(*FEEDBACK, 0), Reason.PENDING_FULL)]
    last = feedback("t3", "y5")
    assert see(one, last) == [Refused(last, Origin(*FEEDBACK, 0), Reason.PENDING_FULL)]
    assert one.sizes["pending"] == 2


def test_memory_stays_bounded_under_a_long_stream() -> None:
    one = joiner(max_open=50, max_pending=50, max_remembered=100)
    for n in range(5_000):
        see(
            one,
            exchange(f"x{n}", at=T0 + n),
            feedback(f"f{n}", f"x{n}", at=T0 + n),
            feedback(f"o{n}", f"z{n}", at=T0 + n),
        )
        if n % 10 == 0:
            one.advance(NOW)
    state = one.state
    assert one.sizes["open"] <= 50 and one.sizes["pending"] <= 50 and one.sizes["remembered"] <= 200
    assert len(state.closing) == len(state.open)
    assert len(state.expiring) <= 2 * state.pending_count + 1_001
    assert len(state.bare) == 0


def test_deadlines_of_joined_feedback_are_forgotten() -> None:
    one = joiner(max_remembered=10)
    for n in range(4_000):
        see(one, feedback(f"f{n}", f"x{n}"), exchange(f"x{n}"))
    assert len(one.state.expiring) <= 1_001


# ------------------------------------------------------------------------------------------------------- watermark


def test_the_slowest_partition_holds_windows_open() -> None:
    one = joiner()
    see(one, exchange(), feedback("f", "x9", at=T0), now=T0)
    see(one, exchange("x2", at=T0 + 1_000), now=T0 + 1_000)
    assert one.advance(T0 + 5) == [], "feedback stands at T0 and was heard 5 s ago"
    assert [type(f) for f in one.advance(T0 + 1_001)] == [Unlabelled, Orphan], "now it is idle"


def test_a_partition_with_records_left_is_never_idle() -> None:
    one = joiner()
    see(one, exchange(), now=T0)
    see(one, exchange("x2", at=T0 + 1_000), now=T0 + 1_000)
    assert one.advance(T0 + 1_000, {TRAFFIC: 0, FEEDBACK: 7}) == []
    assert one.advance(T0 + 2_000, {TRAFFIC: 0, FEEDBACK: 7}) == []
    thumb = feedback()
    assert len(see(one, thumb, now=T0 + 2_000)) == 1, "its backlog arrives and still counts"
    closed = one.advance(T0 + 2_020, {TRAFFIC: 0, FEEDBACK: 0})
    assert closed[0] == Closed(exchange(), (thumb,))


def test_wall_time_closes_windows_when_everything_is_silent() -> None:
    one = joiner()
    see(one, exchange(), now=T0)
    assert one.advance(T0 + 75) == []
    assert one.advance(T0 + 75.1) == [Unlabelled(exchange())]


def test_a_fast_clock_closes_nobody_elses_window() -> None:
    one = joiner()
    see(one, exchange(), exchange("ahead", at=T0 + 3_600), now=T0 + 1)
    assert one.advance(T0 + 2) == []


# --------------------------------------------------------------------------------------------------------- restart


def test_a_restored_joiner_goes_on_without_saying_anything_twice() -> None:
    kept, gone = exchange("kept", at=T0 + 50), exchange("gone", at=T0 - 50)
    thumb, waiting = feedback("f1", "kept", at=T0 + 51), feedback("f2", "coming", at=T0 + 52)
    expired = feedback("f3", "never", at=T0 - 80)
    one = joiner()
    one.restore([kept, gone], [thumb, waiting, expired], mark=T0 + 55)
    assert one.sizes["open"] == 1 and one.sizes["pending"] == 1
    assert see(one, kept, gone, thumb, waiting, expired) == [Duplicate(d) for d in ("kept", "gone", "f1", "f2", "f3")]
    late = feedback("f4", "gone", at=T0)
    assert see(one, late) == [Late(late)]
    assert see(one, exchange("coming", at=T0 + 52)) == [
        Joined(exchange("coming", at=T0 + 52), (waiting,), waiting, revision=False)
    ]
    assert one.mark == T0 + 55


# ------------------------------------------------------------------------------------------------------ properties

LATENESS = 5.0


@st.composite
def streams(draw: st.DrawFn) -> list[Exchange | Feedback]:
    """Up to 12 exchanges over 200 s, up to 30 feedbacks of all kinds and trust, some on exchanges that never come."""
    times = draw(st.lists(st.integers(0, 200), min_size=1, max_size=12))
    events: list[Exchange | Feedback] = [exchange(f"x{n}", at=T0 + t) for n, t in enumerate(times)]
    for n in range(draw(st.integers(0, 30))):
        target = draw(st.integers(0, len(times)))
        start = times[target] if target < len(times) else 50
        kind, value = draw(
            st.sampled_from(
                [(FeedbackKind.THUMB, True), (FeedbackKind.THUMB, False), (FeedbackKind.OUTCOME, "accepted")]
            )
        )
        events.append(
            feedback(
                f"f{n}",
                f"x{target}",
                at=T0 + start + draw(st.integers(0, 80)),
                kind=kind,
                value=value,
                trust=draw(st.sampled_from(list(Trust))),
                tenant=draw(st.sampled_from(["acme", "acme", "acme", "other"])),
            )
        )
    return events


def event_time(event: Exchange | Feedback) -> float:
    return event.completed_at if isinstance(event, Exchange) else event.sent_at


def play(events: Iterable[Exchange | Feedback], batch: int) -> tuple[list[Finding], Joiner]:
    one = joiner()
    one.advance(NOW, {TRAFFIC: 1, FEEDBACK: 1})
    findings: list[Finding] = []
    for n, event in enumerate(events):
        findings += see(one, event)
        if n % batch == 0:
            findings += one.advance(NOW)
    findings += pass_time(one, T0 + 1_000)
    return findings, one


def final(findings: Sequence[Finding]) -> list[Closed | Unlabelled]:
    return [f for f in findings if isinstance(f, (Closed, Unlabelled))]


@pytest.mark.slow
@given(streams(), st.randoms(use_true_random=False), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_reordering_within_the_lateness_and_redelivery_change_no_example(
    events: list[Exchange | Feedback], chance: random.Random, batch: int, other_batch: int
) -> None:
    in_order = sorted(events, key=event_time)
    # Each event is held up by less than the lateness, then some are delivered twice.
    shuffled = sorted(events, key=lambda e: event_time(e) + chance.uniform(0, LATENESS * 0.99))
    twice = [copy for event in shuffled for copy in ([event, event] if chance.random() < 0.3 else [event])]
    expected, one = play(in_order, batch)
    got, other = play(twice, other_batch)
    assert final(got) == final(expected)
    assert {f.feedback.feedback_id for f in got if isinstance(f, Orphan)} == {
        f.feedback.feedback_id for f in expected if isinstance(f, Orphan)
    }
    assert one.sizes == other.sizes


@pytest.mark.slow
@given(streams(), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_redelivery_of_everything_says_only_duplicate(events: list[Exchange | Feedback], batch: int) -> None:
    one = joiner()
    first = see(one, *events) + one.advance(NOW)
    assert all(not isinstance(f, Duplicate) for f in first)
    again = see(one, *events)
    assert all(isinstance(f, Duplicate) for f in again) and len(again) == len(events)


@pytest.mark.slow
@given(streams(), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_every_event_is_accounted_for_once(events: list[Exchange | Feedback], batch: int) -> None:
    findings, one = play(sorted(events, key=event_time), batch)
    closed = [f.exchange.exchange_id for f in final(findings)]
    assert sorted(closed) == sorted(e.exchange_id for e in events if isinstance(e, Exchange))
    ends = [f.feedback.feedback_id for f in findings if isinstance(f, (Superseded, Late, Orphan, Refused))]
    counted = [fb.feedback_id for f in findings if isinstance(f, Closed) for fb in f.feedbacks]
    assert sorted(ends + counted) == sorted(e.feedback_id for e in events if isinstance(e, Feedback))
    assert one.sizes["pending"] == 1 or one.sizes["pending"] == 0


@pytest.mark.slow
@given(streams(), st.integers(0, 40), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_a_crash_between_two_batches_changes_no_example(
    events: list[Exchange | Feedback], cut: int, batch: int
) -> None:
    in_order = sorted(events, key=event_time)
    whole, _ = play(in_order, batch)
    before, after = in_order[:cut], in_order[cut:]
    one = joiner()
    one.advance(NOW, {TRAFFIC: 1, FEEDBACK: 1})
    told = see(one, *before) + one.advance(NOW)
    reborn = joiner()
    orphaned = {f.feedback.feedback_id for f in told if isinstance(f, Orphan)}
    stored = [e for e in before if isinstance(e, Feedback) and e.feedback_id not in orphaned]
    reborn.restore([e for e in before if isinstance(e, Exchange)], stored, one.mark)
    reborn.advance(NOW, {TRAFFIC: 1, FEEDBACK: 1})
    told += see(reborn, *after) + pass_time(reborn, T0 + 1_000)
    assert final(told) == final(whole)


@given(streams(), st.integers(0, 300), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_what_is_stored_says_later_what_the_joiner_counted(
    events: list[Exchange | Feedback], until: int, rng: random.Random
) -> None:
    """In whatever order it came, and at any instant, of trusted feedback that was sent by then."""
    first = next(e for e in events if isinstance(e, Exchange))
    said = [e for e in events if isinstance(e, Feedback) and e.exchange_id == first.exchange_id]
    rng.shuffle(said)
    one, counted = joiner(window_s=1_000.0), tuple[Feedback, ...]()
    see(one, first)
    for f in said:
        if f.trust is not Trust.BARE and f.sent_at <= T0 + until:
            counted = next((j.feedbacks for j in see(one, f) if isinstance(j, Joined)), counted)
    newest = {f.kind: f.feedback_id for f in heard(first, said) if f.sent_at <= T0 + until}
    assert newest == {f.kind: f.feedback_id for f in counted}
