"""What a rollback must not lose to a faster writer, a failing store or a tick under way."""

from __future__ import annotations

import pytest

import daemon.rolling
from daemon.adoption import left_on_host
from daemon.faults import Refused
from daemon.standing import left_behind
from daemon.store import StoreUnavailable, fences, versions
from deploy.driver_errors import Unreachable
from deploy.rollout import Phase
from deploy.verdict import Judgement
from tests.daemon.going_back import (
    OLDEST,
    denied,
    fails,
    in_canary,
    no_store,
    once,
    route_file,
    serving,
    started,
)
from tests.daemon.loop_bench import IDENTITY, ME, NEW, OLD, LoopBench

pytestmark = pytest.mark.slow


def test_one_wish_does_not_go_back_twice_when_somebody_at_the_host_was_faster(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, OLD)
    controller.tick()
    assert serving(bench) == OLD
    assert denied(bench) == {NEW}


def test_a_rollback_goes_on_above_a_writer_that_was_faster_and_went_elsewhere(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, NEW, "promoted"))
    answer = controller.rollback(ME, None, False)
    assert (answer["to"], answer["epoch"]) == (OLD, 8)
    assert serving(bench) == OLD


def test_a_rollback_is_done_although_the_store_fails_and_its_rows_come_with_the_next_tick(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        answer = controller.rollback(ME, None, False)
    assert answer["recorded"] is False
    assert serving(bench) == OLD
    controller.tick()
    assert denied(bench) == {NEW}


def test_two_rollbacks_while_the_store_is_away_deny_what_both_have_left(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, None, False)
    controller.rollback(ME, None, False)
    assert serving(bench) == IDENTITY, "the nearest that is loaded"
    assert denied(bench) == {NEW, OLD}


def test_a_route_written_over_an_unrecorded_rollback_takes_nothing_from_it(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, None, False)
        bench.host.write_route(route_file(9, OLDEST, f"rollback:{OLD}"))
        with pytest.raises(StoreUnavailable):
            controller.tick()
    controller.tick()
    assert denied(bench) == {NEW, OLD}


def test_two_steps_at_the_host_between_two_looks_are_both_recorded_by_the_next_rollback(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    bench.host.write_route(route_file(9, OLDEST, f"rollback:{OLD}"))
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        with pytest.raises(StoreUnavailable):
            controller.tick()
    controller.rollback(ME, None, False)
    assert serving(bench) == IDENTITY
    assert denied(bench) == {NEW, OLD, OLDEST}


def test_a_rollback_that_finds_two_steps_at_the_host_records_both(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    bench.host.write_route(route_file(8, OLDEST, f"rollback:{OLD}"))
    monkeypatch.setattr(fences, "adopt", once(fences.adopt))
    assert controller.rollback(ME, None, False)["to"] == OLDEST
    controller.tick()
    assert serving(bench) == OLDEST
    assert denied(bench) == {NEW, OLD}


def test_a_rollback_passes_over_what_is_loaded_and_not_proved(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    for replica in bench.host.replicas:
        del replica.proved[OLD]
    controller.tick()
    for replica in bench.host.replicas:
        replica.proved = {**replica.proved, OLD: False}
    bench.host.without_effect.add(OLD)
    controller.tick()
    assert controller.rollback(ME, None, False)["to"] == IDENTITY


def test_a_rollback_goes_to_what_is_loaded_while_an_agent_proves_anew(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_version: str, replica: str) -> None:
        raise Unreachable(f"{replica} does not answer")

    controller = started(bench, OLDEST, OLD, NEW)
    monkeypatch.setattr(bench.host, "ensure_loaded", away)
    monkeypatch.setattr(bench.host, "prove", away)
    for replica in bench.host.replicas:
        replica.models, replica.proved = {NEW, IDENTITY}, {NEW: True}
    controller.tick()
    assert controller.rollback(ME, None, False)["to"] == IDENTITY


def test_an_approval_is_not_taken_back_by_a_later_rollback(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, None, False)
    controller.tick()
    controller.approve(ME, NEW)
    controller.rollback(ME, None, False)
    assert denied(bench) == {OLD}


def test_a_route_found_past_a_canarys_control_denies_the_control_too(bench: LoopBench) -> None:
    bench.register(OLDEST, OLD, promoted=True)
    bench.host.write_route(route_file(1, OLD, "promoted"))
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    for _ in range(4):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL
    bench.host.write_route(route_file(9, OLDEST, f"rollback:{OLD}"))
    controller.tick()
    assert bench.phase() is Phase.ROLLED_BACK
    assert denied(bench) == {NEW, OLD}


def test_a_second_rollback_before_the_next_tick_goes_to_what_is_loaded(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, None, False)
    assert controller.rollback(ME, None, False)["to"] == IDENTITY
    assert denied(bench) == {OLD, NEW}, "nobody left the one that was not loaded"


def test_rows_that_come_later_deny_what_the_route_names_and_not_what_was_not_loaded(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, None, False)
        assert controller.rollback(ME, None, False)["to"] == IDENTITY
    again, _ = bench.daemon()
    again.tick()
    assert denied(bench) == {OLD, NEW}


def test_a_second_rollback_without_a_store_leaves_what_the_first_came_back_to(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    with monkeypatch.context() as patch:
        for access in ("begin", "read"):
            patch.setattr(bench.store, access, no_store)
        first = controller.rollback(ME, None, False)
        second = controller.rollback(ME, None, False)
    assert (first["from"], first["to"]) == (NEW, OLD)
    assert (second["from"], second["to"]) == (OLD, OLDEST)
    assert serving(bench) == OLDEST


def test_a_second_rollback_leaves_what_the_first_came_back_to_although_no_row_can_be_written(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: what is there can be read."""
    controller = in_canary(bench)
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "begin", no_store)
        controller.rollback(ME, None, False)
        second = controller.rollback(ME, None, False)
    assert (second["from"], second["to"]) == (OLD, OLDEST)
    controller.tick()
    assert (denied(bench), bench.phase(), serving(bench)) == ({NEW, OLD}, Phase.ROLLED_BACK, OLDEST)


def test_a_promotion_whose_rows_are_still_to_come_is_what_a_rollback_leaves(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = in_canary(bench)
    assert controller.promote(ME)["phase"] == "probation"
    with monkeypatch.context() as patch:
        patch.setattr(versions, "promote", no_store)
        with pytest.raises(StoreUnavailable):
            controller.promote(ME)
    assert serving(bench) == NEW
    answer = controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (NEW, OLD)
    controller.tick()
    assert (denied(bench), bench.phase(), serving(bench)) == ({NEW}, Phase.ROLLED_BACK, OLD)


def test_a_named_target_that_was_left_at_the_host_is_refused_without_a_store_too(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    bench.host.write_route(route_file(7, OLD, f"rollback:{NEW}"))
    bench.host.write_route(route_file(8, OLDEST, f"rollback:{OLD}"))
    with monkeypatch.context() as patch:
        for access in ("begin", "read"):
            patch.setattr(bench.store, access, no_store)
        with pytest.raises(Refused) as refused:
            controller.rollback(ME, OLD, False)
    assert refused.value.reason == "no_rollback_target"
    assert serving(bench) == OLDEST


def test_a_named_target_is_in_the_route_with_all_that_it_passes_over(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(fences, "adopt", fails)
        controller.rollback(ME, IDENTITY, False)
    again, _ = bench.daemon()
    again.tick()
    assert denied(bench) == {OLDEST, OLD, NEW}


@pytest.mark.parametrize(
    ("target", "named", "gone"),
    [
        ("a", True, "dcb"),
        ("c", True, "d"),
        ("id", True, "dcba"),
        ("a", False, "d"),
        ("id", False, "d"),
        ("d", True, "d"),
    ],
)
def test_what_is_left_is_what_served_and_what_a_person_passed_over(target: str, named: bool, gone: str) -> None:
    assert left_behind(("d", "c", "b", "a", "id"), "d", target, named=named) == tuple(gone)
    assert left_behind(("d", "c", "b", "a", "id"), "x", "c", named=True) == ("x", "d"), "the control of a canary too"


@pytest.mark.parametrize(
    ("reason", "control", "before", "gone"),
    [
        ("rollback:d", "c", "d", "d"),
        ("rollback:d", "a", "d", "d"),
        ("rollback:c", "a", None, "dc"),
        ("rollback:c", "id", "c", "c"),
        ("rollback:d,c,b", "a", None, "dcb"),
        ("rollback:b", "a", "c", "cb"),
        ("rollback:c", "b", "b", "dc"),
        ("rollback:x", "b", None, "dc"),
        ("by hand", "id", None, "dcba"),
        ("by hand", "d", None, ""),
    ],
)
def test_what_a_route_that_was_found_has_left(reason: str, control: str, before: str | None, gone: str) -> None:
    assert "".join(left_on_host(list("dcba"), reason, control, before)) == gone


def test_what_a_rollback_passes_over_is_denied_and_controls_no_later_rollout(bench: LoopBench) -> None:
    controller = started(bench, OLDEST, OLD, NEW)
    controller.rollback(ME, IDENTITY, False)
    assert denied(bench) == {OLDEST, OLD, NEW}
    with pytest.raises(Refused, match="nothing to roll back"):
        controller.rollback(ME, None, False)


def test_a_rollback_to_what_serves_now_is_refused(bench: LoopBench) -> None:
    controller = started(bench, OLD, NEW)
    with pytest.raises(Refused, match="serves now"):
        controller.rollback(ME, NEW, False)
    assert denied(bench) == set()


def test_a_rollback_that_lands_between_a_ticks_look_and_its_rows_stands(
    bench: LoopBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(5):
        controller.tick()
    assert bench.phase() is Phase.CANARY_SMALL

    def judge(*_args: object) -> Judgement:
        controller.rollback(ME, None, False)
        return Judgement(None, "not_yet_non_inferior", {})

    with monkeypatch.context() as patch:
        patch.setattr(daemon.rolling, "judge", judge)
        controller.tick()
    assert bench.phase() is Phase.ROLLED_BACK
