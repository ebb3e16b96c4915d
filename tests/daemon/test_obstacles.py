"""What denies a candidate before it meets users, and what it only waits for."""

from __future__ import annotations

import pytest

from daemon.obstacles import PATIENCE, Obstacle, Tries, weigh
from daemon.residency import NOBODY, Residence
from daemon.store import denials, rollouts
from deploy.agent import ReplicaState
from deploy.rollout import Phase
from tests.daemon.loop_bench import IDENTITY, NEW, LoopBench

AWAY = Residence(False, "unreachable", replica="replica-0")
REFUSED = Residence(False, "load_rejected", replica="replica-0")
WRONG = Residence(False, "no_effect", final=True, replica="replica-0")


def shown(incarnation: str = "1", alive: bool = True) -> list[ReplicaState]:
    return [ReplicaState("replica-0", alive, frozenset(), {}, incarnation)]


def after(*looks: tuple[Obstacle | None, list[ReplicaState]], live: bool = False) -> str:
    """The answer to the last of several looks."""
    tries, answer = Tries(), ""
    for obstacle, replicas in looks:
        tries, answer = weigh(tries, obstacle, NEW, replicas, live=live)
    return answer


def test_a_wrong_proof_speaks_at_once_and_also_in_front_of_users() -> None:
    look = (Obstacle(NEW, WRONG), shown())
    assert after(look) == after(look, live=True) == "no_effect"


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
    assert after(*[refused] * (PATIENCE + 1), live=True) == ""


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
