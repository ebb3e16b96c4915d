"""A rollout that users meet while the daemon is upgraded to a release whose tests bet with other stakes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from daemon.store import denials, ledger, rollouts
from deploy.rollout import LIVE, Phase
from deploy.stakes import STAKES
from monitors import bets
from tests.daemon.loop_bench import IDENTITY, NEW, LoopBench, drain

OLDER = "0.5:1.0"
NOW: dict[str, Any] = dict(STAKES)


def with_users(bench: LoopBench, good: float, bad: float) -> None:
    """A canary whose users have been heard, but on which nothing was decided."""
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    bench.traffic(400, good=good, bad=bad, rng=random.Random(2))


def stakes(bench: LoopBench, marked: object = None) -> object:
    """What the rollout is marked with; ``marked``: mark it so."""
    with bench.store.begin() as tx:
        row = rollouts.get(tx, "r1")
        assert row is not None
        if marked is not None:
            data = {**row.data, "stakes": marked}
            rollouts.update_phase(tx, "r1", phase=row.phase, reason=row.reason, at=row.changed_at, data=data)
        return row.data.get("stakes")


@pytest.mark.parametrize(
    ("good", "bad", "marked", "other"),
    [
        (1.0, 0.1, OLDER, sorted(STAKES)),
        (0.05, 0.95, OLDER, sorted(STAKES)),
        (0.05, 0.95, bets.PRIOR, sorted(STAKES.keys() - {"reward"})),
        (0.7, 0.7, {**NOW, "reward": OLDER}, ["reward"]),
        (0.05, 0.95, {**NOW, "events": "2.0:1.0"}, ["events"]),
    ],
)
def test_it_ends_without_a_verdict_and_says_so(
    bench: LoopBench, good: float, bad: float, marked: object, other: list[str]
) -> None:
    with_users(bench, good, bad)
    stakes(bench, marked)
    controller, ingest = bench.daemon()
    drain(ingest)
    for _ in range(3):
        controller.tick()
    assert bench.phase() is Phase.INCONCLUSIVE
    route = bench.host.route.route("support") if bench.host.route else None
    assert route is not None and (route.control, route.split) == (IDENTITY, None)
    with bench.store.read() as read:
        last = ledger.of_subject(read, "r1")[-1]
        assert last.reason == "evidence_of_another_release" and last.data["units"] > 0
        assert last.data["other_stakes"] == other
        assert not denials.is_denied(read, NEW)


@pytest.mark.parametrize(
    ("good", "bad", "marked", "end"),
    [
        (1.0, 0.1, None, Phase.CANARY_HALF),
        (0.05, 0.95, None, Phase.ROLLED_BACK),
        (0.05, 0.95, NOW, Phase.ROLLED_BACK),
    ],
    ids=["up", "back", "marked"],
)
def test_with_the_same_stakes_it_goes_on(bench: LoopBench, good: float, bad: float, marked: object, end: Phase) -> None:
    with_users(bench, good, bad)
    assert stakes(bench) == STAKES
    stakes(bench, marked)
    controller, ingest = bench.daemon()
    drain(ingest)
    controller.tick()
    assert bench.phase() is end


def test_before_users_meet_it_the_stakes_may_change(bench: LoopBench) -> None:
    bench.open_rollout()
    stakes(bench, OLDER)
    controller, _ = bench.daemon()
    for _ in range(6):
        controller.tick()
    assert bench.phase() in LIVE
    assert stakes(bench) == STAKES
