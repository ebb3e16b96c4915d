"""The daemon's own look at a feedback token: whoever can write to the topic must not be able to claim one."""

from __future__ import annotations

from pathlib import Path

from deploy.gateway.tokens import TokenError, verify
from streams.events import Exchange, Feedback


class TokenCheck:
    """Callable; holds the key that gateway and daemon share."""

    def __init__(self, key_file: Path) -> None:
        self._key = key_file.read_bytes().strip()

    def __call__(self, token: str, exchange: Exchange | None, feedback: Feedback, now: float) -> bool:
        """Whether the token was minted for this exchange and had not expired when the feedback was sent."""
        try:
            claims = verify(self._key, token, min(now, feedback.sent_at))
        except TokenError:
            return False
        if exchange is not None and claims.session != exchange.session:
            return False
        return claims.exchange_id == feedback.exchange_id and claims.tenant == feedback.tenant
