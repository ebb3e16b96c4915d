"""The API's server: uvicorn in a thread of its own, on a socket that was bound before anything else began."""

from __future__ import annotations

import errno
import socket
import threading
from typing import Final

import uvicorn
from starlette.applications import Starlette

from daemon.faults import ConfigError, MachineFault

START_S: Final = 10.0
DRAIN_S: Final = 2
"""Seconds that requests in progress get at a stop."""


def bind(host: str, port: int, option: str = "api.port") -> socket.socket:
    """A listening socket; ``option`` is what errors call the port.

    Raises MachineFault (taken, forbidden) and ConfigError (no such address).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP by its name: only then does asyncio switch Nagle's algorithm off, which costs 40 ms a reply.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise MachineFault(
                f"{option}: {host}:{port} is taken by another process: stop it, or set {option} to a free port"
            ) from error
        if error.errno == errno.EACCES:
            raise MachineFault(f"{option}: no permission to listen on {host}:{port}: use a port above 1023") from error
        raise ConfigError(f"{option}: cannot listen on {host!r}: {error.strerror or error}") from error
    return listener


class ApiServer:
    """Serves one application from ``start`` to ``stop``."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=DRAIN_S,
            server_header=False,
        )
        self._listener = listener
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def start(self) -> None:
        """Serve; requests that came since ``bind`` are answered now."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish requests in progress, for ``DRAIN_S`` seconds at most; idempotent."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(DRAIN_S + 1.0)
        self._listener.close()
