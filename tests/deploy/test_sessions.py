"""Session keys and identities."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.gateway.rewrite import parse
from deploy.gateway.sessions import Client, HotKeys, client_of, derived_session, hashed_identity, plain_key

MESSAGES = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]


def client(
    body: dict[str, Any] | None = None, hot: HotKeys | None = None, session: str | None = None, **more: Any
) -> Client:
    """Who sends a request."""
    options: dict[str, Any] = {"principal": None, "user_header": None, "api_key": b"key", **more}
    return client_of(
        hot or HotKeys(0.5, 100),
        session_header=session.encode() if session else None,
        body=parse(json.dumps({"messages": MESSAGES, **(body or {})}).encode()),
        **options,
    )


@pytest.mark.parametrize(
    ("session", "body", "expected"),
    [
        ("h", {"prompt_cache_key": "p", "user": "u", "metadata": {"session_id": "m"}}, "h"),
        (None, {"prompt_cache_key": "p", "user": "u", "metadata": {"session_id": "m"}}, "p"),
        (None, {"user": "u", "metadata": {"session_id": "m"}}, "u"),
        (None, {"metadata": {"session_id": "m"}}, "m"),
        (None, {"user": 7, "metadata": {"session_id": "m"}}, "m"),
    ],
)
def test_the_first_key_that_is_present_counts(session: str | None, body: dict[str, Any], expected: str) -> None:
    found = client(body, session=session)
    assert (found.session, found.session_derived) == (expected, False)


@pytest.mark.parametrize("body", [{}, {"user": ""}, {"metadata": {"session_id": None}}, {"metadata": "x"}])
def test_without_a_key_the_conversation_is_the_session(body: dict[str, Any]) -> None:
    found = client(body)
    assert found.session_derived and found.session.startswith("d-")


def test_a_conversation_keeps_its_derived_key_and_others_have_their_own() -> None:
    first = client().session
    longer = [*MESSAGES, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "another"}]
    assert client({"messages": longer}).session == first
    assert client(api_key=b"other").session != first
    assert client({"messages": MESSAGES[1:]}).session != first
    assert client({"messages": [MESSAGES[0], {"role": "user", "content": "bye"}]}).session != first


def test_completions_derive_from_their_prompt() -> None:
    one, two = (derived_session(b"", parse(json.dumps({"prompt": p}).encode())) for p in ("a", "b"))
    assert one != two


@pytest.mark.parametrize(
    ("more", "body", "expected"),
    [
        ({"principal": "ann", "user_header": b"bob"}, {"user": "cid"}, "p:ann"),
        ({"user_header": b"bob"}, {"user": "cid"}, "u:bob"),
        ({}, {"user": "cid"}, "u:cid"),
        ({}, {"prompt_cache_key": "k"}, "s:k"),
    ],
)
def test_the_identity_is_the_surest_name(more: dict[str, Any], body: dict[str, Any], expected: str) -> None:
    assert client(body, **more).identity == expected


def test_names_that_are_no_identifiers_are_hashed() -> None:
    assert plain_key("user:1-a.b_c") == "user:1-a.b_c"
    for odd in ("ann@example.org", "a b", "x" * 129, "ключ", "a\nb"):
        hashed = plain_key(odd)
        assert hashed.startswith("h-") and odd not in hashed and len(hashed) < 40
        assert hashed == plain_key(odd)


def test_identities_are_salted_by_deployment_and_tenant() -> None:
    found = {hashed_identity(salt, tenant, "ann") for salt in (b"a", b"b") for tenant in ("t", "u")}
    assert len(found) == 4 and not any("ann" in name for name in found)


def test_a_key_is_hot_above_its_share_and_until_a_window_without() -> None:
    hot = HotKeys(share=0.1, window=100)
    assert [hot.observe("busy") for _ in range(12)] == [False] * 10 + [True] * 2
    for i in range(88):
        assert not hot.observe(f"quiet-{i}")
    assert hot.observe("busy")  # the window before this one still speaks
    for i in range(199):
        hot.observe(f"calm-{i}")
    assert not hot.observe("busy") and not hot.hot


def test_hot_keys_hold_a_bounded_number_of_names() -> None:
    hot = HotKeys(share=0.01, window=1000)
    for i in range(10_000):
        hot.observe(f"name-{i}")
    assert len(hot._counts) <= 1000  # pyright: ignore[reportPrivateUsage]


def test_a_hot_key_falls_back_but_keeps_its_identity() -> None:
    hot = HotKeys(share=0.02, window=100)
    found = [client(hot=hot, session="everybody") for _ in range(4)]
    assert [c.session_derived for c in found] == [False, False, True, True]
    assert {c.identity for c in found} == {"s:everybody"}
