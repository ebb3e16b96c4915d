"""What is open, what needs the control token, and the gateway's own routes."""

from __future__ import annotations

import json

import pytest

from tests.deploy.gateway_world import CANDIDATE, CHAMPION, TOKEN, World, ask, route, run, split

OPERATOR = {"x-homeostat-control": TOKEN}
CLOSED = [
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("POST", "/invocations"),
    ("POST", "/adapters"),
    ("POST", "/pause"),
    ("POST", "/update_weights"),
    ("POST", "/collective_rpc"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/tokenize"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("PUT", "/homeostat/route"),
    ("PUT", "/homeostat/proved"),
    ("GET", "/homeostat/gateway"),
    ("GET", "/v1/load_lora_adapter/../../health"),
    ("DELETE", "/health"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_control_routes_are_closed(world: World, method: str, path: str) -> None:
    for headers in ({}, {"x-homeostat-control": "guess"}, {"authorization": "Bearer guess"}, {"host": "127.0.0.1"}):
        assert run(ask(world.gateway, method, path, {}, headers)).status == 404
    assert not world.server.asked


@pytest.mark.parametrize("headers", [OPERATOR, {"authorization": f"Bearer {TOKEN}"}])
def test_control_routes_open_with_the_token(world: World, headers: dict[str, str]) -> None:
    assert run(ask(world.gateway, "POST", "/v1/load_lora_adapter", {}, headers)).status == 200
    assert world.server.asked[-1].path == "/v1/load_lora_adapter"


@pytest.mark.parametrize("path", ["/health", "/version", "/ping"])
def test_open_routes_pass(world: World, path: str) -> None:
    assert run(ask(world.gateway, "GET", path)).status == 200


def test_metrics_are_open_on_the_machine_itself(world: World) -> None:
    assert run(ask(world.gateway, "GET", "/metrics", client="127.0.0.1")).status == 200


def test_clients_see_the_alias_alone_among_the_models(world: World) -> None:
    assert [card["id"] for card in run(ask(world.gateway, "GET", "/v1/models")).json["data"]] == ["support"]
    everything = run(ask(world.gateway, "GET", "/v1/models", headers=OPERATOR)).json["data"]
    assert CANDIDATE in [card["id"] for card in everything]


def test_a_push_is_acknowledged_with_what_is_in_force(world: World) -> None:
    reply = world.push(route(split=split(seq=4), epoch=9))
    assert (reply.status, reply.json["epoch"], reply.json["lease_seq"]) == (200, 9, 4)
    assert reply.json["at"] == world.clock.wall()


def test_an_older_epoch_is_refused(world: World) -> None:
    world.push(route(epoch=9))
    reply = world.push(route(control=CANDIDATE, epoch=8))
    assert (reply.status, reply.json["epoch"]) == (409, 9)
    world.chat()
    assert world.server.asked[-1].model == CHAMPION


def test_what_is_no_route_file_is_refused(world: World) -> None:
    reply = run(ask(world.gateway, "PUT", "/homeostat/route", {"epoch": "x"}, OPERATOR))
    assert reply.status == 422 and world.gateway.state()["epoch"] is None


def test_a_replica_is_ready_once_its_champion_is_proved(world: World) -> None:
    assert run(ask(world.gateway, "GET", "/homeostat/ready")).status == 200  # first contact: no route yet
    world.push(route())
    assert run(ask(world.gateway, "GET", "/homeostat/ready")).status == 503
    assert run(ask(world.gateway, "PUT", "/homeostat/proved", [CHAMPION], OPERATOR)).status == 200
    assert run(ask(world.gateway, "GET", "/homeostat/ready")).status == 200
    world.push(route(control=CANDIDATE, epoch=2))
    assert run(ask(world.gateway, "GET", "/homeostat/ready")).status == 503


def test_the_state_tells_dispatches_by_version(world: World) -> None:
    world.push(route())
    world.chat()
    world.clock.now += 3
    state = run(ask(world.gateway, "GET", "/homeostat/gateway", headers=OPERATOR)).json
    found = state["versions"][CHAMPION]
    assert (found["in_flight"], found["dispatched"]) == (0, 1)
    assert found["last_dispatch"] == world.clock.wall() - 3
    assert (state["dropped"], state["off"], state["epoch"]) == (0, False, 1)


def test_websockets_are_closed(world: World) -> None:
    sent: list[dict[str, object]] = []

    async def send(message: object) -> None:
        sent.append(message)  # type: ignore[arg-type]

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    run(world.gateway({"type": "websocket", "path": "/v1/realtime", "headers": []}, receive, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}] and not world.server.asked


def test_labels_are_bounded_by_config(world: World) -> None:
    world.server.behave = lambda model: 404
    for i in range(50):
        run(ask(world.gateway, "POST", "/v1/chat/completions", {"model": f"m{i}", "messages": []}))
        run(ask(world.gateway, "POST", f"/odd/{i}"))
    series = [s for m in world.registry.collect() for s in m.samples]
    assert len(series) < 60


def test_feedback_is_verified_and_appended(world: World) -> None:
    reply = world.chat({"x-session-id": "s-1"})
    token, exchange_id = reply.header("x-homeostat-token"), reply.header("x-homeostat-exchange")
    body = {"exchange_id": exchange_id, "token": token, "value": True, "id": "mine"}
    answer = run(ask(world.gateway, "POST", "/v1/feedback", body))
    assert answer.status == 202
    assert world.gateway.flush(5.0)
    record = world.sink.records[-1]
    assert (record.topic, record.key) == ("homeostat.feedback", "s-1")
    assert json.loads(record.value)["data"]["feedback_id"] == answer.json["id"]


def test_a_forged_token_is_refused(world: World) -> None:
    reply = run(ask(world.gateway, "POST", "/v1/feedback", {"exchange_id": "e", "token": "a.b", "value": True}))
    assert (reply.status, reply.json["error"]["param"]) == (401, "token")


def test_malformed_feedback_is_refused_by_name(world: World) -> None:
    reply = run(ask(world.gateway, "POST", "/v1/feedback", {"exchange_id": "e", "choice": "first"}))
    assert (reply.status, reply.json["error"]["param"]) == (422, "choice")
