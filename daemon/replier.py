"""Answers of one version through one replica, for the gate and the soak: tagged as internal, greedy, bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from daemon.store import Store, exchanges
from deploy.driver import Driver, DriverError

MAX_TOKENS: Final = 64
BUSY_ABOVE: Final = 24
"""Requests in flight on the replica above which the gate waits."""
LONGEST_WAIT_S: Final = 2.0


class ReplicaReplier:
    """Asks the first replica."""

    def __init__(self, driver: Driver, pause: Callable[[float], None] = time.sleep) -> None:
        self._driver, self._pause = driver, pause

    def reply(self, version: str, messages: Sequence[dict[str, str]]) -> str:
        """The greedy reply. Raises DriverError."""
        return self._driver.chat(version, list(messages), max_tokens=MAX_TOKENS)

    def wait_until_quiet(self) -> None:
        """Return when fewer than ``BUSY_ABOVE`` requests are in flight, or after two seconds."""
        waited = 0.0
        while waited < LONGEST_WAIT_S and self._driver.in_flight() > BUSY_ABOVE:
            self._pause(0.1)
            waited += 0.1


def make_soak(
    store: Store, replier: ReplicaReplier, deployment: str, clock: Callable[[], float]
) -> Callable[[str, int], str | None]:
    """Mirror the newest recorded requests to a version before it meets users; the reason when it fails them."""

    def soak(version: str, requests: int) -> str | None:
        with store.read() as read:
            recent = exchanges.since(read, deployment, 0.0, clock(), requests)
        empty = 0
        for exchange in recent:
            try:
                text = replier.reply(version, [m.model_dump() for m in exchange.messages])
            except DriverError as error:
                return f"soak_{error.reason}"
            empty += not text.strip()
        return "soak_empty_replies" if recent and empty > len(recent) // 2 else None

    return soak
