"""From captured bytes to events, and what the gateway changes in bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.gateway.ids import uuid7
from deploy.gateway.rewrite import Asked, NameHider, asked_of, parse, request_for, whole_reply
from deploy.gateway.transcript import MAX_MESSAGES, messages_of, said_in


def reply(**choice: Any) -> bytes:
    """A whole reply with one choice."""
    return json.dumps(
        {"choices": [{"index": 0, **choice}], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}
    ).encode()


def stream(*pieces: dict[str, Any]) -> bytes:
    """A stream of pieces."""
    return b"".join(b"data: " + json.dumps(p).encode() + b"\n\n" for p in pieces) + b"data: [DONE]\n\n"


def test_a_chat_reply_is_read() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -3.0}]}
    said = said_in(
        reply(message={"content": "hi"}, finish_reason="stop", token_ids=[5, 2], logprobs=logprobs), streamed=False
    )
    assert ("".join(said.text), said.finish_reason, said.token_ids, said.logprobs) == (
        "hi",
        "stop",
        [5, 2],
        [-1.0, -3.0],
    )
    assert (said.prompt_tokens, said.completion_tokens) == (4, 2)


def test_a_completion_is_read() -> None:
    said = said_in(reply(text="hi", logprobs={"token_logprobs": [None, -2.0]}), streamed=False)
    assert ("".join(said.text), said.logprobs) == ("hi", [-2.0])


def test_a_stream_is_read_and_other_choices_are_left() -> None:
    data = stream(
        {"prompt_token_ids": [1, 2, 3], "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "one"}, "token_ids": [7]}]},
        {"choices": [{"index": 1, "delta": {"content": "other"}, "token_ids": [9]}]},
        {"choices": [{"index": 0, "delta": {"content": " two"}, "token_ids": [8], "finish_reason": "length"}]},
    )
    said = said_in(data, streamed=True)
    assert ("".join(said.text), said.finish_reason, said.token_ids, said.prompt_tokens) == (
        "one two",
        "length",
        [7, 8],
        3,
    )


@pytest.mark.parametrize("data", [b"", b"boom", b"\xff", b'{"choices": 3}', b'{"error": {"message": "no"}}'])
def test_what_cannot_be_read_says_nothing(data: bytes) -> None:
    assert "".join(said_in(data, streamed=False).text) == "" == "".join(said_in(data, streamed=True).text)


REQUESTS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"messages": [{"role": "user", "content": "hi"}]}, [("user", "hi")]),
    (  # pyright: ignore[reportUnknownArgumentType]
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]},
        [("user", "a")],
    ),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, [("assistant", "")]),
    ({"prompt": "say"}, [("user", "say")]),
    ({"prompt": ["say", "more"]}, [("user", "say")]),
    ({"prompt": [1, 2]}, []),
    ({"messages": "odd"}, []),
    ({}, []),
]


@pytest.mark.parametrize(("request_body", "expected"), REQUESTS)
def test_messages_of_a_request(request_body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    messages, _ = messages_of(parse(json.dumps(request_body).encode()))
    assert [(m.role, m.content) for m in messages] == expected


def test_long_conversations_keep_their_newest_messages() -> None:
    body = {"messages": [{"role": "user", "content": str(i)} for i in range(MAX_MESSAGES + 5)]}
    found, whole = messages_of(parse(json.dumps(body).encode()))
    assert not whole and len(found) == MAX_MESSAGES and found[-1].content == str(MAX_MESSAGES + 4)


def test_a_request_changes_in_its_model_alone() -> None:
    body = b'{"model": "support", "seed": 1e400, "messages": [{"role":"user","content":"\\u00e9"}]}'
    changed = request_for(parse(body), "v", "tenant", Asked(), chat=True)
    assert b"1e400" in changed and b"\\u00e9" in changed  # values keep their bytes
    assert b'"model":"v"' in changed and b'"cache_salt":"tenant"' in changed
    own = request_for(parse(b'{"model":"m","cache_salt":"mine"}'), "v", "tenant", Asked(), chat=True)
    assert b'"cache_salt":"mine"' in own


def test_only_what_the_client_did_not_ask_for_is_asked() -> None:
    assert asked_of(parse(b"{}"), True, True) == Asked(True, True)
    assert asked_of(parse(b'{"return_token_ids":false,"logprobs":false}'), True, True) == Asked()
    assert asked_of(parse(b'{"stream":true}'), True, True) == Asked(True, False)
    for chat in (True, False):
        changed = json.loads(request_for(parse(b"{}"), "v", "t", Asked(True, True), chat=chat))
        assert changed["return_token_ids"] is True and changed["logprobs"] == (True if chat else 0)


def test_names_are_hidden_outside_strings_only() -> None:
    hider = NameHider("support-aaaaaaaaaaaa", "support")
    data = b'{"model":"support-aaaaaaaaaaaa","c":"\\"model\\":\\"support-aaaaaaaaaaaa\\""}'
    assert hider.chunk(data) == b'{"model":"support","c":"\\"model\\":\\"support-aaaaaaaaaaaa\\""}'
    assert hider.chunk(b'{"model": "support-aaaaaaaaaaaa"}') == b'{"model": "support"}'
    assert hider.failure(b"no support-aaaaaaaaaaaa here") == b"no support here"


def test_whole_replies_lose_only_what_was_added() -> None:
    data = (
        b'{"model":"v","x":{"token_ids":[1]},"prompt_token_ids":[1],"choices":[{"token_ids":[2],"logprobs":{"a":1}}]}'
    )
    found = json.loads(whole_reply(data, "support", Asked(token_ids=True, logprobs=True)))
    assert found == {"model": "support", "x": {"token_ids": [1]}, "choices": [{"logprobs": None}]}


def test_ids_sort_by_time_and_differ() -> None:
    ids = [uuid7(1_700_000_000.0 + i / 100) for i in range(200)]
    assert ids == sorted(ids) and len({uuid7(5.0) for _ in range(1000)}) == 1000
    for made in ids[:5]:
        assert len(made) == 36 and made[14] == "7" and made[19] in "89ab"
