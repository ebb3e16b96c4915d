"""The gateway and versions that show examples: what the server reads, what the client and the log see of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.gateway.demonstrations import MOST, Shelf
from deploy.gateway.tokens import seal_version, verify
from deploy.routes import Holdback, Route, RouteFile
from tests.deploy.demonstrated import PAIRS, put
from tests.deploy.gateway_world import CANDIDATE, CHAMPION, CHAT, KEY, TOKEN, World, ask, chat, route, run, split

CONTROL = {"x-homeostat-control": TOKEN}
TURNS = [
    {"role": role, "content": text} for p in PAIRS for role, text in (("user", p.question), ("assistant", p.answer))
]


def serving(world: World, stands_on: str = CHAMPION) -> str:
    """A demonstrations version is control; its name."""
    version, _ = put(world.folder / "artifacts", stands_on)
    assert world.push(route(version)).status == 200
    return version


def read_by_server(world: World) -> Any:
    return json.loads(world.server.asked[-1].body)


def test_the_server_reads_the_pairs_and_the_version_below_and_the_log_has_neither(world: World) -> None:
    version = serving(world)
    system = {"role": "system", "content": "be kind", "name": "x"}
    mine = [system, {"role": "user", "content": [{"type": "text", "text": "hi"}], "extra": [1, {"a": None}]}]
    reply = world.chat({"x-session-id": "s"}, messages=mine, temperature=0.3)
    asked = read_by_server(world)
    assert asked["messages"] == [system, *TURNS, mine[1]] and asked["temperature"] == 0.3
    assert asked["model"] == CHAMPION and reply.json["model"] == "support"
    assert version not in reply.body.decode() and CHAMPION not in json.dumps({**reply.json, "choices": []})
    (exchange,) = world.captured()
    assert exchange.version == version and exchange.prompt == "hi"
    assert [(m.role, m.content) for m in exchange.messages] == [("system", "be kind"), ("user", "hi")]
    claims = verify(KEY, reply.header("x-homeostat-token") or "", 0.0)
    assert claims.version_seal == seal_version(KEY, exchange.exchange_id, version), "the daemon checks it so"
    assert world.counted("demonstrations_total", outcome="inserted") == 1
    assert world.gateway.state()["versions"][version]["dispatched"] == 1  # type: ignore[index]


def test_streams_hide_the_version_below(world: World) -> None:
    serving(world)
    reply = world.chat(stream=True)
    assert CHAMPION.encode() not in reply.body and b'"model":"support"' in reply.body
    assert world.captured()[0].completion == "Hello there"


def test_completions_are_answered_by_what_it_stands_on_and_say_so(world: World) -> None:
    serving(world)
    body = {"model": "support", "prompt": "hello"}
    reply = run(ask(world.gateway, "POST", "/v1/completions", body))
    assert reply.status == 200 and read_by_server(world)["model"] == CHAMPION
    assert "messages" not in read_by_server(world)
    assert world.captured()[0].version == CHAMPION
    assert world.counted("demonstrations_total", outcome="not_chat") == 1


def test_what_is_too_long_with_the_pairs_is_answered_without_them(world: World) -> None:
    version = serving(world)
    length = len(json.dumps(TURNS))
    world.server.refuse = lambda body: len(body) > length
    reply = world.chat(messages=[{"role": "user", "content": "x" * 20}])
    assert reply.status == 200
    assert read_by_server(world)["messages"] == [{"role": "user", "content": "x" * 20}]
    (exchange,) = world.captured()
    assert exchange.version == CHAMPION and exchange.status == 200
    assert [(a.version, a.status) for a in exchange.attempts] == [(version, 400), (CHAMPION, 200)]
    assert world.counted("demonstrations_total", outcome="refused") == 1


def test_the_clients_own_mistake_is_told_in_words_about_his_own_request(world: World) -> None:
    serving(world)
    world.server.behave = lambda model: 400
    assert world.chat().status == 400
    assert len(world.server.asked) == 2 and read_by_server(world)["messages"] == chat()["messages"]
    for odd in ([], "text", None, ["no object"], {"role": "user"}):
        world.chat(messages=odd)
        assert read_by_server(world).get("messages") == odd
    assert world.counted("faults_total", place="dispatch") == 0


def test_a_failing_candidate_with_pairs_is_replaced_by_control_with_its_own(world: World) -> None:
    artifacts = world.folder / "artifacts"
    candidate, _ = put(artifacts, CANDIDATE, PAIRS[:1])
    control, _ = put(artifacts, CHAMPION, PAIRS[1:])
    share = split(share=0.999999).model_copy(update={"candidate": candidate})
    world.tell((candidate,))
    assert world.push(route(control, share)).status == 200
    world.server.behave = lambda model: 503 if model == CANDIDATE else None
    assert world.chat().status == 200
    bodies = [json.loads(a.body) for a in world.server.asked]
    assert [(b["model"], b["messages"][:2]) for b in bodies] == [(CANDIDATE, TURNS[:2]), (CHAMPION, TURNS[2:])]
    (exchange,) = world.captured()
    assert (exchange.arm, exchange.version) == ("canary", control)
    assert [(a.version, a.status) for a in exchange.attempts] == [(candidate, 503), (control, 200)]


def test_a_server_without_the_version_below_answers_from_the_base_with_the_clients_bytes(world: World) -> None:
    version = serving(world)
    world.server.behave = lambda model: 404 if model == CHAMPION else None
    assert world.chat().status == 200
    assert read_by_server(world) == chat()
    assert [(a.version, a.status) for a in world.captured()[0].attempts] == [(version, 404), ("support-base", 200)]


@pytest.mark.parametrize("damage", ["gone", "changed", "renamed"])
def test_pairs_that_cannot_be_read_are_served_by_nobody_and_the_base_answers(world: World, damage: str) -> None:
    artifacts = world.folder / "artifacts"
    version, _ = put(artifacts, CHAMPION)
    named = version
    if damage == "gone":
        (artifacts / version / "manifest.json").unlink()
    elif damage == "changed":
        path = artifacts / version / "demonstrations.json"
        path.write_bytes(path.read_bytes().replace(b"way", b"wax"))
    else:
        named = "support-cccccccccccc"
        (artifacts / version).rename(artifacts / named)
    world.server.behave = lambda model: 404 if model == named else None
    assert world.push(route(named)).status == 200, "the flip is never held up"
    assert world.chat().status == 200 and read_by_server(world) == chat()
    assert world.counted("faults_total", place="demonstrations") == 1
    assert [a.version for a in world.captured()[0].attempts] == [named, "support-base"]


def test_other_versions_get_the_messages_byte_for_byte(world: World) -> None:
    serving(world)
    assert world.push(route(CHAMPION, epoch=2)).status == 200
    body = b'{"model":"support","messages":[ {"role":"user",  "content":"\\u0068i"} ]}'
    run(ask(world.gateway, "POST", CHAT, body))
    assert b'[ {"role":"user",  "content":"\\u0068i"} ]' in world.server.asked[-1].body


def test_a_version_is_asked_by_its_name_with_the_pairs_and_nothing_is_captured(world: World) -> None:
    version, _ = put(world.folder / "artifacts", CHAMPION)
    mine = chat()["messages"]
    reply = run(ask(world.gateway, "POST", CHAT, {"model": version, "messages": mine}, CONTROL))
    assert reply.status == 200
    assert read_by_server(world) == {"model": CHAMPION, "messages": [*TURNS, *mine]}  # type: ignore[misc]
    assert run(ask(world.gateway, "POST", CHAT, {"model": version, "messages": mine})).status == 404, "for us alone"
    run(ask(world.gateway, "POST", "/v1/completions", {"model": version, "prompt": [1]}, CONTROL))
    assert read_by_server(world) == {"model": CHAMPION, "prompt": [1]}
    assert world.captured() == []


def test_a_route_read_from_the_file_and_a_holdback_show_pairs_too(world: World) -> None:
    version, _ = put(world.folder / "artifacts", CHAMPION)
    held = Holdback(id="h", anchor=version, share=0.1)
    routes = (Route(deployment="support", alias="support", control=CANDIDATE, holdback=held),)
    file = RouteFile(epoch=3, actor="t", reason="t", written_at=0.0, routes=routes)
    shelf = Shelf(world.folder / "artifacts", lambda _place: None)
    assert set(shelf.of_route(file)) == {version}
    assert shelf.of_route(route(None)) == {}


def test_no_more_versions_are_remembered_than_a_host_needs(tmp_path: Path) -> None:
    faults: list[str] = []
    shelf = Shelf(tmp_path, faults.append)
    names = [put(tmp_path, f"support-{n:012x}")[0] for n in range(MOST + 3)]
    assert all(shelf.of(name) is not None for name in names)
    assert len(shelf._known) == MOST and not faults  # pyright: ignore[reportPrivateUsage]
    assert shelf.of("support-ffffffffffff") is None


@pytest.mark.parametrize("asked", [{"return_token_ids": True}, {"prompt_logprobs": 0}, {"echo": True}])
def test_who_asks_what_the_server_read_is_answered_without_the_pairs(world: World, asked: dict[str, object]) -> None:
    """The server would spell out other people's words to him, and his arm with them."""
    serving(world)
    assert world.chat(None, **asked).status == 200
    assert read_by_server(world)["messages"] == chat()["messages"] and read_by_server(world)["model"] == CHAMPION
    assert world.captured()[0].version == CHAMPION
    assert world.counted("demonstrations_total", outcome="asks_for_prompt") == 1


