"""One event on which our own code fails must not stop those behind it; what is not the events' fault loses none."""

from __future__ import annotations

import pytest

from daemon.ingest import Ingest
from daemon.quarantine import IN_A_ROW, Quarantine
from daemon.store import StoreError, counters, dead_letters, exchanges
from monitors.alarms import Alarm
from streams.events import Exchange
from streams.log import Record
from tests.daemon.events import exchange
from tests.daemon.ingest_bench import Bench, CountingWatch, watch_of

USUAL = CountingWatch.observe_exchange


def failing_on(patch: pytest.MonkeyPatch, poisoned: set[str], error: Exception | None = None) -> None:
    """The watch raises on these exchanges."""

    def observe(watch: CountingWatch, one: Exchange) -> list[Alarm]:
        if one.exchange_id in poisoned:
            raise error or RecursionError("the words of a user")
        return USUAL(watch, one)

    patch.setattr(CountingWatch, "observe_exchange", observe)


def tries(ingest: Ingest, most: int) -> int:
    """Steps that failed, of so many."""
    failed = 0
    for _ in range(most):
        try:
            ingest.step(0.0)
        except (RecursionError, StoreError):
            failed += 1
    return failed


def test_the_poisoned_event_is_a_dead_letter_and_the_rest_is_counted(
    ingests: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_on(monkeypatch, {"x3"})
    ingests.send(*[exchange(n) for n in range(1, 7)])
    ingest = ingests.ingest()
    assert tries(ingest, 20) == 2, "once in its batch, once alone"
    assert watch_of(ingest).seen == ["x1", "x2", "x4", "x5", "x6"]
    with ingests.store.read() as read:
        [letter] = dead_letters.unsent(read, 10)
        assert letter.reason == "processing_failed"
        assert "RecursionError" in letter.detail
        assert "words of a user" not in letter.detail
        assert not exchanges.get_many(read, ["x3"])
        assert counters.get_all(read)["exchanges"] == 5
        assert counters.get_all(read)["dead_letters"] == 1


def test_after_it_batches_are_whole_again(ingests: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_on(monkeypatch, {"x2"})
    ingests.send(*[exchange(n) for n in range(1, 4)])
    ingest = ingests.ingest()
    tries(ingest, 10)
    ingests.send(*[exchange(n) for n in range(4, 10)])
    assert ingest.step(0.0) == 6


def test_a_restart_in_between_finds_it_again(ingests: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_on(monkeypatch, {"x2"})
    ingests.send(exchange(1), exchange(2), exchange(3))
    assert tries(ingests.ingest(), 1) == 1
    again = ingests.ingest()
    assert tries(again, 10) == 2
    assert watch_of(again).seen == ["x1", "x3"]


def test_when_every_event_fails_it_is_not_the_events(ingests: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_on(monkeypatch, {f"x{n}" for n in range(1, 10)})
    ingests.send(*[exchange(n) for n in range(1, 10)])
    ingest = ingests.ingest()
    tries(ingest, 30)
    with ingests.store.read() as read:
        assert len(dead_letters.unsent(read, 10)) == IN_A_ROW
    monkeypatch.setattr(CountingWatch, "observe_exchange", USUAL)
    tries(ingest, 10)
    assert watch_of(ingest).seen == [f"x{n}" for n in range(IN_A_ROW + 1, 10)], "the mended program goes on behind them"


@pytest.mark.parametrize("error", [StoreError("no server"), OSError("the disk is full"), MemoryError()])
def test_faults_of_the_machine_are_no_events(ingests: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    failing_on(monkeypatch, {"x1"}, error)
    ingests.send(exchange(1), exchange(2))
    ingest = ingests.ingest()
    for _ in range(5):
        with pytest.raises(type(error)):
            ingest.step(0.0)
    monkeypatch.setattr(CountingWatch, "observe_exchange", USUAL)
    assert ingest.step(0.0) == 2
    with ingests.store.read() as read:
        assert not dead_letters.unsent(read, 10)


def test_a_poll_that_brings_nothing_does_not_end_the_search() -> None:
    """The first poll of a consumer that was made anew is often empty."""
    quarantine = Quarantine()
    batch = [Record("t", 0, n, None, b"", 1.0) for n in range(5)]
    quarantine.failed(batch, ValueError())
    assert quarantine.most(100) == 1
    quarantine.passed([])
    assert quarantine.most(100) == 1
    for record in batch:
        quarantine.passed([record])
    assert quarantine.most(100) == 100
