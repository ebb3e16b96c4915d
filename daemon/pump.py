"""The ingest's thread: one batch after another; waits with a bounded back-off while the log is away."""

from __future__ import annotations

import threading
from typing import Final

import structlog

from daemon.runtime import Ingesting
from streams.errors import LogUnavailable

POLL_S: Final = 0.2
"""Longest wait for records: bounds how long a stop waits for the thread."""
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
log = structlog.get_logger(room="daemon.pump")


class Pump:
    """Calls ``step`` from ``start`` to ``stop``. ``trouble`` names what is wrong while it is, else it is empty."""

    def __init__(self, ingest: Ingesting) -> None:
        self._ingest = ingest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self.trouble = ""

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

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
                self._ingest.step(POLL_S)
            except LogUnavailable as error:
                self._troubled("log_unavailable", str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try starts from the committed state
                self._troubled("ingest_failed", repr(error), exc_info=True)
            else:
                if self.trouble:
                    log.info("ingest_recovered", after=self.trouble)
                self.trouble, wait = "", FIRST_WAIT_S
                continue
            self._stop.wait(wait)
            wait = min(LONGEST_WAIT_S, 2 * wait)

    def _troubled(self, reason: str, detail: str, exc_info: bool = False) -> None:
        if self.trouble != reason:
            log.warning(reason, detail=detail, exc_info=exc_info)
        self.trouble = reason
