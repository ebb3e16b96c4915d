"""The ingest's thread: one batch after another; waits with a bounded back-off while the log is away, or while its
topics have not been made.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog

from daemon.runtime import Ingesting
from daemon.troubles import LOG, Troubles
from streams.errors import LogUnavailable, TopicMissing

POLL_S: Final = 0.2
"""Longest wait for records: bounds how long a stop waits for the thread."""
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
log = structlog.get_logger(room="daemon.pump")


class Pump:
    """Calls ``step`` from ``start`` to ``stop``; what is wrong stands in ``troubles`` while it is."""

    def __init__(self, ingest: Ingesting, troubles: Troubles) -> None:
        self._ingest, self._troubles = ingest, troubles
        self._opened = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def open(self) -> None:
        """Open the log. Raises LogUnavailable; a missing topic is waited for: to make it is not for a reader to do."""
        try:
            self._ingest.start()
            self._opened = True
        except TopicMissing as error:
            self._troubles.begin(LOG, "topic_missing", str(error))

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Let the batch in progress finish; it is committed or it never happened."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        wait = FIRST_WAIT_S
        while not self._stop.is_set():
            try:
                if not self._opened:
                    self._ingest.start()
                    self._opened = True
                self._ingest.step(POLL_S)
            except TopicMissing as error:
                self._troubles.begin(LOG, "topic_missing", str(error))
            except LogUnavailable as error:
                self._troubles.begin(LOG, "log_unavailable", str(error))
            except Exception as error:
                if self._troubles.begin(LOG, "ingest_failed", repr(error)):
                    log.exception("ingest_failed")
            else:
                self._troubles.end(LOG)
                wait = FIRST_WAIT_S
                continue
            self._stop.wait(wait)
            wait = min(LONGEST_WAIT_S, 2 * wait)
