"""The ingest against a real log file and a real store: once and only once, whatever is redelivered, killed or
malformed.
"""

from __future__ import annotations

import pytest

from daemon.store import (
    counters,
    dead_letters,
    exchanges,
    feedback,
    ledger,
    offsets,
    units,
)
from deploy.processes import Path as EvidencePath
from streams.sqlite_log import SqliteSource
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.ingest_bench import TRAFFIC, Bench, drain, in_rollout, running, watch_of


def test_events_are_stored_joined_and_shown_once(ingests: Bench) -> None:
    ingests.send(exchange(1), exchange(2), said(1, "x1"))
    ingest = ingests.ingest()
    assert drain(ingest) == 3
    assert watch_of(ingest).seen == ["x1", "x2"]
    assert watch_of(ingest).rewards == [("x1", 1.0)]
    with ingests.store.read() as read:
        assert set(exchanges.get_many(read, ["x1", "x2"])) == {"x1", "x2"}
        assert [f.feedback_id for f in feedback.for_exchanges(read, ["x1"])["x1"]] == ["f1"]
        assert counters.get_all(read) == {"exchanges": 2, "feedback": 1, "joined": 1}


def test_redelivery_changes_nothing(ingests: Bench) -> None:
    events = [exchange(1), exchange(2), said(1, "x1")]
    ingests.send(*events)
    ingest = ingests.ingest()
    drain(ingest)
    before = watch_of(ingest).dump_parts()
    ingests.send(*events)
    assert drain(ingest) == 3
    assert watch_of(ingest).dump_parts() == before
    with ingests.store.read() as read:
        assert counters.get_all(read)["duplicates"] == 3
        assert counters.get_all(read)["joined"] == 1


def lose(ingests: Bench) -> None:
    """Retention takes everything that lies on the log."""
    source = SqliteSource(ingests.folder / "log.db")
    source.trim(1e12)
    source.close()


def told_of_gaps(ingests: Bench) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(expected, found) of the recorded gaps, and of the ledger's."""
    with ingests.store.read() as read:
        recorded = [(gap.expected, gap.found) for gap in offsets.gaps(read)]
        entries = [e.data for e in ledger.newest(read, 50) if e.kind == "event_gap"]
    return recorded, [(data["expected"], data["found"]) for data in entries]


def test_what_retention_took_is_recorded_once_however_often_we_start(ingests: Bench) -> None:
    ingests.send(exchange(1))
    drain(ingests.ingest())
    ingests.send(exchange(2), exchange(3))
    lose(ingests)
    assert drain(ingests.ingest()) == 0
    ingests.ingest()
    ingest = ingests.ingest()
    assert drain(ingest) == 0
    assert told_of_gaps(ingests) == ([(1, 3)], [(1, 3)])
    ingests.send(exchange(4))
    assert drain(ingest) == 1
    assert watch_of(ingest).seen == ["x1", "x4"]


