"""Assignment and the table of routes: pure decisions, with time handed in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.gateway.arms import Reason, choose, position
from deploy.gateway.route_table import Adoption, Held, RouteHolder, adopt
from deploy.gateway.watch import RouteWatch
from deploy.routes import Route, RouteFile
from tests.deploy.gateway_world import CANDIDATE, CHAMPION, route, split
from tests.waiting import wait_until

SHARE = st.floats(0.01, 0.99)
SESSION = st.text(max_size=40)


def routed(file: RouteFile) -> Route:
    """The one route of a file."""
    return file.routes[0]


@given(SESSION, SHARE, SHARE)
def test_a_larger_share_never_sends_anybody_back(session: str, one: float, two: float) -> None:
    low, high = sorted((one, two))
    first = choose(routed(route(split=split(share=low))), True, session)
    second = choose(routed(route(split=split(share=high))), True, session)
    assert first.arm != "canary" or second.arm == "canary"


@given(SESSION)
def test_an_arm_is_sticky_and_its_propensity_is_the_share(session: str) -> None:
    file = routed(route(split=split(share=0.3)))
    proved = frozenset({CANDIDATE})
    first, again = choose(file, True, session, proved), choose(file, True, session, proved)
    assert first == again
    assert (first.propensity, first.rollout, first.reason) == (0.3, "r1", Reason.SPLIT)
    assert first.version == (CANDIDATE if first.arm == "canary" else CHAMPION)


def test_shares_are_kept_and_rollouts_draw_their_own_sessions() -> None:
    sessions = [f"session-{i}" for i in range(20_000)]
    one = {s for s in sessions if position("r1", s) < 0.1}
    two = {s for s in sessions if position("r2", s) < 0.1}
    assert 0.09 < len(one) / len(sessions) < 0.11
    assert 0.005 < len(one & two) / len(sessions) < 0.015  # independent: 1 %


def test_without_route_split_or_lease() -> None:
    assert choose(None, False, "s").reason is Reason.NO_ROUTE
    assert choose(routed(route(control=None)), False, "s") == choose(routed(route(control=None)), True, "s")
    dead = choose(routed(route(split=split(share=0.99))), False, "s")
    assert (dead.version, dead.arm, dead.propensity, dead.reason) == (CHAMPION, "control", 0.0, Reason.LEASE_EXPIRED)


def taken(held: Held | None, file: RouteFile, at: float, witnessed: bool = True) -> tuple[Held, Adoption]:
    """Adopt, and what is held then."""
    new, adoption = adopt(held, file, at, witnessed)
    assert new is not None
    return new, adoption


def test_a_lease_ends_on_the_monotonic_clock_unless_renewed() -> None:
    held, first = taken(None, route(split=split(seq=1, lease_s=5.0)), 100.0)
    assert first is Adoption.FIRST
    assert held.live("support", 104.9) and not held.live("support", 105.0)
    held, renewed = taken(held, route(split=split(seq=2, lease_s=5.0)), 104.0)
    assert renewed is Adoption.RENEWED and held.live("support", 108.9) and not held.live("support", 109.0)


def test_a_lease_found_at_start_is_dead_until_it_is_renewed() -> None:
    held, _ = taken(None, route(split=split(seq=7)), 100.0, witnessed=False)
    assert not held.live("support", 100.0)
    held, same = taken(held, route(split=split(seq=7)), 101.0)
    assert same is Adoption.SAME and not held.live("support", 101.0)
    held, _ = taken(held, route(split=split(seq=8)), 102.0)
    assert held.live("support", 102.0)


def test_an_epoch_for_anothers_sake_is_no_renewal() -> None:
    held, _ = taken(None, route(split=split(seq=3), epoch=1), 100.0)
    held, adoption = taken(held, route(split=split(seq=3), epoch=2), 104.0)
    assert adoption is Adoption.NEWER_EPOCH and not held.live("support", 105.0)
    held, _ = taken(held, route(split=split(seq=0, rollout="r2"), epoch=3), 104.0)
    assert held.live("support", 105.0)  # another rollout has a lease of its own


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (route(split=split(seq=5), epoch=4), Adoption.STALE_EPOCH),
        (route(split=split(seq=4), epoch=5), Adoption.STALE_LEASE),
        (route(control=CANDIDATE, split=split(seq=6), epoch=5), Adoption.CONFLICT),
        (route(split=split(seq=6, share=0.9), epoch=5), Adoption.CONFLICT),
        (route(split=split(seq=5), epoch=5), Adoption.SAME),
    ],
)
def test_what_is_not_newer_changes_nothing(file: RouteFile, expected: Adoption) -> None:
    before, _ = taken(None, route(split=split(seq=5), epoch=5), 100.0)
    after, adoption = taken(before, file, 101.0)
    assert (after, adoption) == (before, expected)
    assert adoption.held is (expected is Adoption.SAME)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=30))
def test_epochs_and_renewals_never_go_back(pushes: list[tuple[int, int]]) -> None:
    held: Held | None = None
    before = (0, 0)
    for at, (epoch, seq) in enumerate(pushes):
        held, _ = adopt(held, route(split=split(seq=seq), epoch=epoch), float(at), True)
        assert held is not None
        now = held.routes["support"].split
        assert now is not None
        assert (held.file.epoch, now.lease_seq) >= before
        before = (held.file.epoch, now.lease_seq)


def test_the_watch_finds_new_contents_and_survives_bad_ones(tmp_path: Path) -> None:
    holder, faults = RouteHolder(lambda: 0.0), list[str]()
    file, off = tmp_path / "route.json", tmp_path / "gateway.off"
    watch = RouteWatch(file, off, holder, 0.005, faults.append)
    watch.start()
    try:
        assert holder.held is None
        file.write_text(route(epoch=1).model_dump_json())
        wait_until(lambda: holder.held is not None and holder.held.file.epoch == 1, 2.0, "the first file")
        file.write_text("not a route file")
        wait_until(lambda: "route_file_invalid" in faults, 2.0, "the fault to be counted")
        assert holder.held is not None and holder.held.file.epoch == 1
        file.unlink()
        file.write_text(route(epoch=2).model_dump_json())
        wait_until(lambda: holder.held is not None and holder.held.file.epoch == 2, 2.0, "the next file")
        off.touch()
        wait_until(lambda: watch.off, 2.0, "the switch")
    finally:
        watch.stop()


def test_the_first_look_witnesses_nothing(tmp_path: Path) -> None:
    holder = RouteHolder(lambda: 0.0)
    file = tmp_path / "route.json"
    file.write_text(route(split=split()).model_dump_json())
    watch = RouteWatch(file, tmp_path / "off", holder, 1.0, lambda _: None)
    assert watch.look(witnessed=False) is Adoption.FIRST
    assert not holder.lease_live("support")
    assert watch.look(witnessed=True) is None  # unchanged
