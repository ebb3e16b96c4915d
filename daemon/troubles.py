"""What is wrong now and needs a person: told once in the log when it begins and when it ends, shown in the status.

Named by place (``log``, a replica's name), one trouble a place. Everything goes on meanwhile, and ends the trouble by
itself when the person has mended it: nothing must be restarted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog

LOG: Final = "log"
"""The place of what is wrong with reading events."""
LONGEST: Final = 600
"""Characters of a message; servers answer with whole tracebacks."""
log = structlog.get_logger(room="daemon.troubles")


@dataclass(frozen=True, slots=True)
class Trouble:
    """``reason`` is a name; ``message`` says what was expected, what came and what to do."""

    where: str
    reason: str
    message: str
    since: float
    """Wall-clock seconds."""


class Troubles:
    """Thread-safe. Bounded by the number of places: the log, the replicas and the kill queries of the config."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now: dict[str, Trouble] = {}

    def begin(self, where: str, reason: str, message: str) -> bool:
        """There is trouble at a place; whether that, or its reason, is new."""
        short = " ".join(message.split())[:LONGEST]
        with self._lock:
            known = self._now.get(where)
            if known is not None and known.reason == reason:
                return False
            self._now[where] = Trouble(where, reason, short, self._clock())
        log.warning("trouble", where=where, reason=reason, message=short)
        return True

    def end(self, where: str) -> Trouble | None:
        """All is well at a place; the trouble that this ends, if there was one."""
        with self._lock:
            known = self._now.pop(where, None)
        if known is not None:
            log.info("trouble_over", where=where, reason=known.reason, seconds=round(self._clock() - known.since, 1))
        return known

    def at(self, where: str) -> Trouble | None:
        """The trouble at a place."""
        with self._lock:
            return self._now.get(where)

    def view(self) -> list[dict[str, Any]]:
        """All of them, JSON-able, oldest first."""
        with self._lock:
            return [asdict(one) for one in sorted(self._now.values(), key=lambda one: one.since)]
