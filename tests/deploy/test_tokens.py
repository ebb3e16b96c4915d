"""Feedback tokens: what is minted verifies, and nothing else does."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.gateway.tokens import MAX_TOKEN, Claims, TokenError, TokenFault, mint, seal_version, verify

KEY, OTHER = b"k" * 64, b"o" * 64
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def claims(**more: object) -> Claims:
    """Claims of an ordinary exchange."""
    plain: dict[str, object] = {
        "deployment": "support",
        "tenant": "default",
        "session": "s-1",
        "exchange_id": "e-1",
        "identity": "i-1",
        "version_seal": seal_version(KEY, "e-1", "support-aaaaaaaaaaaa"),
        "expires_at": 1000,
    }
    return Claims(**{**plain, **more})  # type: ignore[arg-type]


@given(TEXT, TEXT, TEXT, st.integers(0, 2**40))
def test_what_was_minted_verifies_to_the_same_claims(session: str, identity: str, tenant: str, expires: int) -> None:
    minted = claims(session=session, identity=identity, tenant=tenant, expires_at=expires)
    assert verify(KEY, mint(KEY, minted), float(expires)) == minted


def fault(token: str, key: bytes = KEY, now: float = 0.0) -> TokenFault:
    """Why a token is refused."""
    with pytest.raises(TokenError) as refused:
        verify(key, token, now)
    return refused.value.fault


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_changed_byte_is_noticed(place: int, byte: int) -> None:
    token = mint(KEY, claims()).encode()
    at = place % len(token)
    changed = token[:at] + bytes([byte]) + token[at + 1 :]
    if changed != token:
        assert fault(changed.decode("latin-1")) in (TokenFault.FORGED, TokenFault.MALFORMED)


def test_another_key_an_old_token_and_a_long_one_are_refused() -> None:
    token = mint(KEY, claims())
    assert fault(token, OTHER) is TokenFault.FORGED
    assert fault(token, now=1000.1) is TokenFault.EXPIRED
    assert verify(KEY, token, 1000.0)
    assert fault(token + "x" * MAX_TOKEN) is TokenFault.MALFORMED
    assert fault("") is TokenFault.MALFORMED
    assert fault("no dot") is TokenFault.MALFORMED


def test_a_mac_of_something_else_is_no_token() -> None:
    """The seal's digest is made with the same key; it must not pass for a token's."""
    payload = urlsafe_b64encode(b"e-1\0support").rstrip(b"=").decode()
    assert fault(f"{payload}.{seal_version(KEY, 'e-1', 'support')}") is TokenFault.FORGED


def test_the_payload_does_not_name_the_version() -> None:
    token = mint(KEY, claims())
    payload = token.partition(".")[0]
    shown = urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert b"aaaaaaaaaaaa" not in shown
    # The seal is bound to the exchange: equal versions do not look equal.
    assert seal_version(KEY, "e-1", "v") != seal_version(KEY, "e-2", "v")
    assert seal_version(KEY, "e-1", "v") != seal_version(KEY, "e-1", "w")