@pytest.mark.parametrize("asked", [{"return_token_ids": False}, {"prompt_logprobs": None}, {"echo": False}])
def test_who_asks_for_nothing_of_the_prompt_is_shown_the_pairs(world: World, asked: dict[str, object]) -> None:
    serving(world)
    assert world.chat(None, **asked).status == 200
    assert read_by_server(world)["messages"] == [*TURNS, *chat()["messages"]]  # type: ignore[misc]


def test_a_stream_with_pairs_holds_no_ids_of_the_prompt_and_its_tokens_are_counted(world: World) -> None:
    """Whole replies lose what only the gateway asked for; a stream passes as it comes."""
    serving(world)
    reply = world.chat(stream=True)
    assert read_by_server(world)["return_token_ids"] is True
    assert b"81,82" not in reply.body and b'"prompt_token_ids":null' in reply.body
    assert b"Hello" in reply.body and reply.body.endswith(b"data: [DONE]\n\n")
    (exchange,) = world.captured()
    assert exchange.completion_tokens == 3, "guardrails of pace and length go by it"
    assert exchange.prompt_tokens == 2
    world.push(route(CHAMPION, epoch=2))
    assert b"81,82" in world.chat(stream=True).body, "his own prompt, as ever"


def test_bytes_that_are_no_text_are_the_servers_to_judge(world: World) -> None:
    version = serving(world)
    body = b'{"model":"%s","messages":[{"role":"\xff","content":"x"}]}' % version.encode()
    with pytest.raises(UnicodeDecodeError):  # the server of these tests reads JSON too
        run(ask(world.gateway, "POST", CHAT, body, CONTROL))
    assert world.server.asked[-1].body.count(b"\xff") == 1


def test_pairs_that_come_late_are_shown_once_they_are_proved(world: World) -> None:
    artifacts = world.folder / "artifacts"
    version, _ = put(artifacts, CHAMPION)
    (artifacts / version).rename(artifacts / "away")
    assert world.push(route(version)).status == 200
    world.server.behave = lambda model: None if model in (CHAMPION, "support") else 404
    world.chat()
    assert read_by_server(world) == chat(), "the base, with the client's own bytes"
    (artifacts / "away").rename(artifacts / version)
    world.tell((version,))
    world.chat()
    assert read_by_server(world)["messages"] == [*TURNS, *chat()["messages"]]  # type: ignore[misc]
