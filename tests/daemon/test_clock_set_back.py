"""What a clock that was set back, or runs ahead, must not change."""

from __future__ import annotations

import pytest

from daemon.routing import Routing
from daemon.store import Store, jobs, versions
from deploy.routes import Split
from tests.daemon.fake_host import FakeHost, FakeReplica
from tests.daemon.loop_bench import IDENTITY, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow


def test_a_lease_is_renewed_although_the_clock_was_set_back() -> None:
    now = 5000.0
    host = FakeHost([FakeReplica("replica-0")])
    routing = Routing(host, "support", "support", lambda: now)
    split = Split(rollout="r1", candidate=NEW, share=0.1, lease_s=30.0)
    routing.serve(IDENTITY, split, generation=0, actor="daemon", reason="canary_small")
    assert not routing.renew(10.0)
    now = 1000.0
    assert routing.renew(10.0)


def test_a_heartbeat_from_the_future_does_not_keep_a_job_that_long(store: Store) -> None:
    with store.begin() as tx:
        jobs.create(tx, job="j", cycle="c", spec={}, max_attempts=3, at=0.0)
        jobs.claim(tx, "worker", now=4000.0)
        assert jobs.expire(tx, now=100.0, lease_s=15.0) == []
        assert [job.state for job in jobs.expire(tx, now=116.0, lease_s=15.0)] == ["queued"]


def test_the_newest_promotion_is_the_top_of_the_stack_although_the_clock_was_set_back(bench: LoopBench) -> None:
    bench.register(OLD, NEW)
    with bench.store.begin() as tx:
        versions.promote(tx, OLD, 5000.0)
        versions.promote(tx, NEW, 1000.0)
        assert [v.version for v in versions.promoted_stack(tx, "support")] == [NEW, OLD]
