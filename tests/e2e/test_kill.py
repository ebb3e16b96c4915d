"""kill -9 of the daemon before and after the external effect of each phase of a rollout, under load.

One run meets every failpoint of its way once: the daemon dies there, is started again, and must come to the right end
with nothing lost, nothing counted twice and every request served.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.store import cycles, denials, rollouts, versions
from deploy.rollout import FINAL, Phase
from tests.e2e import checks
from tests.e2e.conftest import MakeStand
from tests.e2e.daemons import Launcher, Supervisor
from tests.e2e.stand import CYCLE, Stand
from tests.e2e.traffic import Traffic
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.trainer, pytest.mark.slow]
SEEDS = range(20)
"""Random runs of the soak."""

LOADS = ("before_load", "after_load", "before_proof", "after_proof")
ROUTES = ("before_route", "after_route")
INGEST = ("ingest.polled", "ingest.before_commit", "ingest.after_commit")
FORWARD = (
    *(f"residency.{p}" for p in LOADS),
    *(f"rollout.starting.{p}" for p in ROUTES),
    *(f"rollout.soaking.{p}" for p in ("recorded", *LOADS, "before_soak", "after_soak")),
    *(f"rollout.proving.{p}" for p in ("recorded", *LOADS)),
    *(f"rollout.canary_small.{p}" for p in ("recorded", *ROUTES)),
    *(f"rollout.canary_half.{p}" for p in ("recorded", *ROUTES)),
    *(f"rollout.probation.{p}" for p in ("recorded", *ROUTES)),
    *(f"rollout.promoted.{p}" for p in (*ROUTES, "recorded")),
)
BACK = (
    *(f"rollout.starting.{p}" for p in ROUTES),
    *(f"rollout.canary_small.{p}" for p in ("recorded", *ROUTES)),
    *(f"rollout.back.{p}" for p in ROUTES),
    "adoption.recorded",
)
"""Dead after the route and before the rows, the next daemon finds the rollback in the route file and adopts it."""
BACK_TO_ITS_ROWS = (
    "rollout.canary_small.after_route",
    "rollout.back.before_route",
    "rollout.rolled_back.recorded",
)
"""The other way: dead after the rows."""
MIDWAY = "rollout.canary_small.after_route"
"""The ingest dies once the canary has begun: from then on its batches hold units."""
END_S = 240.0


@dataclass(frozen=True)
class Armed:
    """Failpoints that kill once each: the daemon that dies at one leaves a file of its name."""

    folder: Path
    names: Sequence[str]

    def value(self) -> str:
        """For HOMEOSTAT_FAILPOINTS."""
        self.folder.mkdir(exist_ok=True)
        midway = (self.folder / MIDWAY).exists()
        names = [*self.names, *(INGEST if midway else ())]
        return ",".join(f"{name}=kill_once:{self.folder / name}" for name in names)

    def missed(self) -> set[str]:
        """Those at which no daemon died."""
        return {*self.names, *INGEST} - {p.name for p in self.folder.iterdir()}


def run(stand: Stand, launcher: Launcher, armed: Armed, thumbs: dict[str, float], end: Phase) -> tuple[Traffic, int]:
    """A rollout to its end under load and kills, and everything that was said committed; the kills."""
    stand.open_rollout()
    daemon = stand.supervisor(launcher.launch, armed.value)
    with Traffic(stand.urls, thumbs) as traffic:
        daemon.start()
        stand.wait_for(end, deadline_s=END_S)
        wait_until(lambda: not armed.missed() and daemon.check(), 60.0, f"the daemon to die at {armed.missed()}")
        wait_until(lambda: cycle_ended(stand) and daemon.check(), 60.0, "the cycle to end with its rollout")
    finish(stand, daemon)
    assert daemon.kills == len({*armed.names, *INGEST})
    return traffic, daemon.kills


def finish(stand: Stand, daemon: Supervisor) -> None:
    """Wait until everything that was said is committed, then stop the daemon."""

    def done() -> bool:
        queued = sum(int(stand.gateway(server)["queued"]) for server in stand.servers)
        return daemon.check() and checks.caught_up(stand.store, stand.home.folder / "log.db", queued)

    wait_until(done, 60.0, "all events to be committed")
    daemon.stop()


def cycle_ended(stand: Stand) -> bool:
    """Whether the cycle saw the end of its rollout."""
    with stand.store.read() as read:
        cycle = cycles.get(read, CYCLE)
    return cycle is not None and not cycle.active


def check_run(stand: Stand, traffic: Traffic, end: Phase) -> checks.Log:
    """The invariants that hold whatever the end was."""
    log = checks.read_log(stand.home.folder / "log.db")
    assert traffic.failures == []
    canary = [r.version for r in traffic.replies if r.arm == "canary"]
    # a new daemon proves again what the dead one had proved: until then the control answers
    assert set(canary) <= {stand.candidate, *(r.version for r in traffic.replies if r.arm == "control")}
    assert canary.count(stand.candidate) > 0.5 * len(canary)
    checks.nothing_lost_or_counted_twice(stand.store, log, traffic)
    checks.ledger_replays(stand.store, stand.rollout, end)
    checks.epochs_rise(stand.routes.seen, log)
    checks.proved_before_served(stand.store, log)
    for server in stand.servers:
        assert stand.gateway(server)["dropped"] == 0
    return log


def test_a_better_candidate_is_promoted_through_a_kill_at_every_step(
    make_stand: MakeStand, launcher: Launcher, tmp_path: Path
) -> None:
    stand = make_stand(2)
    thumbs = {"canary": 0.95, "control": 0.5}
    traffic, kills = run(stand, launcher, Armed(tmp_path / "died", FORWARD), thumbs, Phase.PROMOTED)
    log = check_run(stand, traffic, Phase.PROMOTED)
    counted = checks.units_are_the_sessions(stand.store, log, stand.rollout)
    verdicts = checks.verdicts_are_recomputed(stand.store, stand.rollout)
    assert verdicts["canary_half"] >= 1000.0
    route = stand.routes.seen[-1][1].routes[0]
    assert (route.control, route.split) == (stand.candidate, None)
    with stand.store.read() as read:
        assert [v.version for v in versions.promoted_stack(read, "support")] == [stand.candidate]
    print(
        f"\n{kills} kills, {len(traffic.replies)} requests, {len(traffic.feedback)} thumbs, {counted} units, 0 failed"
    )


@pytest.mark.parametrize("names", [BACK, BACK_TO_ITS_ROWS], ids=["adopted", "recorded"])
def test_a_harmful_candidate_is_rolled_back_through_a_kill_at_every_step(
    make_stand: MakeStand, launcher: Launcher, tmp_path: Path, names: Sequence[str]
) -> None:
    stand = make_stand(1)
    thumbs = {"canary": 0.2, "control": 0.9}
    traffic, kills = run(stand, launcher, Armed(tmp_path / "died", names), thumbs, Phase.ROLLED_BACK)
    log = check_run(stand, traffic, Phase.ROLLED_BACK)
    counted = checks.units_are_the_sessions(stand.store, log, stand.rollout)
    verdicts = checks.verdicts_are_recomputed(stand.store, stand.rollout)
    assert verdicts["rolled_back"] >= 1000.0
    with stand.store.read() as read:
        row = rollouts.get(read, stand.rollout)
        assert denials.is_denied(read, stand.candidate)
    assert row is not None
    assert row.reason == "reward_harm"
    first = next(file for _, file in stand.routes.seen if file.reason.startswith("rolled_back:"))
    checks.never_served_after(stand.routes.seen, log, stand.candidate, first.epoch)
    print(
        f"\n{kills} kills, {len(traffic.replies)} requests, {len(traffic.feedback)} thumbs, {counted} units, 0 failed"
    )


@pytest.mark.soak
@pytest.mark.parametrize("harmful", [False, True], ids=["better", "harmful"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rollout_comes_to_its_end_through_kills_at_random_instants(
    make_stand: MakeStand, launcher: Launcher, seed: int, harmful: bool
) -> None:
    stand, rng = make_stand(1), random.Random(seed)
    thumbs = {"canary": 0.2, "control": 0.9} if harmful else {"canary": 0.95, "control": 0.5}
    end = Phase.ROLLED_BACK if harmful else Phase.PROMOTED
    stand.open_rollout()
    daemon = stand.supervisor(launcher.launch)
    with Traffic(stand.urls, thumbs, seed=seed) as traffic:
        daemon.start()
        began, next_kill = time.monotonic(), rng.expovariate(0.4)

        def struck() -> bool:
            nonlocal next_kill
            if time.monotonic() - began >= next_kill:
                daemon.strike()
                next_kill += rng.expovariate(0.4)
            return daemon.check() and stand.phase() in FINAL

        wait_until(struck, END_S, "the rollout to end between kills")
        wait_until(lambda: cycle_ended(stand) and daemon.check(), 60.0, "the cycle to end with its rollout")
    finish(stand, daemon)
    assert stand.phase() is end
    log = check_run(stand, traffic, end)
    checks.units_are_the_sessions(stand.store, log, stand.rollout)
    checks.verdicts_are_recomputed(stand.store, stand.rollout)
    print(f"\n{daemon.kills} kills, {len(traffic.replies)} requests, 0 failed")
