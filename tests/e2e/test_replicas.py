"""Two replicas on one host: a rollback under load reaches both, and one of them is killed and comes back."""

from __future__ import annotations

import time

import pytest

from daemon.store import denials, versions
from deploy.rollout import Phase
from tests.e2e import checks
from tests.e2e.conftest import MakeStand
from tests.e2e.daemons import Launcher
from tests.e2e.stand import Stand
from tests.e2e.traffic import Traffic
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.trainer, pytest.mark.slow]


def dispatched(stand: Stand) -> list[int]:
    """Requests that each gateway handed to the candidate since its start."""
    found = [stand.gateway(s)["versions"].get(stand.candidate, {}) for s in stand.servers]
    return [int(one.get("dispatched", 0)) for one in found]


def test_after_a_rollback_is_acknowledged_neither_replica_dispatches_to_the_version(
    make_stand: MakeStand, launcher: Launcher
) -> None:
    stand = make_stand(2)
    stand.open_rollout()
    daemon = stand.supervisor(launcher.launch)
    with Traffic(stand.urls, {"canary": 0.8, "control": 0.8}) as traffic:
        daemon.start()
        stand.wait_for(Phase.CANARY_SMALL, Phase.CANARY_HALF, deadline_s=120.0)
        assert stand.command("promote")["phase"] == "probation"
        assert stand.command("promote")["phase"] == "promoted"
        before = dispatched(stand)
        wait_until(
            lambda: all(now >= then + 20 for now, then in zip(dispatched(stand), before, strict=True)),
            60.0,
            "both replicas to serve the promoted version",
        )
        answer = stand.command("rollback")
        after = time.time()
        wait_until(lambda: len(traffic.since(after)) >= 100, 60.0, "traffic after the rollback")
    assert traffic.failures == []
    assert answer["from"] == stand.candidate
    assert answer["gateways"] == {"replica-0": True, "replica-1": True}
    for server in stand.servers:
        seen = stand.gateway(server)
        assert seen["epoch"] == answer["epoch"]
        assert seen["versions"][stand.candidate]["last_dispatch"] <= answer["acked_at"]
        assert seen["versions"][stand.candidate]["in_flight"] == 0
    wait_until(lambda: not any(stand.gateway(s)["queued"] for s in stand.servers), 30.0, "the captures to be written")
    daemon.stop()
    log = checks.read_log(stand.home.folder / "log.db")
    ours = [(source, x) for source, x in log.exchanges if x.version == stand.candidate]
    assert {source for source, _ in ours} == {"/gateway/replica-0", "/gateway/replica-1"}
    assert max(x.dispatched_at for _, x in ours) <= answer["acked_at"]
    assert {r.version for r in traffic.since(after)} == {answer["to"]}
    checks.never_served_after(stand.routes.seen, log, stand.candidate, answer["epoch"])
    checks.proved_before_served(stand.store, log)
    with stand.store.read() as read:
        assert denials.is_denied(read, stand.candidate)
        assert versions.promoted_stack(read, "support") == []
    print(f"\nrolled back in {answer['ms']} ms with {len(ours)} requests served before, 0 failed")


def test_a_replica_that_was_killed_in_a_canary_is_reconciled_and_proved_before_it_serves(
    make_stand: MakeStand, launcher: Launcher
) -> None:
    stand = make_stand(2)
    one, other = stand.servers
    stand.open_rollout()
    daemon = stand.supervisor(launcher.launch)
    thumbs = {"canary": 0.8, "control": 0.8}  # good enough to go on, not to be promoted
    with Traffic(stand.urls, thumbs, balanced=True) as traffic:
        daemon.start()
        stand.wait_for(Phase.CANARY_SMALL, Phase.CANARY_HALF, deadline_s=120.0)
        wait_until(lambda: all(dispatched(stand)), 60.0, "both replicas to serve the canary")
        other.kill()
        killed = time.time()

        def alone() -> bool:
            seen = [r for r in traffic.since(killed + 1.0) if r.arm == "canary"]
            return daemon.check() and len(seen) >= 10

        wait_until(alone, 60.0, "the canary to go on with one replica")
        restarted = time.time()
        other.start()
        answers = time.time()
        wait_until(lambda: traffic.ready[other.name][-1] == 200, 60.0, "the replica to be ready again")
        back = time.time()
        proved = set(stand.gateway(other)["proved"])
        wait_until(lambda: len([r for r in traffic.since(back) if r.replica == other.name]) >= 20, 60.0, "it to serve")
        wait_until(
            lambda: stand.candidate in stand.gateway(other)["proved"], 60.0, "the candidate to be proved there again"
        )
        thumbs |= {"canary": 0.95, "control": 0.5}
        stand.wait_for(Phase.PROMOTED, deadline_s=120.0)
    daemon.stop()
    assert traffic.failures == []
    assert set(traffic.broken_off) <= {other.name}
    assert traffic.ready[one.name] == [200]
    assert traffic.ready[other.name] == [200, 0, 503, 200]
    assert {r.replica for r in traffic.replies if killed + 1.0 < r.sent_at < restarted} == {one.name}
    log = checks.read_log(stand.home.folder / "log.db")
    control = next(x.version for _, x in log.exchanges if x.arm == "control")
    assert control in proved
    served = {x.version for source, x in log.exchanges if source.endswith(other.name) and x.dispatched_at >= restarted}
    assert served == {control, stand.candidate}
    checks.proved_before_served(stand.store, log, {other.name: restarted})
    checks.units_are_the_sessions(stand.store, log, stand.rollout)
    checks.verdicts_are_recomputed(stand.store, stand.rollout)
    checks.ledger_replays(stand.store, stand.rollout, Phase.PROMOTED)
    checks.epochs_rise(stand.routes.seen, log)
    print(
        f"\nready {back - answers:.1f} s after it answered, {len(traffic.broken_off)} requests broken off by the kill"
    )
