"""What a unit says when it matures: what was sent within its window, however it came, and whoever was away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from daemon.store import Read, exchanges, units
from deploy.processes import Path as EvidencePath
from streams.config import JoinConfig
from streams.events import Exchange, Feedback, FeedbackKind, Trust
from tests.daemon.events import feedback as said
from tests.daemon.ingest_bench import Bench, drain, in_rollout, running

W = 15.0
END = 1001.0 + W
"""When the window of the session of ``x1`` ends."""
MATURED = [EvidencePath.PROMOTE.value, EvidencePath.CLOSED.value]
EITHER_WAY = pytest.mark.parametrize("restart", [False, True], ids=["no restart", "restart"])
Sent = tuple[float, Sequence[Exchange | Feedback]]
"""When a batch is read, and what it holds."""


def matured(ingests: Bench, batches: Sequence[Sent], maturity_s: float = W, *, restart: bool = False) -> dict[int, Any]:
    """Unit to its mean, None where it was closed without one."""
    running(ingests.store, maturity_s)
    ingests.now = 1000.0
    ingest = ingests.ingest()
    for ingests.now, events in batches:
        if events:
            ingests.send(*events)
        drain(ingest)
        ingest.step(0.0)
    if restart:
        ingest.close()
        ingest = ingests.ingest()
    ingests.now = max(ingests.now, 1000.0 + maturity_s + 100.0)
    ingest.step(0.0)
    with ingests.store.read() as read:
        found = units.events_of(read, "r1")
    return {e.unit: e.value if e.path == MATURED[0] else None for e in found if e.path in MATURED}


def correction(number: int, of: str, text: str, sent_at: float) -> Feedback:
    return said(number, of, kind=FeedbackKind.CORRECTION, value=None, correction=text, sent_at=sent_at)


@EITHER_WAY
@pytest.mark.parametrize("swapped", [False, True], ids=["in order", "swapped"])
def test_two_thumbs_that_change_places_on_the_way_change_nothing(ingests: Bench, swapped: bool, restart: bool) -> None:
    thumbs = [said(1, "x1", sent_at=END - 0.5), said(2, "x1", value=False, sent_at=END + 0.4)]
    batches: list[Sent] = [(1002.0, [in_rollout(1, True)]), (END + 0.5, thumbs[::-1] if swapped else thumbs)]
    assert matured(ingests, batches, restart=restart) == {0: 1.0}


@pytest.mark.parametrize("late", ["thumb", "correction"])
@pytest.mark.parametrize("away", [False, True], ids=["in time", "after an outage"])
def test_what_was_sent_after_the_window_does_not_count_however_late_it_is_read(
    ingests: Bench, away: bool, late: str
) -> None:
    up = said(1, "x1", sent_at=1003.0)
    change = said(2, "x1", value=False, sent_at=1200.0)
    change = correction(2, "x1", "another answer", 1200.0) if late == "correction" else change
    batches: list[Sent] = [(1002.0, [in_rollout(1, True)])]
    batches += [(1300.0, [up, change])] if away else [(1003.5, [up]), (1100.0, []), (1200.5, [change])]
    assert matured(ingests, batches) == {0: 1.0}


def test_a_correction_after_the_window_and_within_the_lateness_does_not_count(ingests: Bench) -> None:
    batches: list[Sent] = [
        (1003.5, [in_rollout(1, True), said(1, "x1", sent_at=1003.0)]),
        (END + 0.6, [correction(2, "x1", "another answer", END + 0.5)]),
    ]
    assert matured(ingests, batches) == {0: 1.0}


@EITHER_WAY
def test_more_open_exchanges_than_the_joiner_takes_do_not_silence_their_units(ingests: Bench, restart: bool) -> None:
    ingests.join = JoinConfig(window_s=600.0, lateness_s=1.0, max_open=2)
    four = [in_rollout(n, n % 2 == 0) for n in range(1, 5)]
    batches: list[Sent] = [(1006.0, four), (1010.0, [said(1, "x1", sent_at=1009.0), said(4, "x4", sent_at=1009.0)])]
    assert matured(ingests, batches, 100.0, restart=restart) == {0: 1.0, 1: None, 2: None, 3: 1.0}


@EITHER_WAY
def test_a_window_may_be_longer_than_that_of_the_joiner(ingests: Bench, restart: bool) -> None:
    """Sent in time and read at 900 seconds, when the joiner has closed its exchange; the unit's window is 3,000."""
    batches: list[Sent] = [(1006.0, [in_rollout(1, True)]), (1800.0, []), (1900.0, [said(1, "x1", sent_at=1009.0)])]
    assert matured(ingests, batches, 3000.0, restart=restart) == {0: 1.0}


