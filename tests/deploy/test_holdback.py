"""A standing holdback in the gateway: who is held back, by which version, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.gateway.arms import Reason, choose, position
from deploy.gateway.route_table import Adoption, adopt
from deploy.routes import Holdback, Route, RouteFile, Split
from tests.deploy.gateway_world import CANDIDATE, CHAMPION, World, make_world, route, split

ANCHOR = "support-0000000000aa"
HELD = Holdback(id="holdback-1", anchor=ANCHOR, share=0.1)
PROVED = frozenset({ANCHOR, CHAMPION, CANDIDATE})


def held_route(split: Split | None = None, epoch: int = 1, holdback: Holdback | None = HELD) -> RouteFile:
    """A route file with a holdback."""
    file = route(split=split, epoch=epoch)
    return file.model_copy(update={"routes": (file.routes[0].model_copy(update={"holdback": holdback}),)})


def a_session(held: bool) -> str:
    """A session that is (not) held back."""
    names = (f"session-{n}" for n in range(1000))
    return next(name for name in names if (position(HELD.id, name) < HELD.share) is held)


@settings(max_examples=50)
@given(st.text(max_size=40), st.booleans())
def test_a_held_session_meets_no_candidate_and_others_are_drawn_as_without(session: str, live: bool) -> None:
    plain = choose(route(split=split(share=0.5)).routes[0], live, session, PROVED)
    with_holdback = choose(held_route(split(share=0.5)).routes[0], live, session, PROVED)
    if position(HELD.id, session) < HELD.share:
        assert (with_holdback.version, with_holdback.arm, with_holdback.reason) == (ANCHOR, "holdback", Reason.HOLDBACK)
        assert (with_holdback.propensity, with_holdback.rollout) == (0.1, HELD.id)
        unproved = choose(held_route(split(share=0.5)).routes[0], live, session, PROVED - {ANCHOR})
        assert (unproved.version, unproved.arm) == (CHAMPION, "holdback")
    else:
        assert with_holdback == plain


def test_the_draw_keeps_its_share_and_is_independent_of_a_rollouts() -> None:
    file = held_route(split(share=0.5)).routes[0]
    chosen = [choose(file, True, f"s{n}", PROVED) for n in range(8_000)]
    held = sum(c.arm == "holdback" for c in chosen) / len(chosen)
    canary = sum(c.arm == "canary" for c in chosen) / sum(c.arm != "holdback" for c in chosen)
    assert 0.09 < held < 0.11
    assert 0.48 < canary < 0.52


def test_old_route_files_are_read_and_old_gateways_read_ours() -> None:
    old = (
        '{"epoch":3,"actor":"a","reason":"r","written_at":0.0,"routes":[{"deployment":"d","alias":"d","control":null}]}'
    )
    assert RouteFile.model_validate_json(old).routes[0].holdback is None
    assert "holdback" not in route().model_dump_json()
    assert json.loads(route().model_dump_json())["routes"][0]["control"] == CHAMPION
    assert RouteFile.model_validate_json(held_route().model_dump_json()) == held_route()
    with pytest.raises(ValueError, match="less than or equal to"):
        Holdback(id="h", anchor=ANCHOR, share=0.5)


def test_another_holdback_needs_another_epoch_and_a_renewal_keeps_it() -> None:
    held, _ = adopt(None, held_route(split(seq=1)), 0.0, True)
    assert adopt(held, held_route(split(seq=2)), 1.0, True)[1] is Adoption.RENEWED
    assert adopt(held, held_route(split(seq=2), holdback=None), 1.0, True)[1] is Adoption.CONFLICT
    assert adopt(held, held_route(split(seq=2), epoch=2, holdback=None), 1.0, True)[1] is Adoption.NEWER_EPOCH


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    made.tell(PROVED)
    return made


def test_held_sessions_are_answered_by_the_anchor_and_recorded_so(world: World) -> None:
    assert world.push(held_route(split(share=0.99))).status == 200
    world.push(held_route(split(share=0.99, seq=2)))
    assert world.chat({"x-session-id": a_session(held=True)}).status == 200
    assert world.chat({"x-session-id": a_session(held=False)}).status == 200
    assert [asked.model for asked in world.server.asked] == [ANCHOR, CANDIDATE]
    held, other = world.captured()
    assert (held.version, held.arm, held.propensity, held.rollout) == (ANCHOR, "holdback", 0.1, HELD.id)
    assert (other.version, other.arm, other.rollout) == (CANDIDATE, "canary", "r1")


@pytest.mark.parametrize("failure", [404, 500, RuntimeError("engine")])
def test_where_the_anchor_fails_the_champion_answers(world: World, failure: int | Exception) -> None:
    world.push(held_route())
    world.server.behave = lambda model: failure if model == ANCHOR else None
    assert world.chat({"x-session-id": a_session(held=True)}).status == 200
    assert [asked.model for asked in world.server.asked] == [ANCHOR, CHAMPION]
    (seen,) = world.captured()
    assert (seen.version, seen.arm, len(seen.attempts)) == (CHAMPION, "holdback", 2)


def test_where_the_anchor_is_not_proved_the_champion_answers_and_the_arm_stays(world: World) -> None:
    world.push(held_route())
    world.tell(PROVED - {ANCHOR})
    assert world.chat({"x-session-id": a_session(held=True)}).status == 200
    world.tell(PROVED)
    assert world.chat({"x-session-id": a_session(held=True)}).status == 200
    assert [asked.model for asked in world.server.asked] == [CHAMPION, ANCHOR]
    assert [seen.arm for seen in world.captured()] == ["holdback", "holdback"]


def test_where_the_candidate_is_not_proved_the_control_answers_and_the_arm_stays(world: World) -> None:
    world.push(route(split=split(share=0.99)))
    world.push(route(split=split(share=0.99, seq=2)))
    world.tell(PROVED - {CANDIDATE})
    assert world.chat({"x-session-id": "s1"}).status == 200
    world.tell(PROVED)
    assert world.chat({"x-session-id": "s1"}).status == 200
    assert [asked.model for asked in world.server.asked] == [CHAMPION, CANDIDATE]
    assert [(seen.arm, seen.propensity) for seen in world.captured()] == [("canary", 0.99)] * 2


def test_a_route_without_a_holdback_serves_as_ever() -> None:
    assert choose(Route(deployment="d", alias="d", control=CHAMPION), True, "s").reason is Reason.NO_SPLIT
