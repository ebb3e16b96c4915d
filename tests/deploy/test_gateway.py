"""The gateway as a whole, around a fake server: what reaches the server, the client and the log."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from deploy.gateway.arms import position
from deploy.gateway.config import CaptureConfig
from deploy.gateway.tokens import seal_version, verify
from tests.deploy.gateway_world import (
    CANDIDATE,
    CHAMPION,
    CHAT,
    KEY,
    TOKEN,
    World,
    ask,
    chat,
    make_world,
    route,
    run,
    split,
)
from tests.waiting import wait_until

OPERATOR = {"x-homeostat-control": TOKEN}


def session_in(canary: bool, share: float = 0.5, rollout: str = "r1") -> str:
    """A session key whose hash falls into an arm."""
    return next(s for s in (f"s{i}" for i in range(1000)) if (position(rollout, s) < share) == canary)


def test_without_a_route_the_servers_sees_the_clients_own_bytes(world: World) -> None:
    body = b'{ "model" : "support", "messages": [{"role":"user","content":"hi"}], "odd": 1e400 }'
    reply = run(ask(world.gateway, "POST", CHAT, body))
    assert reply.status == 200
    assert world.server.asked[0].body == body
    (exchange,) = world.captured()
    assert (exchange.version, exchange.arm, exchange.rollout) == ("support-base", None, None)


def test_a_routed_request_names_the_version_and_the_reply_the_alias(world: World) -> None:
    world.push(route())
    reply = world.chat()
    assert world.server.asked[-1].model == CHAMPION
    assert reply.json["model"] == "support"
    # What the model said stays, even where it looks like the field.
    assert f'"model":"{CHAMPION}"' in reply.json["choices"][0]["message"]["content"]
    length = reply.header("content-length")
    assert length is not None and int(length) == len(reply.body)


def test_what_only_the_gateway_asked_for_does_not_reach_the_client(world: World) -> None:
    world.push(route())
    reply = world.chat().json
    sent = json.loads(world.server.asked[-1].body)
    assert sent["return_token_ids"] is True and sent["cache_salt"] == "default"
    assert "prompt_token_ids" not in reply and "token_ids" not in reply["choices"][0]
    (exchange,) = world.captured()
    assert exchange.completion_token_ids == (7, 8, 2)


def test_what_the_client_asked_for_stays(world: World) -> None:
    world.push(route())
    assert world.chat(return_token_ids=True).json["choices"][0]["token_ids"] == [7, 8, 2]


def test_sampled_log_probabilities_become_surprisal_and_are_taken_out_again(tmp_path: Path) -> None:
    world = make_world(tmp_path, CaptureConfig(logprob_sample=1.0))
    world.push(route())
    assert world.chat().json["choices"][0]["logprobs"] is None
    (exchange,) = world.captured()
    assert exchange.surprisal == pytest.approx(1.0)  # pyright: ignore[reportUnknownMemberType]
    world.gateway.close()


def test_the_token_proves_the_exchange_and_hides_version_and_arm(world: World) -> None:
    world.push(route())
    reply = world.chat({"x-session-id": "s-1", "x-user-id": "ann"})
    (exchange,) = world.captured()
    claims = verify(KEY, reply.header("x-homeostat-token") or "", world.clock.wall())
    assert claims.exchange_id == exchange.exchange_id == reply.header("x-homeostat-exchange")
    assert (claims.session, claims.identity) == ("s-1", exchange.identity)
    payload = urlsafe_b64decode((reply.header("x-homeostat-token") or "").partition(".")[0] + "==")
    assert CHAMPION.encode() not in b"".join([payload, *(k + v for k, v in reply.headers)])
    assert claims.version_seal == seal_version(KEY, exchange.exchange_id, CHAMPION)
    assert reply.header("x-homeostat-arm") is None and "ann" not in exchange.identity


def test_operators_see_version_arm_and_epoch(world: World) -> None:
    world.push(route(split=split(), epoch=7))
    reply = world.chat({**OPERATOR, "x-session-id": session_in(canary=True)})
    shown = [reply.header(f"x-homeostat-{name}") for name in ("version", "arm", "epoch")]
    assert shown == [CANDIDATE, "canary", "7"]


@pytest.mark.parametrize("canary", [True, False])
def test_the_arm_and_its_propensity_are_recorded(world: World, canary: bool) -> None:
    world.push(route(split=split(share=0.3), epoch=3))
    world.chat({"x-session-id": session_in(canary, share=0.3)})
    (exchange,) = world.captured()
    assert exchange.arm == ("canary" if canary else "control")
    assert exchange.version == (CANDIDATE if canary else CHAMPION)
    assert (exchange.propensity, exchange.rollout, exchange.route_epoch) == (0.3, "r1", 3)


def test_an_expired_lease_sends_everybody_to_control_and_makes_no_units(world: World) -> None:
    world.push(route(split=split(lease_s=5.0)))
    world.clock.now += 5.0
    world.chat({"x-session-id": session_in(canary=True)})
    (exchange,) = world.captured()
    assert (exchange.version, exchange.arm, exchange.propensity) == (CHAMPION, "control", 0.0)


@pytest.mark.parametrize("failure", [500, 503, 404, RuntimeError("engine")])
def test_a_failing_candidate_is_tried_again_on_control(world: World, failure: int | Exception) -> None:
    world.push(route(split=split()))
    world.server.behave = lambda model: failure if model == CANDIDATE else None
    reply = world.chat({"x-session-id": session_in(canary=True)})
    assert reply.status == 200
    (exchange,) = world.captured()
    status = failure if isinstance(failure, int) else 500
    assert [(a.version, a.status) for a in exchange.attempts] == [(CANDIDATE, status), (CHAMPION, 200)]
    assert (exchange.arm, exchange.version, exchange.status) == ("canary", CHAMPION, 200)
    assert world.counted("fallbacks_total", reason="candidate_failed") == 1


def test_a_failing_control_is_not_repeated(world: World) -> None:
    world.push(route())
    world.server.behave = lambda model: 500
    assert world.chat().status == 500
    assert len(world.server.asked) == 1
    (exchange,) = world.captured()
    assert exchange.status == 500


def test_an_exception_of_the_server_passes_and_is_recorded(world: World) -> None:
    world.push(route())
    world.server.behave = lambda model: RuntimeError("engine")
    with pytest.raises(RuntimeError):
        world.chat()
    (exchange,) = world.captured()
    assert exchange.status == 500


def test_a_replica_without_the_champion_serves_the_base(world: World) -> None:
    world.push(route())
    world.server.behave = lambda model: 404 if model == CHAMPION else None
    assert world.chat().status == 200
    (exchange,) = world.captured()
    assert exchange.version == "support-base"
    assert world.counted("fallbacks_total", reason="champion_missing") == 1


def test_a_version_that_became_control_while_it_failed_ends_on_the_base_at_last(world: World) -> None:
    world.push(route(split=split()))
    world.server.behave = lambda model: 404 if model != "support" else None

    async def promote() -> None:
        body = json.loads(route(control=CANDIDATE, epoch=2).model_dump_json())
        await ask(world.gateway, "PUT", "/homeostat/route", body, OPERATOR)

    world.server.before_reply = promote
    assert world.chat({"x-session-id": session_in(canary=True)}).status == 200
    assert [a.model for a in world.server.asked] == [CANDIDATE, CANDIDATE, "support"]


def test_error_messages_do_not_name_the_version(world: World) -> None:
    world.push(route())
    world.server.behave = lambda model: 400
    assert CHAMPION.encode() not in world.chat().body


def test_streams_pass_piece_by_piece_under_the_alias(world: World) -> None:
    world.push(route())
    reply = world.chat(stream=True)
    assert len(reply.pieces) == 4
    assert b'"model":"support"' in reply.pieces[0] and CHAMPION.encode() not in reply.body
    (exchange,) = world.captured()
    assert (exchange.completion, exchange.finish_reason, exchange.streamed) == ("Hello there", "stop", True)


def test_a_client_that_leaves_is_recorded_as_such(world: World) -> None:
    async def never() -> None:
        raise asyncio.CancelledError

    world.server.before_reply = never
    with pytest.raises(asyncio.CancelledError):
        run(ask(world.gateway, "POST", CHAT, chat(), leaves=True))
    (exchange,) = world.captured()
    assert exchange.status == 499


def test_any_failure_of_the_gateway_passes_the_clients_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    world.push(route())
    for place in ("deploy.gateway.app.plan", "deploy.gateway.serve.mint", "deploy.gateway.serve.request_for"):
        with monkeypatch.context() as patch:
            patch.setattr(place, broken)
            assert world.chat().status == 200
        assert world.server.asked[-1].model == "support"
    assert world.counted("faults_total", place="plan") == 1
    assert world.counted("faults_total", place="dispatch") == 2


def test_the_off_switch_passes_everything(world: World) -> None:
    world.push(route())
    (world.folder / "gateway.off").touch()
    wait_until(lambda: world.gateway.state()["off"], 2.0, "the switch to be seen")
    assert world.chat().header("x-homeostat-token") is None
    assert world.server.asked[-1].model == "support"
    (world.folder / "gateway.off").unlink()
    wait_until(lambda: not world.gateway.state()["off"], 2.0, "the switch to be seen")
    world.chat()
    assert world.server.asked[-1].model == CHAMPION


def test_a_body_that_outgrows_the_bound_passes(tmp_path: Path) -> None:
    world = make_world(tmp_path, max_body_bytes=1024)
    world.push(route())
    body = json.dumps(chat("x" * 2000)).encode()
    assert run(ask(world.gateway, "POST", CHAT, body)).status == 200
    assert world.counted("faults_total", place="body_too_long") == 0  # it came in one piece, so it was already here
    world.gateway.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"messages":[]}', b'{"model":7}', b'{"model":"other"}'])
def test_what_is_not_ours_to_judge_passes_untouched(world: World, body: bytes) -> None:
    world.server.behave = lambda model: 400
    if body in (b"", b"nonsense", b"[]"):
        with pytest.raises((ValueError, AttributeError)):  # the fake server cannot read it; a real one answers 400
            run(ask(world.gateway, "POST", CHAT, body))
    else:
        assert run(ask(world.gateway, "POST", CHAT, body)).status == 400
    assert world.server.asked[-1].body == body


def test_without_a_model_the_only_alias_is_meant(world: World) -> None:
    world.push(route())
    run(ask(world.gateway, "POST", CHAT, {"messages": [{"role": "user", "content": "hi"}]}))
    assert world.server.asked[-1].model == CHAMPION


def test_versions_can_be_asked_with_the_control_token_only(world: World) -> None:
    body = {**chat(), "model": CANDIDATE}
    refused = run(ask(world.gateway, "POST", CHAT, body))
    assert refused.status == 404 and "does not exist" in refused.json["error"]["message"]
    assert not world.server.asked
    assert run(ask(world.gateway, "POST", CHAT, body, OPERATOR)).json["model"] == CANDIDATE
    assert not world.captured()


def test_a_dispatch_happens_before_the_acknowledgement_or_by_the_new_route(world: World) -> None:
    """Requests race with a flip on one event loop: none that starts after the answer goes to the old version."""
    order: list[str] = []

    async def race() -> None:
        async def one(i: int) -> None:
            await asyncio.sleep(0)
            await ask(world.gateway, "POST", CHAT, chat(f"question {i}"))

        async def flip() -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            body = json.loads(route(control=CANDIDATE, epoch=2).model_dump_json())
            reply = await ask(world.gateway, "PUT", "/homeostat/route", body, OPERATOR)
            assert reply.json["epoch"] == 2
            order.append("ack")

        class Noting(list):  # type: ignore[type-arg]
            def append(self, item: object) -> None:
                order.append(item.model)  # type: ignore[attr-defined]

        world.server.asked = Noting()
        first = [asyncio.create_task(one(i)) for i in range(5)]
        flipping = asyncio.create_task(flip())
        later = [asyncio.create_task(one(i)) for i in range(5, 50)]
        await asyncio.gather(*first, flipping)
        await asyncio.gather(*later, *(one(i) for i in range(50, 60)))

    world.push(route())
    run(race())
    at = order.index("ack")
    assert set(order[at + 1 :]) == {CANDIDATE} and len(order) == 61


def test_a_full_queue_drops_counts_and_serves(tmp_path: Path) -> None:
    world = make_world(tmp_path, CaptureConfig(queue_max_bytes=1 << 16))
    assert world.chat(text="x" * (1 << 17)).status == 200
    assert not world.captured()
    assert world.counted("dropped_total", reason="queue_full") == 1
    world.gateway.close()


def test_a_full_log_is_counted(world: World) -> None:
    world.sink.accept = False
    assert world.chat().status == 200
    assert not world.captured()
    assert world.counted("dropped_total", reason="log_full") == 1


def test_personal_data_does_not_reach_the_log(world: World) -> None:
    world.chat(text="I am ann@example.org")
    world.captured()
    assert b"ann@example.org" not in world.sink.records[0].value


def test_requests_are_counted_by_arm_and_class(world: World) -> None:
    world.push(route(split=split()))
    world.chat({"x-session-id": session_in(canary=True)})
    world.server.behave = lambda model: 400
    world.chat({"x-session-id": session_in(canary=False)})
    assert world.counted("requests_total", deployment="support", arm="canary", status="2xx") == 1
    assert world.counted("requests_total", deployment="support", arm="control", status="4xx") == 1


def test_a_hot_session_key_is_not_used_and_named_to_operators(tmp_path: Path) -> None:
    world = make_world(tmp_path, hot_key_window=100, hot_key_share=0.05)
    for i in range(20):
        world.chat({"x-session-id": "everybody"}, text=f"question {i}")
    exchanges = world.captured()
    assert [e.session for e in exchanges[:5]] == ["everybody"] * 5
    assert len({e.session for e in exchanges[5:]}) == 15 and all(e.session_derived for e in exchanges[5:])
    assert len({e.identity for e in exchanges}) == 1  # caps still see one person
    assert world.gateway.state()["hot_sessions"] == ["everybody"]
    world.gateway.close()
