"""The drift policy rolls a promotion back: once, by the usual way, where the operator lets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.acting import DENIED_AS
from daemon.config import Config
from daemon.controller import Controller
from daemon.explain.subject import explain
from daemon.rollback import record
from daemon.store import Store, alarms, cycles, denials, ledger, rollouts, suspended
from daemon.store.open import StoreUnavailable
from deploy.rollout import Phase
from deploy.routes import Route, RouteFile
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow
LETS = "policy: {roll_back_after_promotion: roll_back}"


def alarm(at: float, cause: str = "changed_answers", name: str = "a1") -> alarms.AlarmRow:
    body = {"evidence": {"cause": cause}, "slice": None}
    return alarms.AlarmRow(name, "support", "reward", "esr_fall", True, True, at, body)


def raised(store: Store, row: alarms.AlarmRow) -> None:
    with store.begin() as tx:
        alarms.insert_new(tx, [row])


def just_promoted(bench: LoopBench) -> Controller:
    """``NEW`` was promoted 100 s ago by a cycle of its own, above ``OLD``, and serves."""
    bench.register(OLD, NEW, promoted=True)
    bench.open_rollout(control=OLD)
    ended = bench.now - 100.0
    data = {"config": bench.rollout_config.model_dump(mode="json"), "slice": None}
    with bench.store.begin() as tx:
        rollouts.update_phase(
            tx, "r1", phase=Phase.PROMOTED.value, reason="no_harm_in_probation", at=ended, data=data, ended=True
        )
        cycles.create(
            tx, cycle="c1", deployment="support", cause="a0", phase="done", reason="x", data={"rollout": "r1"}, at=1.0
        )
        cycles.update_phase(tx, "c1", phase="done", reason="x", data={"rollout": "r1"}, at=ended, active=False)
    bench.host.write_route(RouteFile(epoch=5, actor="daemon", reason="promoted", written_at=0.0, routes=(to(NEW),)))
    controller, _ = bench.daemon()
    controller.tick()
    return controller


def to(version: str) -> Route:
    return Route(deployment="support", alias="support", control=version)


def serves(bench: LoopBench) -> str | None:
    assert bench.host.route is not None
    return bench.host.route.routes[0].control


def told(bench: LoopBench, name: str = "a1") -> tuple[str | None, list[str]]:
    """An alarm's answer, and the commands that its explanation names."""
    with bench.store.read() as read:
        row = alarms.get(read, name)
        found = explain(bench.store, read, name, bench.config(), bench.now)
    assert row is not None and found is not None
    return row.answer, [r.command for r in found.can_do]


@pytest.mark.parametrize("mode", ["canary", "auto"])
def test_worse_answers_soon_after_a_promotion_roll_it_back(tmp_path: Path, store: Store, mode: str) -> None:
    bench = LoopBench(tmp_path, store, mode=mode, more=LETS)
    controller = just_promoted(bench)
    raised(store, alarm(bench.now - 10.0))
    controller.tick()
    assert serves(bench) == OLD
    status = controller.status()
    assert (status["champion"], status["previous"], status["cycle"]) == (OLD, IDENTITY, None)
    with store.read() as read:
        denied = denials.of_deployment(read, "support")
        (entry,) = [e for e in ledger.of_subject(read, NEW) if e.reason == "worse_after_promotion"]
        assert suspended.all_ids(read) == set(), "an alarm is no harm verdict"
        version = explain(store, read, NEW, bench.config(), bench.now)
    assert denied[NEW].reason == DENIED_AS and denied.keys() == {NEW}
    assert (entry.actor, entry.data["alarm"], entry.data["to"]) == ("daemon", "a1", OLD)
    assert version is not None and "Known questions were answered worse" in version.decided.words
    assert told(bench)[0] == "worse_after_promotion"
    for _ in range(3):
        controller.tick()
    assert serves(bench) == OLD


