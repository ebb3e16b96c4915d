"""Feedback tokens: proof that a feedback's sender was given the exchange it speaks of.

HMAC-SHA256 (RFC 2104) over a compact JSON array. The claims can be read by the client, so the version that served is in
them only as a keyed digest: a user who learns his arm can steer a rollout. The daemon, which knows the version from the
exchange, checks the digest. Both functions are pure; the key is one file shared by gateway and daemon.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum

import msgspec

MAX_TOKEN = 4096
"""Characters; anything longer is refused unread."""
_SEAL_BYTES = 9
_decoder = msgspec.json.Decoder(tuple[str, str, str, str, str, str, int])


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. ``expires_at`` is in whole wall-clock seconds."""

    deployment: str
    tenant: str
    session: str
    exchange_id: str
    identity: str
    version_seal: str
    """Keyed digest of the version that served, see ``seal_version``."""
    expires_at: int


class TokenFault(StrEnum):
    """Why a token was refused."""

    MALFORMED = "malformed"
    FORGED = "forged"
    EXPIRED = "expired"


class TokenError(ValueError):
    """A token that proves nothing: the fault of whoever sent it."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(f"expected a token from the x-homeostat-token header of a response, got one that is {fault}")
        self.fault = fault


def seal_version(key: bytes, exchange_id: str, version: str) -> str:
    """Digest that binds a version to one exchange without telling which version it is."""
    digest = hmac.digest(key, f"version\0{exchange_id}\0{version}".encode(), "sha256")
    return urlsafe_b64encode(digest[:_SEAL_BYTES]).decode()


def mint(key: bytes, claims: Claims) -> str:
    """``payload.mac``, both URL-safe base64 without padding."""
    fields = (
        claims.deployment,
        claims.tenant,
        claims.session,
        claims.exchange_id,
        claims.identity,
        claims.version_seal,
        claims.expires_at,
    )
    payload = urlsafe_b64encode(msgspec.json.encode(fields)).rstrip(b"=")
    return (payload + b"." + _mac(key, payload)).decode()


def verify(key: bytes, token: str, now: float) -> Claims:
    """The claims of a token that we minted and that has not expired. Raises TokenError."""
    payload, dot, mac = token.encode("utf-8", "replace").partition(b".")
    if not dot or len(token) > MAX_TOKEN:
        raise TokenError(TokenFault.MALFORMED)
    if not hmac.compare_digest(mac, _mac(key, payload)):
        raise TokenError(TokenFault.FORGED)
    try:
        claims = Claims(*_decoder.decode(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))))
    except (msgspec.MsgspecError, ValueError) as fault:
        raise TokenError(TokenFault.MALFORMED) from fault
    if claims.expires_at < now:
        raise TokenError(TokenFault.EXPIRED)
    return claims


def _mac(key: bytes, payload: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key, b"token\0" + payload, "sha256")).rstrip(b"=")
