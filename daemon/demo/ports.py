"""Ports for servers that are started a moment later."""

from __future__ import annotations

import random
import socket
from typing import Final

_RANGE: Final = range(15_000, 32_000)
"""Below what Linux gives to outgoing connections (from 32,768 on): none of them takes a port before its server does."""
_TRIES: Final = 200
_CHANCE: Final = random.SystemRandom()
"""Two processes with one seed must not be given the same ports."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now.

    Raises:
        OSError: when none of ``_TRIES`` ports is.
    """
    for port in _CHANCE.sample(_RANGE, _TRIES):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"expected a free port of 127.0.0.1 in {_RANGE.start} to {_RANGE.stop - 1}, {_TRIES} are all in use")