@pytest.mark.parametrize(
    ("mode", "more", "row", "commands"),
    [
        ("auto", "", {}, True),
        ("propose", LETS, {}, True),
        ("auto", LETS, {"cause": "new_inputs"}, False),
        ("auto", LETS, {"at": 2000.0 - 100.0}, False),
        ("auto", "cycle: {promotion_watch_s: 50}\n" + LETS, {}, False),
    ],
    ids=["default tells", "mode propose", "other cause", "seen before it", "too late"],
)
def test_else_nothing_is_rolled_back_and_the_alarm_says_who_may(
    tmp_path: Path, store: Store, mode: str, more: str, row: dict[str, object], commands: bool
) -> None:
    bench = LoopBench(tmp_path, store, mode=mode, more=more)
    controller = just_promoted(bench)
    raised(store, alarm(**{"at": bench.now - 10.0, **row}))  # pyright: ignore[reportArgumentType]
    assert ("homeostat rollback" in told(bench)[1]) is commands
    for _ in range(3):
        controller.tick()
    assert serves(bench) == NEW
    with store.read() as read:
        assert not denials.of_deployment(read, "support")


def test_a_second_alarm_rolls_nothing_more_back_and_the_cooldown_is_doubled(tmp_path: Path, store: Store) -> None:
    bench = LoopBench(tmp_path, store, more="cycle: {cooldown_s: 100, reward_grace_s: 0}\n" + LETS)
    controller = just_promoted(bench)
    raised(store, alarm(bench.now - 10.0))
    controller.tick()
    bench.now += 50.0
    raised(store, alarm(bench.now, name="a2"))
    raised(store, alarm(bench.now - 60.0, name="a3"))
    controller.tick()
    assert serves(bench) == OLD
    assert told(bench, "a2")[0] is None
    assert told(bench, "a3")[0] == "same_cause", "it was seen before the rollback"
    bench.now += 100.0
    controller.tick()
    assert controller.status()["cycle"] is None, "a hundred seconds of cooldown, doubled"
    bench.now += 60.0
    controller.tick()
    assert controller.status()["cycle"]["cause"] == "a2"
    assert serves(bench) == OLD


def test_a_crash_between_the_route_and_its_rows_rolls_back_once(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = LoopBench(tmp_path, store, more=LETS)
    controller = just_promoted(bench)
    raised(store, alarm(bench.now - 10.0))

    def dies(*_: object, **__: object) -> None:
        raise StoreUnavailable("killed here")

    with monkeypatch.context() as patch:
        patch.setattr("daemon.rollback.record", dies)
        with pytest.raises(StoreUnavailable):
            controller.tick()
    assert serves(bench) == OLD
    controller, _ = bench.daemon()
    for _ in range(3):
        controller.tick()
    assert serves(bench) == OLD
    with store.read() as read:
        denied = denials.of_deployment(read, "support")
    assert {name: d.reason for name, d in denied.items()} == {NEW: DENIED_AS}
    assert told(bench)[0] == "same_cause"
    assert record is not dies


def test_a_person_who_was_faster_is_not_followed_by_a_second_step(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = LoopBench(tmp_path, store, more=LETS)
    controller = just_promoted(bench)
    raised(store, alarm(bench.now - 10.0))
    parts = controller._p  # pyright: ignore[reportPrivateUsage]
    slow: Callable[..., str | None] = parts.learning.tick

    def overtaken(*args: object) -> str | None:
        found = slow(*args)
        controller.rollback(ME, None, False)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(parts.learning, "tick", overtaken)
        controller.tick()
    assert serves(bench) == OLD
    for _ in range(3):
        controller.tick()
    assert serves(bench) == OLD
    with store.read() as read:
        denied = denials.of_deployment(read, "support")
    assert {name: d.reason for name, d in denied.items()} == {NEW: "rolled_back:by_person"}


@pytest.mark.parametrize(("phase", "left"), [("rolling", False), ("collecting", True)])
def test_a_running_cycle_does_not_keep_it_but_one_that_has_not_noted_its_promotion_does(
    tmp_path: Path, store: Store, phase: str, left: bool
) -> None:
    bench = LoopBench(tmp_path, store, more=LETS)
    controller = just_promoted(bench)
    with store.begin() as tx:
        data: dict[str, Any] = {"overrides": {}, "slice": None}
        if phase == "rolling":  # the alarm came in the canary, the promotion a moment ago, by a person's word
            cycles.update_phase(tx, "c1", phase=phase, reason="x", data=data | {"rollout": "r1"}, at=bench.now - 50.0)
        else:
            cycles.create(
                tx, cycle="c2", deployment="support", cause="a9", phase=phase, reason="x", data=data, at=bench.now
            )
    raised(store, alarm(bench.now - 10.0))
    controller.tick()
    assert (serves(bench) == OLD) is left
    controller.tick()
    assert (serves(bench) == OLD) is left


def test_the_default_is_to_tell() -> None:
    assert Config().policy.roll_back_after_promotion == "tell"
