"""Answers of one version through one replica, for gate, soak and shadow: tagged as internal, bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from deploy.driver import Driver
from streams.events import Sampling

MAX_TOKENS: Final = 64
BUSY_ABOVE: Final = 24
"""Requests in flight on the replica above which the gate waits."""
LONGEST_WAIT_S: Final = 2.0


class ReplicaReplier:
    """Asks the first replica."""

    def __init__(self, driver: Driver, pause: Callable[[float], None] = time.sleep) -> None:
        self._driver, self._pause = driver, pause

    def reply(
        self,
        version: str,
        messages: Sequence[dict[str, str]],
        max_tokens: int = MAX_TOKENS,
        sampling: Sampling | None = None,
        *,
        must_be_finite: bool = False,
    ) -> str:
        """The reply, greedy without ``sampling``. Raises DriverError."""
        return self._driver.chat(version, messages, max_tokens, sampling, must_be_finite=must_be_finite)

    def wait_until_quiet(self) -> None:
        """Return when fewer than ``BUSY_ABOVE`` requests are in flight, or after two seconds."""
        waited = 0.0
        while waited < LONGEST_WAIT_S and self._driver.in_flight() > BUSY_ABOVE:
            self._pause(0.1)
            waited += 0.1
