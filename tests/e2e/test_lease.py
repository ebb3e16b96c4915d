"""A daemon that is dead for longer than the lease: its canary ends by itself, and goes on when the daemon is back."""

from __future__ import annotations

import time

import pytest

from deploy.rollout import Phase
from tests.e2e import checks
from tests.e2e.conftest import MakeStand
from tests.e2e.daemons import execute
from tests.e2e.stand import LEASE_S
from tests.e2e.traffic import Traffic
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.trainer, pytest.mark.slow]


def test_a_canary_whose_daemon_died_ends_with_its_lease_and_resumes_with_the_daemon(make_stand: MakeStand) -> None:
    stand = make_stand(1)
    stand.open_rollout()
    daemon = stand.supervisor(execute)
    with Traffic(stand.urls, {"canary": 0.95, "control": 0.5}) as traffic:

        def canaries(since: float) -> int:
            daemon.check()
            return sum(r.arm == "canary" for r in traffic.since(since))

        daemon.start()
        stand.wait_for(Phase.CANARY_SMALL, Phase.CANARY_HALF, deadline_s=120.0)
        wait_until(lambda: canaries(0.0) >= 3, 60.0, "the canary to answer")
        daemon.kill()
        died = time.time()
        wait_until(lambda: not any(stand.gateway(stand.servers[0])["lease_left_s"].values()), 30.0, "the lease to end")
        expired = time.time()
        control = wait_until(
            lambda: traffic.since(expired)[60:] and traffic.since(expired), 60.0, "the control to answer alone"
        )
        phase = stand.phase()
        daemon.start()
        back = time.time()
        wait_until(lambda: canaries(back) >= 3, 120.0, "the canary to answer again")
        assert stand.phase() in (phase, Phase.CANARY_HALF, Phase.PROBATION)
        stand.wait_for(Phase.PROMOTED, deadline_s=120.0)
    assert canaries(died) > canaries(expired), "the lease outlives its daemon for a while"
    assert {r.arm for r in control} == {"control"}
    assert len({r.version for r in control} - {stand.candidate}) == 1

    def done() -> bool:
        queued = int(stand.gateway(stand.servers[0])["queued"])
        return daemon.check() and checks.caught_up(stand.store, stand.home.folder / "log.db", queued)

    wait_until(done, 60.0, "all events to be committed")
    daemon.stop()
    assert traffic.failures == []
    log = checks.read_log(stand.home.folder / "log.db")
    late = [x for _, x in log.exchanges if died + LEASE_S + 0.1 < x.dispatched_at < expired + 2.0]
    assert late
    assert all((x.arm, x.propensity) == ("control", 0.0) for x in late)
    checks.nothing_lost_or_counted_twice(stand.store, log, traffic)
    checks.units_are_the_sessions(stand.store, log, stand.rollout)
    checks.verdicts_are_recomputed(stand.store, stand.rollout)
    checks.ledger_replays(stand.store, stand.rollout, Phase.PROMOTED)
    checks.epochs_rise(stand.routes.seen, log)
    last = max(r.sent_at for r in traffic.replies if r.arm == "canary" and r.sent_at < expired)
    print(f"\nthe last canary request came {last - died:.1f} s after the kill, 0 failed")
