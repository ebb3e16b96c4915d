"""What denies a candidate before it meets users, and what it only waits for."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from daemon.controller import Controller
from daemon.obstacles import PATIENCE, Obstacle, Tries, weigh
from daemon.residency import NOBODY, Residence
from daemon.store import denials, ledger, rollouts
from deploy.agent import ReplicaState
from deploy.driver_errors import LoadRejected, Unreachable
from deploy.rollout import Phase
from tests.daemon.fake_host import FakeHost, FakeReplica
from tests.daemon.loop_bench import IDENTITY, NEW, LoopBench

AWAY = Residence(False, "unreachable", replica="replica-0")
REFUSED = Residence(False, "load_rejected", replica="replica-0")
WRONG = Residence(False, "no_effect", final=True, replica="replica-0")


def shown(incarnation: str = "1", alive: bool = True) -> list[ReplicaState]:
    return [ReplicaState("replica-0", alive, frozenset(), {}, incarnation)]


def after(*looks: tuple[Obstacle | None, list[ReplicaState]], spared: bool = False) -> str:
    """The answer to the last of several looks."""
    tries, answer = Tries(), ""
    for obstacle, replicas in looks:
        tries, answer = weigh(tries, obstacle, NEW, replicas, spared=spared)
    return answer


def test_a_wrong_proof_speaks_at_once_and_also_of_a_champion_that_is_compared_once_more() -> None:
    look = (Obstacle(NEW, WRONG), shown())
    assert after(look) == after(look, spared=True) == "no_effect"


@pytest.mark.parametrize("reason", [NOBODY, "unreachable", "control_refused", "lora_disabled", "agent_refused"])
def test_a_replica_that_is_away_says_nothing_however_long(reason: str) -> None:
    assert after(*[(Obstacle(NEW, Residence(False, reason)), shown(alive=False))] * 50) == ""


@pytest.mark.parametrize("found", [WRONG, REFUSED, AWAY])
def test_what_fails_of_the_control_says_nothing_of_the_candidate(found: Residence) -> None:
    obstacle = Obstacle(IDENTITY, found)
    assert after(*[(obstacle, shown())] * 50) == ""
    assert obstacle.waits(NEW) == ("unreachable" if found.away else f"control_{found.reason}")


def test_refusals_count_over_absences_and_a_success_forgets_them() -> None:
    refused, away = (Obstacle(NEW, REFUSED), shown()), (Obstacle(NEW, AWAY), shown(alive=False))
    assert after(*[refused] * (PATIENCE - 1)) == ""
    assert after(refused, away, refused, away, refused) == "load_rejected"
    assert after(*[refused] * (PATIENCE - 1), (None, shown()), refused) == ""
    assert after(*[refused] * (PATIENCE + 1), spared=True) == ""


def test_an_engine_that_dies_under_the_candidate_counts_and_a_cut_line_does_not() -> None:
    asked = Obstacle(NEW, AWAY)
    cut = [(asked, shown()), (asked, shown(alive=False))] * (2 * PATIENCE)
    assert after(*cut) == ""
    deaths = [
        look
        for n in range(PATIENCE)
        for look in ((asked, shown(str(n))), (Obstacle(NEW, Residence(False, NOBODY)), shown(str(n), alive=False)))
    ]
    assert after(*deaths) == ""
    assert after(*deaths, (asked, shown(str(PATIENCE)))) == "engine_died"


def waiting(bench: LoopBench) -> str:
    with bench.store.read() as read:
        row = rollouts.get(read, "r1")
    assert row is not None
    return str(row.data["waiting"])


@pytest.mark.slow
def test_replicas_that_are_away_pause_a_rollout_and_its_deadline_ends_it_without_a_denial(bench: LoopBench) -> None:
    for replica in bench.host.replicas:
        replica.alive = False
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(10):
        controller.tick()
    assert (bench.phase(), waiting(bench)) == (Phase.STARTING, NOBODY)
    bench.now += bench.rollout_config.deadline_s
    controller.tick()
    assert bench.phase() is Phase.INCONCLUSIVE
    with bench.store.read() as read:
        assert not denials.is_denied(read, NEW)


@pytest.mark.slow
def test_a_rollout_goes_on_when_its_replicas_are_back(bench: LoopBench) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    controller.tick()
    for replica in bench.host.replicas:
        replica.alive = False
    for _ in range(10):
        controller.tick()
    assert bench.phase() is Phase.SOAKING
    for replica in bench.host.replicas:
        replica.restart()
        replica.alive = True
    for _ in range(3):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL


def live(bench: LoopBench, host: FakeHost) -> Controller:
    """A daemon whose rollout has a share of the users."""
    bench.host = host
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(4):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    return controller


@dataclass
class RefusingHost(FakeHost):
    """Replicas that refuse a version, or die of it, after they have been restarted."""

    dies: bool = False
    refuses: set[str] = field(default_factory=set[str])

    def ensure_loaded(self, version: str, replica: str) -> None:
        """Load, unless it is refused."""
        if version in self.refuses:
            if self.dies:
                self.replica(replica).restart()
                raise Unreachable("the connection was cut")
            raise LoadRejected("no slot fits it")
        super().ensure_loaded(version, replica)


@pytest.mark.slow
@pytest.mark.parametrize(("dies", "reason"), [(False, "load_rejected"), (True, "engine_died")])
def test_a_load_that_fails_in_front_of_users_is_a_kill_switch(bench: LoopBench, dies: bool, reason: str) -> None:
    host = RefusingHost([FakeReplica("replica-0"), FakeReplica("replica-1")], dies=dies)
    controller = live(bench, host)
    host.refuses = {NEW}
    host.replicas[0].restart()
    ticks = 0
    while bench.phase() is Phase.CANARY_SMALL:
        controller.tick()
        ticks += 1
        assert ticks <= 3 * PATIENCE
    assert ticks >= PATIENCE, "one failure may have another cause"
    assert (bench.phase(), bench.reason()) == (Phase.ROLLED_BACK, reason)
    assert host.route is not None and host.route.routes[0].split is None and host.route.routes[0].control == IDENTITY
    with bench.store.read() as read:
        assert denials.is_denied(read, NEW)
        entry = ledger.about(read, "r1")[-1]
    assert entry.data["signal"] == "kill_switch"


@pytest.mark.slow
def test_one_refusal_in_front_of_users_is_forgiven_when_the_next_try_loads(bench: LoopBench) -> None:
    host = RefusingHost([FakeReplica("replica-0"), FakeReplica("replica-1")])
    controller = live(bench, host)
    for _ in range(PATIENCE):
        host.refuses = {NEW}
        host.replicas[0].restart()
        controller.tick()
        assert waiting(bench) == "load_rejected"
        host.refuses = set()
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