def test_a_gap_that_a_running_reader_meets_is_recorded_with_the_batch_behind_it(
    ingests: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingests.send(exchange(1))
    ingest = ingests.ingest()
    drain(ingest)
    ingests.send(exchange(2))
    lose(ingests)
    ingests.send(exchange(3))

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(offsets, "put", broken)
        with pytest.raises(OSError, match="disk full"):
            ingest.step(0.0)
    assert told_of_gaps(ingests) == ([], [])
    assert drain(ingest) == 1
    assert told_of_gaps(ingests) == ([(1, 2)], [(1, 2)])
    drain(ingests.ingest())
    assert told_of_gaps(ingests) == ([(1, 2)], [(1, 2)])


def test_a_log_that_was_replaced_is_a_gap_and_read_from_its_beginning(ingests: Bench) -> None:
    ingests.send(exchange(1), exchange(2))
    old = ingests.ingest()
    drain(old)
    old.close()
    for left in ingests.folder.glob("log.db*"):
        left.unlink()
    ingest = ingests.ingest()
    ingests.send(exchange(2), exchange(3))
    assert drain(ingest) == 2
    assert watch_of(ingest).seen == ["x1", "x2", "x3"]
    assert told_of_gaps(ingests) == ([(2, 0)], [(2, 0)])


def test_a_restart_goes_on_where_the_transaction_ended(ingests: Bench) -> None:
    ingests.send(exchange(1), exchange(2))
    drain(ingests.ingest())
    ingests.send(exchange(3), said(1, "x1"))
    second = ingests.ingest()
    assert drain(second) == 2
    assert watch_of(second).seen == ["x1", "x2", "x3"]
    assert watch_of(second).rewards == [("x1", 1.0)]


def test_a_failed_transaction_leaves_memory_as_it_was(ingests: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ingests.send(exchange(1))
    ingest = ingests.ingest()
    drain(ingest)
    ingests.send(exchange(2), said(1, "x1"))

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(offsets, "put", broken)
        with pytest.raises(OSError, match="disk full"):
            ingest.step(0.0)
    assert watch_of(ingest).seen == ["x1"]
    ingests.ingest()
    third = ingests.made[-1]
    assert drain(third) == 2
    assert watch_of(third).seen == ["x1", "x2"]
    assert watch_of(third).rewards == [("x1", 1.0)]


def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on(ingests: Bench) -> None:
    ingests.send_raw(TRAFFIC, b"{not json")
    ingests.send(exchange(1))
    ingest = ingests.ingest()
    assert drain(ingest) == 2
    assert watch_of(ingest).seen == ["x1"]
    with ingests.store.read() as read:
        assert dead_letters.by_reason(read) == {"not_json": 1}
        assert offsets.get_all(read)[TRAFFIC, 0] == 2


def test_feedback_with_a_forged_token_moves_no_reward(ingests: Bench) -> None:
    ingests.send(exchange(1), said(1, "x1"), token="forged")
    ingest = ingests.ingest(valid=lambda token: token != "forged")
    drain(ingest)
    assert watch_of(ingest).rewards == []


def test_feedback_may_come_before_its_exchange_even_over_a_restart(ingests: Bench) -> None:
    ingests.send(said(1, "x1"))
    drain(ingests.ingest())
    ingests.send(exchange(1))
    second = ingests.ingest()
    drain(second)
    assert watch_of(second).rewards == [("x1", 1.0)]


def test_an_alarm_is_stored_once_with_its_ledger_entry(ingests: Bench) -> None:
    ingests.send(*(exchange(n) for n in range(1, 5)))
    drain(ingests.ingest())
    from daemon.store import alarms, ledger

    with ingests.store.read() as read:
        assert [a.alarm_id for a in alarms.unanswered(read, "support")] == ["a1"]
        assert [(e.kind, e.reason) for e in ledger.of_subject(read, "a1")] == [("alarm_input", "confirmed")]


def test_units_and_their_evidence_survive_a_restart_in_the_middle(ingests: Bench) -> None:
    ingests.now = 1003.0
    running(ingests.store)
    ingests.send(in_rollout(1, True), in_rollout(2, False), said(1, "x1"))
    drain(ingests.ingest())
    ingests.send(in_rollout(3, True), said(2, "x2", value=False), said(3, "x3"))
    second = ingests.ingest()
    drain(second)
    ingests.now = 1050.0
    second.step(0.0)
    with ingests.store.read() as read:
        stored = units.events_of(read, "r1")
        assert [u.session for u in units.of_rollout(read, "r1")] == ["s1", "s2", "s3"]
    by_path = [(e.path, e.unit, e.value) for e in stored if e.path != EvidencePath.ASSIGNED.value]
    assert by_path == [
        ("harm", 0, 1.0),
        ("harm", 1, 0.0),
        ("harm", 2, 1.0),
        ("promote", 0, 1.0),
        ("promote", 1, 0.0),
        ("promote", 2, 1.0),
    ]
    third = ingests.ingest()
    assert second.evidence is not None
    assert third.evidence is not None
    assert third.evidence.processes == second.evidence.processes
