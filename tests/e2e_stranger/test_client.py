"""A stranger's client: the OpenAI SDK with another base URL and nothing else, and curl for feedback."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, cast

import httpx
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from deploy.routes import Split
from streams.codec import Decoded, decode
from streams.events import Exchange, Feedback
from streams.sqlite_log import SqliteSource
from tests.conftest import ROOT
from tests.deploy.serving import ALIAS, BASE_NAME
from tests.e2e_stranger.conftest import CANDIDATE, CHAMPION, TOKENS, Stand
from tests.e2e_stranger.shell import Result, run
from tests.waiting import wait_until

SPLIT = Split(rollout="rollout-1", candidate=CANDIDATE, share=0.5, lease_s=600.0, lease_seq=1)
ROUTES: dict[str, tuple[str | None, Split | None]] = {"none": (None, None), "split": (CHAMPION, SPLIT)}
MESSAGES: Any = [{"role": "user", "content": "where is my order"}]
USERS = [f"user-{n}" for n in range(8)]
"""The hash of the rollout id and the user is fixed: both arms are among them for good."""


@pytest.fixture(params=list(ROUTES))
def routed(request: pytest.FixtureRequest, stand: Stand) -> tuple[Stand, set[str]]:
    """A stand and the versions that may answer: the base without a route, both arms with a canary split."""
    control, split = ROUTES[request.param]
    if control is not None or stand.driver.gateway()["epoch"] is not None:
        stand.route(control, split)
    return stand, {BASE_NAME} if control is None else {CHAMPION, CANDIDATE}


def client_of(stand: Stand) -> Any:
    """Any: what the SDK's overloads cannot express is asked here on purpose."""
    return OpenAI(base_url=stand.url, api_key="anything", max_retries=0, timeout=120.0)


def whole(client: Any, user: str) -> str:
    reply = client.chat.completions.create(model=ALIAS, messages=MESSAGES, max_tokens=TOKENS, temperature=0, user=user)
    assert reply.model == ALIAS and reply.usage is not None and 0 < reply.usage.completion_tokens <= TOKENS
    return reply.choices[0].message.content or ""


