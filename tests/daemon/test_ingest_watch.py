"""The watch's rows in the ingest: stored with the batch, begun afresh where they do not load."""

from __future__ import annotations

import pytest

from daemon.ingest import Ingest
from daemon.store import (
    Tx,
    counters,
    ledger,
    states,
)
from daemon.stored_watch import RATED, REBASED
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.ingest_bench import Bench, CountingWatch, drain, watch_of


def test_states_that_do_not_load_are_begun_afresh_once_and_said_so(ingests: Bench) -> None:
    ingests.send(exchange(1), said(1, "x1"))
    drain(ingests.ingest())
    with ingests.store.begin() as tx:
        states.put(tx, "watch:rewards", b"a state of long ago", 1.0)
        states.put(tx, "watch:gone", b"1", 1.0)
        states.put(tx, "join_mark", b"yesterday", 1.0)
    ingest = ingests.ingest()
    assert watch_of(ingest).seen == []
    ingests.send(exchange(2))
    assert drain(ingest) == 1
    again = ingests.ingest()
    assert watch_of(again).seen == ["x2"], "the new state is kept, and nothing is begun a second time"
    with ingests.store.read() as read:
        told = [(e.subject, e.reason, e.data["fault"]) for e in ledger.newest(read, 50) if e.kind == "state"]
        assert states.get(read, "watch:gone") is None
    assert told == [("watch", "started_afresh", "ValueError"), ("join_mark", "started_afresh", "ValueError")]


def test_rewards_of_another_version_are_counted_and_not_watched(ingests: Bench) -> None:
    """What stands in for the champion says nothing of it, whenever its ratings come."""
    champion, other = "support-bbbbbbbbbbbb", "support-000000000000"
    ingest = ingests.ingest()
    ingest.rate(champion)
    assert watch_of(ingest).relearned == 0, "the first version that is named is the one that was learned"
    ingests.send(exchange(1, version=champion), exchange(2, version=other), said(1, "x1"), said(2, "x2"))
    drain(ingest)
    assert watch_of(ingest).rewards == [("x1", 1.0)]
    again = ingests.ingest()
    ingests.send(exchange(3, version=other), said(3, "x3"))
    drain(again)
    assert watch_of(again).rewards == [("x1", 1.0)], "also before the first tick after a restart"
    with ingests.store.read() as read:
        assert counters.get_all(read)["rewards_of_other_versions"] == 2
        assert counters.get_all(read)["joined"] == 3
    again.rate(champion)
    assert watch_of(again).relearned == 0
    again.rate(other)
    assert watch_of(again).relearned == 1, "another champion's usual level is another one"
    again.rate(None)
    ingests.send(exchange(4, version="support-base"), said(4, "x4"))
    drain(again)
    assert watch_of(again).rewards[-1] == ("x4", 1.0), "where nobody says who should answer, everybody counts"
    again.rate(other)
    assert watch_of(again).relearned == 1


def test_a_level_that_could_not_be_stored_is_learned_anew_at_the_next_look(
    ingests: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = ingests.ingest()
    ingest.rate("support-bbbbbbbbbbbb")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(states, "put", broken)
        with pytest.raises(OSError, match="disk full"):
            ingest.rate("support-000000000000")
    ingest.rate("support-000000000000")
    assert watch_of(ingest).relearned == 2
    with ingests.store.read() as read:
        assert states.get(read, "rewards_of") == b"support-000000000000"


@pytest.mark.parametrize("of", ["rate", "rebase"])
def test_what_the_watch_forgot_is_stored_although_the_first_try_failed(
    ingests: Bench, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    def forget(self: CountingWatch, *_: object) -> None:
        self.rewards.clear()

    def change(ingest: Ingest) -> None:
        if of == "rate":
            ingest.rate("support-000000000000")
        else:
            ingest.rebase(1.0, "promotion", "r1")

    honest = states.put

    def put(tx: Tx, name: str, value: bytes, now: float) -> None:
        if name in (RATED, REBASED):
            raise OSError("disk full")
        honest(tx, name, value, now)

    monkeypatch.setattr(CountingWatch, "relearn_rewards", forget)
    monkeypatch.setattr(CountingWatch, "rebase", forget)
    ingest = ingests.ingest()
    ingest.rate("support-bbbbbbbbbbbb")
    ingests.send(exchange(1, version="support-bbbbbbbbbbbb"), said(1, "x1"))
    drain(ingest)
    with monkeypatch.context() as patch:
        patch.setattr(states, "put", put)
        with pytest.raises(OSError, match="disk full"):
            change(ingest)
    assert watch_of(ingests.ingest()).rewards == [("x1", 1.0)], "nothing was committed"
    change(ingest)
    assert watch_of(ingests.ingest()).rewards == []
