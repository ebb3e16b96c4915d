"""A replay watches the rewards of the champion of the day, by the rollouts and rollbacks of then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon import ledger
from daemon.backtest.champion import Change, Followed, changes
from daemon.backtest.replay import Replay, Window
from daemon.backtest.report import report
from daemon.config import parse_config
from daemon.store import Store, counters, exchanges, feedback, rollouts, states
from daemon.store.ledger import Entry
from daemon.store.rollouts import Rollout
from daemon.stored_watch import RATED
from deploy.rollout import Phase
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.recorded import CONFIG

OLD, NEW, NEXT = "support-aaaaaaaaaaaa", "support-bbbbbbbbbbbb", "support-cccccccccccc"
POLICY = """
mode: auto
home: {home}
deployment: {{name: support, base_dir: base}}
agent: {{replicas: [{{name: replica-0, url: "http://127.0.0.1:1"}}]}}
join: {{window_s: 60.0, lateness_s: 1.0}}
"""


def rollout(candidate: str, control: str, start: float, end: float | None, phase: Phase, **data: Any) -> Rollout:
    """One of the day."""
    facts = {"config": CONFIG.model_dump(mode="json"), "slice": None, **data}
    return Rollout(
        f"r-{candidate}-{start:.0f}",
        "support",
        candidate,
        control,
        "manual",
        phase.value,
        end is None,
        "x",
        facts,
        start,
        start,
        start + 5000.0,
        end,
    )


def gone_back(at: float, left: str, to: str | None) -> Entry:
    """A rollback in the ledger."""
    return Entry(1, at, "support", left, "rollback", "rollback_by_person", "tester", {"from": left, "to": to})


@pytest.mark.parametrize(
    ("phase", "data", "then"),
    [
        (Phase.PROMOTED, {}, [OLD, NEW]),
        (Phase.ROLLED_BACK, {}, [OLD, OLD]),
        (Phase.INCONCLUSIVE, {}, [OLD, OLD]),
        (Phase.KEPT, {"opened_for": "second_probation"}, [NEW, NEW]),
        (Phase.ROLLED_BACK, {"opened_for": "second_probation"}, [NEW, OLD]),
        (Phase.ABORTED, {"opened_for": "second_probation_proposed"}, [NEW, NEW]),
    ],
)
def test_who_serves_while_a_rollout_runs_and_after_it(phase: Phase, data: dict[str, Any], then: list[str]) -> None:
    found = changes([rollout(NEW, OLD, 10.0, 20.0, phase, **data)], [])
    assert found == [Change(10.0, then[0]), Change(20.0, then[1])]


def test_a_rollback_has_the_last_word_and_other_entries_have_none() -> None:
    ended = rollout(NEW, OLD, 10.0, 20.0, Phase.ROLLED_BACK)
    other = replace(gone_back(21.0, NEW, NEXT), kind="approval")
    found = changes([ended, rollout(NEXT, OLD, 40.0, None, Phase.CANARY_SMALL)], [gone_back(20.0, NEW, None), other])
    assert found == [Change(10.0, OLD), Change(20.0, OLD), Change(20.0, None), Change(40.0, OLD)]


def test_it_is_told_at_the_beginning_and_at_each_change_before_the_events_behind_it() -> None:
    told: list[str | None] = []
    followed = Followed([Change(10.0, OLD), Change(20.0, NEW), Change(30.0, None)], 10.0, told.append)
    followed.begin()
    assert followed.until(19.9) == 20.0 and told == [OLD]
    assert followed.until(20.0) == 30.0 and followed.version == NEW
    assert followed.until(99.0) is None and told == [OLD, NEW, None]
    assert Followed([Change(10.0, OLD)], 9.0, told.append).version is None, "before the first rollout the base serves"


@pytest.mark.slow
def test_a_replay_watches_the_rewards_of_the_champion_of_the_day(store: Store, tmp_path: Path) -> None:
    """A stand-in's answers, and late ones of a version that was left, say nothing of the champion."""
    answers = [(2010.0, OLD), (2200.0, NEW), (2300.0, OLD), (2499.0, NEW), (2501.0, OLD), (2502.0, NEW), (2700.0, OLD)]
    with store.begin() as tx:
        rollouts.create(tx, rollout(NEW, OLD, 2000.0, 2100.0, Phase.PROMOTED))
        gone = {"from": NEW, "to": OLD}
        ledger.append(tx, "support", "rollback", NEW, "rollback_by_person", actor="tester", at=2500.0, data=gone)
        for n, (at, version) in enumerate(answers):
            times = {"received_at": at, "dispatched_at": at, "completed_at": at + 0.1}
            exchanges.insert_new(tx, [exchange(n, version=version, session=f"s{n}", identity=f"u{n}", **times)])
            feedback.insert_new(tx, [said(n, f"x{n}", identity=f"u{n}", sent_at=at + 0.2)])
    scratch = Store.open(f"sqlite:///{tmp_path}/scratch.db", "normal")
    config = parse_config(POLICY.format(home=tmp_path), tmp_path / "homeostat.yaml")
    replay = Replay(config, store, scratch, tmp_path, Window(1500.0, 3000.0))
    replay.run()
    with scratch.read() as read:
        assert counters.get_all(read)["rewards_of_other_versions"] == 2
        assert states.get(read, RATED) == OLD.encode()
    assert any("Second probations are those of the day" in note for note in report(replay)["notes"])
    scratch.close()
