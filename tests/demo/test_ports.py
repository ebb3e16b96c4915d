"""daemon/demo/ports.py: what is given is free, and out of the way of outgoing connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from daemon.demo import ports


def test_a_port_that_is_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ports.free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        used = int(taken.getsockname()[1])
        monkeypatch.setattr(ports, "_RANGE", [used, free])
        monkeypatch.setattr(ports, "_TRIES", 2)
        assert {ports.free_port() for _ in range(20)} == {free}


def test_none_free_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        used = int(taken.getsockname()[1])
        monkeypatch.setattr(ports, "_RANGE", range(used, used + 1))
        monkeypatch.setattr(ports, "_TRIES", 1)
        with pytest.raises(OSError, match=f"in {used} to {used}, 1 are all in use"):
            ports.free_port()


def test_no_outgoing_connection_is_given_such_a_port() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest < 32_768:
        pytest.skip(f"this machine gives outgoing connections ports from {lowest} on")
    assert ports.free_port() < lowest