@EITHER_WAY
def test_what_may_speak_for_a_candidate_has_spoken_against_it_before(ingests: Bench, restart: bool) -> None:
    """The joiner called it late, so no reward was shown to the test of harm when it came."""
    batches: list[Sent] = [
        (1006.0, [in_rollout(1, True), in_rollout(2, False)]),
        (1800.0, []),
        (1900.0, [said(1, "x1", value=False, sent_at=1009.0)]),
    ]
    assert matured(ingests, batches, 3000.0, restart=restart) == {0: 0.0, 1: None}
    with ingests.store.read() as read:
        told = [(e.path, e.value) for e in units.events_of(read, "r1") if e.unit == 0]
    assert told == [("assigned", 1.0), ("harm", 0.0), ("promote", 0.0)]


@EITHER_WAY
@pytest.mark.parametrize(
    "changes",
    [{"session": "another"}, {"tenant": "another"}, {"choice": 1}, {"trust": Trust.BARE}],
    ids=lambda changes: next(iter(changes)),
)
def test_feedback_that_is_refused_counts_no_more_for_being_stored(
    ingests: Bench, changes: dict[str, Any], restart: bool
) -> None:
    """It stands beside one that counts, whose place it must not take either."""
    two = [in_rollout(1, True), in_rollout(2, False), said(2, "x2", session="s2", sent_at=1004.0)]
    refused = [
        said(n, name, value=False, sent_at=1005.0).model_copy(update=changes) for n, name in ((3, "x1"), (4, "x2"))
    ]
    assert matured(ingests, [(1010.0, [*two, *refused])], restart=restart) == {0: None, 1: 1.0}


def test_a_unit_is_the_mean_over_its_exchanges_of_what_was_sent_until_its_window_ended(ingests: Bench) -> None:
    three = [in_rollout(n, True, session="s1", identity="i1") for n in (1, 2, 3)]
    other = in_rollout(4, True, session="s1", identity="i1").model_copy(update={"rollout": "r0"})
    ends = [said(1, "x1", sent_at=1005.0), said(2, "x2", value=False, sent_at=END), said(3, "x3", sent_at=END + 0.1)]
    ends += [said(4, "x4", sent_at=1006.0), correction(5, "x1", "another answer", END + 0.1)]
    batches: list[Sent] = [(1006.0, [*three, other]), (END + 0.2, ends)]
    assert matured(ingests, batches) == {0: 0.5}


def test_the_store_is_asked_of_the_units_whose_window_is_over_alone(
    ingests: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, asked = exchanges.of_rollout_sessions, list[list[str]]()

    def ask(read: Read, rollout: str, sessions: Iterable[str]) -> list[Exchange]:
        asked.append(list(sessions))
        return honest(read, rollout, asked[-1])

    monkeypatch.setattr(exchanges, "of_rollout_sessions", ask)
    later = in_rollout(3, True, received_at=1030.0, dispatched_at=1030.0, completed_at=1031.0)
    batches: list[Sent] = [(1003.0, [in_rollout(1, True), in_rollout(2, False)]), (1031.0, [later]), (1032.0, [])]
    matured(ingests, batches)
    assert asked == [["s1", "s2"], ["s3"]]