def streamed(client: Any, user: str) -> str:
    pieces = list(
        client.chat.completions.create(
            model=ALIAS,
            messages=MESSAGES,
            max_tokens=TOKENS,
            temperature=0,
            user=user,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert {piece.model for piece in pieces} == {ALIAS}
    assert pieces[-1].usage is not None and pieces[-1].usage.completion_tokens > 0
    assert pieces[-2].choices[0].finish_reason in ("length", "stop")
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def test_whole_and_streamed_replies_are_those_of_one_version(routed: tuple[Stand, set[str]]) -> None:
    stand, versions = routed
    said = {stand.says(version, MESSAGES): version for version in versions}
    assert len(said) == len(versions)
    with client_of(stand) as client:
        replies = {user: whole(client, user) for user in USERS}
        assert {user: streamed(client, user) for user in USERS} == replies
    assert {said[reply] for reply in replies.values()} == versions


def test_text_completions_work_too(routed: tuple[Stand, set[str]]) -> None:
    stand, _ = routed
    ask: dict[str, Any] = {"model": ALIAS, "prompt": "my card", "max_tokens": TOKENS, "temperature": 0}
    with client_of(stand) as client:
        reply = client.completions.create(**ask)
        pieces = list(client.completions.create(**ask, stream=True))
    assert reply.model == ALIAS and {piece.model for piece in pieces} == {ALIAS}
    assert "".join(p.choices[0].text for p in pieces if p.choices) == reply.choices[0].text != ""


def test_many_at_once_get_their_own_replies(routed: tuple[Stand, set[str]]) -> None:
    stand, versions = routed
    said = {stand.says(version, MESSAGES) for version in versions}

    async def ask(client: AsyncOpenAI, user: str) -> str:
        reply = await client.chat.completions.create(
            model=ALIAS, messages=MESSAGES, max_tokens=TOKENS, temperature=0, user=user
        )
        return reply.choices[0].message.content or ""

    async def all_of_them() -> list[str]:
        async with AsyncOpenAI(base_url=stand.url, api_key="anything", max_retries=0, timeout=120.0) as client:
            return await asyncio.gather(*(ask(client, user) for user in USERS))

    assert set(asyncio.run(all_of_them())) == said


def test_nothing_in_a_reply_tells_version_or_arm(stand: Stand) -> None:
    """A user who could read his arm could vote by it."""
    stand.route(CHAMPION, SPLIT)
    for stream in (False, True):
        body = {"model": ALIAS, "messages": MESSAGES, "max_tokens": TOKENS, "stream": stream}
        reply = httpx.post(f"{stand.url}/chat/completions", json=body, timeout=120.0, trust_env=False)
        told = reply.text + str(reply.headers.multi_items())
        assert CHAMPION not in told and CANDIDATE not in told and BASE_NAME not in told
        assert [name for name in reply.headers if name.startswith("x-homeostat")] == [
            "x-homeostat-exchange",
            "x-homeostat-token",
        ]


MISTAKES: list[tuple[dict[str, Any], type[APIStatusError]]] = [
    ({"model": "nobody"}, NotFoundError),
    ({"messages": [{"role": "user", "content": "card " * 2000}]}, BadRequestError),
    ({"temperature": -1}, BadRequestError),
    ({"messages": []}, BadRequestError),
]


@pytest.mark.parametrize(("mistake", "kind"), MISTAKES, ids=["model", "too long", "temperature", "no messages"])
def test_errors_are_the_servers_own(
    routed: tuple[Stand, set[str]], mistake: dict[str, Any], kind: type[APIStatusError]
) -> None:
    """What the SDK raises is what it raises with the gateway switched off."""
    stand, _ = routed

    def raised(client: Any) -> APIStatusError:
        with pytest.raises(kind) as found:
            client.chat.completions.create(**{"model": ALIAS, "messages": MESSAGES, **mistake})
        return found.value

    with client_of(stand) as client:
        with_gateway = raised(client)
        stand.switch_off(True)
        try:
            without = raised(client)
        finally:
            stand.switch_off(False)
    assert with_gateway.body == without.body
    assert with_gateway.response.headers["content-type"] == without.response.headers["content-type"]


def test_a_body_that_is_no_json_gets_the_servers_own_answer(routed: tuple[Stand, set[str]]) -> None:
    stand, _ = routed

    def answer() -> tuple[int, str]:
        headers = {"content-type": "application/json"}
        reply = httpx.post(f"{stand.url}/chat/completions", content=b'{"model": ', headers=headers, trust_env=False)
        return reply.status_code, reply.text

    with_gateway = answer()
    stand.switch_off(True)
    try:
        assert answer() == with_gateway
    finally:
        stand.switch_off(False)
    assert 400 <= with_gateway[0] < 500


def test_the_model_list_shows_the_alias_only(routed: tuple[Stand, set[str]]) -> None:
    stand, _ = routed
    with client_of(stand) as client:
        assert [model.id for model in client.models.list()] == [ALIAS]
        with pytest.raises(NotFoundError):
            client.chat.completions.create(model=CHAMPION, messages=MESSAGES)


def readme_curl() -> str:
    """The command that the README gives for feedback."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^    (curl [^\n]*/v1/feedback(?:[^\n]*\\\n)*[^\n]*)$", text, re.MULTILINE)
    assert found is not None, "the README lost its curl command for feedback"
    return found.group(1)


def feedback(stand: Stand, exchange: str, token: str, value: str = "true") -> tuple[int, dict[str, Any], Result]:
    """The README's command with this server, these headers and ``value``: HTTP status, answer, what curl did."""
    command = readme_curl().replace("http://127.0.0.1:8000", stand.server.url)
    command = command.replace("<x-homeostat-exchange>", exchange).replace("<x-homeostat-token>", token)
    assert '"value": true' in command
    done = run(["bash", "-c", command.replace('"value": true', f'"value": {value}') + " -w '\\n%{http_code}'"])
    body, _, status = done.out.rpartition("\n")
    return int(status), cast("dict[str, Any]", json.loads(body)), done


def events_of(stand: Stand, exchange: str) -> list[Exchange | Feedback]:
    """What the log holds about an exchange."""
    source = SqliteSource(stand.home.folder / "log.db")
    source.start({})
    found: list[Exchange | Feedback] = []
    while records := source.poll(1000, 0.0):
        found += [d.event for r in records if isinstance(d := decode(r), Decoded) and d.event.exchange_id == exchange]
    source.close()
    return found


def test_feedback_is_one_curl_command_of_the_readme(routed: tuple[Stand, set[str]]) -> None:
    stand, versions = routed
    with client_of(stand) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=ALIAS, messages=MESSAGES, max_tokens=TOKENS, temperature=0, user="ann"
        )
    exchange, token = raw.headers["x-homeostat-exchange"], raw.headers["x-homeostat-token"]
    status, answer, done = feedback(stand, exchange, token)
    assert (status, done.code, done.err) == (202, 0, ""), answer
    wait_until(lambda: len(events_of(stand, exchange)) == 2, 10.0, "exchange and feedback")
    events = events_of(stand, exchange)
    asked = next(e for e in events if isinstance(e, Exchange))
    said = next(e for e in events if isinstance(e, Feedback))
    assert asked.version in versions and asked.completion == raw.parse().choices[0].message.content
    assert (said.feedback_id, said.value, said.kind.value) == (answer["id"], True, "thumb")
    assert (said.session, said.identity) == (asked.session, asked.identity) == ("ann", asked.identity)


@pytest.mark.parametrize("wrong", ["token", "exchange", "value"])
def test_wrong_feedback_is_refused_with_the_fields_name(stand: Stand, wrong: str) -> None:
    with client_of(stand) as client:
        ask: Any = {"model": ALIAS, "messages": MESSAGES, "max_tokens": 1, "user": "bob"}
        headers = client.chat.completions.with_raw_response.create(**ask).headers
        other = client.chat.completions.with_raw_response.create(**ask).headers
    exchange, token = headers["x-homeostat-exchange"], headers["x-homeostat-token"]
    expected = {"token": (401, "token"), "exchange": (401, "token"), "value": (422, "value")}[wrong]
    if wrong == "token":
        token = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    if wrong == "exchange":
        exchange = other["x-homeostat-exchange"]
    status, answer, _ = feedback(stand, exchange, token, '"splendid"' if wrong == "value" else "true")
    assert (status, answer["error"]["param"]) == expected
    assert answer["error"]["message"].startswith(f"{expected[1]}: ")
