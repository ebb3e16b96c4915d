"""A promoted version that was left leaves what it was trained for unanswered: the alarm is open again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import freeze
from daemon.cycle import choose
from daemon.cycle_standing import standing_now
from daemon.explain import alarms as told_alarms
from daemon.label_requests import load
from daemon.store import Store, alarms, cycles, denials, ledger, rollouts
from daemon.store.cycles import Cycle
from daemon.store.rollouts import Rollout
from deploy.rollout import Phase
from deploy.routes import Route, RouteFile
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

ALARMS = {OLD: "a1", NEW: "a2"}


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> LoopBench:
    """``OLD`` and then ``NEW`` were promoted, each for an input alarm of its own, long ago."""
    made = LoopBench(tmp_path, store, more="cycle: {cooldown_s: 100.0, min_labels: 5}")
    made.register(OLD, NEW, promoted=True)
    for number, (version, control) in enumerate(((OLD, IDENTITY), (NEW, OLD)), start=1):
        promoted(made, number, version, control, made.now - 1000.0 + 100.0 * number)
    route = Route(deployment="support", alias="support", control=NEW)
    made.host.write_route(RouteFile(epoch=3, actor="daemon", reason="promoted", written_at=0.0, routes=(route,)))
    return made


def promoted(bench: LoopBench, number: int, version: str, control: str, at: float) -> None:
    """The rows of a promotion at ``at``."""
    data: dict[str, Any] = {"rollout": f"r{number}", "overrides": {}}
    config = {"config": bench.config().rollout.model_dump(mode="json"), "slice": None, "cycle": f"c{number}"}
    cause = ALARMS[version]
    with bench.store.begin() as tx:
        row = (control, cause, Phase.PROMOTED.value, False, "x", config, at - 50.0, at, at, at)
        rollouts.create(tx, rollouts.Rollout(f"r{number}", "support", version, *row))
        names: dict[str, Any] = {"cycle": f"c{number}", "deployment": "support", "cause": cause}
        cycles.create(tx, **names, phase="rolling", reason="x", data=data, at=at - 60.0)
        cycles.update_phase(tx, f"c{number}", phase="done", reason="x", data=data, at=at, active=False)
        body = {"evidence": {"cause": "new_inputs"}, "slice": None}
        alarms.insert_new(tx, [alarms.AlarmRow(cause, "support", "input", "e_sr", True, True, at - 70.0, body)])
        alarms.answer(tx, cause, f"c{number}")


def open_alarms(store: Store) -> list[str]:
    with store.read() as read:
        return [a.alarm_id for a in alarms.unanswered(read, "support")]


def entries(store: Store) -> list[tuple[str, str]]:
    with store.read() as read:
        told = [e for name in ALARMS.values() for e in ledger.about(read, name)]
    return [(e.subject, e.reason) for e in told if e.kind == "alarm"]


@pytest.mark.parametrize("way", ["asked", "at_the_host"])
def test_after_a_rollback_the_alarm_is_open_and_labels_are_asked_for(bench: LoopBench, way: str) -> None:
    controller, _ = bench.daemon()
    controller.tick()
    assert open_alarms(bench.store) == []
    if way == "asked":
        controller.rollback(ME, None, False)
    else:
        route = Route(deployment="support", alias="support", control=OLD)
        file = RouteFile(epoch=99, actor="ann", reason=f"rollback:{NEW}", written_at=0.0, routes=(route,))
        bench.host.write_route(file)
        controller.tick()
    assert open_alarms(bench.store) == ["a2"]
    assert entries(bench.store) == [("a2", "unanswered_again")]
    with bench.store.read() as read:
        row, now = alarms.get(read, "a2"), standing_now(read, bench.config())
        assert row is not None
        told = told_alarms.explain(read, row, bench.config(), bench.now)
        asked_now = choose(now, bench.config().cycle, bench.now)
    assert f"{NEW} was trained for it and rolled back: it is unanswered again." in told.notes
    assert (now.last_end, now.rollbacks_same_cause) == (bench.now, 1), "cooldown and freeze count from the rollback"
    assert asked_now.reason == "cooldown" and asked_now.ask in (("a2",), ())
    controller.tick()
    with bench.store.read() as read:
        assert [r.alarm for r in load(read)] == ["a2"]
        after = choose(standing_now(read, bench.config()), bench.config().cycle, bench.now + 1000.0)
    assert (after.alarm_id, after.reason) == (None, "labels_asked")


def test_what_came_of_it_is_the_next_cycles(bench: LoopBench) -> None:
    controller, _ = bench.daemon()
    controller.tick()
    controller.rollback(ME, None, False)
    with bench.store.begin() as tx:
        alarms.answer(tx, "a2", "c3")
    controller.rollback(ME, None, False)
    assert open_alarms(bench.store) == ["a1"], "of what was left second"
    assert sorted(entries(bench.store)) == [("a1", "unanswered_again"), ("a2", "unanswered_again")]


def test_one_rollback_over_two_versions_counts_once(bench: LoopBench) -> None:
    controller, _ = bench.daemon()
    controller.tick()
    controller.rollback(ME, IDENTITY, False)
    assert open_alarms(bench.store) == ["a1", "a2"]
    with bench.store.read() as read:
        assert freeze.rollbacks(read, "support") == 1
        standing = standing_now(read, bench.config())
    assert standing.last_promoted is None, "no promotion answers for anything any more"


def test_two_rollbacks_of_promoted_versions_freeze_and_a_lifted_denial_counts_no_more(bench: LoopBench) -> None:
    controller, _ = bench.daemon()
    controller.tick()
    controller.rollback(ME, None, False)
    bench.now += 10.0
    controller.tick()
    controller.rollback(ME, None, False)
    with bench.store.read() as read:
        assert freeze.rollbacks(read, "support") == 2
        assert choose(standing_now(read, bench.config()), bench.config().cycle, 1e9).reason == "frozen_after_rollbacks"
    with bench.store.begin() as tx:
        denials.lift(tx, NEW, reason="why not", at=bench.now)
    with bench.store.read() as read:
        assert freeze.rollbacks(read, "support") == 0, "the newest promotion stands"


ENDS = (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.DENIED, Phase.INCONCLUSIVE, Phase.KEPT)


@given(
    st.lists(st.tuples(st.sampled_from(ENDS), st.booleans(), st.booleans()), max_size=12),
    st.integers(0, 12),
)
def test_the_count_goes_back_to_the_newest_success(past: list[tuple[Phase, bool, bool]], thawed: int) -> None:
    """Newest first: (end, left since, asked for by a person)."""
    held, ends, left = list[Cycle](), dict[str, Rollout](), dict[str, float]()
    expected, over = 0, False
    for number, (phase, gone, manual) in enumerate(past):
        cause, at = "manual" if manual else "a", 100.0 - number
        name = f"v{number}"
        held.append(Cycle(f"c{number}", "d", cause, "done", False, "x", {"rollout": f"r{number}"}, at, at))
        ends[f"r{number}"] = Rollout(
            f"r{number}", "d", name, None, cause, phase.value, False, "x", {}, at, at, at, at + 0.5
        )  # fmt: skip
        if gone:
            left[name] = at
        over = over or number == thawed
        if over or phase is Phase.KEPT:
            continue
        over = phase is Phase.INCONCLUSIVE or (phase is Phase.PROMOTED and not gone)
        expected += not over and not manual
    assert freeze.in_a_row(held, ends, f"c{thawed}", left) == expected
    together = dict.fromkeys(left, 1.0)
    assert freeze.in_a_row(held, ends, f"c{thawed}", together) <= expected
