"""SIGTERM and SIGINT as an event that the main thread waits for."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def stop_asked() -> threading.Event:
    """Set at the first SIGTERM or SIGINT from now on. Main thread only."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return asked
