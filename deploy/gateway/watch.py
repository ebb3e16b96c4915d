"""Watches the route file and the off-switch: the slow way by which a flip arrives when no push did.

A thread of its own, because a busy event loop must not delay a rollback; 40 ``stat`` calls a second cost less than 0.1
% of a core.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from deploy.gateway.route_table import Adoption, RouteHolder
from deploy.routes import RouteFile

log = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


class RouteWatch:
    """Offers each new content of the route file to the holder and knows whether the off-switch is there."""

    def __init__(
        self, route_file: Path, off_file: Path, holder: RouteHolder, poll_s: float, on_fault: Callable[[str], None]
    ) -> None:
        self._route_file = route_file
        self._off_file = off_file
        self._holder = holder
        self._poll_s = poll_s
        self._on_fault = on_fault
        self._stamp: Stamp | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="homeostat-routes", daemon=True)
        self.off = False
        """True while the off-switch file exists."""

    def start(self) -> None:
        """Read both files once, then keep watching."""
        self.look(witnessed=False)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def look(self, witnessed: bool) -> Adoption | None:
        """One look at both files; None when the route file is absent, unchanged or unreadable."""
        self.off = self._off_file.exists()
        try:
            status = self._route_file.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return None
            content = self._route_file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            self._on_fault("route_file_unreadable")
            log.warning("route file %s cannot be read: %s", self._route_file, fault)
            return None
        self._stamp = stamp
        try:
            file = RouteFile.model_validate_json(content)
        except ValidationError as fault:
            self._on_fault("route_file_invalid")
            log.warning("route file %s is not valid, the routes in force stay: %s", self._route_file, fault)
            return None
        return self._holder.offer(file, witnessed)

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.look(witnessed=True)
            except Exception:
                self._on_fault("route_watch")
                log.exception("looking at the route file failed; trying again")
